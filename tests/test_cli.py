"""The command line: what it prints, what it writes, how it fails."""

import csv
import errno
import gzip
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fastgmm import BayesianGaussianMixture, GaussianMixture, cli
from fastgmm.cli import inputs
from fastgmm.cli.report import Progress, Stage
from fastgmm.datasets import load_faithful
from fastgmm.io import load_model, save_model

FAITHFUL = load_faithful()


@pytest.fixture
def table(tmp_path):
    """Write lines to a file in the folder that `run` runs in."""

    def table(lines, name="t.csv"):
        (tmp_path / name).write_text(lines)
        return name

    return table


@pytest.fixture
def model(tmp_path):
    model = GaussianMixture.from_parameters(
        [0.25, 0.75], [[2.0, 55.0], [4.3, 80.0]], [[[0.1, 0.4], [0.4, 34.0]], [[0.2, 0.9], [0.9, 36.0]]]
    )
    model.feature_names_in_ = np.array(FAITHFUL.feature_names, dtype=object)
    save_model(model, tmp_path / "m.json")
    del model.feature_names_in_
    return model


def read_csv(text):
    header, *rows = csv.reader(io.StringIO(text))
    return header, np.array(rows, dtype=np.float64)


def value(text, name):
    """Return the number printed after `name`."""
    return float(re.search(rf"^{re.escape(name)}\s+(\S+)", text, re.MULTILINE)[1])


# --- fit ---------------------------------------------------------------------------------------------------------


def test_fit_reports_the_optimum(run):
    code, out, err = run("fit", "faithful", "-k", 2, "--tol", "1e-9", "--max-iter", 1000, "--reg-covar", 0)
    assert (code, err) == (0, "")
    assert "272 rows, 2 columns" in out
    assert "2 components, full covariance, 11 free parameters" in out
    assert value(out, "log-likelihood") == pytest.approx(-1130.263960, abs=1e-4)
    assert value(out, "BIC") == pytest.approx(2 * 1130.263960 + 11 * np.log(272), abs=1e-3)
    assert value(out, "iterations") >= 2
    assert re.search(r"^converged +yes$", out, re.MULTILINE)
    assert re.search(r"^component +weight +eruptions +waiting$", out, re.MULTILINE)
    rows = re.findall(r"^ +[01] +(0\.\d{4}) +(\S+) \((\S+)\) +(\S+) \((\S+)\)$", out, re.MULTILINE)
    found = sorted([float(number) for number in row] for row in rows)
    expected = [[0.3559, 2.0364, 0.2630, 54.479, 5.807], [0.6441, 4.2897, 0.4120, 79.968, 6.000]]
    np.testing.assert_allclose(found, expected, rtol=2e-3)


def test_fit_keeps_the_number_of_components_with_the_best_bic(run):
    code, out, err = run("fit", "faithful", "-k", "1-2,4", "--covariance", "tied", "-o", "m.json")
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines()[:4]]
    assert lines[0] == ["components", "log-likelihood", "BIC", "iterations", "converged"]
    assert [line[0] for line in lines[1:]] == ["1", "2", "4"]
    bics = [float(line[2]) for line in lines[1:]]
    assert [line[-1] for line in lines[1:]].index("best") == np.argmin(bics)
    assert value(out, "BIC") == pytest.approx(min(bics), abs=0.01)
    best = load_model("m.json")
    del best.feature_names_in_
    assert len(best.weights_) == [1, 2, 4][np.argmin(bics)]
    assert best.bic(FAITHFUL.data) == pytest.approx(min(bics), abs=0.01)


@pytest.mark.parametrize("suffix", ["json", "npz"])
def test_fit_writes_model_and_labels(run, suffix):
    code, out, err = run("fit", "faithful", "-k", 2, "-q", "-o", f"m.{suffix}", "--labels", "l.csv")
    assert (code, out, err) == (0, "", "")
    model = load_model(f"m.{suffix}")
    assert tuple(model.feature_names_in_) == FAITHFUL.feature_names
    del model.feature_names_in_
    header, labels = read_csv(Path("l.csv").read_text())
    assert header == ["label"]
    np.testing.assert_array_equal(labels[:, 0], model.predict(FAITHFUL.data))
    assert sorted(os.listdir()) == ["l.csv", f"m.{suffix}"]


def test_fit_passes_its_options_on(run):
    options = ["--covariance", "diag", "--init", "random", "--n-init", 2, "--max-iter", 7, "--tol", 0.5,
               "--reg-covar", 0.25, "--seed", 3, "--threads", 1,
               "--race", "--stopping", "relative", "--accelerate", "squarem"]  # fmt: skip
    assert run("fit", "faithful", "-k", 2, "-q", "-o", "m.json", *options)[0] == 0
    document = json.loads(Path("m.json").read_text())
    assert document["covariance_type"] == "diag"
    expected = {"init_params": "random", "n_init": 2, "max_iter": 7, "tol": 0.5, "reg_covar": 0.25, "random_state": 3}
    expected |= {"race": True, "stopping": "relative", "accelerate": "squarem"}
    assert document["fit"]["params"].items() >= expected.items()
    twin = GaussianMixture(2, covariance_type="diag", **expected).fit(FAITHFUL.data)
    np.testing.assert_allclose(document["means"], twin.means_, rtol=1e-12)


def test_fit_gives_the_same_result_twice(run):
    for name in ("a.json", "b.json"):
        run("fit", "iris", "-k", 3, "--init", "random", "-q", "-o", name)
    assert Path("a.json").read_text() == Path("b.json").read_text()


def test_fit_notes_the_fit_in_the_model_file(run):
    _, out, _ = run("fit", "faithful", "-k", 2, "-o", "m.json")
    document = json.loads(Path("m.json").read_text())
    assert document["fit"]["n_samples"] == 272
    assert document["fit"]["log_likelihood"] == pytest.approx(value(out, "log-likelihood"), abs=1e-3)
    assert document["feature_names"] == ["eruptions", "waiting"]


def test_fit_with_weights_counts_rows_as_often(run, table):
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 4, size=len(FAITHFUL.data))
    lines = [f"{a},{n},{b}" for (a, b), n in zip(FAITHFUL.data.tolist(), counts.tolist(), strict=True)]
    table("\n".join(["a,n,b", *lines]), "weighted.csv")
    table("\n".join(["a,n,b", *np.repeat(lines, counts)]), "repeated.csv")
    options = ["-k", 2, "--tol", "1e-10", "--max-iter", 1000]
    _, weighted, err = run("fit", "weighted.csv", "--weights", "n", *options)
    assert err == ""
    _, repeated, _ = run("fit", "repeated.csv", "--columns", "a,b", *options)
    assert "272 rows, 2 columns" in weighted
    assert value(weighted, "total weight") == counts.sum()
    assert value(weighted, "log-likelihood") == pytest.approx(value(repeated, "log-likelihood"), abs=1e-3)


def test_fit_reads_standard_input(run, monkeypatch):
    text = "\n".join(f"{a};{b}" for a, b in FAITHFUL.data.tolist())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(text.encode()))))
    code, out, _ = run("fit", "-", "-k", 1)
    assert code == 0
    assert "272 rows, 2 columns" in out
    assert re.search(r"^component +weight +x1 +x2$", out, re.MULTILINE)


def test_a_file_goes_before_shipped_data(run, table):
    table("1,2,3\n4,5,7\n6,1,1\n", "faithful")
    assert "3 rows, 3 columns" in run("fit", "faithful", "-k", 1)[1]


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("acidity", "155 rows, 1 column"),
        ("diabetes", "145 rows, 3 columns"),
        ("faithful", "272 rows, 2 columns"),
        ("galaxies", "82 rows, 1 column"),
        ("iris", "150 rows, 4 columns"),
    ],
)
def test_shipped_data_by_name(run, name, size):
    assert size in run("fit", name, "-k", 1)[1]


def test_warmup_takes_mclusts_names(run, monkeypatch):
    used = []
    monkeypatch.setattr("fastgmm._warmup._use", lambda *names: used.append(names))
    assert run("warmup", "--covariance", "EEI", "VVI", "diag", "--dtype", "float64", "--method", "em")[0] == 0
    assert used == [("tied-diag", "float64", "em"), ("diag", "float64", "em")]


def test_help_names_all_shipped_data(run):
    text = " ".join(run("fit", "--help")[1].split())
    *others, last = (f"'{name}'" for name in inputs.SHIPPED)
    assert f"{', '.join(others)} and {last} name data that come with fastgmm" in text


