"""How an estimator fits: its starts, the race between them, and what is wrong with the one that wins."""

from __future__ import annotations

import copy
import functools
import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgmm import exceptions, validation
from fastgmm.estimators.distribution import Distribution
from fastgmm.estimators.noise import told_of_much_noise
from fastgmm.estimators.progress import Callback, Printer, Report
from fastgmm.estimators.warm import in_classes
from fastgmm.exceptions import CollapsedComponentError, OutOfRangeError
from fastgmm.families import Family
from fastgmm.fitting import acceleration
from fastgmm.fitting.checkpoint import Checkpoint, identity
from fastgmm.fitting.loop import fit_steps
from fastgmm.fitting.plain import FitResult, Point, Standing
from fastgmm.fitting.restarts import Contender, Fit, Restart, finalists, race, winner
from fastgmm.kernels.compiling import thread_count
from fastgmm.rows import Rows
from fastgmm.sources import Source
from fastgmm.sources.labelled import LabelledRows, LabelledSource
from fastgmm.sources.source import source_of
from fastgmm.spurious import Spike, SpuriousComponent, find_spikes, spurious_components
from fastgmm.starts import labelled
from fastgmm.starts.seeding import race_sample, seed
from fastgmm.statistics import Array

#: Makes the state that a fit starts from, of its rule, source, random state and number among the starts.
Starter = Callable[[Any, Source, Any, int], Any]

# Parameters that no result depends on, or that are looked at by themselves.
_NOT_IN_CHECKPOINTS = {
    *("checkpoint", "checkpoint_interval", "covariance_type", "max_iter", "n_threads", "verbose", "verbose_interval"),
    *("learning_decay", "learning_offset", "total_samples", "warm_start"),
}


_NOT_CONVERGED = (
    "Best performing initialization did not converge. Try different init parameters, or increase max_iter, tol, or "
    "check for degenerate data."
)


