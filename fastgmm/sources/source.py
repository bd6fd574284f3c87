"""A source: rows as one family's statistics see them."""

from __future__ import annotations

from fastgmm.passes.expectation import Expectation


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
