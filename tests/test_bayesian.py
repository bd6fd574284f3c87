"""BayesianGaussianMixture: what its users rely on."""

import copy
import pickle

import numpy as np
import pytest
from conftest import CONJUGATE, dense, of_one, read_columns
from scipy import integrate

from fastgmm import BayesianGaussianMixture, GaussianMixture, fit_many
from fastgmm.exceptions import CollapsedComponentError
from fastgmm.families import FAMILIES
from fastgmm.many import Status

TRIED = CONJUGATE

TYPES = ["dirichlet_distribution", "dirichlet_process"]
PRIOR_TYPE = pytest.mark.parametrize("prior_type", TYPES)
DID_NOT_CONVERGE = pytest.mark.filterwarnings("ignore:Best performing initialization did not converge")


@pytest.fixture
def rows(rng):
    return np.concatenate([rng.normal(size=(120, 2)), rng.normal(size=(180, 2)) * [0.5, 1.5] + [6, 1]])


def _fit(X, family, n_components=4, prior_type="dirichlet_process", sample_weight=None, **params):
    params = {"random_state": 0, "max_iter": 500} | params
    return BayesianGaussianMixture(
        n_components, covariance_type=family.name, weight_concentration_prior_type=prior_type, **params
    ).fit(X, sample_weight=sample_weight)


def _law(model):
    """Everything that the law of a fitted model consists of, as one array."""
    names = ("weight_concentration_", "mean_precision_", "means_", "degrees_of_freedom_", "covariances_", "weights_")
    return np.concatenate([np.ravel(getattr(model, name)) for name in names])


def _explicit(model):
    return {
        "weight_concentration_init": model.weight_concentration_,
        "mean_precision_init": model.mean_precision_,
        "means_init": model.means_,
        "degrees_of_freedom_init": model.degrees_of_freedom_,
        "covariances_init": model.covariances_,
    }


def _parameters(model):
    return {name.removesuffix("_init"): value for name, value in _explicit(model).items()}


@PRIOR_TYPE
def test_attributes_and_the_bound_of_the_returned_law(family, prior_type, rows):
    model = _fit(rows, family, prior_type=prior_type)
    assert model.converged_
    assert model.lower_bounds_[-1] == model.lower_bound_
    assert len(model.lower_bounds_) == model.n_iter_
    assert model.evidence_lower_bound(rows) == pytest.approx(model.lower_bound_, rel=1e-13)
    assert model.component_mass_.sum() == pytest.approx(300, rel=1e-12)
    assert model.weights_.sum() == pytest.approx(1, rel=1e-14)
    assert model.n_effective_components_ == np.sum(model.component_mass_ >= 1)
    shape = family.attribute_shape(4, 2)
    assert model.covariances_.shape == model.precisions_.shape == model.precisions_cholesky_.shape == shape
    assert np.shape(model.degrees_of_freedom_) == (() if family.is_tied else (4,))
    assert np.shape(model.covariance_prior_) == family.block_shape(2)
    assert isinstance(model.weight_concentration_, tuple) == (prior_type == "dirichlet_process")
    assert "BayesianGaussianMixture" in repr(model)


def test_default_priors(family, rows):
    model = _fit(rows, family)
    assert (model.weight_concentration_prior_, model.mean_precision_prior_) == (0.25, 1.0)
    assert model.degrees_of_freedom_prior_ == (2 if family.has_matrices else 1)
    np.testing.assert_allclose(model.mean_prior_, rows.mean(axis=0), rtol=1e-14)
    covariance = np.cov(rows.T)
    expected = of_one(family, covariance)
    np.testing.assert_allclose(model.covariance_prior_, expected, rtol=1e-13)


def test_the_default_prior_of_a_feature_is_the_same_in_full_and_diag(rows):
    """An inverse Wishart law of n degrees of freedom has marginals of n - D + 1 on its diagonal, same scale."""
    full, diag = (_fit(rows, FAMILIES[name]) for name in ("full", "diag"))
    assert full.degrees_of_freedom_prior_ - 2 + 1 == diag.degrees_of_freedom_prior_
    np.testing.assert_allclose(np.diag(full.covariance_prior_), diag.covariance_prior_, rtol=1e-13)


@PRIOR_TYPE
def test_one_column_is_one_model_for_all_families(prior_type, rng):
    X = np.concatenate([rng.normal(size=(60, 1)), rng.normal(size=(40, 1)) + 5])
    full, diag, spherical = (_fit(X, FAMILIES[name], 3, prior_type) for name in ("full", "diag", "spherical"))
    for other in (diag, spherical):
        np.testing.assert_allclose(_law(other), _law(full), rtol=1e-9)
        assert other.lower_bound_ == pytest.approx(full.lower_bound_, rel=1e-13)
        np.testing.assert_allclose(
            other.score_samples(X, predictive="student-t"), full.score_samples(X, predictive="student-t"), rtol=1e-10
        )
    # One component: tied is the same, too.
    models = [_fit(X, FAMILIES[name], 1, prior_type) for name in TRIED]
    assert np.ptp([model.lower_bound_ for model in models]) < 1e-9
    assert np.ptp([model.score(X, predictive="student-t") for model in models]) < 1e-12


