"""The asv suite. Its modules share ``common.py`` with the scripts one folder up, which asv does not look into."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
