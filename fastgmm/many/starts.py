"""The starts of many fits, checked and drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastgmm import validation
from fastgmm.estimators import BayesianGaussianMixture
from fastgmm.estimators.base import Mixture
from fastgmm.families import Family
from fastgmm.kernels import many
from fastgmm.many.problems import Problems
from fastgmm.starts.seeding import RandomResponsibilities
from fastgmm.statistics import Array


class Starts:
    """Where the fits of all problems start."""

    def __init__(
        self,
        estimator: Mixture,
        family: Family,
        n_problems: int,
        n_features: int,
        means: ArrayLike | None,
        weights: ArrayLike | None,
        precisions: ArrayLike | None,
    ) -> None:
        n_components = estimator.n_components
        given: list[Array | None] = []
        for value, name in ((weights, "weights_init"), (means, "means_init"), (precisions, "precisions_init")):
            own = getattr(estimator, name, None)
            leading = (n_problems,) if value is not None else (1,)
            value = value if value is not None else None if own is None else np.asarray(own)[None]
            if value is None:
                given.append(None)
            elif name == "weights_init":
                given.append(validation.check_weights(value, n_components, leading))
            elif name == "means_init":
                given.append(validation.check_means(value, n_components, n_features, leading))
            else:
                given.append(
                    validation.check_covariances(value, family, n_components, n_features, "precision", leading)
                )
        weights, means, precisions = given
        for name, value in (("weights", weights), ("precisions", precisions)):
            if value is not None and isinstance(estimator, BayesianGaussianMixture):
                raise ValueError(f"{name} are not for variational fits: give means, or neither.")
            if value is not None and means is None:
                raise ValueError(f"{name} need means in fit_many, which say which component is which.")
        shape = n_components, n_features
        none = np.empty((0, *family.shape(*shape)))
        whitener = none if precisions is None else family.whitener_of_precisions(precisions)
        covariance = none if precisions is None else family.covariances_of_whitener(whitener)
        self.ordered = means is not None
        self.by_centres = means is None and estimator.init_params != "random"
        self.n_starts = int(estimator.n_init) if means is None else 1
        # "auto" is k-means first; its other starts take longer than many small fits may.
        method = "kmeans" if estimator.init_params == "auto" else estimator.init_params
        self._method = method if means is None else ""
        self._shape = shape
        self._weights = np.empty((0, n_components)) if weights is None else weights
        self._means = np.empty((0, *shape)) if means is None else means
        self._whitener, self._covariance = whitener, np.ascontiguousarray(covariance)

    def draw(self, problems: Problems, random_state: Any) -> None:
        """Draw the random numbers that all problems share: those that each would draw from the same `random_state`."""
        n_components, _ = self._shape
        seeds = [int(random_state.uniform() * 2**53) for _ in range(self.n_starts) if self._method]
        self._uniform = np.empty((0, 0, 0))
        self._chosen, self._table = np.empty((0, 0, 0), np.int64), np.zeros(len(problems), np.int64)
        self._responsibilities = np.empty((1, 0, 0))
        if self._method in ("kmeans", "k-means++"):
            size = n_components, 2 + int(np.log(n_components))
            self._uniform = np.stack([np.random.default_rng(seed).uniform(size=size) for seed in seeds])
        elif self._method == "random_from_data":
            counts, self._table = np.unique(problems.n_weighted(), return_inverse=True)
            self._chosen = np.zeros((len(counts), self.n_starts, n_components), np.int64)
            for row, count in enumerate(counts):
                if count >= n_components:
                    for start, seed in enumerate(seeds):
                        chosen = np.random.default_rng(seed).choice(count, n_components, replace=False)
                        self._chosen[row, start] = chosen
        elif self._method == "random":
            longest = int(np.diff(problems.offsets).max(initial=0))
            numbers = [int(np.random.default_rng(seed).integers(2**53)) for seed in seeds]
            tables = [RandomResponsibilities(n_components, number)[0:longest] for number in numbers]
            self._responsibilities = np.stack(tables)

    def draws(self, slab: slice) -> many.Draws:
        """Return the random numbers that centres of a slab of problems are drawn with."""
        lloyd = np.array([self._method == "kmeans"], np.int64)
        return many.Draws(self._uniform, self._chosen, self._table[slab], lloyd)

    def record(self, slab: slice, survey: many.Survey) -> many.Start:
        """Return the starts of a slab of problems."""
        weights, means, whitener, covariance = (
            array if len(array) < 2 else array[slab]
            for array in (self._weights, self._means, self._whitener, self._covariance)
        )
        centres = means[:, None] if self.ordered else survey.centres
        return many.Start(centres, self._responsibilities, weights, means, whitener, covariance)
