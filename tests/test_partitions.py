"""Partitions against slow twins: SciPy's Ward, a likelihood computed anew for every pair of groups, affine maps."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import cut_tree, linkage

from fastgmm.families import FAMILIES
from fastgmm.starts.agglomeration import _PSEUDO_SHARE, _merged, agglomerated, sphered, standardised, ward


def _canonical(labels):
    """Number the groups as they appear, so that equal partitions have equal labels."""
    order = {}
    return [order.setdefault(label, len(order)) for label in np.asarray(labels).tolist()]


def _rows(seed, n_rows=40, n_features=3):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_rows, n_features)) + 3 * rng.integers(0, 3, size=(n_rows, 1))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), n_clusters=st.integers(1, 40))
def test_ward_is_scipys(seed, n_clusters):
    X = _rows(seed)
    theirs = cut_tree(linkage(X, "ward"), n_clusters).ravel()
    ours = ward(X, np.ones(40)).cut(n_clusters)
    assert set(ours) == set(range(n_clusters))
    assert _canonical(ours) == _canonical(theirs)


def test_ward_counts_weights_as_copies():
    X = _rows(1)
    counts = np.random.default_rng(2).integers(1, 4, 40)
    labels = ward(X, counts.astype(float)).cut(5)
    copies = ward(np.repeat(X, counts, axis=0), np.ones(counts.sum())).cut(5)
    assert _canonical(np.repeat(labels, counts)) == _canonical(copies)


def test_ward_of_equal_rows_still_makes_as_many_groups():
    labels = ward(np.zeros((6, 2)), np.ones(6)).cut(4)
    assert set(labels) == {0, 1, 2, 3}


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.sampled_from([1e-150, 1.0, 1e150]))
def test_sphered_rows_have_unit_covariance_and_keep_the_mahalanobis_distances(seed, scale):
    X, weight = _rows(seed), np.random.default_rng(seed).uniform(0.1, 2, 40)
    rows = sphered(scale * np.c_[X, X @ [1.0, -2.0, 0.5], np.full(40, 7.0)], weight)  # a dependent, a constant column
    assert rows.shape == (40, 3)
    np.testing.assert_allclose(np.cov(rows.T, aweights=weight, ddof=0), np.eye(3), atol=1e-9)
    gap = X[:20] - X[20:]
    expected = np.einsum("ni,ij,nj->n", gap, np.linalg.inv(np.cov(X.T, aweights=weight, ddof=0)), gap)
    np.testing.assert_allclose(((rows[:20] - rows[20:]) ** 2).sum(axis=1), expected, rtol=1e-7)


def test_rows_without_any_variance_have_coordinates():
    for make in (standardised, sphered):
        np.testing.assert_array_equal(make(np.full((5, 2), 3.0), np.ones(5)), np.zeros((5, 1)))


def _log_volume(name, rows, weight, variances, pseudo):
    """mass * log |covariance|, with pseudo-rows, by the definition of each family."""
    mass = weight.sum()
    gap = rows - weight @ rows / mass
    scatter = gap.T @ (weight[:, None] * gap) + pseudo * np.diag(weight @ variances / mass)
    matrix = {
        "full": scatter,
        "diag": np.diag(np.diag(scatter)),
        "spherical": np.trace(scatter) / len(scatter) * np.eye(len(scatter)),
    }[name]
    return mass * np.linalg.slogdet(matrix / (mass + pseudo))[1]


@pytest.mark.parametrize("name", ["full", "diag", "spherical"])
def test_groups_are_merged_where_that_costs_the_least_likelihood(name):
    X = _rows(5, 30, 2)
    weight = np.random.default_rng(6).uniform(0.5, 2, 30)
    first = ward(X, weight).cut(12)
    variances = np.random.default_rng(7).uniform(0.1, 2, X.shape)
    pseudo = _PSEUDO_SHARE * weight.sum() / 3

    def volume(labels, *groups):
        chosen = np.isin(labels, groups)
        return _log_volume(name, X[chosen], weight[chosen], variances[chosen], pseudo)

    expected = first.copy()
    for _ in range(9):
        losses = {
            (a, b): volume(expected, a, b) - volume(expected, a) - volume(expected, b)
            for a, b in itertools.combinations(np.unique(expected), 2)
        }
        kept, gone = min(losses, key=losses.get)
        expected[expected == gone] = kept
    labels = _merged(FAMILIES[name], X, weight, variances, first.copy(), 3, None)
    assert _canonical(labels) == _canonical(expected)


def test_agglomeration_finds_crossed_groups_that_wards_method_cuts(rng):
    """A cross of two long, narrow groups: no method of distances separates its arms."""
    X = np.r_[rng.normal(size=(200, 2)) * [10.0, 0.3], rng.normal(size=(200, 2)) * [0.3, 10.0]]
    labels = agglomerated(FAMILIES["full"], X, np.ones(400), 2)
    arms = np.repeat([0, 1], 200)
    wrong = min((labels != arms).mean(), (labels == arms).mean())
    assert wrong < 0.1
    cut = ward(X, np.ones(400)).cut(2)
    assert min((cut != arms).mean(), (cut == arms).mean()) > 0.2


def test_many_components_are_groups_of_wards_method():
    X = _rows(3, 300)
    labels = agglomerated(FAMILIES["diag"], X, np.ones(300), 150)
    assert _canonical(labels) == _canonical(ward(standardised(X, np.ones(300)), np.ones(300)).cut(150))
