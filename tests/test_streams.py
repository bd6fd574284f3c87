"""Rows from batches and files against the same rows in memory: the same bits, in memory that does not grow."""

import gc
import gzip
import re
import signal
import sys
import threading
import time
import tracemalloc
import weakref
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgmm import BayesianGaussianMixture, GaussianMixture, kernels, rows
from fastgmm.io import TableError, read_table
from fastgmm.passes import layout, single
from fastgmm.rows import ArrayRows
from fastgmm.sources import BatchRows, open_rows
from fastgmm.starts import seeding
from fastgmm.starts.seeding import METHODS

pytestmark = pytest.mark.filterwarnings("ignore:Best performing initialization did not converge")

N_ROWS = 2500
_RNG = np.random.default_rng(5)
X = _RNG.normal(size=(N_ROWS, 2)) + 5.0 * _RNG.integers(0, 2, size=(N_ROWS, 1))
WEIGHT = _RNG.uniform(0.0, 3.0, N_ROWS) * (_RNG.uniform(size=N_ROWS) > 0.1)
ESTIMATORS = {"em": GaussianMixture, "vb": BayesianGaussianMixture}


@pytest.fixture
def small_blocks(monkeypatch):
    """Cut small data into as many blocks as large ones."""
    monkeypatch.setattr(kernels, "block_rows", lambda n_components, n_features, tile: tile)
    monkeypatch.setattr(rows, "_SCAN_ROWS", 300)
    layout.cut.cache_clear()
    yield
    layout.cut.cache_clear()


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = set(threading.enumerate())
    yield
    assert _reading(before) == []


def _reading(before=()):
    return [thread for thread in threading.enumerate() if thread not in before and "read-ahead" in thread.name]


def _cut(array, cuts):
    bounds = [0, *sorted(cuts), len(array)]
    return [array[start:stop] for start, stop in pairwise(bounds)]


def _batches(X=X, weight=None, cuts=(0, 1, 1, 2, 700, 1400, 1500)):
    batches = _cut(X, cuts)
    return BatchRows(batches if weight is None else list(zip(batches, _cut(weight, cuts), strict=True)))


def _assert_same_fit(streamed, whole):
    assert streamed.lower_bounds_ == whole.lower_bounds_
    for name in ("weights_", "means_", "covariances_", "precisions_cholesky_"):
        ours, theirs = getattr(streamed, name), getattr(whole, name)
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    assert [(each.bound, each.outcome) for each in streamed.restarts_] == [
        (each.bound, each.outcome) for each in whole.restarts_
    ]


# --- the same bits -----------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 40), max_size=8),
    n_rows=st.integers(1, 50),
    exponent=st.sampled_from([0, 3]),
    weighted=st.booleans(),
    dtype=st.sampled_from([np.float64, np.float32, np.int64]),
)
def test_blocks_are_those_of_the_array(cuts, n_rows, exponent, weighted, dtype):
    values, weight = (10 * X[:40]).astype(dtype), WEIGHT[:40] if weighted else None
    streamed, whole = _batches(values, weight, cuts), ArrayRows(values, weight)
    assert (streamed.n_rows, streamed.dtype, streamed.is_weighted) == (40, whole.dtype, weighted)
    for name, value in vars(whole.summary).items():
        np.testing.assert_array_equal(getattr(streamed.summary, name), value)
    theirs = list(whole.scaled(exponent).blocks(n_rows))
    for ours, block in zip(streamed.scaled(exponent).blocks(n_rows), theirs, strict=True):
        assert ours.places == block.places
        np.testing.assert_array_equal(ours.X, block.X)
        assert (ours.weight is None) == (block.weight is None)
        if weighted:
            np.testing.assert_array_equal(ours.weight, block.weight)


@pytest.mark.parametrize("method", ESTIMATORS)
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weighted"])
def test_fits_are_those_of_the_array(small_blocks, family, method, weight):
    model = ESTIMATORS[method](2, covariance_type=family.name, random_state=3, max_iter=4)
    whole = model.fit(X, sample_weight=weight)
    expected = {name: np.array(value) for name, value in vars(whole).items() if name.endswith("_")}
    reads = [_batches(X, weight), _batches(X, weight, range(0, N_ROWS, 450)), _batches(X, weight, ())]
    for streamed in reads:
        again = ESTIMATORS[method](2, covariance_type=family.name, random_state=3, max_iter=4).fit(streamed)
        _assert_same_fit(again, whole)
        for name in ("score", "aic", "bic", "evidence_lower_bound"):
            if hasattr(whole, name):
                assert getattr(again, name)(streamed) == getattr(whole, name)(X, sample_weight=weight)
        for name in ("predict", "predict_proba", "score_samples"):
            np.testing.assert_array_equal(getattr(again, name)(streamed), getattr(whole, name)(X))
        np.testing.assert_array_equal(again.fit_predict(streamed), whole.predict(X))
    assert set(expected) <= set(vars(again))


@pytest.mark.parametrize("is_single", [False, True], ids=["float64 arithmetic", "float32 arithmetic"])
def test_float32_stays_float32(small_blocks, monkeypatch, is_single):
    if is_single:
        monkeypatch.setattr(single, "SINGLE_WORK", 1)
    narrow = X.astype(np.float32)
    fit = GaussianMixture(2, random_state=0, max_iter=3)
    whole = GaussianMixture(2, random_state=0, max_iter=3).fit(narrow)
    assert whole.means_.dtype == np.float32
    _assert_same_fit(fit.fit(_batches(narrow)), whole)
    # One wider batch, and all are.
    mixed = [narrow[:100], X[100:200], narrow[200:], np.empty((0, 2))]
    _assert_same_fit(fit.fit(BatchRows(mixed)), GaussianMixture(2, random_state=0, max_iter=3).fit(np.vstack(mixed)))


