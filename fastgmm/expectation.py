"""The E-step: from a density and rows to sufficient statistics, in one fused pass block by block.

The accumulators of the lanes live as long as the object, so that the passes of a fit reuse their memory; each thread
that calls has its own.
"""

from __future__ import annotations

import copy
import functools
import math
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgmm import kernels
from fastgmm.exceptions import OutOfRangeError
from fastgmm.families import Family
from fastgmm.kernels import Density
from fastgmm.kernels.closed_forms import round_density
from fastgmm.statistics import Array, SufficientStatistics

OVERFLOW = "the second moments of X overflow float64: scale the data"

#: Fewer rows times components times features are not worth the compilation of float32 arithmetic.
SINGLE_WORK = 2**22
# float32 arithmetic is for densities that multiply its rounding errors (6e-8) by no more than this, and for weights
# that neither lose squares of small numbers nor overflow with large ones.
_MOST_AMPLIFIED = 300.0
_SINGLE_WEIGHTS = 1e-10, 1e10
# Relative noise of a log evidence in float32 arithmetic: a fit that moves by less goes on in float64.
_SINGLE_NOISE = 2.0**-21

# The total scatter of the data may be so many times that about the means before its digits are too few.
_MOST_CANCELLED = 1e6
_MOST_CANCELLED_SINGLE = 30.0

_NO_WEIGHTS = np.empty(0)
_NO_LABELS = np.empty(0, np.int64)
_NO_CENTRE = np.empty(0, np.float32)
_NO_TABLE = np.empty((0, 0))


class Blocks:
    """How a problem is cut: tiles, blocks of rows, lanes. Depends on its shape alone, never on threads or layout."""

    def __init__(self, n_rows: int, n_components: int, n_features: int, lane_floats: int, n_bytes: int = 8) -> None:
        self.tile = kernels.tile_rows(n_components, n_features, n_bytes)
        self.rows = kernels.block_rows(n_components, n_features, self.tile)
        self.n_lanes = kernels.lane_count(min(n_rows, self.rows), n_components, n_features, self.tile, lane_floats)
        self.n_rows = n_rows

    def __iter__(self) -> Iterator[slice]:
        """Yield the slices of rows, in order."""
        for start in range(0, self.n_rows, self.rows):
            yield slice(start, min(start + self.rows, self.n_rows))


# Only numbers come in, and what comes out never changes: the last ones are kept.
_cut = functools.lru_cache(maxsize=64)(Blocks)


class _Unlocked:
    """A read-only array that says it may be written: Numba compiles every kernel again for read-only arrays."""

    def __init__(self, array: NDArray) -> None:
        self._array = array
        self.__array_interface__ = array.__array_interface__ | {"data": (array.ctypes.data, False)}


def kernel_array(array: NDArray, dtype: type) -> NDArray:
    """Return the array as kernels take it, C-contiguous and aligned: itself where it is, else a copy."""
    if array.flags.carray and array.dtype == dtype:
        return array
    array = np.require(array, dtype, ["C", "A"])
    return array if array.flags.writeable or array.size == 0 else np.asarray(_Unlocked(array))


def _moderate(weight: Array | None) -> bool:
    """Return whether weights are fit for float32 arithmetic."""
    low, high = _SINGLE_WEIGHTS
    return weight is None or bool(np.all((weight == 0.0) | ((weight >= low) & (weight <= high))))


def row_type(X: NDArray) -> type[np.floating]:
    """Return the type that kernels read the rows in, and results are given in: float32 for float32, else float64."""
    return np.float32 if X.dtype == np.float32 else np.float64


def contiguous(X: NDArray, rows: slice) -> NDArray:
    """Return X[rows] as a C-contiguous float32 or float64 array: a view where it is one, else a copy of the block."""
    return kernel_array(X[rows], row_type(X))


class _Memory(threading.local):
    """Accumulators by the shape of a problem, for each thread its own."""

    def __init__(self) -> None:
        self.lanes: dict[tuple[Any, ...], tuple[Blocks, list[NDArray]]] = {}


