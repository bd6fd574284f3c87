"""Compiling ahead: what it finds to compile, what later processes need, and how it fails."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import pytest
from conftest import CONJUGATE, COUNT, copy_of_the_package

import fastgmm
from fastgmm.families import FAMILIES, STRUCTURES
from fastgmm.kernels import compiling
from fastgmm.kernels.compiling import prebuilt

pytestmark = pytest.mark.slow

# As `fastgmm warmup` is called in an image, for the selection that compiles fastest.
COMMAND = ["warmup", "--covariance", "spherical", "--dtype", "float64", "--method", "em"]
MAIN = f"import sys\nfrom fastgmm.cli import main\nsys.exit(main({COMMAND}))"

# What users do that needs compiled code: with one lane of rows and with several, and by the ways that are seldom taken.
USE = """
import sys, warnings
import numpy as np
import fastgmm
from fastgmm import BayesianGaussianMixture, GaussianMixture, fit_many
warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
few = np.r_[rng.normal(size=(30, 2)), 9 + rng.normal(size=(30, 2))]
many = rng.normal(size=(6000, 2))

def use(method, family):
    estimator = {"em": GaussianMixture, "vb": BayesianGaussianMixture}[method]
    params = dict(covariance_type=family, random_state=0, max_iter=3)
    estimator(n_components=4, **params).fit(np.repeat(few[:2], 5, axis=0))
    for init in ("k-means++", "random", "random_from_data", "kmeans-whitened", "short-em", np.arange(60) % 2):
        estimator(n_components=2, init_params=init, reg_covar=0, **params).fit(few[:, ::-1])
    estimator(n_components=2, means_init=few[[0, -1]], **params).fit(few.astype(int) * 1000)
    model = estimator(n_components=16, warm_start=True, **params).fit(many).fit(many, sample_weight=np.ones(6000))
    if method == "em":
        extra = [{}]
        model.bic(many)
        again = estimator.from_parameters(model.weights_, model.means_, model.covariances_, family)
    else:
        extra = [{"predictive": name} for name in ("expected-log", "plug-in", "student-t")]
        model.evidence_lower_bound(many)
        model.prune(0.0).sample(3, predictive="student-t")
        again = estimator.from_parameters(model.weight_concentration_, model.mean_precision_, model.means_,
                                          model.degrees_of_freedom_, model.covariances_, family)
    for fitted in (model, again):
        for options in extra:
            for rows in (few[:1], many):
                fitted.predict(rows, **options), fitted.predict_proba(rows, **options)
                fitted.score_samples(rows, **options), fitted.score(rows, **options)
    model.sample(5)
    estimator(n_components=2, **params).partial_fit(few[::2]).partial_fit(few)
    for rows in (few, few[::2], few):
        model.partial_fit(rows, batch=len(rows))
    problems = np.stack([few, few + 1]), [few[:20], few.astype(np.float32)], [rng.normal(size=(5000, 2))] * 20
    for each in problems:
        fit_many(estimator(n_components=2, n_init=2, **params), each)
    fit_many(estimator(n_components=2, **params), many, groups=np.arange(6000) % 7, sample_weight=np.ones(6000))
    fit_many(estimator(n_components=2, init_params="random", **params), [few], means=few[None, :2])
"""


FIT = f"""{COUNT}
import numpy as np
from fastgmm import GaussianMixture
X = np.random.default_rng(0).normal(size=(50, 2)) + np.arange(50)[:, None] % 2 * 9
model = GaussianMixture(2, covariance_type="spherical", random_state=0).fit(X)
print(count.number, repr(float(model.lower_bound_)), *model.predict(X[:4]))
"""

# The kind of processor that code ahead is made for, if there is one for this.
HOST = prebuilt.target_of_host()
PROCESSOR = {} if HOST is None else {"NUMBA_CPU_NAME": HOST.name, "NUMBA_CPU_FEATURES": HOST.features}


def _run(code, status=0, folder=None, **environment):
    command = [sys.executable, "-c", code]
    environment = os.environ | {"FASTGMM_PREBUILT": "0"} | environment
    result = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=600)
    assert result.returncode == status, result.stderr
    return result.stdout, result.stderr


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache folder that the command has filled, and what it printed."""
    folder = tmp_path_factory.mktemp("cache")
    out, err = _run(MAIN, NUMBA_CACHE_DIR=str(folder), NUMBA_NUM_THREADS="1", **PROCESSOR)
    assert err == ""
    return str(folder), out


