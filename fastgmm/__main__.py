"""Runs the command line as ``python -m fastgmm``."""

import sys

from fastgmm.cli import main

sys.exit(main())
