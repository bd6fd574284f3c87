"""How messages show what was given, and tables: of text, and of HTML for notebooks."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

_HEAD, _TAIL = 60, 40
# NumPy's scalars and arrays without axes that are shown as they are.
_NOT_NUMBERS = ("ndarray", "datetime64", "timedelta64")
# Larger numbers are written with an exponent.
_MANY = 1e12


def shown(value: object) -> str:
    """Return the text of a value for a message: one line, of an array or another long value the ends."""
    # NumPy's numbers as who wrote them knows them.
    kind = type(value)
    is_number = kind.__module__ == "numpy" and kind.__name__ not in _NOT_NUMBERS and getattr(value, "ndim", 1) == 0
    text = repr(value.item() if is_number else value)  # type: ignore[attr-defined]
    if "\n" in text:
        text = " ".join(text.split())
    if len(text) <= _HEAD + _TAIL + 5:
        return text
    return f"{text[:_HEAD]} ... {text[-_TAIL:]}"


def decimals(value: float, digits: int) -> str:
    """Return a number with so many digits after the point, or in ten digits where it has many before it."""
    return f"{value:.{digits}f}" if abs(value) <= _MANY else f"{value:.10g}"


def listing(names: Sequence[Any]) -> str:
    """Join names by commas, cutting a long list short."""
    some = ", ".join(map(str, names[:12]))
    return some if len(names) <= 12 else f"{some} and {len(names) - 12} more"


def table_text(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table whose columns are as wide as their longest cell, aligned to the right, without a last newline."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (header, *rows)
    )


def pairs_text(pairs: Iterable[tuple[str, str | None]], line: int | None = None) -> str:
    """Return names and values in two columns, but for values that are None, without a last newline.

    Values go on below themselves where a line would be longer than `line` characters.
    """
    known = [(name, value) for name, value in pairs if value is not None]
    width = max([18, *(len(name) + 2 for name, _ in known)])
    if line is not None:
        wrapper = textwrap.TextWrapper(max(line - width, 20), break_long_words=False, break_on_hyphens=False)
        known = [(name, f"\n{'':{width}}".join(wrapper.wrap(value))) for name, value in known]
    return "\n".join(f"{name:<{width}}{value}" for name, value in known)


def page_html(value: object, *parts: str) -> str:
    """Return the text of a value and, below it, parts in HTML, as a notebook shows them."""
    return f"<div><pre>{html.escape(repr(value))}</pre>{''.join(parts)}</div>"


def paragraph_html(text: str) -> str:
    """Return a paragraph of text as HTML."""
    return f"<p>{html.escape(text)}</p>"


def table_html(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of text as HTML."""
    body = "".join(_row_html("td", row) for row in rows)
    return f"<table><thead>{_row_html('th', header)}</thead><tbody>{body}</tbody></table>"


def more_of(*counts: tuple[int, str]) -> str:
    """Return a sentence on how many of what are not shown, after a space; nothing where that is none."""
    more = [f"{rest} more {what}{'s' * (rest > 1)}" for rest, what in counts if rest > 0]
    return f" Not shown: {', '.join(more)}." if more else ""


def _row_html(tag: str, cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in cells)}</tr>"
