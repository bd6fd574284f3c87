"""
Rows on disk
============

How to fit a file that is never in memory as a whole, with the same bits as if it were.
"""

# %%
# The rows are all patches of 4 by 4 pixels, in three colours, of the two photographs that come with scikit-learn:
# half a million rows of 48 numbers, 104 MB as float32. They are written to a file first, a few lines of the
# photograph at a time.

# sphinx_gallery_thumbnail_number = 2
import tempfile
import tracemalloc
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.datasets import load_sample_image

from fastgmm import GaussianMixture

folder = tempfile.TemporaryDirectory()
path = Path(folder.name) / "patches.npy"
images = [load_sample_image(name).astype(np.float32) / 255 for name in ("china.jpg", "flower.jpg")]
n_rows = sum((image.shape[0] - 3) * (image.shape[1] - 3) for image in images)
file = np.lib.format.open_memmap(path, "w+", np.float32, (n_rows, 48))
start = 0
for image in images:
    windows = sliding_window_view(image, (4, 4), axis=(0, 1))
    for line in windows:
        file[start : start + len(line)] = line.reshape(len(line), 48)
        start += len(line)
file.flush()
del file
megabytes = path.stat().st_size / 1e6
print(f"{n_rows} rows of 48 numbers, {megabytes:.0f} MB on disk")

# %%
# A path is rows. ``tracemalloc`` counts what NumPy allocates while the fit runs; compiled code is warmed up by a
# small fit before.

model = GaussianMixture(8, covariance_type="diag", tol=1e-2, random_state=0)
model.fit(np.load(path, mmap_mode="r")[:5000])

tracemalloc.start()
from_disk = model.fit(path)
peak = tracemalloc.get_traced_memory()[1] / 1e6
tracemalloc.stop()
means = from_disk.means_.copy()
in_memory = model.fit(np.load(path))
print(f"most memory during the fit of the file: {peak:.0f} MB; less than the file: {peak < megabytes}")
print(f"the same bits as in memory: {np.array_equal(means, in_memory.means_)}")

# %%
# The components, as small pictures: most are flat areas of one colour, for neighbouring pixels are alike. Below
# each its share.

figure, axes = plt.subplots(1, 8, figsize=(12, 2.2), layout="constrained")
for ax, k in zip(axes, np.argsort(-in_memory.weights_), strict=True):
    ax.imshow(in_memory.means_[k].reshape(3, 4, 4).transpose(1, 2, 0).clip(0, 1))
    ax.set_title(f"{in_memory.weights_[k]:.0%}")
    ax.axis("off")

# %%
# Predictions read the file in the same way, and return an array.

labels = in_memory.predict(path)
height, width = images[0].shape[0] - 3, images[0].shape[1] - 3
figure, axes = plt.subplots(1, 2, figsize=(11, 3.9), layout="constrained")
axes[0].imshow(images[0])
axes[1].imshow(labels[: height * width].reshape(height, width), cmap="tab10", vmin=0, vmax=9)
axes[1].set_title("component of each patch")
for ax in axes:
    ax.axis("off")
folder.cleanup()

# %%
# The fit took half of what the file holds, for buffers and for the rows that the start is made from. A file four
# times as long takes no more. Sky, leaves and walls fall into components of their own.
