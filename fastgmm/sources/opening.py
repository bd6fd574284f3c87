"""Which kind of rows a user's data are."""

from __future__ import annotations

import glob
import importlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgmm import validation
from fastgmm.rows import Rows
from fastgmm.support.showing import shown

# The modules that take data of a package, by the package's name: each has ``open_rows(data, sample_weight)``.
_MODULES: dict[str, str] = {
    "dask": "fastgmm.sources.dask",
    "h5py": "fastgmm.sources.stores",
    "pyarrow": "fastgmm.sources.files",
    "pyspark": "fastgmm.sources.spark",
    "zarr": "fastgmm.sources.stores",
}
# The one that takes paths, and objects of other packages that give a stream of Arrow data.
_FILES = "fastgmm.sources.files"
# Frames that are arrays in memory already, or say by themselves how they are collected.
_FRAMES = "pandas", "polars", "modin"


def open_rows(
    data: Any,
    sample_weight: Any = None,
    columns: Sequence[str] | None = None,
    comment: str | None = None,
    expected: Sequence[str] | None = None,
    missing: str | None = None,
) -> Rows | None:
    """Return the rows of data that are not an array, with their weights; None for everything else.

    Parameters
    ----------
    data : str or os.PathLike
        A .npy, Parquet (.parquet, .pq), Arrow (.arrow, .feather, .ipc) or CSV (.csv, .tsv, also .gz) file, or a folder
        of Parquet and Arrow files, taken in the order of their names. All but .npy need pyarrow. Folders of tables
        with a log (Delta Lake, Iceberg, Hudi) are refused: their files also hold rows that were deleted.
    data : str, or list of str or os.PathLike
        A pattern such as ``rows/*.parquet``, whose files are taken in the order of their names; several files; or the
        URL of a Parquet or Arrow file or a folder of them (``s3://``, ``gs://``, ``hdfs://``, or what fsspec knows).
    data : pyarrow.dataset.Dataset, Table or RecordBatch
    data : object with ``__arrow_c_stream__``
        A query of DuckDB, say, which is run in every pass: it must give the same rows in the same order.
    data : h5py.Dataset or zarr.Array, (N, D)
        Read by whole chunks in every pass.
    data : dask.array.Array, dask.dataframe.DataFrame, Delayed or list of Delayed
        See ``fastgmm.sources.dask.DaskRows``. Nothing is read here.
    data : pyspark.sql.DataFrame
        See ``fastgmm.sources.spark.SparkRows``. Nothing is read here.
    data : Rows
        Returned as they are; such as ``fastgmm.sources.BatchRows``.
    sample_weight : str, os.PathLike or (N,) array-like >= 0, optional
        The name of a column; for .npy files, whose columns have no names, the path of another such file; for h5py and
        zarr also such a data set.
    columns : sequence of str, optional
        The features, in this order; by default all columns but that of the weights. Those without names are known by
        their number, from "1". For files and objects of pyarrow only.
    comment : str, optional
        Lines of a CSV file that begin with it are skipped, such as '#'; by default none are.
    expected : sequence of str, optional
        Names that a model was fitted to. Of files and objects of pyarrow these columns are taken where they have names.
    missing : None or 'marginal'
        With 'marginal', entries may be missing: NaN, null, None, NA, and what stands for such in CSV files
        (``fastgmm.io.read_table``). The rows are for mixtures with ``missing="marginal"``, which say so by themselves
        where they open `data`.

    Notes
    -----
    Rows of files are read once here, which checks every number; keep the result for further fits and predictions.
    Raises ValueError that names file, row (from 1) and column of what is no finite number, TypeError for data that can
    be read but once, OSError, and ImportError where a package is missing.
    """
    if missing is not None:
        may_miss(missing)
    if type(data) is np.ndarray and columns is None and comment is None:
        return None  # what most data are, sooner than the checks below could tell
    module = _module_of(data)
    if columns is not None and module != _FILES:
        raise ValueError(f"columns can be chosen of files and objects of pyarrow, X is a {type(data).__name__}.")
    if columns is not None or comment is not None or (expected is not None and module == _FILES):
        chosen: Rows = importlib.import_module(_FILES).open_rows(
            data, sample_weight, columns, comment, expected, missing
        )
        return chosen
    if isinstance(data, Rows):
        if sample_weight is not None:
            raise ValueError("sample_weight must be None where X is rows that have their own weights.")
        return data
    if module is None:
        if isinstance(data, Iterator):
            raise TypeError(
                f"X must not be a {type(data).__name__}, for every iteration of a fit reads the rows: give "
                "fastgmm.sources.BatchRows of a function that returns a new one."
            )
        return None
    rows: Rows = importlib.import_module(module).open_rows(data, sample_weight, missing=missing)
    return rows


