"""Rows of Dask collections: arrays, data frames, and lists of delayed batches.

A pass is one graph: a node that holds the task, a node for each partition that applies it where the partition is, and a
tree that puts the answers together. The tree depends on the number of partitions alone, so sums are the same bits
whichever worker is first, and when one is lost and its share is computed again.
"""

from __future__ import annotations

import copy
import functools
import math
import numbers
import operator
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastgmm import validation
from fastgmm.rows import ArrayRows, Block, Rows, Summary
from fastgmm.sources.opening import may_miss
from fastgmm.sources.partitions import Census, Columns, Known, PartitionReader, Visit, census, columns_of, on_threads
from fastgmm.sources.together import RowsElsewhere
from fastgmm.support.extras import require

T = TypeVar("T")

#: How many answers a node of the tree puts together.
FAN_IN = 16

# How names of nodes begin behind which rows of a data frame come in an order of their own, another one for each graph.
_SHUFFLES = "zpartd-", "shuffle-transfer-", "hash-join-transfer-"


class DaskRows(RowsElsewhere):
    """The rows of a Dask array (N, D), of a Dask data frame, or of delayed batches, where they are.

    Parameters
    ----------
    data : dask.array.Array, dask.dataframe.DataFrame, Delayed, or list of Delayed
        A delayed batch is an array (n, D), a data frame or a pair (X, weight). Chunk sizes may be unknown.
    sample_weight : optional
        A Dask array (N,) or series with the partitions of `data`, Delayed, or a number; the name of a column
        of data frames, which is no feature then; for a Dask array with known chunks also an array (N,). Of a data frame
        that is shuffled, a column or a series of it: an array would be shuffled on its own, and is refused.
    n_threads : int, default 1
        Threads that a task uses. Dask runs as many tasks at a time in a worker as that has threads: more than 1 is for
        workers with fewer threads than cores.
    missing : None or 'marginal'
        With 'marginal', entries may be missing (NaN, None, NA), for mixtures with ``missing="marginal"``.

    Notes
    -----
    Of delayed batches the first is computed at once, to know the columns; else nothing is before it is needed. Raises
    ValueError and TypeError.
    """

    is_counted_again = True

    def __init__(self, data: Any, sample_weight: Any = None, *, n_threads: int = 1, missing: str | None = None) -> None:
        self.may_miss = may_miss(missing)
        require("dask", "Dask collections need", "dask", "dask.array", "dask.delayed", "dask.task_spec")
        self._n_threads = n_threads
        data = _collections(data)
        self._frame: Any = data[0] if _is_frame(data[0]) else None
        column = sample_weight if isinstance(sample_weight, str) else None
        by_number = isinstance(sample_weight, numbers.Real)
        weight = [] if by_number or column is not None else _weights(sample_weight, data)
        n_partitions, n_weights = _n_partitions(data), _n_partitions(weight)
        if weight and n_weights != n_partitions:
            raise ValueError(
                f"sample_weight must have the partitions of X, which has {n_partitions}; it has {n_weights}. Give the "
                "name of a column of X, or a series of the frame that X is of."
            )
        if weight:
            _require_one_order(data[0], weight[0])
        if self._frame is not None:
            data, weight = _optimised(self._frame, weight)
        self._data, self._weight = data, weight
        self._keys, self._weight_keys = _keys(data), _keys(weight)
        self._number = float(sample_weight) if by_number else None
        self._reader = PartitionReader(None, column, may_miss=self.may_miss)
        columns = _known_columns(data[0], self._reader, column is None and sample_weight is not None)
        self._columns = columns or self._run(columns_of, operator.add, n_partitions=1)
        self._reader = replace(self._reader, columns=self._columns)
        self.n_features, self.names, self.is_weighted, _ = self._columns

    @functools.cached_property
    def _graph(self) -> dict[Any, Any]:
        """The nodes that make the partitions, as Dask optimises them."""
        import dask
        from dask.array import Array
        from dask.utils import ensure_dict

        arrays: list[Any] = []
        others: list[Any] = []
        for each in (*self._data, *self._weight):
            (arrays if isinstance(each, Array) else others).append(each)
        # Frames are optimised already, which cannot be done twice. Of delayed batches there may be thousands; of them
        # Dask only leaves out what is not needed, in each pass.
        graphs = [each.dask for each in (*dask.optimize(*arrays), *others)]
        # Often they are one. All are held meanwhile: an address would serve the next one once a graph is gone.
        different = {id(graph): graph for graph in graphs}.values()
        return {key: node for graph in different for key, node in ensure_dict(graph).items()}

    @functools.cached_property
    def _census(self) -> Census:
        found = self._run(census, Census.__add__)
        validation.check_n_rows((found.summary.n_rows, self.n_features), 1, "a mixture")
        validation.require_positive(found.summary.largest)
        return found

    @property
    def is_counted(self) -> bool:
        """Whether the rows have been looked at."""
        return "_census" in vars(self)

    @property
    def n_rows(self) -> int:  # type: ignore[override]
        """The number of rows."""
        return self._census.summary.n_rows

    @property
    def dtype(self) -> type[np.floating]:  # type: ignore[override]
        """The type that kernels read the rows in."""
        return self._census.dtype

    @property
    def summary(self) -> Summary:
        """The finding of one look at the rows, which is kept."""
        return self._census.summary

    def blocks(self, n_rows: int) -> Iterator[Block]:
        """Raise TypeError: the rows are not in this process."""
        raise TypeError("rows of a Dask collection are read where they are: gather a task.")

    def scaled(self, exponent: int) -> DaskRows:
        """Return the same rows with their weights times ``2**-exponent``."""
        if not self.is_weighted or exponent == 0:
            return self
        other = copy.copy(self)
        other._reader = replace(self._reader, exponent=self._reader.exponent + exponent)
        # Weights may become too small to count.
        other.__dict__.pop("_census", None)
        return other

    def gather(self, task: Callable[[Rows], T], combine: Callable[[T, T], T]) -> T:
        """Return the task's answer for all rows; they are checked where no pass has done so yet."""
        return self._meet(self._gather, task, combine)

    def _gather(self, task: Callable[[Rows], T], combine: Callable[[T, T], T]) -> T:
        found = self.__dict__.get("_census")
        if found is None:
            return self._run(task, combine)
        return self._run(task, combine, reader=replace(self._reader, dtype=found.dtype), known=found.known())

    def scored(self, task: Callable[[Rows], NDArray]) -> Any:
        """Return the task's answers for each row, which are computed when they are asked for.

        Of a data frame as a series, or a frame where there are several numbers for each row, with its index and
        divisions; else as a Dask array.
        """
        from dask.array import Array
        from dask.highlevelgraph import HighLevelGraph

        meta = task(ArrayRows(np.empty((0, self.n_features), self._columns.dtype)))
        name = _name(task)
        typed = functools.partial(_typed, on_threads(task, self._n_threads), meta.dtype)
        if self._frame is not None:
            return self._scored_frame(name, typed, meta)
        chunks = (_sizes(self._data, len(self._keys)), *((size,) for size in meta.shape[1:]))
        keys = [(name, i, *(0 for _ in meta.shape[1:])) for i in range(len(self._keys))]
        graph = HighLevelGraph.from_collections(name, self._layer(name, keys, typed), [*self._data, *self._weight])
        return Array(graph, name, chunks, meta=meta)

    def _scored_frame(self, name: str, task: Callable[[Rows], NDArray], meta: NDArray) -> Any:
        """Return the task's answers beside the rows of the frame as it was given: Dask optimises it with what it is in.

        Weights are of no account: without them, the rows and what is made of them depend on the frame alone.
        """
        from dask.delayed import Delayed
        from dask.task_spec import DataNode

        column = self._reader.weight_column
        frame = self._frame if column is None else self._frame.drop(columns=column)
        reader = PartitionReader(self._columns._replace(is_weighted=False), may_miss=self.may_miss)
        # One node that all partitions share, as in a pass: the model is not part of every task.
        visit = Delayed(name, {name: DataNode(name, Visit(task, reader))})
        return frame.map_partitions(_beside, visit, meta=_indexed(meta, frame._meta), enforce_metadata=False)

    def _run(
        self,
        task: Callable[[Rows], T],
        combine: Callable[[T, T], T],
        *,
        n_partitions: int | None = None,
        **options: Any,
    ) -> T:
        """Return the task's answers for the first partitions, or all, put together in order."""
        from dask.delayed import Delayed
        from dask.task_spec import Task, TaskRef

        name = _name(task)
        keys: list[Any] = [(name, i) for i in range(len(self._keys))][:n_partitions]
        graph = self._graph | self._layer(name, keys, on_threads(task, self._n_threads), **options)
        level = 0
        while len(keys) > 1:
            level += 1
            groups = [keys[start : start + FAN_IN] for start in range(0, len(keys), FAN_IN)]
            keys = [(f"{name}-sum", level, i) for i in range(len(groups))]
            for key, group in zip(keys, groups, strict=True):
                graph[key] = Task(key, _combined, combine, *map(TaskRef, group))
        answer: T = Delayed(keys[0], graph).compute()
        return answer

    def _layer(
        self,
        name: str,
        keys: Sequence[Any],
        task: Callable[[Rows], Any],
        reader: PartitionReader | None = None,
        known: list[Known] | None = None,
    ) -> dict[Any, Any]:
        """Return the nodes that apply a task to partitions: one for the task, and one of each key."""
        from dask.task_spec import DataNode, Task, TaskRef

        visit = f"{name}-task"
        layer: dict[Any, Any] = {visit: DataNode(visit, Visit(task, reader or self._reader))}
        for i, key in enumerate(keys):
            weight = TaskRef(self._weight_keys[i]) if self._weight_keys else self._number
            place = () if known is None else known[i]
            layer[key] = Task(key, _visited, TaskRef(visit), i, TaskRef(self._keys[i]), weight, *place)
        return layer


