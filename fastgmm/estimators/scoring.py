"""The side of the estimators that reads: scores, predictions, samples and conversions of fitted attributes."""

from __future__ import annotations

import copy
import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgmm import validation
from fastgmm.estimators import conversion
from fastgmm.estimators.interface import Interface, register
from fastgmm.estimators.private import PrivateMethods, refuse_overrides
from fastgmm.exceptions import CollapsedComponentError
from fastgmm.families import Family
from fastgmm.fitting.restarts import Restart
from fastgmm.kernels import Density
from fastgmm.kernels.structures.densities import has_noise
from fastgmm.passes.scores import LogDensities, OfShares, Score, Totals, uncertainties, uncertainties_beside_noise
from fastgmm.rows import FAR_EXPONENT, ArrayRows, Rows, scan_rows
from fastgmm.sources import open_rows
from fastgmm.sources.gapped import open_incomplete
from fastgmm.sources.opening import has_columns_by_name
from fastgmm.spurious import SpuriousComponent
from fastgmm.statistics import Array
from fastgmm.support.typing import Self

# What to do about rows that are not complete, where there is the parameter.
_REMEDY = 'drop or impute the others, or set missing="marginal", which integrates missing entries (NaN) out'
# Fitted attributes that are not for users.
_FITTED_IN_PRIVATE = {
    *("_watched_bounds", "_fitted_family", "_learned", "_sorted_sticks", "_n_known_parameters", "_n_tails"),
    *("_n_noise_parameters", "_fitted_uniquenesses"),
}


