"""Lloyd's iterations with bounds, by which most rows need no distance."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from fastgmm.kernels.clustering.assign import nearest_tile, to_frame
from fastgmm.kernels.compiling import Driver, kernel
from fastgmm.kernels.passes.layout import TILE_STEP, lane_rows
from fastgmm.kernels.vector.distances import square_distances
from fastgmm.kernels.vector.moments import add_rows
from fastgmm.kernels.vector.tiles import gather_rows, pack_tile, tile_buffer

#: Distances in the frame below this may have lost digits to underflow; no bound is trusted to so little.
SMALLEST = 1e-150


class Labelling(NamedTuple):
    """The `labels` (N,) int64 of rows, and by what they are known to stay: see :func:`_iterate_rows`.

    `bound` (N,), or size 0 where all rows are looked at, `reach` (K,) and `margin`, what :func:`relative_margin`
    returns. Bounds of -inf and reaches of 0 are where to begin.
    """

    labels: Any
    bound: Any
    reach: Any
    margin: Any


def relative_margin(n_features: int) -> float:
    """Return by how much, relatively, distances over so many features are widened to be bounds in spite of rounding.

    With u = 2**-53, a sum of squares is right to (D + 3) u in any order, and its root to (D + 5) u / 2. That counts
    when a bound is made and when distances are compared; the rest is for the few operations in between.
    """
    return (n_features + 16.0) * 2.0**-52


class _Buffers(NamedTuple):
    """The buffers of an iteration, for tiles of T rows.

    `index` (T,) int64 are the rows that are looked at, `x` (D, T) and `distance` (K, T) the tile; `nearest` and
    `second` (T,) the smallest distances, `label` (T,) int64 where the smallest is. `changed` and `target` (2 T,) int64
    and `factor` (2 T,) are what is to be added to the sums: a row, a cluster, a weight. `rows` (T, D) and `gap` (T,)
    are scratch.
    """

    index: Any
    x: Any
    distance: Any
    nearest: Any
    second: Any
    label: Any
    changed: Any
    target: Any
    factor: Any
    rows: Any
    gap: Any


@kernel
def _buffers(centres, X, tile):
    n_centres, n_features = centres.shape
    return _Buffers(
        np.empty(tile, np.int64),
        tile_buffer(n_features, tile, centres),
        tile_buffer(n_centres, tile, centres),
        np.empty(tile),
        np.empty(tile),
        np.empty(tile, np.int64),
        np.empty(2 * tile, np.int64),
        np.empty(2 * tile, np.int64),
        np.empty(2 * tile),
        np.empty((tile, n_features), X.dtype),
        np.empty(tile),
    )


@kernel
def _look_at(centres, rows, n, buffers):
    """Find the nearest centres of the first n rows of the index; return their weighted squared distances' sum."""
    X, weight, index, x = rows.X, rows.weight, buffers.index, buffers.x
    # One call of what packs: it is large.
    first = index[0]
    source = X
    if index[n - 1] - first != n - 1:
        gather_rows(X, index, n, buffers.rows)
        first = 0
        source = buffers.rows
    pack_tile(source, first, n, rows.middle, x)
    to_frame(x, n, rows)
    square_distances(centres, x, n, buffers.distance)
    nearest_tile(buffers.distance, n, buffers.nearest, buffers.second, buffers.label)
    inertia = 0.0
    for b in range(n):
        w = weight[index[b]] if weight.size > 0 else 1.0
        inertia += w * buffers.nearest[b] if w > 0.0 else 0.0
    return inertia


@kernel
def _label(rows, labels, n, buffers):
    """Label the first n rows of the index; return how many with weight moved, and list them as changed, twice each."""
    weight, changed, target, factor = rows.weight, buffers.changed, buffers.target, buffers.factor
    n_moved = 0
    for b in range(n):
        i = buffers.index[b]
        k = buffers.label[b]
        old = labels[i]
        w = weight[i] if weight.size > 0 else 1.0
        if k != old:
            labels[i] = k
            if w > 0.0:
                changed[2 * n_moved] = i
                target[2 * n_moved] = old
                factor[2 * n_moved] = -w
                changed[2 * n_moved + 1] = i
                target[2 * n_moved + 1] = k
                factor[2 * n_moved + 1] = w
                n_moved += 1
    return n_moved


