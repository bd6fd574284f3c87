"""Components that owe their likelihood to rounded values: no spread but what ``reg_covar`` or a tiny prior adds.

A Gaussian on a value that rows repeat can be made as narrow as one likes, and its likelihood grows without limit; what
bounds it is a constant that says nothing about the data. Rounded columns, codes and saturated readings are full of such
values. A narrow component is found by its covariance alone; whether it is a real tight group or a repeated value, only
the rows tell.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastgmm.families import Family
from fastgmm.kernels import Density
from fastgmm.rows import Rows, scan_rows
from fastgmm.statistics import Array

# Variances are those of `reg_covar` alone up to this factor, and narrow beside those of all rows from this one on.
_ADDED = 1.1
_NARROW = 4.0
# A prior has a scale: there a component is narrow from a hundredth of the standard deviation of all rows on.
_NARROW_OF_PRIOR = 1e4
# Which share of the rows within a standard deviation must have one value, and which deviations are the same value, in
# units of the standard deviation, and in units of rounding.
_SHARE = 0.9
_SAME = 1e-6
_ROUNDING = 64.0 * np.finfo(np.float64).eps
# Values of a block that are counted one by one.
_PLACES = 64
# How many standard deviations of the others a value is away from them that is no part of their rows.
_APART = 10.0
# An eigenvector with nearly all of its length in one feature is that feature.
_ONE_FEATURE = 1.0 - 1e-6


class SpuriousComponent(NamedTuple):
    """A component whose likelihood says nothing about the data, and why, in words."""

    component: int
    reason: str


class Spike(NamedTuple):
    """A component whose rows have one value in a direction, and no spread there but what the fit adds.

    `share` is that of the rows with this value. `feature` is the number of the feature that has the value, -1 where
    that is a combination of several; `whole` says whether the component has no spread in any direction. Where it is
    `apart`, the value is far from all other components.
    """

    component: int
    mean: Array
    share: float
    feature: int
    whole: bool
    apart: bool

    def reason(self, names: Sequence[str]) -> str:
        """Return in words what the component sits on."""
        share = f"{self.share:.2g} of the weight of all rows" if self.share < 0.01 else f"{self.share:.0%} of the rows"
        if self.whole or self.feature >= 0:
            shown = range(len(self.mean)) if self.whole else [self.feature]
            value = ", ".join(f"{names[d]} = {self.mean[d]:.6g}" for d in list(shown)[:3])
            more = ", ..." if len(list(shown)) > 3 else ""
            return f"sits on one repeated value, {value}{more} ({share})"
        return f"holds rows that have no spread in a direction which combines several features ({share})"


def may_have_spikes(
    family: Family, whitener: Array, reg_covar: float, n_leading: int = 0, added: float = _ADDED
) -> Any:
    """Return whether any variance of `whitener` may be what `reg_covar` adds: exact where not, and cheap.

    With axes in front, `n_leading` of them, for each of their entries. Variances up to `added` times `reg_covar` may.
    """
    if reg_covar == 0.0:
        return np.zeros(whitener.shape[:n_leading], bool)
    axes = tuple(range(n_leading, whitener.ndim))
    if family.has_matrices:
        # The trace of a precision matrix is no less than its largest eigenvalue.
        trace = np.einsum("...ij,...ij->...", whitener, whitener)
        largest = trace.max(axis=axes[:-2]) if len(axes) > 2 else trace
    else:
        largest = (whitener * whitener).max(axis=axes)
    return largest >= 1.0 / (added * reg_covar)


def find_spikes(
    family: Family,
    density: Density,
    weights: Array,
    covariances: Array,
    rows: Rows,
    reg_covar: float,
    has_prior: bool,
    *,
    total: Callable[[], Array] | None = None,
    added: float = _ADDED,
) -> list[Spike]:
    """Return the spikes among the components of a mixture that was fitted to the rows.

    Variances up to `added` times `reg_covar` may be what that adds. `total` returns the covariance (D, D) of the rows
    where that of the mixture is none of theirs, as where components have heavy tails: then one alone may be a spike.

    Where there are narrow components, takes a pass over the rows: memory does not grow with their number.
    """
    shape = density.mean.shape
    n_components = shape[0]
    # A variance that is imputed where a value is missing grows with what is added.
    reg_covar /= rows.least_observed
    if n_components == 1 and total is None:
        return []
    if not (has_prior or may_have_spikes(family, density.whitener, reg_covar, added=added)):
        return []
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        held = np.asarray(weights, np.float64)
        spread = None if total is None else total()
        candidates = _candidates(family, density, held, covariances, reg_covar, has_prior, spread, added)
    if not candidates:
        return []
    matrices = family.matrices(np.asarray(covariances, np.float64), *shape)
    return _repeated(
        candidates,
        lambda direction: np.einsum("i,kij,j->k", direction, matrices, direction),
        density.mean,
        held,
        rows,
        family.fewest_rows(shape[1]),
    )


def find_spikes_of_features(means: Array, weights: Array, variances: Array, least: Array, rows: Rows) -> list[Spike]:
    """Return the spikes among components whose variances (K, D) in single features can be no less than `least` (D,).

    As `find_spikes`, without matrices of all features: a component may be one by one of its features.
    """
    flat = (variances < _NARROW * least) & (weights > 0.0)[:, None]
    candidates = []
    for k in np.flatnonzero(flat.any(axis=1)).tolist():
        # Of several features that in which the rows have most spread.
        feature = int(np.argmax(np.where(flat[k], least, -np.inf)))
        direction = np.zeros(len(least))
        direction[feature] = 1.0
        candidates.append(_Narrow(k, direction, float(variances[k, feature]), bool(flat[k].all())))
    if not candidates:
        return []
    return _repeated(candidates, lambda direction: variances[:, int(direction.argmax())], means, weights, rows, 1)


def _repeated(
    candidates: list[_Narrow],
    along: Callable[[Array], Array],
    means: Array,
    weights: Array,
    rows: Rows,
    fewest: int,
) -> list[Spike]:
    """Return those of the candidates whose rows have one value; `along` returns the variances (K,) in a direction."""
    tallies = rows.gather(_Tally([(means[each.component], each) for each in candidates]), _add_tallies)
    least = (fewest + 0.5) * rows.summary.total_weight / rows.summary.n_weighted
    spikes = []
    for narrow, tally in zip(candidates, tallies, strict=True):
        heaviest = tally.heaviest()
        # So few rows that they always lie in a plane are no repeated value, but too few.
        if heaviest > least and heaviest >= _SHARE * tally.near:
            squares = narrow.direction**2 / (narrow.direction @ narrow.direction)
            feature = int(squares.argmax())
            spikes.append(
                Spike(
                    narrow.component,
                    means[narrow.component],
                    heaviest / tally.total,
                    feature if squares[feature] >= _ONE_FEATURE else -1,
                    narrow.whole,
                    _is_apart(narrow, means, weights, along(narrow.direction)),
                )
            )
    return spikes


def spurious_components(
    rule: Any, state: Any, spikes: list[Spike], rows: Rows, names: Sequence[str]
) -> list[SpuriousComponent]:
    """Return the spurious components of a rule's state, and why they are; a spike far from all others is none."""
    found = [SpuriousComponent(spike.component, spike.reason(names)) for spike in spikes if not spike.apart]
    few = rule.spurious(state, rows.summary.effective_rows)
    # An outlier or a code is as narrow, but it is not made so by chance.
    if few >= 0 and all(spike.component != few for spike in spikes):
        found.append(SpuriousComponent(few, "is narrow, and holds too few rows for a covariance"))
    return sorted(found)


