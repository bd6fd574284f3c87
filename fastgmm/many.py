"""Fits of many problems in one call: :func:`fit_many`.

A mixture for each customer, voxel or well is thousands to millions of fits of some hundred rows, which from Python is
mostly calls. Here the whole of each fit is compiled (:mod:`fastgmm.kernels.many`), and threads share out the problems.
One bad problem is a number in ``status``, not the end of the others.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgmm import exceptions, validation
from fastgmm.estimators import BayesianGaussianMixture, GaussianMixture
from fastgmm.estimators.base import Mixture
from fastgmm.exceptions import CollapsedComponentError, OutOfRangeError
from fastgmm.families import Family
from fastgmm.fitting.loop import FitResult
from fastgmm.kernels import Posterior, contract, divergence, many
from fastgmm.rows import ArrayRows, kernel_array, row_type
from fastgmm.rules import (
    GaussianParameters,
    MaximumLikelihood,
    VariationalBayes,
    VariationalPosterior,
    default_scales,
    expected_weights,
    make_prior,
)
from fastgmm.spurious import SpuriousComponent, find_spikes, may_have_spikes, spurious_components
from fastgmm.starts.seeding import RandomResponsibilities
from fastgmm.statistics import Array

METHODS = ("auto", "kmeans", "k-means++", "random", "random_from_data")

# How many problems wait for a thread at a time, at most. Results do not depend on it.
_MOST_LANES = 64
_LANE_FLOPS = 4e5
# A slab of problems should take no longer than seconds, so that Ctrl-C is heard, and be converted 16 MB at a time.
_SLAB_FLOPS = 3e10
_SLAB_FLOATS = 2**21

# What a fit of many is told by other means, or has no use for.
_IGNORED = {"verbose", "verbose_interval", "race", "learning_decay", "learning_offset", "total_samples"}
_KNOWN = _IGNORED | {
    *("n_components", "covariance_type", "tol", "reg_covar", "max_iter", "n_init", "init_params", "means_init"),
    *("random_state", "n_threads", "weights_init", "precisions_init", "sort_sticks", "weight_concentration_prior_type"),
    *("weight_concentration_prior", "mean_precision_prior", "mean_prior", "degrees_of_freedom_prior"),
    "covariance_prior",
}


class Status(IntEnum):
    """The end of a problem's fit; the first two have parameters."""

    CONVERGED = many.CONVERGED
    NOT_CONVERGED = many.NOT_CONVERGED
    COLLAPSED = many.COLLAPSED
    TOO_FEW_ROWS = many.TOO_FEW_ROWS
    NOT_FINITE = many.NOT_FINITE
    OUT_OF_RANGE = many.OUT_OF_RANGE
    SINGULAR = many.SINGULAR


_REASONS = {
    Status.TOO_FEW_ROWS: "it has fewer rows of positive weight than components, or fewer than two rows",
    Status.NOT_FINITE: "its rows contain NaN or infinity",
    Status.SINGULAR: "the covariance of its rows, which is the prior of the components' covariances, is not positive "
    "definite (constant or dependent columns): increase reg_covar, give covariance_prior, or leave columns out",
}


