"""Constraints on the volumes of covariances, and on one shape of all: mclust's EVI, VEI, EVV and VEE.

A volume is the geometric mean of the variances along a covariance's axes, |Sigma|^(1/D); a shape is what is left of
them when they are divided by it. Celeux and Govaert, Gaussian parsimonious clustering models, Pattern Recognition 28
(1995).
"""

from __future__ import annotations

import math

import numpy as np

from fastgmm.kernels.algebra.matrix import log_diagonal, ratio
from fastgmm.kernels.algebra.triangular import cholesky, whiten_matrix
from fastgmm.kernels.compiling import exact_kernel
from fastgmm.kernels.updates.constraints import constraint

# Volumes have settled when they change by less than this, relative to their own size, or by little and no longer by
# less than before: rounding; or after so many rounds, where singular scatters have no common shape but in the limit.
_SETTLED, _LITTLE = 1e-14, 1e-6
_ROUNDS = 1000
# A variance is as good as 0 beside another of its component.
_NOTHING = 1e-12


@exact_kernel
def log_volumes(variances, logarithms):
    """Overwrite `logarithms` (K,) with those of the geometric means of rows of `variances` (K, D): -inf of a 0."""
    n_components, n_features = variances.shape
    for k in range(n_components):
        total = 0.0
        for d in range(n_features):
            total += math.log(variances[k, d]) if variances[k, d] > 0.0 else -np.inf
        logarithms[k] = total / n_features


@exact_kernel
def diagonals(matrices):
    """Return the diagonals (K, D) of matrices (K, D, D), newly allocated."""
    n_components, n_features, _ = matrices.shape
    found = np.empty((n_components, n_features))
    for k in range(n_components):
        for d in range(n_features):
            found[k, d] = matrices[k, d, d]
    return found


@exact_kernel
def total_mass(mass):
    """Return the sum of `mass` (K,)."""
    total = 0.0
    for k in range(mass.size):
        total += mass[k]
    return total


@exact_kernel
def largest_volume(mass, logarithms):
    """Return the largest of `logarithms` (K,) of components with mass."""
    largest = -np.inf
    for k in range(mass.size):
        if mass[k] > 0.0:
            largest = max(largest, logarithms[k])
    return largest


@exact_kernel
def share_volume(mass, logarithms, blocks):
    """Scale each row of `blocks` (K, ...) from its own volume to the mean of all by mass.

    `logarithms` (K,) are those of the volumes. What has no volume stays as it is: its component has collapsed.
    """
    largest, total = largest_volume(mass, logarithms), total_mass(mass)
    mean = 0.0
    for k in range(mass.size):
        if mass[k] > 0.0:
            mean += ratio(mass[k], total) * math.exp(logarithms[k] - largest)
    for k in range(mass.size):
        if logarithms[k] > -np.inf:
            factor = mean * math.exp(largest - logarithms[k])
            for i in range(blocks.shape[1]):
                blocks[k, i] *= factor


@exact_kernel
def volumes_of_scales(scales):
    """Return the volumes (K,) of covariances with determinants prod(scales[k])^-2; 1 for what is no volume.

    `scales` (K, D) are whiteners of variances, or the diagonals of those of matrices: before the first M-step, guesses.
    """
    volumes = np.empty(scales.shape[0])
    log_volumes(scales, volumes)
    for k in range(volumes.size):
        volumes[k] = math.exp(-2.0 * volumes[k]) if abs(volumes[k]) < 340.0 else 1.0
    return volumes


@exact_kernel
def has_settled(change, before):
    """Return whether volumes are at rest, for their largest relative change and the one before."""
    return change <= _SETTLED or (change <= _LITTLE and change >= before)


@exact_kernel
def _poorest(mass, variances):
    """Return the component with mass whose least variance is nearest to 0 beside its largest, or -1 where none is."""
    poorest, least = -1, _NOTHING
    for k in range(mass.size):
        low, high = variances[k, 0], variances[k, 0]
        for d in range(1, variances.shape[1]):
            low, high = min(low, variances[k, d]), max(high, variances[k, d])
        if mass[k] > 0.0 and ratio(low, high) < least:
            poorest, least = k, ratio(low, high)
    return poorest


