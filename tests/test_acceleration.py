"""Extrapolated fits: monotone, at the same optimum, in fewer passes, and never an error of their own."""

import importlib
import itertools
import statistics
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from conftest import CONJUGATE, draw, random_mixture
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgmm import BayesianGaussianMixture, GaussianMixture
from fastgmm.exceptions import CollapsedComponentError, ConvergenceWarning
from fastgmm.families import FAMILIES, STRUCTURES
from fastgmm.fitting.acceleration import METHODS, accelerator
from fastgmm.fitting.loop import fit_loop, fit_steps
from fastgmm.fitting.restarts import Contender
from fastgmm.rows import ArrayRows
from fastgmm.rules import MaximumLikelihood, VariationalBayes, make_prior, parameters_of_whitener
from fastgmm.sources import Source
from fastgmm.starts.seeding import seed

# What takes fewer passes is measured by structures; laws hold for all families.
TRIED = STRUCTURES

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
ESTIMATORS = pytest.mark.parametrize("estimator", [GaussianMixture, BayesianGaussianMixture])
ACCELERATE = pytest.mark.parametrize("accelerate", list(METHODS))


@pytest.fixture
def bench(monkeypatch):
    """The benchmark's generator and counts."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("acceleration")


def _problem(number, name, n_components, n_features, n_rows=200):
    rng = np.random.default_rng(number)
    family = FAMILIES[name]
    weights, means, covariances = random_mixture(rng, family, n_components, n_features)
    X = draw(rng, weights, means, family.matrices(covariances, n_components, n_features), n_rows)
    return rng, family, X, rng.uniform(0.1, 2, n_rows)


def _rule(rng, family, X, method, sort=True):
    if method == "em":
        return MaximumLikelihood(family, 0.0)
    scale = family.covariances(Source(family, ArrayRows(X)).total()).reshape(family.block_shape(X.shape[1]))
    freedom = X.shape[1] if family.has_matrices else 1.0
    prior = make_prior(family, rng.uniform(0.01, 2), X.mean(axis=0), rng.uniform(0.1, 3), freedom, scale)
    return VariationalBayes(family, prior, method == "process", sort, 0.0)


METHOD = st.sampled_from(["em", "process", "distribution"])
# EM for all families, variational Bayes for those that it takes.
CHOICE = st.tuples(st.sampled_from(sorted(FAMILIES)), METHOD).map(
    lambda pair: pair if pair[0] in CONJUGATE else (pair[0], "em")
)


# --- coordinates ---------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(1, 4), CHOICE)
def test_any_coordinates_are_those_of_a_mixture(number, n_components, n_features, choice):
    name, method = choice
    rng, family, X, w = _problem(number, name, n_components, n_features)
    rule, source = _rule(rng, family, X, method), Source(family, ArrayRows(X, w))
    state = seed(rule, source, n_components, rng, "random")
    chart = rule.chart(state)
    np.testing.assert_allclose(rule.coordinates(chart, state), 0.0, atol=1e-9)
    other = rule.state_at(chart, chart.unit * rng.normal(size=chart.unit.size))
    assert np.all(other.weights >= 0.0)
    assert other.weights.sum() == pytest.approx(1.0)
    assert family.definiteness(other.covariances) > 0.0
    again = rule.state_at(chart, rule.coordinates(chart, other))
    for one, two in zip((*again.density, again.weights), (*other.density, other.weights), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-8, atol=1e-8)
    if method != "em":
        before = 1.0 if rule.sticks else rule.prior.concentration
        mass = other.posterior.concentration[0] - before
        assert mass.sum() == pytest.approx(w.sum())
        np.testing.assert_allclose(other.posterior.mean_precision - rule.prior.mean_precision, mass, atol=1e-9)
        behind = n_features * mass if name.endswith("spherical") else mass
        behind = behind.sum() if family.is_tied else behind
        np.testing.assert_allclose(
            other.posterior.degrees_of_freedom - rule.prior.degrees_of_freedom, behind, atol=1e-9
        )


@pytest.mark.parametrize("family", CONJUGATE, indirect=True)
def test_half_a_squared_length_is_what_complete_data_lose(family, rng):
    """To second order: the divergence of the joint law of a row and its component."""
    n_components, n_features = 3, 3
    weights, means, covariances = random_mixture(rng, family, n_components, n_features)
    whitener = family.density(weights, means, covariances)[0].whitener
    rule = MaximumLikelihood(family, 0.0)
    state = parameters_of_whitener(family, weights, means, whitener)
    chart = rule.chart(state)
    length = 1e-3
    for _ in range(5):
        direction = rng.normal(size=chart.unit.size)
        # Along the weights' sum nothing changes.
        root = np.sqrt(weights)
        direction[:n_components] -= root * (root @ direction[:n_components])
        # To a member of the family; the weights that it has sum to 1.
        member = rule.coordinates(chart, rule.state_at(chart, direction))
        direction[n_components:] = member[n_components:]
        other = rule.state_at(chart, length * direction / np.linalg.norm(direction))
        divergence = weights @ np.log(weights / other.weights)
        pairs = zip(
            weights,
            state.means,
            other.means,
            family.matrices(state.covariances, n_components, n_features),
            family.matrices(other.covariances, n_components, n_features),
            strict=True,
        )
        for weight, mean, moved, one, two in pairs:
            precision = np.linalg.inv(two)
            gap = moved - mean
            log_ratio = np.linalg.slogdet(two)[1] - np.linalg.slogdet(one)[1]
            divergence += 0.5 * weight * (np.trace(precision @ one) - n_features + log_ratio + gap @ precision @ gap)
        assert divergence == pytest.approx(0.5 * length**2, rel=0.02)


# --- the bound -----------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    st.integers(0, 2**31),
    st.integers(1, 5),
    st.integers(1, 4),
    CHOICE,
    st.booleans(),
    st.sampled_from(sorted(METHODS)),
)
def test_the_bound_never_falls(number, n_components, n_features, choice, sort, accelerate):
    name, method = choice
    rng, family, X, w = _problem(number, name, n_components, n_features)
    rule, source = _rule(rng, family, X, method, sort), Source(family, ArrayRows(X, w))
    start = seed(rule, source, n_components, rng, "random")
    plain = _outcome(rule, source, start, None)
    result = _outcome(rule, source, start, accelerate)
    if result is None:
        assert plain is None
        return
    assert np.diff(result.bounds).min(initial=0) >= -1e-11 * np.abs(result.bounds).max()
    assert result.bound == result.bounds[-1]
    assert len(result.bounds) == result.n_iter
    assert result.n_passes > result.n_iter


def _outcome(rule, source, start, accelerate):
    """Return a fit's result, None where a component collapses."""
    try:
        return fit_loop(rule, source, start, tol=0.0, max_iter=80, accelerator=accelerator(accelerate, rule))
    except CollapsedComponentError:
        return None


