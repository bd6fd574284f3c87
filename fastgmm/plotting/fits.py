"""Pictures of how a mixture was fitted: the criterion of several fits, and the bound of one over its iterations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastgmm.estimators.showing import ending
from fastgmm.methods import counted, method_of
from fastgmm.plotting.drawing import CROWDED, MARKERS, OTHERS_COLOUR, PALETTE, matplotlib, new_figure, place_legend

# Outcomes of starts whose bounds are of all rows; a start that was dropped may have seen a sample of them alone.
_COMPLETE = ("converged", "max_iter")


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
    matplotlib()
    if ax is None:
        ax = new_figure().add_subplot()
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
        place_legend(
            ax, lambda **place: ax.legend(**{"frameon": False, "fontsize": "small", **place}), len(families) > CROWDED
        )
    return ax


def plot_trace(model: Any, ax: Any = None) -> Any:
    """Draw the bound of a fitted mixture after each iteration, `lower_bounds_`, and where its other starts ended.

    Of the best start the line is drawn; of each other one that came to an end of its own the last iteration and bound,
    as `restarts_` keeps them, hollow where it has a spurious component.  Starts that failed, or were dropped for
    lagging behind, are counted.  After ``update`` the bound before it is all that is known of the mixture's way.
    Without `ax` a new figure is made, outside pyplot's state.

    Returns the matplotlib Axes; ``axes.figure.savefig`` stores the picture.  Raises ImportError without matplotlib,
    ValueError for a model that keeps no bounds: one of given parameters, or pruned.
    """
    matplotlib()
    model = getattr(model, "best_estimator_", model)
    model._require_fitted()
    bounds = np.asarray(getattr(model, "lower_bounds_", []), np.float64)
    if len(bounds) == 0:
        raise ValueError(
            f"model must have been fitted, for its lower_bounds_ to be drawn, but it has none: its stop_reason_ is "
            f"{getattr(model, 'stop_reason_', 'given')!r}. Call fit."
        )
    if ax is None:
        ax = new_figure().add_subplot()
    iterations = np.arange(1, len(bounds) + 1)
    has_starts = model.stop_reason_ not in ("partial_fit", "update")
    if model.stop_reason_ == "update":
        # One bound, of the mixture that the last update was made of.
        iterations += model.n_iter_ - 2
    ax.plot(
        iterations, bounds, color=PALETTE[0], linewidth=1.4, marker="o", markersize=3.5, label="best start", zorder=3
    )
    if has_starts:
        _draw_other_starts(ax, model)
    ax.set_xlabel("iteration")
    ax.set_ylabel(method_of(model).bound)
    ax.set_title(ending(model).removesuffix("."), fontsize="medium")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.spines[["top", "right"]].set_visible(False)
    if has_starts and len(model.restarts_) > 1:
        ax.legend(frameon=False, fontsize="small", loc="best")
    return ax


def _draw_other_starts(ax: Any, model: Any) -> None:
    best = (model.lower_bound_, model.n_iter_)
    ended = [each for each in model.restarts_ if each.outcome in _COMPLETE and np.isfinite(each.bound)]
    own = next((place for place, each in enumerate(ended) if (each.bound, each.n_iter) == best), None)
    others = [each for place, each in enumerate(ended) if place != own]
    style = {"linestyle": "", "marker": "s", "markersize": 5, "mec": PALETTE[5]}
    for is_sound, face, name in ((True, PALETTE[5], "ends of other starts"), (False, "white", "spurious")):
        found = [(each.n_iter, each.bound) for each in others if (each.spurious < 0) == is_sound]
        if found:
            ax.plot(*zip(*found, strict=True), mfc=face, label=name, **style)
    for outcome in ("dropped", "failed"):
        number = sum(each.outcome == outcome for each in model.restarts_)
        if number:
            ax.plot(
                [], [], linestyle="", marker="x", color=OTHERS_COLOUR, label=f"{counted(number, 'start')} {outcome}"
            )
