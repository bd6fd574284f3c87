"""
Noise beside the groups
=======================

Old Faithful beside gross errors: noise takes the errors, and leaves the groups as they were.

Components that must explain all rows are pulled apart by a few wrong ones.
"""

# %%
# 272 eruptions of the geyser, and 30 rows that are spread over a larger space: mistyped numbers, other sources. A plain
# mixture of two components has to give them to one of the two.

import matplotlib.pyplot as plt
import numpy as np

from fastgmm import GaussianMixture
from fastgmm.datasets import load_faithful
from fastgmm.plotting import plot_mixture

eruptions = load_faithful()
generator = np.random.default_rng(0)
errors = generator.uniform([0.0, 20.0], [8.0, 130.0], size=(30, 2))
X = np.vstack([eruptions.data, errors])
names = eruptions.feature_names

plain = GaussianMixture(2, random_state=0).fit(X)
noisy = GaussianMixture(2, noise=True, random_state=0).fit(X)
clean = GaussianMixture(2, random_state=0).fit(eruptions.data)

figure, axes = plt.subplots(1, 2, figsize=(10, 4.4), sharex=True, sharey=True, layout="constrained")
for ax, model, title in ((axes[0], plain, "two components"), (axes[1], noisy, "two components and noise")):
    plot_mixture(model, X, ax, feature_names=names)
    ax.set_title(title)

# %%
# How far are the means from those of the fit to the clean rows, in minutes?


def means(model):
    return model.means_[np.argsort(model.means_[:, 0])]


print("plain", np.abs(means(plain) - means(clean)).max(axis=0).round(3))
print("noise", np.abs(means(noisy) - means(clean)).max(axis=0).round(3))

# %%
# Rows with the label -1 are noise, and noise has a weight:

labels = noisy.predict(X)
print(f"{(labels[272:] == -1).sum()} of 30 errors and {(labels[:272] == -1).sum()} of 272 eruptions are noise")
print(f"weight of noise {noisy.noise_weight_:.3f}, of the errors {30 / len(X):.3f}")

# %%
# BIC counts the weight and the volume of noise as parameters:

print(f"BIC without noise {plain.bic(X):.1f}, with noise {noisy.bic(X):.1f}")

# %%
# Noise takes nearly all of the errors, its weight says how many there are, and the groups are where they are without
# any. BIC prefers the mixture with noise by far.
