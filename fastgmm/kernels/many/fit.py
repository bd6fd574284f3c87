"""The loop of each of many problems."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from fastgmm.kernels.compiling import (
    Driver,
    address_of,
    borrowed,
    call_at,
    keep,
    kernel,
    spliced_kernel,
    vector_code,
)
from fastgmm.kernels.many import rules
from fastgmm.kernels.many.records import (
    COLLAPSED,
    CONVERGED,
    NOT_CONVERGED,
    OUT_OF_RANGE,
    SINGULAR,
    Array,
    longest_problem,
)
from fastgmm.kernels.passes.collect import (
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
from fastgmm.kernels.passes.collect import Rows as Block
from fastgmm.kernels.passes.layout import fitting_tile
from fastgmm.kernels.structures import contract
from fastgmm.kernels.updates.moments import COLLAPSED as COLLAPSED_UPDATE
from fastgmm.kernels.updates.moments import LOST_DIGITS, mirror
from fastgmm.kernels.updates.moments import NOT_FINITE as NOT_FINITE_UPDATE
from fastgmm.kernels.updates.progress import is_settled, rounding
from fastgmm.kernels.updates.smoothing import smooth_thin
from fastgmm.kernels.vector.tiles import copy_array, tile_width

# A spread whose inverse can still be squared.
_NARROWEST = 1e-140

_is_settled = kernel(is_settled)
_rounding = kernel(rounding)


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
    no_labels: Any


@kernel
def _work(rule, like, longest):
    """Return a :class:`_Work` for problems of at most so many rows, for densities like one."""
    n_components, n_features = like.mean.shape
    # Whole chunks: what is written of a tile must reach as far as what is read.
    tile = tile_buffers(like, tile_width(fitting_tile(n_components, n_features, longest)))
    sums = Sums(np.empty(n_components), np.empty((n_components, n_features)), np.empty_like(like.whitener))
    origin = np.empty((n_components, n_features))
    covariance, no_labels = np.empty_like(like.whitener), np.empty(0, np.int64)
    return _Work(tile, sums, origin, covariance, rules.law(rule, like), no_labels)


@kernel
def _place_start(rule, p, survey, start, number, density, work):
    """Overwrite `density` and the origin with where problem p starts; return how its first pass shares rows out."""
    mode = SOFT
    if _is_whole(start):
        rules.replace(rule, p, work.law, start, density, work.covariance)
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
    rules.write(rule, p, work.law)


@kernel
def _smooth(options, density, block, work):
    """Smooth the statistics of components that are too thin for a covariance."""
    mass, deviation, scatter = work.sums
    X, weight = block.X, block.weight
    _smooth_at(options.smoothing, density, work.origin, mass, deviation, scatter, X, weight, work.no_labels)


class _End(NamedTuple):
    """Where a fit ended: its density, and what ``records.Fits`` has of it."""

    status: Any
    component: Any
    n_iter: Any
    bound: Any
    previous_bound: Any
    density: Any


@kernel
def _iterate(rule, p, block, survey, start, number, options, density, successor, work):
    """Fit problem p from its start `number`; return its :class:`_End`."""
    sums, covariance, origin = work.sums, work.covariance, work.origin
    mode = _place_start(rule, p, survey, start, number, density, work)
    seeding = mode != SOFT
    about_middle = mode == GIVEN
    loaded = False
    final = False
    converged = False
    n_iter = 0
    previous_bound = -np.inf
    bound = -np.inf
    component = -1
    while True:
        sharing = Sharing(mode, work.no_labels, start.table[number if start.table.size > 0 else 0])
        log_evidence = _collect(density, block, sharing, survey.middle[p], loaded, work)
        loaded = True
        if not (math.isfinite(log_evidence) and _is_finite(sums.scatter, False)):
            status = OUT_OF_RANGE
            break
        if not seeding and not final:
            bound = rules.bound(rule, work.law, log_evidence, survey.weight[p])
            if converged or n_iter == options.max_iter:
                status = CONVERGED if converged else NOT_CONVERGED
                break
        if seeding and about_middle:
            # Moments about the middle of all rows would cost narrow components their digits.
            about_middle = False
            _move_to_means(origin, sums)
            continue
        if mode == HARD and options.smooths:
            _smooth(options, density, block, work)
        outcome, component = rules.update(
            rule, p, work.law, density, successor, covariance, origin, sums, options.reg_covar, final
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
            rules.replace(rule, p, work.law, start, successor, covariance)
        rules.settle(rule, p, work.law, successor)
        if not seeding:
            n_iter += 1
            progress = rules.progress(rule, work.law, log_evidence, survey.weight[p])
            change = abs(progress - previous_bound)
            converged = _is_settled(change, change, _rounding(progress), options.tol)
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
    return _End(status, component if status == COLLAPSED else -1, n_iter, bound, previous_bound, density)


@kernel
def _write(rule, p, block, end, work, fits):
    """Write how the fit of problem p ended, and its parameters where it has some."""
    fits.status[p] = end.status
    fits.component[p] = end.component
    if end.status in (CONVERGED, NOT_CONVERGED):
        n_rows = _effective_rows(block.weight, block.X.shape[0])
        fits.spurious[p] = rules.spurious(rule, work.law, end.density, n_rows)
        fits.n_iter[p] = end.n_iter
        fits.bound[p] = end.bound
        fits.previous_bound[p] = end.previous_bound
        _write_parameters(rule, p, end.density, work, fits)


def _fit_lanes(first_lane, last_lane, n_lanes, like, rule, rows, survey, start, number, options, fits):
    """Fit problems from their start `number`, lane by lane; of the density `like` only the class and shape count."""
    n_components = like.mean.shape[0]
    owned = (
        _work(rule, like, longest_problem(rows.offsets)),
        contract.blank(like, n_components),
        contract.blank(like, n_components),
        np.empty(0, np.float32),
    )
    work, density, successor, centre = borrowed(owned)
    rule, rows, survey, start, fits = borrowed((rule, rows, survey, start, fits))
    for lane in range(first_lane, last_lane):
        for p in range(lane, rows.offsets.shape[0] - 1, n_lanes):
            if fits.status[p] != CONVERGED:
                continue
            if not rules.begin(rule, p, work.law, like):
                fits.status[p] = SINGULAR
                continue
            begin, stop = rows.offsets[p], rows.offsets[p + 1]
            block = Block(rows.X[begin:stop], rows.weight[begin:stop] if rows.weight.size > 0 else rows.weight, centre)
            clear_tile(work.tile, survey.middle[p])
            end = _iterate(rule, p, block, survey, start, number, options, density, successor, work)
            _write(rule, p, block, end, work, fits)
    keep(owned)


fit = Driver(_fit_lanes)
