"""Kernels against slow twins and high-precision arithmetic."""

import mpmath
import numba
import numpy as np
import pytest
import reference
from conftest import draw, random_mixture

from fastgmm import kernels
from fastgmm.families import FAMILIES, STRUCTURES
from fastgmm.kernels.compiling import LANES, Driver, entry
from fastgmm.kernels.passes.evidence import sum_log_evidence
from fastgmm.kernels.updates.moments import OK
from fastgmm.passes.expectation import Expectation, e_step
from fastgmm.passes.scores import Scores
from fastgmm.rows import ArrayRows

# Constraints on covariances make no difference here.
TRIED = STRUCTURES


@entry
def _map_exp(x, out):
    for i in range(x.shape[0]):
        out[i] = kernels.vector_exp(x[i])


@entry
def _map_log(x, out):
    for i in range(x.shape[0]):
        out[i] = kernels.vector_log(x[i])


def _ulps(function, exact, x):
    out = np.empty_like(x)
    function(x, out)
    with mpmath.workprec(120):
        errors = [
            abs(float((mpmath.mpf(float(y)) - exact(mpmath.mpf(float(v)))) / np.spacing(abs(float(y)))))
            for v, y in zip(x, out, strict=True)
        ]
    return max(errors)


@pytest.mark.parametrize(("low", "high"), [(-708, 0), (-1, 1), (0, 709), (-1e-9, 1e-9)])
def test_exp_is_within_one_ulp(rng, low, high):
    assert _ulps(_map_exp, mpmath.exp, rng.uniform(low, high, 1500)) <= 1.0


def test_log_is_within_one_ulp(rng):
    for x in (rng.uniform(1, 64, 1500), np.exp(rng.uniform(-700, 700, 1500)), 1 + rng.uniform(-1e-3, 1e-3, 500)):
        assert _ulps(_map_log, mpmath.log, x) <= 1.0


def test_exp_at_the_edges():
    x = np.array([0.0, -0.0, -np.inf, -1e308, -708.5, np.nan, -745.0])
    out = np.empty_like(x)
    _map_exp(x, out)
    np.testing.assert_array_equal(out, [1, 1, 0, 0, 0, np.nan, 0])


@pytest.mark.parametrize("n_features", [1, 2, 3, 4, 5, 7, 8, 13])
def test_whitening_inverts_the_cholesky_factor(rng, n_features):
    a = rng.normal(size=(n_features, n_features + 3))
    covariance = a @ a.T
    whitener = np.full((n_features, n_features), np.nan)
    assert kernels.whiten_matrix(covariance, whitener)
    np.testing.assert_allclose(whitener @ np.linalg.cholesky(covariance), np.eye(n_features), atol=1e-12)
    np.testing.assert_array_equal(np.triu(whitener, 1), 0)


@pytest.mark.parametrize(
    "covariance",
    [np.zeros((2, 2)), np.ones((2, 2)), -np.eye(2), np.full((2, 2), np.nan), np.array([[1.0, 2.0], [2.0, 1.0]])],
)
def test_whitening_reports_what_is_not_positive_definite(covariance):
    assert not kernels.whiten_matrix(covariance, np.empty((2, 2)))


def test_whitening_takes_extreme_but_valid_scales():
    covariance = np.diag([1e-300, 1e300, 1.0])
    whitener = np.empty((3, 3))
    assert kernels.whiten_matrix(covariance, whitener)
    np.testing.assert_allclose(np.diag(whitener), [1e150, 1e-150, 1], rtol=1e-14)


