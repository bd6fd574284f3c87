"""The former place of :mod:`fastgmm.fitting.restarts`: pickles of models that were fitted before it moved name it."""

from __future__ import annotations

from typing import Any

from fastgmm.fitting import restarts


def __getattr__(name: str) -> Any:
    return getattr(restarts, name)
