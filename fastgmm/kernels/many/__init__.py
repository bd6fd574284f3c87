"""Whole fits of many small problems: seeding and :mod:`fastgmm.fitting.loop`, compiled, a problem at a time.

A fit of some hundred rows from Python is mostly calls. Here a lane of problems is fitted by one call, in buffers that
are made once a lane, and a problem that fits in one tile is packed once a fit rather than once a pass. What a pass, an
update and a bound are is not written again: the functions are those of a single fit.

Problems share nothing. Which lane one is in, how many lanes or threads there are and what its neighbours hold makes no
difference to its bits. What goes wrong in one is a number in `status`.
"""

from fastgmm.kernels.many.fit import fit, smoothing_address
from fastgmm.kernels.many.records import (
    COLLAPSED,
    CONVERGED,
    NOT_CONVERGED,
    NOT_FINITE,
    OUT_OF_RANGE,
    SINGULAR,
    TOO_FEW_ROWS,
    Draws,
    Fits,
    Options,
    Rows,
    Start,
    Survey,
)
from fastgmm.kernels.many.rules import Likelihood, Variational
from fastgmm.kernels.many.survey import drawing_address, survey

__all__ = [
    "COLLAPSED",
    "CONVERGED",
    "NOT_CONVERGED",
    "NOT_FINITE",
    "OUT_OF_RANGE",
    "SINGULAR",
    "TOO_FEW_ROWS",
    "Draws",
    "Fits",
    "Likelihood",
    "Options",
    "Rows",
    "Start",
    "Survey",
    "Variational",
    "drawing_address",
    "fit",
    "smoothing_address",
    "survey",
]
