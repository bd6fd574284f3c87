"""Rows with errors of measurement: the mixture that is fitted is that of what was measured, without the errors."""

import pickle
import re

import numpy as np
import pytest

from fastgmm import BayesianGaussianMixture, GaussianMixture, GaussianMixtureIC, fit_many
from fastgmm.datasets import load_faithful, load_iris
from fastgmm.families import FAMILIES
from fastgmm.io import load_model, save_model
from fastgmm.passes import measured
from fastgmm.rows import ArrayRows
from fastgmm.sources import BatchRows
from fastgmm.sources.measured import with_errors
from fastgmm.sources.source import source_of

N, D, K = 48, 3, 2
STRUCTURES = "full", "tied", "diag", "spherical"


def errors_of(n_rows, n_features=D, seed=4):
    """Covariances of errors, some of which are none."""
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(n_rows, n_features, n_features))
    errors = factor @ factor.transpose(0, 2, 1) * rng.uniform(0.0, 0.8, size=(n_rows, 1, 1))
    errors[:3] = 0.0
    return errors


ROWS = 2.0 * np.random.default_rng(1).normal(size=(N, D))
ERRORS = errors_of(N)


def variances(errors):
    return np.diagonal(errors, axis1=-2, axis2=-1).copy()


#: What users may give, and the covariance of each row's errors that it stands for.
FORMS = {
    "matrices": (ERRORS, ERRORS),
    "variances": (variances(ERRORS), variances(ERRORS)[:, :, None] * np.eye(D)),
    "one matrix": (ERRORS[7], np.broadcast_to(ERRORS[7], ERRORS.shape)),
    "variances for all": (variances(ERRORS[7]), np.broadcast_to(np.diag(variances(ERRORS[7])), ERRORS.shape)),
    "one variance": (0.3, np.broadcast_to(0.3 * np.eye(D), ERRORS.shape)),
    "groups": (ERRORS[np.arange(N) % 4 + 6], ERRORS[np.arange(N) % 4 + 6]),
}


def posterior(weights, means, covariances, row, error):
    """Log joints, and means and covariances of what was measured, by the formulas (20) and (21) of the paper."""
    joint, mean, covariance = [], [], []
    for weight, centre, own in zip(weights, means, covariances, strict=True):
        total = own + error
        gain = own @ np.linalg.inv(total)
        gap = row - centre
        distance = gap @ np.linalg.solve(total, gap)
        joint.append(np.log(weight) - 0.5 * np.linalg.slogdet(2.0 * np.pi * total)[1] - 0.5 * distance)
        mean.append(centre + gain @ gap)
        covariance.append(own - gain @ own)
    return np.array(joint), np.array(mean), np.array(covariance)


def twin(mixture, rows, errors, weight, origin):
    """Statistics row by row."""
    mass, deviation, scatter, evidence = np.zeros(K), np.zeros((K, D)), np.zeros((K, D, D)), 0.0
    for row, error, w in zip(rows, errors, weight, strict=True):
        joint, mean, covariance = posterior(*mixture, row, error)
        total = np.logaddexp.reduce(joint)
        share, gap = w * np.exp(joint - total), mean - origin
        evidence += w * total
        mass += share
        deviation += share[:, None] * gap
        scatter += share[:, None, None] * (gap[:, :, None] * gap[:, None, :] + covariance)
    return mass, deviation, scatter, evidence


def mixture_of(structure):
    """A family and a mixture of it: weights, means, covariances as it has them and as matrices."""
    rng = np.random.default_rng(2)
    family = FAMILIES[structure]
    matrices = np.stack([np.cov(rng.normal(size=(D, 9))) for _ in range(K)])
    own = {"full": matrices, "tied": matrices[0], "diag": variances(matrices), "spherical": matrices[:, 0, 0]}[
        structure
    ]
    return family, np.array([0.3, 0.7]), rng.normal(size=(K, D)), own.copy(), family.matrices(own.copy(), K, D)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("structure", STRUCTURES)
