"""Fits of random problems, edges included, against an obvious reference in extended precision.

The reference is written from the formulas alone: dense, one row and one component at a time, in ``np.longdouble``. Both
sides go from the same given parameters for the same number of updates. How far the reference itself moves when its
input is rounded otherwise says how well a problem is posed: that is the tolerance.

``FASTGMM_FUZZ_FITS`` says how many fits the test makes; ``python tests/test_fuzz.py --fits 10000 --seed 1`` goes on
after a failure and counts what there was.
"""

import argparse
import os
import sys
import warnings
from collections import Counter
from typing import NamedTuple

import numpy as np
import pytest
from scipy.special import digamma, gammaln

from fastgmm import BayesianGaussianMixture, GaussianMixture
from fastgmm.many import Status, fit_many

Real = np.longdouble
EPS = np.finfo(np.float64).eps
FAMILIES = "full", "tied", "diag", "spherical", "tied-diag", "tied-spherical"
MATRICES = "full", "tied"
SPHERICAL = "spherical", "tied-spherical"
#: The families whose components share one covariance.
SHARED = "tied", "tied-diag", "tied-spherical"
#: Numbers of extended precision leave float64 where its own would be lost; there is no reference elsewhere.
EXTENDED = np.finfo(Real).maxexp > np.finfo(np.float64).maxexp
# A correlation matrix closer to singular than this may or may not pass for one.
REGULAR = 1e-9
# A pass may leave a variance eight digits.
KEPT = 1e-7
# Less mass than this, relative to all, may be none in float64, and so may less squares times weights.
LITTLE = 1e-280


class CollapseError(Exception):
    """A covariance is singular; or nearly so, where no answer is expected."""

    def __init__(self, surely):
        super().__init__(surely)
        self.surely = surely


def factor(matrix, surely=True):
    """Return the lower Cholesky factor; CollapseError where a pivot is too small a part of its diagonal entry."""
    n = len(matrix)
    lower = np.zeros((n, n), Real)
    for i in range(n):
        for j in range(i + 1):
            s = matrix[i, j] - (lower[i, :j] * lower[j, :j]).sum()
            if i > j:
                lower[i, j] = s / lower[j, j]
            elif not s > REGULAR * matrix[i, i] or s < 1e-290:
                raise CollapseError(surely and not s > 1e-18 * matrix[i, i])
            else:
                lower[i, i] = np.sqrt(s)
    return lower


def solve(lower, rhs):
    """Return the solution of lower times x = rhs, (D,) or (D, n)."""
    x = np.zeros(rhs.shape, Real)
    for i in range(len(lower)):
        x[i] = (rhs[i] - lower[i, :i] @ x[:i]) / lower[i, i]
    return x


def block(family, matrix):
    """Return what the family has of one covariance (D, D): all of it, its variances, or the mean of these."""
    if family in MATRICES:
        return matrix
    variances = np.diag(matrix)
    return variances.mean() if family in SPHERICAL else variances


def matrix_of(covariance, n_features):
    """Return one covariance as a matrix (D, D): of a matrix, of variances (D,), or of one variance, () or (1,)."""
    covariance = np.asarray(covariance, Real)
    return covariance if covariance.ndim == 2 else np.diag(np.broadcast_to(covariance, n_features))


def shaped(family, matrices):
    """Return covariances (K, D, D) in the family's shape; the first of them where all are one."""
    if family in SHARED:
        return np.atleast_1d(block(family, matrices[0]))
    return np.array([block(family, matrix) for matrix in matrices])


def dense(family, covariances, n_components, n_features):
    """Return covariances of the family's shape as (K, D, D)."""
    each = [covariances] * n_components if family in SHARED else covariances
    return np.array([matrix_of(one, n_features) for one in each])


def are_resolved(before, means, covariances):
    """Return whether float64 tells all variances from none: two rows at 1e8 that are 1e-8 apart are one."""
    variances = np.diagonal(covariances, axis1=1, axis2=2)
    return bool((variances >= (1e3 * EPS * np.maximum(np.abs(before), np.abs(means))) ** 2).all())


