"""The cache of machine code on disk."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import re
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite.binding
import numba
from llvmlite import ir
from numba.core import caching
from numba.core.runtime import rtsys

from fastgmm.kernels.compiling import prebuilt
from fastgmm.kernels.compiling.sources import FOLDER, SOURCE_HASH, outside_hash, record_classes
from fastgmm.kernels.compiling.trust import make_folder, trusted_content, warn_untrusted, why_folder_untrusted
from fastgmm.kernels.compiling.waiting import waiting

# All functions of the package share the folder of machine code of this file.
_HOME = str(FOLDER / "__init__.py")


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
        paths = (folder / self._file_name(key) for folder in self._folders if not why_folder_untrusted(folder))
        return next((path for path in paths if path.is_file()), None)

    def load(self, key: Any) -> Any:
        for folder in self._folders:
            with contextlib.suppress(OSError):
                content = self._content(folder / self._file_name(key))
                # Damaged machine code would be run.
                digest, data = content[:32], content[32:]
                if hashlib.sha256(data).digest() == digest:
                    return pickle.loads(data)
        return None

    def _content(self, path: Path) -> bytes:
        return trusted_content(path)

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


class _PrebuiltFiles(_EntryFiles):
    """Files that came with the package: for a kind of processor, beside the sources, and trusted like them."""

    def __init__(self, target: prebuilt.Target, stem: str) -> None:
        super().__init__([prebuilt.folder_of(target)], stem)
        self._target = target

    def _file_name(self, key: Any) -> str:
        # The key that the function has where it is compiled for that kind.
        signature, (triple, *_), *rest = key
        return super()._file_name((signature, (triple, *self._target), *rest))

    def find(self, key: Any) -> Path | None:
        path = self._folders[0] / self._file_name(key)
        return path if path.is_file() else None

    def _content(self, path: Path) -> bytes:
        if not prebuilt.is_trusted(path):
            raise PermissionError(path)
        return path.read_bytes()


class _NoFolder:
    """One of Numba's locators of caches, for where the others find no folder to write to: there, one can still read."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._line = function.__code__.co_firstlineno

    @classmethod
    def from_function(cls, function: Callable[..., Any], path: str) -> _NoFolder:
        # Each process compiles all anew, and the user can mend it.
        reason = why_folder_untrusted(_preferred_folders()[0])
        if reason:
            warn_untrusted(reason)
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
            return super().from_function(function, _HOME if FOLDER.parent in Path(path).parents else path)

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
            make_folder(folder)
            reason = why_folder_untrusted(folder)
            if reason:
                # The user has named it.
                if numba.config.CACHE_DIR:
                    warn_untrusted(reason)
                raise PermissionError(reason)
            super().ensure_cache_path()

    return Locator


class _Implementation(caching.CompileResultCacheImpl):
    _locator_classes = (*map(_of_trusted_folders, caching.CompileResultCacheImpl._locator_classes), _NoFolder)

    #: Whether compiled code calls the function by its address alone, if at all.
    by_address = False

    def reduce(self, compiled: Any) -> Any:
        (name, kind, (code, linked)), *rest = super().reduce(compiled)
        return ((name, kind, (code, _names_alone(linked) if self.by_address else linked)), *rest)


def _names_alone(bitcode: bytes) -> bytes:
    """Return a module that defines the same names, and nothing of what they stand for.

    Numba keeps code that callers are linked to, more than half of a file. Who is called by address has none. When Numba
    loads the file, it also looks there for names.
    """
    module = llvmlite.binding.parse_bitcode(bitcode)
    defined = [
        value.name for value in (*module.functions, *module.global_variables) if value.name and not value.is_declaration
    ]
    names = ir.Module()
    names.triple = module.triple
    for name in defined:
        ir.GlobalVariable(names, ir.IntType(8), name).initializer = ir.Constant(ir.IntType(8), 0)
    return llvmlite.binding.parse_assembly(str(names)).as_bitcode()


