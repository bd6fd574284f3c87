"""The second stage: entries sorted by component, and their moments."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgmm.kernels.compiling import Driver, kernel
from fastgmm.kernels.skipping.bounds import Array
from fastgmm.kernels.structures import contract
from fastgmm.kernels.vector.tiles import gather_rows, pack_tile, tile_buffer


def _sort_lanes(first_lane, last_lane, found, placing, places, rows, responsibility):
    """Sort entries by component, and by row within one: a counting sort in two steps, over lanes of rows.

    First, `places` (L, K) int64 are overwritten with the numbers of entries; then, if `placing`, it says where those of
    a lane and component go in `rows` (E,) int64 and `responsibility` (E,), and is counted up.
    """
    n_rows, n_lanes = found.begin.shape[0], places.shape[0]
    for lane in range(first_lane, last_lane):
        place = places[lane]
        if not placing:
            for k in range(place.shape[0]):
                place[k] = 0
        for row in range(n_rows * lane // n_lanes, n_rows * (lane + 1) // n_lanes):
            for e in range(found.begin[row], found.begin[row] + found.size[row]):
                k = found.component[e]
                if placing:
                    rows[place[k]] = row
                    responsibility[place[k]] = found.responsibility[e]
                place[k] += 1


sort = Driver(_sort_lanes)


class Sorted(NamedTuple):
    """Entries sorted by component: `begins` (K + 1,) int64, `rows` (E,) int64 and `responsibility` (E,)."""

    begins: NDArray[np.int64]
    rows: NDArray[np.int64]
    responsibility: Array


class _Gathering(NamedTuple):
    """The buffers of the second stage, which takes the entries of a component a tile at a time.

    `gathered` (T, D) and `x` (D, T), its rows; `r` (1, T) their responsibilities, `mass` (1,) their sum; the family's
    `scratch`, and `nothing` (1, D), zeros.
    """

    gathered: Any
    x: Any
    r: Any
    mass: Any
    scratch: Any
    nothing: Any


@kernel
def _gathering(density, X, tile):
    n_features = density.mean.shape[1]
    return _Gathering(
        np.empty((tile, n_features), X.dtype),
        tile_buffer(n_features, tile, density.mean),
        tile_buffer(1, tile, density.mean),
        np.empty(1),
        contract.workspace(contract.component(density, 0), tile),
        np.zeros((1, n_features)),
    )


@kernel
def _accumulate_entries(density, k, origin, X, entries, begin, end, work, sums, at):
    """Add the moments about ``origin[k]`` of entries begin .. end, all of component k, to place `at` of `sums`."""
    component = contract.component(density, k)
    tile = work.gathered.shape[0]
    r = work.r
    for first in range(begin, end, tile):
        n = min(tile, end - first)
        gather_rows(X, entries.rows[first : first + n], n, work.gathered)
        pack_tile(work.gathered, 0, n, work.nothing[0], work.x)
        for b in range(n):
            r[0, b] = entries.responsibility[first + b]
        for b in range(n, r.shape[1]):
            r[0, b] = 0.0
        s = 0.0
        for b in range(n):
            s += r[0, b]
        work.mass[0] = s
        sums.mass[at] += s
        contract.accumulate_tile(
            component,
            origin[k : k + 1],
            work.x,
            n,
            r,
            work.mass,
            work.nothing[:0],
            work.scratch,
            sums.deviation[at : at + 1],
            sums.scatter[at : at + 1],
        )


@kernel
def _component_of(begins, entry):
    """Return the component that an entry belongs to."""
    low, high = 0, begins.shape[0] - 1
    while high - low > 1:
        middle = (low + high) // 2
        if begins[middle] <= entry:
            low = middle
        else:
            high = middle
    return low


def _gather_lanes(first_lane, last_lane, density, origin, X, entries, tile, sums, ends):
    """Add the moments of :class:`Sorted` entries about `origin` (K, D) to `sums`, lane by lane.

    Lanes share the entries out evenly. What a lane has of a component that it shares with others goes to `ends`, which
    hold two components a lane, (2 L, ...): the one that lanes before it have begun, and the one that lanes after it go
    on with.
    """
    n_components = density.mean.shape[0]
    n_lanes = ends.mass.shape[0] // 2
    begins = entries.begins
    n_entries = begins[n_components]
    work = _gathering(density, X, tile)
    for lane in range(first_lane, last_lane):
        first = n_entries * lane // n_lanes
        last = n_entries * (lane + 1) // n_lanes
        if last == first:
            continue
        for k in range(_component_of(begins, first), n_components):
            begin, end = max(begins[k], first), min(begins[k + 1], last)
            if begins[k] >= last:
                break
            if end <= begin:
                continue
            # One call of what accumulates: it is large.
            target, at = sums, k
            if begins[k] < first:
                target, at = ends, 2 * lane
            elif begins[k + 1] > last:
                target, at = ends, 2 * lane + 1
            _accumulate_entries(density, k, origin, X, entries, begin, end, work, target, at)


gather = Driver(_gather_lanes)
