"""Missing entries of rows in files, in batches and on clusters: fits beside those of the same rows in memory."""

import functools
import itertools

import numpy as np
import pytest

from fastgmm import BayesianGaussianMixture, GaussianMixture, GaussianMixtureIC, StudentMixture, cli, fit_many
from fastgmm.datasets import load_iris
from fastgmm.inference import likelihood_bootstrap, standard_errors
from fastgmm.io import load_model
from fastgmm.passes import incomplete
from fastgmm.sources import BatchRows, open_rows

pytestmark = pytest.mark.filterwarnings("ignore::fastgmm.exceptions.ConvergenceWarning")
KINDS = GaussianMixture, BayesianGaussianMixture
IRIS = np.asarray(load_iris().data, np.float64)
X = np.where((7 * np.arange(150)[:, None] + 3 * np.arange(4)) % 5 == 0, np.nan, IRIS)
X[17] = np.nan
WEIGHT = 1.0 + np.arange(150) % 3
WEIGHT[40:43] = 0.0
NAMES = ["a", "b", "c", "d"]
PARAMS = {"n_components": 3, "missing": "marginal", "random_state": 0, "max_iter": 4}
ATTRIBUTES = "weights_", "means_", "covariances_", "lower_bounds_"


@pytest.fixture(params=[2**22, 160], ids=["one block", "several"])
def sorted_at_a_time(request, monkeypatch):
    """Rows are sorted all at once, or 40 at a time."""
    monkeypatch.setattr(incomplete, "_SORTED_FLOATS", request.param)
    return request.param


def _batches(values=X, weight=None, cuts=(0, 1, 70, 130, 150)):
    parts = [slice(a, b) for a, b in itertools.pairwise(cuts)]
    return BatchRows([values[p] if weight is None else (values[p], weight[p]) for p in parts], missing="marginal")


def _same(ours, theirs, tolerance=0.0):
    for name in ATTRIBUTES:
        np.testing.assert_allclose(
            getattr(ours, name), getattr(theirs, name), rtol=tolerance, atol=tolerance, err_msg=name
        )


# -- files and batches ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"n_init": 2, "covariance_type": "tied"},
        {"init_params": "random", "covariance_type": "diag"},
        {"init_params": "k-means++", "covariance_type": "spherical"},
        {"init_params": "kmeans-whitened", "accelerate": "squarem"},
        {"noise": True, "covariance_type": "diag"},
    ],
    ids=str,
)
def test_batches_are_fitted_to_the_bits_of_the_array(sorted_at_a_time, options):
    model = GaussianMixture(**PARAMS | options)
    whole = model._blank().fit(X, sample_weight=WEIGHT)
    _same(model._blank().fit(_batches(weight=WEIGHT)), whole)
    if not options:
        _same(model._blank().fit(_batches()), model._blank().fit(X))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_variational_bayes_and_types(sorted_at_a_time, dtype):
    values = X.astype(dtype)
    model = BayesianGaussianMixture(**PARAMS)
    whole = model._blank().fit(values)
    streamed = model._blank().fit(_batches(values))
    _same(streamed, whole)
    assert streamed.means_.dtype == dtype
    assert np.diff(streamed.lower_bounds_).min() > 0.0


