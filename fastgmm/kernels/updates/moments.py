"""From sums to moments of components, for every structure, in compiled code; and the status of updates.

Serial and thread-safe; callable from Python and from inside other compiled code.
"""

from __future__ import annotations

import numpy as np

from fastgmm.kernels.algebra.matrix import ratio
from fastgmm.kernels.compiling import kernel
from fastgmm.kernels.structures import contract

#: Status of updates and of ``likelihood.set_density``: fine, a covariance is not positive definite, the moments were
#: taken so far from the new means that the covariances lost their digits (collect again about the new means), or the
#: covariances left the range of float64.
OK = 0
COLLAPSED = 1
LOST_DIGITS = 2
NOT_FINITE = 3

# Largest share of a scatter that may cancel: 1e-16 / 1e-8 leaves a variance eight digits.
_CANCELLED = 1e-8
#: A deviation below this share of the mean is rounding, not data: four units in the last place.
RESOLUTION = 4.0 * 2.220446049250313e-16


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
def share_mean(mass, blocks):
    """Overwrite each row of `blocks` (K, ...) with their mean by `mass` (K,), 0 without any; return the whole mass."""
    n_components = mass.size
    total = 0.0
    for k in range(n_components):
        total += mass[k]
    for i in range(blocks.shape[1]):
        mean = 0.0
        for k in range(n_components):
            mean += ratio(mass[k], total) * blocks[k, i] if total > 0.0 else 0.0
        for k in range(n_components):
            blocks[k, i] = mean
    return total


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
