"""Checks of rows, their weights and the names of their columns, wherever they come from."""

from __future__ import annotations

import numbers
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgmm.statistics import Array
from fastgmm.support.showing import listing, shown

#: What to do about rows that are not complete.
COMPLETE = "drop or impute the others"
# Checked at a time: what is fine and what is not fits in cache.
_FINITE_BLOCK = 2**18
# How lazy tables of several packages are made to give their rows.
_COLLECTING = "toPandas", "collect", "compute", "execute", "to_arrow_table", "fetchnumpy"


def as_array(value: ArrayLike, name: str, *, may_be_missing: bool = False) -> NDArray:
    """Return an array of real numbers: two-dimensional ones in their own type, others as float32 or float64.

    Values of a masked array that are masked are refused, or where they `may_be_missing`, NaN.
    """
    if hasattr(value, "toarray") and hasattr(value, "nnz"):
        raise TypeError(
            f"Sparse data was passed for {name}, but dense data is required. Use '.toarray()' to convert to a dense "
            "numpy array."
        )
    # In this order, because the first mention of np.ma imports it.
    subclass = isinstance(value, np.ndarray) and type(value) is not np.ndarray
    if subclass and isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        if may_be_missing and value.dtype.kind in "biuf":
            kind = value.dtype if value.dtype.kind == "f" else np.dtype(np.float64)
            return as_array(np.ma.filled(value.astype(kind), np.nan), name)
        raise ValueError(f"{name} is a masked array with masked values: fill or drop them first")
    if not (isinstance(value, np.ndarray | list | tuple) or hasattr(value, "__array__")):
        _refuse_lazy(value, name)
    array = np.asarray(value)
    if array.dtype.kind == "c":
        raise ValueError(f"Complex data not supported\n{name} has dtype {array.dtype}")
    if array.dtype in (np.float32, np.float64):
        return array
    if array.dtype.kind in "OUS":
        remedy = ". Leave that column out, or turn it into numbers." if name == "X" and array.ndim == 2 else ""
        try:
            return array.astype(np.float64)
        except OverflowError as error:
            raise ValueError(f"{name} holds numbers beyond float64: {error}{_first_text(array)}") from error
        except TypeError as error:
            missing = np.asarray(_is_missing(array), bool)
            if missing.any():
                return as_array(np.where(missing, np.nan, array), name)
            raise TypeError(
                f"{name}: argument must be a string or a number ({error}){_first_text(array, value)}{remedy}"
            ) from error
        except ValueError as error:
            raise ValueError(f"{name} must hold numbers: {error}{_first_text(array, value)}{remedy}") from error
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold real numbers, got dtype {array.dtype}")
    # Rows stay as they are: kernels convert them block by block.
    return array if array.ndim == 2 else array.astype(np.float64)


def _refuse_lazy(value: Any, name: str) -> None:
    """Raise TypeError where rows would have to be asked for first, or can be had but once."""
    kind = f"{type(value).__module__.partition('.')[0]}.{type(value).__name__}"
    for method in _COLLECTING:
        if callable(getattr(type(value), method, None)):
            raise TypeError(f"{name} is a {kind}, which holds no rows yet: give what its method {method}() returns.")
    if isinstance(value, Iterator):
        raise TypeError(f"{name} must not be a {type(value).__name__}, which gives its rows but once: give a list.")


def _is_missing(array: NDArray) -> NDArray:
    """Return where objects say that a value is missing: that of pandas, and NumPy's masked constant."""
    return np.frompyfunc(lambda value: type(value).__name__ in ("NAType", "MaskedConstant"), 1, 1)(array)


def _first_text(array: NDArray, table: Any = None) -> str:
    """Return the first place of what is no float64 in an array of objects, in words after a message.

    With the name of its column, where the array is of a `table` that has some.
    """
    for place, value in np.ndenumerate(array):
        try:
            float(value)
        except (OverflowError, TypeError, ValueError):
            return f" ({place_of(place)}{_named(place, table)})" if place else ""
    return ""


def _named(place: Sequence[int], table: Any) -> str:
    """Return the name of the column of a place, in words after it; nothing where a `table` has no names."""
    names = feature_names(table) if len(place) == 2 else None
    return "" if names is None else f", {str(names[place[1]])!r}"


def place_of(place: Sequence[int], offset: int = 0) -> str:
    """Return the place of a number in words: its row, counted from `offset`, and its column."""
    return f"row {offset + place[0]}" + (f", column {place[1]}" if len(place) == 2 else "")


