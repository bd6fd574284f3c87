"""The commands of the command line."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import fastgmm
from fastgmm.cli import report
from fastgmm.cli.inputs import Data, Known, read, stage
from fastgmm.cli.outputs import check_table_path, distinct, write_table
from fastgmm.exceptions import CollapsedComponentError, SpuriousComponentWarning
from fastgmm.families import NAMED, names_of_all
from fastgmm.io.models import ModelDocument, check_model_path, read_document, restore, save_model
from fastgmm.kernels.compiling import compiling_seconds
from fastgmm.methods import METHODS, counted, describe, method_of
from fastgmm.rows import Shared
from fastgmm.selection.candidates import best_place, doubt_of, told_of_weights
from fastgmm.support.documents import ModelFileError
from fastgmm.support.files import check_writable, replacing
from fastgmm.support.showing import decimals
from fastgmm.validation import feature_labels

if TYPE_CHECKING:
    from fastgmm.cli.units import Standardised

__all__ = ["fit", "info", "predict", "sample", "score", "warmup"]

# Arguments of `fit` that name what is left of it beside the report.
_OUTPUTS = "output", "labels", "plot", "plot_pairs", "plot_criterion", "checkpoint"
# Of more rows, some drawn at random are looked at for a picture.
PLOT_ROWS = 1 << 18


class Fit(NamedTuple):
    """A fitted model and how well it describes its data: in total log-likelihood, and by the criterion of the choice.

    `seconds` leave out those of the compiler.
    """

    model: Any
    log_likelihood: float
    criterion: float
    seconds: float
    doubt: str = ""


def fit(arguments: argparse.Namespace) -> None:
    """Fit a mixture of each size and covariance; report, store and draw the best by a criterion."""
    _check_outputs(arguments)
    table = read(arguments)
    if arguments.plot_pairs is not None:
        _check_pairs(table)
    if table.known is not None:
        _check_classes(arguments, table.known)
    n_samples = table.rows.n_rows
    if max(arguments.components) > n_samples:
        raise ValueError(
            f"{max(arguments.components)} components need at least as many rows, the data have {n_samples}"
        )
    if arguments.covariance == ["all"]:
        arguments.covariance = names_of_all(has_prior=arguments.method == "vb")
    # Several names of one family are one.
    arguments.covariance = list({NAMED[name].name: name for name in reversed(arguments.covariance)}.values())[::-1]
    standard = None
    if arguments.standardize:
        from fastgmm.cli.units import Standardised, check_families

        check_families(arguments.covariance)
        standard = Standardised.of(table)
    if len(arguments.components) * len(arguments.covariance) > 1:
        # What starts have in common is made once for all fits.
        (table if standard is None else standard.data).rows.shared = Shared()
        told = told_of_weights(table.rows, _criterion(arguments)) if arguments.method == "em" else ""
        if told:
            print(f"fastgmm: warning: {told.replace('sample_weight', 'the column of --weights')}", file=sys.stderr)
    fits = _fit_each(arguments, table, standard)
    lower_is_better = METHODS[arguments.method].lower_is_better
    values = [fit.criterion for fit in fits]
    best = fits[best_place(values, [not fit.doubt for fit in fits], lower_is_better)]
    _say_passed_over(fits, best, _criterion(arguments), lower_is_better)
    # The model first: it took the longest, and printing may fail.
    if arguments.output is not None:
        save_model(
            best.model,
            arguments.output,
            feature_names=table.names,
            n_samples=n_samples,
            log_likelihood=best.log_likelihood,
        )
    if not arguments.quiet:
        _print_fits(table, fits, best, _criterion(arguments))
    elif not any(getattr(arguments, name) for name in _OUTPUTS):
        report.say_nothing_is_left()
    if arguments.labels is not None:
        if arguments.labels == "-" and not arguments.quiet:
            print()
        with stage(arguments, "writing labels"):
            write_table(arguments.labels, table.with_column("label", best.model.predict))
    if arguments.plot is not None:
        _plot(arguments, table, best)
    if arguments.plot_pairs is not None:
        _plot_pairs(arguments, table, best)
    if arguments.plot_criterion is not None:
        _plot_criterion(arguments, fits, best)


def _check_classes(arguments: argparse.Namespace, known: Known) -> None:
    """Leave out sizes with fewer components than classes, and say what may be wrong with these."""
    if known.doubtful:
        print(
            f"fastgmm: note: {known.doubtful!r} is taken for a class, of most rows; where it means unknown, write NA "
            f"or leave the cells of column {known.column!r} empty",
            file=sys.stderr,
        )
    arguments.components, told = known.sizes(arguments.components)
    if told:
        print(f"fastgmm: note: left out: {told}", file=sys.stderr)


def predict(arguments: argparse.Namespace) -> None:
    """Write the label of each row as CSV, with probabilities and log-densities if asked for."""
    check_table_path(arguments.output, [arguments.model, arguments.data])
    document, model = _load(arguments)
    table = read(arguments, document)
    density = method_of(model).density
    shares = [f"p{index}" for index in range(len(model.weights_))] if arguments.proba else []
    marks = [name for name, _ in table.marks]
    names = {name: distinct(name, marks) for name in ("label", *shares, *["log_density"] * arguments.scores)}

    def blocks() -> Iterator[list[tuple[str, Any]]]:
        for X, columns in table.blocks():
            columns.append((names["label"], model.predict(X)))
            if arguments.proba:
                columns += zip((names[share] for share in shares), model.predict_proba(X).T, strict=True)
            if arguments.scores:
                columns.append((names["log_density"], model.score_samples(X, **density)))
            yield columns

    with _writing(arguments.output):
        write_table(arguments.output, blocks())


def _writing(path: str) -> contextlib.AbstractContextManager[Any]:
    """Return a word on a terminal for writing a table; nothing between lines that go to the same terminal."""
    return contextlib.nullcontext() if path == "-" else report.Stage("writing")


def score(arguments: argparse.Namespace) -> None:
    """Print the log-likelihood of the data and the criteria of the model's method, or write that of each row."""
    if arguments.output is not None:
        check_table_path(arguments.output, [arguments.model, arguments.data])
    document, model = _load(arguments)
    table = read(arguments, document)
    method = method_of(model)
    if arguments.output is not None:
        with _writing(arguments.output):
            write_table(arguments.output, table.with_column("log_density", model.score_samples, **method.density))
    if arguments.output == "-":
        return
    mean = model.score(table.rows, **method.density)
    report.print_pairs(
        [
            ("rows", str(table.rows.n_rows)),
            ("total weight", f"{table.total_weight:.10g}" if table.rows.is_weighted else None),
            (method.likelihood, f"{mean * table.total_weight:.10g}"),
            ("mean per row", f"{mean:.10g}"),
            *((name, f"{criterion(table.rows):.10g}") for name, criterion in method.criteria(model).items()),
        ]
    )


