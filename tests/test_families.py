"""The contract of a covariance family: every one of them against its dense twin, by the same tests."""

import pickle

import numpy as np
import pytest
import reference
from conftest import draw, random_mixture

from fastgmm.families import FAMILIES
from fastgmm.kernels import DiagDensity, FullDensity, SphericalDensity, TiedDensity
from fastgmm.kernels.structures import contract
from fastgmm.kernels.updates import smoothing
from fastgmm.kernels.updates.moments import COLLAPSED, LOST_DIGITS, OK
from fastgmm.kernels.vector.tiles import pack_tile
from fastgmm.passes.expectation import e_step

K, D = 3, 4


@pytest.fixture
def parameters(family, rng):
    return random_mixture(rng, family, K, D)


def test_registry_names_are_the_families_names():
    assert {name: family.name for name, family in FAMILIES.items()} == {name: name for name in FAMILIES}


def test_pickling_keeps_the_kind(family):
    assert type(pickle.loads(pickle.dumps(family))) is type(family)


def test_whitener_matches_dense_precisions(family, parameters):
    weights, means, covariances = parameters
    density, failed = family.density(weights, means, covariances)
    assert failed == -1
    dense = family.matrices(covariances, K, D)
    factor = family.precisions_cholesky(density.whitener)
    precisions = family.matrices(family.precisions(factor), K, D)
    np.testing.assert_allclose(precisions, np.linalg.inv(dense), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(family.whitener(factor), density.whitener, rtol=0)
    np.testing.assert_allclose(
        family.whitener_of_precisions(family.precisions(factor)), density.whitener, rtol=1e-9, atol=1e-9
    )
    np.testing.assert_allclose(family.covariances_of_whitener(density.whitener), covariances, rtol=1e-10, atol=1e-12)
    expected = reference.log_joint(means, weights, means, dense)[np.arange(K), np.arange(K)]
    np.testing.assert_allclose(density.log_scale, expected, rtol=1e-12)
    again = family.density_of_whitener(weights, means, density.whitener)
    np.testing.assert_allclose(again.log_scale, density.log_scale, rtol=1e-14)


def test_projection_of_an_outer_product(family, rng):
    density = family.blank(K, D)
    u, v = rng.normal(size=(K, D)), rng.normal(size=(K, D))
    scatter = np.zeros(family.shape(K, D))
    for k in range(K):
        contract.project(density, k, 2.5, u[k], v[k], scatter)
    outer = np.stack([1.25 * (np.outer(u[k], v[k]) + np.outer(v[k], u[k])) for k in range(K)])
    np.testing.assert_allclose(scatter, reference.projection(family, outer), rtol=1e-13, atol=1e-14)


def test_pool_is_the_weight_behind_each_entry(family):
    mass = np.array([1.0, 2.0, 4.0])
    by_structure = {FullDensity: mass, TiedDensity: [7.0], DiagDensity: mass, SphericalDensity: D * mass}
    expected = by_structure[family.density_type]
    np.testing.assert_array_equal(contract.pool(family.blank(K, D), mass), expected)


def test_variances_about_means_are_scatters(family, rng):
    mass, variances = np.array([1.0, 0.0, 3.0]), rng.uniform(0.5, 2.0, (K, D))
    scatter = np.ones(family.shape(K, D))
    smoothing.add_variances(family.blank(K, D), mass, variances, scatter)
    expected = 1.0 + reference.projection(family, mass[:, None, None] * variances[:, :, None] * np.eye(D))
    np.testing.assert_allclose(scatter, expected, rtol=1e-13)


def test_variances_are_the_diagonals_of_the_matrices(family, parameters):
    covariances = parameters[2]
    expected = np.diagonal(family.matrices(covariances, K, D), axis1=1, axis2=2)
    np.testing.assert_array_equal(family.variances(covariances, K, D), expected)


def test_colouring_noise_gives_the_covariance(family, parameters, rng):
    weights, means, covariances = parameters
    density, _ = family.density(weights, means, covariances)
    for k in range(K):
        factor = family.colour(density.whitener, k, np.eye(D))
        np.testing.assert_allclose(factor.T @ factor, family.matrices(covariances, K, D)[k], rtol=1e-10, atol=1e-12)


def test_isotropic_density_measures_scaled_distance(family, rng):
    centres = rng.normal(size=(K, D))
    density = family.isotropic(centres, 3.0)
    X = rng.normal(size=(20, D))
    distance = np.empty((K, 48))
    x = np.zeros((D, 48))
    pack_tile(X, 0, 20, centres[0], x)
    contract.distance_tile(density, contract.prepare(density), x, 20, contract.workspace(density, 48), distance)
    np.testing.assert_allclose(
        distance[:, :20], 9 * ((X[None] - centres[:, None]) ** 2).sum(axis=2), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("reg_covar", [0.0, 0.3])
def test_maximum_equals_the_dense_twin(family, parameters, rng, reg_covar):
    weights, means, covariances = parameters
    matrices = family.matrices(covariances, K, D)
    X = draw(rng, weights, means, matrices, 500)
    sample_weight = rng.uniform(0, 2, 500)
    density, _ = family.density(weights, means, covariances)
    got = family.maximise(e_step(family, density, X, sample_weight), reg_covar, False)
    assert got.status == OK
    expected = reference.em_step(
        family, X, sample_weight, reference.responsibilities(X, weights, means, matrices), reg_covar
    )
    np.testing.assert_allclose(got.weights, expected[0], rtol=1e-11)
    np.testing.assert_allclose(got.density.mean, expected[1], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(got.covariances, expected[2], rtol=1e-10, atol=1e-12)


def test_maximum_names_the_component_that_collapsed(family):
    X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.5], [5.0, 5.0], [5.0, 5.0]])
    covariances = (
        np.eye(2) if family.name == "tied" else family.covariances_of_whitener(family.isotropic_whitener(2, 2, 10.0))
    )
    density, _ = family.density(np.full(2, 0.5), np.array([[0.3, 0.5], [5.0, 5.0]]), covariances)
    statistics = e_step(family, density, X)
    got = family.maximise(statistics, 0.0, False)
    if family.is_tied or family.name == "EEV":
        assert got.status == OK  # the others' spread is everybody's
        degenerate = family.recentre(e_step(family, density, X[3:]), X[[3, 3]])
        got = family.maximise(degenerate, 0.0, False)
        assert (got.status, got.component) == (COLLAPSED, 0)
    else:
        assert (got.status, got.component) == (COLLAPSED, 1)
    assert family.maximise(statistics, 1e-6, True).status == OK


