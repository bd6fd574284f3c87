"""Covariances for components of a start whose rows are too few or too much alike.

A component seeded on a single row would be a spike of width sqrt(reg_covar) that no other row can reach. It is smoothed
by pseudo-rows whose variances come from near it, never from the spread of all rows: one far group, row or code for a
missing value would otherwise blur all that is apart elsewhere. What knows no family is a function that Python calls, so
that it is compiled once and not for each.
"""

from __future__ import annotations

import numpy as np

from fastgmm.kernels.algebra.matrix import ratio
from fastgmm.kernels.compiling import entry, kernel, spliced_kernel
from fastgmm.kernels.structures import contract
from fastgmm.kernels.updates.moments import RESOLUTION, centre, divide_by_pool, move_origin

# Least share of the local variances that a covariance must have in each direction.
_THIN = 1e-3
# What pseudo-rows are worth, of an average component: where rows are few, and where they are as good as dependent.
_FOR_FEW = 0.01
_FOR_DEPENDENT = 0.02
# Rows are few below so many times those that a covariance needs.
_FEW = 2
# Pseudo-rows reach half way to the next mean: four squared standard deviations.
_REACH = 4.0


@kernel
def _squared_gap(u, v):
    total = 0.0
    for d in range(u.shape[0]):
        gap = u[d] - v[d]
        total += gap * gap
    return total


@kernel
def _nearest(point, mean, mass):
    """Return the component with mass, or the first, whose `mean` (of K, D) is nearest to `point` (D,)."""
    nearest = -1
    least = np.inf
    for k in range(mean.shape[0]):
        if mass[k] > 0.0:
            distance = _squared_gap(point, mean[k])
            if nearest < 0 or distance < least:
                nearest = k
                least = distance
    return max(nearest, 0)


@entry
def count_different(points, weight, labels, mean, mass, most, different):
    """Overwrite `different` (K,) with how many different rows each component has; those above `most` do not count.

    Where `points` are a sample of the rows, and a component's all differ, they stand for its whole mass.
    """
    n_components, n_features = mean.shape
    example = np.empty((n_components, most), np.int64)
    n_seen = np.zeros(n_components)
    seen = np.zeros(n_components)
    different.fill(0.0)
    n_open = n_components
    for i in range(points.shape[0]):
        w = weight[i] if weight.size > 0 else 1.0
        if n_open == 0:
            return
        if not w > 0.0:
            continue
        k = labels[i] if labels.size > 0 else _nearest(points[i], mean, mass)
        n_seen[k] += 1.0
        seen[k] += w
        n = int(different[k])
        if n == most:
            continue
        is_new = True
        for s in range(n):
            d = 0
            while d < n_features and points[example[k, s], d] == points[i, d]:
                d += 1
            if d == n_features:
                is_new = False
                break
        if is_new:
            example[k, n] = i
            different[k] += 1.0
            if n + 1 == most:
                n_open -= 1
    for k in range(n_components):
        if 0.0 < different[k] == n_seen[k] and mass[k] > seen[k]:
            different[k] *= mass[k] / seen[k]


@spliced_kernel
def _find_few(density, mass, different, few):
    """Overwrite `few` (K,) with which components have fewer than twice the different rows that a covariance needs.

    With a covariance for all components, all or none, by the rows that differ within them.
    """
    n_components, n_features = density.mean.shape
    dimension, _ = contract.wishart(density)
    if n_components > 1 and contract.pool(density, mass).size == 1:
        within = 0.0
        for k in range(n_components):
            within += max(different[k] - 1.0, 0.0)
        few.fill(within < _FEW * n_features - 0.5)
    else:
        for k in range(n_components):
            few[k] = different[k] < _FEW * (dimension + 1) - 0.5


@kernel
def _neighbour(mean, mass, k):
    """Return the component with mass whose mean is nearest to that of k, but not the same, and the squared distance.

    (k, infinity) where there is none.
    """
    nearest = k
    least = np.inf
    for j in range(mean.shape[0]):
        if mass[j] > 0.0:
            distance = _squared_gap(mean[k], mean[j])
            if 0.0 < distance < least:
                nearest = j
                least = distance
    return nearest, least


