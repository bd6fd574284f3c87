"""Fits of Spark DataFrames beside fits of the same rows in memory, and what can go wrong between partitions."""

import argparse
import gc
import importlib
import operator
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

pyspark = pytest.importorskip("pyspark")
pandas = pytest.importorskip("pandas")
pytest.importorskip("pyarrow")

from fastgmm import BayesianGaussianMixture, GaussianMixture  # noqa: E402
from fastgmm.families import FAMILIES  # noqa: E402
from fastgmm.passes.sweep import Sweep  # noqa: E402
from fastgmm.sources import open_rows  # noqa: E402
from fastgmm.sources.spark_packing import recut  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*did not converge"),
    # Of pyspark's own: sockets that it leaves to the garbage collector, functions of pandas and NumPy on their way out.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:pyspark"),
    pytest.mark.filterwarnings("ignore::FutureWarning:pyspark"),
]


@pytest.fixture(scope="module")
def spark():
    from shutil import which

    if which("java") is None and "JAVA_HOME" not in os.environ:
        pytest.skip("needs java")
    os.environ["PYSPARK_PYTHON"] = sys.executable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        builder = pyspark.sql.SparkSession.builder.master("local[2,4]")
        for name, value in {
            "spark.ui.enabled": "false",
            "spark.sql.shuffle.partitions": "2",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
        }.items():
            builder = builder.config(name, value)
        session = builder.getOrCreate()
        session.sparkContext.setLogLevel("OFF")
    yield session
    session.stop()


@pytest.fixture(scope="module")
def table():
    """Rows of three clusters, and weights of which some are 0."""
    rng = np.random.default_rng(5)
    X = np.concatenate([rng.normal(size=(200, 2)), [4, 1] + rng.normal(size=(150, 2)), rng.normal(-4, 0.5, (61, 2))])
    X = X[rng.permutation(len(X))]
    return X, np.where(np.arange(len(X)) % 5 == 0, 0.0, rng.uniform(0.1, 3.0, len(X)))


def frame_of(spark, tables, schema, count=None):
    """Return a DataFrame with a partition for each table of columns; `count` counts how often one is made."""

    def make(batches):
        for batch in batches:
            for number in batch["id"]:
                if count is not None:
                    count.add(1)
                yield pandas.DataFrame(tables[number])

    return spark.range(0, len(tables), 1, len(tables)).mapInPandas(make, schema)


def parts_of(X, weight, bounds):
    slices = [slice(start, stop) for start, stop in zip([0, *bounds], [*bounds, len(X)], strict=True)]
    return [{"a": X[part, 0], "b": X[part, 1], "w": weight[part]} for part in slices]


SCHEMA = "a double, b double, w double"


def assert_same(model, expected):
    for name in ("weights_", "means_", "covariances_", "lower_bounds_", "lower_bound_"):
        assert_allclose(getattr(model, name), getattr(expected, name), rtol=1e-10, atol=1e-12, err_msg=name)
    assert model.n_iter_ == expected.n_iter_
    assert model.n_passes_ == expected.n_passes_


@pytest.mark.parametrize(
    ("Model", "family", "weighted", "init", "bounds"),
    [
        (GaussianMixture, "full", False, "auto", []),
        (GaussianMixture, "diag", True, "k-means++", [0, 90, 90, 91, 300, 411]),
        (GaussianMixture, "full", True, "random_from_data", range(4, 400, 4)),
        (BayesianGaussianMixture, "tied", False, "random", [130]),
        (BayesianGaussianMixture, "spherical", True, "labels", [0, 90, 90, 91, 300, 411]),
    ],
)
def test_same_fit_as_in_memory(spark, table, Model, family, weighted, init, bounds):
    X, weight = table
    frame = frame_of(spark, parts_of(X, weight, bounds), SCHEMA)
    assert frame.rdd.getNumPartitions() == len(bounds) + 1
    # Each iteration is a job, and Spark takes its time for each task.
    params = {"covariance_type": family, "max_iter": 1 if len(bounds) > 10 else 3, "tol": 0, "random_state": 3}
    params["init_params"] = np.arange(len(X)) % 3 if init == "labels" else init
    expected = Model(3, **params).fit(X, sample_weight=weight if weighted else None)
    if weighted:
        model = Model(3, **params).fit(frame, sample_weight="w")
    else:
        model = Model(3, **params).fit(frame.select("a", "b"))
    assert_same(model, expected)
    assert list(model.feature_names_in_) == ["a", "b"]


