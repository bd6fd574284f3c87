"""Adaptation of a fitted mixture to few rows, of one source or of many: each becomes a mixture of its own."""

from __future__ import annotations

import math
import os
from abc import ABC
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike

from fastgmm import validation
from fastgmm.estimators.base import Mixture
from fastgmm.estimators.labels import with_classes_of
from fastgmm.families import Family
from fastgmm.fitting.plain import FitResult
from fastgmm.rules import GaussianParameters, MaximumLikelihood
from fastgmm.rules.adaptation import PARTS, adapted, unexplained
from fastgmm.statistics import SufficientStatistics
from fastgmm.support.showing import shown
from fastgmm.support.typing import Self

_Key = TypeVar("_Key", bound=Hashable)


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
            rows, in whichever processes; those of another mixture are refused.
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
        `lower_bound_` NaN; components keep their classes, `class_components` is None. Raises ValueError for bad input;
        for parts that are `frozen`, weights under `equal_weights` and covariances under `max_eigenvalue_ratio`, which
        adaptation would move; for covariances that components share or that a constraint ties, which the formula would
        not keep in their family; and where a covariance collapses (small `relevance`).
        """
        parts = _checked_parts(what)
        strength = _checked_relevance(relevance)
        self._require_fitted()
        self._require_no_noise("adapt")
        family = self._family()
        _require_own_covariances(family, parts)
        self._require_free(family, parts)
        rule = MaximumLikelihood(family, 0.0)
        background = self._state(rule)
        if not isinstance(X, SufficientStatistics):
            return self._adapted(rule, background, X, sample_weight, strength, parts)
        if sample_weight is not None:
            raise ValueError("sample_weight must be None where X is statistics, which have weights in them.")
        self._checked_statistics(X, family)
        _require_own_statistics(background, X)
        state = adapted(family, background, X, strength, parts)
        if not state.trusted:
            raise ValueError(
                "X, statistics, have no digits left for some covariance: they are about points too far from the means "
                "of the rows. Collect them again by statistics(X, origin=total.mean), for total the sum that was given."
            )
        return self._of_adapted(rule, state)

    @overload
    def adapt_many(  # type: ignore[overload-overlap]  # a mapping is an iterable, of its names
        self,
        sets: Mapping[_Key, ArrayLike | SufficientStatistics],
        sample_weight: Mapping[_Key, ArrayLike | None] | None = None,
        *,
        relevance: float = 16.0,
        what: str | Iterable[str] = ("means",),
    ) -> dict[_Key, Self]: ...

    @overload
    def adapt_many(
        self,
        sets: Iterable[ArrayLike | SufficientStatistics],
        sample_weight: Sequence[ArrayLike | None] | None = None,
        *,
        relevance: float = 16.0,
        what: str | Iterable[str] = ("means",),
    ) -> list[Self]: ...

    def adapt_many(
        self, sets: Any, sample_weight: Any = None, *, relevance: float = 16.0, what: str | Iterable[str] = ("means",)
    ) -> Any:
        """Return a mixture for each of several sets of rows, such as those of many speakers: ``adapt`` of each.

        Parameters
        ----------
        sets : iterable of what ``adapt`` takes, or mapping of names to such
            Taken one after the other: a generator need not hold them all. Of a mapping a dict is made, with its names.
        sample_weight : sequence of what ``adapt`` takes, optional; for a mapping, one with the same names
            One for each set.
        relevance, what : as of ``adapt``

        Notes
        -----
        A message about bad input names the set: its number, from 0, or its name.
        """
        _require_sets(sets)
        what = what if isinstance(what, str) or not isinstance(what, Iterable) else tuple(what)
        names: Any = sets if isinstance(sets, Mapping) else None
        if sample_weight is not None:
            sets = sets if names is not None else list(sets)
            wanted = f"one for each of {len(sets)} sets"
            if (names is not None) != isinstance(sample_weight, Mapping):
                wanted += ", a mapping where sets are one"
            elif names is not None and sample_weight.keys() != names.keys():
                wanted += ", under their names"
            elif len(sample_weight) == len(sets):
                wanted = ""
            if wanted:
                raise ValueError(f"sample_weight must be {wanted}, or None, got {len(sample_weight)}.")
        models = {}
        for name, rows in enumerate(sets) if names is None else names.items():
            weight = None if sample_weight is None else sample_weight[name]
            try:
                models[name] = self.adapt(rows, weight, relevance=relevance, what=what)
            except ValueError as error:
                raise ValueError(f"set {name if names is None else shown(name)}: {error}") from error
        return list(models.values()) if names is None else models

    def _require_free(self, family: Family, parts: frozenset[str]) -> None:
        """ValueError where parts are to be adapted that a parameter says are known."""
        masks = validation.check_frozen(getattr(self, "frozen", None), family, len(self.means_), float(self.reg_covar))
        for part in sorted(parts):
            if masks[part].any():
                raise ValueError(
                    f"what must not hold {part!r}, of which frozen says that components {_listed(masks[part])} have "
                    "known ones: adapt other parts, or set frozen=None to let them move."
                )
        if "covariances" in parts and getattr(self, "max_eigenvalue_ratio", None) is not None:
            raise ValueError(
                "what must not hold 'covariances' with max_eigenvalue_ratio, which adapted ones would not keep: adapt "
                "other parts, or set max_eigenvalue_ratio=None."
            )
        if "weights" in parts and getattr(self, "equal_weights", False):
            raise ValueError(
                "what must not hold 'weights' with equal_weights=True, which are known: adapt other parts, or set "
                "equal_weights=False to let them move."
            )

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
        # What was known stays so.
        other.__dict__["_n_known_parameters"] = vars(self).get("_n_known_parameters", 0)
        return with_classes_of(self, other)


def _checked_parts(what: Any) -> frozenset[str]:
    several = [what] if isinstance(what, str) or not isinstance(what, Iterable) else list(what)
    if not several or not all(isinstance(each, str) and each in PARTS for each in several):
        raise ValueError(f"what must be one or several of {', '.join(map(repr, PARTS))}, got {shown(what)}.")
    return frozenset(several)


def _listed(mask: Any) -> str:
    return ", ".join(map(str, np.flatnonzero(mask)))


def _require_sets(sets: Any) -> None:
    """ValueError where sets of rows are wanted and there is one alone."""
    is_table = getattr(sets, "ndim", None) == 2 or hasattr(sets, "columns")
    if is_table or isinstance(sets, str | os.PathLike | SufficientStatistics) or not isinstance(sets, Iterable):
        raise ValueError(
            f"sets must be several sets of rows, a list of tables or a mapping of names to tables, got "
            f"{f'one table of the shape {np.shape(sets)}' if is_table else shown(sets)}: use adapt for one set."
        )


def _require_own_statistics(background: GaussianParameters, statistics: SufficientStatistics) -> None:
    """ValueError where statistics are about other points than the means, and not of this mixture either."""
    if np.array_equal(statistics.origin, background.means):
        return
    if unexplained(background, statistics):
        raise ValueError(
            "X, statistics, must be those of this mixture, got some about other points than means_, whose log_evidence "
            "is not that of their rows under it: collect them by its own statistics(X)."
        )


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
