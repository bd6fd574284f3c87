"""A fitted mixture as a distribution, against textbook formulas on dense covariances, SciPy and samples."""

import re

import numpy as np
import pytest
import reference
from conftest import dense
from scipy import integrate, stats

from fastgmm import BayesianGaussianMixture, GaussianMixture
from fastgmm.datasets import load_diabetes, load_faithful, load_iris
from fastgmm.exceptions import NotFittedError

IRIS = load_iris().data


@pytest.fixture(scope="module")
def iris():
    return GaussianMixture(3, random_state=0).fit(IRIS)


@pytest.fixture(scope="module")
def waits():
    return GaussianMixture(2, random_state=0).fit(load_faithful().data[:, [1]])


@pytest.mark.parametrize("estimator", [GaussianMixture, BayesianGaussianMixture])
@pytest.mark.parametrize("known", [[0], [3, 1], [2, 0, 1]])
def test_conditionals_are_those_of_the_textbook(estimator, family, known):
    model = estimator(3, covariance_type=family.name, random_state=0, max_iter=300).fit(IRIS)
    X, rest = IRIS[::15], [d for d in range(4) if d not in known]
    found = model.condition(known, X[:, known])
    assert len(found) == len(X)
    matrices = dense(model, family)
    joint = reference.log_joint(X[:, known], model.weights_, model.means_[:, known], matrices[:, known][:, :, known])
    weights = np.exp(joint - reference.log_sum_exp(joint)[:, None])
    means, covariances = [], []
    for mean, matrix in zip(model.means_, matrices, strict=True):
        slope = matrix[np.ix_(rest, known)] @ np.linalg.inv(matrix[np.ix_(known, known)])
        means.append(mean[rest] + (X[:, known] - mean[known]) @ slope.T)
        covariances.append(matrix[np.ix_(rest, rest)] - slope @ matrix[np.ix_(known, rest)])
    means, covariances = np.stack(means, axis=1), np.stack(covariances)
    np.testing.assert_allclose(found.weights, weights, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.means, means, rtol=1e-9)
    np.testing.assert_allclose(found.covariances, covariances, rtol=1e-8, atol=1e-12)
    mean = (weights[:, :, None] * means).sum(axis=1)
    np.testing.assert_allclose(found.mean(), mean, rtol=1e-9)
    second = covariances + means[..., None] * means[..., None, :]
    total = (weights[:, :, None, None] * second).sum(axis=1) - mean[:, :, None] * mean[:, None]
    np.testing.assert_allclose(found.covariance(), total, rtol=1e-7, atol=1e-11)


def test_a_row_of_a_mixture_is_its_known_part_and_the_rest(iris):
    """The chain rule, on real rows: log p(x) = log p(known) + log p(rest | known)."""
    for X, model in (
        (IRIS, iris),
        (load_diabetes().data, GaussianMixture(3, random_state=0).fit(load_diabetes().data)),
    ):
        for known in ([0], [2, 1]):
            rest = np.setdiff1d(np.arange(X.shape[1]), known)
            parts = model.marginal(known).score_samples(X[:, known])
            parts += model.condition(known, X[:, known]).log_density(X[:, rest])
            np.testing.assert_allclose(parts, model.score_samples(X), rtol=1e-10)


def test_a_marginal_is_the_integral_over_the_others(waits):
    X = load_faithful().data
    model = GaussianMixture(2, random_state=0).fit(X)
    part = model.marginal(1)
    assert part.n_features_in_ == 1
    for x in (50.0, 71.5, 90.0):
        value, _ = integrate.quad(lambda y, x=x: np.exp(model.score_samples([[y, x]])[0]), -5, 12, limit=200)
        assert np.exp(part.score_samples([[x]])[0]) == pytest.approx(value, rel=1e-7)


def test_data_far_from_zero_keep_their_digits():
    near = GaussianMixture(2, random_state=0).fit(IRIS[:, :3])
    shift = np.array([2.0**27, -(2.0**26), 2.0**25])
    far = GaussianMixture.from_parameters(near.weights_, near.means_ + shift, near.covariances_)
    values = IRIS[:9, :2]
    np.testing.assert_allclose(
        far.condition([0, 1], values + shift[:2]).mean() - shift[2], near.condition([0, 1], values).mean(), atol=1e-6
    )


