"""The only loop in the package that iterates a rule over a source."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from fastgmm.statistics import SufficientStatistics


class Rule(Protocol):
    """What the loop and the seeding need of an update rule."""

    #: Whether seeded components that are too thin for a covariance need pseudo-rows.
    smooths_seeds: bool

    def density(self, state: Any) -> Any:
        """Return the density of a state."""

    def update(self, statistics: SufficientStatistics, final: bool = False) -> Any:
        """Return the next state; its `trusted` is False where moments about its `means` are needed first."""

    def spurious(self, state: Any, n_samples: float) -> int:
        """Return a component whose bound has no limit, for it holds too few of the rows, or -1."""

    def bound(self, state: Any, statistics: SufficientStatistics) -> float:
        """Return the bound of the state that made the statistics."""

    def progress(self, state: Any, statistics: SufficientStatistics, successor: Any) -> float:
        """Return the bound that the stopping rule watches, for an update from `state` to `successor`."""


class Source(Protocol):
    """What the loop needs of a source of rows."""

    def collect(self, density: Any, origin: Any = None) -> SufficientStatistics:
        """Return the statistics of all rows under the density."""


@dataclass(frozen=True, eq=False)
class FitResult:
    """Where a fit ended: the state, its bound, and the bound after each update (`bounds[-1] == bound`).

    `previous_bound` is the progress of the last update: what a fit that goes on from here compares with.
    """

    state: Any
    bound: float
    bounds: list[float]
    previous_bound: float
    n_iter: int
    converged: bool


class Step(NamedTuple):
    """One iteration: its number from 1, the bound of the state it led to, by how much that rose, and the state."""

    n_iter: int
    bound: float
    change: float
    state: Any


def updated(rule: Rule, collect: Callable[..., SufficientStatistics], statistics: SufficientStatistics) -> Any:
    """Return the rule's next state, collecting once more about its means where the moments lost their digits."""
    state = rule.update(statistics)
    if not state.trusted:
        state = rule.update(collect(origin=state.means), final=True)
    return state


def fit_steps(
    rule: Rule,
    source: Source,
    state: Any,
    *,
    tol: float,
    max_iter: int,
    previous_bound: float = -math.inf,
    callback: Callable[[int, float, float], None] | None = None,
) -> Generator[Step, None, FitResult]:
    """Iterate from `state`: collect, update, and stop where the rule's progress rose by less than `tol`.

    At most `max_iter` updates, each of one pass over the data, and a pass at the end so that the bound reported is that
    of the state returned. Yields after each update. ``callback(iteration, progress, change)`` is called after each
    update, before its bound is known; `previous_bound` is the progress to compare the first one with. Scikit-learn
    counts and stops in the same way.
    """
    bounds: list[float] = []
    converged = False
    n_iter = 0
    statistics = source.collect(rule.density(state))
    bound = rule.bound(state, statistics)
    while n_iter < max_iter and not converged:
        density = rule.density(state)
        successor = updated(rule, lambda origin, density=density: source.collect(density, origin), statistics)
        n_iter += 1
        progress = rule.progress(state, statistics, successor)
        change = progress - previous_bound
        converged = abs(change) < tol
        if callback is not None:
            callback(n_iter, progress, change)
        previous_bound = progress
        state = successor
        statistics = source.collect(rule.density(state))
        last, bound = bound, rule.bound(state, statistics)
        bounds.append(bound)
        yield Step(n_iter, bound, bound - last, state)
    return FitResult(state, bound, bounds, previous_bound, n_iter, converged)


def fit_loop(rule: Rule, source: Source, state: Any, **options: Any) -> FitResult:
    """Run :func:`fit_steps` to its end; arguments as there."""
    steps = fit_steps(rule, source, state, **options)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: FitResult = end.value
            return result
