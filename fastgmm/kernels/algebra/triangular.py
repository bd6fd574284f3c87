"""Cholesky factor and triangular inverse of one matrix, in loops that vectorise; no LAPACK, no exceptions."""

from __future__ import annotations

import math

import numpy as np

from fastgmm.kernels.compiling import kernel

# Rounding error of a pivot relative to its own diagonal entry, for each row above it: at most, and usually.
_PIVOT = 32.0 * 2.220446049250313e-16
_ROUNDING = 2.0 * 2.220446049250313e-16


@kernel
def _remainder(matrix, factor, i, j):
    """Return matrix[i, j] without what the first j columns of its Cholesky `factor` explain of it."""
    s = 0.0
    for m in range(j):
        s += factor[i, m] * factor[j, m]
    return matrix[i, j] - s


@kernel
def cholesky(matrix, factor):
    """Write the lower Cholesky factor of the symmetric (D, D) `matrix` over the lower triangle of `factor` (D, D).

    Reads the lower triangle only. Returns True, or False, with `factor` unfinished, where a pivot is not above rounding
    error relative to its own diagonal entry (or is NaN). D**3/3 flops; allocates nothing; thread-safe.
    """
    n = matrix.shape[0]
    for i in range(n):
        for j in range(i + 1):
            s = _remainder(matrix, factor, i, j)
            if i > j:
                factor[i, j] = s / factor[j, j]
            elif s > _PIVOT * (i + 1) * matrix[i, i]:
                factor[i, i] = math.sqrt(s)
            else:
                return False
    return True


@kernel
def cholesky_above(matrix, least, freedom, factor):
    """Write the lower Cholesky factor of `matrix` (D, D) over `factor`, no pivot below that of `least` over `freedom`.

    `least` (D, D) is the Cholesky factor of a matrix of which `matrix` is known to be 1 / `freedom` of a sum with
    another: its pivots are at least that, whatever rounding says. Adds to the diagonal of `matrix` what pivots were
    raised by. Reads lower triangles only. Returns True, or False, with `factor` unfinished, where the least pivot is
    itself rounding error relative to a diagonal entry (or NaN). D**3/3 flops; allocates nothing.
    """
    n = matrix.shape[0]
    for i in range(n):
        for j in range(i + 1):
            s = _remainder(matrix, factor, i, j)
            if i > j:
                factor[i, j] = s / factor[j, j]
            else:
                root = least[i, i] / math.sqrt(freedom)
                if not root * root > _ROUNDING * (i + 1) * matrix[i, i]:
                    return False
                matrix[i, i] = matrix[i, i] + max(root * root - s, 0.0)
                factor[i, i] = max(math.sqrt(max(s, 0.0)), root)
    return True


@kernel
def invert_lower(factor, inverse):
    """Overwrite the (D, D) `inverse` with the inverse of the lower triangular (D, D) `factor`; zeros above.

    Another array than `factor`, of which the upper triangle is not read. A zero on its diagonal gives infinities or
    NaN. D**3/3 flops; allocates nothing; thread-safe.
    """
    n = factor.shape[0]
    for i in range(n):
        for j in range(n):
            inverse[i, j] = 0.0
        for m in range(i):
            c = factor[i, m]
            for j in range(m + 1):
                inverse[i, j] -= c * inverse[m, j]
        scale = 1.0 / factor[i, i]
        for j in range(i):
            inverse[i, j] *= scale
        inverse[i, i] = scale


@kernel
def whiten_matrix(covariance, whitener):
    """Overwrite `whitener` (D, D) with the inverse Cholesky factor of `covariance` (D, D), and return True.

    Reads the lower triangle of `covariance` only. Returns False, with `whitener` as it was, where :func:`cholesky`
    does. Allocates a matrix; thread-safe.
    """
    factor = np.empty(covariance.shape)
    if not cholesky(covariance, factor):
        return False
    invert_lower(factor, whitener)
    return True


@kernel
def whitened_trace(whitener, scatter):
    """Return the trace of A S A^T, the inner product of A^T A with S, for A the `whitener` and S the `scatter`.

    Both (D, D), the whitener lower triangular, the scatter symmetric. Allocates nothing; thread-safe.
    """
    n = scatter.shape[0]
    total = 0.0
    for i in range(n):
        for j in range(i + 1):
            s = 0.0
            for m in range(i + 1):
                s += scatter[j, m] * whitener[i, m]
            total += whitener[i, j] * s
    return total


@kernel
def whitened_spread(whitener, mean, centre):
    """Return the largest entry of |A| (s + |mean - centre|), for s the standard deviations that A whitens.

    `whitener` A (D, D) is an inverse Cholesky factor. D**3/3 flops.
    """
    n = mean.shape[0]
    factor = np.empty((n, n))
    invert_lower(whitener, factor)
    spread = np.empty(n)
    for j in range(n):
        s = 0.0
        for m in range(j + 1):
            s += factor[j, m] * factor[j, m]
        spread[j] = math.sqrt(s) + abs(mean[j] - centre[j])
    largest = 0.0
    for i in range(n):
        s = 0.0
        for j in range(i + 1):
            s += abs(whitener[i, j]) * spread[j]
        largest = max(largest, s)
    return largest


