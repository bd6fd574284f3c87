"""Float32 arithmetic: for which passes of a fit it is good enough, and when a fit leaves it for float64.

Large float32 problems are computed in it, with sums over rows in float64, as long as it is good to three digits in
every row: where the density is too narrow for its place, or a row too far out, or the log evidence moves by less than
its rounding, the arithmetic is float64, from then on.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgmm.kernels import Density
from fastgmm.kernels.updates.single import round_density
from fastgmm.rows import Rows
from fastgmm.statistics import SufficientStatistics
from fastgmm.support.typing import Self

#: Fewer rows times components times features are not worth the compilation of float32 arithmetic.
SINGLE_WORK = 2**22
#: The total scatter of the data may be so many times that about the means before its digits are too few.
MOST_CANCELLED = 30.0
# Densities may multiply its rounding errors (6e-8) by no more than this; weights neither lose squares of small numbers
# nor overflow with large ones.
_MOST_AMPLIFIED = 300.0
_WEIGHTS = 1e-10, 1e10
# Relative noise of a log evidence: a fit that moves by less goes on in float64.
_NOISE = 2.0**-21
# How far a log evidence may be from that of another machine, relative to its size.
_ROUNDING, _ROUNDING_DOUBLE = 1e-6, 1e-8


class Rounded(NamedTuple):
    """A density in float32 about `centre` (D,), and by how much its log scales are lower for it."""

    density: Density
    centre: NDArray[np.float32]
    highest: float


class Single:
    """Float32 arithmetic for the passes of one fit over its rows.

    Parameters
    ----------
    rows : Rows
    """

    def __init__(self, rows: Rows) -> None:
        low, high = _WEIGHTS
        self._suits_rows = rows.dtype is np.float32 and bool(
            not rows.is_weighted or (low <= rows.summary.smallest and rows.summary.largest <= high)
        )
        self._is_large = rows.n_rows * rows.n_features
        self._is_good = self._suits_rows
        self._last = -math.inf

    def again(self) -> Self:
        """Return that of another fit to the same rows."""
        other = copy.copy(self)
        other.findings = self._suits_rows, -math.inf
        return other

    @property
    def findings(self) -> tuple[bool, float]:
        """The findings of the passes so far: whether the next may be in float32, and the last log evidence so."""
        return self._is_good, self._last

    @findings.setter
    def findings(self, findings: tuple[bool, float]) -> None:
        self._is_good, self._last = findings

    @property
    def rounding(self) -> float:
        """How far a log evidence may be from that of another machine, relative to its size."""
        return _ROUNDING if self._is_good else _ROUNDING_DOUBLE

    def pays(self, n_components: int) -> bool:
        """Return whether the next pass should be in float32."""
        return self._is_good and self._is_large >= SINGLE_WORK / n_components

    def give_up(self) -> None:
        """Hear that a pass was not good enough: there is no other."""
        self._is_good = False

    def rounded(self, density: Density) -> Rounded | None:
        """Return a density in float32; None where that multiplies its rounding errors too much."""
        centre = density.mean.mean(axis=0).astype(np.float32)
        rounded: Any = type(density)(*(np.empty(array.shape, np.float32) for array in density))  # type: ignore[arg-type]
        highest, amplified = round_density(density, centre, rounded)
        return Rounded(rounded, centre, highest) if amplified <= _MOST_AMPLIFIED else None

    def judged(self, statistics: SufficientStatistics, rounded: Rounded) -> SufficientStatistics | None:
        """Return finite statistics that a density in float32 made with their log evidence; None where it is noise."""
        log_evidence = statistics.log_evidence + rounded.highest * statistics.weight
        # A change of exactly 0 is that of a density that is asked for again.
        change, self._last = abs(log_evidence - self._last), log_evidence
        if 0.0 < change < _NOISE * abs(statistics.log_evidence):
            return None
        return dataclasses.replace(statistics, log_evidence=log_evidence)
