"""The spherical family: one variance for every component."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fastgmm.families.base import Array
from fastgmm.families.structures import VarianceFamily
from fastgmm.kernels.structures.densities import SphericalDensity
from fastgmm.kernels.structures.student import SphericalStudent


class Spherical(VarianceFamily):
    """Covariances (K,)."""

    name = "spherical"
    aliases: ClassVar[tuple[str, ...]] = ("VII",)
    density_type = SphericalDensity
    student_type = SphericalStudent

    def shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        """Return (K,)."""
        return (n_components,)

    def n_covariance_parameters(self, n_components: int, n_features: int) -> int:
        """Return K."""
        return n_components

    def matrices(self, covariances: Array, n_components: int, n_features: int) -> Array:
        """Return multiples of the identity."""
        return covariances[:, None, None] * np.eye(n_features)

    def variances(self, covariances: Array, n_components: int, n_features: int) -> Array:
        """Return each variance D times."""
        return np.repeat(covariances[:, None], n_features, axis=1)

    def colour(self, whitener: Array, k: int, noise: Array) -> Array:
        """Return the noise times component k's standard deviation."""
        return noise / whitener[k]