@exact_kernel
def share_shape(mass, variances, volumes):
    """Overwrite `variances` (K, D) with products of volumes and one shape, those of highest likelihood.

    Begins at `volumes` (K,), and overwrites them. In turn, the best shape for the volumes, and the best volumes for the
    shape: the likelihood has one maximum, as it is convex in the logarithms of the shape. Where it has none, for too
    much of the mass is in components without spread in some direction, the poorest of these gets negative variances: it
    has collapsed.
    """
    n_components, n_features = variances.shape
    total = total_mass(mass)
    shape = np.empty(n_features)
    change = np.inf
    is_at_rest = False
    for _ in range(_ROUNDS):
        for d in range(n_features):
            mean = 0.0
            for k in range(n_components):
                if mass[k] > 0.0 and volumes[k] > 0.0:
                    mean += ratio(mass[k], total) * ratio(variances[k, d], volumes[k])
            shape[d] = mean
        before, change = change, 0.0
        for k in range(n_components):
            mean = 0.0
            for d in range(n_features):
                if shape[d] > 0.0:
                    mean += ratio(variances[k, d], shape[d])
            mean /= n_features
            if mass[k] > 0.0:
                change = max(change, ratio(abs(mean - volumes[k]), mean) if mean > 0.0 else 0.0)
            volumes[k] = mean
        is_at_rest = has_settled(change, before)
        if is_at_rest:
            break
    poorest = -1 if is_at_rest else _poorest(mass, variances)
    if poorest >= 0:
        for d in range(n_features):
            variances[poorest, d] = -1.0
        return
    for k in range(n_components):
        for d in range(n_features):
            variances[k, d] = volumes[k] * shape[d]


@exact_kernel
def _mean_shape(mass, covariance, volumes, shape):
    """Overwrite the lower triangle of `shape` (D, D) with the mean, by mass, of covariances over volumes."""
    n_components, n_features, _ = covariance.shape
    total = total_mass(mass)
    for i in range(n_features):
        for j in range(i + 1):
            mean = 0.0
            for k in range(n_components):
                if mass[k] > 0.0 and volumes[k] > 0.0:
                    mean += ratio(mass[k], total) * ratio(covariance[k, i, j], volumes[k])
            shape[i, j] = mean


@exact_kernel
def _precision(whitener, precision):
    """Overwrite the lower triangle of `precision` (D, D) with that of A^T A, for the lower triangular `whitener` A."""
    n_features = whitener.shape[0]
    for i in range(n_features):
        for j in range(i + 1):
            s = 0.0
            for m in range(i, n_features):
                s += whitener[m, i] * whitener[m, j]
            precision[i, j] = s


@exact_kernel
def _half_inner(one, other):
    """Return half the sum of products of the entries of two symmetric matrices (D, D), read from lower triangles."""
    s = 0.0
    for i in range(one.shape[0]):
        for j in range(i):
            s += one[i, j] * other[i, j]
        s += 0.5 * one[i, i] * other[i, i]
    return s


@constraint
def equal_volumes(mass, covariance, whitener):
    """Give variances (K, D) one volume, and leave them their shapes: EVI."""
    logarithms = np.empty(mass.size)
    log_volumes(covariance, logarithms)
    share_volume(mass, logarithms, covariance)


@constraint
def equal_shapes(mass, covariance, whitener):
    """Give variances (K, D) one shape, and leave them volumes of their own: VEI."""
    share_shape(mass, covariance, volumes_of_scales(whitener))


@constraint
def equal_volumes_of_matrices(mass, covariance, whitener):
    """Give matrices (K, D, D) one volume, and leave them shapes and axes: EVV."""
    n_components, n_features, _ = covariance.shape
    logarithms = np.empty(n_components)
    factor = np.empty((n_features, n_features))
    for k in range(n_components):
        is_positive = cholesky(covariance[k], factor)
        logarithms[k] = 2.0 * log_diagonal(factor) / n_features if is_positive else -np.inf
    share_volume(mass, logarithms, covariance.reshape((n_components, n_features * n_features)))


@constraint
def equal_shapes_and_axes(mass, covariance, whitener):
    """Give matrices (K, D, D) one shape and one set of axes, and leave them volumes of their own: VEE.

    In turn, the best matrix for the volumes, and the best volumes for the matrix: there is one maximum.
    """
    n_components, n_features, _ = covariance.shape
    volumes = volumes_of_scales(diagonals(whitener))
    shape, precision = np.empty((n_features, n_features)), np.empty((n_features, n_features))
    own = np.empty((n_features, n_features))
    change = np.inf
    for _ in range(_ROUNDS):
        _mean_shape(mass, covariance, volumes, shape)
        if not whiten_matrix(shape, own):
            # Scatters that have no common shape: those that are singular end as they are.
            return
        _precision(own, precision)
        before, change = change, 0.0
        for k in range(n_components):
            volume = 2.0 * _half_inner(precision, covariance[k]) / n_features
            if mass[k] > 0.0:
                change = max(change, ratio(abs(volume - volumes[k]), volume) if volume > 0.0 else 0.0)
            volumes[k] = volume
        if has_settled(change, before):
            break
    for k in range(n_components):
        for i in range(n_features):
            for j in range(i + 1):
                covariance[k, i, j] = volumes[k] * shape[i, j]
