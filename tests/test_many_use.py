"""What comes after many fits: predictions, scores, samples and files of all problems are those of each alone."""

import json
import pickle
import tracemalloc
import warnings

import numpy as np
import pytest
from conftest import CONJUGATE

from fastgmm import BayesianGaussianMixture, GaussianMixture, fit_many
from fastgmm.exceptions import ConvergenceWarning, OutOfRangeError, SpuriousComponentWarning
from fastgmm.families import STRUCTURES, Full
from fastgmm.io import ModelFileError, load_model, save_model
from fastgmm.many import FittedMany, Status, files

CASES = [
    *((GaussianMixture, name) for name in (*STRUCTURES, "VEI")),
    *((BayesianGaussianMixture, name) for name in STRUCTURES),
]
LENGTHS = [80, 31, 20, 57]
FAILED = 2


def quietly(function, *arguments, **options):
    """Call a function without its warnings of convergence and of repeated values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", SpuriousComponentWarning)
        return function(*arguments, **options)


def problems(lengths=LENGTHS, seed=5):
    """Return problems of two groups each, far from the origin, of which one has a gap."""
    rng = np.random.default_rng(seed)
    X = [rng.normal(size=(n, 2)) + 4.0 * rng.integers(0, 2, (n, 1)) + 100.0 * i for i, n in enumerate(lengths)]
    if len(X) > FAILED:
        X[FAILED][3, 1] = np.nan
    return X


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0].__name__[:5]}-{case[1]}")
def fitted(request):
    """The rows of problems, and their fits."""
    kind, name = request.param
    X = problems()
    return X, quietly(fit_many, kind(3, covariance_type=name, random_state=1, max_iter=40), X)


def test_each_problem_is_used_as_its_estimator_alone(fitted):
    X, result = fitted
    assert len(result) == 4
    assert [status <= Status.NOT_CONVERGED for status in result.status] == [True, True, False, True]
    rows = [each + 0.25 for each in X]
    weight = [np.linspace(0.0, 2.0, len(each)) for each in X]
    found = {name: getattr(result, name)(rows) for name in ("predict", "predict_proba", "score_samples")}
    score, weighted = result.score(rows), result.score(rows, sample_weight=weight)
    drawn, labels = result.sample(15, random_state=3)
    for i in (0, 1, 3):
        single = result[i]
        for name, each in found.items():
            np.testing.assert_array_equal(each[i], getattr(single, name)(rows[i]))
        assert score[i] == pytest.approx(single.score(rows[i]), rel=1e-12)
        assert weighted[i] == pytest.approx(single.score(rows[i], sample_weight=weight[i]), rel=1e-12)
        expected = single.sample(15, np.random.default_rng([3, i]))
        np.testing.assert_array_equal(drawn[i], expected[0])
        np.testing.assert_array_equal(labels[i], expected[1])
    n = LENGTHS[FAILED]
    assert found["predict"][FAILED].tolist() == [-1] * n
    assert found["predict_proba"][FAILED].shape == (n, 3)
    for value in (found["predict_proba"], found["score_samples"], score, weighted, drawn):
        assert np.isnan(value[FAILED]).all()
    assert labels[FAILED].tolist() == [-1] * 15


def test_criteria_are_those_of_maximum_likelihood(fitted):
    X, result = fitted
    weight = [np.linspace(0.5, 3.0, len(each)) for each in X]
    for name in ("aic", "bic", "icl"):
        if isinstance(result.estimator, BayesianGaussianMixture):
            with pytest.raises(
                TypeError, match=f"{name} is of fits by maximum likelihood, .* compare their lower_bound"
            ):
                getattr(result, name)(X)
            continue
        plain, weighted = getattr(result, name)(X), getattr(result, name)(X, sample_weight=weight)
        for i in (0, 1, 3):
            assert plain[i] == pytest.approx(getattr(result[i], name)(X[i]), rel=1e-12)
            expected = getattr(result[i], name)(X[i], sample_weight=weight[i])
            assert weighted[i] == pytest.approx(expected, rel=1e-12)
        assert np.isnan(plain[FAILED])


def test_other_predictive_densities_of_variational_fits(fitted):
    X, result = fitted
    if isinstance(result.estimator, GaussianMixture):
        with pytest.raises(ValueError, match="predictive must be None but for variational fits, got 'plug-in'"):
            result.predict(X, predictive="plug-in")
        return
    for predictive in ("expected-log", "plug-in", "student-t"):
        found, means = result.score_samples(X, predictive=predictive), result.score(X, predictive=predictive)
        for i in (0, 1, 3):
            np.testing.assert_array_equal(found[i], result[i].score_samples(X[i], predictive=predictive))
            assert means[i] == pytest.approx(result[i].score(X[i], predictive=predictive), rel=1e-12)
    with pytest.raises(ValueError, match="predictive must be"):
        result.predict(X, predictive="student")


# --- layouts -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def by_groups():
    """Rows of five problems as an array (5, 30, 2), and their fits by groups."""
    X = np.array(problems([30] * 2, seed=1) + problems([30] * 2, seed=2) + problems([30], seed=3))
    keys = np.repeat([f"key {i}" for i in range(5)], 30)
    return X, keys, fit_many(GaussianMixture(2, random_state=0, tol=1e-2), X.reshape(-1, 2), groups=keys)


@pytest.mark.parametrize("name", ["predict", "predict_proba", "score_samples"])
def test_answers_are_laid_out_as_the_rows(by_groups, name, rng):
    X, keys, result = by_groups
    flat, use = X.reshape(-1, 2), getattr(result, name)
    expected = use(X)
    tail = expected.shape[2:]
    assert expected.shape[:2] == (5, 30)
    np.testing.assert_array_equal(expected[3], getattr(result[3], name)(X[3]))
    np.testing.assert_array_equal(use(np.asfortranarray(X)), expected)
    listed = use(list(X[:, :20]))
    assert isinstance(listed, list)
    np.testing.assert_array_equal(listed, expected[:, :20])
    np.testing.assert_array_equal(use(flat, offsets=np.arange(6) * 30), expected.reshape(150, *tail))
    order = rng.permutation(150)
    np.testing.assert_array_equal(use(flat[order], groups=keys[order]), expected.reshape(150, *tail)[order])
    shared = use(flat)
    assert shared.shape == (5, 150, *tail)
    for i in range(5):
        np.testing.assert_array_equal(shared[i, 30 * i : 30 * i + 30], expected[i])
    np.testing.assert_array_equal(use(np.broadcast_to(X[0], X.shape)), shared[:, :30])


def test_sums_do_not_depend_on_the_layout(by_groups, rng):
    X, keys, result = by_groups
    flat, weight = X.reshape(-1, 2), rng.uniform(0.5, 2.0, (5, 30))
    for name in ("score", "bic"):
        use = getattr(result, name)
        expected = use(X, sample_weight=weight)
        flat_weight = weight.reshape(-1)
        np.testing.assert_array_equal(use(list(X), sample_weight=list(weight)), expected)
        np.testing.assert_array_equal(use(flat, groups=keys, sample_weight=flat_weight), expected)
        shared = use(X[0], sample_weight=weight)
        singles = [getattr(model, name)(X[0], sample_weight=w) for model, w in zip(result, weight, strict=True)]
        np.testing.assert_allclose(shared, singles, rtol=1e-12)


def test_rows_go_to_the_problems_of_their_keys(by_groups):
    X, _, result = by_groups
    rows, groups = X[[4, 1, 4], 0], ["key 4", "key 1", "key 4"]
    np.testing.assert_array_equal(result.score_samples(rows, groups=groups), result.score_samples(X)[[4, 1, 4], 0])
    score = result.score(rows, groups=groups)
    assert np.isnan(score).tolist() == [True, False, True, True, False]
    for group in ("key 5", "key", 4):
        with pytest.raises(ValueError, match=r"groups must be among the 5 keys that were fitted, got "):
            result.predict(rows[:1], groups=[group])
    with pytest.raises(ValueError, match="groups are for problems that were fitted by groups: give offsets instead"):
        fit_many(GaussianMixture(1), X).predict(rows, groups=groups)


def test_times_are_equal_in_any_unit():
    X = np.random.default_rng(0).normal(size=(40, 1)) + np.arange(40)[:, None] % 2 * 9.0
    days = np.array(["2024-02-01", "2024-01-01"], "datetime64[D]")[np.arange(40) % 2]
    result = fit_many(GaussianMixture(1), X, groups=days)
    expected = result.score_samples(X, groups=days)
    np.testing.assert_array_equal(result.score_samples(X, groups=days.astype("datetime64[ns]")), expected)
    with pytest.raises(ValueError, match=r"keys that were fitted, got .*2024-02-01T05"):
        result.predict(X[:1], groups=days[:1].astype("datetime64[h]") + 5)


# --- rows and weights --------------------------------------------------------------------------------------------


def test_the_type_of_rows_is_that_of_answers(by_groups):
    X, _, result = by_groups
    small = X.astype(np.float32)
    for name in ("predict_proba", "score_samples"):
        assert getattr(result, name)(small).dtype == np.float32
        np.testing.assert_array_equal(getattr(result, name)(small)[2], getattr(result[2], name)(small[2]))
    whole = np.rint(X).astype(int)
    np.testing.assert_array_equal(result.score_samples(whole), result.score_samples(whole.astype(float)))


def test_fits_of_float32_rows_keep_their_digits(by_groups):
    X = by_groups[0].astype(np.float32)
    estimator = GaussianMixture(2, random_state=0)
    result, wide = fit_many(estimator, X), fit_many(estimator, X.astype(float))
    np.testing.assert_array_equal(result.score(X.astype(float)), wide.score(X.astype(float)))
    singles = [model.score(rows) for model, rows in zip(result, X, strict=True)]
    np.testing.assert_allclose(result.score(X), singles, rtol=1e-4)


@pytest.mark.parametrize("scale", [1.0, 1e-300, 1e200])
def test_weights_of_any_scale(by_groups, scale, rng):
    X, _, result = by_groups
    weight = rng.uniform(0.5, 2.0, (5, 30)) * scale
    np.testing.assert_allclose(
        result.score(X, sample_weight=weight), result.score(X, sample_weight=weight / scale), rtol=1e-13
    )
    weight[1] = 0.0
    assert np.isnan(result.score(X, sample_weight=weight)).tolist() == [False, True, False, False, False]
    expected = result[2].bic(X[2], sample_weight=weight[2])
    assert result.bic(X, sample_weight=weight)[2] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("offset", "scale"), [(1e8, 1.0), (0.0, 1e-150), (0.0, 1e150)])
def test_rows_far_out_and_of_any_scale(offset, scale):
    X = offset + scale * np.array(problems([30] * 2))
    result = quietly(fit_many, GaussianMixture(2, random_state=0, reg_covar=0.0), X)
    weight = np.ones((2, 30))
    weight[:, 7] = 0.0
    for name in ("score", "bic"):
        expected = [getattr(model, name)(rows) for model, rows in zip(result, X, strict=True)]
        np.testing.assert_allclose(getattr(result, name)(X), expected, rtol=1e-12)
    far = X.copy()
    far[:, 7] = 1e300
    np.testing.assert_allclose(
        result.score(far, sample_weight=weight), result.score(np.delete(X, 7, axis=1)), rtol=1e-12
    )


def test_rows_that_cannot_be_scored_are_refused_with_their_problem(by_groups):
    X, _, result = by_groups
    bad = X.copy()
    bad[3, 4, 1] = np.nan
    for name in ("predict", "score_samples", "score", "bic"):
        with pytest.raises(ValueError, match=r"Input X of problem 3 contains NaN \(row 4, column 1\)"):
            getattr(result, name)(bad)
    bad[3, 4, 1] = 1e300
    assert result.score_samples(bad)[3, 4] == -np.inf
    with pytest.raises(OutOfRangeError, match="problem 3: row 4 of X lies so far from every component"):
        result.predict(bad)
    with pytest.raises(ValueError, match=r"Input X of problem 0 contains infinity \(row 2, column 0\)"):
        result.predict(np.where(np.arange(5)[:, None] == 2, np.inf, X[0, :5]))


@pytest.mark.parametrize(
    ("X", "options", "message"),
    [
        (np.zeros((4, 3, 2)), {}, "X must hold rows of the 5 problems that were fitted, got 4"),
        ([np.zeros((3, 2))], {}, "X must hold rows of the 5 problems that were fitted, got 1"),
        (np.zeros((6, 2)), {"offsets": [0, 6]}, "X must hold rows of the 5 problems that were fitted, got 1"),
        (np.zeros((5, 3, 1)), {}, "X has 1 features, but FittedMany is expecting 2 features"),
        (np.zeros(3), {}, r"X must be an array \(P, n, D\)"),
        (np.zeros((3, 2)), {"sample_weight": np.ones(3)}, r"sample_weight.shape == \(3,\), expected \(5, 3\)"),
    ],
)
def test_other_problems_are_refused(by_groups, X, options, message):
    with pytest.raises(ValueError, match=message):
        by_groups[2].score(X, **options)


def test_columns_of_other_names_are_refused():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(np.random.default_rng(0).normal(size=(40, 2)), columns=["a", "b"])
    keys = np.arange(40) % 2
    result = fit_many(GaussianMixture(1), frame.assign(w=1.0), groups=keys, sample_weight="w")
    expected = result.score(frame.to_numpy(), groups=keys)
    # A weight of all rows is divided out, which may be a rounding.
    np.testing.assert_allclose(result.score(frame.assign(w=2.0), groups=keys, sample_weight="w"), expected, rtol=1e-14)
    with pytest.raises(ValueError, match="Feature names must be in the same order as they were in fit"):
        result.predict(frame[["b", "a"]], groups=keys)


def test_samples_have_a_seed(by_groups):
    result = by_groups[2]
    first = result.sample(4)[0]
    np.testing.assert_array_equal(first, result.sample(4, random_state=0)[0])  # the estimator's
    generator = np.random.default_rng(1)
    again = [result.sample(4, generator)[0] for _ in range(2)]
    assert not np.array_equal(*again)
    np.testing.assert_array_equal(again[0], result.sample(4, np.random.default_rng(1))[0])
    with pytest.raises(ValueError, match="Invalid value for 'n_samples': 0"):
        result.sample(0)
    many, labels = result.sample(20000, random_state=5)
    np.testing.assert_allclose(many.mean(axis=1), np.einsum("pk,pkd->pd", result.weights_, result.means_), atol=0.1)
    # Rows are grouped by component: their number tells whether problems draw the same ones.
    assert len(set(labels.sum(axis=1).tolist())) == 5


def test_scores_of_maximum_likelihood_are_one_call(by_groups, monkeypatch):
    X, _, result = by_groups
    monkeypatch.delattr("fastgmm.many.uses.weighted_sums")
    monkeypatch.setattr("fastgmm.many.problems._SLAB_FLOATS", 130)
    np.testing.assert_allclose(result.score(X), [model.score(rows) for model, rows in zip(result, X, strict=True)])
    with pytest.raises(NameError):
        result.icl(X)


def test_no_problems():
    result = fit_many(GaussianMixture(2), np.empty((0, 5, 2)))
    assert result.predict(np.empty((0, 5, 2))).shape == (0, 0)
    assert result.score(np.zeros((3, 2))).shape == (0,)
    assert result.sample(3, random_state=0)[0].shape == (0, 3, 2)


# --- problems that share rows ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [GaussianMixture, BayesianGaussianMixture])
def test_problems_may_share_rows(kind, rng, monkeypatch):
    X = problems([40])[0]
    weight = rng.multinomial(40, np.full(40, 1 / 40), size=7).astype(float)
    estimator = kind(2, random_state=0, max_iter=15)
    expected = quietly(fit_many, estimator, np.repeat(X[None], 7, axis=0), sample_weight=weight)
    names = "means_", "covariances_", "weights_", "lower_bound_", "n_iter_", "status"
    for floats, rows in ((2**21, X), (250, X), (1, X), (250, np.broadcast_to(X, (7, 40, 2))), (250, X.astype(object))):
        monkeypatch.setattr("fastgmm.many.problems._SLAB_FLOATS", floats)
        result = quietly(fit_many, estimator, rows, sample_weight=weight)
        for name in names:
            np.testing.assert_array_equal(getattr(result, name), getattr(expected, name))
    expected = result[4].score(X, sample_weight=weight[4])
    assert result.score(X, sample_weight=weight)[4] == pytest.approx(expected, rel=1e-12)


def test_shared_rows_are_not_copied_for_each_problem(rng, monkeypatch):
    X, weight = rng.normal(size=(200, 6)), rng.uniform(0.5, 1.0, (500, 200))
    monkeypatch.setattr("fastgmm.many.problems._SLAB_FLOATS", 2**14)
    estimator = GaussianMixture(1, covariance_type="diag", max_iter=1)
    quietly(fit_many, estimator, X, sample_weight=weight[:2])
    tracemalloc.start()
    try:
        quietly(fit_many, estimator, X, sample_weight=weight)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.6 * 500 * X.nbytes


def test_weights_of_shared_rows_are_checked():
    X = np.zeros((6, 2))
    with pytest.raises(ValueError, match=r"sample_weight.shape == \(3, 5\), expected \(3, 6\)"):
        fit_many(GaussianMixture(1), X, sample_weight=np.ones((3, 5)))
    with pytest.raises(ValueError, match=r"X must be an array .* with sample_weight as an array \(P, n\); got shape"):
        fit_many(GaussianMixture(1), X, sample_weight=np.ones(6))
    with pytest.raises(ValueError, match=r"sample_weight must be >= 0, got -1\.0"):
        fit_many(GaussianMixture(1), X, sample_weight=-np.ones((3, 6)))


# --- files -------------------------------------------------------------------------------------------------------

ARRAYS = "weights_", "means_", "covariances_", "precisions_cholesky_", "converged_", "n_iter_", "lower_bound_", "status"


def assert_same(again, result, X):
    """Assert that two results are the same in every bit."""
    assert repr(again) == repr(result)
    names = (*ARRAYS, "component")
    if isinstance(result.estimator, BayesianGaussianMixture):
        names += "weight_concentration_", "mean_precision_", "degrees_of_freedom_", "mean_prior_", "covariance_prior_"
    for name in names:
        np.testing.assert_array_equal(getattr(again, name), getattr(result, name), err_msg=name)
    assert again.spurious_ == result.spurious_
    np.testing.assert_array_equal(again.score(X), result.score(X))
    for i in np.flatnonzero(result.status <= Status.NOT_CONVERGED).tolist():
        ours, theirs = vars(again[i]), vars(result[i])
        assert ours.keys() == theirs.keys()
        for name in (name for name in theirs if name.endswith("_") and name != "restarts_"):
            np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


def test_a_file_keeps_every_bit(fitted, tmp_path):
    X, result = fitted
    result.save(tmp_path / "fits.npz")
    again = FittedMany.load(tmp_path / "fits.npz")
    assert_same(again, result, X)
    assert again.keys is None
    assert again.estimator.get_params()["max_iter"] == 40
    with pytest.raises(ValueError, match="problem 2 has no fit, its status is NOT_FINITE"):
        again[2]
    assert_same(pickle.loads(pickle.dumps(result)), result, X)
    # What goes on from there is the same, too.
    ours, theirs = (
        quietly(each[3].set_params(warm_start=True, max_iter=2, tol=0).fit, X[3]) for each in (again, result)
    )
    np.testing.assert_array_equal(ours.means_, theirs.means_)


@pytest.mark.parametrize("family", [name for name in CONJUGATE if name in STRUCTURES])
def test_priors_that_were_given_are_kept(family, tmp_path):
    X = problems()[:2]
    scale = {"full": np.eye(2), "tied": np.eye(2), "diag": np.ones(2), "spherical": 1.0}[family]
    estimator = BayesianGaussianMixture(
        3,
        covariance_type=family,
        mean_prior=[50.0, 50.0],
        covariance_prior=scale,
        weight_concentration_prior=0.1,
        weight_concentration_prior_type="dirichlet_distribution",
        random_state=0,
        max_iter=10,
    )
    result = quietly(fit_many, estimator, X)
    result.save(tmp_path / "fits.npz")
    again = FittedMany.load(tmp_path / "fits.npz")
    assert_same(again, result, X)
    assert np.array_equal(again.estimator.covariance_prior, scale)
    np.testing.assert_array_equal(quietly(fit_many, again.estimator, X).means_, result.means_)


@pytest.mark.parametrize(
    "keys",
    [
        np.array([3, 1]),
        np.array(["b", "äö"]),
        np.array(["b", "a"], object),
        np.array(["2024-02-01", "2024-01-01"], "datetime64[D]"),
        np.array([0.5, -1.5]),
        np.array([True, False]),
    ],
    ids=str,
)
def test_keys_and_names_are_kept(keys, tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(np.random.default_rng(0).normal(size=(40, 2)), columns=["a", "b"]).astype(np.float32)
    groups = keys[np.arange(40) % 2]
    result = fit_many(GaussianMixture(1), frame, groups=groups)
    result.save(tmp_path / "fits.npz")
    again = FittedMany.load(tmp_path / "fits.npz")
    assert again.keys.dtype == result.keys.dtype
    assert again.keys.tolist() == result.keys.tolist()
    assert again[0].feature_names_in_.tolist() == ["a", "b"]
    assert again[0].means_.dtype == np.float32
    np.testing.assert_array_equal(again.predict(frame, groups=groups), result.predict(frame, groups=groups))


def test_keys_that_a_file_would_merge_are_refused(tmp_path):
    keys = np.array(["a", "a\0"], object)
    result = fit_many(GaussianMixture(1), np.random.default_rng(0).normal(size=(40, 1)), groups=keys[np.arange(40) % 2])
    with pytest.raises(ModelFileError, match=r"cannot store the key 'a\\x00' in a file, where it would be 'a'"):
        result.save(tmp_path / "fits.npz")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_told_by_the_name_that_was_given(tmp_path):
    result = fit_many(GaussianMixture(1), np.random.default_rng(0).normal(size=(40, 1)), groups=np.arange(40) % 2)
    path = tmp_path / "none" / "fits.npz"
    with pytest.raises(FileNotFoundError) as caught:
        result.save(path)
    assert caught.value.filename == str(path)


def test_spurious_components_are_kept(tmp_path):
    X = np.concatenate([np.random.default_rng(0).normal(size=(60, 1)), np.full((40, 1), 3.0)])
    result = quietly(fit_many, GaussianMixture(2, random_state=0), [X, X[:60]])
    assert result.spurious_[0]
    result.save(tmp_path / "fits.npz")
    assert FittedMany.load(tmp_path / "fits.npz").spurious_ == result.spurious_


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A file of fits."""
    path = tmp_path_factory.mktemp("many") / "fits.npz"
    X = problems([30] * 2)
    fit_many(GaussianMixture(2, random_state=0, tol=1e-2), np.concatenate(X), groups=[0] * 30 + [1] * 30).save(path)
    return path