@pytest.mark.parametrize("init_params", METHODS)
def test_starts_are_those_of_the_array(small_blocks, init_params):
    fit = {"init_params": init_params, "random_state": 1, "max_iter": 2}
    _assert_same_fit(GaussianMixture(2, **fit).fit(_batches(X, WEIGHT)), GaussianMixture(2, **fit).fit(X, None, WEIGHT))


@pytest.mark.parametrize(
    "options",
    [{"n_init": 3}, {"n_init": 3, "race": True}, {"accelerate": "squarem"}, {"accelerate": "anderson"}],
    ids=str,
)
def test_several_starts_and_extrapolation(small_blocks, options):
    fit = {"random_state": 1, "max_iter": 8, "tol": 1e-9, **options}
    _assert_same_fit(GaussianMixture(3, **fit).fit(_batches()), GaussianMixture(3, **fit).fit(X))


def test_starts_share_the_total_scatter():
    def n_passes(family, n_init):
        passes = []

        def read():
            passes.append(1)
            yield X

        options = {"init_params": "random_from_data", "max_iter": 0, "random_state": 0}
        # Starts with a callback take turns: else they share looks, how many of them time decides.
        model = GaussianMixture(2, covariance_type=family, n_init=n_init, **options)
        model.fit(BatchRows(read), callback=lambda *_: None)
        return len(passes)

    assert n_passes("tied", 3) - n_passes("tied", 1) == n_passes("diag", 3) - n_passes("diag", 1)


def test_assignments_and_far_weights(small_blocks):
    labels = (X[:, 0] > 2.5).astype(int)
    fit = {"init_params": labels, "max_iter": 2}
    tiny = 1e-200 * WEIGHT
    _assert_same_fit(GaussianMixture(2, **fit).fit(_batches(X, tiny)), GaussianMixture(2, **fit).fit(X, None, tiny))
    with pytest.raises(ValueError, match="callable needs X as an array in memory"):
        GaussianMixture(2, init_params=lambda X, n, state: labels).fit(_batches())


def test_warm_start(small_blocks):
    streamed, whole = (GaussianMixture(2, random_state=0, max_iter=1, warm_start=True) for _ in range(2))
    source = _batches()
    for _ in range(2):
        _assert_same_fit(streamed.fit(source), whole.fit(X))


def test_batches_are_frames_and_pairs_and_functions():
    pandas = pytest.importorskip("pandas")
    pyarrow = pytest.importorskip("pyarrow")
    names = ["width", "length"]
    frame = pandas.DataFrame(X, columns=names)
    table = pyarrow.table(dict(zip(names, X.T, strict=True)))
    half = N_ROWS // 2

    def read():
        yield frame[:half]
        yield frame[:0]
        yield table[half:]

    weighted = [(frame[:half], WEIGHT[:half]), (table.to_batches()[0][half:], WEIGHT[half:].tolist())]
    for batches in (read, weighted):
        streamed = BatchRows(batches)
        assert list(streamed.names) == names
        np.testing.assert_array_equal(np.concatenate([block.X.copy() for block in streamed.blocks(999)]), X)
    np.testing.assert_array_equal(np.concatenate([block.weight.copy() for block in streamed.blocks(999)]), WEIGHT)
    model = GaussianMixture(2, max_iter=1, random_state=0).fit(BatchRows(read))
    assert list(model.feature_names_in_) == names
    model.predict(frame)
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(BatchRows([frame.rename(columns={"width": "height"})]))
    with pytest.raises(ValueError, match=r"batch 1 has columns \['a', 'b'\], batch 0 has \['width', 'length'\]"):
        BatchRows([frame, pandas.DataFrame({"a": [1.0], "b": [2.0]})])
    with pytest.raises(TypeError, match="got a DataFrame, which is one table"):
        BatchRows(frame)


# --- memory ------------------------------------------------------------------------------------------------------


class _Counted:
    """Makes batches that know how many of their rows are in memory at once."""

    def __init__(self, n_batches, batch_rows):
        self.n_batches, self.batch_rows = n_batches, batch_rows
        self.alive = self.most = 0

    def __iter__(self):
        for number in range(self.n_batches):
            batch = np.random.default_rng(number).normal(size=(self.batch_rows, 2))
            self.alive += 1
            self.most = max(self.most, self.alive)
            weakref.finalize(batch, self.free)
            yield batch

    def free(self):
        self.alive -= 1


def _peak(rows):
    """Return the bytes that a fit of rows takes at most."""
    tracemalloc.start()
    GaussianMixture(2, random_state=0, max_iter=2, init_params="random").fit(rows)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(small_blocks, monkeypatch, tmp_path):
    monkeypatch.setattr(seeding, "SAMPLE_ROWS", 500)
    batches = _Counted(400, 1000)
    streamed = BatchRows(batches)
    _peak(streamed)  # loads code, which takes memory
    batches.most = 0
    most = _peak(streamed)
    # One that is read, one that is made.
    assert batches.most <= 2
    assert most < 400 * 1000 * 16 / 10
    with open(tmp_path / "x.npy", "wb") as file:
        header = {"descr": "<f8", "fortran_order": False, "shape": (400_000, 2)}
        np.lib.format.write_array_header_1_0(file, header)
        for batch in batches:
            file.write(batch.tobytes())
    assert _peak(open_rows(tmp_path / "x.npy")) < 400 * 1000 * 16 / 10


