"""One look at rows for several fits at once, where rows are read anew in every pass.

Fits run in threads of their own. Each asks for its next look; once all fits that run have asked, one look serves them
all: at a table, batch by batch, or at partitions, each with all tasks in turn. Who is late is not waited for longer
than a look takes. What a fit sees is what it would see alone, and so is every bit of its answer.
"""

from __future__ import annotations

import contextlib
import copy
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from fastgmm.rows import Rows
from fastgmm.sources.partitions import on_threads
from fastgmm.support.typing import Self

T = TypeVar("T")
U = TypeVar("U")

# Seconds that the first look waits for the others, and that any waits at least and at most.
_FIRST, _SHORTEST, _LONGEST = 1.0, 0.005, 60.0


class _Look:
    """One look for several fits, which are counted until it begins."""

    def __init__(self) -> None:
        self.n_fits = 0
        self.begun = False


LookType = TypeVar("LookType", bound=_Look)


class _Meeting(ABC, Generic[LookType]):
    """Where fits meet for their next look."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._n_running = 0
        self._thread = threading.local()
        self._patience = _FIRST
        self._next = self._blank()

    @abstractmethod
    def _blank(self) -> LookType:
        """Return a look that nobody has asked for yet."""

    @contextlib.contextmanager
    def taking_part(self, does: bool = True) -> Iterator[None]:
        """Count a fit, which runs in this thread, among those that others wait for, or where it does not, no more."""
        before = getattr(self._thread, "takes_part", False)
        self._count(does)
        try:
            yield
        finally:
            self._count(before)

    def _count(self, does: bool) -> None:
        with self._changed:
            self._n_running += does - getattr(self._thread, "takes_part", False)
            self._thread.takes_part = does
            self._changed.notify_all()

    def _join(self, ask: Callable[[LookType], None]) -> tuple[LookType, bool]:
        """Return the look that a fit has asked for once it is to begin, and whether this fit is to begin it."""
        with self._changed:
            look = self._next
            ask(look)
            look.n_fits += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: look.begun or look.n_fits >= self._n_running, self._patience)
            begins = not look.begun
            if begins:
                look.begun = True
                self._next = self._blank()
                self._changed.notify_all()
        return look, begins

    def _ended(self, seconds: float) -> None:
        self._patience = min(max(seconds, _SHORTEST), _LONGEST)


class _TableLook(_Look, Generic[T]):
    """A look at a table for several readers, in step: all are done with a batch before the next one is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()
        self._n_done = 0
        self._number = -1
        self._batch: T | None = None
        self._error: BaseException | None = None

    def begin(self, batches: Callable[[], Iterator[T]], ended: Callable[[float], None]) -> None:
        """Read the batches in a thread, and call `ended` with the seconds that it took."""

        def run() -> None:
            start = time.monotonic()
            try:
                for batch in batches():
                    if not self._serve(batch):
                        return
            except BaseException as error:
                self._error = error
            ended(time.monotonic() - start)
            self._serve(None)

        threading.Thread(target=run, name="fastgmm-look", daemon=True).start()

    def _serve(self, batch: T | None) -> bool:
        """Give a batch to all readers, and return whether any is left once they are done with it.

        Not before: whoever yields batches may write the next one to the same memory, or close a file.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._n_done >= self.n_fits)
            self._n_done = 0
            self._number += 1
            self._batch = batch
            self._changed.notify_all()
            if batch is not None:
                self._changed.wait_for(lambda: self._n_done >= self.n_fits)
            return self.n_fits > 0

    def read(self) -> Iterator[T]:
        """Yield all batches to one of the readers."""
        number = 0
        try:
            while (batch := self._following(number)) is not None:
                yield batch
                number += 1
        finally:
            with self._changed:
                self.n_fits -= 1
                self._changed.notify_all()

    def _following(self, number: int) -> T | None:
        with self._changed:
            self._n_done += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._number >= number)
            if self._batch is None and self._error is not None:
                raise self._error
            return self._batch


class Together(_Meeting[_TableLook[T]]):
    """Looks at a table by fits that run at once, of which one computes at a time, on all its threads."""

    def __init__(self, batches: Callable[[], Iterator[T]]) -> None:
        super().__init__()
        self._batches = batches
        self._computing, self._reading = threading.Lock(), threading.Lock()

    def _blank(self) -> _TableLook[T]:
        return _TableLook()

    def batches(self) -> Iterator[T]:
        """Yield all batches, with others who ask for them at about this time."""
        look, begins = self._join(lambda look: None)
        if begins:
            look.begin(self._batches, self._ended)
        yield from look.read()

    def read(self, read: Callable[..., None], *arguments: Any) -> None:
        """Read a part of a batch that others read parts of, too: of one file there is one place where it is read."""
        with self._reading:
            read(*arguments)

    def paced(self, blocks: Iterator[U]) -> Iterator[U]:
        """Yield blocks of a pass, each as soon as it is this fit's turn to compute."""
        for block in blocks:
            with self._computing:
                yield block


