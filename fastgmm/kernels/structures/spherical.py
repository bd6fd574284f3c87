"""The spherical family: a variance per component."""

from __future__ import annotations

import numpy as np

from fastgmm.kernels.algebra.matrix import product
from fastgmm.kernels.compiling import borrowed
from fastgmm.kernels.structures import contract
from fastgmm.kernels.structures.densities import SphericalDensity
from fastgmm.kernels.vector.distances import scaled_distances, square_distances
from fastgmm.kernels.vector.moments import add_deviations, add_weighted_sums
from fastgmm.kernels.vector.partial import begin_squares, finish_squares, first_squares
from fastgmm.kernels.vector.tiles import tile_buffer


@contract.blank.register(SphericalDensity)
def _blank(density, n_components):
    n_features = density.mean.shape[1]
    return SphericalDensity(np.empty(n_components), np.empty((n_components, n_features)), np.empty(n_components))


@contract.workspace.register(SphericalDensity)
def _workspace(density, tile_rows):
    return tile_buffer(density.mean.shape[0], tile_rows, density.mean)


@contract.reads_distances.register(SphericalDensity)
def _reads_distances(density):
    return True


@contract.distance_tile.register(SphericalDensity)
def _distance_tile(density, table, x, n, scratch, distance):
    scaled_distances(density.mean, density.whitener, x, n, distance)


@contract.accumulate_tile.register(SphericalDensity)
def _accumulate_tile(density, origin, x, n, responsibility, tile_mass, distance, scratch, deviation, scatter):
    n_components = density.mean.shape[0]
    add_deviations(x, origin, responsibility, n, tile_mass, deviation)
    square = distance if distance.size > 0 else scratch
    if distance.size == 0:
        square_distances(origin, x, n, square)
    sums = np.zeros(n_components)
    add_weighted_sums(responsibility, square, n, tile_mass, sums)
    for k in range(n_components):
        scale = density.whitener[k] if distance.size > 0 else 1.0
        scatter[k] += sums[k] / (np.float64(scale) * scale)


@contract.project.register(SphericalDensity)
def _project(density, k, factor, u, v, scatter):
    s = 0.0
    for j in range(u.shape[0]):
        s += product(factor, u[j], v[j])
    scatter[k] += s


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
        total += product(density.whitener[k], scatter[k], density.whitener[k])
    return total


@contract.amplification.register(SphericalDensity)
def _amplification(density, centre):
    largest = 0.0
    for k in range(density.mean.shape[0]):
        for j in range(density.mean.shape[1]):
            largest = max(largest, 1.0 + density.whitener[k] * abs(density.mean[k, j] - centre[j]))
    return largest


@contract.component.register(SphericalDensity)
def _component(density, k):
    return borrowed(
        SphericalDensity(density.log_scale[k : k + 1], density.mean[k : k + 1], density.whitener[k : k + 1])
    )


@contract.whitened_length.register(SphericalDensity)
def _whitened_length(density, k, vector):
    total = 0.0
    for j in range(vector.shape[0]):
        value = density.whitener[k] * vector[j]
        total += value * value
    return np.sqrt(total)


@contract.stretch.register(SphericalDensity)
def _stretch(density, k, unit):
    least = np.inf
    most = 0.0
    spread = 0.0
    for j in range(unit.shape[0]):
        ratio = density.whitener[k] / unit[j]
        least = min(least, ratio)
        most = max(most, ratio)
        spread += 1.0 / (ratio * ratio)
    most *= 1.0 + 2.0**-40
    return least * (1.0 - 2.0**-40), most, most, spread


@contract.begin_distances.register(SphericalDensity)
def _begin_distances(density, table, x, scratch, n, listed, begin, end, distance):
    first = first_squares(density.mean.shape[1])
    begin_squares(density.mean, density.whitener, x, n, listed, begin, end, first, distance)


@contract.finish_distances.register(SphericalDensity)
def _finish_distances(density, table, x, scratch, n, candidates, n_slots, limits):
    first = first_squares(density.mean.shape[1])
    finish_squares(density.mean, density.whitener, x, n, first, candidates, n_slots, limits)
