"""Tables in delimited text: CSV and its relatives.

Text is parsed by the csv module and converted in blocks by NumPy.  `numpy.loadtxt` is less than twice as fast, but
cannot say which row and column is at fault, so it would need this reader beside it.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from operator import itemgetter
from typing import Literal, NamedTuple, TextIO, cast

import numpy as np
from numpy.typing import NDArray

from fastgmm._tables import BLOCK_ROWS, Request, Table, TableError, column_labels

__all__ = ["Layout", "read_text", "text_layout"]

MISSING = frozenset({"", "na", "nan", "-nan", "n/a", "#n/a", "null", "none"})


def read_text(
    source: str, name: str, request: Request, header: str, delimiter: str | None, drop_missing: bool
) -> Table:
    """Read delimited text from the path `source` (``-``: standard input), called `name` in messages.

    The arguments and the errors are those of `fastgmm.io.read_table`.
    """
    with _open_text(source, name) as (stream, _):
        return _parse(stream, name, request, header, delimiter, drop_missing)


class Layout(NamedTuple):
    """How a text file is laid out: what divides columns, their names, and how many lines come before the numbers."""

    delimiter: str
    labels: list[str]
    named: bool
    n_skipped: int
    compressed: bool


def text_layout(source: str) -> Layout:
    """Return the layout of the text in a file, as far as its first lines tell; errors as of :func:`read_text`."""
    with _open_text(source, source) as (stream, compressed):
        start = _first_lines(_uncommented(stream), source)
        delimiter = _guess_delimiter(start, source)
        first = list(_records(start, delimiter))
        named = _is_header(first)
        names = [cell.strip() for cell in first[0][1]] if named else None
        n_skipped = len(start) if named and len(first) == 1 else first[int(named)][0] - 1
        return Layout(delimiter, column_labels(names, len(first[0][1])), named, n_skipped, compressed)


@contextmanager
def _open_text(source: str, name: str) -> Iterator[tuple[TextIO, bool]]:
    """Open text, and tell whether it is compressed; what is wrong with it is raised as TableError."""
    with cast(io.BufferedReader, sys.stdin.buffer) if source == "-" else open(source, "rb") as binary:
        compressed = binary.peek(2)[:2] == b"\x1f\x8b"
        plain = gzip.GzipFile(fileobj=binary) if compressed else binary
        with io.TextIOWrapper(plain, encoding="utf-8-sig", newline="") as stream:
            try:
                yield stream, compressed
            except UnicodeDecodeError as error:
                readable = "CSV and TSV, also .gz; .npy; .npz; .parquet"
                raise TableError(f"{name} is not text in UTF-8 (what can be read: {readable})") from error
            except csv.Error as error:
                raise TableError(f"{name} is not a table in text form: {error}") from error
            except (EOFError, gzip.BadGzipFile) as error:
                raise TableError(f"{name} is a damaged gzip file: {error}") from error


def _uncommented(stream: TextIO) -> Iterator[str]:
    """Yield lines; a comment becomes a blank one, so that the csv module still counts it."""
    return ("\n" if line.startswith("#") else line for line in stream)


def _parse(
    stream: TextIO, source: str, request: Request, header: str, delimiter: str | None, drop_missing: bool
) -> Table:
    lines = _uncommented(stream)
    start = _first_lines(lines, source)
    records = _records(chain(start, lines), delimiter or _guess_delimiter(start, source))
    first = list(islice(records, 2))
    width = len(first[0][1])
    names = None
    if header == "yes" or (header == "auto" and _is_header(first)):
        names = [cell.strip() for cell in first.pop(0)[1]]
    selection = request.resolve(names, width, source)
    converter = _Converter(source, selection.positions, column_labels(names, width), drop_missing)
    records = chain(first, records)
    blocks = [np.empty((0, len(selection.positions)))]
    while block := list(islice(records, BLOCK_ROWS)):
        blocks.append(converter.convert(block))
    return selection.table(np.concatenate(blocks), converter.dropped, source)


def _first_lines(lines: Iterable[str], source: str) -> list[str]:
    """Take lines up to the second one that is not blank; TableError where all are."""
    taken: list[str] = []
    filled = 0
    for line in lines:
        taken.append(line)
        filled += bool(line.strip())
        if filled == 2:
            break
    if not filled:
        raise TableError(f"{source} is empty")
    return taken


def _guess_delimiter(start: list[str], source: str) -> str:
    """Choose the delimiter that divides the first two lines alike."""
    if source.lower().removesuffix(".gz").endswith((".tsv", ".tab")):
        return "\t"
    # Text in quotes may hold any delimiter.
    bare = [re.sub(r'"[^"]*"', "q", line) for line in start if line.strip()]
    for candidate in "\t;,":
        counts = {line.count(candidate) for line in bare}
        if len(counts) == 1 and counts != {0}:
            return candidate
    present = [candidate for candidate in "\t;," if candidate in "".join(bare)]
    if present:
        return present[0]
    fields = {len(line.split()) for line in bare}
    return " " if len(fields) == 1 and fields != {1} else ","


def _records(lines: Iterable[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each record that is not blank: the number of the line it starts on, and its cells."""
    if delimiter == " ":
        lines = (" ".join(line.split()) for line in lines)
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    line_number = 1
    for cells in reader:
        if len(cells) > 1 or (cells and cells[0].strip()):
            yield line_number, cells
        line_number = reader.line_num + 1


