"""Where the commands' rows come from: files, standard input, the data sets that come with the package."""

from __future__ import annotations

import argparse
import contextlib
import errno
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgmm import datasets
from fastgmm.cli import report
from fastgmm.cli.outputs import distinct
from fastgmm.io import read_table
from fastgmm.io.models import ModelDocument
from fastgmm.rows import Rows
from fastgmm.sources.opening import is_url
from fastgmm.support.showing import listing
from fastgmm.tables.request import Request, Table, kind_of
from fastgmm.tables.text import MISSING

# What some write where a class is unknown, and is the name of a class here.
_LOOKS_UNKNOWN = frozenset({"?", "unknown", "unlabelled", "unlabeled", "missing", ".", "-", "--"})
SHIPPED = {name.removeprefix("load_"): getattr(datasets, name) for name in datasets.__all__ if name.startswith("load_")}
PREDICT_BLOCK_ROWS, PREDICT_BLOCK_FLOATS = 1 << 18, 1 << 24


class Known(NamedTuple):
    """The classes that a column tells: the number of each row's, (N,), -1 where it is unknown, and their names."""

    column: str
    numbers: NDArray[np.int64]
    names: tuple[str, ...]

    @classmethod
    def of(cls, column: str, cells: Sequence[str]) -> Known:
        """Return the classes of cells of text, numbered in sorted order: numbers by size."""
        texts = [cell.strip() for cell in cells]
        unknown = {text for text in texts if text.lower() in MISSING or text in ("-1", "-1.0")}
        found = sorted(set(texts) - unknown)
        with contextlib.suppress(ValueError):
            found = sorted(found, key=float)
        numbers = {text: number for number, text in enumerate(found)}
        return cls(column, np.array([numbers.get(text, -1) for text in texts], np.int64), tuple(found))

    @property
    def doubtful(self) -> str:
        """A name that looks as if it meant unknown, and that most rows have; empty where there is none."""
        counts = np.bincount(self.numbers[self.numbers >= 0], minlength=1)
        most = int(counts.argmax())
        name = self.names[most] if self.names else ""
        return name if name.lower() in _LOOKS_UNKNOWN and 2 * counts[most] > len(self.numbers) else ""

    def sizes(self, n_components: Sequence[int]) -> tuple[list[int], str]:
        """Return the numbers of components that have one for each class, and what is wrong with the others.

        ValueError, naming the classes, where there is none.
        """
        least = len(self.names)
        fine = [k for k in n_components if k >= least]
        few = ", ".join(str(k) for k in n_components if k < least)
        told = f"column {self.column!r} has {least} classes: {listing(self.names)}; -k is {few}" if few else ""
        if not fine:
            raise ValueError(f"{told} (raise -k, or leave cells of what is no class empty)")
        return fine, told

    def described(self) -> str:
        """Return which class is which component, in words."""
        counts = np.bincount(self.numbers[self.numbers >= 0], minlength=len(self.names))
        return ", ".join(f"{name} = component {k} ({counts[k]} rows)" for k, name in enumerate(self.names)) or "none"


