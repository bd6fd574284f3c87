"""Passes that look only at the components that matter to a row: when they pay, in which order, and what they find.

What is computed is a matter of ``kernels.skipping``; here blocks of rows are looked at with a small sample, and
ordered by the component that they most likely belong to. Neither has an influence on results: whether a block is
passed so depends on its rows and the density alone, and what is found does not depend on the order.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgmm import kernels
from fastgmm.kernels import skipping
from fastgmm.kernels.compiling import thread_count
from fastgmm.kernels.passes.collect import Sums
from fastgmm.statistics import Array

# Fewer components, or less work (rows times components times features), are not worth the compilation.
_FEWEST_COMPONENTS = 16
_LEAST_WORK = 2**25
# Rows of a block that are looked at to see whether it pays.
_SAMPLE = 48
# Nanoseconds that a pass takes for a row and component, as a function of the number of features: measured, on one
# thread of one machine. Only ratios of such times decide anything.
_PAIR_TIME: dict[type, Callable[[int], float]] = {
    kernels.FullDensity: lambda d: 2.0 + 0.031 * d * (d + 1),
    kernels.DiagDensity: lambda d: 1.8 + 0.068 * d,
    kernels.SphericalDensity: lambda d: 1.3 + 0.055 * d,
    kernels.TiedDensity: lambda d: 1.3 + 0.094 * d,
}
# What must be gained for a pass to skip.
_LEAST_GAIN = 1.1
# Rows of a tile of the first and second stage: multiples of a chunk.
_TILE = 240
_GATHERED_TILE = 192
# Lanes of the second stage, at most: sums of its lanes are added, so their number must not depend on threads. What the
# first stage finds does not depend on lanes.
_MOST_LANES = 64
_LANES_PER_THREAD = 4
# How many of a few means a mean is listed with.
_NEIGHBOURS = 3
# Entries that a lane of the second stage should have.
_LANE_ENTRIES = 4096
# Entries that are held at a time, if the sample is right: 60 MB.
_MOST_ENTRIES = 2**21
_SMALLEST_RESPONSIBILITY = 2.0**-60
# Components that are less likely than that are mostly ruled out by where they are.
_NEAR = math.exp(-300.0)
_NO_WEIGHTS = np.empty(0)
# Labels are remembered for so many rows, so that memory does not grow with rows that are read.
_REMEMBERED = 2**24


class Hints:
    """The components that rows had last time, by the place of their block: where to look first, and no more.

    A key is the component's number, plus the number of components for a row that is far from it. `share` is what share
    of the pairs to make room for.
    """

    def __init__(self) -> None:
        self._keys: dict[int, NDArray] = {}
        self.share = 0.0
        #: Pairs of a row and a component in the last pass: all, begun, finished, live. 0 where nothing was skipped.
        self.pairs = np.zeros(4)

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return Hints, ()

    def get(self, place: int, n_rows: int) -> NDArray | None:
        """Return the memory of the block of so many rows at a place, or None."""
        keys = self._keys.get(place)
        return keys if keys is not None and len(keys) == n_rows else None

    def keep(self, place: int, keys: NDArray[np.int64], n_components: int) -> None:
        """Remember the keys of a block, unless many rows are remembered already."""
        remembered = sum(len(each) for at, each in self._keys.items() if at != place)
        if remembered + len(keys) > _REMEMBERED:
            return
        self._keys[place] = keys.astype(np.uint16 if n_components <= 2**15 else np.int64)


def _usual(mean: Any, n_features: int) -> Any:
    """Return the most that a squared distance over so many features usually is, where its mean is `mean`."""
    return mean * (1.0 + 6.0 * math.sqrt(2.0 / n_features))


def _tiles(counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the first row of each tile, the row after its last, and its group, for rows sorted by group."""
    filled = np.flatnonzero(counts)
    counts = counts[filled]
    pieces = -(-counts // _TILE)
    ends = np.cumsum(counts)
    number = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    first = np.repeat(ends - counts, pieces) + number * _TILE
    return first, np.minimum(first + _TILE, np.repeat(ends, pieces)), np.repeat(filled, pieces)


def blank_sums(n_components: int, n_features: int, shape: tuple[int, ...]) -> Sums:
    """Return accumulators filled with zeros, for a scatter of some shape."""
    return Sums(np.zeros(n_components), np.zeros((n_components, n_features)), np.zeros(shape))


def _gain(density: Any, share: float, near: float) -> float:
    """Return how many times longer it takes to look at all pairs than at the `share` of them that is live: an estimate.

    `near` is the share of pairs whose distances have to be looked into. Fitted to measured times. Those by variances
    are summed in smaller blocks when they may be given up. A live pair is written and sorted, and its row copied again.
    """
    n_components, n_features = density.mean.shape
    pair = _PAIR_TIME[type(density)](n_features)
    if isinstance(density, kernels.FullDensity):
        look = pair * min(0.3 + 4.0 * share, 0.55)
    else:
        look = pair * min(0.6 + 12.0 * share, 1.6)
    each = 0.1 + near * (0.8 + look) + share * (25.0 + 0.7 * n_features + 0.8 * pair)
    return n_components * pair / (110.0 + 2.0 * n_features + n_components * each)


def may_pay(density: Any, n_rows: int) -> bool:
    """Return whether so many rows and components may be worth the trouble."""
    n_components, n_features = density.mean.shape
    work = float(n_rows) * n_components * n_features
    is_large = n_components >= _FEWEST_COMPONENTS and work >= _LEAST_WORK
    # Where each row belongs to one component alone, more cannot be gained.
    return (
        type(density) in _PAIR_TIME
        and is_large
        and _gain(density, 1.0 / n_components, 1.0 / n_components) > _LEAST_GAIN
    )


def lost_mass(density: Any, mass: Array, weight: float) -> bool:
    """Return whether a component of the density has lost so much mass that what was passed over could be seen in it.

    What is passed over of a component is below 2**-60 of its weight in every row. So where it keeps a millionth of its
    mass, its statistics are right to 2**-40 of themselves. `mass` (K,) is of rows of so much `weight`.
    """
    log_weight = skipping.log_weights(density)
    share = np.exp(log_weight - log_weight.max())
    return bool((mass < 2.0**-20 * weight * share / share.sum()).any())


class LivePass:
    """Blocks of rows under one float64 density, looked at where components are live.

    Parameters
    ----------
    density : Density
    n_threads : int or None
    hints : Hints or None
        What is known of the rows, and gets to know more; None where they are not looked at again.
    n_kept : int or None
        At most so many components of a row are kept: the best.
    """

    def __init__(
        self, density: Any, n_threads: int | None, hints: Hints | None = None, n_kept: int | None = None
    ) -> None:
        self.density = density
        self._n_threads = n_threads
        self._hints = Hints() if hints is None else hints
        self._remembers = hints is not None
        self._n_kept = n_kept or len(density.mean)
        self._bounds: skipping.Bounds | None = None
        self._is_measured = False
        self._cutoff = math.nan
        self._n_lanes = _LANES_PER_THREAD * thread_count(n_threads)
        self._n_pieces = 1
        self._share = 0.0
        self._hints.pairs = np.zeros(4)

    def pays(self, X: NDArray) -> bool:
        """Return whether few components are live in a block of rows: a function of the rows and the density.

        Or whether few are to be kept.
        """
        n_components, n_rows = len(self.density.mean), len(X)
        is_truncated = self._n_kept < n_components
        if not is_truncated and not may_pay(self.density, n_rows):
            return False
        sample = X[np.linspace(0, n_rows - 1, _SAMPLE).astype(np.int64)].astype(np.float64)
        responsibility = np.empty((_SAMPLE, n_components))
        labels = np.empty(_SAMPLE, np.int64)
        sums = np.zeros((2, 3))
        half = _SAMPLE // 2
        kernels.score(
            2, self._n_threads, self.density, sample, half, _NO_WEIGHTS, labels, np.empty(0), responsibility, sums
        )
        share = float((responsibility > _SMALLEST_RESPONSIBILITY).mean())
        near = float((responsibility > _NEAR).mean())
        self._share = 2.0 * share
        n_entries = n_rows * min(self._share * n_components, self._n_kept)
        # A second of one core, at most, until an interrupt is heard.
        seconds = 1e-9 * n_rows * n_components * near * _PAIR_TIME[type(self.density)](self.density.mean.shape[1])
        # A power of two, so that pieces, of which labels are remembered, are seldom others.
        self._n_pieces = 2 ** max(math.ceil(math.log2(max(n_entries / _MOST_ENTRIES, seconds, 1.0))), 0)
        if not is_truncated and not _gain(self.density, share, near) > _LEAST_GAIN:
            return False
        if self._bounds is None:
            self._set_units(sample, labels)
        return True

    def _set_units(self, sample: NDArray, labels: NDArray[np.int64]) -> None:
        with np.errstate(divide="ignore", over="ignore"):
            unit = 1.0 / np.median(np.abs(sample - self.density.mean[labels]), axis=0)
        unit = np.where(np.isfinite(unit) & (unit > 0.0), unit, 1.0)
        self._bounds = skipping.blank_bounds(len(self.density.mean), self.density.mean.mean(axis=0), unit)

    def _ready(self) -> skipping.Bounds:
        """Return the bounds, measured."""
        assert self._bounds is not None
        if not self._is_measured:
            skipping.measure(len(self.density.mean), self._n_threads, self.density, self._bounds)
            self._is_measured = True
        return self._bounds

    def _limited(self, cutoff: float) -> skipping.Bounds:
        """Return the bounds with limits for the least cutoff of a component."""
        bounds = self._ready()
        if cutoff != self._cutoff:
            skipping.set_limits(self.density, cutoff, bounds)
            self._cutoff = cutoff
        return bounds

    def _order(self, X: NDArray, weight: Array | None, place: int) -> tuple[NDArray, NDArray]:
        """Return rows in the order of what they most likely belong to, and tiles of them."""
        n_components, n_features = self.density.mean.shape
        keys = self._hints.get(place, len(X))
        guessed = keys is None
        if keys is None:
            bounds = self._ready()
            labels, square = self._guess(X)
            # Rows that belong elsewhere would make large tiles of those that do not.
            keys = labels + n_components * (square > _usual(bounds.stretch[3], n_features)[labels])
        # Numbers of 16 bits are sorted in linear time.
        order = np.argsort(keys.astype(np.uint16) if n_components <= 2**15 else keys, kind="stable")
        if weight is not None:
            order = order[weight[order] > 0.0]
            keys = keys[order]
        counts = np.bincount(keys, minlength=2 * n_components)
        if guessed:
            counts = np.append(counts[:n_components], counts[n_components:].sum())
        first, last, group = _tiles(counts)
        hint = (keys if weight is not None else keys[order])[first] % n_components if guessed else group % n_components
        return order, np.stack([first, last, hint, (group >= n_components) * guessed], axis=1)

    def _guess(self, X: NDArray) -> tuple[NDArray[np.int64], Array]:
        """Return for each row a component whose mean is near, and the square of how near, in units of the bounds.

        A row is compared with some of the means, and then with all that have the nearest of these among theirs.
        """
        bounds = self._ready()
        n_components, n_rows = len(self.density.mean), len(X)
        means = np.ascontiguousarray(bounds.frame[:, :n_components].T)
        label, square = np.empty(n_rows, np.int64), np.empty(n_rows)
        n_some = min(2 * math.isqrt(n_components), n_components)
        some = np.linspace(0, n_components - 1, n_some).astype(np.int64)
        order = np.arange(n_rows)
        first, last, group = _tiles(np.array([n_rows]))
        lists = np.array([0, n_some])
        for _ in range(2):
            tiles = np.stack([first, last, group], axis=1)
            of_means = skipping.Lists(lists, some)
            skipping.guess(
                skipping.GUESS_LANES, self._n_threads, X, order, tiles, means, bounds, of_means, label, square
            )
            if len(lists) > 2:
                break
            # Not by a matrix product: the threads of BLAS go on waiting for work, in the way of ours.
            away = (means[some] ** 2).sum(axis=1) - 2.0 * np.einsum("kd,jd->kj", means, means[some])
            # However much cancels there: no list is empty.
            away[some, np.arange(n_some)] = -np.inf
            nearest = np.argpartition(away, min(_NEIGHBOURS, n_some) - 1, axis=1)[:, :_NEIGHBOURS]
            place = np.empty(n_components, np.int64)
            place[some] = np.arange(n_some)
            label = place[label]
            order = np.argsort(label.astype(np.uint16), kind="stable")
            first, last, group = _tiles(np.bincount(label, minlength=n_some))
            by_list = np.argsort(nearest.ravel(), kind="stable")
            lists = np.concatenate([[0], np.cumsum(np.bincount(nearest.ravel(), minlength=n_some))])
            some = np.repeat(np.arange(n_components), nearest.shape[1])[by_list]
        return label, square

    def find(self, X: NDArray, weight: Array | None, place: int, outputs: int) -> skipping.Found:
        """Return the results of the first stage for a block of rows, C-contiguous; its labels become hints."""
        n_rows, n_components = len(X), len(self.density.mean)
        base = 0.0 if outputs == skipping.LABELS else skipping.CUTOFF + math.log(n_components)
        bounds = self._limited(base)
        order, tiles = self._order(X, weight, place)
        n_lanes = max(min(self._n_lanes, len(tiles)), 1)
        work = np.zeros((n_lanes, 7), np.int64)
        share = max(self._share, self._hints.share)
        per_lane = int(min(share * n_components, self._n_kept) * n_rows / n_lanes) + 1024
        capacity = per_lane * n_lanes if outputs == skipping.ENTRIES else 0
        while True:
            found = skipping.Found(
                np.zeros(n_rows, np.int64),
                np.zeros(n_rows),
                np.zeros(n_rows),
                np.zeros(n_rows, np.int64),
                np.zeros(n_rows, np.int64),
                np.empty(capacity, np.int32),
                np.empty(capacity),
            )
            skipping.find(
                n_lanes,
                self._n_threads,
                self.density,
                bounds,
                X,
                _NO_WEIGHTS if weight is None else weight,
                order,
                tiles,
                self._n_kept,
                outputs,
                found,
                work,
            )
            most = int(work[:, 2].max()) if outputs == skipping.ENTRIES else 0
            if outputs == skipping.ENTRIES:
                self._hints.share = 1.1 * most * n_lanes / (n_rows * n_components)
            if most * n_lanes <= capacity:
                break
            capacity = (most + most // 16) * n_lanes
        if self._remembers:
            self._hints.keep(place, self._keys(found), n_components)
        self._hints.pairs += n_rows * n_components, *work[:, :3].sum(axis=0)
        return found

    def _keys(self, found: skipping.Found) -> NDArray[np.int64]:
        """Return labels, plus the number of components where a row is far from its own, or is noise."""
        n_components, n_features = self.density.mean.shape
        is_noise = found.label < 0
        labels = np.where(is_noise, 0, found.label)
        with np.errstate(invalid="ignore"):
            square = 2.0 * (self.density.log_scale[labels] - found.peak)
        return labels + n_components * (is_noise | (square > _usual(n_features, n_features)))

    def _sorted(self, found: skipping.Found, n_entries: int) -> skipping.Sorted:
        """Return entries by component, and by row within one."""
        n_components = len(self.density.mean)
        rows, responsibility = np.empty(n_entries, np.int64), np.empty(n_entries)
        n_lanes = self._n_lanes
        places = np.empty((n_lanes, n_components), np.int64)
        skipping.sort(n_lanes, self._n_threads, found, False, places, rows, responsibility)
        ends = np.cumsum(places.T).reshape(n_components, n_lanes)
        places = np.ascontiguousarray(ends.T - places)
        begins = np.append(places[0], n_entries)
        skipping.sort(n_lanes, self._n_threads, found, True, places, rows, responsibility)
        return skipping.Sorted(begins, rows, responsibility)

    def collect(self, X: NDArray, weight: Array | None, place: int, origin: Array, sums: Sums) -> float:
        """Add the moments of a block of rows about `origin` to `sums`, and return its log evidence.

        The block is one that :meth:`pays` has looked at last.
        """
        n_rows = -(-len(X) // self._n_pieces)
        evidence = 0.0
        for start in range(0, len(X), n_rows):
            piece = slice(start, min(start + n_rows, len(X)))
            w = None if weight is None else weight[piece]
            found = self.find(X[piece], w, place + start, skipping.ENTRIES)
            self._accumulate(X[piece], found, origin, sums)
            evidence += float(found.evidence.sum() if w is None else (w * found.evidence).sum())
        return evidence

    def _accumulate(self, X: NDArray, found: skipping.Found, origin: Array, sums: Sums) -> None:
        n_entries = int(found.size.sum())
        entries = self._sorted(found, n_entries)
        n_lanes = min(max(n_entries // _LANE_ENTRIES, 1), _MOST_LANES)
        ends = Sums(
            np.zeros(2 * n_lanes),
            np.zeros((2 * n_lanes, origin.shape[1])),
            np.zeros((2 * n_lanes if sums.scatter.size else 0, *sums.scatter.shape[1:])),
        )
        skipping.gather(n_lanes, self._n_threads, self.density, origin, X, entries, _GATHERED_TILE, sums, ends)
        for lane in np.flatnonzero(ends.mass):
            first, last = (n_entries * (lane // 2 + i) // n_lanes for i in (0, 1))
            k = int(np.searchsorted(entries.begins, first if lane % 2 == 0 else last - 1, side="right")) - 1
            for total, part in zip(sums, ends, strict=True):
                if total.size:
                    total[k] += part[lane]
