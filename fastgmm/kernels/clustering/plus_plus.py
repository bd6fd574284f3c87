"""Greedy k-means++: candidates are drawn, and the best of them becomes a centre."""

from __future__ import annotations

import numpy as np

from fastgmm.kernels.clustering.assign import Framed, to_frame
from fastgmm.kernels.compiling import Driver, kernel
from fastgmm.kernels.passes.layout import fitting_tile, lane_rows
from fastgmm.kernels.vector.distances import square_distances
from fastgmm.kernels.vector.tiles import pack_tile, tile_buffer


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
        to_frame(x, n, rows)
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
