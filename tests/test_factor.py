"""Mixtures of factor analysers, beside published numbers, a slow twin and scikit-learn's FactorAnalysis."""

import copy
import pickle
import warnings

import numpy as np
import pytest
from reference import log_sum_exp
from scipy.stats import multivariate_normal

import fastgmm
from fastgmm import FactorMixture, GaussianMixture, analysis, datasets, inference, io, plotting, reading
from fastgmm.exceptions import ConvergenceWarning, SpuriousComponentWarning
from fastgmm.rows import ArrayRows
from fastgmm.rules import FactorLikelihood, factor_parameters
from fastgmm.sources.source import source_of

pytest.importorskip("sklearn")
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.decomposition import FactorAnalysis

IRIS = datasets.load_iris()
SPECIES = np.unique(IRIS.target, return_inverse=True)[1]
WINE = load_wine().data
WINE = (WINE - WINE.mean(axis=0)) / WINE.std(axis=0)
EXACT = {"reg_covar": 0.0, "tol": 1e-13, "max_iter": 5000}


def total(model, X):
    return model.score(X) * len(X)


def log_joint(X, weights, means, loadings, uniquenesses):
    """Return log joints (N, K) by dense covariances."""
    joint = np.empty((len(X), len(weights)))
    for k, (weight, mean, factor, unique) in enumerate(zip(weights, means, loadings, uniquenesses, strict=True)):
        covariance = factor @ factor.T + np.diag(unique)
        gap = X - mean
        distance = np.einsum("nd,nd->n", gap, np.linalg.solve(covariance, gap.T).T)
        joint[:, k] = np.log(weight) - 0.5 * (distance + np.linalg.slogdet(2.0 * np.pi * covariance)[1])
    return joint


def slow_step(X, r, loadings, uniquenesses, kind):
    """Return weights, means, loadings and uniquenesses after an update by responsibilities r (N, K)."""
    mass = r.sum(axis=0)
    means = (r.T @ X) / mass[:, None]
    new, residual = np.empty_like(loadings), np.empty_like(uniquenesses)
    for k in range(len(mass)):
        factor, gap = loadings[k], X - means[k]
        V = (r[:, k] * gap.T) @ gap / mass[k]
        scaled = factor.T / uniquenesses[k]
        beta = np.linalg.solve(np.eye(factor.shape[1]) + scaled @ factor, scaled)
        omega = np.eye(factor.shape[1]) - beta @ factor + beta @ V @ beta.T
        new[k] = np.linalg.solve(omega, beta @ V).T
        residual[k] = np.diag(V - new[k] @ beta @ V)
    if kind == "common":
        residual[:] = mass @ residual / mass.sum()
    elif kind == "isotropic":
        residual[:] = residual.mean(axis=1, keepdims=True)
    return mass / mass.sum(), means, new, residual


@pytest.fixture(scope="module")
def flowers():
    return FactorMixture(3, 1, random_state=0).fit(IRIS.data)


@pytest.mark.parametrize(
    ("kind", "expected"), [("own", -195.600396176), ("common", -228.517202034), ("isotropic", -218.847643297)]
)
def test_published_numbers_of_three_species(kind, expected):
    model = FactorMixture(3, 1, uniquenesses=kind, init_params=SPECIES, **EXACT).fit(IRIS.data)
    assert total(model, IRIS.data) == pytest.approx(expected, abs=1e-6)
    wanted = {
        "own": ("weights_", [0.33333333, 0.30859777, 0.35806889], 2e-6),
        "common": ("uniquenesses_", [0.05225347, 0.06371417, 0.03142929, 0.02914689], 1e-7),
        "isotropic": ("uniquenesses_", [0.0237644745, 0.0328245304, 0.0684630155], 1e-7),
    }
    name, values, error = wanted[kind]
    np.testing.assert_allclose(getattr(model, name), values, atol=error)


