"""Parts of mixtures of factor analysers: factors of rows, turned loadings, and what is told of too many factors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastgmm.rows import Rows, scan_rows
from fastgmm.rules import FactorLikelihood, FactorParameters
from fastgmm.statistics import Array

# Uniquenesses up to this factor above their floor are there.
_AT_FLOOR = 1.0 + 1e-9
# From this share of a variance on, a floor is somebody's choice.
_CHOSEN = 1e-3


@dataclass(eq=False)
class FactorMeans:
    """The task that returns the posterior means of the factors in each component, (N, K Q) in the type of the rows."""

    means: Array
    regression: Array

    def __call__(self, rows: Rows) -> NDArray:
        """Return the means of the rows, block by block."""
        n_components, n_factors, _ = self.regression.shape
        found = np.empty((rows.n_rows, n_components, n_factors), rows.dtype)
        for block in rows.blocks(scan_rows(rows.n_features + n_components * n_factors)):
            here = slice(block.places.start - rows.offset, block.places.stop - rows.offset)
            for k in range(n_components):
                found[here, k] = (np.asarray(block.X, np.float64) - self.means[k]) @ self.regression[k].T
        return found.reshape(rows.n_rows, -1)


def require_few_factors(n_factors: int, n_features: int, uniquenesses: str) -> None:
    """ValueError where there are too many factors for the columns."""
    if n_factors >= n_features:
        raise ValueError(
            f"n_factors must be less than the number of columns of X, got n_factors = {n_factors} and "
            f"n_features = {n_features}."
        )
    if uniquenesses == "isotropic" or (n_features - n_factors) ** 2 > n_features + n_factors:
        return
    most = max((q for q in range(n_factors) if (n_features - q) ** 2 > n_features + q), default=0)
    fewer = f"take at most {most}, or " if most else "take "
    raise ValueError(
        f"n_factors = {n_factors} factors have as many parameters as a covariance without any form has, for X of "
        f"n_features = {n_features} columns: {fewer}uniquenesses='isotropic', or a GaussianMixture."
    )


def turned(state: FactorParameters) -> Array:
    """Return the loadings (K, D, Q) with Lambda^T Psi^-1 Lambda diagonal, and the largest of each factor positive."""
    whitened = state.density.whitener[:, :, None] * state.loadings
    turn = np.swapaxes(np.linalg.svd(whitened, full_matrices=False)[2], 1, 2)
    loadings: Array = state.loadings @ turn
    largest = np.take_along_axis(loadings, np.abs(loadings).argmax(axis=1)[:, None, :], axis=1)
    return np.where(largest < 0.0, -1.0, 1.0) * loadings


def told_of_explained(rule: FactorLikelihood, state: FactorParameters, names: Sequence[str]) -> str:
    """Return a warning where factors explain all of a column in some component (a Heywood case), else ""."""
    floor = _AT_FLOOR * rule.least
    explained = (state.uniquenesses <= floor) & (state.covariances > 2.0 * floor) & (state.weights > 0.0)[:, None]
    if rule.reg_covar >= _CHOSEN or not explained.any():
        return ""
    several = len(explained) > 1
    parts = []
    for k in np.flatnonzero(explained.any(axis=1)).tolist()[:3]:
        columns = np.flatnonzero(explained[k]).tolist()
        shown = ", ".join(names[d] for d in columns[:3]) + (", ..." if len(columns) > 3 else "")
        parts.append(f"{shown} in component {k}" if several else shown)
    more = "; ..." if explained.any(axis=1).sum() > 3 else ""
    common = "" if rule.uniquenesses == "common" else "take uniquenesses='common', "
    return (
        f"Factors explain all of {'; '.join(parts)}{more} (a Heywood case): uniquenesses are at their floor, on which "
        "likelihood and BIC may depend. Take fewer factors or components, leave out a column that others determine, "
        f"{common}or choose a floor, as a share of a column's variance: reg_covar=0.005, say, for {rule.reg_covar:g}."
    )
