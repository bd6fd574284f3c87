"""The variational Bayes rule: the posterior of a mixture, with conjugate priors; posterior = prior + statistics.

What stands here is which arrays there are, and in which order the components come; every formula is compiled
(:mod:`fastgmm.kernels.updates.variational`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from fastgmm import kernels
from fastgmm.exceptions import CollapsedComponentError, OutOfRangeError
from fastgmm.families import Family
from fastgmm.kernels import Density, Posterior, Prior, Student
from fastgmm.kernels.structures import contract
from fastgmm.kernels.updates.moments import COLLAPSED, LOST_DIGITS, NOT_FINITE, RESOLUTION
from fastgmm.rules.chart import Chart
from fastgmm.statistics import Array, SufficientStatistics

# An eigenvalue of a correlation matrix, relative to its dimension, that may be rounding.
_LEAST_DEFINITE = 64.0 * np.finfo(np.float64).eps


def default_scales(
    family: Family, weight: Array, mean: Array, covariance: Array, reg_covar: float
) -> tuple[Array, NDArray[np.bool_]]:
    """Return the default prior scales of one component for P problems, and for which they are positive definite.

    That is the sample covariance of the rows, of which `weight` (P,), `mean` (P, D) and `covariance` (P, ...), in the
    family's shape for one component and with divisor n, are given; where that is singular, with `reg_covar` added to
    its variances.
    """
    n_problems, n_features = mean.shape
    # With divisor n - 1, for n rows; where weights sum to less than 2, with n / 2.
    ratio = weight / np.maximum(weight - 1.0, 0.5 * weight)
    scale = ratio.reshape(-1, *[1] * (covariance.ndim - 1)) * covariance
    unit = np.eye(n_features) if family.has_matrices else 1.0
    definite = np.zeros(n_problems, np.bool_)
    for added in (0.0, reg_covar):
        again = np.flatnonzero(~definite)
        if len(again):
            scale[again] += added * unit
            definite[again] = _is_definite(family, scale[again], mean[again])
    return scale, definite


def _is_definite(family: Family, scale: Array, mean: Array) -> NDArray[np.bool_]:
    """Return which scales are positive definite to rounding, and no narrower than the resolution of the mean."""
    variances = np.diagonal(scale, axis1=1, axis2=2) if family.has_matrices else scale.reshape(len(scale), -1)
    wide = np.all(variances > (RESOLUTION * mean) ** 2, axis=1)
    return wide & (family.definiteness_of_each(scale) > _LEAST_DEFINITE * mean.shape[1])


def make_prior(
    family: Family,
    concentration: float,
    mean: Array,
    mean_precision: float,
    degrees_of_freedom: float,
    scale: Array | float,
) -> Prior | None:
    """Return the prior law, with `scale` in the shape of one component's covariance.

    None if that is not positive definite to rounding: not by a margin of which some digits are left, whichever way it
    is factored.
    """
    n_features = len(mean)
    whole = np.array(scale, np.float64, order="C").reshape(family.shape(1, n_features))
    if not family.definiteness(whole) > _LEAST_DEFINITE * n_features:
        return None
    density, failed = family.density(np.ones(1), np.zeros((1, n_features)), whole)
    if failed >= 0:
        return None
    return Prior(
        float(concentration),
        np.array(mean, np.float64),
        float(mean_precision),
        float(degrees_of_freedom),
        whole,
        float(kernels.log_determinant_of_blocks(density, 0)),
    )


@dataclass(frozen=True, eq=False)
class VariationalPosterior:
    """Variational state: the law of weights, means and precisions, and the density with their expectations.

    `covariances` is the family's shape: inverse expected precisions. `divergence` (nat) is that from the prior.
    `trusted` is False where moments about `means` must be collected first; then all else is unfinished. `moved` is True
    where the update that made it put components in another order.
    """

    posterior: Posterior
    covariances: Array
    density: Density
    divergence: float
    trusted: bool = True
    moved: bool = False

    @property
    def means(self) -> Array:
        """The posterior means of the components' means, (K, D)."""
        return self.density.mean

    @property
    def weights(self) -> Array:
        """The posterior expectations of the mixing weights, (K,); of sticks, divided by their sum."""
        return expected_weights(self.posterior.concentration)


def expected_weights(concentration: Array) -> Array:
    """Return the expected mixing weights (..., K) of Dirichlet laws (..., 1, K), or of sticks (..., 2, K).

    Those of sticks are divided by their sum.
    """
    first = concentration[..., 0, :]
    if concentration.shape[-2] == 2:
        whole = first + concentration[..., 1, :]
        left = np.cumprod(concentration[..., 1, :] / whole, axis=-1)
        first = first / whole * np.concatenate([np.ones_like(left[..., :1]), left[..., :-1]], axis=-1)
    return first / first.sum(axis=-1, keepdims=True)


