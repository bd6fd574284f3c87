"""To scikit-learn's estimators and back: the same parameters, bit for bit."""

from __future__ import annotations

import copy
import math
import numbers
from typing import Any

import numpy as np

from fastgmm.families import NAMED, STRUCTURES

_STARTS = ("kmeans", "k-means++", "random", "random_from_data")


def _kind(cls: type) -> str:
    """Return the name of our class that a class is, or derives from."""
    return next(base.__name__ for base in cls.__mro__ if base.__module__.startswith("fastgmm."))


def _require_same_law(kind: str, covariance_type: str, n_features: int) -> None:
    if kind == "BayesianGaussianMixture" and covariance_type in ("diag", "spherical") and n_features > 1:
        raise ValueError(
            f"scikit-learn's BayesianGaussianMixture of covariance_type={covariance_type!r} has another law of "
            "precisions, so that the same parameters give other predictions (docs/variational.md). Convert the plug-in "
            "mixture: GaussianMixture.from_parameters(weights_, means_, covariances_, covariance_type)."
        )


def _fitted(model: Any) -> dict[str, Any]:
    """Return copies of the public fitted attributes."""
    return {
        name: copy.deepcopy(value)
        for name, value in vars(model).items()
        if name.endswith("_") and not name.startswith("_")
    }


def to_sklearn(model: Any) -> Any:
    """Return scikit-learn's estimator for ours; see ``Mixture.to_sklearn``."""
    import sklearn.mixture

    kind = _kind(type(model))
    model._require_no_noise("to_sklearn")
    theirs = getattr(sklearn.mixture, kind)()
    params = {name: value for name, value in model._mixture_params().items() if name in theirs.get_params()}
    fitted = hasattr(model, "means_")
    family = model._family() if fitted else None
    name = params["covariance_type"] if family is None else family.name
    if not isinstance(name, str):
        name = name.name
    if family is None and name in NAMED:
        name = NAMED[name].name
    if name not in STRUCTURES or (family is not None and STRUCTURES[name] != family):
        raise ValueError(
            f"scikit-learn has no covariance_type {name!r}. GaussianMixture.from_parameters(weights_, means_, "
            "covariances, 'full' or 'diag') with a covariance for each component has the same densities."
        )
    params["covariance_type"] = name
    if not (isinstance(params["init_params"], str) and params["init_params"] in _STARTS):
        params["init_params"] = "kmeans"
    state = params["random_state"]
    if not (state is None or isinstance(state, numbers.Integral | np.random.RandomState)):
        params["random_state"] = None
    if isinstance(params.get("covariance_prior"), str):
        # The prior that the fit made of it, where there is one.
        params["covariance_prior"] = getattr(model, "covariance_prior_", None)
        params["mean_precision_prior"] = getattr(model, "mean_precision_prior_", model.mean_precision_prior)
    theirs.set_params(**params)
    if family is None:
        return theirs
    _require_same_law(kind, name, np.shape(model.means_)[1])
    known = _fitted(model)
    for attribute in ("n_passes_", "prior_", "restarts_", "spurious_", "stop_reason_"):
        known.pop(attribute, None)
    for attribute in ("weights_", "means_"):
        if attribute in known:
            known[attribute] = np.asarray(known[attribute])
    factor = family.precisions_cholesky(model._whitener(family))
    given = known.get("precisions_cholesky_")
    if given is None or np.shape(given) != factor.shape or not np.array_equal(given, factor):
        known["precisions_cholesky_"] = factor
    known.setdefault("precisions_", family.precisions(np.asarray(known["precisions_cholesky_"])))
    known.setdefault("covariances_", family.covariances_of_whitener(model._whitener(family)))
    known.setdefault("n_features_in_", np.shape(model.means_)[1])
    known.setdefault("converged_", False)
    known.setdefault("n_iter_", 0)
    known.setdefault("lower_bound_", -math.inf)
    theirs.__dict__.update(known)
    return theirs


def from_sklearn(cls: type, model: Any) -> Any:
    """Return our estimator for scikit-learn's; see ``Mixture.from_sklearn``."""
    kind = _kind(cls)
    if not any(base.__name__ == kind and base.__module__.startswith("sklearn.") for base in type(model).__mro__):
        raise TypeError(f"from_sklearn of {kind} takes scikit-learn's {kind}, got {type(model).__name__}")
    ours = cls()
    # A subclass may have parameters of its own.
    ours.__dict__.update({name: getattr(model, name) for name in ours._mixture_defaults if hasattr(model, name)})
    if not hasattr(model, "means_"):
        return ours
    family = STRUCTURES[model.covariance_type]
    n_features = np.shape(model.means_)[1]
    _require_same_law(kind, family.name, n_features)
    fitted = _fitted(model)
    converged, n_iter = bool(fitted.get("converged_", False)), int(fitted.get("n_iter_", 0))
    if kind == "BayesianGaussianMixture":
        fitted |= {"lower_bound_": math.nan, "lower_bounds_": []}
    fitted.setdefault("lower_bound_", math.nan)
    fitted.setdefault("lower_bounds_", [fitted["lower_bound_"]])
    ours.__dict__.update(
        fitted
        | {
            "converged_": converged,
            "n_iter_": n_iter,
            "stop_reason_": "converged" if converged else "max_iter",
            "n_passes_": n_iter + 1,
            "restarts_": [],
            "spurious_": [],
            "n_features_in_": n_features,
            "_fitted_family": family,
        }
    )
    return ours
