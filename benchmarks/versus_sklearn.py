"""One iteration, EM or variational, of fastgmm beside one of scikit-learn: from the same start, taking turns.

    python benchmarks/versus_sklearn.py [--quick] [--repeats 5] [--only NAME] [--json FILE]

An iteration's time is that of a fit of many iterations minus that of a fit of few, over the difference: what a fit
does once, and the pass that fastgmm makes after its last update, drop out. Each side runs in a process of its own
and waits while another one works. scikit-learn is run with several numbers of BLAS threads and counts with the fastest.
Both sides must end at the same log-likelihood, else the comparison stops with an error; except where scikit-learn's
variational update is another one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from common import Worker, Workload, machine_facts, print_facts, print_header, print_row, usable_cpus

WORKLOADS = [
    Workload("full", 100_000, 64, 32),
    Workload("full", 200_000, 16, 16),
    Workload("full", 1_000_000, 4, 8),
    Workload("diag", 100_000, 32, 64),
    Workload("spherical", 200_000, 16, 32),
    Workload("tied", 200_000, 32, 16),
    Workload("full", 100_000, 64, 32, "float32"),
    Workload("full", 100_000, 16, 16, method="vb"),
    Workload("diag", 200_000, 32, 32, method="vb"),
]
FEW, MANY = 1, 5

#: How far the final log-likelihoods may be apart, relatively, by the type of X.
TOLERANCES = {"float64": 1e-9, "float32": 1e-4}


def sklearn_variants() -> dict[str, dict[str, str]]:
    """Return the environments scikit-learn is tried in, by name.

    It calls BLAS in short bursts with serial work between them. More threads help or harm, depending on sizes and
    machine; OpenBLAS's spin a while after each call, and take the CPU from that serial work unless they give up soon.
    """
    counts = sorted({1, min(2, usable_cpus()), usable_cpus()})
    return {
        f"{count} BLAS thread" + "s" * (count > 1): {"OPENBLAS_NUM_THREADS": str(count), "OPENBLAS_THREAD_TIMEOUT": "4"}
        for count in counts
    }


def check_agreement(workload: Workload, scores: dict[str, float]) -> None:
    """Raise RuntimeError unless all mean log-likelihoods agree to the tolerance of the workload's type."""
    expected, *others = scores.values()
    allowed = TOLERANCES[workload.dtype] * abs(expected)
    # Asked this way round, a NaN fails too.
    if not all(abs(score - expected) <= allowed for score in others):
        raise RuntimeError(f"{workload.name}: mean log-likelihoods after {MANY} iterations differ: {scores}")


def compare(workload: Workload, workers: dict[str, Worker], repeats: int, n_samples: int) -> dict[str, Any]:
    """Return the milliseconds per iteration of every worker in every round, and what follows from them.

    The worker called "fastgmm" is compared with the fastest, by median, of the others.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "problem.npz"
        workload.build(n_samples).save(path)
        for worker in workers.values():
            worker.ask(load=str(path))
    # This also compiles and warms up.
    scores = {name: worker.ask(score=MANY, method=workload.method) for name, worker in workers.items()}
    if workload.same_model:
        check_agreement(workload, scores)
    milliseconds: dict[str, list[float]] = {name: [] for name in workers}
    for _ in range(repeats):
        for name, worker in workers.items():
            few, many = (worker.ask(max_iter=n, method=workload.method) for n in (FEW, MANY))
            milliseconds[name].append(1e3 * (many - few) / (MANY - FEW))
    medians = {name: statistics.median(times) for name, times in milliseconds.items()}
    best = min((name for name in workers if name != "fastgmm"), key=medians.__getitem__)
    return {
        "workload": workload.name,
        "n_samples": n_samples,
        "iterations": [FEW, MANY],
        "mean_log_likelihood": scores,
        "milliseconds": milliseconds,
        "best_variant": best,
        "ratio": medians[best] / medians["fastgmm"],
    }


def print_result(result: dict[str, Any]) -> None:
    """Print one row of the table."""
    best = result["best_variant"]
    ours, theirs = (_median_and_range(result["milliseconds"][name]) for name in ("fastgmm", best))
    print_row(result["workload"], ours, theirs, best, f"{result['ratio']:.1f}")


def _median_and_range(times: list[float]) -> str:
    return f"{statistics.median(times):.2f} ({min(times):.2f} to {max(times):.2f})"


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows: a check, not a measurement")
    parser.add_argument("--repeats", type=int, default=5, help="rounds that medians are taken of (default 5)")
    parser.add_argument("--only", default="", metavar="NAME", help="only the workloads whose name contains this")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers to this file, too")
    options = parser.parse_args(arguments)
    workloads = [workload for workload in WORKLOADS if options.only in workload.name]
    if not workloads:
        parser.error(f"no workload's name contains {options.only!r}: {', '.join(work.name for work in WORKLOADS)}")
    facts = machine_facts()
    print_facts(facts)
    print_header("workload (N, D, K)", "fastgmm, ms", "scikit-learn, ms", "with", "ratio")
    results = []
    with contextlib.ExitStack() as stack:
        workers = {"fastgmm": stack.enter_context(Worker("fastgmm"))}
        for name, environment in sklearn_variants().items():
            workers[name] = stack.enter_context(Worker("scikit-learn", **environment))
        for workload in workloads:
            n_samples = workload.n_samples // 10 if options.quick else workload.n_samples
            results.append(compare(workload, workers, options.repeats, n_samples))
            print_result(results[-1])
    print(f"\nMilliseconds per iteration: median (range) of {options.repeats} rounds" + _quick_note(options.quick))
    if options.json:
        options.json.write_text(json.dumps({"machine": facts, "results": results}, indent=2) + "\n")


def _quick_note(quick: bool) -> str:
    return "; --quick: a tenth of the rows." if quick else "."


if __name__ == "__main__":
    main()
