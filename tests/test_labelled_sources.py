"""Known labels of rows in files and batches: fits beside those of the same rows in memory."""

import numpy as np
import pytest

from fastgmm import BayesianGaussianMixture, GaussianMixture
from fastgmm.datasets import load_iris
from fastgmm.passes import incomplete
from fastgmm.sources import BatchRows

pytestmark = pytest.mark.filterwarnings("ignore::fastgmm.exceptions.ConvergenceWarning")
IRIS = np.asarray(load_iris().data, np.float64)
SPECIES = np.unique(load_iris().target, return_inverse=True)[1]
HOLES = np.where((7 * np.arange(150)[:, None] + 3 * np.arange(4)) % 5 == 0, np.nan, IRIS)
# Rows of one class have no gaps.
PARTLY = np.where((SPECIES == 2)[:, None], IRIS, HOLES)
KNOWN = np.where(np.arange(150) % 5 == 0, SPECIES, -1)
WEIGHT = 1.0 + np.arange(150) % 3
WEIGHT[40:43] = 0.0
NAMES = ["a", "b", "c", "d"]
PARAMS = {"n_components": 3, "random_state": 0, "max_iter": 4}


def _batches(X, weight=None, missing=None):
    parts = [slice(0, 1), slice(1, 70), slice(70, 150)]
    return BatchRows([X[p] if weight is None else (X[p], weight[p]) for p in parts], missing=missing)


def _same(ours, theirs):
    for name in ("weights_", "means_", "covariances_", "lower_bounds_"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), err_msg=name)
    if hasattr(theirs, "class_of_components_"):
        np.testing.assert_array_equal(ours.class_of_components_, theirs.class_of_components_)


CLASSES = {"class_components": [[0], [1, 2], [3, 4]], "n_components": 5, "covariance_type": "diag"}


@pytest.mark.parametrize(
    ("X", "options"),
    [
        (IRIS, {"covariance_type": "tied", "n_init": 2}),
        (IRIS, CLASSES),
        (HOLES, {}),
        (HOLES, CLASSES),
        (HOLES, {"noise": True, "covariance_type": "diag"}),
        (HOLES, {"init_params": "random", "covariance_type": "tied"}),
        (PARTLY, {"init_params": SPECIES}),
        (PARTLY, {}),
    ],
    ids=range(8),
)
def test_batches_are_fitted_as_the_array_is(X, options, monkeypatch):
    monkeypatch.setattr(incomplete, "_SORTED_FLOATS", 160)
    missing = None if X is IRIS else "marginal"
    model = GaussianMixture(**PARAMS | options | {"missing": missing})
    whole = model._blank().fit(X, sample_weight=WEIGHT, labels=KNOWN)
    ours = model._blank().fit(_batches(X, WEIGHT, missing), labels=KNOWN)
    _same(ours, whole)
    other = model._blank()
    labels = other.fit_predict(_batches(X, WEIGHT, missing), labels=KNOWN)
    np.testing.assert_array_equal(labels, model._blank().fit_predict(X, sample_weight=WEIGHT, labels=KNOWN))


@pytest.mark.parametrize("X", [IRIS, HOLES], ids=["complete", "gaps"])
def test_variational_bayes_and_warm_starts(X):
    missing = None if X is IRIS else "marginal"
    for kind in (GaussianMixture, BayesianGaussianMixture):
        fitted = [kind(**PARAMS, missing=missing, warm_start=True).fit(X) for _ in range(2)]
        whole, ours = fitted[0].fit(X, labels=KNOWN), fitted[1].fit(_batches(X, None, missing), labels=KNOWN)
        _same(ours, whole)


def test_labels_are_a_column(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    pandas = pytest.importorskip("pandas")
    from pyarrow import parquet

    known = np.where(KNOWN < 0, np.nan, KNOWN)
    frame = pandas.DataFrame(HOLES, columns=NAMES).assign(species=known, w=WEIGHT)
    parquet.write_table(pyarrow.Table.from_pandas(frame), tmp_path / "x.parquet")
    frame.to_csv(tmp_path / "x.csv", index=False)
    model = GaussianMixture(**PARAMS, missing="marginal")
    whole = model._blank().fit(frame[NAMES], sample_weight=WEIGHT, labels=KNOWN)
    for source in (frame, tmp_path / "x.parquet", tmp_path / "x.csv", pyarrow.Table.from_pandas(frame)):
        ours = model._blank().fit(source, sample_weight="w", labels="species")
        _same(ours, whole)
        assert list(ours.feature_names_in_) == NAMES
    frame.drop(columns=["w"]).assign(**dict(zip(NAMES, IRIS.T, strict=True))).to_parquet(tmp_path / "whole.parquet")
    plain = GaussianMixture(**PARAMS).fit(tmp_path / "whole.parquet", labels="species")
    _same(plain, GaussianMixture(**PARAMS).fit(IRIS, labels=KNOWN))


def test_bad_labels_are_refused_by_name(tmp_path):
    pytest.importorskip("pyarrow")
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(IRIS, columns=NAMES).assign(
        species=np.array(["setosa", "versicolor", "virginica"])[SPECIES]
    )
    frame.to_csv(tmp_path / "x.csv", index=False)
    model = GaussianMixture(**PARAMS)
    with pytest.raises(ValueError, match="has no column 'genus'"):
        model.fit(tmp_path / "x.csv", labels="genus")
    with pytest.raises(ValueError, match="is not a number"):
        model.fit(tmp_path / "x.csv", labels="species")
    with pytest.raises(ValueError, match="labels='genus' is none of the columns of X"):
        model.fit(frame, labels="genus")
    with pytest.raises(ValueError, match="labels must be an array where X is a BatchRows, got 'species'"):
        model.fit(_batches(IRIS), labels="species")
    with pytest.raises(ValueError, match=r"labels must be one class number for each row of X, of the shape \(150,\)"):
        model.fit(_batches(IRIS), labels=KNOWN[:20])
    da = pytest.importorskip("dask.array")
    with pytest.raises(ValueError, match=r"labels need X as an array, a data frame, a file or batches.*got DaskRows"):
        model.fit(da.from_array(IRIS, chunks=(50, 4)), labels=KNOWN)
    assert not hasattr(model, "means_")


def test_classes_are_numbers(tmp_path):
    (tmp_path / "x.csv").write_text("a,y\n1,barolo\n2,\n3,grignolino\n4,barolo\n")
    with pytest.raises(
        ValueError, match=r"^labels must be class numbers from 0.*: .*x.csv: line 2, column 'y': 'barol"
    ):
        GaussianMixture(2).fit(tmp_path / "x.csv", labels="y")
