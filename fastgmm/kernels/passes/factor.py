"""The fused pass of mixtures of factor analysers: that of :mod:`.collect`, with moments of rows and factors.

Of the second moments it sums the diagonals, and the products of rows with their projections: never a D x D matrix.
Lanes and tiles are those of the other pass, so that sums have the same bits on any number of threads.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgmm.kernels.compiling import Driver, borrowed, keep, kernel, spliced_kernel
from fastgmm.kernels.passes.collect import Rows, clear_tile, load_tile, tile_buffers
from fastgmm.kernels.passes.evidence import log_evidence_tile
from fastgmm.kernels.passes.layout import lane_rows
from fastgmm.kernels.structures import contract
from fastgmm.kernels.structures.factor import FactorDensity
from fastgmm.kernels.vector.moments import add_variances
from fastgmm.kernels.vector.products import add_products
from fastgmm.kernels.vector.softmax import softmax_tile
from fastgmm.kernels.vector.tiles import prefetch_rows


class FactorSums(NamedTuple):
    """Accumulators, float64: `mass` (K,), `deviation` and `scatter` (K, D), `products` (K, Q, D)."""

    mass: NDArray[np.float64]
    deviation: NDArray[np.float64]
    scatter: NDArray[np.float64]
    products: NDArray[np.float64]


@kernel
def _sum_evidence(weight, n, evidence):
    total = 0.0
    for b in range(n):
        total += weight[b] * evidence[b]
    return total


@spliced_kernel
def _collect_tile(density, table, origin, rows, first, n, stop, tile, sums):
    """Add the statistics of a loaded tile, rows first .. first+n, to the sums, and return its log evidence."""
    wanted, ahead = first + n, min(first + 2 * n, stop)
    contract.distance_tile(density, table, tile.x, n, tile.scratch, tile.distance)
    wanted = softmax_tile(
        density.log_scale,
        tile.distance,
        n,
        tile.weight,
        tile.r,
        tile.peak,
        tile.total,
        tile.mass,
        rows.X,
        wanted,
        ahead,
    )
    log_evidence_tile(tile.peak, tile.total, n, tile.total)
    prefetch_rows(rows.X, wanted, ahead)
    for k in range(density.mean.shape[0]):
        sums.mass[k] += tile.mass[k]
    add_variances(tile.x, origin, tile.r, n, tile.mass, sums.deviation, sums.scatter)
    add_products(tile.x, origin, tile.scratch, tile.r, n, tile.mass, sums.products)
    return _sum_evidence(tile.weight, n, tile.total)


@spliced_kernel
def _accumulate_rows(density, origin, rows, start, stop, tile, sums):
    """Add the statistics of rows start .. stop to the sums, tile by tile; return their log evidence."""
    # The rows may own what only they hold: they live as long as the buffers.
    owned = tile_buffers(density, tile), rows
    buffers, rows = borrowed(owned)
    density, origin, sums = borrowed((density, origin, sums))
    table = contract.prepare(density)
    clear_tile(buffers, density.mean[0])
    log_evidence = 0.0
    for first in range(start, stop, tile):
        n = min(tile, stop - first)
        load_tile(rows, first, n, density.mean[0], buffers)
        log_evidence += _collect_tile(density, table, origin, rows, first, n, stop, buffers, sums)
    keep(owned)
    return log_evidence


def _collect_factor_lanes(
    first_lane,
    last_lane,
    log_scale,
    mean,
    whitener,
    projection,
    root,
    order,
    origin,
    X,
    weight,
    tile,
    mass,
    deviation,
    scatter,
    products,
    log_evidence,
):
    """Add the statistics of a block of rows, lane by lane, to accumulators with a leading axis of lanes."""
    density = FactorDensity(log_scale, mean, whitener, projection, root, order)
    rows = Rows(X, weight, np.zeros(mean.shape[1], np.float32))
    for lane in range(first_lane, last_lane):
        start, stop = lane_rows(lane, mass.shape[0], tile, X.shape[0])
        sums = FactorSums(mass[lane], deviation[lane], scatter[lane], products[lane])
        log_evidence[lane] += _accumulate_rows(density, origin, rows, start, stop, tile, sums)


collect_factor = Driver(_collect_factor_lanes)
