"""Names that users write, for what takes longer to import than they take to be wrong."""

from __future__ import annotations

from typing import Literal

#: The covariance families of ``families.registry``, in its order, and their other names.
CovarianceFamily = Literal[
    "full",
    "tied",
    "diag",
    "spherical",
    "tied-diag",
    "tied-spherical",
    "VEI",
    "EVI",
    "VEE",
    "EVE",
    "VVE",
    "EEV",
    "VEV",
    "EVV",
]
CovarianceAlias = Literal["VVV", "EEE", "VVI", "VII", "tied-diagonal", "EEI", "EII"]
