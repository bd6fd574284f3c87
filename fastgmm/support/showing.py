"""How messages show what was given."""

from __future__ import annotations

_HEAD, _TAIL = 60, 40


def shown(value: object) -> str:
    """Return the text of a value for a message: one line, of an array or another long value the ends."""
    text = repr(value)
    if "\n" in text:
        text = " ".join(text.split())
    if len(text) <= _HEAD + _TAIL + 5:
        return text
    return f"{text[:_HEAD]} ... {text[-_TAIL:]}"
