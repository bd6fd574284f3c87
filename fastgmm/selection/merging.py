"""Merging of components to clusters by entropy: several components may describe one group of odd shape."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgmm import validation
from fastgmm.passes.scores import Score, entropy_terms
from fastgmm.rows import Rows, scan_rows
from fastgmm.statistics import Array


@dataclass(frozen=True, eq=False)
class Merged:
    """The clusters of a mixture: its components, merged pair by pair.

    Attributes
    ----------
    model : GaussianMixture or BayesianGaussianMixture
        The fitted mixture, which stays as it is.
    merges : list of (int, int)
        The clusters that were merged, pair by pair: the second joins the first, and those behind it move up.
    entropies : (K,) array
        The entropy of the classification (nat), sum over rows and clusters of -w t log t, of 1 to K clusters.
    """

    model: Any
    merges: list[tuple[int, int]]
    entropies: Array

    def clusters(self, n_clusters: int) -> NDArray[np.int64]:
        """Return the cluster of each component, (K,), where there are `n_clusters`."""
        n_components = len(self.entropies)
        n_clusters = validation.check_count(n_clusters, "n_clusters", 1)
        if n_clusters > n_components:
            raise ValueError(f"n_clusters must be at most {n_components}, the number of components, got {n_clusters}")
        of_component = np.arange(n_components)
        for first, second in self.merges[: n_components - n_clusters]:
            of_component[of_component == second] = first
            of_component[of_component > second] -= 1
        return of_component

    def predict_proba(self, X: ArrayLike, n_clusters: int) -> Array:
        """Return the posterior probability of each cluster for each row of X (N, D), as (N, n_clusters)."""
        return _summed(np.asarray(self.model.predict_proba(X), np.float64), self.clusters(n_clusters), n_clusters)

    def predict(self, X: ArrayLike, n_clusters: int) -> NDArray[np.int64]:
        """Return the most probable of `n_clusters` clusters for each row of X (N, D), as labels (N,)."""
        labels: NDArray[np.int64] = self.predict_proba(X, n_clusters).argmax(axis=1)
        return labels

    @property
    def elbow(self) -> int:
        """The number of clusters at which the entropy, drawn over it, bends most.

        That is where two straight lines describe it best (Baudry et al. 2010), between 2 and K - 1: a proposal, to be
        looked at beside `entropies`. With fewer than three components, their number.
        """
        n_components = len(self.entropies)
        if n_components < 3:
            return n_components
        sizes = np.arange(1.0, n_components + 1.0)
        misfits = [
            _misfit(sizes[:bend], self.entropies[:bend]) + _misfit(sizes[bend - 1 :], self.entropies[bend - 1 :])
            for bend in range(2, n_components)
        ]
        return 2 + int(np.argmin(misfits))


def merge_components(model: Any, X: ArrayLike, sample_weight: ArrayLike | None = None) -> Merged:
    """Return how the components of a fitted mixture merge to clusters of the rows of X (N, D).

    In each step the two clusters are merged whose union lowers the entropy of the classification most (Baudry, Raftery,
    Celeux, Lo and Gottardo 2010): those that overlap, however far apart their means are. A pass over the rows for each
    step, wherever they are; extra memory does not depend on N. `model` may be a ``GaussianMixtureIC``, too, and
    `sample_weight` is as of ``GaussianMixture.fit``.
    """
    model = getattr(model, "best_estimator_", model)
    rows = model._rows(X, sample_weight)
    score = Score(model._density(), "responsibilities", model.n_threads)
    n_components = len(model.means_)
    of_component = np.arange(n_components)
    entropies, merges = np.zeros(n_components), []
    for n_clusters in range(n_components, 0, -1):
        found = rows.gather(_Task(score, of_component.copy(), n_clusters), operator.add)
        entropies[n_clusters - 1] = found.entropy
        if n_clusters > 1:
            above = np.triu_indices(n_clusters, 1)
            best = int(np.argmax(found.gains[above]))
            first, second = int(above[0][best]), int(above[1][best])
            merges.append((first, second))
            of_component[of_component == second] = first
            of_component[of_component > second] -= 1
    return Merged(model, merges, entropies)


@dataclass(frozen=True, eq=False)
class _Entropies:
    """The entropy of clusters, and by how much the union of each two lowers it; ``+`` puts parts together."""

    entropy: float
    gains: Array

    def __add__(self, other: _Entropies) -> _Entropies:
        return _Entropies(self.entropy + other.entropy, self.gains + other.gains)


@dataclass(frozen=True, eq=False)
class _Task:
    """The task that sums up the entropies of clusters over rows in this process."""

    score: Score
    of_component: NDArray[np.int64]
    n_clusters: int

    def __call__(self, rows: Rows) -> _Entropies:
        total = _Entropies(0.0, np.zeros((self.n_clusters, self.n_clusters)))
        for block in rows.given_blocks(scan_rows(rows.n_features + len(self.of_component))):
            weight = np.ones(len(block.X)) if block.weight is None else np.asarray(block.weight, np.float64)
            shares = np.asarray(self.score(rows.part(block)), np.float64)
            total = total + self._of_block(_summed(shares, self.of_component, self.n_clusters), weight)
        return total

    def _of_block(self, shares: Array, weight: Array) -> _Entropies:
        own = entropy_terms(shares)
        gains = np.zeros((self.n_clusters, self.n_clusters))
        for first in range(self.n_clusters - 1):
            union = entropy_terms(shares[:, first, None] + shares[:, first + 1 :])
            gains[first, first + 1 :] = weight @ (own[:, first, None] + own[:, first + 1 :] - union)
        return _Entropies(float(weight @ own.sum(axis=1)), gains)


def _summed(shares: Array, of_component: NDArray[np.int64], n_clusters: int) -> Array:
    summed = np.zeros((len(shares), n_clusters))
    for component, cluster in enumerate(of_component):
        summed[:, cluster] += shares[:, component]
    return summed


def _misfit(sizes: Array, values: Array) -> float:
    """Return the sum of squares about the straight line of least squares."""
    about = sizes - sizes.mean()
    slope = float(about @ values) / float(about @ about)
    rest = values - values.mean() - slope * about
    return math.fsum(rest * rest)
