"""The fused pass that collects statistics, written once: rows -> lanes -> tiles, for every family.

The rows of a block are split into lanes, a number that depends on the size of the problem alone; each lane folds its
tiles in order into accumulators of its own, and the lanes are folded in order afterwards. So every sum is formed in
the same order, bit for bit, on any number of threads. A tile is copied feature-major into cache once, scored, turned
into responsibilities and accumulated before the next one is touched: nothing of size N x K exists.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgmm.kernels.compiling import Driver, borrowed, keep, kernel, spliced_kernel
from fastgmm.kernels.passes.evidence import label_tile, log_evidence_tile, sum_log_evidence
from fastgmm.kernels.passes.layout import TILE_STEP, lane_rows
from fastgmm.kernels.structures import contract
from fastgmm.kernels.vector.softmax import softmax_tile
from fastgmm.kernels.vector.tiles import pack_tile, prefetch_rows, tile_buffer

#: Where the responsibilities of a pass come from.
SOFT = 0  #: the density: posterior probabilities
HARD = 1  #: the density: all to the component of highest log joint (the first of equals)
LABELLED = 2  #: given labels
GIVEN = 3  #: a given table of responsibilities


# In float32, log joints beyond this are known to 1e-3 at best.
_LOWEST_SINGLE = -1e4


class Rows(NamedTuple):
    """Rows `X` (N, D), their weights `weight` (N,), or size 0 for 1, and what float32 rows are taken about.

    `centre` (D,) float32 matters where the arithmetic is float32: it is subtracted from rows.
    """

    X: Any
    weight: Any
    centre: Any


class Sharing(NamedTuple):
    """How rows are shared out among components: `mode` is SOFT, HARD, LABELLED or GIVEN.

    LABELLED reads `labels` (N,) int64, GIVEN reads `given` (N, K).
    """

    mode: Any
    labels: Any
    given: Any


class Sums(NamedTuple):
    """Accumulators: `mass` (K,), `deviation` (K, D), `scatter` in the family's shape or of size 0; float64."""

    mass: NDArray[np.float64]
    deviation: NDArray[np.float64]
    scatter: NDArray[np.float64]


class Pass(NamedTuple):
    """The constants of a pass over rows: see :func:`begin_pass`."""

    density: Any
    origin: Any
    sharing: Any
    table: Any
    usable: Any


class Tile(NamedTuple):
    """The buffers of a pass, for tiles of T rows.

    `x` (D, T), the rows; `distance` and `r`, the responsibilities (K, T); `weight`, `peak` and `total` (T,); `mass`
    (K,); `factors` (48,), and the family's `scratch`.
    """

    x: Any
    distance: Any
    r: Any
    weight: Any
    peak: Any
    total: Any
    mass: Any
    factors: Any
    scratch: Any


@kernel
def tile_buffers(density, tile):
    """Return a :class:`Tile` of so many rows for a density."""
    n_components, n_features = density.mean.shape
    x = tile_buffer(n_features, tile, density.mean)
    distance = tile_buffer(n_components, tile, density.mean)
    r = tile_buffer(n_components, tile, density.mean) if contract.reads_distances(density) else distance
    rows = tile_buffer(3, tile, density.mean)
    scratch = contract.workspace(density, tile)
    return Tile(x, distance, r, rows[0], rows[1], rows[2], np.empty(n_components), np.empty(TILE_STEP), scratch)


@kernel
def _usable_distances(density, origin, mode, distance):
    """Return `distance` where distances serve as squared deviations, or an empty part of it.

    They do where both are about the same points.
    """
    if mode in (LABELLED, GIVEN) or not contract.reads_distances(density):
        return distance[:0]
    for k in range(origin.shape[0]):
        for d in range(origin.shape[1]):
            if origin[k, d] != density.mean[k, d]:
                return distance[:0]
    return distance


@kernel
def begin_pass(density, origin, sharing, tile):
    """Return the :class:`Pass` of a density over rows, whose moments are taken about `origin`, in a :class:`Tile`."""
    usable = _usable_distances(density, origin, sharing.mode, tile.distance)
    return Pass(density, origin, sharing, contract.prepare(density), usable)


@kernel
def clear_tile(tile, near):
    """Make a tile ready for rows: all columns `near` (D,), so that no distance overflows beyond them."""
    for d in range(tile.x.shape[0]):
        for b in range(tile.x.shape[1]):
            tile.x[d, b] = near[d]


@spliced_kernel
def load_tile(rows, first, n, near, tile):
    """Copy rows first .. first+n, and their weights (without any: ones), into a tile; weights beyond become 0.

    A row without weight must do nothing at all: where its distance overflows, 0 * inf would. So it becomes `near` (D,).
    """
    pack_tile(rows.X, first, n, rows.centre, tile.x)
    for b in range(n, tile.weight.shape[0]):
        tile.weight[b] = 0.0
    if rows.weight.size > 0:
        for b in range(n):
            tile.weight[b] = rows.weight[first + b]
            if rows.weight[first + b] == 0.0:
                for d in range(rows.X.shape[1]):
                    tile.x[d, b] = near[d]
    else:
        for b in range(n):
            tile.weight[b] = 1.0


