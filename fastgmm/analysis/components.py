"""The components of a fitted mixture as dense arrays, in units in which none of them is tiny or huge."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgmm.estimators import BayesianGaussianMixture, GaussianMixture
from fastgmm.statistics import Array
from fastgmm.support.showing import shown


@dataclass(frozen=True, eq=False)
class Components:
    """Weights (K,) with a sum of 1, means (K, D) and covariances (K, D, D); those of weight 0 are left out.

    `numbers` (K,) are the places that they have in the model.
    """

    weights: Array
    means: Array
    covariances: Array
    numbers: NDArray[np.intp]

    @classmethod
    def of(cls, model: Any, name: str = "model") -> Components:
        """Return those of a fitted model, or of the best of a ``GaussianMixtureIC``; TypeError for anything else."""
        model = mixture_of(model, name)
        family, covariances = model._covariances()
        weights, means = model._shares(), np.asarray(model.means_, np.float64)
        numbers = np.flatnonzero(weights > 0.0)
        matrices = np.asarray(family.matrices(covariances, *means.shape), np.float64)
        return cls(weights[numbers], means[numbers], matrices[numbers], numbers)

    def __len__(self) -> int:
        """Return the number of components."""
        return len(self.weights)

    def moved(self, offset: Array, scale: Array) -> Components:
        """Return the mixture of (x - offset) / scale."""
        covariances = self.covariances / scale[:, None] / scale
        return Components(self.weights, (self.means - offset) / scale, covariances, self.numbers)

    def frame(self) -> tuple[Array, Array]:
        """Return the mean of the mixture, and a length for each feature: the geometric mean deviation of components."""
        variances = np.diagonal(self.covariances, axis1=1, axis2=2)
        return self.weights @ self.means, np.exp(0.5 * np.log(variances).mean(axis=0))


def mixture_of(model: Any, name: str) -> Any:
    """Return a fitted mixture, of a ``GaussianMixtureIC`` the best; TypeError for anything else."""
    model = getattr(model, "best_estimator_", model)
    if not isinstance(model, GaussianMixture | BayesianGaussianMixture):
        raise TypeError(f"{name} must be a GaussianMixture or BayesianGaussianMixture of fastgmm, got {shown(model)}")
    model._require_fitted()
    model._require_no_noise("This")
    return model


def log_normal(gaps: Array, covariances: Array) -> Array:
    """Return log N(gap; 0, covariance) of gaps (..., D), in nat, as (...).

    Covariances (..., D, D) may lack leading axes of the gaps: each is factorised once.
    """
    factors = np.linalg.cholesky(covariances)
    whitened = np.linalg.solve(factors, gaps[..., None])[..., 0]
    log_scale = np.log(np.diagonal(factors, axis1=-2, axis2=-1)).sum(axis=-1)
    return np.asarray(
        -0.5 * (whitened**2).sum(axis=-1) - log_scale - 0.5 * gaps.shape[-1] * math.log(2.0 * math.pi), np.float64
    )
