"""Modes, distances and reduction of mixtures, beside integration, searches on grids, closed forms and laws."""

import math

import numpy as np
import pytest
from scipy.integrate import dblquad, quad

from fastgmm import BayesianGaussianMixture, GaussianMixture, GaussianMixtureIC, datasets
from fastgmm.analysis import (
    cauchy_schwarz_divergence,
    jensen_shannon_divergence,
    kl_divergence,
    modes,
    reduce_components,
    wasserstein_distance,
)


def _mixture(seed, n_components=3, n_features=2, spread=2.0):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(n_components, n_features, n_features))
    covariances = root @ np.swapaxes(root, 1, 2) + 0.3 * np.eye(n_features)
    weights = rng.dirichlet(np.full(n_components, 3.0))
    return GaussianMixture.from_parameters(
        weights, spread * rng.normal(size=(n_components, n_features)), covariances, random_state=0
    )


def _one(means, deviations, weights=None):
    means = np.asarray(means, float)
    weights = np.full(len(means), 1.0 / len(means)) if weights is None else weights
    return GaussianMixture.from_parameters(weights, means[:, None], np.square(deviations)[:, None, None])


def _density(model):
    return lambda x: float(np.exp(model.score_samples([[x]])[0]))


def _scaled(model, scale, offset=0.0):
    return GaussianMixture.from_parameters(
        model.weights_, scale * model.means_ + offset, scale * model.covariances_ * scale
    )


# -- moments ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["full", "tied", "diag", "spherical", "EEV"])
def test_moments_of_a_fit_are_those_of_its_rows(family):
    """A fit by maximum likelihood has the mean of the rows, and with whole covariances their covariance."""
    X = np.asarray(datasets.load_iris().data, np.float64)
    model = GaussianMixture(3, covariance_type=family, reg_covar=0.0, random_state=0, tol=1e-9, max_iter=1000).fit(X)
    moments = model.moments()
    np.testing.assert_allclose(moments.mean, X.mean(axis=0), rtol=1e-9)
    drawn, _ = model.sample(200_000, random_state=0)
    np.testing.assert_allclose(moments.covariance, np.cov(drawn.T), atol=0.02)
    if family in ("full", "tied"):
        np.testing.assert_allclose(moments.covariance, np.cov(X.T, bias=True), atol=1e-9)


def test_moments_far_from_the_origin():
    near, far = _mixture(0).moments(), _scaled(_mixture(0), 1.0, 1e8).moments()
    np.testing.assert_allclose(far.covariance, near.covariance, rtol=1e-6)
    np.testing.assert_allclose(far.mean - 1e8, near.mean, atol=1e-7)


# -- modes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_modes_of_one_column_are_those_of_a_fine_grid(seed):
    rng = np.random.default_rng(seed)
    model = _one(rng.normal(size=6) * 4, rng.uniform(0.05, 2.0, size=6), rng.dirichlet(np.ones(6)))
    x = np.linspace(-20.0, 20.0, 2_000_001)
    height = model.score_samples(x[:, None])
    peaks = np.flatnonzero((height[1:-1] > height[:-2]) & (height[1:-1] > height[2:])) + 1
    found = modes(model)
    np.testing.assert_allclose(np.sort(found.points[:, 0]), x[peaks], atol=3e-5)
    np.testing.assert_allclose(found.log_densities, model.score_samples(found.points), rtol=1e-9)
    assert np.all(np.diff(found.log_densities) <= 0.0)


@pytest.mark.parametrize(("gap", "n_modes"), [(1.9, 1), (2.1, 2)])
def test_two_equal_components_part_at_two_standard_deviations(gap, n_modes):
    found = modes(_one([-gap / 2, gap / 2], [1.0, 1.0]))
    assert len(found.points) == n_modes
    assert found.of_component.tolist() == ([0, 0] if n_modes == 1 else [0, 1])


