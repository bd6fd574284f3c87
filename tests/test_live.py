"""Passes that look only at live components: the same numbers as looking at all, proven zeros, and when they are taken.

Where `always` is used every block of rows is passed so, however small; elsewhere the package decides.
"""

import pickle
import warnings

import numpy as np
import pytest
import reference
from conftest import draw, random_mixture, skip_always
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg

from fastgmm import BayesianGaussianMixture, GaussianMixture, kernels
from fastgmm.exceptions import OutOfRangeError
from fastgmm.families import FAMILIES, STRUCTURES
from fastgmm.kernels import skipping as stages
from fastgmm.kernels import vector
from fastgmm.kernels.compiling import entry
from fastgmm.kernels.structures import contract
from fastgmm.passes import skipping as live
from fastgmm.passes.expectation import Expectation
from fastgmm.passes.scores import Scores
from fastgmm.passes.skipping import Hints, LivePass
from fastgmm.passes.sweep import Sweep
from fastgmm.rows import ArrayRows
from fastgmm.sources import BatchRows, Source
from fastgmm.starts import seeding

# Constraints on covariances make no difference here.
TRIED = STRUCTURES


def _separated(rng, family, n_components, n_features, n_rows, distance=12.0):
    """Rows around means so many standard deviations apart in each feature, and the density a little off."""
    means = distance * rng.normal(size=(n_components, n_features))
    X = means[rng.integers(n_components, size=n_rows)] + rng.normal(size=(n_rows, n_features))
    return X, _density(family, means + 0.1 * rng.normal(size=means.shape))


def _density(family, means):
    """Components of weight 1 / K and unit covariance."""
    n_components, n_features = means.shape
    covariances = {
        "full": np.repeat(np.eye(n_features)[None], n_components, axis=0),
        "tied": np.eye(n_features),
        "diag": np.ones(means.shape),
        "spherical": np.ones(n_components),
    }[family.name]
    density, failed = family.density(np.full(n_components, 1.0 / n_components), means, covariances)
    assert failed == -1
    return density


def _both(family, density, X, weight=None):
    """Return the statistics of a pass that skips, and of one that looks at everything."""
    rows = ArrayRows(X, weight)
    return Expectation(family, rows)(density), Expectation(family, rows, skips=False)(density)


def _assert_same(found, dense, X, tolerance=1e-12):
    """Each to the tolerance of what it is a sum of."""
    assert found.log_evidence == pytest.approx(dense.log_evidence, rel=tolerance)
    assert found.weight == dense.weight
    np.testing.assert_allclose(found.mass, dense.mass, rtol=tolerance, atol=0)
    spread = np.abs(X - X.mean(axis=0)).max() + np.abs(dense.origin - X.mean(axis=0)).max()
    mass = dense.mass[:, None]
    assert (np.abs(found.deviation - dense.deviation) <= tolerance * mass * spread).all()
    np.testing.assert_allclose(found.scatter, dense.scatter, rtol=1e-9, atol=tolerance * mass.sum() * spread**2)


