"""
Slow convergence, and fewer passes
==================================

What a fit with overlapping groups looks like from inside, and what ``accelerate`` saves.
"""

# %%
# The acidity of 155 lakes in Wisconsin, three components: the third overlaps the others, so EM creeps. Every pass
# reads all rows once, so passes are what costs time when there are many rows.

import matplotlib.pyplot as plt
import numpy as np

from fastgmm import GaussianMixture
from fastgmm.datasets import load_acidity
from fastgmm.plotting import plot_mixture

X = load_acidity().data
fits = {
    str(method): GaussianMixture(3, accelerate=method, tol=1e-10, max_iter=20_000, random_state=0).fit(X)
    for method in (None, "squarem", "anderson")
}
for name, fit in fits.items():
    print(f"{name:<9} {fit.n_passes_:>5} passes, mean log-likelihood {fit.lower_bound_:.9f}")
loose = GaussianMixture(3, random_state=0).fit(X)
print(f"with the default tol of 0.001 plain EM stops after {loose.n_iter_} iterations, at {loose.lower_bound_:.9f}")

# %%
limit = max(fit.lower_bound_ for fit in fits.values())
figure, axes = plt.subplots(1, 2, figsize=(12, 4.2), layout="constrained")
for name, fit in fits.items():
    axes[0].semilogy(np.maximum(limit - np.array(fit.lower_bounds_), 1e-12), label=f"accelerate={name}")
axes[0].set_xscale("log")
axes[0].set_xlabel("iteration")
axes[0].set_ylabel("distance to the highest bound")
axes[0].legend()
plot_mixture(fits["anderson"], X, axes[1], feature_names=["log acid neutralising capacity"])

# %%
# All three reach one optimum, to 3e-9. Squarem needs a third of the passes, Anderson a tenth. And the default
# tolerance had stopped plain EM after 5 iterations, 0.028 below: fine for a first look, not for a comparison of
# models. ``stopping="aitken"`` estimates what is left.
