"""Dask collections against the same rows in one array: every partition, every form, a lost worker."""

import itertools
import operator
import os
import pickle
import re
import signal
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import draw, random_mixture, slow
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgmm import BayesianGaussianMixture, GaussianMixture
from fastgmm.exceptions import OutOfRangeError
from fastgmm.families import FAMILIES
from fastgmm.passes.expectation import Expectation
from fastgmm.passes.scores import Score, refuse_far_rows
from fastgmm.rows import ArrayRows, scan
from fastgmm.sources.partitions import Columns, Known, PartitionReader, census
from fastgmm.starts.seeding import METHODS

dask = pytest.importorskip("dask", minversion="2025.12")
pytest.importorskip("distributed")
pd = pytest.importorskip("pandas")
da = pytest.importorskip("dask.array")
dd = pytest.importorskip("dask.dataframe")

from fastgmm.sources.dask import FAN_IN, DaskRows  # noqa: E402

N = 700
PARAMS = {"n_components": 3, "random_state": 0, "tol": 1e-6, "max_iter": 300}


@pytest.fixture(autouse=True)
def _synchronous():
    with dask.config.set(scheduler="synchronous"):
        yield


def _data():
    rng = np.random.default_rng(11)
    weights, means, covariances = random_mixture(rng, FAMILIES["full"], 3, 2)
    X = draw(rng, weights, 3 * means, covariances, N)
    weight = rng.uniform(0.2, 3.0, N)
    weight[rng.random(N) < 0.1] = 0.0
    return X, weight


X, WEIGHT = _data()


def _chunks(n_partitions, seed=5, n_rows=N):
    """Return sizes of partitions, some of them empty where there are several."""
    rng = np.random.default_rng(seed)
    sizes = np.diff(np.sort(np.r_[0, rng.integers(0, n_rows + 1, n_partitions - 1), n_rows]))
    if n_partitions > 2:
        sizes[1] += sizes[2]
        sizes[2] = 0
    return tuple(sizes.tolist())


def _cuts(n_partitions):
    sizes = _chunks(n_partitions)
    return [slice(end - size, end) for size, end in zip(sizes, np.cumsum(sizes).tolist(), strict=True)]


def _array(values, n_partitions=7):
    return da.from_array(values, chunks=(_chunks(n_partitions), *values.shape[1:]))


def _batches(n_partitions=7, form=lambda X, weight: X):
    return [dask.delayed(form)(X[rows], WEIGHT[rows]) for rows in _cuts(n_partitions)]


def _frame(values, names="ab"):
    return pd.DataFrame(values, columns=list(names))


def _assert_same(one, other, rtol=1e-10):
    assert one.n_iter_ == other.n_iter_
    assert one.converged_ == other.converged_
    names = [name for name in vars(one) if name.endswith("_") and not name.startswith(("_", "restarts", "stop"))]
    assert "covariances_" in names
    for name in names:
        expected = getattr(other, name)
        if np.asarray(expected).dtype.kind == "f" and np.size(expected):
            scale = np.abs(expected).max()
            np.testing.assert_allclose(getattr(one, name), expected, rtol=rtol, atol=rtol * scale, err_msg=name)
    assert [each.outcome for each in one.restarts_] == [each.outcome for each in other.restarts_]


def _bits(model):
    return pickle.dumps([getattr(model, name) for name in ("weights_", "means_", "covariances_", "lower_bounds_")])


@pytest.mark.parametrize("estimator", [GaussianMixture, *slow(BayesianGaussianMixture)])
def test_a_fit_is_that_of_the_array(family, estimator):
    params = PARAMS | {"covariance_type": family.name}
    for weight in (None, WEIGHT):
        expected = estimator(**params).fit(X, sample_weight=weight)
        for n_partitions in (1, 2, 7, 100):
            weights = None if weight is None else _array(weight, n_partitions)
            _assert_same(estimator(**params).fit(_array(X, n_partitions), sample_weight=weights), expected)


LABELS = (X[:, 0] > np.median(X[:, 0])).astype(int) + (X[:, 1] > np.median(X[:, 1]))
RESPONSIBILITIES = np.random.default_rng(3).dirichlet(np.ones(3), N)


