"""How messages show what was given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_HEAD, _TAIL = 60, 40


def shown(value: object) -> str:
    """Return the text of a value for a message: one line, of an array or another long value the ends."""
    text = repr(value)
    if "\n" in text:
        text = " ".join(text.split())
    if len(text) <= _HEAD + _TAIL + 5:
        return text
    return f"{text[:_HEAD]} ... {text[-_TAIL:]}"


def listing(names: Sequence[Any]) -> str:
    """Join names by commas, cutting a long list short."""
    some = ", ".join(map(str, names[:12]))
    return some if len(names) <= 12 else f"{some} and {len(names) - 12} more"
