"""Missing entries of rows, filled in by a fitted mixture: means, covariances, and draws for multiple imputation."""

from __future__ import annotations

import copy
from abc import ABC
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgmm import validation
from fastgmm.estimators.distribution import Distribution
from fastgmm.families import regression
from fastgmm.passes.incomplete import Fill, SortedBlock, missing_values, with_values
from fastgmm.passes.scores import Score
from fastgmm.rows import ArrayRows, Rows, row_type
from fastgmm.sources.incomplete import IncompleteRows
from fastgmm.statistics import Array

# Numbers of the laws of some rows that are held at a time.
_FLOATS = 2**20


class _Laws(NamedTuple):
    """The laws of what is missing in n rows that lack the same m entries: mixtures of K normal laws.

    `places` (n,) are the rows, `rest` (m,) the missing columns, `shares` (n, K), `means` (K, n, m) and `roots`
    (K, m, m), whose products with their transposes are the covariances.
    """

    places: NDArray[np.intp]
    rest: NDArray[np.int64]
    shares: Array
    means: Array
    roots: Array

    @property
    def mean(self) -> Array:
        """The conditional means, (n, m)."""
        found: Array = np.einsum("nk,knm->nm", self.shares, self.means)
        return found

    def covariance(self) -> Array:
        """Return the conditional covariances, (n, m, m): within components, and between their means."""
        within = np.tensordot(self.shares, self.roots @ np.swapaxes(self.roots, 1, 2), 1)
        gap = self.means - self.mean
        found: Array = within + np.einsum("nk,kna,knb->nab", self.shares, gap, gap)
        return found

    def variance(self) -> Array:
        """Return the conditional variances, (n, m)."""
        within = self.shares @ np.square(self.roots).sum(axis=2)
        found: Array = within + np.einsum("nk,kna->na", self.shares, (self.means - self.mean) ** 2)
        return found