@pytest.mark.parametrize("init", [*METHODS, LABELS, RESPONSIBILITIES], ids=lambda init: str(init)[:12])
def test_a_start_is_that_of_the_array(init):
    params = PARAMS | {"init_params": init, "max_iter": 0}
    expected = GaussianMixture(**params).fit(X, sample_weight=WEIGHT)
    _assert_same(GaussianMixture(**params).fit(_array(X), sample_weight=_array(WEIGHT)), expected)


@pytest.mark.parametrize("more", [{"n_init": 4}, {"n_init": 4, "race": True}, {"accelerate": "anderson"}], ids=str)
def test_starts_and_extrapolations_are_those_of_the_array(more):
    params = PARAMS | more
    _assert_same(GaussianMixture(**params).fit(_array(X)), GaussianMixture(**params).fit(X))


def test_a_callable_start_needs_an_array():
    with pytest.raises(ValueError, match="init_params as a callable needs X as an array in memory"):
        GaussianMixture(2, init_params=lambda X, k, rng: X[:, 0] > 0).fit(_array(X))


FORMS = {
    "array": lambda: (_array(X), _array(WEIGHT)),
    "array, other chunks of weights": lambda: (_array(X), da.from_array(WEIGHT, chunks=100)),
    "array, weights in memory": lambda: (_array(X), WEIGHT),
    "array, chunked columns": lambda: (da.from_array(X, chunks=(100, 1)), _array(WEIGHT)),
    "array, unknown chunks": lambda: (
        dd.from_pandas(_frame(X), npartitions=4).values,
        dd.from_pandas(pd.Series(WEIGHT), npartitions=4).values,
    ),
    "array, a series": lambda: (
        dd.from_pandas(_frame(X), npartitions=4).values,
        dd.from_pandas(pd.Series(WEIGHT), npartitions=4),
    ),
    "frame, a series": lambda: (
        dd.from_pandas(_frame(X), npartitions=4),
        dd.from_pandas(pd.Series(WEIGHT), npartitions=4),
    ),
    "frame, a column": lambda: (dd.from_pandas(_frame(np.c_[X, WEIGHT], "abw"), npartitions=4), "w"),
    "frame, its own column": lambda: _frame_with_its_column(),
    "batches": lambda: (_batches(), _batches(form=lambda X, weight: weight)),
    "batches, frames": lambda: (_batches(form=lambda X, weight: _frame(np.c_[X, weight], "abw")), "w"),
    "batches, pairs": lambda: (_batches(form=lambda X, weight: (X, weight)), None),
    "one batch": lambda: (dask.delayed(X), dask.delayed(WEIGHT)),
}


def _frame_with_its_column():
    frame = dd.from_pandas(_frame(np.c_[X, WEIGHT], "abw"), npartitions=4)
    return frame[["a", "b"]], frame["w"]


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_of_rows_and_weights(form):
    data, weight = FORMS[form]()
    rows = DaskRows(data, weight)
    summary = rows.summary
    expected = ArrayRows(X, WEIGHT).summary
    np.testing.assert_allclose(summary.weight, expected.weight, rtol=1e-14)
    np.testing.assert_array_equal(summary.first, expected.first)
    assert (summary.n_rows, summary.n_weighted, summary.place) == (N, expected.n_weighted, expected.place)
    for drawn in (None, np.array([0, 3, 4, 77, 400, expected.n_weighted - 1])):
        for one, other in zip(rows.take(drawn), ArrayRows(X, WEIGHT).take(drawn), strict=True):
            np.testing.assert_array_equal(one, other)
    framed = "frame" in form
    assert (None if rows.names is None else list(rows.names)) == (["a", "b"] if framed else None)


def test_a_number_weighs_every_row():
    assert DaskRows(_array(X), 2.0).summary.total_weight == 2.0 * N


def test_names_of_columns_are_kept_and_compared():
    frame = dd.from_pandas(_frame(X), npartitions=3)
    model = GaussianMixture(2, random_state=0, tol=1.0).fit(frame)
    assert list(model.feature_names_in_) == ["a", "b"]
    model.predict(_frame(X))
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame[["b", "a"]])


