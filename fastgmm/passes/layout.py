"""How a problem is cut: tiles, blocks of rows, lanes."""

from __future__ import annotations

import functools

from fastgmm import kernels

# Numbers, and rows, that are read at a time where rows are sorted: 32 MB of float64.
_READ_FLOATS = 2**22
_READ_ROWS = 2**18


class Blocks:
    """How a problem is cut: tiles, blocks of rows, lanes. Depends on its shape alone, never on threads or layout.

    Where rows take long, blocks are short; those of `read` rows are several, for passes that look at few components.
    """

    def __init__(self, n_rows: int, n_components: int, n_features: int, lane_floats: int, n_bytes: int = 8) -> None:
        self.tile = kernels.tile_rows(n_components, n_features, n_bytes)
        self.rows = kernels.block_rows(n_components, n_features, self.tile)
        self.n_lanes = kernels.lane_count(min(n_rows, self.rows), n_components, n_features, self.tile, lane_floats)
        self.read = max(min(_READ_FLOATS // n_features, _READ_ROWS) // self.rows, 1) * self.rows

    def within(self, n_rows: int) -> list[slice]:
        """Return the blocks of so many rows that were read."""
        return [slice(start, min(start + self.rows, n_rows)) for start in range(0, n_rows, self.rows)]


# Only numbers come in, and what comes out never changes: the last ones are kept.
cut = functools.lru_cache(maxsize=64)(Blocks)
