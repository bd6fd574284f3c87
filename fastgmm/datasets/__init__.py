"""Small, public data sets, shipped so that examples and tests run without a network."""

from __future__ import annotations

import csv
from importlib import resources
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Dataset", "load_acidity", "load_diabetes", "load_faithful", "load_galaxies", "load_iris"]


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
    return _without_classes("faithful.csv")


def load_galaxies() -> Dataset:
    """Galaxies: the velocity, in km/s, of 82 galaxies of the Corona Borealis region, without classes.

    Source: K. Roeder, "Density estimation with confidence sets exemplified by superclusters and voids in the galaxies",
    Journal of the American Statistical Association 85 (1990) 617-624, from M. Postman, J. P. Huchra and M. J. Geller
    (1986). The 78th is 26690, as published; ``galaxies`` in R's package ``MASS`` has 26960.
    """
    return _without_classes("galaxies.csv")


def load_acidity() -> Dataset:
    """Acidity: logarithm of the acid neutralising capacity of 155 lakes in Wisconsin, without classes.

    Source: S. L. Crawford, M. H. DeGroot, J. B. Kadane and M. J. Small, "Modeling lake-chemistry distributions:
    approximate Bayesian methods for estimating a finite-mixture model", Technometrics 34 (1992) 441-453; the same
    rows as ``acidity`` in R's package ``mclust``.
    """
    return _without_classes("acidity.csv")


def load_diabetes() -> Dataset:
    """Diabetes: two areas under curves of a test and a steady state of 145 adults, healthy or diabetic in two ways.

    Source: G. M. Reaven and R. G. Miller, "An attempt to define the nature of chemical diabetes using a
    multidimensional analysis", Diabetologia 16 (1979) 17-24; the same rows as ``diabetes`` in R's package ``mclust``,
    but for the 104th, whose insulin is 455 here, like its class's, and 45 there.
    """
    return _with_classes("diabetes.csv", 0)


def load_iris() -> Dataset:
    """Anderson's irises: four lengths in centimetres of 150 flowers, 50 of each of three species.

    Source: E. Anderson, "The irises of the Gaspe Peninsula", Bulletin of the American Iris Society 59 (1935) 2-5;
    published by R. A. Fisher, "The use of multiple measurements in taxonomic problems", Annals of Eugenics 7 (1936)
    179-188; the same rows as ``iris`` in R's package ``datasets``.
    """
    return _with_classes("iris.csv", 4)


def _without_classes(filename: str) -> Dataset:
    names, rows = _read(filename)
    return Dataset(np.array(rows, dtype=np.float64), names)


def _with_classes(filename: str, column: int) -> Dataset:
    """Return a file's numbers, and the class of each row, which stands in `column`; classes count as they appear."""
    names, rows = _read(filename)
    classes = [row.pop(column) for row in rows]
    target_names = tuple(dict.fromkeys(classes))
    target = np.array([target_names.index(name) for name in classes], dtype=np.intp)
    return Dataset(np.array(rows, dtype=np.float64), (*names[:column], *names[column + 1 :]), target, target_names)


def _read(filename: str) -> tuple[tuple[str, ...], list[list[str]]]:
    text = resources.files(__name__).joinpath(filename).read_text(encoding="utf-8")
    header, *rows = csv.reader(text.splitlines())
    return tuple(header), rows
