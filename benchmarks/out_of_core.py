"""Fits of a file that is read in every iteration against fits of the same rows in memory: rows a second, and the peak.

python benchmarks/out_of_core.py [--rows 20000000] [--kind npy] [--iterations 4] [--folder /tmp]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from common import machine_facts, print_facts, print_header, print_row, run_child
from numpy.typing import NDArray

N_FEATURES = 16
N_COMPONENTS = 16
COVARIANCES = "full", "diag"
_BLOCK_ROWS = 2**16
# So few rows compile, or load, all that is measured.
_WARM_ROWS = 50_000


def blocks(n_rows: int) -> Iterator[NDArray[np.float32]]:
    """Yield rows of a mixture whose components overlap, always the same ones."""
    rng = np.random.default_rng(0)
    means = rng.normal(scale=3.0 / np.sqrt(2 * N_FEATURES), size=(N_COMPONENTS, N_FEATURES))
    for start in range(0, n_rows, _BLOCK_ROWS):
        labels = rng.integers(N_COMPONENTS, size=min(_BLOCK_ROWS, n_rows - start))
        noise = rng.standard_normal((len(labels), N_FEATURES), np.float32)
        yield noise + means[labels].astype(np.float32)


def write(path: Path, n_rows: int) -> None:
    """Write the rows to a .npy file, block by block."""
    header = {"descr": "<f4", "fortran_order": False, "shape": (n_rows, N_FEATURES)}
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks(n_rows):
            file.write(block.tobytes())


def write_parquet(path: Path, n_rows: int) -> None:
    """Write the rows to a Parquet file with pyarrow's defaults, in row groups of a million rows."""
    import pyarrow
    from pyarrow import parquet

    schema = pyarrow.schema([(f"x{number}", pyarrow.float32()) for number in range(N_FEATURES)])
    with parquet.ParquetWriter(path, schema) as writer:
        held: list[NDArray[np.float32]] = []
        for block in blocks(n_rows):
            held.append(block)
            if sum(map(len, held)) >= 2**20:
                writer.write_table(pyarrow.table(list(np.concatenate(held).T), schema=schema))
                held = []
        if held:
            writer.write_table(pyarrow.table(list(np.concatenate(held).T), schema=schema))


def measure(path: Path, array: Path, covariance_type: str, n_iterations: int) -> dict[str, dict[str, float]]:
    """Return what ``child.out_of_core`` says of the file and of the array in memory; RuntimeError unless they agree."""
    options = covariance_type, str(N_COMPONENTS), str(n_iterations)
    answers = {
        "file": run_child("out_of_core", "file", str(path), *options),
        "memory": run_child("out_of_core", "memory", str(array), *options),
    }
    bounds = [answer["bound"] for answer in answers.values()]
    if bounds[0] != bounds[1]:
        raise RuntimeError(f"{covariance_type}: the bounds {bounds} should be the same bits")
    return answers


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--kind", choices=["npy", "parquet"], default="npy")
    parser.add_argument("--iterations", type=int, default=4)
    parser.add_argument("--folder", help="where the files are made, and deleted afterwards")
    options = parser.parse_args(arguments)
    print_facts(machine_facts())
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for n_rows in (_WARM_ROWS, options.rows):
            array = path = Path(folder) / "rows.npy"
            write(array, n_rows)
            if options.kind == "parquet":
                path = Path(folder) / "rows.parquet"
                write_parquet(path, n_rows)
            answers = {name: measure(path, array, name, options.iterations) for name in COVARIANCES}
        size = path.stat().st_size / 1e6
    print_header(
        f"({options.rows:,}, {N_FEATURES}, K={N_COMPONENTS}) float32, {size:.0f} MB of {options.kind}",
        "peak, MB",
        "from memory",
        "rows/s",
        "from memory",
        "ratio",
        "whole fit, s",
        "from memory",
    )
    for name, answer in answers.items():
        file, memory = answer["file"], answer["memory"]
        print_row(
            name,
            f"{file['peak']:.0f}",
            f"{memory['peak']:.0f}",
            f"{options.rows / file['iteration']:.3g}",
            f"{options.rows / memory['iteration']:.3g}",
            f"{memory['iteration'] / file['iteration']:.0%}",
            f"{file['total']:.1f}",
            f"{memory['total']:.1f}",
        )
    print(
        f"\nEach fit in a fresh process, {options.iterations} iterations from the same start, the same bits at the end."
    )


if __name__ == "__main__":
    main()
