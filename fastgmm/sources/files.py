"""Files that are read in every pass: .npy, CSV, Parquet and Arrow; folders and lists of them; what gives Arrow data."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastgmm import validation
from fastgmm.rows import row_type
from fastgmm.sources.arrow import ArrowTable, file_place, parts_of_object, parts_of_path, width
from fastgmm.sources.opening import is_path, is_paths, is_pattern, is_url, may_miss
from fastgmm.sources.remote import parts_of_url
from fastgmm.sources.streams import ArrayBatch, Batch, StreamedRows, Table
from fastgmm.statistics import Array
from fastgmm.support.showing import shown
from fastgmm.tables.arrays import map_numpy
from fastgmm.tables.request import KINDS, Request, TableError, kind_of
from fastgmm.tables.text import TextBlock, TextFormat, open_text


def open_rows(
    data: Any,
    sample_weight: Any = None,
    columns: Sequence[str] | None = None,
    comment: str | None = None,
    expected: Sequence[str] | None = None,
    missing: str | None = None,
    class_column: str | None = None,
) -> StreamedRows:
    """Return the rows of a file, a folder or an object of pyarrow; arguments as of ``fastgmm.sources.open_rows``."""
    column = weights = None
    is_text = isinstance(sample_weight, str)
    if is_text and not (is_path(data) and kind_of(data) == "NumPy"):
        column = sample_weight
    elif sample_weight is not None:
        weights = sample_weight
    if columns is not None and isinstance(columns, str):
        raise TypeError(f"columns must be a list of names, got the text {shown(columns)}.")
    if comment is not None and not (is_path(data) and kind_of(data) == "CSV"):
        raise ValueError(f"comment says which lines of a CSV file are skipped, X is {_described(data)}.")
    kept: Literal["keep", "refuse"] = "keep" if may_miss(missing) else "refuse"
    request = Request(columns, column, expected, missing=kept, class_column=class_column)
    return _streamed(_table(data, request, weights, TextFormat(comment=comment)), request)


def open_labelled(
    data: Any, sample_weight: Any, class_column: str, missing: str | None
) -> tuple[StreamedRows, NDArray]:
    """Return the rows of a file or an object of pyarrow without a column, and that column, NaN where it is null."""
    rows = open_rows(data, sample_weight, missing=missing, class_column=class_column)
    try:
        labels = open_rows(data, columns=[class_column], missing="marginal")
    except TableError as error:
        raise TableError(f"labels must be class numbers from 0, -1 or none where unknown: {error.args[0]}") from error
    return rows, np.concatenate([block.X[:, 0] for block in labels.given_blocks(labels.n_rows)])


def open_path(path: str | os.PathLike[str], request: Request) -> StreamedRows:
    """Return the columns that are requested of a file or folder."""
    return _streamed(_table(path, request, None, TextFormat()), request)


def _streamed(table: Table, request: Request) -> StreamedRows:
    return StreamedRows(table, may_miss=request.missing == "keep")


def _described(data: Any) -> str:
    return repr(os.fspath(data)) if is_path(data) else f"a {type(data).__name__}"


def _table(data: Any, request: Request, weights: Any, form: TextFormat) -> Table:
    table: Table
    if not is_path(data):
        table = _chained(data, request, form) if is_paths(data) else ArrowTable(parts_of_object(data), request)
    elif is_url(data):
        table = ArrowTable(parts_of_url(os.fspath(data)), request)
    elif is_pattern(data):
        table = _chained(_matching(os.fspath(data)), request, form)
    else:
        kind = kind_of(data)
        if kind is None:
            known = "a folder, " + ", ".join(KINDS)
            raise ValueError(f"X must be an array or a path to a table ({known}), got {os.fspath(data)!r}.")
        if kind == "NumPy":
            table = _NumpyTable(os.fspath(data), request)
        elif kind == "CSV":
            table = _TextTable(os.fspath(data), request, form)
        else:
            table = ArrowTable(parts_of_path(data, kind), request)
    return table if weights is None else Weighted(table, weights)


def _matching(pattern: str) -> list[str]:
    """Return the paths that a pattern matches, in the order of their names; TableError where there are none."""
    found = sorted(glob.glob(pattern, recursive=True))
    if not found:
        raise TableError(f"no file matches {pattern!r}")
    return found


def _chained(paths: Sequence[Any], request: Request, form: TextFormat) -> Table:
    """Return the tables of some paths, one after the other, with the columns of the first."""
    first = _table(paths[0], request, None, form)
    if first.names is not None:
        request = request._replace(columns=first.names.tolist(), expected=None)
    return (
        first if len(paths) == 1 else _Chain([first, *(_table(path, request, None, form) for path in paths[1:])], paths)
    )


class _Chain(Table):
    """Tables one after the other; TableError where their columns differ."""

    def __init__(self, tables: list[Table], paths: Sequence[Any]) -> None:
        first = tables[0]
        for table, path in zip(tables, paths, strict=True):
            for what, of_it, of_first in (
                ("columns", table.n_features, first.n_features),
                ("names of columns", table.names is not None, first.names is not None),
            ):
                if of_it != of_first:
                    raise TableError(
                        f"all files of X must have the same columns, {path} has {what}: {of_it}, {paths[0]}: {of_first}"
                    )
        self._tables = tables
        self.n_features, self.is_weighted, self.names = first.n_features, first.is_weighted, first.names
        self.dtype = np.float32 if all(table.dtype is np.float32 for table in tables) else np.float64

    def batches(self) -> Iterator[Batch]:
        """Yield the batches of all tables in order."""
        for table in self._tables:
            yield from table.batches()


class _NumpyTable(Table):
    """A .npy file."""

    def __init__(self, path: str, request: Request) -> None:
        array = map_numpy(path)
        self._path, self._shape, self._type = path, array.shape, array.dtype
        self._begin, self._by_columns = array.offset, not array.flags.c_contiguous
        self._selection = request.resolve(None, array.shape[1], path)
        self.n_features, self.is_weighted = width(self._selection), self._selection.weighted
        self.dtype = row_type(array.dtype)

    def batches(self) -> Iterator[Batch]:
        """Yield the file as one batch."""
        with open(self._path, "rb", buffering=0) as stream:
            yield _NumpyBatch(self, stream)

    def read(self, stream: Any, start: int, X: NDArray, weight: Array | None) -> None:
        """Write rows of the open file from `start` on into X, and their weights."""
        positions = self._selection.positions
        n_rows, n_columns = self._shape
        targets: list[NDArray] = list(X.T) if weight is None else [*X.T, weight]
        if self._by_columns:
            column = np.empty(len(X), self._type)
            for target, position in zip(targets, positions, strict=True):
                self._fetch(stream, position * n_rows + start, column)
                target[...] = column
        elif weight is None and X.dtype == self._type and positions == list(range(n_columns)):
            self._fetch(stream, start * n_columns, X)
        else:
            rows = np.empty((len(X), n_columns), self._type)
            self._fetch(stream, start * n_columns, rows)
            for target, position in zip(targets, positions, strict=True):
                target[...] = rows[:, position]

    def _fetch(self, stream: Any, first: int, out: NDArray) -> None:
        """Fill an array by the numbers of the file from the `first` on."""
        stream.seek(self._begin + first * self._type.itemsize)
        left = memoryview(out.reshape(-1).view(np.uint8).data)
        while left:
            n_bytes = stream.readinto(left)
            if not n_bytes:
                raise TableError(f"{self._path} ends too early: it was written to after it had been opened")
            left = left[n_bytes:]

    def place(self, row: int, column: int) -> str:
        """Return where a number is, in words, rows counted from 1."""
        return file_place(self._path, row, self._selection.labels[column])


class _NumpyBatch(Batch):
    """All rows of an open .npy file."""

    def __init__(self, table: _NumpyTable, stream: Any) -> None:
        self._table, self._stream = table, stream
        self.n_rows = table._shape[0]
        assert table.dtype is not None
        self.dtype = table.dtype

    def read(self, start: int, X: NDArray, weight: Array | None) -> None:
        """Write rows from `start` on into X, and their weights."""
        self._table.read(self._stream, start, X, weight)

    def place(self, row: int, column: int) -> str:
        """Return where a number is, in words."""
        return self._table.place(row, column)


class Weighted(Table):
    """A table beside weights of its rows, which are an array or a .npy file."""

    def __init__(self, table: Table, weights: Any) -> None:
        if table.is_weighted:
            raise ValueError("sample_weight must be None where X is rows that have their own weights.")
        self._table = table
        self.n_features, self.names, self.dtype = table.n_features, table.names, table.dtype
        self.is_weighted = True
        self._weights: Table
        if is_path(weights):
            self._weights = _NumpyTable(os.fspath(weights), Request(None, None, None))
            if self._weights.n_features != 1:
                raise ValueError(
                    f"sample_weight must be one column of numbers, got {self._weights.n_features} in {weights}."
                )
        else:
            weights = validation.as_array(weights, "sample_weight")
            if weights.ndim != 1:
                raise ValueError(f"sample_weight must have the shape (n_rows,), got {weights.shape}.")
            self._weights = _ArrayTable(weights)

    def batches(self) -> Iterator[Batch]:
        """Yield the batches of the table with their weights; TableError where there are fewer or more of these."""
        place = 0
        for weights in self._weights.batches():
            for batch in self._table.batches():
                if place + batch.n_rows > weights.n_rows:
                    raise TableError(f"sample_weight has {weights.n_rows} weights, X more rows")
                yield _WeightedBatch(batch, self.n_features, weights, place)
                place += batch.n_rows
            if place < weights.n_rows:
                raise TableError(f"sample_weight has {weights.n_rows} weights, X {place} rows")


class _ArrayTable(Table):
    """Weights that are an array in memory, as a table of one column and one batch."""

    def __init__(self, weights: NDArray) -> None:
        self._batch = ArrayBatch(weights.reshape(-1, 1), None, "sample_weight")
        self.n_features, self.is_weighted = 1, False

    def batches(self) -> Iterator[Batch]:
        """Yield the array."""
        yield self._batch


class _WeightedBatch(Batch):
    """A batch, and the weights that stand in another one from a place on."""

    def __init__(self, batch: Batch, n_features: int, weights: Batch, place: int) -> None:
        self.n_rows, self.dtype = batch.n_rows, batch.dtype
        self._batch, self._n_features, self._weights, self._begin = batch, n_features, weights, place

    def read(self, start: int, X: NDArray, weight: Array | None) -> None:
        """Write rows from `start` on into X, and their weights."""
        assert weight is not None
        self._batch.read(start, X, None)
        self._weights.read(self._begin + start, weight.reshape(-1, 1), None)

    def place(self, row: int, column: int) -> str:
        """Return where a number is, in words."""
        if column == self._n_features:
            return self._weights.place(self._begin + row, 0)
        return self._batch.place(row, column)


class _TextTable(Table):
    """A file of text, by the reader that also reads into memory."""

    def __init__(self, path: str, request: Request, form: TextFormat) -> None:
        self._path, self._request, self._form = path, request, form
        with open_text(path, path, request, form) as reader:
            selection = reader.selection
        self.n_features, self.is_weighted = width(selection), selection.weighted
        self.dtype, self._labels = np.float64, selection.labels
        if selection.named:
            self.names = np.array(self._labels[: self.n_features], dtype=object)

    def batches(self) -> Iterator[Batch]:
        """Yield the rows, some thousand at a time."""
        with open_text(self._path, self._path, self._request, self._form) as reader:
            if reader.selection.labels != self._labels:
                raise TableError(f"{self._path} has other columns than when it was first read")
            for block in reader.blocks():
                weight = block.values[:, -1] if self.is_weighted else None
                yield _TextBatch(self, block, block.values[:, : self.n_features], weight)

    def place(self, line: int, column: int) -> str:
        """Return where a number is, in words."""
        return f"{self._path}: line {line}, column {self._labels[column]!r}"


class _TextBatch(ArrayBatch):
    """Some rows of a file of text."""

    def __init__(self, table: _TextTable, block: TextBlock, X: NDArray, weight: NDArray | None) -> None:
        super().__init__(X, weight, "")
        self._table, self._lines = table, block.lines

    def place(self, row: int, column: int) -> str:
        """Return where a number is, in words, by the line that it stands in."""
        return self._table.place(self._lines[row], column)
