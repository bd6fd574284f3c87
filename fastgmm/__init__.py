"""fastgmm: Gaussian mixtures on CPUs, at the speed of the hardware.

Public names are imported when first used, so that ``import fastgmm`` costs nothing. The folders, from the top; each
imports from those below it alone:

| folder | what it does |
|---|---|
| `cli`, `io`, `plotting` | the command line, model files, pictures |
| `many` | thousands of small fits in one compiled call |
| `inference`, `reading` | standard errors; overlap of components, entropy, goodness of fit |
| `analysis` | modes, distances between mixtures, fewer components |
| `predictors` | a classifier, a regressor and an outlier detector |
| `selection` | fits of several sizes and families, of which the best is kept |
| `estimators` | `GaussianMixture`, `BayesianGaussianMixture`, `StudentMixture`, `FactorMixture`, for scikit-learn |
| `starts` | where fits start: k-means, agglomeration, short fits |
| `fitting` | the loop, and around it acceleration, restarts, checkpoints, batches that come one at a time |
| `rules` | EM and variational Bayes: from statistics to parameters and back to a density |
| `sources` | where rows come from: arrays, files, batches, Dask, Spark |
| `tables` | files of numbers, one notion of what is missing |
| `passes` | a pass over rows: their statistics or scores under a density |
| `families` | how covariances are shaped: a structure (full, tied, diag, spherical) and a constraint |
| `statistics` | the sums that travel between all of these, and nothing else does |
| `kernels` | all arithmetic, compiled; `kernels.vector` is written in vector instructions |

docs/architecture.md follows one row of data through them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fastgmm import _former
from fastgmm._version import __version__

if TYPE_CHECKING:
    from fastgmm import analysis as analysis
    from fastgmm import datasets as datasets
    from fastgmm import estimators as estimators
    from fastgmm import exceptions as exceptions
    from fastgmm import families as families
    from fastgmm import fitting as fitting
    from fastgmm import inference as inference
    from fastgmm import io as io
    from fastgmm import kernels as kernels
    from fastgmm import many as many
    from fastgmm import plotting as plotting
    from fastgmm import predictors as predictors
    from fastgmm import reading as reading
    from fastgmm import selection as selection
    from fastgmm import sources as sources
    from fastgmm import statistics as statistics
    from fastgmm._warmup import warmup
    from fastgmm.estimators import BayesianGaussianMixture, FactorMixture, GaussianMixture, StudentMixture
    from fastgmm.many import fit_many
    from fastgmm.predictors import (
        GaussianMixtureClassifier,
        GaussianMixtureOutlierDetector,
        GaussianMixtureRegressor,
    )
    from fastgmm.rules import NormalInverseWishart
    from fastgmm.selection import GaussianMixtureIC
    from fastgmm.statistics import SufficientStatistics

_former.install()

_HOMES = {
    "BayesianGaussianMixture": "fastgmm.estimators",
    "FactorMixture": "fastgmm.estimators",
    "GaussianMixture": "fastgmm.estimators",
    "GaussianMixtureClassifier": "fastgmm.predictors",
    "GaussianMixtureIC": "fastgmm.selection",
    "GaussianMixtureOutlierDetector": "fastgmm.predictors",
    "GaussianMixtureRegressor": "fastgmm.predictors",
    "NormalInverseWishart": "fastgmm.rules",
    "StudentMixture": "fastgmm.estimators",
    "SufficientStatistics": "fastgmm.statistics",
    "fit_many": "fastgmm.many",
    "warmup": "fastgmm._warmup",
}

# Folders and modules with public names; each is loaded when it is first asked for.
_MODULES = {
    *("datasets", "estimators", "exceptions", "families", "fitting", "io", "kernels", "many", "plotting"),
    *("analysis", "inference", "predictors", "reading", "selection", "sources"),
    "statistics",
}

__all__ = [
    "BayesianGaussianMixture",
    "FactorMixture",
    "GaussianMixture",
    "GaussianMixtureClassifier",
    "GaussianMixtureIC",
    "GaussianMixtureOutlierDetector",
    "GaussianMixtureRegressor",
    "NormalInverseWishart",
    "StudentMixture",
    "SufficientStatistics",
    "__version__",
    "fit_many",
    "warmup",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return importlib.import_module(f"fastgmm.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__) | _MODULES)