def _candidates(
    family: Family,
    density: Density,
    weights: Array,
    covariances: Array,
    reg_covar: float,
    has_prior: bool,
    total: Array | None,
    added: float,
) -> list[_Narrow]:
    """Return the components that are narrow beside the covariance of all rows, or with None that of the mixture.

    None where second moments leave the range of float64.
    """
    shape = density.mean.shape
    if has_prior and not _may_be_narrow_of_prior(family, density, weights, covariances):
        return []
    precisions = family.matrices(family.precisions(family.precisions_cholesky(density.whitener)), *shape)
    if total is None:
        matrices = family.matrices(np.asarray(covariances, np.float64), *shape)
        centred = density.mean - weights @ density.mean
        total = np.einsum("k,kij->ij", weights, matrices) + (weights * centred.T) @ centred
    if not (np.isfinite(total).all() and np.isfinite(precisions).all()):
        return []
    added_variance = added * reg_covar
    held = np.flatnonzero(weights > 0.0).tolist()
    found = (_narrow(k, precisions[k], total, added_variance, has_prior) for k in held)
    return [narrow for narrow in found if narrow is not None]


def _may_be_narrow_of_prior(family: Family, density: Density, weights: Array, covariances: Array) -> bool:
    """Return whether any component may be narrow beside all rows' variances: exact where not, and cheap."""
    shape = density.mean.shape
    centred = density.mean - weights @ density.mean
    total = weights @ (family.variances(np.asarray(covariances, np.float64), *shape) + centred**2)
    if family.has_matrices:
        precisions = np.square(density.whitener).sum(axis=-2)
    else:
        precisions = np.square(density.whitener.reshape(shape[0], -1))
    # The trace of a precision matrix is no less than its largest eigenvalue.
    trace = (precisions * np.where(total > 0.0, total, 1.0)).sum(axis=-1)
    return not bool(trace.max() < _NARROW_OF_PRIOR / shape[1])


