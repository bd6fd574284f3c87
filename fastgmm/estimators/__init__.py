"""The estimators: scikit-learn's interface in front of the package."""

from fastgmm.estimators.bayesian import BayesianGaussianMixture
from fastgmm.estimators.factor import FactorMixture
from fastgmm.estimators.gaussian import GaussianMixture
from fastgmm.estimators.student import StudentMixture

__all__ = ["BayesianGaussianMixture", "FactorMixture", "GaussianMixture", "StudentMixture"]
