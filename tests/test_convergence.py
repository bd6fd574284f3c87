"""When fits stop: the rules against sequences with known limits and against long fits; what a fit says of its end."""

import re

import numpy as np
import pytest
from conftest import random_mixture
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgmm import BayesianGaussianMixture, GaussianMixture, fit_many
from fastgmm.exceptions import ConvergenceWarning
from fastgmm.fitting.stopping import has_converged, remaining

ESTIMATORS = pytest.mark.parametrize("estimator", [GaussianMixture, BayesianGaussianMixture])


@pytest.fixture(scope="module")
def overlapping():
    """Rows of two components so near each other that EM is slow."""
    rng = np.random.default_rng(7)
    return np.concatenate([rng.normal(size=(300, 2)), [2.0, 0.0] + rng.normal(size=(200, 2)) * [0.7, 1.3]])


@settings(deadline=None, max_examples=50, derandomize=True)
@given(st.floats(-100, 100), st.floats(0.01, 1), st.floats(0.55, 0.99), st.integers(3, 20))
def test_aitken_finds_the_limit_of_a_geometric_sequence(limit, first, rate, n):
    bounds = limit - first * rate ** np.arange(n)
    assert remaining("aitken", bounds) == pytest.approx(limit - bounds[-1], rel=1e-6)


def test_what_is_compared_with_the_tolerance():
    assert remaining("absolute", [-9.0, -7.0]) == 2.0
    assert remaining("relative", [-9.0, -7.0]) == 2.0 / 8.0
    for stopping in ("absolute", "relative", "aitken"):
        assert remaining(stopping, []) == remaining(stopping, [-7.0]) == np.inf
        assert remaining(stopping, [-7.0, -7.0, -7.0]) == 0.0
    assert remaining("aitken", [-9.0, -7.0]) == np.inf
    # The limit is near, by the last two changes; but the last one was not small.
    assert remaining("aitken", [-9.0, -1.0, 0.0]) == 1.0
    # Changes that grow have no limit.
    assert remaining("aitken", [-9.0, -8.0, -6.0]) == np.inf
    # A bound that falls, as it may with reg_covar, comes to rest just the same.
    assert remaining("aitken", [4.0, 2.0, 1.0]) == 1.0


