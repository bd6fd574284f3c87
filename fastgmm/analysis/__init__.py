"""Fitted mixtures without rows: their modes, how far they are from each other, and fewer components."""

from fastgmm.analysis.distances import (
    Estimate,
    cauchy_schwarz_divergence,
    jensen_shannon_divergence,
    kl_divergence,
    wasserstein_distance,
)
from fastgmm.analysis.modes import Modes, modes
from fastgmm.analysis.reduction import reduce_components

__all__ = [
    "Estimate",
    "Modes",
    "cauchy_schwarz_divergence",
    "jensen_shannon_divergence",
    "kl_divergence",
    "modes",
    "reduce_components",
    "wasserstein_distance",
]
