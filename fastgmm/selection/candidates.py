"""Candidates of a selection: how each is fitted and judged, and which of them is best."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgmm.estimators.summary import measures
from fastgmm.exceptions import CollapsedComponentError, OutOfRangeError
from fastgmm.fitting.restarts import READERS
from fastgmm.rows import ArrayRows, Rows
from fastgmm.statistics import Array
from fastgmm.support.typing import Self

#: Criteria by name, and whether lower is better.
LOWER_IS_BETTER = {"bic": True, "aic": True, "icl": True, "evidence": False, "held-out": False}
#: Those of each estimator; the first is its default.
CRITERIA = {
    "GaussianMixture": ("bic", "aic", "icl", "held-out"),
    "BayesianGaussianMixture": ("evidence", "held-out"),
}


# A variance that is at most so many times `reg_covar` is nothing else; so many standard deviations are far.
_FLAT = 1.1
_APART = 10.0

#: Rows times features times components of a fit that is worth a thread of its own: of smaller ones most of the time is
#: Python's, of which there is one at a time.
LEAST_WORK = 2**16


class Candidate(NamedTuple):
    """A model that was fitted, its values by name, or why there is none.

    `values` holds "log_likelihood", the total of the rows, and criteria by name; `doubt` says why its likelihood is no
    measure, "" where it is one.
    """

    n_components: int
    covariance_type: str
    model: Any
    values: dict[str, float]
    seconds: float
    error: str = ""
    doubt: str = ""

    @property
    def is_sound(self) -> bool:
        """Whether it was fitted, and its likelihood is a measure."""
        return self.model is not None and not self.doubt

    def value(self, criterion: str) -> float:
        """Return the value of a criterion, NaN where there is none."""
        return self.values.get(criterion, math.nan)


def doubt_of(model: Any, n_rows: int) -> str:
    """Return why the likelihood of a model fitted to so many rows of positive weight is no measure, "" where it is one.

    A component is spurious; or a fit by maximum likelihood follows the rows themselves: with as many free parameters as
    they have numbers, fewer rows than the covariances of all components need, or one without a spread of its own.
    """
    if model.spurious_:
        found = model.spurious_
        others = "" if len(found) == 1 else f", and {len(found) - 1} more like it"
        return f"component {found[0].component} {found[0].reason}{others}"
    n_components, n_features = np.shape(model.means_)
    if hasattr(model, "evidence_lower_bound") or n_components == 1:
        return ""
    family, n_parameters = model._family(), model._n_parameters()
    # A covariance of its own needs so many rows; one that is shared has all.
    n_needed = 2 if family.is_tied or not family.has_matrices else family.fewest_rows(n_features)
    if n_components * max(n_needed, 2) > n_rows or n_parameters >= n_rows * n_features:
        return f"{n_components} components, with {n_parameters} free parameters, are too many for {n_rows} rows"
    flat = _flat_component(model, n_rows)
    return "" if flat < 0 else f"component {flat} has no spread in some direction but what reg_covar adds, on few rows"


def _flat_component(model: Any, n_rows: int) -> int:
    """Return the first component on few rows without a spread of its own in some direction, or -1.

    Not one that is far from all others: an outlier, which no other component would take.
    """
    family, covariances = model._covariances()
    means, weights = np.asarray(model.means_, np.float64), model._shares()
    least = np.linalg.eigvalsh(family.matrices(covariances, *means.shape))[:, 0]
    few = weights * n_rows < 2 * family.fewest_rows(means.shape[1])
    flat = (least <= _FLAT * model.reg_covar) & few & (weights > 0.0)
    if family.is_tied or not flat.any():
        return -1
    deviations = np.sqrt(family.variances(covariances, *means.shape))
    others = np.flatnonzero(~flat & (weights > 0.0))
    for k in np.flatnonzero(flat):
        gaps = np.abs(means[others] - means[k]) / deviations[others]
        if len(others) == 0 or gaps.max(axis=1).min() < _APART:
            return int(k)
    return -1


def told_of_weights(rows: Rows, criterion: str) -> str:
    """Return a warning where weights sum to far less than the number of rows, for which criteria take it; else ""."""
    if not rows.is_weighted:
        return ""
    total, n_rows = rows.summary.total_weight, rows.summary.n_weighted
    if total >= 0.5 * n_rows:
        return ""
    return (
        f"sample_weight sums to {total:g} over {n_rows} rows. {criterion.upper()} takes that for the number of rows, "
        "and charges too little for components: scale weights to sum to the number of rows seen."
    )


def best_place(values: Sequence[float], sound: Sequence[bool], lower_is_better: bool) -> int:
    """Return the place of the best value, the first of equals: a sound one where there is any; -1 where all are NaN.

    A criterion rewards a component on a repeated value without limit, whatever the data.
    """
    known = ~np.isnan(np.asarray(values, np.float64))
    allowed = known & np.asarray(sound, bool)
    allowed = allowed if allowed.any() else known
    if not allowed.any():
        return -1
    signed = np.asarray(values, np.float64) if lower_is_better else -np.asarray(values, np.float64)
    return int(np.argmin(np.where(allowed, signed, np.inf)))


class Folds(NamedTuple):
    """Parts of the rows of positive weight in memory, each held out once: their places.

    `fewest` is the number of rows that are left of the largest part's others.
    """

    X: NDArray
    weight: Array | None
    parts: list[NDArray[np.intp]]
    fewest: int

    @classmethod
    def of(cls, rows: Rows, n_folds: int, seed: int) -> Folds:
        """Return so many parts, drawn at random; ValueError where the rows are not in memory or too few."""
        if not isinstance(rows, ArrayRows):
            raise ValueError("criterion='held-out' takes rows in memory: draw a sample of them, or use another one")
        weight = rows.sample_weight
        counted = np.arange(rows.n_rows) if weight is None else np.flatnonzero(weight)
        if len(counted) < 2 * n_folds:
            raise ValueError(
                f"n_folds={n_folds} needs {2 * n_folds} rows of positive weight at least, X has {len(counted)}"
            )
        places = np.random.default_rng(seed).permutation(counted)
        parts = [np.sort(part) for part in np.array_split(places, n_folds)]
        return cls(rows.X, weight, parts, len(counted) - len(parts[0]))

    def score(self, model: Any, **density: str) -> float:
        """Return the mean log-likelihood of a row by models, like the given one, that were fitted without its part."""
        total = weight = 0.0
        for number, part in enumerate(self.parts):
            rest = np.sort(np.concatenate([each for other, each in enumerate(self.parts) if other != number]))
            own = None if self.weight is None else self.weight[part]
            other = model._blank().fit(self.X[rest], sample_weight=None if self.weight is None else self.weight[rest])
            mass = float(len(part)) if own is None else float(own.sum())
            total += mass * other.score(self.X[part], sample_weight=own, **density)
            weight += mass
        return total / weight


def copy_with(estimator: Any, **params: Any) -> Any:
    """Return an unfitted copy of an estimator with other parameters, whatever constructor its class has."""
    other = estimator._blank()
    vars(other).update(params)
    return other


def require_open(estimator: Any) -> None:
    """Raise ValueError where an estimator says more than how a mixture of any size is to be fitted."""
    for name in ("weights_init", "means_init", "precisions_init", "covariances_init", "frozen", "class_components"):
        if getattr(estimator, name, None) is not None:
            raise ValueError(f"estimator.{name} is of one number of components: leave it at None to choose it")
    if not isinstance(estimator.init_params, str):
        raise ValueError("estimator.init_params must be the name of a method: labels are of one number of components")
    if estimator.warm_start:
        raise ValueError("estimator.warm_start must be False: every candidate is fitted anew")


class Turns(NamedTuple):
    """How candidates take turns: `n_at_once`, with `n_each` threads each; fewer than `fewest` one by one, on all."""

    n_at_once: int
    n_each: int
    fewest: float
    n_threads: int

    @classmethod
    def of(cls, rows: Rows, n_threads: int, largest: int) -> tuple[Rows, Self]:
        """Return the turns of fits of at most so many components to some rows, and the rows as those fits see them."""
        if (shared := rows.together()) is not None:
            return shared, cls(READERS, n_threads, 2, n_threads)
        is_serial = rows.is_read_again or n_threads == 1 or rows.n_rows * rows.n_features * largest < LEAST_WORK
        return rows, cls(n_threads, 1, math.inf if is_serial else n_threads, n_threads)


class Judge:
    """Fits candidates to rows, and measures them.

    Parameters
    ----------
    prototype : GaussianMixture or BayesianGaussianMixture
        What candidates are copies of, but for size, family and threads.
    rows : Rows
    density : dict
        The options of ``score`` that mean the log-likelihood of rows.
    folds : Folds or None
        Where the criterion is that of rows held out.
    """

    def __init__(self, prototype: Any, rows: Rows, density: dict[str, str], folds: Folds | None) -> None:
        self._prototype, self._rows, self._density, self._folds = prototype, rows, density, folds
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End fits that have a thread of their own, after their iteration."""
        self._stopped.set()

    def _go_on(self, *progress: Any) -> None:
        if self._stopped.is_set():
            raise KeyboardInterrupt

    def __call__(
        self, n_components: int, covariance_type: Any, name: str, n_threads: int, can_stop: bool = False
    ) -> Candidate:
        """Return one candidate, fitted; a collapse is its error. ``stop`` ends it where it can."""
        if n_components > self._rows.summary.n_weighted:
            return Candidate(n_components, name, None, {}, 0.0, f"There are fewer rows than {n_components} components.")
        if self._folds is not None and n_components > self._folds.fewest:
            why = f"Without a part that is held out, there are fewer rows than {n_components} components."
            return Candidate(n_components, name, None, {}, 0.0, why)
        begin = time.monotonic()
        own = {"n_threads": self._prototype.n_threads, "checkpoint": self._prototype.checkpoint}
        path = None if own["checkpoint"] is None else f"{own['checkpoint']}.{name}.{n_components}"
        model = copy_with(
            self._prototype,
            n_components=n_components,
            covariance_type=covariance_type,
            n_threads=n_threads,
            checkpoint=path,
            _is_compared=True,
        )
        values: dict[str, float] = {}
        try:
            with self._rows.taking_part():
                model.fit(self._rows, callback=self._go_on if can_stop else None)
                model.checkpoint = None
                values = self._values(model)
        except (CollapsedComponentError, OutOfRangeError) as error:
            return Candidate(n_components, name, None, {}, time.monotonic() - begin, str(error))
        vars(model).update(own)
        del model._is_compared
        doubt = doubt_of(model, self._rows.summary.n_weighted)
        return Candidate(n_components, name, model, values, time.monotonic() - begin, doubt=doubt)

    def _values(self, model: Any) -> dict[str, float]:
        values = measures(model, self._rows)
        if self._folds is not None:
            values["held-out"] = self._folds.score(model, **self._density)
        return values


