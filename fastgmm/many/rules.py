"""EM and variational Bayes of many problems: records for the kernels, and attributes of the result."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgmm import validation
from fastgmm.estimators import BayesianGaussianMixture, GaussianMixture
from fastgmm.families import Family
from fastgmm.kernels import Density, Posterior, divergence, many
from fastgmm.kernels.updates.constraints import constraint_address
from fastgmm.many.status import Status
from fastgmm.rules import (
    GaussianParameters,
    MaximumLikelihood,
    VariationalBayes,
    VariationalPosterior,
    default_scales,
    expected_density,
    expected_weights,
    make_prior,
)
from fastgmm.spurious import may_have_spikes
from fastgmm.statistics import Array


class ManyLikelihoods:
    """Expectation maximisation of all problems."""

    smooths_seeds = MaximumLikelihood.smooths_seeds
    wants_moments = False

    def __init__(self, estimator: GaussianMixture, family: Family, n_problems: int, n_features: int) -> None:
        self._rule = MaximumLikelihood(family, float(estimator.reg_covar))
        self._weights = np.full((n_problems, estimator.n_components), np.nan)
        self._fewest_rows = np.array([family.fewest_rows(n_features)])

    def record(self, slab: slice, survey: many.Survey) -> many.Likelihood:
        """Return the kernels' record for a slab of problems."""
        family, n_features = self._rule.family, survey.middle.shape[1]
        # An address is of one process: it is no part of results, which may be pickled.
        address = constraint_address(family.constraint, family.blank(self._weights.shape[1], n_features))
        return many.Likelihood(self._weights[slab], self._fewest_rows, np.array([address], np.int64))

    def attributes(self) -> dict[str, Any]:
        """Return the attributes of the result that are this rule's."""
        return {"weights_": self._weights}

    def another(self, record: many.Likelihood) -> many.Likelihood:
        """Return a record for another start of the same problems."""
        return record._replace(weights=np.full_like(record.weights, np.nan))

    def arrays(self) -> dict[str, Array]:
        """Return the rule's own arrays of all problems by name, as files hold them; whoever reads one fills them."""
        return self.outcome()

    def outcome(self) -> dict[str, Array]:
        """Return those of the arrays that fits write to: none is negative."""
        return {"weights": self._weights}

    def decided(self) -> dict[str, Any]:
        """Return the parameters of the estimator that are left to the fit, as it took them."""
        return {}

    def outputs(self, record: many.Likelihood) -> tuple[Array, ...]:
        """Return the arrays of a record that fits write to."""
        return (record.weights,)

    def suspects(self, fits: many.Fits) -> NDArray[np.bool_]:
        """Return which fits may have spurious components."""
        with np.errstate(invalid="ignore"):
            narrow: NDArray[np.bool_] = may_have_spikes(self._rule.family, fits.whitener, self._rule.reg_covar, 1)
        return narrow | (fits.spurious >= 0)

    def density(self, i: int, fits: many.Fits) -> Density:
        """Return the density that rows of one problem are scored with."""
        return self._rule.family.density_of_whitener(self._weights[i], fits.mean[i], fits.whitener[i])

    def state(
        self, i: int, fits: many.Fits, record: many.Likelihood | None = None
    ) -> tuple[MaximumLikelihood, GaussianParameters]:
        """Return the rule and the state of one problem of all, or of those of a record."""
        weights = (self._weights if record is None else record.weights)[i].copy()
        density = self._rule.family.density_of_whitener(weights, fits.mean[i], fits.whitener[i])
        return self._rule, GaussianParameters(weights, fits.covariance[i].copy(), density)


