"""Constraints on the axes of covariance matrices, their eigenvectors: mclust's EEV, VEV, VVE and EVE.

EEV and VEV: Celeux and Govaert, Gaussian parsimonious clustering models, Pattern Recognition 28 (1995). VVE and EVE,
with common axes: Browne and McNicholas, Orthogonal Stiefel manifold optimization for eigen-decomposed covariance
parameter estimation in mixture models, Statistics and Computing 24 (2014); here by turning two axes at a time, as Flury
and Gautschi find common principal components (SIAM Journal on Scientific and Statistical Computing 7, 1986).
"""

from __future__ import annotations

import math

import numpy as np

from fastgmm.kernels.algebra.eigen import eigen, rotate, rotate_rows
from fastgmm.kernels.algebra.matrix import ratio
from fastgmm.kernels.compiling import exact_kernel
from fastgmm.kernels.updates.constraints import constraint
from fastgmm.kernels.updates.moments import share_mean
from fastgmm.kernels.updates.volumes import (
    diagonals,
    largest_volume,
    log_volumes,
    share_shape,
    share_volume,
    total_mass,
    volumes_of_scales,
)

# Common axes have settled when a sweep over all pairs promises to raise the mean log-likelihood by less than this: then
# angles are right to its root. Or after so many turns of two axes, which take no time beside a pass over many rows, but
# not before so many sweeps: the next M-step goes on from there.
_SETTLED = 1e-25
_TURNS = 2000
_SWEEPS = 10
# Steps to the best angle between two axes; Newton's are no longer than this, twice the angle in radians.
_STEPS = 30
_NEAR = 0.2
# Newton's step is the last one where the next would be its square, and lowers the cost by less than rounding where it
# is still smaller: other angles will be turned, and this one again.
_ENOUGH = 1e-3
_SURE = 1e-7
# The product of two variances, over the square of their mean, is no smaller.
_FLATTEST = 1e-30
# The rounding of a variance along a direction, relative to what entries of the matrix add up to, for each feature.
_NOISE = 1e-15
# Multiples of it, modulo 1, are far from each other.
_GOLDEN = 0.6180339887498949


@exact_kernel
def _copy_symmetric(lower, matrix):
    """Overwrite both triangles of `matrix` (D, D) with the lower one of `lower`."""
    for i in range(lower.shape[0]):
        for j in range(i + 1):
            matrix[i, j] = matrix[j, i] = lower[i, j]


@exact_kernel
def _spectra(covariance, values, axes):
    """Overwrite `values` (K, D) and rows of `axes` (K, D, D) with eigenvalues and eigenvectors of each covariance."""
    matrix = np.empty(covariance.shape[1:])
    for k in range(covariance.shape[0]):
        _copy_symmetric(covariance[k], matrix)
        eigen(matrix, values[k], axes[k])


@exact_kernel
def _assemble(values, axes, covariance):
    """Overwrite the lower triangles of `covariance` (K, D, D) with those of matrices of the given eigenvalues (K, D).

    The rows of ``axes[k]`` are eigenvectors; those of ``axes[0]`` are of all, where there are no others.
    """
    n_components, n_features, _ = covariance.shape
    for k in range(n_components):
        own = axes[min(k, axes.shape[0] - 1)]
        for i in range(n_features):
            for j in range(i + 1):
                s = 0.0
                for d in range(n_features):
                    s += values[k, d] * own[d, i] * own[d, j]
                covariance[k, i, j] = s


@constraint
def equal_spectra(mass, covariance, whitener):
    """Give matrices (K, D, D) one volume and one shape, and leave them axes of their own: EEV."""
    values, axes = np.empty(covariance.shape[:2]), np.empty(covariance.shape)
    _spectra(covariance, values, axes)
    share_mean(mass, values)
    _assemble(values, axes, covariance)


@constraint
def equal_shapes_of_matrices(mass, covariance, whitener):
    """Give matrices (K, D, D) one shape, and leave them volumes and axes of their own: VEV."""
    values, axes = np.empty(covariance.shape[:2]), np.empty(covariance.shape)
    _spectra(covariance, values, axes)
    share_shape(mass, values, volumes_of_scales(diagonals(whitener)))
    _assemble(values, axes, covariance)


@exact_kernel
def _mixed_precision(whitener, mixed):
    """Overwrite `mixed` (D, D) with a sum of the precisions that `whitener` (K, D, D) is of, in uneven parts.

    It has the axes of precisions that have axes in common: uneven parts, so that it has no other ones as well.
    """
    n_components, n_features, _ = whitener.shape
    for i in range(n_features):
        for j in range(n_features):
            mixed[i, j] = 0.0
    for k in range(n_components):
        largest = 0.0
        for i in range(n_features):
            for j in range(i + 1):
                largest = max(largest, abs(whitener[k, i, j]))
        part = 1.0 + (k * _GOLDEN) % 1.0
        for m in range(n_features):
            for i in range(m + 1):
                left = part * ratio(whitener[k, m, i], largest)
                for j in range(m + 1):
                    mixed[i, j] += left * ratio(whitener[k, m, j], largest)