def open_labelled(data: Any, sample_weight: Any, column: str, missing: str | None) -> tuple[Rows, NDArray]:
    """Return the rows of a file or an object of pyarrow without a column, and that column, (N,), NaN where it is null.

    `sample_weight` and `missing` as of :func:`open_rows`. ValueError for rows elsewhere.
    """
    if is_elsewhere(data) and _module_of(data) != _FILES:
        raise labels_refused(f"{type(data).__name__} of {_package(data)}")
    if _module_of(data) != _FILES:
        raise ValueError(
            f"labels must be an array where X is a {type(data).__name__}, got {shown(column)}: a name is of a column "
            "of a data frame or a file."
        )
    opened: tuple[Rows, NDArray] = importlib.import_module(_FILES).open_labelled(data, sample_weight, column, missing)
    return opened


def labels_refused(kind: str) -> ValueError:
    """Return the error of known labels for a kind of rows that other processes hold."""
    return ValueError(
        f"labels need X as an array, a data frame, a file or batches, rows that are read in this process, got {kind}: "
        "give a file, or a sample that holds the rows whose classes are known."
    )


def may_miss(missing: Any) -> bool:
    """Return whether entries of rows may be missing; ValueError for what does not say so."""
    validation.check_choice(missing, "missing", (None, "marginal"))
    return missing is not None


def _module_of(data: Any) -> str | None:
    """Return the module that takes some data; None for arrays and whatever else is in memory."""
    if is_path(data) or is_paths(data):
        return _FILES
    package = _package(data[0] if _is_delayed(data) else data)
    gives_stream = hasattr(type(data), "__arrow_c_stream__") and package not in _FRAMES
    return _MODULES.get(package, _FILES if gives_stream else None)


def is_path(data: Any) -> bool:
    """Return whether data are a path, a pattern or a URL."""
    return isinstance(data, str | os.PathLike)


def is_paths(data: Any) -> bool:
    """Return whether data are several paths."""
    return isinstance(data, list | tuple) and len(data) > 0 and all(map(is_path, data))


def is_url(path: Any) -> bool:
    """Return whether a path is a URL."""
    return isinstance(path, str) and "://" in path


def is_pattern(path: Any) -> bool:
    """Return whether a path, which is no URL, is a pattern of files rather than the name of one."""
    return glob.has_magic(os.fspath(path)) and not os.path.exists(path)


def is_elsewhere(data: Any) -> bool:
    """Return whether rows are in files, on a cluster, or in an object of a package that reads such."""
    return _module_of(data) is not None


def has_columns_by_name(data: Any) -> bool:
    """Return whether a model takes the columns that it was fitted to out of data, whatever else is in them."""
    return _module_of(data) == _FILES


def _package(data: Any) -> str:
    """Return the name of the package that the type of `data` is in."""
    return type(data).__module__.partition(".")[0]


def _is_delayed(data: Any) -> bool:
    return isinstance(data, list | tuple) and len(data) > 0 and _package(data[0]) == "dask"
