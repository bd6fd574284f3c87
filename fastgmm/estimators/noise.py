"""The share of a mixture that is uniform noise: how it is measured, read, drawn and taken away."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastgmm import validation
from fastgmm.estimators.labels import with_classes_of
from fastgmm.estimators.scoring import drawn_rows
from fastgmm.families import NAMED
from fastgmm.rows import Rows, scan_rows
from fastgmm.rules import Noise, parameters_of_whitener
from fastgmm.sources.source import source_of
from fastgmm.statistics import Array

if TYPE_CHECKING:
    from fastgmm.estimators.gaussian import GaussianMixture


# An extent beyond so many times the size of the numbers is none of their rounding.
_ROUNDING = 1e-12
# A larger share of noise is told of.
_MOST_NOISE = 0.9


class Extent:
    """The least and the greatest values of coordinates, (R,) each; ``+`` puts those of two sets of rows together."""

    def __init__(self, least: Array, greatest: Array) -> None:
        self.least, self.greatest = least, greatest

    def __add__(self, other: Extent) -> Extent:
        """Return those of both sets of rows."""
        return Extent(np.minimum(self.least, other.least), np.maximum(self.greatest, other.greatest))


@dataclass(eq=False)
class ExtentAlong:
    """The task that returns the `Extent` of rows of positive weight, about `middle` (D,), along `axes` (D, R).

    With None, along the columns, of what is observed in them.
    """

    middle: Array
    axes: Array | None

    def __call__(self, rows: Rows) -> Extent:
        """Return the extent of the rows."""
        n_axes = len(self.middle) if self.axes is None else self.axes.shape[1]
        extent = Extent(np.full(n_axes, np.inf), np.full(n_axes, -np.inf))
        for block in rows.given_blocks(scan_rows(rows.n_features)):
            X = block.X if block.weight is None else block.X[block.weight > 0.0]
            if len(X):
                gap = X.astype(np.float64) - self.middle
                along = gap if self.axes is None else gap @ self.axes
                # A number rather than NaN, which stands for what is missing.
                extent = extent + Extent(np.fmin.reduce(along), np.fmax.reduce(along))
        return extent


def told_of_much_noise(rule: Any, state: Any, reg_covar: float) -> str:
    """Return a warning where noise leaves next to nothing of the rows to the components of a state, else ""."""
    noise = getattr(rule, "noise", None)
    share = 0.0 if noise is None else math.exp(rule.density(state).log_scale[-1] + noise.log_volume)
    if share <= _MOST_NOISE:
        return ""
    return (
        f"{share:.0%} of the rows are taken for noise, and components explain few. Where the variances of X are not "
        f"far above reg_covar={reg_covar:g}, lower it or standardise the columns; else start otherwise, or give a "
        "larger volume as noise=..."
    )


def noise_of(rows: Rows, noise: bool | float, n_threads: int | None, may_miss: bool = False) -> Noise:
    """Return noise in the smaller of two boxes about all rows, those of the columns and of principal components.

    mclust's ``hypvol``. Where entries may be missing, in that of the columns: of a turned one, what is left of noise in
    some columns is not even. Where a volume is given, it says how dense noise is, and the box where it is drawn.
    ValueError where a column has one value.
    """
    smallest: Noise = rows.share(("noise", may_miss), lambda: _smallest_box(rows, n_threads, may_miss))
    return (
        smallest
        if isinstance(noise, bool | np.bool_)
        else replace(smallest, log_volume=math.log(noise), n_parameters=1)
    )


def spread_noise(rows: Rows, noise: Noise) -> None:
    """Tell rows with missing entries where noise is: what is missing of a row is integrated out of its density, too."""
    for part in rows.gapped:
        part.log_lengths = noise.log_lengths


def _smallest_box(rows: Rows, n_threads: int | None, may_miss: bool) -> Noise:
    n_features = rows.n_features
    box = _box(rows, np.zeros(n_features), None)
    if not np.isfinite(box.log_volume):
        names, j = rows.names, int(np.argmin(np.diagonal(box.box[1:])))
        column = f"column {j}" if names is None else f"column {names[j]!r}"
        raise ValueError(f"noise needs rows that fill a volume, but {column} has the same value in all: leave it out.")
    if may_miss:
        return box
    full = source_of(NAMED["full"], rows, n_threads)
    middle, covariance = full.total().mean[0], full.covariance()[0]
    # Turned axes are of rows in their own units, which may be of any size.
    largest = np.sqrt(np.diagonal(covariance).max())
    corner, *edges = box.box
    reach = np.maximum(np.abs(corner), np.abs(corner + np.diagonal(edges)))
    turned = _box(rows, middle, np.linalg.eigh(covariance / largest / largest)[1], reach)
    return min(box, turned, key=lambda each: each.log_volume if np.isfinite(each.log_volume) else math.inf)


def _box(rows: Rows, middle: Array, axes: Array | None, largest: Array | None = None) -> Noise:
    """Return noise in the box of rows about `middle` (D,) along `axes` (D, D), or with None along the columns.

    The logarithm of its volume is -inf where rows have no extent along an axis, or no more than the rounding of numbers
    up to `largest` (D,): where columns depend on each other, such a volume would mean nothing.
    """
    extent = rows.gather(ExtentAlong(middle, axes), operator.add)
    length = extent.greatest - extent.least
    directions = np.eye(len(length)) if axes is None else axes
    rounding = 0.0 if largest is None else _ROUNDING * (largest @ np.abs(directions))
    log_volume = float(np.log(length).sum()) if np.all(length > rounding) else -math.inf
    return Noise(log_volume, np.vstack([middle + directions @ extent.least, (directions * length).T]))


class KnowsNoise:
    """The part of the estimators that refuses to speak of a mixture as if none of it were noise."""

    noise_weight_: float
    noise_log_volume_: float
    noise_box_: NDArray

    def _has_noise(self) -> bool:
        """Return whether a share of the fitted mixture is noise."""
        return hasattr(self, "noise_log_volume_")

    def _require_no_noise(self, what: str = "This method") -> None:
        """ValueError, naming what was asked for, where a share of the mixture is noise."""
        if self._has_noise():
            raise ValueError(
                f"{what} is for mixtures without noise, and a share of {self.noise_weight_:.4g} of this one is noise: "
                "use model.without_noise(), which has the components alone."
            )


class WithNoise(KnowsNoise):
    """The part of ``GaussianMixture`` that has noise beside its components."""

    def without_noise(self) -> GaussianMixture:
        """Return the mixture of the components alone, their weights with a sum of 1, as a fitted `GaussianMixture`.

        Components keep their classes, and a fit of the result needs no labels (`class_components` is None).
        """
        model: Any = self
        weights = model._weights()
        family = model._family()
        state = parameters_of_whitener(
            family, weights / weights.sum(), np.asarray(model.means_, np.float64), model._whitener(family)
        )
        other = model._blank()
        other.noise = False
        return with_classes_of(model, other._of_state(family, state, model._names()))

    def _told_of_noise(self, rows: Rows) -> Rows:
        """Return rows that know where the fitted noise is; ValueError where that is not known of some columns alone."""
        if rows.gapped and self._has_noise():
            edges = np.asarray(self.noise_box_, np.float64)[1:]
            if np.count_nonzero(edges) > len(edges):
                raise ValueError(
                    "X has missing entries, but noise is in a box of principal components here, of which "
                    'some columns alone do not tell: fit with missing="marginal", or give complete rows.'
                )
            spread_noise(rows, self._fitted_noise())
        return rows

    def _fitted_noise(self) -> Noise:
        n_parameters = int(getattr(self, "_n_noise_parameters", 2))
        return Noise(float(self.noise_log_volume_), np.asarray(self.noise_box_, np.float64), n_parameters)

    def _log_joint_of_noise(self) -> float:
        model: Any = self
        return float(model._density().log_scale[-1]) if self._has_noise() else -math.inf

    def _draw(
        self, n_samples: int, random_state: Any, spread: Callable[[int, Array, Any], Array]
    ) -> tuple[NDArray, NDArray[np.int64]]:
        """Return rows and labels of a sample, those of noise at its end, as -1."""
        model: Any = super()
        if not self._has_noise():
            return model._draw(n_samples, random_state, spread)
        n_samples = validation.check_n_samples(n_samples)
        state: Any = self
        generator = validation.check_random_state(state.random_state if random_state is None else random_state)
        n_noise = int(generator.binomial(n_samples, self.noise_weight_))
        X, labels = drawn_rows(state._weights(), np.asarray(state.means_), n_samples - n_noise, generator, spread)
        corner, *edges = np.asarray(self.noise_box_, np.float64)
        noise = corner + generator.uniform(size=(n_noise, len(edges))) @ np.stack(edges)
        return np.vstack([X, noise]), np.append(labels, np.full(n_noise, -1))
