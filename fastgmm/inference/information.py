"""Standard errors of a fitted mixture's parameters, from the information in its rows."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgmm import validation
from fastgmm.estimators import GaussianMixture
from fastgmm.families import FAMILIES, Family
from fastgmm.rows import Rows, scan_rows
from fastgmm.statistics import Array
from fastgmm.support.showing import shown

# The least eigenvalue of an information matrix of full rank with a diagonal of 1, for each parameter.
_LEAST = 1e-13

KINDS = ("observed", "empirical", "sandwich")


class StandardErrors(NamedTuple):
    """Standard errors of the parameters of a mixture, shaped like its attributes.

    Attributes
    ----------
    weights : (K,)
    means : (K, D)
    covariances : as ``covariances_``; of both triangles of a matrix
    parameters : (P, P)
        The covariance matrix of the estimates of all free parameters: the weights but the last; the means, component by
        component; the covariances, of matrices the lower triangle, row by row.
    """

    weights: Array
    means: Array
    covariances: Array
    parameters: Array


def standard_errors(
    model: GaussianMixture, X: ArrayLike, sample_weight: ArrayLike | None = None, *, kind: str = "observed"
) -> StandardErrors:
    """Return standard errors of a mixture fitted to the rows of X (N, D) by maximum likelihood.

    `kind` is where they come from: the 'observed' information, minus the second derivatives of the log-likelihood
    (Boldea and Magnus 2009); the 'empirical' one, the sum over rows of outer products of the first; or both, the
    'sandwich', which is right, too, where the rows are from no such mixture. They describe the neighbourhood of one
    optimum, for many rows: of small or overlapping components a bootstrap says more. A row of weight w counts as w rows
    that were seen; `reg_covar` is taken for nothing.

    Families whose covariances are linear in their free parameters: full, tied, diag, spherical, tied-diag,
    tied-spherical; ValueError for others, for parts that are frozen, and where the information is not positive
    definite, as it is where the fit is at no maximum or a component has no rows. TypeError for other estimators.
    """
    model = getattr(model, "best_estimator_", model)
    if not isinstance(model, GaussianMixture):
        raise TypeError(
            f"model must be a GaussianMixture, got {shown(model)}: the posterior of a BayesianGaussianMixture says "
            "itself how certain it is"
        )
    validation.check_choice(kind, "kind", KINDS)
    rows = model._rows(X, sample_weight)
    family, covariances = model._covariances()
    if family != FAMILIES.get(family.name) or (family.constraint is not None and not family.is_tied):
        raise ValueError(f"standard_errors is not for covariance_type {family.name!r}: take likelihood_bootstrap")
    model._require_no_noise("standard_errors")
    if getattr(model, "_n_known_parameters", 0):
        raise ValueError(
            "standard_errors is not for mixtures with frozen parts or equal_weights: take samples of rows instead"
        )
    if hasattr(model, "prior_") or hasattr(model, "_ratio_given"):
        raise ValueError(
            "standard_errors is not for mixtures fitted with a prior or max_eigenvalue_ratio, which are at no maximum "
            "of the likelihood: fit without, or take BayesianGaussianMixture, whose posterior says how certain it is"
        )
    if hasattr(model, "class_of_components_"):
        raise ValueError("standard_errors is not for mixtures fitted with labels: take samples of rows and labels")
    means = np.asarray(model.means_, np.float64)
    layout = _Layout.of(family, *means.shape)
    task = _Task(model._weights(), means, family.matrices(covariances, *means.shape), layout)
    information = rows.gather(task, operator.add)
    empirical = layout.free(information.outer)
    if kind == "empirical":
        parameters = _inverse(empirical, kind)
    else:
        parameters = _inverse(layout.free(information.observed(task)), kind)
        if kind == "sandwich":
            parameters = parameters @ empirical @ parameters
    return layout.errors(parameters)


def _inverse(information: Array, kind: str) -> Array:
    """Return the inverse of an information matrix, scaled meanwhile: parameters have different units."""
    diagonal = np.diagonal(information)
    if np.all(diagonal > 0.0):
        scale = 1.0 / np.sqrt(diagonal)
        values, vectors = np.linalg.eigh(information * scale[:, None] * scale)
        # Of a matrix without full rank rounding may leave positive ones.
        if values[0] > _LEAST * len(values):
            inverse: Array = (vectors / values) @ vectors.T * scale[:, None] * scale
            return inverse
    raise ValueError(
        f"the {kind} information is not positive definite: the mixture is at no maximum of the likelihood of these "
        "rows (lower tol, raise max_iter), or some component has too few of them"
    )


@dataclass(frozen=True, eq=False)
class _Layout:
    """Where parameters stand: of every component its mean and its entries, of which families may share some.

    `rows` and `columns` (E,) are the entries of a covariance that are free in the structure; `jacobian` (of all
    parameters, of the free ones) is linear.
    """

    family: Family
    n_components: int
    n_features: int
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    jacobian: Array

    @classmethod
    def of(cls, family: Family, n_components: int, n_features: int) -> _Layout:
        """Return the layout of a family's mixtures."""
        if family.has_matrices:
            rows, columns = np.tril_indices(n_features)
        else:
            rows = columns = np.arange(n_features)
        n_entries = len(rows)
        # Which free parameter each entry of one component is.
        own = np.zeros(n_entries, np.intp) if not family.block_shape(n_features) else np.arange(n_entries)
        n_own = int(own.max()) + 1
        n_before = n_components - 1 + n_components * n_features
        n_free = n_before + n_own * (1 if family.is_tied else n_components)
        jacobian = np.zeros((n_before + n_components * n_entries, n_free))
        jacobian[:n_before, :n_before] = np.eye(n_before)
        for k in range(n_components):
            start = n_before + (0 if family.is_tied else k * n_own)
            jacobian[n_before + k * n_entries + np.arange(n_entries), start + own] = 1.0
        return cls(family, n_components, n_features, rows, columns, jacobian)

    @property
    def n_parameters(self) -> int:
        """The number of parameters where nothing is shared."""
        return len(self.jacobian)

    def places(self, k: int) -> NDArray[np.intp]:
        """Return the places of a component's mean and entries among all parameters."""
        n_weights, n_means = self.n_components - 1, self.n_components * self.n_features
        means = n_weights + k * self.n_features + np.arange(self.n_features)
        entries = n_weights + n_means + k * len(self.rows) + np.arange(len(self.rows))
        return np.concatenate([means, entries])

    def free(self, information: Array) -> Array:
        """Return the information on the free parameters."""
        return self.jacobian.T @ information @ self.jacobian

    def errors(self, parameters: Array) -> StandardErrors:
        """Return the standard errors, of the covariance matrix of the free parameters."""
        n_weights, n_means = self.n_components - 1, self.n_components * self.n_features
        of_weights = parameters[:n_weights, :n_weights]
        variances = np.diagonal(parameters)
        weights = np.sqrt(np.append(variances[:n_weights], of_weights.sum()))
        means = np.sqrt(variances[n_weights : n_weights + n_means]).reshape(self.n_components, self.n_features)
        rest = np.sqrt(variances[n_weights + n_means :])
        n_blocks = 1 if self.family.is_tied else self.n_components
        if self.family.has_matrices:
            blocks: Array = np.zeros((n_blocks, self.n_features, self.n_features))
            blocks[:, self.rows, self.columns] = blocks[:, self.columns, self.rows] = rest.reshape(n_blocks, -1)
        else:
            blocks = rest.reshape(n_blocks, -1)
        shape = self.family.attribute_shape(self.n_components, self.n_features)
        return StandardErrors(weights, means, blocks.reshape(shape), parameters)


