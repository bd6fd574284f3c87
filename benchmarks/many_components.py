"""Many components: iterations that skip pairs beside those that look at all, and beside scikit-learn's.

    python benchmarks/many_components.py [--quick] [--repeats 5] [--only NAME] [--scikit-learn] [--json FILE]
    python benchmarks/many_components.py --growth [--scikit-learn] [--plot FILE]
    python benchmarks/many_components.py --patches

The first prints milliseconds per iteration, updates included, for components that lie apart and for ones that overlap.
The second lets the number of components grow, for the same number of rows, and fits the exponent. The third fits the
patches of two photographs that scikit-learn ships, from k-means to convergence, and says what each iteration looked at.

Sides run in processes of their own and take turns, from the same start; all must end at the same log-likelihood.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import (
    ALL_PAIRS,
    Worker,
    Workload,
    add_choices,
    chosen,
    machine_facts,
    mean_log_likelihood,
    print_facts,
    print_header,
    print_row,
    usable_cpus,
)
from peers.serving import Problem

#: How far the log-likelihoods of sides may be apart, relatively.
_TOLERANCE = 1e-9
_GROWTH = [2**power for power in range(4, 12)]
# From so many components on, scikit-learn is timed once: its iterations take half a minute.
_ONCE = 512
# In a round, a short fit is repeated until about so long has passed, and at most so often.
_LEAST_SECONDS = 2.0
_MOST_FITS = 15
_PATCHES = {"3 x 3, colour": (3, False), "8 x 8, grey": (8, True)}
_PATCH_COMPONENTS = 200
_PATCHES_OF_EACH = 50_000


@dataclass(frozen=True)
class Separated(Workload):
    """Components whose means are drawn evenly from a cube, as ``make_blobs`` does, in units of standard deviations."""

    half_edge: float = 10.0

    @property
    def name(self) -> str:
        """The name in tables and for ``--only``, as in ``separated full (100k, 32, 128)``."""
        return f"separated {super().name}"

    def build(self, n_samples: int | None = None) -> Problem:
        """Return the problem; the start is equal weights, means half a standard deviation off, variances of 1."""
        from fastgmm.families import FAMILIES

        n_samples = self.n_samples if n_samples is None else n_samples
        rng = np.random.default_rng(0)
        shape = self.n_components, self.n_features
        means = rng.uniform(-self.half_edge, self.half_edge, shape)
        # As many rows for each: covariances of few rows would not be positive definite.
        labels = rng.permutation(np.arange(n_samples) % self.n_components)
        X = (means[labels] + rng.normal(size=(n_samples, self.n_features))).astype(self.dtype)
        off = means + rng.normal(scale=0.5 / np.sqrt(self.n_features), size=shape)
        family = FAMILIES[self.covariance_type]
        precisions = family.precisions(family.isotropic_whitener(*shape, scale=1.0))
        weights = np.full(self.n_components, 1.0 / self.n_components, self.dtype)
        return Problem(self.covariance_type, X, weights, off.astype(self.dtype), precisions.astype(self.dtype), labels)


WORKLOADS: list[Workload] = [
    Separated("full", 100_000, 32, 128),
    Separated("full", 100_000, 32, 512),
    Separated("full", 100_000, 32, 128, half_edge=4.0),
    Separated("full", 100_000, 32, 512, half_edge=4.0),
    Separated("full", 100_000, 32, 128, half_edge=3.0),
    Separated("diag", 200_000, 64, 1024),
    Separated("tied", 200_000, 32, 256),
    Separated("spherical", 200_000, 16, 256),
    Workload("full", 100_000, 32, 128),
    Workload("full", 100_000, 32, 512),
    Workload("diag", 200_000, 64, 1024),
    Workload("tied", 200_000, 32, 256),
    Workload("spherical", 200_000, 16, 256),
]


def nearest_means(problem: Problem) -> float:
    """Return the distance of the two nearest means."""
    square = (problem.means**2).sum(axis=1)
    distance = square[:, None] + square - 2.0 * problem.means @ problem.means.T
    return math.sqrt(np.min(distance[~np.eye(len(square), dtype=bool)]))


class Sides:
    """The processes that take turns, by name: fastgmm, fastgmm that looks at all pairs, and perhaps scikit-learn."""

    def __init__(self, stack: contextlib.ExitStack, with_sklearn: bool) -> None:
        self.workers = {
            "skipping": stack.enter_context(Worker.of_side("fastgmm")),
            "all pairs": stack.enter_context(Worker.of_side("fastgmm", **{ALL_PAIRS: "1"})),
        }
        if with_sklearn:
            # Its best here: matrix products are large, so all threads help.
            threads = {"OPENBLAS_NUM_THREADS": str(usable_cpus()), "OPENBLAS_THREAD_TIMEOUT": "4"}
            self.workers["scikit-learn"] = stack.enter_context(Worker.of_side("scikit-learn", **threads))

    def compare(self, workload: Workload, repeats: int) -> dict[str, list[float]]:
        """Return the milliseconds per iteration of each side, in rounds in which they take turns."""
        problem = workload.build()
        few, many = 1, 3
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "problem.npz"
            problem.save(path)
            for worker in self.workers.values():
                worker.ask(load=str(path))
        scores = {
            name: mean_log_likelihood(problem, *worker.parameters(many, workload.method))
            for name, worker in self.workers.items()
            if name != "scikit-learn" or workload.n_components < _ONCE
        }
        if not max(scores.values()) - min(scores.values()) <= _TOLERANCE * abs(scores["skipping"]):
            raise RuntimeError(f"{workload.name}: log-likelihoods after {many} iterations differ: {scores}")
        # A fit skips with hints from its second pass on: as all but the first of a long fit.
        lengths = {name: (few, many) if name == "scikit-learn" else (few + 1, many + 6) for name in self.workers}
        # Differences of short fits are noise: each is the median of several.
        n_fits = dict.fromkeys(self.workers, 1)
        for name in ("skipping", "all pairs"):
            (seconds,) = self.workers[name].ask(fit=lengths[name][1], method=workload.method, repeats=1)
            n_fits[name] = min(max(round(_LEAST_SECONDS / seconds), 1), _MOST_FITS)
        times: dict[str, list[float]] = {name: [] for name in self.workers}
        for turn in range(repeats):
            for name, worker in list(self.workers.items())[:: 1 if turn % 2 else -1]:
                if name == "scikit-learn" and turn and workload.n_components >= _ONCE:
                    continue
                short, long = (
                    statistics.median(worker.ask(fit=n, method=workload.method, repeats=n_fits[name]))
                    for n in lengths[name]
                )
                times[name].append(1e3 * (long - short) / (lengths[name][1] - lengths[name][0]))
        return times


def _has_rows(workload: Workload) -> bool:
    """Return whether every component has the rows for a covariance; some have not with ``--quick``."""
    return workload.covariance_type != "full" or workload.n_samples > 1.2 * workload.n_components * workload.n_features


def _cells(times: dict[str, list[float]]) -> list[str]:
    ours = statistics.median(times["skipping"])
    cells = []
    for name, each in times.items():
        median = statistics.median(each)
        cells.append(f"{median:.1f} ({min(each):.1f} to {max(each):.1f})")
        if name != "skipping":
            cells[-1] += f": {median / ours:.2f}"
    return cells


def compare_all(workloads: list[Workload], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Print the table of iterations, and return its numbers."""
    results = []
    with contextlib.ExitStack() as stack:
        sides = Sides(stack, options.scikit_learn)
        print_header("workload (N, D, K)", "nearest means", *sides.workers)
        for workload in filter(_has_rows, workloads):
            times = sides.compare(workload, options.repeats)
            nearest = nearest_means(workload.build(1000))
            results.append({"name": workload.name, "nearest": nearest, "milliseconds": times})
            print_row(workload.name, f"{nearest:.1f}", *_cells(times))
    print(
        f"\nMilliseconds per iteration: median (range) of {options.repeats} rounds; after the colon, how many times as "
        "long as with pairs skipped. Nearest means: in standard deviations, about."
    )
    return results


