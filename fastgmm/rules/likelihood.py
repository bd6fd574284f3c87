"""The EM rule: maximum-likelihood parameters, with scikit-learn's ``reg_covar`` added to the variances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgmm.exceptions import CollapsedComponentError
from fastgmm.families import Family
from fastgmm.kernels import Density, contract
from fastgmm.kernels.closed_forms import COLLAPSED, LOST_DIGITS, spurious_component
from fastgmm.rules.chart import Chart
from fastgmm.statistics import Array, SufficientStatistics


@dataclass(frozen=True, eq=False)
class GaussianParameters:
    """Maximum-likelihood state: mixing weights (K,), covariances (the family's shape), and their density.

    `trusted` is False where the statistics' origin was so far from the means that the covariances lost their digits.
    """

    weights: Array
    covariances: Array
    density: Density
    trusted: bool = True

    @property
    def means(self) -> Array:
        """The means, (K, D)."""
        return self.density.mean


def parameters_of_whitener(family: Family, weights: Array, means: Array, whitener: Array) -> GaussianParameters:
    """Return the state of mixing weights, means and whiteners (finite, positive diagonal)."""
    density = family.density_of_whitener(weights, means, whitener)
    return GaussianParameters(
        np.asarray(weights, np.float64), family.covariances_of_whitener(density.whitener), density
    )


class MaximumLikelihood:
    """Expectation maximisation. The bound is a row's weighted mean log-likelihood; it never falls (reg_covar 0)."""

    #: Seeded components that are too thin for a covariance need pseudo-rows.
    smooths_seeds = True

    def __init__(self, family: Family, reg_covar: float) -> None:
        self.family = family
        self.reg_covar = reg_covar

    def blank_state(self, n_components: int, n_features: int) -> GaussianParameters:
        """Return a state filled with zeros: which arrays there are, and their shapes."""
        covariances = np.zeros(self.family.shape(n_components, n_features))
        return GaussianParameters(np.zeros(n_components), covariances, self.family.blank(n_components, n_features))

    def density(self, state: GaussianParameters) -> Density:
        """Return what the kernels score rows with."""
        return state.density

    def update(self, statistics: SufficientStatistics, final: bool = False) -> GaussianParameters:
        """Return the parameters that maximise the likelihood of the statistics.

        `final` accepts covariances with few digits left (the statistics are about the means already). Raises
        CollapsedComponentError, naming the component.
        """
        maximum = self.family.maximise(statistics, self.reg_covar, final)
        if maximum.status == COLLAPSED:
            raise CollapsedComponentError(maximum.component)
        return GaussianParameters(maximum.weights, maximum.covariances, maximum.density, maximum.status != LOST_DIGITS)

    def bound(self, state: GaussianParameters, statistics: SufficientStatistics) -> float:
        """Return the mean log-likelihood of a row of weight 1 under the state that made the statistics, in nat."""
        return statistics.log_evidence / statistics.weight

    def progress(self, state: GaussianParameters, statistics: SufficientStatistics, successor: Any) -> float:
        """Return the bound that the update started from, as scikit-learn's stopping rule does."""
        return self.bound(state, statistics)

    def order(self, statistics: SufficientStatistics) -> None:
        """Return None: an update leaves all components in their places."""

    def spurious(self, state: GaussianParameters, n_samples: float) -> int:
        """Return the first component on so few rows that its likelihood has no limit, and narrow already, or -1.

        Few: less than twice the rows that a covariance needs, of `n_samples` rows of equal weight. Narrow: its standard
        deviations are a hundredth of the others', as geometric means.
        """
        n_features = state.means.shape[1]
        return spurious_component(
            state.density.log_scale, state.weights, n_features, self.family.fewest_rows(n_features), n_samples
        )

    def chart(self, state: GaussianParameters) -> Chart:
        """Return coordinates about a state, for extrapolation; half a squared length is in nat per row of weight 1."""
        return Chart(
            self.family, state.density, state.weights, state.weights, contract.pool(state.density, state.weights)
        )

    def coordinates(self, chart: Chart, state: GaussianParameters) -> Array:
        """Return the coordinates of a state; not finite where a component has lost its weight since the reference."""
        return chart.coordinates(state.weights, state.density)

    def state_at(self, chart: Chart, coordinates: Array) -> GaussianParameters:
        """Return the state at the coordinates."""
        weights, means, whitener = chart.mixture(coordinates)
        return parameters_of_whitener(self.family, weights / weights.sum(), means, whitener)

    def same_components(self, state: GaussianParameters, successor: GaussianParameters) -> bool:
        """Return whether an update left all components in their places: always."""
        return True