def test_statistics_are_those_of_a_slow_twin(structure, form, monkeypatch):
    monkeypatch.setattr(measured, "_MANY", 5)  # groups get passes of their own
    family, weights, means, own, matrices = mixture_of(structure)
    density, _ = family.density(weights, means, own)
    given, errors = FORMS[form]
    for weight in (None, np.arange(N) % 3 * 0.5):
        source = source_of(family, with_errors(ArrayRows(ROWS, weight), given))
        for origin in (means, means + 0.7):
            found = source.collect(density, None if origin is means else origin)
            w = np.ones(N) if weight is None else weight
            mass, deviation, scatter, evidence = twin((weights, means, matrices), ROWS, errors, w, origin)
            if family.has_matrices:
                scatter = scatter.sum(axis=0) if structure == "tied" else scatter
            else:
                scatter = variances(scatter) if structure == "diag" else variances(scatter).sum(axis=1)
            np.testing.assert_allclose(found.mass, mass, rtol=1e-10)
            np.testing.assert_allclose(found.deviation, deviation, atol=1e-10)
            np.testing.assert_allclose(found.scatter, scatter, atol=1e-10)
            assert found.log_evidence == pytest.approx(evidence, rel=1e-11)
            assert found.weight == pytest.approx(w.sum())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("structure", ["full", "diag"])
def test_scores_and_rows_without_errors_are_those_of_a_slow_twin(structure, form):
    _, weights, means, own, matrices = mixture_of(structure)
    model = GaussianMixture.from_parameters(weights, means, own, structure)
    given, errors = FORMS[form]
    found = [posterior(weights, means, matrices, row, error) for row, error in zip(ROWS, errors, strict=True)]
    joint = np.stack([each[0] for each in found])
    evidence = np.logaddexp.reduce(joint, axis=1)
    shares = np.exp(joint - evidence[:, None])
    np.testing.assert_allclose(model.score_samples(ROWS, sample_covariance=given), evidence, rtol=1e-12)
    np.testing.assert_allclose(model.predict_proba(ROWS, sample_covariance=given), shares, atol=1e-12)
    np.testing.assert_array_equal(model.predict(ROWS, sample_covariance=given), joint.argmax(axis=1))
    weight = np.arange(N) % 3 * 1.0
    expected = weight @ evidence / weight.sum()
    assert model.score(ROWS, sample_weight=weight, sample_covariance=given) == pytest.approx(expected, rel=1e-12)
    total = model.score(ROWS, sample_covariance=given) * N
    n_parameters = {"full": 2 * 3 + 1 + 2 * 6, "diag": 2 * 3 + 1 + 2 * 3}[structure]
    assert model.aic(ROWS, sample_covariance=given) == pytest.approx(2 * n_parameters - 2 * total)
    assert model.bic(ROWS, sample_covariance=given) == pytest.approx(n_parameters * np.log(N) - 2 * total)
    icl = model.bic(ROWS, sample_covariance=given) - 2 * np.log(shares.max(axis=1)).sum()
    assert model.icl(ROWS, sample_covariance=given) == pytest.approx(icl)
    mean, covariance = model.deconvolve(ROWS, given)
    for i, (_, means_of_row, covariances) in enumerate(found):
        np.testing.assert_allclose(mean[i], shares[i] @ means_of_row, atol=1e-12)
        gap = means_of_row - shares[i] @ means_of_row
        expected = np.einsum("k,kab->ab", shares[i], covariances) + (shares[i][:, None] * gap).T @ gap
        np.testing.assert_allclose(covariance[i], expected, atol=1e-11)


def faithful():
    rows = load_faithful().data
    i = np.arange(len(rows))
    errors = np.zeros((len(rows), 2, 2))
    errors[:, 0, 0], errors[:, 1, 1] = 0.01 + 0.04 * (i % 7) / 6, 4 + 12 * (i % 5) / 4
    errors[:, 0, 1] = errors[:, 1, 0] = np.where(i % 2, 0.5, -0.5) * np.sqrt(errors[:, 0, 0] * errors[:, 1, 1])
    return rows, errors, (rows[:, 1] > 68).astype(np.int64)


