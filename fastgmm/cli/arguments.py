"""The command line: its arguments, its exit codes and how it fails.

What the commands do is in `fastgmm.cli.commands`, imported once the arguments are known to be right: help and usage
errors must not wait for NumPy and compiled code.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any, TextIO, get_args

from fastgmm._version import __version__
from fastgmm.cli import values
from fastgmm.cli.parser import Parser, refuse_beside_labels
from fastgmm.cli.values import COVARIANCES
from fastgmm.support.extras import MissingExtraError
from fastgmm.support.files import named_where_full
from fastgmm.support.names import CovarianceAlias

__all__ = ["main"]

FAILURE = 1
INTERRUPTED = 130
BROKEN_PIPE = 141

EXAMPLES = """\
examples:
  fastgmm fit faithful -k 1-6
  fastgmm fit table.csv -k 3 --columns height,weight -o model.json --plot fit.png
  fastgmm fit faithful -k 10 --method vb
  fastgmm predict model.json new.csv --proba -o labels.csv
"""

DATA_HELP = """\
DATA is a .csv or .tsv file (also .csv.gz), a .npy, .npz, .parquet or .arrow
file, a folder of .parquet or .arrow files, or - for text on standard input.
Where there is no such file, 'acidity', 'diabetes', 'faithful', 'galaxies' and
'iris' name data that come with fastgmm.  Columns of data without a header are
named by their number, from 1.  .npy, .parquet and .arrow files and folders are
read block by block in every iteration, and may be larger than memory.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line on `argv` (default: the process's arguments) and return its exit code.

    0: done; 1: the data, the files or the fit made it impossible, said on standard error; 2: wrong usage;
    130: interrupted; 141: whoever read the output stopped reading.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What the encoding of the terminal lacks is shown in escapes rather than ending the command.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        arguments = _parse(argv)
    except SystemExit as stop:
        return int(stop.code or 0)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("always", category=UserWarning, module=r"fastgmm(\.|$)")
            warnings.showwarning = _show_warning
            with named_where_full("standard output"):
                _run(arguments)
                sys.stdout.flush()
    except KeyboardInterrupt:
        resume = "; the same command goes on from the checkpoint" if getattr(arguments, "checkpoint", None) else ""
        print(f"fastgmm: interrupted{resume}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # As Python's documentation advises (note on SIGPIPE): the interpreter flushes once more when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except (ValueError, OSError, MissingExtraError, MemoryError) as error:
        print(f"fastgmm: error: {_explain(error)}", file=sys.stderr)
        return FAILURE
    return 0


def _run(arguments: argparse.Namespace) -> None:
    from fastgmm.cli import commands

    getattr(commands, arguments.command)(arguments)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    print(f"fastgmm: warning: {' '.join(str(message).split())}", file=sys.stderr)


def _explain(error: Exception) -> str:
    """Return one line that says what went wrong, and which option may help."""
    if isinstance(error, MemoryError):
        return f"not enough memory {error}".rstrip()
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    from fastgmm.tables.request import TableError

    hints = {
        "columns": "choose the columns with --columns, or set this one aside with --id",
        "features": "choose the columns with --columns",
        "comment": "skip lines that begin with '#' by --comment '#'",
        "drop_missing": "leave out such rows with --drop-missing, or fit with --missing marginal",
        "array": "choose one with --array",
    }
    if isinstance(error, TableError) and error.remedy is not None:
        return f"{' '.join(error.args[0].split())} ({hints[error.remedy]})"
    return " ".join(str(error).split())


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    arguments, unknown = _parser().parse_known_args(argv)
    if unknown:
        arguments.parser.refuse_unknown(unknown)
    refuse = arguments.parser.error
    if arguments.command == "fit" and arguments.method != "vb":
        for option, value in (("--concentration", arguments.concentration), ("--prior-type", arguments.prior_type)):
            if value is not None:
                refuse(f"argument {option}: not allowed without --method vb")
    if arguments.command == "fit" and arguments.missing is not None:
        for option, value in (
            ("--drop-missing", arguments.drop_missing),
            ("--standardize", arguments.standardize),
            ("--truncate", arguments.truncate),
            ("--plot", arguments.plot),
            ("--plot-pairs", arguments.plot_pairs),
        ):
            if value:
                refuse(f"argument --missing: not allowed with {option}, which is for complete rows")
    if arguments.command == "fit" and arguments.labels_column is not None:
        refuse_beside_labels(arguments)
    for option, value in (("--prior", "prior"), ("--max-eigenvalue-ratio", "max_eigenvalue_ratio")):
        if arguments.command == "fit" and arguments.method == "vb" and getattr(arguments, value) is not None:
            refuse(f"argument {option}: not allowed with --method vb, which has a prior: see --concentration")
    for option, value in (("--accelerate", "accelerate"), ("--truncate", "truncate")):
        if arguments.command == "fit" and arguments.noise and getattr(arguments, value) is not None:
            refuse(f"argument --noise: not allowed with {option}")
    if arguments.command == "fit" and arguments.method == "vb" and arguments.criterion is not None:
        refuse("argument --criterion: not allowed with --method vb, whose fits are compared by their bound")
    return arguments


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="fastgmm",
        description="Fit Gaussian mixtures and use them.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fastgmm {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_fit(commands)
    _add_predict(commands)
    _add_score(commands)
    _add_sample(commands)
    _add_info(commands)
    _add_warmup(commands)
    return parser


def _add_command(commands: Any, name: str, usage: str, summary: str, epilog: str | None = None) -> Any:
    command = commands.add_parser(
        name,
        usage=f"fastgmm {name} {usage}",
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=epilog,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(parser=command)
    return command


def _add_fit(commands: Any) -> None:
    command = _add_command(commands, "fit", "[options] -k K DATA", "fit a mixture to data and describe it", DATA_HELP)
    data = _add_data(command)
    _add_weights(data)
    _add_id(data)
    data.add_argument(
        "--labels-column",
        metavar="COLUMN",
        help="a column that holds the classes of rows, where they are known (empty, NA or -1: unknown), and is no "
        "feature: the rows of each class, in sorted order, are in a component of their own; of several -k those below "
        "the number of classes are left out.  Not with --race, --truncate, --checkpoint, --init agglomerative",
    )
    model = command.add_argument_group("model")
    _add_model(model)
    _add_noise(model)
    _add_starts(model)
    _add_iterations(model)
    _add_seed(model)
    _add_threads(model)
    _add_checkpoint(command.add_argument_group("checkpoint"))
    _add_outputs(command.add_argument_group("output"))


def _add_model(model: Any) -> None:
    model.add_argument(
        "-k",
        "--components",
        type=values.counts,
        required=True,
        metavar="K",
        help="number of components; of several, such as 1-6 or 2,3,5, the best by the criterion is kept",
    )
    model.add_argument(
        "--method",
        choices=["em", "vb"],
        default="em",
        metavar="HOW",
        help="em, or vb: variational Bayes, which leaves superfluous components empty (default: em)",
    )
    model.add_argument(
        "--concentration",
        type=values.concentration,
        metavar="C",
        help="with --method vb: the smaller, the fewer components hold rows (default: 1 / the largest K)",
    )
    model.add_argument(
        "--prior-type",
        choices=["process", "distribution"],
        metavar="TYPE",
        help="with --method vb: Dirichlet process or distribution as the prior of the weights (default: process)",
    )
    model.add_argument(
        "--covariance",
        type=values.covariances,
        default=["full"],
        metavar="TYPE",
        help=f"{', '.join(COVARIANCES[:-1])} or {COVARIANCES[-1]}; or mclust's name of one; several, such as "
        "full,tied, or all are tried with each number of components (default: full)",
    )
    model.add_argument(
        "--standardize",
        action="store_true",
        help="fit to columns less their means, over their standard deviations, so that their units do not matter; "
        "the model and all that is printed are in the units of the data",
    )
    model.add_argument(
        "--criterion",
        type=values.criterion,
        metavar="NAME",
        help="what the best of several has: the lowest bic, aic or icl, which punishes overlap, too (default: bic; "
        "with --method vb always the highest evidence bound)",
    )


def _add_noise(model: Any) -> None:
    model.add_argument(
        "--missing",
        choices=["marginal"],
        metavar="HOW",
        help="marginal: missing values are integrated out, so that rows count by what is known of them; predict and "
        "score take such rows with the model, too",
    )
    model.add_argument(
        "--noise",
        action="store_true",
        help="a share of the rows is noise, spread evenly over the space that they fill: their label is -1",
    )
    model.add_argument(
        "--prior",
        choices=["mclust"],
        metavar="LAW",
        help="mclust: the prior of its priorControl(), so that small or degenerate components are regularised",
    )
    limit = "the most that the largest eigenvalue of all covariances may be of the smallest, at least 1"
    model.add_argument("--max-eigenvalue-ratio", type=values.ratio, metavar="C", help=limit)


def _add_starts(model: Any) -> None:
    model.add_argument(
        "--init",
        choices=[
            "auto",
            "kmeans",
            "k-means++",
            "kmeans-whitened",
            "agglomerative",
            "short-em",
            "random",
            "random_from_data",
        ],
        default="auto",
        metavar="HOW",
        help="where to start: auto, kmeans, k-means++, kmeans-whitened, agglomerative, short-em, random or "
        "random_from_data (default: auto, kmeans first and with --n-init others after it)",
    )
    model.add_argument(
        "--n-init", type=values.positive, default=1, metavar="N", help="keep the best of N starts (default: 1)"
    )
    model.add_argument("--race", action="store_true", help="give up starts that lag behind, on many rows by a sample")


def _add_iterations(model: Any) -> None:
    model.add_argument(
        "--max-iter", type=values.positive, default=100, metavar="N", help="stop after N iterations (default: 100)"
    )
    model.add_argument(
        "--tol",
        type=values.not_negative,
        default=1e-3,
        metavar="T",
        help="stop when the mean log-likelihood of a row, with --method vb the evidence bound of all rows, changes by "
        "less than T (default: 0.001)",
    )
    model.add_argument(
        "--stopping",
        choices=["absolute", "relative", "aitken"],
        default="absolute",
        metavar="RULE",
        help="what --tol bounds: the absolute change, the relative one, or with aitken the estimated gain that is left "
        "(default: absolute)",
    )
    model.add_argument(
        "--accelerate",
        choices=["squarem", "anderson"],
        metavar="HOW",
        help="extrapolate by squarem or anderson: fewer iterations where components overlap",
    )
    model.add_argument(
        "--truncate",
        type=values.positive,
        metavar="M",
        help="keep only the M most probable components of each row in an iteration: an approximation",
    )
    model.add_argument(
        "--reg-covar",
        type=values.not_negative,
        default=1e-6,
        metavar="R",
        help="add R to every variance (default: 1e-06)",
    )


def _add_checkpoint(checkpoint: Any) -> None:
    checkpoint.add_argument(
        "--checkpoint",
        metavar="FILE",
        help="write to FILE where the fit stands, and go on from there if it exists; of several K, each has its own, "
        "FILE.K.  Delete it to begin anew",
    )
    checkpoint.add_argument(
        "--checkpoint-interval",
        type=values.not_negative,
        default=60.0,
        metavar="S",
        help="seconds between two writes (default: 60; 0: after every iteration)",
    )


def _add_outputs(output: Any) -> None:
    output.add_argument("-o", "--output", metavar="MODEL", help="write the model to this .json or .npz file")
    output.add_argument("--labels", metavar="CSV", help="write the component of each row to this file (-: print it)")
    output.add_argument("--plot", metavar="IMAGE", help="draw data and components (.png, .pdf, .svg; needs matplotlib)")
    output.add_argument(
        "--plot-pairs", metavar="IMAGE", help="draw each two columns, and each alone with its density; up to 8 columns"
    )
    output.add_argument(
        "--plot-criterion",
        metavar="IMAGE",
        help="draw the criterion of all fits over the number of components, a line for each covariance",
    )
    output.add_argument("-q", "--quiet", action="store_true", help="only write files: print no report and no progress")


def _add_predict(commands: Any) -> None:
    command = _add_command(
        commands, "predict", "[options] MODEL DATA", "find the component that each row belongs to", DATA_HELP
    )
    command.add_argument("model", metavar="MODEL", help="file that fit -o wrote")
    _add_id(_add_data(command))
    _add_threads(command)
    command.add_argument("--proba", action="store_true", help="add the probability of each component: p0, p1, ...")
    command.add_argument("--scores", action="store_true", help="add the log-density of the row: log_density")
    _add_csv_output(command)


def _add_score(commands: Any) -> None:
    command = _add_command(commands, "score", "[options] MODEL DATA", "measure how well a model fits data", DATA_HELP)
    command.add_argument("model", metavar="MODEL", help="file that fit -o wrote")
    data = _add_data(command)
    _add_weights(data)
    _add_id(data, "log-densities of -o")
    _add_threads(command)
    command.add_argument(
        "-o",
        "--output",
        metavar="CSV",
        help="write the log-density of each row to this file (-: print these, and no sums)",
    )


def _add_sample(commands: Any) -> None:
    command = _add_command(commands, "sample", "[options] MODEL", "draw random rows from a model")
    command.add_argument("model", metavar="MODEL", help="file that fit -o wrote")
    command.add_argument("-n", type=values.positive, default=1, metavar="N", help="number of rows (default: 1)")
    _add_seed(command)
    command.add_argument("--labels", action="store_true", help="add the component that each row was drawn from")
    _add_csv_output(command)


def _add_info(commands: Any) -> None:
    command = _add_command(commands, "info", "MODEL", "describe a model file")
    command.add_argument("model", metavar="MODEL", help="file that fit -o wrote")


def _add_warmup(commands: Any) -> None:
    command = _add_command(
        commands,
        "warmup",
        "[options]",
        "compile ahead what fits and predictions need",
        "Later processes on machines with such a processor load it.  It is kept in\nNUMBA_CACHE_DIR where that is set, "
        "else with the package, else in the user's cache\nfolder.",
    )
    for option, choices, aliases, others in (
        ("--covariance", COVARIANCES, get_args(CovarianceAlias), "; or mclust's name of one"),
        ("--dtype", ("float64", "float32"), (), ""),
        ("--method", ("em", "vb"), (), ""),
    ):
        names = f"{', '.join(choices[:-1])} or {choices[-1]}{others}"
        command.add_argument(
            option,
            nargs="+",
            choices=(*choices, *aliases),
            metavar=("NAME", "NAME"),
            help=f"one or several of {names} (default: all)",
        )


def _add_data(command: argparse.ArgumentParser) -> Any:
    command.add_argument("data", metavar="DATA", help="what to read, see below")
    data = command.add_argument_group("data")
    data.add_argument("--columns", type=values.names, metavar="A,B,...", help="read these columns only, in this order")
    data.add_argument(
        "--header",
        choices=["auto", "yes", "no"],
        default="auto",
        metavar="WHETHER",
        help="yes or no: the first row names the columns (default: auto, yes if it holds text above numbers)",
    )
    data.add_argument(
        "--delimiter", type=values.delimiter, metavar="C", help="what separates columns: a character, 'tab' or 'space'"
    )
    data.add_argument(
        "--comment", type=values.comment, metavar="C", help="skip lines of text that begin with C, such as '#'"
    )
    data.add_argument("--array", metavar="NAME", help="the array to read from an .npz file")
    data.add_argument("--drop-missing", action="store_true", help="leave out rows with missing values")
    return data


def _add_id(group: Any, beside: str = "labels") -> None:
    group.add_argument(
        "--id",
        metavar="COLUMN",
        help=f"a column of any type that is no feature, and is written beside the {beside} (default with "
        "--drop-missing: the number of the row, from 1)",
    )


def _add_weights(group: Any) -> None:
    group.add_argument("--weights", metavar="COLUMN", help="the column that says how much each row counts")


def _add_seed(group: Any) -> None:
    group.add_argument(
        "--seed", type=values.seed, default=0, metavar="N", help="seed of the random numbers (default: 0)"
    )


def _add_threads(group: Any) -> None:
    group.add_argument(
        "--threads", type=values.positive, metavar="N", help="threads to compute with (default: all cores)"
    )


def _add_csv_output(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "-o",
        "--output",
        default="-",
        metavar="CSV",
        help="write to this file: .csv or .tsv, also .gz; .parquet or .arrow (default: standard output)",
    )
