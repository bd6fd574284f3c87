"""Pictures of fitted mixtures with their rows, of a choice among mixtures, and of a fit (needs matplotlib)."""

from fastgmm.plotting.drawing import PALETTE, check_image_path
from fastgmm.plotting.fits import CriterionPoint, plot_criterion, plot_points, plot_trace
from fastgmm.plotting.mixtures import plot_mixture, plot_uncertainty
from fastgmm.plotting.pairs import MOST_COLUMNS, plot_pairs

__all__ = [
    "MOST_COLUMNS",
    "PALETTE",
    "CriterionPoint",
    "check_image_path",
    "plot_criterion",
    "plot_mixture",
    "plot_pairs",
    "plot_points",
    "plot_trace",
    "plot_uncertainty",
]
