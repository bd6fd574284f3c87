"""
Heavy tails
===========

Old Faithful beside gross errors once more, which components with heavy tails keep at a distance.
"""

# %%
# 272 eruptions of the geyser, and 30 rows that are spread over a larger space: mistyped numbers, other sources. Normal
# components have to reach all rows; Student-t components let rows count the less the farther out they are.

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Ellipse

from fastgmm import GaussianMixture, StudentMixture
from fastgmm.datasets import load_faithful

eruptions = load_faithful()
errors = np.random.default_rng(0).uniform([0.0, 20.0], [8.0, 130.0], size=(30, 2))
X = np.vstack([eruptions.data, errors])

plain = GaussianMixture(2, random_state=0).fit(X)
heavy = StudentMixture(2, random_state=0).fit(X)
clean = GaussianMixture(2, random_state=0).fit(eruptions.data)
print(f"{heavy.degrees_of_freedom_[0]:.2f} degrees of freedom")


def draw(ax, means, matrices):
    for mean, matrix in zip(means, matrices, strict=True):
        values, vectors = np.linalg.eigh(matrix)
        angle = np.degrees(np.arctan2(*vectors[::-1, 1]))
        for deviations in (1.0, 2.0):
            height, width = 2.0 * deviations * np.sqrt(values)
            ax.add_patch(Ellipse(mean, width, height, angle=angle, fill=False, color="C1", linewidth=1.5))


figure, axes = plt.subplots(1, 2, figsize=(10, 4.4), sharex=True, sharey=True, layout="constrained")
for ax, title in zip(axes, ("normal components", "Student-t components"), strict=True):
    weights = np.ones(len(X)) if ax is axes[0] else heavy.typicality(X)
    points = ax.scatter(*X.T, c=weights, s=14, cmap="viridis", vmin=0.0, vmax=1.5)
    ax.set_title(title)
    ax.set_xlabel(eruptions.feature_names[0])
axes[0].set_ylabel(eruptions.feature_names[1])
draw(axes[0], plain.means_, plain.covariances_)
draw(axes[1], heavy.means_, heavy.scales_)
figure.colorbar(points, ax=axes, label="how much a row counts")

# %%
# How far are the means from those of the fit to the clean rows, in minutes?


def means(model):
    return model.means_[np.argsort(model.means_[:, 0])]


print("normal   ", np.abs(means(plain) - means(clean)).max(axis=0).round(3))
print("Student-t", np.abs(means(heavy) - means(clean)).max(axis=0).round(3))

# %%
# Rows that count little are the ones to look at. Of those that count less than a tenth as much as an ordinary row:

suspects = np.flatnonzero(heavy.typicality(X) < 0.1)
print(f"{len(suspects)} rows, of which {np.count_nonzero(suspects >= 272)} are errors")

# %%
# BIC counts the degrees of freedom as one parameter. Errors that are spread as evenly as these are better told by a
# uniform share, with ``noise=True``:

noisy = GaussianMixture(2, noise=True, random_state=0).fit(X)
print(f"BIC of normal components {plain.bic(X):.1f}, of Student-t components {heavy.bic(X):.1f}")
print(f"BIC of normal components beside noise {noisy.bic(X):.1f}")

# %%
# Heavy tails need no guess of where errors may be, and say of each row how much it counts. Where errors fill a region
# evenly, noise describes them better; where groups themselves have long tails, it does not describe them at all.
