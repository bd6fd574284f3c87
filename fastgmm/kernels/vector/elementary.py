"""Exponential and logarithm that vectorise: ``math.exp`` and ``math.log`` in a compiled loop are scalar library calls.

Both reduce the range exactly, use a polynomial, and put the exponent back by a bit cast; no branches, so that a loop
over them becomes vector code. They are compiled as they are written: re-association would undo the two-part constants,
and a number's logarithm must not depend on its place in a loop.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastgmm.kernels.compiling import exact_kernel, multiply_add


class Exponential(NamedTuple):
    """Constants of e**x = 2**(k / n) * (1 + r + r**2 q(r)) with |r| <= ln(2) / 2n, for n = `table_size`."""

    lowest: float  #: below it e**x counts as 0
    magic: float  #: 1.5 times the power of two above which there are no fractions: adding it rounds
    mantissa_bits: int
    ln2_high: float  #: its last bits are zero: k * ln2_high is exact
    ln2_low: float
    polynomial: tuple[float, ...]  #: of q: a Chebyshev fit, off by less than a quarter ulp of e**x
    table_size: int = 1


LOG2_E = 1.44269504088896338700
_LN2_HIGH = 6.93147180369123816490e-01
_LN2_LOW = 1.90821492927058770002e-10
EXP_DOUBLE = Exponential(
    -708.0,
    1.5 * 2.0**52,
    52,
    _LN2_HIGH,
    _LN2_LOW,
    (
        0.5,
        0.16666666666666669,
        0.04166666666662413,
        0.008333333333330062,
        0.0013888888917213717,
        0.00019841269863053618,
        2.4801521295954376e-05,
        2.7557268459997064e-06,
        2.7620088445409746e-07,
        2.510038549551032e-08,
    ),
)
EXP_DOUBLE_OF_16 = EXP_DOUBLE._replace(
    polynomial=(0.5, 0.16666666665296223, 0.04166666666495362, 0.008333449934107185, 0.0013889034639665864),
    table_size=16,
)
EXP_SINGLE = Exponential(
    -87.0,
    1.5 * 2.0**23,
    23,
    0.693359375,
    -2.12194440054690583e-4,
    (0.5, 0.16666576989698775, 0.041666554617204574, 0.008363179052722578, 0.0013926183587713494),
)
_SQRT_HALF_BITS = 0x3FE6A09E667F3BCD
_C0, _C1, _C2, _C3, _C4, _C5, _C6, _C7, _C8, _C9 = EXP_DOUBLE.polynomial


@exact_kernel
def vector_exp(x):
    """Return e**x for a float64 x <= 709, within 1 ulp; exactly 0 below -708; NaN for NaN."""
    y = -708.0 if x < -708.0 else x
    k = np.floor(multiply_add(y, LOG2_E, 0.5))
    r = multiply_add(-k, _LN2_LOW, multiply_add(-k, _LN2_HIGH, y))
    # Estrin's scheme: Horner's would be one chain, each step of which waits for the one before.
    s = r * r
    t = s * s
    low = multiply_add(s, multiply_add(r, _C3, _C2), multiply_add(r, _C1, _C0))
    high = multiply_add(s, multiply_add(r, _C7, _C6), multiply_add(r, _C5, _C4))
    last = multiply_add(r, _C9, _C8)
    p = multiply_add(multiply_add(t * t, last, multiply_add(t, high, low)), s, r) + 1.0
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
    even = multiply_add(w, 1.531383769920937332e-01, 2.222219843214978396e-01)
    even = w * multiply_add(w, even, 3.999999999940941908e-01)
    odd = multiply_add(w, 1.479819860511658591e-01, 1.818357216161805012e-01)
    odd = multiply_add(w, multiply_add(w, odd, 2.857142874366239149e-01), 6.666666666666735130e-01)
    half_square = 0.5 * f * f
    n = np.float64(k)
    rest = multiply_add(s, half_square + multiply_add(z, odd, even), n * _LN2_LOW)
    return multiply_add(n, _LN2_HIGH, f - (half_square - rest))


@exact_kernel
def vector_log1p(x):
    """Return log(1 + x) for x >= 0, within 2 ulp, also where 1 + x rounds x away; infinity for infinity."""
    # What the rounding of 1 + x lost, relative to it, is added back: log(u (1 + c / u)) = log(u) + c / u.
    u = 1.0 + x
    value = vector_log(u) + (x - (u - 1.0)) / u
    return value if u < np.inf else np.inf
