"""Optional packages, imported when they are needed."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["MissingExtraError", "require"]


class MissingExtraError(ImportError):
    """An optional package is not installed."""


def require(extra: str, purpose: str, *modules: str) -> Any:
    """Import `modules` and return the package they are in; MissingExtraError says how to install it for `purpose`."""
    package = modules[0].partition(".")[0]
    try:
        for module in modules:
            importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(f'{purpose} {package}: pip install "fastgmm[{extra}]"') from error
    return importlib.import_module(package)
