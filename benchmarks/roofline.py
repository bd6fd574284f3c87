"""How far an EM iteration is from the limits of the machine, both measured in the same run; a table and a picture.

    python benchmarks/roofline.py [--quick] [--repeats 5] [--only NAME] [--json FILE] [--plot FILE]

``limits.py`` says what the limits are and how work is counted. An iteration's time is that of a fit of many iterations
minus that of a fit of few, over the difference, in a process of its own, on all threads.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from common import Worker, Workload, add_choices, chosen, machine_facts, print_facts, print_header, print_row, run_child
from limits import DTYPES, OPERATIONS, Rates

SHAPES = [(1_000_000, 2, 3), (1_000_000, 4, 8), (200_000, 16, 16), (100_000, 64, 32), (50_000, 128, 10)]
WORKLOADS = [Workload(family, *shape, dtype) for dtype in DTYPES for family in OPERATIONS for shape in SHAPES]

# Okabe and Ito's, told apart by most eyes.
_COLOURS = dict(zip(OPERATIONS, ("#0072B2", "#D55E00", "#009E73", "#CC79A7"), strict=True))


def measure(worker: Worker, workload: Workload, rates: Rates, repeats: int) -> dict[str, Any]:
    """Return an iteration's milliseconds in every round, and what follows from their median and the limits."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "problem.npz"
        workload.build().save(path)
        worker.ask(load=str(path))
    again = worker.sensible_repeats(workload.method)
    milliseconds = [worker.milliseconds(workload.method, again) for _ in range(repeats)]
    seconds = 1e-3 * statistics.median(milliseconds)
    work, least = workload.work, rates.least_seconds(workload.work)
    return {
        "name": workload.name,
        **asdict(workload),
        "operations": work.operations,
        "intensity": work.intensity,
        "milliseconds": milliseconds,
        "per_second": work.operations / seconds,
        "share_of_peak": work.operations / seconds / rates.peak[workload.dtype],
        "least_milliseconds": 1e3 * least,
        "share_of_limit": least / seconds,
    }


def print_limits(limits: dict[str, Any]) -> None:
    """Print the measured limits as a table."""
    rates = [Rates(**limits[name]) for name in ("one", "all")]
    print_header("limit", *(f"{rate.threads} thread" + "s" * (rate.threads > 1) for rate in rates))
    for dtype in DTYPES:
        print_row(f"multiply-adds, {dtype}, GFLOP/s", *(f"{1e-9 * rate.peak[dtype]:.0f}" for rate in rates))
    for dtype in DTYPES:
        print_row(f"one exponential, {dtype}, ns", *(f"{1e9 * rate.exponential[dtype]:.3f}" for rate in rates))
    print_row("memory, read, GB/s", *(f"{1e-9 * rate.read:.1f}" for rate in rates))
    print_row("memory, triad, GB/s", *(f"{1e-9 * rate.triad:.1f}" for rate in rates))
    print()


