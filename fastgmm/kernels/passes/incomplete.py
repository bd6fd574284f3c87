"""Passes over rows of which some entries are missing, exact: one pattern of missingness after the other.

What is missing in a row is integrated out, component by component. For rows with the same entries observed that is an
ordinary pass over the observed columns, under the marginal density; the moments of the missing entries follow from its
sums by algebra, with the regression of the missing entries on the observed ones (Ghahramani and Jordan 1994). No row is
completed, and the machine code of that pass is the one for complete rows, called by its address.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastgmm.kernels.compiling import Driver, address_of, call_at, dispatched, is_switched_off, kernel, vector_code
from fastgmm.kernels.passes.collect import SOFT, Sums, accumulate_rows, collect
from fastgmm.kernels.passes.rows import normalise
from fastgmm.kernels.passes.score import score, score_rows
from fastgmm.kernels.structures.densities import DiagDensity, FullDensity, SphericalDensity, TiedDensity
from fastgmm.kernels.structures.marginal import complete, fill, marginal, of_columns


class Patterns(NamedTuple):
    """Rows that are sorted by which of their entries are observed, P patterns of D columns.

    `values`, float32 or float64: the observed entries, row by row, of which those of pattern p begin at
    ``first_value[p]``. Its rows are ``first_row[p]`` to before ``first_row[p + 1]``. `columns` (P, D) int64: its
    observed columns in order, ``n_observed[p]`` of them, then the others in order. `weight` (N,), or size 0 for 1.
    `log_lengths` (D,): the logarithms of the lengths of the box along the columns that noise is in; without, size 0.
    """

    values: Any
    weight: Any
    first_value: Any
    first_row: Any
    columns: Any
    n_observed: Any
    log_lengths: Any


class Pieces(NamedTuple):
    """The rows of a pass, cut: piece q is rows first[q] .. stop[q] of pattern[q], and lane l begins with begins[l].

    All int64; `begins` has a number more than there are lanes.
    """

    pattern: Any
    first: Any
    stop: Any
    begins: Any


@dispatched
def blank_sums(density, n_features):
    """Return ``Sums`` of zeros for a density's components and so many features, with a leading axis of one lane."""


@blank_sums.register(FullDensity)
def _blank_full(density, n_features):
    n_components = density.mean.shape[0]
    scatter = np.zeros((1, n_components, n_features, n_features))
    return Sums(np.zeros((1, n_components)), np.zeros((1, n_components, n_features)), scatter)


@blank_sums.register(TiedDensity)
def _blank_tied(density, n_features):
    n_components = density.mean.shape[0]
    scatter = np.zeros((1, n_features, n_features))
    return Sums(np.zeros((1, n_components)), np.zeros((1, n_components, n_features)), scatter)


@blank_sums.register(DiagDensity)
def _blank_diag(density, n_features):
    n_components = density.mean.shape[0]
    shape = (1, n_components, n_features)
    return Sums(np.zeros((1, n_components)), np.zeros(shape), np.zeros(shape))


@blank_sums.register(SphericalDensity)
def _blank_spherical(density, n_features):
    n_components = density.mean.shape[0]
    shape = (1, n_components)
    return Sums(np.zeros(shape), np.zeros((1, n_components, n_features)), np.zeros(shape))


_addresses: dict[Any, int] = {}


def _address(driver: Driver, arguments: tuple[Any, ...], key: Any) -> int:
    """Return where the machine code of a pass over complete rows is, for arguments like these; 0 without any."""
    if is_switched_off():
        return 0
    if key not in _addresses:
        _addresses[key] = address_of(driver.serial, 0, 0, *arguments)
    return _addresses[key]


def collecting_address(density: Any, scatter: Any, patterns: Patterns) -> int:
    """Return the address of the pass that :data:`collect_incomplete` calls: that over complete rows, compiled once.

    `scatter` has a leading axis of lanes.
    """
    sums = np.empty((1, 1)), np.empty((1, 1, 1)), scatter, np.empty(1)
    X, labels = np.empty((1, 1), patterns.values.dtype), np.empty(0, np.int64)
    rows = np.empty(0, np.float32), X, np.empty(0), SOFT, labels, np.empty((0, 0)), 1
    return _address(collect, (density, density.mean, *rows, *sums), (0, type(density), X.dtype))


def scoring_address(density: Any, patterns: Patterns, outputs: tuple[Any, Any, Any]) -> int:
    """Return the address of the pass that :data:`score_incomplete` calls; `outputs` are labels and what follows."""
    X = np.empty((1, 1), patterns.values.dtype)
    key = 1, type(density), X.dtype, outputs[1].dtype
    return _address(score, (density, X, 1, np.empty(0), *outputs, np.empty((1, 3))), key)


