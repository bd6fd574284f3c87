"""Densities for passes in float32 arithmetic."""

from __future__ import annotations

import numpy as np

from fastgmm.kernels.compiling import kernel
from fastgmm.kernels.structures import contract

# Its inverse squared, a variance, is still far from the smallest float32 number.
_SINGLE_WHITENER = 1e15


@kernel
def round_density(density, centre, rounded):
    """Overwrite `rounded`, a float32 record of the same class, with `density` relative to `centre` (D,) float32.

    Means have the centre subtracted, log scales their highest. Returns that log scale and the amplification of
    rounding errors (:func:`contract.amplification`): infinity where the squares of scales so small leave float32.
    """
    highest = -np.inf
    for scale in density.log_scale:
        highest = max(highest, scale)
    grown = contract.amplification(density, centre)
    for k in range(density.log_scale.shape[0]):
        rounded.log_scale[k] = density.log_scale[k] - highest
    for k in range(density.mean.shape[0]):
        for d in range(density.mean.shape[1]):
            rounded.mean[k, d] = density.mean[k, d] - centre[d]
    source = density.whitener.ravel()
    target = rounded.whitener.reshape(source.size)
    largest = 0.0
    for i in range(source.size):
        target[i] = source[i]
        largest = max(largest, abs(source[i]))
    return highest, grown if largest < _SINGLE_WHITENER else np.inf
