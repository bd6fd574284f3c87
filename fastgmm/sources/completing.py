"""One normal law of rows with missing entries, and completed rows by it, which fits start from.

A start (k-means, agglomeration, ...) and the look for repeated values want rows of numbers. They are given the rows
with what is missing drawn from its law given what is observed, under one normal law that was fitted to the rows with
their gaps: values without a spread of their own, means of columns or regressions, would look like a component. What is
drawn depends on the place of a row alone, so that it is the same wherever the rows are.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgmm.exceptions import OutOfRangeError
from fastgmm.families import STRUCTURES, Family
from fastgmm.kernels import Density
from fastgmm.passes.expectation import OVERFLOW
from fastgmm.passes.incomplete import GapSweep, Sorted, missing_values, sorted_blocks, with_values
from fastgmm.rows import Rows, scan_rows
from fastgmm.statistics import Array

# Iterations for one normal law, the rise of the log-density of a row that ends them, and a share of each variance that
# keeps it from collapsing.
_FEWEST_ITERATIONS, _MOST_ITERATIONS = 3, 50
_RISE = 1e-5
_RIDGE = 1e-6
# Floating-point operations of all of them: where few iterations have more, columns are taken for independent.
_MOST_WORK = 1e10
# More than any row's number.
_NOWHERE = 2**62
# The least probability of a normal number that is drawn.
_LEAST = 2.0**-54


class Law(NamedTuple):
    """One normal law of all rows: mean (D,), covariance (D, D), and the density that conditions on what is observed."""

    family: Family
    mean: Array
    covariance: Array
    density: Density


@dataclass(frozen=True, eq=False)
class Gaps:
    """The finding of one look at entries that may be missing; ``+`` puts parts together.

    Of each column, (D,): how many entries are `observed`, how many of them in rows of positive weight (`held`), and the
    place of the `first` of all and its `value`. `work` is what a pass for one law takes beside that of complete rows.
    """

    n_rows: int
    observed: NDArray[np.int64]
    held: NDArray[np.int64]
    first: NDArray[np.int64]
    value: Array
    work: float

    def __add__(self, other: Gaps) -> Gaps:
        """Return the finding for both sets of rows."""
        return Gaps(
            self.n_rows + other.n_rows,
            self.observed + other.observed,
            self.held + other.held,
            np.minimum(self.first, other.first),
            np.where(self.first <= other.first, self.value, other.value),
            self.work + other.work,
        )

    @property
    def are_some(self) -> bool:
        """Whether any entry is missing."""
        return bool((self.observed < self.n_rows).any())

    @property
    def least(self) -> float:
        """The share of the column with the fewest that is observed."""
        return float(self.observed.min()) / self.n_rows


def find_gaps(rows: Rows) -> Gaps:
    """Return the finding of one look at rows in this process: a task."""
    n_features = rows.n_features
    none = np.zeros(n_features, np.int64)
    total = Gaps(0, none, none, np.full(n_features, _NOWHERE), np.zeros(n_features), 0.0)
    for places, found, weight in sorted_blocks(rows):
        total = total + _gaps_of(found, weight, places.start)
    return total


def _gaps_of(found: Sorted, weight: Array | None, place: int) -> Gaps:
    order, patterns = found
    n_patterns, n_features = patterns.columns.shape
    counts, begins = np.diff(patterns.first_row), patterns.first_row[:-1]
    positive = counts
    if weight is not None:
        positive = np.add.reduceat((weight[order] > 0.0).astype(np.int64), begins)
    # The place of each column among those of a pattern: it is observed where that is less than their number.
    rank = np.empty((n_patterns, n_features), np.int64)
    np.put_along_axis(rank, patterns.columns, np.arange(n_features)[None], axis=1)
    observed = rank < patterns.n_observed[:, None]
    # Rows of one pattern are in order.
    firsts = np.where(observed, place + order[begins][:, None], _NOWHERE)
    pattern = firsts.argmin(axis=0)
    columns = np.arange(n_features)
    first = firsts[pattern, columns]
    at = np.where(first < _NOWHERE, patterns.first_value[pattern] + rank[pattern, columns], 0)
    value = patterns.values[at].astype(np.float64) if len(patterns.values) else np.zeros(n_features)
    n_observed = patterns.n_observed.astype(np.float64)
    work = float(((n_features - n_observed) * n_observed).sum() * n_features)
    return Gaps(len(order), counts @ observed, positive @ observed, first, value, work)


def one_law(rows: Any, gaps: Gaps, n_threads: int | None) -> Law:
    """Return one normal law of incomplete rows, by a short fit; of very many columns, as if they were independent."""
    n_features = rows.n_features
    n_iterations = int(_MOST_WORK / (gaps.work + rows.n_rows * n_features**2))
    family = STRUCTURES["full" if n_iterations >= _FEWEST_ITERATIONS else "diag"]
    rows = rows.scaled(max(rows.unit_exponent, -1000))
    with np.errstate(over="ignore", invalid="ignore"):
        mean, variance = _of_columns(rows, gaps)
    flat = variance == 0.0
    ridge = _RIDGE * np.diag(np.where(flat, 1.0, variance))
    covariance = np.diag(variance)
    law, best = None, -np.inf
    for _ in range(min(n_iterations, _MOST_ITERATIONS) if family.has_matrices else _FEWEST_ITERATIONS):
        density, failed = family.density(np.ones(1), mean[None].copy(), family.projected(covariance[None] + ridge))
        if failed >= 0:
            break
        law = Law(family, mean, covariance, density)
        statistics = rows.gather(GapSweep(family, density, density.mean, n_threads), operator.add)
        bound = statistics.log_evidence / statistics.weight
        if not bound > best + _RISE:
            break
        best = bound
        mean = statistics.mean[0]
        covariance = family.matrices(family.covariances(statistics), 1, n_features)[0]
        # What is missing of a column without a spread has none either.
        covariance[flat], covariance[:, flat] = 0.0, 0.0
    if law is None:
        raise OutOfRangeError(OVERFLOW)
    return law


class _ColumnSums:
    """The task that sums weights, and times values and squares about points (D,), of what is observed: (3, D)."""

    def __init__(self, about: Array) -> None:
        self._about = about

    def __call__(self, rows: Rows) -> Array:
        sums = np.zeros((3, rows.n_features))
        for _, X, weight in rows.given_blocks(scan_rows(rows.n_features)):
            gap = np.array(X, np.float64, order="C") - self._about
            observed = ~np.isnan(gap)
            share = observed * (1.0 if weight is None else weight[:, None])
            gap[~observed] = 0.0
            sums[0] += share.sum(axis=0)
            sums[1] += (share * gap).sum(axis=0)
            sums[2] += (share * gap * gap).sum(axis=0)
        return sums


def _of_columns(rows: Rows, gaps: Gaps) -> tuple[Array, Array]:
    """Return the means (D,) and variances (D,) of what is observed in the columns."""
    about = gaps.value
    # Twice, so that data far from the origin lose nothing.
    for _ in range(2):
        mass, first, second = rows.gather(_ColumnSums(about), operator.add)
        mean = about + first / mass
        variance = second / mass - (first / mass) ** 2
        about = mean
    return mean, variance


def drawn(law: Law, X: NDArray, found: Sorted, place: int, n_threads: int | None) -> NDArray:
    """Return rows (n, D), sorted as they are `found`, with what is missing drawn from its law given what is observed.

    The first one is row `place` of all, on which the random numbers depend.
    """
    from scipy.special import ndtri  # its import takes longer than most fits

    n_rows, n_features = X.shape
    order = found.order
    if len(found.patterns.values) == X.size:
        return with_values(X, order, np.empty(0))
    flat = np.diag(law.covariance) == 0.0
    bits = np.random.PCG64(0).advance(place * n_features)
    uniform = np.random.Generator(bits).random(X.shape)[order]
    missing = np.isnan(X[order])
    noise = ndtri(np.maximum(uniform[missing], _LEAST))
    noise[flat[np.nonzero(missing)[1]]] = 0.0
    return with_values(X, order, missing_values(law.density, found, np.ones((n_rows, 1)), noise, n_threads))
