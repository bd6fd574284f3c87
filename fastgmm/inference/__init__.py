"""How certain the parameters of a fitted mixture are."""

from fastgmm.inference.information import StandardErrors, standard_errors
from fastgmm.inference.resampling import Resampled, likelihood_bootstrap

__all__ = ["Resampled", "StandardErrors", "likelihood_bootstrap", "standard_errors"]