def log_normals(X, means, lowers):
    """Return the log densities of rows under each component, and the squared distances, (N, K)."""
    logs = np.zeros((len(X), len(means)), Real)
    squares = np.zeros_like(logs)
    for k, (mean, lower) in enumerate(zip(means, lowers, strict=True)):
        z = solve(lower, (X - mean).T)
        squares[:, k] = (z * z).sum(axis=0)
        logs[:, k] = -0.5 * squares[:, k] - np.log(np.diag(lower)).sum() - 0.5 * X.shape[1] * np.log(2 * Real(np.pi))
    return logs, squares


def normalised(log_joint):
    """Return the responsibilities and the log evidence of each row."""
    peak = log_joint.max(axis=1, keepdims=True)
    shares = np.exp(log_joint - peak)
    total = shares.sum(axis=1, keepdims=True)
    return shares / total, (peak + np.log(total))[:, 0]


def moments(X, weight, responsibility, before):
    """Return masses, means and scatters about them; a component without mass keeps its mean."""
    wr = weight[:, None] * responsibility
    mass = wr.sum(axis=0)
    means, scatters = before.copy(), np.zeros((len(mass), X.shape[1], X.shape[1]), Real)
    for k in np.flatnonzero(mass > 0):
        means[k] = (wr[:, k, None] * X).sum(axis=0) / mass[k]
        # The rows' rounding, twice: their mean is not exact.
        means[k] += (wr[:, k, None] * (X - means[k])).sum(axis=0) / mass[k]
        gap = X - means[k]
        scatters[k] = (wr[:, k, None] * gap).T @ gap
    return mass, means, scatters


class Outcome:
    """Where a fit ended: `bounds` one for each update, `scores` of the rows.

    Of the reference also `path`, the covariances (K, D, D) after each update.
    """

    def __init__(self, weights, means, covariances, bounds, scores, path=()):
        self.weights, self.means, self.covariances = weights, means, covariances
        self.bounds, self.scores, self.path = np.array(bounds, Real), scores, path


def expectation_maximisation(case, X, start_means, kept):
    """Return the outcome of EM, with means as they are `kept`; CollapseError."""
    family, n_features = case["family"], X.shape[1]
    weight = case["weight"].astype(Real)
    weight = weight / weight.max()
    K = len(start_means)
    weights, means = case["weights"].astype(Real), start_means.copy()
    lowers = []
    for precision in dense(family, case["precisions"], K, n_features):
        lower = factor(precision)
        inverse = solve(lower, np.eye(n_features, dtype=Real))
        lowers.append(factor(inverse.T @ inverse))
    covariances = np.array([lower @ lower.T for lower in lowers])
    bounds, path = [], []
    for _ in range(case["n_iter"] + 1):
        logs, _ = log_normals(X, means, lowers)
        with np.errstate(divide="ignore"):
            responsibility, evidence = normalised(logs + np.log(weights))
        bounds.append((weight * evidence).sum() / weight.sum())
        if len(bounds) > case["n_iter"]:
            break
        before = means
        mass, means, scatters = moments(X, weight, responsibility, before)
        means = kept(means)
        total = mass.sum()
        squares = np.trace(scatters, axis1=1, axis2=2)
        if ((mass > 0) & (mass < LITTLE * total)).any() or ((squares > 0) & (squares < LITTLE)).any():
            raise CollapseError(False)
        weights = mass / total
        regular = case["reg_covar"] * np.eye(n_features, dtype=Real)
        covariances = np.array([s / (m if m > 0 else 1) + regular for s, m in zip(scatters, mass, strict=True)])
        if family in SHARED:
            covariances[:] = (weights[:, None, None] * covariances).sum(axis=0)
        covariances = dense(family, shaped(family, covariances), K, n_features)
        if not are_resolved(before, means, covariances):
            raise CollapseError(bool((np.diagonal(covariances, axis1=1, axis2=2) == 0.0).any()))
        # Where rows have few digits for their distances, what is singular is a matter of rounding. So it is where a
        # mean came from far: a pivot of 0 is left as EPS times the square of the way, which moments about the mean
        # before have in them, and passes for one where that is more than 64 EPS of the variance.
        deviations = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
        far = np.abs(means - before) > 3 * deviations
        blurred = np.any(far | (EPS * np.abs(means) > 1e-9 * deviations))
        # A tied scatter is what remains of the total, and may have lost digits in that.
        lowers = [factor(each, surely=not blurred and family != "tied") for each in covariances]
        path.append(covariances)
    return Outcome(weights, means, shaped(family, covariances), bounds[1:], evidence, path)


