"""How kernels are compiled, cached and launched: the only file that names a Numba option.

Five things here are not Numba's defaults, each for a measured reason.

* **Cache.** Numba stamps a cached function with the source file of that function alone, so an edit in a callee
  elsewhere runs old machine code; and two processes that fill one index can swap entries. Here every cached file's
  name holds a hash of *all* kernel sources, of what other packages registered for the classes in the signature, and of
  the signature, and there is no index to race for. Files that another user could have written are not read. Before it
  loads machine code, Numba also gets ready to compile, which takes longer than a small fit; here it does so when it
  compiles.
* **One machine code.** The same source, compiled into a serial and into a parallel caller, or in one process and from
  another's cache, is optimised differently and rounds differently. So all kernels are inlined into the function that
  Python calls (no second copy of a symbol exists that could be linked instead), and the parallel form of a
  :class:`Driver` calls the very machine code of the serial form, by its address. The loop over lanes is compiled once
  for all of them: each of its own took Numba seconds.
* **Kernels.** Numba optimises every function, and makes wrappers for Python and C and machine code of it, although
  nobody calls one that is inlined everywhere, where all of it is optimised again. Kernels are spared that where
  compiled code calls them: a first fit compiles in half of the time, and runs as fast.
* **Threads.** A parallel region may not be entered twice at once under the ``workqueue`` layer, and never in a forked
  child once GNU OpenMP has run in the parent. :class:`Driver` takes a lock in the first case and runs its serial twin
  in the second; both give the same bits, because the lanes of a pass do not depend on threads.
* **Families.** Functions passed as arguments miss the disk cache in every process. A :func:`dispatched` function is
  chosen by the class of its first argument when it is compiled, costs nothing at run time, and is cached.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import pickle
import re
import stat
import threading
import time
import types as types_of_python
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir
from numba import _dynfunc, prange
from numba.core import caching, cgutils, codegen, typed_passes, types
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import PassManager, register_pass
from numba.core.runtime import rtsys
from numba.extending import intrinsic, overload
from numba.np.ufunc import parallel as _pool

# Never nnan/ninf: kernels rely on -inf (a component without weight) and detect NaN. Sums are re-associated, so a loop
# that sums must not write to arrays as well: it is compiled twice then, for arrays that are far enough from each other
# and for those that are not, and adds in another order by where memory happens to be.
_FAST = {"contract", "reassoc", "nsz", "arcp"}
_COMMON = {"error_model": "numpy", "nogil": True}


class _InsideLibrary(codegen.JITCodeLibrary):
    """Code that others inline: it has no machine code of its own, and is optimised where it ends up."""

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._verify_declare_only_symbols()
        self._finalized = True


@register_pass(mutates_CFG=True, analysis_only=False)
class _InsideLowering(typed_passes.NativeLowering):
    # Numba knows passes by name, and a module may be imported again.
    _name = f"lowering_of_what_is_inlined_{uuid.uuid4().hex}"

    def run_pass(self, state: Any) -> bool:
        state.library = _InsideLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.enable_object_caching()
        state.flags.no_compile = True
        super().run_pass(state)
        lowered = state["cr"]
        # A key for Numba's tables, which is never called: there is no code at 0.
        key = _dynfunc.make_function(
            lowered.fndesc.lookup_module(), lowered.fndesc.qualname, "", 0, lowered.env, (state.library,)
        )
        state.targetctx.insert_user_function(key, lowered.fndesc, [state.library])
        state["cr"] = lowered._replace(cfunc=key)
        return True


class _InsideCompiler(CompilerBase):
    """Numba's pipeline for what is only inlined into other compiled code.

    No wrappers for Python and C are made, and no machine code, and only single functions are optimised.
    """

    def define_pipelines(self) -> list[Any]:
        flags = self.state.flags
        flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
        manager = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes = [
            (_InsideLowering if each is typed_passes.NativeLowering else each, why) for each, why in manager.passes
        ]
        manager = PassManager("inside")
        manager.passes.extend(passes)
        manager.finalize()
        return [manager]


_INSIDE = {**_COMMON, "forceinline": True, "pipeline_class": _InsideCompiler}


_FOLDER = Path(__file__).parent


def _source_hash() -> str:
    digest = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__}".encode())
    for path in sorted(_FOLDER.rglob("*.py")):
        digest.update(path.relative_to(_FOLDER).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


#: Changes whenever any kernel source does. Close over it in your own cached functions that call these kernels.
SOURCE_HASH = _source_hash()


# Functions that other packages registered for classes of records: SOURCE_HASH does not cover them.
_outside: dict[type, list[Callable[..., Any]]] = {}
# Their versions are told apart by Numba's, or they are not inlined.
_LIBRARIES = {"numpy", "numba", "llvmlite", "math", "builtins"}


def _is_library(module: str) -> bool:
    return module.split(".")[0] in _LIBRARIES


def _add_code(digest: Any, code: types_of_python.CodeType) -> None:
    digest.update(code.co_code + repr((code.co_names, code.co_varnames, code.co_freevars)).encode())
    for constant in code.co_consts:
        if isinstance(constant, types_of_python.CodeType):
            _add_code(digest, constant)
        else:
            digest.update(repr(constant).encode())


def _names(code: types_of_python.CodeType) -> set[str]:
    nested = [_names(each) for each in code.co_consts if isinstance(each, types_of_python.CodeType)]
    return set(code.co_names).union(*nested)


def _named_values(function: types_of_python.FunctionType) -> list[Any]:
    """Return the values a function finds by name: closures, defaults, globals, attributes of modules among these."""
    values = [cell.cell_contents for cell in function.__closure__ or ()] + list(function.__defaults__ or ())
    names = sorted(_names(function.__code__))
    spaces = [function.__globals__]
    for space in spaces:  # more are appended
        for value in (space[name] for name in names if name in space):
            if not isinstance(value, types_of_python.ModuleType):
                values.append(value)
            elif not _is_library(value.__name__) and all(vars(value) is not other for other in spaces):
                spaces.append(vars(value))
    return values


def _outside_hash(classes: list[type]) -> str:
    """Return a hash of what was registered for classes of records outside this package; empty where nothing was.

    Of the bytecode of those functions, of the files that they stand in, of the numbers, strings and arrays that they
    find by name, and, likewise, of the functions that they find, at any depth.
    """
    waiting: list[Any] = [body for kind in classes for body in _outside.get(kind, ())]
    if not waiting:
        return ""
    digest = hashlib.sha256()
    seen: set[Any] = set()
    while waiting:
        value = waiting.pop()
        value = getattr(value, "py_func", value)
        if isinstance(value, tuple):
            waiting.extend(value)
        elif isinstance(value, np.ndarray | np.generic):
            digest.update(repr((value.dtype, value.shape)).encode() + value.tobytes())
        elif isinstance(value, int | float | complex | str | bytes):
            digest.update(repr(value).encode())
        elif isinstance(value, type):
            waiting.extend(body for body in _outside.get(value, ()) if body not in seen)
        elif isinstance(value, types_of_python.FunctionType) and value not in seen:
            seen.add(value)
            path = Path(value.__code__.co_filename)
            if _FOLDER in path.parents or _is_library(value.__module__):
                continue
            _add_code(digest, value.__code__)
            if path not in seen:
                seen.add(path)
                # There is none of what was typed at a prompt.
                with contextlib.suppress(OSError):
                    digest.update(path.read_bytes())
            waiting.extend(_named_values(value))
    return digest.hexdigest()


def _record_classes(kinds: Any) -> list[type]:
    """Return the classes of the records among Numba types, at any depth."""
    found = []
    for kind in kinds:
        if hasattr(kind, "instance_class"):
            found.append(kind.instance_class)
        if isinstance(kind, types.BaseTuple):  # type: ignore[attr-defined]
            found += _record_classes(kind.types)
    return found


def _why_untrusted(path: Path, status: os.stat_result, is_parent: bool = False) -> str:
    """Return why a user other than this one and root could have written a file or folder; empty where none could.

    Who may write to a parent could put another folder into the place of one in it, unless the parent is sticky.
    """
    if status.st_uid not in (0, os.geteuid()):
        return f"{path} belongs to another user (number {status.st_uid})"
    if status.st_mode & 0o022 and not (is_parent and status.st_mode & stat.S_ISVTX):
        return f"{path} can be written by other users"
    return ""


@functools.cache
def _why_path_untrusted(folder: Path, user: int) -> str:
    folder = folder.resolve()
    for path in (folder, *folder.parents):
        with contextlib.suppress(FileNotFoundError):
            reason = _why_untrusted(path, path.stat(), is_parent=path != folder)
            if reason:
                return reason
    return ""


def _why_folder_untrusted(folder: Path) -> str:
    """Return why another user could have written to a folder or to those above it; empty where none could."""
    # Elsewhere there are neither owners nor modes that say who could have written.
    return _why_path_untrusted(folder, os.geteuid()) if hasattr(os, "geteuid") else ""


@functools.cache
def _warn_untrusted(reason: str) -> None:
    warnings.warn(
        f"Compiled code is not read from the cache, as it would be run: {reason}. Own it (or let root) and take from "
        "others the right to write, `chmod go-w`; or set NUMBA_CACHE_DIR to a folder of your own.",
        RuntimeWarning,
        stacklevel=2,
    )


def _trusted_content(path: Path) -> bytes:
    """Return the content of a file; OSError, and a warning, where another user could have written it."""
    with open(path, "rb") as file:
        reason = _why_folder_untrusted(path.parent)
        if hasattr(os, "geteuid"):
            # Of the file that is open: another could take its place.
            reason = reason or _why_untrusted(path, os.fstat(file.fileno()))
        if reason:
            _warn_untrusted(reason)
            raise PermissionError(reason)
        return file.read()


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, which no other user may write to, whatever the umask says."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(0o755, exist_ok=True)


class _EntryFiles:
    """One file an overload, named by what it holds, so that processes cannot mix entries up.

    Files are written to the first folder and looked for in all. Machine code is run: what another user could have
    written is not read.
    """

    def __init__(self, folders: list[Path], stem: str) -> None:
        self._folders = folders
        self._module, self._name = stem.split(".", 1)

    def _file_name(self, key: Any) -> str:
        digest = hashlib.sha256(repr(key).encode()).hexdigest()[:16]
        return f"{self._module}.{SOURCE_HASH}.{self._name}.{digest}.nbc"

    def find(self, key: Any) -> Path | None:
        """Return the file of an overload, None where there is none in a folder that is read."""
        paths = (folder / self._file_name(key) for folder in self._folders if not _why_folder_untrusted(folder))
        return next((path for path in paths if path.is_file()), None)

    def load(self, key: Any) -> Any:
        for folder in self._folders:
            with contextlib.suppress(OSError):
                content = _trusted_content(folder / self._file_name(key))
                # Damaged machine code would be run.
                digest, data = content[:32], content[32:]
                if hashlib.sha256(data).digest() == digest:
                    return pickle.loads(data)
        return None

    def save(self, key: Any, data: Any) -> None:
        path = self._folders[0] / self._file_name(key)
        scratch = path.with_suffix(f".{uuid.uuid4().hex[:12]}.tmp")
        # A cache that cannot be written (full disk, read-only folder) costs time, never a result.
        with contextlib.suppress(OSError):
            try:
                content = caching.dumps(data)
                # No other user may write to it, whatever the umask says.
                with open(scratch, "xb", opener=lambda name, flags: os.open(name, flags, 0o644)) as file:
                    file.write(hashlib.sha256(content).digest() + content)
                os.replace(scratch, path)
            finally:
                scratch.unlink(missing_ok=True)
            # Whatever module it was of: that may be no more. Files of Numba's own have no hash there.
            for old in path.parent.glob("*.nbc"):
                found = re.match(r"[^.]+\.([0-9a-f]{12})\.", old.name)
                if found is not None and found[1] != SOURCE_HASH:
                    old.unlink(missing_ok=True)

    def flush(self) -> None:
        for path in self._folders[0].glob(f"{self._module}.{SOURCE_HASH}.{self._name}.*.nbc"):
            path.unlink(missing_ok=True)


class _NoFolder:
    """One of Numba's locators of caches, for where the others find no folder to write to: there, one can still read."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._line = function.__code__.co_firstlineno

    @classmethod
    def from_function(cls, function: Callable[..., Any], path: str) -> _NoFolder:
        # Each process compiles all anew, and the user can mend it.
        reason = _why_folder_untrusted(_preferred_folders()[0])
        if reason:
            _warn_untrusted(reason)
        return cls(function)

    def get_cache_path(self) -> str:
        return str(_preferred_folders()[0])

    def ensure_cache_path(self) -> None:
        pass

    def get_source_stamp(self) -> str:
        return SOURCE_HASH

    def get_disambiguator(self) -> str:
        return str(self._line)


