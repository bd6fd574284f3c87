"""The scikit-learn side of an estimator, without importing scikit-learn (which costs more than a whole small fit).

Parameters, cloning, tags, metadata routing and the fitted check follow scikit-learn's protocols; whatever needs one
of its classes imports it when scikit-learn asks.
"""

from __future__ import annotations

import abc
import copy
import functools
import inspect
import sys
import warnings
import weakref
from typing import Any

from fastgmm._version import __version__
from fastgmm.support.typing import Self


class _Requests(dict[str, dict[str, Any]]):
    """Metadata requests by method; in an attribute of scikit-learn's name, which its ``clone`` clones too."""

    def __sklearn_clone__(self) -> _Requests:
        return copy.deepcopy(self)


@functools.cache
def _parameters(constructor: Any) -> dict[str, Any]:
    """Return the defaults of a constructor's parameters, by name; what `**kwargs` takes has no name."""
    named = {}
    for name, parameter in list(inspect.signature(constructor).parameters.items())[1:]:
        if parameter.kind == parameter.VAR_POSITIONAL:
            raise RuntimeError(
                "scikit-learn's estimators should always specify their parameters in the signature of their __init__ "
                f"(no varargs), but {constructor.__qualname__} takes *{name}."
            )
        if parameter.kind != parameter.VAR_KEYWORD:
            named[name] = parameter.default
    return named


def with_defaults(cls: type) -> type:
    """Make the defaults of a constructor's parameters attributes of its class.

    Then a subclass whose constructor sets fewer, and a pickle of a version that had fewer, takes them.
    """
    defaults = _parameters(cls.__init__)  # type: ignore[misc]
    for name, default in defaults.items():
        setattr(cls, name, default)
    cls._mixture_defaults = defaults  # type: ignore[attr-defined]
    return cls


def register(cls: type) -> None:
    """Let ``isinstance`` with scikit-learn's class of the same name be true, where scikit-learn's mixtures are loaded.

    Called whenever an estimator is made or looks at rows, since either package may be imported first.
    """
    theirs = sys.modules.get("sklearn.mixture")
    if theirs is None or cls in _registered:
        return
    for base in cls.__mro__:
        known = getattr(theirs, base.__name__, None) if base.__module__.startswith("fastgmm.") else None
        # A module that is being imported may lack its classes; clients put ours there.
        if isinstance(known, abc.ABCMeta) and known.__module__.startswith("sklearn."):
            if not issubclass(base, known):
                known.register(base)
            _registered.add(cls)


_registered: weakref.WeakSet[type] = weakref.WeakSet()


def _numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version."""
    return tuple(int(part) for part in version.split(".")[:3] if part.isdigit())


class Interface:
    """Parameters by introspection of ``__init__``, and scikit-learn's protocols."""

    _estimator_type = "density_estimator"
    #: The methods that take ``sample_weight``.
    _weighted_methods: tuple[str, ...] = ("fit", "score")

    @classmethod
    def _defaults(cls) -> dict[str, Any]:
        return _parameters(cls.__init__)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor parameters by name; `deep` is part of scikit-learn's protocol and changes nothing."""
        return {name: getattr(self, name) for name in sorted(self._defaults())}

    def set_params(self, **params: Any) -> Self:
        """Set constructor parameters by name and return self; ValueError for a name that does not exist."""
        known = sorted(self._defaults())
        for name in params:
            if name not in known:
                raise ValueError(f"Invalid parameter {name!r} for estimator {self}. Valid parameters are: {known!r}.")
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        """Return the constructor call with the parameters that differ from their defaults."""
        changed = [
            f"{name}={getattr(self, name)!r}"
            for name, default in self._defaults().items()
            if hasattr(self, name) and repr(getattr(self, name)) != repr(default)
        ]
        return f"{type(self).__name__}({', '.join(changed)})"

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes, and the version of the package that they are of."""
        return {**self.__dict__, "_version": __version__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take attributes of any version; of an older one, what is new gets what it would have been."""
        state = dict(state)
        version = state.pop("_version", "0")
        if _numbers(version) > _numbers(__version__):
            warnings.warn(
                f"This {type(self).__name__} was stored by fastgmm {version}, and is read by {__version__}, which may "
                "not know all of it: upgrade fastgmm.",
                stacklevel=2,
            )
        if "n_iter_" in state:
            converged = state.get("converged_", False)
            state.setdefault("stop_reason_", "converged" if converged else "max_iter")
            state.setdefault("n_passes_", state["n_iter_"] + 1)
            state.setdefault("lower_bounds_", [state["lower_bound_"]] if "lower_bound_" in state else [])
            for name in ("restarts_", "spurious_"):
                state.setdefault(name, [])
        self.__dict__.update(state)

    def __sklearn_is_fitted__(self) -> bool:
        """Return whether the estimator has parameters to score rows with."""
        return hasattr(self, "means_")

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags: a density estimator that needs no target."""
        from sklearn.utils import InputTags, Tags, TargetTags

        return Tags(
            estimator_type="density_estimator",
            target_tags=TargetTags(required=False),
            input_tags=InputTags(allow_nan=getattr(self, "missing", None) is not None),
        )

    def _requested(self, method: str) -> dict[str, Any]:
        return self.__dict__.setdefault("_metadata_request", _Requests()).setdefault(method, {})

    def set_fit_request(self, *, sample_weight: bool | str | None = None) -> Self:
        """Say whether a meta-estimator passes ``sample_weight`` on to ``fit`` (scikit-learn's metadata routing)."""
        self._requested("fit")["sample_weight"] = sample_weight
        return self

    def set_score_request(self, *, sample_weight: bool | str | None = None) -> Self:
        """Say whether a meta-estimator passes ``sample_weight`` on to ``score`` (scikit-learn's metadata routing)."""
        self._requested("score")["sample_weight"] = sample_weight
        return self

    def get_metadata_routing(self) -> Any:
        """Return scikit-learn's MetadataRequest of this estimator."""
        from sklearn.utils.metadata_routing import MetadataRequest

        request = MetadataRequest(owner=self)
        for method in self._weighted_methods:
            wanted = self.__dict__.get("_metadata_request", {}).get(method, {})
            getattr(request, method).add_request(param="sample_weight", alias=wanted.get("sample_weight"))
        return request
