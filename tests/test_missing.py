"""Missing entries, integrated out: a twin that goes row by row, integrals, published numbers, all ways of fitting."""

import itertools
import pickle
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from conftest import dense, draw, random_mixture, read_columns

from fastgmm import BayesianGaussianMixture, GaussianMixture, GaussianMixtureIC, cli, fit_many, plotting
from fastgmm.exceptions import ConvergenceWarning
from fastgmm.families import FAMILIES, STRUCTURES, Diag
from fastgmm.fitting.checkpoint import Checkpoint
from fastgmm.inference import likelihood_bootstrap, standard_errors
from fastgmm.io import load_model, save_model
from fastgmm.reading import entropy
from fastgmm.rules import MaximumLikelihood
from fastgmm.selection import merge_components
from fastgmm.sources.incomplete import IncompleteRows

KINDS = GaussianMixture, BayesianGaussianMixture
TRIED = list(STRUCTURES)


def _holes(X, share, seed=0):
    """X with a share of its entries missing, at random, and the first row all of it."""
    holed = np.array(X)
    holed[np.random.default_rng(seed).random(holed.shape) < share] = np.nan
    holed[0] = np.nan
    return holed


def _iris():
    X = read_columns("iris")[:, :4]
    i, j = np.indices(X.shape)
    X[(7 * i + 3 * j) % 5 == 0] = np.nan
    return X, np.repeat([0, 1, 2], 50)


def _mixture(family, K=3, D=4, **scale):
    return GaussianMixture.from_parameters(
        *random_mixture(np.random.default_rng(5), family, K, D, **scale), family, missing="marginal"
    )


def _fit(model, X, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X, *args, **options)


def _twin(X, log_scale, means, matrices, origin):
    """Responsibilities, log joints and the sums of completed rows, by textbook formulas, a row at a time.

    log_scale: that of the joint density exp(log_scale - distance / 2).
    """
    K, D = means.shape
    joint = np.empty((len(X), K))
    deviation, scatter = np.zeros((len(X), K, D)), np.zeros((len(X), K, D, D))
    for n, k in itertools.product(range(len(X)), range(K)):
        o, m = np.flatnonzero(~np.isnan(X[n])), np.flatnonzero(np.isnan(X[n]))
        S, gap = matrices[k], X[n, o] - means[k, o]
        S_oo, S_om = S[np.ix_(o, o)], S[np.ix_(o, m)]
        logs = len(m) * np.log(2 * np.pi) - np.linalg.slogdet(S_oo)[1] + np.linalg.slogdet(S)[1]
        joint[n, k] = log_scale[k] + 0.5 * logs - 0.5 * gap @ np.linalg.solve(S_oo, gap)
        B, full = np.linalg.solve(S_oo, S_om), np.empty(D)
        full[o], full[m] = X[n, o], means[k, m] + B.T @ gap
        deviation[n, k] = full - origin[k]
        scatter[n, k] = np.outer(deviation[n, k], deviation[n, k])
        scatter[n, k][np.ix_(m, m)] += S[np.ix_(m, m)] - S_om.T @ B
    evidence = np.logaddexp.reduce(joint, axis=1)
    return joint, evidence, deviation, scatter


def _projected(family, matrices):
    if family.has_matrices:
        return matrices.sum(axis=0) if family.uses_total else matrices
    diagonal = np.diagonal(matrices, axis1=1, axis2=2)
    return diagonal if family.block_shape(2) else diagonal.sum(axis=1)


def _log_scale(weights, matrices):
    return np.log(weights) - 0.5 * np.linalg.slogdet(2 * np.pi * matrices)[1]


