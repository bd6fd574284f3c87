"""The bootstrap likelihood-ratio test of the number of components."""

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
from fastgmm.many.fitting import check_estimator
from fastgmm.many.status import Status
from fastgmm.selection.candidates import copy_with, require_open
from fastgmm.statistics import Array
from fastgmm.support.showing import shown

# Floats of samples that are drawn and fitted in one go.
_SLAB_FLOATS = 2**22


@dataclass(frozen=True, eq=False)
class BootstrapTest:
    """Tests of K against K + 1 components, for K = 1 and up.

    Attributes
    ----------
    n_components : int
        The number of components: the first K that one more does not improve, by the level of the test.
    statistics : (T,) array
        Twice the gain in log-likelihood of K + 1 components over K, of each test.
    p_values : (T,) array
        Their p-values; the last is above the level, unless there was no larger mixture to try.
    samples : list of (B,) arrays
        The statistics of the samples that were drawn from the mixture of K components; fewer where fits failed.
    """

    n_components: int
    statistics: Array
    p_values: Array
    samples: list[Array]


def bootstrap_test(
    X: ArrayLike,
    max_components: int = 9,
    *,
    estimator: GaussianMixture | None = None,
    n_samples: int = 999,
    level: float = 0.05,
    random_state: Any = None,
) -> BootstrapTest:
    """Test how many components the rows of X (N, D) call for, by likelihood ratios of samples (McLachlan 1987).

    From K = 1 on, the mixture of K components is fitted, and `n_samples` samples of N rows are drawn from it; of each,
    mixtures of K and K + 1 components are fitted, by ``fit_many``. The p-value is the share of samples (the data
    themselves counted) whose gain by the further component is at least that of the data. The first K whose p-value is
    above `level` is the answer.

    Parameters
    ----------
    X : (N, D) array-like of finite numbers
    max_components : int, default 9
        The largest number that a further component is added to.
    estimator : GaussianMixture, optional
        Holds all other parameters of the fits; default ``GaussianMixture(n_init=5, init_params="kmeans", tol=1e-4,
        max_iter=500)``. Samples are fitted by it, too: more starts make the test fairer and slower.
    n_samples : int, default 999
    level : float in (0, 1), default 0.05
    random_state : int, RandomState, Generator or None

    Notes
    -----
    Raises ValueError for bad input, and where the data cannot be fitted. Time is mostly that of `n_samples` times
    `n_init` small fits for each K.
    """
    if estimator is None:
        estimator = GaussianMixture(n_init=5, init_params="kmeans", tol=1e-4, max_iter=500)
    if not isinstance(estimator, GaussianMixture):
        raise TypeError(f"estimator must be a GaussianMixture of fastgmm, got {shown(estimator)}")
    max_components = validation.check_count(max_components, "max_components", 1)
    n_samples = validation.check_count(n_samples, "n_samples", 1)
    level = float(validation.check_probability(level, "level"))
    state = validation.check_random_state(random_state)
    seed = int(state.uniform() * 2**31)
    require_open(estimator)
    check_estimator(copy_with(estimator, n_components=1))
    # fit_many has no checkpoints; the fits to the data take less time than one of its rounds.
    prototype = copy_with(estimator, random_state=seed, checkpoint=None, _is_compared=True)
    rows = np.array(prototype._open(X, minimum=2).take(None)[0])
    smaller = copy_with(prototype, n_components=1).fit(rows)
    statistics, p_values, samples = [], [], []
    for n_components in range(1, max_components + 1):
        larger = copy_with(prototype, n_components=n_components + 1).fit(rows)
        gain = 2.0 * len(rows) * (larger.score(rows) - smaller.score(rows))
        drawn = _gains(smaller, larger, len(rows), n_samples, np.random.default_rng([seed, n_components]))
        require_samples(
            len(drawn),
            n_samples,
            f"{n_components} components",
            f"with {n_components + 1}",
            "Raise reg_covar of the estimator, or lower max_components",
        )
        statistics.append(gain)
        p_values.append((1.0 + np.count_nonzero(drawn >= gain)) / (len(drawn) + 1.0))
        samples.append(drawn)
        if p_values[-1] > level:
            break
        smaller = larger
    else:
        n_components = max_components + 1
    return BootstrapTest(n_components, np.array(statistics), np.array(p_values), samples)


def require_samples(n_fitted: int, n_samples: int, drawn_from: str, fitted: str, remedy: str) -> None:
    """Say where not all samples could be fitted; ValueError where none could. For functions that users call."""
    failed = (
        f"of {n_samples} samples of {drawn_from}, {n_samples - n_fitted} could not be fitted {fitted}, and are left "
        f"out. {remedy}."
    )
    if n_fitted == 0:
        raise ValueError(failed)
    if n_fitted < n_samples:
        warnings.warn(failed[:1].upper() + failed[1:], exceptions.ConvergenceWarning, stacklevel=3)


def samples_from(model: Any, n_rows: int, n_samples: int, generator: Any) -> Iterator[Array]:
    """Yield samples of `n_rows` rows that are drawn from a mixture, some at a time, (B, n_rows, D) float64."""
    n_at_once = max(1, _SLAB_FLOATS // (n_rows * np.shape(model.means_)[1]))
    for first in range(0, n_samples, n_at_once):
        n_drawn = min(n_at_once, n_samples - first)
        drawn = [model.sample(n_rows, random_state=generator)[0] for _ in range(n_drawn)]
        yield np.stack(drawn).astype(np.float64)


def _gains(smaller: GaussianMixture, larger: GaussianMixture, n_rows: int, n_samples: int, generator: Any) -> Array:
    """Return twice the gain in log-likelihood by the larger mixture, of samples from the smaller one."""
    found: list[Array] = []
    for drawn in samples_from(smaller, n_rows, n_samples, generator):
        fits = [fit_many(each._blank(), drawn) for each in (smaller, larger)]
        fine = np.all([fit.status <= Status.NOT_CONVERGED for fit in fits], axis=0)
        found.append(2.0 * n_rows * (fits[1].lower_bound_ - fits[0].lower_bound_)[fine])
    return np.concatenate(found)
