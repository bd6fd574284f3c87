"""Checks of what constructors and methods take."""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgmm import exceptions
from fastgmm.statistics import Array
from fastgmm.support.showing import shown
from fastgmm.validation.mixtures import LEAST_POSITIVE, MOST_ROWS, _shaped, check_family

# Weights of batches whose exponents are so far apart do not add up in float64, and their squares leave its range.
_MOST_APART = 500


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
            f"{shown(random_state)}."
        )


def is_real(value: Any) -> bool:
    """Return whether a value is a real number, and no truth value."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_)


def _is_in_float64(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an int beyond it
        return False


def _number(name: str, value: Any, kind: type, low: float) -> None:
    noun = "an int" if kind is numbers.Integral else "a float"
    fine = isinstance(value, kind) and is_real(value) and value >= low  # type: ignore[operator]
    if not fine or (kind is numbers.Real and not _is_in_float64(value)):
        raise ValueError(f"{name} must be {noun} in the range [{low:g}, inf), got {shown(value)}.")


def check_count(value: Any, name: str, low: int) -> int:
    """Return an int that is at least `low`; ValueError for anything else."""
    _number(name, value, numbers.Integral, low)
    return int(value)


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
    if not (is_real(decay) and 0.5 < decay <= 1.0):
        raise ValueError(f"learning_decay must be a float in the range (0.5, 1], got {shown(decay)}.")
    for name in ("n_threads", "truncate"):
        if params[name] is not None:
            _number(name, params[name], numbers.Integral, 1)
    for name in ("warm_start", "race"):
        if not isinstance(params[name], bool | np.bool_):
            raise ValueError(f"{name} must be True or False, got {shown(params[name])}.")
    init = params["init_params"]
    if (isinstance(init, str) and init not in methods) or (np.ndim(init) == 0 and not isinstance(init, str | Callable)):
        raise ValueError(
            f"init_params must be one of {', '.join(map(repr, methods))}, an array of labels (n_samples,) or "
            f"responsibilities (n_samples, n_components), or a callable; got {shown(init)}."
        )
    _require_random_state(params["random_state"])
    check_family(params["covariance_type"])


def check_checkpoint(checkpoint: Any, init_params: Any) -> None:
    """ValueError unless `checkpoint` is a path or None, and the start one that can be told from others."""
    if not (checkpoint is None or isinstance(checkpoint, str | os.PathLike)):
        raise ValueError(f"checkpoint must be a path or None, got {shown(checkpoint)}.")
    if checkpoint is not None and callable(init_params):
        raise ValueError(
            "checkpoint does not go with a callable init_params, of which a later fit cannot know that it is the same: "
            "call it first, and give the array that it returns."
        )


def check_choice(value: Any, name: str, choices: tuple[Any, ...]) -> None:
    """ValueError unless the value is one of the choices."""
    if not any(value is choice or (isinstance(value, str) and value == choice) for choice in choices):
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {shown(value)}.")


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
        if value is not None and not (is_real(value) and LEAST_POSITIVE <= value <= high):
            raise ValueError(f"{name} must be a float in the range [{LEAST_POSITIVE:g}, {high:g}], got {shown(value)}.")


def check_weight_scale(exponent: int | None, before: int) -> None:
    """ValueError where weights (`exponent` of the largest, None for no weights) do not compare with those `before`."""
    if (exponent is None and before) or (exponent is not None and abs(exponent - before) > _MOST_APART):
        received = "none" if exponent is None else f"values up to 2**{exponent}"
        raise ValueError(
            f"sample_weight must compare with that of the batches before, of about 2**{before}; got {received}."
        )


def check_n_samples(value: Any) -> int:
    """Return the number of rows to draw, which may be a float such as 1e4; ValueError unless it is whole and >= 1."""
    if not (is_real(value) and float(value).is_integer()):
        raise ValueError(f"Invalid value for 'n_samples': {value} . It must be an integer of at least 1.")
    if value < 1:
        raise ValueError(f"Invalid value for 'n_samples': {value} . The sampling requires at least one sample.")
    return int(value)


def check_probability(value: Any, name: str) -> NDArray[np.float64]:
    """Return a probability, or an array of some, as float64; ValueError unless all are in (0, 1)."""
    array = np.asarray(value, np.float64)
    if not np.all((array > 0.0) & (array < 1.0)):
        raise ValueError(f"{name} must be in the range (0, 1), got {shown(value)}.")
    return array


def check_total_samples(value: Any) -> None:
    """ValueError unless the number of rows that batches are a sample of is None, or positive."""
    if value is not None and not (is_real(value) and 0.0 < value <= MOST_ROWS):
        raise ValueError(f"total_samples must be None or a float in the range (0, {MOST_ROWS:g}], got {shown(value)}.")


def check_row_counts(total: float) -> None:
    """ValueError where weights that stand for numbers of rows have a sum beyond all counting."""
    if total > MOST_ROWS:
        raise ValueError(
            f"sample_weight must sum to at most {MOST_ROWS:g}, got {total:g}: against the prior, a row of weight w "
            "counts as w rows."
        )


def check_assignment(
    init: Any, n_samples: int, n_components: int, random_state: Any, X: NDArray | None, has_noise: bool = False
) -> tuple[NDArray[np.int64] | None, Array | None]:
    """Return (labels, responsibilities), one of them None, from ``init_params`` as an array or a callable.

    X is None where it is no array in memory, which a callable needs. With noise some labels are -1, and some
    responsibilities sum to less than 1.
    """
    if isinstance(init, Callable):  # type: ignore[arg-type]
        if X is None:
            raise ValueError("init_params as a callable needs X as an array in memory; name a method instead.")
        init = init(X, n_components, random_state)
    array = np.asarray(init)
    if array.ndim == 1:
        if array.shape != (n_samples,):
            raise ValueError(f"init_params as labels should have the shape of ({n_samples},), but got {array.shape}")
        lowest = -1 if has_noise else 0
        if array.dtype.kind not in "iu" or array.min() < lowest or array.max() >= n_components:
            raise ValueError(
                f"init_params as labels must be integers in {lowest}..{n_components - 1}, got dtype {array.dtype} with "
                f"values from {array.min()} to {array.max()}"
            )
        if has_noise and array.min() == 0:
            raise ValueError(
                "init_params as labels must give some rows the label -1 with noise: from a weight of 0 it gains none."
            )
        return array.astype(np.int64), None
    table = _shaped(array, (n_samples, n_components), "init_params")
    total = table.sum(axis=1)
    if table.min() < 0 or not np.allclose(np.maximum(total, 1.0) if has_noise else total, 1.0, atol=1e-6):
        most = "at most " * has_noise
        raise ValueError(f"init_params as responsibilities must be >= 0 and sum to {most}1 in every row")
    if has_noise and not total.min() < 1.0 - 1e-6:
        raise ValueError(
            "init_params as responsibilities must sum to less than 1 in some rows with noise, which has the rest: from "
            "a weight of 0 it gains none."
        )
    return None, table


def not_fitted(estimator: str) -> Exception:
    """Return the error for a method that needs ``fit`` first."""
    return exceptions.NotFittedError(
        f"This {estimator} instance is not fitted yet. Call 'fit' with appropriate arguments before using this "
        "estimator."
    )
