"""Variational Bayes: the rule against a slow twin, the bound against its long form and exact evidences, limits."""

import math

import numpy as np
import pytest
import reference
from conftest import CONJUGATE, draw, of_one, random_mixture
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fastgmm import kernels
from fastgmm.families import FAMILIES
from fastgmm.fitting.loop import fit_loop
from fastgmm.rows import ArrayRows
from fastgmm.rules import VariationalBayes, make_prior
from fastgmm.sources import Source
from fastgmm.starts.seeding import seed

TRIED = CONJUGATE

STICKS = pytest.mark.parametrize("sticks", [False, True], ids=["distribution", "process"])


def _prior_values(rng, family, n_features):
    """Return (alpha, beta, m0, nu0, psi0) of a random prior, psi0 in the shape of one component's covariance."""
    a = rng.normal(size=(n_features, 2 * n_features + 1))
    matrix = a @ a.T
    psi0 = of_one(family, matrix)
    low = n_features - 1 if family.has_matrices else 0
    return rng.uniform(0.01, 2), rng.uniform(0.1, 3), rng.normal(size=n_features), low + rng.uniform(0.2, 4), psi0


def _rule(family, prior, sticks, sort=False, reg_covar=0.0):
    alpha, beta, m0, nu0, psi0 = prior
    return VariationalBayes(family, make_prior(family, alpha, m0, beta, nu0, psi0), sticks, sort, reg_covar)


def _problem(rng, family, n_components=3, n_features=2, n_rows=120):
    weights, means, covariances = random_mixture(rng, family, n_components, n_features)
    X = draw(rng, weights, means, family.matrices(covariances, n_components, n_features), n_rows)
    sample_weight = rng.uniform(0.1, 2, n_rows)
    r = rng.dirichlet(np.ones(n_components), n_rows)
    return X, sample_weight, r


def _updated(rule, source, r):
    density = rule.family.isotropic(np.zeros((r.shape[1], source.n_features)), 1.0)
    return rule.update(source.collect(density, mode=kernels.GIVEN, responsibilities=r))


def _assert_state(state, law, rtol=1e-9):
    posterior = state.posterior
    concentration = np.array([law.a, law.b]) if law.sticks else law.a[None]
    np.testing.assert_allclose(posterior.concentration, concentration, rtol=rtol)
    np.testing.assert_allclose(posterior.mean_precision, law.kappa, rtol=rtol)
    np.testing.assert_allclose(posterior.degrees_of_freedom, np.ravel(law.nu), rtol=rtol)
    np.testing.assert_allclose(state.means, law.m, rtol=rtol, atol=rtol)
    nu = np.reshape(law.nu, (-1,) + (1,) * (np.ndim(law.psi) - 1)) if np.ndim(law.nu) else law.nu
    expected = np.broadcast_to(law.psi / nu, state.covariances.shape)
    np.testing.assert_allclose(state.covariances, expected, rtol=10 * rtol, atol=rtol)


@STICKS
@pytest.mark.parametrize("n_features", [1, 2, 5])
def test_updates_bound_and_progress_follow_the_slow_twin(family, sticks, n_features, rng):
    X, w, r = _problem(rng, family, 3, n_features)
    prior = _prior_values(rng, family, n_features)
    rule, source = _rule(family, prior, sticks), Source(family, ArrayRows(X, w))
    state = _updated(rule, source, r)
    for _ in range(8):
        law = reference.Law(family.name, X, w, r, *prior, sticks)
        _assert_state(state, law)
        joint = law.expected_log_joint(X)
        best = np.exp(joint - reference.log_sum_exp(joint)[:, None])
        statistics = source.collect(rule.density(state))
        assert rule.bound(state, statistics) == pytest.approx(law.bound(X, w, best), rel=1e-10, abs=1e-8)
        successor = rule.update(statistics)
        r = best
        expected = reference.Law(family.name, X, w, r, *prior, sticks).bound(X, w, r)
        assert rule.progress(state, statistics, successor) == pytest.approx(expected, rel=1e-10, abs=1e-8)
        state = successor


