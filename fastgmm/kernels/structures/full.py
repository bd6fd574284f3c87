"""The full family: a covariance matrix per component."""

from __future__ import annotations

import numpy as np

from fastgmm.kernels.algebra import matrix
from fastgmm.kernels.algebra.triangular import (
    whiten_matrix,
    whitened_length,
    whitened_line,
    whitened_spread,
    whitened_trace,
    whitener_stretch,
)
from fastgmm.kernels.compiling import borrowed
from fastgmm.kernels.structures import contract
from fastgmm.kernels.structures.densities import FullDensity
from fastgmm.kernels.vector.distances import whitened_distances
from fastgmm.kernels.vector.moments import add_moments, moments_rows
from fastgmm.kernels.vector.partial import begin_whitened, finish_whitened, first_whitened
from fastgmm.kernels.vector.tiles import tile_buffer


@contract.blank.register(FullDensity)
def _blank(density, n_components):
    n_features = density.mean.shape[1]
    return FullDensity(
        np.empty(n_components), np.empty((n_components, n_features)), np.empty((n_components, n_features, n_features))
    )


@contract.workspace.register(FullDensity)
def _workspace(density, tile_rows):
    return tile_buffer(moments_rows(), tile_rows, density.mean)


@contract.distance_tile.register(FullDensity)
def _distance_tile(density, table, x, n, scratch, distance):
    whitened_distances(density.whitener, density.mean, x, n, distance)


@contract.accumulate_tile.register(FullDensity)
def _accumulate_tile(density, origin, x, n, responsibility, tile_mass, distance, scratch, deviation, scatter):
    add_moments(x, origin, responsibility, n, tile_mass, scratch, deviation, scatter)


@contract.project.register(FullDensity)
def _project(density, k, factor, u, v, scatter):
    matrix.add_symmetric(factor, u, v, scatter[k])


@contract.pool.register(FullDensity)
def _pool(density, mass):
    return mass.copy()


@contract.variance.register(FullDensity)
def _variance(density, covariance, k, j):
    return covariance[k, j, j]


@contract.regularise.register(FullDensity)
def _regularise(density, covariance, amount):
    for k in range(covariance.shape[0]):
        for j in range(covariance.shape[1]):
            covariance[k, j, j] = max(covariance[k, j, j], 0.0) + amount


@contract.whiten.register(FullDensity)
def _whiten(density, covariance):
    for k in range(covariance.shape[0]):
        if not whiten_matrix(covariance[k], density.whitener[k]):
            return k
    return -1


@contract.log_determinant.register(FullDensity)
def _log_determinant(density, k):
    return matrix.log_diagonal(density.whitener[k])


@contract.wishart.register(FullDensity)
def _wishart(density):
    return density.mean.shape[1], 1


@contract.inner.register(FullDensity)
def _inner(density, scatter):
    total = 0.0
    for k in range(scatter.shape[0]):
        total += whitened_trace(density.whitener[k], scatter[k])
    return total


@contract.amplification.register(FullDensity)
def _amplification(density, centre):
    largest = 0.0
    for k in range(density.mean.shape[0]):
        largest = max(largest, whitened_spread(density.whitener[k], density.mean[k], centre))
    return largest


@contract.component.register(FullDensity)
def _component(density, k):
    return borrowed(FullDensity(density.log_scale[k : k + 1], density.mean[k : k + 1], density.whitener[k : k + 1]))


@contract.whitened_length.register(FullDensity)
def _whitened_length(density, k, vector):
    return whitened_length(density.whitener[k], vector)


@contract.stretch.register(FullDensity)
def _stretch(density, k, unit):
    return whitener_stretch(density.whitener[k], unit)


@contract.draw_lines.register(FullDensity)
def _draw_lines(density, hint, listed, n_listed, gap, image, lines):
    n_features = density.mean.shape[1]
    if first_whitened(n_features) == n_features:
        return False
    for s in range(1, n_listed):
        k = listed[s]
        if lines.start[k] == hint:
            continue
        for d in range(n_features):
            gap[d] = density.mean[hint, d] - density.mean[k, d]
        lines.length[k] = whitened_line(density.whitener[k], gap, image, lines.direction[k])
        lines.start[k] = hint
    return True


@contract.begin_distances.register(FullDensity)
def _begin_distances(density, table, x, scratch, n, listed, begin, end, distance):
    first = first_whitened(density.mean.shape[1])
    begin_whitened(density.whitener, density.mean, x, n, listed, begin, end, first, distance)


@contract.finish_distances.register(FullDensity)
def _finish_distances(density, table, x, scratch, n, candidates, n_slots, limits):
    first = first_whitened(density.mean.shape[1])
    finish_whitened(density.whitener, density.mean, x, n, first, candidates, n_slots, limits)
