"""Choosing a model: how many components, of which covariance family, by a criterion."""

from __future__ import annotations

from fastgmm.selection.estimator import GaussianMixtureIC

__all__ = ["GaussianMixtureIC"]
