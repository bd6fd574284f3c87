"""Reading a fit: summaries, uncertainty, entropy, overlap, goodness of fit, beside integrals and twins."""

import pickle
import sys

import numpy as np
import pytest
from conftest import dense
from scipy import integrate, stats

from fastgmm import BayesianGaussianMixture, GaussianMixture, GaussianMixtureIC
from fastgmm.datasets import load_acidity, load_faithful, load_galaxies, load_iris
from fastgmm.exceptions import ConvergenceWarning, NotFittedError
from fastgmm.reading import bhattacharyya, entropy, goodness_of_fit, overlap
from fastgmm.selection import merge_components
from fastgmm.sources import BatchRows

FAITHFUL, IRIS = load_faithful().data, load_iris().data


@pytest.fixture(scope="module")
def faithful():
    return GaussianMixture(2, random_state=0).fit(FAITHFUL)


# --- summaries ---------------------------------------------------------------------------------------------------


def read(text):
    """Return the pairs of a summary's text as a dict, and its table as rows of cells."""
    head, table, *_ = text.split("\n\n")
    pairs = dict(line.split("  ", 1) for line in head.splitlines())
    return {name: value.strip() for name, value in pairs.items()}, [line.split("  ") for line in table.splitlines()]


def test_a_summary_says_what_the_fit_knows(faithful):
    found = faithful.summary()
    pairs, table = read(str(found))
    assert pairs == {
        "model": "2 components, full covariance, 11 free parameters",
        "fit": f"converged after {faithful.n_iter_} iterations, with a lower bound of {faithful.lower_bound_:.6g}",
    }
    assert found.values == {
        "n_iter": faithful.n_iter_,
        "lower_bound": faithful.lower_bound_,
        "n_parameters": 11,
    }
    assert [cell.strip() for cell in table[0] if cell] == ["component", "weight", "x1", "x2"]
    for k, row in enumerate(table[1:]):
        cells = [cell.strip() for cell in row if cell.strip()]
        deviations = np.sqrt(np.diag(faithful.covariances_[k]))
        shown = [f"{m:.5g} ({s:.4g})" for m, s in zip(faithful.means_[k], deviations, strict=True)]
        assert cells == [str(k), f"{faithful.weights_[k]:.4f}", *shown]
    assert repr(found) == str(found)
    assert str(pickle.loads(pickle.dumps(found))) == str(found)
    assert str(found).endswith("in each cell: mean (standard deviation)")


@pytest.mark.parametrize("weighted", [False, True])
def test_a_summary_of_rows_has_the_criteria(faithful, weighted):
    weight = np.arange(272) % 3 + 0.5 if weighted else None
    found = faithful.summary(FAITHFUL, weight)
    total = 272.0 if weight is None else weight.sum()
    expected = {
        "n_samples": 272,
        "weight": total,
        "log_likelihood": faithful.score(FAITHFUL, sample_weight=weight) * total,
        **{name: getattr(faithful, name)(FAITHFUL, sample_weight=weight) for name in ("aic", "bic", "icl")},
    }
    assert {name: found.values[name] for name in expected} == pytest.approx(expected, rel=1e-12)
    pairs, _ = read(str(found))
    assert pairs["rows"] == ("272 rows of weight 407" if weighted else "272 rows")
    value = expected["log_likelihood"]
    assert pairs["log-likelihood"] == f"{value:.4f} ({value / total:.6g} per row)"
    assert [pairs[name] for name in ("AIC", "BIC", "ICL")] == [
        f"{expected[name]:.4f}" for name in ("aic", "bic", "icl")
    ]


def test_a_summary_of_variational_bayes_shows_the_effective_components():
    model = BayesianGaussianMixture(6, weight_concentration_prior=1e-3, max_iter=1000, random_state=0).fit(FAITHFUL)
    assert 2 <= model.n_effective_components_ < 6
    found = model.summary(FAITHFUL)
    assert set(found.values) == {"n_iter", "lower_bound", "n_samples", "weight", "log_likelihood", "evidence"}
    assert found.values["evidence"] == pytest.approx(model.lower_bound_, rel=1e-9)
    student = model.score(FAITHFUL, predictive="student-t") * 272
    assert found.values["log_likelihood"] == pytest.approx(student, rel=1e-12)
    np.testing.assert_array_equal(found.components, np.flatnonzero(model.component_mass_ >= 1))
    np.testing.assert_array_equal(found.weights, model.weights_[found.components])
    assert "Student-t log-likelihood" in str(found)
    more = 6 - len(found.components)
    assert str(found).endswith(f"not shown: {more} more component{'s' * (more > 1)} of less than one row")


