"""The rules of many problems: EM and variational Bayes in compiled form, chosen by the class of the record."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgmm.kernels.compiling import (
    dispatched,
    kernel,
)
from fastgmm.kernels.many.records import Array
from fastgmm.kernels.passes.collect import Sums
from fastgmm.kernels.structures import contract
from fastgmm.kernels.updates.likelihood import maximise_constrained, set_log_scale, spurious_component
from fastgmm.kernels.updates.moments import LOST_DIGITS, mirror
from fastgmm.kernels.updates.moments import OK as UPDATED
from fastgmm.kernels.updates.variational import (
    Posterior,
    Prior,
    condition,
    divergence,
    expected_log_joint,
    log_determinant_of_blocks,
)
from fastgmm.kernels.vector.tiles import copy_array


class Likelihood(NamedTuple):
    """Expectation maximisation of P problems: `weights` (P, K) are overwritten.

    `fewest_rows` (1,) int64 is how many rows a covariance needs, `constraint` (1,) int64 the address of the constraint
    on covariances (``constraints.constraint_address``).
    """

    weights: Array
    fewest_rows: NDArray[np.int64]
    constraint: NDArray[np.int64]


class Variational(NamedTuple):
    """Variational Bayes of P problems: the prior, and the fields of a ``Posterior``, which are overwritten.

    `counts` (3,): concentration, mean precision and degrees of freedom of the prior; `mean_prior` (P, D) and
    `scale_prior` (P, ...), of one component, in the whitener's shape, begin with an axis of length P, or 1 for all;
    `sort` (1,) int64 says whether updates put the components in order of falling mass.
    """

    counts: Array
    mean_prior: Array
    scale_prior: Array
    sort: NDArray[np.int64]
    concentration: Array
    mean_precision: Array
    degrees_of_freedom: Array


class Law(NamedTuple):
    """The buffers of variational updates of one problem; `numbers` are the following three."""

    posterior: Posterior
    numbers: Array
    order: NDArray[np.int64]
    origin: Array
    sums: Sums


_LOG_DETERMINANT, _DIVERGENCE, _CHANGE = range(3)


@dispatched
def law(rule, density):
    """Return the buffers of the updates of one problem."""


@dispatched
def begin(rule, p, law, density):
    """Get ready for problem p, and return whether it can be fitted."""


@dispatched
def replace(rule, p, law, start, density, covariance):
    """Put what a start gives in the place of what followed from its rows."""


@dispatched
def update(rule, p, law, density, successor, covariance, origin, sums, reg_covar, final):
    """Overwrite `successor` and `covariance` with the update from `density`, return (status, component) of maximise."""


@dispatched
def settle(rule, p, law, density):
    """Do what remains to be done once the parameters are known that the next pass scores rows with."""


@dispatched
def bound(rule, law, log_evidence, weight):
    """Return the bound of the density that made the statistics."""


@dispatched
def progress(rule, law, log_evidence, weight):
    """Return the number that the stopping rule watches, after an update."""


@dispatched
def spurious(rule, law, density, n_samples):
    """Return a component whose bound has no limit, for it holds too few of so many rows of equal weight, or -1."""


@dispatched
def write(rule, p, law):
    """Write the rule's part of a fit's result."""


@law.register(Likelihood)
def _law_of_likelihood(rule, density):
    return np.empty(density.mean.shape[0])


@begin.register(Likelihood)
def _begin_likelihood(rule, p, law, density):
    return True


@replace.register(Likelihood)
def _replace_parameters(rule, p, law, start, density, covariance):
    if start.means.size > 0:
        copy_array(start.means[min(p, start.means.shape[0] - 1)], density.mean)
    if start.whitener.size > 0:
        copy_array(start.whitener[min(p, start.whitener.shape[0] - 1)], density.whitener)
        copy_array(start.covariance[min(p, start.covariance.shape[0] - 1)], covariance)
    if start.weights.size > 0:
        copy_array(start.weights[min(p, start.weights.shape[0] - 1)], law)
    set_log_scale(density, law)


@update.register(Likelihood)
def _update_likelihood(rule, p, law, density, successor, covariance, origin, sums, reg_covar, final):
    return maximise_constrained(
        successor,
        law,
        covariance,
        origin,
        sums.mass,
        sums.deviation,
        sums.scatter,
        reg_covar,
        final,
        rule.constraint[0],
        density.whitener,
    )


@settle.register(Likelihood)
def _settle_nothing(rule, p, law, density):
    pass


@bound.register(Likelihood)
def _bound_of_likelihood(rule, law, log_evidence, weight):
    return log_evidence / weight


@progress.register(Likelihood)
def _progress_of_likelihood(rule, law, log_evidence, weight):
    return log_evidence / weight


_spurious_component = kernel(spurious_component)


@spurious.register(Likelihood)
def _spurious_of_likelihood(rule, law, density, n_samples):
    return _spurious_component(density.log_scale, law, density.mean.shape[1], rule.fewest_rows[0], n_samples)


@write.register(Likelihood)
def _write_likelihood(rule, p, law):
    copy_array(law, rule.weights[p])


@law.register(Variational)
def _law_of_posterior(rule, density):
    n_components, n_features = density.mean.shape
    posterior = Posterior(
        np.empty((rule.concentration.shape[1], n_components)),
        np.empty(n_components),
        np.empty(rule.degrees_of_freedom.shape[1]),
    )
    sums = Sums(np.empty(n_components), np.empty((n_components, n_features)), np.empty_like(density.whitener))
    order = np.empty(n_components, np.int64)
    return Law(posterior, np.empty(3), order, np.empty((n_components, n_features)), sums)


@begin.register(Variational)
def _begin_variational(rule, p, law, density):
    one = contract.blank(density, 1)
    if contract.whiten(one, rule.scale_prior[min(p, rule.scale_prior.shape[0] - 1)]) >= 0:
        return False
    law.numbers[_LOG_DETERMINANT] = log_determinant_of_blocks(one, 0)
    return True


@replace.register(Variational)
def _replace_means(rule, p, law, start, density, covariance):
    if start.means.size > 0:
        copy_array(start.means[min(p, start.means.shape[0] - 1)], density.mean)


@kernel
def _prior(rule, p, law):
    return Prior(
        rule.counts[0],
        rule.mean_prior[min(p, rule.mean_prior.shape[0] - 1)],
        rule.counts[1],
        rule.counts[2],
        rule.scale_prior[min(p, rule.scale_prior.shape[0] - 1)],
        law.numbers[_LOG_DETERMINANT],
    )


@update.register(Variational)
def _update_variational(rule, p, law, density, successor, covariance, origin, sums, reg_covar, final):
    mirror(density, sums.scatter)
    prior = _prior(rule, p, law)
    before = expected_log_joint(density, origin, sums.mass, sums.deviation, sums.scatter)
    _set_order(sums.mass, rule.sort[0] == 1, law.order)
    _reorder(density, law, origin, sums)
    mass, deviation, scatter = law.sums
    status, component = condition(
        successor, prior, law.posterior, covariance, law.origin, mass, deviation, scatter, reg_covar, final
    )
    if status == UPDATED:
        law.numbers[_CHANGE] = expected_log_joint(successor, law.origin, mass, deviation, scatter) - before
    elif status == LOST_DIGITS:
        # Whoever collects again does so in the order that the statistics came in.
        copy_array(successor.mean, law.origin)
        for i in range(law.order.shape[0]):
            for d in range(origin.shape[1]):
                successor.mean[law.order[i], d] = law.origin[i, d]
    return status, component


@kernel
def _set_order(mass, sort, order):
    """Overwrite `order` (K,) with the components by falling mass, equal ones as they come; or with 0, 1, 2, ..."""
    for k in range(mass.shape[0]):
        i = k
        while sort and i > 0 and mass[order[i - 1]] < mass[k]:
            order[i] = order[i - 1]
            i -= 1
        order[i] = k


@kernel
def _reorder(density, law, origin, sums):
    """Copy the statistics to those of the law, in its order."""
    n_components, n_features = origin.shape
    size = sums.scatter.size
    shared = contract.pool(density, sums.mass).size < n_components
    length = size if shared else size // n_components
    source = sums.scatter.reshape((size // length, length))
    target = law.sums.scatter.reshape((size // length, length))
    for i in range(n_components):
        k = law.order[i]
        law.sums.mass[i] = sums.mass[k]
        for d in range(n_features):
            law.origin[i, d] = origin[k, d]
            law.sums.deviation[i, d] = sums.deviation[k, d]
        if not shared:
            for j in range(length):
                target[i, j] = source[k, j]
    if shared:
        for j in range(length):
            target[0, j] = source[0, j]


@settle.register(Variational)
def _settle_divergence(rule, p, law, density):
    law.numbers[_DIVERGENCE] = divergence(density, _prior(rule, p, law), law.posterior)


@bound.register(Variational)
def _bound_of_posterior(rule, law, log_evidence, weight):
    return log_evidence - law.numbers[_DIVERGENCE]


@progress.register(Variational)
def _progress_of_posterior(rule, law, log_evidence, weight):
    return log_evidence + law.numbers[_CHANGE] - law.numbers[_DIVERGENCE]


@spurious.register(Variational)
def _spurious_of_posterior(rule, law, density, n_samples):
    return -1


@write.register(Variational)
def _write_posterior(rule, p, law):
    copy_array(law.posterior.concentration, rule.concentration[p])
    copy_array(law.posterior.mean_precision, rule.mean_precision[p])
    copy_array(law.posterior.degrees_of_freedom, rule.degrees_of_freedom[p])
