"""The base of the estimators: scikit-learn's interface in front of sources, rules and the loop."""

from __future__ import annotations

import math
import warnings
from abc import ABC
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgmm import exceptions, validation
from fastgmm.estimators.fitting import Fitting, course_of, told_of_spikes
from fastgmm.estimators.imputation import Imputation
from fastgmm.estimators.labels import LabelRequests, predicted, refuse_classes, rows_with_labels, same_rows, with_column
from fastgmm.estimators.private import refuse_overrides
from fastgmm.estimators.progress import Callback
from fastgmm.estimators.scoring import if_far
from fastgmm.estimators.showing import as_html
from fastgmm.estimators.summary import Summary, summarise
from fastgmm.exceptions import OutOfRangeError
from fastgmm.families import Family
from fastgmm.fitting import acceleration, online
from fastgmm.fitting.checkpoint import Checkpoint
from fastgmm.fitting.plain import FitResult, Updated
from fastgmm.fitting.restarts import Restart
from fastgmm.fitting.stopping import STOPPING
from fastgmm.rows import ArrayRows, Rows
from fastgmm.sources.source import source_of
from fastgmm.starts.seeding import METHODS
from fastgmm.statistics import Array, SufficientStatistics
from fastgmm.support.showing import shown
from fastgmm.support.typing import Self

# How far masses may be from the weight, relative to it. By float32 arithmetic they are up to 8e-7 off.
_MASS_ERROR = 1e-4


