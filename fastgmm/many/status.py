"""How the fit of a problem ended, and in words."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgmm.kernels import many
from fastgmm.spurious import SpuriousComponent


class Status(IntEnum):
    """The end of a problem's fit; the first two have parameters."""

    CONVERGED = many.CONVERGED
    NOT_CONVERGED = many.NOT_CONVERGED
    COLLAPSED = many.COLLAPSED
    TOO_FEW_ROWS = many.TOO_FEW_ROWS
    NOT_FINITE = many.NOT_FINITE
    OUT_OF_RANGE = many.OUT_OF_RANGE
    SINGULAR = many.SINGULAR


REASONS = {
    Status.TOO_FEW_ROWS: "it has fewer rows of positive weight than components, or fewer than two rows",
    Status.NOT_FINITE: "its rows contain NaN or infinity",
    Status.SINGULAR: "the covariance of its rows, which is the prior of the components' covariances, is not positive "
    "definite (constant or dependent columns): increase reg_covar, give covariance_prior, or leave columns out",
}


def summary(status: NDArray[np.int64]) -> str:
    """Return how many problems ended in which way, in words."""
    counts = np.bincount(status, minlength=len(Status))
    each = [f"{counts[kind]} {kind.name.lower().replace('_', ' ')}" for kind in Status if counts[kind]]
    return f"{len(status)} problem{'s' * (len(status) != 1)}" + (": " + ", ".join(each) if each else "")


class Verdict(NamedTuple):
    """The spurious components of one problem's fit, and whether any of its components sits on one repeated value."""

    components: list[SpuriousComponent]
    has_spikes: bool
