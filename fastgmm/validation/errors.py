"""Checks of the covariances of errors of measurement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Set
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgmm.statistics import Array
from fastgmm.support.showing import shown
from fastgmm.validation.rows import as_array, feature_names, require_finite, require_same_names

# How far, relative to the standard deviations, rounding may make covariances asymmetric or not positive semidefinite.
_ROUNDING = 1e-6
# Rows whose covariances are checked at a time.
_ROWS = 2**16

_NO_NUMBERS = "sample_covariance must hold numbers: a variance, or an array or a frame of variances or covariances"


def require_same_rows(X: Any, sample_covariance: Any) -> None:
    """ValueError where both are frames of pandas and the index of the one is that of the other in another order."""
    rows, errors = _index(X), _index(sample_covariance)
    if rows is None or errors is None or len(rows) != len(errors) or rows.equals(errors):
        return
    if Counter(rows) == Counter(errors):
        raise ValueError(
            "sample_covariance must have its rows in the order of X, got the same index in another order: give "
            "sample_covariance.loc[X.index]."
        )


def _index(frame: Any) -> Any:
    """Return the index of a frame or series of pandas, else None; lists and others have a method of that name."""
    index = getattr(frame, "index", None)
    return index if hasattr(index, "equals") else None


def require_same_columns(names: NDArray | None, sample_covariance: Any) -> None:
    """ValueError where errors are named as the columns of X, in another order: columns, and the index of (D,), (D, D).

    Names of which some are others are no names of columns, and say nothing.
    """
    if names is None:
        return
    index = _index(sample_covariance)
    given = [feature_names(sample_covariance)]
    if index is not None and len(index) == len(names):
        given.append(np.array(list(index), dtype=object))
    for each in given:
        if each is not None and len(each) == len(names) and set(each) == set(names):
            require_same_names(names, each, "sample_covariance[X.columns] has them in the order of X.\n")


def check_sample_covariance(sample_covariance: ArrayLike, n_rows: int, n_features: int) -> Array:
    """Return covariances of errors, variances (N, D) or matrices (N, D, D); (1, ...) where all rows have the same.

    Takes a variance, (D,) variances or a (D, D) covariance for all rows, or (N, D) or (N, D, D). Raises ValueError,
    naming the row, unless they are finite, symmetric and positive semidefinite.
    """
    if sample_covariance is None or isinstance(sample_covariance, str | bytes | bool | np.bool_ | Mapping | Set):
        raise ValueError(_NO_NUMBERS + f", got {shown(sample_covariance)}.")
    array = as_array(sample_covariance, "sample_covariance")
    if getattr(np.asarray(sample_covariance), "dtype", None) == np.bool_:
        raise ValueError(_NO_NUMBERS + ", got an array of True and False.")
    shape = array.shape
    require_finite(array, "sample_covariance")
    one, each = (n_features, n_features), (n_rows, n_features)
    if shape == one == each and n_features > 1:
        raise ValueError(
            f"sample_covariance of shape {shape} may be the variances of {n_rows} rows or one covariance for all: give "
            f"covariances of shape {(n_rows, *one)}."
        )
    values = np.asarray(array, np.float64)
    if shape == ():
        values = np.full((1, n_features), values)
    elif shape == (n_features,) or (shape == one and shape != each):
        values = values[None]
    elif shape not in (each, (n_rows, *one)):
        raise ValueError(
            f"sample_covariance must be a variance, or have the shape {(n_features,)} or {one} for all rows, {each} or "
            f"{(n_rows, *one)} for each, got {shape}."
        )
    if values.ndim == 2:
        if values.min(initial=0.0) < 0.0:
            row, column = np.argwhere(values < 0.0)[0]
            where = f"row {row}, column {column}" if len(values) > 1 else f"column {column}"
            raise ValueError(f"sample_covariance must hold variances >= 0, got {values[row, column]:g} ({where}).")
        return np.ascontiguousarray(values)
    for start in range(0, len(values), _ROWS):
        _require_semidefinite(values[start : start + _ROWS], start, len(values) > 1)
    return 0.5 * values + 0.5 * values.transpose(0, 2, 1)


def _require_semidefinite(matrices: NDArray, offset: int, has_rows: bool) -> None:
    """ValueError, naming the row counted from `offset`, unless all matrices are symmetric and positive semidefinite."""

    def where(row: int) -> str:
        return f"in row {offset + row}, {np.array2string(matrices[row], precision=6)}" if has_rows else f"{matrices[0]}"

    variances = np.diagonal(matrices, axis1=1, axis2=2)
    if variances.min() < 0.0:
        row = int(np.flatnonzero((variances < 0.0).any(axis=1))[0])
        raise ValueError(f"sample_covariance must hold variances >= 0 on diagonals, got {where(row)}.")
    turned = matrices.transpose(0, 2, 1)
    if not np.array_equal(matrices, turned):
        deviation = np.sqrt(variances)
        most = _ROUNDING * deviation[:, :, None] * deviation[:, None, :]
        asymmetric = (np.abs(matrices - turned) > most).any(axis=(1, 2))
        if asymmetric.any():
            raise ValueError(f"sample_covariance must be symmetric, got {where(int(np.argmax(asymmetric)))}.")
    scale = np.where(variances > 0.0, variances, 1.0)
    raised = matrices.copy()
    places = np.arange(matrices.shape[1])
    raised[:, places, places] += _ROUNDING * scale
    # A variable without variance has no covariances.
    flat = variances == 0.0
    wrong = (matrices[flat] != 0.0).any() if flat.any() else False
    try:
        np.linalg.cholesky(raised)
    except np.linalg.LinAlgError:
        wrong = True
    if wrong:
        deviation = np.sqrt(scale)
        least = np.linalg.eigvalsh(matrices / deviation[:, :, None] / deviation[:, None, :])[:, 0]
        refused = (least < -0.5 * _ROUNDING) | (flat & (matrices != 0.0).any(axis=2)).any(axis=1)
        row = int(np.argmax(refused))
        if refused[row]:
            raise ValueError(
                f"sample_covariance must be positive semidefinite, got {where(row)}, whose correlations have the "
                f"eigenvalue {least[row]:.3g}."
            )