def test_old_faithful_with_errors_is_fitted_as_other_programs_do():
    """Parameters and log-likelihood by two programs of others, and the bound never falls."""
    rows, errors, start = faithful()
    model = GaussianMixture(2, init_params=start, reg_covar=0.0, tol=1e-13, max_iter=3000)
    model.fit(rows, sample_covariance=errors)
    assert model.lower_bound_ * len(rows) == pytest.approx(-1133.725034090, abs=1e-8)
    np.testing.assert_allclose(model.weights_, [0.355688987, 0.644311013], atol=1e-6)
    np.testing.assert_allclose(model.means_, [[2.0296279, 54.26756033], [4.27993971, 79.90885171]], atol=2e-6)
    expected = [[0.039309517, 0.416731328, 25.618786201], [0.153818251, 0.874573613, 27.321438562]]
    np.testing.assert_allclose(model.covariances_[:, [0, 0, 1], [0, 1, 1]], expected, rtol=1e-6)
    assert np.diff(model.lower_bounds_).min() > -1e-14
    assert model.score(rows, sample_covariance=errors) == pytest.approx(model.lower_bound_, rel=1e-14)
    other = GaussianMixture(2, init_params=start, reg_covar=0.0, tol=1e-13, max_iter=3000, accelerate="squarem")
    other.fit(rows, sample_covariance=errors)
    assert other.lower_bound_ == pytest.approx(model.lower_bound_, rel=1e-12)
    assert max(other.n_passes_, model.n_passes_) < 30


def test_one_error_for_all_leaves_the_covariance_less_the_error():
    rows = load_iris().data
    covariance = np.cov(rows.T, bias=True)
    error = 0.4 * covariance + 0.01 * np.eye(4)
    model = GaussianMixture(1, reg_covar=0.0, tol=1e-14, max_iter=2000).fit(rows, sample_covariance=error)
    np.testing.assert_allclose(model.covariances_[0], covariance - error, atol=1e-10)
    np.testing.assert_allclose(model.means_[0], rows.mean(axis=0), rtol=1e-12)


@pytest.mark.parametrize("structure", [*STRUCTURES, "tied-diag", "VEV"])
def test_without_errors_a_fit_is_the_ordinary_one(structure):
    rows = load_iris().data
    model = GaussianMixture(3, covariance_type=structure, random_state=0, max_iter=500)
    exact = model.fit(rows).means_
    for error in (0.0, np.zeros((150, 4, 4))):
        np.testing.assert_allclose(model.fit(rows, sample_covariance=error).means_, exact, rtol=1e-12)


@pytest.mark.parametrize("structure", ["full", "diag"])
@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_errors_may_be_tiny_or_huge(structure, scale):
    """The posterior covariance has its digits where one of V and S is far smaller than the other."""
    _, _, means, own, matrices = mixture_of(structure)
    model = GaussianMixture.from_parameters([1.0], means[:1], own[:1], structure)
    error = scale * np.diag([1.0, 2.0, 3.0])
    _, covariance = model.deconvolve(ROWS, error)
    least = min((error, matrices[0]), key=np.trace)
    np.testing.assert_allclose(covariance, np.broadcast_to(least, covariance.shape), rtol=1e-8, atol=1e-10 * scale**-1)
    assert np.isfinite(model.score_samples(ROWS, sample_covariance=error)).all()
    found = source_of(FAMILIES[structure], with_errors(ArrayRows(ROWS), np.repeat(error[None], N, axis=0)))
    statistics = found.collect(model._density())
    assert (
        np.linalg.eigvalsh(statistics.scatter[0] if structure == "full" else np.diag(statistics.scatter[0])).min() > 0
    )


@pytest.mark.parametrize("form", ["matrices", "variances", "one for all"])
def test_a_column_of_huge_errors_counts_as_missing(form):
    """Such errors leave the digits of the other columns alone."""
    rng = np.random.default_rng(7)
    factor = rng.normal(size=(K, D, D))
    covariances = factor @ factor.transpose(0, 2, 1) + 0.1 * np.eye(D)
    model = GaussianMixture.from_parameters([0.4, 0.6], rng.normal(size=(K, D)), covariances)
    part = model.marginal([0, 2])
    error = np.diag([0.1, 1e13, 0.3])
    given = {"matrices": np.repeat(error[None], N, axis=0), "variances": np.repeat(np.diag(error)[None], N, axis=0)}
    given, left = given.get(form, error), error[[0, 2]][:, [0, 2]]
    expected = part.predict_proba(ROWS[:, [0, 2]], sample_covariance=left)
    np.testing.assert_allclose(model.predict_proba(ROWS, sample_covariance=given), expected, atol=1e-11)
    for found, known in zip(model.deconvolve(ROWS, given), part.deconvolve(ROWS[:, [0, 2]], left), strict=True):
        places = np.ix_(np.arange(N), *[[0, 2]] * (found.ndim - 1))
        np.testing.assert_allclose(found[places], known, atol=1e-11)
    sums = [
        source_of(FAMILIES["full"], with_errors(ArrayRows(rows), errors)).collect(each._density())
        for each, rows, errors in ((model, ROWS, given), (part, ROWS[:, [0, 2]], left))
    ]
    np.testing.assert_allclose(
        sums[0].scatter[:, [0, 0, 2], [0, 2, 2]], sums[1].scatter[:, [0, 0, 1], [0, 1, 1]], atol=1e-9
    )


