"""How rows are shared out: blocks of rows into lanes, lanes into tiles; by the size of the problem alone."""

from __future__ import annotations

from fastgmm.kernels.compiling import kernel, vector_code

#: Tiles of float64 are an odd multiple of so many rows, those of float32 of twice as many: vector/tiles.py says why.
TILE_STEP = 48
MOST_STEPS = 15  #: in a tile of float64 numbers
# Bytes of tile buffers: more than a long tile should hold (L1), more than a short one may (L2, beside the constants).
_NEAR_BYTES = 48 * 1024
_TILE_BYTES = 480 * 1024
# A block of rows should take no longer than a second or so on one slow core, so that Ctrl-C is heard.
_BLOCK_FLOPS = 3e10
# Work below which a lane costs more to hand out than to run, and below which setting it up costs over 3 %.
_LANE_FLOPS = 4e5, 2e6
_MOST_LANES = 128
_LANE_BYTES = 24 * 2**20
_FEWEST_LANES = 4
# Rows below which a lane's accumulators cost over 3 % of its work to clear and fold, at least and at most.
_LANE_ROWS = 512, 2048
# A block of rows that has to be converted (another layout or type) is copied: 16 MB at a time.
_BLOCK_FLOATS = 2**21


def tile_rows(n_components: int, n_features: int, n_bytes: int = 8) -> int:
    """Return how many rows a tile of numbers of `n_bytes` holds: what keeps its buffers in cache.

    Twice as many in float32 as in float64. Sums over a tile have a fixed price, so few columns make long tiles.
    """
    steps = _NEAR_BYTES // (8 * (n_features + n_components) * TILE_STEP)
    steps = min(max(steps, 5), MOST_STEPS) - 1 | 1
    if (n_features + 2 * n_components) * 8 * steps * TILE_STEP > _TILE_BYTES:
        steps = 3
    return steps * TILE_STEP * 8 // n_bytes


# A plain function to Python, which would wait for its compilation; compiled code can call it as well.
vector_code(tile_rows)(tile_rows)


def block_rows(n_components: int, n_features: int, tile: int) -> int:
    """Return how many rows one call of a driver takes; a multiple of the tile."""
    row_flops = 2.0 * n_components * n_features * (n_features + 4.0) + 40.0 * n_components
    rows = min(_BLOCK_FLOPS / row_flops, _BLOCK_FLOATS / n_features)
    return max(int(rows) // tile, 8) * tile


def lane_count(n_rows: int, n_components: int, n_features: int, tile: int, lane_floats: int) -> int:
    """Return the number of lanes for a block of `n_rows`, whose accumulators hold `lane_floats` numbers a lane."""
    n_tiles = -(-n_rows // tile)
    work = float(n_rows) * n_components * (6.0 * n_features + 30.0)
    by_memory = _LANE_BYTES // (8 * max(lane_floats, 1))
    rows = min(max(6000.0 * lane_floats / (3.0 * lane_floats + 40.0 * n_components), _LANE_ROWS[0]), _LANE_ROWS[1])
    few = min(work // _LANE_FLOPS[0], _FEWEST_LANES)
    many = min(work // _LANE_FLOPS[1], n_rows // rows, by_memory, _MOST_LANES)
    return int(max(1, min(n_tiles, max(few, many))))


@kernel
def lane_rows(lane, n_lanes, tile, n_rows):
    """Return the first row of a lane and the row after its last: whole tiles, shared out evenly."""
    n_tiles = (n_rows + tile - 1) // tile
    return n_tiles * lane // n_lanes * tile, min(n_tiles * (lane + 1) // n_lanes * tile, n_rows)


@kernel
def fitting_tile(n_components, n_features, n_rows):
    """Return how many rows a tile holds for a call with `n_rows` rows: no larger a buffer than they fill."""
    return max(min(tile_rows(n_components, n_features), n_rows), 1)
