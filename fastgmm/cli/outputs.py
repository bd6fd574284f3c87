"""Where the tables that the command line makes go: a file, its format by the end of its name, or standard output."""

from __future__ import annotations

import contextlib
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
from fastgmm.support.extras import require
from fastgmm.support.files import check_writable, replacing

__all__ = ["check_table_path", "distinct", "write_table"]

# Endings of files that are no text: a table of text under such a name would mislead whoever reads it.
_NOT_TEXT = {
    *(".avro", ".bin", ".bz2", ".db", ".dta", ".h5", ".hdf5", ".jpg", ".json", ".jsonl", ".lz4", ".mat", ".npy"),
    *(".npz", ".ods", ".orc", ".pdf", ".pickle", ".pkl", ".png", ".rds"),
    *(".sas7bdat", ".sav", ".sqlite", ".svg", ".tar", ".tgz", ".xls", ".xlsx", ".xml", ".xz", ".zip", ".zst"),
}

# Endings of files of typed columns, which pyarrow writes.
_TYPED = {".arrow": "Arrow", ".feather": "Arrow", ".ipc": "Arrow", ".parquet": "Parquet", ".pq": "Parquet"}

Block = Sequence[tuple[str, "NDArray[Any] | Sequence[str]"]]


def check_table_path(path: str, inputs: Sequence[str] = ()) -> None:
    """Raise ValueError or OSError where a table could not be written to `path`, which must be none of the `inputs`."""
    if path == "-":
        return
    suffix = _inner_suffix(path)
    is_typed = suffix in _TYPED
    if suffix in _NOT_TEXT or (is_typed and path.lower().endswith(".gz")):
        raise ValueError(
            f"cannot write {path}: tables are written as .csv or .tsv, also .gz, or as .parquet or .arrow, not as "
            f"{path[path.lower().rindex(suffix) :]}"
        )
    check_writable(path)
    if is_typed:
        require("parquet", f"{_TYPED[suffix]} files need", "pyarrow")
    for other in inputs:
        if os.path.isfile(path) and os.path.isfile(other) and os.path.samefile(path, other):
            raise ValueError(f"cannot write {path}: it is what is read; give another name")


def write_table(path: str, blocks: Iterable[Block]) -> None:
    """Write blocks of equally long named columns to a file that is complete or not there, or for ``-`` print them."""
    if path != "-" and (kind := _TYPED.get(_inner_suffix(path))) is not None:
        _write_typed(path, kind, blocks)
        return
    with _opened(path) as stream:
        report.write_csv(stream, blocks, "\t" if _inner_suffix(path) in (".tsv", ".tab") else ",")


def _write_typed(path: str, kind: str, blocks: Iterable[Block]) -> None:
    """Write blocks of columns to a Parquet or an Arrow file: numbers in their own types, else text."""
    pyarrow = require("parquet", f"{kind} files need", "pyarrow.ipc", "pyarrow.parquet")
    new = pyarrow.parquet.ParquetWriter if kind == "Parquet" else pyarrow.ipc.new_file
    writer = None
    with replacing(path) as stream, contextlib.ExitStack() as opened:
        for block in blocks:
            table = pyarrow.table({name: pyarrow.array(column) for name, column in block})
            if writer is None:
                writer = opened.enter_context(new(stream, table.schema))
            writer.write_table(table)


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
