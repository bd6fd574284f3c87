"""What families share of the work on a tile: whitening it, distances, deviations, and products of single vectors.

The tied family needs whitened rows themselves, not only their norms, which :mod:`fastgmm.kernels.simd` gives: blocks of
4 x 4 scalars of the whitener, with the loop over the tile's rows inside.
"""

from __future__ import annotations

import numpy as np

from fastgmm.kernels._compile import kernel
from fastgmm.kernels.simd import CHUNK, whiten_chunk


@kernel
def centre_tile(x, mean, n, centred):
    """Overwrite centred[d, :n] with x[d, :n] - mean[d]."""
    for d in range(mean.shape[0]):
        m = mean[d]
        row = x[d]
        out = centred[d]
        for b in range(n):
            out[b] = row[b] - m


@kernel
def left_rows(w, i, u, n, z):
    """Overwrite z[0..3, :n] with rows i..i+3 of `w`, left of column i, times the tile `u`; i > 0 is a multiple of 4."""
    z0 = z[0]
    z1 = z[1]
    z2 = z[2]
    z3 = z[3]
    for j in range(0, i, 4):
        a00, a01, a02, a03 = w[i, j], w[i, j + 1], w[i, j + 2], w[i, j + 3]
        a10, a11, a12, a13 = w[i + 1, j], w[i + 1, j + 1], w[i + 1, j + 2], w[i + 1, j + 3]
        a20, a21, a22, a23 = w[i + 2, j], w[i + 2, j + 1], w[i + 2, j + 2], w[i + 2, j + 3]
        a30, a31, a32, a33 = w[i + 3, j], w[i + 3, j + 1], w[i + 3, j + 2], w[i + 3, j + 3]
        u0 = u[j]
        u1 = u[j + 1]
        u2 = u[j + 2]
        u3 = u[j + 3]
        if j == 0:
            for b in range(n):
                x0, x1, x2, x3 = u0[b], u1[b], u2[b], u3[b]
                z0[b] = a00 * x0 + a01 * x1 + a02 * x2 + a03 * x3
                z1[b] = a10 * x0 + a11 * x1 + a12 * x2 + a13 * x3
                z2[b] = a20 * x0 + a21 * x1 + a22 * x2 + a23 * x3
                z3[b] = a30 * x0 + a31 * x1 + a32 * x2 + a33 * x3
        else:
            for b in range(n):
                x0, x1, x2, x3 = u0[b], u1[b], u2[b], u3[b]
                z0[b] += a00 * x0 + a01 * x1 + a02 * x2 + a03 * x3
                z1[b] += a10 * x0 + a11 * x1 + a12 * x2 + a13 * x3
                z2[b] += a20 * x0 + a21 * x1 + a22 * x2 + a23 * x3
                z3[b] += a30 * x0 + a31 * x1 + a32 * x2 + a33 * x3


@kernel
def whiten_rows(w, i, u, n, z):
    """Overwrite z[0..3, :n] with rows i..i+3 of the lower triangular `w` times the tile `u`; i is a multiple of 4."""
    z0 = z[0]
    z1 = z[1]
    z2 = z[2]
    z3 = z[3]
    if i > 0:
        left_rows(w, i, u, n, z)
    else:
        for b in range(n):
            z0[b] = z1[b] = z2[b] = z3[b] = 0.0
    a00, a10, a11, a20, a21, a22 = w[i, i], w[i + 1, i], w[i + 1, i + 1], w[i + 2, i], w[i + 2, i + 1], w[i + 2, i + 2]
    a30, a31, a32, a33 = w[i + 3, i], w[i + 3, i + 1], w[i + 3, i + 2], w[i + 3, i + 3]
    u0 = u[i]
    u1 = u[i + 1]
    u2 = u[i + 2]
    u3 = u[i + 3]
    for b in range(n):
        x0, x1, x2, x3 = u0[b], u1[b], u2[b], u3[b]
        z0[b] += a00 * x0
        z1[b] += a10 * x0 + a11 * x1
        z2[b] += a20 * x0 + a21 * x1 + a22 * x2
        z3[b] += a30 * x0 + a31 * x1 + a32 * x2 + a33 * x3


