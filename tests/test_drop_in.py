"""What other packages do with scikit-learn's mixtures: derive from them, set their attributes, read their methods."""

import copy
import importlib.util
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest

from fastgmm import BayesianGaussianMixture, GaussianMixture, fit_many
from fastgmm._former import MOVED
from fastgmm.estimators.private import HOOKS
from fastgmm.families import STRUCTURES

sklearn_mixture = pytest.importorskip("sklearn.mixture")
from sklearn.base import BaseEstimator, TransformerMixin, clone  # noqa: E402

#: Those that scikit-learn has, too.
FAMILY_NAMES = tuple(STRUCTURES)
BOTH = (GaussianMixture, BayesianGaussianMixture)
#: Where scikit-learn's law is ours.
SAME_LAW = [
    *((GaussianMixture, name) for name in FAMILY_NAMES),
    *((BayesianGaussianMixture, name) for name in ("full", "tied")),
]


def theirs(kind):
    return getattr(sklearn_mixture, kind.__name__)


@pytest.fixture
def rows(rng):
    return np.concatenate([rng.normal(0, 1, (60, 3)), rng.normal(4, [1, 2, 0.5], (90, 3))])


def fitted(kind, name, rows):
    return kind(n_components=2, covariance_type=name, random_state=0, tol=1e-8, max_iter=500).fit(rows)


# ---- Subclasses: hooks of scikit-learn's loop ----


def hooks_of_scikit_learn():
    classes = sklearn_mixture.GaussianMixture, sklearn_mixture.BayesianGaussianMixture
    names = {name for cls in classes for base in cls.__mro__[:2] for name in vars(base)}
    return {name for name in names if name.startswith("_") and not name.startswith(("__", "_abc", "_sklearn"))}


def test_every_private_method_of_scikit_learn_is_known():
    """Apart from those that ours have too, and that are called as theirs are."""
    assert hooks_of_scikit_learn() - set(HOOKS) == {"_n_parameters", "_parameter_constraints"}


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("name", HOOKS)
def test_an_override_of_a_hook_is_refused_when_the_class_is_made(kind, name):
    with pytest.raises(TypeError, match=f"Own overrides {name}, .* Instead, "):
        type("Own", (kind,), {name: lambda self, *arguments: None})


def test_hooks_of_mixins_and_of_grandparents_are_refused():
    class FixedMeans:
        def _m_step(self, X, log_resp):
            self.means_ = np.zeros_like(self.means_)

    class Plain(GaussianMixture):
        pass

    with pytest.raises(TypeError, match="FixedMeans overrides _m_step"):
        type("Own", (FixedMeans, Plain), {})
    # scikit-learn's own method would hide it there, too.
    assert type("Own", (Plain, FixedMeans), {})(2).n_components == 2


def test_a_hook_that_is_set_later_is_refused_by_fit(rows):
    class Plain(GaussianMixture):
        pass

    model = Plain(2)
    model._m_step = lambda X, log_resp: None
    with pytest.raises(TypeError, match="This Plain overrides _m_step"):
        model.fit(rows)
    Plain._e_step = lambda self, X: None
    with pytest.raises(TypeError, match="Plain overrides _e_step"):
        Plain(2).partial_fit(rows)


def test_an_override_of_the_number_of_parameters_counts(rows):
    class Fewer(GaussianMixture):
        def _n_parameters(self):
            return 1

    model = Fewer(2, random_state=0).fit(rows)
    np.testing.assert_allclose(model.aic(rows), -2 * 150 * model.score(rows) + 2)


# ---- Subclasses: constructors ----


class Fewer(GaussianMixture):
    def __init__(self, n_components=2, random_state=None):
        self.n_components = n_components
        self.random_state = random_state


class More(GaussianMixture):
    def __init__(self, n_components=2, *, threshold=0.5, random_state=None):
        self.threshold = threshold
        super().__init__(n_components, random_state=random_state)
        self.names = []