class Plain(GaussianMixture):
    """Fits of so many plain updates, which depend on no coordinates."""

    def _pace(self, source):
        return self.tol, self.stopping, None


def fitted(rows, errors, **params):
    params = {"init_params": (rows[:, 0] > np.median(rows[:, 0])).astype(np.int64), "tol": 0.0, "max_iter": 20} | params
    with pytest.warns(match="did not converge"):
        return Plain(2, **{"reg_covar": 0.0} | params).fit(rows, sample_covariance=errors)


@pytest.mark.parametrize("scale", [1e-150, 1e150])
@pytest.mark.parametrize("form", ["matrices", "variances"])
def test_fits_of_any_scale_and_far_from_the_origin(scale, form):
    errors = FORMS[form][0]
    plain, scaled = fitted(ROWS, errors), fitted(scale * ROWS, errors * scale * scale)
    np.testing.assert_allclose(scaled.means_ / scale, plain.means_, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(scaled.covariances_ / scale / scale, plain.covariances_, rtol=1e-7, atol=1e-9)
    moved = fitted(ROWS + 1e8, errors)
    np.testing.assert_allclose(moved.means_ - 1e8, plain.means_, atol=1e-6)
    np.testing.assert_allclose(moved.covariances_, plain.covariances_, atol=1e-5)


def test_fits_of_permuted_columns_copies_and_any_number_of_threads(monkeypatch):
    monkeypatch.setattr(measured, "_MANY", 400)
    rng = np.random.default_rng(0)
    rows = np.concatenate([ROWS + 0.1 * rng.normal(size=ROWS.shape) for _ in range(60)])
    errors = 0.5 * errors_of(len(rows))  # none so large that starts draw numbers
    errors[:500] = errors[7]  # some rows are a group, the others are not
    plain = fitted(rows, errors, n_threads=1)
    order = [2, 0, 1]
    labels = (rows[:, 0] > np.median(rows[:, 0])).astype(np.int64)
    turned = fitted(rows[:, order], errors[:, order][:, :, order], init_params=labels)
    np.testing.assert_allclose(turned.means_, plain.means_[:, order], rtol=1e-9)
    threads = fitted(rows, errors, n_threads=2)
    np.testing.assert_array_equal(threads.means_, plain.means_)
    np.testing.assert_array_equal(threads.covariances_, plain.covariances_)
    weight = rng.integers(0, 3, size=len(rows))
    weighted = GaussianMixture(2, init_params=labels, tol=1e9).fit(rows, sample_weight=weight, sample_covariance=errors)
    copies = np.repeat(np.arange(len(rows)), weight)
    copied = GaussianMixture(2, init_params=labels[copies], tol=1e9).fit(rows[copies], sample_covariance=errors[copies])
    np.testing.assert_allclose(weighted.means_, copied.means_, rtol=1e-10)
    np.testing.assert_allclose(weighted.covariances_, copied.covariances_, rtol=1e-9, atol=1e-12)
    assert weighted.lower_bound_ == pytest.approx(copied.lower_bound_, rel=1e-12)


def test_rows_of_float32_and_of_a_frame():
    pd = pytest.importorskip("pandas")
    single = fitted(ROWS.astype(np.float32), ERRORS.astype(np.float32))
    assert single.means_.dtype == np.float32
    np.testing.assert_allclose(single.means_, fitted(ROWS, ERRORS).means_, rtol=1e-4, atol=1e-5)
    frame = pd.DataFrame(ROWS, columns=["a", "b", "c"])
    table = pd.DataFrame(variances(ERRORS), columns=["a", "b", "c"])
    model = fitted(ROWS, variances(ERRORS), init_params=np.arange(N) % 2)
    with pytest.warns(match="did not converge"):
        own = Plain(2, reg_covar=0.0, init_params=np.arange(N) % 2, tol=0.0, max_iter=20).fit(
            frame, sample_covariance=table
        )
    np.testing.assert_array_equal(own.means_, model.means_)
    with pytest.raises(ValueError, match="same order"):
        own.predict(frame, sample_covariance=table[["b", "a", "c"]])


def test_errors_with_names_are_those_of_the_rows_and_columns_of_x():
    pd = pytest.importorskip("pandas")
    names = ["a", "b", "c"]
    frame = pd.DataFrame(ROWS, columns=names, index=[f"row {i}" for i in range(N)])
    table = pd.DataFrame(variances(ERRORS), columns=names, index=frame.index)
    model = GaussianMixture(2, random_state=0, tol=1e9)
    ordered = [
        (table, variances(ERRORS)),
        (table.set_index(pd.RangeIndex(N)), variances(ERRORS)),
        (table.mean(), table.to_numpy().mean(axis=0)),
        (frame.cov(), frame.cov().to_numpy()),
    ]
    for given, plain in ordered:
        means = model.fit(frame, sample_covariance=given).means_
        np.testing.assert_array_equal(means, model.fit(ROWS, sample_covariance=plain).means_)
        model.fit(frame, sample_covariance=given)
    refused = [
        (table.mean()[["b", "a", "c"]], "same order"),
        (frame.cov().loc[["b", "a", "c"]], "same order"),
        (frame.cov()[["b", "a", "c"]], "same order"),
        (table[::-1], r"sample_covariance.loc\[X.index\]"),
    ]
    for given, message in refused:
        for use in (model.fit, model.predict, model.score_samples, model.bic, model.deconvolve):
            with pytest.raises(ValueError, match=message):
                use(frame, sample_covariance=given)


def test_a_start_takes_the_errors_out_of_its_covariances():
    rng = np.random.default_rng(3)
    rows = np.concatenate([[0.0, 0.0] + rng.normal(size=(400, 2)), [9.0, 0.0] + rng.normal(size=(400, 2))])
    model = GaussianMixture(2, random_state=0, max_iter=2, tol=1e9).fit(rows, sample_covariance=0.84)
    np.testing.assert_allclose(variances(model.covariances_), 0.16, atol=0.08)
    model = GaussianMixture(2, random_state=0, n_init=3, race=True).fit(rows, sample_covariance=0.84)
    assert np.isfinite(model.lower_bound_)


def test_components_that_errors_explain_are_no_spikes():
    """Rows of one value have a likelihood without limit where they are exact, and one where they have errors."""
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.normal(size=(100, 1)), np.full((60, 1), 3.0)])
    start = {"init_params": np.repeat([0, 1], [100, 60]), "max_iter": 300, "tol": 1e-6}
    with pytest.warns(match="sits on one repeated value"):
        GaussianMixture(2, **start).fit(rows, sample_covariance=0.0)
    model = GaussianMixture(2, **start).fit(rows, sample_covariance=0.01)
    assert model.spurious_ == []
    # Less spread than the errors have: what was measured may have had none.
    narrow = GaussianMixture(1, tol=1e-7, max_iter=2000).fit(rows[:100] * 0.5, sample_covariance=1.0)
    assert narrow.covariances_[0, 0, 0] < 0.02
    assert narrow.spurious_ == []