def open_rows(data: Any, sample_weight: Any = None, *, missing: str | None = None) -> DaskRows:
    """Return the rows of a Dask collection."""
    return DaskRows(data, sample_weight, missing=missing)


def _name(task: Any) -> str:
    """Return a new name for the nodes of a pass; progress bars and dashboards show it."""
    word = getattr(task, "__name__", type(task).__name__).strip("_").lower()
    return f"fastgmm-{word}-{uuid.uuid4().hex}"


def _visited(visit: Visit, number: int, data: Any, weight: Any, *known: int) -> Any:
    return visit(number, data, weight, Known(*known) if known else None)


def _beside(part: Any, visit: Visit, partition_info: dict[str, Any]) -> Any:
    """Return a visit's answers for the rows of a frame's partition, with the index of these."""
    return _indexed(visit(partition_info["number"], part), part)


def _indexed(answers: NDArray, part: Any) -> Any:
    import pandas

    kind = pandas.Series if answers.ndim == 1 else pandas.DataFrame
    return kind(answers, index=part.index)


def _pair(part: Any, weight: Any) -> tuple[Any, Any]:
    return part, weight


def _combined(combine: Callable[[T, T], T], *answers: T) -> T:
    return functools.reduce(combine, answers)


def _typed(task: Callable[[Rows], NDArray], dtype: np.dtype, rows: Rows) -> NDArray:
    return task(rows).astype(dtype, copy=False)


