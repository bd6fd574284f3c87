"""Rows with errors of measurement, as one family's statistics see them."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from fastgmm import kernels
from fastgmm.families import Family
from fastgmm.kernels import Density
from fastgmm.passes.measured import Group, MeasuredScores, collect_all, split
from fastgmm.passes.measured_rows import MeasuredRows, packed
from fastgmm.rows import ArrayRows, Rows
from fastgmm.sources.source import Source
from fastgmm.statistics import Array, SufficientStatistics
from fastgmm.support.typing import Self
from fastgmm.validation import check_sample_covariance, require_same_columns


class MeasuredSource(Source):
    """Rows with errors for fits of one family; parameters as of ``Expectation``.

    Where responsibilities are given or all to one component, as starts do, rows are taken as exact; a pass under a
    density is one over what is measured with errors.
    """

    rows: MeasuredRows

    def __init__(self, family: Family, rows: MeasuredRows, n_threads: int | None = None, **options: Any) -> None:
        super().__init__(family, rows, n_threads, **options)
        self._groups, self._rest = split(family, rows, n_threads)

    def again(self, n_threads: int | None) -> Self:
        """Return the E-step over the same rows for another fit."""
        other = super().again(n_threads)
        other._groups = [Group(group.error, group.expectation.again(n_threads)) for group in self._groups]
        return other

    def __call__(
        self,
        density: Density,
        origin: Array | None = None,
        mode: int = kernels.SOFT,
        labels: Any = None,
        responsibilities: Any = None,
    ) -> SufficientStatistics:
        """Return the statistics of all rows about `origin` ((K, D), default: the density's means).

        Arguments as of ``Expectation.__call__``. Raises ValueError, naming the row, where a distance overflows.
        """
        if mode != kernels.SOFT:
            return super().__call__(density, origin, mode, labels, responsibilities)
        return collect_all(self.family, density, self.rows, self._groups, self._rest, origin, self.n_threads)

    collect = __call__


def with_errors(rows: Rows, sample_covariance: ArrayLike) -> MeasuredRows:
    """Return rows with the covariances of their errors, checked; TypeError for rows that are not in an array."""
    if not isinstance(rows, ArrayRows):
        raise TypeError(
            f"sample_covariance must be None where X is rows that are read or elsewhere, got {type(rows).__name__}: "
            "give the rows as an array, or as a data frame in memory."
        )
    require_same_columns(rows.names, sample_covariance)
    error = check_sample_covariance(sample_covariance, rows.n_rows, rows.n_features)
    # Errors that are all equal are one for all.
    if len(error) > 1 and (error == error[0]).all():
        error = error[:1]
    measured = MeasuredRows(rows.X, rows.sample_weight, rows.names, packed(error) if error.ndim == 3 else error)
    measured.source_type, measured.scores_type = MeasuredSource, MeasuredScores
    return measured
