"""k-means: the assignment step, k-means++ seeding (Arthur and Vassilvitskii 2007), an iteration of Lloyd's algorithm.

The seeding is greedy: the best of a few candidates at each step. It keeps the distance from the nearest centre for each
row and sums of them for each tile, so that drawing a row reads the sums and one tile.

Lloyd's iteration can pass rows over whose label cannot change (after Hamerly 2010, with one number a row): see
:func:`_iterate_rows`. Labels, and so everything that follows from them, are bit for bit those of an iteration that
looks at every row.

Rows are read in a frame, in which distances neither cancel nor under- nor overflow: see :class:`Framed`. Centres are
given in the frame.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from fastgmm.kernels.blocks import lane_rows
from fastgmm.kernels.compiling import Driver, exact_kernel, kernel
from fastgmm.kernels.rows import fitting_tile
from fastgmm.kernels.vector.distances import square_distances
from fastgmm.kernels.vector.moments import add_rows
from fastgmm.kernels.vector.tiles import gather_rows, pack_tile, tile_buffer

# Rows are looked for so many at a time; the rows of a tile are a multiple of it.
_STEP = 48
#: Distances in the frame below this may have lost digits to underflow; no bound is trusted to so little.
SMALLEST = 1e-150


class Framed(NamedTuple):
    """Rows `X` (N, D), C-contiguous, and their weights `weight` (N,), or size 0 for 1, in a frame.

    The frame is scale * (row - middle), for `middle` (D,) and `scale`, a power of two.
    """

    X: Any
    weight: Any
    middle: Any
    scale: Any


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


@exact_kernel
def _nearest_tile(distance, n, first, second, label):
    """Overwrite for the first n columns of `distance` (K, T) the smallest, the next, and where the smallest stands.

    `label` (T,) int64 has the first of equals. What is infinite or NaN does not count: where all are, `first` and
    `second` (T,) are inf and the label 0.
    """
    for b in range(n):
        first[b] = np.inf
        second[b] = np.inf
        label[b] = 0
    for k in range(distance.shape[0]):
        for b in range(n):
            value = distance[k, b]
            lower = first[b]
            next_lowest = value if value < second[b] else second[b]
            second[b] = lower if value < lower else next_lowest
            label[b] = k if value < lower else label[b]
            first[b] = value if value < lower else lower


@exact_kernel
def _to_frame(x, n, rows):
    """Bring the first n columns of a tile to the frame."""
    middle, scale = rows.middle, rows.scale
    for d in range(x.shape[0]):
        for b in range(n):
            x[d, b] = (x[d, b] - middle[d]) * scale


@kernel
def assign_rows(centres, X, start, stop, labels, square_distance):
    """Assign rows start .. stop to their nearest centres: the assignment step of k-means, vector quantisation.

    `centres` (K, D) float64. Overwrites in those rows `labels` (N,), of any integer type, with the nearest centre, the
    first of equals, and `square_distance` (N,) float32 or float64 with the squared Euclidean distance from it; each is
    skipped where it has size 0. A row with NaN, or so far out that its distances overflow, has label 0 and distance
    inf. Allocates buffers for a tile; thread-safe.
    """
    n_centres, n_features = centres.shape
    tile = fitting_tile(n_centres, n_features, stop - start)
    x = tile_buffer(n_features, tile, centres)
    distance = tile_buffer(n_centres, tile, centres)
    nearest, next_nearest = np.empty(tile), np.empty(tile)
    label = np.empty(tile, np.int64)
    for first in range(start, stop, tile):
        n = min(tile, stop - first)
        pack_tile(X, first, n, centres[0], x)
        square_distances(centres, x, n, distance)
        _nearest_tile(distance, n, nearest, next_nearest, label)
        if labels.size > 0:
            for b in range(n):
                labels[first + b] = label[b]
        if square_distance.size > 0:
            for b in range(n):
                square_distance[first + b] = nearest[b]


@kernel
def _draw_candidates(rows, tile, closest, potential, uniform, candidate, centres):
    """Draw rows for :func:`kmeans_plus_plus`: see :func:`draw_candidates`."""
    points, weight, middle, scale = rows
    n_rows, n_features = points.shape
    portion = np.empty(tile)
    n_tiles = potential.shape[0]
    total = 0.0
    for t in range(n_tiles):
        total += potential[t]
    by_weight = not total > 0.0
    if by_weight:
        total = 0.0
        for t in range(n_tiles):
            s = 0.0
            for i in range(t * tile, min((t + 1) * tile, n_rows)):
                s += weight[i] if weight.size > 0 else 1.0
            potential[t] = s
            total += s
    for c in range(uniform.shape[0]):
        target = uniform[c] * total
        found = 0
        rest = 0.0
        reached = 0.0
        for t in range(n_tiles):
            if potential[t] > 0.0:
                found = t
                rest = target - reached
                reached += potential[t]
                if reached > target:
                    break
        first = found * tile
        n = min(tile, n_rows - first)
        for b in range(n):
            portion[b] = weight[first + b] if weight.size > 0 else 1.0
            if not by_weight and portion[b] > 0.0:
                square = 0.0
                for d in range(n_features):
                    square += ((points[first + b, d] - middle[d]) * scale - centres[0, d]) ** 2
                portion[b] *= min(closest[first + b], square)
        # The last one of the tile where rounding has made the sum fall short.
        row = first
        reached = 0.0
        for b in range(n):
            if portion[b] > 0.0:
                row = first + b
                reached += portion[b]
                if reached > rest:
                    break
        candidate[c] = row
        for d in range(n_features):
            centres[c + 1, d] = (points[row, d] - middle[d]) * scale


@kernel
def _score_candidates(centres, rows, start, stop, tile, closest, potential, totals):
    """Take the last centre into account, and see what each candidate would leave: see :data:`score_candidates`."""
    weight = rows.weight
    n_candidates = centres.shape[0] - 1
    x = tile_buffer(centres.shape[1], tile, centres)
    distance = tile_buffer(n_candidates + 1, tile, centres)
    for first in range(start, stop, tile):
        n = min(tile, stop - first)
        pack_tile(rows.X, first, n, rows.middle, x)
        _to_frame(x, n, rows)
        square_distances(centres, x, n, distance)
        for b in range(n):
            closest[first + b] = min(closest[first + b], distance[0, b])
        for c in range(n_candidates):
            left = 0.0
            for b in range(n):
                w = weight[first + b] if weight.size > 0 else 1.0
                # A row without weight must do nothing at all: where its distance overflows, 0 * inf would.
                left += w * min(closest[first + b], distance[c + 1, b]) if w > 0.0 else 0.0
            potential[first // tile, c] = left
            totals[c] += left


@kernel
def draw_candidates(rows, tile, closest, potential, uniform, candidate, centres):
    """Overwrite `candidate` (C,) int64 with rows drawn by weight times squared distance from the nearest centre.

    And ``centres[1:]`` (C, D) with those rows in the frame. ``centres[0]`` is the centre chosen last: the squared
    distances from the nearest one are the smaller of `closest` (N,) and those from it. `potential` (n_tiles,) holds
    their weighted sums over tiles of rows. Where these are all 0, rows are drawn by weight, whose sums overwrite them.
    `uniform` (C,) in [0, 1). Reads the weights of all rows in that case, and else a tile of rows for each candidate.
    """
    _draw_candidates(rows, tile, closest, potential, uniform, candidate, centres)


def _score_candidates_lanes(first_lane, last_lane, centres, rows, tile, closest, potential, totals):
    """Lower `closest` (N,) to the squared distances from ``centres[0]``, and score the candidates ``centres[1:]``.

    Overwrites `potential` (n_tiles, C) with the weighted sums over each tile of the squared distances from the nearest
    centre, were the candidate one, and adds those of lanes to `totals` (L, C).
    """
    for lane in range(first_lane, last_lane):
        start, stop = lane_rows(lane, totals.shape[0], tile, rows.X.shape[0])
        _score_candidates(centres, rows, start, stop, tile, closest, potential, totals[lane])


score_candidates = Driver(_score_candidates_lanes)


@kernel
def kmeans_plus_plus(points, weight, uniform, chosen):
    """Overwrite `chosen` (K,) int64 with the rows of `points` (N, D) that k-means++ picks as centres.

    `weight` (N,) counts a row that often; `uniform` (K, C) holds random numbers in [0, 1), C candidates a step (the
    first step uses one). Where all rows lie on chosen centres, further ones are drawn by weight. Allocates
    N (1 + C / 240) numbers; serial, thread-safe.
    """
    n_rows, n_features = points.shape
    n_centres, n_candidates = uniform.shape
    tile = fitting_tile(n_candidates + 1, n_features, n_rows)
    closest = np.full(n_rows, np.inf)
    potential = np.zeros(((n_rows + tile - 1) // tile, n_candidates))
    best_potential = np.zeros(potential.shape[0])
    totals = np.empty(n_candidates)
    candidate = np.empty(n_candidates, np.int64)
    centres = np.zeros((n_candidates + 1, n_features))
    rows = Framed(points, weight, np.zeros(n_features), 1.0)
    for step in range(n_centres):
        n = n_candidates if step > 0 else 1
        _draw_candidates(rows, tile, closest, best_potential, uniform[step, :n], candidate, centres)
        if step == 0:
            for d in range(n_features):
                centres[0, d] = centres[1, d]
        for c in range(n):
            totals[c] = 0.0
        _score_candidates(centres[: n + 1], rows, 0, n_rows, tile, closest, potential, totals)
        best = 0
        for c in range(1, n):
            if totals[c] < totals[best]:
                best = c
        chosen[step] = candidate[best]
        for d in range(n_features):
            centres[0, d] = centres[best + 1, d]
        for t in range(potential.shape[0]):
            best_potential[t] = potential[t, best]


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
    _to_frame(x, n, rows)
    square_distances(centres, x, n, buffers.distance)
    _nearest_tile(buffers.distance, n, buffers.nearest, buffers.second, buffers.label)
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
    for begin in range(start, stop, _STEP):
        end = min(begin + _STEP, stop)
        n_pending = _list_undecided(labelling, begin, end, n_pending, buffers.index)
        if n_pending + _STEP <= tile and end < stop:
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

    `rows` are :class:`Framed`. Overwrites the labels of the :class:`Labelling`, the first of equals. `sums` (L, K, D),
    of w (x - middle), and `mass` (L, K) are overwritten if `fresh`, else changed by the rows that changed their label.
    Overwrites `report` (L, 2): how many rows with weight did, and the weighted sum of the squared distances in the
    frame of those that were looked at. Rows whose bound is above the reach of their label are not looked at, and the
    bounds of the others are overwritten.
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
