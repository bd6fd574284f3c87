"""Passes over a range of rows for authors of other packages: one question each, few arguments, the tile chosen here.

They are thin. What a density says of rows comes from :func:`~fastgmm.kernels.passes.score.score_rows` or the functions
of tiles that it is made of; nothing is computed in a second way. Row i of an output belongs to row i of X.
"""

from __future__ import annotations

import math

import numpy as np

from fastgmm.kernels.compiling import exact_kernel, kernel
from fastgmm.kernels.passes.layout import fitting_tile
from fastgmm.kernels.passes.score import score_rows
from fastgmm.kernels.structures import contract
from fastgmm.kernels.vector.elementary import vector_exp
from fastgmm.kernels.vector.tiles import pack_tile, tile_buffer


@exact_kernel
def _write_table(log_scale, distance, first, n, joint, table):
    """Overwrite rows first .. first+n of `table` with the distances of a tile, or with log joints if `joint`."""
    for b in range(n):
        for k in range(distance.shape[0]):
            value = distance[k, b]
            table[first + b, k] = log_scale[k] - 0.5 * value if joint else value


@kernel
def _table_rows(density, X, start, stop, joint, table):
    n_components, n_features = density.mean.shape
    tile = fitting_tile(n_components, n_features, stop - start)
    x = tile_buffer(n_features, tile, density.mean)
    distance = tile_buffer(n_components, tile, density.mean)
    scratch = contract.workspace(density, tile)
    constants = contract.prepare(density)
    for first in range(start, stop, tile):
        n = min(tile, stop - first)
        pack_tile(X, first, n, density.mean[0], x)
        contract.distance_tile(density, constants, x, n, scratch, distance)
        _write_table(density.log_scale, distance, first, n, joint, table)


@kernel
def distance_rows(density, X, start, stop, distance):
    """Overwrite rows start .. stop of `distance` (N, K) with squared Mahalanobis distances from each component.

    For a Student-t density, with the distance that its log joint is made of. `distance` is float32 or float64. A
    distance that overflows is inf, one from a row with NaN is NaN. Allocates buffers for a tile; thread-safe.
    """
    _table_rows(density, X, start, stop, False, distance)


@kernel
def log_joint_rows(density, X, start, stop, log_joint):
    """Overwrite rows start .. stop of `log_joint` (N, K) with log(weight k) + log(density k at the row), nat.

    For a density made with weights of one, these are the components' own log-densities. `log_joint` is float32 or
    float64. Where a squared distance overflows it is -inf, in a row with NaN it is NaN. Allocates buffers for a tile;
    thread-safe.
    """
    _table_rows(density, X, start, stop, True, log_joint)


@kernel
def _score(density, X, start, stop, labels, evidence, responsibility):
    n_components, n_features = density.mean.shape
    tile = fitting_tile(n_components, n_features, stop - start)
    score_rows(density, X, start, stop, tile, np.empty(0), labels, evidence, responsibility, np.zeros(3))


@kernel
def evidence_rows(density, X, start, stop, evidence):
    """Overwrite rows start .. stop of `evidence` (N,) with the log evidence, log sum_k exp(log joint), nat.

    That is the log-density of the mixture. `evidence` is float32 or float64. A row whose squared distances all
    overflow, or with NaN, has -inf. Allocates buffers for a tile; thread-safe.
    """
    _score(density, X, start, stop, np.empty(0, np.int64), evidence, np.empty((0, 0)))


@kernel
def responsibility_rows(density, X, start, stop, responsibility):
    """Overwrite rows start .. stop of `responsibility` (N, K) with the posterior probabilities of the components.

    `responsibility` is float32 or float64. Of a row whose squared distances all overflow, or with NaN, they
    mean nothing: its evidence is -inf. Allocates buffers for a tile; thread-safe.
    """
    _score(density, X, start, stop, np.empty(0, np.int64), np.empty(0), responsibility)


@kernel
def label_rows(density, X, start, stop, labels):
    """Overwrite rows start .. stop of `labels` (N,), of any integer type, with the component of highest log joint.

    The first of equals. A row with NaN has label 0. Allocates buffers for a tile; thread-safe.
    """
    _score(density, X, start, stop, labels, np.empty(0), np.empty((0, 0)))


@exact_kernel
def normalise(log_joint):
    """Replace the log joints of one row by its responsibilities, in place, and return its log evidence.

    `log_joint` (K,) float64 of any layout, K >= 1: log joints that come from elsewhere, or that something was added to,
    a prior of the row or a transition. Where all are -inf, the responsibilities are 0 and the log evidence is -inf; NaN
    gives NaN. Allocates nothing; thread-safe.
    """
    peak = log_joint[0]
    for k in range(1, log_joint.shape[0]):
        peak = max(peak, log_joint[k])
    if peak == -np.inf:
        for k in range(log_joint.shape[0]):
            log_joint[k] = 0.0
        return peak
    for k in range(log_joint.shape[0]):
        log_joint[k] = vector_exp(log_joint[k] - peak)
    total = 0.0
    for k in range(log_joint.shape[0]):
        total += log_joint[k]
    scale = 1.0 / total
    for k in range(log_joint.shape[0]):
        log_joint[k] *= scale
    return peak + math.log(total)
