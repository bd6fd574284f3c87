"""The one list of covariance families: validation, contract tests, benchmarks and the docs table read it."""

from __future__ import annotations

from fastgmm.families.base import Family
from fastgmm.families.diag import Diag
from fastgmm.families.full import Full
from fastgmm.families.spherical import Spherical
from fastgmm.families.tied import Tied

FAMILIES: dict[str, Family] = {family.name: family for family in (Full(), Tied(), Diag(), Spherical())}
