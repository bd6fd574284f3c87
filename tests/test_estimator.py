"""The estimator beyond scikit-learn's interface, bad input, and data that break mixtures."""

import pickle
import re
import warnings

import numpy as np
import pytest
from conftest import dense, draw, random_mixture, read_columns

from fastgmm import GaussianMixture, fit_many, kernels
from fastgmm.exceptions import CollapsedComponentError, ConvergenceWarning, OutOfRangeError, SpuriousComponentWarning
from fastgmm.families import FAMILIES, Full

COLLAPSED = "some components have ill-defined empirical covariance"
COMPARED = "weights_", "means_", "covariances_", "precisions_cholesky_", "lower_bound_"


@pytest.fixture
def two_groups(rng):
    return np.concatenate([rng.normal(size=(80, 2)), rng.normal(size=(80, 2)) + 6])


# --- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        ([[1.0, np.nan], [0.0, 1.0]], ValueError, r"X contains NaN \(row 0, column 1\)"),
        ([[1.0, 2.0], [np.inf, 1.0]], ValueError, r"X contains infinity \(row 1, column 0\)"),
        ([1.0, 2.0, 3.0], ValueError, r"Expected 2D array, got 1D array.*Reshape your data"),
        (3.0, ValueError, r"Expected 2D array, got scalar"),
        (np.zeros((2, 2, 2)), ValueError, r"dim 3"),
        (np.zeros((0, 2)), ValueError, r"Found array with 0 sample\(s\) \(shape=\(0, 2\)\)"),
        (np.zeros((1, 2)), ValueError, r"Found array with 1 sample\(s\).*minimum of 2"),
        (np.zeros((4, 0)), ValueError, r"Found array with 0 feature\(s\)"),
        ([["a", "b"], ["c", "d"]], ValueError, r"X must hold numbers: could not convert string to float"),
        (np.ones((3, 1), complex), ValueError, r"Complex data not supported"),
        (
            np.array([["2020-01-01"], ["2020-01-02"]], "datetime64[D]"),
            ValueError,
            r"X must hold real numbers, got dtype",
        ),
    ],
)
def test_bad_rows(X, error, message):
    with pytest.raises(error, match=f"(?s){message}"):
        GaussianMixture().fit(X)


def test_a_text_column_is_named():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"size": [1.0, 2.0], "kind": ["a", "b"]})
    message = "'a' (row 0, column 1, 'kind'). Leave that column out, or turn it into numbers."
    with pytest.raises(ValueError, match=re.escape(message)):
        GaussianMixture().fit(frame)


def test_columns_in_another_order_are_told_how_to_be_put_right(two_groups):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(two_groups, columns=["a", "b"])
    model = GaussianMixture(2, random_state=0).fit(frame)
    for other in (frame[["b", "a"]], frame.assign(c=1.0)):
        with pytest.raises(ValueError, match=re.escape("X[model.feature_names_in_] has the columns that are wanted")):
            model.predict(other)
        np.testing.assert_array_equal(model.predict(other[model.feature_names_in_]), model.predict(frame))
    model.feature_names_in_ = ["a", "b"]
    np.testing.assert_array_equal(model.predict(frame), GaussianMixture(2, random_state=0).fit_predict(frame))
    with pytest.raises(ValueError, match=r"could not convert string to float: .*'x'\)? \(row 0, column 0\)$"):
        GaussianMixture(2, means_init=[["x", 1], [2, 3]]).fit(two_groups)
    with pytest.raises(ValueError, match=r"now missing:\n- b\n$"):
        model.predict(frame[["a"]])
    frame["when"] = pandas.Timestamp("2020-01-01")
    with pytest.raises(TypeError, match=r"'when'\). Leave that column out, or turn it into numbers"):
        GaussianMixture(2).fit(frame)


def test_sparse_rows():
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(TypeError, match="Sparse data was passed for X"):
        GaussianMixture().fit(sparse.eye(4).tocsr())


