"""Rows with missing entries that are read anew in every pass, or lie in other processes.

``GappedElsewhere`` stands before rows that were opened with ``missing="marginal"``: a task that it takes to them finds
rows that know of their gaps. Starts are taken completed rows: each part draws what is missing when it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastgmm import validation
from fastgmm.passes.incomplete import sort_rows, sorted_rows
from fastgmm.rows import ArrayRows, Block, Rows, Summary, recut
from fastgmm.sources.completing import Law, drawn
from fastgmm.sources.incomplete import GappedRows, IncompleteRows, IncompleteSource, gapped_part, rows_of
from fastgmm.sources.opening import is_elsewhere, open_rows
from fastgmm.sources.partitions import on_threads
from fastgmm.statistics import Array

T = TypeVar("T")


class RowTask:
    """A task that changes the rows which another task is given."""

    def __init__(self, task: Callable[[Any], Any]) -> None:
        self.task = task
        #: Set where the rows are; None leaves those of the task.
        self.n_threads: int | None = None

    @property
    def output(self) -> str:
        """The name of what the task returns of each row."""
        task: Any = self.task
        name: str = task.output
        return name

    def _run(self, rows: Rows) -> Any:
        task = self.task if self.n_threads is None else on_threads(self.task, self.n_threads)
        return task(rows)


class _KnowingGaps(RowTask):
    """The task that is given rows in this process which know that some of their entries are missing."""

    def __init__(self, task: Callable[[Any], Any], log_lengths: Array) -> None:
        super().__init__(task)
        self._log_lengths = log_lengths

    def __call__(self, rows: Rows) -> Any:
        if not isinstance(rows, ArrayRows):
            return self._run(GappedPart(rows, self._log_lengths))
        if not isinstance(rows, IncompleteRows):
            if rows.X.dtype.kind != "f" or not np.isnan(rows.X).any():
                return self._run(rows)
            rows = IncompleteRows(rows.X, rows.sample_weight, rows.names, rows.offset, rows.n_weighted_before)
        rows.log_lengths = self._log_lengths
        return self._run(rows)


class _Completing(RowTask):
    """The task that is given rows with what is missing drawn under a law."""

    def __init__(self, task: Callable[[Any], Any], law: Law) -> None:
        super().__init__(task)
        self._law = law

    def __call__(self, rows: Rows) -> Any:
        return self._run(DrawnPart(rows, self._law, self.n_threads) if isinstance(rows, GappedRows) else rows)


class GappedPart(GappedRows):
    """Rows in this process that are read block by block, with their gaps."""

    def __init__(self, rows: Rows, log_lengths: Array) -> None:
        self._rows = rows
        self.n_rows, self.n_features, self.dtype, self.is_weighted = (
            rows.n_rows,
            rows.n_features,
            rows.dtype,
            rows.is_weighted,
        )
        self.names, self.offset, self.n_weighted_before = rows.names, rows.offset, rows.n_weighted_before
        self.log_lengths = log_lengths
        self._made = {}

    def given_blocks(self, n_rows: int) -> Iterator[Block]:
        """Yield all rows in order, with their gaps."""
        return self._rows.given_blocks(n_rows)

    def scaled(self, exponent: int) -> Rows:
        """Return the same rows with their weights times ``2**-exponent``."""
        return self if exponent == 0 else GappedPart(self._rows.scaled(exponent), self.log_lengths)


class DrawnPart(GappedPart):
    """Rows in this process as starts take them: what is missing is drawn whenever they are read."""

    scores_type = None

    def __init__(self, rows: GappedRows, law: Law, n_threads: int | None) -> None:
        super().__init__(rows, rows.log_lengths)
        self._law, self.n_threads = law, n_threads

    def _tables(self) -> Iterator[tuple[NDArray, Array | None]]:
        for places, X, weight in self._rows.given_blocks(sorted_rows(self.n_features)):
            # What is read may be written over while it waits.
            own = None if weight is None else weight.copy()
            yield drawn(self._law, X, sort_rows(X), places.start, self.n_threads), own

    def blocks(self, n_rows: int) -> Iterator[Block]:
        """Yield all rows in order, `n_rows` at a time, completed."""
        start = self.offset
        for X, weight in recut(self._tables(), n_rows):
            yield Block(slice(start, start + len(X)), X, weight)
            start += len(X)

    def take(self, drawn: NDArray[np.int64] | None) -> tuple[Array, Array]:
        """Return chosen rows of positive weight, completed, and their weights."""
        return Rows.take(self, drawn)

    def scaled(self, exponent: int) -> Rows:
        """Return the same rows with their weights times ``2**-exponent``."""
        rows: Any = self._rows
        return self if exponent == 0 else DrawnPart(rows.scaled(exponent), self._law, self.n_threads)


class _Elsewhere(Rows):
    """Rows that stand before others, of which they have all but the way to read them."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self.names, self.is_weighted = rows.names, rows.is_weighted
        self.is_read_again, self.is_counted_again = rows.is_read_again, rows.is_counted_again
        self.shared = rows.shared

    @property
    def is_counted(self) -> bool:
        """Whether it is known how many rows there are, without a look at them."""
        return self._rows.is_counted

    @property
    def n_rows(self) -> int:  # type: ignore[override]
        """The number of rows."""
        return self._rows.n_rows

    @property
    def n_features(self) -> int:  # type: ignore[override]
        """The number of columns."""
        return self._rows.n_features

    @property
    def dtype(self) -> type[np.floating]:  # type: ignore[override]
        """The type that rows are read in."""
        return self._rows.dtype

    @property
    def summary(self) -> Summary:
        """The summary of one look at the rows, which is kept."""
        return self._rows.summary

    def given_blocks(self, n_rows: int) -> Iterator[Block]:
        """Yield all rows in order, with their gaps."""
        return self._rows.given_blocks(n_rows)

    def blocks(self, n_rows: int) -> Iterator[Block]:
        """Yield all rows in order where they have no gaps; else they are refused."""
        return self._rows.blocks(n_rows)