@dataclass(frozen=True, eq=False)
class _Information:
    """Sums over rows: outer products of their scores, those of components' own, and moments; ``+`` puts parts together.

    Of each component: `gram` (K, Q, Q) of its gradients, times responsibilities; `mass` (K,), and of b = precision
    times (row - mean) the sum (K, D) and the outer products (K, D, D).
    """

    outer: Array
    gram: Array
    mass: Array
    pull: Array
    spread: Array

    def __add__(self, other: _Information) -> _Information:
        return _Information(*(getattr(self, name) + getattr(other, name) for name in vars(self)))

    def observed(self, task: _Task) -> Array:
        """Return minus the matrix of second derivatives of the log-likelihood."""
        layout, weights = task.layout, task.weights
        information = self.outer.copy()
        n_weights = layout.n_components - 1
        for k in range(layout.n_components):
            places = layout.places(k)
            information[np.ix_(places, places)] -= self.gram[k] + self._second(task, k)
            of_weight = slice(k, k + 1) if k < n_weights else slice(0, n_weights)
            sign = 1.0 if k < n_weights else -1.0
            # Second derivatives of log(weight) cancel the squares of its first; those with the others are left.
            cross = sign / weights[k] * self._first(task, k)
            information[of_weight, places] -= cross
            information[places, of_weight] -= cross[:, None]
        return information

    def _first(self, task: _Task, k: int) -> Array:
        """Return the sum of responsibilities times gradients of a component's log-density."""
        entries = (self.spread[k] - self.mass[k] * task.precisions[k])[task.layout.rows, task.layout.columns]
        return np.concatenate([self.pull[k], 0.5 * task.twice * entries])

    def _second(self, task: _Task, k: int) -> Array:
        """Return the sum of responsibilities times second derivatives of a component's log-density."""
        n_features = task.layout.n_features
        precision, bases = task.precisions[k], task.bases
        second = np.zeros((n_features + len(bases),) * 2)
        second[:n_features, :n_features] = -self.mass[k] * precision
        mixed = -np.einsum("ab,jbc,c->aj", precision, bases, self.pull[k])
        second[:n_features, n_features:] = mixed
        second[n_features:, :n_features] = mixed.T
        turned = precision @ bases
        by_trace = 0.5 * self.mass[k] * _traces(turned, turned)
        by_rows = _traces(bases, turned @ self.spread[k])
        second[n_features:, n_features:] = by_trace - 0.5 * (by_rows + by_rows.T)
        return second