def test_more_components_than_rows(two_groups):
    with pytest.raises(ValueError, match="Expected n_samples >= n_components but got n_components = 5, n_samples = 4"):
        GaussianMixture(5).fit(two_groups[:4])
    with pytest.raises(ValueError, match=re.escape("n_components = 3, n_samples = 2 (rows of positive weight)")):
        GaussianMixture(3).fit(two_groups[:4], sample_weight=[1, 0, 0, 1])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_components": 0}, "n_components must be an int in the range [1, inf), got 0."),
        ({"n_components": 2.0}, "n_components must be an int in the range [1, inf), got 2.0."),
        ({"n_components": True}, "n_components must be an int"),
        ({"tol": -1e-3}, "tol must be a float in the range [0, inf), got -0.001."),
        ({"tol": np.nan}, "tol must be a float"),
        ({"tol": 10**400}, "tol must be a float in the range [0, inf), got 1000"),
        ({"reg_covar": -1}, "reg_covar must be a float in the range [0, inf), got -1."),
        ({"max_iter": -1}, "max_iter must be an int in the range [0, inf), got -1."),
        ({"n_init": 0}, "n_init must be an int in the range [1, inf), got 0."),
        ({"n_threads": 0}, "n_threads must be an int in the range [1, inf), got 0."),
        ({"verbose": -1}, "verbose must be an int in the range [0, inf), got -1."),
        ({"verbose_interval": 0}, "verbose_interval must be an int in the range [1, inf), got 0."),
        ({"warm_start": "yes"}, "warm_start must be True or False, got 'yes'."),
        ({"init_params": "zufall"}, "init_params must be one of 'kmeans', 'k-means++', 'random', 'random_from_data'"),
        ({"covariance_type": "ful"}, "covariance_type must be one of 'full', 'tied', 'diag', 'spherical'"),
        ({"random_state": "seed"}, "random_state must be None, an integer"),
        ({"weights_init": [0.5, 0.6]}, "The parameter 'weights' should be normalized, but got sum(weights) = 1.10000"),
        (
            {"weights_init": [1.5, -0.5]},
            "The parameter 'weights' should be in the range [0, 1], but got max value 1.50000, min value -0.50000",
        ),
        ({"weights_init": [[0.5, 0.5]]}, "The parameter 'weights' should have the shape of (2,), but got (1, 2)"),
        ({"means_init": [[0, 0, 0]] * 2}, "The parameter 'means' should have the shape of (2, 2), but got (2, 3)"),
        ({"means_init": [[0, 0], [0, np.nan]]}, "Input means contains NaN (row 1, column 1)"),
        (
            {"precisions_init": [np.eye(2), -np.eye(2)]},
            "'full precision' should be symmetric, positive-definite",
        ),
        (
            {"precisions_init": [np.eye(2), [[1, 0.5], [0, 1]]]},
            "'full precision' should be symmetric, positive-definite",
        ),
        ({"precisions_init": np.eye(2)}, "The parameter 'full precision' should have the shape of (2, 2, 2)"),
        ({"precisions_init": [1.0, 0.0], "covariance_type": "spherical"}, "'spherical precision' should be positive"),
        ({"init_params": [0, 1]}, "init_params as labels should have the shape of (160,), but got (2,)"),
        ({"init_params": [2] * 160}, "init_params as labels must be integers in 0..1"),
        ({"init_params": np.ones((160, 2))}, "init_params as responsibilities must be >= 0 and sum to 1 in every row"),
    ],
)
def test_bad_parameters(two_groups, params, message):
    model = GaussianMixture(**({"n_components": 2} | params))
    with pytest.raises(ValueError, match=re.escape(message)):
        model.fit(two_groups)
    assert not hasattr(model, "means_")


@pytest.mark.parametrize("name", ["n_components", "tol", "covariance_type"])
def test_messages_show_the_ends_of_long_values(two_groups, name):
    value = [["full"]] * 99 + [["diag"]] if name == "covariance_type" else np.arange(300.0).reshape(-1, 2)
    with pytest.raises(ValueError, match=r"^[^\n]{,350}$") as raised:
        GaussianMixture(**{"n_components": 2, name: value}).fit(two_groups)
    _, _, got = str(raised.value).partition("got ")
    head, tail = (
        ("[['full'], ['full'],", "['diag']].") if isinstance(value, list) else ("array([[ 0., 1.],", "299.]]).")
    )
    assert got.startswith(head)
    assert got.endswith(tail)


