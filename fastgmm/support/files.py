"""Writing files so that a failure leaves either the old file or the new one, never half of one."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

__all__ = ["check_writable", "named_where_full", "replacing"]

# Errors that only writing makes; of others, what is read could be the cause.
_FULL = errno.ENOSPC, errno.EDQUOT, errno.EFBIG


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise OSError if `path` could not be written now: meant for before a long computation."""
    target = Path(path)
    descriptor = _descriptor(target)
    if descriptor is not None:
        os.fstat(descriptor)
        return
    if target.is_dir():
        raise IsADirectoryError(f"cannot write {target}: it is a folder")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"cannot write {target}: there is no folder {target.parent}")
    if _is_special(target):
        if not os.access(target, os.W_OK):
            raise PermissionError(f"cannot write {target}: permission denied")
        return
    # Tried rather than asked: permissions do not tell of a file system that is read-only or full.
    temporary = _temporary(target.resolve())
    try:
        temporary.touch()
        temporary.unlink()
    except OSError as error:
        raise OSError(f"cannot write {target}: {error.strerror}") from error


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a binary file that takes the place of `path` once the block ends, and is deleted if the block raises.

    The file is written next to `path` and moved there in one step.  Links are followed; what is not a regular file
    (``/dev/null``, a pipe) is written directly, for it must not be replaced; and so is what this process has open
    (``/dev/stdout``), after what was written to it before.
    """
    with named_where_full(os.fspath(path)), _replaced(path) as stream:
        yield stream


@contextmanager
def named_where_full(name: str) -> Iterator[None]:
    """Give OSErrors of a full disk, which know of no file, the name of what was written to."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL and error.filename is None:
            error.filename = name
        raise


@contextmanager
def _replaced(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    descriptor = _descriptor(Path(path))
    if descriptor is not None or _is_special(Path(path)):
        sys.stdout.flush()
        with open(path if descriptor is None else os.dup(descriptor), "wb") as stream:
            yield stream
        return
    target = Path(path).resolve()
    temporary = _temporary(target)
    try:
        with _opened(temporary, os.fspath(path)) as stream:
            yield stream
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _opened(temporary: Path, name: str) -> BinaryIO:
    """Return a file to write to; an OSError names what was asked for, `name`, not the file beside it."""
    try:
        return open(temporary, "wb")
    except OSError as error:
        error.filename = name
        raise


def _temporary(target: Path) -> Path:
    """Return a name next to `target`; not by tempfile, whose files are readable by their owner only."""
    return target.with_name(f".{target.name}.{os.getpid()}.tmp")


def _descriptor(path: Path) -> int | None:
    """Return the number of the open file that a path such as ``/dev/stdout`` stands for, links followed; else None."""
    for _ in range(40):
        path = Path(os.path.realpath(path.parent), path.name)
        found = re.fullmatch(r"/(?:proc/(\d+)/fd|dev/fd)/(\d+)", str(path))
        if found is not None:
            return int(found[2]) if found[1] in (None, str(os.getpid())) else None
        if not path.is_symlink():
            return None
        path = path.parent / os.readlink(path)
    return None


def _is_special(path: Path) -> bool:
    return path.exists() and not path.is_file()
