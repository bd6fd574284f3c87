"""What notebooks and prompts show of models and of rows: the right numbers, no markup by names, nothing read for it."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from fastgmm import (
    BayesianGaussianMixture,
    GaussianMixture,
    GaussianMixtureClassifier,
    GaussianMixtureIC,
    GaussianMixtureOutlierDetector,
    GaussianMixtureRegressor,
    fit_many,
)
from fastgmm.datasets import load_faithful
from fastgmm.exceptions import ConvergenceWarning
from fastgmm.rows import ArrayRows
from fastgmm.sources import BatchRows, open_rows
from fastgmm.support.showing import shown

FAITHFUL = load_faithful().data


def read(thing):
    """Return the paragraphs of what a notebook shows, and the cells of its tables."""
    tree = ET.fromstring(thing._repr_html_())
    assert tree.find("pre").text == repr(thing)
    cells = [["".join(cell.itertext()) for cell in row] for row in tree.iter("tr")]
    return [paragraph.text for paragraph in tree.iter("p")], cells


@pytest.mark.parametrize("estimator", [GaussianMixture, BayesianGaussianMixture])
def test_a_fitted_model_shows_its_parameters(estimator, family):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(FAITHFUL, columns=["<i>length", "waiting & more"])
    model = estimator(2, covariance_type=family.name, random_state=0).fit(frame)
    (end, note), (header, *rows) = read(model)
    assert end == f"Converged after {model.n_iter_} iterations, with a lower bound of {model.lower_bound_:.6g}."
    assert note == "In each cell: mean (standard deviation)."
    assert header == ["component", "weight", "<i>length", "waiting & more"]
    variances = np.asarray(model.covariances_)
    if family.has_matrices:
        variances = np.diagonal(variances, axis1=-2, axis2=-1)
    elif family.name == "spherical":
        variances = variances[:, None]
    variances = np.broadcast_to(variances, (2, 2))
    for k, row in enumerate(rows):
        assert row[:2] == [str(k), f"{model.weights_[k]:.4f}"]
        shown = zip(model.means_[k], np.sqrt(variances[k]), strict=True)
        assert row[2:] == [f"{mean:.5g} ({deviation:.4g})" for mean, deviation in shown]


def test_a_large_model_shows_its_largest_components_and_its_first_features(rng):
    model = GaussianMixture(23, covariance_type="diag", random_state=0, max_iter=2, tol=1e9).fit(
        rng.normal(size=(400, 15))
    )
    (_, note), (header, *rows) = read(model)
    assert note.endswith("Not shown: 3 more components, 3 more features.")
    assert header[2:] == [f"x{number}" for number in range(1, 13)]
    smallest = np.argsort(model.weights_)[:3]
    assert [int(row[0]) for row in rows] == sorted(set(range(23)) - set(smallest.tolist()))


def test_models_that_were_not_fitted():
    assert read(GaussianMixture(3)) == (["Not fitted."], [])
    model = GaussianMixture(1)
    model.means_ = [[1.0]]
    assert read(model) == (["Parameters were set by hand."], [])
    given = GaussianMixture.from_parameters([1.0], [[1.0]], [[[4.0]]])
    (end, _), (_, row) = read(given)
    assert (end, row) == ("Parameters were given.", ["0", "1.0000", "1 (2)"])


def test_other_ends():
    model = GaussianMixture(2, random_state=0)
    for batch in np.array_split(FAITHFUL, 3):
        model.partial_fit(batch)
    assert read(model)[0][0].startswith(f"Learned from batches in {model.n_iter_} updates, with a lower bound of -")
    bound = model.score(FAITHFUL)
    model.update(model.statistics(FAITHFUL))
    end = f"Updated by statistics, 4 iterations, with a lower bound of {bound:.6g} before the last one."
    assert read(model)[0][0] == end
    found = model.summary()
    assert found.fit == end[:1].lower() + end[1:-1]
    assert "lower_bound" not in found.values
    once = GaussianMixture(2, random_state=0).partial_fit(FAITHFUL)
    assert read(once)[0][0].startswith("Learned from batches in 1 update, with a lower bound of -")
    pruned = BayesianGaussianMixture(5, random_state=0, max_iter=500).fit(FAITHFUL).prune()
    assert read(pruned)[0][0] == f"Converged after {pruned.n_iter_} iterations."


def test_rows_say_what_they_are(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("a,b,w\n1,2,1\n3,4,2\n")
    assert repr(open_rows(path, "w")) == "<StreamedRows: 2 rows, 2 columns (a, b), weighted>"
    assert repr(BatchRows([FAITHFUL])) == "<BatchRows: 272 rows, 2 columns>"
    path.write_text(",".join("abcdefg") + "\n" + ",".join("1234567") + "\n")
    assert repr(open_rows(path)) == "<StreamedRows: 1 rows, 7 columns (a, b, c, d, e, f, ...)>"


def test_nothing_is_read_to_show_rows():
    array = pytest.importorskip("dask.array")

    def fail(block):
        raise AssertionError("read")

    rows = open_rows(array.ones((4, 2), chunks=(2, 2)).map_blocks(fail, dtype=float))
    assert repr(rows) == "<DaskRows: not counted yet>"
    known = open_rows(array.ones((4, 2), chunks=(2, 2)))
    assert known.n_rows == 4
    assert repr(known) == "<DaskRows: 4 rows, 2 columns>"


def test_rows_in_notebooks(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(",".join([f"<{number}>" for number in range(22)]) + "\n" + ",".join(["1"] * 22) + "\n")
    paragraphs, (header, *rows) = read(open_rows(path))
    assert (paragraphs, header) == (["Not shown: 2 more columns."], ["column", "name"])
    assert rows == [[str(number), f"<{number}>"] for number in range(20)]
    assert read(BatchRows([FAITHFUL])) == read(ArrayRows(FAITHFUL)) == ([], [])


def test_many_fits_in_notebooks(rng):
    estimator = GaussianMixture(2, random_state=0)
    X = rng.normal(size=(11 * 20 + 1, 2))
    groups = np.repeat([f"<{letter}>" for letter in "abcdefghijkl"], [1] + [20] * 11)
    with pytest.warns(ConvergenceWarning):
        many = fit_many(estimator, X, groups=groups)
    (said,), (header, first, second, *rest) = read(many)
    assert said == f"Each is a {estimator!r}; result[i] is the fit of problem i. Not shown: 2 more problems."
    assert header == ["problem", "group", "status", "iterations", "lower bound"]
    assert first == ["0", "<a>", "too few rows", "", ""]
    assert second == ["1", "<b>", "converged", str(many.n_iter_[1]), f"{many.lower_bound_[1]:.6g}"]
    assert len(rest) == 8
    unnamed = fit_many(estimator, X[:40].reshape(2, 20, 2))
    assert read(unnamed)[1][1] == ["0", "converged", str(unnamed.n_iter_[0]), f"{unnamed.lower_bound_[0]:.6g}"]
    assert read(fit_many(estimator, np.empty((0, 20, 2))))[1] == []


def test_selections_in_notebooks():
    selection = GaussianMixtureIC(max_components=2, covariance_type=["full", "diag"], random_state=0)
    assert read(selection) == (["Not fitted."], [])
    selection.fit(FAITHFUL)
    (said, *of_best), (header, best, *rest) = read(selection)
    assert said == "The best of 4 candidates by bic:"
    assert header == ["components", "covariance", "bic", "delta", "log-likelihood", ""]
    assert best[:4] == ["2", "full", f"{selection.criterion_:.4f}", "0.0000"]
    assert (of_best, rest[3:]) == read(selection.best_estimator_)


def test_predictors_in_notebooks():
    for cls in (GaussianMixtureClassifier, GaussianMixtureOutlierDetector, GaussianMixtureRegressor):
        assert read(cls()) == (["Not fitted."], [])
    model = GaussianMixture(2, random_state=0)
    detector = GaussianMixtureOutlierDetector(model).fit(FAITHFUL)
    (said, *of_mixture), table = read(detector)
    assert said == f"Rows of a log-density below {detector.offset_:.6g} are outliers of this mixture:"
    assert (of_mixture, table) == read(detector.mixture_)
    regressor = GaussianMixtureRegressor(model).fit(FAITHFUL[:, :1], FAITHFUL[:, 1])
    (said, *of_mixture), table = read(regressor)
    assert said.startswith("The mixture of 1 column and, behind them, 1 of targets,")
    assert (of_mixture, table) == read(regressor.mixture_)
    classes = np.where(FAITHFUL[:, 0] < 3, "<short>", "long")
    share = np.mean(FAITHFUL[:, 0] < 3)
    paragraphs, table = read(GaussianMixtureClassifier(estimator=GaussianMixture(1)).fit(FAITHFUL, classes))
    assert paragraphs == []
    assert table == [
        ["class", "probability", "mixture"],
        ["<short>", f"{share:.4f}", "1 component, full covariance"],
        ["long", f"{1 - share:.4f}", "1 component, full covariance"],
    ]
    together = GaussianMixtureClassifier("EDDA", estimator=GaussianMixture(covariance_type="tied"))
    assert read(together.fit(FAITHFUL, np.arange(272) % 22))[0] == [
        "Covariance family of the classes: tied. Not shown: 2 more mixtures."
    ]


def test_messages_show_numbers_without_their_type():
    for value, text in ((np.int64(2), "2"), (np.float32(0.5), "0.5"), (np.str_("a"), "'a'"), (np.True_, "True")):
        assert shown(value) == text
    assert shown(np.array(0)) == "array(0)"
    assert shown(np.datetime64("2024-02-01")) == repr(np.datetime64("2024-02-01"))