def test_one_component_is_factor_analysis_and_principal_components():
    analysis = FactorAnalysis(2, tol=1e-11, max_iter=5000, svd_method="lapack").fit(WINE)
    model = FactorMixture(1, 2, **EXACT).fit(WINE)
    assert total(model, WINE) == pytest.approx(-2747.191052317, abs=1e-8)
    assert total(FactorMixture(1, 3, **EXACT).fit(WINE), WINE) == pytest.approx(-2684.284456940, abs=1e-8)
    np.testing.assert_allclose(model.covariances()[0], analysis.get_covariance(), atol=2e-5)
    np.testing.assert_allclose(np.abs(model.transform(WINE)), np.abs(analysis.transform(WINE)), atol=2e-4)
    whitened = model.loadings_[0] / np.sqrt(model.uniquenesses_[0])[:, None]
    gram = whitened.T @ whitened
    assert abs(gram[0, 1]) < 1e-10
    assert gram[0, 0] > gram[1, 1]

    X = IRIS.data
    model = FactorMixture(1, 1, uniquenesses="isotropic", **EXACT).fit(X)
    assert total(model, X) == pytest.approx(-470.669458321, abs=1e-8)
    values, vectors = np.linalg.eigh(np.cov(X.T, bias=True))
    first = values[-1] - values[:-1].mean()
    np.testing.assert_allclose(model.uniquenesses_, values[:-1].mean(), rtol=1e-6)
    np.testing.assert_allclose(np.abs(model.loadings_[0, :, 0]), np.abs(vectors[:, -1]) * np.sqrt(first), rtol=1e-5)
    np.testing.assert_allclose(model.explained_variance(), [[first]], rtol=1e-6)


def given(rng, n_components=3, n_features=7, n_factors=2):
    weights = np.arange(1.0, n_components + 1.0)
    means = rng.normal(size=(n_components, n_features)) * 1.5
    loadings = rng.normal(size=(n_components, n_features, n_factors))
    unique = rng.uniform(0.3, 1.0, (n_components, n_features))
    return weights / weights.sum(), means, loadings, unique


@pytest.mark.parametrize("kind", ["own", "common", "isotropic"])
@pytest.mark.parametrize(("n_features", "n_factors"), [(7, 2), (19, 4)])
def test_an_update_is_that_of_the_slow_twin(kind, n_features, n_factors, rng):
    weights, means, loadings, unique = given(rng, 3, n_features, n_factors)
    X = rng.normal(size=(700, n_features)) + means[rng.integers(3, size=700)]
    sample_weight = rng.integers(0, 3, 700).astype(float)
    rule = FactorLikelihood(n_factors, kind, 0.0, X.var(axis=0))
    state = factor_parameters(weights, means, loadings, unique)
    joint = log_joint(X, weights, means, loadings, unique)
    evidence = log_sum_exp(joint)
    r = np.exp(joint - evidence[:, None]) * sample_weight[:, None]
    for origin in (None, means + 0.3):
        source = source_of(rule.family, ArrayRows(X, sample_weight))
        found = source.collect(state.density, origin)
        assert found.log_evidence == pytest.approx(sample_weight @ evidence, rel=1e-12)
        after = rule.update(found, state.density)
        expected = slow_step(X, r, loadings, unique, kind)
        for one, other in zip((after.weights, after.means, after.loadings, after.uniquenesses), expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-11)
    halves = [
        source_of(rule.family, ArrayRows(X[part], sample_weight[part])).collect(state.density)
        for part in (slice(0, 300), slice(300, 700))
    ]
    whole = source_of(rule.family, ArrayRows(X, sample_weight)).collect(state.density)
    np.testing.assert_allclose((halves[0] + halves[1]).to_array(), whole.to_array(), rtol=1e-9, atol=1e-9)


