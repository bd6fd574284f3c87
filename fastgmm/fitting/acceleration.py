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

# So many small plain steps in a row are enough for any stopping rule to see that they are.
_SMALL = 2
# An extrapolation that promises so many times what is negligible goes on where the plain step would end the fit.
_PROMISING = 10.0
# Where plain updates would need no more steps than this to the end, they are left alone.
_PATIENCE = 3


class Chart(Protocol):
    """Coordinates of a rule's states about a reference state."""

    #: One standard deviation, or one of a logarithm, in each coordinate.
    unit: Array


class Rule(Protocol):
    """An update rule whose states can be extrapolated."""

    def chart(self, state: Any) -> Any:
        """Return coordinates about a state; squared lengths are about what steps gain, in units of the bound."""

    def coordinates(self, chart: Any, state: Any) -> Array:
        """Return a state's coordinates; where they are not finite it has none."""

    def state_at(self, chart: Any, coordinates: Array) -> Any:
        """Return the state at the coordinates."""

    def same_components(self, state: Any, successor: Any) -> bool:
        """Return whether an update left all components in their places."""


class Accelerator(ABC):
    """The base of the methods: coordinates, history, and when not to extrapolate. One object for one fit.

    Parameters
    ----------
    rule : Rule
    n_points : int
        How many points of the past are remembered.
    """

    def __init__(self, rule: Rule, n_points: int) -> None:
        self._rule = rule
        self._n_points = n_points
        self._proposed = False
        # After a failure the next steps are plain, twice as many as after the failure just before.
        self._pause, self._next_pause = 0, 1
        self._caution, self._n_small = 1.0, 0
        self._restart()

    def _restart(self) -> None:
        #: The state that the chart is about.
        self._reference: Any = None
        self._chart: Any = None
        self._points: list[Array] = []
        self._steps: list[Array] = []
        #: Plain steps in a row that led to the newest point.
        self._n_plain = 0

    def propose(self, state: Any, successor: Any, negligible: float) -> Any:
        """Return a state to try in place of `successor`, the update of `state`; None for no better idea."""
        if self._proposed:
            self._next_pause = 1
            self._succeeded()
        try:
            with np.errstate(all="ignore"):
                trial = self._trial(negligible) if self._record(state, successor) else None
        except np.linalg.LinAlgError:
            self._restart()
            trial = None
        self._proposed = trial is not None
        self._n_plain = 0 if self._proposed else self._n_plain + 1
        return trial

    def reject(self) -> None:
        """Hear that the state proposed last was worse than the one before, or not valid."""
        self._proposed = False
        self._n_plain = 1
        self._pause = self._next_pause
        self._next_pause *= 2
        self._failed()

    def memory(self) -> dict[str, Any]:
        """Return its memory of the fit: values, arrays and states, none of which changes later."""
        return {name: value for name, value in vars(self).items() if name not in ("_rule", "_chart")}

    def remember(self, memory: dict[str, Any]) -> None:
        """Go on from a memory of an accelerator of this class, whose state is one of this fit; ValueError for another.

        It may come from a file that anyone made: all else is looked at.
        """
        reference = memory.get("_reference")
        chart = None if reference is None else self._rule.chart(reference)
        if not self._could_have_left(memory, chart):
            raise ValueError(f"this is no memory of {type(self).__name__}")
        vars(self).update(memory)
        self._chart = chart

    def _could_have_left(self, memory: dict[str, Any], chart: Any) -> bool:
        """Return whether a memory holds what this object's would: by name and type, and histories in the chart."""
        own = self.memory()
        types = {name: type(value) for name, value in own.items() if name != "_reference"}
        if memory.keys() != own.keys() or any(type(memory[name]) is not kind for name, kind in types.items()):
            return False
        points, steps = memory["_points"], memory["_steps"]
        return (
            memory["_n_points"] == self._n_points
            and len(points) == len(steps) <= self._n_points
            and all(_is_vector(each, chart) for each in (*points, *steps))
        )

    def _record(self, state: Any, successor: Any) -> bool:
        """Add a point and its step to the history; return whether there is one to extrapolate."""
        if not self._rule.same_components(state, successor):
            self._restart()
            return False
        if self._chart is None:
            self._reference, self._chart = state, self._rule.chart(state)
        point = self._rule.coordinates(self._chart, state)
        step = self._rule.coordinates(self._chart, successor) - point
        if not np.isfinite(point + step).all():
            self._restart()
            return False
        self._points = [*self._points, point][-self._n_points :]
        self._steps = [*self._steps, step][-self._n_points :]
        return True

    def _trial(self, negligible: float) -> Any:
        if self._pause:
            self._pause -= 1
            return None
        point, step = self._points[-1], self._steps[-1]
        target = self._target() if len(self._points) > 1 else None
        if self._n_plain == 0:
            self._n_small = 0
        # A plain step gains between half of this and all of it, to second order.
        gain, least = _inner(step, step), self._caution * negligible
        if gain < least:
            if self._n_plain or target is None or _inner(step, target - point) < _PROMISING * least:
                self._n_small += 1
                if self._n_small <= _SMALL:
                    return None
                # The fit should have stopped: a step gains more than its length says, or much is left to gain.
                self._caution *= 0.25
        elif self._n_plain and len(self._points) > 1:
            rate = gain / _inner(self._steps[-2], self._steps[-2])
            if gain * min(rate, 1.0) ** _PATIENCE < least:
                return None
        if target is None or not np.isfinite(target).all():
            return None
        unit = self._chart.unit
        return self._rule.state_at(self._chart, np.clip(target, point - unit, point + unit))

    @abstractmethod
    def _target(self) -> Array | None:
        """Return the coordinates to try next, None for the plain step; there are two points or more."""

    @abstractmethod
    def _succeeded(self) -> None:
        """Become bolder: the proposal was kept."""

    @abstractmethod
    def _failed(self) -> None:
        """Become more careful: the proposal was rejected."""