def test_shipped_data_have_columns(run):
    assert "150 rows, 4 columns" in run("fit", "iris", "-k", 1)[1]
    out = run("fit", "iris", "-k", 1, "--columns", "petal_width,sepal_length", "--weights", "petal_length")[1]
    assert re.search(r"^component +weight +petal_width +sepal_length$", out, re.MULTILINE)
    assert "150 rows, 3 columns" in run("fit", "iris", "-k", 1, "--weights", "petal_length")[1]


def test_fit_says_which_rows_it_left_out(run, table):
    name = table("a\n1\n\nNA\n2\n4\nnull\n")
    code, out, err = run("fit", name, "-k", 1, "--drop-missing")
    assert code == 0
    assert err == "fastgmm: left out 2 of 5 rows for missing values (line 4, 7)\n"
    assert "3 rows, 1 column\n" in out


def test_fit_that_does_not_converge_is_a_warning(run):
    code, out, err = run("fit", "faithful", "-k", 5, "--max-iter", 2, "-q", "-o", "m.json")
    assert (code, out) == (0, "")
    assert err == ("fastgmm: warning: 5 components: not converged after 2 iterations (raise --max-iter or --tol)\n")


def test_a_collapsed_fit_leaves_the_others(run, table):
    name = table("\n".join(["1,1", "2,2.5", "3,2", "4,4.5", "5,3", "9,9", "9,9"]))
    code, out, err = run("fit", name, "-k", "1,5", "--reg-covar", 0)
    assert code == 0
    assert "1 component, full" in out
    message = r"5 components: component \d collapsed to rows .* \(raise --reg-covar or lower -k\)\n"
    assert re.fullmatch(f"fastgmm: warning: {message}", err)
    code, out, err = run("fit", name, "-k", "5", "--reg-covar", 0)
    assert (code, out) == (1, "")
    assert re.fullmatch(f"fastgmm: error: {message}", err)