class Law(NamedTuple):
    """The law of weights, means and precisions; `freedom` (K,) and `covariances` (K, D, D) repeat what is shared.

    `concentration` is (1, K), or (2, K) of sticks.
    """

    concentration: np.ndarray
    mean_precision: np.ndarray
    means: np.ndarray
    freedom: np.ndarray
    covariances: np.ndarray


class Prior(NamedTuple):
    """The prior of every component, its `scale` as a matrix."""

    concentration: Real
    mean_precision: Real
    mean: np.ndarray
    freedom: Real
    scale: np.ndarray
    sticks: bool


def prior_of(case, X, weight, kept):
    """Return the prior: what is not given comes from the rows; CollapseError."""
    given, total = case["prior"], weight.sum()
    middle = (weight[:, None] * X).sum(axis=0) / total
    middle += (weight[:, None] * (X - middle)).sum(axis=0) / total
    mean = kept(middle if given["mean_prior"] is None else given["mean_prior"].astype(Real))
    scale = given["covariance_prior"]
    if scale is None:
        gap = X - middle
        scale = block(case["family"], (weight[:, None] * gap).T @ gap / max(total - 1, total / 2))
    scale = matrix_of(scale, X.shape[1])
    factor(scale, surely=False)
    a0, b0, nu0 = (Real(given[name]) for name in ("concentration", "mean_precision", "degrees_of_freedom"))
    return Prior(a0, b0, mean, nu0, scale, given["sticks"])


def given_law(case, start_means):
    """Return the law that the case starts from."""
    K, D = start_means.shape
    concentration, mean_precision, freedom = (np.array(each, Real) for each in case["counts"])
    covariances = dense(case["family"], case["covariances"], K, D)
    return Law(concentration, mean_precision, start_means, np.broadcast_to(freedom, K), covariances)


def nearest(X, means):
    """Return responsibilities of 1 for the mean that is nearest to a row."""
    squares = ((X[:, None, :] - means) ** 2).sum(axis=2)
    return (squares.argmin(axis=1)[:, None] == np.arange(len(means))).astype(Real)


def conditioned(case, prior, X, weight, responsibility, before, kept):
    """Return the law given responsibilities; CollapseError."""
    family, D, K = case["family"], X.shape[1], len(before)
    mass, centres, scatters = moments(X, weight, responsibility, before)
    mean_precision = prior.mean_precision + mass
    means = kept((prior.mean_precision * prior.mean + mass[:, None] * centres) / mean_precision[:, None])
    for k in range(K):
        gap = centres[k] - prior.mean
        share = prior.mean_precision / mean_precision[k]
        scatters[k] += mass[k] * (case["reg_covar"] * np.eye(D, dtype=Real) + share * np.outer(gap, gap))
    rows = mass
    if family in SHARED:
        rows, scatters = np.full(K, mass.sum()), np.array([scatters.sum(axis=0)] * K)
    if family in SPHERICAL:
        # All D numbers of a row tell of the one variance.
        freedom = prior.freedom + D * rows
        each = (prior.scale[0, 0] + np.trace(scatters, axis1=1, axis2=2)) / freedom
    else:
        freedom = prior.freedom + rows
        each = [block(family, (prior.scale + scatters[k]) / freedom[k]) for k in range(K)]
    covariances = np.array([matrix_of(one, D) for one in each])
    if not are_resolved(before, means, covariances):
        raise CollapseError(False)
    concentration = (prior.concentration + mass)[None]
    if prior.sticks:
        after = np.concatenate([np.cumsum(mass[::-1])[::-1][1:], [0.0]])
        concentration = np.array([1 + mass, prior.concentration + after])
    return Law(concentration, mean_precision, means, freedom, covariances)


