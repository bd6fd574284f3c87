"""The first stage: entries, the live components of each row with their responsibilities."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgmm.kernels.compiling import Driver, borrowed, exact_kernel, keep, kernel
from fastgmm.kernels.passes.evidence import log_evidence_tile
from fastgmm.kernels.skipping.bounds import NO_LIMIT, Array
from fastgmm.kernels.skipping.search import HINTS, WRITTEN, measure_away, search_buffers, search_tile
from fastgmm.kernels.vector.elementary import vector_exp
from fastgmm.kernels.vector.partial import CHUNK, FAR
from fastgmm.kernels.vector.tiles import gather_rows, pack_tile

# Vector code takes rows for far a little earlier.
_FAR = FAR * (1.0 + 2.0**-10)
# Neighbouring tiles that one lane gets.
_HAND = 8


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

    `slots` are the live ones; `log_scale` (K,), or (K + 1,) with the log joint of noise at its end. Overwrites that
    part of `peak` with the highest log joints, of `label` with where they are (the first of equals; -1 for noise), and
    unless `outputs` is 0, of `total` with the sums of exponentials relative to the peak.
    """
    listed, slots, distance, _, _ = search.candidates
    weight, peak, total, label = search.weight, search.peak, search.total, search.label
    highest = 0.5 * search.limits.highest
    end = begin + CHUNK
    n_components = cutoff.shape[0]
    has_noise = log_scale.shape[0] > n_components
    noise = log_scale[n_components] if has_noise else -np.inf
    for b in range(begin, end):
        peak[b] = noise
        label[b] = -1 if has_noise else 0
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
    if has_noise:
        for b in range(begin, end):
            total[b] = vector_exp(noise - peak[b])
    for i in range(n_live):
        least = -cutoff[listed[slots[i]]]
        row = distance[slots[i]]
        for b in range(begin, end):
            below = row[b] - peak[b]
            value = vector_exp(below)
            value = 0.0 if below < (least if peak[b] > highest - 0.5 * _FAR else -NO_LIMIT) else value
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


class Found(NamedTuple):
    """The results of the first stage for a block of n rows.

    `label` (n,) int64, the component of highest log joint (the first of equals; -1 for noise), and `peak` (n,) that log
    joint; `evidence` (n,) the log evidence. `begin` and `size` (n,) int64: where a row's entries are; `component` (E,)
    int32 and `responsibility` (E,), times the row's weight.
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
    hints = np.full(HINTS, -1)
    images = np.empty((HINTS, n_features))
    away = np.empty((HINTS, bounds.frame.shape[1]))
    buffers = search_buffers(density, bounds, longest)
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
            while i < HINTS and hints[i] != hint:
                i += 1
            if i == HINTS:
                measure_away(bounds, tiles, t, last, hints, images, away)
                i = 0
            n = stop - start
            index = order[start:stop]
            gather_rows(X, index, n, rows)
            pack_tile(rows, 0, n, search.gap, search.x)
            for b in range(n):
                search.weight[b] = weight[index[b]] if weight.size > 0 else 1.0
            n_listed = search_tile(density, bounds, search, hint, tiles[t, 3] != 0, n, away[i], work[lane])
            end = (lane + 1) * share
            place = _write_tile(density, bounds, search, n_listed, index, n_kept, outputs, place, end, found)
        work[lane, WRITTEN] = place - lane * share
    keep(buffers)


find = Driver(_find_lanes)
