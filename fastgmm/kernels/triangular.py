"""Cholesky factor and triangular inverse of one matrix, in loops that vectorise; no LAPACK, no exceptions."""

from __future__ import annotations

import math

import numpy as np

from fastgmm.kernels._compile import kernel

# Rounding error of a pivot relative to its own diagonal entry, for each row above it.
_PIVOT = 32.0 * 2.220446049250313e-16


@kernel
def cholesky(matrix, factor):
    """Write the lower Cholesky factor of the symmetric (D, D) `matrix` over the lower triangle of `factor` (D, D).

    Reads the lower triangle only. Returns True, or False, with `factor` unfinished, where a pivot is not above rounding
    error relative to its own diagonal entry (or is NaN). D**3/3 flops; allocates nothing; thread-safe.
    """
    n = matrix.shape[0]
    for i in range(n):
        for j in range(i + 1):
            s = 0.0
            for m in range(j):
                s += factor[i, m] * factor[j, m]
            s = matrix[i, j] - s
            if i > j:
                factor[i, j] = s / factor[j, j]
            elif s > _PIVOT * (i + 1) * matrix[i, i]:
                factor[i, i] = math.sqrt(s)
            else:
                return False
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
