"""How kernels are compiled, cached and launched: the only file that names a Numba option.

Four things here are not Numba's defaults, each for a measured reason.

* **Cache.** Numba stamps a cached function with the source file of that function alone, so an edit in a callee
  elsewhere runs old machine code; and two processes that fill one index can swap entries. Here every cached file's
  name holds a hash of *all* kernel sources and of the signature, and there is no index to race for.
* **One machine code.** The same source, compiled into a serial and into a parallel caller, or in one process and from
  another's cache, is optimised differently and rounds differently. So all kernels are inlined into the function that
  Python calls (no second copy of a symbol exists that could be linked instead), and the parallel form of a
  :class:`Driver` calls the very machine code of the serial form, by its address.
* **Threads.** A parallel region may not be entered twice at once under the ``workqueue`` layer, and never in a forked
  child once GNU OpenMP has run in the parent. :class:`Driver` takes a lock in the first case and runs its serial twin
  in the second; both give the same bits, because the lanes of a pass do not depend on threads.
* **Families.** Functions passed as arguments miss the disk cache in every process. A :func:`dispatched` function is
  chosen by the class of its first argument when it is compiled, costs nothing at run time, and is cached.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite.binding
import numba
import numpy as np
from numba.core import caching, cgutils, types
from numba.extending import intrinsic, overload
from numba.np.ufunc import parallel as _pool

# Never nnan/ninf: kernels rely on -inf (a component without weight) and detect NaN.
_FAST = {"contract", "reassoc", "nsz", "arcp"}
# Compensated arithmetic must not be re-associated.
_EXACT = {"contract"}
_COMMON = {"error_model": "numpy", "nogil": True}
_INSIDE = {**_COMMON, "forceinline": True}


def _source_hash() -> str:
    digest = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__}".encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


#: Changes whenever any kernel source does. Close over it in your own cached functions that call these kernels.
SOURCE_HASH = _source_hash()


class _EntryFiles:
    """One file an overload, named by what it holds, so that processes cannot mix entries up."""

    def __init__(self, folder: str, stem: str) -> None:
        self._folder = Path(folder)
        self._module, self._name = stem.split(".", 1)

    def _path(self, key: Any) -> Path:
        digest = hashlib.sha256(repr(key).encode()).hexdigest()[:16]
        return self._folder / f"{self._module}.{SOURCE_HASH}.{self._name}.{digest}.nbc"

    def load(self, key: Any) -> Any:
        try:
            content = self._path(key).read_bytes()
        except OSError:
            return None
        # Damaged machine code would be run.
        digest, data = content[:32], content[32:]
        return pickle.loads(data) if hashlib.sha256(data).digest() == digest else None

    def save(self, key: Any, data: Any) -> None:
        path = self._path(key)
        scratch = path.with_suffix(f".{uuid.uuid4().hex[:12]}.tmp")
        # A cache that cannot be written (full disk, read-only folder) costs time, never a result.
        with contextlib.suppress(OSError):
            try:
                content = caching.dumps(data)
                scratch.write_bytes(hashlib.sha256(content).digest() + content)
                os.replace(scratch, path)
            finally:
                scratch.unlink(missing_ok=True)
            for old in self._folder.glob(f"{self._module}.*.nbc"):
                if not old.name.startswith(f"{self._module}.{SOURCE_HASH}."):
                    old.unlink(missing_ok=True)

    def flush(self) -> None:
        for path in self._folder.glob(f"{self._module}.{SOURCE_HASH}.{self._name}.*.nbc"):
            path.unlink(missing_ok=True)


class _Cache(caching.FunctionCache):
    def __init__(self, function: Callable[..., Any], variant: str) -> None:
        super().__init__(function)
        self._cache_file = _EntryFiles(self._cache_path, f"{self._impl.filename_base}-{variant}")


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a serial function for use inside other compiled code (not cached by itself).

    Copy arrays by loops in it: an assignment to a slice takes Numba over a second to compile, each.
    """
    return numba.njit(fastmath=_FAST, **_INSIDE)(function)


def spliced_kernel(function: Callable[..., Any]) -> Any:
    """Compile like :func:`kernel`, but splice the source into callers: a large function is not compiled twice."""
    return numba.njit(fastmath=_FAST, inline="always", **_INSIDE)(function)


def exact_kernel(function: Callable[..., Any]) -> Any:
    """Compile like :func:`kernel`, keeping the written order of floating-point operations."""
    return numba.njit(fastmath=_EXACT, **_INSIDE)(function)


def entry(function: Callable[..., Any], *, parallel: bool = False, inside: bool = True) -> Any:
    """Compile a function that Python calls, and cache its machine code on disk where some folder is writable.

    `inside` says whether other compiled code calls it, too. Where not, it is compiled once rather than twice: Numba's
    wrapper for Python calls the function, by the same machine code that :func:`call_at` runs.
    """
    compiled: Any = numba.njit(fastmath=_FAST, parallel=parallel, **(_INSIDE if inside else _COMMON))(function)
    if not numba.config.DISABLE_JIT:
        # RuntimeError: no writable folder for a cache.
        with contextlib.suppress(RuntimeError):
            compiled._cache = _Cache(function, "parallel" if parallel else "serial")
    return compiled


