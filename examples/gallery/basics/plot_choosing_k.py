"""
How many components, and of which family
========================================

How to choose the number of components by BIC and by ICL, over several families at once.
"""

# %%
# Reaven and Miller measured glucose, insulin and a third quantity of 145 adults. Physicians had put them into
# three classes, which the fits do not see. Every combination of family and number of components is fitted from
# ten starts.

# sphinx_gallery_thumbnail_number = 2
import matplotlib.pyplot as plt
import numpy as np

from fastgmm import GaussianMixture
from fastgmm.datasets import load_diabetes
from fastgmm.plotting import plot_mixture

adults = load_diabetes()
X = adults.data
families = ("full", "tied", "diag", "spherical", "tied-diag")
counts = range(1, 8)

fits = {
    (family, k): GaussianMixture(k, covariance_type=family, n_init=10, tol=1e-5, max_iter=2000, random_state=0).fit(X)
    for family in families
    for k in counts
}

# %%
# A component that has shrunk onto a few rows has a likelihood without limit, which says nothing. fastgmm lists
# such components in ``spurious_``; fits that have one stay out of the choice.

sound = {key: fit for key, fit in fits.items() if not fit.spurious_}
by_bic = min(sound, key=lambda key: sound[key].bic(X))
by_icl = min(sound, key=lambda key: sound[key].icl(X))
print(f"left out: {sorted(fits.keys() - sound.keys())}")
print(f"lowest BIC: {by_bic}, {sound[by_bic].bic(X):.1f}; lowest ICL: {by_icl}, {sound[by_icl].icl(X):.1f}")

figure, ax = plt.subplots(figsize=(8, 4.5), layout="constrained")
for family in families:
    kept = [k for k in counts if (family, k) in sound]
    ax.plot(kept, [sound[family, k].bic(X) for k in kept], "o-", label=family)
ax.set_xlabel("number of components")
ax.set_ylabel("BIC (lower is better)")
ax.legend(title="covariance_type")

# %%
# The choice against the classes of the physicians:

best = sound[by_bic]
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
