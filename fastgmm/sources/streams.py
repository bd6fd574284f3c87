"""Rows that are read in batches, pass after pass, and never lie in memory as a whole.

Batches are cut anew into blocks of exactly the rows that are asked for, which are those of an array in memory: so
every sum is of the same bits. One thread reads ahead while the blocks before are computed with; it fills buffers that
go round, so memory does not grow with the number of rows.
"""

from __future__ import annotations

import copy
import os
import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from fastgmm import validation
from fastgmm.rows import GAPS, NO_ROWS, Block, Rows, row_type, scan_rows, summary_of
from fastgmm.sources.opening import may_miss
from fastgmm.sources.together import Together
from fastgmm.statistics import Array
from fastgmm.support.typing import Self
from fastgmm.tables.request import TableError

# One block is computed with, one lies ready, one is filled.
_BUFFERS = 3
# So many rows from the first, and then one in so many, must be the same in every pass.
_MARKED_ROWS = 2**10

_AGAIN = """\
A fit reads the rows once in every iteration, and that can be read but once. Give what can be read again: a list of \
batches, an object whose __iter__ begins anew, or a function that returns a new iterator, such as
    def batches():
        for path in paths:
            yield numpy.load(path)
    model.fit(fastgmm.sources.BatchRows(batches))"""


class Batch(ABC):
    """Some consecutive rows of a table, which are read in order, part by part.

    Attributes
    ----------
    n_rows : int
    dtype : float32 or float64, the narrower one that holds all numbers
    """

    n_rows: int
    dtype: type[np.floating]

    @abstractmethod
    def read(self, start: int, X: NDArray, weight: Array | None) -> None:
        """Write rows from `start` on into X (n, D) and, where they have weights, those into `weight` (n,)."""

    @abstractmethod
    def place(self, row: int, column: int) -> str:
        """Return where a number is, in words; the column after the last is that of the weights."""


class Table(ABC):
    """A table that can be read in batches again and again.

    Attributes
    ----------
    n_features : int
    is_weighted : bool
    names : (D,) array of str, or None
    dtype : float32 or float64, or None where only reading it tells
    """

    n_features: int
    is_weighted: bool
    names: NDArray | None = None
    dtype: type[np.floating] | None = None

    @abstractmethod
    def batches(self) -> Iterator[Batch]:
        """Yield all rows in order. A batch is read before the next one is asked for; all happens in one thread."""


class ArrayBatch(Batch):
    """Rows of an array, with their weights (n,) or None."""

    def __init__(self, X: NDArray, weight: NDArray | None, label: str) -> None:
        self.n_rows, self.dtype = len(X), row_type(X.dtype)
        self._X, self._weight, self._label = X, weight, label

    def read(self, start: int, X: NDArray, weight: Array | None) -> None:
        """Write rows from `start` on into X, and their weights."""
        X[...] = self._X[start : start + len(X)]
        if weight is not None and self._weight is not None:
            weight[...] = self._weight[start : start + len(X)]

    def place(self, row: int, column: int) -> str:
        """Return where a number is, in words, counted from 0."""
        return _place(self._label, row, column, self._X.shape[1])


class ColumnBatch(Batch):
    """Rows given as columns, arrays of one length; `place` is called as ``Batch.place`` is."""

    def __init__(self, columns: list[NDArray], weight: NDArray | None, place: Callable[[int, int], str]) -> None:
        self.n_rows = len(columns[0])
        self.dtype = np.float32 if all(column.dtype == np.float32 for column in columns) else np.float64
        self._columns, self._weight, self._place = columns, weight, place

    def read(self, start: int, X: NDArray, weight: Array | None) -> None:
        """Write rows from `start` on into X, and their weights."""
        for target, column in zip(X.T, self._columns, strict=True):
            target[...] = column[start : start + len(X)]
        if weight is not None and self._weight is not None:
            weight[...] = self._weight[start : start + len(X)]

    def place(self, row: int, column: int) -> str:
        """Return where a number is, in words."""
        return self._place(row, column)


def _place(label: str, row: int, column: int, n_features: int) -> str:
    return f"{label}, row {row}, " + (f"column {column}" if column < n_features else "the weight")


