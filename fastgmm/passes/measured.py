"""Passes over rows with errors of measurement: what kernels are given, and what their sums mean.

Rows are x = v + e, with e of known covariance S, and densities are those of v. Kernels work in coordinates that whiten
a component, v' = A (v - mean); here sums come back from them by A's inverse. Where many rows have the same errors,
their statistics are those of exact rows under covariances V + S, made by the ordinary pass, and a little algebra.
"""

from __future__ import annotations

import functools
import math
import operator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgmm import kernels
from fastgmm.exceptions import OutOfRangeError
from fastgmm.families import FAMILIES, Family
from fastgmm.kernels import Density, DiagDensity, FullDensity, SphericalDensity, TiedDensity
from fastgmm.kernels.passes.denoise import SMALL_ERRORS, describe_measured
from fastgmm.kernels.passes.layout import TILE_STEP
from fastgmm.kernels.passes.measured import MatrixLaw, Measured, VarianceLaw, collect_measured
from fastgmm.passes.expectation import OVERFLOW, Expectation
from fastgmm.passes.measured_rows import MeasuredRows, packed, unpacked
from fastgmm.rows import ArrayRows, contiguous
from fastgmm.statistics import Array, SufficientStatistics

# Rows of equal errors that are worth a pass of their own: about so many take as long as what such a pass has to set up.
_MANY = 2048
# Work of one call, so that Ctrl-C is heard, and numbers that descriptions of rows hold at a time.
_BLOCK_WORK = 3e9
_BLOCK_FLOATS = 2**21
_NO_WEIGHTS = np.empty(0)


class Whitening(NamedTuple):
    """The components of a density in coordinates that whiten each: the kernels' `law`, and what inverts its whitener.

    `inverse` (K, D, D), lower triangular, or (K, D), standard deviations.
    """

    law: MatrixLaw | VarianceLaw
    inverse: Array


def _dense_whitener(density: Density) -> Array:
    """Return the whiteners of all components as matrices (K, D, D), or as inverse deviations (K, D)."""
    n_components, n_features = density.mean.shape
    if isinstance(density, FullDensity):
        return density.whitener
    if isinstance(density, TiedDensity):
        return np.repeat(density.whitener[None], n_components, axis=0)
    if isinstance(density, SphericalDensity):
        return np.repeat(density.whitener[:, None], n_features, axis=1)
    return density.whitener


def whitening(density: Density, has_variances: bool, origin: Array | None = None) -> Whitening:
    """Return the whitening of a density; `has_variances` where errors are variances, `origin` (K, D) as of a pass."""
    whitener = _dense_whitener(density)
    gap = np.zeros_like(density.mean) if origin is None else density.mean - origin
    if whitener.ndim == 2 and has_variances:
        shift = whitener * gap
        return Whitening(VarianceLaw(density.log_scale, density.mean, whitener.copy(), shift), 1.0 / whitener)
    if whitener.ndim == 2:
        whitener = unpacked(whitener, whitener.shape[1])
    inverse = np.empty_like(whitener)
    for factor, inverted in zip(whitener, inverse, strict=True):
        kernels.invert_lower(factor, inverted)
    unit = 1.0 / np.sqrt(np.square(inverse).sum(axis=2))
    factor = unit[:, :, None] * inverse
    law = MatrixLaw(
        density.log_scale + np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(axis=1),
        density.mean,
        unit,
        factor,
        packed(factor @ factor.transpose(0, 2, 1)),
        whitener / unit[:, None, :],
        np.einsum("kab,kb->ka", whitener, gap),
    )
    return Whitening(law, inverse)


def _in_shape(family: Family, scatter: Array) -> Array:
    """Return sums of outer products (K, D, D), or of squares (K, D), in the shape of the family's scatter."""
    if family.density_type is FullDensity:
        return family.mirror(scatter)
    if family.density_type is TiedDensity:
        return family.mirror(scatter.sum(axis=0))
    squares = scatter if scatter.ndim == 2 else np.diagonal(scatter, axis1=1, axis2=2)
    return squares.copy() if family.density_type is DiagDensity else squares.sum(axis=1)


