"""k-means: against naive twins and scikit-learn's, with and without pruning, far away and tiny, on several threads."""

import numpy as np
import pytest
from conftest import slow
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastgmm.kernels.clustering.plus_plus import kmeans_plus_plus
from fastgmm.starts.kmeans import _Lloyd, kmeans, lloyd, plus_plus


def _naive_distances(X, centres):
    return ((X[:, None, :] - centres[None]) ** 2).sum(axis=2)


def _naive_kmeans(X, centres, weight, n_iter):
    """Lloyd's algorithm by its definition, for clusters that keep rows."""
    for _ in range(n_iter):
        labels = _naive_distances(X, centres).argmin(axis=1)
        centres = np.array(
            [np.average(X[labels == k], axis=0, weights=weight[labels == k]) for k in range(len(centres))]
        )
    distances = _naive_distances(X, centres)
    return centres, distances.argmin(axis=1), weight @ distances.min(axis=1)


def _naive_plus_plus(X, weight, uniform):
    """Greedy k-means++ by its definition: row by row, with whole tables."""
    n_centres, n_candidates = uniform.shape
    chosen, closest = [], np.full(len(X), np.inf)
    for step in range(n_centres):
        portion = weight * closest if step else weight
        if not portion.sum() > 0:
            portion = weight
        cumulative = np.cumsum(portion)
        best = None
        for u in uniform[step, : n_candidates if step else 1]:
            row = int(np.searchsorted(cumulative, u * cumulative[-1], side="right"))
            left = np.minimum(closest, ((X - X[row]) ** 2).sum(axis=1))
            if best is None or weight @ left < weight @ best[1]:
                best = row, left
        chosen.append(best[0])
        closest = best[1]
    return chosen


class _Table:
    """A random state that hands out one table."""

    def __init__(self, table):
        self._table = table

    def uniform(self, size):
        assert self._table.shape == size
        return self._table


def _blobs(rng, n_rows, n_features, n_centres, spread=2.0):
    means = spread * rng.normal(size=(n_centres, n_features))
    return means[rng.integers(n_centres, size=n_rows)] + rng.normal(size=(n_rows, n_features))


def _same(one, other):
    np.testing.assert_array_equal(one.centres, other.centres)
    np.testing.assert_array_equal(one.labels, other.labels)
    assert one[2:] == other[2:]


@pytest.mark.parametrize("n_features", [1, 2, 3, 8, 21])
def test_iterations_are_those_of_the_definition(rng, n_features):
    X, weight = _blobs(rng, 700, n_features, 6), rng.uniform(0.2, 2, 700)
    start = X[:6].copy()
    for n_iter in (1, 2, 9):
        centres, labels, inertia = _naive_kmeans(X, start, weight, n_iter)
        for prune in (False, True):
            ours = kmeans(X, start, weight, max_iter=n_iter, tol=0.0, prune=prune)
            np.testing.assert_allclose(ours.centres, centres, rtol=1e-12, atol=1e-12)
            np.testing.assert_array_equal(ours.labels, labels)
            assert ours.inertia == pytest.approx(inertia, rel=1e-12)
            assert ours.n_iter == n_iter or (ours.converged and ours.n_iter < n_iter)


