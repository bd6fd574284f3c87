"""
Six families of covariances
===========================

Which shapes the groups may have under each ``covariance_type``, and how BIC chooses between them.
"""

# %%
# The rows are the irises of Anderson and Fisher, two of their four lengths. Each family is a different promise
# about the groups: "full" lets each have a shape of its own, "tied" gives all of them one shape, "diag" forbids
# correlation, "spherical" makes circles. BIC is minus twice the log-likelihood plus a price for each free
# parameter: lower is better.

import math

import matplotlib.pyplot as plt

from fastgmm import GaussianMixture
from fastgmm.datasets import load_iris
from fastgmm.plotting import plot_mixture

iris = load_iris()
X = iris.data[:, [0, 2]]
families = ("full", "diag", "spherical", "tied", "tied-diag", "tied-spherical")

figure, axes = plt.subplots(2, 3, figsize=(12, 7), layout="constrained", sharex=True, sharey=True)
print(f"{'family':<15} parameters  log-likelihood     BIC")
for ax, family in zip(axes.flat, families, strict=True):
    model = GaussianMixture(3, covariance_type=family, n_init=10, tol=1e-5, max_iter=500, random_state=0).fit(X)
    plot_mixture(model, X, ax, feature_names=["sepal length (cm)", "petal length (cm)"])
    ax.set_title(f"{family}: BIC {model.bic(X):.1f}")
    log_likelihood = model.score(X) * len(X)
    n_parameters = round((model.bic(X) + 2 * log_likelihood) / math.log(len(X)))
    print(f"{family:<15} {n_parameters:>10} {log_likelihood:>15.2f} {model.bic(X):>7.1f}")

# %%
# Lowest is "full": the three species differ in shape and direction. A common shape ("tied") comes next, ahead of
# all families without correlation, for the two lengths grow together within a species.
