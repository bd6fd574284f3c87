"""The VEI family: variances of one shape, in volumes of their own."""

from __future__ import annotations

from fastgmm.families.diag import Diag
from fastgmm.kernels.updates import volumes


class EqualShapes(Diag):
    """Covariances (K, D) in the same ratios, multiples of one another: mclust's VEI (Celeux and Govaert 1995)."""

    name = "VEI"
    aliases = ()
    constraint = volumes.equal_shapes
    in_any_units = True

    def n_covariance_parameters(self, n_components: int, n_features: int) -> int:
        """Return K + D - 1."""
        return n_components + n_features - 1
