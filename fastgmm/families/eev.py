"""The EEV family: matrices of one volume and one shape, in orientations of their own."""

from __future__ import annotations

from fastgmm.families.full import Full
from fastgmm.kernels.updates import orientations


class EqualSpectra(Full):
    """Covariances (K, D, D) of the same eigenvalues: mclust's EEV (Celeux and Govaert 1995)."""

    name = "EEV"
    aliases = ()
    constraint = orientations.equal_spectra

    def n_covariance_parameters(self, n_components: int, n_features: int) -> int:
        """Return D + K D (D - 1) / 2."""
        return n_features + n_components * (n_features * (n_features - 1) // 2)