class Keywords(GaussianMixture):
    def __init__(self, n_components=2, covariance_type="full", **kwargs):
        super().__init__(n_components, covariance_type=covariance_type, **kwargs)


class Mixed(TransformerMixin, BaseEstimator, GaussianMixture):
    def transform(self, X):
        return self.predict_proba(X)


class Bayesian(BayesianGaussianMixture):
    def __init__(self, n_components=2, scale=1.0, **kwargs):
        super().__init__(n_components, **kwargs)
        self.scale = scale


@pytest.mark.parametrize("cls", [Fewer, More, Keywords, Mixed, Bayesian])
def test_subclasses_fit_as_the_class_does(cls, rows, tmp_path):
    base = BayesianGaussianMixture if cls is Bayesian else GaussianMixture
    expected = base(2, random_state=0).fit(rows)
    for model in (cls(n_components=2, random_state=0), clone(cls(n_components=2)).set_params()):
        model.random_state = 0
        assert "n_components" in repr(model) or model.n_components == 2
        np.testing.assert_array_equal(model.fit(rows).means_, expected.means_)
        np.testing.assert_array_equal(model.predict_proba(rows), expected.predict_proba(rows))
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).means_, expected.means_)
    model.checkpoint = tmp_path / "checkpoint"
    np.testing.assert_array_equal(model.fit(rows).means_, expected.means_)


def test_scikit_learn_and_ours_list_the_same_parameters():
    class Own(sklearn_mixture.GaussianMixture):
        def __init__(self, n_components=2, covariance_type="full", **kwargs):
            super().__init__(n_components, covariance_type=covariance_type, **kwargs)

    assert Keywords(3, tol=0.1).get_params() == Own(3, tol=0.1).get_params()
    assert Keywords(3, tol=0.1).tol == 0.1


def test_a_constructor_of_varargs_is_refused_as_in_scikit_learn():
    class Varargs(GaussianMixture):
        def __init__(self, *arguments):
            super().__init__(*arguments)

    with pytest.raises(RuntimeError, match="no varargs"):
        Varargs(2).get_params()


def test_subclasses_in_fit_many_and_prune(rows):
    fits = fit_many(More(2, threshold=0.1, random_state=0), np.stack([rows, rows + 1]))
    model = fits[0]
    assert type(model) is More
    assert model.threshold == 0.1
    pruned = Bayesian(4, scale=3.0, random_state=0, max_iter=500, sort_sticks=True).fit(rows).prune()
    assert type(pruned) is Bayesian
    assert pruned.scale == 3.0
    assert len(pruned.means_) == pruned.n_components < 4


# ---- Attributes that are set by hand ----


def test_a_lower_factor_is_a_factor():
    covariance = np.array([[1, 0.8], [0.8, 1]])
    model = GaussianMixture(1)
    model.weights_, model.means_ = [1.0], [[0.0, 0.0]]
    model.precisions_cholesky_ = [np.linalg.cholesky(np.linalg.inv(covariance))]
    np.testing.assert_allclose(model.score_samples([[1, -1], [1, 1]]), [-6.327051, -1.882607], atol=1e-6)


def copy_to(model, source, **changed):
    """Set the public fitted attributes of `source`, some of them changed, on another estimator."""
    for name, value in vars(source).items():
        if name.endswith("_") and not name.startswith("_"):
            setattr(model, name, copy.deepcopy(value))
    for name, value in changed.items():
        setattr(model, name, value)
    return model


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("name", ["full", "tied"])
@pytest.mark.parametrize("signs", [1, -1])
def test_triangular_factors_mean_what_they_mean_in_scikit_learn(kind, name, signs, rows):
    source = fitted(theirs(kind), name, rows)
    lower = np.linalg.cholesky(source.precisions_) * signs
    model = copy_to(kind(n_components=2, covariance_type=name), source, precisions_cholesky_=lower)
    np.testing.assert_allclose(model.score_samples(rows), source.score_samples(rows), rtol=1e-9)
    np.testing.assert_allclose(model.predict_proba(rows), source.predict_proba(rows), atol=1e-9)
    if name == "full":
        # One component each way.
        mixed = np.stack([lower[0], source.precisions_cholesky_[1]])
        model.precisions_cholesky_ = mixed
        np.testing.assert_allclose(model.score_samples(rows), source.score_samples(rows), rtol=1e-9)
        model.precisions_cholesky_[...] = lower
        np.testing.assert_allclose(model.score_samples(rows), source.score_samples(rows), rtol=1e-9)


