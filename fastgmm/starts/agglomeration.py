"""Partitions of a sample of rows by what a mixture can express, not by the distances in which the data happen to come.

k-means cuts elongated groups, because to it a long feature counts for more than a narrow one. Coordinates in which all
directions are equal cure the units; merging groups where that costs the least likelihood cures the shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgmm import kernels
from fastgmm.families import Family
from fastgmm.kernels.updates.smoothing import add_variances, local_variances
from fastgmm.passes.expectation import Expectation
from fastgmm.rows import ArrayRows
from fastgmm.statistics import Array, SufficientStatistics

# A direction with less of the variance than that, of columns of unit variance, is dependent on others to rounding.
_LEAST_VARIANCE = 1e-10
# Half of the rows within this share of the standard deviation: some of the others are far away. Iterations that tell
# which, and the relative change they end with.
_CROWDED = 0.01
_CROWD_ROUNDS = 100
_CROWD_TOL = 1e-3
# Ward's method is left where so many groups remain, or so many that their pairs' covariances are this many numbers.
_MOST_GROUPS = 100
_PAIR_FLOATS = 2**22
# Covariances of groups are those of their rows and of pseudo-rows of this share of an average component.
_PSEUDO_SHARE = 0.05


def standardised(points: Array, weight: Array) -> Array:
    """Return the columns of `points` (N, D) that vary, centred and with unit variance under `weight` (N,).

    (N, 1) zeros where none does.
    """
    centred = _centred(points, weight)
    # By the largest entry first: the squares of a narrow column may underflow.
    largest = np.abs(centred).max(axis=0)
    centred = centred[:, largest > 0.0] / largest[largest > 0.0]
    variance = np.average(centred**2, axis=0, weights=weight)
    centred = centred[:, variance > 0.0] / np.sqrt(variance[variance > 0.0])
    return centred if centred.shape[1] else np.zeros((len(points), 1))


def _centred(points: Array, weight: Array) -> Array:
    """Return the rows about their mean; constant columns become exactly 0."""
    # A row in the middle: from one far away, the others would have few digits left.
    shifted = points - np.median(points, axis=0)
    return shifted - np.average(shifted, axis=0, weights=weight)


def sphered(points: Array, weight: Array) -> Array:
    """Return the rows of `points` (N, D) in coordinates (N, R <= D) in which their covariance is the identity.

    Where half of the rows are crowded in a hundredth of a column's standard deviation, it is the covariance of those
    rows that are not far away from them. Directions without variance are left out. Up to rotation, the same for every
    affine transformation of the rows.
    """
    rows = standardised(points, weight)
    crowd = np.apply_along_axis(_middle, 0, rows, weight)
    width = np.apply_along_axis(_middle, 0, np.abs(rows - crowd), weight)
    if ((width > 0.0) & (width < _CROWDED)).any():
        rows = (rows - crowd) / np.where(width > 0.0, width, 1.0)
        near = _are_near(rows, weight)
        rows -= np.average(rows[near], axis=0, weights=weight[near])
        scatter = covariance(rows[near], weight[near])
    else:
        scatter = covariance(rows, weight)
    values, vectors = np.linalg.eigh(scatter)
    kept = values > _LEAST_VARIANCE * len(values) * max(np.diag(scatter).min(), np.finfo(float).tiny)
    return rows @ (vectors[:, kept] / np.sqrt(values[kept])) if kept.any() else rows


def _middle(column: Array, weight: Array) -> float:
    """Return the weighted median of a column (N,)."""
    order = np.argsort(column, kind="stable")
    below = np.cumsum(weight[order])
    return float(column[order[np.searchsorted(below, 0.5 * below[-1])]])


def _are_near(rows: Array, weight: Array) -> NDArray[np.bool_]:
    """Return which rows (N, D) are less than a hundred median distances away from the crowd, which lies about 0.

    In the metric of a multivariate Cauchy distribution, to which a row counts the less the farther out it is. It is
    fitted by EM from the identity (Kent and Tyler 1991).
    """
    n_features = rows.shape[1]
    centre, scatter = np.zeros(n_features), np.eye(n_features)
    for _ in range(_CROWD_ROUNDS):
        values, vectors = np.linalg.eigh(scatter)
        values = np.maximum(values, _LEAST_VARIANCE * values[-1])
        distance = (((rows - centre) @ (vectors / np.sqrt(values))) ** 2).sum(axis=1)
        share = weight * (n_features + 1.0) / (1.0 + distance)
        centre = np.average(rows, axis=0, weights=share)
        previous, scatter = scatter, covariance(rows - centre, share) * (share.sum() / weight.sum())
        if np.abs(scatter - previous).max() <= _CROWD_TOL * np.abs(scatter).max():
            break
    return distance <= _middle(distance, weight) / _CROWDED**2


def covariance(centred: Array, weight: Array) -> Array:
    """Return the weighted second moments (D, D) of rows (N, D)."""
    return (weight[:, None] * centred).T @ centred / weight.sum()


class Merges(NamedTuple):
    """The merges of N rows into one group: (kept, gone) numbers of groups (N - 1, 2), and what each costs (N - 1,)."""

    pairs: NDArray[np.int64]
    costs: Array

    def cut(self, n_clusters: int) -> NDArray[np.int64]:
        """Return the labels (N,) in 0..n_clusters-1 where so many groups are left."""
        n_rows = len(self.pairs) + 1
        labels = np.arange(n_rows)
        for kept, gone in self.pairs[np.argsort(self.costs, kind="stable")[: n_rows - n_clusters]]:
            labels[labels == labels[gone]] = labels[kept]
        return np.unique(labels, return_inverse=True)[1].reshape(-1).astype(np.int64)


def ward(points: Array, weight: Array) -> Merges:
    """Return the merges of Ward's agglomeration: the sum of squares grows least at each.

    `weight` (N,) > 0 counts a row of `points` (N, D) that often. By chains of nearest neighbours (Murtagh 1983), in
    O(N^2 D) time and O(N D) memory: the merges found are those of the greedy order, since merging others brings no two
    groups closer.
    """
    n_rows = len(points)
    mean, mass = points.copy(), weight.astype(np.float64)
    alive = np.ones(n_rows, bool)
    pairs, costs = np.empty((n_rows - 1, 2), np.int64), np.empty(n_rows - 1)
    chain: list[int] = []
    for merge in range(n_rows - 1):
        if not chain:
            chain.append(int(np.argmax(alive)))
        while True:
            last = chain[-1]
            gap = mean - mean[last]
            cost = mass * (mass[last] / (mass + mass[last])) * np.einsum("nd,nd->n", gap, gap)
            cost[~alive] = np.inf
            cost[last] = np.inf
            nearest = int(np.argmin(cost))
            if len(chain) > 1 and cost[chain[-2]] <= cost[nearest]:
                break
            chain.append(nearest)
        kept, gone = chain[-2], chain[-1]
        del chain[-2:]
        pairs[merge], costs[merge] = (kept, gone), cost[kept]
        whole = mass[kept] + mass[gone]
        mean[kept] += (mass[gone] / whole) * (mean[gone] - mean[kept])
        mass[kept] = whole
        alive[gone] = False
    return Merges(pairs, costs)


def agglomerated(
    family: Family,
    points: Array,
    weight: Array,
    n_components: int,
    n_threads: int | None = None,
    share: Callable[[Hashable, Callable[[], Any]], Any] = lambda name, make: make(),
) -> NDArray[np.int64]:
    """Return the labels (N,) of `n_components` groups of rows, merged one by one from small ones.

    Ward's method makes the first groups; from then on those two are merged whose merging costs the least
    classification likelihood under the family: the sum over groups of mass * log |covariance| (Banfield and Raftery
    1993; Fraley 1998). A family with one covariance for all components leaves all of it to Ward's method, and so do
    more components than there are small groups.
    Coordinates are sphered for families of matrices, standardised for those with a variance for each feature.
    ``share(name, make)`` gives what does not depend on the number of components, made once where rows are the same.
    """
    # Copies first: heavier groups would be merged before them, and weights make no difference.
    points, place = np.unique(points, axis=0, return_inverse=True)
    place = place.reshape(-1)
    weight = np.bincount(place, weight).astype(np.float64)
    if len(points) <= n_components:
        return np.arange(len(points))[place]
    coordinates = _coordinates(family, points.shape[1])

    def begin() -> tuple[Array, Merges]:
        rows = coordinates(points, weight)
        return rows, ward(rows, weight)

    rows, merges = share(("ward", coordinates.__name__), begin)
    fewest = 2 * family.fewest_rows(points.shape[1])
    return _agglomerated(family, rows, weight, merges, n_components, fewest, n_threads)[place]


def _coordinates(family: Family, n_features: int) -> Callable[[Array, Array], Array]:
    """Return the function that brings rows to coordinates in which the family knows no direction from another."""
    if family.has_matrices:
        return sphered
    return standardised if family.block_shape(n_features) else _in_one_unit


def _in_one_unit(points: Array, weight: Array) -> Array:
    """Return the rows about their mean, over the largest number in them."""
    rows = _centred(points, weight)
    return rows / (np.abs(rows).max() or 1.0)


def _agglomerated(
    family: Family, rows: Array, weight: Array, merges: Merges, n_components: int, fewest: int, n_threads: int | None
) -> NDArray[np.int64]:
    """Return the groups of :func:`agglomerated` for different rows, in coordinates, that :func:`ward` merges so.

    Groups of less than `fewest` rows say little of their variances.
    """
    by_memory = int(np.sqrt(2.0 * _PAIR_FLOATS) / rows.shape[1])
    n_groups = min(len(rows), _MOST_GROUPS, by_memory)
    clusters = merges.cut(n_components)
    if family.is_tied or n_groups <= n_components or not rows.any():
        return clusters
    few = np.bincount(clusters, minlength=n_components) < fewest
    # Evenly divided among the components, the variances of all rows are those of one, unless some rows are far away.
    share = np.average((rows - np.average(rows, axis=0, weights=weight)) ** 2, axis=0, weights=weight)
    share *= n_components ** (-2.0 / rows.shape[1])
    within = _variances_within(rows, weight, clusters, few)[clusters]
    variances = np.where(within < _CROWDED**2 * share, within, share)
    return _merged(family, rows, weight, variances, merges.cut(n_groups), n_components, n_threads)


def means_of(rows: Array, weight: Array, labels: NDArray[np.int64], n_labels: int) -> Array:
    """Return the weighted means (K, D) of the rows (N, D) of each label, 0 where there are none."""
    mass = np.bincount(labels, weight, n_labels)
    sums = [np.bincount(labels, weight * column, n_labels) for column in rows.T]
    return np.stack(sums, axis=1) / np.where(mass > 0.0, mass, 1.0)[:, None]


def _variances_within(rows: Array, weight: Array, labels: NDArray[np.int64], few: NDArray[np.bool_]) -> Array:
    """Return the variances (K, D) within clusters; what is near them suggests those of clusters of few rows."""
    n_clusters = len(few)
    means = means_of(rows, weight, labels, n_clusters)
    own = means_of((rows - means[labels]) ** 2, weight, labels, n_clusters)
    local = np.empty_like(own)
    local_variances(means, np.bincount(labels, weight, n_clusters), own, few, local)
    return local


def _merged(
    family: Family,
    rows: Array,
    weight: Array,
    variances: Array,
    labels: NDArray[np.int64],
    n_components: int,
    n_threads: int | None,
) -> NDArray[np.int64]:
    """Return `labels` (N,) of groups, merged until there are `n_components`.

    `variances` (N, D) are those of the pseudo-rows that a row brings with it.
    """
    n_groups = int(labels.max()) + 1
    # About their own means: about that of all rows, groups close together would lose their digits beside a far one.
    density = family.isotropic(means_of(rows, weight, labels, n_groups), 1.0)
    groups = Expectation(family, ArrayRows(rows, weight), n_threads)(density, mode=kernels.LABELLED, labels=labels)
    extent = groups.mass[:, None] * means_of(variances, weight, labels, n_groups)
    pseudo = _PSEUDO_SHARE * groups.weight / n_components

    def joined(first: NDArray[np.int64], second: NDArray[np.int64]) -> SufficientStatistics:
        one = family.reordered(groups, first)
        return one + family.recentre(family.reordered(groups, second), one.origin)

    def loss(first: NDArray[np.int64], second: NDArray[np.int64]) -> Array:
        pairs, width = joined(first, second), extent[first] + extent[second]
        return _volume(family, pairs, width, pseudo) - volume[first] - volume[second]

    volume = _volume(family, groups, extent, pseudo)
    first, second = np.triu_indices(n_groups, 1)
    cost = np.full((n_groups, n_groups), np.inf)
    cost[first, second] = loss(first, second)
    alive = np.ones(n_groups, bool)
    for _ in range(n_groups - n_components):
        kept, gone = divmod(int(np.argmin(cost)), n_groups)
        labels[labels == gone] = kept
        alive[gone] = False
        cost[gone], cost[:, gone] = np.inf, np.inf
        one = np.array([kept])
        whole = joined(one, np.array([gone]))
        groups.mass[kept], groups.deviation[kept], groups.scatter[kept] = (
            array[0] for array in (whole.mass, whole.deviation, whole.scatter)
        )
        extent[kept] += extent[gone]
        volume[kept] = _volume(family, family.reordered(groups, one), extent[one], pseudo)[0]
        others = np.flatnonzero(alive & (np.arange(n_groups) != kept))
        value = loss(np.full(len(others), kept), others)
        cost[np.minimum(kept, others), np.maximum(kept, others)] = value
    return np.unique(labels, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _volume(family: Family, statistics: SufficientStatistics, extent: Array, pseudo: float) -> Array:
    """Return mass * log |covariance| for each component, but for a constant times the mass.

    With pseudo-rows of weight `pseudo` and variances extent / mass, `extent` (K, D).
    """
    about = family.recentre(statistics, statistics.mean)
    mass = np.full(len(about.mass), pseudo)
    rows = family.zero(about.origin)
    add_variances(family.blank(*extent.shape), mass, extent / about.mass[:, None], rows.scatter)
    whole = about + SufficientStatistics(about.origin, mass, rows.deviation, rows.scatter, 0.0, float(mass.sum()))
    density, _ = family.density(np.ones(len(mass)), about.origin, family.covariances(whole))
    return -2.0 * statistics.mass * density.log_scale
