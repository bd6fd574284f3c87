"""Held-out log-likelihood after one pass of partial_fit over batches, beside that of a whole fit of the same rows.

    python benchmarks/online.py [--rows 1000000] [--batch 10000] [--seeds 5] [--method em|vb] [--covariance full]
                                [--decay 0.6] [--offset 0]

Each seed draws a mixture of 16 overlapping components in 8 dimensions, rows of it, and a tenth as many held-out rows.
"True" is what the mixture itself gives these. A gap is in per cent of the fit's log-likelihood; positive where
partial_fit ends lower.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from common import machine_facts, print_facts, print_header, print_row
from numpy.typing import NDArray

from fastgmm import BayesianGaussianMixture, GaussianMixture

N_COMPONENTS, N_FEATURES = 16, 8
#: The standard deviation of means, in standard deviations of about 1 within components.
SPREAD = 1.5
METHODS = {"em": GaussianMixture, "vb": BayesianGaussianMixture}


def overlapping(seed: int, n_samples: int) -> tuple[NDArray, NDArray, float]:
    """Return rows of a random mixture, held-out rows, and the mean log-likelihood of these under the mixture."""
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.full(N_COMPONENTS, 5.0))
    means = SPREAD * rng.normal(size=(N_COMPONENTS, N_FEATURES))
    root = rng.normal(size=(N_COMPONENTS, N_FEATURES, 2 * N_FEATURES))
    covariances = root @ np.swapaxes(root, 1, 2) / (2 * N_FEATURES)
    truth = GaussianMixture.from_parameters(weights, means, covariances)
    n_held_out = max(1000, n_samples // 10)
    X, _ = truth.sample(n_samples + n_held_out, random_state=rng)
    X = rng.permutation(X)
    return X[n_held_out:], X[:n_held_out], truth.score(X[:n_held_out])


@dataclass(frozen=True)
class Comparison:
    """Held-out log-likelihoods (nat per row) of the true mixture, the fit, and the batches, and seconds of both."""

    truth: float
    fit: float
    batches: float
    fit_seconds: float
    batches_seconds: float

    @property
    def gap(self) -> float:
        """By how much the batches end below the fit, in per cent of its log-likelihood."""
        return 100.0 * (self.fit - self.batches) / abs(self.fit)


def compare(seed: int, n_samples: int, batch: int, method: str, **params: Any) -> Comparison:
    """Return how a whole fit and one pass of batches compare on the rows of a seed."""
    X, held_out, truth = overlapping(seed, n_samples)
    scores, seconds = [], []
    for whole in (True, False):
        model = METHODS[method](N_COMPONENTS, random_state=seed, max_iter=1000, **params)
        begin = time.perf_counter()
        if whole:
            model.fit(X)
        else:
            for start in range(0, len(X), batch):
                model.partial_fit(X[start : start + batch])
        seconds.append(time.perf_counter() - begin)
        plain = GaussianMixture.from_parameters(model.weights_, model.means_, model.covariances_, model.covariance_type)
        scores.append(plain.score(held_out))
    return Comparison(truth, *scores, *seconds)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows that are learned from (default 1000000)")
    parser.add_argument("--batch", type=int, default=10_000, help="rows of a batch (default 10000)")
    parser.add_argument("--seeds", type=int, default=5, help="number of mixtures (default 5)")
    parser.add_argument("--method", choices=sorted(METHODS), default="em")
    parser.add_argument("--covariance", default="full", help="covariance type (default full)")
    parser.add_argument("--decay", type=float, help="learning_decay (default: the estimator's)")
    parser.add_argument("--offset", type=float, help="learning_offset (default: the estimator's)")
    options = parser.parse_args(arguments)
    params = {"covariance_type": options.covariance}
    params |= {
        f"learning_{name}": getattr(options, name) for name in ("decay", "offset") if getattr(options, name) is not None
    }
    print_facts(machine_facts())
    overlapping_rows = min(options.rows, 2 * options.batch)
    compare(0, overlapping_rows, options.batch, options.method, **params)  # compiles
    print_header("seed", "true", "fit", "batches", "gap, %", "fit, s", "batches, s")
    gaps = []
    for seed in range(options.seeds):
        found = compare(seed, options.rows, options.batch, options.method, **params)
        gaps.append(found.gap)
        numbers = (f"{value:.4f}" for value in (found.truth, found.fit, found.batches, found.gap))
        print_row(seed, *numbers, f"{found.fit_seconds:.2f}", f"{found.batches_seconds:.2f}")
    print(f"\nLargest gap: {max(gaps):.4f} %")


if __name__ == "__main__":
    main()
