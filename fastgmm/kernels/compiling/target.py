"""The vectors of the processor that is compiled for."""

from __future__ import annotations

import platform
from collections.abc import Mapping

import llvmlite.binding
import numba


def vectors_of(features: Mapping[str, bool], machine: str = "") -> tuple[int, bool]:
    """Return how many float64 a vector register of a processor holds, and whether there are 32 of them.

    `machine` as of ``platform.machine``: LLVM cannot list the features of all of ARM's processors.
    """
    if features.get("avx512f"):
        return 8, True
    if features.get("avx"):
        return 4, False
    return 2, bool(features.get("neon")) or machine in ("arm64", "aarch64", "ARM64")


def parsed(features: str) -> dict[str, bool]:
    """Return LLVM's list of features, as in ``"+avx,-fma"``, as a table."""
    return {name[1:]: name.startswith("+") for name in features.split(",") if name}


def host_features() -> Mapping[str, bool]:
    """Return the features of this processor that code is compiled for; none where LLVM cannot list them."""
    try:
        features = llvmlite.binding.get_host_cpu_features()
    except RuntimeError:
        return {}
    allowed = numba.config.ENABLE_AVX
    return {name: has for name, has in features.items() if allowed or not name.startswith("avx")}


_named = numba.config.CPU_FEATURES

#: float64 numbers of a vector register, and whether the target has 32 such registers rather than 16.
LANES, HAS_32_REGISTERS = vectors_of(host_features() if _named is None else parsed(_named), platform.machine())
