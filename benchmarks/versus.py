"""One iteration, EM or variational, of fastgmm beside one of its peers: from the same start, taking turns.

    python benchmarks/versus.py [--quick] [--repeats 5] [--only NAME] [--onedal-python PYTHON] [--peer NAME=PYTHON]
                                [--json FILE]

An iteration's time is that of a fit of many iterations minus that of a fit of few, over the difference: what a fit
does once, and the pass that fastgmm makes after its last update, drop out. Each side runs in a process of its own
and waits while another one works. scikit-learn is run with several numbers of BLAS threads and counts with the fastest.
All sides must end at the same log-likelihood, by one function, else the comparison stops with an error; except where a
peer's update is another one or it cannot start from given parameters.

The JSON holds the limits of the machine, measured in the same run; ``readme.py`` makes the README's table of it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from child import SIDES
from common import (
    FEW,
    MANY,
    PEERS,
    FitFailedError,
    Worker,
    Workload,
    add_choices,
    chosen,
    machine_facts,
    mean_log_likelihood,
    print_facts,
    print_header,
    print_row,
    run_child,
    usable_cpus,
)

WORKLOADS = [
    Workload("full", 200_000, 16, 16),
    Workload("full", 100_000, 64, 32),
    Workload("full", 1_000_000, 4, 8),
    Workload("full", 50_000, 128, 10),
    Workload("full", 1_000_000, 2, 3),
    Workload("full", 1_000_000, 1, 3),
    Workload("diag", 500_000, 32, 64),
    Workload("diag", 1_000_000, 8, 16),
    Workload("spherical", 1_000_000, 16, 32),
    Workload("tied", 200_000, 32, 16),
    Workload("full", 200_000, 16, 16, "float32"),
    Workload("full", 100_000, 64, 32, "float32"),
    Workload("diag", 500_000, 32, 64, "float32"),
    Workload("full", 100_000, 16, 16, method="vb"),
    Workload("diag", 200_000, 32, 32, method="vb"),
]

#: How far the final log-likelihoods may be apart, relatively, by the type of X.
TOLERANCES = {"float64": 1e-9, "float32": 1e-5}


class Side:
    """One library: what it says of itself, and its processes by variant, the fastest of which counts."""

    def __init__(self, variants: dict[str, Worker]) -> None:
        self.variants = variants
        self.description = next(iter(variants.values())).ask(describe=True)
        self.name: str = self.description["name"]

    def can(self, workload: Workload) -> bool:
        """Whether it has the workload's covariances, type and method."""
        return (
            workload.covariance_type in self.description["families"]
            and workload.dtype in self.description["dtypes"]
            and workload.method in self.description["methods"]
        )


def sklearn_variants() -> dict[str, dict[str, str]]:
    """Return the environments scikit-learn is tried in, by name.

    It calls BLAS in short bursts with serial work between them. More threads help or harm, depending on sizes and
    machine; OpenBLAS's spin a while after each call, and take the CPU from that serial work unless they give up soon.
    """
    counts = sorted({1, min(2, usable_cpus()), usable_cpus()})
    return {
        f"{count} BLAS thread" + "s" * (count > 1): {"OPENBLAS_NUM_THREADS": str(count), "OPENBLAS_THREAD_TIMEOUT": "4"}
        for count in counts
    }


@contextlib.contextmanager
def started(peers: dict[str, str]) -> Iterator[list[Side]]:
    """Start fastgmm, scikit-learn, and `peers`: the interpreter of each by its name under ``peers/``."""
    with contextlib.ExitStack() as stack:
        yield [
            Side({"": stack.enter_context(Worker.of_side("fastgmm"))}),
            Side(
                {
                    variant: stack.enter_context(Worker.of_side("scikit-learn", **environment))
                    for variant, environment in sklearn_variants().items()
                }
            ),
            *(Side({"": stack.enter_context(Worker.of_peer(*peer))}) for peer in peers.items()),
        ]


def check_agreement(workload: Workload, scores: dict[str, float]) -> None:
    """Raise RuntimeError unless all mean log-likelihoods agree to the tolerance of the workload's type."""
    expected, *others = scores.values()
    allowed = TOLERANCES[workload.dtype] * abs(expected)
    # Asked this way round, a NaN fails too.
    if not all(abs(score - expected) <= allowed for score in others):
        raise RuntimeError(f"{workload.name}: mean log-likelihoods after {MANY} iterations differ: {scores}")


