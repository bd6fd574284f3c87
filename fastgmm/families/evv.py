"""The EVV family: matrices of one volume."""

from __future__ import annotations

from fastgmm.families.full import Full
from fastgmm.kernels.updates import volumes


class EqualVolumesOfMatrices(Full):
    """Covariances (K, D, D) of one determinant: mclust's EVV (Celeux and Govaert 1995)."""

    name = "EVV"
    aliases = ()
    constraint = volumes.equal_volumes_of_matrices
    in_any_units = True

    def n_covariance_parameters(self, n_components: int, n_features: int) -> int:
        """Return 1 - K + K D (D + 1) / 2."""
        return 1 - n_components + super().n_covariance_parameters(n_components, n_features)