class StreamedRows(Rows):
    """The rows of a table that is read again in every pass. The first look, at the door, checks every number.

    Raises TableError, a ValueError, that names the place where a number is missing or infinite or a weight negative;
    ValueError where there is no row or no positive weight. Later passes raise TableError where they meet another number
    of rows, wider numbers, or, as far as some rows tell, other ones, other weights or another order.
    """

    def __init__(self, table: Table, *, may_miss: bool = False) -> None:
        self._table, self.may_miss = table, may_miss
        self._together: Together[Batch] | None = None
        self._exponent = 0
        self.n_features, self.is_weighted, self.names = table.n_features, table.is_weighted, table.names
        self.n_rows, self.dtype = -1, table.dtype or np.float64
        look = _Look()
        summary = NO_ROWS
        for block in self._pass(scan_rows(self.n_features), look):
            summary = summary + summary_of(block)
        if summary.n_rows == 0:
            raise ValueError("The batches or files of X hold no rows.")
        validation.require_positive(summary.largest)
        self.n_rows, self.dtype = summary.n_rows, np.float32 if look.all_single else np.float64
        self._mark = look.mark
        # Complete rows are rows like others.
        self.may_miss = look.has_gaps
        self.__dict__["_summary"] = summary

    def blocks(self, n_rows: int) -> Iterator[Block]:
        """Yield all rows in order, `n_rows` at a time; their arrays are written anew for later ones."""
        if self.may_miss:
            raise ValueError(GAPS)
        return self._pass(min(n_rows, self.n_rows), None)

    def given_blocks(self, n_rows: int) -> Iterator[Block]:
        """Yield all rows as they were given, like `blocks`: NaN is what is missing."""
        return self._pass(min(n_rows, self.n_rows), None)

    def scaled(self, exponent: int) -> Rows:
        """Return the same rows with their weights times ``2**-exponent``."""
        if not self.is_weighted or exponent == 0:
            return self
        other = copy.copy(self)
        other._exponent = self._exponent + exponent
        other._scale_summary(exponent)
        return other

    def together(self) -> Self | None:
        """Return the same rows for fits that run at once, each in `taking_part`: one look at the table serves all.

        None where they share looks already.
        """
        if self._together is not None:
            return None
        other = copy.copy(self)
        other._together = Together(self._table.batches)
        return other

    def taking_part(self) -> AbstractContextManager[None]:
        """Return the time of a fit to rows that are looked at together, in its thread."""
        return nullcontext() if self._together is None else self._together.taking_part()

    def standing_by(self) -> AbstractContextManager[None]:
        """Return a time in which a fit that takes part waits for another, and is not waited for."""
        return nullcontext() if self._together is None else self._together.taking_part(False)

    def _pass(self, n_rows: int, look: _Look | None) -> Iterator[Block]:
        def buffer() -> Block:
            weight = np.empty(n_rows) if self.is_weighted else None
            return Block(slice(0, n_rows), np.empty((n_rows, self.n_features), self.dtype), weight)

        blocks = _read_ahead(lambda pool: self._cut(n_rows, pool, look), [buffer() for _ in range(_BUFFERS)])
        return blocks if self._together is None else self._together.paced(blocks)

    def _cut(self, n_rows: int, pool: _Pool, look: _Look | None) -> Iterator[tuple[Block, Block]]:
        """Yield blocks of `n_rows`, and the buffers of the pool that they are in."""
        place = filled = mark = 0
        buffer: Block | None = None
        for batch in (self._table if self._together is None else self._together).batches():
            pool.check()
            if look is not None:
                look.all_single &= batch.n_rows == 0 or batch.dtype is np.float32
            elif self.dtype is np.float32 and batch.n_rows and batch.dtype is not np.float32:
                raise TableError(f"{batch.place(0, 0)}: a float64 number, all were float32 when they were first read")
            start = 0
            while start < batch.n_rows:
                if buffer is None:
                    buffer = pool.take()
                n = min(batch.n_rows - start, n_rows - filled)
                _, X, weight = _part(buffer, 0, slice(filled, filled + n))
                if self._together is None:
                    batch.read(start, X, weight)
                else:
                    self._together.read(batch.read, start, X, weight)
                mark = crc32(_some(X, weight, place + filled), mark)
                if look is not None:
                    look.has_gaps |= _check(batch, start, X, weight, self.may_miss)
                elif place + filled + n > self.n_rows:
                    raise TableError(f"X has more rows in this pass than the {self.n_rows} when it was first read")
                if self._exponent and weight is not None:
                    np.ldexp(weight, -self._exponent, out=weight)
                start, filled = start + n, filled + n
                if filled == n_rows:
                    yield _part(buffer, place, slice(0, filled)), buffer
                    place, filled, buffer = place + filled, 0, None
        if look is not None:
            look.mark = mark
        elif place + filled < self.n_rows:
            raise TableError(f"X has {place + filled} rows in this pass, {self.n_rows} when it was first read")
        elif mark != self._mark:
            raise TableError(
                "X has other rows or weights in this pass, or in another order, than when it was first read"
            )
        if buffer is not None:
            yield _part(buffer, place, slice(0, filled)), buffer


