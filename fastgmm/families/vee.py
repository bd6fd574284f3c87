"""The VEE family: matrices of one shape and one orientation, in volumes of their own."""

from __future__ import annotations

from fastgmm.families.full import Full
from fastgmm.kernels.updates import volumes


class EqualShapesAndAxes(Full):
    """Covariances (K, D, D) that are multiples of one matrix: mclust's VEE (Celeux and Govaert 1995)."""

    name = "VEE"
    aliases = ()
    constraint = volumes.equal_shapes_and_axes
    in_any_units = True

    def n_covariance_parameters(self, n_components: int, n_features: int) -> int:
        """Return K - 1 + D (D + 1) / 2."""
        return n_components - 1 + n_features * (n_features + 1) // 2

    def fewest_rows(self, n_features: int) -> int:
        """Return 2: of those a component has a volume, and the others give it a shape."""
        return 2