def test_scores_are_those_of_dense_normal_laws(flowers):
    X = IRIS.data
    joint = log_joint(X, flowers.weights_, flowers.means_, flowers.loadings_, flowers.uniquenesses_)
    np.testing.assert_allclose(flowers.score_samples(X), log_sum_exp(joint), rtol=1e-10)
    shares = np.exp(joint - log_sum_exp(joint)[:, None])
    np.testing.assert_allclose(flowers.predict_proba(X), shares, atol=1e-10)
    np.testing.assert_array_equal(flowers.predict(X), joint.argmax(axis=1))
    np.testing.assert_allclose(flowers.log_densities(X) + np.log(flowers.weights_), joint, rtol=1e-9, atol=1e-9)
    dense = [
        multivariate_normal(mean, covariance).logpdf(X)
        for mean, covariance in zip(flowers.means_, flowers.covariances(), strict=True)
    ]
    np.testing.assert_allclose(flowers.log_densities(X).T, dense, rtol=1e-9)
    factors = flowers.transform(X).reshape(150, 3, 1)
    for k, covariance in enumerate(flowers.covariances()):
        expected = (X - flowers.means_[k]) @ np.linalg.solve(covariance, flowers.loadings_[k])
        np.testing.assert_allclose(factors[:, k], expected, atol=1e-9)
    variances = np.diagonal(flowers.covariances(), axis1=1, axis2=2)
    np.testing.assert_allclose(flowers.communalities(), (flowers.loadings_**2).sum(axis=2) / variances, rtol=1e-9)


@pytest.mark.parametrize("kind", ["own", "common", "isotropic"])
@pytest.mark.parametrize("accelerate", [None, "anderson", "squarem"])
def test_the_bound_never_falls_and_uniquenesses_stay_above_their_floor(kind, accelerate, rng):
    X = rng.normal(size=(60, 6))
    X[:, 1] = X[:, 0] + 1e-9 * X[:, 1]  # its uniqueness would go to 0
    model = FactorMixture(2, 2, uniquenesses=kind, accelerate=accelerate, max_iter=60, tol=0.0, random_state=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X)
    told = [str(each.message) for each in caught if each.category is UserWarning]
    assert all("Heywood" in each and ("x1" in each or "x2" in each) for each in told)
    assert len(told) == (kind != "isotropic")
    assert np.diff(model.lower_bounds_).min() > -1e-9
    least = 1e-6 * X.var(axis=0)
    least = least.mean() if kind == "isotropic" else least
    assert (model.uniquenesses_ >= least * (1 - 1e-12)).all()
    if kind != "isotropic":
        assert (model.uniquenesses_[..., 1] <= 2.0 * least[1]).any()


def test_columns_that_factors_explain_are_told_of_with_remedies():
    measures = load_breast_cancer()
    with pytest.warns(
        UserWarning, match=r"all of x3 in component 0 \(a Heywood.*fewer factors.*'common'.*reg_covar=0.005"
    ):
        FactorMixture(2, 10, random_state=0).fit(measures.data)
    # By its remedies there is nothing to tell, and warnings are errors.
    FactorMixture(2, 10, reg_covar=0.005, random_state=0).fit(measures.data)
    FactorMixture(2, 2, random_state=0).fit(measures.data)


