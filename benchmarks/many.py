"""Thousands of small fits in one call of fastgmm beside loops over scikit-learn and oneDAL.

    python benchmarks/many.py [--quick] [--repeats 5] [--only NAME] [--onedal-python PYTHON]

The first table is of 20 iterations from a given start, the same for all: microseconds of a fit, and in brackets how
many times as long it takes the others. Their loops are timed at their best: the same problem again and again, in a
process of its own, only the fit itself; scikit-learn with several numbers of BLAS threads, the fastest of which counts.
Before that, all must reach the same log-likelihood (not in variational fits, which start from labels there). The second
table is of fits with default settings, seeding included, until they converge, scikit-learn on one thread or on all.
Sides take turns; times are medians of the rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from common import (
    Worker,
    Workload,
    add_choices,
    chosen,
    estimator,
    machine_facts,
    mean_log_likelihood,
    print_facts,
    print_header,
    print_row,
)
from versus import Side, best_variant, check_agreement, sklearn_variants

import fastgmm

N_ITERATIONS = 20
#: One problem each; as many of them as PROBLEMS says.
WORKLOADS = [
    Workload("full", 200, 2, 3),
    Workload("full", 100, 1, 2),
    Workload("full", 1000, 4, 5),
    Workload("tied", 200, 2, 3),
    Workload("diag", 200, 4, 3),
    Workload("spherical", 200, 4, 3),
    Workload("full", 200, 2, 3, method="vb"),
]
PROBLEMS = 2000
#: Rows, features, components and number of problems fitted from defaults.
DEFAULTS = [(100, 1, 2, 100_000), (200, 2, 3, 20_000)]

# So many fits of another library make a round.
_OTHERS = 100


def _ours(workload: Workload, n_problems: int) -> tuple[Any, np.ndarray]:
    """Return the estimator with its start, and the problems (P, n, D), of which the workload's own is the first."""
    problem = workload.build()
    rest = dataclasses.replace(workload, n_samples=workload.n_samples * n_problems).build().X
    X = rest.reshape(n_problems, workload.n_samples, workload.n_features)
    X[0] = problem.X
    model = estimator("fastgmm", problem, N_ITERATIONS, workload.method)
    if workload.method == "vb":
        model.set_params(init_params="kmeans", means_init=problem.means)
    return model, X


def _sides(onedal_python: str | None, stack: contextlib.ExitStack) -> list[Side]:
    workers = {
        variant: stack.enter_context(Worker.of_side("scikit-learn", **environment))
        for variant, environment in sklearn_variants().items()
    }
    sides = [Side(workers)]
    if onedal_python is not None:
        sides.append(Side({"": stack.enter_context(Worker.of_peer("onedal", onedal_python))}))
    return sides


def _microseconds_of_ours(model: Any, X: np.ndarray) -> float:
    begin = time.perf_counter()
    fastgmm.fit_many(model, X)
    return 1e6 * (time.perf_counter() - begin) / len(X)


def given_starts(
    workload: Workload, sides: list[Side], n_problems: int, repeats: int
) -> tuple[list[float], dict[str, dict[str, list[float]]]]:
    """Return the microseconds of a fit in every round, of ours and of each variant of the sides that can do it."""
    sides = [side for side in sides if side.can(workload)]
    problem = workload.build()
    model, X = _ours(workload, n_problems)
    first = fastgmm.fit_many(model, X)[0]
    with tempfile.TemporaryDirectory() as folder:
        problem.save(Path(folder) / "problem.npz")
        for side in sides:
            for worker in side.variants.values():
                worker.ask(load=str(Path(folder) / "problem.npz"))
    if workload.method == "em":
        scores = {"fastgmm": mean_log_likelihood(problem, first.weights_, first.means_, first.covariances_)}
        for side in sides:
            for variant, worker in side.variants.items():
                found = worker.parameters(N_ITERATIONS, workload.method)
                scores[f"{side.name} {variant}"] = mean_log_likelihood(problem, *found)
        check_agreement(workload, scores)
    ours: list[float] = []
    theirs: dict[str, dict[str, list[float]]] = {side.name: {v: [] for v in side.variants} for side in sides}
    for _ in range(repeats):
        ours.append(_microseconds_of_ours(model, X))
        for side in sides:
            for variant, worker in side.variants.items():
                seconds = worker.ask(fit=N_ITERATIONS, method=workload.method, repeats=_OTHERS)
                theirs[side.name][variant].append(1e6 * statistics.median(seconds))
    return ours, theirs


def defaults(n_samples: int, n_features: int, n_components: int, n_problems: int, repeats: int) -> tuple[float, float]:
    """Return the microseconds of a fit with default settings, of ours and of scikit-learn at its better threads."""
    import sklearn.mixture
    import threadpoolctl

    workload = Workload("full", n_samples, n_features, n_components)
    _, X = _ours(workload, n_problems)
    model = fastgmm.GaussianMixture(n_components, random_state=0)
    other = sklearn.mixture.GaussianMixture(n_components, random_state=0)
    fastgmm.fit_many(model, X[:2])
    ours: list[float] = []
    # k-means is parallel there, which harms where problems are small.
    theirs: dict[int | None, list[float]] = {1: [], None: []}
    for _ in range(repeats):
        ours.append(_microseconds_of_ours(model, X))
        for limit, times in theirs.items():
            with threadpoolctl.threadpool_limits(limit):
                begin = time.perf_counter()
                for rows in X[:_OTHERS]:
                    other.fit(rows)
                times.append(1e6 * (time.perf_counter() - begin) / min(_OTHERS, n_problems))
    return statistics.median(ours), min(statistics.median(times) for times in theirs.values())


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_choices(parser)
    parser.add_argument("--onedal-python", metavar="PYTHON", help="the interpreter of an environment that has daal4py")
    options = parser.parse_args(arguments)
    # A tenth of the problems, not of their rows.
    n_problems, fewer = (PROBLEMS // 10, 10) if options.quick else (PROBLEMS, 1)
    options.quick = False
    workloads = chosen(WORKLOADS, parser, options)
    warnings.filterwarnings("ignore", category=UserWarning)
    print_facts(machine_facts())
    with contextlib.ExitStack() as stack:
        sides = _sides(options.onedal_python, stack)
        print_header("20 iterations (n, D, K)", "fastgmm, µs", *(side.name for side in sides))
        for workload in workloads:
            ours, theirs = given_starts(workload, sides, n_problems, options.repeats)
            own = statistics.median(ours)
            cells = [f"{own:.1f} ({min(ours):.1f} to {max(ours):.1f})"]
            for side in sides:
                if side.name in theirs:
                    median = statistics.median(best_variant(theirs[side.name])[1])
                    cells.append(f"{median:.0f} ({median / own:.1f})")
                else:
                    cells.append("-")
            print_row(workload.name, *cells)
    print()
    print_header("defaults, full (n, D, K)", "problems", "fastgmm, s", "µs a fit", "scikit-learn")
    for *shape, number in DEFAULTS:
        own, other = defaults(*shape, number // fewer, options.repeats)
        total = 1e-6 * own * (number // fewer)
        print_row(
            f"{tuple(shape)}", f"{number // fewer}", f"{total:.2f}", f"{own:.1f}", f"{other:.0f} ({other / own:.0f})"
        )


if __name__ == "__main__":
    main()