def _collect_rows(address, density, origin, centre, X, weight, labels, given, tile, sums, log_evidence):
    """Add the statistics of complete rows about `origin` to `sums` and `log_evidence`, with an axis of one lane."""
    lane = sums.mass[0], sums.deviation[0], sums.scatter[0]
    log_evidence[0] += accumulate_rows(density, origin, X, weight, 0, len(X), SOFT, labels, given, tile, *lane)


@vector_code(_collect_rows)
def _collect_rows_code(address, density, origin, centre, X, weight, labels, given, tile, sums, log_evidence):
    zero, mode = np.int64(0), np.int64(SOFT)
    rows = (centre, X, weight, mode, labels, given, np.int64(tile))
    lanes = (sums.mass, sums.deviation, sums.scatter, log_evidence)
    call_at(address, (zero, np.int64(1), density, origin) + rows + lanes)


def _score_complete(address, density, X, tile, weight, labels, evidence, responsibility, sums):
    """Score complete rows, as ``score_rows`` does, and add to `sums` (1, 3)."""
    score_rows(density, X, 0, len(X), tile, weight, labels, evidence, responsibility, sums[0])


@vector_code(_score_complete)
def _score_complete_code(address, density, X, tile, weight, labels, evidence, responsibility, sums):
    rows = (density, X, np.int64(tile), weight, labels, evidence, responsibility, sums)
    call_at(address, (np.int64(0), np.int64(1)) + rows)


@kernel
def _rows_of(patterns, p, first, stop):
    """Return rows first .. stop of pattern p, (n, o), and their weights, or none."""
    n_observed = patterns.n_observed[p]
    begin = patterns.first_value[p] + (first - patterns.first_row[p]) * n_observed
    size = (stop - first) * n_observed
    X = patterns.values[begin : begin + size].reshape((stop - first, n_observed))
    weight = patterns.weight[first:stop] if patterns.weight.size > 0 else patterns.weight[:0]
    return X, weight


@kernel
def _marginal_of(density, patterns, p):
    """Return the marginal density of what is observed in pattern p, with its noise, and the regression of the rest."""
    n_observed, columns = patterns.n_observed[p], patterns.columns[p]
    own, regression = marginal(density, columns, n_observed)
    n_components = density.mean.shape[0]
    if density.log_scale.shape[0] > n_components:
        noise = density.log_scale[n_components]
        for i in range(n_observed, columns.shape[0]):
            noise += patterns.log_lengths[columns[i]]
        own.log_scale[n_components] = noise
    return own, regression


@kernel
def _share_blank(log_scale, n_rows, weight, mass):
    """Add the masses of `n_rows` rows of which nothing is observed to `mass` (K,), and return their log evidence."""
    share = log_scale.copy()
    evidence = normalise(share)
    total = float(n_rows)
    if weight.size > 0:
        total = 0.0
        for i in range(weight.size):
            total += weight[i]
    for k in range(mass.shape[0]):
        mass[k] += total * share[k]
    return total * evidence


@kernel
def _collect_piece(address, density, origin, patterns, p, first, stop, tile, sums):
    """Add the statistics of rows first .. stop, all of pattern p, to `sums`, and return their log evidence."""
    n_observed, columns = patterns.n_observed[p], patterns.columns[p]
    own, regression = _marginal_of(density, patterns, p)
    lane = blank_sums(density, n_observed)
    part = Sums(lane.mass[0], lane.deviation[0], lane.scatter[0])
    X, weight = _rows_of(patterns, p, first, stop)
    log_evidence = np.zeros(1)
    if n_observed == 0:
        log_evidence[0] = _share_blank(own.log_scale, stop - first, weight, part.mass)
    else:
        about = of_columns(origin, columns, n_observed)
        no_centre, no_labels, nothing = np.empty(0, np.float32), np.empty(0, np.int64), np.empty((0, 0))
        size = min(tile, stop - first)
        _collect_rows(address, own, about, no_centre, X, weight, no_labels, nothing, size, lane, log_evidence)
    complete(density, origin, columns, n_observed, regression, part, sums)
    return log_evidence[0]