def test_names_and_order_of_columns():
    pandas = pytest.importorskip("pandas")
    names = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    model = GaussianMixture(3, random_state=0).fit(pandas.DataFrame(IRIS, columns=names))
    part = model.marginal(["petal_width", 0])
    assert part.feature_names_in_.tolist() == ["petal_width", "sepal_length"]
    np.testing.assert_array_equal(part.means_, model.means_[:, [3, 0]])
    np.testing.assert_allclose(part.covariances_, model.covariances_[:, [3, 0]][:, :, [3, 0]], rtol=1e-12)
    assert model.condition("petal_width", [1.0]).names.tolist() == names[:3]
    frame = pandas.DataFrame({"petal_length": [1.5], "sepal_width": [3.0]})
    found = model.condition(["petal_length", "sepal_width"], frame)
    np.testing.assert_array_equal(found.mean(), model.condition([2, 1], [[1.5, 3.0]]).mean())
    with pytest.raises(ValueError, match=r"(?s)feature names.*same order"):
        model.condition(["sepal_width", "petal_length"], frame)
    message = "columns must be numbers from 0 to 3, or names among sepal_length, sepal_width, petal_length, petal_width"
    with pytest.raises(ValueError, match=re.escape(f"{message}, got 'colour'.")):
        model.marginal("colour")


def test_draws_given_some_columns(iris):
    found = iris.condition([2], [[1.5], [5.0], [6.5]])
    draws = found.sample(40_000, random_state=0)
    assert draws.shape == (3, 40_000, 3)
    np.testing.assert_allclose(draws.mean(axis=1), found.mean(), atol=0.02)
    for n in range(3):
        np.testing.assert_allclose(np.cov(draws[n].T), found.covariance()[n], atol=0.01)
    one = iris.marginal([2, 3]).condition(0, [[1.5], [5.0]])
    for q in (0.01, 0.5, 0.975):
        below = (one.sample(40_000, random_state=1)[:, :, 0] <= one.quantile(q)[:, None]).mean(axis=1)
        np.testing.assert_allclose(below, q, atol=0.01)
        np.testing.assert_allclose(one.cdf(one.quantile(q)), q, rtol=1e-12)


@pytest.mark.parametrize("scale", [1.0, 1e-150, 1e150])
def test_quantiles_of_one_column(waits, scale):
    model = GaussianMixture.from_parameters(waits.weights_, waits.means_ * scale, waits.covariances_ * scale * scale)
    q = np.array([[1e-9, 0.2], [0.5, 1 - 1e-9]])
    x = model.quantile(q)
    laws = [stats.norm(m, s) for m, s in zip(waits.means_[:, 0], np.sqrt(waits.covariances_[:, 0, 0]), strict=True)]
    expected = sum(w * law.cdf(x / scale) for w, law in zip(waits.weights_, laws, strict=True))
    np.testing.assert_allclose(expected, q, rtol=1e-9)
    np.testing.assert_allclose(model.cdf(x), q, rtol=1e-9)
    assert model.quantile(0.5).shape == ()
    assert (model.cdf(-np.inf), model.cdf(np.inf)) == (0.0, pytest.approx(1.0))


@pytest.mark.parametrize("far", [0.0, 1e9, 1e20, 1e26, 1e300])
def test_quantiles_keep_their_digits_however_far_another_component_is(far):
    for weights, q in (([1.0, 0.0], 0.975), ([0.5, 0.5], 0.2)):
        model = GaussianMixture.from_parameters(weights, [[0.0], [far]], [[[1.0]], [[1.0]]])
        expected = stats.norm.ppf(q / weights[0] if far > 1e6 else q)
        assert model.quantile(q) == pytest.approx(expected, rel=1e-12)
        assert model.cdf(model.quantile(q)) == pytest.approx(q, rel=1e-14)
    ends = GaussianMixture.from_parameters([0.5, 0.5], [[-1e308], [1e308]], [[[1.0]], [[1.0]]])
    np.testing.assert_allclose(ends.quantile([0.2, 0.8]), [-1e308, 1e308])


def test_quantiles_of_components_of_very_different_width():
    model = GaussianMixture.from_parameters([0.5, 0.5], [[0.0], [1.0]], [[[1e-40]], [[1.0]]])
    q = np.array([0.2, 0.3])
    np.testing.assert_allclose(model.cdf(model.quantile(q)), q, rtol=1e-12)


