"""The public list of fastgmm.kernels: what docs/kernels.md promises, from somebody else's compiled code."""

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
import reference
from conftest import draw, random_mixture, read_json, slow
from numba import njit
from numba.core.errors import TypingError

from fastgmm import kernels
from fastgmm.families import FAMILIES, STRUCTURES
from fastgmm.kernels.compiling import Driver

PAGE = Path(__file__).parent.parent / "docs" / "kernels.md"
FUNCTIONS = sorted(
    name
    for name in kernels.__all__
    if callable(getattr(kernels, name)) and not inspect.isclass(getattr(kernels, name)) and name != "Density"
)

# Constraints on covariances make no difference here.
TRIED = STRUCTURES


def _arguments(name):
    function = getattr(kernels, name)
    if isinstance(function, Driver):
        return ["n_lanes", "n_threads", *list(inspect.signature(function.serial.py_func).parameters)[2:]]
    return list(inspect.signature(function).parameters)


def _page():
    if not PAGE.exists():
        pytest.skip("needs a checkout")
    return PAGE.read_text()


def test_the_list_grows_by_its_rule():
    """Against the list at some earlier version: nothing public changes without a new number."""
    frozen = read_json("kernel_api.json")
    functions = {name: _arguments(name) for name in FUNCTIONS}
    others = sorted(set(kernels.__all__) - set(FUNCTIONS))
    version = tuple(frozen["version"])
    if version == kernels.API_VERSION:
        assert (functions, others) == (frozen["functions"], frozen["others"])
    elif kernels.API_VERSION[0] == version[0]:
        assert kernels.API_VERSION[1] > version[1]
        assert frozen["functions"].items() <= functions.items()
        assert set(frozen["others"]) <= set(others)
    else:
        assert kernels.API_VERSION[0] > version[0]


def test_the_page_lists_what_is_public():
    page = _page()
    rows = re.findall(r"^\| `(\w+)\((.*?)\)` \|", page, re.MULTILINE)
    assert {name: arguments.split(", ") for name, arguments in rows} == {name: _arguments(name) for name in FUNCTIONS}
    assert [name for name in kernels.__all__ if not re.search(rf"\b{name}\b", page)] == []
    assert f"`kernels.API_VERSION` is `{kernels.API_VERSION}`" in page


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_argument_is_described(name):
    """In the docstring, or in the page's table of arguments that mean the same everywhere."""
    table = _page().split("| argument | is |")[1].split("\n\n")[0]
    common = {word for row in table.splitlines()[2:] for word in re.findall(r"`(\w+)`", row.split("|")[1])}
    words = set(re.findall(r"\w+", inspect.getdoc(getattr(kernels, name))))
    assert [argument for argument in _arguments(name) if argument not in words | common] == []


def _run(arguments, folder, **environment):
    result = subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | {"PYTHONPATH": str(Path(kernels.__file__).parents[2])} | environment,
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


@pytest.mark.parametrize("disabled", [*slow("0"), "1"])
def test_the_page_runs(disabled, tmp_path):
    """From a file, which a function with ``cache=True`` needs; compiled, and as plain Python."""
    blocks = re.findall(r"```python\n(.*?)```", _page(), re.DOTALL)
    assert len(blocks) >= 8
    hits = "print(sum(outlying.stats.cache_misses.values()))" if disabled == "0" else "print('plain')"
    (tmp_path / "page.py").write_text("\n".join([*blocks, hits]))
    assert _run(["page.py"], tmp_path, NUMBA_DISABLE_JIT=disabled) == ["1" if disabled == "0" else "plain"]


@pytest.mark.slow
def test_the_page_about_debugging_runs(tmp_path):
    page = Path(__file__).parent.parent / "docs" / "debugging-kernels.md"
    if not page.exists():
        pytest.skip("needs a checkout")
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    words = _run(["-c", code], tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "cache"), FASTGMM_PREBUILT="0")
    assert "_collect_lanes" in words
    assert words[-2:] == ["fused", "multiply-adds"]


