"""Rows that are an array: in memory, or mapped from a file."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgmm.expectation import Expectation, row_type
from fastgmm.families import Family
from fastgmm.kernels import Density
from fastgmm.statistics import Array, SufficientStatistics


class MemorySource:
    """An (N, D) array of real numbers with optional row weights; parameters as of ``Expectation``."""

    def __init__(
        self, family: Family, X: NDArray, sample_weight: Array | None = None, n_threads: int | None = None
    ) -> None:
        self.family = family
        self.n_rows, self.n_features = X.shape
        self._X = X
        self._sample_weight = sample_weight
        self._expectation = Expectation(family, X, sample_weight, n_threads)

    def again(self, n_threads: int | None) -> MemorySource:
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
    def n_weighted_rows(self) -> int:
        """The number of rows of positive weight."""
        return self.n_rows if self._sample_weight is None else int(np.count_nonzero(self._sample_weight))

    @property
    def dtype(self) -> type[np.floating]:
        """The type that kernels read the rows in."""
        return row_type(self._X)

    @property
    def total_weight(self) -> float:
        """The weight of all rows."""
        return float(self.n_rows if self._sample_weight is None else self._sample_weight.sum())

    @property
    def effective_rows(self) -> float:
        """The number of rows of equal weight that say as much as rows of these weights (Kish 1965)."""
        if self._sample_weight is None:
            return float(self.n_rows)
        share = self._sample_weight / self._sample_weight.max()
        return float(share.sum() ** 2 / (share**2).sum())

    def collect(self, density: Density, origin: Array | None = None, **assignment: Any) -> SufficientStatistics:
        """Return the statistics of all rows; arguments as of ``Expectation.__call__``."""
        return self._expectation(density, origin, **assignment)

    def total(self) -> SufficientStatistics:
        """Return the statistics of all rows as one component of the family, about their mean; computed once."""
        return self._expectation.total()

    def sample(self, n_rows: int, random_state: Any) -> tuple[Array, Array]:
        """Return at most `n_rows` different rows of positive weight, as float64 in order, and their weights.

        All of them where there are no more; else drawn at random, a few less than `n_rows`.
        """
        candidates = None if self._sample_weight is None else np.flatnonzero(self._sample_weight)
        n_candidates = self.n_rows if candidates is None else len(candidates)
        if n_candidates > n_rows:
            drawn = np.unique((random_state.uniform(size=n_rows) * n_candidates).astype(np.int64))
            candidates = drawn if candidates is None else candidates[drawn]
        X = self._X if candidates is None else self._X[candidates]
        weight = self._sample_weight[candidates] if self._sample_weight is not None else np.ones(len(X))
        return np.array(X, np.float64, order="C"), np.array(weight, np.float64)
