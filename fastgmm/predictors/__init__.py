"""Predictors by mixtures, in scikit-learn's conventions: of classes, of numbers, of which rows are outliers."""

from fastgmm.predictors.classifier import GaussianMixtureClassifier
from fastgmm.predictors.outliers import GaussianMixtureOutlierDetector
from fastgmm.predictors.regressor import GaussianMixtureRegressor

__all__ = ["GaussianMixtureClassifier", "GaussianMixtureOutlierDetector", "GaussianMixtureRegressor"]
