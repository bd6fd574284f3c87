"""Starts of mixtures with heavy tails: from the rows that are not far out, so that gross errors take no component."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from fastgmm.fitting.plain import updated
from fastgmm.rows import ArrayRows
from fastgmm.sources import Source
from fastgmm.sources.source import source_of
from fastgmm.starts.agglomeration import sphered
from fastgmm.starts.noise import Begin
from fastgmm.starts.seeding import Sample
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


def beginning_without_outliers(begin: Begin, n_components: int) -> Begin:
    """Return a start that makes the components by `begin` of the rows that are not far out, of all or of some rows."""

    def start(rule: Any, source: Source, random_state: Any, restart: int) -> Any:
        generator = np.random.default_rng(int(random_state.uniform() * 2**53))
        sample = Sample(source, max(_ROWS, _ROWS_PER_COMPONENT * n_components), generator)
        is_far = far_out(sample.points, sample.weight)
        if (sample.is_whole and not is_far.any()) or np.count_nonzero(~is_far) < n_components:
            return begin(rule, source, generator, restart)
        rows = ArrayRows(sample.points.astype(source.rows.dtype), np.where(is_far, 0.0, sample.weight))
        state = begin(rule, source_of(source.family, rows, source.n_threads), generator, restart)
        if sample.is_whole:
            return state
        density = rule.density(state)
        return updated(rule, lambda origin: source.collect(density, origin), source.collect(density), density)

    return start


def far_out(rows: Array, weight: Array) -> NDArray[np.bool_]:
    """Return which of the rows (N, D) are far from all others but a few, (N,); none where they are too many."""
    none = np.zeros(len(rows), bool)
    if len(rows) < 3:
        return none
    places = sphered(rows, weight)
    others = places[:: -(-len(rows) // _NEIGHBOURS)]
    reached: Any = cKDTree(others).query(places, min(_NEIGHBOUR + 1, len(others)))[0]
    distance: Array = reached.reshape(len(rows), -1)[:, -1]
    positive = distance > 0.0
    if not positive.any():
        return none
    is_far: NDArray[np.bool_] = distance > _FAR * np.median(distance[positive])
    return is_far if is_far.mean() <= _MOST else none
