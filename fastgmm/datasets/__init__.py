"""Two small, public data sets, shipped so that examples and tests run without a network."""

from __future__ import annotations

import csv
from importlib import resources
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Dataset", "load_faithful", "load_iris"]


class Dataset(NamedTuple):
    """A table of measurements, with the known class of each row where there is one.

    ``data`` is float64 of shape (n_samples, n_features); ``feature_names`` names its columns.  ``target`` holds
    integers of shape (n_samples,) that index ``target_names``; both are None for data without classes.
    """

    data: NDArray[np.float64]
    feature_names: tuple[str, ...]
    target: NDArray[np.intp] | None = None
    target_names: tuple[str, ...] | None = None


def load_faithful() -> Dataset:
    """Old Faithful: duration of 272 eruptions and the waiting time to the next, both in minutes, without classes.

    Source: A. Azzalini and A. W. Bowman, "A look at some data on the Old Faithful geyser", Applied Statistics 39
    (1990) 357-365; the same rows as ``faithful`` in R's package ``datasets``.
    """
    names, rows = _read("faithful.csv")
    return Dataset(np.array(rows, dtype=np.float64), names)


def load_iris() -> Dataset:
    """Anderson's irises: four lengths in centimetres of 150 flowers, 50 of each of three species.

    Source: E. Anderson, "The irises of the Gaspe Peninsula", Bulletin of the American Iris Society 59 (1935) 2-5;
    published by R. A. Fisher, "The use of multiple measurements in taxonomic problems", Annals of Eugenics 7 (1936)
    179-188; the same rows as ``iris`` in R's package ``datasets``.
    """
    names, rows = _read("iris.csv")
    species = [row[-1] for row in rows]
    target_names = tuple(dict.fromkeys(species))
    data = np.array([row[:-1] for row in rows], dtype=np.float64)
    target = np.array([target_names.index(name) for name in species], dtype=np.intp)
    return Dataset(data, names[:-1], target, target_names)


def _read(filename: str) -> tuple[tuple[str, ...], list[list[str]]]:
    text = resources.files(__name__).joinpath(filename).read_text(encoding="utf-8")
    header, *rows = csv.reader(text.splitlines())
    return tuple(header), rows