def test_same_fit_with_a_prior(spark, table):
    X, weight = table
    frame = frame_of(spark, parts_of(X, weight, [130]), SCHEMA)
    params = {"prior": "mclust", "max_iter": 2, "tol": 1e3, "random_state": 3, "init_params": np.arange(len(X)) % 3}
    model = GaussianMixture(3, **params).fit(frame, sample_weight="w")
    expected = GaussianMixture(3, **params).fit(X, sample_weight=weight)
    assert_same(model, expected)
    assert_allclose(model.prior_.scale, expected.prior_.scale, rtol=1e-12)


def test_a_fit_reads_the_frame_once_and_keeps_nothing(spark, table):
    X, weight = table
    count = spark.sparkContext.accumulator(0)
    frame = frame_of(spark, parts_of(X, weight, [100, 300]), SCHEMA, count)
    results = [
        GaussianMixture(2, max_iter=2, tol=0, random_state=0, n_init=2).fit(frame, sample_weight="w") for _ in range(2)
    ]
    assert count.value == 2 * 3
    gc.collect()
    assert spark.sparkContext._jsc.getPersistentRDDs().size() == 0
    # Whichever task ends first, sums are in the order of partitions.
    assert_array_equal(results[0].covariances_, results[1].covariances_)
    assert results[0].lower_bounds_ == results[1].lower_bounds_


def test_arrays_and_vectors_of_float32(spark, table):
    from pyspark.ml.functions import array_to_vector

    X = table[0].astype(np.float32)
    parts = [{"x": X[:50].tolist()}, {"x": np.empty(0, object)}, {"x": X[50:].tolist()}]
    arrays = frame_of(spark, parts, "x array<float>")
    params = {"n_components": 2, "max_iter": 2, "tol": 0, "random_state": 0}
    expected = GaussianMixture(**params).fit(X)
    model = GaussianMixture(**params).fit(arrays)
    assert model.means_.dtype == np.float32
    assert not hasattr(model, "feature_names_in_")
    assert_allclose(model.covariances_, expected.covariances_, rtol=1e-6)

    vectors = arrays.select(array_to_vector(arrays.x.cast("array<double>")).alias("v"))
    expected = GaussianMixture(**params).fit(X.astype(np.float64))
    model = GaussianMixture(**params).fit(vectors)
    assert_same(model, expected)
    # Beside other columns, the one of vectors holds the rows.
    labelled = model.predict(vectors.selectExpr("'text' as name", "v"))
    assert labelled.columns == ["name", "v", "prediction"]
    assert_array_equal([row.prediction for row in labelled.collect()], expected.predict(X.astype(np.float64)))


