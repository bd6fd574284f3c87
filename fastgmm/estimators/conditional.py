"""Mixtures of normal laws with weights of their own for each of many rows: what is left of a mixture once some columns
are known, and sums over components in one dimension.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgmm import validation
from fastgmm.statistics import Array

_LARGEST = np.finfo(np.float64).max
_SIGN = np.uint64(1 << 63)


@dataclass(frozen=True, eq=False)
class Conditional:
    """The distribution of some columns given others, one for each of N rows: mixtures of K normal laws.

    Attributes
    ----------
    weights : (N, K)
        The probability of each component, given the row's known columns.
    means : (N, K, R)
        Their means, of the R columns that are not known.
    whiteners : (K, R, R)
        Lower triangular factors A of their precisions A^T A, which do not depend on the row.
    names : array of str, or None
        The names of the R columns.
    """

    weights: Array
    means: Array
    whiteners: Array
    names: NDArray | None = None

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.weights)

    @property
    def covariances(self) -> Array:
        """The components' covariances, (K, R, R), which do not depend on the row."""
        factors = np.linalg.inv(self.whiteners)
        return np.asarray(factors @ np.swapaxes(factors, 1, 2), np.float64)

    def mean(self) -> Array:
        """Return the conditional mean of each row, (N, R): the regression of these columns on the known ones."""
        return np.einsum("nk,nkr->nr", self.weights, self.means)

    def covariance(self) -> Array:
        """Return the conditional covariance of each row, (N, R, R): within components, and between their means."""
        within = np.einsum("nk,krs->nrs", self.weights, self.covariances)
        gap = self.means - self.mean()[:, None]
        return within + np.einsum("nk,nkr,nks->nrs", self.weights, gap, gap)

    def log_density(self, values: ArrayLike) -> Array:
        """Return the log-density (nat) of a value of the columns for each row, `values` (N, R), as (N,)."""
        array, shape = self._array(values), (len(self), self.means.shape[2])
        log_scale = np.log(np.abs(np.diagonal(self.whiteners, axis1=1, axis2=2))).sum(axis=1)
        with np.errstate(divide="ignore", over="ignore"):
            whitened = np.einsum("krs,nks->nkr", self.whiteners, array[:, None] - self.means)
            joint = np.log(self.weights) + log_scale - 0.5 * (whitened**2).sum(axis=2)
        peak = joint.max(axis=1)
        # A value so far out that all squares overflow has no density.
        reached = np.where(np.isfinite(peak), peak, 0.0)
        with np.errstate(divide="ignore"):
            total = np.log(np.exp(joint - reached[:, None]).sum(axis=1))
        return reached + total - 0.5 * shape[1] * math.log(2.0 * math.pi)

    def cdf(self, values: ArrayLike) -> Array:
        """Return the probability of at most `values` (N,) for each row, (N,), where one column is not known; R = 1."""
        laws = self._one_column("cdf")
        return cdf(self._array(values)[:, 0], *laws)

    def quantile(self, q: ArrayLike) -> Array:
        """Return the value that the column stays below with probability `q`, where one column is not known; R = 1.

        For each row: (N,) for a number, (N, Q) for an array (Q,) of them.
        """
        weights, means, deviations = self._one_column("quantile")
        array = validation.check_probability(q, "q")
        if array.ndim > 1:
            raise ValueError(f"q must be a number or one axis of them, got the shape {array.shape}.")
        found = quantile(np.atleast_1d(array)[None], weights[:, None], means[:, None], deviations)
        return found if array.ndim else found[:, 0]

    def sample(self, n_samples: int = 1, random_state: Any = None) -> Array:
        """Return `n_samples` draws for each row, (N, n_samples, R)."""
        n_samples = validation.check_n_samples(n_samples)
        random_state = validation.check_random_state(random_state)
        (n_rows, n_components), n_columns = self.weights.shape, self.means.shape[2]
        edges = np.cumsum(self.weights, axis=1)
        drawn = random_state.uniform(size=(n_rows, n_samples)) * edges[:, -1:]
        draws = random_state.standard_normal((n_rows, n_samples, n_columns))
        labels = np.zeros((n_rows, n_samples), np.int64)
        for k in range(n_components - 1):
            labels += drawn >= edges[:, k, None]
        for k, factor in enumerate(np.linalg.inv(self.whiteners)):
            row, place = np.nonzero(labels == k)
            draws[row, place] = self.means[row, k] + draws[row, place] @ factor.T
        return draws

    def _array(self, values: ArrayLike) -> Array:
        """Return checked values of the columns, (N, R); of one column also from (N,)."""
        if self.names is not None and (given := validation.feature_names(values)) is not None:
            validation.require_same_names(self.names, given)
        array, shape = np.asarray(validation.as_array(values, "values"), np.float64), (len(self), self.means.shape[2])
        if shape[1] == 1 and array.shape == shape[:1]:
            array = array[:, None]
        if array.shape != shape:
            raise ValueError(f"values must have the shape {shape}, a row for each row, got {array.shape}.")
        validation.require_finite(array, "values")
        return array

    def _one_column(self, what: str) -> tuple[Array, Array, Array]:
        if self.means.shape[2] != 1:
            raise ValueError(
                f"{what} is of one column, and {self.means.shape[2]} are not known: take the marginal mixture of one "
                "of them and of the known ones first (marginal)."
            )
        return self.weights, self.means[:, :, 0], 1.0 / np.abs(self.whiteners[:, 0, 0])


def cdf(x: Array, weights: Array, means: Array, deviations: Array) -> Array:
    """Return the distribution function at x (...) of mixtures in one dimension; weights and means (..., K)."""
    # Not with the package: SciPy takes longer to import than all the rest.
    from scipy.special import ndtr

    with np.errstate(over="ignore"):
        return np.minimum((weights * ndtr((x[..., None] - means) / deviations)).sum(axis=-1), 1.0)


def quantile(q: Array, weights: Array, means: Array, deviations: Array) -> Array:
    """Return the least number whose distribution function is `q` (...) at least, to the last bit.

    It lies between the components' own quantiles; the interval is halved in the order of float64 numbers, of which
    there are less than 2**64, for components may be of any width and any distance.
    """
    from scipy.special import ndtri

    held = weights > 0.0
    with np.errstate(over="ignore"):
        each = np.clip(means + deviations * ndtri(np.asarray(q)[..., None]), -_LARGEST, _LARGEST)
    low = _order(np.where(held, each, _LARGEST).min(axis=-1))
    high = _order(np.where(held, each, -_LARGEST).max(axis=-1))
    for _ in range(64):
        middle = low + (high - low) // np.uint64(2)
        below = cdf(_number(middle), weights, means, deviations) < q
        low, high = np.where(below & (middle < high), middle + np.uint64(1), low), np.where(below, high, middle)
    found: Array = _number(high)[()]
    return found


def _order(x: Array) -> NDArray[np.uint64]:
    """Return the places of float64 numbers in the order of all of them."""
    bits = np.ascontiguousarray(x, np.float64).view(np.uint64).reshape(np.shape(x))
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def _number(order: NDArray[np.uint64]) -> Array:
    """Return the float64 numbers at places of their order."""
    bits = np.where(order & _SIGN, order & ~_SIGN, ~order)
    return np.ascontiguousarray(bits).view(np.float64).reshape(np.shape(order))
