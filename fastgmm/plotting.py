"""Pictures of a fitted mixture with its data: ellipses in two dimensions, densities in one (needs matplotlib)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgmm.methods import describe, method_of
from fastgmm.rows import Rows
from fastgmm.support.extras import require
from fastgmm.support.showing import shown
from fastgmm.validation import feature_labels

__all__ = ["check_image_path", "plot_criterion", "plot_mixture"]

# Okabe and Ito's colours, which the colour-blind can tell apart, without black; then the same with other markers.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#B8A800", "#666666")
MARKERS = "o^sDvP"
OTHERS_COLOUR = "#AAAAAA"
ELLIPSE_DEVIATIONS = (1.0, 2.0)
CURVE_POINTS = 600
LEGEND_ENTRIES = 20


def plot_mixture(
    model: Any,
    X: ArrayLike,
    ax: Any = None,
    *,
    sample_weight: ArrayLike | None = None,
    feature_names: Sequence[str] | None = None,
    max_points: int = 20_000,
) -> Any:
    """Draw the rows of `X` by the component of `model` that they belong to, with the components on top.

    One feature: a histogram with the weighted density of each component and their sum.  Two: a scatter plot with each
    component's ellipses at one and two standard deviations.  More: the same, projected on the first two principal
    axes of the data.

    Of a BayesianGaussianMixture only the effective components are drawn, as Gaussians of `weights_`, `means_` and
    `covariances_`; rows that belong to another one are grey, and the sum of densities is that of all.

    `X` has shape (n_samples, n_features); `sample_weight`, of shape (n_samples,), counts in the histogram, in the
    principal axes and in the BIC or evidence bound of the title.  `feature_names` defaults to the model's.  Of more
    than `max_points` rows a random part is drawn, always the same one.  Without `ax` a new figure is made, outside
    pyplot's state.

    Returns the matplotlib Axes; ``axes.figure.savefig`` stores the picture.  Raises ImportError without matplotlib,
    ValueError if `X` does not fit the model.
    """
    matplotlib = _matplotlib()
    if isinstance(X, str | os.PathLike | Rows):
        raise TypeError(
            f"X must be an array or a data frame, to draw its rows, got {shown(X)}: fastgmm.io.read_table(path).values "
            "are those of a file."
        )
    data = np.asarray(X, dtype=np.float64)
    weight = None if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    # The model sees X itself, whose columns may have names to check.
    labels = model.predict(X)
    method = method_of(model)
    effective = method.effective(model)
    title = describe(model)
    criterion = method.criteria(model).get(method.criterion)
    if criterion is not None:
        title += f", {method.criterion} {criterion(X, sample_weight=weight):.1f}"
    if feature_names is None:
        feature_names = getattr(model, "feature_names_in_", None)
    names = feature_labels(feature_names, data.shape[1])
    own_figure = ax is None
    if own_figure:
        ax = matplotlib.figure.Figure(figsize=(8.0, 5.2), dpi=150, layout="constrained").add_subplot()
    if data.shape[1] == 1:
        _draw_densities(ax, model, effective, data[:, 0], weight)
        axis_labels = (names[0], "density")
    else:
        plane = _Plane.of_features(names) if data.shape[1] == 2 else _Plane.of_principal_axes(data, weight)
        _draw_points(ax, plane.project(data), labels, effective, model.weights_, max_points)
        _draw_ellipses(matplotlib, ax, model, effective, plane)
        axis_labels = plane.labels
    # A name may hold dollar signs, which would begin a formula.
    ax.set_xlabel(axis_labels[0], parse_math=False)
    ax.set_ylabel(axis_labels[1], parse_math=False)
    ax.set_title(title, fontsize="medium")
    ax.spines[["top", "right"]].set_visible(False)
    _draw_legend(ax, outside=own_figure)
    return ax


class CriterionPoint(NamedTuple):
    """A candidate of a choice: its size and family, the value of its criterion, and what is to be said of it."""

    n_components: int
    covariance_type: str
    value: float
    is_sound: bool
    is_best: bool


def plot_criterion(selection: Any, ax: Any = None) -> Any:
    """Draw the criterion of a fitted ``GaussianMixtureIC`` over the number of components, a line for each family.

    The best candidate is named and has a ring around it; those with spurious components, which cannot win, are hollow,
    and those that could not be fitted are missing.  Without `ax` a new figure is made, outside pyplot's state.

    Returns the matplotlib Axes; ``axes.figure.savefig`` stores the picture.  Raises ImportError without matplotlib.
    """
    criterion = selection.criterion_name_
    points = [
        CriterionPoint(
            each.n_components,
            each.covariance_type,
            each.value(criterion),
            each.is_sound,
            place == selection.best_index_,
        )
        for place, each in enumerate(selection.candidates_)
    ]
    return plot_points(points, criterion, ax)


def plot_points(points: Sequence[CriterionPoint], criterion: str, ax: Any = None) -> Any:
    """Draw what ``plot_criterion`` draws, of points; those without a value are left out."""
    matplotlib = _matplotlib()
    if ax is None:
        ax = matplotlib.figure.Figure(figsize=(8.0, 5.2), dpi=150, layout="constrained").add_subplot()
    points = [point for point in points if np.isfinite(point.value)]
    families = list(dict.fromkeys(point.covariance_type for point in points))
    for number, family in enumerate(families):
        own = [point for point in points if point.covariance_type == family]
        colour = PALETTE[number % len(PALETTE)]
        marker = MARKERS[(number + number // len(PALETTE)) % len(MARKERS)]
        sizes, values = [point.n_components for point in own], [point.value for point in own]
        ax.plot(sizes, values, color=colour, linewidth=1.2, marker=marker, markersize=5.5, label=family)
        doubtful = [(point.n_components, point.value) for point in own if not point.is_sound]
        if doubtful:
            ax.plot(*zip(*doubtful, strict=True), linestyle="", marker=marker, markersize=5.5, mfc="white", mec=colour)
    for point in points:
        if point.is_best:
            ax.plot(point.n_components, point.value, marker="o", markersize=13, mfc="none", mec="black", zorder=4)
            ax.set_title(f"best: {point.n_components} components, {point.covariance_type}", fontsize="medium")
    ax.set_xticks(sorted({point.n_components for point in points}))
    ax.set_xlabel("number of components")
    ax.set_ylabel(criterion.upper() if len(criterion) == 3 else criterion)
    ax.spines[["top", "right"]].set_visible(False)
    if len(families) > 1:
        ax.legend(frameon=False, fontsize="small")
    return ax


def check_image_path(path: str | os.PathLike[str]) -> None:
    """Raise ValueError if no picture can be stored under this name, ImportError without matplotlib."""
    figure = _matplotlib().figure.Figure()
    kinds = sorted(figure.canvas.get_supported_filetypes())
    if Path(path).suffix[1:].lower() not in kinds:
        raise ValueError(f"cannot draw to {os.fspath(path)}: the name must end in one of .{', .'.join(kinds)}")


def _matplotlib() -> Any:
    return require("plot", "pictures need", "matplotlib.figure", "matplotlib.patches", "matplotlib.patheffects")


class _Plane(NamedTuple):
    """The plane that is drawn: its origin, two axes as columns of shape (n_features, 2), and their labels."""

    origin: NDArray[np.float64]
    axes: NDArray[np.float64]
    labels: tuple[str, str]

    @classmethod
    def of_features(cls, names: Sequence[str]) -> _Plane:
        return cls(np.zeros(2), np.eye(2), (names[0], names[1]))

    @classmethod
    def of_principal_axes(cls, data: NDArray[np.float64], weight: NDArray[np.float64] | None) -> _Plane:
        origin = np.average(data, axis=0, weights=weight)
        variances, axes = np.linalg.eigh(np.atleast_2d(np.cov(data, rowvar=False, aweights=weight)))
        largest = axes[:, [-1, -2]]
        # An eigenvector's sign is arbitrary: its largest entry is made positive, so that pictures can be compared.
        largest = largest * np.sign(largest[np.abs(largest).argmax(axis=0), [0, 1]])
        shares = variances[[-1, -2]] / max(variances.sum(), np.finfo(np.float64).tiny)
        first, second = (f"principal axis {i + 1} ({share:.0%} of the variance)" for i, share in enumerate(shares))
        return cls(origin, largest, (first, second))

    def project(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        return (points - self.origin) @ self.axes


def _draw_points(
    ax: Any,
    points: NDArray[np.float64],
    labels: NDArray[np.integer],
    effective: NDArray[np.intp],
    weights: NDArray[np.float64],
    max_points: int,
) -> None:
    n_samples = len(points)
    if n_samples > max_points:
        drawn = np.sort(np.random.default_rng(0).choice(n_samples, max_points, replace=False))
        points, labels = points[drawn], labels[drawn]
        ax.text(
            0.99,
            0.01,
            f"{max_points:,} of {n_samples:,} rows drawn",
            transform=ax.transAxes,
            ha="right",
            va="bottom",
            fontsize="small",
            color="#555555",
        )
    size = np.interp(np.log10(len(points)), [2, 3, 4], [26, 11, 3])
    opacity = np.interp(np.log10(len(points)), [2, 3, 4], [0.8, 0.55, 0.35])
    style = {"s": size, "alpha": opacity, "linewidths": 0}
    for index in effective:
        label = _legend_label(index, weights[index])
        ax.scatter(*points[labels == index].T, label=label, color=_colour(index), marker=_marker(index), **style)
    others = points[~np.isin(labels, effective)]
    if len(others) > 0:
        ax.scatter(*others.T, color=OTHERS_COLOUR, **style)


def _draw_ellipses(matplotlib: Any, ax: Any, model: Any, effective: NDArray[np.intp], plane: _Plane) -> None:
    centres = plane.project(model.means_)
    covariances = plane.axes.T @ _matrices(model) @ plane.axes
    for index in effective:
        variances, axes = np.linalg.eigh(covariances[index])
        lengths = np.sqrt(np.maximum(variances, 0.0))
        angle = np.degrees(np.arctan2(axes[1, 1], axes[0, 1]))
        for deviations in ELLIPSE_DEVIATIONS:
            width, height = 2 * deviations * lengths[::-1]
            for style in (
                {"color": _colour(index), "alpha": 0.14, "linewidth": 0, "zorder": 0.8},
                {"edgecolor": _darker(_colour(index)), "fill": False, "linewidth": 1.2},
            ):
                ax.add_patch(matplotlib.patches.Ellipse(centres[index], width, height, angle=angle, **style))
        ax.annotate(
            str(index), centres[index], ha="center", va="center", fontweight="bold", color=_darker(_colour(index)),
            path_effects=[matplotlib.patheffects.withStroke(linewidth=3, foreground="white")],
        )  # fmt: skip
    ax.autoscale_view()


def _draw_densities(
    ax: Any,
    model: Any,
    effective: NDArray[np.intp],
    values: NDArray[np.float64],
    weight: NDArray[np.float64] | None,
) -> None:
    # The rule of Freedman and Diaconis, kept from extremes: outliers make it choose few wide bins or very many.
    n_bins = int(np.clip(len(np.histogram_bin_edges(values, bins="fd")) - 1, min(30, 2 * len(values) ** 0.5), 120))
    ax.hist(values, bins=n_bins, weights=weight, density=True, color="#D0D0D0", edgecolor="white", linewidth=0.5)
    means = model.means_[:, 0]
    deviations = np.sqrt(_matrices(model)[:, 0, 0])
    low, high = values.min(), values.max()
    margin = 0.05 * (high - low)
    # A component may be narrower than the distance of evenly spaced points.
    near = (means[effective, np.newaxis] + deviations[effective, np.newaxis] * np.linspace(-4, 4, 81)).ravel()
    points = np.union1d(np.linspace(low - margin, high + margin, CURVE_POINTS), near)
    total = np.zeros_like(points)
    for index, (share, mean, deviation) in enumerate(zip(model.weights_, means, deviations, strict=True)):
        standardised = (points - mean) / deviation
        density = share * np.exp(-0.5 * standardised**2) / (deviation * np.sqrt(2 * np.pi))
        total += density
        if index in effective:
            ax.fill_between(points, density, color=_colour(index), alpha=0.2, linewidth=0)
            ax.plot(points, density, color=_colour(index), linewidth=1.6, label=_legend_label(index, share))
    ax.plot(points, total, color="black", linewidth=1.2, linestyle="--", label="mixture")


def _matrices(model: Any) -> NDArray[np.float64]:
    """Return the covariances of a fitted mixture as matrices, shape (n_components, n_features, n_features)."""
    family, shape = model._family(), model.means_.shape
    return family.matrices(family.of_attribute(model.covariances_, shape[0]), *shape)


def _draw_legend(ax: Any, outside: bool) -> None:
    handles, labels = ax.get_legend_handles_labels()
    if len(handles) > LEGEND_ENTRIES:
        labels[LEGEND_ENTRIES - 1] += f"\nand {len(handles) - LEGEND_ENTRIES} more"
    placement = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0)} if outside else {"loc": "best"}
    legend = ax.legend(
        handles[:LEGEND_ENTRIES], labels[:LEGEND_ENTRIES], title="component", frameon=not outside, fontsize="small",
        title_fontsize="small", **placement,
    )  # fmt: skip
    for handle in legend.legend_handles:
        if hasattr(handle, "set_sizes"):
            handle.set_sizes([30])
        handle.set_alpha(1.0)


def _legend_label(index: int, weight: float) -> str:
    return f"{index}: {weight:.1%}"


def _colour(index: int) -> str:
    return PALETTE[index % len(PALETTE)]


def _darker(colour: str) -> str:
    return "#" + "".join(f"{int(colour[i : i + 2], 16) * 2 // 3:02X}" for i in (1, 3, 5))


def _marker(index: int) -> str:
    return MARKERS[index // len(PALETTE) % len(MARKERS)]