def expected_log_weights(concentration: Array) -> Array:
    """Return the expected logarithms of mixing weights, (K,), of a Dirichlet law (1, K), or of sticks (2, K)."""
    from scipy.special import digamma  # its import takes longer than most fits

    whole = concentration.sum(axis=0) if len(concentration) == 2 else concentration.sum()
    first = digamma(concentration[0]) - digamma(whole)
    if len(concentration) == 2:
        first[1:] += np.cumsum(digamma(concentration[1]) - digamma(whole))[:-1]
    return np.asarray(first, np.float64)


def mass_after(mass: Array) -> Array:
    """Return how much mass (K,) the components after each one hold."""
    return np.append(np.cumsum(mass[:0:-1])[::-1], 0.0)


class VariationalBayes:
    """Variational Bayes with conjugate priors.

    The bound is the evidence lower bound of all rows, in nat, all constants in. It never falls (`reg_covar` 0).

    Parameters
    ----------
    family : Family
    prior : Prior or None
        None where it is not known, which rules out updates and bounds.
    sticks : bool
        Whether weights are the sticks of a Dirichlet process, truncated; else a Dirichlet law.
    sort_sticks : bool
        Whether every update puts the components in order of falling mass first. Of all orders that one has the
        highest bound: exchanging neighbouring sticks of masses n and m multiplies the evidence by (c + m) / (c + n),
        where c is the concentration and all mass after them (Kurihara, Welling and Teh 2007).
    reg_covar : float
        Added to the variances of the statistics, before the prior.
    """

    #: The prior has a scale: no pseudo-rows are needed.
    smooths_seeds = False

    def __init__(self, family: Family, prior: Prior | None, sticks: bool, sort_sticks: bool, reg_covar: float) -> None:
        self.family = family
        self.prior = prior
        self.sticks = sticks
        self.sort_sticks = sticks and sort_sticks
        self.reg_covar = reg_covar
        self._last_ordered: tuple[SufficientStatistics, NDArray[np.int64], SufficientStatistics] | None = None

    def blank(self, n_components: int, n_features: int) -> tuple[Posterior, Density]:
        """Return a posterior and a density filled with zeros, to be written by kernels."""
        n_laws = self.family.n_laws(n_components)
        return Posterior(
            np.zeros((2 if self.sticks else 1, n_components)), np.zeros(n_components), np.zeros(n_laws)
        ), self.family.blank(n_components, n_features)

    def blank_state(self, n_components: int, n_features: int) -> VariationalPosterior:
        """Return a state filled with zeros: which arrays there are, and their shapes."""
        posterior, density = self.blank(n_components, n_features)
        return VariationalPosterior(posterior, np.zeros(self.family.shape(n_components, n_features)), density, 0.0)

    def state(self, posterior: Posterior, means: Array, whitener: Array) -> VariationalPosterior:
        """Return the state of given laws; `whitener` is that of the expected precisions."""
        density = expected_density(self.family, posterior, means, whitener)
        return VariationalPosterior(
            posterior,
            self.family.covariances_of_whitener(density.whitener),
            density,
            kernels.divergence(density, self.prior, posterior),
        )

    def order(self, statistics: SufficientStatistics) -> NDArray[np.int64] | None:
        """Return which component of the statistics each component of their update is, (K,); None for the same."""
        return self._ordered(statistics)[0]

    def spurious(self, state: VariationalPosterior, n_samples: float) -> int:
        """Return -1: the bound of a component that shrinks has a limit, for the prior has a scale."""
        return -1

    def density(self, state: VariationalPosterior) -> Density:
        """Return the density that rows are scored with: the expectation of the log joint."""
        return state.density

    def update(
        self, statistics: SufficientStatistics, density: Density | None = None, final: bool = False
    ) -> VariationalPosterior:
        """Return the law given the statistics: the exact update of every factor, whatever `density` made them.

        `final` accepts covariances with few digits left (the statistics are about the means already). Raises
        OutOfRangeError where the law leaves the range of float64, and CollapsedComponentError where the spread of a
        component's rows rounds away that of the prior.
        """
        order, statistics = self._ordered(statistics)
        shape = statistics.origin.shape
        posterior, density = self.blank(*shape)
        covariances = np.empty(self.family.shape(*shape))
        status, component = kernels.condition(
            density,
            self.prior,
            posterior,
            covariances,
            statistics.origin,
            statistics.mass,
            statistics.deviation,
            statistics.scatter,
            self.reg_covar,
            final,
        )
        if status == COLLAPSED:
            raise CollapsedComponentError(component)
        if status == NOT_FINITE:
            raise OutOfRangeError
        if status == LOST_DIGITS:
            if order is not None:
                # Whoever collects again does so in the order that the statistics came in.
                density.mean[order] = density.mean.copy()
            return VariationalPosterior(posterior, covariances, density, math.nan, trusted=False)
        moved = order is not None and not np.array_equal(order, np.arange(len(order)))
        divergence = kernels.divergence(density, self.prior, posterior)
        return VariationalPosterior(posterior, covariances, density, divergence, moved=moved)

    def bound(self, state: VariationalPosterior, statistics: SufficientStatistics) -> float:
        """Return the evidence lower bound with the responsibilities that are best for the state."""
        return statistics.log_evidence - state.divergence

    def progress(self, state: VariationalPosterior, statistics: SufficientStatistics, successor: Any) -> float:
        """Return the evidence lower bound of `successor` with the responsibilities that it was made from.

        It lies between the bounds of both states, and differs by a constant from what scikit-learn watches. The
        entropy of the responsibilities is the log evidence minus the expected log joint.
        """
        _, ordered = self._ordered(statistics)
        change = expected_log_joint(successor.density, ordered) - expected_log_joint(state.density, statistics)
        return statistics.log_evidence + change - successor.divergence

    def chart(self, state: VariationalPosterior) -> Chart:
        """Return coordinates about a state, for extrapolation; half a squared length is in nat."""
        posterior = state.posterior
        return Chart(
            self.family,
            state.density,
            posterior.concentration[0],
            posterior.mean_precision,
            self._block_counts(posterior.degrees_of_freedom, state.density),
        )

    def _block_counts(self, degrees_of_freedom: Array, density: Density) -> Array:
        """Return the degrees of freedom behind each block of covariances: equal shares of a law that blocks share."""
        n_blocks = len(contract.pool(density, np.zeros(len(density.mean))))
        return np.broadcast_to(degrees_of_freedom * (len(degrees_of_freedom) / n_blocks), n_blocks)

    def coordinates(self, chart: Chart, state: VariationalPosterior) -> Array:
        """Return the coordinates of a state that an update made: all its counts follow from the first."""
        return chart.coordinates(state.posterior.concentration[0], state.density)

    def state_at(self, chart: Chart, coordinates: Array) -> VariationalPosterior:
        """Return the state at the coordinates: that of as many rows, its counts prior plus rows in every place."""
        prior = cast(Prior, self.prior)
        concentration, means, whitener = chart.mixture(coordinates)
        before = 1.0 if self.sticks else prior.concentration
        mass = np.maximum(concentration - before, 0.0)
        mass *= (chart.counts - before).sum() / mass.sum()
        pool = contract.pool(self.family.blank(*means.shape), mass)
        posterior = Posterior(
            np.array([1.0 + mass, prior.concentration + mass_after(mass)]) if self.sticks else before + mass[None],
            prior.mean_precision + mass,
            prior.degrees_of_freedom + (pool.sum(keepdims=True) if self.family.is_tied else pool),
        )
        return self.state(posterior, means, whitener)

    def same_components(self, state: VariationalPosterior, successor: VariationalPosterior) -> bool:
        """Return whether an update left all components in their places: not where it sorted sticks."""
        return not successor.moved

    def _ordered(self, statistics: SufficientStatistics) -> tuple[NDArray[np.int64] | None, SufficientStatistics]:
        """Return the components' order in the next state, None where it stays, and the statistics in that order."""
        if not self.sort_sticks:
            return None, statistics
        # An update and its progress ask for the same.
        if self._last_ordered is None or self._last_ordered[0] is not statistics:
            order = np.argsort(-statistics.mass, kind="stable")
            self._last_ordered = statistics, order, self.family.reordered(statistics, order)
        return self._last_ordered[1:]


def expected_log_joint(density: Density, statistics: SufficientStatistics) -> float:
    """Return the sum over rows and components of w r times the log joint of `density`, whatever made the statistics."""
    return kernels.expected_log_joint(
        density, statistics.origin, statistics.mass, statistics.deviation, statistics.scatter
    )


def expected_density(family: Family, posterior: Posterior, means: Array, whitener: Array) -> Density:
    """Return the density whose log joint is its expectation under the posterior."""
    density = family.density_type(np.empty(len(means)), np.array(means, np.float64), np.array(whitener, np.float64))
    kernels.set_expected_log_scale(density, posterior)
    return density


def predictive_density(family: Family, posterior: Posterior, weights: Array, density: Density) -> Student:
    """Return the posterior predictive law of a row, a mixture of Student-t laws (PRML 10.81).

    `density` holds the means and the whiteners of the expected precisions, `weights` (K,) the expected mixing weights.
    """
    assert family.student_type is not None
    n_components = len(density.mean)
    log_scale, power, shrink = np.empty((3, n_components))
    student: Student = family.student_type(log_scale, density.mean, density.whitener, power, shrink)
    kernels.set_predictive(student, density, posterior, weights)
    return student
