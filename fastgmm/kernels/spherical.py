"""The spherical family: a variance per component."""

from __future__ import annotations

import numpy as np

from fastgmm.kernels import contract, matrix
from fastgmm.kernels.densities import SphericalDensity


@contract.workspace.register(SphericalDensity)
def _workspace(density, tile_rows):
    return np.empty((1, tile_rows))


@contract.prepare.register(SphericalDensity)
def _prepare(density):
    return np.empty((0, 0))


@contract.distance_tile.register(SphericalDensity)
def _distance_tile(density, table, x, n, scratch, distance):
    matrix.square_distances(x, density.mean, n, distance)
    for k in range(density.mean.shape[0]):
        a = density.whitener[k] * density.whitener[k]
        out = distance[k]
        for b in range(n):
            out[b] *= a


@contract.accumulate_tile.register(SphericalDensity)
def _accumulate_tile(density, origin, x, n, responsibility, tile_mass, distance, scratch, deviation, scatter):
    n_components = density.mean.shape[0]
    square = scratch[:1]
    for k in range(n_components):
        if tile_mass[k] == 0.0:
            continue
        r = responsibility[k]
        matrix.add_deviation(x, origin[k], r, n, deviation[k])
        t = 0.0
        if distance.size > 0:
            row = distance[k]
            for b in range(n):
                t += r[b] * row[b]
            t /= density.whitener[k] * density.whitener[k]
        else:
            matrix.square_distances(x, origin[k : k + 1], n, square)
            row = square[0]
            for b in range(n):
                t += r[b] * row[b]
        scatter[k] += t


@contract.project.register(SphericalDensity)
def _project(density, k, factor, u, v, scatter):
    for j in range(u.shape[0]):
        scatter[k] += factor * u[j] * v[j]


@contract.pool.register(SphericalDensity)
def _pool(density, mass):
    return mass * density.mean.shape[1]


@contract.variance.register(SphericalDensity)
def _variance(density, covariance, k, j):
    return covariance[k]


@contract.regularise.register(SphericalDensity)
def _regularise(density, covariance, amount):
    for k in range(covariance.shape[0]):
        covariance[k] = max(covariance[k], 0.0) + amount


@contract.whiten.register(SphericalDensity)
def _whiten(density, covariance):
    for k in range(covariance.shape[0]):
        if not covariance[k] > 0.0:
            return k
        density.whitener[k] = 1.0 / np.sqrt(covariance[k])
    return -1


@contract.log_determinant.register(SphericalDensity)
def _log_determinant(density, k):
    return density.mean.shape[1] * np.log(density.whitener[k])


@contract.wishart.register(SphericalDensity)
def _wishart(density):
    return 1, 1


@contract.inner.register(SphericalDensity)
def _inner(density, scatter):
    total = 0.0
    for k in range(scatter.shape[0]):
        total += density.whitener[k] * scatter[k] * density.whitener[k]
    return total
