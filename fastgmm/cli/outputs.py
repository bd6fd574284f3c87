"""Where the tables that the command line makes go: a file, its format by the end of its name, or standard output."""

from __future__ import annotations

import gzip
import io
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

from numpy.typing import NDArray

from fastgmm.cli import report
from fastgmm.support.files import check_writable, replacing

__all__ = ["check_table_path", "distinct", "write_table"]

# Endings of files that are no text: a table of text under such a name would mislead whoever reads it.
_NOT_TEXT = {
    *(".arrow", ".avro", ".bin", ".bz2", ".db", ".dta", ".feather", ".h5", ".hdf5", ".ipc", ".jpg", ".json", ".jsonl"),
    *(".lz4", ".mat", ".npy", ".npz", ".ods", ".orc", ".parquet", ".pdf", ".pickle", ".pkl", ".png", ".pq", ".rds"),
    *(".sas7bdat", ".sav", ".sqlite", ".svg", ".tar", ".tgz", ".xls", ".xlsx", ".xml", ".xz", ".zip", ".zst"),
}


def check_table_path(path: str, inputs: Sequence[str] = ()) -> None:
    """Raise ValueError or OSError where a table could not be written to `path`, which must be none of the `inputs`."""
    if path == "-":
        return
    suffix = _inner_suffix(path)
    if suffix in _NOT_TEXT:
        raise ValueError(f"cannot write {path}: tables are written as .csv or .tsv, also .gz, not as {suffix}")
    check_writable(path)
    for other in inputs:
        if os.path.isfile(path) and os.path.isfile(other) and os.path.samefile(path, other):
            raise ValueError(f"cannot write {path}: it is what is read; give another name")


def write_table(path: str, blocks: Iterable[Sequence[tuple[str, NDArray[Any] | Sequence[str]]]]) -> None:
    """Write blocks of equally long named columns to a file that is complete or not there, or for ``-`` print them."""
    with _opened(path) as stream:
        report.write_csv(stream, blocks, "\t" if _inner_suffix(path) in (".tsv", ".tab") else ",")


def distinct(name: str, others: Iterable[str]) -> str:
    """Return a name for a column beside others, with underscores behind it until it is none of theirs."""
    taken, wanted = set(others), name
    while name in taken:
        name += "_"
    if name != wanted:
        print(f"fastgmm: warning: the data have a column {wanted!r}, so that of results is {name!r}", file=sys.stderr)
    return name


def _inner_suffix(path: str) -> str:
    """Return the end of a name in lower case, .gz left aside."""
    return Path(path.lower().removesuffix(".gz")).suffix


@contextmanager
def _opened(path: str) -> Iterator[TextIO]:
    if path != "-":
        with replacing(path) as binary, _compressed(path, binary) as plain, _utf8(plain) as text:
            yield text
    elif sys.stdout.isatty() or not hasattr(sys.stdout, "buffer"):
        yield sys.stdout
    else:
        # For programs: UTF-8 in all places, as it is read, with the same ends of lines.
        sys.stdout.flush()
        text = _utf8(sys.stdout.buffer)
        try:
            yield text
            text.flush()
        finally:
            text.detach()


def _utf8(binary: BinaryIO) -> io.TextIOWrapper:
    return io.TextIOWrapper(binary, encoding="utf-8", errors="surrogateescape", newline="")


@contextmanager
def _compressed(path: str, binary: BinaryIO) -> Iterator[BinaryIO]:
    if not path.lower().endswith(".gz"):
        yield binary
        return
    with gzip.GzipFile(filename="", fileobj=binary, mode="wb", mtime=0) as stream:
        yield cast(BinaryIO, stream)