@pytest.mark.parametrize(
    ("n_samples", "n_features", "n_components"), [(700, 5, 3), (300, 4, 2), (257, 1, 3), (9, 9, 1)]
)
def test_fused_pass_equals_the_slow_twin(family, rng, n_samples, n_features, n_components):
    weights, means, covariances = random_mixture(rng, family, n_components, n_features)
    matrices = family.matrices(covariances, n_components, n_features)
    X = draw(rng, weights, means, matrices, n_samples)
    sample_weight = rng.uniform(0, 2, n_samples) * (rng.random(n_samples) > 0.1)
    density, failed = family.density(weights, means, covariances)
    assert failed == -1
    statistics = e_step(family, density, X, sample_weight)
    joint = reference.log_joint(X, weights, means, matrices)
    r = reference.responsibilities(X, weights, means, matrices)
    mass, deviation, scatter = reference.moments(family, X, sample_weight, r, means)
    np.testing.assert_allclose(statistics.mass, mass, rtol=1e-11)
    np.testing.assert_allclose(statistics.deviation, deviation, rtol=1e-10, atol=1e-11 * n_samples)
    np.testing.assert_allclose(statistics.scatter, scatter, rtol=1e-10, atol=1e-11 * n_samples)
    np.testing.assert_allclose(statistics.log_evidence, sample_weight @ reference.log_sum_exp(joint), rtol=1e-12)
    assert statistics.weight == pytest.approx(sample_weight.sum(), rel=1e-14)


def test_modes_take_responsibilities_from_elsewhere(family, rng):
    weights, means, covariances = random_mixture(rng, family, 3, 4)
    X = draw(rng, weights, means, family.matrices(covariances, 3, 4), 400)
    density, _ = family.density(weights, means, covariances)
    given = rng.dirichlet(np.ones(3), 400)
    labels = rng.integers(0, 3, 400)
    hard = reference.log_joint(X, weights, means, family.matrices(covariances, 3, 4)).argmax(axis=1)
    origin = rng.normal(size=means.shape)
    expectation = Expectation(family, ArrayRows(X))
    for arguments, r in (
        ({"mode": kernels.GIVEN, "responsibilities": given}, given),
        ({"mode": kernels.LABELLED, "labels": labels}, np.eye(3)[labels]),
        ({"mode": kernels.HARD}, np.eye(3)[hard]),
    ):
        for about in (means, origin):
            statistics = expectation(density, about, **arguments)
            mass, deviation, scatter = reference.moments(family, X, np.ones(400), r, about)
            np.testing.assert_allclose(statistics.mass, mass, rtol=1e-12)
            np.testing.assert_allclose(statistics.deviation, deviation, rtol=1e-10, atol=1e-9)
            np.testing.assert_allclose(statistics.scatter, scatter, rtol=1e-10, atol=1e-9)


def test_soft_statistics_about_another_origin(family, rng):
    weights, means, covariances = random_mixture(rng, family, 3, 4)
    matrices = family.matrices(covariances, 3, 4)
    X = draw(rng, weights, means, matrices, 400)
    density, _ = family.density(weights, means, covariances)
    origin = means + rng.normal(size=means.shape)
    statistics = Expectation(family, ArrayRows(X))(density, origin)
    r = reference.responsibilities(X, weights, means, matrices)
    _, deviation, scatter = reference.moments(family, X, np.ones(400), r, origin)
    np.testing.assert_allclose(statistics.deviation, deviation, rtol=1e-10, atol=1e-9)
    np.testing.assert_allclose(statistics.scatter, scatter, rtol=1e-10, atol=1e-9)


def test_scores_equal_the_slow_twin(family, rng):
    weights, means, covariances = random_mixture(rng, family, 4, 5)
    matrices = family.matrices(covariances, 4, 5)
    X = draw(rng, weights, means, matrices, 600)
    density, _ = family.density(weights, means, covariances)
    sample_weight = rng.uniform(0, 1, 600)
    scores = Scores(density, ArrayRows(X, sample_weight), labels=True, evidence=True, responsibilities=True, sums=True)
    joint = reference.log_joint(X, weights, means, matrices)
    np.testing.assert_array_equal(scores.labels, joint.argmax(axis=1))
    np.testing.assert_allclose(scores.evidence, reference.log_sum_exp(joint), rtol=1e-11)
    np.testing.assert_allclose(
        scores.responsibilities, reference.responsibilities(X, weights, means, matrices), rtol=1e-10, atol=1e-14
    )
    assert scores.sum_evidence == pytest.approx(sample_weight @ reference.log_sum_exp(joint), rel=1e-12)
    assert scores.sum_peak == pytest.approx(sample_weight @ joint.max(axis=1), rel=1e-12)
    only = Scores(density, ArrayRows(X), labels=True)
    np.testing.assert_array_equal(only.labels, scores.labels)
    assert only.evidence.size == only.responsibilities.size == 0