@pytest.mark.parametrize(
    ("sample_weight", "message"),
    [
        ([1.0, 2.0], "sample_weight.shape == (2,), expected (160,)!"),
        (np.ones((160, 1)), "Sample weights must be 1D array or scalar"),
        (np.r_[-1.0, np.ones(159)], "sample_weight must be >= 0, got -1.0 in row 0."),
        (np.zeros(160), "sample_weight must be positive for at least one row"),
        (np.r_[np.nan, np.ones(159)], "Input sample_weight contains NaN (row 0)"),
    ],
)
def test_bad_weights(two_groups, sample_weight, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        GaussianMixture(2).fit(two_groups, sample_weight=sample_weight)


def test_wrong_number_of_columns(two_groups):
    model = GaussianMixture(2).fit(two_groups)
    with pytest.raises(ValueError, match="X has 3 features, but GaussianMixture is expecting 2 features as input"):
        model.predict(np.zeros((2, 3)))


def test_a_failed_fit_leaves_the_estimator_as_it_was(two_groups):
    model = GaussianMixture(2, random_state=0).fit(two_groups)
    before = pickle.dumps(model)
    for action in (
        lambda: model.fit(np.full((10, 2), np.nan)),
        lambda: model.set_params(reg_covar=0).fit(np.ones((10, 2))),
        lambda: model.fit(two_groups, callback=lambda *_: 1 / 0),
    ):
        with pytest.raises((ValueError, ZeroDivisionError)):
            action()
        model.set_params(reg_covar=1e-6)
        assert pickle.dumps(model) == before


# --- data that break mixtures ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-150, 1e-30, 1e30, 1e150])
def test_the_fit_does_not_depend_on_the_scale(family, two_groups, scale):
    params = {"covariance_type": family.name, "reg_covar": 0, "random_state": 0}
    plain, scaled = GaussianMixture(2, **params).fit(two_groups), GaussianMixture(2, **params).fit(two_groups * scale)
    np.testing.assert_allclose(scaled.means_ / scale, plain.means_, rtol=1e-9)
    np.testing.assert_allclose(scaled.covariances_ / scale / scale, plain.covariances_, rtol=1e-9)
    assert scaled.score(two_groups * scale) == pytest.approx(plain.score(two_groups) - 2 * np.log(scale), rel=1e-12)
    np.testing.assert_array_equal(scaled.predict(two_groups * scale), plain.predict(two_groups))


@pytest.mark.parametrize("scale", [1e-160, 1e160])
def test_scales_beyond_reach_are_refused(family, two_groups, scale):
    with pytest.raises(ValueError, match=r"scale the (input )?data"):
        GaussianMixture(2, covariance_type=family.name, reg_covar=0, random_state=0).fit(two_groups * scale)


def test_data_far_from_the_origin(family, rng):
    base = np.round(np.concatenate([rng.normal(size=(80, 2)), rng.normal(size=(80, 2)) + 6]) * 2**10) / 2**10
    params = {"covariance_type": family.name, "random_state": 0}
    plain, far = GaussianMixture(2, **params).fit(base), GaussianMixture(2, **params).fit(base + 1e8)
    np.testing.assert_allclose(far.means_ - 1e8, plain.means_, atol=5e-8)
    np.testing.assert_allclose(far.covariances_, plain.covariances_, rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(far.predict(base + 1e8), plain.predict(base))


def test_constant_column(family, two_groups):
    X = np.c_[two_groups, np.full(len(two_groups), 0.1)]
    model = GaussianMixture(2, covariance_type=family.name, random_state=0).fit(X)
    matrices = dense(model, family)
    np.testing.assert_allclose(model.means_[:, 2], 0.1, rtol=1e-15)
    if not family.name.endswith("spherical"):
        np.testing.assert_allclose(matrices[:, 2, 2], 1e-6, rtol=1e-9)
        with pytest.raises(CollapsedComponentError, match="component is number 0"):
            GaussianMixture(2, covariance_type=family.name, random_state=0, reg_covar=0).fit(X)


def test_duplicated_rows(family, rng):
    X = np.repeat(rng.normal(size=(2, 2)), 10, axis=0)
    with pytest.warns(SpuriousComponentWarning, match="sits on one repeated value"):
        model = GaussianMixture(3, covariance_type=family.name, random_state=0).fit(X)
    np.testing.assert_allclose(model.score_samples(X), model.score(X), rtol=1e-9)
    np.testing.assert_allclose(dense(model, family)[model.predict(X)], 1e-6 * np.eye(2)[None].repeat(20, 0), atol=1e-9)
    with pytest.raises(ValueError, match=COLLAPSED):
        GaussianMixture(3, covariance_type=family.name, random_state=0, reg_covar=0).fit(X)


@pytest.mark.parametrize("n_components", [19, 20])
def test_almost_as_many_components_as_rows(family, two_groups, n_components):
    X = two_groups[:20]
    model = GaussianMixture(n_components, covariance_type=family.name, random_state=0).fit(X)
    assert np.isfinite(model.lower_bound_)
    assert np.isfinite(model.means_).all()
    assert model.weights_.sum() == pytest.approx(1, rel=1e-12)


def test_far_outlier_is_a_component_or_an_error(family, two_groups):
    X = np.r_[two_groups, [[1e6, 1e6]]]
    model = GaussianMixture(2, covariance_type=family.name, random_state=0).fit(X)
    assert np.isfinite(model.score_samples(X)).all()
    with pytest.raises(OutOfRangeError, match="overflow"):
        GaussianMixture(2, covariance_type=family.name, random_state=0).fit(np.r_[two_groups, [[1e200, 0]]])


def test_prediction_beyond_the_range_of_squares(family, two_groups):
    model = GaussianMixture(2, covariance_type=family.name, random_state=0).fit(two_groups)
    X = [[0.0, 0.0], [1e200, 0.0], [1e150, 0.0]]
    assert model.score_samples(X)[1] == -np.inf
    assert np.isfinite(model.score_samples(X)[[0, 2]]).all()
    for method in (model.predict, model.predict_proba):
        with pytest.raises(OutOfRangeError, match="row 1 of X lies so far from every component"):
            method(X)


@pytest.mark.parametrize("n_features", [1, 2])
def test_two_rows_one_component(family, n_features, rng):
    X = rng.normal(size=(2, n_features))
    model = GaussianMixture(covariance_type=family.name).fit(X)
    np.testing.assert_allclose(model.means_[0], X.mean(axis=0), rtol=1e-13)


def test_one_column_is_the_same_for_all_families(rng):
    X = np.concatenate([rng.normal(size=60), rng.normal(size=60) * 2 + 7])[:, None]
    fits = {
        name: GaussianMixture(2, covariance_type=name, random_state=0, tol=1e-9, max_iter=1000).fit(X)
        for name in FAMILIES
    }
    for name in ("diag", "spherical"):
        fit = fits[name]
        np.testing.assert_allclose(fit.covariances_.ravel(), fits["full"].covariances_.ravel(), rtol=1e-9)
        np.testing.assert_allclose(fit.score_samples(X), fits["full"].score_samples(X), rtol=1e-10)
    for name in ("tied-diag", "tied-spherical"):
        np.testing.assert_allclose(fits[name].covariances_, fits["tied"].covariances_.ravel(), rtol=1e-9)
        np.testing.assert_allclose(fits[name].score_samples(X), fits["tied"].score_samples(X), rtol=1e-9)


def test_a_collapsing_restart_does_not_lose_the_others(rng):
    X = np.r_[rng.normal(size=(60, 1)), [[9.0], [9.0]], rng.normal(size=(60, 1)) + 4]
    starts = iter([np.r_[np.zeros(60), 1, 1, np.zeros(60)], np.r_[np.zeros(62), np.ones(60)]])

    def init(X, n_components, random_state):
        return next(starts).astype(int)

    model = GaussianMixture(2, n_init=2, reg_covar=0, init_params=init, max_iter=500)
    with pytest.warns(ConvergenceWarning, match=r"1 of 2 starts were left out. The first: .* ill-defined"):
        model.fit(X)
    assert model.converged_
    assert model.weights_.min() > 0.2


# --- what scikit-learn does not have ---------------------------------------------------------------------------------


def test_weights_are_copies_throughout(family, two_groups):
    counts = np.arange(160) % 4
    rows = np.repeat(two_groups, counts, axis=0)
    params = {
        "covariance_type": family.name,
        "init_params": "k-means++",
        "random_state": 0,
        "tol": 1e-10,
        "max_iter": 2000,
    }
    weighted = GaussianMixture(2, **params).fit(two_groups, sample_weight=counts)
    repeated = GaussianMixture(2, **params).fit(rows)
    for name in ("weights_", "means_", "covariances_", "lower_bound_"):
        np.testing.assert_allclose(getattr(weighted, name), getattr(repeated, name), rtol=1e-6)
    assert weighted.score(two_groups, sample_weight=counts) == pytest.approx(weighted.score(rows), rel=1e-12)


def test_scaling_all_weights_changes_nothing(two_groups):
    a = GaussianMixture(2, random_state=0).fit(two_groups, sample_weight=np.full(160, 1e-9))
    b = GaussianMixture(2, random_state=0).fit(two_groups)
    np.testing.assert_allclose(a.means_, b.means_, rtol=1e-10)
    np.testing.assert_allclose(a.covariances_, b.covariances_, rtol=1e-10)
    assert a.lower_bound_ == pytest.approx(b.lower_bound_, rel=1e-10)


def test_from_parameters_is_a_fitted_model(family, rng):
    weights, means, covariances = random_mixture(rng, family, 3, 2)
    matrices = family.matrices(covariances, 3, 2)
    covariances = family.attribute(covariances)
    model = GaussianMixture.from_parameters(weights, means, covariances, family.name, random_state=1)
    np.testing.assert_allclose(model.covariances_, covariances, rtol=1e-13)
    X, labels = model.sample(30000)
    for k in range(3):
        mine = X[labels == k]
        error = 6 * np.sqrt(np.diag(matrices[k]) / len(mine))
        assert (np.abs(mine.mean(axis=0) - means[k]) < error).all()
        np.testing.assert_allclose(
            np.cov(mine.T), matrices[k], atol=10 * np.abs(matrices[k]).max() / np.sqrt(len(mine))
        )
    np.testing.assert_allclose(np.bincount(labels) / 30000, weights, atol=0.02)
    with pytest.raises(ValueError, match="'weights' should be normalized"):
        GaussianMixture.from_parameters(weights * 2, means, covariances, family.name)
    with pytest.raises(ValueError, match=f"'{family.name} covariance' should be"):
        GaussianMixture.from_parameters(weights, means, -covariances, family.name)


def test_samples_repeat_with_their_seed(two_groups):
    model = GaussianMixture(2, random_state=0).fit(two_groups)
    np.testing.assert_array_equal(model.sample(5)[0], model.sample(5)[0])
    np.testing.assert_array_equal(model.sample(5, random_state=3)[0], model.sample(5, random_state=3)[0])
    assert not np.array_equal(model.sample(5, random_state=3)[0], model.sample(5)[0])
    generator = np.random.default_rng(0)
    assert not np.array_equal(model.sample(5, random_state=generator)[0], model.sample(5, random_state=generator)[0])
    with pytest.raises(ValueError, match="Invalid value for 'n_samples': 0"):
        model.sample(0)


def test_covariance_type_takes_a_family(two_groups):
    by_name, by_object = (GaussianMixture(2, covariance_type=kind, random_state=0) for kind in ("full", Full()))
    np.testing.assert_array_equal(by_name.fit(two_groups).covariances_, by_object.fit(two_groups).covariances_)
    np.testing.assert_array_equal(by_name.predict(two_groups), by_object.predict(two_groups))


@pytest.mark.parametrize("kind", ["labels", "responsibilities", "callable"])
def test_explicit_assignments(two_groups, kind):
    labels = np.repeat([1, 0], 80)
    init = {
        "labels": labels,
        "responsibilities": np.eye(2)[labels],
        "callable": lambda X, n_components, random_state: labels,
    }[kind]
    model = GaussianMixture(2, init_params=init, max_iter=0, reg_covar=0).fit(two_groups)
    np.testing.assert_allclose(model.means_, [two_groups[80:].mean(axis=0), two_groups[:80].mean(axis=0)], rtol=1e-12)
    np.testing.assert_allclose(model.covariances_[0], np.cov(two_groups[80:].T, bias=True), rtol=1e-11)


def test_means_alone_start_from_their_nearest_rows(two_groups):
    model = GaussianMixture(2, means_init=[[6, 6], [0, 0]], max_iter=0, reg_covar=0).fit(two_groups)
    np.testing.assert_array_equal(model.means_, [[6, 6], [0, 0]])
    nearest = ((two_groups - 6) ** 2).sum(axis=1) < (two_groups**2).sum(axis=1)
    assert model.weights_[0] == pytest.approx(nearest.mean())
    np.testing.assert_allclose(model.covariances_[0], np.cov(two_groups[nearest].T, bias=True), rtol=1e-10)


def test_given_weights_keep_their_order(rng):
    X = np.r_[rng.normal(size=(180, 1)), rng.normal(size=(20, 1)) + 20]
    for weights in ([0.9, 0.1], [0.1, 0.9]):
        model = GaussianMixture(2, weights_init=weights, random_state=0).fit(X)
        np.testing.assert_allclose(model.weights_, weights, atol=0.01)


def test_warm_start_goes_on_where_it_stopped(family, rng):
    weights, means, covariances = random_mixture(rng, family, 3, 2)
    X = draw(rng, weights, means, family.matrices(covariances, 3, 2), 300)
    params = {"n_components": 3, "covariance_type": family.name, "random_state": 0, "tol": 1e-7}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        whole = GaussianMixture(max_iter=500, **params).fit(X)
        parts = GaussianMixture(max_iter=1, warm_start=True, **params)
        n_fits = 0
        while not getattr(parts, "converged_", False):
            parts.fit(X)
            n_fits += 1
    assert n_fits == whole.n_iter_
    np.testing.assert_allclose(parts.means_, whole.means_, rtol=1e-8, atol=1e-9)
    assert parts.lower_bound_ == pytest.approx(whole.lower_bound_, rel=1e-12)


def test_warm_start_refuses_another_shape(two_groups):
    model = GaussianMixture(2, warm_start=True, random_state=0).fit(two_groups)
    with pytest.raises(ValueError, match=r"warm_start needs parameters of the same shape.*Set warm_start=False"):
        model.fit(np.c_[two_groups, two_groups])


def test_bound_trace(two_groups):
    model = GaussianMixture(3, random_state=0, reg_covar=0, tol=1e-6).fit(two_groups)
    assert len(model.lower_bounds_) == model.n_iter_
    assert model.lower_bounds_[-1] == model.lower_bound_ == pytest.approx(model.score(two_groups), rel=1e-12)
    assert np.diff(model.lower_bounds_).min() > -1e-12


def test_callback_sees_every_iteration(two_groups):
    seen = []
    model = GaussianMixture(3, random_state=0, n_init=2).fit(two_groups, callback=lambda *event: seen.append(event))
    assert [restart for restart, *_ in seen] == sorted(restart for restart, *_ in seen)
    assert {restart for restart, *_ in seen} == {0, 1}
    counts = [sum(restart == r for restart, *_ in seen) for r in (0, 1)]
    assert model.n_iter_ in counts
    assert [iteration for restart, iteration, *_ in seen if restart == 1] == list(range(1, counts[1] + 1))


def test_verbose_output(two_groups, capsys):
    GaussianMixture(2, verbose=1, verbose_interval=1, random_state=0).fit(two_groups)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Initialization 0"
    assert lines[1] == "  Iteration 1"
    assert lines[-1] == "Initialization converged."
    GaussianMixture(2, verbose=2, verbose_interval=1, random_state=0).fit(two_groups)
    text = capsys.readouterr().out
    assert re.search(r"  Iteration 2\t time lapse \d+\.\d{5}s\t ll change \d+\.\d{5}", text)
    assert re.search(r"Initialization converged\. time lapse \d+\.\d{5}s\t lower bound -\d+\.\d{5}\.", text)


def test_frames_and_their_names(two_groups):
    for module in ("pandas", "polars"):
        library = pytest.importorskip(module)
        frame = library.DataFrame({"a": two_groups[:, 0], "b": two_groups[:, 1]})
        model = GaussianMixture(2, random_state=0).fit(frame)
        assert list(model.feature_names_in_) == ["a", "b"]
        np.testing.assert_array_equal(model.predict(frame), GaussianMixture(2, random_state=0).fit_predict(two_groups))
        with pytest.raises(ValueError, match=r"(?s)feature names should match.*unseen at fit time:\n- c"):
            model.predict(frame.rename({"a": "c"}, **({"axis": 1} if module == "pandas" else {})))
        with pytest.raises(ValueError, match="must be in the same order"):
            model.predict(frame[["b", "a"]])
        for method in (model.predict, model.score):
            with pytest.warns(UserWarning, match="X does not have valid feature names") as caught:
                method(two_groups)
            assert caught[0].filename == __file__  # points at the caller's line
        model.fit(two_groups)
        assert not hasattr(model, "feature_names_in_")
        with pytest.warns(UserWarning, match="X has feature names, but GaussianMixture was fitted without"):
            model.predict(frame)


def test_float32_in_float32_out(family, two_groups):
    single = GaussianMixture(2, covariance_type=family.name, random_state=0).fit(two_groups.astype(np.float32))
    double = GaussianMixture(2, covariance_type=family.name, random_state=0).fit(two_groups)
    for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        assert getattr(single, name).dtype == np.float32
        np.testing.assert_allclose(getattr(single, name), getattr(double, name), rtol=1e-4, atol=1e-5)
    for method in (single.predict_proba, single.score_samples):
        assert method(two_groups.astype(np.float32)).dtype == np.float32
        assert method(two_groups).dtype == np.float64


def test_parameters_can_be_set_by_hand(two_groups):
    """As users of scikit-learn do: give a bare estimator its attributes and predict."""
    fitted = GaussianMixture(2, random_state=0).fit(two_groups)
    bare = GaussianMixture(2)
    for name in ("weights_", "means_", "covariances_", "precisions_cholesky_"):
        setattr(bare, name, getattr(fitted, name))
    np.testing.assert_array_equal(bare.predict_proba(two_groups), fitted.predict_proba(two_groups))


def test_pickle_and_repr(two_groups):
    model = GaussianMixture(2, random_state=0, tol=1e-4).fit(two_groups)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(two_groups), model.predict_proba(two_groups))
    assert repr(again) == "GaussianMixture(n_components=2, tol=0.0001, random_state=0)"
    error = pickle.loads(pickle.dumps(CollapsedComponentError(4)))
    assert error.component == 4
    with pytest.raises(ValueError, match="Invalid parameter 'components' for estimator GaussianMixture"):
        model.set_params(components=3)


def test_same_seed_same_bits(two_groups):
    fits = [GaussianMixture(3, random_state=5, n_init=2).fit(two_groups) for _ in range(2)]
    np.testing.assert_array_equal(fits[0].covariances_, fits[1].covariances_)
    assert fits[0].lower_bound_ == fits[1].lower_bound_


@pytest.mark.parametrize("init_params", ["kmeans", "k-means++", "random", "random_from_data"])
def test_starts_are_sane(family, init_params):
    """No start has a variance near reg_covar: the covariances are of the size of the data shared out."""
    X = read_columns("faithful")
    model = GaussianMixture(6, covariance_type=family.name, init_params=init_params, max_iter=0, random_state=0).fit(X)
    variances = np.diagonal(dense(model, family), axis1=1, axis2=2)
    assert (variances > 1e-3 * X.var(axis=0).min()).all()
    assert model.weights_.min() > 0


def test_arrays_that_may_not_be_written_or_copied(two_groups, tmp_path):
    frozen = two_groups.copy()
    frozen.setflags(write=False)
    np.save(tmp_path / "rows.npy", two_groups)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    expected = GaussianMixture(2, random_state=0).fit(two_groups)
    expected.predict(two_groups)
    compiled = len(kernels.collect.serial.signatures), len(kernels.score.serial.signatures)
    for X in (frozen, mapped, two_groups.tolist()):
        model = GaussianMixture(2, random_state=0).fit(X)
        np.testing.assert_array_equal(model.means_, expected.means_)
        np.testing.assert_array_equal(model.predict(X), expected.predict(two_groups))
    # Read-only arrays are another type to Numba: nothing may be compiled again for them.
    assert (len(kernels.collect.serial.signatures), len(kernels.score.serial.signatures)) == compiled


# --- found by review: each of these was wrong once -------------------------------------------------------------------


def test_rows_of_weight_zero_do_nothing_wherever_they_lie(family, two_groups):
    X = np.r_[[[1e200, 1e200]], two_groups, [[1e200, -1e200]], two_groups[:5] + 1e5]
    weight = np.r_[0, np.ones(160), np.zeros(6)]
    params = {"covariance_type": family.name, "random_state": 0}
    some, few = GaussianMixture(2, **params).fit(X, sample_weight=weight), GaussianMixture(2, **params).fit(two_groups)
    np.testing.assert_allclose(some.means_, few.means_, rtol=1e-9)
    np.testing.assert_allclose(some.covariances_, few.covariances_, rtol=1e-9, atol=1e-12)
    for method in ("score", "aic", "bic", "icl"):
        value = getattr(some, method)(X, sample_weight=weight)
        assert value == pytest.approx(getattr(few, method)(two_groups), rel=1e-9)


@pytest.mark.parametrize("scale", [1e-320, 1e-308, 1e-100, 1e100, 1e300, 1e308])
def test_weights_of_any_scale(family, two_groups, scale):
    params = {"covariance_type": family.name, "random_state": 0, "reg_covar": 0}
    plain = GaussianMixture(2, **params).fit(two_groups * 1e-6)
    scaled = GaussianMixture(2, **params).fit(two_groups * 1e-6, sample_weight=np.full(160, scale))
    np.testing.assert_allclose(scaled.covariances_, plain.covariances_, rtol=1e-8)
    assert scaled.score(two_groups * 1e-6, sample_weight=np.full(160, scale)) == pytest.approx(
        plain.score(two_groups * 1e-6), rel=1e-10
    )
    weight = np.full(160, scale)
    total = -2 * scale * 160 * plain.score(two_groups * 1e-6)
    expected = total + plain._n_parameters() * (np.log(160) + np.log(scale))
    if np.isfinite(expected):
        assert scaled.bic(two_groups * 1e-6, sample_weight=weight) == pytest.approx(expected, rel=1e-9)


def units(family, n_features):
    """Return unit covariances of two components, in the shape of the family's attributes."""
    shape = family.attribute_shape(2, n_features)
    return np.broadcast_to(np.eye(n_features), shape) if family.has_matrices else np.ones(shape)


def apart(family, two_groups, first, second, **params):
    """Return rows of two groups far apart, weights `first` and `second`, and an estimator that begins at them."""
    X, weight = two_groups * 0.1 + 50 * (two_groups > 3), np.repeat([first, second], 80)
    estimator = GaussianMixture(
        2,
        covariance_type=family.name,
        reg_covar=0,
        weights_init=[0.5, 0.5],
        means_init=[X[0], X[-1] + 0.7],
        precisions_init=units(family, 2),
        **params,
    )
    return X, weight, estimator


@pytest.mark.filterwarnings("ignore:Best performing initialization did not converge")
@pytest.mark.filterwarnings("ignore:Not all fits are good")
@pytest.mark.parametrize("exponent", [-100, -160, -290])
def test_a_component_of_next_to_no_mass_has_the_spread_of_its_rows(family, two_groups, exponent):
    """Squares of deviations, times the mass, underflow before the mass divides them."""
    X, weight, estimator = apart(family, two_groups, 1.0, 10.0**exponent, max_iter=1)
    covariance = np.cov(X[:80].T if family.is_tied else X[80:].T, ddof=0)
    single = estimator.fit(X, sample_weight=weight)
    (one,) = fit_many(estimator, [X], sample_weight=[weight])
    for model in (single, one):
        np.testing.assert_allclose(model.means_[1], X[80:].mean(axis=0), rtol=1e-12)
        found = dense(model, family)[1]
        assert np.trace(found) == pytest.approx(np.trace(covariance), rel=1e-9)
        if not family.name.endswith("spherical"):
            np.testing.assert_allclose(np.diag(found), np.diag(covariance), rtol=1e-9)


@pytest.mark.parametrize("exponent", [-50, -20, 40])
def test_the_scale_of_weights_changes_no_bit_of_a_fit_and_refuses_none(family, two_groups, exponent):
    X, weight, model = apart(family, two_groups, 0.7, 2.0**-990, tol=1e-9)
    for fit in (model.fit, lambda X, sample_weight: fit_many(model, [X], sample_weight=[sample_weight])[0]):
        plain, scaled = (
            {name: value for name, value in vars(fit(X, sample_weight=each)).items() if name in COMPARED}
            for each in (weight, np.ldexp(weight, exponent))
        )
        assert plain.keys() == scaled.keys() != set()
        for name, value in plain.items():
            np.testing.assert_array_equal(scaled[name], value, err_msg=name)


@pytest.mark.filterwarnings("ignore:Best performing initialization did not converge")
@pytest.mark.parametrize("n_iter", [1, 2, 3])
def test_a_constant_column_is_told_however_far_the_start(family, two_groups, n_iter, rng):
    """Where the mean comes from far, rounding leaves a variance that is small and positive."""
    X = np.c_[two_groups, np.zeros(160)]
    for start in 1e4 * rng.normal(size=(20, 1, 3)):
        model = GaussianMixture(1, covariance_type=family.name, reg_covar=0, max_iter=n_iter, means_init=start)
        if family.name.endswith("spherical"):
            assert model.fit(X).means_[0, 2] == pytest.approx(0, abs=1e-9)
        else:
            with pytest.raises(CollapsedComponentError):
                model.fit(X)


def test_a_constant_column_is_told_where_components_share_a_variance(rng):
    """One update of components that come from different places leaves each a variance of rounding."""
    for family, columns in (("tied-diag", [0.0, 1.0]), ("tied-spherical", [0.0, 0.0])):
        for _ in range(40):
            X = rng.normal(size=(6, 2)) * columns
            start = {"means_init": rng.normal(size=(2, 2)), "weights_init": [0.3, 0.7]}
            start["precisions_init"] = np.ones(2 if family == "tied-diag" else 1)
            with pytest.raises(CollapsedComponentError):
                GaussianMixture(2, covariance_type=family, reg_covar=0.0, max_iter=1, tol=0, **start).fit(X)


def test_covariance_type_set_after_the_fit_changes_no_prediction(rng):
    X = rng.normal(size=(200, 3)) + rng.integers(0, 3, 200)[:, None] * 4
    for fitted in FAMILIES:
        model = GaussianMixture(3, covariance_type=fitted, random_state=0).fit(X)
        expected = model.score_samples(X), model.bic(X), model.sample(4)[0]
        for other in FAMILIES:
            model.set_params(covariance_type=other)
            np.testing.assert_array_equal(model.score_samples(X), expected[0])
            assert model.bic(X) == expected[1]
            np.testing.assert_array_equal(model.sample(4)[0], expected[2])
            shapes = [FAMILIES[name].attribute_shape(3, 3) for name in (fitted, other)]
            if shapes[0] != shapes[1]:
                with pytest.raises(ValueError, match="warm_start needs parameters of the same shape"):
                    model.set_params(warm_start=True).fit(X)
                model.set_params(warm_start=False)


def test_attributes_of_the_wrong_shape_are_refused(two_groups):
    model = GaussianMixture(2, covariance_type="diag")
    model.weights_, model.means_ = np.full(2, 0.5), np.zeros((2, 2))
    model.covariances_ = model.precisions_cholesky_ = np.ones((2, 2, 2))
    with pytest.raises(ValueError, match=r"precisions_cholesky_ should have the shape \(2, 2\) of covariance 'diag'"):
        model.predict(two_groups)


def test_a_warning_that_is_an_error_leaves_the_estimator_as_it_was(two_groups):
    model = GaussianMixture(3, random_state=0).fit(two_groups)
    before = dict(model.__dict__)
    with pytest.raises(ConvergenceWarning):
        model.set_params(max_iter=1).fit(two_groups + 5)
    assert all(model.__dict__[name] is value for name, value in before.items() if name != "max_iter")


@pytest.mark.parametrize("scale", [1e-39, 1e-22, 1e22, 1e30])
def test_float32_rows_whose_squares_leave_float32(family, two_groups, scale):
    X = (two_groups * scale).astype(np.float32)
    model = GaussianMixture(2, covariance_type=family.name, reg_covar=0, random_state=0).fit(X)
    for name in ("covariances_", "precisions_", "precisions_cholesky_"):
        assert np.isfinite(getattr(model, name)).all()
    assert np.bincount(model.predict(X)).min() > 70
    assert model.score(X) == pytest.approx(model.lower_bound_, rel=1e-5)


def test_one_far_outlier_is_fitted(family, rng):
    for n_features in (1, 2, 5):
        X = rng.normal(size=(100, n_features))
        for factor in (1e6, 1e9, 1e50):
            X[17] = factor
            for number in range(3):
                model = GaussianMixture(3, covariance_type=family.name, random_state=number, max_iter=300).fit(X)
                assert np.isfinite(model.score_samples(X)).all()


def test_singular_tied_covariances_are_told(rng):
    """22 rows around 6 means span 16 directions at most; of 17 features one has no variance left."""
    told = 0
    for number in range(20):
        X = rng.normal(size=(22, 17)) + np.repeat(np.eye(6, 17) * 100, 4, axis=0)[:22]
        try:
            GaussianMixture(6, covariance_type="tied", reg_covar=0, random_state=number).fit(X)
        except CollapsedComponentError:
            told += 1
    assert told == 20


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (
            lambda X: GaussianMixture.from_parameters([1.0], [0.0, 0.0], [np.eye(2)]),
            "means must have the shape (n_comp",
        ),
        (lambda X: GaussianMixture(2, init_params=None).fit(X), "init_params must be one of 'kmeans'"),
        (lambda X: GaussianMixture(2, init_params=3).fit(X), "init_params must be one of 'kmeans'"),
        (lambda X: GaussianMixture(2).fit(X).sample("a"), "Invalid value for 'n_samples': a"),
        (lambda X: GaussianMixture(2).fit(X).sample(2.5), "Invalid value for 'n_samples': 2.5"),
        (lambda X: GaussianMixture(1).fit([[10**400], [1]]), "X holds numbers beyond float64"),
        (lambda X: GaussianMixture(1, random_state=-1).fit(X), "an integer in [0, 2**32)"),
        (lambda X: GaussianMixture(1).fit(np.ma.masked_greater(X, 1)), "X is a masked array with masked values"),
    ],
)
def test_more_messages(two_groups, action, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        action(two_groups)


def test_small_types_are_converted_block_by_block(rng):
    X = rng.random((500, 3)) > 0.5
    expected = GaussianMixture(2, random_state=0).fit(X.astype(float))
    for kind in (bool, np.float16, np.uint8):
        np.testing.assert_array_equal(GaussianMixture(2, random_state=0).fit(X.astype(kind)).means_, expected.means_)


def test_given_weights_are_normalised_exactly(two_groups):
    weights = np.array([0.3, 0.7 + 5e-9])
    model = GaussianMixture.from_parameters(weights, two_groups[:2], [np.eye(2)] * 2)
    assert model.weights_.sum() == 1.0
