"""Prior laws of a mixture's parameters, and the parameters of highest posterior density: EM of a penalised likelihood.

Fraley and Raftery, "Bayesian regularization for normal mixture estimation and model-based clustering", Journal of
Classification 24 (2007), 155-181. Given its covariance the mean of a component is normal about one point, of the
covariance over `mean_precision`; a covariance is inverse Wishart, variances are inverse gamma (a Wishart law of one
dimension); weights are Dirichlet. Everything follows from the joint law, also for one covariance of all components,
which has one law of its own beside the laws of all means: there mclust 6 counts otherwise for EII and EEI.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastgmm.families import Family, Maximum
from fastgmm.kernels import Density
from fastgmm.kernels.structures import contract
from fastgmm.kernels.updates import moments
from fastgmm.kernels.updates.moments import COLLAPSED, LOST_DIGITS, OK, RESOLUTION
from fastgmm.rules.eigenvalues import limited
from fastgmm.statistics import Array, SufficientStatistics

# The logarithm of a weight of 0, of a start, is that of this share.
_LEAST_SHARE = 1e-300


@dataclass(frozen=True, eq=False)
class NormalInverseWishart:
    """A prior law of a mixture's parameters, for ``GaussianMixture(prior=...)``.

    The parameters mean what those of `BayesianGaussianMixture` mean that end in ``_prior``.

    Parameters
    ----------
    mean_precision : float >= 0, default 0.01
        How many rows the prior mean counts for (mclust's ``shrinkage``); with 0 means have no prior.
    mean : (D,) array, optional
        Prior mean of the components' means; default the mean of X.
    degrees_of_freedom : float, optional
        How many rows the prior covariance counts for, above D - 1, above 0 for families of variances; default D + 2.
    scale : (D, D) array for families of matrices, (D,) of variances, a float for spherical ones; optional
        Scale of the law of covariances (inverse Wishart) or variances (inverse gamma). Default the sample covariance of
        X, its diagonal or the mean of that, over K^(2/D): of a covariance that is singular, its diagonal.
    weight_concentration : float >= 1, default 1
        Concentration of the Dirichlet law of the weights: so many rows less 1 are added to each component. With 1
        weights have no prior.
    """

    mean_precision: float = 0.01
    mean: ArrayLike | None = None
    degrees_of_freedom: float | None = None
    scale: ArrayLike | None = None
    weight_concentration: float = 1.0

    def __eq__(self, other: object) -> bool:
        """Return whether both have equal numbers."""
        if type(other) is not type(self):
            return NotImplemented
        return self._known == other._known

    def __hash__(self) -> int:
        """Return the same for equal ones."""
        return hash(self._known)

    @property
    def _known(self) -> tuple[Any, ...]:
        arrays = (None if each is None else np.asarray(each).tolist() for each in (self.mean, self.scale))
        return (*map(repr, arrays), self.mean_precision, self.degrees_of_freedom, self.weight_concentration)


class ParameterPrior:
    """A prior law of which everything is known, for mixtures of one family.

    Parameters
    ----------
    record : NormalInverseWishart
        Its mean (D,), degrees of freedom and scale, in the shape of one component's covariance, are given.
    """

    def __init__(self, record: NormalInverseWishart) -> None:
        self.record = record
        self.mean = np.asarray(record.mean, np.float64)
        self.scale = np.asarray(record.scale, np.float64)
        self.mean_precision = float(record.mean_precision)
        self.degrees_of_freedom = float(record.degrees_of_freedom or 0.0)
        self.weight_concentration = float(record.weight_concentration)

    @functools.cached_property
    def _factor(self) -> Array:
        """The lower triangular Cholesky factor of a scale that is a matrix."""
        return np.asarray(np.linalg.cholesky(self.scale), np.float64)

    def maximise(
        self,
        family: Family,
        statistics: SufficientStatistics,
        reg_covar: float,
        final: bool,
        whitener: Array | None = None,
        ratio: float | None = None,
    ) -> Maximum:
        """Return the parameters of highest posterior density given the statistics; arguments as ``Family.maximise``.

        A component without mass has the prior's mean, and the covariance where its law is highest. `ratio` is the limit
        of the ratio of eigenvalues, if there is one.
        """
        n_components, n_features = shape = statistics.origin.shape
        weights = statistics.mass + (self.weight_concentration - 1.0)
        weights = weights / weights.sum()
        means = self._means(statistics)
        blank = family.blank(n_components, n_features)
        blank.mean[...] = means
        scatter = family.recentre(statistics, means).scatter + self._pseudo_rows(family, means).scatter
        pool = contract.pool(blank, statistics.mass)
        blocks = scatter.reshape(len(pool), -1)
        lost = -1
        if not final:
            whole = (blocks + self.scale.reshape(-1)).reshape(scatter.shape)
            lost = moments.component_of_lost_digits(blank, pool, statistics.scatter, whole)
        if family.is_tied:
            blocks = blocks.sum(axis=0, keepdims=True)
        counts = self._counts(family, shape, statistics.mass)
        found = (blocks + self.scale.reshape(-1)) / np.where(counts > 0.0, counts, 1.0)[:, None]
        covariances = np.array(np.broadcast_to(found, (len(pool), found.shape[1]))).reshape(scatter.shape)
        covariances = family.mirror(covariances)
        contract.regularise(blank, covariances, reg_covar)
        if family.constraint is not None and not family.is_tied:
            start = family.isotropic_whitener(n_components, n_features, 1.0) if whitener is None else whitener
            covariances = family.constrained(counts, covariances, start)
        if ratio is not None:
            covariances = limited(family, covariances, counts, ratio)
        density, failed = family.density(weights, means, covariances)
        if failed < 0 and reg_covar == 0.0:
            failed = _unresolved(family.variances(covariances, n_components, n_features), means)
        if lost >= 0:
            return Maximum(LOST_DIGITS, lost, weights, covariances, blank)
        return Maximum(COLLAPSED if failed >= 0 else OK, failed, weights, covariances, density)

    def _means(self, statistics: SufficientStatistics) -> Array:
        count = statistics.mass + self.mean_precision
        shift = statistics.deviation + self.mean_precision * (self.mean - statistics.origin)
        held = count > 0.0
        return statistics.origin + np.where(held[:, None], shift / np.where(held, count, 1.0)[:, None], 0.0)

    def _pseudo_rows(self, family: Family, means: Array) -> SufficientStatistics:
        """Return the statistics about `means` (K, D) of `mean_precision` rows at the prior mean in each component."""
        rows = family.zero(np.tile(self.mean, (len(means), 1)))
        return family.recentre(replace(rows, mass=np.full(len(means), self.mean_precision)), means)

    def _counts(self, family: Family, shape: tuple[int, int], mass: Array) -> Array:
        """Return by what a scatter of rows of `mass` (K,), with the prior's, is divided: one for each law."""
        pool = contract.pool(family.blank(*shape), mass + (1.0 if self.mean_precision > 0.0 else 0.0))
        if family.is_tied:
            pool = pool.sum(keepdims=True)
        return pool + (self.degrees_of_freedom + family.wishart_dimension(shape[1]) + 1.0)

    def log_density(self, family: Family, weights: Array, density: Density) -> float:
        """Return the log of the prior density of parameters over its highest value, which is 0 at most (nat).

        Weights count by their shares of their sum. With a constraint that other families than those of one covariance
        have, covariances have the law of those without, and the highest value is the same.
        """
        n_components, n_features = density.mean.shape
        counts = self._counts(family, density.mean.shape, np.zeros(n_components))
        gap = density.mean - self.mean
        whiteners: Array
        if family.has_matrices:
            whiteners = density.whitener.reshape(-1, n_features, n_features)
            each = np.broadcast_to(whiteners, (n_components, n_features, n_features))
            gap = np.einsum("kij,kj->ki", each, gap)
        else:
            whiteners = density.whitener.reshape(n_components, -1)
            gap = whiteners * gap
        loss = 0.5 * self.mean_precision * float(np.square(gap).sum())
        loss += float(counts @ self._excess(whiteners[: len(counts)], counts))
        if self.weight_concentration > 1.0:
            share = np.maximum(weights / weights.sum(), _LEAST_SHARE)
            loss -= (self.weight_concentration - 1.0) * float(np.log(n_components * share).sum())
        return -loss

    def _excess(self, whiteners: Array, counts: Array) -> Array:
        """Return, of each law, the divergence of the covariance of a whitener from that where the law is highest."""
        if whiteners.ndim == 3:
            factor = self._factor / np.sqrt(counts)[:, None, None]
            relative = np.einsum("kij,kjl->kil", whiteners, factor)
            diagonal = np.diagonal(relative, axis1=1, axis2=2)
        else:
            diagonal = relative = whiteners * np.sqrt(self.scale) / np.sqrt(counts)[:, None]
        squares = np.square(relative).reshape(len(relative), -1).sum(axis=1)
        excess: Array = 0.5 * (squares - diagonal.shape[1] - 2.0 * np.log(diagonal).sum(axis=1))
        return excess


def flat_prior(family: Family, n_features: int) -> ParameterPrior:
    """Return the law that adds nothing: its mode is the maximum of the likelihood."""
    freedom = -(family.wishart_dimension(n_features) + 1.0)
    scale = np.zeros(family.block_shape(n_features))
    return ParameterPrior(NormalInverseWishart(0.0, np.zeros(n_features), freedom, scale))


def _unresolved(variances: Array, means: Array) -> int:
    """Return the first component narrower than the resolution of its mean, of variances and means (K, D), or -1."""
    narrow = np.any(variances <= np.square(RESOLUTION * means), axis=1)
    return int(np.argmax(narrow)) if narrow.any() else -1
