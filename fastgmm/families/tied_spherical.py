"""The tied-spherical family: all components share one variance."""

from __future__ import annotations

from fastgmm.families.spherical import Spherical
from fastgmm.families.structures import OneForAll


class TiedSpherical(OneForAll, Spherical):
    """Covariance (1,): mclust's EII (Celeux and Govaert 1995)."""

    name = "tied-spherical"
    aliases = ("EII",)

    def n_covariance_parameters(self, n_components: int, n_features: int) -> int:
        """Return 1."""
        return 1
