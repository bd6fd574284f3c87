"""A fitted variational posterior, read: scores, samples, masses, fewer components."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgmm import validation
from fastgmm.estimators.base import Mixture
from fastgmm.estimators.choices import Predictive
from fastgmm.estimators.noisy_posterior import PosteriorWithNoise
from fastgmm.exceptions import UnknownPriorError
from fastgmm.families import FAMILIES, Family
from fastgmm.families.base import remembered
from fastgmm.fitting.plain import FitResult
from fastgmm.kernels import DiagStudent, Posterior, Prior
from fastgmm.rules import (
    VariationalBayes,
    expected_density,
    expected_log_weights,
    expected_weights,
    make_prior,
    mass_after,
    predictive_density,
)
from fastgmm.rules.variational_noise import beside_noise
from fastgmm.sources import Source
from fastgmm.statistics import Array
from fastgmm.support.typing import Self

PRIOR_TYPES = ("dirichlet_process", "dirichlet_distribution")
# Attributes that a density does not hold, in the order of a Posterior.
_LAWS = ("weight_concentration_", "mean_precision_", "degrees_of_freedom_")
PREDICTIVES = ("expected-log", "plug-in", "student-t")
# A component explains something if it holds at least this many rows, in expectation: one, to rounding.
_ONE_ROW = 1.0 - 1e-6
# The tail of a Student law with fewer degrees of freedom reaches beyond float64 with a probability of 1e-31 and more.
_FEWEST_DEGREES = 0.1


class Posteriors(PosteriorWithNoise, Mixture):
    """The part of ``BayesianGaussianMixture`` that reads its fitted attributes."""

    weight_concentration_prior_type: str
    sort_sticks: bool | None
    weight_concentration_: Any
    weight_concentration_prior_: float
    mean_precision_prior_: float
    mean_prior_: Array
    degrees_of_freedom_prior_: float
    covariance_prior_: Any
    _sorted_sticks: bool
    #: Makes the prior, for a family, of so many features; what is not given comes from the rows of the source.
    _prior: Callable[[Family, int, Source | None], Prior]

    def _sticks(self) -> bool:
        return self.weight_concentration_prior_type == "dirichlet_process"

    def _posterior(self) -> Posterior:
        """Return the law of the fitted attributes that a density does not hold; ValueError where they are none."""
        means = np.asarray(self.means_, np.float64)
        checked: Posterior = _posterior_of_attributes(self._family(), "means_", means, *self._laws())
        return Posterior(*(value.copy() for value in checked))

    def _laws(self) -> list[Array]:
        """Return the fitted attributes that a density does not hold, unchecked."""
        return [np.asarray(getattr(self, name), np.float64) for name in _LAWS]

    def _density(self, predictive: Predictive = "expected-log") -> Any:
        validation.check_choice(predictive, "predictive", PREDICTIVES)
        self._require_fitted()
        family = self._family()
        whitener, means = self._whitener(family), np.asarray(self.means_)
        logs = self._log_weights_beside(predictive)
        if predictive == "plug-in":
            # The weights are those beside noise already.
            plain = family.density_of_whitener(self._weights(), means, whitener)
            return plain if logs is None else beside_noise(plain, self._fitted_noise(), logs * [1.0, 0.0])
        density = _density_of_attributes(family, "means_", means.astype(np.float64), whitener, *self._laws())
        if predictive == "student-t":
            if family.student_type is None:
                raise ValueError(
                    f"predictive='student-t' takes a family that declares a student_type, {family.name!r} does not: "
                    "use 'expected-log' or 'plug-in'."
                )
            posterior = self._posterior()
            density = predictive_density(family, posterior, expected_weights(posterior.concentration), density)
        return density if logs is None else beside_noise(density, self._fitted_noise(), logs)

    def _complete(self) -> None:
        super()._complete()
        logs = self._log_weights_beside("plug-in")
        self.weights_ = expected_weights(self._posterior().concentration) * (1.0 if logs is None else np.exp(logs[1]))

    def _log_weights(self) -> Array:
        logs = self._log_weights_beside("expected-log")
        return expected_log_weights(self._posterior().concentration) + (0.0 if logs is None else logs[1])

    def predict(self, X: ArrayLike, predictive: Predictive = "expected-log") -> NDArray[np.int64]:
        """Return the most probable component of each row of X (N, D), as labels (N,); see ``score_samples``."""
        return self._scored(X, "labels", self._density(predictive))

    def predict_proba(self, X: ArrayLike, predictive: Predictive = "expected-log") -> NDArray:
        """Return the probability of each component for each row of X (N, D), as (N, K); see ``score_samples``.

        Those of "expected-log" are the responsibilities of the variational posterior.
        """
        return self._scored(X, "responsibilities", self._density(predictive))

    def score_samples(self, X: ArrayLike, predictive: Predictive = "expected-log") -> NDArray:
        """Return the log-density (nat) of each row of X (N, D), as (N,).

        Parameters
        ----------
        X : (N, D) array-like
        predictive : {'expected-log', 'plug-in', 'student-t'}
            * "student-t" is the posterior predictive density, a mixture of Student-t laws (PRML 10.81): parameters are
              integrated out, and new rows are given the doubt that is left.
            * "plug-in" is the Gaussian mixture of the attributes `weights_`, `means_` and `covariances_`.
            * "expected-log", scikit-learn's, is log sum_k exp E log p(x, k): a term of the evidence lower bound. It
              integrates to less than 1.
        """
        return self._scored(X, "evidence", self._density(predictive))

    def score(
        self,
        X: ArrayLike,
        y: Any = None,
        sample_weight: ArrayLike | None = None,
        predictive: Predictive = "expected-log",
    ) -> float:
        """Return the (weighted) mean log-density (nat) of the rows of X (N, D); see ``score_samples``."""
        density = None if predictive == "expected-log" else self._density(predictive)
        totals = self._totals(X, sample_weight, density)
        return totals.evidence / totals.weight

    def evidence_lower_bound(self, X: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return the evidence lower bound (nat) of the rows of X (N, D) under the fitted law and its prior.

        On the data of the fit that is `lower_bound_`. ValueError where the prior is not known (see
        ``from_parameters``).
        """
        totals = self._totals(X, sample_weight, self._density())
        return totals.scale * totals.evidence - self._state(self._fitted_rule()).divergence

    def _require_prior(self) -> None:
        self._require_fitted()
        if not hasattr(self, "mean_prior_"):
            raise UnknownPriorError

    def _fitted_rule(self, source: Source | None = None) -> VariationalBayes:
        """Return the rule with the prior of the fitted attributes, or where it is not known, of the source's rows."""
        family = self._family()
        if source is not None and not hasattr(self, "mean_prior_"):
            prior: Prior | None = self._prior(family, source.n_features, source)
        else:
            self._require_prior()
            prior = make_prior(
                family,
                self.weight_concentration_prior_,
                self.mean_prior_,
                self.mean_precision_prior_,
                self.degrees_of_freedom_prior_,
                self.covariance_prior_,
            )
        sort = self.__dict__.get("_sorted_sticks", False) if self.sort_sticks is None else self.sort_sticks
        sticks = isinstance(self.weight_concentration_, tuple)
        if source is not None and sticks != self._sticks():
            raise ValueError(
                "partial_fit goes on with weights of the kind that was learned, but weight_concentration_prior_type is "
                f"{self.weight_concentration_prior_type!r}. To start anew, use a clone or fit."
            )
        return self._as_fitted(VariationalBayes(family, prior, sticks, bool(sort), float(self.reg_covar)))

    def sample(
        self, n_samples: int = 1, random_state: Any = None, predictive: Predictive = "plug-in"
    ) -> tuple[NDArray, NDArray[np.int64]]:
        """Return `n_samples` rows (n, D) drawn from a mixture, grouped by component, and their labels (n,).

        `predictive` is "plug-in", scikit-learn's, or "student-t" (see ``score_samples``). `random_state` defaults to
        the estimator's own.
        """
        validation.check_choice(predictive, "predictive", PREDICTIVES[1:])
        if predictive == "plug-in":
            return super().sample(n_samples, random_state)
        self._require_fitted()
        law = self._density("student-t")
        family = self._family()
        whitener = self._whitener(family)
        # Features of a product law have tails of their own.
        n_features = np.shape(self.means_)[1]
        joined = 1 if isinstance(law, DiagStudent) else n_features
        tails = n_features // joined

        def spread(k: int, noise: Array, generator: Any) -> Array:
            # t = z / sqrt(chi2 / n) in units where the law's distance is shrink * n * |z|^2.
            freedom = law.power[k] - joined
            if len(noise) and freedom < _FEWEST_DEGREES:
                raise ValueError(
                    f"a sample of the Student-t predictive needs at least {_FEWEST_DEGREES} degrees of freedom, "
                    f"component {k} has {freedom:.3g}: increase degrees_of_freedom_prior."
                )
            chi_square = 2.0 * generator.standard_gamma(0.5 * freedom, size=(len(noise), tails))
            return family.colour(whitener, k, noise / np.sqrt(law.shrink[k] * chi_square))

        return self._draw(n_samples, random_state, spread)

    @property
    def component_mass_(self) -> Array:
        """How many rows (or how much of their weight) each component holds, (K,), in expectation."""
        self._require_prior()
        posterior = self._posterior()
        before = 1.0 if len(posterior.concentration) == 2 else self.weight_concentration_prior_
        # The difference from the smaller prior keeps more digits.
        if self.mean_precision_prior_ < before:
            return posterior.mean_precision - self.mean_precision_prior_
        return posterior.concentration[0] - before

    @property
    def n_effective_components_(self) -> int:
        """How many components hold at least one row, in expectation: the others are no more than their prior."""
        return int(np.count_nonzero(self.component_mass_ >= _ONE_ROW))

    def prune(self, min_weight: float | None = None) -> Self:
        """Return a fitted estimator with the components of weight >= `min_weight` only, this one's law otherwise.

        By default those that hold at least one row (`n_effective_components_`). The prior becomes explicit, so that
        ``fit`` with ``warm_start`` goes on from here; `lower_bound_` is NaN, since it needs the rows
        (``evidence_lower_bound`` has it). ValueError where nothing would be left, or the prior is not known.
        """
        self._require_no_noise("prune")
        mass = self.component_mass_
        kept = np.flatnonzero(mass >= _ONE_ROW if min_weight is None else self.weights_ >= min_weight)
        if len(kept) == 0:
            largest = f"the largest of {len(mass)} holds {mass.max():.3g} rows, a weight of {self.weights_.max():.3g}"
            raise ValueError(f"prune would leave no component: {largest}. Lower min_weight.")
        rule = self._fitted_rule()
        family = rule.family
        concentration, mean_precision, degrees_of_freedom = self._posterior()
        concentration = np.ascontiguousarray(concentration[:, kept])
        if rule.sticks:
            concentration[1] = self.weight_concentration_prior_ + mass_after(mass[kept])
        posterior = Posterior(
            concentration,
            mean_precision[kept],
            degrees_of_freedom if family.is_tied else degrees_of_freedom[kept],
        )
        whitener = self._whitener(family)
        state = replace(
            rule.state(posterior, self.means_[kept], family.select(whitener, kept)),
            covariances=family.select(family.of_attribute(self.covariances_, len(mass)), kept),
        )
        params = self._mixture_params() | {
            "n_components": len(kept),
            "covariance_type": family.name if FAMILIES.get(family.name) == family else family,
            "weight_concentration_prior_type": PRIOR_TYPES[0 if rule.sticks else 1],
        }
        params |= {name: None for name in params if name.endswith("_init") and name != "n_init"}
        params["class_components"] = None
        params |= {name.rstrip("_"): value for name, value in vars(self).items() if name.endswith("_prior_")}
        pruned = self._blank()
        pruned.__dict__.update(params)
        result = FitResult(state, math.nan, [], (), self.n_iter_, self.converged_, self.n_passes_)
        pruned._keep(rule, result, self.means_.dtype.type, getattr(self, "feature_names_in_", None), [])
        if "_sorted_sticks" in vars(self):
            pruned._sorted_sticks = self._sorted_sticks
        if "class_of_components_" in vars(self):
            pruned.__dict__["class_of_components_"] = vars(self)["class_of_components_"][kept]
        return pruned