def test_summaries_are_tables_for_others():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(FAITHFUL, columns=["eruption", "waiting"])
    model = GaussianMixture(2, covariance_type="tied", random_state=0).fit(frame)
    table = model.summary(frame).to_frame()
    assert table.columns.tolist() == ["weight", *(f"{a} {b}" for b in frame for a in ("mean", "deviation"))]
    assert table.index.tolist() == [0, 1]
    np.testing.assert_array_equal(table["mean waiting"], model.means_[:, 1])
    np.testing.assert_array_equal(table["deviation eruption"], np.sqrt(model.covariances_[0, 0]))
    again = pandas.DataFrame(model.summary().to_dict()).set_index("component")
    pandas.testing.assert_frame_equal(again, table)


def test_names_that_repeat_are_numbered(rng):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(rng.normal(size=(50, 4)), columns=["a", "a", "a 2", "a"])
    model = GaussianMixture(1).fit(frame)
    table = model.summary().to_frame()
    assert [name for name in table.columns if name.startswith("mean")] == ["mean a", "mean a 3", "mean a 2", "mean a 4"]
    np.testing.assert_array_equal(table.filter(like="mean").to_numpy(), model.means_)


def test_a_frame_without_pandas(faithful, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r'a data frame of a summary needs pandas: pip install "fastgmm\[pandas\]"'):
        faithful.summary().to_frame()


def test_other_summaries():
    given = GaussianMixture.from_parameters([1.0], [[1.0]], [[[4.0]]])
    found = given.summary()
    assert read(str(found))[0] == {
        "model": "1 component, full covariance, 2 free parameters",
        "fit": "parameters were given",
    }
    assert found.values == {"n_parameters": 2}
    with pytest.raises(NotFittedError):
        GaussianMixture().summary()
    with pytest.raises(ValueError, match=r"sample_weight must be None without X, got \[1\.0\]"):
        given.summary(sample_weight=[1.0])
    wide = GaussianMixture.from_parameters([1.0], np.zeros((1, 45)), np.ones((1, 45)), "diag").summary()
    assert str(wide).endswith("not shown: 5 more features")
    assert max(map(len, str(wide).splitlines())) <= 100
    assert "x40" in str(wide)
    assert "x41" not in str(wide)
    assert wide.means.shape == (1, 45)


def test_a_summary_names_spurious_components():
    rows = np.concatenate([np.random.default_rng(0).normal(size=(60, 1)), np.full((20, 1), 5.0)])
    model = GaussianMixture(2, random_state=0, n_init=3)
    with pytest.warns(UserWarning, match="component"):
        model.fit(rows)
    (found,) = model.spurious_
    assert model.summary().spurious == [f"component {found.component} {found.reason}"]
    assert f"spurious          component {found.component} " in str(model.summary())


# --- uncertainty and entropy -------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", [GaussianMixture, BayesianGaussianMixture])
def test_uncertainty_and_entropy_are_of_the_probabilities(estimator):
    model = estimator(3, random_state=0, max_iter=500).fit(IRIS)
    shares = model.predict_proba(IRIS)
    np.testing.assert_allclose(model.uncertainty(IRIS), 1 - shares.max(axis=1), atol=1e-14)
    expected = stats.entropy(shares, axis=1)
    np.testing.assert_allclose(entropy(model, IRIS), expected, rtol=1e-10, atol=1e-14)
    assert entropy(model, IRIS).sum() == pytest.approx(merge_components(model, IRIS).entropies[-1], rel=1e-12)
    batches = BatchRows(np.array_split(IRIS, 7))
    np.testing.assert_array_equal(model.uncertainty(batches), model.uncertainty(IRIS))
    np.testing.assert_array_equal(entropy(model, batches), entropy(model, IRIS))


def test_small_uncertainties_keep_their_digits():
    model = GaussianMixture.from_parameters([0.5, 0.5], [[0.0], [10.0]], [1.0, 1.0], "spherical")
    x = np.array([[0.0], [-5.0], [5.0], [10.5]])
    log_odds = 10.0 * x[:, 0] - 50.0
    expected = 1 / (1 + np.exp(abs(log_odds)))
    np.testing.assert_allclose(model.uncertainty(x), expected, rtol=1e-9)
    assert model.uncertainty(x.astype(np.float32)).dtype == np.float32
    assert GaussianMixture.from_parameters([1.0], [[0.0]], [1.0], "spherical").uncertainty(x).tolist() == [0.0] * 4


