"""Standard errors beside published numbers, numerical derivatives, copies of rows and repeated samples."""

import numpy as np
import pytest
from conftest import read_columns

from fastgmm import BayesianGaussianMixture, GaussianMixture
from fastgmm.families import FAMILIES
from fastgmm.inference import likelihood_bootstrap, standard_errors
from fastgmm.sources import BatchRows

LINEAR = ("full", "tied", "diag", "spherical", "tied-diag", "tied-spherical")
# To the last digit: there derivatives are 0.
EXACT = {"tol": 1e-14, "max_iter": 20000, "reg_covar": 0, "random_state": 0}


@pytest.fixture(scope="module")
def faithful():
    return read_columns("faithful")


@pytest.mark.parametrize(
    ("kind", "weights", "means", "covariances"),
    [
        (
            "observed",
            0.02908911,
            [[0.02710835, 0.59187378], [0.03140311, 0.45618572]],
            [[0.01057496, 0.16600166, 4.85472221], [0.01887187, 0.21041777, 3.92514367]],
        ),
        (
            "empirical",
            0.02908346,
            [[0.03494576, 0.62846459], [0.03349493, 0.47131349]],
            [[0.01074097, 0.17983681, 5.77754458], [0.02112386, 0.18679106, 4.09089787]],
        ),
    ],
)
def test_published_errors_of_faithful(faithful, kind, weights, means, covariances):
    model = GaussianMixture(2, means_init=[[2, 54], [4.3, 80]], **EXACT).fit(faithful)
    errors = standard_errors(model, faithful, kind=kind)
    np.testing.assert_allclose(errors.weights, weights, rtol=1e-6)
    np.testing.assert_allclose(errors.means, means, rtol=1e-6)
    np.testing.assert_allclose(errors.covariances[:, [0, 1, 1], [0, 0, 1]], covariances, rtol=1e-6)
    np.testing.assert_array_equal(errors.covariances[:, 0, 1], errors.covariances[:, 1, 0])


def _free(model):
    """Free parameters in the order that the docstring gives, and the function that puts them back."""
    family, shape = model._family(), model.means_.shape
    covariances = np.array(model.covariances_, np.float64)
    if family.has_matrices:
        rows, columns = np.tril_indices(shape[1])
        entries = covariances[..., rows, columns].ravel()
    else:
        entries = covariances.ravel()
    theta = np.concatenate([model.weights_[:-1], model.means_.ravel(), entries])

    def mixture(theta):
        weights = theta[: shape[0] - 1]
        weights = np.append(weights, 1.0 - weights.sum())
        means = theta[shape[0] - 1 :][: model.means_.size].reshape(shape)
        rest = theta[shape[0] - 1 + model.means_.size :]
        if family.has_matrices:
            value = np.zeros_like(covariances)
            value[..., rows, columns] = rest.reshape(*covariances.shape[:-2], -1)
            value[..., columns, rows] = value[..., rows, columns]
        else:
            value = rest.reshape(covariances.shape)
        return GaussianMixture.from_parameters(weights, means, value, family.name)

    return theta, mixture


def _jacobian(function, theta, scale):
    steps = 1e-4 * scale
    columns = []
    for j, step in enumerate(steps):
        moved = [theta.copy() for _ in range(4)]
        for each, times in zip(moved, (-2, -1, 1, 2), strict=True):
            each[j] += times * step
        a, b, c, d = map(function, moved)
        columns.append((a - 8 * b + 8 * c - d) / (12 * step))
    return np.stack(columns, axis=-1)


@pytest.mark.parametrize("name", LINEAR)
def test_information_is_that_of_numerical_derivatives(name):
    rng = np.random.default_rng(3)
    X = np.concatenate([rng.normal(size=(70, 2)) @ [[1, 0.5], [0, 1]], rng.normal(size=(50, 2)) * 0.6 + [3, 1]])
    weight = rng.integers(1, 4, len(X)).astype(float)
    model = GaussianMixture(2, covariance_type=name, **EXACT).fit(X, sample_weight=weight)
    theta, mixture = _free(model)
    scale = np.maximum(np.abs(theta), 0.1)
    scores = _jacobian(lambda at: mixture(at).score_samples(X), theta, scale)
    empirical = (weight[:, None] * scores).T @ scores
    found = standard_errors(model, X, sample_weight=weight, kind="empirical").parameters
    np.testing.assert_allclose(np.linalg.inv(found), empirical, rtol=1e-6, atol=1e-6 * np.abs(empirical).max())
    assert np.abs(weight @ scores).max() < 1e-4 * np.sqrt(np.diagonal(empirical)).max()

    def gradient(at):
        return weight @ _jacobian(lambda near: mixture(near).score_samples(X), at, scale)

    observed = -_jacobian(gradient, theta, scale)
    errors = standard_errors(model, X, sample_weight=weight)
    np.testing.assert_allclose(
        np.linalg.inv(errors.parameters), observed, rtol=2e-4, atol=2e-5 * np.abs(observed).max()
    )
    sandwich = np.linalg.inv(observed) @ empirical @ np.linalg.inv(observed)
    both = standard_errors(model, X, sample_weight=weight, kind="sandwich").parameters
    np.testing.assert_allclose(np.sqrt(np.diagonal(both)), np.sqrt(np.diagonal(sandwich)), rtol=1e-3)
    assert errors.covariances.shape == model.covariances_.shape
    of_all = np.sqrt(np.diagonal(errors.parameters))
    np.testing.assert_allclose(errors.weights, [of_all[0], of_all[0]], rtol=1e-12)
    np.testing.assert_allclose(errors.means.ravel(), of_all[1:5], rtol=1e-12)


