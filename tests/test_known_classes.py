"""Known classes of rows in what goes on from a fit: warm starts, predictions, copies, refusals."""

import re

import numpy as np
import pytest

from fastgmm import BayesianGaussianMixture, GaussianMixture
from fastgmm.datasets import load_iris

X, SPECIES = load_iris().data, load_iris().target
KNOWN = np.full(150, -1)
KNOWN[np.random.default_rng(3).permutation(150)[:12]] = 0
KNOWN = np.where(KNOWN == 0, SPECIES, -1)
NUMBERINGS = [[0, 1, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
TIGHT = {"tol": 1e-9, "max_iter": 2000, "random_state": 0}


@pytest.mark.parametrize("numbers", NUMBERINGS)
@pytest.mark.parametrize(
    ("estimator", "params"),
    [
        (GaussianMixture, {"covariance_type": "full"}),
        (GaussianMixture, {"covariance_type": "tied"}),
        (GaussianMixture, {"covariance_type": "VEE"}),
        (GaussianMixture, {"covariance_type": "diag", "equal_weights": True}),
        (GaussianMixture, {"noise": True}),
        (BayesianGaussianMixture, {"weight_concentration_prior_type": "dirichlet_distribution"}),
        (BayesianGaussianMixture, {}),
    ],
)
def test_a_warm_start_takes_components_to_their_classes(estimator, params, numbers):
    labels = np.where(KNOWN >= 0, np.array(numbers)[KNOWN], -1)
    fresh = estimator(3, **params, **TIGHT).fit(X, labels=labels)
    warm = estimator(3, warm_start=True, **params, **TIGHT).fit(X)
    warm.fit(X, labels=labels)
    assert warm.lower_bound_ >= fresh.lower_bound_ - 1e-5 * abs(fresh.lower_bound_)
    np.testing.assert_allclose(warm.means_, fresh.means_, atol=0.02)


def test_a_warm_start_takes_components_to_classes_of_several():
    rng = np.random.default_rng(0)
    places = np.repeat(np.arange(5), 40)
    # Class 0 lies on both sides of class 1.
    rows = np.array([-20.0, 0.0, 20.0, 40.0, 60.0])[places, None] + rng.normal(size=(200, 1))
    classes = np.array([0, 1, 0, -1, -1])[places]
    model = GaussianMixture(5, warm_start=True, random_state=1, class_components={0: [4, 1], 1: [3]})
    plain = GaussianMixture(5, random_state=1).fit(rows)
    vars(model).update({name: value for name, value in vars(plain).items() if name.endswith("_")})
    model._fitted_family = plain._fitted_family
    model.fit(rows, labels=classes)
    np.testing.assert_allclose(np.sort(model.means_[[4, 1], 0]), [-20, 20], atol=0.5)
    np.testing.assert_allclose(model.means_[3, 0], 0, atol=0.5)
    np.testing.assert_allclose(np.sort(model.means_[[0, 2], 0]), [40, 60], atol=0.5)


def test_frozen_components_keep_their_places():
    means = np.array([X[k == SPECIES].mean(axis=0) for k in range(3)])
    options = {"frozen": {"means": [0]}, "means_init": means, "warm_start": True} | TIGHT
    model = GaussianMixture(3, **options).fit(X)
    model.fit(X, labels=np.where(KNOWN > 0, 3 - KNOWN, KNOWN))
    np.testing.assert_array_equal(model.means_[0], means[0])
    np.testing.assert_allclose(model.means_[1], means[2], atol=0.2)


def test_partial_fit_refuses_class_components():
    model = GaussianMixture(3, class_components=[2, 1], random_state=0)
    for fitted in (model, GaussianMixture(3, random_state=0).fit(X).set_params(class_components=[2, 1])):
        with pytest.raises(ValueError, match="class_components must be None for partial_fit, which knows of no labels"):
            fitted.partial_fit(X)


def test_labels_with_another_index_are_refused():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, index=[f"flower {n}" for n in range(150)])
    expected = GaussianMixture(3).fit(X, labels=KNOWN)
    labels = pandas.Series(KNOWN, index=frame.index)
    shuffled = labels.sample(frac=1.0, random_state=0)
    for method in (GaussianMixture(3).fit, GaussianMixture(3).fit_predict, BayesianGaussianMixture(3).fit):
        with pytest.raises(ValueError, match=re.escape("labels must have the index of X, got another one: give")):
            method(frame, labels=shuffled)
    with pytest.raises(ValueError, match="labels must have the index of X"):
        GaussianMixture(3).fit(frame, labels=labels[labels >= 0])
    for same in (labels, shuffled.loc[frame.index], labels[labels >= 0].reindex(frame.index), labels.to_numpy()):
        np.testing.assert_array_equal(GaussianMixture(3).fit(frame, labels=same).means_, expected.means_)
    np.testing.assert_array_equal(GaussianMixture(3).fit(X, labels=labels).means_, expected.means_)


@pytest.mark.parametrize("missing", [None, "marginal"])
def test_fit_predict_has_known_rows_in_their_classes(missing):
    rows = X.copy()
    if missing:
        rows[::7, 1] = np.nan
    labels = KNOWN.copy()
    # Taken for certain, though they are wrong.
    labels[[0, 60]] = [1, 0]
    for model in (GaussianMixture(4, class_components=[1, 2]), BayesianGaussianMixture(4, class_components=[1, 2])):
        model.set_params(missing=missing, random_state=0)
        some = np.where(labels == 2, -1, labels)
        found = model.fit_predict(rows, labels=some)
        np.testing.assert_array_equal(model.class_of_components_[found[some >= 0]], some[some >= 0])
        np.testing.assert_array_equal(found[some < 0], model.predict(rows)[some < 0])
        assert (model.class_of_components_[model.predict(rows)] != some)[some >= 0].any()
        # Of the components of a class the most probable one.
        probable = model.predict_proba(rows)[:, 1:3].argmax(axis=1) + 1
        np.testing.assert_array_equal(found[some == 1], probable[some == 1])


def test_class_components_may_be_lists_of_components():
    some = np.where(KNOWN == 2, -1, KNOWN)
    for components in ([[0, 2], [1]], ([2, 0], (1,)), np.array([[0], [1]])):
        model = GaussianMixture(4, class_components=components, random_state=0).fit(X, labels=some)
        mapping = {label: list(each) for label, each in enumerate(components)}
        same = GaussianMixture(4, class_components=mapping, random_state=0).fit(X, labels=some)
        np.testing.assert_array_equal(model.means_, same.means_)
    for wrong, rule in (([[0, 1], [1, 2]], "must give no component twice"), ([[0, 1], 2], "not both")):
        with pytest.raises(ValueError, match=f"class_components .*{rule}"):
            GaussianMixture(4, class_components=wrong).fit(X, labels=some)
