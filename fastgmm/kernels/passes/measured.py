"""The pass over rows with errors of measurement: a row's covariance under a component is its own, V + S.

Rows x = v + e are given with the covariance S of e, and the mixture is that of v (Bovy, Hogg and Roweis 2011). All is
done in coordinates that whiten the component, v' = A (v - mean): there its covariance is 1, that of a row is
T = 1 + A S A^T, and v' has the posterior mean T^-1 x' and covariance 1 - T^-1. No pivot of T is below 1 but for
rounding, so nothing fails however S and V compare; and sums keep the digits of the component's narrowest direction.

Vector lanes run over rows: everything is an elementwise loop over the columns of a tile.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastgmm.kernels.compiling import Driver, borrowed, dispatched, exact_kernel, keep, kernel, multiply_add
from fastgmm.kernels.passes.layout import TILE_STEP, lane_rows
from fastgmm.kernels.vector.elementary import vector_exp, vector_log
from fastgmm.kernels.vector.tiles import tile_buffer


class MatrixLaw(NamedTuple):
    """Components of the rows without their errors, of any covariance.

    `log_scale` (K,), `mean` (K, D) and `whitener` (K, D, D), lower triangular, are those of a density; `shift` (K, D)
    is what is added to whitened posterior means in sums.
    """

    log_scale: Any
    mean: Any
    whitener: Any
    shift: Any


class VarianceLaw(NamedTuple):
    """Like :class:`MatrixLaw`, with a `whitener` (K, D) of inverse standard deviations; errors are variances, too."""

    log_scale: Any
    mean: Any
    whitener: Any
    shift: Any


class Measured(NamedTuple):
    """Rows `X` (N, D), their `weight` (N,), or size 0 for 1, and the `error` of each, float64.

    That is (N, D), variances, or (N, D (D + 1) / 2), lower triangles of covariances row by row; or one row for all.
    """

    X: Any
    weight: Any
    error: Any


class Tile(NamedTuple):
    """The buffers of a pass, for tiles of T rows; feature-major, float64.

    `x` (D, T), `error` (E, T), `gap` and `half` (D, T); `factor` (K F, T), of T's Cholesky factor, with the inverse of
    its diagonal (F = D (D + 1) / 2, or D where T is diagonal); `image` (K D, T), what is left of rows when it is
    divided out; `inverse` (D D, T) and `spare` (F, T); `joint` (K, T), log joints and then responsibilities; `rows`
    (5, T): weight, peak, total, root of the responsibility, log determinant.
    """

    x: Any
    error: Any
    gap: Any
    half: Any
    factor: Any
    image: Any
    inverse: Any
    spare: Any
    joint: Any
    rows: Any


@dispatched
def factor_size(law):
    """Return how many numbers of a row and a component are kept between the two sweeps over components."""


@factor_size.register(MatrixLaw)
def _matrix_factor_size(law):
    return law.mean.shape[1] * (law.mean.shape[1] + 1) // 2


@factor_size.register(VarianceLaw)
def _variance_factor_size(law):
    return law.mean.shape[1]


@dispatched
def join_tile(law, k, tile):
    """Overwrite component k's rows of `factor`, `image` and `joint` for a loaded tile."""


@dispatched
def accumulate_tile(law, k, tile, deviation, scatter):
    """Add component k's whitened moments to `deviation` (D,) and `scatter` (F,), for roots of responsibilities."""


@kernel
def _tile_buffers(law, n_errors, with_spare):
    n_components, n_features = law.mean.shape
    like = law.mean
    return Tile(
        tile_buffer(n_features, TILE_STEP, like),
        tile_buffer(n_errors, TILE_STEP, like),
        tile_buffer(n_features, TILE_STEP, like),
        tile_buffer(n_features, TILE_STEP, like),
        tile_buffer(n_components * factor_size(law), TILE_STEP, like),
        tile_buffer(n_components * n_features, TILE_STEP, like),
        tile_buffer(n_features * n_features, TILE_STEP, like),
        tile_buffer(factor_size(law) if with_spare else 0, TILE_STEP, like),
        tile_buffer(n_components, TILE_STEP, like),
        tile_buffer(5, TILE_STEP, like),
    )