@intrinsic
def call_at(typing_context, address, arguments):
    """Call the compiled function at an address (int64), which returns None, with a tuple of its arguments."""

    def generate(context, builder, signature, values):
        convention = context.call_conv
        kinds = signature.args[1].types
        function_type = convention.get_function_type(types.none, kinds)
        function = builder.inttoptr(values[0], function_type.as_pointer())
        status, _ = convention.call_function(
            builder, function, types.none, kinds, cgutils.unpack_tuple(builder, values[1])
        )
        with cgutils.if_unlikely(builder, status.is_error):
            convention.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return types.none(types.int64, arguments), generate


def dispatched(stub: Callable[..., Any]) -> Any:
    """Turn `stub` into a function whose body is chosen by the class of its first argument, a NamedTuple.

    ``stub.register(Class)`` decorates the body for one class. Works from Python, from compiled code, and with
    compilation switched off (``NUMBA_DISABLE_JIT=1``).
    """
    bodies: dict[type, Callable[..., Any]] = {}

    def function(record: Any, *arguments: Any) -> Any:
        return bodies[type(record)](record, *arguments)

    function.__name__, function.__qualname__ = stub.__name__, stub.__qualname__
    function.__doc__, function.__module__ = stub.__doc__, stub.__module__

    def register(record_type: type) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def keep(body: Callable[..., Any]) -> Callable[..., Any]:
            bodies[record_type] = body
            return body

        return keep

    @overload(function, jit_options={"fastmath": _FAST, **_INSIDE}, strict=False)
    def choose(record: Any, *arguments: Any) -> Any:
        return bodies.get(getattr(record, "instance_class", type(None)))

    function.register = register  # type: ignore[attr-defined]
    return function


def vector_code(stub: Callable[..., Any]) -> Callable[[Callable[..., Any]], None]:
    """Decorate what compiled code runs in place of `stub`, which runs with compilation switched off.

    Its arithmetic is as exact as that of :func:`exact_kernel`: Numba lays its options on instructions written by hand.
    """

    def keep(body: Callable[..., Any]) -> None:
        overload(stub, jit_options={"fastmath": _EXACT, **_INSIDE}, strict=False)(lambda *arguments: body)

    return keep


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


_workqueue_lock = threading.Lock()
_forked_with_threads = False


def _after_fork_in_child() -> None:
    global _workqueue_lock, _forked_with_threads
    _workqueue_lock = threading.Lock()
    _forked_with_threads = _forked_with_threads or _pool._is_initialized


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


@contextlib.contextmanager
def _threads(n_threads: int | None):
    available = numba.get_num_threads()
    with _workqueue_lock if numba.threading_layer() == "workqueue" else contextlib.nullcontext():
        numba.set_num_threads(min(n_threads or available, numba.config.NUMBA_NUM_THREADS))
        try:
            yield
        finally:
            numba.set_num_threads(available)


def _kind(argument: Any) -> Any:
    """Return what tells Numba's types of kernel arguments apart, in less time than ``numba.typeof`` takes."""
    if isinstance(argument, np.ndarray):
        flags = argument.flags
        return argument.dtype, argument.ndim, flags.c_contiguous, flags.f_contiguous, flags.writeable, flags.aligned
    if isinstance(argument, tuple):
        return type(argument), *map(_kind, argument)
    return type(argument)


class Driver:
    """A pass over lanes of rows, serial or in parallel, always by the same machine code.

    `lanes` is a function (first_lane, last_lane, *arguments) that returns None. `fan_out` is a function
    (address, *arguments) that calls it, by :func:`call_at`, for each lane of a ``prange``.

    Call it with ``n_lanes`` and ``n_threads`` (None: Numba's current number; more than Numba was started with: all of
    those) before the arguments. The number of threads is restored afterwards. One lane, one thread, or a forked child
    run the serial form and start no threads.
    """

    def __init__(self, lanes: Callable[..., None], fan_out: Callable[..., None]) -> None:
        self.serial = entry(lanes, inside=False)
        self.parallel = entry(fan_out, parallel=True, inside=False)
        self._addresses: dict[tuple[Any, ...], int] = {}
        self.__doc__ = lanes.__doc__

    def __call__(self, n_lanes: int, n_threads: int | None, *arguments: Any) -> None:
        alone = 1 in (n_lanes, n_threads, numba.config.NUMBA_NUM_THREADS)
        if alone or _forked_with_threads or numba.config.DISABLE_JIT:
            self.serial(0, n_lanes, *arguments)
        else:
            address = self._address(arguments)
            with _threads(n_threads):
                self.parallel(address, *arguments)

    def _address(self, arguments: tuple[Any, ...]) -> int:
        key = tuple(_kind(argument) for argument in arguments)
        if key not in self._addresses:
            signature = tuple(numba.typeof(argument) for argument in (0, 0, *arguments))
            self.serial.compile(signature)
            compiled = self.serial.overloads[signature]
            self._addresses[key] = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
        return self._addresses[key]