def test_components_on_repeated_values_are_named_and_lose():
    # Pixels that are 0 in all images of a component: 1.8 million times as likely with a floor of 1e-6.
    images = load_digits()
    X = images.data[:, images.data.std(axis=0) > 0.0]
    with pytest.warns(SpuriousComponentWarning, match=r"10 of the components.*component 0 sits on one repeated value"):
        model = FactorMixture(10, 1, random_state=0).fit(X)
    assert len(model.spurious_) == 10
    for found in model.spurious_:
        name, value = found.reason.split("value, x")[1].split(" (")[0].split(" = ")
        shown = X[model.predict(X) == found.component, int(name) - 1]
        assert (shown == float(value)).mean() > 0.99
    # Of two starts the one without such a component is kept, though its likelihood is far lower.
    rng = np.random.default_rng(0)
    rounded = rng.normal(size=(300, 5))
    rounded[:150, 0] = 0.25
    halves, quarters = np.repeat([0, 1], 150), rng.permutation(np.repeat([0, 1], 150))
    ends = {}
    for name, labels in (("halves", halves), ("mixed", quarters)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ends[name] = FactorMixture(2, 1, init_params=labels, max_iter=5, tol=0.0).fit(rounded)
    assert ends["halves"].lower_bound_ > ends["mixed"].lower_bound_ + 1.0
    assert [each.component for each in ends["halves"].spurious_] == [0]
    assert ends["mixed"].spurious_ == []
    starts = iter((halves, quarters))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        both = FactorMixture(
            2, 1, n_init=2, init_params=lambda X, n_components, random_state: next(starts), max_iter=5, tol=0.0
        ).fit(rounded)
    # To rounding: loadings begin at random.
    assert both.lower_bound_ == pytest.approx(ends["mixed"].lower_bound_, abs=1e-9)


@pytest.mark.parametrize("kind", ["own", "isotropic"])
def test_tight_groups_are_no_repeated_values(kind, rng):
    tight = rng.normal(size=(100, 6)) * 1e-4 + 3.0
    X = np.vstack([tight, rng.normal(size=(200, 6))])
    model = FactorMixture(2, 1, uniquenesses=kind, init_params=np.repeat([0, 1], [100, 200])).fit(X)
    assert model.spurious_ == []
    np.testing.assert_allclose(model.weights_, [1 / 3, 2 / 3], atol=1e-3)


def test_an_update_has_no_gradient_left_where_it_ends():
    model = FactorMixture(3, 1, random_state=0, tol=1e-14, max_iter=3000, reg_covar=0.0).fit(IRIS.data)
    state = model.weights_, model.means_, model.loadings_, model.uniquenesses_
    best = log_sum_exp(log_joint(IRIS.data, *state)).sum()
    for place in range(1, 4):
        for index in np.ndindex(state[place].shape):
            moved = [each.copy() for each in state]
            ends = []
            for step in (1e-4, -1e-4):
                moved[place][index] = state[place][index] * (1.0 + step)
                ends.append(log_sum_exp(log_joint(IRIS.data, *moved)).sum())
            assert max(ends) < best + 1e-7
            assert abs(ends[0] - ends[1]) < 2e-3 * (2 * best - sum(ends)) + 1e-6


def test_weights_are_copies():
    X, w = IRIS.data, np.arange(150) % 3
    exact = {"tol": 1e-9, "max_iter": 5000}
    twice = FactorMixture(2, 1, init_params=(SPECIES > 0).astype(int)[np.repeat(np.arange(150), w)], **exact)
    once = FactorMixture(2, 1, init_params=(SPECIES > 0).astype(int), **exact).fit(X, sample_weight=w)
    assert once.lower_bound_ == pytest.approx(twice.fit(np.repeat(X, w, axis=0)).lower_bound_, abs=1e-6)
    assert once.score(X, sample_weight=w) == pytest.approx(once.lower_bound_, rel=1e-9)


@pytest.mark.parametrize(("scale", "offset"), [(1e-150, 0.0), (1e150, 0.0), (1.0, 1e8), (1e-6, -3.0)])
def test_scale_and_offset_change_nothing_else(scale, offset, flowers):
    model = FactorMixture(3, 1, random_state=0).fit(IRIS.data * scale + offset)
    assert model.lower_bound_ + 4 * np.log(scale) == pytest.approx(flowers.lower_bound_, abs=1e-5)


def test_results_have_the_same_bits_on_any_number_of_threads(rng):
    X = rng.normal(size=(20_000, 6)) + 3.0 * rng.integers(2, size=(20_000, 1))
    models = [FactorMixture(2, 2, random_state=0, max_iter=6, tol=1e-2, n_threads=n).fit(X) for n in (1, 2)]
    for name in ("loadings_", "means_", "uniquenesses_", "lower_bounds_"):
        np.testing.assert_array_equal(getattr(models[0], name), getattr(models[1], name))


def test_a_known_law_is_found_again_and_samples_follow_it(rng):
    weights, means, loadings, unique = given(rng, 2, 12, 2)
    model = FactorMixture(2, 2)
    model.weights_, model.means_, model.loadings_, model.uniquenesses_ = weights, means * 4.0, loadings, unique
    X, labels = model.sample(6000, random_state=0)
    for k in range(2):
        part = X[labels == k]
        np.testing.assert_allclose(part.mean(axis=0), model.means_[k], atol=0.3)
        np.testing.assert_allclose(np.cov(part.T), model.covariances()[k], atol=0.6)
    found = FactorMixture(2, 2, random_state=0).fit(X)
    order = found.predict(model.means_)
    assert (order[labels] == found.predict(X)).mean() > 0.999
    np.testing.assert_allclose(found.uniquenesses_[order], unique, atol=0.12)
    np.testing.assert_allclose(found.covariances()[order], model.covariances(), atol=0.6)
    assert found.score(X) > model.score(X)
    # Not more factors than there are.
    assert found.bic(X) < min(FactorMixture(2, q, random_state=0).fit(X).bic(X) for q in (1, 3))


@pytest.mark.parametrize(("kind", "unique"), [("own", 9 * 2), ("common", 9), ("isotropic", 2)])
def test_criteria_count_parameters(kind, unique, rng):
    X = rng.normal(size=(200, 9))
    model = FactorMixture(2, 3, uniquenesses=kind, random_state=0, max_iter=500, tol=1e-3).fit(X)
    n_parameters = 1 + 2 * 9 + 2 * (9 * 3 - 3) + unique
    model.uniquenesses = "own"  # what was fitted counts
    assert model.aic(X) == pytest.approx(-2 * total(model, X) + 2 * n_parameters)
    assert model.bic(X) == pytest.approx(-2 * total(model, X) + np.log(200) * n_parameters)
    assert model.icl(X) >= model.bic(X)


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"n_factors": 0}, "n_factors must be an int"),
        ({"n_factors": 1.5}, "n_factors must be an int"),
        ({"n_factors": True}, "n_factors must be an int"),
        ({"n_factors": 4, "uniquenesses": "isotropic"}, "n_factors must be less than the number of columns"),
        ({"n_factors": 2}, r"n_factors = 2 .* n_features = 4 .*: take at most 1, or uniquenesses='isotropic'"),
        ({"uniquenesses": "shared"}, "uniquenesses must be one of 'own', 'common', 'isotropic'"),
        ({"n_components": 0}, "n_components"),
        ({"reg_covar": -1.0}, "reg_covar"),
        ({"reg_covar": 1.0}, "reg_covar must be a share"),
        ({"accelerate": "faster"}, "accelerate"),
        ({"stopping": "soon"}, "stopping"),
        ({"init_params": "best"}, "init_params"),
        ({"means_init": [[0.0]]}, "means"),
    ],
)
def test_bad_parameters_are_refused_and_change_nothing(params, told, flowers):
    model = copy.copy(flowers)
    before = dict(vars(model))
    with pytest.raises(ValueError, match=told):
        model.set_params(**params).fit(IRIS.data)
    assert all(vars(model)[name] is before[name] for name in before if name.endswith("_"))


