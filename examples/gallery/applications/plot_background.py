"""
Background by tiles: coins on an uneven ground
==============================================

How a mixture for each tile of a picture separates things from a background that is not everywhere the same.
"""

# %%
# Twenty-four Greek coins from Pompeii lie on a ground that is brighter on one side. One threshold for the whole
# picture fails. Here each tile gets a mixture of its own: two Gaussians of grey values, ground and coin, fitted
# by one call of ``fit_many``. A pixel belongs to a coin if the brighter of the two is the more probable.

import matplotlib.pyplot as plt
import numpy as np
from scipy import ndimage
from skimage.data import coins

from fastgmm import GaussianMixture, fit_many

image = coins().astype(float)
size, step = 64, 16
corners = [(i, j) for i in range(0, image.shape[0] - size + 1, step) for j in range(0, image.shape[1] - size + 1, step)]
tiles = np.stack([image[i : i + size, j : j + size].reshape(-1, 1) for i, j in corners])
many = fit_many(GaussianMixture(2, tol=1e-5, max_iter=1000, random_state=0), tiles)
print(f"{len(many)} tiles, all converged: {many.converged_.all()}")


def threshold(weights, means, variances):
    """The grey value between the means at which both components are equally probable."""
    grey = np.linspace(means.min(), means.max(), 200)
    density = weights / np.sqrt(variances) * np.exp(-0.5 * (grey[:, None] - means) ** 2 / variances)
    return grey[np.argmax(density[:, means.argmax()] > density[:, means.argmin()])]


local = [
    threshold(*each) for each in zip(many.weights_, many.means_[:, :, 0], many.covariances_[:, :, 0, 0], strict=True)
]
total, count = np.zeros_like(image), np.full_like(image, 1e-9)
for (i, j), value in zip(corners, local, strict=True):
    total[i : i + size, j : j + size] += value
    count[i : i + size, j : j + size] += 1
level = (total / count)[: i + size, : j + size]
image = image[: i + size, : j + size]

# %%
# Against it one mixture of all pixels, also of two components. Each mask is cleaned in the same way, and its
# pieces are counted.

whole = GaussianMixture(2, tol=1e-5, max_iter=1000, random_state=0).fit(image.reshape(-1, 1))
masks = {
    "one mixture": whole.predict(image.reshape(-1, 1)).reshape(image.shape) == whole.means_.argmax(),
    "a mixture for each tile": image > level,
}
figure, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
axes[0].imshow(image, cmap="gray")
axes[0].set_title("picture")
for ax, (name, mask) in zip(axes[1:], masks.items(), strict=True):
    pieces, n_pieces = ndimage.label(ndimage.binary_fill_holes(ndimage.binary_opening(mask, iterations=2)))
    sizes = np.bincount(pieces.ravel())[1:]
    print(f"{name}: {np.sum(sizes > 400)} pieces of more than 400 pixels, the largest of {sizes.max()}")
    ax.imshow(np.where(np.isin(pieces, 1 + np.flatnonzero(sizes > 400)), pieces % 10 + 1, 0), cmap="nipy_spectral")
    ax.set_title(f"{name}: {np.sum(sizes > 400)} pieces")
for ax in axes:
    ax.axis("off")

# %%
# A mixture for each tile finds all 24 coins. One mixture for the whole picture finds 18 pieces, one of which
# covers nearly a third of the picture.
