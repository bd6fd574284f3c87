"""Bases of families: those of matrices, those of variances, and those of one covariance for all components."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from fastgmm.families.base import Array, Family
from fastgmm.kernels.updates.constraints import equal_covariances

# Rounding of covariances that may be float32, against their largest entry.
_ASYMMETRY = 1e-5


@functools.lru_cache(maxsize=8)
def _strictly_below(n_features: int) -> NDArray[np.bool_]:
    """Return the mask of the entries below the diagonal."""
    return np.tri(n_features, k=-1, dtype=bool)


@functools.lru_cache(maxsize=8)
def _below_diagonal(n_features: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows and the columns of the entries below the diagonal."""
    return np.tril_indices(n_features, -1)


def _no_factor(name: str, k: int) -> str:
    return (
        f"{name} of component {k} is no triangular factor: it should be a finite triangular matrix C (or inverse "
        "standard deviations), without zeros on its diagonal, and C C^T the precision, as np.linalg.cholesky of the "
        "precision is"
    )


def reordered_factors(whitener: Array, order: NDArray[np.intp]) -> Array:
    """Return lower triangular factors (P, D, D) of precisions, like the given ones, of features in another order.

    The first rows of a factor are the whitener of the first features alone, and the others the law of the rest given
    these.
    """
    blocks = whitener.reshape(-1, *whitener.shape[-2:])
    triangles = (np.asarray(np.linalg.qr(block[:, order[::-1]], mode="r")) for block in blocks)
    factors = np.stack([triangle[::-1, ::-1] for triangle in triangles])
    sign = np.where(np.diagonal(factors, axis1=1, axis2=2) < 0.0, -1.0, 1.0)
    return factors * sign[:, :, None]


def regression(
    family: Family, whitener: Array, shape: tuple[int, int], known: NDArray[np.intp], rest: NDArray[np.intp]
) -> tuple[Array, Array, Array]:
    """Return the whitener of the `known` features alone, and the law of the `rest` given these, of each component.

    For means of `shape` (K, D): slopes (K, r, o), by which means move with the known features, and lower triangular
    factors A (K, r, r) of the precisions A^T A. Of one of the package's structures.
    """
    n_components, n_known = shape[0], len(known)
    if family.has_matrices:
        factor = reordered_factors(whitener, np.concatenate([known, rest]))
        first = np.ascontiguousarray(factor[:, :n_known, :n_known]).reshape(*whitener.shape[:-2], n_known, n_known)
        own = factor[:, n_known:, n_known:]
        slope = -np.linalg.solve(own, factor[:, n_known:, :n_known])
    else:
        first = family.marginal(whitener, known)
        scale = 1.0 / np.sqrt(family.variances(family.covariances_of_whitener(whitener), *shape))[:, rest]
        own = scale[:, :, None] * np.eye(len(rest))
        slope = np.zeros((1, len(rest), n_known))
    each = (n_components, len(rest))
    return first, np.broadcast_to(slope, (*each, n_known)), np.broadcast_to(own, (*each, len(rest)))