@kernel
def _load_tile(rows, first, n, tile):
    """Copy rows first .. first+n into a tile; columns beyond repeat the last row, with weight 0."""
    weight = tile.rows[0]
    for b in range(weight.shape[0]):
        i = first + min(b, n - 1)
        for d in range(rows.X.shape[1]):
            tile.x[d, b] = rows.X[i, d]
        i = min(i, rows.error.shape[0] - 1)
        for e in range(rows.error.shape[1]):
            tile.error[e, b] = rows.error[i, e]
        weight[b] = 0.0 if b >= n else 1.0
    if rows.weight.size > 0:
        for b in range(n):
            weight[b] = rows.weight[first + b]


@exact_kernel
def _scale(factor, source, target):
    """Overwrite a row of the tile with `factor` times another."""
    for b in range(target.shape[0]):
        target[b] = factor * source[b]


@exact_kernel
def _add_multiple(factor, source, target):
    """Add `factor` times a row of the tile to another."""
    for b in range(target.shape[0]):
        target[b] = multiply_add(factor, source[b], target[b])


@exact_kernel
def _subtract_product(left, right, target):
    """Subtract the product of two rows of the tile from another."""
    for b in range(target.shape[0]):
        target[b] = multiply_add(-left[b], right[b], target[b])


@exact_kernel
def _add_product(left, right, target):
    """Add the product of two rows of the tile to another."""
    for b in range(target.shape[0]):
        target[b] = multiply_add(left[b], right[b], target[b])


@exact_kernel
def _multiply(factor, target):
    """Multiply a row of the tile by another."""
    for b in range(target.shape[0]):
        target[b] = target[b] * factor[b]


@exact_kernel
def _invert_pivot(pivot, log_determinant):
    """Replace squared pivots by inverse pivots, none from a square below 1, and add the logarithms of the squares."""
    for b in range(pivot.shape[0]):
        square = 1.0 if pivot[b] < 1.0 else pivot[b]
        pivot[b] = 1.0 / np.sqrt(square)
        log_determinant[b] += vector_log(square)


@exact_kernel
def _subtract_half_square(source, target):
    """Subtract half of the square of a row of the tile from another."""
    for b in range(target.shape[0]):
        target[b] = multiply_add(-0.5 * source[b], source[b], target[b])


@kernel
def _sum_of_products(left, right):
    """Return the sum of the products of two arrays of the tile."""
    s = 0.0
    for b in range(left.shape[0]):
        s += left[b] * right[b]
    return s


@kernel
def _entry(i, j):
    """Return the place of row i, column j <= i in a lower triangle, row by row."""
    return i * (i + 1) // 2 + j


@kernel
def _whiten_errors(whitener, error, half, diagonal, begin, factor):
    """Overwrite rows of `factor` from `begin` on with the lower triangle of A S A^T + `diagonal`."""
    n = whitener.shape[0]
    is_diagonal = error.shape[0] == n
    for i in range(n):
        for j in range(i + 1):
            if is_diagonal:
                _scale(whitener[i, j], error[j], half[j])
            else:
                _scale(whitener[i, 0], error[_entry(j, 0)], half[j])
                for m in range(1, i + 1):
                    _add_multiple(whitener[i, m], error[_entry(max(m, j), min(m, j))], half[j])
        for j in range(i + 1):
            target = factor[begin + _entry(i, j)]
            for b in range(target.shape[0]):
                target[b] = diagonal if i == j else 0.0
            for m in range(j + 1):
                _add_multiple(whitener[j, m], half[m], target)


