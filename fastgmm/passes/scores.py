"""Scores of rows under a density, as tasks that rows are given, and which rows are too far for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastgmm import kernels
from fastgmm.exceptions import OutOfRangeError
from fastgmm.kernels import Density
from fastgmm.kernels.skipping import EVIDENCE, LABELS
from fastgmm.passes.layout import cut
from fastgmm.passes.skipping import LivePass, may_pay
from fastgmm.rows import Rows, contiguous, kernel_array, scan_rows
from fastgmm.statistics import Array

# More than any row's number.
_NOWHERE = 2**63 - 1
# In place of arrays that are not asked for.
_NONE = np.empty(0)


class _FarRow:
    """The task that finds the place of the first row of weight whose squared distances all overflow; or _NOWHERE."""

    def __init__(self, density: Density, n_threads: int | None) -> None:
        self._density = density
        self.n_threads = n_threads

    def __call__(self, rows: Rows) -> int:
        for block in rows.given_blocks(cut(rows.n_rows, *self._density.mean.shape, 1).rows):
            far = ~np.isfinite(scores_of(self._density, rows.part(block), self.n_threads, evidence=True).evidence)
            if block.weight is not None:
                far &= block.weight > 0
            if far.any():
                return int(block.places.start + np.flatnonzero(far)[0])
        return _NOWHERE


def refuse_far_rows(density: Density, rows: Rows, n_threads: int | None) -> None:
    """Raise ValueError naming the first row of weight whose squared distances from all components overflow, if any."""
    place = rows.gather(_FarRow(density, n_threads), min)
    if place < _NOWHERE:
        raise OutOfRangeError(
            f"row {place} of X lies so far from every component that its squared distance overflows float64: scale "
            "the data or remove the row"
        )


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
        blocks = cut(n_rows, n_components, n_features, 2)
        self.labels = np.empty(n_rows if labels else 0, np.int64)
        self.evidence = np.empty(n_rows if evidence else 0, dtype)
        self.responsibilities = np.empty((n_rows, n_components) if responsibilities else (0, 0), dtype)
        ones = np.ones(min(n_rows, blocks.rows)) if sums else _NONE
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


def scores_of(density: Density, rows: Rows, n_threads: int | None = None, **outputs: bool) -> Scores:
    """Return the scores of rows in this process, by what scores rows of their kind; parameters as of ``Scores``."""
    scores: Scores = (rows.scores_type or Scores)(density, rows, n_threads, **outputs)
    return scores


@dataclass(eq=False)
class Score:
    """The task that returns one attribute of ``Scores``: "labels", "evidence" or "responsibilities" of the rows."""

    density: Density
    output: str
    n_threads: int | None = None

    def __call__(self, rows: Rows) -> NDArray:
        """Return one number or one row of numbers for each row."""
        scores: NDArray = getattr(scores_of(self.density, rows, self.n_threads, **{self.output: True}), self.output)
        return scores


@dataclass(eq=False)
class LogDensities:
    """The task that returns the log evidence of each row under each of several densities, (N, K)."""

    densities: list[Density]
    n_threads: int | None = None

    def __call__(self, rows: Rows) -> NDArray:
        """Return one row of numbers for each row."""
        return np.stack([Score(each, "evidence", self.n_threads)(rows) for each in self.densities], axis=1)


@dataclass(eq=False)
class Totals:
    """The task that returns the weighted sums of ``Scores``, (3,): of the evidence, of the peak, and the weight."""

    density: Density
    n_threads: int | None = None

    def __call__(self, rows: Rows) -> Array:
        """Return the sums over all rows, which may be added to those of others."""
        scores = scores_of(self.density, rows, self.n_threads, sums=True)
        return np.array([scores.sum_evidence, scores.sum_peak, scores.weight])


@dataclass(eq=False)
class OfShares:
    """The task that returns one number for each row, (N,), a function of its responsibilities.

    They are had for some rows at a time: no N x K array is held. `measure` maps (n, K) to (n,); `output` is its name.
    """

    density: Density
    measure: Callable[[NDArray], NDArray]
    output: str
    n_threads: int | None = None

    def __call__(self, rows: Rows) -> NDArray:
        """Return the numbers, in the type of the rows."""
        found = np.empty(rows.n_rows, rows.dtype)
        score = Score(self.density, "responsibilities", self.n_threads)
        for block in rows.given_blocks(scan_rows(rows.n_features + len(self.density.mean))):
            place = block.places.start
            shares = score(rows.part(block))
            found[place - rows.offset : block.places.stop - rows.offset] = self.measure(shares)
        return found


def uncertainties(shares: NDArray) -> NDArray:
    """Return the probability that a row is of no matter which but its most probable component, (n,) of (n, K).

    1 less the largest, to full relative precision.
    """
    others = shares.copy()
    np.put_along_axis(others, shares.argmax(axis=1)[:, None], 0.0, axis=1)
    total: NDArray = others.sum(axis=1)
    return total


def uncertainties_beside_noise(shares: NDArray) -> NDArray:
    """Return the ``uncertainties`` where what shares (n, K) lack of 1 is the probability that a row is noise."""
    noise = np.maximum(1.0 - shares.sum(axis=1, keepdims=True), 0.0)
    return uncertainties(np.hstack([shares, noise.astype(shares.dtype)]))


def entropy_terms(shares: NDArray) -> NDArray:
    """Return -t log t (nat) of each probability, 0 at 0."""
    terms: NDArray = -shares * np.log(np.where(shares > 0.0, shares, 1.0))
    return terms


def entropies(shares: NDArray) -> NDArray:
    """Return the entropy (nat) of each row's probabilities, (n,) of (n, K)."""
    total: NDArray = entropy_terms(shares).sum(axis=1)
    return total
