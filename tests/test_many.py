"""Many fits in one call: each is the fit that it would be alone, whatever its neighbours and the threads."""

import itertools
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from conftest import CONJUGATE, draw, random_mixture
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgmm import BayesianGaussianMixture, GaussianMixture, fit_many
from fastgmm.exceptions import ConvergenceWarning, SpuriousComponentWarning
from fastgmm.families import FAMILIES
from fastgmm.kernels import tile_rows
from fastgmm.many import Status

ATTRIBUTES = {
    GaussianMixture: ("weights_", "means_", "covariances_", "precisions_cholesky_", "lower_bound_"),
    BayesianGaussianMixture: (
        *("weights_", "means_", "covariances_", "precisions_cholesky_", "lower_bound_"),
        *("weight_concentration_", "mean_precision_", "degrees_of_freedom_", "mean_prior_", "covariance_prior_"),
    ),
}


def quietly(function, *arguments, **options):
    """Call a function without its warnings of convergence and of repeated values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", SpuriousComponentWarning)
        return function(*arguments, **options)


def alone(estimator, X, weight=None, **changes):
    """Return the single fit with an estimator's parameters."""
    return quietly(type(estimator)(**estimator.get_params() | changes).fit, X, sample_weight=weight)


def assert_same_fit(ours, single, rtol=1e-9):
    for name in ATTRIBUTES[type(single)]:
        value = np.asarray(getattr(single, name))
        scale = np.abs(value).max()
        np.testing.assert_allclose(np.asarray(getattr(ours, name)), value, rtol=rtol, atol=rtol * scale, err_msg=name)
    assert (ours.n_iter_, ours.converged_) == (single.n_iter_, single.converged_)


def drawn(rng, family, lengths, n_components=3, n_features=2):
    """Return problems drawn from random mixtures of a family."""
    problems = []
    for n in lengths:
        parameters = random_mixture(rng, family, n_components, n_features)
        problems.append(draw(rng, *parameters[:2], family.matrices(parameters[2], n_components, n_features), n))
    return problems


@pytest.mark.parametrize("weighted", [True, False])
def test_each_fit_is_that_of_the_problem_alone(family, weighted, rng):
    """From given parameters; one problem is longer than a tile, one has hardly more rows than needed."""
    lengths = [200, 5, 60, tile_rows(3, 2) + 130, 33]
    X = drawn(rng, family, lengths)
    sample_weight = [rng.uniform(0.5, 2, n) * (rng.random(n) > 0.1) for n in lengths]
    sample_weight[1][:] = 1.0
    sample_weight[2] *= 1e-200
    if not weighted:
        sample_weight = None
    weights, _, covariances = zip(*(random_mixture(rng, family, 3, 2) for _ in lengths), strict=True)
    means = [rows[:3] for rows in X]
    covariances = np.array([family.attribute(each) for each in covariances])
    precisions = np.linalg.inv(covariances) if family.has_matrices else 1.0 / covariances
    estimator = GaussianMixture(3, covariance_type=family.name, tol=1e-5, reg_covar=1e-3, max_iter=200)
    start = {"weights": weights, "means": means, "precisions": precisions}
    many = quietly(fit_many, estimator, X, sample_weight=sample_weight, **start)
    assert len(many) == len(X)
    for i, rows in enumerate(X):
        own = {f"{name}_init": value[i] for name, value in start.items()}
        single = alone(estimator, rows, sample_weight[i] if weighted else None, **own)
        assert_same_fit(many[i], single)
        for name in ("weights_", "means_", "covariances_", "precisions_cholesky_", "lower_bound_", "n_iter_"):
            np.testing.assert_array_equal(getattr(many, name)[i], getattr(many[i], name))
        assert many.status[i] == (Status.CONVERGED if single.converged_ else Status.NOT_CONVERGED)


