"""Several starts of one fit: the race, its threads, and spurious optima."""

import math
import threading

import numpy as np
import pytest

from fastgmm import BayesianGaussianMixture, GaussianMixture, datasets
from fastgmm.exceptions import CollapsedComponentError
from fastgmm.fitting.plain import FitResult, Step
from fastgmm.fitting.restarts import PATIENCE, ROUND, Contender, race, winner
from fastgmm.rows import ArrayRows


@pytest.fixture(scope="module")
def groups():
    """Six groups in the plane, so that many starts end at a poorer optimum."""
    generator = np.random.default_rng(3)
    centres = generator.uniform(-8, 8, (6, 2))
    return (centres[:, None] + generator.standard_normal((6, 60, 2))).reshape(-1, 2)


class Counter:
    """A callback that counts the iterations of each start."""

    def __init__(self):
        self.counts = {}
        self.order = []

    def __call__(self, restart, iteration, bound, change):
        self.counts[restart] = iteration
        self.order.append(restart)


def fitted(groups, **options):
    options = {
        "init_params": "random",
        "random_state": 1,
        "n_init": 8,
        "max_iter": 500,
        "tol": 1e-5,
        "race": True,
    } | options
    return GaussianMixture(6, **options).fit(groups)


def test_each_start_is_reported_and_the_best_one_kept(groups):
    model = fitted(groups, race=False)
    bounds = [restart.bound for restart in model.restarts_]
    assert len(bounds) == 8
    assert {restart.outcome for restart in model.restarts_} == {"converged"}
    assert model.lower_bound_ == max(bounds)
    assert model.n_iter_ == model.restarts_[int(np.argmax(bounds))].n_iter
    assert np.ptp(bounds) > 0.01
    # One start alone ends as it does among others.
    assert fitted(groups, n_init=1).lower_bound_ == bounds[0]


def test_the_race_saves_iterations_and_finds_the_same_winner(groups):
    counters = [Counter(), Counter()]
    models = [
        GaussianMixture(6, init_params="random", random_state=1, n_init=8, max_iter=500, tol=1e-5, race=race).fit(
            groups, callback=counter
        )
        for race, counter in zip((True, False), counters, strict=True)
    ]
    raced, whole = models
    np.testing.assert_array_equal(raced.means_, whole.means_)
    dropped = [i for i, restart in enumerate(raced.restarts_) if restart.outcome == "dropped"]
    assert dropped
    for i in dropped:
        assert raced.restarts_[i].n_iter % ROUND == 0
        assert counters[0].counts[i] < counters[1].counts[i]
        assert raced.restarts_[i].bound < raced.lower_bound_
    for i in set(range(8)) - set(dropped):
        assert raced.restarts_[i] == whole.restarts_[i]


def test_a_dropped_start_was_too_far_behind_at_its_pace(groups):
    model = fitted(groups)
    dropped = next(restart for restart in model.restarts_ if restart.outcome == "dropped")
    number = model.restarts_.index(dropped)
    # Again, all of them to their ends, for their bounds after every iteration.
    bounds = {}
    fitted_again = GaussianMixture(
        6, init_params="random", random_state=1, n_init=number + 1, max_iter=dropped.n_iter, tol=0.0, race=False
    )
    with pytest.warns(match="did not converge"):
        fitted_again.fit(groups, callback=lambda start, i, bound, _: bounds.setdefault(start, []).append(bound))
    last = fitted_again.restarts_[number].bound
    assert last == dropped.bound
    assert model.lower_bound_ - last > PATIENCE * max(last - bounds[number][-1], 0.0) > 0.0


@pytest.mark.parametrize("race", [True, False])
def test_starts_that_are_watched_run_one_after_the_other_and_take_turns_in_a_race(groups, race, capsys):
    counter = Counter()
    model = GaussianMixture(
        6, init_params="random", random_state=1, n_init=2, tol=1e-9, max_iter=500, race=race, verbose=1
    )
    model.fit(groups, callback=counter)
    if race:
        assert counter.order[: 3 * ROUND] == [0] * ROUND + [1] * ROUND + [0] * ROUND
    else:
        assert counter.order == sorted(counter.order)
    # Of each line that is printed it is clear which start it is about.
    printed, start = {0: [], 1: []}, None
    for line in capsys.readouterr().out.splitlines():
        if line.split()[1].isdigit() and line.startswith("Initialization"):
            assert start != int(line.split()[1])
            start = int(line.split()[1])
        elif "Iteration" in line:
            printed[start].append(int(line.split()[1]))
    for number, restart in enumerate(model.restarts_):
        assert printed[number] == list(range(10, restart.n_iter + 1, 10))


