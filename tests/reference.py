"""Slow, obvious twins of what the package computes: dense covariances, explicit loops, no sharing of code with it."""

import numpy as np


def log_joint(X, weights, means, matrices):
    """log pi_k + log N(x_n | mu_k, Sigma_k) by the textbook formula, (N, K)."""
    X = np.asarray(X, float)
    out = np.empty((len(X), len(weights)))
    for k in range(len(weights)):
        gap = X - means[k]
        sign, log_det = np.linalg.slogdet(matrices[k])
        assert sign > 0
        distance = np.einsum("na,na->n", gap, np.linalg.solve(matrices[k], gap.T).T)
        with np.errstate(divide="ignore"):
            out[:, k] = np.log(weights[k]) - 0.5 * (distance + log_det + means.shape[1] * np.log(2 * np.pi))
    return out


def log_sum_exp(values):
    peak = values.max(axis=1)
    return peak + np.log(np.exp(values - peak[:, None]).sum(axis=1))


def responsibilities(X, weights, means, matrices):
    joint = log_joint(X, weights, means, matrices)
    return np.exp(joint - log_sum_exp(joint)[:, None])


def projection(family, matrices):
    """The family's projection of a stack of K symmetric matrices (of scatters: sums over components and features)."""
    return {
        "full": matrices,
        "tied": matrices.sum(axis=0),
        "diag": np.diagonal(matrices, axis1=1, axis2=2),
        "spherical": np.trace(matrices, axis1=1, axis2=2),
    }[family.name]


def moments(family, X, weight, r, origin):
    """mass, deviation and scatter about the origin, one row and component at a time."""
    n_components, n_features = origin.shape
    mass = np.zeros(n_components)
    deviation = np.zeros((n_components, n_features))
    scatter = np.zeros((n_components, n_features, n_features))
    for n in range(len(X)):
        for k in range(n_components):
            gap = np.asarray(X[n], float) - origin[k]
            mass[k] += weight[n] * r[n, k]
            deviation[k] += weight[n] * r[n, k] * gap
            scatter[k] += weight[n] * r[n, k] * np.outer(gap, gap)
    return mass, deviation, projection(family, scatter)


def em_step(family, X, weight, r, reg_covar):
    """Weights, means and covariances (the family's shape) of highest likelihood, straight from responsibilities."""
    wr = weight[:, None] * r
    mass = wr.sum(axis=0)
    means = (wr.T @ X) / mass[:, None]
    n_components, n_features = means.shape
    scatters = np.stack([(wr[:, k, None] * (X - means[k])).T @ (X - means[k]) for k in range(n_components)])
    if family.name == "full":
        covariances = scatters / mass[:, None, None] + reg_covar * np.eye(n_features)
    elif family.name == "tied":
        covariances = scatters.sum(axis=0) / mass.sum() + reg_covar * np.eye(n_features)
    elif family.name == "diag":
        covariances = np.diagonal(scatters, axis1=1, axis2=2) / mass[:, None] + reg_covar
    else:
        covariances = np.trace(scatters, axis1=1, axis2=2) / (mass * n_features) + reg_covar
    return mass / mass.sum(), means, covariances
