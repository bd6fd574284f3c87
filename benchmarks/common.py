"""What the benchmarks share: problems, the two sides, and the fresh processes they are measured in."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from child import SIDES
from numpy.typing import NDArray
from peers.serving import Problem

if TYPE_CHECKING:
    from limits import Work

CHILD = Path(__file__).with_name("child.py")
PEERS = Path(__file__).with_name("peers")
SERVING = PEERS / "serving.py"

# A short fit is repeated until about so long has passed.
_LEAST_SECONDS = 0.2
_MOST_REPEATS = 20

#: An iteration's time is that of a fit of MANY iterations minus that of a fit of FEW, over the difference.
FEW, MANY = 1, 5

#: The environment variable that makes fastgmm's side look at all pairs of a row and a component, live or not.
ALL_PAIRS = "FASTGMM_BENCHMARK_ALL_PAIRS"

#: The estimator's default, passed on in every benchmark: all threads Numba starts, one for each usable CPU.
N_THREADS = None

# Variables that change how many threads a numerical library starts, or which kernels it picks.
_LIBRARY_SETTINGS = ("BLIS_", "KMP_", "MKL_", "OMP_", "OPENBLAS_", "VECLIB_", "NUMBA_NUM_THREADS", "NUMBA_THREADING_")


@dataclass(frozen=True)
class Workload:
    """The size of a problem; ``build`` always returns the same one."""

    covariance_type: str
    n_samples: int
    n_features: int
    n_components: int
    dtype: str = "float64"
    method: str = "em"

    @property
    def name(self) -> str:
        """The name in tables and for ``--only``, as in ``full (200k, 16, 16)``: rows, features, components."""
        rows = f"{self.n_samples:_}".replace("_000_000", "M").replace("_000", "k")
        suffix = "" if self.dtype == "float64" else f" {self.dtype}"
        prefix = "" if self.method == "em" else f"{self.method} "
        return f"{prefix}{self.covariance_type} ({rows}, {self.n_features}, {self.n_components}){suffix}"

    @property
    def same_model(self) -> bool:
        """Whether scikit-learn's update is the same: its variational one is the conjugate one for full only."""
        return self.method == "em" or self.covariance_type == "full"

    @property
    def work(self) -> Work:
        """What one iteration must do."""
        from limits import work  # imports Numba, which a process that measures scikit-learn's memory must not

        return work(self.covariance_type, self.n_samples, self.n_features, self.n_components, self.dtype)

    def build(self, n_samples: int | None = None) -> Problem:
        """Return the problem, with `n_samples` rows (default: the workload's own).

        Components overlap (neighbouring means are about three standard deviations apart), so that responsibilities
        are soft. The start is equal weights, means half a standard deviation off in total, and one broad isotropic
        covariance; or labels, the nearest of those means.
        """
        from fastgmm.families import FAMILIES

        n_samples = self.n_samples if n_samples is None else n_samples
        rng = np.random.default_rng(0)
        shape = self.n_components, self.n_features
        means = rng.normal(scale=3.0 / np.sqrt(2 * self.n_features), size=shape)
        deviations = rng.uniform(0.7, 1.4, size=shape)
        off = means + rng.normal(scale=0.5 / np.sqrt(self.n_features), size=shape)
        X = np.empty((n_samples, self.n_features), self.dtype)
        labels = np.empty(n_samples, np.int64)
        for start in range(0, n_samples, 65_536):  # in pieces: no temporary as large as X
            piece = X[start : start + 65_536]
            label = rng.integers(self.n_components, size=len(piece))
            piece[...] = means[label] + deviations[label] * rng.normal(size=piece.shape)
            labels[start : start + 65_536] = np.argmin((off**2).sum(axis=1) - 2.0 * (piece @ off.T), axis=1)
        family = FAMILIES[self.covariance_type]
        precisions = family.precisions(family.isotropic_whitener(*shape, scale=0.5))
        return Problem(
            self.covariance_type,
            X,
            np.full(self.n_components, 1.0 / self.n_components, self.dtype),
            off.astype(self.dtype),
            precisions.astype(self.dtype),
            labels,
        )


