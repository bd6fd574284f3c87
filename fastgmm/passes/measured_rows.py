"""Rows with errors of measurement. A module of its own, for what is done with them takes long to import."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgmm.rows import ArrayRows
from fastgmm.statistics import Array


def packed(covariances: Array) -> Array:
    """Return the lower triangles of symmetric matrices (..., D, D), row by row, (..., D (D + 1) / 2)."""
    row, column = np.tril_indices(covariances.shape[-1])
    return np.ascontiguousarray(covariances[..., row, column])


def unpacked(triangles: Array, n_features: int) -> Array:
    """Return the symmetric matrices (..., D, D) of ``packed``, or diagonal ones of their diagonals (..., D)."""
    matrices = np.zeros((*triangles.shape[:-1], n_features, n_features))
    if triangles.shape[-1] == n_features:
        matrices[..., np.arange(n_features), np.arange(n_features)] = triangles
        return matrices
    row, column = np.tril_indices(n_features)
    matrices[..., row, column] = triangles
    matrices[..., column, row] = triangles
    return matrices


class MeasuredRows(ArrayRows):
    """The rows of an array, with the covariances of their errors.

    `error` is (N, D) float64, variances, or (N, D (D + 1) / 2), lower triangles of covariances row by row; (1, ...)
    where all rows have the same. Seeding takes rows for exact ones: see ``sources.denoised``.
    """

    #: What starts see of the rows, once it was asked for.
    beginning: Any = None

    def __init__(self, X: NDArray, sample_weight: Array | None, names: NDArray | None, error: Array) -> None:
        super().__init__(X, sample_weight, names)
        self.error = error

    @property
    def has_variances(self) -> bool:
        """Whether errors of different features are independent."""
        return self.error.shape[1] == self.n_features

    @property
    def variances(self) -> Array:
        """The variances of the errors, (N, D), or (1, D) where all rows have the same."""
        places = np.arange(self.n_features)
        return self.error if self.has_variances else self.error[:, places * (places + 3) // 2]

    def mean_error(self) -> Array:
        """Return the mean of the covariances of the errors, by the weights of the rows, (D, D)."""
        weight = self.sample_weight if len(self.error) > 1 else None
        return unpacked(np.average(self.error, axis=0, weights=weight), self.n_features)

    def exact(self, least: float) -> ArrayRows:
        """Return the rows with weight 0 for those that have an error whose variance is `least` or more."""
        weight = np.ones(self.n_rows) if self.sample_weight is None else self.sample_weight
        return ArrayRows(self.X, np.where((self.variances < least).all(axis=1), weight, 0.0), self.names)