class Squarem(Accelerator):
    """SQUAREM with the step length S3 (Varadhan and Roland 2008), monotone.

    From a point, its plain step r and the change v of the step after that, it goes 2 s r + s^2 v with s = |r| / |v|;
    two plain steps follow, of which one steadies the point and both are the next r and v.
    """

    def __init__(self, rule: Rule) -> None:
        super().__init__(rule, 2)
        self._longest = 4.0
        self._length = 1.0

    def _target(self) -> Array | None:
        if self._n_plain < 2:
            return None
        point, step = self._points[0], self._steps[0]
        change = self._steps[1] - step
        self._length = min(float(np.sqrt(_inner(step, step) / _inner(change, change))), self._longest)
        if not self._length > 1.0:
            return None
        return point + 2.0 * self._length * step + self._length**2 * change

    def _succeeded(self) -> None:
        if self._length == self._longest:
            self._longest *= 4.0

    def _failed(self) -> None:
        self._longest = max(2.0, 0.25 * self._length)


class Anderson(Accelerator):
    """Damped Anderson acceleration of type I with restarts, for iterations with a symmetric matrix; monotone.

    Type I (Fang and Saad 2009) takes the Jacobian of the steps, within the span of the differences between the last
    points, from how the steps differ. EM's is symmetric in the coordinates of a chart, so its eigenvalues there tell
    apart what type II (DAAREM, Henderson and Varadhan 2019) does not: where the bound is not concave, the shortest step
    is to be found by going back. Magnitudes of eigenvalues go forward everywhere.

    A step is lengthened by no more than the inverse of the damping, which sinks with every success. After a failure
    the history begins anew.
    """

    _LEAST, _MOST = 0.005, 1.0
    # Differences between points count as new directions where they stand out of the others' span by more than the root.
    _INDEPENDENT = 1e-5

    def __init__(self, rule: Rule) -> None:
        super().__init__(rule, 8)
        self._damping = 0.1
        self._used = 1.0

    def _target(self) -> Array | None:
        point, step = self._points[-1], self._steps[-1]
        moves = np.array(self._points[:-1]) - point
        changes = np.array(self._steps[:-1]) - step
        lengths = np.sqrt(np.einsum("ip,ip->i", moves, moves))[:, None]
        moves, changes = moves / lengths, changes / lengths
        gram = np.einsum("ip,jp->ij", moves, moves)
        responses = np.einsum("ip,jp->ij", moves, changes)
        if not (np.isfinite(gram).all() and np.isfinite(responses).all()):
            return None
        values, vectors = np.linalg.eigh(gram)
        kept = values > self._INDEPENDENT
        basis = (vectors[:, kept] / np.sqrt(values[kept])).T
        shrinkage = -basis @ responses @ basis.T
        rates, axes = np.linalg.eigh(0.5 * (shrinkage + shrinkage.T))
        divisors = np.clip(np.abs(rates), self._damping, 1.0)
        self._used = float(divisors.min())
        along = axes @ ((axes.T @ (basis @ np.einsum("ip,p->i", moves, step))) / divisors)
        return point + step + np.einsum("i,ip->p", basis.T @ along, moves + changes)

    def _succeeded(self) -> None:
        self._damping = max(self._LEAST, 0.3 * self._damping)

    def _failed(self) -> None:
        self._damping = min(self._MOST, 16.0 * self._used)
        self._restart()


def _inner(one: Array, other: Array) -> np.float64:
    # Not by BLAS, whose bits may depend on its threads.
    product: np.float64 = np.einsum("p,p->", one, other)
    return product


METHODS = {"squarem": Squarem, "anderson": Anderson}


def _is_vector(value: Any, chart: Any) -> bool:
    """Return whether a value is an array of coordinates in the chart."""
    is_array = isinstance(value, np.ndarray) and value.dtype == np.float64
    return is_array and chart is not None and value.shape == chart.unit.shape


def accelerator(method: str | None, rule: Rule) -> Accelerator | None:
    """Return the object for one fit by the method's name in METHODS; None for None."""
    return None if method is None else METHODS[method](rule)