def expected_log_weights(concentration):
    """Return the expectations of the logarithms of the weights."""
    if len(concentration) == 1:
        return digamma_of(concentration[0]) - digamma_of(concentration[0].sum())
    whole = digamma_of(concentration[0] + concentration[1])
    log_left = digamma_of(concentration[1]) - whole
    return digamma_of(concentration[0]) - whole + np.concatenate([[0.0], np.cumsum(log_left)[:-1]])


def expected_weights(concentration):
    """Return the expectations of the weights, divided by their sum."""
    weights = concentration[0]
    if len(concentration) == 2:
        left = np.cumprod(concentration[1] / concentration.sum(axis=0))
        weights = weights / concentration.sum(axis=0) * np.concatenate([[1.0], left[:-1]])
    return weights / weights.sum()


def law_divergence(family, law, lowers, prior, log_weights):
    """Return the divergence of a law from its prior."""
    K, D = law.means.shape
    b0 = prior.mean_precision
    total = weight_divergence(law.concentration, prior.concentration, prior.sticks, log_weights, K)
    # What components share has one law.
    for k in range(1 if family in SHARED else K):
        total += wishart_divergence(
            family, law.freedom[k], law.covariances[k], lowers[k], prior.freedom, prior.scale, D
        )
    for k in range(K):
        gap = solve(lowers[k], law.means[k] - prior.mean)
        ratio = b0 / law.mean_precision[k]
        total += 0.5 * (b0 * gap @ gap + D * (ratio - 1 - np.log(ratio)))
    return total


def variational_bayes(case, X, start_means, kept):
    """Return the outcome of variational Bayes, with means as they are `kept`; CollapseError.

    Every term of the bound is derived anew, and stands by itself.
    """
    family, D = case["family"], X.shape[1]
    weight = case["weight"].astype(Real)
    prior = prior_of(case, X, weight, kept)
    if case["counts"] is None:
        law = conditioned(case, prior, X, weight, nearest(X, start_means), start_means, kept)
        law = law._replace(means=start_means)
    else:
        law = given_law(case, start_means)
    dimension = D if family in MATRICES else 1
    bounds, path = [], []
    for _ in range(case["n_iter"] + 1):
        lowers = [factor(each, surely=False) for each in law.covariances]
        path.append(law.covariances)
        log_weights = expected_log_weights(law.concentration)
        logs, _ = log_normals(X, law.means, lowers)
        narrower = np.array([wishart_log(nu, dimension) * D / dimension for nu in law.freedom])
        responsibility, evidence = normalised(logs + log_weights + 0.5 * narrower - 0.5 * D / law.mean_precision)
        bounds.append((weight * evidence).sum() - law_divergence(family, law, lowers, prior, log_weights))
        if len(bounds) > case["n_iter"]:
            break
        law = conditioned(case, prior, X, weight, responsibility, law.means, kept)
    weights = expected_weights(law.concentration)
    return Outcome(weights, law.means, shaped(family, law.covariances), bounds[1:], evidence, path)


def digamma_of(x):
    """SciPy's, in float64."""
    return digamma(np.asarray(x, np.float64)).astype(Real)


def wishart_log(nu, dimension):
    """Return E log|precision| less that of its expectation, of a Wishart block."""
    steps = np.arange(dimension)
    return digamma_of(0.5 * (nu - steps)).sum() - dimension * np.log(0.5 * nu)


def weight_divergence(concentration, a0, sticks, log_weights, K):
    """Return the divergence of the law of the weights from its prior."""
    c = np.asarray(concentration, np.float64)
    if not sticks:
        a = c[0]
        found = gammaln(a.sum()) - gammaln(a).sum() - gammaln(K * float(a0)) + K * gammaln(float(a0))
        return Real(found) + ((a - float(a0)) * log_weights).sum()
    a, b = c
    found = gammaln(a + b) - gammaln(a) - gammaln(b) - np.log(float(a0))
    found = found + (a - 1) * (digamma(a) - digamma(a + b)) + (b - float(a0)) * (digamma(b) - digamma(a + b))
    return Real(found.sum())


