"""Known classes of rows in what goes on from a fit: warm starts, predictions, copies, refusals."""

import re

import numpy as np
import pytest

from fastgmm import BayesianGaussianMixture, GaussianMixture, cli
from fastgmm.datasets import load_iris
from fastgmm.io import read_table

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


@pytest.fixture
def table(tmp_path):
    """The rows as a table with a column of names and one of classes, of which `path` says the kind."""

    def write(names, suffix="csv"):
        path = tmp_path / f"flowers.{suffix}"
        ids = [f"f{n}" for n in range(150)]
        if suffix == "csv":
            lines = [
                f"{own},{','.join(map(repr, row))},{name}"
                for own, row, name in zip(ids, X.tolist(), names, strict=True)
            ]
            path.write_text("\n".join(["flower,a,b,c,d,sp", *lines]) + "\n")
        else:
            arrow = pytest.importorskip("pyarrow")
            parquet = pytest.importorskip("pyarrow.parquet")
            columns = {"flower": ids} | dict(zip("abcd", X.T, strict=True))
            parquet.write_table(arrow.table(columns | {"sp": [name or None for name in names]}), path)
        return str(path)

    return write


NAMES = np.array(["Setosa", "setosa", "virginica", ""])[KNOWN]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_fit_with_classes_may_write_names_of_rows(table, tmp_path, capsys, suffix):
    out = tmp_path / "out.csv"
    fit = ["fit", table(NAMES, suffix), "-k", "3", "--labels-column", "sp", "--id", "flower", "--labels", str(out)]
    assert cli.main(fit) == 0
    assert "Setosa = component 0" in capsys.readouterr().out
    lines = out.read_text().splitlines()
    assert lines[0] == "flower,label"
    found = GaussianMixture(3, random_state=0).fit(X, labels=KNOWN).predict(X)
    assert lines[1:] == [f"f{n},{label}" for n, label in enumerate(found)]


def test_columns_of_names_and_classes_of_an_array(tmp_path):
    np.save(tmp_path / "t.npy", np.column_stack([np.arange(150), X, SPECIES]))
    read = read_table(tmp_path / "t.npy", row_id="1", class_column="6")
    assert (read.ids[1], read.classes[0], read.values.shape) == ("1.0", "0.0", (150, 4))
    assert read_table(tmp_path / "t.npy", class_column="6").values.shape == (150, 5)


def test_numbers_of_classes_in_an_array_file(tmp_path, capsys):
    path = tmp_path / "t.npy"
    np.save(path, np.column_stack([X, np.array([2.0, 10.0, 7.0, -1.0])[KNOWN]]))
    assert cli.main(["fit", str(path), "-k", "3", "--labels-column", "5"]) == 0
    told = capsys.readouterr().out
    assert "2.0 = component 0 (" in told
    assert "10.0 = component 2 (" in told
    assert "-1.0" not in told


def test_the_shell_names_the_classes_there_are_too_many_of(table, capsys):
    path = table(np.where(NAMES == "virginica", "Virginica", np.where(KNOWN == -1, "", NAMES)))
    fit = ["fit", path, "--labels-column", "sp", "--id", "flower"]
    assert cli.main([*fit, "-k", "2"]) == 1
    told = "column 'sp' has 3 classes: Setosa, Virginica, setosa; -k is 2"
    assert capsys.readouterr().err == f"fastgmm: error: {told} (raise -k, or leave cells of what is no class empty)\n"
    assert cli.main([*fit, "-k", "1-4"]) == 0
    out, err = capsys.readouterr()
    assert f"fastgmm: note: left out: {told[:-1]}1, 2\n" in err
    assert "known classes" in out
    assert "note" not in err.replace("note: left out", "")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--race"], "--race"),
        (["--truncate", "2"], "--truncate"),
        (["--checkpoint", "c.ckpt"], "--checkpoint"),
        (["--init", "agglomerative"], "--init agglomerative"),
    ],
)
def test_the_shell_refuses_options_beside_classes(table, capsys, options, named):
    assert cli.main(["fit", table(NAMES), "-k", "3", "--labels-column", "sp", "--id", "flower", *options]) == 2
    assert f"argument {named}: not allowed with --labels-column" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["?", "Unknown", ".", "-"])
def test_the_shell_wonders_at_a_class_that_means_unknown(table, capsys, word):
    fit = ["fit", table(np.where(NAMES == "", word, NAMES)), "-k", "4", "--labels-column", "sp", "--id", "flower"]
    assert cli.main(fit) == 0
    told = f"fastgmm: note: {word!r} is taken for a class, of most rows; where it means unknown, write NA or leave"
    assert told in capsys.readouterr().err


def test_starts_from_what_known_rows_tell_alone():
    """Long parallel groups that k-means cuts across, in either metric: the known rows say which way they lie."""
    rng = np.random.default_rng(0)
    sides = np.repeat([0, 1, 2, 3], 150)
    rows = np.column_stack([8.0 * rng.uniform(-1, 1, 600), 2.0 * sides + 0.1 * rng.normal(size=600)])
    rows = np.column_stack([rows, rng.normal(size=(600, 3)) * [20.0, 5.0, 5.0]])
    rows[:, 2] += rng.choice([-60.0, 60.0], 600)
    labels = np.where(rng.random(600) < 0.05, sides, -1)
    model = GaussianMixture(4, covariance_type="full", random_state=0).fit(rows, labels=labels)
    assert np.mean(model.predict(rows) == sides) > 0.99
