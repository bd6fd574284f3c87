"""Fitted mixtures in other units of their rows."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from fastgmm.families import Family
from fastgmm.statistics import Array


def bring_to(model: Any, offset: Array, scale: Array | float, weight: float) -> None:
    """Turn a mixture that was fitted to (X - offset) / scale, of this total `weight`, into that of X.

    Every family takes one number as the `scale`; those that are `in_any_units` take one for each feature, (D,).
    ValueError, and the model as it was, where it leaves the range of float64.
    """
    family: Family = model._family()
    widths = np.broadcast_to(np.asarray(scale, np.float64), np.shape(offset))
    rows = widths[:, None] if family.has_matrices else np.asarray(scale)
    lost = float(np.log(widths).sum())
    with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):
        fitted: dict[str, Any] = {
            "means_": model.means_ * widths + offset,
            "covariances_": _times(family, model.covariances_, scale),
            "precisions_": _times(family, model.precisions_, 1.0 / np.asarray(scale)),
            # A factor U of U U^T: of matrices the rows are in units of the columns.
            "precisions_cholesky_": model.precisions_cholesky_ / rows,
            "restarts_": [],
            # As small against the narrowest column as it was.
            "reg_covar": float(model.reg_covar) * float(widths.min()) ** 2,
        }
        if hasattr(model, "mean_prior_"):
            fitted["mean_prior_"] = model.mean_prior_ * widths + offset
            prior = _times(family, np.asarray(model.covariance_prior_), scale)
            fitted["covariance_prior_"] = prior if np.ndim(prior) else float(prior)
            lost *= weight
        if getattr(model, "max_eigenvalue_ratio", None) is not None and np.ndim(scale):
            # In units of columns that are not the same it is another limit.
            fitted["max_eigenvalue_ratio"] = None
        if hasattr(model, "prior_"):
            spread = _times(family, np.asarray(model.prior_.scale), scale)
            fitted["prior_"] = replace(model.prior_, mean=model.prior_.mean * widths + offset, scale=spread)
        if hasattr(model, "noise_log_volume_"):
            fitted["noise_log_volume_"] = model.noise_log_volume_ + float(np.log(widths).sum())
            fitted["noise_box_"] = model.noise_box_ * widths
            fitted["noise_box_"][0] += offset
        fitted["lower_bounds_"] = [bound - lost for bound in model.lower_bounds_]
        fitted["lower_bound_"] = model.lower_bound_ - lost
    positive = ("covariances_", "precisions_", "precisions_cholesky_")
    numbers = [value for name, value in fitted.items() if name not in ("prior_", "max_eigenvalue_ratio")]
    if not all(np.isfinite(np.asarray(value)).all() for value in numbers) or not all(
        np.asarray(fitted[name]).any() for name in positive
    ):
        raise ValueError("in the units of the data the model leaves the range of float64: scale the columns")
    if not math.isfinite(fitted["reg_covar"]):
        fitted["reg_covar"] = 0.0
    vars(model).update(fitted, _learned=None, _watched_bounds=())


def _times(family: Family, covariances: Any, scale: Any) -> Any:
    """Return covariances, or precisions, of features times `scale`."""
    if family.has_matrices and np.ndim(scale):
        return covariances * scale[:, None] * scale
    return covariances * scale * scale