@DID_NOT_CONVERGE
@PRIOR_TYPE
def test_many_rows_lead_to_maximum_likelihood(family, prior_type, rows):
    """Each row counted 1e9 times: from the same start both take the same steps."""
    labels = (rows[:, 0] > 3).astype(int)
    params = {"covariance_type": family.name, "init_params": labels, "tol": 0, "max_iter": 7, "reg_covar": 0}
    em = GaussianMixture(2, **params).fit(rows)
    vb = BayesianGaussianMixture(2, **params, weight_concentration_prior_type=prior_type)
    vb.fit(rows, sample_weight=np.full(300, 1e9))
    for name in ("weights_", "means_", "covariances_"):
        np.testing.assert_allclose(getattr(vb, name), getattr(em, name), rtol=1e-7, atol=1e-7)
    for predictive in ("student-t", "plug-in", "expected-log"):
        np.testing.assert_allclose(
            vb.score_samples(rows, predictive=predictive), em.score_samples(rows), rtol=1e-6, atol=1e-6
        )
    # Per row of weight, the bound is the likelihood.
    assert vb.lower_bound_ / 3e11 == pytest.approx(em.lower_bound_, rel=1e-7)


def test_weights_are_copies_of_rows(family, rows, rng):
    sample_weight = rng.integers(0, 4, 300).astype(float)
    copies = np.repeat(rows, sample_weight.astype(int), axis=0)
    model = _fit(rows, family, sample_weight=sample_weight, tol=1e-9, n_init=1, max_iter=2000)
    other = _fit(copies, family, tol=1e-9, max_iter=2000)
    np.testing.assert_allclose(_law(model), _law(other), rtol=1e-6, atol=1e-9)
    assert model.lower_bound_ == pytest.approx(other.lower_bound_, rel=1e-11)
    np.testing.assert_allclose(model.covariance_prior_, other.covariance_prior_, rtol=1e-12)
    np.testing.assert_allclose(model.mean_prior_, other.mean_prior_, rtol=1e-12)
    for predictive in ("student-t", "plug-in", "expected-log"):
        assert model.score(rows, sample_weight=sample_weight, predictive=predictive) == pytest.approx(
            other.score(copies, predictive=predictive), rel=1e-7
        )


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_same_bits_for_any_number_of_threads(family, rng, dtype):
    X = np.concatenate([rng.normal(size=(4000, 3)), rng.normal(size=(4000, 3)) + 4]).astype(dtype)
    first, *others = (_fit(X, family, n_threads=n_threads, max_iter=8, tol=1e9) for n_threads in (1, 2, 3))
    for other in others:
        np.testing.assert_array_equal(_law(first), _law(other))
        assert first.lower_bounds_ == other.lower_bounds_
        np.testing.assert_array_equal(
            first.score_samples(X, predictive="student-t"), other.score_samples(X, predictive="student-t")
        )


@DID_NOT_CONVERGE
@PRIOR_TYPE
def test_a_start_from_a_given_law_begins_with_an_e_step(family, prior_type, rows):
    params = {"tol": 0, "reg_covar": 0, "prior_type": prior_type, "sort_sticks": False}
    whole = _fit(rows, family, **params, max_iter=7)
    begun = _fit(rows, family, **params, max_iter=3)
    explicit = _fit(rows, family, **params, **_explicit(begun), max_iter=4)
    np.testing.assert_allclose(_law(explicit), _law(whole), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(explicit.lower_bounds_, whole.lower_bounds_[3:], rtol=1e-12)
    stays = _fit(rows, family, **params, **_explicit(begun), max_iter=0)
    np.testing.assert_allclose(_law(stays), _law(begun), rtol=1e-13, atol=0)
    assert stays.lower_bound_ == pytest.approx(begun.lower_bound_, rel=1e-13)
    # The same from one object, and by going on.
    warm = BayesianGaussianMixture.from_parameters(
        **_parameters(begun),
        covariance_type=family.name,
        weight_concentration_prior_type=prior_type,
        warm_start=True,
        tol=0,
        reg_covar=0,
        max_iter=4,
    ).fit(rows)
    np.testing.assert_allclose(_law(warm), _law(whole), rtol=1e-9, atol=1e-12)
    again = begun.set_params(warm_start=True, max_iter=4).fit(rows)
    np.testing.assert_allclose(_law(again), _law(whole), rtol=1e-9, atol=1e-12)


@DID_NOT_CONVERGE
def test_a_start_from_means_takes_the_rest_from_their_nearest_rows(family, rows):
    means = np.array([[6.0, 1.0], [0.0, 0.0]])
    start = _fit(rows, family, 2, means_init=means, max_iter=0)
    np.testing.assert_array_equal(start.means_, means)
    nearest = np.argmin(((rows[:, None] - means) ** 2).sum(axis=2), axis=1)
    np.testing.assert_allclose(start.component_mass_, np.bincount(nearest), rtol=1e-12)
    seeded = _fit(rows, family, 2, init_params=nearest, max_iter=0)
    np.testing.assert_allclose(start.covariances_, seeded.covariances_, rtol=1e-10)
    given = _fit(rows, family, 2, means_init=means, mean_precision_init=[3.0, 4.0], max_iter=0)
    np.testing.assert_array_equal(given.mean_precision_, [3.0, 4.0])
    np.testing.assert_allclose(given.covariances_, seeded.covariances_, rtol=1e-10)


def test_one_number_stands_for_all_components(rows):
    model = _fit(
        rows,
        FAMILIES["full"],
        2,
        "dirichlet_distribution",
        means_init=[[0.0, 0.0], [6.0, 1.0]],
        weight_concentration_init=7,
        mean_precision_init=5,
        degrees_of_freedom_init=9,
        covariances_init=np.stack([np.eye(2)] * 2),
        max_iter=0,
    )
    np.testing.assert_array_equal(model.weight_concentration_, [7, 7])
    np.testing.assert_array_equal(model.mean_precision_, [5, 5])
    np.testing.assert_array_equal(model.degrees_of_freedom_, [9, 9])


@pytest.mark.slow
@PRIOR_TYPE
@pytest.mark.parametrize("n_features", [1, 2])
def test_predictive_densities_integrate_to_one(family, prior_type, n_features, rows):
    X = rows[::20, :n_features]
    model = _fit(X, family, 3, prior_type)

    def mass(predictive):
        # tan maps the line to an interval: tails of Student laws reach far.
        nodes, weights = np.polynomial.legendre.leggauss(400 if n_features == 1 else 240)
        angle = 0.5 * np.pi * nodes
        scale = 0.5 * np.pi * weights / np.cos(angle) ** 2
        axes = [np.tan(angle) * 3 + model.mean_prior_[d] for d in range(n_features)]
        grid = np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=1)
        density = np.exp(model.score_samples(grid, predictive=predictive)).reshape([len(nodes)] * n_features)
        for _ in range(n_features):
            density = density @ (3 * scale)
        return float(density)

    assert mass("student-t") == pytest.approx(1, abs=2e-4)
    assert mass("plug-in") == pytest.approx(1, abs=2e-4)
    assert mass("expected-log") < 0.97
    if n_features == 1:
        total, error = integrate.quad(
            lambda x: float(np.exp(model.score_samples([[x]], predictive="student-t")[0])), -np.inf, np.inf, limit=400
        )
        assert total == pytest.approx(1, abs=1e-6 + 10 * error)


