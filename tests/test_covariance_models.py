"""mclust's fourteen models: published optima, and what the constraints of eight of them must keep to.

tests/data/covariance_models.json holds converged fits from known groups (species, waiting > 68, class of diabetes), by
two programs of which neither is this package: mclust 6.0.0 and one in NumPy; of VVE, where mclust 6.0.0 to 6.1.3 ends
elsewhere, the latter's.
"""

import numpy as np
import pytest
import reference
from conftest import dense, draw, random_mixture, read_json

from fastgmm import GaussianMixture, datasets, fit_many
from fastgmm.exceptions import CollapsedComponentError, ConvergenceWarning, SpuriousComponentWarning
from fastgmm.families import FAMILIES, NAMED
from fastgmm.kernels.algebra.eigen import eigen

MODELS = "VEI", "EVI", "VEE", "EVE", "VVE", "EEV", "VEV", "EVV"
ONE_SHAPE = "VEI", "VEE", "EEV", "VEV"
ALL = "EII", "VII", "EEI", "VVI", "EEE", "VVV", *MODELS


@pytest.fixture(params=MODELS)
def model(request):
    return FAMILIES[request.param]


def _groups(name):
    data = getattr(datasets, f"load_{name}")()
    return data.data, (data.data[:, 1] > 68).astype(int) if data.target is None else data.target


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("data", ["iris", "faithful", "diabetes"])
def test_published_optima_are_reached(data, name):
    X, labels = _groups(data)
    options = {"covariance_type": name, "init_params": labels, "reg_covar": 0, "tol": 1e-14, "max_iter": 10_000}
    fit = GaussianMixture(labels.max() + 1, **options).fit(X)
    expected = read_json("covariance_models.json")[data][name]
    assert fit.score(X) * len(X) == pytest.approx(expected["log_likelihood"], abs=1e-6)
    assert fit._n_parameters() == expected["n_parameters"]
    matrices = np.array(expected["covariances"])
    deviations = np.sqrt(np.diagonal(matrices, axis1=1, axis2=2))
    # The published components are in an order of their own.
    means = np.array(expected["means"])
    order = [np.abs((mean - means) / deviations).sum(axis=1).argmin() for mean in fit.means_]
    assert sorted(order) == list(range(len(means)))
    np.testing.assert_allclose(fit.weights_, np.array(expected["weights"])[order], atol=1e-5)
    np.testing.assert_allclose((fit.means_ - means[order]) / deviations[order], 0.0, atol=1e-5)
    unit = deviations[order][:, :, None] * deviations[order][:, None, :]
    np.testing.assert_allclose((dense(fit, NAMED[name]) - matrices[order]) / unit, 0.0, atol=1e-5)


def _scatters(rng, n_components, n_features, spread=0.0):
    """Random covariances (K, D, D) on some more than D rows; features and components differ in size by `spread`."""
    n_rows = 2 * n_features + 2
    rows = rng.normal(size=(n_components, n_features, n_rows))
    rows *= 10 ** rng.uniform(-spread, spread, (n_components, n_features, 1))
    return rows @ np.swapaxes(rows, 1, 2) / n_rows


def _own(family, matrices):
    return matrices if family.has_matrices else np.diagonal(matrices, axis1=1, axis2=2).copy()


def _cost(family, mass, own, covariances):
    """What the expected complete log-likelihood falls by: mean log-determinants, and traces of W_k Sigma_k^-1."""
    matrices, own = (family.matrices(each, len(mass), each.shape[1]) for each in (covariances, own))
    costs = np.linalg.slogdet(matrices)[1] + np.trace(np.linalg.solve(matrices, own), axis1=1, axis2=2)
    return mass @ costs / mass.sum()


def _guess(family, n_components, n_features):
    return family.isotropic_whitener(n_components, n_features, 1.0)


def _whitener(family, covariances):
    n_components, n_features = covariances.shape[:2]
    density, failed = family.density(np.ones(n_components), np.zeros((n_components, n_features)), covariances)
    assert failed == -1
    return density.whitener


