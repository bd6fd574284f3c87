"""k-means on all threads: k-means++ seeding and Lloyd's algorithm, weighted, the same bits for any number of them.

Not scikit-learn's, which is an optional dependency and sums in no fixed order. Rows are read where they lie, in a frame
of their own (an origin amid them and a unit near their spread), so that data far from zero or of extreme scale lose no
digits. Memory beyond X is two numbers a row, three while an empty cluster is moved.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgmm import kernels
from fastgmm.exceptions import OutOfRangeError
from fastgmm.kernels.clustering.assign import Framed
from fastgmm.kernels.clustering.lloyd import SMALLEST, Labelling, iterate, relative_margin
from fastgmm.kernels.clustering.plus_plus import draw_candidates, score_candidates
from fastgmm.passes.expectation import OVERFLOW
from fastgmm.rows import contiguous
from fastgmm.statistics import Array

MAX_ITER = 100
TOL = 1e-4

# So many rows tell where the data lie.
_FRAME_ROWS = 4096
# Exponents whose powers of two, and their inverses, are normal.
_MOST_EXPONENT = 1000
# Rows are copied, where they must be, so many numbers at a time.
_BLOCK_FLOATS = 2**20
# Bounds pay once fewer than one row in so many changes its label.
_PRUNE_MOVED = 16
# Where more than one row in so many changes its label, all rows are summed anew, which takes less time.
_FRESH_MOVED = 4
# So little left of a cluster's mass may be mostly what rounding has left of the rest.
_FRESH_MASS = 0.25

_NO_NUMBERS = np.empty(0)


class Clusters(NamedTuple):
    """Clusters of rows, the result of :func:`kmeans`.

    `centres` (K, D) float64; `labels` (N,) int64, the nearest of them, the first of equals; `inertia`, the weighted sum
    of squared distances from it; `n_iter`, how many times the centres were moved; `converged`, whether they had come to
    rest before `max_iter`.
    """

    centres: Array
    labels: NDArray[np.int64]
    inertia: float
    n_iter: int
    converged: bool


class _Rows:
    """Rows cut into lanes, with their frame: what a centre c is to the kernels is scale * (c - middle)."""

    def __init__(
        self, X: NDArray, weight: Array | None, n_centres: int, lane_floats: int, n_threads: int | None
    ) -> None:
        self.X = contiguous(X)
        self.weight = _NO_NUMBERS if weight is None else np.require(weight, np.float64, ["C", "A", "W"])
        self.n_threads = n_threads
        n_rows, n_features = X.shape
        self.tile = kernels.tile_rows(n_centres, n_features)
        self.n_lanes = kernels.lane_count(n_rows, n_centres, n_features, self.tile, lane_floats)
        self.middle, self.scale = self._frame()
        self.inside = Framed(self.X, self.weight, self.middle, self.scale)

    def _frame(self) -> tuple[Array, float]:
        counted: Any = np.flatnonzero(self.weight) if self.weight.size else range(len(self.X))
        some = self.X[counted[:: max(len(counted) // _FRAME_ROWS, 1)]]
        middle = some.mean(axis=0, dtype=np.float64)
        spread = float(np.abs(some - middle).max())
        if spread == 0.0:
            spread = max(
                float(np.abs(self.X[counted[rows]] - middle).max()) for rows in _blocks(len(counted), len(middle))
            )
        exponent = math.frexp(spread)[1] if math.isfinite(spread) else 0
        return middle, math.ldexp(1.0, -min(max(exponent, -_MOST_EXPONENT), _MOST_EXPONENT))

    def framed(self, points: NDArray) -> Array:
        """Return points (M, D) in the frame."""
        return np.ascontiguousarray((points - self.middle) * self.scale)

    def unframed(self, centres: Array) -> Array:
        """Return centres that are given in the frame in the units of the rows."""
        return np.asarray(centres / self.scale + self.middle)


def _blocks(n_rows: int, n_features: int) -> list[slice]:
    size = max(_BLOCK_FLOATS // n_features, 1)
    return [slice(start, start + size) for start in range(0, n_rows, size)]


def plus_plus(
    X: NDArray,
    weight: Array | None,
    n_centres: int,
    random_state: Any,
    n_threads: int | None = None,
    given: Array | None = None,
) -> NDArray[np.int64]:
    """Return which rows of X (N, D) greedy k-means++ picks as centres, (K,) int64.

    `weight` (N,) float64 counts a row that often, None: once. The best of 2 + log K candidates is taken at each step,
    as in scikit-learn. The centres come beside those that are `given` (M, D), if any. Takes one table of
    (K, candidates) numbers from `random_state`. Takes one pass over X a centre, and a number a row of memory. Where
    there are fewer places than centres, rows are taken twice. ValueError where squared distances overflow.
    """
    n_candidates = 2 + int(math.log(n_centres))
    uniform = random_state.uniform(size=(n_centres, n_candidates))
    rows = _Rows(X, weight, n_candidates + 1, n_candidates, n_threads)
    n_tiles = -(-len(rows.X) // rows.tile)
    closest = np.full(len(rows.X), np.inf)
    best_potential = np.zeros(n_tiles)
    candidate = np.empty(n_candidates, np.int64)
    centres = np.zeros((n_candidates + 1, len(rows.middle)))
    chosen = np.empty(n_centres, np.int64)
    if given is not None:
        known, framed = rows.framed(given), rows.framed(rows.X)
        centres[0] = known[0]
        for centre in known:
            np.minimum(closest, ((framed - centre) ** 2).sum(axis=1), out=closest)
        portion = closest if weight is None else weight * closest
        best_potential[:] = np.add.reduceat(portion, np.arange(0, len(portion), rows.tile))
    for step in range(n_centres):
        n = n_candidates if step or given is not None else 1
        draw_candidates(rows.inside, rows.tile, closest, best_potential, uniform[step, :n], candidate, centres)
        if step == 0 and given is None:
            centres[0] = centres[1]
        potential = np.empty((n_tiles, n))
        totals = np.zeros((rows.n_lanes, n))
        score_candidates(rows.n_lanes, n_threads, centres[: n + 1], rows.inside, rows.tile, closest, potential, totals)
        total = totals.sum(axis=0)
        best = int(np.argmin(total))
        if not math.isfinite(total[best]):
            raise OutOfRangeError(OVERFLOW)
        chosen[step] = candidate[best]
        centres[0] = centres[best + 1]
        best_potential[:] = potential[:, best]
    return chosen


class _Lloyd:
    """Lloyd's algorithm over some rows: its state from one iteration to the next."""

    def __init__(self, X: NDArray, weight: Array | None, n_centres: int, n_threads: int | None) -> None:
        n_rows, n_features = X.shape
        self.rows = _Rows(X, weight, n_centres, n_centres * (n_features + 1), n_threads)
        self.labels = np.zeros(n_rows, np.int64)
        self._sums = np.empty((self.rows.n_lanes, n_centres, n_features))
        self._mass = np.empty((self.rows.n_lanes, n_centres))
        self._margin = relative_margin(n_features)
        self._bound = _NO_NUMBERS
        self._reach = np.zeros(n_centres)
        self._fresh = True
        self._fresh_mass = np.zeros(n_centres)
        self._moved_since = 0.0

    def assign(self, centres: Array, fresh: bool = False) -> tuple[float, float]:
        """Label the rows; return how many changed, and the inertia in the frame of those that were looked at."""
        rows = self.rows
        report = np.empty((rows.n_lanes, 2))
        labelling = Labelling(self.labels, self._bound, self._reach, self._margin)
        sums, mass, n_lanes = self._sums, self._mass, rows.n_lanes
        iterate(n_lanes, rows.n_threads, centres, rows.inside, labelling, rows.tile, fresh, sums, mass, report)
        moved, inertia = report.sum(axis=0).tolist()
        return moved, inertia

    def means(self, centres: Array) -> tuple[Array, NDArray[np.int64], float]:
        """Assign the rows; return the means of the clusters in the frame, which are empty, and how many rows moved.

        An empty cluster keeps its centre. Changes of a few rows are added to the sums there are, unless little enough
        is left of a cluster for rounding errors to show.
        """
        fresh = self._fresh
        moved, inertia = self.assign(centres, fresh)
        mass = self._mass.sum(axis=0)
        if not fresh and (mass <= _FRESH_MASS * self._fresh_mass).any():
            fresh = True
            self.sum_anew(centres)
            mass = self._mass.sum(axis=0)
        if not math.isfinite(inertia):
            raise OutOfRangeError(OVERFLOW)
        if fresh:
            self._fresh_mass, self._moved_since = mass, 0.0
        self._moved_since += moved
        n_rows = len(self.labels)
        self._fresh = moved > n_rows / _FRESH_MOVED or self._moved_since > n_rows
        empty = mass == 0.0
        sums = self._sums.sum(axis=0) * self.rows.scale
        means = np.where(empty[:, None], centres, sums / np.where(empty, 1.0, mass)[:, None])
        return means, np.flatnonzero(empty), moved

    def sum_anew(self, centres: Array) -> None:
        """Sum all rows by the labels they have."""
        reach = self._reach
        # A label that reaches nothing: no row is looked at.
        self._reach = np.full(len(reach), -np.inf)
        self.assign(centres, fresh=True)
        self._reach = reach

    @property
    def prunes(self) -> bool:
        """Whether rows are passed over that bounds show to keep their labels."""
        return self._bound.size > 0

    def prune(self) -> None:
        """Do so from now on."""
        self._bound = np.full(len(self.labels), -np.inf)

    def finish(self, centres: Array) -> float:
        """Label the rows by these centres, and return the inertia in the frame; the sums are of no use afterwards."""
        self._bound = _NO_NUMBERS
        return self.assign(centres)[1]

    def move(self, shift: Array) -> None:
        """Heed that centres are about to move by squared distances `shift` (K,)."""
        drift = np.sqrt(shift) * (1.0 + 2.0 * self._margin) + SMALLEST
        others = np.full(len(drift), drift.max())
        farthest = int(np.argmax(drift))
        others[farthest] = np.delete(drift, farthest).max(initial=0.0)
        # Sums that are rounded up.
        self._reach = (self._reach + (drift + others) * (1.0 + self._margin)) * (1.0 + 2.0**-50)

    def farthest(self, centres: Array, n: int) -> Array:
        """Return the n rows of most weight times squared distance from the centre of their label, in the frame."""
        X, weight = self.rows.X, self.rows.weight
        distance = np.empty(len(X))
        for block in _blocks(*X.shape):
            gap = self.rows.framed(X[block]) - centres[self.labels[block]]
            distance[block] = (gap**2).sum(axis=1)
        if weight.size:
            distance = np.where(weight > 0.0, weight * distance, 0.0)
        return self.rows.framed(X[np.argsort(-distance, kind="stable")[:n]])

    def mean_variance(self) -> float:
        """Return the mean over features of the rows' variance, in the frame."""
        whole = _Lloyd(self.rows.X, self.rows.weight if self.rows.weight.size else None, 1, self.rows.n_threads)
        mean, _, _ = whole.means(np.zeros((1, len(self.rows.middle))))
        mass = float(whole._mass.sum())
        return whole.finish(mean) / mass / mean.size


