"""A fitted mixture as a distribution: some of its columns, some given others, quantiles, regions of high density."""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgmm import validation
from fastgmm.estimators.conditional import Conditional, cdf, quantile
from fastgmm.estimators.noise import KnowsNoise
from fastgmm.estimators.scoring import Scoring
from fastgmm.families import FAMILIES, Family, regression, structure_of
from fastgmm.rules import parameters_of_whitener
from fastgmm.statistics import Array

if TYPE_CHECKING:
    from fastgmm.estimators.gaussian import GaussianMixture

# Draws that the threshold of a region of high density is made of.
_DRAWS = 100_000


class Moments(NamedTuple):
    """The mean (D,) and the covariance (D, D) of a whole mixture."""

    mean: Array
    covariance: Array


class Distribution(KnowsNoise, Scoring, ABC):
    """The part of the estimators that answers questions about the mixture that rows are scored with.

    That of variational Bayes is the plug-in mixture, of ``score_samples(X, predictive="plug-in")``.
    """

    def marginal(self, columns: int | str | Iterable[int | str]) -> GaussianMixture:
        """Return the mixture of some columns alone, as a fitted `GaussianMixture`.

        Parameters
        ----------
        columns : int, str, or several of them
            Numbers from 0, or the names that the model was fitted to, in the order that the result has them in.

        Notes
        -----
        The others are integrated out, exactly. ValueError for a column that is not there, or is named twice.
        """
        places = self._places(columns)
        names = self._names()
        family, whitener = self._divisible()
        return self._part(places, family.marginal(whitener, places), None if names is None else names[places])

    def condition(self, columns: int | str | Iterable[int | str], values: ArrayLike) -> Conditional:
        """Return the distribution of the other columns, where some are known.

        Parameters
        ----------
        columns : int, str, or several of them
            The known columns: numbers from 0, or names that the model was fitted to.
        values : (N, n_columns) array-like; (n_columns,) for one row, or (N,) where one column is known
            What they are, in the order of `columns`.

        Returns
        -------
        fastgmm.estimators.conditional.Conditional
            With `mean()`, which is the regression of the other columns on these, `covariance()`, `quantile(q)`,
            `sample(n)`, `log_density(values)`; the other columns are in the order of the model. It holds N means of
            each component.
        """
        known = self._places(columns)
        n_features = np.shape(self.means_)[1]
        rest = np.setdiff1d(np.arange(n_features), known)
        if len(rest) == 0:
            raise ValueError("columns must leave out at least one column, whose distribution is asked for.")
        names = self._names()
        array = _known_values(values, len(known), None if names is None else names[known])
        family, whitener = self._divisible()
        means = np.asarray(self.means_, np.float64)
        gap = array[:, None] - means[:, known]
        first, slope, own = regression(family, whitener, means.shape, known, rest)
        expected = means[:, rest] + np.einsum("nkg,krg->nkr", gap, slope)
        weights = np.asarray(self._part(known, first).predict_proba(array), np.float64)
        return Conditional(weights, expected, np.ascontiguousarray(own), None if names is None else names[rest])

    def moments(self) -> Moments:
        """Return the mean (D,) and the covariance (D, D) of a row of the mixture: within components, and between."""
        self._require_no_noise()
        family, covariances = self._covariances()
        means, weights = np.asarray(self.means_, np.float64), self._shares()
        # Weights sum to 1 but for rounding, which far from the origin is not little.
        middle = means[int(weights.argmax())]
        gap = means - middle
        between = gap - weights @ gap
        within = np.einsum("k,kab->ab", weights, family.matrices(covariances, *means.shape))
        return Moments(middle + weights @ gap, within + (weights[:, None] * between).T @ between)

    def cdf(self, x: ArrayLike) -> Array:
        """Return the probability of at most x, for a mixture of one column; in the shape of x."""
        return cdf(np.asarray(x, np.float64), *self._one_column("cdf"))

    def quantile(self, q: ArrayLike) -> Array:
        """Return where the distribution function is q, in (0, 1), for a mixture of one column; in the shape of q."""
        return quantile(validation.check_probability(q, "q"), *self._one_column("quantile"))

    def density_threshold(self, mass: float, n_samples: int = _DRAWS, random_state: Any = 0) -> float:
        """Return the log-density (nat) above which the mixture has so much of its probability.

        Rows whose log-density, ``score_samples(X)`` or of a variational fit ``score_samples(X, predictive="plug-in")``,
        is below it lie outside the smallest region that holds `mass`, in (0, 1): with 0.99 one new row of the mixture
        in a hundred. The quantile of the log-densities of a sample (Hyndman 1996), so that the mass is right to about
        sqrt(mass (1 - mass) / n_samples): 0.0003 for 0.99 and the default.
        """
        q = float(validation.check_probability(mass, "mass"))
        self._require_fitted()
        _, whitener = self._divisible()
        model = self._part(np.arange(np.shape(self.means_)[1]), whitener)
        X, _ = model.sample(n_samples, random_state=validation.check_random_state(random_state))
        return float(np.quantile(model.score_samples(X), 1.0 - q))

    def _places(self, columns: int | str | Iterable[int | str]) -> NDArray[np.intp]:
        """Return the numbers of columns."""
        self._require_fitted()
        return validation.check_columns(columns, self._names(), np.shape(self.means_)[1])

    def _divisible(self) -> tuple[Family, Array]:
        """Return the family, and the whitener that rows are scored with; ValueError where a part of it is not known."""
        self._require_no_noise()
        family = self._family()
        if structure_of(family) is None:
            raise ValueError(f"marginal and condition take families of the package's structures, not {family.name!r}.")
        return family, self._whitener(family)

    def _part(self, places: NDArray[np.intp], whitener: Array, names: NDArray | None = None) -> GaussianMixture:
        """Return the mixture of some columns, of which `whitener` is; they are scored as whole rows are."""
        from fastgmm.estimators.gaussian import GaussianMixture

        family = self._family()
        # Of a constraint on whole covariances nothing need be left in a part of them.
        kept = family if family.constraint is None or family.is_tied else structure_of(family)
        assert kept is not None
        means = np.asarray(self.means_, np.float64)
        known: Any = kept.name if FAMILIES.get(kept.name) == kept else kept
        part = GaussianMixture(
            len(means), covariance_type=known, random_state=self.random_state, n_threads=self.n_threads
        )
        state = parameters_of_whitener(kept, self._shares(), means[:, places], whitener)
        return part._of_state(kept, state, names)

    def _one_column(self, what: str) -> tuple[Array, Array, Array]:
        self._require_fitted()
        self._require_no_noise()
        n_features = np.shape(self.means_)[1]
        if n_features != 1:
            raise ValueError(
                f"{what} is of a mixture of one column, and this one has {n_features}: take marginal(column) first."
            )
        family, weights = self._family(), self._shares()
        variances = family.variances(family.covariances_of_whitener(self._whitener(family)), len(weights), 1)
        return weights, np.asarray(self.means_, np.float64)[:, 0], np.sqrt(variances[:, 0])

    def _shares(self) -> Array:
        """Return the weights, which may have been set by hand, with a sum of 1."""
        weights = self._weights()
        if not 0.0 < weights.sum() < np.inf:
            raise ValueError(f"weights_ should be finite and not all 0, but is {weights}")
        return weights / weights.sum()


def _known_values(values: Any, n_columns: int, names: NDArray | None) -> Array:
    """Return the known values of each row, (N, n_columns); those of a frame or of a row of one should have `names`."""
    array = np.asarray(validation.as_array(values, "values"), np.float64)
    given = validation.feature_names(values)
    index = getattr(values, "index", None)
    if array.ndim == 1 and n_columns > 1 and index is not None and not callable(index):
        labels = list(index)
        given = np.array(labels, dtype=object) if all(isinstance(label, str) for label in labels) else None
    if names is not None and given is not None:
        validation.require_same_names(names, given, "values must have the columns of `columns`, in that order.\n")
    if array.ndim < 2:
        array = array.reshape(-1, 1) if n_columns == 1 else array[None]
    if array.ndim != 2 or array.shape[1] != n_columns:
        raise ValueError(
            f"values must have the shape (n_rows, {n_columns}), a column for each of columns, got {array.shape}."
        )
    validation.require_finite(array, "values")
    return array
