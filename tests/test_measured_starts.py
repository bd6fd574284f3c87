"""Starts of fits to rows with errors, and when they stop."""

import numpy as np
import pytest

from fastgmm import GaussianMixture
from fastgmm.datasets import load_iris
from fastgmm.rows import ArrayRows
from fastgmm.sources.denoised import beginning
from fastgmm.sources.measured import with_errors


def groups_of_three():
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=600)
    rows = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]])[labels] + 0.5 * rng.normal(size=(600, 2))
    return rows, np.full((600, 2), 0.01), labels


def with_one_row_at(place, variance):
    rows, errors, _ = groups_of_three()
    rows[0], errors[0] = place, variance
    return rows, errors


def with_codes(code, share=0.15):
    rows, errors, _ = groups_of_three()
    lost = np.random.default_rng(5).random(rows.shape) < share
    return np.where(lost, code, rows), np.where(lost, 1e10, errors)


NAMED_STARTS = "kmeans", "k-means++", "kmeans-whitened", "agglomerative", "short-em"
HUGE = [
    with_one_row_at(1e3, 1e6),
    with_one_row_at(100.0, 1e4),
    with_codes(-999.0),
    with_codes(1e4),
    with_codes(0.0, 0.5),
]


@pytest.mark.parametrize(("rows", "errors"), HUGE)
def test_numbers_with_huge_errors_get_no_component(rows, errors):
    """A start from the truth is the measure."""
    labels = groups_of_three()[2]
    best = GaussianMixture(3, init_params=labels).fit(rows, sample_covariance=errors).lower_bound_
    for options in (*({"init_params": name} for name in NAMED_STARTS), {"n_init": 3}):
        model = GaussianMixture(3, random_state=0, max_iter=500, **options).fit(rows, sample_covariance=errors)
        assert model.lower_bound_ > best - 0.01, options
    centres = [[0.1, 0.2], [4.1, 0.1], [0.2, 3.8]]
    model = GaussianMixture(3, means_init=centres).fit(rows, sample_covariance=errors)
    assert model.lower_bound_ > best - 0.01
    matrices = errors[:, :, None] * np.eye(2)
    model = GaussianMixture(3, random_state=0).fit(rows, sample_covariance=matrices)
    assert model.lower_bound_ > best - 0.01
    np.testing.assert_allclose(np.sort(model.weights_), np.sort(np.bincount(labels) / 600), atol=0.1)


@pytest.mark.parametrize("scale", [1e-140, 1e140])
def test_numbers_with_huge_errors_at_any_scale(scale):
    rows, errors = HUGE[2]
    weight = np.where(np.arange(600) % 50, 1.0, 0.0)
    plain = GaussianMixture(3, random_state=0, reg_covar=0.0).fit(rows, sample_weight=weight, sample_covariance=errors)
    scaled = GaussianMixture(3, random_state=0, reg_covar=0.0)
    scaled.fit(scale * rows, sample_weight=weight, sample_covariance=scale * scale * errors)
    np.testing.assert_allclose(scaled.means_ / scale, plain.means_, rtol=1e-6, atol=1e-6)


def test_starts_see_other_rows_as_they_are():
    rows, errors, _ = groups_of_three()
    errors *= np.random.default_rng(2).uniform(0.0, 50.0, size=(600, 1))
    assert beginning(with_errors(ArrayRows(rows), errors)).X is None
    seen = beginning(with_errors(ArrayRows(HUGE[2][0]), HUGE[2][1]))
    kept = HUGE[2][1] < 1.0
    np.testing.assert_array_equal(seen.X[kept], rows[kept])
    assert np.abs(seen.X).max() < 12.0
    np.testing.assert_allclose(seen.error, np.diag(0.01 * kept.mean(axis=0)))
    correlated = np.random.default_rng(3).multivariate_normal([0.0, 1e8], [[1.0, 1.9], [1.9, 4.0]], size=600)
    given = np.full((600, 2), 1e-6)
    lost = np.arange(600) % 4 == 0
    given[lost, 1] = 1e12
    seen = beginning(with_errors(ArrayRows(np.where(given > 1.0, 9.9e7, correlated)), given)).X
    assert np.corrcoef(seen[lost].T)[0, 1] > 0.9
    assert np.std(seen[lost, 1]) == pytest.approx(2.0, rel=0.2)


def test_fits_do_not_stop_where_errors_hide_much():
    x = np.random.default_rng(0).normal(size=(400, 1))
    x = np.sqrt(10.0) * (x - x.mean()) / x.std()
    for error in (9.0, 12.0, 20.0, 1000.0):
        for given in (error, np.full((400, 1), error)):
            model = GaussianMixture(1).fit(x, sample_covariance=given)
            assert model.covariances_[0, 0, 0] == pytest.approx(max(10.0 - error, 0.0), abs=1e-3)
    errors = np.random.default_rng(1).uniform(12.0, 20.0, size=(400, 1))
    model = GaussianMixture(1).fit(x, sample_covariance=errors)
    best = -0.5 * (np.log(2.0 * np.pi * errors) + x**2 / errors).mean()
    assert model.lower_bound_ > best - 1e-3
    iris = load_iris().data
    quick = GaussianMixture(3, random_state=0).fit(iris, sample_covariance=0.05)
    assert quick.lower_bound_ == pytest.approx(-1.545, abs=1e-3)
