"""EM where parts of some components are known: they stay as they are, and the others are fitted around them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgmm.exceptions import CollapsedComponentError
from fastgmm.families import Family
from fastgmm.kernels import Density
from fastgmm.rules.chart import Chart
from fastgmm.rules.likelihood import GaussianParameters, MaximumLikelihood
from fastgmm.statistics import Array, SufficientStatistics


@dataclass(frozen=True, eq=False)
class Frozen:
    """Which weights, means and covariances are known, (K,) each, and what they are; values of others do not matter.

    `weights` (K,), `means` (K, D), `covariances` in the family's shape; None where none of a kind is known.
    """

    has_weight: NDArray[np.bool_]
    has_mean: NDArray[np.bool_]
    has_covariance: NDArray[np.bool_]
    weights: Array | None
    means: Array | None
    covariances: Array | None

    def mixed(self, weights: Array) -> Array:
        """Return weights of which the known ones are as known, and the others share the rest as they are."""
        if self.weights is None:
            return weights
        free = ~self.has_weight
        rest, total = 1.0 - self.weights[self.has_weight].sum(), weights[free].sum()
        share = weights[free] / total if total > 0.0 else np.full(free.sum(), 1.0 / max(free.sum(), 1))
        mixed = self.weights.copy()
        mixed[free] = max(rest, 0.0) * share
        return mixed

    def n_parameters(self, family: Family, n_components: int, n_features: int) -> int:
        """Return the number of free parameters that these are."""
        n_weights = int(self.has_weight.sum())
        # The weights sum to one: the last that is free is known, too.
        n_weights -= n_weights == n_components
        covariances = family.n_covariance_parameters(n_components, n_features)
        n_covariances = covariances * int(self.has_covariance.sum()) // n_components
        return n_weights + int(self.has_mean.sum()) * n_features + n_covariances


class FrozenLikelihood(MaximumLikelihood):
    """Expectation maximisation with known parts: updates maximise over the others, so that the bound does not fall.

    For families without a constraint and those whose components share a covariance.
    """

    def __init__(self, family: Family, reg_covar: float, frozen: Frozen) -> None:
        super().__init__(family, reg_covar)
        self.frozen = frozen

    def update(
        self, statistics: SufficientStatistics, density: Density | None = None, final: bool = False
    ) -> GaussianParameters:
        """Return the parameters that maximise the likelihood of the statistics, the known ones as they are."""
        found, frozen = super().update(statistics, density, final), self.frozen
        means, covariances = found.means, found.covariances
        if frozen.means is not None:
            means = np.where(frozen.has_mean[:, None], frozen.means, means)
            covariances = covariances + self._between(found.means - means, found.weights)
        return self._with_known(found.weights, means, covariances, found.trusted)

    def state_at(self, chart: Chart, coordinates: Array) -> GaussianParameters:
        """Return the state at the coordinates, the known parts as they are."""
        found = super().state_at(chart, coordinates)
        means = found.means
        if self.frozen.means is not None:
            means = np.where(self.frozen.has_mean[:, None], self.frozen.means, means)
        return self._with_known(found.weights, means, found.covariances, found.trusted)

    def _between(self, gap: Array, weights: Array) -> Array:
        """Return the part of covariances that comes from means `gap` (K, D) away from those of the rows."""
        outer: Any = self.family.projected(gap[:, :, None] * gap[:, None, :])
        if not self.family.is_tied:
            return np.asarray(outer)
        pooled = np.tensordot(weights, outer, axes=1)
        return np.broadcast_to(pooled, self.family.shape(*gap.shape))

    def _with_known(self, weights: Array, means: Array, covariances: Array, trusted: bool) -> GaussianParameters:
        frozen = self.frozen
        weights, covariances = frozen.mixed(weights), np.array(covariances, np.float64)
        if frozen.covariances is not None:
            if self.family.is_tied:
                covariances = frozen.covariances
            else:
                covariances[frozen.has_covariance] = frozen.covariances[frozen.has_covariance]
        density, failed = self.family.density(weights, means, covariances)
        if failed >= 0:
            raise CollapsedComponentError(failed)
        return GaussianParameters(weights, covariances, density, trusted)
