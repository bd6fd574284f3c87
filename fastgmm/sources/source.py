"""A source: rows as one family's statistics see them."""

from __future__ import annotations

import copy
from typing import Any

from fastgmm.families import Family
from fastgmm.kernels import Density
from fastgmm.passes.expectation import Expectation
from fastgmm.rows import Rows
from fastgmm.statistics import Array, SufficientStatistics


class Source:
    """Rows, wherever they are, for fits of one family; parameters as of ``Expectation``."""

    def __init__(self, family: Family, rows: Rows, n_threads: int | None = None, **options: Any) -> None:
        self.family = family
        self.rows = rows
        self.n_features = rows.n_features
        self._expectation = Expectation(family, rows, n_threads, **options)

    def again(self, n_threads: int | None) -> Source:
        """Return the same rows for another fit, which may run at the same time."""
        other = copy.copy(self)
        other._expectation = self._expectation.again(n_threads)
        return other

    @property
    def n_threads(self) -> int | None:
        """The number of threads that kernels use; None for Numba's current number."""
        return self._expectation.n_threads

    @n_threads.setter
    def n_threads(self, n_threads: int | None) -> None:
        self._expectation.n_threads = n_threads

    @property
    def arithmetic(self) -> tuple[bool, float]:
        """The findings of the passes so far for the next one: see ``Expectation.arithmetic``."""
        return self._expectation.arithmetic

    @arithmetic.setter
    def arithmetic(self, arithmetic: tuple[bool, float]) -> None:
        self._expectation.arithmetic = arithmetic

    @property
    def n_kept(self) -> int | None:
        """At most so many components of a row are kept; None for all."""
        return self._expectation.n_kept

    @property
    def pairs(self) -> Array:
        """Counts of the last pass that skipped pairs: see ``Expectation.pairs``."""
        return self._expectation.pairs

    @property
    def n_weighted_rows(self) -> int:
        """The number of rows of positive weight."""
        return self.rows.summary.n_weighted

    @property
    def total_weight(self) -> float:
        """The weight of all rows."""
        return self.rows.summary.total_weight

    @property
    def effective_rows(self) -> float:
        """The number of rows of equal weight that say as much as rows of these weights."""
        return self.rows.summary.effective_rows

    def collect(self, density: Density, origin: Array | None = None, **assignment: Any) -> SufficientStatistics:
        """Return the statistics of all rows; arguments as of ``Expectation.__call__``."""
        return self._expectation(density, origin, **assignment)

    def total(self) -> SufficientStatistics:
        """Return the statistics of all rows as one component of the family, about their mean; computed once."""
        return self._expectation.total()

    def covariance(self) -> Array:
        """Return the covariance of all rows, in the family's shape for one component; computed once."""
        return self._expectation.covariance()