def test_a_lower_factor_keeps_digits(rng):
    """Where the precision itself has lost them: condition 1e20."""
    factor = np.tril(rng.normal(size=(1, 3, 3))) + np.diag([1e10, 1.0, 1.0])
    model = GaussianMixture(1)
    model.weights_, model.means_, model.precisions_cholesky_ = np.ones(1), np.zeros((1, 3)), factor
    x = np.array([[0.0, 1.0, -2.0], [0.0, 3.0, 1.0]])
    expected = -0.5 * ((x @ factor[0]) ** 2).sum(1) + np.log(np.abs(np.diag(factor[0]))).sum() - 1.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(model.score_samples(x), expected, rtol=1e-9)


@pytest.mark.parametrize("size", [2, 30])
@pytest.mark.parametrize("fault", ["square", "zero", "nan"])
def test_what_is_no_factor_is_refused(size, fault):
    model = GaussianMixture(2)
    model.weights_, model.means_ = np.full(2, 0.5), np.zeros((2, size))
    factor = np.stack([np.eye(size), np.eye(size)])
    if fault == "square":
        factor[1] += 0.1
    else:
        factor[1, 0, 0] = 0.0 if fault == "zero" else np.nan
    model.precisions_cholesky_ = factor
    with pytest.raises(ValueError, match="precisions_cholesky_ of component 1 is no triangular factor"):
        model.predict(np.zeros((3, size)))
    diagonal = GaussianMixture(2, covariance_type="diag")
    diagonal.weights_, diagonal.means_ = np.full(2, 0.5), np.zeros((2, 2))
    diagonal.precisions_cholesky_ = np.array([[1.0, 1.0], [0.0, 1.0]])
    with pytest.raises(ValueError, match="precisions_cholesky_ of component 1"):
        diagonal.predict(np.zeros((3, 2)))


def test_weights_of_another_length_are_refused(rows):
    model = fitted(GaussianMixture, "full", rows)
    model.weights_ = np.array([1.0])
    for call in (lambda: model.predict(rows), model.sample):
        with pytest.raises(ValueError, match="weights_ should be 2 numbers >= 0"):
            call()


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("weight_concentration_", (np.ones(3), np.ones(3)), r"weight_concentration_.*\(2, 2\).*\(2, 3\)"),
        ("weight_concentration_", np.ones(1), r"weight_concentration_.*\(2,\).*\(1,\)"),
        ("weight_concentration_", (np.ones(2), np.array([1.0, np.nan])), "weight_concentration_.*NaN"),
        ("mean_precision_", np.ones(3), r"mean_precision_.*\(2,\).*\(3,\)"),
        ("mean_precision_", np.array([0.0, 1.0]), "mean_precision_ must be above 0"),
        ("degrees_of_freedom_", np.full(1, 9.0), r"degrees_of_freedom_.*\(2,\).*\(1,\)"),
        ("degrees_of_freedom_", np.array([9.0, 2.0]), "degrees_of_freedom_ must be above 2"),
    ],
)
def test_a_posterior_that_is_none_is_refused(attribute, value, message, rows):
    model = fitted(BayesianGaussianMixture, "full", rows)
    setattr(model, attribute, value)
    for call in (model.predict, model.score_samples, model.evidence_lower_bound, lambda X: model.prune()):
        with pytest.raises(ValueError, match=message):
            call(rows)