@pytest.mark.parametrize(
    "name",
    [
        *("noise", "frozen", "equal_weights", "truncate", "checkpoint", "warm_start", "missing", "covariance_type"),
        *("class_components", "learning_decay", "prior", "weights_init"),
    ],
)
def test_parameters_that_it_does_not_have(name):
    with pytest.raises(TypeError, match=name):
        FactorMixture(**{name: None})
    with pytest.raises(ValueError, match=name):
        FactorMixture().set_params(**{name: None})


def test_rows_that_it_does_not_take(flowers):
    class Elsewhere(ArrayRows):
        def gather(self, task, combine):
            return task(self)

    X = np.asarray(IRIS.data, np.float64)
    for method in ("fit", "predict", "score", "transform"):
        with pytest.raises(ValueError, match="does not work on a cluster"):
            getattr(copy.copy(flowers), method)(Elsewhere(X))
    holes = X.copy()
    holes[3, 1] = np.nan
    with pytest.raises(ValueError, match=r"NaN \(row 3, column 1\)"):
        FactorMixture().fit(holes)
    with pytest.raises(TypeError, match="labels"):
        FactorMixture().fit(X, labels=SPECIES)
    with pytest.raises(ValueError, match="features"):
        flowers.predict(X[:, :2])
    with pytest.raises(ValueError, match="row 0 of X lies so far"):
        flowers.predict(np.full((1, 4), 1e300))
    with pytest.raises(ValueError, match="column x3 of X has no variance"):
        FactorMixture().fit(X * [1.0, 1.0, 0.0, 1.0])
    with pytest.raises(ValueError, match="columns"):
        FactorMixture().fit(X[:, :1])
    for call in (FactorMixture().sample, FactorMixture().covariances, lambda: FactorMixture().transform(X)):
        with pytest.raises(ValueError, match="not fitted"):
            call()


