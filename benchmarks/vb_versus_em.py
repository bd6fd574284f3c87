"""One variational iteration of fastgmm beside one of its EM, over the same rows, taking turns in one process.

    python benchmarks/vb_versus_em.py [--repeats 5]

An iteration's time is that of a fit of many iterations minus that of a fit of few, over the difference.
"""

from __future__ import annotations

import argparse
import statistics

from common import Workload, fit, machine_facts, print_facts, print_header, print_row

WORKLOADS = [
    Workload("full", 100_000, 16, 16),
    Workload("full", 100_000, 64, 32),
    Workload("tied", 200_000, 32, 16),
    Workload("diag", 200_000, 32, 32),
    Workload("spherical", 200_000, 16, 32),
]
FEW, MANY = 1, 11


def iteration(problem, method: str) -> float:
    """Return the milliseconds of one iteration."""
    few, many = (fit("fastgmm", problem, n, method)[1] for n in (FEW, MANY))
    return 1e3 * (many - few) / (MANY - FEW)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="rounds that medians are taken of (default 5)")
    options = parser.parse_args(arguments)
    print_facts(machine_facts())
    print_header("workload (N, D, K)", "EM, ms", "variational, ms", "ratio (range)")
    for workload in WORKLOADS:
        problem = workload.build()
        for method in ("em", "vb"):
            fit("fastgmm", problem, 1, method)
        times: dict[str, list[float]] = {"em": [], "vb": []}
        for number in range(options.repeats):
            # Neither is always the one that comes after the other.
            for method in ("em", "vb") if number % 2 else ("vb", "em"):
                times[method].append(iteration(problem, method))
        ratios = sorted(vb / em for em, vb in zip(times["em"], times["vb"], strict=True))
        em, vb = statistics.median(times["em"]), statistics.median(times["vb"])
        print_row(workload.name, f"{em:.2f}", f"{vb:.2f}", f"{vb / em:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    main()
