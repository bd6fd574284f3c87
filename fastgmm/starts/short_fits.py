"""Several short fits to few rows at once, by the compiled loop of ``fit_many``: Python's takes longer than passes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastgmm.families import Family
from fastgmm.kernels import many
from fastgmm.kernels.updates.constraints import constraint_address
from fastgmm.passes.blanks import blank_fits, blank_survey, lane_count
from fastgmm.passes.skipping import may_pay
from fastgmm.rules import GaussianParameters, MaximumLikelihood
from fastgmm.sources import Source
from fastgmm.statistics import Array

# Numbers of rows that are copied for each fit, at most.
_MOST_FLOATS = 2**17
# Where the machine code is that smooths thin components of densities of a class.
_ADDRESSES: dict[type, int] = {}


def pays(rule: Any, source: Source, n_components: int) -> bool:
    """Return whether short fits of a rule to the rows of a source can be made, and are quicker, at once."""
    n_rows, n_features = source.rows.n_rows, source.n_features
    if type(rule) is not MaximumLikelihood or rule.prior is not None or rule.eigenvalue_ratio is not None:
        return False
    if source.n_kept is not None or n_rows * n_features > _MOST_FLOATS:
        return False
    return not may_pay(rule.family.blank(n_components, n_features), n_rows)


class Few(NamedTuple):
    """Rows `points` (N, D) of positive weight (N,), their mean `middle` (D,), and their largest deviation from it."""

    points: Array
    weight: Array
    middle: Array
    spread: float


class ShortFits:
    """Fits to the same few rows, of so many updates each, that start from the rows nearest to `centres` (R, K, D)."""

    def __init__(
        self, rule: MaximumLikelihood, few: Few, centres: Array, n_updates: int, n_threads: int | None
    ) -> None:
        self._rule, family = rule, rule.family
        n_fits, n_components, n_features = centres.shape
        like = family.blank(n_components, n_features)
        rows = many.Rows(
            np.tile(few.points, (n_fits, 1)),
            np.tile(few.weight, n_fits),
            np.arange(n_fits + 1, dtype=np.int64) * len(few.points),
        )
        status = np.zeros(n_fits, np.int64)
        survey = blank_survey(status, 0, (n_components, n_features), False)
        survey.weight.fill(few.weight.sum())
        survey.middle[:] = few.middle
        survey.spread.fill(few.spread)
        self.fits = blank_fits(status, (n_components, n_features), family.shape(n_components, n_features))
        self._record = _record(family, n_fits, like)
        options = many.Options(0.0, n_updates, float(rule.reg_covar), rule.smooths_seeds, _smoothing_address(like))
        n_lanes = lane_count(rows, n_components, n_features)
        start = _start_at(family, centres)
        many.fit(n_lanes, n_threads, n_lanes, like, self._record, rows, survey, start, 0, options, self.fits)

    def best(self, n_rows: float) -> GaussianParameters | None:
        """Return the state of highest bound, one without a spurious component if there is any; None where all failed.

        `n_rows` is how many rows of equal weight say as much as these.
        """
        found: GaussianParameters | None = None
        highest = False, -np.inf
        for i in np.flatnonzero(self.fits.status <= many.NOT_CONVERGED):
            state = self._state(int(i))
            rank = self.fits.spurious[i] < 0 or self._rule.spurious(state, n_rows) < 0, float(self.fits.bound[i])
            if np.isfinite(rank[1]) and rank > highest:
                found, highest = state, rank
        return found

    def _state(self, i: int) -> GaussianParameters:
        weights = self._record.weights[i].copy()
        density = self._rule.family.density_of_whitener(weights, self.fits.mean[i], self.fits.whitener[i])
        return GaussianParameters(weights, self.fits.covariance[i].copy(), density)


def _smoothing_address(like: Any) -> int:
    # To ask for it takes as long as a short fit. 0 stands for no machine code, which there may be later.
    address = _ADDRESSES.get(type(like)) or many.smoothing_address(like)
    _ADDRESSES[type(like)] = address
    return address


def _record(family: Family, n_fits: int, like: Any) -> many.Likelihood:
    n_components, n_features = like.mean.shape
    fewest, address = family.fewest_rows(n_features), constraint_address(family.constraint, like)
    return many.Likelihood(np.full((n_fits, n_components), np.nan), np.array([fewest]), np.array([address], np.int64))


def _start_at(family: Family, centres: Array) -> many.Start:
    _, n_components, n_features = centres.shape
    none = np.empty((0, *family.shape(n_components, n_features)))
    return many.Start(
        np.ascontiguousarray(centres[:, None]),
        np.empty((1, 0, 0)),
        np.empty((0, n_components)),
        np.empty((0, n_components, n_features)),
        none,
        none.copy(),
    )
