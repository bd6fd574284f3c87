"""
Is it the same speaker? A background, adapted
=============================================

How a mixture of many speakers becomes that of one by a few seconds of speech, and how two mixtures tell impostors.
"""

# %%
# The data are simulated: a frame of speech is twelve numbers, from one of 24 sounds that all speakers share. Each
# speaker says each sound a little differently. 60 speakers make the background, which is fitted to all of their
# frames; 40 others enrol with 120 frames each, and come back, every one of them also as an impostor of ten others.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone

from fastgmm import GaussianMixture

random = np.random.default_rng(0)
sounds, spread = 3.0 * random.normal(size=(24, 12)), random.uniform(0.6, 1.4, (24, 12))


def speech(own, n_frames):
    """Frames of a speaker whose sounds are shifted by `own` (24, 12)."""
    said = random.integers(24, size=n_frames)
    return sounds[said] + own[said] + spread[said] * random.normal(size=(n_frames, 12))


speakers = 0.25 * random.normal(size=(100, 24, 12))
enrolled = speakers[60:]
everybody = np.concatenate([speech(own, 400) for own in speakers[:60]])
background = GaussianMixture(32, covariance_type="diag", random_state=0, tol=1e-4, max_iter=500).fit(everybody)
recordings = [speech(own, 120) for own in enrolled]
tests = [speech(own, 30) for own in enrolled]

# %%
# ``adapt_many`` makes a mixture for each enrolled speaker, with a pass over that speaker's frames. How much a
# component follows them is a matter of ``relevance``: with 0 it is where these frames put it, however few they are.
#
# A test scores by how much better the speaker's mixture explains its frames than the background does.

claims = [(i, (i + step) % 40) for i in range(40) for step in range(11)]
genuine = np.array([test == claimed for test, claimed in claims])


def scores(models):
    """The log-likelihood ratio of a frame, for each claim."""
    base = [background.score(frames) for frames in tests]
    return np.array([models[claimed].score(tests[test]) - base[test] for test, claimed in claims])


def errors(ratios):
    """Shares of speakers missed and of impostors let in, for each threshold."""
    thresholds = np.sort(ratios)
    missed = np.searchsorted(np.sort(ratios[genuine]), thresholds) / genuine.sum()
    let_in = 1.0 - np.searchsorted(np.sort(ratios[~genuine]), thresholds) / (~genuine).sum()
    return missed, let_in


cases = {f"relevance {value:g}": background.adapt_many(recordings, relevance=value) for value in (16.0, 0.0, 1000.0)}
own = GaussianMixture(8, covariance_type="diag", random_state=0, reg_covar=1e-2, max_iter=1000)
cases["a fit of its own"] = [clone(own).fit(frames) for frames in recordings]
figure, ax = plt.subplots(figsize=(6, 5), layout="constrained")
for (name, models), colour in zip(cases.items(), ("#0072B2", "#D55E00", "#009E73", "#555555"), strict=True):
    missed, let_in = errors(scores(models))
    equal = (missed + let_in)[np.abs(missed - let_in).argmin()] / 2
    print(f"{name:<16} equal error rate {equal:.1%}")
    ax.step(let_in, missed, color=colour, label=f"{name}: {equal:.1%}")
ax.plot([0, 1], [0, 1], color="grey", linestyle=":")
ax.set_xlim(0, 0.5)
ax.set_ylim(0, 0.5)
ax.set_xlabel("impostors let in")
ax.set_ylabel("speakers missed")
ax.legend(title="equal error rate")

# %%
# Of 120 frames of a speaker, five a sound, a mixture of its own learns too little: it is hardly better than a coin.
# The adapted background errs in one claim of ten. Without relevance it follows every frame, and errs in 17 of a
# hundred; from 16 on it hardly matters here how much there is.
