"""A fitted mixture as a distribution: some of its columns, some given others, quantiles, regions of high density."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgmm import validation
from fastgmm.estimators.conditional import Conditional, cdf, quantile
from fastgmm.estimators.scoring import Scoring
from fastgmm.families import FAMILIES, structure_of
from fastgmm.statistics import Array

if TYPE_CHECKING:
    from fastgmm.estimators.gaussian import GaussianMixture

# Draws that the threshold of a region of high density is made of.
_DRAWS = 100_000


class Distribution(Scoring, ABC):
    """The part of the estimators that answers questions about the mixture of the fitted attributes.

    That of variational Bayes is the plug-in mixture: ``weights_``, ``means_`` and ``covariances_``.
    """

    def marginal(self, columns: int | str | Sequence[int | str]) -> GaussianMixture:
        """Return the mixture of some columns alone, as a fitted `GaussianMixture`.

        Parameters
        ----------
        columns : int, str, or a list of them
            Numbers from 0, or the names that the model was fitted to, in the order that the result has them in.

        Notes
        -----
        The others are integrated out, exactly. ValueError for a column that is not there, or is named twice.
        """
        places = self._places(columns)
        model = self._part(places)
        names = getattr(self, "feature_names_in_", None)
        if names is not None:
            model.feature_names_in_ = names[places]
        return model

    def condition(self, columns: int | str | Sequence[int | str], values: ArrayLike) -> Conditional:
        """Return the distribution of the other columns, where some are known.

        Parameters
        ----------
        columns : int, str, or a list of them
            The known columns: numbers from 0, or names that the model was fitted to.
        values : (N, n_columns) array-like, or (n_columns,) for one row
            What they are, in the order of `columns`.

        Returns
        -------
        fastgmm.estimators.conditional.Conditional
            With `mean()`, which is the regression of the other columns on these, `covariance()`, `quantile(q)`,
            `sample(n)`, `log_density(values)`; the other columns are in the order of the model.
        """
        known = self._places(columns)
        rest = np.setdiff1d(np.arange(np.shape(self.means_)[1]), known)
        if len(rest) == 0:
            raise ValueError("columns must leave out at least one column, whose distribution is asked for.")
        names, given = getattr(self, "feature_names_in_", None), validation.feature_names(values)
        if names is not None and given is not None:
            validation.require_same_names(names[known], given)
        array = np.asarray(validation.as_array(values, "values"), np.float64)
        array = array[None] if array.ndim == 1 else array
        if array.ndim != 2 or array.shape[1] != len(known):
            raise ValueError(
                f"values must have the shape (n_rows, {len(known)}), a column for each of columns, got {array.shape}."
            )
        validation.require_finite(array, "values")
        slope, covariances = self._regression(known, rest)
        means = np.asarray(self.means_, np.float64)
        gap = array[:, None] - means[:, known]
        weights = np.asarray(self._part(known).predict_proba(array), np.float64)
        return Conditional(
            weights,
            means[:, rest] + np.einsum("nkg,krg->nkr", gap, slope),
            covariances,
            None if names is None else names[rest],
        )

    def cdf(self, x: ArrayLike) -> Array:
        """Return the probability of at most x, for a mixture of one column; in the shape of x."""
        return cdf(np.asarray(x, np.float64), *self._one_column("cdf"))

    def quantile(self, q: ArrayLike) -> Array:
        """Return where the distribution function is q, in (0, 1), for a mixture of one column; in the shape of q."""
        return quantile(validation.check_probability(q, "q"), *self._one_column("quantile"))

    def density_threshold(self, mass: float, n_samples: int = _DRAWS, random_state: Any = 0) -> float:
        """Return the log-density (nat) above which the mixture has so much of its probability.

        Rows whose `score_samples` is below it lie outside the smallest region that holds `mass`, in (0, 1): with 0.99
        one new row of the mixture in a hundred. The quantile of the log-densities of a sample (Hyndman 1996), so that
        the mass is right to about sqrt(mass (1 - mass) / n_samples): 0.0003 for 0.99 and the default.
        """
        q = float(validation.check_probability(mass, "mass"))
        self._require_fitted()
        model = self._part(np.arange(np.shape(self.means_)[1]))
        X, _ = model.sample(n_samples, random_state=validation.check_random_state(random_state))
        return float(np.quantile(model.score_samples(X), 1.0 - q))

    def _places(self, columns: int | str | Sequence[int | str]) -> NDArray[np.intp]:
        """Return the numbers of columns."""
        self._require_fitted()
        names = getattr(self, "feature_names_in_", None)
        return validation.check_columns(columns, names, np.shape(self.means_)[1])

    def _part(self, places: NDArray[np.intp]) -> GaussianMixture:
        """Return the mixture of some columns, without names."""
        from fastgmm.estimators.gaussian import GaussianMixture

        family, covariances = self._covariances()
        structure = structure_of(family)
        if structure is None:
            raise ValueError(f"marginal and condition take families of the package's structures, not {family.name!r}.")
        # Of a constraint on whole covariances nothing need be left in a part of them.
        kept = family if family.constraint is None or family.is_tied else structure
        weights, means = self._weights(), np.asarray(self.means_, np.float64)[:, places]
        part = kept.attribute(family.marginal(covariances, places))
        known: Any = kept.name if FAMILIES.get(kept.name) == kept else kept
        return GaussianMixture.from_parameters(
            weights / weights.sum(), means, part, known, random_state=self.random_state, n_threads=self.n_threads
        )

    def _regression(self, known: NDArray[np.intp], rest: NDArray[np.intp]) -> tuple[Array, Array]:
        """Return slopes (K, R, G) on the known columns, and the covariances (K, R, R) of what they leave open."""
        family, covariances = self._covariances()
        shape = np.shape(self.means_)
        if not family.has_matrices:
            variances = family.variances(covariances, *shape)[:, rest]
            return np.zeros((shape[0], len(rest), len(known))), variances[:, :, None] * np.eye(len(rest))
        whitener = family.matrices(self._whitener(family), *shape)
        # With the rest as the last columns, its rows of a lower triangular factor are its law given the others.
        order = np.concatenate([known, rest])
        reversed_factors = (np.asarray(np.linalg.qr(each[:, order[::-1]], mode="r")) for each in whitener)
        factor = np.stack([each[::-1, ::-1] for each in reversed_factors])
        own, cross = factor[:, len(known) :, len(known) :], factor[:, len(known) :, : len(known)]
        inverse = np.linalg.inv(own)
        return -inverse @ cross, inverse @ np.swapaxes(inverse, 1, 2)

    def _one_column(self, what: str) -> tuple[Array, Array, Array]:
        self._require_fitted()
        n_components, n_features = np.shape(self.means_)
        if n_features != 1:
            raise ValueError(
                f"{what} is of a mixture of one column, and this one has {n_features}: take marginal(column) first."
            )
        family, covariances = self._covariances()
        variances = family.variances(covariances, n_components, 1)
        weights = self._weights()
        return weights / weights.sum(), np.asarray(self.means_, np.float64)[:, 0], np.sqrt(variances[:, 0])