def test_uncertainty_of_a_selection():
    selection = GaussianMixtureIC(1, 2, covariance_type="tied", random_state=0).fit(FAITHFUL)
    np.testing.assert_array_equal(selection.uncertainty(FAITHFUL), selection.best_estimator_.uncertainty(FAITHFUL))
    np.testing.assert_array_equal(entropy(selection, FAITHFUL), entropy(selection.best_estimator_, FAITHFUL))
    with pytest.raises(TypeError, match=r"model must be a GaussianMixture, .* got 3"):
        entropy(3, FAITHFUL)
    with pytest.raises(NotFittedError):
        entropy(GaussianMixture(), FAITHFUL)


# --- overlap -----------------------------------------------------------------------------------------------------


def by_integration(model, i, j):
    """Return the probability that a draw from component i of one column is more probable in j."""
    weights, means, deviations = model.weights_, model.means_[:, 0], np.sqrt(model.covariances_)

    def joint(x, k):
        return weights[k] * stats.norm.pdf(x, means[k], deviations[k])

    def integrand(x):
        return stats.norm.pdf(x, means[i], deviations[i]) * (joint(x, j) > joint(x, i))

    grid = np.linspace(means[i] - 12 * deviations[i], means[i] + 12 * deviations[i], 200_001)
    return integrate.trapezoid(integrand(grid), grid)


def test_overlap_of_one_column_is_the_integral():
    model = GaussianMixture.from_parameters(
        [0.2, 0.3, 0.4, 0.1], [[0.0], [1.0], [1.5], [1.0]], [1.0, 1.0, 0.05, 6.0], "spherical"
    )
    found = overlap(model)
    for i in range(4):
        for j in range(4):
            expected = 0.0 if i == j else by_integration(model, i, j)
            assert found.probabilities[i, j] == pytest.approx(expected, abs=1e-4)
    assert not found.standard_errors.any()
    np.testing.assert_array_equal(found.pairs, found.probabilities + found.probabilities.T)
    above = found.pairs[np.triu_indices(4, 1)]
    assert (found.mean, found.largest) == (pytest.approx(above.mean()), above.max())


def test_overlap_of_equal_widths_is_a_tail_of_the_normal_law():
    model = GaussianMixture.from_parameters([0.5, 0.5], [[0.0], [2e8]], [1e16, 1e16], "spherical")
    np.testing.assert_allclose(overlap(model).probabilities[[0, 1], [1, 0]], stats.norm.sf(1.0), rtol=1e-12)
    # Far apart: to all digits, and never NaN.
    for gap, expected in ((40.0, stats.norm.sf(20.0)), (1e160, 0.0)):
        model = GaussianMixture.from_parameters([0.5, 0.5], [[0.0], [gap]], [1.0, 1.0], "spherical")
        np.testing.assert_allclose(overlap(model).probabilities[[0, 1], [1, 0]], expected, rtol=1e-9)


@pytest.mark.parametrize("scale", [1e-150, 1.0, 1e150])
def test_overlap_has_no_unit(scale):
    weights, means, variances = [0.3, 0.7], np.array([[1.0], [2.0]]), np.array([1.0, 0.25])
    expected = overlap(GaussianMixture.from_parameters(weights, means, variances, "spherical")).probabilities
    assert expected.max() > 0.05
    model = GaussianMixture.from_parameters(weights, means * scale, variances * scale**2, "spherical")
    np.testing.assert_allclose(overlap(model).probabilities, expected, rtol=1e-9)
    # Of several columns as well, one of them in another unit.
    wide = np.array([[1.0, 0.0], [2.0, 1.0]])
    spread, unit = np.array([[1.0, 1.0], [0.25, 2.0]]), np.array([scale, 1.0])
    one, other = (
        GaussianMixture.from_parameters(weights, wide * factor, spread * factor**2, "diag") for factor in (1.0, unit)
    )
    np.testing.assert_array_equal(
        overlap(one, n_samples=2000).probabilities, overlap(other, n_samples=2000).probabilities
    )
    np.testing.assert_allclose(bhattacharyya(other).distances, bhattacharyya(one).distances, rtol=1e-9)


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_small_overlaps_keep_their_digits(side):
    """A narrow component in the tail of a wide one: on either side the same, and not 0."""
    model = GaussianMixture.from_parameters([0.5, 0.5], [[0.0], [side * 10.0]], [1.0, 0.01], "spherical")
    # log joint 1 - log joint 0 = log 10 - 50 (x - 10)^2 + x^2 / 2.
    low, high = np.sort(np.roots([0.5 - 50.0, 1000.0, np.log(10.0) - 5000.0]))
    expected = stats.norm.sf(low) - stats.norm.sf(high)
    assert 0.0 < expected < 1e-12
    assert overlap(model).probabilities[0, 1] == pytest.approx(expected, rel=1e-9, abs=0.0)