def test_a_mixture_of_two_columns_may_have_more_modes_than_components():
    """Ray and Lindsay's (2005) example: two components that cross have three modes."""
    model = GaussianMixture.from_parameters(
        [0.5, 0.5], [[0.0, 0.0], [1.0, 1.0]], [[[1.0, 0.0], [0.0, 0.05]], [[0.05, 0.0], [0.0, 1.0]]]
    )
    found = modes(model)
    side = np.linspace(-1.0, 2.0, 301)
    height = model.score_samples(np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2))
    height = height.reshape(301, 301)
    inner = height[1:-1, 1:-1]
    around = [height[1 + i : 300 + i, 1 + j : 300 + j] for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]
    peaks = np.argwhere(np.all([inner > each for each in around], axis=0))
    assert len(found.points) == len(peaks) == 3
    for point in side[1 + peaks]:
        assert np.abs(found.points - point).max(axis=1).min() < 0.011


def test_units_and_empty_components_do_not_matter():
    model = _mixture(3, n_components=4)
    plain = modes(model)
    for scale, offset in ((1e-140, 0.0), (1e140, 0.0), (1.0, 1e8)):
        moved = modes(_scaled(model, scale, offset))
        np.testing.assert_allclose((moved.points - offset) / scale, plain.points, atol=1e-5 if offset else 1e-8)
        np.testing.assert_array_equal(moved.of_component, plain.of_component)
    empty = GaussianMixture.from_parameters(
        [*model.weights_, 0.0], [*model.means_, [99.0, 99.0]], [*model.covariances_, np.eye(2)]
    )
    np.testing.assert_array_equal(modes(empty).of_component, [*plain.of_component, -1])


# -- distances -------------------------------------------------------------------------------------------------------


def test_divergences_are_what_integration_gives():
    p, q = _one([0.0, 3.0], [1.0, 0.5], [0.3, 0.7]), _one([0.5, 2.0, 4.0], [1.5, 1.0, 1.0])
    f, g = _density(p), _density(q)

    def integral(function):
        return quad(function, -12.0, 15.0, limit=400, epsabs=1e-11, points=[0.0, 3.0])[0]

    exact = integral(lambda x: f(x) * math.log(f(x) / g(x)))
    found = kl_divergence(p, q, 200_000)
    assert found.value == pytest.approx(exact, abs=5 * found.standard_error)
    assert found.standard_error < 0.01
    middle = integral(lambda x: 0.5 * f(x) * math.log(2 * f(x) / (f(x) + g(x))))
    middle += integral(lambda x: 0.5 * g(x) * math.log(2 * g(x) / (f(x) + g(x))))
    found = jensen_shannon_divergence(p, q, 200_000)
    assert found.value == pytest.approx(middle, abs=5 * found.standard_error)
    both, first, second = integral(lambda x: f(x) * g(x)), integral(lambda x: f(x) ** 2), integral(lambda x: g(x) ** 2)
    assert cauchy_schwarz_divergence(p, q) == pytest.approx(-math.log(both / math.sqrt(first * second)), rel=1e-8)


@pytest.mark.slow
def test_cauchy_schwarz_of_two_columns():
    p, q = _mixture(1, spread=1.0), _mixture(2, spread=1.0)

    def integral(one, other):
        density = lambda y, x: float(np.exp(one.score_samples([[x, y]])[0] + other.score_samples([[x, y]])[0]))  # noqa: E731
        return dblquad(density, -9.0, 9.0, -9.0, 9.0, epsabs=1e-6, epsrel=1e-5)[0]

    exact = -math.log(integral(p, q) / math.sqrt(integral(p, p) * integral(q, q)))
    assert cauchy_schwarz_divergence(p, q) == pytest.approx(exact, abs=1e-4)


def test_divergences_of_single_components_are_exact():
    p, q = _mixture(4, n_components=1), _mixture(5, n_components=1)
    exact = kl_divergence(p, q)
    assert exact.standard_error == 0.0
    drawn, _ = p.sample(400_000, random_state=1)
    ratio = p.score_samples(drawn) - q.score_samples(drawn)
    assert exact.value == pytest.approx(ratio.mean(), abs=5 * ratio.std() / math.sqrt(len(ratio)))
    assert kl_divergence(p, p).value == 0.0


