"""Rows with errors of measurement: a mixture of what was measured is fitted, and not of the noisy rows."""

from __future__ import annotations

from abc import ABC
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgmm import validation
from fastgmm.estimators.base import Mixture
from fastgmm.estimators.criteria import WithCriteria, criteria
from fastgmm.estimators.labels import predicted
from fastgmm.estimators.progress import Callback
from fastgmm.estimators.scoring import WeightedSums, weighted_sums
from fastgmm.families import Family
from fastgmm.fitting.stopping import SLOW
from fastgmm.kernels import SphericalDensity
from fastgmm.kernels.structures.densities import DENSITIES
from fastgmm.passes.measured_rows import MeasuredRows
from fastgmm.passes.scores import Score
from fastgmm.rows import ArrayRows, Rows
from fastgmm.rules import GaussianParameters
from fastgmm.sources import Source
from fastgmm.sources.source import source_of
from fastgmm.spurious import Spike, SpuriousComponent
from fastgmm.statistics import Array
from fastgmm.support.showing import shown
from fastgmm.support.typing import Self

# A start keeps this share of the variances of its rows, whatever their errors.
_LEAST_SHARE = 0.1
# Or this, where one component and one error for all make the start the answer.
_LEAST_ALONE = 1e-8
_METHODS = "fit", "score", "predict", "predict_proba"


class Deconvolved(NamedTuple):
    """The posterior of what was measured, for each row: `mean` (N, D) and `covariance` (N, D, D), float64."""

    mean: Array
    covariance: Array


