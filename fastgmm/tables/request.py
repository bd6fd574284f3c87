"""The base of every kind of table file: the result, the choice of columns, the search for missing values."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgmm.support.showing import listing

__all__ = ["KINDS", "Selection", "Table", "TableError", "column_labels", "kind_of", "without_missing"]

BLOCK_ROWS = 8192

#: What a file is, by the end of its name.
KINDS = {
    ".npy": "NumPy",
    ".parquet": "Parquet",
    ".pq": "Parquet",
    ".arrow": "Arrow",
    ".feather": "Arrow",
    ".ipc": "Arrow",
    ".csv": "CSV",
    ".tsv": "CSV",
}


# What may help who reads a table from Python; on the command line an option does.
_REMEDIES = {
    "columns": "choose the columns by columns=[...] of fastgmm.sources.open_rows or fastgmm.io.read_table",
    "comment": "skip lines that begin with '#' by comment='#' of fastgmm.sources.open_rows or fastgmm.io.read_table",
    "drop_missing": (
        "leave such rows out by drop_missing=True of fastgmm.io.read_table, or fit to them with missing='marginal'"
    ),
}


class TableError(ValueError):
    """A table cannot be read; `remedy` names the argument of `read_table` that may help, where one does.

    It is "features" where the model's columns are not there, which only an option of the command line helps against.

    `args` holds what is wrong, alone; as text it says what may help in Python, too.
    """

    def __init__(
        self, message: str, remedy: Literal["columns", "features", "drop_missing", "array", "comment"] | None = None
    ) -> None:
        super().__init__(message)
        self.remedy = remedy

    def __str__(self) -> str:
        """Return the message: a fault, and a remedy."""
        message = str(self.args[0])
        return f"{message} ({_REMEDIES[self.remedy]})" if self.remedy in _REMEDIES else message


class Table(NamedTuple):
    """The columns asked for.

    ``values`` has shape (n_samples, n_features) and is float64, or float32 where an array file holds that.  ``names``
    is None for a source that does not name its columns.  ``sample_weight`` has shape (n_samples,), or is None if no
    weight column was asked for.  ``dropped`` holds the numbers of the rows left out: of lines in text, else of rows of
    data.  ``rows`` (n_samples,) holds the number of each row among the rows of data, from 1, and ``ids`` and
    ``classes`` what its columns of names and of classes hold, None where none was asked for.
    """

    values: NDArray[np.floating]
    names: tuple[str, ...] | None
    sample_weight: NDArray[np.float64] | None
    dropped: tuple[int, ...]
    rows: NDArray[np.int64]
    ids: tuple[str, ...] | None = None
    classes: tuple[str, ...] | None = None


class Selection(NamedTuple):
    """The columns of a source: the features in the order asked for, then the weight if there is one."""

    positions: list[int]
    labels: list[str]
    named: bool
    weighted: bool
    row_id: int | None = None
    class_column: int | None = None

    def table(
        self,
        values: NDArray[np.floating],
        dropped: Sequence[int],
        source: str,
        *,
        rows: NDArray[np.int64] | None = None,
        ids: tuple[str, ...] | None = None,
        classes: tuple[str, ...] | None = None,
    ) -> Table:
        """Make the table of `values`, which has one column for each position; raise TableError if it has no row."""
        if len(values) == 0:
            raise TableError(
                f"{source} has no row without a missing value" if dropped else f"{source} has no data rows"
            )
        sample_weight = None
        if self.weighted:
            values, sample_weight = values[:, :-1], values[:, -1].astype(np.float64)
            if sample_weight.min() < 0:
                raise TableError(
                    f"{source}: the weights in column {self.labels[-1]!r} go down to {sample_weight.min()}"
                )
        names = tuple(self.labels[: values.shape[1]]) if self.named else None
        if rows is None:
            rows = np.delete(np.arange(1, len(values) + len(dropped) + 1), np.array(dropped, np.int64) - 1)
        return Table(values, names, sample_weight, tuple(dropped), rows, ids, classes)


class Request(NamedTuple):
    """The columns that a caller wants, in terms of names; see `fastgmm.io.read_table`.

    `missing` says what becomes of rows with missing values: "refuse" is an error, "drop" leaves them out, and "keep"
    has NaN for them, but for weights, which are never missing.
    """

    columns: Sequence[str] | None
    weight: str | None
    expected: Sequence[str] | None
    row_id: str | None = None
    missing: Literal["refuse", "drop", "keep"] = "refuse"
    class_column: str | None = None

    def resolve(
        self, header: Sequence[str] | None, n_columns: int, source: str, row_labels: Sequence[str] = ()
    ) -> Selection:
        """Find the wanted columns in a source; raise TableError for one that is missing, ambiguous or unnamed.

        And for one of the `row_labels`, the names of columns that are known to number or name the rows, where no names
        are wanted.
        """
        labels = column_labels(header, n_columns)

        def position(name: str, why: str = "") -> int:
            matches = [index for index, label in enumerate(labels) if label == name]
            if not matches:
                known = f"it has {listing(labels)}" if header else f"it has no header, only columns 1 to {n_columns}"
                raise TableError(f"{source} has no column {name!r}{why}: {known}", "features" if why else None)
            if len(matches) > 1:
                raise TableError(f"{source} has {len(matches)} columns named {name!r}")
            return matches[0]

        weight = [] if self.weight is None else [position(self.weight)]
        row_id = None if self.row_id is None else position(self.row_id)
        class_column = None if self.class_column is None else position(self.class_column)
        if self.columns is not None:
            features = [position(name) for name in self.columns]
            if len(set(features)) < len(features):
                raise TableError(f"a column is asked for more than once: {listing(self.columns)}")
        elif self.expected is not None and header is not None:
            features = [position(name, ", which the model was fitted on") for name in self.expected]
        else:
            features = [index for index in range(n_columns) if index not in (*weight, row_id, class_column)]
            for index in features:
                if not labels[index]:
                    raise TableError(f"column {index + 1} of {source} has no name; does it number the rows?", "columns")
                if labels[index] in row_labels:
                    raise TableError(
                        f"column {labels[index]!r} of {source} was the index of a data frame; does it number the rows?",
                        "columns",
                    )
                position(labels[index])
        if not features:
            raise TableError(f"{source} has no column" + (" besides the weight" if weight else ""))
        positions = features + weight
        chosen = [labels[index] for index in positions]
        return Selection(positions, chosen, header is not None, bool(weight), row_id, class_column)


def without_missing(
    values: NDArray[np.floating], selection: Selection, missing: str, source: str
) -> tuple[NDArray[np.floating], list[int]]:
    """Return the rows of `values` that are asked for, and the numbers (from 1) of the others, which have NaN.

    `missing` as of :class:`Request`. Raises TableError for an infinite value, and for NaN where that is refused.
    """
    dropped: list[int] = []
    for start in range(0, len(values), BLOCK_ROWS):
        block = values[start : start + BLOCK_ROWS]
        if np.isfinite(block).all():
            continue
        for row, column in np.argwhere(~np.isfinite(block)):
            number = int(start + row + 1)
            where = f"{source}: row {number}, column {selection.labels[column]!r}"
            if np.isinf(block[row, column]):
                raise TableError(f"{where}: {block[row, column]} is not a finite number")
            if missing == "keep" and not (selection.weighted and column == len(selection.labels) - 1):
                continue
            if missing != "drop":
                raise TableError(f"{where}: missing value", "drop_missing")
            if number not in dropped[-1:]:
                dropped.append(number)
    if dropped:
        values = np.delete(values, np.array(dropped) - 1, axis=0)
    return values, dropped


def kind_of(path: str | os.PathLike[str]) -> str | None:
    """Return the kind of file that a path promises: one of the KINDS or "folder"; None for anything else."""
    if os.path.isdir(path):
        return "folder"
    name = os.fspath(path).lower()
    return KINDS.get(Path(name.removesuffix(".gz") if name.endswith((".csv.gz", ".tsv.gz")) else name).suffix)


def column_labels(header: Sequence[str] | None, n_columns: int) -> list[str]:
    """Return the names of the columns, which without a header are their numbers from "1"."""
    return list(header) if header is not None else [str(number) for number in range(1, n_columns + 1)]
