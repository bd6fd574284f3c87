"""Time of an iteration on Dask's schedulers against the same rows in memory, by workers, threads and partitions.

python benchmarks/dask_fits.py [--rows 1000000] [--features 8] [--components 8] [--partitions 4 32] [--iterations 8]
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import time
import warnings
from collections.abc import Iterator
from typing import Any

import dask
import dask.array
import numpy as np
from common import machine_facts, print_facts, print_header, print_row, usable_cpus
from distributed import Client, LocalCluster

from fastgmm import GaussianMixture
from fastgmm.sources.dask import DaskRows


def iteration(data: Any, n_components: int, n_iterations: int) -> tuple[float, float]:
    """Return the median seconds of an iteration, the first two left out, and the last bound."""
    moments: list[float] = []
    model = GaussianMixture(
        n_components, random_state=0, init_params="random_from_data", tol=0.0, max_iter=n_iterations + 2
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it stops before it has converged
        model.fit(data, callback=lambda *_: moments.append(time.perf_counter()))
    return float(np.median(np.diff(moments)[1:])), model.lower_bound_


@contextlib.contextmanager
def cluster(n_workers: int, n_threads: int) -> Iterator[None]:
    """Run what is computed in the block on worker processes."""
    with (
        LocalCluster(n_workers, threads_per_worker=n_threads, dashboard_address=":0", silence_logs=logging.ERROR) as it,
        Client(it),
    ):
        yield


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--features", type=int, default=8)
    parser.add_argument("--components", type=int, default=8)
    parser.add_argument("--partitions", type=int, nargs="+", default=[4, 32])
    parser.add_argument("--iterations", type=int, default=8)
    options = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", "Sending large graph")  # once, when the rows go out
    print_facts(machine_facts())
    rng = np.random.default_rng(0)
    means = 2.0 * rng.normal(size=(options.components, options.features))
    X = means[rng.integers(options.components, size=options.rows)] + rng.normal(size=(options.rows, options.features))
    n = usable_cpus()
    places: dict[str, tuple[Any, int]] = {
        "threads of this process": (contextlib.nullcontext, 1),
        f"{n} processes of 1 thread": (lambda: cluster(n, 1), 1),
        f"1 process of {n} threads": (lambda: cluster(1, n), 1),
        f"1 process of 1 thread, n_threads={n}": (lambda: cluster(1, 1), n),
    }
    print_header("where", "partitions", "ms an iteration", "times memory's")
    own, bound = iteration(X, options.components, options.iterations)
    print_row("memory", "", f"{1e3 * own:.1f}", "1.00")
    for where, (place, n_threads) in places.items():
        with place():
            for n_partitions in options.partitions:
                data = dask.array.from_array(X, chunks=(-(-len(X) // n_partitions), -1)).persist()
                rows = DaskRows(data, n_threads=n_threads)
                seconds, other = iteration(rows, options.components, options.iterations)
                if not np.isclose(bound, other, rtol=1e-9, atol=0.0):
                    raise RuntimeError(f"{where}: the bound is {other!r}, in memory {bound!r}")
                print_row(where, str(data.numblocks[0]), f"{1e3 * seconds:.1f}", f"{seconds / own:.2f}")
                del data, rows


if __name__ == "__main__":
    main()