def test_overlap_of_components_that_are_one():
    model = GaussianMixture.from_parameters([0.25, 0.75], [[0.0], [0.0]], [1.0, 1.0], "spherical")
    assert overlap(model).probabilities.tolist() == [[0.0, 1.0], [0.0, 0.0]]
    # Inside a wider one, and without weight.
    model = GaussianMixture.from_parameters([0.5, 0.5, 0.0], [[0.0], [0.0], [0.0]], [1.0, 4.0, 1.0], "spherical")
    found = overlap(model).probabilities
    crossing = np.sqrt(2 * np.log(2) / 0.75)
    assert found[0, 1] == pytest.approx(2 * stats.norm.sf(crossing), rel=1e-12)
    assert found[1, 0] == pytest.approx(1 - 2 * stats.norm.sf(crossing / 2), rel=1e-12)
    assert found[2].tolist() == [1.0, 1.0, 0.0]
    assert found[:, 2].tolist() == [0.0, 0.0, 0.0]
    assert overlap(GaussianMixture.from_parameters([1.0], [[0.0]], [1.0], "spherical")).largest == 0.0


@pytest.mark.parametrize("offset", [0.0, 1e8])
def test_overlap_of_several_columns_is_that_of_spheres(offset):
    """The region where one sphere is the more probable is a ball: its probability is a noncentral chi-square's."""
    weights, means, variances = [0.3, 0.7], offset + np.array([[0.0, 0.0, 0.0], [1.0, -1.0, 0.5]]), [1.0, 2.5]
    model = GaussianMixture.from_parameters(weights, means, variances, "spherical")
    found = overlap(model, n_samples=40_000)
    gap = means[1] - means[0]
    for i, j in ((0, 1), (1, 0)):
        # log joint j - log joint i = c + |x - i|^2 / 2 v_i - |x - j|^2 / 2 v_j, a square about a centre.
        v, u = variances[i], variances[j]
        a = 0.5 / v - 0.5 / u
        c = np.log(weights[j] / weights[i]) - 1.5 * np.log(u / v)
        direction = gap if i == 0 else -gap
        # x = i + y: a |y|^2 + y.direction / u - |direction|^2 / 2u + c > 0.
        centre = -direction / (2 * a * u)
        level = (direction @ direction / (2 * u) - c) / a + centre @ centre
        law = stats.ncx2(3, centre @ centre / v)
        expected = law.sf(level / v) if a > 0 else law.cdf(level / v)
        error = found.standard_errors[i, j]
        assert error == pytest.approx(np.sqrt(expected * (1 - expected) / 40_000), rel=0.1)
        assert abs(found.probabilities[i, j] - expected) < 4 * error
    np.testing.assert_array_equal(found.probabilities, overlap(model, n_samples=40_000).probabilities)
    assert np.any(found.probabilities != overlap(model, n_samples=40_000, random_state=1).probabilities)


def test_overlap_is_exact_where_covariances_are_equal(family):
    model = GaussianMixture(3, covariance_type=family, random_state=0).fit(IRIS)
    found = overlap(model, n_samples=20_000)
    assert (found.standard_errors.max() == 0.0) == family.is_tied
    # Against draws that the estimator makes, and its densities.
    shapes = dense(model, family)
    for i, shape in enumerate(shapes):
        drawn = np.random.default_rng(i).multivariate_normal(model.means_[i], shape, 20_000)
        joint = model.log_densities(drawn) + np.log(model.weights_)
        expected = (joint > joint[:, [i]]).mean(axis=0)
        np.testing.assert_allclose(found.probabilities[i], expected, atol=0.015)