def compare(workload: Workload, sides: list[Side], repeats: int) -> dict[str, Any]:
    """Return the milliseconds per iteration of every variant of every side that can do the workload, in every round.

    A peer whose fit fails is left out, and "failed" says why.
    """
    sides = [side for side in sides if side.can(workload)]
    problem = workload.build()
    workers = [(side, variant, worker) for side in sides for variant, worker in side.variants.items()]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "problem.npz"
        problem.save(path)
        for *_, worker in workers:
            worker.ask(load=str(path))
    scores, turns, failed = {}, [], {}
    for side, variant, worker in workers:
        try:
            if side.description["same_start"]:
                parameters = worker.parameters(MANY, workload.method)
                scores[" ".join(filter(None, (side.name, variant)))] = mean_log_likelihood(problem, *parameters)
            turns.append(((side, variant, worker), worker.sensible_repeats(workload.method)))
        except FitFailedError as error:
            if side.name in SIDES:
                raise
            failed[side.name] = str(error)
    if workload.same_model:
        check_agreement(workload, scores)
    milliseconds = {side.name: {variant: [] for variant in side.variants} for side in sides if side.name not in failed}
    for number in range(repeats):
        # None is always the one that comes after the same other.
        for (side, variant, worker), times in turns if number % 2 else reversed(turns):
            milliseconds[side.name][variant].append(worker.milliseconds(workload.method, times))
    return {
        "name": workload.name,
        **asdict(workload),
        "operations": workload.work.operations,
        "iterations": [FEW, MANY],
        "mean_log_likelihood": scores,
        "milliseconds": milliseconds,
        "failed": failed,
    }


def best_variant(variants: dict[str, list[float]]) -> tuple[str, list[float]]:
    """Return the variant with the least median, and its times."""
    return min(variants.items(), key=lambda item: statistics.median(item[1]))


def _print_result(result: dict[str, Any], sides: list[Side]) -> None:
    """Print one row of the table."""
    ours = statistics.median(result["milliseconds"]["fastgmm"][""])
    cells = []
    for side in sides:
        if side.name not in result["milliseconds"]:
            cells.append("failed" if side.name in result["failed"] else "-")
            continue
        variant, times = best_variant(result["milliseconds"][side.name])
        median = statistics.median(times)
        cells.append(f"{median:.2f} ({min(times):.2f} to {max(times):.2f})" + f", {variant}" * bool(variant))
        if side.name != "fastgmm":
            cells[-1] += f": {median / ours:.1f}"
    print_row(result["name"], *cells)


def _peer(text: str) -> tuple[str, str]:
    name, separator, python = text.partition("=")
    if not (separator and python and name != "serving" and (PEERS / f"{name}.py").exists()):
        known = sorted(path.stem for path in PEERS.glob("*.py") if path.stem != "serving")
        raise argparse.ArgumentTypeError(f"expected NAME=PYTHON with a NAME of {', '.join(known)}, got {text!r}")
    return name, python


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_choices(parser)
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        type=_peer,
        metavar="NAME=PYTHON",
        help="also a peer of benchmarks/peers, with the interpreter of an environment that has it; may be repeated",
    )
    parser.add_argument("--onedal-python", metavar="PYTHON", help="short for --peer onedal=PYTHON")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers to this file, too")
    options = parser.parse_args(arguments)
    workloads = chosen(WORKLOADS, parser, options)
    peers = dict(options.peer) | ({"onedal": options.onedal_python} if options.onedal_python else {})
    limits = run_child("limits")
    results = []
    with started(peers) as sides:
        facts = machine_facts() | {side.name: side.description["version"] for side in sides}
        print_facts(facts)
        print_header("workload (N, D, K)", *(side.name for side in sides))
        for workload in workloads:
            results.append(compare(workload, sides, options.repeats))
            _print_result(results[-1], sides)
            if options.json:  # a long run that is stopped keeps what it has
                written = {"machine": facts, "limits": limits, "repeats": options.repeats, "results": results}
                options.json.write_text(json.dumps(written, indent=2) + "\n")
    print(
        f"\nMilliseconds per iteration: median (range) of {options.repeats} rounds, the best variant; after the colon, "
        "how many times as long as fastgmm."
    )
    for result in results:
        for name, error in result["failed"].items():
            print(f"{name} failed on {result['name']}: {error}")


if __name__ == "__main__":
    main()
