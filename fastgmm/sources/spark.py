"""Rows of a Spark DataFrame: passes go to its partitions as tasks, and sums come back over a tree.

The first look at the rows packs them: each Arrow batch becomes a chunk, a checked C-contiguous array, kept in Spark's
storage until the rows are let go. Later passes read chunks alone: the plan of the DataFrame is run once, and nothing is
converted again. Chunks travel by RDDs rather than by ``mapInArrow``, which puts any number of them into one batch.
"""

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
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastgmm.rows import NO_ROWS, ArrayRows, Block, Rows, Summary, summary_of
from fastgmm.sources.partitions import Census, Known, on_threads
from fastgmm.statistics import Array
from fastgmm.support.extras import require
from fastgmm.validation import check_n_rows, require_finite, require_positive, require_weights

T = TypeVar("T")

# More answers than so many are first put together in groups by other tasks, for the driver's memory.
_MOST_ANSWERS = 16
# A task takes Spark as long as passing through so many numbers, about.
_NUMBERS_OF_A_TASK = 2**20
# More objects than a task leaves behind, and fewer than a compiler is.
_MANY_OBJECTS = 50_000
# What is added to a DataFrame by each output of a score, named as in Spark's own models where they have it.
_ADDED = {
    "labels": ("prediction", "int", np.int32),
    "responsibilities": ("probability", "array<double>", np.float64),
    "evidence": ("log_density", "double", np.float64),
}


class _Chunk(NamedTuple):
    """Some consecutive rows of a partition, the sum of their bits, and what is wrong with them: then nothing else."""

    X: NDArray | None
    weight: Array | None
    bits: int
    fault: str = ""


class _Fault(NamedTuple):
    """An error as the answer of a task: raised in it, Spark would try the task again and wrap the text in its own."""

    error: Exception


class _OtherRowsError(Exception):
    """A partition that was computed again does not hold the rows that it held."""


def open_rows(data: Any, sample_weight: Any = None) -> SparkRows:
    """Return the rows of a Spark DataFrame; `sample_weight` names the column of their weights.

    The other columns are numbers, or there is one other column, of arrays or of vectors. Raises TypeError for anything
    else of Spark's, and ValueError for a column that does not exist.
    """
    module = type(data).__module__
    if type(data).__name__ != "DataFrame" or not module.startswith("pyspark.sql"):
        hint = ": call its to_spark() first" if hasattr(data, "to_spark") else ""
        raise TypeError(f"X must be an array or a Spark DataFrame, got {module}.{type(data).__name__}{hint}.")
    if data.isStreaming:
        raise TypeError("X must be a DataFrame at rest, got one of a stream: mixtures read their rows several times.")
    if sample_weight is not None and not isinstance(sample_weight, str):
        raise TypeError(
            "sample_weight must be the name of a column where X is a Spark DataFrame, got "
            f"{type(sample_weight).__name__}."
        )
    if sample_weight is not None and sample_weight not in data.columns:
        raise ValueError(f"sample_weight must name one of the columns {data.columns}, got {sample_weight!r}.")
    require("spark", "Spark's rows are read by", "pyarrow")
    require("spark", "Spark's rows are read by", "pandas")
    return SparkRows(data, sample_weight)