class _Look:
    """The finding of a first look at rows: whether all are float32, whether numbers are missing, and a mark of them.

    By the mark they are known again.
    """

    def __init__(self) -> None:
        self.all_single = True
        self.has_gaps = False
        self.mark = 0


def _some(X: NDArray, weight: Array | None, place: int) -> bytes:
    """Return the bits of the first rows of all, and of a few of the others, with their weights; X stands at a place."""
    begin = max(_MARKED_ROWS - place, 0)
    some = slice(begin), slice(begin + -(place + begin) % _MARKED_ROWS, None, _MARKED_ROWS)
    # Row by row, so that it does not matter how rows are cut.
    table = [X] if weight is None else [X, weight[:, None]]
    return np.concatenate([np.hstack([part[rows] for part in table]) for rows in some]).astype(np.float64).tobytes()


def _part(buffer: Block, place: int, rows: slice) -> Block:
    """Return rows of a buffer that stands at a place."""
    weight = None if buffer.weight is None else buffer.weight[rows]
    return Block(slice(place + rows.start, place + rows.stop), buffer.X[rows], weight)


def _check(batch: Batch, start: int, X: NDArray, weight: Array | None, may_miss: bool) -> bool:
    """Raise TableError for the first number of a batch that is not finite, and for a negative weight.

    NaN is let through in X where it `may_miss` entries: return whether it does.
    """
    has_gaps = False
    for values, first_column in ((X, 0), (weight, X.shape[1])):
        if values is None or np.isfinite(values).all():
            continue
        table = values.reshape(len(X), -1)
        wrong = ~np.isfinite(table)
        if may_miss and values is X:
            has_gaps = bool(np.isnan(table).any())
            wrong &= ~np.isnan(table)
            if not wrong.any():
                continue
        row, column = np.argwhere(wrong)[0].tolist()
        place = batch.place(start + row, first_column + column)
        if np.isnan(table[row, column]):
            raise TableError(f"{place}: missing value", "drop_missing")
        raise TableError(f"{place}: {table[row, column]} is not a finite number")
    if weight is not None and weight.min() < 0:
        row = int(np.argmax(weight < 0))
        raise TableError(f"{batch.place(start + row, X.shape[1])}: weights must be >= 0, got {weight[row]}")
    return has_gaps


class _Stopped(Exception):  # noqa: N818 - nobody hears of it
    """Ends the thread that reads ahead, where what it reads is not wanted any more."""


class _Pool:
    """The buffers that the thread that reads ahead may fill, and whether it shall go on."""

    def __init__(self, buffers: list[Block]) -> None:
        self._free: queue.SimpleQueue[Block | None] = queue.SimpleQueue()
        self._stopped = threading.Event()
        for buffer in buffers:
            self.give(buffer)

    def take(self) -> Block:
        """Return a buffer as soon as one is free."""
        buffer = self._free.get()
        self.check()
        assert buffer is not None  # only the last one is
        return buffer

    def give(self, buffer: Block) -> None:
        self._free.put(buffer)

    def check(self) -> None:
        if self._stopped.is_set():
            raise _Stopped

    def stop(self) -> None:
        self._stopped.set()
        self._free.put(None)


def _read_ahead(produce: Callable[[_Pool], Iterator[tuple[Block, Block]]], buffers: list[Block]) -> Iterator[Block]:
    """Yield the blocks that `produce` makes, in a thread of its own, of the buffers in the pool that it gets.

    A buffer goes back once the next block is asked for. The thread ends with the iterator, however that ends; an error
    in it is raised here.
    """
    pool = _Pool(buffers)
    ready: queue.SimpleQueue[tuple[Block, Block] | BaseException | None] = queue.SimpleQueue()

    def run() -> None:
        try:
            for made in produce(pool):
                ready.put(made)
            ready.put(None)
        except _Stopped:
            pass
        except BaseException as error:
            ready.put(error)

    thread = threading.Thread(target=run, name="fastgmm-read-ahead", daemon=True)
    made: tuple[Block, Block] | BaseException | None = None
    try:
        thread.start()
        while (made := ready.get()) is not None:
            if isinstance(made, BaseException):
                raise made
            yield made[0]
            pool.give(made[1])
    finally:
        # The traceback of an error holds this frame: buffers and batches would wait for a garbage collection.
        made = None
        pool.stop()
        # A garbage collection may end a forgotten iterator in any thread.
        if thread.ident is not None and thread is not threading.current_thread():
            thread.join()


