"""Packages that call the estimators: their call, and what they rely on afterwards.

rdt's ClusterBasedNormalizer turns a column into a component and a number within it, and back again.
"""

import importlib

import numpy as np
import pytest

from fastgmm import BayesianGaussianMixture

# Mean, deviation and number of rows of each mode, and the number of components found: modes narrower than what the
# default prior, which has the variance of the whole column, leaves of them are one component.
COLUMNS = {
    "two modes": ([(5, 1, 100), (-5, 1, 100)], 2),
    "unequal modes": ([(5, 1, 100), (100, 1, 500)], 2),
    "modes of all widths": ([(5, 0.02, 300), (-4, 0.1, 1000), (-180, 3, 1500), (100, 10, 500)], 3),
}


@pytest.fixture(params=COLUMNS.values(), ids=COLUMNS)
def column(request, rng):
    modes, n_components = request.param
    values = np.concatenate([rng.normal(mean, deviation, size) for mean, deviation, size in modes])
    return rng.permutation(values), n_components


@pytest.mark.filterwarnings("ignore:Best performing initialization did not converge")
def test_a_column_goes_to_components_and_back(column, rng):
    """The steps of that transformer, without it."""
    values, n_components = column
    model = BayesianGaussianMixture(
        n_components=10,
        weight_concentration_prior_type="dirichlet_process",
        weight_concentration_prior=0.001,
        n_init=1,
        random_state=0,
    ).fit(values.reshape(-1, 1))
    valid = model.weights_ > 0.005
    assert valid.sum() == n_components
    means = model.means_.reshape(1, 10)[:, valid]
    deviations = np.sqrt(model.covariances_).reshape(1, 10)[:, valid]
    normalized = (values[:, None] - means) / (4 * deviations)
    probabilities = model.predict_proba(values.reshape(-1, 1))[:, valid] + 1e-6
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    component = (probabilities.cumsum(axis=1) < rng.uniform(size=(len(values), 1))).sum(axis=1)
    chosen = np.clip(normalized[np.arange(len(values)), component], -0.99, 0.99)
    back = chosen * 4 * deviations[0, component] + means[0, component]
    # A row may land in a component too far away to describe it, with probability 1e-6.
    assert np.mean(np.abs(back - values) < 0.1) > 0.999


def test_rdt_itself(column, monkeypatch):
    pytest.importorskip("rdt")
    import pandas
    import sklearn.mixture

    monkeypatch.setattr(sklearn.mixture, "BayesianGaussianMixture", BayesianGaussianMixture)
    normalizer = importlib.import_module("rdt.transformers.numerical").ClusterBasedNormalizer()
    data = pandas.DataFrame({"column": column[0]})
    normalizer.fit(data, "column")
    assert isinstance(normalizer._bgm_transformer, BayesianGaussianMixture)
    transformed = normalizer.transform(data)
    assert list(transformed) == ["column.normalized", "column.component"]
    np.testing.assert_array_almost_equal(normalizer.reverse_transform(transformed), data, decimal=1)
