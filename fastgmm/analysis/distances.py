"""How far two mixtures of the same features are from each other."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from fastgmm import validation
from fastgmm.analysis.components import Components, log_normal, mixture_of
from fastgmm.estimators import GaussianMixture
from fastgmm.statistics import Array

# Draws that an estimate is made of.
_DRAWS = 100_000
# What a weight of 1 is brought to for linear programming.
_SCALED_WEIGHT = 2.0**30


class Estimate(NamedTuple):
    """A number (nat) found by random draws, and its standard error; 0 where it is exact.

    Attributes
    ----------
    value : float
    standard_error : float
    """

    value: float
    standard_error: float


def kl_divergence(p: Any, q: Any, n_samples: int = _DRAWS, random_state: Any = 0) -> Estimate:
    """Return the Kullback-Leibler divergence of mixture q from mixture p, the mean of log p(x) / q(x) under p, in nat.

    What a row of p is coded longer by q. Exact between mixtures of one component each, and of a mixture from itself;
    else the mean over `n_samples` draws from p (Hershey and Olsen 2007), which may come out a little below 0. Models of
    variational Bayes count as the mixtures of their means. ValueError where features differ.
    """
    first, second = _pair(p, q)
    if len(first) == len(second) == 1:
        return Estimate(_kl_of_normals(first, second), 0.0)
    here, there = _log_ratio(p, q, n_samples, random_state)
    return _mean(here - there)


def jensen_shannon_divergence(p: Any, q: Any, n_samples: int = _DRAWS, random_state: Any = 0) -> Estimate:
    """Return the Jensen-Shannon divergence of two mixtures, in nat: 0 for equal ones, log 2 for ones that are apart.

    Half the Kullback-Leibler divergences of their average from both, by `n_samples` draws from each.
    """
    _pair(p, q)
    random_state = validation.check_random_state(random_state)
    parts = []
    for one, other in ((p, q), (q, p)):
        here, there = _log_ratio(one, other, n_samples, random_state)
        parts.append(_mean(math.log(2.0) - np.logaddexp(0.0, there - here)))
    first, second = parts
    error = 0.5 * math.hypot(first.standard_error, second.standard_error)
    return Estimate(0.5 * (first.value + second.value), error)


def cauchy_schwarz_divergence(p: Any, q: Any) -> float:
    """Return the Cauchy-Schwarz divergence of two mixtures, exact, in nat, and free of units.

    -log of the integral of p q over the root of those of p^2 and q^2: 0 for equal ones alone (Kampa, Hasanbelliu and
    Principe 2011).
    """
    first, second = _pair(p, q)
    offset, scale = first.frame()
    first, second = first.moved(offset, scale), second.moved(offset, scale)
    both = _log_product(first, second)
    return max(0.0, 0.5 * (_log_product(first, first) + _log_product(second, second)) - both)


def wasserstein_distance(p: Any, q: Any) -> float:
    """Return the Wasserstein distance of order 2 where mass moves from component to component, in units of the data.

    Known as MW2 (Delon and Desolneux 2020): the root of the least mean square way that mass goes, among plans that are
    mixtures of Gaussians themselves. Exact, by linear programming over K1 x K2 moves. Features count in their units:
    scale them first where these differ.
    """
    from scipy.optimize import linear_sum_assignment  # its import takes longer than most fits

    first, second = _pair(p, q)
    unit = _largest(first, second)
    cost = np.array(
        [
            [
                _squared_bures(a / unit, S / unit / unit, b / unit, T / unit / unit)
                for b, T in zip(second.means, second.covariances, strict=True)
            ]
            for a, S in zip(first.means, first.covariances, strict=True)
        ]
    )
    if len(first) == len(second) and np.ptp(first.weights) == np.ptp(second.weights) == 0.0:
        rows, columns = linear_sum_assignment(cost)
        return unit * math.sqrt(float(cost[rows, columns].mean()))
    return unit * math.sqrt(max(0.0, _transport(cost, first.weights, second.weights)))


def _transport(cost: Array, leaves: Array, arrives: Array) -> float:
    """Return the least cost of moving weights (N,) to weights (M,), both with a sum of 1."""
    from scipy.optimize import linprog  # its import takes longer than most fits

    n, m = cost.shape
    if n == 1 or m == 1:
        return float(leaves @ cost @ arrives)
    rows, columns = np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))
    # One constraint follows from the others: that of the largest weight, which holds what rounding leaves.
    kept = np.arange(m) != arrives.argmax()
    largest = float(cost.max()) or 1.0
    plan = linprog(
        cost.ravel() / largest,
        A_eq=np.vstack([rows, columns[kept]]),
        # The solver's tolerance is absolute.
        b_eq=_SCALED_WEIGHT * np.concatenate([leaves, arrives[kept]]),
        method="highs",
    )
    if plan.x is None:
        raise ValueError(f"no plan of moves was found: {plan.message}")
    return largest * float(plan.fun or 0.0) / _SCALED_WEIGHT


def _pair(p: Any, q: Any) -> tuple[Components, Components]:
    """Return the components of both; ValueError where their features differ."""
    first, second = mixture_of(p, "p"), mixture_of(q, "q")
    names = first._names()
    n_features = np.shape(first.means_)[1]
    validation.check_n_features(np.shape(second.means_)[1], n_features, "q, to be compared with p,")
    others = second._names()
    if names is not None and others is not None:
        validation.require_same_names(names, others, "q must have the features of p, in that order.\n")
    return Components.of(first), Components.of(second)


def _log_ratio(p: Any, q: Any, n_samples: int, random_state: Any) -> tuple[Array, Array]:
    """Return the log-densities of draws from p under p and under q, each (n_samples,)."""
    n_samples = validation.check_count(n_samples, "n_samples", 2)
    draw_from, other = (_as_mixture(mixture_of(each, "model")) for each in (p, q))
    X, _ = draw_from.sample(n_samples, random_state=validation.check_random_state(random_state))
    return np.asarray(draw_from.score_samples(X), np.float64), np.asarray(other.score_samples(X), np.float64)


def _as_mixture(model: Any) -> GaussianMixture:
    """Return the model as it stands, as a mixture without names, whose rows are float64."""
    components = Components.of(model)
    return GaussianMixture.from_parameters(
        components.weights, components.means, components.covariances, n_threads=model.n_threads
    )


def _mean(values: Array) -> Estimate:
    return Estimate(float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values))))


def _kl_of_normals(p: Components, q: Components) -> float:
    """Return the divergence of one normal law from another, exactly."""
    factor = np.linalg.cholesky(q.covariances[0])
    own = np.linalg.solve(factor, np.linalg.cholesky(p.covariances[0]))
    gap = np.linalg.solve(factor, p.means[0] - q.means[0])
    log_ratio = float(np.log(np.abs(np.diagonal(own))).sum())
    return max(0.0, 0.5 * (float((own**2).sum()) + float(gap @ gap) - len(gap)) - log_ratio)


def _log_product(p: Components, q: Components) -> float:
    """Return the log of the integral of p q."""
    gaps = p.means[:, None] - q.means[None]
    joint = log_normal(gaps, p.covariances[:, None] + q.covariances[None])
    joint += np.log(p.weights)[:, None] + np.log(q.weights)[None]
    peak = float(joint.max())
    return peak + math.log(float(np.exp(joint - peak).sum()))


def _largest(*mixtures: Components) -> float:
    """Return a length in which no square under- or overflows."""
    spread = max(float(np.sqrt(np.diagonal(each.covariances, axis1=1, axis2=2)).max()) for each in mixtures)
    means = np.concatenate([each.means for each in mixtures])
    return max(spread, float(np.ptp(means, axis=0).max()))


def _squared_bures(a: Array, S: Array, b: Array, T: Array) -> float:
    """Return the squared Wasserstein distance of order 2 of two normal laws."""
    if np.array_equal(S, T):
        return float(((a - b) ** 2).sum())
    values, vectors = np.linalg.eigh(S)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    inner = np.linalg.eigvalsh(root @ T @ root)
    across = float(np.sqrt(np.maximum(inner, 0.0)).sum())
    return max(0.0, float(((a - b) ** 2).sum() + np.trace(S) + np.trace(T) - 2.0 * across))
