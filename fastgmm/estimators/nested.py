"""Estimators that hold another one: its parameters are theirs, under ``estimator__`` and its own names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from fastgmm.estimators.interface import Interface
from fastgmm.support.typing import Self


class WithEstimator(Interface, ABC):
    """The part of an estimator that holds another as `estimator`, or None for a default one."""

    estimator: Any

    @abstractmethod
    def _default_estimator(self) -> Any:
        """Return the estimator that is held where none was given."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor parameters by name, if `deep` those of the estimator, too, as ``estimator__tol``."""
        params = super().get_params()
        get_params = getattr(self.estimator, "get_params", None)
        if deep and get_params is not None:
            params |= {f"estimator__{name}": value for name, value in get_params().items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set constructor parameters by name and return self; ``estimator__tol`` is one of the estimator."""
        inner = {name.removeprefix("estimator__"): name for name in params if name.startswith("estimator__")}
        super().set_params(**{name: value for name, value in params.items() if name not in inner.values()})
        if inner:
            if self.estimator is None:
                self.estimator = self._default_estimator()
            self.estimator.set_params(**{name: params[given] for name, given in inner.items()})
        return self
