"""
Spike sorting (simulated data)
==============================

How the spikes that one electrode records are shared out to the neurons that fired them.
"""

# %%
# No open recording comes with the packages that this site uses, so the data are simulated: three neurons fire at
# random, 3, 5 and 8 times a second, each with a wave form of its own whose height varies by a tenth; noise is
# added, and a minute is recorded at 20 kHz. Spikes are found where the voltage falls below four and a half times
# the noise, cut out, and described by their first three principal components.

import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import gaussian_filter1d

from fastgmm import GaussianMixture
from fastgmm.plotting import PALETTE, plot_mixture

rng = np.random.default_rng(0)
n_samples, width, t = 60 * 20_000, 40, np.arange(40)


def wave(depth, breadth, rebound):
    return -depth * np.exp(-0.5 * ((t - 14) / breadth) ** 2) + rebound * np.exp(-0.5 * ((t - 25) / (2 * breadth)) ** 2)


waves = [wave(9, 2.0, 2.0), wave(8, 3.5, 3.0), wave(13, 2.5, 4.5)]
voltage = rng.normal(size=n_samples)
events = []
for neuron, (shape, rate) in enumerate(zip(waves, (3, 5, 8), strict=True)):
    for place in rng.integers(0, n_samples - width, rng.poisson(rate * 60)):
        voltage[place : place + width] += rng.normal(1, 0.1) * shape
        events.append((place + 14, neuron))
events = np.array(sorted(events))

# %%
# Detection: the lowest point of each excursion below the threshold, in a smoothed record, for noise would shift
# it by a sample or two and so smear the waves. The size of the noise is known by a median, which spikes hardly
# move.

smooth = gaussian_filter1d(voltage, 2.0)
threshold = -4.5 * np.median(np.abs(smooth)) / 0.6745
below = np.flatnonzero(smooth < threshold)
groups = np.split(below, np.flatnonzero(np.diff(below) > 15) + 1)
peaks = np.array([group[smooth[group].argmin()] for group in groups])
peaks = peaks[(peaks > width) & (peaks < n_samples - width)]
snippets = np.stack([voltage[peak - 14 : peak + 26] for peak in peaks])
centred = snippets - snippets.mean(axis=0)
features = centred @ np.linalg.svd(centred, full_matrices=False)[2][:3].T

# %%
# ICL, which is BIC and a price for components that overlap, chooses their number.

fits = [GaussianMixture(k, n_init=10, tol=1e-5, max_iter=2000, random_state=0).fit(features) for k in range(1, 8)]
model = min((fit for fit in fits if not fit.spurious_), key=lambda fit: fit.icl(features))
labels = model.predict(features)
print(f"{len(peaks)} spikes found of {len(events)} that were simulated; {model.n_components} components")

# %%
# The truth is known here: the neuron whose spike is nearest in time.

truth = events[np.abs(events[:, 0] - peaks[:, None]).argmin(axis=1), 1]
for neuron in range(3):
    print(f"neuron {neuron}:", np.bincount(labels[truth == neuron], minlength=model.n_components))

figure, axes = plt.subplots(1, 2, figsize=(12, 4.4), layout="constrained")
plot_mixture(model, features, axes[0])
for k in range(model.n_components):
    axes[1].plot(
        t / 20, snippets[labels == k].mean(axis=0), color=PALETTE[k], label=f"{k}: {np.sum(labels == k)} spikes"
    )
axes[1].set_xlabel("milliseconds")
axes[1].set_ylabel("mean wave")
axes[1].legend()

# %%
# Three components are the three neurons, and the fourth and smallest takes spikes that overlap with another one.
# Of 965 spikes 953 are in their neuron's component.
