"""The only loop in the package that iterates a rule over a source."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

from fastgmm.exceptions import CollapsedComponentError, OutOfRangeError
from fastgmm.kernels.updates.progress import is_settled, rounding
from fastgmm.statistics import SufficientStatistics

#: What is compared with the tolerance: see :func:`remaining`.
STOPPING = ("absolute", "relative", "aitken")

# How many values of the progress, from plain updates in a row, a stopping rule looks at.
_WATCHED = 3


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


class Accelerator(Protocol):
    """A method that extrapolates (:mod:`fastgmm.fitting.acceleration`), as the loop sees it; one object a fit."""

    def propose(self, state: Any, successor: Any, negligible: float) -> Any:
        """Return a state to try in place of `successor`, the update of `state`; None for no better idea.

        `negligible` is what an update may gain where the fit might stop: there only plain updates help, which alone
        can tell.
        """

    def reject(self) -> None:
        """Hear that the state proposed last was worse than the one before, or not valid."""

    def memory(self) -> dict[str, Any]:
        """Return its memory of the fit: values, arrays and states, none of which changes later."""

    def remember(self, memory: dict[str, Any]) -> None:
        """Go on from a memory."""


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


def remaining(stopping: str, watched: Sequence[float]) -> float:
    """Return the number that the stopping rule compares with the tolerance, for the progress of updates in a row.

    * ``"absolute"``: the last change, as scikit-learn does;
    * ``"relative"``: that, divided by 1 + |bound|, as mclust does;
    * ``"aitken"``: how far the limit is, if changes go on shrinking at the rate of the last two (Boehning et al. 1994;
      McLachlan and Krishnan 2008, section 4.9), but no less than the last change. Infinite while they do not shrink.
    """
    if len(watched) < 2:
        return math.inf
    change = abs(watched[-1] - watched[-2])
    if stopping == "relative":
        return change / (1.0 + abs(watched[-1]))
    if stopping == "absolute" or change <= rounding(watched[-1]):
        return change
    before = abs(watched[-2] - watched[-3]) if len(watched) > 2 else 0.0
    return max(change, change * change / (before - change)) if before > change else math.inf


def has_converged(stopping: str, watched: Sequence[float], tol: float) -> bool:
    """Return whether a fit may stop, for the progress of updates in a row: little remains, or rounding hides it."""
    if len(watched) < 2:
        return False
    change = abs(watched[-1] - watched[-2])
    return bool(is_settled(remaining(stopping, watched), change, rounding(watched[-1]), tol))


class _Fit:
    """A fit between two iterations, and the passes that it makes."""

    def __init__(self, rule: Rule, source: Source, accelerator: Accelerator | None, stopping: str, tol: float) -> None:
        self._rule = rule
        self._accelerator = accelerator
        self.n_iter = self.n_passes = 0
        self.converged = False
        self._bounds: list[float] = []
        self._recent: list[float] = []
        self._source, self._stopping, self._tol = source, stopping, tol
        self._rises: list[float] = []
        self._previous = -math.inf
        self._point: Point
        self._safe: tuple[Point, int, list[float]] | None = None

    def begin(self, state: Any, watched: Sequence[float]) -> None:
        """Make the first pass, with a state; `watched` is the progress before it."""
        self._recent = list(watched)
        self._previous = self._recent[-1] if self._recent else -math.inf
        self._point = self._visit(state)

    def resume(self, at: Standing) -> None:
        """Go on from where a fit stood."""
        self._point, self._safe, self.n_iter, self.converged = at.point, at.safe, at.n_iter, at.converged
        self._bounds, self._rises = at.bounds[: at.n_iter], at.rises
        self._recent, self._previous = at.recent, at.previous
        self.n_passes = at.n_passes
        if self._accelerator is not None and at.memory is not None:
            self._accelerator.remember(at.memory)
        else:
            self._accelerator = None

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
            safe=self._safe,
            memory=None if self._accelerator is None else self._accelerator.memory(),
        )

    def update(self) -> Any:
        """Return the update of the state; where it collapses after extrapolations, go back before them, return None."""
        try:
            return self._successor(self._point)
        except (CollapsedComponentError, OutOfRangeError):
            if self._safe is None:
                raise
            self._point, self.n_iter, self._recent = self._safe
            self._previous = self._recent[-1] if self._recent else -math.inf
            del self._bounds[self.n_iter :]
            self._accelerator = self._safe = None
            return None

    def watch(self, successor: Any) -> tuple[float, float]:
        """Count an update, and compare its progress with the tolerance; return the progress and its change."""
        self.n_iter += 1
        progress = self._rule.progress(self._point.state, self._point.statistics, successor)
        change, self._previous = progress - self._previous, progress
        self._recent = [*self._recent, progress][-_WATCHED:]
        self.converged = has_converged(self._stopping, self._recent, self._tol)
        return progress, change

    def move(self, successor: Any) -> Step:
        """Make the pass of the next state: an extrapolation, or the update."""
        following = None
        # The first state may be one that no update leads to, and the first step is unlike those that follow.
        if self._accelerator is not None and not self.converged and self.n_iter > 1:
            following = self._extrapolated(self._accelerator, successor)
        last = self._point.bound
        self._point = self._visit(successor) if following is None else following
        self._bounds.append(self._point.bound)
        # Plain updates gain little between extrapolations: these set the pace.
        rises = [*self._rises, self._point.bound - last]
        self._rises = rises[-1 if self._accelerator is None else -_WATCHED :]
        return Step(self.n_iter, self._point.bound, max(self._rises), self._point.state)

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

    def _extrapolated(self, accelerator: Accelerator, successor: Any) -> Point | None:
        """Return the point of an extrapolated state; None where there is none that is progress."""
        point = self._point
        trial = accelerator.propose(point.state, successor, _negligible(self._stopping, self._tol, point.bound))
        if trial is None:
            return None
        following = self._attempt(trial, point.bound)
        if following is None:
            accelerator.reject()
            return None
        if self._safe is None:
            self._safe = point, self.n_iter - 1, self._recent[:-1]
        self._recent = []
        return following

    def _attempt(self, state: Any, least: float) -> Point | None:
        """Return the point of a pass with an extrapolated state, its update included; None where that is no progress.

        That is, where the bound is below `least`, and where anything overflows or collapses.
        """
        try:
            point = self._visit(state)
            if not least <= point.bound < math.inf:
                return None
            self._successor(point)
        except ValueError:
            return None
        return point

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


def fit_steps(
    rule: Rule,
    source: Source,
    state: Any,
    *,
    tol: float,
    max_iter: int,
    stopping: str = "absolute",
    accelerator: Accelerator | None = None,
    watched: Sequence[float] = (),
    callback: Callable[[int, float, float], None] | None = None,
    keep: Callable[[Standing], None] | None = None,
) -> Generator[Step, None, FitResult]:
    """Iterate from `state`: collect, update, and stop where what `stopping` makes of the progress is below `tol`.

    At most `max_iter` updates, each of one pass over the data, and a pass at the end so that the bound reported is that
    of the state returned. Yields after each update. ``callback(iteration, progress, change)`` is called after each
    update, before its bound is known; `watched` is the progress to compare the first ones with. Scikit-learn counts and
    stops in the same way.

    With an accelerator, an update is an extrapolation where that has a bound at least as high as the state before, and
    otherwise the plain one, which is known already: what was tried in vain costs its pass. Only plain updates are
    compared, so that a fit stops where another of them would gain too little. Where extrapolations led to a component
    that collapses, the fit goes back to where the first one began, and on without.

    ``keep(standing)`` is called before the first iteration and after each. A fit that is given a `Standing` in place of
    a state goes on from there, with the same rule, source and options except `max_iter`, as if it had never stopped.
    """
    fit = _Fit(rule, source, accelerator, stopping, tol)
    if isinstance(state, Standing):
        fit.resume(state)
    else:
        fit.begin(state, watched)
        if keep is not None:
            keep(fit.standing())
    while fit.n_iter < max_iter and not fit.converged:
        successor = fit.update()
        if successor is None:
            continue
        progress, change = fit.watch(successor)
        if callback is not None:
            callback(fit.n_iter, progress, change)
        step = fit.move(successor)
        if keep is not None:
            keep(fit.standing())
        yield step
    return fit.result()


def _negligible(stopping: str, tol: float, bound: float) -> float:
    """Return the gain to be expected of a plain update near the end of a fit."""
    return max(tol * (1.0 + abs(bound)) if stopping == "relative" else tol, rounding(bound))


def fit_loop(rule: Rule, source: Source, state: Any, **options: Any) -> FitResult:
    """Run :func:`fit_steps` to its end; arguments as there."""
    steps = fit_steps(rule, source, state, **options)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: FitResult = end.value
            return result
