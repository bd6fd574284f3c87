"""Covariance families: full, tied, diag, spherical."""

from fastgmm.families.base import Family, Maximum
from fastgmm.families.diag import Diag
from fastgmm.families.full import Full
from fastgmm.families.registry import FAMILIES
from fastgmm.families.spherical import Spherical
from fastgmm.families.tied import Tied

__all__ = ["FAMILIES", "Diag", "Family", "Full", "Maximum", "Spherical", "Tied"]