def test_kinds_of_prediction(family, rows, rng):
    model = _fit(rows, family)
    Z = np.concatenate([rows[:40], 30 * rng.normal(size=(10, 2))])
    plug_in = GaussianMixture.from_parameters(model.weights_, model.means_, model.covariances_, family.name)
    np.testing.assert_allclose(model.score_samples(Z, predictive="plug-in"), plug_in.score_samples(Z), rtol=1e-12)
    np.testing.assert_allclose(
        model.predict_proba(Z, predictive="plug-in"), plug_in.predict_proba(Z), rtol=1e-9, atol=1e-12
    )
    for predictive in ("expected-log", "plug-in", "student-t"):
        proba = model.predict_proba(Z, predictive=predictive)
        np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-13)
        np.testing.assert_array_equal(model.predict(Z, predictive=predictive), proba.argmax(axis=1))
        assert model.score(Z, predictive=predictive) == pytest.approx(
            model.score_samples(Z, predictive=predictive).mean(), rel=1e-12
        )
    # Far away the parameters' uncertainty shows: the predictive has the heavier tails.
    far = np.array([[500.0, 500.0]])
    assert model.score_samples(far, predictive="student-t")[0] > model.score_samples(far, predictive="plug-in")[0] + 100
    np.testing.assert_array_equal(model.predict(Z), model.predict(Z, predictive="expected-log"))
    assert np.all(model.score_samples(Z) < model.score_samples(Z, predictive="plug-in"))
    with pytest.raises(ValueError, match=r"predictive must be one of 'expected-log'.*got 'bayes'"):
        model.predict(Z, predictive="bayes")
    with pytest.raises(ValueError, match="predictive must be one of 'plug-in', 'student-t'"):
        model.sample(3, predictive="expected-log")


def test_old_faithful_ends_with_two_components():
    """PRML figure 10.6: six components, of which two survive a Dirichlet prior of small concentration."""
    X = read_columns("faithful")
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    for seed in range(3):
        model = _fit(
            X, FAMILIES["full"], 6, "dirichlet_distribution", weight_concentration_prior=1e-3, random_state=seed
        )
        assert model.n_effective_components_ == 2
        assert np.sort(model.component_mass_)[:4].max() < 1e-3
        pruned = model.prune()
        assert pruned.n_components == len(pruned.weights_) == 2
        np.testing.assert_array_equal(
            pruned.predict(X), np.searchsorted(np.flatnonzero(_kept(model)), model.predict(X))
        )
        np.testing.assert_allclose(
            pruned.score_samples(X, predictive="student-t"), model.score_samples(X, predictive="student-t"), atol=1e-3
        )


def _kept(model):
    return model.component_mass_ >= 1


@PRIOR_TYPE
def test_pruning(family, prior_type, rows):
    model = _fit(rows, family, 6, prior_type, weight_concentration_prior=0.01, tol=1e-8, max_iter=3000)
    before = pickle.dumps(model)
    pruned = model.prune()
    kept = np.flatnonzero(_kept(model))
    assert 1 <= len(kept) < 6
    np.testing.assert_array_equal(pruned.means_, model.means_[kept])
    np.testing.assert_array_equal(dense(pruned, family), dense(model, family)[kept])
    np.testing.assert_allclose(pruned.component_mass_, model.component_mass_[kept], rtol=1e-12)
    np.testing.assert_allclose(pruned.weights_, model.weights_[kept] / model.weights_[kept].sum(), rtol=1e-3)
    for name in ("mean_prior_", "covariance_prior_", "weight_concentration_prior_", "degrees_of_freedom_prior_"):
        np.testing.assert_array_equal(getattr(pruned, name), getattr(model, name))
    assert np.isnan(pruned.lower_bound_)
    # What was cut off was hardly worth anything: fitting on changes next to nothing, and never lowers the bound.
    bound = pruned.evidence_lower_bound(rows)
    again = pruned.set_params(warm_start=True).fit(rows)
    assert again.lower_bound_ >= bound - 1e-9
    np.testing.assert_allclose(again.means_, model.means_[kept], rtol=0.02, atol=0.02)
    heaviest = model.prune(min_weight=model.weights_.max())
    np.testing.assert_array_equal(heaviest.means_[0], model.means_[np.argmax(model.weights_)])
    with pytest.raises(ValueError, match=r"prune would leave no component: the largest of 6 holds .* Lower min_weight"):
        model.prune(min_weight=1.1)
    assert pickle.dumps(model) == before


