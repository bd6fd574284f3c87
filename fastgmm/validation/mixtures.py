"""Checks of families, and of the parameters of mixtures and of their priors."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgmm.families import FAMILIES, NAMED, Family
from fastgmm.statistics import Array
from fastgmm.support.showing import shown
from fastgmm.validation.rows import as_array, require_finite

LEAST_POSITIVE = 1e-300
# Squares of sums over rows must stay in the range of float64.
MOST_ROWS = 1e100


def check_family(covariance_type: Any) -> Family:
    """Return the covariance family of a name or a Family; ValueError otherwise."""
    if isinstance(covariance_type, Family):
        return covariance_type
    if isinstance(covariance_type, str) and covariance_type in NAMED:
        return NAMED[covariance_type]
    names = ", ".join(repr(name) for name in FAMILIES)
    raise ValueError(
        f"covariance_type must be one of {names}, or a fastgmm.families.Family; got {shown(covariance_type)}."
    )


def check_capabilities(family: Family, truncate: Any, has_prior: bool) -> None:
    """ValueError where a fit asks for what a family does not declare that it can do."""
    if truncate is not None and not family.skips:
        raise ValueError(
            f"truncate must be None with covariance_type {family.name!r}, got {shown(truncate)}: passes that skip "
            "components know the structures of the package alone."
        )
    if has_prior and not family.is_conjugate:
        names = ", ".join(repr(known.name) for known in FAMILIES.values() if known.is_conjugate)
        raise ValueError(
            f"covariance_type {family.name!r} has no conjugate prior, which variational Bayes needs: use "
            f"GaussianMixture, or one of {names}."
        )


def check_missing(missing: Any, family: Family, truncate: Any) -> None:
    """ValueError where missing entries are to be integrated out of a fit that cannot."""
    if missing is None:
        return
    if not family.skips:
        raise ValueError(
            f"missing must be None with covariance_type {family.name!r}, got {shown(missing)}: missing entries are "
            "integrated out for the structures of the package alone."
        )
    if truncate is not None:
        raise ValueError(
            f"truncate must be None with missing={missing!r}, got {shown(truncate)}: rows with missing entries are "
            "shared out among all components."
        )


def check_frozen(frozen: Any, family: Family, n_components: int, reg_covar: float) -> dict[str, NDArray[np.bool_]]:
    """Return which weights, means and covariances are frozen, (K,) each; ValueError where that cannot be."""
    masks = {part: np.zeros(n_components, bool) for part in ("weights", "means", "covariances")}
    if frozen is None:
        return masks
    if not isinstance(frozen, Mapping) or not set(frozen) <= set(masks):
        raise ValueError(f"frozen must be None or a dict of 'weights', 'means' and 'covariances', got {shown(frozen)}.")
    for part, components in frozen.items():
        numbers = range(n_components) if isinstance(components, str) and components == "all" else components
        if isinstance(numbers, str) or not isinstance(numbers, Collection) or getattr(numbers, "ndim", 1) != 1:
            raise ValueError(f"frozen[{part!r}] must be 'all' or a list of components, got {shown(components)}.")
        for k in numbers:
            if not isinstance(k, int | np.integer) or isinstance(k, bool) or not 0 <= k < n_components:
                raise ValueError(f"frozen[{part!r}] must name components from 0 to {n_components - 1}, got {shown(k)}.")
            masks[part][k] = True
    if family.constraint is not None and not family.is_tied:
        raise ValueError(
            f"frozen must be None with covariance_type {family.name!r}, got {shown(frozen)}: its constraint on "
            "covariances is not known to hold around known parts."
        )
    if family.is_tied and 0 < masks["covariances"].sum() < n_components:
        raise ValueError(
            f"frozen['covariances'] must be 'all' with covariance_type {family.name!r}, whose components share one, "
            f"got {shown(frozen['covariances'])}."
        )
    if any(mask.any() for mask in masks.values()) and reg_covar == 0.0:
        raise ValueError(
            "reg_covar must be greater than 0 where parts are frozen, got 0: nothing else keeps free components from "
            "collapsing."
        )
    return masks


def wants_noise(noise: Any) -> bool:
    """Return whether a parameter `noise`, False, True or a volume, asks for noise."""
    return bool(noise) if isinstance(noise, bool | np.bool_) else True


def check_noise(noise: Any, others: Mapping[str, Any]) -> None:
    """ValueError unless `noise` is False, True or a volume, and with it what `others` name is left out.

    `others` are parameters by name that mixtures with noise cannot have, with what they are.
    """
    is_volume = isinstance(noise, int | float | np.number) and not isinstance(noise, bool)
    if not (isinstance(noise, bool | np.bool_) or (is_volume and 0.0 < float(noise) < np.inf)):
        raise ValueError(f"noise must be True, False, or a volume > 0, got {shown(noise)}.")
    if not wants_noise(noise):
        return
    for name, value in others.items():
        if value is not None and value is not False:
            raise ValueError(f"{name} must be left out with noise={shown(noise)}, got {shown(value)}.")


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


def check_covariance_prior(value: ArrayLike, family: Family, n_features: int, name: str = "covariance_prior") -> Array:
    """Return the prior scale of one component's covariance: (D, D), (D,) for diag, () for spherical; positive."""
    shape = family.block_shape(n_features)
    if shape == () and np.shape(value) == (1,):
        value = np.reshape(value, ())
    return _positive(value, family, shape, name)


def _positive(value: ArrayLike, family: Family, shape: tuple[int, ...], what: str) -> Array:
    array = _shaped(value, shape, f"{family.name} {what}")
    if family.has_matrices:
        symmetric = np.allclose(array, np.swapaxes(array, -1, -2), rtol=1e-5, atol=0)
        if not symmetric or not family.definiteness(array) > 0.0:
            raise ValueError(f"'{family.name} {what}' should be symmetric, positive-definite")
    elif not family.definiteness(array) > 0.0:
        raise ValueError(f"'{family.name} {what}' should be positive")
    return array


def check_mean_prior(value: ArrayLike, n_features: int, name: str = "mean_prior") -> Array:
    """Return the prior mean, (D,)."""
    return _shaped(value, (n_features,), name)


def check_counts(value: ArrayLike, shape: tuple[int, ...], low: float, name: str, times: int = 1) -> Array:
    """Return numbers of rows, `times` counted, above `low`: an array of the shape, or one number for all of it."""
    array = as_array(value, name)
    array = np.full(shape, float(array)) if array.ndim == 0 else _shaped(array, shape, name)
    require_finite(array, name)
    if not (np.all(array > low) and np.all(array >= LEAST_POSITIVE)):
        raise ValueError(f"{name} must be above {low:g}, got {array.min():g}.")
    if array.max() > 2.0 * MOST_ROWS * times:
        raise ValueError(f"{name} must be at most {2.0 * MOST_ROWS * times:g}, got {array.max():g}.")
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