def _collections(data: Any) -> list[Any]:
    """Return the collections that rows are in, each row in one partition, as a list of one or of Delayed."""
    from dask.array import Array
    from dask.delayed import Delayed

    if isinstance(data, Array):
        if data.ndim != 2:
            raise ValueError(
                f"Expected 2D array, got {data.ndim}D Dask array instead. Reshape your data either using "
                "array.reshape(-1, 1) if your data has a single feature or array.reshape(1, -1) if it contains a "
                "single sample."
            )
        return [data if data.numblocks[1] == 1 else data.rechunk({1: -1})]
    if isinstance(data, Delayed):
        return [data]
    if isinstance(data, list | tuple) and data and all(isinstance(each, Delayed) for each in data):
        return list(data)
    if _is_frame(data) and data.ndim == 2:
        return [data]
    raise TypeError(
        "X must be a Dask array, a Dask data frame or a list of dask.delayed batches, got "
        f"{type(data).__module__}.{type(data).__name__}."
    )


def _is_frame(data: Any) -> bool:
    return type(data).__module__.startswith("dask.dataframe") and hasattr(data, "ndim")


def _keys(collections: list[Any]) -> list[Any]:
    """Return the key of each partition, in order."""
    from dask.core import flatten

    return [key for each in collections for key in flatten(each.__dask_keys__())]


def _n_partitions(collections: list[Any]) -> int:
    """Return how many partitions collections have, as their user sees them."""
    from dask.delayed import Delayed

    return sum(1 if isinstance(each, Delayed) else each.npartitions for each in collections)