def test_one_number_of_degrees_of_freedom_counts_for_all(rows):
    model = fitted(BayesianGaussianMixture, "full", rows)
    model.degrees_of_freedom_ = np.full(2, 9.0)
    expected = model.score_samples(rows)
    model.degrees_of_freedom_ = 9.0
    np.testing.assert_array_equal(model.score_samples(rows), expected)


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_sample_follows_covariances_set_by_hand(kind, name, rows):
    model = fitted(kind, name, rows)
    before, labels = model.sample(40, 3)
    probabilities = model.predict_proba(rows)
    model.covariances_ *= 4.0
    after, _ = model.sample(40, 3)
    np.testing.assert_allclose(after - model.means_[labels], 2 * (before - model.means_[labels]), rtol=1e-9)
    # Predictions follow the factor.
    np.testing.assert_array_equal(model.predict_proba(rows), probabilities)


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_weights_means_and_covariances_are_enough(name, rows):
    source = fitted(GaussianMixture, name, rows)
    model = GaussianMixture(2, covariance_type=name)
    model.weights_, model.means_ = source.weights_.tolist(), source.means_.tolist()
    model.covariances_ = source.covariances_.tolist()
    np.testing.assert_array_equal(model.sample(30, 1)[0], source.sample(30, 1)[0])
    np.testing.assert_allclose(model.score_samples(rows), source.score_samples(rows), rtol=1e-9)
    np.testing.assert_allclose(model.bic(rows), source.bic(rows), rtol=1e-9)
    del model.covariances_
    with pytest.raises(ValueError, match="not fitted"):
        model.predict(rows)


def test_samples_of_singular_covariances_and_none():
    model = GaussianMixture(1)
    model.weights_, model.means_ = [1.0], np.zeros((1, 2))
    model.covariances_ = np.ones((1, 2, 2))
    X, _ = model.sample(50, 0)
    np.testing.assert_allclose(X[:, 0], X[:, 1], atol=1e-7)
    for wrong in ([[1.0, 0.2], [0.1, 1.0]], [[1.0, 2.0], [2.0, 1.0]], [[np.nan, 0.0], [0.0, 1.0]]):
        model.covariances_ = np.array([wrong])
        with pytest.raises(ValueError, match="covariances_ of component 0 should be"):
            model.sample(5, 0)


