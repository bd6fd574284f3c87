"""Fits of a Spark DataFrame beside Spark's own GaussianMixture: one session, the same cached rows, taking turns.

    python benchmarks/spark.py [--quick] [--repeats 3] [--only NAME] [--iterations 20] [--partitions 8]

A time is that of a whole fit, with so many iterations and without a tolerance, from the side's own start: Spark's takes
none. The log-likelihoods at the ends, per row and by one function, say whether the two are worth the same. Needs
fastgmm[spark] and Java.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
import warnings
from typing import Any

import numpy as np
from common import Workload, add_choices, chosen, machine_facts, print_facts, print_header, print_row, usable_cpus
from numpy.typing import NDArray

WORKLOADS = [
    Workload("full", 1_000_000, 8, 8),
    Workload("full", 300_000, 2, 3),
    Workload("full", 200_000, 16, 16),
]


def session(n_cpus: int) -> Any:
    """Return a session of this machine alone, with a task for each CPU."""
    os.environ["PYSPARK_PYTHON"] = sys.executable
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master(f"local[{n_cpus}]").config("spark.ui.enabled", "false")
    builder = builder.config("spark.driver.host", "127.0.0.1").config("spark.driver.memory", "4g")
    builder = builder.config("spark.sql.execution.arrow.pyspark.enabled", "true").config(
        "spark.ui.showConsoleProgress", "false"
    )
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("OFF")
    return spark


def frame_of(spark: Any, X: NDArray, n_partitions: int) -> Any:
    """Return a cached DataFrame with the rows as vectors in the column `features`, as Spark's model takes them."""
    import pandas
    from pyspark.ml.functions import array_to_vector

    names = [f"x{j}" for j in range(X.shape[1])]
    columns = spark.createDataFrame(pandas.DataFrame(X, columns=names)).repartition(n_partitions)
    frame = columns.selectExpr(f"array({', '.join(names)}) as x")
    frame = frame.select(array_to_vector(frame.x).alias("features")).cache()
    frame.count()
    return frame


def fit(side: str, frame: Any, n_components: int, n_iterations: int) -> tuple[float, Any]:
    """Return the seconds of a fit, and its weights, means and covariances."""
    if side == "fastgmm":
        from fastgmm import GaussianMixture

        begin = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = GaussianMixture(n_components, tol=0.0, max_iter=n_iterations, random_state=0).fit(frame)
        seconds = time.perf_counter() - begin
        if model.n_iter_ != n_iterations:
            raise RuntimeError(f"fastgmm made {model.n_iter_} of {n_iterations} iterations")
        return seconds, (model.weights_, model.means_, model.covariances_)
    from pyspark.ml.clustering import GaussianMixture as SparkMixture

    begin = time.perf_counter()
    model = SparkMixture(k=n_components, tol=0.0, maxIter=n_iterations, seed=0).fit(frame)
    seconds = time.perf_counter() - begin
    if model.summary.numIter != n_iterations:
        raise RuntimeError(f"Spark made {model.summary.numIter} of {n_iterations} iterations")
    gaussians = model.gaussians
    means = np.array([each.mean.toArray() for each in gaussians])
    return seconds, (np.array(model.weights), means, np.array([each.cov.toArray() for each in gaussians]))


def compare(workload: Workload, spark: Any, options: argparse.Namespace) -> None:
    """Print the row of one workload."""
    from fastgmm import GaussianMixture

    X = workload.build().X
    frame = frame_of(spark, X, options.partitions)
    times: dict[str, list[float]] = {"fastgmm": [], "Spark": []}
    scores: dict[str, float] = {}
    for number in range(options.repeats + 1):
        # Neither is always the one that comes after the other; the first round, of two iterations, warms up.
        for side in list(times)[:: 1 if number % 2 else -1]:
            seconds, parameters = fit(side, frame, workload.n_components, options.iterations if number else 2)
            if number:
                times[side].append(seconds)
                scores[side] = GaussianMixture.from_parameters(*parameters).score(X)
    frame.unpersist()
    ratios = sorted(theirs / ours for ours, theirs in zip(times["fastgmm"], times["Spark"], strict=True))
    print_row(
        workload.name,
        f"{statistics.median(times['fastgmm']):.2f}",
        f"{statistics.median(times['Spark']):.2f}",
        f"{statistics.median(ratios):.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f})",
        f"{scores['fastgmm']:.5f}",
        f"{scores['Spark']:.5f}",
    )


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--iterations", type=int, default=20, help="of each fit (default 20)")
    parser.add_argument("--partitions", type=int, default=8, help="of the DataFrame (default 8)")
    add_choices(parser)
    parser.set_defaults(repeats=3)
    options = parser.parse_args(arguments)
    workloads = chosen(WORKLOADS, parser, options)
    import pyspark

    print_facts(machine_facts() | {"pyspark": pyspark.__version__})
    spark = session(usable_cpus())
    print_header("workload (N, D, K)", "fastgmm, s", "Spark, s", "ratio (range)", "log-likelihood", "Spark's")
    for workload in workloads:
        compare(workload, spark, options)
    spark.stop()


if __name__ == "__main__":
    main()
