"""A picture of every two columns of a fitted mixture's rows, and of each column alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastgmm import validation
from fastgmm.plotting.drawing import (
    Label,
    Plane,
    Subject,
    component_handle,
    draw_densities,
    draw_ellipses,
    draw_points,
    label_of,
    legend_parts,
    matplotlib,
    name_axes,
    new_figure,
    point_style,
    put_legend,
)

#: The most columns of one picture: of more, panels are too small to be read.
MOST_COLUMNS = 8
# Inches of a panel, and of a whole picture at least and at most.
PANEL, NARROWEST, WIDEST = 2.4, 6.0, 15.0
# Of histograms in panels, at least; and standard deviations to both sides that curves reach.
BINS, REACH = 10, 3.0
# Inches between a legend and what is around it.
GAP = 0.1
# Inches beside all panels that labels, ticks and the title take.
MARGIN = 1.1


def plot_pairs(
    model: Any,
    X: ArrayLike,
    columns: int | str | Iterable[int | str] | None = None,
    *,
    figure: Any = None,
    sample_weight: ArrayLike | None = None,
    feature_names: Sequence[str] | None = None,
    max_points: int = 5_000,
) -> Any:
    """Draw the rows of `X` by component in the plane of every two columns, and each column alone on the diagonal.

    Off the diagonal, below it: rows with each component's ellipses at one and two standard deviations.  On it: a
    histogram with the weighted density of each component and their sum.  All are of the mixture's exact marginals
    (``model.marginal``), while a row's component is that of the whole row.

    `columns` are numbers from 0 or names, in the order that they are drawn in; at most 8, and all by default.  `figure`
    is a matplotlib figure or subfigure to draw in, such as ``plt.figure()``; without it a new one is made, outside
    pyplot's state.  The others are as of ``plot_mixture``: weights count in histograms and in the title.

    Returns the matplotlib Figure; ``figure.savefig`` stores the picture, ``figure.axes`` has the panels, row by row.
    Raises ImportError without matplotlib, ValueError if `X` does not fit the model, or for too many columns.
    """
    subject = Subject(model, X, sample_weight, feature_names)
    places = _places(subject, columns)
    n_panels = len(places)
    if figure is None:
        size = min(max(PANEL * n_panels, NARROWEST), WIDEST)
        figure = new_figure(size, size)
    labels = np.asarray(subject.model.predict(subject.rows))
    drawn = subject.chosen(max_points)
    grid = figure.add_gridspec(n_panels, n_panels)
    style = point_style(len(drawn), scale=0.5)
    fontsize = "small" if n_panels > 2 else "medium"
    first_of_column: list[Any] = []
    outer: list[tuple[Any, tuple[Label, Label], bool, bool]] = []
    for row, below in enumerate(places):
        first = None
        for column in range(row):
            ax = figure.add_subplot(grid[row, column], sharex=first_of_column[column], sharey=first)
            first = ax if first is None else first
            plane = Plane.of_columns(subject.names, places[column], below)
            draw_points(ax, plane.project(subject.data[drawn]), labels[drawn], subject, style)
            draw_ellipses(ax, subject, plane, fontsize)
            outer.append((ax, plane.labels, row == n_panels - 1, column == 0))
        ax = figure.add_subplot(grid[row, row])
        first_of_column.append(ax)
        draw_densities(ax, subject, below, BINS, REACH)
        ax.set_yticks([])
        own = label_of(subject.names[below]), Label("density")
        outer.append((ax, own, row == n_panels - 1, row == 0))
    title = figure.suptitle(subject.title, fontsize="medium", wrap=True)
    handles, names, extra = legend_parts(first_of_column[0])
    if n_panels > 1:
        # Colours are used again, and panels of rows tell components apart by markers.
        handles = [component_handle(index) for index in subject.effective]
    if len(drawn) < len(labels):
        nothing = matplotlib().lines.Line2D([], [], linestyle="")
        extra.append((nothing, f"{len(drawn):,} of {len(labels):,} rows drawn"))
    taken = _put_legend(figure, title, n_panels, (handles, names, extra))
    room = _room(figure, n_panels, taken)
    for panel in outer:
        _label_outside(*panel, room)
    return figure


def _put_legend(figure: Any, title: Any, n_panels: int, parts: tuple[Any, ...]) -> float:
    """Put the legend above the diagonal and below the title, or, without room there, to the right of all panels.

    Returns the width that it takes from panels, in pixels.
    """
    size = figure.bbox
    gap = GAP * figure.dpi
    top = 1.0 - (title.get_window_extent().height + 2 * gap) / size.height
    legend = put_legend(figure, *parts, loc="upper right", bbox_to_anchor=(1.0, top), frameon=False)
    box = legend.get_window_extent()
    # Above the panel on the diagonal of as many columns from the right as the legend is wide.
    columns = np.ceil((box.width + gap) / (size.width / n_panels))
    free = top * size.height * (1 - columns / n_panels) - gap
    if n_panels >= 3 and box.height <= free:
        return 0.0
    legend.remove()
    put_legend(figure, *parts, loc="outside center right", frameon=False)
    if figure.get_layout_engine() is None:
        # Half of the picture at least is left to panels.
        sides = figure.subplotpars
        right = 1.0 - (box.width + gap) / size.width
        figure.subplots_adjust(right=max(right, (sides.left + sides.right) / 2))
    return float(box.width + gap)


def _room(figure: Any, n_panels: int, taken: float) -> tuple[float, float] | None:
    """Return the width and height of a panel to come, in pixels, or None where panels have theirs already."""
    if figure.get_layout_engine() is None:
        return None
    margin = MARGIN * figure.dpi
    return (figure.bbox.width - taken - margin) / n_panels, (figure.bbox.height - margin) / n_panels


def _places(subject: Subject, columns: Any) -> list[int]:
    """Return the numbers of the columns to be drawn; ValueError where they are too many."""
    n_features = subject.data.shape[1]
    if columns is None:
        places = list(range(n_features))
        wanted = f"X has {n_features}"
    else:
        places = validation.check_columns(columns, subject.given_names, n_features).tolist()
        wanted = f"got {len(places)}"
    if len(places) > MOST_COLUMNS:
        raise ValueError(
            f"columns must be at most {MOST_COLUMNS} columns to draw pairs of, {wanted}: choose some, by number or "
            f"name, as in columns={[subject.names[0], subject.names[1]] if subject.given_names is not None else [0, 1]}"
        )
    return places


def _label_outside(
    ax: Any, labels: tuple[Label, Label], is_last: bool, is_first: bool, room: tuple[float, float] | None
) -> None:
    """Write labels and ticks of a panel where it is at the edge of the picture."""
    name_axes(ax, (labels[0] if is_last else Label(""), labels[1] if is_first else Label("")), room)
    ax.tick_params(labelbottom=is_last, labelleft=is_first, labelsize="small")
    ax.locator_params(axis="x", nbins=4)
    if ax.get_yticks().size:
        ax.locator_params(axis="y", nbins=4)