@pytest.mark.parametrize("seed", range(3))
def test_laws_of_distances(seed):
    p, q, r = (_mixture(3 * seed + number) for number in range(3))
    for distance in (cauchy_schwarz_divergence, wasserstein_distance):
        assert distance(p, q) == pytest.approx(distance(q, p), rel=1e-7)
        assert distance(p, p) == pytest.approx(0.0, abs=1e-6)
        assert distance(p, q) > 0.01
    assert wasserstein_distance(p, r) <= wasserstein_distance(p, q) + wasserstein_distance(q, r) + 1e-9
    assert kl_divergence(p, p).value == 0.0
    assert jensen_shannon_divergence(p, p).value == pytest.approx(0.0, abs=1e-12)
    far = _scaled(p, 1.0, 1e4)
    assert jensen_shannon_divergence(p, far).value == pytest.approx(math.log(2.0), rel=1e-12)
    for scale in (1e-140, 1e140):
        ours, theirs = _scaled(p, scale), _scaled(q, scale)
        assert wasserstein_distance(ours, theirs) / scale == pytest.approx(wasserstein_distance(p, q), rel=1e-6)
        assert cauchy_schwarz_divergence(ours, theirs) == pytest.approx(cauchy_schwarz_divergence(p, q), rel=1e-9)


def test_wasserstein_distance_against_closed_forms():
    first, second = _one([1.0], [2.0]), _one([4.0], [6.0])
    assert wasserstein_distance(first, second) == pytest.approx(5.0)
    # Half of the mass stays, a quarter moves by 3 and by 5 each.
    p, q = _one([0.0, 10.0], [1.0, 1.0]), _one([0.0, 13.0, 5.0], [1.0, 1.0, 1.0], [0.5, 0.25, 0.25])
    assert wasserstein_distance(p, q) == pytest.approx(math.sqrt(0.25 * 9 + 0.25 * 25))
    # In two columns, of commuting covariances.
    a = GaussianMixture.from_parameters([1.0], [[0.0, 0.0]], [np.diag([4.0, 9.0])])
    b = GaussianMixture.from_parameters([1.0], [[1.0, 0.0]], [np.diag([1.0, 16.0])])
    assert wasserstein_distance(a, b) == pytest.approx(math.sqrt(1 + 1 + 1))


def test_features_must_be_the_same():
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    one, other = (GaussianMixture(1).fit(pd.DataFrame(rng.normal(size=(50, 2)), columns=list(c))) for c in ("ab", "ba"))
    for distance in (kl_divergence, jensen_shannon_divergence, cauchy_schwarz_divergence, wasserstein_distance):
        with pytest.raises(ValueError, match="features of p"):
            distance(one, other)
        with pytest.raises(ValueError, match="features"):
            distance(one, _mixture(0, n_features=3))
        with pytest.raises(TypeError, match="q must be a GaussianMixture or BayesianGaussianMixture"):
            distance(one, 3)
        with pytest.raises(ValueError, match="not fitted"):
            distance(GaussianMixture(2), one)


# -- reduction -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["full", "tied", "diag", "spherical", "tied-diag", "VEI", "EVV"])
def test_a_reduction_keeps_the_moments(family):
    X = np.asarray(datasets.load_iris().data, np.float64)
    model = GaussianMixture(6, covariance_type=family, random_state=0).fit(X)
    whole = model.moments()
    for n_components in (6, 3, 1):
        reduced = reduce_components(model, n_components)
        assert len(reduced.means_) == n_components
        moments = reduced.moments()
        np.testing.assert_allclose(moments.mean, whole.mean, rtol=1e-12)
        if reduced.covariance_type == "full":
            np.testing.assert_allclose(moments.covariance, whole.covariance, rtol=1e-10, atol=1e-12)
        elif reduced.covariance_type == "diag":
            np.testing.assert_allclose(np.diag(moments.covariance), np.diag(whole.covariance), rtol=1e-10)
        else:
            assert np.trace(moments.covariance) == pytest.approx(np.trace(whole.covariance))
    np.testing.assert_allclose(reduce_components(model, 6).score(X), model.score(X), rtol=1e-9)