@pytest.mark.parametrize("dtypes", [("float32", "float32"), ("float32", "float64"), ("int16", "float32")])
def test_float32_stays_where_all_rows_are(dtypes):
    parts = [10 * X[:300], 10 * X[300:]]
    parts = [part.astype(dtype) for part, dtype in zip(parts, dtypes, strict=True)]
    whole = parts[0] if dtypes[0] == dtypes[1] else parts[0].astype(float)
    whole = np.concatenate([whole, parts[1]])
    model = GaussianMixture(**PARAMS).fit([dask.delayed(part) for part in parts])
    expected = GaussianMixture(**PARAMS).fit(whole)
    assert model.means_.dtype == whole.dtype == (np.float32 if set(dtypes) == {"float32"} else np.float64)
    _assert_same(model, expected, rtol=1e-6 if whole.dtype == np.float32 else 1e-10)


class _Counter:
    """Counts its calls; Dask would copy a list."""

    n_calls = 0

    def count(self, values):
        self.n_calls += 1
        return values

    def grow(self, values):
        return np.repeat(self.count(values), self.n_calls, axis=0)

    def turn(self, values):
        return np.roll(self.count(values), self.n_calls, axis=0)


@pytest.mark.parametrize("estimator", [GaussianMixture, BayesianGaussianMixture])
def test_predictions_are_lazy_arrays(estimator):
    model = estimator(**PARAMS).fit(X)
    counter = _Counter()
    lazy = da.concatenate(
        [
            da.from_delayed(dask.delayed(counter.count, pure=False)(X[rows]), (rows.stop - rows.start, 2), X.dtype)
            for rows in _cuts(7)
        ]
    )
    for name in ("predict", "predict_proba", "score_samples"):
        expected = getattr(model, name)(X)
        found = getattr(model, name)(lazy)
        assert isinstance(found, da.Array)
        assert found.dtype == expected.dtype
        assert found.chunks == (lazy.chunks[0], *((size,) for size in expected.shape[1:]))
        assert counter.n_calls == 0
        np.testing.assert_allclose(found.compute(), expected, rtol=1e-12, atol=1e-300)
        assert counter.n_calls == len(lazy.chunks[0])
        counter.n_calls = 0
    np.testing.assert_array_equal(model.predict(_array(X))[:10].compute(), model.predict(X)[:10])


ROWS = _frame(np.c_[np.arange(N), X, WEIGHT + 1.0, LABELS], "iabwk").astype({"k": int})
OTHERS = pd.DataFrame({"i": np.arange(0.0, N, 2), "c": 1.0})
FRAMES = {
    "as it is": lambda frame: frame,
    "filter": lambda frame: frame[frame["a"] > 0.0],
    "astype": lambda frame: frame.astype({"k": "float32"}),
    "sort": lambda frame: frame.sort_values("a"),
    "repartition": lambda frame: frame.repartition(npartitions=2),
    "merge": lambda frame: frame.merge(dd.from_pandas(OTHERS, npartitions=2), on="i"),
    "merge in memory": lambda frame: frame.merge(OTHERS, on="i"),
    "concat": lambda frame: dd.concat([frame, frame]),
    "shuffle": lambda frame: frame.shuffle("k"),
    "set_index": lambda frame: frame.set_index("i"),
    "delayed": lambda frame: dd.from_delayed(frame.to_delayed(), meta=frame._meta),
    "persist": lambda frame: frame.shuffle("k").persist(),
}


@pytest.fixture(scope="module")
def parquet(tmp_path_factory):
    """A folder of many files, of whose columns most are not asked for: Dask then reads several files at a time."""
    path = tmp_path_factory.mktemp("rows")
    _write_files(ROWS.assign(**{f"more{i}": np.arange(float(N)) for i in range(9)}), path)
    with dask.config.set({"dataframe.parquet.minimum-partition-size": 1}):
        yield str(path)


def _write_files(rows, folder):
    for i in range(20):
        rows[35 * i : 35 * (i + 1)].to_parquet(folder / f"{i:02}.parquet")


@pytest.fixture(params=["without a client", "with a client"])
def scheduler(request):
    """Dask optimises data frames in other ways where there is a client."""
    if request.param == "without a client":
        yield request.param
        return
    from distributed import Client, LocalCluster

    with (
        dask.config.set(scheduler=None),
        LocalCluster(1, threads_per_worker=2, processes=False, dashboard_address=":0", silence_logs=50) as node,
        Client(node),
    ):
        yield request.param


