"""Where a fit starts: first statistics from k-means, k-means++, random rows, random or given responsibilities.

A component that starts on its nearest rows and is too thin for a covariance (few rows, or equal ones) is smoothed by
pseudo-rows worth one per cent of an average component, with the variances of the data divided evenly among the
components. Seeded on a single row it is then a broad one, not a spike of width sqrt(reg_covar) that no other row can
reach. What is thin is told by the covariance, not by a number of rows: copies and weights of rows are the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgmm import kernels
from fastgmm.expectation import OVERFLOW, Scores
from fastgmm.families import FAMILIES, Family
from fastgmm.kernels.closed_forms import smooth_thin
from fastgmm.kernels.kmeans import kmeans_plus_plus
from fastgmm.loop import Rule, updated
from fastgmm.sources import MemorySource
from fastgmm.statistics import Array, SufficientStatistics

METHODS = ("kmeans", "k-means++", "random", "random_from_data")

_SAMPLE_ROWS = 2**15
_SAMPLE_FLOATS = 2**21
_SAMPLE_ROWS_PER_COMPONENT = 50
# A spread whose inverse can still be squared.
_NARROWEST = 1e-140
_LLOYD_ITERATIONS = 100
_LLOYD_TOL = 1e-4


class RandomResponsibilities:
    """A table of random responsibilities that is made, block by block and always the same, when it is read."""

    def __init__(self, n_components: int, seed: int) -> None:
        self._n_components = n_components
        self._seed = seed

    def __getitem__(self, rows: slice) -> Array:
        generator = np.random.default_rng([self._seed, rows.start])
        table = generator.random((rows.stop - rows.start, self._n_components))
        return table / table.sum(axis=1, keepdims=True)


def seed(
    rule: Rule,
    source: MemorySource,
    n_components: int,
    random_state: Any,
    method: str = "kmeans",
    *,
    means: Array | None = None,
    labels: NDArray[np.int64] | None = None,
    responsibilities: Array | None = None,
) -> Any:
    """Return the rule's state after its first update.

    Parameters
    ----------
    rule, source : of one family
    method : one of METHODS; unused where one of the following is given
    means : (K, D) centres; each row starts in the component of the nearest
    labels : (N,) int64 in 0..K-1
    responsibilities : (N, K), rows summing to 1

    Takes one number from `random_state`, whatever the method. Raises CollapsedComponentError where a start has no
    valid covariance.
    """
    random_state = np.random.default_rng(int(random_state.uniform() * 2**53))
    family = source.family
    n_rows = max(min(_SAMPLE_ROWS, _SAMPLE_FLOATS // source.n_features), _SAMPLE_ROWS_PER_COMPONENT * n_components)
    points, weight = source.sample(n_rows, random_state)
    middle = np.average(points, axis=0, weights=weight)
    centred = points - middle
    spread = float(np.abs(centred).max()) or 1.0
    if not np.isfinite(float(weight.sum()) * spread * spread):
        raise ValueError(OVERFLOW)
    nearest = False
    if labels is not None or responsibilities is not None or (means is None and method == "random"):
        density = family.isotropic(np.repeat(middle[None], n_components, axis=0), 1.0)
        if labels is not None:
            assignment: dict[str, Any] = {"mode": kernels.LABELLED, "labels": labels}
        else:
            table = responsibilities
            if table is None:
                number = int(random_state.integers(2**53))
                table = RandomResponsibilities(n_components, number)  # type: ignore[assignment]
            assignment = {"mode": kernels.GIVEN, "responsibilities": table}
    else:
        if means is None:
            # Distances are squared: in units of the spread neither tiny nor huge data under- or overflow.
            means = middle + spread * _centres(
                centred / spread, weight, n_components, random_state, method, source.n_threads
            )
        density = family.isotropic(means, 1.0 / max(spread, _NARROWEST))
        assignment = {"mode": kernels.HARD}
        nearest = True

    def collect(origin: Array | None = None) -> SufficientStatistics:
        statistics = source.collect(density, origin, **assignment)
        return _smoothed(family, statistics, centred, weight) if smooth else statistics

    smooth = nearest and rule.smooths_seeds
    statistics = collect()
    if not nearest:
        # Moments about the middle of all rows would cost components that are narrow in some direction their digits.
        statistics = collect(statistics.mean)
    return updated(rule, collect, statistics)


def _smoothed(family: Family, statistics: SufficientStatistics, centred: Array, weight: Array) -> SufficientStatistics:
    origin, mass, deviation, scatter = (
        array.copy() for array in (statistics.origin, statistics.mass, statistics.deviation, statistics.scatter)
    )
    variances = np.average(centred**2, axis=0, weights=weight)
    smooth_thin(family.blank(*origin.shape), origin, mass, deviation, scatter, variances, statistics.weight)
    return SufficientStatistics(origin, mass, deviation, scatter, statistics.log_evidence, float(mass.sum()))


def _centres(
    points: Array, weight: Array, n_components: int, random_state: Any, method: str, n_threads: int | None
) -> Array:
    n_rows = len(points)
    if method == "random_from_data":
        chosen = random_state.choice(n_rows, n_components, replace=False)
    else:
        chosen = np.empty(n_components, np.int64)
        n_candidates = 2 + int(np.log(n_components))
        kmeans_plus_plus(points, weight, random_state.uniform(size=(n_components, n_candidates)), chosen)
    centres = points[chosen]
    if method == "kmeans":
        centres = lloyd(points, weight, centres, n_threads)
    # By the first feature, then the next: the same clusters get the same numbers whatever the random state.
    return centres[np.lexsort(centres.T[::-1])]


def lloyd(points: Array, weight: Array, centres: Array, n_threads: int | None = None) -> Array:
    """Return the centres of weighted k-means, (K, D), from given ones: Lloyd's algorithm to scikit-learn's tolerance.

    A centre that loses all its rows moves to the row farthest from its own.
    """
    spherical = FAMILIES["spherical"]
    source = MemorySource(spherical, points, weight, n_threads)
    middle = np.average(points, axis=0, weights=weight)
    tolerance = _LLOYD_TOL * float(np.average((points - middle) ** 2, axis=0, weights=weight).mean())
    for _ in range(_LLOYD_ITERATIONS):
        density = spherical.isotropic(centres, 1.0)
        statistics = source.collect(density, mode=kernels.HARD)
        moved = statistics.mean
        empty = np.flatnonzero(statistics.mass == 0)
        if len(empty):
            nearest = Scores(density, points, n_threads, labels=True).labels
            distance = weight * ((points - centres[nearest]) ** 2).sum(axis=1)
            moved[empty] = points[np.argsort(-distance, kind="stable")[: len(empty)]]
        shift = float(((moved - centres) ** 2).sum())
        centres = moved
        if shift <= tolerance:
            break
    return centres