@exact_kernel
def _mixed_covariance(mass, matrices, mixed):
    """Overwrite `mixed` (D, D) with the mean of `matrices` (K, D, D) by mass."""
    total = total_mass(mass)
    for i in range(mixed.shape[0]):
        for j in range(mixed.shape[0]):
            s = 0.0
            for k in range(mass.size):
                s += ratio(mass[k], total) * matrices[k, i, j]
            mixed[i, j] = s


@exact_kernel
def _variances_along(axes, matrices, variances):
    """Overwrite `variances` (K, D) with those of `matrices` (K, D, D) along the rows of `axes` (D, D)."""
    n_components, n_features, _ = matrices.shape
    for k in range(n_components):
        for d in range(n_features):
            total = 0.0
            for i in range(n_features):
                s = 0.0
                for j in range(n_features):
                    s += matrices[k, i, j] * axes[d, j]
                total += axes[d, i] * s
            variances[k, d] = total


@exact_kernel
def _log_cost(mass, logarithms, power):
    """Return the logarithm of what common axes cost: of the mean volume by mass, geometric where `power` is 0."""
    largest, total = largest_volume(mass, logarithms), total_mass(mass)
    cost = 0.0
    for k in range(mass.size):
        if mass[k] > 0.0:
            share = ratio(mass[k], total)
            cost += share * (math.exp(logarithms[k] - largest) if power > 0.0 else logarithms[k])
    return largest + math.log(cost) if power > 0.0 and cost > 0.0 else cost


@exact_kernel
def _first_axes(mass, matrices, whitener, power, axes):
    """Overwrite the rows of `axes` (D, D) with those of `whitener`, or with those of the mean covariance if better."""
    n_components, n_features, _ = matrices.shape
    mixed, tried = np.empty((n_features, n_features)), np.empty((n_features, n_features))
    values, logarithms = np.empty(n_features), np.empty(n_components)
    variances = np.empty((n_components, n_features))
    least = np.inf
    for attempt in range(2):
        if attempt == 0:
            _mixed_covariance(mass, matrices, mixed)
        else:
            _mixed_precision(whitener, mixed)
        eigen(mixed, values, tried)
        _variances_along(tried, matrices, variances)
        log_volumes(variances, logarithms)
        cost = _log_cost(mass, logarithms, power)
        if attempt == 0 or cost <= least:
            least = cost
            for i in range(n_features):
                for j in range(n_features):
                    axes[i, j] = tried[i, j]


@exact_kernel
def _turned(pair, weight, power, angle):
    """Return the cost of pairs of variances at an angle, its slope down, its curvature, and half that of a bound.

    ``pair[k]`` (3,) is of two variances and the covariance of their axes, divided by the mean of the two: half the
    difference, the covariance, and the determinant. `angle` is twice that by which the axes are turned. The bound is
    the tangent of what is concave in the product of variances, its logarithm or a power.
    """
    cosine, sine = math.cos(angle), math.sin(angle)
    cost = slope = bend = steadier = 0.0
    for k in range(weight.size):
        along = pair[k, 0] * cosine + pair[k, 1] * sine
        across = pair[k, 1] * cosine - pair[k, 0] * sine
        product = pair[k, 2] + across * across
        raised = weight[k] * product**power if power > 0.0 else weight[k]
        tangent = raised / product
        change = 2.0 * along * across
        cost += raised / power if power > 0.0 else weight[k] * math.log(product)
        slope += tangent * change
        steadier += tangent * (along * along - across * across)
        bend += tangent / product * change * change
    return cost, slope, 2.0 * steadier + (power - 1.0) * bend, steadier


@exact_kernel
def _best_angle(pair, weight, power):
    """Return twice the angle to turn two axes by, for `pair` and `weight` of :func:`_turned`, and what it gains.

    Newton's steps near the best angle, and steps of one length elsewhere, where they lower the cost; else the best
    angle of a bound above it, which never raises it.
    """
    angle = 0.0
    cost, slope, curvature, steadier = _turned(pair, weight, power, angle)
    promised = 0.5 * slope * slope / max(curvature, steadier) if max(curvature, steadier) > 0.0 else abs(slope)
    for _ in range(_STEPS):
        # From a maximum, where the slope says nothing, there is a way down on both sides.
        is_near = abs(slope) < _NEAR * curvature
        step = slope / curvature if is_near else math.copysign(_NEAR, slope)
        if is_near and abs(step) < _SURE:
            return angle + step, promised
        found = _turned(pair, weight, power, angle + step)
        if not (found[0] < cost or (is_near and found[0] == cost)):
            step = 0.5 * math.atan2(slope, steadier)
            found = _turned(pair, weight, power, angle + step)
        angle += step
        cost, slope, curvature, steadier = found
        if is_near and abs(step) < _ENOUGH:
            break
    return angle, promised