def sample(arguments: argparse.Namespace) -> None:
    """Write random rows as CSV."""
    check_table_path(arguments.output, [arguments.model])
    document = read_document(arguments.model)
    model = restore(document, arguments.model)
    values, labels = model.sample(arguments.n, random_state=arguments.seed, **method_of(model).density)
    names = feature_labels(document.feature_names, values.shape[1])
    # The estimator groups rows by component, which would bias whoever reads the first ones only.
    order = np.random.default_rng(arguments.seed).permutation(len(values))
    columns: list[tuple[str, Any]] = list(zip(names, values[order].T, strict=True))
    if arguments.labels:
        columns.append((distinct("label", names), labels[order]))
    write_table(arguments.output, [columns])


def info(arguments: argparse.Namespace) -> None:
    """Print what a model file says."""
    document = read_document(arguments.model)
    model = restore(document, arguments.model)
    names = feature_labels(document.feature_names, model.means_.shape[1])
    method = method_of(model)
    record = document.fit

    def shown(name: str, form: Callable[[Any], str]) -> str | None:
        return None if record[name] is None else form(record[name])

    def four(value: float) -> str:
        return decimals(value, 4)

    report.print_pairs(
        [
            ("file", f"{arguments.model}, version {document.version}, written by fastgmm {document.fastgmm_version}"),
            ("model", _described(model)),
            ("fitted on", shown("n_samples", lambda number: counted(number, "row"))),
            (method.likelihood, shown("log_likelihood", four)),
            # A file holds the bound, which need not be what fits are compared by.
            (method.criterion, shown("lower_bound", four) if method.criterion == method.bound else None),
            ("iterations", shown("n_iter", str)),
            ("converged", shown("converged", report.yes_no)),
            ("weight of noise", shown("noise", lambda noise: f"{noise['weight']:.4f}")),
            *(("spurious", f"component {each.component} {each.reason}") for each in model.spurious_),
            ("parameters", ", ".join(f"{name}={value}" for name, value in record["params"].items())),
        ]
    )
    print()
    report.print_parameters(model, names)


