"""
Priors for small components
===========================

Petal widths, rounded to a millimetre: without a prior, components that sit on one number win any choice.

A component on one repeated number can be made as narrow as one likes, and its likelihood grows with it.
"""

# %%
# 150 widths of iris petals have 22 different values. For each number of components, the best of five fits without a
# prior and with that of mclust's ``priorControl()``, which pulls variances towards a share of the variance of all rows.

import warnings

import matplotlib.pyplot as plt
import numpy as np

from fastgmm import GaussianMixture
from fastgmm.datasets import load_iris
from fastgmm.exceptions import SpuriousComponentWarning

X = load_iris().data[:, 3:]
sizes = range(1, 10)


def fits(prior):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpuriousComponentWarning)
        models = [GaussianMixture(k, prior=prior, n_init=5, max_iter=1000, random_state=0) for k in sizes]
        return [model.fit(X) for model in models]


plain, regular = fits(None), fits("mclust")
figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for models, label in ((plain, "without a prior"), (regular, 'prior="mclust"')):
    axes[0].plot(sizes, [model.bic(X) for model in models], "o-", label=label)
axes[0].set(xlabel="components", ylabel="BIC (lower is better)")
axes[0].legend()
points = np.linspace(-0.2, 2.9, 2000)[:, None]
values, counts = np.unique(X, return_counts=True)
axes[1].bar(values, counts / counts.sum() / 0.1, 0.08, color="0.85")
for models, label in ((plain, "without a prior"), (regular, 'prior="mclust"')):
    axes[1].plot(points, np.exp(models[7].score_samples(points)), label=label)
axes[1].set(xlabel="petal width [cm]", ylabel="density of eight components", ylim=(0, 4))

# %%
# The narrowest standard deviation of eight components, in cm:

for models, label in ((plain, "without"), (regular, "with")):
    model = models[7]
    print(f"{label} a prior {np.sqrt(model.covariances_).min():.3f}, spurious components: {len(model.spurious_)}")

best = min(regular, key=lambda model: model.bic(X))
print(f"BIC with a prior: {best.n_components} components, means {np.sort(best.means_.ravel()).round(2)}")

# %%
# Without a prior, what is narrowest is the square root of ``reg_covar``, and BIC would choose such fits
# (``GaussianMixtureIC`` leaves them out). With one, all sizes can be compared, and BIC finds the two groups.
