"""What is computed of a row depends on the row and the density alone, to the last bit: not on its place or its company.

Its place in a tile decides which lane of which vector it is in, whether a loop was peeled there, and what is beside it.
tests/test_targets.py runs this file as other processors would compile it.
"""

import warnings

import numpy as np
import pytest
from conftest import draw, random_mixture, skip_always

from fastgmm import BayesianGaussianMixture, GaussianMixture
from fastgmm.families import STRUCTURES
from fastgmm.kernels import skipping as stages
from fastgmm.kernels import vector
from fastgmm.kernels.compiling import LANES, entry
from fastgmm.kernels.structures import contract, student
from fastgmm.passes.scores import Scores
from fastgmm.passes.skipping import Hints, LivePass
from fastgmm.rows import ArrayRows

# Constraints on covariances make no difference here.
TRIED = STRUCTURES

N_FEATURES = 5
# The first is the heaviest: the tied family whitens rows about its mean.
WEIGHTS = np.array([0.3] + [0.1] * 7)


@entry
def _look(density, X, first, n, distance, peak, total, r):
    """Overwrite the columns of a tile with what a pass computes of rows first .. first+n."""
    x = vector.tiles.tile_buffer(X.shape[1], n, density.mean)
    weight = np.ones(x.shape[1], density.mean.dtype)
    scratch = contract.workspace(density, n)
    vector.tiles.pack_tile(X, first, n, np.zeros(X.shape[1], np.float32), x)
    contract.distance_tile(density, contract.prepare(density), x, n, scratch, distance)
    vector.softmax.softmax_tile(density.log_scale, distance, n, weight, r, peak, total, np.empty(len(r)), X, 0, 0)


