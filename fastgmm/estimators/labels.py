"""Fits that know the classes of some rows: what they do not go with, and scikit-learn's routing of the labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgmm import validation
from fastgmm.estimators.interface import Interface
from fastgmm.passes.scores import Score
from fastgmm.rows import ArrayRows, Rows
from fastgmm.sources.incomplete import IncompleteRows
from fastgmm.sources.labelled import LabelledRows, part_of
from fastgmm.sources.labelled_streams import is_streamed, labelled
from fastgmm.sources.opening import is_elsewhere, labels_refused, open_labelled
from fastgmm.starts.labelled import METHODS
from fastgmm.support.showing import shown
from fastgmm.support.typing import Self


class LabelRequests(Interface):
    """The part of scikit-learn's interface that passes `labels` on to ``fit``."""

    def set_fit_request(self, *, sample_weight: bool | str | None = None, labels: bool | str | None = None) -> Self:
        """Say whether a meta-estimator passes ``sample_weight`` and ``labels`` on to ``fit`` (metadata routing)."""
        super().set_fit_request(sample_weight=sample_weight)
        self._requested("fit")["labels"] = labels
        return self

    def get_metadata_routing(self) -> Any:
        """Return scikit-learn's MetadataRequest of this estimator."""
        request = super().get_metadata_routing()
        wanted = self.__dict__.get("_metadata_request", {}).get("fit", {})
        request.fit.add_request(param="labels", alias=wanted.get("labels"))
        return request


def rows_with_labels(estimator: Any, rows: Rows, labels: Any) -> tuple[Rows, dict[str, Any]]:
    """Return rows with what is known of their classes, and the fitted attributes that tell of it.

    The rows themselves where nothing is known. ValueError, naming the argument, where labels or what they go with is
    wrong.
    """
    n_components = int(estimator.n_components)
    given = validation.check_class_components(estimator.class_components, n_components)
    if labels is None:
        if given is not None:
            raise ValueError(
                "class_components says which components classes have, and needs labels, got None: give fit labels "
                "(-1 where unknown), or leave class_components at None."
            )
        return rows, {}
    _refuse_others(estimator, rows)
    numbers = validation.check_labels(labels, rows.n_rows)
    classes = validation.classes_of(numbers, given, n_components)
    known = labelled(rows, numbers, classes)
    told = {"class_of_components_": known.class_of_components(n_components)}
    counts = {part.label: part.rows.n_rows for part in known.parts}
    # How many components there must be rows of no class for.
    used = sum(min(len(components), counts.get(label, 0)) for label, components in enumerate(classes))
    if counts.get(-1, 0) < n_components - used:
        raise ValueError(
            f"n_components is {n_components}, but the rows of known classes are in {used} components, and "
            f"{counts.get(-1, 0)} rows of unknown class (-1) are left for the other {n_components - used}: take fewer "
            "components, or labels of fewer rows."
        )
    return (known, told) if counts.keys() - {-1} else (rows, told)


def with_column(estimator: Any, X: Any, sample_weight: Any, labels: Any) -> tuple[Any, Any, Any]:
    """Return X without the column that `labels` names, weights beside it, and that column; all as given for arrays."""
    if not isinstance(labels, str):
        return X, sample_weight, labels
    if not is_elsewhere(X) and not isinstance(X, Rows):
        X, labels = validation.split_weight(X, labels, "labels")
        return X, sample_weight, labels
    rows, numbers = open_labelled(X, sample_weight, labels, estimator.missing)
    return rows, None, numbers


def same_rows(X: Any, labels: Any) -> None:
    """ValueError where rows and labels have indices, as in pandas, that differ: by position they would be mixed up."""
    index: Any = getattr(X, "index", None)
    other: Any = getattr(labels, "index", None)
    if hasattr(index, "equals") and hasattr(other, "equals") and not index.equals(other):
        raise ValueError(
            "labels must have the index of X, got another one: give labels.loc[X.index], labels.reindex(X.index) where "
            "only some rows have one, or labels.to_numpy() where they are in the order of the rows."
        )


def refuse_classes(estimator: Any, method: str) -> None:
    """ValueError where `class_components` is given to a method that knows of no labels."""
    if estimator.class_components is not None:
        raise ValueError(
            f"class_components must be None for {method}, which knows of no labels, got "
            f"{shown(estimator.class_components)}: use fit with labels, or leave it at None."
        )


def predicted(estimator: Any, rows: Rows) -> NDArray[np.int64]:
    """Return the most probable component of each row, (N,), of those of its class where that is known."""
    density, n_threads = estimator._density(), estimator.n_threads
    found: NDArray[np.int64] = rows.scored(Score(density, "labels", n_threads))
    if not isinstance(rows, LabelledRows):
        return found
    for label, components in enumerate(rows.classes):
        places = np.flatnonzero(rows.labels == label)
        if len(components) == 1:
            found[places] = components[0]
        elif len(places):
            part = part_of(estimator._family(), density, components)
            found[places] = components[rows.of_class(label).scored(Score(part, "labels", n_threads))]
    return found


def with_classes_of(model: Any, other: Any) -> Any:
    """Return another mixture of the same components with what is known of their classes.

    A fit of it asks for no labels: `class_components` of the parameters is None.
    """
    other.class_components = None
    if hasattr(model, "class_of_components_"):
        other.class_of_components_ = model.class_of_components_.copy()
    return other


def _refuse_others(estimator: Any, rows: Rows) -> None:
    """ValueError where labels do not go with the rows or with a parameter."""
    if type(rows) is not ArrayRows and not isinstance(rows, IncompleteRows) and not is_streamed(rows):
        raise labels_refused(type(rows).__name__)
    init = estimator.init_params
    if isinstance(init, str) and init not in METHODS:
        raise ValueError(
            f"init_params must keep rows in their classes where labels are given, by one of "
            f"{', '.join(map(repr, METHODS))} or an array, got {shown(init)}."
        )
    without = {"truncate": None, "checkpoint": None, "race": False}
    for name, value in without.items():
        if getattr(estimator, name) != value:
            raise ValueError(
                f"{name} does not go with labels yet, got {shown(getattr(estimator, name))}: leave it at {value}."
            )
    if getattr(estimator, "sort_sticks", None):
        raise ValueError("sort_sticks must be None or False with labels, for a class keeps its components, got True.")
