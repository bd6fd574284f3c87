"""Information criteria of a maximum-likelihood mixture, and the numbers of parameters that they count."""

from __future__ import annotations

from abc import ABC

import numpy as np
from numpy.typing import ArrayLike

from fastgmm.estimators.distribution import Distribution
from fastgmm.estimators.scoring import WeightedSums
from fastgmm.families import Family


class WithCriteria(Distribution, ABC):
    """The part of ``GaussianMixture`` that says how good a fit is for the number of its parameters."""

    def aic(self, X: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return Akaike's information criterion on X, -2 log-likelihood + 2 parameters; lower is better."""
        return self._criteria(X, sample_weight)["aic"]

    def bic(self, X: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return the Bayesian information criterion on X, -2 log-likelihood + parameters * log(n); lower is better.

        n is the number of rows, or the sum of their weights.
        """
        return self._criteria(X, sample_weight)["bic"]

    def icl(self, X: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return the integrated completed likelihood criterion on X; lower is better (mclust's ICL with sign changed).

        BIC - 2 sum of w log(probability of each row's most probable component): BIC that also punishes overlap
        (Biernacki, Celeux and Govaert 2000).
        """
        return self._criteria(X, sample_weight)["icl"]

    def _criteria(self, X: ArrayLike, sample_weight: ArrayLike | None = None) -> dict[str, float]:
        """Return the total log-likelihood of X and the criteria, by name, of one pass."""
        return criteria(self._totals(X, sample_weight), self._n_parameters())

    def _n_parameters(self) -> int:
        n_components, n_features = np.shape(self.means_)
        family = self._family()
        known = int(getattr(self, "_n_known_parameters", 0))
        if self._has_noise():
            # Its weight and its volume, which is known where it was given.
            known -= 2
        return n_free_parameters(family, n_components, n_features) - known


def n_free_parameters(family: Family, n_components: int, n_features: int) -> int:
    """Return the number of free parameters of a mixture."""
    return family.n_covariance_parameters(n_components, n_features) + n_components * (n_features + 1) - 1


def criteria(totals: WeightedSums, n_parameters: int) -> dict[str, float]:
    """Return the total log-likelihood and the criteria, by name, of a mixture's sums over rows."""
    evidence, peak = totals.scale * totals.evidence, totals.scale * totals.peak
    penalty = n_parameters * totals.log_weight
    return {
        "log_likelihood": evidence,
        "aic": -2.0 * evidence + 2.0 * n_parameters,
        "bic": -2.0 * evidence + penalty,
        "icl": -2.0 * peak + penalty,
    }