def _of_trusted_folders(locator: Any) -> Any:
    """Return one of Numba's locators of caches that passes over folders to which other users could have written.

    It tries a folder once, for functions are many. Those of this package, in whatever folder, share one.
    """
    errors: dict[str, str] = {}

    class Locator(locator):
        @classmethod
        def from_function(cls, function: Callable[..., Any], path: str) -> Any:
            return super().from_function(function, __file__ if _FOLDER in Path(path).parents else path)

        def ensure_cache_path(self) -> None:
            path = self.get_cache_path()
            # A folder may have been deleted since.
            if path not in errors or not (errors[path] or os.path.isdir(path)):
                error_of_path = ""
                try:
                    self._try(Path(path))
                except OSError as error:
                    error_of_path = repr(error)
                errors[path] = error_of_path
            if errors[path]:
                raise OSError(errors[path])

        def _try(self, folder: Path) -> None:
            _make_folder(folder)
            reason = _why_folder_untrusted(folder)
            if reason:
                # The user has named it.
                if numba.config.CACHE_DIR:
                    _warn_untrusted(reason)
                raise PermissionError(reason)
            super().ensure_cache_path()

    return Locator


class _Implementation(caching.CompileResultCacheImpl):
    _locator_classes = (*map(_of_trusted_folders, caching.CompileResultCacheImpl._locator_classes), _NoFolder)


