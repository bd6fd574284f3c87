"""Records of many problems: rows, starts, and what becomes of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgmm.kernels.compiling import kernel

Array = NDArray[np.float64]

#: What became of a problem. The first two have parameters.
CONVERGED = 0
NOT_CONVERGED = 1
COLLAPSED = 2
TOO_FEW_ROWS = 3
NOT_FINITE = 4
OUT_OF_RANGE = 5
SINGULAR = 6


class Rows(NamedTuple):
    """The rows of P problems, one after the other.

    `X` (N, D) float64, C-contiguous; `weight` (N,) float64, or size 0 for ones; `offsets` (P + 1,) int64: problem p has
    the rows from ``offsets[p]`` to before ``offsets[p + 1]``.
    """

    X: Array
    weight: Array
    offsets: NDArray[np.int64]


class Draws(NamedTuple):
    """Random numbers that all problems share, for each of R starts: one of the first two has a size.

    `uniform` (R, K, C) in [0, 1), for k-means++ with C candidates a step. `chosen` (U, R, K) int64, numbers of rows
    among those of positive weight; problem p reads ``chosen[table[p]]``, `table` (P,) int64. With neither of them there
    are no centres. `lloyd` (1,) int64 is 1 where k-means goes on from there.
    """

    uniform: Array
    chosen: NDArray[np.int64]
    table: NDArray[np.int64]
    lloyd: NDArray[np.int64]


class Survey(NamedTuple):
    """Sums over the rows of positive weight of P problems, and the centres of starts.

    `status` (P,) int64, CONVERGED where a fit can begin; `weight` (P,), the sum of weights; `middle` (P, D), the mean;
    `spread` (P,), the largest deviation from it (1 where that is 0); `moments` (P, D, D), the
    covariance, or size 0 where it is not wanted; `centres` (P, R, K, D), ordered by their first feature.
    """

    status: NDArray[np.int64]
    weight: Array
    middle: Array
    spread: Array
    moments: Array
    centres: Array


class Start(NamedTuple):
    """Where fits start.

    With all of `weights`, `means`, `whitener` and `covariance`: there. Else from the rows nearest to `centres`
    (P, R, K, D), or by the responsibilities `table` (R, n, K) of a problem's rows, (1, 0, 0) where there is none; then
    what is given of weights, means and whiteners replaces what follows from that. Arrays of size 0 are not given; the
    others begin with an axis of problems, of length P, or 1 for all.
    """

    centres: Array
    table: Array
    weights: Array
    means: Array
    whitener: Array
    covariance: Array


class Options(NamedTuple):
    """The parameters that all fits share: `tol`, `max_iter` and `reg_covar` as single fits are.

    `smooths` says whether thin components of starts from centres are smoothed, by the code at ``smoothing``, which
    :func:`~fastgmm.kernels.many.fit.smoothing_address` returns.
    """

    tol: float
    max_iter: int
    reg_covar: float
    smooths: bool
    smoothing: int


class Fits(NamedTuple):
    """Fits of P problems, overwritten where `status` (P,) int64 is CONVERGED before and has parameters after.

    `component` (P,) int64 is the one that collapsed, or -1; `spurious` (P,) int64 one that holds so few rows that the
    bound has no limit, or -1; `n_iter` (P,) int64; `bound` and `previous_bound` (P,) as in
    :class:`fastgmm.fitting.loop.FitResult`; `mean` (P, K, D); `covariance` and `whitener` (P, ...), the family's.
    """

    status: NDArray[np.int64]
    component: NDArray[np.int64]
    spurious: NDArray[np.int64]
    n_iter: NDArray[np.int64]
    bound: Array
    previous_bound: Array
    mean: Array
    covariance: Array
    whitener: Array


@kernel
def longest_problem(offsets):
    """Return how many rows the longest problem has, at least 1; `offsets` (P + 1,)."""
    longest = 1
    for p in range(offsets.shape[0] - 1):
        longest = max(longest, offsets[p + 1] - offsets[p])
    return longest
