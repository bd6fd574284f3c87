"""Variational Bayes: the ``BayesianGaussianMixture`` estimator."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgmm import kernels, validation
from fastgmm.estimators.choices import Accelerate, CovarianceType, Missing, Start, Stopping, WeightPrior
from fastgmm.estimators.fitting import Starter
from fastgmm.estimators.interface import with_defaults
from fastgmm.estimators.noisy_posterior import OF_NOISE, noise_attributes
from fastgmm.estimators.posterior import PRIOR_TYPES, Posteriors, law_of
from fastgmm.estimators.scoring import checked_components
from fastgmm.families import Family
from fastgmm.fitting.plain import FitResult
from fastgmm.kernels import Posterior, Prior
from fastgmm.rows import Rows
from fastgmm.rules import (
    NoiseVariational,
    VariationalBayes,
    VariationalPosterior,
    default_scales,
    make_prior,
)
from fastgmm.sources import Source
from fastgmm.sources.labelled import LabelledRows
from fastgmm.starts.seeding import covariance_within
from fastgmm.statistics import Array
from fastgmm.support.typing import Self

# Eigenvalues of a correlation matrix that are rounding.
_FLAT = 1e-12


@with_defaults
class BayesianGaussianMixture(Posteriors):
    """Gaussian mixture fitted by variational Bayes: ``sklearn.mixture.BayesianGaussianMixture`` with faster kernels.

    Weights have a Dirichlet law or are the sticks of a truncated Dirichlet process; a component's mean is normal, and
    its precision a Wishart matrix (full, tied) or gamma variables (diag, spherical). All updates are the exact
    conjugate ones, and the bound is the evidence lower bound with all its constants: models with other priors, families
    or numbers of components can be compared by it.

    Parameters
    ----------
    n_components : int, default 1
        The most components that the mixture may use; superfluous ones end with hardly any weight.
    covariance_type : {'full', 'tied', 'diag', 'spherical', 'tied-diag', 'tied-spherical'} or Family, default 'full'
        Or mclust's name of one: VVV, EEE, VVI, VII, EEI, EII. See docs/covariance-families.md.
    tol : float, default 1e-3
        Stop when an iteration changes the evidence lower bound of all rows (nat) by less than this, or by no
        more than its rounding. 0 runs all `max_iter` iterations.
    stopping : {'absolute', 'relative', 'aitken'}, default 'absolute'
        What is compared with `tol`: that change; the change divided by 1 plus the size of the bound; or Aitken's
        estimate of how far the limit is (at least the change). See docs/convergence.md.
    reg_covar : float, default 1e-6
        Added to the variances of the rows in every component, in squared units of X. With 0 the bound never falls.
    max_iter : int, default 100
    accelerate : {None, 'squarem', 'anderson'}, default None
        Extrapolate iterations: fewer passes over the data where components overlap; no extrapolation that lowers the
        bound is kept. The steps are others then, so a fit may end in another local maximum.
    truncate : int, optional
        Keep only so many components of a row in an iteration, the most probable ones: an approximation, for very many
        components. `lower_bound_` is then a lower bound of what it is without, and no iteration lowers it either. See
        docs/many-components.md.
    missing : {None, 'marginal'}, default None
        How missing entries of X (NaN, and None or NA in data frames) are treated, at random given what is observed:
        None refuses them, 'marginal' integrates them out, in fits and in scores. See docs/guide/missing-values.md.
    n_init : int, default 1
        Number of starts; the fit of highest bound is kept.
    race : bool, default False
        Whether to give up starts that lag too far behind the best; from some 130,000 rows on, they race on a sample of
        them, and the best two go on. Less time, at a small risk.
    init_params : str, array or callable, default 'auto'
        How a fit starts: 'kmeans', 'k-means++', 'random', 'random_from_data', 'kmeans-whitened', 'agglomerative',
        'short-em', or 'auto': the first start by 'kmeans', the further ones of `n_init` by others in turn. An array
        holds labels (n_samples,) or responsibilities (n_samples, n_components); a callable gets
        (X, n_components, random_state) and returns one.
    class_components : sequence of int or of sequences, or mapping, optional
        How many components each class of ``fit(X, labels=...)`` has, as ``[2, 1]``: the first two are of class 0, the
        third of class 1, and any others of none; or which, as ``[[0, 1], [2]]`` or ``{0: [0, 1], 1: [2]}``. By default
        class c is component c.
    weight_concentration_prior_type : {'dirichlet_process', 'dirichlet_distribution'}, default 'dirichlet_process'
    weight_concentration_prior : float, optional
        Concentration of the Dirichlet process, or of each component in the Dirichlet law; default 1 / n_components.
        The smaller, the fewer components are used.
    mean_precision_prior : float, optional
        How many rows the prior mean counts for; default 1, or with ``covariance_prior='within'`` the least ratio, over
        all directions, of the variance within groups to that of all rows.
    mean_prior : (D,) array, optional
        Prior mean of the components' means; default the mean of X.
    degrees_of_freedom_prior : float, optional
        How many rows the prior covariance counts for; above D - 1, by default D, for full and tied, above 0, by default
        1, for diag and spherical, whose Wishart blocks have one dimension.
    covariance_prior : (D, D) array for full and tied, (D,) for diag, float for spherical, or 'within'; optional
        Scale of the prior law of covariances: prior covariance times `degrees_of_freedom_prior`. Default the sample
        covariance of X, its diagonal, or the mean of that. 'within': the covariance within the groups of a partition of
        the rows into `n_components`; the default of `mean_precision_prior` is then such that groups far apart do not
        widen each other. Where it is singular, `reg_covar` is added to its variances. See docs/variational.md.
    weight_concentration_init, means_init, mean_precision_init, degrees_of_freedom_init, covariances_init : optional
        Starting law, in the shapes of the attributes (one number stands for all components); the fit begins with
        an E-step. The others need `means_init`; what is missing is estimated from the rows nearest to each mean.
    sort_sticks : bool, optional
        Whether the components of a Dirichlet process are kept in order of falling weight, which is the order of highest
        bound. Default: where the start leaves the order open, that is without `means_init`, labels or responsibilities.
    noise : bool or float, default False
        Whether a share of the rows is noise, spread evenly over the space that the rows fill; a number is the volume of
        that space. Its weight is one of K + 1 in the Dirichlet law; beside a Dirichlet process its prior is uniform.
        See docs/guide/noise.md.
    random_state : int, RandomState, Generator or None
    warm_start : bool, default False
        Start the next ``fit`` from the last one's law; `n_init` counts as 1 then.
    checkpoint : path, optional
        File that the fit is written to on its way, and kept in at its end. ``fit`` with the same parameters and rows
        goes on from it, to the same bits; see docs/checkpoints.md.
    checkpoint_interval : float, default 60
        Seconds between two such writes; 0 for one after every iteration.
    learning_decay : float in (0.5, 1], default 0.6
        How fast ``partial_fit`` forgets: the share in the statistics of the t-th of equal batches is
        (t + learning_offset)^-learning_decay. With 1 (and an offset of 0) all rows count the same.
    learning_offset : float >= 0, default 0
        Lowers the share of the batches after the first, most for the next few.
    total_samples : float, optional
        How many rows (or how much weight) the batches without names of ``partial_fit`` are a sample of: against the
        prior, what was learned counts as so many. Default: as many as were seen.
    verbose, verbose_interval : int
        1 prints the iterations, 2 also times and changes; every `verbose_interval` iterations.
    n_threads : int, optional
        Threads that kernels use; default Numba's number. Results are the same bits for any.

    Attributes
    ----------
    weights_ : (K,)
        Expected mixing weights; of a Dirichlet process, divided by their sum. With noise, they and its weight sum to 1.
    noise_weight_, noise_log_volume_ : float
    noise_box_ : (D + 1, D)
    noise_concentration_ : (2,)
        With noise alone: its expected weight, the logarithm of its volume and where it is drawn, as of
        `GaussianMixture`, and the parameters of the beta law of its weight.
    means_ : (K, D)
    covariances_, precisions_, precisions_cholesky_
        (K, D, D) full, (D, D) tied, (K, D) diag, (K,) spherical, (D,) tied-diag, (1,) tied-spherical.
        Expected precisions; covariances are their inverses.
    weight_concentration_ : (K,), or for a Dirichlet process a tuple of two (K,)
        Parameters of the Dirichlet law, or of the sticks' beta laws.
    mean_precision_ : (K,)
    degrees_of_freedom_ : (K,), a float for the tied families
    weight_concentration_prior_, mean_precision_prior_, mean_prior_, degrees_of_freedom_prior_, covariance_prior_
        The prior that was used.
    converged_ : bool
    stop_reason_ : str
        "converged" or "max_iter"; "given" where parameters were given and no fit was made; "partial_fit" after that,
        unless all its batches converged; "update" after ``update``.
    n_iter_ : int
        Updates made in the best fit, or by ``partial_fit``.
    n_passes_ : int
        Passes over the data that the best fit made from its start on: `n_iter_` + 1 without `accelerate`, but where
        moments had to be taken again about other means. After ``partial_fit``, `n_iter_`.
    lower_bound_ : float
        Evidence lower bound of all rows (nat) under the law above. After ``partial_fit`` or ``update``, see there.
    lower_bounds_ : list of float
        The bound after each update of the best fit, or after the last ``partial_fit``; the last one is `lower_bound_`.
        After ``update`` that one alone, the bound before it.
    restarts_ : list of Restart
        How each start ended, in order: `bound` (NaN where it failed), `n_iter`, `outcome` ("converged", "max_iter",
        "dropped" or "failed") and `spurious`, a component on one repeated value, or -1.
    spurious_ : list of SpuriousComponent
        The components that sit on one repeated value, where the prior is tiny; see docs/seeding.md.
    n_batches_seen_, n_samples_seen_ : int
        Batches that ``partial_fit`` learned from, each visit counted, and all rows; a fit is a first batch.
    class_of_components_ : (K,) int64
        The class of each component, -1 for those of none; there after a fit with `labels`.
    n_features_in_, feature_names_in_
        Number of columns, and their names where X was a data frame with string names.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgmm import BayesianGaussianMixture
    >>> X = np.array([[1, 2], [1, 4], [1, 0], [4, 2], [12, 4], [10, 7]])
    >>> bgm = BayesianGaussianMixture(n_components=2, random_state=42).fit(X)
    >>> bgm.predict([[0, 0], [9, 3]]).tolist()
    [0, 1]
    """

    _has_prior = True
    _parameter_attributes = (
        *("weight_concentration_", "mean_precision_", "means_"),
        *("degrees_of_freedom_", "covariances_", "precisions_cholesky_"),
    )
    _law_attributes = ("means_", "weight_concentration_", "mean_precision_", "degrees_of_freedom_")

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: CovarianceType | Family = "full",
        tol: float = 1e-3,
        stopping: Stopping = "absolute",
        reg_covar: float = 1e-6,
        max_iter: int = 100,
        accelerate: Accelerate | None = None,
        truncate: int | None = None,
        missing: Missing | None = None,
        n_init: int = 1,
        race: bool = False,
        init_params: Start = "auto",
        class_components: Sequence[Any] | Mapping[int, Any] | None = None,
        weight_concentration_prior_type: WeightPrior = "dirichlet_process",
        weight_concentration_prior: float | None = None,
        mean_precision_prior: float | None = None,
        mean_prior: ArrayLike | None = None,
        degrees_of_freedom_prior: float | None = None,
        covariance_prior: ArrayLike | None = None,
        weight_concentration_init: ArrayLike | None = None,
        means_init: ArrayLike | None = None,
        mean_precision_init: ArrayLike | None = None,
        degrees_of_freedom_init: ArrayLike | None = None,
        covariances_init: ArrayLike | None = None,
        sort_sticks: bool | None = None,
        noise: bool | float = False,
        random_state: Any = None,
        warm_start: bool = False,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_interval: float = 60.0,
        learning_decay: float = 0.6,
        learning_offset: float = 0.0,
        total_samples: float | None = None,
        verbose: int = 0,
        verbose_interval: int = 10,
        n_threads: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.stopping = stopping
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.accelerate = accelerate
        self.truncate = truncate
        self.missing = missing
        self.n_init = n_init
        self.race = race
        self.init_params = init_params
        self.class_components = class_components
        self.weight_concentration_prior_type = weight_concentration_prior_type
        self.weight_concentration_prior = weight_concentration_prior
        self.mean_precision_prior = mean_precision_prior
        self.mean_prior = mean_prior
        self.degrees_of_freedom_prior = degrees_of_freedom_prior
        self.covariance_prior = covariance_prior
        self.weight_concentration_init = weight_concentration_init
        self.means_init = means_init
        self.mean_precision_init = mean_precision_init
        self.degrees_of_freedom_init = degrees_of_freedom_init
        self.covariances_init = covariances_init
        self.sort_sticks = sort_sticks
        self.noise = noise
        self.random_state = random_state
        self.warm_start = warm_start
        self.checkpoint = checkpoint
        self.checkpoint_interval = checkpoint_interval
        self.learning_decay = learning_decay
        self.learning_offset = learning_offset
        self.total_samples = total_samples
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.n_threads = n_threads

    _sorted_sticks: bool
    weight_concentration_: Array | tuple[Array, Array]
    total_samples: float | None
    mean_precision_: Array
    degrees_of_freedom_: Array | float
    weight_concentration_prior_: float
    mean_precision_prior_: float
    mean_prior_: Array
    degrees_of_freedom_prior_: float
    covariance_prior_: Array | float

    @classmethod
    def from_parameters(
        cls,
        weight_concentration: ArrayLike,
        mean_precision: ArrayLike,
        means: ArrayLike,
        degrees_of_freedom: ArrayLike,
        covariances: ArrayLike,
        covariance_type: CovarianceType | Family = "full",
        **params: Any,
    ) -> Self:
        """Return a fitted estimator with the given law; it scores, samples, and with ``warm_start`` fits on.

        The arrays are those of the attributes; `params` go to the constructor. With `mean_prior` and
        `covariance_prior` among them the prior is known, too. ValueError where a shape is wrong or a value is out of
        its range.
        """
        family, density, checked = checked_components(means, covariances, covariance_type)
        n_components, n_features = density.mean.shape
        model = cls(n_components, covariance_type=covariance_type, **params)
        model._validate_parameters()
        laws = {"weight_concentration": weight_concentration, "mean_precision": mean_precision}
        laws["degrees_of_freedom"] = degrees_of_freedom
        posterior = Posterior(
            *(law_of(name, value, model._sticks(), family, density.mean.shape) for name, value in laws.items())
        )
        kernels.set_expected_log_scale(density, posterior)
        state = VariationalPosterior(posterior, checked, density, math.nan)
        known = not (model.mean_prior is None or model.covariance_prior is None or model._is_within())
        prior = model._prior(family, n_features, None) if known else None
        rule = VariationalBayes(family, prior, model._sticks(), False, 0.0)
        model._keep(rule, FitResult(state, math.nan, [], (), 0, False, 0), np.float64, None, [])
        return model

    def _validate_parameters(self) -> None:
        super()._validate_parameters()
        self._check_noise()
        validation.check_prior_counts(self._mixture_params())
        validation.check_total_samples(self.total_samples)
        validation.check_choice(self.weight_concentration_prior_type, "weight_concentration_prior_type", PRIOR_TYPES)
        validation.check_choice(self.sort_sticks, "sort_sticks", (None, True, False))

    def _weight_exponent(self, rows: Rows) -> int:
        validation.check_row_counts(rows.summary.total_weight)
        return 0

    def _rule(self, source: Source) -> VariationalBayes:
        sort = self.sort_sticks
        if sort is None:
            ordered = not isinstance(self.init_params, str) or self.means_init is not None
            sort = self.__dict__.get("_sorted_sticks", False) if self._goes_on() else not ordered
            # A class stays in its components.
            sort = sort and not isinstance(source.rows, LabelledRows)
        prior = self._prior(source.family, source.n_features, source)
        rule = VariationalBayes(source.family, prior, self._sticks(), bool(sort), float(self.reg_covar))
        return self._with_noise(rule, source)

    def _prior_counts(self, dimension: int) -> tuple[float, float, float]:
        """Return the prior's concentration, mean precision and degrees of freedom."""
        concentration, mean_precision = self.weight_concentration_prior, self.mean_precision_prior
        return (
            1.0 / self.n_components if concentration is None else concentration,
            1.0 if mean_precision is None else mean_precision,
            validation.check_degrees_of_freedom_prior(self.degrees_of_freedom_prior, dimension),
        )

    def _prior(self, family: Family, n_features: int, source: Source | None) -> Prior:
        """Return the prior; what is not given comes from the rows of the source."""
        concentration, mean_precision, degrees_of_freedom = self._prior_counts(family.wishart_dimension(n_features))
        mean = None if self.mean_prior is None else validation.check_mean_prior(self.mean_prior, n_features)
        scale: Any = None
        if self.covariance_prior is not None and not self._is_within():
            scale = validation.check_covariance_prior(self.covariance_prior, family, n_features)
        if source is not None and (mean is None or scale is None):
            total = source.total()
            mean = total.mean[0] if mean is None else mean
            if scale is None:
                covariance = source.covariance().reshape(1, *family.block_shape(n_features))
                if self._is_within():
                    total_covariance = covariance
                    covariance = family.projected(covariance_within(source, self.n_components)[None])
                (candidate,), (definite,) = default_scales(
                    family, total.mass, total.mean, covariance, float(self.reg_covar)
                )
                scale = candidate if definite else None
                if definite and self._is_within() and self.mean_precision_prior is None:
                    mean_precision = _least_ratio(family, candidate[None], total_covariance)
        prior = None
        if scale is not None:
            prior = make_prior(family, concentration, np.asarray(mean), mean_precision, degrees_of_freedom, scale)
        if prior is not None:
            return prior
        if self.covariance_prior is not None and not self._is_within():
            raise ValueError(f"'{family.name} covariance_prior' should be symmetric, positive-definite (to rounding)")
        of, more = ("within groups of X", ", fewer components") if self._is_within() else ("of X", "")
        raise ValueError(
            f"The covariance {of}, which is the prior of the components' covariances, is not positive definite "
            f"(constant or dependent columns{more}): increase reg_covar, give covariance_prior, or leave columns out."
        )

    def _is_within(self) -> bool:
        """Return whether the prior is made of what is within groups; ValueError for another name."""
        if isinstance(self.covariance_prior, str):
            validation.check_choice(self.covariance_prior, "covariance_prior", ("within",))
            return True
        return False

    def _starter(self, rule: VariationalBayes, rows: Rows) -> Starter:
        """Return a function that makes a start, having checked every explicit part of it."""
        family, shape = rule.family, (self.n_components, rows.n_features)
        names = ("weight_concentration_init", "mean_precision_init", "degrees_of_freedom_init")
        given = [name for name in (*names, "covariances_init") if getattr(self, name) is not None]
        if self.means_init is None:
            if given:
                raise ValueError(f"{given[0]} needs means_init, which says which component is which.")
            return self._started(
                rule, lambda rule, source, random_state, restart: self._seed(rule, source, random_state, None, restart)
            )
        means = validation.check_means(self.means_init, *shape)
        laws = [
            None if getattr(self, name) is None else law_of(name, getattr(self, name), self._sticks(), family, shape)
            for name in names
        ]
        whitener = None
        if self.covariances_init is not None:
            covariances = validation.check_covariances(self.covariances_init, family, *shape, "covariance")
            density, failed = family.density(np.ones(shape[0]), means, covariances)
            if failed >= 0:
                raise ValueError(f"covariances_init of component {failed} is not positive definite, to rounding")
            whitener = density.whitener

        def begin(rule: VariationalBayes, source: Source, random_state: Any, restart: int) -> VariationalPosterior:
            if len(given) == len(names) + 1:
                return rule.state(Posterior(*laws), means, whitener)  # type: ignore[arg-type]
            seeded = self._seed(rule, source, random_state, means, restart)
            both = zip(seeded.posterior, laws, strict=True)
            posterior = Posterior(*(old if new is None else new for old, new in both))
            return rule.state(posterior, means, seeded.density.whitener if whitener is None else whitener)

        return self._started(rule, begin)

    def _state(self, rule: VariationalBayes) -> VariationalPosterior:
        posterior = self._posterior()
        if (len(posterior.concentration) == 2) != rule.sticks:
            raise ValueError(
                "warm_start needs weights of the same kind: weight_concentration_prior_type is "
                f"{self.weight_concentration_prior_type!r}, the fitted model's is not. Set warm_start=False to start "
                "anew."
            )
        state = rule.state(posterior, np.asarray(self.means_), self._whitener(rule.family))
        return self._laid_beside(rule, state)

    def _attributes(
        self, rule: VariationalBayes, state: VariationalPosterior
    ) -> tuple[dict[str, NDArray], dict[str, Any]]:
        concentration, mean_precision, degrees_of_freedom = state.posterior
        others: dict[str, Any] = {
            "weight_concentration_": tuple(concentration) if rule.sticks else concentration[0],
            "mean_precision_": mean_precision,
            "degrees_of_freedom_": float(degrees_of_freedom[0]) if rule.family.is_tied else degrees_of_freedom,
            "_sorted_sticks": rule.sort_sticks,
        } | noise_attributes(rule, state)
        prior = rule.prior
        if prior is not None:
            scale = prior.scale.reshape(rule.family.block_shape(len(prior.mean)))
            others |= {
                "weight_concentration_prior_": prior.concentration,
                "mean_precision_prior_": prior.mean_precision,
                "mean_prior_": prior.mean,
                "degrees_of_freedom_prior_": prior.degrees_of_freedom,
                "covariance_prior_": scale if scale.ndim else float(scale),
            }
        return {
            "weights_": state.weights,
            "means_": state.means,
            "covariances_": rule.family.attribute(state.covariances),
            "precisions_cholesky_": rule.family.attribute(rule.family.precisions_cholesky(state.density.whitener)),
        }, others

    def _keep(self, rule: VariationalBayes, *others: Any) -> None:
        super()._keep(rule, *others)
        if not isinstance(rule, NoiseVariational):
            for name in OF_NOISE:
                self.__dict__.pop(name, None)


def _least_ratio(family: Family, within: Array, total: Array) -> float:
    """Return the least ratio, over all directions, of the variance within groups to that of all rows, at most 1.

    Both (1, ...), covariances of one component. A direction without variance within groups is none.
    """
    n_features = within.shape[-1] if within.ndim > 1 else 1
    inner, outer = (
        family.matrices(each.reshape(family.shape(1, n_features)), 1, n_features)[0] for each in (within, total)
    )
    varies = np.diag(inner) > 0.0
    # In units of what is within groups: the largest ratio of the inverse has all its digits, however large.
    scale = 1.0 / np.sqrt(np.diag(inner)[varies])
    inner, outer = (scale[:, None] * each[np.ix_(varies, varies)] * scale for each in (inner, outer))
    values, vectors = np.linalg.eigh(inner)
    kept = values > _FLAT
    basis = vectors[:, kept] / np.sqrt(values[kept])
    return 1.0 / float(np.linalg.eigvalsh(basis.T @ outer @ basis).max(initial=1.0))
