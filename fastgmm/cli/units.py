"""Fits to standardised columns, whose models are in the units of the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastgmm.cli.inputs import Data
from fastgmm.estimators.units import bring_to
from fastgmm.families import NAMED
from fastgmm.predictors.base import standard_units
from fastgmm.rows import ArrayRows
from fastgmm.statistics import Array
from fastgmm.validation import feature_labels

__all__ = ["Standardised", "check_families"]


def check_families(names: Sequence[str]) -> None:
    """ValueError where a family is another one in other units of the columns."""
    for name in names:
        if not NAMED[name].in_any_units:
            kept = sorted(family.name for family in set(NAMED.values()) if family.in_any_units)
            raise ValueError(
                f"--standardize is not for covariance {name}, which means nothing in other units: take one of "
                f"{', '.join(kept)}"
            )


class Standardised(NamedTuple):
    """Rows less the mean of each column, over its standard deviation; and these."""

    data: Data
    offset: Array
    scale: Array

    @classmethod
    def of(cls, table: Data) -> Standardised:
        """Return the standardised rows of a table, which are in memory; messages call column x z(x)."""
        X, weight = np.empty((table.rows.n_rows, table.rows.n_features)), None
        if table.rows.is_weighted:
            weight = np.empty(len(X))
        for block in table.rows.blocks(1 << 16):
            X[block.places] = block.X
            if weight is not None and block.weight is not None:
                weight[block.places] = block.weight
        offset, scale = standard_units(X, weight)
        X -= offset
        X /= scale
        names = tuple(f"z({name})" for name in feature_labels(table.names, X.shape[1]))
        return cls(Data(ArrayRows(X, weight), names), offset, scale)

    def undo(self, model: Any) -> None:
        """Bring a model that was fitted to the rows to the units of the table."""
        bring_to(model, self.offset, self.scale, self.data.total_weight)
