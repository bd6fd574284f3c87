"""Labels and log evidence of a tile of rows."""

from __future__ import annotations

import numpy as np

from fastgmm.kernels.compiling import exact_kernel, kernel
from fastgmm.kernels.passes.layout import MOST_STEPS, TILE_STEP
from fastgmm.kernels.vector.elementary import vector_log

# Totals that are multiplied before a logarithm is taken: those of the longest tile, of float32.
_MOST_FACTORS = 2 * MOST_STEPS


@exact_kernel
def label_tile(log_scale, distance, n, peak, label):
    """Overwrite label[:n] with the component of highest log joint (the first of equals), peak[:n] with that log joint.

    log joint = log_scale - distance / 2, `log_scale` (K,), or (K + 1,) with that of noise at its end, whose label is
    -1; `distance` (K, T). Where all distances overflow or are NaN, the peak is that of noise, or without noise -inf and
    the label 0. `label` (T,) is of the type of `distance` or integer.
    """
    n_components = distance.shape[0]
    has_noise = log_scale.shape[0] > n_components
    for b in range(n):
        peak[b] = log_scale[n_components] if has_noise else -np.inf
        label[b] = -1 if has_noise else 0
    for k in range(n_components):
        for b in range(n):
            joint = log_scale[k] - distance[k, b] * 0.5
            higher = joint > peak[b]
            label[b] = k if higher else label[b]
            peak[b] = joint if higher else peak[b]


@exact_kernel
def log_evidence_tile(peak, total, n, evidence):
    """Overwrite evidence[b] with peak[b] + log(total[b]), the log-sum-exp over components."""
    for b in range(n):
        evidence[b] = peak[b] + vector_log(total[b])


@kernel
def sum_log_evidence(peak, total, n, factors):
    """Return the sum of peak[:n] + log(total[:n]), for totals in [1, 1e9]; `factors` (48,) float64 is scratch.

    One logarithm is taken of the product of every 48th total, of 30 at most, so that no product overflows.
    """
    result = 0.0
    for b in range(n):
        result += np.float64(peak[b])
    for begin in range(0, n, _MOST_FACTORS * TILE_STEP):
        for b in range(TILE_STEP):
            factors[b] = 1.0
        for first in range(begin, min(begin + _MOST_FACTORS * TILE_STEP, n), TILE_STEP):
            for b in range(min(TILE_STEP, n - first)):
                factors[b] *= np.float64(total[first + b])
        for b in range(TILE_STEP):
            result += vector_log(factors[b])
    return result