@kernel
def _whitened_feature(whitener, vector, i):
    """Return element i of the lower triangular `whitener` (D, D) times `vector` (D,)."""
    s = 0.0
    for j in range(i + 1):
        s += whitener[i, j] * vector[j]
    return s


@kernel
def whitened_length(whitener, vector):
    """Return the length of the lower triangular `whitener` (D, D) times `vector` (D,). D**2 flops; thread-safe."""
    total = 0.0
    for i in range(vector.shape[0]):
        s = _whitened_feature(whitener, vector, i)
        total += s * s
    return math.sqrt(total)


@kernel
def whitened_line(whitener, vector, image, direction):
    """Return the length of A `vector`, for the lower triangular `whitener` A (D, D), and what its direction is in x.

    Overwrites `direction` (D,) with A^T A vector / |A vector|: its product with any z is the component of A z along
    A vector. A length below 1e-140, whose square is not exact, counts as 0, and has no direction: zeros. `image` (D,)
    is scratch. 2 D**2 flops; thread-safe.
    """
    n = vector.shape[0]
    for i in range(n):
        image[i] = _whitened_feature(whitener, vector, i)
        direction[i] = 0.0
    square = 0.0
    for i in range(n):
        square += image[i] * image[i]
    length = math.sqrt(square)
    if length < 1e-140:
        return 0.0
    for i in range(n):
        share = image[i] / length
        for j in range(i + 1):
            direction[j] += whitener[i, j] * share
    return length


@kernel
def _sums_bound(matrix, left, right):
    """Return an upper bound of the spectral norm of diag(left) |M| diag(right), for M the lower triangular (D, D).

    The geometric mean of the largest sums of a row and of a column. Allocates (D,).
    """
    n = left.shape[0]
    columns = np.zeros(n)
    largest_row = 0.0
    for i in range(n):
        row = 0.0
        for j in range(i + 1):
            row += abs(left[i] * matrix[i, j] * right[j])
        for j in range(i + 1):
            columns[j] += abs(left[i] * matrix[i, j] * right[j])
        largest_row = max(largest_row, row)
    largest_column = 0.0
    for j in range(n):
        largest_column = max(largest_column, columns[j])
    return math.sqrt(largest_row * largest_column)


@kernel
def _trace_bound(matrix, product):
    """Return an upper bound of the spectral norm of the lower triangular (D, D): the 8th root of trace((M M^T)^4).

    Overwrites `product` (D, D). The matrix is of moderate size: its entries' eighth powers must not overflow.
    """
    n = matrix.shape[0]
    for i in range(n):
        for j in range(i + 1):
            s = 0.0
            for m in range(j + 1):
                s += matrix[i, m] * matrix[j, m]
            product[i, j] = s
            product[j, i] = s
    total = 0.0
    for i in range(n):
        for j in range(i + 1):
            s = 0.0
            for m in range(n):
                s += product[i, m] * product[j, m]
            total += s * s * (2.0 if j < i else 1.0)
    return math.sqrt(math.sqrt(math.sqrt(total)))


@kernel
def whitener_stretch(whitener, unit):
    """Return bounds (least, most) of the length of the lower triangular `whitener` A times z over that of unit * z.

    For all vectors z; and `rough`, a bound of the length of |A| |z|, and `spread`, the mean square of unit * z for z of
    the covariance that A whitens. `unit` (D,) is positive. About D**3 flops; allocates three matrices.
    """
    n = unit.shape[0]
    inverse = np.empty((n, n))
    invert_lower(whitener, inverse)
    ones = np.ones(n)
    rough = _sums_bound(whitener, ones, 1.0 / unit)
    longest = _sums_bound(inverse, unit, ones)
    # An inverse X of A as computed is off by no more than some D units of rounding times |X| |A| |X|.
    off = (n + 4.0) * 2.0**-50 * rough * longest
    wider = 1.0 + 2.0**-40
    scaled = np.zeros((n, n))
    product = np.empty((n, n))
    spread = 0.0
    for i in range(n):
        for j in range(i + 1):
            inverse[i, j] *= unit[i]
        for j in range(i + 1):
            spread += inverse[i, j] * inverse[i, j]
        for j in range(i + 1):
            scaled[i, j] = whitener[i, j] / (unit[j] * rough)
            inverse[i, j] /= longest
    most = rough * min(_trace_bound(scaled, product), 1.0) * wider
    length = longest * min(_trace_bound(inverse, product), 1.0)
    least = 1.0 / ((length + longest * off) * wider) if off < 0.1 else 0.0
    return least, most, rough * wider, spread
