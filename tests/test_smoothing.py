"""Thin components of a start: the rule against slow twins, and groups that are apart and stay so beside one far off."""

import itertools
import warnings

import numpy as np
import pytest
import reference
from conftest import slow

from fastgmm import BayesianGaussianMixture, GaussianMixture, exceptions, fit_many
from fastgmm.cli import main
from fastgmm.families import FAMILIES
from fastgmm.io import load_model
from fastgmm.kernels.updates.smoothing import local_variances, smooth_thin

NO_LABELS = np.empty(0, np.int64)
METHODS = "kmeans", "k-means++", "short-em", "kmeans-whitened", "agglomerative"


def _local_twin(mean, mass, own, few):
    gaps = (mean[:, None] - mean) ** 2
    distance = gaps.sum(axis=2)
    others = [[j for j in range(len(mean)) if mass[j] > 0 and distance[k, j] > 0] for k in range(len(mean))]
    nearest = [min(js, key=lambda j, k=k: distance[k, j], default=None) for k, js in enumerate(others)]
    shapes = [gaps[k, j] / distance[k, j] for k, j in enumerate(nearest) if j is not None]
    local = np.zeros_like(mean)
    for k, d in np.ndindex(*mean.shape):
        if own[k, d] > 0 and not few[k]:
            local[k, d] = own[k, d]
            continue
        donors = [j for j in range(len(mean)) if j != k and mass[j] > 0 and not few[j] and own[j, d] > 0]
        if donors:
            local[k, d] = own[min(donors, key=lambda j: distance[k, j]), d]
        elif nearest[k] is not None:
            local[k, d] = distance[k, nearest[k]] / 4 * np.mean(shapes, axis=0)[d]
    for k, js in enumerate(others):
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = [np.nansum(gaps[k, j] / local[k]) / 4 for j in js]
        local[k] *= min([1.0, *ratios])
    return np.where(few[:, None], np.maximum(local, own), local)


@pytest.mark.parametrize("few", [[0, 0, 0, 0, 0], [1, 0, 1, 0, 0], [1, 1, 1, 1, 1]])
def test_local_variances_are_those_of_the_neighbourhood(few, rng):
    few = np.array(few, bool)
    mean, mass = rng.normal(size=(5, 3)), np.array([1.0, 2.0, 1.0, 0.0, 4.0])
    mean[2] = mean[1] + [1e6, 0.0, 0.0]
    own = rng.uniform(0.1, 9.0, (5, 3)) * ~few[:, None]
    own[1, 2] = 0.0
    local = np.empty((5, 3))
    local_variances(mean, mass, own, few, local)
    np.testing.assert_allclose(local, _local_twin(mean, mass, own, few), rtol=1e-12)


def test_the_next_mean_is_at_least_two_standard_deviations_away(rng):
    mean = rng.normal(size=(6, 2)) * [1.0, 1e-3]
    local = np.empty((6, 2))
    own, few = np.zeros((6, 2)), np.arange(6) > 0
    own[0] = 50.0
    local_variances(mean, np.ones(6), own, few, local)
    for k, j in itertools.permutations(range(6), 2):
        assert ((mean[k] - mean[j]) ** 2 / local[k]).sum() >= 4.0 * (1 - 1e-12)


def _statistics(family, X, weight, labels, n_components):
    mass = np.bincount(labels, weight, n_components)
    origin = np.stack([np.average(X[labels == k], axis=0, weights=weight[labels == k]) for k in range(n_components)])
    gaps = X - origin[labels]
    dense = np.stack([(gaps * (weight * (labels == k))[:, None]).T @ gaps for k in range(n_components)])
    return origin, mass, np.zeros_like(origin), reference.projection(family, dense)


def _smoothed(family, X, labels, n_components, weight=None):
    weight = np.ones(len(X)) if weight is None else weight
    before = _statistics(family, X, weight, labels, n_components)
    after = tuple(np.array(array, order="C") for array in before)
    smooth_thin(family.blank(n_components, X.shape[1]), *after, X, weight, labels)
    return before, after


def _groups(rng, sizes, scales):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return rng.normal(size=(len(labels), 2)) * np.array(scales)[labels][:, None] + 30.0 * labels[:, None], labels


def test_groups_of_enough_rows_are_not_touched_however_narrow(family, rng):
    X, labels = _groups(rng, [20, 20, 20], [1.0, 1e-3, 1e-6])
    before, after = _smoothed(family, X, labels, 3)
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("name", ["full", "diag", "spherical"])
def test_a_group_of_few_rows_gets_the_variances_of_its_neighbour(name, rng):
    family = FAMILIES[name]
    X, labels = _groups(rng, [20, 1, 20], [2.0, 0.0, 0.5])
    X[labels == 1] -= 1.0
    (_, mass, _, scatter), (origin, smoothed_mass, _, smoothed) = _smoothed(family, X, labels, 3)
    share = 0.01 * len(X) / 3
    np.testing.assert_allclose(smoothed_mass, mass + [0.0, share, 0.0], rtol=1e-12)
    neighbour = X[labels == 0].var(axis=0)
    expected = reference.projection(family, np.diag(share * neighbour)[None] * [[[0.0]], [[1.0]], [[0.0]]])
    if name == "spherical":
        expected = np.array([0.0, 2 * share * neighbour.mean(), 0.0])
    np.testing.assert_allclose(smoothed - scatter, expected, atol=1e-9 * np.abs(scatter).max())
    np.testing.assert_allclose(origin[1], X[labels == 1][0])


