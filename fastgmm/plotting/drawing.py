"""Parts that pictures are made of: colours, planes, points, ellipses, curves, legends.

All that needs the arithmetic of mixtures is asked of the model; matplotlib is imported when a picture is drawn.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgmm.methods import describe, method_of
from fastgmm.rows import ArrayRows, Rows
from fastgmm.statistics import Array
from fastgmm.support.extras import require
from fastgmm.support.showing import decimals, shown
from fastgmm.validation import check_sample_weight, feature_labels, split_weight

# Okabe and Ito's colours, which the colour-blind can tell apart, without black; then the same with other markers.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#B8A800", "#666666")
MARKERS = "o^sDvP"
OTHERS_COLOUR = "#AAAAAA"
ELLIPSE_DEVIATIONS = (1.0, 2.0)
CURVE_POINTS = 600
# Components that a legend lists at most, and what it calls the sum of their densities.
LEGEND_ENTRIES = 20
MIXTURE = "mixture"
# Entries of a legend that hide what is drawn, where it lies in the axes.
CROWDED = 8
# Columns that the label of a principal axis names.
AXIS_COLUMNS = 2
# Characters of a name that are shown at least, of a longer one, and at most.
FEWEST_CHARACTERS, MOST_CHARACTERS = 5, 400
# Bins of a histogram at least, but of few rows, and at most.
FEWEST_BINS, MOST_BINS = 30, 120
# Standard deviations to both sides of a mean that curves reach.
REACH = 4.0


def matplotlib() -> Any:
    """Return the package, with what pictures use of it; MissingExtraError where it is not installed."""
    return require("plot", "pictures need", "matplotlib.figure", "matplotlib.patches", "matplotlib.patheffects")


def check_image_path(path: str | os.PathLike[str]) -> None:
    """Raise ValueError if no picture can be stored under this name, ImportError without matplotlib."""
    figure = matplotlib().figure.Figure()
    kinds = sorted(figure.canvas.get_supported_filetypes())
    if Path(path).suffix[1:].lower() not in kinds:
        raise ValueError(f"cannot draw to {os.fspath(path)}: the name must end in one of .{', .'.join(kinds)}")


def new_figure(width: float = 8.0, height: float = 5.2) -> Any:
    """Return an empty figure outside pyplot's state, of so many inches."""
    return matplotlib().figure.Figure(figsize=(width, height), dpi=150, layout="constrained")


class Subject:
    """A fitted mixture and rows to be drawn with it, both checked.

    Attributes
    ----------
    model : GaussianMixture or BayesianGaussianMixture
    rows : Rows
    data : (N, D) float64
    weight : (N,) float64, or None
    names : list of D str
    effective : (M,) the components that are drawn, in order
    weights : (K,), means : (K, D), covariances : (K, D, D), all float64
    """

    def __init__(self, model: Any, X: Any, sample_weight: Any, feature_names: Sequence[str] | None) -> None:
        matplotlib()
        if isinstance(X, str | os.PathLike | Rows):
            raise TypeError(
                f"X must be an array or a data frame, to draw its rows, got {shown(X)}: "
                "fastgmm.io.read_table(path).values are those of a file."
            )
        self.model = getattr(model, "best_estimator_", model)
        self.model._require_fitted()
        if isinstance(sample_weight, str):
            X, sample_weight = split_weight(X, sample_weight)
        # The model sees X itself, whose columns may have names to check.
        rows = self.model._rows(X)
        self.data = rows.take(None)[0]
        self.weight = check_sample_weight(sample_weight, len(self.data))
        # Rows that are elsewhere are drawn here.
        here = rows.X if isinstance(rows, ArrayRows) else self.data
        self.rows = ArrayRows(here, self.weight, rows.names)
        n_features = self.data.shape[1]
        if feature_names is not None and len(feature_names) != n_features:
            raise ValueError(f"feature_names must be {n_features} names, one for each column, got {len(feature_names)}")
        own = self.model._names() if feature_names is None else feature_names
        self.given_names = None if own is None else np.array(list(own), dtype=object)
        self.names = feature_labels(own, n_features)
        self.method = method_of(self.model)
        self.effective = self.method.effective(self.model)
        family, covariances = self.model._covariances()
        self.weights = np.asarray(self.model.weights_, np.float64)
        self.means = np.asarray(self.model.means_, np.float64)
        self.covariances = family.matrices(covariances, *self.means.shape)

    def uncertainty(self, points: Array) -> Array:
        """Return the model's uncertainty of points (n, D), which need no names."""
        return np.asarray(self.model.uncertainty(ArrayRows(points, None, self.model._names())), np.float64)

    @property
    def title(self) -> str:
        """The size and the shape of the mixture, and what fits of its kind are compared by."""
        text = describe(self.model)
        criterion = self.method.criteria(self.model).get(self.method.criterion)
        if criterion is not None:
            text += f", {self.method.criterion} {decimals(criterion(self.rows), 1)}"
        return text

    def chosen(self, max_points: int) -> NDArray[np.intp]:
        """Return the places of the rows that are drawn: all, or always the same random part."""
        n_samples = len(self.data)
        if n_samples <= max_points:
            return np.arange(n_samples)
        return np.sort(np.random.default_rng(0).choice(n_samples, max_points, replace=False))


