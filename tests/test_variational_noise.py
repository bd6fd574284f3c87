"""Uniform noise beside a variational posterior, beside a twin of textbook formulas, and what it must not change."""

import copy
import pickle

import numpy as np
import pytest
from scipy.special import digamma, gammaln, logsumexp, multigammaln

from fastgmm import BayesianGaussianMixture, GaussianMixture, cli, fit_many
from fastgmm.datasets import load_faithful
from fastgmm.io import load_model, save_model
from fastgmm.sources import BatchRows

pytestmark = pytest.mark.filterwarnings("ignore::fastgmm.exceptions.ConvergenceWarning")
KINDS = "dirichlet_distribution", "dirichlet_process"
FAITHFUL = load_faithful().data
ERRORS = np.random.default_rng(0).uniform([0.0, 20.0], [8.0, 130.0], size=(30, 2))
X = np.vstack([FAITHFUL, ERRORS])
LABELS = np.append((FAITHFUL[:, 1] > 68).astype(np.int64), np.full(30, -1))
PARAMS = {"n_components": 2, "noise": True, "random_state": 0, "reg_covar": 0.0}
ALPHA, NU = 0.7, 3.0


def _multi_digamma(x):
    return digamma(x) + digamma(x - 0.5)


def _beta_or_dirichlet(after, before):
    """Return the divergence of one Dirichlet law from another."""
    logs = digamma(after) - digamma(after.sum())
    constant = gammaln(after.sum()) - gammaln(after).sum() - gammaln(before.sum()) + gammaln(before).sum()
    return constant + (after - before) @ logs


