"""The diag family: a variance per component and feature."""

from __future__ import annotations

import numpy as np

from fastgmm.kernels.algebra.matrix import product
from fastgmm.kernels.compiling import borrowed
from fastgmm.kernels.structures import contract
from fastgmm.kernels.structures.densities import DiagDensity
from fastgmm.kernels.vector.distances import scaled_distances
from fastgmm.kernels.vector.moments import add_variances
from fastgmm.kernels.vector.partial import begin_squares, finish_squares, first_squares


@contract.blank.register(DiagDensity)
def _blank(density, n_components):
    n_features = density.mean.shape[1]
    return DiagDensity(
        np.empty(n_components), np.empty((n_components, n_features)), np.empty((n_components, n_features))
    )


@contract.distance_tile.register(DiagDensity)
def _distance_tile(density, table, x, n, scratch, distance):
    scaled_distances(density.mean, density.whitener, x, n, distance)


@contract.accumulate_tile.register(DiagDensity)
def _accumulate_tile(density, origin, x, n, responsibility, tile_mass, distance, scratch, deviation, scatter):
    add_variances(x, origin, responsibility, n, tile_mass, deviation, scatter)


@contract.project.register(DiagDensity)
def _project(density, k, factor, u, v, scatter):
    for j in range(u.shape[0]):
        scatter[k, j] += product(factor, u[j], v[j])


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
            total += product(density.whitener[k, j], scatter[k, j], density.whitener[k, j])
    return total


@contract.amplification.register(DiagDensity)
def _amplification(density, centre):
    largest = 0.0
    for k in range(density.mean.shape[0]):
        for j in range(density.mean.shape[1]):
            largest = max(largest, 1.0 + density.whitener[k, j] * abs(density.mean[k, j] - centre[j]))
    return largest


@contract.component.register(DiagDensity)
def _component(density, k):
    return borrowed(DiagDensity(density.log_scale[k : k + 1], density.mean[k : k + 1], density.whitener[k : k + 1]))


@contract.whitened_length.register(DiagDensity)
def _whitened_length(density, k, vector):
    total = 0.0
    for j in range(vector.shape[0]):
        value = density.whitener[k, j] * vector[j]
        total += value * value
    return np.sqrt(total)


@contract.stretch.register(DiagDensity)
def _stretch(density, k, unit):
    least = np.inf
    most = 0.0
    spread = 0.0
    for j in range(unit.shape[0]):
        ratio = density.whitener[k, j] / unit[j]
        least = min(least, ratio)
        most = max(most, ratio)
        spread += 1.0 / (ratio * ratio)
    most *= 1.0 + 2.0**-40
    return least * (1.0 - 2.0**-40), most, most, spread


@contract.begin_distances.register(DiagDensity)
def _begin_distances(density, table, x, scratch, n, listed, begin, end, distance):
    first = first_squares(density.mean.shape[1])
    begin_squares(density.mean, density.whitener, x, n, listed, begin, end, first, distance)


@contract.finish_distances.register(DiagDensity)
def _finish_distances(density, table, x, scratch, n, candidates, n_slots, limits):
    first = first_squares(density.mean.shape[1])
    finish_squares(density.mean, density.whitener, x, n, first, candidates, n_slots, limits)
