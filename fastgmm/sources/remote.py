"""Parquet and Arrow files elsewhere, by their URLs: on the file systems that pyarrow and fsspec know."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from fastgmm.sources.arrow import FOLDER_KINDS, Part, part_of_file
from fastgmm.sources.table_formats import MARKED_FOLDERS, refuse_logged_table
from fastgmm.support.extras import require
from fastgmm.support.showing import listing
from fastgmm.tables.request import KINDS, TableError, kind_of


def parts_of_url(url: str) -> list[Part]:
    """Return the files that a URL names, those of a folder in the order of their names."""
    fs = require("arrow", "URLs need", "pyarrow", "pyarrow.fs").fs
    system, path = _file_system(url, fs)
    found = system.get_file_info(path)
    if found.type == fs.FileType.NotFound:
        raise FileNotFoundError(f"{url} is not there")
    if found.type != fs.FileType.Directory:
        return [_part(system, path, url)]
    inside = system.get_file_info(fs.FileSelector(path, recursive=True))
    names = {info.path.removeprefix(path).strip("/"): info for info in inside if info.is_file}
    refuse_logged_table(f"{url} holds", url, names)
    for above in list(PurePosixPath(path).parents)[:-1]:
        refuse_logged_table(f"{url} is inside", str(above), _beside(system, fs, str(above)))
    files = [
        name
        for name in sorted(names)
        if not any(part.startswith((".", "_")) for part in name.split("/")) and kind_of(name) in FOLDER_KINDS
    ]
    if not files:
        raise TableError(f"{url} is a folder without files of Parquet or Arrow ({listing(list(KINDS)[1:6])})")
    return [_part(system, names[name].path, f"{url.rstrip('/')}/{name}") for name in files]


def _beside(system: Any, fs: Any, folder: str) -> list[str]:
    """Return the files in those folders of a folder that tell what kind of table it is."""
    found = []
    for name in MARKED_FOLDERS:
        try:
            inside = system.get_file_info(fs.FileSelector(f"{folder}/{name}", allow_not_found=True))
        except OSError:  # who may read a folder may not be allowed to look above it
            continue
        found += [f"{name}/{info.base_name}" for info in inside if info.is_file]
    return found


def _file_system(url: str, fs: Any) -> tuple[Any, str]:
    """Return the file system of a URL, and the path on it: pyarrow's own, or one of fsspec."""
    import pyarrow

    try:
        system, path = fs.FileSystem.from_uri(url)
    except pyarrow.ArrowInvalid:
        fsspec = require("arrow", f"The URL {url} needs", "fsspec", "fsspec")
        system, path = fsspec.core.url_to_fs(url)
        system = fs.PyFileSystem(fs.FSSpecHandler(system))
    return system, path


def _part(system: Any, path: str, label: str) -> Part:
    kind = kind_of(path)
    if kind not in FOLDER_KINDS:
        raise TableError(f"{label} must be a Parquet or Arrow file ({listing(list(KINDS)[1:6])}): copy others here")
    return part_of_file(label, kind, lambda: system.open_input_file(path))
