"""What users call: fit from a given start, predict, score_samples."""

from common import Workload, fit

from fastgmm.families import FAMILIES


class Estimator:
    """(100k, D=16, K=16); a fit is ten iterations, and so eleven passes."""

    params = tuple(FAMILIES)
    param_names = ("family",)
    timeout = 300

    def setup(self, family):
        self.problem = Workload(family, 100_000, 16, 16).build()
        self.model, _ = fit("fastgmm", self.problem, 1)
        self.model.predict(self.problem.X)
        fit("fastgmm", self.problem, 1, "vb")

    def time_fit(self, family):
        fit("fastgmm", self.problem, 10)

    def time_fit_variational(self, family):
        fit("fastgmm", self.problem, 10, "vb")

    def time_predict(self, family):
        self.model.predict(self.problem.X)

    def time_score_samples(self, family):
        self.model.score_samples(self.problem.X)


class SmallFit:
    """(200, D=2, K=3), 20 iterations, and prediction of one row: what calls cost beside their arithmetic."""

    params = tuple(FAMILIES)
    param_names = ("family",)
    timeout = 300

    def setup(self, family):
        self.problem = Workload(family, 200, 2, 3).build()
        self.model, _ = fit("fastgmm", self.problem, 20)
        self.row = self.problem.X[:1]
        self.model.predict(self.row)

    def time_fit(self, family):
        fit("fastgmm", self.problem, 20)

    def time_predict_one_row(self, family):
        self.model.predict(self.row)