@kernel
def _shape_of_gaps(mean, mass, shape):
    """Overwrite `shape` (D,) with the shares of the features in the squared gaps between neighbouring means."""
    n_components, n_features = mean.shape
    shape.fill(0.0)
    n = 0
    for k in range(n_components):
        j, square = _neighbour(mean, mass, k)
        if j != k:
            n += 1
            for d in range(n_features):
                gap = mean[j, d] - mean[k, d]
                shape[d] += gap * (gap / square)
    for d in range(n_features):
        shape[d] /= max(n, 1)


@entry
def local_variances(mean, mass, own, few, local):
    """Overwrite `local` (K, D) with the variances to be expected of rows about each mean, judged by what is near.

    `own` (K, D), the components' own, but for components of `few` rows and features that do not vary in them: for these
    those of the nearest component that is not `few` and varies; where there is none, a quarter
    of the squared gap to the next mean, in the mean shape of such gaps. All are scaled down, where they must be, so
    that the next mean is two standard deviations away; those of few rows are never less than their own.
    `mean` (K, D), `mass` (K,), `few` (K,) bool.
    """
    n_components, n_features = mean.shape
    shape = np.empty(n_features)
    _shape_of_gaps(mean, mass, shape)
    distance = np.empty(n_components)
    for k in range(n_components):
        for j in range(n_components):
            distance[j] = _squared_gap(mean[k], mean[j])
        neighbour, square = _neighbour(mean, mass, k)
        for d in range(n_features):
            if not few[k] and own[k, d] > 0.0:
                local[k, d] = own[k, d]
                continue
            local[k, d] = square * shape[d] / _REACH if neighbour != k else 0.0
            least = np.inf
            for j in range(n_components):
                if j != k and mass[j] > 0.0 and not few[j] and own[j, d] > 0.0 and distance[j] < least:
                    least = distance[j]
                    local[k, d] = own[j, d]
        scale = 1.0
        for j in range(n_components):
            if mass[j] > 0.0 and distance[j] > 0.0:
                scale = min(scale, _mahalanobis(mean[k], mean[j], local[k]) / _REACH)
        for d in range(n_features):
            local[k, d] *= scale
            if few[k]:
                local[k, d] = max(local[k, d], own[k, d])


@kernel
def _mahalanobis(u, v, variances):
    """Return the sum of (u - v)^2 / variances; infinite where u and v differ in a feature without variance."""
    total = 0.0
    for d in range(u.shape[0]):
        gap = u[d] - v[d]
        if variances[d] > 0.0:
            total += gap * (gap / variances[d])
        elif gap != 0.0:
            return np.inf
    return total


@spliced_kernel
def _greatest_local(mean, mass, own, greatest):
    """Overwrite `greatest` (K, D) with what :func:`local_variances` cannot exceed, whoever has few rows."""
    n_components, n_features = mean.shape
    shape = np.empty(n_features)
    _shape_of_gaps(mean, mass, shape)
    for k in range(n_components):
        neighbour, square = _neighbour(mean, mass, k)
        for d in range(n_features):
            greatest[k, d] = square * shape[d] / _REACH if neighbour != k else 0.0
            for j in range(n_components):
                greatest[k, d] = max(greatest[k, d], own[j, d])


@kernel
def add_variances(density, mass, variances, scatter):
    """Add to `scatter` what rows of `mass` (K,) with these `variances` (K, D) about their means have, in place.

    Of `density` only the class counts. Allocates (D,).
    """
    n_components, n_features = variances.shape
    unit = np.zeros(n_features)
    for k in range(n_components):
        for d in range(n_features):
            unit[d] = 1.0
            contract.project(density, k, mass[k] * variances[k, d], unit, unit, scatter)
            unit[d] = 0.0