@pytest.mark.parametrize("race", [True, False])
@pytest.mark.parametrize("estimator", [GaussianMixture, BayesianGaussianMixture])
def test_same_bits_on_any_number_of_threads(groups, estimator, race):
    assert_same_bits_on_any_number_of_threads(groups, estimator, race=race)


def test_same_bits_on_any_number_of_threads_where_pairs_are_skipped(groups, always):
    """Starts remember rows each for itself."""
    assert_same_bits_on_any_number_of_threads(groups, GaussianMixture)
    assert always


def assert_same_bits_on_any_number_of_threads(X, estimator, **options):
    options |= {"init_params": "random", "random_state": 1, "n_init": 5, "max_iter": 300}
    models = [estimator(6, n_threads=n, **options).fit(X) for n in (1, 2, 3)]
    for model in models[1:]:
        np.testing.assert_array_equal(model.means_, models[0].means_)
        assert model.restarts_ == models[0].restarts_
        assert model.lower_bounds_ == models[0].lower_bounds_


def test_a_start_that_fails_is_reported_and_loses_nothing(groups):
    starts = iter([np.r_[np.zeros(359, int), 1], np.repeat(np.arange(2), 180)])
    model = GaussianMixture(2, reg_covar=0.0, n_init=2, init_params=lambda X, k, random_state: next(starts))
    with pytest.warns(match="1 of 2 starts were left out"):
        model.fit(groups)
    failed, ended = model.restarts_
    assert failed.outcome == "failed"
    assert math.isnan(failed.bound)
    assert ended.bound == model.lower_bound_


@pytest.fixture(scope="module")
def spike():
    """One broad group, and three rows nearly on a line: a component on those has a likelihood without limit."""
    generator = np.random.default_rng(0)
    line = np.array([[5.0, 5.0], [5.1, 5.1], [5.2, 5.2 + 1e-9]])
    return np.r_[generator.standard_normal((200, 2)) * [3.0, 1.0], line]


def starting_at(*labels):
    queue = iter(labels)
    return lambda X, n_components, random_state: next(queue)


def test_a_spurious_optimum_does_not_win(spike):
    few = np.r_[np.zeros(200, int), 1, 1, 1]
    halves = (spike[:, 0] > 0).astype(int)
    options = {"reg_covar": 1e-12, "max_iter": 1000}
    model = GaussianMixture(2, n_init=2, init_params=starting_at(few, halves), **options).fit(spike)
    first, second = model.restarts_
    assert first.spurious == 1
    assert first.bound > second.bound == model.lower_bound_
    assert second.spurious == -1
    assert model.weights_.min() * len(spike) > 4.0
    # With no other choice it is kept, as ever.
    alone = GaussianMixture(2, n_init=2, init_params=starting_at(few, few), **options).fit(spike)
    assert alone.lower_bound_ == first.bound
    assert [restart.spurious for restart in alone.restarts_] == [1, 1]


def test_rows_of_little_weight_do_not_make_a_component_less_spurious(spike):
    few = np.r_[np.zeros(200, int), 1, 1, 1]
    thin = np.repeat(spike, 2, axis=0)
    weight = np.tile([1.0, 1e-9], len(spike))
    model = GaussianMixture(2, reg_covar=1e-12, max_iter=1000, init_params=np.repeat(few, 2))
    assert model.fit(thin, sample_weight=weight).restarts_[0].spurious == 1


def test_a_small_tight_group_of_enough_rows_is_not_spurious(spike):
    generator = np.random.default_rng(1)
    tight = np.r_[spike[:200], [5.0, 5.0] + 1e-4 * generator.standard_normal((12, 2))]
    labels = np.r_[np.zeros(200, int), np.ones(12, int)]
    model = GaussianMixture(2, reg_covar=0.0, init_params=labels).fit(tight)
    assert model.weights_[1] == pytest.approx(12 / 212)
    assert model.restarts_[0].spurious == -1


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_the_race_on_real_data_ends_where_all_starts_would(covariance_type):
    X = datasets.load_iris().data
    raced, whole = (
        GaussianMixture(
            3, covariance_type=covariance_type, n_init=6, random_state=0, init_params="random_from_data", race=race
        ).fit(X)
        for race in (True, False)
    )
    assert raced.lower_bound_ == whole.lower_bound_


