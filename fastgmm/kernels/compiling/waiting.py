"""Telling whoever waits for the compiler why, once in a process."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
import warnings
from pathlib import Path

#: Seconds that may pass in silence.
PATIENCE = 1.0


class _Waiting:
    """How long compiling has taken, and whether that was said."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._begin: float | None = None
        self._timer: threading.Timer | None = None
        self._is_told = False
        self._folder: Path | None = None

    def begin(self, folder: Path | None) -> None:
        """Hear that a function begins to be compiled, to be kept in a folder; None where there is none to write to."""
        # The one before may have failed to compile, long ago.
        self._cancel()
        self._begin, self._folder = time.perf_counter(), folder
        if not self._is_told and folder is not None and _is_watched():
            self._timer = threading.Timer(max(PATIENCE - self.seconds, 0.0), self._tell)
            self._timer.daemon = True
            self._timer.start()

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def end(self) -> None:
        """Hear that it is compiled."""
        self._cancel()
        if self._begin is not None:
            self.seconds += time.perf_counter() - self._begin
            self._begin = None
        # Also where nobody watches: each process of a server would wait so long.
        if self._folder is None and self.seconds > PATIENCE and not self._is_told:
            self._is_told = True
            warnings.warn(
                "Compiled kernels cannot be kept: no folder for them is writable, and every process compiles anew. Set "
                "NUMBA_CACHE_DIR to a folder that this user can write to, or run `fastgmm warmup` as one who can.",
                RuntimeWarning,
                stacklevel=2,
            )

    def _tell(self) -> None:
        self._is_told = True
        print(
            f"fastgmm: compiling kernels for this processor; later processes load them from {self._folder}",
            file=sys.stderr,
            flush=True,
        )


def _is_watched() -> bool:
    """Return whether a person sees what is printed: on a terminal or in a notebook."""
    # Whatever stands in for it: closed, or without what files have.
    with contextlib.suppress(AttributeError, ValueError):
        return sys.stderr.isatty() or type(sys.stderr).__module__.startswith("ipykernel")
    return False


#: How long this process has waited.
waiting = _Waiting()


def compiling_seconds() -> float:
    """Return how long this process has waited for the compiler so far."""
    return waiting.seconds