@spliced_kernel
def _find_thin(density, mass, centred, local, thin):
    """Overwrite `thin` (K,): whose covariance is not, in all directions, above the least share of `local` (K, D).

    `centred` is the scatter about the components' means. Returns whether there are any.
    """
    n_components = density.mean.shape[0]
    left, one = contract.blank(density, n_components), contract.blank(density, 1)
    covariance = left.whitener.reshape(left.whitener.size)
    original = centred.reshape(centred.size)
    for i in range(covariance.size):
        covariance[i] = original[i]
    add_variances(density, -_THIN * mass, local, left.whitener)
    divide_by_pool(density, mass, left.whitener)
    found = False
    for k in range(n_components):
        thin[k] = contract.whiten(one, contract.component(left, k).whitener) >= 0
        found = found or thin[k]
    return found


@spliced_kernel
def _find_means(origin, mass, deviation, mean):
    """Overwrite `mean` (K, D) with the means; a component without rows has that of the nearest that has some."""
    n_components, n_features = origin.shape
    for k in range(n_components):
        for d in range(n_features):
            mean[k, d] = origin[k, d] + (ratio(deviation[k, d], mass[k]) if mass[k] > 0.0 else 0.0)
    for k in range(n_components):
        if not mass[k] > 0.0:
            nearest = _nearest(mean[k], mean, mass)
            for d in range(n_features):
                mean[k, d] = mean[nearest, d]


@entry
def smooth_thin(density, origin, mass, deviation, scatter, points, weight, labels):
    """Smooth, in place, the components that their rows are too few or too much alike for a covariance.

    Parameters
    ----------
    density : of the family; its means are what rows were nearest to, where there are no labels
    origin, mass, deviation, scatter : the statistics of a partition of rows; of a matrix the lower triangle counts
    points, weight : (N, D), (N,) float64
        The rows, or a sample of them, with their weights (size 0: ones).
    labels : (N,) int64
        The components they belong to. Size 0: that of the nearest mean.

    Notes
    -----
    A component has few rows where those that differ are fewer than twice those that a covariance needs: copies and
    weights of rows make no difference. It is smoothed if its covariance is in some direction below a thousandth of its
    :func:`local_variances`: as it is on few rows, or where features are as good as dependent within it. It then gets
    pseudo-rows at its mean with those variances, worth 1 % of an average component, of dependent features 2 %; without
    rows, at the nearest mean of a component that has some. Where there are any, all moments become those about the
    means, which `origin` (K, D) is overwritten with. Allocates scratch of the size of the statistics.
    """
    n_components, n_features = origin.shape
    centred = scatter.copy()
    centre(density, mass, deviation, centred)
    mean = np.empty((n_components, n_features))
    own = np.empty((n_components, n_features))
    local = np.empty((n_components, n_features))
    few = np.empty(n_components, np.bool_)
    thin = np.empty(n_components, np.bool_)
    _find_means(origin, mass, deviation, mean)
    pool = contract.pool(density, mass)
    total = 0.0
    for k in range(n_components):
        total += mass[k]
        behind = pool[min(k, pool.size - 1)]
        for d in range(n_features):
            squares = contract.variance(density, centred, k, d)
            # Of a constant feature centring leaves the rounding.
            varies = squares > RESOLUTION * contract.variance(density, scatter, k, d)
            own[k, d] = ratio(squares, behind) if varies and behind > 0.0 else 0.0
    # Most starts have no thin component whatever the rows are, which take longer to count.
    _greatest_local(mean, mass, own, local)
    for counted in range(2):
        if counted:
            different = np.empty(n_components)
            count_different(points, weight, labels, density.mean, mass, _FEW * (n_features + 1), different)
            _find_few(density, mass, different, few)
            local_variances(mean, mass, own, few, local)
        if not _find_thin(density, mass, centred, local, thin):
            return
    move_origin(density, origin, mean, mass, deviation, scatter)
    added = np.zeros(n_components)
    for k in range(n_components):
        for d in range(n_features):
            origin[k, d] = mean[k, d]
        if thin[k]:
            added[k] = (_FOR_FEW if few[k] else _FOR_DEPENDENT) * total / n_components
            mass[k] += added[k]
    add_variances(density, added, local, scatter)
