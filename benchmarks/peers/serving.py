"""What every side of a comparison shares, whatever environment it runs in: needs Python and NumPy alone.

``python serving.py PEER.py`` serves what that file defines: the function `fit`, and ``ABOUT``, the other arguments of
:func:`serve`.

A side is a process that answers one JSON request a line, in JSON, until its input ends:

* ``{"describe": true}``: what ``describe`` of :func:`serve` holds.
* ``{"load": FILE}``: read the problem, a file of :meth:`Problem.save`; ``null``.
* ``{"fit": n, "method": "em" or "vb", "repeats": r}``: fit it r times, each from its start with exactly n iterations;
  the list of seconds. With ``"save": FILE``, also write the weights, means and covariances of the last fit.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True, eq=False)
class Problem:
    """Rows X (N, D), starting parameters in X's type and the shapes of ``*_init``, and starting labels (N,)."""

    covariance_type: str
    X: np.ndarray
    weights: np.ndarray
    means: np.ndarray
    precisions: np.ndarray
    labels: np.ndarray

    @property
    def covariances(self) -> np.ndarray:
        """The starting covariances, in X's type and the shape of `precisions`."""
        if self.covariance_type in ("full", "tied"):
            return np.linalg.inv(self.precisions.astype(np.float64)).astype(self.X.dtype)
        return 1.0 / self.precisions

    def save(self, path: Path) -> None:
        """Write the problem to an ``.npz`` file, so that other processes work on the same bits."""
        np.savez(path, **vars(self))

    @classmethod
    def load(cls, path: Path) -> Problem:
        """Read what ``save`` wrote."""
        with np.load(path) as arrays:
            return cls(
                str(arrays["covariance_type"]),
                *(arrays[name] for name in ("X", "weights", "means", "precisions", "labels")),
            )


def serve(
    fit: Callable[[Problem, int, str], tuple[float, tuple[np.ndarray, np.ndarray, np.ndarray]]],
    *,
    name: str,
    version: str,
    families: tuple[str, ...],
    dtypes: tuple[str, ...] = ("float64",),
    methods: tuple[str, ...] = ("em",),
    same_start: bool = True,
) -> None:
    """Answer requests until the input ends.

    ``fit(problem, n_iterations, method)`` returns the seconds of the fit alone and (weights, means, covariances), the
    last in the family's shape. `families`, `dtypes` and `methods` are what it can do. `same_start` says whether it
    starts from the problem's parameters and makes exactly so many iterations; only then must its likelihood be the
    others'.
    """
    description = {
        "name": name,
        "version": version,
        "families": families,
        "dtypes": dtypes,
        "methods": methods,
        "same_start": same_start,
    }
    # Libraries print to standard output, too: they get standard error instead.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    problem = None
    for line in sys.stdin:
        request = json.loads(line)
        if "describe" in request:
            answer = description
        elif "load" in request:
            problem, answer = Problem.load(request["load"]), None
        else:
            try:
                answer = []
                for _ in range(request["repeats"]):
                    seconds, parameters = fit(problem, request["fit"], request["method"])
                    answer.append(seconds)
                if "save" in request:
                    weights, means, covariances = parameters
                    np.savez(request["save"], weights=weights, means=means, covariances=covariances)
            except Exception as error:  # a library may raise what it likes; the table goes on without it
                answer = {"failed": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


def _module(path: str) -> object:
    """Return the module in this file, under a name that is no library's."""
    specification = importlib.util.spec_from_file_location("peer", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


if __name__ == "__main__":
    # This folder, whose files have the names of the libraries that they import.
    del sys.path[0]
    peer = _module(sys.argv[1])
    serve(peer.fit, **peer.ABOUT)