@pytest.mark.parametrize("params", [{"equal_weights": True}, {"frozen": {"means": [0]}}, {"warm_start": True}])
def test_fits_with_errors_of_other_rules(params):
    rows, errors, start = faithful()
    first = GaussianMixture(2, init_params=start).fit(rows, sample_covariance=errors)
    model = GaussianMixture(2, init_params=start, means_init=first.means_ + 0.1, **params, tol=1e-9, max_iter=900)
    model.fit(rows, sample_covariance=errors)
    if "frozen" in params:
        np.testing.assert_array_equal(model.means_[0], first.means_[0] + 0.1)
    if "equal_weights" in params:
        np.testing.assert_array_equal(model.weights_, 0.5)
    again = model.fit(rows, sample_covariance=errors)
    assert again.score(rows, sample_covariance=errors) == pytest.approx(again.lower_bound_)


def test_samples_have_errors():
    model = GaussianMixture.from_parameters([0.4, 0.6], [[0.0, 0.0], [9.0, 0.0]], [np.eye(2), 2.0 * np.eye(2)])
    error = np.array([[1.0, 0.9], [0.9, 3.0]])
    for given in (error, np.repeat(error[None], 40_000, axis=0)):
        rows, labels = model.sample(40_000, random_state=0, sample_covariance=given)
        for k in range(2):
            expected = (k + 1.0) * np.eye(2) + error
            np.testing.assert_allclose(np.cov(rows[labels == k].T), expected, atol=0.1)
    rows, labels = model.sample(40_000, random_state=0, sample_covariance=[4.0, 0.0])
    np.testing.assert_allclose(np.cov(rows[labels == 0].T), [[5.0, 0.0], [0.0, 1.0]], atol=0.1)
    exact, _ = model.sample(5, random_state=0)
    np.testing.assert_array_equal(model.sample(5, random_state=0, sample_covariance=0.0)[0], exact)


