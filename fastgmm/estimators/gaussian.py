"""Maximum likelihood: the ``GaussianMixture`` estimator."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgmm import validation
from fastgmm.estimators.adaptation import Adaptable
from fastgmm.estimators.choices import Accelerate, CovarianceType, Missing, Start, Stopping
from fastgmm.estimators.fitting import Starter
from fastgmm.estimators.interface import with_defaults
from fastgmm.estimators.measured import WithErrors
from fastgmm.estimators.noise import WithNoise, noise_of, spread_noise
from fastgmm.estimators.prior import REGULAR, WithPrior
from fastgmm.estimators.scoring import checked_components
from fastgmm.families import Family
from fastgmm.families.base import remembered
from fastgmm.fitting.plain import FitResult
from fastgmm.kernels import Density
from fastgmm.rows import Rows
from fastgmm.rules import (
    EqualWeights,
    Frozen,
    FrozenLikelihood,
    GaussianParameters,
    MaximumLikelihood,
    NoiseLikelihood,
    NormalInverseWishart,
    parameters_of_whitener,
)
from fastgmm.sources import Source
from fastgmm.sources.labelled import LabelledRows
from fastgmm.spurious import Spike
from fastgmm.starts.noise import beginning_with_noise
from fastgmm.statistics import Array
from fastgmm.support.showing import shown
from fastgmm.support.typing import Self

# What only mixtures with noise have.
_OF_NOISE = "noise_weight_", "noise_log_volume_", "noise_box_", "_n_noise_parameters"
# A fit that goes on from one without noise begins with so much: from none it would gain none.
_LEAST_NOISE, _SOME_NOISE = 1e-6, 0.01
# Which parameters hold the parts that may be frozen, in the order of a `Frozen`.
_FROZEN_BY = {"weights": "weights_init", "means": "means_init", "covariances": "precisions_init"}


@with_defaults
class GaussianMixture(WithErrors, WithPrior, WithNoise, Adaptable):
    """Gaussian mixture fitted by expectation maximisation: ``sklearn.mixture.GaussianMixture`` with faster kernels.

    Parameters
    ----------
    n_components : int, default 1
    covariance_type : {'full', 'tied', 'diag', 'spherical', 'tied-diag', 'tied-spherical'} or Family, default 'full'
        Or any other of mclust's models: VEI, EVI, VEE, EVE, VVE, EEV, VEV, EVV; or mclust's name of one of the above:
        VVV, EEE, VVI, VII, EEI, EII. See docs/covariance-families.md.
    tol : float, default 1e-3
        Stop when an iteration changes the mean log-likelihood of a row (nat) by less than this, or by no more than its
        rounding. 0 runs all `max_iter` iterations.
    stopping : {'absolute', 'relative', 'aitken'}, default 'absolute'
        What is compared with `tol`: that change; the change divided by 1 plus the size of the mean log-likelihood; or
        Aitken's estimate of how far the limit is (at least the change). See docs/convergence.md. Fits with
        `sample_covariance` have a rule of their own, and always extrapolate: see docs/guide/measurement-errors.md.
    reg_covar : float, default 1e-6
        Added to every variance, in squared units of X. With 0 the likelihood never falls.
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
        Number of starts; the fit of highest bound is kept. Starts whose components collapse are left out.
        A start with a component on so few rows, and so narrow, that its likelihood means nothing wins only where all
        have one.
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
    weights_init, means_init, precisions_init : arrays, optional
        Starting parameters; what is missing is estimated from the start that `init_params` gives (with `means_init`,
        from the rows nearest to each mean; without, its components are put in the order that fits what is given).
    frozen : dict, optional
        Parts that are known and stay at their ``..._init``: under 'weights', 'means' and 'covariances' the numbers of
        components, or 'all', as in ``frozen={"means": [0, 1], "covariances": [0, 1]}``, a background that is known
        but for how much of it there is. The others are fitted around them, to the digits of float32 where that is the
        type of X. Components that share a covariance have it frozen all or none.
    equal_weights : bool, default False
        Whether all components have the weight 1 / K (mclust's ``equalPro``), which is not estimated then.
    noise : bool or float, default False
        Whether a share of the rows is noise, spread evenly over the space that the rows fill: gross errors, background.
        A number is the volume of that space; True measures it, mclust's ``hypvol``. Labels of such rows are -1.
        See docs/guide/noise.md.
    prior : {None, 'mclust'} or NormalInverseWishart, default None
        A prior law of means, covariances and weights, so that small and degenerate components are regularised: the fit
        ends at the mode of the posterior. 'mclust' is its ``priorControl()``. See docs/guide/priors.md.
    max_eigenvalue_ratio : float >= 1, optional
        The most that the largest eigenvalue of all covariances may be of the smallest (tclust's ``restr.fact``), so
        that no component is far narrower than another: for columns of one unit, with 'full', 'diag', 'spherical' and
        the tied families. `reg_covar` is added before. See docs/guide/priors.md.
    random_state : int, RandomState, Generator or None
    warm_start : bool, default False
        Start the next ``fit`` from the last one's parameters; `n_init` counts as 1 then.
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
    verbose, verbose_interval : int
        1 prints the iterations, 2 also times and changes; every `verbose_interval` iterations.
    n_threads : int, optional
        Threads that kernels use; default Numba's number. Results are the same bits for any.

    Attributes
    ----------
    weights_ : (K,)
        With noise, they and its weight sum to 1.
    noise_weight_, noise_log_volume_ : float
        With noise alone: its weight, and the logarithm of the volume, in units of X to the power of D.
    noise_box_ : (D + 1, D)
        With noise alone: where it is drawn, a corner of the box and the edges that start there.
    means_ : (K, D)
    covariances_, precisions_, precisions_cholesky_
        (K, D, D) full, (D, D) tied, (K, D) diag, (K,) spherical, (D,) tied-diag, (1,) tied-spherical,
        (K, D) VEI and EVI, (K, D, D) the others.
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
        Mean log-likelihood of a row (nat) under the parameters above; with weights, the weighted mean. With a `prior`,
        plus the log of its density over its highest value and the weight of all rows: it is penalised, while ``score``,
        ``bic`` and the others are not. After ``partial_fit`` or ``update``, see there.
    lower_bounds_ : list of float
        The bound after each update of the best fit, or after the last ``partial_fit``; the last one is `lower_bound_`.
        After ``update`` that one alone, the bound before it.
    restarts_ : list of Restart
        How each start ended, in order: `bound` (NaN where it failed), `n_iter`, `outcome` ("converged", "max_iter",
        "dropped" or "failed") and `spurious`, a component on too few rows or on one repeated value, or -1.
    spurious_ : list of SpuriousComponent
        The components of the fit whose likelihood says nothing, each with its `component` and the `reason`; a fit
        with any should not win a choice of `n_components`. See docs/seeding.md.
    n_batches_seen_, n_samples_seen_ : int
        Batches that ``partial_fit`` learned from, each visit counted, and all rows; a fit is a first batch.
    prior_ : NormalInverseWishart
        With a `prior` alone: all of it, what was taken from the rows included.
    class_of_components_ : (K,) int64
        The class of each component, -1 for those of none; there after a fit with `labels`.
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

    _parameter_attributes = ("weights_", "means_", "covariances_", "precisions_cholesky_")

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
        weights_init: ArrayLike | None = None,
        means_init: ArrayLike | None = None,
        precisions_init: ArrayLike | None = None,
        frozen: Mapping[str, Any] | None = None,
        equal_weights: bool = False,
        noise: bool | float = False,
        prior: Literal["mclust"] | NormalInverseWishart | None = None,
        max_eigenvalue_ratio: float | None = None,
        random_state: Any = None,
        warm_start: bool = False,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_interval: float = 60.0,
        learning_decay: float = 0.6,
        learning_offset: float = 0.0,
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
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.frozen = frozen
        self.equal_weights = equal_weights
        self.noise = noise
        self.prior = prior
        self.max_eigenvalue_ratio = max_eigenvalue_ratio
        self.random_state = random_state
        self.warm_start = warm_start
        self.checkpoint = checkpoint
        self.checkpoint_interval = checkpoint_interval
        self.learning_decay = learning_decay
        self.learning_offset = learning_offset
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.n_threads = n_threads

    @classmethod
    def from_parameters(
        cls,
        weights: ArrayLike,
        means: ArrayLike,
        covariances: ArrayLike,
        covariance_type: CovarianceType | Family = "full",
        **params: Any,
    ) -> Self:
        """Return a fitted estimator with the given mixture; it scores, samples, and with ``warm_start`` fits on.

        `weights` (K,) sum to 1, `means` (K, D), `covariances` in the family's shape; `params` go to the constructor.
        ValueError where a shape is wrong or a covariance is not positive definite.
        """
        family, density, checked = checked_components(means, covariances, covariance_type)
        checked_weights = validation.check_weights(weights, len(density.mean))
        model = cls(len(checked_weights), covariance_type=covariance_type, **params)
        density = family.density_of_whitener(checked_weights, density.mean, density.whitener)
        return model._of_state(family, GaussianParameters(checked_weights, checked, density))

    def _of_state(self, family: Family, state: GaussianParameters, names: NDArray | None = None) -> Self:
        """Take parameters that are given, and return the estimator."""
        given = FitResult(state, math.nan, [], (), 0, False, 0)
        self._keep(MaximumLikelihood(family, 0.0), given, np.float64, names, [])
        return self

    def _validate_parameters(self) -> None:
        super()._validate_parameters()
        family = validation.check_family(self.covariance_type)
        masks = validation.check_frozen(self.frozen, family, int(self.n_components), float(self.reg_covar))
        for part, init in _FROZEN_BY.items():
            if masks[part].any() and getattr(self, init) is None:
                raise ValueError(f"frozen names {part}, which stay at {init}: give it, got None.")
        validation.check_choice(self.equal_weights, "equal_weights", (True, False))
        for name in ("frozen", "weights_init"):
            if self.equal_weights and getattr(self, name) is not None:
                raise ValueError(f"{name} must be None with equal_weights=True, got {shown(getattr(self, name))}.")

        others = ("frozen", "equal_weights", "accelerate", "truncate")
        validation.check_noise(self.noise, {name: getattr(self, name) for name in others})

    def _rule(self, source: Source) -> MaximumLikelihood:
        if validation.wants_noise(self.noise):
            noise = noise_of(source.rows, self.noise, self.n_threads, self.missing is not None)
            spread_noise(source.rows, noise)
            rule: MaximumLikelihood = NoiseLikelihood(source.family, float(self.reg_covar), noise)
        else:
            rule = self._rule_of(source.family, source.n_features)
        return self._regular(rule, source)

    def _fitted_rule(self, source: Source | None = None) -> MaximumLikelihood:
        if self._has_noise():
            rule: MaximumLikelihood = NoiseLikelihood(self._family(), float(self.reg_covar), self._fitted_noise())
        else:
            rule = self._rule_of(self._family(), np.shape(self.means_)[1])
        return self._regular(rule, source, is_fitted=True)

    def _rule_of(self, family: Family, n_features: int) -> MaximumLikelihood:
        reg_covar = float(self.reg_covar)
        if self.equal_weights:
            return EqualWeights(family, reg_covar)
        masks = validation.check_frozen(self.frozen, family, int(self.n_components), reg_covar)
        if not any(mask.any() for mask in masks.values()):
            return MaximumLikelihood(family, reg_covar)
        weights, means, whitener = self._given(family, n_features)
        frozen = Frozen(
            has_weight=masks["weights"],
            has_mean=masks["means"],
            has_covariance=masks["covariances"],
            weights=weights if masks["weights"].any() else None,
            means=means if masks["means"].any() else None,
            covariances=None,
        )
        if masks["covariances"].any() and whitener is not None:
            frozen = replace(frozen, covariances=family.covariances_of_whitener(whitener))
        return FrozenLikelihood(family, reg_covar, frozen)

    def _progress_before(self) -> tuple[float, ...]:
        # Known parts may not be those of the fit before, whose bounds then say nothing of this one.
        return super()._progress_before() if self.frozen is None else ()

    def _spikes(self, rule: MaximumLikelihood, source: Source, state: GaussianParameters) -> list[Spike]:
        spikes = super()._spikes(rule, source, state)
        if isinstance(rule, FrozenLikelihood):
            return [spike for spike in spikes if not rule.frozen.has_covariance[spike.component]]
        return spikes

    def _given(self, family: Family, n_features: int) -> tuple[Array | None, Array | None, Array | None]:
        """Return the explicit parts of a start, checked: weights, means and whitener, None for what is not given."""
        n_components = int(self.n_components)
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
        return weights, means, whitener

    def _starter(self, rule: MaximumLikelihood, rows: Rows) -> Starter:
        """Return a function that makes a start, having checked every explicit part of it."""
        family = rule.family
        weights, means, whitener = self._given(family, rows.n_features)

        def begin(rule: MaximumLikelihood, source: Source, random_state: Any, restart: int) -> GaussianParameters:
            if weights is not None and means is not None and whitener is not None:
                return parameters_of_whitener(family, weights, means, whitener)
            state = self._seed(rule, source, random_state, means, restart)
            if weights is None and means is None and whitener is None:
                return state
            if means is None and not isinstance(source.rows, LabelledRows):
                state = _in_order(family, state, weights, whitener)
            return parameters_of_whitener(
                family,
                state.weights if weights is None else weights,
                state.means if means is None else means,
                state.density.whitener if whitener is None else whitener,
            )

        def start(rule: MaximumLikelihood, *others: Any) -> GaussianParameters:
            return rule.within(begin(rule, *others))

        if isinstance(rule, EqualWeights):
            return lambda rule, *others: rule.levelled(start(rule, *others))
        if isinstance(rule, NoiseLikelihood) and isinstance(self.init_params, str):
            return beginning_with_noise(start, int(self.n_components))
        return start

    def _state(self, rule: MaximumLikelihood) -> GaussianParameters:
        state = rule.within(
            parameters_of_whitener(rule.family, self._weights(), np.asarray(self.means_), self._whitener(rule.family))
        )
        if isinstance(rule, EqualWeights):
            return rule.levelled(state)
        if isinstance(rule, NoiseLikelihood):
            share = float(state.weights.sum())
            return rule.beside_noise(state, share if share < 1.0 - _LEAST_NOISE else 1.0 - _SOME_NOISE)
        if isinstance(rule, FrozenLikelihood):
            return rule.with_known(state.weights, np.asarray(state.means, np.float64), state.covariances)
        return state

    def _attributes(
        self, rule: MaximumLikelihood, state: GaussianParameters
    ) -> tuple[dict[str, NDArray], dict[str, Any]]:
        return {
            "weights_": state.weights,
            "means_": state.means,
            "covariances_": rule.family.attribute(state.covariances),
            "precisions_cholesky_": rule.family.attribute(rule.family.precisions_cholesky(state.density.whitener)),
        }, {
            "_n_known_parameters": self._n_known(rule, state),
            **_noise_attributes(rule, state),
            **self._regular_attributes(rule),
        }

    def _keep(self, rule: MaximumLikelihood, *others: Any) -> None:
        super()._keep(rule, *others)
        gone = () if isinstance(rule, NoiseLikelihood) else _OF_NOISE
        for name in {*gone, *REGULAR} - self._regular_attributes(rule).keys():
            self.__dict__.pop(name, None)

    @staticmethod
    def _n_known(rule: MaximumLikelihood, state: GaussianParameters) -> int:
        """Return how many parameters of a fit were known before."""
        if isinstance(rule, EqualWeights):
            return len(state.weights) - 1
        if not isinstance(rule, FrozenLikelihood):
            return 0
        return rule.frozen.n_parameters(rule.family, *np.shape(state.means))

    def _density(self) -> Density:
        density = self._density_of_components()
        return self._fitted_noise().density(density, float(self.noise_weight_)) if self._has_noise() else density

    def _density_of_components(self) -> Density:
        family = self._family()
        if not hasattr(self, "precisions_cholesky_"):
            return family.density_of_whitener(self._weights(), self.means_, self._whitener(family))
        arrays = (np.asarray(each, np.float64) for each in (self.weights_, self.means_, self.precisions_cholesky_))
        density: Density = _density_of_attributes(family, "precisions_cholesky_", *arrays)
        return density

    def _log_weights(self) -> Array:
        with np.errstate(divide="ignore"):
            return np.log(self._weights())


def _noise_attributes(rule: MaximumLikelihood, state: GaussianParameters) -> dict[str, Any]:
    if not isinstance(rule, NoiseLikelihood):
        return {}
    weight = max(1.0 - float(state.weights.sum()), 0.0)
    noise = rule.noise
    return dict(zip(_OF_NOISE, (weight, noise.log_volume, noise.box, noise.n_parameters), strict=True))


@remembered
def _density_of_attributes(family: Family, name: str, weights: Array, means: Array, factor: Array) -> Density:
    """Return the density of fitted attributes, the factor under `name`; ValueError where they are none."""
    checked = validation.check_mixing_weights(weights, len(means))
    whitener = family.whitener_of_factor(family.of_attribute(factor, len(means)), name)
    return family.density_of_whitener(checked, means, whitener)


def _in_order(
    family: Family, state: GaussianParameters, weights: Array | None, whitener: Array | None
) -> GaussianParameters:
    """Return a seeded state with its components in the order that fits given weights or whiteners best.

    Seeds come in no particular order; the user's parameters do. Maximises the expected log joint of the seeded
    components' rows, each about its own mean.
    """
    from scipy.optimize import linear_sum_assignment  # its import takes longer than most fits

    shape = state.means.shape
    given = parameters_of_whitener(
        family,
        state.weights if weights is None else weights,
        state.means,
        state.density.whitener if whitener is None else whitener,
    )
    precisions = family.precisions(family.precisions_cholesky(given.density.whitener))
    distance = np.einsum("kab,jab->kj", family.matrices(precisions, *shape), family.matrices(state.covariances, *shape))
    gain = state.weights * (np.maximum(given.density.log_scale, -1e300)[:, None] - 0.5 * distance)
    _, order = linear_sum_assignment(-gain)
    return parameters_of_whitener(
        family, state.weights[order], state.means[order], family.select(state.density.whitener, order)
    )
