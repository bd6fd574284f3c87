"""Usage errors that lead on: to the option that was meant, and to the help text."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from typing import NoReturn

__all__ = ["Parser", "refuse_beside_labels"]


class Parser(argparse.ArgumentParser):
    """A parser of the command line or of a command."""

    def error(self, message: str) -> NoReturn:
        """Print the usage, what is wrong, and where all options are described; and exit."""
        super().error(f"{message}\n{self.prog} --help says more")

    def refuse_unknown(self, words: Sequence[str]) -> NoReturn:
        """Exit as for any error, for words that are no argument of the command."""
        first = words[0].partition("=")[0]
        close = difflib.get_close_matches(first, self._option_string_actions, 1) if first.startswith("-") else []
        meant = f"; did you mean {close[0]}?" if close else ""
        self.error(f"unrecognized arguments: {' '.join(words)}{meant}")


def refuse_beside_labels(arguments: argparse.Namespace) -> None:
    """End with a usage error where an option does not go with classes that are known."""
    options = (
        ("--race", arguments.race),
        ("--truncate", arguments.truncate),
        ("--checkpoint", arguments.checkpoint),
        (f"--init {arguments.init}", arguments.init == "agglomerative"),
    )
    for option, value in options:
        if value:
            arguments.parser.error(f"argument {option}: not allowed with --labels-column")
