"""Compiling ahead of use, for images and continuous integration: ``fastgmm.warmup`` and the command of that name.

No list of functions and types stands here, for it would go stale. Small fits and predictions run through the public
estimators, and what they compile is what other processes will look for.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import fastgmm
from fastgmm.exceptions import SpuriousComponentWarning
from fastgmm.families import FAMILIES, NAMED, STRUCTURES
from fastgmm.kernels.compiling import SOURCE_HASH, Build, cache_folder, is_switched_off, logged_builds
from fastgmm.methods import METHODS
from fastgmm.passes.single import SINGLE_WORK
from fastgmm.support.showing import shown

__all__ = ["Step", "Warmup", "warmup"]

DTYPES = ("float64", "float32")

_LAYOUT = "{:<10}  {:<7}  {:<6}  {:<25}  {:<16}  {:>7}  {}"
HEADER = _LAYOUT.format("covariance", "dtype", "method", "function", "for", "seconds", "").rstrip()


class Step(NamedTuple):
    """One covariance type, dtype and method, and the functions that nothing before it in this process had needed."""

    covariance_type: str
    dtype: str
    method: str
    builds: tuple[Build, ...]

    def lines(self) -> list[str]:
        """Return a line of the table for each function."""
        lead = self[:3]
        if not self.builds:
            return [_LAYOUT.format(*lead, "(no other functions)", "", "", "").rstrip()]
        return [
            _LAYOUT.format(
                *lead,
                build.function.lstrip("_"),
                "" if build.density is None else build.density.__name__,
                f"{build.seconds:.2f}",
                ("compiled" if build.compiled else "was there") + (" (threaded)" if build.parallel else ""),
            )
            for build in self.builds
        ]


@dataclass(frozen=True)
class Warmup:
    """The functions that :func:`warmup` made ready; as a string, a table.

    Attributes
    ----------
    steps : tuple of Step
    folder : Path or None
        Where compiled code is written; None where no folder is writable, but all code was there to be read.
    n_files, n_bytes : int
        Files and size of the compiled code of this version in the folder, other steps' included.
    seconds : float
    """

    steps: tuple[Step, ...]
    folder: Path | None
    n_files: int
    n_bytes: int
    seconds: float

    @property
    def builds(self) -> list[Build]:
        """The functions of all steps."""
        return [build for step in self.steps for build in step.builds]

    def totals(self) -> list[tuple[str, str]]:
        """Return the totals that stand below the table, by name."""
        n_compiled = sum(build.compiled for build in self.builds)
        where = "no folder is writable" if self.folder is None else str(self.folder)
        return [
            ("functions", f"{n_compiled} compiled, {len(self.builds) - n_compiled} were there"),
            ("cache", where),
            ("size", f"{self.n_bytes / 1e6:.1f} MB in {self.n_files} files"),
            ("seconds", f"{self.seconds:.1f}"),
        ]

    def __str__(self) -> str:
        lines = [HEADER, *(line for step in self.steps for line in step.lines()), ""]
        return "\n".join(lines + [f"{name:<9}  {value}" for name, value in self.totals()])


def warmup(
    covariance_type: str | Sequence[str] | None = None,
    dtype: str | Sequence[str] | None = None,
    method: str | Sequence[str] | None = None,
    *,
    callback: Callable[[Step], Any] | None = None,
) -> Warmup:
    """Compile what fits and predictions need, so that later processes on such a machine load it; return what was done.

    Parameters
    ----------
    covariance_type : {'full', 'tied', 'diag', 'spherical', ...} or several, default all
        Names that ``GaussianMixture`` takes. Unless both are named, 'vb' is left out where a family has no conjugate
        prior.
    dtype : {'float64', 'float32'} or several, default both
        Of the rows.
    method : {'em', 'vb'} or several, default both
        ``GaussianMixture`` and ``BayesianGaussianMixture``.
    callback : callable, optional
        Called with each ``Step`` when it is done.

    Notes
    -----
    What was compiled already is loaded. Seeding comes with each, and so does what several threads need. Compiled code
    serves one version of fastgmm, Python and Numba on one model of processor. ValueError for an unknown name, and where
    ``NUMBA_DISABLE_JIT`` is set; OSError where compiled code cannot be kept.
    """
    choices = (
        tuple(dict.fromkeys(NAMED[name].name for name in _chosen(covariance_type, tuple(NAMED), "covariance_type"))),
        _chosen(dtype, DTYPES, "dtype"),
        _chosen(method, tuple(METHODS), "method"),
    )
    if is_switched_off():
        raise ValueError("NUMBA_DISABLE_JIT is set: nothing would be compiled.")
    begin = time.perf_counter()
    folder = cache_folder()
    builds: list[Build] = []

    def keep(build: Build) -> None:
        _require_kept(build, folder)
        builds.append(build)

    steps = []
    for names in product(*choices):
        if names[2] == "vb" and not FAMILIES[names[0]].is_conjugate and None in (covariance_type, method):
            # Not asked for by name.
            continue
        builds.clear()
        with logged_builds(keep), warnings.catch_warnings():
            # Of rows that nobody wants to know of.
            warnings.simplefilter("ignore", SpuriousComponentWarning)
            _use(*names)
        steps.append(Step(*names, tuple(builds)))
        if callback is not None:
            callback(steps[-1])
    files = [] if folder is None else list(folder.glob(f"*.{SOURCE_HASH}.*.nbc"))
    n_bytes = sum(path.stat().st_size for path in files)
    return Warmup(tuple(steps), folder, len(files), n_bytes, time.perf_counter() - begin)


def _chosen(value: str | Sequence[str] | None, choices: tuple[str, ...], name: str) -> tuple[str, ...]:
    values = choices if value is None else (value,) if isinstance(value, str) else tuple(value)
    for one in values:
        if one not in choices:
            raise ValueError(f"{name} must be one or several of {', '.join(map(repr, choices))}, got {shown(one)}.")
    return tuple(dict.fromkeys(values))


def _require_kept(build: Build, folder: Path | None) -> None:
    if build.path is not None:
        return
    if folder is None:
        raise OSError(
            "compiled code cannot be kept: neither NUMBA_CACHE_DIR nor the folder of the package nor the user's cache "
            "folder is writable for this user and closed to others. Set NUMBA_CACHE_DIR to a folder that is."
        )
    raise OSError(f"compiled code cannot be kept: writing to {folder} failed (is the disk full?).")


def _use(covariance_type: str, dtype: str, method: str) -> None:
    """Call what users call, on a few rows."""
    # Two groups of rows; any two updates count as converged, so that there is nothing to warn of.
    X = np.array([[0, 0], [0, 1], [1, 0], [1, 2], [9, 9], [9, 8], [8, 9], [7, 9]], dtype)
    params: dict[str, Any] = {"covariance_type": covariance_type, "tol": 1e9, "random_state": 0}
    estimator = getattr(fastgmm, METHODS[method].estimator)
    # More components than different rows: k-means has to replace centres that lose theirs.
    estimator(n_components=4, **params).fit(np.repeat(X[[0, -1]], 4, axis=0))
    model = estimator(n_components=2, **params).fit(X)
    model.predict(X)
    model.score(X, **METHODS[method].density)
    for _ in range(2):
        model.partial_fit(X, batch="again")
    # Passes that skip, which few rows only do where they must.
    estimator(n_components=2, truncate=1, **params).fit(X)
    if dtype == "float64":
        # Small fits of rows of any type are computed in float64.
        fastgmm.fit_many(estimator(n_components=2, **params), [X, X])
    if dtype == "float32":
        # Problems of that size are computed in float32 arithmetic.
        n_each = SINGLE_WORK // (len(X) * X.shape[1] * 2)
        labels = np.repeat([0, 0, 0, 0, 1, 1, 1, 1], n_each)
        estimator(n_components=2, init_params=labels, **params).fit(np.repeat(X, n_each, axis=0))
    if method == "em" and covariance_type in STRUCTURES:
        heavy = fastgmm.StudentMixture(n_components=2, **params).fit(X)
        heavy.predict(X)
        heavy.score(X)
    if method == "em" and covariance_type == "diag":
        factors = fastgmm.FactorMixture(2, uniquenesses="isotropic", tol=1e9, random_state=0).fit(X)
        factors.predict(X)
        factors.score(X)
    if method == "em":
        estimator.from_parameters(model.weights_, model.means_, model.covariances_, covariance_type).predict(X)
    else:
        model.evidence_lower_bound(X)
        model.predict(X, predictive="plug-in")
        estimator.from_parameters(
            model.weight_concentration_,
            model.mean_precision_,
            model.means_,
            model.degrees_of_freedom_,
            model.covariances_,
            covariance_type,
        ).predict(X)
