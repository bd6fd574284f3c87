"""Former places of modules: pickles that older versions wrote name them."""

from __future__ import annotations

import functools
import importlib
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

#: Where what pickles hold has moved to.
MOVED = {
    "fastgmm.checkpoint": "fastgmm.fitting.checkpoint",
    "fastgmm.interface": "fastgmm.estimators.interface",
    "fastgmm.kernels.conjugate": "fastgmm.kernels.updates.variational",
    "fastgmm.kernels.densities": "fastgmm.kernels.structures.densities",
    "fastgmm.online": "fastgmm.fitting.online",
    "fastgmm.restarts": "fastgmm.fitting.restarts",
}


class _Finder(MetaPathFinder, Loader):
    """Makes a module with a former name: one that asks the module of today for all of its names."""

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name in MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        today = importlib.import_module(MOVED[module.__name__])
        module.__dict__["__getattr__"] = functools.partial(getattr, today)


def install() -> None:
    """Let former names be imported where no module has them."""
    sys.meta_path.append(_Finder())
