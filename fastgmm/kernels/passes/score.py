"""The pass that scores rows: labels, log evidence, responsibilities and their sums."""

from __future__ import annotations

import numpy as np

from fastgmm.kernels.compiling import Driver, kernel, spliced_kernel
from fastgmm.kernels.passes.evidence import label_tile, log_evidence_tile
from fastgmm.kernels.passes.layout import lane_rows
from fastgmm.kernels.structures import contract
from fastgmm.kernels.vector.softmax import softmax_tile
from fastgmm.kernels.vector.tiles import pack_tile, prefetch_rows, tile_buffer


@kernel
def _count_overflown(peak, n):
    """Return how many of peak[:n] are those of rows whose distances from all components overflow."""
    count = 0
    for b in range(n):
        count += 0 if peak[b] > -np.inf else 1
    return count


@spliced_kernel
def _score_rows(density, X, start, stop, tile, weight, labels, evidence, responsibility, sums):
    """Do what :func:`score_rows` does."""
    n_components, n_features = density.mean.shape
    x = tile_buffer(n_features, tile, density.mean)
    distance = tile_buffer(n_components, tile, density.mean)
    rows = tile_buffer(3, tile, density.mean)
    tile_weight, peak, total = rows[0], rows[1], rows[2]
    tile_mass = np.empty(n_components)
    scratch = contract.workspace(density, tile)
    table = contract.prepare(density)
    for b in range(tile):
        tile_weight[b] = 1.0
    for first in range(start, stop, tile):
        n = min(tile, stop - first)
        pack_tile(X, first, n, density.mean[0], x)
        wanted = first + n
        ahead = min(wanted + n, stop)
        contract.distance_tile(density, table, x, n, scratch, distance)
        if labels.size > 0:
            label_tile(density.log_scale, distance, n, peak, labels[first : first + n])
            sums[2] += _count_overflown(peak, n)
        if weight.size == 0 and evidence.size == 0 and responsibility.size == 0:
            prefetch_rows(X, wanted, ahead)
            continue
        wanted = softmax_tile(
            density.log_scale, distance, n, tile_weight, distance, peak, total, tile_mass, X, wanted, ahead
        )
        prefetch_rows(X, wanted, ahead)
        log_evidence_tile(peak, total, n, total)
        for b in range(n):
            if not peak[b] > -np.inf:
                total[b] = -np.inf
        if labels.size == 0:
            sums[2] += _count_overflown(peak, n)
        if evidence.size > 0:
            for b in range(n):
                evidence[first + b] = total[b]
        if responsibility.size > 0:
            for b in range(n):
                for k in range(n_components):
                    responsibility[first + b, k] = distance[k, b]
        if weight.size > 0:
            sum_evidence = 0.0
            sum_peak = 0.0
            for b in range(n):
                counted = weight[first + b] > 0.0
                sum_evidence += weight[first + b] * total[b] if counted else 0.0
                sum_peak += weight[first + b] * peak[b] if counted else 0.0
            sums[0] += sum_evidence
            sums[1] += sum_peak


@kernel
def score_rows(density, X, start, stop, tile, weight, labels, evidence, responsibility, sums):
    """Score rows start .. stop, and add to `sums` (3,): w * log evidence, w * highest log joint, rows that overflow.

    Each of `labels` (N,) int64, `evidence` (N,) and `responsibility` (N, K) is overwritten in those rows, or skipped
    where it has size 0. `weight` (N,) float64, or size 0 where the first two sums are not wanted. A row whose squared
    distances all overflow has evidence -inf, and label and responsibilities that mean nothing. Serial, thread-safe.
    """
    _score_rows(density, X, start, stop, tile, weight, labels, evidence, responsibility, sums)


def _score_lanes(first_lane, last_lane, density, X, tile, weight, labels, evidence, responsibility, sums):
    """Score a block of rows, lane by lane; `sums` (L, 3) is added to."""
    for lane in range(first_lane, last_lane):
        start, stop = lane_rows(lane, sums.shape[0], tile, X.shape[0])
        _score_rows(density, X, start, stop, tile, weight, labels, evidence, responsibility, sums[lane])


score = Driver(_score_lanes)
