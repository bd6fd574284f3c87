"""Constraints on the covariances of a mixture, which the M-step ends with, and how compiled code calls them.

A constraint is a compiled function ``constraint(mass, covariance, whitener)`` that returns None. It overwrites
`covariance`, in the shape of the family's structure, (K, ...) float64: on entry the maximum-likelihood covariances of
each component alone, with ``reg_covar`` added to their variances, of matrices the lower triangle; on return those of
highest likelihood under the constraint, W_k = mass[k] * covariance[k] being the scatter. `mass` (K,) may be 0 where a
component has lost its rows. `whitener`, of the same shape, is that of the mixture that made the statistics, for
constraints that iterate from there; what it holds before the first M-step is no more than a guess.

It is called by its address, so that all families of a structure share the machine code of passes and fits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastgmm.kernels.compiling import address_of, call_at, entry, is_switched_off, vector_code
from fastgmm.kernels.updates.moments import share_mean

#: In place of the address of a constraint: each component has its own covariance.
UNCONSTRAINED = 0

_addresses: dict[tuple[Any, int], int] = {}
# The constraints that addresses stand for where nothing is compiled, from 1 on.
_uncompiled: list[Callable[..., None]] = []


def constraint(function: Callable[..., None]) -> Any:
    """Compile a constraint: decorate ``constraint(mass, covariance, whitener)`` with it."""
    return entry(function)


def constraint_address(constraint: Any, like: Any) -> int:
    """Return the address of a constraint, for covariances shaped like those of a density; UNCONSTRAINED for None."""
    if constraint is None:
        return UNCONSTRAINED
    if is_switched_off():
        if constraint not in _uncompiled:
            _uncompiled.append(constraint)
        return 1 + _uncompiled.index(constraint)
    # To look for machine code waits for whoever compiles: once is enough.
    key = constraint, like.whitener.ndim
    if key not in _addresses:
        _addresses[key] = address_of(constraint, like.log_scale, like.whitener, like.whitener)
    return _addresses[key]


def constrain(address, mass, covariance, whitener):
    """Call the constraint at an address of :func:`constraint_address`; nothing is done where there is none."""
    if address != UNCONSTRAINED:
        _uncompiled[address - 1](mass, covariance, whitener)


@vector_code(constrain)
def _constrain(address, mass, covariance, whitener):
    if address != UNCONSTRAINED:
        call_at(address, (mass, covariance, whitener))


@constraint
def equal_covariances(mass, covariance, whitener):
    """Give all components one covariance, the mean of their own by mass: EEI of variances, EII of one variance each."""
    share_mean(mass, covariance.reshape((mass.size, covariance.size // mass.size)))
