"""Priors of maximum-likelihood mixtures: what users give, checked, and what is not given taken from the rows."""

from __future__ import annotations

import math
from abc import ABC
from dataclasses import replace
from typing import Any

import numpy as np

from fastgmm import validation
from fastgmm.estimators.base import Mixture
from fastgmm.families import Family
from fastgmm.rows import Rows
from fastgmm.rules import (
    MaximumLikelihood,
    NormalInverseWishart,
    ParameterPrior,
    default_scales,
    make_prior,
)
from fastgmm.sources import Source
from fastgmm.statistics import Array
from fastgmm.support.showing import shown

#: The name of mclust's defaults.
MCLUST = "mclust"
_MOST_ROWS = 1e20
#: What only regularised fits have: all of the prior; and what was asked for.
REGULAR = "prior_", "_prior_given", "_ratio_given"


class WithPrior(Mixture, ABC):
    """The part of ``GaussianMixture`` that regularises: by a prior, or by a limit on the ratio of eigenvalues."""

    prior: Any
    max_eigenvalue_ratio: Any
    frozen: Any

    @property
    def _adds_prior(self) -> bool:
        """Whether statistics are added to a prior, against which rows count by their weights as these are."""
        return self.prior is not None

    def _weight_exponent(self, rows: Rows) -> int:
        if self.prior is not None:
            validation.check_row_counts(rows.summary.total_weight)
            return 0
        # The fit does not depend on the scale of weights, but a component's share of tiny ones may underflow.
        return rows.unit_exponent

    def _validate_parameters(self) -> None:
        super()._validate_parameters()
        check_prior(self.prior)
        if self.prior is not None and self.frozen is not None:
            raise ValueError(
                f"frozen must be None with prior={shown(self.prior)}, got {shown(self.frozen)}: what is known needs no "
                "prior. For parts that are known but for a little, give a prior that is strong."
            )
        self._check_ratio()

    def _check_ratio(self) -> None:
        """ValueError where the limit on the ratio of eigenvalues is none, or another parameter does not go with it."""
        ratio = self.max_eigenvalue_ratio
        if ratio is None:
            return
        if not (validation.is_real(ratio) and 1.0 <= ratio < math.inf):
            raise ValueError(f"max_eigenvalue_ratio must be None or a float in the range [1, inf), got {shown(ratio)}.")
        family = validation.check_family(self.covariance_type)
        if family.constraint is not None and not family.is_tied:
            raise ValueError(
                f"max_eigenvalue_ratio must be None with covariance_type {family.name!r}, got {shown(ratio)}: its own "
                "constraint would not hold. Use 'full', 'diag', 'spherical' or a tied family."
            )
        if self.frozen is not None:
            raise ValueError(
                f"frozen must be None with max_eigenvalue_ratio={shown(ratio)}, got {shown(self.frozen)}: the limit is "
                "not known to hold around known parts."
            )

    def _require_same_mixture(self, method: str) -> None:
        super()._require_same_mixture(method)
        fitted = self.__dict__.get("_prior_given")
        goes_on = hasattr(self, "prior_") or self.__dict__.get("_learned") is not None
        if goes_on and self.prior != fitted:
            raise ValueError(
                f"{method} goes on with what was learned, with prior={shown(fitted)}, but prior is "
                f"{shown(self.prior)}. To start anew, use a clone or fit."
            )

    def _progress_before(self) -> tuple[float, ...]:
        # The bounds of a fit with another prior or limit say nothing of this one.
        plain = self.prior is None and self.max_eigenvalue_ratio is None
        return super()._progress_before() if plain and not any(hasattr(self, name) for name in REGULAR) else ()

    def _regular(self, rule: MaximumLikelihood, source: Source | None, is_fitted: bool = False) -> MaximumLikelihood:
        """Return the rule with what regularises a fit to the rows of a source, where there is anything.

        With `is_fitted`, a fitted prior counts, and what is not known comes from the source, if any.
        """
        if self.max_eigenvalue_ratio is not None:
            rule.eigenvalue_ratio = float(self.max_eigenvalue_ratio)
        if self.prior is None:
            return rule
        known = self.__dict__.get("prior_") if is_fitted else None
        if known is None:
            n_features = np.shape(self.means_)[1] if source is None else source.n_features
            known = self._completed(check_prior(self.prior), rule.family, n_features, source)
        rule.prior = ParameterPrior(known)
        # The prior has a scale: no pseudo-rows are needed.
        rule.smooths_seeds = False
        return rule

    def _regular_attributes(self, rule: MaximumLikelihood) -> dict[str, Any]:
        """Return the fitted attributes of what regularised a fit."""
        prior, ratio = rule.prior, rule.eigenvalue_ratio
        given = (None, None) if prior is None else (prior.record, self.prior)
        named = dict(zip(REGULAR, (*given, ratio), strict=True))
        return {name: value for name, value in named.items() if value is not None}

    def _completed(
        self, record: NormalInverseWishart, family: Family, n_features: int, source: Source | None
    ) -> NormalInverseWishart:
        """Return a prior of which everything is known; what is not given comes from the rows of the source."""
        dimension = family.wishart_dimension(n_features)
        freedom = float(n_features + 2 if record.degrees_of_freedom is None else record.degrees_of_freedom)
        if not freedom > dimension - 1:
            raise ValueError(
                f"prior.degrees_of_freedom must be above {dimension - 1} with {n_features} columns and covariance_type "
                f"{family.name!r}, got {freedom:g}."
            )
        mean = None if record.mean is None else validation.check_mean_prior(record.mean, n_features, "prior.mean")
        scale = None
        if record.scale is not None:
            scale = validation.check_covariance_prior(record.scale, family, n_features, "prior.scale")
            if make_prior(family, 1.0, np.zeros(n_features), 1.0, freedom, scale) is None:
                raise ValueError("prior.scale should be symmetric, positive-definite (to rounding)")
        if mean is None or scale is None:
            if source is None:
                raise ValueError(
                    "the prior of this mixture is not known, for it is made of rows: give mean and scale in "
                    "prior=NormalInverseWishart(...), or use fit."
                )
            mean = source.total().mean[0] if mean is None else mean
            if scale is None:
                scale = self._default_scale(family, source)
        return replace(record, mean=np.array(mean), degrees_of_freedom=freedom, scale=scale)

    def _default_scale(self, family: Family, source: Source) -> Array:
        """Return the covariance of the rows of a source over K^(2/D), in the shape of that of one component."""
        total, n_features = source.total(), source.n_features
        covariance = source.covariance().reshape(1, *family.block_shape(n_features))
        (scale,), (definite,) = default_scales(family, total.mass, total.mean, covariance, 0.0)
        if not definite:
            if family.has_matrices:
                covariance = covariance * np.eye(n_features)
            (scale,), (definite,) = default_scales(family, total.mass, total.mean, covariance, float(self.reg_covar))
        if not definite:
            raise ValueError(
                "the covariance of X, which is the prior of the components' covariances, is not positive definite: "
                "there are constant columns. Increase reg_covar, give prior=NormalInverseWishart(scale=...), or leave "
                "columns out."
            )
        if isinstance(self.prior, str) and not family.has_matrices:
            # As mclust has it: one number for all columns.
            scale = np.full_like(scale, np.mean(scale))
        share: Array = np.asarray(scale / math.pow(self.n_components, 2.0 / n_features))
        return share


def check_prior(prior: Any) -> NormalInverseWishart:
    """Return a parameter `prior` as a record, that of the defaults for None; ValueError where it is none."""
    if prior is None or (isinstance(prior, str) and prior == MCLUST):
        return NormalInverseWishart()
    if not isinstance(prior, NormalInverseWishart):
        raise ValueError(f"prior must be None, {MCLUST!r} or a fastgmm.NormalInverseWishart, got {shown(prior)}.")
    freedom = prior.degrees_of_freedom
    for name, value, low in (
        ("mean_precision", prior.mean_precision, 0.0),
        ("degrees_of_freedom", 1.0 if freedom is None else freedom, 0.0),
        ("weight_concentration", prior.weight_concentration, 1.0),
    ):
        if not (validation.is_real(value) and low <= value <= _MOST_ROWS):
            raise ValueError(
                f"prior.{name} must be a float in the range [{low:g}, {_MOST_ROWS:g}], got {shown(value)}."
            )
    return prior
