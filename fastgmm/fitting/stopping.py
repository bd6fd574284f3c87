"""When a fit stops: what its updates may still gain, and what it is compared with."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fastgmm.kernels.updates.progress import is_settled, rounding

#: What is compared with the tolerance: see :func:`remaining`.
STOPPING = ("absolute", "relative", "aitken")
#: What is compared with it where updates may gain ever less: see :func:`remaining`.
SLOW = "slow"
# Of such updates: how much the estimate of what is left counts, and the last change where that is more.
_LEFT, _CHANGES = 100.0, 1000.0


def remaining(stopping: str, watched: Sequence[float]) -> float:
    """Return the number that the stopping rule compares with the tolerance, for the progress of updates in a row.

    * ``"absolute"``: the last change, as scikit-learn does;
    * ``"relative"``: that, divided by 1 + |bound|, as mclust does;
    * ``"aitken"``: how far the limit is, if changes go on shrinking at the rate of the last two (Boehning et al. 1994;
      McLachlan and Krishnan 2008, section 4.9), but no less than the last change. Infinite while they do not shrink.
    * ``SLOW``: that of ``"aitken"`` times 100, since changes may shrink ever more slowly, but no more than the last
      change times 1000, and the change itself where the progress fell, as by what is added to covariances.
    """
    if stopping == SLOW:
        if len(watched) > 1 and watched[-1] < watched[-2]:
            return watched[-2] - watched[-1]
        return min(_LEFT * remaining("aitken", watched), _CHANGES * remaining("absolute", watched))
    if len(watched) < 2:
        return math.inf
    change = abs(watched[-1] - watched[-2])
    if stopping == "relative":
        return change / (1.0 + abs(watched[-1]))
    if stopping == "absolute" or change <= rounding(watched[-1]):
        return change
    before = abs(watched[-2] - watched[-3]) if len(watched) > 2 else 0.0
    return max(change, change * change / (before - change)) if before > change else math.inf


def has_converged(stopping: str, watched: Sequence[float], tol: float) -> bool:
    """Return whether a fit may stop, for the progress of updates in a row: little remains, or rounding hides it."""
    if len(watched) < 2:
        return False
    change = abs(watched[-1] - watched[-2])
    return bool(is_settled(remaining(stopping, watched), change, rounding(watched[-1]), tol))


def negligible(stopping: str, tol: float, bound: float) -> float:
    """Return the gain to be expected of a plain update near the end of a fit."""
    return max(tol * (1.0 + abs(bound)) if stopping == "relative" else tol, rounding(bound))