def warmup(arguments: argparse.Namespace) -> None:
    """Compile ahead, and print a table of what was compiled and what was there."""
    from fastgmm import _warmup

    header = [_warmup.HEADER]

    def show(step: _warmup.Step) -> None:
        print(*header, *step.lines(), sep="\n", flush=True)
        header.clear()

    done = _warmup.warmup(arguments.covariance, arguments.dtype, arguments.method, callback=show)
    print()
    report.print_pairs(done.totals())


def _check_outputs(arguments: argparse.Namespace) -> None:
    """Find out before a long fit whether its results can be written."""
    if arguments.output is not None:
        check_model_path(arguments.output)
    pictures = [path for path in (arguments.plot, arguments.plot_pairs, arguments.plot_criterion) if path is not None]
    given = [path for path in (arguments.output, arguments.labels, *pictures) if path not in (None, "-")]
    if len({os.path.abspath(path) for path in given}) < len(given):
        raise ValueError(f"each output needs a file of its own, got {', '.join(given)}")
    if arguments.labels is not None:
        check_table_path(arguments.labels, [arguments.data])
    for path in (arguments.output, *pictures):
        if path is not None:
            check_writable(path)
    if arguments.checkpoint is not None:
        check_writable(arguments.checkpoint)
    for path in pictures:
        from fastgmm.plotting import check_image_path

        check_image_path(path)


def _load(arguments: argparse.Namespace) -> tuple[ModelDocument, Any]:
    try:
        document = read_document(arguments.model)
    except ModelFileError as error:
        if arguments.data.endswith((".json", ".npz")):
            raise ValueError(f"{error}: the model comes first, then the data") from error
        raise
    model = restore(document, arguments.model)
    model.set_params(n_threads=arguments.threads)
    # Columns are matched by name when the data are read; the array that results has no names to check.
    if document.feature_names is not None:
        del model.feature_names_in_
    return document, model


def _fit_each(arguments: argparse.Namespace, table: Data, standard: Standardised | None) -> list[Fit]:
    """Fit each size and covariance; one that collapses is left out as long as another does not."""
    fits = []
    collapses = []
    for n_components, covariance in product(arguments.components, arguments.covariance):
        try:
            fits.append(_fit_one(arguments, table, standard, n_components, covariance))
        except CollapsedComponentError as error:
            message = (
                f"{_title(arguments, n_components, covariance)}: component {error.component} collapsed to rows that do "
                "not span a volume (raise --reg-covar or lower -k)"
            )
            collapses.append(message)
    if not fits:
        raise ValueError("; ".join(collapses))
    for message in collapses:
        print(f"fastgmm: warning: {message}", file=sys.stderr)
    return fits


def _title(arguments: argparse.Namespace, n_components: int, covariance: str) -> str:
    """Return the size, and where several are tried the covariance, of a fit in words."""
    size = counted(n_components, "component")
    return size if len(arguments.covariance) == 1 else f"{size}, {covariance}"


def _criterion(arguments: argparse.Namespace) -> str:
    """Return the name of what fits are compared by."""
    return str(arguments.criterion or METHODS[arguments.method].criterion)


