"""
How many components, and of which family
========================================

How to choose the number of components by BIC and by ICL, over several families at once.
"""

# %%
# Reaven and Miller measured glucose, insulin and a third quantity of 145 adults. Physicians had put them into
# three classes, which the fits do not see. Every combination of family and number of components is fitted from
# ten starts; what starts have in common is made once for all families.

# sphinx_gallery_thumbnail_number = 2
import matplotlib.pyplot as plt
import numpy as np

from fastgmm import GaussianMixture, GaussianMixtureIC
from fastgmm.datasets import load_diabetes
from fastgmm.plotting import plot_criterion, plot_mixture

adults = load_diabetes()
X = adults.data
families = ["full", "tied", "diag", "spherical", "tied-diag"]
fits = GaussianMixture(n_init=10, tol=1e-5, max_iter=2000)
selection = GaussianMixtureIC(1, 7, covariance_type=families, estimator=fits, random_state=0).fit(X)
print(selection.summary())

# %%
# A component that has shrunk onto a few rows has a likelihood without limit, which says nothing. fastgmm lists
# such components in ``spurious_``; fits that have one are hollow in the picture, and stay out of the choice.

figure, ax = plt.subplots(figsize=(8, 4.5), layout="constrained")
plot_criterion(selection, ax)

table = selection.results_
sound = table["spurious"] == 0
by_icl = np.flatnonzero(sound)[table["icl"][sound].argmin()]
print(f"lowest ICL: {table['n_components'][by_icl]} components, {table['covariance_type'][by_icl]}")

# %%
# The choice against the classes of the physicians:

best = selection.best_estimator_
labels = best.predict(X)
print(f"{'class':<10}" + "".join(f"{f'group {k}':>9}" for k in range(best.n_components)))
for number, name in enumerate(adults.target_names):
    print(
        f"{name:<10}"
        + "".join(f"{n:>9}" for n in np.bincount(labels[adults.target == number], minlength=best.n_components))
    )

figure, ax = plt.subplots(figsize=(8, 4.5), layout="constrained")
plot_mixture(best, X, ax)

# %%
# Both criteria choose three components with covariances of their own, and the groups are near the physicians'
# classes: 128 of the 145 adults are in the group of their class. Most of the others are at the border of healthy
# and chemical diabetes.