class Scoring(PrivateMethods, Interface, ABC):
    """A fitted mixture behind scikit-learn's interface, whoever set its attributes."""

    covariance_type: str | Family
    random_state: Any
    n_threads: int | None
    missing: str | None = None

    weights_: NDArray
    means_: NDArray
    covariances_: NDArray
    precisions_: NDArray
    precisions_cholesky_: NDArray
    converged_: bool
    stop_reason_: str
    n_iter_: int
    n_passes_: int
    lower_bound_: float
    lower_bounds_: list[float]
    restarts_: list[Restart]
    spurious_: list[SpuriousComponent]
    n_features_in_: int
    feature_names_in_: NDArray
    _fitted_family: Family

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """TypeError where a subclass overrides what only scikit-learn's loop would call."""
        super().__init_subclass__(**kwargs)
        refuse_overrides(cls)

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Make an instance, which scikit-learn's class recognises where that is loaded."""
        register(cls)
        return super().__new__(cls)

    def _blank(self) -> Self:
        """Return a copy without the fitted attributes."""
        other = copy.copy(self)
        for name in list(vars(other)):
            if name in _FITTED_IN_PRIVATE or (name.endswith("_") and not name.startswith("_")):
                del other.__dict__[name]
        if "_metadata_request" in vars(other):
            other.__dict__["_metadata_request"] = copy.deepcopy(other.__dict__["_metadata_request"])
        return other

    @abstractmethod
    def _density(self) -> Density:
        """Return the density that rows are scored with."""

    def _open(self, X: Any, sample_weight: Any = None, minimum: int = 1, expected: Sequence[str] | None = None) -> Rows:
        """Return checked rows with their weights and the names of their columns; `expected` as of ``open_rows``.

        With a `minimum` of 0, arrays need not have any rows of positive weight.
        """
        register(type(self))
        if self.missing is not None:
            return open_incomplete(X, sample_weight, self.missing, type(self).__name__, minimum, expected)
        rows = open_rows(X, sample_weight, expected=expected)
        if rows is not None:
            if rows.may_miss:
                own = 'set missing="marginal", or ' if "missing" in vars(self) else ""
                raise ValueError(
                    f"X is {type(rows).__name__} some of whose entries may be missing, and this {type(self).__name__} "
                    f'takes complete rows: {own}open such rows, without missing="marginal".'
                )
            if minimum > 1:
                validation.check_n_rows((rows.n_rows, rows.n_features), minimum, type(self).__name__)
            return rows
        if isinstance(sample_weight, str):
            X, sample_weight = validation.split_weight(X, sample_weight)
        remedy = _REMEDY if "missing" in vars(self) else validation.COMPLETE
        array = validation.check_rows(X, type(self).__name__, minimum=minimum, remedy=remedy)
        weight = validation.check_sample_weight(sample_weight, len(array), may_be_zero=minimum == 0)
        return ArrayRows(array, weight, validation.feature_names(X))

    def _family(self) -> Family:
        """Return the family of the fitted attributes, whatever `covariance_type` has been set to since."""
        family = self.__dict__.get("_fitted_family") or validation.check_family(self.covariance_type)
        if np.ndim(self.means_) != 2:
            raise ValueError(
                f"means_ should have the shape (n_components, n_features), but has {np.shape(self.means_)}"
            )
        name = "precisions_cholesky_" if hasattr(self, "precisions_cholesky_") else "covariances_"
        self._require_shape(name, family)
        return family

    def _require_shape(self, name: str, family: Family) -> None:
        """ValueError unless the attribute, covariances or factors, has the family's shape."""
        if not hasattr(self, name):
            raise validation.not_fitted(type(self).__name__)
        shape = family.attribute_shape(*np.shape(self.means_))
        given = np.shape(getattr(self, name))
        if given != shape:
            raise ValueError(f"{name} should have the shape {shape} of covariance {family.name!r}, but has {given}")

    def _weights(self) -> Array:
        """Return the mixing weights (K,) as they are used; ValueError where they are none."""
        return validation.check_mixing_weights(self.weights_, len(self.means_))

    def _whitener(self, family: Family) -> Array:
        """Return the whitener of `precisions_cholesky_`, or where that is not there, of `covariances_`.

        Both may have been set by hand: any triangular factor C counts with precision C C^T.
        """
        if hasattr(self, "precisions_cholesky_"):
            factor = family.of_attribute(np.asarray(self.precisions_cholesky_, np.float64), len(self.means_))
            return family.whitener_of_factor(factor, "precisions_cholesky_")
        shape = np.shape(self.means_)
        covariances = validation.check_covariances(self.covariances_, family, shape[0], shape[1], "covariances_")
        density, failed = family.density(np.ones(shape[0]), np.asarray(self.means_, np.float64), covariances)
        if failed >= 0:
            raise CollapsedComponentError(failed)
        return density.whitener

    def _covariances(self) -> tuple[Family, Array]:
        """Return the family, and `covariances_`, however they were set, in the shape of its structure."""
        self._require_fitted()
        family = self._family()
        if hasattr(self, "covariances_"):
            self._require_shape("covariances_", family)
            return family, family.of_attribute(np.asarray(self.covariances_, np.float64), len(self.means_))
        return family, family.covariances_of_whitener(self._whitener(family))

    def _names(self) -> NDArray | None:
        """Return the names of the columns, which may have been set by hand; None where there are none."""
        names = getattr(self, "feature_names_in_", None)
        if names is not None and len(names) != np.shape(self.means_)[1]:
            raise ValueError(
                f"feature_names_in_ should be {np.shape(self.means_)[1]} names, one for each feature, but is {names}"
            )
        return None if names is None else np.asarray(names, dtype=object)

    def _require_fitted(self) -> None:
        if not hasattr(self, "means_"):
            raise validation.not_fitted(type(self).__name__)

    def _rows(self, X: ArrayLike, sample_weight: ArrayLike | None = None, may_be_empty: bool = False) -> Rows:
        self._require_fitted()
        names = self._names()
        n_features = np.shape(self.means_)[1]
        # Before the values: a frame of other columns is told so, whatever is in them.
        if names is not None:
            given = None if has_columns_by_name(X) else validation.feature_names(X)
            if given is not None:
                # A column that is named as the weights is no feature.
                features = given[given != sample_weight] if isinstance(sample_weight, str) else given
                validation.require_same_names(
                    names, features, "X[model.feature_names_in_] has the columns that are wanted, in that order.\n"
                )
        expected = None if names is None else names.tolist()
        rows = self._open(X, sample_weight, 0 if may_be_empty else 1, expected).expecting(names, n_features)
        validation.check_feature_names(names, rows.names, type(self).__name__)
        validation.check_n_features(rows.n_features, n_features, type(self).__name__)
        return self._told_of_noise(rows)

    def _told_of_noise(self, rows: Rows) -> Rows:
        """Return rows that know where the noise of the fitted mixture is, where it has some."""
        return rows

    def _scored(self, X: ArrayLike, output: str, density: Density | None = None) -> Any:
        rows = self._rows(X)
        return rows.scored(Score(self._density() if density is None else density, output, self.n_threads))

    def _totals(self, X: ArrayLike, sample_weight: ArrayLike | None, density: Density | None = None) -> WeightedSums:
        rows = self._rows(X, sample_weight)
        totals = weighted_sums(rows, self._density() if density is None else density, self.n_threads)
        if totals.weight == 0.0:
            # Only rows that are elsewhere may turn out to be none.
            validation.check_n_rows((0, rows.n_features), 1, type(self).__name__)
        if density is None and not type(self).score_samples.__module__.startswith("fastgmm."):
            if isinstance(rows, ArrayRows) and isinstance(sample_weight, str):
                X, _ = validation.split_weight(X, sample_weight)
            evidence = _weighted_sum(self.score_samples(X), rows.scaled(totals.exponent))
            return totals._replace(evidence=evidence)
        return totals

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """Return the most probable component of each row of X (N, D), as labels (N,); -1 where noise is more likely."""
        return self._scored(X, "labels")

    def predict_proba(self, X: ArrayLike) -> NDArray:
        """Return the posterior probability of each component for each row of X (N, D), as (N, K).

        With noise, what a row lacks of 1 is the probability that it is noise.
        """
        return self._scored(X, "responsibilities")

    def uncertainty(self, X: ArrayLike) -> NDArray:
        """Return how uncertain it is to which component each row of X (N, D) belongs, as (N,).

        The probability that it is not the most probable one: 1 less the largest of ``predict_proba``, with all digits.
        """
        rows = self._rows(X)
        density = self._density()
        measure = uncertainties_beside_noise if has_noise(density) else uncertainties
        return rows.scored(OfShares(density, measure, "uncertainty", self.n_threads))

    def score_samples(self, X: ArrayLike) -> NDArray:
        """Return the log-density (nat) of each row of X (N, D), as (N,).

        Where a subclass overrides it, ``score``, ``aic`` and ``bic`` are made of what it returns.
        """
        return self._scored(X, "evidence")

    def log_densities(self, X: ArrayLike) -> NDArray:
        """Return the log-density (nat) of each row of X (N, D) in each component, weights left out, as (N, K).

        Rows on a Spark cluster are refused.
        """
        rows = self._rows(X)
        density = self._density()
        with np.errstate(divide="ignore", invalid="ignore"):
            log_scale = density.log_scale[: len(density.mean)]
            log_scale = np.where(np.isneginf(log_scale), -np.inf, log_scale - self._log_weights())
        family = self._family()
        alone = [
            density._replace(
                log_scale=log_scale[k : k + 1],
                mean=density.mean[k : k + 1],
                whitener=family.select(density.whitener, np.array([k])),
            )
            for k in range(len(log_scale))
        ]
        return rows.scored(LogDensities(alone, self.n_threads))

    def to_sklearn(self) -> Any:
        """Return scikit-learn's estimator with the same parameters: its predictions agree to rounding.

        Constructor parameters that it does not know are left out; a start or random state that it does not know becomes
        its default. ValueError where it has no such model: families of one's own, and Bayesian mixtures of 'diag' and
        'spherical' covariance with more than one feature, whose law is another one there (docs/variational.md).
        """
        return conversion.to_sklearn(self)

    @classmethod
    def from_sklearn(cls, model: Any) -> Self:
        """Return an estimator with the parameters of scikit-learn's `model`, fitted or not; see ``to_sklearn``.

        TypeError for a model of another kind. `lower_bound_` of a Bayesian mixture is NaN: scikit-learn's lacks
        constants.
        """
        return conversion.from_sklearn(cls, model)

    def _complete(self) -> None:
        family = self._family()
        self.precisions_ = family.precisions(np.asarray(self.precisions_cholesky_))

    def score(self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None) -> float:
        """Return the mean log-density (nat) of the rows of X (N, D); with weights (N,), the weighted mean."""
        totals = self._totals(X, sample_weight)
        return totals.evidence / totals.weight

    def sample(self, n_samples: int = 1, random_state: Any = None) -> tuple[NDArray, NDArray[np.int64]]:
        """Return `n_samples` rows (n, D) drawn from the mixture, grouped by component, and their labels (n,).

        Noise comes last, with the label -1.

        `random_state` defaults to the estimator's own. The covariances are those of `covariances_`, also where that
        was set by hand.
        """
        family, covariances = self._covariances()
        return self._draw(n_samples, random_state, lambda k, noise, generator: family.spread(covariances, k, noise))

    def _draw(
        self, n_samples: int, random_state: Any, spread: Callable[[int, Array, Any], Array]
    ) -> tuple[NDArray, NDArray[np.int64]]:
        """Return rows and labels of a sample; ``spread(k, noise, generator)`` makes deviations of normal noise."""
        n_samples = validation.check_n_samples(n_samples)
        random_state = validation.check_random_state(self.random_state if random_state is None else random_state)
        return drawn_rows(self._weights(), np.asarray(self.means_), n_samples, random_state, spread)