# --- the thread that reads ahead ---------------------------------------------------------------------------------


def test_the_thread_reads_ahead_and_ends_where_nobody_reads_on():
    asked = []

    def read():
        for number in range(50):
            asked.append(number)
            yield X[:10]

    streamed = BatchRows(read)
    asked.clear()
    blocks = streamed.blocks(10)
    next(blocks)
    deadline = time.monotonic() + 10
    while len(asked) < 3 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert len(_reading()) == 1
    blocks.close()
    assert _reading() == []
    assert 3 <= len(asked) <= 5


def test_a_forgotten_pass_ends_its_thread():
    blocks = _batches().blocks(10)
    next(blocks)
    del blocks
    gc.collect()
    assert _reading() == []


def test_an_error_while_reading_is_the_users_own():
    passes = []

    def read():
        passes.append(1)
        yield X[:50]
        if len(passes) > 4:
            raise OSError("the disk is gone")
        yield X[50:]

    model = GaussianMixture(2, random_state=0).fit(X)
    before = dict(vars(model))
    with pytest.raises(OSError, match="the disk is gone") as caught:
        model.fit(BatchRows(read))
    assert [entry.name for entry in caught.traceback][-1] == "read"
    assert vars(model) == before
    assert _reading() == []


class _GoneError(OSError):
    """An error that can be watched."""


def test_what_was_read_is_let_go_of_at_once():
    made = []

    def read():
        batch = X.copy()
        made.append(weakref.ref(batch))
        yield batch
        del batch
        if len(made) > 3:
            raise _GoneError

    streamed = BatchRows(read)
    made.clear()
    gc.disable()
    try:
        blocks = streamed.blocks(10)
        next(blocks)
        blocks.close()
        assert made[-1]() is None
        made.extend(made * 3)
        try:
            BatchRows(read)
        except _GoneError as error:
            gone = weakref.ref(error)
        assert gone() is None
    finally:
        gc.enable()


CHANGED = np.where(np.arange(N_ROWS)[:, None] == 2048, 7.0, X)


@pytest.mark.parametrize(
    "second",
    [X[:2300], np.vstack([X, X[:1]]), X[:, :1], X[::-1], CHANGED],
    ids=["fewer", "more", "narrower", "reversed", "changed"],
)
def test_rows_that_differ_from_the_first_look(second):
    passes = []

    def read():
        passes.append(1)
        yield X if len(passes) < 5 else second

    message = (
        r"2500 when it was first read|batch 0 has 1 columns|other rows or weights in this pass, or in another order"
    )
    with pytest.raises(ValueError, match=message):
        GaussianMixture(2, random_state=0, tol=0).fit(BatchRows(read))


@pytest.mark.parametrize("row", [1, 2048])
def test_weights_that_differ_from_the_first_look(row):
    passes = []

    def read():
        passes.append(1)
        weight = WEIGHT.copy()
        weight[row] += len(passes) > 4
        yield X[:1500], weight[:1500]
        yield X[1500:], weight[1500:]

    with pytest.raises(ValueError, match="X has other rows or weights in this pass"):
        GaussianMixture(2, random_state=0, tol=0).fit(BatchRows(read))


def test_weights_may_be_scaled_twice():
    twice = _batches(weight=WEIGHT).scaled(3).scaled(2)
    np.testing.assert_array_equal(_taken(twice)[1], WEIGHT / 32.0)


def test_numbers_that_are_wider_than_at_the_first_look():
    passes = []

    def read():
        passes.append(1)
        yield X.astype(np.float32 if len(passes) < 5 else np.float64)

    with pytest.raises(ValueError, match="batch 0, row 0, column 0: a float64 number, all were float32"):
        GaussianMixture(2, random_state=0, tol=0).fit(BatchRows(read))


def test_an_interrupt_between_iterations():
    def interrupt(*state):
        raise KeyboardInterrupt

    model = GaussianMixture(2, random_state=0).fit(X)
    before = dict(vars(model))
    with pytest.raises(KeyboardInterrupt):
        model.fit(_batches(), callback=interrupt)
    assert vars(model) == before


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="signals of POSIX")
def test_an_interrupt_while_waiting_for_a_batch():
    passes = []

    def read():
        passes.append(1)
        yield X[:10]
        if len(passes) > 2:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            time.sleep(0.2)
        yield X[10:]

    streamed = BatchRows(read)
    # Who was started in the background of a shell ignores the signal.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            for _ in streamed.blocks(N_ROWS):
                pass
    finally:
        signal.signal(signal.SIGINT, before)
    assert _reading() == []


