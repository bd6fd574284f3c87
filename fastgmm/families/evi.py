"""The EVI family: variances of one volume, in shapes of their own."""

from __future__ import annotations

from fastgmm.families.diag import Diag
from fastgmm.kernels.updates import volumes


class EqualVolumes(Diag):
    """Covariances (K, D) of one determinant: mclust's EVI (Celeux and Govaert 1995)."""

    name = "EVI"
    aliases = ()
    constraint = volumes.equal_volumes
    in_any_units = True

    def n_covariance_parameters(self, n_components: int, n_features: int) -> int:
        """Return 1 + K (D - 1)."""
        return 1 + n_components * (n_features - 1)
