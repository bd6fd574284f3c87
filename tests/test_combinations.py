"""What may be asked for together: missing entries, noise, known labels, weights; each beside a twin row by row."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from fastgmm import BayesianGaussianMixture, GaussianMixture, fit_many
from fastgmm.datasets import load_iris

IRIS = np.asarray(load_iris().data, np.float64)
SPECIES = np.unique(load_iris().target, return_inverse=True)[1]
KNOWN = np.where(np.arange(150) % 5 == 0, SPECIES, -1)
HOLES = np.where((7 * np.arange(150)[:, None] + 3 * np.arange(4)) % 5 == 0, np.nan, IRIS)
TIGHT = {"reg_covar": 0.0, "tol": 1e-10, "max_iter": 3000, "random_state": 0}


def joint_of(model, X):
    """Return the log joint densities of what is observed of rows with each component, and at the end with noise."""
    family, covariances = model._covariances()
    matrices = family.matrices(covariances, *model.means_.shape)
    columns = len(model.means_) + 1
    joint = np.full((len(X), columns), -np.inf)
    for row, values in zip(joint, X, strict=True):
        seen = ~np.isnan(values)
        for k, (weight, mean, matrix) in enumerate(zip(model.weights_, model.means_, matrices, strict=True)):
            law = multivariate_normal(mean[seen], matrix[np.ix_(seen, seen)]) if seen.any() else None
            row[k] = np.log(weight) + (0.0 if law is None else law.logpdf(values[seen]))
        if hasattr(model, "noise_weight_"):
            lengths = np.diagonal(model.noise_box_[1:])
            row[-1] = np.log(model.noise_weight_) - model.noise_log_volume_ + np.log(lengths[~seen]).sum()
    return joint


def masked(joint, labels):
    """Return log joints with -inf where a row of a known class cannot be."""
    others = (labels[:, None] >= 0) & (labels[:, None] != np.arange(joint.shape[1]))
    return np.where(others, -np.inf, joint)


# -- noise of rows with gaps ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def noisy():
    """Three groups and gross errors in three columns, a fifth of the entries missing; and the group of each row."""
    rng = np.random.default_rng(5)
    centres = np.array([[0.0, 0.0, 0.0], [7.0, 0.0, 3.0], [0.0, 7.0, -3.0]])
    X = np.vstack([np.repeat(centres, 120, axis=0) + rng.normal(size=(360, 3)), rng.uniform(-20, 20, size=(60, 3))])
    X[rng.random(X.shape) < 0.2] = np.nan
    return X, np.append(np.repeat(np.arange(3), 120), np.full(60, -1))


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("noise", [True, 50_000.0])
def test_noise_of_rows_with_gaps(noisy, covariance_type, noise):
    X, groups = noisy
    weight = 1.0 + np.arange(420) % 2
    params = TIGHT | {"covariance_type": covariance_type, "noise": noise, "missing": "marginal"}
    model = GaussianMixture(3, **params).fit(X, sample_weight=weight)
    joint = joint_of(model, X)
    if noise is not True:
        # Each length is as much longer or shorter as the volume is.
        gaps = np.isnan(X).sum(axis=1)
        lengths = np.log(np.diagonal(model.noise_box_[1:]))
        joint[:, -1] += gaps * (np.log(noise) - lengths.sum()) / 3
    evidence = np.logaddexp.reduce(joint, axis=1)
    shares = np.exp(joint - evidence[:, None])
    assert model.lower_bound_ == pytest.approx(weight @ evidence / weight.sum(), abs=1e-8)
    np.testing.assert_allclose(model.score_samples(X), evidence, atol=1e-9)
    np.testing.assert_allclose(model.predict_proba(X), shares[:, :3], atol=1e-9)
    np.testing.assert_array_equal(model.predict(X), np.where(joint.argmax(axis=1) == 3, -1, joint.argmax(axis=1)))
    assert model.noise_weight_ == pytest.approx(weight @ shares[:, 3] / weight.sum(), abs=1e-5)
    assert np.diff(model.lower_bounds_).min() > -1e-12
    if noise is True:
        found = model.predict(X)
        full = ~np.isnan(X).any(axis=1)
        assert (found[full & (groups < 0)] == -1).mean() > 0.9
        assert (found[full & (groups >= 0)] == -1).mean() < 0.05


def test_the_box_of_rows_with_gaps_is_that_of_what_is_observed(noisy):
    X, _ = noisy
    model = GaussianMixture(3, noise=True, missing="marginal", random_state=0).fit(X)
    np.testing.assert_allclose(model.noise_box_[0], np.nanmin(X, axis=0), atol=1e-12)
    np.testing.assert_allclose(model.noise_box_[1:], np.diag(np.nanmax(X, axis=0) - np.nanmin(X, axis=0)), atol=1e-12)
    blank = np.full((1, 3), np.nan)
    # Nothing is known of such a row but the weights.
    np.testing.assert_allclose(model.predict_proba(blank)[0], model.weights_, atol=1e-12)
    assert model.score_samples(blank)[0] == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(ValueError, match="impute is for mixtures without noise"):
        model.impute(X)


def test_noise_in_a_turned_box_says_nothing_of_some_columns(noisy):
    rng = np.random.default_rng(6)
    line = np.linspace(0.0, 100.0, 300)[:, None] * np.ones(2) + rng.normal(size=(300, 2))
    model = GaussianMixture(2, noise=True, random_state=0).fit(line)
    assert np.count_nonzero(model.noise_box_[1:]) == 4
    gap = np.array([[1.0, np.nan]])
    with pytest.raises(ValueError, match="box of principal components"):
        model.set_params(missing="marginal").predict(gap)
    turned = GaussianMixture(2, noise=True, missing="marginal", random_state=0).fit(line)
    assert np.count_nonzero(turned.noise_box_[1:]) == 2
    assert np.isfinite(turned.score_samples(gap)).all()


def test_noise_and_labels_of_rows_with_gaps(noisy):
    X, groups = noisy
    labels = np.where(np.arange(420) % 6 == 0, groups, -1)
    model = GaussianMixture(3, noise=True, missing="marginal", **TIGHT).fit(X, labels=labels)
    joint = masked(joint_of(model, X), labels)
    assert model.lower_bound_ == pytest.approx(np.logaddexp.reduce(joint, axis=1).mean(), abs=1e-8)
    assert model.noise_weight_ == pytest.approx(60 / 420, abs=0.03)
    assert np.diff(model.lower_bounds_).min() > -1e-12


# -- labels of rows with gaps -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_known_labels_of_rows_with_gaps(covariance_type):
    weight = 1.0 + np.arange(150) % 3
    model = GaussianMixture(3, covariance_type=covariance_type, missing="marginal", **TIGHT)
    model.fit(HOLES, sample_weight=weight, labels=KNOWN)
    joint = masked(joint_of(model, HOLES), KNOWN)
    evidence = np.logaddexp.reduce(joint, axis=1)
    assert model.lower_bound_ == pytest.approx(weight @ evidence / weight.sum(), abs=1e-8)
    shares = np.exp(joint - evidence[:, None])
    np.testing.assert_allclose(model.weights_, (weight @ shares)[:3] / weight.sum(), atol=1e-5)
    assert np.diff(model.lower_bounds_).min() > -1e-12
    # Known labels do what they are for: components are in their classes' places.
    assert (model.predict(HOLES) == SPECIES).mean() > 0.8


def test_labels_of_rows_of_which_some_have_no_gaps():
    """Complete rows of a class keep their sums once for all; those with gaps are passed over with a density."""
    X = np.where((SPECIES == 2)[:, None], HOLES, IRIS)
    model = GaussianMixture(3, missing="marginal", **TIGHT).fit(X, labels=KNOWN)
    evidence = np.logaddexp.reduce(masked(joint_of(model, X), KNOWN), axis=1)
    assert model.lower_bound_ == pytest.approx(evidence.mean(), abs=1e-8)
    assert (model.fit_predict(X, labels=KNOWN) == model.predict(X)).all()


def test_variational_bayes_with_labels_of_rows_with_gaps():
    model = BayesianGaussianMixture(3, missing="marginal", tol=1e-6, max_iter=1000, random_state=0)
    model.fit(HOLES, labels=KNOWN)
    assert np.diff(model.lower_bounds_).min() > -1e-9 * abs(model.lower_bound_)
    assert (model.predict(HOLES) == SPECIES).mean() > 0.9


# -- what errors of measurement do not go with ------------------------------------------------------------------------


def test_errors_of_measurement_go_with_none_of_these():
    errors = np.full(4, 0.01)
    for params in ({"noise": True}, {"missing": "marginal"}, {"truncate": 1}):
        with pytest.raises(ValueError, match=f"{next(iter(params))} must be left out in a fit with sample_covariance"):
            GaussianMixture(3, **params).fit(IRIS, sample_covariance=errors)
    with pytest.raises(ValueError, match="labels must be left out in a fit with sample_covariance"):
        GaussianMixture(3).fit(IRIS, labels=KNOWN, sample_covariance=errors)
    noisy = GaussianMixture(2, noise=True, random_state=0, tol=0.1).fit(IRIS)
    with pytest.raises(ValueError, match="sample_covariance is for mixtures without noise"):
        noisy.predict(IRIS, sample_covariance=errors)
    gaps = GaussianMixture(2, missing="marginal", random_state=0, tol=0.1).fit(HOLES)
    with pytest.raises(ValueError, match="X must have no missing entries where sample_covariance is given"):
        gaps.score_samples(HOLES, sample_covariance=errors)


# -- all of them, two by two ------------------------------------------------------------------------------------------

MEANS = np.stack([IRIS[k == SPECIES].mean(axis=0) for k in range(3)])
# How each is asked for: parameters, arguments of the fit, and what is fitted how.
PARAMS = {
    "missing": {"missing": "marginal"},
    "noise": {"noise": True},
    "frozen": {"frozen": {"means": [0]}, "means_init": MEANS},
    "equal weights": {"equal_weights": True},
    "prior": {"prior": "mclust"},
    "limit": {"max_eigenvalue_ratio": 1.5},
    "accelerate": {"accelerate": "squarem"},
    "truncate": {"truncate": 1},
    "checkpoint": {"checkpoint": "fit"},
}
ARGUMENTS = {
    "labels": {"labels": KNOWN},
    "errors": {"sample_covariance": np.full(4, 0.01)},
    "weights": {"sample_weight": 1.0 + np.arange(150) % 2},
}
# What a message calls them.
NAMES = {
    "errors": "sample_covariance",
    "weights": "sample_weight",
    "equal weights": "equal_weights",
    "partial fit": "partial_fit",
    "fit many": "fit_many",
    "VB": "BayesianGaussianMixture",
    "limit": "max_eigenvalue_ratio",
    "files": "StreamedRows|is '.*npy'|npy",
}
# Those that lead to another answer.
CHANGING = {
    "missing",
    "noise",
    "labels",
    "errors",
    "weights",
    "frozen",
    "equal weights",
    "VB",
    "truncate",
    "prior",
    "limit",
}
PAGE = Path(__file__).parent.parent / "docs" / "combinations.md"


def cells():
    """Yield the cells of the page's table: two features, and whether they go together."""
    lines = [line.strip("|").split("|") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    header, *rows = ([cell.strip() for cell in line] for line in lines)
    for first, *answers in rows:
        for second, answer in zip(header[1:], answers, strict=True):
            if answer:
                yield pytest.param(first, second, answer == "yes", id=f"{first}-{second}")


def fitted_with(features, folder):
    """Return a mixture that was fitted with two features at once."""
    params, arguments = {"random_state": 0}, {}
    for each in features:
        params |= PARAMS.get(each, {})
        arguments |= ARGUMENTS.get(each, {})
    if "checkpoint" in params:
        params["checkpoint"] = folder / "fit"
    X = HOLES if "missing" in features else IRIS
    if "files" in features:
        for name, array in {"X": X, "weight": arguments.get("sample_weight", np.ones(150))}.items():
            np.save(folder / f"{name}.npy", array)
        X = folder / "X.npy"
        if "sample_weight" in arguments:
            arguments["sample_weight"] = folder / "weight.npy"
    model = (BayesianGaussianMixture if "VB" in features else GaussianMixture)(3, **params)
    if "fit many" in features:
        repeated = {name: [value, value] for name, value in arguments.items()}
        return fit_many(model, [str(X)] if "files" in features else [X, X], **repeated)
    return (model.partial_fit if "partial fit" in features else model.fit)(X, **arguments)


@pytest.mark.filterwarnings("ignore::fastgmm.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("first", "second", "together"), list(cells()))
def test_two_features_go_together_or_are_refused_by_name(first, second, together, tmp_path):
    if together:
        model = fitted_with((first, second), tmp_path)
        assert np.isfinite(model.means_).all()
        assert np.isfinite(np.asarray(model.lower_bound_)).all()
        for own, other in ((first, second), (second, first)):
            if own in CHANGING:
                # Neither is left out: without it, the answer is another one.
                (tmp_path / other).mkdir()
                without = fitted_with((other,), tmp_path / other)
                gaps = [np.abs(np.subtract(getattr(model, n), getattr(without, n))) for n in ("weights_", "means_")]
                assert max(gap.max() for gap in gaps) > 1e-4
        return
    if {first, second} == {"partial fit", "fit many"}:
        return  # two functions
    named = "|".join(NAMES.get(each, each) for each in (first, second))
    with pytest.raises((ValueError, TypeError), match=named):
        fitted_with((first, second), tmp_path)


def test_the_table_has_each_pair_once():
    found = [{param.values[0], param.values[1]} for param in cells()]
    assert len(found) == 16 * 15 // 2
    assert all(found.count(pair) == 1 and len(pair) == 2 for pair in found)
