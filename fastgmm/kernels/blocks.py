"""The parallel skeleton, written once: rows -> lanes -> tiles, for every family.

The rows of a block are split into lanes, a number that depends on the size of the problem alone; each lane folds its
tiles in order into accumulators of its own, and the lanes are folded in order afterwards. So every sum is formed in
the same order, bit for bit, on any number of threads. A tile is copied feature-major into cache once, scored, turned
into responsibilities and accumulated before the next one is touched: nothing of size N x K exists.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from fastgmm.kernels import contract
from fastgmm.kernels._compile import Driver, call_at, kernel
from fastgmm.kernels.simd import pack_tile, tile_buffer
from fastgmm.kernels.vector_math import vector_exp, vector_log

#: Where the responsibilities of a pass come from.
SOFT = 0  #: the density: posterior probabilities
HARD = 1  #: the density: all to the component of highest log joint (the first of equals)
LABELLED = 2  #: given labels
GIVEN = 3  #: a given table of responsibilities

# Bytes of tile buffers that should stay in a core's L2 cache together with a component's constants.
_TILE_BYTES = 480 * 1024
# A block of rows should take no longer than a second or so on one slow core, so that Ctrl-C is heard.
_BLOCK_FLOPS = 3e10
# Below this much work a lane costs more to hand out than to run, below so many rows more to clear and fold.
_LANE_FLOPS = 4e5
_LANE_ROWS = 512
_MOST_LANES = 48
_LANE_BYTES = 24 * 2**20
_FEWEST_LANES_BY_MEMORY = 4
# A block of rows that has to be converted (another layout or type) is copied: 16 MB at a time.
_BLOCK_FLOATS = 2**21


def tile_rows(n_components: int, n_features: int) -> int:
    """Return how many rows a tile holds: what keeps its buffers in cache."""
    return 256 if (n_features + 2 * n_components) * 8 * 256 <= _TILE_BYTES else 128


def block_rows(n_components: int, n_features: int, tile: int) -> int:
    """Return how many rows one call of a driver takes; a multiple of the tile."""
    row_flops = 2.0 * n_components * n_features * (n_features + 4.0) + 40.0 * n_components
    rows = min(_BLOCK_FLOPS / row_flops, _BLOCK_FLOATS / n_features)
    return max(int(rows) // tile, 8) * tile


def lane_count(n_rows: int, n_components: int, n_features: int, tile: int, lane_floats: int) -> int:
    """Return the number of lanes for a block of `n_rows`, whose accumulators hold `lane_floats` numbers a lane."""
    n_tiles = -(-n_rows // tile)
    work = float(n_rows) * n_components * (6.0 * n_features + 30.0)
    by_memory = max(_LANE_BYTES // (8 * max(lane_floats, 1)), _FEWEST_LANES_BY_MEMORY)
    return int(max(1, min(n_tiles, n_rows // _LANE_ROWS, work // _LANE_FLOPS, by_memory, _MOST_LANES)))


@kernel
def peak_tile(log_scale, distance, n, log_joint, peak):
    """Overwrite `log_joint` (K, T) from the distances, and `peak` (T,) with its maximum over components.

    `log_joint` and `distance` may be one array.
    """
    for k in range(log_scale.shape[0]):
        scale = log_scale[k]
        row = distance[k]
        out = log_joint[k]
        if k == 0:
            for b in range(n):
                value = scale - 0.5 * row[b]
                out[b] = value
                peak[b] = value
        else:
            for b in range(n):
                value = scale - 0.5 * row[b]
                out[b] = value
                peak[b] = value if value > peak[b] else peak[b]


@kernel
def exponentiate_tile(log_joint, peak, n, total):
    """Replace log_joint[k, b] by its exponential relative to peak[b], in place; overwrite `total` with the sums."""
    for b in range(n):
        total[b] = 0.0
    for k in range(log_joint.shape[0]):
        row = log_joint[k]
        for b in range(n):
            e = vector_exp(row[b] - peak[b])
            row[b] = e
            total[b] += e


@kernel
def log_evidence_tile(peak, total, n, evidence):
    """Overwrite evidence[b] with peak[b] + log(total[b]), the log-sum-exp over components."""
    for b in range(n):
        evidence[b] = peak[b] + vector_log(total[b])


@kernel
def first_maximum_tile(log_joint, peak, n, label):
    """Overwrite label[b] with the first component that attains peak[b]; `label` is a float64 or integer array."""
    for k in range(log_joint.shape[0] - 1, -1, -1):
        row = log_joint[k]
        for b in range(n):
            if row[b] >= peak[b]:
                label[b] = k


@kernel
def accumulate_rows(density, origin, X, weight, start, stop, mode, labels, given, tile, mass, deviation, scatter):
    """Add the statistics of rows start .. stop about `origin` to `mass`, `deviation`, `scatter`; return log evidence.

    The fused pass over one lane, serial and thread-safe as long as the accumulators are its own. `density` is one of
    the classes of :mod:`fastgmm.kernels.densities`; X (N, D) float32 or float64, C-contiguous; `weight` (N,) float64;
    `mode` SOFT, HARD, LABELLED (reads `labels` (N,) int64) or GIVEN (reads `given` (N, K) float64); `tile` rows at a
    time. Returns the sum of w log sum_k exp(log joint) (SOFT), of w max_k log joint (HARD), or 0.
    """
    n_components, n_features = density.mean.shape
    x = tile_buffer(n_features, tile)
    r = tile_buffer(n_components, tile)
    peak = np.empty(tile)
    total = np.empty(tile)
    evidence = np.empty(tile)
    tile_mass = np.empty(n_components)
    scratch = contract.workspace(density, tile)
    table = contract.prepare(density)
    keep = mode in (SOFT, HARD)
    distance = tile_buffer(n_components if keep else 0, tile)
    # Distances serve as squared deviations only where both are about the same points.
    usable = distance
    for k in range(n_components):
        for d in range(n_features):
            if origin[k, d] != density.mean[k, d]:
                usable = distance[:0]
    log_evidence = 0.0
    for first in range(start, stop, tile):
        n = min(tile, stop - first)
        w = weight[first : first + n]
        pack_tile(X, first, n, x)
        # A row without weight must do nothing at all: where its distance overflows, 0 * inf would.
        for b in range(n):
            if w[b] == 0.0:
                for d in range(n_features):
                    x[d, b] = density.mean[0, d]
        if keep:
            contract.distance_tile(density, table, x, n, scratch, distance)
            peak_tile(density.log_scale, distance, n, r, peak)
        if mode == SOFT:
            exponentiate_tile(r, peak, n, total)
            log_evidence_tile(peak, total, n, evidence)
            for b in range(n):
                log_evidence += w[b] * evidence[b]
                total[b] = w[b] / total[b]
            for k in range(n_components):
                row = r[k]
                s = 0.0
                for b in range(n):
                    q = row[b] * total[b]
                    row[b] = q
                    s += q
                tile_mass[k] = s
        else:
            if mode == HARD:
                first_maximum_tile(r, peak, n, total)
                for b in range(n):
                    log_evidence += w[b] * peak[b]
            elif mode == LABELLED:
                for b in range(n):
                    total[b] = labels[first + b]
            for k in range(n_components):
                row = r[k]
                if mode == GIVEN:
                    for b in range(n):
                        row[b] = w[b] * given[first + b, k]
                else:
                    for b in range(n):
                        row[b] = w[b] if total[b] == k else 0.0
                s = 0.0
                for b in range(n):
                    s += row[b]
                tile_mass[k] = s
        for k in range(n_components):
            mass[k] += tile_mass[k]
        contract.accumulate_tile(density, origin, x, n, r, tile_mass, usable, scratch, deviation, scatter)
    return log_evidence


@kernel
def lane_rows(lane, n_lanes, tile, n_rows):
    """Return the first row of a lane and the row after its last: whole tiles, shared out evenly."""
    n_tiles = (n_rows + tile - 1) // tile
    return n_tiles * lane // n_lanes * tile, min(n_tiles * (lane + 1) // n_lanes * tile, n_rows)


def _collect_lanes(
    first_lane, last_lane, density, origin, X, weight, mode, labels, given, tile, mass, deviation, scatter, log_evidence
):
    """Add the statistics of a block of rows, lane by lane, to accumulators with a leading axis of lanes."""
    for lane in range(first_lane, last_lane):
        start, stop = lane_rows(lane, mass.shape[0], tile, X.shape[0])
        log_evidence[lane] += accumulate_rows(
            density,
            origin,
            X,
            weight,
            start,
            stop,
            mode,
            labels,
            given,
            tile,
            mass[lane],
            deviation[lane],
            scatter[lane],
        )


def _collect_fan_out(
    address, density, origin, X, weight, mode, labels, given, tile, mass, deviation, scatter, log_evidence
):
    for i in prange(mass.shape[0]):
        lane = np.int64(i)
        call_at(
            address,
            (
                lane,
                lane + 1,
                density,
                origin,
                X,
                weight,
                mode,
                labels,
                given,
                tile,
                mass,
                deviation,
                scatter,
                log_evidence,
            ),
        )


collect = Driver(_collect_lanes, _collect_fan_out)


@kernel
def score_rows(density, X, start, stop, tile, weight, labels, evidence, responsibility, sums):
    """Score rows start .. stop, and add to `sums` (3,): w * log evidence, w * highest log joint, rows that overflow.

    Each of `labels` (N,) int64, `evidence` (N,) and `responsibility` (N, K) is overwritten in those rows, or skipped
    where it has size 0. `weight` (N,) float64, or size 0 where the first two sums are not wanted. A row whose squared
    distances all overflow has evidence -inf, and label and responsibilities that mean nothing. Serial, thread-safe.
    """
    n_components, n_features = density.mean.shape
    x = tile_buffer(n_features, tile)
    distance = tile_buffer(n_components, tile)
    peak = np.empty(tile)
    total = np.empty(tile)
    row_evidence = np.empty(tile)
    scratch = contract.workspace(density, tile)
    table = contract.prepare(density)
    for first in range(start, stop, tile):
        n = min(tile, stop - first)
        pack_tile(X, first, n, x)
        contract.distance_tile(density, table, x, n, scratch, distance)
        peak_tile(density.log_scale, distance, n, distance, peak)
        overflown = 0.0
        for b in range(n):
            overflown += 0.0 if peak[b] > -np.inf else 1.0
        sums[2] += overflown
        if labels.size > 0:
            first_maximum_tile(distance, peak, n, labels[first : first + n])
        if weight.size == 0 and evidence.size == 0 and responsibility.size == 0:
            continue
        exponentiate_tile(distance, peak, n, total)
        log_evidence_tile(peak, total, n, row_evidence)
        if overflown > 0.0:
            for b in range(n):
                if not peak[b] > -np.inf:
                    row_evidence[b] = -np.inf
        if evidence.size > 0:
            for b in range(n):
                evidence[first + b] = row_evidence[b]
        if responsibility.size > 0:
            for b in range(n):
                total[b] = 1.0 / total[b]
                for k in range(n_components):
                    responsibility[first + b, k] = distance[k, b] * total[b]
        if weight.size > 0:
            sum_evidence = 0.0
            sum_peak = 0.0
            for b in range(n):
                counted = weight[first + b] > 0.0
                sum_evidence += weight[first + b] * row_evidence[b] if counted else 0.0
                sum_peak += weight[first + b] * peak[b] if counted else 0.0
            sums[0] += sum_evidence
            sums[1] += sum_peak


def _score_lanes(first_lane, last_lane, density, X, tile, weight, labels, evidence, responsibility, sums):
    """Score a block of rows, lane by lane; `sums` (L, 3) is added to."""
    for lane in range(first_lane, last_lane):
        start, stop = lane_rows(lane, sums.shape[0], tile, X.shape[0])
        score_rows(density, X, start, stop, tile, weight, labels, evidence, responsibility, sums[lane])


def _score_fan_out(address, density, X, tile, weight, labels, evidence, responsibility, sums):
    for i in prange(sums.shape[0]):
        lane = np.int64(i)
        call_at(address, (lane, lane + 1, density, X, tile, weight, labels, evidence, responsibility, sums))


score = Driver(_score_lanes, _score_fan_out)
