"""float32 arithmetic for large float32 problems: right to its digits, and left alone where those are too few."""

import numpy as np
import pytest
from conftest import draw, random_mixture

from fastgmm import BayesianGaussianMixture, GaussianMixture
from fastgmm.families import STRUCTURES
from fastgmm.passes.expectation import Expectation, e_step
from fastgmm.rows import ArrayRows

# Constraints on covariances make no difference here.
TRIED = STRUCTURES

K, D, N = 8, 8, 70_000
MOMENTS = "mass", "deviation", "scatter", "log_evidence"


@pytest.fixture
def problem(family, rng):
    weights, means, covariances = random_mixture(rng, family, K, D)
    X = draw(rng, weights, means, family.matrices(covariances, K, D), N).astype(np.float32)
    return X, family.density(weights, means, covariances)[0]


def _same(one, other):
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in MOMENTS)


def _close(single, double, tolerance):
    for name in MOMENTS:
        expected = getattr(double, name)
        np.testing.assert_allclose(getattr(single, name), expected, rtol=0, atol=tolerance * np.abs(expected).max())


def test_statistics_to_the_digits_of_float32(family, problem, rng):
    X, density = problem
    weight = rng.uniform(0, 2, N) * rng.integers(0, 2, N)
    for sample_weight in (None, weight):
        single, double = (e_step(family, density, rows, sample_weight) for rows in (X, X.astype(np.float64)))
        assert not _same(single, double)  # else the arithmetic was not float32
        _close(single, double, 1e-5)
        np.testing.assert_array_equal(single.origin, density.mean)
        assert single.weight == double.weight


def test_far_from_the_origin_nothing_more_is_lost(family, problem):
    """Rows and means on a grid that float32 still resolves at the offset."""
    X, density = problem
    X = np.round(X * 256) / 256
    near = density._replace(mean=np.round(density.mean * 256) / 256)
    far = near._replace(mean=near.mean + 4096.0)
    single = e_step(family, far, (X + 4096.0).astype(np.float32))
    double = e_step(family, near, X.astype(np.float64))
    assert not _same(single, double)
    _close(single, double, 1e-5)


@pytest.mark.parametrize("case", ["narrow", "outlier", "weights", "tiny"])
def test_float64_arithmetic_where_float32_is_too_short(family, problem, case):
    X, density = problem
    sample_weight = None
    if case == "narrow":  # for the distance of the components from each other
        shift = 100.0 * np.arange(K)[:, None]
        density = density._replace(mean=density.mean + shift)
        X = (X + shift[np.arange(N) % K]).astype(np.float32)
    elif case == "outlier":
        X[1234] = 1e4
    elif case == "weights":
        sample_weight = np.where(np.arange(N) % 2 == 0, 1.0, 1e-20)
    else:
        X = (X * np.float32(1e-22)).astype(np.float32)
        density = density._replace(mean=density.mean * 1e-22, whitener=density.whitener * 1e22)
    single, double = (e_step(family, density, rows, sample_weight) for rows in (X, X.astype(np.float64)))
    assert _same(single, double)


def test_once_too_short_then_always(problem, family):
    """A fit does not go back and forth between two arithmetics."""
    X, density = problem
    expectation = Expectation(family, ArrayRows(X))
    narrow = density._replace(mean=density.mean + 100.0 * np.arange(K)[:, None])
    expectation(narrow)
    assert _same(expectation(density), e_step(family, density, X.astype(np.float64)))


def test_the_same_bits_for_any_number_of_threads(problem, family):
    X, density = problem
    one, two = (Expectation(family, ArrayRows(X), n_threads=n)(density) for n in (1, 2))
    assert _same(one, two)


@pytest.mark.filterwarnings("ignore:Best performing initialization did not converge")
def test_a_fit_ends_where_that_of_float64_does(problem, family):
    X, density = problem
    start = {
        "init_params": np.argmin(((X[:, None, :2] - density.mean[:, :2]) ** 2).sum(axis=2), axis=1),
        "max_iter": 20,
    }
    single, double = (
        GaussianMixture(K, covariance_type=family.name, tol=0, **start).fit(rows) for rows in (X, X.astype(np.float64))
    )
    assert single.lower_bound_ == pytest.approx(double.lower_bound_, rel=1e-6)
    np.testing.assert_allclose(single.means_, double.means_, atol=2e-3)
    # To the rounding of float32 over N rows, the bound does not fall.
    assert np.all(np.diff(single.lower_bounds_) > -1e-7 * abs(single.lower_bound_))


@pytest.mark.parametrize("estimator", [GaussianMixture, BayesianGaussianMixture])
def test_a_strict_tolerance_is_met_in_float64(estimator, family, rng):
    """The changes of a fit that is nearly there are noise in float32."""
    means = rng.normal(size=(3, 4)) * 3
    labels = rng.integers(3, size=400_000)
    X = (means[labels] + rng.normal(size=(400_000, 4))).astype(np.float32)
    params = {"covariance_type": family.name, "init_params": labels, "max_iter": 200}
    params["tol"] = 1e-9 if estimator is GaussianMixture else 1e-3
    single, double = (estimator(3, **params).fit(rows) for rows in (X, X.astype(np.float64)))
    assert single.converged_
    assert single.n_iter_ <= double.n_iter_ + 5
    assert single.lower_bounds_[-1] >= single.lower_bounds_[-2] - 1e-13 * abs(single.lower_bound_)
    np.testing.assert_allclose(single.means_, double.means_, atol=1e-5)


def test_tied_covariances_of_components_far_apart(rng):
    means = np.array([[0, 0, 0], [100, -250, 30], [-70, 200, 260]]) + 10.3
    labels = rng.integers(3, size=500_000)
    X = (means[labels] + rng.normal(size=(500_000, 3))).astype(np.float32)
    params = {"covariance_type": "tied", "init_params": labels}
    single, double = (GaussianMixture(3, **params).fit(rows) for rows in (X, X.astype(np.float64)))
    np.testing.assert_allclose(single.covariances_, double.covariances_, atol=1e-6)
