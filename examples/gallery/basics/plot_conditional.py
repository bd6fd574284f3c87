"""
Given one column, what of the other?
====================================

A fitted mixture is a regression too: a prediction with a spread that differs from place to place.
"""

# %%
# Eruptions of Old Faithful again: a visitor who has seen how long one lasted wants to know how long the next one
# takes to come.

import matplotlib.pyplot as plt
import numpy as np

from fastgmm import GaussianMixture
from fastgmm.datasets import load_faithful

X = load_faithful().data
model = GaussianMixture(3, n_init=10, random_state=0).fit(X)

# %%
# ``condition`` takes the known column and its values, and gives the distribution of the others for each: a mean,
# quantiles, draws.

durations = np.linspace(1.5, 5.2, 200)
wait = model.condition(0, durations[:, None])
low, high = wait.quantile(0.05), wait.quantile(0.95)

figure, ax = plt.subplots(figsize=(7, 4.2), layout="constrained")
ax.scatter(*X.T, s=10, color="0.5")
ax.fill_between(durations, low, high, color="#0072B2", alpha=0.25, label="nine of ten")
ax.plot(durations, wait.mean()[:, 0], color="#0072B2", label="mean")
ax.set_xlabel("length of the eruption (min)")
ax.set_ylabel("wait for the next one (min)")
ax.legend(loc="upper left")

# %%
# Does the band hold what it says? The rows that lie in it:

rows = model.condition(0, X[:, [0]])
inside = (rows.quantile(0.05) < X[:, 1]) & (X[:, 1] < rows.quantile(0.95))
print(f"{inside.mean():.1%} of {len(X)} waits")
line = np.polyval(np.polyfit(*X.T, 1), X[:, 0])
for name, mean in (("mixture", rows.mean()[:, 0]), ("a straight line", line)):
    print(f"root mean square error, {name}: {np.sqrt(np.mean((X[:, 1] - mean) ** 2)):.2f} min")

# %%
# ``marginal`` leaves columns out. In one column, ``quantile`` and ``cdf`` are those of the mixture; in any number,
# ``density_threshold`` bounds the smallest region that holds a given share of it.

waits = model.marginal(1)
print("the wait alone: median", waits.quantile(0.5).round(1), "min; over 90 min in", f"{1 - waits.cdf(90.0):.0%}")
unusual = model.score_samples(X) < model.density_threshold(0.99)
print(unusual.sum(), "of", len(X), "eruptions are outside the region of 99 %")

# %%
# Short eruptions are followed by waits of about 55 minutes, long ones by 80; between them, where few rows are, the
# band is wide, as both may come.
