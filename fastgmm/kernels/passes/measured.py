"""The pass over rows with errors of measurement: a row's covariance under a component is its own, T = V + S.

Rows x = v + e are given with the covariance S of e, and the mixture is that of v (Bovy, Hogg and Roweis 2011). Each
component is seen in units of its own standard deviations, where errors that are huge in one column are no harm to the
digits of others, and T has no pivot below that of V but for rounding: nothing fails however S and V compare. Moments
are those of v' = A (v - mean), which is white: with V = R R^T and C = L^-1 R, for the Cholesky factor L of T, v' has
the posterior mean C^T L^-1 (x - mean) and covariance 1 - C^T C. So sums keep the digits of the component's narrowest
direction.

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
    """Components of the rows without their errors, of any covariance, in units of their standard deviations.

    `log_scale` (K,) is the log joint's, less the logarithms of the root of T's determinant and the half distance;
    `mean` (K, D); `unit` (K, D), inverse standard deviations; `factor` (K, D, D), lower triangular, the Cholesky factor
    of the `correlation` (K, D (D + 1) / 2), a lower triangle row by row, and `whitener` (K, D, D) its inverse; `shift`
    (K, D) is what is added to whitened posterior means in sums.
    """

    log_scale: Any
    mean: Any
    unit: Any
    factor: Any
    correlation: Any
    whitener: Any
    shift: Any


class VarianceLaw(NamedTuple):
    """Like :class:`MatrixLaw` where columns are independent, and errors are variances, too.

    `log_scale` (K,), `mean` (K, D) and `whitener` (K, D), inverse standard deviations, are those of a density.
    """

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

    `x` and `gap` (D, T); `error` (E, T); `factor` (K F, T), of T's Cholesky factor, with the inverse of its diagonal
    (F = D (D + 1) / 2, or D where T is diagonal); `image` (K D, T), x - mean with the factor divided out; `quotient`
    (D D, T), C column by column; `spare` (2 D D, T); `joint` (K, T), log joints and then responsibilities; `moved`
    (D, T), posterior means; `rows` (5, T): weight, peak, total, root of the responsibility, log determinant.
    """

    x: Any
    gap: Any
    error: Any
    factor: Any
    image: Any
    quotient: Any
    spare: Any
    joint: Any
    moved: Any
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
def measured_buffers(law, n_errors, with_spare):
    """Return a :class:`Tile` for rows with so many numbers of errors each; the spare buffer may be left out."""
    n_components, n_features = law.mean.shape
    like = law.mean
    return Tile(
        tile_buffer(n_features, TILE_STEP, like),
        tile_buffer(n_features, TILE_STEP, like),
        tile_buffer(n_errors, TILE_STEP, like),
        tile_buffer(n_components * factor_size(law), TILE_STEP, like),
        tile_buffer(n_components * n_features, TILE_STEP, like),
        tile_buffer(n_features * n_features, TILE_STEP, like),
        tile_buffer(2 * n_features * n_features if with_spare else 0, TILE_STEP, like),
        tile_buffer(n_components, TILE_STEP, like),
        tile_buffer(n_features, TILE_STEP, like),
        tile_buffer(5, TILE_STEP, like),
    )


@kernel
def load_measured(rows, first, n, tile):
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
def set_multiple(factor, source, target):
    """Overwrite a row of the tile with `factor` times another."""
    for b in range(target.shape[0]):
        target[b] = factor * source[b]


@exact_kernel
def add_multiple(factor, source, target):
    """Add `factor` times a row of the tile to another."""
    for b in range(target.shape[0]):
        target[b] = multiply_add(factor, source[b], target[b])


@exact_kernel
def subtract_product(left, right, target):
    """Subtract the product of two rows of the tile from another."""
    for b in range(target.shape[0]):
        target[b] = multiply_add(-left[b], right[b], target[b])


@exact_kernel
def add_product(left, right, target):
    """Add the product of two rows of the tile to another."""
    for b in range(target.shape[0]):
        target[b] = multiply_add(left[b], right[b], target[b])


@exact_kernel
def set_product(left, right, target):
    """Overwrite a row of the tile with the product of two others."""
    for b in range(target.shape[0]):
        target[b] = left[b] * right[b]


@exact_kernel
def multiply_row(factor, target):
    """Multiply a row of the tile by another."""
    for b in range(target.shape[0]):
        target[b] = target[b] * factor[b]


@exact_kernel
def _invert_pivot(pivot, least, log_determinant):
    """Replace squared pivots, none of them below `least`, by inverse pivots, and add the logarithms of the squares."""
    for b in range(pivot.shape[0]):
        square = least if pivot[b] < least else pivot[b]
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
def triangle_place(i, j):
    """Return the place of row i, column j <= i in a lower triangle, row by row."""
    return i * (i + 1) // 2 + j


@exact_kernel
def set_total(own, left, error, right, target):
    """Overwrite an entry of T with that of V plus that of S in other units."""
    for b in range(target.shape[0]):
        target[b] = multiply_add(left * error[b], right, own)


@exact_kernel
def _begin_joint(log_scale, log_determinant, joint):
    """Overwrite log joints with all but their distances."""
    for b in range(joint.shape[0]):
        joint[b] = multiply_add(-0.5, log_determinant[b], log_scale)


@exact_kernel
def _set_gap(unit, x, mean, gap):
    """Overwrite a row of the tile with the difference of another from a mean, in other units."""
    for b in range(gap.shape[0]):
        gap[b] = unit * (x[b] - mean)


