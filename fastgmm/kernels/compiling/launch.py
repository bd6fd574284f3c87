"""Calls by address, and passes over lanes: one compiled loop serves them all."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import prange
from numba.core import cgutils, types
from numba.extending import intrinsic
from numba.np.ufunc import parallel as _pool

from fastgmm.kernels.compiling.cache import is_logging
from fastgmm.kernels.compiling.functions import entry


def _call(context, builder, address, kinds, values):
    """Make code that calls the compiled function at an address, which returns None, and return the call's status."""
    function_type = context.call_conv.get_function_type(types.none, kinds)
    function = builder.inttoptr(address, function_type.as_pointer())
    return context.call_conv.call_function(builder, function, types.none, kinds, values)[0]


def _raise_if_failed(context, builder, status):
    with cgutils.if_unlikely(builder, status.is_error):
        context.call_conv.return_status_propagate(builder, status)


@intrinsic
def call_at(typing_context, address, arguments):
    """Call the compiled function at an address (int64), which returns None, with a tuple of its arguments."""

    def generate(context, builder, signature, values):
        arguments = cgutils.unpack_tuple(builder, values[1])
        _raise_if_failed(context, builder, _call(context, builder, values[0], signature.args[1].types, arguments))
        return context.get_dummy_value()

    return types.none(types.int64, arguments), generate


@functools.partial(entry, parallel=True, by_address=True)
def _each_lane(call, arguments, n_lanes):
    """Call the function at an address with (lane, arguments) for each lane, on several threads.

    It must return no error, which would be lost with its thread. `arguments` is an address, too.
    """
    for i in prange(n_lanes):
        call_at(call, (np.int64(i), arguments))


def _lane_function(context, builder, memory, kinds):
    """Make the function (lane, address of `memory`) that :func:`_each_lane` calls, and return it.

    It calls the function whose address waits in memory with (lane, lane + 1) and the arguments that wait there. The
    code and the reason of an error are kept in memory, those of the first lane that failed.
    """
    convention = context.call_conv
    pair = (types.int64, types.int64)
    name = f"{builder.function.name}.lane"
    function = ir.Function(builder.module, convention.get_function_type(types.none, pair), name)
    function.linkage = "internal"
    inner = ir.IRBuilder(function.append_basic_block())
    lane, place = function.args[-2:]
    place = inner.inttoptr(place, memory.type)
    address, *rest = cgutils.unpack_tuple(inner, inner.load(cgutils.gep_inbounds(inner, place, 0, 0)))
    next_lane = inner.add(lane, ir.Constant(lane.type, 1))
    status = _call(context, inner, address, (*pair, *kinds[1:]), (lane, next_lane, *rest))
    with cgutils.if_unlikely(inner, status.is_error):
        code = cgutils.gep_inbounds(inner, place, 0, 1)
        swapped = inner.cmpxchg(code, ir.Constant(status.code.type, 0), status.code, "monotonic", "monotonic")
        with inner.if_then(inner.extract_value(swapped, 1)):
            reason = inner.ptrtoint(status.excinfoptr, lane.type)
            inner.store(reason, cgutils.gep_inbounds(inner, place, 0, 2))
    convention.return_value(inner, context.get_dummy_value())
    return function


@intrinsic
def _share_out(typing_context, each_lane, n_lanes, block):
    """Call ``each_lane(call, arguments, n_lanes)``, for the address and the remaining arguments in a tuple `block`.

    `call` is a function that is made here, and `arguments` the address of the memory where the block waits, so that one
    compiled loop over lanes serves all functions. An error in a lane waits there, too, and is raised when all are done.
    """

    def generate(context, builder, signature, values):
        address_type, code_type = values[0].type, ir.IntType(32)
        memory = cgutils.alloca_once(builder, ir.LiteralStructType([values[2].type, code_type, address_type]))
        builder.store(values[2], cgutils.gep_inbounds(builder, memory, 0, 0))
        builder.store(ir.Constant(code_type, 0), cgutils.gep_inbounds(builder, memory, 0, 1))
        call = _lane_function(context, builder, memory, signature.args[2].types)

        arguments = (builder.ptrtoint(call, address_type), builder.ptrtoint(memory, address_type), values[1])
        status = _call(context, builder, values[0], (types.int64,) * 3, arguments)
        _raise_if_failed(context, builder, status)
        code = builder.load(cgutils.gep_inbounds(builder, memory, 0, 1))
        with cgutils.if_unlikely(builder, builder.icmp_signed("!=", code, ir.Constant(code_type, 0))):
            reason = builder.load(cgutils.gep_inbounds(builder, memory, 0, 2))
            reason = builder.inttoptr(reason, status.excinfoptr.type)
            context.call_conv.return_status_propagate(builder, status._replace(code=code, excinfoptr=reason))
        return context.get_dummy_value()

    return types.none(types.int64, types.int64, block), generate


