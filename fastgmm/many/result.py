"""The result of many fits: arrays with a row for each problem, and its estimators."""

from __future__ import annotations

import operator
import os
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastgmm import exceptions
from fastgmm.estimators.base import Mixture
from fastgmm.exceptions import CollapsedComponentError, OutOfRangeError
from fastgmm.families import Family
from fastgmm.fitting.plain import FitResult
from fastgmm.kernels import many
from fastgmm.many.files import read_fits, write_fits
from fastgmm.many.problems import Problems
from fastgmm.many.rules import Rule
from fastgmm.many.showing import as_html
from fastgmm.many.status import REASONS, Status, Verdict, summary
from fastgmm.many.uses import Uses
from fastgmm.rows import row_type
from fastgmm.statistics import Array
from fastgmm.support.showing import shown
from fastgmm.support.typing import Self


class FittedMany(Uses):
    """Fits of P problems, as arrays with an axis of problems in front; ``result[i]`` is a fitted estimator.

    Made by :func:`fastgmm.fit_many`. Arrays are float64, whatever the type of X; where there is no fit they hold NaN.

    Attributes
    ----------
    weights_ : (P, K)
    means_ : (P, K, D)
    covariances_, precisions_cholesky_ : (P, ...), each of the shape that it has in one estimator
    converged_ : (P,) bool
    n_iter_ : (P,) int64
        Updates made in the best start.
    lower_bound_ : (P,)
        As of the estimator: mean log-likelihood of a row (nat), or the evidence lower bound of all.
    status : (P,) int64
        What became of each problem, see :class:`Status`.
    component : (P,) int64
        The component that collapsed, where one did; else -1.
    spurious_ : list of P lists of SpuriousComponent
        The spurious components of each problem, as of a single fit by maximum likelihood; of variational fits none are
        looked for.
    keys : (P,) array or None
        The groups that the problems are, in order.
    estimator : GaussianMixture or BayesianGaussianMixture
        What was passed to ``fit_many``.

    Notes
    -----
    ``predict``, ``score`` and the other methods take rows X in any layout that ``fit_many`` takes, for as many
    problems, in their order; with `groups`, their keys are among those of the fit. An array (n, D) without `offsets`
    and `groups` holds rows that all problems share. What is returned for rows is laid out as they are: (P, n), a list,
    (N,), and for shared rows (P, n). A problem that has no fit gets the label -1 and NaN for all else, whatever its
    rows hold.

    Of a variational fit also, with the axis of problems in front of the estimator's shapes,
    `weight_concentration_`, `mean_precision_`, `degrees_of_freedom_`, and, of length P or 1, `mean_prior_` and
    `covariance_prior_`.
    """

    means_: Array
    covariances_: Array
    precisions_cholesky_: Array
    weight_concentration_: Array | tuple[Array, Array]
    mean_precision_: Array
    degrees_of_freedom_: Array
    mean_prior_: Array
    covariance_prior_: Array

    def __init__(
        self,
        estimator: Mixture,
        family: Family,
        fits: many.Fits,
        rule: Rule,
        problems: Problems,
        spurious: list[Verdict],
    ) -> None:
        self.estimator = estimator
        self.keys = problems.keys
        self.status, self.component = fits.status, fits.component
        self.n_iter_, self.lower_bound_, self._previous_bound = fits.n_iter, fits.bound, fits.previous_bound
        self.means_, self.covariances_ = fits.mean, family.attribute(fits.covariance, axis=1)
        self.precisions_cholesky_ = family.attribute(family.precisions_cholesky(fits.whitener), axis=1)
        self.converged_ = self.status == Status.CONVERGED
        self.spurious_ = [list(each.components) for each in spurious]
        self._family, self._fits, self._rule = family, fits, rule
        self._dtype, self._names = row_type(problems.rows.dtype), problems.names
        vars(self).update(rule.attributes())

    def __len__(self) -> int:
        return len(self.status)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"FittedMany({summary(self.status)})"

    def _repr_html_(self) -> str:
        """Return the result as notebooks show it."""
        return as_html(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the result to a ``.npz`` file, of which `load` makes the same one again, bit for bit.

        It is no pickle: reading it runs no code. Of the estimator it holds the parameters that are plain values, and
        those of priors; starts, threads and a generator as `random_state` are left at their defaults. An existing file
        is replaced in one step. Raises fastgmm.io.ModelFileError for another extension, and for what such a file cannot
        hold (families of one's own, keys of mixed types); OSError where it cannot be written.
        """
        write_fits(
            path,
            self.estimator,
            self._family,
            self._fits,
            self._rule,
            self.spurious_,
            self.keys,
            self._names,
            self._dtype,
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Return the result that `save` wrote.

        Raises fastgmm.io.ModelFileError for a file that is none, that is damaged (its checksum is wrong) or that a
        newer fastgmm wrote; OSError for one that cannot be read.
        """
        return cls(*read_fits(path))

    def __getitem__(self, index: int) -> Any:
        """Return the fitted estimator of one problem; ValueError, with the status, where it has no fit."""
        try:
            i = operator.index(index)
        except TypeError:
            raise TypeError(f"a problem is chosen by an integer, got {shown(index)}") from None
        if not -len(self) <= i < len(self):
            raise IndexError(f"problem {i} of {len(self)}")
        i %= len(self)
        status = Status(self.status[i])
        if status > Status.NOT_CONVERGED:
            reason = REASONS.get(status)
            if reason is None:
                collapsed = status == Status.COLLAPSED
                reason = str(CollapsedComponentError(int(self.component[i])) if collapsed else OutOfRangeError())
            raise ValueError(f"problem {i} has no fit, its status is {status.name}: {reason}")
        rule, state = self._rule.state(i, self._fits)
        bound, n_iter = float(self.lower_bound_[i]), int(self.n_iter_[i])
        # A pass an update and the last one.
        result = FitResult(
            state,
            bound,
            [bound] if n_iter else [],
            (float(self._previous_bound[i]),),
            n_iter,
            bool(self.converged_[i]),
            n_iter + 1,
            spurious=self.spurious_[i],
        )
        model = self.estimator._blank()
        model._keep(rule, result, self._dtype, self._names, [])
        return model


def warn_of_failures(result: FittedMany) -> None:
    """Warn of problems that could not be fitted, and of those that did not converge."""
    bad = result.status > Status.NOT_CONVERGED
    if result.estimator.max_iter > 0:
        bad |= result.status == Status.NOT_CONVERGED
    if bad.any():
        warnings.warn(
            f"Not all fits are good. Of {summary(result.status)}. The first is problem {int(np.argmax(bad))}; see the "
            "result's status. Try more iterations (max_iter), a larger tol or reg_covar, or fewer components.",
            exceptions.ConvergenceWarning,
            stacklevel=3,
        )
