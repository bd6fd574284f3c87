"""Peak memory that a fit needs beyond its data, of fastgmm and of scikit-learn, each in a fresh process.

    python benchmarks/memory.py
"""

from __future__ import annotations

from common import MEMORY_WORKLOAD, SIDES, extra_memory, machine_facts, print_facts, print_header, print_row


def main() -> None:
    """Print the table."""
    print_facts(machine_facts())
    problem = MEMORY_WORKLOAD.build()
    print_header(f"{MEMORY_WORKLOAD.name}: X holds {problem.X.nbytes / 1e6:.0f} MB", "extra peak memory, MB")
    for side in SIDES:
        print_row(side, f"{extra_memory(side, problem):.1f}")


if __name__ == "__main__":
    main()
