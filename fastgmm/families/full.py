"""The full family: every component has a covariance matrix of its own."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from fastgmm.families.base import Array
from fastgmm.families.structures import MatrixFamily
from fastgmm.kernels.structures.densities import FullDensity
from fastgmm.kernels.structures.student import FullStudent


class Full(MatrixFamily):
    """Covariances (K, D, D)."""

    name = "full"
    aliases: ClassVar[tuple[str, ...]] = ("VVV",)
    density_type = FullDensity
    student_type = FullStudent
    in_any_units = True

    def shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        """Return (K, D, D)."""
        return n_components, n_features, n_features

    def n_covariance_parameters(self, n_components: int, n_features: int) -> int:
        """Return K D (D + 1) / 2."""
        return n_components * n_features * (n_features + 1) // 2

    def matrices(self, covariances: Array, n_components: int, n_features: int) -> Array:
        """Return the covariances as they are."""
        return covariances

    def variances(self, covariances: Array, n_components: int, n_features: int) -> Array:
        """Return the diagonals."""
        return np.diagonal(covariances, axis1=1, axis2=2)

    def colour(self, whitener: Array, k: int, noise: Array) -> Array:
        """Return the rows of noise multiplied by component k's Cholesky factor."""
        return np.linalg.solve(whitener[k], noise.T).T
