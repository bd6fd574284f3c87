"""Files of named arrays and plain values, as JSON or ``.npz``: read without trust, and never as a pickle.

A document says its format and version. What is not as it should be is refused with a sentence that names the file.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "METADATA",
    "PLAIN",
    "ModelFileError",
    "array_field",
    "check_format",
    "count_field",
    "plain",
    "plain_field",
    "read_raw",
]

METADATA = "metadata"

PLAIN = (bool, int, float, str, type(None))

# What reads the files that others might be taken for.
_READERS = {
    "fastgmm-model": "a single model, which fastgmm.io.load_model reads",
    "fastgmm-many": "many fits, which fastgmm.many.FittedMany.load reads",
}


class ModelFileError(ValueError):
    """A file is no model file that this version can read, or a model cannot be written as one."""


def read_raw(path: str, noun: str) -> Any:
    """Return the content of a file before any check: plain values and arrays by name if it is a document.

    ModelFileError, with the `noun` that the file should be, where it is damaged or something else.
    """
    data = Path(path).read_bytes()
    try:
        if data[:2] == b"PK":
            with np.load(io.BytesIO(data), allow_pickle=False) as archive:
                content = dict(archive)
            metadata = json.loads(str(content.pop(METADATA)), parse_constant=_refuse_constant)
            return metadata | content
        return json.loads(data, parse_constant=_refuse_constant)
    except ModelFileError as error:
        raise ModelFileError(f"{path} is a damaged {noun}: {error}") from error
    except Exception as error:  # an archive may be damaged, or claim, in any way
        raise ModelFileError(f"{path} is not a fastgmm {noun}") from error


def _refuse_constant(constant: str) -> None:
    raise ModelFileError(f"it holds the number {constant}")


def check_format(content: Any, path: str, name: str, latest: int, noun: str) -> int:
    """Return the version of a document of the format `name`; ModelFileError unless it is one, up to the `latest`."""
    found = content.get("format") if isinstance(content, dict) else None
    if found != name:
        other = _READERS.get(found) if isinstance(found, str) else None
        raise ModelFileError(f"{path} is not a fastgmm {noun}" + (f", but holds {other}" if other else ""))
    version = content.get("version")
    if not isinstance(version, int) or version < 1:
        raise ModelFileError(f"{path} has no valid {noun} version")
    if version > latest:
        raise ModelFileError(
            f"{path} was written by a newer fastgmm ({noun} version {version}; this one reads up to {latest})"
        )
    return version


def plain_field(content: Mapping[str, Any], name: str, kind: type, *default: None) -> Any:
    """Return a plain value, `default` (where given) if it is missing or null; ModelFileError for another type."""
    value = content.get(name)
    if value is None:
        if default:
            return None
        raise ModelFileError(f"{name!r} is missing")
    if kind is float and type(value) is int:
        try:
            value = float(value)
        except OverflowError as error:
            raise ModelFileError(f"{name!r} is a number beyond float64") from error
    if type(value) is not kind:
        raise ModelFileError(f"{name!r} is {value!r}, which is not of type {kind.__name__}")
    return value


def count_field(content: Mapping[str, Any], name: str) -> int | None:
    """Return a number that is not negative, None where it is missing or null; ModelFileError for anything else."""
    value: int | None = plain_field(content, name, int, None)
    if value is not None and value < 0:
        raise ModelFileError(f"{name!r} is {value}, which is negative")
    return value


def array_field(content: Mapping[str, Any], name: str, dtype: str) -> NDArray[Any]:
    """Return an array of numbers in a type; ModelFileError where it is missing, or is none."""
    if name not in content:
        raise ModelFileError(f"{name!r} is missing")
    try:
        array = np.asarray(content[name])
    except ValueError:
        array = np.asarray(None)
    if array.dtype.kind not in "fiu":
        raise ModelFileError(f"{name!r} is not an array of numbers")
    with np.errstate(over="ignore"):
        return array.astype(dtype)


def plain(value: Any) -> Any:
    """Return a number of NumPy's as one of Python's, anything else as it is."""
    return value.item() if isinstance(value, np.generic) else value
