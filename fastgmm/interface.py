"""The former place of :mod:`fastgmm.estimators.interface`: pickles of models with metadata requests name it."""

from __future__ import annotations

from typing import Any

from fastgmm.estimators import interface


def __getattr__(name: str) -> Any:
    return getattr(interface, name)