def add_choices(parser: argparse.ArgumentParser) -> None:
    """Add the options that scripts with a list of workloads share; :func:`chosen` heeds them."""
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows: a check, not a measurement")
    parser.add_argument("--repeats", type=int, default=5, help="rounds that medians are taken of (default 5)")
    parser.add_argument("--only", default="", metavar="NAME", help="only the workloads whose name contains this")


def chosen(workloads: list[Workload], parser: argparse.ArgumentParser, options: argparse.Namespace) -> list[Workload]:
    """Return the workloads that ``--only`` and ``--quick`` leave; none at all is an error of the command line."""
    kept = [workload for workload in workloads if options.only in workload.name]
    if not kept:
        parser.error(f"no workload's name contains {options.only!r}: {', '.join(work.name for work in workloads)}")
    return [replace(work, n_samples=work.n_samples // 10) for work in kept] if options.quick else kept


#: The fit whose memory is measured.
MEMORY_WORKLOAD = Workload("full", 1_000_000, 16, 16)


def estimator(side: str, problem: Problem, max_iter: int, method: str = "em") -> Any:
    """Return the estimator of `side` that makes exactly `max_iter` iterations from the problem's start."""
    module = importlib.import_module(SIDES[side])
    params: dict[str, Any] = {"n_threads": N_THREADS} if side == "fastgmm" else {}
    params |= {
        "n_components": len(problem.weights),
        "covariance_type": problem.covariance_type,
        "tol": 0.0,
        "reg_covar": 0.0,  # not every peer adds something to the variances
        "max_iter": max_iter,
    }
    if method == "em":
        return module.GaussianMixture(
            weights_init=problem.weights, means_init=problem.means, precisions_init=problem.precisions, **params
        )
    if side == "fastgmm":
        return module.BayesianGaussianMixture(init_params=problem.labels, **params)
    model = module.BayesianGaussianMixture(**params)
    # Its interface has no start from labels; this is what its own starts end with.
    model._initialize_parameters = lambda X, *_, **__: model._initialize(
        X, np.eye(len(problem.weights))[problem.labels]
    )
    return model


def fit(side: str, problem: Problem, max_iter: int, method: str = "em") -> tuple[Any, float]:
    """Return the estimator of `side` after exactly `max_iter` iterations from the problem's start, and the seconds."""
    model = estimator(side, problem, max_iter, method)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*did not converge")
        begin = time.perf_counter()
        model.fit(problem.X)
        seconds = time.perf_counter() - begin
    return model, seconds


def mean_log_likelihood(problem: Problem, weights: NDArray, means: NDArray, covariances: NDArray) -> float:
    """Return the mean log-likelihood of the problem's rows under any side's parameters, in float64."""
    from fastgmm import GaussianMixture

    if problem.covariance_type in ("full", "tied"):
        covariances = 0.5 * (covariances + np.swapaxes(covariances, -1, -2))  # rounded differently in each triangle
    mixture = GaussianMixture.from_parameters(weights, means, covariances, problem.covariance_type)
    return float(mixture.score(np.asarray(problem.X, np.float64)))


def usable_cpus() -> int:
    """Return the number of CPUs this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine_facts() -> dict[str, Any]:
    """Return what a reader needs to know of the machine and the versions."""
    packages = ("fastgmm", "numba", "numpy", "scipy", "scikit-learn")
    return {
        "cpu": _cpu_model(),
        "usable CPUs": usable_cpus(),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in packages},
    }


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else ():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def print_facts(facts: dict[str, Any]) -> None:
    """Print the facts as one line of text above a table."""
    print(", ".join(f"{name} {value}" for name, value in facts.items()) + "\n", flush=True)


def print_row(*cells: object) -> None:
    """Print one row of a Markdown table."""
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def print_header(*cells: str) -> None:
    """Print the first two rows of a Markdown table: names, then a rule; all but the first column to the right."""
    print_row(*cells)
    print_row("---", *("---:" for _ in cells[1:]))


def child_environment(**extra: str) -> dict[str, str]:
    """Return this environment without settings of numerical libraries, so that each runs at its best, plus `extra`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_LIBRARY_SETTINGS)}
    return {**kept, **extra}


