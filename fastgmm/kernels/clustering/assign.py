"""The nearest centre of each row: tiles of k-means."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastgmm.kernels.compiling import exact_kernel, kernel
from fastgmm.kernels.passes.layout import fitting_tile
from fastgmm.kernels.vector.distances import square_distances
from fastgmm.kernels.vector.tiles import pack_tile, tile_buffer


class Framed(NamedTuple):
    """Rows `X` (N, D), C-contiguous, and their weights `weight` (N,), or size 0 for 1, in a frame.

    The frame is scale * (row - middle), for `middle` (D,) and `scale`, a power of two.
    """

    X: Any
    weight: Any
    middle: Any
    scale: Any


@exact_kernel
def nearest_tile(distance, n, first, second, label):
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
def to_frame(x, n, rows):
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
        nearest_tile(distance, n, nearest, next_nearest, label)
        if labels.size > 0:
            for b in range(n):
                labels[first + b] = label[b]
        if square_distance.size > 0:
            for b in range(n):
                square_distance[first + b] = nearest[b]
