"""Output of the command line: tables for people, CSV for programs, progress; and how it tells estimators apart."""

from __future__ import annotations

import argparse
import csv
import shutil
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, TextIO

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "METHODS",
    "Method",
    "Progress",
    "counted",
    "describe",
    "method_of",
    "print_pairs",
    "print_parameters",
    "print_table",
    "write_csv",
    "yes_no",
]


SHOWN_FEATURES = 40


class Method(ABC):
    """A way to fit mixtures: how its models are made, compared and described where that is not the same for all."""

    #: The class in `fastgmm`.
    estimator: ClassVar[str]
    #: What `lower_bound_` is, which a fit tells its callback.
    bound: ClassVar[str]
    #: The name of what fits of several sizes are compared by, and the function that chooses among its values.
    criterion: ClassVar[str]
    best: ClassVar[Callable[..., Any]]
    #: The name of the log-likelihood of rows, and the option of `score`, `score_samples` and `sample` that means it.
    likelihood: ClassVar[str]
    density: ClassVar[dict[str, str]]

    @abstractmethod
    def options(self, arguments: argparse.Namespace) -> dict[str, Any]:
        """Return the estimator's own parameters."""

    @abstractmethod
    def criteria(self, model: Any) -> dict[str, Callable[..., float]]:
        """Return the functions of rows and their weights that measure a fitted model, by name."""

    @abstractmethod
    def effective(self, model: Any) -> NDArray[np.intp]:
        """Return the components that are worth showing, in order."""

    @abstractmethod
    def size(self, model: Any) -> str:
        """Return the number of components in words, without the noun."""

    @abstractmethod
    def detail(self, model: Any) -> str:
        """Return the words of a description after size and shape."""


class MaximumLikelihood(Method):
    """EM, with the information criteria."""

    estimator = "GaussianMixture"
    bound = "mean log-likelihood"
    criterion = "BIC"
    best = staticmethod(min)
    likelihood = "log-likelihood"
    density: ClassVar[dict[str, str]] = {}

    def options(self, arguments: argparse.Namespace) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def criteria(self, model: Any) -> dict[str, Callable[..., float]]:
        """Return AIC, BIC and ICL."""
        return {"AIC": model.aic, "BIC": model.bic, "ICL": model.icl}

    def effective(self, model: Any) -> NDArray[np.intp]:
        """Return all components."""
        return np.arange(len(model.weights_))

    def size(self, model: Any) -> str:
        """Return the number of components."""
        return str(len(model.weights_))

    def detail(self, model: Any) -> str:
        """Return the number of free parameters."""
        return f"{model._n_parameters()} free parameters"


class VariationalBayes(Method):
    """Variational Bayes, with the evidence lower bound; new rows are scored and drawn by the Student-t predictive."""

    estimator = "BayesianGaussianMixture"
    bound = "evidence bound"
    criterion = "evidence bound"
    best = staticmethod(max)
    likelihood = "Student-t log-likelihood"
    density: ClassVar[dict[str, str]] = {"predictive": "student-t"}

    def options(self, arguments: argparse.Namespace) -> dict[str, Any]:
        """Return the prior of the weights."""
        return {
            "weight_concentration_prior_type": f"dirichlet_{arguments.prior_type or 'process'}",
            # One prior for all numbers of components, so that their bounds compare the same thing.
            "weight_concentration_prior": arguments.concentration or 1.0 / max(arguments.components),
        }

    def criteria(self, model: Any) -> dict[str, Callable[..., float]]:
        """Return the evidence lower bound, nothing for a model that does not know its prior."""
        return {self.criterion: model.evidence_lower_bound} if self._knows_prior(model) else {}

    def effective(self, model: Any) -> NDArray[np.intp]:
        """Return the components that hold at least one row; all where that takes a prior that is not known."""
        if not self._knows_prior(model):
            return np.arange(len(model.weights_))
        # Those of the largest mass: what is enough is for the estimator to say.
        return np.sort(np.argsort(-model.component_mass_, kind="stable")[: model.n_effective_components_])

    def size(self, model: Any) -> str:
        """Return the numbers of effective and of all components."""
        return f"{len(self.effective(model))} of {len(model.weights_)} effective"

    def detail(self, model: Any) -> str:
        """Return the law of the weights."""
        law = "Dirichlet process" if isinstance(model.weight_concentration_, tuple) else "Dirichlet distribution"
        if not self._knows_prior(model):
            return law
        return f"{law} of concentration {model.weight_concentration_prior_:.6g}"

    def _knows_prior(self, model: Any) -> bool:
        return hasattr(model, "weight_concentration_prior_")


METHODS: dict[str, Method] = {"em": MaximumLikelihood(), "vb": VariationalBayes()}


def method_of(model: Any) -> Method:
    """Return how a fitted model was fitted."""
    return METHODS["vb" if hasattr(model, "evidence_lower_bound") else "em"]


def print_pairs(pairs: Iterable[tuple[str, str | None]]) -> None:
    """Print names and values in two columns, but for values that are None."""
    known = [(name, value) for name, value in pairs if value is not None]
    width = max([18, *(len(name) + 2 for name, _ in known)])
    for name, value in known:
        print(f"{name:<{width}}{value}")


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table whose columns are as wide as their longest cell, aligned to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_parameters(model: Any, names: Sequence[str]) -> None:
    """Print the effective components' weights, means and standard deviations, in as many tables as the width needs."""
    shown = method_of(model).effective(model)
    deviations = np.sqrt(_variances(model))
    lead = [[str(index), f"{model.weights_[index]:.4f}"] for index in shown]
    columns = [
        [name, *(f"{mean:.5g} ({deviation:.4g})" for mean, deviation in zip(means, spreads, strict=True))]
        for name, means, spreads in zip(
            names[:SHOWN_FEATURES], model.means_[shown].T, deviations[shown].T, strict=False
        )
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
    others = len(model.weights_) - len(shown)
    if others > 0:
        print(f"not shown: {counted(others, 'more component')} of less than one row")
    if len(names) > SHOWN_FEATURES:
        print(f"not shown: {counted(len(names) - SHOWN_FEATURES, 'more feature')}")


def describe(model: Any) -> str:
    """Return the size and the shape of a fitted mixture in words."""
    family = model._family().name
    noun = "component" if len(model.weights_) == 1 else "components"
    return f"{method_of(model).size(model)} {noun}, {family} covariance"


def counted(number: int, noun: str) -> str:
    """Return `number` with its noun in the singular or the plural."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def yes_no(value: bool) -> str:
    """Return the word for `value`."""
    return "yes" if value else "no"


def _variances(model: Any) -> NDArray[np.float64]:
    """Return the variance of each feature in each component, shape (n_components, n_features)."""
    return model._family().variances(model.covariances_, *model.means_.shape)


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
        self.stream = sys.stderr if stream is None else stream
        self.rewrite = self.stream.isatty()
        self.interval = 0.1 if self.rewrite else interval
        self.patience = patience
        self.started: float | None = None
        self.n_iterations = 0
        self.next = 0.0
        self.shown = False

    def __call__(self, restart: int, iteration: int, bound: float, change: float) -> None:
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
        line = (
            f"{self.title}start {restart + 1}, iteration {iteration}, {self.bound} {bound:.6f}, "
            f"change {change:.1e}, {seconds:.0f} s, {self.n_rows / pace:.2g} rows/s, "
            f"at most about {pace * (self.max_iter - iteration):.0f} s more for this start"
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
