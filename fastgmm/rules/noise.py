"""EM where a share of the rows is noise: spread evenly over a box, apart from all components."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fastgmm.families import Family
from fastgmm.kernels import Density
from fastgmm.rules.likelihood import GaussianParameters, MaximumLikelihood
from fastgmm.statistics import Array, SufficientStatistics


@dataclass(frozen=True, eq=False)
class Noise:
    """Uniform noise: its density is 1 / volume wherever a row is, and it is drawn from a box.

    `log_volume` is a logarithm, in units of x^D. `box` (D + 1, D) holds a corner, and the edges that start there.
    `is_given` says whether the volume was, rather than measured.
    """

    log_volume: float
    box: Array
    is_given: bool = False

    @property
    def log_lengths(self) -> Array:
        """The logarithms of the lengths of a box along the columns, (D,), scaled so that it has the volume."""
        lengths: Array = np.log(np.abs(np.diagonal(self.box[1:])))
        return lengths + (self.log_volume - lengths.sum()) / len(lengths)

    def density(self, density: Density, weight: float) -> Density:
        """Return a density of components alone with noise of some weight beside them."""
        log_weight = math.log(weight) if weight > 0.0 else -math.inf
        return density._replace(log_scale=np.append(density.log_scale, log_weight - self.log_volume))


class NoiseLikelihood(MaximumLikelihood):
    """Expectation maximisation with uniform noise of a known density (Banfield and Raftery 1993).

    The weights of a state sum to the share of rows that are no noise. What noise has of a row is what components have
    not, so that its mass needs no sum of its own; the bound does not fall.
    """

    def __init__(self, family: Family, reg_covar: float, noise: Noise) -> None:
        super().__init__(family, reg_covar)
        self.noise = noise

    def blank_state(self, n_components: int, n_features: int) -> GaussianParameters:
        """Return a state filled with zeros: which arrays there are, and their shapes."""
        state = super().blank_state(n_components, n_features)
        density = state.density._replace(log_scale=np.zeros(n_components + 1))
        return GaussianParameters(state.weights, state.covariances, density)

    def update(
        self, statistics: SufficientStatistics, density: Density | None = None, final: bool = False
    ) -> GaussianParameters:
        """Return the parameters that maximise the likelihood of the statistics, the weight of noise among them."""
        state = super().update(statistics, density, final)
        return self.beside_noise(state, min(float(statistics.mass.sum()) / statistics.weight, 1.0))

    def beside_noise(self, state: GaussianParameters, share: float) -> GaussianParameters:
        """Return the state of components alone with a `share` of the rows; the others are noise."""
        weights = share * (state.weights / state.weights.sum())
        alone = self.family.density_of_whitener(weights, state.means, state.density.whitener)
        return GaussianParameters(weights, state.covariances, self.noise.density(alone, 1.0 - share), state.trusted)
