"""Methods that an estimator inherits and has no use for."""

from __future__ import annotations

from typing import Any


class Refused:
    """A method of Gaussian mixtures that another one has not: who asks for it is told why."""

    def __init__(self, why: str) -> None:
        self._why = why

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: type) -> Any:
        raise AttributeError(f"{owner.__name__} has no {self._name!r}: {self._why}")