def _preferred_folders() -> list[Path]:
    """Return where Numba would keep machine code before it takes to a user's own folder, in its order."""
    folders = [FOLDER / "__pycache__"]
    if numba.config.CACHE_DIR:
        subfolder = caching._CacheLocator.get_suitable_cache_subpath(_HOME)
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


def is_logging() -> bool:
    """Return whether builds are logged now."""
    return _log is not None


class Cache(caching.FunctionCache):
    """The cache of one function's machine code, `variant` "serial" or "parallel"."""

    _impl_class = _Implementation

    def __init__(self, function: Callable[..., Any], variant: str, by_address: bool = False) -> None:
        super().__init__(function)
        self._impl.by_address = by_address
        self._parallel = variant == "parallel"
        written, folders = Path(self._cache_path), _preferred_folders()
        # A preferred folder that is not written to, in an image say, may have been filled by who could write there.
        if self.folder is not None:
            folders = [written, *folders[: folders.index(written) if written in folders else None]]
        stem = f"{self._impl.filename_base}-{variant}"
        self._cache_file = _EntryFiles(folders, stem)
        target = prebuilt.target()
        self._prebuilt = None if target is None else _PrebuiltFiles(target, stem)

    @property
    def folder(self) -> Path | None:
        """The folder that is written to, or None where none can be."""
        return None if isinstance(self._impl.locator, _NoFolder) else Path(self._cache_path)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled function of a signature, or None where none is kept."""
        log = _log
        if log is not None:
            log.start((self, sig))
        # Numba's own method refreshes the context, which imports and registers all that can be compiled. Machine code
        # needs the symbols of the runtime alone; the compiler refreshes the context itself.
        rtsys.initialize(target_context)
        with self._guard_against_spurious_io_errors():
            found = self._load_prebuilt(sig, target_context) or self._load_overload(sig, target_context)
            if found is None:
                waiting.begin(self.folder)
            if log is not None and found is not None:
                self._log_end(log, sig, target_context.codegen(), compiled=False)
            return found

    def _load_prebuilt(self, sig: Any, target_context: Any) -> Any:
        data = None
        if self._prebuilt is not None:
            data = self._prebuilt.load(self._index_key(sig, target_context.codegen()))
        return None if data is None else self._impl.rebuild(target_context, data)

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        key, outside = super()._index_key(sig, codegen), outside_hash(self._py_func, record_classes(sig))
        return (*key, outside) if outside else key

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep the compiled function of a signature."""
        # Where the folder cannot be written any more, by who has dropped privileges, say: it costs time alone.
        with contextlib.suppress(OSError):
            if self.folder is not None:
                super().save_overload(sig, data)
        if _log is not None:
            self._log_end(_log, sig, data.codegen, compiled=True)
        # Last: it may warn, and warnings may be errors.
        waiting.end()

    def _log_end(self, log: _Log, sig: Any, codegen: Any, compiled: bool) -> None:
        records = [kind for kind in record_classes(sig) if "whitener" in getattr(kind, "_fields", ())]
        log.end(
            (self, sig),
            function=self._py_func.__name__,
            density=records[0] if records else None,
            parallel=self._parallel,
            compiled=compiled,
            path=self._path(sig, codegen, compiled),
        )

    def _path(self, sig: Any, codegen: Any, compiled: bool) -> Path | None:
        key = self._index_key(sig, codegen)
        found = None if self._prebuilt is None or compiled else self._prebuilt.find(key)
        return found or self._cache_file.find(key)


def cache_folder() -> Path | None:
    """Return the folder that machine code is written to, or None where none is writable.

    OSError where Numba's settings leave it no place to look for.
    """
    # All functions of the package share one folder.
    try:
        return Cache(cache_folder, "serial").folder
    except RuntimeError as error:
        raise OSError(str(error)) from error