@dataclass(eq=False)
class Group:
    """Rows of equal errors: the `error` of each, (E,), and the E-step over them as exact rows."""

    error: Array
    expectation: Expectation

    def collect(self, family: Family, density: Density, origin: Array | None) -> SufficientStatistics:
        """Return the statistics of v over the rows about `origin`, (K, D), default the density's means.

        With T = V + S and G = V T^-1, v has the mean m + G (x - m) and the covariance V - G V.
        """
        has_variances = len(self.error) == density.mean.shape[1]
        law, inverse = whitening(density, has_variances, origin)
        if isinstance(law, VarianceLaw):
            return self._of_variances(family, density, law, inverse, origin)
        return self._of_matrices(family, density, law, inverse, origin)

    def _of_matrices(
        self, family: Family, density: Density, law: MatrixLaw, inverse: Array, origin: Array | None
    ) -> SufficientStatistics:
        n_features = density.mean.shape[1]
        error = law.unit[:, :, None] * unpacked(self.error, n_features) * law.unit[:, None, :]
        total = unpacked(law.correlation, n_features) + error
        factor = _cholesky_above(total, law.factor)
        quotient = _divided(factor, law.factor)
        whitened = error @ law.whitener.transpose(0, 2, 1)
        size = np.einsum("kab,kba->k", law.whitener, whitened)
        # The covariance of v, whitened: as kernels have it where errors are small, and where they are not.
        left = np.eye(n_features) - quotient.transpose(0, 2, 1) @ quotient
        small = size < SMALL_ERRORS
        left[small] = (_divided(factor, whitened).transpose(0, 2, 1) @ quotient)[small]
        left = 0.5 * (left + left.transpose(0, 2, 1))
        whitener = np.tril(_divided(factor, law.unit[:, :, None] * np.eye(n_features)))
        gain = inverse @ quotient.transpose(0, 2, 1) @ whitener
        slope = law.whitener * law.unit[:, None, :]
        small = size < 0.5
        gain[small] = np.eye(n_features) - (inverse @ left @ slope)[small]
        turned = np.einsum("kba,kb->ka", slope, law.shift)
        about = density.mean - np.einsum("kab,kb->ka", total, turned / law.unit) / law.unit
        scale = law.log_scale - np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(axis=1)
        found = self.expectation(FullDensity(scale, density.mean, whitener), None if origin is None else about)
        scatter = gain @ found.scatter @ gain.transpose(0, 2, 1)
        scatter += found.mass[:, None, None] * (inverse @ left @ inverse.transpose(0, 2, 1))
        deviation = np.einsum("kab,kb->ka", gain, found.deviation)
        return replace(
            found,
            origin=density.mean if origin is None else origin,
            deviation=deviation,
            scatter=_in_shape(family, scatter),
        )

    def _of_variances(
        self, family: Family, density: Density, law: VarianceLaw, inverse: Array, origin: Array | None
    ) -> SufficientStatistics:
        values = (law.whitener * self.error) * law.whitener
        about = density.mean - inverse * (1.0 + values) * law.shift
        scale = density.log_scale - 0.5 * np.log1p(values).sum(axis=1)
        whitener = law.whitener / np.sqrt(1.0 + values)
        found = self.expectation(DiagDensity(scale, density.mean, whitener), None if origin is None else about)
        gain = 1.0 / (1.0 + values)
        scatter = gain * found.scatter * gain + found.mass[:, None] * (inverse * (values * gain) * inverse)
        return replace(
            found,
            origin=density.mean if origin is None else origin,
            deviation=gain * found.deviation,
            scatter=_in_shape(family, scatter),
        )


def _cholesky_above(matrices: Array, least: Array) -> Array:
    """Return the Cholesky factors of matrices (K, D, D), no pivot of which is below that of the factors `least`."""
    factor = np.zeros_like(matrices)
    for i in range(matrices.shape[1]):
        rest = matrices[:, i:, i] - np.einsum("kam,km->ka", factor[:, i:, :i], factor[:, i, :i])
        pivot = np.sqrt(np.maximum(rest[:, 0], least[:, i, i] ** 2))
        factor[:, i:, i] = rest / pivot[:, None]
        factor[:, i, i] = pivot
    return factor


def _divided(factor: Array, matrices: Array) -> Array:
    """Return L^-1 M of lower triangular factors L and matrices M, both (K, D, D)."""
    quotient = np.empty_like(matrices)
    for i in range(matrices.shape[1]):
        rest = matrices[:, i] - np.einsum("km,kmb->kb", factor[:, i, :i], quotient[:, :i])
        quotient[:, i] = rest / factor[:, i, i, None]
    return quotient


def split(family: Family, rows: MeasuredRows, n_threads: int | None) -> tuple[list[Group], Measured | None]:
    """Return the groups of many rows with equal errors, and the other rows; those of weight 0 are left out."""
    weight = rows.sample_weight
    places = np.arange(rows.n_rows) if weight is None else np.flatnonzero(weight > 0.0)
    one_for_all = len(rows.error) == 1
    members = [places] if one_for_all else _equal(rows.error, places)
    sums = FAMILIES["diag" if rows.has_variances and not family.has_matrices else "full"]
    groups = []
    for group in members:
        part = ArrayRows(contiguous(rows.X[group]), None if weight is None else weight[group])
        error = rows.error[0 if one_for_all else group[0]]
        groups.append(Group(error, Expectation(sums, part, n_threads, alone=False)))
    is_left = np.zeros(rows.n_rows, bool)
    is_left[places] = True
    for group in members:
        is_left[group] = False
    rest = np.flatnonzero(is_left)
    if len(rest) == 0:
        return groups, None
    own = _NO_WEIGHTS if weight is None else weight[rest]
    return groups, Measured(rows.X[rest].astype(np.float64), own, rows.error[rest])