@pytest.mark.parametrize("about_means", [True, False])
def test_sums_and_scores_are_those_of_a_twin_row_by_row(family, rng, about_means):
    model = _mixture(family)
    matrices = dense(model, family)
    X = _holes(draw(rng, model.weights_, model.means_, matrices, 60), 0.4)
    w = rng.uniform(0.0, 2.0, 60) * (rng.random(60) < 0.8)
    origin = model.means_ if about_means else model.means_ + rng.normal(size=model.means_.shape)
    got = model.statistics(X, w, origin=None if about_means else origin)
    joint, evidence, deviation, scatter = _twin(X, _log_scale(model.weights_, matrices), model.means_, matrices, origin)
    r = np.exp(joint - evidence[:, None])
    np.testing.assert_allclose(got.mass, w @ r, rtol=1e-10)
    np.testing.assert_allclose(got.deviation, np.einsum("n,nk,nkd->kd", w, r, deviation), rtol=1e-10, atol=1e-10)
    sums = _projected(family, np.einsum("n,nk,nkab->kab", w, r, scatter))
    np.testing.assert_allclose(got.scatter, sums, rtol=1e-10, atol=1e-10)
    assert got.log_evidence == pytest.approx(w @ evidence, rel=1e-11)
    assert got.weight == pytest.approx(w.sum())
    np.testing.assert_allclose(model.score_samples(X), evidence, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(model.predict_proba(X), r, rtol=1e-10, atol=1e-14)
    np.testing.assert_array_equal(model.predict(X), joint.argmax(axis=1))
    np.testing.assert_allclose(model.uncertainty(X), 1.0 - r.max(axis=1), atol=1e-13)
    np.testing.assert_allclose(model.log_densities(X), joint - np.log(model.weights_), rtol=1e-10, atol=1e-12)
    assert model.score(X, sample_weight=w) == pytest.approx(w @ evidence / w.sum(), rel=1e-11)
    bic = model._n_parameters() * np.log(60) - 2 * evidence.sum()
    assert model.bic(X) == pytest.approx(bic, rel=1e-11)
    assert model.icl(X) == pytest.approx(bic - 2 * np.log(r.max(axis=1)).sum(), rel=1e-11)


@pytest.mark.parametrize("kind", KINDS, ids=["em", "vb"])
def test_scores_are_the_integrals_of_those_of_complete_rows(family, kind):
    X = read_columns("faithful")[::4]
    model = _fit(kind(2, covariance_type=family, random_state=0, max_iter=20, missing="marginal"), _holes(X, 0.3))
    grid = np.linspace(-100.0, 300.0, 40001)
    for laws in [{}] if kind is GaussianMixture else [{}, {"predictive": "student-t"}, {"predictive": "plug-in"}]:
        for row in np.array([[1.9, np.nan], [4.4, np.nan]]):
            complete = np.column_stack([np.full(len(grid), row[0]), grid])
            values = np.exp(model.score_samples(complete, **laws))
            assert model.score_samples(row[None], **laws)[0] == pytest.approx(np.log(values.sum() * 0.01), rel=1e-8)
            shares = values @ model.predict_proba(complete, **laws) / values.sum()
            np.testing.assert_allclose(model.predict_proba(row[None], **laws)[0], shares, atol=1e-8)
        if laws != {}:
            # Of a row of which nothing is observed: the law of all rows, and the weights.
            assert model.score_samples([[np.nan, np.nan]], **laws)[0] == pytest.approx(0.0, abs=1e-12)
            np.testing.assert_allclose(model.predict_proba([[np.nan] * 2], **laws)[0], model.weights_, rtol=1e-12)


def test_published_numbers():
    X, species = _iris()
    options = {"missing": "marginal", "reg_covar": 0.0, "tol": 1e-12, "max_iter": 20000, "accelerate": "squarem"}
    one = GaussianMixture(1, **options).fit(X)
    assert 150 * one.score(X) == pytest.approx(-366.213596237, abs=1e-6)
    np.testing.assert_allclose(one.means_[0], [5.82539841, 3.06132234, 3.75094531, 1.19741902], atol=1e-6)
    two = GaussianMixture(2, init_params=(species > 0).astype(int), **options).fit(X)
    assert 150 * two.score(X) == pytest.approx(-207.723003233, abs=1e-6)
    np.testing.assert_allclose(two.weights_, [0.33333309, 0.66666691], atol=1e-7)
    three = GaussianMixture(3, init_params=species, **options).fit(X)
    assert 150 * three.score(X) == pytest.approx(-181.284051115, abs=1e-6)
    np.testing.assert_allclose(three.weights_, [0.33333333, 0.32949917, 0.33716749], atol=1e-5)
    np.testing.assert_allclose(three.means_[0], [4.96937898, 3.46288024, 1.47798432, 0.23764221], atol=1e-6)
    assert three.covariances_[0, 0, 0] == pytest.approx(0.133211553, abs=1e-7)
    # Of starts that know nothing of the species one leads there, too.
    free = GaussianMixture(3, random_state=0, n_init=2, **(options | {"tol": 1e-9})).fit(X)
    assert 150 * free.score(X) == pytest.approx(-181.284051115, abs=1e-4)


def test_the_apples():
    """Little and Rubin's monotone example, whose maximum has a closed form."""
    x = [8, 6, 11, 22, 14, 17, 18, 24, 19, 23, 26, 40, 4, 4, 5, 6, 8, 10]
    y = [59, 58, 56, 53, 50, 45, 43, 42, 39, 38, 30, 27, *[np.nan] * 6]
    X = np.column_stack([x, y]).astype(float)
    model = _fit(GaussianMixture(1, missing="marginal", reg_covar=0.0, tol=0.0, max_iter=60), X)
    np.testing.assert_allclose(model.means_[0], [14.7222222, 49.3333333], atol=1e-6)
    np.testing.assert_allclose(
        model.covariances_[0], [[89.5339506, -90.6967292], [-90.6967292, 114.6949551]], atol=1e-6
    )
    assert 18 * model.score(X) == pytest.approx(-101.785632, abs=1e-6)
    slope = model.covariances_[0, 0, 1] / model.covariances_[0, 0, 0]
    np.testing.assert_allclose(model.impute(X)[12:, 1], 49.3333333 + slope * (X[12:, 0] - 14.7222222), atol=1e-6)
    variance = model.covariances_[0, 1, 1] - slope * model.covariances_[0, 0, 1]
    np.testing.assert_allclose(model.imputation_covariance(X)[12:], [[[0, 0], [0, variance]]] * 6, atol=1e-9)


@pytest.mark.parametrize("name", [*FAMILIES])
def test_the_bound_never_falls(name):
    X, _ = _iris()
    model = GaussianMixture(3, covariance_type=name, missing="marginal", reg_covar=0.0, tol=0.0, random_state=0)
    bounds = np.array(_fit(model.set_params(max_iter=25), X).lower_bounds_)
    assert np.diff(bounds).min() >= -1e-12 * np.abs(bounds).max()
    assert bounds[-1] == pytest.approx(model.score(X), rel=1e-12)
    assert model._family().name == name


def test_the_bound_of_variational_bayes(family):
    X, _ = _iris()
    model = BayesianGaussianMixture(
        3, covariance_type=family, missing="marginal", reg_covar=0.0, tol=0.0, random_state=0, max_iter=25
    )
    bounds = np.array(_fit(model, X).lower_bounds_)
    assert np.diff(bounds).min() >= -1e-12 * np.abs(bounds).max()
    assert model.evidence_lower_bound(X) == pytest.approx(bounds[-1], rel=1e-12)
    # The rule's next law is that of the twin's sums, whose log scales are those of complete rows at the means.
    mean, matrices = np.asarray(model.means_), dense(model, family)
    log_scale = model.log_densities(mean).diagonal() + model._log_weights()
    joint, evidence, deviation, scatter = _twin(X, log_scale, mean, matrices, mean)
    r = np.exp(joint - evidence[:, None])
    got = model.statistics(X)
    np.testing.assert_allclose(got.mass, r.sum(axis=0), rtol=1e-9)
    np.testing.assert_allclose(got.deviation, np.einsum("nk,nkd->kd", r, deviation), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(
        got.scatter, _projected(family, np.einsum("nk,nkab->kab", r, scatter)), rtol=1e-9, atol=1e-9
    )
    assert got.log_evidence == pytest.approx(evidence.sum(), rel=1e-11)


def test_rows_of_which_nothing_is_observed_add_weight_alone():
    X, species = _iris()
    more = np.vstack([X, np.full((30, 4), np.nan)])
    options = {"missing": "marginal", "reg_covar": 0.0, "tol": 1e-14, "max_iter": 3000, "accelerate": "squarem"}
    model = _fit(GaussianMixture(3, init_params=species, **options), X)
    nothing = model.score_samples(more)[-30:]
    np.testing.assert_allclose(nothing, 0.0, atol=1e-14)
    np.testing.assert_allclose(model.predict_proba(more)[-1], model.weights_, rtol=1e-14)
    assert model.predict(more)[-1] == model.weights_.argmax()
    alone = model.statistics(more[-30:])
    np.testing.assert_allclose(alone.mass, 30 * model.weights_, rtol=1e-13)
    np.testing.assert_array_equal(alone.deviation, 0.0)
    # Where a fit has come to rest, it stays.
    again = _fit(GaussianMixture(**model.get_params()).set_params(warm_start=True), X)
    for name in ("weights_", "means_", "covariances_", "precisions_cholesky_"):
        setattr(again, name, getattr(model, name))
    np.testing.assert_allclose(_fit(again, more).means_, model.means_, rtol=1e-5)
    labels = np.concatenate([species, species[:30]])
    anew = _fit(GaussianMixture(3, init_params=labels, **options), more)
    np.testing.assert_allclose(anew.weights_, model.weights_, atol=1e-5)
    np.testing.assert_allclose(anew.covariances_, model.covariances_, atol=1e-5)


def test_the_order_of_columns_and_rows_does_not_matter(rng):
    X, species = _iris()
    columns, rows = rng.permutation(4), rng.permutation(150)
    options = {"missing": "marginal", "max_iter": 15, "tol": 0.0}
    model = _fit(GaussianMixture(3, init_params=species, **options), X)
    other = _fit(GaussianMixture(3, init_params=species[rows], **options), X[rows][:, columns])
    # But for the start, whose gaps are filled by random numbers.
    start = GaussianMixture.from_parameters(
        model.weights_, model.means_, model.covariances_, warm_start=True, **options
    )
    moved = GaussianMixture.from_parameters(
        model.weights_,
        model.means_[:, columns],
        model.covariances_[:, columns][:, :, columns],
        warm_start=True,
        **options,
    )
    _fit(start, X)
    _fit(moved, X[rows][:, columns])
    np.testing.assert_allclose(moved.means_, start.means_[:, columns], rtol=1e-9)
    np.testing.assert_allclose(moved.covariances_, start.covariances_[:, columns][:, :, columns], rtol=1e-7, atol=1e-10)
    assert other.lower_bound_ == pytest.approx(model.lower_bound_, abs=0.1)


def test_the_same_bits_on_any_number_of_threads(rng):
    model = _mixture(FAMILIES["full"], K=4)
    X = draw(rng, model.weights_, model.means_, model.covariances_, 20000)
    few, many = np.array(X), _holes(X, 0.3)
    few[:15000, 1] = np.nan
    for holed in (few, many):
        parts = []
        for n_threads in (1, 2):
            model.n_threads = n_threads
            parts.append((model.statistics(holed).to_array(), model.score(holed), model.predict_proba(holed)))
        for one, two in zip(*parts, strict=True):
            np.testing.assert_array_equal(one, two)
        fits = [
            _fit(GaussianMixture(3, missing="marginal", random_state=0, max_iter=2, n_threads=n), holed) for n in (1, 2)
        ]
        np.testing.assert_array_equal(fits[0].covariances_, fits[1].covariances_)
        np.testing.assert_array_equal(fits[0].impute(holed), fits[1].impute(holed))
        halves = model.statistics(holed[:7000]) + model.statistics(holed[7000:])
        np.testing.assert_allclose(halves.to_array(), model.statistics(holed).to_array(), rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS, ids=["em", "vb"])
def test_complete_rows_are_fitted_to_the_same_bits(kind):
    X = read_columns("iris")
    with_option, without = (kind(3, random_state=0, missing=missing).fit(X) for missing in ("marginal", None))
    np.testing.assert_array_equal(with_option.covariances_, without.covariances_)
    np.testing.assert_array_equal(with_option.score_samples(X), without.score_samples(X))
    np.testing.assert_array_equal(without.impute(X), X)


@pytest.mark.parametrize(("scale", "offset"), [(1e150, 0.0), (1e-150, 0.0), (1.0, 1e8)])
def test_data_of_any_scale_and_place(scale, offset):
    X, species = _iris()
    options = {"missing": "marginal", "init_params": species, "reg_covar": 0.0, "tol": 0.0, "max_iter": 40}
    model = _fit(GaussianMixture(3, **options), X)
    other = _fit(GaussianMixture(3, **options), scale * X + offset)
    rtol = 1e-6 if offset == 0.0 else 1e-3
    np.testing.assert_allclose((other.means_ - offset) / scale, model.means_, rtol=rtol)
    np.testing.assert_allclose(other.covariances_ / scale / scale, model.covariances_, rtol=10 * rtol, atol=rtol)
    filled = model.impute(X)
    np.testing.assert_allclose((other.impute(scale * X + offset) - offset) / scale, filled, rtol=10 * rtol)


def test_rows_of_float32():
    X, species = _iris()
    options = {"missing": "marginal", "init_params": species, "tol": 1e-10, "max_iter": 500}
    model, single = (_fit(GaussianMixture(3, **options), rows) for rows in (X, X.astype(np.float32)))
    assert single.means_.dtype == single.score_samples(X.astype(np.float32)).dtype == np.float32
    assert single.impute(X.astype(np.float32)).dtype == np.float32
    assert single.predict_proba(X.astype(np.float32)).dtype == np.float32
    np.testing.assert_allclose(single.means_, model.means_, rtol=1e-3)
    assert single.score(X) == pytest.approx(model.score(X), abs=1e-5)


def test_weights_are_copies(rng):
    X, species = _iris()
    w = rng.integers(0, 3, 150)
    options = {"missing": "marginal", "tol": 0.0, "max_iter": 200}
    weighted = _fit(GaussianMixture(3, init_params=species, **options), X, sample_weight=w)
    copied = _fit(GaussianMixture(3, init_params=np.repeat(species, w), **options), np.repeat(X, w, axis=0))
    np.testing.assert_allclose(weighted.means_, copied.means_, rtol=1e-4)
    assert weighted.score(X, sample_weight=w) == pytest.approx(copied.score(np.repeat(X, w, axis=0)), rel=1e-8)
    huge = _fit(GaussianMixture(3, init_params=species, **options), X, sample_weight=w * 2.0**500)
    np.testing.assert_array_equal(huge.means_, weighted.means_)


def test_imputations(family, rng):
    model = _mixture(family)
    model.weights_ = np.array([0.5, 0.3, 0.2])
    X = _holes(draw(rng, model.weights_, model.means_, dense(model, family), 6), 0.4)
    matrices = dense(model, family)
    joint, evidence, deviation, scatter = _twin(
        X, _log_scale(model.weights_, matrices), model.means_, matrices, np.zeros_like(model.means_)
    )
    r = np.exp(joint - evidence[:, None])
    mean = np.einsum("nk,nkd->nd", r, deviation)
    covariance = np.einsum("nk,nkab->nab", r, scatter) - mean[:, :, None] * mean[:, None]
    filled = model.impute(X)
    np.testing.assert_allclose(filled, mean, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(filled[~np.isnan(X)], X[~np.isnan(X)])
    got = model.imputation_covariance(X)
    np.testing.assert_allclose(got, covariance, atol=1e-10)
    np.testing.assert_array_equal(got[~np.isnan(X)], 0.0)
    np.testing.assert_allclose(model.imputation_covariance(X, diagonal=True), np.diagonal(got, 0, 1, 2), atol=1e-12)
    draws = model.impute(X, draws=2500, random_state=1)
    np.testing.assert_array_equal(draws, model.impute(X, draws=2500, random_state=1))
    gap = draws - mean
    spread = np.sqrt(np.diagonal(covariance, 0, 1, 2).max())
    np.testing.assert_allclose(gap.mean(axis=0), 0.0, atol=0.09 * spread)
    sampled = np.einsum("mna,mnb->nab", gap, gap) / len(draws)
    np.testing.assert_allclose(sampled, covariance, atol=0.13 * spread**2)
    without = GaussianMixture.from_parameters(model.weights_, model.means_, model.covariances_, family)
    np.testing.assert_array_equal(without.impute(X), filled)


def _groups():
    rng = np.random.default_rng(7)
    centres = np.array([[0.0, 0.0, 0.0], [8.0, 0.0, 5.0], [0.0, 8.0, -5.0]])
    labels = np.repeat([0, 1, 2], 100)
    return _holes(centres[labels] + rng.normal(size=(300, 3)), 0.25, 1), labels, centres


GROUPS, LABELS, CENTRES = _groups()


def _finds_groups(model, X=GROUPS):
    order = np.argsort(model.means_ @ [1.0, 2.0, 0.0])
    np.testing.assert_allclose(model.means_[order], CENTRES, atol=0.6)
    assert np.mean(order[LABELS] == model.predict(X)) > 0.9
    return model


@pytest.mark.parametrize(
    "start",
    ["kmeans", "k-means++", "kmeans-whitened", "agglomerative", "short-em", "labels", "callable"],
)
def test_starts(start):
    given = {"labels": LABELS, "callable": lambda X, n_components, random_state: LABELS + 0 * X[:, 0].astype(int)}
    model = GaussianMixture(3, missing="marginal", random_state=2, init_params=given.get(start, start), max_iter=400)
    _finds_groups(model.fit(GROUPS))


@pytest.mark.parametrize(
    "options",
    [
        {"accelerate": "anderson"},
        {"n_init": 3, "race": True},
        {"equal_weights": True},
        {"means_init": CENTRES, "frozen": {"means": [0]}},
        {"stopping": "aitken"},
        {"n_threads": 1},
    ],
    ids=str,
)
def test_ways_of_fitting(options):
    model = _finds_groups(GaussianMixture(3, missing="marginal", random_state=0, max_iter=300, **options).fit(GROUPS))
    if "frozen" in options:
        np.testing.assert_array_equal(model.means_[0], CENTRES[0])
    if "equal_weights" in options:
        np.testing.assert_array_equal(model.weights_, 1 / 3)


@pytest.mark.parametrize("kind", KINDS, ids=["em", "vb"])
def test_a_fitted_mixture_is_kept_and_goes_on(kind, tmp_path):
    model = _finds_groups(kind(3, missing="marginal", random_state=0, tol=1e-6, max_iter=300).fit(GROUPS))
    np.testing.assert_array_equal(
        kind(3, missing="marginal", random_state=0, tol=1e-6, max_iter=300).fit_predict(GROUPS), model.predict(GROUPS)
    )
    save_model(model, tmp_path / "model.json")
    for again in (pickle.loads(pickle.dumps(model)), load_model(tmp_path / "model.json")):
        np.testing.assert_array_equal(again.score_samples(GROUPS), model.score_samples(GROUPS))
        np.testing.assert_array_equal(again.impute(GROUPS), model.impute(GROUPS))
    total = model.statistics(GROUPS[:120]) + model.statistics(GROUPS[120:])
    updated = pickle.loads(pickle.dumps(model)).update(total)
    warm = pickle.loads(pickle.dumps(model)).set_params(warm_start=True, max_iter=1, tol=0.0)
    np.testing.assert_allclose(_fit(warm, GROUPS).means_, updated.means_, rtol=1e-9, atol=1e-9)
    batches = kind(3, missing="marginal", random_state=0)
    for _, batch in itertools.product(range(6), range(2)):
        batches.partial_fit(GROUPS[batch::2], batch=batch)
    _finds_groups(batches)
    values = model.summary(GROUPS).values
    law = {} if kind is GaussianMixture else {"predictive": "student-t"}
    assert values["log_likelihood"] == pytest.approx(300 * model.score(GROUPS, **law), rel=1e-12)


def test_a_checkpoint_goes_on_to_the_same_bits(tmp_path):
    def make(**params):
        options = {"missing": "marginal", "random_state": 0, "tol": 1e-8, "checkpoint_interval": 0.0}
        return GaussianMixture(3, **(options | params))

    class StoppedError(Exception):
        pass

    def stop(restart, iteration, bound, change):
        if iteration == 4:
            raise StoppedError

    path = tmp_path / "fit"
    with pytest.raises(StoppedError):
        make(checkpoint=path).fit(GROUPS, callback=stop)
    assert isinstance(Checkpoint(path, 0.0), Checkpoint)
    assert path.exists()
    gone_on, whole = make(checkpoint=path).fit(GROUPS), make().fit(GROUPS)
    np.testing.assert_array_equal(gone_on.means_, whole.means_)
    assert gone_on.n_iter_ == whole.n_iter_


def test_choices_of_a_model():
    prototype = GaussianMixture(missing="marginal", random_state=0)
    chosen = GaussianMixtureIC(2, 4, covariance_type="spherical", estimator=prototype, random_state=0).fit(GROUPS)
    assert chosen.best_estimator_.n_components == 3
    assert min(chosen.results_["bic"]) == pytest.approx(chosen.best_estimator_.bic(GROUPS))
    held_out = GaussianMixtureIC(
        2, 4, covariance_type="spherical", estimator=prototype, random_state=0, criterion="held-out"
    ).fit(GROUPS)
    assert held_out.best_estimator_.n_components == 3
    model = chosen.best_estimator_
    assert merge_components(model, GROUPS).entropies[-1] == pytest.approx(entropy(model, GROUPS).sum(), rel=1e-9)


def test_a_repeated_value_is_found_among_gaps(rng):
    X = rng.normal(size=(400, 2))
    X[:120, 0] = 0.5
    X[rng.random(400) < 0.3, 1] = np.nan
    X[rng.random(400) < 0.1, 0] = np.nan
    with pytest.warns(UserWarning, match=r"sits on one repeated value, x1 = 0\.5"):
        _fit(
            GaussianMixture(
                2, missing="marginal", covariance_type="diag", init_params=(X[:, 0] == 0.5).astype(int), max_iter=300
            ),
            X,
        )


def test_gaps_are_no_repeated_value(rng):
    """Rows that lack the same column would lie in a plane if they were completed by a regression."""
    X = rng.normal(size=(300, 3)) @ [[1, 0.5, 0.2], [0, 1, 0.3], [0, 0, 1]]
    X[:150, 2] = np.nan
    X[100:200, 0] = np.nan
    for start in ("kmeans", "short-em", "agglomerative", "kmeans-whitened"):
        model = _fit(GaussianMixture(2, missing="marginal", random_state=0, init_params=start, max_iter=500), X)
        assert model.spurious_ == []
        assert np.linalg.eigvalsh(model.covariances_).min() > 1e-3


def _frames():
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    X = GROUPS
    names = ["a", "b", "c"]
    objects = np.where(np.isnan(X), None, X.astype(object))
    return {
        "pandas": pandas.DataFrame(X, columns=names),
        "None": pandas.DataFrame(objects, columns=names),
        "NA": pandas.DataFrame(X, columns=names).convert_dtypes(),
        "polars": polars.DataFrame(
            {name: [None if np.isnan(v) else v for v in X[:, j]] for j, name in enumerate(names)}
        ),
        "masked": np.ma.masked_invalid(X),
        "list": objects.tolist(),
    }


def test_frames_with_nulls():
    model = GaussianMixture(3, missing="marginal", random_state=0).fit(GROUPS)
    for kind, frame in _frames().items():
        other = GaussianMixture(3, missing="marginal", random_state=0).fit(frame)
        np.testing.assert_array_equal(other.means_, model.means_, err_msg=kind)
        np.testing.assert_array_equal(other.impute(frame), model.impute(GROUPS), err_msg=kind)
        if kind not in ("masked", "list"):
            assert list(other.feature_names_in_) == ["a", "b", "c"]


def test_the_first_numbers_of_the_page(capsys):
    page = (Path(__file__).parents[1] / "docs" / "guide" / "missing-values.md").read_text()
    block = page.split("```python\n")[1].split("```")[0]
    space = {}
    exec(block, space)
    said, of_means = (float(number) for number in re.search(r"# ([\d.]+); .* ([\d.]+) off", block).groups())
    numbers = [line for line in capsys.readouterr().out.splitlines() if re.fullmatch(r"[\d.]+", line)]
    assert [round(float(number), 2) for number in numbers] == [said]
    X, gaps, hidden = space["X"], space["gaps"], space["hidden"]
    errors = (np.nanmean(gaps, axis=0) - X)[hidden]
    assert round(float(np.sqrt(np.mean(errors**2))), 2) == of_means
    # No component of a few rows.
    assert space["model"].weights_.min() > 0.2


def test_pictures_are_of_complete_rows():
    pytest.importorskip("matplotlib")
    model = GaussianMixture(3, missing="marginal", random_state=0).fit(GROUPS)
    for picture in (plotting.plot_mixture, plotting.plot_uncertainty, plotting.plot_pairs):
        with pytest.raises(ValueError, match=r"missing entries, .*: give complete rows, such as those of impute\(X\)"):
            picture(model, GROUPS)
        picture(model, model.impute(GROUPS))


def test_bad_rows_are_refused_by_name():
    X = np.array(GROUPS)
    with pytest.raises(ValueError, match=r'contains NaN \(row 0, column 0\).*set missing="marginal"'):
        GaussianMixture(3).fit(X)
    model = GaussianMixture(3, missing="marginal", random_state=0)
    empty = np.array(X)
    empty[:, 1] = np.nan
    with pytest.raises(ValueError, match="column 1 of X has no observed entry: leave it out"):
        model.fit(empty)
    pandas = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match="column 1, 'b' of X has no observed entry"):
        model.fit(pandas.DataFrame(empty, columns=["a", "b", "c"]))
    empty[0, 1] = 1.0
    with pytest.raises(ValueError, match="column 1 of X has no observed entry"):
        model.fit(empty, sample_weight=np.arange(300) > 0)
    X[5, 2] = -np.inf
    with pytest.raises(ValueError, match=r"contains infinity \(row 5, column 2\)"):
        model.fit(X)
    assert not hasattr(model, "means_")
    model.fit(GROUPS)
    with pytest.raises(ValueError, match=r"contains infinity \(row 5, column 2\)"):
        model.impute(X)
    with pytest.raises(ValueError, match="row 1 of X lies so far from every component"):
        model.predict([[np.nan, 0.0, 0.0], [np.nan, 1e200, 0.0]])
    assert model.score_samples([[np.nan, 1e200, 0.0]])[0] == -np.inf
    with pytest.raises(ValueError, match="draws must be"):
        model.impute(GROUPS, draws=0)


class _OwnDiag(Diag):
    name = "own"
    density_type = type("OwnDensity", (Diag.density_type,), {})


def _refused():
    X = GROUPS
    fitted = GaussianMixture(3, missing="marginal", random_state=0).fit(X)
    return {
        "missing must be one of None, 'marginal', got 'drop'": lambda: GaussianMixture(2, missing="drop").fit(X),
        "truncate must be None with missing='marginal', got 2": lambda: GaussianMixture(
            3, missing="marginal", truncate=2
        ).fit(X),
        "missing must be None with covariance_type 'own'": lambda: GaussianMixture(
            2, missing="marginal", covariance_type=_OwnDiag()
        ).fit(X),
        "fit_many cannot fit with missing='marginal'": lambda: fit_many(GaussianMixture(2, missing="marginal"), [X]),
        "X has missing entries, which are not integrated out here: give complete rows": lambda: standard_errors(
            fitted, X
        ),
        "not integrated out here: give complete rows, such as those of impute": lambda: likelihood_bootstrap(
            fitted, X, n_samples=2
        ),
    }


@pytest.mark.parametrize("number", range(6))
def test_what_is_not_built_is_refused_by_name(number):
    text, call = list(_refused().items())[number]
    with pytest.raises(ValueError, match=re.escape(text)):
        call()


def test_the_prior_of_variational_bayes_is_made_of_what_is_observed():
    X, _ = _iris()
    one = _fit(GaussianMixture(1, missing="marginal", reg_covar=0.0, tol=0.0, max_iter=200), X)
    model = BayesianGaussianMixture(2, missing="marginal", reg_covar=0.0, random_state=0).fit(X)
    np.testing.assert_allclose(model.mean_prior_, one.means_[0], rtol=1e-3)
    np.testing.assert_allclose(model.covariance_prior_, one.covariances_[0] * 150 / 149, rtol=1e-3, atol=1e-4)


def test_a_statistic_is_what_an_update_is_made_of(rng):
    """One update of incomplete rows is a step of the textbook's EM: completed rows, and conditional covariances."""
    family = FAMILIES["full"]
    model = _mixture(family)
    X = _holes(draw(rng, model.weights_, model.means_, model.covariances_, 80), 0.3)
    state = MaximumLikelihood(family, 0.0).update(model.statistics(X))
    joint, evidence, deviation, scatter = _twin(
        X, _log_scale(model.weights_, model.covariances_), model.means_, model.covariances_, np.zeros((3, 4))
    )
    r = np.exp(joint - evidence[:, None])
    means = np.einsum("nk,nkd->kd", r, deviation) / r.sum(axis=0)[:, None]
    second = np.einsum("nk,nkab->kab", r, scatter) / r.sum(axis=0)[:, None, None]
    np.testing.assert_allclose(state.means, means, rtol=1e-9)
    np.testing.assert_allclose(state.covariances, second - means[:, :, None] * means[:, None], rtol=1e-8, atol=1e-9)


def test_starts_leave_a_constant_column_alone():
    X = np.array(GROUPS)
    X[~np.isnan(X[:, 1]), 1] = 5.0
    rows = IncompleteRows(X)
    np.testing.assert_array_equal(rows.drawn()[:, 1], 5.0)
    assert not np.isnan(rows.drawn()).any()
    model = GaussianMixture(2, missing="marginal", random_state=0).fit(X)
    np.testing.assert_allclose(model.means_[:, 1], 5.0, rtol=1e-12)
    with pytest.raises(ValueError, match="not positive definite"):
        BayesianGaussianMixture(2, missing="marginal", reg_covar=0.0).fit(X)
    with pytest.raises(ValueError, match="overflow float64: scale the data"):
        model.fit(GROUPS * 1e200)


def test_the_command_line_takes_such_a_model_to_tables_with_gaps_and_without(run, tmp_path):
    model = GaussianMixture(3, missing="marginal", random_state=0).fit(GROUPS)
    save_model(model, tmp_path / "model.json")
    complete = model.impute(GROUPS)
    np.save(tmp_path / "rows.npy", complete)
    code, out, _ = run("score", tmp_path / "model.json", tmp_path / "rows.npy")
    assert code == 0
    assert f"{300 * model.score(complete):.10g}" in out
    np.save(tmp_path / "gaps.npy", GROUPS)
    code, out, _ = run("predict", tmp_path / "model.json", tmp_path / "gaps.npy")
    assert code == 0
    assert [int(label) for label in out.split()[1:]] == model.predict(GROUPS).tolist()


def test_rows_say_what_they_are():
    rows = IncompleteRows(GROUPS)
    assert repr(rows) == "<IncompleteRows: 300 rows, 3 columns>"
    with pytest.raises(ValueError, match="X has missing entries"):
        rows.take(None)
    completed = rows.completed.X
    assert np.isfinite(completed).all()
    np.testing.assert_array_equal(completed[~np.isnan(GROUPS)], GROUPS[~np.isnan(GROUPS)])


def test_tables_with_gaps_from_the_shell(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    X, _ = _iris()
    lines = [",".join("NA" if np.isnan(value) else repr(float(value)) for value in row) for row in X]
    Path("rows.csv").write_text("\n".join(["a,b,c,d", *lines]) + "\n")
    assert cli.main(["fit", "-k", "2", "rows.csv"]) == 1
    assert "or fit with --missing marginal" in capsys.readouterr().err
    assert cli.main(["fit", "-k", "2", "--missing", "marginal", "--seed", "0", "rows.csv", "-o", "m.json"]) == 0
    capsys.readouterr()
    twin = GaussianMixture(2, missing="marginal", random_state=0).fit(X)
    assert cli.main(["predict", "m.json", "rows.csv"]) == 0
    assert [int(line) for line in capsys.readouterr().out.split()[1:]] == twin.predict(X).tolist()
    assert cli.main(["score", "m.json", "rows.csv"]) == 0
    assert f"{twin.score(X):.10g}" in capsys.readouterr().out
    assert cli.main(["predict", "m.json", "rows.csv", "--drop-missing"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 31
    for option in (["--drop-missing"], ["--standardize"], ["--plot", "a.png"], ["--truncate", "1"]):
        assert cli.main(["fit", "-k", "2", "--missing", "marginal", "rows.csv", *option]) == 2
        assert f"--missing: not allowed with {option[0]}" in capsys.readouterr().err
