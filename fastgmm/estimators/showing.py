"""A fitted mixture as people see it: the cells of its table, and what a notebook shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgmm.statistics import Array
from fastgmm.support.showing import more_of, page_html, paragraph_html, table_html
from fastgmm.validation import feature_labels

# Rows and columns of the table in a notebook; more are counted.
_SHOWN_COMPONENTS = 20
_SHOWN_FEATURES = 12


def parameters_of(model: Any, components: NDArray[np.intp]) -> tuple[Array, Array]:
    """Return the means and the standard deviations of components, (M, D) each."""
    family, covariances = model._covariances()
    variances = family.variances(covariances, *np.shape(model.means_))
    return np.asarray(model.means_)[components], np.sqrt(variances)[components]


def columns_of(means: NDArray, deviations: NDArray, names: Sequence[str]) -> list[list[str]]:
    """Return columns of text for the first features: the name of `names`, and in each component "mean (deviation)"."""
    return [
        [name, *(f"{mean:.5g} ({deviation:.4g})" for mean, deviation in zip(column, spreads, strict=True))]
        for name, column, spreads in zip(names, means.T, deviations.T, strict=False)
    ]


def as_html(model: Any) -> str:
    """Return a mixture for a notebook: its call, how its fit ended, and its largest components."""
    if not all(hasattr(model, name) for name in ("weights_", "means_", "covariances_")):
        return _without_table(model)
    largest = _largest(model)
    noise = f" Noise has a weight of {model.noise_weight_:.4f}." if hasattr(model, "noise_weight_") else ""
    return _page(model, largest, [], parameters_of(model, largest), f"mean (standard deviation).{noise}")


def as_html_of_tails(model: Any) -> str:
    """Return a mixture of Student-t laws for a notebook, as ``as_html``: with degrees of freedom, and scales."""
    if not all(hasattr(model, name) for name in model._parameter_attributes):
        return _without_table(model)
    family, scales, freedom = model._law()
    largest = _largest(model)
    shape = np.shape(model.means_)
    deviations = np.sqrt(family.variances(scales, *shape))[largest]
    tails = ["degrees of freedom", *(f"{each:.4g}" for each in freedom[largest])]
    parameters = np.asarray(model.means_)[largest], deviations
    return _page(model, largest, [tails], parameters, "location (square root of the scale).")


def as_html_of_factors(model: Any) -> str:
    """Return a mixture of factor analysers for a notebook, as ``as_html``: with standard deviations of whole rows."""
    if not all(hasattr(model, name) for name in model._parameter_attributes):
        return _without_table(model)
    largest = _largest(model)
    state = model._fitted_state()
    parameters = state.means[largest], np.sqrt(state.covariances[largest])
    return _page(model, largest, [], parameters, "mean (standard deviation).")


def _without_table(model: Any) -> str:
    end = "Parameters were set by hand." if hasattr(model, "means_") else "Not fitted."
    return page_html(model, paragraph_html(end))


def _largest(model: Any) -> NDArray[np.intp]:
    """Return the largest components, as many as are shown, in order."""
    return np.sort(np.argsort(-np.asarray(model.weights_), kind="stable")[:_SHOWN_COMPONENTS])


def _page(
    model: Any,
    largest: NDArray[np.intp],
    others: list[list[str]],
    parameters: tuple[Array, Array],
    told: str,
) -> str:
    """Return the page of a mixture whose cells hold the means and deviations of components, which `told` says."""
    n_components, n_features = np.shape(model.means_)
    names = feature_labels(getattr(model, "feature_names_in_", None), n_features)
    columns = [
        ["component", *map(str, largest)],
        ["weight", *(f"{weight:.4f}" for weight in np.asarray(model.weights_)[largest])],
        *others,
        *columns_of(*parameters, names[:_SHOWN_FEATURES]),
    ]
    header, *rows = zip(*columns, strict=True)
    more = more_of((n_components - _SHOWN_COMPONENTS, "component"), (n_features - _SHOWN_FEATURES, "feature"))
    note = f"In each cell: {told}{more}"
    return page_html(model, paragraph_html(ending(model)), table_html(header, rows), paragraph_html(note))


def ending(model: Any) -> str:
    """Return how the fit of a mixture ended, in words."""
    reason = getattr(model, "stop_reason_", "given")
    ended = {
        "converged": "Converged after {} iteration",
        "max_iter": "Stopped by max_iter, not converged, after {} iteration",
        "partial_fit": "Learned from batches in {} update",
        "update": "Updated by statistics, {} iteration",
    }.get(reason, "Parameters were given")
    bound = getattr(model, "lower_bound_", math.nan)
    known = "" if math.isnan(bound) else f", with a lower bound of {bound:.6g}"
    before = " before the last one" if known and reason == "update" else ""
    n_iter = getattr(model, "n_iter_", 0)
    plural = "s" if "{}" in ended and n_iter != 1 else ""
    return f"{ended.format(n_iter)}{plural}{known}{before}."
