"""The EVE family: matrices of one volume and one orientation, in shapes of their own."""

from __future__ import annotations

from fastgmm.families.full import Full
from fastgmm.kernels.updates import orientations


class EqualAxesAndVolumes(Full):
    """Covariances (K, D, D) of the same eigenvectors and determinant: mclust's EVE (Browne and McNicholas 2014)."""

    name = "EVE"
    aliases = ()
    constraint = orientations.equal_axes_and_volumes

    def n_covariance_parameters(self, n_components: int, n_features: int) -> int:
        """Return 1 + K (D - 1) + D (D - 1) / 2."""
        return 1 + n_components * (n_features - 1) + n_features * (n_features - 1) // 2