@pytest.mark.slow
def test_frames_whatever_they_were_made_by(scheduler, parquet):
    """Weights are those of their rows, and predictions are columns of the frame that they were made of."""
    model = GaussianMixture(2, random_state=0, tol=1.0).fit(ROWS[["a", "b"]])
    makers = {"in memory": dd.from_pandas(ROWS, npartitions=3), "Parquet": dd.read_parquet(parquet)}
    makers["Parquet by pyarrow"] = dd.read_parquet(parquet, filesystem="pyarrow")
    for (kind, made), (name, change) in itertools.product(makers.items(), FRAMES.items()):
        # A client takes its time for each graph.
        few = ("merge", "shuffle") if scheduler == "with a client" else ("as it is", "filter", "shuffle")
        if name not in (few if scheduler == "with a client" or kind != "in memory" else FRAMES):
            continue
        if scheduler == "with a client" and kind != "in memory":
            continue
        frame, what = change(made), f"{kind}, {name}"
        rows = frame.compute()
        expected = np.average(rows[["a", "b"]], axis=0, weights=rows["w"])
        mean = GaussianMixture(1).fit(frame[["a", "b"]], sample_weight=frame["w"]).means_[0]
        np.testing.assert_allclose(mean, expected, rtol=1e-9, err_msg=what)
        frame["label"] = model.predict(frame[["a", "b"]])
        frame["density"] = model.score_samples(frame[["a", "b"]])
        found = frame.compute()
        assert len(found) == len(rows)
        np.testing.assert_array_equal(found["label"], model.predict(found[["a", "b"]]), err_msg=what)
        np.testing.assert_array_equal(found["density"], model.score_samples(found[["a", "b"]]), err_msg=what)


@pytest.mark.slow
@pytest.mark.parametrize("name", FRAMES)
def test_weights_as_an_array_are_those_of_their_rows_or_refused(name):
    """Behind a shuffle, a graph of their own gives them an order of their own."""
    frame = FRAMES[name](dd.from_pandas(ROWS, npartitions=3))
    X, weight = frame[["a", "b"]], frame["w"]
    rows = frame.compute()
    expected = np.average(rows[["a", "b"]], axis=0, weights=rows["w"])
    for data, weights in ((X, weight.values), (X.values, weight.values), (X.values, weight)):
        if name in ("sort", "merge", "shuffle"):
            with pytest.raises(
                ValueError, match=r"must not be shuffled .* on its own.* or persist\(\) that frame first"
            ):
                GaussianMixture(1).fit(data, sample_weight=weights)
        else:
            mean = GaussianMixture(1).fit(data, sample_weight=weights).means_[0]
            np.testing.assert_allclose(mean, expected, rtol=1e-9)
    # Of one array, both have its order.
    both = frame[["a", "b", "w"]].values
    np.testing.assert_allclose(GaussianMixture(1).fit(both[:, :2], sample_weight=both[:, 2]).means_[0], expected)