@kernel
def _renew_bounds(labelling, n, buffers):
    """Overwrite the bounds of the first n rows of the index."""
    gap, index = buffers.gap, buffers.index
    for b in range(n):
        low = math.sqrt(buffers.nearest[b])
        high = math.sqrt(buffers.second[b])
        gap[b] = high - low - labelling.margin * (high + low) - SMALLEST
    for b in range(n):
        labelling.bound[index[b]] = (gap[b] + labelling.reach[buffers.label[b]]) * (1.0 - 2.0**-50)


@kernel
def _list_rows(rows, labels, begin, end, buffers):
    """List rows begin .. end that have weight as changed; return how many."""
    n_changed = 0
    for i in range(begin, end):
        w = rows.weight[i] if rows.weight.size > 0 else 1.0
        if w > 0.0:
            buffers.changed[n_changed] = i
            buffers.target[n_changed] = labels[i]
            buffers.factor[n_changed] = w
            n_changed += 1
    return n_changed


@kernel
def _list_undecided(labelling, begin, end, n, index):
    """Write the rows begin .. end that may have changed their label to the index from n on; return how many it has."""
    if labelling.bound.size > 0:
        for i in range(begin, end):
            index[n] = i
            n += 0 if labelling.bound[i] > labelling.reach[labelling.labels[i]] else 1
    else:
        for i in range(begin, end):
            index[n] = i
            n += 1
    return n


@kernel
def _iterate_rows(centres, rows, labelling, start, stop, tile, fresh, sums, mass):
    """Assign rows start .. stop and bring the sums of the clusters up to date: see :data:`iterate`.

    Returns how many rows with weight changed their label, and the sum of squared distances. A row's `bound` is the
    distance from its second nearest centre less that from the nearest, plus the `reach` of its label, both of when it
    was last looked at. The reach of a label grows by what its own centre moved and the most that any other one did. By
    the triangle inequality a row whose bound exceeds the reach of its label has kept its nearest centre. Both are
    widened against rounding, distances by `margin`, so that even distances as they are computed, with their errors,
    have the same order.
    """
    buffers, labels = _buffers(centres, rows.X, tile), labelling.labels
    changed, target, factor = buffers.changed, buffers.target, buffers.factor
    n_pending = 0
    done = start
    n_moved = 0
    inertia = 0.0
    for begin in range(start, stop, TILE_STEP):
        end = min(begin + TILE_STEP, stop)
        n_pending = _list_undecided(labelling, begin, end, n_pending, buffers.index)
        if n_pending + TILE_STEP <= tile and end < stop:
            continue
        n = n_pending
        n_pending = 0
        n_changed = 0
        if n > 0:
            inertia += _look_at(centres, rows, n, buffers)
            moved = _label(rows, labels, n, buffers)
            n_moved += moved
            n_changed = 2 * moved
            if labelling.bound.size > 0:
                _renew_bounds(labelling, n, buffers)
        for part in range(done, end if fresh else done + 1, tile):
            if fresh:
                n_changed = _list_rows(rows, labels, part, min(part + tile, end), buffers)
            add_rows(rows.X, changed, n_changed, rows.middle, factor, target, sums)
            for b in range(n_changed):
                mass[target[b]] += factor[b]
        done = end
    return n_moved, inertia


def _iterate_lanes(first_lane, last_lane, centres, rows, labelling, tile, fresh, sums, mass, report):
    """Assign all rows to the nearest of `centres` (K, D), and bring the sums of the clusters up to date, lane by lane.

    `rows` are ``assign.Framed``. Overwrites the labels of the :class:`Labelling`, the first of equals. `sums`
    (L, K, D), of w (x - middle), and `mass` (L, K) are overwritten if `fresh`, else changed by the rows that changed
    their label. Overwrites `report` (L, 2): how many rows with weight did, and the weighted sum of the squared
    distances in the frame of those that were looked at. Rows whose bound is above the reach of their label are not
    looked at, and the bounds of the others are overwritten.
    """
    for lane in range(first_lane, last_lane):
        start, stop = lane_rows(lane, mass.shape[0], tile, rows.X.shape[0])
        if fresh:
            for k in range(mass.shape[1]):
                mass[lane, k] = 0.0
                for d in range(centres.shape[1]):
                    sums[lane, k, d] = 0.0
        n_moved, inertia = _iterate_rows(centres, rows, labelling, start, stop, tile, fresh, sums[lane], mass[lane])
        report[lane, 0] = n_moved
        report[lane, 1] = inertia


iterate = Driver(_iterate_lanes)
