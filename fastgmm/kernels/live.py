"""The fused pass where most components have no measurable weight on most rows: what is zero is not computed.

A pair of a row and a component is *live* unless its log joint is so far below the row's highest that its responsibility
is below 2**-60 of the component's weight; what is not live counts as zero. That is a rule about numbers, not about how
they are found: every pair that is passed over has been proven not to be live, so results do not depend on where rows
are looked at, or in which order, or what they are looked at with.

A block of rows is brought to two stages. First, tiles of rows that are likely to have the same component: its mean and
how far they lie from it rule most components out, and for full covariances where each row lies on the line to another's
mean. For the others squared distances are summed feature by feature, and given up chunk by chunk of rows when they have
grown too large (:mod:`fastgmm.kernels.vector.partial`). What is left are entries: the live components of each row, with
responsibilities. Second, the entries are sorted by component, with rows in their order, and each component's rows are
packed into tiles and accumulated.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgmm.kernels import contract
from fastgmm.kernels._compile import Driver, borrowed, exact_kernel, keep, kernel
from fastgmm.kernels.blocks import log_evidence_tile
from fastgmm.kernels.densities import Density, DiagDensity, FullDensity, SphericalDensity
from fastgmm.kernels.vector.distances import square_distances
from fastgmm.kernels.vector.elementary import vector_exp
from fastgmm.kernels.vector.partial import CHUNK, FAR, WIDER, Candidates, Limits, begin_squares, project
from fastgmm.kernels.vector.tiles import gather_rows, pack_tile, tile_buffer

Array = NDArray[np.float64]

#: -log of the share of its component's weight below which a responsibility is zero; some more for many components.
CUTOFF = 60.0 * math.log(2.0)
# Where a row has no limits, responsibilities down to the smallest numbers count, as in other passes. Vector code takes
# rows for far a little earlier.
_NO_LIMIT = 720.0
_FAR = FAR * (1.0 + 2.0**-10)
# Neighbouring tiles that one lane gets.
_HAND = 8
# How often a bound is tried in a lane before it has to have proven its worth.
_TRIALS = 128
# Pairs of a chunk and a component that lines are tried on in a lane.
_LINE_TRIALS = 1024
# Hints whose means' distances from all others are measured together: a block of registers.
_HINTS = 8
#: Lanes of :data:`guess`.
GUESS_LANES = 64
# Relative rounding errors of lengths of D numbers, for each of them.
_ROUNDING = 2.0**-49


class Bounds(NamedTuple):
    """Numbers of a density that bound the distances of rows from its components; see :data:`measure`.

    `twice`, `cutoff`, `limit` (K,): twice the log scale; how far below a row's highest log joint a component's is live;
    twice their sum, widened. `stretch` (4, K): of :func:`contract.stretch` for `unit` (D,). `frame` (D, W): the means
    about `middle` (D,), times `unit`, feature-major; `length` (K,) their lengths.
    """

    twice: Array
    cutoff: Array
    limit: Array
    stretch: Array
    frame: Array
    length: Array
    middle: Array
    unit: Array


def blank_bounds(n_components: int, middle: Array, unit: Array) -> Bounds:
    """Return bounds that are to be set, about `middle` (D,) in units 1 / `unit` (D,)."""
    width = -(-n_components // CHUNK) * CHUNK
    twice, cutoff, limit, length = np.empty((4, n_components))
    frame = np.zeros((len(unit), width))
    return Bounds(twice, cutoff, limit, np.empty((4, n_components)), frame, length, middle, unit)


def _measure_lanes(first_lane, last_lane, density, bounds):
    """Overwrite `stretch`, `frame` and `length` of `bounds`; there is a lane for each component.

    About D**3 flops a component for families of matrices.
    """
    n_features = density.mean.shape[1]
    for k in range(first_lane, last_lane):
        least, most, rough, spread = contract.stretch(density, k, bounds.unit)
        bounds.stretch[0, k] = least
        bounds.stretch[1, k] = most
        bounds.stretch[2, k] = rough
        bounds.stretch[3, k] = spread
        for d in range(n_features):
            bounds.frame[d, k] = (density.mean[k, d] - bounds.middle[d]) * bounds.unit[d]
        square = 0.0
        for d in range(n_features):
            square += bounds.frame[d, k] * bounds.frame[d, k]
        bounds.length[k] = math.sqrt(square)


measure = Driver(_measure_lanes)


def log_weights(density: Density) -> Array:
    """Return the log weights (K,) of the components of a Gaussian mixture, up to a constant; -inf for a weight of 0."""
    whitener = density.whitener
    if isinstance(density, FullDensity):
        return density.log_scale - np.log(np.diagonal(whitener, axis1=1, axis2=2)).sum(axis=1)
    if isinstance(density, DiagDensity):
        return density.log_scale - np.log(whitener).sum(axis=1)
    if isinstance(density, SphericalDensity):
        return density.log_scale - density.mean.shape[1] * np.log(whitener)
    return density.log_scale


def set_limits(density: Density, cutoff: float, bounds: Bounds) -> None:
    """Overwrite `twice`, `cutoff` and `limit` of `bounds`, for the least `cutoff` of a component.

    Components lighter than the heaviest get as much more as they are lighter; with a cutoff of 0 none does.
    """
    log_scale = density.log_scale
    bounds.twice[:] = 2.0 * log_scale
    bounds.cutoff[:] = cutoff
    if cutoff > 0.0:
        log_weight = log_weights(density)
        lighter = log_weight.max() - log_weight
        bounds.cutoff[:] = np.where(cutoff + lighter < _NO_LIMIT, cutoff + lighter, _NO_LIMIT)
    limit = 2.0 * (log_scale + bounds.cutoff)
    bounds.limit[:] = limit + WIDER * 2.0 * (np.abs(log_scale) + bounds.cutoff)
    bounds.limit[np.isneginf(log_scale)] = -np.inf


class Lines(NamedTuple):
    """Lines from the mean of a hint to those of other components, in their whitened spaces, as far as they are drawn.

    `start` (K,) int64: the hint, or -1 for none; `length` (K,) |w|, for w = whitener[k] (mean[start] - mean[k]);
    `direction` (K, D): its product with z is the component of whitener[k] z along w.
    """

    start: NDArray[np.int64]
    length: Array
    direction: Array


@kernel
def _nearest_listed(x, n, means, listed, begin, end, distance, label, square):
    """Overwrite label[:n] with the nearest of the listed means and square[:n] with the squared distance."""
    begin_squares(means, None, x, n, listed, begin, end, x.shape[0], distance)
    for b in range(n):
        square[b] = np.inf
        label[b] = listed[begin]
    for s in range(begin, end):
        for b in range(n):
            lower = distance[s, b] < square[b]
            label[b] = listed[s] if lower else label[b]
            square[b] = distance[s, b] if lower else square[b]


class Lists(NamedTuple):
    """Lists of means: list i is ``listed[begins[i]:begins[i + 1]]``; both int64."""

    begins: NDArray[np.int64]
    listed: NDArray[np.int64]


def _guess_lanes(first_lane, last_lane, X, order, tiles, means, bounds, lists, label, square):
    """Overwrite `label` (n,) int64 with a mean that is near to each row of X, and `square` (n,) with how near.

    `tiles` (n_tiles, 3) int64: each is the rows ``order[start:stop]``, and which of the :class:`Lists` of means they
    are compared with. `means` (K, D) are in units of the bounds, about their middle, and so are distances. There are
    :data:`GUESS_LANES` lanes, which share the tiles out evenly.
    """
    n_features = means.shape[1]
    middle, unit = bounds.middle, bounds.unit
    begins, listed = lists
    longest, most = 0, 0
    for t in range(tiles.shape[0]):
        longest = max(longest, tiles[t, 1] - tiles[t, 0])
        most = max(most, begins[tiles[t, 2] + 1] - begins[tiles[t, 2]])
    x = tile_buffer(n_features, longest, means)
    rows = np.empty((longest, n_features), X.dtype)
    distance = np.empty((most, x.shape[1]))
    tile_label = np.empty(longest, np.int64)
    tile_square = np.empty(longest)
    for lane in range(first_lane, last_lane):
        for t in range(tiles.shape[0] * lane // GUESS_LANES, tiles.shape[0] * (lane + 1) // GUESS_LANES):
            start, stop, group = tiles[t, 0], tiles[t, 1], tiles[t, 2]
            n = stop - start
            gather_rows(X, order[start:stop], n, rows)
            pack_tile(rows, 0, n, middle, x)
            for d in range(n_features):
                for b in range(n):
                    x[d, b] = (x[d, b] - middle[d]) * unit[d]
            part = listed[begins[group] : begins[group + 1]]
            _nearest_listed(x, n, means, part, 0, part.shape[0], distance, tile_label, tile_square)
            for b in range(n):
                label[order[start + b]] = tile_label[b]
                square[order[start + b]] = tile_square[b]


guess = Driver(_guess_lanes)


class Search(NamedTuple):
    """The buffers of a lane's search: T columns of a tile of D features, W columns of the bounds' frame.

    `table` and `scratch` are the family's, `limits` the density's; `far` is how far any two means are at most, in units
    of the bounds, as `lines` are. `x` (D, T) are the rows, `weight` (T,) their weights. Of the `candidates`,
    `sequence` (K,) int64 holds the slots in the order of components. `label` (T,) int64, `peak` and `total` (T,) are
    results; the others scratch: `nearest` (T,) int64, `beyond` (T,), `passed` (W,), `gap` and `image` (D,).
    """

    table: Any
    scratch: Any
    limits: Limits
    far: float
    lines: Lines
    x: Array
    weight: Array
    candidates: Candidates
    sequence: NDArray[np.int64]
    label: NDArray[np.int64]
    peak: Array
    total: Array
    nearest: NDArray[np.int64]
    beyond: Array
    passed: Array
    gap: Array
    image: Array


# What a lane counts: pairs whose distances were begun and finished, and entries; how often a component's own metric was
# tried and how often it ruled one out; chunks of listed components, and those that lines alone ruled out.
_BEGUN, _FINISHED, _WRITTEN, _TRIED, _HELPED, _SEEN, _GAINED = range(7)


@kernel
def _search_buffers(density, bounds, longest):
    """Return a :class:`Search` for tiles of at most so many rows."""
    n_components, n_features = density.mean.shape
    x = tile_buffer(n_features, longest, density.mean)
    width = x.shape[1]
    columns = np.zeros((5, width))
    numbers = np.zeros((2, width), np.int64)
    slots = np.empty((3, n_components), np.int64)
    rows = np.empty((2, n_features))
    highest, far = -np.inf, 0.0
    for k in range(n_components):
        highest = max(highest, bounds.twice[k])
        # Rows may be whitened about another mean, as those of the tied family are.
        far = max(far, 2.0 * bounds.length[k])
    live = np.empty((n_components, width // CHUNK), np.uint8)
    return Search(
        contract.prepare(density),
        contract.workspace(density, longest),
        Limits(bounds.twice, bounds.limit, highest),
        far,
        Lines(np.full(n_components, -1), np.empty(n_components), np.empty((n_components, n_features))),
        x,
        columns[0],
        Candidates(slots[0], slots[1], np.empty((n_components, width)), live, columns[1]),
        slots[2],
        numbers[0],
        columns[2],
        columns[3],
        numbers[1],
        columns[4],
        np.empty(bounds.frame.shape[1]),
        rows[0],
        rows[1],
    )


@kernel
def _measure_away(bounds, tiles, t, last, hints, images, away):
    """Overwrite `away` (R, W) with how far means are from those of the next R different hints of tiles t .. last.

    In units of the bounds. `hints` (R,) are overwritten with what they are, -1 for none; `images` (R, D) is scratch.
    """
    n_features, n_components = bounds.unit.shape[0], bounds.twice.shape[0]
    n = 0
    for each in range(t, last):
        if n == 0 or tiles[each, 2] != hints[n - 1]:
            if n == hints.shape[0]:
                break
            hints[n] = tiles[each, 2]
            for d in range(n_features):
                images[n, d] = bounds.frame[d, hints[n]]
            n += 1
    for i in range(n, hints.shape[0]):
        hints[i] = -1
    square_distances(images[:n], bounds.frame, n_components, away)
    for i in range(n):
        for k in range(n_components):
            away[i, k] = math.sqrt(away[i, k])


@kernel
def _is_beyond(low, limit):
    """Return whether a distance of at least `low` proves that its square is beyond a limit.

    What overflows proves nothing: it is a difference of large lengths.
    """
    low = low if low > 0.0 else 0.0
    return low * low > limit * (1.0 + 2.0**-40) and low < np.inf


@kernel
def _find_candidates(density, bounds, search, hint, worst, radius, away, work):
    """List the components that may be live in a tile, in order, after `hint`, which is listed; return how many.

    `worst` is the most that a row has reached (see ``vector.partial.Candidates``), `radius` how far rows are from the
    hint's mean, `away` (W,) how far the means are. A row's distance from a component is at least that of the hint's
    mean, less its own from there, in any metric: first in units of the bounds, then in the component's own, as long as
    that often helps.
    """
    n_components, n_features = density.mean.shape
    far, passed, gap, listed = search.far, search.passed, search.gap, search.candidates.listed
    slack = (n_features + 16.0) * _ROUNDING
    length = bounds.length[hint]
    for k in range(n_components):
        blur = slack * (away[k] + length + bounds.length[k] + radius)
        low = bounds.stretch[0, k] * (away[k] - radius - blur)
        low -= slack * bounds.stretch[2, k] * (away[k] + radius + blur + far)
        passed[k] = 1.0 if _is_beyond(low, bounds.limit[k] + worst) else 0.0
    n = 1
    for k in range(n_components):
        if passed[k] > 0.0 or k == hint:
            continue
        if work[_TRIED] > 3 * work[_HELPED] + _TRIALS:
            listed[n] = k
            n += 1
            continue
        work[_TRIED] += 1
        for d in range(n_features):
            gap[d] = density.mean[hint, d] - density.mean[k, d]
        low = contract.whitened_length(density, k, gap) - bounds.stretch[1, k] * radius
        low -= slack * bounds.stretch[2, k] * (away[k] + radius + far)
        if _is_beyond(low, bounds.limit[k] + worst):
            work[_HELPED] += 1
        else:
            listed[n] = k
            n += 1
    return n


@kernel
def _rule_out(bounds, search, centre, n, radius, away, n_listed):
    """Overwrite ``live[1:n_listed]`` with whether a listed component may be live in a chunk, by lines that are drawn.

    With w the line, and z a row less `centre` (D,), the hint's mean, the squared distance is at least
    (|w| + z's part along w)^2, plus what the rest of z makes: see docs/many-components.md. ``search.total`` are squared
    distances from the centre in units of the bounds, at most `radius`^2. The slots of `distance` are scratch.
    """
    listed, _, distance, live, reached = search.candidates
    square, beyond = search.total, search.beyond
    n_chunks = (n + CHUNK - 1) // CHUNK
    slack = (centre.shape[0] + 16.0) * _ROUNDING
    project(search.lines.direction, centre, search.x, n, listed, 1, n_listed, distance)
    for s in range(1, n_listed):
        k = listed[s]
        least, rough = bounds.stretch[0, k], bounds.stretch[2, k]
        blur = slack * rough * (away[k] + radius + search.far)
        square_blur = blur * (4.0 * rough * radius + blur)
        least *= least * (1.0 - 2.0**-38)
        length = search.lines.length[k]
        # What overflows proves nothing.
        limit = bounds.limit[k] if length < np.inf and least < np.inf else np.inf
        along = distance[s]
        for b in range(n_chunks * CHUNK):
            low = abs(length + along[b]) - blur
            low = low if low > 0.0 else 0.0
            rest = least * square[b] - along[b] * along[b] - square_blur
            rest = rest if rest > 0.0 else 0.0
            beyond[b] = 1.0 if low * low + rest > (limit + reached[b]) * (1.0 + 2.0**-40) else 0.0
        for chunk in range(n_chunks):
            n_beyond = 0.0
            for b in range(chunk * CHUNK, (chunk + 1) * CHUNK):
                n_beyond += beyond[b]
            live[s, chunk] = 0 if n_beyond == CHUNK else 1


@kernel
def _drop_ruled_out(candidates, n_chunks, n_listed):
    """Drop the components that are live in no chunk, but for the first; return how many are left."""
    listed, live = candidates.listed, candidates.live
    n = 1
    for s in range(1, n_listed):
        n_live = 0
        for chunk in range(n_chunks):
            n_live += live[s, chunk]
        if n_live > 0:
            listed[n] = listed[s]
            for chunk in range(n_chunks):
                live[n, chunk] = live[s, chunk]
            n += 1
    return n


@kernel
def _line_worth(n_features):
    """Return for what share of chunks lines must be a gain, to be one: measured.

    What a look along a line costs a row are its own products, a share of those that draw it, and comparing. What is
    saved are the products of some squares.
    """
    return (1.0 + n_features / 24.0 + 20.0 / n_features) / 4.6


@kernel
def _judge_lines(bounds, candidates, n_chunks, n_listed, work):
    """Count the chunks of listed components, and those for which lines were a gain.

    That is, those that they rule out and what has been summed in `distance` does not.
    """
    listed, _, distance, live, reached = candidates
    for s in range(1, n_listed):
        limit = bounds.limit[listed[s]]
        work[_SEEN] += n_chunks
        for chunk in range(n_chunks):
            n_within = 0
            for b in range(chunk * CHUNK, (chunk + 1) * CHUNK):
                n_within += 1 if distance[s, b] <= limit + reached[b] else 0
            work[_GAINED] += 1 if live[s, chunk] == 0 and n_within > 0 else 0


@kernel
def _give_up_ruled_out(candidates, n_chunks, n_listed):
    """Overwrite what has been summed where lines have ruled out a chunk by infinity."""
    live, distance = candidates.live, candidates.distance
    for s in range(1, n_listed):
        for chunk in range(n_chunks):
            if live[s, chunk] == 0:
                for b in range(chunk * CHUNK, (chunk + 1) * CHUNK):
                    distance[s, b] = np.inf


@kernel
def _order_slots(log_scale, search, n, n_listed):
    """Overwrite slots[: n_listed - 1] with slots 1 .. n_listed: first those that rows most likely belong to.

    By what of the distances has been summed so far. `total` and `sequence` are scratch.
    """
    listed, slots, distance = search.candidates.listed, search.candidates.slots, search.candidates.distance
    best, nearest, marked = search.total, search.nearest, search.sequence
    for b in range(n):
        best[b] = np.inf
        nearest[b] = 0
    for s in range(1, n_listed):
        twice = 2.0 * log_scale[listed[s]]
        for b in range(n):
            value = distance[s, b] - twice
            lower = value < best[b]
            nearest[b] = s if lower else nearest[b]
            best[b] = value if lower else best[b]
    for s in range(n_listed):
        marked[s] = 0
    for b in range(n):
        marked[nearest[b]] = 1
    i = 0
    for wanted in (1, 0):
        for s in range(1, n_listed):
            if marked[s] == wanted:
                slots[i] = s
                i += 1


@kernel
def _live_slots(search, n_listed, chunk):
    """Overwrite `slots` with those that are live in a chunk, in the order of components; return how many."""
    sequence, slots, live = search.sequence, search.candidates.slots, search.candidates.live
    n = 0
    for i in range(n_listed):
        slots[n] = sequence[i]
        n += 1 if live[sequence[i], chunk] != 0 else 0
    return n


@exact_kernel
def _settle_chunk(log_scale, cutoff, search, n_live, begin, n_kept, outputs):
    """Turn distances in columns `begin` .. of a chunk into responsibilities times `weight`, 0 where they are not live.

    `slots` are the live ones. Overwrites that part of `peak` with the highest log joints, of `label` with where they
    are (the first of equals), and unless `outputs` is 0, of `total` with the sums of exponentials relative to the peak.
    """
    listed, slots, distance, _, _ = search.candidates
    weight, peak, total, label = search.weight, search.peak, search.total, search.label
    highest = 0.5 * search.limits.highest
    end = begin + CHUNK
    for b in range(begin, end):
        peak[b] = -np.inf
        label[b] = 0
        total[b] = 0.0
    for i in range(n_live):
        k = listed[slots[i]]
        scale = log_scale[k]
        row = distance[slots[i]]
        for b in range(begin, end):
            joint = scale - 0.5 * row[b]
            row[b] = joint
            higher = joint > peak[b]
            label[b] = k if higher else label[b]
            peak[b] = joint if higher else peak[b]
    if outputs == 0:
        return
    if n_kept < n_live:
        _keep_best(slots, n_live, begin, n_kept, distance)
    for i in range(n_live):
        least = -cutoff[listed[slots[i]]]
        row = distance[slots[i]]
        for b in range(begin, end):
            below = row[b] - peak[b]
            value = vector_exp(below)
            value = 0.0 if below < (least if peak[b] > highest - 0.5 * _FAR else -_NO_LIMIT) else value
            row[b] = value
            total[b] += value
    for b in range(begin, end):
        weight[b] = weight[b] / total[b]
    for i in range(n_live):
        row = distance[slots[i]]
        for b in range(begin, end):
            row[b] *= weight[b]


@kernel
def _write_entries(search, n_live, begin, n, index, place, end, found):
    """Write the entries of the first n columns of a chunk from `begin` on; return the place after the last.

    Those from the place `end` on are counted alone.
    """
    listed, slots, distance, _, _ = search.candidates
    counts = search.nearest
    for b in range(CHUNK):
        counts[b] = 0
    for i in range(n_live):
        row = distance[slots[i]]
        for b in range(CHUNK):
            counts[b] += 1 if row[begin + b] != 0.0 else 0
    for b in range(n):
        found.begin[index[begin + b]] = place
        found.size[index[begin + b]] = counts[b]
        place, counts[b] = place + counts[b], place
    if place > end:
        return place
    for i in range(n_live):
        k = listed[slots[i]]
        row = distance[slots[i]]
        for b in range(n):
            value = row[begin + b]
            if value != 0.0:
                found.component[counts[b]] = k
                found.responsibility[counts[b]] = value
                counts[b] += 1
    return place


@kernel
def _keep_best(slots, n_live, begin, n_kept, joint):
    """Set all but the `n_kept` highest log joints of each column of a chunk to -inf; of equals the first are kept."""
    best = np.empty(n_kept)
    for b in range(begin, begin + CHUNK):
        n = 0
        for i in range(n_live):
            value = joint[slots[i], b]
            place = n
            if n < n_kept:
                n += 1
            elif value > best[n_kept - 1]:
                place = n_kept - 1
            else:
                continue
            while place > 0 and best[place - 1] < value:
                best[place] = best[place - 1]
                place -= 1
            best[place] = value
        least = best[n_kept - 1]
        equal = 0
        for i in range(n_kept):
            equal += 1 if best[i] == least else 0
        for i in range(n_live):
            value = joint[slots[i], b]
            if value == least and equal > 0:
                equal -= 1
            elif not value > least:
                joint[slots[i], b] = -np.inf


@kernel
def _measure_from(mean, unit, x, n, square):
    """Overwrite `square` with the squared distances of n rows from a mean, 0 to the end of a chunk; return the root.

    Of the largest, in units 1 / `unit` (D,).
    """
    n_features = mean.shape[0]
    for b in range(n):
        square[b] = 0.0
    for d in range(n_features):
        c, u = mean[d], unit[d]
        for b in range(n):
            value = (x[d, b] - c) * u
            square[b] += value * value
    for b in range(n, (n + CHUNK - 1) // CHUNK * CHUNK):
        square[b] = 0.0
    radius = 0.0
    for b in range(n):
        radius = max(radius, square[b])
    return math.sqrt(radius) * (1.0 + 2.0**-40)


@kernel
def _begin_with(density, search, hint, n):
    """List the hint alone and finish its distances; return the most that a row has reached."""
    candidates = search.candidates
    for b in range(n):
        candidates.reached[b] = np.inf
    # Columns beyond the rows are beyond every limit.
    for b in range(n, (n + CHUNK - 1) // CHUNK * CHUNK):
        candidates.reached[b] = -np.inf
    contract.enter_tile(density, search.table, search.x, n, search.scratch)
    candidates.listed[0] = hint
    candidates.slots[0] = 0
    table, x, scratch = search.table, search.x, search.scratch
    contract.begin_distances(density, table, x, scratch, n, candidates.listed, 0, 1, candidates.distance)
    contract.finish_distances(density, table, x, scratch, n, candidates, 1, search.limits)
    worst = -np.inf
    for b in range(n):
        worst = max(worst, candidates.reached[b])
    return worst


@kernel
def _order_sequence(search, hint, n_listed):
    """Overwrite `sequence` with the slots in the order of components; those after the hint's are in order."""
    i = 0
    for s in range(1, n_listed):
        if search.candidates.listed[s] < hint:
            search.sequence[i] = s
            i += 1
    search.sequence[i] = 0
    for s in range(i + 1, n_listed):
        search.sequence[s] = s


@kernel
def _search_tile(density, bounds, search, hint, guess, n, away, work):
    """List components that may be live in a loaded tile, with their distances or none; return how many.

    `hint` is a component that is likely to be the best of many rows, `guess` says that it may well be none, and `away`
    (W,) how far the means are from its own. Slots of `distance` count where ``live[slot, chunk]``.
    """
    n_features = bounds.unit.shape[0]
    n_chunks = (n + CHUNK - 1) // CHUNK
    table, x, scratch, candidates = search.table, search.x, search.scratch, search.candidates
    radius = _measure_from(density.mean[hint], bounds.unit, x, n, search.total)
    worst = _begin_with(density, search, hint, n)
    n_listed = _find_candidates(density, bounds, search, hint, worst, radius, away, work)
    is_trial = work[_SEEN] < _LINE_TRIALS
    are_worth_it = n_listed > 1 and (is_trial or work[_GAINED] > _line_worth(n_features) * work[_SEEN])
    are_drawn = are_worth_it and contract.draw_lines(
        density, hint, candidates.listed, n_listed, search.gap, search.image, search.lines
    )
    if are_drawn:
        _rule_out(bounds, search, density.mean[hint], n, radius, away, n_listed)
    if are_drawn and not is_trial:
        n_listed = _drop_ruled_out(candidates, n_chunks, n_listed)
    if n_listed > 1:
        contract.begin_distances(density, table, x, scratch, n, candidates.listed, 1, n_listed, candidates.distance)
        if are_drawn and is_trial:
            _judge_lines(bounds, candidates, n_chunks, n_listed, work)
        if are_drawn:
            _give_up_ruled_out(candidates, n_chunks, n_listed)
        if guess:
            _order_slots(density.log_scale, search, n, n_listed)
        else:
            for s in range(1, n_listed):
                candidates.slots[s - 1] = s
        contract.finish_distances(density, table, x, scratch, n, candidates, n_listed - 1, search.limits)
    _order_sequence(search, hint, n_listed)
    n_finished = 0
    for s in range(n_listed):
        for chunk in range(n_chunks):
            n_finished += min(n - chunk * CHUNK, CHUNK) if candidates.live[s, chunk] != 0 else 0
    work[_BEGUN] += n_listed * n
    work[_FINISHED] += n_finished
    return n_listed


class Found(NamedTuple):
    """The results of the first stage for a block of n rows.

    `label` (n,) int64, the component of highest log joint (the first of equals), and `peak` (n,) that log joint;
    `evidence` (n,) the log evidence. `begin` and `size` (n,) int64: where a row's entries are; `component` (E,) int32
    and `responsibility` (E,), times the row's weight.
    """

    label: NDArray[np.int64]
    peak: Array
    evidence: Array
    begin: NDArray[np.int64]
    size: NDArray[np.int64]
    component: NDArray[np.int32]
    responsibility: Array


#: What the first stage is asked for: labels and peaks; and log evidence; and entries.
LABELS, EVIDENCE, ENTRIES = 0, 1, 2


@kernel
def _write_tile(density, bounds, search, n_listed, index, n_kept, outputs, place, end, found):
    """Write what is asked for of the rows `index` of a tile that has been searched; return the place after entries."""
    n = index.shape[0]
    for begin in range(0, n, CHUNK):
        n_live = _live_slots(search, n_listed, begin // CHUNK)
        _settle_chunk(density.log_scale, bounds.cutoff, search, n_live, begin, n_kept, outputs)
        if outputs == ENTRIES:
            place = _write_entries(search, n_live, begin, min(n - begin, CHUNK), index, place, end, found)
    total, peak = search.total, search.peak
    if outputs != LABELS:
        log_evidence_tile(peak, total, n, total)
    for b in range(n):
        row = index[b]
        found.label[row] = search.label[b]
        found.peak[row] = peak[b]
        if outputs != LABELS:
            found.evidence[row] = total[b] if peak[b] > -np.inf else -np.inf
    return place


def _find_lanes(first_lane, last_lane, density, bounds, X, weight, order, tiles, n_kept, outputs, found, work):
    """Find the live components of a block of rows, tile by tile.

    X (n, D), C-contiguous; `weight` (n,), or size 0 for 1. `tiles` (n_tiles, 4) int64: each is the rows
    ``order[start:stop]``, a component that is likely to be the best of many of them, and whether that is a bad guess.
    At most `n_kept` components of a row are kept. Overwrites the rows of `found` that `outputs` asks for. `work`
    (L, 7) is overwritten: pairs whose distances were begun, and finished, entries, and four counts of its own. A lane's
    entries may be more than its share of the arrays holds: then the arrays hold nothing of use, and `work` says how
    many there are.
    """
    n_features = density.mean.shape[1]
    n_lanes = work.shape[0]
    longest = 0
    for t in range(tiles.shape[0]):
        longest = max(longest, tiles[t, 1] - tiles[t, 0])
    rows = np.empty((longest, n_features), X.dtype)
    hints = np.full(_HINTS, -1)
    images = np.empty((_HINTS, n_features))
    away = np.empty((_HINTS, bounds.frame.shape[1]))
    buffers = _search_buffers(density, bounds, longest)
    search = borrowed(buffers)
    share = found.component.size // n_lanes
    for lane in range(first_lane, last_lane):
        place = lane * share
        for i in range(work.shape[1]):
            work[lane, i] = 0
        # Tiles are dealt out in hands: neighbours are alike, and may all take long.
        for turn in range(tiles.shape[0]):
            t = (turn // _HAND * n_lanes + lane) * _HAND + turn % _HAND
            if t >= tiles.shape[0]:
                break
            last = min(t - turn % _HAND + _HAND, tiles.shape[0])
            start, stop, hint = tiles[t, 0], tiles[t, 1], tiles[t, 2]
            i = 0
            while i < _HINTS and hints[i] != hint:
                i += 1
            if i == _HINTS:
                _measure_away(bounds, tiles, t, last, hints, images, away)
                i = 0
            n = stop - start
            index = order[start:stop]
            gather_rows(X, index, n, rows)
            pack_tile(rows, 0, n, search.gap, search.x)
            for b in range(n):
                search.weight[b] = weight[index[b]] if weight.size > 0 else 1.0
            n_listed = _search_tile(density, bounds, search, hint, tiles[t, 3] != 0, n, away[i], work[lane])
            end = (lane + 1) * share
            place = _write_tile(density, bounds, search, n_listed, index, n_kept, outputs, place, end, found)
        work[lane, _WRITTEN] = place - lane * share
    keep(buffers)


find = Driver(_find_lanes)


def _sort_lanes(first_lane, last_lane, found, placing, places, rows, responsibility):
    """Sort entries by component, and by row within one: a counting sort in two steps, over lanes of rows.

    First, `places` (L, K) int64 are overwritten with the numbers of entries; then, if `placing`, it says where those of
    a lane and component go in `rows` (E,) int64 and `responsibility` (E,), and is counted up.
    """
    n_rows, n_lanes = found.begin.shape[0], places.shape[0]
    for lane in range(first_lane, last_lane):
        place = places[lane]
        if not placing:
            for k in range(place.shape[0]):
                place[k] = 0
        for row in range(n_rows * lane // n_lanes, n_rows * (lane + 1) // n_lanes):
            for e in range(found.begin[row], found.begin[row] + found.size[row]):
                k = found.component[e]
                if placing:
                    rows[place[k]] = row
                    responsibility[place[k]] = found.responsibility[e]
                place[k] += 1


sort = Driver(_sort_lanes)


class Sorted(NamedTuple):
    """Entries sorted by component: `begins` (K + 1,) int64, `rows` (E,) int64 and `responsibility` (E,)."""

    begins: NDArray[np.int64]
    rows: NDArray[np.int64]
    responsibility: Array


class _Gathering(NamedTuple):
    """The buffers of the second stage, which takes the entries of a component a tile at a time.

    `gathered` (T, D) and `x` (D, T), its rows; `r` (1, T) their responsibilities, `mass` (1,) their sum; the family's
    `scratch`, and `nothing` (1, D), zeros.
    """

    gathered: Any
    x: Any
    r: Any
    mass: Any
    scratch: Any
    nothing: Any


@kernel
def _gathering(density, X, tile):
    n_features = density.mean.shape[1]
    return _Gathering(
        np.empty((tile, n_features), X.dtype),
        tile_buffer(n_features, tile, density.mean),
        tile_buffer(1, tile, density.mean),
        np.empty(1),
        contract.workspace(contract.component(density, 0), tile),
        np.zeros((1, n_features)),
    )


@kernel
def _accumulate_entries(density, k, origin, X, entries, begin, end, work, sums, at):
    """Add the moments about ``origin[k]`` of entries begin .. end, all of component k, to place `at` of `sums`."""
    component = contract.component(density, k)
    tile = work.gathered.shape[0]
    r = work.r
    for first in range(begin, end, tile):
        n = min(tile, end - first)
        gather_rows(X, entries.rows[first : first + n], n, work.gathered)
        pack_tile(work.gathered, 0, n, work.nothing[0], work.x)
        for b in range(n):
            r[0, b] = entries.responsibility[first + b]
        for b in range(n, r.shape[1]):
            r[0, b] = 0.0
        s = 0.0
        for b in range(n):
            s += r[0, b]
        work.mass[0] = s
        sums.mass[at] += s
        contract.accumulate_tile(
            component,
            origin[k : k + 1],
            work.x,
            n,
            r,
            work.mass,
            work.nothing[:0],
            work.scratch,
            sums.deviation[at : at + 1],
            sums.scatter[at : at + 1],
        )


@kernel
def _component_of(begins, entry):
    """Return the component that an entry belongs to."""
    low, high = 0, begins.shape[0] - 1
    while high - low > 1:
        middle = (low + high) // 2
        if begins[middle] <= entry:
            low = middle
        else:
            high = middle
    return low


def _gather_lanes(first_lane, last_lane, density, origin, X, entries, tile, sums, ends):
    """Add the moments of :class:`Sorted` entries about `origin` (K, D) to `sums`, lane by lane.

    Lanes share the entries out evenly. What a lane has of a component that it shares with others goes to `ends`, which
    hold two components a lane, (2 L, ...): the one that lanes before it have begun, and the one that lanes after it go
    on with.
    """
    n_components = density.mean.shape[0]
    n_lanes = ends.mass.shape[0] // 2
    begins = entries.begins
    n_entries = begins[n_components]
    work = _gathering(density, X, tile)
    for lane in range(first_lane, last_lane):
        first = n_entries * lane // n_lanes
        last = n_entries * (lane + 1) // n_lanes
        if last == first:
            continue
        for k in range(_component_of(begins, first), n_components):
            begin, end = max(begins[k], first), min(begins[k + 1], last)
            if begins[k] >= last:
                break
            if end <= begin:
                continue
            # One call of what accumulates: it is large.
            target, at = sums, k
            if begins[k] < first:
                target, at = ends, 2 * lane
            elif begins[k + 1] > last:
                target, at = ends, 2 * lane + 1
            _accumulate_entries(density, k, origin, X, entries, begin, end, work, target, at)


gather = Driver(_gather_lanes)