def changed(errors, place, value):
    errors = errors.copy()
    errors[place] = value
    return errors


BAD = [
    (changed(ERRORS, (5, 1, 1), np.nan), "NaN (row 5)"),
    (changed(variances(ERRORS), (5, 1), np.inf), "infinity (row 5, column 1)"),
    (changed(variances(ERRORS), (5, 1), -2.0), "got -2 (row 5, column 1)"),
    (changed(ERRORS, (5, 1, 1), -2.0), "variances >= 0 on diagonals, got in row 5"),
    (changed(ERRORS, (5, 1, 2), 7.0), "must be symmetric, got in row 5"),
    (changed(ERRORS, (5, [0, 1], [1, 0]), 90.0), "must be positive semidefinite, got in row 5"),
    (changed(ERRORS, (1, [0, 1], [1, 0]), 1e-3), "must be positive semidefinite, got in row 1"),
    (ERRORS[:-1], f"got {(N - 1, D, D)}"),
    (-1.0, "got -1 (column 0)"),
    ("much", "sample_covariance must hold numbers: a variance, or an array or a frame of variances or covariances"),
    ({"a": 1}, "variances or covariances, got {'a': 1}"),
    (False, "variances or covariances, got False"),
    (np.bool_(True), "variances or covariances, got True"),
    (np.ones(D, bool), "got an array of True and False"),
    (object(), "sample_covariance: argument must be a string or a number"),
]


@pytest.mark.parametrize(("errors", "message"), BAD)
def test_errors_that_are_none_are_refused_by_name(errors, message):
    model = GaussianMixture(2, random_state=0).fit(ROWS)
    before = model.means_
    kind = TypeError if type(errors) is object else ValueError
    for use in (model.fit, model.predict, model.score):
        with pytest.raises(kind, match=re.escape(message)):
            use(ROWS, sample_covariance=errors)
    with pytest.raises(kind, match=re.escape(message)):
        model.deconvolve(ROWS, errors)
    assert model.means_ is before


def test_a_square_of_numbers_may_be_two_things():
    with pytest.raises(ValueError, match=r"may be the variances of 3 rows or one covariance for all"):
        GaussianMixture(1).fit(ROWS[:3], sample_covariance=np.eye(3))
    GaussianMixture(1).fit(ROWS[:3], sample_covariance=np.repeat(np.eye(3)[None], 3, axis=0))
    GaussianMixture(1).fit(ROWS[:2, :1], sample_covariance=[[0.1], [0.2]])


def test_rows_that_are_too_far_are_refused_by_name():
    model = GaussianMixture(1).fit(ROWS)
    rows = changed(ROWS, (4, 0), 1e200)
    with pytest.raises(ValueError, match="row 4 of X lies so far"):
        model.predict(rows, sample_covariance=ERRORS)
    with pytest.raises(ValueError, match="row 4"):
        source_of(FAMILIES["full"], with_errors(ArrayRows(rows), ERRORS)).collect(model._density())


