"""The shipped data are the published ones."""

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np

import fastgmm
from fastgmm.datasets import load_acidity, load_diabetes, load_faithful, load_galaxies, load_iris


def test_faithful_is_the_published_table():
    faithful = load_faithful()
    assert faithful.data.shape == (272, 2)
    assert faithful.data.dtype == np.float64
    assert faithful.feature_names == ("eruptions", "waiting")
    assert faithful.target is None
    assert faithful.target_names is None
    # mean and unbiased standard deviation as R prints them
    np.testing.assert_allclose(faithful.data.mean(axis=0), [3.487783, 70.89706], rtol=1e-6)
    np.testing.assert_allclose(faithful.data.std(axis=0, ddof=1), [1.141371, 13.59497], rtol=1e-6)
    np.testing.assert_array_equal(faithful.data[[0, -1]], [[3.6, 79], [4.467, 74]])


def test_iris_is_the_published_table():
    iris = load_iris()
    assert iris.data.shape == (150, 4)
    assert iris.feature_names == ("sepal_length", "sepal_width", "petal_length", "petal_width")
    assert iris.target_names == ("setosa", "versicolor", "virginica")
    np.testing.assert_array_equal(np.bincount(iris.target), [50, 50, 50])
    means = [iris.data[iris.target == species].mean(axis=0) for species in range(3)]
    published = [[5.006, 3.428, 1.462, 0.246], [5.936, 2.77, 4.26, 1.326], [6.588, 2.974, 5.552, 2.026]]
    np.testing.assert_allclose(means, published, rtol=1e-12)


def test_galaxies_are_the_published_velocities():
    galaxies = load_galaxies()
    assert galaxies.data.shape == (82, 1)
    assert galaxies.feature_names == ("velocity_km_s",)
    assert (np.diff(galaxies.data[:, 0]) >= 0).all()
    np.testing.assert_array_equal(galaxies.data[[0, 77, -1], 0], [9172, 26690, 34279])


def test_acidity_is_mclusts():
    acidity = load_acidity()
    assert acidity.data.shape == (155, 1)
    assert acidity.target is None
    # mean and unbiased standard deviation as R prints them
    np.testing.assert_allclose([acidity.data.mean(), acidity.data.std(ddof=1)], [5.105096, 1.041829], rtol=1e-6)


def test_diabetes_is_mclusts_but_for_one_number():
    diabetes = load_diabetes()
    assert diabetes.data.shape == (145, 3)
    assert diabetes.feature_names == ("glucose", "insulin", "sspg")
    assert diabetes.target_names == ("Normal", "Chemical", "Overt")
    np.testing.assert_array_equal(np.bincount(diabetes.target), [76, 36, 33])
    np.testing.assert_array_equal(diabetes.data[[0, 103]], [[80, 356, 124], [75, 455, 392]])


def test_each_call_gives_data_of_its_own():
    load_iris().data[:] = 0
    assert load_iris().data.min() == 0.1


def test_data_load_from_a_zipped_package(tmp_path):
    package = Path(fastgmm.__file__).parent
    archive = tmp_path / "package.zip"
    with zipfile.ZipFile(archive, "w") as bundle:
        bundle.writestr("fastgmm/__init__.py", "")
        for file in (package / "datasets").glob("*.*"):
            bundle.write(file, f"fastgmm/datasets/{file.name}")
    code = f"import sys; sys.path.insert(0, {str(archive)!r}); from fastgmm import datasets; " \
        "print(datasets.__file__, len(datasets.load_iris().data))"  # fmt: skip
    out = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == [str(archive / "fastgmm" / "datasets" / "__init__.py"), "150"]
