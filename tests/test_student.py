"""Mixtures of Student-t laws, beside published numbers, SciPy's density, a slow twin, and what outliers must not do."""

import copy
import pickle
import warnings

import numpy as np
import pytest
from reference import log_sum_exp, moments
from scipy.stats import multivariate_t

import fastgmm
from fastgmm import GaussianMixture, StudentMixture, analysis, datasets, inference, io, plotting, reading
from fastgmm.exceptions import ConvergenceWarning, SpuriousComponentWarning
from fastgmm.families import FAMILIES
from fastgmm.passes.expectation import e_step
from fastgmm.rows import ArrayRows
from fastgmm.rules import StudentLikelihood, student_density
from fastgmm.sources.source import source_of
from fastgmm.starts.student import far_out
from fastgmm.statistics import SufficientStatistics

FAITHFUL = np.asarray(datasets.load_faithful().data, np.float64)
IRIS = datasets.load_iris()
LONG = (FAITHFUL[:, 1] <= 68.0).astype(np.int64)
EXACT = {"reg_covar": 0.0, "tol": 1e-13, "max_iter": 20_000}
# Operation of a plant for the oxidation of ammonia (Brownlee 1965), R's `stackloss`.
STACKLOSS = np.column_stack(
    [
        [80, 80, 75, 62, 62, 62, 62, 62, 58, 58, 58, 58, 58, 58, 50, 50, 50, 50, 50, 56, 70],
        [27, 27, 25, 24, 22, 23, 24, 24, 23, 18, 18, 17, 18, 19, 18, 18, 19, 19, 20, 20, 20],
        [89, 88, 90, 87, 87, 87, 93, 93, 87, 80, 89, 88, 82, 93, 89, 86, 72, 79, 80, 82, 91],
        [42, 37, 37, 28, 18, 18, 19, 20, 15, 14, 14, 13, 11, 12, 8, 7, 8, 8, 9, 15, 15],
    ]
).astype(np.float64)
STRUCTURES = "full", "tied", "diag", "spherical"
ALL = (*STRUCTURES, "tied-diag", "tied-spherical")


def total(model, X):
    return model.score(X) * len(X)


def law(rng, name, n_components=3, n_features=2):
    """Return a family, weights, means, scale matrices (K, D, D), whiteners and degrees of freedom that differ."""
    family = FAMILIES[name]
    means = rng.normal(size=(n_components, n_features)) * 2.0
    root = rng.normal(size=(n_components, n_features, n_features)) * 0.3 + np.eye(n_features)
    matrices = root @ np.swapaxes(root, 1, 2)
    structure = {"tied": matrices[0], "diag": np.diagonal(matrices, axis1=1, axis2=2)}.get(name, matrices)
    scales = np.trace(matrices, axis1=1, axis2=2) / n_features if name == "spherical" else structure
    normal, failed = family.density(np.ones(n_components), means, np.ascontiguousarray(scales))
    assert failed < 0
    weights = np.arange(1.0, n_components + 1.0)
    shapes = n_components, n_features
    dense = np.broadcast_to(family.matrices(scales, *shapes), (*shapes, n_features))
    return family, weights / weights.sum(), means, dense, normal.whitener, np.array([0.7, 4.0, 60.0])[:n_components]


def twin(X, weights, means, matrices, freedom):
    """Return log joint densities (N, K) by SciPy, and u (N, K) by its definition."""
    joint, u = np.empty((2, len(X), len(weights)))
    for k in range(len(weights)):
        joint[:, k] = np.log(weights[k]) + multivariate_t(means[k], matrices[k], freedom[k]).logpdf(X)
        gap = X - means[k]
        distance = np.einsum("nd,nd->n", gap, np.linalg.solve(matrices[k], gap.T).T)
        u[:, k] = (freedom[k] + X.shape[1]) / (freedom[k] + distance)
    return joint, u


@pytest.fixture(scope="module")
def eruptions():
    return StudentMixture(2, random_state=0).fit(FAITHFUL)


