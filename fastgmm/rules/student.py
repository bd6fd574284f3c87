"""EM for mixtures of multivariate Student-t laws (Peel and McLachlan 2000), with expanded parameters.

A row of a component is normal with covariance scale / u, for a u of its own with a gamma law of mean 1. Where that mean
is a parameter, too, which is then put back into the scales, fewer iterations lead to the same place and the bound still
never falls (Kent, Tyler and Vardi 1994; Liu, Rubin and Wu 1998). The scale matrix is then a mean with weights r u.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgmm.families import Family
from fastgmm.kernels import digamma, log_gamma_ratio
from fastgmm.kernels.structures.student import STUDENT_OF
from fastgmm.rules.chart import Chart
from fastgmm.rules.likelihood import GaussianParameters, MaximumLikelihood
from fastgmm.statistics import Array, StudentStatistics, SufficientStatistics

#: Where estimated degrees of freedom stay: at the upper end a law is as good as normal.
FEWEST_DEGREES, MOST_DEGREES = 0.5, 1000.0
#: Where estimated degrees of freedom begin.
FIRST_DEGREES = 10.0


@dataclass(frozen=True, eq=False)
class StudentParameters:
    """State: mixing weights (K,), scale matrices (the family's shape), degrees of freedom (K,), and their density.

    `trusted` as of ``GaussianParameters``. The scales are called covariances as those of every state are.
    """

    weights: Array
    covariances: Array
    degrees_of_freedom: Array
    density: Any
    trusted: bool = True

    @property
    def means(self) -> Array:
        """The locations, (K, D)."""
        means: Array = self.density.mean
        return means


def student_density(family: Family, weights: Array, means: Array, whitener: Array, degrees_of_freedom: Array) -> Any:
    """Return the density of a mixture of multivariate Student-t laws, whose scale matrices have the whiteners."""
    normal = family.density_of_whitener(weights, means, whitener)
    half, dimension = 0.5 * degrees_of_freedom, 0.5 * means.shape[1]
    # What a Student-t law has in place of the constant of a normal one, (2 pi)^(-D / 2).
    change = np.array([log_gamma_ratio(x, dimension) - dimension * math.log(x) for x in half.tolist()])
    return STUDENT_OF[family.density_type](
        normal.log_scale + change,
        normal.mean,
        normal.whitener,
        degrees_of_freedom + means.shape[1],
        1.0 / degrees_of_freedom,
    )


class StudentLikelihood(MaximumLikelihood):
    """Expectation maximisation; `degrees_of_freedom` is "common", "each", or the number that they are fixed at."""

    def __init__(self, family: Family, reg_covar: float, degrees_of_freedom: str | float) -> None:
        super().__init__(family, reg_covar)
        self.degrees_of_freedom = degrees_of_freedom

    def blank_state(self, n_components: int, n_features: int) -> Any:
        """Return the state of a standard law in every component: which arrays there are, and their shapes."""
        means = np.zeros((n_components, n_features))
        whitener = self.family.isotropic_whitener(n_components, n_features, 1.0)
        return self.state(np.full(n_components, 1.0 / n_components), means, whitener, np.ones(n_components))

    def state(self, weights: Array, means: Array, whitener: Array, degrees_of_freedom: Array) -> StudentParameters:
        """Return the state of parameters that are given."""
        density = student_density(self.family, weights, means, whitener, degrees_of_freedom)
        covariances = self.family.covariances_of_whitener(density.whitener)
        return StudentParameters(weights, covariances, degrees_of_freedom, density)

    def update(self, statistics: SufficientStatistics, density: Any = None, final: bool = False) -> Any:
        """Return the parameters that maximise the likelihood of the statistics, which `density` made.

        Of Gaussian statistics, as starts have them, with the degrees of freedom that fits begin with.
        """
        state = super().update(statistics, density, final)
        weights, covariances, whitener = state.weights, state.covariances, state.density.whitener
        if isinstance(statistics, StudentStatistics):
            total = statistics.counts.sum()
            weights = statistics.counts / total
            if self._keeps_mean:
                share = statistics.mass.sum() / total
                covariances, whitener = share * covariances, whitener / math.sqrt(share)
            freedom = self._degrees_of_freedom(statistics, 1.0 / density.shrink)
        else:
            fixed = self.degrees_of_freedom
            freedom = np.full(len(weights), FIRST_DEGREES if isinstance(fixed, str) else fixed)
        law = student_density(self.family, weights, state.means, whitener, freedom)
        return StudentParameters(weights, covariances, freedom, law, state.trusted)

    @property
    def _keeps_mean(self) -> bool:
        """Whether the mean of u is no parameter: one for all has no best value where all have a law of their own."""
        return self.family.is_tied and self.degrees_of_freedom == "each"

    def _degrees_of_freedom(self, statistics: StudentStatistics, before: Array) -> Array:
        """Return the next degrees of freedom, (K,)."""
        if not isinstance(self.degrees_of_freedom, str):
            return before
        counts, mass = statistics.counts, statistics.mass
        n_features = statistics.origin.shape[1]
        found = before.copy()
        held = np.flatnonzero((counts > 0.0) & (mass > 0.0))
        counts, before = counts[held], before[held]
        mean = mass[held] / counts
        if self._keeps_mean:
            of_mean = mean - 1.0
        else:
            # Components that share a scale matrix share the mean of u.
            of_mean = np.log(np.full(len(held), mass.sum() / counts.sum()) if self.family.is_tied else mean)
        half = 0.5 * (before + n_features)
        correction = np.array([digamma(x) - math.log(x) for x in half.tolist()])
        gap = statistics.log_mass[held] / counts + correction - of_mean
        if self.degrees_of_freedom == "common":
            found[:] = _solved(float(counts @ gap / counts.sum()))
        else:
            found[held] = [_solved(each) for each in gap.tolist()]
        return found

    def spurious(self, state: Any, n_samples: float) -> int:
        """Return a component on few rows, and narrow, or -1: by its scale matrix, as if it were normal."""
        return super().spurious(self._normal(state), n_samples)

    def _normal(self, state: Any) -> GaussianParameters:
        """Return the normal state with the same weights, means and scale matrices."""
        normal = self.family.density_of_whitener(state.weights, state.means, state.density.whitener)
        return GaussianParameters(state.weights, state.covariances, normal)

    def chart(self, state: Any) -> Any:
        """Return coordinates about a state, for extrapolation."""
        return _StudentChart(super().chart(self._normal(state)), state, self.degrees_of_freedom)

    def coordinates(self, chart: Any, state: Any) -> Array:
        """Return the coordinates of a state: those of a normal one, and logarithms of degrees of freedom."""
        return chart.unit * np.append(
            chart.normal.coordinates(state.weights, state.density) / chart.normal.unit,
            np.log(state.degrees_of_freedom[: chart.n_tails]),
        )

    def state_at(self, chart: Any, coordinates: Array) -> Any:
        """Return the state at the coordinates."""
        n_normal = len(chart.normal.unit)
        weights, means, whitener = chart.normal.mixture(coordinates[:n_normal])
        freedom = chart.degrees_of_freedom.copy()
        if chart.n_tails:
            ends = math.log(FEWEST_DEGREES), math.log(MOST_DEGREES)
            freedom[:] = np.exp(np.clip((coordinates / chart.unit)[n_normal:], *ends))
        return self.state(weights / weights.sum(), means, whitener, freedom)


class _StudentChart:
    """Coordinates of Student-t mixtures: those of a normal one (``Chart``), and the logarithms of what is estimated.

    A change of the logarithm by one is half a unit of information in complete data, as degrees of freedom grow.
    """

    def __init__(self, normal: Chart, state: StudentParameters, degrees_of_freedom: str | float) -> None:
        self.normal, self.degrees_of_freedom = normal, state.degrees_of_freedom
        rows = {"common": np.ones(1), "each": state.weights}.get(str(degrees_of_freedom), np.empty(0))
        self.n_tails = len(rows)
        self.unit: Array = np.append(normal.unit, np.sqrt(0.5 * np.maximum(rows, 1e-300)))


def _solved(gap: float) -> float:
    """Return the degrees of freedom where log(nu / 2) - digamma(nu / 2) = -gap, within their bounds."""

    from scipy.optimize import brentq  # its import takes longer than most fits

    def excess(log_freedom: float) -> float:
        half = 0.5 * math.exp(log_freedom)
        return math.log(half) - float(digamma(half)) + gap

    # It falls from infinity to `gap`.
    least, most = math.log(FEWEST_DEGREES), math.log(MOST_DEGREES)
    if excess(least) <= 0.0:
        return FEWEST_DEGREES
    if excess(most) >= 0.0:
        return MOST_DEGREES
    return math.exp(brentq(excess, least, most, xtol=1e-14, rtol=1e-14))
