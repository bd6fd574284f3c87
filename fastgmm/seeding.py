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
from fastgmm.expectation import OVERFLOW
from fastgmm.families import Family
from fastgmm.kmeans import pick_centres
from fastgmm.loop import Rule, updated
from fastgmm.sources import MemorySource
from fastgmm.statistics import Array, SufficientStatistics

METHODS = ("kmeans", "k-means++", "random", "random_from_data")

_SMOOTHING = 0.01
_THIN = 1e-3
_SAMPLE_ROWS = 2**15
_SAMPLE_FLOATS = 2**21
_SAMPLE_ROWS_PER_COMPONENT = 50
# A spread whose inverse can still be squared.
_NARROWEST = 1e-140


class _RandomResponsibilities:
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
                table = _RandomResponsibilities(n_components, number)  # type: ignore[assignment]
            assignment = {"mode": kernels.GIVEN, "responsibilities": table}
    else:
        if means is None:
            # Distances are squared: in units of the spread neither tiny nor huge data under- or overflow.
            means = middle + spread * pick_centres(
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
    n_components, n_features = statistics.origin.shape
    # Variances only: an outlier makes the covariance of the data as good as singular.
    share = np.diag(np.average(centred**2, axis=0, weights=weight)) * n_components ** (-2.0 / n_features)
    thin = _thin(family, family.covariances(statistics), share, n_components)
    if not thin.any():
        return statistics
    mass = np.where(thin, _SMOOTHING * statistics.weight / n_components, 0.0)
    pseudo = SufficientStatistics(
        statistics.mean,
        mass,
        np.zeros((n_components, n_features)),
        family.scatter_of(share, mass),
        0.0,
        float(mass.sum()),
    )
    return family.recentre(statistics, statistics.mean) + pseudo


def _thin(family: Family, covariances: Array, share: Array, n_components: int) -> NDArray[np.bool_]:
    """Return which components are, in some direction, below a thousandth of the (diagonal) covariance `share`."""
    least = _THIN * share
    if not family.has_matrices:
        variances = family.variances(covariances, n_components, len(share))
        return np.asarray((variances <= np.diag(least)).any(axis=1))
    thin = []
    for matrix in covariances.reshape(-1, *share.shape):
        try:
            np.linalg.cholesky(matrix - least)
            thin.append(False)
        except np.linalg.LinAlgError:
            thin.append(True)
    return np.broadcast_to(thin, n_components)