@pytest.mark.parametrize("algorithm", ["lloyd", *slow("elkan")])
@pytest.mark.parametrize("tol", [0.0, 1e-4, 1e-2])
def test_ends_where_scikit_learns_does_after_as_many_iterations(rng, algorithm, tol):
    cluster = pytest.importorskip("sklearn.cluster")
    X, weight = _blobs(rng, 2000, 4, 9, 1.0), rng.uniform(0.2, 2, 2000)
    start = X[:9].copy()
    # Its tolerance heeds no weights.
    tolerance = (
        tol * X.var(axis=0).mean() / np.average((X - np.average(X, axis=0, weights=weight)) ** 2, 0, weight).mean()
    )
    theirs = cluster.KMeans(9, init=start, n_init=1, algorithm=algorithm, tol=tol, max_iter=300)
    theirs.fit(X, sample_weight=weight)
    ours = kmeans(X, start, weight, tol=tolerance, max_iter=300)
    assert ours.n_iter == theirs.n_iter_ > 5
    assert ours.converged
    assert ours.inertia == pytest.approx(theirs.inertia_, rel=1e-12)
    np.testing.assert_allclose(ours.centres, theirs.cluster_centers_, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(ours.labels, theirs.labels_)
    np.testing.assert_array_equal(lloyd(X, weight, start), kmeans(X, start, weight).centres)


@st.composite
def problems(draw):
    """Rows on a coarse lattice (ties, duplicates), some far out, anywhere, at any scale, some without weight."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n_rows, n_features = draw(st.integers(2, 150)), draw(st.integers(1, 4))
    n_centres = draw(st.integers(1, min(n_rows, 9)))
    X = rng.integers(0, draw(st.sampled_from([2, 5, 1000])), size=(n_rows, n_features)).astype(float)
    if draw(st.booleans()):
        X += rng.normal(size=X.shape)
    X[:2] *= draw(st.sampled_from([1.0, 1e6]))
    X = (X + draw(st.sampled_from([0.0, 1e8]))) * draw(st.sampled_from([1.0, 1e-150, 1e142]))
    weight = rng.choice([0.0, 1.0, 1.0, 0.1, 0.3], size=n_rows)
    weight[-1] = 1.0
    start = X[rng.choice(n_rows, n_centres)]
    return X, weight, start


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(problems())
def test_pruning_changes_no_bit(problem):
    X, weight, start = problem
    dense = kmeans(X, start, weight, max_iter=30, tol=0.0, prune=False)
    _same(kmeans(X, start, weight, max_iter=30, tol=0.0, prune=True), dense)
    assert np.isfinite(dense.centres).all()
    assert np.isfinite(dense.inertia)
    # No row has a nearer centre than its own, or an equal one before it (on the lattice all is exact).
    middle = X.mean(axis=0)
    unit = np.abs(X - middle).max() or 1.0
    distances = _naive_distances((X - middle) / unit, (dense.centres - middle) / unit)
    own = distances[np.arange(len(X)), dense.labels]
    assert np.all(own <= distances.min(axis=1) * (1 + 1e-6) + 1e-14)


def test_pruning_changes_no_bit_of_many_iterations(rng):
    """Long enough for bounds to be kept for many iterations, and for sums to be changed rather than made anew."""
    X = rng.uniform(size=(6000, 3))
    start = X[:12].copy()
    dense = kmeans(X, start, max_iter=1000, tol=0.0, prune=False)
    for prune in (True, None):
        _same(kmeans(X, start, max_iter=1000, tol=0.0, prune=prune), dense)
    assert dense.n_iter > 40
    assert dense.converged
    exact = [X[dense.labels == k].mean(axis=0) for k in range(12)]
    np.testing.assert_allclose(dense.centres, exact, rtol=1e-13)


def test_rows_that_keep_their_label_are_passed_over(rng):
    X = np.concatenate([rng.normal(size=(500, 2)), 100 + rng.normal(size=(500, 2))])
    state = _Lloyd(X, None, 2, None)
    here = state.rows.framed(np.array([[0.0, 0.0], [100.0, 100.0]]))
    state.prune()
    everything = state.assign(here, fresh=True)[1]
    assert everything == pytest.approx(_naive_distances(state.rows.framed(X), here).min(axis=1).sum(), rel=1e-12)
    moved = here + 0.1
    state.move(((moved - here) ** 2).sum(axis=1))
    assert state.assign(moved) == (0.0, 0.0)  # no label has changed, and no distance was computed
    state.move(np.array([0.0, 1e4]))
    assert state.assign(moved)[1] > 0.0


def test_bounds_hold_for_the_centre_that_comes_nearest(rng):
    """Of three, the far one moves in: rows that it takes must be looked at, whatever the bound to the second says."""
    X = np.concatenate([rng.normal(size=(300, 1)), 10 + rng.normal(size=(300, 1))])
    state = _Lloyd(X, None, 3, None)
    here = state.rows.framed(np.array([[0.0], [10.0], [1000.0]]))
    state.prune()
    state.assign(here, fresh=True)
    moved = state.rows.framed(np.array([[0.0], [10.0], [5.0]]))
    state.move(((moved - here) ** 2).sum(axis=1))
    state.assign(moved)
    expected = _naive_distances(X, np.array([[0.0], [10.0], [5.0]])).argmin(axis=1)
    np.testing.assert_array_equal(state.labels, expected)
    assert (expected == 2).sum() > 0


def test_bounds_allow_for_rounding(rng):
    """Rows within rounding of the plane between two centres, which move by less: half a unit in the last place."""
    centres = rng.uniform(-1, 1, size=(2, 8))
    axis = (centres[1] - centres[0]) / np.linalg.norm(centres[1] - centres[0])
    X = rng.uniform(-1, 1, size=(5000, 8))
    X += (2e-16 * rng.normal(size=5000) - (X - centres.mean(axis=0)) @ axis)[:, None] * axis
    bounded, dense = _Lloyd(X, None, 2, None), _Lloyd(X, None, 2, None)
    here = bounded.rows.framed(centres)
    bounded.prune()
    bounded.assign(here, fresh=True)
    for _ in range(5):
        moved = here + 1e-17 * rng.normal(size=here.shape)
        bounded.move(((moved - here) ** 2).sum(axis=1))
        here = moved
        bounded.assign(here)
        changed, _ = dense.assign(here, fresh=True)
        np.testing.assert_array_equal(bounded.labels, dense.labels)
    assert changed > 0


def test_sums_are_made_anew_where_little_is_left_of_a_cluster():
    """A cluster of a thousand rows of weights 0.1 loses all but two: what is left is summed as if alone."""
    X = np.concatenate([np.linspace(0, 1, 1000), [50.0, 51.0], np.linspace(80, 90, 9000)])[:, None]
    weight = np.full(len(X), 0.1)
    state, alone = _Lloyd(X, weight, 3, None), _Lloyd(X, weight, 3, None)
    before = state.rows.framed(np.array([[20.0], [-1e3], [85.0]]))
    after = state.rows.framed(np.array([[50.0], [0.5], [85.0]]))
    state.means(before)
    state.means(before)  # nothing moves, so that the next sums may be those of changes
    means, empty, moved = state.means(after)
    assert moved == 1000
    assert empty.size == 0
    np.testing.assert_array_equal(means, alone.means(after)[0])


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_same_bits_for_any_number_of_threads_and_for_float32_rows(rng, dtype):
    X = _blobs(rng, 20_011, 3, 12, 0.8).astype(dtype)
    weight = rng.uniform(0, 2, len(X))
    start = X[:12].astype(float)
    state = _Lloyd(X, weight, 12, None)
    assert state.rows.n_lanes > 3
    one = kmeans(X, start, weight, n_threads=1, tol=0.0, max_iter=25)
    seeds = plus_plus(X, weight, 12, np.random.default_rng(0), 1)
    for n_threads in (2, 3):
        _same(kmeans(X, start, weight, n_threads=n_threads, tol=0.0, max_iter=25), one)
        np.testing.assert_array_equal(plus_plus(X, weight, 12, np.random.default_rng(0), n_threads), seeds)
    _same(kmeans(X.astype(float), start, weight, tol=0.0, max_iter=25), one)
    np.testing.assert_array_equal(plus_plus(X.astype(float), weight, 12, np.random.default_rng(0)), seeds)


@pytest.mark.parametrize("layout", ["F", "strided", "read-only", "integer"])
def test_other_layouts_are_the_same_rows(rng, layout):
    X = rng.integers(0, 50, size=(300, 3)).astype(float)
    start = X[:4].copy()
    other = {
        "F": np.asfortranarray(X),
        "strided": np.repeat(X, 2, axis=0)[::2],
        "read-only": X.copy(),
        "integer": X.astype(np.int32),
    }[layout]
    other.flags.writeable = layout != "read-only"
    _same(kmeans(other, start), kmeans(X, start))
    chosen = (plus_plus(rows, None, 4, np.random.default_rng(1)) for rows in (other, X))
    np.testing.assert_array_equal(*chosen)


@pytest.mark.parametrize("exponent", [-480, 480])
def test_extreme_scales_change_nothing(rng, exponent):
    X = _blobs(rng, 400, 3, 5)
    start = X[:5].copy()
    factor = 2.0**exponent
    one, other = kmeans(X, start), kmeans(X * factor, start * factor)
    np.testing.assert_array_equal(other.labels, one.labels)
    np.testing.assert_array_equal(other.centres, one.centres * factor)
    assert (other.n_iter, other.inertia) == (one.n_iter, one.inertia * factor**2)
    a, b = (plus_plus(rows, None, 5, np.random.default_rng(1)) for rows in (X, X * factor))
    np.testing.assert_array_equal(a, b)


def test_data_far_from_zero_lose_no_digits(rng):
    X = np.round(_blobs(rng, 400, 3, 5) * 2**10) / 2**10  # exact after adding 1e8, which doubles keep 2**-26 of
    start = X[:5].copy()
    one, other = kmeans(X, start), kmeans(X + 1e8, start + 1e8)
    np.testing.assert_array_equal(other.labels, one.labels)
    np.testing.assert_allclose(other.centres - 1e8, one.centres, atol=3e-8)
    assert other.inertia == pytest.approx(one.inertia, rel=1e-12)


def test_a_weight_is_a_number_of_copies_and_rows_without_weight_do_nothing(rng):
    X, counts = _blobs(rng, 300, 2, 4), rng.integers(0, 4, 300)
    X[counts == 0] *= 1e200
    start = X[counts > 0][:4].copy()
    weighted = kmeans(X, start, counts.astype(float))
    copies = kmeans(np.repeat(X, counts, axis=0), start)
    np.testing.assert_allclose(weighted.centres, copies.centres, rtol=1e-12)
    np.testing.assert_array_equal(np.repeat(weighted.labels, counts), copies.labels)
    assert weighted.inertia == pytest.approx(copies.inertia, rel=1e-12)
    assert weighted.n_iter == copies.n_iter
    chosen = plus_plus(X, counts.astype(float), 8, np.random.default_rng(0))
    assert np.all(counts[chosen] > 0)


def test_no_centre_is_left_without_rows(rng):
    X = np.r_[rng.normal(size=(50, 2)), [[30.0, 30.0]]]
    found = kmeans(X, np.array([[0.0, 0.0], [1e3, 1e3], [0.1, 0.1]]))
    assert set(found.labels) == {0, 1, 2}
    # One of weight 0 is not where to go.
    weight = np.r_[np.ones(50), 0.0]
    found = kmeans(X, np.array([[0.0, 0.0], [1e3, 1e3], [0.1, 0.1]]), weight)
    assert set(found.labels[:50]) == {0, 1, 2}
    assert np.abs(found.centres).max() < 10


@pytest.mark.parametrize("prune", [False, True])
def test_more_centres_than_places(prune):
    X = np.repeat([[0.0, 1.0], [2.0, 3.0]], 3, axis=0)
    found = kmeans(X, np.zeros((5, 2)), prune=prune)
    assert found.inertia == 0.0
    assert found.converged
    chosen = plus_plus(X, None, 5, np.random.default_rng(0))
    assert set(map(tuple, X[chosen])) == {(0.0, 1.0), (2.0, 3.0)}
    few = kmeans(X[:1], np.arange(6.0).reshape(3, 2))
    np.testing.assert_array_equal(few.centres[few.labels[0]], X[0])


@pytest.mark.parametrize("prune", [False, True])
def test_equal_distances_go_to_the_first_centre(prune):
    X = np.array([[0.0], [1.0], [2.0]])
    state = _Lloyd(X, None, 3, None)
    if prune:
        state.prune()
    state.assign(state.rows.framed(np.array([[0.0], [2.0], [2.0]])), fresh=True)
    assert state.labels.tolist() == [0, 0, 1]


@pytest.mark.parametrize("n_rows", [5, 239, 241, 3000])
def test_plus_plus_is_that_of_the_definition(rng, n_rows):
    X, weight = rng.normal(size=(n_rows, 3)), rng.choice([0.0, 0.5, 1.0, 3.0], size=n_rows)
    weight[0] = 1.0
    for n_centres in (1, 3, 9):
        uniform = rng.uniform(size=(n_centres, 2 + int(np.log(n_centres))))
        expected = _naive_plus_plus(X, weight, uniform)
        np.testing.assert_array_equal(plus_plus(X, weight, n_centres, _Table(uniform)), expected)
        chosen = np.empty(n_centres, np.int64)
        kmeans_plus_plus(X, weight, uniform, chosen)
        np.testing.assert_array_equal(chosen, expected)
    np.testing.assert_array_equal(plus_plus(X, None, 9, _Table(uniform)), _naive_plus_plus(X, np.ones(n_rows), uniform))


@pytest.mark.parametrize(
    ("X", "centres", "weight", "message"),
    [
        (np.ones((4, 2)), np.ones((2, 3)), None, r"centres must be \(K, D\), .* got \(2, 3\) for \(4, 2\)"),
        (np.ones((4, 2)), np.ones((0, 2)), None, r"K > 0, .* got \(0, 2\)"),
        (np.ones((4, 2)), np.array([[0, np.nan]]), None, "centres must be finite, got nan"),
        (np.ones((4, 2)), np.ones((2, 2)), np.ones(3), r"weight must be of shape \(4,\), got \(3,\)"),
        (np.ones((4, 2)), np.ones((2, 2)), np.zeros(4), "must have a row with positive weight, got 4 rows"),
        (np.array([[0.0], [1.0], [np.nan]]), np.zeros((1, 1)), None, "overflow"),
        (np.array([[0.0], [1e200], [-1e200]]), np.array([[1e-200]]), None, None),
    ],
)
def test_bad_input_is_refused_and_extreme_input_is_not(X, centres, weight, message):
    if message is None:
        assert np.isfinite(kmeans(X, centres, weight).centres).all()
        return
    with pytest.raises(ValueError, match=message):
        kmeans(X, centres, weight)
