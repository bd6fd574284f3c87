"""Where a fit starts that knows the classes of some rows: with these rows in their classes, whatever else is tried.

The means of the known rows are the first centres of their classes' components. Components of which nothing is known
get centres by k-means++ beside them, among the other rows. k-means then moves all of them, but a row never leaves its
class. Of the partition that it comes to, a first update is made as of any other, thin components smoothed. The units of
the features say something about the groups, or nothing: k-means in the units of the rows and in the metric within the
clusters are both tried, and so is the partition that the known rows alone make, nearest means in the metric within
their classes. Short fits tell which is best.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgmm import kernels
from fastgmm.fitting.plain import Rule
from fastgmm.rows import ArrayRows
from fastgmm.sources import Source
from fastgmm.sources.labelled import LabelledRows, LabelledSource
from fastgmm.sources.source import source_of
from fastgmm.starts.agglomeration import means_of, sphered
from fastgmm.starts.kmeans import MAX_ITER, in_order, kmeans, pick_centres, plus_plus
from fastgmm.starts.seeding import (
    SAMPLE_FLOATS,
    SAMPLE_ROWS,
    SAMPLE_ROWS_PER_COMPONENT,
    SHORT_FIT_ROWS,
    SHORT_FITS,
    WHITENED_ROWS,
    WHITENED_RUNS,
    about_the_middle,
    best_short_fit,
    first_state,
    updated_by_all,
    whitened_labels,
)
from fastgmm.statistics import Array

#: The methods of ``seeding.METHODS`` that keep rows in their classes.
METHODS = ("auto", "kmeans-whitened", "kmeans", "k-means++", "short-em", "random", "random_from_data")
# Assigns rows by the means and the spread of the known ones alone.
_KNOWN = "known"
# What the starts of "auto" after the first are made by, what that did not try first; the last one again and again.
_AFTER_AUTO = ("short-em", _KNOWN, "kmeans", "kmeans-whitened", "short-em")
# Of which starts the one is taken that a short fit leads highest from.
_SHORT_FITS = {"auto": ("kmeans-whitened", "kmeans", _KNOWN), "short-em": ("k-means++",) * SHORT_FITS}
# Rows of a class are enough for its covariance from so many times the fewest on.
_ENOUGH = 4


class Points:
    """Rows, all or some drawn at random, that stand for the weight of all, and what is known of their classes."""

    def __init__(self, source: Source, n_components: int, n_rows: int, random_state: Any) -> None:
        rows = source.rows
        assert isinstance(rows, LabelledRows)
        least = max(SAMPLE_ROWS_PER_COMPONENT, _ENOUGH * source.family.fewest_rows(rows.n_features))
        share = max(n_rows, least * n_components) / sum(part.rows.n_rows for part in rows.parts)
        points, weights, labels = [], [], []
        self.is_whole = True
        for label, _, _, part in rows.parts:
            n_drawn = max(math.ceil(share * part.n_rows), least)
            drawn, weight = part.sample(n_drawn, random_state)
            if len(drawn) < part.n_rows:
                self.is_whole = False
                weight = weight * (part.summary.total_weight / weight.sum())
            points.append(drawn)
            weights.append(weight)
            labels.append(np.full(len(drawn), label))
        self.rows, self.weight, self.labels = np.concatenate(points), np.concatenate(weights), np.concatenate(labels)
        self.n_components, self.n_threads = n_components, source.n_threads
        #: The components of each class, and the rows in it; None and the others at the end.
        self.members: list[tuple[NDArray[np.int64] | None, NDArray[np.intp]]] = [
            (part.components, np.flatnonzero(self.labels == part.label)) for part in rows.parts
        ]


def seed(
    rule: Rule, source: LabelledSource, n_components: int, random_state: Any, method: str = "auto", restart: int = 0
) -> Any:
    """Return the rule's state after its first update, with every known row in its class.

    Parameters
    ----------
    rule, source : of one family, the source that of ``LabelledRows``
    method : one of METHODS
    restart : how many starts came before; "auto" takes another method then

    Notes
    -----
    Takes one number from `random_state`. Raises CollapsedComponentError where a start has no valid covariance.
    """
    random_state = np.random.default_rng(int(random_state.uniform() * 2**53))
    if method == "auto" and restart:
        method = _AFTER_AUTO[min(restart, len(_AFTER_AUTO)) - 1]
    most = {"kmeans-whitened": WHITENED_ROWS, "auto": SHORT_FIT_ROWS, "short-em": SHORT_FIT_ROWS}.get(
        method, SAMPLE_ROWS
    )
    points = Points(source, n_components, min(most, SAMPLE_FLOATS // source.n_features), random_state)
    rows = LabelledRows(
        ArrayRows(points.rows.astype(source.rows.dtype), points.weight), points.labels, source.rows.classes
    )
    sample = source_of(source.family, rows, source.n_threads)
    begins = [
        functools.partial(_begin, rule, sample, points, random_state, each)
        for each in _SHORT_FITS.get(method, (method,))
    ]
    state = best_short_fit(rule, sample, begins) if len(begins) > 1 else begins[0]()
    if points.is_whole:
        return state
    return updated_by_all(rule, source, state)


def _begin(rule: Rule, sample: Source, points: Points, random_state: Any, method: str) -> Any:
    """Return the rule's state after an update by some points, as a method assigns them."""
    middle, centred, spread = about_the_middle(points.rows, points.weight)
    density = sample.family.isotropic(np.repeat(middle[None], points.n_components, axis=0), 1.0)
    if method == "random":
        assignment: dict[str, Any] = {"mode": kernels.GIVEN, "responsibilities": _random(points, random_state)}
    else:
        labels = _partition(points, centred / spread, random_state, method)
        assignment = {"mode": kernels.LABELLED, "labels": labels}
    return first_state(rule, sample, density, assignment, points.rows, points.weight, method != "random")