def test_predictions_are_columns(spark, table):
    X, weight = table
    count = spark.sparkContext.accumulator(0)
    parts = parts_of(X, weight, [100, 300])
    frame = frame_of(spark, parts, SCHEMA, count).selectExpr("w", "'id' as name", "b", "a")
    model = GaussianMixture(3, random_state=0).fit(pandas.DataFrame({"a": X[:, 0], "b": X[:, 1]}))
    plain = pandas.DataFrame({"a": X[:, 0], "b": X[:, 1]})

    scored = model.score_samples(model.predict_proba(model.predict(frame)))
    assert count.value == 0
    assert scored.columns == [*frame.columns, "prediction", "probability", "log_density"]
    assert [field.dataType.simpleString() for field in scored.schema.fields[-3:]] == ["int", "array<double>", "double"]
    rows = scored.collect()
    assert_array_equal([row.a for row in rows], X[:, 0])
    assert_array_equal([row.prediction for row in rows], model.predict(plain))
    assert_array_equal([row.probability for row in rows], model.predict_proba(plain))
    assert_array_equal([row.log_density for row in rows], model.score_samples(plain))
    with pytest.raises(ValueError, match="a column 'prediction' already"):
        model.predict(scored)

    numbers = frame.drop("name")
    assert model.score(numbers, sample_weight="w") == pytest.approx(model.score(plain, sample_weight=weight), rel=1e-12)
    assert model.bic(numbers) == pytest.approx(model.bic(plain), rel=1e-12)
    assert model.icl(frame, sample_weight="w") == pytest.approx(model.icl(plain, sample_weight=weight), rel=1e-12)
    nameless = GaussianMixture(3, random_state=0).fit(X)
    with (
        pytest.raises(ValueError, match="expecting 2 features"),
        pytest.warns(UserWarning, match="X has feature names"),
    ):
        nameless.predict(numbers)


def test_fit_predict(spark, table):
    X, weight = table
    params = {"n_components": 3, "max_iter": 2, "random_state": 0}
    frame = frame_of(spark, parts_of(X, weight, [100]), SCHEMA)
    labels = GaussianMixture(**params).fit_predict(frame, sample_weight="w").toPandas()["prediction"]
    assert_array_equal(labels, GaussianMixture(**params).fit_predict(X, sample_weight=weight))


def test_weights_far_from_one(spark, table):
    X, weight = table
    params = {"n_components": 2, "max_iter": 2, "tol": 0, "random_state": 0}
    frame = frame_of(spark, parts_of(X, weight * 1e300, [100]), SCHEMA)
    model = GaussianMixture(**params).fit(frame, sample_weight="w")
    assert_same(model, GaussianMixture(**params).fit(X, sample_weight=weight * 1e300))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("b", np.nan, r"partition 1 of X: .*NaN \(row 17, column 1\)"),
        ("b", None, r"partition 1 of X: .*NaN \(row 17, column 1\)"),
        ("a", -np.inf, r"partition 1 of X: .*infinity \(row 17, column 0\)"),
        ("w", -1.0, r"partition 1 of X: sample_weight must be >= 0, got -1.0 in row 17"),
    ],
)
def test_bad_rows_are_named(spark, table, column, value, message):
    X, weight = table
    parts = parts_of(X, weight, [100])
    changed = parts[1][column].astype(object)
    changed[17] = value
    frame = frame_of(spark, [parts[0], parts[1] | {column: changed}], SCHEMA)
    model = GaussianMixture(2)
    with pytest.raises(ValueError, match=message):
        model.fit(frame, sample_weight="w")
    assert vars(model) == vars(GaussianMixture(2))


def test_a_shuffle_does_not_change_the_fit(spark, table, tmp_path):
    """Blocks of a shuffle come as the network has them: in another order each time."""
    X, weight = table
    X = np.round(X, 1)  # some rows are the same
    parts = parts_of(X, weight, [100, 300]), parts_of(X[::-1], weight[::-1], [50, 70, 350])
    shuffled = [frame_of(spark, tables, SCHEMA).repartition(3, "a").select("a", "b", "w") for tables in parts]
    distinct = [frame_of(spark, tables, SCHEMA).distinct() for tables in parts]
    for (one, other), init in ((shuffled, "k-means++"), (distinct, "random")):
        assert one.collect() != other.collect()
        params = {"n_components": 3, "max_iter": 2, "tol": 0, "random_state": 0, "init_params": init}
        models = [GaussianMixture(**params).fit(frame, sample_weight="w") for frame in (one, other)]
        assert_array_equal(models[0].covariances_, models[1].covariances_)
        assert models[0].lower_bounds_ == models[1].lower_bounds_
    params["checkpoint"] = tmp_path / "fit.checkpoint"
    GaussianMixture(**params).fit(one, sample_weight="w")
    model = GaussianMixture(**params | {"max_iter": 3}).fit(other, sample_weight="w")
    assert (model.n_iter_, model.lower_bounds_[:2]) == (3, models[0].lower_bounds_)


