"""The fused pass of mixtures of multivariate Student-t laws: that of :mod:`.collect`, with rows weighed by u.

A row of squared Mahalanobis distance q counts in the moments of a component by the responsibility r times
u = power * shrink / (1 + shrink * q), near 0 for outliers; log u = log(power * shrink) - distance / power, for the
distance power * log(1 + shrink * q) of a Student-t law. Lanes and tiles are those of the other pass, so that sums have
the same bits on any number of threads.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgmm.kernels.compiling import Driver, borrowed, exact_kernel, keep, kernel, spliced_kernel
from fastgmm.kernels.passes.collect import Rows, Sums, clear_tile, load_tile, tile_buffers
from fastgmm.kernels.passes.evidence import log_evidence_tile
from fastgmm.kernels.passes.layout import lane_rows
from fastgmm.kernels.structures import contract
from fastgmm.kernels.vector.elementary import vector_log1p
from fastgmm.kernels.vector.softmax import softmax_tile
from fastgmm.kernels.vector.tiles import prefetch_rows, tile_buffer


class Tails(NamedTuple):
    """Tails of Student-t laws, (K,) each: their `log_scale`, `power` nu + D and `shrink` 1 / nu."""

    log_scale: Any
    power: Any
    shrink: Any


class TailSums(NamedTuple):
    """More accumulators, (K,) float64: `counts`, the sum of w r, and `lengths`, that of w r times the distance."""

    counts: NDArray[np.float64]
    lengths: NDArray[np.float64]


@exact_kernel
def _lengthen(power, shrink, n, squared, distance):
    """Overwrite distance[:n] with those of a Student-t law, for squared Mahalanobis distances."""
    for b in range(n):
        distance[b] = power * vector_log1p(shrink * squared[b])


@kernel
def _sum_lengths(n, r, distance):
    """Return the sum of r * distance where r > 0: a distance may be infinite elsewhere."""
    total = 0.0
    for b in range(n):
        total += r[b] * distance[b] if r[b] > 0.0 else 0.0
    return total


@kernel
def _weigh(power, shrink, n, squared, r):
    """Multiply r[:n] by u."""
    top = power * shrink
    for b in range(n):
        r[b] *= top / (1.0 + shrink * squared[b])


@kernel
def _sum_of(row):
    total = 0.0
    for b in range(row.shape[0]):
        total += row[b]
    return total


@kernel
def _sum_evidence(weight, n, evidence):
    total = 0.0
    for b in range(n):
        total += weight[b] * evidence[b]
    return total


@spliced_kernel
def _collect_tile(density, table, tails, origin, rows, first, n, stop, tile, distance, r, sums, tail_sums):
    """Add the statistics of a loaded tile, rows first .. first+n, to the sums, and return its log evidence."""
    wanted, ahead = first + n, min(first + 2 * n, stop)
    contract.distance_tile(density, table, tile.x, n, tile.scratch, tile.distance)
    for k in range(density.mean.shape[0]):
        _lengthen(tails.power[k], tails.shrink[k], n, tile.distance[k], distance[k])
    wanted = softmax_tile(
        tails.log_scale, distance, n, tile.weight, r, tile.peak, tile.total, tile.mass, rows.X, wanted, ahead
    )
    log_evidence_tile(tile.peak, tile.total, n, tile.total)
    prefetch_rows(rows.X, wanted, ahead)
    for k in range(density.mean.shape[0]):
        tail_sums.counts[k] += tile.mass[k]
        tail_sums.lengths[k] += _sum_lengths(n, r[k], distance[k])
        _weigh(tails.power[k], tails.shrink[k], n, tile.distance[k], r[k])
        tile.mass[k] = _sum_of(r[k, :n])
        sums.mass[k] += tile.mass[k]
    contract.accumulate_tile(
        density, origin, tile.x, n, r, tile.mass, distance[:0], tile.scratch, sums.deviation, sums.scatter
    )
    return _sum_evidence(tile.weight, n, tile.total)


@spliced_kernel
def _accumulate_rows(density, tails, origin, rows, start, stop, tile, sums, tail_sums):
    """Add the statistics of rows start .. stop to the sums, tile by tile; return their log evidence."""
    n_components = density.mean.shape[0]
    more = tile_buffer(n_components, tile, density.mean), tile_buffer(n_components, tile, density.mean)
    # The rows may own what only they hold: they live as long as the buffers.
    owned = tile_buffers(density, tile), more, rows
    buffers, (distance, r), rows = borrowed(owned)
    density, tails, origin, sums, tail_sums = borrowed((density, tails, origin, sums, tail_sums))
    table = contract.prepare(density)
    clear_tile(buffers, density.mean[0])
    for k in range(n_components):
        for b in range(tile):
            distance[k, b] = 0.0
            r[k, b] = 0.0
    log_evidence = 0.0
    for first in range(start, stop, tile):
        n = min(tile, stop - first)
        load_tile(rows, first, n, density.mean[0], buffers)
        log_evidence += _collect_tile(
            density, table, tails, origin, rows, first, n, stop, buffers, distance, r, sums, tail_sums
        )
    keep(owned)
    return log_evidence


def _collect_student_lanes(
    first_lane,
    last_lane,
    density,
    log_scale,
    power,
    shrink,
    origin,
    X,
    weight,
    tile,
    counts,
    lengths,
    mass,
    deviation,
    scatter,
    log_evidence,
):
    """Add the statistics of a block of rows, lane by lane, to accumulators with a leading axis of lanes.

    `density` is the Gaussian one with the same means and whiteners, `log_scale`, `power` and `shrink` (K,) are those of
    the Student-t laws. Afterwards `mass` is the sum of w r u, that of the moments.
    """
    rows, tails = Rows(X, weight, np.zeros(density.mean.shape[1], np.float32)), Tails(log_scale, power, shrink)
    for lane in range(first_lane, last_lane):
        start, stop = lane_rows(lane, mass.shape[0], tile, X.shape[0])
        sums, tail_sums = Sums(mass[lane], deviation[lane], scatter[lane]), TailSums(counts[lane], lengths[lane])
        log_evidence[lane] += _accumulate_rows(density, tails, origin, rows, start, stop, tile, sums, tail_sums)


collect_student = Driver(_collect_student_lanes)