class _Tasks:
    """Several tasks for the same rows, and how the answers of parts are put together, each in its own way."""

    def __init__(self, tasks: list[Callable[[Rows], Any]], n_threads: int | None = None) -> None:
        self._tasks, self.n_threads = tasks, n_threads

    def __call__(self, rows: Rows) -> list[Any]:
        tasks = self._tasks if self.n_threads is None else [on_threads(task, self.n_threads) for task in self._tasks]
        return [task(rows) for task in tasks]


class _Combined:
    """Puts lists of answers together, each in its own way."""

    def __init__(self, ways: list[Callable[[Any, Any], Any]]) -> None:
        self._ways = ways

    def __call__(self, some: list[Any], others: list[Any]) -> list[Any]:
        return [way(one, other) for way, one, other in zip(self._ways, some, others, strict=True)]


class _GatheredLook(_Look):
    """A look at partitions for several fits: their tasks, and the answers or why there are none."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks: list[Callable[[Rows], Any]] = []
        self.ways: list[Callable[[Any, Any], Any]] = []
        self.done = threading.Event()
        self.answers: list[Any] = []
        self.error: BaseException | None = None


class GatheredTogether(_Meeting[_GatheredLook]):
    """Looks at rows elsewhere by fits that run at once: their tasks are sent together, to each partition."""

    def _blank(self) -> _GatheredLook:
        return _GatheredLook()

    def gather(self, gather: Callable[..., Any], task: Callable[[Rows], T], combine: Callable[[T, T], T]) -> T:
        """Return the answer of ``gather(task, combine)``, with those that others ask for at about this time."""
        place = -1

        def ask(look: _GatheredLook) -> None:
            nonlocal place
            place = len(look.tasks)
            look.tasks.append(task)
            look.ways.append(combine)

        look, begins = self._join(ask)
        if begins:
            start = time.monotonic()
            try:
                look.answers = gather(_Tasks(look.tasks), _Combined(look.ways))
            except BaseException as error:
                look.error = error
            finally:
                self._ended(time.monotonic() - start)
                look.done.set()
        look.done.wait()
        if look.error is not None:
            raise look.error
        answer: T = look.answers[place]
        return answer


class RowsElsewhere(Rows):
    """Rows whose looks fits may share where they are: what `gather` does alone is `_gather`."""

    _meeting: GatheredTogether | None = None
    _owner: Rows | None = None

    def together(self) -> Self | None:
        """Return the same rows for fits that run at once, each in `taking_part`; None where they share looks."""
        if self._meeting is not None:
            return None
        other = copy.copy(self)
        other._meeting = GatheredTogether()
        other._owner = other
        return other

    def taking_part(self) -> contextlib.AbstractContextManager[None]:
        """Return the time of a fit to rows that are looked at together, in its thread."""
        return contextlib.nullcontext() if self._meeting is None else self._meeting.taking_part()

    def standing_by(self) -> contextlib.AbstractContextManager[None]:
        """Return a time in which a fit that takes part waits for another, and is not waited for."""
        return contextlib.nullcontext() if self._meeting is None else self._meeting.taking_part(False)

    def _meet(self, gather: Callable[..., Any], task: Callable[[Rows], T], combine: Callable[[T, T], T]) -> T:
        # Rows with their weights in another unit are other rows.
        if self._meeting is not None and self._owner is self:
            return self._meeting.gather(gather, task, combine)
        answer: T = gather(task, combine)
        return answer
