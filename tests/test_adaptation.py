"""Adaptation of a background mixture: the textbook's formula, its limits, and what it refuses."""

import copy
import math
import pickle
import re

import numpy as np
import pytest
import reference
from conftest import dense

from fastgmm import BayesianGaussianMixture, GaussianMixture
from fastgmm.families import FAMILIES

RNG = np.random.default_rng(5)
CENTRES = np.array([[0.0, 0.0], [5.0, 1.0], [-2.0, 6.0]])
ROWS = np.concatenate([centre + RNG.normal(size=(200, 2)) for centre in CENTRES])
NEW = np.concatenate([CENTRES[0] + [0.7, -0.3] + 0.6 * RNG.normal(size=(40, 2)), CENTRES[1] + RNG.normal(size=(5, 2))])
EVERYTHING = ("weights", "means", "covariances")
WITH_OWN = ("full", "diag", "spherical")


def background(family="full", **params):
    return GaussianMixture(3, covariance_type=family, random_state=0, **params).fit(ROWS)


def twin(model, rows, weight, relevance, what):
    """Reynolds, Quatieri and Dunn (2000), equations 7 to 14, as they stand there, on dense covariances."""
    weights, means, matrices = model.weights_, model.means_, dense(model, model._family())
    r = weight[:, None] * reference.responsibilities(rows, weights, means, matrices)
    n = r.sum(axis=0)
    first = r.T @ rows / n[:, None]
    second = np.einsum("nk,ni,nj->kij", r, rows, rows) / n[:, None, None]
    a = n / (n + relevance)
    if "weights" in what:
        mixed = a * n / weight.sum() + (1 - a) * weights
        weights = mixed / mixed.sum()
    new = a[:, None] * first + (1 - a)[:, None] * means if "means" in what else means
    if "covariances" in what:
        outer = np.einsum("ki,kj->kij", means, means)
        # Where means stay, about these: the rows' second moments, less what their own mean adds.
        about = np.einsum("ki,kj->kij", new, new)
        if "means" not in what:
            cross = np.einsum("ki,kj->kij", first, means)
            second = second - cross - np.swapaxes(cross, 1, 2) + 2 * outer
        matrices = a[:, None, None] * second + (1 - a)[:, None, None] * (matrices + outer) - about
        if not model._family().has_matrices:
            matrices = matrices * np.eye(2)
        if model.covariance_type == "spherical":
            matrices = np.trace(matrices, axis1=1, axis2=2)[:, None, None] / 2 * np.eye(2)
    return weights, new, matrices