def _seen(density, X, first, n):
    dtype, K = density.mean.dtype, len(density.mean)
    width = -(-n // 48) * 48
    distance, r = np.zeros((K, width), dtype), np.zeros((K, width), dtype)
    peak, total = np.zeros((2, width), dtype)
    _look(density, X, first, n, distance, peak, total, r)
    return [distance[:, :n], r[:, :n], peak[:n], total[:n]]


def _problem(family, rng, n_rows=300, n_features=N_FEATURES):
    _, means, covariances = random_mixture(rng, family, len(WEIGHTS), n_features)
    X = draw(rng, WEIGHTS, means, family.matrices(covariances, len(WEIGHTS), n_features), n_rows)
    density, failed = family.density(WEIGHTS, means, covariances)
    assert failed == -1
    return X, density, (WEIGHTS, means, covariances)


def _places(n, rng):
    """Slices of rows that put them in other places: shifted by one, by vectors and tiles, and each one alone."""
    shifts = [1, 2, LANES - 1, LANES, LANES + 1, 3 * LANES, 47, 48, 49, 240]
    return [slice(s, n) for s in shifts] + [slice(0, n - s) for s in shifts] + [slice(i, i + 1) for i in range(0, n, 7)]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n_features", [N_FEATURES, 19])
def test_in_any_place_of_a_tile(family, rng, dtype, n_features):
    X, density, _ = _problem(family, rng, n_features=n_features)
    X = X.astype(dtype)
    density = type(density)(*(part.astype(dtype) for part in density))
    whole = _seen(density, X, 0, len(X))
    for place in _places(len(X), rng):
        for expected, found in zip(whole, _seen(density, X, place.start, place.stop - place.start), strict=True):
            np.testing.assert_array_equal(found, expected[..., place])


def test_whatever_other_components_there_are(family, rng):
    X, density, _ = _problem(family, rng)
    whole = _seen(density, X, 0, len(X))[0]
    for others in ([0], [0, 5], [0, 7, 6], range(7)):
        others = list(others)
        whitener = density.whitener if family.name == "tied" else density.whitener[others]
        part = type(density)(density.log_scale[others], density.mean[others], whitener)
        np.testing.assert_array_equal(_seen(part, X, 0, len(X))[0], whole[others])


def _fitted(family, X, parameters):
    yield GaussianMixture.from_parameters(*parameters, covariance_type=family), {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        labels = np.arange(len(X)) % 8
        model = BayesianGaussianMixture(8, covariance_type=family, init_params=labels, max_iter=2).fit(X)
    yield model, {"predictive": "student-t"}


def test_predictions_in_any_order_and_any_part(family, rng):
    X, _, parameters = _problem(family, rng, n_rows=1500)
    order = rng.permutation(len(X))
    parts = [order, slice(1, None), slice(LANES, None), slice(240, 977), slice(13, 14), order[:7], slice(None, None, 3)]
    for model, options in _fitted(family, X, parameters):
        evidence, shares = model.score_samples(X, **options), model.predict_proba(X)
        for part in parts:
            np.testing.assert_array_equal(model.score_samples(X[part], **options), evidence[part])
            np.testing.assert_array_equal(model.predict_proba(X[part]), shares[part])


def test_whether_pairs_are_skipped_and_in_any_order(family, rng):
    """Of each row the same log joints as where all pairs are looked at, and the same entries in whatever order."""
    X, density, _ = _problem(family, rng, n_rows=1000, n_features=19)
    peak = _seen(density, X, 0, len(X))[2]
    with pytest.MonkeyPatch.context() as patch:
        skip_always(patch)

        def found(X, hints):
            passing = LivePass(density, None, hints)
            assert passing.pays(X)
            rows = passing.find(X, None, 0, stages.ENTRIES)
            parts = [slice(begin, begin + size) for begin, size in zip(rows.begin, rows.size, strict=True)]
            entries = [(rows.component[part].tobytes(), rows.responsibility[part].tobytes()) for part in parts]
            return rows.label, rows.peak, rows.evidence, np.array(entries, object)

        whole = found(X, Hints())
        np.testing.assert_array_equal(whole[1], peak)
        order = rng.permutation(len(X))
        for part in (order, slice(1, None), order[:100]):
            hints = Hints()
            hints.keep(0, rng.integers(16, size=len(X[part])), 8)
            for guess in (Hints(), hints):
                for one, other in zip(found(X[part], guess), whole, strict=True):
                    np.testing.assert_array_equal(one, other[part])
        labels = Scores(density, ArrayRows(X), labels=True).labels
    np.testing.assert_array_equal(whole[0], labels)


def test_a_truncated_fit_goes_on_from_its_checkpoint_with_the_same_bits(family, rng, tmp_path):
    """What goes on remembers no hints: rows are looked at in other tiles."""
    X, _, _ = _problem(family, rng, n_rows=1200)
    labels = rng.integers(12, size=len(X))
    options = {"covariance_type": family, "truncate": 8, "tol": 0.0, "init_params": labels}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = GaussianMixture(12, max_iter=7, **options).fit(X)
        parts = GaussianMixture(12, max_iter=3, checkpoint=tmp_path / "fit", checkpoint_interval=0, **options).fit(X)
        assert parts.n_iter_ == 3
        parts.set_params(max_iter=7).fit(X)
    for name in ("weights_", "means_", "covariances_", "lower_bounds_"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))
    assert whole.lower_bound_ != GaussianMixture.from_parameters(
        whole.weights_, whole.means_, whole.covariances_, family
    ).score(X)


@pytest.mark.slow
def test_the_compiler_is_left_no_choice():
    """No instruction of vector code, of logarithms and of Student-t distances may be reordered or contracted."""
    import numba

    like = np.empty((2, 48))
    density = student.DiagStudent(np.empty(2), np.empty((2, 3)), np.empty((2, 3)), np.empty(2), np.empty(2))
    arguments = density, np.empty((48, 3)), 0, 48, like, like[0], like[0], like
    compiled = numba.njit(_look.py_func)
    compiled.compile(tuple(numba.typeof(argument) for argument in arguments))
    (code,) = compiled.inspect_llvm().values()
    lines = [line for line in code.splitlines() if " fmul " in line or " fadd " in line or "llvm.fmuladd" in line]
    assert len(lines) > 20
    assert [line for line in lines if "contract" in line or "reassoc" in line or "fast" in line] == []
