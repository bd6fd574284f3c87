"""
A kernel of your own: textures that do not belong
=================================================

How to call fastgmm's compiled functions from a parallel Numba function of your own.
"""

# %%
# A wall of bricks is the ordinary picture. In a copy of it, four squares are replaced by grass and gravel of the
# same grey values. Which tiles does a mixture of ordinary brick not explain? A row is a patch of 5 by 5 pixels
# about each pixel, so the table of all rows would be 25 times as large as the picture: the function below cuts
# patches out where it needs them, and keeps one number a tile.

import matplotlib.pyplot as plt
import numpy as np
from numba import njit, prange
from skimage.data import brick, grass, gravel

from fastgmm import GaussianMixture, kernels


@njit(parallel=True)
def novelty_of_tiles(density, image, size, novelty):
    """Overwrite `novelty` with the mean of -log p(patch) over the patches of each tile of size x size pixels."""
    for tile in prange(novelty.size):
        i = tile // novelty.shape[1] * size
        j = tile % novelty.shape[1] * size
        n_sides = size - 4
        patches = np.empty((n_sides * n_sides, 25))
        evidence = np.empty(len(patches))
        for p in range(len(patches)):
            for c in range(25):
                patches[p, c] = image[i + p // n_sides + c // 5, j + p % n_sides + c % 5]
        kernels.evidence_rows(density, patches, 0, len(patches), evidence)
        novelty[tile // novelty.shape[1], tile % novelty.shape[1]] = -evidence.mean()


def normalised(picture):
    """The grey values on a common scale: so brightness and contrast do not give the textures away."""
    return (picture - picture.mean()) / picture.std()


wall, meadow, path = normalised(brick()), normalised(grass()), normalised(gravel())

# %%
# The upper half of the wall is for learning. ``kernels.full_density`` makes of a fit what the compiled functions
# take.

windows = np.lib.stride_tricks.sliding_window_view(wall[:256], (5, 5))[::3, ::3].reshape(-1, 25)
model = GaussianMixture(8, tol=1e-3, max_iter=500, reg_covar=1e-4, random_state=0).fit(windows)
density, component = kernels.full_density(model.weights_, model.means_, model.covariances_)
assert component == -1  # else: the number of a covariance that is not positive definite

image = wall[256:].copy()
foreign = np.zeros((8, 16), bool)
for place, (i, j) in enumerate(((1, 2), (4, 6), (2, 10), (5, 13))):
    image[32 * i : 32 * i + 64, 32 * j : 32 * j + 64] = (meadow if place % 2 else path)[:64, :64]
    foreign[i : i + 2, j : j + 2] = True

novelty = np.empty((8, 16))
novelty_of_tiles(density, image, 32, novelty)
print(f"tiles of brick: at most {novelty[~foreign].max():.1f}; others: at least {novelty[foreign].min():.1f}")
print(
    "largest 16 tiles are the 16 that were replaced:",
    set(np.argsort(-novelty.ravel())[:16]) == set(np.flatnonzero(foreign)),
)

# %%
figure, axes = plt.subplots(2, 1, figsize=(9, 8.4), layout="constrained")
axes[0].imshow(image, cmap="gray")
axes[0].set_title("a wall with four squares of grass and gravel")
shown = axes[1].imshow(novelty, cmap="magma")
axes[1].set_title("novelty of each tile")
figure.colorbar(shown, ax=axes[1], label="mean of minus log-density")
for ax in axes:
    ax.axis("off")

# %%
# Every tile that was replaced is more novel than every tile of brick, by far.
