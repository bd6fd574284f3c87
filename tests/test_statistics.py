"""The laws of sufficient statistics, on values that the operations themselves build."""

import itertools
import pickle

import numpy as np
import pytest
from conftest import draw, random_mixture
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastgmm.families import FAMILIES
from fastgmm.passes.expectation import e_step
from fastgmm.rows import ArrayRows
from fastgmm.statistics import SufficientStatistics

SHAPE = (2, 3)
SETTINGS = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow], derandomize=True)


def _problem(family):
    rng = np.random.default_rng(7)
    weights, means, covariances = random_mixture(rng, family, *SHAPE)
    X = draw(rng, weights, means, family.matrices(covariances, *SHAPE), 64)
    return family.density(weights, means, covariances)[0], X


PROBLEMS = {name: _problem(family) for name, family in FAMILIES.items()}


@st.composite
def statistics(draw_, name):
    """Statistics made by collecting, adding, scaling and recentring back."""
    density, X = PROBLEMS[name]
    kind = draw_(st.sampled_from(["rows", "zero", "sum", "scaled"]))
    if kind == "zero":
        return FAMILIES[name].zero(density.mean)
    if kind == "sum":
        return draw_(statistics(name)) + draw_(statistics(name))
    if kind == "scaled":
        return draw_(st.floats(0, 1e3)) * draw_(statistics(name))
    start = draw_(st.integers(0, 60))
    stop = draw_(st.integers(start + 1, 64))
    value = e_step(FAMILIES[name], density, X[start:stop])
    return SufficientStatistics(
        density.mean, value.mass, value.deviation, value.scatter, value.log_evidence, value.weight
    )


def _close(a, b, scale=1.0):
    for name in ("mass", "deviation", "scatter", "log_evidence", "weight"):
        x, y = np.asarray(getattr(a, name)), np.asarray(getattr(b, name))
        magnitude = max(np.abs(x).max(initial=0), np.abs(y).max(initial=0), scale * 1e-300)
        np.testing.assert_allclose(x, y, rtol=0, atol=1e-11 * max(magnitude, scale), err_msg=name)


@pytest.mark.parametrize("name", list(FAMILIES))
def test_monoid_laws(name):
    zero = FAMILIES[name].zero(PROBLEMS[name][0].mean)

    @SETTINGS
    @given(statistics(name), statistics(name), statistics(name), st.floats(0, 10), st.floats(0, 10))
    def laws(a, b, c, s, t):
        _close(a + b, b + a)
        size = 1 + max(np.abs(v.scatter).max() + abs(v.log_evidence) for v in (a, b, c))
        _close((a + b) + c, a + (b + c), size)
        _close(a + zero, a)
        _close(s * (a + b), s * a + s * b, 10 * size)
        _close((s + t) * a, s * a + t * a, 20 * size)
        _close(s * (t * a), (s * t) * a, 100 * size)
        _close(1.0 * a, a)
        _close(0.0 * a, zero)

    laws()


@pytest.mark.parametrize("name", list(FAMILIES))
def test_recentring_is_a_change_of_origin(name):
    family = FAMILIES[name]
    density, _ = PROBLEMS[name]
    floats = st.lists(st.floats(-5, 5), min_size=6, max_size=6)

    @SETTINGS
    @given(statistics(name), floats, floats)
    def laws(a, u, v):
        p, q = np.reshape(u, SHAPE), np.reshape(v, SHAPE)
        size = 100 * (1 + a.weight + np.abs(a.scatter).max())
        _close(family.recentre(family.recentre(a, p), q), family.recentre(a, q), size)
        _close(family.recentre(family.recentre(a, p), density.mean), a, size)
        np.testing.assert_allclose(family.centred(family.recentre(a, p)), family.centred(a), rtol=0, atol=1e-11 * size)

    laws()


def test_recentred_statistics_are_those_of_a_pass_about_the_new_origin(family, rng):
    from fastgmm.passes.expectation import Expectation

    density, X = PROBLEMS[family.name]
    origin = rng.normal(size=SHAPE)
    _close(family.recentre(e_step(family, density, X), origin), Expectation(family, ArrayRows(X))(density, origin), 1e3)


