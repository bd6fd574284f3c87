"""Variational Bayes side by side with scikit-learn's: the same steps for full covariances, the same interface."""

import numpy as np
import pytest
from conftest import draw, random_mixture, slow

sklearn = pytest.importorskip("sklearn")

from sklearn.mixture import BayesianGaussianMixture as Theirs  # noqa: E402

from fastgmm import BayesianGaussianMixture  # noqa: E402
from fastgmm.families import FAMILIES  # noqa: E402

TYPES = ["dirichlet_distribution", "dirichlet_process"]
ATTRIBUTES = (
    "weights_",
    "means_",
    "covariances_",
    "precisions_",
    "precisions_cholesky_",
    "weight_concentration_",
    "mean_precision_",
    "degrees_of_freedom_",
    "mean_prior_",
    "covariance_prior_",
    "mean_precision_prior_",
    "weight_concentration_prior_",
    "degrees_of_freedom_prior_",
)


class TheirsFrom(Theirs):
    """scikit-learn's with a start from responsibilities, which its interface cannot express."""

    def fit_from(self, X, responsibilities):
        self._initialize_parameters = lambda X, *_args, **_kwargs: self._initialize(X, responsibilities)
        return self.fit(X)


@pytest.fixture
def problem(rng):
    weights, means, covariances = random_mixture(rng, FAMILIES["full"], 4, 3)
    X = draw(rng, weights, means, covariances, 500)
    return X, rng.dirichlet(np.ones(4), 500)


PRIORS = [
    {},
    {
        "weight_concentration_prior": 0.7,
        "mean_precision_prior": 0.3,
        "mean_prior": [0.5, -1.0, 2.0],
        "degrees_of_freedom_prior": 4.5,
        "covariance_prior": [[2.0, 0.3, 0.0], [0.3, 1.0, -0.2], [0.0, -0.2, 3.0]],
    },
]


@pytest.mark.filterwarnings("ignore:Best performing initialization did not converge")
@pytest.mark.parametrize("reg_covar", [0.0, 1e-6])
@pytest.mark.parametrize("prior", PRIORS, ids=["default prior", "given prior"])
@pytest.mark.parametrize("prior_type", TYPES)
@pytest.mark.parametrize("max_iter", [1, 2, 3, 5, *slow(10, 20)])
def test_full_covariances_step_by_step(problem, prior_type, prior, reg_covar, max_iter):
    X, r = problem
    params = {"n_components": 4, "tol": 0, "max_iter": max_iter, "reg_covar": reg_covar} | prior
    params["weight_concentration_prior_type"] = prior_type
    theirs = TheirsFrom(**params).fit_from(X, r)
    watched = []
    ours = BayesianGaussianMixture(**params, init_params=r).fit(X, callback=lambda *call: watched.append(call[2]))
    for name in ATTRIBUTES:
        mine, yours = np.array(getattr(ours, name)), np.array(getattr(theirs, name))
        assert mine.shape == yours.shape, name
        np.testing.assert_allclose(mine, yours, rtol=1e-9, atol=1e-9 * np.abs(yours).max(), err_msg=name)
    assert ours.n_iter_ == theirs.n_iter_ == max_iter
    if reg_covar == 0 and hasattr(theirs, "lower_bounds_"):  # theirs is no bound with it, and drops constants always
        np.testing.assert_allclose(np.diff(watched), np.diff(theirs.lower_bounds_), rtol=1e-8, atol=1e-8)
        assert np.ptp(np.array(watched) - theirs.lower_bounds_) < 1e-9 * abs(watched[-1])
    Z = X[:50] + 1
    np.testing.assert_allclose(ours.score_samples(Z), theirs.score_samples(Z), rtol=1e-9)
    np.testing.assert_allclose(ours.predict_proba(Z), theirs.predict_proba(Z), rtol=1e-7, atol=1e-12)
    np.testing.assert_array_equal(ours.predict(Z), theirs.predict(Z))
    assert ours.score(Z) == pytest.approx(theirs.score(Z), rel=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("prior_type", TYPES)
def test_the_same_number_of_iterations_to_the_same_end(problem, prior_type):
    X, r = problem
    for tol in (1e-1, 1e-3, 1e-5):
        params = {"n_components": 4, "tol": tol, "max_iter": 2000, "weight_concentration_prior_type": prior_type}
        ours = BayesianGaussianMixture(**params, init_params=r).fit(X)
        theirs = TheirsFrom(**params).fit_from(X, r)
        assert (ours.n_iter_, ours.converged_) == (theirs.n_iter_, theirs.converged_) == (theirs.n_iter_, True)
        np.testing.assert_allclose(ours.means_, theirs.means_, rtol=1e-7, atol=1e-7)


def test_constructor_is_theirs_and_more():
    ours, theirs = BayesianGaussianMixture().get_params(), Theirs().get_params()
    extra = {name for name in ours if name.endswith("_init") and name != "n_init"}
    extra |= {
        "sort_sticks",
        "class_components",
        "missing",
        "n_threads",
        "accelerate",
        "truncate",
        "checkpoint",
        "total_samples",
    }
    # k-means first, too.
    assert (ours.pop("init_params"), theirs.pop("init_params")) == ("auto", "kmeans")
    assert {name: value for name, value in ours.items() if name not in extra} == theirs | {
        "race": False,
        "noise": False,
        "stopping": "absolute",
        "checkpoint_interval": 60.0,
        "learning_decay": 0.6,
        "learning_offset": 0.0,
    }
    assert {ours[name] for name in extra} == {None}


@pytest.mark.parametrize("covariance_type", ["full", "diag", "spherical"])
def test_one_column_is_the_same_model_for_them_and_us(covariance_type, rng):
    """In one dimension scikit-learn's diag and spherical updates are the conjugate ones, too."""
    X = np.concatenate([rng.normal(size=(80, 1)), rng.normal(size=(60, 1)) * 0.3 + 3])
    r = rng.dirichlet(np.ones(3), 140)
    params = {"n_components": 3, "covariance_type": covariance_type, "tol": 1e-6, "max_iter": 2000}
    ours = BayesianGaussianMixture(**params, init_params=r).fit(X)
    theirs = TheirsFrom(**params).fit_from(X, r)
    assert ours.n_iter_ == theirs.n_iter_
    for name in ATTRIBUTES:
        mine, yours = np.array(getattr(ours, name)), np.array(getattr(theirs, name))
        np.testing.assert_allclose(mine, yours, rtol=1e-7, atol=1e-9, err_msg=name)
