"""The one list of covariance families: validation, contract tests, benchmarks and the docs table read it."""

from __future__ import annotations

from fastgmm.families.base import Family
from fastgmm.families.diag import Diag
from fastgmm.families.eev import EqualSpectra
from fastgmm.families.eve import EqualAxesAndVolumes
from fastgmm.families.evi import EqualVolumes
from fastgmm.families.evv import EqualVolumesOfMatrices
from fastgmm.families.full import Full
from fastgmm.families.spherical import Spherical
from fastgmm.families.tied import Tied
from fastgmm.families.tied_diag import TiedDiag
from fastgmm.families.tied_spherical import TiedSpherical
from fastgmm.families.vee import EqualShapesAndAxes
from fastgmm.families.vei import EqualShapes
from fastgmm.families.vev import EqualShapesOfMatrices
from fastgmm.families.vve import EqualAxes

#: The families without a constraint: one for each structure.
STRUCTURES: dict[str, Family] = {family.name: family for family in (Full(), Tied(), Diag(), Spherical())}
_CONSTRAINED: tuple[Family, ...] = (
    TiedDiag(),
    TiedSpherical(),
    EqualShapes(),
    EqualVolumes(),
    EqualShapesAndAxes(),
    EqualAxesAndVolumes(),
    EqualAxes(),
    EqualSpectra(),
    EqualShapesOfMatrices(),
    EqualVolumesOfMatrices(),
)
#: All of them.
FAMILIES: dict[str, Family] = STRUCTURES | {family.name: family for family in _CONSTRAINED}
#: The families by all their names.
NAMED: dict[str, Family] = FAMILIES | {
    alias: family for family in FAMILIES.values() for alias in vars(type(family)).get("aliases", ())
}


def names_of_all(has_prior: bool) -> list[str]:
    """Return the names of all families that are fitted by maximum likelihood, or with a conjugate prior."""
    return [name for name, family in FAMILIES.items() if family.is_conjugate or not has_prior]


def structure_of(family: Family) -> Family | None:
    """Return the family without a constraint of the same structure; None where that is not one of the package's."""
    return next((each for each in STRUCTURES.values() if each.density_type is family.density_type), None)
