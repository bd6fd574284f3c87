"""Tables in, model files in and out: what is read is what was written, and what is wrong is said where it is."""

import contextlib
import gzip
import io
import json
import os
import re
import stat
import sys

import numpy as np
import pytest

from fastgmm import BayesianGaussianMixture, GaussianMixture, GaussianMixtureIC, GaussianMixtureOutlierDetector
from fastgmm.datasets import load_faithful, load_iris
from fastgmm.io import ModelFileError, TableError, load_model, read_table, save_model
from fastgmm.sources import open_rows

FAMILIES = ["full", "tied", "diag", "spherical"]


@contextlib.contextmanager
def refused(message):
    """Expect a TableError that says, besides what may help, what `message` matches."""
    with pytest.raises(TableError) as caught:
        yield caught
    assert re.search(message, caught.value.args[0])


@pytest.fixture
def write(tmp_path):
    def write(content, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize(
    ("content", "help_"),
    [
        ("kind,a\nx,1\ny,2\n", r"is not a number \(choose the columns by columns=\[...\] of fastgmm.sources.open_rows"),
        (",a\n0,1\n1,2\n", r"number the rows\? \(choose the columns by columns=\[...\] of fastgmm.sources.open_rows"),
        (
            "a\n1\n#2\n",
            r"is not a number \(skip lines that begin with '#' by comment='#' of .*open_rows or .*read_table\)$",
        ),
        (
            "a\n1\nNA\n",
            r"missing value \(leave such rows out by .*read_table, or fit to them with missing='marginal'\)$",
        ),
    ],
)
def test_what_may_help_is_said_in_python(write, content, help_):
    with pytest.raises(TableError, match=help_):
        GaussianMixture(1).fit(write(content))


# --- delimited text ----------------------------------------------------------------------------------------------

EXPECTED = [[1.5, 2.0], [3.0, -4.0]]


@pytest.mark.parametrize(
    "content",
    [
        "a,b\n1.5,2\n3,-4\n",
        "a,b\r\n1.5,2\r\n3,-4\r\n",
        "a,b\n1.5,2\n3,-4",
        "\n  \na,b\n\n1.5,2\n   \n3,-4\n\n",
        b"\xef\xbb\xbfa,b\n1.5,2\n3,-4\n",
        '"a","b"\n"1.5","2"\n3,-4\n',
        ' a , b \n 1.5 , 2 \n3, "-4e0"\n',
        "a;b\n1.5;2\n3;-4\n",
        "a\tb\n1.5\t2\n3\t-4\n",
        "a b\n1.5   2\n   3 -4  \n",
        gzip.compress(b"a,b\n1.5,2\n3,-4\n"),
    ],
    ids=["plain", "crlf", "no-end", "blank", "bom", "quoted", "padded", "semicolon", "tab", "blanks", "gzip"],
)
def test_text_of_every_kind_reads_the_same(write, content):
    table = read_table(write(content))
    np.testing.assert_array_equal(table.values, EXPECTED)
    assert table.values.dtype == np.float64
    assert table.names == ("a", "b")
    assert table.sample_weight is None
    assert table.dropped == ()


def test_standard_input(monkeypatch):
    binary = io.BufferedReader(io.BytesIO(gzip.compress(b"a,b\n1.5,2\n3,-4\n")))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(binary))
    np.testing.assert_array_equal(read_table("-").values, EXPECTED)


def test_delimiter_of_a_name_ending_in_tsv_is_a_tab(write):
    table = read_table(write("a,b c\n1\n2\n", "table.tsv"))
    assert table.names == ("a,b c",)


def test_delimiter_in_quotes_does_not_count(write):
    table = read_table(write('"a;1",b\n"u;v",2\n"w;x",-4\n'), ["b"])
    np.testing.assert_array_equal(table.values, [[2], [-4]])


def test_delimiter_can_be_given(write):
    np.testing.assert_array_equal(read_table(write("a|b\n1.5|2\n3|-4\n"), delimiter="|").values, EXPECTED)


def test_one_column_with_blanks_in_its_name(write):
    table = read_table(write("sepal length\n5.1\n4.9\n"))
    assert table.names == ("sepal length",)
    np.testing.assert_array_equal(table.values, [[5.1], [4.9]])


@pytest.mark.parametrize(
    ("first", "names"),
    [("a,b", ("a", "b")), ("a,2020", ("a", "2020")), ("a,NA", ("a", "NA")), ("1e3,-2.", None), ("NA,2", None)],
)
def test_header_is_recognised(write, first, names):
    assert read_table(write(f"{first}\n3,4\n5,6\n"), drop_missing=True).names == names


def test_infinity_is_a_number_not_a_name(write):
    with refused(r"line 1, column '2': 'inf' is not a finite number$"):
        read_table(write("1,inf\n3,4\n"))


def test_header_is_taken_from_the_caller(write):
    years = write("1990,1991\n1,2\n")
    assert read_table(years, header="yes").names == ("1990", "1991")
    assert read_table(years, header="no").values.shape == (2, 2)


def test_text_above_text_is_no_header_if_a_number_stands_beside_it(write):
    with refused(r"line 1, column '2': 'setosa' is not a number"):
        read_table(write("5.1,setosa\n4.9,setosa\n"))


def test_columns_by_name_in_the_order_asked_for(write):
    path = write("a,name,b,c\n1,x,2,3\n4,y,5,6\n")
    table = read_table(path, ["c", "a"])
    np.testing.assert_array_equal(table.values, [[3, 1], [6, 4]])
    assert table.names == ("c", "a")


def test_columns_without_header_by_number(write):
    table = read_table(write("1,x,2\n4,y,5\n"), ["3", "1"])
    np.testing.assert_array_equal(table.values, [[2, 1], [5, 4]])
    assert table.names is None


def test_weight_column_is_set_apart(write):
    path = write("a,w,b\n1,10,2\n3,20,4\n")
    table = read_table(path, weight="w")
    np.testing.assert_array_equal(table.values, [[1, 2], [3, 4]])
    np.testing.assert_array_equal(table.sample_weight, [10, 20])
    assert table.names == ("a", "b")
    np.testing.assert_array_equal(read_table(path, ["b"], weight="w").values, [[2], [4]])


