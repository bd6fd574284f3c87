"""EM for mixtures of factor analysers: covariances Lambda Lambda^T + Psi of few factors (Ghahramani and Hinton 1996).

Means and weights, then loadings and uniquenesses about the new means, all by one E-step: two cycles of Meng and van
Dyk's AECM (1997), in which the labels stay as they are (McLachlan, Peel and Bean 2003). With y = P (x - mean), for P of
the density, the projected rows have a covariance S and products H^T with the rows, about their means. With
C C^T = I + Lambda^T Psi^-1 Lambda, EM's update is Lambda = H^T (I + S)^-1 C^T and Psi = diag(V - H^T (I + S)^-1 H).
So loadings need H and the diagonal of the second moments V alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgmm.families import NAMED
from fastgmm.kernels.structures.factor import FactorDensity
from fastgmm.rules.likelihood import MaximumLikelihood
from fastgmm.statistics import Array, FactorStatistics, SufficientStatistics

#: What is the same: nothing, the uniquenesses of all components, or those of all columns of a component.
UNIQUENESSES = "own", "common", "isotropic"
# The least share of a column's variance that its uniqueness is, whatever was asked for: below, distances lose digits.
_LEAST_SHARE = 1e-10
# Second moments that cancel to this share of themselves have too few digits left.
_CANCELLED = 1e-8
# A component without weight has a length in charts all the same.
_LEAST_COUNT = 1e-300


@dataclass(frozen=True, eq=False)
class FactorParameters:
    """State: mixing weights (K,), variances (K, D), loadings (K, D, Q), uniquenesses (K, D), and their density.

    The variances, of whole rows of a component, are called covariances as those of every state are. `trusted` as of
    ``GaussianParameters``.
    """

    weights: Array
    covariances: Array
    loadings: Array
    uniquenesses: Array
    density: FactorDensity
    trusted: bool = True

    @property
    def means(self) -> Array:
        """The means, (K, D)."""
        return self.density.mean


def factor_density(weights: Array, means: Array, loadings: Array, uniquenesses: Array) -> FactorDensity:
    """Return the density of factor analysers; loadings (K, D, Q), uniquenesses (K, D), all positive."""
    scale = 1.0 / np.sqrt(uniquenesses)
    whitened = scale[:, :, None] * loadings
    root: Any = np.linalg.cholesky(np.eye(whitened.shape[2]) + np.swapaxes(whitened, 1, 2) @ whitened)
    with np.errstate(divide="ignore"):
        log_scale = np.log(weights)
    log_scale = log_scale - 0.5 * means.shape[1] * math.log(2.0 * math.pi) + np.log(scale).sum(axis=1)
    log_scale -= np.log(np.diagonal(root, axis1=1, axis2=2)).sum(axis=1)
    projection = np.linalg.solve(root, np.swapaxes(whitened, 1, 2)) * scale[:, None, :]
    order = np.arange(loadings.shape[2], dtype=np.int64)
    means = np.array(means, np.float64, order="C")
    return FactorDensity(log_scale, means, scale, np.ascontiguousarray(projection), root, order)


def factor_parameters(
    weights: Array, means: Array, loadings: Array, uniquenesses: Array, trusted: bool = True
) -> FactorParameters:
    """Return the state of parameters that are given."""
    variances = (loadings**2).sum(axis=2) + uniquenesses
    density = factor_density(weights, means, loadings, uniquenesses)
    return FactorParameters(weights, variances, loadings, uniquenesses, density, trusted)


class FactorLikelihood(MaximumLikelihood):
    """Expectation maximisation; `uniquenesses` is one of UNIQUENESSES, `variances` (D,) those of all rows.

    No uniqueness is less than `reg_covar` times the variance of its column: the maximum within that bound, so that
    the likelihood never falls.
    """

    def __init__(self, n_factors: int, uniquenesses: str, reg_covar: float, variances: Array) -> None:
        super().__init__(NAMED["diag"], reg_covar)
        self.n_factors, self.uniquenesses, self.variances = n_factors, uniquenesses, variances
        least = max(reg_covar, _LEAST_SHARE) * variances
        self.least: Array = np.full_like(least, least.mean()) if uniquenesses == "isotropic" else least

    def fewest_rows(self, n_features: int) -> int:
        """Return how many rows a component needs: one more than lie in a plane of its factors."""
        return self.n_factors + 2

    def blank_state(self, n_components: int, n_features: int) -> Any:
        """Return the state of a standard law in every component: which arrays there are, and their shapes."""
        ones = np.ones((n_components, n_features))
        loadings = np.zeros((n_components, n_features, self.n_factors))
        return factor_parameters(ones[:, 0] / n_components, np.zeros_like(ones), loadings, ones)

    def shared(self, mass: Array, residual: Array) -> Array:
        """Return the uniquenesses (K, D) of the residual variances of components of some mass (K,)."""
        if self.uniquenesses == "common":
            residual = np.tile((mass / mass.sum()) @ residual, (len(mass), 1))
        elif self.uniquenesses == "isotropic":
            residual = np.repeat(residual.mean(axis=1, keepdims=True), residual.shape[1], axis=1)
        uniquenesses: Array = np.maximum(residual, self.least)
        return uniquenesses

    def update(self, statistics: SufficientStatistics, density: Any = None, final: bool = False) -> Any:
        """Return the parameters that the statistics lead to, which `density` made, if any did.

        Of statistics of other rules, as starts have them, those without any factor.
        """
        mass = statistics.mass
        held = mass > 0.0
        count = np.where(held, mass, 1.0)
        shift = statistics.deviation / count[:, None]
        second = statistics.scatter / count[:, None]
        variances = second - shift**2
        trusted = final or bool((variances >= _CANCELLED * second)[held].all())
        means = statistics.origin + shift
        weights = mass / mass.sum()
        shape = (*means.shape, self.n_factors)
        if not isinstance(statistics, FactorStatistics):
            residual = np.where(held[:, None], variances, self.variances)
            return factor_parameters(weights, means, np.zeros(shape), self.shared(mass, residual), trusted)
        projection, root = density.projection, density.root
        # About the means of both; those of the projected rows are about the mean of the density.
        gap = np.einsum("kqd,kd->kq", projection, means - density.mean)
        products = statistics.products / count[:, None, None] - gap[:, :, None] * shift[:, None, :]
        covariance = products @ np.swapaxes(projection, 1, 2)
        covariance = 0.5 * (covariance + np.swapaxes(covariance, 1, 2))
        inner = np.linalg.cholesky(np.eye(self.n_factors) + covariance)
        explained = np.linalg.solve(inner, products)
        residual = variances - (explained**2).sum(axis=1)
        loadings = np.swapaxes(root @ np.linalg.solve(np.swapaxes(inner, 1, 2), explained), 1, 2)
        # A component without rows stays as it is.
        before = density.whitener**-2.0
        residual = np.where(held[:, None], residual, before)
        stays = before[:, :, None] * np.swapaxes(root @ projection, 1, 2)
        loadings = np.where(held[:, None, None], loadings, stays)
        return factor_parameters(weights, means, loadings, self.shared(mass, residual), trusted)

    def chart(self, state: Any) -> Any:
        """Return coordinates about a state, for extrapolation."""
        return _FactorChart(state, self.uniquenesses)

    def coordinates(self, chart: Any, state: Any) -> Array:
        """Return the coordinates of a state; not finite where a component has lost its weight."""
        return chart.coordinates(state)

    def state_at(self, chart: Any, coordinates: Array) -> Any:
        """Return the state at the coordinates."""
        weights, means, loadings, uniquenesses = chart.mixture(coordinates)
        return factor_parameters(weights, means, loadings, np.maximum(uniquenesses, self.least))


class _FactorChart:
    """Coordinates about a state: log weights, means and loadings in units of 1 / sqrt(psi), and logarithms of psi.

    Each times the square root of about its information in complete data, where factors have a variance of 1.
    """

    def __init__(self, state: FactorParameters, kind: str) -> None:
        self._reference, self._kind = state, kind
        _, n_features, n_factors = state.loadings.shape
        counts = np.maximum(state.weights, _LEAST_COUNT)
        unique = {"common": np.full(n_features, 0.5), "isotropic": 0.5 * n_features * counts}
        information = [
            counts,
            np.repeat(counts, n_features),
            np.repeat(counts, n_features * n_factors),
            unique.get(kind, np.repeat(0.5 * counts, n_features)),
        ]
        self._lengths = [len(each) for each in information]
        self.unit: Array = np.sqrt(np.concatenate(information))

    def coordinates(self, state: FactorParameters) -> Array:
        """Return the coordinates of a state."""
        reference = self._reference
        present = reference.weights > 0.0
        scale = reference.density.whitener
        parts = (
            np.log(np.where(present, state.weights, 1.0) / np.where(present, reference.weights, 1.0)),
            scale * (state.means - reference.means),
            scale[:, :, None] * (state.loadings - reference.loadings),
            self._free(np.log(state.uniquenesses / reference.uniquenesses)),
        )
        return self.unit * np.concatenate([part.ravel() for part in parts])

    def mixture(self, coordinates: Array) -> tuple[Array, Array, Array, Array]:
        """Return the weights, means, loadings and uniquenesses at the coordinates."""
        reference = self._reference
        parts = np.split(coordinates / self.unit, np.cumsum(self._lengths)[:-1])
        weights = reference.weights * np.exp(parts[0])
        scale = reference.density.whitener
        means = reference.means + parts[1].reshape(scale.shape) / scale
        loadings = reference.loadings + parts[2].reshape(reference.loadings.shape) / scale[:, :, None]
        free = {"common": (1, -1), "isotropic": (-1, 1)}.get(self._kind, scale.shape)
        return weights / weights.sum(), means, loadings, reference.uniquenesses * np.exp(parts[3].reshape(free))

    def _free(self, values: Array) -> Array:
        """Return those of (K, D) values that are not shared."""
        return {"common": values[:1], "isotropic": values[:, :1]}.get(self._kind, values)
