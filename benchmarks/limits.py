"""What bounds an iteration: the machine's measured rates, and a model of the work that no implementation can avoid.

The model of one iteration, E and M together, over N rows of D features and K components:

========= ===================================== ================================================================
family    floating-point operations              because, for each row and component
========= ===================================== ================================================================
full      2 N K D (D + 1)                        a triangle times a vector, and the lower triangle of a scatter:
                                                 D (D + 1) / 2 multiply-adds each
tied      N (D (D + 1) + 6 K D)                  whitening is once for the row; its total scatter is constant; distance
                                                 and deviation take 3 multiply-adds for a feature
diag      8 N K D                                scale and shift, square; first and second moment: 4 multiply-adds
spherical 6 N K D                                as diag, but the second moment follows from the distance
========= ===================================== ================================================================

A multiply-add counts as two. Besides, each row and component takes one exponential, and X is read once.
An iteration can take no less than max(bytes / bandwidth, operations / peak + exponentials * seconds of one): the
exponentials keep the same arithmetic units busy, while memory can be read at the same time.

Nothing here is taken from a data sheet: peaks come from chains of multiply-adds that never leave the registers,
bandwidth from arrays far larger than any cache, the exponential from the package's own in a loop over numbers in the L1
cache.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastgmm.kernels.compiling import LANES
from fastgmm.kernels.vector.code import vector_function

#: Floating-point operations of one iteration, by family, as functions of N, D, K.
OPERATIONS: dict[str, Callable[[int, int, int], int]] = {
    "full": lambda n, d, k: 2 * n * k * d * (d + 1),
    "tied": lambda n, d, k: n * (d * (d + 1) + 6 * k * d),
    "diag": lambda n, d, k: 8 * n * k * d,
    "spherical": lambda n, d, k: 6 * n * k * d,
}

DTYPES = ("float64", "float32")

# Independent chains of multiply-adds: more than latency times issue width (8 to 10 on today's cores), and with
# factor and addend no more than 16 registers.
_CHAINS = 12
_CHAIN_STEPS = 10_000_000
_ARRAY_BYTES = 1 << 28
_EXPONENTIALS = 960  # at 8 bytes, in and out: 15 KB; a multiple of 48, whole chunks of vectors
_EXPONENTIAL_ROUNDS = 20_000
# Other work on the machine lowers a rate, never raises it; and comes in bursts longer than one measurement.
_REPEATS = 25


@dataclass(frozen=True)
class Work:
    """What one iteration must do: floating-point operations in the type of X, exponentials, bytes to read."""

    operations: int
    exponentials: int
    n_bytes: int
    dtype: str

    @property
    def intensity(self) -> float:
        """Floating-point operations for each byte read."""
        return self.operations / self.n_bytes


def work(covariance_type: str, n_samples: int, n_features: int, n_components: int, dtype: str) -> Work:
    """Return the work of one iteration by the model above."""
    return Work(
        OPERATIONS[covariance_type](n_samples, n_features, n_components),
        n_samples * n_components,
        n_samples * n_features * np.dtype(dtype).itemsize,
        dtype,
    )


@dataclass(frozen=True)
class Rates:
    """What so many threads reach together; `peak` (per second) and `exponential` (seconds of one) by the type."""

    threads: int
    peak: dict[str, float]
    exponential: dict[str, float]
    read: float
    triad: float

    @property
    def bandwidth(self) -> float:
        """Bytes that can be moved in a second: an iteration only reads, but neither figure may be beaten."""
        return max(self.read, self.triad)

    def least_seconds(self, work: Work) -> float:
        """Return the limit of an iteration's time."""
        arithmetic = work.operations / self.peak[work.dtype] + work.exponentials * self.exponential[work.dtype]
        return max(work.n_bytes / self.bandwidth, arithmetic)


def measure() -> dict[str, Any]:
    """Return the rates of "one" thread and of "all", as dictionaries of plain numbers; takes a few seconds."""
    return {"one": asdict(_rates(1)), "all": asdict(_rates(numba.config.NUMBA_NUM_THREADS))}


def _rates(threads: int) -> Rates:
    read, triad = _bandwidths(threads)
    return Rates(
        threads,
        {dtype: _peak(threads, np.dtype(dtype)) for dtype in DTYPES},
        {dtype: _exponential(threads, dtype) for dtype in DTYPES},
        read,
        triad,
    )


