"""The posterior, under each component, of what was measured with errors, row by row; and the log joints of rows.

The formulas are those of :mod:`fastgmm.kernels.passes.measured`; this pass makes the first of its two sweeps over the
components, too.
"""

from __future__ import annotations

from fastgmm.kernels.compiling import Driver, borrowed, dispatched, exact_kernel, keep, kernel
from fastgmm.kernels.passes.layout import TILE_STEP, lane_rows
from fastgmm.kernels.passes.measured import (
    MatrixLaw,
    VarianceLaw,
    add_multiple,
    add_product,
    divide_factor,
    factor_size,
    join_tile,
    load_measured,
    measured_buffers,
    multiply_row,
    set_moved,
    set_multiple,
    set_product,
    set_total,
    subtract_product,
    triangle_place,
)

#: Errors are small where the sum of their variances, in white coordinates, is below this: there nothing cancels.
SMALL_ERRORS = 100.0


@dispatched
def describe_tile(law, k, tile):
    """Overwrite `moved` and component k's rows of `factor` with the mean of v', and its covariance 1 - C^T C."""


@exact_kernel
def _choose_small(size, small, large):
    """Overwrite a row of the tile with another where `size` is small."""
    for b in range(size.shape[0]):
        large[b] = small[b] if size[b] < SMALL_ERRORS else large[b]


@kernel
def _set_errors(law, k, tile, size):
    """Overwrite the first D D rows of `spare` with S A^T, and `size` (T,) with the trace of A S A^T."""
    n = law.mean.shape[1]
    unit, whitener, is_diagonal = law.unit[k], law.whitener[k], tile.error.shape[0] == n
    for b in range(size.shape[0]):
        size[b] = 0.0
    for i in range(n):
        for j in range(n):
            target = tile.spare[i * n + j]
            for b in range(size.shape[0]):
                target[b] = 0.0
            for m in range(j + 1):
                if not is_diagonal or m == i:
                    error = tile.error[i if is_diagonal else triangle_place(max(i, m), min(i, m))]
                    set_total(0.0, unit[i], error, unit[m], tile.gap[0])
                    add_multiple(whitener[j, m], tile.gap[0], target)
            if i <= j:
                add_multiple(whitener[j, i], target, size)


@describe_tile.register(MatrixLaw)
def _describe_matrix_tile(law, k, tile):
    # Where errors are small the covariance is (L^-1 S A^T)^T C, which keeps all of its digits; else 1 - C^T C.
    n, begin = law.mean.shape[1], k * factor_size(law)
    ones, size = tile.rows[3], tile.rows[4]
    for b in range(ones.shape[0]):
        ones[b] = 1.0
    divide_factor(tile.factor, begin, law.factor[k], ones, tile.quotient)
    set_moved(tile.image, k * n, tile.quotient, tile.moved)
    _set_errors(law, k, tile, size)
    for i in range(n):
        for j in range(n):
            target = tile.spare[i * n + j]
            for m in range(i):
                subtract_product(tile.factor[begin + triangle_place(i, m)], tile.spare[m * n + j], target)
            multiply_row(tile.factor[begin + triangle_place(i, i)], target)
    small = tile.gap[0]
    for i in range(n):
        for j in range(i + 1):
            target = tile.spare[(n + i) * n + j]
            for b in range(ones.shape[0]):
                small[b] = 0.0
                target[b] = 1.0 if i == j else 0.0
            for m in range(i, n):
                add_product(tile.spare[m * n + j], tile.quotient[i * n + m], small)
                subtract_product(tile.quotient[j * n + m], tile.quotient[i * n + m], target)
            _choose_small(size, small, target)
    for i in range(n):
        for j in range(i + 1):
            set_multiple(1.0, tile.spare[(n + i) * n + j], tile.factor[begin + triangle_place(i, j)])


@describe_tile.register(VarianceLaw)
def _describe_variance_tile(law, k, tile):
    n = law.mean.shape[1]
    for d in range(n):
        scale, factor = law.whitener[k, d], tile.factor[k * n + d]
        set_product(factor, tile.image[k * n + d], tile.moved[d])
        set_total(0.0, scale, tile.error[d], scale, tile.gap[0])
        multiply_row(factor, factor)
        multiply_row(tile.gap[0], factor)


def _describe_measured_lanes(first_lane, last_lane, n_lanes, law, rows, joint, mean, covariance):
    """Overwrite the log joints (N, K) of rows, and the whitened posteriors of v under each component.

    `mean` (N, K, D) and `covariance` (N, K, F), lower triangles row by row, are skipped where they have size 0.
    """
    n_components = law.mean.shape[0]
    owned = measured_buffers(law, rows.error.shape[1], mean.size > 0)
    tile = borrowed(owned)
    law, rows, joint, mean, covariance = borrowed((law, rows, joint, mean, covariance))
    size = factor_size(law)
    for lane in range(first_lane, last_lane):
        start, stop = lane_rows(lane, n_lanes, TILE_STEP, rows.X.shape[0])
        for first in range(start, stop, TILE_STEP):
            n = min(TILE_STEP, stop - first)
            load_measured(rows, first, n, tile)
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
                        mean[first + b, k, d] = tile.moved[d, b]
                for f in range(size):
                    for b in range(n):
                        covariance[first + b, k, f] = tile.factor[k * size + f, b]
    keep(owned)


describe_measured = Driver(_describe_measured_lanes)
