"""Rows of a Spark DataFrame: passes go to its partitions as tasks, and sums come back over a tree.

The first look at the rows packs them (``spark_packing``): each Arrow batch becomes a chunk, a checked C-contiguous
array, kept in Spark's storage until the rows are let go. Later passes read chunks alone: the plan of the DataFrame is
run once, and nothing is converted again. Chunks travel by RDDs rather than by ``mapInArrow``, which puts any number of
them into one batch.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import operator
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgmm.rows import ArrayRows, Block, Rows, Summary
from fastgmm.sources.opening import may_miss
from fastgmm.sources.partitions import on_threads
from fastgmm.sources.spark_columns import Columns, _kind
from fastgmm.sources.spark_packing import Chunk, Fault, Layout, Look, OtherRowsError, Packed, T, look
from fastgmm.support.extras import require
from fastgmm.support.showing import shown
from fastgmm.validation import check_n_rows, require_positive

# What is added to a DataFrame by each output of a score, named as in Spark's own models where they have it.
_ADDED = {
    "labels": ("prediction", "int", np.int32),
    "responsibilities": ("probability", "array<double>", np.float64),
    "evidence": ("log_density", "double", np.float64),
    "uncertainty": ("uncertainty", "double", np.float64),
    "imputed": ("imputed", "array<double>", np.float64),
    "entropy": ("entropy", "double", np.float64),
}


def open_rows(data: Any, sample_weight: Any = None, *, missing: str | None = None) -> SparkRows:
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
        raise ValueError(f"sample_weight must name one of the columns {data.columns}, got {shown(sample_weight)}.")
    require("spark", "Spark's rows are read by", "pyarrow")
    require("spark", "Spark's rows are read by", "pandas")
    return SparkRows(data, sample_weight, may_miss=may_miss(missing))


class SparkRows(Rows):
    """The rows of a Spark DataFrame, which is read when something is asked of them all.

    Parameters
    ----------
    frame : pyspark.sql.DataFrame
    weight : name of the column of weights, or None
    names : the columns of X, by default all others
    n_features : how many numbers each array or vector has; None to take it from the rows
    may_miss : whether nulls and NaN are let through, as what is missing
    """

    is_counted_again = True

    def __init__(
        self,
        frame: Any,
        weight: str | None = None,
        names: Sequence[str] | None = None,
        n_features: int | None = None,
        may_miss: bool = False,
    ) -> None:
        self._frame, self.may_miss = frame, may_miss
        self._weight = weight
        self._names = [each for each in frame.columns if each != weight] if names is None else list(names)
        self._n_features = n_features
        self._exponent = 0
        self.is_weighted = weight is not None

    @functools.cached_property
    def _columns(self) -> Columns:
        return Columns.of(self._frame, self._names, self._weight, self._n_features, self.may_miss)

    @functools.cached_property
    def _packed(self) -> Packed:
        if type(self._frame).__module__.startswith("pyspark.sql.connect"):
            raise TypeError(
                "X is a DataFrame of Spark Connect, which has no RDDs: only predict, predict_proba and score_samples "
                "take it. Fits and scores need a classic session."
            )
        return Packed(self._frame, self._columns)

    @functools.cached_property
    def _known(self) -> tuple[Layout, Summary]:
        exponent = self._exponent
        # The first look runs the plan of the DataFrame: with a task for each partition, as that was made for.
        task: Callable[..., Any] = functools.partial(look, exponent=exponent)
        found: Look | None = self._packed.visit(task, operator.add, sys.maxsize)
        n_rows = 0 if found is None else found.census.summary.n_rows
        check_n_rows((n_rows, self._columns.n_features or 0), 1, "a mixture")
        assert found is not None
        census = found.census
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
        layout = Layout(n_features, census.dtype, self.is_weighted, exponent, census.known(), self.may_miss)
        return layout, census.summary

    @property
    def is_counted(self) -> bool:
        """Whether the rows have been looked at."""
        return "_known" in vars(self)

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
        chunks = (item for item in self._packed.rdd.toLocalIterator() if isinstance(item, Chunk))
        yield from layout.whole(chunks).blocks(n_rows)

    def given_blocks(self, n_rows: int) -> Iterator[Block]:
        """Yield all rows as they were given, like `blocks`: NaN is what is missing."""
        layout, _ = self._known
        chunks = (item for item in self._packed.rdd.toLocalIterator() if isinstance(item, Chunk))
        yield from layout.whole(chunks).given_blocks(n_rows)

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
        return SparkRows(self._frame, self._weight, chosen, n_features, self.may_miss)

    def gather(self, task: Callable[[Rows], T], combine: Callable[[T, T], T]) -> T:
        """Return the task's answer for all rows, by partitions; RuntimeError where these have changed."""
        layout, _ = self._known

        def visit(partition: int, chunks: Iterable[Chunk]) -> Any:
            from pyspark import TaskContext

            rows = layout.part(partition, chunks)
            try:
                if rows.n_rows == 0:
                    return next(rows.given_blocks(1), None)
                return on_threads(task, TaskContext.get().cpus())(rows)
            except OtherRowsError:
                return Fault(
                    RuntimeError(
                        f"partition {partition} of X holds other rows than at first: Spark had to compute it again, "
                        "and the DataFrame's plan gives other rows each time. Save or checkpoint() the DataFrame."
                    )
                )

        answer = self._packed.visit(visit, combine, layout.n_features * self.n_rows)
        assert answer is not None
        return answer

    def scored(self, task: Any) -> Any:
        """Return the DataFrame with a column of what a ``Score`` makes of each row, to be computed when it is read.

        ValueError where there is a column of that name.
        """
        from pyspark.sql import functions

        if not hasattr(task, "output"):
            raise TypeError("log_densities takes rows in memory, files and Dask's, and no data frame of Spark")
        name, spark_type, dtype = _ADDED[task.output]
        if name in self._frame.columns:
            raise ValueError(f"X has a column {name!r} already: rename it or leave it out.")
        columns = dataclasses.replace(self._columns, weight=None, n_features=self.n_features)
        udf = functions.pandas_udf(_scorer(task, columns, dtype), spark_type)
        return self._frame.withColumn(name, udf(*columns.expressions()))


def _scorer(task: Any, columns: Columns, dtype: type) -> Callable[..., Any]:
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
