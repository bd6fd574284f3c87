"""
Rows in Dask
============

How the same lines fit rows that lie in the partitions of a Dask array, in one process or on a cluster.
"""

# %%
# The rows are the pixels of a photograph of deep space, in three colours. ``dask.array`` cuts them into
# partitions. In each pass the mixture goes to the partitions and sums come back; the rows stay where they are.
# Here the partitions are worked on by threads of this process. With a ``dask.distributed.Client`` the same lines
# run on its workers.

import dask.array as da
import matplotlib.pyplot as plt
import numpy as np
from skimage.data import hubble_deep_field

from fastgmm import GaussianMixture

image = hubble_deep_field()
pixels = np.log1p(image.reshape(-1, 3).astype(np.float32))
rows = da.from_array(pixels, chunks=(100_000, 3)).persist()
print(f"{rows.shape[0]} rows in {rows.numblocks[0]} partitions")
model = GaussianMixture(4, n_init=3, tol=1e-4, max_iter=1000, random_state=0).fit(rows)
labels = model.predict(rows)
print(type(labels), "of which nothing is computed yet")
labels = labels.compute()

# %%
# From the same start a fit in memory agrees to rounding:

start = {"means_init": model.means_, "weights_init": model.weights_, "precisions_init": model.precisions_}
in_dask = GaussianMixture(4, max_iter=1000, **start).fit(rows)
in_memory = GaussianMixture(4, max_iter=1000, **start).fit(pixels)
print(f"largest difference of means: {abs(in_dask.means_ - in_memory.means_).max():.0e}")

# %%
brightness = model.means_.mean(axis=1)
rank = np.argsort(np.argsort(brightness))
for k in np.argsort(brightness):
    print(
        f"component {k}: {model.weights_[k]:>6.1%} of the pixels,",
        f"mean colour {np.expm1(model.means_[k]).round().astype(int).tolist()}",
    )
figure, axes = plt.subplots(1, 2, figsize=(12, 5.2), layout="constrained")
axes[0].imshow(image)
axes[1].imshow(rank[labels].reshape(image.shape[:2]), cmap="magma")
axes[1].set_title("component, ordered by brightness")
for ax in axes:
    ax.axis("off")

# %%
# Three groups are shades of the dark sky, the fourth and brightest, of a tenth of the pixels, is stars and
# galaxies.
