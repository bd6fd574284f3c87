"""Model files: the parameters of a fitted estimator as JSON or as .npz, never as a pickle.

Both kinds hold the same document: named arrays and a few plain values.  A pickle would run whatever code it holds, and
would tie the file to the layout of a class.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgmm._version import __version__
from fastgmm.support.documents import (
    METADATA,
    PLAIN,
    ModelFileError,
    array_field,
    check_format,
    count_field,
    plain,
    plain_field,
    read_raw,
)
from fastgmm.support.files import replacing

__all__ = [
    "ModelDocument",
    "ModelFileError",
    "check_model_path",
    "load_model",
    "read_document",
    "restore",
    "save_model",
]

FORMAT = "fastgmm-model"
VERSION = 1


class Stored(NamedTuple):
    """The arrays to store of an estimator class: `name` is its attribute `name_` and the argument of `from_parameters`.

    ``rounded`` have the type of X, the others are float64.  ``prior`` is there as a whole or, where the model does not
    know it, not at all.
    """

    rounded: tuple[str, ...]
    exact: tuple[str, ...] = ()
    prior: tuple[str, ...] = ()


STORED_ARRAYS: dict[str, Stored] = {
    "GaussianMixture": Stored(("weights", "means", "covariances")),
    "BayesianGaussianMixture": Stored(
        ("means", "covariances"),
        ("weight_concentration", "mean_precision", "degrees_of_freedom"),
        (
            "weight_concentration_prior", "mean_precision_prior", "mean_prior", "degrees_of_freedom_prior",
            "covariance_prior",
        ),
    ),
}  # fmt: skip

# The Cholesky factor follows from covariances in double precision.  In single precision it must be stored, for rounding
# may have left covariances that are not positive definite.
FACTOR = "precisions_cholesky"

# Given by the arrays, or of no meaning on another machine or for the next fit.
PARAMETERS_NOT_STORED = {
    "n_components", "covariance_type", "weights_init", "means_init", "precisions_init", "weight_concentration_init",
    "mean_precision_init", "degrees_of_freedom_init", "covariances_init", "n_threads", "verbose", "verbose_interval",
    "checkpoint", "checkpoint_interval",
}  # fmt: skip


# The attributes of noise, less what comes before and after.
_NOISE = "weight", "log_volume", "box"
_PRIOR_NUMBERS = "mean_precision", "degrees_of_freedom", "weight_concentration"


class ModelDocument(NamedTuple):
    """The content of a model file.

    ``arrays`` are float64, or float32 as far as X was; ``fit`` describes the fit: ``converged``, ``stop_reason``,
    ``n_iter``, ``n_passes``, ``lower_bound``, ``n_samples``, ``log_likelihood`` (total), each None where unknown, the
    ``noise``, the ``spurious`` components and the ``class_of_components``, of older files none, and the estimator's
    ``params``.
    """

    version: int
    fastgmm_version: str
    estimator: str
    covariance_type: str
    arrays: dict[str, NDArray[np.floating]]
    feature_names: tuple[str, ...] | None
    fit: dict[str, Any]


def check_model_path(path: str | os.PathLike[str]) -> str:
    """Return the kind of model file, ``.json`` or ``.npz``, that `path` asks for; raise ModelFileError for others."""
    suffix = Path(path).suffix.lower()
    if suffix not in (".json", ".npz"):
        raise ModelFileError(f"cannot write a model to {os.fspath(path)}: the name must end in .json or .npz")
    return suffix


def save_model(
    model: Any,
    path: str | os.PathLike[str],
    *,
    feature_names: Sequence[str] | None = None,
    n_samples: int | None = None,
    log_likelihood: float | None = None,
) -> None:
    """Write a fitted estimator to a ``.json`` or ``.npz`` file from which `load_model` restores its parameters exactly.

    `feature_names` (default: the estimator's), `n_samples` and `log_likelihood` (total; of a BayesianGaussianMixture
    that of its Student-t predictive) of the data it was fitted on are noted in the file.  An existing file is replaced
    in one step.  Raises ModelFileError for another extension or an estimator that is unknown or not fitted, OSError if
    the file cannot be written.
    """
    from fastgmm.families import FAMILIES

    suffix = check_model_path(path)
    estimator = type(model).__name__
    if estimator not in STORED_ARRAYS:
        held = [name for name in ("best_estimator_", "mixture_", "mixtures_") if hasattr(model, name)]
        remedy = f": store its {held[0]} alone, or pickle all of it" if held else ""
        raise ModelFileError(f"cannot store a {estimator} in a model file{remedy}")
    if not hasattr(model, "weights_"):
        raise ModelFileError(f"this {estimator} is not fitted: there is nothing to store yet")
    family = model._family().name
    if FAMILIES.get(family) != model._family():
        raise ModelFileError(
            f"cannot store the covariance type {family!r} in a model file, for it is no family of fastgmm's: pickle "
            "the estimator"
        )
    dtype = str(model.means_.dtype)
    stored = _stored_arrays(
        estimator, dtype, all(hasattr(model, f"{name}_") for name in STORED_ARRAYS[estimator].prior)
    )
    arrays = {name: np.asarray(getattr(model, f"{name}_")) for name in stored}
    for name, array in arrays.items():
        # Attributes may have been set by hand; of objects a pickle would be written, which is never read.
        if array.dtype.kind not in "fiu":
            raise ModelFileError(f"cannot store {name}_ in a model file: it is not an array of numbers")
    names = _noted_names(model, feature_names, np.shape(arrays["means"])[1])
    left_out = PARAMETERS_NOT_STORED | stored.keys()
    params = {name: plain(value) for name, value in model._mixture_params().items() if name not in left_out}
    if hasattr(model, "noise_log_volume_"):
        # Of the fit, whatever the parameter has been set to since.
        volume = math.exp(min(model.noise_log_volume_, 700.0))
        params["noise"] = True if getattr(model, "_n_noise_parameters", 2) > 1 else volume
    elif "noise" in params:
        params["noise"] = False
    if hasattr(model, "prior_"):
        # All of it is in the file.
        del params["prior"]
    if "weight_concentration" in arrays:
        sticks = arrays["weight_concentration"].ndim == 2
        params["weight_concentration_prior_type"] = "dirichlet_process" if sticks else "dirichlet_distribution"
        # What the fit did, for one that goes on.
        params["sort_sticks"] = bool(getattr(model, "_sorted_sticks", model.sort_sticks))
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "fastgmm_version": __version__,
        "estimator": estimator,
        "covariance_type": family,
        "dtype": dtype,
        "feature_names": names,
        "fit": {
            "converged": bool(model.converged_),
            "stop_reason": str(model.stop_reason_),
            "n_iter": int(model.n_iter_),
            "n_passes": int(model.n_passes_),
            "lower_bound": _finite_or_none(model.lower_bound_),
            "n_samples": None if n_samples is None else int(n_samples),
            "log_likelihood": _finite_or_none(log_likelihood),
            "n_known_parameters": int(getattr(model, "_n_known_parameters", 0)),
            "noise": _noise_of(model),
            "prior": _prior_of(model),
            "class_of_components": [int(each) for each in getattr(model, "class_of_components_", [])] or None,
            "spurious": [{"component": int(each.component), "reason": each.reason} for each in model.spurious_],
            # What JSON cannot hold, such as a random generator, is left at its default.
            "params": {name: value for name, value in params.items() if isinstance(value, PLAIN)},
        },
    }
    with replacing(path) as stream:
        if suffix == ".npz":
            content: dict[str, Any] = {**arrays, METADATA: np.array(json.dumps(metadata, allow_nan=False))}
            np.savez(stream, **content)
        else:
            document = metadata | {name: value.tolist() for name, value in arrays.items()}
            lines = [f" {json.dumps(name)}: {json.dumps(value, allow_nan=False)}" for name, value in document.items()]
            stream.write(("{\n" + ",\n".join(lines) + "\n}\n").encode())


def _noise_of(model: Any) -> dict[str, Any] | None:
    """Return the noise of a mixture as a file holds it; None where it has none."""
    if not hasattr(model, "noise_log_volume_"):
        return None
    noise: dict[str, Any] = {name: np.asarray(getattr(model, f"noise_{name}_"), np.float64).tolist() for name in _NOISE}
    if hasattr(model, "noise_concentration_"):
        noise["concentration"] = np.asarray(model.noise_concentration_, np.float64).tolist()
    return noise | {"n_parameters": int(getattr(model, "_n_noise_parameters", 2))}


def _prior_of(model: Any) -> dict[str, Any] | None:
    """Return the prior of a maximum-likelihood mixture as a file holds it; None where it has none."""
    if not hasattr(model, "prior_"):
        return None
    return {name: np.asarray(value, np.float64).tolist() for name, value in vars(model.prior_).items()}


def _noted_names(model: Any, feature_names: Sequence[str] | None, n_features: int) -> list[str] | None:
    """Return the names of the features to note in a file, the model's own by default; None where it has none."""
    names = getattr(model, "feature_names_in_", None) if feature_names is None else feature_names
    if isinstance(names, str):
        raise ModelFileError(f"feature_names must be {n_features} names, one for each feature, got the text {names!r}")
    names = None if names is None else list(names)
    if names is not None and len(names) != n_features:
        raise ModelFileError(f"feature_names must be {n_features} names, one for each feature, got {len(names)}")
    return None if names is None else [str(name) for name in names]


