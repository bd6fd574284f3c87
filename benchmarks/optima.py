"""How often restarts find the best optimum known, from defaults: published log-likelihoods of small data sets.

    python benchmarks/optima.py [--seeds 100] [--n-init 10] [--only NAME]

The optima are those of ``tests/data/optima.json``. Every fit has defaults but for `n_init` and the random state, and is
then carried on by EM without ``reg_covar`` until nothing changes: that tells which optimum it was near. It counts as
found where its log-likelihood is no lower than the published one, to a hundredth of a nat over all rows.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path
from typing import Any

from common import print_header, print_row

from fastgmm import GaussianMixture, datasets

OPTIMA = Path(__file__).parents[1] / "tests" / "data" / "optima.json"

#: Log-likelihoods of all rows (nat) that differ by less belong to one optimum: others are a tenth of a nat away.
SAME_OPTIMUM = 0.01


def reached(cell: dict[str, Any], n_init: int, seed: int) -> float:
    """Return the log-likelihood of all rows that a fit from a seed leads to."""
    X = getattr(datasets, f"load_{cell['data']}")().data
    model = GaussianMixture(
        cell["n_components"],
        covariance_type=cell["covariance_type"],
        n_init=n_init,
        random_state=seed,
        warm_start=True,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X).set_params(tol=1e-10, max_iter=20_000, reg_covar=0.0).fit(X)
    return model.lower_bound_ * len(X)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=100, help="random states of each fit (default 100)")
    parser.add_argument("--n-init", type=int, default=10, help="starts of each fit (default 10)")
    parser.add_argument("--only", default="", metavar="NAME", help="only the cells whose name contains this")
    options = parser.parse_args(arguments)
    print_header("data, covariance, components", "best known", "lowest found", "seeds that find it")
    for cell in json.loads(OPTIMA.read_text()):
        name = f"{cell['data']} {cell['covariance_type']} {cell['n_components']}"
        if cell["n_components"] == 1 or options.only not in name:
            continue
        best = cell["log_likelihood"]
        found = [reached(cell, options.n_init, seed) for seed in range(options.seeds)]
        hits = sum(value > best - SAME_OPTIMUM for value in found)
        print_row(name, f"{best:.6f}", f"{min(found):.6f}", f"{hits} of {len(found)}")


if __name__ == "__main__":
    main()