def test_maximum_says_when_the_moments_lost_their_digits(family, rng):
    X = rng.normal(size=(100, 2)) * 1e-6 + 1.0
    far = np.array([[100.0, 100.0]])
    density = family.isotropic(far, 1.0)
    statistics = e_step(family, density, X)
    got = family.maximise(statistics, 0.0, False)
    assert got.status == LOST_DIGITS
    np.testing.assert_allclose(got.density.mean[0], X.mean(axis=0), rtol=1e-12)


def test_component_without_mass_keeps_its_place(family):
    statistics = e_step(
        family,
        family.density_of_whitener(
            np.array([1.0, 0.0]), np.array([[0.0, 0.0], [9.0, 9.0]]), family.isotropic_whitener(2, 2, 1.0)
        ),
        np.array([[0.0, 1.0], [1.0, 0.0], [-1.0, -0.5]]),
    )
    got = family.maximise(statistics, 1e-6, False)
    assert got.status == OK
    np.testing.assert_array_equal(got.weights, [1, 0])
    np.testing.assert_array_equal(got.density.mean[1], [9, 9])
    assert np.isfinite(got.density.whitener).all()
    assert got.density.log_scale[1] == -np.inf


def test_parameter_counts(family):
    expected = {"full": 30, "tied": 10, "diag": 12, "spherical": 3, "tied-diag": 4, "tied-spherical": 1}
    expected |= {"VEI": 6, "EVI": 10, "VEE": 12, "EVE": 16, "VVE": 18, "EEV": 22, "VEV": 24, "EVV": 28}
    assert family.n_covariance_parameters(K, D) == expected[family.name]
