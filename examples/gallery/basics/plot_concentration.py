"""
Variational Bayes: how many components survive
==============================================

How the concentration of the prior decides how many of ten components keep rows.
"""

# %%
# ``BayesianGaussianMixture`` starts with more components than needed and empties those that the data do not ask
# for. ``weight_concentration_prior`` says how willingly: the smaller, the fewer components are kept. The data are
# the velocities of 82 galaxies, of which astronomers think that they lie in clusters with voids between them.

import matplotlib.pyplot as plt

from fastgmm import BayesianGaussianMixture
from fastgmm.datasets import load_galaxies
from fastgmm.plotting import plot_mixture

X = load_galaxies().data / 1000
concentrations = (1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0)
models = [
    BayesianGaussianMixture(
        10,
        weight_concentration_prior_type="dirichlet_distribution",
        weight_concentration_prior=concentration,
        covariance_prior=[[1.0]],
        mean_precision_prior=0.05,
        max_iter=5000,
        tol=1e-4,
        n_init=5,
        random_state=0,
    ).fit(X)
    for concentration in concentrations
]
for concentration, model in zip(concentrations, models, strict=True):
    print(f"concentration {concentration:>7}: {model.n_effective_components_:>2} kept, bound {model.lower_bound_:.2f}")

# %%
figure, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained", sharey=True)
for ax, index in zip(axes, (0, 3, 5), strict=True):
    plot_mixture(models[index], X, ax, feature_names=["velocity (1000 km/s)"])
    ax.set_title(f"concentration {concentrations[index]}: {models[index].n_effective_components_} components")

# %%
figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
ax.plot(concentrations, [model.lower_bound_ for model in models], "o-", color="#0072B2")
ax.set_xscale("log")
ax.set_xlabel("weight_concentration_prior")
ax.set_ylabel("evidence lower bound")

# %%
# From 0.001 to 0.1 the prior leaves five components; with 10 and more it asks for all ten to be used, and they
# are. The bound is highest at 0.1: it compares priors as well as numbers of components, so it can choose the
# concentration, too.
