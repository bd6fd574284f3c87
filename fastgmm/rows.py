"""Rows of numbers with weights, wherever they are: what a pass reads, and what is known of them without one.

A task (a sweep, a scan, a draw of some rows) is a function of rows in this process. ``Rows.gather`` brings it to the
rows, which may be an array, a file that is read block by block, or partitions in other processes, and puts the answers
together. Nothing else in the package knows where rows are.
"""

from __future__ import annotations

import copy
import math
import operator
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastgmm.statistics import Array
from fastgmm.support.showing import more_of, page_html, paragraph_html, table_html

T = TypeVar("T")

#: Weights are far from 1 where the exponent of the largest is at least so large, either way.
FAR_EXPONENT = 64

#: What is said where rows with missing entries come to what takes complete ones.
GAPS = "X has missing entries, which are not integrated out here: give complete rows, such as those of impute(X)."

_SMALLEST_NORMAL = 2.0**-1022
# Columns that a notebook shows by name; more are counted.
_SHOWN_COLUMNS = 20
_SCAN_ROWS = 2**15
_SCAN_FLOATS = 2**21


def scan_rows(n_features: int) -> int:
    """Return how many rows tasks of little arithmetic look at in one go.

    It depends on the shape alone, so that sums over rows are the same bits everywhere.
    """
    return max(min(_SCAN_ROWS, _SCAN_FLOATS // n_features), 1)


class _Unlocked:
    """A read-only array that says it may be written: Numba compiles every kernel again for read-only arrays."""

    def __init__(self, array: NDArray) -> None:
        self._array = array
        self.__array_interface__ = array.__array_interface__ | {"data": (array.ctypes.data, False)}


def kernel_array(array: NDArray, dtype: type) -> NDArray:
    """Return the array as kernels take it, C-contiguous and aligned: itself where it is, else a copy."""
    if array.flags.carray and array.dtype == dtype:
        return array
    array = np.require(array, dtype, ["C", "A"])
    return array if array.flags.writeable or array.size == 0 else np.asarray(_Unlocked(array))


def row_type(dtype: np.dtype) -> type[np.floating]:
    """Return the type that kernels read rows in, and results are given in: float32 for float32, else float64."""
    return np.float32 if dtype == np.float32 else np.float64


def contiguous(X: NDArray) -> NDArray:
    """Return X as a C-contiguous float32 or float64 array: itself where it is one, else a copy."""
    if X.flags.carray and (X.dtype == np.float64 or X.dtype == np.float32):
        return X
    return kernel_array(X, row_type(X.dtype))


class Block(NamedTuple):
    """Some consecutive rows: their places, themselves (n, D) in any type and layout, and their weights (n,) or None."""

    places: slice
    X: NDArray
    weight: NDArray | None


@dataclass(frozen=True, eq=False)
class Summary:
    """A summary of rows, of one look at them; ``+`` puts parts together.

    Weights are in units of ``2**exponent``, which brings the largest to about 1: `weight` is their sum, `squares` that
    of their squares. `smallest` and `largest` are of the positive ones. `first` is the first row of positive weight,
    (1, D), and `place` its number; None and -1 where there is none.
    """

    n_rows: int
    n_weighted: int
    exponent: int
    weight: float
    squares: float
    smallest: float
    largest: float
    first: Array | None
    place: int

    def __add__(self, other: Summary) -> Summary:
        """Return the summary of both sets of rows."""
        high = max(self.exponent, other.exponent) if self.n_weighted and other.n_weighted else None
        if high is None:
            exponent = self.exponent if self.n_weighted else other.exponent
            weight, squares = self.weight + other.weight, self.squares + other.squares
        else:
            exponent = high
            weight = sum(math.ldexp(each.weight, each.exponent - high) for each in (self, other))
            squares = sum(math.ldexp(each.squares, 2 * (each.exponent - high)) for each in (self, other))
        held = [each for each in (self, other) if each.first is not None]
        first = min(held, key=lambda each: each.place) if held else self
        return Summary(
            self.n_rows + other.n_rows,
            self.n_weighted + other.n_weighted,
            exponent,
            weight,
            squares,
            min(self.smallest, other.smallest),
            max(self.largest, other.largest),
            first.first,
            first.place,
        )

    def scaled(self, exponent: int) -> Summary | None:
        """Return the summary with weights times ``2**-exponent``; None where some might be too small to count then."""
        smallest = _scaled(self.smallest, -exponent)
        if not self.n_weighted or smallest < _SMALLEST_NORMAL:
            return None
        return replace(
            self, exponent=self.exponent - exponent, smallest=smallest, largest=_scaled(self.largest, -exponent)
        )

    @property
    def total_weight(self) -> float:
        """The weight of all rows; infinite beyond float64."""
        return _scaled(self.weight, self.exponent)

    @property
    def effective_rows(self) -> float:
        """The number of rows of equal weight that say as much as rows of these weights (Kish 1965)."""
        return self.weight**2 / self.squares


def _scaled(value: float, exponent: int) -> float:
    try:
        return math.ldexp(value, exponent)
    except OverflowError:
        return math.inf


def summary_of(block: Block) -> Summary:
    """Return the summary of one block, whose weights are finite and not negative."""
    n_rows, start = len(block.X), block.places.start
    if block.weight is None:
        first = np.array(block.X[:1], np.float64, order="C") if n_rows else None
        return Summary(n_rows, n_rows, 0, float(n_rows), float(n_rows), 1.0, 1.0, first, start if n_rows else -1)
    positive = np.flatnonzero(block.weight > 0.0)
    if len(positive) == 0:
        return Summary(n_rows, 0, 0, 0.0, 0.0, math.inf, 0.0, None, -1)
    held = block.weight[positive]
    exponent = int(np.frexp(held.max())[1])
    share = np.ldexp(block.weight, -exponent)
    return Summary(
        n_rows,
        len(positive),
        exponent,
        float(share.sum()),
        float((share * share).sum()),
        float(held.min()),
        float(held.max()),
        np.array(block.X[positive[:1]], np.float64, order="C"),
        start + int(positive[0]),
    )


#: The summary of no rows.
NO_ROWS = Summary(0, 0, 0, 0.0, 0.0, math.inf, 0.0, None, -1)


def scan(rows: Rows) -> Summary:
    """Return the summary of rows in this process."""
    summary = NO_ROWS
    for block in rows.given_blocks(scan_rows(rows.n_features)):
        summary = summary + summary_of(block)
    return summary


class Shared:
    """A store of what several fits to the same rows need alike: made by the first that asks, in any thread.

    Others wait for it in the time that `standing_by` returns.
    """

    def __init__(self, standing_by: Callable[[], AbstractContextManager[None]] = nullcontext) -> None:
        self._standing_by = standing_by
        self._lock = threading.Lock()
        self._made: dict[Any, tuple[threading.Lock, list[Any]]] = {}

    def get(self, name: Hashable, make: Callable[[], T]) -> T:
        """Return the value that `make` gives; it depends on the rows and the name alone, and nobody may write to it."""
        with self._lock:
            lock, made = self._made.setdefault(name, (threading.Lock(), []))
        if not lock.acquire(blocking=False):
            with self._standing_by():
                lock.acquire()
        try:
            if not made:
                made.append(make())
            value: T = made[0]
            return value
        finally:
            lock.release()


class Rows(ABC):
    """An (N, D) table of finite real numbers, whose rows may have weights.

    A subclass in this process yields its blocks; one whose rows are elsewhere overrides `gather`.

    Attributes
    ----------
    n_rows, n_features : int
    dtype : float32 or float64
        The type that kernels read the rows in.
    is_weighted : bool
    names : array of str, or None
        The names of the columns.
    offset : int
        The place of the first row among those of which these are a part.
    n_weighted_before : int
        How many rows of positive weight that table has before these.
    """

    n_rows: int
    n_features: int
    dtype: type[np.floating]
    is_weighted: bool
    names: NDArray | None = None
    offset = 0
    n_weighted_before = 0
    #: Where several fits are compared: what they share.
    shared: Shared | None = None
    #: Whether a pass costs reading: then starts take turns rather than compete for it.
    is_read_again = True
    #: A share of each column that is observed, at least.
    least_observed = 1.0
    #: Whether rows must be looked at again once their weights are scaled.
    is_counted_again = False
    #: Whether NaN was let through when the rows were first looked at, for what is missing.
    may_miss = False
    #: What sums rows, a class like ``sources.Source``, and what scores them, one like ``passes.scores.Scores``, where
    #: they are no rows of complete and exact numbers.
    source_type: Any = None
    scores_type: Any = None

    @property
    def is_counted(self) -> bool:
        """Whether it is known how many rows there are, without a look at them."""
        return True

    def __repr__(self) -> str:
        """Return the kind of rows, how many there are, and of which columns; nothing is read for it."""
        size = f"{self.n_rows} rows, {self.n_features} columns" if self.is_counted else "not counted yet"
        names = [] if self.names is None else [str(name) for name in self.names]
        some = f" ({', '.join(names[:6])}{', ...' * (len(names) > 6)})" if names else ""
        return f"<{type(self).__name__}: {size}{some}{', weighted' * self.is_weighted}>"

    def _repr_html_(self) -> str:
        """Return the rows as notebooks show them: their text, and a table of the columns; nothing is read for it."""
        if self.names is None or not self.is_counted:
            return page_html(self)
        places = ([str(place), str(name)] for place, name in enumerate(self.names[:_SHOWN_COLUMNS]))
        more = more_of((len(self.names) - _SHOWN_COLUMNS, "column")).strip()
        return page_html(self, table_html(["column", "name"], places), *[paragraph_html(more)] * bool(more))

    @abstractmethod
    def blocks(self, n_rows: int) -> Iterator[Block]:
        """Yield all rows in order, `n_rows` at a time (the last ones fewer); arrays may be overwritten by the next."""

    def given_blocks(self, n_rows: int) -> Iterator[Block]:
        """Yield all rows as they were given, like `blocks`: also where they are incomplete, with NaN."""
        return self.blocks(n_rows)

    def part(self, block: Block) -> Rows:
        """Return the rows of one of the `given_blocks`, without weights: rows of the same kind."""
        return ArrayRows(block.X, offset=block.places.start)

    @abstractmethod
    def scaled(self, exponent: int) -> Rows:
        """Return the same rows with their weights times ``2**-exponent``."""

    def expecting(self, names: NDArray | None, n_features: int) -> Rows:
        """Return the rows as a model takes them that was fitted to columns of these names (None where they had none).

        Themselves, unless the columns are part of a table that has others, too.
        """
        return self

    def together(self) -> Rows | None:
        """Return the same rows for fits that run at once, each in `taking_part`, and share every look at them.

        They take turns to compute. None where a fit has its looks to itself.
        """
        return None

    def taking_part(self) -> AbstractContextManager[None]:
        """Return the time of a fit to rows that are looked at together, in its thread."""
        return nullcontext()

    def standing_by(self) -> AbstractContextManager[None]:
        """Return a time in which a fit that takes part waits for another, and is not waited for."""
        return nullcontext()

    def gather(self, task: Callable[[Rows], T], combine: Callable[[T, T], T]) -> T:
        """Return the task's answer for all rows; `combine` puts answers of parts together, in any order."""
        return task(self)

    def scored(self, task: Callable[[Rows], NDArray]) -> Any:
        """Return the task's answers for each row, in order: an array, or what stands for one where the rows are."""
        return task(self)

    @property
    def summary(self) -> Summary:
        """The summary of one look at the rows, which is kept."""
        summary = self.__dict__.get("_summary")
        if summary is None:
            if self.is_weighted:
                summary = self.gather(scan, Summary.__add__)
            else:
                n_rows = self.n_rows
                summary = Summary(n_rows, n_rows, 0, float(n_rows), float(n_rows), 1.0, 1.0, self._first(), 0)
            self.__dict__["_summary"] = summary
        return summary

    def _scale_summary(self, exponent: int) -> None:
        """Keep what is known of rows whose weights are times ``2**-exponent`` now, as far as that is the same."""
        summary = self.__dict__.pop("_summary", None)
        scaled = None if summary is None else summary.scaled(exponent)
        if scaled is not None:
            self.__dict__["_summary"] = scaled

    @property
    def unit_exponent(self) -> int:
        """The exponent of the largest weight: times 2**-exponent, small weights of small squares do not underflow.

        0 where there are no weights, and where they are not far from 1 and rows would have to be looked at again.
        """
        exponent = self.summary.exponent if self.is_weighted else 0
        return exponent if abs(exponent) >= FAR_EXPONENT or not self.is_counted_again else 0

    @property
    def gapped(self) -> tuple[Any, ...]:
        """All rows with missing entries that these are, or are made of: none."""
        return ()

    def share(self, name: Hashable, make: Callable[[], T]) -> T:
        """Return the value that `make` gives: once for all fits that are compared, under a name that it depends on."""
        return make() if self.shared is None else self.shared.get(name, make)

    def _first(self) -> Array:
        """Return the first row, (1, D) float64."""
        return next(self.given_blocks(1)).X.astype(np.float64)

    def sample(self, n_rows: int, random_state: Any) -> tuple[Array, Array]:
        """Return at most `n_rows` different rows of positive weight, as float64 in order, and their weights.

        All of them where there are no more; else drawn at random, a few less than `n_rows`.
        """
        n_candidates = self.summary.n_weighted
        drawn = None
        if n_candidates > n_rows:
            drawn = np.unique((random_state.uniform(size=n_rows) * n_candidates).astype(np.int64))
        return self.take(drawn)

    def take(self, drawn: NDArray[np.int64] | None) -> tuple[Array, Array]:
        """Return chosen rows of positive weight (counted from 0 and in order; None for all), and their weights."""
        pieces = sorted(self.gather(_Take(drawn), operator.add), key=lambda piece: piece[0])
        return np.concatenate([X for _, X, _ in pieces]), np.concatenate([weight for _, _, weight in pieces])


def recut(tables: Iterable[tuple[NDArray, Array | None]], n_rows: int) -> Iterator[tuple[NDArray, Array | None]]:
    """Yield the rows of consecutive tables, and their weights, `n_rows` at a time (the last ones fewer)."""
    held: list[tuple[NDArray, Array | None]] = []
    n_held = 0
    for X, weight in tables:
        start = 0
        while start < len(X):
            stop = min(len(X), start + n_rows - n_held)
            held.append((X[start:stop], None if weight is None else weight[start:stop]))
            n_held += stop - start
            start = stop
            if n_held == n_rows:
                yield _joined(held)
                held, n_held = [], 0
    if held:
        yield _joined(held)


def _joined(tables: list[tuple[NDArray, Array | None]]) -> tuple[NDArray, Array | None]:
    if len(tables) == 1:
        return tables[0]
    weights = [weight for _, weight in tables if weight is not None]
    return np.concatenate([X for X, _ in tables]), np.concatenate(weights) if weights else None


class _Take:
    """The task of `Rows.take`: pieces of the rows that are wanted, each with the place of its block."""

    def __init__(self, drawn: NDArray[np.int64] | None) -> None:
        self._drawn = drawn

    def __call__(self, rows: Rows) -> list[tuple[int, Array, Array]]:
        pieces = []
        begin = rows.n_weighted_before
        for block in rows.blocks(scan_rows(rows.n_features)):
            candidates = np.arange(len(block.X)) if block.weight is None else np.flatnonzero(block.weight)
            end = begin + len(candidates)
            if self._drawn is not None:
                first, last = np.searchsorted(self._drawn, [begin, end])
                candidates = candidates[self._drawn[first:last] - begin]
            begin = end
            if len(candidates):
                weight = np.ones(len(candidates)) if block.weight is None else block.weight[candidates]
                pieces.append((block.places.start, block.X[candidates].astype(np.float64), weight.astype(np.float64)))
        return pieces


class ArrayRows(Rows):
    """The rows of an array: checked real numbers of any type and layout; float32 and float64 in C order are not copied.

    `sample_weight` is (N,) float64, or None for weight 1.
    """

    is_read_again = False

    def __init__(
        self,
        X: NDArray,
        sample_weight: Array | None = None,
        names: NDArray | None = None,
        offset: int = 0,
        n_weighted_before: int = 0,
    ) -> None:
        self.X, self.sample_weight, self.names = X, sample_weight, names
        self.n_rows, self.n_features = X.shape
        self.dtype = row_type(X.dtype)
        self.is_weighted = sample_weight is not None
        self.offset, self.n_weighted_before = offset, n_weighted_before

    def blocks(self, n_rows: int) -> Iterator[Block]:
        """Yield all rows in order, `n_rows` at a time."""
        weight = self.sample_weight
        for start in range(0, self.n_rows, n_rows):
            rows = slice(start, min(start + n_rows, self.n_rows))
            yield Block(
                slice(self.offset + rows.start, self.offset + rows.stop),
                self.X[rows],
                None if weight is None else weight[rows],
            )

    def scaled(self, exponent: int) -> ArrayRows:
        """Return the same rows with their weights times ``2**-exponent``."""
        if self.sample_weight is None or exponent == 0:
            return self
        other = copy.copy(self)
        other.sample_weight = np.ldexp(self.sample_weight, -exponent)
        other._scale_summary(exponent)
        return other

    def take(self, drawn: NDArray[np.int64] | None) -> tuple[Array, Array]:
        """Return chosen rows of positive weight, and their weights."""
        if self.sample_weight is None:
            X = self.X if drawn is None else self.X[drawn]
            return np.array(X, np.float64, order="C"), np.ones(len(X))
        candidates = np.flatnonzero(self.sample_weight)
        candidates = candidates if drawn is None else candidates[drawn]
        return np.array(self.X[candidates], np.float64, order="C"), self.sample_weight[candidates]
