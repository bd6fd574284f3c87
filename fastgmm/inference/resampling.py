"""The weighted likelihood bootstrap: the spread of fits to randomly weighted rows."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastgmm import exceptions, validation
from fastgmm.estimators import GaussianMixture
from fastgmm.many import fit_many
from fastgmm.many.status import Status
from fastgmm.selection.candidates import copy_with
from fastgmm.statistics import Array
from fastgmm.support.showing import shown

# Floats of weights that are drawn and fitted in one go.
_SLAB_FLOATS = 2**22
# Parameters that a model must not have, and what they are without.
_WITHOUT = {"frozen": None, "equal_weights": False, "noise": False, "prior": None, "max_eigenvalue_ratio": None}


@dataclass(frozen=True, eq=False)
class Resampled:
    """Parameters of a mixture fitted to B random weightings of its rows; components are those of the model, in order.

    Attributes
    ----------
    weights : (B, K)
    means : (B, K, D)
    covariances : (B, ...), each as ``covariances_``
    """

    weights: Array
    means: Array
    covariances: Array

    def standard_errors(self) -> dict[str, Array]:
        """Return the standard deviation of each parameter: of "weights" (K,), "means" (K, D) and "covariances"."""
        errors = {}
        for name, values in vars(self).items():
            # Squares of tiny or huge numbers leave float64.
            unit = np.abs(values).max(axis=0)
            unit = np.where(unit > 0.0, unit, 1.0)
            errors[name] = np.asarray(unit * (values / unit).std(axis=0, ddof=1), np.float64)
        return errors

    def intervals(self, level: float = 0.95) -> dict[str, Array]:
        """Return the ends of the middle `level` of each parameter, as above with an axis of 2 before."""
        level = float(validation.check_probability(level, "level"))
        ends = [0.5 * (1.0 - level), 0.5 * (1.0 + level)]
        return {name: np.asarray(np.quantile(values, ends, axis=0)) for name, values in vars(self).items()}


def likelihood_bootstrap(
    model: GaussianMixture,
    X: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    n_samples: int = 999,
    random_state: Any = None,
) -> Resampled:
    """Return how the parameters of a mixture vary over random weights of the rows of X (N, D) that it was fitted to.

    The weighted likelihood bootstrap (Newton and Raftery 1994; for mixtures O'Hagan, Murphy, Scrucca and Gormley 2019):
    rows get Dirichlet weights, and EM goes on from the fitted parameters, so that components keep their places and no
    row is ever missing from all samples. For every covariance family, few rows, and parameters near their limits, where
    ``standard_errors`` is not; by `n_samples` fits in ``fit_many``.

    Parameters
    ----------
    model : GaussianMixture or GaussianMixtureIC
        Fitted to X. Its `tol`, `max_iter` and `reg_covar` count for the fits, with a `tol` of 1e-6 at most.
    X : (N, D) array-like
    sample_weight : (N,) array-like >= 0, optional
        A row of weight w counts as w rows that were seen.
    n_samples : int, default 999
        The number B of weightings, 2 at least.
    random_state : int, RandomState, Generator or None

    Notes
    -----
    Fits that fail are left out, with a ConvergenceWarning; ValueError where fewer than two are left, TypeError for
    other estimators.
    """
    model = getattr(model, "best_estimator_", model)
    if not isinstance(model, GaussianMixture):
        raise TypeError(f"model must be a GaussianMixture, got {shown(model)}")
    for name, usual in _WITHOUT.items():
        if getattr(model, name, usual) != usual:
            raise ValueError(
                f"likelihood_bootstrap is not for mixtures with {name}, got {name}={shown(getattr(model, name))}"
            )
    if hasattr(model, "class_of_components_"):
        raise ValueError("likelihood_bootstrap is not for mixtures fitted with labels, of which it would know nothing")
    n_samples = validation.check_count(n_samples, "n_samples", 2)
    generator = np.random.default_rng(int(validation.check_random_state(random_state).uniform() * 2**53))
    rows, own = model._rows(X, sample_weight).take(None)
    prototype = copy_with(
        model._blank(),
        n_components=len(model.means_),
        covariance_type=model._family(),
        tol=min(float(model.tol), 1e-6),
        max_iter=max(int(model.max_iter), 1000),
        n_init=1,
        accelerate=None,
        truncate=None,
        missing=None,
        checkpoint=None,
        warm_start=False,
        init_params="kmeans",
        weights_init=None,
        means_init=None,
        precisions_init=None,
    )
    start = {
        "means": np.asarray(model.means_, np.float64),
        "weights": model._shares(),
        "precisions": model._family().precisions(
            model._family().attribute(model._family().precisions_cholesky(model._whitener(model._family())))
        ),
    }
    parts = list(_fits(prototype, start, rows, own, n_samples, generator))
    found = Resampled(*(np.concatenate(each) for each in zip(*parts, strict=True)))
    _require(len(found.weights), n_samples)
    return found


def _fits(
    prototype: GaussianMixture, start: dict[str, Any], rows: Array, own: Array, n_samples: int, generator: Any
) -> Iterator[list[Array]]:
    """Yield the weights, means and covariances that some weightings of the rows (N, D) lead to from a start."""
    n_at_once = max(1, _SLAB_FLOATS // (len(rows) * (1 + rows.shape[1])))
    for first in range(0, n_samples, n_at_once):
        count = min(n_at_once, n_samples - first)
        weight = generator.standard_gamma(own, size=(count, len(rows)))
        weight *= own.sum() / weight.sum(axis=1, keepdims=True)
        starts = {name: np.broadcast_to(value, (count, *np.shape(value))).copy() for name, value in start.items()}
        with warnings.catch_warnings():
            # What could not be fitted is said once, below.
            warnings.simplefilter("ignore")
            fits = fit_many(prototype, np.broadcast_to(rows, (count, *rows.shape)), sample_weight=weight, **starts)
        fine = fits.status <= Status.NOT_CONVERGED
        yield [each[fine] for each in (fits.weights_, fits.means_, fits.covariances_)]


def _require(n_fitted: int, n_samples: int) -> None:
    """Say where not all weightings could be fitted; ValueError where hardly any could."""
    if n_fitted == n_samples:
        return
    failed = (
        f"{n_samples - n_fitted} of {n_samples} weightings could not be fitted, and are left out: raise reg_covar of "
        "the model, or fit fewer components."
    )
    if n_fitted < 2:
        raise ValueError(failed)
    warnings.warn(failed, exceptions.ConvergenceWarning, stacklevel=3)
