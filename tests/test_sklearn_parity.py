"""Side by side with scikit-learn: the same steps from the same start, the same interface, and more digits."""

import numpy as np
import pytest
from conftest import draw, random_mixture

sklearn = pytest.importorskip("sklearn")

from sklearn.mixture import GaussianMixture as Theirs  # noqa: E402
from sklearn.utils.estimator_checks import check_estimator  # noqa: E402

import fastgmm  # noqa: E402
from fastgmm import GaussianMixture  # noqa: E402
from fastgmm.families import STRUCTURES  # noqa: E402

# Constraints on covariances make no difference here.
TRIED = STRUCTURES

ATTRIBUTES = ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_")


def _start(family, weights, means, covariances):
    density, _ = family.density(weights, means, covariances)
    precisions = family.precisions(family.precisions_cholesky(density.whitener))
    return {"weights_init": weights, "means_init": means, "precisions_init": precisions}


@pytest.mark.filterwarnings("ignore:Best performing initialization did not converge")
@pytest.mark.parametrize("max_iter", [1, 2, 3, 5, 10, 20])
def test_step_by_step(family, rng, max_iter):
    weights, means, covariances = random_mixture(rng, family, 4, 3)
    X = draw(rng, weights, means, family.matrices(covariances, 4, 3), 500)
    start = _start(family, weights, means + rng.normal(size=means.shape) * 0.3, covariances)
    params = {"covariance_type": family.name, "tol": 0, "max_iter": max_iter} | start
    ours, theirs = GaussianMixture(4, **params).fit(X), Theirs(4, **params).fit(X)
    for name in ATTRIBUTES:
        mine, yours = getattr(ours, name), getattr(theirs, name)
        assert mine.shape == yours.shape
        assert mine.dtype == yours.dtype
        np.testing.assert_allclose(mine, yours, rtol=1e-9, atol=1e-9 * np.abs(yours).max(), err_msg=name)
    if hasattr(theirs, "lower_bounds_"):  # since 1.7
        np.testing.assert_allclose(ours.lower_bounds_[:-1], theirs.lower_bounds_[1:], rtol=1e-11)
    assert ours.lower_bound_ == pytest.approx(theirs.score(X), rel=1e-11)
    assert ours.n_iter_ == theirs.n_iter_ == max_iter
    Z = draw(rng, weights, means, family.matrices(covariances, 4, 3), 100)
    np.testing.assert_allclose(ours.score_samples(Z), theirs.score_samples(Z), rtol=1e-9)
    np.testing.assert_allclose(ours.predict_proba(Z), theirs.predict_proba(Z), rtol=1e-7, atol=1e-12)
    np.testing.assert_array_equal(ours.predict(Z), theirs.predict(Z))
    for criterion in ("aic", "bic", "score"):
        assert getattr(ours, criterion)(Z) == pytest.approx(getattr(theirs, criterion)(Z), rel=1e-10)
    assert ours._n_parameters() == theirs._n_parameters()


def test_the_same_number_of_iterations_to_the_same_end(family, rng):
    weights, means, covariances = random_mixture(rng, family, 3, 2)
    X = draw(rng, weights, means, family.matrices(covariances, 3, 2), 400)
    start = _start(family, weights, means + 0.2, covariances)
    params = {"covariance_type": family.name, "tol": 1e-5, "max_iter": 1000} | start
    ours, theirs = GaussianMixture(3, **params).fit(X), Theirs(3, **params).fit(X)
    assert (ours.n_iter_, ours.converged_) == (theirs.n_iter_, theirs.converged_)
    for name in ATTRIBUTES:
        yours = getattr(theirs, name)
        np.testing.assert_allclose(getattr(ours, name), yours, rtol=1e-8, atol=1e-8 * np.abs(yours).max())


def test_constructor_is_theirs_and_a_few_more():
    ours, theirs = GaussianMixture().get_params(), Theirs().get_params()
    # Which is k-means, too, for a single start.
    assert (ours.pop("init_params"), theirs.pop("init_params")) == ("auto", "kmeans")
    own = {"n_threads": None, "race": False, "stopping": "absolute", "accelerate": None, "truncate": None}
    own |= {
        "checkpoint": None,
        "checkpoint_interval": 60.0,
        "learning_decay": 0.6,
        "learning_offset": 0.0,
        "frozen": None,
        "equal_weights": False,
        "noise": False,
        "class_components": None,
        "prior": None,
        "max_eigenvalue_ratio": None,
        "missing": None,
    }
    assert ours == theirs | own


BOTH = pytest.mark.parametrize("name", ["GaussianMixture", "BayesianGaussianMixture"])


@BOTH
def test_public_names_are_all_there(name):
    X = np.random.default_rng(0).normal(size=(20, 2))
    ours, theirs = (getattr(package, name)().fit(X) for package in (fastgmm, sklearn.mixture))
    missing = {name for name in dir(theirs) if not name.startswith("_")} - set(dir(ours))
    assert not missing


