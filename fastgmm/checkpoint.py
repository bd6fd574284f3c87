"""The former place of :mod:`fastgmm.fitting.checkpoint`: code that catches its errors by that name finds them here."""

from __future__ import annotations

from typing import Any

from fastgmm.fitting import checkpoint


def __getattr__(name: str) -> Any:
    return getattr(checkpoint, name)
