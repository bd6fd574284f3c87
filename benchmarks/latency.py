"""Small fits, and predictions of one row to a million, of fastgmm beside scikit-learn: from the same parameters.

    python benchmarks/latency.py [--repeats 7] [--quick]

Both sides run in one process, taking turns, scikit-learn with as many BLAS threads as it likes; a time is the median of
`--repeats` rounds, each of as many calls as take a few milliseconds. The last column of each table is how many times as
long scikit-learn takes, at the least over the methods or numbers of rows of a line.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

from common import Workload, estimator, machine_facts, print_facts, print_header, print_row

from fastgmm.families import STRUCTURES

METHODS = "predict", "predict_proba", "score_samples"
#: Features and components.
SHAPES = {"predictions": ((2, 3), (16, 16)), "fits": ((2, 3), (8, 5))}
_ROUND = 5e-3


def seconds(calls: list[Callable[[], Any]], repeats: int) -> list[float]:
    """Return the median seconds of each call, in turn; the first call of each is not counted."""
    counts = []
    for call in calls:
        call()
        begin = time.perf_counter()
        call()
        counts.append(max(1, int(_ROUND / (time.perf_counter() - begin))))
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats):
        for own, call, count in zip(times, calls, counts, strict=True):
            begin = time.perf_counter()
            for _ in range(count):
                call()
            own.append((time.perf_counter() - begin) / count)
    return [statistics.median(own) for own in times]


def predictions(repeats: int, sizes: list[int]) -> None:
    """Print the table of predictions: microseconds of fastgmm, and the ratio."""
    print_header("microseconds (D, K), method", *(f"{n} rows" for n in sizes), "least ratio")
    for shape in SHAPES["predictions"]:
        for family in STRUCTURES:
            problem = Workload(family, max(sizes), *shape).build()
            small = Workload(family, 2000, *shape).build()
            models = [estimator(side, small, 5).fit(small.X) for side in ("fastgmm", "scikit-learn")]
            for method in METHODS:
                cells, ratios = [], []
                for n in sizes:
                    calls = [functools.partial(getattr(model, method), problem.X[:n]) for model in models]
                    ours, theirs = seconds(calls, repeats)
                    ratios.append(theirs / ours)
                    cells.append(f"{1e6 * ours:.0f} ({ratios[-1]:.1f})")
                print_row(f"{family} {shape} {method}", *cells, f"{min(ratios):.1f}")


def fits(repeats: int) -> None:
    """Print the table of small fits: milliseconds of fastgmm for 20 iterations, and the ratio."""
    sizes = 100, 300, 1000
    print_header("milliseconds (D, K), start", *(f"{n} rows" for n in sizes), "least ratio")
    for method in ("em", "vb"):
        for family in STRUCTURES:
            for shape in SHAPES["fits"]:
                for start in ("given", "k-means"):
                    cells, ratios = [], []
                    for n in sizes:
                        problem = Workload(family, n, *shape, method=method).build()
                        models = [estimator(side, problem, 20, method) for side in ("fastgmm", "scikit-learn")]
                        for model in models:
                            model.set_params(reg_covar=1e-6)
                            if start == "k-means":
                                _forget_start(model, method)
                        ours, theirs = seconds([functools.partial(model.fit, problem.X) for model in models], repeats)
                        ratios.append(theirs / ours)
                        cells.append(f"{1e3 * ours:.2f} ({ratios[-1]:.1f})")
                    print_row(f"{method} {family} {shape} {start}", *cells, f"{min(ratios):.1f}")


def _forget_start(model: Any, method: str) -> None:
    """Let an estimator start as it does by default, from the same seed."""
    model.set_params(init_params="kmeans", random_state=0)
    if method == "em":
        model.set_params(weights_init=None, means_init=None, precisions_init=None)
    else:
        vars(model).pop("_initialize_parameters", None)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7, help="rounds that medians are taken of (default 7)")
    parser.add_argument("--quick", action="store_true", help="up to 1000 rows, one round: a check, not a measurement")
    options = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", ".*did not converge")
    repeats = 1 if options.quick else options.repeats
    print_facts(machine_facts())
    predictions(repeats, [10**i for i in range(4 if options.quick else 7)])
    print()
    fits(repeats)
    print("\nIn brackets: how many times as long scikit-learn takes.")


if __name__ == "__main__":
    main()