def require_finite(
    array: NDArray,
    name: str,
    offset: int = 0,
    table: Any = None,
    *,
    may_be_missing: bool = False,
    remedy: str = COMPLETE,
) -> None:
    """Raise ValueError, with the first place, where a value is NaN or infinite; rows count from `offset`.

    And the name of its column, where the array is of a `table` that has some, and the `remedy`. NaN is let through
    where values `may_be_missing`.
    """
    if array.dtype.kind != "f" or array.size == 0:
        return
    if array.ndim == 0:
        array = array[None]
    step = max(1, _FINITE_BLOCK // max(1, array[0].size)) if array.ndim > 1 else _FINITE_BLOCK
    for start in range(0, len(array), step):
        block = array[start : start + step]
        finite = np.isfinite(block)
        if finite.all():
            continue
        wrong = ~finite
        if may_be_missing:
            wrong &= ~np.isnan(block)
        if wrong.any():
            place = np.argwhere(wrong)[0]
            kind = "NaN" if np.isnan(block[tuple(place)]) else "infinity"
            where = f"{place_of(place, offset + start)}{_named(place, table)}"
            raise ValueError(
                f"Input {name} contains {kind} ({where}). Mixtures need complete rows of finite numbers: {remedy}."
            )


def check_rows(
    X: ArrayLike, estimator: str, *, minimum: int = 1, may_be_missing: bool = False, remedy: str = COMPLETE
) -> NDArray:
    """Return X as an (N, D) array of finite real numbers with at least `minimum` rows; raises ValueError, TypeError.

    Where entries `may_be_missing` they are NaN; else the `remedy` says what to do about them.
    """
    array = as_array(X, "X", may_be_missing=may_be_missing)
    if array.ndim == 0:
        raise ValueError(f"Expected 2D array, got scalar array instead:\narray={array}.\nReshape your data.")
    if array.ndim == 1:
        raise ValueError(
            f"Expected 2D array, got 1D array instead:\narray of {len(array)} numbers.\nReshape your data either using "
            "array.reshape(-1, 1) if your data has a single feature or array.reshape(1, -1) if it contains a single "
            "sample."
        )
    if array.ndim > 2:
        raise ValueError(f"Found array with dim {array.ndim}, while dim <= 2 is required by {estimator}.")
    check_n_rows(array.shape, minimum, estimator)
    if array.shape[1] < 1:
        raise ValueError(
            f"Found array with 0 feature(s) (shape={array.shape}) while a minimum of 1 is required by {estimator}."
        )
    require_finite(array, "X", table=X, may_be_missing=may_be_missing, remedy=remedy)
    return array


def check_n_rows(shape: tuple[int, ...], minimum: int, estimator: str) -> None:
    """ValueError unless there are at least `minimum` rows."""
    if shape[0] < minimum:
        raise ValueError(
            f"Found array with {shape[0]} sample(s) (shape={shape}) while a minimum of {minimum} is required by "
            f"{estimator}."
        )


def check_sample_weight(sample_weight: ArrayLike | None, n_samples: int, *, may_be_zero: bool = False) -> Array | None:
    """Return row weights as (N,) float64, or None; ValueError unless finite, >= 0, and not all 0, which they may be."""
    if sample_weight is None:
        return None
    if isinstance(sample_weight, numbers.Real):
        sample_weight = np.full(n_samples, float(sample_weight))
    weight = as_array(sample_weight, "sample_weight")
    if weight.ndim != 1:
        raise ValueError(f"Sample weights must be 1D array or scalar, got {weight.ndim}D array.")
    if weight.shape != (n_samples,):
        raise ValueError(f"sample_weight.shape == {weight.shape}, expected {(n_samples,)}!")
    require_weights(weight)
    if not may_be_zero:
        require_positive(weight.max())
    return weight.astype(np.float64, copy=False)


def split_weight(X: Any, column: str, argument: str = "sample_weight") -> tuple[Any, Any]:
    """Return a data frame without a column, and that column, whose name was given for an argument; ValueError if none.

    By default for weights.
    """
    if not hasattr(X, "columns"):
        raise ValueError(
            f"{argument}={shown(column)} is none of the columns of X: they have no names in a {type(X).__name__}."
        )
    names = list(X.columns)
    if names.count(column) != 1:
        what = "is none of" if column not in names else f"names {names.count(column)} of"
        raise ValueError(f"{argument}={shown(column)} {what} the columns of X: {names}.")
    others = [place for place, name in enumerate(names) if name != column]
    features = X.iloc[:, others] if hasattr(X, "iloc") else X[[names[place] for place in others]]
    return features, X[column]


def require_weights(weight: NDArray, offset: int = 0) -> None:
    """Raise ValueError, with the row, where a weight (N,) is not finite or below 0; rows count from `offset`."""
    require_finite(weight, "sample_weight", offset)
    if len(weight) and weight.min() < 0:
        row = int(np.argmin(weight))
        raise ValueError(f"sample_weight must be >= 0, got {weight[row]} in row {offset + row}.")


def require_positive(largest: float) -> None:
    """Raise ValueError unless the largest weight is positive."""
    if not largest > 0:
        raise ValueError("sample_weight must be positive for at least one row, got zeros only.")


def feature_names(X: Any) -> NDArray | None:
    """Return the column names of a data frame whose names are all strings, as an object array; else None."""
    columns = getattr(X, "columns", None)
    if columns is None or not hasattr(X, "__len__"):
        return None
    names = list(columns)
    kinds = {type(name).__name__ for name in names if not isinstance(name, str)}
    if kinds and any(isinstance(name, str) for name in names):
        raise TypeError(
            "Feature names are only supported if all input features have string names, but your input has "
            f"{sorted(kinds | {'str'})} as feature name / column name types. If you want feature names to be stored "
            "and validated, you must convert them all to strings, by using X.columns = X.columns.astype(str) for "
            "example. Otherwise you can remove feature / column names from your input data, or convert them all to a "
            "non-string data type."
        )
    return None if kinds or not names else np.array(names, dtype=object)


def feature_labels(names: Sequence[str] | NDArray | None, n_features: int) -> list[str]:
    """Return the names of the features as text, which are x1, x2, ... where they have none."""
    return [f"x{number}" for number in range(1, n_features + 1)] if names is None else [str(name) for name in names]


def check_columns(columns: Any, names: NDArray | None, n_features: int) -> NDArray[np.intp]:
    """Return the numbers of columns that are given by number, from 0, or by name; ValueError where one is not there."""
    labels = None if names is None else [str(name) for name in names]
    places = []
    several = isinstance(columns, Iterable) and not isinstance(columns, str) and getattr(columns, "ndim", 1) > 0
    for column in columns if several else [columns.item() if isinstance(columns, np.ndarray) else columns]:
        if isinstance(column, str) and labels is not None and labels.count(column) > 1:
            raise ValueError(f"columns must be told apart by their names: {column!r} is the name of several.")
        if isinstance(column, str) and labels is not None and column in labels:
            places.append(labels.index(column))
        elif isinstance(column, int | np.integer) and not isinstance(column, bool) and 0 <= column < n_features:
            places.append(int(column))
        else:
            named = "" if labels is None else f", or names among {listing(labels)}"
            raise ValueError(f"columns must be numbers from 0 to {n_features - 1}{named}, got {column!r}.")
    if not places or len(set(places)) < len(places):
        raise ValueError(f"columns must name at least one column, and none twice, got {shown(columns)}.")
    return np.array(places, np.intp)


def check_feature_names(fitted: NDArray | None, given: NDArray | None, estimator: str) -> None:
    """Warn where X (`given`) or the model alone has column names; ValueError where both have and they differ."""
    if fitted is None and given is None:
        return
    if given is None:
        warnings.warn(
            f"X does not have valid feature names, but {estimator} was fitted with feature names", stacklevel=5
        )
    elif fitted is None:
        warnings.warn(f"X has feature names, but {estimator} was fitted without feature names", stacklevel=5)
    else:
        require_same_names(fitted, given)


def require_same_names(fitted: NDArray, given: NDArray, remedy: str = "") -> None:
    """ValueError where the columns of X do not have the names that the model was fitted to, in that order.

    Where they only have others, too, or another order, the message ends in the `remedy`.
    """
    if len(fitted) != len(given) or not np.all(fitted == given):
        message = "The feature names should match those that were passed during fit.\n"
        unseen = sorted(set(given) - set(fitted))
        missing = sorted(set(fitted) - set(given))
        for title, names in (
            ("Feature names unseen at fit time", unseen),
            ("Feature names seen at fit time, yet now missing", missing),
        ):
            if names:
                message += f"{title}:\n" + "".join(f"- {name}\n" for name in names[:5])
                message += "- ...\n" if len(names) > 5 else ""
        if not unseen and not missing:
            message += "Feature names must be in the same order as they were in fit.\n"
        raise ValueError(message if missing else message + remedy)


def check_n_features(n_features: int, expected: int, estimator: str) -> None:
    """ValueError unless X has the number of columns that the model was fitted with."""
    if n_features != expected:
        raise ValueError(f"X has {n_features} features, but {estimator} is expecting {expected} features as input.")
