"""Output of the command line: tables for people, CSV for programs, and progress."""

from __future__ import annotations

import csv
import io
import shutil
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from fastgmm.estimators.summary import summarise
from fastgmm.support.showing import pairs_text, table_text

__all__ = [
    "Progress",
    "Stage",
    "print_pairs",
    "print_parameters",
    "print_table",
    "say_nothing_is_left",
    "write_csv",
    "yes_no",
]


# The beginning of a line of a terminal, with nothing on it.
_CLEARED = "\r\x1b[K"


def print_pairs(pairs: Iterable[tuple[str, str | None]]) -> None:
    """Print names and values in two columns, but for values that are None; on a terminal long values are wrapped."""
    print(pairs_text(pairs, shutil.get_terminal_size().columns if sys.stdout.isatty() else None))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table whose columns are as wide as their longest cell, aligned to the right."""
    print(table_text(header, rows))


def print_parameters(model: Any, names: Sequence[str]) -> None:
    """Print the effective components' weights, means and standard deviations, in as many tables as the width needs."""
    print(summarise(model, feature_names=names).parameters_text(shutil.get_terminal_size((100, 24)).columns))


def say_nothing_is_left() -> None:
    """Say that a quiet fit was for nothing."""
    print(
        "fastgmm: warning: nothing is left of this fit, for -q prints no report: write its model (-o MODEL), labels "
        "(--labels CSV) or a picture (--plot IMAGE), or leave out -q",
        file=_stderr(),
    )


def yes_no(value: bool) -> str:
    """Return the word for `value`."""
    return "yes" if value else "no"


def write_csv(
    stream: TextIO, blocks: Iterable[Sequence[tuple[str, NDArray[Any] | Sequence[str]]]], delimiter: str = ","
) -> None:
    """Write blocks of equally long columns under their names, numbers so that they read back as they are."""
    writer = csv.writer(stream, delimiter=delimiter, lineterminator="\n")
    for index, block in enumerate(blocks):
        if index == 0:
            writer.writerow([name for name, _ in block])
        columns = [column.tolist() if isinstance(column, np.ndarray) else column for _, column in block]
        writer.writerows(zip(*columns, strict=True))


def _stderr() -> TextIO:
    """Return the stream of messages; where that is closed, one that nobody reads."""
    return sys.stderr or io.StringIO()


class Stage:
    """A word on a terminal for what is being done, once it takes long: a line that is cleared at the end.

    A context manager.
    """

    def __init__(self, what: str, stream: TextIO | None = None, patience: float = 2.0) -> None:
        self._what = what
        self._stream = _stderr() if stream is None else stream
        self._patience = patience
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._is_shown = False

    def begin(self) -> None:
        """Hear that it begins."""
        if self._stream.isatty():
            self._timer = threading.Timer(self._patience, self._show)
            self._timer.daemon = True
            self._timer.start()

    def end(self) -> None:
        """Hear that it has ended."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if self._is_shown:
                self._is_shown = False
                print(_CLEARED, end="", file=self._stream, flush=True)

    def _show(self) -> None:
        with self._lock:
            if self._timer is not None:
                self._is_shown = True
                print(f"{_CLEARED}{self._what} ...", end="", file=self._stream, flush=True)

    def __enter__(self) -> Stage:
        self.begin()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


class Progress:
    """Tells how a fit goes once it takes long: one line that is rewritten on a terminal, elsewhere a line now and then.

    An instance is a callback for `fit` to `n_rows` rows. How long it goes on is only bounded by `max_iter`.
    """

    def __init__(
        self,
        title: str,
        bound: str,
        n_rows: int,
        max_iter: int,
        stream: TextIO | None = None,
        patience: float = 2.0,
        interval: float = 10.0,
    ) -> None:
        self.title = title
        self.bound = bound
        self.n_rows = n_rows
        self.max_iter = max_iter
        self.stream = _stderr() if stream is None else stream
        self.rewrite = self.stream.isatty()
        self.interval = 0.1 if self.rewrite else interval
        self.patience = patience
        self.started: float | None = None
        self.n_iterations = 0
        self.next = 0.0
        self.shown = False
        self._seeding = Stage(f"{title}seeding", self.stream)

    def begin(self) -> None:
        """Hear that the first start is being made."""
        self._seeding.begin()

    def __call__(self, restart: int, iteration: int, bound: float, change: float) -> None:
        """Hear of an iteration."""
        self._seeding.end()
        now = time.monotonic()
        if self.started is None:
            # From the first iteration on: compiling kernels, the first time of all, is no progress to report.
            self.started = now
            self.next = now + self.patience
        else:
            self.n_iterations += 1
        if now < self.next or self.n_iterations == 0:
            return
        seconds = now - self.started
        pace = seconds / self.n_iterations
        # In the first 80 columns stands what people wait for.
        line = (
            f"{self.title}start {restart + 1}, iteration {iteration}, {self.n_rows / pace:.2g} rows/s, "
            f"at most {pace * (self.max_iter - iteration):.0f} s more, {seconds:.0f} s so far, "
            f"{self.bound} {bound:.6f}, change {change:.1e}"
        )
        if self.rewrite:
            # A line that wraps could not be rewritten.
            line = line[: shutil.get_terminal_size().columns - 1]
            print(f"{_CLEARED}{line}", end="", file=self.stream, flush=True)
        else:
            print(line, file=self.stream, flush=True)
        self.next = now + self.interval
        self.shown = True

    def close(self) -> None:
        """Clear the line that was rewritten."""
        self._seeding.end()
        if self.shown and self.rewrite:
            print(_CLEARED, end="", file=self.stream, flush=True)
