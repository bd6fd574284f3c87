"""Checks at the door: what the package takes from users. Nothing inside checks again.

Messages name the argument, the rule and the value received; where scikit-learn has a text for the fault, it is that.
"""

from __future__ import annotations

import math
import numbers
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgmm import exceptions
from fastgmm.families import FAMILIES, NAMED, Family
from fastgmm.statistics import Array

# Checked at a time: what is fine and what is not fits in cache.
_FINITE_BLOCK = 2**18
_LEAST_POSITIVE = 1e-300
# Squares of sums over rows must stay in the range of float64.
_MOST_ROWS = 1e100
# How lazy tables of several packages are made to give their rows.
_COLLECTING = "toPandas", "collect", "compute", "execute", "to_arrow_table", "fetchnumpy"
# Weights of batches whose exponents are so far apart do not add up in float64, and their squares leave its range.
_MOST_APART = 500


def as_array(value: ArrayLike, name: str) -> NDArray:
    """Return an array of real numbers: two-dimensional ones in their own type, others as float32 or float64."""
    if hasattr(value, "toarray") and hasattr(value, "nnz"):
        raise TypeError(
            f"Sparse data was passed for {name}, but dense data is required. Use '.toarray()' to convert to a dense "
            "numpy array."
        )
    # In this order, because the first mention of np.ma imports it.
    subclass = isinstance(value, np.ndarray) and type(value) is not np.ndarray
    if subclass and isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise ValueError(f"{name} is a masked array with masked values: fill or drop them first")
    if not (isinstance(value, np.ndarray | list | tuple) or hasattr(value, "__array__")):
        _refuse_lazy(value, name)
    array = np.asarray(value)
    if array.dtype.kind == "c":
        raise ValueError(f"Complex data not supported\n{name} has dtype {array.dtype}")
    if array.dtype in (np.float32, np.float64):
        return array
    if array.dtype.kind in "OUS":
        try:
            return array.astype(np.float64)
        except OverflowError as error:
            raise ValueError(f"{name} holds numbers beyond float64: {error}{_first_text(array)}") from error
        except TypeError as error:
            missing = _is_missing(array).astype(bool)
            if missing.any():
                return as_array(np.where(missing, np.nan, array), name)
            raise TypeError(f"{name}: argument must be a string or a number ({error}){_first_text(array)}") from error
        except ValueError as error:
            raise ValueError(f"{name} must hold numbers: {error}{_first_text(array)}") from error
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


def _first_text(array: NDArray) -> str:
    """Return the first place of what is no float64 in an array of objects, in words after a message."""
    for place, value in np.ndenumerate(array):
        try:
            float(value)
        except (OverflowError, TypeError, ValueError):
            return f" ({_place(place)})" if place else ""
    return ""


def _place(place: Sequence[int], offset: int = 0) -> str:
    return f"row {offset + place[0]}" + (f", column {place[1]}" if len(place) == 2 else "")


