"""EM where all components have the same weight."""

from __future__ import annotations

import numpy as np

from fastgmm.kernels import Density
from fastgmm.rules.chart import Chart
from fastgmm.rules.likelihood import GaussianParameters, MaximumLikelihood
from fastgmm.statistics import Array, SufficientStatistics


class EqualWeights(MaximumLikelihood):
    """Expectation maximisation with weights 1 / K: the other updates are the same, and the bound does not fall."""

    def update(
        self, statistics: SufficientStatistics, density: Density | None = None, final: bool = False
    ) -> GaussianParameters:
        """Return the parameters that maximise the likelihood of the statistics among those of equal weights."""
        return self.levelled(super().update(statistics, density, final))

    def state_at(self, chart: Chart, coordinates: Array) -> GaussianParameters:
        """Return the state at the coordinates, with equal weights."""
        return self.levelled(super().state_at(chart, coordinates))

    def levelled(self, state: GaussianParameters) -> GaussianParameters:
        """Return the state with equal weights."""
        n_components = len(state.weights)
        weights = np.full(n_components, 1.0 / n_components)
        density = self.family.density_of_whitener(weights, state.means, state.density.whitener)
        return GaussianParameters(weights, state.covariances, density, state.trusted)
