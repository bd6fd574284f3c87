"""Learning batch by batch: against plain sums, a slow twin in NumPy, whole fits, and what must not change."""

import copy
import pickle
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import reference
from conftest import dense, draw, of_one, random_mixture
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from fastgmm import BayesianGaussianMixture, GaussianMixture
from fastgmm.families import FAMILIES
from fastgmm.fitting import online
from fastgmm.passes.expectation import e_step
from fastgmm.rules import MaximumLikelihood
from fastgmm.sources import BatchRows

K, D = 3, 2
ESTIMATORS = [GaussianMixture, BayesianGaussianMixture]
SETTINGS = settings(deadline=None, max_examples=25, derandomize=True)


def _mixture(seed=0, spread=3.0):
    """Weights, means and dense covariances of a mixture whose components overlap a little."""
    rng = np.random.default_rng(seed)
    weights, means, covariances = random_mixture(rng, FAMILIES["full"], K, D)
    return weights, means / 2.0 * spread, covariances


def _rows(n_samples, seed=0, spread=3.0):
    return draw(np.random.default_rng(seed + 100), *_mixture(seed, spread), n_samples)


X = _rows(1200)
BATCHES = np.split(X, [300, 500, 900, 1100])
WEIGHT = np.random.default_rng(5).uniform(0.2, 3.0, len(X))


def _fitted(model):
    """All that a model has learned, as comparable arrays."""
    names = ("weights_", "means_", "covariances_", "precisions_cholesky_", "lower_bound_", "n_batches_seen_")
    return [np.asarray(getattr(model, name)) for name in (*names, "n_samples_seen_")]


def _assert_same_bits(first, second):
    for a, b in zip(_fitted(first), _fitted(second), strict=True):
        assert_array_equal(a, b)


def _schedule(decay=1.0, offset=0.0, total_samples=None):
    return online.Schedule(decay, offset, total_samples, "absolute", 1e-3)


# --- a stream --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(FAMILIES))
def test_with_decay_1_and_a_density_that_stays_batches_add_up_to_their_sum(name):
    """Whatever their sizes and weights."""
    family = FAMILIES[name]
    weights, means, covariances = random_mixture(np.random.default_rng(3), family, K, D)
    density, _ = family.density(weights, means, covariances)
    whole = e_step(family, density, X, WEIGHT)

    @SETTINGS
    @given(st.lists(st.integers(1, len(X) - 1), max_size=6, unique=True).map(sorted))
    def law(cuts):
        stream = online.Stream(family.zero(means), 0.0, 0, 0, 0)
        for rows, weight in zip(np.split(X, cuts), np.split(WEIGHT, cuts), strict=True):
            batch = online.Batch(None, density, e_step(family, density, rows, weight), len(rows))
            stream = stream.joined(family, batch, _schedule())
        assert (stream.n_batches, stream.n_samples) == (len(cuts) + 1, len(X))
        for field in ("mass", "deviation", "scatter", "log_evidence", "weight"):
            assert_allclose(getattr(stream.statistics, field), getattr(whole, field), rtol=1e-10, atol=1e-8)

    law()


@SETTINGS
@given(st.floats(0.5, 1.0, exclude_min=True), st.floats(0.0, 50.0), st.integers(1, 10_000), st.floats(1e-6, 1e6))
def test_equal_batches_get_robbins_and_monros_share(decay, offset, n_before, unit):
    g = online.share(unit, n_before * unit, unit, _schedule(decay, offset))
    assert g == pytest.approx((n_before + 1 + offset) ** -decay, rel=1e-12)


def test_a_small_batch_has_a_small_share():
    """In time that is counted in rows: many small batches forget no more than one large one."""
    schedule = _schedule(0.6, 10.0)
    whole = 1.0 - online.share(100.0, 5000.0, 100.0, schedule)
    parts = np.prod([1.0 - online.share(1.0, 5000.0 + n, 100.0, schedule) for n in range(100)])
    assert parts == pytest.approx(whole, rel=0.01)
    assert online.share(1e9, 5000.0, 100.0, schedule) == 1.0