class Label(NamedTuple):
    """The label of an axis: a pattern, as of ``str.format``, and the names of columns that stand in it."""

    pattern: str
    names: tuple[str, ...] = ()

    def text(self, longest: int) -> str:
        """Return the label, with names of more characters than `longest` cut in their middles."""
        return self.pattern.format(*(shortened(name, longest) for name in self.names))


def shortened(name: str, longest: int) -> str:
    """Return the ends of a name of more characters than `longest`."""
    if len(name) <= longest:
        return name
    tail = (longest - 1) // 2
    return f"{name[: longest - 1 - tail]}\N{HORIZONTAL ELLIPSIS}{name[len(name) - tail :]}"


class Plane(NamedTuple):
    """The plane that is drawn: its origin, two axes as columns of shape (n_features, 2), and their labels."""

    origin: Array
    axes: Array
    labels: tuple[Label, Label]

    @classmethod
    def of_columns(cls, names: Sequence[str], first: int, second: int) -> Plane:
        """Return the plane of two columns."""
        n_features = len(names)
        labels = label_of(names[first]), label_of(names[second])
        return cls(np.zeros(n_features), np.eye(n_features)[:, [first, second]], labels)

    @classmethod
    def of_principal_axes(cls, data: Array, weight: Array | None, names: Sequence[str], standardize: bool) -> Plane:
        """Return the plane in which rows vary most, with columns in units of their standard deviations or as given."""
        origin = np.average(data, axis=0, weights=weight)
        gaps = data - origin
        # Squares of deviations may leave the range of float64, those of their ratios to the largest do not.
        largest = np.abs(gaps).max(axis=0)
        if not standardize:
            largest = np.full_like(largest, largest.max())
        unit = np.where(largest > 0.0, largest, 1.0)
        gaps = gaps / unit
        if standardize:
            deviations = np.sqrt(np.average(gaps**2, axis=0, weights=weight))
            spread = np.where(deviations > 0.0, deviations, 1.0)
            gaps, unit = gaps / spread, unit * spread
        share = np.full(len(data), 1.0 / len(data)) if weight is None else weight / weight.sum()
        variances, axes = np.linalg.eigh((gaps.T * share) @ gaps)
        plane = axes[:, [-1, -2]]
        # An eigenvector's sign is arbitrary: its largest entry is made positive, so that pictures can be compared.
        plane = plane * np.sign(plane[np.abs(plane).argmax(axis=0), [0, 1]])
        shares = variances[[-1, -2]] / max(variances.sum(), np.finfo(np.float64).tiny)
        first, second = (
            _terms(f"principal axis {i + 1} ({share:.0%} of the variance):\n", plane[:, i], names)
            for i, share in enumerate(shares)
        )
        return cls(origin, plane / unit[:, None] if standardize else plane, (first, second))

    def project(self, points: Array) -> Array:
        """Return the places of points (n, n_features) in the plane, (n, 2)."""
        return (points - self.origin) @ self.axes


