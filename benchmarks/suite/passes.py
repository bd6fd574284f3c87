"""One fused E-step and accumulation over all rows, the inner part of an iteration, family by family."""

from common import N_THREADS, Workload

from fastgmm.expectation import Expectation
from fastgmm.families import FAMILIES


class Pass:
    """Shapes are (N, D, K). The density is a fit's start; the call in ``setup`` compiles, and sums what lasts a fit."""

    params = (tuple(FAMILIES), [(200_000, 16, 16), (50_000, 64, 32), (500_000, 4, 8)])
    param_names = ("family", "shape")
    dtype = "float64"
    timeout = 300

    def setup(self, family, shape):
        problem = Workload(family, *shape, self.dtype).build()
        family = FAMILIES[family]
        whitener = family.whitener_of_precisions(problem.precisions)
        self.density = family.density_of_whitener(problem.weights, problem.means, whitener)
        self.expectation = Expectation(family, problem.X, n_threads=N_THREADS)
        self.expectation(self.density)

    def time_pass(self, family, shape):
        self.expectation(self.density)


class PassFloat32(Pass):
    """The same over rows of float32."""

    params = (tuple(FAMILIES), [(200_000, 16, 16)])
    dtype = "float32"