def _twin(family, params, batches, decay, offset):
    """Stepwise EM as it is written down, on raw moments: a running mean of each, for batches of one size."""
    weights, means, matrices = params
    average = None
    for t, rows in enumerate(batches, start=1):
        r = reference.responsibilities(rows, weights, means, matrices)
        moments = r.mean(axis=0), r.T @ rows / len(rows), np.einsum("nk,na,nb->kab", r, rows, rows) / len(rows)
        g = 1.0 if average is None else (t + offset) ** -decay
        average = moments if average is None else [(1 - g) * a + g * m for a, m in zip(average, moments, strict=True)]
        mass, first, second = average
        weights, means = mass / mass.sum(), first / mass[:, None]
        centred = second - mass[:, None, None] * np.einsum("ka,kb->kab", means, means)
        matrices = family.matrices(reference.covariances(family, mass, centred, 0.0), K, D)
        yield weights, means, matrices


@pytest.mark.parametrize("name", list(FAMILIES))
def test_three_steps_are_those_of_the_textbook(name):
    family = FAMILIES[name]
    weights, means, covariances = random_mixture(np.random.default_rng(4), family, K, D)
    start = weights, means, family.matrices(covariances, K, D)
    batches = np.split(X[:900], 3)
    model = GaussianMixture.from_parameters(
        weights, means, family.attribute(covariances), name, reg_covar=0.0, learning_decay=0.7, learning_offset=2.0
    )
    for rows, (weights, means, matrices) in zip(batches, _twin(family, start, batches, 0.7, 2.0), strict=True):
        model.partial_fit(rows)
        assert_allclose(model.weights_, weights, rtol=1e-10)
        assert_allclose(model.means_, means, rtol=1e-9, atol=1e-10)
        assert_allclose(dense(model, family), matrices, rtol=1e-8, atol=1e-10)
    assert (model.n_batches_seen_, model.n_samples_seen_) == (3, 900)
    assert (model.stop_reason_, model.converged_) == ("partial_fit", False)


def test_a_variational_batch_is_the_conjugate_update_for_all_rows():
    """The prior plus the batches' statistics, scaled to `total_samples` rows; or to those seen."""
    fit = BayesianGaussianMixture(
        K, weight_concentration_prior_type="dirichlet_distribution", random_state=0, reg_covar=0.0
    ).fit(BATCHES[0])
    for total_samples in (None, 5000.0):
        model = copy.deepcopy(fit).set_params(learning_decay=1.0, total_samples=total_samples)
        n = len(BATCHES[0]) + len(BATCHES[1]) if total_samples is None else total_samples
        r = np.concatenate([fit.predict_proba(rows) for rows in BATCHES[:2]])
        rows = np.concatenate(BATCHES[:2])
        law = reference.Law(
            "full",
            rows,
            np.full(len(rows), n / len(rows)),
            r,
            *(getattr(fit, f"{name}_prior_") for name in ("weight_concentration", "mean_precision", "mean")),
            *(getattr(fit, f"{name}_prior_") for name in ("degrees_of_freedom", "covariance")),
            False,
        )
        model.partial_fit(BATCHES[1])
        assert_allclose(model.weight_concentration_, law.a, rtol=1e-9)
        assert_allclose(model.means_, law.m, rtol=1e-8)
        assert_allclose(model.covariances_, law.psi / law.nu[:, None, None], rtol=1e-7, atol=1e-10)
        assert model.weight_concentration_.sum() == pytest.approx(n + K * fit.weight_concentration_prior_)


