"""k-means: the assignment step, and k-means++ seeding (Arthur and Vassilvitskii 2007).

The seeding is greedy: the best of a few candidates at each step.
"""

from __future__ import annotations

import numpy as np

from fastgmm.kernels._compile import entry, kernel
from fastgmm.kernels.blocks import label_tile
from fastgmm.kernels.rows import fitting_tile
from fastgmm.kernels.simd import pack_tile, square_distances, tile_buffer

_TILE = 240


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
    equal = np.zeros(n_centres)
    label = np.empty(tile, np.int64)
    peak = np.empty(tile)
    for first in range(start, stop, tile):
        n = min(tile, stop - first)
        pack_tile(X, first, n, centres[0], x)
        square_distances(centres, x, n, distance)
        # Of components that differ in their means alone, the nearest has the highest log joint.
        label_tile(equal, distance, n, peak, label)
        if labels.size > 0:
            for b in range(n):
                labels[first + b] = label[b]
        if square_distance.size > 0:
            for b in range(n):
                square_distance[first + b] = 2.0 * abs(peak[b])


@kernel
def _draw(cumulative, uniform):
    """Return the first index whose cumulative weight exceeds `uniform` in [0, 1) times the total."""
    n = cumulative.shape[0]
    target = uniform * cumulative[n - 1]
    low = 0
    high = n - 1
    while low < high:
        middle = (low + high) // 2
        if cumulative[middle] > target:
            high = middle
        else:
            low = middle + 1
    return low


@entry
def kmeans_plus_plus(points, weight, uniform, chosen):
    """Overwrite `chosen` (K,) int64 with the rows of `points` (N, D) float64 that k-means++ picks as centres.

    `weight` (N,) counts a row that often; `uniform` (K, C) holds random numbers in [0, 1), C candidates a step (the
    first step uses one). Where all rows lie on chosen centres, further ones are drawn by weight. Allocates
    (C + 2) N numbers; thread-safe.
    """
    n_rows, n_features = points.shape
    n_centres, n_candidates = uniform.shape
    x = tile_buffer(n_features, _TILE, points)
    distance = tile_buffer(n_candidates, _TILE, points)
    closest = np.full(n_rows, np.inf)
    trial = np.empty((n_candidates, n_rows))
    cumulative = np.empty(n_rows)
    candidate = np.empty(n_candidates, np.int64)
    centre = np.empty((n_candidates, n_features))
    potential = np.empty(n_candidates)
    for step in range(n_centres):
        total = 0.0
        for i in range(n_rows):
            if step > 0:
                total += weight[i] * closest[i]
            cumulative[i] = total
        if step == 0 or not total > 0.0:
            total = 0.0
            for i in range(n_rows):
                total += weight[i]
                cumulative[i] = total
        for c in range(n_candidates):
            candidate[c] = _draw(cumulative, uniform[step, c if step > 0 else 0])
            for d in range(n_features):
                centre[c, d] = points[candidate[c], d]
            potential[c] = 0.0
        for start in range(0, n_rows, _TILE):
            n = min(_TILE, n_rows - start)
            pack_tile(points, start, n, points[0], x)
            square_distances(centre, x, n, distance)
            for c in range(n_candidates):
                s = 0.0
                for b in range(n):
                    value = min(distance[c, b], closest[start + b])
                    trial[c, start + b] = value
                    s += weight[start + b] * value
                potential[c] += s
        best = 0
        for c in range(1, n_candidates):
            if potential[c] < potential[best]:
                best = c
        chosen[step] = candidate[best]
        for i in range(n_rows):
            closest[i] = trial[best, i]
