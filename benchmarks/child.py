"""What the benchmarks run in processes of their own; answers in JSON on standard output. Not called by hand.

``child.py start SIDE``, ``child.py memory SIDE PROBLEM.npz``, ``child.py limits``, ``child.py out_of_core WHERE FILE
COVARIANCE K ITERATIONS``, ``child.py serve SIDE`` or ``child.py answer SIDE``.
"""

import importlib
import importlib.metadata
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

#: Where each side's GaussianMixture is imported from, by the name its package is installed under.
SIDES = {"fastgmm": "fastgmm", "scikit-learn": "sklearn.mixture"}

# A target that so many starts miss counts as out of reach.
_MOST_STARTS = 20


def start(side):
    """Return seconds from here until the package, its estimator and a first small fit (200, D=2, K=3) are there."""
    # `common`, which imports NumPy, is left to those who do not time imports.
    seconds = {}
    begin = time.perf_counter()
    importlib.import_module(SIDES[side].split(".")[0])
    seconds["package"] = time.perf_counter() - begin
    mixture = importlib.import_module(SIDES[side]).GaussianMixture
    seconds["estimator"] = time.perf_counter() - begin
    import numpy as np

    X = np.random.default_rng(0).normal(size=(200, 2)) + np.repeat(
        [[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]], [80, 60, 60], 0
    )
    mixture(n_components=3, random_state=0).fit(X)
    seconds["fit"] = time.perf_counter() - begin
    return seconds


def memory(side, path):
    """Return the MB this process holds with X and warm code, "before", and by how many a fit's peak is higher."""
    from common import Problem, fit

    problem = Problem.load(path)
    few = replace(problem, X=problem.X[:20_000], labels=problem.labels[:20_000])
    fit(side, few, 2)
    _reset_peak()
    before = _peak_memory()
    fit(side, problem, 2)
    return {"before": before / 1e6, "extra": (_peak_memory() - before) / 1e6}


def _reset_peak():
    """Forget peaks so far, such as the compiler's; only Linux can. Elsewhere they hide as much of the fit's own."""
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5")


def _peak_memory():
    """Return the peak of resident memory in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss, which on Linux starts from the peak of the process that started this one.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def out_of_core(where, path, covariance_type, n_components, n_iterations):
    """Fit the rows of a file where they are, or from memory; return its peak in MB, the bound, and times in seconds.

    "iteration" is the mean of all but the first, "total" has the start in it, and for a file the look at its rows.
    """
    import warnings

    import numpy as np

    from fastgmm import GaussianMixture

    ends = []
    warnings.filterwarnings("ignore", ".*did not converge")
    begin = time.perf_counter()
    model = GaussianMixture(
        int(n_components),
        covariance_type=covariance_type,
        init_params="random_from_data",
        tol=0.0,
        max_iter=int(n_iterations),
        random_state=0,
    )
    X = np.load(path) if where == "memory" else path
    model.fit(X, callback=lambda *state: ends.append(time.perf_counter()))
    return {
        "peak": _peak_memory() / 1e6,
        "bound": model.lower_bound_,
        "iteration": (ends[-1] - ends[0]) / (len(ends) - 1),
        "total": time.perf_counter() - begin,
    }


def serve(side):
    """Answer requests for fits of `side` (see ``peers/serving.py``) until the input ends."""
    import common
    from peers.serving import serve as answer

    from fastgmm.families import STRUCTURES
    from fastgmm.passes import skipping as live

    if os.environ.get(common.ALL_PAIRS):
        live._LEAST_WORK = float("inf")

    def fit(problem, n_iterations, method):
        model, seconds = common.fit(side, problem, n_iterations, method)
        return seconds, (model.weights_, model.means_, model.covariances_)

    answer(
        fit,
        name=side,
        version=importlib.metadata.version(side),
        families=tuple(STRUCTURES),
        dtypes=("float64", "float32"),
        methods=("em", "vb"),
    )


def answer(side):
    """Answer requests for whole fits with defaults until the input ends.

    ``{"load": path}`` says which problem, and fits it once. ``{"seed": n}`` returns the "seconds" of a fit with that
    random state and its final mean log-likelihood, "bound"; with a "target", also the seconds until that was "reached",
    if need be by going on from there, accelerated, with a hundredth of ``tol``, and from more "starts".
    """
    import warnings

    import common

    mixture = importlib.import_module(SIDES[side]).GaussianMixture
    problem = None
    # That a fit ends at max_iter, as scikit-learn's do here and there, is part of its answer.
    warnings.filterwarnings("ignore", ".*did not converge")
    for line in sys.stdin:
        request = json.loads(line)
        reply = {}
        if "load" in request:
            problem = common.Problem.load(Path(request["load"]))
        options = {"n_components": len(problem.weights), "covariance_type": problem.covariance_type}
        seed, target = request.get("seed", 0), request.get("target", float("-inf"))
        begin = time.perf_counter()
        model = mixture(random_state=seed, **options).fit(problem.X)
        seconds = time.perf_counter() - begin
        if "seed" in request:
            bound = common.mean_log_likelihood(problem, model.weights_, model.means_, model.covariances_)
            reply = {"seconds": seconds, "bound": bound}
        if "target" in request:
            reply |= _reached(mixture, options, seed, problem.X, target)
        print(json.dumps(reply), flush=True)


def _reached(mixture, options, seed, X, target):
    """Return the seconds until a fit's bound was at the target, and the number of starts that took."""
    begin = time.perf_counter()
    reached = []

    def watch(restart, iteration, bound, change):
        if bound >= target:
            reached.append(time.perf_counter() - begin)

    starts = 0
    while not reached and starts < _MOST_STARTS:
        model = mixture(random_state=seed + 1000 * starts, warm_start=True, **options).fit(X, callback=watch)
        if not reached:
            model.set_params(tol=model.tol / 100, accelerate="anderson").fit(X, callback=watch)
        starts += 1
    return {"reached": min(reached, default=float("inf")), "starts": starts}


def limits():
    """Return ``limits.measure()``."""
    from limits import measure

    return measure()


if __name__ == "__main__":
    task, *arguments = sys.argv[1:]
    if task in ("serve", "answer"):
        {"serve": serve, "answer": answer}[task](*arguments)
    else:
        print(
            json.dumps(
                {"start": start, "memory": memory, "limits": limits, "out_of_core": out_of_core}[task](*arguments)
            )
        )