def test_total_samples_holds_from_the_first_batch_on():
    model = BayesianGaussianMixture(2, total_samples=1e5, random_state=0).partial_fit(BATCHES[0])
    assert model.component_mass_.sum() == pytest.approx(1e5)
    assert model.partial_fit(BATCHES[1]).component_mass_.sum() == pytest.approx(1e5)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_one_pass_is_nearly_as_good_as_a_fit(estimator):
    """A small version of benchmarks/online.py."""
    rows, held_out = _rows(20_000, spread=2.0), _rows(5000, spread=2.0)
    fit = estimator(K, random_state=0, max_iter=500).fit(rows)
    model = estimator(K, random_state=0)
    for batch in np.split(rows, 20):
        model.partial_fit(batch)
    assert abs(fit.score(held_out) - model.score(held_out)) < 0.005 * abs(fit.score(held_out))
    first = estimator(K, random_state=0).partial_fit(rows[:1000])
    assert model.score(held_out) > first.score(held_out)
    assert model.n_samples_seen_ == 20_000


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_bound_of_a_stream_is_that_of_rows_not_seen_before(estimator):
    model = estimator(K, random_state=0, learning_decay=1.0).partial_fit(BATCHES[0])
    whole = [len(BATCHES[0]) * model.score(BATCHES[0])]
    for rows in BATCHES[1:]:
        whole.append(len(rows) * model.score(rows))
        model.partial_fit(rows)
    if estimator is GaussianMixture:
        expected = sum(whole) / len(X)
    else:
        divergence = model.score(X) * len(X) - model.evidence_lower_bound(X)
        expected = sum(whole) - divergence
    assert model.lower_bound_ == pytest.approx(expected, rel=1e-9)
    assert model.lower_bounds_ == [model.lower_bound_]


# --- the first batch, and fits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_first_batch_is_fitted(estimator):
    model = estimator(K, random_state=0).partial_fit(BATCHES[0], sample_weight=WEIGHT[:300])
    fit = estimator(K, random_state=0).fit(BATCHES[0], sample_weight=WEIGHT[:300])
    _assert_same_bits(model, fit)
    assert (fit.n_batches_seen_, fit.n_samples_seen_) == (1, 300)
    _assert_same_bits(model.partial_fit(BATCHES[1]), fit.partial_fit(BATCHES[1]))
    assert model.n_samples_seen_ == 500


def test_a_first_batch_that_needs_more_iterations_says_nothing():
    model = GaussianMixture(K, max_iter=1, tol=0.0, random_state=0).partial_fit(X)
    assert model.stop_reason_ == "partial_fit"


def test_checkpoints_are_of_fits_alone(tmp_path):
    """And know nothing of what only partial_fit looks at."""
    path = tmp_path / "fit.checkpoint"
    model = GaussianMixture(K, random_state=0, checkpoint=path).partial_fit(BATCHES[0]).partial_fit(BATCHES[1])
    assert not path.exists()
    model.fit(X)
    assert path.exists()
    _assert_same_bits(GaussianMixture(K, random_state=0, checkpoint=path, learning_decay=1.0).fit(X), model)


def test_the_first_batch_needs_as_many_rows_as_components():
    model = GaussianMixture(5)
    with pytest.raises(ValueError, match="Expected n_samples >= n_components but got n_components = 5, n_samples = 4"):
        model.partial_fit(X[:4])
    assert not hasattr(model, "means_")
    assert not hasattr(model, "n_samples_seen_")


def test_a_fit_forgets_batches():
    model = GaussianMixture(K, random_state=0).partial_fit(BATCHES[1]).partial_fit(BATCHES[2])
    _assert_same_bits(model.fit(BATCHES[0]), GaussianMixture(K, random_state=0).fit(BATCHES[0]))


def test_given_parameters_count_for_no_rows():
    fit = GaussianMixture(K, random_state=0, reg_covar=0.0).fit(BATCHES[0])
    model = GaussianMixture.from_parameters(fit.weights_, fit.means_, fit.covariances_, reg_covar=0.0)
    assert (model.n_batches_seen_, model.n_samples_seen_) == (0, 0)
    expected = reference.em_step(
        FAMILIES["full"], BATCHES[1], np.ones(len(BATCHES[1])), fit.predict_proba(BATCHES[1]), 0.0
    )
    model.partial_fit(BATCHES[1])
    for value, want in zip((model.weights_, model.means_, model.covariances_), expected, strict=True):
        assert_allclose(value, want, rtol=1e-7, atol=1e-9)
    assert (model.n_batches_seen_, model.n_samples_seen_) == (1, 200)


