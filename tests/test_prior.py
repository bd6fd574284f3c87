"""Priors of mixtures: mclust's numbers, SciPy's laws and minimiser, and every way of fitting at its maximum."""

import dataclasses
import pickle

import numpy as np
import pytest
from conftest import read_columns
from scipy.optimize import minimize
from scipy.stats import dirichlet, invgamma, invwishart, multivariate_normal

import fastgmm
from fastgmm import BayesianGaussianMixture, GaussianMixture, NormalInverseWishart, cli, fit_many
from fastgmm.datasets import load_iris
from fastgmm.estimators.units import bring_to
from fastgmm.families import FAMILIES
from fastgmm.inference import likelihood_bootstrap, standard_errors
from fastgmm.io import load_model, save_model
from fastgmm.rules import ParameterPrior

IRIS = read_columns("iris")
SPECIES = np.unique(load_iris().target, return_inverse=True)[1]
FAITHFUL = read_columns("faithful")
LONG = (FAITHFUL[:, 1] > 68).astype(int)
TIGHT = {"reg_covar": 0.0, "tol": 1e-13, "max_iter": 5000}
OWN = NormalInverseWishart(0.7, [0.3, -0.2], 5.0, None, 2.5)
MATRIX = np.array([[1.2, 0.4], [0.4, 0.8]])
SCALES = {"full": MATRIX, "tied": MATRIX, "spherical": 0.7, "tied-spherical": 0.7}


# -- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [("spherical", -384.47867622), ("diag", -312.90408707), ("tied", -257.73937661), ("full", -192.69528386)],
)
def test_iris_as_mclust_has_it(name, expected):
    model = GaussianMixture(3, covariance_type=name, prior="mclust", init_params=SPECIES, **TIGHT).fit(IRIS)
    # mclust stops where the likelihood, which has no maximum there, changes little.
    assert model.score(IRIS) * 150 == pytest.approx(expected, abs=5e-6)
    plain = GaussianMixture(3, covariance_type=name, init_params=SPECIES, **TIGHT).fit(IRIS)
    assert model.bic(IRIS) == pytest.approx(-2 * expected + plain._n_parameters() * np.log(150), abs=1e-5)
    if name == "full":
        assert model.covariances_[0, 0, 0] == pytest.approx(0.104695084, abs=1e-9)
        np.testing.assert_allclose(model.means_[0], [5.00616743, 3.42792588, 1.46245911, 0.24619063], atol=1e-8)


# me(faithful, ..., prior = priorControl()) of mclust 6.0.0, and with shrinkage = 5, mean = c(3, 60) and a scale. Its
# EII and EEI count the laws of the means once for all components, and priorControl's dof is not looked at.
@pytest.mark.parametrize(
    ("name", "default", "variance", "own_scale", "own", "own_variance"),
    [
        ("VII", -1709.580829607, 16.88374565, 2.0, -1718.480473755, 16.06625151),
        ("VVI", -1229.215689930, 0.5498982795, [2.0, 2.0], -1161.791820301, 0.1281831993),
        ("EEE", -1140.260935482, 0.130917054, [[0.5, 0.2], [0.2, 9]], -1147.979172837, 0.1756389616),
        ("VVV", -1130.509263671, 0.07066892108, [[0.5, 0.2], [0.2, 9]], -1140.656546972, 0.1116464659),
    ],
)
def test_faithful_as_mclust_has_it(name, default, variance, own_scale, own, own_variance):
    prior = NormalInverseWishart(mean_precision=5, mean=[3, 60], degrees_of_freedom=4, scale=own_scale)
    for given, score, first in (("mclust", default, variance), (prior, own, own_variance)):
        model = GaussianMixture(2, covariance_type=name, prior=given, init_params=LONG, **TIGHT).fit(FAITHFUL)
        assert model.score(FAITHFUL) * 272 == pytest.approx(score, abs=5e-6)
        assert np.ravel(model.covariances_)[0] == pytest.approx(first, rel=1e-6)


