"""A fit that tries extrapolated states in place of plain updates, and goes back where they led it astray."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Protocol

from fastgmm.exceptions import CollapsedComponentError, OutOfRangeError
from fastgmm.fitting.plain import WATCHED, Fit, Point, Rule, Source, Standing, Step
from fastgmm.fitting.stopping import negligible


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


class ExtrapolatedFit(Fit):
    """A fit whose updates are extrapolations where these are progress.

    An extrapolation is kept where it has a bound at least as high as the state before; otherwise the update is the
    plain one, which is known already: what was tried in vain costs its pass. Only plain updates are compared with the
    tolerance. Where extrapolations led to a component that collapses, the fit goes back to where the first one began,
    and on without.
    """

    def __init__(self, rule: Rule, source: Source, stopping: str, tol: float, accelerator: Accelerator) -> None:
        super().__init__(rule, source, stopping, tol)
        #: None once it has led to a collapse.
        self._accelerator: Accelerator | None = accelerator
        # Plain updates gain little between extrapolations: these set the pace.
        self._n_rises = WATCHED
        #: Where the first extrapolation began: the point, its number of iterations, its progress.
        self._safe: tuple[Point, int, list[float]] | None = None

    def resume(self, at: Standing) -> None:
        """Go on from where a fit stood."""
        super().resume(at)
        self._safe = at.safe
        if self._accelerator is not None and at.memory is not None:
            self._accelerator.remember(at.memory)
        else:
            self._give_up()

    def _give_up(self) -> None:
        self._accelerator = None
        self._n_rises = 1

    def standing(self) -> Standing:
        """Return where the fit stands."""
        memory = None if self._accelerator is None else self._accelerator.memory()
        return replace(super().standing(), safe=self._safe, memory=memory)

    def update(self) -> Any:
        """Return the update of the state; where it collapses after extrapolations, go back before them, return None."""
        try:
            return super().update()
        except (CollapsedComponentError, OutOfRangeError):
            if self._safe is None:
                raise
            self._point, self.n_iter, self._recent = self._safe
            self._previous = self._recent[-1] if self._recent else -math.inf
            del self._bounds[self.n_iter :]
            self._safe = None
            self._give_up()
            return None

    def move(self, successor: Any) -> Step:
        """Make the pass of the next state: an extrapolation, or the update."""
        following = None
        # The first state may be one that no update leads to, and the first step is unlike those that follow.
        if self._accelerator is not None and not self.converged and self.n_iter > 1:
            following = self._extrapolated(self._accelerator, successor)
        return super().move(successor) if following is None else self._reach(following)

    def _extrapolated(self, accelerator: Accelerator, successor: Any) -> Point | None:
        """Return the point of an extrapolated state; None where there is none that is progress."""
        point = self._point
        trial = accelerator.propose(point.state, successor, negligible(self._stopping, self._tol, point.bound))
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
