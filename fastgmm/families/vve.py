"""The VVE family: matrices of one orientation, in volumes and shapes of their own."""

from __future__ import annotations

from fastgmm.families.full import Full
from fastgmm.kernels.updates import orientations


class EqualAxes(Full):
    """Covariances (K, D, D) of the same eigenvectors: mclust's VVE (Browne and McNicholas 2014)."""

    name = "VVE"
    aliases = ()
    constraint = orientations.equal_axes

    def n_covariance_parameters(self, n_components: int, n_features: int) -> int:
        """Return K D + D (D - 1) / 2."""
        return n_components * n_features + n_features * (n_features - 1) // 2