def test_pruning_keeps_names_and_types():
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(read_columns("faithful"), columns=["eruptions", "waiting"])
    model = BayesianGaussianMixture(5, weight_concentration_prior=0.01, random_state=0, max_iter=500).fit(X)
    pruned = model.prune()
    np.testing.assert_array_equal(pruned.feature_names_in_, ["eruptions", "waiting"])
    position = np.full(5, -1)
    position[np.flatnonzero(_kept(model))] = np.arange(pruned.n_components)
    np.testing.assert_array_equal(pruned.predict(X), position[model.predict(X)])


def test_pruning_a_component_in_the_middle(family, rows):
    """What is left is the posterior for the mass that is left: the sticks after it carry less."""
    third = np.concatenate([rows, rows[:60] + [-9, 5]])
    model = _fit(third, family, 3, weight_concentration_prior=0.3, init_params=np.repeat([2, 0, 1], [120, 180, 60]))
    mass = model.component_mass_
    assert np.argmin(mass) == 1
    pruned = model.prune(min_weight=0.2)
    np.testing.assert_array_equal(pruned.means_, model.means_[[0, 2]])
    np.testing.assert_allclose(pruned.weight_concentration_[0], 1 + mass[[0, 2]], rtol=1e-13)
    np.testing.assert_allclose(pruned.weight_concentration_[1], [0.3 + mass[2], 0.3], rtol=1e-13)
    # A concentration far below the rounding of the masses is not lost in them.
    tiny = _fit(rows, family, 4, weight_concentration_prior=1e-17).prune()
    assert tiny.weight_concentration_[1][-1] == 1e-17
    assert np.isfinite(tiny.evidence_lower_bound(rows))
    assert np.all(_fit(rows, family, 1, weight_concentration_prior=1e-17).weights_ == 1)


def test_pruning_after_parameters_have_changed(rows):
    model = _fit(rows, FAMILIES["full"], 4, weight_concentration_prior=0.01)
    model.set_params(covariance_type="diag", weight_concentration_prior_type="dirichlet_distribution", n_init=3)
    model.set_fit_request(sample_weight=True)
    pruned = model.prune()
    assert (pruned.covariance_type, pruned.weight_concentration_prior_type) == ("full", "dirichlet_process")
    assert pruned.n_init == 3
    assert pruned._metadata_request == model._metadata_request
    pruned.set_params(warm_start=True).fit(rows)


def test_sticks_are_sorted_unless_the_user_gave_an_order(family, rows):
    sorted_ = _fit(rows, family, 5)
    assert np.all(np.diff(sorted_.component_mass_) <= 1e-6)
    kept = _fit(rows, family, 5, sort_sticks=False)
    assert sorted_.lower_bound_ >= kept.lower_bound_ - 1e-3
    labels = (rows[:, 0] > 3).astype(int)  # the first is the lighter one
    given = _fit(rows, family, 2, init_params=labels)
    assert given.component_mass_[0] < given.component_mass_[1]
    assert given.means_[0, 0] < 3 < given.means_[1, 0]
    turned = _fit(rows, family, 2, init_params=labels, sort_sticks=True)
    assert turned.means_[1, 0] < 3 < turned.means_[0, 0]
    assert turned.lower_bound_ > given.lower_bound_
    # A Dirichlet law has no order.
    law = _fit(rows, family, 2, "dirichlet_distribution", init_params=labels, sort_sticks=True)
    assert law.means_[0, 0] < 3


@PRIOR_TYPE
def test_data_anywhere_and_of_any_scale(family, prior_type, rows):
    X = np.round(rows * 1024) / 1024
    base = _fit(X, family, prior_type=prior_type, reg_covar=0)
    far = _fit(X + 1e8, family, prior_type=prior_type, reg_covar=0)
    np.testing.assert_allclose(far.means_ - 1e8, base.means_, atol=1e-6)
    np.testing.assert_allclose(far.covariances_, base.covariances_, rtol=1e-6, atol=1e-6)
    assert far.lower_bound_ == pytest.approx(base.lower_bound_, rel=1e-9)
    for scale in (1e-150, 1e-30, 1e30, 1e150):
        model = _fit(X * scale, family, prior_type=prior_type, reg_covar=0)
        np.testing.assert_allclose(model.means_ / scale, base.means_, rtol=1e-6, atol=1e-6)
        assert model.lower_bound_ + 600 * np.log(scale) == pytest.approx(base.lower_bound_, rel=1e-9)
        ours, theirs = (m.score_samples(x, predictive="student-t") for m, x in ((model, X * scale), (base, X)))
        np.testing.assert_allclose(ours + 2 * np.log(scale), theirs, rtol=1e-8, atol=1e-8)
    with pytest.raises(ValueError, match=r"overflows? float64: scale the data"):
        _fit(X * 1e200, family)


@DID_NOT_CONVERGE
@PRIOR_TYPE
def test_degenerate_data(family, prior_type, rows, rng):
    def fit(X, n_components=4, **params):
        model = _fit(X, family, n_components, prior_type, **params)
        assert np.isfinite(_law(model)).all()
        assert np.isfinite(model.lower_bound_)
        assert np.isfinite(model.score_samples(X, predictive="student-t")).all()
        return model

    constant = np.column_stack([rows, np.full(300, 3.0)])
    fit(constant)
    np.testing.assert_allclose(fit(constant).means_[:, 2], 3.0, rtol=1e-12)
    fit(np.column_stack([rows, rows]))
    fit(np.column_stack([rows, np.full(300, 1e8 + 0.1)]))
    fit(np.ones((20, 2)))
    fit(np.repeat(rows[:5], 7, axis=0))
    fit(rows[:2], 2)
    fit(rows[:20], 20)
    fit(rng.normal(size=(5, 12)), 2)
    fit(rows[:, :1])
    fit(np.concatenate([rows, [[1e10, 0.0]]]))
    fit((rows * 100).astype(np.int32))
    weightless = np.r_[np.ones(300), 0.0]
    ignored = _fit(np.concatenate([rows, [[1e160, 0.0]]]), family, 4, prior_type, weightless)
    np.testing.assert_allclose(_law(ignored), _law(fit(rows)), rtol=1e-6, atol=1e-9)
    if family.name.endswith("spherical"):
        fit(constant, reg_covar=0)
    else:
        with pytest.raises(ValueError, match=r"covariance of X.*not positive definite .constant or dependent columns."):
            fit(constant, reg_covar=0)


