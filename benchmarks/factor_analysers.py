"""Mixtures of factor analysers beside the machine's peak, the full family, and scikit-learn's FactorAnalysis.

    python benchmarks/factor_analysers.py [--quick] [--repeats 5]

Rows of 784 columns in ten components of ten factors. An iteration is a pass over the rows and the update of parameters.
Work is counted as the method needs it: 2 D q + 3 D multiply-adds for a row and a component. FactorAnalysis is fitted
to the same rows, as one component, with its defaults and with its exact decomposition; all have tolerances of their
own, so look at where they end, too.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import limits
import numpy as np
from common import machine_facts, print_facts, print_header, print_row
from numpy.typing import NDArray

from fastgmm import FactorMixture
from fastgmm.families import NAMED
from fastgmm.rows import ArrayRows
from fastgmm.rules import FactorLikelihood, factor_parameters
from fastgmm.sources.source import source_of

N_ROWS, N_FEATURES, N_COMPONENTS, N_FACTORS = 50_000, 784, 10, 10


def problem(n_rows: int) -> tuple[NDArray, Any]:
    """Return rows in random order, so that tiles have all components, and a state near the law of the rows."""
    rng = np.random.default_rng(0)
    loadings = rng.normal(size=(N_COMPONENTS, N_FEATURES, N_FACTORS))
    means = rng.normal(size=(N_COMPONENTS, N_FEATURES))
    X = rng.normal(size=(n_rows, N_FEATURES))
    for k, part in enumerate(np.array_split(X, N_COMPONENTS)):
        part += means[k] + rng.normal(size=(len(part), N_FACTORS)) @ loadings[k].T
    rng.shuffle(X)
    weights, unique = np.full(N_COMPONENTS, 1.0 / N_COMPONENTS), np.ones((N_COMPONENTS, N_FEATURES))
    return X, factor_parameters(weights, means, loadings + 0.1 * rng.normal(size=loadings.shape), unique)


def passes(X: NDArray, state: Any, repeats: int) -> dict[str, list[float]]:
    """Return the seconds of passes and updates under factor analysers, and of the full family's, in turns."""
    rule = FactorLikelihood(N_FACTORS, "own", 1e-6, X.var(axis=0))
    family = NAMED["full"]
    factors, full = source_of(rule.family, ArrayRows(X)), source_of(family, ArrayRows(X))
    dense, _ = family.density(state.weights, state.means, np.tile(np.cov(X.T), (N_COMPONENTS, 1, 1)))
    seconds: dict[str, list[float]] = {"factors": [], "update": [], "full": [], "full update": []}

    def timed(name: str, task: Callable[[], Any]) -> Any:
        begin = time.perf_counter()
        result = task()
        seconds[name].append(time.perf_counter() - begin)
        return result

    factors.collect(state.density)  # compiles
    for _ in range(repeats):
        sums = timed("factors", lambda: factors.collect(state.density))
        timed("update", lambda sums=sums: rule.update(sums, state.density))
        sums = timed("full", lambda: full.collect(dense))
        timed("full update", lambda sums=sums: family.maximise(sums, 1e-6, False))
    return seconds


def analyses(X: NDArray) -> None:
    """Print one component beside scikit-learn's FactorAnalysis."""
    from sklearn.decomposition import FactorAnalysis

    sides = {
        "fastgmm": FactorMixture(1, N_FACTORS, random_state=0),
        "scikit-learn": FactorAnalysis(N_FACTORS),
        "scikit-learn, svd_method='lapack'": FactorAnalysis(N_FACTORS, svd_method="lapack"),
    }
    print_header("one component", "s", "iterations", "nat a row")
    for name, model in sides.items():
        begin = time.perf_counter()
        model.fit(X)
        seconds = time.perf_counter() - begin
        print_row(name, f"{seconds:.2f}", model.n_iter_, f"{model.score(X):.4f}")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows: a check, not a measurement")
    parser.add_argument("--repeats", type=int, default=5, help="rounds that medians are taken of (default 5)")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    print_facts(machine_facts())
    X, state = problem(N_ROWS // 10 if options.quick else N_ROWS)
    source_of(NAMED["diag"], ArrayRows(X)).covariance()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    FactorMixture(N_COMPONENTS, N_FACTORS, max_iter=2, random_state=0).fit(X)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    seconds = {name: statistics.median(each) for name, each in passes(X, state, options.repeats).items()}
    operations = 2.0 * len(X) * N_COMPONENTS * (2 * N_FEATURES * N_FACTORS + 3 * N_FEATURES)
    peak = limits.measure()["all"]["peak"]["float64"]
    print_header(f"({len(X)}, {N_FEATURES}, {N_COMPONENTS}), {N_FACTORS} factors", "")
    print_row("a pass, s", f"{seconds['factors']:.3f}")
    print_row("of the peak", f"{operations / seconds['factors'] / peak:.0%} of {1e-9 * peak:.0f} GFLOP/s")
    print_row("update, s", f"{seconds['update']:.4f}")
    print_row("memory of a fit beside the rows, MB", f"{memory / 1024:.0f}")
    print_row("full: a pass, s", f"{seconds['full']:.2f}")
    whole = (seconds["full"] + seconds["full update"]) / (seconds["factors"] + seconds["update"])
    print_row("full: an iteration, times that of factors", f"{whole:.0f}")
    print()
    analyses(X)


if __name__ == "__main__":
    main()
