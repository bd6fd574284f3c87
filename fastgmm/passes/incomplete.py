"""Passes over rows with missing entries: sorted once by which entries are observed, then pattern by pattern.

The arithmetic is that of :mod:`fastgmm.kernels.passes.incomplete`, always float64: what is missing is integrated out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgmm import kernels
from fastgmm.families import Family
from fastgmm.kernels import Density
from fastgmm.kernels.passes.incomplete import (
    Patterns,
    Pieces,
    collect_incomplete,
    collecting_address,
    fill_incomplete,
    score_incomplete,
    scoring_address,
)
from fastgmm.passes.scores import Score, refuse_far_rows
from fastgmm.rows import Rows, contiguous, kernel_array, scan_rows
from fastgmm.statistics import Array, SufficientStatistics

_NO_WEIGHTS = np.empty(0)
# Numbers that are sorted in one go.
_SORTED_FLOATS = 2**22
# A pattern takes about as long as so many rows, whatever it has.
_PATTERN_ROWS = 100


class Sorted(NamedTuple):
    """Rows in the order of their patterns: row i of them is row ``order[i]``; `patterns` has no weights."""

    order: NDArray[np.int64]
    patterns: Patterns

    def weighted(self, weight: Array | None) -> Patterns:
        """Return the patterns with weights (N,), which are in the order of the rows; None for 1."""
        own = _NO_WEIGHTS if weight is None else kernel_array(weight[self.order], np.float64)
        return self.patterns._replace(weight=own)


class SortedBlock(NamedTuple):
    """Some consecutive rows, sorted: their places, and their weights (n,) or None, these in the order of the rows."""

    places: slice
    sorted: Sorted
    weight: Array | None


def sorted_rows(n_features: int) -> int:
    """Return how many rows are sorted in one go, which sums depend on: so it depends on the shape alone."""
    return max(_SORTED_FLOATS // n_features, 1)


def sorted_blocks(rows: Any) -> Iterator[SortedBlock]:
    """Yield rows in this process, some of whose entries may be missing, by pattern; kept where they are in memory."""
    if hasattr(rows, "sorted_blocks"):
        yield from rows.sorted_blocks()
        return
    for places, X, weight in rows.given_blocks(sorted_rows(rows.n_features)):
        found = sort_rows(X)
        lengths = getattr(rows, "log_lengths", _NO_WEIGHTS)
        yield SortedBlock(places, found._replace(patterns=found.patterns._replace(log_lengths=lengths)), weight)


def sort_rows(X: NDArray) -> Sorted:
    """Return the rows of X (N, D), NaN for what is missing, sorted by which of their entries are observed."""
    n_rows, n_features = X.shape
    n_words = -(-n_features // 64)
    bits = np.zeros((n_rows, 8 * n_words), np.uint8)
    step = scan_rows(n_features)
    for start in range(0, n_rows, step):
        here = slice(start, start + step)
        bits[here, : -(-n_features // 8)] = np.packbits(~np.isnan(X[here]), axis=1)
    words = bits.view(np.uint64)
    keys = words[:, 0] if n_words == 1 else words.view([("", np.uint64)] * n_words)[:, 0]
    # Keys of few bits are sorted by their digits, several times as fast.
    order = np.argsort(keys.astype(np.uint16) if n_features <= 16 else keys, kind="stable")
    starts = np.flatnonzero(np.append(True, keys[order[1:]] != keys[order[:-1]]))
    counts = np.diff(np.append(starts, n_rows))
    observed = ~np.isnan(X[order[starts]])
    n_observed = observed.sum(axis=1)
    ends = np.cumsum(counts * n_observed)
    values = np.empty(int(ends[-1]), contiguous(X[:0]).dtype)
    begin = 0
    for start in range(0, n_rows, step):
        block = X[order[start : start + step]]
        held = block[~np.isnan(block)]
        values[begin : begin + len(held)] = held
        begin += len(held)
    return Sorted(
        order,
        Patterns(
            values,
            _NO_WEIGHTS,
            np.concatenate([[0], ends]).astype(np.int64),
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            np.argsort(~observed, axis=1, kind="stable").astype(np.int64),
            n_observed.astype(np.int64),
            np.empty(0),
        ),
    )


def _cut(first_row: NDArray[np.int64], n_blocks: int, n_lanes: int) -> list[Pieces]:
    """Return the pieces of so many blocks of rows, each for so many lanes that take equally long."""
    counts = np.diff(first_row)
    cost = np.concatenate([[0.0], np.cumsum(counts + float(_PATTERN_ROWS))])
    at = np.linspace(0.0, cost[-1], n_blocks * n_lanes + 1)
    pattern = np.clip(np.searchsorted(cost, at, side="right") - 1, 0, len(counts) - 1)
    inside = np.clip(at - cost[pattern] - _PATTERN_ROWS, 0.0, counts[pattern]).astype(np.int64)
    edges = first_row[pattern] + inside
    edges[0], edges[-1] = 0, first_row[-1]
    cuts = np.unique(np.concatenate([first_row, edges]))
    first, stop = cuts[:-1], cuts[1:]
    of_pattern = np.searchsorted(first_row, first, side="right") - 1
    begins = np.searchsorted(first, edges)
    pieces = []
    for block in range(n_blocks):
        own = begins[block * n_lanes : (block + 1) * n_lanes + 1]
        here = slice(int(own[0]), int(own[-1]))
        numbers = of_pattern[here], first[here], stop[here], own - own[0]
        pieces.append(Pieces(*(np.ascontiguousarray(each, np.int64) for each in numbers)))
    return pieces


class Plan:
    """How incomplete rows are cut for a pass: tiles, lanes, and the pieces of each block; by the rows' shape alone.

    A block takes no longer than one of complete rows, so that Ctrl-C is heard.
    """

    def __init__(self, patterns: Patterns, n_components: int, n_features: int, lane_floats: int) -> None:
        n_rows = int(patterns.first_row[-1]) + _PATTERN_ROWS * len(patterns.n_observed)
        self.tile = kernels.tile_rows(n_components, n_features)
        block = kernels.block_rows(n_components, n_features, self.tile)
        self.n_lanes = kernels.lane_count(min(n_rows, block), n_components, n_features, self.tile, lane_floats)
        self.pieces = _cut(patterns.first_row, -(-n_rows // block), self.n_lanes)


@dataclass(eq=False)
class GapSweep:
    """The task that returns the statistics of incomplete rows about `origin` (K, D), under the posterior of `density`.

    Of what is missing the expected moments count, so that an update raises the likelihood of what is observed, which
    is the log evidence.
    """

    family: Family
    density: Density
    origin: Array
    n_threads: int | None = None

    def __call__(self, rows: Any) -> SufficientStatistics:
        """Return the statistics of all rows in this process: those of the first ones, and the next ones added."""
        total: SufficientStatistics | None = None
        for block in sorted_blocks(rows):
            part = self._of_block(block)
            total = part if total is None else total + part
        return self.family.zero(self.origin) if total is None else total

    def _of_block(self, block: SortedBlock) -> SufficientStatistics:
        family, density = self.family, self.density
        patterns = block.sorted.weighted(block.weight)
        n_components, n_features = density.mean.shape
        shape = family.shape(n_components, n_features)
        plan = Plan(patterns, n_components, n_features, n_components * (n_features + 1) + math.prod(shape))
        shapes = (n_components,), (n_components, n_features), shape, ()
        sums = [np.zeros((plan.n_lanes, *each)) for each in shapes]
        address = collecting_address(density, sums[2], patterns)
        for pieces in plan.pieces:
            collect_incomplete(
                plan.n_lanes, self.n_threads, address, density, self.origin, patterns, pieces, plan.tile, *sums
            )
        mass, deviation, scatter, evidence = (lanes.sum(axis=0) for lanes in sums)
        weight = float(len(block.sorted.order)) if block.weight is None else float(block.weight.sum())
        return SufficientStatistics(self.origin, mass, deviation, family.mirror(scatter), float(evidence), weight)


class IncompleteScores:
    """Scores of incomplete rows under a density, by what is observed of them: as of ``passes.scores.Scores``."""

    def __init__(
        self,
        density: Density,
        rows: Any,
        n_threads: int | None = None,
        *,
        labels: bool = False,
        evidence: bool = False,
        responsibilities: bool = False,
        sums: bool = False,
    ) -> None:
        n_rows, n_components = rows.n_rows, len(density.mean)
        self.labels = np.empty(n_rows if labels else 0, np.int64)
        self.evidence = np.empty(n_rows if evidence else 0, rows.dtype)
        self.responsibilities = np.empty((n_rows, n_components) if responsibilities else (0, 0), rows.dtype)
        outputs = self.labels, self.evidence, self.responsibilities
        total, self.weight = np.zeros(3), 0.0
        for places, found, weight in sorted_blocks(rows):
            patterns = found.patterns
            if sums:
                patterns = found.weighted(np.ones(len(found.order)) if weight is None else weight)
            here = slice(places.start - rows.offset, places.stop - rows.offset)
            own_labels, own_evidence, own_shares = (np.empty_like(output[here]) for output in outputs)
            parts = own_labels, own_evidence, own_shares
            plan = Plan(patterns, n_components, rows.n_features, 2)
            lanes = np.zeros((plan.n_lanes, 3))
            address = scoring_address(density, patterns, parts)
            for pieces in plan.pieces:
                score_incomplete(plan.n_lanes, n_threads, address, density, patterns, pieces, plan.tile, *parts, lanes)
            for output, part in zip(outputs, parts, strict=True):
                # What was asked for, back in the order of the rows.
                if output.size:
                    output[here][found.order] = part
            total += lanes.sum(axis=0)
            self.weight += float(patterns.weight.sum())
        self.sum_evidence, self.sum_peak, overflown = total.tolist()
        if overflown and (labels or responsibilities):
            refuse_far_rows(density, rows, n_threads)


def missing_values(
    density: Density, found: Sorted, shares: NDArray, noise: Array | None, n_threads: int | None
) -> Array:
    """Return the missing entries of the sorted rows, one row after the other, in the order of columns.

    The conditional means of the components, weighted by the `shares` (N, K) of rows in their own order; with `noise`,
    normal numbers in place of what is returned, their conditional deviations are added.
    """
    order, patterns = found
    n_components, n_features = density.mean.shape
    n_missing = n_features - patterns.n_observed
    first_missing = np.concatenate([[0], np.cumsum(np.diff(patterns.first_row) * n_missing)]).astype(np.int64)
    values = np.zeros(int(first_missing[-1]))
    plan = Plan(patterns, n_components, n_features, 2)
    own = kernel_array(shares[order], np.float64)
    noise = _NO_WEIGHTS if noise is None else noise
    for pieces in plan.pieces:
        fill_incomplete(plan.n_lanes, n_threads, density, patterns, first_missing, pieces, own, noise, values)
    return values


def with_values(X: NDArray, order: NDArray[np.int64], values: Array) -> NDArray:
    """Return the rows of X (N, D) with :func:`missing_values` in their gaps, as float32 or float64 in C order."""
    filled: NDArray = np.array(X, contiguous(X[:0]).dtype, order="C")
    step, begin = scan_rows(X.shape[1]), 0
    for start in range(0, len(X), step):
        places = order[start : start + step]
        block = filled[places]
        gaps = np.isnan(block)
        end = begin + int(np.count_nonzero(gaps))
        block[gaps] = values[begin:end]
        filled[places] = block
        begin = end
    return filled


@dataclass(eq=False)
class Fill:
    """The task that returns rows with what is missing filled in by its mean given what is observed, (N, D).

    Components count by their probability under `density`; `components` are their normal laws.
    """

    density: Density
    components: Density
    n_threads: int | None = None
    output: str = "imputed"

    def __call__(self, rows: Rows) -> NDArray:
        """Return the rows as float32 or float64."""
        n_features = rows.n_features
        filled = np.empty((rows.n_rows, n_features), rows.dtype)
        score = Score(self.density, "responsibilities", self.n_threads)
        for block in rows.given_blocks(sorted_rows(n_features)):
            part = rows.part(block)
            shares = score(part)
            place = block.places.start - rows.offset
            for places, found, _ in sorted_blocks(part):
                here = slice(places.start - part.offset, places.stop - part.offset)
                values = missing_values(self.components, found, shares[here], None, self.n_threads)
                own = with_values(block.X[here], found.order, values)
                filled[place + here.start : place + here.stop] = own
        return filled
