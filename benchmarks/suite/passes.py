"""One fused E-step and accumulation over all rows, the inner part of an iteration, family by family."""

import time

from common import N_THREADS, Workload, run_child
from limits import Rates

from fastgmm.families import STRUCTURES
from fastgmm.passes.expectation import Expectation
from fastgmm.rows import ArrayRows


class Pass:
    """Shapes are (N, D, K). The density is a fit's start; the call in ``setup`` compiles, and sums what lasts a fit."""

    params = (tuple(STRUCTURES), [(200_000, 16, 16), (50_000, 64, 32), (500_000, 4, 8)])
    param_names = ("family", "shape")
    dtype = "float64"
    timeout = 300

    def setup(self, family, shape):
        self.workload = Workload(family, *shape, self.dtype)
        problem = self.workload.build()
        family = STRUCTURES[family]
        whitener = family.whitener_of_precisions(problem.precisions)
        self.density = family.density_of_whitener(problem.weights, problem.means, whitener)
        self.expectation = Expectation(family, ArrayRows(problem.X), n_threads=N_THREADS)
        self.expectation(self.density)

    def time_pass(self, family, shape):
        self.expectation(self.density)


class PassFloat32(Pass):
    """The same over rows of float32."""

    params = (tuple(STRUCTURES), [(200_000, 16, 16)])
    dtype = "float32"


class Limit:
    """How much of a pass the machine's limits, measured in the same run, account for: the best of 20 passes."""

    params = (tuple(STRUCTURES), [(200_000, 16, 16)], ["float64", "float32"])
    param_names = ("family", "shape", "dtype")
    timeout = 300

    def setup_cache(self):
        return run_child("limits")["all"]

    setup_cache.timeout = 300

    def track_share_of_limit(self, limits, family, shape, dtype):
        one = Pass()
        one.dtype = dtype
        one.setup(family, shape)
        seconds = []
        for _ in range(20):
            begin = time.perf_counter()
            one.time_pass(family, shape)
            seconds.append(time.perf_counter() - begin)
        return 100.0 * Rates(**limits).least_seconds(one.workload.work) / min(seconds)

    track_share_of_limit.unit = "%"
