"""Parts that are known stay as they are, and the others are where the likelihood is highest around them."""

import math
import pickle
import re

import numpy as np
import pytest
import reference
from conftest import dense

from fastgmm import GaussianMixture, fit_many
from fastgmm.datasets import load_faithful
from fastgmm.exceptions import ConvergenceWarning
from fastgmm.families import FAMILIES
from fastgmm.io import load_model, save_model

REG = 1e-4


def _rows():
    rng = np.random.default_rng(8)
    groups = [
        rng.normal(size=(300, 2)),
        [5.0, 0.0] + 0.5 * rng.normal(size=(200, 2)),
        [0, 6] + rng.normal(size=(100, 2)),
    ]
    return np.concatenate(groups)


ROWS = _rows()


def parts_of(family):
    """Combinations of known parts that a family takes."""
    some = "all" if family.is_tied else [1]
    return (
        {"means": [0, 2]},
        {"weights": [1]},
        {"covariances": some},
        {"means": [0], "weights": [0, 2], "covariances": some},
        {"means": "all"},
        {"weights": "all", "means": [1]},
    )


def start_of(family, shift=0.4):
    """Explicit parts that are near the rows, and not where a fit would lead."""
    free = GaussianMixture(3, covariance_type=family.name, random_state=0).fit(ROWS)
    weights = np.array([0.4, 0.35, 0.25])
    return {"weights_init": weights, "means_init": free.means_ + shift, "precisions_init": 0.8 * free.precisions_}


def known(parts, name):
    named = parts.get(name, [])
    return np.isin(np.arange(3), np.arange(3) if isinstance(named, str) else named)


def twin(family, parts, start, weights, means, matrices):
    """Return an update by the definition, on dense covariances."""
    r = reference.responsibilities(ROWS, weights, means, matrices)
    mass = r.sum(axis=0)
    weight_known, mean_known = known(parts, "weights"), known(parts, "means")
    weights = np.where(weight_known, start["weights_init"], 0.0)
    rest = np.where(weight_known, 0.0, mass)
    if not weight_known.all():
        weights += (1.0 - weights.sum()) * rest / rest.sum()
    means = np.where(mean_known[:, None], start["means_init"], r.T @ ROWS / mass[:, None])
    gap = ROWS[:, None] - means
    scatter = np.einsum("nk,nki,nkj->kij", r, gap, gap)
    covariances = scatter / mass[:, None, None]
    if family.is_tied:
        covariances = np.repeat(scatter.sum(axis=0)[None] / len(ROWS), 3, axis=0)
    if not family.has_matrices:
        covariances = covariances * np.eye(2)
    if family.name.endswith("spherical"):
        covariances = np.trace(covariances, axis1=1, axis2=2)[:, None, None] / 2 * np.eye(2)
    covariances = covariances + REG * np.eye(2)
    fixed = known(parts, "covariances")
    inits = GaussianMixture(3, covariance_type=family.name)
    inits.weights_, inits.means_ = np.full(3, 1 / 3), means
    inits.covariances_ = (
        np.linalg.inv(start["precisions_init"]) if family.has_matrices else 1.0 / start["precisions_init"]
    )
    covariances[fixed] = dense(inits, family)[fixed]
    return weights, means, covariances