def _preferred_folders() -> list[Path]:
    """Return where Numba would keep machine code before it takes to a user's own folder, in its order."""
    folders = [Path(__file__).with_name("__pycache__")]
    if numba.config.CACHE_DIR:
        subfolder = caching._CacheLocator.get_suitable_cache_subpath(__file__)
        folders.insert(0, Path(numba.config.CACHE_DIR, subfolder))
    return folders


class Build(NamedTuple):
    """How a cached function became ready for arguments of some types.

    `density` is the class of the first density among the arguments, at any depth, or None; `seconds` leave out other
    builds that it had to wait for; `path` is the file in the cache, None where it could not be written.
    """

    function: str
    density: type | None
    parallel: bool
    compiled: bool
    seconds: float
    path: Path | None


class _Log:
    def __init__(self, callback: Callable[[Build], Any]) -> None:
        self._callback = callback
        self._started: dict[Any, tuple[float, float]] = {}
        self._logged = 0.0

    def start(self, key: Any) -> None:
        self._started[key] = time.perf_counter(), self._logged

    def end(self, key: Any, **build: Any) -> None:
        begin, logged_before = self._started.pop(key, (time.perf_counter(), self._logged))
        seconds = time.perf_counter() - begin - (self._logged - logged_before)
        self._logged += seconds
        self._callback(Build(seconds=seconds, **build))


