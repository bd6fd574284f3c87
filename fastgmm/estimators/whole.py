"""The base of mixtures whose components are no plain normal laws, and which are fitted in one call of ``fit``."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgmm import validation
from fastgmm.estimators.criteria import WithCriteria
from fastgmm.estimators.fitting import Fitting, course_of
from fastgmm.estimators.private import refuse_overrides
from fastgmm.estimators.progress import Callback
from fastgmm.estimators.refused import Refused
from fastgmm.exceptions import OutOfRangeError
from fastgmm.families import Family
from fastgmm.fitting import acceleration
from fastgmm.fitting.plain import FitResult
from fastgmm.fitting.restarts import Restart
from fastgmm.fitting.stopping import STOPPING
from fastgmm.passes.scores import Score
from fastgmm.rows import Rows
from fastgmm.starts.seeding import METHODS
from fastgmm.statistics import Array

_ONE_CALL = "it is fitted to all rows in one call of fit"


class FittedAtOnce(WithCriteria, Fitting):
    """A mixture that is fitted to all rows of arrays, frames or files in one call of ``fit``."""

    # What the machinery of Gaussian mixtures can do and these do not.
    truncate = None
    race = False
    warm_start = False
    checkpoint = None
    checkpoint_interval = 60.0
    class_components = None
    learning_decay = 0.6
    learning_offset = 0.0

    adapt: Any = Refused(_ONE_CALL)
    partial_fit: Any = Refused(_ONE_CALL)
    statistics: Any = Refused(_ONE_CALL)
    update: Any = Refused(_ONE_CALL)

    def fit_predict(self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None) -> NDArray[np.int64]:
        """Fit the mixture and return the most probable component of each row of X, (N,); arguments as of ``fit``."""
        rows = self._fit(X, sample_weight, None)
        return rows.scored(Score(self._density(), "labels", self.n_threads))

    def _open(self, X: Any, sample_weight: Any = None, *others: Any, **named: Any) -> Rows:
        rows = super()._open(X, sample_weight, *others, **named)
        if type(rows).gather is not Rows.gather:
            raise ValueError(
                f"X must be rows in this process or in files, for {type(self).__name__} does not work on a cluster "
                f"yet, got {type(rows).__name__}: take a sample of the rows, or write them to files."
            )
        return rows

    def _validate_parameters(self) -> None:
        refuse_overrides(type(self), vars(self))
        names = "checkpoint_interval", "learning_offset", "learning_decay", "warm_start", "truncate", "race"
        others = {name: getattr(self, name) for name in (*names, "covariance_type")}
        validation.check_parameters(self._mixture_params() | others, METHODS)
        validation.check_choice(self.stopping, "stopping", STOPPING)
        validation.check_choice(self.accelerate, "accelerate", (None, *acceleration.METHODS))

    def _weight_exponent(self, rows: Rows) -> int:
        return rows.unit_exponent

    def _state(self, rule: Any) -> Any:
        raise NotImplementedError("no fit goes on from fitted attributes")

    def _check_rows(self, rows: Rows) -> None:
        """ValueError where the parameters do not suit the rows."""

    def _told(self, rule: Any, state: Any, rows: Rows) -> str:
        """Return a warning about a fit that came to a state, or ""."""
        return ""

    def _fit(self, X: ArrayLike, sample_weight: ArrayLike | None, callback: Callback | None) -> Rows:
        self._validate_parameters()
        rows = self._open(X, sample_weight, minimum=2)
        self._check_rows(rows)
        rule, best, _, restarts = self._best_start(rows, callback, None)
        if told := self._told(rule, best.state, rows):
            warnings.warn(told, UserWarning, stacklevel=3)
        self._keep(rule, best, rows.names, restarts)
        return rows

    def _kept(self, rule: Any, state: Any) -> dict[str, Any]:
        """Return private attributes of a fit, which hold whatever the parameters are set to later."""
        raise NotImplementedError

    def _keep(self, rule: Any, result: FitResult, names: NDArray | None, restarts: list[Restart]) -> None:
        """Take the attributes of a result."""
        arrays, _ = self._attributes(rule, result.state)
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise OutOfRangeError
        fitted: dict[str, Any] = {name: array.copy() for name, array in arrays.items()}
        fitted |= course_of(result, restarts) | self._kept(rule, result.state)
        if names is not None:
            fitted["feature_names_in_"] = names
        else:
            self.__dict__.pop("feature_names_in_", None)
        # At once: an interrupt between two attributes would leave a mixture of two models.
        self.__dict__.update(fitted)

    def _complete(self) -> None:
        """Do nothing: no attribute follows from others."""

    def _log_weights(self) -> Array:
        with np.errstate(divide="ignore"):
            return np.log(self._weights())

    def _whitener(self, family: Family) -> Array:
        raise self._is_not_normal()

    def _covariances(self) -> tuple[Family, Array]:
        raise self._is_not_normal()

    def _is_not_normal(self) -> TypeError:
        raise NotImplementedError
