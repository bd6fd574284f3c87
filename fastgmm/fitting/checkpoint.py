"""Checkpoints: where a fit stands, in a file, so that a process that is killed loses minutes rather than the fit.

A file holds all that the next iteration depends on, in exact digits: a fit that goes on from it ends with the very same
bits. It says of which data and parameters it is, and is refused for others. There is no pickle in it, and classes are
made by the names in a list: reading runs no code that the file brings.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import numbers
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgmm._version import __version__
from fastgmm.exceptions import CollapsedComponentError, OutOfRangeError
from fastgmm.families import Family
from fastgmm.fitting.plain import Point, Standing
from fastgmm.fitting.restarts import Contender, Kept, Record
from fastgmm.rows import Rows
from fastgmm.statistics import SufficientStatistics
from fastgmm.support.files import check_writable, replacing

FORMAT = b"fastgmm-checkpoint"
VERSION = b"1"

_CLASSES = (CollapsedComponentError, OutOfRangeError, Kept, Point, Record, Standing, SufficientStatistics)
# How many rows stand for all in what tells data apart.
_SAMPLE_ROWS = 4096
_DIGEST = "sha256:"
_REMEDY = "delete the file to begin anew, or name another one"


class CheckpointError(ValueError):
    """A checkpoint cannot be used: it is damaged, or of another fit."""


class Checkpoint:
    """The checkpoint of one fit: what the file holds from before, and who is written into it.

    Parameters
    ----------
    path : str or path
    interval : float, seconds between two writes at least; 0 for one after every iteration

    Notes
    -----
    Raises OSError where the file could not be written, or read; CheckpointError where it is none of this version.
    """

    def __init__(self, path: str | os.PathLike[str], interval: float) -> None:
        check_writable(path)
        self._path = os.fspath(path)
        self._interval = interval
        self._due = monotonic() + interval
        self._lock = threading.Lock()
        self._is_behind = False
        self._identity: dict[str, Any] = {}
        self._max_iter = 0
        self._like: Any = None
        self._findings: Any = None
        self._accelerator: Any = None
        self._classes: dict[str, type] = {}
        self._draws: list[float] = []
        self._stages: list[dict[int, Contender]] = []
        self._document, self._arrays = self._read()

    def _read(self) -> tuple[dict[str, Any], list[NDArray]]:
        """Return the content of the file, empty where there is none, and its arrays."""
        try:
            with open(self._path, "rb") as stream:
                head, payload = stream.readline(256), stream.read()
        except FileNotFoundError:
            return {}, []
        words = head.split()
        if len(words) != 3 or words[0] != FORMAT:
            raise CheckpointError(f"{self._path} is not a fastgmm checkpoint: name another file.")
        if words[1] != VERSION:
            raise CheckpointError(
                f"{self._path} is a checkpoint of format {words[1].decode(errors='replace')}, this fastgmm reads "
                f"{VERSION.decode()}: go on with the fastgmm that wrote it, {_REMEDY}."
            )
        if not head.endswith(b"\n") or hashlib.sha256(payload).hexdigest().encode() != words[2]:
            raise CheckpointError(f"{self._path} is a damaged checkpoint (its checksum is wrong): {_REMEDY}.")
        try:
            with np.load(io.BytesIO(payload), allow_pickle=False) as archive:
                arrays = [archive[f"arr_{number}"] for number in range(len(archive.files))]
            document = json.loads(arrays[0].tobytes())
            written_by = document["fastgmm_version"]
        except Exception as error:  # its checksum is right: whoever made it may have put in anything
            raise self._malformed() from error
        if written_by != __version__:
            raise CheckpointError(
                f"{self._path} is a checkpoint of fastgmm {written_by}, this is {__version__}: go on with the fastgmm "
                f"that wrote it, {_REMEDY}."
            )
        return document, arrays

    def _malformed(self) -> CheckpointError:
        return CheckpointError(f"{self._path} is a damaged checkpoint (it does not describe a fit): {_REMEDY}.")

    def match(
        self, identity: dict[str, Any], max_iter: int, raised: bool, like: Point, findings: Any, accelerator: Any
    ) -> None:
        """Raise CheckpointError unless the file, if there is one, is of the same fit.

        `max_iter` may be larger than it was if `raised`. `like` is of the classes and shapes of this fit's points,
        `findings` of its source's findings; `accelerator`, which stays as it is, of the class of this fit's, or None.
        """
        self._identity, self._max_iter, self._accelerator = identity, max_iter, accelerator
        self._like, self._findings = like, findings
        self._classes = {each.__name__: each for each in (*_CLASSES, *_classes(like))}
        if not self._document:
            return
        try:
            before, made = dict(self._document["identity"]), int(self._document["max_iter"])
            self._draws = [float(number) for number in self._document["draws"]]
        except Exception as error:
            raise self._malformed() from error
        # In their order; another estimator has other parameters.
        names = [name for name in identity | before if before.get(name) != identity.get(name)]
        names = names[:1] if "estimator" in names else names
        differences = [_difference(name, before.get(name), identity.get(name)) for name in names]
        if made > max_iter or (made < max_iter and not raised):
            differences.append(_difference("max_iter", made, max_iter))
        if differences:
            raise CheckpointError(
                f"{self._path} is the checkpoint of another fit: {'; '.join(differences)}. To go on with that fit, "
                f"give what it was given; or {_REMEDY}."
            )

    def drawing(self, random_state: Any) -> Any:
        """Return a random state that gives the numbers it gave before the interruption, and keeps them."""
        return _Draws(random_state, self._draws)

    def records(self) -> dict[int, Record]:
        """Return the file's records of the next stage's starts, by their number."""
        try:
            stages = self._document.get("stages", [])
            if len(stages) <= len(self._stages):
                return {}
            stage = {int(number): self._unpacked(record) for number, record in stages[len(self._stages)].items()}
            fine = all(_is_record(record, self._like, self._findings) for record in stage.values())
            kept = [record.kept for record in stage.values() if fine and record.kept is not None]
            for memory in (each.standing.memory for each in kept):
                if memory is not None:
                    # Raises where it is no memory of that accelerator, or there is none.
                    copy.copy(self._accelerator).remember(memory)
        except Exception as error:
            raise self._malformed() from error
        if not fine:
            raise self._malformed()
        return stage

    def watch(self, contenders: dict[int, Contender]) -> None:
        """Write these starts, too, from now on: the next stage."""
        self._stages.append(dict(contenders))

    def verify(self, kept: Kept, collect: Callable[[Any], SufficientStatistics], rounding: float) -> None:
        """Raise CheckpointError where a pass with the kept state does not find what it found then.

        The sum of the rows' log evidence may differ by `rounding`, relative to its size: other machines round
        otherwise.
        """
        try:
            statistics = collect(kept.standing.point.state)
        except OutOfRangeError as error:
            raise self._malformed() from error
        then = kept.standing.point.statistics
        size = abs(then.log_evidence) + then.weight
        if not abs(statistics.log_evidence - then.log_evidence) <= rounding * size:
            raise CheckpointError(
                f"{self._path} is the checkpoint of a fit to other rows: the sum of their log-densities was "
                f"{then.log_evidence!r} and is {statistics.log_evidence!r}. To go on with that fit, give the same rows "
                f"and weights; or {_REMEDY}."
            )

    def reached(self) -> None:
        """Hear that a start has made an iteration, in any thread, and write if it is time to."""
        self._is_behind = True
        if monotonic() >= self._due and self._lock.acquire(blocking=False):
            try:
                self._write()
            finally:
                self._lock.release()

    def finish(self) -> None:
        """Write where all starts stand, if that has changed."""
        with self._lock:
            if self._is_behind:
                self._write()

    def discard(self) -> None:
        """Delete the file: no start came to an end, and none would if the fit went on."""
        Path(self._path).unlink(missing_ok=True)

    def _write(self) -> None:
        self._is_behind = False
        try:
            content = self._content()
            with replacing(self._path) as stream:
                stream.write(b" ".join([FORMAT, VERSION, hashlib.sha256(content).hexdigest().encode()]) + b"\n")
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
        except BaseException as error:
            self._is_behind = True
            if not isinstance(error, OSError):
                raise
            # The fit is worth more than its checkpoint.
            message = f"the checkpoint {self._path} could not be written, the fit goes on: {error.strerror or error}"
            warnings.warn(message, RuntimeWarning, stacklevel=2)
        self._due = monotonic() + self._interval

    def _content(self) -> bytes:
        arrays: dict[int, tuple[int, NDArray]] = {}
        stages = [
            {str(number): self._packed(each.record, arrays) for number, each in contenders.items()}
            for contenders in self._stages
        ]
        document = {
            "fastgmm_version": __version__,
            "identity": self._identity,
            "max_iter": self._max_iter,
            "draws": self._draws,
            "stages": stages,
        }
        text = np.frombuffer(json.dumps(document).encode(), np.uint8)
        stream = io.BytesIO()
        np.savez(stream, text, *(array for _, array in arrays.values()))
        return stream.getvalue()

    def _packed(self, value: Any, arrays: dict[int, tuple[int, NDArray]]) -> Any:
        """Return a value as JSON can hold it; `arrays`, which it points to by number, are added to."""
        if value is None or type(value) in (bool, int, float, str):
            return value
        if isinstance(value, np.generic):
            return {"scalar": value.item(), "type": value.dtype.str}
        if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
            # One that stands in several places is written once; 0 is the text.
            return {"array": arrays.setdefault(id(value), (len(arrays) + 1, value))[0]}
        if type(value) is list:
            return [self._packed(each, arrays) for each in value]
        if type(value) is tuple:
            return {"tuple": [self._packed(each, arrays) for each in value]}
        if type(value) is dict:
            return {"dict": {name: self._packed(each, arrays) for name, each in value.items()}}
        name = type(value).__name__
        if self._classes.get(name) is not type(value):
            raise TypeError(f"a checkpoint cannot hold a {name}")
        return {"class": name, "arguments": [self._packed(each, arrays) for each in _arguments(value)]}

    def _unpacked(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._unpacked(each) for each in value]
        if not isinstance(value, dict):
            return value
        if "scalar" in value:
            return np.dtype(value["type"]).type(value["scalar"])
        if "array" in value:
            return self._arrays[int(value["array"])]
        if "tuple" in value:
            return tuple(self._unpacked(value["tuple"]))
        if "dict" in value:
            return {name: self._unpacked(each) for name, each in value["dict"].items()}
        return self._classes[value["class"]](*self._unpacked(value["arguments"]))


class _Draws:
    """A random state whose numbers are kept in a list; those that it begins with come first."""

    def __init__(self, random_state: Any, numbers: list[float]) -> None:
        self._random_state = random_state
        self._numbers = numbers
        self._n_drawn = 0

    def uniform(self) -> float:
        # In any case, so that the generator of the user is where it would be.
        number = float(self._random_state.uniform())
        if self._n_drawn == len(self._numbers):
            self._numbers.append(number)
        self._n_drawn += 1
        return self._numbers[self._n_drawn - 1]


def _arguments(value: Any) -> Any:
    """Return the arguments that make such an object again."""
    if isinstance(value, BaseException):
        return value.__reduce__()[1]
    return [getattr(value, each.name) for each in fields(value)] if is_dataclass(value) else value


def _classes(value: Any) -> Iterator[type]:
    """Yield the classes that a value is made of, those of arrays and numbers left out."""
    if is_dataclass(value) or isinstance(value, tuple):
        yield type(value)
        for each in _arguments(value):
            yield from _classes(each)


def _is_record(record: Any, like: Point, findings: Any) -> bool:
    """Return whether a record can be gone on from: arrays of other shapes would take kernels out of bounds."""
    if not (isinstance(record, Record) and _is_count(record.goal)):
        return False
    if not (record.error is None or isinstance(record.error, CollapsedComponentError | OutOfRangeError)):
        return False
    kept = record.kept
    return kept is None or (
        isinstance(kept, Kept)
        and _is_count(kept.n_steps)
        and isinstance(kept.standing, Standing)
        and _is_standing(kept.standing, like)
        and _is_like(kept.findings, findings)
    )


def _is_standing(standing: Standing, like: Point) -> bool:
    """Return whether all fields are of their types; of a memory, the accelerator looks at all but the state."""
    safe = () if standing.safe is None else standing.safe
    memory = {} if standing.memory is None else standing.memory
    if not (isinstance(safe, tuple) and len(safe) in (0, 3) and isinstance(memory, dict)):
        return False
    lengths = [standing.n_iter, *safe[1:2]]
    histories = [standing.bounds, standing.rises, standing.recent, *safe[2:]]
    return (
        all(_is_point(point, like) for point in (standing.point, *safe[:1]))
        and all(isinstance(each, list) and all(map(_is_number, each)) for each in histories)
        and all(map(_is_count, (*lengths, standing.n_passes)))
        and len(standing.bounds) >= max(lengths)
        and _is_number(standing.previous)
        and isinstance(standing.converged, bool | np.bool_)
        and (memory.get("_reference") is None or _is_like(memory["_reference"], like.state))
    )


def _is_point(point: Any, like: Point) -> bool:
    return (
        isinstance(point, Point)
        and _is_like(point.state, like.state)
        and _is_like(point.statistics, like.statistics)
        and _is_number(point.bound)
        and (point.successor is None or _is_like(point.successor, like.state))
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, float | np.floating)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _is_like(value: Any, like: Any) -> bool:
    """Return whether two values are of the same classes, and their arrays of the same shapes and types."""
    if type(value) is not type(like):
        return _is_number(value) and _is_number(like)
    if isinstance(like, np.ndarray):
        return value.shape == like.shape and value.dtype == like.dtype and value.flags.carray
    if is_dataclass(like) or isinstance(like, tuple):
        return all(_is_like(*each) for each in zip(_arguments(value), _arguments(like), strict=True))
    return True


def identity(estimator: str, params: Mapping[str, Any], family: Family, rows: Rows, start: Any) -> dict[str, Any]:
    """Return the marks that tell this fit from others, as JSON can hold them, by names for messages.

    `params` are those of the constructor that results depend on; `start` is what a warm start goes on from, or None.
    """
    summary = rows.summary
    places = np.linspace(0, summary.n_weighted - 1, min(summary.n_weighted, _SAMPLE_ROWS)).astype(np.int64)
    X, weight = rows.take(np.unique(places))
    weights = (weight, np.array([summary.n_weighted, summary.smallest, summary.largest]))
    return {
        "estimator": estimator,
        "type of X": np.dtype(rows.dtype).name,
        "number of rows": rows.n_rows,
        "number of columns": rows.n_features,
        "X": _digest(X),
        "sample_weight": _digest(weights) if rows.is_weighted else None,
        "model that warm_start goes on from": None if start is None else _digest(start),
        "covariance_type": family.name,
    } | {name: _fingerprint(value) for name, value in params.items()}


def _fingerprint(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, numbers.Real):
        return float(value)
    if is_dataclass(value):
        return {field.name: _fingerprint(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {
            str(name): each if isinstance(each, str) else sorted(map(int, each)) for name, each in sorted(value.items())
        }
    if isinstance(value, np.random.RandomState | np.random.Generator) or value is np.random:
        return "a generator"
    return _digest(np.asarray(value, np.float64))


def _digest(value: Any) -> str:
    digest = hashlib.sha256()
    for array in _leaves(value):
        digest.update(repr(array.shape).encode())
        digest.update(array.tobytes())
    return _DIGEST + digest.hexdigest()


def _leaves(value: Any) -> Iterator[NDArray]:
    """Yield the arrays and numbers of a value, as arrays."""
    if is_dataclass(value) or isinstance(value, tuple):
        for each in _arguments(value):
            yield from _leaves(each)
    else:
        yield np.asarray(value)


def _difference(name: str, before: Any, now: Any) -> str:
    before, now = ("given" if _DIGEST in str(value) else repr(value) for value in (before, now))
    return f"{name} differs" if before == now else f"{name} was {before} and is {now}"
