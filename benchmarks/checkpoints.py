"""What a checkpoint costs: milliseconds of a write and bytes of the file, beside the iterations that it interrupts.

    python benchmarks/checkpoints.py

Each workload is fitted without a checkpoint, and with one after every iteration, in a temporary folder (TMPDIR chooses
the disk). Writes are medians; an iteration is the mean of the fit without, its start included.
"""

import argparse
import statistics
import tempfile
import time
import warnings
from pathlib import Path
from unittest import mock

import numpy as np

from fastgmm import GaussianMixture
from fastgmm.fitting.checkpoint import Checkpoint

# N, D, K, accelerate
WORKLOADS = (
    (200_000, 16, 16, None),
    (200_000, 16, 16, "anderson"),
    (100_000, 64, 32, None),
    (100_000, 64, 32, "anderson"),
    (1_000_000, 2, 3, None),
)


def seconds_of_writes(model, X):
    """Fit, and return how long each write took."""
    seconds = []
    write = Checkpoint._write

    def timed(self):
        begin = time.perf_counter()
        write(self)
        seconds.append(time.perf_counter() - begin)

    with mock.patch.object(Checkpoint, "_write", timed):
        model.fit(X)
    return seconds


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--rows", type=int, help="as many rows in every workload")
    arguments = parser.parse_args(argv)
    warnings.simplefilter("ignore")
    print("| N, D, K | accelerate | iteration, ms | write, ms | file, MB | share at 60 s |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for n_rows, n_features, n_components, accelerate in WORKLOADS:
        n_rows = arguments.rows or n_rows
        X = np.random.default_rng(0).normal(size=(n_rows, n_features))
        options = {"accelerate": accelerate, "max_iter": arguments.iterations, "tol": 0.0, "random_state": 0}
        options |= {"init_params": "random"}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "fit.checkpoint"
            write = statistics.median(
                seconds_of_writes(GaussianMixture(n_components, checkpoint=path, checkpoint_interval=0, **options), X)
            )
            size = path.stat().st_size
        model = GaussianMixture(n_components, **options)
        begin = time.perf_counter()
        model.fit(X)
        iteration = (time.perf_counter() - begin) / model.n_iter_
        print(
            f"| {n_rows}, {n_features}, {n_components} | {accelerate or ''} | {1e3 * iteration:.2f} "
            f"| {1e3 * write:.2f} | {1e-6 * size:.2f} | {write / 60.0:.3%} |"
        )


if __name__ == "__main__":
    main()
