"""Passes over the data until EM and variational Bayes are where plain iteration ends, with and without acceleration.

    python benchmarks/acceleration.py [--seeds 15] [--rows 20000] [--tol 1e-8] [--easy]

A pass is what costs time where rows are many, and counts of passes are the same on any machine. Each problem is a
mixture drawn at random; all methods start from the same k-means clusters.
"""

from __future__ import annotations

import argparse
import math
import statistics
from dataclasses import dataclass
from typing import Any

import numpy as np
from common import print_header, print_row
from numpy.typing import NDArray

from fastgmm.families import STRUCTURES
from fastgmm.fitting.acceleration import METHODS, accelerator
from fastgmm.fitting.loop import fit_loop
from fastgmm.fitting.plain import FitResult
from fastgmm.rows import ArrayRows
from fastgmm.rules import MaximumLikelihood, VariationalBayes, make_prior
from fastgmm.sources import Source
from fastgmm.starts.seeding import seed

#: Distances between neighbouring means, in standard deviations of about 1.
OVERLAPPING = 1.0, 1.5
EASY = 4.0, 8.0
#: The tolerance, in nat per row.
TOL = 1e-8
#: How much lower than plain iteration's last bound, per row, still counts as the same.
SAME = 1e-8
MOST_ITERATIONS = 100_000


@dataclass(frozen=True)
class Course:
    """A fit, and after how many passes each of its bounds was known."""

    result: FitResult
    passes: list[int]

    def reached(self, target: float) -> float:
        """Return the passes after which the bound was at least the target; infinity if it never was."""
        reached = (n for n, bound in zip(self.passes, self.result.bounds, strict=True) if bound >= target)
        return next(reached, math.inf)


class _CountingSource:
    def __init__(self, source: Source) -> None:
        self._source = source
        self.n_passes = 0

    def collect(self, density: Any, origin: Any = None) -> Any:
        self.n_passes += 1
        return self._source.collect(density, origin)


def mixture(number: int, family: str, n_samples: int, distances: tuple[float, float] = OVERLAPPING) -> tuple:
    """Return rows (N, D) of a random mixture of a family, and K: two or three components in two to five dimensions.

    All means are at one distance from each other, drawn from the range `distances`. Standard deviations along principal
    axes lie between 0.7 and 1.4.
    """
    rng = np.random.default_rng(number)
    n_components, n_features = int(rng.integers(2, 4)), int(rng.integers(2, 6))
    # A regular simplex with edges of 1, turned at random.
    corners = (np.eye(n_components) - 1.0 / n_components) / math.sqrt(2.0)
    flat = corners @ np.linalg.svd(corners)[2][: n_components - 1].T
    means = rng.uniform(*distances) * flat @ _rotation(rng, n_features)[: n_components - 1]
    axes = [_rotation(rng, n_features) for _ in range(n_components)]
    deviations = rng.uniform(0.7, 1.4, size=(n_components, n_features))
    if family in ("diag", "spherical"):
        axes = [np.eye(n_features)] * n_components
    if family == "spherical":
        deviations[:] = deviations[:, :1]
    if family == "tied":
        axes, deviations = axes[:1] * n_components, np.repeat(deviations[:1], n_components, axis=0)
    labels = rng.choice(n_components, size=n_samples, p=rng.dirichlet(np.full(n_components, 10.0)))
    noise = rng.normal(size=(n_samples, n_features)) * deviations[labels]
    return means[labels] + np.einsum("na,nab->nb", noise, np.array(axes)[labels]), n_components


def _rotation(rng: np.random.Generator, n_features: int) -> NDArray[np.float64]:
    return np.linalg.qr(rng.normal(size=(n_features, n_features)))[0]


def rule(method: str, family: str, X: NDArray[np.float64]) -> Any:
    """Return the update rule: "em"; or "vb", with sorted sticks and a prior about the moments of X."""
    if method == "em":
        return MaximumLikelihood(STRUCTURES[family], 0.0)
    covariance = np.cov(X.T)
    scale = {"diag": np.diag(covariance), "spherical": np.diag(covariance).mean()}.get(family, covariance)
    freedom = X.shape[1] if STRUCTURES[family].has_matrices else 1.0
    return VariationalBayes(
        STRUCTURES[family], make_prior(STRUCTURES[family], 0.5, X.mean(axis=0), 1.0, freedom, scale), True, True, 0.0
    )


def course(
    method: str, family: str, X: NDArray[np.float64], n_components: int, accelerate: str | None, **options: Any
) -> Course:
    """Fit from k-means clusters; `options` go to the loop, by default a tolerance of TOL per row."""
    updates = rule(method, family, X)
    source = Source(STRUCTURES[family], ArrayRows(X))
    start = seed(updates, source, n_components, np.random.RandomState(0))
    counted = _CountingSource(source)
    passes: list[int] = []
    result = fit_loop(
        updates,
        counted,
        start,
        accelerator=accelerator(accelerate, updates),
        callback=lambda *_: passes.append(counted.n_passes),
        **{"tol": TOL * per_row(method, X), "max_iter": MOST_ITERATIONS} | options,
    )
    return Course(result, [*passes[1:], result.n_passes])


def per_row(method: str, X: NDArray[np.float64]) -> float:
    """Return what a bound is divided by to be one per row."""
    return 1.0 if method == "em" else float(len(X))


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=15, help="how many mixtures of each family (default 15)")
    parser.add_argument("--rows", type=int, default=20_000, help="rows of each (default 20000)")
    parser.add_argument("--tol", type=float, default=TOL, help=f"tolerance in nat per row (default {TOL:g})")
    parser.add_argument("--easy", action="store_true", help="well separated components")
    options = parser.parse_args(arguments)
    distances = EASY if options.easy else OVERLAPPING
    print_header("problem", "plain: passes", *(f"{name}: {what}" for name in METHODS for what in ("same bound", "end")))
    for method in ("em", "vb"):
        for family in STRUCTURES:
            plain: list[float] = []
            ratios: dict[str, list[list[float]]] = {name: [[], []] for name in METHODS}
            for number in range(options.seeds):
                X, n_components = mixture(number, family, options.rows, distances)
                tol = options.tol * per_row(method, X)
                end = course(method, family, X, n_components, None, tol=tol).result
                plain.append(end.n_passes)
                target = end.bound - SAME * per_row(method, X)
                for name, (same, whole) in ratios.items():
                    fast = course(method, family, X, n_components, name, tol=tol)
                    same.append(end.n_passes / fast.reached(target))
                    whole.append(end.n_passes / fast.result.n_passes)
            print_row(
                f"{method} {family}",
                f"{statistics.median(plain):.0f} ({min(plain)} to {max(plain)})",
                *(_summary(each) for pair in ratios.values() for each in pair),
            )


def _summary(ratios: list[float]) -> str:
    """Return the median and the range of how many times fewer the passes are; 0 is where they never sufficed."""
    return f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})"


if __name__ == "__main__":
    main()
