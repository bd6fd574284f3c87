"""Compiled kernels for Gaussian mixtures: log-densities, responsibilities, sufficient statistics, the fused pass.

Depends on numpy and numba alone; other packages may import it without pulling in an estimator. Serial functions can be
called inside your own ``@njit`` and ``prange`` code; :data:`collect` and :data:`score` are the parallel drivers.

``__all__`` is the public list, described in docs/kernels.md and versioned by :data:`API_VERSION`. What else the modules
below hold (functions of tiles, the contract of families, compilation) is theirs, and may change at any time.

Unless a docstring says otherwise, arrays are float64 and C-contiguous, written arrays belong to one thread at a time,
and nothing is checked: as everywhere in compiled code, an array of a wrong shape is read and written out of bounds.
"""

from fastgmm.kernels import diag, full, spherical, tied  # noqa: F401  (register their bodies with the contract)
from fastgmm.kernels.blocks import (
    GIVEN,
    HARD,
    LABELLED,
    SOFT,
    accumulate_rows,
    block_rows,
    collect,
    lane_count,
    score,
    score_rows,
    tile_rows,
)
from fastgmm.kernels.closed_forms import (
    COLLAPSED,
    LOST_DIGITS,
    OK,
    centre,
    divide_by_pool,
    maximise,
    move_origin,
    set_density,
    set_log_scale,
)
from fastgmm.kernels.compiling import SOURCE_HASH
from fastgmm.kernels.conjugate import (
    Posterior,
    Prior,
    condition,
    divergence,
    expected_log_joint,
    log_determinant_of_blocks,
    set_expected_log_scale,
)
from fastgmm.kernels.construct import diag_density, full_density, spherical_density, tied_density
from fastgmm.kernels.densities import Density, DiagDensity, FullDensity, SphericalDensity, TiedDensity
from fastgmm.kernels.kmeans import assign_rows, kmeans_plus_plus
from fastgmm.kernels.rows import (
    distance_rows,
    evidence_rows,
    label_rows,
    log_joint_rows,
    normalise,
    responsibility_rows,
)
from fastgmm.kernels.special import digamma, log_gamma, log_gamma_ratio, log_multi_gamma_ratio, multi_digamma
from fastgmm.kernels.student import DiagStudent, FullStudent, SphericalStudent, Student, TiedStudent, set_predictive
from fastgmm.kernels.triangular import cholesky, invert_lower, whiten_matrix, whitened_trace
from fastgmm.kernels.vector.elementary import vector_exp, vector_log, vector_log1p

#: (major, minor) of the public list. Major: a function was removed, or its arguments, what it writes, or what that
#: means changed. Minor: something was added. Digits beyond the promised accuracy, speed and compiled code change
#: without either: machine code is told apart by SOURCE_HASH.
API_VERSION = (1, 0)

__all__ = [
    "API_VERSION",
    "COLLAPSED",
    "GIVEN",
    "HARD",
    "LABELLED",
    "LOST_DIGITS",
    "OK",
    "SOFT",
    "SOURCE_HASH",
    "Density",
    "DiagDensity",
    "DiagStudent",
    "FullDensity",
    "FullStudent",
    "Posterior",
    "Prior",
    "SphericalDensity",
    "SphericalStudent",
    "Student",
    "TiedDensity",
    "TiedStudent",
    "accumulate_rows",
    "assign_rows",
    "block_rows",
    "centre",
    "cholesky",
    "collect",
    "condition",
    "diag_density",
    "digamma",
    "distance_rows",
    "divergence",
    "divide_by_pool",
    "evidence_rows",
    "expected_log_joint",
    "full_density",
    "invert_lower",
    "kmeans_plus_plus",
    "label_rows",
    "lane_count",
    "log_determinant_of_blocks",
    "log_gamma",
    "log_gamma_ratio",
    "log_joint_rows",
    "log_multi_gamma_ratio",
    "maximise",
    "move_origin",
    "multi_digamma",
    "normalise",
    "responsibility_rows",
    "score",
    "score_rows",
    "set_density",
    "set_expected_log_scale",
    "set_log_scale",
    "set_predictive",
    "spherical_density",
    "tied_density",
    "tile_rows",
    "vector_exp",
    "vector_log",
    "vector_log1p",
    "whiten_matrix",
    "whitened_trace",
]