class GappedElsewhere(_Elsewhere, GappedRows):
    """Rows elsewhere that may have gaps: a task that they gather knows of these.

    Where one look at all finds none, they are rows like others, to the same bits.
    """

    def __init__(self, rows: Rows) -> None:
        super().__init__(rows)
        self.may_miss, self._made = rows.may_miss, {}

    @property
    def source_type(self) -> Any:
        """The class that sums the rows."""
        return IncompleteSource if self.gaps().are_some else None

    @property
    def gapped(self) -> tuple[Any, ...]:
        """These rows."""
        return (self,)

    @property
    def completed(self) -> Rows:
        """The rows as fits start from them."""
        return CompletedElsewhere(self)

    def take(self, drawn: NDArray[np.int64] | None) -> tuple[Array, Array]:
        """Return chosen rows of positive weight where they have no gaps; else they are refused."""
        return Rows.take(self, drawn)

    def _first(self) -> Array:
        return self._rows._first()

    def gather(self, task: Callable[[Rows], T], combine: Callable[[T, T], T]) -> T:
        """Return the task's answer for all rows."""
        if "gaps" in self._made and not self._made["gaps"].are_some:
            return self._rows.gather(task, combine)
        return self._rows.gather(_KnowingGaps(task, self.log_lengths), combine)

    def scored(self, task: Callable[[Rows], NDArray]) -> Any:
        """Return the task's answers for each row, in order: an array, or what stands for one where the rows are."""
        return self._rows.scored(_KnowingGaps(task, self.log_lengths))

    def scaled(self, exponent: int) -> Rows:
        """Return the same rows with their weights times ``2**-exponent``."""
        return self if exponent == 0 or not self.is_weighted else self._like(self._rows.scaled(exponent))

    def expecting(self, names: NDArray | None, n_features: int) -> Rows:
        """Return the rows as a model takes them that was fitted to columns of these names."""
        chosen = self._rows.expecting(names, n_features)
        return self if chosen is self._rows else GappedElsewhere(chosen)

    def stands_before(self, kind: type) -> bool:
        """Return whether the rows are of some kind."""
        return isinstance(self._rows, kind)

    def of(self, rows: Rows) -> GappedElsewhere:
        """Return others that may have gaps, where noise is as it is for these."""
        other = GappedElsewhere(rows)
        other.log_lengths, other.n_threads = self.log_lengths, self.n_threads
        return other

    def _like(self, rows: Rows) -> GappedElsewhere:
        """Return these rows with other weights: what is known of their gaps stays."""
        other = GappedElsewhere(rows)
        other.names, other.shared, other._made = self.names, self.shared, self._made
        other.log_lengths, other.n_threads = self.log_lengths, self.n_threads
        return other


class CompletedElsewhere(_Elsewhere):
    """Rows elsewhere as starts take them: what is missing is drawn where they are, whenever they are read."""

    def __init__(self, rows: GappedElsewhere) -> None:
        super().__init__(rows)
        self.least_observed = rows.least_observed

    @property
    def gapped(self) -> tuple[Any, ...]:
        """The rows that these are completed from."""
        return (self._rows,)

    def gather(self, task: Callable[[Rows], T], combine: Callable[[T, T], T]) -> T:
        """Return the task's answer for all rows, completed."""
        rows: Any = self._rows
        return self._rows.gather(_Completing(task, rows.law()), combine)

    def scaled(self, exponent: int) -> Rows:
        """Return the same rows with their weights times ``2**-exponent``."""
        rows: Any = self._rows
        return self if exponent == 0 or not self.is_weighted else CompletedElsewhere(rows.scaled(exponent))

    def part(self, block: Block) -> Rows:
        """Return the rows of a block, with their gaps."""
        rows: Any = self._rows
        return gapped_part(block, rows.log_lengths)


def open_incomplete(
    X: Any, sample_weight: Any, missing: Any, estimator: str, minimum: int, expected: Sequence[str] | None = None
) -> Rows:
    """Return checked rows, complete or not, with their weights and the names of their columns.

    ValueError for infinite entries, and, with a `minimum` above 1, for columns of which nothing is observed; `expected`
    as of ``open_rows``.
    """
    validation.check_choice(missing, "missing", ("marginal",))
    rows: Rows
    if isinstance(X, ArrayRows) and sample_weight is None:
        rows = X
    elif isinstance(X, Rows) or is_elsewhere(X):
        opened = open_rows(X, sample_weight, expected=expected, missing=missing)
        assert opened is not None
        # Streams have been looked at, rows on a cluster have not.
        rows = GappedElsewhere(opened) if opened.may_miss else opened
    else:
        if isinstance(sample_weight, str):
            X, sample_weight = validation.split_weight(X, sample_weight)
        array = validation.check_rows(X, estimator, minimum=minimum, may_be_missing=True)
        weight = validation.check_sample_weight(sample_weight, len(array), may_be_zero=minimum == 0)
        rows = rows_of(array, weight, validation.feature_names(X))
    if minimum > 1:
        validation.check_n_rows((rows.n_rows, rows.n_features), minimum, estimator)
        if isinstance(rows, GappedRows):
            rows.require_columns()
    return rows
