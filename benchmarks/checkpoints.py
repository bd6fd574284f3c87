"""What a checkpoint costs: milliseconds of a write and bytes of the file, beside the iterations that it interrupts.

    python benchmarks/checkpoints.py

Each workload is fitted twice, without a checkpoint and with one after every iteration; files are written to a temporary
folder (TMPDIR chooses the disk).
"""

import argparse
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

from fastgmm import GaussianMixture

# N, D, K, accelerate
WORKLOADS = (
    (200_000, 16, 16, None),
    (200_000, 16, 16, "anderson"),
    (100_000, 64, 32, None),
    (100_000, 64, 32, "anderson"),
    (1_000_000, 2, 3, None),
)


def seconds(model, X):
    begin = time.perf_counter()
    model.fit(X)
    return (time.perf_counter() - begin) / model.n_iter_


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--rows", type=int, help="as many rows in every workload")
    arguments = parser.parse_args(argv)
    warnings.simplefilter("ignore")
    print("| N, D, K | accelerate | iteration, ms | with a write, ms | file, MB | share at 60 s |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for n_rows, n_features, n_components, accelerate in WORKLOADS:
        n_rows = arguments.rows or n_rows
        X = np.random.default_rng(0).normal(size=(n_rows, n_features))
        options = {"accelerate": accelerate, "max_iter": arguments.iterations, "tol": 0.0, "random_state": 0}
        options |= {"init_params": "random"}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "fit.checkpoint"
            plain = GaussianMixture(n_components, **options)
            kept = GaussianMixture(n_components, checkpoint=path, checkpoint_interval=0, **options)
            seconds(plain, X)
            without, every = seconds(plain, X), seconds(kept, X)
            size = path.stat().st_size
        print(
            f"| {n_rows}, {n_features}, {n_components} | {accelerate or ''} | {1e3 * without:.2f} | {1e3 * every:.2f} "
            f"| {1e-6 * size:.2f} | {(every - without) / 60.0:.3%} |"
        )


if __name__ == "__main__":
    main()
