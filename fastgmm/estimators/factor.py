"""Mixtures of factor analysers: the ``FactorMixture`` estimator."""

from __future__ import annotations

import numbers
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgmm import validation
from fastgmm.estimators.choices import Accelerate, Start, Stopping
from fastgmm.estimators.fitting import Starter
from fastgmm.estimators.interface import with_defaults
from fastgmm.estimators.loadings import FactorMeans, require_few_factors, told_of_explained, turned
from fastgmm.estimators.progress import Callback
from fastgmm.estimators.refused import Refused
from fastgmm.estimators.showing import as_html_of_factors
from fastgmm.estimators.whole import FittedAtOnce
from fastgmm.families import NAMED, Family
from fastgmm.passes.scores import LogDensities
from fastgmm.rows import Rows
from fastgmm.rules import FactorLikelihood, FactorParameters, factor_parameters
from fastgmm.rules.factor import UNIQUENESSES
from fastgmm.sources import Source
from fastgmm.spurious import Spike, find_spikes_of_features
from fastgmm.starts.factor import beginning_with_loadings
from fastgmm.statistics import Array
from fastgmm.support.showing import shown
from fastgmm.support.typing import Self

_FULL = "read weights_, means_ and covariances(), or fit a GaussianMixture"


@with_defaults
class FactorMixture(FittedAtOnce):
    """Mixture of factor analysers, fitted by expectation maximisation: clusters of rows with many columns.

    The covariance of a component is Lambda Lambda^T + Psi, of few factors and a diagonal (Ghahramani and Hinton 1996).
    No D x D matrix is made: memory and time grow with D times the number of factors. See docs/guide/factors.md.

    Parameters
    ----------
    n_components : int, default 1
    n_factors : int, default 1
        Fewer than columns; (D - q)^2 > D + q for q factors of D columns, unless uniquenesses are isotropic.
    uniquenesses : {'own', 'common', 'isotropic'}, default 'own'
        Psi: of each component its own, one for all components, or of each component one number for all columns, which
        are probabilistic principal components (Tipping and Bishop 1999).
    tol : float, default 1e-6
        Stop when an iteration changes the mean log-likelihood of a row (nat) by less than this. 0 runs all `max_iter`
        iterations.
    stopping : {'absolute', 'relative', 'aitken'}, default 'absolute'
        As of `GaussianMixture`.
    reg_covar : float, default 1e-6
        No uniqueness is less than this share of the variance of its column over all rows (isotropic: of the mean over
        columns), nor than 1e-10 of it. Within that bound the likelihood never falls.
    max_iter : int, default 300
    accelerate : {'anderson', 'squarem', None}, default 'anderson'
        Extrapolate iterations; no extrapolation that lowers the bound is kept. Without, loadings may take thousands of
        iterations.
    n_init : int, default 1
        Number of starts; the fit of highest bound is kept.
    init_params : str, array or callable, default 'auto'
        How a fit starts, as of `GaussianMixture`, with diagonal covariances; then come principal directions of each
        component.
    means_init : (K, D) array-like, optional
        Starting means; the rest comes from the rows nearest to each.
    random_state : int, RandomState, Generator or None
    verbose, verbose_interval : int
        1 prints the iterations, 2 also times and changes; every `verbose_interval` iterations.
    n_threads : int, optional
        Threads that kernels use; default Numba's number.

    Attributes
    ----------
    weights_ : (K,)
    means_ : (K, D)
    loadings_ : (K, D, q)
        Lambda, in units of X; turned so that Lambda^T Psi^-1 Lambda is diagonal, the largest first, and the largest
        loading of each factor is positive.
    uniquenesses_ : (K, D) own, (D,) common, (K,) isotropic
        The variances Psi.
    converged_ : bool
    stop_reason_ : str
        "converged" or "max_iter".
    n_iter_, n_passes_ : int
        Updates, and passes over the rows.
    lower_bound_ : float
        Mean log-likelihood of a row (nat); by weight where rows have weights.
    lower_bounds_ : list of float
        That after each update.
    restarts_, spurious_ : list
        As of `GaussianMixture`.
    n_features_in_, feature_names_in_
        Number of columns, and their names where X was a data frame with string names.

    Notes
    -----
    All fitted attributes are float64. Rows are those of arrays, data frames and files; rows on clusters are refused.

    Examples
    --------
    >>> from fastgmm import FactorMixture
    >>> from fastgmm.datasets import load_iris
    >>> X = load_iris().data
    >>> model = FactorMixture(3, 1, random_state=0).fit(X)
    >>> model.loadings_.shape, model.uniquenesses_.shape
    ((3, 4, 1), (3, 4))
    """

    loadings_: NDArray
    uniquenesses_: NDArray

    covariance_type = "diag"

    _parameter_attributes = "weights_", "means_", "loadings_", "uniquenesses_"

    to_sklearn: Any = Refused("scikit-learn has no mixture of factor analysers")
    from_sklearn: Any = Refused("scikit-learn has no mixture of factor analysers")
    marginal: Any = Refused(_FULL)
    condition: Any = Refused(_FULL)
    moments: Any = Refused(_FULL)
    cdf: Any = Refused(_FULL)
    quantile: Any = Refused(_FULL)
    density_threshold: Any = Refused(_FULL)
    summary: Any = Refused("read weights_, means_, loadings_ and uniquenesses_")
    covariances_: Any = Refused("the covariances are covariances(), of loadings_ and uniquenesses_")
    precisions_: Any = Refused("the covariances are covariances(), of loadings_ and uniquenesses_")
    precisions_cholesky_: Any = Refused("the covariances are covariances(), of loadings_ and uniquenesses_")

    def __init__(
        self,
        n_components: int = 1,
        n_factors: int = 1,
        *,
        uniquenesses: Literal["own", "common", "isotropic"] = "own",
        tol: float = 1e-6,
        stopping: Stopping = "absolute",
        reg_covar: float = 1e-6,
        max_iter: int = 300,
        accelerate: Accelerate | None = "anderson",
        n_init: int = 1,
        init_params: Start = "auto",
        means_init: ArrayLike | None = None,
        random_state: Any = None,
        verbose: int = 0,
        verbose_interval: int = 10,
        n_threads: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.n_factors = n_factors
        self.uniquenesses = uniquenesses
        self.tol = tol
        self.stopping = stopping
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.accelerate = accelerate
        self.n_init = n_init
        self.init_params = init_params
        self.means_init = means_init
        self.random_state = random_state
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.n_threads = n_threads

    def fit(
        self,
        X: ArrayLike,
        y: Any = None,
        sample_weight: ArrayLike | None = None,
        *,
        callback: Callback | None = None,
    ) -> Self:
        """Fit the mixture to the rows of X and return self.

        Parameters
        ----------
        X : (N, D) array-like of finite numbers, N >= 2 and N >= n_components, no column of one value
            Or a path or data set in files, which is read in every iteration (docs/sources.md).
        y : ignored
        sample_weight : (N,) array-like >= 0, or str, optional
            A row of weight w counts as w copies. Or the name of the column of a data frame that holds the weights.
        callback : callable, optional
            Called as ``callback(restart, iteration, bound, change)`` after each iteration.

        Notes
        -----
        Raises ValueError for bad input. Warns ConvergenceWarning where `max_iter` ended the best start,
        SpuriousComponentWarning of components on repeated values, and of columns that factors explain wholly. An
        exception leaves the estimator as it was.
        """
        self._fit(X, sample_weight, callback)
        return self

    def fit_transform(self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None) -> NDArray:
        """Fit the mixture and return the factors of the rows of X, as ``transform`` does; arguments as of ``fit``."""
        rows = self._fit(X, sample_weight, None)
        return rows.scored(self._factors())

    def transform(self, X: ArrayLike) -> NDArray:
        """Return the posterior means of the factors of each row of X (N, D), as (N, K q).

        Those that the row has in the first component, then those in the second, and so on: ``predict`` says which of
        them count. Of one component they are scikit-learn's ``FactorAnalysis.transform``, but for turns and signs.
        """
        return self._rows(X).scored(self._factors())

    def _factors(self) -> FactorMeans:
        density = self._density()
        return FactorMeans(density.mean, np.linalg.solve(np.swapaxes(density.root, 1, 2), density.projection))

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags: also those of a transformer."""
        from sklearn.utils import TransformerTags

        tags = super().__sklearn_tags__()
        tags.transformer_tags = TransformerTags(preserves_dtype=["float64", "float32"])
        return tags

    def _repr_html_(self) -> str:
        """Return the mixture as notebooks show it."""
        return as_html_of_factors(self)

    def covariances(self) -> Array:
        """Return the covariances of the components, (K, D, D): products of the loadings, and uniquenesses."""
        state = self._fitted_state()
        covariances: Array = state.loadings @ np.swapaxes(state.loadings, 1, 2)
        diagonal = np.arange(covariances.shape[1])
        covariances[:, diagonal, diagonal] += state.uniquenesses
        return covariances

    def communalities(self) -> Array:
        """Return the share of the variance of each column that factors explain, by component, (K, D) in [0, 1)."""
        state = self._fitted_state()
        shares: Array = 1.0 - state.uniquenesses / state.covariances
        return shares

    def explained_variance(self) -> Array:
        """Return how much of the variance of all columns each factor explains, (K, q), in squared units of X.

        The sums of the squared loadings: with columns in different units, those of large numbers are most of it.
        """
        explained: Array = (self._fitted_state().loadings ** 2).sum(axis=1)
        return explained

    def log_densities(self, X: ArrayLike) -> NDArray:
        """Return the log-density (nat) of each row of X (N, D) in each component, weights left out, as (N, K)."""
        rows = self._rows(X)
        density = self._density_of(np.ones(len(self.means_)))
        *parts, order = density
        alone: list[Any] = [
            type(density)(*(each[k : k + 1] for each in parts), order) for k in range(len(density.mean))
        ]
        return rows.scored(LogDensities(alone, self.n_threads))

    def sample(self, n_samples: int = 1, random_state: Any = None) -> tuple[NDArray, NDArray[np.int64]]:
        """Return `n_samples` rows (n, D) drawn from the mixture, grouped by component, and their labels (n,).

        `random_state` defaults to the estimator's own.
        """
        state = self._fitted_state()

        def spread(k: int, noise: Array, generator: Any) -> Array:
            factors = generator.standard_normal((len(noise), state.loadings.shape[2]))
            rows: Array = factors @ state.loadings[k].T + np.sqrt(state.uniquenesses[k]) * noise
            return rows

        return self._draw(n_samples, random_state, spread)

    def _validate_parameters(self) -> None:
        super()._validate_parameters()
        validation.check_choice(self.uniquenesses, "uniquenesses", UNIQUENESSES)
        n_factors: Any = self.n_factors
        if not (isinstance(n_factors, numbers.Integral) and validation.is_real(n_factors) and int(n_factors) >= 1):
            raise ValueError(f"n_factors must be an int in the range [1, inf), got {shown(n_factors)}.")
        if self.reg_covar >= 1.0:
            raise ValueError(f"reg_covar must be a share of the variances, below 1, got {shown(self.reg_covar)}.")

    def _rule(self, source: Source) -> FactorLikelihood:
        variances = source.covariance()[0]
        if not variances.min() > 0.0:
            names = validation.feature_labels(source.rows.names, source.n_features)
            raise ValueError(
                f"column {names[int(variances.argmin())]} of X has no variance, and factor analysers need some in each "
                "column: leave it out."
            )
        return FactorLikelihood(int(self.n_factors), self.uniquenesses, float(self.reg_covar), variances)

    def _fitted_rule(self, source: Source | None = None) -> FactorLikelihood:
        raise NotImplementedError("no fit goes on from fitted attributes")

    def _starter(self, rule: FactorLikelihood, rows: Rows) -> Starter:
        """Return a function that makes a start, having checked every explicit part of it."""
        means = None
        if self.means_init is not None:
            means = validation.check_means(self.means_init, int(self.n_components), rows.n_features)

        def begin(rule: Any, source: Source, random_state: Any, restart: int) -> FactorParameters:
            return self._seed(rule, source, random_state, means, restart)

        seeded = beginning_with_loadings(begin)

        def start(rule: FactorLikelihood, source: Source, random_state: Any, restart: int) -> FactorParameters:
            state = seeded(rule, source, random_state, restart)
            if means is None:
                return state
            return factor_parameters(state.weights, means, state.loadings, state.uniquenesses)

        return start

    def _attributes(self, rule: FactorLikelihood, state: FactorParameters) -> tuple[dict[str, NDArray], dict[str, Any]]:
        unique = state.uniquenesses
        return {
            "weights_": state.weights,
            "means_": state.means,
            "loadings_": turned(state),
            "uniquenesses_": {"common": unique[0], "isotropic": unique[:, 0]}.get(rule.uniquenesses, unique),
        }, {}

    def _check_rows(self, rows: Rows) -> None:
        require_few_factors(int(self.n_factors), rows.n_features, self.uniquenesses)

    def _told(self, rule: FactorLikelihood, state: FactorParameters, rows: Rows) -> str:
        return told_of_explained(rule, state, validation.feature_labels(rows.names, rows.n_features))

    def _kept(self, rule: FactorLikelihood, state: FactorParameters) -> dict[str, Any]:
        return {"_fitted_uniquenesses": rule.uniquenesses}

    @property
    def _kind(self) -> str:
        """Which uniquenesses are the same in the fitted attributes, whatever `uniquenesses` has been set to since."""
        return str(self.__dict__.get("_fitted_uniquenesses", self.uniquenesses))

    def _family(self) -> Family:
        return NAMED["diag"]

    def _fitted_state(self, weights: Array | None = None) -> FactorParameters:
        """Return the state of the fitted attributes; ValueError where they are none."""
        self._require_fitted()
        means = np.asarray(self.means_, np.float64)
        loadings, unique = np.asarray(self.loadings_, np.float64), np.asarray(self.uniquenesses_, np.float64)
        if loadings.ndim != 3 or loadings.shape[:2] != means.shape:
            raise ValueError(f"loadings_ should have the shape {(*means.shape, 'q')}, but has {loadings.shape}")
        shape = {"common": means.shape[1:], "isotropic": means.shape[:1]}.get(self._kind, means.shape)
        if unique.shape != shape or not (unique.min() > 0.0 and np.isfinite(unique).all()):
            raise ValueError(f"uniquenesses_ should be finite numbers above 0 of the shape {shape}, but is {unique}")
        full = unique[:, None] if self._kind == "isotropic" else unique
        return factor_parameters(
            self._weights() if weights is None else weights, means, loadings, np.broadcast_to(full, means.shape).copy()
        )

    def _density(self) -> Any:
        return self._fitted_state().density

    def _density_of(self, weights: Array) -> Any:
        return self._fitted_state(weights).density

    def _n_parameters(self) -> int:
        n_components, n_features, n_factors = np.shape(self.loadings_)
        of_loadings = n_components * (n_features * n_factors - n_factors * (n_factors - 1) // 2)
        return n_components * (n_features + 1) - 1 + of_loadings + int(np.size(self.uniquenesses_))

    def _spikes(self, rule: FactorLikelihood, source: Source, state: FactorParameters) -> list[Spike]:
        return find_spikes_of_features(state.means, state.weights, state.covariances, rule.least, source.rows)

    def _is_not_normal(self) -> TypeError:
        return TypeError(
            f"this is for Gaussian mixtures, and the components of a {type(self).__name__} have factors in place of "
            "precisions: read its weights_, means_ and covariances(), or draw rows by sample"
        )