def _traces(ones: Array, others: Array) -> Array:
    """Return the traces of products of each two matrices of (Q, D, D) and (P, D, D), as (Q, P)."""
    return ones.reshape(len(ones), -1) @ others.swapaxes(1, 2).reshape(len(others), -1).T


class _Task:
    """The task that sums up the information of rows in this process."""

    def __init__(self, weights: Array, means: Array, covariances: Array, layout: _Layout) -> None:
        self.weights, self.means, self.layout = weights, means, layout
        self.precisions = np.linalg.inv(covariances)
        self._log_scale = np.log(weights) - 0.5 * np.linalg.slogdet(covariances)[1]
        #: How often an entry stands in a symmetric matrix, and the matrices that are 1 there.
        self.twice = np.where(layout.rows == layout.columns, 1.0, 2.0)
        self.bases = np.zeros((len(layout.rows), layout.n_features, layout.n_features))
        number = np.arange(len(layout.rows))
        self.bases[number, layout.rows, layout.columns] = self.bases[number, layout.columns, layout.rows] = 1.0

    def __call__(self, rows: Rows) -> _Information:
        layout = self.layout
        n_own = layout.n_features + len(layout.rows)
        n_components, n_features = self.means.shape
        total = _Information(
            np.zeros((layout.n_parameters, layout.n_parameters)),
            np.zeros((n_components, n_own, n_own)),
            np.zeros(n_components),
            np.zeros((n_components, n_features)),
            np.zeros((n_components, n_features, n_features)),
        )
        for block in rows.blocks(scan_rows(layout.n_parameters)):
            weight = np.ones(len(block.X)) if block.weight is None else np.asarray(block.weight, np.float64)
            total = total + self._of_block(np.asarray(block.X, np.float64), weight)
        return total

    def _of_block(self, X: Array, weight: Array) -> _Information:
        layout, n_components = self.layout, len(self.weights)
        deviations = X[None] - self.means[:, None]
        pulls = np.einsum("kab,knb->kna", self.precisions, deviations)
        log_joint = self._log_scale[:, None] - 0.5 * np.einsum("kna,kna->kn", pulls, deviations)
        shares = np.exp(log_joint - log_joint.max(axis=0))
        shares /= shares.sum(axis=0)
        score = np.zeros((len(X), layout.n_parameters))
        grams, masses, sums, spreads = [], [], [], []
        for k in range(n_components):
            b, mass = pulls[k], weight * shares[k]
            products = b[:, layout.rows] * b[:, layout.columns] - self.precisions[k][layout.rows, layout.columns]
            gradient = np.column_stack([b, 0.5 * self.twice * products])
            score[:, layout.places(k)] = shares[k][:, None] * gradient
            if k < n_components - 1:
                score[:, k] += shares[k] / self.weights[k]
            else:
                score[:, : n_components - 1] -= (shares[k] / self.weights[k])[:, None]
            grams.append((mass[:, None] * gradient).T @ gradient)
            masses.append(mass.sum())
            sums.append(mass @ b)
            spreads.append((mass[:, None] * b).T @ b)
        outer = (weight[:, None] * score).T @ score
        return _Information(outer, np.array(grams), np.array(masses), np.array(sums), np.array(spreads))
