"""Seeding: k-means against scikit-learn's, k-means++ against its definition, starts that make sense.

What the methods that see shapes promise: nothing depends on units, and groups are found that k-means cuts.
"""

import numpy as np
import pytest
from conftest import draw, random_mixture, read_columns, slow

from fastgmm import BayesianGaussianMixture, GaussianMixture, kernels
from fastgmm.exceptions import CollapsedComponentError
from fastgmm.families import FAMILIES
from fastgmm.fitting.loop import fit_loop
from fastgmm.kernels.clustering.plus_plus import kmeans_plus_plus
from fastgmm.passes.expectation import Expectation
from fastgmm.rows import ArrayRows, Block, summary_of
from fastgmm.rules import MaximumLikelihood
from fastgmm.rules.prior import flat_prior
from fastgmm.sources import Source
from fastgmm.starts import short_fits
from fastgmm.starts.seeding import _AUTO, METHODS, Sample, seed

AFFINE = ("kmeans-whitened", "agglomerative")
ON_A_SAMPLE = (*AFFINE, "short-em")


def _seed(family, X, n_components, method, random_state=0, weight=None, **given):
    rule, source = MaximumLikelihood(family, 1e-6), Source(family, ArrayRows(X, weight))
    return seed(rule, source, n_components, np.random.RandomState(random_state), method, **given)


def test_kmeans_plus_plus_draws_by_squared_distance():
    """Rows at 0, 1 and 3: after the row at 0, the other two are drawn with odds 1 : 9."""
    points = np.array([[0.0], [1.0], [3.0]])
    chosen = np.empty(2, np.int64)
    second = []
    for u in (np.arange(1000) + 0.5) / 1000:
        kmeans_plus_plus(points, np.ones(3), np.array([[0.1], [u]]), chosen)
        assert chosen[0] == 0
        second.append(chosen[1])
    assert np.bincount(second, minlength=3).tolist() == [0, 100, 900]


def test_kmeans_plus_plus_keeps_the_best_candidate_and_minds_weights():
    points = np.array([[0.0], [10.0], [11.0], [12.0], [30.0]])
    chosen = np.empty(2, np.int64)
    everything = np.array([[0.0, 0.0, 0.0, 0.0, 0.0], [0.01, 0.1, 0.2, 0.3, 0.99]])
    kmeans_plus_plus(points, np.ones(5), everything, chosen)
    potentials = {j: np.minimum(points**2, (points - points[j]) ** 2).sum() for j in (1, 2, 3, 4)}
    assert chosen[1] == min(potentials, key=potentials.get)
    kmeans_plus_plus(points, np.array([1.0, 0, 0, 0, 1.0]), everything, chosen)
    assert chosen.tolist() == [0, 4]


def test_kmeans_plus_plus_with_fewer_places_than_centres():
    chosen = np.full(4, -1)
    kmeans_plus_plus(np.zeros((3, 2)), np.ones(3), np.full((4, 3), 0.5), chosen)
    assert ((chosen >= 0) & (chosen < 3)).all()