@dataclasses.dataclass(frozen=True)
class _Columns:
    """Which columns hold the rows: numbers, or one of arrays of `n_features` numbers each (None: as the first)."""

    names: tuple[str, ...]
    weight: str | None
    kind: str
    is_single: bool
    n_features: int | None

    @classmethod
    def of(cls, frame: Any, names: Sequence[str], weight: str | None, n_features: int | None) -> _Columns:
        """Return how the named columns hold rows; TypeError where they do not."""
        from pyspark.sql import types

        by_name = {field.name: field.dataType for field in frame.schema.fields}
        kinds = {name: _kind(by_name[name]) for name in names}
        if weight is not None and _kind(by_name[weight]) != "number":
            raise TypeError(f"column {weight!r}, the sample_weight, must hold numbers, got {_text(by_name[weight])}.")
        several = len(names) > 1
        for name, kind in kinds.items():
            if kind == "other" or (several and kind != "number"):
                raise TypeError(
                    "X must have columns of numbers, or a single one of arrays or vectors of numbers; got column "
                    f"{name!r} of type {_text(by_name[name])} among {len(names)}: choose columns with X.select(...)."
                )
        single = all(
            isinstance(getattr(by_name[name], "elementType", by_name[name]), types.FloatType) for name in names
        )
        if list(kinds.values()) in (["array"], ["vector"]):
            return cls(tuple(names), weight, kinds[names[0]], single, n_features)
        return cls(tuple(names), weight, "number", single and bool(names), len(names))

    @property
    def dtype(self) -> type[np.floating]:
        return np.float32 if self.is_single else np.float64

    def expressions(self) -> list[Any]:
        """Return Spark's columns, in the type that they are read in; the weight is the last."""
        from pyspark.sql import functions

        number = "float" if self.is_single else "double"
        columns = [functions.col(_quoted(name)) for name in self.names]
        if self.kind == "vector":
            from pyspark.ml.functions import vector_to_array

            columns = [vector_to_array(each) for each in columns]
        elif self.kind == "array":
            columns = [each.cast(f"array<{number}>") for each in columns]
        else:
            columns = [each.cast(number) for each in columns]
        return columns if self.weight is None else [*columns, functions.col(_quoted(self.weight)).cast("double")]

    def table(self, arrays: Sequence[NDArray], offset: int) -> tuple[NDArray, Array | None]:
        """Return rows (n, D) and weights (n,) or None of the values of the columns; ValueError for a bad row.

        A null is a NaN. Rows count from `offset`.
        """
        weight = None
        if self.weight is not None:
            *arrays, weight = arrays
            weight = np.array(weight, np.float64)
        if self.kind == "number":
            X = np.empty((len(arrays[0]), len(arrays)), self.dtype)
            for j, values in enumerate(arrays):
                X[:, j] = values
        else:
            X = self._stacked(arrays[0], offset)
        require_finite(X, "X", offset)
        if weight is not None:
            require_weights(weight, offset)
        return X, weight

    def _stacked(self, rows: NDArray, offset: int) -> NDArray:
        n_features = self.n_features
        if rows.ndim == 2 and n_features in (None, rows.shape[1]):
            return rows.astype(self.dtype)
        for place, row in enumerate(rows):
            if row is None:
                raise ValueError(f"Input X contains null instead of numbers (row {offset + place}).")
            n_features = len(row) if n_features is None else n_features
            if len(row) != n_features:
                raise ValueError(f"row {offset + place} of X has {len(row)} numbers, expected {n_features}.")
        if len(rows) == 0:
            return np.empty((0, n_features or 0), self.dtype)
        return np.concatenate(rows).astype(self.dtype, copy=False).reshape(len(rows), -1)


def _kind(data_type: Any) -> str:
    from pyspark.sql import types

    def is_number(each: Any) -> bool:
        return isinstance(each, types.NumericType | types.BooleanType)

    if is_number(data_type):
        return "number"
    if isinstance(data_type, types.ArrayType) and is_number(data_type.elementType):
        return "array"
    return "vector" if type(data_type).__name__ == "VectorUDT" else "other"


def _text(data_type: Any) -> str:
    text: str = data_type.simpleString()
    return text


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _recut(tables: Iterable[tuple[NDArray, Array | None]], n_rows: int) -> Iterator[tuple[NDArray, Array | None]]:
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


def _bits(X: NDArray, weight: Array | None) -> int:
    """Return a number that tells sets of rows apart, in whatever order: a sum of their bits, modulo 2**64."""
    sums = X.view(f"u{X.itemsize}").sum(axis=0, dtype=np.uint64).tolist()
    if weight is not None:
        sums.append(int(weight.view(np.uint64).sum(dtype=np.uint64)))
    return sum((2 * j + 1) * each for j, each in enumerate(sums)) % 2**64