def _say_passed_over(fits: list[Fit], best: Fit, criterion: str, lower_is_better: bool) -> None:
    """Say why fits were not chosen that the criterion ranks higher than the best, or that the best is no good."""
    several = len({fit.model._family() for fit in fits}) > 1
    for fit in fits:
        # That more components than rows can tell apart are passed over goes without saying.
        if not fit.doubt or len(fits) == 1 or not (fit is best or fit.model.spurious_):
            continue
        title = counted(len(fit.model.weights_), "component") + (f", {fit.model._family().name}" if several else "")
        if fit is best:
            print(f"fastgmm: warning: {title}: the best, for no choice of -k is sound: {fit.doubt}", file=sys.stderr)
        elif fit.criterion != best.criterion and (fit.criterion < best.criterion) == lower_is_better:
            print(
                f"fastgmm: warning: {title}: passed over although its {criterion} is better, for {fit.doubt}",
                file=sys.stderr,
            )


def _fit_one(
    arguments: argparse.Namespace, table: Data, standard: Standardised | None, n_components: int, covariance: str
) -> Fit:
    method = METHODS[arguments.method]
    model = getattr(fastgmm, method.estimator)(
        n_components,
        covariance_type=covariance,
        tol=arguments.tol,
        reg_covar=arguments.reg_covar,
        max_iter=arguments.max_iter,
        n_init=arguments.n_init,
        race=arguments.race,
        stopping=arguments.stopping,
        accelerate=arguments.accelerate,
        truncate=arguments.truncate,
        init_params=arguments.init,
        random_state=arguments.seed,
        n_threads=arguments.threads,
        checkpoint=_checkpoint(arguments, n_components, covariance),
        checkpoint_interval=arguments.checkpoint_interval,
        missing=arguments.missing,
        **method.options(arguments),
    )
    title = f"{_title(arguments, n_components, covariance)}: "
    progress = None
    if not arguments.quiet:
        progress = report.Progress(title, method.bound, table.rows.n_rows, arguments.max_iter)
        progress.begin()
    started = time.monotonic() - compiling_seconds()
    try:
        data = table if standard is None else standard.data
        with warnings.catch_warnings(record=True) as caught, data.named() as rows:
            model.fit(rows, callback=progress, **({} if table.known is None else {"labels": table.known.numbers}))
    finally:
        if progress is not None:
            progress.close()
    seconds = time.monotonic() - compiling_seconds() - started
    vars(model).pop("feature_names_in_", None)
    if standard is not None:
        standard.undo(model)
    for warning in caught:
        # That one is said below in terms of the command line; where several -k are compared, spurious components are
        # said of those that matter for the choice.
        several = len(arguments.components) * len(arguments.covariance) > 1
        compared = several and issubclass(warning.category, SpuriousComponentWarning)
        if "did not converge" not in str(warning.message) and not (compared and model.spurious_):
            warnings.showwarning(warning.message, warning.category, warning.filename, warning.lineno)
    if not model.converged_:
        print(
            f"fastgmm: warning: {title}not converged after {counted(model.n_iter_, 'iteration')} (raise --max-iter or "
            "--tol)",
            file=sys.stderr,
        )
    mean = model.score(table.rows, **method.density)
    criterion = method.criteria(model)[_criterion(arguments)](table.rows)
    doubt = doubt_of(model, table.rows.summary.n_weighted)
    return Fit(model, mean * table.total_weight, criterion, seconds, doubt)


def _checkpoint(arguments: argparse.Namespace, n_components: int, covariance: str) -> str | None:
    """Return where the fit of so many components is kept, None for nowhere: a file each where there are several."""
    path: str | None = arguments.checkpoint
    if path is not None and len(arguments.covariance) > 1:
        path = f"{path}.{covariance}"
    return path if path is None or len(arguments.components) == 1 else f"{path}.{n_components}"


