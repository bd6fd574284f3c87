"""Tables that are more than the files in their folder: a log says which rows of these count."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from fastgmm.tables.request import TableError


class _Format(NamedTuple):
    """A format of tables: its name, what lies in the folder of such a table, and what reads it (of its path).

    A marker with an asterisk is a file.
    """

    name: str
    marker: str
    reader: str

    def marks(self, place: Path) -> str | None:
        """Return the marker in a folder, None where there is none."""
        pattern = os.path.join(glob.escape(os.fspath(place)), self.marker)
        return next((each for each in glob.iglob(pattern) if "*" not in self.marker or os.path.isfile(each)), None)


_FORMATS = (
    _Format("a Delta Lake table", "_delta_log", "deltalake.DeltaTable({!r}).to_pyarrow_dataset()"),
    _Format("an Iceberg table", "metadata/*.metadata.json*", "scan().to_arrow() of pyiceberg's table at {!r}"),
    _Format("a Hudi table", ".hoodie", "spark.read.format('hudi').load({!r})"),
    _Format("a Paimon table", "snapshot/snapshot-[0-9]*", "spark.read.format('paimon').load({!r})"),
    _Format("the output of a Spark stream", "_spark_metadata", "spark.read.parquet({!r})"),
)


#: The folders, in that of a table, by which its format is known.
MARKED_FOLDERS = tuple(form.marker.split("/")[0] for form in _FORMATS)


def refuse_logged_table(what: str, place: str, names: Iterable[str]) -> None:
    """Raise TableError where the files of a folder elsewhere are those of a table with a log.

    `what` is said of the folder, `place` is the table's, `names` are paths in it, divided by slashes.
    """
    for name in names:
        parts = name.split("/")
        for form in _FORMATS:
            pattern = form.marker.split("/")
            starts = range(len(parts) - len(pattern) + 1)
            if any(all(map(fnmatch, parts[start : start + len(pattern)], pattern)) for start in starts):
                raise _refused(what, form, name, place)


def refuse_table_formats(folder: Path, files: Iterable[Path]) -> None:
    """Raise TableError where a folder is a table with a log, is inside of one, or holds files of one.

    Deleted and overwritten rows stay in the files of such tables, and so does what a failed write has left.
    """
    inside = {parent for file in files for parent in file.relative_to(folder).parents}
    root = Path(os.path.realpath(folder))
    for place in (root, *root.parents, *(root / each for each in sorted(inside - {Path()}))):
        for form in _FORMATS:
            found = form.marks(place)
            if found is not None:
                where = "is" if place == root else "holds" if root in place.parents else "is inside"
                raise _refused(f"{folder} {where}", form, found, os.fspath(place))


def _refused(what: str, form: _Format, found: str, place: str) -> TableError:
    return TableError(
        f"X must be a folder of plain files, {what} {form.name} ({found}), whose files also hold rows that its log has "
        f"deleted or never had: give {form.reader.format(place)}, or a folder that the rows were written to as plain "
        "Parquet"
    )
