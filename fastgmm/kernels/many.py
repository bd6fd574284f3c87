"""Whole fits of many small problems: seeding and :mod:`fastgmm.fitting.loop`, compiled, a problem at a time.

A fit of some hundred rows from Python is mostly calls. Here a lane of problems is fitted by one call, in buffers that
are made once a lane, and a problem that fits in one tile is packed once a fit rather than once a pass. What a pass, an
update and a bound are is not written again: the functions are those of a single fit.

Problems share nothing. Which lane one is in, how many lanes or threads there are and what its neighbours hold makes no
difference to its bits. What goes wrong in one is a number in `status`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgmm.kernels import contract
from fastgmm.kernels._compile import (
    Driver,
    address_of,
    borrowed,
    call_at,
    dispatched,
    exact_kernel,
    keep,
    kernel,
    spliced_kernel,
    vector_code,
)
from fastgmm.kernels.blocks import (
    GIVEN,
    HARD,
    SOFT,
    Sharing,
    Sums,
    begin_pass,
    clear_tile,
    collect_tile,
    load_tile,
    tile_buffers,
)
from fastgmm.kernels.blocks import Rows as Block
from fastgmm.kernels.closed_forms import COLLAPSED as COLLAPSED_UPDATE
from fastgmm.kernels.closed_forms import (
    LOST_DIGITS,
    maximise,
    mirror,
    set_log_scale,
    spurious_component,
)
from fastgmm.kernels.closed_forms import (
    NOT_FINITE as NOT_FINITE_UPDATE,
)
from fastgmm.kernels.closed_forms import OK as UPDATED
from fastgmm.kernels.conjugate import (
    Posterior,
    Prior,
    condition,
    divergence,
    expected_log_joint,
    log_determinant_of_blocks,
)
from fastgmm.kernels.kmeans import assign_rows, kmeans_plus_plus
from fastgmm.kernels.rows import fitting_tile
from fastgmm.kernels.smoothing import smooth_thin
from fastgmm.kernels.vector.tiles import copy_array, tile_width

Array = NDArray[np.float64]

#: What became of a problem. The first two have parameters.
CONVERGED = 0
NOT_CONVERGED = 1
COLLAPSED = 2
TOO_FEW_ROWS = 3
NOT_FINITE = 4
OUT_OF_RANGE = 5
SINGULAR = 6

_FEWEST_ROWS = 2
_LLOYD_ITERATIONS = 100
_LLOYD_TOL = 1e-4
# A spread whose inverse can still be squared.
_NARROWEST = 1e-140


class Rows(NamedTuple):
    """The rows of P problems, one after the other.

    `X` (N, D) float64, C-contiguous; `weight` (N,) float64, or size 0 for ones; `offsets` (P + 1,) int64: problem p has
    the rows from ``offsets[p]`` to before ``offsets[p + 1]``.
    """

    X: Array
    weight: Array
    offsets: NDArray[np.int64]


class Draws(NamedTuple):
    """Random numbers that all problems share, for each of R starts: one of the first two has a size.

    `uniform` (R, K, C) in [0, 1), for k-means++ with C candidates a step. `chosen` (U, R, K) int64, numbers of rows
    among those of positive weight; problem p reads ``chosen[table[p]]``, `table` (P,) int64. With neither of them there
    are no centres. `lloyd` (1,) int64 is 1 where k-means goes on from there.
    """

    uniform: Array
    chosen: NDArray[np.int64]
    table: NDArray[np.int64]
    lloyd: NDArray[np.int64]


class Survey(NamedTuple):
    """Sums over the rows of positive weight of P problems, and the centres of starts.

    `status` (P,) int64, CONVERGED where a fit can begin; `weight` (P,), the sum of weights; `middle` (P, D), the mean;
    `spread` (P,), the largest deviation from it (1 where that is 0); `moments` (P, D, D), the
    covariance, or size 0 where it is not wanted; `centres` (P, R, K, D), ordered by their first feature.
    """

    status: NDArray[np.int64]
    weight: Array
    middle: Array
    spread: Array
    moments: Array
    centres: Array


class Start(NamedTuple):
    """Where fits start.

    With all of `weights`, `means`, `whitener` and `covariance`: there. Else from the rows nearest to `centres`
    (P, R, K, D), or by the responsibilities `table` (R, n, K) of a problem's rows, (1, 0, 0) where there is none; then
    what is given of weights, means and whiteners replaces what follows from that. Arrays of size 0 are not given; the
    others begin with an axis of problems, of length P, or 1 for all.
    """

    centres: Array
    table: Array
    weights: Array
    means: Array
    whitener: Array
    covariance: Array


class Fits(NamedTuple):
    """Fits of P problems, overwritten where `status` (P,) int64 is CONVERGED before and has parameters after.

    `component` (P,) int64 is the one that collapsed, or -1; `spurious` (P,) int64 one that holds so few rows that the
    bound has no limit, or -1; `n_iter` (P,) int64; `bound` and `previous_bound` (P,) as in
    :class:`fastgmm.fitting.loop.FitResult`; `mean` (P, K, D); `covariance` and `whitener` (P, ...), the family's.
    """

    status: NDArray[np.int64]
    component: NDArray[np.int64]
    spurious: NDArray[np.int64]
    n_iter: NDArray[np.int64]
    bound: Array
    previous_bound: Array
    mean: Array
    covariance: Array
    whitener: Array


class Likelihood(NamedTuple):
    """Expectation maximisation of P problems: `weights` (P, K) are overwritten.

    `fewest_rows` (1,) int64 is how many rows a covariance needs.
    """

    weights: Array
    fewest_rows: NDArray[np.int64]


class Variational(NamedTuple):
    """Variational Bayes of P problems: the prior, and the fields of a ``Posterior``, which are overwritten.

    `counts` (3,): concentration, mean precision and degrees of freedom of the prior; `mean_prior` (P, D) and
    `scale_prior` (P, ...), of one component, in the whitener's shape, begin with an axis of length P, or 1 for all;
    `sort` (1,) int64 says whether updates put the components in order of falling mass.
    """

    counts: Array
    mean_prior: Array
    scale_prior: Array
    sort: NDArray[np.int64]
    concentration: Array
    mean_precision: Array
    degrees_of_freedom: Array


class _Law(NamedTuple):
    """The buffers of variational updates of one problem; `numbers` are the following three."""

    posterior: Posterior
    numbers: Array
    order: NDArray[np.int64]
    origin: Array
    sums: Sums


_LOG_DETERMINANT, _DIVERGENCE, _CHANGE = range(3)


@dispatched
def _law(rule, density):
    """Return the buffers of the updates of one problem."""


@dispatched
def _begin(rule, p, law, density):
    """Get ready for problem p, and return whether it can be fitted."""


@dispatched
def _replace(rule, p, law, start, density, covariance):
    """Put what a start gives in the place of what followed from its rows."""


@dispatched
def _update(rule, p, law, density, successor, covariance, origin, sums, reg_covar, final):
    """Overwrite `successor` and `covariance` with the update from `density`, return (status, component) of maximise."""


@dispatched
def _settle(rule, p, law, density):
    """Do what remains to be done once the parameters are known that the next pass scores rows with."""


@dispatched
def _bound(rule, law, log_evidence, weight):
    """Return the bound of the density that made the statistics."""


@dispatched
def _progress(rule, law, log_evidence, weight):
    """Return the number that the stopping rule watches, after an update."""


@dispatched
def _spurious(rule, law, density, n_samples):
    """Return a component whose bound has no limit, for it holds too few of so many rows of equal weight, or -1."""


@dispatched
def _write(rule, p, law):
    """Write the rule's part of a fit's result."""


@_law.register(Likelihood)
def _law_of_likelihood(rule, density):
    return np.empty(density.mean.shape[0])


@_begin.register(Likelihood)
def _begin_likelihood(rule, p, law, density):
    return True


@_replace.register(Likelihood)
def _replace_parameters(rule, p, law, start, density, covariance):
    if start.means.size > 0:
        copy_array(start.means[min(p, start.means.shape[0] - 1)], density.mean)
    if start.whitener.size > 0:
        copy_array(start.whitener[min(p, start.whitener.shape[0] - 1)], density.whitener)
        copy_array(start.covariance[min(p, start.covariance.shape[0] - 1)], covariance)
    if start.weights.size > 0:
        copy_array(start.weights[min(p, start.weights.shape[0] - 1)], law)
    set_log_scale(density, law)


@_update.register(Likelihood)
def _update_likelihood(rule, p, law, density, successor, covariance, origin, sums, reg_covar, final):
    return maximise(successor, law, covariance, origin, sums.mass, sums.deviation, sums.scatter, reg_covar, final)


@_settle.register(Likelihood)
def _settle_nothing(rule, p, law, density):
    pass


@_bound.register(Likelihood)
def _bound_of_likelihood(rule, law, log_evidence, weight):
    return log_evidence / weight


@_progress.register(Likelihood)
def _progress_of_likelihood(rule, law, log_evidence, weight):
    return log_evidence / weight


_spurious_component = kernel(spurious_component)


@_spurious.register(Likelihood)
def _spurious_of_likelihood(rule, law, density, n_samples):
    return _spurious_component(density.log_scale, law, density.mean.shape[1], rule.fewest_rows[0], n_samples)


@_write.register(Likelihood)
def _write_likelihood(rule, p, law):
    copy_array(law, rule.weights[p])


@_law.register(Variational)
def _law_of_posterior(rule, density):
    n_components, n_features = density.mean.shape
    posterior = Posterior(
        np.empty((rule.concentration.shape[1], n_components)),
        np.empty(n_components),
        np.empty(rule.degrees_of_freedom.shape[1]),
    )
    sums = Sums(np.empty(n_components), np.empty((n_components, n_features)), np.empty_like(density.whitener))
    order = np.empty(n_components, np.int64)
    return _Law(posterior, np.empty(3), order, np.empty((n_components, n_features)), sums)


@_begin.register(Variational)
def _begin_variational(rule, p, law, density):
    one = contract.blank(density, 1)
    if contract.whiten(one, rule.scale_prior[min(p, rule.scale_prior.shape[0] - 1)]) >= 0:
        return False
    law.numbers[_LOG_DETERMINANT] = log_determinant_of_blocks(one, 0)
    return True


@_replace.register(Variational)
def _replace_means(rule, p, law, start, density, covariance):
    if start.means.size > 0:
        copy_array(start.means[min(p, start.means.shape[0] - 1)], density.mean)


@kernel
def _prior(rule, p, law):
    return Prior(
        rule.counts[0],
        rule.mean_prior[min(p, rule.mean_prior.shape[0] - 1)],
        rule.counts[1],
        rule.counts[2],
        rule.scale_prior[min(p, rule.scale_prior.shape[0] - 1)],
        law.numbers[_LOG_DETERMINANT],
    )


@_update.register(Variational)
def _update_variational(rule, p, law, density, successor, covariance, origin, sums, reg_covar, final):
    mirror(density, sums.scatter)
    prior = _prior(rule, p, law)
    before = expected_log_joint(density, origin, sums.mass, sums.deviation, sums.scatter)
    _set_order(sums.mass, rule.sort[0] == 1, law.order)
    _reorder(density, law, origin, sums)
    mass, deviation, scatter = law.sums
    status, component = condition(
        successor, prior, law.posterior, covariance, law.origin, mass, deviation, scatter, reg_covar, final
    )
    if status == UPDATED:
        law.numbers[_CHANGE] = expected_log_joint(successor, law.origin, mass, deviation, scatter) - before
    elif status == LOST_DIGITS:
        # Whoever collects again does so in the order that the statistics came in.
        copy_array(successor.mean, law.origin)
        for i in range(law.order.shape[0]):
            for d in range(origin.shape[1]):
                successor.mean[law.order[i], d] = law.origin[i, d]
    return status, component


@kernel
def _set_order(mass, sort, order):
    """Overwrite `order` (K,) with the components by falling mass, equal ones as they come; or with 0, 1, 2, ..."""
    for k in range(mass.shape[0]):
        i = k
        while sort and i > 0 and mass[order[i - 1]] < mass[k]:
            order[i] = order[i - 1]
            i -= 1
        order[i] = k


@kernel
def _reorder(density, law, origin, sums):
    """Copy the statistics to those of the law, in its order."""
    n_components, n_features = origin.shape
    size = sums.scatter.size
    shared = contract.pool(density, sums.mass).size < n_components
    length = size if shared else size // n_components
    source = sums.scatter.reshape((size // length, length))
    target = law.sums.scatter.reshape((size // length, length))
    for i in range(n_components):
        k = law.order[i]
        law.sums.mass[i] = sums.mass[k]
        for d in range(n_features):
            law.origin[i, d] = origin[k, d]
            law.sums.deviation[i, d] = sums.deviation[k, d]
        if not shared:
            for j in range(length):
                target[i, j] = source[k, j]
    if shared:
        for j in range(length):
            target[0, j] = source[0, j]


@_settle.register(Variational)
def _settle_divergence(rule, p, law, density):
    law.numbers[_DIVERGENCE] = divergence(density, _prior(rule, p, law), law.posterior)


@_bound.register(Variational)
def _bound_of_posterior(rule, law, log_evidence, weight):
    return log_evidence - law.numbers[_DIVERGENCE]


@_progress.register(Variational)
def _progress_of_posterior(rule, law, log_evidence, weight):
    return log_evidence + law.numbers[_CHANGE] - law.numbers[_DIVERGENCE]


@_spurious.register(Variational)
def _spurious_of_posterior(rule, law, density, n_samples):
    return -1


@_write.register(Variational)
def _write_posterior(rule, p, law):
    copy_array(law.posterior.concentration, rule.concentration[p])
    copy_array(law.posterior.mean_precision, rule.mean_precision[p])
    copy_array(law.posterior.degrees_of_freedom, rule.degrees_of_freedom[p])


# What runs once a fit is not compiled into the loop again: these call the code that single fits run.
def _smooth_at(address, density, origin, mass, deviation, scatter, points, weight, labels):
    smooth_thin(density, origin, mass, deviation, scatter, points, weight, labels)


@vector_code(_smooth_at)
def _call_smooth_thin(address, density, origin, mass, deviation, scatter, points, weight, labels):
    call_at(address, (density, origin, mass, deviation, scatter, points, weight, labels))


def smoothing_address(like):
    """Return the address of ``smooth_thin`` for densities of a class, which :data:`fit` takes; 0 where not compiled."""
    return address_of(
        smooth_thin,
        like,
        like.mean,
        like.log_scale,
        like.mean,
        like.whitener,
        like.mean,
        like.log_scale,
        np.empty(0, np.int64),
    )


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
                farthest = np.argmax(distance)
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
        for i in range(n):
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
    longest = 1
    for p in range(n_problems):
        longest = max(longest, rows.offsets[p + 1] - rows.offsets[p])
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


@kernel
def _set_isotropic(density, means, scale):
    """Overwrite `density` with log joints -1/2 || scale (x - mean) ||^2."""
    copy_array(means, density.mean)
    density.log_scale.fill(0.0)
    density.whitener.fill(0.0)
    # A whitener has the shape of a covariance, and of this one the diagonal, too.
    contract.regularise(density, density.whitener, scale)


@spliced_kernel
def _is_finite(array, squared):
    """Return whether all numbers are finite, or all their squares."""
    flat = array.reshape(array.size)
    # NaN and infinities alike become NaN.
    s = 0.0
    for i in range(flat.size):
        s += 0.0 * (flat[i] * flat[i] if squared else flat[i])
    return s == 0.0


@kernel
def _effective_rows(weight, n_rows):
    """Return the number of rows of equal weight that say as much as rows of these weights (Kish 1965)."""
    if weight.size == 0:
        return float(n_rows)
    largest = 0.0
    for w in weight:
        largest = max(largest, w)
    total = 0.0
    squares = 0.0
    for w in weight:
        total += w / largest
        squares += (w / largest) ** 2
    return total * total / squares


class _Work(NamedTuple):
    """The buffers of the fits of a lane."""

    tile: Any
    sums: Sums
    origin: Array
    covariance: Array
    law: Any


@kernel
def _work(rule, like, longest):
    """Return a :class:`_Work` for problems of at most so many rows, for densities like one."""
    n_components, n_features = like.mean.shape
    # Whole chunks: what is written of a tile must reach as far as what is read.
    tile = tile_buffers(like, tile_width(fitting_tile(n_components, n_features, longest)))
    sums = Sums(np.empty(n_components), np.empty((n_components, n_features)), np.empty_like(like.whitener))
    origin = np.empty((n_components, n_features))
    return _Work(tile, sums, origin, np.empty_like(like.whitener), _law(rule, like))


@kernel
def _place_start(rule, p, survey, start, number, density, work):
    """Overwrite `density` and the origin with where problem p starts; return how its first pass shares rows out."""
    mode = SOFT
    if _is_whole(start):
        _replace(rule, p, work.law, start, density, work.covariance)
    elif start.table.size > 0:
        mode = GIVEN
        for k in range(work.origin.shape[0]):
            copy_array(survey.middle[p], work.origin[k])
        _set_isotropic(density, work.origin, 1.0)
    else:
        mode = HARD
        centres = start.centres[min(p, start.centres.shape[0] - 1), number]
        _set_isotropic(density, centres, 1.0 / max(survey.spread[p], _NARROWEST))
    copy_array(density.mean, work.origin)
    return mode


@kernel
def _is_whole(start):
    """Return whether a start gives all parameters."""
    return start.weights.size > 0 and start.means.size > 0 and start.whitener.size > 0


@kernel
def _collect(density, rows, sharing, near, loaded, work):
    """Overwrite the sums with the statistics of a problem's rows, and return their log evidence.

    Rows that fill no more than a tile are left in it: `loaded` says whether they are there.
    """
    n_rows, tile = rows.X.shape[0], work.tile
    work.sums.mass.fill(0.0)
    work.sums.deviation.fill(0.0)
    work.sums.scatter.fill(0.0)
    task = begin_pass(density, work.origin, sharing, tile)
    width = tile.weight.shape[0]
    log_evidence = 0.0
    for first in range(0, n_rows, width):
        n = min(width, n_rows - first)
        if n_rows > width or not loaded:
            for b in range(width):
                tile.weight[b] = 1.0
            load_tile(rows, first, n, near, tile)
        # What comes next is near: nothing is fetched.
        log_evidence += collect_tile(task, rows, first, n, first + n, tile, work.sums)
    return log_evidence


@kernel
def _move_to_means(origin, sums):
    """Move the origin of each component to the mean of its rows; where there are none, it stays."""
    for k in range(origin.shape[0]):
        for d in range(origin.shape[1]):
            origin[k, d] += sums.deviation[k, d] / sums.mass[k] if sums.mass[k] > 0.0 else 0.0


@kernel
def _write_parameters(rule, p, density, work, fits):
    """Write the parameters of a fit."""
    mirror(density, work.covariance)
    copy_array(density.mean, fits.mean[p])
    copy_array(work.covariance, fits.covariance[p])
    copy_array(density.whitener, fits.whitener[p])
    _write(rule, p, work.law)


def _fit_lanes(
    first_lane,
    last_lane,
    n_lanes,
    like,
    rule,
    rows,
    survey,
    start,
    number,
    smooths,
    smoothing,
    tol,
    max_iter,
    reg_covar,
    fits,
):
    """Fit problems from their start `number`, lane by lane; of the density `like` only the class and shape count.

    `smooths` says whether thin components of starts from centres are smoothed, by :func:`smoothing_address`.
    """
    n_problems = rows.offsets.shape[0] - 1
    n_components = like.mean.shape[0]
    longest = 1
    for p in range(n_problems):
        longest = max(longest, rows.offsets[p + 1] - rows.offsets[p])
    owned = (
        _work(rule, like, longest),
        contract.blank(like, n_components),
        contract.blank(like, n_components),
        np.empty(0, np.float32),
        np.empty(0, np.int64),
    )
    work, density, successor, centre, no_labels = borrowed(owned)
    rule, rows, survey, start, fits = borrowed((rule, rows, survey, start, fits))
    law, sums, covariance, origin = work.law, work.sums, work.covariance, work.origin
    by_table = start.table.size > 0
    for lane in range(first_lane, last_lane):
        for p in range(lane, n_problems, n_lanes):
            if fits.status[p] != CONVERGED:
                continue
            if not _begin(rule, p, law, like):
                fits.status[p] = SINGULAR
                continue
            begin, end = rows.offsets[p], rows.offsets[p + 1]
            block = Block(rows.X[begin:end], rows.weight[begin:end] if rows.weight.size > 0 else rows.weight, centre)
            clear_tile(work.tile, survey.middle[p])
            loaded = False
            mode = _place_start(rule, p, survey, start, number, density, work)
            seeding = mode != SOFT
            about_middle = mode == GIVEN
            final = False
            converged = False
            n_iter = 0
            previous_bound = -np.inf
            bound = -np.inf
            component = -1
            status = NOT_CONVERGED
            while True:
                sharing = Sharing(mode, no_labels, start.table[number if by_table else 0])
                log_evidence = _collect(density, block, sharing, survey.middle[p], loaded, work)
                loaded = True
                if not (math.isfinite(log_evidence) and _is_finite(sums.scatter, False)):
                    status = OUT_OF_RANGE
                    break
                if not seeding and not final:
                    bound = _bound(rule, law, log_evidence, survey.weight[p])
                    if converged or n_iter == max_iter:
                        status = CONVERGED if converged else NOT_CONVERGED
                        break
                if seeding and about_middle:
                    # Moments about the middle of all rows would cost narrow components their digits.
                    about_middle = False
                    _move_to_means(origin, sums)
                    continue
                if mode == HARD and smooths:
                    mass, deviation, scatter = sums
                    _smooth_at(smoothing, density, origin, mass, deviation, scatter, block.X, block.weight, no_labels)
                outcome, component = _update(
                    rule, p, law, density, successor, covariance, origin, sums, reg_covar, final
                )
                if outcome == COLLAPSED_UPDATE:
                    status = COLLAPSED
                    break
                if outcome == NOT_FINITE_UPDATE:
                    status = OUT_OF_RANGE
                    break
                if outcome == LOST_DIGITS:
                    final = True
                    copy_array(successor.mean, origin)
                    continue
                if seeding:
                    _replace(rule, p, law, start, successor, covariance)
                _settle(rule, p, law, successor)
                if not seeding:
                    n_iter += 1
                    progress = _progress(rule, law, log_evidence, survey.weight[p])
                    converged = abs(progress - previous_bound) < tol
                    previous_bound = progress
                seeding = False
                final = False
                mode = SOFT
                density, successor = successor, density
                copy_array(density.mean, origin)
            if status in (CONVERGED, NOT_CONVERGED) and not (
                math.isfinite(bound) and _is_finite(covariance, False) and _is_finite(density.whitener, True)
            ):
                status = OUT_OF_RANGE
            fits.status[p] = status
            fits.component[p] = component if status == COLLAPSED else -1
            if status in (CONVERGED, NOT_CONVERGED):
                fits.spurious[p] = _spurious(rule, law, density, _effective_rows(block.weight, block.X.shape[0]))
                fits.n_iter[p] = n_iter
                fits.bound[p] = bound
                fits.previous_bound[p] = previous_bound
                _write_parameters(rule, p, density, work, fits)
    keep(owned)


fit = Driver(_fit_lanes)
