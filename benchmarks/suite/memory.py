"""The memory of a fit with D=16 and K=16, two iterations from a given start, family by family."""

from common import Workload, fit, fit_memory

from fastgmm.families import STRUCTURES


class Peak:
    """The whole process, with half a million rows: interpreter, libraries and X (64 MB) included."""

    params = tuple(STRUCTURES)
    param_names = ("family",)
    timeout = 300

    def setup(self, family):
        self.problem = Workload(family, 500_000, 16, 16).build()

    def peakmem_fit(self, family):
        fit("fastgmm", self.problem, 2)


class BytesPerRow:
    """What each further row takes during a fit, beyond the row itself: by fits of two sizes in fresh processes."""

    params = tuple(STRUCTURES)
    param_names = ("family",)
    timeout = 300

    def track_bytes_per_row(self, family):
        few, many = 50_000, 250_000
        extra = [fit_memory("fastgmm", Workload(family, n, 16, 16).build())["extra"] for n in (few, many)]
        return 1e6 * (extra[1] - extra[0]) / (many - few)

    track_bytes_per_row.unit = "B"
