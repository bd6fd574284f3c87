"""``GaussianMixtureRegressor``: numbers given rows, by a mixture of both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgmm import validation
from fastgmm.estimators import GaussianMixture
from fastgmm.estimators.conditional import Conditional
from fastgmm.methods import counted
from fastgmm.predictors.base import Predictor, mean_of, standard_units
from fastgmm.rows import ArrayRows
from fastgmm.selection import GaussianMixtureIC
from fastgmm.statistics import Array
from fastgmm.support.showing import paragraph_html
from fastgmm.support.typing import Self

# Numbers that the means of components may take at a time: rows x components x targets.
_BLOCK = 2**20


class GaussianMixtureRegressor(Predictor):
    """Regression by a mixture of rows and targets together: their distribution given a row is a mixture, too.

    The mean follows curves, the variance changes along them, and there may be several branches ("Gaussian mixture
    regression", Ghahramani and Jordan 1994; Sung 2004). Columns and targets are brought to a mean of 0 and a standard
    deviation of 1 for the fit, so that ``reg_covar`` means the same in any units.

    Parameters
    ----------
    estimator : GaussianMixture, BayesianGaussianMixture or GaussianMixtureIC, optional
        The mixture of D columns and R targets, which stays as it is; default ``GaussianMixtureIC(covariance_type=
        "full")``, which chooses among 1 to 9 components by BIC. Families without correlations, like 'diag', need many
        components to say anything of a target.

    Attributes
    ----------
    mixture_ : GaussianMixture or BayesianGaussianMixture
        The mixture of the D + R columns less `offset_`, over `scale_`.
    offset_, scale_ : (D + R,)
    n_features_in_ : int
        The number D of columns of X.
    feature_names_in_ : (D,) array of str
        Where X had names.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgmm import GaussianMixtureRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-3, 3, size=(500, 1))
    >>> y = np.abs(X[:, 0]) + 0.1 * rng.normal(size=500)
    >>> regressor = GaussianMixtureRegressor().fit(X, y)
    >>> np.round(regressor.predict([[-2.0], [2.0]]), 1)
    array([2., 2.])
    """

    _estimator_type = "regressor"
    _fitted_name = "mixture_"

    mixture_: Any
    offset_: Array
    scale_: Array
    _is_vector: bool

    def __init__(self, estimator: Any = None) -> None:
        self.estimator = estimator

    def _default_estimator(self) -> Any:
        return GaussianMixtureIC(
            covariance_type="full", estimator=GaussianMixture(n_init=2), patience=3, random_state=0
        )

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags: a regressor of one target or several."""
        from sklearn.utils import InputTags, RegressorTags, Tags, TargetTags

        return Tags(
            estimator_type="regressor",
            target_tags=TargetTags(required=True, multi_output=True),
            input_tags=InputTags(),
            regressor_tags=RegressorTags(),
        )

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the mixture to rows and targets and return self.

        Parameters
        ----------
        X : (N, D) array-like of finite numbers, N >= 2
        y : (N,) or (N, R) array-like of finite numbers
        sample_weight : (N,) array-like >= 0, or the name of a column of X, optional
            A row of weight w counts as w copies.

        Notes
        -----
        Errors and warnings are those of the mixture's ``fit``, whose columns are those of X, then the targets. An
        exception leaves the estimator as it was.
        """
        self._checked_estimator()
        rows, _, weight, names = self._training_rows(X, y, sample_weight)
        targets = validation.as_array(y, "y")
        is_vector = targets.ndim == 1
        targets = targets[:, None] if is_vector else targets
        if targets.ndim != 2 or targets.shape[1] == 0:
            raise ValueError(f"y must have the shape (N,) or (N, n_targets), got {targets.shape}.")
        validation.require_finite(targets, "y")
        joint = np.column_stack([rows, targets]).astype(np.float64)
        offset, scale = standard_units(joint, weight)
        labels = [*validation.feature_labels(names, rows.shape[1]), *_target_names(y, targets.shape[1])]
        told = np.array([f"z({label})" for label in labels], dtype=object)
        mixture = self._mixture().fit(ArrayRows((joint - offset) / scale, weight, told))
        fitted = {
            "mixture_": _unnamed(getattr(mixture, "best_estimator_", mixture)),
            "offset_": offset,
            "scale_": scale,
            "n_features_in_": rows.shape[1],
            "_is_vector": is_vector,
        }
        self.__dict__.pop("feature_names_in_", None)
        self.__dict__.update(fitted if names is None else fitted | {"feature_names_in_": names})
        return self

    def _parts_html(self) -> list[str]:
        """Return the mixture."""
        n_features = self.n_features_in_
        said = (
            f"The mixture of {counted(n_features, 'column')} and, behind them, {len(self.scale_) - n_features} of "
            "targets, less their means, over their standard deviations:"
        )
        return [paragraph_html(said), self.mixture_._repr_html_()]

    def predict_conditional(self, X: ArrayLike) -> Conditional:
        """Return the distribution of the targets given each row of X (N, D): mixtures of K normal laws.

        With `mean()`, `covariance()`, `quantile(q)`, `cdf(y)`, `sample(n)` and `log_density(y)`, in the units of y. It
        holds N means of each component; `predict` and `predict_quantiles` do not.
        """
        return self._conditional(self._fitted_rows(X))

    def predict(self, X: ArrayLike, return_std: bool = False) -> Any:
        """Return the mean of the targets given each row of X (N, D), in the shape of y: (N,) or (N, R).

        With `return_std` a pair, whose second part is their standard deviations, in the same shape.
        """
        means, deviations = [], []
        for part in self._parts(self._fitted_rows(X)):
            means.append(part.mean())
            if return_std:
                deviations.append(np.sqrt(np.diagonal(part.covariance(), axis1=1, axis2=2)))
        found = self._shaped(np.concatenate(means))
        return (found, self._shaped(np.concatenate(deviations))) if return_std else found

    def predict_quantiles(self, X: ArrayLike, q: ArrayLike = (0.05, 0.5, 0.95)) -> Array:
        """Return where the distribution function of the target given each row is q, in (0, 1).

        (N,) for a number, (N, Q) for Q of them. Of one target; of several ValueError.
        """
        return np.concatenate([part.quantile(q) for part in self._parts(self._fitted_rows(X))])

    def sample_y(self, X: ArrayLike, n_samples: int = 1, random_state: Any = 0) -> Array:
        """Return `n_samples` draws of the targets given each row of X (N, D): (N, n_samples), or (N, R, n_samples)."""
        draws = np.moveaxis(self.predict_conditional(X).sample(n_samples, random_state), 1, 2)
        return draws[:, 0] if self._is_vector else draws

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return the share of the variance of y that the mean explains, R^2; the mean over targets of several."""
        found = np.asarray(self.predict(X), np.float64)
        values = np.asarray(validation.as_array(y, "y"), np.float64)
        if values.shape != found.shape:
            raise ValueError(f"y must have the shape {found.shape}, one target for each row of X, got {values.shape}.")
        weight = validation.check_sample_weight(sample_weight, len(values))
        left = mean_of((values - found) ** 2, weight)
        total = mean_of((values - mean_of(values, weight)) ** 2, weight)
        # Of constant targets nothing can be explained: 1 for the constant itself, as of scikit-learn.
        unexplained = np.where(total > 0.0, left / np.where(total > 0.0, total, 1.0), left > 0.0)
        return float(1.0 - unexplained.mean())

    def _conditional(self, rows: NDArray) -> Conditional:
        n_features = self.n_features_in_
        values = (rows - self.offset_[:n_features]) / self.scale_[:n_features]
        given = self.mixture_.condition(range(n_features), values)
        scale = self.scale_[n_features:]
        return replace(
            given, means=given.means * scale + self.offset_[n_features:], whiteners=given.whiteners / scale, names=None
        )

    def _parts(self, rows: NDArray) -> Iterator[Conditional]:
        """Yield the conditional distributions of so many rows at a time as fit into a block."""
        n_rows = max(1, _BLOCK // (len(self.mixture_.means_) * len(self.scale_)))
        for start in range(0, len(rows), n_rows):
            yield self._conditional(rows[start : start + n_rows])

    def _shaped(self, values: Array) -> Array:
        return values[:, 0] if self._is_vector else values


def _target_names(y: Any, n_targets: int) -> list[str]:
    """Return the names of the targets for messages: those of a frame or a series, else y or y1, y2, ..."""
    names = validation.feature_names(y)
    if names is not None and len(names) == n_targets:
        return [str(name) for name in names]
    if n_targets == 1:
        name = getattr(y, "name", None)
        return [name if isinstance(name, str) else "y"]
    return [f"y{number}" for number in range(1, n_targets + 1)]


def _unnamed(mixture: Any) -> Any:
    """Return the mixture without the names that messages of its fit had: its columns are no one's."""
    vars(mixture).pop("feature_names_in_", None)
    return mixture
