"""Rows with missing entries, which fits integrate out: in memory, in one process, or wherever rows are."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgmm import kernels
from fastgmm.families import Family
from fastgmm.kernels import Density
from fastgmm.kernels.structures import contract
from fastgmm.passes.incomplete import GapSweep, IncompleteScores, SortedBlock, sort_rows, sorted_rows
from fastgmm.rows import GAPS, ArrayRows, Block, Rows, kernel_array
from fastgmm.sources.completing import Gaps, Law, drawn, find_gaps, one_law
from fastgmm.sources.source import Source
from fastgmm.statistics import Array, SufficientStatistics

# So much less of a component's rows than of all may be observed in a column.
_LESS = 0.5


class GappedRows(Rows):
    """Rows some of whose entries are missing, NaN; all else is finite.

    Only what knows of missing entries reads them: ``blocks`` and ``take`` are refused.
    """

    scores_type: Any = IncompleteScores
    #: Threads of what is made of the rows on the way; results are the same for any.
    n_threads: int | None = None
    #: The logarithms of the lengths (D,) of the box that noise is in; empty without noise.
    log_lengths: Array = np.empty(0)

    _made: dict[str, Any]

    @property
    def gapped(self) -> tuple[Any, ...]:
        """These rows."""
        return (self,)

    @property
    def completed(self) -> Rows:
        """The rows as fits start from them."""
        raise NotImplementedError

    def gaps(self) -> Gaps:
        """Return the finding of one look at what is missing, which is kept."""
        if "gaps" not in self._made:
            self._made["gaps"] = self.gather(find_gaps, operator.add)
        found: Gaps = self._made["gaps"]
        return found

    def law(self) -> Law:
        """Return one normal law of the rows, fitted once."""
        if "law" not in self._made:
            self._made["law"] = one_law(self, self.gaps(), self.n_threads)
        found: Law = self._made["law"]
        return found

    @property
    def least_observed(self) -> float:  # type: ignore[override]
        """A share of each column that is observed, at least, of most components, too."""
        gaps = self.gaps()
        return max(_LESS * gaps.least, 1.0 / self.n_rows) if gaps.are_some else 1.0

    def require_columns(self) -> None:
        """Raise ValueError, naming it, where a column has no observed entry in a row of positive weight."""
        empty = np.flatnonzero(self.gaps().held == 0)
        if len(empty):
            place = int(empty[0])
            name = "" if self.names is None else f", {str(self.names[place])!r}"
            raise ValueError(f"column {place}{name} of X has no observed entry: leave it out.")

    def part(self, block: Block) -> Rows:
        """Return the rows of a block, with their gaps."""
        return gapped_part(block, self.log_lengths)

    def blocks(self, n_rows: int) -> Iterator[Block]:
        """Raise ValueError."""
        raise ValueError(GAPS)

    def take(self, drawn: NDArray[np.int64] | None) -> tuple[Array, Array]:
        """Raise ValueError."""
        self.blocks(1)
        raise AssertionError


def gapped_part(block: Block, log_lengths: Array) -> IncompleteRows:
    """Return the rows of a block, with their gaps, where noise is in a box of such lengths."""
    rows = IncompleteRows(block.X, offset=block.places.start)
    rows.log_lengths = log_lengths
    return rows


class IncompleteRows(GappedRows, ArrayRows):
    """The rows of an array in memory, NaN for what is missing."""

    def __init__(
        self,
        X: NDArray,
        sample_weight: Array | None = None,
        names: NDArray | None = None,
        offset: int = 0,
        n_weighted_before: int = 0,
    ) -> None:
        ArrayRows.__init__(self, X, sample_weight, names, offset, n_weighted_before)
        self.source_type = IncompleteSource
        self._made = {}

    def sorted_blocks(self) -> Iterator[SortedBlock]:
        """Yield the rows by which of their entries are observed; sorted once."""
        step = sorted_rows(self.n_features)
        starts = range(0, self.n_rows, step)
        if "sorted" not in self._made:
            self._made["sorted"] = [sort_rows(self.X[start : start + step]) for start in starts]
        weight = self.sample_weight
        for start, found in zip(starts, self._made["sorted"], strict=True):
            here = slice(start, min(start + step, self.n_rows))
            patterns = found.patterns._replace(log_lengths=self.log_lengths)
            yield SortedBlock(
                slice(self.offset + here.start, self.offset + here.stop),
                found._replace(patterns=patterns),
                None if weight is None else weight[here],
            )

    @property
    def completed(self) -> CompletedRows:
        """The rows as fits start from them."""
        return CompletedRows(self)

    def drawn(self) -> NDArray:
        """Return the rows (N, D) with what is missing drawn under their law; always the same numbers, drawn once."""
        if "drawn" not in self._made:
            law, several = self.law(), []
            for places, found, _ in self.sorted_blocks():
                X = self.X[places.start - self.offset : places.stop - self.offset]
                several.append(drawn(law, X, found, places.start, self.n_threads))
            self._made["drawn"] = several[0] if len(several) == 1 else np.concatenate(several)
        rows: NDArray = self._made["drawn"]
        return rows

    def given_blocks(self, n_rows: int) -> Iterator[Block]:
        """Yield all rows in order, with their gaps."""
        return ArrayRows.blocks(self, n_rows)


class CompletedRows(ArrayRows):
    """Incomplete rows in memory as starts take them: what is missing is drawn when the first of them is asked for."""

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

    def __init__(self, family: Family, rows: GappedRows, n_threads: int | None = None, **options: Any) -> None:
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
        sweep = GapSweep(self.family, density, about, self.n_threads)
        statistics: SufficientStatistics = self._incomplete.gather(sweep, operator.add)
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


def rows_of(X: NDArray, sample_weight: Array | None = None, names: NDArray | None = None) -> ArrayRows:
    """Return rows of checked numbers (N, D) and, where some are NaN, of what is observed of them."""
    is_complete = X.dtype.kind != "f" or not np.isnan(X).any()
    return (ArrayRows if is_complete else IncompleteRows)(X, sample_weight, names)