class FittedMany:
    """Fits of P problems, as arrays with an axis of problems in front; ``result[i]`` is a fitted estimator.

    Made by :func:`fit_many`. Arrays are float64, whatever the type of X; a problem without a fit has NaN in them.

    Attributes
    ----------
    weights_ : (P, K)
    means_ : (P, K, D)
    covariances_, precisions_cholesky_ : (P, ...), each of the shape that it has in one estimator
    converged_ : (P,) bool
    n_iter_ : (P,) int64
        Updates made in the best start.
    lower_bound_ : (P,)
        As of the estimator: mean log-likelihood of a row (nat), or the evidence lower bound of all.
    status : (P,) int64
        What became of each problem, see :class:`Status`.
    component : (P,) int64
        The component that collapsed, where one did; else -1.
    spurious_ : list of P lists of SpuriousComponent
        The spurious components of each problem, as of a single fit by maximum likelihood; of variational fits none are
        looked for.
    keys : (P,) array or None
        The groups that the problems are, in order.
    estimator : GaussianMixture or BayesianGaussianMixture
        What was passed to ``fit_many``.

    Of a variational fit also, with the axis of problems in front of the estimator's shapes,
    `weight_concentration_`, `mean_precision_`, `degrees_of_freedom_`, and, of length P or 1, `mean_prior_` and
    `covariance_prior_`.
    """

    weights_: Array
    means_: Array
    covariances_: Array
    precisions_cholesky_: Array
    weight_concentration_: Array | tuple[Array, Array]
    mean_precision_: Array
    degrees_of_freedom_: Array
    mean_prior_: Array
    covariance_prior_: Array

    def __init__(
        self,
        estimator: Mixture,
        family: Family,
        fits: many.Fits,
        rule: _Rule,
        problems: _Problems,
        spurious: list[_Spurious],
    ) -> None:
        self.estimator = estimator
        self.keys = problems.keys
        self.status, self.component = fits.status, fits.component
        self.n_iter_, self.lower_bound_, self._previous_bound = fits.n_iter, fits.bound, fits.previous_bound
        self.means_, self.covariances_ = fits.mean, fits.covariance
        self.precisions_cholesky_ = family.precisions_cholesky(fits.whitener)
        self.converged_ = self.status == Status.CONVERGED
        self.spurious_ = [list(each.components) for each in spurious]
        self._family, self._fits, self._rule = family, fits, rule
        self._dtype, self._names = row_type(problems.rows.dtype), problems.names
        vars(self).update(rule.attributes())

    def __len__(self) -> int:
        return len(self.status)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"FittedMany({_summary(self.status)})"

    def __getitem__(self, index: int) -> Any:
        """Return the fitted estimator of one problem; ValueError, with the status, where it has no fit."""
        try:
            i = operator.index(index)
        except TypeError:
            raise TypeError(f"a problem is chosen by an integer, got {index!r}") from None
        if not -len(self) <= i < len(self):
            raise IndexError(f"problem {i} of {len(self)}")
        i %= len(self)
        status = Status(self.status[i])
        if status > Status.NOT_CONVERGED:
            reason = _REASONS.get(status)
            if reason is None:
                collapsed = status == Status.COLLAPSED
                reason = str(CollapsedComponentError(int(self.component[i])) if collapsed else OutOfRangeError())
            raise ValueError(f"problem {i} has no fit, its status is {status.name}: {reason}")
        rule, state = self._rule.state(i, self._fits)
        bound, n_iter = float(self.lower_bound_[i]), int(self.n_iter_[i])
        # A pass an update and the last one.
        result = FitResult(
            state,
            bound,
            [bound] if n_iter else [],
            (float(self._previous_bound[i]),),
            n_iter,
            bool(self.converged_[i]),
            n_iter + 1,
            spurious=self.spurious_[i],
        )
        model = self.estimator._blank()
        model._keep(rule, result, self._dtype, self._names, [])
        return model


def fit_many(
    estimator: Any,
    X: Any,
    *,
    offsets: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    sample_weight: Any = None,
    means: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    precisions: ArrayLike | None = None,
) -> FittedMany:
    """Fit one mixture to each of P problems, as ``clone(estimator).fit`` would one after the other.

    Parameters
    ----------
    estimator : GaussianMixture or BayesianGaussianMixture
        Carries all parameters, and stays as it is. All problems have its number of components. Its `random_state`
        gives one set of random numbers, which every problem uses: its answer depends on its own rows alone.
    X : (P, n, D) array, list of P arrays (n_i, D), or (N, D) array with `offsets` or `groups`
        float32 is converted, a few problems at a time: the arithmetic is float64.
    offsets : (P + 1,) integers, optional
        Problem i has rows ``offsets[i]`` to before ``offsets[i + 1]``; begins with 0 and ends with N.
    groups : (N,) array of keys that can be sorted, optional
        Rows of equal keys are a problem. Problems are in the order of the keys, which are ``result.keys``.
    sample_weight : array of the layout of X without its last axis, or str, optional
        Weights >= 0 of rows; or the name of the column that holds them, where X is a data frame or a list of such.
    means, weights, precisions : (P, ...) arrays, optional
        Starts, in the shapes of the estimator's `means_init`, `weights_init` and `precisions_init`, with an axis of
        problems in front. Those of the estimator count for all problems where these are not given. Weights and
        precisions need means, and are not for variational fits.

    A problem that cannot be fitted (a component collapses in all starts, too few rows, NaN, ...) has a `status`. Warns
    ConvergenceWarning once where there are such, or where `max_iter` ended a fit. Raises ValueError and TypeError where
    arguments are wrong.
    """
    if not isinstance(estimator, GaussianMixture | BayesianGaussianMixture):
        raise TypeError(
            f"estimator must be a GaussianMixture or a BayesianGaussianMixture of fastgmm, got {estimator!r}"
        )
    _check_parameters(estimator)
    family = validation.check_family(estimator.covariance_type)
    problems = _problems(X, offsets, groups, sample_weight)
    n_problems, shape = len(problems), (int(estimator.n_components), problems.rows.shape[1])
    starts = _Starts(estimator, family, n_problems, shape[1], means, weights, precisions)
    rule: _Rule
    if isinstance(estimator, BayesianGaussianMixture):
        with np.errstate(over="ignore"):
            validation.check_row_counts(0.0 if problems.weight is None else problems.weight.sum())
        rule = _Variational(estimator, family, n_problems, shape[1], starts.ordered)
    else:
        problems.scale_weights()
        rule = _Likelihood(estimator, family, n_problems, shape[1])
    starts.draw(problems, validation.check_random_state(estimator.random_state))
    fits = _blank_fits(np.zeros(n_problems, np.int64), shape, family.shape(*shape))
    like = family.blank(*shape)
    smoothing = many.smoothing_address(like) if rule.smooths_seeds else 0
    drawing = many.drawing_address()
    passes = starts.n_starts * (int(estimator.max_iter) + 2)
    spurious: list[_Spurious] = []
    for slab, rows in problems.slabs(shape[0], passes):
        n_lanes = _lane_count(rows, *shape)
        survey = _blank_survey(fits.status[slab], starts, shape, rule.wants_moments)
        lanes = n_lanes, estimator.n_threads, n_lanes
        many.survey(*lanes, drawing, rows, shape[0], starts.draws(slab), survey)
        record = rule.record(slab, survey)
        begun = survey.status.copy()
        best = _Best(rule, problems, slab, _part(fits, slab), record)
        for number in range(starts.n_starts):
            tried = best.other(begun) if number else (best.fits, record)
            many.fit(
                *lanes,
                like,
                tried[1],
                rows,
                survey,
                starts.record(slab, survey),
                number,
                rule.smooths_seeds,
                smoothing,
                float(estimator.tol),
                int(estimator.max_iter),
                float(estimator.reg_covar),
                tried[0],
            )
            best.take(*tried)
        spurious += best.spurious
    result = FittedMany(estimator, family, fits, rule, problems, spurious)
    _warn_spurious(spurious)
    _warn(result)
    return result


