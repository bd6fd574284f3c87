"""Densities of some features of a row, and what the moments of these say of the others, for every structure.

All comes from the density's whitener by rotations, so that nothing is squared: moved so that the missing features stand
last, its first rows are the whitener of the observed features alone, and its last ones the law of the missing given
these. Of a density with precision P = W^T W and log joint s - 1/2 |W (x - mean)|^2 the integral over the m missing
entries is s + m/2 log(2 pi) - log det(the last m rows) - 1/2 |W_observed (x - mean)|^2, in EM and in variational Bayes
alike.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from fastgmm.kernels.algebra.special import log_gamma_ratio
from fastgmm.kernels.algebra.triangular import invert_lower
from fastgmm.kernels.compiling import dispatched, kernel
from fastgmm.kernels.structures.densities import DiagDensity, FullDensity, SphericalDensity, TiedDensity
from fastgmm.kernels.structures.student import DiagStudent, FullStudent, SphericalStudent, TiedStudent

_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


class Regression(NamedTuple):
    """The law of the missing features given the observed ones, of each component or of all.

    `slope` (..., m, o): what the means move by with the observed features; `spare` (..., m, m), their covariance, and
    `root` (..., m, m), whose product with its transpose that is, lower triangular.
    """

    slope: Any
    spare: Any
    root: Any


@kernel
def _move_back(factor, place, n_passed, moved):
    """Move feature `place` of a lower triangular factor (D, D) behind the `n_passed` features that follow it.

    In place, by rotations of rows: the product of the factor's transpose and itself is the same but for the order of
    features, and its diagonal stays positive. The upper triangle is not read. `moved` (D,) is scratch.
    """
    n_features = factor.shape[0]
    last = place + n_passed
    for i in range(place, n_features):
        moved[i] = factor[i, place]
    for i in range(place + 1, n_features):
        for j in range(place, min(i, last)):
            factor[i, j] = factor[i, j + 1]
    for i in range(place, last):
        factor[i, i] = 0.0
        upper, lower = moved[i], moved[i + 1]
        # Neither square may leave the range of float64.
        size = max(upper, abs(lower))
        upper, lower = upper / size, lower / size
        length = math.sqrt(upper * upper + lower * lower)
        sine, cosine = upper / length, lower / length
        for j in range(i + 1):
            a, b = factor[i, j], factor[i + 1, j]
            factor[i, j] = sine * b - cosine * a
            factor[i + 1, j] = sine * a + cosine * b
        moved[i + 1] = length * size
    for i in range(last, n_features):
        factor[i, last] = moved[i]


@kernel
def _observed_first(whitener, columns, n_observed, factor):
    """Overwrite the lower triangle of `factor` (D, D) with the whitener of features in the order of `columns` (D,)."""
    n_features = whitener.shape[0]
    for i in range(n_features):
        for j in range(i + 1):
            factor[i, j] = whitener[i, j]
    moved = np.empty(n_features)
    for i in range(n_features - 1, n_observed - 1, -1):
        place = columns[i]
        # Of the features behind it, those that are missing have been moved away.
        n_passed = n_features - 1 - place - (n_features - 1 - i)
        if n_passed > 0:
            _move_back(factor, place, n_passed, moved)


@kernel
def _split(factor, n_observed, whitener, slope, spare, inverse):
    """Write the observed features' `whitener` (o, o), and the regression of the others; return its log determinant.

    `factor` (D, D) is lower triangular with the observed features first; `slope` (m, o), `spare` and its root `inverse`
    (m, m). The
    logarithm is that of the determinant of the factor of the missing features given the observed ones.
    """
    n_missing = factor.shape[0] - n_observed
    for i in range(n_observed):
        for j in range(i + 1):
            whitener[i, j] = factor[i, j]
        for j in range(i + 1, n_observed):
            whitener[i, j] = 0.0
    own = np.empty((n_missing, n_missing))
    log_determinant = 0.0
    for i in range(n_missing):
        row = n_observed + i
        for j in range(i + 1):
            own[i, j] = factor[row, n_observed + j]
        log_determinant += math.log(own[i, i])
    for i in range(n_missing):
        row = n_observed + i
        for j in range(n_observed):
            slope[i, j] = -factor[row, j]
        for h in range(i):
            c = own[i, h]
            for j in range(n_observed):
                slope[i, j] -= c * slope[h, j]
        for j in range(n_observed):
            slope[i, j] /= own[i, i]
    invert_lower(own, inverse)
    for i in range(n_missing):
        for j in range(i + 1):
            s = 0.0
            for h in range(j + 1):
                s += inverse[i, h] * inverse[j, h]
            spare[i, j] = s
            spare[j, i] = s
    return log_determinant


@kernel
def of_columns(table, columns, n_columns):
    """Return some columns of `table` (K, D), newly allocated."""
    part = np.empty((table.shape[0], n_columns))
    for k in range(table.shape[0]):
        for j in range(n_columns):
            part[k, j] = table[k, columns[j]]
    return part


@dispatched
def marginal(density, columns, n_observed):
    """Return the density of the observed features, and the :class:`Regression` of the others on them.

    With its log scale the log joint is that of the whole density, integrated over what is missing. `columns` (D,) are
    the ``n_observed`` observed ones in order, then the others in order. Structures whose features are independent given
    the component have no slope. A Student-t density is scored alone, and its regression is of no use.
    """


@marginal.register(FullDensity)
def _marginal_full(density, columns, n_observed):
    n_components, n_features = density.mean.shape
    n_missing = n_features - n_observed
    log_scale = np.empty(density.log_scale.shape[0])
    whitener = np.empty((n_components, n_observed, n_observed))
    slope = np.empty((n_components, n_missing, n_observed))
    spare = np.empty((n_components, n_missing, n_missing))
    root = np.empty((n_components, n_missing, n_missing))
    factor = np.empty((n_features, n_features))
    for k in range(n_components):
        _observed_first(density.whitener[k], columns, n_observed, factor)
        log_determinant = _split(factor, n_observed, whitener[k], slope[k], spare[k], root[k])
        log_scale[k] = density.log_scale[k] + (n_missing * _HALF_LOG_TWO_PI - log_determinant)
    return FullDensity(log_scale, of_columns(density.mean, columns, n_observed), whitener), Regression(
        slope, spare, root
    )


@marginal.register(TiedDensity)
def _marginal_tied(density, columns, n_observed):
    n_features = density.mean.shape[1]
    n_missing = n_features - n_observed
    whitener = np.empty((n_observed, n_observed))
    slope = np.empty((n_missing, n_observed))
    spare = np.empty((n_missing, n_missing))
    root = np.empty((n_missing, n_missing))
    factor = np.empty((n_features, n_features))
    _observed_first(density.whitener, columns, n_observed, factor)
    log_determinant = _split(factor, n_observed, whitener, slope, spare, root)
    log_scale = density.log_scale + (n_missing * _HALF_LOG_TWO_PI - log_determinant)
    return TiedDensity(log_scale, of_columns(density.mean, columns, n_observed), whitener), Regression(
        slope, spare, root
    )


@marginal.register(DiagDensity)
def _marginal_diag(density, columns, n_observed):
    n_components, n_features = density.mean.shape
    log_scale = np.empty(density.log_scale.shape[0])
    spare = np.empty((n_components, n_features - n_observed))
    for k in range(n_components):
        s = 0.0
        for i in range(n_observed, n_features):
            s += _HALF_LOG_TWO_PI - math.log(density.whitener[k, columns[i]])
        log_scale[k] = density.log_scale[k] + s
        for i in range(n_observed, n_features):
            scale = density.whitener[k, columns[i]]
            spare[k, i - n_observed] = (1.0 / scale) / scale
    mean = of_columns(density.mean, columns, n_observed)
    whitener = of_columns(density.whitener, columns, n_observed)
    return DiagDensity(log_scale, mean, whitener), Regression(np.empty((0, 0)), spare, np.empty((0, 0)))


@marginal.register(SphericalDensity)
def _marginal_spherical(density, columns, n_observed):
    n_components, n_features = density.mean.shape
    n_missing = n_features - n_observed
    log_scale = np.empty(density.log_scale.shape[0])
    spare = np.empty(n_components)
    for k in range(n_components):
        log_scale[k] = density.log_scale[k] + n_missing * (_HALF_LOG_TWO_PI - math.log(density.whitener[k]))
        spare[k] = n_missing / density.whitener[k] / density.whitener[k]
    mean = of_columns(density.mean, columns, n_observed)
    return SphericalDensity(log_scale, mean, density.whitener), Regression(np.empty((0, 0)), spare, np.empty((0, 0)))


@kernel
def _lengthened(density, log_scale, n_missing, n_each):
    """Change the marginal `log_scale` (K,) of normal laws, in place, to that of the Student-t laws of `density`.

    Each entry of `n_missing` features has a law of its own where `n_each` is 1; they share one where it is `n_missing`.
    """
    for k in range(log_scale.shape[0]):
        ratio = log_gamma_ratio(0.5 * density.power[k], -0.5 * n_each)
        s = ratio - 0.5 * n_each * math.log(2.0 * density.shrink[k])
        log_scale[k] += s * n_missing / max(n_each, 1)


def _register_multivariate(student, normal):
    @marginal.register(student)
    def _marginal_student(density, columns, n_observed):
        own, regression = marginal(normal(density.log_scale, density.mean, density.whitener), columns, n_observed)
        n_missing = density.mean.shape[1] - n_observed
        _lengthened(density, own.log_scale, n_missing, n_missing)
        power = density.power - n_missing
        return student(own.log_scale, own.mean, own.whitener, power, density.shrink), regression


_register_multivariate(FullStudent, FullDensity)
_register_multivariate(TiedStudent, TiedDensity)
_register_multivariate(SphericalStudent, SphericalDensity)


@marginal.register(DiagStudent)
def _marginal_product(density, columns, n_observed):
    own, regression = marginal(DiagDensity(density.log_scale, density.mean, density.whitener), columns, n_observed)
    _lengthened(density, own.log_scale, density.mean.shape[1] - n_observed, 1)
    return DiagStudent(own.log_scale, own.mean, own.whitener, density.power, density.shrink), regression


@kernel
def _gaps(density, origin, columns, n_observed, slope, k, gaps):
    """Overwrite `gaps` (m,) with the conditional means of the missing features where the observed are at the origin.

    Of component k, about its origin.
    """
    n_missing = slope.shape[0]
    for i in range(n_missing):
        s = 0.0
        for j in range(n_observed):
            s += slope[i, j] * (density.mean[k, columns[j]] - origin[k, columns[j]])
        missing = columns[n_observed + i]
        gaps[i] = (density.mean[k, missing] - origin[k, missing]) - s


@kernel
def _complete_deviation(slope, gaps, mass, part, columns, n_observed, ahead, deviation):
    """Add the deviation `part` (o,) of the observed features, and that of the missing ones, to `deviation` (D,).

    Overwrites `ahead` (m,) with the latter.
    """
    for j in range(n_observed):
        deviation[columns[j]] += part[j]
    for i in range(slope.shape[0]):
        s = 0.0
        for j in range(n_observed):
            s += slope[i, j] * part[j]
        ahead[i] = s + mass * gaps[i]
    for i in range(slope.shape[0]):
        deviation[columns[n_observed + i]] += ahead[i]


@kernel
def _complete_crossed(slope, part, columns, n_observed, crossed, scatter):
    """Add the scatter `part` (o, o) of the observed features to the lower triangle of `scatter` (D, D).

    And overwrite `crossed` (m, o) with the products of missing and observed features that follow from it. Fills the
    upper triangle of `part`.
    """
    for i in range(n_observed):
        for j in range(i + 1):
            part[j, i] = part[i, j]
        for j in range(i + 1):
            scatter[columns[i], columns[j]] += part[i, j]
    for i in range(slope.shape[0]):
        for j in range(n_observed):
            crossed[i, j] = 0.0
        for h in range(n_observed):
            c = slope[i, h]
            for j in range(n_observed):
                crossed[i, j] += c * part[h, j]


@kernel
def _add_missing(slope, gaps, ahead, deviation, columns, n_observed, crossed, scatter):
    """Add products with missing features to the lower triangle of `scatter` (D, D), without their own covariance.

    For one component: `crossed` (m, o) as of :func:`_complete_crossed`, `deviation` (o,), `ahead` and `gaps` (m,).
    Where components share a scatter, each adds what its `gaps` do, and one of them `crossed`.
    """
    n_missing = slope.shape[0]
    for i in range(n_missing):
        row = columns[n_observed + i]
        for j in range(n_observed):
            crossed[i, j] += gaps[i] * deviation[j]
        for j in range(n_observed):
            column = columns[j]
            scatter[max(row, column), min(row, column)] += crossed[i, j]
        for h in range(i + 1):
            s = 0.0
            for j in range(n_observed):
                s += crossed[i, j] * slope[h, j]
            column = columns[n_observed + h]
            scatter[row, column] += s + ahead[i] * gaps[h]


@dispatched
def complete(density, origin, columns, n_observed, regression, part, sums):
    """Add the sums of rows of one pattern, moments of the observed features about `origin`, to those of all features.

    `part` and `sums` are ``Sums`` of o and of D features, `regression` that of :func:`marginal`. Of matrices only lower
    triangles are read and written; those of `part` are scratch.
    """


@complete.register(FullDensity)
def _complete_full(density, origin, columns, n_observed, regression, part, sums):
    n_missing = regression.slope.shape[1]
    crossed = np.empty((n_missing, n_observed))
    gaps, ahead = np.empty(n_missing), np.empty(n_missing)
    for k in range(part.mass.shape[0]):
        mass = part.mass[k]
        if mass == 0.0:
            continue
        sums.mass[k] += mass
        slope = regression.slope[k]
        _gaps(density, origin, columns, n_observed, slope, k, gaps)
        _complete_deviation(slope, gaps, mass, part.deviation[k], columns, n_observed, ahead, sums.deviation[k])
        _complete_crossed(slope, part.scatter[k], columns, n_observed, crossed, sums.scatter[k])
        _add_missing(slope, gaps, ahead, part.deviation[k], columns, n_observed, crossed, sums.scatter[k])
        _add_spare(mass, regression.spare[k], columns, n_observed, sums.scatter[k])


@kernel
def _add_spare(mass, spare, columns, n_observed, scatter):
    """Add the conditional covariance `spare` (m, m) times `mass` to the lower triangle of `scatter` (D, D)."""
    for i in range(spare.shape[0]):
        for j in range(i + 1):
            scatter[columns[n_observed + i], columns[n_observed + j]] += mass * spare[i, j]


@complete.register(TiedDensity)
def _complete_tied(density, origin, columns, n_observed, regression, part, sums):
    slope = regression.slope
    n_missing = slope.shape[0]
    crossed = np.empty((n_missing, n_observed))
    gaps, ahead = np.empty(n_missing), np.empty(n_missing)
    total = 0.0
    _complete_crossed(slope, part.scatter, columns, n_observed, crossed, sums.scatter)
    for k in range(part.mass.shape[0]):
        mass = part.mass[k]
        if mass == 0.0:
            continue
        total += mass
        sums.mass[k] += mass
        _gaps(density, origin, columns, n_observed, slope, k, gaps)
        _complete_deviation(slope, gaps, mass, part.deviation[k], columns, n_observed, ahead, sums.deviation[k])
        _add_missing(slope, gaps, ahead, part.deviation[k], columns, n_observed, crossed, sums.scatter)
        for i in range(n_missing):
            for j in range(n_observed):
                crossed[i, j] = 0.0
    _add_spare(total, regression.spare, columns, n_observed, sums.scatter)


@kernel
def _complete_independent(density, origin, columns, n_observed, part, sums):
    """Add masses and deviations where features are independent given the component."""
    n_features = density.mean.shape[1]
    for k in range(part.mass.shape[0]):
        sums.mass[k] += part.mass[k]
        for j in range(n_observed):
            sums.deviation[k, columns[j]] += part.deviation[k, j]
        for i in range(n_observed, n_features):
            sums.deviation[k, columns[i]] += part.mass[k] * (density.mean[k, columns[i]] - origin[k, columns[i]])


@complete.register(DiagDensity)
def _complete_diag(density, origin, columns, n_observed, regression, part, sums):
    n_features = density.mean.shape[1]
    _complete_independent(density, origin, columns, n_observed, part, sums)
    for k in range(part.mass.shape[0]):
        for j in range(n_observed):
            sums.scatter[k, columns[j]] += part.scatter[k, j]
        for i in range(n_observed, n_features):
            gap = density.mean[k, columns[i]] - origin[k, columns[i]]
            sums.scatter[k, columns[i]] += part.mass[k] * (regression.spare[k, i - n_observed] + gap * gap)


@complete.register(SphericalDensity)
def _complete_spherical(density, origin, columns, n_observed, regression, part, sums):
    n_features = density.mean.shape[1]
    _complete_independent(density, origin, columns, n_observed, part, sums)
    for k in range(part.mass.shape[0]):
        square = 0.0
        for i in range(n_observed, n_features):
            gap = density.mean[k, columns[i]] - origin[k, columns[i]]
            square += gap * gap
        sums.scatter[k] += part.scatter[k] + part.mass[k] * (regression.spare[k] + square)


@dispatched
def fill(density, regression, columns, n_observed, k, share, x, noise, values):
    """Add `share` times the missing features of a row of component k, which has `x` (o,) observed, to `values` (m,).

    That is their conditional mean, and `noise` (m,) of identity covariance, or of size 0, turned into noise of their
    conditional covariance.
    """


@kernel
def _fill_dependent(mean, slope, root, columns, n_observed, share, x, noise, values):
    for i in range(values.shape[0]):
        s = 0.0
        for j in range(n_observed):
            s += slope[i, j] * (x[j] - mean[columns[j]])
        for j in range(min(i + 1, noise.size)):
            s += root[i, j] * noise[j]
        values[i] += share * (mean[columns[n_observed + i]] + s)


@fill.register(FullDensity)
def _fill_full(density, regression, columns, n_observed, k, share, x, noise, values):
    slope, root = regression.slope[k], regression.root[k]
    _fill_dependent(density.mean[k], slope, root, columns, n_observed, share, x, noise, values)


@fill.register(TiedDensity)
def _fill_tied(density, regression, columns, n_observed, k, share, x, noise, values):
    slope, root = regression.slope, regression.root
    _fill_dependent(density.mean[k], slope, root, columns, n_observed, share, x, noise, values)


@fill.register(DiagDensity)
def _fill_diag(density, regression, columns, n_observed, k, share, x, noise, values):
    for i in range(values.shape[0]):
        column = columns[n_observed + i]
        spread = noise[i] / density.whitener[k, column] if noise.size > 0 else 0.0
        values[i] += share * (density.mean[k, column] + spread)


@fill.register(SphericalDensity)
def _fill_spherical(density, regression, columns, n_observed, k, share, x, noise, values):
    for i in range(values.shape[0]):
        spread = noise[i] / density.whitener[k] if noise.size > 0 else 0.0
        values[i] += share * (density.mean[k, columns[n_observed + i]] + spread)