def label_of(name: str) -> Label:
    """Return the label that is a name alone."""
    return Label("{}", (name,))


def _terms(title: str, axis: Array, names: Sequence[str]) -> Label:
    """Return the label of an axis as a sum of columns, the largest first, below a title."""
    order = np.argsort(-np.abs(axis), kind="stable")[:AXIS_COLUMNS]
    parts = " ".join(f"{'-' if axis[j] < 0 else '+'} {abs(axis[j]):.2f} {{}}" for j in order)
    more = " + ..." if len(axis) > AXIS_COLUMNS else ""
    return Label(title + parts.removeprefix("+ ") + more, tuple(names[j] for j in order))


def name_axes(ax: Any, labels: Sequence[Label], room: tuple[float, float] | None = None) -> None:
    """Write the labels of both axes, with names cut to `room`, in pixels: by default as long as the axes are."""
    fontsize = "small" if any("\n" in label.pattern for label in labels) else "medium"
    # A name may hold dollar signs, which would begin a formula.
    ax.set_xlabel("", parse_math=False, fontsize=fontsize)
    ax.set_ylabel("", parse_math=False, fontsize=fontsize)
    width, height = ax.get_window_extent().size if room is None else room
    _write(ax.xaxis.label, labels[0], lambda box: float(box.width), width)
    _write(ax.yaxis.label, labels[1], lambda box: float(box.height), height)
    ax.spines[["top", "right"]].set_visible(False)


def _write(artist: Any, label: Label, length: Callable[[Any], float], room: float) -> None:
    """Write a label, with names cut where it is longer than there is room, or than its text without names."""

    def write(text: str) -> float:
        artist.set_text(text)
        return length(artist.get_window_extent()) if text else 0.0

    room = max(room, write(label.pattern.replace("{}", "")))
    longest = min(max(map(len, label.names), default=0), MOST_CHARACTERS)
    while (found := write(label.text(longest))) > room and longest > FEWEST_CHARACTERS:
        longest = max(min(longest - 1, int(longest * room / found)), FEWEST_CHARACTERS)


def say_how_many(ax: Any, n_drawn: int, n_samples: int) -> None:
    """Say in a corner that not all rows are drawn, where that is so."""
    if n_drawn < n_samples:
        ax.text(
            0.99, 0.01, f"{n_drawn:,} of {n_samples:,} rows drawn", transform=ax.transAxes, ha="right", va="bottom",
            fontsize="small", color="#555555",
        )  # fmt: skip


def point_style(n_points: int, scale: float = 1.0) -> dict[str, Any]:
    """Return the area and the opacity of so many points; `scale` multiplies the area."""
    number = np.log10(max(n_points, 1))
    return {
        "s": scale * float(np.interp(number, [2, 3, 4], [26, 11, 3])),
        "alpha": float(np.interp(number, [2, 3, 4], [0.8, 0.55, 0.35])),
        "linewidths": 0,
    }


def draw_points(
    ax: Any, points: Array, labels: NDArray[np.integer], subject: Subject, style: dict[str, Any] | None = None
) -> None:
    """Draw points (n, 2) in the colours of their components; noise, and those of components not drawn, in grey."""
    style = point_style(len(points)) if style is None else style
    for index in subject.effective:
        label = legend_label(index, subject.weights[index])
        ax.scatter(*points[labels == index].T, label=label, color=colour(index), marker=marker(index), **style)
    others = points[~np.isin(labels, subject.effective)]
    if len(others) > 0:
        noise = {"label": f"noise: {subject.model.noise_weight_:.1%}"} if (labels < 0).any() else {}
        ax.scatter(*others.T, color=OTHERS_COLOUR, **noise, **style)


