"""Rows from lists and patterns of files, URLs, streams of Arrow data and stores of chunks: the fits of memory."""

import re

import numpy as np
import pytest

from fastgmm import BayesianGaussianMixture, GaussianMixture
from fastgmm.io import TableError
from fastgmm.sources import open_rows

pyarrow = pytest.importorskip("pyarrow")
csv, feather, parquet = (pytest.importorskip(f"pyarrow.{name}") for name in ("csv", "feather", "parquet"))

N_ROWS = 1500
_RNG = np.random.default_rng(6)
X = _RNG.normal(size=(N_ROWS, 2)) + 5.0 * _RNG.integers(0, 2, size=(N_ROWS, 1))
WEIGHT = _RNG.uniform(0.0, 3.0, N_ROWS)
TABLE = pyarrow.table({"a": X[:, 0], "w": WEIGHT, "b": X[:, 1], "text": ["x"] * N_ROWS})
MODELS = {"em": GaussianMixture(2, random_state=0), "vb": BayesianGaussianMixture(2, random_state=0)}


def fitted(data, method="em", **options):
    from sklearn.base import clone

    return clone(MODELS[method]).fit(data, **options)


def assert_same(ours, theirs):
    assert ours.lower_bounds_ == theirs.lower_bounds_
    np.testing.assert_array_equal(ours.means_, theirs.means_)
    np.testing.assert_array_equal(ours.covariances_, theirs.covariances_)