def test_published_numbers_of_fixed_degrees_of_freedom():
    model = StudentMixture(2, degrees_of_freedom=5, init_params=1 - LONG, **EXACT).fit(FAITHFUL)
    assert total(model, FAITHFUL) == pytest.approx(-1137.169985605, abs=1e-8)
    order = np.argsort(model.means_[:, 0])
    np.testing.assert_allclose(model.weights_[order], [0.35244524, 0.64755476], atol=1e-8)
    np.testing.assert_allclose(model.means_[order[0]], [1.9937135, 54.03993354], rtol=1e-7)
    assert model.scales_[order[0], 0, 0] == pytest.approx(0.043555699, rel=1e-6)
    assert model.degrees_of_freedom_.tolist() == [5.0, 5.0]
    iris = StudentMixture(3, degrees_of_freedom=5, init_params=IRIS.target, **EXACT).fit(IRIS.data)
    assert total(iris, IRIS.data) == pytest.approx(-187.595588432, abs=1e-7)
    np.testing.assert_allclose(iris.weights_, [0.33332826, 0.30115483, 0.36551691], atol=1e-7)


def test_published_numbers_of_one_component():
    model = StudentMixture(degrees_of_freedom=5.0, **EXACT).fit(STACKLOSS)
    np.testing.assert_allclose(model.means_[0], [58.95182763, 20.78823357, 86.05285069, 16.06974375], rtol=1e-7)
    assert model.scales_[0, 0, 0] == pytest.approx(60.183004, rel=1e-6)
    assert total(model, STACKLOSS) == pytest.approx(-235.366082520, abs=1e-8)


@pytest.mark.parametrize("accelerate", ["anderson", "squarem"])
def test_published_numbers_of_common_degrees_of_freedom(accelerate):
    params = EXACT | {"accelerate": accelerate}
    model = StudentMixture(2, init_params=LONG, **params).fit(FAITHFUL)
    assert total(model, FAITHFUL) == pytest.approx(-1130.17891847, abs=1e-7)
    np.testing.assert_allclose(model.degrees_of_freedom_, 59.7485, rtol=1e-3)
    assert model.degrees_of_freedom_[0] == model.degrees_of_freedom_[1]
    iris = StudentMixture(3, init_params=IRIS.target, **params).fit(IRIS.data)
    assert total(iris, IRIS.data) == pytest.approx(-179.96280859, abs=1e-7)
    np.testing.assert_allclose(iris.degrees_of_freedom_, 45.9433, rtol=1e-3)


