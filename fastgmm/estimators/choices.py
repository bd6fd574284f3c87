"""Choices that constructors and methods take by name, for type checkers; what is allowed is checked in each fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from numpy.typing import ArrayLike

from fastgmm.support.names import CovarianceAlias, CovarianceFamily

CovarianceType = CovarianceFamily | CovarianceAlias
Stopping = Literal["absolute", "relative", "aitken"]
Accelerate = Literal["squarem", "anderson"]
Missing = Literal["marginal"]
StartMethod = Literal[
    "auto", "kmeans", "k-means++", "random", "random_from_data", "short-em", "kmeans-whitened", "agglomerative"
]
#: Labels or responsibilities of the rows, or a function that returns them, may stand in for a method.
Start = StartMethod | ArrayLike | Callable[..., Any]
WeightPrior = Literal["dirichlet_process", "dirichlet_distribution"]
Predictive = Literal["expected-log", "plug-in", "student-t"]