_workqueue_lock = threading.Lock()


_forked_with_threads = False


def _after_fork_in_child() -> None:
    global _workqueue_lock, _forked_with_threads
    _workqueue_lock = threading.Lock()
    _forked_with_threads = _forked_with_threads or _pool._is_initialized


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def thread_count(n_threads: int | None) -> int:
    """Return how many threads a :class:`Driver` uses: at most so many, None for Numba's current number."""
    if numba.config.DISABLE_JIT:
        return 1
    most = numba.config.NUMBA_NUM_THREADS
    # To ask Numba would start the threads, which small fits do without.
    current = numba.get_num_threads() if _pool._is_initialized else most
    return int(min(n_threads or current, most))


@contextlib.contextmanager
def _threads(n_threads: int | None):
    available = numba.get_num_threads()
    with _workqueue_lock if numba.threading_layer() == "workqueue" else contextlib.nullcontext():
        numba.set_num_threads(thread_count(n_threads))
        try:
            yield
        finally:
            numba.set_num_threads(available)


def _kind(argument: Any) -> Any:
    """Return a key of the Numba type of a kernel's argument, in less time than ``numba.typeof`` takes."""
    if isinstance(argument, np.ndarray):
        flags = argument.flags
        return argument.dtype, argument.ndim, flags.c_contiguous, flags.f_contiguous, flags.writeable, flags.aligned
    if isinstance(argument, tuple):
        return type(argument), *map(_kind, argument)
    return type(argument)


def address_of(function: Any, *arguments: Any) -> int:
    """Return where the machine code of an :func:`entry` for arguments like these is, for :func:`call_at`.

    0 with compilation switched off.
    """
    if numba.config.DISABLE_JIT:
        return 0
    signature = tuple(numba.typeof(argument) for argument in arguments)
    function.compile(signature)
    compiled = function.overloads[signature]
    if compiled.signature.return_type != types.none:
        raise TypeError(f"{function.__name__} must return nothing, it returns {compiled.signature.return_type}")
    return compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)


class Driver:
    """A pass over lanes of rows, serial or in parallel, always by the same machine code.

    `lanes` is a function (first_lane, last_lane, *arguments) that returns None, named ``_..._lanes``.

    Call it with ``n_lanes`` and ``n_threads`` (None: Numba's current number; more than Numba was started with: all of
    those) before the arguments. The number of threads is restored afterwards. One lane, one thread, or a forked child
    run the serial form and start no threads.
    """

    def __init__(self, lanes: Callable[..., None]) -> None:
        def launch(each_lane, n_lanes, block):
            _share_out(each_lane, n_lanes, block)

        # The launches of all drivers stand in one line: files in the cache are told apart by this name.
        launch.__name__ = launch.__qualname__ = lanes.__name__.removesuffix("_lanes") + "_launch"
        self.serial = entry(lanes, by_address=True)
        self.parallel = entry(launch, by_address=True)
        self._addresses: dict[tuple[Any, ...], int] = {}
        self.__doc__ = lanes.__doc__

    def __call__(self, n_lanes: int, n_threads: int | None, *arguments: Any) -> None:
        """Run the pass."""
        if is_logging() and not numba.config.DISABLE_JIT:
            self._build(arguments)
        alone = 1 in (n_lanes, n_threads, numba.config.NUMBA_NUM_THREADS)
        if alone or _forked_with_threads or numba.config.DISABLE_JIT:
            self.serial(0, n_lanes, *arguments)
        else:
            address = self._address(arguments)
            with _threads(n_threads):
                self.parallel(_address_of_each_lane(), n_lanes, (address, *arguments))

    def _build(self, arguments: tuple[Any, ...]) -> None:
        """Make both forms ready for arguments of these types."""
        self.parallel.compile((types.int64, types.int64, numba.typeof((self._address(arguments), *arguments))))
        _address_of_each_lane()

    def _address(self, arguments: tuple[Any, ...]) -> int:
        key = tuple(_kind(argument) for argument in arguments)
        if key not in self._addresses:
            self._addresses[key] = address_of(self.serial, 0, 0, *arguments)
        return self._addresses[key]


@functools.cache
def _address_of_each_lane() -> int:
    return address_of(_each_lane, 0, 0, 0)