class _Spurious(NamedTuple):
    """The spurious components of one problem's fit, and whether any of its components sits on one repeated value."""

    components: list[SpuriousComponent]
    has_spikes: bool


_SOUND = _Spurious([], False)


class _Best:
    """The best fit of each problem of a slab, as its starts come in: sound ones win over others, then the bound."""

    def __init__(self, rule: _Rule, problems: _Problems, slab: slice, fits: many.Fits, record: Any) -> None:
        self.fits, self.record = fits, record
        self.spurious = [_SOUND] * len(fits.status)
        self._rule, self._problems, self._slab = rule, problems, slab
        self._names = validation.feature_labels(problems.names, problems.rows.shape[1])

    def other(self, status: NDArray[np.int64]) -> tuple[many.Fits, Any]:
        """Return the arrays that another start is written to; `status` as before the first."""
        shape, family_shape = self.fits.mean.shape[1:], self.fits.whitener.shape[1:]
        return _blank_fits(status.copy(), shape, family_shape), self._rule.another(self.record)

    def take(self, fits: many.Fits, record: Any) -> None:
        """Keep the fits of a start that are better; the first start's are kept already, but not judged."""
        is_first = fits is self.fits
        fitted = fits.status <= Status.NOT_CONVERGED
        spurious = list(self.spurious) if is_first else [_SOUND] * len(fits.status)
        # Of the first start nothing is known yet.
        known = (
            np.zeros(len(spurious), bool) if is_first else np.array([bool(each.components) for each in self.spurious])
        )
        could_win = fitted & (
            is_first | known | (self.fits.status > Status.NOT_CONVERGED) | (fits.bound > self.fits.bound)
        )
        for i in np.flatnonzero(could_win & self._rule.suspects(fits)):
            spurious[i] = self._judged(int(i), fits, record)
        if is_first:
            self.spurious = spurious
            return
        unsound = np.array([bool(each.components) for each in spurious])
        better = could_win & (
            (self.fits.status > Status.NOT_CONVERGED)
            | (known & ~unsound)
            | ((known == unsound) & (fits.bound > self.fits.bound))
        )
        for mine, others in zip(
            (*self.fits, *self._rule.outputs(self.record)), (*fits, *self._rule.outputs(record)), strict=True
        ):
            mine[better] = others[better]
        for i in np.flatnonzero(better):
            self.spurious[i] = spurious[i]

    def _judged(self, i: int, fits: many.Fits, record: Any) -> _Spurious:
        problems, p = self._problems, self._slab.start + i
        begin, end = problems.offsets[p : p + 2]
        chosen = slice(begin, end) if problems.order is None else problems.order[begin:end]
        rows = ArrayRows(problems.rows[chosen], None if problems.weight is None else problems.weight[begin:end])
        rule, state = self._rule.state(i, fits, record)
        spikes = find_spikes(rule.family, state.density, state.weights, state.covariances, rows, rule.reg_covar, False)
        return _Spurious(spurious_components(rule, state, spikes, rows, self._names), bool(spikes))


