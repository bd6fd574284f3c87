"""
A thousand fits: how sure are the numbers of a fit?
===================================================

How ``fit_many`` makes the bootstrap of a mixture a matter of a moment.
"""

# %%
# The bootstrap asks how much a fit would differ for other data of the same kind: the rows are drawn again with
# replacement, a thousand times, and each draw is fitted. Rows that are drawn twice get the weight 2. So all
# problems share the rows and differ in weights, and one call fits them all. All start at the fit of the real
# rows, which also keeps the order of components.

import time

import matplotlib.pyplot as plt
import numpy as np

from fastgmm import GaussianMixture, fit_many
from fastgmm.datasets import load_faithful

X = load_faithful().data
whole = GaussianMixture(2, tol=1e-6, max_iter=500, random_state=0).fit(X)

rng = np.random.default_rng(0)
weights = rng.multinomial(len(X), np.full(len(X), 1 / len(X)), size=1000).astype(float)
estimator = GaussianMixture(2, means_init=whole.means_, tol=1e-6, max_iter=500)
fit_many(estimator, X, sample_weight=weights[:10])  # compiles, or loads what was compiled
began = time.perf_counter()
many = fit_many(estimator, X, sample_weight=weights)
seconds = time.perf_counter() - began
print(f"{len(many)} fits, all converged: {many.converged_.all()}; less than a second: {seconds < 1}")

# %%
short = many.means_[:, :, 0].argmin(axis=1)
share = many.weights_[np.arange(1000), short]
means = many.means_[np.arange(1000), short]
print(
    f"share of short eruptions: {share.mean():.3f},",
    f"95 % between {np.quantile(share, 0.025):.3f} and {np.quantile(share, 0.975):.3f}",
)
print(f"their mean wait: {means[:, 1].mean():.1f} min, 95 % between {np.quantile(means[:, 1], 0.025):.1f} and", end=" ")
print(f"{np.quantile(means[:, 1], 0.975):.1f} min")

figure, axes = plt.subplots(1, 2, figsize=(12, 4.2), layout="constrained")
axes[0].scatter(*X.T, s=12, color="#BBBBBB", label="eruptions")
for k, colour in ((0, "#0072B2"), (1, "#E69F00")):
    axes[0].scatter(*many.means_[:, k].T, s=3, alpha=0.3, color=colour, label=f"means of component {k}")
axes[0].set_xlabel("eruption (min)")
axes[0].set_ylabel("waiting (min)")
axes[0].legend(markerscale=3)
axes[1].hist(share, bins=40, color="#0072B2")
axes[1].set_xlabel("share of short eruptions")
axes[1].set_ylabel("fits")

# %%
# The share of short eruptions is known to about five and a half percentage points either way, their mean wait to
# about a minute.
