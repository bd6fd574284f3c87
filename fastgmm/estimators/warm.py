"""Warm starts of fits that know the classes of some rows: components of the fit before come to the classes they fit."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgmm import validation
from fastgmm.passes.scores import scores_of
from fastgmm.rows import Rows, scan_rows
from fastgmm.rules.variational import mass_after
from fastgmm.sources.incomplete import rows_of
from fastgmm.sources.labelled import LabelledRows, part_of
from fastgmm.statistics import Array

# So many rows of a class tell where it is.
_ROWS_OF_CLASS = 1024
# Less than any log density that counts, and far from the end of float64.
_LEAST = -1e100


class ClassTable(NamedTuple):
    """Known rows of a class: the components it has, the log joint of each component (n, K), weights (n,)."""

    components: NDArray[np.int64]
    joint: Array
    weight: Array

    def fit(self, order: NDArray[np.intp]) -> float:
        """Return the log-likelihood of the rows where component k of the class is `order[k]` of the mixture."""
        return float(self.weight @ np.logaddexp.reduce(self.joint[:, order[self.components]], axis=1))


def in_classes(estimator: Any, rows: Rows) -> Any:
    """Return the fitted estimator with its components in the order that fits the known rows best.

    Components of a fit without labels come in no particular order. The estimator itself where nothing is known, where
    no other order is better, or where the mixture is of another shape.
    """
    n_components = int(estimator.n_components)
    if not isinstance(rows, LabelledRows) or np.shape(estimator.means_) != (n_components, rows.n_features):
        return estimator
    order = _order(_tables(estimator, rows), _movable(estimator, n_components), n_components)
    return estimator if np.array_equal(order, np.arange(n_components)) else _reordered(estimator, order)


def _movable(estimator: Any, n_components: int) -> NDArray[np.intp]:
    """Return the components that may come to other places: no part of them is frozen."""
    family = estimator._family()
    masks = validation.check_frozen(
        getattr(estimator, "frozen", None), family, n_components, float(estimator.reg_covar)
    )
    held = masks["weights"] | masks["means"]
    return np.flatnonzero(~(held if family.is_tied else held | masks["covariances"]))


def _tables(estimator: Any, rows: LabelledRows) -> list[ClassTable]:
    density, family = estimator._density(), estimator._family()
    singles = [part_of(family, density, np.array([k])) for k in range(len(estimator.means_))]
    tables = []
    for _, components, part, _ in rows.parts:
        if components is None:
            continue
        X, kept, total = _some(part)
        few = rows_of(X)
        columns = [scores_of(one, few, estimator.n_threads, evidence=True).evidence for one in singles]
        joint = np.maximum(np.stack(columns, axis=1).astype(np.float64), _LEAST)
        tables.append(ClassTable(components, joint, kept * (total / kept.sum())))
    return tables


def _some(part: Rows) -> tuple[NDArray, Array, float]:
    """Return some of the rows, evenly, as they were given, their weights, and the weight of all."""
    step = max(part.n_rows // _ROWS_OF_CLASS, 1)
    values, weights, total = [], [], 0.0
    for places, X, weight in part.given_blocks(scan_rows(part.n_features)):
        own = np.ones(len(X)) if weight is None else np.asarray(weight, np.float64)
        first = -places.start % step
        values.append(X[first::step].copy())
        weights.append(own[first::step].copy())
        total += float(own.sum())
    return np.concatenate(values), np.concatenate(weights), total


def _order(tables: Sequence[ClassTable], movable: NDArray[np.intp], n_components: int) -> NDArray[np.intp]:
    """Return which component of the mixture comes to each place, (K,)."""
    from scipy.optimize import linear_sum_assignment  # its import takes longer than most fits

    several = any(len(table.components) > 1 for table in tables)
    gain = np.zeros((n_components, n_components))
    for table in tables:
        joint = table.joint
        # What a class of several components gains by one depends on the others: there, how many rows it has.
        gains = np.exp(joint - np.logaddexp.reduce(joint, axis=1)[:, None]) if several else joint
        gain[table.components] = table.weight @ gains
    same = np.arange(n_components)
    order = same.copy()
    order[movable] = movable[linear_sum_assignment(-gain[np.ix_(movable, movable)])[1]]
    best = sum(table.fit(order) for table in tables)
    before = sum(table.fit(same) for table in tables)
    if several:
        if before > best:
            order, best = same.copy(), before
        order, best = _exchanged(tables, movable, order, best)
    return order if best > before + 1e-9 * abs(before) else same


def _exchanged(
    tables: Sequence[ClassTable], movable: NDArray[np.intp], order: NDArray[np.intp], best: float
) -> tuple[NDArray[np.intp], float]:
    """Return an order that exchanging two components does not improve, and its log-likelihood of the known rows."""
    improved = True
    while improved:
        improved = False
        for place, a in enumerate(movable):
            for b in movable[place + 1 :]:
                other = order.copy()
                other[[a, b]] = order[[b, a]]
                changed = [table for table in tables if (a in table.components) != (b in table.components)]
                gain = sum(table.fit(other) - table.fit(order) for table in changed)
                if gain > 1e-9 * abs(best):
                    order, best, improved = other, best + gain, True
    return order, best


def _reordered(estimator: Any, order: NDArray[np.intp]) -> Any:
    """Return a copy of the fitted estimator with its components in another order."""
    other, family = copy.copy(estimator), estimator._family()
    held = vars(estimator)
    for name in ("weights_", "means_", "mean_precision_", *(() if family.is_tied else ("degrees_of_freedom_",))):
        if name in held:
            other.__dict__[name] = np.asarray(held[name])[order]
    for name in ("covariances_", "precisions_cholesky_"):
        if name in held:
            whole = family.of_attribute(np.asarray(held[name]), len(order))
            other.__dict__[name] = family.attribute(np.ascontiguousarray(family.select(whole, order)))
    if "weight_concentration_" in held:
        other.__dict__["weight_concentration_"] = _concentration(held["weight_concentration_"], order)
    return other


def _concentration(value: Any, order: NDArray[np.intp]) -> Any:
    """Return the law of weights in another order; that of sticks follows from how many rows each component holds."""
    if not isinstance(value, tuple):
        return np.asarray(value)[order]
    first, rest = (np.asarray(each, np.float64) for each in value)
    mass = np.maximum(first[order] - 1.0, 0.0)
    return 1.0 + mass, rest[-1] + mass_after(mass)