class _Narrow(NamedTuple):
    """A component that is narrow along a direction (D,): its variance there, and whether it is so in all directions."""

    component: int
    direction: Array
    variance: float
    whole: bool


def _narrow(k: int, precision: Array, total: Array, added: float, has_prior: bool) -> _Narrow | None:
    """Return the direction in which component k is narrowest beside the covariance `total` of all rows, if it is."""
    scale = np.ones(len(total))
    least = 1.0 / added if added > 0.0 else math.inf
    factor = _NARROW
    if has_prior:
        variances = np.diag(total)
        scale = np.sqrt(np.where(variances > 0.0, variances, 1.0))
        factor = _NARROW_OF_PRIOR
        least = factor / len(total)
    values, vectors = np.linalg.eigh(scale[:, None] * precision * scale)
    flat = values >= least
    if not flat.any():
        return None
    # Of several, or mixtures of them, the one in which the rows have most spread: there may be none in others.
    basis = vectors[:, flat] / scale[:, None]
    spread, mixtures = np.linalg.eigh(basis.T @ total @ basis)
    direction = basis @ mixtures[:, -1]
    variance = float((mixtures[:, -1] ** 2 / values[flat]).sum())
    if not spread[-1] >= factor * variance:
        return None
    return _Narrow(k, direction, variance, bool(flat.all()))


def _is_apart(narrow: _Narrow, means: Array, weights: Array, variances: Array) -> bool:
    """Return whether the others, most of which must have a spread, are far from a narrow component.

    `variances` (K,) are those in its direction.
    """
    wide = variances >= _NARROW * narrow.variance
    share = weights[wide].sum()
    if not share > 0.5:
        return False
    places = means[wide] @ narrow.direction
    middle = weights[wide] @ places / share
    variance = weights[wide] @ (variances[wide] + (places - middle) ** 2) / share
    gap = means[narrow.component] @ narrow.direction - middle
    return bool(gap * gap > _APART**2 * variance)


class _Counts(NamedTuple):
    """Weights of rows: of all, of those near a component, and of these by their places in units of one value."""

    total: float
    near: float
    places: dict[int, float]

    def heaviest(self) -> float:
        """Return the largest weight that one value has, which rounding may spread over two places."""
        return max((weight + self.places.get(place + 1, 0.0) for place, weight in self.places.items()), default=0.0)


class _Tally:
    """The task that counts the rows near narrow components, each by the values that they have in its direction."""

    def __init__(self, narrow: list[tuple[Array, _Narrow]]) -> None:
        self._narrow = narrow

    def __call__(self, rows: Rows) -> list[_Counts]:
        counts = [_Counts(0.0, 0.0, {}) for _ in self._narrow]
        for block in rows.given_blocks(scan_rows(rows.n_features)):
            X = np.asarray(block.X, np.float64)
            weight = np.ones(len(X)) if block.weight is None else block.weight
            parts = [self._count(X, weight, mean, narrow) for mean, narrow in self._narrow]
            counts = _add_tallies(counts, parts)
        return counts

    def _count(self, X: Array, weight: Array, mean: Array, narrow: _Narrow) -> _Counts:
        deviation = math.sqrt(narrow.variance)
        place = _gaps(X, mean, narrow.direction) @ narrow.direction
        near = np.abs(place) <= deviation
        unit = _SAME * deviation + _ROUNDING * float(np.abs(narrow.direction) @ np.abs(mean))
        values, inverse = np.unique(np.rint(place[near] / unit).astype(np.int64), return_inverse=True)
        held = np.bincount(inverse.reshape(-1), weight[near], len(values))
        # A group of real spread has as many values as rows: the heaviest will do.
        kept = np.argsort(-held, kind="stable")[:_PLACES] if len(held) > _PLACES else slice(None)
        return _Counts(
            float(weight.sum()),
            float(weight[near].sum()),
            dict(zip(values[kept].tolist(), held[kept].tolist(), strict=True)),
        )


def _gaps(X: Array, mean: Array, direction: Array) -> Array:
    """Return rows about a mean, NaN where they lack a feature: such a row sits on no value.

    Features that are hardly part of the direction count as 0 there.
    """
    gaps = X - mean
    missing = np.isnan(gaps)
    if missing.any():
        squares = direction**2
        gaps[missing & (squares <= (1.0 - _ONE_FEATURE) * squares.sum())] = 0.0
    return gaps


def _add_tallies(left: list[_Counts], right: list[_Counts]) -> list[_Counts]:
    return [
        _Counts(
            a.total + b.total,
            a.near + b.near,
            {place: a.places.get(place, 0.0) + b.places.get(place, 0.0) for place in a.places | b.places},
        )
        for a, b in zip(left, right, strict=True)
    ]
