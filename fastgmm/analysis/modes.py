"""The peaks of a mixture's density."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgmm.analysis.components import Components, log_normal, mixture_of
from fastgmm.statistics import Array

# Steps uphill at most, before Newton's method takes over; they come close soon, and near a saddle slowly.
_STEPS = 500
_NEWTON_STEPS = 50
# Steps of this length, in standard deviations of the components nearby, are rounding.
_SHORT = 1e-9
# Peaks nearer to each other than this, in the same units, are one.
_SAME = 1e-4
# Points for each standard deviation, to this many of them, where there is one column.
_POINTS, _REACH = 8, 6
# Starts that are looked at together.
_BLOCK = 2**22


class Modes(NamedTuple):
    """The peaks of a mixture's density, the highest first.

    Attributes
    ----------
    points : (M, D)
    log_densities : (M,)
        The log-densities there (nat).
    of_component : (K,) int64
        The peak that the density leads up to from each component's mean; -1 for components of weight 0.
    """

    points: Array
    log_densities: Array
    of_component: NDArray[np.int64]


def modes(model: Any) -> Modes:
    """Return the peaks of a fitted mixture's density, which are fewer than its components where these overlap.

    From every mean, and from between each two (the ridge line of Ray and Lindsay 2005), uphill by Carreira-Perpinan's
    fixed point (2000), then by Newton's method. In one column all peaks are found. In more a mixture may have others,
    even more than components, which are missed where no start leads to them. Time and memory grow with K^3 and D^2.

    Parameters
    ----------
    model : GaussianMixture, BayesianGaussianMixture or GaussianMixtureIC
        Fitted. Of variational Bayes the mixture of its means counts.

    Examples
    --------
    >>> from fastgmm import GaussianMixture
    >>> from fastgmm.analysis import modes
    >>> model = GaussianMixture.from_parameters([0.5, 0.5], [[-1.0], [1.0]], [[[1.2]], [[1.2]]])
    >>> modes(model).points.round(6).tolist()
    [[0.0]]
    """
    known = Components.of(model)
    offset, scale = known.frame()
    mixture = known.moved(offset, scale)
    # By factors: an inverse of its own would not be symmetric, nor positive definite, to the last digits.
    factors = np.linalg.inv(np.linalg.cholesky(mixture.covariances))
    precisions = np.asarray(np.swapaxes(factors, 1, 2) @ factors, np.float64)
    begins = np.concatenate([mixture.means, _between(mixture, precisions)])
    n_rows = max(1, _BLOCK // (len(mixture) * mixture.means.shape[1] ** 2))
    ends = np.concatenate([_uphill(mixture, precisions, begins[i : i + n_rows]) for i in range(0, len(begins), n_rows)])
    density, _, hessian = _derivatives(mixture, precisions, ends)
    distance = _distance(mixture, precisions, ends)
    peaks: list[int] = []
    # Means first: two ends of one peak differ by rounding, and the answer should not depend on the other starts.
    for end in np.argsort(-density, kind="stable"):
        if _is_peak(hessian[end]) and not any(distance(end, peak) < _SAME for peak in peaks):
            peaks.append(int(end))
    if not peaks:
        peaks = [int(density.argmax())]
    of_component = np.full(len(mixture_of(model, "model").weights_), -1, np.int64)
    of_component[known.numbers] = [int(np.argmin([distance(k, peak) for peak in peaks])) for k in range(len(mixture))]
    points = ends[peaks] * scale + offset
    return Modes(points, density[peaks] - np.log(scale).sum(), of_component)


def _between(mixture: Components, precisions: Array) -> Array:
    """Return points to start from that are no means, (M, D)."""
    if mixture.means.shape[1] == 1:
        return _grid(mixture)
    first, second = np.triu_indices(len(mixture), 1)
    joint = precisions[first] + precisions[second]
    pulled = np.einsum("kab,kb->ka", precisions, mixture.means)
    return np.linalg.solve(joint, (pulled[first] + pulled[second])[..., None])[..., 0]


def _grid(mixture: Components) -> Array:
    """Return the highest of neighbours on a grid that is fine near each component, (M, 1), of one column."""
    deviations = np.sqrt(mixture.covariances[:, 0, 0])
    steps = np.arange(-_REACH * _POINTS, _REACH * _POINTS + 1) / _POINTS
    points = np.unique(mixture.means[:, 0, None] + deviations[:, None] * steps)
    heights = np.concatenate(
        [_log_density(mixture, part[:, None])[0] for part in np.array_split(points, 1 + len(points) // 4096)]
    )
    padded = np.concatenate([[-np.inf], heights, [-np.inf]])
    return points[(padded[1:-1] >= padded[:-2]) & (padded[1:-1] >= padded[2:]), None]


def _log_density(mixture: Components, points: Array) -> tuple[Array, Array]:
    """Return the log-densities (M,) of points (M, D), and the probability of each component there, (M, K)."""
    gaps = points[:, None] - mixture.means[None]
    joint = log_normal(gaps, mixture.covariances) + np.log(mixture.weights)
    peak = joint.max(axis=1, keepdims=True)
    share = np.exp(joint - peak)
    total = share.sum(axis=1, keepdims=True)
    return (peak + np.log(total))[:, 0], share / total


def _uphill(mixture: Components, precisions: Array, points: Array) -> Array:
    """Return where the density leads up to from points (M, D)."""
    pulled = np.einsum("kab,kb->ka", precisions, mixture.means)
    moving = np.arange(len(points))
    points = points.copy()
    for _ in range(_STEPS):
        _, share = _log_density(mixture, points[moving])
        joint = np.einsum("mk,kab->mab", share, precisions)
        found = np.linalg.solve(joint, (share @ pulled)[..., None])[..., 0]
        step = found - points[moving]
        length = np.sqrt(np.einsum("ma,mab,mb->m", step, joint, step))
        points[moving] = found
        moving = moving[length > _SHORT]
        if len(moving) == 0:
            break
    return _polished(mixture, precisions, points)


def _polished(mixture: Components, precisions: Array, points: Array) -> Array:
    """Return points moved on by Newton's method, as long as it leads uphill."""
    density, gradient, hessian = _derivatives(mixture, precisions, points)
    for _ in range(_NEWTON_STEPS):
        concave = np.array([_is_peak(each) for each in hessian])
        step = np.zeros_like(points)
        if concave.any():
            step[concave] = np.linalg.solve(-hessian[concave], gradient[concave][..., None])[..., 0]
        found = points + step
        new_density, new_gradient, new_hessian = _derivatives(mixture, precisions, found)
        better = concave & (new_density > density)
        if not better.any():
            break
        points = np.where(better[:, None], found, points)
        density = np.where(better, new_density, density)
        gradient = np.where(better[:, None], new_gradient, gradient)
        hessian = np.where(better[:, None, None], new_hessian, hessian)
    return points


def _derivatives(mixture: Components, precisions: Array, points: Array) -> tuple[Array, Array, Array]:
    """Return the log-density of points (M, D), its gradient, and its matrix of second derivatives."""
    density, share = _log_density(mixture, points)
    pull = np.einsum("kab,mkb->mka", precisions, mixture.means[None] - points[:, None])
    gradient = np.einsum("mk,mka->ma", share, pull)
    hessian = np.einsum("mk,mka,mkb->mab", share, pull, pull) - np.einsum("mk,kab->mab", share, precisions)
    return density, gradient, hessian - gradient[:, :, None] * gradient[:, None, :]


def _is_peak(hessian: Array) -> bool:
    """Return whether second derivatives are those of a peak."""
    return bool(np.linalg.eigvalsh(hessian)[-1] < 0.0)


def _distance(mixture: Components, precisions: Array, points: Array) -> Any:
    """Return a function of the numbers of two points: their distance, in standard deviations of what is there."""
    _, share = _log_density(mixture, points)
    joint = np.einsum("mk,kab->mab", share, precisions)

    def distance(first: int, second: int) -> float:
        gap = points[first] - points[second]
        return float(np.sqrt(gap @ joint[second] @ gap))

    return distance