def _optimised(frame: Any, weight: list[Any]) -> tuple[list[Any], list[Any]]:
    """Return a data frame as Dask optimises it, and weights: of a series or an array, partitions are pairs then.

    Both are optimised at once: shuffled each for itself, rows may come in an order of their own.
    """
    from dask.array import Array
    from dask.dataframe import from_dask_array

    if weight and (_is_frame(weight[0]) or isinstance(weight[0], Array)):
        series = weight[0] if _is_frame(weight[0]) else from_dask_array(weight[0])
        options = {"meta": frame._meta, "enforce_metadata": False, "align_dataframes": False}
        frame, weight = frame.map_partitions(_pair, series, **options), []
    return [_untuned(frame)], weight


def _untuned(frame: Any) -> Any:
    """Return a data frame as Dask optimises it, with the partitions that it has.

    Tuned, it would read several files at a time, in each frame as many as its columns are narrow.
    """
    import dask

    with dask.config.set({"optimization.tune.active": False}):
        return frame.optimize()


def _require_one_order(data: Any, weight: Any) -> None:
    """Raise ValueError where weights are an array that is shuffled otherwise than the rows.

    A series is optimised with the frame, and what both are made by is then one shuffle.
    """
    from dask.array import Array

    def shuffles(each: Any) -> set[str]:
        names = (str(key[0] if isinstance(key, tuple) else key) for key in each.__dask_graph__())
        return {name for name in names if name.startswith(_SHUFFLES)}

    if isinstance(weight, Array) and shuffles(weight) != shuffles(_untuned(data) if _is_frame(data) else data):
        raise ValueError(
            "sample_weight as a Dask array must not be shuffled (by a merge, say) on its own, for its order is then "
            "not that of the rows of X: give a series of the frame that X is of, as X=frame[columns] and "
            "sample_weight=frame[name], or persist() that frame first."
        )


def _sizes(data: list[Any], n_partitions: int) -> tuple[float, ...]:
    """Return the number of rows of each partition, NaN where it is not known."""
    from dask.array import Array

    return data[0].chunks[0] if isinstance(data[0], Array) else (math.nan,) * n_partitions


def _weights(sample_weight: Any, data: list[Any]) -> list[Any]:
    """Return the collections that weights are in, if any, with the partitions of `data` where that can be had."""
    from dask.array import Array, from_array
    from dask.delayed import Delayed

    if sample_weight is None:
        return []
    if isinstance(sample_weight, Delayed):
        return [sample_weight]
    if isinstance(sample_weight, list | tuple) and sample_weight and isinstance(sample_weight[0], Delayed):
        return list(sample_weight)
    if _is_frame(sample_weight):
        if _is_frame(data[0]) and sample_weight.ndim == 1:
            return [sample_weight]
        sample_weight = sample_weight.values
    rows = _sizes(data, 1)
    n_rows = sum(rows)
    if not isinstance(sample_weight, Array):
        if math.isnan(n_rows):
            raise ValueError(
                "sample_weight as an array in memory needs X as a Dask array with known chunk sizes: give a Dask array "
                "or series with the partitions of X, or the name of a column."
            )
        sample_weight = from_array(validation.check_sample_weight(sample_weight, int(n_rows)), chunks=(rows,))
    if sample_weight.ndim != 1:
        raise ValueError(f"Sample weights must be 1D array or scalar, got {sample_weight.ndim}D array.")
    n_weights = sample_weight.shape[0]
    if not (math.isnan(n_rows) or math.isnan(n_weights)):
        if n_weights != n_rows:
            raise ValueError(f"sample_weight.shape == {sample_weight.shape}, expected {(n_rows,)}!")
        sample_weight = sample_weight.rechunk((rows,))
    return [sample_weight]


def _known_columns(data: Any, reader: PartitionReader, has_weights: bool) -> Columns | None:
    """Return the columns that a collection declares; None for delayed batches, which have to be asked."""
    empty = getattr(data, "_meta", None)
    if isinstance(empty, np.ndarray):
        empty = None if math.isnan(data.shape[1]) else np.empty((0, data.shape[1]), data.dtype)
    return None if empty is None else columns_of(reader(empty, np.empty(0) if has_weights else None))