def test_bhattacharyya_is_the_integral_of_the_root_of_both():
    model = GaussianMixture.from_parameters(
        [0.5, 0.2, 0.3],
        [[0.0, 0.0], [1.0, 2.0], [0.0, 0.0]],
        [[[1.0, 0.3], [0.3, 2.0]], [[0.5, -0.2], [-0.2, 0.4]], [[1.0, 0.3], [0.3, 2.0]]],
    )
    found = bhattacharyya(model)
    laws = [stats.multivariate_normal(*law) for law in zip(model.means_, model.covariances_, strict=True)]
    grid = np.stack(np.meshgrid(np.linspace(-9, 9, 301), np.linspace(-12, 12, 301), indexing="ij"), axis=-1)
    for i in range(3):
        for j in range(3):
            both = np.sqrt(laws[i].pdf(grid) * laws[j].pdf(grid)).sum() * (18 / 300) * (24 / 300)
            assert found.coefficients[i, j] == pytest.approx(both, rel=1e-9)
    np.testing.assert_allclose(found.distances, -np.log(found.coefficients), atol=1e-12)
    assert abs(found.distances[0, 2]) < 1e-15
    far = GaussianMixture.from_parameters([0.5, 0.5], [[0.0], [1e3]], [1.0, 1e-300], "spherical")
    assert bhattacharyya(far).coefficients[0, 1] == 0.0
    assert np.isfinite(bhattacharyya(far).distances).all()


def test_bhattacharyya_of_families(family):
    model = GaussianMixture(3, covariance_type=family, random_state=0).fit(IRIS)
    shapes = dense(model, family)
    for i in range(3):
        for j in range(3):
            mean, gap = (shapes[i] + shapes[j]) / 2, model.means_[i] - model.means_[j]
            determinants = [np.linalg.slogdet(each)[1] for each in (mean, shapes[i], shapes[j])]
            expected = gap @ np.linalg.solve(mean, gap) / 8 + 0.5 * (determinants[0] - sum(determinants[1:]) / 2)
            assert bhattacharyya(model).distances[i, j] == pytest.approx(expected, rel=1e-7, abs=1e-9)


# --- goodness of fit ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", [GaussianMixture, BayesianGaussianMixture])
def test_the_statistic_is_that_of_scipy(estimator):
    values = load_galaxies().data / 1000
    model = estimator(3, random_state=0, max_iter=500).fit(values)
    found = goodness_of_fit(model, values, n_samples=0)
    expected = stats.kstest(values[:, 0], lambda x: model.cdf(x))
    assert found.statistic == pytest.approx(expected.statistic, rel=1e-12)
    assert found.plain_p_value == found.p_value == pytest.approx(expected.pvalue, rel=1e-9)
    assert len(found.samples) == 0


def test_samples_are_fitted_as_the_model_was():
    """Beside a twin that fits one sample after the other."""
    values = load_acidity().data
    model = GaussianMixture(2, init_params="kmeans", tol=1e-6, max_iter=1000, random_state=0).fit(values)
    found = goodness_of_fit(model, values, n_samples=39, random_state=3)
    assert len(found.samples) == 39
    assert found.p_value == (1 + np.sum(found.samples >= found.statistic)) / 40
    assert found.p_value > 0.05
    # The parameters were fitted to the rows: they lie nearer than rows that are strangers to it.
    assert found.p_value < found.plain_p_value
    generator, twins = np.random.default_rng(8), []
    for _ in range(39):
        rows = model.sample(155, random_state=generator)[0]
        again = GaussianMixture(2, init_params="kmeans", tol=1e-6, max_iter=1000, random_state=0).fit(rows)
        twins.append(stats.kstest(rows[:, 0], lambda x, again=again: again.cdf(x)).statistic)
    assert stats.ks_2samp(found.samples, twins).pvalue > 0.01
    assert np.median(found.samples) == pytest.approx(np.median(twins), rel=0.25)
    np.testing.assert_array_equal(goodness_of_fit(model, values, n_samples=39, random_state=3).samples, found.samples)


@pytest.mark.parametrize("family", ["full", "tied", "diag", "spherical", "tied-diag", "tied-spherical"])
def test_a_normal_law_does_not_fit_acidity(family):
    values = load_acidity().data
    model = GaussianMixture(1, covariance_type=family, random_state=0).fit(values)
    found = goodness_of_fit(model, values, n_samples=39)
    assert found.p_value == 1 / 40
    # Lilliefors' law of the statistic of a normal law with estimated parameters: 0.886 / sqrt(N) is its 95 % point.
    assert np.quantile(found.samples, 0.95) == pytest.approx(0.886 / np.sqrt(155), rel=0.2)