class ManyPosteriors:
    """Variational Bayes of all problems."""

    smooths_seeds = VariationalBayes.smooths_seeds

    def __init__(
        self,
        estimator: BayesianGaussianMixture,
        family: Family,
        n_problems: int,
        n_features: int,
        ordered: bool,
    ) -> None:
        n_components = estimator.n_components
        self._family = family
        self._sticks = estimator._sticks()
        self._reg_covar = float(estimator.reg_covar)
        sort = estimator.sort_sticks if estimator.sort_sticks is not None else not ordered
        self._sort = bool(sort) and self._sticks
        self._counts = np.array(estimator._prior_counts(family.wishart_dimension(n_features)))
        self._given_mean = self._given_scale = None
        if estimator.mean_prior is not None:
            self._given_mean = validation.check_mean_prior(estimator.mean_prior, n_features)
        if estimator.covariance_prior is not None:
            self._given_scale = validation.check_covariance_prior(estimator.covariance_prior, family, n_features)
            if self._prior(np.zeros(n_features), self._given_scale) is None:
                raise ValueError(
                    f"'{family.name} covariance_prior' should be symmetric, positive-definite (to rounding)"
                )
        self.wants_moments = self._given_scale is None
        self._mean = np.full((n_problems, n_features), np.nan)
        if self._given_mean is not None:
            self._mean = self._given_mean[None]
        self._scale = np.full((n_problems, *family.shape(1, n_features)), np.nan)
        if self._given_scale is not None:
            self._scale = self._given_scale.reshape(1, *family.shape(1, n_features))
        self._posterior = Posterior(
            np.full((n_problems, 2 if self._sticks else 1, n_components), np.nan),
            np.full((n_problems, n_components), np.nan),
            np.full((n_problems, family.n_laws(n_components)), np.nan),
        )

    def _prior(self, mean: Array, scale: Array) -> Any:
        concentration, mean_precision, degrees_of_freedom = self._counts
        return make_prior(self._family, concentration, mean, mean_precision, degrees_of_freedom, scale)

    def record(self, slab: slice, survey: many.Survey) -> many.Variational:
        """Return the kernels' record for a slab of problems, with priors from the rows where they are not given."""
        if self._given_mean is None:
            self._mean[slab] = survey.middle
        if self._given_scale is None:
            fine = survey.status == Status.CONVERGED
            covariance = self._family.projected(survey.moments[fine])
            scale, definite = default_scales(
                self._family, survey.weight[fine], survey.middle[fine], covariance, self._reg_covar
            )
            self._scale[slab][fine] = scale.reshape(-1, *self._scale.shape[1:])
            survey.status[np.flatnonzero(fine)[~definite]] = Status.SINGULAR
        return many.Variational(
            self._counts,
            self._mean if len(self._mean) == 1 else self._mean[slab],
            self._scale if len(self._scale) == 1 else self._scale[slab],
            np.array([self._sort], np.int64),
            *(array[slab] for array in self._posterior),
        )

    def attributes(self) -> dict[str, Any]:
        """Return the attributes of the result that are this rule's."""
        concentration, mean_precision, degrees_of_freedom = self._posterior
        return {
            "weights_": expected_weights(concentration),
            "weight_concentration_": (concentration[:, 0], concentration[:, 1])
            if self._sticks
            else concentration[:, 0],
            "mean_precision_": mean_precision,
            "degrees_of_freedom_": degrees_of_freedom[:, 0] if self._family.is_tied else degrees_of_freedom,
            "mean_prior_": self._mean,
            "covariance_prior_": self._scale.reshape(len(self._scale), *self._family.block_shape(self._mean.shape[1])),
        }

    def another(self, record: many.Variational) -> many.Variational:
        """Return a record for another start of the same problems."""
        concentration, mean_precision, degrees_of_freedom = (
            np.full_like(array, np.nan) for array in self.outputs(record)
        )
        return record._replace(
            concentration=concentration, mean_precision=mean_precision, degrees_of_freedom=degrees_of_freedom
        )

    def arrays(self) -> dict[str, Array]:
        """Return the rule's own arrays of all problems by name, as files hold them; whoever reads one fills them."""
        return {"mean_prior": self._mean, "scale_prior": self._scale} | self.outcome()

    def outcome(self) -> dict[str, Array]:
        """Return those of the arrays that fits write to: none is negative."""
        return self._posterior._asdict()

    def decided(self) -> dict[str, Any]:
        """Return the parameters of the estimator that are left to the fit, as it took them."""
        return {"sort_sticks": self._sort}

    def outputs(self, record: many.Variational) -> tuple[Array, ...]:
        """Return the arrays of a record that fits write to."""
        return record.concentration, record.mean_precision, record.degrees_of_freedom

    def suspects(self, fits: many.Fits) -> NDArray[np.bool_]:
        """Return that no fit has spurious components: the prior keeps the bound from growing without limit."""
        return np.zeros(len(fits.status), bool)

    def density(self, i: int, fits: many.Fits) -> Density:
        """Return the density that rows of one problem are scored with."""
        return expected_density(self._family, self._posterior_of(i), fits.mean[i], fits.whitener[i])

    def _posterior_of(self, i: int) -> Posterior:
        return Posterior(*(array[i].copy() for array in self._posterior))

    def state(self, i: int, fits: many.Fits, record: Any = None) -> tuple[VariationalBayes, VariationalPosterior]:
        """Return the rule and the state of one problem."""
        prior = self._prior(self._mean[min(i, len(self._mean) - 1)], self._scale[min(i, len(self._scale) - 1)])
        rule = VariationalBayes(self._family, prior, self._sticks, self._sort, self._reg_covar)
        state = rule.state(self._posterior_of(i), fits.mean[i], fits.whitener[i])
        return rule, VariationalPosterior(
            state.posterior, fits.covariance[i].copy(), state.density, divergence(state.density, prior, state.posterior)
        )


Rule = ManyLikelihoods | ManyPosteriors