class WithErrors(WithCriteria, Mixture, ABC):
    """The part of ``GaussianMixture`` that takes the errors of rows: extreme deconvolution (Bovy et al. 2011)."""

    precisions_init: ArrayLike | None
    frozen: Any

    def fit(
        self,
        X: ArrayLike,
        y: Any = None,
        sample_weight: ArrayLike | None = None,
        *,
        labels: Any = None,
        sample_covariance: ArrayLike | None = None,
        callback: Callback | None = None,
    ) -> Self:
        """Fit the mixture to the rows of X and return self.

        Parameters
        ----------
        X : (N, D) array-like of finite numbers, N >= 2 and N >= n_components
            Or a path, a data set, ``fastgmm.sources.BatchRows``: rows that are read in every iteration
            (docs/sources.md). So here as in the other methods.
        y : ignored
            Whatever it is, for pipelines pass one on: known classes are given as `labels`.
        sample_weight : (N,) array-like >= 0, or str, optional
            A row of weight w counts as w copies. Or the name of the column of a data frame that holds the weights, and
            is then no feature. So here as in the other methods.
        labels : (N,) array-like, optional
            The classes of rows, numbers from 0, where they are known; -1, NaN, None or pandas' NA where not. A row of a
            known class is in the component of that number, or in those of `class_components`, and in no other; so
            it counts in `lower_bound_`. For X in memory. Where X and labels have an index, as in pandas, it must be
            the same. See docs/guide/known-labels.md.
        sample_covariance : (N, D) or (N, D, D) array-like, (D,), (D, D) or a number, optional
            Rows are measured with errors, normal with mean 0 and these variances or covariances; one for each row or
            one for all. The mixture is then that of what was measured, without the errors. X must be an array or a
            frame. See docs/guide/measurement-errors.md. So here as in the other methods; without, rows are exact.
        callback : callable, optional
            Called as ``callback(restart, iteration, bound, change)`` after each iteration.

        Notes
        -----
        Raises ValueError for bad input, and where in every start the covariance of a component collapses (the message
        names it). Warns ConvergenceWarning where `max_iter` ended the best start. An exception, Ctrl-C included,
        leaves the estimator as it was, and what was reached in the checkpoint.

        With a `checkpoint`, raises CheckpointError where the file is damaged or of another fit, OSError where it cannot
        be written. With `sample_covariance`, ValueError where there is a `checkpoint`, `truncate`, `noise`, `missing`,
        `prior` or `labels`.
        """
        self._fit(X, sample_weight, callback, labels, self._preparing(X, sample_covariance, labels))
        return self

    def fit_predict(
        self,
        X: ArrayLike,
        y: Any = None,
        sample_weight: ArrayLike | None = None,
        *,
        labels: Any = None,
        sample_covariance: ArrayLike | None = None,
    ) -> NDArray[np.int64]:
        """Fit the mixture and return the most probable component of each row of X, (N,); arguments as of ``fit``.

        Of a row whose class is known by `labels` it is one of the class's components; ``predict`` knows of no labels,
        and may say another.
        """
        rows = self._fit(X, sample_weight, None, labels, self._preparing(X, sample_covariance, labels))
        return predicted(self, rows)

    def predict(self, X: ArrayLike, *, sample_covariance: ArrayLike | None = None) -> NDArray[np.int64]:
        """Return the most probable component of each row of X (N, D), as labels (N,); -1 where noise is more likely."""
        if sample_covariance is None:
            return self._scored(X, "labels")
        return self._said(self._measured_rows(X, None, sample_covariance), "labels")

    def predict_proba(self, X: ArrayLike, *, sample_covariance: ArrayLike | None = None) -> NDArray:
        """Return the posterior probability of each component for each row of X (N, D), as (N, K).

        With noise, what a row lacks of 1 is the probability that it is noise.
        """
        if sample_covariance is None:
            return self._scored(X, "responsibilities")
        return self._said(self._measured_rows(X, None, sample_covariance), "responsibilities")

    def score_samples(self, X: ArrayLike, *, sample_covariance: ArrayLike | None = None) -> NDArray:
        """Return the log-density (nat) of each row of X (N, D), as (N,).

        Where a subclass overrides it, ``score``, ``aic`` and ``bic`` of exact rows are made of what it returns.
        """
        if sample_covariance is None:
            return self._scored(X, "evidence")
        return self._said(self._measured_rows(X, None, sample_covariance), "evidence")

    def score(
        self,
        X: ArrayLike,
        y: Any = None,
        sample_weight: ArrayLike | None = None,
        *,
        sample_covariance: ArrayLike | None = None,
    ) -> float:
        """Return the mean log-density (nat) of the rows of X (N, D); with weights (N,), the weighted mean."""
        if sample_covariance is None:
            totals = self._totals(X, sample_weight)
        else:
            rows = self._measured_rows(X, sample_weight, sample_covariance)
            totals = weighted_sums(rows, self._density(), self.n_threads)
        return totals.evidence / totals.weight

    def deconvolve(self, X: ArrayLike, sample_covariance: ArrayLike) -> Deconvolved:
        """Return the rows as they are expected to be without their errors, and how uncertain that is.

        The posterior mean and covariance of what was measured, given the rows and the mixture: rows are drawn towards
        the components that they may be of, the more the larger their errors are.

        Parameters
        ----------
        X : (N, D) array-like of finite numbers
        sample_covariance : array-like
            Errors of the rows, as of ``fit``.

        Returns
        -------
        Deconvolved
            A named tuple of `mean` (N, D) and `covariance` (N, D, D), which is of the mixture of all components.
        """
        from fastgmm.passes.measured import posteriors, require_near, shared_out  # takes longer than a small fit

        rows = self._measured_rows(X, None, sample_covariance)
        means, covariances = np.empty((rows.n_rows, rows.n_features)), np.empty((rows.n_rows, *[rows.n_features] * 2))
        for part, found in posteriors(self._density(), rows, self.n_threads):
            evidence, shares = shared_out(found.log_joint)
            require_near(evidence, part.start)
            mean = np.einsum("nk,nkd->nd", shares, found.mean)
            gap = found.mean - mean[:, None]
            between = (shares[:, :, None] * gap).transpose(0, 2, 1) @ gap
            means[part], covariances[part] = mean, np.einsum("nk,nkab->nab", shares, found.covariance) + between
        return Deconvolved(means, covariances)

    def sample(
        self, n_samples: int = 1, random_state: Any = None, *, sample_covariance: ArrayLike | None = None
    ) -> tuple[NDArray, NDArray[np.int64]]:
        """Return `n_samples` rows (n, D) drawn from the mixture, grouped by component, and their labels (n,).

        Noise comes last, with the label -1. `random_state` defaults to the estimator's own. The covariances are those
        of `covariances_`, also where that was set by hand. With `sample_covariance`, rows have errors, of the rows'
        number where each has its own.
        """
        if sample_covariance is None:
            return super().sample(n_samples, random_state)
        self._require_fitted()
        n_features = np.shape(self.means_)[1]
        error = validation.check_sample_covariance(sample_covariance, validation.check_n_samples(n_samples), n_features)
        generator = validation.check_random_state(self.random_state if random_state is None else random_state)
        X, labels = super().sample(n_samples, generator)
        noise = generator.standard_normal(X.shape)
        if error.ndim == 2:
            return X + np.sqrt(error) * noise, labels
        values, vectors = np.linalg.eigh(error)
        turned = np.einsum("nab,na->nb", np.broadcast_to(vectors, (len(X), *vectors.shape[1:])), noise)
        turned *= np.sqrt(np.maximum(values, 0.0))
        return X + np.einsum("nab,nb->na", np.broadcast_to(vectors, (len(X), *vectors.shape[1:])), turned), labels

    def set_fit_request(
        self,
        *,
        sample_weight: bool | str | None = None,
        labels: bool | str | None = None,
        sample_covariance: bool | str | None = None,
    ) -> Self:
        """Say what a meta-estimator passes on to ``fit`` (scikit-learn's metadata routing)."""
        super().set_fit_request(sample_weight=sample_weight, labels=labels)
        self._requested("fit")["sample_covariance"] = sample_covariance
        return self

    def set_score_request(
        self, *, sample_weight: bool | str | None = None, sample_covariance: bool | str | None = None
    ) -> Self:
        """Say what a meta-estimator passes on to ``score`` (scikit-learn's metadata routing)."""
        self._requested("score").update(sample_weight=sample_weight, sample_covariance=sample_covariance)
        return self

    def set_predict_request(self, *, sample_covariance: bool | str | None = None) -> Self:
        """Say what a meta-estimator passes on to ``predict`` (scikit-learn's metadata routing)."""
        self._requested("predict")["sample_covariance"] = sample_covariance
        return self

    def set_predict_proba_request(self, *, sample_covariance: bool | str | None = None) -> Self:
        """Say what a meta-estimator passes on to ``predict_proba`` (scikit-learn's metadata routing)."""
        self._requested("predict_proba")["sample_covariance"] = sample_covariance
        return self

    def get_metadata_routing(self) -> Any:
        """Return scikit-learn's MetadataRequest of this estimator."""
        request = super().get_metadata_routing()
        for method in _METHODS:
            wanted = self.__dict__.get("_metadata_request", {}).get(method, {})
            getattr(request, method).add_request(param="sample_covariance", alias=wanted.get("sample_covariance"))
        return request

    def _preparing(self, X: Any, sample_covariance: ArrayLike | None, labels: Any) -> Any:
        """Return the function that gives the rows of a fit their errors; None where they have none."""
        if sample_covariance is None:
            return None

        def prepare(rows: Rows) -> MeasuredRows:
            given = {name: getattr(self, name) for name in ("truncate", "checkpoint", "noise", "missing", "prior")}
            for name, value in (given | {"labels": labels}).items():
                if value is not None and value is not False:
                    raise ValueError(f"{name} must be left out in a fit with sample_covariance, got {shown(value)}.")
            _require_structure(validation.check_family(self.covariance_type))
            validation.require_same_rows(X, sample_covariance)
            return _with_errors(rows, sample_covariance)

        return prepare

    def _measured_rows(
        self, X: ArrayLike, sample_weight: ArrayLike | None, sample_covariance: ArrayLike
    ) -> MeasuredRows:
        """Return checked rows of the fitted columns, with their errors."""
        self._require_fitted()
        self._require_no_noise("sample_covariance")
        rows = self._rows(X, sample_weight)
        validation.require_same_rows(X, sample_covariance)
        if rows.gapped:
            raise ValueError("X must have no missing entries where sample_covariance is given: impute or drop them.")
        _require_structure(self._family())
        return _with_errors(rows, sample_covariance)

    def _said(self, rows: MeasuredRows, output: str) -> Any:
        return rows.scored(Score(self._density(), output, self.n_threads))

    def aic(
        self, X: ArrayLike, sample_weight: ArrayLike | None = None, *, sample_covariance: ArrayLike | None = None
    ) -> float:
        """Return Akaike's information criterion on X, -2 log-likelihood + 2 parameters; lower is better."""
        return self._criteria_with_errors(X, sample_weight, sample_covariance)["aic"]

    def bic(
        self, X: ArrayLike, sample_weight: ArrayLike | None = None, *, sample_covariance: ArrayLike | None = None
    ) -> float:
        """Return the Bayesian information criterion on X, -2 log-likelihood + parameters * log(n); lower is better.

        n is the number of rows, or the sum of their weights.
        """
        return self._criteria_with_errors(X, sample_weight, sample_covariance)["bic"]

    def icl(
        self, X: ArrayLike, sample_weight: ArrayLike | None = None, *, sample_covariance: ArrayLike | None = None
    ) -> float:
        """Return the integrated completed likelihood criterion on X; lower is better (mclust's ICL with sign changed).

        BIC - 2 sum of w log(probability of each row's most probable component): BIC that also punishes overlap
        (Biernacki, Celeux and Govaert 2000).
        """
        return self._criteria_with_errors(X, sample_weight, sample_covariance)["icl"]

    def _criteria_with_errors(
        self, X: ArrayLike, sample_weight: ArrayLike | None, sample_covariance: ArrayLike | None
    ) -> dict[str, float]:
        if sample_covariance is None:
            return self._criteria(X, sample_weight)
        return criteria(self._measured_totals(X, sample_weight, sample_covariance), self._n_parameters())

    def _measured_totals(
        self, X: ArrayLike, sample_weight: ArrayLike | None, sample_covariance: ArrayLike
    ) -> WeightedSums:
        return weighted_sums(self._measured_rows(X, sample_weight, sample_covariance), self._density(), self.n_threads)

    def _pace(self, source: Source) -> tuple[float, str, str | None]:
        rows = source.rows
        if not isinstance(rows, MeasuredRows) or not rows.error.any() or self._starts_at_the_end(source.family, rows):
            return super()._pace(source)
        # Updates gain the less the more errors hide: the last change says little of what is left.
        return self.tol, SLOW, self.accelerate or "anderson"

    def _starts_at_the_end(self, family: Family, rows: MeasuredRows) -> bool:
        """Return whether a start is the answer: the covariance of the rows less their error, of one component."""
        if self.n_components != 1 or len(rows.error) > 1 or self._goes_on():
            return False
        if any(getattr(self, name) is not None for name in ("means_init", "precisions_init", "frozen")):
            return False
        fits_error = rows.has_variances and family.density_type is not SphericalDensity
        return family.has_matrices or fits_error or rows.n_features == 1

    def _seed(self, rule: Any, source: Source, random_state: Any, means: Array | None, restart: int) -> Any:
        rows = source.rows
        if not isinstance(rows, MeasuredRows):
            return super()._seed(rule, source, random_state, means, restart)
        # A start takes rows for exact ones: its covariances have the errors in them.
        begun = _beginning(rows, self.n_threads)
        if begun.X is not None:
            source = source_of(source.family, ArrayRows(begun.X, rows.sample_weight, rows.names), self.n_threads)
        state = super()._seed(rule, source, random_state, means, restart)
        least = _LEAST_ALONE if self._starts_at_the_end(rule.family, rows) else _LEAST_SHARE
        covariances = _without(rule.family, state.covariances, begun.error, least)
        return _with_covariances(
            rule.family, state, rule.family.constrained(state.weights, covariances, state.density.whitener)
        )

    def _spikes(self, rule: Any, source: Source, state: Any) -> list[Spike]:
        if isinstance(source.rows, MeasuredRows):
            # However narrow a component is, the likelihood of a row with errors has a limit.
            exact = source.rows.exact(float(self.reg_covar))
            if exact.summary.n_weighted == 0:
                return []
            source = source_of(source.family, exact, self.n_threads)
        return super()._spikes(rule, source, state)

    def _spurious(self, rule: Any, source: Source, state: Any, spikes: list[Spike]) -> list[SpuriousComponent]:
        if isinstance(source.rows, MeasuredRows):
            # A component is as narrow as its rows are seen to be.
            family, error = rule.family, _beginning(source.rows, self.n_threads).error
            own = family.projected(error[None])[0]
            state = _with_covariances(family, state, state.covariances + own)
        return super()._spurious(rule, source, state, spikes)