def test_published_numbers_of_degrees_of_freedom_of_their_own():
    """The second component has no heavier tails than a normal law, so that it is at the end of what is looked at."""
    model = StudentMixture(2, degrees_of_freedom="each", init_params=1 - LONG, **EXACT).fit(FAITHFUL)
    freedom = model.degrees_of_freedom_[np.argsort(model.means_[:, 0])]
    assert freedom[0] == pytest.approx(19.16, abs=0.05)
    assert freedom[1] == 1000.0
    assert total(model, FAITHFUL) == pytest.approx(-1129.9395, abs=5e-3)


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_statistics_are_those_of_the_definition(name, dtype):
    """Against a twin, row by row, with degrees of freedom that differ, far rows, and weights that may be 0."""
    rng = np.random.default_rng(1)
    family, weights, means, matrices, whitener, freedom = law(rng, name)
    X = (rng.standard_t(1.5, size=(60, 2)) * 2.0).astype(dtype)
    X[7] = 1e5, -1e4
    weight = rng.integers(0, 3, len(X)).astype(np.float64)
    density = student_density(family, weights, means, whitener, freedom)
    found = e_step(family, density, X, weight, n_threads=1)
    joint, u = twin(X.astype(np.float64), weights, means, matrices, freedom)
    evidence = log_sum_exp(joint)
    r = np.exp(joint - evidence[:, None])
    expected = moments(family, X, weight, r * u, means)
    for value, true in zip((found.mass, found.deviation, found.scatter), expected, strict=True):
        np.testing.assert_allclose(value, true, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(found.counts, weight @ r, rtol=1e-11)
    np.testing.assert_allclose(found.log_mass, weight @ (r * np.log(u)), rtol=1e-10)
    assert found.log_evidence == pytest.approx(weight @ evidence, rel=1e-12)
    assert found.weight == weight.sum()


def test_statistics_add_up_and_scale():
    family, weights, means, _, whitener, freedom = law(np.random.default_rng(2), "full")
    density = student_density(family, weights, means, whitener, freedom)
    whole = e_step(family, density, FAITHFUL)
    halves = e_step(family, density, FAITHFUL[:100]) + e_step(family, density, FAITHFUL[100:])
    for one, other in zip((2.0 * whole)._sums, (2.0 * halves)._sums, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)
    np.testing.assert_allclose((2.0 * whole).counts, 2.0 * whole.counts)
    with pytest.raises(TypeError):
        whole + e_step(family, family.density_of_whitener(weights, means, whitener), FAITHFUL)


@pytest.mark.parametrize("name", ALL)
def test_scores_are_those_of_scipy(name):
    model = StudentMixture(2, covariance_type=name, degrees_of_freedom="each", random_state=0).fit(FAITHFUL)
    family = FAMILIES[name]
    scales = family.of_attribute(model.scales_, 2)
    matrices = np.broadcast_to(family.matrices(scales, 2, 2), (2, 2, 2))
    X = np.vstack([FAITHFUL[:50], [[1e6, 0.0]]])
    joint, u = twin(X, model.weights_, model.means_, matrices, model.degrees_of_freedom_)
    evidence = log_sum_exp(joint)
    r = np.exp(joint - evidence[:, None])
    np.testing.assert_allclose(model.score_samples(X), evidence, rtol=1e-10)
    np.testing.assert_allclose(model.predict_proba(X), r, atol=1e-10)
    np.testing.assert_allclose(model.log_densities(X), joint - np.log(model.weights_), rtol=1e-10)
    np.testing.assert_array_equal(model.predict(X), joint.argmax(axis=1))
    np.testing.assert_allclose(model.typicality(X), (r * u).sum(axis=1), rtol=1e-8)
    np.testing.assert_allclose(model.uncertainty(X), 1.0 - r.max(axis=1), atol=1e-10)
    assert model.typicality(X)[-1] < 1e-6
    assert model.score(X) == pytest.approx(evidence.mean(), rel=1e-12)
    if model.degrees_of_freedom_.min() > 2.0:
        factor = model.degrees_of_freedom_ / (model.degrees_of_freedom_ - 2.0)
        expected = factor[:, None, None] * matrices
        found = model.covariances() if name == "tied" else family.matrices(model.covariances(), 2, 2)
        np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("freedom", [3.0, "common", "each"])
def test_the_bound_never_falls(name, freedom):
    """Without extrapolation, which alone would refuse a step that lowers it; on rows with and without outliers."""
    X = np.vstack([FAITHFUL, [[40.0, 5.0], [-30.0, 300.0], [5.0, 1e4]]])
    model = StudentMixture(2, covariance_type=name, degrees_of_freedom=freedom, random_state=0)
    model.set_params(reg_covar=0.0, accelerate=None, tol=1e-9, max_iter=150)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X)
    assert len(model.lower_bounds_) > 5
    assert np.diff(model.lower_bounds_).min() > -1e-12
    assert model.lower_bound_ == pytest.approx(model.score(X), rel=1e-12)


def test_an_update_has_no_gradient_left_where_it_ends():
    """At the end of a fit, the likelihood is at a maximum in locations, scales and degrees of freedom."""
    X = np.random.default_rng(0).standard_t(4.0, size=(300, 2)) + 5.0
    model = StudentMixture(1, **EXACT).fit(X)
    best = total(model, X)
    for change in (1.001, 0.999):
        for name in ("means_", "scales_", "degrees_of_freedom_"):
            other = copy.copy(model)
            setattr(other, name, getattr(model, name) * change)
            assert total(other, X) < best


@pytest.mark.parametrize("far", [1e4, 1e8])
@pytest.mark.parametrize("freedom", [5.0, "common"])
def test_gross_errors_take_no_component_and_pull_no_mean(far, freedom):
    rng = np.random.default_rng(0)
    X = np.vstack([FAITHFUL, rng.uniform(-far, far, (14, 2)), [[far, far]]])
    model = StudentMixture(2, degrees_of_freedom=freedom, random_state=0).fit(X)
    means = model.means_[np.argsort(model.means_[:, 0])]
    np.testing.assert_allclose(means, [[1.99, 54.0], [4.32, 80.1]], rtol=0.04)
    assert model.typicality(X)[-1] < 1e-3
    plain = GaussianMixture(2, random_state=0).fit(X)
    assert np.abs(plain.means_).max() > 100.0