class Patience(NamedTuple):
    """When a family is given up: once its criterion has not become better for so many sizes; never where None."""

    n_sizes: int | None
    criterion: str

    def dropped(self, found: Sequence[Candidate], name: str) -> str:
        """Return why a family is not tried with more components, of the candidates `found` so far; "" if it is."""
        if self.n_sizes is None:
            return ""
        sign = 1.0 if LOWER_IS_BETTER[self.criterion] else -1.0
        values = [
            sign * each.value(self.criterion) if each.is_sound else math.nan
            for each in found
            if each.covariance_type == name
        ]
        known = np.where(np.isnan(values), np.inf, values)
        best = int(np.argmin(known)) if len(known) else 0
        if len(known) - 1 - best < self.n_sizes or not np.isfinite(known[best]):
            return ""
        size = [each.n_components for each in found if each.covariance_type == name][best]
        return f"Not tried: {self.criterion} of {name} has not become better since {size} components (patience)."


def judged(
    judge: Judge,
    wanted: Sequence[tuple[int, Any, str]],
    turns: Turns,
    report: Any,
    patience: Patience,
) -> list[Candidate]:
    """Return a candidate for each (size, covariance type, its name), fitted in some turns.

    ``report(candidate)`` is called as each is done, in this thread and in their order. An exception ends all. Without
    patience for a family, its larger sizes are candidates without a fit, that say so.
    """
    found: list[Candidate] = []
    rounds = [list(wanted)]
    if patience.n_sizes is not None:
        rounds = [[each for each in wanted if each[0] == size] for size in sorted({each[0] for each in wanted})]
    for some in rounds:
        reasons = [patience.dropped(found, name) for _, _, name in some]
        tried = [each for each, reason in zip(some, reasons, strict=True) if not reason]
        fitted = _judged(judge, tried, turns)
        try:
            for (size, _, name), reason in zip(some, reasons, strict=True):
                candidate = Candidate(size, name, None, {}, 0.0, reason) if reason else next(fitted)
                found.append(candidate)
                report(candidate)
        finally:
            fitted.close()
    return found


def _judged(judge: Judge, wanted: Sequence[tuple[int, Any, str]], turns: Turns) -> Generator[Candidate, None, None]:
    """Yield the candidates in order; whoever closes the generator before its end stops the fits."""
    if len(wanted) < turns.fewest:
        for each in wanted:
            yield judge(*each, turns.n_threads)
        return
    with ThreadPoolExecutor(turns.n_at_once) as pool:
        waiting = [pool.submit(judge, *each, turns.n_each, can_stop=True) for each in wanted]
        try:
            while waiting:
                yield waiting.pop(0).result()
        except BaseException:
            # Closed after the last one, there is nothing to stop.
            if waiting:
                for future in waiting:
                    future.cancel()
                judge.stop()
            raise