@pytest.mark.parametrize("kind", ["dirichlet_process", "dirichlet_distribution"])
def test_each_variational_fit_is_that_of_the_problem_alone(family, kind, rng):
    X = drawn(rng, family, [150, 40, 90])
    sample_weight = [rng.uniform(0.5, 2, len(rows)) * (rng.random(len(rows)) > 0.1) for rows in X]
    estimator = BayesianGaussianMixture(
        5, covariance_type=family.name, weight_concentration_prior_type=kind, max_iter=60, random_state=3
    )
    many = quietly(fit_many, estimator, X, sample_weight=sample_weight)
    means = np.array([rows[:5] for rows in X])
    scale = 2.0 * (np.eye(2) if family.has_matrices else np.ones(family.block_shape(2)))
    prior = {"mean_prior": [0.5, 0.5], "covariance_prior": scale}
    other = BayesianGaussianMixture(**estimator.get_params() | prior)
    given = quietly(fit_many, other, X, means=means)
    for i, rows in enumerate(X):
        assert_same_fit(many[i], alone(estimator, rows, sample_weight[i]))
        assert_same_fit(given[i], alone(other, rows, means_init=means[i]))
        assert many[i].evidence_lower_bound(rows, sample_weight[i]) == pytest.approx(many.lower_bound_[i], rel=1e-9)
        for name in ATTRIBUTES[BayesianGaussianMixture]:
            value = getattr(many, name)
            value = np.stack(value, axis=1) if isinstance(value, tuple) else value
            np.testing.assert_array_equal(value[i], getattr(many[i], name), err_msg=name)


@pytest.mark.parametrize("init", ["kmeans", "k-means++", "random", "random_from_data"])
def test_default_starts_are_those_of_single_fits_with_the_same_seed(init, rng):
    X = drawn(rng, FAMILIES["full"], [80, 31, 80])
    weight = [np.ones(80), np.ones(31), rng.integers(0, 3, 80).astype(float)]
    estimator = GaussianMixture(3, init_params=init, random_state=7, n_init=3, max_iter=5)
    many = quietly(fit_many, estimator, X, sample_weight=weight)
    for i, rows in enumerate(X):
        assert_same_fit(many[i], alone(estimator, rows, weight[i]))


def test_means_alone_and_means_with_weights_or_precisions(rng):
    family = FAMILIES["full"]
    X = np.array(drawn(rng, family, [70, 70]))
    means = X[:, :3] * 1.0
    parts = {"weights": np.array([[0.2, 0.3, 0.5]] * 2), "precisions": np.array([[np.eye(2)] * 3] * 2)}
    for names in ((), ("weights",), ("precisions",)):
        extra = {name: parts[name] for name in names}
        estimator = GaussianMixture(3, max_iter=4)
        many = quietly(fit_many, estimator, X, means=means, **extra)
        same = {f"{name}_init": value[0] for name, value in extra.items()}
        for i in range(2):
            assert_same_fit(many[i], alone(estimator, X[i], means_init=means[i], **same))
        common = GaussianMixture(3, max_iter=4, means_init=means[0], **same)
        assert_same_fit(quietly(fit_many, common, X)[1], alone(common, X[1]))


def test_all_layouts_give_the_same_bits(rng):
    X = np.array(drawn(rng, FAMILIES["full"], [40] * 7))
    weight = rng.uniform(0.5, 2, (7, 40))
    flat, flat_weight = X.reshape(-1, 2), weight.reshape(-1)
    estimator = GaussianMixture(3, random_state=0, max_iter=20)
    expected = quietly(fit_many, estimator, X, sample_weight=weight)
    keys = np.repeat([f"key {i}" for i in range(7)], 40)
    # Round the problems; the rows of each stay in order.
    turns = np.arange(280).reshape(7, 40).T.reshape(-1)
    others = [
        quietly(fit_many, estimator, list(X), sample_weight=list(weight)),
        quietly(fit_many, estimator, flat, offsets=np.arange(8) * 40, sample_weight=flat_weight),
        quietly(fit_many, estimator, flat[turns], groups=keys[turns], sample_weight=flat_weight[turns]),
        quietly(fit_many, estimator, np.asfortranarray(X), sample_weight=weight),
    ]
    for other in others:
        for name in ("means_", "covariances_", "weights_", "lower_bound_", "n_iter_", "status"):
            np.testing.assert_array_equal(getattr(other, name), getattr(expected, name))
    assert others[2].keys.tolist() == sorted(set(keys.tolist()))
    assert expected.keys is None


