"""Covariance families: mclust's fourteen models.

Full, tied, diag, spherical, tied-diag and tied-spherical, and those that have mclust's names alone.
"""

from fastgmm.families.base import Family, Maximum
from fastgmm.families.diag import Diag
from fastgmm.families.full import Full
from fastgmm.families.registry import FAMILIES, NAMED, STRUCTURES, names_of_all, structure_of
from fastgmm.families.spherical import Spherical
from fastgmm.families.structures import MatrixFamily, OneForAll, VarianceFamily, regression, reordered_factors
from fastgmm.families.tied import Tied
from fastgmm.families.tied_diag import TiedDiag
from fastgmm.families.tied_spherical import TiedSpherical

__all__ = [
    "FAMILIES",
    "NAMED",
    "STRUCTURES",
    "Diag",
    "Family",
    "Full",
    "MatrixFamily",
    "Maximum",
    "OneForAll",
    "Spherical",
    "Tied",
    "TiedDiag",
    "TiedSpherical",
    "VarianceFamily",
    "names_of_all",
    "regression",
    "reordered_factors",
    "structure_of",
]
