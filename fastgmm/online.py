"""The former place of :mod:`fastgmm.fitting.online`: pickles of models that were fitted before it moved name it."""

from __future__ import annotations

from typing import Any

from fastgmm.fitting import online


def __getattr__(name: str) -> Any:
    return getattr(online, name)