def test_float32(family, rows):
    X = rows.astype(np.float32)
    model, twin = _fit(X, family), _fit(X.astype(np.float64), family)
    assert model.lower_bound_ == pytest.approx(twin.lower_bound_, rel=1e-12)
    for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        assert getattr(model, name).dtype == np.float32
        np.testing.assert_allclose(getattr(model, name), getattr(twin, name), rtol=1e-5, atol=1e-6)
    for name in ("mean_precision_", "degrees_of_freedom_", "weight_concentration_"):
        np.testing.assert_allclose(getattr(model, name), getattr(twin, name), rtol=1e-12)
    for predictive in ("student-t", "plug-in", "expected-log"):
        scores = model.score_samples(X, predictive=predictive)
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores, twin.score_samples(X, predictive=predictive), rtol=1e-4, atol=1e-4)
    assert model.evidence_lower_bound(X) == pytest.approx(twin.lower_bound_, rel=1e-5)
    pruned = model.prune(min_weight=0.1)
    for name in ("weights_", "means_", "covariances_", "precisions_cholesky_"):
        assert getattr(pruned, name).dtype == np.float32


def test_a_component_of_exactly_one_row_is_effective():
    """The mass is a difference of rounded numbers: (0.001 + 1) - 0.001 is below 1."""
    X = np.concatenate([read_columns("faithful"), [[10.0, 130.0]]])
    model = _fit(
        X,
        FAMILIES["full"],
        8,
        "dirichlet_distribution",
        weight_concentration_prior=1e-3,
        mean_precision_prior=1e-3,
        covariance_prior=0.1 * np.eye(2),
        max_iter=1000,
        reg_covar=0,
    )
    k = model.predict(X)[-1]
    assert model.component_mass_[k] == pytest.approx(1, abs=1e-12)
    assert np.abs(model.prune().means_ - model.means_[k]).max(axis=1).min() == 0


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"weight_concentration_prior_type": "stick"}, r"weight_concentration_prior_type must be one of .*got 'stick'"),
        ({"weight_concentration_prior": 0}, r"weight_concentration_prior must be a float in the range .*got 0"),
        ({"weight_concentration_prior": 1e-310}, r"weight_concentration_prior must be a float in the range"),
        ({"mean_precision_prior": -1.0}, r"mean_precision_prior must be a float in the range .*got -1.0"),
        ({"mean_precision_prior": np.nan}, r"mean_precision_prior must be a float"),
        ({"degrees_of_freedom_prior": 1}, r"'degrees_of_freedom_prior' should be greater than 1, but got 1.000"),
        ({"degrees_of_freedom_prior": 0.0, "covariance_type": "diag"}, r"degrees_of_freedom_prior must be a float"),
        ({"mean_prior": [0, 0, 0]}, r"'mean_prior' should have the shape of \(2,\), but got \(3,\)"),
        ({"mean_prior": [0, np.inf]}, r"mean_prior contains infinity"),
        ({"covariance_prior": np.eye(3)}, r"'full covariance_prior' should have the shape of \(2, 2\)"),
        ({"covariance_prior": [[1, 2], [2, 1]]}, r"'full covariance_prior' should be symmetric, positive-definite"),
        ({"covariance_prior": [1, -1], "covariance_type": "diag"}, r"'diag covariance_prior' should be positive"),
        (
            {"covariance_prior": [1, 1], "covariance_type": "spherical"},
            r"should have the shape of \(\), but got \(2,\)",
        ),
        ({"sort_sticks": "yes"}, r"sort_sticks must be one of None, True, False, got 'yes'"),
        ({"weight_concentration_prior": 1e11}, r"weight_concentration_prior .*\[1e-300, 1e\+10\], got 100000000000.0"),
        (
            {"degrees_of_freedom_prior": 1e12},
            r"degrees_of_freedom_prior must be a float in the range \[1e-300, 1e\+10\]",
        ),
        ({"mean_precision_init": 2}, r"mean_precision_init needs means_init"),
        ({"means_init": [[0, 0]] * 2, "mean_precision_init": [1, -2]}, r"mean_precision_init must be above 0, got -2"),
        ({"means_init": [[0, 0]] * 2, "degrees_of_freedom_init": 1}, r"degrees_of_freedom_init must be above 1, got 1"),
        (
            {"means_init": [[0, 0]] * 2, "weight_concentration_init": [1, 2, 3]},
            r"'weight_concentration_init' should have the shape of \(2, 2\), but got \(3,\)",
        ),
        ({"means_init": [[0, 0]] * 2, "covariances_init": np.eye(2)}, r"'full covariance' should have the shape of"),
        ({"n_components": 400}, r"Expected n_samples >= n_components"),
    ],
)
def test_bad_parameters(rows, params, message):
    model = BayesianGaussianMixture(2).set_params(**params)
    with pytest.raises(ValueError, match=message):
        model.fit(rows)
    assert not hasattr(model, "means_")


