"""One pass over rows in this process under a mixture of factor analysers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgmm.kernels.passes.factor import collect_factor
from fastgmm.passes.sweep import Accumulators
from fastgmm.rows import Rows, contiguous, kernel_array
from fastgmm.statistics import Array, FactorStatistics

_NO_WEIGHTS = np.empty(0)


@dataclass(eq=False)
class FactorSweep:
    """The task that returns the statistics of rows about `origin` (K, D); the arithmetic is float64."""

    density: Any
    origin: Array
    n_threads: int | None = None

    def __call__(self, rows: Rows) -> FactorStatistics:
        """Return the statistics of all rows, one block after the other."""
        density = self.density
        n_components, n_features = density.mean.shape
        shape = density.projection.shape
        blocks = Accumulators.blocks(rows.n_rows, density, (n_components, n_features, shape[1] + 1))
        shapes = (n_components,), (n_components, n_features), (n_components, n_features), shape, ()
        sums = [np.zeros((blocks.n_lanes, *each)) for each in shapes]
        total = 0.0
        for _, read, weight in rows.blocks(blocks.rows):
            total += len(read) if weight is None else float(weight.sum())
            collect_factor(
                blocks.n_lanes,
                self.n_threads,
                *density,
                self.origin,
                contiguous(read),
                _NO_WEIGHTS if weight is None else kernel_array(weight, np.float64),
                blocks.tile,
                *sums,
            )
        mass, deviation, scatter, products, log_evidence = (lanes.sum(axis=0) for lanes in sums)
        return FactorStatistics(self.origin, mass, deviation, scatter, float(log_evidence), total, products)
