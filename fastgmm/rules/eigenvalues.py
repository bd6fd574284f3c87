"""A limit on the ratio of the largest to the smallest eigenvalue of all covariances of a mixture.

Garcia-Escudero, Gordaliza, Matran and Mayo-Iscar, "A general trimming approach to robust cluster analysis", Annals of
Statistics 36 (2008), 1324-1345. With such a limit the likelihood has a highest value, on few or repeated rows, too. The
covariances of highest likelihood have the eigenvectors of those without a limit, and their eigenvalues brought into
one interval, of which the best lower end is one of a few candidates (Fritz, Garcia-Escudero and Mayo-Iscar, "A fast
algorithm for robust constrained clustering", Computational Statistics and Data Analysis 61 (2013), 124-136).
"""

from __future__ import annotations

import numpy as np

from fastgmm.families import Family
from fastgmm.kernels.algebra.eigen import eigen
from fastgmm.statistics import Array

# A ratio is kept that rounding has raised by so much.
_ROUNDING = 1e-12


def limited(family: Family, covariances: Array, counts: Array, ratio: float) -> Array:
    """Return the covariances of highest likelihood of which no eigenvalue is more than `ratio` times another.

    The same array where they are so already. `covariances` are those without the limit, in the family's shape, and
    `counts` (K,), or (1,) where components share one covariance, the weights behind each. For families without a
    constraint, and those of one covariance.
    """
    shape = covariances.shape
    values: Array
    if family.has_matrices:
        # A copy: its numbers are lost. Of one size, for their squares must be numbers.
        largest = float(np.abs(covariances).max()) or 1.0
        blocks = covariances.reshape(-1, *shape[-2:]) / largest
        values, axes = np.empty(blocks.shape[:2]), np.empty(blocks.shape)
        for block, own_values, own_axes in zip(blocks, values, axes, strict=True):
            eigen(block, own_values, own_axes)
        values *= largest
    else:
        values = covariances.reshape(shape[0], -1)
        values = values[: len(counts)]
    kept = truncated(values, counts, ratio)
    if kept is values:
        return covariances
    if not family.has_matrices:
        return np.array(np.broadcast_to(kept, (shape[0], kept.shape[1]))).reshape(shape)
    return family.mirror(np.einsum("kji,kj,kjl->kil", axes, kept, axes).reshape(shape))


def truncated(values: Array, counts: Array, ratio: float) -> Array:
    """Return eigenvalues (K, D) brought into the interval [m, `ratio` m] of highest likelihood.

    The same array where all are in one. Minimises the sum of n (log t + v / t) over eigenvalues v of `counts` (K,) n,
    for t the eigenvalue instead. Values that are negative, by rounding, count as 0, and so do those of counts of 0. All
    stay 0 where all are.
    """
    positive = values[counts > 0.0]
    if not positive.size or not positive.max() > 0.0:
        return values
    unit = float(positive.max())
    if values.min() > 0.0 and values.max() <= (ratio + _ROUNDING * ratio) * values.min() and counts.min() > 0.0:
        return values
    scaled = np.maximum(values, 0.0) / unit
    held = np.repeat(counts, values.shape[1]) / counts.sum()
    order = np.argsort(scaled, axis=None, kind="stable")
    least = _best_end(scaled.ravel()[order], held[order], ratio)
    inside = np.where(counts[:, None] > 0.0, scaled, 0.0)
    kept: Array = np.clip(inside, least, least * ratio) * unit
    return kept


def _best_end(values: Array, counts: Array, ratio: float) -> float:
    """Return the best lower end of the interval of eigenvalues, for sorted `values` (M,) of the `counts` (M,)."""
    # The sums over the values below a number, by how many these are.
    held, total = (np.append(0.0, np.cumsum(each)) for each in (counts, counts * values))
    logs = np.append(0.0, np.cumsum(counts * np.log(np.where(values > 0.0, values, 1.0))))
    # Between two of these ends the same values are below, inside and above.
    ends = np.unique(np.concatenate([values, values / ratio]))
    between = np.concatenate([0.5 * ends[:1], 0.5 * (ends[1:] + ends[:-1]), 2.0 * ends[-1:]])
    below, inside = np.searchsorted(values, between), np.searchsorted(values, between * ratio, side="right")
    outside = held[below] + held[-1] - held[inside]
    sums = total[below] + (total[-1] - total[inside]) / ratio
    candidates = sums[outside > 0.0] / outside[outside > 0.0]
    candidates = candidates[candidates > 0.0]
    below, inside = np.searchsorted(values, candidates), np.searchsorted(values, candidates * ratio, side="right")
    above = held[-1] - held[inside]
    loss = held[below] * np.log(candidates) + total[below] / candidates
    loss += logs[inside] - logs[below] + held[inside] - held[below]
    loss += above * np.log(ratio * candidates) + (total[-1] - total[inside]) / (ratio * candidates)
    return float(candidates[np.argmin(loss)])