# --- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("batches", "error", "message"),
    [
        ([X[:3], [[1.0, 2.0], [3.0, np.nan]]], ValueError, "batch 1, row 1, column 1: missing value"),
        ([X[:3], [[1.0, np.inf]]], ValueError, "batch 1, row 0, column 1: inf is not a finite number"),
        ([[["1", "x"]]], ValueError, r"batch 0 must hold numbers: .*'x'.* \(row 0, column 1\)"),
        ([[[1.0, None]]], ValueError, "batch 0, row 0, column 1: missing value"),
        ([X[:3], X[:3, :1]], ValueError, "batch 1 has 1 columns, batch 0 has 2"),
        ([X[0]], ValueError, r"batch 0 must have the shape \(n, D\), got \(2,\)"),
        ([X[:3] * 1j], ValueError, "batch 0 has dtype complex128"),
        ([(X[:3], WEIGHT[:3]), X[:3]], ValueError, "batch 1 has no weights, but batch 0 has"),
        ([X[:3], (X[:3], WEIGHT[:3])], ValueError, "batch 1 has weights, but batch 0 has none"),
        ([(X[:3], [1.0, 2.0])], ValueError, r"the weights of batch 0 must have the shape \(3,\), got \(2,\)"),
        ([(X[:2], [1.0, -2.0])], ValueError, "batch 0, row 1, the weight: weights must be >= 0, got -2.0"),
        ([(X[:2], [1.0, np.nan])], ValueError, "batch 0, row 1, the weight: missing value"),
        ([(X[:2], [0.0, 0.0])], ValueError, "positive for at least one row, got zeros only"),
        ([(X[:2], WEIGHT[:2], 3)], TypeError, "batch 0 must be an array or a pair"),
        ([X[:0]], ValueError, "hold no rows"),
        ([], ValueError, "at least one batch"),
        ([np.empty((3, 0))], ValueError, "batch 0 has no columns"),
        (3, TypeError, "batches must be an iterable of arrays, got int"),
        (X, TypeError, "got a ndarray, which is one table"),
        ("rows.npy", TypeError, "got a str, which is one table"),
        (lambda: None, TypeError, "batches must return an iterator over arrays, got NoneType"),
        ([None], ValueError, r"batch 0 must have the shape \(n, D\), got \(\)"),
        (iter([X]), TypeError, r"(?s)batches must not be a list_iterator.*def batches\(\)"),
    ],
)
def test_bad_batches(batches, error, message):
    with pytest.raises(error, match=message):
        BatchRows(batches)


def test_what_can_be_read_but_once_is_refused_by_fit():
    with pytest.raises(TypeError, match=r"X must not be a generator.*BatchRows"):
        GaussianMixture(2).fit(batch for batch in [X])


def test_stream_checks_of_the_estimator():
    with pytest.raises(ValueError, match="minimum of 2 is required"):
        GaussianMixture(1).fit(BatchRows([X[:1]]))
    with pytest.raises(ValueError, match="n_samples >= n_components"):
        GaussianMixture(5).fit(BatchRows([X[:4]]))
    with pytest.raises(ValueError, match="rows that have their own weights"):
        GaussianMixture(2).fit(_batches(), sample_weight=WEIGHT)
    model = GaussianMixture(2, random_state=0, max_iter=1).fit(X)
    with pytest.raises(ValueError, match="X has 1 features, but GaussianMixture is expecting 2"):
        model.predict(BatchRows([X[:, :1]]))
    with pytest.raises(ValueError, match="columns can be chosen of files"):
        open_rows(X, columns=["a"])
    with pytest.raises(ValueError, match=r"which lines of a CSV file are skipped, X is a ndarray"):
        open_rows(X, comment="#")


# --- .npy --------------------------------------------------------------------------------------------------------


def _taken(streamed):
    """Return all rows of a stream and all weights, whatever these are."""
    blocks = [(block.X.copy(), None if block.weight is None else block.weight.copy()) for block in streamed.blocks(700)]
    weights = None if blocks[0][1] is None else np.concatenate([weight for _, weight in blocks])
    return np.concatenate([values for values, _ in blocks]), weights


