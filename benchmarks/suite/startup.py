"""What a fresh process waits for: imports, and a first small fit with the machine code on disk or not."""

import statistics
import tempfile

from common import cold_start


class ColdStart:
    """One process that compiles everything into an empty cache, then the median of five that load from it."""

    timeout = 600

    def setup_cache(self):
        with tempfile.TemporaryDirectory() as cache:
            cold = cold_start("fastgmm", cache)
            return cold, [cold_start("fastgmm", cache) for _ in range(5)]

    setup_cache.timeout = 600

    def track_import(self, runs):
        return statistics.median(seconds["package"] for seconds in runs[1])

    track_import.unit = "s"

    def track_import_and_fit(self, runs):
        return statistics.median(seconds["fit"] for seconds in runs[1])

    track_import_and_fit.unit = "s"

    def track_import_and_fit_without_cache(self, runs):
        return runs[0]["fit"]

    track_import_and_fit_without_cache.unit = "s"
