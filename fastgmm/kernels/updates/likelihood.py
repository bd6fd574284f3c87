"""The closed forms that turn moments into the parameters of highest likelihood, for every structure, in compiled code.

Serial and thread-safe; callable from Python and from inside other compiled code.
"""

from __future__ import annotations

import math

import numpy as np

from fastgmm.kernels.algebra.matrix import ratio
from fastgmm.kernels.compiling import kernel
from fastgmm.kernels.structures import contract
from fastgmm.kernels.updates.constraints import UNCONSTRAINED, constrain
from fastgmm.kernels.updates.moments import (
    COLLAPSED,
    LOST_DIGITS,
    OK,
    RESOLUTION,
    centre,
    component_of_lost_digits,
    divide_by_pool,
    mirror,
)

# A sum of squares below this has lost digits to gradual underflow.
_SMALLEST = 1e-303
# Sums of variances are equal but for rounding, relative to their size.
_EQUAL = 1e-10
# The standard deviations of a spurious component, as a geometric mean, are less than a hundredth of the others'.
_LOG_NARROW = math.log(100.0)


@kernel
def set_log_scale(density, weights):
    """Overwrite ``density.log_scale`` with log(weight) + log|whitener| - D/2 log(2 pi); -inf for a weight of 0.

    `weights` (K,) float64 of any layout, not negative, need not sum to 1.
    """
    n_components, n_features = density.mean.shape
    for k in range(n_components):
        log_weight = math.log(weights[k]) if weights[k] > 0.0 else -np.inf
        density.log_scale[k] = (
            log_weight + contract.log_determinant(density, k) - 0.5 * n_features * math.log(2 * math.pi)
        )


@kernel
def maximise(density, weights, covariance, origin, mass, deviation, scatter, reg_covar, final):
    """Overwrite `weights`, `covariance` and `density` with the maximum-likelihood parameters of the statistics.

    Reads `origin` (K, D), `mass` (K,), `deviation` (K, D) and `scatter`, of a matrix its lower triangle. A component
    without mass keeps its origin as its mean, and gets `reg_covar` as its variance. Returns (status,
    component): OK; COLLAPSED, with the first component whose covariance is not positive definite (or, with
    `reg_covar` 0, narrower than the resolution of its mean, or whose squares underflow); or, unless `final`,
    LOST_DIGITS.
    """
    return maximise_constrained(
        density,
        weights,
        covariance,
        origin,
        mass,
        deviation,
        scatter,
        reg_covar,
        final,
        UNCONSTRAINED,
        density.whitener,
    )


@kernel
def maximise_constrained(
    density, weights, covariance, origin, mass, deviation, scatter, reg_covar, final, constraint, whitener
):
    """Do what :func:`maximise` does under the constraint at an address of ``constraints.constraint_address``.

    `whitener` is that of the mixture that made the statistics, and no part of `density`.
    """
    n_components, n_features = density.mean.shape
    total = 0.0
    for k in range(n_components):
        total += mass[k]
    copy = covariance.reshape(covariance.size)
    original = scatter.reshape(scatter.size)
    for i in range(copy.size):
        copy[i] = original[i]
    for k in range(n_components):
        weights[k] = mass[k] / total
        for d in range(n_features):
            shift = ratio(deviation[k, d], mass[k]) if mass[k] > 0.0 else 0.0
            density.mean[k, d] = origin[k, d] + shift
    centre(density, mass, deviation, covariance)
    pool = contract.pool(density, mass)
    if not final:
        lost = component_of_lost_digits(density, pool, scatter, covariance)
        if lost >= 0:
            return LOST_DIGITS, lost
    if reg_covar == 0.0 and constraint == UNCONSTRAINED:
        for k in range(n_components):
            for d in range(n_features):
                if contract.variance(density, covariance, k, d) <= _least_sum(density, k, d, pool, scatter):
                    return COLLAPSED, k
    poor = -1
    if reg_covar == 0.0 and constraint != UNCONSTRAINED:
        # A component may have its variance from the others, unless none has any.
        for d in range(n_features):
            if not _is_resolved(density, d, covariance, pool, scatter):
                return COLLAPSED, 0
        poor = _first_unresolved(density, mass, covariance, pool, scatter)
    divide_by_pool(density, mass, covariance)
    contract.regularise(density, covariance, reg_covar)
    if constraint != UNCONSTRAINED:
        constrain(constraint, mass, covariance, whitener)
        mirror(density, covariance)
        if poor >= 0 and not _have_equal_spread(density, covariance):
            # Only those who share all of their spread share it with a component that has none in some feature.
            return COLLAPSED, poor
        if reg_covar == 0.0:
            # A component of one value may have its variance from the others.
            for k in range(n_components):
                for d in range(n_features):
                    resolution = RESOLUTION * density.mean[k, d]
                    if contract.variance(density, covariance, k, d) <= max(resolution * resolution, _SMALLEST):
                        return COLLAPSED, k
    return set_density(density, weights, covariance)


