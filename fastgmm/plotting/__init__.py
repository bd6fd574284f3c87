"""Pictures of fitted mixtures with their rows, of a choice among mixtures, and of a fit (needs matplotlib)."""

from fastgmm.plotting.drawing import PALETTE as PALETTE
from fastgmm.plotting.drawing import check_image_path
from fastgmm.plotting.fits import CriterionPoint as CriterionPoint
from fastgmm.plotting.fits import plot_criterion, plot_trace
from fastgmm.plotting.fits import plot_points as plot_points
from fastgmm.plotting.mixtures import plot_mixture, plot_uncertainty
from fastgmm.plotting.pairs import MOST_COLUMNS as MOST_COLUMNS
from fastgmm.plotting.pairs import plot_pairs

__all__ = [
    "check_image_path",
    "plot_criterion",
    "plot_mixture",
    "plot_pairs",
    "plot_trace",
    "plot_uncertainty",
]
