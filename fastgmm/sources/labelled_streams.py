"""Rows that are read anew in every pass, of which some are known to be of a class; their labels are in memory.

Each class's rows are rows of their own, picked out when all are read. So a pass reads them once for the rows whose
class is not known, and once for each class of several components.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastgmm.rows import GAPS, Block, Rows, Summary, recut, scan_rows
from fastgmm.sources.gapped import GappedElsewhere, RowTask
from fastgmm.sources.labelled import LabelledRows, LabelledSource, Part
from fastgmm.sources.streams import StreamedRows
from fastgmm.statistics import Array

T = TypeVar("T")


class ChosenPart(Rows):
    """Some of the rows in this process that are read block by block: those that are `chosen`, (N,) of all."""

    def __init__(self, rows: Rows, chosen: NDArray[np.bool_]) -> None:
        self._rows, self._chosen = rows, chosen
        self.n_rows, self.n_features = int(np.count_nonzero(chosen)), rows.n_features
        self.dtype, self.is_weighted, self.names = rows.dtype, rows.is_weighted, rows.names
        self.may_miss = rows.may_miss

    def _picked(self, blocks: Iterator[Block]) -> Iterator[tuple[NDArray, Array | None]]:
        for places, X, weight in blocks:
            here = self._chosen[places]
            # Copies: what is read may be written over while it waits.
            yield X[here], None if weight is None else weight[here]

    def _cut(self, blocks: Iterator[Block], n_rows: int) -> Iterator[Block]:
        start = 0
        for X, weight in recut(self._picked(blocks), n_rows):
            yield Block(slice(start, start + len(X)), X, weight)
            start += len(X)

    def given_blocks(self, n_rows: int) -> Iterator[Block]:
        """Yield the chosen rows as they were given, `n_rows` at a time."""
        return self._cut(self._rows.given_blocks(scan_rows(self.n_features)), n_rows)

    def blocks(self, n_rows: int) -> Iterator[Block]:
        """Yield the chosen rows, `n_rows` at a time; ValueError where one has a gap."""
        if not self.may_miss:
            yield from self._cut(self._rows.blocks(scan_rows(self.n_features)), n_rows)
            return
        for block in self.given_blocks(n_rows):
            if np.isnan(block.X).any():
                raise ValueError(GAPS)
            yield block

    def scaled(self, exponent: int) -> Rows:
        """Return the same rows with their weights times ``2**-exponent``."""
        return self if exponent == 0 else ChosenPart(self._rows.scaled(exponent), self._chosen)


class ChosenCompleted(ChosenPart):
    """Some of the completed rows that starts take."""

    def gather(self, task: Callable[[Rows], T], combine: Callable[[T, T], T]) -> T:
        """Return the task's answer for the chosen rows."""
        return self._rows.gather(_Choosing(task, self._chosen), combine)

    def scaled(self, exponent: int) -> Rows:
        """Return the same rows with their weights times ``2**-exponent``."""
        return self if exponent == 0 else ChosenCompleted(self._rows.scaled(exponent), self._chosen)


class _Choosing(RowTask):
    """The task that is given some of the rows in this process."""

    def __init__(self, task: Callable[[Any], Any], chosen: NDArray[np.bool_]) -> None:
        super().__init__(task)
        self._chosen = chosen

    def __call__(self, rows: Rows) -> Any:
        return self._run(ChosenPart(rows, self._chosen))


class LabelledStream(LabelledRows):
    """Rows of files or batches, with what is known of their classes; parameters as of ``LabelledRows``."""

    is_read_again = True

    def __init__(self, rows: Rows, labels: NDArray[np.int64], classes: Sequence[NDArray[np.int64]]) -> None:
        self.n_rows, self.n_features, self.dtype = rows.n_rows, rows.n_features, rows.dtype
        self.is_weighted, self.names = rows.is_weighted, rows.names
        self.source_type, self.scores_type = LabelledSource, None
        self.given = rows
        self._whole = rows.completed if isinstance(rows, GappedElsewhere) else rows
        self.least_observed = rows.least_observed
        self.labels, self.classes = labels, tuple(classes)
        self._counted = np.ones(rows.n_rows, np.bool_)
        if rows.is_weighted:
            for places, _, weight in rows.given_blocks(scan_rows(rows.n_features)):
                self._counted[places] = np.asarray(weight) > 0.0
        self.parts = [part for part in map(self._part, range(-1, len(classes))) if part.rows.n_rows]

    def _part(self, label: int) -> Part:
        chosen = (self.labels == label) & self._counted
        complete: Rows = ChosenPart(self.given, chosen)
        rows = self._of(chosen)
        if isinstance(rows, GappedElsewhere) and chosen.any() and rows.gaps().are_some:
            complete = ChosenCompleted(self._whole, chosen)
        elif isinstance(rows, GappedElsewhere):
            rows = complete
        return Part(label, None if label < 0 else self.classes[label], rows, complete)

    def _of(self, chosen: NDArray[np.bool_]) -> Rows:
        if isinstance(self.given, GappedElsewhere):
            return self.given.of(ChosenPart(self.given, chosen))
        return ChosenPart(self.given, chosen)

    def of_class(self, label: int) -> Rows:
        """Return all rows of a class, as they were given."""
        return self._of(self.labels == label)

    @property
    def gapped(self) -> tuple[Any, ...]:
        """All rows with missing entries that these are made of."""
        return (*self.given.gapped, *(each for part in self.parts for each in part.rows.gapped))

    @property
    def summary(self) -> Summary:
        """The summary of one look at the rows, which is kept."""
        return self.given.summary

    def sorted_blocks(self) -> Any:
        """Raise TypeError: passes go to the rows."""
        raise TypeError("rows that are read again are sorted where a task is.")

    def blocks(self, n_rows: int) -> Iterator[Block]:
        """Yield all rows in order; ValueError where entries are missing."""
        return self.given.blocks(n_rows)

    def take(self, drawn: NDArray[np.int64] | None) -> tuple[Array, Array]:
        """Return chosen rows of positive weight, completed, and their weights."""
        return Rows.take(self, drawn)

    def gather(self, task: Callable[[Rows], T], combine: Callable[[T, T], T]) -> T:
        """Return the task's answer for all rows, completed."""
        return self._whole.gather(task, combine)

    def scored(self, task: Callable[[Rows], NDArray]) -> Any:
        """Return the task's answers for each row as it was given, in order."""
        return self.given.scored(task)

    def scaled(self, exponent: int) -> LabelledRows:
        """Return the same rows with their weights times ``2**-exponent``."""
        if not self.is_weighted or exponent == 0:
            return self
        other = copy.copy(self)
        other.given, other._whole = self.given.scaled(exponent), self._whole.scaled(exponent)
        other.parts = [
            part._replace(rows=part.rows.scaled(exponent), complete=part.complete.scaled(exponent))
            for part in self.parts
        ]
        return other


def is_streamed(rows: Rows) -> bool:
    """Return whether rows are read in this process, in every pass, so that their labels may be in memory."""
    return isinstance(rows, StreamedRows) or (isinstance(rows, GappedElsewhere) and rows.stands_before(StreamedRows))


def labelled(rows: Rows, labels: NDArray[np.int64], classes: Sequence[NDArray[np.int64]]) -> LabelledRows:
    """Return rows with what is known of their classes, wherever they are read."""
    kind: Any = LabelledStream if is_streamed(rows) else LabelledRows
    known: LabelledRows = kind(rows, labels, classes)
    return known
