"""Where rows come from. A source is anything with ``collect(density, ...) -> SufficientStatistics``."""

from fastgmm.sources.opening import open_rows
from fastgmm.sources.source import Source
from fastgmm.sources.streams import BatchRows

__all__ = ["BatchRows", "Source", "open_rows"]