def test_a_given_law_without_a_prior_takes_it_from_the_first_batch():
    fit = BayesianGaussianMixture(K, random_state=0).fit(BATCHES[0])
    law = (fit.weight_concentration_, fit.mean_precision_, fit.means_, fit.degrees_of_freedom_, fit.covariances_)
    model = BayesianGaussianMixture.from_parameters(*law).partial_fit(BATCHES[1])
    assert_allclose(model.mean_prior_, BATCHES[1].mean(axis=0))
    assert model.component_mass_.sum() == pytest.approx(len(BATCHES[1]))


# --- types, weights, rows of no use ----------------------------------------------------------------------------------


def test_float32_batches_leave_float32_attributes_and_lose_nothing_between():
    halves = [rows.astype(np.float32) for rows in BATCHES[:3]]
    single = GaussianMixture(K, random_state=0)
    double = GaussianMixture(K, random_state=0)
    for rows in halves:
        single.partial_fit(rows)
        double.partial_fit(rows.astype(np.float64))
    assert single.means_.dtype == np.float32
    # Parameters of double precision go on between batches: rounding comes at the end alone.
    assert_array_equal(single.means_, double.means_.astype(np.float32))
    assert_array_equal(single.covariances_, double.covariances_.astype(np.float32))
    assert double.partial_fit(halves[0]).means_.dtype == np.float64
    assert single.partial_fit(BATCHES[3]).means_.dtype == np.float64


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_weight_is_a_number_of_copies(estimator):
    counts = np.random.default_rng(1).integers(0, 3, len(X))
    start = estimator(K, random_state=0).fit(X)
    weighted, copied = copy.deepcopy(start), copy.deepcopy(start)
    for rows, count in zip(BATCHES, np.split(counts, [300, 500, 900, 1100]), strict=True):
        weighted.partial_fit(rows, sample_weight=count)
        copied.partial_fit(np.repeat(rows, count, axis=0))
    assert_allclose(weighted.means_, copied.means_, rtol=1e-9)
    assert_allclose(weighted.covariances_, copied.covariances_, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_weights_of_any_scale(scale):
    plain, scaled = GaussianMixture(K, random_state=0), GaussianMixture(K, random_state=0)
    for rows, weight in zip(BATCHES[:3], np.split(WEIGHT, [300, 500, 900, 1100]), strict=False):
        plain.partial_fit(rows, sample_weight=weight)
        scaled.partial_fit(rows, sample_weight=scale * weight)
    assert_allclose(scaled.means_, plain.means_, rtol=1e-9)
    assert scaled.lower_bound_ == pytest.approx(plain.lower_bound_)
    for incomparable in (np.full(200, 1.0 / scale), None):
        with pytest.raises(ValueError, match="sample_weight must compare with that of the batches before"):
            scaled.partial_fit(BATCHES[3], sample_weight=incomparable)


@pytest.mark.parametrize("keys", [[None] * 7, [0, 1, 2, 0, 1, 2, 0]])
def test_batches_at_an_offset_keep_their_digits(keys):
    plain, moved = GaussianMixture(K, random_state=0), GaussianMixture(K, random_state=0)
    for number, key in enumerate(keys):
        rows = BATCHES[number % 3]
        plain.partial_fit(rows, batch=key)
        moved.partial_fit(rows + 1e6, batch=key)
    assert_allclose(moved.means_ - 1e6, plain.means_, atol=1e-7)
    assert_allclose(moved.covariances_, plain.covariances_, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("key", [None, "a"])
def test_a_batch_far_from_what_was_learned(key):
    """The means move so far that moments about the old ones have few digits left."""
    model = GaussianMixture(1, reg_covar=0.0).partial_fit(BATCHES[0], batch=key)
    far = BATCHES[2] + 1e9
    # Enough weight to forget all else; in place of the batch, it does anyway.
    model.partial_fit(far, sample_weight=np.full(len(far), 1e3), batch=key)
    assert_allclose(model.means_[0], far.mean(axis=0), rtol=1e-12)
    assert_allclose(model.covariances_[0], np.cov(far.T, bias=True), rtol=1e-6)


# --- batches that are kept -------------------------------------------------------------------------------------------


def _rounds(model, batches, n_rounds, weights=None):
    """The bound after every visit."""
    bounds = []
    for _ in range(n_rounds):
        for key, rows in enumerate(batches):
            model.partial_fit(rows, sample_weight=None if weights is None else weights[key], batch=key)
            bounds.append(model.lower_bound_)
    return bounds


@pytest.mark.parametrize(
    ("estimator", "name"),
    [
        (estimator, name)
        for estimator in ESTIMATORS
        for name, family in FAMILIES.items()
        if estimator is GaussianMixture or family.is_conjugate
    ],
)
def test_kept_batches_end_at_a_fixed_point_of_a_fit(estimator, name):
    """And no visit to a batch that is known lowers the bound."""
    prior = {}
    if estimator is BayesianGaussianMixture:
        prior = {"mean_prior": X.mean(axis=0), "covariance_prior": of_one(FAMILIES[name], np.cov(X.T))}
    params = {"covariance_type": name, "random_state": 0, "reg_covar": 0.0, "tol": 1e-10, "stopping": "relative"}
    model = estimator(K, **params, **prior)
    weights = np.split(WEIGHT, [300, 500, 900, 1100])
    _rounds(model, BATCHES, 1, weights)
    bounds = [model.lower_bound_]
    for _ in range(2000):
        bounds += _rounds(model, BATCHES, 1, weights)
        if model.converged_:
            break
    assert model.converged_
    assert (model.stop_reason_, model.n_samples_seen_) == ("converged", len(X))
    assert np.diff(bounds).min() > -1e-11 * abs(bounds[-1])
    assert bounds[-1] > bounds[0]
    # The fit goes on from there, and finds nothing to do.
    fit = copy.deepcopy(model).set_params(warm_start=True, tol=1e-12, max_iter=1000)
    fit.fit(X, sample_weight=WEIGHT)
    assert model.lower_bound_ == pytest.approx(fit.lower_bound_, rel=1e-7)
    assert_allclose(model.weights_, fit.weights_, atol=1e-3)
    assert_allclose(model.means_, fit.means_, atol=1e-2)
    assert_allclose(model.covariances_, fit.covariances_, rtol=1e-2, atol=1e-2)


def test_the_bound_of_kept_batches_is_below_that_of_all_rows():
    """For each row has the responsibilities of the parameters that it was seen with."""
    model = GaussianMixture(K, random_state=0, reg_covar=0.0)
    _rounds(model, BATCHES, 1)
    for key in (2, 0, 2, 2, 1):
        model.partial_fit(BATCHES[key], batch=key)
        assert model.lower_bound_ < model.score(X)


def test_one_kept_batch_is_em():
    """Visits to it are iterations."""
    start = GaussianMixture(K, random_state=0, max_iter=0).fit(X)
    model = copy.deepcopy(start)
    for _ in range(4):
        model.partial_fit(X, batch="all")
    assert model.n_batches_seen_ == 4
    assert model.n_samples_seen_ == len(X)
    rule = MaximumLikelihood(FAMILIES["full"], 1e-6)
    state = start._state(rule)
    for _ in range(4):
        state = rule.update(e_step(rule.family, state.density, X))
    assert_allclose(model.means_, state.means, rtol=1e-10)
    assert_allclose(model.covariances_, state.covariances, rtol=1e-9)


def test_a_batch_replaces_itself():
    """Whatever it held when it came before: other rows, more of them, other weights."""
    model, other = GaussianMixture(K, random_state=0), GaussianMixture(K, random_state=0)
    for each, rows in ((model, BATCHES[2]), (other, BATCHES[3])):
        each.partial_fit(BATCHES[0], batch="a").partial_fit(rows, batch="b")
    assert model.n_samples_seen_ == 700
    assert other.n_samples_seen_ == 500
    density = model._learned.density
    for each in (model, other):
        each._learned = replace(each._learned, density=density)
        each.partial_fit(BATCHES[1], batch="b")
        assert each.n_samples_seen_ == 500
    assert_allclose(model.means_, other.means_, rtol=1e-12)


@SETTINGS
@given(st.lists(st.integers(0, 12), min_size=1, max_size=40))
def test_sums_over_the_tree_are_those_of_its_leaves(visits):
    family = FAMILIES["diag"]
    origin = np.zeros((1, 1))
    kept, nodes = [], None
    for number, place in enumerate(visits):
        place = min(place, len(kept))
        statistics = replace(family.zero(origin), weight=2.0**number)
        leaf = online.Record(statistics, -float(number), number, number)
        nodes = online.tree([leaf]) if nodes is None else online.with_leaf(nodes, place, leaf)
        kept[place : place + 1] = [leaf]
        whole = nodes[1]
        # Powers of two: exact in any order.
        assert whole.statistics.weight == sum(each.statistics.weight for each in kept)
        assert whole.entropy == sum(each.entropy for each in kept)
        assert whole.n_samples == sum(each.n_samples for each in kept)
        assert whole.round == min(each.round for each in kept)


def test_sorted_sticks_stay_with_their_statistics():
    """Updates change the order of components; the records of batches must follow."""
    model = BayesianGaussianMixture(6, random_state=0, reg_covar=0.0, tol=1e-9)
    bounds = _rounds(model, BATCHES, 40)[len(BATCHES) :]
    assert np.diff(bounds).min() > -1e-9 * abs(bounds[-1])
    assert np.all(np.diff(model.component_mass_) <= 1e-9 * len(X))
    stream = BayesianGaussianMixture(6, random_state=0)
    for rows in BATCHES:
        stream.partial_fit(rows)
        assert np.all(np.diff(stream.component_mass_) <= 1e-9 * len(X))
    assert stream.score(X) == pytest.approx(model.score(X), rel=0.05)


def test_batches_after_a_fit_start_from_its_parameters_alone():
    """They may be of the rows that were fitted: these must not count twice."""
    model = GaussianMixture(K, random_state=0).fit(X)
    model.partial_fit(BATCHES[0], batch=0)
    assert model.n_samples_seen_ == len(BATCHES[0])
    assert_allclose(model.weights_.sum(), 1.0)


def test_kept_batches_that_wander_off_keep_their_digits():
    """Moments move to the present means: about where the batches were at first, they would lose seven digits."""
    model = GaussianMixture(1, reg_covar=0.0)
    for shift in (0.0, 3e3, 3e3, 3e3):
        for key in (0, 1):
            model.partial_fit(BATCHES[key] + shift, batch=key)
    rows = np.concatenate(BATCHES[:2])
    assert_allclose(model.covariances_[0], np.cov(rows.T, bias=True), rtol=1e-11)


def test_convergence_takes_a_visit_to_every_batch():
    model = GaussianMixture(K, random_state=0, tol=1e3)
    reached = []
    for key in (0, 1, 2, 0, 0, 0, 1, 2, 1, 3, 3, 0, 1, 2):
        reached.append(model.partial_fit(BATCHES[key], batch=key).converged_)
    assert reached == [False] * 7 + [True] * 2 + [False] * 4 + [True]


@pytest.mark.parametrize("keys", [(None,) * 4, (0, 1, 2, 3)])
def test_components_that_change_places_keep_their_rows(keys):
    """Sticks are sorted by mass: the group that is small at first becomes the larger one."""
    small, large = BATCHES[0][:150], BATCHES[0][150:] + 50.0
    model = BayesianGaussianMixture(2, random_state=0, mean_prior=[0, 0], covariance_prior=np.eye(2))
    for number, key in enumerate(keys):
        both = [small[:40], large] if number == 0 else [small, large[:50]]
        model.partial_fit(np.concatenate(both), batch=key)
        assert model.component_mass_[0] > model.component_mass_[1]
    assert model.means_[0].max() < 25.0 < model.means_[1].min()
    assert np.linalg.eigvalsh(model.covariances_).max() < 100.0


# --- batches that are no arrays --------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [None, "a"])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_batch_may_be_anything_that_fit_takes(estimator, key):
    model, streamed = estimator(K, random_state=0), estimator(K, random_state=0)
    for number, (rows, weight) in enumerate(zip(BATCHES, np.split(WEIGHT, [300, 500, 900, 1100]), strict=True)):
        name = None if key is None else key * (number % 2 + 1)
        model.partial_fit(rows, sample_weight=weight, batch=name)
        pieces = [(rows[:7], weight[:7]), (rows[7:], weight[7:])]
        streamed.partial_fit(BatchRows(pieces), batch=name)
    _assert_same_bits(model, streamed)


def test_the_documentations_example(capsys):
    page = Path(__file__).parents[1] / "docs" / "sources.md"
    if not page.exists():
        pytest.skip("needs a checkout")
    _, _, section = page.read_text().partition("## Batches that come one at a time\n")
    _, _, code = section.partition("\n## ")[0].partition("```python\n")
    code = code.partition("```")[0]
    exec(compile(code, str(page), "exec"), {})
    assert capsys.readouterr().out.split() == re.findall(r"print\(.*\)  # (\d+)", code) == ["60000", "9000"]


# --- what must not change --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keys", [(None, None, None), ("a", "b", "a")])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_pickled_model_goes_on_with_the_same_bits(estimator, keys):
    model = estimator(K, random_state=0)
    stored = None
    for number, key in enumerate(keys):
        model.partial_fit(BATCHES[number], batch=key)
        stored = pickle.loads(pickle.dumps(stored or model))
        if number:
            stored.partial_fit(BATCHES[number], batch=key)
        _assert_same_bits(model, stored)


@pytest.mark.parametrize("key", [None, 1])
def test_the_same_bits_for_any_number_of_threads(key):
    models = [GaussianMixture(K, random_state=0, n_threads=n) for n in (1, 2)]
    for number, rows in enumerate(BATCHES[:3]):
        for model in models:
            model.partial_fit(rows, batch=None if key is None else number % 2)
    _assert_same_bits(*models)


@pytest.mark.parametrize("keys", [(None, None), ("a", "b")])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_bad_batch_changes_nothing(estimator, keys):
    model = estimator(K, random_state=0)
    for rows, key in zip(BATCHES, keys, strict=False):
        model.partial_fit(rows, batch=key)
    before, twin = pickle.dumps(model), copy.deepcopy(model)
    bad = [
        (np.ones((4, 3)), {}, ValueError, "X has 3 features, but .* is expecting 2"),
        ([[1.0, np.nan]], {}, ValueError, r"X contains NaN \(row 0, column 1\)"),
        ([["a", "b"]], {}, ValueError, "X must hold numbers"),
        (X[:0], {}, ValueError, r"0 sample\(s\)"),
        (X[:2], {"sample_weight": [1.0]}, ValueError, "sample_weight.shape"),
        (X[:2], {"sample_weight": [-1.0, 1.0]}, ValueError, "sample_weight must be >= 0"),
        (X[:2] * 1e200, {}, ValueError, "overflow"),
    ]
    for rows, options, error, message in bad:
        with pytest.raises(error, match=message):
            model.partial_fit(rows, batch=keys[0], **options)
        assert pickle.dumps(model) == before
    rows = BATCHES[2]
    _assert_same_bits(model.partial_fit(rows, batch=keys[0]), twin.partial_fit(rows, batch=keys[0]))


@pytest.mark.parametrize("key", [None, 0])
def test_a_collapse_leaves_what_was_learned(key):
    model = GaussianMixture(2, reg_covar=0.0, random_state=0).partial_fit(BATCHES[0], batch=key)
    before = pickle.dumps(model)
    with pytest.raises(ValueError, match="ill-defined empirical covariance"):
        # As much as to forget all else.
        model.partial_fit(np.ones((10, 2)), sample_weight=np.full(10, 1e12), batch=key)
    assert pickle.dumps(model) == before
    model.partial_fit(BATCHES[1], batch=key)


def test_names_of_batches_for_all_or_for_none():
    named = GaussianMixture(K, random_state=0).partial_fit(BATCHES[0], batch="a")
    with pytest.raises(ValueError, match="batch must name this batch"):
        named.partial_fit(BATCHES[1])
    nameless = GaussianMixture(K, random_state=0).partial_fit(BATCHES[0])
    with pytest.raises(ValueError, match="batch must be None, because batches before were not named, got 'a'"):
        nameless.partial_fit(BATCHES[1], batch="a")
    with pytest.raises(TypeError, match=re.escape("batch must be hashable, a number or a name for example, got [1]")):
        nameless.partial_fit(BATCHES[1], batch=[1])
    with pytest.raises(ValueError, match="batch must be equal to itself, got nan"):
        nameless.partial_fit(BATCHES[1], batch=float("nan"))


@pytest.mark.parametrize("change", [{"n_components": 2}, {"covariance_type": "diag"}])
def test_another_model_cannot_go_on(change):
    model = GaussianMixture(K, random_state=0).partial_fit(BATCHES[0]).set_params(**change)
    with pytest.raises(
        ValueError, match="partial_fit goes on with what was learned, 3 components of covariance 'full'"
    ):
        model.partial_fit(BATCHES[1])


def test_weights_of_another_kind_cannot_go_on():
    model = BayesianGaussianMixture(K, random_state=0).partial_fit(BATCHES[0])
    model.set_params(weight_concentration_prior_type="dirichlet_distribution")
    with pytest.raises(ValueError, match="but weight_concentration_prior_type is 'dirichlet_distribution'"):
        model.partial_fit(BATCHES[1])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"learning_decay": 0.5}, "learning_decay must be a float in the range (0.5, 1], got 0.5."),
        ({"learning_decay": 1.1}, "learning_decay must be a float in the range (0.5, 1], got 1.1."),
        ({"learning_decay": "fast"}, "learning_decay must be a float in the range (0.5, 1], got 'fast'."),
        ({"learning_offset": -1.0}, "learning_offset must be a float in the range [0, inf), got -1.0."),
        ({"learning_offset": np.nan}, "learning_offset must be a float in the range [0, inf), got nan."),
        ({"total_samples": 0}, "total_samples must be None or a float in the range (0, 1e+100], got 0."),
        ({"total_samples": np.inf}, "total_samples must be None or a float in the range (0, 1e+100], got inf."),
    ],
)
def test_parameters_out_of_range(params, message):
    model = BayesianGaussianMixture(K, **params)
    with pytest.raises(ValueError, match=re.escape(message)):
        model.partial_fit(X)
    assert not hasattr(model, "means_")


def test_feature_names():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=["a", "b"])
    model = GaussianMixture(K, random_state=0).partial_fit(frame[:300]).partial_fit(frame[300:])
    assert model.feature_names_in_.tolist() == ["a", "b"]
    with pytest.raises(ValueError, match="The feature names should match"):
        model.partial_fit(frame.rename(columns={"a": "c"}))
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        model.partial_fit(X)
    assert model.feature_names_in_.tolist() == ["a", "b"]