def test_rows_that_are_far_out():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 2))
    assert not far_out(X, np.ones(300)).any()
    X[[3, 7]] = [1e6, 0.0], [0.0, -50.0]
    assert np.flatnonzero(far_out(X, np.ones(300))).tolist() == [3, 7]
    # A third of the rows are no errors, and rows of one value are not far from each other.
    X[:100] = rng.normal(size=(100, 2)) * 1e4
    assert not far_out(X, np.ones(300)).any()
    assert not far_out(np.ones((30, 2)), np.ones(30)).any()
    assert not far_out(X[:2], np.ones(2)).any()


def test_many_rows_start_on_some_of_them():
    rng = np.random.default_rng(0)
    X = np.vstack([rng.normal(size=(3000, 2)), rng.normal(size=(3000, 2)) + 20.0, rng.normal(size=(20, 2)) * 1e6])
    model = StudentMixture(2, random_state=0).fit(X)
    np.testing.assert_allclose(np.sort(model.means_[:, 0]), [0.0, 20.0], atol=0.1)


@pytest.mark.parametrize(("n_features", "n_rows", "share"), [(10, 5000, 0.05), (2, 2000, 0.3)])
def test_errors_between_the_groups_do_not_keep_a_fit_from_them(n_features, n_rows, share):
    """Uniform ones are no farther from their neighbours than some good rows; the default start finds the groups."""
    rng = np.random.default_rng(1)
    n_components = 5 if n_features == 10 else 3
    means = rng.uniform(-10.0, 10.0, (n_components, n_features))
    n_good = int(n_rows * (1.0 - share))
    good = means[rng.integers(0, n_components, n_good)] + rng.normal(0.0, 0.7, (n_good, n_features))
    X = np.vstack([good, rng.uniform(-13.0, 13.0, (n_rows - n_good, n_features))])[rng.permutation(n_rows)]
    one, two = (StudentMixture(n_components, random_state=0, n_threads=n).fit(X) for n in (1, 2))
    informed = StudentMixture(n_components, means_init=means).fit(X)
    assert one.lower_bound_ > informed.lower_bound_ - 1e-3
    assert one.degrees_of_freedom_[0] < 10.0
    np.testing.assert_array_equal(one.means_, two.means_)


def test_weights_are_copies():
    weight = np.arange(len(FAITHFUL)) % 3
    params = {"random_state": 0, "init_params": LONG, **EXACT}
    weighted = StudentMixture(2, **params).fit(FAITHFUL, sample_weight=weight.astype(float))
    params["init_params"] = np.repeat(LONG, weight)
    copies = StudentMixture(2, **params).fit(np.repeat(FAITHFUL, weight, axis=0))
    for name in ("weights_", "means_", "scales_"):
        np.testing.assert_allclose(getattr(weighted, name), getattr(copies, name), rtol=1e-5)
    assert weighted.lower_bound_ == pytest.approx(copies.lower_bound_, rel=1e-9)
    tiny = StudentMixture(2, random_state=0).fit(FAITHFUL, sample_weight=np.full(272, 1e-300))
    assert tiny.lower_bound_ == pytest.approx(StudentMixture(2, random_state=0).fit(FAITHFUL).lower_bound_, rel=1e-9)


@pytest.mark.parametrize("scale", [1e-150, 1.0, 1e150])
def test_scale_and_offset_change_nothing_else(scale, eruptions):
    X = FAITHFUL * scale if scale != 1.0 else FAITHFUL + 1e8
    model = StudentMixture(2, random_state=0, reg_covar=0.0).fit(X)
    expected = eruptions.means_ * scale if scale != 1.0 else eruptions.means_ + 1e8
    np.testing.assert_allclose(model.means_, expected, rtol=1e-4)
    np.testing.assert_allclose(model.degrees_of_freedom_, eruptions.degrees_of_freedom_, rtol=0.05)
    assert np.isfinite(model.lower_bound_)


def test_float32_rows_and_one_column():
    single = StudentMixture(2, random_state=0).fit(FAITHFUL.astype(np.float32))
    double = StudentMixture(2, random_state=0).fit(FAITHFUL.astype(np.float32).astype(np.float64))
    np.testing.assert_array_equal(single.means_, double.means_)
    assert single.means_.dtype == np.float64
    assert single.score_samples(FAITHFUL.astype(np.float32)).dtype == np.float32
    column = FAITHFUL[:, :1]
    fits = [StudentMixture(2, covariance_type=name, degrees_of_freedom=7.0, **EXACT) for name in STRUCTURES]
    bounds = [model.set_params(init_params=LONG).fit(column).lower_bound_ for model in fits]
    np.testing.assert_allclose(bounds[2:], bounds[0], rtol=1e-10)


