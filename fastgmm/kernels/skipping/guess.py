"""A component for each row whose mean is near: where a search may begin."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgmm.kernels.compiling import Driver, kernel
from fastgmm.kernels.vector.partial import begin_squares
from fastgmm.kernels.vector.tiles import gather_rows, pack_tile, tile_buffer

#: Lanes of :data:`guess`.
GUESS_LANES = 64


@kernel
def _nearest_listed(x, n, means, listed, begin, end, distance, label, square):
    """Overwrite label[:n] with the nearest of the listed means and square[:n] with the squared distance."""
    begin_squares(means, None, x, n, listed, begin, end, x.shape[0], distance)
    for b in range(n):
        square[b] = np.inf
        label[b] = listed[begin]
    for s in range(begin, end):
        for b in range(n):
            lower = distance[s, b] < square[b]
            label[b] = listed[s] if lower else label[b]
            square[b] = distance[s, b] if lower else square[b]


class Lists(NamedTuple):
    """Lists of means: list i is ``listed[begins[i]:begins[i + 1]]``; both int64."""

    begins: NDArray[np.int64]
    listed: NDArray[np.int64]


def _guess_lanes(first_lane, last_lane, X, order, tiles, means, bounds, lists, label, square):
    """Overwrite `label` (n,) int64 with a mean that is near to each row of X, and `square` (n,) with how near.

    `tiles` (n_tiles, 3) int64: each is the rows ``order[start:stop]``, and which of the :class:`Lists` of means they
    are compared with. `means` (K, D) are in units of the bounds, about their middle, and so are distances. There are
    :data:`GUESS_LANES` lanes, which share the tiles out evenly.
    """
    n_features = means.shape[1]
    middle, unit = bounds.middle, bounds.unit
    begins, listed = lists
    longest, most = 0, 0
    for t in range(tiles.shape[0]):
        longest = max(longest, tiles[t, 1] - tiles[t, 0])
        most = max(most, begins[tiles[t, 2] + 1] - begins[tiles[t, 2]])
    x = tile_buffer(n_features, longest, means)
    rows = np.empty((longest, n_features), X.dtype)
    distance = np.empty((most, x.shape[1]))
    tile_label = np.empty(longest, np.int64)
    tile_square = np.empty(longest)
    for lane in range(first_lane, last_lane):
        for t in range(tiles.shape[0] * lane // GUESS_LANES, tiles.shape[0] * (lane + 1) // GUESS_LANES):
            start, stop, group = tiles[t, 0], tiles[t, 1], tiles[t, 2]
            n = stop - start
            gather_rows(X, order[start:stop], n, rows)
            pack_tile(rows, 0, n, middle, x)
            for d in range(n_features):
                for b in range(n):
                    x[d, b] = (x[d, b] - middle[d]) * unit[d]
            part = listed[begins[group] : begins[group + 1]]
            _nearest_listed(x, n, means, part, 0, part.shape[0], distance, tile_label, tile_square)
            for b in range(n):
                label[order[start + b]] = tile_label[b]
                square[order[start + b]] = tile_square[b]


guess = Driver(_guess_lanes)