def test_dependent_columns_are_smoothed_on_however_many_rows(rng):
    X, labels = _groups(rng, [50, 50], [1.0, 1.0])
    X[:, 1] = 2.0 * X[:, 0]
    for name in ("full", "tied"):
        (_, mass, _, _), (_, smoothed_mass, _, _) = _smoothed(FAMILIES[name], X, labels, 2)
        np.testing.assert_allclose(smoothed_mass, mass + 1.0)


def test_one_covariance_for_all_is_smoothed_only_where_all_rows_are_too_few(rng):
    X, labels = _groups(rng, [20, 1, 1, 1], [1.0, 0.0, 0.0, 0.0])
    before, after = _smoothed(FAMILIES["tied"], X, labels, 4)
    np.testing.assert_array_equal(after[1], before[1])
    X, labels = _groups(rng, [1, 1, 1, 1], [0.0] * 4)
    before, after = _smoothed(FAMILIES["tied"], X, labels, 4)
    np.testing.assert_allclose(after[1], before[1] + 0.01)


def test_copies_and_weights_of_rows_make_no_difference(family, rng):
    X, labels = _groups(rng, [30, 2, 1], [1.0, 1.0, 0.0])
    counts = rng.integers(1, 50, len(X))
    _, weighted = _smoothed(family, X, labels, 3, counts.astype(float))
    _, copies = _smoothed(family, np.repeat(X, counts, axis=0), np.repeat(labels, counts), 3)
    _, scaled = _smoothed(family, X, labels, 3, counts * 1e-3)
    for power, one, other, small in zip((0, 1, 1, 1), weighted, copies, scaled, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(small, one * 1e-3**power, rtol=1e-9, atol=1e-9)


def test_a_row_of_a_sample_stands_for_more_than_one(rng):
    """One row of the sample in a component of a thousand rows: not few. A value seen twice may be the only one."""
    family = FAMILIES["diag"]
    X, labels = _groups(rng, [500, 1000], [1.0, 1e-3])
    before = _statistics(family, X, np.ones(1500), labels, 2)
    for rows, expected in (([0, 1, 2, 3, 600], 0.0), ([0, 1, 2, 3, 600, 600], 0.01 * 750)):
        after = tuple(np.array(array, order="C") for array in before)
        smooth_thin(family.blank(2, 2), *after, X[rows], np.ones(len(rows)), labels[rows])
        assert after[1][1] - before[1][1] == pytest.approx(expected)


def _apart(rng, places, n_rows, scale=1.0):
    places = np.asarray(places, float)
    labels = np.repeat(np.arange(len(places)), n_rows)
    return places[labels] + scale * rng.normal(size=(len(labels), places.shape[1])), labels


def _right(X, labels, **parameters):
    """The likelihood that the true groups lead to."""
    return GaussianMixture(labels.max() + 1, init_params=labels, **parameters).fit(X).score(X)


def _scores(X, labels, seeds=3, **parameters):
    model = GaussianMixture(labels.max() + 1, **parameters)
    return [model.set_params(random_state=seed).fit(X).score(X) for seed in range(seeds)]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("far", [30.0, *slow(1e3, 1e6, 1e9), 1e12])
@pytest.mark.parametrize("name", ["full", "diag"])
def test_groups_that_are_apart_are_found_however_far_another_is(name, far, method, rng):
    X, labels = _apart(rng, [[0.0], [8.0], [far]], 100)
    right = _right(X, labels, covariance_type=name)
    assert min(_scores(X, labels, covariance_type=name, init_params=method)) > right - 1e-3


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["full", "tied"])
def test_neighbourhoods_of_two_cities_are_told_apart(name, method, rng):
    places = [[52.50, 13.40], [52.53, 13.42], [40.71, -74.00], [40.74, -73.98]]
    X, labels = _apart(rng, places, 100, 0.002)
    right = _right(X, labels, covariance_type=name)
    assert min(_scores(X, labels, covariance_type=name, init_params=method)) > right - 1e-3


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("far", [*slow(1e4), 1e9])
def test_one_far_row_does_not_merge_the_others(family, far, method, rng):
    X, labels = _apart(rng, [[0.0, 0.0], [9.0, 9.0]], 60)
    X, labels = np.r_[X, [[far, -far]]], np.r_[labels, 2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", exceptions.SpuriousComponentWarning)
        right = _right(X, labels, covariance_type=family.name)
        assert min(_scores(X, labels, covariance_type=family.name, init_params=method)) > right - 1e-2


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["full", "diag", "spherical"])
def test_codes_for_missing_values_do_not_merge_the_others(name, method, rng):
    X, labels = _apart(rng, [[0.0, 0.0, 0.0], [8.0, 8.0, 8.0]], 190)
    X, labels = np.r_[X, np.full((20, 3), -9999.0)], np.r_[labels, [2] * 20]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", exceptions.SpuriousComponentWarning)
        right = _right(X, labels, covariance_type=name)
        assert min(_scores(X, labels, covariance_type=name, init_params=method)) > right - 1e-2