def test_weights_beyond_all_counting_are_refused(rows):
    with pytest.raises(ValueError, match=r"sample_weight must sum to at most 1e\+100, got 3e\+302"):
        BayesianGaussianMixture(2).fit(rows, sample_weight=np.full(300, 1e300))


def test_methods_before_fit():
    model = BayesianGaussianMixture(2)
    for call in (
        lambda: model.predict([[0.0]]),
        lambda: model.score([[0.0]]),
        lambda: model.sample(),
        lambda: model.prune(),
        lambda: model.n_effective_components_,
        lambda: model.evidence_lower_bound([[0.0]]),
        lambda: model.sample(predictive="student-t"),
    ):
        with pytest.raises((ValueError, AttributeError), match="This BayesianGaussianMixture instance is not fitted"):
            call()


def test_a_law_without_its_prior_scores_but_has_no_bound(rows):
    fitted = _fit(rows, FAMILIES["diag"])
    model = BayesianGaussianMixture.from_parameters(**_parameters(fitted), covariance_type="diag")
    for predictive in ("student-t", "plug-in", "expected-log"):
        np.testing.assert_array_equal(
            model.score_samples(rows, predictive=predictive), fitted.score_samples(rows, predictive=predictive)
        )
    with pytest.raises(ValueError, match="the prior of this model is not known: give mean_prior and covariance_prior"):
        model.evidence_lower_bound(rows)
    for call in (model.prune, lambda: model.n_effective_components_):
        with pytest.raises(ValueError, match="the prior of this model is not known"):
            call()
    assert not hasattr(model, "n_effective_components_")
    known = BayesianGaussianMixture.from_parameters(
        **_parameters(fitted),
        covariance_type="diag",
        mean_prior=fitted.mean_prior_,
        covariance_prior=fitted.covariance_prior_,
    )
    assert known.evidence_lower_bound(rows) == pytest.approx(fitted.lower_bound_, rel=1e-13)


def test_a_failing_fit_changes_nothing(rows):
    model = _fit(rows, FAMILIES["full"])
    before = pickle.dumps(model)
    with pytest.raises(ValueError, match="contains NaN"):
        model.fit(np.full((300, 2), np.nan))

    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.fit(rows + 1, callback=stop)
    assert pickle.dumps(model) == before


@DID_NOT_CONVERGE
@PRIOR_TYPE
def test_single_steps_by_warm_start_are_one_long_fit(family, prior_type, rows):
    """Sorted sticks stay sorted; a user's order stays, too."""
    for start in ("random", (rows[:, 0] < 3).astype(int)):
        n_components = 5 if isinstance(start, str) else 2
        params = {"tol": 0, "init_params": start, "reg_covar": 0}
        whole = _fit(rows, family, n_components, prior_type, max_iter=12, **params)
        steps = _fit(rows, family, n_components, prior_type, max_iter=1, warm_start=True, **params)
        for _ in range(11):
            steps.fit(rows)
        np.testing.assert_allclose(_law(steps), _law(whole), rtol=1e-8, atol=1e-10)
        assert steps.lower_bound_ == pytest.approx(whole.lower_bound_, rel=1e-11)


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0, 4, 1, 3]])
@pytest.mark.parametrize("name", ["full", "tied"])
def test_a_singular_covariance_of_the_data_is_told_whatever_the_order_of_columns(name, order):
    """Five rows in five dimensions: no pivot is exactly zero."""
    for number in (3, 17, 263):
        rows = np.random.default_rng(number).normal(size=(5, 5))
        X = rows[:, order]
        with pytest.raises(ValueError, match="covariance of X, which is the prior"):
            _fit(X, FAMILIES[name], 1, reg_covar=0)
        model = _fit(X, FAMILIES[name], 1)
        assert model.lower_bound_ == pytest.approx(_fit(rows, FAMILIES[name], 1).lower_bound_, abs=1e-6)
        pruned = model.prune().set_params(warm_start=True).fit(X)  # its own prior is accepted again
        assert pruned.lower_bound_ == pytest.approx(model.lower_bound_, abs=1e-9)


def test_a_prior_of_few_rows(family, rows):
    """A total weight of a row and less still has a covariance; it counts for little against the prior."""
    for total in (2.0, 1.5, 1.0, 0.01):
        sample_weight = np.full(300, total / 300)
        model = _fit(rows, family, 2, sample_weight=sample_weight)
        centred = rows - rows.mean(axis=0)
        expected = total * centred.T @ centred / 300 / max(total - 1, total / 2)
        expected = of_one(family, expected)
        np.testing.assert_allclose(model.covariance_prior_, expected, rtol=1e-10)


@DID_NOT_CONVERGE
@pytest.mark.filterwarnings("ignore:Not all fits are good")
@pytest.mark.parametrize(("scale", "weight"), [(1e-133, 1e-60), (1e-133, 2.0**40), (1e100, 1e-200), (1e133, 1e-15)])
def test_the_default_prior_of_rows_and_weights_of_other_scales(family, rows, scale, weight):
    model = BayesianGaussianMixture(2, covariance_type=family.name, reg_covar=0, random_state=0, max_iter=1)
    sample_weight, total = np.full(300, weight), 300 * weight
    expected = np.cov(rows.T, ddof=0) * total / max(total - 1, total / 2)
    expected = of_one(family, expected)
    single = model.fit(rows * scale, sample_weight=sample_weight).covariance_prior_
    (one,) = fit_many(model, [rows * scale], sample_weight=[sample_weight])
    for prior in (single, one.covariance_prior_):
        np.testing.assert_allclose(prior / scale / scale, expected, rtol=1e-9)


