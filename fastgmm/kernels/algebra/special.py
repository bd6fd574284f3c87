"""Digamma and log-gamma of positive arguments: what expectations under Wishart, Dirichlet and beta laws are made of."""

from __future__ import annotations

import math

from fastgmm.kernels.compiling import kernel

# B_2n / (2 n) for n = 1, 2, ...: the asymptotic series of digamma in 1 / x**2 (Abramowitz and Stegun 6.3.18).
_C1 = 1.0 / 12.0
_C2 = -1.0 / 120.0
_C3 = 1.0 / 252.0
_C4 = -1.0 / 240.0
_C5 = 1.0 / 132.0
_C6 = -691.0 / 32760.0
_C7 = 1.0 / 12.0
# From here on the first term left out is below 5e-17.
_LARGE = 10.0
_FAR = 32.0


@kernel
def digamma(x):
    """Return the derivative of log-gamma at x > 0, to 1e-14 relative or absolute, whichever is larger. Thread-safe."""
    shift = 0.0
    while x < _LARGE:
        shift += 1.0 / x
        x += 1.0
    z = 1.0 / (x * x)
    series = z * (_C1 + z * (_C2 + z * (_C3 + z * (_C4 + z * (_C5 + z * (_C6 + z * _C7))))))
    return (math.log(x) - 0.5 / x - series) - shift


@kernel
def log_gamma(x):
    """Return log Gamma(x) for x > 0, to 1e-14 relative or absolute, whichever is larger. Thread-safe."""
    return math.lgamma(x)


@kernel
def log_gamma_ratio(x, a):
    """Return log(Gamma(x + a) / Gamma(x)) for x > 0 and x + a > 0, to 1e-14 as above even where both cancel."""
    if x < _FAR or x + a < _FAR:
        return log_gamma(x + a) - log_gamma(x)
    # The difference of two Stirling series.
    return (x + a - 0.5) * math.log1p(a / x) + a * (math.log(x) - 1.0) + _stirling_rest(x + a) - _stirling_rest(x)


@kernel
def _stirling_rest(x):
    z = 1.0 / (x * x)
    return (1.0 / 12.0 - z * (1.0 / 360.0 - z * (1.0 / 1260.0 - z * (1.0 / 1680.0 - z / 1188.0)))) / x


@kernel
def multi_digamma(x, dimension):
    """Return the sum of digamma(x - i / 2) over i = 0 .. dimension - 1, the derivative of log Gamma_p."""
    s = 0.0
    for i in range(dimension):
        s += digamma(x - 0.5 * i)
    return s


@kernel
def log_multi_gamma_ratio(x, a, dimension):
    """Return log(Gamma_p(x + a) / Gamma_p(x)) of the multivariate gamma function, p = `dimension`, x > (p - 1) / 2."""
    s = 0.0
    for i in range(dimension):
        s += log_gamma_ratio(x - 0.5 * i, a)
    return s