def test_the_parts_of_a_float32_model_have_the_digits_that_its_scores_have():
    """Its covariances are rounded to float32, in which these columns are the same."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(2000, 1))
    for scale, noise in ((10.0, 3e-5), (1000.0, 3e-5), (1.0, 1e-3)):
        X = np.hstack([z, z + noise * rng.normal(size=(2000, 1)), rng.normal(size=(2000, 1))]) * [scale, scale, 1.0]
        X = X.astype(np.float32)
        model, rows = GaussianMixture(2, random_state=0).fit(X), X[:20].astype(float)
        parts = model.marginal([1]).score_samples(rows[:, [1]])
        parts += model.condition(1, rows[:, 1]).log_density(rows[:, [0, 2]])
        scores = model.score_samples(rows)
        np.testing.assert_allclose(parts, scores, rtol=1e-6, atol=1e-6)
        # Weights in float32 have a sum that is not 1.
        np.testing.assert_allclose(model.marginal(range(3)).score_samples(rows), scores, atol=2e-7)
        if scale == 1000.0:  # elsewhere reg_covar makes the mixture wider than the rows
            share = (model.score_samples(X) >= model.density_threshold(0.9)).mean()
            assert share == pytest.approx(0.9, abs=0.02)


def test_columns_that_are_almost_the_same():
    """The factor of a conditional is not made of its covariance, which would square the condition."""
    rng = np.random.default_rng(1)
    z = rng.normal(size=(500, 1))
    X = np.hstack([z, z + 3e-7 * rng.normal(size=(500, 1)), rng.normal(size=(500, 1))])
    model = GaussianMixture(1, reg_covar=0.0).fit(X)
    parts = model.marginal(2).score_samples(X[:, [2]]) + model.condition(2, X[:, 2]).log_density(X[:, :2])
    np.testing.assert_allclose(parts, model.score_samples(X), atol=1e-7)


def test_scores_and_parts_have_one_source(iris):
    """Where covariances alone were set by hand, rows are still scored with the factors of precisions."""
    model = GaussianMixture(3, random_state=0).fit(IRIS)
    model.covariances_ = model.covariances_ * 100.0
    parts = model.marginal([0, 2]).score_samples(IRIS[:, [0, 2]])
    parts += model.condition([0, 2], IRIS[:, [0, 2]]).log_density(IRIS[:, [1, 3]])
    np.testing.assert_allclose(parts, model.score_samples(IRIS), rtol=1e-10)


def test_shapes_of_questions_about_one_column(iris):
    found = iris.marginal([2, 3]).condition(0, [1.5, 5.0, 6.5])
    values = np.array([0.2, 1.5, 2.0])
    assert found.cdf(values).shape == found.cdf(values[:, None]).shape == (3,)
    np.testing.assert_array_equal(found.cdf(values), found.cdf(values[:, None]))
    table = found.quantile([0.05, 0.5])
    np.testing.assert_array_equal(table, np.stack([found.quantile(0.05), found.quantile(0.5)], axis=1))
    for bad in ([1.0], np.ones((3, 3))):
        with pytest.raises(ValueError, match=r"values must have the shape \(3, 1\), a row for each row"):
            found.cdf(bad)


def test_values_far_out_have_no_density(iris):
    assert iris.condition(0, [5.0]).log_density([[1e160, 0.0, 0.0]]).tolist() == [-np.inf]
    with pytest.raises(ValueError, match="Input values contains NaN"):
        iris.condition(0, [5.0]).log_density([[np.nan, 0.0, 0.0]])


def test_columns_may_be_given_in_any_sequence(iris):
    pandas = pytest.importorskip("pandas")
    for columns in ((0, 2), range(0, 4, 2), np.array([0, 2]), pandas.Index([0, 2]), iter([0, 2])):
        np.testing.assert_array_equal(iris.marginal(columns).means_, iris.means_[:, [0, 2]])
    np.testing.assert_array_equal(iris.marginal(np.array(2)).means_, iris.means_[:, [2]])


def test_rows_of_frames_are_known_by_their_labels():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(IRIS[:, :3], columns=["a", "b", "c"])
    model = GaussianMixture(2, random_state=0).fit(frame)
    np.testing.assert_array_equal(model.condition("a", frame["a"]).mean(), model.condition(0, IRIS[:, [0]]).mean())
    found = model.condition("a", frame["a"][:4])
    np.testing.assert_array_equal(found.log_density(frame[["b", "c"]][:4]), found.log_density(IRIS[:4, 1:3]))
    with pytest.raises(ValueError, match="feature names should match"):
        found.log_density(frame[["c", "b"]][:4])
    model.condition(["a", "b"], frame[["a", "b"]].iloc[0])
    with pytest.raises(ValueError, match=r"values must have the columns of `columns`, in that order\.\n$"):
        model.condition(["a", "b"], frame[["b", "a"]].iloc[0])
    model.feature_names_in_ = ["a", "a", "c"]
    assert model.predict(frame.set_axis(["a", "a", "c"], axis=1)).shape == (150,)
    with pytest.raises(ValueError, match="columns must be told apart by their names: 'a' is the name of several"):
        model.marginal("a")


def test_attributes_that_make_no_mixture():
    model = GaussianMixture.from_parameters([0.5, 0.5], [[0.0], [1.0]], [[[1.0]], [[1.0]]])
    model.weights_ = [0.0, 0.0]
    for ask in (lambda: model.cdf(0.0), lambda: model.marginal(0), lambda: model.density_threshold(0.5)):
        with pytest.raises(ValueError, match="weights_ should be finite and not all 0"):
            ask()


@pytest.mark.parametrize("mass", [0.5, 0.9, 0.99])
def test_the_region_of_high_density_holds_the_mass(iris, mass):
    threshold = iris.density_threshold(mass)
    rows, _ = iris.sample(100_000, random_state=11)
    assert (iris.score_samples(rows) >= threshold).mean() == pytest.approx(mass, abs=0.006)
    assert threshold == iris.density_threshold(mass)


def test_the_region_of_one_normal_law_is_known():
    """Its log-density exceeds a threshold within the ellipsoid of a chi-squared quantile."""
    model = GaussianMixture.from_parameters([1.0], [[3.0, -1.0]], [[[2.0, 0.3], [0.3, 0.5]]])
    peak = model.score_samples([[3.0, -1.0]])[0]
    exact = peak - 0.5 * stats.chi2(2).ppf(0.95)
    assert model.density_threshold(0.95, n_samples=400_000) == pytest.approx(exact, abs=0.03)


def test_attributes_set_by_hand(iris):
    bare = GaussianMixture(3)
    bare.weights_, bare.means_, bare.covariances_ = iris.weights_.tolist(), iris.means_, iris.covariances_
    np.testing.assert_allclose(bare.condition(0, [[5.0]]).mean(), iris.condition(0, [[5.0]]).mean(), rtol=1e-12)
    np.testing.assert_allclose(bare.marginal([1]).score_samples([[3.0]]), iris.marginal([1]).score_samples([[3.0]]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.marginal([]), "columns must name at least one column, and none twice, got []."),
        (lambda m: m.marginal([1, 1]), "columns must name at least one column, and none twice, got [1, 1]."),
        (lambda m: m.marginal(4), "columns must be numbers from 0 to 3, got 4."),
        (lambda m: m.marginal(True), "columns must be numbers from 0 to 3, got True."),
        (lambda m: m.marginal(-1), "columns must be numbers from 0 to 3, got -1."),
        (lambda m: m.condition([0, 1, 2, 3], [1.0] * 4), "columns must leave out at least one column"),
        (
            lambda m: m.condition([0], [[1.0, 2.0]]),
            "values must have the shape (n_rows, 1), a column for each of columns",
        ),
        (lambda m: m.condition([0], [[np.nan]]), "Input values contains NaN (row 0, column 0)"),
        (lambda m: m.condition(0, [1.0]).quantile(0.5), "quantile is of one column, and 3 are not known"),
        (lambda m: m.condition(0, [1.0]).log_density([[1.0]]), "values must have the shape (1, 3), a row for each row"),
        (lambda m: m.cdf(0.0), "cdf is of a mixture of one column, and this one has 4: take marginal(column) first."),
        (lambda m: m.density_threshold(1.0), "mass must be in the range (0, 1), got 1.0."),
        (lambda m: m.marginal(0).quantile([0.5, 0.0]), "q must be in the range (0, 1), got [0.5, 0.0]."),
        (lambda m: GaussianMixture().condition(0, [1.0]), "This GaussianMixture instance is not fitted yet."),
    ],
)
def test_bad_questions(iris, call, message):
    with pytest.raises((ValueError, NotFittedError), match=re.escape(message)):
        call(iris)