def test_the_last_weight_has_the_error_of_the_sum_of_the_others():
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=(100, 1)), rng.normal(size=(200, 1)) + 20, rng.normal(size=(300, 1)) + 40])
    model = GaussianMixture(3, **EXACT).fit(X)
    # Apart, a weight is a share: its error is that of a binomial.
    expected = np.sqrt(model.weights_ * (1 - model.weights_) / len(X))
    np.testing.assert_allclose(standard_errors(model, X).weights, expected, rtol=1e-6)


def test_weights_are_copies_and_batches_are_rows(faithful):
    weight = np.random.default_rng(0).integers(1, 4, len(faithful))
    model = GaussianMixture(2, **EXACT).fit(faithful, sample_weight=weight)
    of_weights = standard_errors(model, faithful, sample_weight=weight)
    of_copies = standard_errors(model, np.repeat(faithful, weight, axis=0))
    np.testing.assert_allclose(of_weights.parameters, of_copies.parameters, rtol=1e-8)
    copies = np.repeat(faithful, weight, axis=0)
    batches = BatchRows(lambda: iter([copies[:100], copies[100:]]))
    np.testing.assert_allclose(standard_errors(model, batches).parameters, of_copies.parameters, rtol=1e-8)


def test_errors_are_how_fits_to_other_samples_differ():
    """The spread of estimates over 300 samples of a mixture whose components overlap."""
    truth = GaussianMixture.from_parameters([0.4, 0.6], [[0.0], [3.0]], [[1.0], [0.5]], "diag")
    options = {"covariance_type": "diag", "means_init": [[0.0], [3.0]], "tol": 1e-10, "max_iter": 5000}
    found = []
    for seed in range(300):
        X = truth.sample(800, random_state=seed)[0]
        model = GaussianMixture(2, **options).fit(X)
        found.append([model.weights_[0], *model.means_.ravel(), *model.covariances_.ravel()])
    many = truth.sample(80_000, random_state=0)[0]
    errors = standard_errors(GaussianMixture(2, **options).fit(many), many)
    expected = np.array([errors.weights[0], *errors.means.ravel(), *errors.covariances.ravel()]) * 10.0
    np.testing.assert_allclose(np.std(found, axis=0), expected, rtol=0.15)


@pytest.mark.parametrize("scale", [1e-60, 1e60])
def test_units_of_the_columns(faithful, scale):
    units = np.array([scale, 1 / scale])
    plain = GaussianMixture(2, **EXACT).fit(faithful)
    errors = standard_errors(plain, faithful)
    moved = GaussianMixture.from_parameters(
        plain.weights_, plain.means_ * units, plain.covariances_ * units[:, None] * units
    )
    far = standard_errors(moved, faithful * units)
    np.testing.assert_allclose(far.means, errors.means * units, rtol=1e-9)
    np.testing.assert_allclose(far.covariances, errors.covariances * units[:, None] * units, rtol=1e-9)


def test_refusals(faithful):
    model = GaussianMixture(2, random_state=0).fit(faithful)
    with pytest.raises(ValueError, match="kind must be one of 'observed', 'empirical', 'sandwich', got 'fisher'"):
        standard_errors(model, faithful, kind="fisher")
    with pytest.raises(TypeError, match="model must be a GaussianMixture, got BayesianGaussianMixture"):
        standard_errors(BayesianGaussianMixture(1).fit(faithful), faithful)
    # Far from a maximum.
    astray = GaussianMixture.from_parameters([0.5, 0.5], [[2, 54], [4.3, 80]], [np.eye(2) * 400] * 2)
    with pytest.raises(ValueError, match="the observed information is not positive definite"):
        standard_errors(astray, faithful)
    known = GaussianMixture(2, means_init=[[2, 54], [4.3, 80]], frozen={"means": [0]}, random_state=0).fit(faithful)
    with pytest.raises(ValueError, match="not for mixtures with frozen parts"):
        standard_errors(known, faithful)
    for name in set(FAMILIES) - set(LINEAR):
        other = GaussianMixture(2, covariance_type=name, random_state=0).fit(faithful)
        with pytest.raises(ValueError, match=f"standard_errors is not for covariance_type '{name}'"):
            standard_errors(other, faithful)


