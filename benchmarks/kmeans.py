"""k-means++ and k-means of fastgmm beside scikit-learn's: the same rows, start and iterations, taking turns.

    python benchmarks/kmeans.py [--quick] [--repeats 5] [--only NAME] [--iterations 20]

A time is that of a whole call: whatever a library copies, centres or checks first, so many iterations without a
tolerance, and the last labels. Each side runs in a process of its own and waits while another one works. scikit-learn
runs both of its algorithms with one thread and with all, and the fastest of them counts. All must end with the same
inertia, else the comparison stops with an error; k-means++ draws other rows in each library.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from common import (
    N_THREADS,
    Worker,
    Workload,
    add_choices,
    child_environment,
    chosen,
    machine_facts,
    print_facts,
    print_header,
    print_row,
    usable_cpus,
)
from numpy.typing import NDArray

# The family says how wide the rows lie about their means: with a standard deviation of their own in each feature.
WORKLOADS = [
    Workload("diag", 1_000_000, 16, 32),
    Workload("diag", 1_000_000, 16, 32, "float32"),
    Workload("diag", 1_000_000, 2, 8),
    Workload("diag", 200_000, 64, 128),
    Workload("diag", 20_000, 8, 10),
]

#: How far inertias may be apart, relatively, by the type of X.
TOLERANCES = {"float64": 1e-9, "float32": 1e-4}

TASKS = {"fastgmm": ("k-means++", "k-means"), "scikit-learn": ("k-means++", "lloyd", "elkan")}


def run(side: str, task: str, X: NDArray, centres: NDArray, n_iterations: int) -> tuple[float, float]:
    """Return the seconds that one call of a side takes, and the inertia it ends with (0 for k-means++)."""
    if side == "fastgmm":
        from fastgmm.starts.kmeans import kmeans, plus_plus

        begin = time.perf_counter()
        if task == "k-means++":
            plus_plus(X, None, len(centres), np.random.default_rng(0), N_THREADS)
            return time.perf_counter() - begin, 0.0
        found = kmeans(X, centres, max_iter=n_iterations, tol=0.0, n_threads=N_THREADS)
        return time.perf_counter() - begin, found.inertia
    from sklearn.cluster import KMeans, kmeans_plusplus

    begin = time.perf_counter()
    if task == "k-means++":
        kmeans_plusplus(X, len(centres), random_state=0)
        return time.perf_counter() - begin, 0.0
    model = KMeans(len(centres), init=centres, n_init=1, algorithm=task, tol=0.0, max_iter=n_iterations)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X)
    return time.perf_counter() - begin, float(model.inertia_)


def serve(side: str) -> None:
    """Answer requests, a line of JSON each, until the input ends: a file to load, or a task to run."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    problem: Any = None
    for line in sys.stdin:
        request = json.loads(line)
        answer = None
        if "load" in request:
            with np.load(request["load"]) as arrays:
                problem = arrays["X"], arrays["centres"]
        else:
            answer = run(side, request["task"], *problem, request["iterations"])
        print(json.dumps(answer), file=answers, flush=True)


def compare(workload: Workload, workers: dict[str, tuple[str, Worker]], repeats: int, n_iterations: int) -> None:
    """Print the rows of one workload."""
    problem = workload.build()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "problem.npz"
        np.savez(path, X=problem.X, centres=problem.means)
        for _, worker in workers.values():
            worker.ask(load=str(path))
    runs = [(name, task) for name, (side, _) in workers.items() for task in TASKS[side]]
    inertias: dict[str, float] = {}
    times: dict[tuple[str, str], list[float]] = {each: [] for each in runs}
    for number in range(repeats + 1):
        # Neither is always the one that comes after the other; the first round warms up.
        for name, task in runs if number % 2 else runs[::-1]:
            seconds, inertia = workers[name][1].ask(task=task, iterations=n_iterations)
            if number:
                times[name, task].append(1e3 * seconds)
            if task != "k-means++":
                inertias[f"{task}, {name}"] = inertia
    expected = next(iter(inertias.values()))
    if not all(abs(other - expected) <= TOLERANCES[workload.dtype] * expected for other in inertias.values()):
        raise RuntimeError(f"{workload.name}: inertias differ: {inertias}")
    for ours, theirs in (("k-means++", ("k-means++",)), ("k-means", ("lloyd", "elkan"))):
        own = times["fastgmm", ours]
        for task in theirs:
            peers = {name: each for (name, other), each in times.items() if other == task and name != "fastgmm"}
            best = min(peers, key=lambda name: statistics.median(peers[name]))
            ratios = sorted(b / a for a, b in zip(own, peers[best], strict=True))
            print_row(
                workload.name.removeprefix("diag "),
                ours,
                f"{statistics.median(own):.1f}",
                f"{task}, {best}",
                f"{statistics.median(peers[best]):.1f}",
                f"{statistics.median(ratios):.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f})",
            )


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--iterations", type=int, default=20, help="of Lloyd's algorithm (default 20)")
    parser.add_argument("--serve", choices=list(TASKS), help=argparse.SUPPRESS)
    add_choices(parser)
    options = parser.parse_args(arguments)
    if options.serve:
        serve(options.serve)
        return
    workloads = chosen(WORKLOADS, parser, options)
    print_facts(machine_facts())
    print_header("workload (N, D, K)", "fastgmm", "ms", "scikit-learn", "ms", "ratio (range)")
    command = [sys.executable, __file__, "--serve"]
    with contextlib.ExitStack() as stack:
        workers = {
            "fastgmm": ("fastgmm", stack.enter_context(Worker([*command, "fastgmm"], child_environment()))),
        }
        for count in sorted({1, usable_cpus()}):
            threads = {"OMP_NUM_THREADS": str(count), "OPENBLAS_NUM_THREADS": str(count)}
            environment = child_environment(OPENBLAS_THREAD_TIMEOUT="4", **threads)
            worker = stack.enter_context(Worker([*command, "scikit-learn"], environment))
            workers[f"{count} thread" + "s" * (count > 1)] = "scikit-learn", worker
        for workload in workloads:
            compare(workload, workers, options.repeats, options.iterations)


if __name__ == "__main__":
    main()
