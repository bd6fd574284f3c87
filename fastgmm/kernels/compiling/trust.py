"""Who could have written a file: machine code is run, so what another user could have written is not read."""

from __future__ import annotations

import contextlib
import functools
import os
import stat
import warnings
from pathlib import Path


def why_untrusted(path: Path, status: os.stat_result, is_parent: bool = False) -> str:
    """Return why a user other than this one and root could have written a file or folder; empty where none could.

    Who may write to a parent could put another folder into the place of one in it, unless the parent is sticky.
    """
    if status.st_uid not in (0, os.geteuid()):
        return f"{path} belongs to another user (number {status.st_uid})"
    if status.st_mode & 0o022 and not (is_parent and status.st_mode & stat.S_ISVTX):
        return f"{path} can be written by other users"
    return ""


@functools.cache
def why_path_untrusted(folder: Path, user: int) -> str:
    """Return the reason of :func:`why_folder_untrusted`, for the user of that number."""
    folder = folder.resolve()
    for path in (folder, *folder.parents):
        with contextlib.suppress(FileNotFoundError):
            reason = why_untrusted(path, path.stat(), is_parent=path != folder)
            if reason:
                return reason
    return ""


def why_folder_untrusted(folder: Path) -> str:
    """Return why another user could have written to a folder or to those above it; empty where none could."""
    # Elsewhere there are neither owners nor modes that say who could have written.
    return why_path_untrusted(folder, os.geteuid()) if hasattr(os, "geteuid") else ""


@functools.cache
def warn_untrusted(reason: str) -> None:
    """Say once why machine code is not read."""
    warnings.warn(
        f"Compiled code is not read from the cache, as it would be run: {reason}. Own it (or let root) and take from "
        "others the right to write, `chmod go-w`; or set NUMBA_CACHE_DIR to a folder of your own.",
        RuntimeWarning,
        stacklevel=2,
    )


def trusted_content(path: Path) -> bytes:
    """Return the content of a file; OSError, and a warning, where another user could have written it."""
    with open(path, "rb") as file:
        reason = why_folder_untrusted(path.parent)
        if hasattr(os, "geteuid"):
            # Of the file that is open: another could take its place.
            reason = reason or why_untrusted(path, os.fstat(file.fileno()))
        if reason:
            warn_untrusted(reason)
            raise PermissionError(reason)
        return file.read()


def is_as_trusted(path: Path, source: Path) -> bool:
    """Return whether those alone could have written a file or folder who could also have written a source file.

    Python runs the source whoever could have: what lies beside it needs no more.
    """
    status, of_source, of_folder = path.stat(), source.stat(), source.parent.stat()
    writers = status.st_mode & 0o022 & ~(of_source.st_mode | of_folder.st_mode)
    same_group = status.st_gid in (of_source.st_gid, of_folder.st_gid) or not status.st_mode & 0o020
    return status.st_uid in (0, of_source.st_uid) and same_group and not writers


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, which no other user may write to, whatever the umask says."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(0o755, exist_ok=True)
