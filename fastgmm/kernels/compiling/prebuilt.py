"""Machine code that comes with the package, for a kind of processor rather than for one model.

Whoever builds a wheel compiles it (``setup.py``); where none fits, kernels are compiled as they are needed.
"""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path
from typing import NamedTuple

import numba

from fastgmm.kernels.compiling.sources import FOLDER
from fastgmm.kernels.compiling.target import host_features, parsed, vectors_of
from fastgmm.kernels.compiling.trust import is_as_trusted


class Target(NamedTuple):
    """A kind of processor, as LLVM names it and its features."""

    name: str
    features: str


_V3 = "+avx,+avx2,+bmi,+bmi2,+cx16,+f16c,+fma,+lzcnt,+movbe,+popcnt,+sse3,+sse4.1,+sse4.2,+ssse3,+xsave"

#: Kinds of processors that code is compiled for ahead, the best first.
TARGETS = (
    Target("x86-64-v4", f"{_V3},+avx512bw,+avx512cd,+avx512dq,+avx512f,+avx512vl"),
    Target("x86-64-v3", _V3),
)


# Variables that change what Numba compiles.
_OF_CODE = {
    "NUMBA_BOUNDSCHECK",
    "NUMBA_DEBUGINFO",
    "NUMBA_ENABLE_AVX",
    "NUMBA_LOOP_VECTORIZE",
    "NUMBA_OPT",
    "NUMBA_SLP_VECTORIZE",
}


def targets_of_host() -> list[Target]:
    """Return the kinds that this processor belongs to, the best first."""
    host = host_features()
    return [target for target in TARGETS if all(host.get(feature) for feature in parsed(target.features))]


def target_of_host() -> Target | None:
    """Return the best kind that this processor belongs to and that has vectors like it; None where there is none."""
    vectors = vectors_of(host_features())
    return next((each for each in targets_of_host() if vectors_of(parsed(each.features)) == vectors), None)


@functools.cache
def target() -> Target | None:
    """Return the kind of processor whose code is read here, None where code is compiled for this very processor.

    That is so where the user has told Numba how to compile, or has set ``FASTGMM_PREBUILT=0``.
    """
    is_told = numba.config.CPU_NAME is not None or numba.config.CPU_FEATURES is not None
    if is_told or not _OF_CODE.isdisjoint(os.environ) or os.environ.get("FASTGMM_PREBUILT") == "0":
        return None
    host = target_of_host()
    return host if host is not None and folder_of(host).is_dir() and is_trusted(folder_of(host)) else None


def is_trusted(path: Path) -> bool:
    """Return whether those alone could have written prebuilt code who could have written the package's sources."""
    return is_as_trusted(path, FOLDER / "__init__.py")


def folder_of(target: Target) -> Path:
    """Return the folder of the code for a kind of processor and this version of Python."""
    return FOLDER / "prebuilt" / f"{sys.implementation.cache_tag}-{target.name}"
