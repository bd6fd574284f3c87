"""What a new process waits for: imports and a first small fit, of fastgmm and of scikit-learn.

python benchmarks/cold_start.py [--repeats 5]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile

from common import cold_start, machine_facts, print_facts, print_header, print_row


def medians(rounds: list[dict[str, float]]) -> dict[str, str]:
    """Return the median over rounds of each figure, as text."""
    return {name: f"{statistics.median(seconds[name] for seconds in rounds):.3f}" for name in rounds[0]}


def prebuilt_target() -> str:
    """Return the kind of processor of the machine code that came with fastgmm, for a line of facts."""
    from fastgmm.kernels.compiling import prebuilt

    target = prebuilt.target()
    return "none" if target is None else target.name


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="fresh processes that medians are taken of (default 5)")
    options = parser.parse_args(arguments)
    ahead, cold, warm, peer = [], [], [], []
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as cache:
            ahead.append(cold_start("fastgmm", cache, prebuilt=True))
            cold.append(cold_start("fastgmm", cache))
            warm.append(cold_start("fastgmm", cache))
            peer.append(cold_start("scikit-learn", cache))
    print_facts(machine_facts())
    print(f"prebuilt machine code: {prebuilt_target()}")
    sides = {"full cache": warm, "empty cache": cold, "empty cache, as installed": ahead, "scikit-learn": peer}
    print_header(f"seconds, median of {options.repeats}", *sides)
    columns = [medians(rounds) for rounds in sides.values()]
    rows = {
        "package": "import of the package",
        "estimator": "... and of its GaussianMixture",
        "fit": "... and a first fit (200, 2, 3)",
        "process": "the whole process",
    }
    for name, label in rows.items():
        print_row(label, *(column[name] for column in columns))


if __name__ == "__main__":
    main()