def test_the_command_says_what_it_did(cache):
    folder, out = cache
    files = [os.path.join(root, name) for root, _, names in os.walk(folder) for name in names]
    rows = re.findall(
        r"^spherical +float64 +em +(\S+) +(Spherical(?:Density|Student) +)?\d+\.\d\d +compiled( \(threaded\))?$",
        out,
        re.M,
    )
    names = [name for name, _, _ in rows]
    assert len(rows) == len(files) == len(set(rows))
    assert {"draw_candidates", "iterate_lanes", "collect_lanes", "score_lanes", "maximise_constrained"} <= set(names)
    passes = ("collect", "score", "iterate", "score_candidates", "measure", "guess", "find", "sort", "gather")
    several = (*passes, "collect_student", "fit", "survey")
    assert {name for name in names if name.endswith("_launch")} == {f"{name}_launch" for name in several}
    assert [name for name, _, threaded in rows if threaded] == ["each_lane"]
    of_densities = {name for name, density, _ in rows if density}
    assert {"collect_lanes", "collect_launch", "score_launch", "maximise_constrained"} <= of_densities
    assert not {"each_lane", "iterate_lanes", "iterate_launch"} & of_densities
    assert re.search(rf"^functions +{len(rows)} compiled, 0 were there$", out, re.M)
    assert re.search(rf"^cache +{re.escape(os.path.dirname(files[0]))}$", out, re.M)
    size = sum(map(os.path.getsize, files)) / 1e6
    assert re.search(rf"^size +{size:.1f} MB in {len(files)} files$", out, re.M)


def test_a_later_process_compiles_nothing(cache):
    """Neither runs the compiler nor gets it ready, which is most of what a first fit would wait for."""
    code = (
        USE
        + COUNT
        + (
            "use('em', 'spherical')\n"
            "from numba.np.ufunc import parallel\n"
            "print(count.number, parallel._is_initialized, 'numba.np.linalg' in sys.modules)\n"
            "from fastgmm import kernels\n"
            "print(kernels.cholesky(np.eye(2), np.empty((2, 2))), count.number, 'numba.np.linalg' in sys.modules)"
        )
    )
    out, _ = _run(code, NUMBA_CACHE_DIR=cache[0], NUMBA_NUM_THREADS="2", **PROCESSOR)
    # Last, that the count counts (the kernel and the one that it inlines), and that the compiler still works.
    assert out.split() == ["0", "True", "False", "True", "2", "True"]


@pytest.mark.skipif(HOST is None, reason="there is no code ahead for this kind of processor")
def test_a_first_fit_compiles_nothing(cache, tmp_path, monkeypatch):
    """Code that came with the package: what a build keeps, here of a cache that is full."""
    for name in PROCESSOR:
        monkeypatch.delenv(name, raising=False)
    package = copy_of_the_package(tmp_path / "site")
    place = package / "kernels" / "prebuilt" / prebuilt.folder_of(HOST).name
    place.mkdir(parents=True)
    for path in Path(cache[0]).rglob("*.nbc"):
        shutil.copy(path, place)

    def fit(cache, ahead="1"):
        out, _ = _run(FIT, folder=tmp_path / "site", NUMBA_CACHE_DIR=str(tmp_path / cache), FASTGMM_PREBUILT=ahead)
        return out.split()

    n_compiled, *answer = fit("empty")
    assert n_compiled == "0"
    assert not list((tmp_path / "empty").rglob("*.nbc"))

    # Other code is compiled, and answers alike.
    n_compiled, *compiled = fit("own", ahead="0")
    assert int(n_compiled) > 0
    assert float(compiled[0]) == pytest.approx(float(answer[0]), rel=1e-12)
    assert compiled[1:] == answer[1:]
    # What is read first is not the cache.
    assert fit("own") == ["0", *answer]

    # Damage costs a compilation.
    (damaged,) = place.glob("collect.*collect_lanes*")
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"!")
    n_compiled, *again = fit("damage")
    assert int(n_compiled) > 0
    assert float(again[0]) == pytest.approx(float(answer[0]), rel=1e-12)


NO_FOLDER = "import tempfile\ndef refuse(*_, **__):\n    raise PermissionError\ntempfile.TemporaryFile = refuse\n"