def test_expected_names_choose_columns_only_where_there_are_names(write):
    np.testing.assert_array_equal(read_table(write("b,x,a\n1,z,2\n"), expected=["a", "b"]).values, [[2, 1]])
    np.testing.assert_array_equal(read_table(write("1,2\n3,4\n"), expected=["a", "b"]).values, [[1, 2], [3, 4]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n3,x\n", "table.csv: line 3, column 'b': 'x' is not a number$"),
        ("a,b\n1,2\n\n  \n3,x\n", "line 5, column 'b': 'x' is not a number$"),
        ('a,b\n1,"2\n"\n3,x\n', "line 4, column 'b'"),
        ("1,2\n3,4x\n", "line 2, column '2': '4x' is not a number$"),
        ("a;b\n1,5;2\n", r"line 2, column 'a': '1,5' is not a number \(decimals take a point\)$"),
        ("a,b\n1,2\n3,\n", "line 3, column 'b': missing value$"),
        ("a,b\n1,2\nNA,3\n", "line 3, column 'a': missing value$"),
        ("a,b\n1,2\n3,NaN\n", "line 3, column 'b': missing value$"),
        ("a,b\n1,-inf\n", "line 2, column 'b': '-inf' is not a finite number$"),
        ("a,b\n1,1e999\n", "line 2, column 'b': '1e999' is not a finite number$"),
        ("a,b\n1,2\n3,4,5\n", "line 3 has 3 columns, the first row has 2$"),
        ("a,b\n1,2\n3\n", "line 3 has 1 columns, the first row has 2$"),
        (",a\n1,2\n", "column 1 of .*table.csv has no name; does it number the rows[?]$"),
        ("a,a\n1,2\n", "has 2 columns named 'a'$"),
        ("", "table.csv is empty$"),
        ("\n \n\n", "table.csv has nothing but blank lines and comments$"),
        ("a,b\n", "table.csv has no data rows$"),
        (b"a,b\n1,\xff\n", "is not text in UTF-8"),
        (gzip.compress(b"a,b\n1,2\n" * 100, mtime=0)[:-10], "is a damaged gzip file"),
        ('a,b\n1,"' + "2" * 200_000, "is not a table in text form: line 2: field larger than field limit"),
    ],
)
def test_text_that_is_no_table_of_numbers(write, content, message):
    with refused(message):
        read_table(write(content))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"columns": ["c"]}, "has no column 'c': it has a, b$"),
        ({"columns": ["a", "b", "a"]}, "asked for more than once: a, b, a$"),
        ({"weight": "c"}, "has no column 'c': it has a, b$"),
        ({"expected": ["a", "c"]}, "has no column 'c', which the model was fitted on: it has a, b$"),
        ({"header": "no", "columns": ["3"]}, "has no column '3': it has no header, only columns 1 to 2$"),
    ],
)
def test_column_that_is_not_there(write, arguments, message):
    with refused(message):
        read_table(write("a,b\n1,2\n"), **arguments)


def test_negative_weight(write):
    with refused(r"table.csv: the weights in column 'w' go down to -2.0$"):
        read_table(write("a,w\n1,3\n2,-2\n"), weight="w")


def test_weight_alone_is_no_data(write):
    with refused("no column besides the weight"):
        read_table(write("w\n1\n"), weight="w")


def test_error_says_which_argument_helps(write):
    for content, remedy in [("a\nx\n1\n", "columns"), ("a\n1\nNA\n", "drop_missing"), ("a\n1\ninf\n", None)]:
        with pytest.raises(TableError) as caught:
            read_table(write(content), header="yes")
        assert caught.value.remedy == remedy


def test_rows_with_missing_values_are_left_out_on_demand(write):
    table = read_table(write("a,b,c\n1,2,x\n,3,x\n4,NA,x\n\n5,6,\n"), ["a", "b"], drop_missing=True)
    np.testing.assert_array_equal(table.values, [[1, 2], [5, 6]])
    assert table.dropped == (3, 4)


def test_nothing_left_without_missing_values(write):
    with refused("no row without a missing value"):
        read_table(write("a,b\n1,\n,2\n"), drop_missing=True)


def test_long_text_is_read_across_blocks(write):
    values = np.random.default_rng(0).normal(size=(20_000, 3))
    lines = [",".join(map(repr, row)) for row in values.tolist()]
    np.testing.assert_array_equal(read_table(write("\n".join(lines))).values, values)
    lines[17_000] = "1,2,"
    table = read_table(write("\n".join(lines)), drop_missing=True)
    np.testing.assert_array_equal(table.values, np.delete(values, 17_000, axis=0))
    assert table.dropped == (17_001,)


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        ('x,y,note\n1,2,"hello\n#world"\n3,4,"b"\n5,6,#c\n', ["x", "y"]),
        ("colour,x,y\n#ff0000,1,2\n#00ff00,3,4\nblue,5,6\n", ["x", "y"]),
        ("#x,y\n1,2\n3,4\n", ["#x", "y"]),
        ('"first\n#name",y\n1,2\n3,4\n', ["first\n#name", "y"]),
        ("#N/A,1\n2,3\n+nan,4\n-NaN,5\n<NA>,6\n,7\nNULL,8\nNone,9\n", None),
        ("x,y\n+1.5e3,.5\n-2.,+.5E-3\n 1 ,2\n007,8\n", None),
        ("x,y\n1_0,2\n3,4\n", None),
        ("x,y\n1,2\n3,1__0\n", None),
        ("2_5,3\n1,2\n", None),
        ("1_000,2_000\n1,2\n", None),
        ("x,y\n\u0661,2\n", None),
        ("x,y\n#DIV/0!,2\n3,4\n", None),
        ("#REF!,2\n3,4\n", None),
        ("x,y\n1,#VALUE!\n", None),
        ("x,y\n0x1A,2\n", None),
        ('x,y,note\n1,2,"a quote without an end\n3,4,b\n', ["x", "y"]),
        ("x y\na 1 2\nb 3 4\n", None),
        ("x,y\n1,2,\n3,4,\n", None),
    ],
)
def test_memory_streams_and_pandas_agree_on_rows(write, content, columns):
    pandas = pytest.importorskip("pandas")
    path = write(content)

    def outcome(read):
        try:
            return read()
        except ValueError as error:
            return re.sub(r"^.*table.csv", "", str(error))

    def streamed():
        rows = open_rows(path, columns=columns)
        return np.concatenate([block.X.copy() for block in rows.blocks(10)])

    read, again = outcome(lambda: read_table(path, columns).values), outcome(streamed)
    if isinstance(read, str):
        assert again == read
        dropped = outcome(lambda: read_table(path, columns, drop_missing=True))
        if isinstance(dropped, str):
            return
        read = dropped.values
    else:
        np.testing.assert_array_equal(again, read)
    names = 0 if read_table(path, columns, drop_missing=True).names else None
    frame = pandas.read_csv(path, header=names, na_values=["+nan", "-NaN"], skipinitialspace=True)
    frame = frame[columns] if columns else frame
    np.testing.assert_array_equal(frame.dropna().to_numpy(float), read)