def _chunks(columns: _Columns, batches: Iterable[Any]) -> Iterator[_Chunk]:
    """Yield the rows of Arrow batches of one partition, up to the first bad row."""
    offset = 0
    try:
        for batch in batches:
            X, weight = columns.table([_values(column) for column in batch.columns], offset)
            if len(X):
                columns = dataclasses.replace(columns, n_features=X.shape[1])
                yield _Chunk(X, weight, _bits(X, weight))
            offset += len(X)
    except ValueError as error:
        yield _Chunk(None, None, 0, str(error))


def _values(column: Any) -> NDArray:
    """Return a column of Arrow as an array: of two axes where it holds arrays of one length, else of objects."""
    if hasattr(column, "value_lengths") and len(column) and column.null_count == 0:
        lengths = column.value_lengths().to_numpy()
        if (lengths == lengths[0]).all():
            values: NDArray = column.flatten().to_numpy(zero_copy_only=False)
            return values.reshape(len(column), lengths[0])
    objects: NDArray = column.to_numpy(zero_copy_only=False)
    return objects


def _partitions(items: Iterable[int | _Chunk]) -> Iterator[tuple[int, Iterator[Any]]]:
    """Yield the numbers of the partitions that a task is about, each with its chunks, which come after its number."""
    latest = -1

    def number(item: int | _Chunk) -> int:
        nonlocal latest
        latest = item if isinstance(item, int) else latest
        return latest

    for partition, group in itertools.groupby(items, number):
        yield partition, itertools.islice(group, 1, None)


