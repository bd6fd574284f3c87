"""When updates gain too little to go on: plain functions, which kernels compile."""

from __future__ import annotations

import math

# A change of the bound below this share of its size is rounding.
_ROUNDING = 8.0 * 2.220446049250313e-16


def rounding(bound):
    """Return which change of a bound may be rounding alone."""
    return _ROUNDING * (1.0 + abs(bound))


def is_settled(gain, change, least, tol):
    """Return whether a fit has converged: what updates may still gain is below `tol`.

    `change` is that of the last update. Where it is not above `least`, the rounding of the bound, no smaller one can be
    seen: a tolerance below that is met too, unless it is 0, which asks for all iterations.
    """
    return gain < tol or (tol > 0.0 and change <= least < math.inf)
