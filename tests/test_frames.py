"""Data frames at the door: missing values of every kind, lazy tables, weights by the name of a column."""

import numpy as np
import pytest

from fastgmm import BayesianGaussianMixture, GaussianMixture, fit_many
from fastgmm.many import Status

pd = pytest.importorskip("pandas")

pytestmark = pytest.mark.filterwarnings("ignore::fastgmm.exceptions.ConvergenceWarning")


@pytest.fixture
def values(rng):
    return np.concatenate([rng.normal(size=(30, 2)), rng.normal(9.0, 1.0, size=(30, 2))]).round(1)


def with_gap(kind, values):
    """Return a table of `values` whose value in row 3 of the first column is missing."""
    if kind == "object":
        table = values.astype(object)
        table[3, 0] = pd.NA
    elif kind == "None":
        table = values.astype(object)
        table[3, 0] = None
    elif kind in ("polars", "polars integers"):
        polars = pytest.importorskip("polars")
        table = polars.DataFrame({"a": values[:, 0].tolist(), "b": values[:, 1]})
        table[3, "a"] = None
        if kind == "polars integers":
            table = table.with_columns(polars.col("a").round().cast(polars.Int64))
    else:
        if "pyarrow" in kind:
            pytest.importorskip("pyarrow")
        table = pd.DataFrame(values.round(), columns=["a", "b"]).astype(kind)
        table.iloc[3, 0] = pd.NA
    return table


