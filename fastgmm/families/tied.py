"""The tied family: all components share one covariance matrix."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fastgmm.families.base import Array
from fastgmm.families.structures import MatrixFamily
from fastgmm.kernels.structures.densities import TiedDensity
from fastgmm.kernels.structures.student import TiedStudent


class Tied(MatrixFamily):
    """Covariance (D, D)."""

    name = "tied"
    aliases: ClassVar[tuple[str, ...]] = ("EEE",)
    density_type = TiedDensity
    student_type = TiedStudent
    is_tied = True
    uses_total = True
    in_any_units = True

    def shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        """Return (D, D)."""
        return n_features, n_features

    def block_shape(self, n_features: int) -> tuple[int, ...]:
        """Return (D, D)."""
        return n_features, n_features

    def block(self, covariances: Array, k: int) -> Array:
        """Return the covariance, which belongs to all components."""
        return covariances

    def select(self, array: Array, components: NDArray[np.int64]) -> Array:
        """Return the array, which belongs to all components."""
        return array

    def n_covariance_parameters(self, n_components: int, n_features: int) -> int:
        """Return D (D + 1) / 2."""
        return n_features * (n_features + 1) // 2

    def matrices(self, covariances: Array, n_components: int, n_features: int) -> Array:
        """Return the covariance K times."""
        return np.repeat(covariances[None], n_components, axis=0)

    def variances(self, covariances: Array, n_components: int, n_features: int) -> Array:
        """Return the diagonal K times."""
        return np.repeat(np.diag(covariances)[None], n_components, axis=0)

    def colour(self, whitener: Array, k: int, noise: Array) -> Array:
        """Return the rows of noise multiplied by the Cholesky factor."""
        return np.linalg.solve(whitener, noise.T).T
