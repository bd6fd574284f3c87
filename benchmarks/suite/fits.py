"""What users call: fit from a given start, predict, predict_proba, score_samples, and prediction of a single row."""

from common import Workload, fit

from fastgmm.families import STRUCTURES


class Fit:
    """(100k, D=16, K=16), ten iterations, and so eleven passes."""

    params = (tuple(STRUCTURES), ["em", "vb"])
    param_names = ("family", "method")
    timeout = 300

    def setup(self, family, method):
        self.problem = Workload(family, 100_000, 16, 16).build()
        fit("fastgmm", self.problem, 1, method)

    def time_fit(self, family, method):
        fit("fastgmm", self.problem, 10, method)


class SmallFit:
    """(200, D=2, K=3), 20 iterations: what a fit costs beside its arithmetic."""

    params = tuple(STRUCTURES)
    param_names = ("family",)
    timeout = 300

    def setup(self, family):
        self.problem = Workload(family, 200, 2, 3).build()
        fit("fastgmm", self.problem, 20)

    def time_fit(self, family):
        fit("fastgmm", self.problem, 20)


class Predict:
    """(100k, D=16, K=16), and one row of it, as a service asks for."""

    params = tuple(STRUCTURES)
    param_names = ("family",)
    timeout = 300

    def setup(self, family):
        self.X = Workload(family, 100_000, 16, 16).build().X
        self.row = self.X[:1].copy()
        self.model, _ = fit("fastgmm", Workload(family, 2000, 16, 16).build(), 1)
        for X in (self.X, self.row):
            self.model.predict(X)

    def time_predict(self, family):
        self.model.predict(self.X)

    def time_predict_proba(self, family):
        self.model.predict_proba(self.X)

    def time_score_samples(self, family):
        self.model.score_samples(self.X)

    def time_predict_one_row(self, family):
        self.model.predict(self.row)