@pytest.mark.parametrize("cuts", [[], [20], [1, 2, 3], list(range(5, 64, 7))])
def test_batches_add_up_to_the_whole(family, cuts):
    density, X = PROBLEMS[family.name]
    edges = [0, *cuts, 64]
    parts = [e_step(family, density, X[i:j]) for i, j in itertools.pairwise(edges)]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    _close(total, e_step(family, density, X), 100)


@SETTINGS
@given(st.lists(st.integers(0, 4), min_size=64, max_size=64))
def test_a_weight_is_a_number_of_copies(counts):
    counts = np.array(counts)
    for name, family in FAMILIES.items():
        density, X = PROBLEMS[name]
        if counts.sum() == 0:
            continue
        weighted = e_step(family, density, X, counts.astype(float))
        _close(weighted, e_step(family, density, np.repeat(X, counts, axis=0)), 1e3)


@pytest.mark.parametrize("name", list(FAMILIES))
def test_packed_statistics_add_up_as_the_statistics_do(name):
    """Bit for bit, about one origin; and unpacked they are what they were."""
    shape = FAMILIES[name].shape(*SHAPE)
    fields = ("origin", "mass", "deviation", "scatter", "log_evidence", "weight")

    @SETTINGS
    @given(statistics(name), statistics(name))
    def laws(a, b):
        np.testing.assert_array_equal((a + b).to_array(), a.to_array() + b.to_array())
        again = SufficientStatistics.from_array(a.to_array(), a.origin, shape)
        for field in fields:
            np.testing.assert_array_equal(getattr(again, field), getattr(a, field))

    laws()


def test_the_layout_of_packed_statistics():
    packed = np.arange(1.0, 2 + 6 + 6 + 2 + 1)
    value = SufficientStatistics.from_array(packed, np.zeros(SHAPE), (2, 3))
    np.testing.assert_array_equal(value.mass, [1, 2])
    np.testing.assert_array_equal(value.deviation, [[3, 4, 5], [6, 7, 8]])
    np.testing.assert_array_equal(value.scatter, [[9, 10, 11], [12, 13, 14]])
    assert (value.log_evidence, value.weight) == (15.0, 16.0)
    packed[:] = 0.0
    assert value.weight == 16.0
    assert value.mass[0] == 1.0
    with pytest.raises(ValueError, match=r"array must have the shape \(16,\) .* got \(15,\)"):
        SufficientStatistics.from_array(packed[1:], np.zeros(SHAPE), (2, 3))


@pytest.mark.parametrize("name", list(FAMILIES))
def test_statistics_merge_across_processes(name):
    """Of workers that share a density, by pickles or by a sum of vectors."""
    family = FAMILIES[name]
    density, X = PROBLEMS[name]
    parts = [e_step(family, density, rows) for rows in np.split(X, [10, 30])]
    whole = parts[0] + parts[1] + parts[2]
    first, *others = [pickle.loads(pickle.dumps(part)) for part in parts]
    merged = first + others[0] + others[1]
    vector = sum(part.to_array() for part in parts)
    unpacked = SufficientStatistics.from_array(vector, density.mean, family.shape(*SHAPE))
    for value in (merged, unpacked):
        np.testing.assert_array_equal(value.to_array(), whole.to_array())


def test_different_origins_and_families_do_not_add():
    family = FAMILIES["diag"]
    a = family.zero(np.zeros(SHAPE))
    with pytest.raises(ValueError, match="different origins"):
        a + family.zero(np.ones(SHAPE))
    with pytest.raises(ValueError, match="different covariance families"):
        a + FAMILIES["full"].zero(a.origin)
    with pytest.raises(TypeError):
        a + 1.0
    with pytest.raises(TypeError):
        a - a
    for factor in (-1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="factor >= 0"):
            factor * a


def test_mean_of_a_component_without_mass_is_its_origin():
    family = FAMILIES["full"]
    origin = np.arange(6.0).reshape(SHAPE)
    np.testing.assert_array_equal(family.zero(origin).mean, origin)