def load_model(path: str | os.PathLike[str]) -> Any:
    """Restore the fitted estimator that `save_model` wrote.

    A prior is a parameter of the restored one, which another fit would use again.

    Raises ModelFileError for a file that is not a model file, that a newer fastgmm wrote, or whose content is not a
    mixture; OSError for a file that cannot be read.
    """
    return restore(read_document(path), path)


def restore(document: ModelDocument, path: str | os.PathLike[str]) -> Any:
    """Build the fitted estimator that `document`, read from `path`, describes; raise ModelFileError if it has none."""
    import fastgmm  # lazily, for the estimators bring compiled code, which many a failure comes before
    from fastgmm.spurious import SpuriousComponent
    from fastgmm.validation import check_choice, check_family

    given: dict[str, Any] = dict(document.arrays)
    factor = given.pop(FACTOR, None)
    if document.fit["noise"] is not None and "weights" in given and given["weights"].sum() > 0.0:
        # Those of components alone; noise is set below.
        given["weights"] = given["weights"] / given["weights"].sum()
    for name in STORED_ARRAYS[document.estimator].prior:
        # Parameters of the constructor, of which some must be plain numbers.
        if name in given and given[name].ndim == 0:
            given[name] = given[name].item()
    try:
        family = check_family(document.covariance_type)
        if factor is not None:
            shape = family.attribute_shape(*given["means"].shape)
            if not given["covariances"].shape == factor.shape == shape:
                raise ValueError(f"{FACTOR!r} and 'covariances' must have the shape {shape}")
            whitener = family.whitener(family.of_attribute(factor.astype(np.float64), len(given["means"])))
            scale = np.diagonal(whitener, axis1=-2, axis2=-1) if family.has_matrices else whitener
            if not np.all(scale > 0.0) or not np.all(np.isfinite(given["covariances"])):
                raise ValueError(f"{FACTOR!r} must have a positive diagonal, and 'covariances' be finite")
            given["covariances"] = family.attribute(family.covariances_of_whitener(whitener))
        estimator = getattr(fastgmm, document.estimator)
        check_choice(document.fit["params"].get("missing"), "missing", (None, "marginal"))
        model = estimator.from_parameters(**given, covariance_type=document.covariance_type, **document.fit["params"])
    except (ValueError, TypeError, OverflowError, np.linalg.LinAlgError) as error:
        raise ModelFileError(f"{os.fspath(path)} does not describe a mixture: {error}") from error
    for name in (*STORED_ARRAYS[document.estimator].rounded, *(() if factor is None else (FACTOR,))):
        # The estimator has checked them, and may have rounded.
        setattr(model, f"{name}_", document.arrays[name])
    model.weights_ = model.weights_.astype(model.means_.dtype)
    model.precisions_ = family.precisions(model.precisions_cholesky_)
    for name in ("converged", "stop_reason", "n_iter", "n_passes", "lower_bound"):
        if document.fit[name] is not None:
            setattr(model, f"{name}_", document.fit[name])
    model._n_known_parameters = document.fit["n_known_parameters"]
    if document.fit["noise"] is not None:
        for name in _NOISE:
            setattr(model, f"noise_{name}_", document.fit["noise"][name])
        model._n_noise_parameters = document.fit["noise"]["n_parameters"]
        if "concentration" in document.fit["noise"]:
            model.noise_concentration_ = document.fit["noise"]["concentration"]
            model.weights_ = model.weights_ * (1.0 - model.noise_weight_)
    if document.fit["prior"] is not None:
        model.prior = model.prior_ = model._prior_given = fastgmm.NormalInverseWishart(**document.fit["prior"])
    if document.fit["class_of_components"] is not None:
        model.class_of_components_ = np.array(document.fit["class_of_components"], np.int64)
    model.spurious_ = [SpuriousComponent(*each) for each in document.fit["spurious"]]
    if document.feature_names is not None:
        model.feature_names_in_ = np.array(document.feature_names, dtype=object)
    return model