def test_an_order_that_is_kept_is_kept(spark, table):
    X, weight = table
    params = {"n_components": 3, "max_iter": 2, "tol": 0, "random_state": 0}
    frame = frame_of(spark, parts_of(X, weight, [100, 300]), SCHEMA).select("a", "b")
    keys = spark.createDataFrame(pandas.DataFrame({"key": [1]}))
    joined = frame.selectExpr("*", "1 as key").join(keys.hint("broadcast"), "key").select("a", "b")
    ordered = frame.repartition(5, "b").orderBy("a")
    for changed, rows in ((frame, X), (joined, X), (ordered, X[np.argsort(X[:, 0])])):
        assert_same(GaussianMixture(**params).fit(changed), GaussianMixture(**params).fit(rows))


def test_names_may_hold_dots_and_backticks(spark, table):
    X, weight = table
    frame = frame_of(spark, parts_of(X, weight, [100]), SCHEMA).toDF("a.b", "c`d", "w w.w")
    params = {"n_components": 2, "max_iter": 2, "tol": 0, "random_state": 0}
    model = GaussianMixture(**params).fit(frame, sample_weight="w w.w")
    expected = GaussianMixture(**params).fit(X, sample_weight=weight)
    assert_same(model, expected)
    assert list(model.feature_names_in_) == ["a.b", "c`d"]
    labelled = model.predict(frame).toPandas()
    assert list(labelled) == ["a.b", "c`d", "w w.w", "prediction"]
    assert_array_equal(labelled["prediction"], expected.predict(X))
    assert model.score(frame, sample_weight="w w.w") == pytest.approx(expected.score(X, sample_weight=weight))


def test_bad_arrays_are_named(spark):
    rows = [[0.0, 1.0], [2.0, 3.0]]
    for second, message in (
        ([[1.0, 2.0], [1.0]], "partition 1 of X: row 1 of X has 1 numbers, expected 2"),
        ([[1.0, 2.0], None], r"partition 1 of X: .*null instead of numbers \(row 1\)"),
        ([[1.0], [2.0]], "2 numbers in partition 0, but 1 in partition 1"),
    ):
        with pytest.raises(ValueError, match=message):
            GaussianMixture(2).fit(frame_of(spark, [{"x": rows}, {"x": second}], "x array<double>"))


def test_bad_rows_are_named_when_they_are_scored(spark, table):
    X, weight = table
    model = GaussianMixture(2, max_iter=1, random_state=0).fit(pandas.DataFrame({"a": X[:, 0], "b": X[:, 1]}))
    X = X.copy()
    X[110, 0] = np.nan
    frame = frame_of(spark, parts_of(X, weight, [100]), SCHEMA)
    with pytest.raises(pyspark.errors.PythonException, match=r"partition 1 of X: .*NaN \(row 10, column 0\)"):
        model.predict(frame).collect()