class Fitting(Distribution, ABC):
    """The part of the estimators that makes a fit of rows and parameters that have been checked."""

    n_components: int
    covariance_type: str | Family
    tol: float
    stopping: str
    reg_covar: float
    max_iter: int
    accelerate: str | None
    truncate: int | None
    n_init: int
    race: bool
    init_params: Any
    class_components: Any
    means_init: ArrayLike | None
    random_state: Any
    warm_start: bool
    checkpoint: str | os.PathLike[str] | None
    checkpoint_interval: float
    learning_decay: float
    learning_offset: float
    verbose: int
    verbose_interval: int
    n_threads: int | None

    _watched_bounds: tuple[float, ...] = ()
    #: The defaults of the constructor's parameters: a fit depends on these, whatever a subclass's constructor takes.
    _mixture_defaults: dict[str, Any]
    #: What a mixture is made of, beside its covariances.
    _law_attributes: tuple[str, ...] = ("weights_", "means_")
    #: Whether the fit is one of variational Bayes.
    _has_prior = False
    #: Whether whoever compares this fit with others says what there is to say of it.
    _is_compared = False

    @property
    def _adds_prior(self) -> bool:
        """Whether statistics are added to a prior, against which rows count by their weights as these are."""
        return self._has_prior

    def _mixture_params(self) -> dict[str, Any]:
        """Return the parameters that a fit depends on, whatever constructor a subclass has.

        What that did not set has its default.
        """
        return {name: getattr(self, name) for name in sorted(self._mixture_defaults)}

    def _goes_on(self) -> bool:
        """Return whether a fit starts from the fitted attributes, whoever set them."""
        return (
            bool(self.warm_start)
            and all(hasattr(self, name) for name in self._law_attributes)
            and (hasattr(self, "precisions_cholesky_") or hasattr(self, "covariances_"))
        )

    @abstractmethod
    def _weight_exponent(self, rows: Rows) -> int:
        """Return the power of two that weights are divided by for the rule, having checked them."""

    @abstractmethod
    def _rule(self, source: Source) -> Any:
        """Return the update rule for the rows of a source."""

    @abstractmethod
    def _fitted_rule(self, source: Source | None = None) -> Any:
        """Return the update rule of the fitted attributes; what they do not tell comes from the rows of the source."""

    @abstractmethod
    def _starter(self, rule: Any, rows: Rows) -> Starter:
        """Return a function that makes a start, having checked every explicit part of it."""

    @abstractmethod
    def _state(self, rule: Any) -> Any:
        """Return the rule's state that the fitted attributes describe."""

    @abstractmethod
    def _attributes(self, rule: Any, state: Any) -> tuple[dict[str, NDArray], dict[str, Any]]:
        """Return fitted attributes of a state: those in the type of X, precisions left out, and the others."""

    def _warm_state(self, rule: Any, n_features: int) -> Any:
        shape = (self.n_components, n_features)
        fitted = self._family()
        if np.shape(self.means_) != shape or fitted != rule.family:
            raise ValueError(
                "warm_start needs parameters of the same shape: the fitted model has "
                f"{len(self.means_)} components of {np.shape(self.means_)[1]} features, covariance {fitted.name!r}; "
                f"this fit {shape[0]} of {shape[1]}, covariance {rule.family.name!r}. Set warm_start=False to start "
                "anew."
            )
        return self._state(rule)

    def _best_start(
        self, rows: Rows, callback: Callback | None, checkpoint: Checkpoint | None, partial: bool = False
    ) -> tuple[Any, FitResult, int, list[Restart]]:
        """Return the rule, the result of the best start, the exponent of the weights, and how all starts ended.

        A `partial` fit, of a first batch, may stop at `max_iter` without a word.
        """
        family = validation.check_family(self.covariance_type)
        n_samples = rows.summary.n_weighted
        if n_samples < self.n_components:
            raise ValueError(
                f"Expected n_samples >= n_components but got n_components = {self.n_components}, "
                f"n_samples = {n_samples}" + (" (rows of positive weight)" if rows.is_weighted else "")
            )
        random_state = validation.check_random_state(self.random_state)
        exponent = self._weight_exponent(rows)
        rows = rows.scaled(exponent)
        source = source_of(family, rows, self.n_threads, n_kept=self.truncate, alone=not self._adds_prior)
        rule = self._rule(source)
        warm = self._goes_on()
        begin = self._starter(rule, rows)
        n_init = 1 if warm else self.n_init
        start = in_classes(self, rows)._warm_state(rule, rows.n_features) if warm else None
        if checkpoint is not None:
            self._match(checkpoint, rule, source, start)
            random_state = checkpoint.drawing(random_state)
        begins: dict[int, Callable[[Any, Source], Any]] = {}
        if warm:
            begins[0] = _from_state(start)
        else:
            for restart in range(n_init):
                drawn = random_state if n_init == 1 or callable(self.init_params) else _Drawn(random_state.uniform())
                begins[restart] = _numbered(begin, drawn, restart)
        try:
            contenders: dict[int, Contender] = {}
            if self.race and n_init > 1 and isinstance(self.init_params, str):
                sample = race_sample(source, self.n_components, random_state)
                if sample is not None:
                    contenders = self._raced(rule, sample, begins, callback, checkpoint)
                    begins = {number: _from_state(state) for number, state in finalists(contenders).items()} or begins
            contenders |= self._raced(rule, source, begins, callback, checkpoint)
        finally:
            if checkpoint is not None:
                checkpoint.finish()
        failed = [each.error for each in contenders.values() if each.error is not None]
        best = winner(list(contenders.values()))
        if best is None:
            if checkpoint is not None:
                checkpoint.discard()
            raise failed[0]
        spikes = self._spikes(rule, source, best.state)
        best = replace(best, spurious=self._spurious(rule, source, best.state, spikes))
        # Warnings first: where they are errors, nothing may have changed. They name the line that called fit.
        level = 3 if partial else 4
        if self._is_compared:
            return rule, best, exponent, [each.summary() for each in contenders.values()]
        if spikes:
            told = told_of_spikes(spikes, rows.names, rows.n_features, int(self.n_components))
            warnings.warn(told, exceptions.SpuriousComponentWarning, stacklevel=level)
        if told := told_of_much_noise(rule, best.state, float(self.reg_covar)):
            warnings.warn(told, UserWarning, stacklevel=level)
        if failed:
            message = f"{len(failed)} of {n_init} starts were left out. The first: {failed[0]}"
            warnings.warn(message, exceptions.ConvergenceWarning, stacklevel=level)
        if not best.converged and self.max_iter > 0 and not partial:
            warnings.warn(_NOT_CONVERGED, exceptions.ConvergenceWarning, stacklevel=level)
        return rule, best, exponent, [each.summary() for each in contenders.values()]

    def _match(self, checkpoint: Checkpoint, rule: Any, source: Source, start: Any) -> None:
        """Open a checkpoint for this fit, from a warm `start` or None; CheckpointError where it is of another one."""
        params = {name: value for name, value in self._mixture_params().items() if name not in _NOT_IN_CHECKPOINTS}
        warm = None if start is None else (start, np.array(self._watched_bounds))
        told = identity(type(self).__name__, params, rule.family, source.rows, warm)
        blank = rule.blank_state(self.n_components, source.n_features)
        like = Point(blank, rule.family.zero(blank.means), 0.0)
        # Racing starts that come to max_iter are compared there.
        accelerator = acceleration.accelerator(self.accelerate, rule)
        checkpoint.match(told, int(self.max_iter), not self.race, like, source.findings, accelerator)

    def _progress_before(self) -> tuple[float, ...]:
        """Return the progress of the fit that this one goes on from, empty where it begins anew."""
        return self._watched_bounds if self._goes_on() else ()

    def _spikes(self, rule: Any, source: Source, state: Any) -> list[Spike]:
        """Return the components that have no spread but what the rule adds, and sit on one value."""
        return find_spikes(
            source.family,
            rule.density(state),
            state.weights,
            state.covariances,
            source.rows,
            float(self.reg_covar),
            self._adds_prior,
        )

    def _spurious(self, rule: Any, source: Source, state: Any, spikes: list[Spike]) -> list[SpuriousComponent]:
        """Return the spurious components of a state, and why they are; a spike far from all others is none."""
        names = validation.feature_labels(source.rows.names, source.n_features)
        return spurious_components(rule, state, spikes, source.rows, names)

    def _raced(
        self,
        rule: Any,
        source: Source,
        begins: dict[int, Callable[[Any, Source], Any]],
        callback: Callback | None,
        checkpoint: Checkpoint | None,
    ) -> dict[int, Contender]:
        """Run the fits that the starts begin, and return how each ended, by its number."""
        if source.family.uses_total:
            # Before the starts part: it takes passes, and is the same for all.
            source.total()

        def suspect(state: Any) -> int:
            found = self._spurious(rule, source, state, self._spikes(rule, source, state))
            return found[0].component if found else -1

        contenders = {}
        printer = Printer()
        reached, records = (None, {}) if checkpoint is None else (checkpoint.reached, checkpoint.records())
        kept = next((record.kept for record in records.values() if record.kept is not None), None)
        if checkpoint is not None and kept is not None:
            again = source.again(self.n_threads)
            again.findings = kept.findings
            checkpoint.verify(kept, lambda state: again.collect(rule.density(state)), again.rounding)
        in_turn = callback is not None or bool(self.verbose) or callable(self.init_params)
        rows = None if in_turn or len(begins) == 1 else source.rows.together()
        for restart, begin in begins.items():
            record = records.get(restart)
            if record is not None and record.kept is not None:
                begin = _from_state(record.kept.standing)
            own_rule, own_source = copy.copy(rule), source.again(self.n_threads)
            own_source.rows = source.rows if rows is None else rows
            report = Report(restart, self.verbose, self.verbose_interval, callback, printer)
            steps = functools.partial(
                self._steps, own_rule, own_source, functools.partial(begin, own_rule, own_source), report
            )
            contenders[restart] = Contender(own_source, steps, suspect, reached)
            if record is not None:
                contenders[restart].restore(record)
        if checkpoint is not None:
            checkpoint.watch(contenders)
        race(
            list(contenders.values()),
            thread_count(self.n_threads),
            drop=bool(self.race),
            in_turn=in_turn or source.rows.is_read_again,
            share_looks=rows is not None,
        )
        return contenders

    def _steps(
        self,
        rule: Any,
        source: Source,
        begin: Callable[[], Any],
        report: Report,
        keep: Callable[[Standing], None] | None = None,
    ) -> Fit:
        """Make a start and fit from it, iteration by iteration."""
        report.begin()
        tol, stopping, accelerate = self._pace(source)
        try:
            result = yield from fit_steps(
                rule,
                source,
                begin(),
                tol=tol,
                max_iter=self.max_iter,
                stopping=stopping,
                accelerator=acceleration.accelerator(accelerate, rule),
                # Bounds of a fit without these labels say nothing of this one.
                watched=() if isinstance(source.rows, LabelledRows) else self._progress_before(),
                callback=report.iteration,
                keep=keep,
            )
        except (CollapsedComponentError, OutOfRangeError) as error:
            report.failed(error)
            raise
        if self.max_iter > 0:
            report.end(result)
        return result

    def _pace(self, source: Source) -> tuple[float, str, str | None]:
        """Return the tolerance, the stopping rule and the accelerator of fits to the rows of a source."""
        return self.tol, self.stopping, self.accelerate

    def _seed(self, rule: Any, source: Source, random_state: Any, means: Array | None, restart: int) -> Any:
        """Return a start by `init_params`; where that is a method, from the rows nearest to `means` if given."""
        by_name = isinstance(self.init_params, str)
        labels = responsibilities = None
        if by_name and means is None and isinstance(source, LabelledSource):
            return labelled.seed(rule, source, self.n_components, random_state, self.init_params, restart)
        if not by_name:
            labels, responsibilities = validation.check_assignment(
                self.init_params,
                source.rows.n_rows,
                self.n_components,
                random_state,
                getattr(source.rows, "X", None),
                bool(getattr(self, "noise", False)),
            )
        return seed(
            rule,
            source,
            self.n_components,
            random_state,
            self.init_params if by_name else "",
            means=means if by_name else None,
            labels=labels,
            responsibilities=responsibilities,
            restart=restart,
        )