@pytest.mark.slow
@pytest.mark.parametrize("method", ["em", "vb"])
def test_three_times_fewer_passes_to_the_same_bound(bench, family, method):
    saved = {name: [] for name in METHODS}
    for number in range(5):
        X, n_components = bench.mixture(number, family.name, 1500)
        plain = bench.course(method, family.name, X, n_components, None).result
        target = plain.bound - bench.SAME * bench.per_row(method, X)
        for name, ratios in saved.items():
            fast = bench.course(method, family.name, X, n_components, name)
            ratios.append(plain.n_passes / fast.reached(target))
    assert statistics.median(saved["squarem"]) >= 3.0
    assert statistics.median(saved["anderson"]) >= 5.0


@pytest.mark.parametrize("method", ["em", "vb"])
def test_easy_mixtures_take_no_more_passes(bench, family, method):
    for number in range(4):
        X, n_components = bench.mixture(number, family.name, 1000, bench.EASY)
        for tol in (1e-3, 1e-5, 1e-8):
            options = {"tol": tol * bench.per_row(method, X)}
            plain = bench.course(method, family.name, X, n_components, None, **options).result
            for name in METHODS:
                fast = bench.course(method, family.name, X, n_components, name, **options).result
                assert fast.n_passes <= 1.1 * plain.n_passes
                assert fast.bound >= plain.bound - 10.0 * options["tol"]


# --- what goes wrong -----------------------------------------------------------------------------------------------


@dataclass
class _Proposing:
    """Proposes what a function makes of the state."""

    make: object
    rejected: int = 0

    def propose(self, state, successor, negligible):
        return self.make(state)

    def reject(self):
        self.rejected += 1