def test_weights_of_another_frame_are_those_of_the_partition(parquet, tmp_path):
    """Dask reads so many files of each frame at a time as its columns are narrow."""
    _write_files(ROWS[["w", "k"]], tmp_path)
    for options in ({}, {"filesystem": "pyarrow"}):
        frame, weight = dd.read_parquet(parquet, **options), dd.read_parquet(str(tmp_path), **options)["w"]
        rows = DaskRows(frame[["a", "b"]], weight)
        assert len(rows._keys) == frame.npartitions == 20
        # Files come in an order of the file system's where pyarrow lists them.
        for one, other in zip(rows.take(None), (frame[["a", "b"]].compute(), weight.compute()), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("estimator", [GaussianMixture, BayesianGaussianMixture])
def test_predictions_of_a_frame_have_its_index_and_divisions(estimator):
    model = estimator(**PARAMS).fit(_frame(X))
    rows = _frame(X).set_index(np.arange(N) * 2)
    frame = dd.from_pandas(rows, npartitions=3)
    for name in ("predict", "score_samples", "predict_proba", "log_densities", "uncertainty"):
        found, expected = getattr(model, name)(frame), getattr(model, name)(rows)
        assert isinstance(found, dd.Series if expected.ndim == 1 else dd.DataFrame)
        assert found.divisions == frame.divisions
        made = found.compute()
        assert made.index.equals(rows.index)
        assert set(np.ravel(made.dtypes)) == set(np.ravel(found.dtypes)) == {expected.dtype}
        np.testing.assert_allclose(made, expected, rtol=1e-12, atol=1e-300)
        np.testing.assert_array_equal(found.partitions[1].compute().index, frame.partitions[1].compute().index)


def test_fit_predict_is_lazy_and_a_column_of_the_frame():
    expected = GaussianMixture(**PARAMS).fit_predict(_frame(X), sample_weight=WEIGHT)
    frame = dd.from_pandas(_frame(np.c_[X, WEIGHT], "abw"), npartitions=3)
    for data, weight in ((frame, "w"), (frame[["a", "b"]], frame["w"])):
        labels = GaussianMixture(**PARAMS).fit_predict(data, sample_weight=weight)
        assert isinstance(labels, dd.Series)
        frame["label"] = labels
        np.testing.assert_array_equal(frame.compute()["label"], expected)
        frame = frame.drop(columns="label")
    assert len(GaussianMixture(2, tol=1.0).fit_predict(frame[["a", "b"]], sample_weight=2.0).compute()) == N


def test_the_model_is_sent_once_with_predictions_of_a_frame():
    density = GaussianMixture(2, random_state=0, tol=1.0).fit(X)._density()
    rows = DaskRows(dd.from_pandas(_frame(X), npartitions=50))
    graph = rows.scored(Score(density, "labels")).optimize().__dask_graph__()
    assert len(graph) > 50
    assert sum(b"whitener" in pickle.dumps(node) or b"Score" in pickle.dumps(node) for node in graph.values()) == 1


def test_predictions_of_batches():
    model = GaussianMixture(**PARAMS).fit(X)
    np.testing.assert_array_equal(model.predict(_batches()).compute(), model.predict(X))
    # Weights beside the rows are of no account.
    pairs = _batches(form=lambda X, weight: (X, weight))
    np.testing.assert_array_equal(model.predict(pairs).compute(), model.predict(X))


def test_criteria():
    model = GaussianMixture(**PARAMS).fit(X)
    for name in ("score", "aic", "bic", "icl"):
        criterion = getattr(model, name)
        np.testing.assert_allclose(criterion(_array(X)), criterion(X), rtol=1e-12)
        weighted = criterion(_array(X), sample_weight=_array(1e-30 * WEIGHT))
        np.testing.assert_allclose(weighted, criterion(X, sample_weight=1e-30 * WEIGHT), rtol=1e-12)
    assert isinstance(model.score(_array(X)), float)


def test_variational_scores():
    model = BayesianGaussianMixture(**PARAMS).fit(X)
    bound = model.evidence_lower_bound(_array(X), sample_weight=_array(WEIGHT))
    np.testing.assert_allclose(bound, model.evidence_lower_bound(X, sample_weight=WEIGHT), rtol=1e-12)
    density = model.score_samples(_array(X), predictive="student-t")
    np.testing.assert_allclose(density.compute(), model.score_samples(X, predictive="student-t"), rtol=1e-12)


def test_far_weights_are_scaled():
    weight = WEIGHT * 1e-200
    expected = GaussianMixture(**PARAMS).fit(X, sample_weight=weight)
    _assert_same(GaussianMixture(**PARAMS).fit(_array(X), sample_weight=_array(weight)), expected)
    # Beside such a weight, others underflow: they count as nothing, as in memory.
    weight = np.where(np.arange(N) < 350, 1e-300, 1e200)
    assert DaskRows(_array(X), _array(weight)).scaled(664).summary.n_weighted == 350
    assert ArrayRows(X, weight).scaled(664).summary.n_weighted == 350


def _bad(row, value, n_partitions=7):
    table = X.astype(object) if isinstance(value, str) else X.copy()
    table[row, 1] = value
    return [dask.delayed(table[rows]) for rows in _cuts(n_partitions)]


def _place(row, n_partitions=7):
    cuts = _cuts(n_partitions)
    number = next(i for i, rows in enumerate(cuts) if rows.start <= row < rows.stop)
    return number, row - cuts[number].start


@pytest.mark.parametrize("call", ["fit", "predict", "score"])
@pytest.mark.parametrize(("value", "text"), [(np.nan, "contains NaN"), ("many", "must hold numbers: .*'many'")])
def test_a_bad_number_is_named_by_partition_and_row(value, text, call):
    model = GaussianMixture(2, random_state=0, tol=1.0).fit(X)
    before = pickle.dumps(model)
    number, row = _place(650)
    assert number > 2
    with pytest.raises(ValueError, match=rf"partition {number}: .*{text}.*\(row {row}, column 1\)"):
        dask.compute(getattr(model, call)(_bad(650, value)))
    assert pickle.dumps(model) == before


def test_a_row_too_far_is_named_by_partition_and_row():
    number, row = _place(650)
    model = GaussianMixture(2, random_state=0, tol=1.0).fit(X)
    with pytest.raises(OutOfRangeError, match=f"partition {number}: row {row} of X lies so far"):
        model.predict(_bad(650, 1e200)).compute()
    # In a fit, among all rows.
    rows = DaskRows(_bad(650, 1e200))
    assert rows.n_rows == N
    with pytest.raises(OutOfRangeError, match=r"^row 650 of X lies so far"):
        refuse_far_rows(model._density(), rows, None)


def test_bad_partitions_are_named():
    parts = [X[rows] for rows in _cuts(7)]
    fit = GaussianMixture(2).fit
    with pytest.raises(ValueError, match=r"partition 3: X has 3 features, expected 2\."):
        fit([dask.delayed(np.c_[part, part[:, 0]] if i == 3 else part) for i, part in enumerate(parts)])
    with pytest.raises(ValueError, match="partition 1: Expected 2D array, got 1D array"):
        fit([dask.delayed(part[:, 0] if i == 1 else part) for i, part in enumerate(parts)])
    with pytest.raises(ValueError, match=r"partition 4: X has the columns \['b', 'a'\], expected the columns \['a', "):
        fit([dask.delayed(_frame(part, "ba" if i == 4 else "ab")) for i, part in enumerate(parts)])
    with pytest.raises(ValueError, match="partition 5: X has columns without names, expected the columns"):
        fit([dask.delayed(part if i == 5 else _frame(part)) for i, part in enumerate(parts)])
    with pytest.raises(ValueError, match="partition 6: either all partitions must have weights, or none"):
        fit([dask.delayed((part, None if i == 6 else np.ones(len(part)))) for i, part in enumerate(parts)])
    weight = WEIGHT.copy()
    weight[650] = -1.0
    number, row = _place(650)
    with pytest.raises(ValueError, match=rf"partition {number}: sample_weight must be >= 0, got -1.0 in row {row}\."):
        fit(_array(X), sample_weight=_array(weight))
    with pytest.raises(ValueError, match=r"partition 0: sample_weight.shape == \(3,\), expected"):
        fit(dask.delayed(X), sample_weight=[dask.delayed(np.ones(3))])


def test_arguments_are_checked_at_the_door():
    fit = GaussianMixture(2).fit
    with pytest.raises(ValueError, match="Expected 2D array, got 1D Dask array"):
        fit(_array(X)[:, 0])
    with pytest.raises(TypeError, match=r"must be a Dask array, a Dask data frame or a list .* got dask.bag"):
        fit(pytest.importorskip("dask.bag").from_sequence([1, 2]))
    with pytest.raises(TypeError, match=r"list of dask.delayed batches, got builtins.list"):
        fit([dask.delayed(X), X])
    with pytest.raises(ValueError, match=r"sample_weight.shape == \(3,\), expected \(700,\)!"):
        fit(_array(X), sample_weight=da.ones(3))
    with pytest.raises(ValueError, match="Sample weights must be 1D"):
        fit(_array(X), sample_weight=_array(X))
    with pytest.raises(ValueError, match="must have the partitions of X, which has 7; it has 2"):
        fit(_batches(), sample_weight=_batches(2, form=lambda X, weight: weight))
    with pytest.raises(ValueError, match="sample_weight must be None where a partition is a pair"):
        fit(_batches(form=lambda X, weight: (X, weight)), sample_weight=1.0)
    with pytest.raises(ValueError, match="sample_weight as an array in memory needs X as a Dask array with known"):
        fit(_batches(), sample_weight=WEIGHT)
    for data in (_array(X), dd.from_pandas(_frame(X), npartitions=2)):
        with pytest.raises(ValueError, match="sample_weight='w' is none of the columns"):
            fit(data, sample_weight="w")
    with pytest.raises(ValueError, match="positive for at least one row, got zeros only"):
        fit(_array(X), sample_weight=_array(np.zeros(N)))
    with pytest.raises(ValueError, match=r"Found array with 0 sample\(s\)"):
        GaussianMixture(2, random_state=0, tol=1.0).fit(X).score(_array(X)[:0])
    with pytest.raises(ValueError, match="X has 2 features, but GaussianMixture is expecting 1 features"):
        GaussianMixture(2, random_state=0, tol=1.0).fit(X[:, :1]).predict(_array(X))


@pytest.mark.parametrize("make", [_Counter().grow, _Counter().turn])
def test_rows_that_change_between_passes_are_noticed(make):
    data = [dask.delayed(X[:10]), dask.delayed(make, pure=False)(X)]
    with pytest.raises(RuntimeError, match=r"partition 1: it holds other rows than .* persist\(\) what"):
        GaussianMixture(2).fit(data)


class _Threads:
    """A task that tells how many threads it would use, and where its rows are."""

    n_threads = None

    def __call__(self, rows):
        return [(self.n_threads, rows.offset, rows.n_weighted_before)]


def test_tasks_use_one_thread_and_answers_are_put_together_in_order():
    for rows, n_threads in ((DaskRows(_array(X, 100)), 1), (DaskRows(_array(X, 100), n_threads=3), 3)):
        assert rows.n_rows == N
        answers = rows.gather(_Threads(), operator.add)
        assert answers == [(n_threads, cut.start, cut.start) for cut in _cuts(100)]
        with pytest.raises(TypeError, match="read where they are: gather a task"):
            rows.blocks(1)


def test_a_pass_is_a_small_graph(monkeypatch):
    """What is sent grows by under 200 bytes a partition; the task is sent once; few answers are in memory at a time."""
    from dask.delayed import Delayed

    graphs = []

    def compute(self, **options):
        graphs.append(self.dask)
        return dask.compute(self, **options)[0]

    monkeypatch.setattr(Delayed, "compute", compute)
    rows = DaskRows(_array(X, 100))
    rows.scaled(1).gather(scan, operator.add)
    graph = graphs[-1]
    own = {key: node for key, node in graph.items() if str(key).startswith(("fastgmm", "('fastgmm"))}
    assert len(own) == 1 + 100 + 7 + 1
    assert max(len(node.dependencies) for node in own.values()) == FAN_IN
    assert len(pickle.dumps(own)) < 200 * 100


def test_answers_do_not_grow_with_the_rows():
    sizes = []
    for copies in (1, 10):
        rows = DaskRows([dask.delayed(X[cut]) for cut in _cuts(7)] * copies)
        family = FAMILIES["full"]
        statistics = Expectation(family, rows)(family.isotropic(X[:3], 1.0))
        np.testing.assert_allclose(statistics.mass.sum(), copies * N)
        sizes.append(len(pickle.dumps(statistics)))
    assert sizes[0] == sizes[1]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), n_partitions=st.integers(1, 9), single=st.booleans())
