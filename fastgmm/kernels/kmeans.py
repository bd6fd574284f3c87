"""k-means: the assignment step, k-means++ seeding (Arthur and Vassilvitskii 2007), an iteration of Lloyd's algorithm.

The seeding is greedy: the best of a few candidates at each step. It keeps the distance from the nearest centre for each
row and sums of them for each tile, so that drawing a row reads the sums and one tile.

Lloyd's iteration can pass rows over whose label cannot change (after Hamerly 2010, with one number a row): see
:func:`_iterate_rows`. Labels, and so everything that follows from them, are bit for bit those of an iteration that
looks at every row.

Rows are read in a frame, scale * (row - middle), in which distances neither cancel nor under- nor overflow. `scale` is
a power of two. Centres are given in the frame.
"""

from __future__ import annotations

import math

import numpy as np

from fastgmm.kernels._compile import Driver, exact_kernel, kernel
from fastgmm.kernels.blocks import lane_rows
from fastgmm.kernels.rows import fitting_tile
from fastgmm.kernels.vector.distances import square_distances
from fastgmm.kernels.vector.moments import add_rows
from fastgmm.kernels.vector.tiles import gather_rows, pack_tile, tile_buffer

# Rows are looked for so many at a time; the rows of a tile are a multiple of it.
_STEP = 48
#: Distances in the frame below this may have lost digits to underflow; no bound is trusted to so little.
SMALLEST = 1e-150


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
def _to_frame(x, n, middle, scale):
    """Bring the first n columns of a tile to the frame."""
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
def _draw_candidates(points, weight, middle, scale, tile, closest, potential, uniform, candidate, centres):
    """Draw rows for :func:`kmeans_plus_plus`: see :func:`draw_candidates`."""
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
def _score_candidates(centres, points, weight, middle, scale, start, stop, tile, closest, potential, totals):
    """Take the last centre into account, and see what each candidate would leave: see :data:`score_candidates`."""
    n_candidates = centres.shape[0] - 1
    x = tile_buffer(centres.shape[1], tile, centres)
    distance = tile_buffer(n_candidates + 1, tile, centres)
    for first in range(start, stop, tile):
        n = min(tile, stop - first)
        pack_tile(points, first, n, middle, x)
        _to_frame(x, n, middle, scale)
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
def draw_candidates(points, weight, middle, scale, tile, closest, potential, uniform, candidate, centres):
    """Overwrite `candidate` (C,) int64 with rows drawn by weight times squared distance from the nearest centre.

    And ``centres[1:]`` (C, D) with those rows in the frame. ``centres[0]`` is the centre chosen last: the squared
    distances from the nearest one are the smaller of `closest` (N,) and those from it. `potential` (n_tiles,) holds
    their weighted sums over tiles of rows. Where these are all 0, rows are drawn by weight, whose sums overwrite them.
    `uniform` (C,) in [0, 1). Reads the weights of all rows in that case, and else a tile of rows for each candidate.
    """
    _draw_candidates(points, weight, middle, scale, tile, closest, potential, uniform, candidate, centres)


def _score_candidates_lanes(
    first_lane, last_lane, centres, points, weight, middle, scale, tile, closest, potential, totals
):
    """Lower `closest` (N,) to the squared distances from ``centres[0]``, and score the candidates ``centres[1:]``.

    Overwrites `potential` (n_tiles, C) with the weighted sums over each tile of the squared distances from the nearest
    centre, were the candidate one, and adds those of lanes to `totals` (L, C).
    """
    for lane in range(first_lane, last_lane):
        start, stop = lane_rows(lane, totals.shape[0], tile, points.shape[0])
        _score_candidates(centres, points, weight, middle, scale, start, stop, tile, closest, potential, totals[lane])


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
    middle = np.zeros(n_features)
    for step in range(n_centres):
        n = n_candidates if step > 0 else 1
        _draw_candidates(
            points, weight, middle, 1.0, tile, closest, best_potential, uniform[step, :n], candidate, centres
        )
        if step == 0:
            for d in range(n_features):
                centres[0, d] = centres[1, d]
        for c in range(n):
            totals[c] = 0.0
        _score_candidates(centres[: n + 1], points, weight, middle, 1.0, 0, n_rows, tile, closest, potential, totals)
        best = 0
        for c in range(1, n):
            if totals[c] < totals[best]:
                best = c
        chosen[step] = candidate[best]
        for d in range(n_features):
            centres[0, d] = centres[best + 1, d]
        for t in range(potential.shape[0]):
            best_potential[t] = potential[t, best]


