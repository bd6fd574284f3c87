"""
Image segmentation
==================

How the pixels of a microscope picture fall into kinds of tissue by their colours.
"""

# %%
# The picture that comes with scikit-image shows colon tissue: glands in which one stain colours a protein brown,
# and the tissue between them, where another stain makes nuclei blue. A row is the colour of a pixel in the Lab
# space, whose distances are near to what eyes see, after a slight blur against noise.

import matplotlib.pyplot as plt
import numpy as np
from skimage.color import rgb2lab
from skimage.data import immunohistochemistry
from skimage.filters import gaussian

from fastgmm import GaussianMixture

image = immunohistochemistry()
X = gaussian(rgb2lab(image), sigma=1, channel_axis=2).reshape(-1, 3)
model = GaussianMixture(4, n_init=5, tol=1e-6, max_iter=2000, random_state=0).fit(X)
labels = model.predict(X).reshape(image.shape[:2])
colours = np.array([image[labels == k].mean(axis=0) for k in range(4)]).round().astype(int)
for k in np.argsort(colours.sum(axis=1)):
    print(f"group {k}: {np.mean(labels == k):>6.1%} of the pixels, mean red, green, blue {colours[k].tolist()}")

# %%
figure, axes = plt.subplots(1, 2, figsize=(11, 5.4), layout="constrained")
axes[0].imshow(image)
axes[0].set_title("picture")
axes[1].imshow(colours[labels])
axes[1].set_title("four groups, in their mean colours")
for ax in axes:
    ax.axis("off")

# %%
# ``predict_proba`` says how sure each pixel is; the colour of tissue changes smoothly, and so do the
# probabilities.

brown = np.argsort(colours.sum(axis=1))[:2]
probability = model.predict_proba(X)[:, brown].sum(axis=1).reshape(image.shape[:2])
print(f"pixels that are glands or not with more than 95 %: {np.mean(np.abs(probability - 0.5) > 0.45):.1%}")
figure, ax = plt.subplots(figsize=(6.4, 5.4), layout="constrained")
figure.colorbar(
    ax.imshow(probability, cmap="magma", vmin=0, vmax=1), label="probability of the two darkest groups: glands"
)
ax.axis("off")

# %%
# The two darkest groups are the glands, the two lightest the tissue between them and the empty ground. Blue
# nuclei get no group of their own: there are too few such pixels, and their colours run into those around them.