KINDS = [
    *("Int64", "Float64", "Float32", "UInt8", "boolean", "double[pyarrow]", "int64[pyarrow]", "object", "None"),
    *("polars", "polars integers"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_value_of_any_kind_is_one(values, kind):
    values = np.abs(values) > 3 if kind == "boolean" else np.abs(values)
    table = with_gap(kind, values)
    model = GaussianMixture.from_parameters([1.0], [[0.0, 0.0]], [np.eye(2)])
    message = r"Input X contains NaN \(row 3, column 0(, 'a')?\)"
    for call in (GaussianMixture(2).fit, BayesianGaussianMixture(2).fit, GaussianMixture(2).partial_fit, model.score):
        with pytest.raises(ValueError, match=message):
            call(table)
    full = table if isinstance(table, np.ndarray) else table.to_numpy()
    with pytest.raises(ValueError, match=r"Input sample_weight contains NaN \(row 3\)"):
        model.score(np.ones((len(full), 2)), sample_weight=full[:, 0])
    many = fit_many(GaussianMixture(1, reg_covar=0.1), [table, np.asarray(values, float)])
    assert many.status.tolist() == [Status.NOT_FINITE, Status.CONVERGED]
    many = fit_many(GaussianMixture(1, reg_covar=0.1), table, groups=np.repeat([0, 1], 30))
    assert many.status.tolist() == [Status.NOT_FINITE, Status.CONVERGED]


def test_series_of_weights_and_whole_nullable_frames(values):
    frame = pd.DataFrame(np.abs(values), columns=["a", "b"])
    right = GaussianMixture(2, random_state=0).fit(frame).means_
    for dtype in ("Float64", "double[pyarrow]"):
        np.testing.assert_array_equal(GaussianMixture(2, random_state=0).fit(frame.astype(dtype)).means_, right)
    weight = pd.Series([1] * 59 + [pd.NA], dtype="Int64")
    with pytest.raises(ValueError, match=r"Input sample_weight contains NaN \(row 59\)"):
        GaussianMixture(2).fit(frame, sample_weight=weight)
    with pytest.raises(TypeError, match="X: argument must be a string or a number"):
        GaussianMixture(1).fit(np.array([[1.0, object()], [2.0, 3.0]], dtype=object))


def test_missing_values_in_partitions(values):
    dd = pytest.importorskip("dask.dataframe")
    frame = dd.from_pandas(with_gap("Int64", values), npartitions=2)
    with pytest.raises(ValueError, match=r"partition 0: Input X contains NaN \(row 3, column 0, 'a'\)"):
        GaussianMixture(2).fit(frame)


class Relation:
    """A lazy table of some package that has no columns until it is asked."""

    def fetchnumpy(self):
        raise AssertionError


def test_what_holds_no_rows_yet_is_told_to_be_collected(values):
    polars = pytest.importorskip("polars")
    for lazy, method in ((polars.DataFrame(values).lazy(), "collect"), (Relation(), "fetchnumpy")):
        for call in (
            GaussianMixture(1).fit,
            GaussianMixture(1).partial_fit,
            lambda X: fit_many(GaussianMixture(1), X),
            lambda X: fit_many(GaussianMixture(1), [X]),
            lambda X: GaussianMixture(1).fit(values, sample_weight=X),
        ):
            with pytest.raises(TypeError, match=rf"holds no rows yet: give what its method {method}\(\) returns"):
                call(lazy)
    with pytest.raises(TypeError, match=r"must not be a generator"):
        fit_many(GaussianMixture(1), (rows for rows in [values]))


def frames(values, count):
    yield pd.DataFrame(values, columns=["a", "b"]).assign(count=count)
    yield pd.DataFrame(values, columns=["a", "b"]).assign(count=count)[["count", "a", "b"]]
    try:
        import polars
    except ImportError:
        return
    yield polars.DataFrame({"a": values[:, 0], "count": count, "b": values[:, 1]})


def test_weights_by_the_name_of_a_column(values, rng):
    count = rng.integers(1, 4, len(values))
    plain = pd.DataFrame(values, columns=["a", "b"])
    for kind in (GaussianMixture, BayesianGaussianMixture):
        right = kind(2, random_state=0).fit(plain, sample_weight=count)
        first = kind(2, random_state=0).partial_fit(plain, sample_weight=count)
        measures = ("aic", "bic", "icl") if kind is GaussianMixture else ("evidence_lower_bound",)
        for frame in frames(values, count):
            model = kind(2, random_state=0).fit(frame, sample_weight="count")
            np.testing.assert_array_equal(model.means_, right.means_)
            assert list(model.feature_names_in_) == ["a", "b"]
            for measure in ("score", *measures):
                found = getattr(model, measure)(frame, sample_weight="count")
                assert found == getattr(right, measure)(plain, sample_weight=count)
            stream = kind(2, random_state=0).partial_fit(frame, sample_weight="count")
            np.testing.assert_array_equal(stream.means_, first.means_)
            stream.partial_fit(frame, sample_weight="count")
            labels = kind(2, random_state=0).fit_predict(frame, sample_weight="count")
            np.testing.assert_array_equal(labels, right.predict(plain))


def test_weights_of_many_by_the_name_of_a_column(values, rng):
    count = rng.integers(1, 4, len(values))
    estimator, groups = GaussianMixture(1, random_state=0), np.repeat([0, 1], 30)
    right = fit_many(estimator, values, groups=groups, sample_weight=count)
    for frame in frames(values, count):
        many = fit_many(estimator, frame, groups=groups, sample_weight="count")
        np.testing.assert_array_equal(many.means_, right.means_)
        many = fit_many(estimator, [frame[:30], frame[30:]], sample_weight="count")
        np.testing.assert_array_equal(many.means_, right.means_)
        assert list(many[0].feature_names_in_) == ["a", "b"]


def test_a_column_of_weights_that_is_not_there(values):
    frame = pd.DataFrame(values, columns=["a", "b"])
    twice = pd.DataFrame(np.c_[values, values], columns=["a", "b", "w", "w"])
    for X, message in (
        (frame, r"sample_weight='w' is none of the columns of X: \['a', 'b'\]"),
        (twice, "sample_weight='w' names 2 of the columns"),
        (values, "sample_weight='w' is none of the columns of X: they have no names in a ndarray"),
    ):
        with pytest.raises(ValueError, match=message):
            GaussianMixture(1).fit(X, sample_weight="w")
        with pytest.raises(ValueError, match=message):
            fit_many(GaussianMixture(1), [X], sample_weight="w")
    with pytest.raises(ValueError, match="sample_weight must be >= 0, got -1"):
        GaussianMixture(1).fit(frame.assign(w=-1.0), sample_weight="w")


def test_frames_in_another_order_are_refused(values):
    frame = pd.DataFrame(values, columns=["a", "b"])
    for other in (frame[["b", "a"]], frame.rename(columns={"b": "c"})):
        with pytest.raises(ValueError, match=r"with the same columns in the same order; X\[2\] has"):
            fit_many(GaussianMixture(1), [frame, values, other])
    assert not hasattr(fit_many(GaussianMixture(1), [frame, values])[0], "feature_names_in_")


def test_numbers_of_rows_to_draw(values):
    for model in (
        GaussianMixture(2, random_state=0).fit(values),
        BayesianGaussianMixture(2, random_state=0).fit(values),
    ):
        for number in (1e2, np.float32(100), np.int8(100)):
            np.testing.assert_array_equal(model.sample(number)[0], model.sample(100)[0])
        for number in (1.5, np.nan, np.inf, "3", None, True):
            with pytest.raises(ValueError, match=rf"'n_samples': {number} \. It must be an integer"):
                model.sample(number)
        with pytest.raises(ValueError, match="at least one sample"):
            model.sample(0.0)
