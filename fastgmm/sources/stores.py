"""Arrays in stores of chunks, of h5py and zarr, which are read chunk by chunk in every pass."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastgmm.rows import row_type, scan_rows
from fastgmm.sources.files import Weighted
from fastgmm.sources.opening import may_miss
from fastgmm.sources.streams import ArrayBatch, Batch, StreamedRows, Table
from fastgmm.support.showing import shown


def open_rows(data: Any, sample_weight: Any = None, missing: str | None = None) -> StreamedRows:
    """Return the rows of a data set; arguments as of ``fastgmm.sources.open_rows``."""
    table: Table = _StoreTable(data)
    if isinstance(sample_weight, str):
        raise ValueError(
            f"sample_weight must be an array or a data set where X is a {type(data).__name__}, whose columns have no "
            f"names, got {shown(sample_weight)}."
        )
    if sample_weight is not None:
        # Eight bytes a row.
        table = Weighted(table, sample_weight[...] if hasattr(sample_weight, "chunks") else sample_weight)
    return StreamedRows(table, may_miss=may_miss(missing))


class _StoreTable(Table):
    """A data set (N, D) of numbers."""

    def __init__(self, data: Any) -> None:
        kind = type(data).__name__
        if not hasattr(data, "shape"):
            raise TypeError(f"X must be a data set, got a {kind}: choose one of those in it, as in X['rows'].")
        if len(data.shape) != 2 or 0 in data.shape:
            raise ValueError(f"X must have the shape (n_samples, n_features), at least 1 of each, got {data.shape}.")
        if np.dtype(data.dtype).kind not in "fiub":
            raise TypeError(f"X must hold real numbers, got a {kind} of {data.dtype}.")
        self._data = data
        self.n_features, self.is_weighted = data.shape[1], False
        self.dtype = row_type(np.dtype(data.dtype))

    def batches(self) -> Iterator[Batch]:
        """Yield the rows by whole chunks."""
        n_rows, chunks = self._data.shape[0], self._data.chunks
        rows = scan_rows(self.n_features)
        if chunks:
            rows = max(rows // chunks[0], 1) * chunks[0]
        for start in range(0, n_rows, rows):
            yield _StoreBatch(np.asarray(self._data[start : start + rows]), start)


class _StoreBatch(ArrayBatch):
    """Rows of a data set from a place on."""

    def __init__(self, X: Any, start: int) -> None:
        super().__init__(X, None, "X")
        self._start = start

    def place(self, row: int, column: int) -> str:
        """Return where a number is, in words, counted from 0."""
        return super().place(self._start + row, column)