def _print_fits(table: Data, fits: list[Fit], best: Fit, criterion: str) -> None:
    model = best.model
    method = method_of(model)
    if len(fits) > 1:
        several = len({fit.model._family() for fit in fits}) > 1
        rows = [
            [
                method.size(fit.model),
                *[fit.model._family().name] * several,
                decimals(fit.log_likelihood, 2),
                decimals(fit.criterion, 2),
                str(fit.model.n_iter_),
                report.yes_no(fit.model.converged_),
                "best" if fit is best else "spurious" if fit.doubt else "",
            ]
            for fit in fits
        ]
        header = ["components", *["covariance"] * several, method.likelihood, criterion, "iterations", "converged", ""]
        report.print_table(header, rows)
        print()
    n_samples, n_features = table.rows.n_rows, table.rows.n_features
    compiling = compiling_seconds()
    after = f", after {compiling:.2g} s of compiling" if compiling else ""
    report.print_pairs(
        [
            ("data", f"{counted(n_samples, 'row')}, {counted(n_features, 'column')}"),
            ("total weight", f"{table.total_weight:.10g}" if table.rows.is_weighted else None),
            ("known classes", None if table.known is None else table.known.described()),
            ("model", _described(model)),
            (
                method.likelihood,
                f"{decimals(best.log_likelihood, 4)} ({best.log_likelihood / table.total_weight:.6g} per row)",
            ),
            (criterion, decimals(best.criterion, 4)),
            ("weight of noise", f"{model.noise_weight_:.4f}" if hasattr(model, "noise_weight_") else None),
            ("iterations", f"{model.n_iter_} ({best.seconds:.2g} s{after})"),
            ("converged", report.yes_no(model.converged_)),
        ]
    )
    print()
    report.print_parameters(model, feature_labels(table.names, n_features))


def _described(model: Any) -> str:
    return f"{describe(model)}, {method_of(model).detail(model)}"


def _check_pairs(table: Data) -> None:
    """Find out before a long fit whether its columns are few enough for a picture of pairs."""
    from fastgmm.plotting import MOST_COLUMNS

    if table.rows.n_features > MOST_COLUMNS:
        raise ValueError(
            f"--plot-pairs draws {MOST_COLUMNS} columns at most, the data have {table.rows.n_features}: --columns fits "
            "those it chooses alone; to draw some columns of a fit of all, call "
            "fastgmm.plotting.plot_pairs(model, X, columns=...) in Python"
        )


def _some_rows(arguments: argparse.Namespace, table: Data) -> tuple[Any, dict[str, Any]]:
    """Return rows for a picture, drawn at random of many, and the arguments that say what they are."""
    X, weight = table.rows.sample(PLOT_ROWS, np.random.RandomState(arguments.seed))
    return X, {"sample_weight": weight if table.rows.is_weighted else None, "feature_names": table.names}


def _plot_title(arguments: argparse.Namespace, best: Fit) -> str:
    # Of all rows, not of those that are drawn.
    return f"{describe(best.model)}, {_criterion(arguments)} {decimals(best.criterion, 1)}"


def _plot(arguments: argparse.Namespace, table: Data, best: Fit) -> None:
    from fastgmm.plotting import plot_mixture

    X, of_rows = _some_rows(arguments, table)
    axes = plot_mixture(best.model, X, **of_rows)
    axes.set_title(_plot_title(arguments, best), fontsize="medium")
    _save(axes.figure, arguments.plot)


def _plot_pairs(arguments: argparse.Namespace, table: Data, best: Fit) -> None:
    from fastgmm.plotting import plot_pairs

    X, of_rows = _some_rows(arguments, table)
    figure = plot_pairs(best.model, X, **of_rows)
    figure.suptitle(_plot_title(arguments, best), fontsize="medium")
    _save(figure, arguments.plot_pairs)


def _plot_criterion(arguments: argparse.Namespace, fits: list[Fit], best: Fit) -> None:
    from fastgmm.plotting import CriterionPoint, plot_points

    points = [
        CriterionPoint(len(fit.model.weights_), fit.model._family().name, fit.criterion, not fit.doubt, fit is best)
        for fit in fits
    ]
    _save(plot_points(points, _criterion(arguments)).figure, arguments.plot_criterion)


def _save(figure: Any, path: str) -> None:
    with replacing(path) as stream:
        figure.savefig(stream, format=Path(path).suffix[1:].lower())