class _Source:
    n_threads = None
    rows = ArrayRows(np.zeros((1, 1)))


def _run(bounds, error=None):
    for number, bound in enumerate(bounds, 1):
        yield Step(number, bound, bounds[number - 1] - bounds[max(number - 2, 0)], None)
    if error is not None:
        raise error
    return FitResult(None, bounds[-1], list(bounds), (), len(bounds), True, len(bounds) + 1)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_those_left_behind_by_a_start_that_fails_go_on(n_threads):
    fast = np.linspace(0.0, 1.0, 3 * ROUND)
    slow = np.linspace(-9.0, -8.9999, 5 * ROUND)
    slower = np.linspace(-10.0, -9.9999, 5 * ROUND)
    contenders = [
        Contender(_Source(), lambda: _run(fast, CollapsedComponentError(0)), lambda state: -1),
        Contender(_Source(), lambda: _run(slow), lambda state: -1),
        Contender(_Source(), lambda: _run(slower), lambda state: -1),
    ]
    race(contenders, n_threads, drop=True, in_turn=False)
    assert [each.summary().outcome for each in contenders] == ["failed", "converged", "dropped"]
    assert contenders[2].summary().n_iter == ROUND
    assert winner(contenders).bound == slow[-1]


def test_an_exception_in_one_start_stops_the_others_before_their_next_iteration():
    started, told = threading.Event(), threading.Event()

    class Listener(Contender):
        def stop(self):
            super().stop()
            told.set()

    def breaks():
        assert started.wait(10.0)
        raise MemoryError
        yield

    def goes_on():
        yield Step(1, 0.0, 1.0, None)
        started.set()
        told.wait(1.0)
        for number in range(2, ROUND):
            yield Step(number, 0.0, 1.0, None)

    contenders = [
        make(_Source(), begin, lambda state: -1) for make, begin in ((Contender, breaks), (Listener, goes_on))
    ]
    with pytest.raises(MemoryError):
        race(contenders, 2, drop=False, in_turn=False)
    assert contenders[1].summary().n_iter == 2


@pytest.mark.parametrize("weighted", [False, True])
def test_many_rows_race_on_a_sample(weighted):
    generator = np.random.default_rng(0)
    centres = np.array([[0.0, 0.0], [6.0, 0.0], [0.0, 6.0], [9.0, 9.0]])
    X = (centres[:, None] + generator.standard_normal((4, 40_000, 2))).reshape(-1, 2)
    weight = generator.integers(1, 4, len(X)).astype(float) if weighted else None
    options = {"init_params": "random_from_data", "n_init": 6, "random_state": 3, "max_iter": 300}
    counter = Counter()
    raced = GaussianMixture(4, race=True, **options).fit(X, sample_weight=weight)
    GaussianMixture(4, race=True, **options).fit(X, sample_weight=weight, callback=counter)
    whole = GaussianMixture(4, **options).fit(X, sample_weight=weight)
    assert np.ptp([restart.bound for restart in whole.restarts_]) > 0.05
    assert raced.lower_bound_ == pytest.approx(whole.lower_bound_, abs=2e-3)
    outcomes = [restart.outcome for restart in raced.restarts_]
    assert sorted(outcomes) == ["converged"] * 2 + ["dropped"] * 4
    # From where they ended on the sample it is not far.
    assert raced.n_iter_ <= 3 < whole.n_iter_
    assert counter.counts[outcomes.index("converged")] <= 3
    for n_threads in (1, 3):
        again = GaussianMixture(4, race=True, n_threads=n_threads, **options).fit(X, sample_weight=weight)
        np.testing.assert_array_equal(again.means_, raced.means_)
        assert again.restarts_ == raced.restarts_


def test_race_is_checked():
    with pytest.raises(ValueError, match="race must be True or False, got 'yes'"):
        GaussianMixture(race="yes").fit(np.eye(3))
