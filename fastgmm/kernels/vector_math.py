"""Exponential and logarithm that vectorise: ``math.exp`` and ``math.log`` in a compiled loop are scalar library calls.

Both reduce the range exactly, use a polynomial, and put the exponent back by a bit cast; no branches, so that a loop
over them becomes vector code. They are compiled without re-association, which would undo the two-part constants.
"""

from __future__ import annotations

import numpy as np

from fastgmm.kernels._compile import exact_kernel

_LN2_HIGH = 6.93147180369123816490e-01  # its last 32 bits are zero: k * _LN2_HIGH is exact for |k| < 2^20
_LN2_LOW = 1.90821492927058770002e-10
_LOG2_E = 1.44269504088896338700
_SQRT_HALF_BITS = 0x3FE6A09E667F3BCD


@exact_kernel
def vector_exp(x):
    """Return e**x for a float64 x <= 709, within 1 ulp; exactly 0 below -708; NaN for NaN.

    Taylor polynomial of degree 13 on |r| <= ln(2)/2 (remainder 4e-18).
    """
    y = -709.0 if x < -709.0 else x
    k = np.floor(y * _LOG2_E + 0.5)
    r = (y - k * _LN2_HIGH) - k * _LN2_LOW
    # Estrin's scheme: Horner's would be one chain, each step of which waits for the one before.
    s = r * r
    p0 = 0.5 + r * (1.0 / 6.0)
    p1 = 1.0 / 24.0 + r * (1.0 / 120.0)
    p2 = 1.0 / 720.0 + r * (1.0 / 5040.0)
    p3 = 1.0 / 40320.0 + r * (1.0 / 362880.0)
    p4 = 1.0 / 3628800.0 + r * (1.0 / 39916800.0)
    p5 = 1.0 / 479001600.0 + r * (1.0 / 6227020800.0)
    t = s * s
    p = (p0 + s * p1) + t * ((p2 + s * p3) + t * (p4 + s * p5))
    p = p * s + r + 1.0
    power = np.int64((np.int64(k) + 1023) << 52).view(np.float64)
    return 0.0 if x < -708.0 else p * power


@exact_kernel
def vector_log(x):
    """Return the natural logarithm of a positive, normal, finite float64 x, within 1 ulp (FreeBSD's e_log.c scheme)."""
    bits = np.float64(x).view(np.int64)
    k = (bits - _SQRT_HALF_BITS) >> 52
    f = np.int64(bits - (k << 52)).view(np.float64) - 1.0
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    even = w * (3.999999999940941908e-01 + w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01))
    odd = z * (
        6.666666666666735130e-01
        + w * (2.857142874366239149e-01 + w * (1.818357216161805012e-01 + w * 1.479819860511658591e-01))
    )
    half_square = 0.5 * f * f
    n = np.float64(k)
    return n * _LN2_HIGH - ((half_square - (s * (half_square + (even + odd)) + n * _LN2_LOW)) - f)


@exact_kernel
def vector_log1p(x):
    """Return log(1 + x) for x >= 0, within 2 ulp, also where 1 + x rounds x away; infinity for infinity."""
    # What the rounding of 1 + x lost, relative to it, is added back: log(u (1 + c / u)) = log(u) + c / u.
    u = 1.0 + x
    value = vector_log(u) + (x - (u - 1.0)) / u
    return value if u < np.inf else np.inf