class Imputation(Distribution, ABC):
    """The part of the estimators that fills in missing entries, NaN in rows."""

    def impute(self, X: ArrayLike, *, draws: int | None = None, random_state: Any = None) -> NDArray:
        """Return the rows of X (N, D) with what is missing filled in by this mixture, (N, D).

        Parameters
        ----------
        X : (N, D) array-like of numbers, NaN for what is missing
            An array or a data frame, where None and NA are missing, too; whatever `missing` is. Without `draws` also
            files and batches, whose rows are returned in memory, and rows of Dask and Spark, which are filled in there
            when they are asked for.
        draws : int, optional
            None fills in conditional means, which are the best guesses by squared error, and have too little spread.
            With a number m, what is missing is drawn m times from its law given what is observed, for multiple
            imputation: (m, N, D).
        random_state : int, RandomState, Generator or None
            Of the draws; default the estimator's own.

        Notes
        -----
        A component is drawn, or counted, by its probability given what is observed, ``predict_proba(X)``, and then the
        normal law of that component. The parameters are taken as they are: for draws that reflect how uncertain they
        are, impute by mixtures that were fitted to samples of the rows (with replacement), one draw each. It holds
        N (K + D) numbers, and those of the draws.
        """
        n_draws = 0 if draws is None else validation.check_count(draws, "draws", 1)
        rows = self._gaps(X)
        if not isinstance(rows, ArrayRows):
            if draws is not None:
                raise ValueError(
                    f"draws are made of rows in memory, got draws={n_draws} and X as {type(X).__name__}: read some of "
                    "the rows first, or leave draws at None for conditional means."
                )
        elif not isinstance(rows, IncompleteRows):
            whole = np.array(rows.X, row_type(rows.X.dtype), order="C")
            return whole if draws is None else np.repeat(whole[None], n_draws, axis=0)
        family, whitener = self._divisible()
        density = family.density_of_whitener(self._shares(), np.asarray(self.means_, np.float64), whitener)
        if draws is None:
            filled: NDArray = rows.scored(Fill(self._density(), density, self.n_threads))
            return filled
        assert isinstance(rows, IncompleteRows)
        shares = Score(self._density(), "responsibilities", self.n_threads)(rows)
        generator = validation.check_random_state(self.random_state if random_state is None else random_state)
        edges = np.cumsum(shares, axis=1, dtype=np.float64)
        components = np.arange(len(density.mean))
        several = []
        for _ in range(n_draws):
            uniform = generator.uniform(size=rows.n_rows) * edges[:, -1]
            label = (uniform[:, None] >= edges[:, :-1]).sum(axis=1)
            parts = []
            for places, found, _ in rows.sorted_blocks():
                noise = generator.standard_normal(rows.X[places].size - len(found.patterns.values))
                own = label[places, None] == components
                values = missing_values(density, found, own, noise, self.n_threads)
                parts.append(with_values(rows.X[places], found.order, values))
            several.append(np.concatenate(parts))
        return np.stack(several)

    def imputation_covariance(self, X: ArrayLike, *, diagonal: bool = False) -> Array:
        """Return the covariance of what is missing given what is observed, of each row of X (N, D), as (N, D, D).

        0 where an entry is observed. With `diagonal` the variances alone, (N, D), for what (N, D, D) has no room.
        The covariances of the values that ``impute`` draws.
        """
        rows = self._gaps(X)
        if not isinstance(rows, ArrayRows):
            raise ValueError(f"imputation_covariance takes rows in memory, got {type(X).__name__}: read some of them.")
        n_rows, n_features = rows.X.shape
        validation.check_choice(diagonal, "diagonal", (False, True))
        found = np.zeros((n_rows, n_features) if diagonal else (n_rows, n_features, n_features))
        for laws in self._laws_of_missing(rows):
            if diagonal:
                found[laws.places[:, None], laws.rest] = laws.variance()
            else:
                found[laws.places[:, None, None], laws.rest[:, None], laws.rest] = laws.covariance()
        return found

    def _gaps(self, X: ArrayLike) -> Rows:
        """Return checked rows, which may have missing entries, whatever `missing` is."""
        self._require_fitted()
        self._require_no_noise("impute")
        reader = copy.copy(self)
        reader.missing = "marginal"
        return reader._rows(X)

    def _laws_of_missing(self, rows: ArrayRows) -> Iterator[_Laws]:
        """Yield the laws of what is missing, of some rows with the same entries missing at a time."""
        if not isinstance(rows, IncompleteRows):
            return
        gaps = np.flatnonzero(np.isnan(rows.X).any(axis=1))
        incomplete = IncompleteRows(rows.X[gaps])
        shares = Score(self._density(), "responsibilities", self.n_threads)(incomplete)
        for block in incomplete.sorted_blocks():
            yield from self._laws_of_block(block, incomplete.X, gaps, shares)

    def _laws_of_block(
        self, block: SortedBlock, X: NDArray, gaps: NDArray[np.intp], shares: NDArray
    ) -> Iterator[_Laws]:
        """Yield the laws of some of the rows of X (n, D), which are the rows `gaps` (n,) of all."""
        means = np.asarray(self.means_, np.float64)
        family, whitener = self._divisible()
        order, patterns = block.sorted.order + block.places.start, block.sorted.patterns
        for p, n_observed in enumerate(patterns.n_observed.tolist()):
            known, rest = np.split(patterns.columns[p], [n_observed])
            _, slope, own = regression(family, whitener, (len(means), means.shape[1]), known, rest)
            roots: Array = np.asarray(np.linalg.inv(own), np.float64)
            first, stop = patterns.first_row[p : p + 2].tolist()
            step = max(_FLOATS // means.size, 1)
            for start in range(first, stop, step):
                places = order[start : min(start + step, stop)]
                gap = X[places[:, None], known].astype(np.float64) - means[:, None, known]
                expected: Array = np.asarray(means[:, None, rest] + gap @ np.swapaxes(slope, 1, 2), np.float64)
                yield _Laws(gaps[places], rest, np.asarray(shares[places], np.float64), expected, roots)
