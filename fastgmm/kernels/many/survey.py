"""A look at the rows of many problems, and the centres of their starts."""

from __future__ import annotations

import math

import numpy as np

from fastgmm.kernels.clustering.assign import assign_rows
from fastgmm.kernels.clustering.plus_plus import kmeans_plus_plus
from fastgmm.kernels.compiling import (
    Driver,
    address_of,
    borrowed,
    call_at,
    exact_kernel,
    keep,
    kernel,
    spliced_kernel,
    vector_code,
)
from fastgmm.kernels.many.records import CONVERGED, NOT_FINITE, OUT_OF_RANGE, TOO_FEW_ROWS, longest_problem

_FEWEST_ROWS = 2
_LLOYD_ITERATIONS = 100
_LLOYD_TOL = 1e-4


def _draw_at(address, points, weight, uniform, chosen):
    kmeans_plus_plus(points, weight, uniform, chosen)


@vector_code(_draw_at)
def _call_kmeans_plus_plus(address, points, weight, uniform, chosen):
    call_at(address, (points, weight, uniform, chosen))


def drawing_address():
    """Return the address of ``kmeans_plus_plus``, which :data:`survey` takes; 0 where not compiled."""
    table = np.empty((0, 0))
    return address_of(kmeans_plus_plus, table, np.empty(0), table, np.empty(0, np.int64))


@kernel
def _weight_unit(weight):
    """Return the power of two that brings the largest weight near 1: tiny ones times squares would underflow."""
    largest = 0.0
    for w in weight:
        largest = max(largest, w)
    _, exponent = math.frexp(largest)
    return math.ldexp(1.0, -max(exponent, -1000))


@spliced_kernel
def _lloyd(points, weight, centres, labels, distance):
    """Move `centres` (K, D) to the means of the points nearest to them until they rest: weighted k-means, in place.

    `points` (n, D) have mean 0. A centre that loses its points moves to the one farthest from its own; the next such
    one to the next. Stops as ``kmeans.lloyd`` does. `labels` and `distance` (n,) are scratch.
    """
    n_rows, n_features = points.shape
    n_centres = centres.shape[0]
    mass = np.empty(n_centres)
    shift = np.empty((n_centres, n_features))
    total = 0.0
    squares = 0.0
    for i in range(n_rows):
        total += weight[i]
        for d in range(n_features):
            squares += weight[i] * points[i, d] * points[i, d]
    tolerance = _LLOYD_TOL * squares / (total * n_features)
    for _ in range(_LLOYD_ITERATIONS):
        assign_rows(centres, points, 0, n_rows, labels, distance)
        mass.fill(0.0)
        shift.fill(0.0)
        for i in range(n_rows):
            k = labels[i]
            mass[k] += weight[i]
            for d in range(n_features):
                shift[k, d] += weight[i] * (points[i, d] - centres[k, d])
            distance[i] *= weight[i]
        moved = 0.0
        for k in range(n_centres):
            if mass[k] > 0.0:
                for d in range(n_features):
                    shift[k, d] /= mass[k]
            else:
                farthest = 0
                for i in range(1, n_rows):
                    if distance[i] > distance[farthest]:
                        farthest = i
                distance[farthest] = -1.0
                for d in range(n_features):
                    shift[k, d] = points[farthest, d] - centres[k, d]
            for d in range(n_features):
                centres[k, d] += shift[k, d]
            for d in range(n_features):
                moved += shift[k, d] * shift[k, d]
        if moved <= tolerance:
            break


@spliced_kernel
def _sort_rows(matrix):
    """Order the rows of a matrix by their first number, then the next, in place."""
    n_rows, n_columns = matrix.shape
    row = np.empty(n_columns)
    for i in range(1, n_rows):
        for d in range(n_columns):
            row[d] = matrix[i, d]
        j = i
        while j > 0 and _comes_before(row, matrix[j - 1]):
            for d in range(n_columns):
                matrix[j, d] = matrix[j - 1, d]
            j -= 1
        for d in range(n_columns):
            matrix[j, d] = row[d]


@kernel
def _comes_before(first, second):
    for d in range(first.shape[0]):
        if first[d] != second[d]:
            return first[d] < second[d]
    return False


