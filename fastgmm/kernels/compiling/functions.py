"""Decorators of compiled functions, and what kernels are written with."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, overload

from fastgmm.kernels.compiling.cache import Cache
from fastgmm.kernels.compiling.inside import COMMON, INSIDE
from fastgmm.kernels.compiling.sources import FOLDER, registered_outside

# Never nnan/ninf: kernels rely on -inf (a component without weight) and detect NaN. Sums are re-associated, so a loop
# that sums must not write to arrays as well: it is compiled twice then, for arrays that are far enough from each other
# and for those that are not, and adds in another order by where memory happens to be.
_FAST = {"contract", "reassoc", "nsz", "arcp"}


def is_switched_off() -> bool:
    """Return whether functions run as plain Python (``NUMBA_DISABLE_JIT``)."""
    return bool(numba.config.DISABLE_JIT)


def _compiled(function: Callable[..., Any], fastmath: Any, parallel: bool = False, by_address: bool = False) -> Any:
    """Return the dispatcher of a function that Python calls, whose machine code is cached."""
    compiled: Any = numba.njit(fastmath=fastmath, parallel=parallel, **COMMON)(function)
    if not numba.config.DISABLE_JIT:
        # RuntimeError: Numba's settings leave it no place to look for a cache.
        with contextlib.suppress(RuntimeError):
            compiled._cache = Cache(function, "parallel" if parallel else "serial", by_address)
        if by_address:
            compiled.get_call_template = functools.partial(_refuse_to_link, function.__name__)
    return compiled


def _refuse_to_link(name: str, *_: Any) -> Any:
    raise TypeError(
        f"{name} is called from Python, or by its address with call_at; compiled code cannot call it by name"
    )


def _inlined(function: Callable[..., Any], fastmath: Any) -> Any:
    """Return a dispatcher like that of :func:`_compiled`, whose function is inlined where compiled code calls it."""
    outside = _compiled(function, fastmath)
    if not numba.config.DISABLE_JIT:
        inside = numba.njit(fastmath=fastmath, **INSIDE)(function)
        outside.get_call_template, outside.get_overload = inside.get_call_template, inside.get_overload
    return outside


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a serial function, which is inlined where compiled code calls it, and cached where Python does.

    The wrapper for Python calls the machine code that :func:`call_at` runs. Copy arrays by loops: an assignment to a
    slice takes Numba over a second to compile, each.
    """
    return _inlined(function, _FAST)


def spliced_kernel(function: Callable[..., Any]) -> Any:
    """Compile like :func:`kernel`, but splice the source into callers: a large function is not compiled twice."""
    return numba.njit(fastmath=_FAST, inline="always", **COMMON)(function)


def exact_kernel(function: Callable[..., Any]) -> Any:
    """Compile like :func:`kernel`, with the floating-point operations that are written and no others.

    For what is computed row by row, and for compensated arithmetic. A licence to add in another order, to multiply by a
    reciprocal or to fuse a product with a sum is taken up anew wherever the code is inlined, unrolled, peeled or made
    of vectors: a row's last bit would depend on its place. What is to be fused is said by :func:`multiply_add`.
    """
    return _inlined(function, False)


def entry(function: Callable[..., Any], *, parallel: bool = False, by_address: bool = False) -> Any:
    """Compile a function that Python calls, cached on disk where some folder is writable.

    Files are half as large where compiled code calls it `by_address` alone, by :func:`call_at`.
    """
    return _compiled(function, _FAST, parallel, by_address)


def dispatched(stub: Callable[..., Any]) -> Any:
    """Turn `stub` into a function whose body is chosen by the class of its first argument, a NamedTuple.

    ``stub.register(Class)`` decorates the body for one class, ``stub.otherwise`` that for classes that have none of
    their own. Works from Python, from compiled code, and with compilation switched off (``NUMBA_DISABLE_JIT=1``).
    """
    bodies: dict[type | None, Callable[..., Any]] = {}

    def body_of(record_type: type) -> Any:
        return bodies.get(record_type, bodies.get(None))

    def function(record: Any, *arguments: Any) -> Any:
        body = body_of(type(record))
        if body is None:
            raise TypeError(f"{stub.__name__} has no body for {type(record).__name__}: register one")
        return body(record, *arguments)

    function.__name__, function.__qualname__ = stub.__name__, stub.__qualname__
    function.__doc__, function.__module__ = stub.__doc__, stub.__module__

    def register(record_type: type) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def keep(body: Callable[..., Any]) -> Callable[..., Any]:
            bodies[record_type] = body
            if FOLDER not in Path(body.__code__.co_filename).parents:
                registered_outside.setdefault(record_type, []).append(body)
            return body

        return keep

    def otherwise(body: Callable[..., Any]) -> Callable[..., Any]:
        bodies[None] = body
        return body

    @overload(function, jit_options={"fastmath": _FAST, **INSIDE}, strict=False)
    def choose(record: Any, *arguments: Any) -> Any:
        return body_of(record.instance_class) if hasattr(record, "instance_class") else None

    function.register, function.otherwise = register, otherwise  # type: ignore[attr-defined]
    return function


def vector_code(stub: Callable[..., Any]) -> Callable[[Callable[..., Any]], None]:
    """Decorate what compiled code runs in place of `stub`, which runs with compilation switched off.

    Its arithmetic is as exact as that of :func:`exact_kernel`: Numba lays its options on instructions written by hand.
    """

    def keep(body: Callable[..., Any]) -> None:
        overload(stub, jit_options={"fastmath": False, **INSIDE}, strict=False)(lambda *arguments: body)

    return keep


def fused_multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """Return the LLVM value a * b + c, for numbers or vectors: rounded once on processors that can, everywhere alike.

    A product and a sum that may be contracted are no substitute: of a sum of two products LLVM chooses one to fuse,
    anew at each place that the code comes to.
    """
    kind = a.type
    suffix = {"double": "f64", "float": "f32"}[str(getattr(kind, "element", kind))]
    if isinstance(kind, ir.VectorType):
        suffix = f"v{kind.count}{suffix}"
    function = ir.FunctionType(kind, [kind] * 3)
    return builder.call(cgutils.get_or_insert_function(builder.module, function, f"llvm.fmuladd.{suffix}"), (a, b, c))


@intrinsic
def _multiply_add(typing_context, a, b, c):
    def generate(context, builder, signature, values):
        return fused_multiply_add(builder, *values)

    return types.float64(types.float64, types.float64, types.float64), generate


def multiply_add(a, b, c):
    """Return a * b + c of float64 numbers, rounded once on processors that can, in all places alike."""
    return a * b + c


@vector_code(multiply_add)
def _multiply_add_code(a, b, c):
    return _multiply_add(a, b, c)
