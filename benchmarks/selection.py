"""Choosing a model: time beside a loop over scikit-learn, and how often the right number of components is found.

    python benchmarks/selection.py [--quick] [--repeats 5] [--mixtures 30] [--rscript Rscript]

First ``GaussianMixtureIC`` over scikit-learn's four covariance types and K = 1..12 at (20,000, 8), in turns with a
loop over scikit-learn's estimator; and in which of the 48 cells its BIC is worse. Then the choice by BIC for mixtures
that are drawn at random: K of 2 to 6, D of 2 to 5, 150 rows a component, some of whose components overlap.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from common import machine_facts, print_facts, print_header, print_row
from numpy.typing import NDArray

from fastgmm import GaussianMixtureIC

MCLUST = Path(__file__).parent / "peers" / "mclust_choice.R"
FAMILIES = ["full", "tied", "diag", "spherical"]
#: The families that mclust has, too, by its names.
MODELS = ["EII", "VII", "EEI", "VVI", "EEE", "VVV"]
MOST = 9
# BIC that differs by less is that of one optimum, stopped elsewhere.
SAME = 0.1


def mixture(number: int) -> tuple[NDArray, int]:
    """Return the rows of a mixture drawn at random, and how many components it has."""
    rng = np.random.default_rng(number)
    n_components, n_features = int(rng.integers(2, 7)), int(rng.integers(2, 6))
    means = rng.normal(size=(n_components, n_features)) * rng.uniform(2.0, 5.0)
    parts = []
    for mean in means:
        shape = rng.normal(size=(n_features, n_features)) * 0.5 + np.eye(n_features)
        parts.append(mean + rng.normal(size=(150, n_features)) @ shape)
    return np.concatenate(parts), n_components


def by_scikit_learn(X: NDArray, most: int) -> dict[tuple[str, int], float]:
    """Return the BIC of a loop over scikit-learn's estimator."""
    from sklearn.mixture import GaussianMixture

    return {
        (family, k): GaussianMixture(k, covariance_type=family, random_state=0).fit(X).bic(X)
        for family in FAMILIES
        for k in range(1, most + 1)
    }


def by_mclust(rscript: str, X: NDArray, most: int) -> tuple[float, int]:
    """Return the seconds of mclustBIC, and its number of components."""
    with tempfile.TemporaryDirectory() as folder:
        np.array(X.shape, np.float64).tofile(Path(folder, "sizes"))
        X.T.astype(np.float64).ravel().tofile(Path(folder, "X"))
        subprocess.run([rscript, str(MCLUST), folder, str(most), ",".join(MODELS)], check=True, capture_output=True)
        seconds, n_components, _ = np.fromfile(Path(folder, "result"))
    return float(seconds), int(n_components)


def compare_times(n_rows: int, most: int, repeats: int) -> None:
    """Print the times of both sides in turns, and the cells in which BIC is worse."""
    rng = np.random.default_rng(1)
    means = rng.normal(size=(6, 8)) * 2.5
    shapes = rng.normal(size=(6, 8, 8)) * 0.4
    z = rng.integers(0, 6, n_rows)
    X = means[z] + np.einsum("nij,nj->ni", shapes[z], rng.normal(size=(n_rows, 8))) + rng.normal(size=(n_rows, 8)) / 2
    selection = GaussianMixtureIC(1, most, covariance_type=FAMILIES, random_state=0)
    selection.fit(X[:500])
    ours, theirs = [], []
    for _ in range(repeats):
        begin = time.perf_counter()
        selection.fit(X)
        ours.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        cells = by_scikit_learn(X, most)
        theirs.append(time.perf_counter() - begin)
    table = selection.results_
    worse = [
        f"{family} {k}"
        for family, k, bic in zip(table["covariance_type"], table["n_components"], table["bic"], strict=True)
        if bic > cells[family, k] + SAME
    ]
    better = sum(
        bic < cells[family, k] - SAME
        for family, k, bic in zip(table["covariance_type"], table["n_components"], table["bic"], strict=True)
    )
    print_header("rows", "GaussianMixtureIC, s", "scikit-learn, s", "ratio", "cells better", "cells worse")
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    print_row(
        f"{n_rows} x 8, K = 1..{most}",
        f"{statistics.median(ours):.2f}",
        f"{statistics.median(theirs):.2f}",
        f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})",
        str(better),
        ", ".join(worse) or "none",
    )


def compare_choices(n_mixtures: int, rscript: str | None) -> None:
    """Print how often each side finds the right number of components."""
    right = {"fastgmm": 0, "scikit-learn": 0} | ({} if rscript is None else {"mclust": 0})
    seconds = dict.fromkeys(right, 0.0)
    for number in range(n_mixtures):
        X, n_components = mixture(number)
        begin = time.perf_counter()
        found = GaussianMixtureIC(1, MOST, covariance_type=MODELS, random_state=0).fit(X).n_components_
        seconds["fastgmm"] += time.perf_counter() - begin
        right["fastgmm"] += found == n_components
        begin = time.perf_counter()
        cells = by_scikit_learn(X, MOST)
        seconds["scikit-learn"] += time.perf_counter() - begin
        right["scikit-learn"] += min(cells, key=lambda cell: cells[cell])[1] == n_components
        if rscript is not None:
            took, found = by_mclust(rscript, X, MOST)
            seconds["mclust"] += took
            right["mclust"] += found == n_components
    print_header("side", f"right number of {n_mixtures}", "seconds")
    for side, count in right.items():
        print_row(side, str(count), f"{seconds[side]:.2f}")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, as a check rather than a measurement")
    parser.add_argument("--repeats", type=int, default=5, help="rounds that medians are taken of (default 5)")
    parser.add_argument("--mixtures", type=int, default=30, help="mixtures whose number is looked for (default 30)")
    parser.add_argument("--rscript", metavar="PROGRAM", help="run mclust, too: an Rscript that has it")
    options = parser.parse_args(arguments)
    print_facts(machine_facts())
    # Fits that end at max_iter, on both sides.
    warnings.simplefilter("ignore")
    compare_times(*((500, 3) if options.quick else (20_000, 12)), 1 if options.quick else options.repeats)
    print()
    compare_choices(1 if options.quick else options.mixtures, options.rscript)


if __name__ == "__main__":
    main()
