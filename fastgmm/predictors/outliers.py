"""``GaussianMixtureOutlierDetector``: rows where the density of a mixture is low."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgmm import validation
from fastgmm.estimators import GaussianMixture
from fastgmm.predictors.base import Predictor, fitted_in_one_unit
from fastgmm.rows import ArrayRows
from fastgmm.selection import GaussianMixtureIC
from fastgmm.sources import open_rows
from fastgmm.support.showing import paragraph_html, shown
from fastgmm.support.typing import Self


class GaussianMixtureOutlierDetector(Predictor):
    """Outlier and novelty detection by the density of a mixture, as scikit-learn's outlier detectors.

    Parameters
    ----------
    estimator : GaussianMixture, BayesianGaussianMixture or GaussianMixtureIC, optional
        The mixture, which stays as it is; default ``GaussianMixtureIC()``, which chooses the number of components, 1 to
        9, and the family by BIC. Components on very few rows (less than 2 (D + 1)), which are such outliers themselves,
        are left out of it. Columns are in one unit, the narrowest standard deviation, for the fit.
    contamination : float in (0, 0.5], or 'auto', default 0.1
        The share of the rows of the fit that are outliers, as of scikit-learn's ``EllipticEnvelope``. 'auto': of new
        rows of the very mixture one in a hundred would be called one.

    Attributes
    ----------
    mixture_ : GaussianMixture or BayesianGaussianMixture
        In the units of X.
    offset_ : float
        The log-density (nat) below which a row is an outlier.
    n_features_in_, feature_names_in_ : as of ``GaussianMixture``

    Examples
    --------
    >>> import numpy as np
    >>> from fastgmm import GaussianMixtureOutlierDetector
    >>> X = np.random.default_rng(0).normal(size=(500, 2))
    >>> GaussianMixtureOutlierDetector(contamination="auto").fit(X).predict([[0.0, 0.0], [9.0, 9.0]])
    array([ 1, -1])
    """

    _estimator_type = "outlier_detector"
    _fitted_name = "mixture_"

    mixture_: Any
    offset_: float

    def __init__(self, estimator: Any = None, *, contamination: float | str = 0.1) -> None:
        self.estimator = estimator
        self.contamination = contamination

    def _default_estimator(self) -> Any:
        return GaussianMixtureIC(estimator=GaussianMixture(n_init=2), patience=3, random_state=0)

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags: an outlier detector that needs no target."""
        from sklearn.utils import InputTags, Tags, TargetTags

        return Tags(estimator_type="outlier_detector", target_tags=TargetTags(required=False), input_tags=InputTags())

    def fit(self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the mixture to the rows of X (N, D), find the threshold, and return self; as ``GaussianMixture.fit``."""
        self._fit(X, sample_weight)
        return self

    def fit_predict(self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None) -> NDArray[np.int64]:
        """Fit and return which rows of X are outliers, as ``predict``."""
        return _signs(self._fit(X, sample_weight), self.offset_)

    def _parts_html(self) -> list[str]:
        """Return the threshold and the mixture."""
        said = f"Rows of a log-density below {self.offset_:.6g} are outliers of this mixture:"
        return [paragraph_html(said), self.mixture_._repr_html_()]

    def _fit(self, X: Any, sample_weight: Any) -> NDArray:
        """Fit, and return the log-density of each row."""
        share = self.contamination
        is_number = isinstance(share, float | int | np.floating) and not isinstance(share, bool)
        if share != "auto" and not (is_number and 0.0 < cast("float", share) <= 0.5):
            raise ValueError(f"contamination must be 'auto' or a number in (0, 0.5], got {shown(share)}.")
        self._checked_estimator()
        if isinstance(sample_weight, str):
            X, sample_weight = validation.split_weight(X, sample_weight)
        rows = validation.check_rows(X, type(self).__name__, minimum=2)
        weight = validation.check_sample_weight(sample_weight, len(rows))
        mixture = fitted_in_one_unit(self._mixture(), rows, weight, validation.feature_names(X))
        n_rows = len(rows) if weight is None else int(np.count_nonzero(weight))
        mixture = _without_few(mixture, n_rows)
        densities = np.asarray(_densities(mixture, X), np.float64)
        if share == "auto":
            offset = mixture.density_threshold(_MASS)
        else:
            offset = _quantile(densities, float(share), weight)
        self.__dict__.pop("feature_names_in_", None)
        names = getattr(mixture, "feature_names_in_", None)
        found = {"mixture_": mixture, "offset_": offset, "n_features_in_": mixture.n_features_in_}
        self.__dict__.update(found if names is None else found | {"feature_names_in_": names})
        return densities

    def score_samples(self, X: ArrayLike) -> NDArray:
        """Return the log-density (nat) of each row of X (N, D), as (N,); the lower, the stranger."""
        if not self.__sklearn_is_fitted__():
            raise validation.not_fitted(type(self).__name__)
        names = self.mixture_._names()
        rows = open_rows(X, expected=None if names is None else names.tolist())
        if rows is None:
            rows = ArrayRows(self._fitted_rows(X), None, names)
        return np.asarray(_densities(self.mixture_, rows))

    def decision_function(self, X: ArrayLike) -> NDArray:
        """Return the log-density of each row of X (N, D) over that of the threshold, as (N,); outliers are below 0."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """Return -1 for each row of X (N, D) that is an outlier, and 1 for the others, as (N,)."""
        return _signs(self.score_samples(X), self.offset_)


# A tenth of 150 rows are 15, whatever rounding says.
_ROUNDED_UP = 1.0 + 1e-12
#: How much of a mixture's probability lies above the threshold 'auto'.
_MASS = 0.99


def _without_few(mixture: Any, n_rows: int) -> Any:
    """Return the mixture without its components on very few of so many rows, unless these are all."""
    family = mixture._family()
    held = mixture._shares() * n_rows >= 2 * (np.shape(mixture.means_)[1] + 1)
    if held.all() or not held.any():
        return mixture
    _, covariances = mixture._covariances()
    matrices = family.matrices(covariances, *np.shape(mixture.means_))[held]
    weights = mixture._shares()[held]
    kept = GaussianMixture.from_parameters(
        weights / weights.sum(), np.asarray(mixture.means_, np.float64)[held], matrices, n_threads=mixture.n_threads
    )
    names = mixture._names()
    if names is not None:
        kept.feature_names_in_ = names
    return kept


def _densities(mixture: Any, X: Any) -> Any:
    """Return the log-densities of the mixture that thresholds are of."""
    if isinstance(mixture, GaussianMixture):
        return mixture.score_samples(X)
    return mixture.score_samples(X, predictive="plug-in")


def _signs(densities: NDArray, offset: float) -> NDArray[np.int64]:
    return np.where(densities < offset, -1, 1).astype(np.int64)


def _quantile(values: NDArray, share: float, weight: NDArray | None) -> float:
    """Return the value below which a share of the values lies, by weight: at most that, to rounding."""
    order = np.argsort(values)
    reached = np.cumsum(np.ones(len(values)) if weight is None else weight[order])
    place = int(np.searchsorted(reached, share * reached[-1] * _ROUNDED_UP, side="right"))
    return float(values[order[min(place, len(values) - 1)]])
