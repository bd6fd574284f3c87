"""The fused pass where most components have no measurable weight on most rows: what is zero is not computed.

A pair of a row and a component is *live* unless its log joint is so far below the row's highest that its responsibility
is below 2**-60 of the component's weight; what is not live counts as zero. That is a rule about numbers, not about how
they are found: every pair that is passed over has been proven not to be live, so results do not depend on where rows
are looked at, or in which order, or what they are looked at with.

A block of rows is brought to two stages. First, tiles of rows that are likely to have the same component: its mean and
how far they lie from it rule most components out, and for full covariances where each row lies on the line to another's
mean. For the others squared distances are summed feature by feature, and given up chunk by chunk of rows when they have
grown too large (:mod:`fastgmm.kernels.vector.partial`). What is left are entries: the live components of each row, with
responsibilities. Second, the entries are sorted by component, with rows in their order, and each component's rows are
packed into tiles and accumulated.
"""

from fastgmm.kernels.skipping.bounds import CUTOFF, Bounds, blank_bounds, log_weights, measure, set_limits
from fastgmm.kernels.skipping.entries import Sorted, gather, sort
from fastgmm.kernels.skipping.find import ENTRIES, EVIDENCE, LABELS, Found, find
from fastgmm.kernels.skipping.guess import GUESS_LANES, Lists, guess
from fastgmm.kernels.skipping.search import Lines, Search

__all__ = [
    "CUTOFF",
    "ENTRIES",
    "EVIDENCE",
    "GUESS_LANES",
    "LABELS",
    "Bounds",
    "Found",
    "Lines",
    "Lists",
    "Search",
    "Sorted",
    "blank_bounds",
    "find",
    "gather",
    "guess",
    "log_weights",
    "measure",
    "set_limits",
    "sort",
]