@join_tile.register(MatrixLaw)
def _join_matrix_tile(law, k, tile):
    n = law.mean.shape[1]
    begin = k * factor_size(law)
    factor, joint, log_determinant = tile.factor, tile.joint[k], tile.rows[4]
    whitener = law.whitener[k]
    _whiten_errors(whitener, tile.error, tile.half, 1.0, begin, factor)
    for b in range(joint.shape[0]):
        log_determinant[b] = 0.0
    for i in range(n):
        for b in range(joint.shape[0]):
            tile.gap[i, b] = tile.x[i, b] - law.mean[k, i]
        for j in range(i + 1):
            target = factor[begin + _entry(i, j)]
            for m in range(j):
                _subtract_product(factor[begin + _entry(i, m)], factor[begin + _entry(j, m)], target)
            if j < i:
                _multiply(factor[begin + _entry(j, j)], target)
            else:
                _invert_pivot(target, log_determinant)
    for b in range(joint.shape[0]):
        joint[b] = law.log_scale[k] - 0.5 * log_determinant[b]
    for i in range(n):
        image = tile.image[k * n + i]
        _scale(whitener[i, 0], tile.gap[0], image)
        for m in range(1, i + 1):
            _add_multiple(whitener[i, m], tile.gap[m], image)
        for m in range(i):
            _subtract_product(factor[begin + _entry(i, m)], tile.image[k * n + m], image)
        _multiply(factor[begin + _entry(i, i)], image)
        _subtract_half_square(image, joint)


@kernel
def _divide_by_transpose(factor, begin, image, first, n):
    """Divide rows first .. first+n of `image` by the transposed factor: T^-1 x' is left."""
    for i in range(n - 1, -1, -1):
        target = image[first + i]
        for m in range(i + 1, n):
            _subtract_product(factor[begin + _entry(m, i)], image[first + m], target)
        _multiply(factor[begin + _entry(i, i)], target)


@exact_kernel
def _negate_product(left, right, target):
    """Overwrite a row of the tile with minus the product of two others."""
    for b in range(target.shape[0]):
        target[b] = -left[b] * right[b]


@kernel
def _invert_factor(factor, begin, n, root, inverse):
    """Overwrite `inverse` (D D, T) with the inverse factor times `root` (T,), column by column, below the diagonal."""
    for i in range(n):
        head = inverse[i * n + i]
        for b in range(root.shape[0]):
            head[b] = root[b] * factor[begin + _entry(i, i), b]
        for m in range(i + 1, n):
            target = inverse[i * n + m]
            _negate_product(factor[begin + _entry(m, i)], head, target)
            for j in range(i + 1, m):
                _subtract_product(factor[begin + _entry(m, j)], inverse[i * n + j], target)
            _multiply(factor[begin + _entry(m, m)], target)


@exact_kernel
def _shift_and_scale(shift, root, target):
    """Add a number to a row of the tile, and multiply it by another row."""
    for b in range(target.shape[0]):
        target[b] = (target[b] + shift) * root[b]


@accumulate_tile.register(MatrixLaw)
def _accumulate_matrix_tile(law, k, tile, deviation, scatter):
    n = law.mean.shape[1]
    begin, root = k * factor_size(law), tile.rows[3]
    _divide_by_transpose(tile.factor, begin, tile.image, k * n, n)
    for i in range(n):
        _shift_and_scale(law.shift[k, i], root, tile.image[k * n + i])
    _invert_factor(tile.factor, begin, n, root, tile.inverse)
    flat = tile.inverse.reshape(tile.inverse.size)
    width = root.shape[0]
    for i in range(n):
        left = tile.image[k * n + i]
        deviation[i] += _sum_of_products(root, left)
        end = (i + 1) * n * width
        for j in range(i + 1):
            # Column j of the inverse factor from row i on, and column i: both are whole stretches of memory.
            both = _sum_of_products(flat[(j * n + i) * width : (j + 1) * n * width], flat[(i * n + i) * width : end])
            scatter[_entry(i, j)] += _sum_of_products(left, tile.image[k * n + j]) - both


