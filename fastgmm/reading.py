"""Reading a fitted mixture: how sure it is of rows, how far its components overlap, how well it fits one column.

All is of the mixture of ``weights_``, ``means_`` and ``covariances_``, of variational Bayes, too; but for entropies,
which are of the responsibilities that ``predict_proba`` returns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgmm import validation
from fastgmm.estimators.base import Mixture
from fastgmm.estimators.conditional import cdf
from fastgmm.many import fit_many
from fastgmm.many.fitting import check_estimator
from fastgmm.many.status import Status
from fastgmm.passes.scores import OfShares, entropies
from fastgmm.selection.bootstrap import require_samples, samples_from
from fastgmm.selection.candidates import copy_with
from fastgmm.statistics import Array
from fastgmm.support.showing import shown

__all__ = [
    "Bhattacharyya",
    "GoodnessOfFit",
    "Overlap",
    "bhattacharyya",
    "entropy",
    "goodness_of_fit",
    "overlap",
]

# Floats of draws that are looked at in one go.
_DRAWN_FLOATS = 2**21
# Farther apart components, in standard deviations, do not overlap in float64; squares of this are in its range.
_FAR = 1e150
# Fits to samples may have so many iterations at least; for a mixture that did not converge this is their largest tol.
_ITERATIONS = 1000
_TOL = 1e-6


def entropy(model: Any, X: ArrayLike) -> NDArray:
    """Return the entropy (nat) of each row's probabilities of components, (N,): 0 where it is certain, at most log K.

    `X` (N, D) is as of ``predict_proba``, and `model` may be a ``GaussianMixtureIC``, too. The sum over rows is the
    entropy of the classification, that of ``fastgmm.selection.merge_components(model, X).entropies[-1]``.
    """
    model = _mixture(model)
    rows = model._rows(X)
    return rows.scored(OfShares(model._density(), entropies, "entropy", model.n_threads))


@dataclass(frozen=True, eq=False)
class Overlap:
    """How often rows of one component of a mixture would be taken for rows of another.

    Attributes
    ----------
    probabilities : (K, K)
        In row i and column j the probability that a row that was drawn from component i is more probable in j, the
        weights counted (Maitra and Melnykov 2010, omega of j given i); 0 on the diagonal.
    standard_errors : (K, K)
        Their standard errors, 0 where they are exact. Where none of n draws was misclassified both are 0: then the
        probability is hardly above 3 / n.
    """

    probabilities: Array
    standard_errors: Array

    @property
    def pairs(self) -> Array:
        """The overlap of each two components, (K, K): the sum of both probabilities of misclassification."""
        return self.probabilities + self.probabilities.T

    @property
    def mean(self) -> float:
        """The mean overlap of two components; 0 of one component."""
        above = self.pairs[np.triu_indices(len(self.probabilities), 1)]
        return float(above.mean()) if len(above) else 0.0

    @property
    def largest(self) -> float:
        """The overlap of the two components that overlap most; 0 of one component."""
        return float(self.pairs.max())


def overlap(model: Any, *, n_samples: int = 100_000, random_state: Any = 0) -> Overlap:
    """Return how far the components of a fitted mixture overlap: probabilities that they are taken for each other.

    Exact for one column (by the roots of the difference of two log-densities) and where all components have one
    covariance; else the shares of `n_samples` draws from each component, drawn with `random_state`, with standard
    errors. No rows are needed. `model` may be a ``GaussianMixtureIC``, too.
    """
    laws = _laws(_mixture(model))
    n_samples = validation.check_count(n_samples, "n_samples", 1)
    random_state = validation.check_random_state(random_state)
    n_components, n_features = laws.means.shape
    if n_features > 1 and not laws.is_tied:
        probabilities = np.array([_shares_of_draws(laws, i, n_samples, random_state) for i in range(n_components)])
        return Overlap(probabilities, np.sqrt(probabilities * (1.0 - probabilities) / n_samples))
    gaps = laws.means[:, None] - laws.means
    with np.errstate(over="ignore", invalid="ignore"):
        if n_features == 1:
            scale = np.abs(laws.whiteners[:, 0, 0])
            distance, ratio = gaps[:, :, 0] * scale, scale / scale[:, None]
        else:
            distance, ratio = np.linalg.norm(gaps @ laws.whiteners[0].T, axis=2), np.ones((n_components, n_components))
    held = laws.weights > 0.0
    logarithms = np.log(np.where(held, laws.weights, 1.0))
    found = _exceeds(logarithms - logarithms[:, None] + np.log(ratio), np.clip(distance, -_FAR, _FAR), ratio)
    found = np.where(held[:, None], found, 1.0) * held
    np.fill_diagonal(found, 0.0)
    return Overlap(found, np.zeros_like(found))


class Bhattacharyya(NamedTuple):
    """How near components are to each other, their weights left out.

    Attributes
    ----------
    distances : (K, K)
        Bhattacharyya's distance of each two, 0 where they are the same.
    coefficients : (K, K)
        The integral of the root of the product of both densities, exp(-distance): 1 where they are the same, 0 where
        they do not meet.
    """

    distances: Array
    coefficients: Array


def bhattacharyya(model: Any) -> Bhattacharyya:
    """Return Bhattacharyya's distances and coefficients of the components of a fitted mixture, in closed form.

    `model` may be a ``GaussianMixtureIC``, too. A coefficient bounds what two components have in common: of two equally
    frequent ones at most half of it is misclassified.
    """
    laws = _laws(_mixture(model))
    n_components = len(laws.means)
    roots = np.linalg.inv(laws.whiteners)
    distances = np.zeros((n_components, n_components))
    for i in range(n_components - 1):
        # In units of component i, j is a Gaussian with the axes `turn` and the standard deviations `widths`.
        turn, widths, _ = np.linalg.svd(laws.whiteners[i] @ roots[i + 1 :])
        gaps = (laws.means[i] - laws.means[i + 1 :]) @ laws.whiteners[i].T
        with np.errstate(over="ignore"):
            apart = np.einsum("jda,jd->ja", turn, gaps) / np.hypot(1.0, widths)
            stretch = np.abs(np.log(widths))
            # 1/2 log of (1 + width^2) / (2 width).
            shape = 0.5 * (stretch + np.log1p(np.exp(-2.0 * stretch)) - np.log(2.0))
            distances[i, i + 1 :] = distances[i + 1 :, i] = (0.25 * apart**2 + shape).sum(axis=1)
    return Bhattacharyya(distances, np.exp(-distances))


class GoodnessOfFit(NamedTuple):
    """The test of Kolmogorov and Smirnov of one column of a mixture.

    Attributes
    ----------
    statistic : float
        The largest difference of the rows' distribution function and the mixture's.
    p_value : float
        The share of samples, the rows themselves counted, whose statistic is at least as large; `plain_p_value` where
        none were drawn.
    plain_p_value : float
        The p-value of rows that had no part in the fit. Of those that the mixture was fitted to it is far too large.
    samples : (B,)
        The statistics of the samples; fewer than asked for where fits failed.
    """

    statistic: float
    p_value: float
    plain_p_value: float
    samples: Array


def goodness_of_fit(
    model: Any, X: ArrayLike, *, column: int | str | None = None, n_samples: int = 199, random_state: Any = 0
) -> GoodnessOfFit:
    """Test whether a column of the rows of X (N, D) may be of a fitted mixture (Kolmogorov and Smirnov).

    Of rows that the mixture was fitted to, the statistic is small because of that. So `n_samples` samples of N rows are
    drawn from the mixture and fitted as it was, by ``fit_many``, and the p-value compares the statistic with theirs (a
    parametric bootstrap). For rows that the fit has not seen, ``n_samples=0`` gives the plain p-value. Values that are
    rounded, and so repeat, count against a mixture where there are many of them.

    Of a mixture of several columns `column` says which one is looked at, by number from 0 or by name; the samples have
    all columns, and are fitted so. `model` may be a ``GaussianMixtureIC``, too; the samples are then fitted with the
    number of components and the family that were chosen. They get 1000 iterations where the model's `max_iter` is less,
    and a `tol` of 1e-6 at most where it did not end by its own: it may be of ``update``. Raises ValueError for several
    columns without `column`, where ``fit_many`` cannot fit as the model was fitted, and unless ``n_samples=0`` for
    mixtures that were not fitted but given, as a ``marginal`` is.
    """
    model = _mixture(model)
    place = _place(model, column)
    n_samples = validation.check_count(n_samples, "n_samples", 0)
    if n_samples > 0 and getattr(model, "stop_reason_", "given") == "given":
        raise ValueError(
            f"n_samples must be 0 for a mixture that was not fitted, got {n_samples}: samples are fitted as it was, "
            "but its parameters were given (from_parameters, marginal). n_samples=0 is the plain test of a law that "
            "was known before; for one column of a fit, give the whole model, all columns of X, and column=."
        )
    values = model._rows(X).take(None)[0][:, place]
    statistic = _largest_gap(values, *_law_of(model, place))
    # Not with the package: SciPy takes longer to import than all the rest.
    from scipy.stats import kstwo

    plain = float(np.clip(kstwo.sf(statistic, len(values)), 0.0, 1.0))
    if n_samples == 0:
        return GoodnessOfFit(statistic, plain, plain, np.zeros(0))
    seed = int(validation.check_random_state(random_state).uniform() * 2**31)
    samples = _gaps_of_samples(model, place, len(values), n_samples, seed)
    require_samples(
        len(samples), n_samples, "the mixture", "as it was", "Raise reg_covar of the model, or draw none: n_samples=0"
    )
    p_value = (1.0 + np.count_nonzero(samples >= statistic)) / (len(samples) + 1.0)
    return GoodnessOfFit(statistic, float(p_value), plain, samples)


def _place(model: Mixture, column: int | str | None) -> int:
    """Return the number of the column that is looked at."""
    n_features = np.shape(model.means_)[1]
    if column is None:
        if n_features != 1:
            raise ValueError(
                f"goodness_of_fit is of one column, and this mixture has {n_features}: give column, its number or name."
            )
        return 0
    places = model._places(column)
    if len(places) != 1:
        raise ValueError(f"column must be the number or the name of one column, got {shown(column)}.")
    return int(places[0])


def _law_of(model: Mixture, place: int) -> tuple[Array, Array, Array]:
    """Return the weights, means and standard deviations (K,) of one column of a mixture."""
    family, weights = model._family(), model._shares()
    variances = family.variances(family.covariances_of_whitener(model._whitener(family)), *np.shape(model.means_))
    return weights, np.asarray(model.means_, np.float64)[:, place], np.sqrt(variances[:, place])


def _mixture(model: Any) -> Mixture:
    """Return a fitted mixture, of a selection the best; TypeError for anything else."""
    model = getattr(model, "best_estimator_", model)
    if not isinstance(model, Mixture):
        raise TypeError(
            "model must be a GaussianMixture, a BayesianGaussianMixture or a fitted GaussianMixtureIC of fastgmm, got "
            f"{shown(model)}"
        )
    model._require_fitted()
    model._require_no_noise("This")
    return model


class _Laws(NamedTuple):
    """The components of a mixture: weights (K,), means (K, D), whiteners (K, D, D), and whether these are all one."""

    weights: Array
    means: Array
    whiteners: Array
    is_tied: bool


def _laws(model: Mixture) -> _Laws:
    family, means = model._family(), np.asarray(model.means_, np.float64)
    whitener, n_features = model._whitener(family), means.shape[1]
    if family.has_matrices:
        whiteners = np.broadcast_to(whitener, (*means.shape, n_features))
    else:
        variances = family.variances(family.covariances_of_whitener(whitener), *means.shape)
        whiteners = np.eye(n_features) / np.sqrt(variances)[:, :, None]
    return _Laws(model._shares(), means, np.asarray(whiteners, np.float64), family.is_tied)


def _exceeds(c: Array, distance: Array, ratio: Array) -> Array:
    """Return the probability that c + z^2 / 2 - (distance + ratio z)^2 / 2 > 0 for a standard normal z.

    That is log joint j less log joint i of a row of component i, in its units: c from weights and widths.
    """
    from scipy.special import ndtr

    # In units that keep squares in the range of float64.
    unit = np.maximum(np.maximum(1.0, ratio), np.abs(distance))
    a = 0.5 * ((1.0 - ratio) / unit) * ((1.0 + ratio) / unit)
    b = -(distance / unit) * (ratio / unit)
    e = c / unit / unit - 0.5 * (distance / unit) ** 2
    discriminant = b * b - 4.0 * a * e
    q = -0.5 * (b + np.copysign(np.sqrt(np.maximum(discriminant, 0.0)), b))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ends = np.stack([q / a, e / q])
        low, high = ends.min(axis=0), ends.max(axis=0)
        line = np.where(b == 0.0, e > 0.0, ndtr(e / np.abs(b)))
        # In the tail that is far from 1, where a difference has all its digits.
        between = np.where(low > 0.0, ndtr(-low) - ndtr(-high), ndtr(high) - ndtr(low))
        beyond = ndtr(low) + ndtr(-high)
    crossed = discriminant > 0.0
    curved = np.where(a > 0.0, np.where(crossed, beyond, 1.0), np.where(crossed, between, 0.0))
    return np.asarray(np.where(a == 0.0, line, curved), np.float64)


def _shares_of_draws(laws: _Laws, i: int, n_samples: int, random_state: Any) -> Array:
    """Return the shares of draws from component i that are more probable in each other component, (K,)."""
    n_components, n_features = laws.means.shape
    with np.errstate(divide="ignore"):
        log_scale = np.log(laws.weights)
    log_scale = log_scale + np.log(np.abs(np.diagonal(laws.whiteners, axis1=1, axis2=2))).sum(axis=1)
    # In units of component i, about its mean: nothing is lost far from zero.
    root = np.linalg.inv(laws.whiteners[i])
    turns = laws.whiteners @ root
    shifts = np.einsum("jab,jb->ja", laws.whiteners, laws.means[i] - laws.means)
    hits = np.zeros(n_components)
    at_once = max(1, _DRAWN_FLOATS // n_features)
    for first in range(0, n_samples, at_once):
        noise = random_state.standard_normal((min(at_once, n_samples - first), n_features))
        own = log_scale[i] - 0.5 * (noise**2).sum(axis=1)
        for j in range(n_components):
            if j != i:
                with np.errstate(over="ignore"):
                    other = log_scale[j] - 0.5 * ((noise @ turns[j].T + shifts[j]) ** 2).sum(axis=1)
                hits[j] += np.count_nonzero(other > own)
    return hits / n_samples


def _largest_gap(values: Array, weights: Array, means: Array, deviations: Array) -> float:
    """Return the largest difference of the distribution function of values (N,) and that of a mixture."""
    expected = cdf(np.sort(values), weights, means, deviations)
    number = len(values)
    above = (np.arange(1, number + 1) / number - expected).max()
    below = (expected - np.arange(number) / number).max()
    return float(max(above, below))


def _gaps_of_samples(model: Mixture, place: int, n_rows: int, n_samples: int, seed: int) -> Array:
    """Return the statistics of samples that are drawn from a mixture and fitted as it was, of those that could be."""
    family, shape = model._family(), np.shape(model.means_)
    prototype = copy_with(
        model,
        n_components=shape[0],
        covariance_type=family,
        # Updates by hand, and fits that go on, have a max_iter that says nothing of how far they went.
        max_iter=max(int(model.max_iter), _ITERATIONS),
        tol=float(model.tol) if getattr(model, "converged_", False) else min(float(model.tol), _TOL),
        random_state=seed,
        checkpoint=None,
        warm_start=False,
        _is_compared=True,
    )
    check_estimator(prototype)
    found = []
    for drawn in samples_from(model, n_rows, n_samples, np.random.default_rng(seed)):
        fits = fit_many(prototype, drawn)
        for number in np.flatnonzero(fits.status <= Status.NOT_CONVERGED):
            covariances = family.of_attribute(fits.covariances_[number], shape[0])
            deviations = np.sqrt(family.variances(covariances, *shape)[:, place])
            law = fits.weights_[number], fits.means_[number, :, place], deviations
            found.append(_largest_gap(drawn[number, :, place], *law))
    return np.array(found)
