"""Seeding: k-means against scikit-learn's, k-means++ against its definition, starts that make sense."""

import numpy as np
import pytest
from conftest import draw, random_mixture

from fastgmm.expectation import Expectation
from fastgmm.families import FAMILIES
from fastgmm.kernels.kmeans import kmeans_plus_plus
from fastgmm.rules import MaximumLikelihood
from fastgmm.seeding import METHODS, seed
from fastgmm.sources import MemorySource


def _seed(family, X, n_components, method, random_state=0, weight=None, **given):
    rule, source = MaximumLikelihood(family, 1e-6), MemorySource(family, X, weight)
    return seed(rule, source, n_components, np.random.RandomState(random_state), method, **given)


def test_kmeans_plus_plus_draws_by_squared_distance():
    """Rows at 0, 1 and 3: after the row at 0, the other two are drawn with odds 1 : 9."""
    points = np.array([[0.0], [1.0], [3.0]])
    chosen = np.empty(2, np.int64)
    second = []
    for u in (np.arange(1000) + 0.5) / 1000:
        kmeans_plus_plus(points, np.ones(3), np.array([[0.1], [u]]), chosen)
        assert chosen[0] == 0
        second.append(chosen[1])
    assert np.bincount(second, minlength=3).tolist() == [0, 100, 900]


def test_kmeans_plus_plus_keeps_the_best_candidate_and_minds_weights():
    points = np.array([[0.0], [10.0], [11.0], [12.0], [30.0]])
    chosen = np.empty(2, np.int64)
    everything = np.array([[0.0, 0.0, 0.0, 0.0, 0.0], [0.01, 0.1, 0.2, 0.3, 0.99]])
    kmeans_plus_plus(points, np.ones(5), everything, chosen)
    potentials = {j: np.minimum(points**2, (points - points[j]) ** 2).sum() for j in (1, 2, 3, 4)}
    assert chosen[1] == min(potentials, key=potentials.get)
    kmeans_plus_plus(points, np.array([1.0, 0, 0, 0, 1.0]), everything, chosen)
    assert chosen.tolist() == [0, 4]


def test_kmeans_plus_plus_with_fewer_places_than_centres():
    chosen = np.full(4, -1)
    kmeans_plus_plus(np.zeros((3, 2)), np.ones(3), np.full((4, 3), 0.5), chosen)
    assert ((chosen >= 0) & (chosen < 3)).all()


