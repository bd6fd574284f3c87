"""Fewer components that describe nearly the same mixture."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastgmm import validation
from fastgmm.analysis.components import Components, mixture_of
from fastgmm.estimators import GaussianMixture
from fastgmm.families import STRUCTURES, structure_of
from fastgmm.statistics import Array


def reduce_components(model: Any, n_components: int) -> GaussianMixture:
    """Return a mixture of fewer components, close to a fitted one, without any rows.

    In each step the two components are merged for which a bound of the Kullback-Leibler divergence grows least
    (Runnalls 2007); the merged one has their weight, mean and covariance. So the mean and the covariance of the whole
    mixture stay.

    Parameters
    ----------
    model : GaussianMixture, BayesianGaussianMixture or GaussianMixtureIC
        Stays as it is. Components of weight 0 are left out.
    n_components : int
        At most as many as `model` has.

    Returns
    -------
    GaussianMixture
        Of `covariance_type` 'diag' or 'spherical' where the model has that structure, its merged covariances having
        the variances alone, else 'full'.
    """
    model = mixture_of(model, "model")
    n_components = validation.check_count(n_components, "n_components", 1)
    components = Components.of(model)
    if n_components > len(components):
        raise ValueError(
            f"n_components must be at most {len(components)}, the number of components of the model, got {n_components}"
        )
    structure = structure_of(model._family())
    name = structure.name if structure is not None and structure.name in ("diag", "spherical") else "full"
    offset, scale = components.frame()
    if name == "spherical":
        scale = np.full_like(scale, float(np.exp(np.log(scale).mean())))
    merged = _merged(components.moved(offset, scale), n_components, name)
    covariances = merged.covariances * scale[:, None] * scale
    family = STRUCTURES[name]
    reduced = GaussianMixture.from_parameters(
        merged.weights / merged.weights.sum(),
        merged.means * scale + offset,
        covariances if name == "full" else _variances(covariances, name),
        family,
        random_state=model.random_state,
        n_threads=model.n_threads,
    )
    names = model._names()
    if names is not None:
        reduced.feature_names_in_ = names
    reduced.covariance_type = name
    return reduced


def _merged(mixture: Components, n_components: int, structure: str) -> Components:
    """Return the mixture with pairs of components merged, until so many are left."""
    weights, means, covariances = mixture.weights.copy(), mixture.means.copy(), mixture.covariances.copy()
    numbers = mixture.numbers
    log_determinants = np.linalg.slogdet(covariances)[1]
    costs = np.full((len(weights), len(weights)), np.inf)
    for i in range(len(weights)):
        costs[i, i + 1 :] = _costs(
            i, np.arange(i + 1, len(weights)), weights, means, covariances, log_determinants, structure
        )
    while len(weights) > n_components:
        i, j = divmod(int(costs.argmin()), len(weights))
        total, mean, covariance = _pair(i, np.array([j]), weights, means, covariances, structure)
        weights[i], means[i], covariances[i] = total[0], mean[0], covariance[0]
        log_determinants[i] = np.linalg.slogdet(covariances[i])[1]
        weights, means, covariances, log_determinants = (
            np.asarray(np.delete(each, j, axis=0), np.float64)
            for each in (weights, means, covariances, log_determinants)
        )
        numbers = np.delete(numbers, j)
        costs = np.delete(np.delete(costs, j, axis=0), j, axis=1)
        others = np.delete(np.arange(len(weights)), i)
        found = _costs(i, others, weights, means, covariances, log_determinants, structure)
        costs[np.minimum(i, others), np.maximum(i, others)] = found
    return Components(weights, means, covariances, numbers)


def _pair(
    i: int, others: Any, weights: Array, means: Array, covariances: Array, structure: str
) -> tuple[Array, Array, Array]:
    """Return the weights (M,), means and covariances of component i merged with each of M others."""
    total = weights[i] + weights[others]
    share = weights[others] / total
    gap = means[others] - means[i]
    mean = means[i] + share[:, None] * gap
    between = (share * (1.0 - share))[:, None, None] * gap[:, :, None] * gap[:, None, :]
    within = (1.0 - share)[:, None, None] * covariances[i] + share[:, None, None] * covariances[others]
    return total, mean, _projected(within + between, structure)


def _costs(
    i: int, others: Any, weights: Array, means: Array, covariances: Array, log_determinants: Array, structure: str
) -> Array:
    """Return how much the bound grows where component i is merged with each of the others."""
    if len(others) == 0:
        return np.empty(0)
    total, _, merged = _pair(i, others, weights, means, covariances, structure)
    log_merged = np.linalg.slogdet(merged)[1]
    grown = total * log_merged - weights[i] * log_determinants[i] - weights[others] * log_determinants[others]
    return np.asarray(0.5 * grown, np.float64)


def _projected(covariances: Array, structure: str) -> Array:
    """Return the covariances (M, D, D) of a structure that are nearest, by the same divergence."""
    if structure == "full":
        return covariances
    variances = np.diagonal(covariances, axis1=1, axis2=2)
    if structure == "spherical":
        variances = np.broadcast_to(variances.mean(axis=1, keepdims=True), variances.shape)
    return np.asarray(variances[:, :, None] * np.eye(variances.shape[1]), np.float64)


def _variances(covariances: Array, structure: str) -> Array:
    """Return the covariances as attributes of their structure are shaped."""
    variances = np.diagonal(covariances, axis1=1, axis2=2)
    return variances[:, 0].copy() if structure == "spherical" else variances.copy()
