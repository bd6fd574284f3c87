"""Partitions of a sample of rows by what a mixture can express, not by the distances in which the data happen to come.

k-means cuts elongated groups, because to it a long feature counts for more than a narrow one. Coordinates in which all
directions are equal cure the units; merging groups where that costs the least likelihood cures the shapes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastgmm import kernels
from fastgmm.expectation import Expectation
from fastgmm.families import Family
from fastgmm.rows import ArrayRows
from fastgmm.statistics import Array, SufficientStatistics

# A direction with less of the variance than that, of columns of unit variance, is dependent on others to rounding.
_LEAST_VARIANCE = 1e-10
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
    shifted = points - points[0]
    return shifted - np.average(shifted, axis=0, weights=weight)


def sphered(points: Array, weight: Array) -> Array:
    """Return the rows of `points` (N, D) in coordinates (N, R <= D) in which their covariance is the identity.

    Directions without variance are left out. Up to rotation, the same for every affine transformation of the rows.
    """
    unit = standardised(points, weight)
    values, vectors = np.linalg.eigh(covariance(unit, weight))
    kept = values > _LEAST_VARIANCE * len(values)
    return unit @ (vectors[:, kept] / np.sqrt(values[kept])) if kept.any() else unit


def covariance(centred: Array, weight: Array) -> Array:
    """Return the weighted second moments (D, D) of rows (N, D)."""
    return (weight[:, None] * centred).T @ centred / weight.sum()


def ward(points: Array, weight: Array, n_clusters: int) -> NDArray[np.int64]:
    """Return the labels (N,) in 0..n_clusters-1 of Ward's agglomeration: the sum of squares grows least at each merge.

    `weight` (N,) > 0 counts a row that often. By chains of nearest neighbours (Murtagh 1983), in O(N^2 D) time
    and O(N D) memory: the merges found are those of the greedy order, since merging others brings no two groups closer.
    """
    n_rows = len(points)
    mean, mass = points.copy(), weight.astype(np.float64)
    alive = np.ones(n_rows, bool)
    edges, heights = np.empty((n_rows - 1, 2), np.int64), np.empty(n_rows - 1)
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
        edges[merge], heights[merge] = (kept, gone), cost[kept]
        whole = mass[kept] + mass[gone]
        mean[kept] += (mass[gone] / whole) * (mean[gone] - mean[kept])
        mass[kept] = whole
        alive[gone] = False
    labels = np.arange(n_rows)
    for kept, gone in edges[np.argsort(heights, kind="stable")[: n_rows - n_clusters]]:
        labels[labels == labels[gone]] = labels[kept]
    return np.unique(labels, return_inverse=True)[1].reshape(-1).astype(np.int64)


def agglomerated(
    family: Family, points: Array, weight: Array, n_components: int, n_threads: int | None = None
) -> NDArray[np.int64]:
    """Return the labels (N,) of `n_components` groups of rows, merged one by one from small ones.

    Ward's method makes the first groups; from then on those two are merged whose merging costs the least
    classification likelihood under the family: the sum over groups of mass * log |covariance| (Banfield and Raftery
    1993; Fraley 1998). A family with one covariance for all components leaves all of it to Ward's method, and so do
    more components than there are small groups.
    Coordinates are sphered for families of matrices, standardised for those with a variance for each feature.
    """
    if family.has_matrices:
        rows = sphered(points, weight)
    elif family.block_shape(points.shape[1]):
        rows = standardised(points, weight)
    else:
        rows = _centred(points, weight)
        rows /= np.abs(rows).max() or 1.0
    by_memory = int(np.sqrt(2.0 * _PAIR_FLOATS) / rows.shape[1])
    n_groups = min(len(rows), _MOST_GROUPS, by_memory)
    if family.uses_total or n_groups <= n_components or not rows.any():
        return ward(rows, weight, n_components)
    return _merged(family, rows, weight, ward(rows, weight, n_groups), n_groups, n_components, n_threads)


def _merged(
    family: Family,
    rows: Array,
    weight: Array,
    labels: NDArray[np.int64],
    n_groups: int,
    n_components: int,
    n_threads: int | None,
) -> NDArray[np.int64]:
    origin = np.repeat(np.average(rows, axis=0, weights=weight)[None], n_groups, axis=0)
    density = family.isotropic(origin, 1.0)
    groups = Expectation(family, ArrayRows(rows, weight), n_threads)(density, mode=kernels.LABELLED, labels=labels)
    share = np.diag(np.average((rows - origin[0]) ** 2, axis=0, weights=weight))
    share *= n_components ** (-2.0 / rows.shape[1])
    pseudo = _PSEUDO_SHARE * groups.weight / n_components

    def loss(first: NDArray[np.int64], second: NDArray[np.int64]) -> Array:
        joined = family.reordered(groups, first) + family.reordered(groups, second)
        return _volume(family, joined, share, pseudo) - volume[first] - volume[second]

    volume = _volume(family, groups, share, pseudo)
    first, second = np.triu_indices(n_groups, 1)
    cost = np.full((n_groups, n_groups), np.inf)
    cost[first, second] = loss(first, second)
    alive = np.ones(n_groups, bool)
    for _ in range(n_groups - n_components):
        kept, gone = divmod(int(np.argmin(cost)), n_groups)
        labels[labels == gone] = kept
        alive[gone] = False
        cost[gone], cost[:, gone] = np.inf, np.inf
        for array in (groups.mass, groups.deviation, groups.scatter):
            array[kept] += array[gone]
        one = np.array([kept])
        volume[kept] = _volume(family, family.reordered(groups, one), share, pseudo)[0]
        others = np.flatnonzero(alive & (np.arange(n_groups) != kept))
        value = loss(np.full(len(others), kept), others)
        cost[np.minimum(kept, others), np.maximum(kept, others)] = value
    return np.unique(labels, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _volume(family: Family, statistics: SufficientStatistics, share: Array, pseudo: float) -> Array:
    """Return mass * log |covariance| for each component, but for a constant times the mass."""
    about = family.recentre(statistics, statistics.mean)
    mass = np.full(len(about.mass), pseudo)
    rows = SufficientStatistics(
        about.origin, mass, np.zeros_like(about.deviation), family.scatter_of(share, mass), 0.0, float(mass.sum())
    )
    density, _ = family.density(np.ones(len(mass)), about.origin, family.covariances(about + rows))
    return -2.0 * statistics.mass * density.log_scale
