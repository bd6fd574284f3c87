"""The diag family: a variance per component and feature."""

from __future__ import annotations

import numpy as np

from fastgmm.kernels import contract
from fastgmm.kernels.densities import DiagDensity


@contract.workspace.register(DiagDensity)
def _workspace(density, tile_rows):
    return np.empty((0, tile_rows))


@contract.prepare.register(DiagDensity)
def _prepare(density):
    return np.empty((0, 0))


@contract.distance_tile.register(DiagDensity)
def _distance_tile(density, table, x, n, scratch, distance):
    n_components, n_features = density.mean.shape
    whole = n_features - n_features % 4
    for k in range(n_components):
        m = density.mean[k]
        a = density.whitener[k]
        out = distance[k]
        for b in range(n):
            out[b] = 0.0
        for d in range(0, whole, 4):
            m0, m1, m2, m3 = m[d], m[d + 1], m[d + 2], m[d + 3]
            a0, a1, a2, a3 = a[d], a[d + 1], a[d + 2], a[d + 3]
            x0 = x[d]
            x1 = x[d + 1]
            x2 = x[d + 2]
            x3 = x[d + 3]
            for b in range(n):
                y0 = (x0[b] - m0) * a0
                y1 = (x1[b] - m1) * a1
                y2 = (x2[b] - m2) * a2
                y3 = (x3[b] - m3) * a3
                out[b] += y0 * y0 + y1 * y1 + y2 * y2 + y3 * y3
        for d in range(whole, n_features):
            m0 = m[d]
            a0 = a[d]
            x0 = x[d]
            for b in range(n):
                y0 = (x0[b] - m0) * a0
                out[b] += y0 * y0


@contract.accumulate_tile.register(DiagDensity)
def _accumulate_tile(density, origin, x, n, responsibility, tile_mass, distance, scratch, deviation, scatter):
    n_components, n_features = density.mean.shape
    whole = n_features - n_features % 4
    for k in range(n_components):
        if tile_mass[k] == 0.0:
            continue
        r = responsibility[k]
        m = origin[k]
        for d in range(0, whole, 4):
            m0, m1, m2, m3 = m[d], m[d + 1], m[d + 2], m[d + 3]
            x0 = x[d]
            x1 = x[d + 1]
            x2 = x[d + 2]
            x3 = x[d + 3]
            s0 = s1 = s2 = s3 = 0.0
            t0 = t1 = t2 = t3 = 0.0
            for b in range(n):
                q = r[b]
                y0 = x0[b] - m0
                y1 = x1[b] - m1
                y2 = x2[b] - m2
                y3 = x3[b] - m3
                s0 += q * y0
                s1 += q * y1
                s2 += q * y2
                s3 += q * y3
                t0 += q * y0 * y0
                t1 += q * y1 * y1
                t2 += q * y2 * y2
                t3 += q * y3 * y3
            deviation[k, d] += s0
            deviation[k, d + 1] += s1
            deviation[k, d + 2] += s2
            deviation[k, d + 3] += s3
            scatter[k, d] += t0
            scatter[k, d + 1] += t1
            scatter[k, d + 2] += t2
            scatter[k, d + 3] += t3
        for d in range(whole, n_features):
            m0 = m[d]
            x0 = x[d]
            s0 = t0 = 0.0
            for b in range(n):
                y0 = x0[b] - m0
                s0 += r[b] * y0
                t0 += r[b] * y0 * y0
            deviation[k, d] += s0
            scatter[k, d] += t0


@contract.project.register(DiagDensity)
def _project(density, k, factor, u, v, scatter):
    for j in range(u.shape[0]):
        scatter[k, j] += factor * u[j] * v[j]


@contract.pool.register(DiagDensity)
def _pool(density, mass):
    return mass.copy()


@contract.variance.register(DiagDensity)
def _variance(density, covariance, k, j):
    return covariance[k, j]


@contract.regularise.register(DiagDensity)
def _regularise(density, covariance, amount):
    for k in range(covariance.shape[0]):
        for j in range(covariance.shape[1]):
            covariance[k, j] = max(covariance[k, j], 0.0) + amount


@contract.whiten.register(DiagDensity)
def _whiten(density, covariance):
    for k in range(covariance.shape[0]):
        for j in range(covariance.shape[1]):
            if not covariance[k, j] > 0.0:
                return k
            density.whitener[k, j] = 1.0 / np.sqrt(covariance[k, j])
    return -1


@contract.log_determinant.register(DiagDensity)
def _log_determinant(density, k):
    s = 0.0
    for j in range(density.mean.shape[1]):
        s += np.log(density.whitener[k, j])
    return s


@contract.wishart.register(DiagDensity)
def _wishart(density):
    return 1, density.mean.shape[1]


@contract.inner.register(DiagDensity)
def _inner(density, scatter):
    total = 0.0
    for k in range(scatter.shape[0]):
        for j in range(scatter.shape[1]):
            total += density.whitener[k, j] * scatter[k, j] * density.whitener[k, j]
    return total
