"""Vector code against dense arithmetic: every remainder of features and rows, both types, and other processors."""

import platform
import subprocess
import sys

import numpy as np
import pytest

from fastgmm.kernels import vector
from fastgmm.kernels.compiling import HAS_32_REGISTERS, LANES, entry

SENTINEL = 12345.0
DTYPES = [np.float64, np.float32]


@entry
def _buffer(n_features, rows, like):
    return vector.tiles.tile_buffer(n_features, rows, like)


@entry
def _scores(whitener, mean, scales, scale, x, n, whitened, distances):
    vector.distances.whiten_tile(whitener[0], mean[0], x, n, whitened)
    vector.distances.whitened_distances(whitener, mean, x, n, distances[0])
    vector.distances.square_distances(mean, x, n, distances[1])
    vector.distances.scaled_distances(mean, scales, x, n, distances[2])
    vector.distances.scaled_distances(mean, scale, x, n, distances[3])


@entry
def _sums(x, origin, r, n, mass, v, deviations, matrices, pooled, variances, sums):
    vector.moments.add_moments(x, origin, r, n, mass, v, deviations[0], matrices)
    vector.moments.add_moments(x, origin, r, n, mass, v, deviations[1], pooled)
    vector.moments.add_variances(x, origin, r, n, mass, deviations[2], variances)
    vector.moments.add_deviations(x, origin, r, n, mass, deviations[3])
    vector.moments.add_weighted_sums(r, r, n, mass, sums)


@entry
def _softmax(log_scale, distance, n, weight, r, peak, total, mass):
    # The rows that it asks for meanwhile are none of its results.
    asked = vector.softmax.softmax_tile(
        log_scale, distance, n, weight, r, peak, total, mass, distance, 0, distance.shape[0]
    )
    return 0 <= asked <= distance.shape[0]


def _tile(rng, shape, n, dtype, beyond=7.0):
    """A tile with random numbers in its first n columns, and `beyond` in the others."""
    tile = _buffer(shape, n, np.empty(0, dtype))
    tile[:] = beyond
    tile[:, :n] = rng.normal(size=(shape, n))
    return tile


def _guarded(shape, dtype, fill):
    """An array, and the numbers in memory after it."""
    size = int(np.prod(shape))
    store = np.full(size + 64, SENTINEL, dtype)
    store[:size] = fill
    return store[:size].reshape(shape), store[size:]


def _tolerance(dtype, size=1):
    return {"rtol": 1e-12 if dtype is np.float64 else 2e-5, "atol": (1e-12 if dtype is np.float64 else 2e-5) * size}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_features", [*range(1, 21), 31, 64])
def test_whitening_and_distances_of_every_remainder(rng, n_features, dtype):
    for n_components, n in zip((1, 2, 3, 4, 5, 7, 8, 9, 15, 17), (1, 2, 7, 8, 23, 24, 25, 47, 48, 100), strict=True):
        shape = n_components, n_features
        whitener = np.tril(rng.normal(size=(*shape, n_features))) + 3 * np.eye(n_features)
        above = whitener + np.triu(rng.normal(size=whitener.shape), 1)  # must not be read
        mean, scales = rng.normal(size=shape), rng.uniform(0.5, 2, size=shape)
        x = _tile(rng, n_features, n, dtype)
        arguments = [array.astype(dtype) for array in (above, mean, scales, scales[:, 0].copy())]
        whitened, after_whitened = _guarded(x.shape, dtype, SENTINEL)
        distances, after = _guarded((4, n_components, x.shape[1]), dtype, SENTINEL)
        _scores(*arguments, x, n, whitened, distances)
        centred = x[None, :, :n].astype(float) - mean[:, :, None]
        y = whitener @ centred
        close = _tolerance(dtype, 10 * n_features)
        np.testing.assert_allclose(whitened[:, :n], y[0], **close)
        for found, expected in zip(
            distances,
            (y, centred, centred * scales[:, :, None], centred * scales[:, :1, None]),
            strict=True,
        ):
            np.testing.assert_allclose(found[:, :n], (expected**2).sum(axis=1), **close)
        assert np.all(after == SENTINEL)
        assert np.all(after_whitened == SENTINEL)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_features", [*range(1, 21), 31, 64])
