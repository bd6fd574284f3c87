"""A source: rows as one family's statistics see them."""

from __future__ import annotations

from typing import Any

from fastgmm.families import Family
from fastgmm.passes.expectation import Expectation
from fastgmm.rows import Rows


class Source(Expectation):
    """Rows, wherever they are, for fits of one family; parameters as of ``Expectation``."""

    #: The statistics of all rows; arguments as of ``Expectation.__call__``.
    collect = Expectation.__call__

    @property
    def n_features(self) -> int:
        """The number of columns."""
        return self.rows.n_features

    @property
    def n_weighted_rows(self) -> int:
        """The number of rows of positive weight."""
        return self.rows.summary.n_weighted

    @property
    def total_weight(self) -> float:
        """The weight of all rows."""
        return self.rows.summary.total_weight

    @property
    def effective_rows(self) -> float:
        """The number of rows of equal weight that say as much as rows of these weights."""
        return self.rows.summary.effective_rows


def source_of(family: Family, rows: Rows, n_threads: int | None = None, **options: Any) -> Source:
    """Return the source of rows for a family, of the kind that they need; parameters as of ``Expectation``."""
    source: Source = (rows.source_type or Source)(family, rows, n_threads, **options)
    return source
