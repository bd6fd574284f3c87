"""Files of many fits: all arrays of a result and a few plain values as ``.npz``, never as a pickle.

As model files are (:mod:`fastgmm.io.models`), of which each holds one model; and with a checksum, since in a million
fits nobody would see a few that are wrong.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgmm import validation
from fastgmm._version import __version__
from fastgmm.estimators import BayesianGaussianMixture, GaussianMixture
from fastgmm.families import FAMILIES, Family
from fastgmm.kernels import many
from fastgmm.many.problems import Problems
from fastgmm.many.rules import ManyLikelihoods, ManyPosteriors, Rule
from fastgmm.many.status import Status, Verdict
from fastgmm.spurious import SpuriousComponent
from fastgmm.support.documents import (
    METADATA,
    PLAIN,
    ModelFileError,
    array_field,
    check_format,
    plain,
    plain_field,
    read_raw,
)
from fastgmm.support.files import replacing

FORMAT = "fastgmm-many"
VERSION = 1
_NOUN = "file of many fits"
_KINDS: dict[str, Any] = {"GaussianMixture": GaussianMixture, "BayesianGaussianMixture": BayesianGaussianMixture}
# Of no meaning on another machine, or told by the arrays.
_NOT_STORED = {"covariance_type", "n_threads", "verbose", "verbose_interval", "mean_prior", "covariance_prior"}
_COUNTS = ("status", "component", "spurious", "n_iter")


def write_fits(
    path: str | os.PathLike[str],
    estimator: Any,
    family: Family,
    fits: many.Fits,
    rule: Rule,
    spurious: list[list[SpuriousComponent]],
    keys: NDArray | None,
    names: NDArray | None,
    dtype: type,
) -> None:
    """Write many fits to a ``.npz`` file; an existing file is replaced in one step.

    Raises ModelFileError for another extension and for what a file cannot hold, OSError if it cannot be written.
    """
    name, kind = os.fspath(path), type(estimator).__name__
    if Path(path).suffix.lower() != ".npz":
        raise ModelFileError(f"cannot write many fits to {name}: the name must end in .npz")
    if kind not in _KINDS:
        raise ModelFileError(f"cannot store fits of a {kind} in a file: pickle the result")
    if FAMILIES.get(family.name) != family:
        raise ModelFileError(
            f"cannot store the covariance type {family.name!r} in a file, for it is no family of fastgmm's: pickle the "
            "result"
        )
    arrays: dict[str, NDArray] = fits._asdict() | rule.arrays()
    is_text = keys is not None and keys.dtype.kind == "O"
    if keys is not None:
        arrays["keys"] = _keys_as_stored(keys)
    params = {key: plain(value) for key, value in estimator._mixture_params().items() if key not in _NOT_STORED}
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "fastgmm_version": __version__,
        "estimator": kind,
        "covariance_type": family.name,
        "dtype": np.dtype(dtype).name,
        "feature_names": None if names is None else [str(each) for each in names],
        "keys_are_objects": is_text,
        "given": [key for key in ("mean_prior", "covariance_prior") if getattr(estimator, key, None) is not None],
        "spurious_components": [
            [i, int(each.component), each.reason] for i, some in enumerate(spurious) for each in some
        ],
        # What JSON cannot hold, such as starts or a random generator, is left at its default.
        "params": {key: value for key, value in params.items() if isinstance(value, PLAIN)} | rule.decided(),
    }
    metadata["digest"] = _digest(metadata, arrays)
    content: dict[str, Any] = {**arrays, METADATA: np.array(json.dumps(metadata, allow_nan=False))}
    with replacing(path) as stream:
        np.savez(stream, **content)


def _keys_as_stored(keys: NDArray) -> NDArray:
    """Return keys in a type that is stored without a pickle; ModelFileError where there is none."""
    if keys.dtype.kind != "O":
        return keys
    if not all(isinstance(key, str) for key in keys):
        kinds = sorted({type(key).__name__ for key in keys})
        raise ModelFileError(
            f"cannot store keys of the types {', '.join(kinds)} in a file: fit by groups of numbers, texts or NumPy's "
            "times, or pickle the result"
        )
    stored = keys.astype(str)
    for key, kept in zip(keys.tolist(), stored.tolist(), strict=True):
        # NumPy's texts end before the NULs that they end in.
        if key != kept:
            raise ModelFileError(
                f"cannot store the key {key!r} in a file, where it would be {kept!r}: fit by other keys, or pickle the "
                "result"
            )
    return stored


def _digest(metadata: Mapping[str, Any], arrays: Mapping[str, NDArray]) -> str:
    """Return the checksum of a document."""
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return "sha256:" + digest.hexdigest()


def read_fits(
    path: str | os.PathLike[str],
) -> tuple[Any, Family, many.Fits, Rule, Problems, list[Verdict]]:
    """Return the parts that a result of many fits is made of, from a file that `write_fits` wrote.

    Raises ModelFileError for a file that is none, that is damaged or that a newer fastgmm wrote; OSError for one that
    cannot be read.
    """
    name = os.fspath(path)
    content = read_raw(name, _NOUN)
    check_format(content, name, FORMAT, VERSION, _NOUN)
    try:
        return _restored(content)
    except (ValueError, TypeError, OverflowError) as error:
        raise ModelFileError(f"{name} is a damaged {_NOUN}: {error}") from error


def _restored(content: Mapping[str, Any]) -> tuple[Any, Family, many.Fits, Rule, Problems, list[Verdict]]:
    arrays = {name: value for name, value in content.items() if isinstance(value, np.ndarray)}
    metadata = {name: value for name, value in content.items() if name not in arrays}
    if metadata.pop("digest", None) != _digest(metadata, arrays):
        raise ModelFileError("its checksum is wrong")
    kind, dtype = (plain_field(metadata, name, str) for name in ("estimator", "dtype"))
    if kind not in _KINDS:
        raise ModelFileError(f"unknown estimator {kind!r}")
    if dtype not in ("float64", "float32"):
        raise ModelFileError(f"unknown dtype {dtype!r}")
    family = validation.check_family(plain_field(metadata, "covariance_type", str))
    estimator = _KINDS[kind](covariance_type=family.name, **plain_field(metadata, "params", dict))
    estimator._validate_parameters()
    fits = _fits(arrays, family, int(estimator.n_components))
    n_problems, _, n_features = fits.mean.shape
    rule = _rule(arrays, plain_field(metadata, "given", list), estimator, family, n_problems, n_features)
    _require_sound(fits, rule, family)
    names = metadata.get("feature_names")
    if names is not None:
        if not isinstance(names, list) or [type(each) for each in names] != [str] * n_features:
            raise ModelFileError(f"'feature_names' is not a list of {n_features} names")
        names = np.array(names, dtype=object)
    keys = arrays.get("keys")
    if keys is not None:
        if keys.shape != (n_problems,):
            raise ModelFileError(f"'keys' has the shape {keys.shape} for {n_problems} problems")
        keys = keys.astype(object) if plain_field(metadata, "keys_are_objects", bool) else keys
    nowhere = np.empty((0, n_features), dtype)
    problems = Problems(nowhere, np.zeros(1, np.int64), None, keys=keys, names=names)
    return estimator, family, fits, rule, problems, _verdicts(metadata, fits)


def _array(arrays: Mapping[str, NDArray], name: str, dtype: str, shape: tuple[int, ...]) -> NDArray:
    array = array_field(arrays, name, dtype)
    if dtype == "int64" and arrays[name].dtype.kind not in "iu":
        raise ModelFileError(f"{name!r} is not an array of integers")
    if array.shape != shape:
        raise ModelFileError(f"{name!r} has the shape {array.shape}, not {shape}")
    return np.ascontiguousarray(array)


def _fits(arrays: Mapping[str, NDArray], family: Family, n_components: int) -> many.Fits:
    mean = array_field(arrays, "mean", "float64")
    if mean.ndim != 3 or mean.shape[1] != n_components or mean.shape[2] == 0:
        raise ModelFileError(f"'mean' has the shape {mean.shape}, which is not (P, {n_components}, n_features)")
    n_problems, _, n_features = mean.shape
    shape = (n_problems, *family.shape(n_components, n_features))
    shapes = {"mean": mean.shape, "covariance": shape, "whitener": shape}
    return many.Fits(
        **{
            name: _array(arrays, name, "int64" if name in _COUNTS else "float64", shapes.get(name, (n_problems,)))
            for name in many.Fits._fields
        }
    )


def _rule(
    arrays: Mapping[str, NDArray], given: list[Any], estimator: Any, family: Family, n_problems: int, n_features: int
) -> Rule:
    """Return the rule of the fits; priors that were given become parameters of the estimator again."""
    rule: Rule
    if isinstance(estimator, BayesianGaussianMixture):
        if "mean_prior" in given:
            estimator.mean_prior = _array(arrays, "mean_prior", "float64", (1, n_features))[0]
        if "covariance_prior" in given:
            shape = family.shape(1, n_features)
            scale = _array(arrays, "scale_prior", "float64", (1, *shape)).reshape(family.block_shape(n_features))
            estimator.covariance_prior = scale if scale.ndim else float(scale)
        rule = ManyPosteriors(estimator, family, n_problems, n_features, False)
    else:
        rule = ManyLikelihoods(estimator, family, n_problems, n_features)
    for name, target in rule.arrays().items():
        target[...] = _array(arrays, name, "float64", target.shape)
    return rule


def _require_sound(fits: many.Fits, rule: Rule, family: Family) -> None:
    """ModelFileError unless each fit is one that could have been made."""
    n_problems, n_components, _ = fits.mean.shape
    if not np.isin(fits.status, [int(each) for each in Status]).all():
        raise ModelFileError("'status' holds numbers that are none")
    if n_problems and not (fits.component.min() >= -1 and fits.component.max() < n_components):
        raise ModelFileError(f"'component' holds numbers that are none of {n_components} components")
    fitted = fits.status <= Status.NOT_CONVERGED
    scale = np.diagonal(fits.whitener, axis1=-2, axis2=-1) if family.has_matrices else fits.whitener
    if not (scale[fitted] > 0.0).all():
        raise ModelFileError("'whitener' must have a positive diagonal where there is a fit")
    told = {"mean": fits.mean, "covariance": fits.covariance, "whitener": fits.whitener, "bound": fits.bound}
    for name, array in (told | rule.arrays()).items():
        # Of priors, one may stand for all problems.
        if not np.isfinite(array[fitted] if len(array) == n_problems else array).all():
            raise ModelFileError(f"{name!r} must be finite where there is a fit")
    for name, array in rule.outcome().items():
        if not (array[fitted] >= 0.0).all():
            raise ModelFileError(f"{name!r} must not be negative where there is a fit")


def _verdicts(metadata: Mapping[str, Any], fits: many.Fits) -> list[Verdict]:
    """Return the spurious components of each problem."""
    n_problems, n_components, _ = fits.mean.shape
    verdicts = [Verdict([], False) for _ in range(n_problems)]
    for each in plain_field(metadata, "spurious_components", list):
        if not (isinstance(each, list) and [type(part) for part in each] == [int, int, str]):
            raise ModelFileError("'spurious_components' is not a list of components")
        i, component, reason = each
        if not (0 <= i < n_problems and 0 <= component < n_components):
            raise ModelFileError(f"'spurious_components' names component {component} of problem {i}, which is none")
        verdicts[i].components.append(SpuriousComponent(component, reason))
    return verdicts