def test_moments_of_every_remainder(rng, n_features, dtype):
    for n in (1, 2, 7, 8, 9, 24, 31, 100):
        origin = rng.normal(size=(3, n_features)).astype(dtype)
        x = _tile(rng, n_features, n, dtype)
        r = _tile(rng, 3, n, dtype, beyond=0.0)
        mass = np.array([1.0, 0.0, 2.0])  # the second component is to be passed over
        v = _buffer(8, n, x)
        deviations, after_deviations = _guarded((4, 3, n_features), float, 2.0)
        matrices, after_matrices = _guarded((3, n_features, n_features), float, 1.0)
        pooled, after_pooled = _guarded((n_features, n_features), float, 1.0)
        variances, after_variances = _guarded((3, n_features), float, 1.0)
        sums, after_sums = _guarded(3, float, 1.0)
        _sums(x, origin, r, n, mass, v, deviations, matrices, pooled, variances, sums)
        weight = r[:, None, :n].astype(float) * np.sign(mass)[:, None, None]
        centred = x[None, :, :n].astype(float) - origin[:, :, None]
        first, second = (weight * centred).sum(axis=2), (weight * centred) @ np.swapaxes(centred, 1, 2)
        close = _tolerance(dtype, n)
        for deviation in deviations:
            np.testing.assert_allclose(deviation, 2.0 + first, **close)
        np.testing.assert_allclose(np.tril(matrices), np.tril(1.0 + second), **close)
        np.testing.assert_allclose(np.tril(pooled), np.tril(1.0 + second.sum(axis=0)), **close)
        np.testing.assert_allclose(variances, 1.0 + np.diagonal(second, axis1=1, axis2=2), **close)
        np.testing.assert_allclose(sums, 1.0 + (weight[:, 0] * r[:, :n]).sum(axis=1), **close)
        for after in (after_deviations, after_matrices, after_pooled, after_variances, after_sums):
            assert np.all(after == SENTINEL)