@pytest.mark.parametrize("kind", BOTH)
def test_warm_start_goes_on_from_attributes_set_by_hand(kind, rows):
    source = kind(2, random_state=0, max_iter=3, tol=0.0)
    longer = kind(2, random_state=0, max_iter=4, tol=0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source.fit(rows)
        longer.fit(rows)
        model = kind(2, random_state=5, max_iter=1, tol=0.0, warm_start=True)
        # The order of sticks is no attribute of scikit-learn's.
        if kind is BayesianGaussianMixture:
            model.sort_sticks = True
        for name in source._parameter_attributes + ("weights_",):
            setattr(model, name, copy.deepcopy(getattr(source, name)))
        model.fit(rows)
    np.testing.assert_allclose(model.means_, longer.means_, rtol=1e-9)
    assert model.n_iter_ == 1


def test_a_warm_start_from_means_alone_begins_anew(rows):
    model = GaussianMixture(2, random_state=0, warm_start=True)
    model.means_ = np.zeros((2, 3))
    np.testing.assert_array_equal(model.fit(rows).means_, GaussianMixture(2, random_state=0).fit(rows).means_)


# ---- Readers ----


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *((GaussianMixture, name) for name in FAMILY_NAMES),
        *((BayesianGaussianMixture, name) for name in ("full", "tied")),
    ],
)
def test_readers_return_what_scikit_learns_do(kind, name, rows):
    model = fitted(kind, name, rows)
    other = copy_to(theirs(kind)(n_components=2, covariance_type=name), model)
    np.testing.assert_allclose(model.log_densities(rows), other._estimate_log_prob(rows), rtol=1e-9, atol=1e-9)
    for method in ("_estimate_log_prob", "_estimate_weighted_log_prob"):
        np.testing.assert_allclose(getattr(model, method)(rows), getattr(other, method)(rows), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(model._estimate_log_weights(), other._estimate_log_weights(), rtol=1e-12)
    for mine, its in zip(model._estimate_log_prob_resp(rows), other._estimate_log_prob_resp(rows), strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-9, atol=1e-9)
    parameters = model._get_parameters()
    assert len(parameters) == len(other._get_parameters())
    again = kind(n_components=2, covariance_type=name)
    again._set_parameters(parameters)
    for attribute in ("weights_", "precisions_"):
        np.testing.assert_allclose(getattr(again, attribute), getattr(model, attribute), rtol=1e-12)
    np.testing.assert_allclose(again.predict_proba(rows), model.predict_proba(rows), atol=1e-12)


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_log_densities_and_weights_make_the_score(kind, name, rows):
    model = fitted(kind, name, rows)
    joint = model.log_densities(rows) + model._estimate_log_weights()
    np.testing.assert_allclose(np.logaddexp.reduce(joint, axis=1), model.score_samples(rows), rtol=1e-12)
    single = model.log_densities(rows.astype(np.float32))
    assert single.dtype == np.float32
    assert single.shape == (150, 2)


def test_log_densities_of_a_component_without_weight(rows):
    model = fitted(GaussianMixture, "full", rows)
    expected = model.log_densities(rows)[:, 0]
    model.weights_ = np.array([1.0, 0.0])
    np.testing.assert_array_equal(model.log_densities(rows)[:, 0], expected)
    np.testing.assert_allclose(model.score_samples(rows), expected, rtol=1e-12)


# ---- Conversion ----


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *((GaussianMixture, name) for name in FAMILY_NAMES),
        *((BayesianGaussianMixture, name) for name in ("full", "tied")),
    ],
)
def test_there_and_back(kind, name, rows):
    model = fitted(kind, name, rows).set_params(warm_start=True, verbose_interval=7)
    other = model.to_sklearn()
    assert type(other) is theirs(kind)
    np.testing.assert_allclose(other.predict_proba(rows), model.predict_proba(rows), atol=1e-12)
    np.testing.assert_allclose(other.score_samples(rows), model.score_samples(rows), rtol=1e-12)
    back = kind.from_sklearn(other)
    for attribute in (*model._parameter_attributes, "weights_", "precisions_"):
        np.testing.assert_array_equal(getattr(other, attribute), getattr(model, attribute))
        np.testing.assert_array_equal(getattr(back, attribute), getattr(model, attribute))
    np.testing.assert_array_equal(back.predict_proba(rows), model.predict_proba(rows))
    shared = other.get_params()
    assert {parameter: getattr(back, parameter) for parameter in shared} == shared
    assert shared["init_params"] == "kmeans"
    assert (other.warm_start, other.verbose_interval, other.tol) == (True, 7, 1e-8)
    assert (back.n_iter_, back.converged_, back.stop_reason_) == (model.n_iter_, True, "converged")
    # Copies, not views.
    other.means_ += 1
    assert np.all(back.means_ == model.means_) or np.all(other.means_ != model.means_)
    assert not np.shares_memory(other.means_, model.means_)
    # Both go on.
    other.means_ -= 1
    other.fit(rows)
    assert back.fit(rows).converged_


@pytest.mark.parametrize("kind", BOTH)
def test_what_has_no_counterpart_is_refused(kind, rows):
    with pytest.raises(TypeError, match="from_sklearn of"):
        kind.from_sklearn(theirs(BOTH[1 - BOTH.index(kind)])())
    assert kind.from_sklearn(theirs(kind)(n_components=4)).n_components == 4
    assert kind(3, random_state=np.random.default_rng()).to_sklearn().n_components == 3
    if kind is BayesianGaussianMixture:
        for name in ("diag", "spherical"):
            with pytest.raises(ValueError, match="another law"):
                fitted(kind, name, rows).to_sklearn()
            with pytest.raises(ValueError, match="another law"):
                kind.from_sklearn(fitted(theirs(kind), name, rows))


