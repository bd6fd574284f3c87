"""Peak memory that a fit needs beyond its data, of fastgmm and of scikit-learn, each in a fresh process.

python benchmarks/memory.py
"""

from __future__ import annotations

from child import SIDES
from common import MEMORY_WORKLOAD, fit_memory, machine_facts, print_facts, print_header, print_row


def main() -> None:
    """Print the table."""
    print_facts(machine_facts())
    problem = MEMORY_WORKLOAD.build()
    print_header(
        MEMORY_WORKLOAD.name, f"before the fit, {problem.X.nbytes / 1e6:.0f} MB of X included", "extra in the fit"
    )
    for side in SIDES:
        megabytes = fit_memory(side, problem)
        print_row(side, f"{megabytes['before']:.0f}", f"{megabytes['extra']:.1f}")
    print("\nMB of resident memory, each side in a fresh process; extra: what the peak during two iterations adds.")


if __name__ == "__main__":
    main()
