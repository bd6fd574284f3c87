"""The diag family: a variance for every component and feature."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fastgmm.families.base import Array
from fastgmm.families.structures import VarianceFamily
from fastgmm.kernels.structures.densities import DiagDensity
from fastgmm.kernels.structures.student import DiagStudent


class Diag(VarianceFamily):
    """Covariances (K, D)."""

    name = "diag"
    aliases: ClassVar[tuple[str, ...]] = ("VVI",)
    density_type = DiagDensity
    student_type = DiagStudent
    in_any_units = True

    def shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        """Return (K, D)."""
        return n_components, n_features

    def n_covariance_parameters(self, n_components: int, n_features: int) -> int:
        """Return K D."""
        return n_components * n_features

    def matrices(self, covariances: Array, n_components: int, n_features: int) -> Array:
        """Return diagonal matrices."""
        return covariances[:, :, None] * np.eye(n_features)

    def variances(self, covariances: Array, n_components: int, n_features: int) -> Array:
        """Return the covariances as they are."""
        return covariances

    def colour(self, whitener: Array, k: int, noise: Array) -> Array:
        """Return the noise times component k's standard deviations."""
        return noise / whitener[k]