def _with_errors(rows: Rows, sample_covariance: ArrayLike) -> MeasuredRows:
    from fastgmm.sources.measured import with_errors  # takes longer than a small fit

    return with_errors(rows, sample_covariance)


def _beginning(rows: MeasuredRows, n_threads: int | None) -> Any:
    from fastgmm.sources.denoised import beginning  # takes longer than a small fit

    return beginning(rows, n_threads)


def _require_structure(family: Family) -> None:
    if family.density_type not in DENSITIES:
        raise ValueError(
            f"sample_covariance must be None with covariance_type {family.name!r}: errors are added to covariances of "
            "the package's structures alone, 'full', 'tied', 'diag' and 'spherical'."
        )


def _with_covariances(family: Family, state: GaussianParameters, covariances: Array) -> GaussianParameters:
    """Return the state with other covariances; itself where these are not positive definite."""
    density, failed = family.density(state.weights, state.means, covariances)
    return state if failed >= 0 else GaussianParameters(state.weights, covariances, density, state.trusted)


def _without(family: Family, covariances: Array, error: Array, share: float) -> Array:
    """Return covariances less that of errors (D, D); in no direction less than a share of what they were."""
    if not family.has_matrices:
        return np.maximum(covariances - family.projected(error[None])[0], share * covariances)
    factor = np.linalg.cholesky(covariances)
    whitener = np.linalg.inv(factor)
    values, vectors = np.linalg.eigh(whitener @ error @ np.swapaxes(whitener, -1, -2))
    left = vectors * np.maximum(1.0 - values, share)[..., None, :] @ np.swapaxes(vectors, -1, -2)
    reduced: Array = factor @ left @ np.swapaxes(factor, -1, -2)
    return reduced
