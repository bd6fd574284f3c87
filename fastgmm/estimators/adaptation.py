"""Adaptation of a fitted mixture to few rows, of one source or of many: each becomes a mixture of its own."""

from __future__ import annotations

import math
from abc import ABC
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastgmm import validation
from fastgmm.estimators.base import Mixture
from fastgmm.families import Family
from fastgmm.fitting.plain import FitResult
from fastgmm.rules import GaussianParameters, MaximumLikelihood
from fastgmm.rules.adaptation import PARTS, adapted
from fastgmm.statistics import SufficientStatistics
from fastgmm.support.showing import shown
from fastgmm.support.typing import Self


class Adaptable(Mixture, ABC):
    """The part of a maximum-likelihood mixture that adapts it."""

    def adapt(
        self,
        X: ArrayLike | SufficientStatistics,
        sample_weight: ArrayLike | None = None,
        *,
        relevance: float = 16.0,
        what: str | Iterable[str] = ("means",),
    ) -> Self:
        """Return this mixture adapted to the rows of X, as a new fitted estimator; this one stays as it is.

        For few rows of a source that is like many others: a universal background model, fitted to rows of all speakers,
        becomes the model of one speaker (Reynolds, Quatieri and Dunn 2000). A component with much of the rows follows
        them, one with little stays. See docs/guide/adaptation.md.

        Parameters
        ----------
        X : (N, D) array-like of finite numbers; whatever ``fit`` takes
            Or a ``SufficientStatistics``, the sum of what ``statistics`` of this mixture returned for parts of the
            rows, in whichever processes.
        sample_weight : (N,) array-like >= 0, or str, optional
            A row of weight w counts as w copies.
        relevance : float in [0, inf], default 16
            The mass of rows in a component that counts as much as the background: with mass n, a parameter is
            n / (n + relevance) times that of the rows plus the rest times that of the background. 0 for an update by
            the rows alone, as an iteration of ``fit`` makes it (``reg_covar`` 0).
        what : 'means', 'weights' or 'covariances', or several of them; default ('means',)

        Notes
        -----
        One pass; no table of rows and components is held. `n_iter_` of the result is 0, `stop_reason_` "given", and
        `lower_bound_` NaN. Raises ValueError for bad input; for covariances that components share or that a constraint
        ties, which the formula would not keep in their family; and where a covariance collapses (small `relevance`).
        """
        parts = _checked_parts(what)
        strength = _checked_relevance(relevance)
        self._require_fitted()
        self._require_no_noise("adapt")
        family = self._family()
        _require_own_covariances(family, parts)
        rule = MaximumLikelihood(family, 0.0)
        background = self._state(rule)
        if not isinstance(X, SufficientStatistics):
            return self._adapted(rule, background, X, sample_weight, strength, parts)
        if sample_weight is not None:
            raise ValueError("sample_weight must be None where X is statistics, which have weights in them.")
        self._checked_statistics(X, family)
        state = adapted(family, background, X, strength, parts)
        if not state.trusted:
            raise ValueError(
                "X, statistics, have no digits left for some covariance: they are about points too far from the means "
                "of the rows. Collect them again by statistics(X, origin=total.mean), for total the sum that was given."
            )
        return self._of_adapted(rule, state)

    def adapt_many(
        self,
        sets: Iterable[ArrayLike | SufficientStatistics],
        sample_weight: Sequence[ArrayLike | None] | None = None,
        *,
        relevance: float = 16.0,
        what: str | Iterable[str] = ("means",),
    ) -> list[Self]:
        """Return a mixture for each of several sets of rows, such as those of many speakers: ``adapt`` of each.

        Parameters
        ----------
        sets : iterable of what ``adapt`` takes
            Taken one after the other: a generator need not hold them all.
        sample_weight : sequence of what ``adapt`` takes, optional
            One for each set.
        relevance, what : as of ``adapt``

        Notes
        -----
        A message about bad input names the set, counted from 0.
        """
        what = what if isinstance(what, str) else tuple(what)
        if sample_weight is not None:
            sets = list(sets)
            if len(sample_weight) != len(sets):
                raise ValueError(
                    f"sample_weight must be one for each of {len(sets)} sets, or None, got {len(sample_weight)}."
                )
        models = []
        for number, rows in enumerate(sets):
            weight = None if sample_weight is None else sample_weight[number]
            try:
                models.append(self.adapt(rows, weight, relevance=relevance, what=what))
            except ValueError as error:
                raise ValueError(f"set {number}: {error}") from error
        return models

    def _adapted(
        self,
        rule: MaximumLikelihood,
        background: GaussianParameters,
        X: Any,
        sample_weight: Any,
        relevance: float,
        parts: frozenset[str],
    ) -> Self:
        state = adapted(rule.family, background, self.statistics(X, sample_weight), relevance, parts)
        if not state.trusted:
            again = self.statistics(X, sample_weight, origin=state.means)
            state = adapted(rule.family, background, again, relevance, parts, final=True)
        return self._of_adapted(rule, state)

    def _of_adapted(self, rule: MaximumLikelihood, state: GaussianParameters) -> Self:
        """Return a copy of the estimator with the parameters of a state."""
        other = self._blank()
        given = FitResult(state, math.nan, [], (), 0, False, 0)
        other._keep(rule, given, np.asarray(self.means_).dtype.type, self._names(), [])
        return other


def _checked_parts(what: Any) -> frozenset[str]:
    several = [what] if isinstance(what, str) else what
    if not isinstance(several, Iterable) or not set(several) or not set(several) <= set(PARTS):
        raise ValueError(f"what must be one or several of {', '.join(map(repr, PARTS))}, got {shown(what)}.")
    return frozenset(several)


def _checked_relevance(relevance: Any) -> float:
    if not (validation.is_real(relevance) and relevance >= 0.0):
        raise ValueError(f"relevance must be a float in the range [0, inf], got {shown(relevance)}.")
    return float(relevance)


def _require_own_covariances(family: Family, parts: frozenset[str]) -> None:
    if "covariances" in parts and (family.is_tied or family.constraint is not None):
        raise ValueError(
            f"what must not hold 'covariances' with covariance_type {family.name!r}, whose components do not have "
            "covariances each of its own: adapt means and weights, or a background of 'full', 'diag' or 'spherical'."
        )
