"""
Calm and stormy days of a stock market
======================================

How a mixture separates days of small and of large changes, and describes rare losses better than one Gaussian does.
"""

# %%
# The DAX, SMI, CAC and FTSE on the 1860 business days of 1991 to 1998. A day is a row of four percentage changes.
# Two full covariances with means near zero: calm days and stormy days.

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import norm

from fastgmm import GaussianMixture
from fastgmm.io import read_table

table = read_table("../../data/eustockmarkets.csv.gz")
X = 100 * np.diff(np.log(table.values), axis=0)
one = GaussianMixture(1).fit(X)
two = GaussianMixture(2, n_init=5, tol=1e-6, max_iter=1000, random_state=0).fit(X)
three = GaussianMixture(3, n_init=5, tol=1e-6, max_iter=1000, random_state=0).fit(X)
print("BIC of one, two and three components:", *(f"{fit.bic(X):.0f}" for fit in (one, two, three)))
spread = np.sqrt(np.diagonal(two.covariances_, axis1=1, axis2=2))
stormy = int(spread.mean(axis=1).argmax())
for k in np.argsort(spread.mean(axis=1)):
    correlation = two.covariances_[k] / np.outer(spread[k], spread[k])
    print(
        f"{'stormy' if k == stormy else 'calm':<7} {two.weights_[k]:>5.1%} of days; spread {spread[k].round(2)};",
        end=" ",
    )
    print(f"mean correlation {correlation[np.triu_indices(4, 1)].mean():.2f}")

# %%
# The probability that a day is stormy, smoothed over a month. The model does not know the order of days; storms
# cluster in time nevertheless.

probability = two.predict_proba(X)[:, stormy]
is_stormy = probability > 0.5
after = is_stormy[1:][is_stormy[:-1]].mean()
print(f"stormy: {is_stormy.mean():.1%} of days, {after:.1%} of days after a stormy one")
year = 1991.496 + np.arange(len(X)) / 260
figure, axes = plt.subplots(2, 1, figsize=(10, 5.4), layout="constrained", sharex=True)
axes[0].plot(year, X[:, 0], color="#0072B2", linewidth=0.6)
axes[0].set_ylabel("change of the DAX (%)")
axes[1].fill_between(year, np.convolve(probability, np.ones(21) / 21, mode="same"), color="#D55E00", alpha=0.7)
axes[1].set_ylabel("probability of storm")

# %%
# Rare losses: how often did the DAX lose more than so much, and how often should it have?

losses = np.linspace(0.5, 6, 60)
figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
ax.semilogy(losses, [np.mean(X[:, 0] < -loss) for loss in losses], "k.", label="observed")
for fit, name in ((one, "one Gaussian"), (two, "two components")):
    tail = sum(
        weight * norm.cdf(-losses, mean[0], covariance[0, 0] ** 0.5)
        for weight, mean, covariance in zip(fit.weights_, fit.means_, fit.covariances_, strict=True)
    )
    ax.semilogy(losses, tail, label=name)
    at = sum(
        weight * norm.cdf(-3, mean[0], covariance[0, 0] ** 0.5)
        for weight, mean, covariance in zip(fit.weights_, fit.means_, fit.covariances_, strict=True)
    )
    print(f"{name}: expects {at * len(X):.1f} days with a loss above 3 %; observed {np.sum(X[:, 0] < -3)}")
ax.set_ylim(1e-4, 1)
ax.set_xlabel("loss of the DAX in a day (%)")
ax.set_ylabel("share of days with a larger loss")
ax.legend()

# %%
# On stormy days, a quarter of all, changes are about twice as large, and markets move together a little more. One
# Gaussian expects 3 days with a loss above 3 %, the mixture 15; there were 11. Beyond 4.5 % even two components
# expect fewer than there were. A day after a stormy one is stormy about twice as often as any day: what a hidden
# Markov model would use.