@STICKS
def test_one_component_has_the_exact_log_marginal_likelihood(family, sticks, rng):
    for n_features in (1, 3):
        X, _, _ = _problem(rng, family, 1, n_features, 40)
        alpha, beta, m0, nu0, psi0 = prior = _prior_values(rng, family, n_features)
        rule, source = _rule(family, prior, sticks), Source(family, ArrayRows(X))
        state = _updated(rule, source, np.ones((40, 1)))
        expected = reference.log_marginal(family.name, X, beta, m0, nu0, psi0)
        if sticks:  # and all rows must fall on the first stick
            expected += math.lgamma(41) + math.lgamma(1 + alpha) - math.lgamma(41 + alpha)
        assert rule.bound(state, source.collect(rule.density(state))) == pytest.approx(expected, rel=1e-12)


def test_the_evidence_is_the_product_of_predictive_densities(family, rng):
    """For one component: p(x_1, ..., x_n) = prod p(x_i | those before), from no data on."""
    from fastgmm.passes.scores import Scores
    from fastgmm.rules import predictive_density

    X, _, _ = _problem(rng, family, 1, 2, 9)
    prior = _prior_values(rng, family, 2)
    rule = _rule(family, prior, False)
    total = 0.0
    for n in range(9):
        if n == 0:
            state = rule.update(family.zero(np.zeros((1, 2))))
        else:
            state = _updated(rule, Source(family, ArrayRows(X[:n])), np.ones((n, 1)))
        law = predictive_density(family, state.posterior, state.weights, state.density)
        total += float(Scores(law, ArrayRows(X[n : n + 1]), evidence=True).evidence[0])
    assert total == pytest.approx(reference.log_marginal(family.name, X, *prior[1:]), rel=1e-12)


@STICKS
def test_no_data_leave_the_prior(family, sticks, rng):
    alpha, beta, m0, nu0, psi0 = prior = _prior_values(rng, family, 3)
    rule = _rule(family, prior, sticks)
    state = rule.update(family.zero(rng.normal(size=(4, 3))))
    expected = np.array([np.ones(4), np.full(4, alpha)]) if sticks else np.full((1, 4), alpha)
    np.testing.assert_array_equal(state.posterior.concentration, expected)
    np.testing.assert_array_equal(state.posterior.mean_precision, np.full(4, beta))
    np.testing.assert_array_equal(state.posterior.degrees_of_freedom, nu0)
    np.testing.assert_array_equal(state.means, np.tile(m0, (4, 1)))
    psi = np.broadcast_to(psi0, state.covariances.shape)
    np.testing.assert_allclose(state.covariances, psi / nu0, rtol=1e-15)
    assert state.divergence == pytest.approx(0.0, abs=1e-13)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    st.integers(0, 2**31),
    st.integers(1, 5),
    st.integers(1, 3),
    st.sampled_from(sorted(TRIED)),
    st.booleans(),
    st.booleans(),
)
def test_the_bound_never_falls(number, n_components, n_features, name, sticks, sort):
    rng = np.random.default_rng(number)
    family = FAMILIES[name]
    X, w, _ = _problem(rng, family, n_components, n_features, 150)
    rule = _rule(family, _prior_values(rng, family, n_features), sticks, sort)
    source = Source(family, ArrayRows(X, w))
    watched = []
    result = fit_loop(
        rule,
        source,
        seed(rule, source, n_components, rng, "random"),
        tol=0.0,
        max_iter=40,
        callback=lambda iteration, bound, change: watched.append(bound),
    )
    slack = 1e-11 * max(map(abs, result.bounds))
    assert np.diff(result.bounds).min() >= -slack
    # What the stopping rule watches lies between the bounds before and after each update.
    assert np.all(np.array(watched) <= np.array(result.bounds) + slack)
    assert np.all(np.array(watched[1:]) >= np.array(result.bounds[:-1]) - slack)