def test_files_names_and_starts(tmp_path, flowers):
    X = np.asarray(IRIS.data, np.float64)
    np.save(tmp_path / "rows.npy", X)
    model = FactorMixture(3, 1, random_state=0).fit(tmp_path / "rows.npy")
    assert model.lower_bound_ == flowers.lower_bound_
    np.testing.assert_array_equal(model.transform(tmp_path / "rows.npy"), flowers.transform(X))
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcd"))
    model = FactorMixture(3, 1, random_state=0).fit(frame.assign(w=1.0), sample_weight="w")
    assert model.feature_names_in_.tolist() == list("abcd")
    assert model.lower_bound_ == pytest.approx(flowers.lower_bound_)
    with pytest.raises(ValueError, match="order"):
        model.predict(frame[list("bacd")])
    several = FactorMixture(3, 1, random_state=0, n_init=3).fit(X)
    assert len(several.restarts_) == 3
    assert several.lower_bound_ >= flowers.lower_bound_ - 1e-6
    held = FactorMixture(3, 1, means_init=flowers.means_, max_iter=0).fit(X)
    np.testing.assert_array_equal(held.means_, flowers.means_)
    single = FactorMixture(3, 1, random_state=0).fit(X.astype(np.float32))
    assert single.lower_bound_ == pytest.approx(flowers.lower_bound_, abs=1e-4)
    assert single.transform(X.astype(np.float32)).dtype == np.float32


# Every public method and attribute of the class: what is tested above or below, and what is refused.
WORKS = {
    *("fit", "fit_predict", "predict", "predict_proba", "uncertainty", "score", "score_samples", "log_densities"),
    *("sample", "aic", "bic", "icl", "transform", "fit_transform", "covariances", "communalities"),
    *("explained_variance", "get_params", "set_params", "set_fit_request", "set_score_request"),
    "get_metadata_routing",
}
REFUSED = {
    *("adapt", "partial_fit", "statistics", "update", "to_sklearn", "from_sklearn", "marginal", "condition", "moments"),
    *("cdf", "quantile", "density_threshold", "summary", "covariances_", "precisions_", "precisions_cholesky_"),
}


def test_every_public_method_works_or_is_refused(flowers):
    constants = {*FactorMixture._mixture_defaults, "truncate", "warm_start", "checkpoint", "checkpoint_interval"}
    constants |= {"class_components", "learning_decay", "learning_offset", "missing", "covariance_type", "race"}
    public = {name for name in dir(FactorMixture) if not name.startswith("_")}
    assert public - constants == WORKS | REFUSED
    for name in {each for each in dir(GaussianMixture) if not each.startswith("_")} - WORKS - constants:
        assert not hasattr(flowers, name)
    for name in REFUSED:
        with pytest.raises(AttributeError, match=f"FactorMixture has no '{name}': .{{10}}"):
            getattr(flowers, name)