@pytest.mark.parametrize("shape", [(1, 3), (2, 1), (2, 2), (3, 4), (5, 3)])
def test_the_constraint_equals_the_dense_twin(model, rng, shape):
    for spread in (0.0, 0.5):
        mass, matrices = rng.uniform(1.0, 50.0, shape[0]), _scatters(rng, *shape, spread)
        own = _own(model, matrices)
        expected = reference.covariances(model, mass, matrices * mass[:, None, None], 0.0)
        got = model.constrained(mass, own, _guess(model, *shape))
        cost, least = (_cost(model, mass, own, each) for each in (got, expected))
        if model.name in ("EVE", "VVE") and cost > least + 1e-6:
            # Common axes have several optima, and the twin tries several starts: from its axes nothing must be better.
            got = model.constrained(mass, own, _whitener(model, expected))
        deviations = np.sqrt(model.variances(own, *shape))
        unit = deviations[:, :, None] * deviations[:, None, :] if model.has_matrices else deviations**2
        np.testing.assert_allclose(got / unit, expected / unit, rtol=1e-9, atol=1e-9)


def test_the_expected_likelihood_never_falls(model, rng):
    """From any member of the family, whatever the scatters are."""
    for _ in range(30):
        n_components, n_features = rng.integers(1, 6), rng.integers(1, 7)
        mass, own = rng.uniform(0.1, 50.0, n_components), _own(model, _scatters(rng, n_components, n_features, 1.0))
        _, _, member = random_mixture(rng, model, n_components, n_features)
        got = model.constrained(mass, own, _whitener(model, member))
        cost = _cost(model, mass, own, got)
        assert cost <= _cost(model, mass, own, member)
        again = _cost(model, mass, own, model.constrained(mass, own, _whitener(model, got)))
        assert again <= cost + 1e-12 * (1.0 + abs(cost))


def test_a_member_comes_back_as_it_is(model, rng):
    for _ in range(10):
        _, _, member = random_mixture(rng, model, 4, 5)
        for whitener in (_whitener(model, member), _guess(model, 4, 5)):
            got = model.constrained(rng.uniform(1.0, 9.0, 4), member, whitener)
            np.testing.assert_allclose(got, member, rtol=1e-9, atol=1e-11)


def test_one_component_has_the_covariance_of_its_own(model, rng):
    own = _own(model, _scatters(rng, 1, 5, 1.0))
    np.testing.assert_allclose(model.constrained(np.array([7.0]), own, _guess(model, 1, 5)), own, rtol=1e-11)


@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_the_unit_does_not_matter(model, rng, scale):
    mass, own = rng.uniform(1.0, 50.0, 3), _own(model, _scatters(rng, 3, 4))
    got = model.constrained(mass, own, _guess(model, 3, 4))
    for whitener in (_guess(model, 3, 4), _guess(model, 3, 4) / scale):
        scaled = model.constrained(mass, own * scale * scale, whitener)
        np.testing.assert_allclose(scaled / scale / scale, got, rtol=1e-9, atol=1e-11)


def test_the_order_of_features_and_components_does_not_matter(model, rng):
    mass, matrices = rng.uniform(1.0, 50.0, 3), _scatters(rng, 3, 4)
    got = model.constrained(mass, _own(model, matrices), _guess(model, 3, 4))
    features, components = [2, 0, 3, 1], [1, 2, 0]
    turned = model.constrained(
        mass[components],
        _own(model, matrices[np.ix_(components, features, features)]),
        _guess(model, 3, 4),
    )
    expected = got[components][:, features]
    expected = expected[:, :, features] if model.has_matrices else expected
    np.testing.assert_allclose(turned, expected, rtol=1e-8, atol=1e-9)


def test_a_component_without_mass_leaves_the_others_alone(model, rng):
    mass, own = np.array([10.0, 0.0, 30.0]), _own(model, _scatters(rng, 3, 4))
    alone = model.constrained(mass[[0, 2]], own[[0, 2]], _guess(model, 2, 4))
    own[1] = 0.0
    got = model.constrained(mass, own, _guess(model, 3, 4))
    assert np.isfinite(got).all()
    np.testing.assert_allclose(got[[0, 2]], alone, rtol=1e-9, atol=1e-11)