def changed(saved, path, digest=True, **changes):
    """Write a file again with other entries (None: without them), and with a checksum that is right if `digest`."""
    with np.load(saved) as archive:
        arrays = dict(archive)
    metadata = json.loads(str(arrays.pop("metadata")))
    old = metadata.pop("digest")
    for name, value in changes.items():
        target = arrays if name in arrays else metadata
        if value is None:
            del target[name]
        else:
            target[name] = value
    metadata["digest"] = files._digest(metadata, arrays) if digest else old
    np.savez(path, **arrays, metadata=np.array(json.dumps(metadata)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, "f.npz is not a fastgmm file of many fits$"),
        ({"version": 2}, r"written by a newer fastgmm \(file of many fits version 2; this one reads up to 1\)$"),
        ({"version": "1"}, "has no valid file of many fits version$"),
        ({"estimator": "Forest"}, "f.npz is a damaged file of many fits: unknown estimator 'Forest'$"),
        ({"dtype": "int8"}, "unknown dtype 'int8'$"),
        ({"covariance_type": "round"}, "covariance_type must be one of "),
        ({"covariance_type": "diag"}, r"'covariance' has the shape \(2, 2, 2, 2\), not \(2, 2, 2\)$"),
        ({"params": {"n_components": 3}}, r"'mean' has the shape \(2, 2, 2\), which is not \(P, 3, n_features\)$"),
        ({"params": {"n_components": 2, "trees": 9}}, "unexpected keyword argument 'trees'"),
        ({"params": {"n_components": 2, "tol": -1}}, "tol must be"),
        ({"params": None}, "'params' is missing$"),
        ({"weights": None}, "'weights' is missing$"),
        ({"weights": np.zeros((2, 3))}, r"'weights' has the shape \(2, 3\), not \(2, 2\)$"),
        ({"weights": np.full((2, 2), "a")}, "'weights' is not an array of numbers$"),
        ({"weights": np.full((2, 2), -1.0)}, "'weights' must not be negative where there is a fit$"),
        ({"bound": np.full(2, np.nan)}, "'bound' must be finite where there is a fit$"),
        ({"whitener": np.zeros((2, 2, 2, 2))}, "'whitener' must have a positive diagonal where there is a fit$"),
        ({"status": np.array([0, 7])}, "'status' holds numbers that are none$"),
        ({"status": np.zeros(2)}, "'status' is not an array of integers$"),
        ({"component": np.array([-1, 2])}, "'component' holds numbers that are none of 2 components$"),
        ({"keys": np.arange(3)}, r"'keys' has the shape \(3,\) for 2 problems$"),
        ({"feature_names": ["a"]}, "'feature_names' is not a list of 2 names$"),
        ({"spurious_components": [3]}, "'spurious_components' is not a list of components$"),
        ({"spurious_components": [[0, 2, "why"]]}, "names component 2 of problem 0, which is none$"),
    ],
)
def test_a_file_that_holds_no_fits_is_refused(saved, tmp_path, changes, message):
    path = tmp_path / "f.npz"
    changed(saved, path, **changes)
    with pytest.raises(ModelFileError, match=message):
        FittedMany.load(path)