def test_frames_that_cannot_be_fitted(spark, table):
    X, weight = table
    frame = frame_of(spark, parts_of(X, weight, []), SCHEMA)
    model = GaussianMixture(2)
    with pytest.raises(TypeError, match="column 'name' of type string among 4: choose columns"):
        model.fit(frame.selectExpr("*", "'x' as name"))
    with pytest.raises(TypeError, match="column 'x' of type array<double>"):
        model.fit(frame.selectExpr("array(a) as x", "b"))
    with pytest.raises(TypeError, match="the sample_weight, must hold numbers, got string"):
        model.fit(frame.selectExpr("a", "'x' as w"), sample_weight="w")
    with pytest.raises(TypeError, match="must be the name of a column where X is a Spark DataFrame, got ndarray"):
        model.fit(frame, sample_weight=weight)
    with pytest.raises(ValueError, match=r"one of the columns \['a', 'b', 'w'\], got 'v'"):
        model.fit(frame, sample_weight="v")
    with pytest.raises(TypeError, match=r"a Spark DataFrame, got pyspark\..*RDD"):
        model.fit(frame.rdd)
    with pytest.raises(ValueError, match="0 sample"):
        model.fit(frame.filter("a > 1e9"))
    # Without any partition.
    empty = spark.createDataFrame(spark.sparkContext.emptyRDD(), "a double, b double")
    assert empty.rdd.getNumPartitions() == 0
    fitted = GaussianMixture(2, max_iter=1, random_state=0).fit(pandas.DataFrame({"a": X[:, 0], "b": X[:, 1]}))
    for call in (model.fit, fitted.score, fitted.bic):
        with pytest.raises(ValueError, match=r"Found array with 0 sample\(s\)"):
            call(empty)
    assert fitted.predict(empty).collect() == []
    with pytest.raises(ValueError, match=r"a column of numbers besides sample_weight='w', got \['w'\]"):
        model.fit(frame.select("w"), sample_weight="w")
    with pytest.raises(ValueError, match="positive for at least one row"):
        model.fit(frame.selectExpr("a", "b", "0 * w as w"), sample_weight="w")
    with pytest.raises(ValueError, match="as an array in memory"):
        GaussianMixture(2, init_params=lambda X, k, random_state: np.zeros(len(X), int)).fit(frame)


def test_a_task_that_fails_once_changes_nothing(spark, table, tmp_path):
    X, weight = table
    rows = open_rows(frame_of(spark, parts_of(X, weight, [100, 300]), SCHEMA), "w")
    family = FAMILIES["full"]
    density = family.isotropic(np.array([[0.0, 0.0], [3.0, 1.0]]), 1.0)
    sweep = Sweep(family, density, density.mean)
    marker = str(tmp_path / "failed")

    def flaky(part):
        statistics = sweep(part)
        if part.offset == 100 and not os.path.exists(marker):
            open(marker, "x").close()
            os._exit(1)
        return statistics

    expected = rows.gather(sweep, operator.add)
    statistics = rows.gather(flaky, operator.add)
    assert os.path.exists(marker)
    assert_array_equal(statistics.scatter, expected.scatter)
    assert statistics.log_evidence == expected.log_evidence
    assert statistics.weight == pytest.approx(weight.sum(), rel=1e-14)


@pytest.mark.parametrize(
    ("rows", "again", "refused"),
    [
        ([[1.0], [2.0], [5.0]], [[2.0], [5.0], [1.0]], False),
        ([[1.0], [2.0], [5.0]], [[1.0], [2.0], [6.0]], True),
        ([[1.0], [2.0], [5.0]], [[1.0], [2.0], [5.0], [0.0]], True),
        ([[1.0], [2.0], [5.0]], [[1.0], [2.0]], True),
        ([], [[0.0]], True),
    ],
)
def test_a_partition_that_is_computed_again_must_hold_its_rows(spark, tmp_path, rows, again, refused):
    def make(batches):
        for batch in batches:
            for number in batch["id"]:
                marker = tmp_path / str(number)
                yield pandas.DataFrame(
                    again if number and marker.exists() else rows if number else [[0.5]], columns=["x"]
                )
                marker.touch()

    opened = open_rows(spark.range(0, 2, 1, 2).mapInPandas(make, "x double"))
    assert opened.n_rows == 1 + len(rows)
    for stored in spark.sparkContext._jsc.getPersistentRDDs().values():
        stored.unpersist()
    if refused:
        with pytest.raises(RuntimeError, match="partition 1 of X holds other rows than at first"):
            opened.take(None)
    else:
        assert_array_equal(opened.take(None)[0], [[0.5], *again])