def test_a_constant_column_far_out_has_the_variance_of_reg_covar(rows):
    """Rounding of the mean gives it a variance that is none."""
    X = np.column_stack([rows, np.full(300, 1e8 + 0.1)])
    X[::2, 2] = np.nextafter(X[0, 2], np.inf)
    model = _fit(X, FAMILIES["diag"])
    assert model.covariance_prior_[2] == pytest.approx(1e-6, rel=1e-6)
    for reg_covar in (0, 1e-20):
        with pytest.raises(ValueError, match="covariance of X, which is the prior"):
            _fit(X, FAMILIES["diag"], reg_covar=reg_covar)


def test_weights_of_any_size_in_the_bound(family, rows):
    for weight in (2.0**-80, 2.0**90):
        # In the unit of the bound, which is a sum over weights: else rounding alone decides when a fit ends.
        model = _fit(rows, family, 2, sample_weight=np.full(300, weight), tol=1e-3 * weight)
        bound = model.evidence_lower_bound(rows, sample_weight=np.full(300, weight))
        assert bound == pytest.approx(model.lower_bound_, rel=1e-12, abs=1e-12)


def test_large_priors_do_not_cancel(rows):
    """At the ends of their ranges the bound of one component is still the exact evidence."""
    from reference import log_marginal

    mean_prior = np.array([0.3, -0.7])
    for params in (
        {"mean_precision_prior": 1e20},
        {"mean_precision_prior": 1e-300},
        {"degrees_of_freedom_prior": 1e5, "covariance_prior": 1e5 * np.eye(2)},
        {"weight_concentration_prior": 1e10},
        {"weight_concentration_prior": 1e-300},
    ):
        params = {"covariance_prior": np.eye(2), "mean_prior": mean_prior} | params
        model = _fit(rows, FAMILIES["full"], 1, "dirichlet_distribution", reg_covar=0, **params)
        expected = log_marginal(
            "full",
            rows,
            model.mean_precision_prior_,
            mean_prior,
            model.degrees_of_freedom_prior_,
            np.asarray(model.covariance_prior_),
        )
        assert model.lower_bound_ == pytest.approx(expected, rel=1e-11)
    # With this many degrees of freedom the covariance is known, and the evidence that of a normal mean.
    known = _fit(
        rows,
        FAMILIES["full"],
        1,
        reg_covar=0,
        mean_prior=mean_prior,
        degrees_of_freedom_prior=1e10,
        covariance_prior=1e10 * np.eye(2),
    )
    assert known.lower_bound_ == pytest.approx(_evidence_of_the_mean(rows, mean_prior), abs=0.01)
    for prior_type in TYPES:
        model = _fit(
            rows, FAMILIES["full"], 3, prior_type, weight_concentration_prior=1e10, reg_covar=0, tol=1e-6, max_iter=5000
        )
        assert np.diff(model.lower_bounds_).min() > -1e-5


def _evidence_of_the_mean(rows, mean_prior):
    """log p(rows) for unit covariance and a unit normal prior of the mean, and all rows on the first of sticks."""
    from scipy.special import betaln

    n = len(rows)
    gap = rows.mean(axis=0) - mean_prior
    square = ((rows - rows.mean(axis=0)) ** 2).sum() + n / (n + 1) * (gap**2).sum()
    return -n * np.log(2 * np.pi) - np.log(n + 1) - square / 2 + betaln(1 + n, 1.0) - betaln(1, 1.0)


@DID_NOT_CONVERGE
@pytest.mark.filterwarnings("ignore:Not all fits are good")
def test_a_narrow_prior_keeps_components_of_few_rows_from_collapsing(rng):
    """The scatter of a component of fewer rows than features is singular: only the prior fills it."""
    X = rng.normal(size=(6, 4))
    for width in (1e-6, 1e-13, 1e-14):
        model = BayesianGaussianMixture(5, covariance_prior=width * np.eye(4), reg_covar=0, random_state=0, max_iter=60)
        model.fit(X)
        least = np.linalg.eigvalsh(model.covariances_).min(axis=1) * model.degrees_of_freedom_ / width
        assert (least > (0.99 if width > 1e-10 else 0.1)).all()
        assert np.isfinite(model.lower_bounds_).all()
        assert fit_many(model, [X]).status[0] <= Status.NOT_CONVERGED
    # What rounding leaves nothing of is no prior.
    model.set_params(covariance_prior=1e-18 * np.eye(4))
    with pytest.raises(CollapsedComponentError, match="increase reg_covar"):
        model.fit(X)
    assert fit_many(model, [X]).status[0] == Status.COLLAPSED


def test_a_fit_out_of_range_is_an_error_and_changes_nothing(rows):
    model = _fit(rows, FAMILIES["full"], 2, reg_covar=0)
    before = pickle.dumps(model)
    weights = np.r_[np.full(299, 1e-12), 1e6]
    with pytest.raises(ValueError, match="range of float64"):
        model.fit(rows * 1e-150, sample_weight=weights)
    assert pickle.dumps(model) == before


def test_samples_of_tails_beyond_float64_are_refused(rows):
    model = _fit(rows[:6], FAMILIES["diag"], 1, degrees_of_freedom_prior=0.007, sample_weight=np.full(6, 1e-4))
    with pytest.raises(ValueError, match=r"at least 0.1 degrees of freedom, component 0 has 0.0076: increase degrees"):
        model.sample(5, predictive="student-t")


def test_warm_start_needs_the_same_kind_of_weights(rows):
    model = _fit(rows, FAMILIES["full"], 2).set_params(
        warm_start=True, weight_concentration_prior_type="dirichlet_distribution"
    )
    with pytest.raises(ValueError, match="warm_start needs weights of the same kind"):
        model.fit(rows)