@pytest.mark.filterwarnings("ignore", category=SpuriousComponentWarning)
@pytest.mark.parametrize("lost", [0, 1])
def test_singular_scatters_are_named_or_survive(model, lost):
    """One value in a component: what has a volume of its own collapses, and nothing becomes NaN."""
    rng = np.random.default_rng(3)
    X = np.concatenate([rng.normal(size=(40, 3)), np.full((20, 3), 8.0)][:: -1 if lost == 0 else 1])
    labels = np.r_[np.zeros(20 if lost == 0 else 40, int), np.ones(40 if lost == 0 else 20, int)]
    options = {"covariance_type": model, "init_params": labels, "reg_covar": 0}
    if model.name == "EEV":
        fit = GaussianMixture(2, **options).fit(X)
        assert np.isfinite(fit.covariances_).all()
        return
    with pytest.raises(CollapsedComponentError) as caught:
        GaussianMixture(2, **options).fit(X)
    assert caught.value.component == lost
    assert np.isfinite(GaussianMixture(2, **(options | {"reg_covar": 1e-6})).fit(X).covariances_).all()


@pytest.mark.parametrize("name", [*ONE_SHAPE, "EVV", "VVE"])
def test_what_others_lend_a_component_of_few_rows(name):
    """Two rows have a volume in a family of one shape; not in one of several, where axes can lie along no spread."""
    rng = np.random.default_rng(4)
    X = np.concatenate([rng.normal(size=(60, 3)), [[9.0, 9.0, 9.0], [9.5, 9.2, 9.9]]])
    fit = GaussianMixture(2, covariance_type=name, init_params=np.r_[np.zeros(60, int), [1, 1]], reg_covar=0)
    if name not in ONE_SHAPE:
        # Axes are turned there step by step, on some processors by more of them than `tol` waits for.
        fit.set_params(tol=0.0, max_iter=2000)
        with pytest.raises(CollapsedComponentError):
            fit.fit(X)
        return
    assert np.linalg.eigvalsh(dense(fit.fit(X), FAMILIES[name])).min() > 0.0
    assert FAMILIES[name].fewest_rows(3) == 2 or name == "EEV"


@pytest.mark.filterwarnings("ignore", category=ConvergenceWarning)
def test_the_bound_never_falls(model):
    for seed in range(4):
        rng = np.random.default_rng(seed)
        n_components, n_features = rng.integers(2, 5).item(), rng.integers(2, 6).item()
        weights, means, matrices = random_mixture(rng, FAMILIES["full"], n_components, n_features)
        X = draw(rng, weights, means * 0.5, matrices, 300)
        fit = GaussianMixture(
            n_components, covariance_type=model, init_params="random", random_state=seed, reg_covar=0, tol=0,
            max_iter=60,
        ).fit(X)  # fmt: skip
        bounds = np.array(fit.lower_bounds_)
        assert np.diff(bounds).min() >= -1e-12 * np.abs(bounds).max()


def test_the_family_is_kept(model, rng):
    """What fits say of volumes, shapes and axes is what the letters say, also with `reg_covar`."""
    X = draw(rng, *random_mixture(rng, FAMILIES["full"], 3, 4), 400)
    fit = GaussianMixture(3, covariance_type=model, random_state=0, reg_covar=0.05).fit(X)
    matrices = dense(fit, model)
    values = np.linalg.eigvalsh(matrices)
    volumes = np.exp(np.log(values).mean(axis=1))
    shapes = values / volumes[:, None]
    is_one = {
        0: np.allclose(volumes, volumes[0], rtol=1e-10),
        1: np.allclose(shapes, shapes[0], rtol=1e-10),
        2: all(np.allclose(a @ b, b @ a, rtol=1e-9, atol=1e-10) for a in matrices for b in matrices),
    }
    assert [is_one[place] for place in range(3)] == [letter != "V" for letter in model.name]


