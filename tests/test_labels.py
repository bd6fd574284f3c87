"""Fits that know the classes of some rows: their objective, their laws, and what they refuse."""

import copy
import pickle
import re

import numpy as np
import pytest
import reference
from conftest import but_alike, dense
from scipy.special import gammaln, multigammaln

from fastgmm import BayesianGaussianMixture, GaussianMixture, GaussianMixtureIC, cli, fit_many
from fastgmm.datasets import load_iris
from fastgmm.families import FAMILIES
from fastgmm.inference import likelihood_bootstrap, standard_errors
from fastgmm.io import ModelFileError, load_model, save_model
from fastgmm.rows import ArrayRows
from fastgmm.sources.labelled import LabelledRows
from fastgmm.sources.source import source_of

IRIS = load_iris()
X = IRIS.data
SPECIES = np.unique(IRIS.target, return_inverse=True)[1]
KNOWN = np.where(np.arange(150) % 5 == 0, SPECIES, -1)
TIGHT = {"tol": 1e-12, "max_iter": 5000, "reg_covar": 0.0}


def masked(joint, labels, classes):
    """Log joints with -inf where a row cannot be."""
    joint = joint.copy()
    for label, components in enumerate(classes):
        others = np.setdiff1d(np.arange(joint.shape[1]), components)
        joint[np.ix_(labels == label, others)] = -np.inf
    return joint


def objective(model, rows, labels, classes):
    joint = reference.log_joint(rows, model.weights_, model.means_, dense(model, model._family()))
    return reference.log_sum_exp(masked(joint, labels, classes))


@pytest.mark.parametrize(
    ("family", "expected", "weights"),
    [
        ("full", -182.206257493, [0.33333333, 0.31124048, 0.35542619]),
        ("tied", -258.013436186, None),
        ("spherical", -384.837961424, None),
        ("VEV", -187.573808854, None),
    ],
)
def test_published_optima_of_iris_with_a_fifth_of_the_species_known(family, expected, weights):
    model = GaussianMixture(3, covariance_type=family, **TIGHT).fit(X, labels=KNOWN)
    assert 150 * model.lower_bound_ == pytest.approx(expected, abs=1e-6)
    assert 150 * model.lower_bound_ == pytest.approx(objective(model, X, KNOWN, [[0], [1], [2]]).sum(), abs=1e-9)
    if weights is not None:
        np.testing.assert_allclose(model.weights_, weights, atol=1e-6)
    assert model.class_of_components_.tolist() == [0, 1, 2]


@pytest.mark.parametrize("family", ["full", "tied", "diag", "spherical"])
def test_statistics_are_those_of_responsibilities_within_classes(family):
    """Against a twin, row by row, with a class of two components, weights that may be 0, and rows of no class."""
    family = FAMILIES[family]
    rng = np.random.default_rng(0)
    rows, weight = rng.normal(size=(40, 2)) + 3.0, rng.integers(0, 3, 40).astype(float)
    labels = rng.integers(-1, 3, 40)
    classes = [[0], [2, 3], [1]]
    means = rng.normal(size=(5, 2)) + 3.0
    covariances = family.covariances_of_whitener(family.isotropic_whitener(5, 2, 0.7))
    weights = np.array([0.1, 0.3, 0.2, 0.25, 0.15])
    density, _ = family.density(weights, means, covariances)
    known = LabelledRows(ArrayRows(rows, weight), labels, [np.array(each) for each in classes])
    found = source_of(family, known, 2).collect(density)
    joint = masked(reference.log_joint(rows, weights, means, family.matrices(covariances, 5, 2)), labels, classes)
    evidence = reference.log_sum_exp(joint)
    r = np.exp(joint - evidence[:, None])
    for value, expected in zip(found._sums, reference.moments(family, rows, weight, r, means), strict=False):
        np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-12)
    assert found.log_evidence == pytest.approx(weight @ evidence, rel=1e-13)
    assert found.weight == weight.sum()