def laws_of(name, matrices):
    """Return the log density of the prior OWN of covariances (K, 2, 2), by SciPy."""
    total = 0.0
    for matrix in matrices[:1] if "tied" in name else matrices:
        if name in ("full", "tied"):
            total += invwishart(5, MATRIX).logpdf(matrix)
        elif "diag" in name:
            total += invgamma(2.5, scale=np.array([0.5, 1.3]) / 2).logpdf(np.diag(matrix)).sum()
        else:
            total += invgamma(2.5, scale=0.35).logpdf(matrix[0, 0])
    return total


def log_prior(name, weights, means, matrices):
    """Return the log density of the prior OWN, by SciPy."""
    of_means = (multivariate_normal([0.3, -0.2], S / 0.7).logpdf(m) for m, S in zip(means, matrices, strict=True))
    return laws_of(name, matrices) + sum(of_means) + dirichlet(np.full(len(weights), 2.5)).logpdf(weights)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["full", "tied", "diag", "spherical", "tied-diag", "tied-spherical"])
def test_an_update_ends_at_the_maximum_that_scipy_finds(name):
    family, rng = FAMILIES[name], np.random.default_rng(0)
    X = np.vstack([rng.normal(size=(15, 2)), [2, 1] + rng.normal(size=(15, 2))])
    shares = rng.dirichlet([1, 1], 30)
    sums = np.einsum("nk,ni,nj->kij", shares, X, X)
    scatter = {"full": sums, "tied": sums.sum(axis=0)}.get(name)
    if scatter is None:
        scatter = np.diagonal(sums, axis1=1, axis2=2).copy()
        scatter = scatter if "diag" in name else scatter.sum(axis=1)
    rows = {"mass": shares.sum(axis=0), "deviation": shares.T @ X, "scatter": scatter, "weight": 30.0}
    statistics = dataclasses.replace(family.zero(np.zeros((2, 2))), **rows)
    prior = ParameterPrior(dataclasses.replace(OWN, scale=SCALES.get(name, [0.5, 1.3])))
    found = prior.maximise(family, statistics, 0.0, True)
    matrices = family.matrices(found.covariances, 2, 2)

    def penalised(weights, means, matrices):
        gaps = X[None] - means[:, None]
        squares = np.einsum("kni,kij,knj->nk", gaps, np.linalg.inv(matrices), gaps)
        joint = np.log(weights) - 0.5 * (np.log(np.linalg.det(2 * np.pi * matrices)) + squares)
        return (shares * joint).sum() + log_prior(name, weights, means, matrices)

    def parameters(at):
        weights = np.exp([at[0], 0.0])
        rest = np.exp(at[5:9])
        L = np.array([[[rest[0], 0], [at[9], rest[1]]], [[rest[2], 0], [at[10], rest[3]]]])
        if name not in ("full", "tied"):
            L[:, 1, 0] = 0.0
        if "spherical" in name:
            L[:, 1, 1] = L[:, 0, 0]
        return weights / weights.sum(), at[1:5].reshape(2, 2), (L if "tied" not in name else L[[0, 0]])

    def loss(at):
        weights, means, L = parameters(at)
        return -penalised(weights, means, L @ L.transpose(0, 2, 1))

    best = minimize(loss, np.r_[0, 0, 0, 1, 1, np.zeros(6)], method="BFGS", options={"gtol": 1e-7})
    weights, means, L = parameters(best.x)
    np.testing.assert_allclose(found.weights, weights, atol=2e-6)
    np.testing.assert_allclose(found.density.mean, means, atol=2e-6)
    np.testing.assert_allclose(matrices, L @ L.transpose(0, 2, 1), atol=2e-6)
    # Densities differ by a constant from SciPy's, which are 0 where the law of this prior alone is highest.
    empty = prior.maximise(family, family.zero(np.zeros((2, 2))), 0.0, True)
    assert prior.log_density(family, empty.weights, empty.density) == pytest.approx(0.0, abs=1e-14)
    highest = log_prior(name, empty.weights, empty.density.mean, family.matrices(empty.covariances, 2, 2))
    expected = log_prior(name, found.weights, found.density.mean, matrices) - highest
    assert prior.log_density(family, found.weights, found.density) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("name", ["VEI", "EVV"])