def _spoilt(part, value):
    def make(state):
        arrays = {"weights": state.weights, "means": state.means, "whitener": state.density.whitener}
        arrays = {name: array.copy() for name, array in arrays.items()}
        arrays[part].flat[0] = value
        return parameters_of_whitener(FAMILIES["diag"], **arrays)

    return make


@pytest.mark.parametrize(
    "make",
    [
        _spoilt("means", np.nan),
        _spoilt("means", 1e200),
        _spoilt("whitener", np.inf),
        _spoilt("whitener", 1e160),
        _spoilt("weights", 1e-12),
    ],
)
def test_a_failing_extrapolation_costs_its_pass_and_nothing_else(make):
    rng, family, X, w = _problem(5, "diag", 2, 2)
    rule, source = MaximumLikelihood(family, 0.0), Source(family, ArrayRows(X, w))
    start = seed(rule, source, 2, rng, "random")
    plain = fit_loop(rule, source, start, tol=0.0, max_iter=10)
    method = _Proposing(make)
    with np.errstate(all="ignore"):
        result = fit_loop(rule, source, start, tol=0.0, max_iter=10, accelerator=method)
    assert result.bounds == plain.bounds
    np.testing.assert_array_equal(result.state.covariances, plain.state.covariances)
    assert (method.rejected, result.n_passes) == (9, plain.n_passes + 9)


class _Number:
    """A toy: the state is a number, its bound the number; updates add 1, and from 8 to 9 something collapses."""

    def density(self, state):
        return state

    def update(self, statistics, density=None, final=False):
        if 8.0 < statistics < 9.0:
            raise CollapsedComponentError(0)
        return _State(statistics + 1.0)

    def bound(self, state, statistics):
        return float(statistics)

    def progress(self, state, statistics, successor):
        return float(statistics)

    def collect(self, density, origin=None):
        return density.value


@dataclass
class _State:
    value: float
    trusted: bool = True


def test_a_collapse_that_extrapolation_led_to_is_undone():
    toy = _Number()
    result = fit_loop(
        toy,
        toy,
        _State(0.0),
        tol=0.0,
        max_iter=12,
        accelerator=_Proposing(lambda state: _State(state.value + 1.5) if state.value < 2.0 else None),
    )
    # From 1 to 2.5, and on to 8.5, which collapses; so back to 1, and on without.
    assert result.bounds == [float(n) for n in range(1, 13)]
    assert result.n_iter == 12
    with pytest.raises(CollapsedComponentError):
        fit_loop(toy, toy, _State(0.5), tol=0.0, max_iter=12)


def test_points_that_are_kept_cost_one_pass_each():
    toy = _Number()
    method = _Proposing(lambda state: _State(state.value + 1.5))
    result = fit_loop(toy, toy, _State(10.0), tol=0.0, max_iter=12, accelerator=method)
    assert result.bounds == [11.0 + 1.5 * n for n in range(12)]
    assert (result.n_passes, method.rejected) == (13, 0)


@ACCELERATE
def test_sorted_sticks_begin_a_new_history(accelerate):
    rng, family, X, _ = _problem(8, "full", 3, 2)
    rule, source = _rule(rng, family, X, "process"), Source(family, ArrayRows(X))
    method = accelerator(accelerate, rule)
    state = seed(rule, source, 3, rng, "kmeans")
    proposals = []
    for n in range(12):
        statistics = source.collect(rule.density(state))
        if n == 8:
            # The same rows with the components the other way round: the update sorts them.
            backwards = np.arange(3)[::-1]
            statistics = family.reordered(statistics, backwards)
            posterior = state.posterior._replace(
                concentration=np.ascontiguousarray(state.posterior.concentration[:, ::-1]),
                mean_precision=state.posterior.mean_precision[::-1].copy(),
                degrees_of_freedom=state.posterior.degrees_of_freedom[::-1].copy(),
            )
            state = rule.state(posterior, state.means[::-1], family.select(state.density.whitener, backwards))
        successor = rule.update(statistics)
        proposals.append(method.propose(state, successor, 0.0) is not None)
        assert rule.same_components(state, successor) == (n != 8)
        state = successor
    assert any(proposals[:8])
    assert proposals[8:10] == [False, False]
    assert any(proposals[10:])