def _is_header(first: list[tuple[int, list[str]]]) -> bool:
    """Tell whether the first record holds names: nothing but text, or text above a number."""
    kinds = [[_kind(cell) for cell in cells] for _, cells in first]
    if "text" not in kinds[0]:
        return False
    return "number" not in kinds[0] or ("text", "number") in zip(kinds[0], kinds[-1], strict=False)


def _kind(cell: str) -> Literal["number", "missing", "text"]:
    if cell.strip().lower() in MISSING:
        return "missing"
    try:
        float(cell)
    except ValueError:
        return "text"
    return "number"


class _Converter:
    """Turns blocks of records into numbers, and remembers the numbers of the lines it left out."""

    def __init__(self, source: str, positions: list[int], labels: Sequence[str], drop_missing: bool) -> None:
        self.source, self.drop_missing = source, drop_missing
        self.positions, self.labels = positions, labels
        self.width = len(labels)
        self.pick = itemgetter(*positions)
        self.dropped: list[int] = []

    def convert(self, block: list[tuple[int, list[str]]]) -> NDArray[np.float64]:
        shape = len(block), len(self.positions)
        if all(len(cells) == self.width for _, cells in block):
            try:
                values = np.array([self.pick(cells) for _, cells in block], dtype=np.float64).reshape(shape)
            except ValueError:
                pass
            else:
                if np.isfinite(values).all():
                    return values
        kept = [numbers for record in block if (numbers := self._convert_record(*record)) is not None]
        return np.array(kept, dtype=np.float64).reshape(-1, len(self.positions))

    def _convert_record(self, line_number: int, cells: list[str]) -> list[float] | None:
        """Return the numbers of one record, or None for one to leave out; raise TableError at the first fault."""
        if len(cells) != self.width:
            raise TableError(
                f"{self.source}: row {line_number} has {len(cells)} columns, the first row has {self.width}"
            )
        numbers = []
        missing = None
        for position in self.positions:
            cell = cells[position].strip()
            where = f"{self.source}: row {line_number}, column {self.labels[position]!r}"
            kind = _kind(cell)
            if kind == "text":
                if re.fullmatch(r"[-+]?\d*,\d+", cell):
                    raise TableError(f"{where}: {cell!r} is not a number (decimals take a point)")
                raise TableError(f"{where}: {_shortened(cell)!r} is not a number", "columns")
            if kind == "missing":
                missing = missing or where
            elif np.isinf(float(cell)):
                raise TableError(f"{where}: {_shortened(cell)!r} is not a finite number")
            else:
                numbers.append(float(cell))
        if missing is None:
            return numbers
        if not self.drop_missing:
            raise TableError(f"{missing}: missing value", "drop_missing")
        self.dropped.append(line_number)
        return None


def _shortened(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."
