"""The command line, `fastgmm` or `python -m fastgmm`."""

from fastgmm.cli.arguments import main

__all__ = ["main"]
