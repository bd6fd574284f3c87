"""
Rows with gaps
==============

A mixture can be fitted to rows that lack entries, and fill the gaps: by its best guess, or by draws.
"""

# %%
# Eruptions of Old Faithful once more, of which three tenths of the waits, and a tenth of the durations, were not
# written down.

import matplotlib.pyplot as plt
import numpy as np

from fastgmm import GaussianMixture
from fastgmm.datasets import load_faithful

X = load_faithful().data
hidden = np.random.default_rng(0).random(X.shape) < [0.1, 0.3]
hidden[hidden.all(axis=1)] = False
gaps = np.where(hidden, np.nan, X)
print(f"{np.isnan(gaps).any(axis=1).sum()} of {len(X)} rows have a gap")

# %%
# With ``missing="marginal"`` a row counts by what is known of it: nothing is dropped, and nothing made up.

model = GaussianMixture(2, missing="marginal", random_state=0).fit(gaps)
whole = GaussianMixture(2, random_state=0).fit(X)
print("means, with gaps: ", *model.means_[np.argsort(model.means_[:, 0])].round(2))
print("means, all known: ", *whole.means_[np.argsort(whole.means_[:, 0])].round(2))

# %%
# ``impute`` fills the gaps with what is to be expected there. Such values lie on curves, and have too little spread:
# whoever goes on with the completed rows takes several draws instead, each with the spread of the data.

guesses = model.impute(gaps)
draws = model.impute(gaps, draws=20, random_state=0)

figure, axes = plt.subplots(1, 3, figsize=(10, 3.6), sharex=True, sharey=True, layout="constrained")
filled = hidden.any(axis=1)
for ax, rows, title in zip(axes, (X, guesses, draws[0]), ("hidden", "expected", "drawn"), strict=True):
    ax.scatter(*X[~filled].T, s=8, color="0.7")
    ax.scatter(*rows[filled].T, s=12, color="#D55E00")
    ax.set_title(f"rows with a gap: {title}")
    ax.set_xlabel("length of the eruption (min)")
axes[0].set_ylabel("wait for the next one (min)")

# %%
# How far off are the guesses? The mean of the column, which is often taken, is the yardstick.

wait = hidden[:, 1]
for name, values in (("mixture", guesses[wait, 1]), ("mean of the column", np.nanmean(gaps[:, 1]))):
    print(f"root mean square error of the waits, {name}: {np.sqrt(np.mean((X[wait, 1] - values) ** 2)):.1f} min")
print(
    "correlation:", *(f"{np.corrcoef(rows.T)[0, 1]:.3f}" for rows in (X, guesses, draws[0])), "(all, expected, drawn)"
)

# %%
# The gaps cost little: the mean waits are those of all rows to a quarter of a minute. Guesses by the mixture are less
# than half as far off as the mean of the column, but make the columns look more alike than they are; draws do not.
