"""Update rules: what turns sufficient statistics into the next state."""

from fastgmm.rules.equal_weights import EqualWeights
from fastgmm.rules.factor import FactorLikelihood, FactorParameters, factor_density, factor_parameters
from fastgmm.rules.frozen import Frozen, FrozenLikelihood
from fastgmm.rules.likelihood import GaussianParameters, MaximumLikelihood, parameters_of_whitener
from fastgmm.rules.noise import Noise, NoiseLikelihood
from fastgmm.rules.prior import NormalInverseWishart, ParameterPrior
from fastgmm.rules.student import StudentLikelihood, StudentParameters, student_density
from fastgmm.rules.variational import (
    VariationalBayes,
    VariationalPosterior,
    default_scales,
    expected_density,
    expected_log_joint,
    expected_log_weights,
    expected_weights,
    make_prior,
    mass_after,
    predictive_density,
)
from fastgmm.rules.variational_noise import NoiseVariational

__all__ = [
    "EqualWeights",
    "FactorLikelihood",
    "FactorParameters",
    "Frozen",
    "FrozenLikelihood",
    "GaussianParameters",
    "MaximumLikelihood",
    "Noise",
    "NoiseLikelihood",
    "NoiseVariational",
    "NormalInverseWishart",
    "ParameterPrior",
    "StudentLikelihood",
    "StudentParameters",
    "VariationalBayes",
    "VariationalPosterior",
    "default_scales",
    "expected_density",
    "expected_log_joint",
    "expected_log_weights",
    "expected_weights",
    "factor_density",
    "factor_parameters",
    "make_prior",
    "mass_after",
    "parameters_of_whitener",
    "predictive_density",
    "student_density",
]