@pytest.mark.parametrize(
    ("content", "message", "remedy"),
    [
        ("x,y\n1,2\n2_5,3\n", "line 3, column 'x': '2_5' is not a number$", "columns"),
        ("2_5,3\n1,2\n", "line 1, column '1': '2_5' is not a number$", "columns"),
        ("x,y\n1,2\n#N/A,3\n", "line 3, column 'x': missing value$", "drop_missing"),
        ("x,y\n1,2\n3,+NaN\n", "line 3, column 'y': missing value$", "drop_missing"),
        ("x,y\n#NAME?,2\n", "'#NAME[?]' is not a number, but an error of a spreadsheet", None),
        ("x,y\n1,2\n# made by hand\n3,4\n", "line 3 has 1 columns, the first row has 2$", "comment"),
        ("# made by hand\nx,y\n1,2\n", "line 2 has 2 columns, the first row has 1$", "comment"),
        ("x\n# 1\n2\n", "line 2, column 'x': '# 1' is not a number$", "comment"),
        ('x,y\n1,"2\n3,4\n', "line 2: a quote is not closed$", None),
        ('"x" "y"\n"1" 0.5 1.5\n"2" 1.5 2.5\n', "line 2 has 3 columns, the first row has 2$", None),
    ],
)
def test_what_looks_like_a_number_or_a_comment_is_said(write, content, message, remedy):
    for read in (read_table, open_rows):
        with refused(message) as caught:
            read(write(content))
        assert caught.value.remedy == remedy


def test_comments_are_lines_that_begin_as_the_user_says(write):
    content = '% made by\n%\nx,y,note\n1,2,"a\n% of it"\n%3,4,b\n5,6,7%\n% end\n'
    table = read_table(write(content), ["x", "y"], comment="%")
    np.testing.assert_array_equal(table.values, [[1, 2], [5, 6]])
    assert table.names == ("x", "y")
    with refused("line 3, column 'x': 'b' is not a number"):
        read_table(write("# c\nx\nb\n1\n"), comment="#", header="yes")


def test_rows_that_are_kept_can_be_told(write, tmp_path):
    path = write('name,x\n\n"a\nb",1\nc,\n007,3\n', "t.csv")
    table = read_table(path, row_id="name", drop_missing=True)
    assert (table.names, table.ids, table.rows.tolist(), table.dropped) == (("x",), ("a\nb", "007"), [1, 3], (5,))
    np.save(tmp_path / "t.npy", [[7.0, 1.0], [8.0, np.nan], [9.0, 2.0]])
    table = read_table(tmp_path / "t.npy", row_id="1", drop_missing=True)
    assert (table.ids, table.rows.tolist(), table.values.tolist()) == (("7.0", "9.0"), [1, 3], [[1.0], [2.0]])


def test_missing_file():
    with pytest.raises(FileNotFoundError):
        read_table("no-such-file.csv")


# --- arrays and Parquet ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.uint8, np.bool_])
def test_array_file(tmp_path, dtype):
    values = np.array([[1, 0, 3], [4, 1, 6]]).astype(dtype)
    np.save(tmp_path / "a.npy", values)
    table = read_table(tmp_path / "a.npy", ["3", "1"])
    np.testing.assert_array_equal(table.values, values[:, [2, 0]].astype(np.float64))
    assert table.values.dtype == (np.float32 if dtype is np.float32 else np.float64)
    assert table.names is None


def test_array_file_is_mapped_not_read(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((5, 2)))
    base = read_table(tmp_path / "a.npy").values
    while not isinstance(base, np.memmap):
        base = base.base
    assert base.mode == "r"


def test_array_of_one_dimension_is_one_column(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(3.0))
    assert read_table(tmp_path / "a.npy").values.shape == (3, 1)


def test_array_archive(tmp_path):
    np.savez_compressed(tmp_path / "one.npz", x=np.ones((2, 2)))
    assert read_table(tmp_path / "one.npz").values.shape == (2, 2)
    np.savez(tmp_path / "two.npz", x=np.ones((2, 2)), y=np.zeros((3, 1)))
    assert read_table(tmp_path / "two.npz", array="y").values.shape == (3, 1)
    with refused(r"two.npz holds 2 arrays \(x, y\)$") as caught:
        read_table(tmp_path / "two.npz")
    assert caught.value.remedy == "array"
    with refused(r"two.npz has no array 'z': it has x, y$"):
        read_table(tmp_path / "two.npz", array="z")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([[1.0, 2.0], [3.0, np.nan]]), "row 2, column '2': missing value$"),
        (np.array([[1.0, np.inf]]), "row 1, column '2': inf is not a finite number$"),
        (np.ones((2, 2, 2)), "an array with 3 dimensions"),
        (np.float64(1), "an array with 0 dimensions"),
        (np.array([["a"]]), "values of type <U1, not numbers$"),
        (np.array([[1j]]), "values of type complex128, not numbers$"),
        (np.empty((0, 2)), "has no data rows$"),
        (np.array([[{}]], dtype=object), "a.npy is not a NumPy file of numbers$"),
    ],
)
def test_array_that_is_no_table_of_numbers(tmp_path, values, message):
    np.save(tmp_path / "a.npy", values, allow_pickle=True)
    with refused(message):
        read_table(tmp_path / "a.npy")


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_damaged_array_file(write, name):
    with refused(r"is not a NumPy file of numbers$"):
        read_table(write("a,b\n1,2\n", name))


