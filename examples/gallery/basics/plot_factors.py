"""
Few factors for many columns
============================

Three groups of 13 columns: covariances of few factors lie between those of none and those without any form.
"""

# %%
# 178 wines of three cultivars, of which 13 measurements are known (scikit-learn's copy of the data of Forina and others
# of 1988). A covariance without any form has 91 numbers, three of them 273: more than there are wines.

import matplotlib.pyplot as plt
from sklearn.datasets import load_wine
from sklearn.metrics import adjusted_rand_score

from fastgmm import FactorMixture, GaussianMixture

wines = load_wine()
X = (wines.data - wines.data.mean(axis=0)) / wines.data.std(axis=0)

sizes = range(1, 5)
fits = {
    kind: [FactorMixture(3, q, uniquenesses=kind, random_state=0).fit(X) for q in sizes]
    for kind in ("own", "common", "isotropic")
}
others = {name: GaussianMixture(3, covariance_type=name, n_init=3, random_state=0).fit(X) for name in ("diag", "full")}

# %%
# BIC compares them: how much likelihood the factors are worth.

figure, axes = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
for kind, models in fits.items():
    axes[0].plot(sizes, [model.bic(X) for model in models], "o-", label=f"factors, {kind}")
for name, style in zip(others, ("--", ":"), strict=True):
    axes[0].axhline(others[name].bic(X), color="0.4", linestyle=style, label=name)
axes[0].set(xlabel="factors", ylabel="BIC (lower is better)", xticks=list(sizes))
axes[0].legend(loc=(0.1, 0.36), ncols=2)

best = min((model for models in fits.values() for model in models), key=lambda model: model.bic(X))
image = axes[1].imshow(best.communalities().T, vmin=0.0, vmax=1.0, aspect="auto")
axes[1].set(xlabel="component", xticks=range(3), yticks=range(13))
axes[1].set_yticklabels([name.replace("_", " ").split("/")[0] for name in wines.feature_names])
figure.colorbar(image, ax=axes[1], label="share of the variance that factors explain")

# %%
# The groups that the best one finds, beside the cultivars, which it was not told of:

for name, model in {"factors": best, **others}.items():
    print(f"{name:8} BIC {model.bic(X):.0f}, agreement {adjusted_rand_score(wines.target, model.predict(X)):.3f}")
print(best)

# %%
# Factors say which measurements go together in a group, and by BIC these covariances describe the wines better than
# ones without any form, which have too many numbers for so few rows, and than ones that know of no correlation.
