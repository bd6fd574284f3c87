"""Checks of what is known of the classes of rows, and of the components that classes have."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgmm.support.showing import shown

_REMEDY = "number the classes from 0, by pandas.factorize(labels)[0] for example, with -1, NaN or None where unknown"
# More classes than any mixture has components.
_MOST = 2**31


def check_labels(labels: Any, n_samples: int) -> NDArray[np.int64]:
    """Return the class of each row, (N,) int64, -1 where it is unknown: -1, NaN, None or pandas' NA."""
    array = labels.filled(-1) if isinstance(labels, np.ma.MaskedArray) else np.asarray(labels)
    if array.shape != (n_samples,):
        raise ValueError(
            f"labels must be one class number for each row of X, of the shape ({n_samples},), got "
            f"{shown(labels) if array.ndim == 0 else array.shape}."
        )
    if array.dtype.kind not in "biuf":
        array = np.array([_number(value, row) for row, value in enumerate(array.tolist())], np.float64)
    missing = np.isnan(array) if array.dtype.kind == "f" else np.zeros(n_samples, np.bool_)
    values = np.where(missing, -1, array)
    wrong = ~((values >= -1) & (values < _MOST) & (values == np.floor(values)))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ValueError(f"labels must be class numbers 0, 1, ..., got {shown(array[row])} in row {row}: {_REMEDY}.")
    return values.astype(np.int64)


def _number(value: Any, row: int) -> float:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return -1.0
    if not isinstance(value, numbers.Real):
        raise ValueError(f"labels must be class numbers 0, 1, ..., got {shown(value)} in row {row}: {_REMEDY}.")
    return float(value)


def check_class_components(value: Any, n_components: int) -> list[NDArray[np.int64]] | None:
    """Return the components of each class, from 0 on, of ``class_components``; None where every class has its own one.

    A sequence of numbers says how many components each class has, one of sequences or a mapping which; a class that it
    does not name has none.
    """
    if value is None:
        return None
    given = value
    if _is_several(value) and not isinstance(value, Mapping):
        value = list(value)
        if any(map(_is_several, value)):
            if not all(map(_is_several, value)):
                raise _wrong(given, "must hold numbers of components, or lists of components, not both")
            value = dict(enumerate(value))
    if isinstance(value, Mapping):
        classes = [_integer(each, given) for each in value]
        found = [np.empty(0, np.int64) for _ in range(max(classes, default=-1) + 1)]
        for label, components in zip(classes, value.values(), strict=True):
            own = components if _is_several(components) else [components]
            found[label] = np.array([_integer(k, given) for k in own], np.int64)
    elif isinstance(value, list):
        counts = [_integer(each, given) for each in value]
        ends = np.cumsum(counts, dtype=np.int64).tolist()
        found = [np.arange(end - count, end) for end, count in zip(ends, counts, strict=True)]
    else:
        raise _wrong(given, "must be the numbers of components of the classes, or a mapping of classes to components")
    named = np.concatenate([np.empty(0, np.int64), *found])
    if len(named) == 0:
        raise _wrong(given, "must give a component to one class at least")
    if named.max() >= n_components:
        raise _wrong(given, f"must name components below n_components = {n_components}")
    if len(set(named.tolist())) < len(named):
        raise _wrong(given, "must give no component twice")
    return found


def _is_several(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str)


def _integer(value: Any, whole: Any) -> int:
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 0:
        raise _wrong(whole, "must hold integers >= 0")
    return int(value)


def _wrong(value: Any, rule: str) -> ValueError:
    return ValueError(
        f"class_components {rule}, as [2, 1], [[0, 1], [2]] or {{0: [0, 1], 1: [2]}} for a class of two components and "
        f"one of one; got {shown(value)}."
    )


def classes_of(
    labels: NDArray[np.int64], given: list[NDArray[np.int64]] | None, n_components: int
) -> list[NDArray[np.int64]]:
    """Return the components of each class of some labels: its own number, or those that are `given`."""
    highest = int(labels.max(initial=-1))
    row = int(labels.argmax()) if len(labels) else 0
    if given is None:
        if highest >= n_components:
            raise ValueError(
                f"labels must be below n_components = {n_components}, for class c is component c, got {highest} in row "
                f"{row}: raise n_components, or number the classes from 0 without gaps."
            )
        return [np.array([label], np.int64) for label in range(highest + 1)]
    is_empty = np.array([*(len(each) == 0 for each in given), True])
    nameless = (labels >= 0) & is_empty[np.minimum(labels, len(given))]
    if nameless.any():
        row = int(np.flatnonzero(nameless)[0])
        raise ValueError(
            f"labels must be classes that class_components gives components to, got {labels[row]} in row {row}."
        )
    return given