def test_a_constraint_ends_at_the_maximum_within_it(name):
    """Each component's covariance has the law of one without a constraint, among those that the family has."""
    family, rng = FAMILIES[name], np.random.default_rng(1)
    X = np.vstack([rng.normal(size=(20, 2)), [3, 1] + 2 * rng.normal(size=(30, 2))])
    model = GaussianMixture(2, covariance_type=name, prior=NormalInverseWishart(0.0), random_state=0, **TIGHT).fit(X)
    shares, prior = model.predict_proba(X), model.prior_
    matrices = family.matrices(family.of_attribute(model.covariances_, 2), 2, 2)
    gaps = X[None] - model.means_[:, None]
    counts = shares.sum(axis=0) + prior.degrees_of_freedom + (3 if name == "EVV" else 2)
    scale = prior.scale if name == "EVV" else np.diag(prior.scale)
    scatter = np.einsum("nk,kni,knj->kij", shares, gaps, gaps) + scale

    def loss(at):
        volume, shape = np.exp(at[:2]), np.exp(at[2:4])
        if name == "VEI":
            S = volume[:, None, None] * np.diag([shape[0], 1 / shape[0]])
        else:
            L = np.array([[[a, 0], [b, 1 / a]] for a, b in zip(shape, at[4:], strict=True)])
            S = volume[0] * L @ L.transpose(0, 2, 1)
        inner = np.einsum("kij,kji->k", np.linalg.inv(S), scatter)
        return 0.5 * (counts @ np.log(np.linalg.det(S)) + inner.sum())

    best = minimize(loss, np.zeros(6), method="BFGS", options={"gtol": 1e-8})
    reached = counts @ np.log(np.linalg.det(matrices)) + np.einsum("kij,kji->", np.linalg.inv(matrices), scatter)
    assert 0.5 * reached == pytest.approx(best.fun, abs=1e-6)


# -- every way of fitting ends at a maximum ---------------------------------------------------------------------------


def penalised(model, X, weight, labels=None):
    """Return the penalised log-likelihood of a full or diag mixture over the weight of all rows, written down."""
    prior, joint = model.prior_, np.full((len(X), len(model.means_) + 1), -np.inf)
    matrices = np.array([S if S.ndim == 2 else np.diag(S) for S in model.covariances_])
    for k, (w, m, S) in enumerate(zip(model.weights_, model.means_, matrices, strict=True)):
        for pattern in np.unique(~np.isnan(X), axis=0):
            rows = (~np.isnan(X) == pattern).all(axis=1)
            law = multivariate_normal(m[pattern], S[np.ix_(pattern, pattern)])
            joint[rows, k] = np.log(w) + law.logpdf(X[np.ix_(rows, pattern)])
    if hasattr(model, "noise_weight_"):
        joint[:, -1] = np.log(model.noise_weight_) - model.noise_log_volume_
    if labels is not None:
        joint[(labels[:, None] >= 0) & (labels[:, None] != np.arange(joint.shape[1]))] = -np.inf
    total = weight @ np.logaddexp.reduce(joint, axis=1)
    for m, S in zip(model.means_, matrices, strict=True):
        total += multivariate_normal(prior.mean, S / prior.mean_precision).logpdf(m)
        if model.covariances_.ndim == 3:
            total += invwishart(prior.degrees_of_freedom, prior.scale).logpdf(S)
        else:
            total += invgamma(prior.degrees_of_freedom / 2, scale=prior.scale / 2).logpdf(np.diag(S)).sum()
    total += (prior.weight_concentration - 1) * np.log(model.weights_ / model.weights_.sum()).sum()
    return total / weight.sum()


