"""Densities: all that a kernel needs to score rows, one NamedTuple of arrays for each covariance family.

EM and variational Bayes fill the same record with different numbers. What a kernel computes from it is

    log joint(x, k) = log_scale[k] - 1/2 * || whitener[k] (x - mean[k]) ||^2

`log_scale` is (K,), or (K + 1,): its last number is then the log joint of noise, a density that is the same everywhere.
It has a share in every row, and neither a mean nor moments.

The classes differ only in the shape of `whitener`; the class is what compiled code is specialised by.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class FullDensity(NamedTuple):
    """A covariance matrix per component: `whitener` (K, D, D), lower triangular, the inverse Cholesky factor."""

    log_scale: Array
    mean: Array
    whitener: Array


class TiedDensity(NamedTuple):
    """One covariance matrix for all components: `whitener` (D, D), lower triangular."""

    log_scale: Array
    mean: Array
    whitener: Array


class DiagDensity(NamedTuple):
    """A variance per component and feature: `whitener` (K, D), the inverse standard deviations."""

    log_scale: Array
    mean: Array
    whitener: Array


class SphericalDensity(NamedTuple):
    """A variance per component: `whitener` (K,), the inverse standard deviations."""

    log_scale: Array
    mean: Array
    whitener: Array


Density = FullDensity | TiedDensity | DiagDensity | SphericalDensity
DENSITIES = FullDensity, TiedDensity, DiagDensity, SphericalDensity


def has_noise(density: Density) -> bool:
    """Return whether a density has noise beside its components."""
    return len(density.log_scale) > len(density.mean)
