"""The estimators: scikit-learn's interface in front of sources, rules and the loop."""

from __future__ import annotations

import math
import numbers
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgmm import exceptions, validation
from fastgmm.exceptions import CollapsedComponentError
from fastgmm.expectation import Scores, row_type
from fastgmm.families import Family
from fastgmm.interface import Interface
from fastgmm.kernels import Density
from fastgmm.loop import FitResult, fit_loop
from fastgmm.rules import GaussianParameters, MaximumLikelihood
from fastgmm.seeding import METHODS, seed
from fastgmm.sources import MemorySource
from fastgmm.statistics import Array

Callback = Callable[[int, int, float, float], Any]


class GaussianMixture(Interface):
    """Gaussian mixture fitted by expectation maximisation: ``sklearn.mixture.GaussianMixture`` with faster kernels.

    Parameters
    ----------
    n_components : int, default 1
    covariance_type : {'full', 'tied', 'diag', 'spherical'} or Family, default 'full'
    tol : float, default 1e-3
        Stop when an iteration changes the mean log-likelihood of a row (nat) by less than this.
    reg_covar : float, default 1e-6
        Added to every variance, in squared units of X. With 0 the likelihood never falls.
    max_iter : int, default 100
    n_init : int, default 1
        Number of starts; the fit of highest bound is kept. Starts whose components collapse are left out.
    init_params : {'kmeans', 'k-means++', 'random', 'random_from_data'}, array or callable, default 'kmeans'
        How a fit starts. An array holds labels (n_samples,) or responsibilities (n_samples, n_components); a callable
        gets (X, n_components, random_state) and returns one.
    weights_init, means_init, precisions_init : arrays, optional
        Starting parameters; what is missing is estimated from the start that `init_params` gives (with `means_init`,
        from the rows nearest to each mean; without, its components are put in the order that fits what is given).
    random_state : int, RandomState, Generator or None
    warm_start : bool, default False
        Start the next ``fit`` from the last one's parameters; `n_init` counts as 1 then.
    verbose, verbose_interval : int
        1 prints the iterations, 2 also times and changes; every `verbose_interval` iterations.
    n_threads : int, optional
        Threads that kernels use; default Numba's number. Results are the same bits for any.

    Attributes
    ----------
    weights_ : (K,)
    means_ : (K, D)
    covariances_, precisions_, precisions_cholesky_ : (K, D, D) full, (D, D) tied, (K, D) diag, (K,) spherical
    converged_ : bool
    n_iter_ : int
        Updates made in the best fit.
    lower_bound_ : float
        Mean log-likelihood of a row (nat) under the parameters above; with weights, the weighted mean.
    lower_bounds_ : list of float
        The bound after each update of the best fit; the last one is `lower_bound_`.
    n_features_in_, feature_names_in_
        Number of columns, and their names where X was a data frame with string names.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgmm import GaussianMixture
    >>> X = np.array([[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    >>> gm = GaussianMixture(n_components=2, random_state=0).fit(X)
    >>> sorted(gm.means_.round(6).tolist())
    [[1.0, 2.0], [10.0, 2.0]]
    """

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str | Family = "full",
        tol: float = 1e-3,
        reg_covar: float = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: Any = "kmeans",
        weights_init: ArrayLike | None = None,
        means_init: ArrayLike | None = None,
        precisions_init: ArrayLike | None = None,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        n_threads: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.n_threads = n_threads

    weights_: NDArray
    means_: NDArray
    covariances_: NDArray
    precisions_: NDArray
    precisions_cholesky_: NDArray
    converged_: bool
    n_iter_: int
    lower_bound_: float
    lower_bounds_: list[float]
    n_features_in_: int
    feature_names_in_: NDArray
    _previous_bound: float
    _fitted_family: Family

    @classmethod
    def from_parameters(
        cls,
        weights: ArrayLike,
        means: ArrayLike,
        covariances: ArrayLike,
        covariance_type: str | Family = "full",
        **params: Any,
    ) -> Any:
        """Return a fitted estimator with the given mixture; it scores, samples, and with ``warm_start`` fits on.

        `weights` (K,) sum to 1, `means` (K, D), `covariances` in the family's shape; `params` go to the constructor.
        ValueError where a shape is wrong or a covariance is not positive definite.
        """
        family = validation.check_family(covariance_type)
        shape = np.shape(validation.as_array(means, "means"))
        if len(shape) != 2:
            raise ValueError(f"means must have the shape (n_components, n_features), got {shape}.")
        n_components, n_features = shape
        checked_weights = validation.check_weights(weights, n_components)
        checked_means = validation.check_means(means, n_components, n_features)
        checked = validation.check_covariances(covariances, family, n_components, n_features, "covariance")
        density, failed = family.density(checked_weights, checked_means, checked)
        if failed >= 0:
            raise CollapsedComponentError(failed)
        model = cls(n_components, covariance_type=covariance_type, **params)
        state = GaussianParameters(checked_weights, checked, density)
        model._keep(family, FitResult(state, math.nan, [], -math.inf, 0, False), np.float64, None)
        return model

    def fit(
        self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None, *, callback: Callback | None = None
    ) -> GaussianMixture:
        """Fit the mixture to the rows of X and return self.

        Parameters
        ----------
        X : (N, D) array-like of finite numbers, N >= 2 and N >= n_components
        y : ignored
        sample_weight : (N,) array-like >= 0, optional
            A row of weight w counts as w copies.
        callback : callable, optional
            Called as ``callback(restart, iteration, bound, change)`` after each iteration.

        Raises ValueError for bad input, and where in every start the covariance of a component collapses (the message
        names it). Warns ConvergenceWarning where `max_iter` ended the best start. An exception, Ctrl-C included,
        leaves the estimator as it was.
        """
        self._fit(X, sample_weight, callback)
        return self

    def fit_predict(self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None) -> NDArray[np.int64]:
        """Fit the mixture and return the labels (N,) of X; arguments as of ``fit``."""
        rows = self._fit(X, sample_weight, None)
        return Scores(self._density(), rows, self.n_threads, labels=True).labels

    def _fit(self, X: ArrayLike, sample_weight: ArrayLike | None, callback: Callback | None) -> NDArray:
        validation.check_parameters(self.get_params(), METHODS)
        family = validation.check_family(self.covariance_type)
        names = validation.feature_names(X)
        rows = validation.check_rows(X, type(self).__name__, minimum=2)
        weight = validation.check_sample_weight(sample_weight, len(rows))
        n_samples = len(rows) if weight is None else int(np.count_nonzero(weight))
        if n_samples < self.n_components:
            raise ValueError(
                f"Expected n_samples >= n_components but got n_components = {self.n_components}, "
                f"n_samples = {n_samples}" + ("" if weight is None else " (rows of positive weight)")
            )
        random_state = validation.check_random_state(self.random_state)
        rule = MaximumLikelihood(family, self.reg_covar)
        source = MemorySource(family, rows, validation.scaled_weight(weight)[0], self.n_threads)
        warm = self.warm_start and hasattr(self, "converged_")
        start = self._warm_state(family, rows.shape[1]) if warm else None
        begin = self._starter(rule, source, rows, random_state)
        best: FitResult | None = None
        collapsed: list[CollapsedComponentError] = []
        n_init = 1 if warm else self.n_init
        for restart in range(n_init):
            report = _Report(restart, self.verbose, self.verbose_interval, callback)
            try:
                state = begin() if start is None else start
                result = fit_loop(
                    rule,
                    source,
                    state,
                    tol=self.tol,
                    max_iter=self.max_iter,
                    previous_bound=self._previous_bound if warm else -math.inf,
                    callback=report.iteration,
                )
            except CollapsedComponentError as error:
                report.failed()
                collapsed.append(error)
                continue
            if self.max_iter > 0:
                report.end(result)
            if best is None or result.bound > best.bound:
                best = result
        if best is None:
            raise collapsed[0]
        # Warnings first: where they are errors, nothing may have changed.
        if collapsed:
            warnings.warn(
                f"{len(collapsed)} of {n_init} starts were left out, because a component collapsed: increase "
                "reg_covar or decrease n_components.",
                exceptions.ConvergenceWarning,
                stacklevel=3,
            )
        if not best.converged and self.max_iter > 0:
            warnings.warn(
                "Best performing initialization did not converge. Try different init parameters, or increase "
                "max_iter, tol, or check for degenerate data.",
                exceptions.ConvergenceWarning,
                stacklevel=3,
            )
        self._keep(family, best, row_type(rows), names)
        return rows

    def _starter(
        self, rule: MaximumLikelihood, source: MemorySource, rows: NDArray, random_state: Any
    ) -> Callable[[], GaussianParameters]:
        """Return a function that makes a start, having checked every explicit part of it."""
        family, n_components, n_features = rule.family, self.n_components, rows.shape[1]
        weights = means = whitener = None
        if self.weights_init is not None:
            weights = validation.check_weights(self.weights_init, n_components)
        if self.means_init is not None:
            means = validation.check_means(self.means_init, n_components, n_features)
        if self.precisions_init is not None:
            precisions = validation.check_covariances(
                self.precisions_init, family, n_components, n_features, "precision"
            )
            whitener = family.whitener_of_precisions(precisions)
        method = self.init_params if isinstance(self.init_params, str) else ""

        def begin() -> GaussianParameters:
            if weights is not None and means is not None and whitener is not None:
                return _state(family, weights, means, whitener)
            labels = responsibilities = None
            if not method:
                labels, responsibilities = validation.check_assignment(
                    self.init_params, len(rows), n_components, random_state, rows
                )
            state = seed(
                rule,
                source,
                n_components,
                random_state,
                method,
                means=None if not method else means,
                labels=labels,
                responsibilities=responsibilities,
            )
            if weights is None and means is None and whitener is None:
                return state
            if means is None:
                state = _in_order(family, state, weights, whitener)
            return _state(
                family,
                state.weights if weights is None else weights,
                state.means if means is None else means,
                state.density.whitener if whitener is None else whitener,
            )

        return begin

    def _warm_state(self, family: Family, n_features: int) -> GaussianParameters:
        shape = (self.n_components, n_features)
        fitted = self._family()
        if self.means_.shape != shape or fitted != family:
            raise ValueError(
                "warm_start needs parameters of the same shape: the fitted model has "
                f"{self.means_.shape[0]} components of {self.means_.shape[1]} features, covariance {fitted.name!r}; "
                f"this fit {shape[0]} of {shape[1]}, covariance {family.name!r}. Set warm_start=False to start anew."
            )
        return _state(family, self.weights_, self.means_, family.whitener(self.precisions_cholesky_))

    def _keep(self, family: Family, result: FitResult, dtype: type, names: NDArray | None) -> None:
        state = result.state
        arrays = {
            "weights_": state.weights,
            "means_": state.means,
            "covariances_": state.covariances,
            "precisions_cholesky_": family.precisions_cholesky(state.density.whitener),
        }
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            rounded = {name: array.astype(dtype) for name, array in arrays.items()}
            for kind in (arrays, rounded):
                kind["precisions_"] = family.precisions(kind["precisions_cholesky_"])
        # Outside the range of float32 the attributes stay float64.
        if all(np.isfinite(array).all() for array in rounded.values()) and rounded["covariances_"].any():
            arrays = rounded
        fitted = arrays | {
            "converged_": result.converged,
            "n_iter_": result.n_iter,
            "lower_bound_": result.bound,
            "lower_bounds_": result.bounds,
            "n_features_in_": state.means.shape[1],
            "_previous_bound": result.previous_bound,
            "_fitted_family": family,
        }
        if names is not None:
            fitted["feature_names_in_"] = names
        else:
            self.__dict__.pop("feature_names_in_", None)
        # At once: an interrupt between two attributes would leave a mixture of two models.
        self.__dict__.update(fitted)

    def _family(self) -> Family:
        """Return the family of the fitted attributes, whatever `covariance_type` has been set to since."""
        family = self.__dict__.get("_fitted_family") or validation.check_family(self.covariance_type)
        shape = family.shape(*self.means_.shape)
        if np.shape(self.precisions_cholesky_) != shape:
            raise ValueError(
                f"precisions_cholesky_ should have the shape {shape} of covariance {family.name!r}, but has "
                f"{np.shape(self.precisions_cholesky_)}"
            )
        return family

    def _density(self) -> Density:
        family = self._family()
        return family.density_of_whitener(self.weights_, self.means_, family.whitener(self.precisions_cholesky_))

    def _rows(self, X: ArrayLike) -> NDArray:
        if not hasattr(self, "means_"):
            raise validation.not_fitted(type(self).__name__)
        validation.check_feature_names(getattr(self, "feature_names_in_", None), X, type(self).__name__)
        rows = validation.check_rows(X, type(self).__name__)
        validation.check_n_features(rows, self.means_.shape[1], type(self).__name__)
        return rows

    def _scores(self, X: ArrayLike, **wanted: Any) -> Scores:
        rows = self._rows(X)
        return Scores(self._density(), rows, self.n_threads, **wanted)

    def _totals(self, X: ArrayLike, sample_weight: ArrayLike | None) -> _Totals:
        rows = self._rows(X)
        weight, exponent = validation.scaled_weight(validation.check_sample_weight(sample_weight, len(rows)))
        scores = Scores(self._density(), rows, self.n_threads, sums=True, sample_weight=weight)
        return _Totals(scores.sum_evidence, scores.sum_peak, scores.weight, exponent)

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """Return the most probable component of each row of X (N, D), as labels (N,)."""
        return self._scores(X, labels=True).labels

    def predict_proba(self, X: ArrayLike) -> NDArray:
        """Return the posterior probability of each component for each row of X (N, D), as (N, K)."""
        return self._scores(X, responsibilities=True).responsibilities

    def score_samples(self, X: ArrayLike) -> NDArray:
        """Return the log-density (nat) of each row of X (N, D), as (N,)."""
        return self._scores(X, evidence=True).evidence

    def score(self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None) -> float:
        """Return the mean log-density (nat) of the rows of X (N, D); with weights (N,), the weighted mean."""
        totals = self._totals(X, sample_weight)
        return totals.evidence / totals.weight

    def aic(self, X: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return Akaike's information criterion on X, -2 log-likelihood + 2 parameters; lower is better."""
        totals = self._totals(X, sample_weight)
        return -2.0 * totals.scale * totals.evidence + 2.0 * self._n_parameters()

    def bic(self, X: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return the Bayesian information criterion on X, -2 log-likelihood + parameters * log(n); lower is better.

        n is the number of rows, or the sum of their weights.
        """
        totals = self._totals(X, sample_weight)
        return -2.0 * totals.scale * totals.evidence + self._n_parameters() * totals.log_weight

    def icl(self, X: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return the integrated completed likelihood criterion on X; lower is better (mclust's ICL with sign changed).

        BIC - 2 sum of w log(probability of each row's most probable component): BIC that also punishes overlap
        (Biernacki, Celeux and Govaert 2000).
        """
        totals = self._totals(X, sample_weight)
        return -2.0 * totals.scale * totals.peak + self._n_parameters() * totals.log_weight

    def sample(self, n_samples: int = 1, random_state: Any = None) -> tuple[NDArray, NDArray[np.int64]]:
        """Return `n_samples` rows (n, D) drawn from the mixture, grouped by component, and their labels (n,).

        `random_state` defaults to the estimator's own.
        """
        if not hasattr(self, "means_"):
            raise validation.not_fitted(type(self).__name__)
        if not isinstance(n_samples, numbers.Integral) or n_samples < 1:
            raise ValueError(f"Invalid value for 'n_samples': {n_samples} . The sampling requires at least one sample.")
        random_state = validation.check_random_state(self.random_state if random_state is None else random_state)
        family = self._family()
        weights = self.weights_.astype(np.float64)
        counts = random_state.multinomial(n_samples, weights / weights.sum())
        whitener = family.whitener(self.precisions_cholesky_)
        n_features = self.means_.shape[1]
        X = np.vstack(
            [
                self.means_[k] + family.colour(whitener, k, random_state.standard_normal((count, n_features)))
                for k, count in enumerate(counts)
            ]
        )
        return X, np.repeat(np.arange(len(counts), dtype=np.int64), counts)

    def _n_parameters(self) -> int:
        n_components, n_features = self.means_.shape
        family = self._family()
        return family.n_covariance_parameters(n_components, n_features) + n_components * (n_features + 1) - 1


class _Totals(NamedTuple):
    """Weighted sums over rows, with the weights in units of 2**exponent."""

    evidence: float
    peak: float
    weight: float
    exponent: int

    @property
    def scale(self) -> float:
        return math.inf if self.exponent > 1023 else math.ldexp(1.0, self.exponent)

    @property
    def log_weight(self) -> float:
        return math.log(self.weight) + self.exponent * math.log(2.0)


def _state(family: Family, weights: Array, means: Array, whitener: Array) -> GaussianParameters:
    density = family.density_of_whitener(weights, means, whitener)
    return GaussianParameters(
        np.asarray(weights, np.float64), family.covariances_of_whitener(density.whitener), density
    )


def _in_order(
    family: Family, state: GaussianParameters, weights: Array | None, whitener: Array | None
) -> GaussianParameters:
    """Return a seeded state with its components in the order that fits given weights or whiteners best.

    Seeds come in no particular order; the user's parameters do. Maximises the expected log joint of the seeded
    components' rows, each about its own mean.
    """
    from scipy.optimize import linear_sum_assignment  # its import takes longer than most fits

    shape = state.means.shape
    given = _state(
        family,
        state.weights if weights is None else weights,
        state.means,
        state.density.whitener if whitener is None else whitener,
    )
    precisions = family.precisions(family.precisions_cholesky(given.density.whitener))
    distance = np.einsum("kab,jab->kj", family.matrices(precisions, *shape), family.matrices(state.covariances, *shape))
    gain = state.weights * (np.maximum(given.density.log_scale, -1e300)[:, None] - 0.5 * distance)
    _, order = linear_sum_assignment(-gain)
    own = state.density.whitener if family.uses_total else state.density.whitener[order]
    return _state(family, state.weights[order], state.means[order], own)


class _Report:
    """Prints what scikit-learn's ``verbose`` prints, and passes iterations on to a callback."""

    def __init__(self, restart: int, verbose: int, interval: int, callback: Callback | None) -> None:
        self._restart = restart
        self._verbose = int(verbose)
        self._interval = interval
        self._callback = callback
        self._begin = self._last = time.perf_counter()
        if self._verbose:
            print(f"Initialization {restart}")

    def iteration(self, iteration: int, bound: float, change: float) -> None:
        if self._callback is not None:
            self._callback(self._restart, iteration, bound, change)
        if self._verbose and iteration % self._interval == 0:
            if self._verbose == 1:
                print(f"  Iteration {iteration}")
            else:
                now = time.perf_counter()
                print(f"  Iteration {iteration}\t time lapse {now - self._last:.5f}s\t ll change {change:.5f}")
                self._last = now

    def end(self, result: FitResult) -> None:
        if self._verbose:
            text = "converged" if result.converged else "did not converge"
            details = ""
            if self._verbose >= 2:
                details = f" time lapse {time.perf_counter() - self._begin:.5f}s\t lower bound {result.bound:.5f}."
            print(f"Initialization {text}.{details}")

    def failed(self) -> None:
        if self._verbose:
            print("Initialization failed: a component collapsed.")