@pytest.mark.filterwarnings("ignore:Best performing initialization did not converge")
@pytest.mark.parametrize("number", range(6))
def test_updates_are_those_of_the_definition(family, number):
    parts, start = parts_of(family)[number], start_of(family)
    model = GaussianMixture(3, covariance_type=family.name, frozen=parts, reg_covar=REG, tol=0.0, **start)
    model.set_params(max_iter=0).fit(ROWS)
    weights, means, matrices = model.weights_, model.means_, dense(model, family)
    for n_iter in range(1, 4):
        weights, means, matrices = twin(family, parts, start, weights, means, matrices)
        model.set_params(max_iter=n_iter).fit(ROWS)
        np.testing.assert_allclose(model.weights_, weights, rtol=1e-10)
        np.testing.assert_allclose(model.means_, means, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(dense(model, family), matrices, rtol=1e-8, atol=1e-10)
    for name in ("weights", "means"):
        mask = known(parts, name)
        np.testing.assert_array_equal(getattr(model, f"{name}_")[mask], np.asarray(start[f"{name}_init"])[mask])


@pytest.mark.parametrize("accelerate", [None, "squarem", "anderson"])
def test_the_likelihood_rises_to_where_no_free_part_can_raise_it(family, accelerate):
    for parts in parts_of(family):
        start = start_of(family)
        model = GaussianMixture(3, covariance_type=family.name, frozen=parts, tol=1e-13, max_iter=2000, **start)
        bounds = model.set_params(accelerate=accelerate).fit(ROWS).lower_bounds_
        assert np.diff(bounds).min() >= -1e-7  # by reg_covar
        free = ~known(parts, "means")
        for k in np.flatnonzero(free):
            for step in 1e-3 * np.eye(2):
                other = GaussianMixture.from_parameters(
                    model.weights_, np.where(np.arange(3)[:, None] == k, model.means_ + step, model.means_),
                    model.covariances_, family.name,
                )  # fmt: skip
                assert other.score(ROWS) < model.score(ROWS)


def test_a_known_background_on_real_data():
    """Short eruptions of Old Faithful are known; what is left, long ones, is found as by a fit of these alone."""
    X = load_faithful().data
    short, long = X[X[:, 0] < 3], X[X[:, 0] > 3]
    background = GaussianMixture(1).fit(short)
    start = {
        "means_init": [background.means_[0], X.mean(axis=0)],
        "precisions_init": [background.precisions_[0], np.linalg.inv(np.cov(X.T))],
        "weights_init": [0.5, 0.5],
    }
    model = GaussianMixture(2, frozen={"means": [0], "covariances": [0]}, tol=1e-8, max_iter=500, **start).fit(X)
    np.testing.assert_array_equal(model.means_[0], background.means_[0])
    np.testing.assert_allclose(model.covariances_[0], background.covariances_[0], rtol=1e-12)
    np.testing.assert_allclose(model.means_[1], long.mean(axis=0), atol=0.3)
    assert model.weights_[0] == pytest.approx(len(short) / len(X), abs=0.02)


def test_nothing_known_changes_no_bit(family):
    start = start_of(family)
    fits = [
        GaussianMixture(3, covariance_type=family.name, frozen=frozen, **start).fit(ROWS)
        for frozen in (None, {}, {"means": []})
    ]
    for fit in fits[1:]:
        for name in ("weights_", "means_", "covariances_", "lower_bound_"):
            np.testing.assert_array_equal(getattr(fit, name), getattr(fits[0], name))


def test_all_known_is_the_start(family):
    start, everything = start_of(family), {"weights": "all", "means": "all", "covariances": "all"}
    model = GaussianMixture(3, covariance_type=family.name, frozen=everything, **start).fit(ROWS)
    np.testing.assert_array_equal(model.weights_, start["weights_init"])
    np.testing.assert_array_equal(model.means_, start["means_init"])
    np.testing.assert_allclose(model.precisions_, start["precisions_init"], rtol=1e-10)
    assert model._n_parameters() == 0
    assert model.bic(ROWS) == pytest.approx(-2 * len(ROWS) * model.score(ROWS))


def test_known_parts_are_no_free_parameters(family):
    start, n_rows = start_of(family), len(ROWS)
    free = GaussianMixture(3, covariance_type=family.name, **start).fit(ROWS)
    known_means = GaussianMixture(3, covariance_type=family.name, frozen={"means": [0, 1]}, **start).fit(ROWS)
    assert free._n_parameters() - known_means._n_parameters() == 4
    expected = -2 * n_rows * known_means.score(ROWS) + known_means._n_parameters() * math.log(n_rows)
    assert known_means.bic(ROWS) == pytest.approx(expected)


def test_a_known_component_without_rows_stays(family):
    if family.is_tied:
        parts = {"means": [2], "covariances": "all"}
    else:
        parts = {"means": [2], "covariances": [2]}
    start = start_of(family)
    means = np.array(start["means_init"])
    means[2] = [1e6, 1e6]
    model = GaussianMixture(3, covariance_type=family.name, frozen=parts, **(start | {"means_init": means})).fit(ROWS)
    np.testing.assert_array_equal(model.means_[2], means[2])
    assert model.weights_[2] == 0.0
    assert np.isfinite(model.score(ROWS))


def test_files_batches_and_checkpoints(family, tmp_path):
    parts, start = parts_of(family)[3], start_of(family)
    params = {"covariance_type": family.name, "frozen": parts, "tol": 1e-10, "max_iter": 60, **start}
    whole = GaussianMixture(3, **params).fit(ROWS)
    np.save(tmp_path / "rows.npy", ROWS)
    of_file = GaussianMixture(3, **params).fit(tmp_path / "rows.npy")
    kept = GaussianMixture(3, checkpoint=tmp_path / "c", checkpoint_interval=0, **params)
    with pytest.warns(ConvergenceWarning):
        kept.set_params(max_iter=2).fit(ROWS)
    resumed = kept.set_params(max_iter=60).fit(ROWS)
    for other in (of_file, resumed):
        np.testing.assert_array_equal(other.means_, whole.means_)
        np.testing.assert_array_equal(other.covariances_, whole.covariances_)
    with pytest.raises(ValueError, match="frozen"):
        kept.set_params(frozen={"means": [1]}).fit(ROWS)
    learned = GaussianMixture(3, **params)
    for batch in np.array_split(np.random.default_rng(0).permutation(ROWS), 4):
        learned.partial_fit(batch)
    np.testing.assert_array_equal(learned.means_[0], np.asarray(start["means_init"])[0])
    np.testing.assert_array_equal(learned.weights_[[0, 2]], start["weights_init"][[0, 2]])


def test_a_warm_start_goes_on_around_other_known_parts():
    """Its bounds are of another problem, and say nothing of whether this one has converged."""
    model = GaussianMixture(3, random_state=0, tol=1e-9, max_iter=2000).fit(ROWS)
    means = model.means_.copy()
    means[0] += 3.0
    parts = {"frozen": {"means": [0]}, "means_init": means}
    model.set_params(warm_start=True, **parts).fit(ROWS)
    anew = GaussianMixture(3, random_state=0, tol=1e-9, max_iter=2000, **parts).fit(ROWS)
    assert model.n_iter_ > 3
    np.testing.assert_array_equal(model.means_[0], means[0])
    assert model.lower_bound_ == pytest.approx(anew.lower_bound_, abs=1e-4)
    with pytest.warns(ConvergenceWarning):
        model.set_params(frozen={"means": [1]}, means_init=means + 1.0, max_iter=1, tol=0.0).fit(ROWS)
    np.testing.assert_array_equal(model.means_[1], means[1] + 1.0)


@pytest.mark.parametrize("n_features", [3, 5, 10])
def test_a_known_background_may_hold_fewer_rows_than_a_covariance_needs(n_features):
    for seed in range(4):
        rng = np.random.default_rng(seed)
        X = np.vstack([rng.normal(size=(500, n_features)), 1e5 * rng.normal(size=(2, n_features))])
        start = {"means_init": np.zeros((2, n_features)), "weights_init": [0.1, 0.9]}
        start["precisions_init"] = np.stack([1e-10 * np.eye(n_features), np.eye(n_features)])
        model = GaussianMixture(2, frozen={"means": [0], "covariances": [0]}, **start).fit(X)
        assert model.weights_[0] == pytest.approx(2 / 502, rel=1e-3)
        np.testing.assert_array_equal(np.flatnonzero(model.predict(X) == 0), [500, 501])
        assert model.spurious_ == []


def test_a_narrow_known_component_is_not_spurious():
    """A line whose width is known: its likelihood has a limit, whatever rows it holds."""
    rng = np.random.default_rng(2)
    X = np.vstack([rng.normal(size=(300, 2)), np.full((40, 2), 3.0)])
    start = {"means_init": [[3.0, 3.0], [0.0, 0.0]], "weights_init": [0.1, 0.9]}
    start["precisions_init"] = [1e6 * np.eye(2), np.eye(2)]
    model = GaussianMixture(2, frozen={"means": [0], "covariances": [0]}, **start).fit(X)
    assert model.spurious_ == []


def test_criteria_are_those_of_the_fit(tmp_path):
    start = start_of(FAMILIES["full"])
    model = GaussianMixture(3, frozen={"means": [0], "covariances": [0]}, **start).fit(ROWS)
    bic = model.bic(ROWS)
    free = GaussianMixture.from_parameters(model.weights_, model.means_, model.covariances_)
    assert free.bic(ROWS) - bic == pytest.approx(5 * math.log(len(ROWS)), rel=1e-9)
    for change in ({"frozen": None}, {"n_components": 2}, {"reg_covar": 0.0}):
        assert pickle.loads(pickle.dumps(model)).set_params(**change).bic(ROWS) == bic
    for name in ("m.json", "m.npz"):
        save_model(model, tmp_path / name)
        assert load_model(tmp_path / name).bic(ROWS) == pytest.approx(bic, rel=1e-12)
    model.set_params(frozen=None).fit(ROWS)
    assert model._n_parameters() == free._n_parameters()


@pytest.mark.parametrize(
    ("parts", "n_known"), [({"weights": [0]}, 1), ({"weights": "all"}, 2), ({"covariances": [1]}, 3)]
)
def test_known_weights_and_covariances_are_counted(parts, n_known):
    model = GaussianMixture(3, frozen=parts, **start_of(FAMILIES["full"])).fit(ROWS)
    assert model._n_parameters() == 17 - n_known


def test_weights_starts_and_truncation():
    start, frozen = start_of(FAMILIES["full"]), {"means": [0]}
    weight = np.random.default_rng(0).uniform(0.5, 2.0, len(ROWS))
    fits = [
        GaussianMixture(3, frozen=frozen, tol=1e-10, max_iter=500, **start).fit(ROWS, sample_weight=scale * weight)
        for scale in (1.0, 1e150, 1e-150)
    ]
    for fit in fits[1:]:
        np.testing.assert_allclose(fit.means_, fits[0].means_, rtol=1e-9)
    for params in ({"n_init": 3}, {"n_init": 3, "race": True}, {"truncate": 2}):
        some = {"means_init": start["means_init"]}
        model = GaussianMixture(3, frozen=frozen, random_state=0, tol=1e-6, max_iter=500, **some, **params).fit(ROWS)
        np.testing.assert_array_equal(model.means_[0], start["means_init"][0])


def test_checkpoints_know_equal_parts(tmp_path):
    start = start_of(FAMILIES["full"])
    model = GaussianMixture(3, checkpoint=tmp_path / "c", **start)
    for means in ({0, 1}, [1, 0], (0, 1), np.array([0, 1]), {0: "a", 1: "b"}.keys()):
        model.set_params(frozen={"means": means}).fit(ROWS)
    with pytest.raises(ValueError, match="frozen"):
        model.set_params(frozen={"means": [0]}).fit(ROWS)


START = {"weights_init": [0.5, 0.5], "means_init": np.zeros((2, 2)), "precisions_init": [np.eye(2)] * 2}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"frozen": ["means"]},
            "frozen must be None or a dict of 'weights', 'means' and 'covariances', got ['means'].",
        ),
        ({"frozen": {"mean": [0]}}, "frozen must be None or a dict of 'weights', 'means' and 'covariances'"),
        ({"frozen": {"means": [2]}}, "frozen['means'] must name components from 0 to 1, got 2."),
        ({"frozen": {"means": [True]}}, "frozen['means'] must name components from 0 to 1, got True."),
        ({"frozen": {"means": "some"}}, "frozen['means'] must be 'all' or a list of components, got 'some'."),
        ({"frozen": {"means": 0}}, "frozen['means'] must be 'all' or a list of components, got 0."),
        (
            {"frozen": {"means": (k for k in [0])}},
            "frozen['means'] must be 'all' or a list of components, got <generator",
        ),
        ({"frozen": {"means": np.array(0)}}, "frozen['means'] must be 'all' or a list of components, got array(0)."),
        (
            {"frozen": {"means": [0]}, "means_init": None},
            "frozen names means, which stay at means_init: give it, got None.",
        ),
        (
            {"frozen": {"covariances": [0]}, "covariance_type": "tied", "precisions_init": np.eye(2)},
            "frozen['covariances'] must be 'all' with covariance_type 'tied', whose components share one, got [0].",
        ),
        (
            {"frozen": {"covariances": [0]}, "reg_covar": 0},
            "reg_covar must be greater than 0 where parts are frozen, got 0",
        ),
    ],
)
def test_what_cannot_be_frozen(params, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        GaussianMixture(2, **(START | params)).fit(ROWS)


def test_fit_many_refuses_by_name():
    with pytest.raises(ValueError, match="fit_many cannot fit with frozen="):
        fit_many(GaussianMixture(2, frozen={"means": [0]}, **START), [ROWS])