def test_neighbours_order_and_threads_change_no_bit(family, rng, monkeypatch):
    X = drawn(rng, family, rng.integers(4, 120, 30))
    estimator = GaussianMixture(3, covariance_type=family.name, random_state=0, n_init=2, max_iter=30)
    names = "means_", "covariances_", "weights_", "lower_bound_", "n_iter_", "status", "component"
    expected = quietly(fit_many, estimator, X)
    order = rng.permutation(30)
    for n_threads in (1, 2, 3):
        some = quietly(fit_many, estimator.set_params(n_threads=n_threads), [X[i] for i in order[:20]])
        for name in names:
            np.testing.assert_array_equal(getattr(some, name), getattr(expected, name)[order[:20]])
    monkeypatch.setattr("fastgmm.many.problems._SLAB_FLOATS", 300)
    monkeypatch.setattr("fastgmm.passes.blanks._MOST_LANES", 3)
    slabs = quietly(fit_many, estimator, X)
    for name in names:
        np.testing.assert_array_equal(getattr(slabs, name), getattr(expected, name))


def test_bad_problems_have_a_status_and_leave_the_others_alone(rng):
    good = rng.normal(size=(30, 2))
    bad = {
        Status.NOT_FINITE: np.where(np.arange(30)[:, None] == 7, np.nan, good),
        Status.TOO_FEW_ROWS: good[:1],
        Status.COLLAPSED: np.zeros((30, 2)),
        Status.OUT_OF_RANGE: good * 1e170,
    }
    estimator = GaussianMixture(2, reg_covar=0.0, random_state=0, max_iter=3)
    problems = [*itertools.chain.from_iterable((rows, good) for rows in bad.values()), np.empty((0, 2))]
    with pytest.warns(ConvergenceWarning) as record:
        many = fit_many(estimator, problems)
    assert len(record) == 1
    assert "9 problems: 4 not converged, 1 collapsed, 2 too few rows, 1 not finite, 1 out of range" in str(
        record[0].message
    )
    assert str(record[0].filename) == __file__
    assert many.status[:-1:2].tolist() == list(bad)
    assert many.status[-1] == Status.TOO_FEW_ROWS
    single = alone(estimator, good)
    for i in range(1, 9, 2):
        assert_same_fit(many[i], single)
    for i, status in enumerate(bad):
        assert np.isnan(many.means_[2 * i]).all()
        with pytest.raises(ValueError, match=f"problem {2 * i} has no fit, its status is {status.name}: "):
            many[2 * i]
    assert many.component.tolist() == [-1, -1, -1, -1, 0, -1, -1, -1, -1]


def test_a_singular_covariance_of_the_rows_is_told_by_variational_fits(rng):
    good = rng.normal(size=(40, 2))
    X = np.stack([good, good * [1.0, 0.0], good[:, [0, 0]], good * [1.0, 1e-200]])
    many = quietly(fit_many, BayesianGaussianMixture(3, reg_covar=0.0, random_state=0), X)
    assert many.status.tolist()[1:] == [Status.SINGULAR] * 3
    regular = BayesianGaussianMixture(3, random_state=0)
    for ours, rows in zip(quietly(fit_many, regular, X), X, strict=True):
        assert_same_fit(ours, alone(regular, rows))


def test_restarts_that_fail_are_left_out_and_the_best_is_kept(rng):
    """Some starts of few rows collapse: the status is that of what remains."""
    X = [np.round(rng.normal(size=(9, 2)), 1) for _ in range(40)]
    estimator = GaussianMixture(3, reg_covar=0.0, init_params="random", n_init=4, random_state=1, max_iter=40)
    many = quietly(fit_many, estimator, X)
    failed = 0
    for i, rows in enumerate(X):
        try:
            single = alone(estimator, rows)
        except ValueError:
            failed += 1
            assert many.status[i] > Status.NOT_CONVERGED
        else:
            assert_same_fit(many[i], single, rtol=1e-6)
    assert 0 < failed < 40


