"""Reading tables of numbers, and writing and reading fitted models."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from fastgmm.io.models import ModelFileError, load_model, save_model
from fastgmm.tables.arrays import read_numpy, read_parquet
from fastgmm.tables.request import Request, Table, TableError
from fastgmm.tables.text import TextFormat, read_text

__all__ = ["ModelFileError", "Table", "TableError", "load_model", "read_table", "save_model"]


def read_table(
    source: str | os.PathLike[str],
    columns: Sequence[str] | None = None,
    *,
    weight: str | None = None,
    expected: Sequence[str] | None = None,
    header: Literal["auto", "yes", "no"] = "auto",
    delimiter: str | None = None,
    array: str | None = None,
    drop_missing: bool = False,
    comment: str | None = None,
    row_id: str | None = None,
    keep_missing: bool = False,
    class_column: str | None = None,
) -> Table:
    """Read the numbers of `columns` (default: all but `weight`) from a file.

    `source` is a path, or ``-`` for text on standard input.  ``.npy``, ``.npz`` and ``.parquet`` are read as such,
    everything else as delimited text in UTF-8, compressed by gzip or not: blank lines are skipped, and lines that begin
    with `comment` where that is given; `delimiter` is a single character, by default the one of tab, semicolon, comma
    and blanks that divides the first two rows alike, and the first row is a header if it holds nothing but text, or
    text above a number.  ``2_5`` and digits of other scripts are no numbers.  Columns without a name are known by their
    number, from "1".  `expected` holds the feature names of a model: those columns are taken if `columns` is None and
    the source names its columns.  `array` chooses from an ``.npz`` file with several arrays.

    A row with a missing value (an empty cell or what pandas takes for one: NA, N/A, #N/A, NaN, null, None, in any case)
    is left out if `drop_missing`, has NaN there if `keep_missing`, and is an error if neither; a weight is never
    missing.  Messages count from 1: lines of text as an editor does, elsewhere rows of data.  `row_id` and
    `class_column` name columns of any type that are no features, but come back as `ids` and as `classes`.

    Raises TableError (a ValueError) that says which row and column is at fault, OSError for a file that cannot be
    read, ImportError for Parquet without pyarrow.
    """
    name = os.fspath(source)
    if drop_missing and keep_missing:
        raise ValueError("drop_missing and keep_missing must not both be True: rows are left out, or kept with NaN.")
    missing: Literal["refuse", "drop", "keep"] = "drop" if drop_missing else "keep" if keep_missing else "refuse"
    request = Request(columns, weight, expected, row_id, missing, class_column)
    suffix = Path(name).suffix.lower()
    if suffix in (".npy", ".npz"):
        return read_numpy(name, request, array)
    if suffix in (".parquet", ".pq"):
        return read_parquet(name, request)
    return read_text(name, "standard input" if name == "-" else name, request, TextFormat(header, delimiter, comment))