def test_a_census_of_parts_is_that_of_the_whole(seed, n_partitions, single):
    rng = np.random.default_rng(seed)
    sizes = _chunks(n_partitions, seed, 40)
    rows = rng.normal(size=(40, 2)).astype(np.float32 if single else np.float64)
    weight = rng.integers(0, 3, 40).astype(float) * 2.0 ** rng.integers(-50, 50)
    ends = np.cumsum(sizes)
    parts = [census(ArrayRows(rows[end - n : end], weight[end - n : end])) for n, end in zip(sizes, ends, strict=True)]
    split = int(rng.integers(n_partitions))
    whole = parts[0]
    for part in parts[1:]:
        whole = whole + part
    late = None
    for part in parts[split + 1 :]:
        late = part if late is None else late + part
    early = parts[0]
    for part in parts[1 : split + 1]:
        early = early + part
    other = early if late is None else early + late
    expected = scan(ArrayRows(rows, weight))
    for found in (whole, other):
        assert found.dtype is (np.float32 if single else np.float64)
        assert (found.summary.n_rows, found.summary.n_weighted) == (40, expected.n_weighted)
        assert found.summary.place == expected.place
        np.testing.assert_allclose(found.summary.total_weight, expected.total_weight)
        for known, n, end in zip(found.known(), sizes, ends, strict=True):
            assert (known.n_rows, known.offset) == (n, end - n)
            assert known.n_weighted_before == np.count_nonzero(weight[: end - n])


