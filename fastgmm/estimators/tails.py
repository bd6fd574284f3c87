"""Parts of mixtures with heavy tails: how much rows count, repeated values, and how many parameters tails have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgmm.exceptions import OutOfRangeError
from fastgmm.families import NAMED
from fastgmm.passes.scores import LogDensities, Score
from fastgmm.rows import ArrayRows, Rows, scan_rows
from fastgmm.sources import Source
from fastgmm.sources.source import source_of
from fastgmm.spurious import Spike, find_spikes
from fastgmm.statistics import Array

# A scale is what `reg_covar` adds up to this factor: where rows of one value have others in their tails, it is larger.
# Where nothing is added, what is no spread, in units of the variance of all rows.
_ADDED, _COLLAPSED = 10.0, 1e-24


@dataclass(eq=False)
class Typicality:
    """The task that returns the expected u of each row, (N,) in the type of the rows."""

    density: Any
    alone: list[Any]
    n_threads: int | None

    def __call__(self, rows: Rows) -> NDArray:
        """Return the expected u of the rows."""
        found = np.empty(rows.n_rows, rows.dtype)
        power, shrink = self.density.power, self.density.shrink
        peak = np.array([each.log_scale[0] for each in self.alone])
        for block in rows.blocks(scan_rows(rows.n_features + len(power))):
            place = block.places.start
            # float64, for u is made of differences.
            part = ArrayRows(np.asarray(block.X, np.float64), offset=place)
            shares = Score(self.density, "responsibilities", self.n_threads)(part)
            distance = 2.0 * (peak - LogDensities(self.alone, self.n_threads)(part))
            u = power * shrink * np.exp(-distance / power)
            found[place - rows.offset : block.places.stop - rows.offset] = (shares * u).sum(axis=1)
        return found


def n_tails_of(degrees_of_freedom: str | float, n_components: int) -> int:
    """Return how many degrees of freedom a fit estimates."""
    return {"common": 1, "each": n_components}.get(str(degrees_of_freedom), 0)


def spikes_of_tails(rule: Any, source: Source, state: Any, reg_covar: float) -> list[Spike]:
    """Return the components that sit on one value, by their scales; also one alone, whose tails hold the other rows."""
    rows = source.rows

    def total() -> Array:
        covariance: Array = rows.share(("covariance",), lambda: _covariance(rows, source.n_threads))
        return covariance

    if reg_covar == 0.0:
        reg_covar = _COLLAPSED * float(np.diagonal(total()).max())
    density = rule.density(state)
    parameters = density, state.weights, state.covariances
    return find_spikes(source.family, *parameters, rows, reg_covar, False, total=total, added=_ADDED)


def _covariance(rows: Rows, n_threads: int | None) -> Array:
    """Return the covariance of rows, (D, D); infinite where it leaves the range of float64."""
    full = source_of(NAMED["full"], rows, n_threads)
    try:
        covariance: Array = full.covariance()[0]
    except OutOfRangeError:
        return np.full((rows.n_features, rows.n_features), np.inf)
    return covariance
