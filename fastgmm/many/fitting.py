"""``fit_many``: problems, starts and rules put together, and the best of several starts kept."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgmm import exceptions, validation
from fastgmm.estimators import BayesianGaussianMixture, GaussianMixture
from fastgmm.families import Family
from fastgmm.kernels import many
from fastgmm.many.problems import Problems, open_problems
from fastgmm.many.result import FittedMany, warn_of_failures
from fastgmm.many.rules import ManyLikelihoods, ManyPosteriors, Rule
from fastgmm.many.starts import Starts
from fastgmm.many.status import Status, Verdict
from fastgmm.passes.blanks import blank_fits, blank_survey, lane_count
from fastgmm.spurious import find_spikes, spurious_components
from fastgmm.support.showing import shown

METHODS = ("auto", "kmeans", "k-means++", "random", "random_from_data")
# What a fit of many is told by other means, or has no use for.
_IGNORED = {"verbose", "verbose_interval", "race", "learning_decay", "learning_offset", "total_samples"}
_KNOWN = _IGNORED | {
    *("n_components", "covariance_type", "tol", "reg_covar", "max_iter", "n_init", "init_params", "means_init"),
    *("random_state", "n_threads", "weights_init", "precisions_init", "sort_sticks", "weight_concentration_prior_type"),
    *("weight_concentration_prior", "mean_precision_prior", "mean_prior", "degrees_of_freedom_prior"),
    "covariance_prior",
}


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
    X : (P, n, D) array, list of P arrays (n_i, D), (N, D) array with `offsets` or `groups`, or (n, D) array
        The last are rows that all problems share, which differ in `sample_weight` (P, n) alone: so bootstraps are
        fitted. They are not copied for each problem: kernels read copies for some at a time, 16 MB of them at most.
        float32 is converted, a few problems at a time: the arithmetic is float64.
    offsets : (P + 1,) integers, optional
        Problem i has rows ``offsets[i]`` to before ``offsets[i + 1]``; begins with 0 and ends with N.
    groups : (N,) array of keys that can be sorted, optional
        Rows of equal keys are a problem. Problems are in the order of the keys, which are ``result.keys``.
    sample_weight : array of the layout of X without its last axis, or str, optional
        Weights >= 0 of rows, (P, n) where problems share X; or the name of the column that holds them, where X is a
        data frame or a list of such.
    means, weights, precisions : (P, ...) arrays, optional
        Starts, in the shapes of the estimator's `means_init`, `weights_init` and `precisions_init`, with an axis of
        problems in front. Those of the estimator count for all problems where these are not given. Weights and
        precisions need means, and are not for variational fits.

    Notes
    -----
    A problem that cannot be fitted (a component collapses in all starts, too few rows, NaN, ...) has a `status`. Warns
    ConvergenceWarning once where there are such, or where `max_iter` ended a fit. Raises ValueError and TypeError where
    arguments are wrong.
    """
    check_estimator(estimator)
    family = validation.check_family(estimator.covariance_type)
    problems = open_problems(X, offsets, groups, sample_weight)
    n_problems, shape = len(problems), (int(estimator.n_components), problems.rows.shape[1])
    starts = Starts(estimator, family, n_problems, shape[1], means, weights, precisions)
    rule = _rule(estimator, family, problems, starts.ordered)
    starts.draw(problems, validation.check_random_state(estimator.random_state))
    fits = blank_fits(np.zeros(n_problems, np.int64), shape, family.shape(*shape))
    like = family.blank(*shape)
    smoothing = many.smoothing_address(like) if rule.smooths_seeds else 0
    limits = float(estimator.tol), int(estimator.max_iter), float(estimator.reg_covar)
    options = many.Options(*limits, rule.smooths_seeds, smoothing)
    drawing = many.drawing_address()
    passes = starts.n_starts * (int(estimator.max_iter) + 2)
    spurious: list[Verdict] = []
    for slab, rows in problems.slabs(shape[0], passes):
        n_lanes = lane_count(rows, *shape)
        survey = blank_survey(fits.status[slab], starts.n_starts if starts.by_centres else 0, shape, rule.wants_moments)
        lanes = n_lanes, estimator.n_threads, n_lanes
        many.survey(*lanes, drawing, rows, shape[0], starts.draws(slab), survey)
        start, record = starts.record(slab, survey), rule.record(slab, survey)
        begun = survey.status.copy()
        best = _Best(rule, problems, slab, _part(fits, slab), record)
        for number in range(starts.n_starts):
            tried = best.other(begun) if number else (best.fits, record)
            many.fit(*lanes, like, tried[1], rows, survey, start, number, options, tried[0])
            best.take(*tried)
        spurious += best.spurious
    result = FittedMany(estimator, family, fits, rule, problems, spurious)
    if not estimator._is_compared:
        _warn_spurious(spurious)
        warn_of_failures(result)
    return result