def test_a_reader_puts_rows_at_their_places():
    columns = Columns(2, None, True, np.float32)
    single, weight = X[:5].astype(np.float32), np.arange(5.0)
    found = census(PartitionReader(columns, exponent=1)(single, weight))
    rows = PartitionReader(columns, dtype=np.float64, exponent=1)(
        single, weight, Known(5, *found.fingerprints, 100, 60)
    )
    assert (rows.dtype, rows.offset, rows.n_weighted_before) == (np.float64, 100, 60)
    np.testing.assert_array_equal(rows.sample_weight, weight / 2)


def test_threads_give_the_same_bits():
    model = GaussianMixture(**PARAMS).fit(_array(X, 100))
    with dask.config.set(scheduler="threads", num_workers=4):
        assert _bits(GaussianMixture(**PARAMS).fit(_array(X, 100))) == _bits(model)


@pytest.fixture(scope="module")
def client():
    from distributed import Client, LocalCluster

    with (
        dask.config.set({"distributed.comm.timeouts.connect": "60s"}),
        LocalCluster(2, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=50) as nodes,
        Client(nodes) as client,
    ):
        yield client


@pytest.mark.slow
def test_processes_give_the_same_bits_even_where_one_is_lost(client):
    expected = GaussianMixture(**PARAMS).fit(_array(X))
    with dask.config.set(scheduler=None):
        assert _bits(GaussianMixture(**PARAMS).fit(_array(X))) == _bits(expected)
        persisted = _array(X).persist()
        killed = []

        def callback(restart, iteration, bound, change):
            if iteration == 2:
                processes = client.run(os.getpid)
                killed.append(next(iter(processes.values())))
                os.kill(killed[0], signal.SIGKILL)

        model = GaussianMixture(**PARAMS).fit(persisted, callback=callback)
        assert len(killed) == 1
        assert _bits(model) == _bits(expected)
        np.testing.assert_array_equal(model.predict(persisted).compute(), expected.predict(X))
        with pytest.raises(ValueError, match=r"partition 4: .*NaN \(row"):
            model.fit(_bad(sum(_chunks(7)[:4]) + 1, np.nan))


