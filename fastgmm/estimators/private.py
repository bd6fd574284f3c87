"""scikit-learn's private methods of mixtures: those that other packages read with, and those that they override.

The readers are there. In scikit-learn a subclass that overrides one of them, or ``_m_step``, changes the fit. Here a
fit is compiled and calls none of them, so that the subclass would be fitted as if the override were not there: it is
refused.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgmm.statistics import Array

_START = "give the start as init_params (labels, responsibilities or a callable), means_init and the like"
_SCORE = (
    "override the public methods that are used (predict_proba, score_samples, ...); log_densities is what they need"
)
_STEP = "fit first and change the fitted attributes after it, or iterate with max_iter=1 and warm_start=True"
_PRIOR = "give the prior as constructor parameters, or change the fitted attributes after fit"
_CHECK = "check parameters in an override of fit, then call super().fit"
_PRINT = "give fit a callback"

#: What stands in for each private method of scikit-learn's mixtures (1.6 to 1.9) that its ``fit`` or predictions call.
HOOKS = {
    "_initialize_parameters": _START,
    "_initialize": _START,
    "_e_step": _SCORE,
    "_estimate_log_prob": _SCORE,
    "_estimate_log_weights": _SCORE,
    "_estimate_weighted_log_prob": _SCORE,
    "_estimate_log_prob_resp": _SCORE,
    "_m_step": _STEP,
    "_estimate_weights": _PRIOR,
    "_estimate_means": _PRIOR,
    "_estimate_precisions": _PRIOR,
    "_estimate_wishart_full": _PRIOR,
    "_estimate_wishart_tied": _PRIOR,
    "_estimate_wishart_diag": _PRIOR,
    "_estimate_wishart_spherical": _PRIOR,
    "_compute_lower_bound": "read lower_bound_ and lower_bounds_, or give fit a callback that raises to stop it",
    "_get_parameters": "read the fitted attributes, or override fit",
    "_set_parameters": "set the fitted attributes after fit",
    "_check_parameters": _CHECK,
    "_check_weights_parameters": _CHECK,
    "_check_means_parameters": _CHECK,
    "_check_precision_parameters": _CHECK,
    "_checkcovariance_prior_parameter": _CHECK,
    "_print_verbose_msg_init_beg": _PRINT,
    "_print_verbose_msg_iter_end": _PRINT,
    "_print_verbose_msg_init_end": _PRINT,
}


def refuse_overrides(cls: type, own: Iterable[str] = ()) -> None:
    """TypeError where a class, a mixin before ours, or an instance (`own`: its attributes) overrides a hook."""
    for name in own:
        if name in HOOKS:
            raise _refusal(f"This {cls.__name__}", name)
    for base in cls.__mro__:
        # What comes after ours is hidden, as it is in scikit-learn.
        if base.__module__.startswith("fastgmm."):
            return
        for name in HOOKS.keys() & vars(base).keys():
            raise _refusal(base.__name__, name)


def _refusal(owner: str, name: str) -> TypeError:
    return TypeError(
        f"{owner} overrides {name}, a private method of scikit-learn's fitting loop, which fastgmm does not call: the "
        f"override would have no effect. Instead, {HOOKS[name]}; or derive the class from sklearn.mixture's."
    )


class PrivateMethods(ABC):
    """The private methods of scikit-learn's mixtures that read and write parameters, and score rows.

    `xp` is scikit-learn's array namespace, and changes nothing.
    """

    #: Names of what ``_get_parameters`` returns.
    _parameter_attributes: tuple[str, ...]

    @abstractmethod
    def log_densities(self, X: ArrayLike) -> NDArray:
        """Return the log-density (nat) of each row of X (N, D) in each component, as (N, K)."""

    @abstractmethod
    def _log_weights(self) -> Array:
        """Return the (expected) logarithms of the mixing weights, (K,)."""

    @abstractmethod
    def _complete(self) -> None:
        """Set the fitted attributes that follow from ``_get_parameters``."""

    def _estimate_log_prob(self, X: ArrayLike, xp: Any = None) -> NDArray:
        """Return ``log_densities``."""
        return self.log_densities(X)

    def _estimate_log_weights(self, xp: Any = None) -> Array:
        """Return the (expected) logarithms of the mixing weights, (K,)."""
        return self._log_weights()

    def _estimate_weighted_log_prob(self, X: ArrayLike, xp: Any = None) -> NDArray:
        """Return the log joint densities of rows and components, (N, K)."""
        log_densities = self.log_densities(X)
        return log_densities + self._log_weights().astype(log_densities.dtype)

    def _estimate_log_prob_resp(self, X: ArrayLike, xp: Any = None) -> tuple[NDArray, NDArray]:
        """Return the log-density of each row, (N,), and the logarithms of its responsibilities, (N, K)."""
        log_joint = self._estimate_weighted_log_prob(X)
        peak = log_joint.max(axis=1, keepdims=True)
        evidence = np.log(np.exp(log_joint - peak).sum(axis=1, keepdims=True)) + peak
        evidence = np.logaddexp(evidence, self._log_joint_of_noise())
        return evidence[:, 0], log_joint - evidence

    def _log_joint_of_noise(self) -> float:
        """Return the log joint density of noise at any row; -inf where there is none."""
        return -np.inf

    def _get_parameters(self) -> tuple[Any, ...]:
        """Return the parameters, in scikit-learn's order."""
        return tuple(getattr(self, name) for name in self._parameter_attributes)

    def _set_parameters(self, params: Iterable[Any], xp: Any = None) -> None:
        """Set the parameters, and the attributes that follow from them."""
        for name, value in zip(self._parameter_attributes, params, strict=True):
            setattr(self, name, value)
        self._complete()
