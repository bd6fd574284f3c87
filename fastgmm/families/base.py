"""Covariance families: a structure, and a constraint on its covariances.

A structure is a linear projection of outer products, and the shapes that follow from it: full, tied, diag, spherical.
Rows are scored and summed by structure alone. Everything about it is written once over the compiled contract
(:mod:`fastgmm.kernels.structures.contract`); a structure adds its name, its shape, its parameter count, and how its
whitener is shown to users. A constraint ends the M-step (:mod:`fastgmm.kernels.updates.constraints`).
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastgmm.kernels.structures.densities import DENSITIES, Density
from fastgmm.kernels.updates import likelihood, moments
from fastgmm.kernels.updates.constraints import UNCONSTRAINED, constraint_address
from fastgmm.statistics import SufficientStatistics

Array = NDArray[np.float64]

# Bytes of arrays whose check takes longer than what it is for.
_SMALL = 4096


def remembered(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function of a family, a name and float64 arrays return again what it returned for equal small arrays.

    For models that predict a row at a time, whose parameters are always the same. Nobody may write to what it returns.
    """

    @functools.lru_cache(maxsize=64)
    def recall(family: Family, name: str, *arrays: tuple[bytes, tuple[int, ...]]) -> Any:
        return function(family, name, *(np.frombuffer(data).reshape(shape).copy() for data, shape in arrays))

    @functools.wraps(function)
    def call(family: Family, name: str, *arrays: Array) -> Any:
        if sum([array.nbytes for array in arrays]) > _SMALL:
            return function(family, name, *arrays)
        return recall(family, name, *[(array.tobytes(), array.shape) for array in arrays])

    return call


class Maximum(NamedTuple):
    """Maximum-likelihood parameters of statistics; `status` and `component` as of ``kernels.maximise``."""

    status: int
    component: int
    weights: Array
    covariances: Array
    density: Density


