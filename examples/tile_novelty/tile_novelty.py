"""Novelty of the tiles of an image: how badly a Gaussian mixture of ordinary pixels explains them.

The kernels of fastgmm are called inside a parallel function of this package, which is compiled once and cached on disk.
"""

import numpy as np
from numba import njit, prange

from fastgmm import kernels

if kernels.API_VERSION[0] != 1:
    raise ImportError(f"tile_novelty needs version 1 of fastgmm's kernels, got {kernels.API_VERSION}.")


def _compiled(source_hash):
    @njit(parallel=True, cache=True)
    def score_tiles(density, image, size, novelty):
        """Overwrite `novelty` (R, C) with the mean of -log p(pixel) over each tile of an image (H, W, C)."""
        # Read from the enclosing function, and so a part of the key of the cached machine code.
        _ = source_hash
        n_pixels = size * size
        n_channels = image.shape[2]
        for tile in prange(novelty.size):
            i = tile // novelty.shape[1]
            j = tile % novelty.shape[1]
            # A thread's own: rows that lie together are scored together.
            pixels = np.empty((n_pixels, n_channels))
            evidence = np.empty(n_pixels)
            for p in range(n_pixels):
                for c in range(n_channels):
                    pixels[p, c] = image[i * size + p // size, j * size + p % size, c]
            kernels.evidence_rows(density, pixels, 0, n_pixels, evidence)
            total = 0.0
            for p in range(n_pixels):
                total -= evidence[p]
            novelty[i, j] = total / n_pixels

    return score_tiles


score_tiles = _compiled(kernels.SOURCE_HASH)


def novelty_map(image, weights, means, covariances, size=8):
    """Return the mean of -log p(pixel), in nat, over each whole tile of an image: (H // size, W // size).

    `image` (H, W, C) of real numbers; a mixture of K components with `weights` (K,), `means` (K, C) and `covariances`
    (K, C, C). ValueError where a shape does not fit or a covariance is not positive definite.
    """
    image, weights, means, covariances = (
        np.ascontiguousarray(array, np.float64) for array in (image, weights, means, covariances)
    )
    if image.ndim != 3 or size < 1:
        raise ValueError(f"image must be (H, W, C) and size at least 1, got {image.shape} and {size}.")
    n_channels = image.shape[2]
    expected = (len(weights),), (len(weights), n_channels), (len(weights), n_channels, n_channels)
    got = weights.shape, means.shape, covariances.shape
    if got != expected:
        raise ValueError(f"weights, means and covariances must have the shapes {expected}, got {got}.")
    density, component = kernels.full_density(weights, means, covariances)
    if component >= 0:
        raise ValueError(f"the covariance of component {component} must be positive definite.")
    novelty = np.empty((image.shape[0] // size, image.shape[1] // size))
    score_tiles(density, image, size, novelty)
    return novelty