@kernel
def whiten_row(w, i, u, n, z0):
    """Overwrite z0[:n] with row i of the lower triangular `w` times the tile `u`."""
    a = w[i, 0]
    row = u[0]
    for b in range(n):
        z0[b] = a * row[b]
    for j in range(1, i + 1):
        a = w[i, j]
        row = u[j]
        for b in range(n):
            z0[b] += a * row[b]


@kernel
def whitened_square(w, mean, x, n, distance):
    """Overwrite distance[:n] with the squared norms of w (x - mean) for the columns of the tile; `w` lower triangular.

    Columns n and on, as far as a chunk reaches and both arrays go, are scratch.
    """
    n_features = mean.shape[0]
    end = min(x.shape[1], distance.shape[0])
    first = 0
    while first < n and first + CHUNK <= end:
        whiten_chunk(w, mean, x, first, distance)
        first += CHUNK
    # In a buffer that ends with its rows.
    for b in range(first, n):
        square = 0.0
        for i in range(n_features):
            y = 0.0
            for j in range(i + 1):
                y += w[i, j] * (x[j, b] - mean[j])
            square += y * y
        distance[b] = square


@kernel
def add_symmetric(factor, u, v, scatter):
    """Add factor/2 (u v^T + v u^T) to the (D, D) `scatter`."""
    n_features = scatter.shape[0]
    for i in range(n_features):
        for j in range(n_features):
            scatter[i, j] += factor * 0.5 * (u[i] * v[j] + v[i] * u[j])


@kernel
def log_diagonal(matrix):
    """Return the sum of the logarithms of the diagonal of `matrix`."""
    s = 0.0
    for i in range(matrix.shape[0]):
        s += np.log(matrix[i, i])
    return s


@kernel
def square_distances(x, mean, n, distance):
    """Overwrite distance[k, :n] with the squared Euclidean distances of the tile's rows from mean[k]."""
    n_components, n_features = mean.shape
    whole = n_features - n_features % 4
    for k in range(n_components):
        m = mean[k]
        out = distance[k]
        for b in range(n):
            out[b] = 0.0
        for d in range(0, whole, 4):
            m0, m1, m2, m3 = m[d], m[d + 1], m[d + 2], m[d + 3]
            x0 = x[d]
            x1 = x[d + 1]
            x2 = x[d + 2]
            x3 = x[d + 3]
            for b in range(n):
                y0 = x0[b] - m0
                y1 = x1[b] - m1
                y2 = x2[b] - m2
                y3 = x3[b] - m3
                out[b] += y0 * y0 + y1 * y1 + y2 * y2 + y3 * y3
        for d in range(whole, n_features):
            m0 = m[d]
            x0 = x[d]
            for b in range(n):
                y0 = x0[b] - m0
                out[b] += y0 * y0


@kernel
def add_deviation(x, mean, r, n, deviation):
    """Add the sums over the tile of r times (x - mean) to `deviation` (D,)."""
    n_features = mean.shape[0]
    whole = n_features - n_features % 4
    for d in range(0, whole, 4):
        m0, m1, m2, m3 = mean[d], mean[d + 1], mean[d + 2], mean[d + 3]
        x0 = x[d]
        x1 = x[d + 1]
        x2 = x[d + 2]
        x3 = x[d + 3]
        s0 = s1 = s2 = s3 = 0.0
        for b in range(n):
            q = r[b]
            s0 += q * (x0[b] - m0)
            s1 += q * (x1[b] - m1)
            s2 += q * (x2[b] - m2)
            s3 += q * (x3[b] - m3)
        deviation[d] += s0
        deviation[d + 1] += s1
        deviation[d + 2] += s2
        deviation[d + 3] += s3
    for d in range(whole, n_features):
        m0 = mean[d]
        x0 = x[d]
        s0 = 0.0
        for b in range(n):
            s0 += r[b] * (x0[b] - m0)
        deviation[d] += s0