def _equal(error: Array, places: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Return the places of each set of many rows whose errors are the same numbers, in order."""
    # Equal rows have equal sums, and others hardly ever: they are looked at.
    with np.errstate(over="ignore"):
        sums = (error * np.random.default_rng(0).uniform(1.0, 2.0, error.shape[1])).sum(axis=1)
    _, inverse, counts = np.unique(sums[places], return_inverse=True, return_counts=True)
    order = np.argsort(inverse.reshape(-1), kind="stable")
    found = (places[part] for part in np.split(order, np.cumsum(counts)[:-1]) if len(part) >= _MANY)
    return [part for part in found if (error[part] == error[part[0]]).all()]


def collect_all(
    family: Family,
    density: Density,
    rows: MeasuredRows,
    groups: list[Group],
    rest: Measured | None,
    origin: Array | None,
    n_threads: int | None,
) -> SufficientStatistics:
    """Return the statistics of v over all rows, which have been ``split``; ValueError, naming a row, if one is far."""
    with np.errstate(over="ignore", invalid="ignore"):
        parts = []
        try:
            parts += [group.collect(family, density, origin) for group in groups]
        except OutOfRangeError:
            # It names a row by its place in the group.
            _refuse_far(density, rows, n_threads)
            raise
        if rest is not None:
            parts.append(collect(family, density, rest, origin, n_threads))
        total = functools.reduce(operator.add, parts)
        if not (math.isfinite(total.log_evidence) and np.isfinite(total.scatter).all()):
            _refuse_far(density, rows, n_threads)
            raise OutOfRangeError(OVERFLOW)
    return total


def collect(
    family: Family, density: Density, rows: Measured, origin: Array | None, n_threads: int | None
) -> SufficientStatistics:
    """Return the statistics of v about `origin` (K, D), default the density's means, over rows with errors."""
    n_components, n_features = density.mean.shape
    law, inverse = whitening(density, rows.error.shape[1] == n_features, origin)
    n_moments = n_features if isinstance(law, VarianceLaw) else n_features * (n_features + 1) // 2
    n_rows = len(rows.X)
    n_lanes = kernels.lane_count(
        n_rows, n_components, n_features, TILE_STEP, n_components * (n_moments + n_features + 1)
    )
    mass, deviation = np.zeros((n_lanes, n_components)), np.zeros((n_lanes, n_components, n_features))
    scatter, log_evidence = np.zeros((n_lanes, n_components, n_moments)), np.zeros(n_lanes)
    for part in _blocks(n_rows, n_components, n_features):
        block = Measured(rows.X[part], rows.weight[part] if rows.weight.size else rows.weight, rows.error[part])
        collect_measured(n_lanes, n_threads, law, block, mass, deviation, scatter, log_evidence)
    total, moved, squares = mass.sum(axis=0), deviation.sum(axis=0), scatter.sum(axis=0)
    if isinstance(law, VarianceLaw):
        moved *= inverse
        second = inverse * (squares + total[:, None]) * inverse
    else:
        moved = np.einsum("kab,kb->ka", inverse, moved)
        whitened = unpacked(squares, n_features) + total[:, None, None] * np.eye(n_features)
        second = inverse @ whitened @ inverse.transpose(0, 2, 1)
    weight = float(rows.weight.sum()) if rows.weight.size else float(n_rows)
    about = density.mean if origin is None else origin
    return SufficientStatistics(about, total, moved, _in_shape(family, second), float(log_evidence.sum()), weight)


def _blocks(n_rows: int, n_components: int, n_features: int, n_floats: int = 1) -> list[slice]:
    """Return slices of rows that take no longer than about a second, and hold so many numbers each."""
    most = min(_BLOCK_WORK / (n_components * (n_features + 4.0) ** 3), _BLOCK_FLOATS / n_floats)
    size = max(int(most) // TILE_STEP, 1) * TILE_STEP
    return [slice(start, min(start + size, n_rows)) for start in range(0, n_rows, size)]


class Posteriors(NamedTuple):
    """The law of v for some rows under each component: log joint (n, K), mean (n, K, D), covariance (n, K, D, D)."""

    log_joint: Array
    mean: Array
    covariance: Array


def _described(density: Density, rows: MeasuredRows, n_threads: int | None, with_posteriors: bool) -> Any:
    """Yield the places of some rows, the whitening, and what the kernel says of them, until all are through."""
    n_components, n_features = density.mean.shape
    found = whitening(density, rows.has_variances)
    n_moments = n_features if found.inverse.ndim == 2 else n_features * (n_features + 1) // 2
    n_floats = n_components * ((n_features + 1) * (n_features + 1) if with_posteriors else 1)
    for part in _blocks(rows.n_rows, n_components, n_features, n_floats):
        n = part.stop - part.start
        shape = (n, n_components, n_features) if with_posteriors else (0, 0, 0)
        outputs = np.empty((n, n_components)), np.empty(shape), np.empty((*shape[:2], n_moments))
        error = rows.error if len(rows.error) == 1 else rows.error[part]
        X = np.ascontiguousarray(rows.X[part], np.float64)
        n_lanes = kernels.lane_count(n, n_components, n_features, TILE_STEP, 1)
        describe_measured(n_lanes, n_threads, n_lanes, found.law, Measured(X, _NO_WEIGHTS, error), *outputs)
        yield part, found, outputs


def posteriors(density: Density, rows: MeasuredRows, n_threads: int | None) -> Any:
    """Yield (slice of rows, Posteriors), some rows at a time."""
    n_features = density.mean.shape[1]
    for part, (_, inverse), (joint, mean, covariance) in _described(density, rows, n_threads, True):
        if inverse.ndim == 2:
            moved, spread = inverse * mean, unpacked(inverse * covariance * inverse, n_features)
        else:
            moved = np.einsum("kab,nkb->nka", inverse, mean)
            spread = inverse @ unpacked(covariance, n_features) @ inverse.transpose(0, 2, 1)
            # That of a column without error is 0, but for rounding.
            places = np.arange(n_features)
            spread[..., places, places] = np.maximum(spread[..., places, places], 0.0)
        yield part, Posteriors(joint, density.mean + moved, spread)


def shared_out(joint: Array) -> tuple[Array, Array]:
    """Return the log evidence (n,) and the responsibilities (n, K) of log joints; -inf and NaN where all are -inf."""
    peak = joint.max(axis=1)
    with np.errstate(invalid="ignore"):
        shares = np.exp(joint - peak[:, None])
    total = shares.sum(axis=1)
    evidence = np.where(np.isneginf(peak), -np.inf, peak + np.log(total))
    return evidence, shares / total[:, None]


class MeasuredScores:
    """Scores of rows with errors; parameters and attributes as of ``passes.scores.Scores``."""

    def __init__(
        self,
        density: Density,
        rows: MeasuredRows,
        n_threads: int | None = None,
        *,
        labels: bool = False,
        evidence: bool = False,
        responsibilities: bool = False,
        sums: bool = False,
    ) -> None:
        n_rows = rows.n_rows
        self.labels = np.empty(n_rows if labels else 0, np.int64)
        self.evidence = np.empty(n_rows if evidence else 0, rows.dtype)
        shape = (n_rows, len(density.mean)) if responsibilities else (0, 0)
        self.responsibilities = np.empty(shape, rows.dtype)
        self.sum_evidence = self.sum_peak = self.weight = 0.0
        for part, _, (joint, _, _) in _described(density, rows, n_threads, False):
            total, shares = shared_out(joint)
            if labels or responsibilities:
                require_near(total, part.start)
            if labels:
                self.labels[part] = joint.argmax(axis=1)
            if evidence:
                self.evidence[part] = total
            if responsibilities:
                self.responsibilities[part] = shares
            if sums:
                self._add(joint, total, None if rows.sample_weight is None else rows.sample_weight[part])

    def _add(self, joint: Array, evidence: Array, weight: Array | None) -> None:
        counted = slice(None) if weight is None else weight > 0.0
        w = np.ones(len(joint)) if weight is None else weight[counted]
        self.weight += float(w.sum())
        self.sum_evidence += float((w * evidence[counted]).sum())
        self.sum_peak += float((w * joint[counted].max(axis=1)).sum())


def require_near(evidence: Array, offset: int = 0) -> None:
    """Raise ValueError naming the first row whose log evidence is no number; rows count from `offset`."""
    if not np.isfinite(evidence).all():
        raise OutOfRangeError(
            f"row {offset + int(np.flatnonzero(~np.isfinite(evidence))[0])} of X lies so far from every component, or "
            "has so large an error, that its squared distance overflows float64: scale the data or remove the row"
        )


def _refuse_far(density: Density, rows: MeasuredRows, n_threads: int | None) -> None:
    """Raise ValueError naming the first row of weight that is too far for float64, if any."""
    evidence = MeasuredScores(density, rows, n_threads, evidence=True).evidence
    require_near(evidence if rows.sample_weight is None else np.where(rows.sample_weight > 0.0, evidence, 0.0))
