"""Which columns of a Spark DataFrame are the rows and their weights, and what Spark calls their types."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgmm.statistics import Array
from fastgmm.validation import require_finite, require_weights


@dataclasses.dataclass(frozen=True)
class Columns:
    """Which columns hold the rows: numbers, or one of arrays of `n_features` numbers each (None: as the first)."""

    names: tuple[str, ...]
    weight: str | None
    kind: str
    is_single: bool
    n_features: int | None
    may_miss: bool = False

    @classmethod
    def of(
        cls, frame: Any, names: Sequence[str], weight: str | None, n_features: int | None, may_miss: bool = False
    ) -> Columns:
        """Return how the named columns hold rows; TypeError where they do not."""
        from pyspark.sql import types

        by_name = {field.name: field.dataType for field in frame.schema.fields}
        if not names:
            raise ValueError(f"X must have a column of numbers besides sample_weight={weight!r}, got {frame.columns}.")
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
            return cls(tuple(names), weight, kinds[names[0]], single, n_features, may_miss)
        return cls(tuple(names), weight, "number", single, len(names), may_miss)

    @property
    def dtype(self) -> type[np.floating]:
        """The type that kernels read the rows in."""
        return np.float32 if self.is_single else np.float64

    def expressions(self) -> list[Any]:
        """Return Spark's columns, in the type that they are read in; the weight is the last."""
        from pyspark.sql import functions

        number = "float" if self.is_single else "double"
        columns = [functions.col(quoted(name)) for name in self.names]
        if self.kind == "vector":
            from pyspark.ml.functions import vector_to_array

            columns = [vector_to_array(each) for each in columns]
        elif self.kind == "array":
            columns = [each.cast(f"array<{number}>") for each in columns]
        else:
            columns = [each.cast(number) for each in columns]
        return columns if self.weight is None else [*columns, functions.col(quoted(self.weight)).cast("double")]

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
        require_finite(X, "X", offset, may_be_missing=self.may_miss)
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


def quoted(name: str) -> str:
    """Return the name of a column as SQL has it."""
    return "`" + name.replace("`", "``") + "`"