def test_fit_prints_wide_tables_in_parts(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    _, out, _ = run("fit", "iris", "-k", 2)
    headers = re.findall(r"^component +weight +(\S+) +(\S+)$", out, re.MULTILINE)
    assert headers == [("sepal_length", "sepal_width"), ("petal_length", "petal_width")]
    assert max(len(line) for line in out.splitlines() if line.startswith(" ")) <= 60


def test_fit_prints_the_first_of_many_features(run):
    np.save("wide.npy", np.random.default_rng(0).normal(size=(50, 90)))
    _, out, _ = run("fit", "wide.npy", "-k", 1, "--covariance", "diag")
    assert re.findall(r"x\d+", out) == [f"x{number}" for number in range(1, 41)]
    assert out.endswith("not shown: 50 more features\n")


def test_the_model_is_written_before_the_report(run, monkeypatch):
    monkeypatch.setattr("fastgmm.cli.report.print_pairs", _fail)
    code, _, err = run("fit", "faithful", "-k", 2, "-o", "m.json")
    assert (code, err) == (1, "fastgmm: error: no luck\n")
    assert len(load_model("m.json").weights_) == 2


def test_fit_draws(run):
    pytest.importorskip("matplotlib")
    code, _, err = run("fit", "faithful", "-k", 2, "-q", "--plot", "fit.png")
    assert (code, err) == (0, "")
    assert Path("fit.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


# --- fit by variational Bayes ------------------------------------------------------------------------------------

OLD_FAITHFUL = {
    "n_components": 6,
    "weight_concentration_prior_type": "dirichlet_distribution",
    "weight_concentration_prior": 1e-3,
    "random_state": 0,
}


@pytest.fixture
def bayesian(tmp_path):
    model = BayesianGaussianMixture(**OLD_FAITHFUL).fit(FAITHFUL.data)
    assert model.n_effective_components_ == 2
    model.feature_names_in_ = np.array(FAITHFUL.feature_names, dtype=object)
    save_model(model, tmp_path / "b.json")
    del model.feature_names_in_
    return model


def test_variational_bayes_reports_the_bound_and_the_effective_components(run, bayesian):
    command = ["fit", "faithful", "-k", 6, "--method", "vb", "--prior-type", "distribution", "--concentration", 0.001]
    code, out, err = run(*command)
    assert (code, err) == (0, "")
    assert "2 of 6 effective components, full covariance, Dirichlet distribution of concentration 0.001\n" in out
    predictive = bayesian.score_samples(FAITHFUL.data, predictive="student-t").sum()
    assert value(out, "Student-t log-likelihood") == pytest.approx(predictive, abs=1e-3)
    assert f"({predictive / 272:.6g} per row)" in out
    assert value(out, "evidence bound") == pytest.approx(bayesian.lower_bound_, abs=1e-3)
    assert value(out, "iterations") == bayesian.n_iter_
    assert "BIC" not in out
    assert "free parameters" not in out
    rows = re.findall(r"^ +(\d) +(0\.\d{4}) +(\S+) \((\S+)\) +(\S+) \((\S+)\)$", out, re.MULTILINE)
    effective = np.flatnonzero(bayesian.component_mass_ >= 1)
    assert [int(row[0]) for row in rows] == effective.tolist()
    for row, index in zip(rows, effective, strict=True):
        deviations = np.sqrt(np.diag(bayesian.covariances_[index]))
        expected = [bayesian.weights_[index], *np.column_stack([bayesian.means_[index], deviations]).ravel()]
        np.testing.assert_allclose([float(number) for number in row[1:]], expected, rtol=1e-3)
    assert out.endswith("not shown: 4 more components of less than one row\n")


def test_variational_bayes_keeps_the_number_of_components_with_the_highest_bound(run):
    options = ["--method", "vb", "--prior-type", "distribution", "--concentration", 1, "--seed", 4]
    code, out, err = run("fit", "faithful", "-k", "1-3,5", *options, "-o", "m.json")
    assert (code, err) == (0, "")
    lines = [re.split("  +", line.strip()) for line in out.splitlines()[:5]]
    assert lines[0] == ["components", "Student-t log-likelihood", "evidence bound", "iterations", "converged"]
    expected = [
        BayesianGaussianMixture(
            n_components,
            weight_concentration_prior_type="dirichlet_distribution",
            weight_concentration_prior=1.0,
            random_state=4,
        ).fit(FAITHFUL.data)
        for n_components in (1, 2, 3, 5)
    ]
    bounds = [model.lower_bound_ for model in expected]
    assert [line[0] for line in lines[1:]] == [
        f"{model.n_effective_components_} of {model.n_components} effective" for model in expected
    ]
    np.testing.assert_allclose([float(line[2]) for line in lines[1:]], bounds, atol=0.006)
    best = int(np.argmax(bounds))
    assert 0 < best < 3  # neither the smallest nor the largest model
    assert [line[-1] for line in lines[1:]].index("best") == best
    assert len(load_model("m.json").weights_) == expected[best].n_components
    assert json.loads(Path("m.json").read_text())["fit"]["log_likelihood"] == pytest.approx(
        expected[best].score_samples(FAITHFUL.data, predictive="student-t").sum()
    )


def test_all_components_are_listed_where_all_are_effective(run):
    _, out, _ = run("fit", "faithful", "-k", 2, "--method", "vb")
    assert "2 of 2 effective components" in out
    assert "not shown" not in out


def test_variational_bayes_gets_the_options(run):
    options = ["--covariance", "tied", "--init", "random", "--n-init", 2, "--max-iter", 7, "--tol", 1e3,
               "--reg-covar", 0.25, "--seed", 3]  # fmt: skip
    assert run("fit", "faithful", "-k", 3, "--method", "vb", "-q", "-o", "m.json", *options) == (0, "", "")
    model = load_model("m.json")
    assert model.weight_concentration_prior_type == "dirichlet_process"
    assert model.weight_concentration_prior_ == 1 / 3
    expected = {"init_params": "random", "n_init": 2, "max_iter": 7, "tol": 1e3, "reg_covar": 0.25, "random_state": 3}
    assert model.get_params().items() >= expected.items()
    twin = BayesianGaussianMixture(3, covariance_type="tied", **expected).fit(FAITHFUL.data)
    np.testing.assert_allclose(model.means_, twin.means_, rtol=1e-12)


def test_variational_bayes_writes_labels_and_draws(run, bayesian):
    pytest.importorskip("matplotlib")
    options = ["--method", "vb", "--prior-type", "distribution", "--concentration", 0.001]
    code, _, err = run("fit", "faithful", "-k", 6, *options, "-q", "--labels", "l.csv", "--plot", "fit.png")
    assert (code, err) == (0, "")
    assert Path("fit.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    labels = read_csv(Path("l.csv").read_text())[1]
    np.testing.assert_array_equal(labels[:, 0], bayesian.predict(FAITHFUL.data))


def test_weights_count_against_the_prior(run, table):
    lines = [f"{a},2,{b}" for a, b in FAITHFUL.data.tolist()]
    name = table("\n".join(["a,n,b", *lines]))
    _, out, _ = run("fit", name, "-k", 3, "--method", "vb", "--weights", "n")
    twin = BayesianGaussianMixture(3, random_state=0).fit(FAITHFUL.data, sample_weight=np.full(272, 2.0))
    assert value(out, "evidence bound") == pytest.approx(twin.lower_bound_, abs=1e-3)
    predictive = 2 * twin.score_samples(FAITHFUL.data, predictive="student-t").sum()
    assert value(out, "Student-t log-likelihood") == pytest.approx(predictive, abs=1e-3)


def test_help_says_what_the_tolerance_means(run):
    _, out, _ = run("fit", "--help")
    words = " ".join(out.split())
    assert "mean log-likelihood of a row, with --method vb the evidence bound of all rows" in words
    assert (
        "the lowest bic, aic or icl, which punishes overlap, too (default: bic; with --method vb always the " in words
    )
    assert "highest evidence bound)" in words


# --- fit: failures -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["nothing.csv"], "nothing.csv: No such file or directory"),
        (
            ["nothing"],
            "nothing: No such file or directory, and none of the data sets that come with fastgmm: acidity, diabetes, "
            "faithful, galaxies and iris",
        ),
        (
            ["text.csv"],
            "text.csv: line 3, column 'kind': 'x' is not a number (choose the columns with --columns, or set this "
            "one aside with --id)",
        ),
        (
            ["gap.csv"],
            "gap.csv: line 2, column 'b': missing value (leave out such rows with --drop-missing, or fit with "
            "--missing marginal)",
        ),
        (["two.npz"], "two.npz holds 2 arrays (x, y) (choose one with --array)"),
        (["faithful", "-k", "273"], "273 components need at least as many rows, the data have 272"),
        (["faithful", "-o", "m.pkl"], "cannot write a model to m.pkl: the name must end in .json or .npz"),
        (["faithful", "-o", "no/m.json"], "cannot write no/m.json: there is no folder no"),
        (["faithful", "--labels", "folder"], "cannot write folder: it is a folder"),
    ],
)
def test_what_fit_cannot_do(run, table, argv, message):
    table("a,b,kind\n1,2,3\n3,4,x\n", "text.csv")
    table("a,b\n1,\n3,4\n", "gap.csv")
    code, out, err = run("score", "none.json", "none.csv")
    np.savez("two.npz", x=np.ones((3, 1)), y=np.ones((3, 1)))
    os.mkdir("folder")
    code, out, err = run("fit", "-k", "2", *argv)
    assert (code, out, err) == (1, "", f"fastgmm: error: {message}\n")


@pytest.mark.parametrize(
    "output", [["-o", "m.pkl"], ["-o", "no/m.npz"], ["--labels", "no/l.csv"], ["--plot", "no/p.png"]]
)
def test_outputs_are_checked_before_the_data_are_read(run, output):
    code, _, err = run("fit", "no-such-data.csv", "-k", "2", *output)
    assert code == 1
    assert "cannot write" in err


def test_a_folder_that_cannot_be_written_is_found_at_the_door(run, monkeypatch):
    def touch(self):
        raise OSError(30, "Read-only file system", str(self))

    monkeypatch.setattr(Path, "touch", touch)
    code, _, err = run("fit", "no-such-data.csv", "-k", "2", "-o", "m.json")
    assert (code, err) == (1, "fastgmm: error: cannot write m.json: Read-only file system\n")


def test_plot_of_unknown_kind_is_refused_at_the_door(run):
    pytest.importorskip("matplotlib")
    code, _, err = run("fit", "no-such-data.csv", "-k", "2", "--plot", "fit.xyz")
    assert code == 1
    assert re.match(r"fastgmm: error: cannot draw to fit.xyz: the name must end in one of .*\.png", err)


def test_fit_draws_pairs_of_columns(run):
    pytest.importorskip("matplotlib")
    code, out, err = run(
        "fit", "iris", "-k", 3, "-q", "--plot-pairs", "pairs.svg", "--columns", "petal_width,sepal_length"
    )
    assert (code, out, err) == (0, "", "")
    text = Path("pairs.svg").read_text()
    # Text is drawn as outlines, with what it says in comments.
    for label in ("petal_width", "sepal_length", "density", "3 components, full covariance, BIC "):
        assert f"<!-- {label}" in text
    assert "petal_length" not in text


def test_pairs_of_many_columns_are_refused_before_the_fit(run, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(GaussianMixture, "fit", _fail)
    np.save("wide.npy", np.zeros((20, 9)))
    code, _, err = run("fit", "wide.npy", "-k", 1, "--plot-pairs", "pairs.png")
    assert code == 1
    assert err == (
        "fastgmm: error: --plot-pairs draws 8 columns at most, the data have 9: --columns fits those it chooses alone; "
        "to draw some columns of a fit of all, call fastgmm.plotting.plot_pairs(model, X, columns=...) in Python\n"
    )


def test_plot_without_matplotlib_is_refused_at_the_door(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    code, _, err = run("fit", "no-such-data.csv", "-k", "2", "--plot", "fit.png")
    assert (code, err) == (1, 'fastgmm: error: pictures need matplotlib: pip install "fastgmm[plot]"\n')


def test_parquet_without_pyarrow(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    code, _, err = run("fit", "t.parquet", "-k", "2")
    assert (code, err) == (1, 'fastgmm: error: Parquet files need pyarrow: pip install "fastgmm[parquet]"\n')


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["fit", "faithful"], "the following arguments are required: -k/--components"),
        (["fit", "faithful", "-k", "0"], "-k/--components: '0' is neither a positive number nor several, such as"),
        (["fit", "faithful", "-k", "4-2"], "'4-2' is neither a positive number"),
        (["fit", "faithful", "-k", "2,x"], "'2,x' is neither a positive number"),
        (["fit", "faithful", "-k", "2", "--tol", "-1"], "--tol: '-1' is not a number of at least 0"),
        (["fit", "faithful", "-k", "2", "--tol", "nan"], "--tol: 'nan' is not a number of at least 0"),
        (["fit", "faithful", "-k", "2", "--max-iter", "1.5"], "--max-iter: '1.5' is not a positive whole number"),
        (["fit", "faithful", "-k", "2", "--seed", "-3"], "--seed: '-3' is not a whole number from 0 to 4294967295"),
        (["fit", "faithful", "-k", "2", "--columns", "a,,b"], "--columns: 'a,,b' is not a list such as a,b,c"),
        (["fit", "faithful", "-k", "2", "--delimiter", "::"], "--delimiter: '::' is not a single character"),
        (["fit", "faithful", "-k", "2", "--covariance", "round"], "--covariance: 'round' is none of full, tied, "),
        (["fit", "faithful", "-k", "2", "--covariance", "full,"], "--covariance: '' is none of full, tied, "),
        (["fit", "faithful", "-k", "2", "--criterion", "mdl"], "--criterion: 'mdl' is none of bic, aic and icl"),
        (["fit", "faithful", "-k", "2", "--method", "vb", "--criterion", "bic"], "not allowed with --method vb"),
        (["fit", "faithful", "-k", "2", "--method", "mcmc"], "--method: invalid choice: 'mcmc'"),
        (["fit", "faithful", "-k", "2", "--method", "vb", "--prior-type", "beta"], "--prior-type: invalid choice"),
        (
            ["fit", "faithful", "-k", "2", "--method", "vb", "--concentration", "0"],
            "'0' is not a number from 1e-300 to 1e10",
        ),
        (
            ["fit", "faithful", "-k", "2", "--method", "vb", "--concentration", "inf"],
            "'inf' is not a number from 1e-300 to 1e10",
        ),
        (
            ["fit", "faithful", "-k", "2", "--concentration", "1"],
            "fastgmm fit: error: argument --concentration: not allowed without --method vb\n",
        ),
        (
            ["fit", "faithful", "-k", "2", "--method", "em", "--prior-type", "process"],
            "fastgmm fit: error: argument --prior-type: not allowed without --method vb\n",
        ),
        (["fly"], "invalid choice: 'fly'"),
        ([], "the following arguments are required: COMMAND"),
    ],
)
def test_wrong_usage(run, argv, message):
    code, out, err = run(*argv)
    assert (code, out) == (2, "")
    assert "usage: fastgmm" in err
    assert message in err


# --- predict, score, sample, info --------------------------------------------------------------------------------


def test_predict_writes_labels_probabilities_and_densities(run, model):
    code, out, err = run("predict", "m.json", "faithful", "--proba", "--scores")
    assert (code, err) == (0, "")
    header, values = read_csv(out)
    assert header == ["label", "p0", "p1", "log_density"]
    np.testing.assert_array_equal(values[:, 0], model.predict(FAITHFUL.data))
    np.testing.assert_allclose(values[:, 1:3], model.predict_proba(FAITHFUL.data), rtol=1e-12)
    np.testing.assert_allclose(values[:, 3], model.score_samples(FAITHFUL.data), rtol=1e-12)
    assert run("predict", "m.json", "faithful", "-o", "l.csv") == (0, "", "")
    header, labels = read_csv(Path("l.csv").read_text())
    assert header == ["label"]
    np.testing.assert_array_equal(labels[:, 0], values[:, 0])


@pytest.mark.parametrize(("limit", "number"), [("ROWS", 100), ("FLOATS", 200)])
def test_predict_goes_block_by_block(run, model, monkeypatch, limit, number):
    monkeypatch.setattr(f"fastgmm.cli.inputs.PREDICT_BLOCK_{limit}", number)
    expected, predict, lengths = model.predict(FAITHFUL.data), GaussianMixture.predict, []
    monkeypatch.setattr(GaussianMixture, "predict", lambda self, X: (lengths.append(len(X)), predict(self, X))[1])
    _, out, _ = run("predict", "m.json", "faithful")
    _, labels = read_csv(out)
    np.testing.assert_array_equal(labels[:, 0], expected)
    assert lengths == [100, 100, 72]


def test_threads_are_passed_on(run, model, monkeypatch):
    seen = []
    monkeypatch.setattr(GaussianMixture, "predict", lambda self, X: (seen.append(self.n_threads), np.zeros(len(X)))[1])
    run("predict", "m.json", "faithful", "--threads", 2)
    run("predict", "m.json", "faithful")
    assert seen == [2, None]


def test_predict_matches_columns_by_name(run, model, table):
    shuffled = table("\n".join(["waiting,id,eruptions", *(f"{b},x,{a}" for a, b in FAITHFUL.data.tolist())]))
    assert run("predict", "m.json", shuffled)[:2] == run("predict", "m.json", "faithful")[:2]
    bare = table("\n".join(f"{a},{b}" for a, b in FAITHFUL.data.tolist()), "bare.csv")
    assert run("predict", "m.json", bare)[:2] == run("predict", "m.json", "faithful")[:2]
    renamed = table("\n".join(["w,e", *(f"{b},{a}" for a, b in FAITHFUL.data.tolist())]), "renamed.csv")
    assert run("predict", "m.json", renamed, "--columns", "e,w")[:2] == run("predict", "m.json", "faithful")[:2]
    code, out, err = run("predict", "m.json", renamed)
    assert (code, out) == (1, "")
    assert err == (
        "fastgmm: error: renamed.csv has no column 'eruptions', which the model was fitted on: it has w, e "
        "(choose the columns with --columns)\n"
    )


def test_data_of_another_width_are_refused(run, model, table):
    code, out, err = run("predict", "m.json", table("1,2,3\n4,5,6\n"))
    assert (code, out) == (1, "")
    assert err == "fastgmm: error: t.csv has 3 columns, the model 2 features (choose the columns with --columns)\n"


def test_a_failed_prediction_leaves_the_old_labels(run, model, table, monkeypatch):
    table("old", "l.csv")
    monkeypatch.setattr(GaussianMixture, "score_samples", _fail)
    code, _, err = run("predict", "m.json", "faithful", "--scores", "-o", "l.csv")
    assert (code, err) == (1, "fastgmm: error: no luck\n")
    assert Path("l.csv").read_text() == "old"
    assert sorted(os.listdir()) == ["l.csv", "m.json"]


def _fail(*arguments):
    raise ValueError("no luck")


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
def test_what_is_no_regular_file_is_written_not_replaced(run, model, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDWR)
    assert run("predict", "m.json", "faithful", "-o", pipe) == (0, "", "")
    assert pipe.is_fifo()
    header, labels = read_csv(os.read(reader, 65536).decode())
    os.close(reader)
    assert (header, len(labels)) == (["label"], 272)


@pytest.mark.parametrize("weighted", [False, True])
def test_score(run, model, table, weighted):
    weight = np.arange(272) % 3 + 1.0
    lines = [f"{a},{b},{w}" for (a, b), w in zip(FAITHFUL.data.tolist(), weight.tolist(), strict=True)]
    name = table("\n".join(["eruptions,waiting,w", *lines]))
    code, out, err = run("score", "m.json", name, *(["--weights", "w"] if weighted else []))
    assert (code, err) == (0, "")
    used = weight if weighted else np.ones(272)
    assert value(out, "rows") == 272
    assert ("total weight" in out) == weighted
    density = model.score_samples(FAITHFUL.data)
    assert value(out, "log-likelihood") == pytest.approx(used @ density, rel=1e-9)
    assert value(out, "mean per row") == pytest.approx(used @ density / used.sum(), rel=1e-9)
    options = {"sample_weight": weight} if weighted else {}
    assert value(out, "AIC") == pytest.approx(model.aic(FAITHFUL.data, **options), rel=1e-9)
    assert value(out, "BIC") == pytest.approx(model.bic(FAITHFUL.data, **options), rel=1e-9)
    assert value(out, "ICL") == pytest.approx(model.icl(FAITHFUL.data, **options), rel=1e-9)


def test_sample(run, model):
    code, out, err = run("sample", "m.json", "-n", 4000, "--labels", "--seed", 1)
    assert (code, err) == (0, "")
    header, values = read_csv(out)
    assert header == ["eruptions", "waiting", "label"]
    assert len(values) == 4000
    assert 0.65 < values[:1000, 2].mean() < 0.85  # the first rows are a sample, too
    for component in range(2):
        chosen = values[values[:, 2] == component, :2]
        assert len(chosen) / 4000 == pytest.approx(model.weights_[component], abs=0.03)
        np.testing.assert_allclose(chosen.mean(axis=0), model.means_[component], atol=0.6)
    assert run("sample", "m.json", "-n", 4000, "--labels", "--seed", 1)[1] == out
    assert run("sample", "m.json", "-n", 4000, "--labels", "--seed", 2)[1] != out
    assert run("sample", "m.json", "-n", 3, "-o", "s.csv") == (0, "", "")
    assert read_csv(Path("s.csv").read_text())[1].shape == (3, 2)


def test_info(run):
    run("fit", "faithful", "-k", 2, "-q", "-o", "m.npz", "--seed", 5)
    code, out, err = run("info", "m.npz")
    assert (code, err) == (0, "")
    assert "m.npz, version 1, written by fastgmm" in out
    assert "2 components, full covariance, 11 free parameters" in out
    assert re.search(r"^fitted on +272 rows$", out, re.MULTILINE)
    assert value(out, "log-likelihood") == pytest.approx(-1130.264, abs=0.01)
    assert re.search(r"^converged +yes$", out, re.MULTILINE)
    assert "random_state=5" in out
    assert re.search(r"^ +[01] +0\.35\d\d +2\.03\S+ \(0\.26\S+\)", out, re.MULTILINE)


def test_info_leaves_out_what_the_file_does_not_know(run, model):
    code, out, err = run("info", "m.json")
    assert (code, err) == (0, "")
    assert "fitted on" not in out
    assert "log-likelihood" not in out


def test_predict_with_a_model_of_variational_bayes(run, bayesian):
    code, out, err = run("predict", "b.json", "faithful", "--proba", "--scores")
    assert (code, err) == (0, "")
    header, values = read_csv(out)
    assert header == ["label", *(f"p{index}" for index in range(6)), "log_density"]
    np.testing.assert_array_equal(values[:, 0], bayesian.predict(FAITHFUL.data))
    np.testing.assert_array_equal(values[:, 1:7], bayesian.predict_proba(FAITHFUL.data))
    np.testing.assert_array_equal(values[:, 7], bayesian.score_samples(FAITHFUL.data, predictive="student-t"))


@pytest.mark.parametrize("weighted", [False, True])
def test_score_of_a_model_of_variational_bayes(run, bayesian, table, weighted):
    weight = np.arange(272) % 3 + 1.0
    lines = [f"{a},{b},{w}" for (a, b), w in zip(FAITHFUL.data.tolist(), weight.tolist(), strict=True)]
    name = table("\n".join(["eruptions,waiting,w", *lines]))
    code, out, err = run("score", "b.json", name, *(["--weights", "w"] if weighted else []))
    assert (code, err) == (0, "")
    used = weight if weighted else np.ones(272)
    density = bayesian.score_samples(FAITHFUL.data, predictive="student-t")
    assert value(out, "Student-t log-likelihood") == pytest.approx(used @ density, rel=1e-9)
    assert value(out, "mean per row") == pytest.approx(used @ density / used.sum(), rel=1e-9)
    bound = bayesian.evidence_lower_bound(FAITHFUL.data, sample_weight=used)
    assert value(out, "evidence bound") == pytest.approx(bound, rel=1e-9)
    assert not re.search("AIC|BIC|ICL", out)


def test_sample_of_a_model_of_variational_bayes_is_of_its_predictive(run, bayesian):
    _, out, _ = run("sample", "b.json", "-n", 50, "--seed", 3, "--labels")
    values, labels = bayesian.sample(50, random_state=3, predictive="student-t")
    found = read_csv(out)[1]
    np.testing.assert_array_equal(np.sort(found, axis=0), np.sort(np.column_stack([values, labels]), axis=0))


def test_info_of_a_model_of_variational_bayes(run, bayesian):
    options = ["--method", "vb", "--prior-type", "distribution", "--concentration", 0.001]
    run("fit", "faithful", "-k", 6, "-q", "-o", "m.npz", *options)
    code, out, err = run("info", "m.npz")
    assert (code, err) == (0, "")
    assert "2 of 6 effective components, full covariance, Dirichlet distribution of concentration 0.001\n" in out
    predictive = bayesian.score_samples(FAITHFUL.data, predictive="student-t").sum()
    assert value(out, "Student-t log-likelihood") == pytest.approx(predictive, abs=1e-3)
    assert value(out, "evidence bound") == pytest.approx(bayesian.lower_bound_, abs=1e-3)
    assert "weight_concentration_prior_type=dirichlet_distribution" in out
    assert out.endswith("not shown: 4 more components of less than one row\n")
    assert "Student-t" not in run("info", "b.json")[1]


@pytest.mark.parametrize("process", [False, True])
def test_a_model_without_its_prior_is_described_as_far_as_it_is_known(run, process):
    concentration = [[5.0, 1.0], [2.0, 1.0]] if process else [5.0, 1.0]
    kind = "process" if process else "distribution"
    model = BayesianGaussianMixture.from_parameters(
        concentration, [5.0, 1.0], [[0.0], [9.0]], [5.0, 1.0], [1.0, 2.0], "spherical",
        weight_concentration_prior_type=f"dirichlet_{kind}",
    )  # fmt: skip
    save_model(model, "m.json")
    np.savetxt("t.csv", [[0.5], [8.0]])
    out = run("info", "m.json")[1]
    assert f"2 of 2 effective components, spherical covariance, Dirichlet {kind}\n" in out
    assert len(re.findall(r"^ +[01] +0\.\d{4} ", out, re.MULTILINE)) == 2
    code, out, err = run("score", "m.json", "t.csv")
    assert (code, err) == (0, "")
    assert value(out, "mean per row") == pytest.approx(model.score([[0.5], [8.0]], predictive="student-t"))
    assert "evidence bound" not in out


@pytest.mark.parametrize(
    "command",
    [["predict", "m.csv", "faithful"], ["score", "m.csv", "faithful"], ["sample", "m.csv"], ["info", "m.csv"]],
)
def test_a_file_that_is_no_model(run, table, command):
    table("a,b\n1,2\n", "m.csv")
    code, out, err = run(*command)
    assert (code, out, err) == (1, "", "fastgmm: error: m.csv is not a fastgmm model file\n")


# --- progress, warnings, the process -----------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 100.0

    monkeypatch.setattr("fastgmm.cli.report.time.monotonic", lambda: Clock.now)
    return Clock


def test_progress_is_silent_for_two_seconds_then_speaks_now_and_then(clock):
    stream = io.StringIO()
    progress = Progress("3 components: ", "mean log-likelihood", 50, 100, stream)
    for second in range(25):
        clock.now = 100.0 + second
        progress(0, second + 1, -4.25, 0.5)
    progress.close()
    assert stream.getvalue().splitlines() == [
        f"3 components: start 1, iteration {second + 1}, 50 rows/s, at most {99 - second} s more, {second} s so far, "
        "mean log-likelihood -4.250000, change 5.0e-01"
        for second in (2, 12, 22)
    ]


def test_progress_fits_on_a_line_of_the_terminal(clock, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    stream = Terminal()
    progress = Progress("12 components: ", "mean log-likelihood", 50, 100, stream)
    progress(0, 0, -5.0, 0.75)
    clock.now += 5
    progress(0, 1, -4.25, 0.5)
    assert stream.getvalue() == "\r\x1b[K12 components: start 1, itera"


def test_what_takes_long_has_a_name_on_a_terminal():
    stream = Terminal()
    for patience in (0.0, 600.0):
        with Stage("looking at the data", stream, patience) as stage:
            if patience == 0.0:
                stage._timer.join()
    assert stream.getvalue() == "\r\x1b[Klooking at the data ...\r\x1b[K"


def test_what_takes_long_has_no_name_elsewhere():
    stream = io.StringIO()
    with Stage("looking at the data", stream, 0.0) as stage:
        assert stage._timer is None
    assert stream.getvalue() == ""


def test_quiet_names_nothing(run, tmp_path, monkeypatch):
    named = []

    class Noted(Stage):
        def begin(self):
            named.append(self._what)

    monkeypatch.setattr("fastgmm.cli.report.Stage", Noted)
    command = "fit", "faithful", "-k", "2", "--labels", str(tmp_path / "labels.csv")
    assert run(*command, "-q") == (0, "", "")
    assert named == []
    assert run(*command)[0] == 0
    assert named == ["looking at the data", "2 components: seeding", "writing labels"]


def test_a_quiet_fit_of_which_nothing_is_left_says_so(run):
    code, out, err = run("fit", "faithful", "-k", "2", "-q")
    assert (code, out) == (0, "")
    assert err.startswith("fastgmm: warning: nothing is left of this fit, for -q prints no report: write its model (-o")
    assert run("fit", "faithful", "-k", "2", "-q", "--checkpoint", "c") == (0, "", "")
    labels = run("fit", "faithful", "-k", "2", "-q", "--labels", "-")[1]
    assert labels.startswith("label\n")
    assert run("fit", "faithful", "-k", "2", "--labels", "-")[1].endswith(f"(standard deviation)\n\n{labels}")


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="a shell of POSIX")
def test_messages_may_be_closed(tmp_path):
    code = "import sys; from fastgmm.cli import main; sys.exit(main(sys.argv[1:]))"
    for arguments in ("fit faithful -k 2 -o m.json", "score m.json faithful", "predict m.json faithful -o labels.csv"):
        command = f"{sys.executable} -c '{code}' {arguments} 2>&-"
        assert subprocess.run(command, shell=True, cwd=tmp_path, stdout=subprocess.DEVNULL).returncode == 0, arguments
    assert (tmp_path / "labels.csv").exists()


def test_seeding_has_a_name_until_the_first_iteration(clock):
    stream = Terminal()
    progress = Progress("3 components: ", "mean log-likelihood", 50, 100, stream)
    progress._seeding._patience = 0.0
    progress.begin()
    progress._seeding._timer.join()
    progress(0, 0, -5.0, 0.75)
    assert stream.getvalue() == "\r\x1b[K3 components: seeding ...\r\x1b[K"


def test_eighty_columns_show_the_pace_and_the_time_left(clock, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    stream = Terminal()
    progress = Progress("12 components: ", "mean log-likelihood", 50_000_000, 100, stream)
    progress(9, 0, -5.0, 0.75)
    clock.now += 500
    progress(9, 10, -4.25, 0.5)
    assert stream.getvalue().startswith(
        "\r\x1b[K12 components: start 10, iteration 10, 1e+05 rows/s, at most 45000 s more"
    )
    assert len(stream.getvalue()) - len("\r\x1b[K") < 80


def test_progress_rewrites_one_line_of_a_terminal_and_clears_it(clock):
    stream = Terminal()
    progress = Progress("", "mean log-likelihood", 50, 100, stream)
    for second in (0, 1, 2, 3):
        clock.now = 100.0 + second
        progress(1, second, -4.25, 0.5)
    progress.close()
    written = stream.getvalue()
    assert "\n" not in written
    assert written.count("\r\x1b[Kstart 2, iteration ") == 2
    assert written.endswith("\r\x1b[K")


@pytest.mark.parametrize(
    ("estimator", "method", "bound"),
    [(GaussianMixture, "em", "mean log-likelihood"), (BayesianGaussianMixture, "vb", "evidence bound")],
)
def test_long_fits_show_progress_unless_quiet(run, clock, monkeypatch, estimator, method, bound):
    def fit(self, X, y=None, sample_weight=None, *, callback=None):
        if callback is not None:
            callback(0, 6, -1.6, 0.2)
            clock.now += 5
            callback(0, 7, -1.5, 0.1)
        raise ValueError("enough")

    monkeypatch.setattr(estimator, "fit", fit)
    expected = (
        "2 components: start 1, iteration 7, 54 rows/s, at most 465 s more, 5 s so far, "
        f"{bound} -1.500000, change 1.0e-01\n"
    )
    assert run("fit", "faithful", "-k", 2, "--method", method)[2] == f"{expected}fastgmm: error: enough\n"
    assert run("fit", "faithful", "-k", 2, "--method", method, "-q", "-o", "m.json")[2] == "fastgmm: error: enough\n"


def test_progress_is_cleared_before_anything_else_is_said(clock, monkeypatch):
    def fit(self, X, y=None, sample_weight=None, *, callback=None):
        callback(0, 6, -1.6, 0.2)
        clock.now += 5
        callback(0, 7, -1.5, 0.1)
        raise ValueError("enough")

    monkeypatch.setattr(GaussianMixture, "fit", fit)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert cli.main(["fit", "faithful", "-k", "2"]) == 1
    assert re.fullmatch(r"\r\x1b\[K2 components: start 1.*\r\x1b\[Kfastgmm: error: enough\n", terminal.getvalue())


@pytest.mark.parametrize("components", ["3", "2-3"])
def test_an_interrupted_fit_goes_on_from_its_checkpoint(run, monkeypatch, components, tmp_path):
    options = ("fit", "faithful", "-k", components, "--tol", "1e-9", "--max-iter", 500)
    kept = (*options, "--checkpoint", "c", "--checkpoint-interval", 0)
    whole = run(*options, "-o", "whole.json")[1]
    reported = Progress.__call__

    def interrupt(progress, restart, iteration, *rest):
        if iteration == 12:
            raise KeyboardInterrupt
        reported(progress, restart, iteration, *rest)

    monkeypatch.setattr(Progress, "__call__", interrupt)
    code, out, err = run(*kept)
    assert (code, out) == (130, "")
    assert err.endswith("fastgmm: interrupted; the same command goes on from the checkpoint\n")
    iterations = []
    monkeypatch.setattr(Progress, "__call__", lambda progress, restart, iteration, *_: iterations.append(iteration))
    out = run(*kept, "-o", "resumed.json")[1]
    assert iterations[0] == 12
    without_time = re.compile(r"\(\S+ s(, after .* of compiling)?\)")
    assert without_time.sub("", out) == without_time.sub("", whole)
    assert (tmp_path / "resumed.json").read_text() == (tmp_path / "whole.json").read_text()
    assert sorted(path.name for path in tmp_path.glob("c*")) == (["c"] if components == "3" else ["c.2", "c.3"])
    code, _, err = run(*kept, "--covariance", "tied")
    assert code == 1
    assert "checkpoint of another fit: covariance_type was 'full' and is 'tied'" in err


def test_interrupt(run, monkeypatch):
    def fit(self, *arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(GaussianMixture, "fit", fit)
    assert run("fit", "faithful", "-k", 2) == (130, "", "fastgmm: interrupted\n")


def test_programming_errors_are_not_hidden(run, monkeypatch):
    def fit(self, *arguments, **options):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(GaussianMixture, "fit", fit)
    with pytest.raises(ZeroDivisionError):
        run("fit", "faithful", "-k", 2)


def test_help_and_version_need_no_numbers():
    code = "import sys; from fastgmm.cli import main; " \
        "codes = [main(['--help']), main(['fit', '--help']), main(['--version']), main(['fit'])]; " \
        "print(codes, sorted({'numpy', 'numba', 'scipy', 'matplotlib', 'sklearn'} & set(sys.modules)))"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[0, 0, 0, 2] []"


@pytest.mark.slow
def test_module_runs_as_a_program(model, tmp_path):
    command = [sys.executable, "-m", "fastgmm", "info", str(tmp_path / "m.json")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 components" in done.stdout
    done = subprocess.run([*command[:-1], "none.json"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "",
        "fastgmm: error: none.json: No such file or directory\n",
    )


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
def test_a_reader_that_leaves_is_no_error(model, tmp_path):
    command = [sys.executable, "-m", "fastgmm", "sample", str(tmp_path / "m.json"), "-n", "100000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"eruptions,waiting\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 141


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals and pipes of POSIX")
def test_control_c_while_reading(tmp_path):
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    # A shell's background job ignores the signal, and so would a child of the test if it were run in one. A signal
    # that comes while Python ends, of those sent below, would end it in another way.
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); " \
        "from fastgmm.cli import main; code = main(sys.argv[1:]); " \
        "signal.signal(signal.SIGINT, signal.SIG_IGN); sys.exit(code)"  # fmt: skip
    command = [sys.executable, "-c", code, "fit", str(pipe), "-k", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        writer = _open_once_read(pipe)
        deadline = time.monotonic() + 60
        # More than once: a signal that comes just before the read blocks is noticed only after it.
        while process.poll() is None and time.monotonic() < deadline:
            process.send_signal(signal.SIGINT)
            time.sleep(0.2)
        process.kill()
        assert process.wait() == 130
        assert process.stdout.read() == b""
        assert process.stderr.read() == b"fastgmm: interrupted\n"
        os.close(writer)


def _open_once_read(pipe):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            time.sleep(0.05)
    raise TimeoutError("nobody reads the pipe")


# --- where tables go ---------------------------------------------------------------------------------------------


@pytest.fixture
def shell(tmp_path, model):
    """Run a line of bash in the folder of the model, where `fastgmm` is the command; return its CompletedProcess."""
    bash = shutil.which("bash")
    if bash is None or not os.path.exists("/dev/stdout"):
        pytest.skip("needs bash and /dev/stdout")
    root = str(Path(cli.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}

    def shell(script, **variables):
        script = f'fastgmm() {{ "{sys.executable}" -m fastgmm "$@"; }}\n{script}'
        return subprocess.run([bash, "-c", script], capture_output=True, cwd=tmp_path, env=environment | variables)

    return shell


@pytest.mark.parametrize(
    ("name", "separator", "compressed"),
    [
        ("t.csv.gz", ",", True),
        ("t.TSV.GZ", "\t", True),
        ("t.gz", ",", True),
        ("t.tsv", "\t", False),
        ("t.txt", ",", False),
        ("t", ",", False),
    ],
)
def test_a_table_is_written_as_its_name_says(run, tmp_path, model, name, separator, compressed):
    for argv in (["sample", "m.json", "-n", 5, "-o", name], ["fit", "faithful", "-k", 1, "-q", "--labels", name]):
        assert run(*argv)[0] == 0
        content = (tmp_path / name).read_bytes()
        assert (content[:2] == b"\x1f\x8b") == compressed
        text = (gzip.decompress(content) if compressed else content).decode()
        rows = list(csv.reader(io.StringIO(text), delimiter=separator))
        assert rows[0] == (["eruptions", "waiting"] if argv[0] == "sample" else ["label"])
        assert len(rows) == (6 if argv[0] == "sample" else 273)


@pytest.mark.parametrize("name", ["t.npy", "t.npz", "t.orc", "t.parquet.gz", "t.xlsx", "no/t.csv", "no/t.parquet"])
def test_a_table_that_cannot_be_written_so_is_refused_before_the_work(run, model, name):
    for argv in (
        ["sample", "m.json", "-o"],
        ["predict", "m.json", "none.csv", "-o"],
        ["fit", "none.csv", "-k", 2, "--labels"],
    ):
        code, out, err = run(*argv, name)
        assert (code, out) == (1, "")
        assert err.startswith(f"fastgmm: error: cannot write {name}: ")


@pytest.mark.parametrize("name", ["t.parquet", "t.PQ", "t.arrow", "t.feather"])
def test_tables_of_typed_columns(run, model, tmp_path, table, name):
    """Parquet and Arrow files hold the numbers of CSV in their own types, in as many blocks as are read."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    source = table("who,eruptions,waiting\na,2,50\nb,4,80\nc,4.5,85\n")
    argv = ["predict", "m.json", source, "--columns", "eruptions,waiting", "--id", "who", "--proba", "--scores"]
    assert run(*argv, "-o", name)[0] == 0
    if "p" in name.partition(".")[2].lower():
        written = parquet.read_table(tmp_path / name)
    else:
        written = pyarrow.ipc.open_file(tmp_path / name).read_all()
    text = list(csv.reader(io.StringIO(run(*argv)[1])))
    assert written.column_names == text[0]
    assert written.column("who").to_pylist() == ["a", "b", "c"]
    assert written.schema.field("label").type == pyarrow.int64()
    for place, column in enumerate(text[0][1:], 1):
        assert written.column(column).to_pylist() == [float(row[place]) for row in text[1:]]
    assert run("sample", "m.json", "-n", 4, "--labels", "-o", name)[0] == 0
    assert run("fit", "faithful", "-k", 1, "-q", "--labels", name)[0] == 0


def test_tables_of_typed_columns_without_pyarrow(run, model, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    code, out, err = run("predict", "m.json", "none.csv", "-o", "t.parquet")
    assert (code, out, err) == (1, "", 'fastgmm: error: Parquet files need pyarrow: pip install "fastgmm[parquet]"\n')


def test_no_output_takes_the_place_of_an_input(run, table, tmp_path, model):
    name = table("eruptions,waiting\n2,50\n4,80\n")
    os.symlink(tmp_path / name, tmp_path / "link.csv")
    for argv in (
        ["predict", "m.json", name, "-o", "link.csv"],
        ["fit", name, "-k", 1, "--labels", name],
        ["sample", "m.json", "-o", "m.json"],
        ["fit", name, "-k", 1, "-o", "n.json", "--labels", "n.json"],
    ):
        assert run(*argv)[0] == 1
    assert (tmp_path / name).read_text() == "eruptions,waiting\n2,50\n4,80\n"
    assert len(load_model("m.json").weights_) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "script",
    [
        "fastgmm sample m.json -n 3 -o /dev/stdout | cat",
        "fastgmm sample m.json -n 3 -o /dev/fd/1 | cat",
        "ln -s /dev/stdout link.csv; fastgmm sample m.json -n 3 -o link.csv | cat; test -L link.csv",
        "mkfifo pipe; cat pipe & fastgmm sample m.json -n 3 -o pipe; wait; test -p pipe",
        "fastgmm sample m.json -n 3 -o >(cat > got); until test -s got; do sleep 0.1; done; cat got",
        "fastgmm sample m.json -n 3 -o /dev/null; fastgmm sample m.json -n 3",
        "(fastgmm sample m.json -n 3 -o /dev/stdout) > got; cat got",
    ],
)
def test_pipes_and_open_files_are_written_to(shell, script):
    done = shell(script)
    assert done.returncode == 0, done.stderr.decode()
    lines = done.stdout.decode().splitlines()
    assert lines[0] == "eruptions,waiting"
    assert len(lines) == 4


@pytest.mark.slow
def test_what_others_wrote_to_an_open_file_stays(shell, tmp_path):
    done = shell("(echo before; fastgmm sample m.json -n 2 -o /dev/stdout; echo after) > got")
    assert done.returncode == 0, done.stderr.decode()
    lines = (tmp_path / "got").read_text().splitlines()
    assert (lines[0], lines[1], len(lines), lines[-1]) == ("before", "eruptions,waiting", 5, "after")


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ("sample m.json -n 3 -o /dev/full", "/dev/full"),
        ("sample m.json -n 3 > /dev/full", "standard output"),
        ("info m.json > /dev/full", "standard output"),
    ],
)
def test_a_full_disk_is_said_with_the_name_of_the_file(shell, arguments, name):
    done = shell(f"fastgmm {arguments}")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode() == f"fastgmm: error: {name}: {os.strerror(errno.ENOSPC)}\n"


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_names_beyond_the_encoding_of_the_terminal(shell, tmp_path, encoding):
    (tmp_path / "d.csv").write_text("длина,y\n1,2\n2,3\n3,5\n", encoding="utf-8")
    done = shell("fastgmm fit d.csv -k 1 -o n.json && fastgmm info n.json", PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.count(rb"\u0434") == 2
    done = shell("fastgmm sample n.json -n 2 > s.csv && fastgmm predict n.json s.csv", PYTHONIOENCODING=encoding)
    assert done.stdout.decode().splitlines() == ["label", "0", "0"]


@pytest.mark.parametrize("names", [("label", "y"), ("x", "x"), ("label", "label_")])
def test_no_feature_is_lost_to_a_column_of_its_name(run, tmp_path, names):
    model = GaussianMixture.from_parameters([1.0], [[100.0, 200.0]], [np.eye(2)])
    model.feature_names_in_ = np.array(names, dtype=object)
    save_model(model, tmp_path / "n.json")
    code, out, err = run("sample", "n.json", "-n", 3, "--labels")
    header, rows = read_csv(out)
    assert (code, tuple(header[:2]), len(set(header[1:]))) == (0, names, 2)
    assert header[2] not in names
    np.testing.assert_allclose(rows, [[100, 200, 0]] * 3, atol=8)
    assert ("column 'label'" in err) == ("label" in names)


def test_rows_that_are_kept_are_told(run, table, model):
    name = table("who,eruptions,waiting\nann,2,55\nbob,,55\n\n'c,4.3,80\n")
    assert run("predict", "m.json", name, "--drop-missing")[1] == "row,label\n1,0\n3,1\n"
    assert run("predict", "m.json", name, "--drop-missing", "--id", "who")[1] == "who,label\nann,0\n'c,1\n"
    fit = "fit", name, "-k", 1, "-q", "--drop-missing", "--labels", "-"
    assert run(*fit, "--columns", "eruptions,waiting")[1] == "row,label\n1,0\n3,0\n"
    assert run(*fit, "--id", "who")[1] == "who,label\nann,0\n'c,0\n"
    name = table("label,eruptions,waiting\na,2,55\n")
    assert run("predict", "m.json", name, "--id", "label")[1] == "label,label_\na,0\n"


def test_rows_of_arrays_and_parquet_are_told(run, model):
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    values = np.array([[2.0, 55.0], [np.nan, 1.0], [4.3, 80.0]])
    np.save("t.npy", values)
    table = pyarrow.table({"who": ["a", "b", None], "eruptions": values[:, 0], "waiting": values[:, 1]})
    parquet.write_table(table, "t.parquet")
    for name in ("t.npy", "t.parquet"):
        assert run("predict", "m.json", name, "--drop-missing")[1] == "row,label\n1,0\n3,1\n"
    parquet.write_table(table.take([0, 2]), "t.parquet")
    assert run("predict", "m.json", "t.parquet", "--id", "who")[1] == "who,label\na,0\n,1\n"
    parquet.write_table(table, "t.arrow")
    code, _, err = run("predict", "m.json", "t.arrow", "--id", "who")
    assert code == 1
    assert "--id is not for folders and Arrow files" in err


def test_comments_are_said(run, table):
    name = table("# made by hand\na,b\n1,2\n3,5\n4,4\n")
    code, _, err = run("fit", name, "-k", 1)
    assert code == 1
    assert err.endswith("line 2 has 2 columns, the first row has 1 (skip lines that begin with '#' by --comment '#')\n")
    assert "3 rows, 2 columns" in run("fit", name, "-k", 1, "--comment", "#")[1]


def test_only_better_fits_are_said_to_be_passed_over(capsys):
    from types import SimpleNamespace

    from fastgmm.cli.commands import Fit, _say_passed_over
    from fastgmm.families import FAMILIES

    family = FAMILIES["full"]

    def fit(n_components, criterion, spurious):
        reasons = [SimpleNamespace(component=0, reason="sits on one value")] if spurious else []
        model = SimpleNamespace(weights_=np.ones(n_components), spurious_=reasons, _family=lambda: family)
        return Fit(model, 0.0, criterion, 0.0, "component 0 sits on one value" if spurious else "")

    sound, worse, better = fit(2, 10.0, False), fit(3, 20.0, True), fit(4, 5.0, True)
    _say_passed_over([sound, worse], sound, "BIC", True)
    assert capsys.readouterr().err == ""
    _say_passed_over([sound, worse, better], sound, "BIC", True)
    assert "4 components: passed over although its BIC is better" in (err := capsys.readouterr().err)
    assert "3 components" not in err
    _say_passed_over([sound, worse, better], sound, "evidence bound", False)
    assert "3 components: passed over although its evidence bound is better" in capsys.readouterr().err


def test_several_names_of_one_family_are_one(run):
    code, out, _ = run("fit", "faithful", "-k", "2", "--covariance", "full,VVV,EEE", "--seed", "0")
    assert code == 0
    assert [line.split()[1] for line in out.splitlines()[1:3]] == ["full", "tied"]
    assert out.splitlines()[3] == ""


# -- standardised columns ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [[], ["--method", "vb"]])
@pytest.mark.parametrize("covariance", ["full", "tied", "diag", "tied-diag", "VEI", "EVI", "VEE", "EVV"])
def test_standardised_columns_are_fitted_alike_in_any_units(run, table, covariance, method):
    """The same groups whatever the units are, the model in those of the data, and what `score` says of it."""
    if method and covariance not in ("full", "tied", "diag", "tied-diag"):
        pytest.skip("variational Bayes is not for this family")
    X = load_faithful().data
    models = []
    for scale in ([1.0, 1.0], [1e-7, 1e5]):
        name = table("a,b\n" + "".join(f"{a!r},{b!r}\n" for a, b in (X * scale).tolist()))
        argv = ["-k", 2, "--covariance", covariance, "--standardize", "--tol", "1e-9", "--max-iter", 3000, *method]
        code, out, err = run("fit", name, *argv, "-o", "m.json")
        assert (code, err) == (0, "")
        model = load_model("m.json")
        del model.feature_names_in_
        assert model.covariance_type == covariance
        again = run("score", "m.json", name)[1]
        for line in out.splitlines():
            if line.startswith(("BIC", "log-likelihood")):
                key, value = line.split()[:2]
                assert float(next(each for each in again.splitlines() if each.startswith(key)).split()[1]) == (
                    pytest.approx(float(value), abs=1e-3)
                )
        invert = np.linalg.inv if model._family().has_matrices else np.reciprocal
        np.testing.assert_allclose(model.precisions_, invert(model.covariances_), rtol=1e-7)
        models.append((model, np.array(scale)))
    (one, _), (other, scale) = models
    np.testing.assert_allclose(other.weights_, one.weights_, rtol=1e-6)
    np.testing.assert_allclose(other.means_ / scale, one.means_, rtol=1e-6)
    matrices = (
        scale[:, None] * scale if one.covariances_.shape[-2:] == (2, 2) and one._family().has_matrices else scale**2
    )
    np.testing.assert_allclose(other.covariances_ / matrices, one.covariances_, rtol=1e-5)
    assert other.lower_bound_ == pytest.approx(
        one.lower_bound_ - np.log(scale).sum() * (len(X) if method else 1), rel=1e-7
    )
    np.testing.assert_array_equal(other.predict(X * scale), one.predict(X))


def test_standardised_columns_find_what_units_hide(run, table, tmp_path):
    """Groups that differ in a column of small numbers beside one of large ones."""
    rng = np.random.default_rng(0)
    X = np.column_stack([np.repeat([0.0, 1e-3], 100) + 1e-4 * rng.normal(size=200), 1e3 * rng.normal(size=200)])
    name = table("a,b\n" + "".join(f"{a!r},{b!r}\n" for a, b in X.tolist()))
    truth = np.repeat([0, 1], 100)
    found = {}
    for option in ([], ["--standardize"]):
        argv = ["-k", 2, "--covariance", "diag", "--init", "kmeans", "--n-init", 10, "-q", "--labels", "l.csv"]
        assert run("fit", name, *argv, *option)[0] == 0
        labels = np.loadtxt(tmp_path / "l.csv", skiprows=1, dtype=int)
        found[bool(option)] = max((labels == truth).mean(), (labels != truth).mean())
    assert found[True] == 1.0
    assert found[False] < 0.8


def test_standardised_columns_are_not_for_families_of_one_unit(run):
    code, out, err = run("fit", "faithful", "-k", 2, "--covariance", "full,spherical", "--standardize")
    assert (code, out) == (1, "")
    assert err.startswith("fastgmm: error: --standardize is not for covariance spherical")
    code, _, err = run("fit", "iris", "--columns", "petal_width", "-k", 12, "--standardize", "--seed", 1)
    assert code == 0
    assert "z(petal_width) = " in err


def test_weights_that_do_not_count_rows_are_told(run, table):
    rng = np.random.default_rng(0)
    name = table("a,w\n" + "".join(f"{a!r},0.001\n" for a in rng.normal(size=60).tolist()))
    code, _, err = run("fit", name, "-k", "1-2", "--weights", "w")
    assert code == 0
    assert "the column of --weights sums to 0.06 over 60 rows. BIC takes that for the number of rows" in err


def test_a_standardised_model_goes_on_in_its_own_units(run, table):
    """What is added to variances is as small beside the narrowest column as it was."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 2)) * [1e-3, 1.0]
    name = table("mm,b\n" + "".join(f"{a!r},{b!r}\n" for a, b in X.tolist()))
    assert run("fit", name, "-k", 1, "--standardize", "-o", "m.json", "-q")[0] == 0
    model = load_model("m.json")
    assert model.reg_covar == pytest.approx(1e-6 * X[:, 0].var(), rel=1e-6)
    del model.feature_names_in_
    variance = model.covariances_[0, 0, 0]
    assert model.fit(X).covariances_[0, 0, 0] == pytest.approx(variance, rel=1e-3)


@pytest.mark.parametrize("method", ["em", "vb"])
def test_scores_of_rows_are_those_of_predict(run, table, method):
    name = table("who,eruptions,waiting,who_else\n" + "".join(f"r{i},{i + 1.5},{50 + 9 * i},x\n" for i in range(4)))
    assert run("fit", "faithful", "-k", 2, "--method", method, "-o", "m.json", "-q")[0] == 0
    options = "m.json", name, "--id", "who"
    expected = run("predict", *options, "--scores")[1].splitlines()
    code, out, err = run("score", *options, "-o", "-")
    assert (code, err) == (0, "")
    assert out.splitlines() == [",".join(line.split(",")[::2]) for line in expected]
    assert out.startswith("who,log_density\nr0,")
    # Into a file beside the report, whose sum is theirs.
    code, report, err = run("score", *options, "-o", "scores.tsv")
    assert (code, err) == (0, "")
    lines = Path("scores.tsv").read_text().splitlines()
    assert lines == [line.replace(",", "\t") for line in out.splitlines()]
    total = sum(float(line.split("\t")[1]) for line in lines[1:])
    assert float(re.search(r"log-likelihood +(\S+)", report)[1]) == pytest.approx(total, rel=1e-9)


def test_an_id_is_no_feature_of_a_score(run, table):
    """Also where the model knows no names, by which columns would be chosen."""
    run("fit", table("1,5\n2,7\n4,8\n5,1\n"), "-k", 1, "-o", "m.json")
    named = table("who,a,b\na,1,5\nb,,7\nc,4,8\n", "t.csv")
    scored = run("score", "m.json", named, "--id", "who", "--drop-missing")
    assert scored[0] == 0
    assert scored[1] == run("score", "m.json", table("a,b\n1,5\n4,8\n", "u.csv"))[1]
    assert run("score", "m.json", named, "--drop-missing", "--columns", "a,b", "-o", "-")[1].startswith(
        "row,log_density\n1,"
    )
    for given in (named, "m.json"):
        code, out, err = run("score", "m.json", named, "--id", "who", "--drop-missing", "-o", given)
        assert (code, out) == (1, "")
        assert f"cannot write {given}" in err


def test_usage_errors_lead_on(run):
    for argv, said in (
        (["fit", "faithful", "-k", 2, "--colums=a"], "unrecognized arguments: --colums=a; did you mean --columns?"),
        (["fit", "faithful", "-k", 2, "more.csv"], "unrecognized arguments: more.csv\n"),
        (["score", "m.json", "t.csv", "--proba"], "unrecognized arguments: --proba\n"),
    ):
        code, out, err = run(*argv)
        assert (code, out) == (2, "")
        assert f"fastgmm {argv[0]}: error: {said}" in err
        assert err.endswith(f"\nfastgmm {argv[0]} --help says more\n")
    assert run("-x")[2].endswith("\nfastgmm --help says more\n")


def test_data_before_the_model_are_told(run, model, table):
    code, _, err = run("predict", table("1,2\n"), "m.json")
    assert (code, err) == (
        1,
        "fastgmm: error: t.csv is not a fastgmm model file: the model comes first, then the data\n",
    )
    assert run("predict", "t.csv", "t.csv")[2] == "fastgmm: error: t.csv is not a fastgmm model file\n"


def test_long_values_are_wrapped_on_a_terminal(run, model, monkeypatch):
    whole = run("info", "m.json")[1]
    monkeypatch.setattr("fastgmm.cli.report.shutil.get_terminal_size", lambda *_: os.terminal_size((60, 24)))
    monkeypatch.setattr("fastgmm.cli.report.sys", SimpleNamespace(stdout=SimpleNamespace(isatty=lambda: True)))
    head = run("info", "m.json")[1].split("\n\n", 1)[0]
    assert max(map(len, head.splitlines())) <= 60
    assert " ".join(head.split()) == " ".join(whole.split("\n\n", 1)[0].split())
    assert all(line[:18].strip() in {"", *re.findall(r"^\w+(?:-\w+)?", whole, re.M)} for line in head.splitlines())
