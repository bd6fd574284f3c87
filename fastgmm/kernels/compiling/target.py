"""The vectors of the processor that is compiled for."""

from __future__ import annotations

from collections.abc import Mapping

import llvmlite.binding
import numba


def vectors_of(features: Mapping[str, bool]) -> tuple[int, bool]:
    """Return how many float64 a vector register of a processor holds, and whether there are 32 of them."""
    if features.get("avx512f"):
        return 8, True
    if features.get("avx"):
        return 4, False
    return 2, bool(features.get("neon"))


def parsed(features: str) -> dict[str, bool]:
    """Return LLVM's list of features, as in ``"+avx,-fma"``, as a table."""
    return {name[1:]: name.startswith("+") for name in features.split(",") if name}


def _features() -> Mapping[str, bool]:
    named = numba.config.CPU_FEATURES
    return llvmlite.binding.get_host_cpu_features() if named is None else parsed(named)


#: float64 numbers of a vector register, and whether the target has 32 such registers rather than 16.
LANES, HAS_32_REGISTERS = vectors_of(_features())
