"""EM and variational Bayes as users know them: their words, criteria and options, for reports, plots and warmup."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["METHODS", "Method", "counted", "describe", "method_of"]


class Method(ABC):
    """A way to fit mixtures: how its models are made, compared and described where that is not the same for all."""

    #: The class in `fastgmm`.
    estimator: ClassVar[str]
    #: What `lower_bound_` is, which a fit tells its callback.
    bound: ClassVar[str]
    #: The name of what fits are compared by, if no other is asked for, and whether lower values are better.
    criterion: ClassVar[str]
    lower_is_better: ClassVar[bool]
    #: The name of the log-likelihood of rows, and the option of `score`, `score_samples` and `sample` that means it.
    likelihood: ClassVar[str]
    density: ClassVar[dict[str, str]]

    @abstractmethod
    def options(self, arguments: Any) -> dict[str, Any]:
        """Return the estimator's own parameters, from arguments of the command line."""

    @abstractmethod
    def criteria(self, model: Any) -> dict[str, Callable[..., float]]:
        """Return the functions of rows and their weights that measure a fitted model, by name."""

    @abstractmethod
    def effective(self, model: Any) -> NDArray[np.intp]:
        """Return the components that are worth showing, in order."""

    @abstractmethod
    def size(self, model: Any) -> str:
        """Return the number of components in words, without the noun."""

    @abstractmethod
    def detail(self, model: Any) -> str:
        """Return the words of a description after size and shape."""


class MaximumLikelihood(Method):
    """EM, with the information criteria."""

    estimator = "GaussianMixture"
    bound = "mean log-likelihood"
    criterion = "BIC"
    lower_is_better = True
    likelihood = "log-likelihood"
    density: ClassVar[dict[str, str]] = {}

    def options(self, arguments: Any) -> dict[str, Any]:
        """Return the noise, and what regularises."""
        names = "noise", "prior", "max_eigenvalue_ratio"
        return {name: getattr(arguments, name) for name in names}

    def criteria(self, model: Any) -> dict[str, Callable[..., float]]:
        """Return AIC, BIC and ICL."""
        return {"AIC": model.aic, "BIC": model.bic, "ICL": model.icl}

    def effective(self, model: Any) -> NDArray[np.intp]:
        """Return all components."""
        return np.arange(len(model.weights_))

    def size(self, model: Any) -> str:
        """Return the number of components."""
        return str(len(model.weights_))

    def detail(self, model: Any) -> str:
        """Return the number of free parameters."""
        return f"{model._n_parameters()} free parameters"


class VariationalBayes(Method):
    """Variational Bayes, with the evidence lower bound; new rows are scored and drawn by the Student-t predictive."""

    estimator = "BayesianGaussianMixture"
    bound = "evidence bound"
    criterion = "evidence bound"
    lower_is_better = False
    likelihood = "Student-t log-likelihood"
    density: ClassVar[dict[str, str]] = {"predictive": "student-t"}

    def options(self, arguments: Any) -> dict[str, Any]:
        """Return the prior of the weights, and the noise."""
        return {
            "noise": arguments.noise,
            "weight_concentration_prior_type": f"dirichlet_{arguments.prior_type or 'process'}",
            # One prior for all numbers of components, so that their bounds compare the same thing.
            "weight_concentration_prior": arguments.concentration or 1.0 / max(arguments.components),
        }

    def criteria(self, model: Any) -> dict[str, Callable[..., float]]:
        """Return the evidence lower bound, nothing for a model that does not know its prior."""
        return {self.criterion: model.evidence_lower_bound} if self._knows_prior(model) else {}

    def effective(self, model: Any) -> NDArray[np.intp]:
        """Return the components that hold at least one row; all where that takes a prior that is not known."""
        if not self._knows_prior(model):
            return np.arange(len(model.weights_))
        # Those of the largest mass: what is enough is for the estimator to say.
        return np.sort(np.argsort(-model.component_mass_, kind="stable")[: model.n_effective_components_])

    def size(self, model: Any) -> str:
        """Return the numbers of effective and of all components."""
        return f"{len(self.effective(model))} of {len(model.weights_)} effective"

    def detail(self, model: Any) -> str:
        """Return the law of the weights."""
        law = "Dirichlet process" if isinstance(model.weight_concentration_, tuple) else "Dirichlet distribution"
        if not self._knows_prior(model):
            return law
        return f"{law} of concentration {model.weight_concentration_prior_:.6g}"

    def _knows_prior(self, model: Any) -> bool:
        return hasattr(model, "weight_concentration_prior_")


METHODS: dict[str, Method] = {"em": MaximumLikelihood(), "vb": VariationalBayes()}


def method_of(model: Any) -> Method:
    """Return how a fitted model was fitted."""
    return METHODS["vb" if hasattr(model, "evidence_lower_bound") else "em"]


def describe(model: Any) -> str:
    """Return the size and the shape of a fitted mixture in words."""
    family = model._family().name
    noun = "component" if len(model.weights_) == 1 else "components"
    return f"{method_of(model).size(model)} {noun}, {family} covariance"


def counted(number: int, noun: str) -> str:
    """Return `number` with its noun in the singular or the plural."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
