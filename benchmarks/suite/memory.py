"""The memory of a fit of (1M, D=16, K=16), full, two iterations from a given start."""

from common import MEMORY_WORKLOAD, fit, fit_memory


class Memory:
    timeout = 300

    def setup(self):
        self.problem = MEMORY_WORKLOAD.build()

    def peakmem_fit(self):
        """The whole process: interpreter, libraries and X (128 MB) included."""
        fit("fastgmm", self.problem, 2)

    def track_extra_memory(self):
        """What the fit adds to a process that holds X and warm code."""
        return fit_memory("fastgmm", self.problem)["extra"]

    track_extra_memory.unit = "MB"