class Expectation:
    """The E-step over one set of rows: call it with a density as often as needed.

    Parameters
    ----------
    family : Family
    X : (N, D) array of real numbers, any layout; float32 and float64 rows in C order are not copied
    sample_weight : (N,) float64 array, or None for weight 1
    n_threads : int or None
        None takes Numba's current number.

    Large float32 problems are computed in float32 arithmetic, with sums over rows in float64, as long as that is good
    to three digits in every row: where the density is too narrow for its place, or a row too far out, or the log
    evidence moves by less than its rounding, the arithmetic is float64, from then on. Everything else is computed in
    float64.

    Fits that run at the same time need an object each: :meth:`again`.
    """

    def __init__(
        self, family: Family, X: NDArray, sample_weight: Array | None = None, n_threads: int | None = None
    ) -> None:
        self._family = family
        self._X = X
        self._sample_weight = sample_weight
        self.n_threads = n_threads
        self._total: SufficientStatistics | None = None
        self._memory = _Memory()
        self._has_moderate_rows = X.dtype == np.float32 and _moderate(sample_weight)
        self._may_be_single = self._has_moderate_rows
        self._last_single = -math.inf

    def again(self, n_threads: int | None) -> Expectation:
        """Return the E-step over the same rows for another fit: it begins in float32 where such rows do.

        It may be called while this one is. What it costs to set up is shared, accumulators only within a thread.
        """
        other = copy.copy(self)
        other.n_threads = n_threads
        other._may_be_single = self._has_moderate_rows
        other._last_single = -math.inf
        return other

    def __call__(
        self,
        density: Density,
        origin: Array | None = None,
        mode: int = kernels.SOFT,
        labels: NDArray[np.int64] | None = None,
        responsibilities: Array | None = None,
    ) -> SufficientStatistics:
        """Return the statistics of all rows about `origin` ((K, D), default: the density's means).

        `mode` says where responsibilities come from: ``kernels.SOFT`` or ``HARD`` (the density), ``LABELLED``
        (`labels`, (N,) in 0..K-1) or ``GIVEN`` (`responsibilities`, (N, K)). Raises ValueError, naming the row,
        where a squared distance overflows.
        """
        own_origin = origin is None
        origin = density.mean if origin is None else kernel_array(origin, np.float64)
        if own_origin and mode == kernels.SOFT and self._may_be_single and self._X.size >= SINGLE_WORK / len(origin):
            statistics = self._in_single(density)
            if statistics is not None:
                return statistics
            self._may_be_single = False
        return self._in_double(density, origin, mode, labels, responsibilities)

    def _in_double(
        self,
        density: Density,
        origin: Array,
        mode: int,
        labels: NDArray[np.int64] | None,
        responsibilities: Array | None,
    ) -> SufficientStatistics:
        total = self.total() if self._family.uses_total and mode == kernels.SOFT else None
        statistics = self._sweep(density, origin, mode, labels, responsibilities, total is None)
        if total is not None:
            completed = _complete(self._family, statistics, total)
            if completed is None:
                # Components so narrow against their distances that the total scatter holds too few of their digits.
                statistics = self._sweep(density, origin, mode, labels, responsibilities, True)
            else:
                statistics = completed
        self._require_finite(density, statistics)
        return statistics

    def _in_single(self, density: Density) -> SufficientStatistics | None:
        """Return the statistics by float32 arithmetic; None where that is not good enough."""
        centre = density.mean.mean(axis=0).astype(np.float32)
        rounded: Any = type(density)(*(np.empty(array.shape, np.float32) for array in density))  # type: ignore[arg-type]
        highest, amplified = round_density(density, centre, rounded)
        if not amplified <= _MOST_AMPLIFIED:
            return None
        total = self.total() if self._family.uses_total else None
        statistics = self._sweep(rounded, rounded.mean, kernels.SOFT, None, None, total is None, centre)
        if not _is_finite(statistics):
            return None
        log_evidence = statistics.log_evidence + highest * statistics.weight
        # A change of exactly 0 is that of a density that is asked for again.
        change, self._last_single = abs(log_evidence - self._last_single), log_evidence
        if 0.0 < change < _SINGLE_NOISE * abs(statistics.log_evidence):
            return None
        statistics = SufficientStatistics(
            np.add(centre, rounded.mean, dtype=np.float64),
            statistics.mass,
            statistics.deviation,
            statistics.scatter,
            log_evidence,
            statistics.weight,
        )
        if total is None:
            completed: SufficientStatistics | None = statistics
        else:
            completed = _complete(self._family, statistics, total, _MOST_CANCELLED_SINGLE)
        return None if completed is None else self._family.recentre(completed, density.mean)

    def _sweep(
        self,
        density: Density,
        origin: Array,
        mode: int,
        labels: NDArray[np.int64] | None,
        responsibilities: Array | None,
        with_scatter: bool,
        centre: NDArray[np.float32] = _NO_CENTRE,
    ) -> SufficientStatistics:
        n_components, n_features = density.mean.shape
        shape = self._family.shape(n_components, n_features) if with_scatter else (0, 0)
        blocks, (mass, deviation, scatter, log_evidence) = self._cleared(density, shape)
        weight = 0.0
        for rows in blocks:
            block = contiguous(self._X, rows)
            if self._sample_weight is None:
                block_weight = _NO_WEIGHTS
                weight += len(block)
            else:
                block_weight = kernel_array(self._sample_weight[rows], np.float64)
                weight += float(block_weight.sum())
            kernels.collect(
                blocks.n_lanes,
                self.n_threads,
                density,
                origin,
                centre,
                block,
                block_weight,
                mode,
                _NO_LABELS if labels is None else kernel_array(labels[rows], np.int64),
                _NO_TABLE if responsibilities is None else kernel_array(responsibilities[rows], np.float64),
                blocks.tile,
                mass,
                deviation,
                scatter,
                log_evidence,
            )
        return SufficientStatistics(
            origin,
            _folded(mass),
            _folded(deviation),
            self._family.mirror(_folded(scatter)),
            float(_folded(log_evidence)),
            weight,
        )

    def _cleared(self, density: Density, shape: tuple[int, ...]) -> tuple[Blocks, list[NDArray]]:
        """Return how the rows are cut, and the accumulators of the lanes filled with zeros."""
        (n_components, n_features), dtype = density.mean.shape, density.mean.dtype
        key = (n_components, *shape, dtype)
        lanes = self._memory.lanes
        if key not in lanes:
            lane_floats = n_components * (n_features + 1) + math.prod(shape)
            blocks = _cut(len(self._X), n_components, n_features, lane_floats, dtype.itemsize)
            shapes = (n_components,), (n_components, n_features), shape, ()
            lanes[key] = blocks, [np.empty((blocks.n_lanes, *each)) for each in shapes]
        blocks, accumulators = lanes[key]
        for array in accumulators:
            array.fill(0.0)
        return blocks, accumulators

    def total(self) -> SufficientStatistics:
        """Return the statistics of all rows as one component of the family, about their mean; computed once."""
        total = self._total
        if total is None:
            start = 0 if self._sample_weight is None else int(np.argmax(self._sample_weight > 0))
            origin = np.array(self._X[start : start + 1], np.float64, order="C")
            for _ in range(2):
                density = self._family.isotropic(origin, 0.0)
                zeros = np.broadcast_to(np.int64(0), len(self._X))
                total = self._sweep(density, origin, kernels.LABELLED, zeros, None, True)
                origin = total.mean
                self._require_finite(density, total)
            self._total = total
        return total  # type: ignore[return-value]

    def _require_finite(self, density: Density, statistics: SufficientStatistics) -> None:
        if not _is_finite(statistics):
            refuse_far_rows(density, self._X, self.n_threads, self._sample_weight)
            raise OutOfRangeError(OVERFLOW)


