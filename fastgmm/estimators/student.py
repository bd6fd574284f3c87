"""Mixtures with heavy tails: the ``StudentMixture`` estimator."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgmm import validation
from fastgmm.estimators.choices import Accelerate, Start, Stopping
from fastgmm.estimators.criteria import n_free_parameters
from fastgmm.estimators.fitting import Starter
from fastgmm.estimators.interface import with_defaults
from fastgmm.estimators.progress import Callback
from fastgmm.estimators.refused import Refused
from fastgmm.estimators.showing import as_html_of_tails
from fastgmm.estimators.tails import Typicality, n_tails_of, spikes_of_tails
from fastgmm.estimators.whole import FittedAtOnce
from fastgmm.exceptions import CollapsedComponentError
from fastgmm.families import Family
from fastgmm.kernels.structures.student import NORMAL_OF
from fastgmm.passes.scores import LogDensities
from fastgmm.rows import Rows
from fastgmm.rules import StudentLikelihood, StudentParameters, student_density
from fastgmm.sources import Source
from fastgmm.spurious import Spike
from fastgmm.starts.student import beginning_without_outliers
from fastgmm.statistics import Array
from fastgmm.support.showing import shown
from fastgmm.support.typing import Self

#: The families that it is fitted with.
FAMILIES = "full", "tied", "diag", "spherical", "tied-diag", "tied-spherical"
# Degrees of freedom that may be given: with fewer, hardly anything but the locations is known; with more, nothing is
# gained on a normal law.
_FEWEST, _MOST = 0.1, 1e8

_NORMAL = "it would take the components for normal ones; draw rows by sample, or fit a GaussianMixture"
_SKLEARN = "scikit-learn has no mixture of Student-t laws"


@with_defaults
class StudentMixture(FittedAtOnce):
    """Mixture of multivariate Student-t laws, fitted by expectation maximisation: clusters with heavy tails.

    Rows far from all components pull neither means nor scales: the farther out, the less they count (Peel and McLachlan
    2000). See docs/guide/student.md.

    Parameters
    ----------
    n_components : int, default 1
    covariance_type : {'full', 'tied', 'diag', 'spherical', 'tied-diag', 'tied-spherical'}, default 'full'
        The shape of the scale matrices, or mclust's name of it.
    degrees_of_freedom : {'common', 'each'} or float, default 'common'
        How heavy the tails are: one number for all components that is estimated, one for each, or a given one in
        [0.1, 1e8]. The fewer the heavier. What is estimated stays in [0.5, 1000].
    tol : float, default 1e-6
        Stop when an iteration changes the mean log-likelihood of a row (nat) by less than this. Degrees of freedom come
        slowly to where they go: hence less than for Gaussian mixtures. 0 runs all `max_iter` iterations.
    stopping : {'absolute', 'relative', 'aitken'}, default 'absolute'
        As of `GaussianMixture`.
    reg_covar : float, default 1e-6
        Added to every diagonal entry of a scale matrix, in squared units of X. With 0 the likelihood never falls.
    max_iter : int, default 300
    accelerate : {'anderson', 'squarem', None}, default 'anderson'
        Extrapolate iterations; no extrapolation that lowers the bound is kept. Without, degrees of freedom may take
        thousands of iterations.
    n_init : int, default 1
        Number of starts; the fit of highest bound is kept.
    race : bool, default False
        Whether to give up starts that lag too far behind the best.
    init_params : str, array or callable, default 'auto'
        How a fit starts, as of `GaussianMixture`. Where it is a name, from the rows that are not far out.
    weights_init, means_init : arrays, optional
        Starting parameters; with `means_init`, the rest comes from the rows nearest to each.
    random_state : int, RandomState, Generator or None
    verbose, verbose_interval : int
        1 prints the iterations, 2 also times and changes; every `verbose_interval` iterations.
    n_threads : int, optional
        Threads that kernels use; default Numba's number. Results are the same bits for any.

    Attributes
    ----------
    weights_ : (K,)
    means_ : (K, D)
        The locations of the components; their means where those exist, with more than 1 degree of freedom.
    scales_ : (K, D, D) full, (D, D) tied, (K, D) diag, (K,) spherical, (D,) tied-diag, (1,) tied-spherical
        The scale matrices. They are no covariances, which ``covariances()`` returns.
    degrees_of_freedom_ : (K,)
        Where they are estimated, 1000 means: no heavier tails than normal ones were found, and 0.5: at the end of what
        was looked at.
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
    >>> import numpy as np
    >>> from fastgmm import StudentMixture
    >>> X = np.append(np.tile([-1.0, 0.0, 1.0], 10), 1e6)[:, None]
    >>> float(StudentMixture(degrees_of_freedom=3.0).fit(X).means_[0, 0].round(3))
    0.0
    """

    scales_: NDArray
    degrees_of_freedom_: NDArray

    _parameter_attributes = "weights_", "means_", "scales_", "degrees_of_freedom_"

    to_sklearn: Any = Refused(_SKLEARN)
    from_sklearn: Any = Refused(_SKLEARN)
    marginal: Any = Refused(_NORMAL)
    condition: Any = Refused(_NORMAL)
    moments: Any = Refused(_NORMAL)
    cdf: Any = Refused(_NORMAL)
    quantile: Any = Refused(_NORMAL)
    density_threshold: Any = Refused(_NORMAL)
    summary: Any = Refused("read weights_, means_, scales_ and degrees_of_freedom_")
    covariances_: Any = Refused("the covariances are covariances(), and scales_ the scale matrices")
    precisions_: Any = Refused("the covariances are covariances(), and scales_ the scale matrices")
    precisions_cholesky_: Any = Refused("the covariances are covariances(), and scales_ the scale matrices")

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str | Family = "full",
        degrees_of_freedom: Literal["common", "each"] | float = "common",
        tol: float = 1e-6,
        stopping: Stopping = "absolute",
        reg_covar: float = 1e-6,
        max_iter: int = 300,
        accelerate: Accelerate | None = "anderson",
        n_init: int = 1,
        race: bool = False,
        init_params: Start = "auto",
        weights_init: ArrayLike | None = None,
        means_init: ArrayLike | None = None,
        random_state: Any = None,
        verbose: int = 0,
        verbose_interval: int = 10,
        n_threads: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.degrees_of_freedom = degrees_of_freedom
        self.tol = tol
        self.stopping = stopping
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.accelerate = accelerate
        self.n_init = n_init
        self.race = race
        self.init_params = init_params
        self.weights_init = weights_init
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
        X : (N, D) array-like of finite numbers, N >= 2 and N >= n_components
            Or a path or data set in files, which is read in every iteration (docs/sources.md).
        y : ignored
        sample_weight : (N,) array-like >= 0, or str, optional
            A row of weight w counts as w copies. Or the name of the column of a data frame that holds the weights.
        callback : callable, optional
            Called as ``callback(restart, iteration, bound, change)`` after each iteration.

        Notes
        -----
        Raises ValueError for bad input, and where in every start the scale of a component collapses. Warns
        ConvergenceWarning where `max_iter` ended the best start. An exception leaves the estimator as it was.
        """
        self._fit(X, sample_weight, callback)
        return self

    def _repr_html_(self) -> str:
        """Return the mixture as notebooks show it."""
        return as_html_of_tails(self)

    def covariances(self) -> Array:
        """Return the covariances of the components, nu / (nu - 2) times `scales_`, (K, ...) in its shape.

        One for each component, also where they share a scale. ValueError where one has none: with 2 degrees of freedom
        or fewer.
        """
        family, scales, freedom = self._law()
        if freedom.min() <= 2.0:
            k = int(freedom.argmin())
            raise ValueError(
                f"component {k} has no covariance, with {freedom[k]:.4g} degrees of freedom: it needs more than 2. "
                "scales_ has its scale."
            )
        factor = freedom / (freedom - 2.0)
        each = np.stack([scales] * len(freedom)) if family.uses_total else scales
        covariances: Array = factor.reshape(-1, *(1,) * (each.ndim - 1)) * each
        return covariances

    def typicality(self, X: ArrayLike) -> NDArray:
        """Return how much each row of X (N, D) counts in means and scales, (N,): about 1 for most, near 0 for outliers.

        The posterior mean of u = (nu + D) / (nu + distance^2), which a normal law has at 1 for all rows.
        """
        rows = self._rows(X)
        return rows.scored(Typicality(self._density(), self._laws_alone(), self.n_threads))

    def log_densities(self, X: ArrayLike) -> NDArray:
        """Return the log-density (nat) of each row of X (N, D) in each component, weights left out, as (N, K)."""
        return self._rows(X).scored(LogDensities(self._laws_alone(), self.n_threads))

    def sample(self, n_samples: int = 1, random_state: Any = None) -> tuple[NDArray, NDArray[np.int64]]:
        """Return `n_samples` rows (n, D) drawn from the mixture, grouped by component, and their labels (n,).

        `random_state` defaults to the estimator's own.
        """
        self._require_fitted()
        family, scales, freedom = self._law()

        def spread(k: int, noise: Array, generator: Any) -> Array:
            u = generator.chisquare(freedom[k], len(noise)) / freedom[k]
            return family.spread(scales, k, noise) / np.sqrt(u)[:, None]

        return self._draw(n_samples, random_state, spread)

    def _validate_parameters(self) -> None:
        super()._validate_parameters()
        family = validation.check_family(self.covariance_type)
        if family.name not in FAMILIES or family.density_type not in NORMAL_OF.values():
            raise ValueError(
                f"covariance_type must be one of {', '.join(map(repr, FAMILIES))} for {type(self).__name__}, got "
                f"{shown(self.covariance_type)}."
            )
        freedom: Any = self.degrees_of_freedom
        is_fixed = validation.is_real(freedom) and _FEWEST <= freedom <= _MOST
        if not (is_fixed or (isinstance(freedom, str) and freedom in ("common", "each"))):
            raise ValueError(
                f"degrees_of_freedom must be 'common', 'each' or a float in the range [{_FEWEST:g}, {_MOST:g}], got "
                f"{shown(freedom)}."
            )

    def _rule(self, source: Source) -> StudentLikelihood:
        return self._rule_of(source.family)

    def _fitted_rule(self, source: Source | None = None) -> StudentLikelihood:
        return self._rule_of(self._family())

    def _rule_of(self, family: Family) -> StudentLikelihood:
        freedom = self.degrees_of_freedom
        return StudentLikelihood(family, float(self.reg_covar), freedom if isinstance(freedom, str) else float(freedom))

    def _starter(self, rule: StudentLikelihood, rows: Rows) -> Starter:
        """Return a function that makes a start, having checked every explicit part of it."""
        n_components = int(self.n_components)
        weights = means = None
        if self.weights_init is not None:
            weights = validation.check_weights(self.weights_init, n_components)
        if self.means_init is not None:
            means = validation.check_means(self.means_init, n_components, rows.n_features)

        def begin(rule: Any, source: Source, random_state: Any, restart: int) -> StudentParameters:
            return self._seed(rule, source, random_state, means, restart)

        seeded = beginning_without_outliers(begin, n_components) if isinstance(self.init_params, str) else begin

        def start(rule: StudentLikelihood, source: Source, random_state: Any, restart: int) -> StudentParameters:
            state = seeded(rule, source, random_state, restart)
            if weights is None and means is None:
                return state
            return rule.state(
                state.weights if weights is None else weights,
                state.means if means is None else means,
                state.density.whitener,
                state.degrees_of_freedom,
            )

        return start

    def _attributes(
        self, rule: StudentLikelihood, state: StudentParameters
    ) -> tuple[dict[str, NDArray], dict[str, Any]]:
        return {
            "weights_": state.weights,
            "means_": state.means,
            "scales_": rule.family.attribute(state.covariances),
            "degrees_of_freedom_": state.degrees_of_freedom,
        }, {}

    def _kept(self, rule: StudentLikelihood, state: StudentParameters) -> dict[str, Any]:
        return {
            "_fitted_family": rule.family,
            "_n_tails": n_tails_of(rule.degrees_of_freedom, len(state.weights)),
        }

    def _family(self) -> Family:
        family: Family = self.__dict__.get("_fitted_family") or validation.check_family(self.covariance_type)
        self._require_shape("scales_", family)
        return family

    def _law(self) -> tuple[Family, Array, Array]:
        """Return the family, the scales in the shape of its structure, and degrees of freedom; ValueError for none."""
        self._require_fitted()
        family = self._family()
        n_components = len(self.means_)
        freedom = np.asarray(self.degrees_of_freedom_, np.float64)
        if freedom.shape != (n_components,) or not (freedom.min() > 0.0 and np.isfinite(freedom).all()):
            raise ValueError(f"degrees_of_freedom_ should be {n_components} finite numbers above 0, but is {freedom}")
        return family, family.of_attribute(np.asarray(self.scales_, np.float64), n_components), freedom

    def _density(self) -> Any:
        return self._density_of(self._weights())

    def _density_of(self, weights: Array) -> Any:
        family, scales, freedom = self._law()
        means = np.asarray(self.means_, np.float64)
        normal, failed = family.density(weights, means, scales)
        if failed >= 0:
            raise CollapsedComponentError(failed)
        return student_density(family, weights, means, normal.whitener, freedom)

    def _laws_alone(self) -> list[Any]:
        """Return the density of each component, of weight 1."""
        self._require_fitted()
        family = self._family()
        density = self._density_of(np.ones(len(self.means_)))
        return [
            type(density)(
                density.log_scale[k : k + 1],
                density.mean[k : k + 1],
                family.select(density.whitener, np.array([k])),
                density.power[k : k + 1],
                density.shrink[k : k + 1],
            )
            for k in range(len(density.mean))
        ]

    def _n_parameters(self) -> int:
        n_components, n_features = np.shape(self.means_)
        # Of the fit, whatever the parameter has been set to since.
        n_tails = int(self.__dict__.get("_n_tails", n_tails_of(self.degrees_of_freedom, n_components)))
        return n_free_parameters(self._family(), n_components, n_features) + n_tails

    def _spikes(self, rule: Any, source: Source, state: Any) -> list[Spike]:
        return spikes_of_tails(rule, source, state, float(self.reg_covar))

    def _is_not_normal(self) -> TypeError:
        return TypeError(
            f"this is for Gaussian mixtures, and the components of a {type(self).__name__} are no normal laws: read "
            "its weights_, means_, scales_ and degrees_of_freedom_, or draw rows by sample"
        )
