"""Starts of mixtures of factor analysers: the components of another start, and their principal directions."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastgmm.passes.scores import Score
from fastgmm.rows import ArrayRows
from fastgmm.rules import FactorLikelihood, FactorParameters, factor_parameters
from fastgmm.sources import Source
from fastgmm.starts.noise import Begin
from fastgmm.starts.seeding import SAMPLE_FLOATS, Sample
from fastgmm.statistics import Array

# Rows that are looked at, also for each component.
_ROWS = 2**13
_ROWS_PER_COMPONENT = 100
# Directions beyond those that are looked for, and multiplications by the second moments that turn them.
_MORE = 4
_TURNS = 8
# What of a column's variance is at least unique in a start, and of the mean variance a factor's part at least.
_LEAST_UNIQUE, _LEAST_FACTOR = 0.05, 1e-3


def beginning_with_loadings(begin: Begin) -> Begin:
    """Return a start that makes components without factors by `begin`, and gives them their principal directions.

    For loadings of 0 are a place that no update leaves.
    """

    def start(rule: FactorLikelihood, source: Source, random_state: Any, restart: int) -> FactorParameters:
        generator = np.random.default_rng(int(random_state.uniform() * 2**53))
        state = begin(rule, source, generator, restart)
        n_components = len(state.weights)
        n_rows = max(min(_ROWS, SAMPLE_FLOATS // source.n_features), _ROWS_PER_COMPONENT * n_components)
        sample = Sample(source, n_rows, generator)
        shares: Array = Score(state.density, "responsibilities", source.n_threads)(ArrayRows(sample.points))
        return with_loadings(rule, state, sample.points, sample.weight[:, None] * shares, generator)

    return start


def with_loadings(
    rule: FactorLikelihood, state: FactorParameters, points: Array, share: Array, generator: Any
) -> FactorParameters:
    """Return a state with loadings along the principal directions of rows (M, D) of some share (M, K)."""
    variances = state.covariances
    # One unit where the uniquenesses are one number; else that of each column.
    isotropic = rule.uniquenesses == "isotropic"
    unit = np.sqrt(variances.mean(axis=1, keepdims=True) + 0.0 * variances if isotropic else variances)
    loadings = np.zeros_like(state.loadings)
    for k, mass in enumerate(share.sum(axis=0)):
        weight = share[:, k] / mass if mass > 0.0 else share[:, k]
        rows = np.sqrt(weight)[:, None] * ((points - state.means[k]) / unit[k])
        values, axes = _leading(rows, rule.n_factors, generator)
        rest = max(float((rows**2).sum() - values.sum()) / max(rows.shape[1] - rule.n_factors, 1), 0.0)
        loadings[k] = unit[k][:, None] * axes * np.sqrt(np.maximum(values - rest, _LEAST_FACTOR))
    residual = np.maximum(variances - (loadings**2).sum(axis=2), _LEAST_UNIQUE * variances)
    return factor_parameters(state.weights, state.means, loadings, rule.shared(state.weights, residual))


def _leading(rows: Array, number: int, generator: Any) -> tuple[Array, Array]:
    """Return the largest eigenvalues (Q,) of rows^T rows, and the eigenvectors (D, Q), by subspace iteration."""
    n_features = rows.shape[1]
    axes = np.linalg.qr(generator.standard_normal((n_features, min(number + _MORE, n_features))))[0]
    for _ in range(_TURNS):
        axes = np.linalg.qr(rows.T @ (rows @ axes))[0]
    values, turned = np.linalg.eigh((rows @ axes).T @ (rows @ axes))
    order = np.argsort(values)[::-1][:number]
    return values[order], axes @ turned[:, order]