def test_missing_rows_of_an_array_are_left_out_on_demand(tmp_path):
    values = np.arange(40_000.0).reshape(-1, 2)
    values[3] = values[15_000, 0] = np.nan
    np.save(tmp_path / "a.npy", values)
    table = read_table(tmp_path / "a.npy", drop_missing=True)
    np.testing.assert_array_equal(table.values, np.delete(values, [3, 15_000], axis=0))
    assert table.dropped == (4, 15_001)


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "table.parquet"
    columns = {"a": [1.5, 2.5, 3.5], "n": [1, None, 2**53 + 1], "s": ["x", "y", "z"], "w": [True, False, True]}
    parquet.write_table(pyarrow.table(columns), path)
    table = read_table(path, ["w", "a"])
    np.testing.assert_array_equal(table.values, [[1, 1.5], [0, 2.5], [1, 3.5]])
    assert table.names == ("w", "a")
    table = read_table(path, ["a", "n"], weight="w", drop_missing=True)
    np.testing.assert_array_equal(table.values, [[1.5, 1], [3.5, 2.0**53]])
    np.testing.assert_array_equal(table.sample_weight, [1, 1])
    assert table.dropped == (2,)
    with refused(r"column 's' holds values of type string, not numbers$"):
        read_table(path)
    with refused(r"row 2, column 'n': missing value$"):
        read_table(path, ["n"])
    with refused(r"has no column 'q': it has a, n, s, w$"):
        read_table(path, ["q"])


def test_damaged_parquet(write):
    pytest.importorskip("pyarrow")
    with refused("cannot be read as a Parquet file"):
        read_table(write("a,b\n1,2\n", "table.parquet"))


def test_parquet_without_pyarrow(write, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r'pip install "fastgmm\[parquet\]"'):
        read_table(write("", "table.parquet"))


# --- model files -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=FAMILIES)
def model(request):
    return GaussianMixture(3, covariance_type=request.param, random_state=0, tol=1e-2).fit(load_iris().data)


@pytest.mark.parametrize("suffix", [".json", ".npz"])
def test_a_model_file_keeps_every_bit(tmp_path, model, suffix):
    data = load_iris().data
    save_model(model, tmp_path / f"m{suffix}", feature_names=load_iris().feature_names)
    loaded = load_model(tmp_path / f"m{suffix}")
    assert type(loaded) is GaussianMixture
    for name in ("weights_", "means_", "covariances_"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(model, name))
    assert loaded.covariance_type == model.covariance_type
    assert (loaded.converged_, loaded.n_iter_) == (model.converged_, model.n_iter_)
    assert loaded.lower_bound_ == model.lower_bound_
    assert (loaded.tol, loaded.random_state) == (1e-2, 0)
    assert tuple(loaded.feature_names_in_) == load_iris().feature_names
    del loaded.feature_names_in_
    np.testing.assert_array_equal(loaded.predict_proba(data), model.predict_proba(data))