def test_results_have_the_same_bits_on_any_number_of_threads():
    X = np.random.default_rng(0).standard_t(3.0, size=(20_000, 2))
    one, two = (StudentMixture(2, random_state=0, n_threads=n, max_iter=20, tol=1e9).fit(X) for n in (1, 2))
    assert one.lower_bound_ == two.lower_bound_
    for name in ("weights_", "means_", "scales_", "degrees_of_freedom_"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


@pytest.mark.parametrize("name", STRUCTURES)
def test_many_degrees_of_freedom_are_a_gaussian_mixture(name):
    params = {"covariance_type": name, "init_params": LONG, "reg_covar": 0.0, "tol": 1e-11, "max_iter": 5000}
    student = StudentMixture(2, degrees_of_freedom=1e7, **params).fit(FAITHFUL)
    normal = GaussianMixture(2, **params).fit(FAITHFUL)
    assert student.lower_bound_ == pytest.approx(normal.lower_bound_, abs=1e-6)
    np.testing.assert_allclose(student.means_, normal.means_, rtol=1e-4)
    np.testing.assert_allclose(student.scales_, normal.covariances_, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("freedom", ["common", "each", 3.0])
def test_rows_count_one_on_average_by_degrees_of_freedom(name, freedom):
    """Where components share a scale and have tails of their own, only the mean by degrees of freedom is 1."""
    start = {"init_params": LONG, "random_state": 0}
    model = StudentMixture(2, covariance_type=name, degrees_of_freedom=freedom, tol=1e-10, **start).fit(FAITHFUL)
    typical = model.typicality(FAITHFUL).mean()
    if name.startswith("tied") and freedom == "each":
        assert abs(typical - 1.0) > 1e-4
        shares = model.predict_proba(FAITHFUL)
        nu, u = model.degrees_of_freedom_, _expected_u(model)
        assert (shares * u @ nu).mean() == pytest.approx((shares @ nu).mean(), rel=1e-4)
    else:
        assert typical == pytest.approx(1.0, abs=1e-4)


def _expected_u(model):
    """Return u (N, K) of its rows, by its definition."""
    scales = [model.scales_] * 2
    if model.covariance_type != "tied":
        scales = [np.diag(np.broadcast_to(model.scales_, 2))] * 2
    return twin(FAITHFUL, model.weights_, model.means_, scales, model.degrees_of_freedom_)[1]


def test_samples_are_draws_of_the_law():
    """Their squared distances over D have an F law (D, nu)."""
    from scipy.stats import f, kstest

    model = StudentMixture(2, degrees_of_freedom=3.0, random_state=0).fit(FAITHFUL)
    X, labels = model.sample(4000, random_state=1)
    assert np.bincount(labels).tolist() == pytest.approx((4000 * model.weights_).tolist(), rel=0.1)
    for k in range(2):
        gap = X[labels == k] - model.means_[k]
        distance = np.einsum("nd,nd->n", gap, np.linalg.solve(model.scales_[k], gap.T).T)
        assert kstest(distance / 2.0, f(2, 3.0).cdf).pvalue > 0.01
    np.testing.assert_array_equal(model.sample(5)[0], model.sample(5)[0])


@pytest.mark.parametrize(("freedom", "more"), [("common", 1), ("each", 2), (4.0, 0)])
def test_criteria_count_degrees_of_freedom(freedom, more):
    model = StudentMixture(2, degrees_of_freedom=freedom, random_state=0).fit(FAITHFUL)
    n_parameters = 11 + more
    assert model.aic(FAITHFUL) == pytest.approx(-2.0 * total(model, FAITHFUL) + 2.0 * n_parameters)
    assert model.bic(FAITHFUL) == pytest.approx(-2.0 * total(model, FAITHFUL) + np.log(272) * n_parameters)
    best = np.log(model.predict_proba(FAITHFUL).max(axis=1)).sum()
    assert model.icl(FAITHFUL) == pytest.approx(model.bic(FAITHFUL) - 2.0 * best)


def test_criteria_count_what_was_fitted(eruptions):
    model = copy.deepcopy(eruptions)
    before = model.bic(FAITHFUL)
    for freedom in (5.0, "each"):
        assert model.set_params(degrees_of_freedom=freedom).bic(FAITHFUL) == before
        assert pickle.loads(pickle.dumps(model)).bic(FAITHFUL) == before
    assert model.fit(FAITHFUL).bic(FAITHFUL) == StudentMixture(2, degrees_of_freedom="each", random_state=0).fit(
        FAITHFUL
    ).bic(FAITHFUL)


@pytest.mark.parametrize("n_components", [1, 2])
@pytest.mark.parametrize("n_same", [310, 500])
def test_components_on_a_repeated_value_are_told_of(n_components, n_same):
    values = np.append(np.full(n_same, 7.0), 5.0 + np.random.default_rng(0).standard_normal(600 - n_same))[:, None]
    told = rf"component . sits on one repeated value, x1 = 7(\.0000\d)? \({n_same / 600:.0%} of the rows\).* Try "
    told += "a larger" if n_components == 1 else "fewer components"
    with pytest.warns(SpuriousComponentWarning, match=told):
        model = StudentMixture(n_components, random_state=0).fit(values)
    assert len(model.spurious_) == 1


def test_one_component_on_a_value_without_anything_added():
    values = np.append(np.zeros(500), np.random.default_rng(0).standard_normal(100))[:, None]
    with pytest.warns((SpuriousComponentWarning, ConvergenceWarning)) as told:
        StudentMixture(reg_covar=0.0).fit(values)
    assert "sits on one repeated value, x1 = 0 (83% of the rows)" in str(told[0].message)
    # Values of real spread, and rounded ones, are none.
    assert StudentMixture().fit(np.round(FAITHFUL, 1)).spurious_ == []


def test_a_notebook_shows_it(eruptions):
    page = eruptions._repr_html_()
    assert "<th>degrees of freedom</th>" in page
    assert "location (square root of the scale)" in page
    assert f"{eruptions.means_[0, 1]:.5g} ({np.sqrt(eruptions.scales_[0, 1, 1]):.4g})" in page
    assert "Not fitted" in StudentMixture()._repr_html_()


def test_starts_and_races():
    model = StudentMixture(3, n_init=4, race=True, random_state=0, weights_init=[0.2, 0.3, 0.5]).fit(IRIS.data)
    assert len(model.restarts_) == 4
    assert model.lower_bound_ == max(each.bound for each in model.restarts_ if each.outcome == "converged")
    for method in ("k-means++", "random", "short-em", "agglomerative", "kmeans-whitened"):
        assert StudentMixture(2, init_params=method, random_state=0).fit(FAITHFUL).lower_bound_ > -4.3
    given = StudentMixture(2, means_init=[[4.3, 80.0], [2.0, 54.0]], max_iter=0).fit(FAITHFUL)
    np.testing.assert_array_equal(given.means_, [[4.3, 80.0], [2.0, 54.0]])
    heard = []
    StudentMixture(1, random_state=0).fit(FAITHFUL, callback=lambda *told: heard.append(told))
    assert [told[1] for told in heard] == list(range(1, len(heard) + 1))


def test_one_value_at_both_ends():
    """Data with tails of Cauchy's and none: degrees of freedom stay within their bounds."""
    rng = np.random.default_rng(0)
    wild = np.exp(np.abs(rng.standard_cauchy(400)) ** 0.5 * 3.0)[:, None] * rng.choice([-1.0, 1.0], (400, 1))
    assert StudentMixture().fit(wild).degrees_of_freedom_[0] == 0.5
    assert StudentMixture(tol=1e-12, max_iter=3000).fit(rng.uniform(size=(500, 1))).degrees_of_freedom_[0] == 1000.0
    with pytest.raises(ValueError, match=r"component 0 has no covariance, with 0.5 degrees"):
        StudentMixture().fit(wild).covariances()


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"degrees_of_freedom": "own"}, "degrees_of_freedom must be 'common', 'each' or a float"),
        ({"degrees_of_freedom": 0.0}, "degrees_of_freedom"),
        ({"degrees_of_freedom": np.nan}, "degrees_of_freedom"),
        ({"degrees_of_freedom": True}, "degrees_of_freedom"),
        ({"covariance_type": "VEI"}, "covariance_type must be one of 'full'"),
        ({"covariance_type": "round"}, "covariance_type"),
        ({"n_components": 0}, "n_components"),
        ({"accelerate": "faster"}, "accelerate"),
        ({"stopping": "soon"}, "stopping"),
        ({"init_params": "best"}, "init_params"),
        ({"weights_init": [0.5, 0.6], "n_components": 2}, "weights"),
        ({"means_init": [[0.0]]}, "means"),
    ],
)
def test_bad_parameters_are_refused_and_change_nothing(params, told, eruptions):
    model = copy.copy(eruptions)
    before = dict(vars(model))
    with pytest.raises(ValueError, match=told):
        model.set_params(**params).fit(FAITHFUL)
    assert {name: value for name, value in vars(model).items() if name.endswith("_")} == {
        name: value for name, value in before.items() if name.endswith("_")
    }