def test_given_means_keep_what_is_apart(family, rng):
    X, labels = _apart(rng, [[0.0, 0.0], [8.0, 0.0], [1e6, 0.0]], 50)
    model = GaussianMixture(3, covariance_type=family.name, means_init=[[0, 0], [8, 0], [1e6, 0]]).fit(X)
    np.testing.assert_allclose(model.means_, [X[labels == k].mean(axis=0) for k in range(3)], rtol=1e-3, atol=0.02)


@pytest.mark.parametrize("method", ["kmeans", "k-means++"])
def test_many_fits_keep_what_is_apart(method, rng):
    problems = [_apart(rng, [[0.0], [8.0], [far]], 40)[0] for far in (1e3, 1e6, 1e9)]
    result = fit_many(GaussianMixture(3, init_params=method, random_state=0), problems)
    np.testing.assert_allclose(result.means_[:, :2, 0], np.tile([0.0, 8.0], (3, 1)), atol=0.6)


def test_a_choice_of_components_counts_what_is_apart(tmp_path, rng):
    X, _ = _apart(rng, [[52.50, 13.40], [52.53, 13.42], [40.71, -74.00], [40.74, -73.98]], 100, 0.002)
    table = tmp_path / "cities.csv"
    np.savetxt(table, X, delimiter=",", header="lat,lon", comments="")
    assert main(["fit", str(table), "-k", "1-6", "-o", str(tmp_path / "model.json")]) == 0
    assert load_model(tmp_path / "model.json").n_components == 4


def test_files_and_batches_keep_what_is_apart(tmp_path, rng):
    X, _ = _apart(rng, [[0.0], [8.0], [1e6]], 60)
    X = rng.permutation(X)
    np.save(tmp_path / "rows.npy", X)
    model = GaussianMixture(3, random_state=0)
    assert np.array_equal(
        model.fit(str(tmp_path / "rows.npy")).means_, GaussianMixture(3, random_state=0).fit(X).means_
    )
    np.testing.assert_allclose(model.means_[:2, 0], [0.0, 8.0], atol=0.5)
    online = GaussianMixture(3, random_state=0)
    for batch in np.array_split(X, 3):
        online.partial_fit(batch)
    np.testing.assert_allclose(online.means_[:2, 0], [0.0, 8.0], atol=0.5)


def test_variational_fits_with_a_narrow_prior_keep_what_is_apart(rng):
    """Its default prior has the variance of all rows, as scikit-learn's has: docs/variational.md."""
    X, _ = _apart(rng, [[0.0], [8.0], [1e6]], 100)
    prior = {"covariance_prior": [[1.0]], "mean_precision_prior": 1e-10}
    model = BayesianGaussianMixture(3, random_state=0, max_iter=1000, **prior).fit(X)
    np.testing.assert_allclose(np.sort(model.means_[:, 0]), [0.0, 8.0, 1e6], atol=0.5)


@pytest.mark.parametrize("n_rows", [48, 49, 98, 103, 187])
def test_the_rounding_of_a_constant_feature_is_no_variance(n_rows, rng):
    """Rows about an origin that is a few units of rounding away: centring may leave some of them."""
    family = FAMILIES["diag"]
    X = np.concatenate([rng.normal([0.0, 0.0], 1.0, (n_rows, 2)), rng.normal([50.0, 0.0], 1.0, (n_rows, 2))])
    X[:n_rows, 1] = 0.1
    labels = np.repeat([0, 1], n_rows)
    origin = np.array([[0.0, np.nextafter(np.nextafter(0.1, 1.0), 1.0)], [50.0, 0.0]])
    gaps = X - origin[labels]
    mass = np.full(2, float(n_rows))
    deviation = np.stack([gaps[labels == k].sum(axis=0) for k in range(2)])
    scatter = np.stack([(gaps[labels == k] ** 2).sum(axis=0) for k in range(2)])
    smooth_thin(family.blank(2, 2), origin, mass, deviation, scatter, X, np.ones(len(X)), labels)
    assert mass[0] > n_rows
    assert mass[1] == n_rows
    # With the variance of the nearest that varies, 2 % of an average component.
    assert scatter[0, 1] == pytest.approx(0.02 * n_rows, rel=0.5)
