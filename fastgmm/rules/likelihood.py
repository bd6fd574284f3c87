"""The EM rule: maximum-likelihood parameters, with scikit-learn's ``reg_covar`` added to the variances."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgmm.exceptions import CollapsedComponentError
from fastgmm.families import Family, Maximum
from fastgmm.kernels import Density
from fastgmm.kernels.structures import contract
from fastgmm.kernels.updates.likelihood import spurious_component
from fastgmm.kernels.updates.moments import COLLAPSED, LOST_DIGITS
from fastgmm.rules.chart import Chart
from fastgmm.rules.eigenvalues import limited
from fastgmm.rules.prior import ParameterPrior, flat_prior
from fastgmm.statistics import Array, SufficientStatistics

# A group is apart from the others beyond so many of their standard deviations, and no coincidence below this chance.
_APART = 10.0
_CHANCE = 0.01
# Two or three rows are never told from a coincidence.
_FEWEST_OF_GROUP = 4


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
    """Expectation maximisation. The bound is a row's weighted mean log-likelihood; it never falls (reg_covar 0).

    With a prior, that plus the log of its density, over its highest value and the weight of all rows.
    """

    #: Seeded components that are too thin for a covariance need pseudo-rows.
    smooths_seeds = True
    #: The prior law of the parameters, or None.
    prior: ParameterPrior | None = None
    #: The most that the largest eigenvalue of all covariances may be of the smallest, or None.
    eigenvalue_ratio: float | None = None

    def __init__(self, family: Family, reg_covar: float) -> None:
        self.family = family
        self.reg_covar = reg_covar

    def blank_state(self, n_components: int, n_features: int) -> GaussianParameters:
        """Return a state filled with zeros: which arrays there are, and their shapes."""
        covariances = np.zeros(self.family.shape(n_components, n_features))
        return GaussianParameters(np.zeros(n_components), covariances, self.family.blank(n_components, n_features))

    def density(self, state: GaussianParameters) -> Density:
        """Return the density that rows are scored with."""
        return state.density

    def update(
        self, statistics: SufficientStatistics, density: Density | None = None, final: bool = False
    ) -> GaussianParameters:
        """Return the parameters that maximise the likelihood of the statistics, which `density` made, if any did.

        `final` accepts covariances with few digits left (the statistics are about the means already). Raises
        CollapsedComponentError, naming the component.
        """
        whitener = None if density is None else density.whitener
        maximum = self._maximum(statistics, final, whitener)
        if maximum.status == COLLAPSED:
            raise CollapsedComponentError(maximum.component)
        return GaussianParameters(maximum.weights, maximum.covariances, maximum.density, maximum.status != LOST_DIGITS)

    def _maximum(self, statistics: SufficientStatistics, final: bool, whitener: Array | None) -> Maximum:
        """Return the parameters that an update leads to; arguments as of ``Family.maximise``."""
        family, ratio = self.family, self.eigenvalue_ratio
        if self.prior is None and ratio is None:
            return family.maximise(statistics, self.reg_covar, final, whitener)
        prior = flat_prior(family, statistics.origin.shape[1]) if self.prior is None else self.prior
        return prior.maximise(family, statistics, self.reg_covar, final, whitener, ratio)

    def within(self, state: GaussianParameters) -> GaussianParameters:
        """Return a state with covariances within the limit of their eigenvalues, where there is one."""
        if self.eigenvalue_ratio is None:
            return state
        family = self.family
        counts = contract.pool(state.density, state.weights)
        counts = counts.sum(keepdims=True) if family.is_tied else counts
        covariances = limited(family, state.covariances, counts, self.eigenvalue_ratio)
        if covariances is state.covariances:
            return state
        density, failed = family.density(state.weights, state.means, covariances)
        if failed >= 0:
            raise CollapsedComponentError(failed)
        return GaussianParameters(state.weights, covariances, density, state.trusted)

    def bound(self, state: GaussianParameters, statistics: SufficientStatistics) -> float:
        """Return the mean log-likelihood of a row of weight 1 under the state that made the statistics, in nat.

        With a prior it is penalised.
        """
        if self.prior is None:
            return statistics.log_evidence / statistics.weight
        log_prior = self.prior.log_density(self.family, state.weights, state.density)
        return (statistics.log_evidence + log_prior) / statistics.weight

    def progress(self, state: GaussianParameters, statistics: SufficientStatistics, successor: Any) -> float:
        """Return the bound that the update started from, as scikit-learn's stopping rule does."""
        return self.bound(state, statistics)

    def order(self, statistics: SufficientStatistics) -> None:
        """Return None: an update leaves all components in their places."""

    def fewest_rows(self, n_features: int) -> int:
        """Return how many rows the covariance of a component needs."""
        return self.family.fewest_rows(n_features)

    def spurious(self, state: GaussianParameters, n_samples: float) -> int:
        """Return the first component on so few rows that its likelihood has no limit, and narrow already, or -1.

        Few: less than twice the rows that a covariance needs, of `n_samples` rows of equal weight. Narrow: its standard
        deviations are a hundredth of the others', as geometric means. Not a group so tight in every direction, or so
        far from the others, that it is none by chance. None with a prior, whose penalty has a scale.
        """
        if self.prior is not None:
            return -1
        n_features = state.means.shape[1]
        fewest_rows = self.fewest_rows(n_features)
        # A component without weight is not looked at: so the next one is found.
        weights = state.weights.copy()
        while True:
            k = spurious_component(state.density.log_scale, weights, n_features, fewest_rows, n_samples)
            if k < 0 or not self._is_group(k, state, fewest_rows, n_samples):
                return k
            weights[k] = 0.0

    def _is_group(self, k: int, state: GaussianParameters, fewest_rows: int, n_samples: float) -> bool:
        """Return whether a narrow component on few rows is no coincidence among the rows of the others."""
        others = state.weights >= 2.0 * fewest_rows / n_samples
        share = state.weights[others] / state.weights[others].sum()
        variances = self.family.variances(state.covariances, *state.means.shape)
        within = share @ variances[others]
        gap = state.means - share @ state.means[others]
        if np.any(np.abs(gap[k]) > _APART * np.sqrt(within + share @ gap[others] ** 2)):
            return True
        n_rows = float(state.weights[k] * n_samples)
        if n_rows < max(fewest_rows, _FEWEST_OF_GROUP) - 0.5:
            return False
        # How many sets of so many rows there are, and how likely it is that one lies within the widest deviation.
        log_sets = math.lgamma(n_samples + 1.0) - math.lgamma(n_rows + 1.0) - math.lgamma(n_samples - n_rows + 1.0)
        log_ratio = 0.5 * math.log(float((variances[k] / within).max()))
        return log_sets + (n_rows - 1.0) * len(within) * log_ratio < math.log(_CHANCE)

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
        counts, means, whitener = chart.mixture(coordinates)
        weights = counts / counts.sum()
        family = self.family
        if family.constraint is not None:
            # A combination of members of a family need not be one.
            covariances = family.constrained(weights, family.covariances_of_whitener(whitener), whitener)
            density, failed = family.density(weights, means, covariances)
            if failed >= 0:
                raise CollapsedComponentError(failed)
            return self.within(GaussianParameters(weights, covariances, density))
        return self.within(parameters_of_whitener(family, weights, means, whitener))

    def same_components(self, state: GaussianParameters, successor: GaussianParameters) -> bool:
        """Return whether an update left all components in their places: always."""
        return True