def test_restarts_keep_the_highest_bound(rows):
    bounds = []
    model = BayesianGaussianMixture(4, n_init=6, init_params="random", random_state=3, max_iter=300)
    model.fit(rows, callback=lambda restart, iteration, bound, change: bounds.append((restart, bound)))
    last = dict(bounds)
    assert len(last) == 6
    assert model.lower_bound_ >= max(last.values()) - 1e-9


def test_pickle_and_copies_predict_the_same(family, rows):
    model = _fit(rows, family)
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(
            twin.score_samples(rows, predictive="student-t"), model.score_samples(rows, predictive="student-t")
        )


@pytest.mark.parametrize("far", [20.0, 1e3, 1e6, 1e12])
def test_a_prior_on_the_scale_of_groups_keeps_them_apart(far):
    """The documented remedy where groups are far apart: the prior's scale and its weight on the mean, both."""
    rng = np.random.default_rng(0)
    X = np.r_[rng.normal(0, 1, 200), rng.normal(8, 1, 200), rng.normal(far, 1, 200)][:, None]
    labels = np.repeat([0, 1, 2], 200)
    prior = {"covariance_prior": [[1.0]], "mean_precision_prior": 1.0 / X.var()}
    model = BayesianGaussianMixture(6, init_params=labels, max_iter=2000, **prior).fit(X)
    assert model.n_effective_components_ == 3
    assert model.spurious_ == []
    predicted = model.predict(X)
    assert len({*predicted[[0, 200, 400]].tolist()}) == 3
    np.testing.assert_allclose(model.covariances_[predicted[[0, 200]]].ravel(), 1.0, rtol=0.25)


def _far_groups(rng, n_features, far):
    centres = np.zeros((3, n_features))
    centres[1:, 0] = 8.0, far
    return np.concatenate([rng.normal(centre, 1.0, (200, n_features)) for centre in centres])


@pytest.mark.parametrize("far", [100.0, 1e6, 1e9])
def test_a_prior_of_what_is_within_groups(family, far, rng):
    X = _far_groups(rng, 2, far)
    options = {"covariance_type": family.name, "random_state": 0, "max_iter": 1000}
    model = BayesianGaussianMixture(3, covariance_prior="within", **options).fit(X)
    assert np.sort(model.means_[:, 0]) == pytest.approx([0.0, 8.0, far], abs=0.3, rel=0.0)
    widths = np.sqrt(np.diagonal(dense(model, family), axis1=1, axis2=2))
    assert widths == pytest.approx(1.0, abs=0.15)
    prior = np.asarray(model.covariance_prior_)
    within = family.matrices(prior.reshape(family.shape(1, 2)), 1, 2)[0]
    np.testing.assert_allclose(within, np.eye(2), atol=0.2)
    # The direction of the gap has the least ratio.
    covariance = np.cov(X.T)
    total = family.matrices(np.reshape(of_one(family, covariance), family.shape(1, 2)), 1, 2)[0]
    expected = 1.0 / np.linalg.eigvals(np.linalg.solve(within, total)).real.max()
    assert model.mean_precision_prior_ == pytest.approx(expected, rel=1e-2)
    # With scikit-learn's default prior the near groups become one.
    default = BayesianGaussianMixture(3, **options).fit(X)
    assert np.sqrt(np.diagonal(dense(default, family), axis1=1, axis2=2)).max() > 2.0


def test_a_prior_within_groups_by_hand_and_elsewhere(rng, tmp_path):
    X = _far_groups(rng, 1, 1e3)
    model = BayesianGaussianMixture(3, covariance_prior="within", mean_precision_prior=0.5, random_state=0).fit(X)
    assert model.mean_precision_prior_ == 0.5
    again = BayesianGaussianMixture(
        3, covariance_prior=model.covariance_prior_, mean_precision_prior=0.5, random_state=0
    ).fit(X)
    np.testing.assert_array_equal(model.means_, again.means_)
    assert model.to_sklearn().covariance_prior is model.covariance_prior_
    np.save(tmp_path / "X.npy", X)
    from_file = BayesianGaussianMixture(3, covariance_prior="within", random_state=0).fit(tmp_path / "X.npy")
    assert np.sort(from_file.means_.ravel()) == pytest.approx([0.0, 8.0, 1e3], abs=0.3)
    with pytest.raises(ValueError, match="covariance_prior must be one of 'within', got 'local'"):
        BayesianGaussianMixture(2, covariance_prior="local").fit(X)
    with pytest.raises(ValueError, match="fit_many cannot fit with covariance_prior='within': give the covariance"):
        fit_many(BayesianGaussianMixture(2, covariance_prior="within"), [X])
    with pytest.raises(ValueError, match=r"covariance within groups of X.*fewer components"):
        BayesianGaussianMixture(2, covariance_prior="within", reg_covar=0.0).fit([[0.0], [0.0], [1.0], [1.0]])


@pytest.mark.parametrize("column", ["constant", "dependent", "code"])
def test_a_prior_within_groups_of_degenerate_columns(column, rng):
    X = _far_groups(rng, 2, 1e3)
    more = {"constant": np.ones(600), "dependent": X[:, 0] + X[:, 1], "code": np.repeat([0.0, 1.0], [200, 400])}[column]
    model = BayesianGaussianMixture(3, covariance_prior="within", random_state=0, max_iter=500).fit(np.c_[X, more])
    assert np.sort(model.means_[:, 0]) == pytest.approx([0.0, 8.0, 1e3], abs=0.4, rel=0.0)
    assert np.sqrt(model.covariances_[:, 0, 0]) == pytest.approx(1.0, abs=0.2)
    if column == "code":
        # No group is widened by the distance of the codes.
        assert model.mean_precision_prior_ < 1e-4
        assert model.covariances_[:, 2, 2].max() < 1e-4
