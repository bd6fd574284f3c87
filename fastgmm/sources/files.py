"""Files that are read in every pass: .npy, Parquet, Arrow and CSV; folders of them; tables and data sets of pyarrow."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgmm import validation
from fastgmm.rows import row_type
from fastgmm.sources.opening import may_miss
from fastgmm.sources.streams import ArrayBatch, Batch, ColumnBatch, StreamedRows, Table
from fastgmm.sources.table_formats import refuse_table_formats
from fastgmm.statistics import Array
from fastgmm.support.extras import require
from fastgmm.support.showing import listing, shown
from fastgmm.tables.arrays import map_numpy, require_numbers, row_labels
from fastgmm.tables.request import KINDS, Request, Selection, TableError, kind_of
from fastgmm.tables.text import TextBlock, TextFormat, open_text

# Rows that are decoded at a time, and bytes that a column of a Parquet file is read by.
_BATCH_ROWS = 2**16
_COLUMN_BYTES = 2**16

_IN_FOLDERS = "Parquet", "Arrow"


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
    if is_text and not (_is_path(data) and kind_of(data) == "NumPy"):
        column = sample_weight
    elif sample_weight is not None:
        weights = sample_weight
    if columns is not None and isinstance(columns, str):
        raise TypeError(f"columns must be a list of names, got the text {shown(columns)}.")
    if comment is not None and not (_is_path(data) and kind_of(data) == "CSV"):
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
    return repr(os.fspath(data)) if _is_path(data) else f"a {type(data).__name__}"


def _is_path(data: Any) -> bool:
    return isinstance(data, str | os.PathLike)


def _table(data: Any, request: Request, weights: Any, form: TextFormat) -> Table:
    table: Table
    if not _is_path(data):
        table = _ArrowTable(_object_parts(data), request)
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
            table = _ArrowTable(_parts(data, kind), request)
    return table if weights is None else _Weighted(table, weights)


class _NumpyTable(Table):
    """A .npy file."""

    def __init__(self, path: str, request: Request) -> None:
        array = map_numpy(path)
        self._path, self._shape, self._type = path, array.shape, array.dtype
        self._begin, self._by_columns = array.offset, not array.flags.c_contiguous
        self._selection = request.resolve(None, array.shape[1], path)
        self.n_features, self.is_weighted = _width(self._selection), self._selection.weighted
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
        return _file_place(self._path, row, self._selection.labels[column])


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


def _width(selection: Selection) -> int:
    return len(selection.positions) - selection.weighted


def _file_place(path: str, row: int, label: str) -> str:
    return f"{path}: row {row + 1}, column {label!r}"


class _Weighted(Table):
    """A table beside weights of its rows, which are an array or a .npy file."""

    def __init__(self, table: Table, weights: Any) -> None:
        if table.is_weighted:
            raise ValueError("sample_weight must be None where X is rows that have their own weights.")
        self._table = table
        self.n_features, self.names, self.dtype = table.n_features, table.names, table.dtype
        self.is_weighted = True
        self._weights: Table
        if _is_path(weights):
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
        self.n_features, self.is_weighted = _width(selection), selection.weighted
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


class _Part(NamedTuple):
    """Rows that pyarrow reads: what they are called, their kind, their schema, and batches of chosen columns."""

    label: str
    kind: str
    schema: Any
    batches: Callable[[list[str]], Iterator[Any]]


class _ArrowTable(Table):
    """Parts that pyarrow reads, one after the other."""

    def __init__(self, parts: list[_Part], request: Request) -> None:
        self._parts = parts
        first = parts[0]
        selection = _resolved(first, request)
        self.n_features, self.is_weighted = _width(selection), selection.weighted
        self._labels = selection.labels
        if selection.named:
            self.names = np.array(self._labels[: self.n_features], dtype=object)
        for part in parts[1:]:
            _resolved(part, Request(self._labels, None, None))
        import pyarrow

        single = all(
            part.schema.field(label).type == pyarrow.float32()
            for part in parts
            for label in self._labels[: self.n_features]
        )
        self.dtype = np.float32 if single else np.float64

    def batches(self) -> Iterator[Batch]:
        """Yield the record batches of all parts."""
        for part in self._parts:
            begin = 0
            with _said(part.label, part.kind):
                for batch in part.batches(self._labels):
                    columns = [_numbers(batch.column(batch.schema.get_field_index(label))) for label in self._labels]
                    weight = columns.pop() if self.is_weighted else None
                    yield ColumnBatch(columns, weight, self._place(part.label, begin))
                    begin += batch.num_rows

    def _place(self, label: str, begin: int) -> Callable[[int, int], str]:
        return lambda row, column: _file_place(label, begin + row, self._labels[column])


def _resolved(part: _Part, request: Request) -> Selection:
    """Return which columns of a part are meant, having checked that they hold numbers."""
    header = part.schema.names
    selection = request.resolve(header, len(header), part.label, row_labels(part.schema))
    require_numbers(part.schema, selection.labels, part.label)
    return selection


def _numbers(column: Any) -> NDArray:
    """Return a column of a record batch as NumPy's, in float64 unless it is float32; NaN for null."""
    import pyarrow

    if column.type not in (pyarrow.float32(), pyarrow.float64()):
        column = column.cast(pyarrow.float64(), safe=False)
    array: NDArray = column.to_numpy(zero_copy_only=False)
    return array