def test_float32_rows_give_the_statistics_of_the_same_rows_in_float64(family, rng):
    weights, means, covariances = random_mixture(rng, family, 3, 4)
    X = draw(rng, weights, means, family.matrices(covariances, 3, 4), 1000).astype(np.float32)
    density, _ = family.density(weights, means, covariances)
    single, double = e_step(family, density, X), e_step(family, density, X.astype(np.float64))
    for name in ("mass", "deviation", "scatter", "log_evidence"):
        np.testing.assert_allclose(getattr(single, name), getattr(double, name), rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("layout", ["fortran", "strided", "reversed", "integers", "big-endian"])
def test_any_layout_gives_the_same_bits(rng, layout):
    family = FAMILIES["full"]
    weights, means, covariances = random_mixture(rng, family, 3, 4, scale=10.0)
    X = np.round(draw(rng, weights, means, family.matrices(covariances, 3, 4), 900))
    other = {
        "fortran": lambda: np.asfortranarray(X),
        "strided": lambda: np.repeat(np.repeat(X, 2, axis=0), 2, axis=1)[::2, ::2],
        "reversed": lambda: X[::-1].copy()[::-1],
        "integers": lambda: X.astype(np.int32),
        "big-endian": lambda: X.astype(">f8"),
    }[layout]()
    density, _ = family.density(weights, means, covariances)
    expected, got = e_step(family, density, X), e_step(family, density, other)
    for name in ("mass", "deviation", "scatter", "log_evidence"):
        np.testing.assert_array_equal(getattr(got, name), getattr(expected, name))


def test_rows_of_weight_zero_might_as_well_not_be_there(family, rng):
    weights, means, covariances = random_mixture(rng, family, 2, 3)
    X = draw(rng, weights, means, family.matrices(covariances, 2, 3), 300)
    density, _ = family.density(weights, means, covariances)
    sample_weight = (np.arange(300) % 3 > 0).astype(float)
    some, few = e_step(family, density, X, sample_weight), e_step(family, density, X[sample_weight > 0])
    for name in ("mass", "deviation", "scatter", "log_evidence", "weight"):
        np.testing.assert_allclose(getattr(some, name), getattr(few, name), rtol=1e-12, atol=1e-10)


def test_a_component_without_weight_gets_nothing_and_spoils_nothing(family, rng):
    weights, means, covariances = random_mixture(rng, family, 3, 4)
    matrices = family.matrices(covariances, 3, 4)
    weights = np.array([0.4, 0.0, 0.6])
    X = draw(rng, weights, means, matrices, 300)
    density, _ = family.density(weights, means, covariances)
    statistics = e_step(family, density, X)
    assert statistics.mass[1] == 0
    assert statistics.mass.sum() == pytest.approx(300, rel=1e-13)
    expected = reference.log_sum_exp(reference.log_joint(X, weights, means, matrices)).sum()
    assert statistics.log_evidence == pytest.approx(expected, rel=1e-12)


def test_far_outliers_keep_exact_evidence_and_responsibilities(family, rng):
    """Every component underflows at 1e4 standard deviations: the log-sum-exp must not."""
    weights, means, covariances = random_mixture(rng, family, 3, 2)
    matrices = family.matrices(covariances, 3, 2)
    X = np.array([[1e4, -1e4], [3e5, 3e5], [0.0, 0.0]])
    density, _ = family.density(weights, means, covariances)
    scores = Scores(density, ArrayRows(X), evidence=True, responsibilities=True)
    joint = reference.log_joint(X, weights, means, matrices)
    np.testing.assert_allclose(scores.evidence, reference.log_sum_exp(joint), rtol=1e-11)
    np.testing.assert_allclose(scores.responsibilities.sum(axis=1), 1, rtol=1e-14)


@pytest.mark.parametrize("offset", [0.0, 1e8])
def test_covariances_at_an_offset_keep_their_digits(family, rng, offset):
    """One EM step against 50-digit arithmetic: at an offset of 1e8 raw second moments would lose every digit."""
    n_samples, n_features, n_components = 60, 2, 2
    base = np.round(rng.normal(size=(n_samples, n_features)) * 2**10) / 2**10  # exact at either offset
    X = base + offset
    means = np.array([[-1.0, 0.5], [1.0, -0.5]]) + offset
    covariances = {
        "full": np.stack([np.eye(2)] * 2),
        "tied": np.eye(2),
        "diag": np.ones((2, 2)),
        "spherical": np.ones(2),
    }
    density, _ = family.density(np.full(2, 0.5), means, covariances[family.name])
    got = family.maximise(e_step(family, density, X), 0.0, False)
    assert got.status == OK
    with mpmath.workdps(50):
        rows = [[mpmath.mpf(float(v)) for v in row] for row in X]
        centres = [[mpmath.mpf(float(v)) for v in row] for row in means]
        joint = [[-sum((x - m) ** 2 for x, m in zip(row, c, strict=True)) / 2 for c in centres] for row in rows]
        r = [[mpmath.e**v / sum(mpmath.e**u for u in line) for v in line] for line in joint]
        mass = [sum(line[k] for line in r) for k in range(n_components)]
        mean = [[sum(r[n][k] * rows[n][d] for n in range(n_samples)) / mass[k] for d in range(2)] for k in range(2)]
        scatter = [
            [
                [
                    sum(r[n][k] * (rows[n][i] - mean[k][i]) * (rows[n][j] - mean[k][j]) for n in range(n_samples))
                    for j in range(2)
                ]
                for i in range(2)
            ]
            for k in range(2)
        ]
        exact = {
            "full": [[[scatter[k][i][j] / mass[k] for j in range(2)] for i in range(2)] for k in range(2)],
            "tied": [[sum(scatter[k][i][j] for k in range(2)) / n_samples for j in range(2)] for i in range(2)],
            "diag": [[scatter[k][i][i] / mass[k] for i in range(2)] for k in range(2)],
            "spherical": [sum(scatter[k][i][i] for i in range(2)) / (2 * mass[k]) for k in range(2)],
        }[family.name]
    np.testing.assert_allclose(got.covariances, np.array(exact, dtype=float), rtol=1e-12, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tied", "diag"])
def test_serial_kernels_inside_somebody_elses_parallel_function(name, rng):
    from numba import njit, prange

    family = FAMILIES[name]
    weights, means, covariances = random_mixture(rng, family, 3, 4)
    X = draw(rng, weights, means, family.matrices(covariances, 3, 4), 300)
    density, _ = family.density(weights, means, covariances)
    sample_weight = rng.uniform(0, 1, 300)
    offsets = np.array([0, 7, 150, 150, 300])

    @njit(parallel=True)
    def masses(density, X, weight, offsets, out, scatter):
        for g in prange(len(offsets) - 1):
            kernels.accumulate_rows(
                density,
                density.mean,
                X,
                weight,
                offsets[g],
                offsets[g + 1],
                kernels.SOFT,
                np.empty(0, np.int64),
                np.empty((0, 0)),
                64,
                out[g],
                np.zeros(density.mean.shape),
                scatter[g],
            )

    mass = np.zeros((4, 3))
    masses(density, X, sample_weight, offsets, mass, np.zeros((4, *family.shape(3, 4))))
    np.testing.assert_allclose(mass.sum(axis=0), e_step(family, density, X, sample_weight).mass, rtol=1e-12)


@pytest.mark.slow
def test_parallel_passes_mind_the_layout_of_their_arguments(family, rng):
    """The address of the compiled lanes is looked up by type: an array of another layout is another type."""
    weights, means, covariances = random_mixture(rng, family, 3, 4)
    X = draw(rng, weights, means, family.matrices(covariances, 3, 4), 4000)
    density, _ = family.density(weights, means, covariances)
    results = []
    for rows in (X, np.asfortranarray(X)):
        for n_threads in (1, 2):
            evidence, sums = np.empty(4000), np.zeros((4, 3))
            nothing = np.empty(0, np.int64), np.empty((0, 0))
            kernels.score(4, n_threads, density, rows, 256, np.ones(4000), nothing[0], evidence, nothing[1], sums)
            results.append(evidence)
    for evidence in results[1:]:
        np.testing.assert_allclose(evidence, results[0], rtol=1e-12)


def _failing_lanes(first, last, bad, seen):
    for lane in range(first, last):
        if lane == bad:
            raise ValueError("a lane that fails")
        seen[lane] = 1


@entry
def _accumulate(density, X, nothing, labels, table, tile, mass, deviation, scatter):
    for _ in range(20):
        kernels.accumulate_rows(
            density, density.mean, X, nothing, 0, len(X), kernels.SOFT, labels, table, tile, mass, deviation, scatter
        )


@pytest.mark.slow
def test_float32_rows_of_several_tiles_in_a_function_of_ones_own(rng):
    """What float32 rows are taken about is the function's own, and must live as long as it runs."""
    n_components = 4
    # What is freed is taken again at once by what is as large.
    n_features = 2 * n_components * LANES
    mean = rng.normal(size=(n_components, n_features)).astype(np.float32)
    density = kernels.DiagDensity(np.zeros(n_components, np.float32), mean, np.ones_like(mean))
    X = (mean[rng.integers(0, n_components, 400)] + rng.normal(size=(400, n_features))).astype(np.float32)
    mass, moments = np.zeros(n_components), np.zeros((2, n_components, n_features))
    _accumulate(density, X, np.empty(0), np.empty(0, np.int64), np.empty((0, 0)), 48, mass, *moments)
    np.testing.assert_allclose(mass.sum(), 20 * len(X), rtol=1e-5)
    gap = X.astype(np.float64) - mean[:, None]
    r = np.exp(-0.5 * (gap**2).sum(axis=2))
    r /= r.sum(axis=0)
    np.testing.assert_allclose(mass, 20 * r.sum(axis=1), rtol=1e-3)
    np.testing.assert_allclose(moments[1], 20 * np.einsum("kn,knd->kd", r, gap**2), rtol=1e-3)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_an_error_in_a_lane_is_raised_whichever_thread_meets_it(n_threads):
    """As where memory for the buffers of a lane is short: its sums would be missing."""
    run = Driver(_failing_lanes)
    for bad in range(4):
        seen = np.zeros(4, np.int64)
        with pytest.raises(ValueError, match="a lane that fails"):
            run(4, n_threads, bad, seen)
        assert seen.sum() == (3 if n_threads == 2 and numba.config.NUMBA_NUM_THREADS > 1 else bad)
    seen = np.zeros(4, np.int64)
    run(4, n_threads, -1, seen)
    assert seen.all()


@entry
def _sum_log_evidence(peak, total, factors):
    return sum_log_evidence(peak, total, len(peak), factors)


@pytest.mark.parametrize("n", [1, 47, 48, 1439, 1441, 60_000])
def test_the_log_evidence_of_a_tile_of_any_length(n, rng):
    peak, total = rng.normal(size=n), rng.uniform(1, 1e9, size=n)
    expected = peak.sum() + np.log(total).sum()
    assert _sum_log_evidence(peak, total, np.empty(48)) == pytest.approx(expected, rel=1e-13)
