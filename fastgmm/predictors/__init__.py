"""What mixtures predict: classes, numbers, and which rows are outliers, in scikit-learn's conventions."""

from fastgmm.predictors.classifier import GaussianMixtureClassifier
from fastgmm.predictors.outliers import GaussianMixtureOutlierDetector
from fastgmm.predictors.regressor import GaussianMixtureRegressor

__all__ = ["GaussianMixtureClassifier", "GaussianMixtureOutlierDetector", "GaussianMixtureRegressor"]