def read_document(path: str | os.PathLike[str]) -> ModelDocument:
    """Read and check a model file, without building the estimator; raises as `load_model` does."""
    name = os.fspath(path)
    content = read_raw(name, "model file")
    version = check_format(content, name, FORMAT, VERSION, "model file")
    try:
        return _checked(content, version)
    except ModelFileError as error:
        raise ModelFileError(f"{name} is a damaged model file: {error}") from error


def _checked(content: Mapping[str, Any], version: int) -> ModelDocument:
    estimator = plain_field(content, "estimator", str)
    if estimator not in STORED_ARRAYS:
        raise ModelFileError(f"unknown estimator {estimator!r}")
    dtype = plain_field(content, "dtype", str)
    if dtype not in ("float64", "float32"):
        raise ModelFileError(f"unknown dtype {dtype!r}")
    stored = _stored_arrays(estimator, dtype, any(name in content for name in STORED_ARRAYS[estimator].prior))
    arrays = {name: array_field(content, name, kind) for name, kind in stored.items()}
    n_features = np.shape(arrays["means"])[-1] if arrays["means"].ndim == 2 else 0
    if n_features == 0:
        raise ModelFileError(f"'means' has the shape {arrays['means'].shape}, which is not (n_components, n_features)")
    names = content.get("feature_names")
    if names is not None:
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ModelFileError("'feature_names' is not a list of names")
        if len(names) != n_features:
            raise ModelFileError(f"there are {len(names)} 'feature_names' for {n_features} features")
    fit = plain_field(content, "fit", dict)
    return ModelDocument(
        version=version,
        fastgmm_version=plain_field(content, "fastgmm_version", str),
        estimator=estimator,
        covariance_type=plain_field(content, "covariance_type", str),
        arrays=arrays,
        feature_names=None if names is None else tuple(names),
        fit={
            "converged": plain_field(fit, "converged", bool, None),
            "stop_reason": plain_field(fit, "stop_reason", str, None),
            "n_iter": count_field(fit, "n_iter"),
            "n_passes": count_field(fit, "n_passes"),
            "lower_bound": plain_field(fit, "lower_bound", float, None),
            "n_samples": count_field(fit, "n_samples"),
            "log_likelihood": plain_field(fit, "log_likelihood", float, None),
            "n_known_parameters": count_field(fit, "n_known_parameters") or 0,
            "noise": _noise(fit, n_features),
            "prior": _prior(fit, n_features),
            "class_of_components": _classes(fit, len(arrays["means"])),
            "spurious": _spurious(fit, len(arrays["means"])),
            "params": plain_field(fit, "params", dict),
        },
    )


