"""
Many columns
============

How many rows a form of covariance needs: patches of a photograph, 144 columns each.
"""

# %%
# Patches of 12 by 12 pixels of a photograph of a temple that comes with scikit-learn. A covariance matrix of a patch
# has 10,440 numbers, one of five factors 854. Half a grey level of noise, the size of the rounding, makes pixels
# continuous.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_image

from fastgmm import FactorMixture, GaussianMixture

rng = np.random.default_rng(0)
image = load_sample_image("china.jpg").mean(axis=2)
corners = np.column_stack([rng.integers(0, size - 12, 9000) for size in image.shape])
patches = np.array([image[i : i + 12, j : j + 12].ravel() for i, j in corners])
patches += rng.uniform(-0.5, 0.5, patches.shape)
rows, new = patches[:6000], patches[6000:]

# %%
# Six components in four forms, fitted to more and more rows; what counts is the log-likelihood of rows that no fit saw.

models = {
    "diag": GaussianMixture(6, covariance_type="diag", random_state=0),
    "tied": GaussianMixture(6, covariance_type="tied", random_state=0),
    "5 factors": FactorMixture(6, 5, tol=1e-3, random_state=0),
    "full": GaussianMixture(6, random_state=0),
}
sizes = [1000, 1500, 2000, 3000, 6000]
scores = {name: [model.fit(rows[:n]).score(new) for n in sizes] for name, model in models.items()}
for name, values in scores.items():
    print(f"{name:10}", *(f"{value:8.0f}" for value in values))

# %%
# One line for each form, by the number of rows:

figure, axes = plt.subplots(figsize=(7, 4.4), layout="constrained")
for name, values in scores.items():
    axes.plot(sizes, values, "o-", label=name)
axes.set(xlabel="rows", ylabel="log-likelihood of a new patch", xscale="log", xticks=sizes, xticklabels=sizes)
axes.minorticks_off()
axes.legend()

# %%
# Few rows do for factors; variances alone, or one covariance for all components, describe patches badly. The full form
# is the best in the end, where there are a thousand rows for each component, and far worse than factors before.
