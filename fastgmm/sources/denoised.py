"""Rows with errors as starts take them: numbers that say next to nothing are drawn from what the others say.

A start (k-means, agglomeration, ...) takes rows for exact ones, and one number with a huge error would get a component
of its own. Such numbers are those whose errors are large beside the spread of the numbers of their column.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgmm.families import STRUCTURES
from fastgmm.kernels import Density
from fastgmm.kernels.passes.measured import Measured
from fastgmm.passes.measured import collect, posteriors
from fastgmm.passes.measured_rows import MeasuredRows, unpacked
from fastgmm.rows import row_type
from fastgmm.statistics import Array

# A number is drawn where the variance of its error is so many times that of a typical number of its column.
_HUGE = 4.0
# Steps towards the variances of columns, none of which leaves less than a share, and towards one normal law.
_STEPS, _LEAST_STEP = 60, 0.1
_ITERATIONS = 10
# Rows that the law is made of, at most or little more, and what keeps it from collapsing, a share of each variance.
_LAW_ROWS = 2**14
_RIDGE = 1e-6
# In units of the largest number.
_LARGEST_ERROR, _SMALLEST_VARIANCE = 1e100, 1e-60


class Beginning(NamedTuple):
    """Rows with errors as starts see them: `X` (N, D), None for the rows as they are, and its mean error (D, D)."""

    X: NDArray | None
    error: Array


def beginning(rows: MeasuredRows, n_threads: int | None = None) -> Beginning:
    """Return the rows as starts see them, made once; always the same numbers."""
    if rows.beginning is None:
        rows.beginning = _beginning(rows, n_threads)
    found: Beginning = rows.beginning
    return found


def _beginning(rows: MeasuredRows, n_threads: int | None) -> Beginning:
    if len(rows.error) == 1:
        return Beginning(None, rows.mean_error())
    weight = np.ones(rows.n_rows) if rows.sample_weight is None else rows.sample_weight
    with np.errstate(over="ignore", under="ignore"):
        mean, variance, typical = _columns(rows, weight)
        huge = rows.variances > _HUGE * typical
    huge[weight <= 0.0] = False
    places = np.flatnonzero(huge.any(axis=1))
    if len(places) == 0:
        return Beginning(None, rows.mean_error())
    drawn = _drawn(rows, places, _one_law(rows, weight, mean, variance, n_threads), n_threads)
    X = rows.X.astype(row_type(rows.X.dtype))
    X[places] = np.where(huge[places], drawn, X[places])
    kept = ~huge
    if rows.has_variances:
        return Beginning(X, np.diag(np.average(rows.error * kept, axis=0, weights=weight)))
    row, column = np.tril_indices(rows.n_features)
    left = np.average(rows.error * (kept[:, row] & kept[:, column]), axis=0, weights=weight)
    return Beginning(X, unpacked(left, rows.n_features))


def _columns(rows: MeasuredRows, weight: Array) -> tuple[Array, Array, Array]:
    """Return for each column mean, variance of what was measured, and variance of a typical number with its error.

    By scoring: V is the mean of (x - mean)^2 - S by weights (V + S)^-2, so that precise numbers decide (Paule and
    Mandel 1982). The typical variance is the harmonic mean of V + S.
    """
    share = (weight / weight.max())[:, None]
    middle = np.average(rows.X, axis=0, weights=weight)
    x = rows.X - middle
    unit = np.abs(x[weight > 0.0]).max(axis=0)
    unit[unit == 0.0] = 1.0
    x /= unit
    error = np.minimum(rows.variances / unit / unit, _LARGEST_ERROR)
    mean, variance = np.zeros(rows.n_features), np.ones(rows.n_features)
    least = np.where(weight[:, None] > 0.0, error, np.inf).min(axis=0)
    for _ in range(_STEPS):
        precision = (variance + least) / (variance + error)
        first, second = share * precision, share * precision**2
        mean = (first * x).sum(axis=0) / first.sum(axis=0)
        scored = (second * ((x - mean) ** 2 - error)).sum(axis=0) / second.sum(axis=0)
        before, variance = variance, np.maximum(scored, np.maximum(_LEAST_STEP * variance, _SMALLEST_VARIANCE))
        if (np.abs(variance - before) <= 1e-3 * before).all():
            break
    typical = share.sum() / (share / (variance + error)).sum(axis=0)
    return middle + unit * mean, variance * unit * unit, typical * unit * unit


def _one_law(rows: MeasuredRows, weight: Array, mean: Array, variance: Array, n_threads: int | None) -> Density:
    """Return one normal law of what was measured, by a few iterations from independent columns."""
    family = STRUCTURES["full"]
    places = np.flatnonzero(weight > 0.0)
    places = places[:: max(len(places) // _LAW_ROWS, 1)]
    X = np.array(rows.X[places], np.float64, order="C")
    part = Measured(X, weight[places] / weight.max(), rows.error[places])
    ridge = np.diag(_RIDGE * variance + np.finfo(np.float64).tiny)
    covariance = np.diag(variance)
    found: Density | None = None
    for _ in range(_ITERATIONS):
        density, failed = family.density(np.ones(1), mean[None].copy(), covariance[None] + ridge)
        if failed >= 0:
            break
        found = density
        with np.errstate(over="ignore", invalid="ignore"):
            statistics = collect(family, density, part, None, n_threads)
        if not (np.isfinite(statistics.log_evidence) and np.isfinite(statistics.scatter).all()):
            break
        mean, covariance = statistics.mean[0], family.covariances(statistics)[0]
    if found is None:
        found, _ = family.density(np.ones(1), mean[None].copy(), np.diag(np.maximum(variance, 1e-300))[None])
    return found


def _drawn(rows: MeasuredRows, places: NDArray[np.intp], law: Density, n_threads: int | None) -> Array:
    """Return chosen rows (n, D) as they may have been without errors, drawn under the law given the rows."""
    part = MeasuredRows(rows.X[places], None, None, rows.error[places])
    drawn = np.random.default_rng(0).standard_normal((len(places), rows.n_features))
    for some, found in posteriors(law, part, n_threads):
        values, vectors = np.linalg.eigh(found.covariance[:, 0])
        turned = np.sqrt(np.maximum(values, 0.0)) * drawn[some]
        drawn[some] = found.mean[:, 0] + np.einsum("nab,nb->na", vectors, turned)
    return drawn
