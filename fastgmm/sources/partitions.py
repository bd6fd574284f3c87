"""The base of engines whose rows lie in partitions elsewhere: what is checked and counted there, and kept here.

A partition is read in some other process by a `PartitionReader`, which checks it on its first visit; a `Census` of all
partitions tells where each one's rows stand among all, so that a start is the same as that of the rows in one array.
"""

from __future__ import annotations

import copy
import numbers
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastgmm import validation
from fastgmm.rows import ArrayRows, Rows, Summary, scan
from fastgmm.sources.incomplete import IncompleteRows

T = TypeVar("T")

_FINGERPRINT_ROWS = 64


class Columns(NamedTuple):
    """The columns of all partitions: number and names (or None), whether weighted, the type."""

    n_features: int
    names: NDArray | None
    is_weighted: bool
    dtype: type[np.floating]


def columns_of(rows: Rows) -> Columns:
    """Return the columns of rows in this process: a task."""
    return Columns(rows.n_features, rows.names, rows.is_weighted, rows.dtype)


class Known(NamedTuple):
    """The census of one partition: its number of rows, some of their bits, and where they stand among all.

    `offset` rows come before, `n_weighted_before` of them of positive weight.
    """

    n_rows: int
    fingerprint: int
    offset: int
    n_weighted_before: int


@dataclass(frozen=True, eq=False)
class Census:
    """The census of consecutive partitions; ``+`` puts them together, in order.

    `n_rows`, `n_weighted` and `fingerprints` are lists with a number for each partition, `is_single` is whether all
    rows are float32.
    """

    n_rows: list[int]
    n_weighted: list[int]
    fingerprints: list[int]
    is_single: bool
    summary: Summary

    def __add__(self, later: Census) -> Census:
        """Return the census of both, where `later` comes directly after these partitions."""
        summary = later.summary
        if summary.first is not None:
            summary = replace(summary, place=summary.place + self.summary.n_rows)
        return Census(
            self.n_rows + later.n_rows,
            self.n_weighted + later.n_weighted,
            self.fingerprints + later.fingerprints,
            self.is_single and later.is_single,
            self.summary + summary,
        )

    @property
    def dtype(self) -> type[np.floating]:
        """The type that kernels read all rows in."""
        return np.float32 if self.is_single and self.summary.n_rows else np.float64

    def known(self) -> list[Known]:
        """Return where the rows of each partition stand."""
        offsets, before = (np.cumsum([0, *counts[:-1]]).tolist() for counts in (self.n_rows, self.n_weighted))
        return list(map(Known, self.n_rows, self.fingerprints, offsets, before))


def census(rows: Rows) -> Census:
    """Return the census of one partition in this process: a task."""
    summary = scan(rows)
    is_single = rows.dtype is np.float32 or summary.n_rows == 0
    return Census([summary.n_rows], [summary.n_weighted], [fingerprint(rows)], is_single, summary)