def _collect_incomplete_lanes(
    first_lane, last_lane, address, density, origin, patterns, pieces, tile, mass, deviation, scatter, log_evidence
):
    """Add the statistics of incomplete rows about `origin` (K, D) to accumulators with a leading axis of lanes.

    `address` is :func:`collecting_address`, of the machine code that sums the observed features of a pattern's rows.
    `density` is one of the four structures'; `patterns` and `pieces` are :class:`Patterns` and :class:`Pieces`; `tile`
    rows at a time at most. Only the lower triangles of a matrix scatter are added to.
    """
    for lane in range(first_lane, last_lane):
        sums = Sums(mass[lane], deviation[lane], scatter[lane])
        evidence = 0.0
        for q in range(pieces.begins[lane], pieces.begins[lane + 1]):
            p, first, stop = pieces.pattern[q], pieces.first[q], pieces.stop[q]
            evidence += _collect_piece(address, density, origin, patterns, p, first, stop, tile, sums)
        log_evidence[lane] += evidence


collect_incomplete = Driver(_collect_incomplete_lanes)


@kernel
def _score_blank(log_scale, n_components, first, stop, weight, labels, evidence, responsibility, sums):
    """Score rows first .. stop of which nothing is observed, as ``score_rows`` does."""
    share = log_scale.copy()
    log_evidence = normalise(share)
    best = 0
    for k in range(1, log_scale.shape[0]):
        if log_scale[k] > log_scale[best]:
            best = k
    for i in range(first, stop):
        if labels.size > 0:
            labels[i] = best if best < n_components else -1
        if evidence.size > 0:
            evidence[i] = log_evidence
        if responsibility.size > 0:
            for k in range(n_components):
                responsibility[i, k] = share[k]
    total = 0.0
    for i in range(weight.size):
        total += weight[i]
    sums[0] += total * log_evidence
    sums[1] += total * log_scale[best]


def _score_incomplete_lanes(
    first_lane, last_lane, address, density, patterns, pieces, tile, labels, evidence, responsibility, sums
):
    """Score incomplete rows, lane by lane, in their sorted order; outputs as of ``score_rows``, `sums` (L, 3).

    `address` is :func:`scoring_address`. The first two sums are made by the weights of `patterns`: of size 0, they are
    not wanted.
    """
    for lane in range(first_lane, last_lane):
        for q in range(pieces.begins[lane], pieces.begins[lane + 1]):
            p, first, stop = pieces.pattern[q], pieces.first[q], pieces.stop[q]
            n_observed = patterns.n_observed[p]
            own, _ = _marginal_of(density, patterns, p)
            X, weight = _rows_of(patterns, p, first, stop)
            if n_observed == 0:
                n_components = density.mean.shape[0]
                _score_blank(
                    own.log_scale, n_components, first, stop, weight, labels, evidence, responsibility, sums[lane]
                )
                continue
            of_rows = (
                labels[first:stop] if labels.size > 0 else labels[:0],
                evidence[first:stop] if evidence.size > 0 else evidence[:0],
                responsibility[first:stop] if responsibility.size > 0 else responsibility[:0],
            )
            size = min(tile, stop - first)
            _score_complete(address, own, X, size, weight, of_rows[0], of_rows[1], of_rows[2], sums[lane : lane + 1])


score_incomplete = Driver(_score_incomplete_lanes)


@kernel
def _fill_row(density, regression, columns, n_observed, shares, x, noise, values):
    """Add what a row lacks, the mean over components by `shares` (K,), to `values` (m,)."""
    for k in range(shares.shape[0]):
        if shares[k] > 0.0:
            fill(density, regression, columns, n_observed, k, shares[k], x, noise, values)


def _fill_incomplete_lanes(first_lane, last_lane, density, patterns, first_missing, pieces, shares, noise, values):
    """Add what sorted rows lack to `values`, row by row in the order of columns, those of pattern p from a place on.

    ``first_missing[p]`` is that place. Conditional means of components are weighted by `shares` (N, K), of rows in
    their sorted order; `noise`, like `values` or of size 0, is turned into that of their conditional covariances.
    """
    for lane in range(first_lane, last_lane):
        for q in range(pieces.begins[lane], pieces.begins[lane + 1]):
            p, first, stop = pieces.pattern[q], pieces.first[q], pieces.stop[q]
            n_observed, columns = patterns.n_observed[p], patterns.columns[p]
            n_missing = columns.shape[0] - n_observed
            if n_missing == 0:
                continue
            _, regression = marginal(density, columns, n_observed)
            X, _ = _rows_of(patterns, p, first, stop)
            begin = first_missing[p] + (first - patterns.first_row[p]) * n_missing
            for i in range(stop - first):
                here = begin + i * n_missing
                own = noise[here : here + n_missing] if noise.size > 0 else noise[:0]
                out = values[here : here + n_missing]
                _fill_row(density, regression, columns, n_observed, shares[first + i], X[i], own, out)


fill_incomplete = Driver(_fill_incomplete_lanes)