_log: _Log | None = None


@contextlib.contextmanager
def logged_builds(callback: Callable[[Build], Any]) -> Iterator[None]:
    """Call ``callback(build)`` for all that is compiled or loaded in the block; one block at a time in a process.

    In the block a :class:`Driver` also builds the form that it does not run, so that both are in the cache.
    """
    global _log
    _log = _Log(callback)
    try:
        yield
    finally:
        _log = None


class _Cache(caching.FunctionCache):
    _impl_class = _Implementation

    def __init__(self, function: Callable[..., Any], variant: str) -> None:
        super().__init__(function)
        self._parallel = variant == "parallel"
        written, folders = Path(self._cache_path), _preferred_folders()
        # A preferred folder that is not written to, in an image say, may have been filled by who could write there.
        if self.folder is not None:
            folders = [written, *folders[: folders.index(written) if written in folders else None]]
        self._cache_file = _EntryFiles(folders, f"{self._impl.filename_base}-{variant}")

    @property
    def folder(self) -> Path | None:
        """The folder that is written to, or None where none can be."""
        return None if isinstance(self._impl.locator, _NoFolder) else Path(self._cache_path)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        log = _log
        if log is not None:
            log.start((self, sig))
        # Numba's own method refreshes the context, which imports and registers all that can be compiled. Machine code
        # needs the symbols of the runtime alone; the compiler refreshes the context itself.
        rtsys.initialize(target_context)
        with self._guard_against_spurious_io_errors():
            found = self._load_overload(sig, target_context)
            if log is not None and found is not None:
                self._log_end(log, sig, target_context.codegen(), compiled=False)
            return found

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        key, outside = super()._index_key(sig, codegen), _outside_hash(_record_classes(sig))
        return (*key, outside) if outside else key

    def save_overload(self, sig: Any, data: Any) -> None:
        # Where the folder cannot be written any more, by who has dropped privileges, say: it costs time alone.
        with contextlib.suppress(OSError):
            if self.folder is not None:
                super().save_overload(sig, data)
        if _log is not None:
            self._log_end(_log, sig, data.codegen, compiled=True)

    def _log_end(self, log: _Log, sig: Any, codegen: Any, compiled: bool) -> None:
        records = [kind for kind in _record_classes(sig) if "whitener" in getattr(kind, "_fields", ())]
        log.end(
            (self, sig),
            function=self._py_func.__name__,
            density=records[0] if records else None,
            parallel=self._parallel,
            compiled=compiled,
            path=self._cache_file.find(self._index_key(sig, codegen)),
        )


