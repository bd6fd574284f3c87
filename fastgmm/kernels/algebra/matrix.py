"""Small pieces of algebra on single vectors and matrices that families share."""

from __future__ import annotations

import numpy as np

from fastgmm.kernels.compiling import exact_kernel, kernel


@exact_kernel
def product(a, b, c):
    """Return (a b) c, in this order: the square of a small deviation underflows before a weight divides it."""
    return (a * b) * c


@exact_kernel
def ratio(a, b):
    """Return a / b by a division: the inverse of a subnormal number overflows."""
    return a / b


@kernel
def add_symmetric(factor, u, v, scatter):
    """Add factor/2 (u v^T + v u^T) to the (D, D) `scatter`."""
    n_features = scatter.shape[0]
    half = 0.5 * factor
    for i in range(n_features):
        for j in range(n_features):
            scatter[i, j] += product(half, u[i], v[j]) + product(half, v[i], u[j])


@kernel
def log_diagonal(matrix):
    """Return the sum of the logarithms of the diagonal of `matrix`."""
    s = 0.0
    for i in range(matrix.shape[0]):
        s += np.log(matrix[i, i])
    return s
