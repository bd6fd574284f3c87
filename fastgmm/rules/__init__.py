"""Update rules: what turns sufficient statistics into the next state."""

from fastgmm.rules.likelihood import GaussianParameters, MaximumLikelihood

__all__ = ["GaussianParameters", "MaximumLikelihood"]
