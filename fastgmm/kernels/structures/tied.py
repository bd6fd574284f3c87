"""The tied family: one covariance matrix for all components.

Rows are whitened once, about the mean of the heaviest component (so that data far from the origin lose nothing);
after that a component costs what a spherical one does.
"""

from __future__ import annotations

import numpy as np

from fastgmm.kernels.algebra import matrix
from fastgmm.kernels.algebra.triangular import (
    whiten_matrix,
    whitened_length,
    whitened_spread,
    whitened_trace,
    whitener_stretch,
)
from fastgmm.kernels.compiling import borrowed, exact_kernel, multiply_add
from fastgmm.kernels.structures import contract
from fastgmm.kernels.structures.densities import TiedDensity
from fastgmm.kernels.vector.distances import square_distances, whiten_tile
from fastgmm.kernels.vector.moments import add_deviations, add_moments, moments_rows
from fastgmm.kernels.vector.partial import begin_squares, finish_squares, first_squares
from fastgmm.kernels.vector.tiles import tile_buffer


@contract.blank.register(TiedDensity)
def _blank(density, n_components):
    n_features = density.mean.shape[1]
    return TiedDensity(np.empty(n_components), np.empty((n_components, n_features)), np.empty((n_features, n_features)))


@contract.workspace.register(TiedDensity)
def _workspace(density, tile_rows):
    return tile_buffer(max(density.mean.shape[1], moments_rows()), tile_rows, density.mean)


@exact_kernel
def _whiten_means(whitener, mean, table):
    """Overwrite table[k + 1] (D,) with whitener (mean[k] - centre), for the centre that table[0] holds.

    In the same order wherever it is done: passes that skip pairs and passes that do not measure the same distances.
    """
    n_components, n_features = mean.shape
    columns = np.empty((n_features, n_features))
    whitened = np.empty(n_features)
    for i in range(n_features):
        for j in range(n_features):
            columns[j, i] = whitener[i, j]
    for k in range(n_components):
        for i in range(n_features):
            whitened[i] = 0.0
        for j in range(n_features):
            gap = mean[k, j] - table[0, j]
            for i in range(j, n_features):
                whitened[i] = multiply_add(columns[j, i], gap, whitened[i])
        for i in range(n_features):
            table[k + 1, i] = whitened[i]


@contract.prepare.register(TiedDensity)
def _prepare(density):
    # Row 0: the centre. Row k + 1: the whitened mean of component k about it.
    n_components, n_features = density.mean.shape
    heaviest = 0
    for k in range(1, n_components):
        if density.log_scale[k] > density.log_scale[heaviest]:
            heaviest = k
    table = np.zeros((n_components + 1, n_features), density.mean.dtype)
    centre = density.mean[heaviest]
    for j in range(n_features):
        table[0, j] = centre[j]
    _whiten_means(density.whitener, density.mean, table)
    return table


@contract.distance_tile.register(TiedDensity)
def _distance_tile(density, table, x, n, scratch, distance):
    whiten_tile(density.whitener, table[0], x, n, scratch)
    square_distances(table[1:], scratch[: density.mean.shape[1]], n, distance)


@contract.accumulate_tile.register(TiedDensity)
def _accumulate_tile(density, origin, x, n, responsibility, tile_mass, distance, scratch, deviation, scatter):
    if scatter.size == 0:
        add_deviations(x, origin, responsibility, n, tile_mass, deviation)
    else:
        add_moments(x, origin, responsibility, n, tile_mass, scratch, deviation, scatter)


@contract.project.register(TiedDensity)
def _project(density, k, factor, u, v, scatter):
    matrix.add_symmetric(factor, u, v, scatter)


@contract.pool.register(TiedDensity)
def _pool(density, mass):
    total = 0.0
    for k in range(mass.shape[0]):
        total += mass[k]
    return np.full(1, total)


@contract.variance.register(TiedDensity)
def _variance(density, covariance, k, j):
    return covariance[j, j]


@contract.regularise.register(TiedDensity)
def _regularise(density, covariance, amount):
    for j in range(covariance.shape[0]):
        covariance[j, j] = max(covariance[j, j], 0.0) + amount


@contract.whiten.register(TiedDensity)
def _whiten(density, covariance):
    return -1 if whiten_matrix(covariance, density.whitener) else 0


@contract.log_determinant.register(TiedDensity)
def _log_determinant(density, k):
    return matrix.log_diagonal(density.whitener)


@contract.wishart.register(TiedDensity)
def _wishart(density):
    return density.mean.shape[1], 1


@contract.inner.register(TiedDensity)
def _inner(density, scatter):
    return whitened_trace(density.whitener, scatter)


@contract.amplification.register(TiedDensity)
def _amplification(density, centre):
    largest = 0.0
    for k in range(density.mean.shape[0]):
        largest = max(largest, whitened_spread(density.whitener, density.mean[k], centre))
    return largest


@contract.component.register(TiedDensity)
def _component(density, k):
    return borrowed(TiedDensity(density.log_scale[k : k + 1], density.mean[k : k + 1], density.whitener))


@contract.whitened_length.register(TiedDensity)
def _whitened_length(density, k, vector):
    return whitened_length(density.whitener, vector)


@contract.stretch.register(TiedDensity)
def _stretch(density, k, unit):
    return whitener_stretch(density.whitener, unit)


@contract.enter_tile.register(TiedDensity)
def _enter_tile(density, table, x, n, scratch):
    whiten_tile(density.whitener, table[0], x, n, scratch)


@contract.begin_distances.register(TiedDensity)
def _begin_distances(density, table, x, scratch, n, listed, begin, end, distance):
    first = first_squares(density.mean.shape[1])
    begin_squares(table[1:], None, scratch, n, listed, begin, end, first, distance)


@contract.finish_distances.register(TiedDensity)
def _finish_distances(density, table, x, scratch, n, candidates, n_slots, limits):
    first = first_squares(density.mean.shape[1])
    finish_squares(table[1:], None, scratch, n, first, candidates, n_slots, limits)
