"""The tied-diag family: all components share one variance for each feature."""

from __future__ import annotations

from fastgmm.families.diag import Diag
from fastgmm.families.structures import OneForAll


class TiedDiag(OneForAll, Diag):
    """Covariance (D,): mclust's EEI (Celeux and Govaert 1995)."""

    name = "tied-diag"
    aliases = ("tied-diagonal", "EEI")
    in_any_units = True

    def n_covariance_parameters(self, n_components: int, n_features: int) -> int:
        """Return D."""
        return n_features