@pytest.mark.parametrize("suffix", [".json", ".npz"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_of_single_precision_keeps_every_bit(tmp_path, family, suffix):
    # So close to a line that the covariances, rounded, are not positive definite.
    line = np.random.default_rng(0).normal(size=(500, 2)) * [1000, 0.03]
    data = (line @ [[1, 1], [0, 1]]).astype(np.float32)
    model = GaussianMixture(2, covariance_type=family, random_state=0).fit(data)
    save_model(model, tmp_path / f"m{suffix}")
    loaded = load_model(tmp_path / f"m{suffix}")
    for name in ("weights_", "means_", "covariances_", "precisions_cholesky_", "precisions_"):
        assert getattr(loaded, name).dtype == np.float32
        np.testing.assert_array_equal(getattr(loaded, name), getattr(model, name))
    np.testing.assert_array_equal(loaded.score_samples(data), model.score_samples(data))


def test_names_that_are_too_few_do_not_lose_the_model(tmp_path):
    model = GaussianMixture(2, random_state=0).fit(load_faithful().data)
    save_model(model, tmp_path / "m.json")
    with pytest.raises(ModelFileError, match=r"feature_names must be 2 names, one for each feature, got 1$"):
        save_model(model, tmp_path / "m.json", feature_names=["a"])
    with pytest.raises(ModelFileError, match=r"feature_names must be 2 names, .* got the text 'ab'$"):
        save_model(model, tmp_path / "m.json", feature_names="ab")
    np.testing.assert_array_equal(load_model(tmp_path / "m.json").means_, model.means_)


def test_a_factor_of_another_shape_is_refused(tmp_path):
    save_model(GaussianMixture(2).fit(load_faithful().data.astype(np.float32)), tmp_path / "m.json")
    document = json.loads((tmp_path / "m.json").read_text())
    (tmp_path / "m.json").write_text(json.dumps(document | {"covariances": [1.0, 1.0]}))
    with pytest.raises(
        ModelFileError, match=r"'precisions_cholesky' and 'covariances' must have the shape \(2, 2, 2\)$"
    ):
        load_model(tmp_path / "m.json")


def test_a_number_beyond_all_bounds_is_refused(tmp_path):
    save_model(GaussianMixture(1).fit(load_faithful().data), tmp_path / "m.json")
    text = re.sub(r'"means": \[\[[^,]*', '"means": [[1e999', (tmp_path / "m.json").read_text())
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(ModelFileError, match=r"m.json does not describe a mixture: .*means.*infinity"):
        load_model(tmp_path / "m.json")


def test_names_of_a_data_frame_are_stored(tmp_path):
    pandas = pytest.importorskip("pandas")
    model = GaussianMixture(2, random_state=0).fit(pandas.DataFrame(load_faithful().data, columns=["e", "w"]))
    save_model(model, tmp_path / "m.json")
    assert load_model(tmp_path / "m.json").feature_names_in_.tolist() == ["e", "w"]


def test_weights_need_not_sum_to_one_to_the_last_bit(tmp_path):
    model = GaussianMixture.from_parameters([0.1] * 10, np.arange(10.0)[:, np.newaxis], np.ones(10), "spherical")
    model.weights_ = np.array([0.1] * 9 + [0.1 + 1e-12])
    save_model(model, tmp_path / "m.json")
    np.testing.assert_array_equal(load_model(tmp_path / "m.json").weights_, model.weights_)


def test_what_a_made_model_does_not_know_stays_unknown(tmp_path):
    model = GaussianMixture.from_parameters([1.0], [[0.0]], [1.0], "spherical")
    save_model(model, tmp_path / "m.json")
    loaded = load_model(tmp_path / "m.json")
    assert np.isnan(loaded.lower_bound_)
    assert (loaded.converged_, loaded.n_iter_) == (False, 0)


def test_a_model_file_says_what_it_is(tmp_path):
    model = GaussianMixture(2, random_state=0).fit(load_faithful().data)
    save_model(model, tmp_path / "m.json", n_samples=272, log_likelihood=-1130.25)
    document = json.loads((tmp_path / "m.json").read_text())
    assert (document["format"], document["version"]) == ("fastgmm-model", 1)
    assert (document["estimator"], document["covariance_type"]) == ("GaussianMixture", "full")
    assert document["feature_names"] is None
    assert document["weights"] == model.weights_.tolist()
    assert np.shape(document["means"]) == (2, 2)
    assert np.shape(document["covariances"]) == (2, 2, 2)
    fit = document["fit"]
    assert (fit["n_samples"], fit["log_likelihood"], fit["converged"]) == (272, -1130.25, True)
    assert fit["params"]["random_state"] == 0
    with np.load(_converted(tmp_path, model), allow_pickle=False) as archive:
        metadata = json.loads(str(archive["metadata"]))
        assert {*archive.files} == {"weights", "means", "covariances", "metadata"}
    assert metadata["fit"]["params"] == fit["params"]


def _converted(folder, model):
    save_model(model, folder / "m.npz")
    return folder / "m.npz"


def test_parameters_that_are_no_plain_values_are_not_stored(tmp_path):
    labels = np.arange(272) % 2
    model = GaussianMixture(2, random_state=np.random.RandomState(0), init_params=labels, tol=np.float32(0.5))
    save_model(model.fit(load_faithful().data), tmp_path / "m.json")
    loaded = load_model(tmp_path / "m.json")
    assert (loaded.random_state, loaded.init_params, loaded.tol) == (None, "auto", 0.5)


def test_only_fitted_and_known_estimators_are_stored(tmp_path):
    with pytest.raises(ModelFileError, match="this GaussianMixture is not fitted"):
        save_model(GaussianMixture(2), tmp_path / "m.json")
    model = GaussianMixture(2, random_state=0).fit(load_faithful().data)
    model.means_ = model.means_.astype(object)
    with pytest.raises(ModelFileError, match="cannot store means_ in a model file: it is not an array of numbers"):
        save_model(model, tmp_path / "m.npz")
    with pytest.raises(ModelFileError, match=r"cannot store a dict in a model file$"):
        save_model({}, tmp_path / "m.json")
    selection = GaussianMixtureIC(max_components=1, covariance_type="full").fit(load_faithful().data)
    with pytest.raises(
        ModelFileError, match="a GaussianMixtureIC in a model file: store its best_estimator_ alone, or"
    ):
        save_model(selection, tmp_path / "m.json")
    detector = GaussianMixtureOutlierDetector(GaussianMixture(1)).fit(load_faithful().data)
    with pytest.raises(ModelFileError, match="store its mixture_ alone"):
        save_model(detector, tmp_path / "m.json")
    with pytest.raises(ModelFileError, match=r"m.pkl: the name must end in .json or .npz"):
        save_model(GaussianMixture(2), tmp_path / "m.pkl")
    assert os.listdir(tmp_path) == []


def _break(name, value):
    def change(document):
        document[name] = value

    return change


def _remove(name):
    def change(document):
        del document[name]

    return change


def _break_fit(name, value):
    def change(document):
        document["fit"][name] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_break("format", "other"), "m.json is not a fastgmm model file$"),
        (_remove("format"), "m.json is not a fastgmm model file$"),
        (_break("version", 2), r"written by a newer fastgmm \(model file version 2; this one reads up to 1\)$"),
        (_break("version", "1"), "has no valid model file version$"),
        (_remove("version"), "has no valid model file version$"),
        (_break("estimator", "Forest"), "damaged model file: unknown estimator 'Forest'$"),
        (_break("covariance_type", "oval"), "m.json does not describe a mixture: .*'oval'"),
        (_break("dtype", "int8"), "unknown dtype 'int8'$"),
        (_remove("weights"), "'weights' is missing$"),
        (_remove("fit"), "'fit' is missing$"),
        (_break("weights", [0.5, 0.6]), r"m.json does not describe a mixture: .*weights.*1\.1"),
        (_break("weights", [1.5, -0.5]), "m.json does not describe a mixture: .*weights.*range"),
        (_break("weights", [1.0]), r"m.json does not describe a mixture: .*weights.*shape of \(2,\), but got \(1,\)"),
        (_break("weights", ["0.5", "0.5"]), "'weights' is not an array of numbers$"),
        (_break("means", [[1.0, 2.0], [3.0]]), "'means' is not an array of numbers$"),
        (_break("means", [1.0, 2.0]), r"'means' has the shape \(2,\)"),
        (_break("means", []), "'means' is not an array of numbers|'means' has the shape"),
        (_break("means", [[float("nan"), 1.0], [2.0, 3.0]]), "it holds the number NaN$"),
        (_break("means", [[1e999, 1.0], [2.0, 3.0]]), "it holds the number Infinity$"),
        (_break("covariances", [[1.0, 1.0], [1.0, 1.0]]), r"m.json does not describe a mixture: .*shape.*\(2, 2, 2\)"),
        (_break("covariances", [[[1.0, 2.0], [2.0, 1.0]]] * 2), "m.json does not describe a mixture: .*positive"),
        (_break("feature_names", ["a"]), "there are 1 'feature_names' for 2 features$"),
        (_break("feature_names", [1, 2]), "'feature_names' is not a list of names$"),
        (_break_fit("converged", "yes"), "'converged' is 'yes', which is not of type bool$"),
        (_break_fit("n_iter", True), "'n_iter' is True, which is not of type int$"),
        (_break_fit("n_iter", -1), "'n_iter' is -1, which is negative$"),
        (_break_fit("n_known_parameters", -3), "'n_known_parameters' is -3, which is negative$"),
        (_break_fit("params", {"colour": 1}), "m.json does not describe a mixture: .*colour"),
        (_break_fit("spurious", [3]), "damaged model file: 'spurious' is not a list of components$"),
        (
            _break_fit("spurious", [{"component": 9, "reason": ""}]),
            "damaged model file: 'spurious' names component 9 of ",
        ),
        (_break_fit("spurious", [{"component": 0}]), "damaged model file: 'reason' is missing$"),
        (_break_fit("lower_bound", 10**400), "damaged model file: 'lower_bound' is a number beyond float64$"),
        (_break_fit("log_likelihood", -(10**400)), "damaged model file: 'log_likelihood' is a number beyond float64$"),
        (_break("weights", [10**400, 1]), "m.json is a damaged model file: 'weights' is not an array of numbers$"),
        (
            _break("means", [[10**400, 1], [2, 3]]),
            "m.json is a damaged model file: 'means' is not an array of numbers$",
        ),
    ],
)
def test_a_file_that_is_no_model_is_refused(tmp_path, change, message):
    path = tmp_path / "m.json"
    save_model(GaussianMixture(2, random_state=0).fit(load_faithful().data), path)
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(ModelFileError, match=message):
        load_model(path)