class MatrixFamily(Family):
    """The base of families with covariance matrices; works on (..., D, D) arrays."""

    has_matrices = True

    def precisions_cholesky(self, whitener: Array) -> Array:
        """Return the transposed whitener: upper triangular, precision = U U^T."""
        return np.ascontiguousarray(np.swapaxes(whitener, -1, -2))

    def whitener(self, precisions_cholesky: Array) -> Array:
        """Return the transposed factor."""
        return np.ascontiguousarray(np.swapaxes(precisions_cholesky, -1, -2))

    def _whitener_of_factor(self, factor: Array, name: str) -> Array:
        """Return the transposed factor where that is upper triangular; else its lower triangular equal.

        C C^T = A^T A for A = Q^T C^T with any orthogonal Q: that of a QR decomposition with columns reversed.
        """
        whitener = self.whitener(factor)
        n_features = whitener.shape[-1]
        strictly_below = _strictly_below(n_features)
        scale = whitener.reshape(-1, n_features * n_features)[:, :: n_features + 1]
        rest = whitener[..., strictly_below.T]
        if not rest.any() and scale.min() > 0.0 and np.isfinite(whitener).all():
            return whitener
        blocks = whitener.reshape(-1, n_features, n_features)
        is_lower = np.any(blocks[:, strictly_below.T] != 0.0, axis=1)
        is_upper = np.any(blocks[:, strictly_below] != 0.0, axis=1)
        wrong = (is_lower & is_upper) | ~(np.abs(scale).min(axis=1) > 0.0) | ~np.isfinite(blocks).all(axis=(1, 2))
        if wrong.any():
            raise ValueError(_no_factor(name, int(np.flatnonzero(wrong)[0])))
        for k in np.flatnonzero(is_lower):
            blocks[k] = np.asarray(np.linalg.qr(blocks[k][:, ::-1], mode="r"))[::-1, ::-1]
        blocks *= np.sign(np.diagonal(blocks, axis1=1, axis2=2))[:, :, None]
        return np.ascontiguousarray(blocks.reshape(whitener.shape))

    def spread(self, covariances: Array, k: int, noise: Array) -> Array:
        """Return the rows of noise multiplied by a square root of the covariance."""
        covariance = self.block(covariances, k)
        largest = np.abs(covariance).max()
        if not np.abs(covariance - covariance.T).max() <= _ASYMMETRY * largest:
            raise ValueError(f"covariances_ of component {k} should be symmetric and finite")
        try:
            factor = np.linalg.cholesky(covariance)
        except np.linalg.LinAlgError:
            values, vectors = np.linalg.eigh(covariance)
            if values[0] < -_ASYMMETRY * largest:
                raise ValueError(
                    f"covariances_ of component {k} should be positive semidefinite, its smallest eigenvalue is "
                    f"{values[0]:g}"
                ) from None
            factor = vectors * np.sqrt(np.maximum(values, 0.0))
        return noise @ factor.T

    def precisions(self, precisions_cholesky: Array) -> Array:
        """Return U U^T."""
        return precisions_cholesky @ np.swapaxes(precisions_cholesky, -1, -2)

    def whitener_of_precisions(self, precisions: Array) -> Array:
        """Return the lower triangular A with A^T A = precision: a Cholesky factor with rows and columns reversed."""
        factor = np.linalg.cholesky(precisions[..., ::-1, ::-1])[..., ::-1, ::-1]
        return np.array(np.swapaxes(factor, -1, -2), np.float64, order="C")

    def covariances_of_whitener(self, whitener: Array) -> Array:
        """Return (A^T A)^-1."""
        inverse = np.linalg.inv(np.asarray(whitener, np.float64))
        return inverse @ np.swapaxes(inverse, -1, -2)

    def wishart_dimension(self, n_features: int) -> int:
        """Return D."""
        return n_features

    def definiteness(self, covariances: Array) -> float:
        """Return the smallest eigenvalue of the correlation matrices."""
        return float(self.definiteness_of_each(covariances.reshape(-1, *covariances.shape[-2:])).min())

    def definiteness_of_each(self, blocks: Array) -> Array:
        """Return the smallest eigenvalue of each correlation matrix."""
        variances = np.diagonal(blocks, axis1=-2, axis2=-1)
        positive = np.all(variances > 0.0, axis=1)
        inverse = 1.0 / np.sqrt(np.where(positive[:, None], variances, 1.0))
        least = np.linalg.eigvalsh(inverse[:, :, None] * blocks * inverse[:, None, :])[:, 0]
        return np.where(positive, least, 0.0)

    def marginal(self, whitener: Array, features: NDArray[np.intp]) -> Array:
        """Return the first block of the factor with these features first."""
        n_features, n_kept = whitener.shape[-1], len(features)
        if np.array_equal(features, np.arange(n_features)):
            return whitener
        rest = np.setdiff1d(np.arange(n_features), features)
        part = reordered_factors(whitener, np.concatenate([features, rest]))[:, :n_kept, :n_kept]
        return np.ascontiguousarray(part).reshape(*whitener.shape[:-2], n_kept, n_kept)

    def isotropic_whitener(self, n_components: int, n_features: int, scale: float) -> Array:
        """Return scale times the identity."""
        whitener = np.zeros(self.shape(n_components, n_features))
        whitener[...] = scale * np.eye(n_features)
        return whitener

    def mirror(self, scatter: Array) -> Array:
        """Return the scatter with its upper triangle filled from the lower."""
        row, column = _below_diagonal(scatter.shape[-1])
        mirrored = scatter.copy()
        mirrored[..., column, row] = scatter[..., row, column]
        return mirrored


class VarianceFamily(Family):
    """The base of families of plain variances: everything is elementwise."""

    def precisions_cholesky(self, whitener: Array) -> Array:
        """Return the whitener: inverse standard deviations."""
        return whitener.copy()

    def whitener(self, precisions_cholesky: Array) -> Array:
        """Return the factor itself."""
        return precisions_cholesky

    def _whitener_of_factor(self, factor: Array, name: str) -> Array:
        """Return the absolute values, which have the same squares."""
        whitener = np.abs(factor)
        if not (whitener.min() > 0.0 and np.isfinite(whitener).all()):
            blocks = whitener.reshape(len(whitener), -1)
            wrong = ~(np.isfinite(blocks) & (blocks > 0.0)).all(axis=1)
            raise ValueError(_no_factor(name, int(np.flatnonzero(wrong)[0])))
        return whitener

    def spread(self, covariances: Array, k: int, noise: Array) -> Array:
        """Return the noise times component k's standard deviations."""
        variances = self.block(covariances, k)
        if not (np.min(variances) >= 0.0 and np.max(variances) < np.inf):
            raise ValueError(f"covariances_ of component {k} should be finite and >= 0, it is {variances}")
        return noise * np.sqrt(variances)

    def precisions(self, precisions_cholesky: Array) -> Array:
        """Return the squares."""
        return precisions_cholesky**2

    def whitener_of_precisions(self, precisions: Array) -> Array:
        """Return the square roots."""
        return np.sqrt(precisions)

    def covariances_of_whitener(self, whitener: Array) -> Array:
        """Return the inverse squares."""
        return 1.0 / whitener**2

    def isotropic_whitener(self, n_components: int, n_features: int, scale: float) -> Array:
        """Return `scale` everywhere."""
        return np.full(self.shape(n_components, n_features), scale)


class OneForAll(Family):
    """The part of families whose components share one covariance, before a structure that has one for each of them.

    Attributes hold it once: (D, D), (D,) of variances, (1,) of one variance.
    """

    is_tied = True
    constraint = equal_covariances

    def attribute_shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        """Return the shape of one component's covariance."""
        return self.block_shape(n_features) or (1,)

    def attribute(self, array: Array, axis: int = 0) -> Array:
        """Return the first component's."""
        if array.ndim == axis + 1:
            return array[..., :1].copy()
        return np.take(array, 0, axis)

    def of_attribute(self, attribute: Array, n_components: int, axis: int = 0) -> Array:
        """Return as many copies as there are components."""
        if not self.block_shape(1):
            return np.repeat(attribute, n_components, axis)
        return np.repeat(np.expand_dims(attribute, axis), n_components, axis)
