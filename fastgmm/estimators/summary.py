"""A fitted mixture in a table: for a prompt, for a data frame, and for the report of the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgmm.estimators.showing import columns_of, ending, parameters_of
from fastgmm.methods import counted, describe, method_of
from fastgmm.rows import Rows
from fastgmm.statistics import Array
from fastgmm.support.extras import require
from fastgmm.support.showing import decimals, pairs_text, shown, table_text
from fastgmm.validation import feature_labels

# Features that the text has room for; more are counted.
_SHOWN_FEATURES = 40
# Characters of a line of text.
_WIDTH = 100

# How the text calls values; what is not here is said in words before.
_TITLES = {"noise_weight": "weight of noise", "aic": "AIC", "bic": "BIC", "icl": "ICL", "evidence": "evidence bound"}


@dataclass(frozen=True, eq=False, repr=False)
class Summary:
    """A fitted mixture, as ``model.summary(X)`` describes it; its text is a table.

    Attributes
    ----------
    model, fit : str
        Its size and shape, and how its fit ended, in words.
    components : (M,) int
        The numbers of the components below: all, or of a BayesianGaussianMixture those that hold a row at least.
    weights : (M,), means : (M, D), deviations : (M, D) float64
        Their weights, means and standard deviations.
    names : list of D str
        The names of the columns.
    values : dict of float
        "n_iter" and "lower_bound" where there was a fit (after ``update``, of which the bound is not that of the
        mixture, "n_iter" alone), "n_parameters" of a GaussianMixture, "noise_weight" where it has noise; of the rows,
        where they were given, "n_samples", "weight" (their sum), "log_likelihood" (total; of a BayesianGaussianMixture
        that of its Student-t predictive), and the criteria: "aic", "bic" and "icl", or "evidence".
    spurious : list of str
        The components whose likelihood says nothing, and why; see `spurious_`.
    """

    model: str
    fit: str
    components: NDArray[np.intp]
    weights: Array
    means: Array
    deviations: Array
    names: list[str]
    values: dict[str, float]
    spurious: list[str]
    _likelihood: str
    _n_components: int

    def __str__(self) -> str:
        return f"{self._head()}\n\n{self.parameters_text()}"

    __repr__ = __str__

    def parameters_text(self, width: int = _WIDTH) -> str:
        """Return the components as text: as many tables, one below the other, as lines of `width` characters need."""
        lead = [[str(index), f"{weight:.4f}"] for index, weight in zip(self.components, self.weights, strict=True)]
        room = width - len("component  weight")
        tables: list[list[list[str]]] = []
        used = room
        for column in columns_of(self.means, self.deviations, self.names[:_SHOWN_FEATURES]):
            needed = len("  ") + max(map(len, column))
            if used + needed > room:
                tables.append([])
                used = 0
            tables[-1].append(column)
            used += needed
        parts = []
        for features in tables:
            header, *rows = zip(*features, strict=True)
            cells = [[*front, *row] for front, row in zip(lead, rows, strict=True)]
            parts.append(table_text(["component", "weight", *header], cells))
        notes = ["in each cell: mean (standard deviation)"]
        others = self._n_components - len(self.components)
        if others > 0:
            notes.append(f"not shown: {counted(others, 'more component')} of less than one row")
        if len(self.names) > _SHOWN_FEATURES:
            notes.append(f"not shown: {counted(len(self.names) - _SHOWN_FEATURES, 'more feature')}")
        return "\n\n".join([*parts, "\n".join(notes)])

    def to_dict(self) -> dict[str, NDArray]:
        """Return the components as a dict of arrays (M,), for ``pandas.DataFrame`` or ``polars.DataFrame``.

        "component", "weight", and for each column "mean NAME" and "deviation NAME"; names that repeat are numbered:
        "a", "a 2", "a 3".
        """
        table: dict[str, NDArray] = {"component": self.components, "weight": self.weights}
        for place, name in enumerate(_told_apart(self.names)):
            table[f"mean {name}"] = self.means[:, place]
            table[f"deviation {name}"] = self.deviations[:, place]
        return table

    def to_frame(self) -> Any:
        """Return ``to_dict()`` as a pandas DataFrame, a row for each component; ImportError without pandas."""
        pandas = require("pandas", "a data frame of a summary needs", "pandas")
        return pandas.DataFrame(self.to_dict()).set_index("component")

    def _head(self) -> str:
        values = self.values
        pairs: list[tuple[str, str | None]] = [("model", self.model), ("fit", self.fit)]
        if "n_samples" in values:
            text = counted(int(values["n_samples"]), "row")
            weighted = values["weight"] != values["n_samples"]
            pairs.append(("rows", text + (f" of weight {values['weight']:.10g}" if weighted else "")))
            total = values["log_likelihood"]
            pairs.append((self._likelihood, f"{decimals(total, 4)} ({total / values['weight']:.6g} per row)"))
        pairs += [(title, decimals(values[name], 4)) for name, title in _TITLES.items() if name in values]
        pairs += [("spurious", text) for text in self.spurious]
        return pairs_text(pairs)


def summarise(
    model: Any,
    X: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    feature_names: Sequence[str] | None = None,
) -> Summary:
    """Return the summary of a fitted mixture, with what it is to the rows of X (N, D) where they are given."""
    model._require_fitted()
    if X is None and sample_weight is not None:
        raise ValueError(f"sample_weight must be None without X, got {shown(sample_weight)}: give the rows, too")
    method = method_of(model)
    components = method.effective(model)
    means, deviations = parameters_of(model, components)
    values: dict[str, float] = {}
    if getattr(model, "n_iter_", 0) > 0:
        values["n_iter"] = int(model.n_iter_)
        if np.isfinite(model.lower_bound_) and getattr(model, "stop_reason_", None) != "update":
            values["lower_bound"] = float(model.lower_bound_)
    if hasattr(model, "_n_parameters"):
        values["n_parameters"] = model._n_parameters()
    if hasattr(model, "noise_weight_"):
        values["noise_weight"] = float(model.noise_weight_)
    if X is not None:
        rows = model._rows(X, sample_weight)
        values |= {"n_samples": rows.n_rows, "weight": rows.summary.total_weight, **measures(model, rows)}
    end = ending(model).removesuffix(".")
    return Summary(
        model=f"{describe(model)}, {method.detail(model)}",
        fit=end[:1].lower() + end[1:],
        components=components,
        weights=model._weights()[components],
        means=np.asarray(means, np.float64),
        deviations=np.asarray(deviations, np.float64),
        names=feature_labels(model._names() if feature_names is None else feature_names, np.shape(model.means_)[1]),
        values=values,
        spurious=[f"component {each.component} {each.reason}" for each in getattr(model, "spurious_", [])],
        _likelihood=method.likelihood,
        _n_components=len(model.means_),
    )


def _told_apart(names: Sequence[str]) -> list[str]:
    """Return names, those that were there before with a number that makes them no other's."""
    taken = set(names)
    found: dict[str, None] = {}
    for name in names:
        own, number = name, 1
        while own in found or (number > 1 and own in taken):
            number += 1
            own = f"{name} {number}"
        found[own] = None
    return list(found)


def measures(model: Any, rows: Rows) -> dict[str, float]:
    """Return the total log-likelihood of rows under a fitted model, "log_likelihood", and its criteria, by name.

    Of a Bayesian mixture that of its Student-t predictive, and "evidence" where its prior is known.
    """
    if hasattr(model, "_criteria"):
        values: dict[str, float] = model._criteria(rows)
        return values
    method = method_of(model)
    values = {"log_likelihood": model.score(rows, **method.density) * rows.summary.total_weight}
    criterion = method.criteria(model).get(method.criterion)
    if criterion is not None:
        values["evidence"] = criterion(rows)
    return values