def test_a_cache_that_cannot_be_written_is_read(cache):
    """An image's, filled by who built it and used by somebody else."""
    code = NO_FOLDER + (
        "import fastgmm\ndone = fastgmm.warmup('spherical', 'float64', 'em')\n"
        "print(done.folder, len(done.builds), sum(build.compiled for build in done.builds))\nprint(done)"
    )
    out, _ = _run(code, NUMBA_CACHE_DIR=cache[0], **PROCESSOR)
    first, *table = out.splitlines()
    n_compiled = cache[1].count(" compiled\n") + cache[1].count(" compiled (threaded)\n")
    folder, n_builds, n_compiled_here = first.split()
    assert (folder, n_compiled_here) == ("None", "0")
    # Functions that only others call are compiled with them, and not looked for once those are there.
    assert 0.7 * n_compiled < int(n_builds) <= n_compiled
    assert sum("was there" in line for line in table) == int(n_builds)
    assert "cache      no folder is writable" in table


def test_no_folder_to_write_to(tmp_path):
    # A copy: what earlier processes have left beside the package could be read.
    copy_of_the_package(tmp_path)
    out, err = _run(NO_FOLDER + MAIN, status=1, folder=tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    assert "error: compiled code cannot be kept" in err
    assert "Set NUMBA_CACHE_DIR" in err
    assert "compiled\n" not in out


def test_a_cache_that_fails_to_be_written(tmp_path):
    code = "import os\ndef refuse(*_):\n    raise OSError(28, 'No space left')\nos.replace = refuse\n" + MAIN
    _, err = _run(code, status=1, NUMBA_CACHE_DIR=str(tmp_path))
    assert re.search(f"writing to {re.escape(str(tmp_path))}.* failed .is the disk full", err)


def test_everything_that_users_do_is_covered():
    """For all families and methods, once a process has warmed up, nothing else has to be compiled or loaded.

    Code that came with the package counts: what is asked for is the same, and most of it need not be compiled here.
    """
    code = USE + (
        "from fastgmm.kernels.compiling import logged_builds\n"
        "builds = []\n"
        f"for family in {list(FAMILIES)}:\n"
        # What has no prior is left out where it is not asked for by name.
        f"    for method in ('em', 'vb') if family in {CONJUGATE} else (None,):\n"
        "        done = fastgmm.warmup(family, 'float64', method)\n"
        "        assert [step.method for step in done.steps] == [method or 'em']\n"
        # A constraint uses the machine code of its structure.
        f"        print(len(done.builds) > 0 or family not in {list(STRUCTURES)})\n"
        "        with logged_builds(builds.append):\n"
        "            use(method or 'em', family)\n"
        "print(builds)"
    )
    n_pairs = len(FAMILIES) + len(CONJUGATE)
    assert _run(code, FASTGMM_PREBUILT="1")[0].splitlines() == ["True"] * n_pairs + ["[]"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"covariance_type": "round"}, r"covariance_type must be one or several of 'full', .*, got 'round'"),
        ({"dtype": ["float64", "int64"]}, r"dtype must be one or several of 'float64', 'float32', got 'int64'"),
        ({"method": "em vb"}, r"method must be one or several of 'em', 'vb', got 'em vb'"),
    ],
)
def test_unknown_names(arguments, message):
    with pytest.raises(ValueError, match=message):
        fastgmm.warmup(**arguments)


def test_compilation_switched_off(monkeypatch):
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    with pytest.raises(ValueError, match="NUMBA_DISABLE_JIT is set"):
        fastgmm.warmup()


def test_numba_told_to_keep_nothing(monkeypatch):
    monkeypatch.setattr(compiling.cache._Implementation, "_locator_classes", ())
    with pytest.raises(OSError, match="no locator available"):
        fastgmm.warmup()


def test_float32_arithmetic_is_covered():
    """Large float32 problems run other code than small ones."""
    code = (
        "import numpy as np\nimport fastgmm\nfrom fastgmm.kernels.compiling import logged_builds\n"
        "print(len(fastgmm.warmup('spherical', 'float32', 'em').builds) > 0)\n"
        "labels = np.arange(70_000) % 8\n"
        "X = (labels[:, None] + np.random.default_rng(0).normal(size=(70_000, 8))).astype(np.float32)\n"
        "builds = []\n"
        "with logged_builds(builds.append):\n"
        "    fastgmm.GaussianMixture(8, covariance_type='spherical', init_params=labels, tol=1e9).fit(X)\n"
        "print(builds)"
    )
    assert _run(code)[0].splitlines() == ["True", "[]"]