def test_a_matrix_without_full_rank_is_refused():
    """More parameters than rows: rounding leaves some positive definite."""
    for seed in range(40):
        rng = np.random.default_rng(seed)
        X = np.r_[rng.normal(size=(5, 2)), rng.normal(size=(5, 2)) + 8]
        model = GaussianMixture(2, tol=1e-12, reg_covar=0, max_iter=500, random_state=0).fit(X)
        with pytest.raises(ValueError, match="the empirical information is not positive definite"):
            standard_errors(model, X, kind="empirical")


# -- the weighted likelihood bootstrap ---------------------------------------------------------------------------------


def test_the_bootstrap_spreads_as_the_information_says(faithful):
    """Of two groups that are apart, and well described: the errors of both ways agree, as they do for many rows."""
    X, _ = GaussianMixture(2, **EXACT).fit(faithful).sample(4000, random_state=1)
    model = GaussianMixture(2, **EXACT).fit(X)
    known = standard_errors(model, X)
    found = likelihood_bootstrap(model, X, n_samples=600, random_state=0)
    assert found.means.shape == (600, 2, 2)
    errors = found.standard_errors()
    for name in ("weights", "means", "covariances"):
        # Of 600 samples a standard deviation is known to 3 %.
        np.testing.assert_allclose(errors[name], getattr(known, name), rtol=0.15)
    low, high = found.intervals(0.95)["means"]
    np.testing.assert_allclose((high - low) / (2 * 1.96), known.means, rtol=0.2)
    assert np.all((low < model.means_) & (model.means_ < high))


@pytest.mark.parametrize("family", ["full", "tied", "VEV"])
def test_a_weighting_is_fitted_as_alone(faithful, family):
    model = GaussianMixture(3, covariance_type=family, random_state=0, tol=1e-6, max_iter=2000).fit(faithful)
    counts = np.random.default_rng(0).integers(1, 3, len(faithful)).astype(float)
    found = likelihood_bootstrap(model, faithful, counts, n_samples=2, random_state=5)
    generator = np.random.default_rng(int(np.random.RandomState(5).uniform() * 2**53))
    weight = generator.standard_gamma(counts, size=(2, len(counts)))
    for b, own in enumerate(weight / weight.sum(axis=1, keepdims=True) * counts.sum()):
        start = GaussianMixture(
            3,
            covariance_type=family,
            weights_init=model.weights_,
            means_init=model.means_,
            precisions_init=model.precisions_,
            tol=1e-6,
            max_iter=2000,
        )
        alone = start.fit(faithful, sample_weight=own)
        np.testing.assert_allclose(found.weights[b], alone.weights_, rtol=1e-6)
        np.testing.assert_allclose(found.means[b], alone.means_, rtol=1e-6)
        np.testing.assert_allclose(found.covariances[b], alone.covariances_, rtol=1e-5)


def test_the_bootstrap_refuses_by_name(faithful):
    model = GaussianMixture(2, random_state=0).fit(faithful)
    with pytest.raises(ValueError, match="n_samples must be"):
        likelihood_bootstrap(model, faithful, n_samples=1)
    with pytest.raises(TypeError, match="model must be a GaussianMixture"):
        likelihood_bootstrap(BayesianGaussianMixture(2, random_state=0).fit(faithful), faithful)
    frozen = GaussianMixture(2, means_init=[[2.0, 54.0], [4.3, 80.0]], frozen={"means": [0]}, random_state=0).fit(
        faithful
    )
    with pytest.raises(ValueError, match="frozen"):
        likelihood_bootstrap(frozen, faithful)
    before = model.means_.copy()
    likelihood_bootstrap(model, faithful, n_samples=2)
    np.testing.assert_array_equal(model.means_, before)


@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_errors_of_tiny_and_huge_numbers(faithful, scale):
    model = GaussianMixture(2, random_state=0, reg_covar=0.0).fit(faithful)
    plain = likelihood_bootstrap(model, faithful, n_samples=20, random_state=0).standard_errors()
    scaled = GaussianMixture(2, random_state=0, reg_covar=0.0).fit(scale * faithful)
    found = likelihood_bootstrap(scaled, scale * faithful, n_samples=20, random_state=0).standard_errors()
    np.testing.assert_allclose(found["covariances"] / scale / scale, plain["covariances"], rtol=1e-3)
    with pytest.raises(ValueError, match="not for mixtures with equal_weights, got equal_weights=True"):
        likelihood_bootstrap(GaussianMixture(2, equal_weights=True, random_state=0).fit(faithful), faithful)
