"""Published and independently computed numbers: R's mclust, two notebooks, a problem set, textbooks."""

import numpy as np
import pytest
from conftest import read_columns, read_json

from fastgmm import BayesianGaussianMixture, GaussianMixture

FITS = read_json("reference_fits.json")
ONE_DIMENSIONAL = read_json("one_dimensional.json")

# Total log-likelihood at the best optimum known and number of parameters; independent EM, checked with mclust 6.0.
# Three full components on faithful: one of them is narrow, of 35 rows; restarts of k-means end at -1119.213971.
OPTIMA = {
    (row["data"], row["n_components"], row["covariance_type"]): (row["log_likelihood"], row["n_parameters"])
    for row in read_json("optima.json")
}


def _converged(X, n_components, covariance_type, **params):
    params = {"n_init": 20, "random_state": 0} | params
    return GaussianMixture(
        n_components, covariance_type=covariance_type, reg_covar=0, tol=1e-12, max_iter=20000, **params
    ).fit(X)


@pytest.mark.filterwarnings("ignore:.*starts were left out")
@pytest.mark.parametrize(("data", "n_components", "covariance_type"), list(OPTIMA))
def test_optimum_is_reached_by_restarts(data, n_components, covariance_type):
    X = read_columns(data)
    log_likelihood, n_parameters = OPTIMA[data, n_components, covariance_type]
    model = _converged(X, n_components, covariance_type, n_init=10)
    assert model.lower_bound_ * len(X) == pytest.approx(log_likelihood, abs=1e-6 + 5e-7)  # six printed decimals
    assert model._n_parameters() == n_parameters


@pytest.mark.parametrize("name", list(FITS))
def test_reference_fits_are_fixed_points_with_the_same_criteria(name):
    data, n_components, covariance_type = name.split("|")
    expected = FITS[name]
    X = read_columns(data)
    if data == "galaxies":
        X = X / 1000
    start = GaussianMixture.from_parameters(
        expected["weights"],
        np.reshape(expected["means"], (int(n_components), X.shape[1])),
        _in_family_shape(expected["covariances"], covariance_type, int(n_components), X.shape[1]),
        covariance_type,
        reg_covar=0,
        tol=1e-12,
        max_iter=20000,
        warm_start=True,
    )
    assert start.score(X) * len(X) == pytest.approx(expected["loglik"], abs=1e-6)
    fitted = start.fit(X)
    assert fitted.lower_bound_ * len(X) == pytest.approx(expected["loglik"], abs=1e-6)
    np.testing.assert_allclose(fitted.weights_, expected["weights"], atol=2e-5)
    np.testing.assert_allclose(fitted.means_, np.reshape(expected["means"], fitted.means_.shape), rtol=1e-4)
    assert fitted.bic(X) == pytest.approx(expected["bic"], abs=1e-5)
    assert fitted.aic(X) == pytest.approx(expected["aic"], abs=1e-5)
    assert fitted._n_parameters() == expected["n_params"]


def _in_family_shape(covariances, covariance_type, n_components, n_features):
    covariances = np.array(covariances)
    dense = covariances.reshape(-1, n_features, n_features) if covariances.size % n_features**2 == 0 else None
    if covariance_type == "full":
        return dense.reshape(n_components, n_features, n_features)
    if covariance_type == "tied":
        return dense[0]
    if covariance_type == "diag":
        if covariances.size == n_components * n_features:
            return covariances.reshape(n_components, n_features)
        return np.diagonal(dense, axis1=1, axis2=2)
    return covariances.reshape(-1) if covariances.size == n_components else dense[:, 0, 0]


@pytest.mark.parametrize(
    ("data", "n_components", "covariance_type", "icl", "tolerance"),
    [
        ("faithful", 2, "full", -2322.704680, 2e-5),
        # mclust stops at a relative change of 1e-5, which on these slowly separating components shows in ICL.
        ("faithful", 3, "tied", -2358.388763, 2e-3),
        ("iris", 2, "full", -574.019099, 2e-5),
        ("iris", 3, "full", -584.045460, 2e-5),
    ],
)
def test_icl_is_mclusts_with_the_sign_of_bic(data, n_components, covariance_type, icl, tolerance):
    X = read_columns(data)
    model = _converged(X, n_components, covariance_type, n_init=10)
    assert model.icl(X) == pytest.approx(-icl, abs=tolerance)
    certainty = np.log(model.predict_proba(X).max(axis=1)).sum()
    assert model.icl(X) == pytest.approx(model.bic(X) - 2 * certainty, rel=1e-12)