@spliced_kernel
def _survey_rows(rows, p, least, points, weight, survey):
    """Fill the survey of problem p but for its centres; return how many rows of positive weight there are.

    Those rows, less their mean, become the first of `points`, with `weight`. Sets the status where they are too few
    (fewer than `least`), not finite, or too far apart.
    """
    begin, end = rows.offsets[p], rows.offsets[p + 1]
    n_features = rows.X.shape[1]
    for i in range(begin, end):
        for d in range(n_features):
            if not math.isfinite(rows.X[i, d]):
                survey.status[p] = NOT_FINITE
                return 0
    n = 0
    total = 0.0
    unit = _weight_unit(rows.weight[begin:end]) if rows.weight.size > 0 else 1.0
    for i in range(begin, end):
        w = rows.weight[i] * unit if rows.weight.size > 0 else 1.0
        if w > 0.0:
            weight[n] = w
            total += w
            for d in range(n_features):
                points[n, d] = rows.X[i, d]
            n += 1
    if n < least or end - begin < _FEWEST_ROWS:
        survey.status[p] = TOO_FEW_ROWS
        return n
    middle = survey.middle[p]
    spread = 0.0
    for d in range(n_features):
        # About a row, so that data far from zero keep their digits.
        s = 0.0
        for i in range(n):
            s += weight[i] * (points[i, d] - points[0, d])
        middle[d] = points[0, d] + s / total
        for i in range(n):
            points[i, d] -= middle[d]
        # Where that row is far out, this mean has its rounding: once more, about the mean.
        s = 0.0
        for i in range(n):
            s += weight[i] * points[i, d]
        s /= total
        middle[d] += s
        for i in range(n):
            points[i, d] -= s
            spread = max(spread, abs(points[i, d]))
    survey.weight[p] = total / unit
    survey.spread[p] = spread if spread > 0.0 else 1.0
    if not math.isfinite(survey.weight[p] * spread * spread):
        survey.status[p] = OUT_OF_RANGE
    elif survey.moments.size > 0:
        for a in range(n_features):
            for b in range(a + 1):
                s = 0.0
                for i in range(n):
                    s += weight[i] * points[i, a] * points[i, b]
                survey.moments[p, a, b] = s / total
                survey.moments[p, b, a] = s / total
    return n


@exact_kernel
def _divide(points, spread):
    """Divide `points` by a number, in place."""
    for i in range(points.shape[0]):
        for d in range(points.shape[1]):
            points[i, d] /= spread


def _survey_lanes(first_lane, last_lane, n_lanes, drawing, rows, least, draws, survey):
    """Look at the rows of problems, lane by lane, and draw the centres of their starts, by :func:`drawing_address`."""
    rows, draws, survey = borrowed((rows, draws, survey))
    n_problems = rows.offsets.shape[0] - 1
    n_features = rows.X.shape[1]
    longest = longest_problem(rows.offsets)
    arrays = (
        np.empty((longest, n_features)),
        np.empty(longest),
        np.empty(longest, np.int64),
        np.empty(longest),
        np.empty(survey.centres.shape[2], np.int64),
    )
    points, weight, labels, distance, chosen = borrowed(arrays)
    for lane in range(first_lane, last_lane):
        for p in range(lane, n_problems, n_lanes):
            survey.status[p] = CONVERGED
            n = _survey_rows(rows, p, least, points, weight, survey)
            if survey.status[p] != CONVERGED or survey.centres.size == 0:
                continue
            # Distances are squared: in units of the spread neither tiny nor huge data under- or overflow.
            _divide(points[:n], survey.spread[p])
            for start in range(survey.centres.shape[1]):
                if draws.uniform.size > 0:
                    _draw_at(drawing, points[:n], weight[:n], draws.uniform[start], chosen)
                else:
                    for k in range(chosen.shape[0]):
                        chosen[k] = draws.chosen[draws.table[p], start, k]
                centres = survey.centres[p, start]
                for k in range(chosen.shape[0]):
                    for d in range(n_features):
                        centres[k, d] = points[chosen[k], d]
                if draws.lloyd[0] == 1:
                    _lloyd(points[:n], weight[:n], centres, labels[:n], distance[:n])
                _sort_rows(centres)
                for k in range(chosen.shape[0]):
                    for d in range(n_features):
                        centres[k, d] = survey.middle[p, d] + survey.spread[p] * centres[k, d]
    keep(arrays)


survey = Driver(_survey_lanes)