HOLES = np.where((7 * np.arange(150)[:, None] + 3 * np.arange(4)) % 5 == 0, np.nan, IRIS)
KNOWN = np.where(np.arange(150) % 5 == 0, SPECIES, -1)
WAYS = {
    "plain": {},
    "diag": {"covariance_type": "diag"},
    "starts": {"n_init": 3, "random_state": 0, "init_params": "auto"},
    "squarem": {"accelerate": "squarem"},
    "anderson": {"accelerate": "anderson", "covariance_type": "diag"},
    "missing": {"missing": "marginal"},
    "equal weights": {"equal_weights": True},
    "noise": {"noise": True, "init_params": "auto", "random_state": 0},
    "labels": {"init_params": "auto", "random_state": 0},
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_fitting_rises_to_a_maximum(way):
    X = HOLES if way == "missing" else IRIS
    labels = KNOWN if way == "labels" else None
    weight = 1.0 + np.arange(150) % 3
    prior = NormalInverseWishart(mean_precision=2.0, weight_concentration=4.0)
    params = TIGHT | {"init_params": SPECIES, "prior": prior} | WAYS[way]
    model = GaussianMixture(3, **params).fit(X, sample_weight=weight, labels=labels)
    assert np.diff(model.lower_bounds_).min() > -1e-12
    best = penalised(model, X, weight, labels)
    # The bound lacks constants of the prior.
    other = GaussianMixture(3, **params | {"max_iter": 2, "tol": 1e3}).fit(X, sample_weight=weight, labels=labels)
    difference = best - penalised(other, X, weight, labels)
    assert model.lower_bound_ - other.lower_bound_ == pytest.approx(difference, abs=1e-9)
    rng = np.random.default_rng(0)
    for _ in range(4):
        near = pickle.loads(pickle.dumps(model))
        near.means_ = model.means_ + 1e-3 * rng.normal(size=model.means_.shape)
        near.covariances_ = model.covariances_ * np.exp(
            1e-3 * rng.normal(size=(3,) + (1,) * (model.covariances_.ndim - 1))
        )
        if way != "equal weights":
            near.weights_ = model.weights_ * np.exp(1e-3 * rng.normal(size=3))
            near.weights_ *= model.weights_.sum() / near.weights_.sum()
        assert penalised(near, X, weight, labels) < best


@pytest.mark.parametrize("name", FAMILIES)
def test_the_bound_of_every_family_rises(name):
    model = GaussianMixture(4, covariance_type=name, prior=NormalInverseWishart(1.0), random_state=0)
    model.set_params(reg_covar=0.0, tol=1e-6, max_iter=1000).fit(IRIS[:, 2:])
    assert model.converged_
    assert np.diff(model.lower_bounds_).min() > -1e-12


def test_no_prior_is_no_prior():
    model = GaussianMixture(2, random_state=0).fit(FAITHFUL)
    assert not hasattr(model, "prior_")
    kept = GaussianMixture(2, random_state=0, prior="mclust").fit(FAITHFUL)
    assert kept.prior_.degrees_of_freedom == 4.0
    np.testing.assert_allclose(kept.prior_.scale, np.cov(FAITHFUL.T) / 2, rtol=1e-12)
    kept.set_params(prior=None).fit(FAITHFUL)
    assert not hasattr(kept, "prior_")
    np.testing.assert_array_equal(kept.means_, model.means_)


# -- what a prior is for ----------------------------------------------------------------------------------------------


def test_rounded_values_and_copies_are_no_spikes():
    petals = IRIS[:, 3:]
    with pytest.warns(fastgmm.exceptions.SpuriousComponentWarning):
        GaussianMixture(8, random_state=0).fit(petals)
    model = GaussianMixture(8, prior="mclust", random_state=0, tol=1e-6, max_iter=1000).fit(petals)
    assert model.spurious_ == []
    assert model.covariances_.min() > 1e-4
    copies = np.vstack([FAITHFUL, np.repeat(FAITHFUL[:1], 30, axis=0)])
    with pytest.raises(ValueError, match="component"):
        GaussianMixture(2, init_params=np.r_[np.zeros(272, int), np.ones(30, int)], reg_covar=0.0).fit(copies)
    model = GaussianMixture(4, prior="mclust", reg_covar=0.0, random_state=0, tol=1e-6, max_iter=1000).fit(copies)
    assert model.spurious_ == []


@pytest.mark.parametrize("name", ["full", "tied", "diag", "spherical", "VEV"])
def test_few_rows_and_many_columns(name):
    rng = np.random.default_rng(3)
    few = rng.normal(size=(12, 3))
    model = GaussianMixture(11, covariance_type=name, prior="mclust", reg_covar=0.0, random_state=0).fit(few)
    assert np.isfinite(model.score(few))
    assert model.spurious_ == []
    if name in ("full", "diag"):
        # mclust's: of a singular covariance the diagonal.
        wide = rng.normal(size=(9, 14))
        model = GaussianMixture(2, covariance_type=name, prior="mclust", reg_covar=0.0, random_state=0).fit(wide)
        expected = np.var(wide, axis=0, ddof=1) / 2 ** (2 / 14)
        if name == "diag":
            expected = np.full(14, expected.mean())
        scale = model.prior_.scale
        np.testing.assert_allclose(scale if name == "diag" else np.diag(scale), expected, rtol=1e-12)


def test_components_without_rows_are_at_the_prior():
    starts = {"weights_init": [1.0, 0.0], "means_init": [[3.5, 70.0], [1e6, 1e6]], "precisions_init": [np.eye(2)] * 2}
    prior = NormalInverseWishart(mean_precision=1.0)
    model = GaussianMixture(2, prior=prior, **starts, **TIGHT).fit(FAITHFUL)
    assert model.weights_[1] == 0.0
    np.testing.assert_allclose(model.means_[1], FAITHFUL.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(model.covariances_[1], model.prior_.scale / 8.0, rtol=1e-12)


def test_columns_of_other_units():
    """A prior of its own scale, for each column, does not see the units; mclust's is one number for all variances."""
    units = np.array([1e-3, 50.0])
    fits = {}
    for prior in (NormalInverseWishart(), "mclust"):
        params = {"covariance_type": "diag", "prior": prior, "init_params": LONG} | TIGHT
        fits[repr(prior)[:3]] = [GaussianMixture(2, **params).fit(X) for X in (FAITHFUL, FAITHFUL * units)]
    one, other = fits["Nor"]
    np.testing.assert_allclose(other.means_, one.means_ * units, rtol=1e-9)
    np.testing.assert_allclose(other.covariances_, one.covariances_ * units**2, rtol=1e-8)
    log_units = np.log(units).sum()
    assert other.lower_bound_ + log_units == pytest.approx(one.lower_bound_, rel=1e-10)
    one, other = fits["'mc"]
    assert np.abs(other.means_ / units - one.means_).max() > 1e-2


@pytest.mark.parametrize("name", ["full", "tied", "diag", "tied-spherical", "EVV"])
@pytest.mark.parametrize(("offset", "scale"), [(1e8, 1.0), (0.0, 1e140), (0.0, 1e-140)])
def test_far_and_huge(name, offset, scale):
    params = {"covariance_type": name, "prior": NormalInverseWishart(1.0), "init_params": LONG} | TIGHT
    X = np.round(FAITHFUL * 4096) / 4096
    near = GaussianMixture(2, **params | {"tol": 1e-10}).fit(X)
    far = GaussianMixture(2, **params | {"tol": 1e-10}).fit(X * scale + offset)
    np.testing.assert_allclose((far.means_ - offset) / scale, near.means_, atol=1e-5)
    np.testing.assert_allclose(far.covariances_ / scale / scale, near.covariances_, rtol=2e-5)
    assert far.lower_bound_ + 2 * np.log(scale) == pytest.approx(near.lower_bound_, abs=1e-6)


# -- batches, files, clusters, weights --------------------------------------------------------------------------------


def test_weights_are_copies_and_count_rows(tmp_path):
    weight = np.arange(272) % 3
    params = {"prior": NormalInverseWishart(5.0), "init_params": "random_from_data", "random_state": 0} | TIGHT
    params |= {"means_init": [[2.0, 54.0], [4.3, 80.0]]}
    weighted = GaussianMixture(2, **params).fit(FAITHFUL, sample_weight=weight)
    copied = GaussianMixture(2, **params).fit(np.repeat(FAITHFUL, weight, axis=0))
    np.testing.assert_allclose(weighted.means_, copied.means_, rtol=1e-9)
    np.testing.assert_allclose(weighted.covariances_, copied.covariances_, rtol=1e-8)
    assert weighted.lower_bound_ == pytest.approx(copied.lower_bound_, rel=1e-12)
    # Against a prior, more rows that say the same are another answer.
    more = GaussianMixture(2, **params).fit(FAITHFUL, sample_weight=100.0 * weight)
    assert np.abs(more.means_ - weighted.means_).max() > 1e-3
    with pytest.raises(ValueError, match="sample_weight must sum to at most 1e"):
        GaussianMixture(2, **params).fit(FAITHFUL, sample_weight=np.full(272, 1e150))
    single = GaussianMixture(2, **params | {"tol": 1e-6}).fit(FAITHFUL.astype(np.float32), sample_weight=weight)
    assert single.means_.dtype == np.float32
    np.testing.assert_allclose(single.means_, weighted.means_, rtol=1e-3)
    np.save(tmp_path / "X.npy", FAITHFUL)
    np.save(tmp_path / "w.npy", weight.astype(float))
    of_file = GaussianMixture(2, **params).fit(tmp_path / "X.npy", sample_weight=tmp_path / "w.npy")
    np.testing.assert_array_equal(of_file.means_, weighted.means_)


def test_rows_on_a_cluster_of_dask():
    da = pytest.importorskip("dask.array")
    params = {"prior": "mclust", "init_params": "k-means++", "random_state": 0} | TIGHT
    here = GaussianMixture(2, **params).fit(FAITHFUL)
    there = GaussianMixture(2, **params).fit(da.from_array(FAITHFUL, chunks=(70, 2)))
    np.testing.assert_allclose(there.covariances_, here.covariances_, rtol=1e-9)
    np.testing.assert_allclose(there.prior_.scale, here.prior_.scale, rtol=1e-12)


def test_batches_and_statistics():
    params = {"prior": NormalInverseWishart(5.0), "init_params": "k-means++", "random_state": 0} | TIGHT
    whole = GaussianMixture(2, **params).fit(FAITHFUL)
    batches = np.array_split(np.random.default_rng(0).permutation(FAITHFUL), 4)
    # Of the first batch the prior would be another one.
    learned = GaussianMixture(2, **params | {"prior": whole.prior_, "max_iter": 3, "tol": 0.0})
    bounds = []
    for turn in range(200):
        learned.partial_fit(batches[turn % 4], batch=turn % 4)
        bounds.append(learned.lower_bound_)
    assert np.diff(bounds[3:]).min() > -1e-12
    np.testing.assert_allclose(learned.covariances_, whole.covariances_, rtol=1e-6)
    assert learned.lower_bound_ == pytest.approx(whole.lower_bound_, abs=1e-10)
    early = GaussianMixture(2, **params | {"max_iter": 3, "tol": 1e3}).fit(FAITHFUL)
    merged = early.statistics(batches[0]) + early.statistics(np.vstack(batches[1:]))
    bound = early.lower_bound_
    early.update(merged)
    assert early.lower_bound_ == pytest.approx(bound, abs=1e-12)
    assert early.update(early.statistics(FAITHFUL)).lower_bound_ > bound
    with pytest.raises(ValueError, match="partial_fit goes on with what was learned, with prior=Normal"):
        early.set_params(prior="mclust").partial_fit(FAITHFUL)
    other = GaussianMixture(2, random_state=0).fit(FAITHFUL).set_params(prior="mclust")
    with pytest.raises(ValueError, match="update goes on with what was learned, with prior=None, but prior is 'mcl"):
        other.update(merged)
    given = GaussianMixture.from_parameters(
        whole.weights_, whole.means_, whole.covariances_, prior=whole.prior_, reg_covar=0.0
    )
    given.update(given.statistics(FAITHFUL))
    np.testing.assert_allclose(given.means_, whole.means_, rtol=1e-6)
    given = GaussianMixture.from_parameters(whole.weights_, whole.means_, whole.covariances_, prior="mclust")
    with pytest.raises(ValueError, match="the prior of this mixture is not known"):
        given.update(given.statistics(FAITHFUL))


def test_checkpoints_know_the_prior(tmp_path):
    params = {"checkpoint": tmp_path / "fit", "checkpoint_interval": 0, "random_state": 0, "tol": 1e-8}
    model = GaussianMixture(2, prior=NormalInverseWishart(0.5, mean=[3.0, 70.0]), max_iter=3, **params)
    with pytest.warns(fastgmm.exceptions.ConvergenceWarning):
        model.fit(FAITHFUL)
    # Equal numbers are equal, however they are given.
    model.set_params(prior=NormalInverseWishart(0.5, mean=np.array([3.0, 70.0])), max_iter=500).fit(FAITHFUL)
    whole = GaussianMixture(2, prior=model.prior, random_state=0, tol=1e-8, max_iter=500).fit(FAITHFUL)
    np.testing.assert_array_equal(model.covariances_, whole.covariances_)
    for other in (None, "mclust", NormalInverseWishart(0.5, mean=[3.0, 71.0])):
        with pytest.raises(ValueError, match="prior"):
            model.set_params(prior=other).fit(FAITHFUL)


@pytest.mark.parametrize("name", ["full", "spherical", "tied-diag"])
@pytest.mark.parametrize("suffix", ["json", "npz"])
def test_files_copies_and_units(name, suffix, tmp_path):
    from sklearn.base import clone

    model = GaussianMixture(2, covariance_type=name, prior="mclust", random_state=0).fit(FAITHFUL)
    save_model(model, tmp_path / f"m.{suffix}")
    again = load_model(tmp_path / f"m.{suffix}")
    assert again.prior == again.prior_ == model.prior_
    assert clone(model).prior == "mclust"
    assert clone(again).prior == model.prior_
    statistics = model.statistics(FAITHFUL)
    np.testing.assert_array_equal(again.update(statistics).means_, model.update(statistics).means_)
    copied = pickle.loads(pickle.dumps(again))
    assert copied.prior_ == again.prior_
    assert hash(copied.prior_) == hash(again.prior_)
    # In other units of the rows the update is the same.
    scale = 3.0 if name == "spherical" else np.array([2.0, 10.0])
    bound = again.lower_bound_
    again = load_model(tmp_path / f"m.{suffix}").set_params(reg_covar=0.0)
    bring_to(again, np.array([5.0, -1.0]), scale, 272.0)
    model = load_model(tmp_path / f"m.{suffix}").set_params(reg_covar=0.0)
    moved = FAITHFUL * scale + [5.0, -1.0]
    again.update(again.statistics(moved))
    model.update(model.statistics(FAITHFUL))
    np.testing.assert_allclose(again.means_, model.means_ * scale + [5.0, -1.0], rtol=1e-9)
    log_scale = np.log(np.broadcast_to(scale, 2)).sum()
    assert again.lower_bound_ == pytest.approx(model.lower_bound_ - log_scale, rel=1e-9)
    assert np.isfinite(bound)


def test_a_choice_of_sizes_is_by_the_plain_likelihood():
    from fastgmm import GaussianMixtureIC

    prototype = GaussianMixture(prior="mclust", random_state=0)
    choice = GaussianMixtureIC(1, 3, covariance_type=["full", "tied"], estimator=prototype).fit(FAITHFUL)
    best = choice.best_estimator_
    assert choice.criterion_ == pytest.approx(best.bic(FAITHFUL), rel=1e-12)
    n = best._n_parameters()
    assert best.bic(FAITHFUL) == pytest.approx(-2 * 272 * best.score(FAITHFUL) + n * np.log(272), rel=1e-12)
    assert best.prior_.scale.shape == (2, 2)


def test_warm_starts_go_on():
    model = GaussianMixture(2, random_state=0, tol=1e-9, max_iter=1000).fit(FAITHFUL)
    model.set_params(warm_start=True, prior=NormalInverseWishart(50.0)).fit(FAITHFUL)
    anew = GaussianMixture(2, random_state=0, tol=1e-9, max_iter=1000, prior=model.prior).fit(FAITHFUL)
    assert model.n_iter_ > 2
    np.testing.assert_allclose(model.means_, anew.means_, rtol=1e-4)


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"prior": "conjugate"}, "prior must be None, 'mclust' or a fastgmm.NormalInverseWishart, got 'conjugate'."),
        ({"prior": True}, "prior must be None, 'mclust' or a fastgmm.NormalInverseWishart, got True."),
        ({"prior": NormalInverseWishart(-1.0)}, r"prior.mean_precision must be a float in the range \[0, 1e\+20\]"),
        ({"prior": NormalInverseWishart(np.nan)}, r"prior.mean_precision must be a float .* got nan"),
        ({"prior": NormalInverseWishart(mean=[1.0])}, r"'prior.mean' should have the shape of \(2,\)"),
        ({"prior": NormalInverseWishart(degrees_of_freedom=1.0)}, "prior.degrees_of_freedom must be above 1 with 2"),
        ({"prior": NormalInverseWishart(scale=[1.0, 2.0])}, r"'full prior.scale' should have the shape of \(2, 2\)"),
        (
            {"prior": NormalInverseWishart(scale=[[1.0, 2.0], [2.0, 1.0]])},
            "'full prior.scale' should be symmetric",
        ),
        (
            {"prior": NormalInverseWishart(weight_concentration=0.5)},
            r"prior.weight_concentration must .* \[1, 1e",
        ),
        (
            {"prior": "mclust", "frozen": {"means": [0]}, "means_init": np.zeros((2, 2))},
            "frozen must be None with prior='mclust'",
        ),
    ],
)
def test_bad_priors(params, message):
    model = GaussianMixture(2, random_state=0).fit(FAITHFUL)
    before = model.means_.copy()
    with pytest.raises(ValueError, match=message):
        model.set_params(**params).fit(FAITHFUL)
    np.testing.assert_array_equal(model.means_, before)