@contextmanager
def _said(label: str, kind: str) -> Iterator[None]:
    """Turn errors of pyarrow into TableError that says what could not be read."""
    import pyarrow

    try:
        yield
    except pyarrow.ArrowException as error:
        raise TableError(f"{label} cannot be read as {kind}: {error}") from error


def _object_parts(data: Any) -> list[_Part]:
    """Return the parts of an object of pyarrow."""
    if hasattr(data, "get_fragments"):
        return [_Part("the data set", "a data set", data.schema, lambda names: _scanned(data, names))]
    if hasattr(data, "to_batches") and hasattr(data, "schema"):
        return [_Part("the table", "a table", data.schema, lambda names: iter(data.to_batches(_BATCH_ROWS)))]
    if hasattr(data, "num_rows") and hasattr(data, "schema"):
        return [_Part("the record batch", "a record batch", data.schema, lambda names: iter([data]))]
    raise TypeError(
        f"X must not be a {type(data).__name__}, for every iteration of a fit reads the rows: give a path, a "
        "pyarrow.dataset.Dataset, a Table, or fastgmm.sources.BatchRows of a function that opens it anew."
    )


def _scanned(dataset: Any, names: list[str]) -> Iterator[Any]:
    # Few at a time: what is read ahead lies in memory.
    return iter(dataset.to_batches(columns=names, batch_size=_BATCH_ROWS, batch_readahead=2, fragment_readahead=1))


def _parts(path: str | os.PathLike[str], kind: str) -> list[_Part]:
    """Return the files of a folder, in the order of their names, or the one file."""
    if kind != "folder":
        return [_part(os.fspath(path), kind)]
    inside = Path(path)
    files = sorted(
        file
        for file in inside.rglob("*")
        if not any(part.startswith((".", "_")) for part in file.relative_to(inside).parts)
        and KINDS.get(file.suffix.lower()) in _IN_FOLDERS
        and file.is_file()
    )
    refuse_table_formats(inside, files)
    if not files:
        raise TableError(f"{inside} is a folder without files of Parquet or Arrow ({listing(list(KINDS)[1:6])})")
    return [_part(str(file), KINDS[file.suffix.lower()]) for file in files]


def _part(path: str, kind: str) -> _Part:
    return {"Parquet": _parquet_part, "Arrow": _arrow_part}[kind](path)


def _parquet_part(path: str) -> _Part:
    parquet = require("parquet", "Parquet files need", "pyarrow", "pyarrow.parquet").parquet
    os.stat(path)  # raises what says what is wrong with it

    def batches(names: list[str]) -> Iterator[Any]:
        # Columns are read piece by piece: buffered beforehand, a row group would be in memory as a whole.
        with parquet.ParquetFile(path, pre_buffer=False, buffer_size=_COLUMN_BYTES) as file:
            yield from file.iter_batches(_BATCH_ROWS, columns=names)

    with _said(path, "a Parquet file"), parquet.ParquetFile(path) as file:
        return _Part(path, "a Parquet file", file.schema_arrow, batches)


def _arrow_part(path: str) -> _Part:
    pyarrow = require("arrow", "Arrow files need", "pyarrow", "pyarrow.ipc")
    os.stat(path)

    @contextmanager
    def opened(fields: list[int]) -> Iterator[tuple[Any, Iterator[Any]]]:
        """Give the schema and the batches; a file that is written as a stream has no list of batches."""
        with pyarrow.OSFile(path) as stream:
            options = pyarrow.ipc.IpcReadOptions(included_fields=fields)
            if stream.read(6) == b"ARROW1":
                file = pyarrow.ipc.open_file(stream, options=options)
                yield file.schema, (file.get_batch(number) for number in range(file.num_record_batches))
            else:
                stream.seek(0)
                reader = pyarrow.ipc.open_stream(stream, options=options)
                yield reader.schema, iter(reader)

    with _said(path, "an Arrow file"), opened([]) as (schema, _):
        pass

    def batches(names: list[str]) -> Iterator[Any]:
        with opened(sorted(schema.get_field_index(name) for name in names)) as (_, found):
            yield from found

    return _Part(path, "an Arrow file", schema, batches)