def test_no_function_takes_it_for_a_gaussian_mixture(flowers, tmp_path):
    X = IRIS.data
    calls = [
        lambda: flowers._whitener(flowers._family()),
        lambda: flowers._covariances(),
        lambda: reading.overlap(flowers),
        lambda: reading.bhattacharyya(flowers),
        lambda: reading.goodness_of_fit(flowers, X[:, :1]),
        lambda: analysis.modes(flowers),
        lambda: analysis.wasserstein_distance(flowers, flowers),
        lambda: analysis.reduce_components(flowers, 1),
        lambda: inference.standard_errors(flowers, X),
        lambda: inference.likelihood_bootstrap(flowers, X),
        lambda: plotting.plot_mixture(flowers, X),
        lambda: plotting.plot_pairs(flowers, X),
        lambda: io.save_model(flowers, tmp_path / "model.npz"),
        lambda: fastgmm.fit_many(FactorMixture(2), [X, X]),
        lambda: fastgmm.GaussianMixtureClassifier(estimator=FactorMixture(2)).fit(X, SPECIES),
        lambda: fastgmm.GaussianMixtureRegressor(estimator=FactorMixture(2)).fit(X[:, :1], X[:, 1]),
    ]
    for call in calls:
        with pytest.raises((TypeError, ValueError, AttributeError), match=r"FactorMixture|GaussianMixture"):
            call()


def test_copies_and_scikit_learn(flowers):
    X = IRIS.data
    again = pickle.loads(pickle.dumps(flowers))
    np.testing.assert_array_equal(again.score_samples(X), flowers.score_samples(X))
    assert repr(again) == "FactorMixture(n_components=3, random_state=0)"
    assert "mean (standard deviation)" in flowers._repr_html_()
    base = pytest.importorskip("sklearn.base")
    clone = base.clone(flowers)
    assert not hasattr(clone, "means_")
    np.testing.assert_array_equal(clone.fit_predict(X), flowers.predict(X))
    np.testing.assert_array_equal(clone.fit_transform(X), flowers.transform(X))


@pytest.mark.filterwarnings("ignore")
def test_check_estimator():
    checks = pytest.importorskip("sklearn.utils.estimator_checks")
    results = checks.check_estimator(FactorMixture(uniquenesses="isotropic"), on_fail=None)
    failed = {result["check_name"]: result["exception"] for result in results if result["status"] == "failed"}
    assert not failed
    assert sum(result["status"] == "passed" for result in results) > 40


def test_attributes_set_by_hand_are_looked_at(flowers):
    model = copy.copy(flowers)
    model.uniquenesses_ = -flowers.uniquenesses_
    with pytest.raises(ValueError, match="uniquenesses_ should be finite numbers above 0"):
        model.predict(IRIS.data)
    model = copy.copy(flowers)
    model.loadings_ = model.loadings_[0]
    with pytest.raises(ValueError, match="loadings_ should have the shape"):
        model.score(IRIS.data)


def test_a_component_without_rows_stays_as_it_is(rng):
    weights, means, loadings, unique = given(rng)
    X = rng.normal(size=(50, 7)) + means[0]
    rule = FactorLikelihood(2, "own", 0.0, X.var(axis=0))
    means[1] += 1e3
    state = factor_parameters(weights, means, loadings, unique)
    after = rule.update(source_of(rule.family, ArrayRows(X)).collect(state.density), state.density)
    assert after.weights[1] == 0.0
    np.testing.assert_allclose(after.loadings[1], loadings[1], rtol=1e-10)
    np.testing.assert_allclose(after.uniquenesses[1], unique[1], rtol=1e-10)
    again = rule.update(source_of(rule.family, ArrayRows(X)).collect(after.density), after.density)
    assert np.isfinite(again.loadings).all()


def test_doc_examples():
    import doctest

    from fastgmm.estimators import factor

    assert doctest.testmod(factor).attempted > 0
    assert doctest.testmod(factor).failed == 0
