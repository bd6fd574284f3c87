"""Compiled kernels for Gaussian mixtures: log-densities, responsibilities, sufficient statistics, the fused pass.

Depends on numpy and numba alone; other packages may import it without pulling in an estimator. Serial functions can be
called inside your own ``@njit`` and ``prange`` code; :data:`collect` and :data:`score` are the parallel drivers.

``__all__`` is the public list, described in docs/kernels.md and versioned by :data:`API_VERSION`. What else the modules
below hold (functions of tiles, the contract of families, compilation) is theirs, and may change at any time.

Unless a docstring says otherwise, arrays are float64 and C-contiguous, written arrays belong to one thread at a time,
and nothing is checked: as everywhere in compiled code, an array of a wrong shape is read and written out of bounds.
"""

from fastgmm.kernels.algebra.special import digamma, log_gamma, log_gamma_ratio, log_multi_gamma_ratio, multi_digamma
from fastgmm.kernels.algebra.triangular import cholesky, invert_lower, whiten_matrix, whitened_trace
from fastgmm.kernels.clustering.assign import assign_rows
from fastgmm.kernels.clustering.plus_plus import kmeans_plus_plus
from fastgmm.kernels.compiling import SOURCE_HASH
from fastgmm.kernels.passes.collect import GIVEN, HARD, LABELLED, SOFT, accumulate_rows, collect
from fastgmm.kernels.passes.layout import block_rows, lane_count, tile_rows
from fastgmm.kernels.passes.rows import (
    distance_rows,
    evidence_rows,
    label_rows,
    log_joint_rows,
    normalise,
    responsibility_rows,
)
from fastgmm.kernels.passes.score import score, score_rows
from fastgmm.kernels.structures import diag, full, spherical, tied  # noqa: F401  (register their bodies with the contract)
from fastgmm.kernels.structures.densities import Density, DiagDensity, FullDensity, SphericalDensity, TiedDensity
from fastgmm.kernels.structures.student import DiagStudent, FullStudent, SphericalStudent, Student, TiedStudent
from fastgmm.kernels.updates.construct import diag_density, full_density, spherical_density, tied_density
from fastgmm.kernels.updates.likelihood import maximise, set_density, set_log_scale
from fastgmm.kernels.updates.moments import COLLAPSED, LOST_DIGITS, OK, centre, divide_by_pool, move_origin
from fastgmm.kernels.updates.predictive import set_predictive
from fastgmm.kernels.updates.variational import (
    Posterior,
    Prior,
    condition,
    divergence,
    expected_log_joint,
    log_determinant_of_blocks,
    set_expected_log_scale,
)
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