@pytest.fixture(scope="module")
def memory():
    pytest.importorskip("sklearn")
    return {method: fitted(X, method, sample_weight=WEIGHT) for method in MODELS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three files of one table, in three formats."""
    place = tmp_path_factory.mktemp("rows")
    numbers = TABLE.select(["a", "w", "b"])
    parquet.write_table(TABLE.slice(0, 700), place / "part-1.parquet", row_group_size=200)
    feather.write_feather(TABLE.slice(700, 300).select(["b", "text", "a", "w"]), place / "part-2.feather")
    csv.write_csv(numbers.slice(1000), place / "part-3.csv")
    np.save(place / "x.npy", X.astype(np.float32))
    return place


def pieces(folder):
    return [folder / "part-1.parquet", str(folder / "part-2.feather"), folder / "part-3.csv"]


def taken(rows):
    return np.concatenate([block.X.copy() for block in rows.blocks(97)])


@pytest.mark.parametrize("method", MODELS)
def test_lists_and_patterns_of_files(folder, memory, method):
    for data in (pieces(folder), str(folder / "part-*"), folder / "part-?.*"):
        rows = open_rows(data, columns=["a", "b"], sample_weight="w")
        np.testing.assert_array_equal(taken(rows), X)
        model = fitted(rows, method)
        assert_same(model, memory[method])
        # A model takes its columns by their names, in whatever order files have them.
        assert model.feature_names_in_.tolist() == ["a", "b"]
        np.testing.assert_array_equal(model.predict(data), memory[method].predict(X))


def test_columns_of_several_files_are_the_same(folder, tmp_path):
    rows = open_rows([folder / "x.npy", folder / "x.npy"])
    assert rows.dtype is np.float32
    np.testing.assert_array_equal(taken(rows), np.tile(X.astype(np.float32), (2, 1)))
    np.save(tmp_path / "wide.npy", np.ones((3, 5)))
    with pytest.raises(TableError, match=r"same columns, .*wide\.npy has columns: 5, .*x\.npy: 2"):
        open_rows([folder / "x.npy", tmp_path / "wide.npy"])
    csv.write_csv(pyarrow.table({"a": X[:9, 0], "other": X[:9, 1], "w": WEIGHT[:9]}), tmp_path / "other.csv")
    with pytest.raises(TableError, match=r"other\.csv has no column 'b'"):
        open_rows([folder / "part-1.parquet", tmp_path / "other.csv"], columns=["a", "b"])
    csv.write_csv(pyarrow.table({"a": [1.0, np.nan], "b": [1.0, 2.0]}), tmp_path / "gap.csv")
    with pytest.raises(TableError, match=r"gap\.csv: line 3, column 'a': missing value"):
        open_rows([folder / "part-1.parquet", tmp_path / "gap.csv"], columns=["a", "b"])
    with pytest.raises(TableError, match=r"no file matches '.*\*\.parq'"):
        open_rows(str(folder / "*.parq"))
    # A file whose name looks like a pattern is that file.
    np.save(tmp_path / "[1].npy", X)
    np.testing.assert_array_equal(taken(open_rows(tmp_path / "[1].npy")), X)


def test_urls_of_files_and_folders(folder, tmp_path, memory):
    pytest.importorskip("fsspec")
    import fsspec

    lake = fsspec.filesystem("memory")
    for name in ("part-1.parquet", "part-2.feather"):
        lake.pipe(f"/rows/day=1/{name}", (folder / name).read_bytes())
    parquet.write_table(TABLE.slice(1000), tmp_path / "part-3.pq")
    lake.pipe("/rows/day=1/part-3.pq", (tmp_path / "part-3.pq").read_bytes())
    lake.pipe("/rows/_temporary/part-0.parquet", b"")
    rows = open_rows("memory://rows", columns=["a", "b"], sample_weight="w")
    np.testing.assert_array_equal(taken(rows), X)
    assert_same(fitted(rows), memory["em"])
    url = (folder / "part-1.parquet").as_uri()
    np.testing.assert_array_equal(taken(open_rows(url, columns=["a", "b"])), X[:700])
    with pytest.raises(FileNotFoundError, match="memory://rows/none is not there"):
        open_rows("memory://rows/none")
    lake.pipe("/text/a.csv", b"1,2")
    with pytest.raises(TableError, match=r"memory://text is a folder without files of Parquet or Arrow"):
        open_rows("memory://text")
    with pytest.raises(TableError, match=r"memory://text/a\.csv must be a Parquet or Arrow file .*copy others here"):
        open_rows("memory://text/a.csv")
    for marker, name in {"_delta_log/0.json": "a Delta Lake", "metadata/1.metadata.json": "an Iceberg"}.items():
        lake.pipe(f"/rows/{marker}", b"{}")
        for url, where in {"memory://rows": "holds", "memory://rows/day=1": "is inside"}.items():
            with pytest.raises(TableError, match=rf"^X must be a folder of plain files, {url} {where} {name} table"):
                open_rows(url, columns=["a", "b"])
        lake.rm(f"/rows/{marker}")


class Query:
    """What another package gives: an object that begins a new stream each time."""

    def __init__(self, table, *, once=False):
        self._table, self._once, self.n_asked = table, once, 0

    def __arrow_c_stream__(self, requested_schema=None):
        self.n_asked += 1
        table = self._table.slice(0, 0) if self._once and self.n_asked > 2 else self._table
        return pyarrow.RecordBatchReader.from_batches(table.schema, table.to_batches(100)).__arrow_c_stream__()


@pytest.mark.skipif(not hasattr(pyarrow.RecordBatchReader, "from_stream"), reason="pyarrow before 15 knows no streams")
@pytest.mark.parametrize("method", MODELS)
def test_objects_that_give_arrow_streams(memory, method):
    query = Query(TABLE.drop_columns(["text"]))
    model = fitted(query, method, sample_weight="w")
    assert_same(model, memory[method])
    # The schema, the look at all rows, and passes: each asks for a stream of its own, nothing is kept.
    assert query.n_asked > model.n_iter_
    assert model.feature_names_in_.tolist() == ["a", "b"]
    np.testing.assert_array_equal(model.predict(Query(TABLE)), memory[method].predict(X))


@pytest.mark.skipif(not hasattr(pyarrow.RecordBatchReader, "from_stream"), reason="pyarrow before 15 knows no streams")
def test_streams_that_end_or_hold_no_numbers_are_refused():
    with pytest.raises(TableError, match="X has 0 rows in this pass, 1500 when it was first read"):
        fitted(Query(TABLE.select(["a", "b"]), once=True))
    with pytest.raises(TableError, match=r"the Query.*text"):
        fitted(Query(TABLE))
    with pytest.raises(TableError, match="the Query: row 8, column 'a': missing value"):
        fitted(Query(pyarrow.table({"a": [*X[:7, 0], None], "b": X[:8, 1]})))


def test_queries_of_duckdb(memory, tmp_path):
    duckdb = pytest.importorskip("duckdb")
    base = duckdb.connect()
    base.register("numbers", TABLE)
    query = base.sql("select a, b, w from numbers")
    model = fitted(query, sample_weight="w")
    assert_same(model, memory["em"])
    np.testing.assert_array_equal(model.predict(base.sql("select b, a from numbers")), memory["em"].predict(X))


@pytest.mark.parametrize("package", ["h5py", "zarr"])
@pytest.mark.parametrize("method", MODELS)
def test_stores_of_chunks(package, method, tmp_path, memory):
    module = pytest.importorskip(package)
    if package == "h5py":
        store = module.File(tmp_path / "rows.h5", "w")
        data = store.create_dataset("x", data=X, chunks=(130, 1), compression="gzip")
        weight = store.create_dataset("w", data=WEIGHT)
    else:
        store = module.open_group(str(tmp_path / "rows.zarr"), mode="w")
        data, weight = (store.create_array(name, data=each) for name, each in (("x", X), ("w", WEIGHT)))
    for given in (WEIGHT, weight):
        assert_same(fitted(data, method, sample_weight=given), memory[method])
    np.testing.assert_array_equal(memory[method].predict(data), memory[method].predict(X))
    np.testing.assert_array_equal(memory[method].score_samples(data), memory[method].score_samples(X))


def test_stores_are_read_piece_by_piece_and_errors_say_where(tmp_path, monkeypatch):
    h5py = pytest.importorskip("h5py")
    from fastgmm import rows as rows_module

    monkeypatch.setattr(rows_module, "_SCAN_ROWS", 300)
    with h5py.File(tmp_path / "rows.h5", "w") as store:
        holed = X.copy()
        holed[777, 1] = np.nan
        data = store.create_dataset("holed", data=holed, chunks=(130, 2))
        with pytest.raises(TableError, match="X, row 777, column 1: missing value"):
            fitted(data)
        gapped = GaussianMixture(2, missing="marginal", random_state=0).fit(data)
        whole = GaussianMixture(2, missing="marginal", random_state=0).fit(holed)
        np.testing.assert_array_equal(gapped.means_, whole.means_)
        sizes = [len(batch._X) for batch in open_rows(data, missing="marginal")._table.batches()]
        assert sum(sizes) == N_ROWS
        assert {size % 130 for size in sizes[:-1]} == {0}
        assert len(sizes) > 2
        single = store.create_dataset("single", data=X.astype(np.float32))
        assert fitted(single).means_.dtype == np.float32
        for wrong, kind, message in (
            (store.create_dataset("line", data=X[:, 0]), ValueError, r"shape \(n_samples, n_features\).*got \(1500,\)"),
            (store.create_dataset("text", data=np.array([[b"a"]])), TypeError, "real numbers, got a Dataset of"),
            (store, TypeError, re.escape("a File: choose one of those in it, as in X['rows']")),
        ):
            with pytest.raises(kind, match=message):
                fitted(wrong)
        with pytest.raises(ValueError, match="sample_weight must be an array or a data set"):
            fitted(data, sample_weight="w")
        with pytest.raises(TableError, match="sample_weight has 3 weights, X more rows"):
            fitted(single, sample_weight=np.ones(3))


def test_the_command_line_takes_patterns_and_urls(run, folder, tmp_path, memory):
    pytest.importorskip("fsspec")
    for name, part in (("1.parquet", TABLE.slice(0, 700)), ("2.parquet", TABLE.slice(700))):
        parquet.write_table(part, tmp_path / name)
    for data in (str(tmp_path / "*.parquet"), tmp_path.as_uri()):
        options = ("--columns", "a,b", "--weights", "w", "-o", str(tmp_path / "m.json"), "--seed", "0")
        code, _, err = run("fit", data, "-k", "2", *options)
        assert (code, err) == (0, "")
        code, out, _ = run("predict", str(tmp_path / "m.json"), data)
        assert code == 0
        labels = np.array([int(line.split(",")[-1]) for line in out.split()[1:]])
        np.testing.assert_array_equal(labels, memory["em"].predict(X))