REFUSED = [
    (lambda: GaussianMixture(2, truncate=1).fit(ROWS, sample_covariance=1.0), "truncate must be left out"),
    (lambda: GaussianMixture(2, checkpoint="a").fit(ROWS, sample_covariance=1.0), "checkpoint must be left out"),
    (
        lambda: GaussianMixture(2).fit(BatchRows(lambda: [ROWS]), sample_covariance=1.0),
        "sample_covariance must be None where X is rows",
    ),
    (lambda: GaussianMixture(2).partial_fit(ROWS, sample_covariance=1.0), "sample_covariance"),
    (lambda: BayesianGaussianMixture(2).fit(ROWS, sample_covariance=1.0), "sample_covariance"),
    (lambda: GaussianMixtureIC().fit(ROWS, sample_covariance=1.0), "sample_covariance"),
    (lambda: fit_many(GaussianMixture(2), [ROWS], sample_covariance=1.0), "sample_covariance"),
    (lambda: GaussianMixture(2).fit(ROWS).statistics(ROWS, sample_covariance=1.0), "sample_covariance"),
    (lambda: GaussianMixture(2).deconvolve(ROWS, 1.0), "not fitted"),
]


@pytest.mark.parametrize(("use", "message"), REFUSED)
def test_uses_that_know_no_errors_refuse_them_by_name(use, message):
    with pytest.raises((ValueError, TypeError), match=message):
        use()


def test_models_that_were_fitted_with_errors_are_models(tmp_path):
    rows, errors, _ = faithful()
    model = GaussianMixture(2, init_params="kmeans", random_state=0).fit(rows, sample_covariance=errors)
    path = tmp_path / "model.json"
    save_model(model, path)
    for other in (pickle.loads(pickle.dumps(model)), load_model(path)):
        np.testing.assert_array_equal(
            other.predict(rows, sample_covariance=errors), model.predict(rows, sample_covariance=errors)
        )
    np.testing.assert_array_equal(
        model.fit_predict(rows, sample_covariance=errors), model.predict(rows, sample_covariance=errors)
    )


def test_scikit_learn_passes_errors_on():
    sklearn = pytest.importorskip("sklearn", minversion="1.7")
    from sklearn.model_selection import GridSearchCV

    rows, errors, _ = faithful()
    with sklearn.config_context(enable_metadata_routing=True):
        model = GaussianMixture(random_state=0).set_fit_request(sample_covariance=True)
        model.set_score_request(sample_covariance=True)
        search = GridSearchCV(model, {"n_components": [1, 2]}, cv=3).fit(rows, sample_covariance=errors)
    assert search.best_params_ == {"n_components": 2}
    expected = GaussianMixture(2, random_state=0).fit(rows, sample_covariance=errors)
    np.testing.assert_array_equal(search.best_estimator_.means_, expected.means_)


def test_scikit_learn_passes_errors_on_to_predictions():
    sklearn = pytest.importorskip("sklearn", minversion="1.7")
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    rows, errors, _ = faithful()
    with sklearn.config_context(enable_metadata_routing=True):
        model = GaussianMixture(2, random_state=0).set_fit_request(sample_covariance=True)
        model.set_predict_request(sample_covariance=True).set_predict_proba_request(sample_covariance="errors")
        pipeline = make_pipeline(FunctionTransformer(), model).fit(rows, sample_covariance=errors)
        labels = pipeline.predict(rows, sample_covariance=20.0 * errors)
        shares = pipeline.predict_proba(rows, errors=20.0 * errors)
    model = pipeline[-1]
    np.testing.assert_array_equal(labels, model.predict(rows, sample_covariance=20.0 * errors))
    np.testing.assert_array_equal(shares, model.predict_proba(rows, sample_covariance=20.0 * errors))
    assert (shares != model.predict_proba(rows)).any()


def test_a_score_does_not_depend_on_the_place_of_its_row():
    for structure, errors in (("full", ERRORS), ("diag", variances(ERRORS))):
        _, weights, means, own, _ = mixture_of(structure)
        model = GaussianMixture.from_parameters(weights, means, own, structure)
        whole = model.score_samples(ROWS, sample_covariance=errors)
        for place in (0, 13, 47):
            alone = model.score_samples(ROWS[place : place + 1], sample_covariance=errors[place : place + 1])
            assert alone[0] == whole[place]
