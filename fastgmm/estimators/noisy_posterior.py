"""Uniform noise beside a variational posterior: its rule, its attributes, and what is refused beside it."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgmm import validation
from fastgmm.estimators.noise import WithNoise, noise_of, spread_noise
from fastgmm.rules import NoiseVariational, VariationalBayes, VariationalPosterior
from fastgmm.rules.variational_noise import PosteriorBesideNoise, expected_logs
from fastgmm.sources import Source
from fastgmm.starts.noise import beginning_with_noise
from fastgmm.statistics import Array

#: What only mixtures with noise have.
OF_NOISE = "noise_weight_", "noise_log_volume_", "noise_box_", "_n_noise_parameters", "noise_concentration_"
# A fit that goes on from one without noise begins with so much of the rows as noise.
_SOME_NOISE = 0.01


class PosteriorWithNoise(WithNoise):
    """The part of ``BayesianGaussianMixture`` that has noise beside its components."""

    noise_concentration_: Array

    def _check_noise(self) -> None:
        model: Any = self
        validation.check_noise(model.noise, {name: getattr(model, name) for name in ("accelerate", "truncate")})

    def _with_noise(self, rule: VariationalBayes, source: Source) -> VariationalBayes:
        """Return the rule of a fit to the rows of a source, with noise where it is asked for."""
        model: Any = self
        if not validation.wants_noise(model.noise):
            return rule
        noise = noise_of(source.rows, model.noise, model.n_threads, model.missing is not None)
        spread_noise(source.rows, noise)
        return NoiseVariational(rule.family, rule.prior, rule.sticks, rule.sort_sticks, rule.reg_covar, noise)

    def _as_fitted(self, rule: VariationalBayes) -> VariationalBayes:
        """Return the rule of the fitted attributes, with noise where they have some."""
        if not self._has_noise():
            return rule
        noise = self._fitted_noise()
        return NoiseVariational(rule.family, rule.prior, rule.sticks, rule.sort_sticks, rule.reg_covar, noise)

    def _started(self, rule: VariationalBayes, begin: Any) -> Any:
        """Return a start that guesses which rows are noise where a method makes it, and noise is asked for."""
        model: Any = self
        if isinstance(rule, NoiseVariational) and isinstance(model.init_params, str):
            return beginning_with_noise(begin, int(model.n_components))
        return begin

    def _share(self) -> NDArray[np.float64]:
        """Return the law of noise's weight, (2,); ValueError where the attribute is none."""
        return validation.check_counts(self.noise_concentration_, (2,), 0.0, "noise_concentration_")

    def _laid_beside(self, rule: VariationalBayes, state: VariationalPosterior) -> VariationalPosterior:
        """Return the state of the fitted attributes with the noise that they have; with a little where they have none.

        As a rule with noise goes on from it.
        """
        if not isinstance(rule, NoiseVariational):
            return state
        if self._has_noise():
            again = rule.state(state.posterior, state.means, state.density.whitener, self._share())
            return again
        mass = float(np.maximum(state.posterior.mean_precision.sum(), 1.0))
        share = rule.share_before(len(state.means)) + mass * np.array([_SOME_NOISE, 1.0 - _SOME_NOISE])
        return rule.state(state.posterior, state.means, state.density.whitener, share)

    def _log_weights_beside(self, predictive: str) -> Array | None:
        """Return the (expected) logarithms of the weights of noise and of the rest, (2,); None without noise."""
        if not self._has_noise():
            return None
        share = self._share()
        found: Array = expected_logs(share) if predictive == "expected-log" else np.log(share / share.sum())
        return found

    def without_noise(self) -> Any:
        """Return the law of the components alone, as a fitted `BayesianGaussianMixture`.

        Components keep their classes; `lower_bound_` is NaN, for it is that of a mixture with noise.
        """
        other: Any = copy.copy(self)
        for name in OF_NOISE:
            other.__dict__.pop(name, None)
        other.noise = False
        if self._has_noise():
            other.weights_ = np.asarray(other.weights_) / np.sum(other.weights_)
            other.lower_bound_, other.lower_bounds_ = float("nan"), []
            other._watched_bounds, other._learned = (), None
        other.class_components = None
        return other


def noise_attributes(rule: VariationalBayes, state: VariationalPosterior) -> dict[str, Any]:
    """Return the fitted attributes of the noise of a state, none where there is none."""
    if not (isinstance(rule, NoiseVariational) and isinstance(state, PosteriorBesideNoise)):
        return {}
    weight, noise = float(state.share[0] / state.share.sum()), rule.noise
    values = weight, noise.log_volume, noise.box, noise.n_parameters, state.share
    return dict(zip(OF_NOISE, values, strict=True))
