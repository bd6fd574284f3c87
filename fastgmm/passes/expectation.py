"""The E-step: from a density and rows to sufficient statistics, in one fused pass block by block.

``Expectation`` decides which passes it takes: in which arithmetic, about which points.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
import operator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgmm import kernels
from fastgmm.exceptions import OutOfRangeError
from fastgmm.families import Family
from fastgmm.kernels import Density
from fastgmm.kernels.structures.densities import has_noise
from fastgmm.kernels.structures.factor import FactorDensity
from fastgmm.kernels.structures.student import NORMAL_OF
from fastgmm.passes.factor import FactorSweep
from fastgmm.passes.scores import refuse_far_rows
from fastgmm.passes.single import MOST_CANCELLED, Single
from fastgmm.passes.skipping import Hints, lost_mass, may_pay
from fastgmm.passes.student import StudentSweep
from fastgmm.passes.sweep import NO_CENTRE, Accumulators, OneComponent, Sweep
from fastgmm.rows import ArrayRows, Rows, kernel_array
from fastgmm.statistics import Array, SufficientStatistics
from fastgmm.support.typing import Self

OVERFLOW = "the second moments of X overflow float64: scale the data"
# The total scatter of the data may be so many times that about the means before its digits are too few.
_MOST_CANCELLED = 1e6


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

    Notes
    -----
    Large float32 problems are computed in float32 arithmetic as long as that is good enough (:mod:`~.single`),
    everything else in float64.

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
        self.family = family
        self.rows = rows
        self.n_threads = n_threads
        self.n_kept = n_kept
        self._may_skip = skips or n_kept is not None
        self._alone = alone
        self._hints = Hints()
        self._total: SufficientStatistics | None = None
        self._accumulators = Accumulators()
        self._single = Single(rows)

    def again(self, n_threads: int | None) -> Self:
        """Return the E-step over the same rows for another fit: it begins in float32 where such rows do.

        It may be called while this one is. What it costs to set up is shared, accumulators only within a thread.
        """
        other = copy.copy(self)
        other.n_threads = n_threads
        other._single = self._single.again()
        other._hints = Hints()
        return other

    @property
    def pairs(self) -> Array:
        """Pairs of a row and a component in blocks of the last pass that skipped: all, begun, finished, live.

        Known of rows in this process alone.
        """
        return self._hints.pairs

    @property
    def findings(self) -> tuple[bool, float]:
        """The findings of the passes so far on which the next ones depend: a fit that goes on is given them."""
        return self._single.findings

    @findings.setter
    def findings(self, findings: tuple[bool, float]) -> None:
        self._single.findings = findings

    @property
    def rounding(self) -> float:
        """How far the log evidence of the next pass may be from that of another machine, relative to its size."""
        return self._single.rounding

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
        if type(density) in NORMAL_OF:
            heavy: SufficientStatistics = self.rows.gather(
                StudentSweep(self.family, density, origin, self.n_threads), operator.add
            )
            self._require_finite(density, heavy)
            return heavy
        if type(density) is FactorDensity:
            factored: SufficientStatistics = self.rows.gather(
                FactorSweep(density, origin, self.n_threads), operator.add
            )
            self._require_finite(density, factored)
            return factored
        truncates = self.n_kept is not None and self.n_kept < len(origin)
        skipping = self._options(density, mode, truncates)
        is_exact = bool(skipping) and self._alone and not truncates
        if own_origin and mode == kernels.SOFT and not truncates and self._single.pays(len(origin)):
            statistics = self._in_single(density)
            if statistics is not None:
                is_lost = is_exact and lost_mass(density, statistics.mass, statistics.weight)
                return self._looking_at_all()(density) if is_lost else statistics
            self._single.give_up()
        assignment = {"mode": mode, "labels": labels, "responsibilities": responsibilities, **skipping}
        total = self.total() if self._completes(density) and mode == kernels.SOFT else None
        statistics = self._sweep(density, origin, with_scatter=total is None, **assignment)
        if total is not None:
            completed = _complete(self.family, statistics, total)
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

    def _completes(self, density: Density) -> bool:
        """Return whether scatters follow from that of all rows: components have one, and none of it is of noise."""
        return self.family.uses_total and not has_noise(density)

    def _options(self, density: Density, mode: int, truncates: bool, highest: float = 0.0) -> dict[str, Any]:
        """Return the plan of a sweep that passes over components that are not live.

        `truncates` is whether some are left out of a row that may be live.
        """
        if mode != kernels.SOFT or not self._may_skip:
            return {}
        if not (truncates or may_pay(density, self.rows.n_rows)):
            return {}
        return {"exact": density, "highest": highest, "n_kept": self.n_kept}

    def _looking_at_all(self) -> Self:
        """Return the E-step that passes nothing over."""
        other = copy.copy(self)
        other._may_skip = False
        return other

    def _in_single(self, density: Density) -> SufficientStatistics | None:
        """Return the statistics by float32 arithmetic; None where that is not good enough."""
        rounded = self._single.rounded(density)
        if rounded is None:
            return None
        total = self.total() if self._completes(density) else None
        options = self._options(density, kernels.SOFT, False, rounded.highest)
        options |= {"with_scatter": total is None, "centre": rounded.centre}
        statistics = self._sweep(rounded.density, rounded.density.mean, **options)
        completed = self._single.judged(statistics, rounded) if _is_finite(statistics) else None
        if completed is not None and total is not None:
            completed = _complete(self.family, completed, total, MOST_CANCELLED)
        return None if completed is None else self.family.recentre(completed, density.mean)

    def _sweep(
        self, density: Density, origin: NDArray, rows: Rows | None = None, **options: Any
    ) -> SufficientStatistics:
        # What has a default is made anew where it is not named: once an iteration.
        kept: dict[str, Any] = {"accumulators": self._accumulators, "hints": self._hints, "centre": NO_CENTRE}
        sweep = Sweep(self.family, density, origin, n_threads=self.n_threads, **kept | options)
        return (self.rows if rows is None else rows).gather(sweep, operator.add)

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
        return self.family.covariances(self._share)

    @property
    def _exponent(self) -> int:
        """The power of two that weights are divided by for :attr:`_share`."""
        # Its inverse is a number, too.
        return max(self.rows.unit_exponent, -1000)

    @functools.cached_property
    def _share(self) -> SufficientStatistics:
        """The statistics of all rows as one component, about their mean, with weights near 1."""
        rows = self.rows.scaled(self._exponent)
        assert rows.summary.first is not None  # checked at the door: some row has a weight
        origin = rows.summary.first
        for _ in range(2):
            density = self.family.isotropic(origin, 0.0)
            total = self._sweep(density, origin, rows, mode=kernels.LABELLED, labels=OneComponent())
            origin = total.mean
            self._require_finite(density, total)
        return total

    def _require_finite(self, density: Density, statistics: SufficientStatistics) -> None:
        if not _is_finite(statistics):
            refuse_far_rows(density, self.rows, self.n_threads)
            raise OutOfRangeError(OVERFLOW)


def _is_finite(statistics: SufficientStatistics) -> bool:
    finite = np.isfinite(statistics.scatter)
    return math.isfinite(statistics.log_evidence) and bool(np.logical_and.reduce(finite, axis=None))


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