@pytest.mark.parametrize(
    "name",
    [
        *("noise", "frozen", "equal_weights", "truncate", "checkpoint", "warm_start", "precisions_init"),
        *("class_components", "learning_decay", "weight_concentration_prior"),
    ],
)
def test_parameters_that_it_does_not_have(name):
    with pytest.raises(TypeError, match=name):
        StudentMixture(**{name: None})
    with pytest.raises(ValueError, match=name):
        StudentMixture().set_params(**{name: None})


def test_rows_that_it_does_not_take(eruptions):
    class Elsewhere(ArrayRows):
        def gather(self, task, combine):
            return task(self)

    for method in ("fit", "predict", "score", "typicality"):
        with pytest.raises(ValueError, match="does not work on a cluster"):
            getattr(copy.copy(eruptions), method)(Elsewhere(FAITHFUL))
    holes = FAITHFUL.copy()
    holes[3, 1] = np.nan
    # With a remedy that it has: there is no missing="marginal".
    with pytest.raises(ValueError, match=r"NaN \(row 3, column 1\).*: drop or impute the others\.$"):
        StudentMixture().fit(holes)
    with pytest.raises(TypeError, match="labels"):
        StudentMixture().fit(FAITHFUL, labels=LONG)
    with pytest.raises(ValueError, match="features"):
        eruptions.predict(FAITHFUL[:, :1])
    with pytest.raises(ValueError, match="row 0 of X lies so far"):
        eruptions.predict(np.full((1, 2), 1e300))
    with pytest.raises(ValueError, match="overflow"):
        StudentMixture(init_params=np.zeros(3, int)).fit([[0.0], [1.0], [1e300]])
    with pytest.raises(ValueError, match="not fitted"):
        StudentMixture().sample()


