"""Densities from the parameters of a mixture, made inside compiled code or from Python."""

from __future__ import annotations

import numpy as np

from fastgmm.kernels.compiling import kernel
from fastgmm.kernels.structures.densities import DiagDensity, FullDensity, SphericalDensity, TiedDensity
from fastgmm.kernels.updates.likelihood import set_density


@kernel
def _fill(density, weights, means, covariances):
    for k in range(means.shape[0]):
        for d in range(means.shape[1]):
            density.mean[k, d] = means[k, d]
    _, block = set_density(density, weights, covariances)
    return block


@kernel
def full_density(weights, means, covariances):
    """Return (density, -1), or (unfinished density, k) for the first k whose covariance is not positive definite.

    `weights` (K,), not negative, need not sum to 1: with ones the log joint of a component is its own log density, and
    a component of weight 0 has log joint -inf. `means` (K, D) and `covariances` (K, D, D), of which the lower triangle
    is read, may have any layout, and are copied. Allocates the density; thread-safe.
    """
    n_components, n_features = means.shape
    density = FullDensity(
        np.empty(n_components),
        np.empty((n_components, n_features)),
        np.empty((n_components, n_features, n_features)),
    )
    return density, _fill(density, weights, means, covariances)


@kernel
def tied_density(weights, means, covariances):
    """Return (density, -1), or (unfinished density, 0) where the covariance is not positive definite.

    As :func:`full_density`, of `weights` (K,) and `means` (K, D), but `covariances` (D, D) is one matrix for all.
    """
    n_components, n_features = means.shape
    density = TiedDensity(
        np.empty(n_components), np.empty((n_components, n_features)), np.empty((n_features, n_features))
    )
    return density, _fill(density, weights, means, covariances)


@kernel
def diag_density(weights, means, covariances):
    """Return (density, -1), or (unfinished density, k) for the first k with a variance that is not positive.

    As :func:`full_density`, of `weights` (K,) and `means` (K, D), but `covariances` (K, D) holds variances.
    """
    n_components, n_features = means.shape
    density = DiagDensity(
        np.empty(n_components), np.empty((n_components, n_features)), np.empty((n_components, n_features))
    )
    return density, _fill(density, weights, means, covariances)


@kernel
def spherical_density(weights, means, covariances):
    """Return (density, -1), or (unfinished density, k) for the first k whose variance is not positive.

    As :func:`full_density`, of `weights` (K,) and `means` (K, D), but `covariances` (K,) holds variances.
    """
    n_components, n_features = means.shape
    density = SphericalDensity(np.empty(n_components), np.empty((n_components, n_features)), np.empty(n_components))
    return density, _fill(density, weights, means, covariances)
