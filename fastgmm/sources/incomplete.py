"""Rows in memory with missing entries, which fits integrate out; and completed ones, which fits start from.

A start (k-means, agglomeration, ...) and the look for repeated values want rows of numbers. They are given the rows
with what is missing drawn from its law given what is observed, under one normal law that was fitted to the rows with
their gaps: values without a spread of their own, means of columns or regressions, would look like a component.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgmm import kernels, validation
from fastgmm.exceptions import OutOfRangeError
from fastgmm.families import STRUCTURES, Family
from fastgmm.kernels import Density
from fastgmm.kernels.structures import contract
from fastgmm.passes.expectation import OVERFLOW
from fastgmm.passes.incomplete import (
    IncompleteScores,
    Sorted,
    collect_statistics,
    missing_values,
    sort_rows,
    with_values,
)
from fastgmm.rows import ArrayRows, Block, Rows, kernel_array, scan_rows
from fastgmm.sources.opening import is_elsewhere
from fastgmm.sources.source import Source
from fastgmm.statistics import Array, SufficientStatistics

# So much less of a component's rows than of all may be observed in a column.
_LESS = 0.5
# Iterations for one normal law, the rise of the log-density of a row that ends them, and a share of each variance that
# keeps it from collapsing.
_FEWEST_ITERATIONS, _MOST_ITERATIONS = 3, 50
_RISE = 1e-5
_RIDGE = 1e-6
# Floating-point operations of all of them: where few iterations have more, columns are taken for independent.
_MOST_WORK = 1e10


class Law(NamedTuple):
    """One normal law of all rows: mean (D,), covariance (D, D), and the density that conditions on what is observed."""

    family: Family
    mean: Array
    covariance: Array
    density: Density


class IncompleteRows(ArrayRows):
    """The rows of an array in memory, NaN for what is missing; all else is finite.

    Only what knows of missing entries reads them: ``blocks`` and ``take`` are refused.
    """

    scores_type = IncompleteScores

    def __init__(
        self, X: NDArray, sample_weight: Array | None = None, names: NDArray | None = None, offset: int = 0
    ) -> None:
        super().__init__(X, sample_weight, names, offset)
        self.source_type = IncompleteSource
        #: Threads of what is made of the rows on the way; results are the same for any.
        self.n_threads: int | None = None
        #: The logarithms of the lengths (D,) of the box that noise is in; empty without noise.
        self.log_lengths = np.empty(0)
        self._made: dict[str, Any] = {}

    @property
    def gapped(self) -> tuple[Any, ...]:
        """These rows."""
        return (self,)

    @property
    def sorted(self) -> Sorted:
        """The rows by which of their entries are observed; sorted once."""
        if "sorted" not in self._made:
            self._made["sorted"] = sort_rows(self.X)
        found: Sorted = self._made["sorted"]
        return found._replace(patterns=found.patterns._replace(log_lengths=self.log_lengths))

    @property
    def completed(self) -> CompletedRows:
        """The rows as fits start from them."""
        return CompletedRows(self)

    def law(self) -> Law:
        """Return one normal law of the rows, fitted once."""
        if "law" not in self._made:
            self._made["law"] = _one_law(self)
        found: Law = self._made["law"]
        return found

    def drawn(self) -> NDArray:
        """Return the rows (N, D) with what is missing drawn under their law; always the same numbers, drawn once."""
        if "drawn" not in self._made:
            self._made["drawn"] = _drawn(self)
        found: NDArray = self._made["drawn"]
        return found

    @property
    def least_observed(self) -> float:  # type: ignore[override]
        """A share of each column that is observed, at least, of most components, too."""
        if "least" not in self._made:
            self._made["least"] = max(_LESS * float((~np.isnan(self.X)).mean(axis=0).min()), 1.0 / self.n_rows)
        found: float = self._made["least"]
        return found

    def require_columns(self) -> None:
        """Raise ValueError, naming it, where a column has no observed entry in a row of positive weight."""
        held = self.X if self.sample_weight is None else self.X[self.sample_weight > 0.0]
        empty = np.flatnonzero(np.isnan(held).all(axis=0))
        if len(empty):
            place = int(empty[0])
            name = "" if self.names is None else f", {str(self.names[place])!r}"
            raise ValueError(f"column {place}{name} of X has no observed entry: leave it out.")

    def given_blocks(self, n_rows: int) -> Iterator[Block]:
        """Yield all rows in order, with their gaps."""
        return super().blocks(n_rows)

    def part(self, block: Block) -> Rows:
        """Return the rows of a block, with their gaps."""
        rows = IncompleteRows(block.X, offset=block.places.start)
        rows.log_lengths = self.log_lengths
        return rows

    def blocks(self, n_rows: int) -> Iterator[Block]:
        """Raise ValueError."""
        raise ValueError(
            "X has missing entries, which are not integrated out here: give complete rows, such as those of impute(X)."
        )

    def take(self, drawn: NDArray[np.int64] | None) -> tuple[Array, Array]:
        """Raise ValueError."""
        self.blocks(1)
        raise AssertionError


class CompletedRows(ArrayRows):
    """Incomplete rows as starts take them: what is missing is drawn when the first of them is asked for."""

    def __init__(self, rows: IncompleteRows) -> None:
        self.__dict__.update({name: value for name, value in vars(rows).items() if name not in ("X", "source_type")})
        self._rows = rows
        self.least_observed = rows.least_observed

    def __getattr__(self, name: str) -> Any:
        """Return the completed rows (N, D), under the name X."""
        if name != "X":
            raise AttributeError(name)
        return self._rows.drawn()

    @property
    def gapped(self) -> tuple[Any, ...]:
        """The rows that these are completed from."""
        return (self._rows,)

    def given_blocks(self, n_rows: int) -> Iterator[Block]:
        """Yield all rows in order, with their gaps."""
        return self._rows.given_blocks(n_rows)

    def part(self, block: Block) -> Rows:
        """Return the rows of a block, with their gaps."""
        return self._rows.part(block)


class IncompleteSource(Source):
    """Incomplete rows for fits of one family: passes that share rows out by a density integrate over what is missing.

    All else, starts above all, sees completed rows. Parameters as of ``Expectation``; `n_kept` is None.
    """

    def __init__(self, family: Family, rows: IncompleteRows, n_threads: int | None = None, **options: Any) -> None:
        rows.n_threads = n_threads
        super().__init__(family, rows.completed, n_threads, **options)
        self._incomplete = rows

    def __call__(
        self,
        density: Density,
        origin: Array | None = None,
        mode: int = kernels.SOFT,
        labels: Any = None,
        responsibilities: Any = None,
    ) -> SufficientStatistics:
        """Return the statistics of all rows about `origin`; arguments as of ``Expectation.__call__``."""
        if mode != kernels.SOFT:
            return super().__call__(density, origin, mode, labels, responsibilities)
        about = density.mean if origin is None else kernel_array(origin, np.float64)
        statistics = collect_statistics(self.family, density, about, self._incomplete, self.n_threads)
        self._require_finite(density, statistics)
        return statistics

    collect = __call__

    @functools.cached_property
    def _share(self) -> SufficientStatistics:
        """The statistics of all rows as one component, about their mean, with weights near 1: those of one law."""
        law = self._incomplete.law()
        weight = self._incomplete.scaled(self._exponent).summary
        mass = np.array([np.ldexp(weight.weight, weight.exponent)])
        family, n_features = self.family, len(law.mean)
        origin = law.mean[None].copy()
        pool = contract.pool(family.blank(1, n_features), mass)
        scatter = family.projected(law.covariance[None]).reshape(family.shape(1, n_features)) * pool[0]
        return SufficientStatistics(origin, mass, np.zeros((1, n_features)), scatter, 0.0, float(mass[0]))


def _one_law(rows: IncompleteRows) -> Law:
    """Return one normal law of incomplete rows, by a short fit; of very many columns, as if they were independent."""
    patterns = rows.sorted.patterns
    n_features, n_observed = rows.n_features, patterns.n_observed.astype(np.float64)
    work = float(((n_features - n_observed) * n_observed).sum() * n_features + rows.n_rows * n_features**2)
    n_iterations = int(_MOST_WORK / work)
    family = STRUCTURES["full" if n_iterations >= _FEWEST_ITERATIONS else "diag"]
    rows = rows.scaled(max(rows.unit_exponent, -1000))  # type: ignore[assignment]
    with np.errstate(over="ignore", invalid="ignore"):
        mean, variance = _of_columns(rows.X, rows.sample_weight)
    flat = variance == 0.0
    ridge = _RIDGE * np.diag(np.where(flat, 1.0, variance))
    covariance = np.diag(variance)
    law, best = None, -np.inf
    for _ in range(min(n_iterations, _MOST_ITERATIONS) if family.has_matrices else _FEWEST_ITERATIONS):
        density, failed = family.density(np.ones(1), mean[None].copy(), family.projected(covariance[None] + ridge))
        if failed >= 0:
            break
        law = Law(family, mean, covariance, density)
        statistics = collect_statistics(family, density, density.mean, rows, rows.n_threads)
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


def _of_columns(X: NDArray, weight: Array | None) -> tuple[Array, Array]:
    """Return the means (D,) and variances (D,) of what is observed in the columns."""
    n_rows, n_features = X.shape
    places = np.argmax(~np.isnan(X), axis=0)
    about = X[places, np.arange(n_features)].astype(np.float64)
    # Twice, so that data far from the origin lose nothing.
    for _ in range(2):
        mass, first, second = np.zeros(n_features), np.zeros(n_features), np.zeros(n_features)
        for start in range(0, n_rows, scan_rows(n_features)):
            here = slice(start, start + scan_rows(n_features))
            gap = np.array(X[here], np.float64, order="C") - about
            observed = ~np.isnan(gap)
            share = observed * (1.0 if weight is None else weight[here, None])
            gap[~observed] = 0.0
            mass += share.sum(axis=0)
            first += (share * gap).sum(axis=0)
            second += (share * gap * gap).sum(axis=0)
        mean = about + first / mass
        variance = second / mass - (first / mass) ** 2
        about = mean
    return mean, variance


def _drawn(rows: IncompleteRows) -> NDArray:
    """Return the rows with what is missing drawn from its law given what is observed."""
    law, (order, patterns) = rows.law(), rows.sorted
    n_missing = rows.n_rows * rows.n_features - len(patterns.values)
    noise = np.random.default_rng(0).standard_normal(n_missing)
    flat = np.diag(law.covariance) == 0.0
    if flat.any():
        # In the order of the rows that lack them.
        noise[flat[np.nonzero(np.isnan(rows.X[order]))[1]]] = 0.0
    values = missing_values(law.density, rows, np.ones((rows.n_rows, 1)), noise, rows.n_threads)
    return with_values(rows.X, order, values)


def rows_of(X: NDArray, sample_weight: Array | None = None, names: NDArray | None = None) -> ArrayRows:
    """Return rows of checked numbers (N, D) and, where some are NaN, of what is observed of them."""
    is_complete = X.dtype.kind != "f" or not np.isnan(X).any()
    return (ArrayRows if is_complete else IncompleteRows)(X, sample_weight, names)


def open_incomplete(X: Any, sample_weight: Any, missing: Any, estimator: str, minimum: int) -> ArrayRows:
    """Return checked rows in memory, complete or not, with their weights and the names of their columns.

    ValueError for rows that are elsewhere, for infinite entries, and, with a `minimum` above 1, for columns of which
    nothing is observed.
    """
    validation.check_choice(missing, "missing", ("marginal",))
    if isinstance(X, ArrayRows) and sample_weight is None:
        rows: ArrayRows = X
    elif isinstance(X, Rows) or is_elsewhere(X):
        kind = repr(os.fspath(X)) if isinstance(X, str | os.PathLike) else f"a {type(X).__name__}"
        remedy = "give X.to_pandas()" if hasattr(X, "to_pandas") else "read it into memory"
        raise ValueError(
            f"missing='marginal' takes rows in memory, an array or a data frame, and X is {kind}: {remedy}, or set "
            "missing=None for complete rows."
        )
    else:
        if isinstance(sample_weight, str):
            X, sample_weight = validation.split_weight(X, sample_weight)
        array = validation.check_rows(X, estimator, minimum=minimum, may_be_missing=True)
        weight = validation.check_sample_weight(sample_weight, len(array), may_be_zero=minimum == 0)
        rows = rows_of(array, weight, validation.feature_names(X))
    if minimum > 1:
        validation.check_n_rows((rows.n_rows, rows.n_features), minimum, estimator)
        if isinstance(rows, IncompleteRows):
            rows.require_columns()
    return rows
