"""Tables in delimited text: CSV and its relatives, in memory or block by block.

Text is parsed by the csv module and converted in blocks by NumPy.  `numpy.loadtxt` is less than twice as fast, but
cannot say which row and column is at fault, so it would need this reader beside it.  pyarrow's is several
times as fast, but has another notion of what is a number, a missing value and a comment.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from operator import itemgetter
from typing import Literal, NamedTuple, TextIO, cast

import numpy as np
from numpy.typing import NDArray

from fastgmm.support.showing import listing, shown
from fastgmm.tables.request import BLOCK_ROWS, Request, Selection, Table, TableError, column_labels

__all__ = ["TextBlock", "TextFormat", "TextReader", "can_begin_a_line", "open_text", "read_text"]

#: What stands for a missing value in a cell, in lower case: what pandas takes for one, and signs before NaN.
MISSING = frozenset(
    {"", "na", "nan", "-nan", "+nan", "<na>", "n/a", "#n/a", "#n/a n/a", "#na", "null", "none"}
    | {"1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan"}
)
# What a spreadsheet writes for a formula that failed.
_FAULT = re.compile(r"#[A-Z0-9/_]+[!?]")
# What some would read as a number: digits that something divides. No name of a column.
_FIGURE = re.compile(r"[-+]?[.,]?\d[\d_.,' ]*([eE][-+]?[\d_]+)?")
# A record at the top of a file may go over so many lines.
_TOP_LINES = 64


class TextFormat(NamedTuple):
    """How text is laid out, as far as the user says; see `fastgmm.io.read_table`."""

    header: Literal["auto", "yes", "no"] = "auto"
    delimiter: str | None = None
    comment: str | None = None


def can_begin_a_line(text: object) -> bool:
    """Return whether lines can begin with a text, as comments do."""
    return isinstance(text, str) and text != "" and "\n" not in text and "\r" not in text


class TextBlock(NamedTuple):
    """Some consecutive records, without missing values unless these are kept, as NaN.

    `values` has shape (n, number of columns that are wanted), `lines` and `rows` hold the number of the line that each
    begins on and that of the record, both from 1, `ids` and `classes` what stands in the columns of names and of
    classes.
    """

    values: NDArray[np.float64]
    lines: list[int]
    rows: list[int]
    ids: list[str]
    classes: list[str]


def read_text(source: str, name: str, request: Request, form: TextFormat) -> Table:
    """Read delimited text from the path `source` (``-``: standard input), called `name` in messages.

    The arguments and the errors are those of `fastgmm.io.read_table`.
    """
    with open_text(source, name, request, form) as reader:
        blocks = list(reader.blocks())
        return reader.selection.table(
            np.concatenate([np.empty((0, len(reader.selection.positions))), *(block.values for block in blocks)]),
            reader.dropped,
            name,
            rows=np.array([row for block in blocks for row in block.rows], np.int64),
            ids=None if request.row_id is None else tuple(cell for block in blocks for cell in block.ids),
            classes=None if request.class_column is None else tuple(cell for block in blocks for cell in block.classes),
        )


@contextmanager
def open_text(source: str, name: str, request: Request, form: TextFormat) -> Iterator[TextReader]:
    """Open delimited text for one reading; what is wrong with it is raised as TableError."""
    with cast(io.BufferedReader, sys.stdin.buffer) if source == "-" else open(source, "rb") as binary:
        compressed = binary.peek(2)[:2] == b"\x1f\x8b"
        plain = gzip.GzipFile(fileobj=binary) if compressed else binary
        with io.TextIOWrapper(plain, encoding="utf-8-sig", newline="") as stream:
            try:
                yield TextReader(stream, name, request, form)
            except UnicodeDecodeError as error:
                readable = "CSV and TSV, also .gz; .npy; .npz; .parquet"
                raise TableError(f"{name} is not text in UTF-8 (what can be read: {readable})") from error
            except (EOFError, gzip.BadGzipFile) as error:
                raise TableError(f"{name} is a damaged gzip file: {error}") from error


class TextReader:
    """The columns of a text that are wanted, `selection`, and their numbers; `dropped` holds the lines left out."""

    def __init__(self, stream: TextIO, name: str, request: Request, form: TextFormat) -> None:
        if form.comment is not None and not can_begin_a_line(form.comment):
            raise ValueError(f"comment must be a text that lines can begin with, got {shown(form.comment)}.")
        top = _first_lines(stream, name, form.comment)
        delimiter = form.delimiter or _guess_delimiter(top.records, name)
        self._records = _records(chain(top.lines, stream), delimiter, form.comment, name)
        first = list(islice(self._records, 2))
        if not first:
            raise TableError(f"{name} is empty")
        width = len(first[0][1])
        self._marked = form.comment is None and first[0][1][0].startswith("#")
        names = None
        if form.header == "yes" or (form.header == "auto" and _is_header(first, request.expected, name)):
            names = [cell.strip() for cell in first.pop(0)[1]]
        self._records = chain(first, self._records)
        self.selection: Selection = request.resolve(names, width, name)
        self.dropped: list[int] = []
        self._name, self._labels, self._width = name, column_labels(names, width), width
        self._pick, self._missing = itemgetter(*self.selection.positions), request.missing
        self._n_rows = 0

    def blocks(self) -> Iterator[TextBlock]:
        """Yield all records; TableError at the first that is at fault."""
        while block := list(islice(self._records, BLOCK_ROWS)):
            first = self._n_rows + 1
            self._n_rows += len(block)
            values, kept = self._convert(block)
            texts = (self.selection.row_id, self.selection.class_column)
            yield TextBlock(
                values,
                [block[number][0] for number in kept],
                [first + number for number in kept],
                *([] if place is None else [block[number][1][place] for number in kept] for place in texts),
            )

    def _convert(self, block: list[tuple[int, list[str]]]) -> tuple[NDArray[np.float64], Sequence[int]]:
        """Return the numbers of the records that are asked for, and which these are."""
        n_columns = len(self.selection.positions)
        if all(len(cells) == self._width for _, cells in block):
            picked = [self._pick(cells) for _, cells in block]
            text = "".join(picked if n_columns == 1 else chain.from_iterable(picked))
            # Python's numbers have underscores and digits of all scripts; to others they are text.
            if text.isascii() and "_" not in text:
                try:
                    values = np.array(picked, dtype=np.float64).reshape(len(block), n_columns)
                except ValueError:
                    pass
                else:
                    if np.isfinite(values).all():
                        return values, range(len(block))
        numbers = [self._convert_record(*record) for record in block]
        kept = [number for number, cells in enumerate(numbers) if cells is not None]
        return np.array([numbers[number] for number in kept], np.float64).reshape(-1, n_columns), kept

    def _convert_record(self, line_number: int, cells: list[str]) -> list[float] | None:
        """Return the numbers of one record, or None for one to leave out; raise TableError at the first fault."""
        if len(cells) != self._width:
            raise TableError(
                f"{self._name}: line {line_number} has {len(cells)} columns, the first row has {self._width}",
                "comment" if self._marked or cells[0].startswith("#") else None,
            )
        numbers = []
        missing = None
        features = self.selection.positions[: -1 if self.selection.weighted else None]
        for position in self.selection.positions:
            cell = cells[position].strip()
            where = f"{self._name}: line {line_number}, column {self._labels[position]!r}"
            kind = _kind(cell)
            if kind == "text":
                raise _not_a_number(cell, where, is_first=position == 0)
            if kind == "missing" and self._missing == "keep" and position in features:
                numbers.append(np.nan)
            elif kind == "missing":
                missing = missing or where
            elif np.isinf(float(cell)):
                raise TableError(f"{where}: {_shortened(cell)!r} is not a finite number")
            else:
                numbers.append(float(cell))
        if missing is None:
            return numbers
        if self._missing != "drop":
            raise TableError(f"{missing}: missing value", "drop_missing")
        self.dropped.append(line_number)
        return None


def _not_a_number(cell: str, where: str, is_first: bool) -> TableError:
    message = f"{where}: {_shortened(cell)!r} is not a number"
    if re.fullmatch(r"[-+]?\d*,\d+", cell):
        return TableError(f"{message} (decimals take a point)")
    if _FAULT.fullmatch(cell):
        return TableError(f"{message}, but an error of a spreadsheet: correct it there, or leave the cell empty")
    return TableError(message, "comment" if is_first and cell.startswith("#") else "columns")


class _Top(NamedTuple):
    """The first lines of a text, and among them the first two records."""

    lines: list[str]
    records: list[str]


def _first_lines(stream: TextIO, name: str, comment: str | None) -> _Top:
    """Take lines up to the end of the second record that is neither blank nor a comment."""
    top = _Top([], [])
    held = ""
    for line in stream:
        top.lines.append(line)
        if not held and (not line.strip() or (comment is not None and line.startswith(comment))):
            continue
        held += line
        # Within quotes a record goes on, but a single quote may also be a character like others.
        if held.count('"') % 2 == 0 or len(top.lines) >= _TOP_LINES:
            top.records.append(held)
            held = ""
        if len(top.records) == 2:
            break
    if held:
        top.records.append(held)
    if not top.records:
        raise TableError(f"{name} is empty" if not top.lines else f"{name} has nothing but blank lines and comments")
    return top


def _guess_delimiter(records: list[str], name: str) -> str:
    """Choose the delimiter that divides the first two records alike."""
    if name.lower().removesuffix(".gz").endswith((".tsv", ".tab")):
        return "\t"
    # Text in quotes may hold any delimiter.
    bare = [re.sub(r'"[^"]*"', "q", record) for record in records]
    for candidate in "\t;,":
        counts = {record.count(candidate) for record in bare}
        if len(counts) == 1 and counts != {0}:
            return candidate
    present = [candidate for candidate in "\t;," if candidate in "".join(bare)]
    if present:
        return present[0]
    # A single word above or below several is a name with blanks in it.
    return " " if all(len(record.split()) > 1 for record in bare) else ","


def _records(lines: Iterable[str], delimiter: str, comment: str | None, name: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each record that is neither blank nor a comment: the number of the line it starts on, and its cells."""
    begins = True

    def told() -> Iterator[str]:
        nonlocal begins
        for line in lines:
            if begins and comment is not None and line.startswith(comment):
                line = "\n"  # the csv module still counts it
            elif delimiter == " ":
                line = " ".join(line.split()) + "\n"
            begins = False
            yield line

    # Strict: a quote that is not closed would swallow the rows that follow.
    reader = csv.reader(told(), delimiter=delimiter, skipinitialspace=True, strict=True)
    line_number = 1
    try:
        for cells in reader:
            begins = True
            if len(cells) > 1 or (cells and cells[0].strip()):
                yield line_number, cells
            line_number = reader.line_num + 1
    except csv.Error as error:
        raise TableError(f"{name} is not a table in text form: line {line_number}: {_explained(error)}") from error


