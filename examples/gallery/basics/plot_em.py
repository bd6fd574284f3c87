"""
EM, step by step
================

How a fit proceeds: from a rough start each iteration moves the groups a little, and the likelihood never falls.
"""

# %%
# The data are 272 eruptions of the geyser Old Faithful: how long each lasted, and the wait for the next one. Two
# rough guesses of the means start the fit, so that there is something to see.

import warnings

import matplotlib.pyplot as plt

from fastgmm import GaussianMixture
from fastgmm.datasets import load_faithful
from fastgmm.exceptions import ConvergenceWarning
from fastgmm.plotting import plot_mixture

X = load_faithful().data
start = [[2.5, 75.0], [3.0, 80.0]]
model = GaussianMixture(2, means_init=start, tol=1e-6, reg_covar=0).fit(X)
print(f"{model.n_iter_} iterations, converged: {model.converged_}")

# %%
# ``max_iter`` stops a fit early. fastgmm then warns that it has not converged, which is what we want to look at
# here.

figure, axes = plt.subplots(1, 3, figsize=(12, 4), layout="constrained", sharex=True, sharey=True)
for ax, n_iter in zip(axes, (1, 4, model.n_iter_), strict=True):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        stopped = GaussianMixture(2, means_init=start, tol=0, reg_covar=0, max_iter=n_iter).fit(X)
    plot_mixture(stopped, X, ax, feature_names=["eruption (min)", "waiting (min)"])
    ax.set_title(f"after {n_iter} iteration{'s' if n_iter > 1 else ''}")

# %%
# ``lower_bounds_`` holds the mean log-likelihood of a row after every iteration: how well the mixture explains
# the data.

figure, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
ax.plot(range(1, model.n_iter_ + 1), model.lower_bounds_, "o-", color="#0072B2")
ax.set_xlabel("iteration")
ax.set_ylabel("mean log-likelihood of a row")
steps = [after - before for before, after in zip(model.lower_bounds_, model.lower_bounds_[1:], strict=False)]
print(f"from {model.lower_bounds_[0]:.4f} to {model.lower_bound_:.4f}; smallest step {min(steps):.1e}")

# %%
# The first iterations change the picture, the last ones only the digits. From these two guesses, both on one
# cloud, the fit took 20 iterations; from the start that fastgmm makes by itself it takes 6.