# --- model files of variational Bayes ----------------------------------------------------------------------------

PRIOR_TYPES = ["dirichlet_process", "dirichlet_distribution"]
PRIOR = {
    "weight_concentration_prior", "mean_precision_prior", "mean_prior", "degrees_of_freedom_prior", "covariance_prior",
}  # fmt: skip


def bayesian(data=None, **params):
    data = load_iris().data if data is None else data
    return BayesianGaussianMixture(**{"n_components": 5, "random_state": 0, "tol": 0.05} | params).fit(data)


def attributes(model):
    """Return what a fit left, but for the course of the bound, which no file holds."""
    return {
        name: value
        for name, value in vars(model).items()
        if name.endswith("_") and name not in ("lower_bounds_", "restarts_")
    }


def assert_same_attributes(found, expected):
    assert attributes(found).keys() == attributes(expected).keys()
    for name, value in attributes(expected).items():
        other = getattr(found, name)
        assert type(other) is type(value), name
        for one, two in zip(np.atleast_1d(other), np.atleast_1d(value), strict=True):
            assert one.dtype == two.dtype, name
            np.testing.assert_array_equal(one, two, err_msg=name)


@pytest.mark.parametrize("suffix", [".json", ".npz"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("prior_type", PRIOR_TYPES)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_file_of_variational_bayes_keeps_every_bit(tmp_path, family, prior_type, dtype, suffix):
    data = load_iris().data.astype(dtype)
    model = bayesian(data, covariance_type=family, weight_concentration_prior_type=prior_type)
    assert model.means_.dtype == dtype
    assert model.weight_concentration_[0].dtype == np.float64
    save_model(model, tmp_path / f"m{suffix}")
    loaded = load_model(tmp_path / f"m{suffix}")
    assert type(loaded) is BayesianGaussianMixture
    assert_same_attributes(loaded, model)
    for predictive in ("expected-log", "plug-in", "student-t"):
        np.testing.assert_array_equal(
            loaded.score_samples(data, predictive=predictive), model.score_samples(data, predictive=predictive)
        )
        np.testing.assert_array_equal(
            loaded.predict_proba(data, predictive=predictive), model.predict_proba(data, predictive=predictive)
        )
    assert loaded.evidence_lower_bound(data) == model.evidence_lower_bound(data)
    np.testing.assert_array_equal(loaded.component_mass_, model.component_mass_)
    np.testing.assert_array_equal(
        loaded.sample(9, 1, predictive="student-t")[0], model.sample(9, 1, predictive="student-t")[0]
    )
    assert_same_attributes(loaded.prune(), model.prune())


@pytest.mark.parametrize("prior_type", PRIOR_TYPES)
def test_a_loaded_fit_of_variational_bayes_goes_on(tmp_path, prior_type):
    data = load_iris().data
    model = bayesian(data, weight_concentration_prior_type=prior_type, max_iter=15, tol=1e3)
    save_model(model, tmp_path / "m.json")
    on, on_twin = (
        fitted.set_params(warm_start=True, tol=1e-6, max_iter=1000).fit(data)
        for fitted in (load_model(tmp_path / "m.json"), model)
    )
    assert on.converged_
    assert on.n_iter_ == on_twin.n_iter_
    np.testing.assert_array_equal(on.lower_bounds_, on_twin.lower_bounds_)


def test_the_prior_is_a_parameter_of_the_restored_model(tmp_path):
    model = bayesian(n_init=2, sort_sticks=True, mean_precision_prior=0.5)
    save_model(model, tmp_path / "m.json")
    loaded = load_model(tmp_path / "m.json")
    assert (loaded.n_components, loaded.n_init, loaded.sort_sticks, loaded.tol) == (5, 2, True, 0.05)
    assert (loaded.weight_concentration_prior, loaded.mean_precision_prior) == (0.2, 0.5)
    assert type(loaded.weight_concentration_prior) is float
    np.testing.assert_array_equal(loaded.mean_prior, model.mean_prior_)
    np.testing.assert_array_equal(loaded.covariance_prior, model.covariance_prior_)
    # Data that would give another prior.
    moved = loaded.fit(load_iris().data + 100)
    np.testing.assert_array_equal(moved.mean_prior_, model.mean_prior_)
    document = json.loads((tmp_path / "m.json").read_text())
    assert document["version"] == 1
    assert document.keys() >= PRIOR
    assert not document["fit"]["params"].keys() & PRIOR
    assert np.shape(document["weight_concentration"]) == (2, 5)


def test_starting_laws_are_not_stored(tmp_path):
    starts = {"means_init": load_iris().data[:5], "weight_concentration_init": 3.0, "mean_precision_init": 3.0,
              "degrees_of_freedom_init": 9.0, "covariances_init": [np.eye(4)] * 5}  # fmt: skip
    model = bayesian(weight_concentration_prior_type="dirichlet_distribution", **starts)
    save_model(model, tmp_path / "m.json")
    loaded = load_model(tmp_path / "m.json")
    assert [getattr(loaded, name) for name in starts] == [None] * 5


@pytest.mark.parametrize("prior_type", PRIOR_TYPES)
def test_a_model_that_does_not_know_its_prior_is_stored_without(tmp_path, prior_type):
    data, full = load_iris().data, bayesian(weight_concentration_prior_type=prior_type)
    model = BayesianGaussianMixture.from_parameters(
        full.weight_concentration_, full.mean_precision_, full.means_, full.degrees_of_freedom_, full.covariances_,
        weight_concentration_prior_type=prior_type, weight_concentration_prior=0.25,
    )  # fmt: skip
    save_model(model, tmp_path / "m.json")
    assert not json.loads((tmp_path / "m.json").read_text()).keys() & PRIOR
    loaded = load_model(tmp_path / "m.json")
    assert not any(hasattr(loaded, f"{name}_") for name in PRIOR)
    assert loaded.weight_concentration_prior == 0.25
    np.testing.assert_array_equal(
        loaded.score_samples(data, predictive="student-t"), full.score_samples(data, predictive="student-t")
    )
    with pytest.raises(ValueError, match="prior"):
        loaded.evidence_lower_bound(data)


def test_parameters_set_after_the_fit_do_not_change_the_file(tmp_path):
    data = load_iris().data
    model = bayesian(covariance_type="diag")
    density = model.score_samples(data)
    model.set_params(
        covariance_type="full", weight_concentration_prior_type="dirichlet_distribution", mean_precision_prior=7.0
    )
    save_model(model, tmp_path / "m.json")
    loaded = load_model(tmp_path / "m.json")
    assert (loaded.covariance_type, loaded.weight_concentration_prior_type) == ("diag", "dirichlet_process")
    assert loaded.mean_precision_prior_ == 1.0
    np.testing.assert_array_equal(loaded.score_samples(data), density)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_remove("weight_concentration"), "damaged model file: 'weight_concentration' is missing$"),
        (_remove("mean_prior"), "damaged model file: 'mean_prior' is missing$"),
        (_remove("weight_concentration_prior"), "damaged model file: 'weight_concentration_prior' is missing$"),
        (_break("covariance_prior", None), "damaged model file: 'covariance_prior' is not an array of numbers$"),
        (_break("mean_precision", ["1", "2"]), "'mean_precision' is not an array of numbers$"),
        (_break("mean_precision", [1.0]), r"m.json does not describe a mixture: .*mean_precision.*\(2,\).*\(1,\)"),
        (_break("mean_precision", [1.0, 0.0]), "m.json does not describe a mixture: mean_precision must be above 0"),
        (_break("weight_concentration", [1.0, 1.0]), r"does not describe a mixture: .*weight_concentration.*\(2, 2\)"),
        (_break("weight_concentration", [[1.0, -1.0]] * 2), "weight_concentration must be above 0, got -1"),
        (_break("weight_concentration", [[1e999, 1.0]] * 2), "it holds the number Infinity$"),
        (_break("degrees_of_freedom", [1.0, 3.0]), "degrees_of_freedom must be above 1, got 1"),
        (_break("means", [[1.0], [2.0, 3.0]]), "'means' is not an array of numbers$"),
        (_break("covariances", [[[1.0, 2.0], [2.0, 1.0]]] * 2), "m.json does not describe a mixture: .*positive"),
        (_break("mean_prior", [1.0]), r"m.json does not describe a mixture: .*mean_prior.*\(2,\).*\(1,\)"),
        (_break("mean_prior", 1.0), "m.json does not describe a mixture: .*mean_prior"),
        (_break("weight_concentration_prior", [1.0, 1.0]), "m.json does not describe a mixture: weight_concentration_"),
        (_break("weight_concentration_prior", -1.0), "m.json does not describe a mixture: weight_concentration_prior"),
        (_break("degrees_of_freedom_prior", 1.0), "m.json does not describe a mixture: .*degrees_of_freedom_prior"),
        (_break("degrees_of_freedom_prior", [[3.0]]), "m.json does not describe a mixture: degrees_of_freedom_prior"),
        (_break("covariance_prior", [[1.0, 2.0], [2.0, 1.0]]), "m.json does not describe a mixture: .*positive"),
        (_break("covariance_prior", 1.0), r"m.json does not describe a mixture: .*covariance_prior.*\(2, 2\)"),
        (_break_fit("params", {"mean_prior": 1.0}), "m.json does not describe a mixture: .*'mean_prior'"),
        (_break_fit("params", {"weight_concentration_prior_type": "x"}), "does not describe a mixture: .*got 'x'"),
    ],
)
def test_a_file_that_is_no_model_of_variational_bayes_is_refused(tmp_path, change, message):
    test_path = tmp_path / "m.json"
    save_model(bayesian(load_faithful().data, n_components=2), test_path)
    document = json.loads(test_path.read_text())
    change(document)
    test_path.write_text(json.dumps(document))
    with pytest.raises(ModelFileError, match=message):
        load_model(test_path)


