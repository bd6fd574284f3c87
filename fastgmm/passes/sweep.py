"""One pass over rows in this process, and what is sent to rows elsewhere.

The accumulators of the lanes live as long as whoever makes the passes, so that those of a fit reuse their memory; each
thread that calls has its own. Tasks that compute have `n_threads`, which other processes set to what they may use.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgmm import kernels
from fastgmm.families import Family
from fastgmm.kernels import Density
from fastgmm.kernels.passes.collect import Sums
from fastgmm.passes.layout import Blocks, cut
from fastgmm.passes.skipping import Hints, LivePass, blank_sums
from fastgmm.rows import Rows, contiguous, kernel_array
from fastgmm.statistics import SufficientStatistics

_NO_WEIGHTS = np.empty(0)
_NO_LABELS = np.empty(0, np.int64)
NO_CENTRE = np.empty(0, np.float32)
_NO_TABLE = np.empty((0, 0))


class OneComponent:
    """Labels of rows that are all in the first component, however many they are."""

    def __getitem__(self, places: slice) -> NDArray[np.int64]:
        return np.zeros(places.stop - places.start, np.int64)


class Accumulators(threading.local):
    """Accumulators of lanes by the shape of a problem, for each thread its own; they are not sent anywhere."""

    def __init__(self) -> None:
        self._lanes: dict[tuple[Any, ...], list[NDArray]] = {}

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return Accumulators, ()

    @staticmethod
    def blocks(n_rows: int, density: Density, shape: tuple[int, ...]) -> Blocks:
        """Return how the rows are cut."""
        n_components, n_features = density.mean.shape
        lane_floats = n_components * (n_features + 1) + math.prod(shape)
        return cut(n_rows, n_components, n_features, lane_floats, density.mean.itemsize)

    def cleared(self, n_rows: int, density: Density, shape: tuple[int, ...]) -> list[NDArray]:
        """Return accumulators of all lanes, filled with zeros."""
        (n_components, n_features), dtype = density.mean.shape, density.mean.dtype
        key = (n_rows, n_components, *shape, dtype)
        if key not in self._lanes:
            n_lanes = self.blocks(n_rows, density, shape).n_lanes
            shapes = (n_components,), (n_components, n_features), shape, ()
            self._lanes[key] = [np.empty((n_lanes, *each)) for each in shapes]
        accumulators = self._lanes[key]
        for array in accumulators:
            array.fill(0.0)
        return accumulators


@dataclass(eq=False)
class Sweep:
    """One pass over rows: what it is to find out. Called with rows in this process it returns their statistics.

    Parameters
    ----------
    family : Family
    density : Density of float64, or of float32 about `centre`
    exact : Density of float64, for rows that few components are live for; None where all are to be looked at
    highest : float
        What the log scales of `exact` are above those of `density`.
    hints : Hints
    n_kept : int or None
        At most so many components of a row are kept; None for all.
    origin : (K, D), what moments are about, less `centre`
    mode : ``kernels.SOFT`` or ``HARD`` (responsibilities come from the density), ``LABELLED`` (`labels`) or ``GIVEN``
    labels, responsibilities : (N,) int64 and (N, K), or what gives them for a slice of the rows' places
    with_scatter : whether second moments are summed
    centre : (D,) float32, what float32 arithmetic is about; empty for float64
    n_threads : int or None
    """

    family: Family
    density: Density
    origin: NDArray
    mode: int = kernels.SOFT
    labels: Any = None
    responsibilities: Any = None
    with_scatter: bool = True
    centre: NDArray[np.float32] = field(default_factory=lambda: NO_CENTRE)
    n_threads: int | None = None
    accumulators: Accumulators = field(default_factory=Accumulators)
    exact: Density | None = None
    highest: float = 0.0
    hints: Hints = field(default_factory=Hints)
    n_kept: int | None = None

    def __call__(self, rows: Rows) -> SufficientStatistics:
        """Return the statistics of all rows, about `centre` + `origin` where there is a centre."""
        density = self.density
        origin = self.origin if self.centre.size == 0 else np.add(self.centre, self.origin, dtype=np.float64)
        shape = self.family.shape(*density.mean.shape) if self.with_scatter else (0, 0)
        blocks = self.accumulators.blocks(rows.n_rows, density, shape)
        live = None if self.exact is None else LivePass(self.exact, self.n_threads, self.hints, self.n_kept)
        dense_sums = live_sums = None
        weight = log_evidence = 0.0
        for places, read, read_weight in rows.blocks(blocks.rows if live is None else blocks.read):
            weight += len(read) if read_weight is None else float(read_weight.sum())
            X = contiguous(read)
            w = None if read_weight is None else kernel_array(read_weight, np.float64)
            if live is not None and live.pays(X):
                live_sums = live_sums or self._blank_sums(shape)
                log_evidence += live.collect(X, w, places.start, origin, live_sums)
                log_evidence -= self.highest * (len(X) if w is None else float(w.sum()))
                continue
            if dense_sums is None:
                dense_sums = self.accumulators.cleared(rows.n_rows, density, shape)
            for part in blocks.within(len(X)):
                here = slice(places.start + part.start, places.start + part.stop)
                kernels.collect(
                    blocks.n_lanes,
                    self.n_threads,
                    density,
                    self.origin,
                    self.centre,
                    X[part],
                    _NO_WEIGHTS if w is None else w[part],
                    self.mode,
                    _NO_LABELS if self.labels is None else kernel_array(self.labels[here], np.int64),
                    _NO_TABLE
                    if self.responsibilities is None
                    else kernel_array(self.responsibilities[here], np.float64),
                    blocks.tile,
                    *dense_sums,
                )
        if dense_sums is None:
            mass, deviation, scatter = self._shared(live_sums or self._blank_sums(shape))
        else:
            # The sum over lanes, of which there often is one.
            mass, deviation, scatter, evidence = [
                lanes[0].copy() if len(lanes) == 1 else lanes.sum(axis=0) for lanes in dense_sums
            ]
            log_evidence += float(evidence)
            if live_sums is not None:
                for total, more in zip((mass, deviation, scatter), self._shared(live_sums), strict=True):
                    total += more
        return SufficientStatistics(origin, mass, deviation, self.family.mirror(scatter), log_evidence, weight)

    @property
    def _is_shared(self) -> bool:
        """Whether components have one scatter, that is summed."""
        return self.family.uses_total and self.with_scatter

    def _blank_sums(self, shape: tuple[int, ...]) -> Sums:
        """Return accumulators for a scatter of some shape, by component even where the family has one for all."""
        n_components, n_features = self.density.mean.shape
        return blank_sums(n_components, n_features, (n_components, *shape) if self._is_shared else shape)

    def _shared(self, sums: Sums) -> Sums:
        return sums._replace(scatter=sums.scatter.sum(axis=0)) if self._is_shared else sums