def test_a_lower_factor_is_converted(rows):
    model = fitted(GaussianMixture, "full", rows)
    model.precisions_cholesky_ = np.linalg.cholesky(model.precisions_)
    np.testing.assert_allclose(model.to_sklearn().score_samples(rows), model.score_samples(rows), rtol=1e-9)


@pytest.mark.slow
def test_isinstance_whichever_package_is_imported_first():
    for order in ("import sklearn.mixture, fastgmm", "import fastgmm, sklearn.mixture"):
        program = (
            f"{order}\n"
            "theirs = sklearn.mixture\n"
            "model = fastgmm.GaussianMixture()\n"
            "assert isinstance(model, theirs.GaussianMixture)\n"
            "assert not isinstance(model, theirs.BayesianGaussianMixture)\n"
            "assert isinstance(fastgmm.BayesianGaussianMixture(), theirs.BayesianGaussianMixture)\n"
            "assert not isinstance(theirs.GaussianMixture(), fastgmm.GaussianMixture)\n"
        )
        subprocess.run([sys.executable, "-c", program], check=True)
    program = (
        "import sys, fastgmm\n"
        "model = fastgmm.GaussianMixture().fit([[0.0], [1.0], [3.0]])\n"
        "assert 'sklearn' not in sys.modules\n"
        "import sklearn.mixture\n"
        "model.predict([[0.0]])\n"
        "assert isinstance(model, sklearn.mixture.GaussianMixture)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


# ---- Pickles, and names of columns ----


@pytest.mark.parametrize("kind", BOTH)
def test_a_pickle_of_an_older_version_loads(kind, rows):
    model = fitted(kind, "full", rows)
    older = {
        name: value
        for name, value in vars(model).items()
        if name
        not in {
            *("stopping", "accelerate", "truncate", "race", "checkpoint", "learning_decay", "total_samples"),
            *("stop_reason_", "n_passes_", "restarts_", "spurious_", "lower_bounds_", "_watched_bounds", "_learned"),
        }
    }
    again = kind.__new__(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again.__setstate__(older)
        np.testing.assert_array_equal(again.predict(rows), model.predict(rows))
    assert (again.stopping, again.truncate) == ("absolute", None)
    assert (again.stop_reason_, again.n_passes_, again.restarts_) == ("converged", model.n_iter_ + 1, [])
    assert again.get_params().keys() == model.get_params().keys()
    assert clone(again).fit(rows).converged_
    assert again.set_params(warm_start=True).fit(rows).converged_
    again.partial_fit(rows)


def _with_former_names(content):
    for former, today in MOVED.items():
        content = content.replace(today.encode() + b"\n", former.encode() + b"\n")
    return content


@pytest.mark.parametrize("kind", BOTH)
def test_a_pickle_that_names_former_modules_loads(kind, rows):
    model = fitted(kind, "full", rows).partial_fit(rows).set_fit_request(sample_weight=True)
    old = _with_former_names(pickle.dumps(model, protocol=2))
    for name in (b"fastgmm.online\n", b"fastgmm.interface\n", b"fastgmm.restarts\n", b"fastgmm.kernels.densities\n"):
        assert name in old
    np.testing.assert_array_equal(pickle.loads(old).partial_fit(rows).means_, model.partial_fit(rows).means_)


def test_a_pickle_of_many_fits_that_names_former_modules_loads(rows):
    fits = fit_many(BayesianGaussianMixture(2, random_state=0), [rows, rows[::2]])
    old = _with_former_names(pickle.dumps(fits, protocol=2))
    assert b"fastgmm.kernels.conjugate\n" in old
    np.testing.assert_array_equal(pickle.loads(old).means_, fits.means_)


def test_former_names_are_those_of_modules_that_moved():
    for former, today in MOVED.items():
        assert importlib.util.find_spec(today).has_location
        assert not importlib.util.find_spec(former).has_location
        module = importlib.import_module(former)
        public = [name for name in vars(importlib.import_module(today)) if not name.startswith("_")]
        assert all(getattr(module, name) is getattr(importlib.import_module(today), name) for name in public)
        assert not hasattr(module, "__file__")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("fastgmm.nonsense")


def test_former_names_are_known_in_a_fresh_process_however_often_it_loads_the_package(tmp_path, rows):
    model = fitted(GaussianMixture, "full", rows).partial_fit(rows)
    (tmp_path / "old.pkl").write_bytes(_with_former_names(pickle.dumps(model, protocol=2)))
    code = (
        "import importlib, pickle, sys\n"
        f"model = pickle.load(open({str(tmp_path / 'old.pkl')!r}, 'rb'))\n"
        "importlib.reload(sys.modules['fastgmm'])\n"
        "print(type(model).__name__, [type(each).__name__ for each in sys.meta_path].count('FormerModules'))"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["GaussianMixture", "1"]


def test_a_pickle_of_a_newer_version_warns(rows):
    model = GaussianMixture(2, random_state=0).fit(rows)
    with pytest.warns(UserWarning, match=r"stored by fastgmm 99\.1"):
        GaussianMixture.__new__(GaussianMixture).__setstate__({**vars(model), "_version": "99.1"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = pickle.loads(pickle.dumps(model))
    assert vars(again).keys() == vars(model).keys()


def test_names_are_checked_before_values(rows):
    pandas = pytest.importorskip("pandas")
    model = GaussianMixture(2, random_state=0).fit(pandas.DataFrame(rows, columns=["a", "b", "c"]))
    other = pandas.DataFrame(rows, columns=["a", "b", "d"])
    other.iloc[0, 0] = np.nan
    with pytest.raises(ValueError, match="Feature names unseen at fit time:\n- d"):
        model.predict(other)
    text = other.assign(d="text")
    with pytest.raises(ValueError, match="Feature names unseen at fit time:\n- d"):
        model.predict(text)


@pytest.mark.parametrize("base", [GaussianMixture, BayesianGaussianMixture])
def test_scores_are_those_of_an_overridden_score_samples(base, rng):
    class Shifted(base):
        def score_samples(self, X):
            return super().score_samples(X) + np.arange(len(X))

    X, weight = rng.normal(size=(20, 2)), rng.integers(0, 3, 20).astype(float)
    ours, plain = Shifted(random_state=0).fit(X), base(random_state=0).fit(X)
    assert ours.score(X) == pytest.approx(plain.score(X) + 9.5)
    mean = weight @ np.arange(20) / weight.sum()
    assert ours.score(X, sample_weight=weight) == pytest.approx(plain.score(X, sample_weight=weight) + mean)
    if base is GaussianMixture:
        assert ours.bic(X) == pytest.approx(plain.bic(X) - 2 * 190)
        assert ours.aic(X, weight) == pytest.approx(plain.aic(X, weight) - 2 * mean * weight.sum())
    else:
        assert ours.evidence_lower_bound(X) == pytest.approx(plain.evidence_lower_bound(X))

    class Short(base):
        def score_samples(self, X):
            return super().score_samples(X)[:3]

    with pytest.raises(ValueError, match="score_samples should return one number for each of 20 rows"):
        Short(random_state=0).fit(X).score(X)


def test_an_overridden_score_samples_of_other_rows(rng):
    pd, da = pytest.importorskip("pandas"), pytest.importorskip("dask.array")

    class Shifted(GaussianMixture):
        def score_samples(self, X):
            return super().score_samples(X) + 1.0

    X, w = rng.normal(size=(30, 2)), rng.uniform(1, 2, 30)
    frame = pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "w": w})
    ours, plain = Shifted(random_state=0).fit(frame[["a", "b"]]), GaussianMixture(random_state=0).fit(X)
    assert ours.score(frame, sample_weight="w") == pytest.approx(plain.score(X, sample_weight=w) + 1.0)
    with pytest.raises(TypeError, match="of rows on a cluster"):
        Shifted(random_state=0).fit(X).score(da.from_array(X, chunks=10))