class _Packed:
    """The chunks of a DataFrame in Spark's storage (memory, else disk), until nobody holds this object."""

    def __init__(self, frame: Any, columns: _Columns) -> None:
        from pyspark import StorageLevel

        def pack(batches: Iterable[Any]) -> Iterator[Any]:
            import pyarrow

            for chunk in _chunks(columns, batches):
                content = pyarrow.array([pickle.dumps(chunk, pickle.HIGHEST_PROTOCOL)], pyarrow.binary())
                yield pyarrow.RecordBatch.from_arrays([content], ["chunk"])

        def unpack(partition: int, rows: Iterable[Any]) -> Iterator[int | _Chunk]:
            yield partition
            for row in rows:
                yield pickle.loads(row[0])

        packed = frame.select(*columns.expressions()).mapInArrow(pack, "chunk binary").rdd
        self.rdd = packed.mapPartitionsWithIndex(unpack).persist(StorageLevel.MEMORY_AND_DISK)
        weakref.finalize(self, _forget, self.rdd).atexit = False

    def visit(self, task: Callable[[int, Iterable[_Chunk]], Any], combine: Callable[[T, T], T], n_numbers: int) -> T:
        """Return ``task(partition, chunks)`` of each partition, put together in the order of partitions.

        What is None is left out. `n_numbers` are looked at: where these are few, a task of Spark's has several
        partitions. The answers of many partitions are put together in groups by other tasks.
        """

        def visited(items: Iterable[int | _Chunk]) -> Iterator[tuple[int, Any]]:
            for partition, chunks in _partitions(items):
                yield partition, task(partition, chunks)
            _spare_the_collector()

        def together(pairs: Iterable[tuple[int, tuple[int, Any]]]) -> Iterator[tuple[int, Any]]:
            groups: dict[int, list[tuple[int, Any]]] = {}
            for group, answer in pairs:
                groups.setdefault(group, []).append(answer)
            for answers in groups.values():
                yield _combined(answers, combine)

        n_partitions = self.rdd.getNumPartitions()
        n_tasks = min(n_partitions, max(n_numbers // _NUMBERS_OF_A_TASK, self.rdd.ctx.defaultParallelism))
        answers = self.rdd.coalesce(n_tasks).mapPartitions(visited)
        if n_partitions > _MOST_ANSWERS:
            width = math.isqrt(n_partitions - 1) + 1
            grouped = answers.map(lambda answer: (answer[0] // width, answer))
            answers = grouped.partitionBy(min(width, n_tasks), int).mapPartitions(together)
        answer = _combined(answers.collect(), combine)[1]
        if isinstance(answer, _Fault):
            raise answer.error
        return answer


def _spare_the_collector() -> None:
    """Keep what is loaded out of Python's garbage collections: Spark's workers make one after each task.

    Numba is so many objects that looking at them takes tens of milliseconds, far longer than a usual task.
    """
    if len(gc.get_objects()) > _MANY_OBJECTS:
        gc.collect()
        gc.freeze()


def _forget(rdd: Any) -> None:
    # A session that has been stopped holds nothing any more, and says so in many ways.
    with contextlib.suppress(Exception):
        rdd.unpersist()


def _combined(answers: list[tuple[int, Any]], combine: Callable[[T, T], T]) -> tuple[int, Any]:
    """Return the number of the first answer and what all are together: the first fault if there is one."""
    answers = sorted(answers, key=operator.itemgetter(0))
    held = [answer for _, answer in answers if answer is not None]
    fault = next((answer for answer in held if isinstance(answer, _Fault)), None)
    return answers[0][0], fault or (functools.reduce(combine, held) if held else None)


@dataclasses.dataclass(frozen=True, eq=False)
class _Look:
    """The finding of one look at consecutive partitions; `widths` are their numbers of features, None without rows.

    The census has the rows' bits for a fingerprint.
    """

    census: Census
    widths: list[int | None]

    def __add__(self, later: _Look) -> _Look:
        """Return the finding for these partitions and those directly after them."""
        return _Look(self.census + later.census, self.widths + later.widths)


def _look(partition: int, chunks: Iterable[_Chunk], exponent: int) -> _Look | _Fault:
    """Return the finding of one look at a partition."""
    summary, bits = NO_ROWS, 0
    width: int | None = None
    is_single = True
    for X, weight, own_bits, fault in chunks:
        if X is None:
            return _Fault(ValueError(f"partition {partition} of X: {fault}"))
        places = slice(summary.n_rows, summary.n_rows + len(X))
        summary = summary + summary_of(Block(places, X, _scaled(weight, exponent)))
        bits, width, is_single = (bits + own_bits) % 2**64, X.shape[1], X.dtype == np.float32
    return _Look(Census([summary.n_rows], [summary.n_weighted], [bits], is_single, summary), [width])


def _scaled(weight: Array | None, exponent: int) -> Array | None:
    return weight if weight is None or exponent == 0 else np.ldexp(weight, -exponent)


@dataclasses.dataclass(frozen=True, eq=False)
class _Layout:
    """How the rows lie in their partitions, and what these hold: it goes with every task."""

    n_features: int
    dtype: type[np.floating]
    is_weighted: bool
    exponent: int
    parts: list[Known]

    def part(self, number: int, chunks: Iterable[_Chunk]) -> _Part:
        """Return the rows of one partition."""
        return _Part(self, chunks, self.parts[number])

    def whole(self, chunks: Iterable[_Chunk]) -> _Part:
        """Return all rows."""
        n_rows, bits = (sum(numbers) for numbers in list(zip(*self.parts, strict=True))[:2])
        return _Part(self, chunks, Known(n_rows, bits, 0, 0))


class _Part(Rows):
    """The rows of a partition, or of all, which are read once, chunk by chunk."""

    def __init__(self, layout: _Layout, chunks: Iterable[_Chunk], known: Known) -> None:
        self.n_features, self.dtype, self.is_weighted = layout.n_features, layout.dtype, layout.is_weighted
        self.n_rows, self._bits, self.offset, self.n_weighted_before = known
        self._exponent = layout.exponent
        self._chunks = chunks

    def _tables(self) -> Iterator[tuple[NDArray, Array | None]]:
        n_rows, bits = self.n_rows, self._bits
        for X, weight, own_bits, _ in self._chunks:
            n_rows -= 0 if X is None else len(X)
            # Before they are handed on: nothing checks labels of rows that are too many.
            if X is None or n_rows < 0:
                raise _OtherRowsError
            bits -= own_bits
            yield X, _scaled(weight, self._exponent)
        if n_rows or bits % 2**64:
            raise _OtherRowsError

    def blocks(self, n_rows: int) -> Iterator[Block]:
        """Yield all rows in order, `n_rows` at a time; once."""
        start = self.offset
        for X, weight in _recut(self._tables(), n_rows):
            yield Block(slice(start, start + len(X)), X, weight)
            start += len(X)

    def scaled(self, exponent: int) -> Rows:
        """Return the same rows with their weights times ``2**-exponent``."""
        other = copy.copy(self)
        other._exponent += exponent
        return other


class SparkRows(Rows):
    """The rows of a Spark DataFrame, which is read when something is asked of them all.

    Parameters
    ----------
    frame : pyspark.sql.DataFrame
    weight : name of the column of weights, or None
    names : the columns of X, by default all others
    n_features : how many numbers each array or vector has; None to take it from the rows
    """

    is_counted_again = True

    def __init__(
        self, frame: Any, weight: str | None = None, names: Sequence[str] | None = None, n_features: int | None = None
    ) -> None:
        self._frame = frame
        self._weight = weight
        self._names = [each for each in frame.columns if each != weight] if names is None else list(names)
        self._n_features = n_features
        self._exponent = 0
        self.is_weighted = weight is not None

    @functools.cached_property
    def _columns(self) -> _Columns:
        return _Columns.of(self._frame, self._names, self._weight, self._n_features)

    @functools.cached_property
    def _packed(self) -> _Packed:
        if type(self._frame).__module__.startswith("pyspark.sql.connect"):
            raise TypeError(
                "X is a DataFrame of Spark Connect, which has no RDDs: only predict, predict_proba and score_samples "
                "take it. Fits and scores need a classic session."
            )
        return _Packed(self._frame, self._columns)

    @functools.cached_property
    def _known(self) -> tuple[_Layout, Summary]:
        exponent = self._exponent
        # The first look runs the plan of the DataFrame: with a task for each partition, as that was made for.
        look: Callable[..., Any] = functools.partial(_look, exponent=exponent)
        found: _Look = self._packed.visit(look, operator.add, sys.maxsize)
        census = found.census
        check_n_rows((census.summary.n_rows, self._columns.n_features or 0), 1, "a mixture")
        require_positive(census.summary.largest)
        widths = [(width, number) for number, width in enumerate(found.widths) if width is not None]
        n_features, first = widths[0]
        for width, number in widths:
            if width != n_features:
                raise ValueError(
                    f"rows of X have {n_features} numbers in partition {first}, but {width} in partition {number}."
                )
        if n_features == 0:
            raise ValueError("Found rows with 0 feature(s) while a minimum of 1 is required by a mixture.")
        layout = _Layout(n_features, census.dtype, self.is_weighted, exponent, census.known())
        return layout, census.summary

    # Properties of the class replace attributes of others.
    @functools.cached_property
    def n_rows(self) -> int:  # type: ignore[override]
        """The number of rows."""
        return self.summary.n_rows

    @functools.cached_property
    def n_features(self) -> int:  # type: ignore[override]
        """The number of features; it takes a look at the rows where these are arrays of unknown length."""
        known = self._columns.n_features
        return self._known[0].n_features if known is None else known

    @functools.cached_property
    def dtype(self) -> type[np.floating]:  # type: ignore[override]
        """The type that kernels read the rows in."""
        return self._columns.dtype

    @functools.cached_property
    def names(self) -> NDArray | None:  # type: ignore[override]
        """The names of the columns; None where one column holds arrays."""
        return np.array(self._names, dtype=object) if self._columns.kind == "number" else None

    @property
    def summary(self) -> Summary:
        """The finding of one look at the rows, which is kept."""
        return self._known[1]

    def blocks(self, n_rows: int) -> Iterator[Block]:
        """Yield all rows in order, `n_rows` at a time, brought to this process one partition after the other."""
        layout, _ = self._known
        chunks = (item for item in self._packed.rdd.toLocalIterator() if isinstance(item, _Chunk))
        yield from layout.whole(chunks).blocks(n_rows)

    def scaled(self, exponent: int) -> SparkRows:
        """Return the same rows with their weights times ``2**-exponent``."""
        if not self.is_weighted or exponent == 0:
            return self
        other = copy.copy(self)
        other._exponent += exponent
        other.__dict__.pop("_known", None)
        return other

    def expecting(self, names: NDArray | None, n_features: int) -> SparkRows:
        """Return the rows as a model takes them: from the columns of its names, or the one column of arrays."""
        chosen = self._names
        if names is not None and set(names) <= set(chosen):
            chosen = list(names)
        elif names is None:
            arrays = [each.name for each in self._frame.schema.fields if _kind(each.dataType) in ("array", "vector")]
            chosen = arrays if len(arrays) == 1 else chosen
        if chosen == self._names and "_known" in self.__dict__:
            return self
        return SparkRows(self._frame, self._weight, chosen, n_features)

    def gather(self, task: Callable[[Rows], T], combine: Callable[[T, T], T]) -> T:
        """Return the task's answer for all rows, by partitions; RuntimeError where these have changed."""
        layout, _ = self._known

        def visit(partition: int, chunks: Iterable[_Chunk]) -> Any:
            from pyspark import TaskContext

            rows = layout.part(partition, chunks)
            try:
                if rows.n_rows == 0:
                    return next(rows.blocks(1), None)
                return on_threads(task, TaskContext.get().cpus())(rows)
            except _OtherRowsError:
                return _Fault(
                    RuntimeError(
                        f"partition {partition} of X holds other rows than at first: Spark had to compute it again, "
                        "and the DataFrame's plan gives other rows each time. Save or checkpoint() the DataFrame."
                    )
                )

        return self._packed.visit(visit, combine, layout.n_features * self.n_rows)

    def scored(self, task: Any) -> Any:
        """Return the DataFrame with a column of what a ``Score`` makes of each row, to be computed when it is read.

        ValueError where there is a column of that name.
        """
        from pyspark.sql import functions

        name, spark_type, dtype = _ADDED[task.output]
        if name in self._frame.columns:
            raise ValueError(f"X has a column {name!r} already: rename it or leave it out.")
        columns = dataclasses.replace(self._columns, weight=None, n_features=self.n_features)
        udf = functions.pandas_udf(_scorer(task, columns, dtype), spark_type)
        return self._frame.withColumn(name, udf(*columns.expressions()))


def _scorer(task: Any, columns: _Columns, dtype: type) -> Callable[..., Any]:
    """Return the user-defined function that scores batches of rows, given as one pandas series a column."""
    import pandas

    def score(batches: Any) -> Any:
        import pandas
        from pyspark import TaskContext

        own_task = on_threads(task, TaskContext.get().cpus())
        offset = 0
        for batch in batches:
            series = batch if isinstance(batch, tuple) else (batch,)
            try:
                X, _ = columns.table([each.to_numpy() for each in series], offset)
                answers = own_task(ArrayRows(X, offset=offset)).astype(dtype, copy=False)
            except ValueError as error:
                partition = TaskContext.get().partitionId()
                raise ValueError(f"partition {partition} of X: {error}") from error
            offset += len(X)
            yield pandas.Series(list(answers) if answers.ndim == 2 else answers)

    score.__annotations__ = {
        "batches": Iterator[tuple[pandas.Series, ...]],
        "return": Iterator[pandas.Series],
    }
    return score