def _seconds(threads: int, tasks: list[Callable[[], Any]]) -> float:
    """Return the least time in which the tasks, one a thread, were all done."""
    best = float("inf")
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda task: task(), tasks))  # compiles, and brings the clock up
        for _ in range(_REPEATS):
            begin = time.perf_counter()
            list(pool.map(lambda task: task(), tasks))
            best = min(best, time.perf_counter() - begin)
    return best


@intrinsic
def _chains(typing_context, steps, factor, addend):
    """Run ``value = value * factor + addend`` so many times in each lane of each chain; return the sum of first lanes.

    The vectors are as wide as the target's. Chains start at different values: equal ones would be computed once.
    """

    def generate(context, builder, signature, arguments):
        steps, factor, addend = arguments
        scalar = context.get_value_type(signature.args[1])
        lanes = LANES * (8 // (signature.args[1].bitwidth // 8))
        vector = ir.VectorType(scalar, lanes)

        def splat(value):
            first = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
            everywhere = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
            return builder.shuffle_vector(first, first, everywhere)

        factors, addends = splat(factor), splat(addend)
        values = [
            cgutils.alloca_once_value(builder, ir.Constant(vector, [float(chain)] * lanes)) for chain in range(_CHAINS)
        ]
        with cgutils.for_range(builder, steps):
            for value in values:
                product = builder.fmul(builder.load(value), factors, flags=("contract",))
                builder.store(builder.fadd(product, addends, flags=("contract",)), value)
        total = ir.Constant(scalar, 0.0)
        for value in values:
            total = builder.fadd(total, builder.extract_element(builder.load(value), ir.Constant(ir.IntType(32), 0)))
        return total

    return factor(types.int64, factor, factor), generate


@numba.njit(nogil=True)
def _run_chains(steps, factor, addend):
    return _chains(steps, factor, addend)


def _peak(threads: int, dtype: np.dtype) -> float:
    # The values go to 1: neither overflow nor subnormal numbers, which are slow.
    factor, addend = dtype.type(0.5), dtype.type(0.5)
    seconds = _seconds(threads, [lambda: _run_chains(_CHAIN_STEPS, factor, addend)] * threads)
    lanes = LANES * 8 // dtype.itemsize
    return threads * _CHAIN_STEPS * _CHAINS * lanes * 2 / seconds


@numba.njit(nogil=True, fastmath=True)
def _sum(a):
    total = 0.0
    for i in range(len(a)):
        total += a[i]
    return total


@numba.njit(nogil=True, fastmath=True)
def _triad(a, b, c):
    for i in range(len(a)):
        a[i] = b[i] + 3.0 * c[i]


def _bandwidths(threads: int) -> tuple[float, float]:
    """Return bytes per second of reading an array, and of ``a = b + s c`` over three (24 bytes an element)."""
    a, b, c = (np.array_split(np.ones(_ARRAY_BYTES // 8), threads) for _ in range(3))
    read = _seconds(threads, [lambda part=part: _sum(part) for part in a])
    triad = _seconds(threads, [lambda parts=parts: _triad(*parts) for parts in zip(a, b, c, strict=True)])
    return _ARRAY_BYTES / read, 3 * _ARRAY_BYTES / triad


def _exponentials(x, n_chunks, out):
    """Overwrite chunks of vectors with exponentials; compiled code only."""
    raise NotImplementedError


@vector_function(_exponentials, like="x")
def _exponentials_code(code, x, n_chunks, out):
    with code.columns(n_chunks) as places:
        for place in places:
            code.store(code.exponential(code.load(code.at(x.data, place))), code.at(out.data, place))


# Contracted like the kernels, but not re-ordered.
@numba.njit(nogil=True, fastmath={"contract"})
def _exponentiate(x, n_chunks, out, rounds):
    for _ in range(rounds):
        _exponentials(x, n_chunks, out)


def _exponential(threads: int, dtype: str) -> float:
    x = np.linspace(-20.0, 0.0, _EXPONENTIALS).astype(dtype)
    outs = [np.empty_like(x) for _ in range(threads)]
    n_chunks = _EXPONENTIALS // (3 * LANES * 8 // x.itemsize)
    seconds = _seconds(threads, [lambda out=out: _exponentiate(x, n_chunks, out, _EXPONENTIAL_ROUNDS) for out in outs])
    return seconds / (threads * _EXPONENTIALS * _EXPONENTIAL_ROUNDS)