def test_sorted_sticks_raise_the_bound_and_keep_the_components_together(family, rng):
    X, w, _ = _problem(rng, family, 4, 2, 300)
    prior = (0.5, *_prior_values(rng, family, 2)[1:])
    r = rng.dirichlet([0.2, 0.5, 2.0, 8.0], 300)  # lightest first: the worst order
    plain, sorting = (_rule(family, prior, True, sort) for sort in (False, True))
    source = Source(family, ArrayRows(X, w))
    state = _updated(plain, source, r)
    statistics = source.collect(plain.density(state))
    kept, sorted_ = plain.update(statistics), sorting.update(statistics)
    order = np.argsort(-statistics.mass)
    assert not np.array_equal(order, np.arange(4))
    np.testing.assert_allclose(sorted_.means, kept.means[order], rtol=1e-13)
    # The sum over the components of a shared one is in another order.
    rtol = 1e-14 if family.is_tied else 0.0
    np.testing.assert_allclose(sorted_.covariances, family.select(kept.covariances, order), rtol=rtol)
    assert np.all(np.diff(sorted_.posterior.concentration[0]) <= 0)
    gain = sorting.progress(state, statistics, sorted_) - plain.progress(state, statistics, kept)
    # The evidence of sticks is a product of beta functions; the best of all orders is that of falling mass.
    from itertools import permutations

    from scipy.special import betaln

    def sticks(order):
        mass = statistics.mass[list(order)]
        return sum(betaln(1 + mass[k], prior[0] + mass[k + 1 :].sum()) for k in range(4))

    assert gain == pytest.approx(sticks(order) - sticks(range(4)), rel=1e-8)
    assert max(permutations(range(4)), key=sticks) == tuple(order)


def test_moments_that_lost_their_digits_are_collected_again_in_the_same_order(rng):
    """Components move far in one update, and their order changes in the same update."""
    family = FAMILIES["full"]
    X = np.concatenate([rng.normal(size=(30, 2)) * 1e-8, 1 + rng.normal(size=(90, 2)) * 1e-8])
    prior = (1.0, 1e-20, np.zeros(2), 2.0, 1e-20 * np.eye(2))
    source = Source(family, ArrayRows(X))
    labels = np.repeat([0, 1], [30, 90])
    rule = _rule(family, prior, True, True)
    density = family.isotropic(np.full((2, 2), 1e7), 1.0)
    statistics = source.collect(density, mode=kernels.LABELLED, labels=labels)
    assert not rule.update(statistics).trusted
    from fastgmm.fitting.plain import updated

    state = updated(
        rule, lambda origin: source.collect(density, origin, mode=kernels.LABELLED, labels=labels), statistics
    )
    law = reference.Law("full", X[::-1], np.ones(120), np.eye(2)[1 - labels[::-1]], *prior, True)
    np.testing.assert_allclose(state.means, law.m, rtol=1e-9, atol=1e-15)
    for k, rows in enumerate((X[30:], X[:30])):
        centred = rows - rows.mean(axis=0)
        expected = (prior[4] + centred.T @ centred) / (len(rows) + 2)
        np.testing.assert_allclose(state.covariances[k], expected, rtol=1e-4, atol=1e-4 * expected.max())


@pytest.mark.parametrize("function", ["digamma", "log_gamma"])
def test_digamma_and_log_gamma_against_scipy_and_mpmath(function):
    import mpmath
    from scipy import special

    ours = getattr(kernels, function)
    theirs = {"digamma": special.digamma, "log_gamma": special.gammaln}[function]
    exact = {"digamma": mpmath.digamma, "log_gamma": lambda x: mpmath.re(mpmath.loggamma(x))}[function]
    x = np.concatenate([np.logspace(-300, 15, 700), np.linspace(0.4, 3, 521), np.linspace(3, 40, 371)])
    values = np.array([ours(value) for value in x])
    np.testing.assert_allclose(values, theirs(x), rtol=1e-14, atol=1e-14)
    with mpmath.workdps(40):
        truth = np.array([float(exact(mpmath.mpf(value))) for value in x])
    np.testing.assert_allclose(values, truth, rtol=2e-15, atol=2e-15)


def test_multivariate_gamma_functions(rng):
    from scipy import special

    for dimension in (1, 2, 7):
        x, a = 0.5 * (dimension - 1) + rng.uniform(0.1, 20), rng.uniform(0.1, 20)
        expected = special.multigammaln(x + a, dimension) - special.multigammaln(x, dimension)
        assert kernels.log_multi_gamma_ratio(x, a, dimension) == pytest.approx(expected, rel=1e-13)
        slope = kernels.log_multi_gamma_ratio(x - 1e-5, 2e-5, dimension) / 2e-5
        assert kernels.multi_digamma(x, dimension) == pytest.approx(slope, rel=1e-6)


