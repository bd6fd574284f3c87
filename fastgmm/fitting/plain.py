"""A fit by plain updates: where it stands, the passes that it makes, where it ended."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

from fastgmm.fitting.stopping import has_converged
from fastgmm.statistics import SufficientStatistics

# How many values of the progress, from plain updates in a row, a stopping rule looks at.
WATCHED = 3


class Rule(Protocol):
    """An update rule, as the loop and the seeding see it."""

    family: Any
    #: Whether seeded components that are too thin for a covariance need pseudo-rows.
    smooths_seeds: bool

    def density(self, state: Any) -> Any:
        """Return the density of a state."""

    def update(self, statistics: SufficientStatistics, density: Any = None, final: bool = False) -> Any:
        """Return the next state after statistics that `density` made, if any did.

        Its `trusted` is False where moments about its `means` are needed first.
        """

    def order(self, statistics: SufficientStatistics) -> Any:
        """Return which component of the statistics each component of their update is, (K,); None for the same."""

    def spurious(self, state: Any, n_samples: float) -> int:
        """Return a component whose bound has no limit, for it holds too few of the rows, or -1."""

    def bound(self, state: Any, statistics: SufficientStatistics) -> float:
        """Return the bound of the state that made the statistics."""

    def progress(self, state: Any, statistics: SufficientStatistics, successor: Any) -> float:
        """Return the bound that the stopping rule watches, for an update from `state` to `successor`."""


class Source(Protocol):
    """A source of rows, as the loop sees it."""

    def collect(self, density: Any, origin: Any = None) -> SufficientStatistics:
        """Return the statistics of all rows under the density."""


@dataclass(frozen=True, eq=False)
class FitResult:
    """Where a fit ended: the state, its bound, and the bound after each update (`bounds[-1] == bound`).

    `watched` is the progress of the last plain updates in a row: what a fit that goes on from here compares with.
    `n_passes` counts the passes over the data, those of extrapolations that were not kept included; 0 where the state
    was given rather than fitted. `statistics` are those of all rows under the state, None where it was given.
    `spurious` are its spurious components (``fastgmm.spurious``), where somebody looked for them.
    """

    state: Any
    bound: float
    bounds: list[float]
    watched: tuple[float, ...]
    n_iter: int
    converged: bool
    n_passes: int
    statistics: SufficientStatistics | None = None
    spurious: Sequence[Any] = ()

    @property
    def stop_reason(self) -> str:
        """Why the fit ended: "converged" or "max_iter"; "given" where there was none."""
        return "converged" if self.converged else "max_iter" if self.n_passes else "given"


@dataclass(frozen=True, eq=False)
class Updated(FitResult):
    """Where an update led to that somebody else collected the statistics for; the bound is that of the state before."""

    @property
    def stop_reason(self) -> str:
        """Why there is no more: "update", for nobody has looked whether another one would change much."""
        return "update"


@dataclass(eq=False)
class Point:
    """A state that a pass was made with; `successor` is its update, None until it is needed."""

    state: Any
    statistics: SufficientStatistics
    bound: float
    successor: Any = None


@dataclass(frozen=True, eq=False)
class Standing:
    """Where a fit stands between two iterations: all that it needs to go on with the same bits.

    `bounds` goes on being written; the first `n_iter` count. `safe` is where the fit goes back to if extrapolations
    lead to a collapse: a point, its number of iterations and its progress. `memory` is the accelerator's, or None.
    """

    point: Point
    n_iter: int
    bounds: list[float]
    rises: list[float]
    recent: list[float]
    previous: float
    converged: bool
    n_passes: int
    safe: tuple[Point, int, list[float]] | None = None
    memory: dict[str, Any] | None = None

    @property
    def step(self) -> Step | None:
        """The last iteration; None where there was none."""
        return Step(self.n_iter, self.point.bound, max(self.rises), self.point.state) if self.rises else None


class Step(NamedTuple):
    """One iteration: its number from 1, the bound of the state it led to, by how much that rose, and the state.

    With an accelerator the rise is the largest of the last three.
    """

    n_iter: int
    bound: float
    change: float
    state: Any


def updated(
    rule: Rule,
    collect: Callable[..., SufficientStatistics],
    statistics: SufficientStatistics,
    density: Any = None,
) -> Any:
    """Return the rule's next state, collecting once more about its means where the moments lost their digits.

    `density` made the statistics, where it is of the rule's family.
    """
    state = rule.update(statistics, density)
    if not state.trusted:
        state = rule.update(collect(origin=state.means), density, final=True)
    return state


class Fit:
    """A fit between two iterations, and the passes that it makes: plain updates, one after the other.

    Others change single steps: :class:`~fastgmm.fitting.extrapolation.ExtrapolatedFit`.
    """

    def __init__(self, rule: Rule, source: Source, stopping: str, tol: float) -> None:
        self._rule, self._source, self._stopping, self._tol = rule, source, stopping, tol
        self.n_iter = self.n_passes = 0
        self.converged = False
        self._bounds: list[float] = []
        self._recent: list[float] = []
        self._rises: list[float] = []
        # How many of them are kept: a step's is their largest.
        self._n_rises = 1
        self._previous = -math.inf
        self._point: Point

    def begin(self, state: Any, watched: Sequence[float]) -> None:
        """Make the first pass, with a state; `watched` is the progress before it."""
        self._recent = list(watched)
        self._previous = self._recent[-1] if self._recent else -math.inf
        self._point = self._visit(state)

    def resume(self, at: Standing) -> None:
        """Go on from where a fit stood."""
        self._point, self.n_iter, self.converged = at.point, at.n_iter, at.converged
        self._bounds, self._rises = at.bounds[: at.n_iter], at.rises
        self._recent, self._previous = at.recent, at.previous
        self.n_passes = at.n_passes

    def standing(self) -> Standing:
        """Return where the fit stands."""
        return Standing(
            # A copy, for the point is given its successor by passes that belong to the next iteration.
            point=replace(self._point),
            n_iter=self.n_iter,
            bounds=self._bounds,
            rises=self._rises,
            recent=self._recent,
            previous=self._previous,
            converged=self.converged,
            n_passes=self.n_passes,
        )

    def update(self) -> Any:
        """Return the update of the state; None where the fit had to go back instead."""
        return self._successor(self._point)

    def watch(self, successor: Any) -> tuple[float, float]:
        """Count an update, and compare its progress with the tolerance; return the progress and its change."""
        self.n_iter += 1
        progress = self._rule.progress(self._point.state, self._point.statistics, successor)
        change, self._previous = progress - self._previous, progress
        self._recent = [*self._recent, progress][-WATCHED:]
        self.converged = has_converged(self._stopping, self._recent, self._tol)
        return progress, change

    def move(self, successor: Any) -> Step:
        """Make the pass of the next state, the update."""
        return self._reach(self._visit(successor))

    def _reach(self, point: Point) -> Step:
        """Go on from a point: the next state's."""
        self._rises = [*self._rises, point.bound - self._point.bound][-self._n_rises :]
        self._point = point
        self._bounds.append(point.bound)
        return Step(self.n_iter, point.bound, max(self._rises), point.state)

    def result(self) -> FitResult:
        """Return where the fit ended."""
        point = self._point
        return FitResult(
            state=point.state,
            bound=point.bound,
            bounds=self._bounds,
            watched=tuple(self._recent),
            n_iter=self.n_iter,
            converged=self.converged,
            n_passes=self.n_passes,
            statistics=point.statistics,
        )

    def _visit(self, state: Any) -> Point:
        """Return the point of a pass with a state."""
        statistics = self._collect(self._rule.density(state))
        return Point(state, statistics, self._rule.bound(state, statistics))

    def _successor(self, point: Point) -> Any:
        """Return the update of a point's state, made once."""
        if point.successor is None:
            density = self._rule.density(point.state)
            collect = functools.partial(self._collect, density)
            point.successor = updated(self._rule, collect, point.statistics, density)
        return point.successor

    def _collect(self, density: Any, origin: Any = None) -> SufficientStatistics:
        self.n_passes += 1
        return self._source.collect(density, origin)
