"""Factor analysers: covariances Lambda Lambda^T + Psi, of few factors and a diagonal, that are never formed.

By Woodbury's identity a squared Mahalanobis distance is |d / sqrt(psi)|^2 - |P d|^2 for the deviation d from the mean
and P = C^-1 Lambda^T Psi^-1, of as many rows as there are factors, for C C^T = I + Lambda^T Psi^-1 Lambda.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgmm.kernels.compiling import exact_kernel
from fastgmm.kernels.structures import contract
from fastgmm.kernels.vector.distances import scaled_distances
from fastgmm.kernels.vector.partial import project
from fastgmm.kernels.vector.tiles import tile_buffer

Array = NDArray[np.float64]


class FactorDensity(NamedTuple):
    """A factor analyser per component: `log_scale` (K,), `mean` and `whitener` 1 / sqrt(psi) (K, D).

    `projection` (K, Q, D) float64 is P, `root` (K, Q, Q) the lower triangular C, which updates need, and `order` (Q,)
    int64 the numbers from 0.
    """

    log_scale: Array
    mean: Array
    whitener: Array
    projection: Array
    root: Array
    order: NDArray[np.int64]


@exact_kernel
def _shorten(n, squares, row):
    """Subtract squares[:, :n] (Q, T) from row[:n]: never below 0, and infinite where the row is."""
    for q in range(squares.shape[0]):
        for b in range(n):
            row[b] -= squares[q, b] * squares[q, b]
    for b in range(n):
        # Infinity less infinity is no number.
        row[b] = row[b] if row[b] > 0.0 else 0.0 if row[b] <= 0.0 else np.inf


@contract.workspace.register(FactorDensity)
def _workspace(density, tile_rows):
    n_components, n_factors, _ = density.projection.shape
    return tile_buffer(n_components * n_factors, tile_rows, density.mean)


@contract.distance_tile.register(FactorDensity)
def _distance_tile(density, table, x, n, scratch, distance):
    scaled_distances(density.mean, density.whitener, x, n, distance)
    n_factors = density.order.shape[0]
    for k in range(density.mean.shape[0]):
        projected = scratch[k * n_factors : (k + 1) * n_factors]
        project(density.projection[k], density.mean[k], x, n, density.order, 0, n_factors, projected)
        _shorten(n, projected, distance[k])