def test_threads_of_a_worker_give_the_same_bits():
    from distributed import Client, LocalCluster

    expected = BayesianGaussianMixture(**PARAMS).fit(_array(X))
    with (
        dask.config.set(scheduler=None),
        LocalCluster(1, threads_per_worker=3, processes=False, dashboard_address=":0", silence_logs=50) as node,
        Client(node),
    ):
        assert _bits(BayesianGaussianMixture(**PARAMS).fit(_array(X))) == _bits(expected)


def test_meta_is_made_without_rows():
    density = GaussianMixture(2, random_state=0, tol=1.0).fit(X)._density()
    for output, shape in (("labels", (0,)), ("responsibilities", (0, 2))):
        assert Score(density, output)(ArrayRows(np.empty((0, 2)))).shape == shape


def test_the_section_about_dask_runs():
    page = Path(__file__).parents[1] / "docs" / "sources.md"
    if not page.exists():
        pytest.skip("needs a checkout")
    section = page.read_text().partition("\n## Dask\n")[2].partition("\n## ")[0]
    fits, on_a_cluster = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    names = {"np": np, "GaussianMixture": GaussianMixture, "X": np.concatenate([X] * 15)[:10000].astype(np.float32)}
    exec(fits, names)
    np.testing.assert_array_equal(names["frame"]["label"].compute(), names["labels"].compute())
    np.testing.assert_array_equal(names["model"].predict(names["X"]), names["labels"].compute())
    assert "Client(" in on_a_cluster


def test_a_graph_that_is_made_when_it_is_asked_for_is_not_lost(monkeypatch):
    """That of a delayed batch is another object each time: by its address alone, one could pass for the next."""
    asked = Counter()
    parts = [dask.delayed(part) for part in (X[:200], X[200:])]
    kind = type(parts[0])
    made = kind.dask.fget
    rows = DaskRows(parts)
    vars(rows).pop("_graph", None)
    monkeypatch.setattr(kind, "dask", property(lambda self: asked.update([self.key]) or made(self)))
    assert {part.key for part in parts} <= rows._graph.keys()
    assert asked == {part.key: 1 for part in parts}
