"""Error and warning classes: scikit-learn's own where it is installed, so that ``except`` and filters keep working.

Resolved when first used, because importing scikit-learn costs more than a whole small fit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any


class CollapsedComponentError(ValueError):
    """A component's covariance is not positive definite; `component` is its index."""

    def __init__(self, component: int) -> None:
        super().__init__(
            "Fitting the mixture model failed because some components have ill-defined empirical covariance (for "
            "instance caused by singleton or collapsed samples). Try to decrease the number of components, increase "
            f"reg_covar, or scale the input data. (The first such component is number {component}.)"
        )
        self.component = component

    def __reduce__(self) -> Any:
        return type(self), (self.component,)


class OutOfRangeError(ValueError):
    """A fit left the range of float64."""

    def __init__(
        self,
        message: str = "The fit left the range of float64: bring the columns of X nearer to a scale of 1, or "
        "sample_weight if its values differ by more than rounding can hold.",
    ) -> None:
        super().__init__(message)


class SpuriousComponentWarning(UserWarning):
    """A component has no spread but what ``reg_covar`` or a tiny prior adds: its likelihood says nothing."""


class UnknownPriorError(ValueError, AttributeError):
    """A variational model that was made of a posterior alone was asked for something that needs its prior."""

    def __init__(self) -> None:
        super().__init__("the prior of this model is not known: give mean_prior and covariance_prior")


if TYPE_CHECKING:

    class NotFittedError(ValueError, AttributeError):
        """A method that needs a fitted model was called before ``fit``."""

    class ConvergenceWarning(UserWarning):
        """A fit stopped at ``max_iter``."""

    class DataConversionWarning(UserWarning):
        """Data were taken for what they are not quite."""


_FALLBACKS: dict[str, tuple[type, ...]] = {
    "NotFittedError": (ValueError, AttributeError),
    "ConvergenceWarning": (UserWarning,),
    "DataConversionWarning": (UserWarning,),
}


def __getattr__(name: str) -> Any:
    if name not in _FALLBACKS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        import sklearn.exceptions as origin

        value = getattr(origin, name)
    except ImportError:
        value = type(name, _FALLBACKS[name], {"__module__": __name__})
    globals()[name] = value
    return value