def _twin(kind, log_volume, weight, n_updates):
    """Coordinate ascent by the formulas of PRML 10.2 for two full components beside noise, as (bounds, law of q).

    Weights are Dirichlet of 3, noise last; or noise has a uniform law, and the components are two sticks.
    """
    mean0, scale0, beta0 = np.average(X, axis=0, weights=weight), np.cov(X.T, fweights=weight), 1.0
    r = np.zeros((len(X), 3))
    r[np.arange(len(X)), np.where(LABELS < 0, 2, LABELS)] = 1.0
    bounds = []
    for _ in range(n_updates + 1):
        share = weight[:, None] * r
        n = share.sum(axis=0)
        means, scales, beta, nu = [], [], beta0 + n[:2], NU + n[:2]
        for k in range(2):
            middle = share[:, k] @ X / n[k]
            gap = X - middle
            within = (share[:, k, None] * gap).T @ gap
            off = middle - mean0
            means.append((beta0 * mean0 + n[k] * middle) / beta[k])
            scales.append(scale0 + within + beta0 * n[k] / beta[k] * np.outer(off, off))
        if kind == KINDS[0]:
            after = ALPHA + n
            log_weights = digamma(after) - digamma(after.sum())
            divergence = _beta_or_dirichlet(after, np.full(3, ALPHA))
            noise_weight = after[2] / after.sum()
        else:
            noise = 1.0 + np.array([n[2], n[:2].sum()])
            sticks = np.array([[1.0 + n[0], ALPHA + n[1]], [1.0 + n[1], ALPHA]])
            logs = digamma(sticks) - digamma(sticks.sum(axis=1))[:, None]
            rest = digamma(noise) - digamma(noise.sum())
            log_weights = np.array([logs[0, 0], logs[0, 1] + logs[1, 0], 0.0]) + [rest[1], rest[1], rest[0]]
            divergence = _beta_or_dirichlet(noise, np.ones(2))
            divergence += sum(_beta_or_dirichlet(stick, np.array([1.0, ALPHA])) for stick in sticks)
            noise_weight = noise[0] / noise.sum()
        joint = np.empty((len(X), 3))
        joint[:, 2] = log_weights[2] - log_volume
        for k in range(2):
            precision = nu[k] * np.linalg.inv(scales[k])
            log_det = _multi_digamma(nu[k] / 2) + 2 * np.log(2) - np.linalg.slogdet(scales[k])[1]
            gap = X - means[k]
            distance = np.einsum("na,ab,nb->n", gap, precision, gap) + 2 / beta[k]
            joint[:, k] = log_weights[k] + 0.5 * (log_det - 2 * np.log(2 * np.pi) - distance)
            off = means[k] - mean0
            divergence += (beta0 / beta[k] - 1 - np.log(beta0 / beta[k])) + 0.5 * beta0 * off @ precision @ off
            # Of one Wishart law from another.
            divergence += 0.5 * NU * (np.linalg.slogdet(scales[k])[1] - np.linalg.slogdet(scale0)[1])
            divergence += (
                multigammaln(NU / 2, 2) - multigammaln(nu[k] / 2, 2) + 0.5 * (nu[k] - NU) * _multi_digamma(nu[k] / 2)
            )
            divergence += 0.5 * np.trace(precision @ scale0) - nu[k]
        evidence = logsumexp(joint, axis=1)
        bounds.append(weight @ evidence - divergence)
        r = np.exp(joint - evidence[:, None])
    return bounds, noise_weight, np.array(means), r


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("volume", [True, 500.0])
def test_fits_are_those_of_a_twin(kind, volume):
    weight = 1 + np.arange(len(X)) % 2
    params = PARAMS | {"noise": volume, "weight_concentration_prior_type": kind, "weight_concentration_prior": ALPHA}
    params |= {"degrees_of_freedom_prior": NU, "tol": 0.0, "max_iter": 6, "init_params": LABELS}
    model = BayesianGaussianMixture(**params, covariance_prior=np.cov(X.T, fweights=weight)).fit(
        X, sample_weight=weight
    )
    bounds, noise_weight, means, shares = _twin(kind, model.noise_log_volume_, weight, 6)
    np.testing.assert_allclose(model.lower_bounds_, bounds[1:], rtol=1e-11)
    np.testing.assert_allclose(model.means_, means, rtol=1e-9)
    assert model.noise_weight_ == pytest.approx(noise_weight, rel=1e-9)
    assert model.weights_.sum() + model.noise_weight_ == pytest.approx(1.0, rel=1e-12)
    np.testing.assert_allclose(model.predict_proba(X), shares[:, :2], atol=1e-9)
    np.testing.assert_array_equal(model.predict(X), np.where(shares.argmax(axis=1) == 2, -1, shares.argmax(axis=1)))
    assert model.evidence_lower_bound(X, sample_weight=weight) == pytest.approx(model.lower_bound_, rel=1e-12)
    assert np.diff(model.lower_bounds_).min() > 0.0
    if volume is not True:
        assert model.noise_log_volume_ == pytest.approx(np.log(500.0))


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_bound_never_falls_and_noise_is_found(covariance_type, kind):
    params = PARAMS | {"n_components": 3, "covariance_type": covariance_type, "weight_concentration_prior_type": kind}
    model = BayesianGaussianMixture(**params, tol=1e-6, max_iter=500).fit(X)
    assert np.diff(model.lower_bounds_).min() > -1e-9 * abs(model.lower_bound_)
    if covariance_type == "full":
        found = model.predict(X) == -1
        assert found[-30:].sum() >= 20
        assert found[:-30].sum() <= 5
        plain = BayesianGaussianMixture(**params | {"noise": False}, tol=1e-6, max_iter=500).fit(X)
        assert model.lower_bound_ > plain.lower_bound_ + 10
    for predictive in ("expected-log", "plug-in", "student-t"):
        shares = model.predict_proba(X, predictive)
        scores = model.score_samples(X, predictive)
        assert (shares.sum(axis=1) < 1.0 + 1e-9).all()
        # Noise has a density wherever a row is: none is less likely than that.
        floor = model._log_weights_beside(predictive)[0] - model.noise_log_volume_
        assert scores.min() > floor - 1e-9
        np.testing.assert_allclose(
            np.log1p(-np.minimum(shares.sum(axis=1), 1 - 1e-9)), np.maximum(floor - scores, np.log(1e-9)), atol=1e-5
        )


def test_gaps_labels_batches_and_all_together():
    params = PARAMS | {"missing": "marginal", "max_iter": 5}
    holes = np.where(np.random.default_rng(1).random(X.shape) < 0.1, np.nan, X)
    whole = BayesianGaussianMixture(**params).fit(holes)
    streamed = BayesianGaussianMixture(**params).fit(BatchRows([holes[:100], holes[100:]], missing="marginal"))
    np.testing.assert_array_equal(streamed.means_, whole.means_)
    assert streamed.lower_bounds_ == whole.lower_bounds_
    assert np.diff(whole.lower_bounds_).min() > 0.0
    known = np.where(np.arange(len(X)) % 4 == 0, LABELS, -1)
    labelled = BayesianGaussianMixture(**params | {"max_iter": 300, "tol": 1e-6}).fit(holes, labels=known)
    assert np.diff(labelled.lower_bounds_).min() > -1e-9 * abs(labelled.lower_bound_)
    assert labelled.noise_weight_ == pytest.approx(0.1, abs=0.05)


