"""Variational Bayes where a share of the rows is noise: its weight has a law of its own beside that of the components.

A Dirichlet law of K + 1 weights is a beta law of one of them, noise, times a Dirichlet law of the others' shares in the
rest, and its posterior is such a product again. So the law of the components stays what it is without noise. In front
of the sticks of a Dirichlet process, which are not exchangeable, noise is a stick of its own whose law is uniform.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field

import numpy as np

from fastgmm.families import Family
from fastgmm.kernels import Density, Posterior, Prior
from fastgmm.rules.noise import Noise
from fastgmm.rules.variational import VariationalBayes, VariationalPosterior, expected_log_joint, expected_weights
from fastgmm.statistics import Array, SufficientStatistics


@dataclass(frozen=True, eq=False)
class PosteriorBesideNoise(VariationalPosterior):
    """Variational state; `share` (2,) are the parameters of the beta law of noise's weight, that of noise first.

    `density` has noise beside its components, and `divergence` that of the law of its weight.
    """

    share: Array = field(default_factory=lambda: np.ones(2))

    @property
    def weights(self) -> Array:
        """The posterior expectations of the components' mixing weights, (K,): with that of noise their sum is 1."""
        rest: Array = expected_weights(self.posterior.concentration) * (self.share[1] / self.share.sum())
        return rest


def expected_logs(share: Array) -> Array:
    """Return the expected logarithms of the weight of noise and of the rest, (2,), of a beta law (2,)."""
    from scipy.special import digamma  # its import takes longer than most fits

    found: Array = digamma(share) - digamma(share.sum())
    return found


def beside_noise(density: Density, noise: Noise, log_weights: Array) -> Density:
    """Return a density of components alone with noise beside them, by (expected) logarithms of weights (2,)."""
    log_scale = np.append(density.log_scale + log_weights[1], log_weights[0] - noise.log_volume)
    return density._replace(log_scale=log_scale)


class NoiseVariational(VariationalBayes):
    """Variational Bayes with uniform noise of a known density; parameters as of ``VariationalBayes``, and `noise`."""

    def __init__(
        self, family: Family, prior: Prior | None, sticks: bool, sort_sticks: bool, reg_covar: float, noise: Noise
    ) -> None:
        super().__init__(family, prior, sticks, sort_sticks, reg_covar)
        self.noise = noise

    def share_before(self, n_components: int) -> Array:
        """Return the prior law of noise's weight, (2,): uniform beside sticks, else that of one of K + 1 weights."""
        if self.sticks or self.prior is None:
            return np.ones(2)
        return self.prior.concentration * np.array([1.0, n_components])

    def blank_state(self, n_components: int, n_features: int) -> PosteriorBesideNoise:
        """Return a state filled with zeros: which arrays there are, and their shapes."""
        state = super().blank_state(n_components, n_features)
        density = state.density._replace(log_scale=np.zeros(n_components + 1))
        return PosteriorBesideNoise(state.posterior, state.covariances, density, 0.0, share=np.zeros(2))

    def state(
        self, posterior: Posterior, means: Array, whitener: Array, share: Array | None = None
    ) -> PosteriorBesideNoise:
        """Return the state of given laws; that of noise's weight is by default its prior."""
        before = self.share_before(len(means))
        return self._joined(super().state(posterior, means, whitener), before if share is None else share)

    def update(
        self, statistics: SufficientStatistics, density: Density | None = None, final: bool = False
    ) -> PosteriorBesideNoise:
        """Return the law given the statistics: noise has the weight that components have not."""
        state = super().update(statistics, density, final)
        mass = float(statistics.mass.sum())
        rows = np.array([max(statistics.weight - mass, 0.0), mass])
        return self._joined(state, self.share_before(len(statistics.mass)) + rows)

    def beside_noise(self, state: VariationalPosterior, share: float) -> PosteriorBesideNoise:
        """Return a state with a `share` of the rows in the components, as many as are in them; the others are noise."""
        before = self.share_before(len(state.means))
        found = state.share if isinstance(state, PosteriorBesideNoise) else before
        mass = max(float(found[1] - before[1]), 1.0)
        law = before + mass * np.array([(1.0 - share) / share, 1.0])
        again = self.state(state.posterior, state.means, state.density.whitener, law)
        return dataclasses.replace(again, covariances=state.covariances)

    def progress(
        self, state: VariationalPosterior, statistics: SufficientStatistics, successor: VariationalPosterior
    ) -> float:
        """Return the evidence lower bound of `successor` with the responsibilities that it was made from."""
        _, ordered = self._ordered(statistics)
        change = expected_log_joint(successor.density, ordered) - expected_log_joint(state.density, statistics)
        noise = max(statistics.weight - float(statistics.mass.sum()), 0.0)
        change += noise * float(successor.density.log_scale[-1] - state.density.log_scale[-1])
        return statistics.log_evidence + change - successor.divergence

    def _joined(self, state: VariationalPosterior, share: Array) -> PosteriorBesideNoise:
        """Return the law of components alone with one of noise's weight."""
        density, divergence = state.density, state.divergence
        if state.trusted:
            density = beside_noise(density, self.noise, expected_logs(share))
            divergence += _divergence(share, self.share_before(len(state.means)))
        return PosteriorBesideNoise(
            state.posterior, state.covariances, density, divergence, state.trusted, state.moved, share
        )


def _divergence(share: Array, before: Array) -> float:
    """Return the Kullback-Leibler divergence (nat) of one beta law from another."""
    from scipy.special import betaln

    logs = expected_logs(share)
    total = float(betaln(*before) - betaln(*share) + (share - before) @ logs)
    return max(total, 0.0) if math.isfinite(total) else total
