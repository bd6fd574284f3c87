"""
Batches that come one at a time
===============================

How ``partial_fit`` follows rows that come once, and ends where a fit ends when batches may come again.
"""

# %%
# Speech comes as recordings: 270 utterances of nine men, 4274 frames of twelve numbers. A model that learns on
# the fly takes 30 utterances at a time, in a random order, and forgets them. Another one keeps what it learned
# from each batch by name, and replaces it when the batch comes again.

import matplotlib.pyplot as plt
import numpy as np

from fastgmm import GaussianMixture
from fastgmm.io import read_table

table = read_table("../../data/vowels.csv.gz").values
train, test = table[table[:, 2] == 0], table[table[:, 2] == 1][:, 3:]
order = np.random.default_rng(0).permutation(270)
batches = {f"batch {n}": train[np.isin(train[:, 1], order[30 * n : 30 * n + 30])][:, 3:] for n in range(9)}

once = GaussianMixture(8, covariance_type="tied", max_iter=500, random_state=0)
scores_once = [once.partial_fit(batch).score(test) for batch in batches.values()]

again = GaussianMixture(8, covariance_type="tied", max_iter=500, tol=1e-4, random_state=0)
scores_again = []
while not getattr(again, "converged_", False):
    for name, batch in batches.items():
        scores_again.append(again.partial_fit(batch, batch=name).score(test))

# %%
# The yardstick: a fit of all rows at once, from where the batches ended. There should be little left for it to
# do.

rows = np.concatenate(list(batches.values()))
start = {"weights_init": again.weights_, "means_init": again.means_, "precisions_init": again.precisions_}
whole = GaussianMixture(8, covariance_type="tied", max_iter=500, tol=1e-4, **start).fit(rows)
print(
    f"new frames: each batch once {scores_once[-1]:.3f},",
    f"batches again {scores_again[-1]:.3f}, fit of all {whole.score(test):.3f}",
)
print(f"rows of training: {once.score(rows):.3f}, {again.score(rows):.3f}, {whole.score(rows):.3f}")
print(f"iterations of the fit of all: {whole.n_iter_}")
print(f"rounds of all batches until convergence: {len(scores_again) // 9}")

figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
ax.plot(range(1, 10), scores_once, "o-", color="#E69F00", label="each batch once")
ax.plot(range(1, len(scores_again) + 1), scores_again, "-", color="#0072B2", label="batches that come again")
ax.axhline(whole.score(test), color="black", linestyle="--", label="one fit of all rows")
ax.set_xscale("log")
ax.set_xlabel("batches seen")
ax.set_ylabel("mean log-density of new frames")
ax.legend()

# %%
# After one visit to each batch the model is near; after eleven rounds it is where a fit of all rows stays: that
# needs two iterations to see that nothing is left to do.
