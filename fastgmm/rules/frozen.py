"""EM where parts of some components are known: they stay as they are, and the others are fitted around them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastgmm.exceptions import CollapsedComponentError
from fastgmm.families import Family
from fastgmm.kernels import Density
from fastgmm.kernels.structures import contract
from fastgmm.kernels.updates import moments
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
        """Return the parameters that maximise the likelihood of the statistics, the known ones as they are.

        Covariances are about the final means, and those that are known are never estimated.
        """
        family, mass, means = self.family, statistics.mass, self._means(statistics.mean)
        blank = family.blank(*means.shape)
        blank.mean[...] = means
        covariances = family.recentre(statistics, means).scatter
        trusted = final or self._lost_digits(blank, statistics, covariances) < 0
        moments.divide_by_pool(blank, mass, covariances)
        contract.regularise(blank, covariances, self.reg_covar)
        covariances = family.constrained(mass, family.mirror(covariances), blank.whitener)
        return self.with_known(mass / mass.sum(), means, covariances, trusted)

    def _lost_digits(self, blank: Density, statistics: SufficientStatistics, covariances: Array) -> int:
        """Return the first component whose moments lost their digits on the way to a mean that is free, or -1."""
        pool = contract.pool(blank, statistics.mass)
        if self.family.is_tied:
            is_free = self.frozen.covariances is None and not self.frozen.has_mean.all()
            return moments.component_of_lost_digits(blank, pool, statistics.scatter, covariances) if is_free else -1
        for k in np.flatnonzero(~self.frozen.has_mean & ~self.frozen.has_covariance):
            one = [int(k)]
            part = type(blank)(*(np.ascontiguousarray(array[one]) for array in blank))
            scatters = (np.ascontiguousarray(array[one]) for array in (statistics.scatter, covariances))
            if moments.component_of_lost_digits(part, pool[one], *scatters) >= 0:
                return int(k)
        return -1

    def _means(self, means: Array) -> Array:
        """Return means of which the known ones are as known."""
        return means if self.frozen.means is None else np.where(self.frozen.has_mean[:, None], self.frozen.means, means)

    def _is_group(self, k: int, state: GaussianParameters, fewest_rows: int, n_samples: float) -> bool:
        """Return whether a narrow component on few rows is no coincidence: also where its covariance is known."""
        return bool(self.frozen.has_covariance[k]) or super()._is_group(k, state, fewest_rows, n_samples)

    def state_at(self, chart: Chart, coordinates: Array) -> GaussianParameters:
        """Return the state at the coordinates, the known parts as they are."""
        found = super().state_at(chart, coordinates)
        return self.with_known(found.weights, found.means, found.covariances)

    def with_known(self, weights: Array, means: Array, covariances: Array, trusted: bool = True) -> GaussianParameters:
        """Return the state of these parameters, the known ones as they are."""
        frozen, means = self.frozen, self._means(means)
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
