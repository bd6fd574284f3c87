"""The progress of fits: lines that scikit-learn's ``verbose`` prints, and callbacks."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

from fastgmm.fitting.plain import FitResult

Callback = Callable[[int, int, float, float], Any]


class Printer:
    """Prints lines about starts, each below the number of its start."""

    def __init__(self) -> None:
        self._restart = -1

    def print(self, restart: int, line: str = "") -> None:
        """Print the number where the line before was about another start, and the line if there is one."""
        if restart != self._restart:
            print(f"Initialization {restart}")
            self._restart = restart
        if line:
            print(line)


class Report:
    """Prints what scikit-learn's ``verbose`` prints, and passes iterations on to a callback."""

    def __init__(self, restart: int, verbose: int, interval: int, callback: Callback | None, printer: Printer) -> None:
        self._print = functools.partial(printer.print, restart)
        self._restart = restart
        self._verbose = int(verbose)
        self._interval = interval
        self._callback = callback
        self._begin = self._last = 0.0

    def begin(self) -> None:
        """Hear that the start is being made."""
        self._begin = self._last = time.perf_counter()
        if self._verbose:
            self._print()

    def iteration(self, iteration: int, bound: float, change: float) -> None:
        """Hear of an iteration."""
        if self._callback is not None:
            self._callback(self._restart, iteration, bound, change)
        if self._verbose and iteration % self._interval == 0:
            if self._verbose == 1:
                self._print(f"  Iteration {iteration}")
            else:
                now = time.perf_counter()
                self._print(f"  Iteration {iteration}\t time lapse {now - self._last:.5f}s\t ll change {change:.5f}")
                self._last = now

    def end(self, result: FitResult) -> None:
        """Hear that the fit has ended."""
        if self._verbose:
            text = "converged" if result.converged else "did not converge"
            details = ""
            if self._verbose >= 2:
                details = f" time lapse {time.perf_counter() - self._begin:.5f}s\t lower bound {result.bound:.5f}."
            self._print(f"Initialization {text}.{details}")

    def failed(self, error: ValueError) -> None:
        """Hear that the fit has failed."""
        if self._verbose:
            self._print(f"Initialization failed: {error}")
