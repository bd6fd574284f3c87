"""Many problems as the kernels take them: rows one after the other, whatever they came as."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgmm import validation
from fastgmm.kernels import many
from fastgmm.rows import ArrayRows, kernel_array
from fastgmm.statistics import Array
from fastgmm.support.showing import shown

# A slab of problems should take no longer than seconds, so that Ctrl-C is heard, and be converted 16 MB at a time.
_SLAB_FLOPS = 3e10
_SLAB_FLOATS = 2**21


@dataclass
class Problems:
    """Rows (N, D) of problems, in the order that `order` (N,) puts them in, and their weights in that order.

    `form` is the layout that they came in: "rows", "stacked" or "listed"; or "shared", where each has all of the rows.
    """

    rows: NDArray
    offsets: NDArray[np.int64]
    weight: Array | None
    order: NDArray[np.int64] | None = None
    keys: NDArray | None = None
    names: NDArray | None = None
    form: str = "rows"
    _repeated: NDArray | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def taken(self, first: int, last: int) -> NDArray:
        """Return the rows of problems `first` to before `last`: no copy, but where they are not neighbours."""
        begin, end = self.offsets[first], self.offsets[last]
        if self.form == "shared":
            return self._copies(last - first)
        return self.rows[slice(begin, end) if self.order is None else self.order[begin:end]]

    def _copies(self, number: int) -> NDArray:
        """Return the shared rows so many times; the last copies are kept, which the next slab is a part of."""
        if number == 1:
            return self.rows
        n_rows = number * len(self.rows)
        if self._repeated is None or len(self._repeated) < n_rows:
            self._repeated = np.tile(kernel_array(self.rows, np.float64), (number, 1))
        return self._repeated[:n_rows]

    def weight_of(self, first: int, last: int) -> Array | None:
        """Return the weights of the rows of problems `first` to before `last`, None where there are none."""
        return None if self.weight is None else self.weight[self.offsets[first] : self.offsets[last]]

    def rows_of(self, i: int) -> ArrayRows:
        """Return the rows of one problem, with their weights."""
        return ArrayRows(self.taken(i, i + 1), self.weight_of(i, i + 1))

    def arranged(self, values: NDArray) -> Any:
        """Return a number, or several, for each row, which come problem by problem, as the rows are laid out."""
        if self.form == "listed":
            return np.split(values, self.offsets[1:-1])
        if self.form in ("stacked", "shared"):
            n_rows = int(self.offsets[1]) if len(self) else 0
            return values.reshape(len(self), n_rows, *values.shape[1:])
        if self.order is None:
            return values
        arranged = np.empty_like(values)
        arranged[self.order] = values
        return arranged

    def matched(self, keys: NDArray | None) -> Problems:
        """Return the same with the problem of each key at its place in `keys`; those without rows are empty.

        ValueError, with the key, where one is not among them.
        """
        if self.keys is None:
            return self
        if keys is None:
            raise ValueError("groups are for problems that were fitted by groups: give offsets instead.")
        known, given = keys, self.keys
        if given.dtype.kind in "mM" and known.dtype.kind == given.dtype.kind:
            # Times of another unit are equal only where they are the same time.
            unit = np.result_type(known, given)
            known, given = keys.astype(unit), given.astype(unit)
        place_of = {key: place for place, key in enumerate(known.tolist())}
        places = np.array([place_of.get(key, -1) for key in given.tolist()], np.int64)
        if (places < 0).any():
            unknown = self.keys[np.argmin(places)]
            raise ValueError(f"groups must be among the {len(keys)} keys that were fitted, got {shown(unknown)}.")
        if (np.diff(places) < 0).any():
            raise ValueError("groups must sort as the keys do that were fitted: give keys of their type.")
        counts = np.zeros(len(keys), np.int64)
        counts[places] = np.diff(self.offsets)
        return replace(self, offsets=_offsets(counts), keys=keys)

    def scale_weights(self) -> NDArray[np.int32]:
        """Bring the largest weight of each problem near 1, by a power of two, and return the exponents, (P,)."""
        exponents = np.zeros(len(self), np.int32)
        if self.weight is None or not self.weight.size:
            return exponents
        begins, lengths = self.offsets[:-1], np.diff(self.offsets)
        some = lengths > 0
        exponents[some] = np.frexp(np.maximum.reduceat(self.weight, begins[some]))[1]
        if exponents.any():
            self.weight = np.ldexp(self.weight, -np.repeat(exponents, lengths))
        return exponents

    def n_weighted(self) -> NDArray[np.int64]:
        """Return how many rows of positive weight each problem has."""
        if self.weight is None:
            return np.diff(self.offsets)
        before = np.concatenate([[0], np.cumsum(self.weight > 0.0)])
        return np.diff(before[self.offsets])

    def slabs(self, n_components: int, passes: int) -> Iterator[tuple[slice, many.Rows]]:
        """Yield slices of problems, in order, and their rows as kernels take them."""
        n_features = self.rows.shape[1]
        row_flops = passes * (2.0 * n_components * n_features * (n_features + 4.0) + 40.0 * n_components)
        most = max(1, int(min(_SLAB_FLOPS / row_flops, _SLAB_FLOATS / n_features)))
        first = 0
        while first < len(self):
            last = int(np.searchsorted(self.offsets, self.offsets[first] + most, side="right")) - 1
            last = min(max(last, first + 1), len(self))
            weight = self.weight_of(first, last)
            yield (
                slice(first, last),
                many.Rows(
                    kernel_array(self.taken(first, last), np.float64),
                    np.empty(0) if weight is None else kernel_array(weight, np.float64),
                    self.offsets[first : last + 1] - self.offsets[first],
                ),
            )
            first = last


def open_problems(
    X: Any, offsets: ArrayLike | None, groups: ArrayLike | None, sample_weight: Any, n_problems: int | None = None
) -> Problems:
    """Return the problems of any layout, all checked but for the values of rows.

    `n_problems` is how many there are where all have the same rows X (n, D); None where their weights say it.
    """
    if offsets is not None and groups is not None:
        raise ValueError("offsets and groups both say which rows are a problem: give one of them.")
    if isinstance(X, list | tuple):
        if offsets is not None or groups is not None:
            raise ValueError("X is a list of problems already: offsets and groups are for one array (N, D).")
        return _listed(X, sample_weight)
    if isinstance(sample_weight, str):
        X, sample_weight = validation.split_weight(X, sample_weight)
    array = validation.as_array(X, "X")
    names = validation.feature_names(X)
    if array.ndim == 3:
        if offsets is not None or groups is not None:
            raise ValueError("X has an axis of problems already: offsets and groups are for an array (N, D).")
        problems = _stacked(array, sample_weight)
    elif array.ndim == 2 and offsets is not None:
        problems = Problems(
            array, _checked_offsets(offsets, len(array)), _checked_weight(sample_weight, array.shape[:1])
        )
    elif array.ndim == 2 and groups is not None:
        problems = _grouped(array, groups, _checked_weight(sample_weight, array.shape[:1]))
    elif array.ndim == 2 and (n_problems is not None or getattr(sample_weight, "ndim", 0) == 2):
        problems = _shared(array, sample_weight, len(sample_weight) if n_problems is None else n_problems)
    else:
        raise ValueError(
            "X must be an array (P, n, D), a list of arrays (n_i, D), an array (N, D) with offsets or groups, or one "
            f"(n, D) that problems share with sample_weight as an array (P, n); got shape {array.shape}"
            + (" without offsets or groups." if array.ndim == 2 else ".")
        )
    if array.shape[-1] < 1:
        raise ValueError(f"X must have at least one feature, got shape {array.shape}.")
    problems.names = names
    return problems


def _stacked(array: NDArray, sample_weight: Any) -> Problems:
    n_problems, n_rows, n_features = array.shape
    if n_problems > 1 and array.strides[0] == 0:
        # Of np.broadcast_to: one table, seen many times.
        return _shared(array[0], sample_weight, n_problems)
    starts = np.arange(n_problems + 1, dtype=np.int64) * n_rows
    weight = _checked_weight(sample_weight, (n_problems, n_rows))
    return Problems(array.reshape(n_problems * n_rows, n_features), starts, weight, form="stacked")


def _shared(rows: NDArray, sample_weight: Any, n_problems: int) -> Problems:
    starts = np.arange(n_problems + 1, dtype=np.int64) * len(rows)
    return Problems(rows, starts, _checked_weight(sample_weight, (n_problems, len(rows))), form="shared")


def _listed(X: Any, sample_weight: Any) -> Problems:
    if isinstance(sample_weight, str) and X:
        X, sample_weight = zip(*(validation.split_weight(rows, sample_weight) for rows in X), strict=True)
    arrays = [validation.as_array(rows, f"X[{i}]") for i, rows in enumerate(X)]
    if not arrays:
        raise ValueError("X is an empty list of problems.")
    names = _common_names(X)
    n_features = arrays[0].shape[-1] if arrays[0].ndim else 0
    for i, rows in enumerate(arrays):
        if rows.ndim != 2 or rows.shape[1] != n_features or n_features < 1:
            raise ValueError(
                f"X must be a list of arrays (n_i, D) with the same D >= 1; X[{i}] has shape {rows.shape}, X[0] "
                f"{arrays[0].shape}."
            )
    offsets = _offsets([len(rows) for rows in arrays])
    if sample_weight is not None:
        if not np.iterable(sample_weight):
            raise ValueError(f"sample_weight must be a list of arrays (n_i,), as X is, got {shown(sample_weight)}.")
        weights = [validation.as_array(weight, "sample_weight") for weight in sample_weight]
        shapes = [weight.shape for weight in weights]
        if shapes != [rows.shape[:1] for rows in arrays]:
            raise ValueError("sample_weight must be a list of arrays (n_i,), one for each of X, of the same lengths.")
        sample_weight = np.concatenate(weights)
    weight = _checked_weight(sample_weight, (int(offsets[-1]),))
    return Problems(np.concatenate(arrays), offsets, weight, names=names, form="listed")


def _common_names(X: Any) -> NDArray | None:
    """Return the names of the columns that all problems of a list have; ValueError where those of two differ."""
    each = [validation.feature_names(rows) for rows in X]
    named = [(i, names.tolist()) for i, names in enumerate(each) if names is not None]
    for i, names in named:
        if names != named[0][1]:
            raise ValueError(
                f"X must be a list of problems with the same columns in the same order; X[{i}] has {names}, "
                f"X[{named[0][0]}] {named[0][1]}."
            )
    return each[0] if len(named) == len(each) else None


def _grouped(rows: NDArray, groups: ArrayLike, weight: Array | None) -> Problems:
    keys = np.asarray(groups)
    if keys.shape != (len(rows),):
        raise ValueError(f"groups must have the shape ({len(rows)},), one key for each row, got {keys.shape}.")
    try:
        # NaN of any type, and NaT: these would neither sort nor be one group.
        missing = keys != keys
        unique, problem = np.unique(keys, return_inverse=True)
    except TypeError as error:
        raise TypeError(f"groups must be keys that can be sorted: {error}") from error
    if missing.any():
        row = int(np.argmax(missing))
        raise ValueError(f"groups must not be NaN or NaT, got {keys[row]} for row {row}.")
    offsets = _offsets(np.bincount(problem, minlength=len(unique)))
    order = None if np.all(problem[:-1] <= problem[1:]) else np.argsort(problem, kind="stable")
    if order is not None and weight is not None:
        weight = weight[order]
    return Problems(rows, offsets, weight, order, unique)


def _checked_offsets(offsets: ArrayLike, n_rows: int) -> NDArray[np.int64]:
    array = np.asarray(offsets)
    if array.ndim != 1 or len(array) == 0 or array.dtype.kind not in "iu":
        raise ValueError(f"offsets must be integers (P + 1,), got dtype {array.dtype} and shape {array.shape}.")
    array = array.astype(np.int64)
    if array[0] != 0 or array[-1] != n_rows or np.any(np.diff(array) < 0):
        raise ValueError(
            f"offsets must rise from 0 to the number of rows, {n_rows}; got {array[0]} to {array[-1]}"
            + (", falling in between." if np.any(np.diff(array) < 0) else ".")
        )
    return array


def _checked_weight(sample_weight: Any, shape: tuple[int, ...]) -> Array | None:
    """Return weights of rows, flat; ValueError unless of the shape, finite and >= 0."""
    if sample_weight is None:
        return None
    weight = validation.as_array(sample_weight, "sample_weight")
    if weight.shape != shape:
        raise ValueError(f"sample_weight.shape == {weight.shape}, expected {shape}!")
    weight = weight.astype(np.float64, copy=False).reshape(-1)
    validation.require_finite(weight, "sample_weight")
    if weight.size and weight.min() < 0:
        raise ValueError(f"sample_weight must be >= 0, got {weight.min()}.")
    return weight


def _offsets(counts: ArrayLike) -> NDArray[np.int64]:
    """Return where problems of so many rows begin, and the last one ends."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