def test_a_task_uses_its_own_cpus(spark, table):
    X, weight = table

    class Probe:
        n_threads = None

        def __call__(self, part):
            return [self.n_threads]

    rows = open_rows(frame_of(spark, parts_of(X, weight, [100, 300]), SCHEMA))
    assert rows.gather(Probe(), operator.add) == [1, 1, 1]


def test_rows_can_be_brought_to_this_process(spark, table):
    X, weight = table
    rows = open_rows(frame_of(spark, parts_of(X, weight, [100, 300]), SCHEMA), "w")
    blocks = list(rows.scaled(1).blocks(170))
    assert [block.places for block in blocks] == [slice(0, 170), slice(170, 340), slice(340, 411)]
    assert_array_equal(np.concatenate([block.X for block in blocks]), X)
    assert_array_equal(np.concatenate([block.weight for block in blocks]), weight / 2)


@settings(deadline=None)
@given(st.lists(st.integers(0, 7), max_size=9), st.integers(1, 12), st.booleans())
def test_tables_are_cut_anew(lengths, n_rows, weighted):
    X = np.arange(2.0 * sum(lengths)).reshape(-1, 2)
    cuts = np.cumsum(lengths)[:-1] if lengths else []
    tables = [(part, part[:, 0] if weighted else None) for part in np.split(X, cuts)]
    blocks = list(recut(tables, n_rows))
    assert [len(block) for block, _ in blocks[:-1]] == [n_rows] * (len(blocks) - 1)
    assert all(0 < len(block) <= n_rows for block, _ in blocks)
    assert_array_equal(np.concatenate([np.empty((0, 2)), *(block for block, _ in blocks)]), X)
    for block, weight in blocks:
        if weighted:
            assert_array_equal(weight, block[:, 0])
        else:
            assert weight is None