def _random(points: Points, random_state: Any) -> Array:
    """Return random responsibilities (M, K) of the components that each row may be in."""
    table: Array = random_state.random((len(points.rows), points.n_components))
    for components, places in points.members:
        if components is not None:
            table[np.ix_(places, np.setdiff1d(np.arange(points.n_components), components))] = 0.0
    return table / table.sum(axis=1, keepdims=True)


def _partition(points: Points, rows: Array, random_state: Any, method: str) -> NDArray[np.int64]:
    """Return the component that each row starts in, (M,) int64; `rows` (M, D) are the points in units of their own."""
    if method == _KNOWN:
        rows = _within_classes(points)
    if method != "kmeans-whitened":
        centres = _centres(points, rows, random_state, method)
        return _moved(points, rows, centres) if method == "kmeans" else _nearest(points, rows, centres)
    rows = sphered(points.rows, points.weight)
    begin = functools.partial(_centres, points, rows, random_state, method)
    cluster = functools.partial(_moved, points)
    # Without a draw all runs are the same.
    n_runs = WHITENED_RUNS if _n_drawn(points) else 1
    return whitened_labels(rows, points.weight, points.n_components, begin, cluster, n_runs)


def _within_classes(points: Points) -> Array:
    """Return the points in a metric in which the known rows of each class have the covariance 1, (M, D).

    The covariance of all rows counts beside that of these as so many rows as there are features.
    """
    rows = sphered(points.rows, points.weight)
    n_features = rows.shape[1]
    scatter, n_known = np.zeros((n_features, n_features)), 0
    for components, places in points.members:
        if components is None:
            continue
        weight = points.weight[places] * (len(places) / points.weight[places].sum())
        gap = rows[places] - weight @ rows[places] / len(places)
        scatter += (weight[:, None] * gap).T @ gap
        n_known += len(places)
    covariance = (scatter + n_features * np.eye(n_features)) / (n_known + n_features)
    return np.ascontiguousarray(np.linalg.solve(np.linalg.cholesky(covariance), rows.T).T)


def _n_drawn(points: Points) -> int:
    """Return how many centres are no mean of a class."""
    return points.n_components - sum(
        components is not None and len(components) == 1 for components, _ in points.members
    )


def _centres(points: Points, rows: Array, random_state: Any, method: str) -> Array:
    """Return centres (K, D) to start from: of classes within their rows, the others among the rows of no class."""
    centres = np.empty((points.n_components, rows.shape[1]))
    is_open = np.ones(points.n_components, np.bool_)
    pool: Sequence[int] | NDArray[np.intp] = np.arange(len(rows))
    for components, places in points.members:
        if components is None:
            pool = places
            continue
        own, weight = rows[places], points.weight[places]
        n = min(len(components), len(np.unique(own, axis=0)))
        if len(components) == 1:
            centres[components] = weight @ own / weight.sum()
        else:
            centres[components[:n]] = pick_centres(own, weight, n, random_state, "kmeans", points.n_threads)
        is_open[components[:n]] = False
    n_open = int(is_open.sum())
    if n_open:
        free, given = rows[pool], centres[~is_open]
        if method == "random_from_data":
            chosen = random_state.choice(len(free), n_open, replace=len(free) < n_open)
        else:
            weight, n_threads = points.weight[pool], points.n_threads
            chosen = plus_plus(free, weight, n_open, random_state, n_threads, given if len(given) else None)
        centres[is_open] = free[chosen][in_order(free[chosen])]
    return centres


def _nearest(points: Points, rows: Array, centres: Array) -> NDArray[np.int64]:
    """Return the nearest centre of each row, (M,) int64, among those of its class."""
    labels = np.empty(len(rows), np.int64)
    for components, places in points.members:
        if components is not None and len(components) == 1:
            labels[places] = components[0]
            continue
        own = centres if components is None else centres[components]
        nearest = kmeans(rows[places], own, points.weight[places], max_iter=0, n_threads=points.n_threads).labels
        labels[places] = nearest if components is None else components[nearest]
    return labels


def _moved(points: Points, rows: Array, centres: Array) -> NDArray[np.int64]:
    """Return the labels (M,) int64 that k-means comes to from some centres, where each row stays in its class."""
    labels = _nearest(points, rows, centres)
    for _ in range(MAX_ITER):
        means = means_of(rows, points.weight, labels, points.n_components)
        held = np.bincount(labels, points.weight, points.n_components) > 0.0
        centres = np.where(held[:, None], means, centres)
        previous, labels = labels, _nearest(points, rows, centres)
        if np.array_equal(labels, previous):
            break
    return labels