def test_a_spurious_start_wins_only_where_all_are(rng):
    X = rng.normal(size=(30, 40, 2))
    weight = np.where(np.arange(40) < 35, 1.0, 1e-9) * np.ones((30, 1))
    options = {"init_params": "k-means++", "max_iter": 300, "random_state": 0, "reg_covar": 1e-12}
    estimator = GaussianMixture(3, n_init=5, **options)
    many = quietly(fit_many, estimator, X, sample_weight=weight)
    overruled = 0
    for i, rows in enumerate(X):
        single = alone(estimator, rows, weight[i])
        assert many.lower_bound_[i] == pytest.approx(single.lower_bound_, abs=1e-6)
        highest = max(single.restarts_, key=lambda restart: restart.bound)
        overruled += highest.spurious >= 0 and single.lower_bound_ < highest.bound
    assert overruled > 3


@settings(deadline=None, max_examples=80, derandomize=True)
@given(
    st.integers(0, 2**31),
    st.one_of(
        st.tuples(st.just(GaussianMixture), st.sampled_from(sorted(FAMILIES))),
        st.tuples(st.just(BayesianGaussianMixture), st.sampled_from(sorted(CONJUGATE))),
    ),
    st.data(),
)
def test_degenerate_problems_end_as_single_fits_do(number, choice, data):
    """Few rows, copies, constant columns, weights of zero, far offsets and any scale: the same fit or a status."""
    kind, name = choice
    rng = np.random.default_rng(number)
    n_components, n_features = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 3))
    X, weight = [], []
    for _ in range(3):
        # Of few different rows, but without rows as near to one centre as to another, which rounding would decide.
        places = rng.normal(size=(rng.integers(1, 9), n_features)) * (rng.integers(0, 3, n_features) > 0)
        rows = places[rng.integers(0, len(places), rng.integers(2, 12))]
        X.append(data.draw(st.sampled_from([0.0, 1e8])) + rows * data.draw(st.sampled_from([1.0, 1e-150, 1e150])))
        weight.append(rng.integers(0, 3, len(rows)) * data.draw(st.sampled_from([1.0, 1e-200])))
    reg_covar = data.draw(st.sampled_from([0.0, 1e-6]))
    estimator = kind(n_components, covariance_type=name, reg_covar=reg_covar, random_state=0, max_iter=20)
    many = quietly(fit_many, estimator, X, sample_weight=weight)
    for i, rows in enumerate(X):
        try:
            single = alone(estimator, rows, weight[i])
        except ValueError:
            assert many.status[i] > Status.NOT_CONVERGED
        else:
            assert many.status[i] <= Status.NOT_CONVERGED
            assert np.isfinite(many.means_[i]).all()
            assert np.isfinite(many.covariances_[i]).all()
            assert many.lower_bound_[i] == pytest.approx(single.lower_bound_, rel=1e-6, abs=1e-6)


def test_estimators_of_the_result_go_on_from_there(rng):
    X = rng.normal(size=(3, 50, 2)) + rng.integers(0, 2, (3, 50, 1)) * 4
    estimator = GaussianMixture(2, random_state=0, max_iter=2, tol=1e-6, warm_start=False)
    before = dict(vars(estimator))
    many = quietly(fit_many, estimator, X)
    assert vars(estimator) == before
    assert [model.n_iter_ for model in many] == [2, 2, 2]
    model = many[-1]
    whole = alone(estimator, X[2], max_iter=100)
    np.testing.assert_allclose(model.predict_proba(X[2]).sum(axis=1), 1.0)
    model.set_params(warm_start=True, max_iter=100).fit(X[2])
    assert model.n_iter_ == whole.n_iter_ - 2
    np.testing.assert_allclose(model.means_, whole.means_, rtol=1e-9)
    assert repr(many) == "FittedMany(3 problems: 3 not converged)"
    # Another model each time, whose arrays are its own.
    many[0].means_[:] = 0.0
    assert many[0].means_.any()


def test_float32_rows_are_fitted_in_float64(rng):
    X = (rng.normal(size=(4, 60, 2)) + rng.integers(0, 2, (4, 60, 1)) * 4).astype(np.float32)
    estimator = GaussianMixture(2, random_state=0)
    many, wide = fit_many(estimator, X), fit_many(estimator, X.astype(np.float64))
    np.testing.assert_array_equal(many.means_, wide.means_)
    assert many.means_.dtype == np.float64
    assert many[0].means_.dtype == np.float32
    whole = fit_many(estimator, (8 * X).astype(np.int32))
    np.testing.assert_array_equal(whole.means_, fit_many(estimator, (8 * X).astype(np.int32).astype(float)).means_)