@pytest.mark.parametrize("name", WITH_OWN)
@pytest.mark.parametrize("what", ["means", ("weights", "means"), ("covariances",), EVERYTHING])
def test_adaptation_is_the_textbooks(name, what):
    model = background(name)
    before = {name: copy.copy(getattr(model, name)) for name in ("weights_", "means_", "covariances_", "n_iter_")}
    weight = RNG.integers(0, 3, len(NEW)).astype(float)
    found = model.adapt(NEW, weight, relevance=7.0, what=what)
    weights, means, matrices = twin(model, NEW, weight, 7.0, [what] if isinstance(what, str) else what)
    np.testing.assert_allclose(found.weights_, weights, rtol=1e-12)
    np.testing.assert_allclose(found.means_, means, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(dense(found, FAMILIES[name]), matrices, rtol=1e-10, atol=1e-12)
    joint = reference.log_joint(ROWS, weights, means, matrices)
    np.testing.assert_allclose(found.score_samples(ROWS), reference.log_sum_exp(joint), rtol=1e-9)
    for key, value in before.items():
        np.testing.assert_array_equal(getattr(model, key), value)


@pytest.mark.parametrize("name", FAMILIES)
def test_means_and_weights_can_be_adapted_whatever_the_family(name):
    model = background(name)
    found = model.adapt(NEW, what=("weights", "means"))
    weights, means, _ = twin(model, NEW, np.ones(len(NEW)), 16.0, ("weights", "means"))
    np.testing.assert_allclose(found.weights_, weights, rtol=1e-9)
    np.testing.assert_allclose(found.means_, means, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(found.covariances_, model.covariances_, rtol=1e-12)
    if name not in WITH_OWN:
        with pytest.raises(ValueError, match=re.escape(f"'covariances' with covariance_type {name!r}")):
            model.adapt(NEW, what="covariances")


@pytest.mark.parametrize("name", WITH_OWN)
def test_without_relevance_it_is_an_update_and_with_all_of_it_the_background(name):
    model = background(name, reg_covar=1e-9)
    update = copy.deepcopy(model).set_params(reg_covar=0.0)
    update.update(model.statistics(NEW))
    found = model.adapt(NEW, relevance=0.0, what=EVERYTHING)
    same = model.adapt(NEW, relevance=math.inf, what=EVERYTHING)
    for attribute in ("weights_", "means_", "covariances_"):
        np.testing.assert_allclose(getattr(found, attribute), getattr(update, attribute), rtol=1e-8, atol=1e-12)
        np.testing.assert_allclose(getattr(same, attribute), getattr(model, attribute), rtol=1e-14, atol=1e-15)
    near = model.adapt(NEW, relevance=1e9, what=EVERYTHING)
    np.testing.assert_allclose(near.means_, model.means_, atol=1e-6)


def test_sums_of_statistics_serve_as_well_as_rows(tmp_path):
    model = background()
    np.save(tmp_path / "rows.npy", NEW)
    whole = model.adapt(NEW, what=EVERYTHING)
    parts = model.statistics(NEW[:11]) + model.statistics(NEW[11:])
    for rows in (parts, tmp_path / "rows.npy", model.statistics(NEW, origin=model.means_ + 0.3)):
        found = model.adapt(rows, what=EVERYTHING)
        np.testing.assert_allclose(found.covariances_, whole.covariances_, rtol=1e-10)
        np.testing.assert_allclose(found.means_, whole.means_, rtol=1e-12)


def test_many_sets_of_rows():
    model = background("diag")
    sets = [NEW[:20], NEW[20:], ROWS[:3]]
    weights = [None, np.full(25, 2.0), None]
    found = model.adapt_many(iter(sets), weights, relevance=4, what=iter(("means", "weights")))
    both = model.adapt(NEW, what=iter(("means", "weights")))
    np.testing.assert_array_equal(both.means_, model.adapt(NEW).means_)
    assert len(found) == 3
    for each, rows, weight in zip(found, sets, weights, strict=True):
        alone = model.adapt(rows, weight, relevance=4, what=("means", "weights"))
        np.testing.assert_array_equal(each.means_, alone.means_)
        np.testing.assert_array_equal(each.weights_, alone.weights_)
    assert model.adapt_many(iter(sets[:2]))[1].means_.shape == (3, 2)
    with pytest.raises(ValueError, match="set 1: Input X contains NaN"):
        model.adapt_many([NEW, NEW * np.nan])
    with pytest.raises(ValueError, match="sample_weight must be one for each of 3 sets, or None, got 1"):
        model.adapt_many(sets, [None])


def test_adapted_mixtures_are_fitted_ones():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(NEW.astype("f4"), columns=["a", "b"])
    model = GaussianMixture(3, random_state=0, tol=1e-5).fit(pandas.DataFrame(ROWS.astype("f4"), columns=["a", "b"]))
    found = model.adapt(frame)
    assert found.means_.dtype == np.float32
    assert found.feature_names_in_.tolist() == ["a", "b"]
    assert (found.stop_reason_, found.n_iter_, found.tol) == ("given", 0, 1e-5)
    assert math.isnan(found.lower_bound_)
    other = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(other.predict(frame), found.predict(frame))
    # What no row is near stays; no rows change nothing.
    np.testing.assert_allclose(found.means_[0], model.means_[0], atol=1e-6)
    with pytest.warns(match="feature names"):
        empty = model.adapt(np.empty((0, 2)), what=EVERYTHING)
    np.testing.assert_allclose(empty.covariances_, model.covariances_, rtol=1e-6)


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 1e8), (1e100, 0.0), (1e-100, 0.0)])
def test_scales_and_places_of_rows(scale, offset):
    model = background(reg_covar=1e-9)
    far = GaussianMixture.from_parameters(model.weights_, scale * model.means_ + offset, scale**2 * model.covariances_)
    found = far.adapt(scale * NEW + offset, what=EVERYTHING)
    expected = model.adapt(NEW, what=EVERYTHING)
    np.testing.assert_allclose((found.means_ - offset) / scale, expected.means_, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(found.covariances_ / scale**2, expected.covariances_, rtol=1e-5, atol=1e-7)


def test_rows_far_from_the_background_are_looked_at_again():
    """Moments about the background's means would leave no digit of their spread."""
    model = GaussianMixture.from_parameters([1.0], [[0.0, 0.0]], [np.eye(2)])
    rows = 1e8 + RNG.normal(size=(500, 2))
    found = model.adapt(rows, relevance=0.0, what=("means", "covariances"))
    np.testing.assert_allclose(found.covariances_[0], np.cov(rows.T, bias=True), rtol=1e-6, atol=1e-7)
    statistics = model.statistics(rows)
    with pytest.raises(ValueError, match="no digits left for some covariance"):
        model.adapt(statistics, relevance=0.0, what=("means", "covariances"))
    again = model.statistics(rows, origin=statistics.mean)
    found = model.adapt(again, relevance=0.0, what=("means", "covariances"))
    np.testing.assert_allclose(found.covariances_[0], np.cov(rows.T, bias=True), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"relevance": -1.0}, "relevance must be a float in the range [0, inf], got -1.0"),
        ({"relevance": math.nan}, "relevance must be a float in the range [0, inf], got nan"),
        ({"relevance": "16"}, "relevance must be a float in the range [0, inf], got '16'"),
        ({"what": "mean"}, "what must be one or several of 'weights', 'means', 'covariances', got 'mean'"),
        ({"what": ()}, "what must be one or several of"),
        ({"what": 3}, "what must be one or several of"),
        ({"what": [1, [2]]}, "what must be one or several of"),
        ({"X": NEW[:, :1]}, "X has 1 features"),
        ({"X": NEW[:1], "relevance": 0.0, "what": EVERYTHING}, "cannot be adapted with relevance=0"),
    ],
)
def test_refusals_name_the_argument(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        background().adapt(**{"X": NEW, **arguments})


def test_refusals_of_estimators_and_statistics():
    model = background()
    with pytest.raises(ValueError, match="not fitted"):
        GaussianMixture(3).adapt(NEW)
    with pytest.raises(ValueError, match="sample_weight must be None where X is statistics"):
        model.adapt(model.statistics(NEW), np.ones(len(NEW)))
    with pytest.raises(ValueError, match=re.escape("must have the shape (3, 2) of this mixture")):
        model.adapt(GaussianMixture(2).fit(NEW).statistics(NEW))
    assert not hasattr(BayesianGaussianMixture, "adapt")


def test_what_is_known_is_not_adapted():
    means = background().means_
    frozen = GaussianMixture(3, frozen={"means": [1]}, means_init=means, random_state=0).fit(ROWS)
    with pytest.raises(ValueError, match=r"what must not hold 'means', of which frozen says that components 1 have"):
        frozen.adapt(NEW)
    found = frozen.adapt(NEW, what="weights")
    np.testing.assert_array_equal(found.means_[1], means[1])
    # As many free parameters as before.
    assert found.bic(NEW) - found.aic(NEW) == pytest.approx(frozen.bic(NEW) - frozen.aic(NEW))
    equal = background(equal_weights=True)
    with pytest.raises(ValueError, match="what must not hold 'weights' with equal_weights=True"):
        equal.adapt(NEW, what=EVERYTHING)
    np.testing.assert_array_equal(equal.adapt(NEW, what=("means", "covariances")).weights_, equal.weights_)


@pytest.mark.parametrize("name", ["full", "tied", "VEE"])
def test_statistics_of_another_mixture_are_refused(name):
    model = background(name)
    order = [2, 0, 1]
    moved = model.adapt(ROWS + 3.0, relevance=0.0)
    turned = GaussianMixture.from_parameters(
        model.weights_[order],
        model.means_[order],
        model.covariances_ if name == "tied" else model.covariances_[order],
        name,
    )
    for other in (moved, turned):
        with pytest.raises(ValueError, match="X, statistics, must be those of this mixture, got some about other poi"):
            model.adapt(other.statistics(NEW))
    for origin in (turned.means_, model.means_ + 100.0):
        found = model.adapt(model.statistics(NEW, origin=origin))
        np.testing.assert_allclose(found.means_, model.adapt(NEW).means_, rtol=1e-9)


def test_many_sets_have_names_or_are_refused():
    model = background("diag")
    sets = {"a": NEW[:20], "b": NEW[20:]}
    found = model.adapt_many(sets, {"b": None, "a": np.full(20, 2.0)})
    assert list(found) == ["a", "b"]
    np.testing.assert_array_equal(found["a"].means_, model.adapt(NEW[:20], np.full(20, 2.0)).means_)
    np.testing.assert_array_equal(found["b"].means_, model.adapt(NEW[20:]).means_)
    with pytest.raises(ValueError, match="set 'b': Input X contains NaN"):
        model.adapt_many({"a": NEW, "b": NEW * np.nan})
    for weights in ([None, None], {"a": None, "c": None}):
        with pytest.raises(ValueError, match="sample_weight must be one for each of 2 sets, "):
            model.adapt_many(sets, weights)
    for alone in (NEW, "rows.npy", model.statistics(NEW), 3):
        with pytest.raises(ValueError, match=r"sets must be several sets of rows, .*: use adapt for one set"):
            model.adapt_many(alone)


def test_classes_of_components_stay_and_a_refit_needs_no_labels():
    labels = np.repeat([0, 1, -1], 200)
    model = GaussianMixture(3, class_components={0: [1], 1: [0]}, noise=True, random_state=0).fit(ROWS, labels=labels)
    alone = model.without_noise()
    for other in (alone, alone.adapt(NEW)):
        assert other.class_of_components_.tolist() == [1, 0, -1]
        assert other.class_components is None
        other.fit(ROWS)
    assert model.class_components is not None
    bayesian = BayesianGaussianMixture(5, class_components={0: [4], 1: [0]}, random_state=0).fit(ROWS, labels=labels)
    pruned = bayesian.prune(0.1)
    assert sorted(pruned.class_of_components_[pruned.class_of_components_ >= 0]) == [0, 1]
    pruned.fit(ROWS)
