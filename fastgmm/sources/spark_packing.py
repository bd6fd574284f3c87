"""Chunks of a partition's rows, checked and packed, and tasks that read them."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import gc
import itertools
import math
import operator
import pickle
import re
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastgmm.rows import GAPS, NO_ROWS, Block, Rows, recut, summary_of
from fastgmm.sources.partitions import Census, Known
from fastgmm.sources.spark_columns import Columns
from fastgmm.statistics import Array

T = TypeVar("T")
# More answers than so many are first put together in groups by other tasks, for the driver's memory.
_MOST_ANSWERS = 16
# A task takes Spark as long as passing through so many numbers, about.
_NUMBERS_OF_A_TASK = 2**20
# More objects than a task leaves behind, and fewer than a compiler is.
_MANY_OBJECTS = 50_000


class Chunk(NamedTuple):
    """Some consecutive rows of a partition, the sum of their bits, and what is wrong with them: then nothing else."""

    X: NDArray | None
    weight: Array | None
    bits: int
    fault: str = ""


class Fault(NamedTuple):
    """An error as the answer of a task: raised in it, Spark would try the task again and wrap the text in its own."""

    error: Exception


class OtherRowsError(Exception):
    """A partition that was computed again does not hold the rows that it held."""


def _bits(X: NDArray, weight: Array | None) -> int:
    """Return a number that tells sets of rows apart, in whatever order: a sum of their bits, modulo 2**64."""
    sums = X.view(f"u{X.itemsize}").sum(axis=0, dtype=np.uint64).tolist()
    if weight is not None:
        sums.append(int(weight.view(np.uint64).sum(dtype=np.uint64)))
    return sum((2 * j + 1) * each for j, each in enumerate(sums)) % 2**64


def cut_chunks(columns: Columns, batches: Iterable[Any]) -> Iterator[Chunk]:
    """Yield the rows of Arrow batches of one partition, up to the first bad row."""
    offset = 0
    try:
        for batch in batches:
            X, weight = columns.table([_values(column) for column in batch.columns], offset)
            if len(X):
                columns = dataclasses.replace(columns, n_features=X.shape[1])
                yield Chunk(X, weight, _bits(X, weight))
            offset += len(X)
    except ValueError as error:
        yield Chunk(None, None, 0, str(error))


def _values(column: Any) -> NDArray:
    """Return a column of Arrow as an array: of two axes where it holds arrays of one length, else of objects."""
    if hasattr(column, "value_lengths") and len(column) and column.null_count == 0:
        lengths = column.value_lengths().to_numpy()
        if (lengths == lengths[0]).all():
            values: NDArray = column.flatten().to_numpy(zero_copy_only=False)
            return values.reshape(len(column), lengths[0])
    objects: NDArray = column.to_numpy(zero_copy_only=False)
    return objects


def by_partition(items: Iterable[int | Chunk]) -> Iterator[tuple[int, Iterator[Any]]]:
    """Yield the numbers of the partitions that a task is about, each with its chunks, which come after its number."""
    latest = -1

    def number(item: int | Chunk) -> int:
        nonlocal latest
        latest = item if isinstance(item, int) else latest
        return latest

    for partition, group in itertools.groupby(items, number):
        yield partition, itertools.islice(group, 1, None)


class Packed:
    """The chunks of a DataFrame in Spark's storage (memory, else disk), until nobody holds this object."""

    def __init__(self, frame: Any, columns: Columns) -> None:
        from pyspark import StorageLevel

        def pack(batches: Iterable[Any]) -> Iterator[Any]:
            import pyarrow

            for chunk in cut_chunks(columns, batches):
                content = pyarrow.array([pickle.dumps(chunk, pickle.HIGHEST_PROTOCOL)], pyarrow.binary())
                yield pyarrow.RecordBatch.from_arrays([content], ["chunk"])

        def unpack(partition: int, rows: Iterable[Any]) -> Iterator[int | Chunk]:
            yield partition
            for row in rows:
                yield pickle.loads(row[0])

        # By plain names: mapInArrow takes a dot in one for a field of a structure.
        names = [f"c{number}" for number in range(len(columns.expressions()))]
        rows = frame.select(*(each.alias(name) for each, name in zip(columns.expressions(), names, strict=True)))
        if not keeps_order(frame):
            rows = rows.sortWithinPartitions(*names)
        packed = rows.mapInArrow(pack, "chunk binary").rdd
        self.rdd = packed.mapPartitionsWithIndex(unpack).persist(StorageLevel.MEMORY_AND_DISK)
        weakref.finalize(self, forget, self.rdd).atexit = False

    def visit(
        self, task: Callable[[int, Iterable[Chunk]], Any], combine: Callable[[T, T], T], n_numbers: int
    ) -> T | None:
        """Return ``task(partition, chunks)`` of each partition, put together in the order of partitions.

        What is None is left out; None where there is nothing else. `n_numbers` are looked at: where these are few, a
        task of Spark's has several partitions. Answers of many partitions are put together in groups by other tasks.
        """

        def visited(items: Iterable[int | Chunk]) -> Iterator[tuple[int, Any]]:
            for partition, chunks in by_partition(items):
                yield partition, task(partition, chunks)
            spare_the_collector()

        def together(pairs: Iterable[tuple[int, tuple[int, Any]]]) -> Iterator[tuple[int, Any]]:
            groups: dict[int, list[tuple[int, Any]]] = {}
            for group, answer in pairs:
                groups.setdefault(group, []).append(answer)
            for answers in groups.values():
                yield combined(answers, combine)

        n_partitions = self.rdd.getNumPartitions()
        if n_partitions == 0:
            return None
        n_tasks = min(n_partitions, max(n_numbers // _NUMBERS_OF_A_TASK, self.rdd.ctx.defaultParallelism))
        answers = self.rdd.coalesce(n_tasks).mapPartitions(visited)
        if n_partitions > _MOST_ANSWERS:
            width = math.isqrt(n_partitions - 1) + 1
            grouped = answers.map(lambda answer: (answer[0] // width, answer))
            answers = grouped.partitionBy(min(width, n_tasks), int).mapPartitions(together)
        answer = combined(answers.collect(), combine)[1]
        if isinstance(answer, Fault):
            raise answer.error
        return answer


def keeps_order(frame: Any) -> bool:
    """Return whether the rows of a DataFrame come in the same order each time that Spark makes them.

    Not behind a shuffle, whose blocks come as the network has them, unless they are sorted as a whole after it.
    """
    for line in frame._jdf.queryExecution().executedPlan().toString().splitlines():
        if re.search(r"\bSort \[.*\], true", line):
            return True
        if re.search(r"(?<!Broadcast)(?<!Reused)Exchange\b", line):
            return False
    return True


def spare_the_collector() -> None:
    """Keep what is loaded out of Python's garbage collections: Spark's workers make one after each task.

    Numba is so many objects that looking at them takes tens of milliseconds, far longer than a usual task.
    """
    if len(gc.get_objects()) > _MANY_OBJECTS:
        gc.collect()
        gc.freeze()


def forget(rdd: Any) -> None:
    """Let Spark's storage drop what it keeps of an RDD."""
    # A session that has been stopped holds nothing any more, and says so in many ways.
    with contextlib.suppress(Exception):
        rdd.unpersist()


def combined(answers: list[tuple[int, Any]], combine: Callable[[T, T], T]) -> tuple[int, Any]:
    """Return the number of the first answer and what all are together: the first fault if there is one."""
    answers = sorted(answers, key=operator.itemgetter(0))
    held = [answer for _, answer in answers if answer is not None]
    fault = next((answer for answer in held if isinstance(answer, Fault)), None)
    return answers[0][0], fault or (functools.reduce(combine, held) if held else None)


@dataclasses.dataclass(frozen=True, eq=False)
class Look:
    """The finding of one look at consecutive partitions; `widths` are their numbers of features, None without rows.

    The census has the rows' bits for a fingerprint.
    """

    census: Census
    widths: list[int | None]

    def __add__(self, later: Look) -> Look:
        """Return the finding for these partitions and those directly after them."""
        return Look(self.census + later.census, self.widths + later.widths)


def look(partition: int, chunks: Iterable[Chunk], exponent: int) -> Look | Fault:
    """Return the finding of one look at a partition."""
    summary, bits = NO_ROWS, 0
    width: int | None = None
    is_single = True
    for X, weight, own_bits, fault in chunks:
        if X is None:
            return Fault(ValueError(f"partition {partition} of X: {fault}"))
        places = slice(summary.n_rows, summary.n_rows + len(X))
        summary = summary + summary_of(Block(places, X, _scaled(weight, exponent)))
        bits, width, is_single = (bits + own_bits) % 2**64, X.shape[1], X.dtype == np.float32
    return Look(Census([summary.n_rows], [summary.n_weighted], [bits], is_single, summary), [width])


def _scaled(weight: Array | None, exponent: int) -> Array | None:
    return weight if weight is None or exponent == 0 else np.ldexp(weight, -exponent)


@dataclasses.dataclass(frozen=True, eq=False)
class Layout:
    """How the rows lie in their partitions, and what these hold: it goes with every task."""

    n_features: int
    dtype: type[np.floating]
    is_weighted: bool
    exponent: int
    parts: list[Known]
    may_miss: bool = False

    def part(self, number: int, chunks: Iterable[Chunk]) -> Part:
        """Return the rows of one partition."""
        return Part(self, chunks, self.parts[number])

    def whole(self, chunks: Iterable[Chunk]) -> Part:
        """Return all rows."""
        n_rows, bits = (sum(numbers) for numbers in list(zip(*self.parts, strict=True))[:2])
        return Part(self, chunks, Known(n_rows, bits, 0, 0))


class Part(Rows):
    """The rows of a partition, or of all, which are read once, chunk by chunk."""

    def __init__(self, layout: Layout, chunks: Iterable[Chunk], known: Known) -> None:
        self.n_features, self.dtype, self.is_weighted = layout.n_features, layout.dtype, layout.is_weighted
        self.n_rows, self._bits, self.offset, self.n_weighted_before = known
        self._exponent, self.may_miss = layout.exponent, layout.may_miss
        self._chunks = chunks

    def _tables(self) -> Iterator[tuple[NDArray, Array | None]]:
        n_rows, bits = self.n_rows, self._bits
        for X, weight, own_bits, _ in self._chunks:
            n_rows -= 0 if X is None else len(X)
            # Before they are handed on: nothing checks labels of rows that are too many.
            if X is None or n_rows < 0:
                raise OtherRowsError
            bits -= own_bits
            yield X, _scaled(weight, self._exponent)
        if n_rows or bits % 2**64:
            raise OtherRowsError

    def blocks(self, n_rows: int) -> Iterator[Block]:
        """Yield all rows in order, `n_rows` at a time; once."""
        for block in self.given_blocks(n_rows):
            if self.may_miss and np.isnan(block.X).any():
                raise ValueError(GAPS)
            yield block

    def given_blocks(self, n_rows: int) -> Iterator[Block]:
        """Yield all rows as they were given, like `blocks`: NaN is what is missing; once."""
        start = self.offset
        for X, weight in recut(self._tables(), n_rows):
            yield Block(slice(start, start + len(X)), X, weight)
            start += len(X)

    def scaled(self, exponent: int) -> Rows:
        """Return the same rows with their weights times ``2**-exponent``."""
        other = copy.copy(self)
        other._exponent += exponent
        return other