def test_what_does_not_know_priors():
    prior = GaussianMixture(2, prior="mclust", random_state=0).fit(FAITHFUL)
    with pytest.raises(ValueError, match="fit_many cannot fit with prior='mclust'"):
        fit_many(prior, [FAITHFUL])
    with pytest.raises(ValueError, match="prior must be left out in a fit with sample_covariance"):
        prior.fit(FAITHFUL, sample_covariance=[0.1, 0.1])
    with pytest.raises(ValueError, match="standard_errors is not for mixtures fitted with a prior"):
        standard_errors(prior, FAITHFUL)
    with pytest.raises(ValueError, match="likelihood_bootstrap is not for mixtures with prior"):
        likelihood_bootstrap(prior, FAITHFUL)
    with pytest.raises(ValueError, match="constant columns"):
        GaussianMixture(2, prior="mclust", reg_covar=0.0).fit(np.c_[FAITHFUL, np.ones(272)])
    assert GaussianMixture(2, prior="mclust", random_state=0).fit(np.c_[FAITHFUL, np.ones(272)]).spurious_ == []
    assert not hasattr(BayesianGaussianMixture(), "prior")
    assert not hasattr(prior.to_sklearn(), "prior_")


def test_command_line(tmp_path, capsys):
    model = str(tmp_path / "model.json")
    assert cli.main(["fit", "-k", "2", "--prior", "mclust", "--seed", "0", "faithful", "-o", model]) == 0
    capsys.readouterr()
    expected = GaussianMixture(2, prior="mclust", random_state=0).fit(FAITHFUL)
    np.testing.assert_allclose(load_model(model).covariances_, expected.covariances_, rtol=1e-6)
    assert cli.main(["fit", "-k", "2", "--prior", "mclust", "--method", "vb", "faithful"]) == 2
    assert "--prior: not allowed with --method vb" in capsys.readouterr().err
