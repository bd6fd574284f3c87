"""Uses of many fits: labels, probabilities, scores and samples of all problems in one call.

Rows are scored by the passes of single estimators, a problem at a time: the same bits, without an estimator for each.
"""

from __future__ import annotations

import numbers
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgmm import validation
from fastgmm.estimators.base import Mixture
from fastgmm.estimators.choices import Predictive
from fastgmm.estimators.criteria import criteria, n_free_parameters
from fastgmm.estimators.gaussian import GaussianMixture
from fastgmm.estimators.posterior import PREDICTIVES
from fastgmm.estimators.scoring import WeightedSums, drawn_rows, weighted_sums
from fastgmm.exceptions import OutOfRangeError
from fastgmm.families import Family
from fastgmm.kernels import many
from fastgmm.many.problems import Problems, open_problems
from fastgmm.many.rules import ManyLikelihoods, Rule
from fastgmm.many.status import Status
from fastgmm.passes.blanks import blank_fits, blank_survey, lane_count
from fastgmm.passes.scores import Score
from fastgmm.rows import ArrayRows, row_type
from fastgmm.statistics import Array
from fastgmm.support.showing import shown


class Uses(ABC):
    """The part of the result of many fits that scores rows and draws them."""

    estimator: Mixture
    keys: NDArray | None
    status: NDArray[np.int64]
    weights_: Array
    _family: Family
    _fits: many.Fits
    _rule: Rule
    _names: NDArray | None

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Any: ...

    def predict(
        self,
        X: Any,
        *,
        offsets: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        predictive: Predictive | None = None,
    ) -> Any:
        """Return the most probable component of each row under its problem's fit, int64; -1 where there is no fit.

        Parameters
        ----------
        X : (P, n, D) array, list of P arrays (n_i, D), (N, D) array with `offsets` or `groups`, or (n, D) array
            Rows of all P problems, as in ``fit_many``; the last are rows that all problems share.
        offsets : (P + 1,) integers, optional
        groups : (N,) array of keys that were fitted, optional
        predictive : {'expected-log', 'plug-in', 'student-t'}, optional
            For variational fits, as in ``BayesianGaussianMixture.score_samples``; default 'expected-log'.

        Returns
        -------
        (P, n) array, list of arrays (n_i,), or (N,) array, as X is laid out; (P, n) where problems share X.

        Notes
        -----
        Labels are those of ``result[i].predict``, to the bit, and so are the numbers of the other methods, but for
        sums, which agree to rounding. A pass over the rows of each problem is made from Python, one after the other,
        which takes some tens of microseconds beside its arithmetic; an estimator for each, ``result[i]``, takes several
        times as long, and so does a `predictive` other than the default. Parameters are float64, as the arrays of the
        result are: a ``result[i]`` that was fitted to float32 has rounded them.

        Raises ValueError for rows that are not finite, of another number of columns or of other names, for another
        number of problems and for unknown keys; and, with the problem, for a row so far from all components that its
        squared distances overflow.
        """
        return self._scored("labels", X, offsets, groups, predictive)

    def predict_proba(
        self,
        X: Any,
        *,
        offsets: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        predictive: Predictive | None = None,
    ) -> Any:
        """Return the probability of each component for each row; NaN where there is no fit.

        Arguments as of ``predict``; what that returns has a last axis of K components. float32 for float32 rows.
        """
        return self._scored("responsibilities", X, offsets, groups, predictive)

    def score_samples(
        self,
        X: Any,
        *,
        offsets: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        predictive: Predictive | None = None,
    ) -> Any:
        """Return the log-density (nat) of each row under its problem's fit; NaN where there is no fit.

        Arguments and shapes as of ``predict``. float32 for float32 rows; -inf for a row that is too far away.
        """
        return self._scored("evidence", X, offsets, groups, predictive)

    def score(
        self,
        X: Any,
        *,
        offsets: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        sample_weight: Any = None,
        predictive: Predictive | None = None,
    ) -> Array:
        """Return the (weighted) mean log-density (nat) of the rows of each problem, (P,).

        NaN where there is no fit, no row, or no weight. Arguments as of ``predict``, and `sample_weight` as of
        ``fit_many``: where problems share X, (P, n). Of fits by maximum likelihood one compiled call makes all, as it
        makes their fits; of variational ones passes are made as in ``predict``. So in ``aic`` and ``bic``, but not in
        ``icl``.
        """

        def mean(totals: WeightedSums) -> float:
            return totals.evidence / totals.weight

        self._check_predictive(predictive)
        return self._summed(mean, self._opened(X, offsets, groups, sample_weight), predictive)

    def aic(
        self,
        X: Any,
        *,
        offsets: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        sample_weight: Any = None,
    ) -> Array:
        """Return Akaike's information criterion of each problem's fit on its rows, (P,); lower is better.

        Arguments and NaN as of ``score``. TypeError for variational fits.
        """
        return self._criterion("aic", X, offsets, groups, sample_weight)

    def bic(
        self,
        X: Any,
        *,
        offsets: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        sample_weight: Any = None,
    ) -> Array:
        """Return the Bayesian information criterion of each problem's fit on its rows, (P,); lower is better.

        Arguments and NaN as of ``score``. TypeError for variational fits.
        """
        return self._criterion("bic", X, offsets, groups, sample_weight)

    def icl(
        self,
        X: Any,
        *,
        offsets: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        sample_weight: Any = None,
    ) -> Array:
        """Return the integrated completed likelihood criterion of each problem's fit, (P,); lower is better.

        Arguments and NaN as of ``score``. TypeError for variational fits.
        """
        return self._criterion("icl", X, offsets, groups, sample_weight)

    def sample(self, n_samples: int = 1, random_state: Any = None) -> tuple[Array, NDArray[np.int64]]:
        """Return `n_samples` rows drawn from each fit, (P, n, D) grouped by component, and their labels, (P, n).

        NaN and -1 where there is no fit. Problems draw numbers of their own: with an integer as `random_state`
        (default: the estimator's) problem i draws what
        ``result[i].sample(n_samples, np.random.default_rng([random_state, i]))`` does, so that it depends on no other;
        from anything else, one number is drawn to stand for that integer.
        """
        n_samples = validation.check_n_samples(n_samples)
        given = self.estimator.random_state if random_state is None else random_state
        state = validation.check_random_state(given)
        seed = int(given) if isinstance(given, numbers.Integral) else int(state.uniform() * 2**53)
        n_problems, _, n_features = self._fits.mean.shape
        X = np.full((n_problems, n_samples, n_features), np.nan)
        labels = np.full((n_problems, n_samples), -1, np.int64)
        for i in np.flatnonzero(self._has_fit).tolist():
            covariances = self._fits.covariance[i]

            def spread(k: int, noise: Array, generator: Any, covariances: Array = covariances) -> Array:
                return self._family.spread(covariances, k, noise)

            generator = np.random.default_rng([seed, i])
            X[i], labels[i] = drawn_rows(self.weights_[i], self._fits.mean[i], n_samples, generator, spread)
        return X, labels

    @property
    def _has_fit(self) -> NDArray[np.bool_]:
        return self.status <= Status.NOT_CONVERGED

    def _opened(
        self, X: Any, offsets: ArrayLike | None, groups: ArrayLike | None, sample_weight: Any = None
    ) -> Problems:
        """Return the rows of all problems, checked but for their values."""
        problems = open_problems(X, offsets, groups, sample_weight, len(self)).matched(self.keys)
        if len(problems) != len(self):
            raise ValueError(f"X must hold rows of the {len(self)} problems that were fitted, got {len(problems)}.")
        if self._names is not None and problems.names is not None:
            validation.require_same_names(self._names, problems.names)
        validation.check_n_features(problems.rows.shape[1], self._fits.mean.shape[2], type(self).__name__)
        return problems

    def _visited(self, problems: Problems) -> NDArray[np.bool_]:
        """Return which problems have a fit and rows."""
        return self._has_fit & (np.diff(problems.offsets) > 0)

    def _passes(
        self, problems: Problems, visited: NDArray[np.bool_], predictive: Predictive | None
    ) -> Iterator[tuple[int, ArrayRows, Any]]:
        """Yield the problems that are `visited`: the number of each, its rows and the density that scores them."""
        for i in np.flatnonzero(visited).tolist():
            rows = problems.rows_of(i)
            validation.require_finite(rows.X, f"X of problem {i}")
            is_plain = predictive in (None, PREDICTIVES[0])
            yield i, rows, self._rule.density(i, self._fits) if is_plain else self[i]._density(predictive)

    def _check_predictive(self, predictive: Predictive | None) -> None:
        if predictive is not None:
            validation.check_choice(predictive, "predictive", PREDICTIVES)
            if isinstance(self.estimator, GaussianMixture):
                raise ValueError(f"predictive must be None but for variational fits, got {shown(predictive)}.")

    def _scored(
        self,
        output: str,
        X: Any,
        offsets: ArrayLike | None,
        groups: ArrayLike | None,
        predictive: Predictive | None,
    ) -> Any:
        self._check_predictive(predictive)
        problems = self._opened(X, offsets, groups)
        n_rows, dtype = int(problems.offsets[-1]), row_type(problems.rows.dtype)
        if output == "labels":
            values: NDArray = np.full(n_rows, -1, np.int64)
        else:
            shape = (self._fits.mean.shape[1],) if output == "responsibilities" else ()
            values = np.full((n_rows, *shape), np.nan, dtype)
        for i, rows, density in self._passes(problems, self._visited(problems), predictive):
            begin, end = problems.offsets[i : i + 2]
            try:
                values[begin:end] = Score(density, output, self.estimator.n_threads)(rows)
            except OutOfRangeError as error:
                raise OutOfRangeError(f"problem {i}: {error}") from error
        return problems.arranged(values)

    def _criterion(
        self, name: str, X: Any, offsets: ArrayLike | None, groups: ArrayLike | None, sample_weight: Any
    ) -> Array:
        if not isinstance(self.estimator, GaussianMixture):
            raise TypeError(
                f"{name} is of fits by maximum likelihood, and these are by {type(self.estimator).__name__}: compare "
                "their lower_bound_, which bounds the evidence of the rows of the fit."
            )
        count = n_free_parameters(self._family, *self._fits.mean.shape[1:])
        problems = self._opened(X, offsets, groups, sample_weight)
        return self._summed(lambda totals: criteria(totals, count)[name], problems, with_peak=name == "icl")

    def _summed(
        self,
        number: Callable[[WeightedSums], float],
        problems: Problems,
        predictive: Predictive | None = None,
        with_peak: bool = False,
    ) -> Array:
        """Return a number of the weighted sums over the rows of each problem; NaN where there are none.

        The compiled loop makes those that it can, all at once; it knows no peaks.
        """
        exponents = problems.scale_weights()
        values, visited = np.full(len(self), np.nan), self._visited(problems)
        if isinstance(self.estimator, GaussianMixture) and not with_peak:
            for i, mean, weight in self._means(problems, visited):
                values[i] = number(WeightedSums(mean * weight, np.nan, weight, int(exponents[i])))
                visited[i] = False
        for i, rows, density in self._passes(problems, visited, predictive):
            totals = weighted_sums(rows, density, self.estimator.n_threads)
            if totals.weight > 0.0:
                values[i] = number(totals._replace(exponent=totals.exponent + int(exponents[i])))
        return values

    def _means(self, problems: Problems, visited: NDArray[np.bool_]) -> Iterator[tuple[int, float, float]]:
        """Yield the number of a problem, the mean log-density of its rows and their weight, where that is a number.

        It is the bound of a fit that begins with all parameters and makes no update, so that the loop of fits finds it.
        """
        assert isinstance(self.estimator, GaussianMixture)
        family, shape = self._family, self._fits.mean.shape[1:]
        like, scratch = family.blank(*shape), ManyLikelihoods(self.estimator, family, len(self), shape[1])
        options = many.Options(0.0, 0, 0.0, False, 0)
        nowhere = np.empty((1, 0, *shape)), np.empty((1, 0, 0))
        for slab, rows in problems.slabs(shape[0], 1):
            if not np.isfinite(rows.X).all():
                # Some rows are refused, but in their own words.
                continue
            weight = _sums(rows)
            wanted = visited[slab] & (weight > 0.0)
            fits = blank_fits(np.where(wanted, Status.CONVERGED, Status.TOO_FEW_ROWS), shape, family.shape(*shape))
            middle = np.ascontiguousarray(self._fits.mean[slab, 0])
            survey = blank_survey(fits.status, 0, shape, False)._replace(weight=weight, middle=middle)
            given = self.weights_, self._fits.mean, self._fits.whitener, self._fits.covariance
            start = many.Start(*nowhere, *(np.ascontiguousarray(array[slab]) for array in given))
            n_lanes = lane_count(rows, *shape)
            lanes = n_lanes, self.estimator.n_threads, n_lanes
            many.fit(*lanes, like, scratch.record(slab, survey), rows, survey, start, 0, options, fits)
            for i in np.flatnonzero(wanted & np.isfinite(fits.bound)).tolist():
                yield slab.start + i, float(fits.bound[i]), float(weight[i])


def _sums(rows: many.Rows) -> Array:
    """Return the weight of all rows of each problem, (P,)."""
    lengths = np.diff(rows.offsets)
    if rows.weight.size == 0:
        return lengths.astype(np.float64)
    sums, some = np.zeros(len(lengths)), lengths > 0
    sums[some] = np.add.reduceat(rows.weight, rows.offsets[:-1][some])
    return sums
