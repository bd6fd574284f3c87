"""Starts of mixtures with uniform noise: which rows may be noise, and the components of the others.

From a weight of 0 noise would never gain any, so that a start has to guess. Rows that are far from their neighbours are
one guess (Byers and Raftery 1998), rows of low density under a short fit of all are the other; the one whose short fit
reaches the higher bound is taken.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgmm.exceptions import CollapsedComponentError, OutOfRangeError
from fastgmm.fitting.loop import fit_loop
from fastgmm.passes.scores import Scores
from fastgmm.rows import ArrayRows
from fastgmm.sources import Source
from fastgmm.sources.labelled import LabelledRows
from fastgmm.sources.source import source_of
from fastgmm.starts.agglomeration import sphered
from fastgmm.starts.labelled import Points
from fastgmm.starts.seeding import Sample, updated_by_all
from fastgmm.statistics import Array

# Rows that are looked at, also for each component.
_ROWS = 2**12
_ROWS_PER_COMPONENT = 100
# The neighbour whose distance tells noise; iterations of the mixture of two laws of such distances.
_NEIGHBOUR = 10
_ITERATIONS = 100
# Shares of the rows of lowest density that are guessed to be noise, and how far the fits go that are compared.
_LOWEST = 0.02, 0.1, 0.3
_UPDATES = 15
# More of the rows are never guessed to be noise.
_MOST = 0.8
# Logarithms of volumes relative to the median: of larger ones the square would overflow. Shares that change no more.
_HIGHEST, _CLOSE = 300.0, 1e-6

#: Makes the state that a fit starts from, of its rule, source, random state and number among the starts.
Begin = Callable[[Any, Source, Any, int], Any]
_FAILURES = CollapsedComponentError, OutOfRangeError


class _Looked:
    """Rows of a source that are looked at, all or some: which of them are of a known class, and so no noise."""

    def __init__(self, source: Source, n_components: int, random_state: Any) -> None:
        n_rows = max(_ROWS, _ROWS_PER_COMPONENT * n_components)
        self._all = source
        if isinstance(source.rows, LabelledRows):
            drawn = Points(source, n_components, n_rows, random_state)
            self.points, self.weight, self._labels = drawn.rows, drawn.weight, drawn.labels
            self.is_open, self.is_whole = drawn.labels < 0, drawn.is_whole
        else:
            sample = Sample(source, n_rows, random_state)
            self.points, self.weight, self.is_whole = sample.points, sample.weight, sample.is_whole
            self.is_open = np.ones(len(sample.points), np.bool_)

    def source(self, weight: Array) -> Source:
        """Return the source of these rows with other weights (M,)."""
        rows = ArrayRows(self.points.astype(self._all.rows.dtype), weight)
        if isinstance(self._all.rows, LabelledRows):
            rows = LabelledRows(rows, self._labels, self._all.rows.classes)
        return source_of(self._all.family, rows, self._all.n_threads)


def beginning_with_noise(begin: Begin, n_components: int) -> Begin:
    """Return a start that guesses which rows are noise, and makes the components of the others by `begin`."""

    def start(rule: Any, source: Source, random_state: Any, restart: int) -> Any:
        generator = np.random.default_rng(int(random_state.uniform() * 2**53))
        looked = _Looked(source, n_components, generator)
        sample = looked.source(looked.weight)
        makes = _candidates(rule, looked, sample, lambda rows: begin(rule, rows, generator, restart))
        best = highest_of(rule, sample, makes)
        if looked.is_whole:
            return best
        return updated_by_all(rule, source, best)

    return start


def highest_of(rule: Any, source: Source, makes: Iterable[Callable[[], Any]]) -> Any:
    """Return the state, of those that functions make, whose short fit to a source reaches the highest bound."""
    best, highest = None, -np.inf
    failures: list[Exception] = []
    for make in makes:
        try:
            state = make()
            result = fit_loop(rule, source, state, tol=0.0, max_iter=_UPDATES)
        except _FAILURES as error:
            failures.append(error)
            continue
        if result.bound > highest:
            best, highest = state, result.bound
    if best is None:
        raise failures[0] if failures else OutOfRangeError()
    return best


def _candidates(
    rule: Any, looked: _Looked, sample: Source, begin: Callable[[Source], Any]
) -> Iterator[Callable[[], Any]]:
    """Yield functions that make a state of the rows of a sample, each by another guess at which of them are noise."""

    def of_others(is_noise: NDArray[np.bool_]) -> Any:
        weight = np.where(is_noise, 0.0, looked.weight)
        return rule.beside_noise(begin(looked.source(weight)), float(weight.sum() / looked.weight.sum()))

    n_rows = len(looked.points)
    far = far_from_neighbours(sphered(looked.points, looked.weight)) & looked.is_open
    if 0 < far.sum() <= _MOST * n_rows:
        yield lambda: of_others(far)
    try:
        reached = fit_loop(rule, sample, rule.beside_noise(begin(sample), 1.0), tol=0.0, max_iter=_UPDATES).state
    except _FAILURES:
        return  # outliers may keep a fit of all rows from anything
    rows = ArrayRows(looked.points, looked.weight)
    evidence = Scores(rule.density(reached), rows, sample.n_threads, evidence=True).evidence
    order = np.argsort(np.where(looked.is_open, evidence, np.inf), kind="stable")
    for share in _LOWEST:
        lowest = np.zeros(n_rows, bool)
        lowest[order[: max(round(share * np.count_nonzero(looked.is_open)), 1)]] = True
        yield functools.partial(of_others, lowest & looked.is_open)
        yield functools.partial(rule.beside_noise, reached, 1.0 - share)


def far_from_neighbours(rows: Array) -> NDArray[np.bool_]:
    """Return which of the rows (N, D) are noise by the distance of their tenth neighbour, (N,).

    Volumes of balls that reach so far have a gamma law in a Poisson process, and a mixture of two such processes, one
    dense and one sparse, is fitted to them (Byers and Raftery 1998).
    """
    from scipy.spatial import cKDTree  # their import takes longer than most fits
    from scipy.special import expit

    n_rows, n_features = rows.shape
    number = min(_NEIGHBOUR, n_rows - 1)
    if number == 0:
        return np.zeros(n_rows, bool)
    reached: Any = cKDTree(rows).query(rows, number + 1)[0]
    distance = reached[:, number]
    positive = distance > 0.0
    if not positive.any():
        return np.zeros(n_rows, bool)
    log_distance = np.log(np.where(positive, distance, distance[positive].min()))
    log_volume = np.minimum(n_features * (log_distance - np.median(log_distance)), _HIGHEST)
    volume = np.exp(log_volume)
    sparse = (log_volume > np.quantile(log_volume, 0.9)).astype(np.float64)
    for _ in range(_ITERATIONS):
        joint = []
        for share in (1.0 - sparse, sparse):
            mass = max(float(share.sum()), 1e-300)
            rate = number * mass / max(float(share @ volume), 1e-300)
            joint.append(np.log(mass) + number * np.log(rate) - rate * volume)
        before, sparse = sparse, expit(joint[1] - joint[0])
        if np.abs(sparse - before).max() < _CLOSE:
            break
    found: NDArray[np.bool_] = sparse > 0.5
    return found