@pytest.mark.parametrize("name", but_alike(FAMILIES))
def test_an_iteration_is_the_textbooks(name):
    """An update by responsibilities within classes, from a given start, for every family."""
    family = FAMILIES[name]
    classes, labels = [[0], [1, 3]], np.where(KNOWN == 2, -1, KNOWN)
    means = X[[10, 60, 140, 90]]
    start = family.attribute(family.isotropic_whitener(4, 4, 2.0))
    model = GaussianMixture(
        4,
        covariance_type=name,
        class_components={0: [0], 1: [1, 3]},
        weights_init=[0.3, 0.3, 0.2, 0.2],
        means_init=means,
        precisions_init=start @ start if family.has_matrices else start**2,
        reg_covar=1e-3,
        max_iter=1,
    )
    with pytest.warns(match="did not converge"):
        model.fit(X, labels=labels)
    joint = masked(reference.log_joint(X, [0.3, 0.3, 0.2, 0.2], means, [np.eye(4) / 4] * 4), labels, classes)
    r = np.exp(joint - reference.log_sum_exp(joint)[:, None])
    weights, means, covariances = reference.em_step(family, X, np.ones(150), r, 1e-3)
    np.testing.assert_allclose(model.weights_, weights, rtol=1e-9)
    np.testing.assert_allclose(model.means_, means, rtol=1e-9)
    # Constraints that iterate do so to a tolerance of their own, or from where they were.
    rtol = 1e-7 if family.constraint is None or family.is_tied else 1e-6
    np.testing.assert_allclose(dense(model, family), family.matrices(covariances, 4, 4), rtol=rtol, atol=rtol * 0.01)


