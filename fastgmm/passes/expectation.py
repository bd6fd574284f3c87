"""The E-step: from a density and rows to sufficient statistics, in one fused pass block by block.

A ``Sweep`` is one pass over rows in this process, and what is sent to rows elsewhere. ``Expectation`` decides which
passes it takes: in which arithmetic, about which points. The accumulators of the lanes live as long as the object, so
that the passes of a fit reuse their memory; each thread that calls has its own. Tasks that compute have `n_threads`,
which other processes set to what they may use.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
import operator
import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgmm import kernels
from fastgmm.exceptions import OutOfRangeError
from fastgmm.families import Family
from fastgmm.kernels import Density
from fastgmm.kernels.blocks import Sums
from fastgmm.kernels.closed_forms import round_density
from fastgmm.kernels.skipping import EVIDENCE, LABELS
from fastgmm.passes.skipping import Hints, LivePass, blank_sums, lost_mass, may_pay
from fastgmm.rows import ArrayRows, Rows, contiguous, kernel_array
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
# Numbers, and rows, that are read at a time where rows are sorted: 32 MB of float64.
_READ_FLOATS = 2**22
_READ_ROWS = 2**18
# More than any row's number.
_NOWHERE = 2**63 - 1


class Blocks:
    """How a problem is cut: tiles, blocks of rows, lanes. Depends on its shape alone, never on threads or layout.

    Where rows take long, blocks are short; those of `read` rows are several, for passes that look at few components.
    """

    def __init__(self, n_rows: int, n_components: int, n_features: int, lane_floats: int, n_bytes: int = 8) -> None:
        self.tile = kernels.tile_rows(n_components, n_features, n_bytes)
        self.rows = kernels.block_rows(n_components, n_features, self.tile)
        self.n_lanes = kernels.lane_count(min(n_rows, self.rows), n_components, n_features, self.tile, lane_floats)
        self.read = max(min(_READ_FLOATS // n_features, _READ_ROWS) // self.rows, 1) * self.rows

    def within(self, n_rows: int) -> list[slice]:
        """Return the blocks of so many rows that were read."""
        return [slice(start, min(start + self.rows, n_rows)) for start in range(0, n_rows, self.rows)]


# Only numbers come in, and what comes out never changes: the last ones are kept.
_cut = functools.lru_cache(maxsize=64)(Blocks)


class OneComponent:
    """Labels of rows that are all in the first component, however many they are."""

    def __getitem__(self, places: slice) -> NDArray[np.int64]:
        return np.zeros(places.stop - places.start, np.int64)


class _Accumulators(threading.local):
    """Accumulators of lanes by the shape of a problem, for each thread its own; they are not sent anywhere."""

    def __init__(self) -> None:
        self._lanes: dict[tuple[Any, ...], list[NDArray]] = {}

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return _Accumulators, ()

    @staticmethod
    def blocks(n_rows: int, density: Density, shape: tuple[int, ...]) -> Blocks:
        """Return how the rows are cut."""
        n_components, n_features = density.mean.shape
        lane_floats = n_components * (n_features + 1) + math.prod(shape)
        return _cut(n_rows, n_components, n_features, lane_floats, density.mean.itemsize)

    def cleared(self, n_rows: int, density: Density, shape: tuple[int, ...]) -> list[NDArray]:
        """Return accumulators of all lanes, filled with zeros."""
        (n_components, n_features), dtype = density.mean.shape, density.mean.dtype
        key = (n_rows, n_components, *shape, dtype)
        if key not in self._lanes:
            n_lanes = self.blocks(n_rows, density, shape).n_lanes
            shapes = (n_components,), (n_components, n_features), shape, ()
            self._lanes[key] = [np.empty((n_lanes, *each)) for each in shapes]
        accumulators = self._lanes[key]
        for array in accumulators:
            array.fill(0.0)
        return accumulators


@dataclass(eq=False)
class Sweep:
    """One pass over rows: what it is to find out. Called with rows in this process it returns their statistics.

    Parameters
    ----------
    family : Family
    density : Density of float64, or of float32 about `centre`
    exact : Density of float64, for rows that few components are live for; None where all are to be looked at
    highest : float
        What the log scales of `exact` are above those of `density`.
    hints : Hints
    n_kept : int or None
        At most so many components of a row are kept; None for all.
    origin : (K, D), what moments are about, less `centre`
    mode : ``kernels.SOFT`` or ``HARD`` (responsibilities come from the density), ``LABELLED`` (`labels`) or ``GIVEN``
    labels, responsibilities : (N,) int64 and (N, K), or what gives them for a slice of the rows' places
    with_scatter : whether second moments are summed
    centre : (D,) float32, what float32 arithmetic is about; empty for float64
    n_threads : int or None
    """

    family: Family
    density: Density
    origin: NDArray
    mode: int = kernels.SOFT
    labels: Any = None
    responsibilities: Any = None
    with_scatter: bool = True
    centre: NDArray[np.float32] = field(default_factory=lambda: _NO_CENTRE)
    n_threads: int | None = None
    accumulators: _Accumulators = field(default_factory=_Accumulators)
    exact: Density | None = None
    highest: float = 0.0
    hints: Hints = field(default_factory=Hints)
    n_kept: int | None = None

    def __call__(self, rows: Rows) -> SufficientStatistics:
        """Return the statistics of all rows, about `centre` + `origin` where there is a centre."""
        density = self.density
        origin = self.origin if self.centre.size == 0 else np.add(self.centre, self.origin, dtype=np.float64)
        shape = self.family.shape(*density.mean.shape) if self.with_scatter else (0, 0)
        blocks = self.accumulators.blocks(rows.n_rows, density, shape)
        live = None if self.exact is None else LivePass(self.exact, self.n_threads, self.hints, self.n_kept)
        dense_sums = live_sums = None
        weight = log_evidence = 0.0
        for places, read, read_weight in rows.blocks(blocks.rows if live is None else blocks.read):
            weight += len(read) if read_weight is None else float(read_weight.sum())
            X = contiguous(read)
            w = None if read_weight is None else kernel_array(read_weight, np.float64)
            if live is not None and live.pays(X):
                live_sums = live_sums or self._blank_sums(shape)
                log_evidence += live.collect(X, w, places.start, origin, live_sums)
                log_evidence -= self.highest * (len(X) if w is None else float(w.sum()))
                continue
            if dense_sums is None:
                dense_sums = self.accumulators.cleared(rows.n_rows, density, shape)
            for part in blocks.within(len(X)):
                here = slice(places.start + part.start, places.start + part.stop)
                kernels.collect(
                    blocks.n_lanes,
                    self.n_threads,
                    density,
                    self.origin,
                    self.centre,
                    X[part],
                    _NO_WEIGHTS if w is None else w[part],
                    self.mode,
                    _NO_LABELS if self.labels is None else kernel_array(self.labels[here], np.int64),
                    _NO_TABLE
                    if self.responsibilities is None
                    else kernel_array(self.responsibilities[here], np.float64),
                    blocks.tile,
                    *dense_sums,
                )
        if dense_sums is None:
            mass, deviation, scatter = self._shared(live_sums or self._blank_sums(shape))
        else:
            # The sum over lanes, of which there often is one.
            mass, deviation, scatter, evidence = [
                lanes[0].copy() if len(lanes) == 1 else lanes.sum(axis=0) for lanes in dense_sums
            ]
            log_evidence += float(evidence)
            if live_sums is not None:
                for total, more in zip((mass, deviation, scatter), self._shared(live_sums), strict=True):
                    total += more
        return SufficientStatistics(origin, mass, deviation, self.family.mirror(scatter), log_evidence, weight)

    @property
    def _is_shared(self) -> bool:
        """Whether components have one scatter, that is summed."""
        return self.family.uses_total and self.with_scatter

    def _blank_sums(self, shape: tuple[int, ...]) -> Sums:
        """Return accumulators for a scatter of some shape, by component even where the family has one for all."""
        n_components, n_features = self.density.mean.shape
        return blank_sums(n_components, n_features, (n_components, *shape) if self._is_shared else shape)

    def _shared(self, sums: Sums) -> Sums:
        return sums._replace(scatter=sums.scatter.sum(axis=0)) if self._is_shared else sums


def _moderate(rows: Rows) -> bool:
    """Return whether weights are fit for float32 arithmetic."""
    low, high = _SINGLE_WEIGHTS
    return not rows.is_weighted or (low <= rows.summary.smallest and rows.summary.largest <= high)


class Expectation:
    """The E-step over one set of rows: call it with a density as often as needed.

    Parameters
    ----------
    family : Family
    rows : Rows
    n_threads : int or None
        None takes Numba's current number.
    n_kept : int or None
        At most so many components of a row are kept, the best; None for all.
    skips : bool
        Whether blocks of rows are passed over components that are not live where that pays: ``passes.skipping``.
    alone : bool
        Whether statistics are all that parameters are made of. Where they are added to a prior or to those of other
        rows, it does not matter how little mass they say a component has left.

    Large float32 problems are computed in float32 arithmetic, with sums over rows in float64, as long as that is good
    to three digits in every row: where the density is too narrow for its place, or a row too far out, or the log
    evidence moves by less than its rounding, the arithmetic is float64, from then on. Everything else is computed in
    float64.

    Fits that run at the same time need an object each: :meth:`again`.
    """

    def __init__(
        self,
        family: Family,
        rows: Rows,
        n_threads: int | None = None,
        *,
        n_kept: int | None = None,
        skips: bool = True,
        alone: bool = True,
    ) -> None:
        self._family = family
        self._rows = rows
        self.n_threads = n_threads
        self.n_kept = n_kept
        self._may_skip = skips or n_kept is not None
        self._alone = alone
        self._hints = Hints()
        self._total: SufficientStatistics | None = None
        self._accumulators = _Accumulators()
        self._has_moderate_rows = rows.dtype is np.float32 and _moderate(rows)
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
        other._hints = Hints()
        return other

    @property
    def pairs(self) -> Array:
        """Pairs of a row and a component in blocks of the last pass that skipped: all, begun, finished, live.

        Known of rows in this process alone.
        """
        return self._hints.pairs

    @property
    def arithmetic(self) -> tuple[bool, float]:
        """The findings of the passes so far: whether the next may be in float32, and the last log evidence so."""
        return self._may_be_single, self._last_single

    @arithmetic.setter
    def arithmetic(self, arithmetic: tuple[bool, float]) -> None:
        self._may_be_single, self._last_single = arithmetic

    def __call__(
        self,
        density: Density,
        origin: Array | None = None,
        mode: int = kernels.SOFT,
        labels: Any = None,
        responsibilities: Any = None,
    ) -> SufficientStatistics:
        """Return the statistics of all rows about `origin` ((K, D), default: the density's means).

        `mode` says where responsibilities come from: ``kernels.SOFT`` or ``HARD`` (the density), ``LABELLED``
        (`labels`, (N,) in 0..K-1) or ``GIVEN`` (`responsibilities`, (N, K)). Raises ValueError, naming the row,
        where a squared distance overflows.
        """
        own_origin = origin is None
        origin = density.mean if origin is None else kernel_array(origin, np.float64)
        skipping = self._options(density, mode)
        is_exact = bool(skipping) and self._alone and not self._truncates(density)
        is_large = self._rows.n_rows * self._rows.n_features >= SINGLE_WORK / len(origin)
        if own_origin and mode == kernels.SOFT and self._may_be_single and is_large and not self._truncates(density):
            statistics = self._in_single(density)
            if statistics is not None:
                is_lost = is_exact and lost_mass(density, statistics.mass, statistics.weight)
                return self._looking_at_all()(density) if is_lost else statistics
            self._may_be_single = False
        assignment = {"mode": mode, "labels": labels, "responsibilities": responsibilities, **skipping}
        total = self.total() if self._family.uses_total and mode == kernels.SOFT else None
        statistics = self._sweep(density, origin, with_scatter=total is None, **assignment)
        if total is not None:
            completed = _complete(self._family, statistics, total)
            if completed is None:
                # Components so narrow against their distances that the total scatter holds too few of their digits.
                statistics = self._sweep(density, origin, **assignment)
            else:
                statistics = completed
        self._require_finite(density, statistics)
        # What a pass was allowed to pass over could be seen in the statistics.
        if is_exact and lost_mass(density, statistics.mass, statistics.weight):
            return self._looking_at_all()(density, origin, mode, labels, responsibilities)
        return statistics

    def _options(self, density: Density, mode: int, highest: float = 0.0) -> dict[str, Any]:
        """Return the plan of a sweep that passes over components that are not live."""
        if mode != kernels.SOFT or not self._may_skip:
            return {}
        if not (self._truncates(density) or may_pay(density, self._rows.n_rows)):
            return {}
        return {"exact": density, "highest": highest, "n_kept": self.n_kept}

    def _truncates(self, density: Density) -> bool:
        """Return whether some components of a row are left out that may be live."""
        return self.n_kept is not None and self.n_kept < len(density.mean)

    def _looking_at_all(self) -> Expectation:
        """Return the E-step that passes nothing over."""
        other = copy.copy(self)
        other._may_skip = False
        return other

    def _in_single(self, density: Density) -> SufficientStatistics | None:
        """Return the statistics by float32 arithmetic; None where that is not good enough."""
        centre = density.mean.mean(axis=0).astype(np.float32)
        rounded: Any = type(density)(*(np.empty(array.shape, np.float32) for array in density))  # type: ignore[arg-type]
        highest, amplified = round_density(density, centre, rounded)
        if not amplified <= _MOST_AMPLIFIED:
            return None
        total = self.total() if self._family.uses_total else None
        options = self._options(density, kernels.SOFT, highest)
        statistics = self._sweep(rounded, rounded.mean, with_scatter=total is None, centre=centre, **options)
        if not _is_finite(statistics):
            return None
        log_evidence = statistics.log_evidence + highest * statistics.weight
        # A change of exactly 0 is that of a density that is asked for again.
        change, self._last_single = abs(log_evidence - self._last_single), log_evidence
        if 0.0 < change < _SINGLE_NOISE * abs(statistics.log_evidence):
            return None
        statistics = dataclasses.replace(statistics, log_evidence=log_evidence)
        if total is None:
            completed: SufficientStatistics | None = statistics
        else:
            completed = _complete(self._family, statistics, total, _MOST_CANCELLED_SINGLE)
        return None if completed is None else self._family.recentre(completed, density.mean)

    def _sweep(
        self, density: Density, origin: NDArray, rows: Rows | None = None, **options: Any
    ) -> SufficientStatistics:
        # What has a default is made anew where it is not named: once an iteration.
        kept: dict[str, Any] = {"accumulators": self._accumulators, "hints": self._hints, "centre": _NO_CENTRE}
        sweep = Sweep(self._family, density, origin, n_threads=self.n_threads, **kept | options)
        return (self._rows if rows is None else rows).gather(sweep, operator.add)

    def total(self) -> SufficientStatistics:
        """Return the statistics of all rows as one component of the family, about their mean; computed once."""
        if self._total is None:
            total, exponent = self._share, self._exponent
            self._total = total if exponent == 0 else math.ldexp(1.0, exponent) * total
        return self._total

    def covariance(self) -> Array:
        """Return the covariance of all rows, in the family's shape for one component; computed once.

        However small the weights are, no square underflows by them.
        """
        return self._family.covariances(self._share)

    @property
    def _exponent(self) -> int:
        """The power of two that weights are divided by for :attr:`_share`."""
        # Its inverse is a number, too.
        return max(self._rows.unit_exponent, -1000)

    @functools.cached_property
    def _share(self) -> SufficientStatistics:
        """The statistics of all rows as one component, about their mean, with weights near 1."""
        rows = self._rows.scaled(self._exponent)
        assert rows.summary.first is not None  # checked at the door: some row has a weight
        origin = rows.summary.first
        for _ in range(2):
            density = self._family.isotropic(origin, 0.0)
            total = self._sweep(density, origin, rows, mode=kernels.LABELLED, labels=OneComponent())
            origin = total.mean
            self._require_finite(density, total)
        return total

    def _require_finite(self, density: Density, statistics: SufficientStatistics) -> None:
        if not _is_finite(statistics):
            refuse_far_rows(density, self._rows, self.n_threads)
            raise OutOfRangeError(OVERFLOW)


def _is_finite(statistics: SufficientStatistics) -> bool:
    finite = np.isfinite(statistics.scatter)
    return math.isfinite(statistics.log_evidence) and bool(np.logical_and.reduce(finite, axis=None))


class _FarRow:
    """The task that finds the place of the first row of weight whose squared distances all overflow; or _NOWHERE."""

    def __init__(self, density: Density, n_threads: int | None) -> None:
        self._density = density
        self.n_threads = n_threads

    def __call__(self, rows: Rows) -> int:
        for places, X, weight in rows.blocks(_cut(rows.n_rows, *self._density.mean.shape, 1).rows):
            far = ~np.isfinite(Scores(self._density, ArrayRows(X), self.n_threads, evidence=True).evidence)
            if weight is not None:
                far &= weight > 0
            if far.any():
                return int(places.start + np.flatnonzero(far)[0])
        return _NOWHERE


def refuse_far_rows(density: Density, rows: Rows, n_threads: int | None) -> None:
    """Raise ValueError naming the first row of weight whose squared distances from all components overflow, if any."""
    place = rows.gather(_FarRow(density, n_threads), min)
    if place < _NOWHERE:
        raise OutOfRangeError(
            f"row {place} of X lies so far from every component that its squared distance overflows float64: scale "
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
    return dataclasses.replace(statistics, scatter=scatter)


class Scores:
    """Scores of rows under a density: labels, log evidence, responsibilities and weighted sums, as they are asked for.

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
        rows: Rows,
        n_threads: int | None = None,
        *,
        labels: bool = False,
        evidence: bool = False,
        responsibilities: bool = False,
        sums: bool = False,
    ) -> None:
        n_rows, dtype = rows.n_rows, rows.dtype
        n_components, n_features = density.mean.shape
        blocks = _cut(n_rows, n_components, n_features, 2)
        self.labels = np.empty(n_rows if labels else 0, np.int64)
        self.evidence = np.empty(n_rows if evidence else 0, dtype)
        self.responsibilities = np.empty((n_rows, n_components) if responsibilities else (0, 0), dtype)
        ones = np.ones(min(n_rows, blocks.rows) if sums else 0)
        self.weight = 0.0
        lanes = np.zeros((blocks.n_lanes, 3))
        live = LivePass(density, n_threads) if may_pay(density, n_rows) and not responsibilities else None
        for places, read, weight in rows.blocks(blocks.rows if live is None else blocks.read):
            self.weight += len(read) if weight is None else float(weight.sum())
            X = contiguous(read)
            here = slice(places.start - rows.offset, places.stop - rows.offset)
            if live is not None and live.pays(X):
                lanes[0] += self._found(live, X, weight, places.start, here, sums)
                continue
            for part in blocks.within(len(X)):
                there = slice(here.start + part.start, here.start + part.stop)
                n = part.stop - part.start
                kernels.score(
                    blocks.n_lanes,
                    n_threads,
                    density,
                    X[part],
                    blocks.tile,
                    ones[:n] if weight is None or not sums else kernel_array(weight[part], np.float64),
                    self.labels[there],
                    self.evidence[there],
                    self.responsibilities[there],
                    lanes,
                )
        self.sum_evidence, self.sum_peak, overflown = (lanes[0] if len(lanes) == 1 else lanes.sum(axis=0)).tolist()
        if overflown and (labels or responsibilities):
            refuse_far_rows(density, rows, n_threads)

    def _found(self, live: LivePass, X: NDArray, weight: Array | None, place: int, here: slice, sums: bool) -> Array:
        """Write what a block is found to be, and return what it adds to the sums."""
        with_evidence = sums or self.evidence.size > 0
        found = live.find(X, None, place, EVIDENCE if with_evidence else LABELS)
        if self.labels.size > 0:
            self.labels[here] = found.label
        if self.evidence.size > 0:
            self.evidence[here] = found.evidence
        added = np.array([0.0, 0.0, np.count_nonzero(np.isneginf(found.peak))])
        if sums:
            counted = slice(None) if weight is None else weight > 0.0
            w = 1.0 if weight is None else weight[counted]
            added[:2] = (w * found.evidence[counted]).sum(), (w * found.peak[counted]).sum()
        return added


@dataclass(eq=False)
class Score:
    """The task that returns one attribute of ``Scores``: "labels", "evidence" or "responsibilities" of the rows."""

    density: Density
    output: str
    n_threads: int | None = None

    def __call__(self, rows: Rows) -> NDArray:
        """Return one number or one row of numbers for each row."""
        scores: NDArray = getattr(Scores(self.density, rows, self.n_threads, **{self.output: True}), self.output)
        return scores


@dataclass(eq=False)
class Totals:
    """The task that returns the weighted sums of ``Scores``, (3,): of the evidence, of the peak, and the weight."""

    density: Density
    n_threads: int | None = None

    def __call__(self, rows: Rows) -> Array:
        """Return the sums over all rows, which may be added to those of others."""
        scores = Scores(self.density, rows, self.n_threads, sums=True)
        return np.array([scores.sum_evidence, scores.sum_peak, scores.weight])


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
    return Expectation(family, ArrayRows(X, sample_weight), n_threads)(density)