def kmeans(
    X: NDArray,
    centres: Array,
    weight: Array | None = None,
    *,
    max_iter: int = MAX_ITER,
    tol: float = TOL,
    n_threads: int | None = None,
    prune: bool | None = None,
) -> Clusters:
    """Cluster rows by weighted k-means from given centres: Lloyd's algorithm, to scikit-learn's tolerance.

    Parameters
    ----------
    X : (N, D) array of real numbers; C-contiguous float32 and float64 rows are not copied
    centres : (K, D) array to start from
    weight : (N,) array, not negative, or None for 1
    max_iter : int
    tol : float
        Ends when the squared distances that the centres moved sum to at most `tol` times the mean variance of the
        features, or no row has changed its label.
    n_threads : int or None
        None takes Numba's current number; the result does not depend on it.
    prune : bool, optional
        Whether to pass over rows that cannot change their label; by default, once few do. The result does not depend on
        it.

    Notes
    -----
    A centre that loses all its rows moves to the row farthest from its own (times weight). ValueError where shapes do
    not fit together, no row has weight, centres or squared distances are not finite. Hamerly, "Making k-means even
    faster", SDM 2010, for the idea of the bounds.
    """
    state, found, n_iter, converged = _moved_centres(X, centres, weight, max_iter, tol, n_threads, prune)
    inertia = state.finish(found) / state.rows.scale / state.rows.scale
    return Clusters(state.rows.unframed(found), state.labels, inertia, n_iter, converged)