def test_files(tmp_path, eruptions):
    np.save(tmp_path / "rows.npy", FAITHFUL)
    model = StudentMixture(2, random_state=0).fit(tmp_path / "rows.npy")
    assert model.lower_bound_ == eruptions.lower_bound_
    np.testing.assert_array_equal(model.typicality(tmp_path / "rows.npy"), eruptions.typicality(FAITHFUL))


def test_names_of_columns(eruptions):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(FAITHFUL, columns=["eruptions", "waiting"])
    model = StudentMixture(2, random_state=0).fit(frame.assign(w=1.0), sample_weight="w")
    assert model.feature_names_in_.tolist() == ["eruptions", "waiting"]
    assert model.lower_bound_ == pytest.approx(eruptions.lower_bound_)
    with pytest.raises(ValueError, match="order"):
        model.predict(frame[["waiting", "eruptions"]])


# Every public method and attribute of the class: what is tested above or below, and what is refused.
WORKS = {
    *("fit", "fit_predict", "predict", "predict_proba", "uncertainty", "score", "score_samples", "log_densities"),
    *("sample", "aic", "bic", "icl", "typicality", "covariances"),
    *("get_params", "set_params", "set_fit_request", "set_score_request", "get_metadata_routing"),
}
REFUSED = {
    *("adapt", "partial_fit", "statistics", "update", "to_sklearn", "from_sklearn", "marginal", "condition", "moments"),
    *("cdf", "quantile", "density_threshold", "summary", "covariances_", "precisions_", "precisions_cholesky_"),
}


