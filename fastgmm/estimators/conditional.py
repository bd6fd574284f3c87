"""Mixtures of normal laws with weights of their own for each of many rows: what is left of a mixture once some columns
are known, and sums over components in one dimension.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from fastgmm import validation
from fastgmm.statistics import Array

# Halvings of an interval in units of its component's deviation: all digits of float64.
_HALVINGS = 80


@dataclass(frozen=True, eq=False)
class Conditional:
    """The distribution of some columns given others, one for each of N rows: mixtures of K normal laws.

    Attributes
    ----------
    weights : (N, K)
        The probability of each component, given the row's known columns.
    means : (N, K, R)
        Their means, of the R columns that are not known.
    covariances : (K, R, R)
        Their covariances, which do not depend on the row.
    names : array of str, or None
        The names of the R columns.
    """

    weights: Array
    means: Array
    covariances: Array
    names: NDArray | None = None

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.weights)

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
        gap = self._checked(values)[:, None] - self.means
        lower = np.linalg.cholesky(self.covariances)
        whitened = np.stack([np.linalg.solve(each, gap[:, k].T).T for k, each in enumerate(lower)], axis=1)
        log_scale = np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(axis=1)
        with np.errstate(divide="ignore"):
            joint = np.log(self.weights) - log_scale - 0.5 * (whitened**2).sum(axis=2)
        peak = joint.max(axis=1)
        total = np.log(np.exp(joint - peak[:, None]).sum(axis=1))
        return peak + total - 0.5 * gap.shape[2] * math.log(2.0 * math.pi)

    def cdf(self, values: ArrayLike) -> Array:
        """Return the probability of at most `values` (N,) for each row, (N,), where one column is not known; R = 1."""
        return cdf(np.asarray(values, np.float64), *self._one_column("cdf"))

    def quantile(self, q: float) -> Array:
        """Return the value that the column stays below with probability `q`, for each row, (N,); R = 1."""
        return quantile(validation.check_probability(q, "q"), *self._one_column("quantile"))

    def sample(self, n_samples: int = 1, random_state: Any = None) -> Array:
        """Return `n_samples` draws for each row, (N, n_samples, R)."""
        n_samples = validation.check_n_samples(n_samples)
        random_state = validation.check_random_state(random_state)
        (n_rows, n_components), n_columns = self.weights.shape, self.means.shape[2]
        edges = np.cumsum(self.weights, axis=1)
        drawn = random_state.uniform(size=(n_rows, n_samples)) * edges[:, -1:]
        labels = np.minimum((drawn[:, :, None] >= edges[:, None]).sum(axis=2), n_components - 1)
        noise = random_state.standard_normal((n_rows, n_samples, n_columns))
        lower = np.linalg.cholesky(self.covariances)
        return self.means[np.arange(n_rows)[:, None], labels] + np.einsum("nsrq,nsq->nsr", lower[labels], noise)

    def _checked(self, values: ArrayLike) -> Array:
        array = np.asarray(validation.as_array(values, "values"), np.float64)
        shape = len(self), self.means.shape[2]
        if array.shape != shape:
            raise ValueError(f"values must have the shape {shape}, a row for each row, got {array.shape}.")
        return array

    def _one_column(self, what: str) -> tuple[Array, Array, Array]:
        if self.means.shape[2] != 1:
            raise ValueError(
                f"{what} is of one column, and {self.means.shape[2]} are not known: take the marginal mixture of one "
                "of them and of the known ones first (marginal)."
            )
        return self.weights, self.means[:, :, 0], np.sqrt(self.covariances[:, 0, 0])


def cdf(x: Array, weights: Array, means: Array, deviations: Array) -> Array:
    """Return the distribution function at x (...) of mixtures in one dimension; weights and means (..., K)."""
    return np.minimum((weights * ndtr((x[..., None] - means) / deviations)).sum(axis=-1), 1.0)


def quantile(q: Array, weights: Array, means: Array, deviations: Array) -> Array:
    """Return where the distribution function is `q` (...), by halving the interval between components' quantiles."""
    held = weights > 0.0
    each = means + deviations * ndtri(np.asarray(q)[..., None])
    low = np.where(held, each, np.inf).min(axis=-1)
    high = np.where(held, each, -np.inf).max(axis=-1)
    for _ in range(_HALVINGS):
        middle = low + 0.5 * (high - low)
        below = cdf(middle, weights, means, deviations) < q
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return low + 0.5 * (high - low)