@join_tile.register(VarianceLaw)
def _join_variance_tile(law, k, tile):
    n = law.mean.shape[1]
    joint, log_determinant = tile.joint[k], tile.rows[4]
    for b in range(joint.shape[0]):
        log_determinant[b] = 0.0
    for d in range(n):
        scale, mean = law.whitener[k, d], law.mean[k, d]
        factor, image = tile.factor[k * n + d], tile.image[k * n + d]
        for b in range(joint.shape[0]):
            factor[b] = (scale * tile.error[d, b]) * scale + 1.0
            image[b] = scale * (tile.x[d, b] - mean)
        _invert_pivot(factor, log_determinant)
        _multiply(factor, image)
    for b in range(joint.shape[0]):
        joint[b] = law.log_scale[k] - 0.5 * log_determinant[b]
    for d in range(n):
        _subtract_half_square(tile.image[k * n + d], joint)


@accumulate_tile.register(VarianceLaw)
def _accumulate_variance_tile(law, k, tile, deviation, scatter):
    n = law.mean.shape[1]
    root = tile.rows[3]
    for d in range(n):
        factor, image = tile.factor[k * n + d], tile.image[k * n + d]
        _multiply(factor, image)
        _shift_and_scale(law.shift[k, d], root, image)
        _multiply(root, factor)
        deviation[d] += _sum_of_products(root, image)
        scatter[d] += _sum_of_products(image, image) - _sum_of_products(factor, factor)


@dispatched
def describe_tile(law, k, tile):
    """Overwrite component k's rows of `image` and `factor` with the mean of v', and its covariance 1 - T^-1."""


@describe_tile.register(MatrixLaw)
def _describe_matrix_tile(law, k, tile):
    # The covariance is R^T (R S') for R the inverse factor and S' the whitened errors: nothing cancels.
    n = law.mean.shape[1]
    begin, ones = k * factor_size(law), tile.rows[3]
    for b in range(ones.shape[0]):
        ones[b] = 1.0
    _divide_by_transpose(tile.factor, begin, tile.image, k * n, n)
    _invert_factor(tile.factor, begin, n, ones, tile.inverse)
    _whiten_errors(law.whitener[k], tile.error, tile.half, 0.0, 0, tile.spare)
    for j in range(n):
        for m in range(n):
            target = tile.half[m]
            for b in range(ones.shape[0]):
                target[b] = 0.0
            for i in range(m + 1):
                _add_product(tile.inverse[i * n + m], tile.spare[_entry(max(i, j), min(i, j))], target)
        for i in range(j, n):
            target = tile.factor[begin + _entry(i, j)]
            for b in range(ones.shape[0]):
                target[b] = 0.0
            for m in range(i, n):
                _add_product(tile.inverse[i * n + m], tile.half[m], target)


@describe_tile.register(VarianceLaw)
def _describe_variance_tile(law, k, tile):
    n = law.mean.shape[1]
    for d in range(n):
        scale, factor, image = law.whitener[k, d], tile.factor[k * n + d], tile.image[k * n + d]
        _multiply(factor, image)
        for b in range(factor.shape[0]):
            factor[b] = (scale * tile.error[d, b]) * scale * factor[b] * factor[b]


@exact_kernel
def _share_out(joint, weight, peak, total):
    """Replace log joints (K, T) by responsibilities times weights; `total` becomes the log evidence."""
    for b in range(peak.shape[0]):
        peak[b] = joint[0, b]
        total[b] = 0.0
    for k in range(1, joint.shape[0]):
        for b in range(peak.shape[0]):
            peak[b] = joint[k, b] if joint[k, b] > peak[b] else peak[b]
    for k in range(joint.shape[0]):
        for b in range(peak.shape[0]):
            joint[k, b] = vector_exp(joint[k, b] - peak[b])
        for b in range(peak.shape[0]):
            total[b] = total[b] + joint[k, b]
    for k in range(joint.shape[0]):
        for b in range(peak.shape[0]):
            joint[k, b] = joint[k, b] * (weight[b] / total[b])
    for b in range(peak.shape[0]):
        total[b] = peak[b] + vector_log(total[b])


