"""Extrapolation of EM and variational Bayes: fewer passes over the data where components overlap.

One pass at a point tells its bound and its update at once, so a point that is tried costs one pass, whether it is kept
or not. No method here asks for updates of its own, as the textbook forms do: each looks at the points and updates that
the loop has made anyway, and proposes the next point.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Protocol

import numpy as np

from fastgmm.statistics import Array


class Chart(Protocol):
    """What is needed of a rule's coordinates about a reference state."""

    #: One standard deviation, or one of a logarithm, in each coordinate.
    unit: Array


class Rule(Protocol):
    """What is needed of an update rule whose states can be extrapolated."""

    def chart(self, state: Any) -> Any:
        """Return coordinates about a state; squared lengths are about what steps gain, in units of the bound."""

    def coordinates(self, chart: Any, state: Any) -> Array:
        """Return a state's coordinates; where they are not finite it has none."""

    def state_at(self, chart: Any, coordinates: Array) -> Any:
        """Return the state at the coordinates."""

    def same_components(self, state: Any, successor: Any) -> bool:
        """Return whether an update left all components in their places."""


class Accelerator(ABC):
    """What the methods share: coordinates, history, and when not to extrapolate. One object for one fit.

    Parameters
    ----------
    rule : Rule
    n_points : int
        How many points of the past are remembered.
    """

    #: Where plain updates would need no more than so many steps to the end, they are left alone.
    patience = 3

    def __init__(self, rule: Rule, n_points: int) -> None:
        self._rule = rule
        self._n_points = n_points
        # After a failure the next steps are plain, twice as many as after the failure before.
        self._pause, self._next_pause = 0, 1
        self._caution = 1.0
        self._restart()

    def _restart(self) -> None:
        self._chart: Any = None
        self._points: list[Array] = []
        self._steps: list[Array] = []
        self._gains: list[float] = []
        #: Plain steps in a row that led to the newest point.
        self._n_plain = 0

    def propose(self, state: Any, successor: Any, negligible: float) -> Any:
        """Return a state to try in place of `successor`, the update of `state`; None for no better idea."""
        if self._n_plain == 0:
            # The last proposal was kept.
            self._next_pause = 1
        with np.errstate(all="ignore"):
            trial = self._trial(negligible) if self._record(state, successor) else None
        if trial is None:
            self._n_plain += 1
        else:
            self._n_plain = 0
        return trial

    def reject(self) -> None:
        """Hear that the state proposed last was worse than the one before, or not valid."""
        # Its successor is the plain one.
        self._n_plain = 1
        self._pause = self._next_pause
        self._next_pause *= 2
        self._failed()

    def _record(self, state: Any, successor: Any) -> bool:
        """Add a point and its step to the history; return whether there is one to extrapolate."""
        if not self._rule.same_components(state, successor):
            self._restart()
            return False
        try:
            if self._chart is None:
                self._chart = self._rule.chart(state)
            point = self._rule.coordinates(self._chart, state)
            step = self._rule.coordinates(self._chart, successor) - point
        except np.linalg.LinAlgError:
            self._restart()
            return False
        if not (np.isfinite(point).all() and np.isfinite(step).all()):
            self._restart()
            return False
        self._points = [*self._points, point][-self._n_points :]
        self._steps = [*self._steps, step][-self._n_points :]
        self._gains = [*self._gains, _inner(step, step)][-2:]
        return True

    def _trial(self, negligible: float) -> Any:
        if self._pause:
            self._pause -= 1
            return None
        gain = self._gains[-1]
        if gain < self._caution * negligible:
            if self._n_plain < 2:
                return None
            # Plain steps gain more than their length says, or too little of what is left.
            self._caution *= 0.25
        elif self._n_plain and len(self._gains) > 1 and gain < self._gains[0]:
            rate = gain / self._gains[0]
            if gain * rate**self.patience < self._caution * negligible:
                return None
        target = self._target()
        if target is None or not np.isfinite(target).all():
            return None
        newest, unit = self._points[-1], self._chart.unit
        return self._rule.state_at(self._chart, np.clip(target, newest - unit, newest + unit))

    @abstractmethod
    def _target(self) -> Array | None:
        """Return the coordinates to try next, None for the plain step."""

    @abstractmethod
    def _failed(self) -> None:
        """Become more careful."""


class Squarem(Accelerator):
    """SQUAREM with the step length S3 (Varadhan and Roland 2008), monotone.

    From a point, its plain step r and the change v of the step after that, it goes 2 s r + s^2 v, s = |r| / |v|; then
    two plain steps follow.
    """

    def __init__(self, rule: Rule) -> None:
        super().__init__(rule, 2)
        self._longest = 4.0
        self._step = 1.0

    def _target(self) -> Array | None:
        if self._n_plain < 2 or len(self._points) < 2:
            return None
        point, step = self._points[0], self._steps[0]
        change = self._steps[1] - step
        if self._step == self._longest:
            self._longest *= 4.0
        self._step = min(np.sqrt(_inner(step, step) / _inner(change, change)), self._longest)
        if not self._step > 1.0:
            return None
        return point + 2.0 * self._step * step + self._step**2 * change

    def _failed(self) -> None:
        self._longest = max(2.0, 0.25 * self._step)


class Anderson(Accelerator):
    """Damped Anderson acceleration with restarts (after Henderson and Varadhan 2019), monotone.

    The next point is the combination of the last points, each with its step, for which the combined step is shortest;
    the damping keeps the combination near the newest point, and is less after every success.
    """

    _LEAST, _MOST = 1e-8, 1.0

    def __init__(self, rule: Rule) -> None:
        super().__init__(rule, 11)
        self._damping = 1e-2

    def _target(self) -> Array | None:
        if len(self._points) < 2:
            return None
        point, step = self._points[-1], self._steps[-1]
        points = np.array(self._points[:-1]) - point
        changes = np.array(self._steps[:-1]) - step
        lengths = np.sqrt(np.einsum("ip,ip->i", changes, changes))
        directions = changes / lengths[:, None]
        gram = np.einsum("ip,jp->ij", directions, directions)
        if not np.isfinite(gram).all():
            return None
        values, vectors = np.linalg.eigh(gram)
        wanted = vectors.T @ np.einsum("ip,p->i", directions, step)
        share = -(vectors @ (wanted / (np.maximum(values, 0.0) + self._damping))) / lengths
        self._damping = max(self._LEAST, 0.3 * self._damping)
        return point + step + np.einsum("i,ip->p", share, points + changes)

    def _failed(self) -> None:
        self._damping = min(self._MOST, 100.0 * self._damping)
        self._restart()


def _inner(one: Array, other: Array) -> float:
    # Not a product of BLAS, whose bits may depend on its threads.
    return float(np.einsum("p,p->", one, other))


METHODS = {"squarem": Squarem, "anderson": Anderson}


def accelerator(method: str | None, rule: Rule) -> Accelerator | None:
    """Return the object for one fit by the method's name in METHODS; None for None."""
    return None if method is None else METHODS[method](rule)
