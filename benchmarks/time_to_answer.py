"""Time to a good answer: whole fits with defaults, seeding included, beside scikit-learn's.

    python benchmarks/time_to_answer.py [--quick] [--repeats 5] [--only NAME]

Each round has a random state of its own. scikit-learn fits with its defaults; its final mean log-likelihood is the
target. fastgmm fits with its defaults and the same random state, and the clock runs until its bound is at the target or
above; where its fit ends below, it goes on from there with a hundredth of ``tol`` and ``accelerate="anderson"``, then
from another start, the clock running. Also printed: the time of its default fit alone, and where that ended.

Each side runs in a process of its own; scikit-learn in several, with so many BLAS threads each; the fastest counts.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
from pathlib import Path

from common import (
    CHILD,
    Worker,
    Workload,
    add_choices,
    child_environment,
    chosen,
    machine_facts,
    print_facts,
    print_header,
    print_row,
)
from versus import sklearn_variants

WORKLOADS = [
    Workload("full", 200_000, 16, 16),
    Workload("diag", 100_000, 32, 64),
    Workload("full", 1_000_000, 3, 8),
]


def _worker(side: str, **environment: str) -> Worker:
    return Worker([sys.executable, str(CHILD), "answer", side], child_environment(**environment))


def compare(workload: Workload, repeats: int) -> None:
    """Print one row of the table."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        path = Path(folder) / "problem.npz"
        workload.build().save(path)
        ours = stack.enter_context(_worker("fastgmm"))
        variants = {
            name: stack.enter_context(_worker("scikit-learn", **environment))
            for name, environment in sklearn_variants().items()
        }
        for worker in (ours, *variants.values()):
            worker.ask(load=str(path))  # fits once, to compile and to load what is imported late
        reached, alone, above, starts = [], [], [], []
        theirs: dict[str, list[float]] = {name: [] for name in variants}
        for seed in range(repeats):
            answers = {name: worker.ask(seed=seed) for name, worker in variants.items()}
            target = next(iter(answers.values()))["bound"]
            mine = ours.ask(seed=seed, target=target)
            reached.append(mine["reached"])
            alone.append(mine["seconds"])
            above.append(mine["bound"] - target)
            starts.append(mine["starts"])
            for name, answer in answers.items():
                theirs[name].append(answer["seconds"])
    best, times = min(theirs.items(), key=lambda item: statistics.median(item[1]))
    print_row(
        workload.name,
        f"{statistics.median(times):.2f} ({min(times):.2f} to {max(times):.2f}), {best}",
        f"{statistics.median(reached):.3f} ({min(reached):.3f} to {max(reached):.3f})",
        f"{statistics.median(times) / statistics.median(reached):.1f}",
        f"{statistics.median(alone):.3f}",
        f"{statistics.median(above):+.5f} ({min(above):+.5f} to {max(above):+.5f})",
        max(starts),
    )


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_choices(parser)
    options = parser.parse_args(arguments)
    print_facts(machine_facts())
    print_header(
        "workload (N, D, K)",
        "scikit-learn, s",
        "fastgmm to there, s",
        "ratio",
        "its fit, s",
        "its fit above, nat a row",
        "most starts",
    )
    for workload in chosen(WORKLOADS, parser, options):
        compare(workload, options.repeats)
    print(f"\nMedians (range) of {options.repeats} random states.")


if __name__ == "__main__":
    main()
