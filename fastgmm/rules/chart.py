"""Coordinates of mixtures in which any point is a mixture, and in which a step of EM has its natural length.

Extrapolation adds and subtracts whole mixtures. In these coordinates what comes out has positive weights and positive
definite covariances again; and they are relative to a reference mixture, so that neither offsets nor scales of the data
matter.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastgmm.families import Family
from fastgmm.kernels import Density
from fastgmm.statistics import Array

# Its square root is the scale of a component without weight, which may not be 0.
_LEAST_COUNT = 1e-300


class Chart:
    """Coordinates about a reference mixture, which is at 0; for every family.

    They are the logarithms of the counts (or weights) over the reference's; the means in units of the reference's
    standard deviations, A (m - m_0) for its whitener A; and the whitener times the inverse of the reference's, a lower
    triangular matrix of which the diagonal is replaced by its logarithms (of families of variances: the logarithms).

    Each is multiplied by the square root of its Fisher information in complete data: to second order, half a squared
    distance is the loss in expected log joint. EM's iteration matrix is symmetric in that metric (Dempster, Laird and
    Rubin 1977, section 3: it is the share of the complete data's information that is missing), and a squared step is
    about what the step gains.

    Parameters
    ----------
    family : Family
    density : Density
        The reference's means and whitener.
    counts, mean_counts : (K,), block_counts : one for each block of the family's pool
        How much data is behind the reference's weights, means and covariances.
    """

    def __init__(self, family: Family, density: Density, counts: Array, mean_counts: Array, block_counts: Array):
        self.counts = counts
        self._family = family
        self._mean, self._whitener = density.mean, density.whitener
        self._present = counts > 0.0
        self._matrices = family.has_matrices
        n_features = density.mean.shape[1]
        self._n_blocks = len(block_counts)
        if self._matrices:
            self._entries = np.flatnonzero(np.tri(n_features, dtype=bool).ravel())
            self._positive = np.eye(n_features, dtype=bool).ravel()[self._entries]
            self._factor = np.tril(np.linalg.inv(density.whitener))
        else:
            self._entries = np.arange(density.whitener.size // self._n_blocks)
            self._positive = np.ones(len(self._entries), dtype=bool)
            self._factor = 1.0 / density.whitener
        information = np.concatenate(
            [
                counts,
                np.repeat(mean_counts, n_features),
                (block_counts[:, None] * np.where(self._positive, 2.0, 1.0)).ravel(),
            ]
        )
        #: What a change by one standard deviation, or of a logarithm by one, is in each coordinate.
        self.unit: Array = np.sqrt(np.maximum(information, _LEAST_COUNT))

    def coordinates(self, counts: Array, density: Density) -> Array:
        """Return the coordinates of a mixture; not finite where a count is 0 that is not so in the reference."""
        logarithms = np.log(np.where(self._present, counts, 1.0) / np.where(self._present, self.counts, 1.0))
        relative = density.whitener @ self._factor if self._matrices else density.whitener * self._factor
        entries = relative.reshape(self._n_blocks, -1)[:, self._entries]
        entries[:, self._positive] = np.log(entries[:, self._positive])
        gap = self._multiplied(self._whitener, density.mean - self._mean)
        return self.unit * np.concatenate([logarithms, gap.ravel(), entries.ravel()])

    def mixture(self, coordinates: Array) -> tuple[Array, Array, Array]:
        """Return the counts, means and whitener at the coordinates: the inverse of that method."""
        n_components, n_means = len(self.counts), self._mean.size
        values = coordinates / self.unit
        logarithms, gap, entries = np.split(values, [n_components, n_components + n_means])
        counts = np.where(self._present, self.counts * np.exp(logarithms), 0.0)
        means = self._mean + self._multiplied(self._factor, gap.reshape(self._mean.shape))
        entries = entries.reshape(self._n_blocks, -1)
        entries[:, self._positive] = np.exp(entries[:, self._positive])
        blocks = np.zeros((self._n_blocks, self._whitener.size // self._n_blocks))
        blocks[:, self._entries] = entries
        relative = blocks.reshape(self._whitener.shape)
        whitener = relative @ self._whitener if self._matrices else relative * self._whitener
        # What components share stays the same number for all of them, to the last bit.
        return counts, means, self._family.of_attribute(self._family.attribute(whitener), n_components)

    def _multiplied(self, factor: Array, gap: Array) -> Array:
        """Return the rows of gap (K, D) multiplied by a whitener or its inverse."""
        if self._matrices:
            return (factor @ gap[..., None])[..., 0]
        product: NDArray[np.float64] = factor.reshape(len(gap), -1) * gap
        return product