@kernel
def _iterate_rows(
    centres, X, weight, middle, scale, start, stop, tile, fresh, margin, reach, labels, bound, sums, mass, report
):
    """Assign rows start .. stop and bring the sums of the clusters up to date: see :data:`iterate`.

    A row's `bound` is the distance from its second nearest centre less that from the nearest, plus the `reach` of its
    label, both of when it was last looked at. The reach of a label grows by what its own centre moved and the most that
    any other one did. By the triangle inequality a row whose bound exceeds the reach of its label has kept its nearest
    centre. Both are widened against rounding, distances by `margin` (:func:`relative_margin`), so that even distances
    as they are computed, with their errors, have the same order.
    """
    n_centres, n_features = centres.shape
    x = tile_buffer(n_features, tile, centres)
    distance = tile_buffer(n_centres, tile, centres)
    nearest, next_nearest, gap = np.empty(tile), np.empty(tile), np.empty(tile)
    label = np.empty(tile, np.int64)
    index = np.empty(tile, np.int64)
    rows = np.empty((tile, n_features), X.dtype)
    # What is to be added to the sums: rows of a tile, or those that are to be taken from one and added to another.
    changed = np.empty(2 * tile, np.int64)
    target = np.empty(2 * tile, np.int64)
    factor = np.empty(2 * tile)
    n_pending = 0
    done = start
    n_moved = 0
    inertia = 0.0
    for begin in range(start, stop, _STEP):
        end = min(begin + _STEP, stop)
        if bound.size > 0:
            for i in range(begin, end):
                index[n_pending] = i
                n_pending += 0 if bound[i] > reach[labels[i]] else 1
        else:
            for i in range(begin, end):
                index[n_pending] = i
                n_pending += 1
        if n_pending + _STEP <= tile and end < stop:
            continue
        n = n_pending
        n_pending = 0
        n_changed = 0
        if n > 0:
            # One call of what packs: it is large.
            first = index[0]
            source = X
            if index[n - 1] - first != n - 1:
                gather_rows(X, index, n, rows)
                first = 0
                source = rows
            pack_tile(source, first, n, middle, x)
            _to_frame(x, n, middle, scale)
            square_distances(centres, x, n, distance)
            _nearest_tile(distance, n, nearest, next_nearest, label)
            for b in range(n):
                w = weight[index[b]] if weight.size > 0 else 1.0
                inertia += w * nearest[b] if w > 0.0 else 0.0
            for b in range(n):
                i = index[b]
                k = label[b]
                old = labels[i]
                w = weight[i] if weight.size > 0 else 1.0
                if k != old:
                    labels[i] = k
                    if w > 0.0:
                        n_moved += 1
                        if not fresh:
                            changed[n_changed] = i
                            target[n_changed] = old
                            factor[n_changed] = -w
                            changed[n_changed + 1] = i
                            target[n_changed + 1] = k
                            factor[n_changed + 1] = w
                            n_changed += 2
            if bound.size > 0:
                for b in range(n):
                    low = math.sqrt(nearest[b])
                    high = math.sqrt(next_nearest[b])
                    gap[b] = high - low - margin * (high + low) - SMALLEST
                for b in range(n):
                    bound[index[b]] = (gap[b] + reach[label[b]]) * (1.0 - 2.0**-50)
        for part in range(done, end if fresh else done + 1, tile):
            if fresh:
                n_changed = 0
                for i in range(part, min(part + tile, end)):
                    w = weight[i] if weight.size > 0 else 1.0
                    if w > 0.0:
                        changed[n_changed] = i
                        target[n_changed] = labels[i]
                        factor[n_changed] = w
                        n_changed += 1
            add_rows(X, changed, n_changed, middle, factor, target, sums)
            for b in range(n_changed):
                mass[target[b]] += factor[b]
        done = end
    report[0] = n_moved
    report[1] = inertia


def _iterate_lanes(
    first_lane,
    last_lane,
    centres,
    X,
    weight,
    middle,
    scale,
    tile,
    fresh,
    margin,
    reach,
    labels,
    bound,
    sums,
    mass,
    report,
):
    """Assign all rows to the nearest of `centres` (K, D), and bring the sums of the clusters up to date, lane by lane.

    X (N, D) float32 or float64, C-contiguous; `weight` (N,), or size 0 for 1. Overwrites `labels` (N,) int64, the first
    of equals. `sums` (L, K, D), of w (x - middle), and `mass` (L, K) are overwritten if `fresh`, else changed by the
    rows that changed their label. Overwrites `report` (L, 2): how many rows with weight did, and the weighted sum of
    the squared distances in the frame of those that were looked at.

    Rows whose `bound` (N,) is above the `reach` (K,) of their label are not looked at, and the bounds of the others are
    overwritten; all are where `bound` has size 0. Bounds of -inf and reaches of 0 are where to begin. `margin` is what
    :func:`relative_margin` returns.
    """
    for lane in range(first_lane, last_lane):
        start, stop = lane_rows(lane, mass.shape[0], tile, X.shape[0])
        if fresh:
            for k in range(mass.shape[1]):
                mass[lane, k] = 0.0
                for d in range(centres.shape[1]):
                    sums[lane, k, d] = 0.0
        _iterate_rows(
            centres,
            X,
            weight,
            middle,
            scale,
            start,
            stop,
            tile,
            fresh,
            margin,
            reach,
            labels,
            bound,
            sums[lane],
            mass[lane],
            report[lane],
        )


iterate = Driver(_iterate_lanes)
