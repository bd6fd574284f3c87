"""
Novelty detection
=================

How a mixture of ordinary rows tells which new rows are not ordinary.
"""

# %%
# A mixture learns handwritten digits from 0 to 4, without being told which is which: half of those that
# scikit-learn has. Then it sees the other half, and all digits from 5 to 9, none of which it has seen. The
# log-density of a picture, ``score_samples``, says how ordinary it is. The threshold comes from ordinary pictures
# that the fit has not seen either: one in twenty of them lies below.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

from fastgmm import GaussianMixture

digits = load_digits()
ordinary = np.random.default_rng(0).permutation(np.flatnonzero(digits.target < 5))
train, held, new = ordinary[:450], ordinary[450:600], ordinary[600:]
novel = np.flatnonzero(digits.target >= 5)

pca = PCA(20, random_state=0).fit(digits.data[train])
rows = pca.transform(digits.data)
fits = [
    GaussianMixture(k, covariance_type="tied", n_init=5, max_iter=500, random_state=0).fit(rows[train])
    for k in range(1, 31)
]
model = min((fit for fit in fits if not fit.spurious_), key=lambda fit: fit.bic(rows[train]))
score = model.score_samples(rows)
threshold = np.quantile(score[held], 0.05)
print(f"components: {model.n_components}")
print(f"ordinary digits called novel: {np.mean(score[new] < threshold):.1%} of {len(new)}")
for digit in range(5, 10):
    print(f"  {digit} called novel: {np.mean(score[digits.target == digit] < threshold):.1%}")
both = np.concatenate([new, novel])
print(f"area under the ROC curve: {roc_auc_score(digits.target[both] >= 5, -score[both]):.3f}")

# %%
figure, ax = plt.subplots(figsize=(8, 3.8), layout="constrained")
edges = np.linspace(score.min(), score.max(), 60)
for which, name, colour in ((new, "0 to 4, not seen before", "#0072B2"), (novel, "5 to 9", "#D55E00")):
    ax.hist(score[which], bins=edges, alpha=0.7, density=True, color=colour, label=name)
ax.axvline(threshold, color="black", linestyle="--", label="threshold")
ax.set_xlabel("log-density")
ax.legend()

# %%
# Ordinary digits that look most novel, and new ones that look most ordinary:

figure, axes = plt.subplots(2, 8, figsize=(10, 2.8), layout="constrained")
for line, which in enumerate((new[np.argsort(score[new])], novel[np.argsort(-score[novel])])):
    for ax, index in zip(axes[line], which, strict=False):
        ax.imshow(digits.images[index], cmap="gray_r")
        ax.set_title(f"{digits.target[index]}", fontsize="small")
        ax.axis("off")

# %%
# At the price of one false alarm in twenty, all sixes and most other new digits are found; least of all the
# nines, of which four in ten pass for ordinary.
