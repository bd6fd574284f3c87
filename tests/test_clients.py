"""Packages that call the estimators: their call, and what they rely on afterwards.

rdt's ClusterBasedNormalizer turns a column into a component and a number within it, and back again.
"""

import importlib

import numpy as np
import pytest

from fastgmm import BayesianGaussianMixture, GaussianMixture

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


def test_a_class_that_holds_some_means_is_refused_rather_than_fitted_without():
    """As pertpy's mixture of perturbed and other cells derives: the M-step puts fixed means back."""

    def make():
        class FixedMeans(GaussianMixture):
            def __init__(self, n_components, fixed_means=None, **kwargs):
                super().__init__(n_components=n_components, **kwargs)
                self.fixed_means = fixed_means

            def _m_step(self, X, log_resp):
                super()._m_step(X, log_resp)
                self.means_[0] = self.fixed_means[0]

        return FixedMeans(2, [0.0, None])

    with pytest.raises(TypeError, match="FixedMeans overrides _m_step"):
        make()


def test_a_class_that_weighs_cells_is_refused_rather_than_fitted_without():
    """As simpeg's mixture of physical properties derives: volumes of cells come in by way of every step."""
    with pytest.raises(TypeError, match=r"overrides _(e_step|m_step|check_parameters|initialize_parameters)"):
        type(
            "Weighted",
            (GaussianMixture,),
            {
                name: lambda self, *arguments, **kwargs: None
                for name in ("_check_parameters", "_initialize_parameters", "_m_step", "_e_step", "score")
            },
        )


def test_a_model_that_is_loaded_to_be_plotted(rng):
    """A marginal mixture is assembled attribute by attribute, as simpeg plots: no fit, list of factors."""
    full = GaussianMixture(2, random_state=0).fit(rng.normal(size=(80, 3)))
    marginal = GaussianMixture(n_components=2)
    marginal.means_ = full.means_[:, [0, 2]]
    marginal.weights_ = full.weights_
    marginal.covariances_ = full.covariances_[:, [0, 2]][:, :, [0, 2]]
    marginal.precisions_cholesky_ = [np.linalg.cholesky(np.linalg.inv(each)) for each in marginal.covariances_]
    x = rng.normal(size=(6, 2))
    expected = GaussianMixture.from_parameters(marginal.weights_, marginal.means_, marginal.covariances_)
    np.testing.assert_allclose(marginal.score_samples(x), expected.score_samples(x), rtol=1e-10)


def test_a_fisher_vector_is_made_of_it(rng):
    """As scikit-image does: an instance of scikit-learn's class, its attributes, and responsibilities."""
    theirs = pytest.importorskip("sklearn.mixture")
    gmm = GaussianMixture(2, covariance_type="diag", random_state=0).fit(rng.normal(size=(90, 3)))
    assert isinstance(gmm, theirs.GaussianMixture)
    x = rng.normal(size=(9, 3))
    share = gmm.predict_proba(x).mean(axis=0)
    assert np.hstack([share - gmm.weights_, (gmm.means_ / np.sqrt(gmm.covariances_)).ravel()]).shape == (8,)


@pytest.mark.parametrize("kind", [GaussianMixture, BayesianGaussianMixture])
def test_a_converter_that_asks_for_the_very_class_gets_it(kind, rng):
    """As skl2onnx does: ``type(model) in {...}``, then the attributes by name."""
    theirs = pytest.importorskip("sklearn.mixture")
    x = rng.normal(size=(90, 3))
    model = kind(2, random_state=0).fit(x)
    converted = model.to_sklearn()
    assert type(converted) in {theirs.GaussianMixture, theirs.BayesianGaussianMixture}
    np.testing.assert_allclose(converted.predict_proba(x), model.predict_proba(x), atol=1e-12)