def draw_ellipses(ax: Any, subject: Subject, plane: Plane, fontsize: str = "medium", filled: bool = True) -> None:
    """Draw the components' ellipses at one and two standard deviations in a plane, and their numbers."""
    package = matplotlib()
    centres = plane.project(subject.means)
    covariances = plane.axes.T @ subject.covariances @ plane.axes
    for index in subject.effective:
        variances, axes = np.linalg.eigh(covariances[index])
        lengths = np.sqrt(np.maximum(variances, 0.0))
        angle = np.degrees(np.arctan2(axes[1, 1], axes[0, 1]))
        styles: list[dict[str, Any]] = [{"edgecolor": darker(colour(index)), "fill": False, "linewidth": 1.2}]
        if filled:
            styles.insert(0, {"color": colour(index), "alpha": 0.14, "linewidth": 0, "zorder": 0.8})
        for deviations in ELLIPSE_DEVIATIONS:
            width, height = 2 * deviations * lengths[::-1]
            for style in styles:
                ax.add_patch(package.patches.Ellipse(centres[index], width, height, angle=angle, **style))
        ax.annotate(
            str(index), centres[index], ha="center", va="center", fontweight="bold", color=darker(colour(index)),
            fontsize=fontsize, path_effects=[package.patheffects.withStroke(linewidth=3, foreground="white")],
        )  # fmt: skip
    ax.autoscale_view()


def bin_count(values: Array, fewest: int = FEWEST_BINS) -> int:
    """Return the number of bins by the rule of Freedman and Diaconis, kept from extremes.

    Outliers make it choose few wide bins or very many.
    """
    low, high = np.percentile(values, [25, 75])
    width = 2.0 * (high - low) / len(values) ** (1 / 3)
    wanted = np.ceil((values.max() - values.min()) / width) if width > 0.0 else 1.0
    return int(np.clip(wanted, min(fewest, 2 * len(values) ** 0.5), MOST_BINS))


def grid_of(values: Array, means: Array, deviations: Array, reach: float = REACH) -> Array:
    """Return increasing numbers over the range of values, more of them near components, (n,)."""
    low, high = values.min(), values.max()
    margin = 0.05 * (high - low)
    # A component may be narrower than the distance of evenly spaced points.
    near = (means[:, None] + deviations[:, None] * np.linspace(-reach, reach, 81)).ravel()
    return np.union1d(np.linspace(low - margin, high + margin, CURVE_POINTS), near)


def draw_densities(
    ax: Any, subject: Subject, column: int = 0, fewest_bins: int = FEWEST_BINS, reach: float = REACH
) -> None:
    """Draw the histogram of a column, the weighted density of each component, and the sum of all as "mixture"."""
    values = subject.data[:, column]
    ax.hist(
        values, bins=bin_count(values, fewest_bins), weights=subject.weight, density=True, color="#D0D0D0",
        edgecolor="white", linewidth=0.5,
    )  # fmt: skip
    means, deviations = subject.means[:, column], np.sqrt(subject.covariances[:, column, column])
    points = grid_of(values, means[subject.effective], deviations[subject.effective], reach)
    total = np.zeros_like(points)
    for index, (share, mean, deviation) in enumerate(zip(subject.weights, means, deviations, strict=True)):
        standardised = (points - mean) / deviation
        density = share * np.exp(-0.5 * standardised**2) / (deviation * np.sqrt(2 * np.pi))
        total += density
        if index in subject.effective:
            ax.fill_between(points, density, color=colour(index), alpha=0.2, linewidth=0)
            ax.plot(points, density, color=colour(index), linewidth=1.6, label=legend_label(index, share))
    ax.plot(points, total, color="black", linewidth=1.2, linestyle="--", label=MIXTURE)