def _noise(fit: Mapping[str, Any], n_features: int) -> dict[str, Any] | None:
    noise = plain_field(fit, "noise", dict, None)
    if noise is None:
        return None
    box = array_field(noise, "box", "float64")
    weight, log_volume = (plain_field(noise, name, float) for name in ("weight", "log_volume"))
    if box.shape != (n_features + 1, n_features) or not 0.0 <= weight <= 1.0 or not math.isfinite(log_volume):
        raise ModelFileError(f"'noise' is no weight, logarithm of a volume and box of {n_features} features")
    n_parameters = 2 if "n_parameters" not in noise else count_field(noise, "n_parameters")
    found = {"weight": weight, "log_volume": log_volume, "box": box, "n_parameters": n_parameters}
    if "concentration" in noise:
        law = array_field(noise, "concentration", "float64")
        if law.shape != (2,) or not (np.isfinite(law) & (law > 0.0)).all():
            raise ModelFileError("'noise' has a 'concentration' that is not the two parameters of a beta law")
        found["concentration"] = law
    return found


def _prior(fit: Mapping[str, Any], n_features: int) -> dict[str, Any] | None:
    prior = plain_field(fit, "prior", dict, None)
    if prior is None:
        return None
    numbers = {name: plain_field(prior, name, float) for name in _PRIOR_NUMBERS}
    mean, scale = (array_field(prior, name, "float64") for name in ("mean", "scale"))
    wide = mean.shape == (n_features,) and scale.shape in ((), (n_features,), (n_features, n_features))
    if not (wide and np.isfinite(mean).all() and np.isfinite(scale).all()):
        raise ModelFileError(f"'prior' has no finite mean and scale of {n_features} features")
    return numbers | {"mean": mean, "scale": scale}


def _classes(fit: Mapping[str, Any], n_components: int) -> list[int] | None:
    """Return the class of each component; None where none is known."""
    classes: list[int] | None = plain_field(fit, "class_of_components", list, None)
    if classes is None:
        return None
    if len(classes) != n_components or any(type(each) is not int or not -1 <= each < 2**31 for each in classes):
        raise ModelFileError(f"'class_of_components' is not the class of each of {n_components} components")
    return classes


def _spurious(fit: Mapping[str, Any], n_components: int) -> list[tuple[int, str]]:
    found = []
    for each in plain_field(fit, "spurious", list, None) or []:
        if not isinstance(each, dict):
            raise ModelFileError("'spurious' is not a list of components")
        component = plain_field(each, "component", int)
        if not 0 <= component < n_components:
            raise ModelFileError(f"'spurious' names component {component} of {n_components}")
        found.append((component, plain_field(each, "reason", str)))
    return found


def _stored_arrays(estimator: str, dtype: str, with_prior: bool) -> dict[str, str]:
    """Return the arrays to store of a model whose parameters have the type `dtype`, each with its own type."""
    rounded, exact, prior = STORED_ARRAYS[estimator]
    if dtype == "float32":
        rounded += (FACTOR,)
    return dict.fromkeys(rounded, dtype) | dict.fromkeys(exact + (prior if with_prior else ()), "float64")


def _finite_or_none(value: Any) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