def grow(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Print what an iteration takes for more and more components, with the exponents; draw it if asked to."""
    n_rows = 10_000 if options.quick else 100_000
    results = []
    with contextlib.ExitStack() as stack:
        sides = Sides(stack, options.scikit_learn)
        print_header("K", *sides.workers)
        for workload in filter(_has_rows, (Separated("full", n_rows, 32, n_components) for n_components in _GROWTH)):
            n_components = workload.n_components
            times = sides.compare(workload, options.repeats)
            results.append({"n_components": n_components, "milliseconds": times})
            print_row(n_components, *_cells(times))
    exponents = {name: _exponent(results, name) for name in results[0]["milliseconds"]}
    print("\nExponents: " + ", ".join(f"{name} {value:.2f}" for name, value in exponents.items()))
    if options.plot:
        _draw(options.plot, results, exponents)
    return results


def _exponent(results: list[dict[str, Any]], name: str) -> float:
    """Return the slope of log time over log K, by least squares."""
    x = np.log([result["n_components"] for result in results])
    y = np.log([statistics.median(result["milliseconds"][name]) for result in results])
    return float(np.polyfit(x, y, 1)[0])


def _draw(path: Path, results: list[dict[str, Any]], exponents: dict[str, float]) -> None:
    """Draw times over K on logarithmic axes, a line for each side."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7.2, 4.6), layout="constrained")
    names = {"skipping": "fastgmm", "all pairs": "fastgmm, all pairs", "scikit-learn": "scikit-learn"}
    colours = {"skipping": "#0b6e4f", "all pairs": "#6d9dc5", "scikit-learn": "#d1495b"}
    x = [result["n_components"] for result in results]
    for name, exponent in exponents.items():
        y = [statistics.median(result["milliseconds"][name]) for result in results]
        axes.plot(x, y, marker="o", color=colours[name], linewidth=2)
        axes.annotate(
            f"{names[name]}: K^{exponent:.2f}",
            (x[-1], y[-1]),
            (-8, 10),
            textcoords="offset points",
            ha="right",
            color=colours[name],
        )
    axes.set(xscale="log", yscale="log", xlabel="components K", ylabel="one iteration, ms")
    axes.set_ylim(top=3.0 * axes.get_ylim()[1])
    axes.set_xticks(x, [str(value) for value in x])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title("Full covariances, 100,000 rows, 32 features, components apart", loc="left", fontsize=11)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def patches(size: int, is_grey: bool, n_of_each: int) -> np.ndarray:
    """Return patches of the two photographs as rows, in random order, with the rounding of their bytes undone."""
    from sklearn.datasets import load_sample_images
    from sklearn.feature_extraction.image import extract_patches_2d

    rng = np.random.default_rng(0)
    pieces = []
    for image in load_sample_images().images:
        values = image.astype(float) / 255.0
        values = values.mean(axis=2) if is_grey else values
        piece = extract_patches_2d(values, (size, size), max_patches=n_of_each, random_state=0)
        pieces.append(piece.reshape(len(piece), -1))
    X = np.concatenate(pieces)
    return X[rng.permutation(len(X))] + rng.uniform(-0.5, 0.5, X.shape) / 255.0


def fit_patches(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Fit the photographs' patches with and without skipping, and print what was looked at in each iteration."""
    from fastgmm.families import FAMILIES
    from fastgmm.fitting.loop import fit_steps
    from fastgmm.rows import ArrayRows
    from fastgmm.rules import MaximumLikelihood
    from fastgmm.sources import Source
    from fastgmm.starts.seeding import seed

    results = []
    for name, (size, is_grey) in _PATCHES.items():
        X = patches(size, is_grey, _PATCHES_OF_EACH // (10 if options.quick else 1))
        rule = MaximumLikelihood(FAMILIES["full"], 1e-6)
        seconds: dict[str, list[float]] = {"skipping": [], "all pairs": []}
        bounds: dict[str, list[float]] = {}
        looked: list[list[float]] = []
        source = Source(rule.family, ArrayRows(X))
        begin = time.perf_counter()
        start = seed(rule, source, _PATCH_COMPONENTS, np.random.RandomState(0), "kmeans")
        seeding = time.perf_counter() - begin
        for turn in range(options.repeats + 1):  # the first warms up
            for side, skips in (("skipping", True), ("all pairs", False))[:: 1 if turn % 2 else -1]:
                source = Source(rule.family, ArrayRows(X), skips=skips)
                begin = time.perf_counter()
                steps = fit_steps(rule, source, start, tol=1e-3, max_iter=100)
                shares = []
                while True:
                    try:
                        next(steps)
                    except StopIteration as end:
                        bounds[side] = end.value.bounds
                        break
                    shares.append((source.pairs[1:] / max(source.pairs[0], 1.0)).tolist())
                if turn:
                    seconds[side].append(time.perf_counter() - begin)
                if skips:
                    looked = shares
        difference = max(abs(a - b) / abs(b) for a, b in zip(*bounds.values(), strict=True))
        print(f"\n{name}: {len(X):,} rows, D = {X.shape[1]}, K = {_PATCH_COMPONENTS}; k-means {seeding:.1f} s\n")
        print_header("iteration", "distances begun", "finished", "live", "skipped")
        for number, (begun, finished, live) in enumerate(looked, 1):
            print_row(number, f"{begun:.1%}", f"{finished:.1%}", f"{live:.1%}", f"{1 - finished:.1%}")
        medians = {side: statistics.median(each) for side, each in seconds.items()}
        print(
            f"\nfit of {len(looked)} iterations: {medians['skipping']:.2f} s, all pairs {medians['all pairs']:.2f} s: "
            f"{medians['all pairs'] / medians['skipping']:.2f}; bounds differ by {difference:.0e} at most, relatively"
        )
        results.append(
            {"name": name, "seconds": seconds, "seeding": seeding, "pairs": looked, "difference": difference}
        )
    return results


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_choices(parser)
    parser.add_argument("--growth", action="store_true", help="let the number of components grow")
    parser.add_argument("--patches", action="store_true", help="fit the patches of photographs")
    parser.add_argument("--scikit-learn", action="store_true", help="also scikit-learn, whose iterations take long")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers to this file, too")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the growth (needs matplotlib)")
    options = parser.parse_args(arguments)
    workloads = chosen(WORKLOADS, parser, options)
    facts = machine_facts()
    print_facts(facts)
    if options.growth:
        results = grow(options)
    elif options.patches:
        results = fit_patches(options)
    else:
        results = compare_all(workloads, options)
    if options.json:
        written = {"machine": facts, "repeats": options.repeats, "results": results}
        options.json.write_text(json.dumps(written, indent=2) + "\n")


if __name__ == "__main__":
    main()