@pytest.mark.parametrize("method", METHODS)
def test_starts_are_those_of_a_partition_of_the_rows(family, method, rng):
    weights, means, covariances = random_mixture(rng, family, 3, 2)
    X = draw(rng, weights, means, family.matrices(covariances, 3, 2), 500)
    state = _seed(family, X, 3, method)
    np.testing.assert_allclose(state.weights @ state.means, X.mean(axis=0), rtol=1e-9, atol=1e-9)
    assert state.weights.sum() == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_start_and_another_another(method, rng):
    family = FAMILIES["full"]
    X = rng.normal(size=(400, 2))
    a, b, c = (_seed(family, X, 4, method, number).means for number in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert not np.allclose(a, c)


def test_clusters_get_the_same_numbers_from_any_seed(rng):
    X = rng.normal(size=(300, 2)) * 0.1 + np.repeat([[0, 0], [5, 5], [9, -3]], 100, axis=0)
    starts = [_seed(FAMILIES["diag"], X, 3, "kmeans", number).means for number in range(6)]
    for means in starts:
        np.testing.assert_allclose(means, [[0, 0], [5, 5], [9, -3]], atol=0.1)


def test_big_data_are_seeded_from_a_sample(rng):
    X = np.concatenate([rng.normal(size=(60000, 2)), rng.normal(size=(60000, 2)) + 8])
    state = _seed(FAMILIES["full"], X, 2, "kmeans")
    np.testing.assert_allclose(state.means, [[0, 0], [8, 8]], atol=0.1)
    np.testing.assert_allclose(state.weights, 0.5, atol=0.01)  # of all rows, not of the sample


def test_rows_of_weight_zero_are_never_centres(rng):
    X = np.r_[rng.normal(size=(100, 2)), rng.normal(size=(100, 2)) + 1e3]
    weight = np.repeat([1.0, 0.0], 100)
    for method in METHODS:
        assert np.abs(_seed(FAMILIES["full"], X, 3, method, weight=weight).means).max() < 10


def test_one_number_is_taken_from_the_random_state():
    X = np.random.default_rng(0).normal(size=(200, 2))
    for method in METHODS:
        used, fresh = np.random.RandomState(7), np.random.RandomState(7)
        seed(MaximumLikelihood(FAMILIES["full"], 1e-6), MemorySource(FAMILIES["full"], X), 3, used, method)
        fresh.uniform()
        assert used.uniform() == fresh.uniform()


def test_generators_and_their_numbers_are_taken(rng):
    from fastgmm.validation import check_random_state

    assert check_random_state(np.random.default_rng(3)).uniform() == np.random.default_rng(3).uniform()
    assert check_random_state(np.int64(3)).uniform() == np.random.RandomState(3).uniform()
    np.random.seed(5)
    expected = np.random.RandomState(5).uniform()
    assert check_random_state(None).uniform() == expected


def test_a_start_on_single_rows_is_as_broad_as_the_data_shared_out(family):
    """The pseudo-rows: 1 % of an average component, with the data's variances divided by K^(2/D)."""
    X = np.array([[0.0, 0.0], [8.0, 1.0], [0.0, 3.0], [9.0, 9.0]])
    rule, source = MaximumLikelihood(family, 0.0), MemorySource(family, X)
    state = seed(rule, source, 4, np.random.RandomState(0), "random_from_data")
    share = X.var(axis=0) / 4 * 0.01 / 1.01
    expected = np.full(2, share.mean()) if family.name == "spherical" else share
    np.testing.assert_allclose(family.variances(state.covariances, 4, 2), np.tile(expected, (4, 1)), rtol=1e-9)


@pytest.mark.parametrize("method", ["kmeans", "k-means++", "random_from_data"])
@pytest.mark.parametrize("factor", [1e6, 1e9])
def test_one_far_outlier_does_not_make_starts_collapse(family, method, factor, rng):
    X = rng.normal(size=(100, 5))
    X[17] *= factor
    for number in range(5):
        state = _seed(family, X, 3, method, number)
        assert np.isfinite(state.density.log_scale).all()


def test_sampled_rows_come_with_their_weights(rng):
    X, weight = np.arange(12.0).reshape(6, 2), np.array([0.0, 1, 2, 0, 3, 4])
    rows, got = MemorySource(FAMILIES["diag"], X, weight).sample(100, rng)
    np.testing.assert_array_equal(rows, X[[1, 2, 4, 5]])
    np.testing.assert_array_equal(got, [1, 2, 3, 4])


def test_kmeans_plus_plus_draws_by_weight():
    points = np.array([[0.0], [1.0], [2.0]])
    chosen = np.empty(1, np.int64)
    first = []
    for u in (np.arange(100) + 0.5) / 100:
        kmeans_plus_plus(points, np.array([1.0, 0.0, 3.0]), np.array([[u]]), chosen)
        first.append(chosen[0])
    assert np.bincount(first, minlength=3).tolist() == [25, 0, 75]
    two, second = np.empty(2, np.int64), []
    for u in (np.arange(100) + 0.5) / 100:
        kmeans_plus_plus(points, np.array([1.0, 12.0, 1.0]), np.array([[0.0], [u]]), two)
        second.append(two[1])
    assert np.bincount(second, minlength=3).tolist() == [0, 75, 25]


@pytest.mark.parametrize("method", ["kmeans", "k-means++"])
def test_a_start_counts_copies_and_not_rows_of_weight_zero(family, method, rng):
    X = rng.normal(size=(90, 2))
    counts = rng.integers(0, 4, 90).astype(float)
    weighted = _seed(family, X, 6, method, 3, counts)
    copies = _seed(family, np.repeat(X, counts.astype(int), axis=0), 6, method, 3)
    without = _seed(family, X[counts > 0], 6, method, 3, counts[counts > 0])
    scaled = _seed(family, X, 6, method, 3, counts * 1e-3)
    for other in (copies, without, scaled):
        np.testing.assert_allclose(other.means, weighted.means, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(other.covariances, weighted.covariances, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("narrow", ["full", "tied"])
def test_components_that_are_narrow_across_the_axes_keep_their_digits(narrow, rng):
    """Separated along (1, -1), where they are 1e-6 wide: no diagonal entry of the moments shows the cancellation."""
    family = FAMILIES[narrow]
    along, across = rng.normal(size=200), 1e-6 * rng.normal(size=200)
    side = np.repeat([-1.0, 1.0], 100)
    X = np.c_[along + side + across, along - side - across] * 2.0**-0.5
    state = _seed(family, X, 2, "", labels=(side > 0).astype(np.int64))
    direction = np.array([1.0, -1.0]) * 2.0**-0.5
    exact = np.mean([np.var(X[side == s] @ direction) for s in (-1, 1)])
    matrix = family.matrices(state.covariances, 2, 2).mean(axis=0)
    assert direction @ matrix @ direction == pytest.approx(exact + 1e-6, rel=1e-3)
    statistics = Expectation(family, X)(state.density)
    scatter = statistics.scatter if narrow == "tied" else statistics.scatter.sum(axis=0)
    assert direction @ scatter @ direction / 200 == pytest.approx(exact, rel=1e-3)
