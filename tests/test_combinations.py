"""What may be asked for together: missing entries, noise, known labels, weights; each beside a twin row by row."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from fastgmm import BayesianGaussianMixture, GaussianMixture
from fastgmm.datasets import load_iris

IRIS = np.asarray(load_iris().data, np.float64)
SPECIES = np.unique(load_iris().target, return_inverse=True)[1]
KNOWN = np.where(np.arange(150) % 5 == 0, SPECIES, -1)
HOLES = np.where((7 * np.arange(150)[:, None] + 3 * np.arange(4)) % 5 == 0, np.nan, IRIS)
TIGHT = {"reg_covar": 0.0, "tol": 1e-10, "max_iter": 3000, "random_state": 0}


def joint_of(model, X):
    """Return the log joint densities of what is observed of rows with each component, and at the end with noise."""
    family, covariances = model._covariances()
    matrices = family.matrices(covariances, *model.means_.shape)
    columns = len(model.means_) + 1
    joint = np.full((len(X), columns), -np.inf)
    for row, values in zip(joint, X, strict=True):
        seen = ~np.isnan(values)
        for k, (weight, mean, matrix) in enumerate(zip(model.weights_, model.means_, matrices, strict=True)):
            law = multivariate_normal(mean[seen], matrix[np.ix_(seen, seen)]) if seen.any() else None
            row[k] = np.log(weight) + (0.0 if law is None else law.logpdf(values[seen]))
        if hasattr(model, "noise_weight_"):
            lengths = np.diagonal(model.noise_box_[1:])
            row[-1] = np.log(model.noise_weight_) - model.noise_log_volume_ + np.log(lengths[~seen]).sum()
    return joint


def masked(joint, labels):
    """Return log joints with -inf where a row of a known class cannot be."""
    others = (labels[:, None] >= 0) & (labels[:, None] != np.arange(joint.shape[1]))
    return np.where(others, -np.inf, joint)


# -- labels of rows with gaps -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_known_labels_of_rows_with_gaps(covariance_type):
    weight = 1.0 + np.arange(150) % 3
    model = GaussianMixture(3, covariance_type=covariance_type, missing="marginal", **TIGHT)
    model.fit(HOLES, sample_weight=weight, labels=KNOWN)
    joint = masked(joint_of(model, HOLES), KNOWN)
    evidence = np.logaddexp.reduce(joint, axis=1)
    assert model.lower_bound_ == pytest.approx(weight @ evidence / weight.sum(), abs=1e-8)
    shares = np.exp(joint - evidence[:, None])
    np.testing.assert_allclose(model.weights_, (weight @ shares)[:3] / weight.sum(), atol=1e-5)
    assert np.diff(model.lower_bounds_).min() > -1e-12
    # Known labels do what they are for: components are in their classes' places.
    assert (model.predict(HOLES) == SPECIES).mean() > 0.8


def test_labels_of_rows_of_which_some_have_no_gaps():
    """Complete rows of a class keep their sums once for all; those with gaps are passed over with a density."""
    X = np.where((SPECIES == 2)[:, None], HOLES, IRIS)
    model = GaussianMixture(3, missing="marginal", **TIGHT).fit(X, labels=KNOWN)
    evidence = np.logaddexp.reduce(masked(joint_of(model, X), KNOWN), axis=1)
    assert model.lower_bound_ == pytest.approx(evidence.mean(), abs=1e-8)
    assert (model.fit_predict(X, labels=KNOWN) == model.predict(X)).all()


def test_variational_bayes_with_labels_of_rows_with_gaps():
    model = BayesianGaussianMixture(3, missing="marginal", tol=1e-6, max_iter=1000, random_state=0)
    model.fit(HOLES, labels=KNOWN)
    assert np.diff(model.lower_bounds_).min() > -1e-9 * abs(model.lower_bound_)
    assert (model.predict(HOLES) == SPECIES).mean() > 0.9