@pytest.mark.parametrize("estimator", [GaussianMixture, BayesianGaussianMixture])
@pytest.mark.parametrize(
    ("name", "number"), [("precisions_cholesky", -1.0), ("precisions_cholesky", 0.0), ("covariances", 1e39)]
)
def test_a_damaged_factor_is_refused(tmp_path, estimator, name, number):
    model = estimator(2, covariance_type="spherical", random_state=0).fit(load_faithful().data.astype(np.float32))
    save_model(model, tmp_path / "m.json")
    document = json.loads((tmp_path / "m.json").read_text())
    document[name][1] = number
    (tmp_path / "m.json").write_text(json.dumps(document))
    with pytest.raises(ModelFileError, match="'precisions_cholesky' must have a positive diagonal, and 'covariances'"):
        load_model(tmp_path / "m.json")


def test_files_of_the_first_version_can_be_read(write):
    params = '"init_params": "kmeans", "max_iter": 100, "n_init": 1, "random_state": 0, "reg_covar": 1e-06, "tol": 0.01'
    content = """{
 "format": "fastgmm-model", "version": 1, "fastgmm_version": "0.1.0.dev0", "estimator": "GaussianMixture",
 "covariance_type": "diag", "dtype": "float64", "feature_names": ["a", "b"],
 "fit": {"converged": true, "n_iter": 7, "lower_bound": -4.5, "n_samples": 9, "log_likelihood": -40.5,
         "params": {PARAMS, "warm_start": false}},
 "weights": [0.25, 0.75], "means": [[0.0, 1.0], [2.0, 3.0]], "covariances": [[1.0, 2.0], [0.5, 0.25]]
}
""".replace("PARAMS", params)
    model = load_model(write(content, "m.json"))
    assert (model.tol, model.n_iter_, model.lower_bound_, model.converged_) == (0.01, 7, -4.5, True)
    np.testing.assert_array_equal(model.weights_, [0.25, 0.75])
    np.testing.assert_array_equal(model.means_, [[0.0, 1.0], [2.0, 3.0]])
    np.testing.assert_array_equal(model.covariances_, [[1.0, 2.0], [0.5, 0.25]])
    np.testing.assert_allclose(model.precisions_, [[1.0, 0.5], [2.0, 4.0]])