class BatchRows(StreamedRows):
    """Rows that come in batches, which are read anew in every pass: memory holds a few of them.

    Parameters
    ----------
    batches : iterable, or a function without arguments that returns an iterator
        Each batch is an array (n, D) of finite real numbers, a data frame, a ``pyarrow.RecordBatch`` or ``Table``, or a
        pair of one of these and weights (n,) >= 0, where n may be 0 and differ. Where one batch has weights, all have.
        Every iteration yields the same rows in the same order; it runs in a thread of its own.
    missing : None or 'marginal'
        With 'marginal', entries may be missing (NaN, None, NA, null), for mixtures with ``missing="marginal"``.

    Notes
    -----
    Reads all once, to check and to count. Raises ValueError or TypeError that says which batch, row and column (counted
    from 0) are at fault, and TypeError for an iterator that can be read but once.
    """

    def __init__(self, batches: Iterable[Any] | Callable[[], Iterator[Any]], *, missing: str | None = None) -> None:
        super().__init__(_Batches(batches, may_miss(missing)), may_miss=may_miss(missing))


class _Batches(Table):
    """A table of batches as users give them; the first one says what all are like."""

    def __init__(self, batches: Any, may_be_missing: bool = False) -> None:
        self._may_miss = may_be_missing
        iterable = hasattr(batches, "__iter__")
        if not iterable and not callable(batches):
            raise TypeError(f"batches must be an iterable of arrays, got {type(batches).__name__}.")
        is_array = isinstance(batches, np.ndarray) and batches.ndim < 3
        if is_array or isinstance(batches, str | bytes | os.PathLike) or hasattr(batches, "columns"):
            raise TypeError(
                f"batches must be an iterable of arrays, got a {type(batches).__name__}, which is one table: give it "
                "to fit as it is, or in a list."
            )
        if iterable and iter(batches) is batches:
            raise TypeError(f"batches must not be a {type(batches).__name__}. {_AGAIN}")
        self._begin: Callable[[], Any] = (lambda: batches) if iterable else batches
        nothing = object()
        first = next(self._iterate(), nothing)
        if first is nothing:
            raise ValueError("batches must hold at least one batch, got none.")
        X, weight, self.names = _parsed(first, "batch 0", self._may_miss)
        self.n_features, self.is_weighted = X.shape[1], weight is not None
        if self.n_features == 0:
            raise ValueError("batch 0 has no columns.")

    def _iterate(self) -> Iterator[Any]:
        """Return a new iterator over batches as users give them."""
        found = self._begin()
        if not hasattr(found, "__iter__"):
            raise TypeError(f"batches must return an iterator over arrays, got {type(found).__name__}.")
        return iter(found)

    def batches(self) -> Iterator[Batch]:
        """Yield all batches, having checked that they are alike."""
        for number, item in enumerate(self._iterate()):
            label = f"batch {number}"
            X, weight, names = _parsed(item, label, self._may_miss)
            if X.shape[1] != self.n_features:
                raise ValueError(f"{label} has {X.shape[1]} columns, batch 0 has {self.n_features}.")
            if (weight is not None) != self.is_weighted:
                has = "no weights, but batch 0 has" if weight is None else "weights, but batch 0 has none"
                raise ValueError(f"{label} has {has}.")
            if names is not None and self.names is not None and list(names) != list(self.names):
                raise ValueError(f"{label} has columns {list(names)}, batch 0 has {list(self.names)}.")
            yield ArrayBatch(X, weight, label)


def _parsed(item: Any, label: str, may_be_missing: bool) -> tuple[NDArray, NDArray | None, NDArray | None]:
    """Return the rows of a batch as an array, its weights, and the names of its columns."""
    weight: Any = None
    names: NDArray | None
    if isinstance(item, tuple):
        if len(item) != 2:
            raise TypeError(f"{label} must be an array or a pair (X, weight), got a tuple of {len(item)}.")
        item, weight = item
    if type(item).__module__.partition(".")[0] == "pyarrow":
        columns = [item.column(number).to_numpy(zero_copy_only=False) for number in range(item.num_columns)]
        names, X = np.array(item.schema.names, dtype=object), validation.as_array(np.column_stack(columns), label)
    else:
        names, X = validation.feature_names(item), validation.as_array(item, label, may_be_missing=may_be_missing)
    if X.ndim != 2:
        raise ValueError(f"{label} must have the shape (n, D), got {X.shape}.")
    if weight is not None:
        weight = validation.as_array(weight, f"the weights of {label}")
        if weight.shape != (len(X),):
            raise ValueError(f"the weights of {label} must have the shape {(len(X),)}, got {weight.shape}.")
    return X, weight, names
