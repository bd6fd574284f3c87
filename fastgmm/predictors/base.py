"""The common part of the predictors: the estimator that they hold, and checked rows and targets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import deepcopy
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgmm import validation
from fastgmm.estimators import BayesianGaussianMixture, GaussianMixture
from fastgmm.estimators.nested import WithEstimator
from fastgmm.rows import ArrayRows
from fastgmm.selection import GaussianMixtureIC
from fastgmm.statistics import Array
from fastgmm.support.showing import page_html, paragraph_html, shown

# Of normal rows the quartiles are so many standard deviations apart; a deviation so many times as large is made by few.
_NORMAL_QUARTILES = 1.349
_WILD = 10.0

MIXTURES = (GaussianMixture, BayesianGaussianMixture, GaussianMixtureIC)


class Predictor(WithEstimator, ABC):
    """An estimator that holds mixtures and predicts by them."""

    n_features_in_: int
    feature_names_in_: NDArray
    #: The fitted attribute that says that there is a fit.
    _fitted_name: str

    def __sklearn_is_fitted__(self) -> bool:
        """Return whether there is a fit."""
        return self._fitted_name in self.__dict__

    @abstractmethod
    def _parts_html(self) -> list[str]:
        """Return the parts of a fit that a notebook shows."""

    def _repr_html_(self) -> str:
        """Return the predictor as notebooks show it."""
        return page_html(
            self, *(self._parts_html() if self.__sklearn_is_fitted__() else [paragraph_html("Not fitted.")])
        )

    def _mixture(self) -> Any:
        """Return a copy of the estimator that is held, with the thread count and random state that it has."""
        estimator = self._checked_estimator()
        return type(estimator)(**{name: deepcopy(value) for name, value in estimator.get_params(deep=False).items()})

    @property
    def _takes_noise(self) -> bool:
        """Whether a share of the mixture that is held may be uniform noise."""
        return False

    def _checked_estimator(self) -> Any:
        """Return the estimator that is held; TypeError or ValueError where it is none that predictions are made of."""
        estimator = self._default_estimator() if self.estimator is None else self.estimator
        if not isinstance(estimator, MIXTURES):
            raise TypeError(
                "estimator must be a GaussianMixture, BayesianGaussianMixture or GaussianMixtureIC of fastgmm, got "
                f"{shown(self.estimator)}"
            )
        of_fits: Any = getattr(estimator, "estimator", None) if isinstance(estimator, GaussianMixtureIC) else estimator
        if getattr(of_fits, "missing", None) is not None:
            raise ValueError(
                f"missing must be None in the estimator of a {type(self).__name__}, got {shown(of_fits.missing)}: it "
                "takes complete rows. Impute the others first, by the impute of a mixture with that option for example."
            )
        noise = getattr(of_fits, "noise", False)
        if not self._takes_noise and not (isinstance(noise, bool | np.bool_) and not noise):
            raise ValueError(
                f"{type(self).__name__} is for mixtures without noise, got noise={shown(noise)} in its estimator: set "
                "noise=False there, or leave out the rows that a mixture with noise gives the label -1."
            )
        return estimator

    def _fitted_rows(self, X: ArrayLike) -> NDArray:
        """Return the rows of X (N, D), checked against those of the fit."""
        if not self.__sklearn_is_fitted__():
            raise validation.not_fitted(type(self).__name__)
        names = getattr(self, "feature_names_in_", None)
        given = validation.feature_names(X)
        if names is not None and given is not None:
            validation.require_same_names(names, given)
        array = validation.check_rows(X, type(self).__name__)
        validation.check_feature_names(names, given, type(self).__name__)
        validation.check_n_features(array.shape[1], self.n_features_in_, type(self).__name__)
        return array

    def _training_rows(
        self, X: Any, y: Any, sample_weight: Any
    ) -> tuple[NDArray, NDArray, Array | None, NDArray | None]:
        """Return the rows (N, D), the targets, an array of N rows, the weights (N,) or None, and the columns' names."""
        name = type(self).__name__
        if y is None:
            raise ValueError(f"{name} requires y to be passed, but the target y is None.")
        if isinstance(sample_weight, str):
            X, sample_weight = validation.split_weight(X, sample_weight)
        rows = validation.check_rows(X, name, minimum=2)
        targets = np.asarray(y)
        if targets.ndim == 0 or len(targets) != len(rows):
            raise ValueError(
                f"Found input variables with inconsistent numbers of samples: X has {len(rows)} rows, and y the shape "
                f"{targets.shape}."
            )
        weight = validation.check_sample_weight(sample_weight, len(rows))
        return rows, targets, weight, validation.feature_names(X)


def mean_of(values: Array, weight: Array | None) -> Array:
    """Return the mean of rows, weighted if there are weights."""
    return np.asarray(np.average(values, axis=0, weights=weight), np.float64)


def standard_units(rows: Array, weight: Array | None) -> tuple[Array, Array]:
    """Return the mean (D,) and the standard deviation (D,) of each column of rows (N, D); of constant ones 1.

    Rows of weight 0 do not count. Where a few numbers are so far out that they make the deviation, the middle half of
    the rows does instead, and the median is the mean.
    """
    held = rows if weight is None else rows[weight > 0.0]
    own = None if weight is None else weight[weight > 0.0]
    low, middle, high = np.quantile(held, [0.25, 0.5, 0.75], axis=0)
    offset = mean_of(held, own)
    # Squares of what is far from 1 leave float64.
    largest = np.abs(held - offset).max(axis=0)
    # A constant column's mean may have been rounded.
    constant = np.ptp(held, axis=0) == 0.0
    unit = np.where(constant, 1.0, largest)
    deviation = unit * np.sqrt(mean_of(((held - offset) / unit) ** 2, own))
    robust = (high - low) / _NORMAL_QUARTILES
    wild = (robust > 0.0) & (deviation > _WILD * robust)
    deviation, offset = np.where(wild, robust, deviation), np.where(wild, middle, offset)
    return np.where(constant, held[0], offset), np.where(~constant & (deviation > 0.0), deviation, 1.0)


def fitted_in_one_unit(mixture: Any, rows: NDArray, weight: Array | None, names: NDArray | None) -> Any:
    """Return a mixture fitted to rows (N, D) with its `reg_covar` in the unit of the narrowest column, squared.

    So that it is small beside any column, whatever its unit is.
    """
    _, scales = standard_units(rows.astype(np.float64), weight)
    constant = np.ptp(rows, axis=0) == 0.0
    # A power of two: where all columns have another unit that is one, the answer has the same digits.
    unit = 1.0 if constant.all() else float(2.0 ** np.round(np.log2(scales[~constant].min())))
    holder = mixture
    if isinstance(mixture, GaussianMixtureIC):
        mixture.estimator = mixture._default_estimator() if mixture.estimator is None else deepcopy(mixture.estimator)
        holder = mixture.estimator
    # Of rows beyond the range of squares a fit says so itself.
    holder.reg_covar = min(float(holder.reg_covar) * unit * unit, float(np.finfo(np.float64).max))
    fitted = mixture.fit(ArrayRows(rows, weight, names))
    return getattr(fitted, "best_estimator_", fitted)
