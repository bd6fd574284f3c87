"""Compiled kernels for Gaussian mixtures: log-densities, responsibilities, sufficient statistics, the fused pass.

Depends on numpy and numba alone; other packages may import it without pulling in an estimator. Serial functions can be
called inside your own ``@njit`` and ``prange`` code; :data:`collect` and :data:`score` are the parallel drivers.
"""

from fastgmm.kernels import diag, full, spherical, tied  # noqa: F401  (register their bodies with the contract)
from fastgmm.kernels._compile import SOURCE_HASH, Driver
from fastgmm.kernels.blocks import (
    GIVEN,
    HARD,
    LABELLED,
    SOFT,
    accumulate_rows,
    block_rows,
    collect,
    exponentiate_tile,
    first_maximum_tile,
    lane_count,
    log_evidence_tile,
    pack_tile,
    peak_tile,
    score,
    score_rows,
    tile_rows,
)
from fastgmm.kernels.closed_forms import centre, divide_by_pool, maximise, move_origin, set_density, set_log_scale
from fastgmm.kernels.contract import (
    accumulate_tile,
    distance_tile,
    log_determinant,
    pool,
    prepare,
    project,
    regularise,
    variance,
    whiten,
    workspace,
)
from fastgmm.kernels.densities import Density, DiagDensity, FullDensity, SphericalDensity, TiedDensity
from fastgmm.kernels.triangular import cholesky, invert_lower, whiten_matrix
from fastgmm.kernels.vector_math import vector_exp, vector_log

__all__ = [
    "GIVEN",
    "HARD",
    "LABELLED",
    "SOFT",
    "SOURCE_HASH",
    "Density",
    "DiagDensity",
    "Driver",
    "FullDensity",
    "SphericalDensity",
    "TiedDensity",
    "accumulate_rows",
    "accumulate_tile",
    "block_rows",
    "centre",
    "cholesky",
    "collect",
    "distance_tile",
    "divide_by_pool",
    "exponentiate_tile",
    "first_maximum_tile",
    "invert_lower",
    "lane_count",
    "log_determinant",
    "log_evidence_tile",
    "maximise",
    "move_origin",
    "pack_tile",
    "peak_tile",
    "pool",
    "prepare",
    "project",
    "regularise",
    "score",
    "score_rows",
    "set_density",
    "set_log_scale",
    "tile_rows",
    "variance",
    "vector_exp",
    "vector_log",
    "whiten",
    "whiten_matrix",
    "workspace",
]