@pytest.mark.parametrize("dtype", DTYPES)
def test_responsibilities(rng, dtype):
    for n_components, n in ((1, 1), (2, 30), (5, 48), (17, 100)):
        like = np.empty(0, dtype)
        log_scale = rng.normal(size=n_components).astype(dtype)
        log_scale[-1] = -np.inf if n_components > 1 else 0.0
        distance = _tile(rng, n_components, n, dtype) ** 2 * 40
        weight = np.zeros(distance.shape[1], dtype)
        weight[:n] = rng.uniform(size=n)
        weight[0] = 0.0
        joint = log_scale[:, None].astype(float) - 0.5 * distance[:, :n]
        share = np.exp(joint - joint.max(axis=0))
        peak, total = _buffer(2, n, like)
        apart, mass = _buffer(n_components, n, like), np.empty(n_components)
        for r in (apart, distance):  # the last one in place
            assert _softmax(log_scale, distance, n, weight, r, peak, total, mass)
            close = {"rtol": 1e-14 if dtype is np.float64 else 1e-5, "atol": 1e-300 if dtype is np.float64 else 1e-36}
            np.testing.assert_allclose(peak[:n], joint.max(axis=0), rtol=1e-6)
            np.testing.assert_allclose(total[:n], share.sum(axis=0), **close)
            np.testing.assert_allclose(r[:, :n], weight[:n] * share / share.sum(axis=0), **close)
            np.testing.assert_allclose(mass, r[:, :n].sum(axis=1, dtype=float), **close)
            chunk = 3 * LANES * 8 // r.itemsize
            assert not r[:, n : -(-n // chunk) * chunk].any()


@pytest.mark.parametrize(("dtype", "lowest"), [(np.float64, -708.0), (np.float32, -87.0)])
def test_exponentials_are_within_an_ulp_and_end_in_zero(dtype, lowest):
    n = 4800
    x = np.concatenate([np.linspace(lowest, 0.0, n - 2), [np.nextafter(dtype(lowest), dtype(-np.inf)), -np.inf]])
    distance = np.zeros((2, n), dtype)
    distance[1] = -2.0 * x
    r, peak, total = np.empty_like(distance), np.empty(n, dtype), np.empty(n, dtype)
    _softmax(np.zeros(2, dtype), distance, n, np.ones(n, dtype), r, peak, total, np.empty(2))
    # r is e**x / (1 + e**x), which differs from e**x where that is not small.
    small = distance[1] > 80.0
    expected = np.exp(-0.5 * distance[1, small].astype(float))
    assert np.all(np.abs(r[1, small][:-2] - expected[:-2]) <= np.spacing(expected.astype(dtype))[:-2])
    assert np.all(r[1, -2:] == 0.0)
    assert np.all(r[1, :-2] > 0.0)


def test_rows_that_overflow_are_not_passed_over():
    distance = np.full((2, 48), np.inf)
    r, peak, total, mass = np.empty_like(distance), np.empty(48), np.empty(48), np.empty(2)
    _softmax(np.zeros(2), distance, 48, np.ones(48), r, peak, total, mass)
    assert np.isnan(r).all()
    assert np.isnan(mass).all()
    assert np.all(peak == -np.inf)


def test_without_compilation_the_same(rng):
    """The NumPy forms that stand in with ``NUMBA_DISABLE_JIT=1``."""
    n = 48
    x, r, v = _tile(rng, 5, n, float), _tile(rng, 3, n, float), _buffer(8, n, np.empty(0))
    mean, scales = rng.normal(size=(3, 5)), rng.uniform(1, 2, size=(3, 5))
    whitener, mass = np.tril(rng.normal(size=(3, 5, 5))), np.array([1.0, 0.0, 2.0])

    def results(scores, sums, softmax):
        whitened, distances = np.zeros((5, n)), np.zeros((4, 3, n))
        scores(whitener, mean, scales, scales[:, 0].copy(), x, n, whitened, distances)
        deviations, matrices, pooled = np.zeros((4, 3, 5)), np.zeros((3, 5, 5)), np.zeros((5, 5))
        variances, products = np.zeros((3, 5)), np.zeros(3)
        sums(x, mean, r, n, mass, v, deviations, matrices, pooled, variances, products)
        share, peak, total, masses = np.zeros((3, n)), np.zeros(n), np.zeros(n), np.zeros(3)
        softmax(scales[:, 1].copy(), distances[1], n, np.ones(n), share, peak, total, masses)
        arrays = whitened, distances, deviations, np.tril(matrices), np.tril(pooled), variances, products
        return [*arrays, share, peak, total, masses]

    compiled = results(_scores, _sums, _softmax)
    plain = results(_scores.py_func, _sums.py_func, _softmax.py_func)
    for one, other in zip(compiled, plain, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_buffers_are_aligned_and_wide_enough(dtype):
    for n_features, rows in ((1, 1), (3, 128), (64, 256), (2, 48)):
        buffer = _buffer(n_features, rows, np.empty(0, dtype))
        assert buffer.dtype == dtype
        assert buffer.shape[0] == n_features
        assert rows <= buffer.shape[1] < rows + 48
        assert buffer.shape[1] % (3 * LANES * 8 // buffer.itemsize) == 0
        assert all(row.ctypes.data % 64 == 0 for row in buffer)
        assert not buffer.any()


PASS = """
import numpy as np
from fastgmm.passes.expectation import e_step
from fastgmm.families import FAMILIES
from fastgmm.kernels.compiling import HAS_32_REGISTERS, LANES
rng = np.random.default_rng(0)
print(LANES, int(HAS_32_REGISTERS))
family = FAMILIES["full"]
for n_features in (3, 8, 13):
    X = np.concatenate([rng.normal(size=(211, n_features)), 2 + rng.normal(size=(300, n_features))])
    whitener = np.tril(rng.normal(size=(3, n_features, n_features))) / n_features + np.eye(n_features)
    density = family.density_of_whitener(np.full(3, 1 / 3), rng.normal(size=(3, n_features)), whitener)
    statistics = e_step(family, density, X, n_threads=1)
    print(repr(statistics.log_evidence), repr(float(np.abs(np.tril(statistics.scatter)).sum())))
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names processors of the x86-64 kind")
@pytest.mark.parametrize(
    ("name", "features", "vectors"),
    [
        ("x86-64", "+sse2", "2 0"),
        ("haswell", "+sse4.2,+popcnt,+avx,+avx2,+fma,+bmi,+bmi2", "4 0"),
        # No such processor: the vectors of a 64-bit ARM core and blocks for its registers, of which these have fewer.
        ("x86-64", "+sse2,+neon", "2 1"),
    ],
)
def test_processors_with_narrower_vectors_get_the_same_answers(tmp_path, monkeypatch, name, features, vectors):
    if [str(LANES), str(int(HAS_32_REGISTERS))] == vectors.split():
        pytest.skip("vectors and registers like those of this processor, which all tests run on")

    def run():
        command = [sys.executable, "-W", "error", "-c", PASS]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

    _, *here = run()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("NUMBA_CPU_NAME", name)
    monkeypatch.setenv("NUMBA_CPU_FEATURES", features)
    first, *there = run()
    assert first == vectors
    np.testing.assert_allclose(np.loadtxt(there), np.loadtxt(here), rtol=1e-9)
    # The other tests of this file, on that processor.
    options = ["-q", "-p", "no:cacheprovider", "-k", "every_remainder or responsibilities or exponentials"]
    command = [sys.executable, "-m", "pytest", *options, __file__]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


@entry
def _pack(X, start, n, centre, x):
    vector.tiles.prefetch_rows(X, start, start + n)
    vector.tiles.pack_tile(X, start, n, centre, x)


@pytest.mark.parametrize(
    ("dtype", "tile_dtype"), [(np.float64, np.float64), (np.float32, np.float64), (np.float32, np.float32)]
)
@pytest.mark.parametrize("n_features", [*range(1, 18), 24, 33])
def test_packing_of_every_remainder_type_and_layout(rng, n_features, dtype, tile_dtype):
    X = rng.normal(size=(60, n_features)).astype(dtype)
    centre = rng.normal(size=n_features).astype(np.float32)
    expected = X - centre if tile_dtype is np.float32 else X
    for rows in (X, np.asfortranarray(X), np.repeat(X, 2, axis=1)[:, ::2]):
        for n in (1, 7, 8, 9, 50):
            x, after = _guarded((n_features, 50), tile_dtype, SENTINEL)
            _pack(rows, 3, n, centre, x)
            np.testing.assert_array_equal(x[:, :n], expected[3 : 3 + n].T)
            assert np.all(x[:, n:] == SENTINEL)
            assert np.all(after == SENTINEL)
            plain = np.zeros((n_features, n), tile_dtype)
            vector.tiles.pack_tile(rows, 3, n, centre, plain)
            np.testing.assert_array_equal(plain, x[:, :n])


@entry
def _listed(X, index, n, rows, middle, factor, component, sums):
    vector.tiles.gather_rows(X, index, n, rows)
    vector.moments.add_rows(X, index, n, middle, factor, component, sums)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_features", [*range(1, 18), 24, 33])
def test_listed_rows_of_every_remainder(rng, n_features, dtype):
    X = rng.normal(size=(60, n_features)).astype(dtype)
    index, component = rng.integers(0, 60, 40), rng.integers(0, 3, 40)
    middle, factor = rng.normal(size=n_features), rng.normal(size=40)
    for n in (0, 1, 12, 13, 40):
        rows, after_rows = _guarded((n, n_features), dtype, SENTINEL)
        sums, after_sums = _guarded((3, n_features), float, 1.0)
        _listed(X, index, n, rows, middle, factor, component, sums)
        np.testing.assert_array_equal(rows, X[index[:n]])
        shares = factor[:n, None] * (X[index[:n]] - middle)
        expected = [1.0 + shares[component[:n] == k].sum(axis=0) for k in range(3)]
        np.testing.assert_allclose(sums, expected, rtol=1e-12, atol=1e-12)
        assert np.all(after_rows == SENTINEL)
        assert np.all(after_sums == SENTINEL)
        plain_rows, plain_sums = np.zeros((n, n_features), dtype), np.ones((3, n_features))
        _listed.py_func(X, index, n, plain_rows, middle, factor, component, plain_sums)
        np.testing.assert_array_equal(plain_rows, rows)
        np.testing.assert_allclose(plain_sums, sums, rtol=1e-12, atol=1e-12)
