"""Write the README's table of speeds from the JSON of a run of ``versus.py``: what stands between its two marks.

    python benchmarks/readme.py FILE.json [--readme README.md]

Columns are fastgmm, with its share of the peak that the same run measured, and every peer of the run.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from limits import DTYPES, Rates
from versus import best_variant

BEGIN, END = "<!-- speed -->\n", "<!-- end -->\n"


def block(run: dict[str, Any]) -> str:
    """Return the table of a run and a line on what it was measured with, in Markdown."""
    rates = Rates(**run["limits"]["all"])
    # In the order in which they first occur.
    peers = list(dict.fromkeys(side for result in run["results"] for side in result["milliseconds"]))[1:]
    lines = [
        _row(
            "workload (N, D, K)",
            "fastgmm, ms",
            "GFLOP/s",
            "of peak",
            *(c for p in peers for c in (f"{p}, ms", "ratio")),
        ),
        _row("---", *["---:"] * (3 + 2 * len(peers))),
    ]
    for result in run["results"]:
        times = {
            side: statistics.median(best_variant(variants)[1]) for side, variants in result["milliseconds"].items()
        }
        ours = times["fastgmm"]
        speed = result["operations"] / (1e-3 * ours)
        cells = [_three_digits(ours), f"{1e-9 * speed:.0f}", f"{100 * speed / rates.peak[result['dtype']]:.0f} %"]
        for peer in peers:
            known = peer in times
            cells += [_three_digits(times[peer]), f"{times[peer] / ours:.1f}"] if known else ["", ""]
        lines.append(_row(result["name"], *cells))
    machine = dict(run["machine"])
    cpu, cpus = machine.pop("cpu"), machine.pop("usable CPUs")
    peaks = " and ".join(f"{1e-9 * rates.peak[dtype]:.0f} ({dtype})" for dtype in DTYPES)
    return "\n".join(
        [
            *lines,
            "",
            f"Milliseconds per iteration, medians of {run['repeats']} rounds on {cpus} CPUs ({cpu}). Measured in the "
            f"same run: {peaks} GFLOP/s of multiply-adds, {1e-9 * rates.bandwidth:.0f} GB/s from memory. "
            f"{', '.join(f'{name} {version}' for name, version in machine.items())}.\n",
        ]
    )


def rewritten(text: str, inside: str, begin: str = BEGIN) -> str:
    """Return `text` with what stands between the marks `begin` and END replaced; ValueError where they are missing."""
    before, mark, rest = text.partition(begin)
    _, end, after = rest.partition(END)
    if not (mark and end):
        raise ValueError(f"no part between {begin.strip()} and {END.strip()}")
    return before + mark + inside + end + after


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _three_digits(value: float) -> str:
    return f"{value:.{max(0, 2 - len(str(int(value))) + 1)}f}"


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, metavar="FILE.json", help="what versus.py --json wrote")
    parser.add_argument("--readme", type=Path, default=Path(__file__).parents[1] / "README.md", metavar="FILE")
    options = parser.parse_args(arguments)
    inside = block(json.loads(options.run.read_text()))
    options.readme.write_text(rewritten(options.readme.read_text(), inside))


if __name__ == "__main__":
    main()