def draw(path: Path, limits: dict[str, Any], results: list[dict[str, Any]]) -> None:
    """Write the roofline picture: a panel for each type, a labelled point for each workload."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.lines import Line2D

    rates = Rates(**limits["all"])
    figure, panels = plt.subplots(1, len(DTYPES), figsize=(15, 8), sharex=True, sharey=True)
    figure.subplots_adjust(left=0.055, right=0.985, top=0.9, bottom=0.13, wspace=0.04)
    # Both roofs are to be seen, whatever the points.
    ridge = min(rates.peak.values()) / rates.bandwidth
    left = min(0.6 * min(result["intensity"] for result in results), 0.25 * ridge)
    right = 2.2 * max(result["intensity"] for result in results)
    bottom = 1e-9 * min(0.6 * min(result["per_second"] for result in results), left * rates.bandwidth)
    for axes, dtype in zip(panels, DTYPES, strict=True):
        axes.set(xscale="log", yscale="log", title=dtype, xlabel="operations per byte of X")
        axes.set(xlim=(left, right), ylim=(bottom, 2.2e-9 * max(rates.peak.values())))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter("{x:g}")
        axes.grid(which="major", color="0.92")
        axes.set_axisbelow(True)
        _draw_roof(axes, rates, dtype)
        _draw_points(axes, [result for result in results if result["dtype"] == dtype])
    panels[0].set_ylabel("GFLOP/s")
    handles = [
        Line2D([], [], marker="o", markersize=8, linestyle="", color=colour, label=family)
        for family, colour in _COLOURS.items()
    ]
    limit = Line2D([], [], marker="_", markersize=11, linestyle="", color="0.3", label="limit, exponentials included")
    figure.legend(handles=[*handles, limit], loc="lower center", ncols=len(handles) + 1, frameon=False, fontsize=11)
    figure.suptitle(f"One EM iteration on {rates.threads} threads; a point's label is D, K", fontsize=14)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_roof(axes: Any, rates: Rates, dtype: str) -> None:
    peak, bandwidth = 1e-9 * rates.peak[dtype], 1e-9 * rates.bandwidth
    ridge = peak / bandwidth
    left, right = axes.get_xlim()
    axes.plot([left, ridge, right], [left * bandwidth, peak, peak], color="0.15", linewidth=2)
    note = {"color": "0.15", "fontsize": 11}
    axes.annotate(
        f"multiply-adds: {peak:.0f} GFLOP/s", (right, peak), (-6, 5), textcoords="offset points", ha="right", **note
    )
    x = 1.15 * left
    angle = axes.transData.transform([[1.0, 1.0], [10.0, 10.0]])
    rise = np.degrees(np.arctan2(*(angle[1] - angle[0])[::-1]))
    axes.annotate(
        f"memory: {bandwidth:.0f} GB/s",
        (x, x * bandwidth),
        (-2, 8),
        textcoords="offset points",
        rotation=rise,
        rotation_mode="anchor",
        **note,
    )


def _draw_points(axes: Any, points: list[dict[str, Any]]) -> None:
    """Draw points, a line from each up to its own limit, and labels near by where they cover few other marks."""
    from matplotlib.patheffects import withStroke
    from matplotlib.transforms import Bbox

    places, taken = [], []
    for point in points:
        x, y = point["intensity"], 1e-9 * point["per_second"]
        colour = _COLOURS[point["covariance_type"]]
        ceiling = y / point["share_of_limit"]
        axes.plot([x, x], [y, ceiling], color=colour, linewidth=1, alpha=0.35, zorder=1)
        axes.plot([x], [ceiling], marker="_", markersize=9, color=colour, zorder=1)
        axes.plot([x], [y], marker="o", markersize=8, color=colour, markeredgecolor="white", zorder=3)
        places.append((x, y, colour, f"{point['n_features']}, {point['n_components']}"))
        for mark, height in ((y, 10), (ceiling, 1)):
            centre = axes.transData.transform((x, mark))
            taken.append(Bbox.from_bounds(centre[0] - 5, centre[1] - height / 2, 10, height))
    renderer = axes.figure.canvas.get_renderer()
    for x, y, colour, text in places:
        label = axes.annotate(
            text, (x, y), (0, 0), textcoords="offset points", color=colour, fontsize=9.5, va="center", zorder=4
        )
        label.set_path_effects([withStroke(linewidth=3, foreground="white")])
        tried = []
        for distance, vertical, side in itertools.product((8, 11, 15, 20), (0, 1, -1), ("left", "right")):
            label.set(position=(distance if side == "left" else -distance, vertical * distance), ha=side)
            box = label.get_window_extent(renderer)
            covered = sum(box.overlaps(other) for other in taken)
            tried.append((covered + distance / 15, label.get_position(), side, box))
        _, position, side, box = min(tried, key=lambda place: place[0])
        label.set(position=position, ha=side)
        taken.append(box)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_choices(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers to this file, too")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the roofline (needs matplotlib)")
    options = parser.parse_args(arguments)
    workloads = chosen(WORKLOADS, parser, options)
    facts, limits = machine_facts(), run_child("limits")
    print_facts(facts)
    print_limits(limits)
    print_header("workload (N, D, K)", "flop/byte", "ms", "GFLOP/s", "of peak", "limit, ms", "of limit")
    results = []
    with Worker.of_side("fastgmm") as worker:
        for workload in workloads:
            result = measure(worker, workload, Rates(**limits["all"]), options.repeats)
            results.append(result)
            print_row(
                result["name"],
                f"{result['intensity']:.1f}",
                f"{statistics.median(result['milliseconds']):.2f}",
                f"{1e-9 * result['per_second']:.0f}",
                f"{result['share_of_peak']:.0%}",
                f"{result['least_milliseconds']:.2f}",
                f"{result['share_of_limit']:.0%}",
            )
    print(f"\nMilliseconds of one iteration on all threads, median of {options.repeats} rounds.")
    if options.json:
        written = {"machine": facts, "limits": limits, "repeats": options.repeats, "results": results}
        options.json.write_text(json.dumps(written, indent=2) + "\n")
    if options.plot:
        draw(options.plot, limits, results)


if __name__ == "__main__":
    main()