def is_switched_off() -> bool:
    """Return whether functions run as plain Python (``NUMBA_DISABLE_JIT``)."""
    return bool(numba.config.DISABLE_JIT)


def cache_folder() -> Path | None:
    """Return the folder that machine code is written to, or None where none is writable.

    OSError where Numba's settings leave it no place to look for.
    """
    # All functions of the package share one folder.
    try:
        return _Cache(_source_hash, "serial").folder
    except RuntimeError as error:
        raise OSError(str(error)) from error


def _compiled(function: Callable[..., Any], fastmath: Any, parallel: bool = False) -> Any:
    """Return the dispatcher of a function that Python calls, whose machine code is cached."""
    compiled: Any = numba.njit(fastmath=fastmath, parallel=parallel, **_COMMON)(function)
    if not numba.config.DISABLE_JIT:
        # RuntimeError: Numba's settings leave it no place to look for a cache.
        with contextlib.suppress(RuntimeError):
            compiled._cache = _Cache(function, "parallel" if parallel else "serial")
    return compiled


def _inlined(function: Callable[..., Any], fastmath: Any) -> Any:
    """Return a dispatcher like that of :func:`_compiled`, whose function is inlined where compiled code calls it."""
    outside = _compiled(function, fastmath)
    if not numba.config.DISABLE_JIT:
        inside = numba.njit(fastmath=fastmath, **_INSIDE)(function)
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
    return numba.njit(fastmath=_FAST, inline="always", **_COMMON)(function)