@pytest.mark.slow
def test_importing_kernels_needs_numpy_and_numba_alone(tmp_path):
    """A score from Python and a compiled special function, with SciPy and scikit-learn out of reach."""
    code = (
        "import sys\nsys.modules['scipy'] = sys.modules['sklearn'] = None\n"
        "import numpy as np\nfrom fastgmm import kernels\n"
        "ours = {name for name in sys.modules if name.startswith('fastgmm')}\n"
        "rest = {name for name in ours if not name.startswith('fastgmm.kernels')}\n"
        "assert rest <= {'fastgmm', 'fastgmm._former', 'fastgmm._version'}, rest\n"
        "optional = 'scipy', 'sklearn', 'pandas', 'polars', 'pyarrow', 'matplotlib', 'dask'\n"
        "loaded = {name for name in sys.modules if name.split('.')[0] in optional}\n"
        "assert loaded == {'scipy', 'sklearn'}, loaded\n"
        "density, failed = kernels.spherical_density(np.ones(1), np.zeros((1, 2)), np.ones(1))\n"
        "evidence = np.empty(1)\n"
        "kernels.score(1, None, density, np.array([[3.0, 4.0]]), 24, np.empty(0), np.empty(0, np.int64), evidence,\n"
        "    np.empty((0, 0)), np.zeros((1, 3)))\n"
        "print(failed, evidence[0] + np.log(2 * np.pi), kernels.digamma(1.0))"
    )
    failed, evidence, gamma = map(float, _run(["-W", "error", "-c", code], tmp_path))
    assert failed == -1
    assert evidence == pytest.approx(-12.5, rel=1e-14)
    assert gamma == pytest.approx(-np.euler_gamma, rel=1e-13)


def _compiled(source_hash):
    """As docs/kernels.md tells others to; each function is compiled for as few types as can be."""

    @njit(cache=True)
    def joint(density, X, start, stop, log_joint):
        _ = source_hash
        kernels.log_joint_rows(density, X, start, stop, log_joint)

    @njit(cache=True)
    def scores(density, X, start, stop, evidence, responsibility, labels):
        _ = source_hash
        kernels.evidence_rows(density, X, start, stop, evidence)
        kernels.responsibility_rows(density, X, start, stop, responsibility)
        kernels.label_rows(density, X, start, stop, labels)
        return kernels.tile_rows(density.mean.shape[0], density.mean.shape[1])

    @njit(cache=True)
    def assign(centres, X, start, stop, labels, square_distance):
        _ = source_hash
        kernels.assign_rows(centres, X, start, stop, labels, square_distance)

    @njit(cache=True)
    def normalise(log_joint):
        _ = source_hash
        return kernels.normalise(log_joint)

    return joint, scores, assign, normalise


joint, scores, assign, normalise = _compiled(kernels.SOURCE_HASH)


def test_densities_from_parameters_and_their_log_joints(family, rng):
    n_components, n_features = 3, 5
    weights, means, covariances = random_mixture(rng, family, n_components, n_features)
    weights[1] = 0.0
    matrices = family.matrices(covariances, n_components, n_features)
    X = draw(rng, np.full(3, 1 / 3), means, matrices, 600)
    make = getattr(kernels, f"{family.name}_density")
    density, failed = make(weights, means, covariances)
    assert type(density) is family.density_type
    assert failed == -1
    log_joint = np.full((600, n_components), 7.0)
    joint(density, X, 3, 590, log_joint)
    expected = reference.log_joint(X[3:590], weights, means, matrices)
    np.testing.assert_allclose(log_joint[3:590], expected, rtol=1e-12)
    np.testing.assert_array_equal(log_joint[:3], 7)  # no row but those
    np.testing.assert_array_equal(log_joint[590:], 7)

    states, _ = make(np.ones(n_components), means, covariances)
    joint(states, X, 0, 600, log_joint)
    expected = reference.log_joint(X, np.ones(n_components), means, matrices)
    np.testing.assert_allclose(log_joint, expected, rtol=1e-12)
    means[:] = 0.0
    assert density.mean.any()  # parameters are copied

    bad = 0 if family.name == "tied" else 2
    if family.name == "spherical":
        covariances[bad] = np.nan
    else:
        covariances.reshape(-1, *family.block_shape(n_features))[bad] = -1.0
    assert make(weights, means, covariances)[1] == bad


