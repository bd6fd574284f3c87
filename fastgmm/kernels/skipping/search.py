"""The search of a tile: components that may be live, by bounds, lines and distances that are given up."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgmm.kernels.compiling import kernel
from fastgmm.kernels.skipping.bounds import Array
from fastgmm.kernels.structures import contract
from fastgmm.kernels.vector.distances import square_distances
from fastgmm.kernels.vector.partial import CHUNK, Candidates, Limits, project
from fastgmm.kernels.vector.tiles import tile_buffer

# How often a bound is tried in a lane before it has to have proven its worth.
_TRIALS = 128
# Pairs of a chunk and a component that lines are tried on in a lane.
_LINE_TRIALS = 1024
# Hints whose means' distances from all others are measured together: a block of registers.
HINTS = 8
# Relative rounding errors of lengths of D numbers, for each of them.
_ROUNDING = 2.0**-49


class Lines(NamedTuple):
    """Lines from the mean of a hint to those of other components, in their whitened spaces, as far as they are drawn.

    `start` (K,) int64: the hint, or -1 for none; `length` (K,) |w|, for w = whitener[k] (mean[start] - mean[k]);
    `direction` (K, D): its product with z is the component of whitener[k] z along w.
    """

    start: NDArray[np.int64]
    length: Array
    direction: Array


class Search(NamedTuple):
    """The buffers of a lane's search: T columns of a tile of D features, W columns of the bounds' frame.

    `table` and `scratch` are the family's, `limits` the density's; `far` is how far any two means are at most, in units
    of the bounds; `lines` are those that are drawn. `x` (D, T) are the rows, `weight` (T,) their weights. `sequence`
    (K,) int64 holds the slots of the `candidates` in the order of components. `label` (T,) int64, `peak` and `total`
    (T,) are results; the others scratch: `nearest` (T,) int64, `beyond` (T,), `passed` (W,), `gap` and `image` (D,).
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
_BEGUN, _FINISHED, WRITTEN, _TRIED, _HELPED, _SEEN, _GAINED = range(7)


@kernel
def search_buffers(density, bounds, longest):
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
def measure_away(bounds, tiles, t, last, hints, images, away):
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
def search_tile(density, bounds, search, hint, guess, n, away, work):
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
