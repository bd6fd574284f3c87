"""What the command line prints: tables for people, CSV for programs, progress."""

from __future__ import annotations

import csv
import shutil
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Progress",
    "counted",
    "describe",
    "feature_labels",
    "print_pairs",
    "print_parameters",
    "print_table",
    "write_csv",
    "yes_no",
]


SHOWN_FEATURES = 40


def print_pairs(pairs: Iterable[tuple[str, str | None]]) -> None:
    """Print names and values in two columns, but for values that are None."""
    for name, value in pairs:
        if value is not None:
            print(f"{name:<18}{value}")


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table whose columns are as wide as their longest cell, aligned to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_parameters(model: Any, names: Sequence[str]) -> None:
    """Print the components' weights, means and standard deviations, in as many tables as the terminal's width needs."""
    deviations = np.sqrt(_variances(model))
    lead = [[str(index), f"{weight:.4f}"] for index, weight in enumerate(model.weights_)]
    columns = [
        [name, *(f"{mean:.5g} ({deviation:.4g})" for mean, deviation in zip(means, spreads, strict=True))]
        for name, means, spreads in zip(names[:SHOWN_FEATURES], model.means_.T, deviations.T, strict=False)
    ]
    room = shutil.get_terminal_size((100, 24)).columns - len("component  weight")
    tables: list[list[list[str]]] = []
    used = room
    for column in columns:
        width = len("  ") + max(map(len, column))
        if used + width > room:
            tables.append([])
            used = 0
        tables[-1].append(column)
        used += width
    for features in tables:
        header, *rows = zip(*features, strict=True)
        print_table(["component", "weight", *header], [[*front, *row] for front, row in zip(lead, rows, strict=True)])
        print()
    print("in each cell: mean (standard deviation)")
    if len(names) > SHOWN_FEATURES:
        print(f"not shown: {counted(len(names) - SHOWN_FEATURES, 'more feature')}")


def describe(model: Any) -> str:
    """Return the size and the shape of a fitted mixture in words."""
    family = getattr(model.covariance_type, "name", model.covariance_type)
    return f"{counted(len(model.weights_), 'component')}, {family} covariance"


def counted(number: int, noun: str) -> str:
    """Return `number` with its noun in the singular or the plural."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def yes_no(value: bool) -> str:
    """Return the word for `value`."""
    return "yes" if value else "no"


def feature_labels(names: Sequence[str] | None, n_features: int) -> list[str]:
    """Return the names of the features, which are x1, x2, ... where they have none."""
    return list(names) if names is not None else [f"x{number}" for number in range(1, n_features + 1)]


def _variances(model: Any) -> NDArray[np.float64]:
    """Return the variance of each feature in each component, shape (n_components, n_features)."""
    # Imported here because it brings compiled code, which a failure to read the data need not wait for.
    from fastgmm.validation import check_family

    return check_family(model.covariance_type).variances(model.covariances_, *model.means_.shape)


def write_csv(stream: TextIO, blocks: Iterable[Mapping[str, NDArray[Any]]]) -> None:
    """Write blocks of equally long columns under their names, numbers so that they read back as they are."""
    writer = csv.writer(stream, lineterminator="\n")
    for index, block in enumerate(blocks):
        if index == 0:
            writer.writerow(block)
        writer.writerows(zip(*(column.tolist() for column in block.values()), strict=True))


class Progress:
    """Tells how a fit goes once it takes long: one line that is rewritten on a terminal, elsewhere a line now and then.

    An instance is a callback for `fit`.
    """

    def __init__(self, title: str, stream: TextIO | None = None, patience: float = 2.0, interval: float = 10.0) -> None:
        self.title = title
        self.stream = sys.stderr if stream is None else stream
        self.rewrite = self.stream.isatty()
        self.interval = 0.1 if self.rewrite else interval
        self.patience = patience
        self.started: float | None = None
        self.next = 0.0
        self.shown = False

    def __call__(self, restart: int, iteration: int, bound: float, change: float) -> None:
        now = time.monotonic()
        if self.started is None:
            # From the first iteration on: compiling kernels, the first time of all, is no progress to report.
            self.started = now
            self.next = now + self.patience
        if now < self.next:
            return
        line = (
            f"{self.title}start {restart + 1}, iteration {iteration}, mean log-likelihood {bound:.6f}, "
            f"change {change:.1e}, {now - self.started:.0f} s"
        )
        if self.rewrite:
            # A line that wraps could not be rewritten.
            line = line[: shutil.get_terminal_size().columns - 1]
            print(f"\r\x1b[K{line}", end="", file=self.stream, flush=True)
        else:
            print(line, file=self.stream, flush=True)
        self.next = now + self.interval
        self.shown = True

    def close(self) -> None:
        """Clear the line that was rewritten."""
        if self.shown and self.rewrite:
            print("\r\x1b[K", end="", file=self.stream, flush=True)