@st.composite
def problems(draw_):
    """A mixture and rows made to be hard: scales, offsets, ties, outliers, rows between means."""
    family = FAMILIES[draw_(st.sampled_from(sorted(FAMILIES)))]
    n_components, n_features = draw_(st.integers(1, 40)), draw_(st.sampled_from([1, 2, 3, 7, 8, 9, 17, 20, 33]))
    rng = np.random.default_rng(draw_(st.integers(0, 2**32 - 1)))
    scale = 10.0 ** draw_(st.integers(-100, 100))
    offset = draw_(st.sampled_from([0.0, 0.0, 1e3, -1e6])) * scale
    separation = draw_(st.sampled_from([0.0, 1.0, 3.0, 10.0, 100.0, 1e5]))
    weights, means, covariances = random_mixture(rng, family, n_components, n_features)
    means = means * separation
    if draw_(st.booleans()) and not family.uses_total:
        # Components of very different widths.
        widths = 10.0 ** rng.uniform(-3, 3, n_components)
        covariances = covariances * np.reshape(widths**2, (-1, *[1] * (covariances.ndim - 1)))
    if draw_(st.booleans()):
        means[n_components // 2 :] = means[: n_components - n_components // 2]  # equal components: ties
    if draw_(st.booleans()):
        weights = weights * 10.0 ** rng.uniform(-30, 0, n_components)
        weights = weights / weights.sum()
    n_rows = draw_(st.sampled_from([1, 5, 50, 400]))
    matrices = family.matrices(covariances, n_components, n_features)
    X = draw(rng, np.full(n_components, 1 / n_components), means, matrices, n_rows)
    kind = draw_(st.sampled_from(["plain", "between", "equal", "outliers"]))
    if kind == "between":
        pairs = rng.integers(n_components, size=(n_rows, 2))
        X = means[pairs].mean(axis=1)
    elif kind == "equal":
        X[:] = X[0]
    elif kind == "outliers":
        X[:: 1 + n_rows // 5] *= 10.0 ** rng.uniform(1, 8)
    means, X = offset + scale * means, offset + scale * X
    density, failed = family.density(weights, means, scale**2 * covariances)
    weight = rng.uniform(0, 3, n_rows) * (rng.uniform(size=n_rows) < 0.8) if draw_(st.booleans()) else None
    if weight is not None:
        weight[0] = 1.0
    return family, density if failed == -1 else None, X, weight


def _distances(density, X):
    """Squared distances of rows from each component, (N, K)."""
    gap = X[:, None] - density.mean
    if density.whitener.ndim == 3:
        return (np.einsum("kij,nkj->nki", np.tril(density.whitener), gap) ** 2).sum(axis=2)
    if isinstance(density, kernels.TiedDensity):
        return ((gap @ np.tril(density.whitener).T) ** 2).sum(axis=2)
    return ((gap * np.reshape(density.whitener, (len(density.mean), -1))) ** 2).sum(axis=2)


@pytest.mark.slow
@given(problems())
@settings(max_examples=300, deadline=None)
def test_nothing_is_missed(problem):
    """The pairs that are found are those that the rule says are live, whatever the mixture: no bound is ever wrong."""
    _, density, X, weight = problem
    if density is None:
        return
    with pytest.MonkeyPatch.context() as patch:
        skip_always(patch)
        passing = LivePass(density, None)
        assert passing.pays(X)
        found = passing.find(X, weight, 0, stages.ENTRIES)
    n_components = len(density.mean)
    joint = density.log_scale - 0.5 * _distances(density, X)
    peak = joint.max(axis=1)
    # Numbers of such a size are rounded by so much.
    blur = 1e-9 + 1e-11 * np.abs(joint).max(axis=1)
    counts = np.ones(len(X), bool) if weight is None else weight > 0
    assert (np.abs(found.peak - peak) <= blur)[counts].all()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(live, "_LEAST_WORK", np.inf)
        labels = Scores(density, ArrayRows(X), labels=True).labels
    # Of ties to rounding either may win; of components that are the same, the first.
    assert (joint[np.arange(len(X)), found.label] >= peak - blur)[counts].all()
    differ = counts & (found.label != labels)
    assert (joint[np.arange(len(X)), labels] >= peak - blur)[differ].all()
    log_weight = stages.log_weights(density)
    cutoff = np.minimum(60 * np.log(2) + np.log(n_components) + log_weight.max() - log_weight, 720.0)
    below = peak[:, None] - joint
    is_far = peak < density.log_scale.max() - 2.0**19
    bound = np.where(is_far[:, None], 708.0, np.minimum(cutoff, 708.0))
    blur = blur[:, None]
    table = np.zeros((len(X), n_components))
    for row in np.flatnonzero(found.size):
        entries = slice(found.begin[row], found.begin[row] + found.size[row])
        table[row, found.component[entries]] = found.responsibility[entries]
    assert np.count_nonzero(table) == found.size.sum(), "a component was found twice"
    assert (table[counts] > 0)[(below < bound - blur)[counts]].all()
    assert (table[counts] == 0)[(below > bound + blur)[counts]].all()
    assert (table[~counts] == 0).all()


@pytest.mark.slow
@given(problems())
@settings(max_examples=150, deadline=None)
def test_statistics_are_those_of_looking_at_everything(problem):
    family, density, X, weight = problem
    if density is None:
        return
    with pytest.MonkeyPatch.context() as patch:
        skip_always(patch)
        try:
            found, dense = _both(family, density, X, weight)
        except OutOfRangeError:
            with pytest.raises(OutOfRangeError):
                Expectation(family, ArrayRows(X, weight), skips=False)(density)
            return
    total = np.abs(np.where(np.isfinite(density.log_scale), density.log_scale, 0)).max() * dense.weight
    assert found.log_evidence == pytest.approx(dense.log_evidence, rel=1e-12, abs=1e-12 * total)
    np.testing.assert_allclose(found.mass, dense.mass, rtol=1e-11, atol=0)
    size = np.abs(X[:, None] - dense.origin).max(axis=0)
    assert (np.abs(found.deviation - dense.deviation) <= 1e-11 * dense.mass[:, None] * size).all()


def test_the_same_bits_whatever_is_remembered_and_for_any_number_of_threads(family, rng, always):
    """Hints, threads and tiles decide how long a pass takes, never what it returns."""
    X, density = _separated(rng, family, 30, 6, 3000, distance=2.0)
    weight = rng.uniform(0, 2, len(X)) * (rng.uniform(size=len(X)) < 0.9)

    def collect(hints, n_threads):
        passing = LivePass(density, n_threads, hints)
        assert passing.pays(X)
        sums = live.blank_sums(30, 6, (0, 0) if family.uses_total else family.shape(30, 6))
        evidence = passing.collect(X, weight, 0, density.mean, sums)
        return [np.array(evidence), *sums]

    hints = Hints()
    first = collect(hints, None)
    wrong = Hints()
    wrong.keep(0, rng.integers(60, size=len(X)), 30)
    for again in (collect(hints, None), collect(hints, 1), collect(Hints(), 3), collect(wrong, 2)):
        for one, other in zip(first, again, strict=True):
            np.testing.assert_array_equal(one, other)


def test_memory_and_batches_have_the_same_bits(family, rng):
    n_components, n_features = 160, 24
    X, density = _separated(rng, family, n_components, n_features, 60_000)
    expectation = Expectation(family, ArrayRows(X))
    whole = expectation(density)
    assert expectation.pairs[0] == len(X) * n_components, "a block was looked at as a whole"
    rows = BatchRows(lambda: (X[i : i + 7001] for i in range(0, len(X), 7001)))
    parts = Expectation(family, rows)(density)
    for name in ("mass", "deviation", "scatter", "log_evidence"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))
    _assert_same(whole, Expectation(family, ArrayRows(X), skips=False)(density), X)


def test_blocks_with_many_live_pairs_are_taken_in_pieces(family, rng, always, monkeypatch):
    X, density = _separated(rng, family, 20, 4, 2000, distance=2.0)
    X = X.astype(np.float64)
    whole = Expectation(family, ArrayRows(X))(density)
    monkeypatch.setattr(live, "_MOST_ENTRIES", 1000)
    expectation = Expectation(family, ArrayRows(X))
    pieces = expectation(density)
    assert (pieces.deviation != whole.deviation).any()
    _assert_same(pieces, whole, X)
    # The pieces are remembered, too.
    begun = expectation.pairs[1]
    again = expectation(density)
    np.testing.assert_array_equal(again.scatter, pieces.scatter)
    assert expectation.pairs[1] <= begun


def test_rows_in_partitions(family, rng, always):
    """What is sent to other processes remembers nothing, and needs nothing that is remembered."""
    X, density = _separated(rng, family, 20, 4, 3000)
    whole = Expectation(family, ArrayRows(X))(density)
    options = {"with_scatter": not family.uses_total, "exact": density}
    parts = [
        pickle.loads(pickle.dumps(Sweep(family, density, density.mean, **options)))(
            ArrayRows(X[part], offset=part.start)
        )
        for part in (slice(0, 500), slice(500, 500), slice(500, 3000))
    ]
    total = parts[0] + parts[1] + parts[2]
    np.testing.assert_allclose(total.mass, whole.mass, rtol=1e-12)
    np.testing.assert_allclose(total.deviation, whole.deviation, rtol=1e-9, atol=1e-9)
    assert total.log_evidence == pytest.approx(whole.log_evidence, rel=1e-12)


def test_a_fit_has_the_same_bounds_at_every_iteration(rng, always):
    X, _ = _separated(rng, FAMILIES["full"], 20, 5, 4000, distance=3.0)
    for estimator in (GaussianMixture, BayesianGaussianMixture):
        model = estimator(20, max_iter=8, tol=0.0, random_state=0, reg_covar=0.0)
        skipping = _bounds(model, X)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(live, "_LEAST_WORK", np.inf)
            looking = _bounds(model, X)
        np.testing.assert_allclose(skipping, looking, rtol=1e-12)
        assert skipping != looking, "both looked at everything"


def _bounds(model, X):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(X).lower_bounds_


def test_a_component_that_loses_all_its_rows_is_looked_at_everywhere(family, rng, always):
    """Its mass, however small, is that of a pass that skips nothing; without that pass it would be 0."""
    X, density = _separated(rng, family, 8, 3, 500)
    density.mean[3] += 12.0
    found, dense = _both(family, density, X)
    assert 0 < dense.mass[3] < 1e-15
    np.testing.assert_allclose(found.mass, dense.mass, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("distance", "pays"), [(0.3, False), (12.0, True)])
def test_it_is_taken_where_components_are_apart(family, rng, distance, pays):
    X, density = _separated(rng, family, 128, 16, 20_000, distance)
    assert LivePass(density, None).pays(X) is pays
    found, dense = _both(family, density, X)
    _assert_same(found, dense, X)
    assert np.array_equal(found.deviation, dense.deviation) is not pays


@pytest.mark.parametrize("change", [{"n_components": 4}, {"n_rows": 200}])
def test_small_problems_are_not_worth_it(family, rng, change):
    size = {"n_components": 128, "n_features": 16, "n_rows": 20_000} | change
    X, density = _separated(rng, family, **size)
    assert not LivePass(density, None).pays(X)


def test_most_pairs_are_never_looked_at(family, rng):
    X, density = _separated(rng, family, 128, 16, 20_000)
    source = Source(family, ArrayRows(X))
    for _ in range(2):
        source.collect(density)
    pairs, begun, finished, alive = source.pairs
    assert pairs == 128 * 20_000
    assert alive == 20_000
    assert finished <= begun < 2 * alive


@pytest.mark.slow
def test_lines_between_means_rule_out_what_radii_cannot(rng):
    """Tiles are wider than means are apart, so that bounds of whole tiles say nothing."""
    n_components, n_features = 64, 24
    family = FAMILIES["full"]
    means = rng.uniform(-5, 5, size=(n_components, n_features))
    means[::4], means[2::4] = means[1::4] + 1.4, means[3::4] + 2.0  # 6.9 and 9.8 standard deviations
    factors = np.linalg.cholesky([np.cov(rng.normal(size=(n_features, 400))) for _ in range(n_components)])
    labels = rng.integers(n_components, size=30_000)
    X = means[labels] + np.einsum("nij,nj->ni", factors[labels], rng.normal(size=(30_000, n_features)))
    density, _ = family.density(np.full(64, 1 / 64), means, factors @ factors.transpose(0, 2, 1))
    source = Source(family, ArrayRows(X))
    for _ in range(2):
        found = source.collect(density)
    pairs, begun, _, alive = source.pairs
    assert begun < 0.4 * pairs
    dense = Expectation(family, ArrayRows(X), skips=False)(density)
    _assert_same(found, dense, X)
    joint = np.empty((len(X), n_components))
    kernels.distance_rows(density, X, 0, len(X), joint)
    joint = density.log_scale - 0.5 * joint
    assert alive == np.sum(joint >= joint.max(axis=1, keepdims=True) - 60 * np.log(2) - np.log(64))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_predictions_are_those_of_looking_at_everything(rng, dtype):
    family = FAMILIES["diag"]
    X, density = _separated(rng, family, 256, 16, 20_000, distance=6.0)
    density.mean[7], density.log_scale[7] = density.mean[200], density.log_scale[200]
    density.whitener[7] = density.whitener[200]
    rows = ArrayRows(X.astype(dtype), rng.uniform(0, 2, len(X)))
    every = {"labels": True, "evidence": True, "sums": True}
    assert LivePass(density, None).pays(X)
    skipping, labels = Scores(density, rows, **every), Scores(density, rows, labels=True).labels
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(live, "_LEAST_WORK", np.inf)
        looking = Scores(density, rows, **every)
    np.testing.assert_array_equal(skipping.labels, looking.labels)
    np.testing.assert_array_equal(labels, looking.labels)
    assert 7 in labels
    assert 200 not in labels
    np.testing.assert_allclose(skipping.evidence, looking.evidence, rtol=1e-6 if dtype is np.float32 else 1e-13)
    assert skipping.sum_evidence == pytest.approx(looking.sum_evidence, rel=1e-12)
    assert skipping.sum_peak == pytest.approx(looking.sum_peak, rel=1e-12)
    assert skipping.weight == looking.weight


def test_large_float32_problems_are_exact_where_components_are_apart(rng):
    """float32 arithmetic would leave six digits."""
    family = FAMILIES["diag"]
    X, density = _separated(rng, family, 256, 16, 20_000)
    X = X.astype(np.float32)
    found, dense = _both(family, density, X)
    assert found.log_evidence != dense.log_evidence
    exact = Expectation(family, ArrayRows(X.astype(np.float64)), skips=False)(density)
    assert found.log_evidence == pytest.approx(exact.log_evidence, rel=1e-12)
    np.testing.assert_allclose(family.recentre(found, density.mean).scatter, exact.scatter, rtol=1e-9)


def test_a_row_whose_distances_overflow_is_named(family, rng, always):
    X, density = _separated(rng, family, 5, 3, 100)
    X[42] = 1e200
    with pytest.raises(OutOfRangeError, match="moments" if family.uses_total else "row 42 of X"):
        Expectation(family, ArrayRows(X))(density)
    with pytest.raises(OutOfRangeError, match="row 42 of X"):
        Scores(density, ArrayRows(X), labels=True)
    weight = np.ones(len(X))
    weight[42] = 0.0
    found, dense = _both(family, density, X, weight)
    np.testing.assert_allclose(found.mass, dense.mass, rtol=1e-12)


@pytest.mark.parametrize("name", ["full", "diag"])
def test_lengths_that_overflow_rule_nothing_out(rng, always, name):
    """In the metric of the narrow component, squared distances between means are beyond float64."""
    family = FAMILIES[name]
    density = _density(family, np.repeat([[0.0], [1e5]], 9, axis=1))
    density.whitener[1] *= 1e150
    density.log_scale[1] += 9 * 150 * np.log(10.0)
    X = np.concatenate([rng.normal(size=(40, 9)), density.mean[1:]])
    hints = Hints()
    hints.keep(0, np.zeros(41, np.int64), 2)
    passing = LivePass(density, None, hints)
    assert passing.pays(X)
    found = passing.find(X, None, 0, stages.ENTRIES)
    np.testing.assert_array_equal(found.label, np.repeat([0, 1], [40, 1]))
    assert found.peak[40] == density.log_scale[1]


def test_guesses_are_made_however_far_means_are(rng, always):
    """One mean at 1e12: distances between the others cancel, and every row is still compared with some."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        means = 10 * rng.normal(size=(300, 4))
        means[rng.integers(300)] = 1e12
        X = means[rng.integers(300, size=3000)] + rng.normal(size=(3000, 4))
        density = _density(FAMILIES["diag"], means)
        labels = Scores(density, ArrayRows(X), labels=True).labels
        assert labels.max() < 300
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(live, "_LEAST_WORK", np.inf)
            np.testing.assert_array_equal(labels, Scores(density, ArrayRows(X), labels=True).labels)


def test_components_without_rows_cost_no_second_pass_where_there_is_a_prior(rng, always, monkeypatch):
    X, _ = _separated(rng, FAMILIES["diag"], 5, 3, 1000)
    model = BayesianGaussianMixture(40, covariance_type="diag", max_iter=6, tol=0.0, random_state=0)
    lost = []
    monkeypatch.setattr("fastgmm.passes.expectation.lost_mass", lambda *_: lost.append(1))
    _bounds(model, X)
    assert model.n_effective_components_ < 40
    assert lost == []
    _bounds(GaussianMixture(5, covariance_type="diag", max_iter=2, tol=0.0, random_state=0), X)
    assert lost


# Truncation


def _truncated_step(X, m, weights, means, matrices):
    """Return the bound, and EM's next parameters, with the m best components of each row: the slow twin."""
    joint = reference.log_joint(X, weights, means, matrices)
    kept = np.argsort(-joint, axis=1, kind="stable")[:, :m]
    mask = np.full(joint.shape, -np.inf)
    np.put_along_axis(mask, kept, 0.0, axis=1)
    evidence = reference.log_sum_exp(joint + mask)
    r = np.exp(joint + mask - evidence[:, None])
    return evidence.mean(), reference.em_step(FAMILIES["full"], X, np.ones(len(X)), r, 0.0)


@pytest.mark.parametrize("m", [1, 2, 4])
def test_truncation_keeps_the_best_components_of_each_row(rng, m):
    weights, means, covariances = random_mixture(rng, FAMILIES["full"], 6, 2)
    X = draw(rng, weights, means, covariances, 400)
    start = {"weights_init": weights, "means_init": means, "precisions_init": np.linalg.inv(covariances)}
    model = GaussianMixture(6, truncate=m, max_iter=4, tol=0.0, reg_covar=0.0, **start)
    bounds = _bounds(model, X)
    for step in range(4):
        _, (weights, means, covariances) = _truncated_step(X, m, weights, means, covariances)
        assert bounds[step] == pytest.approx(_truncated_step(X, m, weights, means, covariances)[0], rel=1e-10)
    np.testing.assert_allclose(model.means_, means, rtol=1e-8)
    np.testing.assert_allclose(model.covariances_, covariances, rtol=1e-8)
    assert model.lower_bound_ < model.score(X)


@pytest.mark.parametrize("estimator", [GaussianMixture, BayesianGaussianMixture])
def test_no_iteration_lowers_the_bound_of_truncated_fits(family, rng, estimator):
    weights, means, covariances = random_mixture(rng, family, 6, 2)
    X = draw(rng, weights, means, family.matrices(covariances, 6, 2), 300)
    model = estimator(6, covariance_type=family, truncate=2, max_iter=15, tol=0.0, reg_covar=0.0, random_state=0)
    bounds = np.array(_bounds(model, X))
    assert (np.diff(bounds) >= -1e-12 * np.abs(bounds[1:])).all()
    assert bounds[-1] > bounds[0]
    whole = estimator(6, covariance_type=family, truncate=6, max_iter=3, tol=0.0, random_state=0)
    plain = estimator(6, covariance_type=family, max_iter=3, tol=0.0, random_state=0)
    np.testing.assert_allclose(_bounds(whole, X), _bounds(plain, X), rtol=1e-12)


def test_truncated_tied_covariances_that_are_narrow(rng):
    """Where the total scatter cancels, scatters are summed by component."""
    means = 1e5 * rng.normal(size=(5, 3))
    X = means[rng.integers(5, size=500)] + rng.normal(size=(500, 3))
    model = GaussianMixture(5, covariance_type="tied", truncate=1, tol=1e-6, random_state=0, n_init=3).fit(X)
    gap = X - model.means_[model.predict(X)]
    np.testing.assert_allclose(model.covariances_, gap.T @ gap / len(X) + 1e-6 * np.eye(3), rtol=1e-7, atol=1e-9)


def test_starts_that_race_are_truncated_on_the_sample_too(rng, monkeypatch):
    monkeypatch.setattr(seeding, "_RACE_ROWS", 500)
    X, _ = _separated(rng, FAMILIES["full"], 3, 2, 4000, distance=1.0)
    source = Source(FAMILIES["full"], ArrayRows(X), n_kept=2)
    assert seeding.race_sample(source, 3, np.random.RandomState(0)).n_kept == 2


@pytest.mark.parametrize("value", [0, 1.5, "two"])
def test_truncate_is_checked(value):
    with pytest.raises((ValueError, TypeError), match="truncate"):
        GaussianMixture(2, truncate=value).fit(np.arange(10.0)[:, None])


# Vector code


@entry
def _projected(vectors, centre, x, n, listed, out):
    vector.partial.project(vectors, centre, x, n, listed, 1, len(listed), out)


@pytest.mark.parametrize("n_features", [1, 8, 19])
def test_projections(rng, n_features):
    vectors, centre = rng.normal(size=(13, n_features)), rng.normal(size=n_features)
    x = vector.tiles.tile_buffer(n_features, 50, centre)
    x[:, :50] = rng.normal(size=(n_features, 50))
    listed = rng.permutation(13)
    out = np.full((13, x.shape[1]), 7.0)
    _projected(vectors, centre, x, 50, listed, out)
    expected = vectors[listed[1:]] @ (x[:, :50] - centre[:, None])
    np.testing.assert_allclose(out[1:, :50], expected, rtol=1e-12, atol=1e-13)
    assert (out[0] == 7.0).all()


@entry
def _look_along_lines(density, bounds, X, radius, away, square, reached, lives):
    n = X.shape[0]
    search = stages.search.search_buffers(density, bounds, n)
    vector.tiles.pack_tile(X, 0, n, search.gap, search.x)
    for b in range(square.shape[0]):
        search.total[b] = square[b]
        search.candidates.reached[b] = reached[b]
    listed = search.candidates.listed
    for k in range(listed.shape[0]):
        listed[k] = k
    contract.draw_lines(density, 0, listed, len(listed), search.gap, search.image, search.lines)
    stages.search._rule_out(bounds, search, density.mean[0], n, radius, away, len(listed))
    lives[:] = search.candidates.live


@pytest.mark.slow
@given(
    n_features=st.sampled_from([9, 12, 20]),
    seed=st.integers(0, 2**32 - 1),
    rows=st.sampled_from(["anywhere", "along", "near"]),
    condition=st.sampled_from([0.0, 0.0, 0.3, 1.0, 4.0]),
    separation=st.sampled_from([1e-162, 1.0, 10.0, 1000.0]),
)
@settings(max_examples=200, deadline=None)
def test_lines_prove_no_more_than_is_true(n_features, seed, rows, condition, separation):
    """No chunk is ruled out by the distances that are computed for it, to the last bit: rounding is allowed for."""
    rng = np.random.default_rng(seed)
    n = 2 * vector.partial.CHUNK + 5
    mean = separation * rng.normal(size=(2, n_features))
    whitener = np.repeat(np.eye(n_features)[None], 2, axis=0)
    whitener += 10.0**condition * np.tril(rng.normal(size=whitener.shape), -1) * (condition > 0)
    density = kernels.FullDensity(np.zeros(2), mean, whitener)
    X = mean[0] + rng.normal(size=(n, n_features))
    if rows == "along":
        gap = mean[1] - mean[0]
        direction = gap / np.abs(gap).max()
        X[: n // 2] = mean[0] + rng.uniform(-3, 1, size=(n // 2, 1)) * max(np.abs(gap).max(), 1.0) * direction
    elif rows == "near":
        X[: n // 2] = (
            mean[1] + linalg.solve_triangular(whitener[1], rng.normal(size=(n_features, n // 2)), lower=True).T
        )
    bounds = stages.blank_bounds(2, mean.mean(axis=0), 10.0 ** rng.uniform(-1, 1, n_features))
    stages.measure(2, 1, density, bounds)
    bounds.limit[:] = 0.0
    width = vector.tiles.tile_width(n)
    square = np.zeros(width)
    square[:n] = (((X - mean[0]) * bounds.unit) ** 2).sum(axis=1)
    away = np.sqrt((((mean - mean[0]) * bounds.unit) ** 2).sum(axis=1))
    exact = np.empty((n, 2))
    kernels.distance_rows(density, X, 0, n, exact)

    def are_kept(distances):
        reached = np.full(width, -np.inf)
        reached[:n] = distances
        lives = np.full((2, width // vector.partial.CHUNK), 7, np.uint8)
        radius = np.sqrt(square.max()) * (1.0 + 2.0**-40)
        _look_along_lines(density, bounds, X, radius, away, square, reached, lives)
        return lives[1, :3]

    assert (are_kept(exact[:, 1]) == 1).all()
    far_below = exact[:, 1] - 1.001 * exact[:, 1].max()
    assert (are_kept(far_below) == 0).all()
    if condition == 0 and rows == "anywhere":
        bounds.unit[:] = 1.0
        stages.measure(2, 1, density, bounds)
        square[:n] = ((X - mean[0]) ** 2).sum(axis=1)
        away[1] = np.linalg.norm(mean[1] - mean[0])
        # One row of a chunk is enough to keep it; then bounds are what they bound.
        assert (are_kept(exact[:, 1] * (1.0 - 1e-6)) == 0).all()
        one = exact[:, 1] * (1.0 - 1e-6)
        one[0] = exact[0, 1]
        np.testing.assert_array_equal(are_kept(one), [1, 0, 0])


@entry
def _begin_and_finish(whitener, mean, x, n, candidates, limits):
    first = vector.partial.first_whitened(mean.shape[1])
    listed, distance = candidates.listed, candidates.distance
    vector.partial.begin_whitened(whitener, mean, x, n, listed, 0, len(listed), first, distance)
    vector.partial.finish_whitened(whitener, mean, x, n, first, candidates, len(listed), limits)


@pytest.mark.parametrize("n_features", [1, 5, 7, 8, 13, 16, 27])
def test_distances_that_are_not_given_up_have_the_bits_of_the_dense_pass(rng, n_features):
    """And those that are given up are above their limits, for every row of the chunk."""
    n_components, n = 9, vector.partial.CHUNK * 2 + 5
    whitener = np.tril(rng.normal(size=(n_components, n_features, n_features)))
    mean = 3 * rng.normal(size=(n_components, n_features))
    x = vector.tiles.tile_buffer(n_features, n, mean)
    x[:, :n] = rng.normal(size=(n_features, n))
    distance = np.zeros((n_components, x.shape[1]))
    density = kernels.FullDensity(np.zeros(n_components), mean, whitener)
    exact = np.empty((n, n_components))
    kernels.distance_rows(density, np.ascontiguousarray(x[:, :n].T), 0, n, exact)
    listed = rng.permutation(n_components)
    lives = np.zeros((n_components, x.shape[1] // vector.partial.CHUNK), np.uint8)
    twice = np.zeros(n_components)
    reached = np.full(x.shape[1], -np.inf)
    reached[:n] = np.inf
    limit = np.full(n_components, 1.0)
    candidates = vector.partial.Candidates(listed, np.arange(n_components), distance, lives, reached)
    _begin_and_finish(whitener, mean, x, n, candidates, vector.partial.Limits(twice, limit, twice.max()))
    assert lives[0, :3].all()
    assert not lives[:, :3].all()
    for slot, k in enumerate(listed):
        before = exact[:, listed[:slot]].min(axis=1, initial=np.inf)
        for chunk, columns in enumerate(np.split(np.arange(n), range(vector.partial.CHUNK, n, vector.partial.CHUNK))):
            if lives[slot, chunk]:
                np.testing.assert_array_equal(distance[slot, columns], exact[columns, k])
            else:
                assert (exact[columns, k] > limit[k] + before[columns]).all()
    np.testing.assert_allclose(reached[:n], exact.min(axis=1), rtol=1e-12)