class Mixture(LabelRequests, Fitting, Imputation, ABC):
    """A mixture of Gaussians behind scikit-learn's interface; a subclass says by which rule it is fitted."""

    _weighted_methods = ("fit", "partial_fit", "score")

    def set_partial_fit_request(self, *, sample_weight: bool | str | None = None) -> Self:
        """Say whether a meta-estimator passes ``sample_weight`` on to ``partial_fit`` (scikit-learn's routing)."""
        self._requested("partial_fit")["sample_weight"] = sample_weight
        return self

    def _repr_html_(self) -> str:
        """Return the mixture as notebooks show it."""
        return as_html(self)

    def summary(self, X: ArrayLike | None = None, sample_weight: ArrayLike | None = None) -> Summary:
        """Return the fitted mixture as a record whose text is a table: ``print(model.summary(X))``.

        Weight, means and standard deviations of each component, and how the fit ended; with rows X (N, D) also their
        log-likelihood and the criteria. ``to_frame()`` and ``to_dict()`` have the components for other tools.
        """
        return summarise(self, X, sample_weight)

    def _validate_parameters(self) -> None:
        refuse_overrides(type(self), vars(self))
        validation.check_parameters(self._mixture_params(), METHODS)
        family = validation.check_family(self.covariance_type)
        validation.check_capabilities(family, self.truncate, self._has_prior)
        validation.check_choice(self.stopping, "stopping", STOPPING)
        validation.check_choice(self.accelerate, "accelerate", (None, *acceleration.METHODS))
        validation.check_checkpoint(self.checkpoint, self.init_params)
        validation.check_choice(self.missing, "missing", (None, "marginal"))
        validation.check_missing(self.missing, family, self.truncate)
        validation.check_class_components(self.class_components, int(self.n_components))

    def fit(
        self,
        X: ArrayLike,
        y: Any = None,
        sample_weight: ArrayLike | None = None,
        *,
        labels: Any = None,
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
        labels : (N,) array-like, or str, optional
            The classes of rows, numbers from 0, where they are known; -1, NaN, None or pandas' NA where not. A row of a
            known class is in the component of that number, or in those of `class_components`, and in no other; so
            it counts in `lower_bound_`. Or the name of the column that holds them, of a data frame or a file, which is
            then no feature. Not for rows of Dask and Spark. Where X and labels have an index, as in pandas, it must be
            the same. See docs/guide/known-labels.md.
        callback : callable, optional
            Called as ``callback(restart, iteration, bound, change)`` after each iteration.

        Notes
        -----
        Raises ValueError for bad input, and where in every start the covariance of a component collapses (the message
        names it). Warns ConvergenceWarning where `max_iter` ended the best start. An exception, Ctrl-C included,
        leaves the estimator as it was, and what was reached in the checkpoint.

        With a `checkpoint`, raises CheckpointError where the file is damaged or of another fit, OSError where it cannot
        be written.
        """
        self._fit(X, sample_weight, callback, labels)
        return self

    def fit_predict(
        self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None, *, labels: Any = None
    ) -> NDArray[np.int64]:
        """Fit the mixture and return the most probable component of each row of X, (N,); arguments as of ``fit``.

        Of a row whose class is known by `labels` it is one of the class's components; ``predict`` knows of no labels,
        and may say another.
        """
        rows = self._fit(X, sample_weight, None, labels)
        return predicted(self, rows)

    def partial_fit(
        self,
        X: ArrayLike,
        y: Any = None,
        sample_weight: ArrayLike | None = None,
        *,
        batch: Hashable = None,
    ) -> Self:
        """Learn from one batch of rows, on top of what was learned before, and return self.

        The first batch is fitted as by ``fit``, without a checkpoint, and needs as many rows as components at least; of
        every other one, a pass is made and the parameters are updated. After ``fit``, its rows count as a first batch.
        See docs/sources.md.

        Parameters
        ----------
        X : (N, D) array-like of finite numbers, N >= 1
        y : ignored
        sample_weight : (N,) array-like >= 0, optional
            A row of weight w counts as w copies.
        batch : hashable, optional
            None: rows come once, and recent ones count more (`learning_decay`, `learning_offset`). Else the name of the
            batch: its statistics are kept, and replaced when it comes again. Visits to all batches, round by round,
            lead where ``fit`` leads on all rows; `converged_` says when.

        Notes
        -----
        `lower_bound_` is then the bound with every row's responsibilities as they were when it was seen last: without
        names, a mean in which recent rows count more, of rows that the parameters had not seen; with names, one that
        no visit to a batch that is known lowers (`reg_covar` 0).

        Raises ValueError and TypeError for bad input, and ValueError where a covariance collapses; an exception leaves
        the estimator as it was.
        """
        self._validate_parameters()
        self._require_no_noise("partial_fit")
        noise = vars(self).get("noise", False)
        if validation.wants_noise(noise):
            raise ValueError(
                f"partial_fit is for mixtures without noise, got noise={shown(noise)}: one batch does not say "
                "which rows are noise. Use fit, which reads rows from files batch by batch."
            )
        refuse_classes(self, "partial_fit")
        if batch is not None:
            online.check_key(batch)
        if hasattr(self, "means_"):
            self._learn(X, sample_weight, batch)
            return self
        rows = self._open(X, sample_weight, minimum=2)
        rule, best, exponent, restarts = self._best_start(rows, None, None, partial=True)
        best, exponent = _in_own_units(best, exponent)
        learned = online.begin(rule, best, exponent, rows.n_rows, self._schedule(), batch)
        learned = replace(learned, spurious=best.spurious)
        self._keep(rule, learned, rows.dtype, rows.names, restarts, learned.record)
        return self

    def _learn(self, X: ArrayLike, sample_weight: ArrayLike | None, key: Hashable) -> None:
        """Learn from one more batch."""
        rows = self._rows(X, sample_weight)
        self._require_same_mixture("partial_fit")
        family = self._family()
        exponent = if_far(self._weight_exponent(rows))
        learned = self.__dict__.get("_learned")
        if learned is not None:
            exponent = learned.exponent
            validation.check_weight_scale(rows.summary.exponent if rows.is_weighted else None, exponent)
        rows = rows.scaled(exponent)
        source = source_of(family, rows, self.n_threads, n_kept=self.truncate, alone=False)
        rule = self._fitted_rule(source)
        density = None if learned is None else learned.density
        if density is None:
            density = rule.density(self._state(rule))
        past = online.goes_on_from(learned, key, family, density.mean, exponent)
        result = online.learn(rule, source, past, density, self._schedule(), key)
        dtype = np.result_type(np.asarray(self.means_).dtype, rows.dtype).type
        names = self.__dict__.get("feature_names_in_")
        spikes = self._spikes(rule, source, result.state)
        result = replace(result, spurious=self._spurious(rule, source, result.state, spikes))
        if {spike.component for spike in spikes} - {known.component for known in self.__dict__.get("spurious_", [])}:
            warnings.warn(
                told_of_spikes(spikes, names, source.n_features, int(self.n_components)),
                exceptions.SpuriousComponentWarning,
                stacklevel=3,
            )
        self._keep(rule, result, dtype, names, self.__dict__.get("restarts_", []), result.record)

    def _require_same_mixture(self, method: str) -> None:
        """ValueError where parameters ask for another mixture than the fitted one, which a `method` goes on with."""
        noise = vars(self).get("noise", False)
        if validation.wants_noise(noise) != self._has_noise():
            learned = "with" if self._has_noise() else "without"
            raise ValueError(
                f"{method} goes on with what was learned, {learned} noise, but noise is {shown(noise)}. To start anew, "
                "use a clone or fit."
            )
        family = validation.check_family(self.covariance_type)
        if len(self.means_) != self.n_components or family != self._family():
            raise ValueError(
                f"{method} goes on with what was learned, {len(self.means_)} components of covariance "
                f"{self._family().name!r}, but n_components is {self.n_components} and covariance_type {family.name!r}."
                " To start anew, use a clone or fit."
            )

    def statistics(
        self, X: ArrayLike, sample_weight: ArrayLike | None = None, *, origin: ArrayLike | None = None
    ) -> SufficientStatistics:
        """Return the sums over the rows of X that an update is made of: an E-step under this mixture.

        Those of several sets of rows under the same mixture add up by ``+``, whichever processes they come from, and
        ``update`` makes the next mixture of the whole. See docs/sources.md.

        Parameters
        ----------
        X : (N, D) array-like of finite numbers; whatever ``fit`` takes
            An array or a frame may be one without rows, and weights of it may all be 0: the sums are then zeros.
        sample_weight : (N,) array-like >= 0, or str, optional
            A row of weight w counts as w copies.
        origin : (K, D) array-like, optional
            The points that moments are about; default `means_`, which ``update`` expects.

        Returns
        -------
        SufficientStatistics
            float64; of K (D + 1) numbers, the scatter, which has the shape of the covariances of the family's
            structure, and two more. Nothing of it is as long as the rows.

        Notes
        -----
        One pass, on `n_threads` threads. Raises ValueError for bad input, and where second moments overflow.
        """
        rows = self._rows(X, sample_weight, may_be_empty=True)
        about = None if origin is None else self._checked_origin(origin)
        if isinstance(rows, ArrayRows) and not (rows.n_rows and rows.summary.n_weighted):
            return self._family().zero(self._density().mean.copy() if about is None else about)
        # The largest power that is a number.
        exponent = min(if_far(self._weight_exponent(rows)), 1023)
        source = source_of(self._family(), rows.scaled(exponent), self.n_threads, n_kept=self.truncate, alone=False)
        collected = source.collect(self._density(), about)
        if exponent:
            with np.errstate(over="ignore"):
                collected = math.ldexp(1.0, exponent) * collected
            if not np.isfinite(collected.to_array()).all():
                raise OutOfRangeError(
                    "sums over the rows overflow float64 by the size of sample_weight: divide it by one number"
                )
        # The means of a density may be those of a store, which nobody may write to.
        return replace(collected, origin=collected.origin.copy())

    def _checked_origin(self, origin: ArrayLike) -> Array:
        array = validation.as_array(origin, "origin")
        if array.shape != np.shape(self.means_):
            raise ValueError(f"origin must have the shape of means_, {np.shape(self.means_)}, got {array.shape}.")
        validation.require_finite(array, "origin")
        return np.array(array, np.float64, order="C")

    def update(self, statistics: SufficientStatistics) -> Self:
        """Take the parameters that follow from statistics which this mixture made of all rows, and return self.

        One iteration of ``fit``, with `statistics` for its pass: parameters of highest likelihood, or the variational
        law, with `reg_covar` and what is `frozen` as there.

        Parameters
        ----------
        statistics : SufficientStatistics
            A sum of what ``statistics`` returned for parts of the rows.

        Notes
        -----
        `lower_bound_` is then the bound of the mixture *before* the update, which the statistics tell: it is the
        one that rises from update to update as that of ``fit`` does. `n_iter_` and `n_passes_` count on, `stop_reason_`
        is "update", `spurious_` is empty, for looking takes the rows, and ``partial_fit`` forgets its batches.

        Raises TypeError for anything else, and ValueError for statistics of another shape or without weight, and where
        a covariance collapses. Where data lie so far from the means that the moments about them have lost their digits,
        or rows of a component have no spread, ValueError asks for ``statistics(X, origin=...)`` about the means of all
        rows, of which the update is then made.
        An exception leaves the estimator as it was.
        """
        self._require_fitted()
        self._validate_parameters()
        self._require_same_mixture("update")
        rule = self._fitted_rule()
        scaled = self._checked_statistics(statistics, rule.family)
        before = self._state(rule)
        density = rule.density(before)
        # About other points than the means: because it was asked for.
        is_final = not np.array_equal(scaled.origin, density.mean)
        state = rule.update(scaled, density, final=is_final)
        if not state.trusted:
            raise ValueError(
                "statistics have no digits left for some covariance: they are about points too far from the means of "
                "the rows, or rows of a component have no spread. Collect them again by statistics(X, "
                "origin=total.mean), for total the sum that was given, and update with the sum of those; rows without "
                "spread want a larger reg_covar or fewer components."
            )
        bound = rule.bound(before, scaled)
        n_iter, n_passes = (int(getattr(self, name, 0)) + 1 for name in ("n_iter_", "n_passes_"))
        result = Updated(state, bound, [bound], (), n_iter, False, n_passes)
        names = self.__dict__.get("feature_names_in_")
        self._keep(rule, result, np.asarray(self.means_).dtype.type, names, self.__dict__.get("restarts_", []))
        return self

    def _checked_statistics(self, statistics: Any, family: Family) -> SufficientStatistics:
        """Return statistics that the mixture may have made, with weights as updates take them."""
        if not isinstance(statistics, SufficientStatistics):
            raise TypeError(f"statistics must be a SufficientStatistics, got {shown(statistics)}.")
        n_components, n_features = np.shape(self.means_)
        shapes = {
            "origin": (n_components, n_features),
            "mass": (n_components,),
            "deviation": (n_components, n_features),
            "scatter": family.shape(n_components, n_features),
        }
        for name, shape in shapes.items():
            array = np.asarray(getattr(statistics, name))
            if array.shape != shape:
                raise ValueError(f"statistics.{name} must have the shape {shape} of this mixture, got {array.shape}.")
            validation.require_finite(array, f"statistics.{name}")
        validation.require_finite(np.array([statistics.log_evidence]), "statistics.log_evidence")
        if not (0.0 < statistics.weight < math.inf and statistics.mass.min() >= 0.0):
            raise ValueError(
                f"statistics must be those of rows of some weight, not {statistics.weight}; masses {statistics.mass}."
            )
        total = float(statistics.mass.sum())
        # Noise has the rest.
        lost = max(total - statistics.weight, 0.0) if self._has_noise() else abs(total - statistics.weight)
        if lost > _MASS_ERROR * statistics.weight:
            raise ValueError(
                f"statistics.mass must sum to statistics.weight, {statistics.weight}, got {total}: give what "
                "statistics returned, or the sum of such."
            )
        if self._adds_prior:
            validation.check_row_counts(statistics.weight)
            return statistics
        # As a fit does: the share of tiny weights would underflow.
        exponent = if_far(int(np.frexp(statistics.weight)[1]))
        return statistics if exponent == 0 else math.ldexp(1.0, -max(exponent, -1000)) * statistics

    def _schedule(self) -> online.Schedule:
        total_samples = getattr(self, "total_samples", None)
        return online.Schedule(self.learning_decay, self.learning_offset, total_samples, self.stopping, self.tol)

    @property
    def n_samples_seen_(self) -> int:
        """The number of rows that were learned from; 0 where parameters were given."""
        return self._seen("n_samples")

    @property
    def n_batches_seen_(self) -> int:
        """The number of batches that were learned from, each visit counted, and a fit as one; 0 for given ones."""
        return self._seen("n_batches")

    def _seen(self, name: str) -> int:
        self._require_fitted()
        learned = self.__dict__.get("_learned")
        return 0 if learned is None else getattr(learned, name)

    def _fit(
        self,
        X: ArrayLike,
        sample_weight: ArrayLike | None,
        callback: Callback | None,
        labels: Any = None,
        prepare: Callable[[Rows], Rows] | None = None,
    ) -> Rows:
        """Fit to the rows of X, with what `prepare` knows of them beside their numbers, and return them."""
        self._validate_parameters()
        checkpoint = None if self.checkpoint is None else Checkpoint(self.checkpoint, self.checkpoint_interval)
        X, sample_weight, labels = with_column(self, X, sample_weight, labels)
        same_rows(X, labels)
        opened = self._open(X, sample_weight, minimum=2)
        rows, known = rows_with_labels(self, opened if prepare is None else prepare(opened), labels)
        rule, best, exponent, restarts = self._best_start(rows, callback, checkpoint)
        best, exponent = _in_own_units(best, exponent)
        learned = online.after_fit(best, exponent, rows.n_rows)
        self._keep(rule, best, rows.dtype, rows.names, restarts, learned, known)
        return self._told_of_noise(rows)

    def _keep(
        self,
        rule: Any,
        result: FitResult,
        dtype: type,
        names: NDArray | None,
        restarts: list[Restart],
        learned: online.Stream | online.Memo | None = None,
        known: dict[str, Any] | None = None,
    ) -> None:
        """Take the attributes of a result; `known` are those of known classes, None where they stay as they are."""
        arrays, others = self._attributes(rule, result.state)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            rounded: dict[str, NDArray] = {name: array.astype(dtype) for name, array in arrays.items()}
            for kind in (arrays, rounded):
                kind["precisions_"] = rule.family.precisions(kind["precisions_cholesky_"])
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise OutOfRangeError
        # Outside the range of float32 the attributes stay float64.
        if all(np.isfinite(array).all() for array in rounded.values()) and rounded["covariances_"].any():
            arrays = rounded
        fitted = (
            arrays
            | others
            | course_of(result, restarts)
            | {
                "_watched_bounds": result.watched,
                "_fitted_family": rule.family,
                "_learned": learned,
            }
        )
        if names is not None:
            fitted["feature_names_in_"] = names
        else:
            self.__dict__.pop("feature_names_in_", None)
        if known is not None:
            self.__dict__.pop("class_of_components_", None)
            fitted |= known
        # At once: an interrupt between two attributes would leave a mixture of two models.
        self.__dict__.update(fitted)


def _in_own_units(result: FitResult, exponent: int) -> tuple[FitResult, int]:
    """Return the result with statistics in the weights' own units, and 0, where these are not far from 1.

    Batches that follow may have other weights, or none.
    """
    if result.statistics is None or exponent == 0 or if_far(exponent):
        return result, exponent
    return replace(result, statistics=math.ldexp(1.0, exponent) * result.statistics), 0
