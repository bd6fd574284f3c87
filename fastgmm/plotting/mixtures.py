"""One picture of a fitted mixture with its rows: by component, or by how sure it is of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgmm.methods import describe
from fastgmm.plotting.drawing import (
    OTHERS_COLOUR,
    Label,
    Plane,
    Subject,
    colour,
    draw_densities,
    draw_ellipses,
    draw_legend,
    draw_points,
    grid_of,
    label_of,
    legend_label,
    marker,
    matplotlib,
    name_axes,
    new_figure,
    point_style,
    say_how_many,
)
from fastgmm.statistics import Array

# Areas of the points of rows that are certain and that are not at all, of few rows, and opacities.
UNCERTAIN_AREAS = (13.0, 170.0)
UNCERTAIN_OPACITIES = (0.4, 0.95)
# Uncertainties that the legend shows points of, where rows reach them.
UNCERTAIN_STEPS = (0.0, 0.25, 0.5, 0.75)


def plot_mixture(
    model: Any,
    X: ArrayLike,
    ax: Any = None,
    *,
    sample_weight: ArrayLike | None = None,
    feature_names: Sequence[str] | None = None,
    max_points: int = 20_000,
    standardize: bool = True,
) -> Any:
    """Draw the rows of `X` by the component of `model` that they belong to, with the components on top.

    One feature: a histogram with the weighted density of each component and their sum.  Two: a scatter plot with each
    component's ellipses at one and two standard deviations.  More: the same, projected on the first two principal
    axes of the data, the columns in units of their standard deviations, so that no column's unit decides; with
    ``standardize=False`` the columns are taken as they are.  Labels say what the axes are made of, largest first.

    Of a BayesianGaussianMixture only the effective components are drawn, as Gaussians of `weights_`, `means_` and
    `covariances_`; rows that belong to another one are grey, and the sum of densities is that of all.

    `X` has shape (n_samples, n_features); `sample_weight`, of shape (n_samples,), counts in the histogram, in the
    principal axes and in the BIC or evidence bound of the title.  `feature_names` defaults to the model's.  Of more
    than `max_points` rows a random part is drawn, always the same one.  Without `ax` a new figure is made, outside
    pyplot's state; a legend of more than eight entries lies beside the caller's, too, which become narrower where the
    figure has no layout engine (``layout="constrained"``) that makes room for it.

    Returns the matplotlib Axes; ``axes.figure.savefig`` stores the picture.  Raises ImportError without matplotlib,
    ValueError if `X` does not fit the model.
    """
    subject = Subject(model, X, sample_weight, feature_names)
    labels = np.asarray(subject.model.predict(subject.rows))
    own_figure = ax is None
    if own_figure:
        ax = new_figure().add_subplot()
    if subject.data.shape[1] == 1:
        draw_densities(ax, subject)
        axis_labels = (label_of(subject.names[0]), Label("density"))
    else:
        plane = _plane(subject, standardize)
        drawn = subject.chosen(max_points)
        draw_points(ax, plane.project(subject.data[drawn]), labels[drawn], subject)
        draw_ellipses(ax, subject, plane)
        say_how_many(ax, len(drawn), len(labels))
        axis_labels = plane.labels
    ax.set_title(subject.title, fontsize="medium")
    draw_legend(ax, outside=own_figure)
    # The legend may narrow the axes.
    name_axes(ax, axis_labels)
    return ax


def plot_uncertainty(
    model: Any,
    X: ArrayLike,
    ax: Any = None,
    *,
    sample_weight: ArrayLike | None = None,
    feature_names: Sequence[str] | None = None,
    max_points: int = 20_000,
    standardize: bool = True,
) -> Any:
    """Draw the rows of `X` by component, larger and darker the less certain it is that they belong to it.

    The uncertainty of a row is 1 less the probability of its most probable component (``model.uncertainty(X)``): 0
    deep inside a component, up to 1 - 1/K between all.  One feature: the uncertainty over the values, with the curve
    that it follows.  Two, or more: the plane of ``plot_mixture``, with each component's ellipse at one and two standard
    deviations.

    Arguments as of ``plot_mixture``; weights count in the mean uncertainty of the title and in the principal axes.

    Returns the matplotlib Axes; ``axes.figure.savefig`` stores the picture.  Raises ImportError without matplotlib,
    ValueError if `X` does not fit the model.
    """
    subject = Subject(model, X, sample_weight, feature_names)
    labels = np.asarray(subject.model.predict(subject.rows))
    uncertainty = np.asarray(subject.model.uncertainty(subject.rows), np.float64)
    own_figure = ax is None
    if own_figure:
        ax = new_figure().add_subplot()
    drawn = subject.chosen(max_points)
    if subject.data.shape[1] == 1:
        points = np.column_stack([subject.data[drawn, 0], uncertainty[drawn]])
        _draw_curve(ax, subject)
        axis_labels = (label_of(subject.names[0]), Label("uncertainty"))
    else:
        plane = _plane(subject, standardize)
        points = plane.project(subject.data[drawn])
        draw_ellipses(ax, subject, plane, filled=False)
        axis_labels = plane.labels
    _draw_uncertain(ax, points, labels[drawn], uncertainty[drawn], subject)
    say_how_many(ax, len(drawn), len(labels))
    mean = float(np.average(uncertainty, weights=subject.weight))
    ax.set_title(f"{describe(subject.model)}, mean uncertainty {mean:.3g}", fontsize="medium")
    draw_legend(ax, outside=own_figure, extra=_sizes(ax, float(uncertainty.max()), len(drawn)))
    name_axes(ax, axis_labels)
    return ax


def _plane(subject: Subject, standardize: bool) -> Plane:
    if subject.data.shape[1] == 2:
        return Plane.of_columns(subject.names, 0, 1)
    return Plane.of_principal_axes(subject.data, subject.weight, subject.names, standardize)


def _draw_curve(ax: Any, subject: Subject) -> None:
    """Draw the uncertainty of any value of one column."""
    deviations = np.sqrt(subject.covariances[:, 0, 0])
    values = subject.data[:, 0]
    points = grid_of(values, subject.means[subject.effective, 0], deviations[subject.effective])
    reach = 0.05 * np.ptp(values)
    points = points[(points >= values.min() - reach) & (points <= values.max() + reach)]
    ax.plot(points, subject.uncertainty(points[:, None]), color="#999999", linewidth=1.0, zorder=0.9)


def _area_of(uncertainty: Array, n_points: int) -> Array:
    """Return the areas of points, smaller where there are many."""
    scale = (point_style(n_points)["s"] / point_style(1)["s"]) ** 0.5
    low, high = UNCERTAIN_AREAS
    return np.asarray(scale * (low + (high - low) * uncertainty), np.float64)


def _draw_uncertain(ax: Any, points: Array, labels: NDArray[np.int64], uncertainty: Array, subject: Subject) -> None:
    areas = _area_of(uncertainty, len(points))
    # The most probable of two has half the probability at least: what is beyond is between three or more.
    opacity = np.interp(uncertainty, [0.0, 0.5], UNCERTAIN_OPACITIES)
    known = np.isin(labels, subject.effective)
    parts = [(index, colour(index), marker(index), labels == index) for index in subject.effective]
    for index, shade, shape, own in [*parts, (-1, OTHERS_COLOUR, "o", ~known)]:
        places = np.flatnonzero(own)
        if index < 0 and len(places) == 0:
            continue
        # The least certain on top.
        places = places[np.argsort(uncertainty[places], kind="stable")]
        colours = np.tile(matplotlib().colors.to_rgba(shade), (len(places), 1))
        colours[:, 3] = opacity[places]
        label = "_others" if index < 0 else legend_label(index, subject.weights[index])
        ax.scatter(*points[places].T, s=areas[places], facecolors=colours, marker=shape, linewidths=0, label=label)


def _sizes(ax: Any, largest: float, n_points: int) -> list[tuple[Any, str]]:
    """Return handles for a legend that say what sizes mean, as far as rows go: at least of 0 and of the largest."""
    if largest < UNCERTAIN_STEPS[1]:
        steps = np.unique([0.0, largest])
    else:
        steps = np.array([step for step in UNCERTAIN_STEPS if step <= 1.25 * largest])
    areas, opacities = _area_of(steps, n_points), np.interp(steps, [0.0, 0.5], UNCERTAIN_OPACITIES)
    return [
        (ax.scatter([], [], s=area, color="black", alpha=opacity, linewidths=0), f"uncertainty {step:.2g}")
        for step, area, opacity in zip(steps, areas, opacities, strict=True)
    ]