def test_every_public_method_works_or_is_refused(eruptions):
    constants = {*StudentMixture._mixture_defaults, "truncate", "warm_start", "checkpoint", "checkpoint_interval"}
    constants |= {"class_components", "learning_decay", "learning_offset", "missing"}
    public = {name for name in dir(StudentMixture) if not name.startswith("_")}
    assert public - constants == WORKS | REFUSED
    # Whatever a Gaussian mixture has is among them, or is none of this one's.
    for name in {each for each in dir(GaussianMixture) if not each.startswith("_")} - WORKS - constants:
        assert not hasattr(eruptions, name)
    for name in REFUSED:
        with pytest.raises(AttributeError, match=f"StudentMixture has no '{name}': .{{10}}"):
            getattr(eruptions, name)


def test_no_function_takes_it_for_a_gaussian_mixture(eruptions, tmp_path):
    X = FAITHFUL
    calls = [
        lambda: eruptions._whitener(eruptions._family()),
        lambda: eruptions._covariances(),
        lambda: reading.overlap(eruptions),
        lambda: reading.bhattacharyya(eruptions),
        lambda: reading.goodness_of_fit(eruptions, X[:, :1]),
        lambda: analysis.modes(eruptions),
        lambda: analysis.wasserstein_distance(eruptions, eruptions),
        lambda: analysis.reduce_components(eruptions, 1),
        lambda: inference.standard_errors(eruptions, X),
        lambda: inference.likelihood_bootstrap(eruptions, X),
        lambda: plotting.plot_mixture(eruptions, X),
        lambda: plotting.plot_pairs(eruptions, X),
        lambda: io.save_model(eruptions, tmp_path / "model.npz"),
        lambda: fastgmm.fit_many(StudentMixture(2), [X, X]),
        lambda: fastgmm.GaussianMixtureClassifier(estimator=StudentMixture(2)).fit(X, LONG),
        lambda: fastgmm.GaussianMixtureRegressor(estimator=StudentMixture(2)).fit(X[:, :1], X[:, 1]),
    ]
    for call in calls:
        with pytest.raises((TypeError, ValueError, AttributeError), match=r"StudentMixture|GaussianMixture"):
            call()


def test_plain_statistics_begin_with_moderate_tails():
    rule = StudentLikelihood(FAMILIES["full"], 0.0, "each")
    statistics = source_of(FAMILIES["full"], ArrayRows(FAITHFUL)).total()
    assert isinstance(statistics, SufficientStatistics)
    state = rule.update(statistics)
    assert state.degrees_of_freedom.tolist() == [10.0]
    np.testing.assert_allclose(state.means[0], FAITHFUL.mean(axis=0))


def test_copies_and_scikit_learn(eruptions):
    again = pickle.loads(pickle.dumps(eruptions))
    np.testing.assert_array_equal(again.score_samples(FAITHFUL), eruptions.score_samples(FAITHFUL))
    assert repr(again) == "StudentMixture(n_components=2, random_state=0)"
    base = pytest.importorskip("sklearn.base")
    clone = base.clone(eruptions)
    assert not hasattr(clone, "means_")
    np.testing.assert_array_equal(clone.fit_predict(FAITHFUL), eruptions.predict(FAITHFUL))


@pytest.mark.filterwarnings("ignore")
def test_check_estimator():
    checks = pytest.importorskip("sklearn.utils.estimator_checks")
    results = checks.check_estimator(StudentMixture(degrees_of_freedom=5.0), on_fail=None)
    failed = {result["check_name"]: result["exception"] for result in results if result["status"] == "failed"}
    assert not failed
    assert sum(result["status"] == "passed" for result in results) > 40


def test_attributes_set_by_hand_are_looked_at(eruptions):
    model = copy.copy(eruptions)
    model.degrees_of_freedom_ = np.array([1.0, -1.0])
    with pytest.raises(ValueError, match="degrees_of_freedom_ should be 2 finite numbers above 0"):
        model.predict(FAITHFUL)
    model = copy.copy(eruptions)
    model.scales_ = model.scales_[0]
    with pytest.raises(ValueError, match="scales_ should have the shape"):
        model.score(FAITHFUL)
    model.scales_ = -eruptions.scales_
    with pytest.raises(ValueError, match="component"):
        model.score(FAITHFUL)


def test_doc_examples():
    import doctest

    from fastgmm.estimators import student

    assert doctest.testmod(student).attempted > 0
    assert doctest.testmod(student).failed == 0