def _warn_spurious(spurious: list[_Spurious]) -> None:
    told = [i for i, each in enumerate(spurious) if each.has_spikes]
    if told:
        warnings.warn(
            f"{len(told)} of {len(spurious)} problems have components that sit on one repeated value, with no spread "
            f"but what reg_covar adds. The first is problem {told[0]}; see the result's spurious_. Try fewer "
            "components, a larger reg_covar, or noise of the size of the rounding.",
            exceptions.SpuriousComponentWarning,
            stacklevel=3,
        )


def _blank_fits(status: NDArray[np.int64], shape: tuple[int, ...], family_shape: tuple[int, ...]) -> many.Fits:
    n_problems = len(status)
    return many.Fits(
        status,
        np.full(n_problems, -1, np.int64),
        np.full(n_problems, -1, np.int64),
        np.zeros(n_problems, np.int64),
        np.full(n_problems, np.nan),
        np.full(n_problems, np.nan),
        np.full((n_problems, *shape), np.nan),
        np.full((n_problems, *family_shape), np.nan),
        np.full((n_problems, *family_shape), np.nan),
    )


def _part(fits: many.Fits, slab: slice) -> many.Fits:
    return many.Fits(*(array[slab] for array in fits))  # type: ignore[arg-type]


def _check_parameters(estimator: Mixture) -> None:
    estimator._validate_parameters()
    for name, default in estimator._mixture_defaults.items():
        value = getattr(estimator, name)
        if name not in _KNOWN and not (value is default or value == default):
            raise ValueError(f"fit_many cannot fit with {name}={value!r}: leave it at {default!r}.")
    prior = getattr(estimator, "covariance_prior", None)
    if isinstance(prior, str):
        raise ValueError(
            f"fit_many cannot fit with covariance_prior={prior!r}: give the covariance itself, or leave it at None."
        )
    if not (isinstance(estimator.init_params, str) and estimator.init_params in METHODS):
        raise ValueError(
            f"init_params must be one of {', '.join(map(repr, METHODS))} in fit_many, got {estimator.init_params!r}."
        )


