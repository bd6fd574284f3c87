"""fastgmm: Gaussian mixtures on CPUs, at the speed of the hardware.

Public names are imported when first used, so that ``import fastgmm`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fastgmm._version import __version__

if TYPE_CHECKING:
    from fastgmm._warmup import warmup
    from fastgmm.estimators import BayesianGaussianMixture, GaussianMixture
    from fastgmm.many import fit_many
    from fastgmm.statistics import SufficientStatistics

_HOMES = {
    "BayesianGaussianMixture": "fastgmm.estimators",
    "GaussianMixture": "fastgmm.estimators",
    "SufficientStatistics": "fastgmm.statistics",
    "fit_many": "fastgmm.many",
    "warmup": "fastgmm._warmup",
}

__all__ = ["BayesianGaussianMixture", "GaussianMixture", "SufficientStatistics", "__version__", "fit_many", "warmup"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