def test_groups_may_be_any_sorted_keys_and_names_are_kept():
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    frame = pandas.DataFrame(rng.normal(size=(60, 2)), columns=["a", "b"])
    days = np.array(["2024-02-01", "2024-01-01"], "datetime64[D]")[np.arange(60) % 2]
    many = fit_many(GaussianMixture(1), frame, groups=days)
    assert many.keys.tolist() == sorted(set(days.tolist()))
    np.testing.assert_allclose(many.means_[:, 0], [frame[1::2].mean(), frame[::2].mean()], rtol=1e-12)
    assert many[0].feature_names_in_.tolist() == ["a", "b"]
    numbers = fit_many(GaussianMixture(1), frame, groups=pandas.Series(np.arange(60) % 3 - 1))
    assert numbers.keys.tolist() == [-1, 0, 1]


def test_no_problems_and_no_iterations(rng):
    X = rng.normal(size=(2, 20, 2))
    assert len(fit_many(GaussianMixture(2), X[:0])) == 0
    assert repr(fit_many(GaussianMixture(2), X[0], offsets=[0, 20])) == "FittedMany(1 problem: 1 converged)"
    estimator = GaussianMixture(2, max_iter=0, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        many = fit_many(estimator, X)
    for i in range(2):
        assert_same_fit(many[i], alone(estimator, X[i]))
        assert many[i].lower_bounds_ == []


X2, X3 = np.zeros((6, 2)), np.zeros((2, 6, 2))


@pytest.mark.parametrize(
    ("X", "options", "error", "message"),
    [
        (X2, {}, ValueError, r"X must be an array \(P, n, D\), .*; got shape \(6, 2\) without offsets or groups"),
        (X2[0], {}, ValueError, r"got shape \(2,\)\."),
        (X2, {"offsets": [0, 6], "groups": [0] * 6}, ValueError, "give one of them"),
        (X3, {"offsets": [0, 12]}, ValueError, "X has an axis of problems already"),
        ([X2, X2], {"groups": [0] * 12}, ValueError, "X is a list of problems already"),
        ([], {}, ValueError, "X is an empty list"),
        ([X2, X2[:, :1]], {}, ValueError, r"X\[1\] has shape \(6, 1\)"),
        (X3[:, :, :0], {}, ValueError, r"at least one feature, got shape \(2, 6, 0\)"),
        (X2, {"offsets": [0, 4]}, ValueError, "from 0 to the number of rows, 6; got 0 to 4"),
        (X2, {"offsets": [0, 5, 3, 6]}, ValueError, "falling in between"),
        (X2, {"offsets": [0.0, 6.0]}, ValueError, r"offsets must be integers \(P \+ 1,\), got dtype float64"),
        (X2, {"groups": [0] * 5}, ValueError, r"groups must have the shape \(6,\)"),
        (X2, {"groups": [0, 1, 2, 3, 4, np.nan]}, ValueError, "groups must not be NaN or NaT, got nan for row 5"),
        (X2, {"groups": np.array([0, np.nan, 2, 0, np.nan, 2], object)}, ValueError, "got nan for row 1"),
        (X2, {"groups": np.array(["2020-01-01", "NaT"] * 3, "M8[D]")}, ValueError, "got NaT for row 1"),
        (X2, {"groups": np.array([0, 1, "a", 3, 4, 5], object)}, TypeError, "keys that can be sorted"),
        (X3, {"sample_weight": np.ones(12)}, ValueError, r"sample_weight.shape == \(12,\), expected \(2, 6\)"),
        ([X2, X2], {"sample_weight": [np.ones(6), np.ones(5)]}, ValueError, "of the same lengths"),
        ([X2, X2], {"sample_weight": 1.0}, ValueError, "sample_weight must be a list of arrays"),
        (X3, {"sample_weight": -np.ones((2, 6))}, ValueError, "sample_weight must be >= 0, got -1.0"),
        (X3, {"sample_weight": np.full((2, 6), np.nan)}, ValueError, "sample_weight contains NaN"),
        (X3, {"means": np.zeros((2, 2))}, ValueError, r"'means' should have the shape of \(2, 2, 2\)"),
        (X3, {"weights": np.full((2, 2), 0.5)}, ValueError, "weights need means"),
        (X3, {"means": np.zeros((2, 2, 2)), "weights": np.ones((2, 2))}, ValueError, "should be normalized"),
        (X3, {"means": np.zeros((2, 2, 2)), "precisions": np.zeros((2, 2, 2, 2))}, ValueError, "positive-definite"),
    ],
)
def test_bad_arguments_are_refused(X, options, error, message):
    with pytest.raises(error, match=message):
        fit_many(GaussianMixture(2), X, **options)


@pytest.mark.parametrize(
    ("estimator", "error", "message"),
    [
        (GaussianMixture, TypeError, "estimator must be a GaussianMixture or a BayesianGaussianMixture of fastgmm"),
        (GaussianMixture(0), ValueError, "n_components must be an int"),
        (GaussianMixture(2, warm_start=True), ValueError, "cannot fit with warm_start=True: leave it at False"),
        (GaussianMixture(2, init_params=[0, 1]), ValueError, r"init_params must be one of 'auto', .*, got \[0, 1\]"),
        (BayesianGaussianMixture(2, mean_precision_init=[1, 1]), ValueError, "cannot fit with mean_precision_init"),
        (BayesianGaussianMixture(2, covariance_prior=-np.eye(2)), ValueError, "positive-definite"),
        (
            BayesianGaussianMixture(2, covariance_prior=np.ones((2, 2)) + 1e-15 * np.eye(2)),
            ValueError,
            "positive-definite",
        ),
    ],
)
def test_bad_estimators_are_refused(estimator, error, message):
    with pytest.raises(error, match=message):
        fit_many(estimator, X3)


def test_variational_fits_take_no_weights(rng):
    with pytest.raises(ValueError, match="weights are not for variational fits"):
        fit_many(BayesianGaussianMixture(2), X3, means=np.zeros((2, 2, 2)), weights=np.full((2, 2), 0.5))


def test_problems_are_chosen_by_integers(rng):
    many = fit_many(GaussianMixture(1), rng.normal(size=(2, 20, 2)))
    with pytest.raises(IndexError, match="problem 2 of 2"):
        many[2]
    with pytest.raises(TypeError, match="by an integer, got 'a'"):
        many["a"]
    assert len(list(many)) == 2


PLAIN = """
import numpy as np
from fastgmm import BayesianGaussianMixture, GaussianMixture, fit_many
rng = np.random.default_rng(0)
X = rng.normal(size=(2, 30, 2)) + rng.integers(0, 2, (2, 30, 1)) * 4
for estimator in (GaussianMixture, BayesianGaussianMixture):
    many = fit_many(estimator(2, random_state=0, tol=1e9), X)
    print(*many.means_.ravel(), *many.lower_bound_)
"""


@pytest.mark.slow
def test_without_compilation_the_fits_are_the_same():
    outputs = []
    for disabled in ("0", "1"):
        result = subprocess.run(
            [sys.executable, "-W", "error", "-c", PLAIN],
            env=os.environ | {"NUMBA_DISABLE_JIT": disabled},
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stderr
        outputs.append([float(number) for number in result.stdout.split()])
    np.testing.assert_allclose(outputs[1], outputs[0], rtol=1e-9)


def test_the_page_runs(tmp_path, monkeypatch):
    page = Path(__file__).parents[1] / "docs" / "fit_many.md"
    if not page.exists():
        pytest.skip("needs a checkout")
    import re

    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    assert len(blocks) >= 3
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exec(compile("\n".join(blocks), str(page), "exec"), {})


def test_the_mean_of_a_problem_does_not_depend_on_its_first_row(rng):
    """It is the prior's by default: of a first row that is far out and hardly counts it must not take the rounding."""
    X, weight = rng.normal(size=(50, 1)), np.ones(50)
    X[0], weight[0] = 1e9, 1e-12
    model = BayesianGaussianMixture(1, covariance_prior=[[1.0]])
    for rows, w in ((X, weight), (X[::-1], weight[::-1])):
        found = fit_many(model, [rows], sample_weight=[w]).mean_prior_
        np.testing.assert_allclose(found, np.average(X, axis=0, weights=weight)[None], rtol=0, atol=1e-15)
