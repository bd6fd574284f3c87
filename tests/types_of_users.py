"""What type checkers know of the estimators: read by mypy, run by nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastgmm import BayesianGaussianMixture, GaussianMixture, SufficientStatistics

if TYPE_CHECKING:
    from typing_extensions import assert_type

    X = np.zeros((4, 2))

    class Own(GaussianMixture):
        pass

    assert_type(GaussianMixture(2), GaussianMixture)
    assert_type(GaussianMixture(2).fit(X), GaussianMixture)
    assert_type(GaussianMixture(2).partial_fit(X), GaussianMixture)
    assert_type(GaussianMixture(2).fit(X).statistics(X), SufficientStatistics)
    assert_type(BayesianGaussianMixture(2).update(GaussianMixture(2).statistics(X)), BayesianGaussianMixture)
    assert_type(GaussianMixture(2).set_params(n_components=3), GaussianMixture)
    assert_type(GaussianMixture(2).set_fit_request(sample_weight=True), GaussianMixture)
    assert_type(GaussianMixture.from_parameters([1.0], X[:1], X[:2]), GaussianMixture)
    assert_type(BayesianGaussianMixture(2).fit(X).prune(), BayesianGaussianMixture)
    assert_type(Own(2).fit(X), Own)
    assert_type(GaussianMixture(2).fit(X).score(X), float)
    GaussianMixture(2, covariance_type="diagonal")  # type: ignore[arg-type]
    GaussianMixture(2, init_params=np.zeros(4))
    BayesianGaussianMixture(2).predict(X, predictive="students-t")  # type: ignore[arg-type]