def _is_finite(statistics: SufficientStatistics) -> bool:
    return math.isfinite(statistics.log_evidence) and bool(np.isfinite(statistics.scatter).all())


def _folded(lanes: NDArray) -> NDArray:
    """Return the sum over lanes, of which there often is one."""
    return lanes[0].copy() if len(lanes) == 1 else lanes.sum(axis=0)


def refuse_far_rows(density: Density, X: NDArray, n_threads: int | None, sample_weight: Array | None = None) -> None:
    """Raise ValueError naming the first row of weight whose squared distances from all components overflow, if any."""
    n_components, n_features = density.mean.shape
    for rows in _cut(len(X), n_components, n_features, 1):
        far = ~np.isfinite(Scores(density, contiguous(X, rows), n_threads, evidence=True).evidence)
        if sample_weight is not None:
            far &= sample_weight[rows] > 0
        if far.any():
            row = rows.start + int(np.flatnonzero(far)[0])
            raise OutOfRangeError(
                f"row {row} of X lies so far from every component that its squared distance overflows float64: scale "
                "the data or remove the row"
            )


def _complete(
    family: Family, statistics: SufficientStatistics, total: SufficientStatistics, most: float = _MOST_CANCELLED
) -> SufficientStatistics | None:
    """Return statistics without a scatter with the one that follows from the data's `total`; None where it cancels.

    That is, where the total scatter is more than `most` times as large in some direction.

    sum_k sum_n w r (x - o_k)(x - o_k)^T = T - sum_k (d_k a_k^T + a_k d_k^T) - sum_k n_k a_k a_k^T with a_k = o_k - c,
    for T the total scatter about c, and mass n_k and deviation d_k about the origin o_k.
    """
    shifted = SufficientStatistics(
        statistics.origin, -statistics.mass, -statistics.deviation, total.scatter, statistics.log_evidence, total.weight
    )
    scatter = family.recentre(shifted, np.repeat(total.mean, len(statistics.mass), axis=0)).scatter
    # In the metric of the result, so that no direction hides: how many times larger is what was subtracted from?
    try:
        inverse = np.linalg.inv(np.linalg.cholesky(scatter))
    except np.linalg.LinAlgError:
        return None
    if not ((inverse @ total.scatter) * inverse).sum(axis=1).max() < most:
        return None
    return SufficientStatistics(
        statistics.origin,
        statistics.mass,
        statistics.deviation,
        scatter,
        statistics.log_evidence,
        statistics.weight,
    )