@settings(deadline=None, max_examples=200, derandomize=True)
@given(st.floats(-3, 15), st.floats(-0.9, 40))
def test_ratios_of_gamma_functions_do_not_cancel(exponent, a):
    import mpmath

    x = 10.0**exponent
    a = a if a >= 0 else a * x
    with mpmath.workdps(50):
        expected = float(mpmath.loggamma(mpmath.mpf(x) + mpmath.mpf(a)) - mpmath.loggamma(mpmath.mpf(x)))
    assert kernels.log_gamma_ratio(x, a) == pytest.approx(expected, rel=1e-14, abs=1e-13)


def test_log1p_keeps_small_arguments():
    x = np.concatenate(
        [[0.0, 1e300, np.inf], np.logspace(-320, 308, 4000), np.random.default_rng(0).uniform(0, 3, 4000)]
    )
    values = np.array([kernels.vector_log1p(value) for value in x])
    np.testing.assert_array_max_ulp(values[np.isfinite(x)], np.log1p(x[np.isfinite(x)]), 3)
    assert values[2] == np.inf


@STICKS
@pytest.mark.parametrize("n_features", [1, 2, 5])
def test_the_student_predictive_is_scipys(family, sticks, n_features, rng):
    from fastgmm.passes.scores import Scores
    from fastgmm.rules import predictive_density

    X, w, r = _problem(rng, family, 3, n_features)
    prior = _prior_values(rng, family, n_features)
    law = reference.Law(family.name, X, w, r, *prior, sticks)
    state = _updated(_rule(family, prior, sticks), Source(family, ArrayRows(X, w)), r)
    rows = np.concatenate([X, 20 * rng.normal(size=(20, n_features))])
    predictive = predictive_density(family, state.posterior, state.weights, state.density)
    scores = Scores(predictive, ArrayRows(rows), evidence=True)
    np.testing.assert_allclose(scores.evidence, np.log(reference.student_density(law, rows)), rtol=1e-10)


def test_samples_of_the_student_predictive_follow_it(family, rng):
    """A prior with few degrees of freedom and three rows: heavy tails, far from the plug-in mixture."""
    from fastgmm import BayesianGaussianMixture

    X = rng.normal(size=(3, 2))
    model = BayesianGaussianMixture(1, covariance_type=family.name, random_state=0).fit(X)
    rows, labels = model.sample(4000, predictive="student-t")
    assert set(labels) == {0}
    # Every law here has the same tail in each feature: Student's with n - p + 1 degrees of freedom.
    dimension = 2 if family.has_matrices else 1
    df = np.ravel(model.degrees_of_freedom_)[0] + 1 - dimension
    covariances = family.of_attribute(model.covariances_, 1)
    variances = family.variances(covariances, 1, 2)[0] * np.ravel(model.degrees_of_freedom_)[0] / df
    scale = np.sqrt(variances * (1 + 1 / model.mean_precision_[0]))
    for d in range(2):
        assert stats.kstest(rows[:, d], stats.t(df, model.means_[0, d], scale[d]).cdf).pvalue > 1e-3
        gauss = stats.norm(model.means_[0, d], np.sqrt(family.variances(covariances, 1, 2)[0, d]))
        assert stats.kstest(rows[:, d], gauss.cdf).pvalue < 1e-4
    # The joint law: the mean log-density of its own samples is minus its entropy, estimated from other samples.
    other = model.sample(4000, random_state=1, predictive="student-t")[0]
    a, b = (model.score_samples(sample, predictive="student-t") for sample in (rows, other))
    assert abs(a.mean() - b.mean()) < 5 * np.hypot(a.std(), b.std()) / np.sqrt(4000)
    if family.name.endswith(
        "diag"
    ):  # tails of features are independent: both far out is rarer than in a multivariate law
        far = np.abs(rows - model.means_[0]) / scale > stats.t(df).ppf(0.95)
        assert far.all(axis=1).mean() == pytest.approx(0.01, abs=0.006)