def pick_centres(
    points: Array, weight: Array, n_components: int, random_state: Any, method: str, n_threads: int | None
) -> Array:
    """Return centres (K, D) to start a mixture from: by `method` "random_from_data", "k-means++" or "kmeans".

    `points` (N, D) and `weight` (N,) float64. The same clusters get the same numbers whatever the random state.
    """
    if method == "random_from_data":
        chosen = random_state.choice(len(points), n_components, replace=False)
    else:
        chosen = plus_plus(points, weight, n_components, random_state, n_threads)
    centres = points[chosen]
    if method == "kmeans":
        centres = lloyd(points, weight, centres, n_threads)
    return np.asarray(centres[in_order(centres)])


def in_order(means: Array) -> NDArray[np.int64]:
    """Return the order by the first feature, then the next: the same clusters get the same numbers from any seed."""
    return np.lexsort(means.T[::-1])


def lloyd(points: Array, weight: Array | None, centres: Array, n_threads: int | None = None) -> Array:
    """Return the centres of weighted k-means, (K, D), from given ones; see :func:`kmeans`."""
    state, found, _, _ = _moved_centres(points, centres, weight, MAX_ITER, TOL, n_threads, None)
    return state.rows.unframed(found)


def _moved_centres(
    X: NDArray,
    centres: Array,
    weight: Array | None,
    max_iter: int,
    tol: float,
    n_threads: int | None,
    prune: bool | None,
) -> tuple[_Lloyd, Array, int, bool]:
    if np.ndim(X) != 2 or np.ndim(centres) != 2 or len(centres) == 0 or np.shape(centres)[1] != X.shape[1]:
        raise ValueError(f"centres must be (K, D), K > 0, for X (N, D), got {np.shape(centres)} for {np.shape(X)}.")
    if not np.isfinite(centres).all():
        raise ValueError(f"centres must be finite, got {np.asarray(centres)[~np.isfinite(centres)][0]}.")
    if weight is not None and np.shape(weight) != (len(X),):
        raise ValueError(f"weight must be of shape ({len(X)},), got {np.shape(weight)}.")
    if not (len(X) if weight is None else np.any(weight)):
        raise ValueError(f"X must have a row with positive weight, got {len(X)} rows.")
    n_centres = len(centres)
    state = _Lloyd(X, weight, n_centres, n_threads)
    here = state.rows.framed(np.asarray(centres, np.float64))
    tolerance = tol * state.mean_variance() if tol > 0.0 else 0.0
    if prune:
        state.prune()
    for n_iter in range(1, max_iter + 1):
        means, empty, moved = state.means(here)
        if len(empty):
            rows = state.farthest(here, len(empty))
            means[empty[: len(rows)]] = rows
        shift = ((means - here) ** 2).sum(axis=1)
        here = means
        if shift.sum() <= tolerance or (n_iter > 1 and moved == 0 and not len(empty)):
            return state, here, n_iter, True
        if state.prunes:
            state.move(shift)
        elif prune is None and moved < len(X) / _PRUNE_MOVED:
            state.prune()
    return state, here, max_iter, False