class Data(NamedTuple):
    """The rows of the data, and the names of their columns: apart, for models are matched with them beforehand."""

    rows: Rows
    names: tuple[str, ...] | None
    #: What tells the rows apart in results, under its name: where rows were left out, or a column was asked for.
    marks: list[tuple[str, Any]] = []  # noqa: RUF012 - never written to
    known: Known | None = None

    @classmethod
    def streamed(cls, rows: Rows) -> Data:
        """Return the data of rows that are read as they are needed."""
        names, rows.names = rows.names, None
        return cls(rows, None if names is None else tuple(names))

    @contextmanager
    def named(self) -> Iterator[Rows]:
        """Give the rows their names while the block runs, so that messages about them say which column is meant."""
        self.rows.names = None if self.names is None else np.array(self.names, dtype=object)
        try:
            yield self.rows
        finally:
            self.rows.names = None

    @property
    def total_weight(self) -> float:
        """The weight of all rows."""
        return self.rows.summary.total_weight

    def blocks(self) -> Iterator[tuple[NDArray, list[tuple[str, Any]]]]:
        """Yield the rows as arrays, of which each may be overwritten by the next, and what marks them."""
        n_rows = max(min(PREDICT_BLOCK_ROWS, PREDICT_BLOCK_FLOATS // self.rows.n_features), 1)
        for block in self.rows.given_blocks(n_rows):
            yield block.X, [(name, column[block.places]) for name, column in self.marks]

    def with_column(self, name: str, values: Callable[..., NDArray], **options: Any) -> Iterator[list[tuple[str, Any]]]:
        """Yield what marks the rows, and beside it a column that a function makes of them, block by block."""
        title = distinct(name, [name for name, _ in self.marks])
        return ([*marks, (title, values(X, **options))] for X, marks in self.blocks())


def stage(arguments: argparse.Namespace, what: str) -> contextlib.AbstractContextManager[Any]:
    """Return a word on a terminal for what takes long; nothing where the user asked for quiet."""
    return contextlib.nullcontext() if getattr(arguments, "quiet", False) else report.Stage(what)


def read(arguments: argparse.Namespace, document: ModelDocument | None = None) -> Data:
    """Open the data, with the columns that the model of `document` was fitted on where they have names."""
    with stage(arguments, "looking at the data"):
        return _opened(arguments, document)


def _opened(arguments: argparse.Namespace, document: ModelDocument | None) -> Data:
    weight = getattr(arguments, "weights", None)
    expected = None if document is None else document.feature_names
    source, columns = arguments.data, arguments.columns
    with shipped(source) as path:
        if path is not None:
            source = path
            if columns is None and expected is None:
                columns = [name for name in SHIPPED[arguments.data]().feature_names if name != weight]
        kind = kind_of(source)
        if arguments.drop_missing and kind in ("Arrow", "folder"):
            raise ValueError(f"{source}: --drop-missing is not for folders and Arrow files")
        row_id = getattr(arguments, "id", None)
        if row_id is not None and kind in ("Arrow", "folder"):
            raise ValueError(f"{source}: --id is not for folders and Arrow files")
        labels_column = getattr(arguments, "labels_column", None)
        if labels_column is not None and kind in ("Arrow", "folder"):
            raise ValueError(f"{source}: --labels-column is not for folders and Arrow files")
        keeps = _keeps_missing(arguments, document)
        in_memory = arguments.drop_missing or row_id is not None or labels_column is not None
        if (kind in ("Arrow", "folder", "Parquet", "NumPy") or is_url(source)) and not in_memory:
            from fastgmm.sources.files import open_path

            request = Request(columns, weight, expected, missing="keep" if keeps else "refuse")
            data = Data.streamed(open_path(source, request))
        else:
            table = read_table(
                source,
                columns,
                weight=weight,
                expected=expected,
                header=arguments.header,
                delimiter=arguments.delimiter,
                array=arguments.array,
                drop_missing=arguments.drop_missing,
                comment=arguments.comment,
                row_id=row_id,
                class_column=labels_column,
                keep_missing=keeps,
            )
            if table.dropped:
                _say_dropped(table, "line" if kind in ("CSV", None) and Path(source).suffix != ".npz" else "row")
            # Late: what cannot be read is said before kernels are loaded.
            from fastgmm import validation
            from fastgmm.sources.incomplete import rows_of

            validation.check_sample_weight(table.sample_weight, len(table.values))
            marks: list[tuple[str, Any]] = []
            if row_id is not None:
                marks.append((row_id, table.ids))
            elif arguments.drop_missing:
                marks.append(("row", table.rows))
            known = None if labels_column is None else Known.of(labels_column, table.classes or ())
            rows = rows_of(table.values, table.sample_weight)
            data = Data(rows, table.names, marks, known)
    if document is not None:
        n_features = document.arrays["means"].shape[1]
        if data.rows.n_features != n_features:
            raise ValueError(
                f"{arguments.data} has {data.rows.n_features} columns, the model {n_features} features "
                "(choose the columns with --columns)"
            )
    return data


def _keeps_missing(arguments: argparse.Namespace, document: ModelDocument | None) -> bool:
    """Return whether missing values stay as they are: for a fit or a model that integrates them out."""
    if arguments.drop_missing:
        return False
    if document is not None:
        return document.fit["params"].get("missing") is not None
    return getattr(arguments, "missing", None) is not None


def _say_dropped(table: Table, noun: str) -> None:
    shown = ", ".join(map(str, table.dropped[:5])) + (", ..." if len(table.dropped) > 5 else "")
    total = len(table.dropped) + len(table.values)
    print(
        f"fastgmm: left out {len(table.dropped)} of {total} rows for missing values ({noun} {shown})", file=sys.stderr
    )


@contextmanager
def shipped(name: str) -> Iterator[Path | None]:
    """Give the path of a shipped data set while the block runs, None if `name` is a file's or folder's.

    FileNotFoundError where a bare word, such as a data set has for a name, is neither.
    """
    if Path(name).exists():
        yield None
        return
    if name not in SHIPPED:
        if name != "-" and Path(name).suffix == "" and Path(name).name == name:
            *others, last = SHIPPED
            known = f"{', '.join(others)} and {last}"
            why = f"No such file or directory, and none of the data sets that come with fastgmm: {known}"
            raise FileNotFoundError(errno.ENOENT, why, name)
        yield None
        return
    with resources.as_file(resources.files(datasets).joinpath(f"{name}.csv")) as path:
        yield path