def _rule(
    estimator: GaussianMixture | BayesianGaussianMixture, family: Family, problems: Problems, ordered: bool
) -> Rule:
    """Return the rule of all fits; bring weights into the range of EM, refuse those beyond variational Bayes'."""
    n_problems, n_features = len(problems), problems.rows.shape[1]
    if isinstance(estimator, BayesianGaussianMixture):
        with np.errstate(over="ignore"):
            validation.check_row_counts(0.0 if problems.weight is None else problems.weight.sum())
        return ManyPosteriors(estimator, family, n_problems, n_features, ordered)
    problems.scale_weights()
    return ManyLikelihoods(estimator, family, n_problems, n_features)


_SOUND = Verdict([], False)


class _Best:
    """The best fit of each problem of a slab, as its starts come in: sound ones win over others, then the bound."""

    def __init__(self, rule: Rule, problems: Problems, slab: slice, fits: many.Fits, record: Any) -> None:
        self.fits, self.record = fits, record
        self.spurious = [_SOUND] * len(fits.status)
        self._rule, self._problems, self._slab = rule, problems, slab
        self._names = validation.feature_labels(problems.names, problems.rows.shape[1])

    def other(self, status: NDArray[np.int64]) -> tuple[many.Fits, Any]:
        """Return the arrays that another start is written to; `status` as before the first."""
        shape, family_shape = self.fits.mean.shape[1:], self.fits.whitener.shape[1:]
        return blank_fits(status.copy(), shape, family_shape), self._rule.another(self.record)

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

    def _judged(self, i: int, fits: many.Fits, record: Any) -> Verdict:
        problems, p = self._problems, self._slab.start + i
        rows = problems.rows_of(p)
        rule, state = self._rule.state(i, fits, record)
        spikes = find_spikes(rule.family, state.density, state.weights, state.covariances, rows, rule.reg_covar, False)
        return Verdict(spurious_components(rule, state, spikes, rows, self._names), bool(spikes))


def _warn_spurious(spurious: list[Verdict]) -> None:
    told = [i for i, each in enumerate(spurious) if each.has_spikes]
    if told:
        warnings.warn(
            f"{len(told)} of {len(spurious)} problems have components that sit on one repeated value, with no spread "
            f"but what reg_covar adds. The first is problem {told[0]}; see the result's spurious_. Try fewer "
            "components, a larger reg_covar, or noise of the size of the rounding.",
            exceptions.SpuriousComponentWarning,
            stacklevel=3,
        )


def _part(fits: many.Fits, slab: slice) -> many.Fits:
    return many.Fits(*(array[slab] for array in fits))  # type: ignore[arg-type]


def check_estimator(estimator: Any) -> None:
    """Raise TypeError or ValueError where ``fit_many`` cannot fit as an estimator says."""
    if not isinstance(estimator, GaussianMixture | BayesianGaussianMixture):
        raise TypeError(
            f"estimator must be a GaussianMixture or a BayesianGaussianMixture of fastgmm, got {shown(estimator)}"
        )
    estimator._validate_parameters()
    for name, default in estimator._mixture_defaults.items():
        value = getattr(estimator, name)
        if name not in _KNOWN and not (value is default or value == default):
            raise ValueError(f"fit_many cannot fit with {name}={shown(value)}: leave it at {default!r}.")
    prior = getattr(estimator, "covariance_prior", None)
    if isinstance(prior, str):
        raise ValueError(
            f"fit_many cannot fit with covariance_prior={prior!r}: give the covariance itself, or leave it at None."
        )
    if not (isinstance(estimator.init_params, str) and estimator.init_params in METHODS):
        raise ValueError(
            f"init_params must be one of {', '.join(map(repr, METHODS))} in fit_many, "
            f"got {shown(estimator.init_params)}."
        )
