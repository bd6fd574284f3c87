"""Mixtures whose components have one weight: a twin by NumPy, mclust's numbers, and every way of fitting."""

import numpy as np
import pytest
from conftest import read_columns
from scipy.stats import multivariate_normal

from fastgmm import GaussianMixture, fit_many
from fastgmm.families import FAMILIES
from fastgmm.io import load_model, save_model


def _twin(X, means, covariances, n_updates):
    """EM with weights 1 / K, written down."""
    K, N = len(means), len(X)
    for _ in range(n_updates):
        joint = np.column_stack([multivariate_normal(m, S).pdf(X) / K for m, S in zip(means, covariances, strict=True)])
        r = joint / joint.sum(axis=1, keepdims=True)
        mass = r.sum(axis=0)
        means = (r.T @ X) / mass[:, None]
        covariances = [((r[:, k, None] * (X - means[k])).T @ (X - means[k])) / mass[k] for k in range(K)]
    joint = np.column_stack([multivariate_normal(m, S).pdf(X) / K for m, S in zip(means, covariances, strict=True)])
    return means, np.array(covariances), np.log(joint.sum(axis=1)).sum() / N


def test_a_fit_from_given_parameters_is_the_twins():
    X = read_columns("faithful")
    first = GaussianMixture(2, random_state=0).fit(X)
    model = GaussianMixture.from_parameters(
        [0.5, 0.5], first.means_, first.covariances_, warm_start=True, equal_weights=True, reg_covar=0.0, max_iter=9
    ).set_params(tol=0.0)
    with pytest.warns(UserWarning, match="did not converge"):
        model.fit(X)
    means, covariances, bound = _twin(X, first.means_, first.covariances_, 9)
    np.testing.assert_allclose(model.means_, means, rtol=1e-10)
    np.testing.assert_allclose(model.covariances_, covariances, rtol=1e-9)
    assert model.lower_bound_ == pytest.approx(bound, rel=1e-12)
    free = GaussianMixture(2, random_state=0)
    assert model.bic(X) == pytest.approx(-2 * len(X) * bound + (free.fit(X)._n_parameters() - 1) * np.log(len(X)))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("options", [{}, {"accelerate": "squarem"}, {"n_init": 2}], ids=str)
def test_every_family_and_way_of_fitting(name, options, tmp_path):
    X = read_columns("iris")
    model = GaussianMixture(3, covariance_type=name, equal_weights=True, random_state=0, reg_covar=0.0, **options)
    model.set_params(tol=1e-7, max_iter=2000).fit(X)
    np.testing.assert_array_equal(model.weights_, np.full(3, 1 / 3))
    assert np.all(np.diff(model.lower_bounds_) >= -1e-9)
    assert model.lower_bound_ == pytest.approx(model.score(X), rel=1e-9)
    free = GaussianMixture(3, covariance_type=name, random_state=0, reg_covar=0.0).set_params(warm_start=True)
    for part in ("weights_", "means_", "covariances_", "precisions_cholesky_"):
        setattr(free, part, getattr(model, part))
    # Of the same place, free weights are at least as likely, and have two numbers more.
    free.set_params(tol=1e-7, max_iter=2000).fit(X)
    assert free.score(X) >= model.score(X) - 1e-9
    assert free._n_parameters() == model._n_parameters() + 2
    save_model(model, tmp_path / "m.json")
    again = load_model(tmp_path / "m.json")
    assert again.bic(X) == pytest.approx(model.bic(X), rel=1e-12)
    assert again.equal_weights is True


def test_batches_keep_weights_equal():
    X = read_columns("iris")
    model = GaussianMixture(3, equal_weights=True, random_state=0)
    for _ in range(3):
        for batch, rows in enumerate(np.array_split(np.random.default_rng(0).permutation(X), 3)):
            model.partial_fit(rows, batch=batch)
    np.testing.assert_array_equal(model.weights_, np.full(3, 1 / 3))


def test_what_says_otherwise_is_refused():
    X = read_columns("faithful")
    with pytest.raises(ValueError, match="weights_init must be None with equal_weights=True, got"):
        GaussianMixture(2, equal_weights=True, weights_init=[0.4, 0.6]).fit(X)
    with pytest.raises(ValueError, match="frozen must be None with equal_weights=True"):
        GaussianMixture(2, equal_weights=True, means_init=X[:2], frozen={"means": [0]}).fit(X)
    with pytest.raises(ValueError, match="fit_many cannot fit with equal_weights=True"):
        fit_many(GaussianMixture(2, equal_weights=True), X[None])
    with pytest.raises(ValueError, match="equal_weights must be"):
        GaussianMixture(2, equal_weights="yes").fit(X)
