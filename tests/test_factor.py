"""Mixtures of factor analysers, beside published numbers, a slow twin and scikit-learn's FactorAnalysis."""

import numpy as np
import pytest
from reference import log_sum_exp
from sklearn.datasets import load_wine

from fastgmm import datasets

IRIS = datasets.load_iris()
SPECIES = np.unique(IRIS.target, return_inverse=True)[1]
WINE = load_wine().data
WINE = (WINE - WINE.mean(axis=0)) / WINE.std(axis=0)


def log_joint(X, weights, means, loadings, uniquenesses):
    """Return log joints (N, K) by dense covariances."""
    joint = np.empty((len(X), len(weights)))
    for k, (weight, mean, factor, unique) in enumerate(zip(weights, means, loadings, uniquenesses, strict=True)):
        covariance = factor @ factor.T + np.diag(unique)
        gap = X - mean
        distance = np.einsum("nd,nd->n", gap, np.linalg.solve(covariance, gap.T).T)
        joint[:, k] = np.log(weight) - 0.5 * (distance + np.linalg.slogdet(2.0 * np.pi * covariance)[1])
    return joint


def slow_step(X, r, loadings, uniquenesses, kind):
    """Return weights, means, loadings and uniquenesses after an update by responsibilities r (N, K)."""
    mass = r.sum(axis=0)
    means = (r.T @ X) / mass[:, None]
    new, residual = np.empty_like(loadings), np.empty_like(uniquenesses)
    for k in range(len(mass)):
        factor, gap = loadings[k], X - means[k]
        V = (r[:, k] * gap.T) @ gap / mass[k]
        scaled = factor.T / uniquenesses[k]
        beta = np.linalg.solve(np.eye(factor.shape[1]) + scaled @ factor, scaled)
        omega = np.eye(factor.shape[1]) - beta @ factor + beta @ V @ beta.T
        new[k] = np.linalg.solve(omega, beta @ V).T
        residual[k] = np.diag(V - new[k] @ beta @ V)
    if kind == "common":
        residual[:] = mass @ residual / mass.sum()
    elif kind == "isotropic":
        residual[:] = residual.mean(axis=1, keepdims=True)
    return mass / mass.sum(), means, new, residual


def slow_fit(X, r, n_factors, kind, n_iter):
    """Return the bounds of so many slow iterations from responsibilities, and the parameters they end in."""
    mass = r.sum(axis=0)
    means = (r.T @ X) / mass[:, None]
    loadings = np.empty((len(mass), X.shape[1], n_factors))
    uniquenesses = np.empty(means.shape)
    for k in range(len(mass)):
        V = (r[:, k] * (X - means[k]).T) @ (X - means[k]) / mass[k]
        values, vectors = np.linalg.eigh(V)
        noise = values[:-n_factors].mean()
        loadings[k] = vectors[:, -n_factors:] * np.sqrt(values[-n_factors:] - noise)
        uniquenesses[k] = noise
    state = mass / mass.sum(), means, loadings, uniquenesses
    bounds = []
    for _ in range(n_iter):
        joint = log_joint(X, *state)
        evidence = log_sum_exp(joint)
        bounds.append(evidence.sum())
        state = slow_step(X, np.exp(joint - evidence[:, None]), *state[2:], kind)
    return np.array(bounds), state


@pytest.mark.parametrize(
    ("kind", "expected", "n_iter"),
    [("own", -195.600396176, 4000), ("common", -228.517202034, 2000), ("isotropic", -218.847643297, 400)],
)
def test_published_numbers_of_three_species_slowly(kind, expected, n_iter):
    bounds, _ = slow_fit(IRIS.data, np.eye(3)[SPECIES], 1, kind, n_iter)
    assert bounds[-1] == pytest.approx(expected, abs=1e-6)
    assert np.diff(bounds).min() > -1e-9