def _lane_count(rows: many.Rows, n_components: int, n_features: int) -> int:
    work = len(rows.X) * n_components * (6.0 * n_features + 30.0)
    return int(max(1, min(len(rows.offsets) - 1, _MOST_LANES, 10.0 * work // _LANE_FLOPS)))


def _blank_survey(status: NDArray[np.int64], starts: _Starts, shape: tuple[int, int], moments: bool) -> many.Survey:
    n_problems, n_features = len(status), shape[1]
    n_starts = starts.n_starts if starts.by_centres else 0
    return many.Survey(
        status,
        np.empty(n_problems),
        np.full((n_problems, n_features), np.nan),
        np.empty(n_problems),
        np.empty((n_problems if moments else 0, n_features, n_features)),
        np.empty((n_problems, n_starts, *shape)),
    )


def _summary(status: NDArray[np.int64]) -> str:
    counts = np.bincount(status, minlength=len(Status))
    each = [f"{counts[kind]} {kind.name.lower().replace('_', ' ')}" for kind in Status if counts[kind]]
    return f"{len(status)} problem{'s' * (len(status) != 1)}" + (": " + ", ".join(each) if each else "")


def _warn(result: FittedMany) -> None:
    bad = result.status > Status.NOT_CONVERGED
    if result.estimator.max_iter > 0:
        bad |= result.status == Status.NOT_CONVERGED
    if bad.any():
        warnings.warn(
            f"Not all fits are good. Of {_summary(result.status)}. The first is problem {int(np.argmax(bad))}; see the "
            "result's status. Try more iterations (max_iter), a larger tol or reg_covar, or fewer components.",
            exceptions.ConvergenceWarning,
            stacklevel=3,
        )


@dataclass
class _Problems:
    """Rows (N, D) of problems, in the order that `order` (N,) puts them in, and their weights in that order."""

    rows: NDArray
    offsets: NDArray[np.int64]
    weight: Array | None
    order: NDArray[np.int64] | None = None
    keys: NDArray | None = None
    names: NDArray | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def scale_weights(self) -> None:
        """Bring the largest weight of each problem near 1, by a power of two."""
        if self.weight is None or not self.weight.size:
            return
        begins, lengths = self.offsets[:-1], np.diff(self.offsets)
        some = lengths > 0
        largest = np.maximum.reduceat(self.weight, begins[some])
        exponents = np.frexp(largest)[1]
        if exponents.any():
            self.weight = np.ldexp(self.weight, -np.repeat(exponents, lengths[some]))

    def n_weighted(self) -> NDArray[np.int64]:
        """Return how many rows of positive weight each problem has."""
        if self.weight is None:
            return np.diff(self.offsets)
        before = np.concatenate([[0], np.cumsum(self.weight > 0.0)])
        return np.diff(before[self.offsets])

    def slabs(self, n_components: int, passes: int) -> Iterator[tuple[slice, many.Rows]]:
        """Yield slices of problems, in order, and their rows as kernels take them."""
        n_features = self.rows.shape[1]
        row_flops = passes * (2.0 * n_components * n_features * (n_features + 4.0) + 40.0 * n_components)
        most = max(1, int(min(_SLAB_FLOPS / row_flops, _SLAB_FLOATS / n_features)))
        first = 0
        while first < len(self):
            last = int(np.searchsorted(self.offsets, self.offsets[first] + most, side="right")) - 1
            last = min(max(last, first + 1), len(self))
            begin, end = self.offsets[first], self.offsets[last]
            chosen = slice(begin, end) if self.order is None else self.order[begin:end]
            yield (
                slice(first, last),
                many.Rows(
                    kernel_array(self.rows[chosen], np.float64),
                    np.empty(0) if self.weight is None else kernel_array(self.weight[begin:end], np.float64),
                    self.offsets[first : last + 1] - begin,
                ),
            )
            first = last


def _problems(X: Any, offsets: ArrayLike | None, groups: ArrayLike | None, sample_weight: Any) -> _Problems:
    """Return the problems of any layout, all checked but for the values of rows."""
    if offsets is not None and groups is not None:
        raise ValueError("offsets and groups both say which rows are a problem: give one of them.")
    if isinstance(X, list | tuple):
        if offsets is not None or groups is not None:
            raise ValueError("X is a list of problems already: offsets and groups are for one array (N, D).")
        return _listed(X, sample_weight)
    if isinstance(sample_weight, str):
        X, sample_weight = validation.split_weight(X, sample_weight)
    array = validation.as_array(X, "X")
    names = validation.feature_names(X)
    if array.ndim == 3:
        if offsets is not None or groups is not None:
            raise ValueError("X has an axis of problems already: offsets and groups are for an array (N, D).")
        n_problems, n_rows, n_features = array.shape
        starts = np.arange(n_problems + 1, dtype=np.int64) * n_rows
        weight = _checked_weight(sample_weight, (n_problems, n_rows))
        problems = _Problems(array.reshape(n_problems * n_rows, n_features), starts, weight)
    elif array.ndim == 2 and offsets is not None:
        problems = _Problems(
            array, _checked_offsets(offsets, len(array)), _checked_weight(sample_weight, array.shape[:1])
        )
    elif array.ndim == 2 and groups is not None:
        problems = _grouped(array, groups, _checked_weight(sample_weight, array.shape[:1]))
    else:
        raise ValueError(
            "X must be an array (P, n, D), a list of arrays (n_i, D), or an array (N, D) with offsets or groups; got "
            f"shape {array.shape}" + (" without offsets or groups." if array.ndim == 2 else ".")
        )
    if array.shape[-1] < 1:
        raise ValueError(f"X must have at least one feature, got shape {array.shape}.")
    problems.names = names
    return problems


def _listed(X: Any, sample_weight: Any) -> _Problems:
    if isinstance(sample_weight, str) and X:
        X, sample_weight = zip(*(validation.split_weight(rows, sample_weight) for rows in X), strict=True)
    arrays = [validation.as_array(rows, f"X[{i}]") for i, rows in enumerate(X)]
    if not arrays:
        raise ValueError("X is an empty list of problems.")
    names = _common_names(X)
    n_features = arrays[0].shape[-1] if arrays[0].ndim else 0
    for i, rows in enumerate(arrays):
        if rows.ndim != 2 or rows.shape[1] != n_features or n_features < 1:
            raise ValueError(
                f"X must be a list of arrays (n_i, D) with the same D >= 1; X[{i}] has shape {rows.shape}, X[0] "
                f"{arrays[0].shape}."
            )
    offsets = np.concatenate([[0], np.cumsum([len(rows) for rows in arrays])]).astype(np.int64)
    if sample_weight is not None:
        if not np.iterable(sample_weight):
            raise ValueError(f"sample_weight must be a list of arrays (n_i,), as X is, got {sample_weight!r}.")
        weights = [validation.as_array(weight, "sample_weight") for weight in sample_weight]
        shapes = [weight.shape for weight in weights]
        if shapes != [rows.shape[:1] for rows in arrays]:
            raise ValueError("sample_weight must be a list of arrays (n_i,), one for each of X, of the same lengths.")
        sample_weight = np.concatenate(weights)
    weight = _checked_weight(sample_weight, (int(offsets[-1]),))
    return _Problems(np.concatenate(arrays), offsets, weight, names=names)


def _common_names(X: Any) -> NDArray | None:
    """Return the names of the columns that all problems of a list have; ValueError where those of two differ."""
    each = [validation.feature_names(rows) for rows in X]
    named = [(i, names.tolist()) for i, names in enumerate(each) if names is not None]
    for i, names in named:
        if names != named[0][1]:
            raise ValueError(
                f"X must be a list of problems with the same columns in the same order; X[{i}] has {names}, "
                f"X[{named[0][0]}] {named[0][1]}."
            )
    return each[0] if len(named) == len(each) else None


def _grouped(rows: NDArray, groups: ArrayLike, weight: Array | None) -> _Problems:
    keys = np.asarray(groups)
    if keys.shape != (len(rows),):
        raise ValueError(f"groups must have the shape ({len(rows)},), one key for each row, got {keys.shape}.")
    try:
        # NaN of any type, and NaT: these would neither sort nor be one group.
        missing = keys != keys
        unique, problem = np.unique(keys, return_inverse=True)
    except TypeError as error:
        raise TypeError(f"groups must be keys that can be sorted: {error}") from error
    if missing.any():
        row = int(np.argmax(missing))
        raise ValueError(f"groups must not be NaN or NaT, got {keys[row]} for row {row}.")
    offsets = np.concatenate([[0], np.cumsum(np.bincount(problem, minlength=len(unique)))]).astype(np.int64)
    order = None if np.all(problem[:-1] <= problem[1:]) else np.argsort(problem, kind="stable")
    if order is not None and weight is not None:
        weight = weight[order]
    return _Problems(rows, offsets, weight, order, unique)


def _checked_offsets(offsets: ArrayLike, n_rows: int) -> NDArray[np.int64]:
    array = np.asarray(offsets)
    if array.ndim != 1 or len(array) == 0 or array.dtype.kind not in "iu":
        raise ValueError(f"offsets must be integers (P + 1,), got dtype {array.dtype} and shape {array.shape}.")
    array = array.astype(np.int64)
    if array[0] != 0 or array[-1] != n_rows or np.any(np.diff(array) < 0):
        raise ValueError(
            f"offsets must rise from 0 to the number of rows, {n_rows}; got {array[0]} to {array[-1]}"
            + (", falling in between." if np.any(np.diff(array) < 0) else ".")
        )
    return array


def _checked_weight(sample_weight: Any, shape: tuple[int, ...]) -> Array | None:
    """Return weights of rows, flat; ValueError unless of the shape, finite and >= 0."""
    if sample_weight is None:
        return None
    weight = validation.as_array(sample_weight, "sample_weight")
    if weight.shape != shape:
        raise ValueError(f"sample_weight.shape == {weight.shape}, expected {shape}!")
    weight = weight.astype(np.float64, copy=False).reshape(-1)
    validation.require_finite(weight, "sample_weight")
    if weight.size and weight.min() < 0:
        raise ValueError(f"sample_weight must be >= 0, got {weight.min()}.")
    return weight


class _Starts:
    """Where the fits of all problems start."""

    def __init__(
        self,
        estimator: Mixture,
        family: Family,
        n_problems: int,
        n_features: int,
        means: ArrayLike | None,
        weights: ArrayLike | None,
        precisions: ArrayLike | None,
    ) -> None:
        n_components = estimator.n_components
        given: list[Array | None] = []
        for value, name in ((weights, "weights_init"), (means, "means_init"), (precisions, "precisions_init")):
            own = getattr(estimator, name, None)
            leading = (n_problems,) if value is not None else (1,)
            value = value if value is not None else None if own is None else np.asarray(own)[None]
            if value is None:
                given.append(None)
            elif name == "weights_init":
                given.append(validation.check_weights(value, n_components, leading))
            elif name == "means_init":
                given.append(validation.check_means(value, n_components, n_features, leading))
            else:
                given.append(
                    validation.check_covariances(value, family, n_components, n_features, "precision", leading)
                )
        weights, means, precisions = given
        for name, value in (("weights", weights), ("precisions", precisions)):
            if value is not None and isinstance(estimator, BayesianGaussianMixture):
                raise ValueError(f"{name} are not for variational fits: give means, or neither.")
            if value is not None and means is None:
                raise ValueError(f"{name} need means in fit_many, which say which component is which.")
        shape = n_components, n_features
        none = np.empty((0, *family.shape(*shape)))
        whitener = none if precisions is None else family.whitener_of_precisions(precisions)
        covariance = none if precisions is None else family.covariances_of_whitener(whitener)
        self.ordered = means is not None
        self.by_centres = means is None and estimator.init_params != "random"
        self.n_starts = int(estimator.n_init) if means is None else 1
        # "auto" is k-means first; its other starts take longer than many small fits may.
        method = "kmeans" if estimator.init_params == "auto" else estimator.init_params
        self._method = method if means is None else ""
        self._shape = shape
        self._weights = np.empty((0, n_components)) if weights is None else weights
        self._means = np.empty((0, *shape)) if means is None else means
        self._whitener, self._covariance = whitener, np.ascontiguousarray(covariance)

    def draw(self, problems: _Problems, random_state: Any) -> None:
        """Draw the random numbers that all problems share: those that each would draw from the same `random_state`."""
        n_components, _ = self._shape
        seeds = [int(random_state.uniform() * 2**53) for _ in range(self.n_starts) if self._method]
        self._uniform = np.empty((0, 0, 0))
        self._chosen, self._table = np.empty((0, 0, 0), np.int64), np.zeros(len(problems), np.int64)
        self._responsibilities = np.empty((1, 0, 0))
        if self._method in ("kmeans", "k-means++"):
            size = n_components, 2 + int(np.log(n_components))
            self._uniform = np.stack([np.random.default_rng(seed).uniform(size=size) for seed in seeds])
        elif self._method == "random_from_data":
            counts, self._table = np.unique(problems.n_weighted(), return_inverse=True)
            self._chosen = np.zeros((len(counts), self.n_starts, n_components), np.int64)
            for row, count in enumerate(counts):
                if count >= n_components:
                    for start, seed in enumerate(seeds):
                        chosen = np.random.default_rng(seed).choice(count, n_components, replace=False)
                        self._chosen[row, start] = chosen
        elif self._method == "random":
            longest = int(np.diff(problems.offsets).max(initial=0))
            numbers = [int(np.random.default_rng(seed).integers(2**53)) for seed in seeds]
            tables = [RandomResponsibilities(n_components, number)[0:longest] for number in numbers]
            self._responsibilities = np.stack(tables)

    def draws(self, slab: slice) -> many.Draws:
        """Return the random numbers that centres of a slab of problems are drawn with."""
        lloyd = np.array([self._method == "kmeans"], np.int64)
        return many.Draws(self._uniform, self._chosen, self._table[slab], lloyd)

    def record(self, slab: slice, survey: many.Survey) -> many.Start:
        """Return the starts of a slab of problems."""
        weights, means, whitener, covariance = (
            array if len(array) < 2 else array[slab]
            for array in (self._weights, self._means, self._whitener, self._covariance)
        )
        centres = means[:, None] if self.ordered else survey.centres
        return many.Start(centres, self._responsibilities, weights, means, whitener, covariance)


class _Likelihood:
    """Expectation maximisation of all problems."""

    smooths_seeds = MaximumLikelihood.smooths_seeds
    wants_moments = False

    def __init__(self, estimator: GaussianMixture, family: Family, n_problems: int, n_features: int) -> None:
        self._rule = MaximumLikelihood(family, float(estimator.reg_covar))
        self._weights = np.full((n_problems, estimator.n_components), np.nan)
        self._fewest_rows = np.array([family.fewest_rows(n_features)])

    def record(self, slab: slice, survey: many.Survey) -> many.Likelihood:
        """Return the kernels' record for a slab of problems."""
        return many.Likelihood(self._weights[slab], self._fewest_rows)

    def attributes(self) -> dict[str, Any]:
        """Return the attributes of the result that are this rule's."""
        return {"weights_": self._weights}

    def another(self, record: many.Likelihood) -> many.Likelihood:
        """Return a record for another start of the same problems."""
        return record._replace(weights=np.full_like(record.weights, np.nan))

    def outputs(self, record: many.Likelihood) -> tuple[Array, ...]:
        """Return the arrays of a record that fits write to."""
        return (record.weights,)

    def suspects(self, fits: many.Fits) -> NDArray[np.bool_]:
        """Return which fits may have spurious components."""
        with np.errstate(invalid="ignore"):
            narrow: NDArray[np.bool_] = may_have_spikes(self._rule.family, fits.whitener, self._rule.reg_covar, 1)
        return narrow | (fits.spurious >= 0)

    def state(
        self, i: int, fits: many.Fits, record: many.Likelihood | None = None
    ) -> tuple[MaximumLikelihood, GaussianParameters]:
        """Return the rule and the state of one problem of all, or of those of a record."""
        weights = (self._weights if record is None else record.weights)[i].copy()
        density = self._rule.family.density_of_whitener(weights, fits.mean[i], fits.whitener[i])
        return self._rule, GaussianParameters(weights, fits.covariance[i].copy(), density)


class _Variational:
    """Variational Bayes of all problems."""

    smooths_seeds = VariationalBayes.smooths_seeds

    def __init__(
        self,
        estimator: BayesianGaussianMixture,
        family: Family,
        n_problems: int,
        n_features: int,
        ordered: bool,
    ) -> None:
        n_components = estimator.n_components
        self._family = family
        self._sticks = estimator._sticks()
        self._reg_covar = float(estimator.reg_covar)
        sort = estimator.sort_sticks if estimator.sort_sticks is not None else not ordered
        self._sort = bool(sort) and self._sticks
        self._counts = np.array(estimator._prior_counts(family.wishart_dimension(n_features)))
        self._given_mean = self._given_scale = None
        if estimator.mean_prior is not None:
            self._given_mean = validation.check_mean_prior(estimator.mean_prior, n_features)
        if estimator.covariance_prior is not None:
            self._given_scale = validation.check_covariance_prior(estimator.covariance_prior, family, n_features)
            if self._prior(np.zeros(n_features), self._given_scale) is None:
                raise ValueError(
                    f"'{family.name} covariance_prior' should be symmetric, positive-definite (to rounding)"
                )
        self.wants_moments = self._given_scale is None
        n_blocks = len(contract.pool(family.blank(n_components, n_features), np.zeros(n_components)))
        self._mean = np.full((n_problems, n_features), np.nan)
        if self._given_mean is not None:
            self._mean = self._given_mean[None]
        self._scale = np.full((n_problems, *family.shape(1, n_features)), np.nan)
        if self._given_scale is not None:
            self._scale = self._given_scale.reshape(1, *family.shape(1, n_features))
        self._posterior = Posterior(
            np.full((n_problems, 2 if self._sticks else 1, n_components), np.nan),
            np.full((n_problems, n_components), np.nan),
            np.full((n_problems, n_blocks), np.nan),
        )

    def _prior(self, mean: Array, scale: Array) -> Any:
        concentration, mean_precision, degrees_of_freedom = self._counts
        return make_prior(self._family, concentration, mean, mean_precision, degrees_of_freedom, scale)

    def record(self, slab: slice, survey: many.Survey) -> many.Variational:
        """Return the kernels' record for a slab of problems, with priors from the rows where they are not given."""
        if self._given_mean is None:
            self._mean[slab] = survey.middle
        if self._given_scale is None:
            fine = survey.status == Status.CONVERGED
            covariance = self._family.projected(survey.moments[fine])
            scale, definite = default_scales(
                self._family, survey.weight[fine], survey.middle[fine], covariance, self._reg_covar
            )
            self._scale[slab][fine] = scale.reshape(-1, *self._scale.shape[1:])
            survey.status[np.flatnonzero(fine)[~definite]] = Status.SINGULAR
        return many.Variational(
            self._counts,
            self._mean if len(self._mean) == 1 else self._mean[slab],
            self._scale if len(self._scale) == 1 else self._scale[slab],
            np.array([self._sort], np.int64),
            *(array[slab] for array in self._posterior),
        )

    def attributes(self) -> dict[str, Any]:
        """Return the attributes of the result that are this rule's."""
        concentration, mean_precision, degrees_of_freedom = self._posterior
        return {
            "weights_": expected_weights(concentration),
            "weight_concentration_": (concentration[:, 0], concentration[:, 1])
            if self._sticks
            else concentration[:, 0],
            "mean_precision_": mean_precision,
            "degrees_of_freedom_": degrees_of_freedom[:, 0] if self._family.uses_total else degrees_of_freedom,
            "mean_prior_": self._mean,
            "covariance_prior_": self._scale.reshape(len(self._scale), *self._family.block_shape(self._mean.shape[1])),
        }

    def another(self, record: many.Variational) -> many.Variational:
        """Return a record for another start of the same problems."""
        concentration, mean_precision, degrees_of_freedom = (
            np.full_like(array, np.nan) for array in self.outputs(record)
        )
        return record._replace(
            concentration=concentration, mean_precision=mean_precision, degrees_of_freedom=degrees_of_freedom
        )

    def outputs(self, record: many.Variational) -> tuple[Array, ...]:
        """Return the arrays of a record that fits write to."""
        return record.concentration, record.mean_precision, record.degrees_of_freedom

    def suspects(self, fits: many.Fits) -> NDArray[np.bool_]:
        """Return that no fit has spurious components: the prior keeps the bound from growing without limit."""
        return np.zeros(len(fits.status), bool)

    def state(self, i: int, fits: many.Fits, record: Any = None) -> tuple[VariationalBayes, VariationalPosterior]:
        """Return the rule and the state of one problem."""
        prior = self._prior(self._mean[min(i, len(self._mean) - 1)], self._scale[min(i, len(self._scale) - 1)])
        rule = VariationalBayes(self._family, prior, self._sticks, self._sort, self._reg_covar)
        state = rule.state(Posterior(*(array[i].copy() for array in self._posterior)), fits.mean[i], fits.whitener[i])
        return rule, VariationalPosterior(
            state.posterior, fits.covariance[i].copy(), state.density, divergence(state.density, prior, state.posterior)
        )


_Rule = _Likelihood | _Variational