def test_a_fitted_mixture_is_kept_and_goes_on(tmp_path):
    model = BayesianGaussianMixture(**PARAMS, max_iter=4).fit(X)
    save_model(model, tmp_path / "m.json")
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), load_model(tmp_path / "m.json")):
        np.testing.assert_array_equal(other.predict_proba(X), model.predict_proba(X))
        np.testing.assert_allclose(other.weights_, model.weights_, rtol=1e-15)
        rows, labels = other.sample(2000, random_state=0)
        assert abs((labels == -1).mean() - model.noise_weight_) < 0.03
        assert np.isfinite(rows).all()
        rows, labels = other.sample(50, random_state=0, predictive="student-t")
        assert len(rows) == 50
    long = BayesianGaussianMixture(**PARAMS, max_iter=8, tol=0.0).fit(X)
    kept = PARAMS | {"tol": 0.0, "checkpoint": tmp_path / "fit"}
    BayesianGaussianMixture(**kept, max_iter=3).fit(X)
    np.testing.assert_array_equal(BayesianGaussianMixture(**kept, max_iter=8).fit(X).means_, long.means_)
    warm = BayesianGaussianMixture(**PARAMS, tol=0.0, max_iter=4, warm_start=True).fit(X)
    np.testing.assert_allclose(warm.fit(X).means_, long.means_, rtol=1e-9)
    # From a fit without noise.
    plain = BayesianGaussianMixture(**PARAMS | {"noise": False}, max_iter=200, warm_start=True).fit(X)
    assert plain.set_params(noise=True).fit(X).noise_weight_ > 0.0
    components = model.without_noise()
    assert not hasattr(components, "noise_weight_")
    np.testing.assert_allclose(components.weights_, model.weights_ / model.weights_.sum())
    assert components.weights_.sum() == pytest.approx(1.0)
    assert components.prune(0.01).weights_.sum() == pytest.approx(1.0)
    again = model.set_params(noise=False).fit(X)
    assert not hasattr(again, "noise_concentration_")
    sums = long.statistics(X[:100]) + long.statistics(X[100:])
    before = long.lower_bound_
    assert long.update(sums).lower_bound_ == pytest.approx(before, rel=1e-12)


def test_what_noise_does_not_go_with_is_refused_by_name(tmp_path, capsys):
    for name, value in {"accelerate": "squarem", "truncate": 1}.items():
        with pytest.raises(ValueError, match=f"{name} must be left out with noise=True"):
            BayesianGaussianMixture(2, noise=True, **{name: value}).fit(X)
    with pytest.raises(ValueError, match="noise must be True, False, or a volume > 0, got -1"):
        BayesianGaussianMixture(2, noise=-1.0).fit(X)
    with pytest.raises(ValueError, match="partial_fit is for mixtures without noise"):
        BayesianGaussianMixture(2, noise=True).partial_fit(X)
    with pytest.raises(ValueError, match="fit_many cannot fit with noise=True"):
        fit_many(BayesianGaussianMixture(2, noise=True), [X])
    model = BayesianGaussianMixture(**PARAMS).fit(X)
    for call in (model.prune, model.to_sklearn, lambda: model.impute(X), lambda: model.partial_fit(X)):
        with pytest.raises(ValueError, match="mixtures without noise"):
            call()
    np.savetxt(tmp_path / "x.csv", X, delimiter=",")
    path = str(tmp_path / "m.json")
    args = ["fit", "-k", "2", "--method", "vb", "--noise", "--seed", "0", str(tmp_path / "x.csv"), "-o", path]
    assert cli.main(args) == 0
    assert load_model(path).noise_weight_ == pytest.approx(
        BayesianGaussianMixture(2, noise=True, random_state=0).fit(X).noise_weight_
    )
    assert "weight of noise" in capsys.readouterr().out
    assert GaussianMixture(2, noise=True, random_state=0).fit(X).noise_weight_ == pytest.approx(
        model.noise_weight_, abs=0.02
    )