def draw_legend(ax: Any, outside: bool, extra: Sequence[tuple[Any, str]] = ()) -> None:
    """Draw the legend of what has a label in `ax`, as ``place_legend`` does; `extra` as of ``put_legend``."""
    handles, labels, others = legend_parts(ax)
    extra = [*others, *extra]
    is_long = len(handles) + len(extra) > CROWDED
    place_legend(ax, lambda **placement: put_legend(ax, handles, labels, extra, **placement), outside or is_long)


def place_legend(ax: Any, put: Callable[..., Any], outside: bool) -> None:
    """Put a legend, as `put` makes it, into axes or to their right: in two columns where one is taller than they are.

    Axes that no layout engine makes room in are narrowed, for the legend to lie where they were.
    """
    if not outside:
        put(loc="best")
        return
    place = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0), "frameon": False}
    legend = put(**place)
    if legend.get_window_extent().height > ax.get_window_extent().height:
        legend = put(ncols=2, **place)
    if ax.figure.get_layout_engine() is None:
        _narrow(ax, legend.get_window_extent().width / ax.get_window_extent().width + 0.05)


def _narrow(ax: Any, share: float) -> None:
    """Take a share of their width from axes, at the right, two thirds at most."""
    share = min(share, 2 / 3)
    cell = ax.get_subplotspec()
    if cell is None:
        box = ax.get_position()
        ax.set_position([box.x0, box.y0, (1 - share) * box.width, box.height])
    else:
        # A cell in their own, so that a later tight_layout() keeps the shares.
        ax.set_subplotspec(cell.subgridspec(1, 2, width_ratios=[1 - share, share], wspace=0)[0])


def legend_parts(ax: Any) -> tuple[list[Any], list[str], list[tuple[Any, str]]]:
    """Return the handles and labels of components that `ax` has, and those of others as pairs."""
    pairs = list(zip(*ax.get_legend_handles_labels(), strict=True))
    components = [pair for pair in pairs if pair[1] != MIXTURE]
    others = [pair for pair in pairs if pair[1] == MIXTURE]
    return [handle for handle, _ in components], [label for _, label in components], others


def put_legend(
    owner: Any, handles: list[Any], labels: list[str], extra: Sequence[tuple[Any, str]] = (), **placement: Any
) -> Any:
    """Put a legend of components into axes or a figure, and return it: the first, then `extra` handles as they are."""
    others = len(handles) - LEGEND_ENTRIES
    handles, labels = handles[:LEGEND_ENTRIES], labels[:LEGEND_ENTRIES]
    if others > 0:
        labels[-1] += f"\nand {others} more"
    n_components = len(handles)
    handles, labels = [*handles, *(handle for handle, _ in extra)], [*labels, *(label for _, label in extra)]
    legend = owner.legend(handles, labels, title="component", fontsize="small", title_fontsize="small", **placement)
    for handle in legend.legend_handles[:n_components]:
        if hasattr(handle, "set_sizes"):
            handle.set_sizes([30])
        handle.set_alpha(1.0)
    return legend


def component_handle(index: int) -> Any:
    """Return a line with the marker of a component, for a legend."""
    return matplotlib().lines.Line2D([], [], color=colour(index), marker=marker(index), markersize=5, linewidth=1.6)


def legend_label(index: int, weight: float) -> str:
    """Return the number and the weight of a component."""
    return f"{index}: {weight:.1%}"


def colour(index: int) -> str:
    """Return the colour of a component."""
    return PALETTE[index % len(PALETTE)]


def darker(colour: str) -> str:
    """Return a darker shade of a colour."""
    return "#" + "".join(f"{int(colour[i : i + 2], 16) * 2 // 3:02X}" for i in (1, 3, 5))


def marker(index: int) -> str:
    """Return the marker of a component, another one where colours are used again."""
    return MARKERS[index // len(PALETTE) % len(MARKERS)]
