"""Bounds of a density: what it can say of distances before it meets rows."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgmm.kernels.compiling import Driver
from fastgmm.kernels.structures import contract
from fastgmm.kernels.structures.densities import Density, DiagDensity, FullDensity, SphericalDensity
from fastgmm.kernels.vector.partial import CHUNK, WIDER

Array = NDArray[np.float64]

#: -log of the share of its component's weight below which a responsibility is zero; some more for many components.
CUTOFF = 60.0 * math.log(2.0)
#: Where a row has no limits, responsibilities down to the smallest numbers count, as in other passes.
NO_LIMIT = 720.0


class Bounds(NamedTuple):
    """Numbers of a density that bound the distances of rows from its components; see :data:`measure`.

    `twice`, `cutoff`, `limit` (K,): twice the log scale; how far below a row's highest log joint a component's is live;
    twice their sum, widened. `stretch` (4, K): of :func:`contract.stretch` for `unit` (D,). `frame` (D, W): the means
    about `middle` (D,), times `unit`, feature-major; `length` (K,) their lengths.
    """

    twice: Array
    cutoff: Array
    limit: Array
    stretch: Array
    frame: Array
    length: Array
    middle: Array
    unit: Array


def blank_bounds(n_components: int, middle: Array, unit: Array) -> Bounds:
    """Return bounds that are to be set, about `middle` (D,) in units 1 / `unit` (D,)."""
    width = -(-n_components // CHUNK) * CHUNK
    twice, cutoff, limit, length = np.empty((4, n_components))
    frame = np.zeros((len(unit), width))
    return Bounds(twice, cutoff, limit, np.empty((4, n_components)), frame, length, middle, unit)


def _measure_lanes(first_lane, last_lane, density, bounds):
    """Overwrite `stretch`, `frame` and `length` of `bounds`; there is a lane for each component.

    About D**3 flops a component for families of matrices.
    """
    n_features = density.mean.shape[1]
    for k in range(first_lane, last_lane):
        least, most, rough, spread = contract.stretch(density, k, bounds.unit)
        bounds.stretch[0, k] = least
        bounds.stretch[1, k] = most
        bounds.stretch[2, k] = rough
        bounds.stretch[3, k] = spread
        for d in range(n_features):
            bounds.frame[d, k] = (density.mean[k, d] - bounds.middle[d]) * bounds.unit[d]
        square = 0.0
        for d in range(n_features):
            square += bounds.frame[d, k] * bounds.frame[d, k]
        bounds.length[k] = math.sqrt(square)


measure = Driver(_measure_lanes)


def log_weights(density: Density) -> Array:
    """Return the log weights (K,) of the components of a Gaussian mixture, up to a constant; -inf for a weight of 0."""
    whitener, log_scale = density.whitener, density.log_scale[: len(density.mean)]
    if isinstance(density, FullDensity):
        return log_scale - np.log(np.diagonal(whitener, axis1=1, axis2=2)).sum(axis=1)
    if isinstance(density, DiagDensity):
        return log_scale - np.log(whitener).sum(axis=1)
    if isinstance(density, SphericalDensity):
        return log_scale - density.mean.shape[1] * np.log(whitener)
    return log_scale


def set_limits(density: Density, cutoff: float, bounds: Bounds) -> None:
    """Overwrite `twice`, `cutoff` and `limit` of `bounds`, for the least `cutoff` of a component.

    Components lighter than the heaviest get as much more as they are lighter; with a cutoff of 0 none does.
    """
    log_scale = density.log_scale[: len(density.mean)]
    bounds.twice[:] = 2.0 * log_scale
    bounds.cutoff[:] = cutoff
    if cutoff > 0.0:
        log_weight = log_weights(density)
        lighter = log_weight.max() - log_weight
        bounds.cutoff[:] = np.where(cutoff + lighter < NO_LIMIT, cutoff + lighter, NO_LIMIT)
    limit = 2.0 * (log_scale + bounds.cutoff)
    bounds.limit[:] = limit + WIDER * 2.0 * (np.abs(log_scale) + bounds.cutoff)
    bounds.limit[np.isneginf(log_scale)] = -np.inf
