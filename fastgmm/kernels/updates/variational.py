"""Variational Bayes in closed form, for every family: posterior = prior + statistics.

The approximate posterior of a mixture is a product of

    q(pi)              Dirichlet, or one beta law for each stick of a Dirichlet process
    q(mu_k | Lambda)   normal, mean m_k, precision mean_precision_k * Lambda
    q(Lambda)          Wishart blocks: one of dimension D for each component (full), one for all (tied), one of
                       dimension 1, a gamma law, for each component and feature (diag), or component (spherical)

A Wishart law of n degrees of freedom is held by its scale divided by n, the `covariance`, whose inverse is the expected
precision; so the whitener in the density is that of the expected precision. Bishop, Pattern Recognition and Machine
Learning (2006), section 10.2, whose 10.63 prints a spurious + 1; Blei and Jordan (2006) for the sticks.

Serial and thread-safe; callable from Python and from inside other compiled code.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgmm.kernels.algebra.matrix import ratio
from fastgmm.kernels.algebra.special import digamma, log_gamma, log_gamma_ratio, log_multi_gamma_ratio, multi_digamma
from fastgmm.kernels.algebra.triangular import cholesky, cholesky_above, invert_lower
from fastgmm.kernels.compiling import kernel
from fastgmm.kernels.structures import contract
from fastgmm.kernels.updates.moments import (
    COLLAPSED,
    LOST_DIGITS,
    NOT_FINITE,
    OK,
    as_blocks,
    centre,
    component_of_lost_digits,
    divide_by_pool,
    move_origin,
    share_mean,
)

Array = NDArray[np.float64]


class Prior(NamedTuple):
    """The prior law; the same for all components.

    `scale` is that of the Wishart blocks of one component, in the shape of a whitener of one component, and
    `log_determinant` the sum over those blocks of the logarithms of its determinants.
    """

    concentration: float
    mean: Array
    mean_precision: float
    degrees_of_freedom: float
    scale: Array
    log_determinant: float


class Posterior(NamedTuple):
    """The part of the approximate posterior that a density does not hold.

    `concentration` (1, K) are the parameters of a Dirichlet law, or (2, K) those of the sticks' beta laws;
    `mean_precision` (K,); `degrees_of_freedom` one for each entry of ``pool``, or (1,) where all components have one
    law of their precision.
    """

    concentration: Array
    mean_precision: Array
    degrees_of_freedom: Array


@kernel
def condition(density, prior, posterior, covariance, origin, mass, deviation, scatter, reg_covar, final):
    """Overwrite `posterior`, `covariance` and `density` with the law given the statistics: the update of every family.

    scale = prior scale + centred scatter + outer(gap, gap) with gap_k = sqrt(b n_k / (b + n_k)) (mean_k - prior mean),
    for b the prior's mean precision; `reg_covar` is added to the variances of the statistics. Reads `origin` (K, D),
    `mass` (K,), `deviation` (K, D) and `scatter`, of a matrix the lower triangle. Returns (status, component): OK;
    NOT_FINITE or COLLAPSED, with the first component whose law left the range of float64, or whose rows' spread rounds
    the prior's away; or, unless `final`, LOST_DIGITS. Allocates scratch of the size of a component.
    """
    n_components, n_features = density.mean.shape
    copy = covariance.reshape(covariance.size)
    original = scatter.reshape(scatter.size)
    for i in range(copy.size):
        copy[i] = original[i]
    centre(density, mass, deviation, covariance)
    divide_by_pool(density, mass, covariance)
    contract.regularise(density, covariance, reg_covar)
    pool = contract.pool(density, mass)
    n_laws = posterior.degrees_of_freedom.size
    blocks = covariance.reshape((pool.size, covariance.size // pool.size))
    is_shared = n_laws < pool.size
    if is_shared:
        # Each block then has the statistics of all rows.
        total = share_mean(pool, blocks)
        for block in range(pool.size):
            pool[block] = total
    scale = prior.scale.reshape(prior.scale.size)
    for block in range(pool.size):
        for i in range(blocks.shape[1]):
            blocks[block, i] = pool[block] * blocks[block, i] + scale[i]
    gap = np.empty(n_features)
    for k in range(n_components):
        precision = prior.mean_precision + mass[k]
        posterior.mean_precision[k] = precision
        if mass[k] > 0.0:
            share = prior.mean_precision / precision
            for d in range(n_features):
                mean = origin[k, d] + ratio(deviation[k, d], mass[k])
                gap[d] = prior.mean[d] - mean
                # From the nearer end: a step nearly as long as the gap would cancel.
                near = share < 0.5
                density.mean[k, d] = mean + share * gap[d] if near else prior.mean[d] - mass[k] / precision * gap[d]
            contract.project(density, k, share * mass[k], gap, gap, covariance)
            for j in range(n_components if is_shared else 0):
                if j != k:
                    contract.project(density, j, share * mass[k], gap, gap, covariance)
        else:
            for d in range(n_features):
                density.mean[k, d] = prior.mean[d]
    if not final:
        lost = component_of_lost_digits(density, pool, scatter, covariance)
        if lost >= 0:
            return LOST_DIGITS, lost
    if is_shared:
        _divide_by_law(prior.degrees_of_freedom + pool[0], posterior.degrees_of_freedom, covariance)
    else:
        for block in range(pool.size):
            posterior.degrees_of_freedom[block] = prior.degrees_of_freedom + pool[block]
            for i in range(blocks.shape[1]):
                blocks[block, i] /= posterior.degrees_of_freedom[block]
    if contract.whiten(density, covariance) >= 0:
        status, component = _whiten_above_prior(density, prior, posterior, covariance)
        if status != OK:
            return status, component
    _condition_weights(prior, posterior, mass)
    set_expected_log_scale(density, posterior)
    return OK, -1


@kernel
def _divide_by_law(freedom, degrees_of_freedom, covariance):
    """Divide the covariances of all components by the degrees of freedom of the law that they share, and keep these."""
    degrees_of_freedom[0] = freedom
    flat = covariance.reshape(covariance.size)
    for i in range(flat.size):
        flat[i] /= freedom


@kernel
def _whiten_above_prior(density, prior, posterior, covariance):
    """Overwrite ``density.whitener`` from covariances that are 1 / degrees of freedom of at least the prior's scale.

    Rounding may hide that, where pivots of the prior's are small: what the factor of `covariance` has too little of is
    added. Returns (status, component) as :func:`condition` does. Allocates two matrices.
    """
    dimension, count = contract.wishart(density)
    blocks = as_blocks(density, covariance)
    whitener = as_blocks(density, density.whitener)
    scale = as_blocks(density, prior.scale)
    least = np.empty((dimension, dimension))
    factor = np.empty((dimension, dimension))
    for block in range(blocks.shape[0]):
        for i in range(dimension):
            if not 0.0 < blocks[block, i, i] < np.inf:
                return NOT_FINITE, block // count
        freedom = posterior.degrees_of_freedom[min(block // count, posterior.degrees_of_freedom.size - 1)]
        known = cholesky(scale[block % scale.shape[0]], least)
        if not (known and cholesky_above(blocks[block], least, freedom, factor)):
            return COLLAPSED, block // count
        invert_lower(factor, whitener[block])
    return OK, -1


@kernel
def _condition_weights(prior, posterior, mass):
    n_components = mass.shape[0]
    concentration = posterior.concentration
    if concentration.shape[0] == 1:
        for k in range(n_components):
            concentration[0, k] = prior.concentration + mass[k]
    else:
        later = 0.0
        for k in range(n_components - 1, -1, -1):
            concentration[0, k] = 1.0 + mass[k]
            concentration[1, k] = prior.concentration + later
            later += mass[k]


@kernel
def set_expected_log_scale(density, posterior):
    """Overwrite ``density.log_scale`` so that a log joint is its expectation under the posterior (PRML 10.46).

    log_scale[k] = E log pi_k + E log|Lambda_k| / 2 - D log(2 pi) / 2 - D / (2 mean_precision_k), with the expected
    precision in the whitener.
    """
    n_components, n_features = density.mean.shape
    dimension, _ = contract.wishart(density)
    freedom = posterior.degrees_of_freedom
    concentration = posterior.concentration
    sticks = concentration.shape[0] == 2
    total = 0.0
    for k in range(n_components):
        total += concentration[0, k]
    # Of the sticks before this one, what is left on average; of a Dirichlet law, its constant.
    rest = 0.0 if sticks else -digamma(total)
    for k in range(n_components):
        log_weight = digamma(concentration[0, k]) + rest
        if sticks:
            whole = digamma(concentration[0, k] + concentration[1, k])
            log_weight -= whole
            rest += digamma(concentration[1, k]) - whole
        half = 0.5 * freedom[min(k, freedom.size - 1)]
        narrower = 0.5 * n_features * (multi_digamma(half, dimension) / dimension - math.log(half))
        density.log_scale[k] = (
            log_weight
            + contract.log_determinant(density, k)
            + narrower
            - 0.5 * n_features * (math.log(2.0 * math.pi) + 1.0 / posterior.mean_precision[k])
        )


@kernel
def expected_log_joint(density, origin, mass, deviation, scatter):
    """Return the sum over rows and components of w r times the log joint of `density`; statistics about `origin`."""
    moved = deviation.copy()
    about = scatter.copy()
    move_origin(density, origin, density.mean, mass, moved, about)
    total = -0.5 * contract.inner(density, about)
    for k in range(mass.shape[0]):
        # A component without mass may have a log scale of -inf.
        if mass[k] > 0.0:
            total += mass[k] * density.log_scale[k]
    return total


@kernel
def divergence(density, prior, posterior):
    """Return the Kullback-Leibler divergence of the posterior from the prior, in nat.

    The evidence lower bound is the log evidence of the rows under `density` minus this: sum_n log sum_k exp(log joint)
    holds all expectations that involve rows or responsibilities (PRML 10.70 to 10.77, all constants in).
    """
    n_components, n_features = density.mean.shape
    dimension, count = contract.wishart(density)
    freedom = posterior.degrees_of_freedom
    total = _weights_divergence(prior, posterior)
    moments = np.empty_like(density.whitener)
    flat = moments.reshape(moments.size)
    scale = prior.scale.reshape(prior.scale.size)
    # The law of a precision that components share has its prior once.
    for i in range(flat.size):
        flat[i] = scale[i % scale.size] if i < freedom.size * scale.size else 0.0
    gap = np.empty(n_features)
    for k in range(n_components):
        for d in range(n_features):
            gap[d] = density.mean[k, d] - prior.mean[d]
        contract.project(density, k, prior.mean_precision, gap, gap, moments)
        ratio = prior.mean_precision / posterior.mean_precision[k]
        total += 0.5 * n_features * (ratio - 1.0 - math.log(ratio))
    total += 0.5 * contract.inner(density, moments)
    for block in range(freedom.size):
        nu = freedom[block]
        gain = nu - prior.degrees_of_freedom
        log_determinant = dimension * count * math.log(nu) + log_determinant_of_blocks(density, block)
        total += 0.5 * prior.degrees_of_freedom * (log_determinant - prior.log_determinant)
        total += count * (0.5 * gain * multi_digamma(0.5 * nu, dimension) - 0.5 * nu * dimension)
        total -= count * log_multi_gamma_ratio(0.5 * prior.degrees_of_freedom, 0.5 * gain, dimension)
    return total


@kernel
def log_determinant_of_blocks(density, block):
    """Return the sum of log|covariance| over the Wishart blocks that share entry `block` of the pool."""
    dimension, count = contract.wishart(density)
    return -2.0 * dimension * count / density.mean.shape[1] * contract.log_determinant(density, block)


@kernel
def _weights_divergence(prior, posterior):
    n_components = posterior.concentration.shape[1]
    before = prior.concentration
    total = 0.0
    if posterior.concentration.shape[0] == 1:
        whole = 0.0
        for k in range(n_components):
            whole += posterior.concentration[0, k]
        mean = digamma(whole)
        gained = 0.0
        for k in range(n_components):
            a = posterior.concentration[0, k]
            gained += a - before
            total += (a - before) * (digamma(a) - mean) - log_gamma_ratio(before, a - before)
        total += log_gamma_ratio(n_components * before, gained)
    else:
        # The prior of a stick is Beta(1, concentration), whose normaliser is 1 / concentration.
        for k in range(n_components):
            a = posterior.concentration[0, k]
            b = posterior.concentration[1, k]
            mean = digamma(a + b)
            total += log_gamma_ratio(b, a) - log_gamma(a) - math.log(before)
            total += (a - 1.0) * (digamma(a) - mean) + (b - before) * (digamma(b) - mean)
    return total