@exact_kernel
def _sweep(mass, matrices, axes, power, logarithms, weight, pair):
    """Turn each two of `axes` to their best angle, and `matrices` (K, D, D) with them; return what was promised.

    `logarithms`, `weight` (K,) and `pair` (K, 3) are scratch.
    """
    n_components, n_features, _ = matrices.shape
    log_volumes(diagonals(matrices), logarithms)
    largest, total = largest_volume(mass, logarithms), total_mass(mass)
    for k in range(n_components):
        # A volume of 0 has no logarithm, and no axes are better for it.
        has_volume = mass[k] > 0.0 and logarithms[k] > -np.inf
        weight[k] = ratio(mass[k], total) if has_volume else 0.0
        weight[k] *= math.exp(logarithms[k] - largest) if has_volume and power > 0.0 else 1.0
    gained = 0.0
    for a in range(n_features):
        for b in range(a + 1, n_features):
            for k in range(n_components):
                mean = 0.5 * (matrices[k, a, a] + matrices[k, b, b])
                known = mean > 0.0
                pair[k, 0] = ratio(0.5 * (matrices[k, a, a] - matrices[k, b, b]), mean) if known else 0.0
                pair[k, 1] = ratio(matrices[k, a, b], mean) if known else 0.0
                product = ratio(matrices[k, a, a], mean) * ratio(matrices[k, b, b], mean) if known else 1.0
                pair[k, 2] = max(product - pair[k, 1] * pair[k, 1], _FLATTEST)
                weight[k] *= (pair[k, 2] + pair[k, 1] * pair[k, 1]) ** -power
            angle, promised = _best_angle(pair, weight, power)
            gained += promised
            sine, cosine = math.sin(angle), math.cos(angle)
            for k in range(n_components):
                across = pair[k, 1] * cosine - pair[k, 0] * sine
                weight[k] *= (pair[k, 2] + across * across) ** power
            sine, cosine = math.sin(0.5 * angle), math.cos(0.5 * angle)
            rotate_rows(axes, a, b, cosine, sine)
            for k in range(n_components):
                rotate(matrices[k], a, b, cosine, sine)
    return gained


@exact_kernel
def _share_axes(mass, covariance, whitener, power, variances, axes):
    """Overwrite the rows of ``axes[0]`` with the best common axes, and `variances` (K, D) with those along them.

    Those with the least mean volume by mass, geometric where `power` is 0, as for VVE, and arithmetic where it is
    1 / D, as for EVE; or on the way there, with many features. None nearby are better, others may be. Begins at the
    axes of `whitener`, or at those of the mean covariance where they are better: the likelihood never falls.
    """
    n_components, n_features, _ = covariance.shape
    matrices, product = np.empty(covariance.shape), np.empty((n_features, n_features))
    for k in range(n_components):
        _copy_symmetric(covariance[k], matrices[k])
    _first_axes(mass, matrices, whitener, power, axes[0])
    for k in range(n_components):
        _turn_matrix(axes[0], matrices[k], product)
    logarithms, weight = np.empty(n_components), np.empty(n_components)
    pair = np.empty((n_components, 3))
    for _ in range(max(_SWEEPS, _TURNS // max(n_features * (n_features - 1) // 2, 1))):
        if not _sweep(mass, matrices, axes[0], power, logarithms, weight, pair) > _SETTLED:
            break
    for k in range(n_components):
        for d in range(n_features):
            variances[k, d] = matrices[k, d, d]
            spread = 0.0
            for i in range(n_features):
                spread += abs(axes[0, d, i]) * math.sqrt(max(covariance[k, i, i], 0.0))
            if variances[k, d] <= _NOISE * n_features * spread * spread:
                # What is left of a direction without spread is rounding, which would pass for a variance.
                variances[k, d] = -spread * spread


@exact_kernel
def _turn_matrix(axes, matrix, product):
    """Overwrite the symmetric `matrix` (D, D) with itself in the rows of `axes`; `product` (D, D) is scratch."""
    n = matrix.shape[0]
    for i in range(n):
        for j in range(n):
            s = 0.0
            for m in range(n):
                s += axes[i, m] * matrix[m, j]
            product[i, j] = s
    for i in range(n):
        for j in range(i + 1):
            s = 0.0
            for m in range(n):
                s += product[i, m] * axes[j, m]
            matrix[i, j] = matrix[j, i] = s


@constraint
def equal_axes(mass, covariance, whitener):
    """Give matrices (K, D, D) one set of axes, and leave them variances of their own along these: VVE."""
    variances, axes = np.empty(covariance.shape[:2]), np.empty((1, covariance.shape[1], covariance.shape[2]))
    _share_axes(mass, covariance, whitener, 0.0, variances, axes)
    _assemble(variances, axes, covariance)


@constraint
def equal_axes_and_volumes(mass, covariance, whitener):
    """Give matrices (K, D, D) one set of axes and one volume, and leave them shapes along these axes: EVE."""
    n_components, n_features, _ = covariance.shape
    variances, axes = np.empty((n_components, n_features)), np.empty((1, n_features, n_features))
    _share_axes(mass, covariance, whitener, 1.0 / n_features, variances, axes)
    logarithms = np.empty(n_components)
    log_volumes(variances, logarithms)
    share_volume(mass, logarithms, variances)
    _assemble(variances, axes, covariance)