CLUSTER = """
import os, signal, warnings
from pathlib import Path
import numpy as np, pandas
warnings.simplefilter("ignore")
from pyspark.sql import SparkSession
from fastgmm import GaussianMixture

builder = SparkSession.builder.master("local-cluster[2,1,1024]").config("spark.ui.enabled", "false")
spark = builder.config("spark.driver.host", "127.0.0.1").getOrCreate()
X = np.random.default_rng(0).normal(size=(600, 2)) + np.repeat([[0.0, 0.0], [4.0, 1.0]], 300, axis=0)

def make(batches):
    for batch in batches:
        for number in batch["id"]:
            yield pandas.DataFrame(X[100 * number : 100 * (number + 1)], columns=["a", "b"])

def kill_an_executor(restart, iteration, bound, change):
    if iteration == 2:
        children = Path(f"/proc/{spark.sparkContext._gateway.proc.pid}/task").glob("*/children")
        for child in " ".join(path.read_text() for path in children).split():
            if "CoarseGrainedExecutorBackend" in Path(f"/proc/{child}/cmdline").read_text():
                os.kill(int(child), signal.SIGKILL)
                killed.append(child)
                break

killed = []
params = {"n_components": 2, "max_iter": 4, "tol": 0, "random_state": 0}
frame = spark.range(0, 6, 1, 6).mapInPandas(make, "a double, b double")
model = GaussianMixture(**params).fit(frame, callback=kill_an_executor)
again = GaussianMixture(**params).fit(frame)
expected = GaussianMixture(**params).fit(X)
assert model.n_iter_ == 4
assert np.array_equal(model.covariances_, again.covariances_) and model.lower_bounds_ == again.lower_bounds_
assert np.allclose(model.covariances_, expected.covariances_, rtol=1e-10)
print("killed", len(killed))
spark.stop()
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux")
def test_an_executor_that_is_killed_changes_nothing(spark):
    """On a cluster of its own, in a process of its own; the other session makes sure that there is Java."""
    result = subprocess.run([sys.executable, "-c", CLUSTER], capture_output=True, text=True, timeout=300, check=False)
    assert result.stdout.split() == ["killed", "1"], result.stderr


def test_the_page_about_sources_runs(spark, table, capsys):
    page = Path(__file__).parents[1] / "docs" / "sources.md"
    if not page.exists():
        pytest.skip("needs a checkout")
    (block,) = re.findall(r"<!-- needs Spark -->\n```python\n(.*?)```", page.read_text(), re.DOTALL)
    names = {"X": table[0], "GaussianMixture": GaussianMixture}
    exec(block, names)
    lines = capsys.readouterr().out.splitlines()
    assert float(lines[-1]) == pytest.approx(
        names["model"].bic(pandas.DataFrame(table[0], columns=["width", "length"]))
    )
    assert lines[1].split() == ["|name|prediction|"]


def test_benchmark(spark, monkeypatch, capsys):
    folder = Path(__file__).parents[1] / "benchmarks"
    if not folder.exists():
        pytest.skip("needs a checkout")
    monkeypatch.syspath_prepend(str(folder))
    benchmark = importlib.import_module("spark")
    workload = importlib.import_module("common").Workload("full", 1000, 2, 2)
    benchmark.compare(workload, spark, argparse.Namespace(partitions=2, repeats=1, iterations=3))
    name, ours, theirs, ratio, score, other = capsys.readouterr().out.strip("| \n").split(" | ")
    assert name == workload.name
    assert float(theirs) / float(ours) == pytest.approx(float(ratio.split()[0]), rel=0.1, abs=0.1)
    # From other starts, after three iterations.
    assert float(score) == pytest.approx(float(other), abs=0.3)


@pytest.mark.parametrize("is_array", [False, True])
def test_nulls_are_integrated_out(spark, table, is_array):
    X, weight = table
    holed = X.copy()
    holed[np.arange(len(X)) % 4 == 1, 0] = np.nan
    holed[np.arange(len(X)) % 7 == 2, 1] = np.nan
    rows = [[None if np.isnan(x) else float(x) for x in row] for row in holed]
    if is_array:
        frame = spark.createDataFrame(
            [(row, w) for row, w in zip(rows, weight.tolist(), strict=True)], "x array<double>, w double"
        )
    else:
        frame = spark.createDataFrame([(*row, w) for row, w in zip(rows, weight.tolist(), strict=True)], SCHEMA)
    features = frame.drop("w")
    for Model in (GaussianMixture, BayesianGaussianMixture):
        params = {"n_components": 3, "random_state": 0, "missing": "marginal", "max_iter": 5}
        expected = Model(**params).fit(holed, sample_weight=weight)
        model = Model(**params).fit(frame, sample_weight="w")
        assert_same(model, expected)
    with pytest.raises(ValueError, match=r"partition \d of X: Input X contains NaN"):
        GaussianMixture(3).fit(features)
    added = {
        "predict": "prediction",
        "predict_proba": "probability",
        "score_samples": "log_density",
        "impute": "imputed",
    }
    for method, name in added.items():
        found = np.array([row[name] for row in getattr(model, method)(features).collect()])
        assert_allclose(found, getattr(expected, method)(holed), rtol=1e-9, atol=1e-12, err_msg=method)
    assert model.score(frame, sample_weight="w") == pytest.approx(
        expected.score(holed, sample_weight=weight), rel=1e-12
    )


def test_complete_rows_are_the_same_where_entries_may_be_missing(spark, table):
    X, weight = table
    frame = frame_of(spark, parts_of(X, weight, [90, 300]), SCHEMA)
    plain, marginal = (
        GaussianMixture(3, random_state=0, max_iter=3, missing=missing).fit(frame, sample_weight="w")
        for missing in (None, "marginal")
    )
    assert_array_equal(marginal.means_, plain.means_)
    assert_array_equal(marginal.covariances_, plain.covariances_)
    empty = spark.createDataFrame([(float(x), None, 1.0) for x in X[:50, 0]], SCHEMA)
    with pytest.raises(ValueError, match="column 1, 'b' of X has no observed entry"):
        GaussianMixture(2, missing="marginal").fit(empty, sample_weight="w")
