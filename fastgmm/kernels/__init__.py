"""Compiled kernels for Gaussian mixtures: log-densities, responsibilities, sufficient statistics, the fused pass.

Depends on numpy and numba alone; other packages may import it without pulling in an estimator. Serial functions can be
called inside your own ``@njit`` and ``prange`` code; :data:`collect` and :data:`score` are the parallel drivers.
"""

from fastgmm.kernels import diag, full, spherical, student, tied  # noqa: F401  (register their bodies with the contract)
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
from fastgmm.kernels.conjugate import (
    Posterior,
    Prior,
    condition,
    divergence,
    expected_log_joint,
    set_expected_log_scale,
)
from fastgmm.kernels.contract import (
    accumulate_tile,
    distance_tile,
    inner,
    log_determinant,
    pool,
    prepare,
    project,
    regularise,
    variance,
    whiten,
    wishart,
    workspace,
)
from fastgmm.kernels.densities import Density, DiagDensity, FullDensity, SphericalDensity, TiedDensity
from fastgmm.kernels.special import digamma, log_gamma, log_multi_gamma, multi_digamma
from fastgmm.kernels.student import StudentDensity, StudentProductDensity
from fastgmm.kernels.triangular import cholesky, invert_lower, whiten_matrix, whitened_trace
from fastgmm.kernels.vector_math import vector_exp, vector_log, vector_log1p

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
    "Posterior",
    "Prior",
    "SphericalDensity",
    "StudentDensity",
    "StudentProductDensity",
    "TiedDensity",
    "accumulate_rows",
    "accumulate_tile",
    "block_rows",
    "centre",
    "cholesky",
    "collect",
    "condition",
    "digamma",
    "distance_tile",
    "divergence",
    "divide_by_pool",
    "expected_log_joint",
    "exponentiate_tile",
    "first_maximum_tile",
    "inner",
    "invert_lower",
    "lane_count",
    "log_determinant",
    "log_evidence_tile",
    "log_gamma",
    "log_multi_gamma",
    "maximise",
    "move_origin",
    "multi_digamma",
    "pack_tile",
    "peak_tile",
    "pool",
    "prepare",
    "project",
    "regularise",
    "score",
    "score_rows",
    "set_density",
    "set_expected_log_scale",
    "set_log_scale",
    "tile_rows",
    "variance",
    "vector_exp",
    "vector_log",
    "vector_log1p",
    "whiten",
    "whiten_matrix",
    "whitened_trace",
    "wishart",
    "workspace",
]