def test_galaxies_parameters():
    X = read_columns("galaxies") / 1000
    model = GaussianMixture.from_parameters(
        [0.04, 0.08, 0.88],
        [[33.0], [9.7], [21.4]],
        [[[1.0]], [[0.2]], [[4.8]]],
        reg_covar=0,
        tol=1e-13,
        max_iter=5000,
        warm_start=True,
    ).fit(X)
    assert model.lower_bound_ * len(X) == pytest.approx(-203.179228, abs=1.5e-6)
    np.testing.assert_allclose(model.weights_, [0.036584, 0.085365, 0.878051], atol=1e-6)
    np.testing.assert_allclose(model.means_[:, 0], [33.044377, 9.710140, 21.400099], atol=1e-6)
    np.testing.assert_allclose(model.covariances_[:, 0, 0], [0.849562, 0.178514, 4.816031], atol=1e-6)


def test_weighted_fit_equals_the_repeated_rows():
    X = read_columns("faithful")
    sample_weight = np.resize([1.0, 2.0, 3.0], len(X))
    start = FITS["faithful|2|full"]
    params = {
        "covariance_type": "full",
        "reg_covar": 0,
        "tol": 1e-13,
        "max_iter": 20000,
        "weights_init": start["weights"],
        "means_init": start["means"],
        "precisions_init": np.linalg.inv(np.array(start["covariances"])),
    }
    weighted = GaussianMixture(2, **params).fit(X, sample_weight=sample_weight)
    repeated = GaussianMixture(2, **params).fit(np.repeat(X, sample_weight.astype(int), axis=0))
    assert weighted.score(X, sample_weight=sample_weight) * sample_weight.sum() == pytest.approx(-2253.35917, abs=1e-5)
    np.testing.assert_allclose(np.sort(weighted.weights_), [0.34880744, 0.65119256], atol=1e-7)
    for name in ("weights_", "means_", "covariances_", "precisions_", "lower_bound_"):
        np.testing.assert_allclose(getattr(weighted, name), getattr(repeated, name), rtol=1e-10)
    rows = np.repeat(X, sample_weight.astype(int), axis=0)
    for criterion in ("aic", "bic", "icl"):
        value = getattr(weighted, criterion)(X, sample_weight=sample_weight)
        assert value == pytest.approx(getattr(repeated, criterion)(rows), rel=1e-11)


@pytest.fixture(scope="module")
def notebook_rows():
    """Data of the notebooks at github.com/tsmatz/gmm: three overlapping components, drawn row by row."""
    state = np.random.RandomState(1000)
    choice = state.uniform(0, 1, 1000)
    means = [(-3, 2), (4, 2), (3, 1)]
    covariances = [[[1, 0.2], [0.2, 2]], [[0.8, -1], [-1, 1.3]], [[1.5, 1.4], [1.4, 1.5]]]
    rows = []
    with np.errstate(all="ignore"):
        for z in choice:
            k = 0 if z < 0.15 else 1 if z < 0.5 else 2
            rows.append(state.multivariate_normal(means[k], covariances[k], size=1)[0])
    X = np.array(rows)
    np.testing.assert_allclose(X[0], (2.966688599820401, 0.44579598363971384), rtol=1e-12)
    np.testing.assert_allclose(X.sum(axis=0), (2215.23008838, 1417.38785743), rtol=1e-10)
    return X


@pytest.mark.filterwarnings("ignore:Best performing initialization did not converge")
def test_em_notebook_every_printed_digit(notebook_rows):
    covariance = np.array([[1, 0.5], [0.5, 1]])
    start = GaussianMixture.from_parameters(
        [0.4, 0.3, 0.3], [[0, 0], [1, 1], [2, 2]], np.repeat(covariance[None], 3, axis=0)
    )
    assert start.score(notebook_rows) == pytest.approx(-7.998008331227546, abs=1e-13)
    model = GaussianMixture(
        3,
        reg_covar=0,
        tol=0,
        max_iter=50,
        weights_init=[0.4, 0.3, 0.3],
        means_init=[[0, 0], [1, 1], [2, 2]],
        precisions_init=np.repeat(np.linalg.inv(covariance)[None], 3, axis=0),
    ).fit(notebook_rows)
    assert model.n_iter_ == 50
    assert model.lower_bounds_[48] == pytest.approx(-3.0165176521438344, abs=1e-13)
    half = 0.5e-8 * 1.01
    np.testing.assert_allclose(model.weights_, [0.18002701, 0.48102331, 0.33894968], rtol=0, atol=half)
    np.testing.assert_allclose(
        model.means_,
        [[-3.09167579, 1.78903996], [2.90769994, 0.92164329], [4.05117296, 1.92353166]],
        rtol=0,
        atol=half,
    )
    np.testing.assert_allclose(
        model.covariances_,
        [
            [[1.15917738, 0.18889373], [0.18889373, 1.97087793]],
            [[1.56596377, 1.4659425], [1.4659425, 1.57831011]],
            [[0.81293522, -1.00445293], [-1.00445293, 1.29060795]],
        ],
        rtol=0,
        atol=half,
    )