def test_many_fits_are_those_alone(model, rng):
    starts = rng.normal(size=(4, 3, 2)) * 4
    problems = [start[rng.integers(0, 3, 120)] + rng.normal(size=(120, 2)) for start in starts]
    options = {"covariance_type": model, "tol": 1e-12, "max_iter": 2000}
    for X, means in zip(problems, starts, strict=True):
        alone = GaussianMixture(3, means_init=means, **options).fit(X)
        (one,) = fit_many(GaussianMixture(3, means_init=means, **options), [X])
        np.testing.assert_allclose(one.means_, alone.means_, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(dense(one, model), dense(alone, model), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n", [1, 2, 5, 30])
def test_eigenvalues_and_vectors(rng, n):
    half = rng.normal(size=(n, n + 3)) * 10 ** rng.uniform(-2, 2, (n, 1))
    for matrix in (
        half @ half.T,
        half[:, :1] @ half[:, :1].T,
        np.eye(n),
        np.zeros((n, n)),
        half[:, :n] + half[:, :n].T,
    ):
        for scale in (1.0, 1e-298, 1e290):
            values, axes = np.empty(n), np.empty((n, n))
            eigen(matrix * scale, values, axes)
            largest = np.abs(matrix).max() * scale
            assert np.diff(values).max(initial=0.0) <= 0.0
            expected = np.linalg.eigvalsh(matrix)[::-1]
            np.testing.assert_allclose(values / scale, expected, rtol=0, atol=1e-13 * n * np.abs(matrix).max())
            np.testing.assert_allclose(axes @ axes.T, np.eye(n), atol=1e-13)
            unit = largest if largest > 0.0 else 1.0
            residual = (axes.T * (values / unit)) @ axes - matrix * (scale / unit)
            np.testing.assert_allclose(residual, 0.0, atol=1e-13 * n)


def test_eigenvalues_of_graded_matrices_keep_their_digits(rng):
    units = 10.0 ** -np.arange(0, 30, 6)
    half = rng.normal(size=(5, 5))
    correlated = half @ half.T + np.eye(5)
    values, axes = np.empty(5), np.empty((5, 5))
    eigen(correlated * np.outer(units, units), values, axes)
    # Features so far apart in size are nearly axes: an eigenvalue is what is left of one given those before it.
    factor = np.linalg.cholesky(correlated)
    np.testing.assert_allclose(values, (np.diagonal(factor) * units) ** 2, rtol=1e-11)


def test_what_is_no_number_ends():
    values, axes = np.empty(3), np.empty((3, 3))
    eigen(np.full((3, 3), np.nan), values, axes)
    assert np.isnan(values).all()


# A feature without spread in one group, at 0 and elsewhere: rounding must not pass for a spread.
@pytest.mark.parametrize("constant", [0.0, 5.0])
@pytest.mark.parametrize("n_features", [2, 3, 5, 6])
@pytest.mark.parametrize("name", ["VEI", "EVI", "VEE", "EVE", "VVE", "VEV", "EVV"])
def test_a_feature_without_spread_in_one_component_is_named(name, n_features, constant):
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=(80, n_features)), rng.normal(size=(20, n_features)) * 2 + 6])
    X[:80, 1] = constant
    options = {"covariance_type": name, "init_params": np.r_[np.zeros(80, int), np.ones(20, int)]}
    with pytest.raises(CollapsedComponentError) as caught:
        GaussianMixture(2, reg_covar=0, **options).fit(X)
    assert caught.value.component == 0
    model = GaussianMixture(2, max_iter=500, **options).fit(X)
    assert np.isfinite(model.covariances_).all()
    assert np.diff(model.lower_bounds_).min() > -1e-6


@pytest.mark.parametrize("name", ["EVE", "VVE", "VEV", "EVV"])
def test_a_direction_without_spread_in_one_component_is_named(name):
    """Not along an axis: rotations leave rounding there. With more rows in the other, VEV has a limit."""
    rng = np.random.default_rng(1)
    X = np.concatenate([rng.normal(size=(80, 3)), rng.normal(size=(30, 3)) * 2 + 6])
    X[:80, 2] = X[:80, 0] - 2 * X[:80, 1]
    options = {"covariance_type": name, "init_params": np.r_[np.zeros(80, int), np.ones(30, int)], "max_iter": 300}
    with pytest.raises(CollapsedComponentError) as caught:
        GaussianMixture(2, reg_covar=0, **options).fit(X)
    assert caught.value.component == 0


def test_vee_settles_on_features_that_depend_on_each_other():
    """Rounding of volumes must not keep the M-step going; its covariances are multiples of one matrix all the same."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 12))
    X[:, 0] = X[:, 1:].sum(axis=1) + 0.01 * X[:, 0]
    X[:200] *= 2
    X[400:] += 3
    labels = np.repeat([0, 1, 2], 200)
    model = GaussianMixture(3, covariance_type="VEE", init_params=labels, reg_covar=0, tol=1e-10, max_iter=200).fit(X)
    ratios = model.covariances_ / model.covariances_[0]
    np.testing.assert_allclose(ratios, np.broadcast_to(ratios[:, :1, :1], ratios.shape), rtol=1e-6)
    assert np.diff(model.lower_bounds_).min() > -1e-9