@kernel
def _is_resolved(density, d, covariance, pool, scatter):
    """Return whether some component has a sum of squares of feature d in `covariance` that is more than rounding."""
    for k in range(density.mean.shape[0]):
        if contract.variance(density, covariance, k, d) > _least_sum(density, k, d, pool, scatter):
            return True
    return False


@kernel
def _first_unresolved(density, mass, covariance, pool, scatter):
    """Return the first component with mass that has no more than rounding in some feature of `covariance`, or -1."""
    for k in range(density.mean.shape[0]):
        if mass[k] > 0.0:
            for d in range(density.mean.shape[1]):
                if contract.variance(density, covariance, k, d) <= _least_sum(density, k, d, pool, scatter):
                    return k
    return -1


@kernel
def _have_equal_spread(density, covariance):
    """Return whether all components have the same sum of variances, as under one spectrum or one covariance for all."""
    first = 0.0
    for k in range(density.mean.shape[0]):
        total = 0.0
        for d in range(density.mean.shape[1]):
            total += contract.variance(density, covariance, k, d)
        if k == 0:
            first = total
        elif not abs(total - first) <= _EQUAL * first:
            return False
    return True


@kernel
def _least_sum(density, k, d, pool, scatter):
    """Return the least centred sum of squares of feature d in component k that is more than rounding.

    That of the mean, of the sum in `scatter` that it was centred from, and of numbers that are almost too small.
    """
    weight = pool[min(k, pool.size - 1)]
    resolution = RESOLUTION * density.mean[k, d]
    least = max(resolution * resolution * weight, RESOLUTION * contract.variance(density, scatter, k, d))
    return max(least, _SMALLEST * max(weight, 1.0))


@kernel
def set_density(density, weights, covariance):
    """Overwrite the whitener and log scale of `density` from `weights` and `covariance`; return (status, component).

    (OK, -1), or (COLLAPSED, the first component whose covariance is not positive definite) with a density that is
    unfinished. `weights` (K,) as in :func:`set_log_scale`; `covariance` in the shape of the whitener, float64 of any
    layout, of a matrix the lower triangle. Allocates a matrix for families of matrices.
    """
    component = contract.whiten(density, covariance)
    if component >= 0:
        return COLLAPSED, component
    set_log_scale(density, weights)
    return OK, -1


def spurious_component(log_scale, weights, n_features, fewest_rows, n_samples):
    """Return the first component on so few rows that its likelihood has no limit, and narrow already, or -1.

    Few: less than twice `fewest_rows`, which a covariance needs, of `n_samples` rows of equal weight, of which
    `weights` (K,) are the components' shares. Narrow: its standard deviations are less than a hundredth of those of the
    components on more rows, as geometric means. `log_scale` (K,) as of a density with these weights.
    Plain Python, which single fits call for a few numbers; compiled into the fits of many.
    """
    few = 2.0 * fewest_rows / n_samples
    usual = 0.0
    share = 0.0
    for k in range(weights.shape[0]):
        if weights[k] >= few:
            usual += weights[k] * (log_scale[k] - math.log(weights[k]))
            share += weights[k]
    if share > 0.0:
        for k in range(weights.shape[0]):
            if 0.0 < weights[k] < few:
                narrower = log_scale[k] - math.log(weights[k]) - usual / share
                if narrower > n_features * _LOG_NARROW:
                    return k
    return -1
