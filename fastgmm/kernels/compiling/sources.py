"""A hash of all kernel sources, and of what other packages registered: in the key of machine code."""

from __future__ import annotations

import contextlib
import hashlib
import types as types_of_python
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite.binding
import numba
import numpy as np
from numba.core import types

#: The folder of all kernels.
FOLDER = Path(__file__).parents[1]


def _source_hash() -> str:
    digest = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__}".encode())
    for path in sorted(FOLDER.rglob("*.py")):
        digest.update(path.relative_to(FOLDER).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


#: Changes whenever any kernel source does. Close over it in your own cached functions that call these kernels.
SOURCE_HASH = _source_hash()


# Functions that other packages registered for classes of records: SOURCE_HASH does not cover them.
registered_outside: dict[type, list[Callable[..., Any]]] = {}


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


def outside_hash(function: Callable[..., Any], classes: list[type]) -> str:
    """Return a hash of what SOURCE_HASH does not cover of a compiled function: empty where there is nothing.

    That is the function itself, where it stands outside the folder of kernels, and what was registered outside for
    classes of records among its arguments: the bytecode of those functions, the files that they stand in, the numbers,
    strings and arrays that they find by name, and, likewise, the functions that they find, at any depth.
    """
    waiting: list[Any] = [body for kind in classes for body in registered_outside.get(kind, ())]
    if FOLDER not in Path(function.__code__.co_filename).parents:
        waiting.append(function)
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
            waiting.extend(body for body in registered_outside.get(value, ()) if body not in seen)
        elif isinstance(value, types_of_python.FunctionType) and value not in seen:
            seen.add(value)
            path = Path(value.__code__.co_filename)
            if FOLDER in path.parents or _is_library(value.__module__):
                continue
            _add_code(digest, value.__code__)
            if path not in seen:
                seen.add(path)
                # There is none of what was typed at a prompt.
                with contextlib.suppress(OSError):
                    digest.update(path.read_bytes())
            waiting.extend(_named_values(value))
    return digest.hexdigest()


def record_classes(kinds: Any) -> list[type]:
    """Return the classes of the records among Numba types, at any depth."""
    found = []
    for kind in kinds:
        if hasattr(kind, "instance_class"):
            found.append(kind.instance_class)
        if isinstance(kind, types.BaseTuple):  # type: ignore[attr-defined]
            found += record_classes(kind.types)
    return found
