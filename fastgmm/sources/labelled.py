"""Rows of which some are known to be of a class: they are in its components, and in no other.

A class has one component or several. Of its rows under one component everything that a pass tells is known beforehand:
their statistics are summed once, about their mean, and moved to the origin of each pass; their log joint follows from
them as well. So a pass takes the time of the rows whose class is not known, and of those whose class has several
components, each class for itself under these alone.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgmm import kernels
from fastgmm.exceptions import OutOfRangeError
from fastgmm.families import Family
from fastgmm.kernels import Density
from fastgmm.passes.incomplete import SortedBlock
from fastgmm.rows import ArrayRows, Block, Rows
from fastgmm.sources.incomplete import GappedRows, IncompleteRows, IncompleteSource
from fastgmm.sources.source import Source, source_of
from fastgmm.statistics import Array, SufficientStatistics
from fastgmm.support.typing import Self


class Part(NamedTuple):
    """Rows of positive weight of one class, -1: not known, and the components that they may be in; None for any.

    `complete` are the rows as starts take them: themselves, unless entries are missing.
    """

    label: int
    components: NDArray[np.int64] | None
    rows: Rows
    complete: Rows


class LabelledRows(ArrayRows):
    """The rows of an array, in their order, with what is known of their classes.

    Parameters
    ----------
    rows : ArrayRows, complete or not
    labels : (N,) int64
        The class of each row, -1 where it is not known.
    classes : sequence of int64 arrays
        The components of each class; no component is of two classes.
    """

    def __init__(self, rows: ArrayRows, labels: NDArray[np.int64], classes: Sequence[NDArray[np.int64]]) -> None:
        X = rows.completed.X if isinstance(rows, IncompleteRows) else rows.X
        super().__init__(X, rows.sample_weight, rows.names)
        self.source_type, self.scores_type = LabelledSource, rows.scores_type
        #: The rows as they were given, with their gaps.
        self.given: Rows = rows
        self.least_observed = rows.least_observed
        self.labels, self.classes = labels, tuple(classes)
        self.parts = [part for part in map(self._part, range(-1, len(classes))) if part.rows.n_rows]

    def _part(self, label: int) -> Part:
        weight = self.sample_weight
        chosen = np.flatnonzero(self.labels == label if weight is None else (self.labels == label) & (weight > 0.0))
        own = None if weight is None else weight[chosen]
        rows = complete = ArrayRows(self.X[chosen], own)
        given: Any = self.given
        if np.isnan(given.X[chosen]).any():
            rows = IncompleteRows(given.X[chosen], own)
        return Part(label, None if label < 0 else self.classes[label], rows, complete)

    def of_class(self, label: int) -> Rows:
        """Return all rows of a class, as they were given."""
        given: Any = self.given
        kind = IncompleteRows if isinstance(given, IncompleteRows) else ArrayRows
        return kind(given.X[self.labels == label], None)

    @property
    def gapped(self) -> tuple[Any, ...]:
        """All rows with missing entries that these are made of."""
        return (*self.given.gapped, *(each for part in self.parts for each in part.rows.gapped))

    def sorted_blocks(self) -> Iterator[SortedBlock]:
        """Yield the rows by which of their entries are observed, where some are missing."""
        assert isinstance(self.given, IncompleteRows)
        return self.given.sorted_blocks()

    def given_blocks(self, n_rows: int) -> Iterator[Block]:
        """Yield all rows in order, with their gaps."""
        return self.given.given_blocks(n_rows)

    def part(self, block: Block) -> Rows:
        """Return the rows of a block, with their gaps."""
        return self.given.part(block)

    def scaled(self, exponent: int) -> LabelledRows:
        """Return the same rows with their weights times ``2**-exponent``."""
        other = super().scaled(exponent)
        assert isinstance(other, LabelledRows)
        if other is not self:
            other.parts = [
                part._replace(rows=part.rows.scaled(exponent), complete=part.complete.scaled(exponent))
                for part in self.parts
            ]
        return other

    def class_of_components(self, n_components: int) -> NDArray[np.int64]:
        """Return the class of each component, (K,); -1 for those of none."""
        found = np.full(n_components, -1, np.int64)
        for label, components in enumerate(self.classes):
            found[components] = label
        return found


class LabelledSource(Source):
    """The E-step over rows of which some are known to be of a class; parameters as of ``Source``.

    Where responsibilities are given, for a start, they are those of all rows, whatever their classes.
    """

    rows: LabelledRows

    def __init__(self, family: Family, rows: LabelledRows, n_threads: int | None = None, **options: Any) -> None:
        super().__init__(family, rows, n_threads, **options)
        self._sources: list[tuple[NDArray[np.int64] | None, Source]] = []
        self._totals: list[tuple[int, SufficientStatistics]] = []
        self._constant: SufficientStatistics | None = None
        for _, components, part, _ in rows.parts:
            source = source_of(family, part, n_threads, **options)
            # Moments of missing entries depend on the density.
            if components is None or len(components) > 1 or isinstance(source, IncompleteSource):
                self._sources.append((components, source))
            else:
                self._totals.append((int(components[0]), source.total()))

    def again(self, n_threads: int | None) -> Self:
        """Return the E-step over the same rows for another fit."""
        other = super().again(n_threads)
        other._sources = [(components, source.again(n_threads)) for components, source in self._sources]
        return other

    def total(self) -> SufficientStatistics:
        """Return the statistics of all rows as one component of the family, about their mean; computed once."""
        if self.family.uses_total:
            # For copies of this one.
            for _, source in self._sources:
                # Sums of rows with gaps follow from no total.
                if not isinstance(source, IncompleteSource):
                    source.total()
        return super().total()

    def __call__(
        self,
        density: Density,
        origin: Array | None = None,
        mode: int = kernels.SOFT,
        labels: Any = None,
        responsibilities: Any = None,
    ) -> SufficientStatistics:
        """Return the statistics of all rows, each in the components that it may be in; arguments as of ``Expectation``.

        Of known rows the log evidence is the log of their class's weight times its density. Raises ValueError where
        that is 0.
        """
        if mode not in (kernels.SOFT, kernels.HARD):
            return super().__call__(density, origin, mode, labels, responsibilities)
        about = density.mean if origin is None else origin
        statistics = self._known(density, about)
        for components, source in self._sources:
            source.n_threads = self.n_threads
            if components is None:
                found = source.collect(density, origin, mode)
            else:
                own = None if origin is None else np.ascontiguousarray(origin[components])
                part = source.collect(part_of(self.family, density, components), own, mode)
                found = _placed(self.family, part, components, about)
            statistics = statistics + dataclasses.replace(found, origin=statistics.origin)
        if statistics.log_evidence == -np.inf:
            self._refuse_weightless(density)
        self._require_finite(density, statistics)
        return statistics

    #: The statistics of all rows.
    collect = __call__

    @functools.cached_property
    def _share(self) -> SufficientStatistics:
        """The statistics of all rows as one component, about their mean, with weights near 1."""
        given = self.rows.given
        if isinstance(given, GappedRows):
            return IncompleteSource(self.family, given, self.n_threads)._share
        return super()._share

    def _known(self, density: Density, origin: Array) -> SufficientStatistics:
        """Return the statistics about `origin` of the rows whose component is known."""
        family = self.family
        if not self._totals:
            return family.zero(origin)
        if self._constant is None:
            means = np.repeat(self._totals[0][1].origin, len(origin), axis=0)
            for k, total in self._totals:
                means[k] = total.origin[0]
            placed = [_placed(family, total, np.array([k]), means) for k, total in self._totals]
            self._constant = functools.reduce(operator.add, placed)
        known = self._constant
        evidence = kernels.expected_log_joint(density, known.origin, known.mass, known.deviation, known.scatter)
        return dataclasses.replace(family.recentre(known, origin), log_evidence=evidence)

    def _refuse_weightless(self, density: Density) -> None:
        for label, components, _, _ in self.rows.parts:
            if components is not None and np.isneginf(density.log_scale[components]).all():
                raise OutOfRangeError(
                    f"the components of class {label}, {components.tolist()}, have weight 0, but labels say that rows "
                    "are in it: give them a weight above 0 (weights_init)"
                )


def part_of(family: Family, density: Density, components: NDArray[np.int64]) -> Density:
    """Return the density of some components alone, with the weights that they have in the mixture."""
    return density._replace(
        log_scale=density.log_scale[components],
        mean=density.mean[components],
        whitener=family.select(density.whitener, components),
    )


def _placed(
    family: Family, part: SufficientStatistics, components: NDArray[np.int64], origin: Array
) -> SufficientStatistics:
    """Return statistics of some components as those of all, which have no rows else, about `origin` (K, D)."""
    whole = family.zero(origin)
    whole.mass[components], whole.deviation[components] = part.mass, part.deviation
    # Components that share a scatter have it once.
    whole.scatter[... if family.uses_total else components] = part.scatter
    return dataclasses.replace(whole, log_evidence=part.log_evidence, weight=part.weight)