@join_tile.register(MatrixLaw)
def _join_matrix_tile(law, k, tile):
    n = law.mean.shape[1]
    begin = k * factor_size(law)
    factor, joint, log_determinant = tile.factor, tile.joint[k], tile.rows[4]
    unit, is_diagonal = law.unit[k], tile.error.shape[0] == n
    for b in range(joint.shape[0]):
        log_determinant[b] = 0.0
    for i in range(n):
        for j in range(i + 1):
            target, own = factor[begin + triangle_place(i, j)], law.correlation[k, triangle_place(i, j)]
            if not is_diagonal:
                set_total(own, unit[i], tile.error[triangle_place(i, j)], unit[j], target)
            elif i == j:
                set_total(own, unit[i], tile.error[i], unit[i], target)
            else:
                for b in range(joint.shape[0]):
                    target[b] = own
            for m in range(j):
                subtract_product(factor[begin + triangle_place(i, m)], factor[begin + triangle_place(j, m)], target)
            if j < i:
                multiply_row(factor[begin + triangle_place(j, j)], target)
            else:
                _invert_pivot(target, law.factor[k, i, i] * law.factor[k, i, i], log_determinant)
    _begin_joint(law.log_scale[k], log_determinant, joint)
    for i in range(n):
        image = tile.image[k * n + i]
        _set_gap(unit[i], tile.x[i], law.mean[k, i], image)
        for m in range(i):
            subtract_product(factor[begin + triangle_place(i, m)], tile.image[k * n + m], image)
        multiply_row(factor[begin + triangle_place(i, i)], image)
        _subtract_half_square(image, joint)


@exact_kernel
def _shift_and_scale(shift, root, target):
    """Add a number to a row of the tile, and multiply it by another row."""
    for b in range(target.shape[0]):
        target[b] = (target[b] + shift) * root[b]


@kernel
def divide_factor(factor, begin, own, root, quotient):
    """Overwrite `quotient` (D D, T) with C = L^-1 `own`, column by column and below the diagonal, times `root` (T,)."""
    n = own.shape[0]
    for j in range(n):
        for i in range(j, n):
            target = quotient[j * n + i]
            set_multiple(own[i, j], root, target)
            for m in range(j, i):
                subtract_product(factor[begin + triangle_place(i, m)], quotient[j * n + m], target)
            multiply_row(factor[begin + triangle_place(i, i)], target)


@kernel
def set_moved(image, first, quotient, moved):
    """Overwrite `moved` (D, T) with C^T times rows first .. first+D of `image`."""
    n = moved.shape[0]
    for j in range(n):
        set_product(quotient[j * n + j], image[first + j], moved[j])
        for i in range(j + 1, n):
            add_product(quotient[j * n + i], image[first + i], moved[j])


@accumulate_tile.register(MatrixLaw)
def _accumulate_matrix_tile(law, k, tile, deviation, scatter):
    n, root = law.mean.shape[1], tile.rows[3]
    divide_factor(tile.factor, k * factor_size(law), law.factor[k], root, tile.quotient)
    set_moved(tile.image, k * n, tile.quotient, tile.moved)
    for i in range(n):
        add_multiple(law.shift[k, i], root, tile.moved[i])
    flat = tile.quotient.reshape(tile.quotient.size)
    width = root.shape[0]
    for i in range(n):
        left = tile.moved[i]
        deviation[i] += _sum_of_products(root, left)
        end = (i + 1) * n * width
        for j in range(i + 1):
            # Column j of the quotient from row i on, and column i: both are whole stretches of memory.
            both = _sum_of_products(flat[(j * n + i) * width : (j + 1) * n * width], flat[(i * n + i) * width : end])
            scatter[triangle_place(i, j)] += _sum_of_products(left, tile.moved[j]) - both


@join_tile.register(VarianceLaw)
def _join_variance_tile(law, k, tile):
    n = law.mean.shape[1]
    joint, log_determinant = tile.joint[k], tile.rows[4]
    for b in range(joint.shape[0]):
        log_determinant[b] = 0.0
    for d in range(n):
        scale, factor, image = law.whitener[k, d], tile.factor[k * n + d], tile.image[k * n + d]
        set_total(1.0, scale, tile.error[d], scale, factor)
        _set_gap(scale, tile.x[d], law.mean[k, d], image)
        _invert_pivot(factor, 1.0, log_determinant)
        multiply_row(factor, image)
    _begin_joint(law.log_scale[k], log_determinant, joint)
    for d in range(n):
        _subtract_half_square(tile.image[k * n + d], joint)


@accumulate_tile.register(VarianceLaw)
def _accumulate_variance_tile(law, k, tile, deviation, scatter):
    n = law.mean.shape[1]
    root = tile.rows[3]
    for d in range(n):
        factor, image = tile.factor[k * n + d], tile.image[k * n + d]
        multiply_row(factor, image)
        _shift_and_scale(law.shift[k, d], root, image)
        multiply_row(root, factor)
        deviation[d] += _sum_of_products(root, image)
        scatter[d] += _sum_of_products(image, image) - _sum_of_products(factor, factor)


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
    owned = measured_buffers(law, rows.error.shape[1], False)
    tile = borrowed(owned)
    law, rows, mass, deviation, scatter = borrowed((law, rows, mass, deviation, scatter))
    weight, peak, total, root = tile.rows[0], tile.rows[1], tile.rows[2], tile.rows[3]
    for lane in range(first_lane, last_lane):
        start, stop = lane_rows(lane, mass.shape[0], TILE_STEP, rows.X.shape[0])
        for first in range(start, stop, TILE_STEP):
            n = min(TILE_STEP, stop - first)
            load_measured(rows, first, n, tile)
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
