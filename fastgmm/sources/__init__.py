"""Where rows come from. A source is anything with ``collect(density, ...) -> SufficientStatistics``."""

from fastgmm.sources.memory import MemorySource

__all__ = ["MemorySource"]
