"""Where rows come from. A source is anything with ``collect(density, ...) -> SufficientStatistics``."""

from fastgmm.sources.opening import open_rows
from fastgmm.sources.source import Source

__all__ = ["Source", "open_rows"]
