"""Tables that pyarrow reads in every pass: Parquet and Arrow files, folders of them, objects with an Arrow stream."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgmm.sources.streams import Batch, ColumnBatch, Table
from fastgmm.sources.table_formats import refuse_table_formats
from fastgmm.support.extras import require
from fastgmm.support.showing import listing
from fastgmm.tables.arrays import require_numbers, row_labels
from fastgmm.tables.request import KINDS, Request, Selection, TableError

# Rows that are decoded at a time, and bytes that a column of a Parquet file is read by.
_BATCH_ROWS = 2**16
_COLUMN_BYTES = 2**16

#: The kinds of files that folders of tables hold.
FOLDER_KINDS = "Parquet", "Arrow"


def width(selection: Selection) -> int:
    """Return the number of features of a choice of columns."""
    return len(selection.positions) - selection.weighted


def file_place(path: str, row: int, label: str) -> str:
    """Return where a number of a file is, in words, rows counted from 1."""
    return f"{path}: row {row + 1}, column {label!r}"


class Part(NamedTuple):
    """Rows that pyarrow reads: what they are called, their kind, their schema, and batches of chosen columns."""

    label: str
    kind: str
    schema: Any
    batches: Callable[[list[str]], Iterator[Any]]


class ArrowTable(Table):
    """Parts that pyarrow reads, one after the other."""

    def __init__(self, parts: list[Part], request: Request) -> None:
        self._parts = parts
        first = parts[0]
        selection = _resolved(first, request)
        self.n_features, self.is_weighted = width(selection), selection.weighted
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
        return lambda row, column: file_place(label, begin + row, self._labels[column])


def _resolved(part: Part, request: Request) -> Selection:
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


def parts_of_object(data: Any) -> list[Part]:
    """Return the parts of an object of pyarrow, or of another package whose objects begin a new Arrow stream."""
    if type(data).__module__.partition(".")[0] != "pyarrow":
        return [_stream_part(data)]
    if hasattr(data, "get_fragments"):
        return [Part("the data set", "a data set", data.schema, lambda names: _scanned(data, names))]
    if hasattr(data, "to_batches") and hasattr(data, "schema"):
        return [Part("the table", "a table", data.schema, lambda names: iter(data.to_batches(_BATCH_ROWS)))]
    if hasattr(data, "num_rows") and hasattr(data, "schema"):
        return [Part("the record batch", "a record batch", data.schema, lambda names: iter([data]))]
    raise TypeError(
        f"X must not be a {type(data).__name__}, for every iteration of a fit reads the rows: give a path, a "
        "pyarrow.dataset.Dataset, a Table, or fastgmm.sources.BatchRows of a function that opens it anew."
    )


def _stream_part(data: Any) -> Part:
    """Return the rows of an object with ``__arrow_c_stream__``, such as a query, which each pass asks anew."""
    pyarrow = require("arrow", "Arrow streams need", "pyarrow")
    name = type(data).__name__

    def opened() -> Any:
        return pyarrow.table(data).to_reader(_BATCH_ROWS) if is_old else pyarrow.RecordBatchReader.from_stream(data)

    # Of versions before 15, which take such an object as a whole.
    is_old = not hasattr(pyarrow.RecordBatchReader, "from_stream")
    with _said(f"the {name}", "an Arrow stream"):
        reader = opened()
    if not isinstance(reader.schema, pyarrow.Schema):
        raise TypeError(f"X must give an Arrow stream of a table, got a {name} of {reader.schema}.")
    return Part(f"the {name}", "an Arrow stream", reader.schema, lambda names: iter(opened()))


def _scanned(dataset: Any, names: list[str]) -> Iterator[Any]:
    # Few at a time: what is read ahead lies in memory.
    return iter(dataset.to_batches(columns=names, batch_size=_BATCH_ROWS, batch_readahead=2, fragment_readahead=1))


def parts_of_path(path: str | os.PathLike[str], kind: str) -> list[Part]:
    """Return the files of a folder, in the order of their names, or the one file."""
    if kind != "folder":
        return [_part(os.fspath(path), kind)]
    inside = Path(path)
    files = sorted(
        file
        for file in inside.rglob("*")
        if not any(part.startswith((".", "_")) for part in file.relative_to(inside).parts)
        and KINDS.get(file.suffix.lower()) in FOLDER_KINDS
        and file.is_file()
    )
    refuse_table_formats(inside, files)
    if not files:
        raise TableError(f"{inside} is a folder without files of Parquet or Arrow ({listing(list(KINDS)[1:6])})")
    return [_part(str(file), KINDS[file.suffix.lower()]) for file in files]


def _part(path: str, kind: str) -> Part:
    def source() -> str:
        os.stat(path)  # raises what says what is wrong with it
        return path

    return part_of_file(path, kind, source)


def part_of_file(label: str, kind: str, source: Callable[[], Any]) -> Part:
    """Return a Parquet or Arrow file; `source` returns its path or, newly opened, a file of pyarrow."""
    return {"Parquet": _parquet_part, "Arrow": _arrow_part}[kind](label, source)


def _parquet_part(label: str, source: Callable[[], Any]) -> Part:
    parquet = require("parquet", "Parquet files need", "pyarrow", "pyarrow.parquet").parquet

    def batches(names: list[str]) -> Iterator[Any]:
        # Columns are read piece by piece: buffered beforehand, a row group would be in memory as a whole.
        with parquet.ParquetFile(source(), pre_buffer=False, buffer_size=_COLUMN_BYTES) as file:
            yield from file.iter_batches(_BATCH_ROWS, columns=names)

    with _said(label, "a Parquet file"), parquet.ParquetFile(source()) as file:
        return Part(label, "a Parquet file", file.schema_arrow, batches)


def _arrow_part(label: str, source: Callable[[], Any]) -> Part:
    pyarrow = require("arrow", "Arrow files need", "pyarrow", "pyarrow.ipc")

    @contextmanager
    def opened(fields: list[int]) -> Iterator[tuple[Any, Iterator[Any]]]:
        """Give the schema and the batches; a file that is written as a stream has no list of batches."""
        found = source()
        with pyarrow.OSFile(found) if isinstance(found, str) else found as stream:
            options = pyarrow.ipc.IpcReadOptions(included_fields=fields)
            if stream.read(6) == b"ARROW1":
                file = pyarrow.ipc.open_file(stream, options=options)
                yield file.schema, (file.get_batch(number) for number in range(file.num_record_batches))
            else:
                stream.seek(0)
                reader = pyarrow.ipc.open_stream(stream, options=options)
                yield reader.schema, iter(reader)

    with _said(label, "an Arrow file"), opened([]) as (schema, _):
        pass

    def batches(names: list[str]) -> Iterator[Any]:
        with opened(sorted(schema.get_field_index(name) for name in names)) as (_, found):
            yield from found

    return Part(label, "an Arrow file", schema, batches)