def test_each_merge_is_the_pair_of_the_least_cost():
    model = _mixture(7, n_components=6)
    reduced = reduce_components(model, 5)
    best = None
    for i in range(6):
        for j in range(i):
            w, v = model.weights_[i], model.weights_[j]
            mean = (w * model.means_[i] + v * model.means_[j]) / (w + v)
            gaps = np.stack([model.means_[i] - mean, model.means_[j] - mean])
            covariance = (
                w * (model.covariances_[i] + np.outer(gaps[0], gaps[0]))
                + v * (model.covariances_[j] + np.outer(gaps[1], gaps[1]))
            ) / (w + v)
            cost = 0.5 * (
                (w + v) * np.log(np.linalg.det(covariance))
                - w * np.log(np.linalg.det(model.covariances_[i]))
                - v * np.log(np.linalg.det(model.covariances_[j]))
            )
            if best is None or cost < best[0]:
                best = cost, i, j, w + v, mean, covariance
    _, i, j, weight, mean, covariance = best
    place = int(np.argmin(np.abs(reduced.means_ - mean).sum(axis=1)))
    np.testing.assert_allclose(reduced.means_[place], mean, rtol=1e-10)
    np.testing.assert_allclose(reduced.covariances_[place], covariance, rtol=1e-10)
    assert reduced.weights_[place] == pytest.approx(weight)
    # The bound that merges are chosen by holds.
    assert kl_divergence(model, reduced, 50_000).value <= best[0] + 1e-3


def test_split_components_come_together_again():
    """A mixture whose components are doubled is found again, in any units, by variational Bayes and by a choice too."""
    model = _mixture(8, n_components=3, spread=6.0)
    double = GaussianMixture.from_parameters(
        np.repeat(model.weights_ / 2, 2), np.repeat(model.means_, 2, axis=0), np.repeat(model.covariances_, 2, axis=0)
    )
    for scale in (1.0, 1e-140, 1e140):
        reduced = reduce_components(_scaled(double, scale), 3)
        np.testing.assert_allclose(np.sort(reduced.means_[:, 0]) / scale, np.sort(model.means_[:, 0]), rtol=1e-9)
    X = np.asarray(datasets.load_faithful().data, np.float64)
    variational = BayesianGaussianMixture(4, random_state=0, max_iter=500).fit(X)
    assert len(reduce_components(variational, 2).means_) == 2
    choice = GaussianMixtureIC(2, 3, covariance_type="full", random_state=0).fit(X)
    assert len(reduce_components(choice, 1).means_) == 1
    with pytest.raises(ValueError, match="n_components must be at most 3, the number of components"):
        reduce_components(model, 4)
    with pytest.raises(TypeError, match="model must be a GaussianMixture"):
        reduce_components("x", 1)


def test_names_of_columns_stay():
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    model = GaussianMixture(2, random_state=0).fit(pd.DataFrame(rng.normal(size=(60, 2)), columns=["a", "b"]))
    assert reduce_components(model, 1).feature_names_in_.tolist() == ["a", "b"]


def test_plans_of_tiny_weights():
    """Solvers of linear programs have absolute tolerances; weights may be of any size."""
    far = _one([0.0, 1e6], [1.0, 1.0], [1 - 1e-8, 1e-8])
    assert wasserstein_distance(far, _one([0.0], [1.0])) == pytest.approx(100.0)
    assert wasserstein_distance(far, _one([0.0, 1.0], [1.0, 1.0], [0.5, 0.5])) == pytest.approx(100.0, rel=1e-2)
    for seed in (8, 21, 44):
        rng = np.random.default_rng(seed)
        p, q = (
            _one(rng.normal(size=30), rng.uniform(0.5, 1.5, size=30), rng.dirichlet(np.full(30, 0.05)))
            for _ in range(2)
        )
        assert wasserstein_distance(p, q) == pytest.approx(wasserstein_distance(q, p), rel=1e-6)
        assert wasserstein_distance(p, p) < 1e-6


@pytest.mark.parametrize("n_features", [2, 5, 20])
@pytest.mark.parametrize("condition", [1e10, 1e12])
def test_modes_of_narrow_components(n_features, condition):
    rng = np.random.default_rng(n_features)
    turn, _ = np.linalg.qr(rng.normal(size=(n_features, n_features)))
    covariance = (turn * np.geomspace(1.0, 1.0 / condition, n_features)) @ turn.T
    means = 30.0 * np.arange(5.0)[:, None] * np.ones(n_features)
    model = GaussianMixture.from_parameters(np.full(5, 0.2), means, np.repeat(covariance[None], 5, axis=0))
    found = modes(model)
    assert len(found.points) == 5
    np.testing.assert_allclose(np.sort(found.points, axis=0), means, atol=1e-3)