def require_finite(array: NDArray, name: str, offset: int = 0) -> None:
    """Raise ValueError, with the first place, where a value is NaN or infinite; rows count from `offset`."""
    if array.dtype.kind != "f" or array.size == 0:
        return
    array = np.atleast_1d(array)
    step = max(1, _FINITE_BLOCK // max(1, array[0].size)) if array.ndim > 1 else _FINITE_BLOCK
    for start in range(0, len(array), step):
        block = array[start : start + step]
        if not np.isfinite(block).all():
            place = np.argwhere(~np.isfinite(block))[0]
            kind = "NaN" if np.isnan(block[tuple(place)]) else "infinity"
            raise ValueError(
                f"Input {name} contains {kind} ({_place(place, offset + start)}). Mixtures need complete rows of "
                "finite numbers: drop or impute the others."
            )


def check_rows(X: ArrayLike, estimator: str, *, minimum: int = 1) -> NDArray:
    """Return X as an (N, D) array of finite real numbers with at least `minimum` rows; raises ValueError, TypeError."""
    array = as_array(X, "X")
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
    require_finite(array, "X")
    return array


def check_n_rows(shape: tuple[int, ...], minimum: int, estimator: str) -> None:
    """ValueError unless there are at least `minimum` rows."""
    if shape[0] < minimum:
        raise ValueError(
            f"Found array with {shape[0]} sample(s) (shape={shape}) while a minimum of {minimum} is required by "
            f"{estimator}."
        )


def check_sample_weight(sample_weight: ArrayLike | None, n_samples: int) -> Array | None:
    """Return row weights as (N,) float64, or None; ValueError unless finite, >= 0, and not all 0."""
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
    require_positive(weight.max())
    return weight.astype(np.float64, copy=False)


def split_weight(X: Any, column: str) -> tuple[Any, Any]:
    """Return a data frame without a column, and that column, whose name was given for weights; ValueError if none."""
    if not hasattr(X, "columns"):
        raise ValueError(
            f"sample_weight={column!r} is none of the columns of X: they have no names in a {type(X).__name__}."
        )
    names = list(X.columns)
    if names.count(column) != 1:
        what = "is none of" if column not in names else f"names {names.count(column)} of"
        raise ValueError(f"sample_weight={column!r} {what} the columns of X: {names}.")
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


def require_same_names(fitted: NDArray, given: NDArray) -> None:
    """ValueError where the columns of X do not have the names that the model was fitted to, in that order."""
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
        raise ValueError(message)


def check_n_features(n_features: int, expected: int, estimator: str) -> None:
    """ValueError unless X has the number of columns that the model was fitted with."""
    if n_features != expected:
        raise ValueError(f"X has {n_features} features, but {estimator} is expecting {expected} features as input.")


def check_random_state(random_state: Any) -> Any:
    """Return a NumPy random number generator from None, an integer, a RandomState or a Generator."""
    _require_random_state(random_state)
    if random_state is None or random_state is np.random:
        return np.random.mtrand._rand  # the generator behind np.random.seed, as in scikit-learn
    return np.random.RandomState(int(random_state)) if isinstance(random_state, numbers.Integral) else random_state


def _require_random_state(random_state: Any) -> None:
    seed = isinstance(random_state, numbers.Integral) and 0 <= int(random_state) < 2**32
    generator = isinstance(random_state, np.random.RandomState | np.random.Generator)
    if not (seed or generator or random_state is None or random_state is np.random):
        raise ValueError(
            "random_state must be None, an integer in [0, 2**32), a numpy.random.RandomState or a Generator, got "
            f"{random_state!r}."
        )


def _is_real(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_)


def _is_in_float64(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an int beyond it
        return False


def _number(name: str, value: Any, kind: type, low: float) -> None:
    noun = "an int" if kind is numbers.Integral else "a float"
    fine = isinstance(value, kind) and _is_real(value) and value >= low  # type: ignore[operator]
    if not fine or (kind is numbers.Real and not _is_in_float64(value)):
        raise ValueError(f"{name} must be {noun} in the range [{low:g}, inf), got {value!r}.")


def check_parameters(params: Mapping[str, Any], methods: tuple[str, ...]) -> None:
    """ValueError, with the parameter, the rule and the value, where a constructor parameter is out of its range."""
    for name, kind, low in (
        ("n_components", numbers.Integral, 1),
        ("tol", numbers.Real, 0),
        ("reg_covar", numbers.Real, 0),
        ("max_iter", numbers.Integral, 0),
        ("n_init", numbers.Integral, 1),
        ("verbose", numbers.Integral, 0),
        ("verbose_interval", numbers.Integral, 1),
        ("checkpoint_interval", numbers.Real, 0),
        ("learning_offset", numbers.Real, 0),
    ):
        value = params[name]
        _number(name, int(value) if name == "verbose" and isinstance(value, bool) else value, kind, low)
    decay = params["learning_decay"]
    if not (_is_real(decay) and 0.5 < decay <= 1.0):
        raise ValueError(f"learning_decay must be a float in the range (0.5, 1], got {decay!r}.")
    for name in ("n_threads", "truncate"):
        if params[name] is not None:
            _number(name, params[name], numbers.Integral, 1)
    for name in ("warm_start", "race"):
        if not isinstance(params[name], bool | np.bool_):
            raise ValueError(f"{name} must be True or False, got {params[name]!r}.")
    init = params["init_params"]
    if (isinstance(init, str) and init not in methods) or (np.ndim(init) == 0 and not isinstance(init, str | Callable)):
        raise ValueError(
            f"init_params must be one of {', '.join(map(repr, methods))}, an array of labels (n_samples,) or "
            f"responsibilities (n_samples, n_components), or a callable; got {init!r}."
        )
    _require_random_state(params["random_state"])
    check_family(params["covariance_type"])


def check_checkpoint(checkpoint: Any, init_params: Any) -> None:
    """ValueError unless `checkpoint` is a path or None, and the start one that can be told from others."""
    if not (checkpoint is None or isinstance(checkpoint, str | os.PathLike)):
        raise ValueError(f"checkpoint must be a path or None, got {checkpoint!r}.")
    if checkpoint is not None and callable(init_params):
        raise ValueError(
            "checkpoint does not go with a callable init_params, of which a later fit cannot know that it is the same: "
            "call it first, and give the array that it returns."
        )


def check_family(covariance_type: Any) -> Family:
    """Return the covariance family of a name or a Family; ValueError otherwise."""
    if isinstance(covariance_type, Family):
        return covariance_type
    if isinstance(covariance_type, str) and covariance_type in NAMED:
        return NAMED[covariance_type]
    names = ", ".join(repr(name) for name in FAMILIES)
    raise ValueError(f"covariance_type must be one of {names}, or a fastgmm.families.Family; got {covariance_type!r}.")


def check_capabilities(family: Family, truncate: Any, has_prior: bool) -> None:
    """ValueError where a fit asks for what a family does not declare that it can do."""
    if truncate is not None and not family.skips:
        raise ValueError(
            f"truncate must be None with covariance_type {family.name!r}, got {truncate!r}: passes that skip "
            "components know the structures of the package alone."
        )
    if has_prior and not family.is_conjugate:
        names = ", ".join(repr(known.name) for known in FAMILIES.values() if known.is_conjugate)
        raise ValueError(
            f"covariance_type {family.name!r} has no conjugate prior, which variational Bayes needs: use "
            f"GaussianMixture, or one of {names}."
        )


def _shaped(value: ArrayLike, shape: tuple[int, ...], name: str) -> Array:
    array = as_array(value, name)
    if array.shape != shape:
        raise ValueError(f"The parameter '{name}' should have the shape of {shape}, but got {array.shape}")
    require_finite(array, name)
    return np.asarray(array, np.float64, order="C")


def check_weights(weights: ArrayLike, n_components: int, leading: tuple[int, ...] = ()) -> Array:
    """Return mixing weights (K,) in [0, 1] that sum to 1 (to 1e-8; float32: 1e-6); `leading` axes go before."""
    single = getattr(weights, "dtype", None) == np.float32
    array = _shaped(weights, (*leading, n_components), "weights")
    if array.min() < 0 or array.max() > 1:
        raise ValueError(
            f"The parameter 'weights' should be in the range [0, 1], but got max value {array.max():.5f}, min value "
            f"{array.min():.5f}"
        )
    total = array.sum(axis=-1, keepdims=True)
    worst = total.flat[np.abs(total - 1.0).argmax()]
    if abs(1.0 - worst) > (1e-6 if single else 1e-8):
        raise ValueError(f"The parameter 'weights' should be normalized, but got sum(weights) = {worst:.5f}")
    return array / total


def check_mixing_weights(weights: Any, n_components: int) -> Array:
    """Return the attribute `weights_` (K,), whoever set it, as float64: numbers >= 0 of any sum."""
    array = np.asarray(weights, np.float64)
    if array.shape != (n_components,) or not array.min() >= 0.0:
        raise ValueError(f"weights_ should be {n_components} numbers >= 0, one for each row of means_, but is {array}")
    return array


def check_means(means: ArrayLike, n_components: int, n_features: int, leading: tuple[int, ...] = ()) -> Array:
    """Return component means, (K, D); `leading` axes go before."""
    return _shaped(means, (*leading, n_components, n_features), "means")


def check_covariances(
    value: ArrayLike, family: Family, n_components: int, n_features: int, what: str, leading: tuple[int, ...] = ()
) -> Array:
    """Return covariances or precisions (`what` names them), positive (definite), one for each component.

    They come in the shape of the family's attributes, and leave in that of its structure; `leading` axes go before.
    """
    checked = _positive(value, family, (*leading, *family.attribute_shape(n_components, n_features)), what)
    return np.ascontiguousarray(family.of_attribute(checked, n_components, len(leading)))


def check_covariance_prior(value: ArrayLike, family: Family, n_features: int) -> Array:
    """Return the prior scale of one component's covariance: (D, D), (D,) for diag, () for spherical; positive."""
    shape = family.block_shape(n_features)
    if shape == () and np.shape(value) == (1,):
        value = np.reshape(value, ())
    return _positive(value, family, shape, "covariance_prior")


def _positive(value: ArrayLike, family: Family, shape: tuple[int, ...], what: str) -> Array:
    array = _shaped(value, shape, f"{family.name} {what}")
    if family.has_matrices:
        symmetric = np.allclose(array, np.swapaxes(array, -1, -2), rtol=1e-5, atol=0)
        if not symmetric or not family.definiteness(array) > 0.0:
            raise ValueError(f"'{family.name} {what}' should be symmetric, positive-definite")
    elif not family.definiteness(array) > 0.0:
        raise ValueError(f"'{family.name} {what}' should be positive")
    return array


def check_mean_prior(value: ArrayLike, n_features: int) -> Array:
    """Return the prior mean, (D,)."""
    return _shaped(value, (n_features,), "mean_prior")


def check_counts(value: ArrayLike, shape: tuple[int, ...], low: float, name: str, times: int = 1) -> Array:
    """Return numbers of rows, `times` counted, above `low`: an array of the shape, or one number for all of it."""
    array = as_array(value, name)
    array = np.full(shape, float(array)) if array.ndim == 0 else _shaped(array, shape, name)
    require_finite(array, name)
    if not (np.all(array > low) and np.all(array >= _LEAST_POSITIVE)):
        raise ValueError(f"{name} must be above {low:g}, got {array.min():g}.")
    if array.max() > 2.0 * _MOST_ROWS * times:
        raise ValueError(f"{name} must be at most {2.0 * _MOST_ROWS * times:g}, got {array.max():g}.")
    return array


def check_degrees_of_freedom_prior(value: float | None, dimension: int) -> float:
    """Return the prior's degrees of freedom: above a Wishart block's dimension minus 1, by default the dimension."""
    if value is None:
        return float(dimension)
    if not value > dimension - 1:
        raise ValueError(
            f"The parameter 'degrees_of_freedom_prior' should be greater than {dimension - 1}, but got {value:.3f}."
        )
    return float(value)


def check_choice(value: Any, name: str, choices: tuple[Any, ...]) -> None:
    """ValueError unless the value is one of the choices."""
    if not any(value is choice or (isinstance(value, str) and value == choice) for choice in choices):
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}.")


def check_prior_counts(params: Mapping[str, Any]) -> None:
    """ValueError where a parameter of the prior is neither None nor in its range.

    Below, digamma would overflow; above, the rows would be lost in the rounding of the prior.
    """
    for name, high in (
        ("weight_concentration_prior", 1e10),
        ("mean_precision_prior", 1e20),
        ("degrees_of_freedom_prior", 1e10),
    ):
        value = params[name]
        if value is not None and not (_is_real(value) and _LEAST_POSITIVE <= value <= high):
            raise ValueError(f"{name} must be a float in the range [{_LEAST_POSITIVE:g}, {high:g}], got {value!r}.")


def check_weight_scale(exponent: int | None, before: int) -> None:
    """ValueError where weights (`exponent` of the largest, None for no weights) do not compare with those `before`."""
    if (exponent is None and before) or (exponent is not None and abs(exponent - before) > _MOST_APART):
        received = "none" if exponent is None else f"values up to 2**{exponent}"
        raise ValueError(
            f"sample_weight must compare with that of the batches before, of about 2**{before}; got {received}."
        )


def check_n_samples(value: Any) -> int:
    """Return the number of rows to draw, which may be a float such as 1e4; ValueError unless it is whole and >= 1."""
    if not (_is_real(value) and float(value).is_integer()):
        raise ValueError(f"Invalid value for 'n_samples': {value} . It must be an integer of at least 1.")
    if value < 1:
        raise ValueError(f"Invalid value for 'n_samples': {value} . The sampling requires at least one sample.")
    return int(value)


def check_total_samples(value: Any) -> None:
    """ValueError unless the number of rows that batches are a sample of is None, or positive."""
    if value is not None and not (_is_real(value) and 0.0 < value <= _MOST_ROWS):
        raise ValueError(f"total_samples must be None or a float in the range (0, {_MOST_ROWS:g}], got {value!r}.")


def check_row_counts(total: float) -> None:
    """ValueError where weights that stand for numbers of rows have a sum beyond all counting."""
    if total > _MOST_ROWS:
        raise ValueError(
            f"sample_weight must sum to at most {_MOST_ROWS:g}, got {total:g}: against the prior, a row of weight w "
            "counts as w rows."
        )


def check_assignment(
    init: Any, n_samples: int, n_components: int, random_state: Any, X: NDArray | None
) -> tuple[NDArray[np.int64] | None, Array | None]:
    """Return (labels, responsibilities), one of them None, from ``init_params`` as an array or a callable.

    X is None where it is no array in memory, which a callable needs.
    """
    if isinstance(init, Callable):  # type: ignore[arg-type]
        if X is None:
            raise ValueError("init_params as a callable needs X as an array in memory; name a method instead.")
        init = init(X, n_components, random_state)
    array = np.asarray(init)
    if array.ndim == 1:
        if array.shape != (n_samples,):
            raise ValueError(f"init_params as labels should have the shape of ({n_samples},), but got {array.shape}")
        if array.dtype.kind not in "iu" or array.min() < 0 or array.max() >= n_components:
            raise ValueError(
                f"init_params as labels must be integers in 0..{n_components - 1}, got dtype {array.dtype} with values "
                f"from {array.min()} to {array.max()}"
            )
        return array.astype(np.int64), None
    table = _shaped(array, (n_samples, n_components), "init_params")
    if table.min() < 0 or not np.allclose(table.sum(axis=1), 1.0, atol=1e-6):
        raise ValueError("init_params as responsibilities must be >= 0 and sum to 1 in every row")
    return None, table


def not_fitted(estimator: str) -> Exception:
    """Return the error for a method that needs ``fit`` first."""
    return exceptions.NotFittedError(
        f"This {estimator} instance is not fitted yet. Call 'fit' with appropriate arguments before using this "
        "estimator."
    )
