"""Student-t mixtures, the posterior predictive laws of Gaussian ones: only scored, never accumulated.

Whatever scores rows computes log joint = log_scale - distance / 2. Here the distance is (n + D) log(1 + shrink q) for q
the squared Mahalanobis distance of a Gaussian density, or a sum of such terms over features.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgmm.kernels import contract
from fastgmm.kernels.densities import Density, DiagDensity
from fastgmm.kernels.vector_math import vector_log1p

Array = NDArray[np.float64]


class StudentDensity(NamedTuple):
    """A multivariate Student-t law per component: distance = power[k] * log(1 + shrink[k] * the one of `normal`)."""

    log_scale: Array
    mean: Array
    normal: Density
    power: Array
    shrink: Array


class StudentProductDensity(NamedTuple):
    """A product of univariate Student-t laws per component: power[k] * sum over d of log(1 + shrink[k] y_d**2)."""

    log_scale: Array
    mean: Array
    normal: DiagDensity
    power: Array
    shrink: Array


@contract.workspace.register(StudentDensity)
def _workspace(density, tile_rows):
    return contract.workspace(density.normal, tile_rows)


@contract.prepare.register(StudentDensity)
def _prepare(density):
    return contract.prepare(density.normal)


@contract.distance_tile.register(StudentDensity)
def _distance_tile(density, table, x, n, scratch, distance):
    contract.distance_tile(density.normal, table, x, n, scratch, distance)
    for k in range(density.mean.shape[0]):
        row = distance[k]
        shrink = density.shrink[k]
        power = density.power[k]
        for b in range(n):
            row[b] = power * vector_log1p(shrink * row[b])


@contract.workspace.register(StudentProductDensity)
def _product_workspace(density, tile_rows):
    return contract.workspace(density.normal, tile_rows)


@contract.prepare.register(StudentProductDensity)
def _product_prepare(density):
    return contract.prepare(density.normal)


@contract.distance_tile.register(StudentProductDensity)
def _product_distance_tile(density, table, x, n, scratch, distance):
    n_components, n_features = density.mean.shape
    for k in range(n_components):
        row = distance[k]
        for b in range(n):
            row[b] = 0.0
        for d in range(n_features):
            mean = density.mean[k, d]
            scale = density.normal.whitener[k, d]
            shrink = density.shrink[k]
            xd = x[d]
            for b in range(n):
                y = (xd[b] - mean) * scale
                row[b] += vector_log1p(shrink * y * y)
        power = density.power[k]
        for b in range(n):
            row[b] *= power
