"""Student-t mixtures: the posterior predictive laws of Gaussian ones, and mixtures with heavy tails of their own.

Whatever scores rows computes log joint = log_scale - distance / 2. Here the distance is power * log(1 + shrink * q) for
q the squared Mahalanobis distance of the Gaussian density with the same whitener; in the diag family, where every
feature has a precision of its own, a sum of such terms over features.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgmm.kernels.compiling import exact_kernel
from fastgmm.kernels.structures import contract
from fastgmm.kernels.structures.densities import DiagDensity, FullDensity, SphericalDensity, TiedDensity
from fastgmm.kernels.vector.elementary import vector_log1p

Array = NDArray[np.float64]


class FullStudent(NamedTuple):
    """A multivariate Student-t law per component: `power` and `shrink` (K,), the rest as of the Gaussian density."""

    log_scale: Array
    mean: Array
    whitener: Array
    power: Array
    shrink: Array


class TiedStudent(NamedTuple):
    """Multivariate Student-t laws with one scale matrix, up to a factor."""

    log_scale: Array
    mean: Array
    whitener: Array
    power: Array
    shrink: Array


class DiagStudent(NamedTuple):
    """A product of univariate Student-t laws, one for each feature, per component."""

    log_scale: Array
    mean: Array
    whitener: Array
    power: Array
    shrink: Array


class JointDiagStudent(NamedTuple):
    """A multivariate Student-t law per component, with a diagonal scale matrix: one tail for all features."""

    log_scale: Array
    mean: Array
    whitener: Array
    power: Array
    shrink: Array


class SphericalStudent(NamedTuple):
    """A multivariate Student-t law per component, with a multiple of the identity for a scale matrix."""

    log_scale: Array
    mean: Array
    whitener: Array
    power: Array
    shrink: Array


Student = FullStudent | TiedStudent | DiagStudent | SphericalStudent

#: The Gaussian density with the same means and whiteners, for each multivariate Student-t law; and the reverse.
NORMAL_OF: dict[type, Any] = {
    FullStudent: FullDensity,
    TiedStudent: TiedDensity,
    JointDiagStudent: DiagDensity,
    SphericalStudent: SphericalDensity,
}
STUDENT_OF: dict[type, Any] = {normal: student for student, normal in NORMAL_OF.items()}


@exact_kernel
def _lengthen(power, shrink, n, row):
    """Turn squared Mahalanobis distances row[:n] into those of a multivariate Student-t law."""
    for b in range(n):
        row[b] = power * vector_log1p(shrink * row[b])


@exact_kernel
def _product_distances(mean, scale, power, shrink, x, n, row):
    """Overwrite row[:n] with the distances of the tile from one product of Student-t laws; `mean`, `scale` (D,)."""
    for b in range(n):
        row[b] = 0.0
    for d in range(mean.shape[0]):
        xd = x[d]
        for b in range(n):
            y = (xd[b] - mean[d]) * scale[d]
            row[b] += vector_log1p(shrink * y * y)
    for b in range(n):
        row[b] *= power


def _register_multivariate(student, normal):
    @contract.workspace.register(student)
    def _workspace(density, tile_rows):
        return contract.workspace(normal(density.log_scale, density.mean, density.whitener), tile_rows)

    @contract.prepare.register(student)
    def _prepare(density):
        return contract.prepare(normal(density.log_scale, density.mean, density.whitener))

    @contract.distance_tile.register(student)
    def _distance_tile(density, table, x, n, scratch, distance):
        gaussian = normal(density.log_scale, density.mean, density.whitener)
        contract.distance_tile(gaussian, table, x, n, scratch, distance)
        for k in range(density.mean.shape[0]):
            _lengthen(density.power[k], density.shrink[k], n, distance[k])


for _student, _normal in NORMAL_OF.items():
    _register_multivariate(_student, _normal)


@contract.distance_tile.register(DiagStudent)
def _distance_tile(density, table, x, n, scratch, distance):
    for k in range(density.mean.shape[0]):
        _product_distances(density.mean[k], density.whitener[k], density.power[k], density.shrink[k], x, n, distance[k])
