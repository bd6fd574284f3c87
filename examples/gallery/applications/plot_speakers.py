"""
Who speaks? Mixtures as a classifier of sequences
=================================================

How the score of a whole recording under one mixture for each speaker tells who speaks.
"""

# %%
# Nine men said the two Japanese vowels "ae", 640 times in all. A recording is a sequence of 7 to 29 frames of
# twelve numbers (cepstrum coefficients). One mixture learns the frames of all speakers: the background. Each
# speaker's own mixture starts there and takes some steps of EM on his frames. A recording belongs to the speaker
# under whose mixture its frames have the highest mean log-density.

import matplotlib.pyplot as plt
import numpy as np

from fastgmm import GaussianMixture
from fastgmm.io import read_table

table = read_table("../../data/vowels.csv.gz").values
speaker, utterance, is_test, frames = table[:, 0].astype(int), table[:, 1].astype(int), table[:, 2] == 1, table[:, 3:]

shared = {"covariance_type": "diag", "reg_covar": 1e-3, "max_iter": 500, "random_state": 0}
background = GaussianMixture(16, **shared).fit(frames[~is_test])
own = {
    number: GaussianMixture.from_parameters(
        background.weights_, background.means_, background.covariances_, warm_start=True, **shared
    ).fit(frames[~is_test & (speaker == number)])
    for number in range(1, 10)
}

# %%
log_density = np.stack([own[number].score_samples(frames[is_test]) for number in own], axis=1)
recordings, first = np.unique(utterance[is_test], return_index=True)
scores = np.stack([log_density[utterance[is_test] == recording].mean(axis=0) for recording in recordings])
truth, told = speaker[is_test][first], scores.argmax(axis=1) + 1
single = np.mean(log_density.argmax(axis=1) + 1 == speaker[is_test])
print(f"recordings told right: {np.mean(told == truth):.1%} of {len(truth)}; single frames: {single:.1%}")

table = np.zeros((9, 9), int)
np.add.at(table, (truth - 1, told - 1), 1)
figure, ax = plt.subplots(figsize=(6, 5), layout="constrained")
ax.imshow(table, cmap="Blues")
for i, j in zip(*np.nonzero(table), strict=True):
    ax.text(j, i, table[i, j], ha="center", va="center", color="white" if table[i, j] > 40 else "black")
ax.set_xticks(range(9), range(1, 10))
ax.set_yticks(range(9), range(1, 10))
ax.set_xlabel("told")
ax.set_ylabel("speaker")

# %%
# How sure is it? The gap between the right speaker's score and the best of the others, for each recording:

right = scores[np.arange(len(truth)), truth - 1]
others = np.where(np.arange(9) == truth[:, None] - 1, -np.inf, scores).max(axis=1)
figure, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
ax.hist(right - others, bins=40, color="#0072B2")
ax.axvline(0, color="black", linestyle="--")
ax.set_xlabel("score of the right speaker minus the best other")
ax.set_ylabel("recordings")

# %%
# Single frames are told right nine times in ten, whole recordings 97.6 times in a hundred: independent evidence
# adds up.
