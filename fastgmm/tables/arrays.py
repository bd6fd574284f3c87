"""Tables in binary files: NumPy's .npy and .npz, and Parquet."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgmm.support.extras import require
from fastgmm.support.showing import listing
from fastgmm.tables.request import Request, Selection, Table, TableError, without_missing

__all__ = ["map_numpy", "read_numpy", "read_parquet", "require_numbers", "row_labels"]


def read_numpy(path: str, request: Request, array: str | None) -> Table:
    """Read a .npy or .npz file; the arguments and the errors are those of `fastgmm.io.read_table`.

    A .npy file is mapped into memory rather than read.
    """
    values = _as_table(_load(path, array), path)
    n_columns = values.shape[1]
    selection = request.resolve(None, n_columns, path)
    texts = [
        None if place is None else values[:, place].tolist() for place in (selection.row_id, selection.class_column)
    ]
    if selection.positions != list(range(n_columns)):
        values = values[:, selection.positions]
    if values.dtype not in (np.float32, np.float64):
        values = values.astype(np.float64)
    return _table(selection, values, texts, request.missing, path)


def _table(
    selection: Selection, values: NDArray[np.floating], texts: Sequence[list[Any] | None], missing: str, path: str
) -> Table:
    """Return the table of all rows, whose columns of names and of classes hold `texts`."""
    complete, dropped = without_missing(values, selection, missing, path)
    table = selection.table(complete, dropped, path)
    ids, classes = (
        None if cells is None else tuple("" if cells[row - 1] is None else str(cells[row - 1]) for row in table.rows)
        for cells in texts
    )
    return table._replace(ids=ids, classes=classes)


def map_numpy(path: str) -> np.memmap:
    """Map the table in a .npy file into memory, one column if it has one dimension; TableError if it is none."""
    values = _load(path, None)
    if not isinstance(values, np.memmap):
        raise TableError(f"{path} is not a NumPy file of numbers")
    table: np.memmap = _as_table(values, path)
    return table


def _as_table(values: Any, path: str) -> Any:
    if values.dtype.kind not in "fiub":
        raise TableError(f"{path} holds values of type {values.dtype}, not numbers")
    if values.ndim == 1:
        values = values.reshape(-1, 1)
    if values.ndim != 2:
        raise TableError(f"{path} holds an array with {values.ndim} dimensions, a table has 2")
    return values


def _load(path: str, name: str | None) -> NDArray[Any]:
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            held = list(loaded.files)
            if name is None and len(held) == 1:
                return loaded[held[0]]
            if name in held:
                return loaded[name]
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise TableError(f"{path} is not a NumPy file of numbers") from error
    if name is None:
        raise TableError(f"{path} holds {len(held)} arrays ({listing(held)})", "array")
    raise TableError(f"{path} has no array {name!r}: it has {listing(held)}", "array")


def read_parquet(path: str, request: Request) -> Table:
    """Read a Parquet file; the arguments and the errors are those of `fastgmm.io.read_table`."""
    pyarrow = require("parquet", "Parquet files need", "pyarrow", "pyarrow.parquet")
    with open(path, "rb") as stream:
        try:
            file = pyarrow.parquet.ParquetFile(stream)
            header = file.schema_arrow.names
            selection = request.resolve(header, len(header), path, row_labels(file.schema_arrow))
            require_numbers(file.schema_arrow, selection.labels, path)
            others = request.row_id, request.class_column
            columns = file.read(columns=list({*selection.labels, *others} - {None}))
            # A null becomes NaN on the way to NumPy.
            values = np.column_stack(
                [columns.column(label).cast(pyarrow.float64(), safe=False).to_numpy() for label in selection.labels]
            )
            texts = [None if name is None else columns.column(name).to_pylist() for name in others]
        except pyarrow.ArrowException as error:
            raise TableError(f"{path} cannot be read as a Parquet file: {error}") from error
    return _table(selection, values, texts, request.missing, path)


def row_labels(schema: Any) -> list[str]:
    """Return the columns of an Arrow schema that hold the index of the pandas data frame that was written."""
    # What could be made anew, such as a range, is described by a dictionary rather than written.
    return [name for name in (schema.pandas_metadata or {}).get("index_columns", ()) if isinstance(name, str)]


def require_numbers(schema: Any, labels: Sequence[str], source: str) -> None:
    """Raise TableError unless the columns of an Arrow schema hold numbers."""
    from pyarrow import types

    fine = types.is_boolean, types.is_decimal, types.is_integer, types.is_floating
    for label in labels:
        kind = schema.field(label).type
        if not any(is_kind(kind) for is_kind in fine):
            raise TableError(f"{source}: column {label!r} holds values of type {kind}, not numbers", "columns")
