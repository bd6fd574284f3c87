"""One pass over rows in this process under a mixture of multivariate Student-t laws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgmm.families import Family
from fastgmm.kernels.passes.student import collect_student
from fastgmm.kernels.structures.student import NORMAL_OF
from fastgmm.passes.sweep import Accumulators
from fastgmm.rows import Rows, contiguous, kernel_array
from fastgmm.statistics import Array, StudentStatistics

_NO_WEIGHTS = np.empty(0)


@dataclass(eq=False)
class StudentSweep:
    """The task that returns the statistics of rows about `origin` (K, D); the arithmetic is float64."""

    family: Family
    density: Any
    origin: Array
    n_threads: int | None = None

    def __call__(self, rows: Rows) -> StudentStatistics:
        """Return the statistics of all rows, one block after the other."""
        density = self.density
        normal = NORMAL_OF[type(density)](density.log_scale, density.mean, density.whitener)
        n_components, n_features = density.mean.shape
        shape = self.family.shape(n_components, n_features)
        blocks = Accumulators.blocks(rows.n_rows, density, shape)
        shapes = (n_components,), (n_components,), (n_components,), (n_components, n_features), shape, ()
        sums = [np.zeros((blocks.n_lanes, *each)) for each in shapes]
        total = 0.0
        for _, read, weight in rows.blocks(blocks.rows):
            total += len(read) if weight is None else float(weight.sum())
            collect_student(
                blocks.n_lanes,
                self.n_threads,
                normal,
                density.log_scale,
                density.power,
                density.shrink,
                self.origin,
                contiguous(read),
                _NO_WEIGHTS if weight is None else kernel_array(weight, np.float64),
                blocks.tile,
                *sums,
            )
        counts, lengths, mass, deviation, scatter, log_evidence = (lanes.sum(axis=0) for lanes in sums)
        # log u = log(power * shrink) - distance / power
        log_mass = counts * np.log(density.power * density.shrink) - lengths / density.power
        scatter = self.family.mirror(scatter)
        return StudentStatistics(self.origin, mass, deviation, scatter, float(log_evidence), total, counts, log_mass)