class Family(ABC):
    """A covariance family. Instances are stateless, and equal where they are of one class."""

    name: ClassVar[str]
    #: Other names, those of mclust among them.
    aliases: ClassVar[tuple[str, ...]] = ()
    density_type: ClassVar[type]
    #: The class of its posterior predictive law, a mixture of Student-t laws; None where no kernels are registered.
    student_type: ClassVar[type | None] = None
    #: What the M-step ends with, a ``kernels.updates.constraints.constraint``; None where each component has its own.
    constraint: ClassVar[Any] = None
    #: Whether all components have one covariance; with variational Bayes, one law of the precision.
    is_tied: ClassVar[bool] = False
    #: Whether the scatter follows from the total scatter of the data and the masses and deviations alone.
    uses_total: ClassVar[bool] = False
    #: Whether covariances are matrices rather than variances.
    has_matrices: ClassVar[bool] = False
    #: Whether members stay members in other units of each feature.
    in_any_units: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Keep the constraint a function: it is no method. What holds without it need not hold with it."""
        super().__init_subclass__(**kwargs)
        if "constraint" in vars(cls) and "in_any_units" not in vars(cls):
            cls.in_any_units = False
        constraint = vars(cls).get("constraint")
        if constraint is not None and not isinstance(constraint, staticmethod):
            cls.constraint = staticmethod(constraint)

    def fewest_rows(self, n_features: int) -> int:
        """Return how many rows a component needs, at least, for a covariance that is positive definite."""
        return n_features + 1 if self.has_matrices else 2

    def __repr__(self) -> str:
        """Return the name, as in ``<covariance family 'full'>``."""
        return f"<covariance family {self.name!r}>"

    def __eq__(self, other: object) -> bool:
        """Return whether both are of one family: instances have no state."""
        return type(self) is type(other)

    def __hash__(self) -> int:
        """Return the same for all instances of a family."""
        return hash(type(self))

    @abstractmethod
    def shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        """Return the shape of a scatter, a covariance and a whitener."""

    def attribute_shape(self, n_components: int, n_features: int) -> tuple[int, ...]:
        """Return the shape of a covariance, precision or factor as users see it."""
        return self.shape(n_components, n_features)

    def attribute(self, array: Array, axis: int = 0) -> Array:
        """Return a covariance, precision or factor, ``shape`` from `axis` on, in its ``attribute_shape``."""
        return array

    def of_attribute(self, attribute: Array, n_components: int, axis: int = 0) -> Array:
        """Return the array of the structure's shape that ``attribute`` was made of."""
        return attribute

    @property
    def is_conjugate(self) -> bool:
        """Whether variational Bayes has a conjugate prior: without a constraint, and for one covariance for all."""
        return self.constraint is None or self.is_tied

    @property
    def skips(self) -> bool:
        """Whether passes may skip components that matter little to a row: with the four structures of the package."""
        return self.density_type in DENSITIES

    def n_laws(self, n_components: int) -> int:
        """Return how many laws of precisions a variational posterior has: one where components share a covariance."""
        return 1 if self.is_tied else n_components

    @abstractmethod
    def n_covariance_parameters(self, n_components: int, n_features: int) -> int:
        """Return the number of free covariance parameters."""

    @abstractmethod
    def precisions_cholesky(self, whitener: Array) -> Array:
        """Return scikit-learn's ``precisions_cholesky_``: the transposed whitener for matrices."""

    @abstractmethod
    def whitener(self, precisions_cholesky: Array) -> Array:
        """Return the whitener of scikit-learn's ``precisions_cholesky_``; the inverse of that method."""

    def whitener_of_factor(self, factor: Array, name: str) -> Array:
        """Return the whitener of any triangular C with precision C C^T; ValueError, with `name`, where it is none."""
        whitener: Array = _whitener_of_factor(self, name, factor)
        return whitener.copy()

    @abstractmethod
    def _whitener_of_factor(self, factor: Array, name: str) -> Array: ...

    def block(self, covariances: Array, k: int) -> Array:
        """Return the covariance of component k."""
        return covariances[k]

    @abstractmethod
    def spread(self, covariances: Array, k: int, noise: Array) -> Array:
        """Return noise (n, D) of identity covariance turned into noise of component k's covariance.

        ValueError where that is not positive semidefinite.
        """

    @abstractmethod
    def precisions(self, precisions_cholesky: Array) -> Array:
        """Return the precisions (inverse covariances), in the family's shape."""

    @abstractmethod
    def whitener_of_precisions(self, precisions: Array) -> Array:
        """Return the whitener of precisions in the family's shape."""

    @abstractmethod
    def covariances_of_whitener(self, whitener: Array) -> Array:
        """Return the covariances of a whitener, in the family's shape."""

    @abstractmethod
    def isotropic_whitener(self, n_components: int, n_features: int, scale: float) -> Array:
        """Return the whitener of the covariance scale**-2 times the identity, for every component."""

    @abstractmethod
    def matrices(self, covariances: Array, n_components: int, n_features: int) -> Array:
        """Return the covariances as dense matrices (K, D, D)."""

    @abstractmethod
    def variances(self, covariances: Array, n_components: int, n_features: int) -> Array:
        """Return the variance of each component and feature, (K, D)."""

    def projected(self, covariances: Array) -> Array:
        """Return covariances (P, D, D) as those of P single components of this family, (P, ...)."""
        if self.has_matrices:
            return covariances
        variances = np.diagonal(covariances, axis1=1, axis2=2)
        return variances.copy() if self.block_shape(variances.shape[1]) else variances.mean(axis=1)

    @abstractmethod
    def colour(self, whitener: Array, k: int, noise: Array) -> Array:
        """Return noise (n, D) of identity covariance turned into noise of component k's covariance."""

    def block_shape(self, n_features: int) -> tuple[int, ...]:
        """Return the shape of the covariance of one component."""
        return self.shape(1, n_features)[1:]

    def wishart_dimension(self, n_features: int) -> int:
        """Return the dimension of a Wishart block, of which a precision is made: 1, or D where it is a matrix."""
        return 1

    def select(self, array: Array, components: NDArray[np.int64]) -> Array:
        """Return the part of a scatter, covariance or whitener of the given components, in that order."""
        return np.ascontiguousarray(array[components])

    def marginal(self, whitener: Array, features: NDArray[np.intp]) -> Array:
        """Return the whitener of some features alone, in that order; of one of the package's structures."""
        return np.ascontiguousarray(whitener[..., features]) if self.block_shape(1) else whitener.copy()

    def reordered(self, statistics: SufficientStatistics, components: NDArray[np.int64]) -> SufficientStatistics:
        """Return the statistics with the components in the given order."""
        return SufficientStatistics(
            statistics.origin[components],
            statistics.mass[components],
            statistics.deviation[components],
            self.select(statistics.scatter, components),
            statistics.log_evidence,
            statistics.weight,
        )

    def definiteness(self, covariances: Array) -> float:
        """Return the smallest eigenvalue of any covariance scaled to unit variances; 0 where one is not positive."""
        return float(self.definiteness_of_each(covariances.reshape(-1, 1)).min())

    def definiteness_of_each(self, blocks: Array) -> Array:
        """Return the ``definiteness`` of each of P covariances of one component, (P, ...) in their shape."""
        return np.all(blocks.reshape(len(blocks), -1) > 0.0, axis=1).astype(np.float64)

    def mirror(self, scatter: Array) -> Array:
        """Return the scatter with its upper triangle filled from the lower; scatters without one as they are."""
        return scatter

    def blank(self, n_components: int, n_features: int) -> Density:
        """Return a density of this family filled with zeros, to be written by kernels."""
        return self.density_type(
            np.zeros(n_components), np.zeros((n_components, n_features)), np.zeros(self.shape(n_components, n_features))
        )

    def density(self, weights: Array, means: Array, covariances: Array) -> tuple[Density, int]:
        """Return the density of mixture parameters, and the first block that is not positive definite, or -1."""
        density = self.blank(*means.shape)
        density.mean[...] = means
        status, component = likelihood.set_density(density, weights, np.ascontiguousarray(covariances, np.float64))
        return density, -1 if status == moments.OK else component

    def density_of_whitener(self, weights: Array, means: Array, whitener: Array) -> Density:
        """Return the density of mixing weights, means and whiteners (finite, positive diagonal)."""
        density = self.density_type(
            np.empty(len(weights)), np.array(means, np.float64, order="C"), np.array(whitener, np.float64, order="C")
        )
        likelihood.set_log_scale(density, np.ascontiguousarray(weights, np.float64))
        return density

    def isotropic(self, centres: Array, scale: float) -> Density:
        """Return the density with log joint -1/2 || scale (x - centre) ||^2: nearest centre wins."""
        n_components, n_features = centres.shape
        return self.density_type(
            np.zeros(n_components),
            np.array(centres, np.float64, order="C"),
            self.isotropic_whitener(n_components, n_features, scale),
        )

    def zero(self, origin: Array) -> SufficientStatistics:
        """Return the statistics of no rows about `origin` (K, D)."""
        n_components, n_features = origin.shape
        return SufficientStatistics(
            origin,
            np.zeros(n_components),
            np.zeros((n_components, n_features)),
            np.zeros(self.shape(n_components, n_features)),
            0.0,
            0.0,
        )

    def recentre(self, statistics: SufficientStatistics, origin: Array) -> SufficientStatistics:
        """Return the same rows' statistics about another `origin` (K, D); exact but for rounding."""
        origin = np.array(origin, np.float64, order="C")
        deviation, scatter = statistics.deviation.copy(), statistics.scatter.copy()
        moments.move_origin(self.blank(*origin.shape), statistics.origin, origin, statistics.mass, deviation, scatter)
        return SufficientStatistics(
            origin, statistics.mass, deviation, scatter, statistics.log_evidence, statistics.weight
        )

    def centred(self, statistics: SufficientStatistics) -> Array:
        """Return the scatter about the components' own means."""
        scatter = statistics.scatter.copy()
        density = self.blank(*statistics.origin.shape)
        moments.centre(density, statistics.mass, statistics.deviation, scatter)
        return scatter

    def covariances(self, statistics: SufficientStatistics) -> Array:
        """Return the maximum-likelihood covariances of the statistics, positive or not; 0 where there is no mass."""
        scatter = self.centred(statistics)
        moments.divide_by_pool(self.blank(*statistics.origin.shape), statistics.mass, scatter)
        return scatter

    def constrained(self, mass: Array, covariances: Array, whitener: Array) -> Array:
        """Return covariances of components of some `mass` (K,) as the constraint leaves them; `whitener` as there."""
        if self.constraint is None:
            return covariances
        covariances = np.array(covariances, np.float64, order="C")
        self.constraint(np.array(mass, np.float64), covariances, np.array(whitener, np.float64, order="C"))
        return self.mirror(covariances)

    def maximise(
        self, statistics: SufficientStatistics, reg_covar: float, final: bool, whitener: Array | None = None
    ) -> Maximum:
        """Return the parameters of highest likelihood for the statistics, with `reg_covar` added to every variance.

        `whitener` is that of the mixture which made them, where there is one: constraints may iterate from there.
        """
        n_components, n_features = statistics.origin.shape
        density = self.blank(n_components, n_features)
        weights, covariances = np.empty(n_components), np.empty(density.whitener.shape)
        if whitener is None:
            whitener = self.isotropic_whitener(n_components, n_features, 1.0)
        status, component = likelihood.maximise_constrained(
            density,
            weights,
            covariances,
            statistics.origin,
            statistics.mass,
            statistics.deviation,
            statistics.scatter,
            reg_covar,
            final,
            UNCONSTRAINED if self.constraint is None else constraint_address(self.constraint, density),
            whitener,
        )
        return Maximum(status, component, weights, covariances, density)


@remembered
def _whitener_of_factor(family: Family, name: str, factor: Array) -> Array:
    return family._whitener_of_factor(factor, name)
