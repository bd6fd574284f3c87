"""One look at a table for several fits at once, where rows are read anew in every pass.

Fits run in threads of their own. Each asks for the batches of its next pass; once all fits that run have asked, one
look at the table serves them all, batch by batch. Who is late is not waited for longer than a look takes. What a fit
sees is what it would see alone, and so is every bit of its answer.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")
U = TypeVar("U")

# Seconds that the first look waits for the others, and that any waits at most.
_FIRST, _LONGEST = 1.0, 60.0


class _Look(Generic[T]):
    """One look for several readers, in step: all are done with a batch before the next one is asked for."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.n_readers = 0
        self._n_done = 0
        self._number = -1
        self._batch: T | None = None
        self._error: BaseException | None = None
        self.begun = False

    def begin(self, batches: Callable[[], Iterator[T]], ended: Callable[[float], None]) -> None:
        """Read the batches in a thread, and call `ended` with the seconds that it took."""
        self.begun = True

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
        """Give a batch to all readers once they are done with the one before; return whether any is left."""
        with self._changed:
            self._changed.wait_for(lambda: self._n_done >= self.n_readers)
            self._n_done = 0
            self._number += 1
            self._batch = batch
            self._changed.notify_all()
            return self.n_readers > 0

    def read(self) -> Iterator[T]:
        """Yield all batches to one of the readers."""
        number = 0
        try:
            while (batch := self._next(number)) is not None:
                yield batch
                number += 1
        finally:
            with self._changed:
                self.n_readers -= 1
                self._changed.notify_all()

    def _next(self, number: int) -> T | None:
        with self._changed:
            self._n_done += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._number >= number)
            if self._batch is None and self._error is not None:
                raise self._error
            return self._batch


class Together(Generic[T]):
    """Looks at a table by fits that run at once, of which one computes at a time, on all its threads."""

    def __init__(self, batches: Callable[[], Iterator[T]]) -> None:
        self._batches = batches
        self._computing = threading.Lock()
        self._changed = threading.Condition()
        self._n_running = 0
        self._patience = _FIRST
        self._look: _Look[T] = _Look()

    @contextlib.contextmanager
    def taking_part(self) -> Iterator[None]:
        """Count a fit, which runs in this thread, among those that others wait for."""
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        with self._changed:
            self._n_running += change
            self._changed.notify_all()

    def batches(self) -> Iterator[T]:
        """Yield all batches, with others who ask for them at about this time."""
        with self._changed:
            look = self._look
            look.n_readers += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: look.begun or look.n_readers >= self._n_running, self._patience)
            if not look.begun:
                self._look = _Look()
                look.begin(self._batches, self._ended)
                self._changed.notify_all()
        yield from look.read()

    def paced(self, blocks: Iterator[U]) -> Iterator[U]:
        """Yield blocks of a pass, each as soon as it is this fit's turn to compute."""
        for block in blocks:
            with self._computing:
                yield block

    def _ended(self, seconds: float) -> None:
        self._patience = min(seconds, _LONGEST)
