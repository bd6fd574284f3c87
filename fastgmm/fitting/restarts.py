"""Several starts of one fit: they race, and those that cannot win are given up early.

All starts advance in rounds of a few iterations. After each round the start of highest bound leads, and a start is
dropped where, at the pace of its last iteration, it would need more than so many further ones to draw level. Decisions
fall between rounds alone, from bounds that are the same on any number of threads: so is the race. Of many rows a sample
decides which two starts go on, from where they ended there.

The likelihood of a mixture has no highest value: a component on a few rows that lie almost in a plane can be made as
narrow as one likes, and wins over sensible fits (Day 1969; McLachlan and Peel 2000, 3.10). So can one on a value that
rows repeat. A start that ends so counts as spurious, and wins only where all do.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

from fastgmm.exceptions import CollapsedComponentError, OutOfRangeError
from fastgmm.fitting.plain import FitResult, Standing, Step
from fastgmm.sources import Source

#: Iterations of a round.
ROUND = 10
#: Iterations at its last pace in which a start must be able to catch up.
PATIENCE = 300
#: Fits at once that share each look at rows that are read again.
READERS = 8
#: Starts that go on from a race on a sample of the rows to one on all of them.
FINALISTS = 2

Fit = Generator[Step, None, FitResult]


class Restart(NamedTuple):
    """How one start of a fit ended.

    `bound` is that of its last iteration, NaN where it failed, and of a sample of the rows where it went no further;
    `outcome` is why it stopped: the reason of a fit ("converged" or "max_iter"), "dropped" where it lagged too far
    behind another, or "failed". `spurious` is a component that holds too few rows for its narrowness, or rows of one
    value, or -1.
    """

    bound: float
    n_iter: int
    outcome: str
    spurious: int = -1


@dataclass(frozen=True, eq=False)
class Kept:
    """Where one start stood after `n_steps` iterations, those that were undone included."""

    n_steps: int
    standing: Standing
    findings: tuple[bool, float]


class Record(NamedTuple):
    """All that one start needs to go on in another process.

    `kept` is None where it had not begun; `goal` is how many iterations it had been allowed.
    """

    goal: int
    kept: Kept | None
    error: ValueError | None


class Contender:
    """One start: the fit as it goes on, what it reached, and how it ended.

    `source` is its own; `begin` returns the fit, a generator of its iterations, and making the start belongs to it.
    `suspect` says which component of a state is spurious, or -1. `reached`, if given, is called after each iteration,
    once `record` holds it; then `begin` is given ``keep``, for the loop.
    """

    def __init__(
        self,
        source: Source,
        begin: Callable[..., Fit],
        suspect: Callable[[Any], int],
        reached: Callable[[], None] | None = None,
    ) -> None:
        self._source = source
        self._begin = begin
        self._suspect = suspect
        self._suspected: tuple[Any, int] = None, -1
        self._reached = reached
        self._fit: Fit | None = None
        self._last: Step | None = None
        self._stopped = False
        self._n_steps = self._goal = 0
        self._kept: Kept | None = None
        self.result: FitResult | None = None
        self.error: ValueError | None = None

    @property
    def ended(self) -> bool:
        """Whether the fit came to its end, or failed."""
        return self.result is not None or self.error is not None

    @property
    def bound(self) -> float:
        """The bound reached by sensible components; -inf where there is none."""
        if self.result is not None:
            return self.result.bound if self.spurious < 0 else -math.inf
        if self.error is not None or self._last is None or self._spurious(self._last.state) >= 0:
            return -math.inf
        return self._last.bound

    @property
    def spurious(self) -> int:
        """The spurious component of the result, or -1."""
        return -1 if self.result is None else self._spurious(self.result.state)

    def _spurious(self, state: Any) -> int:
        # Once for a state: it may take a pass.
        if self._suspected[0] is not state:
            self._suspected = state, self._suspect(state)
        return self._suspected[1]

    @property
    def is_under_way(self) -> bool:
        """Whether it has not made all iterations that it was allowed."""
        return not self.ended and self._n_steps < self._goal

    def allow(self, n_iterations: int) -> None:
        """Let it go on for so many iterations; if some are left from before, for those alone."""
        if not self.is_under_way:
            self._goal = self._n_steps + n_iterations

    def advance(self, n_threads: int | None) -> None:
        """Make the iterations that it is allowed."""
        self._source.n_threads = n_threads
        try:
            if self._fit is None:
                self._fit = self._begin() if self._reached is None else self._begin(keep=self._keep)
            with self._source.rows.taking_part():
                while self._n_steps < self._goal and not self._stopped:
                    self._last = next(self._fit)
                    self._n_steps += 1
        except StopIteration as end:
            if math.isfinite(end.value.bound):
                self.result = end.value
            else:
                self.error = OutOfRangeError()
        except (CollapsedComponentError, OutOfRangeError) as error:
            self.error = error

    def _keep(self, standing: Standing) -> None:
        # At once, for others read it at any time; `_n_steps` counts this iteration only later.
        n_steps = 0 if self._kept is None else self._kept.n_steps + 1
        self._kept = Kept(n_steps, standing, self._source.findings)
        if self._reached is not None:
            self._reached()

    @property
    def record(self) -> Record:
        """Where it stands; it may be asked for while the fit goes on."""
        # The error first: without it the last iteration would only fail again.
        error = self.error
        return Record(self._goal, self._kept, error)

    def restore(self, record: Record) -> None:
        """Stand where another contender with the same start did; its `begin` must go on from the standing there."""
        self._goal, self._kept, self.error = record
        if self._kept is not None:
            self._n_steps, self._last = self._kept.n_steps, self._kept.standing.step
            self._source.findings = self._kept.findings

    def lags(self, leading: float) -> bool:
        """Return whether the gap to the leading bound is too wide to be closed."""
        return self._last is not None and leading - self._last.bound > PATIENCE * max(self._last.change, 0.0)

    def rank(self) -> tuple[bool, float]:
        """Return the rank of a contender at its end: sensible first, then the bound."""
        return (False, -math.inf) if self.result is None else (self.spurious < 0, self.result.bound)

    def leave(self) -> None:
        """Take no further part: a contender that comes to an end in a first race alone."""
        self.result = None

    def stop(self) -> None:
        """Stop before the next iteration, whichever thread it is in."""
        self._stopped = True

    def summary(self) -> Restart:
        """Return how it ended."""
        n_iter, bound = (0, math.nan) if self._last is None else self._last[:2]
        if self.error is not None:
            return Restart(math.nan, n_iter, "failed")
        if self.result is None:
            return Restart(bound, n_iter, "dropped")
        return Restart(self.result.bound, self.result.n_iter, self.result.stop_reason, self.spurious)


def race(
    contenders: Sequence[Contender], n_threads: int, *, drop: bool, in_turn: bool, share_looks: bool = False
) -> None:
    """Run all contenders to their ends; with `drop`, leave out those that lag behind, as long as they do.

    As long as there are as many as threads, each has a thread of its own, unless `in_turn` forbids it: then they run
    one after the other, or where they may be dropped, round by round. With `share_looks`, those whose rows are looked
    at together run at once, however many there are, on all threads by turns. Where a leader fails, those that it had
    left behind go on. Where an exception ends the race, an interrupt or that of one start, the others stop before their
    next iteration.
    """
    n_iterations = sys.maxsize if in_turn and not drop else ROUND
    while running := _running(contenders, drop):
        for each in running:
            each.allow(n_iterations)
        if share_looks and len(running) > 1:
            _advance_together(running, READERS, n_threads)
        elif n_threads == 1 or len(running) < n_threads or in_turn:
            for each in running:
                each.advance(n_threads)
        else:
            _advance_together(running, n_threads, 1)


def _advance_together(contenders: Sequence[Contender], n_at_once: int, n_threads: int) -> None:
    with ThreadPoolExecutor(min(n_at_once, len(contenders))) as pool:
        try:
            list(pool.map(lambda contender: contender.advance(n_threads), contenders))
        except BaseException:
            # Before the pool is left, which waits for its threads.
            for each in contenders:
                each.stop()
            raise


def finalists(contenders: dict[int, Contender]) -> dict[int, Any]:
    """Return the states that the best of a race on a sample ended in, by their numbers; the others are left out.

    None, where no contender came to its end.
    """
    order = sorted(contenders, key=lambda number: contenders[number].rank(), reverse=True)
    states: dict[int, Any] = {}
    for number in order:
        result = contenders[number].result
        if result is not None and len(states) < FINALISTS:
            states[number] = result.state
        contenders[number].leave()
    return dict(sorted(states.items()))


def _running(contenders: Sequence[Contender], drop: bool) -> list[Contender]:
    """Return who goes on: those that a round was broken off for, or all, or with `drop` those that do not lag."""
    if behind := [each for each in contenders if each.is_under_way]:
        return behind
    leading = max(each.bound for each in contenders) if drop else -math.inf
    return [each for each in contenders if not (each.ended or (drop and each.lags(leading)))]


def winner(contenders: Sequence[Contender]) -> FitResult | None:
    """Return the result of highest bound, the first of equals: one without spurious components if there is one.

    None where no contender came to its end.
    """
    return max(contenders, key=Contender.rank).result
