"""Which kind of rows a user's data are."""

from __future__ import annotations

import importlib
from typing import Any

from fastgmm.rows import Rows

# The modules that take data of a package, by the package's name: each has ``open_rows(data, sample_weight)``.
_MODULES: dict[str, str] = {"pyspark": "fastgmm.sources.spark"}


def open_rows(data: Any, sample_weight: Any = None) -> Rows | None:
    """Return the rows of data that are not an array, with their weights; None for everything else."""
    if isinstance(data, Rows):
        if sample_weight is not None:
            raise ValueError("sample_weight must be None where X is rows that have their own weights.")
        return data
    module = _MODULES.get(type(data).__module__.partition(".")[0])
    if module is None:
        return None
    rows: Rows = importlib.import_module(module).open_rows(data, sample_weight)
    return rows