@BOTH
@pytest.mark.filterwarnings("ignore")
def test_check_estimator_in_full(name):
    results = check_estimator(getattr(fastgmm, name)(max_iter=300), on_fail=None)
    failed = {result["check_name"]: result["exception"] for result in results if result["status"] == "failed"}
    assert not failed
    assert sum(result["status"] == "passed" for result in results) > 40


@pytest.mark.filterwarnings("ignore")
def test_more_digits_at_an_offset(family):
    """The fit of the same rows with 1e8 added: ours differs by the offset alone, scikit-learn's variances are lost."""
    rng = np.random.default_rng(3)
    base = np.round(np.concatenate([rng.normal(size=(80, 2)), rng.normal(size=(80, 2)) + 2]) * 2**10) / 2**10
    means = np.array([[0.0, 0.0], [2.0, 2.0]])
    precisions = family.precisions(family.precisions_cholesky(family.isotropic_whitener(2, 2, 1.0)))

    def fit(cls, offset):
        return cls(
            2,
            covariance_type=family.name,
            tol=0,
            max_iter=5,
            weights_init=[0.5, 0.5],
            means_init=means + offset,
            precisions_init=precisions,
        ).fit(base + offset)

    truth = fit(GaussianMixture, 0.0)
    np.testing.assert_allclose(truth.covariances_, fit(Theirs, 0.0).covariances_, rtol=1e-10, atol=1e-12)
    ours = fit(GaussianMixture, 1e8)
    error = np.abs(ours.covariances_ - truth.covariances_).max()
    np.testing.assert_allclose(ours.means_ - 1e8, truth.means_, rtol=0, atol=2e-8)
    assert error < 1e-7  # the means themselves are rounded to 1.5e-8 here
    try:
        theirs = np.abs(fit(Theirs, 1e8).covariances_ - truth.covariances_).max()
    except ValueError:
        theirs = np.inf
    assert error < 0.3 * theirs


def test_pipeline_grid_search_and_clone(rng):
    from sklearn.base import clone
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    X = np.concatenate([rng.normal(size=(60, 2)), rng.normal(size=(60, 2)) + 8])
    rng.shuffle(X)
    pipeline = make_pipeline(StandardScaler(), GaussianMixture(2, random_state=0))
    labels = pipeline.fit(X).predict(X)
    assert len(set(labels)) == 2
    grid = {"gaussianmixture__n_components": [1, 2], "gaussianmixture__covariance_type": ["full", "diag"]}
    search = GridSearchCV(pipeline, grid, cv=3).fit(X)
    assert search.best_params_["gaussianmixture__n_components"] == 2
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    model = GaussianMixture(3, means_init=np.zeros((3, 2)), init_params=[0, 1, 2])
    copy = clone(model)
    assert copy is not model
    np.testing.assert_array_equal(copy.means_init, model.means_init)


def test_metadata_routing(rng):
    pytest.importorskip("sklearn", minversion="1.7")  # earlier ones did not pass weights to an estimator's own score
    from sklearn.model_selection import GridSearchCV

    X = np.concatenate([rng.normal(size=(40, 1)), rng.normal(size=(40, 1)) + 8])
    sample_weight = np.repeat([1.0, 0.0], 40)
    with sklearn.config_context(enable_metadata_routing=True):
        model = GaussianMixture().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        search = GridSearchCV(model, {"reg_covar": [1e-6]}, cv=[(np.arange(80), np.arange(80))])
        search.fit(X, sample_weight=sample_weight)
        assert search.best_estimator_.means_[0, 0] == pytest.approx(X[:40].mean(), abs=1e-10)
        assert search.best_score_ == pytest.approx(search.best_estimator_.score(X[:40]), rel=1e-10)
        from sklearn.base import clone
        from sklearn.pipeline import Pipeline
        from sklearn.preprocessing import StandardScaler

        # A meta-estimator clones its steps, and their requests with them.
        requests = clone(model).get_metadata_routing().fit.requests
        assert requests.pop("sample_weight") is True
        assert set(requests.values()) == {None}
        scaler = StandardScaler().set_fit_request(sample_weight=True)
        pipeline = Pipeline([("scale", scaler), ("mixture", model)])
        search = GridSearchCV(pipeline, {"mixture__reg_covar": [1e-6]}, cv=[(np.arange(80), np.arange(80))])
        search.fit(X, sample_weight=sample_weight)
        scaled = search.best_estimator_["scale"].transform(X[:40])
        assert search.best_estimator_["mixture"].means_[0, 0] == pytest.approx(scaled.mean(), abs=1e-10)
        with pytest.raises(ValueError, match="sample_weight"):
            GridSearchCV(GaussianMixture(), {"reg_covar": [1e-6]}).fit(X, sample_weight=sample_weight)


def test_their_exceptions_and_warnings(rng):
    from sklearn.exceptions import ConvergenceWarning, NotFittedError

    with pytest.raises(NotFittedError, match="This GaussianMixture instance is not fitted yet"):
        GaussianMixture().predict([[0.0]])
    with pytest.warns(ConvergenceWarning, match="did not converge"):
        GaussianMixture(3, max_iter=1).fit(rng.normal(size=(50, 2)))