@pytest.mark.parametrize("family", ["full", "tied", "diag", "spherical", "VEI", "tied-diag", "tied-spherical"])
def test_one_column_of_several(family):
    """Samples are of all columns, and fitted so: beside a twin of few lines, and a true model is not rejected."""
    rng = np.random.default_rng(5)
    shift = np.array([[0.0, 0.0], [2.0, 8.0]])[np.arange(100) % 2]
    X = rng.normal(size=(100, 2)) + shift
    model = GaussianMixture(2, covariance_type=family, init_params="kmeans", random_state=0).fit(X)
    found = goodness_of_fit(model, X, column=0, n_samples=39, random_state=1)
    assert found.statistic == pytest.approx(goodness_of_fit(model.marginal(0), X[:, :1], n_samples=0).statistic)
    assert found.p_value > 0.05
    generator, twins = np.random.default_rng(int(np.random.RandomState(1).uniform() * 2**31)), []
    for _ in range(39):
        rows = model.sample(100, random_state=generator)[0]
        again = GaussianMixture(2, covariance_type=family, init_params="kmeans", random_state=0).fit(rows)
        twins.append(stats.kstest(rows[:, 0], again.marginal(0).cdf).statistic)
    # Fitted from other random starts, a few end elsewhere; as mixtures of one column hardly any would be the same.
    assert np.isclose(found.samples, twins, rtol=1e-3).sum() >= 36


def test_a_column_by_its_name_and_one_that_is_none():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(FAITHFUL, columns=["eruption", "waiting"])
    model = GaussianMixture(2, random_state=0).fit(frame)
    by_name = goodness_of_fit(model, frame, column="waiting", n_samples=0)
    assert by_name.statistic == pytest.approx(stats.kstest(FAITHFUL[:, 1], model.marginal(1).cdf).statistic)
    for column, message in (("a", "got 'a'"), (2, "got 2"), ([0, 1], "of one column, got")):
        with pytest.raises(ValueError, match=message):
            goodness_of_fit(model, frame, column=column)


def test_updates_by_hand_are_tested_as_fits_are():
    """Their max_iter is 0: samples that were not fitted were never nearer than the rows."""
    values = load_acidity().data
    model = GaussianMixture(2, max_iter=0, init_params="random_from_data", random_state=0).fit(values)
    whole = GaussianMixture(2, init_params="random_from_data", tol=1e-6, max_iter=1000, random_state=0).fit(values)
    for _ in range(whole.n_iter_):
        model.update(model.statistics(values))
    found = goodness_of_fit(model, values, n_samples=39, random_state=3)
    expected = goodness_of_fit(whole, values, n_samples=39, random_state=3)
    np.testing.assert_allclose(found.samples, expected.samples, rtol=1e-2)
    assert found.p_value == expected.p_value


def test_bad_input_of_goodness_of_fit(faithful):
    with pytest.raises(ValueError, match=r"goodness_of_fit is of one column, and this mixture has 2: give column"):
        goodness_of_fit(faithful, FAITHFUL)
    part = faithful.marginal(0)
    for given in (part, GaussianMixture.from_parameters([1.0], [[3.0]], [1.0], "spherical")):
        with pytest.raises(
            ValueError, match=r"n_samples must be 0 for a mixture that was not fitted, got 199: .*column="
        ):
            goodness_of_fit(given, FAITHFUL[:, :1])
    part = GaussianMixture(2, random_state=0).fit(FAITHFUL[:, :1])
    with pytest.raises(ValueError, match="n_samples"):
        goodness_of_fit(part, FAITHFUL[:, :1], n_samples=-1)
    with pytest.raises(ValueError, match="of 3 samples of the mixture, 3 could not be fitted as it was"):
        goodness_of_fit(part, FAITHFUL[:1, :1], n_samples=3)
    frozen = GaussianMixture(1, frozen={"means": [0]}, means_init=[[0.0]]).fit(FAITHFUL[:, :1])
    with pytest.raises(ValueError, match="fit_many cannot fit with frozen="):
        goodness_of_fit(frozen, FAITHFUL[:, :1])


def test_samples_that_fail_are_left_out_with_a_warning():
    model = GaussianMixture.from_parameters([0.5, 0.5], [[0.0], [9.0]], [1.0, 1.0], "spherical", reg_covar=0.0)
    model.stop_reason_ = "converged"
    rows = np.array([[0.0], [1.0], [0.5], [8.0], [9.0], [9.5]])
    with pytest.warns(ConvergenceWarning, match="Of 60 samples of the mixture, [0-9]+ could not be fitted as it was"):
        found = goodness_of_fit(model, rows, n_samples=60)
    assert 0 < len(found.samples) < 60
