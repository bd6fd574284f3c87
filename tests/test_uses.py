"""Every covariance family in every use: it works and agrees with a dense twin, or it is refused by name.

To the registered families comes the one that docs/add-a-family.md adds, as a user would.
"""

import importlib.util
import json
import math
import pickle
import re
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import reference
from conftest import but_alike, dense, skip_always

from fastgmm import BayesianGaussianMixture, GaussianMixture, fit_many
from fastgmm.estimators.showing import columns_of, parameters_of
from fastgmm.exceptions import ConvergenceWarning
from fastgmm.families import FAMILIES, Diag, Full
from fastgmm.io import ModelFileError, load_model, save_model
from fastgmm.kernels import DiagDensity, compiling
from fastgmm.kernels.updates.constraints import constraint
from fastgmm.sources import open_rows

ROOT = Path(__file__).parent.parent
TRIED = [*FAMILIES, "shared-last"]
KINDS = GaussianMixture, BayesianGaussianMixture
STARTS = ("kmeans", "k-means++", "random", "random_from_data", "short-em", "kmeans-whitened", "agglomerative")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The module that docs/add-a-family.md shows."""
    path = ROOT / "docs" / "add-a-family.md"
    if not path.exists():
        pytest.skip("needs a checkout")
    (code,) = re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL)
    file = tmp_path_factory.mktemp("page") / "shared_last.py"
    file.write_text(code)
    spec = importlib.util.spec_from_file_location("shared_last", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def made_up_family(page):
    return page.SharedLast()


@pytest.fixture(params=KINDS, ids=["em", "vb"])
def made(request, family):
    """A function that makes an estimator of the family; a family without a conjugate prior ends the test here."""
    kind = request.param

    def make(**params):
        return kind(3, covariance_type=family, random_state=0, max_iter=500, **{"tol": 1e-6, **params})

    if kind is BayesianGaussianMixture and not family.is_conjugate:
        with pytest.raises(ValueError, match=f"covariance_type '{family.name}' has no conjugate prior"):
            make().fit(ROWS)
        with pytest.raises(ValueError, match=f"covariance_type '{family.name}' has no conjugate prior"):
            fit_many(make(), [ROWS])
        pytest.skip("refused by name, as it should be")
    return make


def _rows():
    rng = np.random.default_rng(3)
    centres = np.array([[0.0, 0.0], [6.0, 1.0], [2.0, 7.0]])
    return np.concatenate([rng.normal(centre, [1.0, 0.7], (90, 2)) for centre in centres])


ROWS = _rows()


def _scored(model, X, predictive="plug-in"):
    extra = {} if isinstance(model, GaussianMixture) else {"predictive": predictive}
    return model.score_samples(X, **extra)


def _agrees(model, family, X=ROWS, rtol=1e-9):
    """Assert that a mixture's densities are those of its dense covariances, and that it found the three groups."""
    joint = reference.log_joint(X, model.weights_, model.means_, dense(model, family))
    np.testing.assert_allclose(_scored(model, X), reference.log_sum_exp(joint), rtol=rtol)
    assert np.bincount(model.predict(X), minlength=3) == pytest.approx([len(X) // 3] * 3, abs=10)
    return model


def _assert_same(one, two, names=("weights_", "means_", "covariances_", "lower_bound_")):
    for name in names:
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)


def test_a_fit_is_where_a_step_of_the_dense_twin_leads_back_to(family):
    model = GaussianMixture(3, covariance_type=family, reg_covar=1e-3, tol=1e-12, max_iter=5000, random_state=0).fit(
        ROWS
    )
    _agrees(model, family)
    r = reference.responsibilities(ROWS, model.weights_, model.means_, dense(model, family))
    weights, means, covariances = reference.em_step(family, ROWS, np.ones(len(ROWS)), r, 1e-3)
    np.testing.assert_allclose(model.weights_, weights, rtol=1e-5)
    np.testing.assert_allclose(model.means_, means, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(model.covariances_, family.attribute(covariances), rtol=1e-4, atol=1e-6)
    n_rows, n_parameters = len(ROWS), model._n_parameters()
    assert model.bic(ROWS) == pytest.approx(-2 * n_rows * model.score(ROWS) + n_parameters * math.log(n_rows))
    assert n_parameters == family.n_covariance_parameters(3, 2) + 3 * 2 + 2


def test_the_bound_never_falls(made):
    bounds = made(reg_covar=0.0, tol=0.0).set_params(max_iter=60, init_params="random")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        bounds = np.array(bounds.fit(ROWS).lower_bounds_)
    assert np.diff(bounds).min() >= -1e-11 * np.abs(bounds).max()


def test_weights_are_copies(made, family):
    weight = np.random.default_rng(0).integers(0, 4, len(ROWS)).astype(float)
    given = {"means_init": ROWS[[0, 100, 200]]}
    weighted = made(tol=1e-10, **given).fit(ROWS, sample_weight=weight)
    copied = made(tol=1e-10, **given).fit(np.repeat(ROWS, weight.astype(int), axis=0))
    np.testing.assert_allclose(weighted.means_, copied.means_, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(dense(weighted, family), dense(copied, family), rtol=1e-4, atol=1e-5)


def test_many_fits(made, family):
    problems = [ROWS, ROWS * 3 + 1, ROWS[::2]]
    many = fit_many(made(init_params="kmeans"), problems)
    assert many.covariances_.shape == (3, *family.attribute_shape(3, 2))
    assert many.precisions_cholesky_.shape == many.covariances_.shape
    for one, X in zip(many, problems, strict=True):
        _agrees(one, family, X)
        alone = made(init_params="kmeans").fit(X)
        order = np.lexsort(alone.means_.T)
        np.testing.assert_allclose(one.means_[np.lexsort(one.means_.T)], alone.means_[order], rtol=1e-3, atol=1e-3)


def test_batches_are_learned(made, family):
    model = made()
    shuffled = np.random.default_rng(1).permutation(ROWS)
    for batch in np.array_split(shuffled, 3):
        model.partial_fit(batch)
    _agrees(model, family)


def test_files_and_dask(made, family, tmp_path):
    path = tmp_path / "rows.npy"
    np.save(path, ROWS)
    memory = made().fit(ROWS)
    _assert_same(memory, made().fit(open_rows(path)))
    array = pytest.importorskip("dask.array")
    spread = made().fit(array.from_array(ROWS, chunks=(70, 2)))
    np.testing.assert_allclose(spread.means_, memory.means_, rtol=1e-9)
    np.testing.assert_allclose(dense(spread, family), dense(memory, family), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("start", STARTS)
def test_starts(made, family, start):
    model = made(init_params=start, n_init=4 if start.startswith(("random", "k-means++")) else 1).fit(ROWS)
    # A start may end elsewhere; the mixture must be what it says it is.
    joint = reference.log_joint(ROWS, model.weights_, model.means_, dense(model, family))
    np.testing.assert_allclose(_scored(model, ROWS), reference.log_sum_exp(joint), rtol=1e-9)
    if start in ("kmeans", "k-means++", "short-em", "agglomerative"):
        _agrees(model, family)


def test_a_given_start(made, family):
    first = made().fit(ROWS)
    names = ("weights", "precisions") if isinstance(first, GaussianMixture) else ("covariances",)
    given = {f"{name}_init": getattr(first, f"{name}_") for name in names} | {"means_init": first.means_}
    again = made(**given).fit(ROWS)
    np.testing.assert_allclose(again.means_, first.means_, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(dense(again, family), dense(first, family), rtol=1e-2, atol=1e-3)


def test_known_parts(made, family):
    model = made()
    start = made().fit(ROWS)
    if isinstance(model, BayesianGaussianMixture):
        assert "frozen" not in model.get_params()
        return
    model.set_params(frozen={"means": [1]}, means_init=start.means_ + 0.1)
    if family.constraint is not None and not family.is_tied:
        with pytest.raises(ValueError, match=f"frozen must be None with covariance_type '{family.name}'"):
            model.fit(ROWS)
        return
    model.fit(ROWS)
    np.testing.assert_array_equal(model.means_[1], start.means_[1] + 0.1)
    _agrees(model, family)


@pytest.mark.parametrize("accelerate", ["squarem", "anderson"])
def test_acceleration(made, family, accelerate):
    plain, fast = made(tol=1e-9).fit(ROWS), made(tol=1e-9, accelerate=accelerate).fit(ROWS)
    assert fast.lower_bound_ == pytest.approx(plain.lower_bound_, rel=1e-6)
    _agrees(fast, family)


def test_truncation(made, family):
    if not family.skips:
        with pytest.raises(ValueError, match="truncate must be None"):
            made(truncate=2).fit(ROWS)
        return
    _agrees(made(truncate=2).fit(ROWS), family)


def test_skipping(made, family, monkeypatch):
    plain = made(tol=1e-4).fit(ROWS)
    skip_always(monkeypatch)
    skipped = made(tol=1e-4).fit(ROWS)
    np.testing.assert_allclose(skipped.means_, plain.means_, rtol=1e-9)
    np.testing.assert_allclose(dense(skipped, family), dense(plain, family), rtol=1e-8, atol=1e-12)


def test_float32(made, family):
    model = made(tol=1e-4).fit(ROWS.astype(np.float32))
    assert model.covariances_.dtype == np.float32
    _agrees(model, family, ROWS.astype(np.float32), rtol=1e-4)


def test_parameters_that_are_given(made, family):
    model = made().fit(ROWS)
    if isinstance(model, GaussianMixture):
        again = GaussianMixture.from_parameters(model.weights_, model.means_, model.covariances_, family)
    else:
        again = BayesianGaussianMixture.from_parameters(
            model.weight_concentration_, model.mean_precision_, model.means_, model.degrees_of_freedom_,
            model.covariances_, family,
        )  # fmt: skip
    np.testing.assert_allclose(again.score_samples(ROWS), model.score_samples(ROWS), rtol=1e-12)
    wrong = np.zeros((7, 7, 7))
    with pytest.raises(ValueError, match=f"'{family.name} covariance' should have the shape of"):
        GaussianMixture.from_parameters(model.weights_, model.means_, wrong, family)


def test_model_files_pickles_and_clones(made, family, tmp_path):
    model = made().fit(ROWS)
    again = pickle.loads(pickle.dumps(model)) if type(family).__module__ != "shared_last" else model
    np.testing.assert_array_equal(again.predict_proba(ROWS), model.predict_proba(ROWS))
    path = tmp_path / "model.json"
    if family.name not in FAMILIES:
        with pytest.raises(ModelFileError, match=f"cannot store the covariance type '{family.name}'"):
            save_model(model, path)
        assert not path.exists()
        return
    save_model(model, path)
    loaded = load_model(path)
    _assert_same(loaded, model, ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"))
    np.testing.assert_array_equal(loaded.score_samples(ROWS), model.score_samples(ROWS))


def test_checkpoints(made, tmp_path):
    path = tmp_path / "fit.checkpoint"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        made(checkpoint=path, checkpoint_interval=0.0).set_params(max_iter=2).fit(ROWS)
    _assert_same(made(checkpoint=path, checkpoint_interval=0.0).fit(ROWS), made().fit(ROWS))


def test_warm_starts_go_on(made):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = made(warm_start=True).set_params(max_iter=2).fit(ROWS)
    before = model.lower_bound_
    assert model.set_params(max_iter=500).fit(ROWS).lower_bound_ >= before - 1e-12 * abs(before)


def test_parts_and_the_rest(made, family):
    """The chain rule, and the marginal's dense twin."""
    model = made().fit(ROWS)
    part = model.marginal([1])
    joint = reference.log_joint(ROWS[:, [1]], model.weights_, model.means_[:, [1]], dense(model, family)[:, 1:, 1:])
    np.testing.assert_allclose(part.score_samples(ROWS[:, [1]]), reference.log_sum_exp(joint), rtol=1e-9)
    parts = part.score_samples(ROWS[:, [1]]) + model.condition(1, ROWS[:, [1]]).log_density(ROWS[:, [0]])
    np.testing.assert_allclose(parts, _scored(model, ROWS), rtol=1e-9)
    share = (_scored(model, ROWS) >= model.density_threshold(0.9)).mean()
    assert share == pytest.approx(0.9, abs=0.06)


def test_samples(made, family):
    model = made().fit(ROWS)
    X, labels = model.sample(6000, random_state=0)
    for k in range(3):
        mine, expected = X[labels == k], dense(model, family)[k]
        np.testing.assert_allclose(np.cov(mine.T), expected, atol=0.15 * np.abs(expected).max())


def test_posteriors_densities_and_reports(made, family):
    model = made().fit(ROWS)
    np.testing.assert_allclose(model.predict_proba(ROWS).sum(axis=1), 1.0, rtol=1e-12)
    assert model.log_densities(ROWS).shape == (len(ROWS), 3)
    deviations = np.sqrt(np.diagonal(dense(model, family), axis1=1, axis2=2))
    for name, *cells in columns_of(*parameters_of(model, np.arange(3)), ["a", "b"]):
        d = "ab".index(name)
        shown = zip(model.means_[:, d], deviations[:, d], strict=True)
        assert cells == [f"{mean:.5g} ({deviation:.4g})" for mean, deviation in shown]


def test_pictures(made):
    pytest.importorskip("matplotlib").use("Agg")
    from fastgmm.plotting import plot_mixture

    figure = plot_mixture(made().fit(ROWS), ROWS)
    assert figure is not None


def test_the_students_law_and_pruning(made, family):
    model = made().fit(ROWS)
    if isinstance(model, GaussianMixture):
        assert not hasattr(model, "prune")
        return
    assert np.shape(model.degrees_of_freedom_) == (() if family.is_tied else (3,))
    student = model.score_samples(ROWS, predictive="student-t")
    np.testing.assert_allclose(student, _scored(model, ROWS), atol=0.2)
    assert model.evidence_lower_bound(ROWS) == pytest.approx(model.lower_bound_, rel=1e-9)
    pruned = BayesianGaussianMixture(6, covariance_type=family, random_state=0, max_iter=2000).fit(ROWS).prune()
    assert len(pruned.means_) <= 6
    joint = reference.log_joint(ROWS, pruned.weights_, pruned.means_, dense(pruned, family))
    np.testing.assert_allclose(_scored(pruned, ROWS), reference.log_sum_exp(joint), rtol=1e-9)


def test_scikit_learns_estimator(made, family):
    pytest.importorskip("sklearn.mixture")
    model = made().fit(ROWS)
    kind = type(model)
    has_the_law = family.name in ("full", "tied") or (kind is GaussianMixture and family.name in ("diag", "spherical"))
    if not has_the_law:
        with pytest.raises(ValueError, match="scikit-learn"):
            model.to_sklearn()
        return
    np.testing.assert_allclose(model.to_sklearn().predict_proba(ROWS), model.predict_proba(ROWS), atol=1e-9)


@pytest.mark.parametrize("name", but_alike(FAMILIES))
def test_the_command_line(run, name):
    code, out, err = run("fit", "faithful", "-k", "2", "--covariance", name, "-o", "model.json")
    assert (code, err) == (0, "")
    assert f"2 components, {name} covariance" in out
    code, out, err = run("predict", "model.json", "faithful")
    assert (code, err) == (0, "")


@pytest.mark.parametrize("name", but_alike(FAMILIES))
def test_other_names_give_the_same_bits(name):
    family = FAMILIES[name]
    first = GaussianMixture(3, covariance_type=name, random_state=0).fit(ROWS)
    for alias in family.aliases:
        _assert_same(GaussianMixture(3, covariance_type=alias, random_state=0).fit(ROWS), first)


class _Scored(Diag):
    """A structure of one's own without the optional kernels: nothing but rows are scored and summed with it."""

    name = "scored"
    student_type = None
    skips = False


def test_what_a_structure_does_not_declare_is_refused():
    with pytest.raises(ValueError, match="truncate must be None with covariance_type 'scored', got 2"):
        GaussianMixture(2, covariance_type=_Scored(), truncate=2).fit(ROWS)
    model = BayesianGaussianMixture(2, covariance_type=_Scored(), random_state=0, max_iter=500).fit(ROWS)
    for use in (model.score_samples, model.predict):
        with pytest.raises(ValueError, match="'scored' does not: use 'expected-log' or 'plug-in'"):
            use(ROWS, predictive="student-t")


class _OwnDensity(NamedTuple):
    log_scale: np.ndarray
    mean: np.ndarray
    whitener: np.ndarray


class _Own(Diag):
    """A structure with a class of densities of its own, of whose covariances nothing is known."""

    name = "own"
    density_type = _OwnDensity


def test_parts_of_a_structure_of_ones_own_are_refused():
    model = GaussianMixture(2, covariance_type=_Own())
    model.weights_, model.means_, model.covariances_ = [0.5, 0.5], np.zeros((2, 2)), np.ones((2, 2))
    for ask in (lambda: model.marginal(0), lambda: model.condition(0, [1.0]), lambda: model.density_threshold(0.9)):
        with pytest.raises(ValueError, match="take families of the package's structures, not 'own'"):
            ask()


def test_a_class_of_ones_own_skips_nothing():
    class Alone(Diag):
        name = "alone"
        density_type = type("AloneDensity", (DiagDensity,), {})

    assert Diag().skips
    assert not Alone().skips


@constraint
def _one_matrix(mass, covariance, whitener):
    for i in range(covariance.shape[1]):
        for j in range(i + 1):
            total = mean = 0.0
            for k in range(mass.shape[0]):
                total += mass[k]
                mean += mass[k] * covariance[k, i, j]
            for k in range(mass.shape[0]):
                covariance[k, i, j] = mean / total


class _Equal(Full):
    """Tied covariances as a constraint on full ones, which writes lower triangles alone."""

    name = "equal"
    constraint = _one_matrix


def test_a_constraint_on_matrices():
    tied, equal = (
        GaussianMixture(3, covariance_type=each, random_state=0, tol=1e-10, max_iter=2000).fit(ROWS)
        for each in ("tied", _Equal())
    )
    np.testing.assert_allclose(equal.covariances_, np.repeat(tied.covariances_[None], 3, axis=0), rtol=1e-6, atol=1e-8)
    np.testing.assert_array_equal(equal.covariances_, np.swapaxes(equal.covariances_, 1, 2))
    assert equal.lower_bound_ == pytest.approx(tied.lower_bound_, rel=1e-9)
    assert equal.sample(10)[0].shape == (10, 2)
    (many,) = fit_many(GaussianMixture(3, covariance_type=_Equal(), tol=1e-10, max_iter=2000), [ROWS])
    np.testing.assert_allclose(many.covariances_, equal.covariances_, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="covariance_type 'equal' has no conjugate prior"):
        BayesianGaussianMixture(3, covariance_type=_Equal()).fit(ROWS)


@constraint
def _equal_traces(mass, covariance, whitener):
    total = mean = 0.0
    for k in range(mass.shape[0]):
        total += mass[k]
        for d in range(covariance.shape[1]):
            mean += mass[k] * covariance[k, d]
    for k in range(mass.shape[0]):
        trace = 0.0
        for d in range(covariance.shape[1]):
            trace += covariance[k, d]
        for d in range(covariance.shape[1]):
            covariance[k, d] *= mean / total / trace


class _EqualTraces(Diag):
    """Variances of one sum in all components: no linear condition on their logarithms, which are extrapolated."""

    name = "equal-traces"
    constraint = _equal_traces


@pytest.mark.parametrize("accelerate", ["squarem", "anderson"])
@pytest.mark.filterwarnings("ignore:Best performing initialization did not converge")
def test_acceleration_does_not_leave_the_family(accelerate, rng):
    X = np.concatenate([rng.normal(0, [1, 3], (300, 2)), rng.normal([1.0, 0.5], [1, 0.5], (300, 2))])
    for max_iter in (4, 5, 6, 8, 10, 15, 20, 30):
        model = GaussianMixture(
            3, covariance_type=_EqualTraces(), accelerate=accelerate, max_iter=max_iter, random_state=0, tol=1e-9
        ).fit(X)
        traces = model.covariances_.sum(axis=1)
        np.testing.assert_allclose(traces, traces[0], rtol=1e-12)


@constraint
def _returns(mass, covariance, whitener):
    return covariance


def test_a_constraint_that_returns_something_is_refused():
    class Returns(Diag):
        name = "returns"
        constraint = _returns

    if compiling.is_switched_off():
        pytest.skip("nothing is compiled")
    with pytest.raises(TypeError, match="_returns must return nothing, it returns array"):
        GaussianMixture(2, covariance_type=Returns()).fit(ROWS)


@pytest.mark.parametrize("shape", [(3,), (1, 1), ()])
def test_a_file_with_factors_of_another_shape_is_refused(tmp_path, shape):
    path = tmp_path / "model.json"
    save_model(GaussianMixture(3, covariance_type="EII", random_state=0).fit(ROWS.astype(np.float32)), path)
    document = json.loads(path.read_text())
    for name in ("covariances", "precisions_cholesky"):
        document[name] = np.ones(shape).tolist()
    path.write_text(json.dumps(document))
    with pytest.raises(ModelFileError, match=r"must have the shape \(1,\)"):
        load_model(path)