def test_blocks_change_nothing_but_the_rounding(monkeypatch):
    whole = GaussianMixture(**PARAMS).fit(X)
    scores = whole.score_samples(X), whole.predict_proba(X), whole.impute(X), whole.impute(X, draws=2)
    covariance = whole.imputation_covariance(X)
    monkeypatch.setattr(incomplete, "_SORTED_FLOATS", 160)
    _same(GaussianMixture(**PARAMS).fit(X), whole, 1e-10)
    for found, expected in zip((whole.score_samples(X), whole.predict_proba(X), whole.impute(X)), scores, strict=False):
        np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_allclose(whole.imputation_covariance(X), covariance, atol=1e-12)
    assert np.isfinite(whole.impute(X, draws=2)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_mixture_says_of_batches(sorted_at_a_time, kind):
    model = kind(**PARAMS).fit(X)
    for method in ("predict", "predict_proba", "score_samples", "uncertainty", "log_densities", "impute"):
        np.testing.assert_array_equal(getattr(model, method)(_batches()), getattr(model, method)(X), err_msg=method)
    assert model.score(_batches(weight=WEIGHT)) == model.score(X, sample_weight=WEIGHT)
    sums, total = model.statistics(_batches()), model.statistics(X)
    np.testing.assert_array_equal(sums.to_array(), total.to_array())
    if kind is GaussianMixture:
        assert model.bic(_batches()) == model.bic(X)
    with pytest.raises(ValueError, match="draws are made of rows in memory, got draws=2"):
        model.impute(_batches(), draws=2)
    with pytest.raises(ValueError, match="imputation_covariance takes rows in memory"):
        model.imputation_covariance(_batches())


def test_complete_rows_of_any_source_are_fitted_to_the_same_bits(tmp_path):
    np.save(tmp_path / "x.npy", IRIS)
    plain = GaussianMixture(**PARAMS | {"missing": None}).fit(IRIS)
    _same(GaussianMixture(**PARAMS).fit(_batches(IRIS)), plain)
    _same(GaussianMixture(**PARAMS).fit(tmp_path / "x.npy"), plain)
    # Complete rows may come to a mixture that does without.
    _same(GaussianMixture(**PARAMS | {"missing": None}).fit(_batches(IRIS)), plain)


def test_rows_with_nothing_observed_add_weight_alone():
    blank = np.vstack([X, np.full((30, 4), np.nan)])
    more, less = (GaussianMixture(**PARAMS | {"reg_covar": 0.0}, means_init=IRIS[[0, 60, 120]]) for _ in range(2))
    more.fit(_batches(blank, cuts=(0, 100, 180)))
    less.fit(_batches())
    # One update: their shares are the weights.
    sums, without = less.statistics(_batches(blank, cuts=(0, 100, 180))), less.statistics(_batches())
    np.testing.assert_allclose(sums.mass, without.mass + 30 * less.weights_, rtol=1e-12)
    np.testing.assert_allclose(
        sums.mean,
        (without.mass[:, None] * without.mean + 30 * less.weights_[:, None] * less.means_) / sums.mass[:, None],
        rtol=1e-10,
    )
    np.testing.assert_allclose(sums.log_evidence, without.log_evidence, rtol=1e-12)


def _written(folder):
    """Yield paths of the rows in each kind of file, nulls and words for what is missing."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import feather, parquet

    columns = {name: pyarrow.array([None if np.isnan(x) else x for x in X[:, j]]) for j, name in enumerate(NAMES)}
    table = pyarrow.table(columns)
    parquet.write_table(table, folder / "x.parquet", row_group_size=70)
    feather.write_feather(table, str(folder / "x.feather"))
    np.save(folder / "x.npy", X)
    np.save(folder / "columns.npy", np.asfortranarray(X))
    words = ["NA", "", "nan", "null"]
    lines = [
        ",".join(words[(n + j) % 4] if np.isnan(x) else repr(float(x)) for j, x in enumerate(row))
        for n, row in enumerate(X)
    ]
    (folder / "x.csv").write_text("\n".join([",".join(NAMES), *lines]) + "\n")
    (folder / "parts").mkdir()
    parquet.write_table(table[:90], folder / "parts" / "a.parquet")
    parquet.write_table(table[90:], folder / "parts" / "b.parquet")
    yield table
    for name in ("x.parquet", "x.feather", "x.npy", "columns.npy", "x.csv", "parts"):
        yield folder / name


def test_files(tmp_path):
    model = GaussianMixture(**PARAMS)
    whole = model._blank().fit(X)
    labels, filled = whole.predict(X), whole.impute(X)
    for source in _written(tmp_path):
        fitted = model._blank().fit(source)
        _same(fitted, whole)
        np.testing.assert_array_equal(fitted.predict(source), labels)
        np.testing.assert_array_equal(fitted.impute(source), filled)
        with pytest.raises(ValueError, match="missing value"):
            GaussianMixture(3).fit(source)
    _same(model._blank().fit(open_rows(tmp_path / "x.parquet", missing="marginal")), whole)
    memory_map = np.load(tmp_path / "x.npy", mmap_mode="r")
    _same(model._blank().fit(memory_map), whole)
    weighted = model._blank().fit(tmp_path / "x.npy", sample_weight=WEIGHT)
    _same(weighted, model._blank().fit(X, sample_weight=WEIGHT))


def test_a_checkpoint_of_a_file_goes_on_in_memory(tmp_path):
    np.save(tmp_path / "x.npy", X)
    params = PARAMS | {"checkpoint": tmp_path / "fit", "max_iter": 2}
    GaussianMixture(**params).fit(tmp_path / "x.npy")
    again = GaussianMixture(**params | {"max_iter": 4}).fit(X)
    _same(again, GaussianMixture(**PARAMS).fit(X))


def test_the_command_line(tmp_path, capsys):
    pytest.importorskip("pyarrow")
    whole = GaussianMixture(3, missing="marginal", random_state=0).fit(X)
    paths = [path for path in _written(tmp_path) if hasattr(path, "suffix") and path.name != "columns.npy"]
    for path in paths:
        model = str(tmp_path / "model.json")
        assert cli.main(["fit", "-k", "3", "--missing", "marginal", "--seed", "0", str(path), "-o", model]) == 0
        np.testing.assert_array_equal(load_model(model).means_, whole.means_)
        capsys.readouterr()
        assert cli.main(["predict", model, str(path)]) == 0
        assert [int(label) for label in capsys.readouterr().out.split()[1:]] == whole.predict(X).tolist()
        assert cli.main(["score", model, str(path)]) == 0
        assert f"{150 * whole.score(X):.10g}" in capsys.readouterr().out
    assert cli.main(["fit", "-k", "3", str(tmp_path / "parts")]) == 1
    assert "a.parquet: row 1, column 'a': missing value" in capsys.readouterr().err


def test_learning_from_batches_of_batches():
    ours, theirs = GaussianMixture(**PARAMS), GaussianMixture(**PARAMS)
    for _ in range(2):
        ours.partial_fit(_batches())
        theirs.partial_fit(X)
    _same(ours, theirs)


def test_bad_rows_are_refused_by_name(tmp_path):
    model = GaussianMixture(**PARAMS)
    with pytest.raises(ValueError, match="missing must be one of None, 'marginal', got 'drop'"):
        BatchRows([X], missing="drop")
    with pytest.raises(ValueError, match="missing value"):
        BatchRows([X])
    rows = _batches()
    with pytest.raises(
        ValueError,
        match=r'this GaussianMixture takes complete rows: set missing="marginal"',
    ):
        GaussianMixture(3).fit(rows)
    infinite = X.copy()
    infinite[33, 1] = np.inf
    with pytest.raises(ValueError, match="batch 1, row 32, column 1: inf is not a finite number"):
        _batches(infinite)
    with pytest.raises(ValueError, match="the weight: missing value"):
        _batches(weight=np.where(WEIGHT == 0, np.nan, WEIGHT))
    empty = X.copy()
    empty[:, 2] = np.nan
    with pytest.raises(ValueError, match="column 2 of X has no observed entry"):
        model.fit(_batches(empty))
    empty[40:43, 2] = 1.0
    with pytest.raises(ValueError, match="column 2 of X has no observed entry"):
        model.fit(_batches(empty, WEIGHT))
    for task in (rows.blocks, functools.partial(rows.sample, 10)):
        with pytest.raises(ValueError, match="X has missing entries, which are not integrated out here"):
            task(*([1] if task == rows.blocks else [np.random.default_rng(0)]))
    assert not hasattr(model, "means_")
    with pytest.raises(ValueError, match="this StudentMixture takes complete rows: open such rows, without missing"):
        StudentMixture(2).fit(rows)
    with pytest.raises(ValueError, match="fit_many cannot fit with missing='marginal'"):
        fit_many(model, [rows])
    fitted = model.fit(rows)
    for call in (standard_errors, functools.partial(likelihood_bootstrap, n_samples=2)):
        with pytest.raises(ValueError, match="X has missing entries, which are not integrated out here"):
            call(fitted, rows)


def test_a_choice_of_a_model_reads_batches():
    estimator = GaussianMixture(missing="marginal", random_state=0, max_iter=4)
    choice = GaussianMixtureIC(1, 2, covariance_type="diag", estimator=estimator)
    ours, theirs = (choice.__class__(**choice.get_params(deep=False)).fit(rows) for rows in (_batches(), X))
    _same(ours.best_estimator_, theirs.best_estimator_)


def test_data_far_from_the_origin_and_of_any_scale():
    plain = GaussianMixture(**PARAMS | {"reg_covar": 0.0}).fit(_batches())
    for scale, offset in ((1e120, 0.0), (1e-120, 0.0), (1.0, 1e8)):
        model = GaussianMixture(**PARAMS | {"reg_covar": 0.0}).fit(_batches(X * scale + offset))
        np.testing.assert_allclose((model.means_ - offset) / scale, plain.means_, rtol=1e-5)
        np.testing.assert_array_equal(model.predict(_batches(X * scale + offset)), plain.predict(X))


# -- Dask -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def dask():
    found = pytest.importorskip("dask", minversion="2025.12")
    pytest.importorskip("dask.dataframe")
    with found.config.set(scheduler="synchronous"):
        yield found


def _collections():
    """Yield the rows and their weights as a Dask array, as frames of two kinds of nulls, and as delayed batches."""
    import dask.array as da
    import dask.dataframe as dd
    import pandas as pd
    from dask import delayed

    yield da.from_array(X, chunks=((40, 60, 50), 4)), da.from_array(WEIGHT, chunks=((40, 60, 50),))
    frame = pd.DataFrame(X, columns=NAMES).assign(w=WEIGHT)
    yield dd.from_pandas(frame, npartitions=4), "w"
    yield dd.from_pandas(frame.astype(dict.fromkeys(NAMES, "Float64")), npartitions=3), "w"
    cuts = [slice(0, 50), slice(50, 50), slice(50, 150)]
    yield [delayed((X[cut], WEIGHT[cut])) for cut in cuts], None


@pytest.mark.parametrize("number", range(4))
def test_dask(dask, number):
    rows, weight = list(_collections())[number]
    for model in (GaussianMixture(**PARAMS), BayesianGaussianMixture(**PARAMS)):
        whole = model._blank().fit(X, sample_weight=WEIGHT)
        ours = model._blank().fit(rows, sample_weight=weight)
        _same(ours, whole, 1e-9)
    if weight is None:
        return
    features = rows if number == 0 else rows[NAMES]
    table = X if number == 0 else features.compute()
    for method in ("predict", "predict_proba", "score_samples", "impute"):
        found = getattr(ours, method)(features)
        assert dask.is_dask_collection(found), method
        expected = getattr(ours, method)(table)
        np.testing.assert_allclose(np.asarray(found.compute()), expected, rtol=1e-9, err_msg=method)
    assert ours.score(rows, sample_weight=weight) == pytest.approx(ours.score(table, sample_weight=WEIGHT), rel=1e-12)


def test_what_dask_is_told(dask):
    import dask.array as da

    rows = da.from_array(X, chunks=(50, 4))
    complete = da.from_array(IRIS, chunks=(50, 4))
    plain = GaussianMixture(**PARAMS | {"missing": None}).fit(complete)
    _same(GaussianMixture(**PARAMS).fit(complete), plain)
    with pytest.raises(ValueError, match=r"partition \d: Input X contains NaN"):
        GaussianMixture(3).fit(rows)
    starts = GaussianMixture(**PARAMS | {"n_init": 2, "noise": True, "covariance_type": "diag"})
    _same(starts._blank().fit(rows), starts._blank().fit(X), 1e-8)
    empty = da.from_array(np.where(np.arange(4) == 1, np.nan, X), chunks=(50, 4))
    with pytest.raises(ValueError, match="column 1 of X has no observed entry"):
        GaussianMixture(**PARAMS).fit(empty)
