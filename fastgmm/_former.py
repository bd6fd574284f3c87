"""Former places of modules, which pickles of older versions and older code name."""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

#: Where what they held is today.
MOVED = {
    "fastgmm.checkpoint": "fastgmm.fitting.checkpoint",
    "fastgmm.interface": "fastgmm.estimators.interface",
    "fastgmm.kernels.conjugate": "fastgmm.kernels.updates.variational",
    "fastgmm.kernels.constraints": "fastgmm.kernels.updates.constraints",
    "fastgmm.kernels.densities": "fastgmm.kernels.structures.densities",
    "fastgmm.kernels.student": "fastgmm.kernels.structures.student",
    "fastgmm.online": "fastgmm.fitting.online",
    "fastgmm.restarts": "fastgmm.fitting.restarts",
}


class FormerModules:
    """An import hook: a module with a former name asks the module of today for all names but its own.

    No class of ``importlib.abc``, which takes long to import.
    """

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return how a module with a former name is made, None for all others."""
        return ModuleSpec(name, self) if name in MOVED else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """Return None: the module is an ordinary one."""

    def exec_module(self, module: ModuleType) -> None:
        """Let a module find its names where they are today."""
        today = importlib.import_module(MOVED[module.__name__])

        def find(name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
            return getattr(today, name)

        module.__dict__["__getattr__"] = find


def install() -> None:
    """Let former names be imported where no module has them; once, however often fastgmm is loaded."""
    kind = FormerModules.__module__, FormerModules.__qualname__
    sys.meta_path[:] = [each for each in sys.meta_path if (type(each).__module__, type(each).__qualname__) != kind]
    sys.meta_path.append(FormerModules())
