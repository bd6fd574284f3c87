"""Starts of mixtures with heavy tails: from the rows that are not far out, so that gross errors take no component.

Errors that lie between the groups are no farther from their neighbours than some good rows: there short fits decide.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgmm.rows import ArrayRows
from fastgmm.sources import Source
from fastgmm.sources.source import source_of
from fastgmm.starts.agglomeration import sphered
from fastgmm.starts.noise import Begin, far_from_neighbours, highest_of
from fastgmm.starts.seeding import Sample, updated_by_all
from fastgmm.statistics import Array

# Rows that are looked at, also for each component, and those among which their neighbours are.
_ROWS = 2**12
_ROWS_PER_COMPONENT = 100
_NEIGHBOURS = 2**10
# The neighbour whose distance tells.
_NEIGHBOUR = 10
# A row is far out where it is so many times as far from its neighbours as half of all rows are.
_FAR = 20.0
# More than this share of the rows is a component rather than errors.
_MOST = 0.2
# More than this share of the rows is never left out for being scattered.
_MOST_SCATTERED = 0.8


def beginning_without_outliers(begin: Begin, n_components: int) -> Begin:
    """Return a start that makes the components by `begin` of the rows that are not far out, of all or of some rows.

    Where rows lie scattered between the others, too, a start without those is also made, and short fits decide.
    """

    def start(rule: Any, source: Source, random_state: Any, restart: int) -> Any:
        generator = np.random.default_rng(int(random_state.uniform() * 2**53))
        sample = Sample(source, max(_ROWS, _ROWS_PER_COMPONENT * n_components), generator)
        is_far = far_out(sample.points, sample.weight)
        is_scattered = _scattered(sample.points, sample.weight)
        guesses = [each for each in (is_far, is_scattered) if np.count_nonzero(~each) >= n_components]

        def seeded(left_out: NDArray[np.bool_]) -> Any:
            if sample.is_whole and not left_out.any():
                return begin(rule, source, generator, restart)
            return begin(rule, rows_but(left_out), generator, restart)

        def rows_but(left_out: NDArray[np.bool_]) -> Source:
            weight = np.where(left_out, 0.0, sample.weight)
            rows = ArrayRows(sample.points.astype(source.rows.dtype), weight)
            return source_of(source.family, rows, source.n_threads)

        if not guesses:
            return begin(rule, source, generator, restart)
        if is_scattered.any() and len(guesses) > 1:
            everything = source if sample.is_whole else rows_but(np.zeros_like(is_far))
            state = highest_of(rule, everything, [functools.partial(seeded, each) for each in guesses])
        else:
            state = seeded(guesses[0])
        if sample.is_whole:
            return state
        return updated_by_all(rule, source, state)

    return start


def _scattered(rows: Array, weight: Array) -> NDArray[np.bool_]:
    """Return which of the rows (N, D) lie scattered, as noise does, (N,); none where they are nearly all."""
    found = far_from_neighbours(sphered(rows, weight))
    return found if found.mean() <= _MOST_SCATTERED else np.zeros(len(rows), bool)


def far_out(rows: Array, weight: Array) -> NDArray[np.bool_]:
    """Return which of the rows (N, D) are far from all others but a few, (N,); none where they are too many."""
    none = np.zeros(len(rows), bool)
    if len(rows) < 3:
        return none
    from scipy.spatial import cKDTree  # its import takes longer than most fits

    places = sphered(rows, weight)
    others = places[:: -(-len(rows) // _NEIGHBOURS)]
    reached: Any = cKDTree(others).query(places, min(_NEIGHBOUR + 1, len(others)))[0]
    distance: Array = reached.reshape(len(rows), -1)[:, -1]
    positive = distance > 0.0
    if not positive.any():
        return none
    is_far: NDArray[np.bool_] = distance > _FAR * np.median(distance[positive])
    return is_far if is_far.mean() <= _MOST else none
