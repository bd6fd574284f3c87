"""Fits of many problems in one call: :func:`fit_many`.

A mixture for each customer, voxel or well is thousands to millions of fits of some hundred rows, which from Python is
mostly calls. Here the whole of each fit is compiled (:mod:`fastgmm.kernels.many`), and threads share out the problems.
One bad problem is a number in ``status``, not the end of the others.
"""

from fastgmm.many.fitting import fit_many
from fastgmm.many.result import FittedMany
from fastgmm.many.rules import ManyLikelihoods as _Likelihood  # noqa: F401
from fastgmm.many.rules import ManyPosteriors as _Variational  # noqa: F401
from fastgmm.many.status import Status

# The names with underscores are those that older pickles have.

__all__ = ["FittedMany", "Status", "fit_many"]