@pytest.mark.filterwarnings("ignore:Best performing initialization did not converge")
def test_variational_notebook_every_printed_digit(notebook_rows):
    """All parts of the law start at the prior, except the means, which were drawn from their prior."""
    model = BayesianGaussianMixture(
        3,
        weight_concentration_prior_type="dirichlet_distribution",
        weight_concentration_prior=1.5,
        mean_precision_prior=1.5,
        degrees_of_freedom_prior=2,
        mean_prior=[1, 1],
        covariance_prior=np.eye(2),
        weight_concentration_init=1.5,
        mean_precision_init=1.5,
        degrees_of_freedom_init=2,
        covariances_init=np.repeat(np.eye(2)[None] / 2, 3, axis=0),
        means_init=[
            [1.4989150807377682, 2.35945889341661],
            [1.4123209777300891, 3.2438353816069414],
            [0.2137978488492734, 1.1075243615259018],
        ],
        reg_covar=0,
        tol=0,
        max_iter=50,
    ).fit(notebook_rows)
    assert model.n_iter_ == 50
    expected = [
        ([2.87714931, 0.89628928], [4.54908732, -4.22230989, 4.55028156], 0.46797179),
        ([4.03070604, 1.91857709], [8.82139854, 6.67928398, 5.85625664], 0.35129235),
        ([-3.05747205, 1.78215033], [0.78310269, -0.06362062, 0.51515316], 0.18073586),
    ]
    half = 0.5e-8 * 1.01
    for mean, precision, weight in expected:
        k = np.argmin(((model.means_ - mean) ** 2).sum(axis=1))
        np.testing.assert_allclose(model.means_[k], mean, rtol=0, atol=half)
        np.testing.assert_allclose(model.precisions_[k][[0, 0, 1], [0, 1, 1]], precision, rtol=0, atol=half)
        assert model.weights_[k] == pytest.approx(weight, abs=half)


@pytest.mark.filterwarnings("ignore::fastgmm.exceptions.SpuriousComponentWarning")
@pytest.mark.filterwarnings("ignore:Best performing initialization did not converge")
@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("name", list(ONE_DIMENSIONAL))
def test_one_dimensional_problems(name, covariance_type):
    case = ONE_DIMENSIONAL[name]
    X = np.array(case["data"])[:, None]
    start, expected = case["start"], case["result"]
    n_components = len(start["weights"])
    if covariance_type == "tied" and n_components > 1:
        pytest.skip("these problems have a variance for each component")
    floor = name == "collapsing_to_the_floor"
    variances = np.array(start["variances"])
    precisions = {"full": 1 / variances[:, None, None], "diag": 1 / variances[:, None], "spherical": 1 / variances}
    model = GaussianMixture(
        n_components,
        covariance_type=covariance_type,
        reg_covar=1e-6 if floor else 0,
        tol=case["tol"] / len(X),
        max_iter=case["max_iter"],
        weights_init=start["weights"],
        means_init=np.array(start["means"])[:, None],
        precisions_init=precisions[covariance_type],
    ).fit(X)
    tolerance = 1e-4 if floor else 1e-6
    np.testing.assert_allclose(model.weights_, expected["weights"], rtol=0, atol=tolerance)
    np.testing.assert_allclose(model.means_[:, 0], expected["means"], rtol=0, atol=tolerance)
    np.testing.assert_allclose(np.ravel(model.covariances_), expected["variances"], rtol=0, atol=tolerance)


def test_scikit_learns_doc_example():
    X = np.array([[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    model = GaussianMixture(2, random_state=0).fit(X)
    np.testing.assert_allclose(model.means_[np.argsort(model.means_[:, 0])], [[1, 2], [10, 2]], atol=1e-10)
    a, b = model.predict([[0, 0], [12, 3]])
    assert a != b