def test_rows_that_are_all_known_have_the_closed_form():
    """Quadratic and linear discriminant analysis: means and covariances of classes, in any order of iterations."""
    counts, means, scatters = [], [], []
    for label in range(3):
        rows = X[label == SPECIES]
        counts.append(len(rows))
        means.append(rows.mean(axis=0))
        scatters.append((rows - means[-1]).T @ (rows - means[-1]))
    quadratic = GaussianMixture(3, **TIGHT).fit(X, labels=SPECIES)
    linear = GaussianMixture(3, covariance_type="tied", **TIGHT).fit(X, labels=SPECIES)
    for model in (quadratic, linear):
        np.testing.assert_allclose(model.means_, means, rtol=1e-13)
        np.testing.assert_allclose(model.weights_, np.divide(counts, 150), rtol=1e-13)
        assert model.converged_
    np.testing.assert_allclose(quadratic.covariances_, np.divide(scatters, 50), rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(linear.covariances_, np.sum(scatters, axis=0) / 150, rtol=1e-11, atol=1e-13)


def test_the_evidence_bound_of_known_rows_is_their_evidence():
    """Then nothing is approximate: the bound is the log probability of rows and classes, in closed form."""
    a, b, nu, mean, scale = 0.7, 1.5, 6.0, np.array([5.0, 3.0, 4.0, 1.0]), np.diag([1.0, 0.5, 2.0, 0.3])
    model = BayesianGaussianMixture(
        3,
        weight_concentration_prior_type="dirichlet_distribution",
        weight_concentration_prior=a,
        mean_precision_prior=b,
        mean_prior=mean,
        degrees_of_freedom_prior=nu,
        covariance_prior=scale,
        reg_covar=0.0,
    ).fit(X, labels=SPECIES)
    total = gammaln(3 * a) - gammaln(3 * a + 150)
    for label in range(3):
        rows = X[label == SPECIES]
        n, gap = len(rows), rows.mean(axis=0) - mean
        scatter = (n - 1) * np.cov(rows.T) + b * n / (b + n) * np.outer(gap, gap)
        total += gammaln(a + n) - gammaln(a) - 2 * n * np.log(np.pi) + 2 * np.log(b / (b + n))
        total += multigammaln((nu + n) / 2, 4) - multigammaln(nu / 2, 4)
        total += nu / 2 * np.linalg.slogdet(scale)[1] - (nu + n) / 2 * np.linalg.slogdet(scale + scatter)[1]
    assert model.lower_bound_ == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize("estimator", [GaussianMixture, BayesianGaussianMixture])
def test_labels_that_say_nothing_change_no_bit(estimator):
    plain = estimator(3, random_state=0, n_init=2).fit(X)
    for labels in (None, np.full(150, -1), [None] * 150):
        model = estimator(3, random_state=0, n_init=2).fit(X, SPECIES, labels=labels)
        np.testing.assert_array_equal(model.means_, plain.means_)
        assert model.lower_bounds_ == plain.lower_bounds_
    assert not hasattr(plain, "class_of_components_")


def test_weights_are_repeated_rows():
    times = np.random.default_rng(1).integers(0, 4, 150)
    weighted = GaussianMixture(3, **TIGHT).fit(X, None, times, labels=KNOWN)
    repeated = GaussianMixture(3, **TIGHT).fit(np.repeat(X, times, axis=0), labels=np.repeat(KNOWN, times))
    np.testing.assert_allclose(weighted.means_, repeated.means_, rtol=1e-6)
    assert weighted.lower_bound_ == pytest.approx(repeated.lower_bound_, abs=1e-10)
    for scale in (1e-250, 1e250):
        far = GaussianMixture(3, **TIGHT).fit(X, None, scale * times, labels=KNOWN)
        np.testing.assert_allclose(far.means_, weighted.means_, rtol=1e-6)


@pytest.mark.parametrize("family", ["full", "tied", "spherical", "EVI"])
@pytest.mark.parametrize("accelerate", [None, "squarem"])
def test_the_bound_never_falls(family, accelerate):
    labels = np.where(SPECIES == 0, 0, np.where(KNOWN == 1, 1, -1))
    options = {"covariance_type": family, "accelerate": accelerate, "random_state": 0, "class_components": [1, 2]}
    model = GaussianMixture(4, **options, tol=1e-9, max_iter=2000, reg_covar=0.0).fit(X, labels=labels)
    assert np.diff(model.lower_bounds_).min() > -1e-12
    assert model.class_of_components_.tolist() == [0, 1, 1, -1]
    found = objective(model, X, labels, [[0], [1, 2]])
    assert model.lower_bound_ == pytest.approx(found.mean(), abs=1e-10)


def test_the_evidence_bound_never_falls():
    labels = np.where(SPECIES == 0, 0, np.where(KNOWN == 1, 1, -1))
    options = {"class_components": {0: 3, 1: [0, 2]}, "random_state": 0, "reg_covar": 0.0, "max_iter": 1000}
    model = BayesianGaussianMixture(4, **options).fit(X, labels=labels)
    assert np.diff(model.lower_bounds_).min() > -1e-9
    assert model.class_of_components_.tolist() == [1, -1, 1, 0]
    # A component that keeps its place, whatever its weight.
    assert (model.predict(X[SPECIES == 0]) == 3).all()


def test_classes_may_have_any_numbers():
    plain = GaussianMixture(3, **TIGHT).fit(X, labels=KNOWN)
    number = np.array([2, 0, 1])
    other = GaussianMixture(3, **TIGHT).fit(X, labels=np.where(KNOWN < 0, -1, number[KNOWN]))
    np.testing.assert_allclose(other.means_[number], plain.means_, rtol=1e-6)
    assert other.lower_bound_ == pytest.approx(plain.lower_bound_, abs=1e-11)


def test_few_labels_put_components_in_their_places():
    """One row of each class: the clusters are found as without, and are told apart."""
    labels = np.full(150, -1)
    labels[[3, 70, 140]] = [2, 0, 1]
    model = GaussianMixture(3).fit(X, labels=labels)
    assert (model.predict(X) == np.array([2, 0, 1])[SPECIES]).mean() > 0.95
    # Others are sought where no class is.
    model = GaussianMixture(4, random_state=0).fit(np.concatenate([X, X[:50] + 40.0]), labels=[*labels, *[-1] * 50])
    assert (model.predict(X[:50] + 40.0) == 3).all()


@pytest.mark.parametrize("method", ["kmeans-whitened", "kmeans", "k-means++", "short-em", "random", "random_from_data"])
def test_starts_keep_rows_in_their_classes(method):
    labels = np.where(KNOWN == 2, -1, KNOWN)
    model = GaussianMixture(4, init_params=method, class_components=[1, 2], random_state=1, max_iter=300, tol=1e-4)
    model.fit(X, labels=labels)
    found = model.class_of_components_[model.predict(X)]
    assert (found[SPECIES == 0] == 0).all()
    assert (found[SPECIES == 1] == 1).mean() > 0.8


def test_explicit_starts_win():
    means = np.array([[5.0, 3.4, 1.5, 0.2], [6.0, 2.8, 4.3, 1.3], [6.6, 3.0, 5.5, 2.0]])
    at_once = GaussianMixture(3, means_init=means, weights_init=[0.2, 0.3, 0.5], precisions_init=[np.eye(4)] * 3)
    at_once.set_params(max_iter=0).fit(X, labels=KNOWN)
    np.testing.assert_array_equal(at_once.means_, means)
    np.testing.assert_allclose(at_once.weights_, [0.2, 0.3, 0.5], rtol=1e-15)
    seeded = GaussianMixture(3, means_init=means, **TIGHT).fit(X, labels=KNOWN)
    assigned = GaussianMixture(3, init_params=SPECIES, **TIGHT).fit(X, labels=KNOWN)
    for model in (seeded, assigned):
        assert 150 * model.lower_bound_ == pytest.approx(-182.206257493, abs=1e-6)
    with pytest.raises(ValueError, match=re.escape("the components of class 0, [0], have weight 0")):
        GaussianMixture(3, weights_init=[0.0, 0.5, 0.5]).fit(X, labels=KNOWN)


def test_frozen_parts_and_equal_weights():
    means = np.array([[5.0, 3.4, 1.5, 0.2], [6.0, 2.8, 4.3, 1.3], [6.6, 3.0, 5.5, 2.0]])
    frozen = GaussianMixture(3, means_init=means, frozen={"means": [1]}, **TIGHT)
    frozen.set_params(reg_covar=1e-9).fit(X, labels=KNOWN)
    np.testing.assert_array_equal(frozen.means_[1], means[1])
    equal = GaussianMixture(3, equal_weights=True, **TIGHT).fit(X, labels=KNOWN)
    np.testing.assert_array_equal(equal.weights_, 1 / 3)
    for model in (frozen, equal):
        assert np.diff(model.lower_bounds_).min() > -1e-12
        assert model.lower_bound_ == pytest.approx(objective(model, X, KNOWN, [[0], [1], [2]]).mean(), abs=1e-10)
        assert model.lower_bound_ < -182.2062 / 150


@pytest.mark.parametrize(("scale", "offset"), [(1e100, 0.0), (1e-100, 0.0), (1.0, 1e8)])
def test_scales_and_places_of_rows(scale, offset):
    plain = GaussianMixture(3, **TIGHT).fit(X, labels=KNOWN)
    moved = GaussianMixture(3, **TIGHT).fit(X * scale + offset, labels=KNOWN)
    np.testing.assert_allclose((moved.means_ - offset) / scale, plain.means_, rtol=1e-5)


def test_float32_and_one_column():
    model = GaussianMixture(3, tol=1e-6, max_iter=1000).fit(X[:, 2:3].astype(np.float32), labels=KNOWN)
    wide = GaussianMixture(3, tol=1e-6, max_iter=1000).fit(X[:, 2:3], labels=KNOWN)
    assert model.means_.dtype == np.float32
    np.testing.assert_allclose(model.means_, wide.means_, rtol=1e-3)
    one = GaussianMixture(1).fit(X, labels=np.where(KNOWN == 0, 0, -1))
    np.testing.assert_allclose(one.means_[0], X.mean(axis=0), rtol=1e-12)


def test_large_float32_and_tied_passes_add_up():
    """Where passes over the unknown rows are in float32, or leave the scatter to the total of these rows."""
    rng = np.random.default_rng(0)
    places = rng.integers(3, size=300_000)
    rows = (np.array([[0.0, 0, 0, 0], [4, 0, 0, 0], [0, 4, 0, 0]])[places] + rng.normal(size=(300_000, 4))).astype("f4")
    labels = np.where(rng.random(300_000) < 0.5, places, -1)
    for family in ("full", "tied"):
        narrow = GaussianMixture(3, covariance_type=family, max_iter=2, tol=0.0, init_params=places)
        wide = copy.copy(narrow)
        with pytest.warns(match="did not converge"):
            narrow.fit(rows, labels=labels)
        with pytest.warns(match="did not converge"):
            wide.fit(rows.astype(float), labels=labels)
        np.testing.assert_allclose(narrow.covariances_, wide.covariances_, atol=2e-3)
        assert narrow.lower_bound_ == pytest.approx(wide.lower_bound_, rel=1e-5)


@pytest.mark.parametrize("as_labels", ["list", "float", "object", "Int64", "masked", "polars"])
def test_unknown_labels_may_be_written_in_many_ways(as_labels):
    expected = GaussianMixture(3).fit(X, labels=KNOWN)
    floats = np.where(KNOWN < 0, np.nan, KNOWN)
    if as_labels in ("Int64", "polars"):
        package = pytest.importorskip("pandas" if as_labels == "Int64" else "polars")
    labels = {
        "list": lambda: KNOWN.tolist(),
        "float": lambda: floats,
        "object": lambda: [None if each < 0 else each for each in KNOWN],
        "Int64": lambda: package.Series(floats).astype("Int64"),
        "masked": lambda: np.ma.masked_less(KNOWN, 0),
        "polars": lambda: package.Series([None if each < 0 else int(each) for each in KNOWN]),
    }[as_labels]()
    np.testing.assert_array_equal(GaussianMixture(3).fit(X, labels=labels).means_, expected.means_)


@pytest.mark.parametrize(
    ("params", "labels", "message"),
    [
        ({}, KNOWN[1:], "labels must be one class number for each row of X, of the shape (150,), got (149,)"),
        ({}, "species", "labels='species' is none of the columns of X: they have no names in a ndarray"),
        (
            {},
            np.array(IRIS.target_names)[IRIS.target],
            "in row 0: number the classes from 0, by pandas.factorize(labels)[0]",
        ),
        ({}, np.where(KNOWN < 0, -2, KNOWN), "labels must be class numbers 0, 1, ..., got -2 in row 1"),
        ({}, KNOWN + 0.5, "got 0.5 in row 0"),
        ({"n_components": 2}, KNOWN, "labels must be below n_components = 2"),
        ({"n_components": 4}, SPECIES, "n_components is 4, but the rows of known classes are in 3 components"),
        (
            {"class_components": [1, 2]},
            KNOWN,
            "labels must be classes that class_components gives components to, got 2",
        ),
        ({"class_components": [1, 0, 2]}, KNOWN, "gives components to, got 1 in row 50"),
        (
            {"class_components": [1, 1, 1]},
            None,
            "class_components says which components classes have, and needs labels",
        ),
        ({"class_components": [1, 1, 2]}, KNOWN, "class_components must name components below n_components = 3"),
        ({"class_components": {0: [0], 1: [0]}}, KNOWN, "class_components must give no component twice"),
        ({"class_components": [1.5]}, KNOWN, "class_components must hold integers >= 0"),
        ({"class_components": 3}, KNOWN, "class_components must be the numbers of components of the classes"),
        ({"class_components": []}, KNOWN, "class_components must give a component to one class at least"),
        ({"truncate": 2}, KNOWN, "truncate does not go with labels"),
        ({"race": True, "n_init": 2}, KNOWN, "race does not go with labels"),
        ({"checkpoint": "nowhere.ckpt"}, KNOWN, "checkpoint does not go with labels"),
        ({"init_params": "agglomerative"}, KNOWN, "init_params must keep rows in their classes"),
    ],
)
def test_refusals_name_the_argument_and_leave_the_estimator_as_it_was(params, labels, message):
    model = GaussianMixture(**{"n_components": 3, **params})
    with pytest.raises(ValueError, match=re.escape(message)):
        model.fit(X, labels=labels)
    assert not hasattr(model, "means_")


def test_estimators_without_labels():
    with pytest.raises(ValueError, match="sort_sticks must be None or False with labels"):
        BayesianGaussianMixture(3, sort_sticks=True).fit(X, labels=KNOWN)
    with pytest.raises(TypeError, match="labels"):
        GaussianMixture(3).partial_fit(X, labels=KNOWN)
    with pytest.raises(ValueError, match=re.escape("fit_many cannot fit with class_components=[1, 2]")):
        fit_many(GaussianMixture(3, class_components=[1, 2]), X[None])
    with pytest.raises(ValueError, match=r"estimator\.class_components is of one number of components"):
        GaussianMixtureIC(estimator=GaussianMixture(class_components=[1])).fit(X)


def test_a_fit_with_labels_is_a_fit_like_any_other(tmp_path):
    model = GaussianMixture(3, n_init=2, random_state=0)
    predicted = model.fit_predict(X, labels=KNOWN)
    np.testing.assert_array_equal(predicted, np.where(KNOWN < 0, model.predict(X), KNOWN))
    assert model.score(X) > -182.21 / 150
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(other.class_of_components_, [0, 1, 2])
    save_model(model, tmp_path / "model.json")
    assert load_model(tmp_path / "model.json").class_of_components_.tolist() == [0, 1, 2]
    damaged = (
        (tmp_path / "model.json").read_text().replace('"class_of_components": [0, 1, 2]', '"class_of_components": [0]')
    )
    (tmp_path / "model.json").write_text(damaged)
    with pytest.raises(ModelFileError, match="'class_of_components' is not the class of each of 3 components"):
        load_model(tmp_path / "model.json")
    for errors in (standard_errors, likelihood_bootstrap):
        with pytest.raises(ValueError, match=f"{errors.__name__} is not for mixtures fitted with labels"):
            errors(model, X)
    model.partial_fit(X)
    assert hasattr(model, "class_of_components_")
    model.fit(X)
    assert not hasattr(model, "class_of_components_")
    warm = GaussianMixture(3, warm_start=True, **TIGHT).fit(X)
    assert 150 * warm.fit(X, labels=KNOWN).lower_bound_ == pytest.approx(-182.206257493, abs=1e-6)
    assert warm.lower_bound_ < warm.fit(X).lower_bound_


def test_threads_do_not_change_bits():
    labels = np.where(KNOWN == 2, -1, KNOWN)
    fits = [
        GaussianMixture(4, class_components=[1, 2], n_init=3, random_state=0, n_threads=n).fit(X, labels=labels)
        for n in (1, 2)
    ]
    np.testing.assert_array_equal(fits[0].means_, fits[1].means_)
    assert fits[0].restarts_ == fits[1].restarts_


def test_metadata_routing_passes_labels_on():
    sklearn = pytest.importorskip("sklearn")
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    with sklearn.config_context(enable_metadata_routing=True):
        step = GaussianMixture(3).set_fit_request(labels=True)
        pipeline = make_pipeline(StandardScaler(), step).fit(X, labels=KNOWN)
    assert pipeline[-1].class_of_components_.tolist() == [0, 1, 2]
    alone = GaussianMixture(3).fit(StandardScaler().fit_transform(X), labels=KNOWN)
    np.testing.assert_array_equal(pipeline[-1].means_, alone.means_)


def test_a_column_of_classes_from_the_shell(tmp_path, capsys):
    names = np.array(["b", "c", "a"])[SPECIES]
    lines = ["x,y,z,t,kind"]
    lines += [
        ",".join([*map(repr, row), name if k >= 0 else ("", "-1", "NA")[n % 3]])
        for n, (row, name, k) in enumerate(zip(X.tolist(), names, KNOWN, strict=True))
    ]
    path = tmp_path / "rows.csv"
    path.write_text("\n".join(lines) + "\n")
    model = tmp_path / "model.json"
    fit = ["fit", str(path), "-k", "3", "--reg-covar", "0", "--tol", "1e-12", "--max-iter", "5000"]
    assert cli.main([*fit, "--labels-column", "kind", "-o", str(model)]) in (None, 0)
    told = "known classes     a = component 0 (10 rows), b = component 1 (10 rows), c = component 2 (10 rows)"
    assert told in capsys.readouterr().out
    found, expected = load_model(model), GaussianMixture(3, **TIGHT).fit(X, labels=KNOWN)
    np.testing.assert_allclose(found.means_[[1, 2, 0]], expected.means_, rtol=1e-5)
