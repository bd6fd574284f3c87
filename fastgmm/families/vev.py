"""The VEV family: matrices of one shape, in volumes and orientations of their own."""

from __future__ import annotations

from fastgmm.families.full import Full
from fastgmm.kernels.updates import orientations


class EqualShapesOfMatrices(Full):
    """Covariances (K, D, D) of eigenvalues in the same ratios: mclust's VEV (Celeux and Govaert 1995)."""

    name = "VEV"
    aliases = ()
    constraint = orientations.equal_shapes_of_matrices

    def n_covariance_parameters(self, n_components: int, n_features: int) -> int:
        """Return K + D - 1 + K D (D - 1) / 2."""
        return n_components + n_features - 1 + n_components * (n_features * (n_features - 1) // 2)

    def fewest_rows(self, n_features: int) -> int:
        """Return 2: of those a component has a volume, and the others give it a shape."""
        return 2
