"""Adaptation of a background mixture to few rows: a compromise between it and an update by these rows.

Reynolds, Quatieri and Dunn, "Speaker verification using adapted Gaussian mixture models", Digital Signal Processing 10
(2000), 19-41, equations 11 to 14. With a = n_k / (n_k + relevance) for the mass n_k that a component has of the rows,
each parameter is a times that of the rows plus 1 - a times that of the background; covariances are about the new means.
That is what statistics say that hold a of the rows and 1 - a of the background: nothing need be subtracted.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from fastgmm import kernels
from fastgmm.families import Family
from fastgmm.kernels.structures import contract
from fastgmm.kernels.updates import moments
from fastgmm.rules.likelihood import GaussianParameters, parameters_of_whitener
from fastgmm.statistics import Array, SufficientStatistics

#: The parts of a mixture that may be adapted.
PARTS = ("weights", "means", "covariances")
# Of sums in float32, relative.
_ROUNDING = 1e-4


def shares(mass: Array, relevance: float) -> Array:
    """Return how much the rows count in each component, (K,) in [0, 1]: mass / (mass + relevance), 0 for no mass."""
    return np.where(mass > 0.0, mass / np.where(mass > 0.0, mass + relevance, 1.0), 0.0)


def adapted(
    family: Family,
    background: GaussianParameters,
    statistics: SufficientStatistics,
    relevance: float,
    parts: frozenset[str],
    final: bool = False,
) -> GaussianParameters:
    """Return the background adapted to the rows of `statistics`, which it made, in some of PARTS.

    `relevance` in [0, inf]: how much mass of the rows counts as much as the background. The state's `trusted` is False,
    and its covariances are those of the background, where moments of the rows about its means are needed first; `final`
    accepts covariances with few digits left.
    """
    share = shares(statistics.mass, relevance)
    weights, means = background.weights, background.means
    if "weights" in parts and statistics.weight > 0.0:
        weights = share * (statistics.mass / statistics.weight) + (1.0 - share) * weights
        weights = weights / weights.sum()
    if "means" in parts:
        gap = np.where(share[:, None] > 0.0, statistics.mean - means, 0.0)
        means = means + share[:, None] * gap
    if "covariances" not in parts:
        return parameters_of_whitener(family, weights, means, background.density.whitener)
    blank = family.blank(*means.shape)
    safe = np.where(share > 0.0, statistics.mass, 1.0)
    rows = dataclasses.replace(
        statistics,
        mass=share,
        deviation=(share / safe)[:, None] * statistics.deviation,
        scatter=_times(statistics.scatter, contract.pool(blank, share) / contract.pool(blank, safe)),
    )
    rest = dataclasses.replace(
        family.zero(background.means),
        mass=1.0 - share,
        scatter=_times(background.covariances, contract.pool(blank, 1.0 - share)),
    )
    covariances = family.recentre(rows, means).scatter + family.recentre(rest, means).scatter
    one = np.ones_like(share)
    lost = moments.component_of_lost_digits(blank, contract.pool(blank, one), rows.scatter, covariances)
    if lost >= 0 and not final:
        state = parameters_of_whitener(family, weights, means, background.density.whitener)
        return dataclasses.replace(state, trusted=False)
    moments.divide_by_pool(blank, one, covariances)
    covariances = family.mirror(covariances)
    density, failed = family.density(weights, means, covariances)
    if failed >= 0:
        raise ValueError(
            f"covariances of component {failed} cannot be adapted with relevance={relevance:g}: its rows are too few, "
            "or have no spread. Take a larger relevance, more rows, or adapt the means alone."
        )
    return GaussianParameters(weights, covariances, density)


def unexplained(background: GaussianParameters, statistics: SufficientStatistics) -> bool:
    """Return whether a mixture cannot have made statistics about whichever points: their evidence is not that of it.

    What evidence has more than the expected log joint is the entropy of the responsibilities, between 0 and log K for
    each row; those of another mixture are seldom so.
    """
    expected = kernels.expected_log_joint(
        background.density, statistics.origin, statistics.mass, statistics.deviation, statistics.scatter
    )
    entropy = statistics.log_evidence - expected
    rounding = _ROUNDING * (abs(statistics.log_evidence) + abs(expected) + statistics.weight)
    most = statistics.weight * np.log(len(background.weights))
    return not -rounding <= entropy <= most + rounding


def _times(scatter: Array, factors: Array) -> Array:
    """Return a scatter with its blocks, one for each of `factors`, times these."""
    return (factors[:, None] * scatter.reshape(len(factors), -1)).reshape(scatter.shape)
