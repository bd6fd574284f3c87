"""Arrays that kernels of many fits write to, and how many lanes share the work."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastgmm.kernels import many

# How many problems wait for a thread at a time, at most. Results do not depend on it.
_MOST_LANES = 64
_LANE_FLOPS = 4e5


def blank_fits(status: NDArray[np.int64], shape: tuple[int, ...], family_shape: tuple[int, ...]) -> many.Fits:
    """Return fits without parameters of (K, D) = `shape`; those whose `status` is CONVERGED are to be made."""
    n_problems = len(status)
    return many.Fits(
        status,
        np.full(n_problems, -1, np.int64),
        np.full(n_problems, -1, np.int64),
        np.zeros(n_problems, np.int64),
        np.full(n_problems, np.nan),
        np.full(n_problems, np.nan),
        np.full((n_problems, *shape), np.nan),
        np.full((n_problems, *family_shape), np.nan),
        np.full((n_problems, *family_shape), np.nan),
    )


def blank_survey(status: NDArray[np.int64], n_starts: int, shape: tuple[int, ...], moments: bool) -> many.Survey:
    """Return a survey with centres for so many starts, and room for moments where they are wanted."""
    n_problems, n_features = len(status), shape[1]
    return many.Survey(
        status,
        np.empty(n_problems),
        np.full((n_problems, n_features), np.nan),
        np.empty(n_problems),
        np.empty((n_problems if moments else 0, n_features, n_features)),
        np.empty((n_problems, n_starts, *shape)),
    )


def lane_count(rows: many.Rows, n_components: int, n_features: int) -> int:
    """Return how many lanes problems are dealt out to."""
    work = len(rows.X) * n_components * (6.0 * n_features + 30.0)
    return int(max(1, min(len(rows.offsets) - 1, _MOST_LANES, 10.0 * work // _LANE_FLOPS)))
