"""Sufficient statistics: the only thing that travels between layers, batches, threads and machines.

Moments are taken about the means of the E-step that made them, not about zero: additive *and* stable. With data at an
offset of 1e8, raw second moments lose every digit of a unit variance; these lose none.
"""

from __future__ import annotations

import math
import numbers
import operator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SufficientStatistics:
    """Additive statistics of weighted rows under responsibilities r, about fixed points.

    Attributes
    ----------
    origin : (K, D), units of x
        The points that the moments are taken about.
    mass : (K,), weight
        Sum of w r.
    deviation : (K, D), weight * x
        Sum of w r (x - origin).
    scatter : the family's shape, weight * x^2
        The family's projection of the sum of w r (x - origin)(x - origin)^T.
    log_evidence : float, weight * nat
        Sum of w log sum_k exp(log joint).
    weight : float
        Sum of w.

    Notes
    -----
    Statistics about the same origin form a commutative monoid under ``+``, and ``c * statistics`` (c >= 0) scales the
    weight of every row by c. There is no ``-``: a difference of statistics need not be statistics of anything.
    """

    origin: Array
    mass: Array
    deviation: Array
    scatter: Array
    log_evidence: float
    weight: float

    def __add__(self, other: SufficientStatistics) -> SufficientStatistics:
        """Return the statistics of both sets of rows together; ValueError where the origins differ."""
        if type(other) is not type(self):
            return NotImplemented
        if self.origin is not other.origin and not np.array_equal(self.origin, other.origin):
            raise ValueError(
                "statistics about different origins cannot be added: recentre one of them first (Family.recentre)"
            )
        if self.scatter.shape != other.scatter.shape:
            raise ValueError(
                "statistics of different covariance families cannot be added: "
                f"their scatters have shapes {self.scatter.shape} and {other.scatter.shape}"
            )
        return type(self)(self.origin, *map(operator.add, self._sums, other._sums))

    def __mul__(self, factor: float) -> SufficientStatistics:
        """Return the statistics with every row's weight multiplied by `factor` >= 0; ValueError otherwise."""
        if not isinstance(factor, numbers.Real):
            return NotImplemented
        factor = float(factor)
        if not (factor >= 0 and np.isfinite(factor)):
            raise ValueError(f"statistics can be scaled by a finite factor >= 0, got {factor!r}")
        return type(self)(self.origin, *(factor * each for each in self._sums))

    __rmul__ = __mul__

    def to_array(self) -> Array:
        """Return all that adds up as one vector: mass, deviation and scatter row by row, log_evidence, weight.

        Of K + K D + (the scatter's size) + 2 float64. About one origin, the vector of a sum is the sum of the vectors,
        bit for bit: processes that share a density can merge their statistics by any sum of arrays (an allreduce).
        """
        return np.concatenate([np.ravel(each) for each in self._sums])

    @classmethod
    def from_array(cls, array: ArrayLike, origin: ArrayLike, scatter_shape: tuple[int, ...]) -> SufficientStatistics:
        """Return the statistics about `origin` (K, D) of which `array` is the ``to_array()``.

        `scatter_shape` is the family's: ``family.shape(K, D)``. ValueError where the length does not fit.
        """
        values, about = np.array(array, np.float64), np.array(origin, np.float64, ndmin=2)
        shapes = about.shape[:1], about.shape, tuple(scatter_shape)
        lengths = [*map(math.prod, shapes), 1, 1]
        if values.shape != (sum(lengths),):
            raise ValueError(
                f"array must have the shape ({sum(lengths)},) for statistics about {about.shape[0]} points of "
                f"{about.shape[1]} features with a scatter of shape {tuple(scatter_shape)}, got {values.shape}"
            )
        *arrays, log_evidence, weight = np.split(values, np.cumsum(lengths)[:-1])
        mass, deviation, scatter = (part.reshape(shape) for part, shape in zip(arrays, shapes, strict=True))
        return cls(about, mass, deviation, scatter, float(log_evidence[0]), float(weight[0]))

    @property
    def _sums(self) -> tuple[Any, ...]:
        """All that adds up: the fields but the first."""
        return self.mass, self.deviation, self.scatter, self.log_evidence, self.weight

    @property
    def mean(self) -> Array:
        """The components' weighted means, (K, D); the origin for a component without mass."""
        safe = np.where(self.mass > 0, self.mass, 1.0)
        return self.origin + np.where(self.mass > 0, 1.0, 0.0)[:, None] * self.deviation / safe[:, None]


@dataclass(frozen=True, eq=False)
class StudentStatistics(SufficientStatistics):
    """Statistics of rows under Student-t laws, of which a row counts by r u in all moments: u is near 0 for outliers.

    Attributes
    ----------
    mass, deviation, scatter
        As of ``SufficientStatistics``, with w r u in place of w r.
    counts : (K,), weight
        Sum of w r.
    log_mass : (K,), weight
        Sum of w r log u.
    """

    counts: Array
    log_mass: Array

    @property
    def _sums(self) -> tuple[Any, ...]:
        return *super()._sums, self.counts, self.log_mass


@dataclass(frozen=True, eq=False)
class FactorStatistics(SufficientStatistics):
    """Statistics of rows under factor analysers; the scatter is (K, D), the second moments of single features.

    Attributes
    ----------
    products : (K, Q, D), weight * x
        Sum of w r y (x - origin)^T, for the rows y = P (x - mean) that the density's projection P makes.
    """

    products: Array

    @property
    def _sums(self) -> tuple[Any, ...]:
        return *super()._sums, self.products