def test_the_benchmark_runs(bench, capsys):
    bench.main(["--seeds", "1", "--rows", "300", "--tol", "1e-3"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 2 * len(STRUCTURES)
    assert {line.count("|") for line in lines} == {7}


# --- estimators ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def overlapping():
    rng = np.random.default_rng(11)
    return np.concatenate([rng.normal(size=(600, 2)), [1.5, 0.0] + rng.normal(size=(400, 2)) * [0.6, 1.4]])


def _fit(estimator, X, accelerate, **params):
    params = {"n_components": 2, "tol": 1e-7, "max_iter": 5000, "reg_covar": 0.0, "random_state": 0} | params
    return estimator(accelerate=accelerate, **params).fit(X)


@ESTIMATORS
@ACCELERATE
def test_the_same_optimum_as_plain_iteration(bench, estimator, accelerate, family):
    X, n_components = bench.mixture(1, family.name, 2000)
    tol = 1e-12 if estimator is GaussianMixture else 1e-8
    options = {"n_components": n_components, "covariance_type": family, "tol": tol}
    plain, fast = (_fit(estimator, X, method, **options) for method in (None, accelerate))
    assert fast.stop_reason_ == plain.stop_reason_ == "converged"
    assert fast.lower_bound_ == pytest.approx(plain.lower_bound_, rel=1e-10)
    np.testing.assert_allclose(fast.means_, plain.means_, atol=1e-4)
    assert fast.n_passes_ < 0.6 * plain.n_passes_


@ESTIMATORS
@ACCELERATE
def test_a_fit_stops_where_a_plain_step_gains_less_than_the_tolerance(overlapping, estimator, accelerate):
    tol = 1e-6
    model = _fit(estimator, overlapping, accelerate, tol=tol)
    before = model.lower_bound_
    with pytest.warns(ConvergenceWarning):
        model.set_params(warm_start=True, accelerate=None, max_iter=1, tol=0.0).fit(overlapping)
    assert 0.0 <= model.lower_bound_ - before < tol


@ESTIMATORS
@ACCELERATE
@pytest.mark.parametrize("stopping", ["relative", "aitken"])
def test_all_stopping_rules_work(overlapping, estimator, accelerate, stopping):
    tol = 1e-9 if stopping == "relative" else 1e-6
    plain = _fit(estimator, overlapping, None, stopping=stopping, tol=tol)
    fast = _fit(estimator, overlapping, accelerate, stopping=stopping, tol=tol)
    assert fast.n_passes_ < 0.6 * plain.n_passes_
    assert fast.lower_bound_ >= plain.lower_bound_ - 1e-6 * (1.0 + abs(plain.lower_bound_))


@ACCELERATE
@pytest.mark.parametrize(("offset", "scale"), [(1e8, 1.0), (0.0, 1e-140), (0.0, 1e140), (-3e5, 1e-3)])
def test_neither_offset_nor_scale_matters(overlapping, family, accelerate, offset, scale):
    here = _fit(GaussianMixture, overlapping, accelerate, covariance_type=family)
    there = _fit(GaussianMixture, offset + scale * overlapping, accelerate, covariance_type=family)
    assert there.converged_
    assert abs(there.n_passes_ - here.n_passes_) <= 0.3 * here.n_passes_
    np.testing.assert_allclose(there.weights_, here.weights_, atol=1e-2)
    np.testing.assert_allclose((there.means_ - offset) / scale, here.means_, atol=2e-2)


@ESTIMATORS
@ACCELERATE
def test_the_same_bits_for_any_number_of_threads(overlapping, estimator, accelerate):
    X = np.tile(overlapping, (20, 1))
    one, three = (_fit(estimator, X, accelerate, n_threads=n, tol=1e-5) for n in (1, 3))
    assert one.lower_bounds_ == three.lower_bounds_
    np.testing.assert_array_equal(one.covariances_, three.covariances_)


@ESTIMATORS
@ACCELERATE
def test_a_warm_start_goes_on(overlapping, estimator, accelerate):
    whole = _fit(estimator, overlapping, accelerate)
    model = estimator(2, accelerate=accelerate, tol=1e-7, max_iter=12, reg_covar=0.0, random_state=0)
    with pytest.warns(ConvergenceWarning):
        model.fit(overlapping)
    half = model.lower_bound_
    model.set_params(warm_start=True, max_iter=5000).fit(overlapping)
    assert model.converged_
    assert model.lower_bounds_[0] >= half
    assert model.lower_bound_ == pytest.approx(whole.lower_bound_, abs=1e-4)


@ESTIMATORS
@ACCELERATE
def test_starts_race_as_without(bench, estimator, accelerate):
    X, n_components = bench.mixture(4, "full", 500)
    params = {"n_components": n_components, "n_init": 4, "init_params": "random", "tol": 1e-6}
    raced, all_of_them = (_fit(estimator, X, accelerate, race=race, **params).restarts_ for race in (True, False))
    for one, other in zip(raced, all_of_them, strict=True):
        assert one == other or (one.outcome == "dropped" and one.n_iter <= other.n_iter)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["em", "vb"])
@ACCELERATE
def test_plain_steps_are_not_taken_for_the_pace_of_a_start(bench, method, accelerate):
    """They gain little between extrapolations: by the last step alone, starts lag behind their own ends twice as often.

    Which starts a race loses depends on rounding; how often starts lag, summed over many, hardly does.
    """
    lagged = lagged_by_last = 0
    for number in (2, 4, 5):
        X, n_components = bench.mixture(number, "full", 500)
        rule, source = bench.rule(method, "full", X), Source(FAMILIES["full"], ArrayRows(X))
        for start in range(20):
            state = seed(rule, source, n_components, np.random.RandomState(start), "random")
            options = {"tol": 1e-6 * bench.per_row(method, X), "max_iter": 5000}
            steps = list(fit_steps(rule, source, state, accelerator=accelerator(accelerate, rule), **options))
            last = [two._replace(change=two.bound - one.bound) for one, two in itertools.pairwise(steps)]
            lagged += _lagged(source, steps[1:])
            lagged_by_last += _lagged(source, last)
    assert lagged < 0.8 * lagged_by_last


def _lagged(source, steps):
    """Return after how many steps a race would drop a start if the leader were where the start itself ends."""
    contender = Contender(source, lambda: iter(steps), lambda state: -1)
    n_lagged = 0
    for _ in steps:
        contender.allow(1)
        contender.advance(1)
        n_lagged += contender.lags(steps[-1].bound)
    return n_lagged


@pytest.mark.filterwarnings("ignore::fastgmm.exceptions.SpuriousComponentWarning")
@ESTIMATORS
@ACCELERATE
def test_degenerate_rows_fail_or_fit_as_without(estimator, accelerate, rng):
    X = np.repeat(rng.normal(size=(6, 2)), [1, 1, 1, 5, 5, 7], axis=0)
    constant = np.column_stack([rng.normal(size=40), np.full(40, 3.0)])
    weight = np.r_[np.zeros(5), np.ones(15)]
    for rows, sample_weight, reg_covar in ((X, None, 1e-6), (X, weight, 1e-3), (constant, None, 1e-6), (X, None, 0.0)):
        outcomes = []
        for method in (None, accelerate):
            model = estimator(4, accelerate=method, reg_covar=reg_covar, max_iter=200, random_state=1)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ConvergenceWarning)
                    model.fit(rows, sample_weight=sample_weight)
            except ValueError as error:
                outcomes.append(str(error))
                continue
            outcomes.append("")
            assert np.isfinite(model.lower_bound_)
            assert np.isfinite(model.precisions_).all()
        assert (outcomes[0] == "") == (outcomes[1] == "")


@ACCELERATE
def test_float32_rows(accelerate):
    """Enough of them for float32 arithmetic, whose noise must not hold a fit up."""
    rng = np.random.default_rng(3)
    X = np.concatenate([rng.normal(size=(300_000, 4)), 2.0 + rng.normal(size=(300_000, 4))]).astype(np.float32)
    plain, fast = (_fit(GaussianMixture, X, method, tol=1e-6, max_iter=300) for method in (None, accelerate))
    assert fast.n_passes_ <= plain.n_passes_
    assert fast.lower_bound_ == pytest.approx(plain.lower_bound_, rel=1e-5)