def _explained(error: csv.Error) -> str:
    return "a quote is not closed" if "unexpected end" in str(error) else str(error)


def _is_header(first: list[tuple[int, list[str]]], expected: Sequence[str] | None, source: str) -> bool:
    """Tell whether the first record holds names: nothing but text, text above a number, or those that are expected."""
    cells = [cell.strip() for cell in first[0][1]]
    if expected and sorted(map(str, expected)) == sorted(cells):
        if all(_kind(cell) == "number" for cell in cells):
            warnings.warn(
                f"The first line of {source} is taken for the names of its columns, as the model has them: "
                f"{listing(cells)}.",
                UserWarning,
                stacklevel=2,
            )
        return True
    kinds = [[_kind(cell) for cell in cells] for _, cells in first]
    texts = [cell.strip() for cell, kind in zip(first[0][1], kinds[0], strict=True) if kind == "text"]
    # What would be a number but for its form is data that are to be refused, not a name.
    if not texts or any(_FIGURE.fullmatch(cell) or _FAULT.fullmatch(cell) for cell in texts):
        return False
    return "number" not in kinds[0] or ("text", "number") in zip(kinds[0], kinds[-1], strict=False)


def _kind(cell: str) -> Literal["number", "missing", "text"]:
    cell = cell.strip()
    if cell.lower() in MISSING:
        return "missing"
    if "_" in cell or not cell.isascii():
        return "text"
    try:
        float(cell)
    except ValueError:
        return "text"
    return "number"


def _shortened(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."
