"""EM: the rule against a slow twin, the loop's promises."""

import numpy as np
import pytest
import reference
from conftest import draw, random_mixture
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgmm.exceptions import CollapsedComponentError
from fastgmm.families import FAMILIES
from fastgmm.fitting.loop import fit_loop
from fastgmm.rows import ArrayRows
from fastgmm.rules import GaussianParameters, MaximumLikelihood
from fastgmm.sources import Source
from fastgmm.starts.seeding import seed


def _start(family, weights, means, covariances):
    density, failed = family.density(weights, means, covariances)
    assert failed == -1
    return GaussianParameters(weights, covariances, density)


def test_em_follows_the_slow_twin(family, rng):
    weights, means, covariances = random_mixture(rng, family, 3, 2)
    X = draw(rng, weights, means, family.matrices(covariances, 3, 2), 400)
    sample_weight = rng.uniform(0, 2, 400)
    result = fit_loop(
        MaximumLikelihood(family, 1e-3),
        Source(family, ArrayRows(X, sample_weight)),
        _start(family, weights, means, covariances),
        tol=0.0,
        max_iter=15,
    )
    bounds = []
    for _ in range(15):
        r = reference.responsibilities(X, weights, means, family.matrices(covariances, 3, 2))
        weights, means, covariances = reference.em_step(family, X, sample_weight, r, 1e-3)
        joint = reference.log_joint(X, weights, means, family.matrices(covariances, 3, 2))
        bounds.append(sample_weight @ reference.log_sum_exp(joint) / sample_weight.sum())
    np.testing.assert_allclose(result.state.weights, weights, rtol=1e-9)
    np.testing.assert_allclose(result.state.means, means, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(result.state.covariances, covariances, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(result.bounds, bounds, rtol=1e-11)
    assert (result.n_iter, result.converged, result.bound) == (15, False, result.bounds[-1])


@settings(deadline=None, max_examples=25, derandomize=True)
@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(1, 4), st.sampled_from(sorted(FAMILIES)))
def test_the_bound_never_falls(number, n_components, n_features, name):
    rng = np.random.default_rng(number)
    family = FAMILIES[name]
    weights, means, covariances = random_mixture(rng, family, n_components, n_features)
    X = draw(rng, weights, means, family.matrices(covariances, n_components, n_features), 200)
    sample_weight = rng.uniform(0.1, 2, 200)
    rule, source = MaximumLikelihood(family, 0.0), Source(family, ArrayRows(X, sample_weight))
    start = seed(rule, source, n_components, rng, "random")
    try:
        result = fit_loop(rule, source, start, tol=0.0, max_iter=60)
    except CollapsedComponentError:
        return
    assert np.diff(result.bounds).min(initial=0) >= -1e-12 * np.abs(result.bounds).max()


def test_tolerance_stops_at_the_first_small_change(family, rng):
    weights, means, covariances = random_mixture(rng, family, 2, 2)
    X = draw(rng, weights, means, family.matrices(covariances, 2, 2), 300)
    rule, source = MaximumLikelihood(family, 1e-6), Source(family, ArrayRows(X))
    start = _start(family, np.full(2, 0.5), X[:2], family.covariances_of_whitener(family.isotropic_whitener(2, 2, 1.0)))
    changes = []
    result = fit_loop(
        rule,
        source,
        start,
        tol=1e-4,
        max_iter=500,
        callback=lambda i, bound, change: changes.append((i, bound, change)),
    )
    assert result.converged
    assert result.n_iter == len(changes) == len(result.bounds)
    assert [bound for _, bound, _ in changes[1:]] == result.bounds[:-1]
    assert (changes[0][2], result.watched[-1]) == (np.inf, changes[-1][1])
    assert abs(changes[-1][2]) < 1e-4
    assert all(abs(change) >= 1e-4 for _, _, change in changes[:-1])
    np.testing.assert_allclose(np.diff(result.bounds[:-1]), [change for *_, change in changes[2:]], atol=1e-15)


def test_the_reported_bound_is_that_of_the_returned_state(family, rng):
    weights, means, covariances = random_mixture(rng, family, 2, 3)
    X = draw(rng, weights, means, family.matrices(covariances, 2, 3), 300)
    source = Source(family, ArrayRows(X))
    for max_iter in (0, 1, 4):
        result = fit_loop(
            MaximumLikelihood(family, 1e-6),
            source,
            _start(family, weights, means, covariances),
            tol=0,
            max_iter=max_iter,
        )
        joint = reference.log_joint(
            X, result.state.weights, result.state.means, family.matrices(result.state.covariances, 2, 3)
        )
        assert result.bound == pytest.approx(reference.log_sum_exp(joint).mean(), rel=1e-11)


def test_a_start_far_away_does_not_cost_digits(family, rng):
    """Means that jump 1e9 standard deviations in one step: moments about the start alone would lose the covariances."""
    X = np.concatenate([rng.normal(size=(50, 2)), rng.normal(size=(50, 2)) + 1e9]) + 3.0
    start = _start(
        family,
        np.full(2, 0.5),
        np.array([[-2e8, -2e8], [1.1e9, 1.2e9]]),
        family.covariances_of_whitener(family.isotropic_whitener(2, 2, 1e-8)),
    )
    result = fit_loop(MaximumLikelihood(family, 0.0), Source(family, ArrayRows(X)), start, tol=0, max_iter=1)
    r = np.repeat(np.eye(2), 50, axis=0)
    expected = reference.em_step(family, X, np.ones(100), r, 0.0)
    np.testing.assert_allclose(result.state.covariances, expected[2], rtol=1e-6, atol=1e-6)
    again = fit_loop(MaximumLikelihood(family, 0.0), Source(family, ArrayRows(X)), result.state, tol=0, max_iter=1)
    np.testing.assert_allclose(again.state.covariances, expected[2], rtol=1e-7, atol=1e-7)