def wishart_divergence(family, nu, covariance, lower, nu0, scale0, D):
    """Return the divergence of the precisions of a component from their prior."""
    if family in MATRICES:
        steps = np.arange(D)
        z = solve(lower, factor(scale0, surely=False))
        log_ratio = D * np.log(nu) + 2 * np.log(np.diag(lower)).sum()
        log_ratio -= 2 * np.log(np.diag(factor(scale0, surely=False))).sum()
        found = gammaln(0.5 * (float(nu0) - steps)).sum() - gammaln(0.5 * (float(nu) - steps)).sum()
        found += 0.5 * float(nu - nu0) * digamma(0.5 * (float(nu) - steps)).sum()
        return Real(found) - 0.5 * nu * D + 0.5 * (z * z).sum() + 0.5 * nu0 * log_ratio
    n_blocks = 1 if family in SPHERICAL else D
    total = Real(0)
    for d in range(n_blocks):
        log_ratio = np.log(nu) + np.log(covariance[d, d]) - np.log(scale0[d, d])
        total += gammaln(0.5 * float(nu0)) - gammaln(0.5 * float(nu)) + 0.5 * nu0 * log_ratio - 0.5 * nu
        total += 0.5 * (nu - nu0) * digamma_of(0.5 * nu) + 0.5 * scale0[d, d] / covariance[d, d]
    return total


def pick(rng, *choices):
    """Return one of the choices."""
    return choices[int(rng.integers(len(choices)))]