def course_of(result: FitResult, restarts: list[Restart]) -> dict[str, Any]:
    """Return the fitted attributes that say how a fit went and what rows it was of, in every kind of mixture."""
    return {
        "converged_": result.converged,
        "stop_reason_": result.stop_reason,
        "n_iter_": result.n_iter,
        "n_passes_": result.n_passes,
        "lower_bound_": result.bound,
        "lower_bounds_": result.bounds,
        "restarts_": restarts,
        "spurious_": list(result.spurious),
        "n_features_in_": result.state.means.shape[1],
    }


def told_of_spikes(spikes: list[Spike], names: NDArray | None, n_features: int, n_components: int) -> str:
    """Return the message about spikes for a user."""
    labels = validation.feature_labels(names, n_features)
    some = "; ".join(f"component {spike.component} {spike.reason(labels)}" for spike in spikes[:3])
    more = f"; and {len(spikes) - 3} more" if len(spikes) > 3 else ""
    hint = "far from all others, an outlier or a code for a missing value? " if spikes[0].apart else ""
    fewer = "fewer components, " if n_components > 1 else ""
    return (
        f"{len(spikes)} of the components have no spread but what reg_covar or the prior adds, and their likelihood "
        f"says nothing: {some}{more}. {hint[:1].upper()}{hint[1:]}Try {fewer}a larger reg_covar, "
        "GaussianMixture with prior='mclust', BayesianGaussianMixture with its default prior, or noise of the size of "
        "the rounding; or leave such rows out."
    )


def _numbered(begin: Starter, random_state: Any, restart: int) -> Callable[[Any, Source], Any]:
    return lambda rule, source: begin(rule, source, random_state, restart)


def _from_state(state: Any) -> Callable[[Any, Source], Any]:
    return lambda rule, source: state


class _Drawn:
    """A random state that gives one number, drawn before: what starts that run at the same time can be given."""

    def __init__(self, number: float) -> None:
        self._number = number

    def uniform(self) -> float:
        return self._number
