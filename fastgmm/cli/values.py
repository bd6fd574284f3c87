"""Values of options, read from text: for argparse, which says what a wrong one is."""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Callable
from typing import Any, get_args

from fastgmm.support.names import CovarianceAlias, CovarianceFamily

COVARIANCES = get_args(CovarianceFamily)


def names(text: str) -> list[str]:
    """Read ``a,b,c``."""
    found = [name.strip() for name in next(csv.reader([text]))]
    if "" in found:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list such as a,b,c")
    return found


def counts(text: str) -> list[int]:
    """Read ``3``, ``1-6`` or ``2,3,5`` as increasing numbers."""
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        try:
            low, high = int(first), int(last or first)
        except ValueError:
            low = high = 0
        if not 1 <= low <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is neither a positive number nor several, such as 1-6 or 2,3,5")
        found.update(range(low, high + 1))
    return sorted(found)


def covariances(text: str) -> list[str]:
    """Read ``full``, ``all`` or ``full,VVI`` as names of families."""
    aliases = get_args(CovarianceAlias)
    if text == "all":
        return [text]
    found = text.split(",")
    for name in found:
        if name not in COVARIANCES and name not in aliases:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join((*COVARIANCES, *aliases))}, nor all")
    return list(dict.fromkeys(found))


def criterion(text: str) -> str:
    """Read the name of a criterion, in any case."""
    if text.lower() not in ("bic", "aic", "icl"):
        raise argparse.ArgumentTypeError(f"{text!r} is none of bic, aic and icl")
    return text.upper()


def delimiter(text: str) -> str:
    """Read a character, or the name of one."""
    character = {"tab": "\t", "\\t": "\t", "space": " "}.get(text, text)
    if len(character) != 1 or character in '"\r\n':
        raise argparse.ArgumentTypeError(f"{text!r} is not a single character, 'tab' or 'space'")
    return character


def comment(text: str) -> str:
    """Read the beginning of lines that are left out."""
    from fastgmm.tables.text import can_begin_a_line

    if not can_begin_a_line(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not what a line can begin with")
    return text


def _bounded(convert: Callable[[str], Any], accept: Callable[[Any], bool], kind: str) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            number = convert(text)
        except ValueError:
            number = None
        if number is None or not accept(number):
            raise argparse.ArgumentTypeError(f"{text!r} is not {kind}")
        return number

    parse.__doc__ = f"Read {kind}."
    return parse


positive = _bounded(int, lambda number: number >= 1, "a positive whole number")
seed = _bounded(int, lambda number: 0 <= number < 2**32, "a whole number from 0 to 4294967295")
concentration = _bounded(float, lambda number: 1e-300 <= number <= 1e10, "a number from 1e-300 to 1e10")
not_negative = _bounded(float, lambda number: 0 <= number < math.inf, "a number of at least 0")
ratio = _bounded(float, lambda number: 1 <= number < math.inf, "a number of at least 1")