@pytest.mark.parametrize("dtype", ["f8", "f4", ">f8", ">f4", "f2", "i8", "u1", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_numpy_file(tmp_path, small_blocks, dtype, order):
    values = np.asarray(np.abs(10 * X), dtype=dtype, order=order)
    np.save(tmp_path / "x.npy", values)
    streamed = open_rows(str(tmp_path / "x.npy"))
    found, weight = _taken(streamed)
    assert found.dtype == ArrayRows(values).dtype
    np.testing.assert_array_equal(found, values.astype(found.dtype))
    assert weight is None
    assert streamed.names is None
    chosen, _ = _taken(open_rows(tmp_path / "x.npy", columns=["2", "1"]))
    np.testing.assert_array_equal(chosen, found[:, ::-1])


def test_numpy_file_of_one_dimension_and_weights(tmp_path):
    np.save(tmp_path / "x.npy", X[:, 0])
    np.save(tmp_path / "w.npy", WEIGHT.astype(np.float32))
    for given_weight in (str(tmp_path / "w.npy"), tmp_path / "w.npy", WEIGHT.astype(np.float32)):
        found, weight = _taken(open_rows(tmp_path / "x.npy", given_weight))
        np.testing.assert_array_equal(found, X[:, :1])
        np.testing.assert_array_equal(weight, WEIGHT.astype(np.float32))
    for size, message in ((N_ROWS - 1, "2499 weights, X more rows"), (N_ROWS + 1, "2501 weights, X 2500 rows")):
        with pytest.raises(ValueError, match=message):
            open_rows(tmp_path / "x.npy", np.ones(size))
    bad = np.where(np.arange(N_ROWS) == 77, -1.0, 1.0)
    with pytest.raises(ValueError, match=r"sample_weight, row 77, column 0: weights must be >= 0, got -1.0"):
        open_rows(tmp_path / "x.npy", bad)
    np.save(tmp_path / "w.npy", bad)
    with pytest.raises(ValueError, match=r"w\.npy: row 78, column '1': weights must be >= 0"):
        open_rows(tmp_path / "x.npy", tmp_path / "w.npy")
    np.save(tmp_path / "w.npy", np.ones((N_ROWS, 2)))
    with pytest.raises(ValueError, match="sample_weight must be one column"):
        open_rows(tmp_path / "x.npy", tmp_path / "w.npy")


def test_numpy_file_that_is_none(tmp_path):
    path = tmp_path / "x.npy"
    with pytest.raises(FileNotFoundError, match=r"x\.npy"):
        open_rows(path)
    path.write_text("1,2\n")
    with pytest.raises(ValueError, match=r"x\.npy is not a NumPy file of numbers"):
        open_rows(path)
    np.save(path, np.empty((0, 2)))
    with pytest.raises(ValueError, match="hold no rows"):
        open_rows(path)
    bad = X.copy()
    bad[2000, 1] = np.nan
    np.save(path, bad)
    with pytest.raises(ValueError, match=r"x\.npy: row 2001, column '2': missing value"):
        GaussianMixture(2).fit(path)
    np.save(path, X)
    streamed = open_rows(path)
    with open(path, "r+b") as file:
        file.truncate(10_000)
    with pytest.raises(ValueError, match=r"x\.npy ends too early"):
        GaussianMixture(2).fit(streamed)
    with pytest.raises(ValueError, match=r"X must be an array or a path to a table .* got 'x.xlsx'"):
        GaussianMixture(2).fit("x.xlsx")


def test_a_mapped_array_is_an_array(tmp_path):
    np.save(tmp_path / "x.npy", X)
    fit = {"random_state": 0, "max_iter": 2}
    whole = GaussianMixture(2, **fit).fit(X)
    _assert_same_fit(GaussianMixture(2, **fit).fit(np.load(tmp_path / "x.npy", mmap_mode="r")), whole)
    _assert_same_fit(GaussianMixture(2, **fit).fit(tmp_path / "x.npy"), whole)


# --- pyarrow -----------------------------------------------------------------------------------------------------

NAMES = ["width", "the.length"]


@pytest.fixture
def table():
    """The rows as a table with a column that is text and one of weights."""
    pyarrow = pytest.importorskip("pyarrow")
    columns = dict(zip(NAMES, X.T, strict=True))
    return pyarrow.table({"kind": pyarrow.array(["a"] * N_ROWS), **columns, "w": WEIGHT})


def _written(table, path):
    import pyarrow
    from pyarrow import feather, parquet

    if path.suffix == ".parquet":
        parquet.write_table(table, path, row_group_size=700)
    elif path.suffix == ".feather":
        feather.write_feather(table, str(path), chunksize=600)
    else:
        new = pyarrow.ipc.new_stream if path.stem == "stream" else pyarrow.ipc.new_file
        with pyarrow.OSFile(str(path), "wb") as file, new(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=900)
    return path


def _sources(table, folder):
    import pyarrow.dataset

    yield table
    yield table.combine_chunks().to_batches()[0]
    for name in ("t.parquet", "t.feather", "t.arrow", "stream.arrow"):
        yield _written(table, folder / name)
    parts = folder / "parts"
    (parts / "_temporary").mkdir(parents=True)
    _written(table[:1100], parts / "a.parquet")
    _written(table[1100:1100], parts / "b.parquet")
    _written(table[1100:], parts / "c.arrow")
    (parts / "_SUCCESS").write_text("")
    _written(table, parts / "_temporary" / "d.parquet")
    yield parts
    yield pyarrow.dataset.dataset(folder / "t.parquet")
    yield pyarrow.dataset.dataset(folder / "t.parquet").filter(pyarrow.dataset.field("w") >= 0)


def test_every_kind_of_table_holds_the_same_rows(table, tmp_path, small_blocks):
    for source in _sources(table, tmp_path):
        streamed = open_rows(source, columns=NAMES, sample_weight="w")
        assert list(streamed.names) == NAMES
        found, weight = _taken(streamed)
        np.testing.assert_array_equal(found, X)
        np.testing.assert_array_equal(weight, WEIGHT)
        plain = open_rows(source, columns=["the.length"])
        np.testing.assert_array_equal(_taken(plain)[0], X[:, 1:])
        assert not plain.is_weighted
        with pytest.raises(ValueError, match=r"column 'kind' holds values of type string, not numbers"):
            open_rows(source)
        with pytest.raises(ValueError, match=r"has no column 'height': it has kind, width, the.length, w"):
            open_rows(source, columns=["height"])


def test_a_fit_of_a_file_is_that_of_its_columns(table, tmp_path, small_blocks):
    path = _written(table.drop_columns(["kind", "w"]), tmp_path / "t.parquet")
    fit = {"random_state": 0, "max_iter": 3}
    whole = GaussianMixture(2, **fit).fit(X)
    streamed = GaussianMixture(2, **fit).fit(path)
    _assert_same_fit(streamed, whole)
    assert list(streamed.feature_names_in_) == NAMES
    np.testing.assert_array_equal(streamed.predict_proba(path), whole.predict_proba(X))
    assert streamed.bic(str(path)) == whole.bic(X)
    other = _written(table.select(["w", "width"]), tmp_path / "other.parquet")
    with pytest.raises(ValueError, match=r"no column 'the.length', which the model was fitted on: it has w, width$"):
        streamed.predict(other)
    # Names may look like numbers.
    pandas = pytest.importorskip("pandas")
    numbered = GaussianMixture(2, **fit).fit(pandas.DataFrame(X, columns=["0", "1"]))
    pandas.DataFrame(X[:, ::-1], columns=["1", "0"]).to_csv(tmp_path / "n.csv", index=False)
    with pytest.warns(UserWarning, match=r"The first line of .*n.csv is taken for the names of its columns"):
        probabilities = numbered.predict_proba(tmp_path / "n.csv")
    np.testing.assert_allclose(probabilities, whole.predict_proba(X), rtol=1e-12)
    # Of other columns, and in another order, those of the model are taken.
    wider = _written(table.select(["kind", *reversed(NAMES), "w"]), tmp_path / "wider.parquet")
    np.testing.assert_array_equal(streamed.predict_proba(wider), whole.predict_proba(X))
    assert streamed.score(wider, sample_weight="w") == whole.score(X, sample_weight=np.asarray(table["w"]))
    weighted = GaussianMixture(2, **fit).fit(open_rows(other, sample_weight="w"))
    _assert_same_fit(weighted, GaussianMixture(2, **fit).fit(X[:, :1], None, WEIGHT))
    _assert_same_fit(GaussianMixture(2, **fit).fit(path, sample_weight=WEIGHT), whole.fit(X, None, WEIGHT))


def test_types_of_columns(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    whole = np.arange(6)
    columns = {
        "f4": pyarrow.array(whole, pyarrow.float32()),
        "i8": pyarrow.array(whole),
        "u1": pyarrow.array(whole, pyarrow.uint8()),
        "bool": pyarrow.array(whole > 2),
        "decimal": pyarrow.array(whole.tolist()).cast(pyarrow.decimal128(21, 1)),
    }
    streamed = open_rows(pyarrow.table(columns))
    assert streamed.dtype is np.float64
    np.testing.assert_array_equal(_taken(streamed)[0], np.c_[whole, whole, whole, whole > 2, whole])
    assert open_rows(pyarrow.table(columns), columns=["f4"], sample_weight="i8").dtype is np.float32
    parts = [_written(pyarrow.table({"a": columns[name]}), tmp_path / f"{name}.parquet") for name in ("f4", "i8")]
    assert open_rows(parts[0]).dtype is np.float32
    assert open_rows(tmp_path).dtype is np.float64


def test_nulls_are_named_by_file_row_and_column(table, tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    values = pyarrow.array([1.0, None, 3.0])
    _written(pyarrow.table({"a": [1.0, 2.0], "b": [1, 2]}), tmp_path / "1.parquet")
    _written(pyarrow.table({"a": [1.0, 2.0, 3.0], "b": values}), tmp_path / "2.parquet")
    with pytest.raises(ValueError, match=r"2\.parquet: row 2, column 'b': missing value"):
        open_rows(tmp_path)
    whole = pyarrow.table({"a": [1.0, 2.0, 3.0], "b": pyarrow.array([1, 2, None])})
    with pytest.raises(ValueError, match=r"the table: row 3, column 'b': missing value"):
        GaussianMixture(1).fit(whole)
    with pytest.raises(ValueError, match=r"row 3, column 'b': missing value"):
        open_rows(whole, sample_weight="b")
    _written(pyarrow.table({"a": [1.0], "c": [1.0]}), tmp_path / "3.parquet")
    with pytest.raises(ValueError, match=r"3\.parquet has no column 'b'"):
        open_rows(tmp_path)


@pytest.mark.parametrize("name", [None, "id"])
def test_the_index_of_a_data_frame_is_no_feature(tmp_path, name):
    pandas, pyarrow = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    frame = pandas.DataFrame(X, columns=["a", "b"])
    path, label = tmp_path / "t.parquet", name or "__index_level_0__"
    frame[frame["a"] > 0].rename_axis(name).to_parquet(path)
    message = rf"column '{label}' of .* was the index of a data frame; does it number the rows\?"
    for read in (GaussianMixture(2).fit, read_table):
        with pytest.raises(ValueError, match=message):
            read(path)
    with pytest.raises(ValueError, match=message):
        open_rows(pyarrow.Table.from_pandas(frame[frame["a"] > 0].rename_axis(name)))
    assert open_rows(path, columns=["b", label]).n_features == 2
    frame.to_parquet(path)
    assert list(open_rows(path).names) == ["a", "b"]


def test_what_is_no_table(tmp_path, table):
    from pyarrow import dataset

    for name, kind in (("t.parquet", "a Parquet file"), ("t.arrow", "an Arrow file")):
        (tmp_path / name).write_text("a,b\n1,2\n")
        with pytest.raises(ValueError, match=rf"{name} cannot be read as {kind}"):
            open_rows(tmp_path / name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty is a folder without files of Parquet or Arrow"):
        open_rows(tmp_path / "empty")
    for once in (table.to_reader(), dataset.Scanner.from_batches(table.to_reader())):
        with pytest.raises(TypeError, match=f"X must not be a {type(once).__name__}"):
            GaussianMixture(1).fit(once)
    with pytest.raises(TypeError, match="columns must be a list of names"):
        open_rows(table, columns="width")


FORMATS = {
    "_delta_log/00000000000000000000.json": r"a Delta Lake table .*give deltalake\.DeltaTable\('.*lake'\)",
    "metadata/00001-5f.metadata.json": r"an Iceberg table .*give scan\(\)\.to_arrow\(\) of pyiceberg's table at '.*ke'",
    "metadata/v2.gz.metadata.json": "an Iceberg table",
    "metadata/v2.metadata.json.gz": "an Iceberg table",
    ".hoodie/hoodie.properties": r"a Hudi table .*give spark\.read\.format\('hudi'\)\.load\('.*lake'\)",
    "snapshot/snapshot-1": r"a Paimon table .*give spark\.read\.format\('paimon'\)\.load\('.*lake'\)",
    "_spark_metadata/0": r"the output of a Spark stream .*give spark\.read\.parquet\('.*lake'\)",
}


@pytest.mark.parametrize("marker", FORMATS)
@pytest.mark.parametrize("parts", [".", "data/day=1"])
def test_a_folder_of_a_table_with_a_log_is_refused(tmp_path, monkeypatch, marker, parts):
    """Its files hold deleted and overwritten rows as well, which only its log tells from those that count."""
    pyarrow = pytest.importorskip("pyarrow")
    lake = tmp_path / "above" / "lake"
    (lake / parts / "hour=0").mkdir(parents=True)
    numbers = pyarrow.table({"a": X[:50, 0], "b": X[:50, 1]})
    _written(numbers, lake / parts / "1.parquet")
    _written(numbers, lake / parts / "hour=0" / "2.parquet")
    assert len(_taken(open_rows(lake))[0]) == 100
    model = GaussianMixture(2, random_state=0, max_iter=1).fit(lake)
    (lake / marker).parent.mkdir()
    (lake / marker).write_text("{}")
    (tmp_path / "link").symlink_to(lake / parts, target_is_directory=True)
    monkeypatch.chdir(lake / parts)
    places = {lake: "is", tmp_path / "above": "holds", tmp_path: "holds", lake / parts / "hour=0": "is inside"}
    places |= dict.fromkeys([Path(), tmp_path / "link"], "is" if parts == "." else "is inside")
    for path, where in places.items():
        message = rf"^X must be a folder of plain files, {re.escape(str(path))} {where} {FORMATS[marker]}"
        for call in (open_rows, GaussianMixture(2).fit, model.predict, model.score):
            with pytest.raises(TableError, match=message):
                call(path)
    # A table without files of its own kind is told from an empty folder.
    (lake / parts / "1.parquet").unlink()
    (lake / parts / "hour=0" / "2.parquet").rename(tmp_path / "2.parquet")
    with pytest.raises(TableError, match=FORMATS[marker]):
        open_rows(lake)
    # A file by its own name is the user's choice, and what is beside a table is no part of it.
    _written(numbers, lake / parts / "1.parquet")
    assert open_rows(lake / parts / "1.parquet").n_rows == 50
    (tmp_path / "beside").mkdir()
    (tmp_path / "2.parquet").rename(tmp_path / "beside" / "2.parquet")
    assert open_rows(tmp_path / "beside").n_rows == 50


def test_folders_with_dates_in_their_names_are_no_table(tmp_path):
    """Backups, say, beside the folder of a parent's."""
    pyarrow = pytest.importorskip("pyarrow")
    (tmp_path / "snapshot" / "snapshot-2024-01-01").mkdir(parents=True)
    (tmp_path / "metadata" / "1.metadata.json").mkdir(parents=True)
    (tmp_path / "features").mkdir()
    _written(pyarrow.table({"a": X[:50, 0], "b": X[:50, 1]}), tmp_path / "features" / "1.parquet")
    assert open_rows(tmp_path / "features").n_rows == 50


def test_the_command_line_refuses_a_folder_of_a_table_with_a_log(run, tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    (tmp_path / "lake" / "_delta_log").mkdir(parents=True)
    _written(pyarrow.table({"a": X[:50, 0], "b": X[:50, 1]}), tmp_path / "lake" / "1.parquet")
    code, out, err = run("fit", str(tmp_path / "lake"), "-k", "2")
    assert (code, out) == (1, "")
    assert "lake is a Delta Lake table" in err
    assert "a folder that the rows were written to as plain Parquet" in err


@pytest.mark.parametrize(("name", "extra"), [("t.arrow", "arrow"), ("t.parquet", "parquet")])
def test_without_pyarrow(tmp_path, monkeypatch, name, extra):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / name).write_text("a,b\n1,2\n")
    with pytest.raises(ImportError, match=rf'pip install "fastgmm\[{extra}\]"'):
        GaussianMixture(1).fit(tmp_path / name)


CSV = "\n".join(f"{x!r},t,{y!r}" for x, y in X[:500].tolist())


@pytest.mark.parametrize(
    ("name", "text", "names"),
    [
        ("t.csv", "a,kind,b\n" + CSV, ["a", "b"]),
        ("t.csv", "\n  \na,kind,b\n\n" + CSV + "\n\n", ["a", "b"]),
        ("t.csv", CSV.replace(",t,", ";t;") + "\n", ["1", "3"]),
        ("t.csv", CSV.replace(",t,", " t "), ["1", "3"]),
        ("t.tsv", "a\tkind\tb\n" + CSV.replace(",", "\t"), ["a", "b"]),
        ("t.csv.gz", "a,kind,b\n" + CSV, ["a", "b"]),
        ("t.csv", "\ufeffa,kind,b\r\n" + CSV.replace("\n", "\r\n"), ["a", "b"]),
    ],
)
def test_csv(tmp_path, name, text, names):
    path, encoded = tmp_path / name, text.encode()
    path.write_bytes(gzip.compress(encoded) if name.endswith(".gz") else encoded)
    streamed = open_rows(path, columns=names)
    np.testing.assert_array_equal(_taken(streamed)[0], X[:500])
    assert streamed.names is None if names[0] == "1" else list(streamed.names) == names
    weighted, weight = _taken(open_rows(path, columns=names[:1], sample_weight=np.arange(500.0)))
    np.testing.assert_array_equal(weighted, X[:500, :1])
    np.testing.assert_array_equal(weight, np.arange(500.0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n3,\n", r"t\.csv: line 3, column 'b': missing value"),
        ("a,b\n1,2\n3,x\n", r"t\.csv: line 3, column 'b': 'x' is not a number"),
        ("a,b\n1,2\n3\n", r"t\.csv: line 3 has 1 columns, the first row has 2"),
        ("a,b\n1,2\n3,-inf\n", r"t\.csv: line 3, column 'b': '-inf' is not a finite number"),
        ("a,b\n1,2\n#3,4\n", r"t\.csv: line 3, column 'a': '#3' is not a number"),
        ("", r"t\.csv is empty"),
        ("a,b\n", r"hold no rows"),
    ],
)
def test_bad_csv(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        open_rows(tmp_path / "t.csv")


def test_comments_of_csv_are_lines_that_begin_as_the_user_says(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("# by hand\na,w\n#1,1\n1,2\n#3,4\n5,6\n")
    rows = open_rows(str(path), "w", comment="#")
    for _ in range(2):
        values, weights = _taken(rows)
        np.testing.assert_array_equal(values, [[1.0], [5.0]])
        np.testing.assert_array_equal(weights, [2.0, 6.0])
    with pytest.raises(TableError, match=r"t\.csv: line 2 has 2 columns, the first row has 1"):
        open_rows(path)
    for comment in ("", "#\n", 3):
        with pytest.raises(ValueError, match="comment must be a text that lines can begin with, got "):
            open_rows(path, comment=comment)
    np.save(tmp_path / "t.npy", X)
    with pytest.raises(ValueError, match=r"which lines of a CSV file are skipped, X is '.*t\.npy'"):
        open_rows(tmp_path / "t.npy", comment="#")


def test_the_weights_of_csv_and_what_is_wrong_with_them(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,w,b\n#x,1,2\n\n#y,3,4\n")
    X, weight = _taken(open_rows(path, columns=["b"], sample_weight="w"))
    np.testing.assert_array_equal(np.c_[X, weight], [[2, 1], [4, 3]])
    path.write_text("a,w\n1,1\n\n2,-3\n")
    with pytest.raises(TableError, match=r"t\.csv: line 4, column 'w': weights must be >= 0, got -3"):
        open_rows(path, sample_weight="w")


def test_csv_that_changes_its_columns_between_passes(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,2\n3,4\n")
    rows = open_rows(path)
    path.write_text("b,a\n1,2\n3,4\n")
    with pytest.raises(TableError, match="has other columns than when it was first read"):
        _taken(rows)


@pytest.mark.slow
def test_the_page_about_sources_runs(tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    page = Path(__file__).parents[1] / "docs" / "sources.md"
    if not page.exists():
        pytest.skip("needs a checkout")
    monkeypatch.chdir(tmp_path)
    names = {}
    text = page.read_text().partition("\n## Dask")[0]
    blocks = re.findall(r"(?:<!-- needs (\w+) -->\n)?```python\n(.*?)```", text, re.DOTALL)
    for needs, block in blocks:
        if not needs or find_spec(needs):
            exec(block, names)
    assert [needs for needs, _ in blocks if needs] == ["duckdb", "h5py"]
    assert len(blocks) == 8
    np.testing.assert_array_equal(names["labels"], names["model"].fit(names["X"]).predict(names["X"]))


# --- the command line --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_command_line(run, table, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr("fastgmm.cli.inputs.PREDICT_BLOCK_ROWS", 1000)
    monkeypatch.setattr("fastgmm.cli.commands.PLOT_ROWS", 500)
    wanted = "--columns", ",".join(NAMES), "--weights", "w"
    _written(table, tmp_path / "t.parquet")
    (tmp_path / "parts").mkdir()
    _written(table[:900], tmp_path / "parts" / "1.arrow")
    _written(table[900:], tmp_path / "parts" / "2.parquet")
    np.save("t.npy", np.c_[X, WEIGHT])
    np.savez("t.npz", np.c_[X, WEIGHT])
    outputs = {}
    for data, options in (
        ("t.parquet", wanted),
        ("parts", wanted),
        ("t.npy", ("--weights", "3")),
        ("t.npz", ("--weights", "3")),
    ):
        fit = "fit", data, *options, "-k", 2, "-o", "m.json", "--labels", "l.csv", "--plot", "p.png"
        code, out, err = run(*fit)
        assert (code, err) == (0, "")
        labels = np.loadtxt("l.csv", skiprows=1)
        scored = run("score", "m.json", data, *options)[1]
        predicted = run("predict", "m.json", data, *options[:2], "--scores")[1] if data != "t.npy" else ""
        lines = [line for line in out.splitlines() if "iterations" not in line and "component " not in line]
        outputs[data] = lines, labels.tolist(), scored, predicted
    assert outputs["t.parquet"][1:] == outputs["parts"][1:]
    assert outputs["t.npy"][1] == outputs["t.npz"][1] == outputs["parts"][1]
    assert outputs["t.npy"][2] == outputs["t.npz"][2] == outputs["parts"][2]
    assert outputs["t.parquet"][0] == outputs["parts"][0]
    assert f"{N_ROWS} rows, 2 columns" in outputs["parts"][0][0]
    assert len(outputs["parts"][3].splitlines()) == N_ROWS + 1
    assert (tmp_path / "p.png").stat().st_size > 0


def test_command_line_says_what_may_help(run, tmp_path):
    np.save("t.npy", np.array([[1.0, 2.0], [np.nan, 3.0], [4.0, 5.0]]))
    code, _, err = run("fit", "t.npy", "-k", 1)
    assert (code, err) == (
        1,
        "fastgmm: error: t.npy: row 2, column '1': missing value (leave out such rows with --drop-missing, or fit with "
        "--missing marginal)\n",
    )
    code, out, _ = run("fit", "t.npy", "-k", 1, "--drop-missing")
    assert code == 0
    assert "2 rows, 2 columns" in out
    (tmp_path / "empty").mkdir()
    code, _, err = run("fit", "empty", "-k", 1, "--drop-missing")
    assert (code, err) == (1, "fastgmm: error: empty: --drop-missing is not for folders and Arrow files\n")