@kernel
def _add_log_evidence(weight, first, n, tile):
    """Return the sum of the log evidence of a tile's rows; NaN where float32 is too short for it."""
    log_evidence = 0.0
    if tile.peak.itemsize == 4:
        lowest = 0.0
        for b in range(n):
            lowest = min(lowest, np.float64(tile.peak[b]))
        if lowest < _LOWEST_SINGLE:
            log_evidence = np.nan
    if weight.size > 0:
        log_evidence_tile(tile.peak, tile.total, n, tile.total)
        for b in range(n):
            log_evidence += weight[first + b] * tile.total[b]
    else:
        log_evidence += sum_log_evidence(tile.peak, tile.total, n, tile.factors)
    return log_evidence


@kernel
def _assign_tile(density, sharing, first, n, tile):
    """Overwrite a tile's responsibilities with those of a mode that is not SOFT; return the log evidence."""
    total, weight = tile.total, tile.weight
    log_evidence = 0.0
    if sharing.mode == HARD:
        label_tile(density.log_scale, tile.distance, n, tile.peak, total)
        for b in range(n):
            log_evidence += np.float64(weight[b]) * tile.peak[b]
    elif sharing.mode == LABELLED:
        for b in range(n):
            total[b] = sharing.labels[first + b]
    for k in range(density.mean.shape[0]):
        for b in range(n):
            if sharing.mode == GIVEN:
                tile.r[k, b] = weight[b] * sharing.given[first + b, k]
            else:
                tile.r[k, b] = weight[b] if total[b] == k else 0.0
        for b in range(n, weight.shape[0]):
            tile.r[k, b] = 0.0
        s = 0.0
        for b in range(n):
            s += tile.r[k, b]
        tile.mass[k] = s
    return log_evidence


@spliced_kernel
def collect_tile(task, rows, first, n, stop, tile, sums):
    """Add the statistics of a loaded tile, rows first .. first+n, to `sums`, and return its log evidence.

    The rows of the next tile, up to `stop`, come from memory meanwhile, a little at a time: a core can only wait for so
    many lines of cache.
    """
    density, sharing = task.density, task.sharing
    wanted, ahead = first + n, min(first + 2 * n, stop)
    if sharing.mode in (SOFT, HARD):
        contract.distance_tile(density, task.table, tile.x, n, tile.scratch, tile.distance)
    if sharing.mode == SOFT:
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
        log_evidence = _add_log_evidence(rows.weight, first, n, tile)
    else:
        log_evidence = _assign_tile(density, sharing, first, n, tile)
    prefetch_rows(rows.X, wanted, ahead)
    for k in range(density.mean.shape[0]):
        sums.mass[k] += tile.mass[k]
    contract.accumulate_tile(
        density,
        task.origin,
        tile.x,
        n,
        tile.r,
        tile.mass,
        task.usable,
        tile.scratch,
        sums.deviation,
        sums.scatter,
    )
    return log_evidence


@spliced_kernel
def _accumulate_rows(density, origin, rows, sharing, start, stop, tile, sums):
    """Do what :func:`accumulate_rows` does, for a density and an `origin` that may be relative to ``rows.centre``.

    Where the density is float32, the log evidence is NaN if a row's highest log joint is below -1e4, where float32 is
    too short.
    """
    # The rows may own what only they hold: they live as long as the buffers.
    owned = tile_buffers(density, tile), rows
    buffers, rows = borrowed(owned)
    density, origin, sums = borrowed((density, origin, sums))
    task = begin_pass(density, origin, sharing, buffers)
    clear_tile(buffers, density.mean[0])
    log_evidence = 0.0
    for first in range(start, stop, tile):
        n = min(tile, stop - first)
        load_tile(rows, first, n, density.mean[0], buffers)
        log_evidence += collect_tile(task, rows, first, n, stop, buffers, sums)
    keep(owned)
    return log_evidence


@kernel
def accumulate_rows(density, origin, X, weight, start, stop, mode, labels, given, tile, mass, deviation, scatter):
    """Add the statistics of rows start .. stop about `origin` to `mass`, `deviation`, `scatter`; return log evidence.

    The fused pass over one lane, serial and thread-safe as long as the accumulators are its own. `density` is one of
    the classes of :mod:`fastgmm.kernels.structures.densities`; X (N, D) float32 or float64, C-contiguous; `weight`
    (N,) float64, or size 0 for weight 1; `mode` SOFT, HARD, LABELLED (reads `labels` (N,) int64) or GIVEN (reads
    `given` (N, K) float64); `tile` rows at a time. Returns the sum of w log sum_k exp(log joint) (SOFT), of
    w max_k log joint (HARD), or 0.

    The type of the density is that of the arithmetic (float32 only with X and `origin` float32); sums over tiles are
    float64.
    """
    rows = Rows(X, weight, np.zeros(density.mean.shape[1], np.float32))
    sharing, sums = Sharing(mode, labels, given), Sums(mass, deviation, scatter)
    return _accumulate_rows(density, origin, rows, sharing, start, stop, tile, sums)


def _collect_lanes(
    first_lane,
    last_lane,
    density,
    origin,
    centre,
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
):
    """Add the statistics of a block of rows, lane by lane, to accumulators with a leading axis of lanes."""
    rows, sharing = Rows(X, weight, centre), Sharing(mode, labels, given)
    for lane in range(first_lane, last_lane):
        start, stop = lane_rows(lane, mass.shape[0], tile, X.shape[0])
        sums = Sums(mass[lane], deviation[lane], scatter[lane])
        log_evidence[lane] += _accumulate_rows(density, origin, rows, sharing, start, stop, tile, sums)


collect = Driver(_collect_lanes)
