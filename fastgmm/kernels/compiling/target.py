"""The vectors of the processor that is compiled for."""

from __future__ import annotations

import llvmlite.binding
import numba


def _vector_features() -> tuple[int, bool]:
    """Return how many float64 a vector register of the target holds, and whether there are 32 of them."""
    named = numba.config.CPU_FEATURES
    features = llvmlite.binding.get_host_cpu_features() if named is None else _parsed(named)
    if features.get("avx512f"):
        return 8, True
    if features.get("avx"):
        return 4, False
    return 2, bool(features.get("neon"))


def _parsed(features: str) -> dict[str, bool]:
    return {name[1:]: name.startswith("+") for name in features.split(",") if name}


#: float64 numbers of a vector register, and whether the target has 32 such registers rather than 16.
LANES, HAS_32_REGISTERS = _vector_features()