@pytest.mark.parametrize("method", METHODS)
def test_starts_are_those_of_a_partition_of_the_rows(family, method, rng):
    weights, means, covariances = random_mixture(rng, family, 3, 2)
    X = draw(rng, weights, means, family.matrices(covariances, 3, 2), 500)
    state = _seed(family, X, 3, method)
    np.testing.assert_allclose(state.weights @ state.means, X.mean(axis=0), rtol=1e-9, atol=1e-9)
    assert state.weights.sum() == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_start_and_another_another(method, rng):
    """But for methods that find the same whatever they draw, where they can."""
    family = FAMILIES["full"]
    X = rng.normal(size=(400, 2))
    a, b, c = (_seed(family, X, 4, method, number).means for number in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert method in AFFINE or not np.allclose(a, c)


def test_clusters_get_the_same_numbers_from_any_seed(rng):
    X = rng.normal(size=(300, 2)) * 0.1 + np.repeat([[0, 0], [5, 5], [9, -3]], 100, axis=0)
    starts = [_seed(FAMILIES["diag"], X, 3, "kmeans", number).means for number in range(6)]
    for means in starts:
        np.testing.assert_allclose(means, [[0, 0], [5, 5], [9, -3]], atol=0.1)


@pytest.mark.parametrize("method", ["kmeans", *ON_A_SAMPLE])
def test_big_data_are_seeded_from_a_sample(method, rng):
    X = np.concatenate([rng.normal(size=(60000, 2)), rng.normal(size=(60000, 2)) + 8])
    state = _seed(FAMILIES["full"], X, 2, method)
    np.testing.assert_allclose(state.weights @ state.means, X.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(state.means, [[0, 0], [8, 8]], atol=0.1)
    np.testing.assert_allclose(state.weights, 0.5, atol=0.01)  # of all rows, not of the sample


def test_rows_of_weight_zero_are_never_centres(rng):
    X = np.r_[rng.normal(size=(100, 2)), rng.normal(size=(100, 2)) + 1e3]
    weight = np.repeat([1.0, 0.0], 100)
    for method in METHODS:
        assert np.abs(_seed(FAMILIES["full"], X, 3, method, weight=weight).means).max() < 10


def test_one_number_is_taken_from_the_random_state():
    X = np.random.default_rng(0).normal(size=(200, 2))
    for method in METHODS:
        used, fresh = np.random.RandomState(7), np.random.RandomState(7)
        seed(MaximumLikelihood(FAMILIES["full"], 1e-6), Source(FAMILIES["full"], ArrayRows(X)), 3, used, method)
        fresh.uniform()
        assert used.uniform() == fresh.uniform()


def test_generators_and_their_numbers_are_taken(rng):
    from fastgmm.validation import check_random_state

    assert check_random_state(np.random.default_rng(3)).uniform() == np.random.default_rng(3).uniform()
    assert check_random_state(np.int64(3)).uniform() == np.random.RandomState(3).uniform()
    np.random.seed(5)
    expected = np.random.RandomState(5).uniform()
    assert check_random_state(None).uniform() == expected


def test_a_start_on_single_rows_reaches_half_way_to_the_next(family):
    """The pseudo-rows: 1 % of an average component, the next two standard deviations away, in the shape of gaps."""
    X = np.array([[0.0, 0.0], [8.0, 1.0], [0.0, 3.0], [9.0, 9.0]])
    rule, source = MaximumLikelihood(family, 0.0), Source(family, ArrayRows(X))
    state = seed(rule, source, 4, np.random.RandomState(0), "random_from_data")
    distances = ((state.means[:, None] - state.means) ** 2).sum(axis=2)
    gaps = (state.means - state.means[(distances + np.diag([np.inf] * 4)).argmin(axis=1)]) ** 2
    squares = gaps.sum(axis=1)
    shape = (gaps / squares[:, None]).mean(axis=0)
    local = squares[:, None] / 4 * shape
    reach = [
        min((((m - n) ** 2) / v).sum() for n in state.means if (n != m).any())
        for m, v in zip(state.means, local, strict=True)
    ]
    expected = local * np.minimum(1, np.array(reach) / 4)[:, None] * 0.01 / 1.01
    if not family.has_matrices and not family.block_shape(2):
        expected[:] = expected.mean(axis=1, keepdims=True)
    if family.is_tied:
        expected[:] = expected.mean(axis=0)
    np.testing.assert_allclose(family.variances(state.covariances, 4, 2), expected, rtol=1e-9)


@pytest.mark.parametrize("method", ["kmeans", "k-means++", "random_from_data", *ON_A_SAMPLE])
@pytest.mark.parametrize("factor", [*slow(1e6), 1e9])
def test_one_far_outlier_does_not_make_starts_collapse(family, method, factor, rng):
    X = rng.normal(size=(100, 5))
    X[17] *= factor
    for number in range(5):
        state = _seed(family, X, 3, method, number)
        assert np.isfinite(state.density.log_scale).all()


def test_sampled_rows_come_with_their_weights(rng):
    X, weight = np.arange(12.0).reshape(6, 2), np.array([0.0, 1, 2, 0, 3, 4])
    rows, got = ArrayRows(X, weight).sample(100, rng)
    np.testing.assert_array_equal(rows, X[[1, 2, 4, 5]])
    np.testing.assert_array_equal(got, [1, 2, 3, 4])


def test_kmeans_plus_plus_draws_by_weight():
    points = np.array([[0.0], [1.0], [2.0]])
    chosen = np.empty(1, np.int64)
    first = []
    for u in (np.arange(100) + 0.5) / 100:
        kmeans_plus_plus(points, np.array([1.0, 0.0, 3.0]), np.array([[u]]), chosen)
        first.append(chosen[0])
    assert np.bincount(first, minlength=3).tolist() == [25, 0, 75]
    two, second = np.empty(2, np.int64), []
    for u in (np.arange(100) + 0.5) / 100:
        kmeans_plus_plus(points, np.array([1.0, 12.0, 1.0]), np.array([[0.0], [u]]), two)
        second.append(two[1])
    assert np.bincount(second, minlength=3).tolist() == [0, 75, 25]


@pytest.mark.parametrize("method", ["kmeans", "k-means++", *ON_A_SAMPLE])
def test_a_start_counts_copies_and_not_rows_of_weight_zero(family, method, rng):
    X = rng.normal(size=(90, 2))
    counts = rng.integers(0, 4, 90).astype(float)
    weighted = _seed(family, X, 6, method, 3, counts)
    copies = _seed(family, np.repeat(X, counts.astype(int), axis=0), 6, method, 3)
    without = _seed(family, X[counts > 0], 6, method, 3, counts[counts > 0])
    scaled = _seed(family, X, 6, method, 3, counts * 1e-3)
    for other in (copies, without, scaled):
        np.testing.assert_allclose(other.means, weighted.means, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(other.covariances, weighted.covariances, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("narrow", ["full", "tied"])
def test_components_that_are_narrow_across_the_axes_keep_their_digits(narrow, rng):
    """Separated along (1, -1), where they are 1e-6 wide: no diagonal entry of the moments shows the cancellation."""
    family = FAMILIES[narrow]
    along, across = rng.normal(size=200), 1e-6 * rng.normal(size=200)
    side = np.repeat([-1.0, 1.0], 100)
    X = np.c_[along + side + across, along - side - across] * 2.0**-0.5
    state = _seed(family, X, 2, "", labels=(side > 0).astype(np.int64))
    direction = np.array([1.0, -1.0]) * 2.0**-0.5
    exact = np.mean([np.var(X[side == s] @ direction) for s in (-1, 1)])
    matrix = family.matrices(state.covariances, 2, 2).mean(axis=0)
    assert direction @ matrix @ direction == pytest.approx(exact + 1e-6, rel=1e-3)
    statistics = Expectation(family, ArrayRows(X))(state.density)
    scatter = statistics.scatter if narrow == "tied" else statistics.scatter.sum(axis=0)
    assert direction @ scatter @ direction / 200 == pytest.approx(exact, rel=1e-3)


def test_short_fits_start_where_the_best_of_them_ended():
    X = read_columns("faithful")
    family = FAMILIES["full"]
    rule, source = MaximumLikelihood(family, 1e-6), Source(family, ArrayRows(X))
    generator = np.random.default_rng(int(np.random.RandomState(5).uniform() * 2**53))
    starts = [seed(rule, source, 3, generator, "k-means++") for _ in range(10)]
    bounds = [fit_loop(rule, source, start, tol=0.0, max_iter=10).bound for start in starts]
    state = seed(rule, source, 3, np.random.RandomState(5), "short-em")
    assert fit_loop(rule, source, state, tol=0.0, max_iter=0).bound == max(bounds)
    assert max(bounds) > np.median(bounds)


@pytest.mark.parametrize("name", FAMILIES)
def test_short_fits_at_once_are_those_one_by_one(monkeypatch, name):
    """Of few rows a compiled loop makes them, which ends where the loop in Python does."""
    X = read_columns("iris")[::2].astype(np.float32)
    weight = np.random.default_rng(0).integers(1, 4, len(X)) * 0.5
    made = []

    class Counted(short_fits.ShortFits):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr(short_fits, "ShortFits", Counted)
    states = []
    for at_once in (True, False):
        if not at_once:
            monkeypatch.setattr(short_fits, "pays", lambda *_: False)
        rule, source = MaximumLikelihood(FAMILIES[name], 1e-6), Source(FAMILIES[name], ArrayRows(X, weight))
        states.append(seed(rule, source, 4, np.random.RandomState(1), "short-em"))
        assert len(made) == 1
    for one, other in zip(
        (states[0].weights, states[0].covariances, *states[0].density),
        (states[1].weights, states[1].covariances, *states[1].density),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=1e-9)


def test_short_fits_heed_limits_and_priors():
    X = read_columns("iris")
    rule, source = MaximumLikelihood(FAMILIES["full"], 0.0), Source(FAMILIES["full"], ArrayRows(X))
    rule.eigenvalue_ratio = 1.0
    state = seed(rule, source, 3, np.random.RandomState(0), "short-em")
    eigenvalues = np.linalg.eigvalsh(state.covariances)
    assert eigenvalues.max() / eigenvalues.min() < 1.0 + 1e-9
    rule.eigenvalue_ratio = None
    assert short_fits.pays(rule, source, 3)
    rule.prior = flat_prior(rule.family, 4)
    assert not short_fits.pays(rule, source, 3)


def test_short_fits_that_all_fail_say_why():
    X = np.r_[np.zeros((5, 2)), np.ones((5, 2))]
    rule, source = MaximumLikelihood(FAMILIES["full"], 0.0), Source(FAMILIES["full"], ArrayRows(X))
    with pytest.raises(CollapsedComponentError):
        seed(rule, source, 2, np.random.RandomState(0), "short-em")


def test_short_fits_shun_a_likelihood_that_has_no_limit(rng):
    """Three rows as good as equal: the highest bound is that of a spike on them."""

    class Blind(MaximumLikelihood):
        def spurious(self, state, n_samples):
            return -1

    family = FAMILIES["full"]
    spike = [[10.5], [10.5 + 1e-5], [10.5 - 1e-5]]
    X = np.r_[rng.normal(size=(60, 1)), rng.normal(size=(60, 1)) + 6, spike]
    rule, source = MaximumLikelihood(family, 0.0), Source(family, ArrayRows(X))
    for number in range(3):
        for judge, finds_it in ((Blind(family, 0.0), True), (rule, False)):
            state = seed(judge, source, 4, np.random.RandomState(number), "short-em")
            assert (rule.spurious(state, len(X)) >= 0) == finds_it


def _sorted(state):
    order = np.argsort(state.weights)
    return state.weights[order], state.means[order], state.covariances[order]


@pytest.mark.parametrize("method", AFFINE)
def test_starts_follow_every_affine_map_of_the_rows(method, rng):
    """Other units, offsets, mixed features: the same groups. k-means would find others."""
    X = rng.normal(size=(150, 3)) @ rng.normal(size=(3, 3)) + 4 * rng.integers(0, 3, size=(150, 1))
    A, b = rng.normal(size=(3, 3)) * [1e-6, 1.0, 1e5], np.array([1e3, -1e6, 1e8])
    weights, means, covariances = _sorted(_seed(FAMILIES["full"], X, 4, method))
    mapped = _sorted(_seed(FAMILIES["full"], X @ A + b, 4, method))
    np.testing.assert_allclose(mapped[0], weights, rtol=1e-12)
    np.testing.assert_allclose(mapped[1], means @ A + b, rtol=1e-6)
    back = np.linalg.inv(A)
    np.testing.assert_allclose(back.T @ (mapped[2] - 1e-6 * np.eye(3)) @ back, covariances, rtol=1e-3, atol=1e-2)


def _stripes(rng):
    """Two parallel groups twenty times as long as wide."""
    return rng.normal(size=(300, 2)) * [20.0, 1.0] + np.repeat([[0.0, 0.0], [0.0, 6.0]], 150, axis=0)


@pytest.mark.parametrize("method", AFFINE)
def test_stripes_are_found_that_k_means_cuts_across(method, rng):
    X = _stripes(rng)
    for number in range(3):
        means = _seed(FAMILIES["full"], X, 2, method, number).means
        np.testing.assert_allclose(np.sort(means[:, 1]), [0, 6], atol=0.5)
    assert np.ptp(_seed(FAMILIES["full"], X, 2, "kmeans").means[:, 1]) < 3


@pytest.mark.parametrize("method", ON_A_SAMPLE)
@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_shapes_are_seen_at_any_scale_and_offset(family, method, scale, rng):
    X = rng.normal(size=(60, 2)) + np.repeat([[0.0, 0.0], [9.0, 0.0]], 30, axis=0)
    rule = MaximumLikelihood(family, 0.0)
    here, there, far = (
        seed(rule, Source(family, ArrayRows(rows)), 2, np.random.RandomState(0), method)
        for rows in (X, X * scale, X + 2.0**27)
    )
    np.testing.assert_allclose(there.means / scale, here.means, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(far.means - 2.0**27, here.means, atol=1e-6)
    np.testing.assert_allclose(there.weights, here.weights, rtol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_awkward_rows_have_starts(family, method, rng):
    """Constant columns, many copies of few rows, nearly as many components as rows."""
    few = rng.normal(size=(7, 2))
    for X in (np.c_[rng.normal(size=20), np.zeros(20)], np.repeat(few, 4, axis=0), few, np.zeros((9, 2))):
        state = _seed(family, X, 6, method)
        assert np.isfinite(state.means).all()
        assert np.isfinite(state.covariances).all()
        assert state.weights.sum() == pytest.approx(1)


@pytest.mark.parametrize("method", ON_A_SAMPLE)
def test_starts_are_the_same_bits_for_any_number_of_threads(method, rng):
    X = rng.normal(size=(20000, 3)) + 4 * rng.integers(0, 3, size=(20000, 1))
    family = FAMILIES["full"]
    states = [
        seed(
            MaximumLikelihood(family, 1e-6),
            Source(family, ArrayRows(X), n_threads),
            3,
            np.random.RandomState(1),
            method,
        )
        for n_threads in (1, 2)
    ]
    np.testing.assert_array_equal(states[0].means, states[1].means)
    np.testing.assert_array_equal(states[0].covariances, states[1].covariances)


@pytest.mark.parametrize("method", ON_A_SAMPLE)
def test_variational_fits_take_every_method(method, rng):
    X = _stripes(rng) * ([0.1, 1.0] if method == "short-em" else [1.0, 1.0])
    model = BayesianGaussianMixture(2, init_params=method, random_state=0).fit(X)
    np.testing.assert_allclose(np.sort(model.means_[:, 1]), [0, 6], atol=0.5)


def test_a_sample_stands_for_the_weight_of_all_rows(rng):
    """A prior of a few rows must not outweigh the rows of a sample, where they are few of many."""
    X, weight = rng.normal(size=(30000, 1)), rng.uniform(0.5, 1.5, 30000)
    sample = Sample(Source(FAMILIES["full"], ArrayRows(X, weight)), 1000, rng)
    assert sample.rows.n_rows < 1001
    assert not sample.is_whole
    assert sample.total_weight == pytest.approx(weight.sum())
    assert Sample(Source(FAMILIES["full"], ArrayRows(X[:900], weight[:900])), 1000, rng).is_whole


def test_auto_is_k_means_first_and_then_something_else():
    """Each start takes one number, so those of one method can be made one by one."""
    X = read_columns("faithful")
    numbers = np.random.RandomState(3)
    single = [GaussianMixture(3, init_params=method, random_state=numbers).fit(X).lower_bound_ for method in _AUTO]
    for n_init in range(1, len(_AUTO) + 1):
        model = GaussianMixture(3, init_params="auto", n_init=n_init, random_state=3).fit(X)
        assert model.lower_bound_ == max(single[:n_init])
    assert len(set(single)) > 1


@pytest.mark.parametrize("method", METHODS)
def test_starts_keep_to_the_number_of_threads(method, rng, monkeypatch):
    collect, numbers = kernels.collect, set()

    def noted(n_lanes, n_threads, *arguments):
        numbers.add(n_threads)
        collect(n_lanes, n_threads, *arguments)

    monkeypatch.setattr(kernels, "collect", noted)
    GaussianMixture(3, init_params=method, n_threads=1, random_state=0).fit(rng.normal(size=(400, 2)))
    assert numbers == {1}


def test_a_centre_without_rows_starts_where_rows_are():
    """With a row at 1e50, centres are known to 1e34 only; a component there could never be moved to the others."""
    X = np.random.default_rng(0).normal(size=(100, 5))
    X[17] = 1e50
    state = _seed(FAMILIES["full"], X, 3, "kmeans")
    assert sorted(np.abs(state.means).max(axis=1) > 1.0) == [False, False, True]


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e4])
def test_summaries_of_parts_add_up_to_that_of_the_whole(rng, scale):
    """Weights of the parts are of different scales, so that each has an exponent of its own; some are 0."""
    X, weight = rng.normal(size=(60, 2)), rng.uniform(0.5, 2.0, 60)
    weight[:25] *= scale
    weight[[0, 1, 30]] = 0.0
    parts = [summary_of(Block(slice(a, b), X[a:b], weight[a:b])) for a, b in ((0, 2), (2, 25), (25, 60))]
    for summary in (parts[0] + (parts[1] + parts[2]), (parts[2] + parts[1]) + parts[0]):
        assert (summary.n_rows, summary.n_weighted, summary.place) == (60, 57, 2)
        assert summary.total_weight == pytest.approx(weight.sum(), rel=1e-14)
        assert summary.effective_rows == pytest.approx(weight.sum() ** 2 / (weight**2).sum(), rel=1e-14)
        assert (summary.smallest, summary.largest) == (weight[weight > 0].min(), weight.max())
        np.testing.assert_array_equal(summary.first, X[2:3])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.filterwarnings("ignore:Best performing")
def test_numbers_of_numpy_start_like_those_of_python(method):
    X = np.random.default_rng(0).normal(size=(200, 2))
    ours, theirs = (GaussianMixture(n, init_params=method, random_state=0, max_iter=2).fit(X) for n in (3, np.int64(3)))
    np.testing.assert_array_equal(ours.means_, theirs.means_)