@pytest.mark.parametrize(
    "content", [b"", b"a,b\n1,2\n", b"[1, 2]", b"\x80\x04N.", b"PK\x03\x04 damaged", b"[" * 100_000]
)
def test_a_file_of_another_kind_is_refused(write, content):
    with pytest.raises(ModelFileError, match=r"m.json is not a fastgmm model file$"):
        load_model(write(content, "m.json"))


def test_an_archive_of_other_arrays_is_refused(tmp_path):
    np.savez(tmp_path / "m.npz", weights=np.ones(1))
    with pytest.raises(ModelFileError, match=r"m.npz is not a fastgmm model file$"):
        load_model(tmp_path / "m.npz")


def test_an_archive_with_a_pickle_is_refused(tmp_path):
    path = tmp_path / "m.npz"
    save_model(GaussianMixture(2, random_state=0).fit(load_faithful().data), path)
    with np.load(path) as archive:
        content = dict(archive)
    np.savez(path, **content | {"means": np.array([{}, {}], dtype=object)})
    with pytest.raises(ModelFileError, match=r"m.npz is not a fastgmm model file$"):
        load_model(path)


def test_missing_model_file():
    with pytest.raises(FileNotFoundError):
        load_model("no-such-model.json")


# --- how files are written ---------------------------------------------------------------------------------------


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    model = GaussianMixture(2, random_state=0).fit(load_faithful().data)
    path = tmp_path / "m.json"
    path.write_text("old")
    monkeypatch.setattr(os, "replace", _fail)
    with pytest.raises(OSError, match="disk full"):
        save_model(model, path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["m.json"]


def _fail(*arguments):
    raise OSError("disk full")


@pytest.mark.skipif(os.name != "posix", reason="permissions, links and pipes of POSIX")
def test_permissions_and_links_are_kept(tmp_path):
    model = GaussianMixture(2, random_state=0).fit(load_faithful().data)
    (tmp_path / "folder").mkdir()
    link = tmp_path / "link.json"
    link.symlink_to(tmp_path / "folder" / "m.json")
    save_model(model, link)
    assert link.is_symlink()
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((tmp_path / "folder" / "m.json").stat().st_mode) == 0o666 & ~mask


@pytest.mark.parametrize("kind", ["csv", "npy", "parquet"])
def test_missing_values_may_be_kept(tmp_path, kind):
    table = np.array([[1.0, np.nan, 1.0], [np.nan, np.nan, 2.0], [5.0, 6.0, 0.5]])
    path = tmp_path / f"t.{kind}"
    if kind == "csv":
        path.write_text("a,b,w\n1,NA,1\n,n/a,2\n5,6,0.5\n")
    elif kind == "npy":
        np.save(path, table)
    else:
        pa = pytest.importorskip("pyarrow")
        columns = [[None if np.isnan(value) else value for value in column] for column in table.T]
        pytest.importorskip("pyarrow.parquet").write_table(pa.table(dict(zip("abw", columns, strict=True))), path)
    weight = "3" if kind == "npy" else "w"
    kept = read_table(path, weight=weight, keep_missing=True)
    np.testing.assert_array_equal(kept.values, table[:, :2])
    np.testing.assert_array_equal(kept.sample_weight, table[:, 2])
    assert not kept.dropped
    assert kept.rows.tolist() == [1, 2, 3]
    second = "2" if kind == "npy" else "b"
    with pytest.raises(TableError, match="missing value"):
        read_table(path, weight=second, keep_missing=True)
    with pytest.raises(ValueError, match="drop_missing and keep_missing must not both be True"):
        read_table(path, drop_missing=True, keep_missing=True)
