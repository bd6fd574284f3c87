"""The diag family: a variance per component and feature."""

from __future__ import annotations

import numpy as np

from fastgmm.kernels import contract
from fastgmm.kernels.densities import DiagDensity
from fastgmm.kernels.simd import add_variances, scaled_distances


@contract.blank.register(DiagDensity)
def _blank(density, n_components):
    n_features = density.mean.shape[1]
    return DiagDensity(
        np.empty(n_components), np.empty((n_components, n_features)), np.empty((n_components, n_features))
    )


@contract.workspace.register(DiagDensity)
def _workspace(density, tile_rows):
    return np.empty((0, 0), density.mean.dtype)


@contract.reads_distances.register(DiagDensity)
def _reads_distances(density):
    return False


@contract.prepare.register(DiagDensity)
def _prepare(density):
    return np.empty((0, 0))


@contract.distance_tile.register(DiagDensity)
def _distance_tile(density, table, x, n, scratch, distance):
    scaled_distances(density.mean, density.whitener, x, n, distance)


@contract.accumulate_tile.register(DiagDensity)
def _accumulate_tile(density, origin, x, n, responsibility, tile_mass, distance, scratch, deviation, scatter):
    add_variances(x, origin, responsibility, n, tile_mass, deviation, scatter)


@contract.project.register(DiagDensity)
def _project(density, k, factor, u, v, scatter):
    for j in range(u.shape[0]):
        scatter[k, j] += factor * u[j] * v[j]


@contract.pool.register(DiagDensity)
def _pool(density, mass):
    return mass.copy()


@contract.variance.register(DiagDensity)
def _variance(density, covariance, k, j):
    return covariance[k, j]


@contract.regularise.register(DiagDensity)
def _regularise(density, covariance, amount):
    for k in range(covariance.shape[0]):
        for j in range(covariance.shape[1]):
            covariance[k, j] = max(covariance[k, j], 0.0) + amount


@contract.whiten.register(DiagDensity)
def _whiten(density, covariance):
    for k in range(covariance.shape[0]):
        for j in range(covariance.shape[1]):
            if not covariance[k, j] > 0.0:
                return k
            density.whitener[k, j] = 1.0 / np.sqrt(covariance[k, j])
    return -1


@contract.log_determinant.register(DiagDensity)
def _log_determinant(density, k):
    s = 0.0
    for j in range(density.mean.shape[1]):
        s += np.log(density.whitener[k, j])
    return s


@contract.wishart.register(DiagDensity)
def _wishart(density):
    return 1, density.mean.shape[1]


@contract.inner.register(DiagDensity)
def _inner(density, scatter):
    total = 0.0
    for k in range(scatter.shape[0]):
        for j in range(scatter.shape[1]):
            total += density.whitener[k, j] * scatter[k, j] * density.whitener[k, j]
    return total


@contract.amplification.register(DiagDensity)
def _amplification(density, centre):
    largest = 0.0
    for k in range(density.mean.shape[0]):
        for j in range(density.mean.shape[1]):
            largest = max(largest, 1.0 + density.whitener[k, j] * abs(density.mean[k, j] - centre[j]))
    return largest
