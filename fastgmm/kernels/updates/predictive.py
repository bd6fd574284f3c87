"""The posterior predictive law of a row, from a density and its posterior."""

from __future__ import annotations

import math

import numpy as np

from fastgmm.kernels.algebra.special import log_gamma_ratio
from fastgmm.kernels.compiling import kernel
from fastgmm.kernels.structures import contract


@kernel
def set_predictive(student, density, posterior, weights):
    """Overwrite the power, shrink and log scale of `student`: the posterior predictive law of a row (PRML 10.81).

    For Wishart blocks of dimension p, component k has t = n_k + 1 - p degrees of freedom for n_k of its posterior, and
    precision t / n_k * b_k / (1 + b_k) times the expected one in `density`, for its mean precision b_k.
    """
    n_components, n_features = density.mean.shape
    dimension, count = contract.wishart(density)
    # A product law has one tail for each feature, a multivariate law one for all.
    joined = n_features // count
    for k in range(n_components):
        freedom = posterior.degrees_of_freedom[min(k, posterior.degrees_of_freedom.size - 1)]
        tail = freedom + 1.0 - dimension
        shrink = posterior.mean_precision[k] / (1.0 + posterior.mean_precision[k]) / freedom
        student.power[k] = tail + joined
        student.shrink[k] = shrink
        student.log_scale[k] = (
            (math.log(weights[k]) if weights[k] > 0.0 else -np.inf)
            + contract.log_determinant(density, k)
            + count * log_gamma_ratio(0.5 * tail, 0.5 * joined)
            + 0.5 * n_features * (math.log(shrink) - math.log(math.pi))
        )
