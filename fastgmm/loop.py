"""The only loop in the package that iterates a rule over a source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from fastgmm.statistics import SufficientStatistics


class Rule(Protocol):
    """What the loop needs of an update rule."""

    def density(self, state: Any) -> Any:
        """Return the density of a state."""

    def update(self, statistics: SufficientStatistics, final: bool = False) -> Any:
        """Return the next state; its `trusted` is False where moments about its `means` are needed first."""

    def bound(self, state: Any, statistics: SufficientStatistics) -> float:
        """Return the bound of the state that made the statistics."""


class Source(Protocol):
    """What the loop needs of a source of rows."""

    def collect(self, density: Any, origin: Any = None) -> SufficientStatistics:
        """Return the statistics of all rows under the density."""


@dataclass(frozen=True, eq=False)
class FitResult:
    """Where a fit ended: the state, its bound, and the bound after each update (`bounds[-1] == bound`)."""

    state: Any
    bound: float
    bounds: list[float]
    n_iter: int
    converged: bool


def updated(rule: Rule, collect: Callable[..., SufficientStatistics], statistics: SufficientStatistics) -> Any:
    """Return the rule's next state, collecting once more about its means where the moments lost their digits."""
    state = rule.update(statistics)
    if not state.trusted:
        state = rule.update(collect(origin=state.means), final=True)
    return state


def fit_loop(
    rule: Rule,
    source: Source,
    state: Any,
    *,
    tol: float,
    max_iter: int,
    callback: Callable[[int, float, float], None] | None = None,
) -> FitResult:
    """Iterate from `state` until an update changes the bound by less than `tol`, at most `max_iter` times.

    One pass over the data an iteration, and one before the first; the bound reported is that of the state returned.
    ``callback(iteration, bound, change)`` is called after each.
    """
    statistics = source.collect(rule.density(state))
    bound = rule.bound(state, statistics)
    bounds: list[float] = []
    for iteration in range(1, max_iter + 1):
        density = rule.density(state)
        state = updated(rule, lambda origin, density=density: source.collect(density, origin), statistics)
        statistics = source.collect(rule.density(state))
        previous, bound = bound, rule.bound(state, statistics)
        bounds.append(bound)
        if callback is not None:
            callback(iteration, bound, bound - previous)
        if abs(bound - previous) < tol:
            return FitResult(state, bound, bounds, iteration, True)
    return FitResult(state, bound, bounds, max_iter, False)