@remembered
def _posterior_of_attributes(family: Family, name: str, means: Array, *values: Array) -> Posterior:
    """Return the checked law of the attributes _LAWS; of the means, the attribute `name`, only the shape counts."""
    sticks = values[0].ndim == 2
    return Posterior(
        *(law_of(law, value, sticks, family, means.shape) for law, value in zip(_LAWS, values, strict=True))
    )


@remembered
def _density_of_attributes(family: Family, name: str, means: Array, whitener: Array, *laws: Array) -> Any:
    """Return the density whose log joint is its expectation under the law of attributes; `name` is that of means."""
    return expected_density(family, _posterior_of_attributes(family, name, means, *laws), means, whitener)


def law_of(name: str, value: Any, sticks: bool, family: Family, shape: tuple[int, ...]) -> Array:
    """Return one field of a Posterior for means of the shape (K, D), from the parameter or attribute `name`."""
    n_components, n_features = shape
    if name.startswith("weight_concentration"):
        laws = (2, n_components) if sticks else (n_components,)
        return np.atleast_2d(validation.check_counts(value, laws, 0.0, name))
    if name.startswith("mean_precision"):
        return validation.check_counts(value, (n_components,), 0.0, name)
    least = family.wishart_dimension(n_features) - 1.0
    shape = (family.n_laws(n_components),)
    # A row counts once for each block of the covariance, up to the number of features.
    return validation.check_counts(value, shape, least, name, times=n_features)