def test_a_file_that_was_changed_is_refused(saved, tmp_path):
    path = tmp_path / "f.npz"
    changed(saved, path)
    means = FittedMany.load(path).means_
    for changes in ({"mean": means + 1e-12}, {"params": {"n_components": 2}}, {"keys": np.array([0, 2])}):
        changed(saved, path, digest=False, **changes)
        with pytest.raises(ModelFileError, match=r"f.npz is a damaged file of many fits: its checksum is wrong$"):
            FittedMany.load(path)
    content = saved.read_bytes()
    for damaged in (content[:-40], b"", b"text", content[:500] + b"\0" + content[501:]):
        path.write_bytes(damaged)
        with pytest.raises(ModelFileError, match=r"f\.npz is "):
            FittedMany.load(path)
    with pytest.raises(FileNotFoundError):
        FittedMany.load(tmp_path / "none.npz")


def test_files_of_one_model_and_of_many_are_told_apart(saved, tmp_path):
    save_model(FittedMany.load(saved)[0], tmp_path / "m.npz")
    with pytest.raises(ModelFileError, match=r"but holds a single model, which fastgmm.io.load_model reads$"):
        FittedMany.load(tmp_path / "m.npz")
    with pytest.raises(ModelFileError, match=r"but holds many fits, which fastgmm.many.FittedMany.load reads$"):
        load_model(saved)


def test_what_a_file_cannot_hold_is_refused(saved, tmp_path):
    class Own(GaussianMixture):
        pass

    class Round(Full):
        name = "round"

    result, X = FittedMany.load(saved), problems([30] * 2)
    with pytest.raises(ModelFileError, match=r"cannot write many fits to .*f.json: the name must end in .npz$"):
        result.save(tmp_path / "f.json")
    with pytest.raises(ModelFileError, match=r"cannot store fits of a Own in a file: pickle the result$"):
        fit_many(Own(1), X).save(tmp_path / "f.npz")
    with pytest.raises(ModelFileError, match="cannot store the covariance type 'round' in a file"):
        fit_many(GaussianMixture(1, covariance_type=Round()), X).save(tmp_path / "f.npz")
    keys = np.array([1, 2.5], object)[np.arange(60) % 2]
    with pytest.raises(ModelFileError, match="cannot store keys of the types float, int in a file: fit by groups of"):
        fit_many(GaussianMixture(1), np.concatenate(X), groups=keys).save(tmp_path / "f.npz")
    assert list(tmp_path.iterdir()) == []