def test_scores_of_rows(rng):
    family = FAMILIES["diag"]
    parameters = random_mixture(rng, family, 4, 3)
    matrices = family.matrices(parameters[2], 4, 3)
    X = draw(rng, *parameters[:2], matrices, 600)
    X[50] = 1e200
    X[51] = np.nan
    density, _ = kernels.diag_density(*parameters)
    evidence, responsibility, labels = np.full(600, 7.0), np.full((600, 4), 7.0), np.full(600, 9, np.uint8)
    assert scores(density, X, 10, 580, evidence, responsibility, labels) == kernels.tile_rows(4, 3)
    rows = np.r_[10:50, 52:580]
    expected = reference.log_joint(X[rows], *parameters[:2], matrices)
    np.testing.assert_allclose(evidence[rows], reference.log_sum_exp(expected), rtol=1e-12)
    np.testing.assert_allclose(
        responsibility[rows], reference.responsibilities(X[rows], *parameters[:2], matrices), rtol=1e-11, atol=1e-15
    )
    np.testing.assert_array_equal(labels[rows], expected.argmax(axis=1))
    assert evidence[50] == evidence[51] == -np.inf
    assert labels[51] == 0
    for output in (evidence, responsibility):
        assert (np.delete(output, np.r_[10:580], axis=0) == 7).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_nearest_centres(dtype, rng):
    X = rng.integers(-3, 4, size=(700, 5)).astype(dtype)
    X[600, 2] = np.nan
    centres = rng.integers(-3, 4, size=(19, 5)).astype(float)
    centres[7] = centres[3]  # of equals the first
    labels, square_distance = np.full(700, -1, np.int32), np.full(700, -1.0, dtype)
    assign(centres, X, 1, 690, labels, square_distance)
    expected = ((X[:, None].astype(float) - centres) ** 2).sum(axis=2)
    rows = np.delete(np.arange(1, 690), 599)
    np.testing.assert_array_equal(labels[rows], expected[rows].argmin(axis=1))
    np.testing.assert_array_equal(square_distance[rows], expected[rows].min(axis=1))
    assert not np.signbit(square_distance[rows]).any()
    assert square_distance[600] == np.inf
    assert labels[[0, 600, 699]].tolist() == [-1, 0, -1]
    only = np.empty(700, np.int32)
    assign(centres, X, 1, 690, only, square_distance[:0])
    np.testing.assert_array_equal(only[rows], labels[rows])
    assign(centres, X, 1, 690, only[:0], square_distance)
    np.testing.assert_array_equal(square_distance[rows], expected[rows].min(axis=1))


def test_normalise(rng):
    for values in (rng.normal(size=40) * 300, np.array([-np.inf, -1e3, -1e3]), np.array([3.0])):
        row = values.copy()
        evidence = reference.log_sum_exp(values[None])[0]
        assert normalise(row) == pytest.approx(evidence, rel=1e-14)
        np.testing.assert_allclose(row, np.exp(values - evidence), rtol=1e-12, atol=1e-300)
    row = np.full(3, -np.inf)
    assert normalise(row) == -np.inf
    np.testing.assert_array_equal(row, 0)
    assert np.isnan(normalise(np.array([0.0, np.nan, 0.0])))


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="compiled code loads vectors of one type")
@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "bool", "complex128"])
@pytest.mark.parametrize("function", ["evidence_rows", "label_rows", "responsibility_rows", "log_joint_rows"])
def test_rows_that_are_no_floats_are_refused(dtype, function):
    """Their bits would be taken for those of floats."""
    density, _ = kernels.diag_density(np.array([0.5, 0.5]), np.array([[0.0, 0.0], [3.0, 3.0]]), np.ones((2, 2)))
    X = np.arange(8).reshape(4, 2).astype(dtype)
    out = {"evidence_rows": np.empty(4), "label_rows": np.empty(4, np.int64)}.get(function, np.empty((4, 2)))
    with pytest.raises(TypingError, match=f"X must be an array of float32 or float64, it is one of {dtype}"):
        getattr(kernels, function)(density, X, 0, 4, out)
