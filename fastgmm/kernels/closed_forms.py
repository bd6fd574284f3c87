"""The closed forms that turn statistics into parameters, for every family, in compiled code.

Serial and thread-safe; callable from Python and from inside other compiled code.
"""

from __future__ import annotations

import math

import numpy as np

from fastgmm.kernels import contract
from fastgmm.kernels.compiling import kernel
from fastgmm.kernels.constraints import UNCONSTRAINED, constrain
from fastgmm.kernels.matrix import ratio

#: Status of updates and of :func:`set_density`: fine, a covariance is not positive definite, the moments were taken so
#: far from the new means that the covariances lost their digits (collect again about the new means), or the covariances
#: left the range of float64.
OK = 0
COLLAPSED = 1
LOST_DIGITS = 2
NOT_FINITE = 3

# Largest share of a scatter that may cancel: 1e-16 / 1e-8 leaves a variance eight digits.
_CANCELLED = 1e-8
#: A deviation below this share of the mean is rounding, not data: four units in the last place.
RESOLUTION = 4.0 * 2.220446049250313e-16
# A sum of squares below this has lost digits to gradual underflow.
_SMALLEST = 1e-303
# The standard deviations of a spurious component, as a geometric mean, are less than a hundredth of the others'.
_LOG_NARROW = math.log(100.0)
# Its inverse squared, a variance, is still far from the smallest float32 number.
_SINGLE_WHITENER = 1e15


@kernel
def centre(density, mass, deviation, scatter):
    """Move the moments in `scatter` from their origin to the components' own means, in place (mass 0: left as it is).

    scatter -= outer(deviation, deviation / mass), in the family's projection, for `mass` (K,) and `deviation` (K, D).
    Of `density` only the class and the shape of the mean count.
    """
    for k in range(mass.shape[0]):
        if mass[k] > 0.0:
            shift, factor = deviation[k], -ratio(1.0, mass[k])
            if not factor > -np.inf:
                # The inverse of a subnormal mass overflows.
                shift, factor = _divided(deviation[k], mass[k]), -1.0
            contract.project(density, k, factor, shift, deviation[k], scatter)


@kernel
def _divided(vector, number):
    """Return `vector` divided by a number, newly allocated."""
    quotient = np.empty(vector.shape[0])
    for i in range(vector.shape[0]):
        quotient[i] = ratio(vector[i], number)
    return quotient


@kernel
def divide_by_pool(density, mass, scatter):
    """Divide each block of `scatter` by the weight behind it, in place; a block without weight becomes 0.

    That weight follows from `mass` (K,). Of `density` only the class and the shape of the mean count. Allocates (K,).
    """
    pool = contract.pool(density, mass)
    flat = scatter.reshape((pool.size, scatter.size // pool.size))
    for block in range(pool.size):
        scale = ratio(1.0, pool[block]) if pool[block] > 0.0 else 0.0
        for i in range(flat.shape[1]):
            # The inverse of a subnormal weight overflows.
            quotient = flat[block, i] * scale if scale < np.inf else ratio(flat[block, i], pool[block])
            flat[block, i] = quotient if scale > 0.0 else 0.0


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
    divide_by_pool(density, mass, covariance)
    contract.regularise(density, covariance, reg_covar)
    if constraint != UNCONSTRAINED:
        constrain(constraint, mass, covariance, whitener)
        mirror(density, covariance)
        if reg_covar == 0.0:
            # A component of one value may have its variance from the others.
            for k in range(n_components):
                for d in range(n_features):
                    resolution = RESOLUTION * density.mean[k, d]
                    if contract.variance(density, covariance, k, d) <= max(resolution * resolution, _SMALLEST):
                        return COLLAPSED, k
    return set_density(density, weights, covariance)


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
def _floor(density, k):
    """Return the squared length of what rounding may move the mean of component k by."""
    floor = 0.0
    for d in range(density.mean.shape[1]):
        resolution = RESOLUTION * density.mean[k, d]
        floor += resolution * resolution
    return floor


@kernel
def component_of_lost_digits(density, pool, scatter, centred):
    """Return the first component with a variance in `centred` that cancelled too far from that in `scatter`, or -1.

    Both are sums over rows, of weight `pool` for each block; the new means are in `density`.
    """
    n_components, n_features = density.mean.shape
    for k in range(n_components):
        least = 1e4 * _floor(density, k) * pool[min(k, pool.size - 1)]
        for d in range(n_features):
            # A shift of a few units in the last place is no loss: nothing finer could be had.
            about_origin = contract.variance(density, scatter, k, d)
            if contract.variance(density, centred, k, d) < _CANCELLED * about_origin and about_origin > least:
                return k
    return -1


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


@kernel
def move_origin(density, origin, target, mass, deviation, scatter):
    """Re-express the moments about `origin` as moments about `target` (K, D), in place: exact, for every family.

    Overwrites `deviation` (K, D) and `scatter`; `mass` (K,) stays. A matrix `scatter` may be
    a lower triangle: either triangle is moved by itself. Of `density` only the class counts. Allocates (D,).
    """
    n_components, n_features = origin.shape
    gap = np.empty(n_features)
    for k in range(n_components):
        for d in range(n_features):
            gap[d] = origin[k, d] - target[k, d]
        contract.project(density, k, 2.0, deviation[k], gap, scatter)
        contract.project(density, k, mass[k], gap, gap, scatter)
        for d in range(n_features):
            deviation[k, d] += mass[k] * gap[d]


@kernel
def as_blocks(density, scatter):
    """Return a view of `scatter`, or what is shaped like it, as its Wishart blocks (n_blocks, dimension, dimension)."""
    dimension, _ = contract.wishart(density)
    return scatter.reshape((scatter.size // (dimension * dimension), dimension, dimension))


@kernel
def mirror(density, scatter):
    """Fill the upper triangles of `scatter` from the lower ones, in place; nothing where it holds no matrices."""
    blocks = as_blocks(density, scatter)
    for block in range(blocks.shape[0]):
        for i in range(blocks.shape[1]):
            for j in range(i):
                blocks[block, j, i] = blocks[block, i, j]


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


@kernel
def round_density(density, centre, rounded):
    """Overwrite `rounded`, a float32 record of the same class, with `density` relative to `centre` (D,) float32.

    Means have the centre subtracted, log scales their highest. Returns that log scale and the amplification of
    rounding errors (:func:`contract.amplification`): infinity where the squares of scales so small leave float32.
    """
    highest = -np.inf
    for scale in density.log_scale:
        highest = max(highest, scale)
    grown = contract.amplification(density, centre)
    for k in range(density.mean.shape[0]):
        rounded.log_scale[k] = density.log_scale[k] - highest
        for d in range(density.mean.shape[1]):
            rounded.mean[k, d] = density.mean[k, d] - centre[d]
    source = density.whitener.ravel()
    target = rounded.whitener.reshape(source.size)
    largest = 0.0
    for i in range(source.size):
        target[i] = source[i]
        largest = max(largest, abs(source[i]))
    return highest, grown if largest < _SINGLE_WHITENER else np.inf