@pytest.mark.parametrize("stopping", ["absolute", "relative", "aitken"])
def test_a_change_within_the_rounding_of_the_bound_meets_any_tolerance_but_zero(stopping):
    for bound in (-1e30, -7.0, 1e-9, 3e200):
        size = max(abs(bound), 1.0)
        near, far = bound + 4e-16 * size, bound + 4e-15 * size
        assert has_converged(stopping, [far, near, bound], 1e-300)
        assert not has_converged(stopping, [far, near, bound], 0.0)
        assert not has_converged(stopping, [near, far], 1e-300)
    assert not has_converged(stopping, [], 1.0)
    assert not has_converged(stopping, [-7.0], 1.0)
    # Infinite bounds and NaN have no rounding.
    assert not has_converged(stopping, [-7.0, -np.inf], 1e-3)
    assert not has_converged(stopping, [-7.0, np.nan], 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("exponent", [0, 60, 90, 300])
def test_a_fit_ends_where_the_tolerance_is_below_the_rounding_of_the_bound(overlapping, family, exponent):
    """Weights scale the bound, and whether two roundings of it ever agree is luck: it ends as soon as it could tell."""
    weight = np.full(len(overlapping), 2.0**exponent)
    model = BayesianGaussianMixture(3, covariance_type=family.name, tol=1e-30, max_iter=3000, random_state=0)

    def fits():
        yield model.fit(overlapping, sample_weight=weight)
        yield from fit_many(model, [overlapping], sample_weight=[weight])

    counts = [(fit.converged_, fit.n_iter_) for fit in fits()]
    model.set_params(tol=8.0 * np.finfo(float).eps * (1.0 + abs(model.lower_bound_)))
    assert counts == [(fit.converged_, fit.n_iter_) for fit in fits()]
    assert all(converged for converged, _ in counts)
    with pytest.warns(ConvergenceWarning):
        model.set_params(tol=0.0, max_iter=400).fit(overlapping, sample_weight=weight)
    assert model.n_iter_ == 400


@ESTIMATORS
@pytest.mark.parametrize("stopping", ["absolute", "relative", "aitken"])
def test_a_fit_stops_at_the_first_iteration_that_the_rule_allows(overlapping, estimator, stopping):
    tol, progress = 1e-5, []
    model = estimator(2, tol=tol, stopping=stopping, max_iter=5000, random_state=0)
    model.fit(overlapping, callback=lambda restart, iteration, bound, change: progress.append(bound))
    stops = [remaining(stopping, progress[: n + 1][-3:]) < tol for n in range(len(progress))]
    assert model.n_iter_ == len(stops) == stops.index(True) + 1
    assert (model.converged_, model.stop_reason_) == (True, "converged")
    assert model.n_passes_ == model.n_iter_ + 1


@ESTIMATORS
def test_aitken_stops_within_the_tolerance_of_the_limit(overlapping, estimator):
    tol = 1e-4 if estimator is GaussianMixture else 1e-2
    end = estimator(2, tol=0.0, max_iter=4000, random_state=0)
    with pytest.warns(ConvergenceWarning):
        limit = end.fit(overlapping).lower_bound_
    gaps = {
        stopping: limit
        - estimator(2, tol=tol, stopping=stopping, max_iter=4000, random_state=0).fit(overlapping).lower_bound_
        for stopping in ("absolute", "aitken")
    }
    assert gaps["aitken"] < 1.1 * tol
    assert gaps["absolute"] > 3.0 * tol


@ESTIMATORS
@pytest.mark.parametrize("stopping", ["relative", "aitken"])
@pytest.mark.parametrize("first", [1, 4])
def test_a_fit_in_parts_stops_where_the_whole_does(overlapping, estimator, stopping, first):
    params = {"n_components": 2, "tol": 1e-5, "stopping": stopping, "random_state": 0}
    whole = estimator(max_iter=2000, **params).fit(overlapping)
    parts = estimator(max_iter=first, **params)
    with pytest.warns(ConvergenceWarning):
        parts.fit(overlapping)
    parts.set_params(warm_start=True, max_iter=2000).fit(overlapping)
    assert parts.n_iter_ + first == whole.n_iter_
    np.testing.assert_allclose(parts.means_, whole.means_, rtol=1e-9)


@ESTIMATORS
def test_what_a_fit_says_of_its_end(overlapping, estimator, rng):
    model = estimator(2, tol=0.0, max_iter=3, random_state=0)
    with pytest.warns(ConvergenceWarning):
        model.fit(overlapping)
    assert (model.stop_reason_, model.n_iter_, model.n_passes_) == ("max_iter", 3, 4)
    model.set_params(max_iter=0).fit(overlapping)
    assert (model.stop_reason_, model.n_iter_, model.n_passes_) == ("max_iter", 0, 1)


def test_parameters_that_were_given_have_no_end(family, rng):
    weights, means, covariances = random_mixture(rng, family, 2, 2)
    model = GaussianMixture.from_parameters(weights, means, family.attribute(covariances), family)
    assert (model.stop_reason_, model.n_iter_, model.n_passes_) == ("given", 0, 0)


def test_a_pruned_model_keeps_its_end(overlapping):
    model = BayesianGaussianMixture(4, weight_concentration_prior=1e-3, max_iter=500, random_state=0).fit(overlapping)
    pruned = model.prune()
    assert (pruned.stop_reason_, pruned.n_iter_, pruned.n_passes_) == ("converged", model.n_iter_, model.n_passes_)


def test_moments_taken_again_are_passes(rng):
    """The start is 1e8 standard deviations from the rows, so that the first moments lose their digits."""
    X = rng.normal(size=(50, 2))
    model = GaussianMixture(1, tol=0.0, max_iter=1, means_init=[[1e8, 1e8]], precisions_init=[1e-16 * np.eye(2)])
    with pytest.warns(ConvergenceWarning):
        model.set_params(weights_init=[1.0]).fit(X)
    assert (model.n_iter_, model.n_passes_) == (1, 3)


@ESTIMATORS
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"stopping": "sometimes"}, "stopping must be one of 'absolute', 'relative', 'aitken', got 'sometimes'."),
        ({"stopping": None}, "stopping must be one of 'absolute', 'relative', 'aitken', got None."),
        ({"accelerate": "warp"}, "accelerate must be one of None, 'squarem', 'anderson', got 'warp'."),
        ({"accelerate": True}, "accelerate must be one of None, 'squarem', 'anderson', got True."),
    ],
)
def test_bad_parameters(overlapping, estimator, params, message):
    model = estimator(2, **params)
    with pytest.raises(ValueError, match=re.escape(message)):
        model.fit(overlapping)
    assert not hasattr(model, "means_")
