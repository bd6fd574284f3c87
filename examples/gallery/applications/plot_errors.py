"""
Errors of measurement: the mixture behind noisy rows
====================================================

How to fit what was measured rather than the noisy measurements, where the errors of the rows are known.
"""

# %%
# Old Faithful's eruptions and the waits before them fall into two groups. Suppose that each was measured by another
# observer, some of whom are several times as careful as others, and that it is known how careful each one is.

import matplotlib.pyplot as plt
import numpy as np

from fastgmm import GaussianMixture
from fastgmm.datasets import load_faithful
from fastgmm.plotting import PALETTE

truth = load_faithful().data
rng = np.random.default_rng(0)
deviations = np.stack([rng.uniform(0.1, 0.8, len(truth)), rng.uniform(2.0, 12.0, len(truth))], axis=1)
X = truth + deviations * rng.normal(size=truth.shape)

params = {"n_components": 2, "tol": 1e-6, "max_iter": 1000, "random_state": 0}
fits = {
    "what was measured": GaussianMixture(**params).fit(truth),
    "without errors": GaussianMixture(**params).fit(X),
    "with errors": GaussianMixture(**params).fit(X, sample_covariance=deviations**2),
}
for name, fit in fits.items():
    spread = np.sqrt(np.diagonal(fit.covariances_, axis1=1, axis2=2))
    print(f"{name:<18} standard deviations {spread.round(2).tolist()}")

# %%
# Ellipses at two standard deviations: of the mixture of the exact rows, which nobody has, and of both fits to the
# noisy ones. On the right, each noisy row is replaced by what is expected of it without its error.

mean, covariance = fits["with errors"].deconvolve(X, deviations**2)
angle = np.linspace(0.0, 2.0 * np.pi, 100)
circle = 2.0 * np.stack([np.cos(angle), np.sin(angle)])
figure, axes = plt.subplots(1, 3, figsize=(13, 4.2), sharex=True, sharey=True, layout="constrained")
titles = "what was measured", "noisy rows", "rows without their errors, as expected"
for ax, rows, title in zip(axes, (truth, X, mean), titles, strict=True):
    ax.scatter(*rows.T, s=8, color="0.6")
    ax.set_title(title)
    ax.set_xlabel("eruption (min)")
axes[0].set_ylabel("waiting (min)")
for (name, fit), colour, ax in zip(fits.items(), PALETTE, (axes[0], axes[1], axes[1]), strict=False):
    for k in range(2):
        x, y = fit.means_[k][:, None] + np.linalg.cholesky(fit.covariances_[k]) @ circle
        ax.plot(x, y, color=colour, label=name if k == 0 else None)
for ax in axes[:2]:
    ax.legend(loc="upper left")

# %%
# How far are they from the truth? The root of the mean square, noisy and denoised:

for name, rows in (("noisy", X), ("denoised", mean)):
    print(f"{name:<9}", np.sqrt(((rows - truth) ** 2).mean(axis=0)).round(2))

# %%
# Without their errors, rows make both groups half again as wide as they are, and more. With them, three of the four
# standard deviations are within a tenth of those of the exact rows, and rows that are drawn towards their group are
# less than two thirds as far from the truth as the noisy ones.