def drawn_rows(
    weights: Array,
    means: NDArray,
    n_samples: int,
    random_state: Any,
    spread: Callable[[int, Array, Any], Array],
) -> tuple[NDArray, NDArray[np.int64]]:
    """Return rows (n, D) drawn from a mixture by a generator, grouped by component, and their labels; see ``_draw``."""
    counts = random_state.multinomial(n_samples, weights / weights.sum())
    X = np.vstack(
        [
            means[k] + spread(k, random_state.standard_normal((count, means.shape[1])), random_state)
            for k, count in enumerate(counts)
        ]
    )
    return X, np.repeat(np.arange(len(counts), dtype=np.int64), counts)


def weighted_sums(rows: Rows, density: Density, n_threads: int | None) -> WeightedSums:
    """Return the weighted sums of the scores of rows under a density."""
    exponent = far_exponent(rows)
    evidence, peak, weight = rows.scaled(exponent).gather(Totals(density, n_threads), operator.add).tolist()
    return WeightedSums(evidence, peak, weight, exponent)


def far_exponent(rows: Rows) -> int:
    """Return the exponent of the largest weight where that is far from 1, else 0.

    Scores do not depend on the scale of weights, but tiny or huge ones would leave the range of float64 in sums.
    """
    return if_far(rows.summary.exponent if rows.is_weighted else 0)