def fingerprint(rows: Rows) -> int:
    """Return a checksum of some rows and weights, which takes next to no time.

    It tells rows that are made anew at random, or come in another order, from those that there were.
    """
    step = max(rows.n_rows // _FINGERPRINT_ROWS, 1)
    digest = 0
    for _, X, weight in rows.given_blocks(max(rows.n_rows, 1)):
        digest = zlib.crc32(X[::step].astype(np.float64).tobytes(), digest)
        if weight is not None:
            digest = zlib.crc32(weight[::step].tobytes(), digest)
    return digest


@dataclass(frozen=True, eq=False)
class PartitionReader:
    """How the rows of a partition are read, the same for all of them; it is sent with each pass.

    Parameters
    ----------
    columns : Columns, or None as long as they are not known
    weight_column : the column of a data frame that holds the weights, or None
    dtype : what kernels are to read all rows in; None for the partition's own type
    exponent : weights are divided by ``2**exponent``
    may_miss : whether NaN is let through
    """

    columns: Columns | None
    weight_column: str | None = None
    dtype: type[np.floating] | None = None
    exponent: int = 0
    may_miss: bool = False

    def __call__(self, data: Any, weight: Any = None, known: Known | None = None) -> ArrayRows:
        """Return the rows of a partition: an array, a data frame or a pair (X, weight), or with `weight` beside it.

        Checked, unless the census knows them. Raises ValueError and TypeError, with the row in the partition, and
        RuntimeError where the rows are not those that are known.
        """
        X, weight = self._split(data, weight)
        if known is None:
            return self._checked(X, weight)
        array = validation.as_array(X, "X", may_be_missing=self.may_miss)
        if weight is not None:
            weight = validation.as_array(weight, "sample_weight").astype(np.float64, copy=False)
        if self.dtype is np.float64 and array.dtype == np.float32:
            array = array.astype(np.float64)
        rows = self._rows(array, weight, None, known.offset, known.n_weighted_before)
        n_rows = {len(array)} if weight is None else {len(array), len(weight)}
        if n_rows != {known.n_rows} or fingerprint(rows) != known.fingerprint:
            raise RuntimeError(
                "it holds other rows than when it was first read. They must be the same in every pass, in one order: "
                "persist() what a shuffle or a merge has made, and make random ones by a seed for each partition."
            )
        return rows

    def _rows(self, array: NDArray, weight: Any, names: NDArray | None, *places: int) -> ArrayRows:
        kind = IncompleteRows if self.may_miss and array.dtype.kind == "f" and np.isnan(array).any() else ArrayRows
        return kind(array, weight, names, *places).scaled(self.exponent)

    def _split(self, data: Any, weight: Any) -> tuple[Any, Any]:
        column = self.weight_column
        if isinstance(data, tuple) and len(data) == 2:
            if weight is not None or column is not None:
                raise ValueError("sample_weight must be None where a partition is a pair (X, weight).")
            return data
        if column is not None:
            return validation.split_weight(data, column)
        return data, np.full(len(data), float(weight)) if isinstance(weight, numbers.Real) else weight

    def _checked(self, X: Any, weight: Any) -> ArrayRows:
        names = validation.feature_names(X)
        array = validation.check_rows(X, "a mixture", minimum=0, may_be_missing=self.may_miss)
        if weight is not None:
            weight = validation.as_array(weight, "sample_weight").astype(np.float64, copy=False)
            if weight.shape != (len(array),):
                raise ValueError(f"sample_weight.shape == {weight.shape}, expected {(len(array),)}!")
            validation.require_weights(weight)
        if self.columns is not None:
            if array.shape[1] != self.columns.n_features:
                raise ValueError(f"X has {array.shape[1]} features, expected {self.columns.n_features}.")
            if _listed(names) != _listed(self.columns.names):
                raise ValueError(f"X has {_listed(names)}, expected {_listed(self.columns.names)}.")
            if (weight is not None) != self.columns.is_weighted:
                raise ValueError("either all partitions must have weights, or none.")
        return self._rows(array, weight, names)


def _listed(names: NDArray | None) -> str:
    return "columns without names" if names is None else f"the columns {list(names)}"


@dataclass(frozen=True, eq=False)
class Visit:
    """A task for each partition, and how the partition is read: what is sent, once a pass."""

    task: Callable[[Rows], Any]
    reader: PartitionReader

    def __call__(self, number: int, data: Any, weight: Any = None, known: Known | None = None) -> Any:
        """Return the task's answer for one partition. Errors begin with its number."""
        try:
            return self.task(self.reader(data, weight, known))
        except (RuntimeError, TypeError, ValueError) as error:
            error.args = (f"partition {number}: {error}",)
            raise


def on_threads(task: Callable[[Rows], T], n_threads: int) -> Callable[[Rows], T]:
    """Return the task as it uses so many threads: those of the process it runs in, not of the one it was made in."""
    if not hasattr(task, "n_threads"):
        return task
    other = copy.copy(task)
    other.n_threads = n_threads
    return other