def random_rows(rng, n_rows, n_features):
    """Return rows of an odd shape, around 0 and of size 1."""
    centres = 4 * rng.normal(size=(int(rng.integers(1, 4)), n_features))
    X = centres[rng.integers(len(centres), size=n_rows)] + rng.normal(size=(n_rows, n_features))
    if rng.random() < 0.15:
        X = np.round(X * pick(rng, 1, 4)) / 4
    if rng.random() < 0.15:
        X = X[rng.integers(max(1, n_rows // 3), size=n_rows)]
    if rng.random() < 0.1:
        X[:, rng.integers(n_features)] = pick(rng, 0.0, 0.1, -3.7)
    if rng.random() < 0.1 and n_features > 1:
        X[:, 0] = X[:, 1:].sum(axis=1)
    if rng.random() < 0.1:
        X[rng.integers(n_rows)] *= 10.0 ** rng.uniform(1, 8)
    if rng.random() < 0.03:
        X[:] = X[0]
    return X


def random_weight(rng, n_rows):
    """Return weights of rows, or None."""
    if rng.random() < 0.4:
        return None
    weight = rng.uniform(0.1, 1, n_rows) if rng.random() < 0.6 else rng.integers(0, 4, n_rows).astype(float)
    if rng.random() < 0.25:
        weight[rng.random(n_rows) < 0.4] = 0.0
    if rng.random() < 0.15:
        weight *= 10.0 ** rng.uniform(-20, 0, n_rows)
    return weight * 10.0 ** pick(rng, 0, 0, 0, -6, -15, -100, -150, -300, 6, 15, 90, 300)


def random_case(rng):
    """Return one problem with parameters to start from: a dict of all that both sides are given."""
    n_features, n_components = int(rng.integers(1, 5)), int(rng.integers(1, 5))
    n_rows = int(pick(rng, rng.integers(1, 8), rng.integers(5, 40), n_components, n_components + 1))
    family, bayesian = pick(rng, *FAMILIES), bool(rng.random() < 0.5)
    rows = random_rows(rng, n_rows, n_features)
    scale = 10.0 ** pick(rng, 0, 0, 0, -3, 4, -60, 60, -133, 133)
    stretch = 10.0 ** rng.uniform(-3, 3, n_features) if rng.random() < 0.2 else np.ones(n_features)
    offset = pick(rng, 0.0, 0.0, 0.0, 10.0, 1e4, -1e8) * rng.normal(size=n_features)
    X = ((rows + offset) * stretch * scale).astype(np.float64)
    single = abs(np.log10(scale)) < 10 and rng.random() < 0.15
    if single:
        X = X.astype(np.float32)
    weight = random_weight(rng, n_rows)
    if bayesian and weight is not None and weight.sum() > 1e99:
        weight = weight / 1e250
    means = X[rng.integers(n_rows, size=n_components)].astype(np.float64)
    means += rng.normal(size=means.shape) * stretch * scale
    if rng.random() < 0.1:
        means[0] += 10.0 ** pick(rng, 1, 2, 5) * scale * stretch
    lower = np.tril(rng.normal(size=(n_components, n_features, n_features))) + 2 * np.eye(n_features)
    lower *= 10.0 ** rng.uniform(-1, 1, (n_components, 1, 1))
    covariances = lower @ np.swapaxes(lower, 1, 2) * np.outer(stretch, stretch) * scale**2
    precisions = np.linalg.inv(covariances / scale**2 / np.outer(stretch, stretch))
    precisions = (precisions + np.swapaxes(precisions, 1, 2)) / 2 / np.outer(stretch, stretch) / scale**2
    case = {
        "family": family,
        "bayesian": bayesian,
        "X": X,
        "sample_weight": weight,
        "weight": np.ones(n_rows) if weight is None else weight,
        "n_iter": int(rng.integers(1, 5)),
        "reg_covar": float(pick(rng, 0.0, 1e-6, 1e-6 * scale**2, 1e-3 * scale**2)),
        "means": means,
        "single": single,
    }
    if not bayesian:
        weights = rng.dirichlet(np.ones(n_components))
        if n_components > 1 and rng.random() < 0.05:
            weights[0] = 0.0
            weights /= weights.sum()
        return case | {"weights": weights, "precisions": np.asarray(shaped(family, precisions), np.float64)}
    dimension = n_features if family in MATRICES else 1
    sticks = bool(rng.random() < 0.5)
    wide = block(family, covariances[0])
    prior = {
        "concentration": float(10.0 ** rng.uniform(-8, 3)),
        "mean_precision": float(10.0 ** rng.uniform(-8, 5)),
        "degrees_of_freedom": dimension - 1 + float(10.0 ** rng.uniform(-2, 3)),
        "mean_prior": None if rng.random() < 0.5 else means[0] + 3 * scale * stretch,
        "covariance_prior": None if rng.random() < 0.5 else np.asarray(wide, np.float64) * 10.0 ** rng.uniform(-4, 2),
        "sticks": sticks,
    }
    case |= {"prior": prior, "counts": None, "covariances": None}
    if rng.random() < 0.5:
        # From means alone: no law is given.
        return case
    counts = rng.uniform(0.5, 20, (2 if sticks else 1, n_components)), rng.uniform(0.5, 20, n_components)
    freedom = dimension - 1 + rng.uniform(0.5, 20, 1 if family in SHARED else n_components)
    return case | {
        "counts": (*counts, freedom),
        "covariances": np.asarray(shaped(family, covariances), np.float64),
    }


def estimator_of(case):
    """Return the estimator with a case's parameters."""
    common = {
        "covariance_type": case["family"],
        "n_components": len(case["means"]),
        "means_init": case["means"],
        "max_iter": case["n_iter"],
        "tol": 0.0,
        "reg_covar": case["reg_covar"],
        "n_threads": 1,
    }
    if not case["bayesian"]:
        return GaussianMixture(weights_init=case["weights"], precisions_init=case["precisions"], **common)
    prior, law = case["prior"], {}
    if case["counts"] is not None:
        concentration, mean_precision, freedom = case["counts"]
        law = {
            "weight_concentration_init": concentration if prior["sticks"] else concentration[0],
            "mean_precision_init": mean_precision,
            "degrees_of_freedom_init": freedom,
            "covariances_init": case["covariances"],
        }
    return BayesianGaussianMixture(
        weight_concentration_prior_type="dirichlet_process" if prior["sticks"] else "dirichlet_distribution",
        weight_concentration_prior=prior["concentration"],
        mean_precision_prior=prior["mean_precision"],
        degrees_of_freedom_prior=prior["degrees_of_freedom"],
        mean_prior=prior["mean_prior"],
        covariance_prior=prior["covariance_prior"],
        sort_sticks=False,
        **law,
        **common,
    )


def expected(case, rng, noise):
    """Return the reference's outcome, with all rows and means off by `noise` units of rounding; CollapseError."""

    def moved(values):
        return values * (1 + noise * EPS * rng.uniform(-1, 1, values.shape)) if noise else values

    X, means = moved(case["X"].astype(Real)), moved(case["means"].astype(Real))
    return (variational_bayes if case["bayesian"] else expectation_maximisation)(case, X, means, moved)


def distances(case, one, other):
    """Return how far two outcomes are apart: in nat, shares, and standard deviations of `other`.

    Of the bounds, as many of the last as `one` has.
    """
    K, D = other.means.shape
    matrices = dense(case["family"], other.covariances, K, D)
    theirs = dense(case["family"], one.covariances, K, D)
    deviations = np.sqrt(np.diagonal(matrices, axis1=1, axis2=2))
    areas = deviations[:, :, None] * deviations[:, None, :]
    bounds = other.bounds[-len(one.bounds) :]
    return {
        "weights": float(np.abs(one.weights - other.weights).max()),
        "means": float((np.abs(one.means - other.means) / deviations).max()),
        "covariances": float((np.abs(theirs - matrices) / areas).max()),
        "bounds": float((np.abs(one.bounds - bounds) / (1 + np.abs(bounds))).max()),
        "scores": float((np.abs(one.scores - other.scores) / (1 + np.abs(other.scores))).max()),
    }


def check(case, rng):
    """Fit a case on both sides; return what came of it, a word, and AssertionError where they disagree."""
    n_rows, n_components = int((case["weight"] > 0).sum()), len(case["means"])
    model = estimator_of(case)
    refused = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model.fit(case["X"], sample_weight=case["sample_weight"])
        except ValueError as error:
            refused = error
    many = many_of(case)
    if len(case["X"]) < 2 or n_rows < n_components or n_rows == 0:
        assert refused is not None, "too few rows were taken"
        assert many is None or many.status[0] == Status.TOO_FEW_ROWS, "fit_many took too few rows"
        return "too few rows"
    kind = "VB" if case["bayesian"] else "EM"
    try:
        whole = expected(case, rng, 0)
        others = [expected(case, rng, 4) for _ in range(2)]
    except CollapseError as collapse:
        if collapse.surely:
            assert refused is not None, "a singular covariance was taken for one"
            assert many is None or many.status[0] > Status.NOT_CONVERGED, "fit_many took a singular covariance for one"
            return f"{kind} collapsed"
        return f"{kind} near the edge" + (", refused" if refused else "")
    if refused is not None:
        variances = np.array([np.diag(each) for each in dense(case["family"], whole.covariances, *whole.means.shape)])
        counted = max(1, case["weight"].sum()) if case["bayesian"] else 1
        longest = max(np.abs(np.subtract(case["X"], mean, dtype=Real)).max() for mean in case["means"])
        assert max(counted * longest**2, 1 / variances.min()) > 1e290, f"refused: {refused}"
        return "out of range"
    sizes = [distances(case, each, whole) for each in others]
    tolerances = tolerances_of(case, whole, sizes)
    agree(case, outcome_of(case, model, model.lower_bounds_), whole, tolerances)
    if case["reg_covar"] == 0.0:
        slack = rounding(case, whole) + 100 * max(each["bounds"] for each in sizes)
        rises = np.diff(np.asarray(model.lower_bounds_))
        assert np.all(rises >= -slack * (1 + np.abs(model.lower_bounds_[-1]))), "the bound falls"
    if many is not None:
        assert many.status[0] <= Status.NOT_CONVERGED, f"fit_many: {Status(many.status[0]).name}"
        agree(case, outcome_of(case, many[0], many.lower_bound_), whole, tolerances, "of fit_many, ")
        gap = abs(many.lower_bound_[0] - model.lower_bound_)
        assert gap <= (1e-6 + rounding(case, whole)) * (1 + abs(model.lower_bound_)), "fit_many differs"
    return f"{kind} compared" + ("" if max(tolerances.values()) < 1e-2 else ", ill-posed in part")


def outcome_of(case, model, bounds):
    """Return the outcome of a fitted model."""
    attributes = (each.astype(Real) for each in (model.weights_, model.means_, model.covariances_))
    return Outcome(*attributes, bounds, model.score_samples(case["X"]).astype(Real))


def rounding(case, whole):
    """Return what digits are given up to passes, relative to an outcome of the reference.

    That of the worst update counts: it is in the bound after that update, and in all that follows.
    """
    least = min(least_eigenvalue(matrices) for matrices in whole.path)
    return KEPT + (1e-8 if case["family"] == "tied" else 1e-11) / least


def tolerances_of(case, whole, sizes):
    """Return how far a fit may be from an outcome, whose own `distances` from itself rounded otherwise are `sizes`."""
    tolerances = {name: rounding(case, whole) + 100 * max(each[name] for each in sizes) for name in sizes[0]}
    # Attributes in float32 are rounded, and so are the means that scores are relative to.
    if case["single"]:
        shift = np.abs(whole.means).max() / np.sqrt(
            np.min(shaped("diag", dense(case["family"], whole.covariances, *whole.means.shape)))
        )
        for name in ("weights", "covariances", "means", "scores"):
            tolerances[name] += 3e-5 * (1 + float(shift)) ** (2 if name == "scores" else 1)
    return tolerances


def agree(case, fit, whole, tolerances, whose=""):
    """Check that a fit is near an outcome, where that is well-posed."""
    assert fit.covariances.shape == whole.covariances.shape, f"{whose}covariances are {fit.covariances.shape}"
    for name, gap in distances(case, fit, whole).items():
        if tolerances[name] < 1e-2 or not np.isfinite(gap):
            assert gap <= tolerances[name], f"{whose}{name} are off by {gap:.3g}, more than {tolerances[name]:.3g}"


def least_eigenvalue(matrices):
    """Return the smallest eigenvalue of a correlation matrix: in its direction, errors are as much larger."""
    deviations = np.sqrt(np.diagonal(matrices, axis1=1, axis2=2))
    correlations = matrices / deviations[:, :, None] / deviations[:, None, :]
    return max(float(np.linalg.eigvalsh(correlations.astype(np.float64)).min()), 1e-16)


def many_of(case):
    """Return what ``fit_many`` makes of the rows as the only problem; None of a law, which it takes no start from."""
    if case["bayesian"] and case["counts"] is not None:
        return None
    weight = None if case["sample_weight"] is None else [case["sample_weight"]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fit_many(estimator_of(case), [case["X"]], sample_weight=weight)


def run(fits, seed, tell=print):
    """Check so many cases, tell of those that fail, and return how many there were, by family and what came of them."""
    counts = Counter()
    for number in range(fits):
        rng = np.random.default_rng([seed, number])
        case = random_case(rng)
        try:
            counts[case["family"], check(case, rng)] += 1
        except AssertionError as error:
            counts[case["family"], "failed"] += 1
            kind = "VB" if case["bayesian"] else "EM"
            shape = *case["X"].shape, len(case["means"])
            tell(f"case {seed} {number}: {kind} {case['family']}, (N, D, K) = {shape}: {error}")
    return counts


@pytest.mark.slow
@pytest.mark.skipif(not EXTENDED, reason="np.longdouble is no wider than float64 here")
def test_random_fits_are_those_of_a_reference_in_extended_precision():
    failures = []
    counts = run(int(os.environ.get("FASTGMM_FUZZ_FITS", "1000")), 0, failures.append)
    assert not failures, "\n".join(failures)
    for family in FAMILIES:
        fits = sum(count for (name, _), count in counts.items() if name == family)
        assert counts[family, "EM compared"] > fits // 6
        assert counts[family, "VB compared"] > fits // 6


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fits", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    found = run(arguments.fits, arguments.seed, lambda line: print(line, flush=True))
    for word in sorted({word for _, word in found}):
        print(f"{word}: " + ", ".join(f"{found[family, word]} {family}" for family in FAMILIES))
    sys.exit(any(word == "failed" for _, word in found))