def if_far(exponent: int) -> int:
    """Return an exponent that is far from 0, else 0."""
    return exponent if abs(exponent) >= FAR_EXPONENT else 0


def checked_components(
    means: ArrayLike, covariances: ArrayLike, covariance_type: str | Family
) -> tuple[Family, Density, Array]:
    """Return the family, a density of given components with a weight of 1 each, and their covariances, all checked."""
    family = validation.check_family(covariance_type)
    shape = np.shape(validation.as_array(means, "means"))
    if len(shape) != 2:
        raise ValueError(f"means must have the shape (n_components, n_features), got {shape}.")
    checked = validation.check_covariances(covariances, family, *shape, "covariance")
    density, failed = family.density(np.ones(shape[0]), validation.check_means(means, *shape), checked)
    if failed >= 0:
        raise CollapsedComponentError(failed)
    return family, density, checked


class WeightedSums(NamedTuple):
    """Weighted sums over rows, with the weights in units of 2**exponent."""

    evidence: float
    peak: float
    weight: float
    exponent: int

    @property
    def scale(self) -> float:
        """The unit of the weights, infinite where that is beyond float64."""
        return math.inf if self.exponent > 1023 else math.ldexp(1.0, self.exponent)

    @property
    def log_weight(self) -> float:
        """The logarithm of the sum of the weights."""
        return math.log(self.weight) + self.exponent * math.log(2.0)


def _weighted_sum(values: Any, rows: Rows) -> float:
    """Return the sum of a number for each row, as a subclass computes them, by the weights of the rows."""
    if not isinstance(values, np.ndarray | list | tuple):
        raise TypeError(
            "score_samples of a subclass returns numbers that are not computed yet, of rows on a cluster: score, aic, "
            "bic take rows in memory and files there. Take the mean of score_samples instead."
        )
    numbers = np.asarray(values, np.float64)
    if numbers.shape != (rows.n_rows,):
        raise ValueError(f"score_samples should return one number for each of {rows.n_rows} rows, but: {numbers.shape}")
    total = 0.0
    for block in rows.given_blocks(scan_rows(rows.n_features)):
        part = numbers[block.places]
        if block.weight is None:
            total += float(part.sum())
        else:
            counted = block.weight > 0.0
            total += float(part[counted] @ block.weight[counted])
    return total
