"""Small pieces of algebra on single vectors and matrices that families share."""

from __future__ import annotations

import numpy as np

from fastgmm.kernels._compile import kernel


@kernel
def add_symmetric(factor, u, v, scatter):
    """Add factor/2 (u v^T + v u^T) to the (D, D) `scatter`."""
    n_features = scatter.shape[0]
    for i in range(n_features):
        for j in range(n_features):
            scatter[i, j] += factor * 0.5 * (u[i] * v[j] + v[i] * u[j])


@kernel
def log_diagonal(matrix):
    """Return the sum of the logarithms of the diagonal of `matrix`."""
    s = 0.0
    for i in range(matrix.shape[0]):
        s += np.log(matrix[i, i])
    return s