class Scores:
    """What a density says of rows: labels, log evidence, responsibilities and weighted sums, whichever are asked for.

    Raises ValueError, naming the row, where labels or responsibilities are asked for and the squared distances of a row
    from every component overflow; its evidence is -inf.

    Attributes
    ----------
    labels : (N,) int64, the component of highest log joint (the first of equals)
    evidence : (N,) dtype of X, log sum_k exp(log joint), nat
    responsibilities : (N, K) dtype of X
    sum_evidence, sum_peak, weight : float
        Sums of w times the log evidence, of w times the highest log joint, and of w; with ``sums=True``.
    """

    def __init__(
        self,
        density: Density,
        X: NDArray,
        n_threads: int | None = None,
        *,
        labels: bool = False,
        evidence: bool = False,
        responsibilities: bool = False,
        sums: bool = False,
        sample_weight: Array | None = None,
    ) -> None:
        n_rows = len(X)
        n_components, n_features = density.mean.shape
        dtype = row_type(X)
        blocks = _cut(n_rows, n_components, n_features, 2)
        self.labels = np.empty(n_rows if labels else 0, np.int64)
        self.evidence = np.empty(n_rows if evidence else 0, dtype)
        self.responsibilities = np.empty((n_rows, n_components) if responsibilities else (0, 0), dtype)
        ones = np.ones(min(n_rows, blocks.rows) if sums and sample_weight is None else 0)
        self.weight = float(n_rows if sample_weight is None else sample_weight.sum())
        lanes = np.zeros((blocks.n_lanes, 3))
        for rows in blocks:
            block = contiguous(X, rows)
            if sums and sample_weight is not None:
                weight = kernel_array(sample_weight[rows], np.float64)
            else:
                weight = ones[: len(block)]
            kernels.score(
                blocks.n_lanes,
                n_threads,
                density,
                block,
                blocks.tile,
                weight,
                self.labels[rows],
                self.evidence[rows],
                self.responsibilities[rows],
                lanes,
            )
        self.sum_evidence, self.sum_peak, overflown = _folded(lanes).tolist()
        if overflown and (labels or responsibilities):
            refuse_far_rows(density, X, n_threads)


def e_step(
    family: Family,
    density: Density,
    X: NDArray,
    sample_weight: Array | None = None,
    *,
    n_threads: int | None = None,
) -> SufficientStatistics:
    """Return the statistics of the rows of X under the posterior responsibilities of `density`, about its means.

    X (N, D) of float32 or float64, `sample_weight` (N,) or None for 1. Extra memory does not depend on N.
    """
    return Expectation(family, X, sample_weight, n_threads)(density)