def exact_kernel(function: Callable[..., Any]) -> Any:
    """Compile like :func:`kernel`, with the floating-point operations that are written and no others.

    For what is computed row by row, and for compensated arithmetic. A licence to add in another order, to multiply by a
    reciprocal or to fuse a product with a sum is taken up anew wherever the code is inlined, unrolled, peeled or made
    of vectors: a row's last bit would depend on its place. What is to be fused is said by :func:`multiply_add`.
    """
    return _inlined(function, False)


def entry(function: Callable[..., Any], *, parallel: bool = False) -> Any:
    """Compile a function that Python alone calls, cached on disk where some folder is writable."""
    return _compiled(function, _FAST, parallel)


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
            if _FOLDER not in Path(body.__code__.co_filename).parents:
                _outside.setdefault(record_type, []).append(body)
            return body

        return keep

    def otherwise(body: Callable[..., Any]) -> Callable[..., Any]:
        bodies[None] = body
        return body

    @overload(function, jit_options={"fastmath": _FAST, **_INSIDE}, strict=False)
    def choose(record: Any, *arguments: Any) -> Any:
        return body_of(record.instance_class) if hasattr(record, "instance_class") else None

    function.register, function.otherwise = register, otherwise  # type: ignore[attr-defined]
    return function


def vector_code(stub: Callable[..., Any]) -> Callable[[Callable[..., Any]], None]:
    """Decorate what compiled code runs in place of `stub`, which runs with compilation switched off.

    Its arithmetic is as exact as that of :func:`exact_kernel`: Numba lays its options on instructions written by hand.
    """

    def keep(body: Callable[..., Any]) -> None:
        overload(stub, jit_options={"fastmath": False, **_INSIDE}, strict=False)(lambda *arguments: body)

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


@functools.partial(entry, parallel=True)
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


def _without_owner(context, builder, kind, value):
    if isinstance(kind, types.BaseTuple):  # type: ignore[attr-defined]
        for i, part in enumerate(kind.types):
            element = _without_owner(context, builder, part, builder.extract_value(value, i))
            value = builder.insert_value(value, element, i)
        return value
    if not isinstance(kind, types.Array):
        return value
    array = context.make_array(kind)(context, builder, value)
    array.meminfo = cgutils.get_null_value(array.meminfo.type)
    return array._getvalue()


@intrinsic
def _borrow(typing_context, arrays):
    def generate(context, builder, signature, values):
        return _without_owner(context, builder, signature.args[0], values[0])

    return arrays(arrays), generate


@intrinsic
def _keep(typing_context, arrays):
    def generate(context, builder, signature, values):
        return context.get_dummy_value()

    return types.void(arrays), generate


def borrowed(arrays):
    """Return an array, or a tuple or NamedTuple of arrays, whose views and fields count no references.

    Counting takes two atomic additions, each time an array is named: for problems of a few rows, more than the
    arithmetic. Whoever borrows must see that the owner lives: it is an argument of the compiled function, or
    :func:`keep` is called for it afterwards.
    """
    return arrays


@vector_code(borrowed)
def _borrowed(arrays):
    return _borrow(arrays)


def keep(arrays):
    """Keep an array, or a tuple of arrays, alive up to here."""


@vector_code(keep)
def _kept(arrays):
    _keep(arrays)


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
        self.serial = entry(lanes)
        self.parallel = entry(launch)
        self._addresses: dict[tuple[Any, ...], int] = {}
        self.__doc__ = lanes.__doc__

    def __call__(self, n_lanes: int, n_threads: int | None, *arguments: Any) -> None:
        if _log is not None and not numba.config.DISABLE_JIT:
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
