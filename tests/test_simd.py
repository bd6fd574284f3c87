"""Vector code against dense arithmetic: every remainder of features and rows, and processors with narrower vectors."""

import platform
import subprocess
import sys

import numpy as np
import pytest

from fastgmm.kernels import matrix, simd
from fastgmm.kernels._compile import entry

SENTINEL = 12345.0


@entry
def _square(whitener, mean, x, n, distance):
    matrix.whitened_square(whitener, mean, x, n, distance)


@entry
def _moments(x, mean, r, n, v, deviation, scatter):
    simd.add_moments(x, mean, r, n, v, deviation, scatter)


@entry
def _buffer(n_features, rows):
    return simd.tile_buffer(n_features, rows)


def _problem(rng, n_features, n):
    whitener = np.tril(rng.normal(size=(n_features, n_features)))
    return whitener + 3 * np.eye(n_features), rng.normal(size=n_features), rng.normal(size=(n_features, n))


def _guarded(n):
    """An array (n,) whose neighbours can be looked at."""
    store = np.full(n + 64, SENTINEL)
    return store, store[:n]


@pytest.mark.parametrize("n_features", [*range(1, 21), 31, 64])
def test_distances_of_every_remainder(rng, n_features):
    for n in (1, 2, 7, 8, 23, 24, 25, 47, 48, 100):
        whitener, mean, rows = _problem(rng, n_features, n)
        expected = ((whitener @ (rows - mean[:, None])) ** 2).sum(axis=0)
        # A tile that ends with its rows, and one that goes on with what an earlier one left there.
        store, distance = _guarded(n)
        _square(whitener, mean, rows, n, distance)
        np.testing.assert_allclose(distance, expected, rtol=1e-12)
        assert np.all(store[n:] == SENTINEL)
        tile = _buffer(n_features, n)
        tile[:] = 7.0
        tile[:, :n] = rows
        wide = np.full(tile.shape[1] + 64, SENTINEL)
        _square(whitener, mean, tile, n, wide[: tile.shape[1]])
        np.testing.assert_allclose(wide[:n], expected, rtol=1e-12)
        assert np.all(wide[tile.shape[1] :] == SENTINEL)


@pytest.mark.parametrize("n_features", [*range(1, 21), 31, 64])
def test_moments_of_every_remainder(rng, n_features):
    for n in (1, 2, 7, 8, 9, 24, 31, 100):
        _, mean, rows = _problem(rng, n_features, n)
        r = rng.uniform(size=n)
        centred = rows - mean[:, None]
        for tile in (rows, _buffer(n_features, n)):
            if tile is not rows:
                tile[:] = 7.0
                tile[:, :n] = rows
            store = np.full(n_features * n_features + 64, SENTINEL)
            scatter = store[: n_features * n_features].reshape(n_features, n_features)
            scatter[:] = 1.0
            edge, deviation = _guarded(n_features)
            deviation[:] = 2.0
            _moments(tile, mean, r, n, _buffer(8, n), deviation, scatter)
            lower = np.tril_indices(n_features)
            np.testing.assert_allclose(
                scatter[lower], 1.0 + ((r * centred) @ centred.T)[lower], rtol=1e-12, atol=1e-12 * n
            )
            np.testing.assert_allclose(deviation, 2.0 + centred @ r, rtol=1e-12, atol=1e-12 * n)
            assert np.all(store[n_features * n_features :] == SENTINEL)
            assert np.all(edge[n_features:] == SENTINEL)


def test_without_compilation_the_same(rng):
    """The NumPy form that stands in with ``NUMBA_DISABLE_JIT=1``."""
    whitener, mean, rows = _problem(rng, 5, simd.CHUNK)
    plain, compiled = np.empty(simd.CHUNK), np.empty(simd.CHUNK)
    simd.whiten_chunk(whitener, mean, rows, 0, plain)
    _square(whitener, mean, rows, simd.CHUNK, compiled)
    np.testing.assert_allclose(plain, compiled, rtol=1e-13)
    results = []
    for function in (simd.add_moments, _moments):
        deviation, scatter = np.zeros(5), np.zeros((5, 5))
        function(rows, mean, np.ones(simd.CHUNK), 9, _buffer(8, 9), deviation, scatter)
        results.append(np.concatenate([deviation, np.tril(scatter).ravel()]))
    np.testing.assert_allclose(*results, rtol=1e-12, atol=1e-12)


def test_buffers_are_aligned_and_wide_enough():
    for n_features, rows in ((1, 1), (3, 128), (64, 256), (2, 24)):
        buffer = _buffer(n_features, rows)
        assert buffer.shape[0] == n_features
        assert rows <= buffer.shape[1] < rows + 24
        assert buffer.shape[1] % simd.CHUNK == 0
        assert all(row.ctypes.data % 64 == 0 for row in buffer)
        assert not buffer.any()


FIT = """
import numpy as np
from fastgmm import GaussianMixture
from fastgmm.kernels._compile import LANES
rng = np.random.default_rng(0)
print(LANES)
for n_features in (3, 8, 13):
    X = np.concatenate([rng.normal(size=(211, n_features)), 2 + rng.normal(size=(300, n_features))])
    # Labels: k-means would compile another family, which takes longer than all the rest.
    model = GaussianMixture(3, init_params=rng.integers(3, size=511), max_iter=300, n_threads=1).fit(X)
    print(repr(model.lower_bound_), repr(float(np.abs(model.covariances_).sum())))
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names processors of the x86-64 kind")
@pytest.mark.parametrize(
    ("name", "features", "lanes"),
    [("x86-64", "+sse2", 2), ("haswell", "+sse4.2,+popcnt,+avx,+avx2,+fma,+bmi,+bmi2", 4)],
)
def test_processors_with_narrower_vectors_get_the_same_answers(tmp_path, monkeypatch, name, features, lanes):
    def run():
        command = [sys.executable, "-W", "error", "-c", FIT]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    first, *here = run()
    assert int(first) >= 2
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("NUMBA_CPU_NAME", name)
    monkeypatch.setenv("NUMBA_CPU_FEATURES", features)
    first, *there = run()
    assert int(first) == lanes
    np.testing.assert_allclose(np.array(there, float), np.array(here, float), rtol=1e-9)


@entry
def _pack(X, start, n, x):
    simd.pack_tile(X, start, n, x)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_features", [*range(1, 18), 24, 33])
def test_packing_of_every_remainder_type_and_layout(rng, n_features, dtype):
    X = rng.normal(size=(60, n_features)).astype(dtype)
    for rows in (X, np.asfortranarray(X), np.repeat(X, 2, axis=1)[:, ::2]):
        for n in (1, 7, 8, 9, 50):
            store = np.full(n_features * 50 + 64, SENTINEL)
            x = store[: n_features * 50].reshape(n_features, 50)
            _pack(rows, 3, n, x)
            np.testing.assert_array_equal(x[:, :n], X[3 : 3 + n].T)
            assert np.all(x[:, n:] == SENTINEL)
            assert np.all(store[n_features * 50 :] == SENTINEL)
            plain = np.zeros((n_features, n))
            simd.pack_tile(rows, 3, n, plain)
            np.testing.assert_array_equal(plain, x[:, :n])