def run_child(*arguments: str, **extra: str) -> Any:
    """Run ``child.py`` with these arguments in a fresh process and return what it answers; `extra` is environment."""
    command = [sys.executable, str(CHILD), *arguments]
    done = subprocess.run(command, env=child_environment(**extra), stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


class FitFailedError(Exception):
    """A library raised an exception in a fit; the message is that one's."""


class Worker:
    """A process that stays, and does one thing at a time: ``ask`` waits for the answer. Use it in a ``with``.

    `command` speaks as ``peers/serving.py`` says; `environment` is all of its environment.
    """

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    @classmethod
    def of_side(cls, side: str, **extra: str) -> Worker:
        """Start one of ``child.SIDES`` with this interpreter; `extra` is environment."""
        return cls([sys.executable, str(CHILD), "serve", side], child_environment(**extra))

    @classmethod
    def of_peer(cls, name: str, python: str) -> Worker:
        """Start ``peers/NAME.py`` with the interpreter of an environment that has what it needs."""
        environment = child_environment()
        for variable in ("PYTHONHOME", "PYTHONPATH"):  # of this environment, not of the other
            environment.pop(variable, None)
        return cls([python, str(SERVING), str(PEERS / f"{name}.py")], environment)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()  # the end of its input ends it
        self._process.wait()
        self._process.stdout.close()

    def ask(self, **request: Any) -> Any:
        """Return the answer to a request; RuntimeError where the process died, FitFailedError where its fit failed."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self._process.args} died: its error is above")
        answer = json.loads(answer)
        if isinstance(answer, dict) and "failed" in answer:
            raise FitFailedError(answer["failed"])
        return answer

    def parameters(self, n_iterations: int, method: str) -> tuple[NDArray, NDArray, NDArray]:
        """Return the weights, means and covariances of the loaded problem after so many iterations."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "parameters.npz"
            self.ask(fit=n_iterations, method=method, repeats=1, save=str(path))
            with np.load(path) as arrays:
                return arrays["weights"], arrays["means"], arrays["covariances"]

    def milliseconds(self, method: str, repeats: int) -> float:
        """Return the milliseconds of one iteration, each of the two fits being the median of so many."""
        few, many = (statistics.median(self.ask(fit=n, method=method, repeats=repeats)) for n in (FEW, MANY))
        return 1e3 * (many - few) / (MANY - FEW)

    def sensible_repeats(self, method: str) -> int:
        """Return how often a fit is to be repeated for its time to be more than noise; warms both fits up, too."""
        self.ask(fit=FEW, method=method, repeats=1)
        self.ask(fit=MANY, method=method, repeats=1)
        (seconds,) = self.ask(fit=MANY, method=method, repeats=1)
        return min(max(round(_LEAST_SECONDS / seconds), 1), _MOST_REPEATS)


def fit_memory(side: str, problem: Problem) -> dict[str, float]:
    """Return the memory of a fresh process, in MB: "before", holding X and warm code, and what a fit adds, "extra"."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "problem.npz"
        problem.save(path)
        return run_child("memory", side, str(path))


def cold_start(side: str, cache: str, *, prebuilt: bool = False) -> dict[str, float]:
    """Return the seconds a fresh process takes to import `side` and make a first small fit.

    `cache` is the folder of Numba's disk cache: empty for a cold start. Machine code that came with the package is only
    read if it is `prebuilt` code that counts. The keys are those of ``child.start``, which counts from its first line,
    and "process", which counts from before the interpreter started.
    """
    begin = time.perf_counter()
    seconds = run_child("start", side, NUMBA_CACHE_DIR=cache, FASTGMM_PREBUILT=str(int(prebuilt)))
    return {**seconds, "process": time.perf_counter() - begin}