@kernel
def _sum_of(values, n):
    """Return the sum of values[:n]."""
    s = 0.0
    for b in range(n):
        s += values[b]
    return s


@kernel
def _roots(values, root):
    """Overwrite `root` with the square roots of `values`; return whether any is positive."""
    for b in range(root.shape[0]):
        root[b] = np.sqrt(values[b])
    largest = 0.0
    for b in range(root.shape[0]):
        largest = max(largest, values[b])
    return largest != 0.0


def _collect_measured_lanes(first_lane, last_lane, law, rows, mass, deviation, scatter, log_evidence):
    """Add whitened moments of posterior means less inverse covariances, lane by lane, to accumulators.

    `mass` (L, K), `deviation` (L, K, D), `scatter` (L, K, F), lower triangles row by row, and `log_evidence` (L,). The
    moments of v' are those, with the mass added to the diagonal of the scatter.
    """
    n_components = law.mean.shape[0]
    owned = _tile_buffers(law, rows.error.shape[1], False)
    tile = borrowed(owned)
    law, rows, mass, deviation, scatter = borrowed((law, rows, mass, deviation, scatter))
    weight, peak, total, root = tile.rows[0], tile.rows[1], tile.rows[2], tile.rows[3]
    for lane in range(first_lane, last_lane):
        start, stop = lane_rows(lane, mass.shape[0], TILE_STEP, rows.X.shape[0])
        for first in range(start, stop, TILE_STEP):
            n = min(TILE_STEP, stop - first)
            _load_tile(rows, first, n, tile)
            for k in range(n_components):
                join_tile(law, k, tile)
            _share_out(tile.joint, weight, peak, total)
            log_evidence[lane] += _sum_of_products(weight[:n], total[:n])
            for k in range(n_components):
                if _roots(tile.joint[k], root):
                    mass[lane, k] += _sum_of(tile.joint[k], n)
                    accumulate_tile(law, k, tile, deviation[lane, k], scatter[lane, k])
    keep(owned)


collect_measured = Driver(_collect_measured_lanes)


def _describe_measured_lanes(first_lane, last_lane, n_lanes, law, rows, joint, mean, covariance):
    """Overwrite the log joints (N, K) of rows, and the whitened posteriors of v under each component.

    `mean` (N, K, D) and `covariance` (N, K, F), lower triangles row by row, are skipped where they have size 0.
    """
    n_components = law.mean.shape[0]
    owned = _tile_buffers(law, rows.error.shape[1], mean.size > 0)
    tile = borrowed(owned)
    law, rows, joint, mean, covariance = borrowed((law, rows, joint, mean, covariance))
    size = factor_size(law)
    for lane in range(first_lane, last_lane):
        start, stop = lane_rows(lane, n_lanes, TILE_STEP, rows.X.shape[0])
        for first in range(start, stop, TILE_STEP):
            n = min(TILE_STEP, stop - first)
            _load_tile(rows, first, n, tile)
            for k in range(n_components):
                join_tile(law, k, tile)
                for b in range(n):
                    joint[first + b, k] = tile.joint[k, b]
            if mean.size == 0:
                continue
            for k in range(n_components):
                describe_tile(law, k, tile)
                for d in range(mean.shape[2]):
                    for b in range(n):
                        mean[first + b, k, d] = tile.image[k * mean.shape[2] + d, b]
                for f in range(size):
                    for b in range(n):
                        covariance[first + b, k, f] = tile.factor[k * size + f, b]
    keep(owned)


describe_measured = Driver(_describe_measured_lanes)
