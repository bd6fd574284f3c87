"""What happens around a fit: threads, forks, thread layers, the disk cache, Ctrl-C, and environments without extras."""

import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from conftest import copy_of_the_package

from fastgmm import GaussianMixture
from fastgmm.families import STRUCTURES
from fastgmm.kernels import compiling

pytestmark = pytest.mark.slow

PROBLEM = """
import hashlib, warnings
import numpy as np
from fastgmm import BayesianGaussianMixture, GaussianMixture
warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
X = np.concatenate([rng.normal(size=(30000, 4)), 3 + rng.normal(size=(30011, 4))])

def digest(family, n_threads):
    model = GaussianMixture(5, covariance_type=family, max_iter=4, tol=0, random_state=0, n_threads=n_threads).fit(X)
    parts = [model.means_, model.covariances_, model.weights_, np.array(model.lower_bounds_), model.predict_proba(X)]
    params = dict(covariance_type=family, max_iter=3, tol=0, random_state=0, n_threads=n_threads)
    model = BayesianGaussianMixture(5, **params).fit(X)
    parts += [model.means_, model.covariances_, model.weights_, np.array(model.lower_bounds_)]
    parts.append(model.score_samples(X, predictive="student-t"))
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()
"""


def _run(code, folder=None, **environment):
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=os.environ | environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


def test_same_bits_for_any_number_of_threads(tmp_path):
    """In processes that may start 8 threads or 2, and, for one family, that compile the kernels or load them."""
    code = PROBLEM + f"print(*(digest(family, n) for family in {list(STRUCTURES)} for n in (1, 2, 3, 8)))"
    digests = _run(code, NUMBA_NUM_THREADS="8")
    assert len(digests) == 4 * len(STRUCTURES)
    for start in range(0, len(digests), 4):
        assert len(set(digests[start : start + 4])) == 1
    assert _run(code, NUMBA_NUM_THREADS="2") == digests
    compiled = _run(PROBLEM + "print(digest('spherical', 3))", NUMBA_NUM_THREADS="3", NUMBA_CACHE_DIR=str(tmp_path))
    assert compiled == digests[-1:]


def test_the_problem_above_is_split_over_lanes():
    from fastgmm.passes.layout import Blocks

    assert Blocks(60011, 5, 4, 5 * 4 * 5).n_lanes >= 8


def test_number_of_threads_is_restored():
    code = PROBLEM + (
        "import numba; numba.set_num_threads(3); digest('full', 2); assert numba.get_num_threads() == 3\n"
        "try:\n    GaussianMixture(2, n_threads=2).fit(X, callback=lambda *_: 1 / 0)\nexcept ZeroDivisionError: pass\n"
        "assert numba.get_num_threads() == 3; print('ok')"
    )
    assert _run(code, NUMBA_NUM_THREADS="4") == ["ok"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("layer", ["omp", "workqueue"])
def test_fit_after_fork(layer):
    """The parent has started threads; its forked child must neither abort (GNU OpenMP) nor hang, and get the same."""
    code = PROBLEM + (
        f"import os\nexpected = digest('full', None)\nimport numba; assert numba.threading_layer() == {layer!r}\n"
        "read, write = os.pipe()\npid = os.fork()\n"
        "if pid == 0:\n    os.write(write, digest('full', None).encode()); os._exit(0)\n"
        "assert os.waitpid(pid, 0)[1] == 0\nassert os.read(read, 100).decode() == expected\n"
        "assert digest('full', None) == expected; print('ok')"
    )
    assert _run(code, NUMBA_THREADING_LAYER=layer, NUMBA_NUM_THREADS="2") == ["ok"]


@pytest.mark.parametrize("layer", ["omp", "workqueue"])
def test_fits_from_several_threads_at_once(layer):
    """Entering a parallel region twice at once aborts the process under workqueue, unless somebody takes turns."""
    code = PROBLEM + (
        "from concurrent.futures import ThreadPoolExecutor\nexpected = digest('full', 1)\n"
        "with ThreadPoolExecutor(4) as pool:\n    got = list(pool.map(lambda _: digest('full', 2), range(12)))\n"
        "assert set(got) == {expected}\n"
        f"import numba; assert numba.threading_layer() == {layer!r}; print('ok')"
    )
    assert _run(code, NUMBA_THREADING_LAYER=layer, NUMBA_NUM_THREADS="2") == ["ok"]


def test_small_fits_start_no_threads():
    code = (
        "import numpy as np\nfrom fastgmm import GaussianMixture\n"
        "X = np.random.default_rng(0).normal(size=(200, 2))\nGaussianMixture(3, random_state=0).fit(X).predict(X)\n"
        "from numba.np.ufunc import parallel\nprint(parallel._is_initialized)"
    )
    assert _run(code) == ["False"]


def test_without_compilation_the_answer_is_the_same():
    """``NUMBA_DISABLE_JIT=1``, as people set to debug and to measure coverage."""
    code = (
        "import numpy as np\nfrom fastgmm import GaussianMixture\n"
        "rng = np.random.default_rng(0)\nX = np.r_[rng.normal(size=(15, 2)), 9 + rng.normal(size=(15, 2))]\n"
        "for family in ('full', 'tied', 'diag', 'spherical'):\n"
        "    model = GaussianMixture(2, covariance_type=family, random_state=0, max_iter=3, tol=1e9).fit(X)\n"
        "    print(*(repr(float(v)) for v in model.predict_proba(X)[:, 0]), repr(float(model.score(X))))"
    )
    environment = {"PYTHONWARNINGS": "ignore"}
    plain = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment | {"NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    np.testing.assert_allclose(np.array(plain, float), np.array(_run(code), float), rtol=1e-9, atol=1e-12)


TINY = (
    "import numpy as np\nfrom fastgmm.kernels import vector_exp\nfrom fastgmm.families import FAMILIES\n"
    "from fastgmm.passes.scores import Scores\nfrom fastgmm.rows import ArrayRows\n"
    "density = FAMILIES['spherical'].isotropic(np.zeros((1, 1)), 1.0)\n"
    "scores = Scores(density, ArrayRows(np.array([[2.0]])), evidence=True)\n"
    "from fastgmm.kernels import score\n"
    "print(float(scores.evidence[0]), sum(score.serial.stats.cache_hits.values()), score.serial.stats.cache_path)"
)


def test_editing_a_kernel_file_never_runs_stale_code(tmp_path):
    """Numba stamps only the file of the entry function; ``score`` reaches the edited one through two others."""
    package = copy_of_the_package(tmp_path)
    environment = {"folder": tmp_path, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    first = _run(TINY, **environment)
    assert first[:2] == ["-2.0", "0"]
    assert _run(TINY, **environment)[:2] == ["-2.0", "1"]  # unchanged: from the cache
    kernel = package / "kernels" / "vector" / "softmax.py"
    source = kernel.read_text()
    assert source.count("code.constant(-0.5)") == 1
    kernel.write_text(source.replace("code.constant(-0.5)", "code.constant(-1.5)"))
    assert _run(TINY, **environment)[:2] == ["-6.0", "0"]
    kernel.write_text(source)
    assert _run(TINY, **environment)[0] == "-2.0"
    files = list((tmp_path / "cache").rglob("score.*.nbc"))
    assert len(files) == 1  # files of other versions are cleared away


def test_editing_a_kernel_in_a_subfolder_changes_the_hash(tmp_path):
    package = copy_of_the_package(tmp_path)
    code = "from fastgmm.kernels import SOURCE_HASH; print(SOURCE_HASH)"
    folder = package / "kernels" / "deep" / "deeper"
    folder.mkdir(parents=True)
    hashes = []
    for text in ("", "x = 1\n", "x = 2\n"):
        (folder / "more.py").write_text(text)
        hashes += _run(code, folder=tmp_path)
    assert len(set(hashes)) == 3


OUTSIDE = """
from typing import NamedTuple
import numpy as np
import outside_tables
from fastgmm.kernels.structures import contract
from outside_numbers import FACTOR, power

class Manhattan(NamedTuple):
    log_scale: np.ndarray
    mean: np.ndarray
    whitener: np.ndarray

@contract.workspace.register(Manhattan)
def _workspace(density, tile_rows):
    return np.empty((0, 0))

@contract.prepare.register(Manhattan)
def _prepare(density):
    return np.empty((0, 0))

@contract.distance_tile.register(Manhattan)
def _distance_tile(density, table, x, n, scratch, distance):
    for k in range(density.mean.shape[0]):
        for b in range(n):
            distance[k, b] = 0.0
            for d in range(density.mean.shape[1]):
                distance[k, b] += FACTOR * power(abs(x[d, b] - density.mean[k, d])) * outside_tables.TABLE[1]
"""
NUMBERS = """
import numba
FACTOR = 2.0
@numba.njit
def power(x):
    return x
"""
TABLES = """
import numpy as np
TABLE = np.array([0.0, 1.0])
"""
DISTANCE_OUTSIDE = """
import numpy as np
from fastgmm.kernels.structures import contract
from fastgmm.kernels.compiling import entry
from outside import Manhattan

@entry
def look(density, x, distance):
    scratch = contract.workspace(density, 1)
    contract.distance_tile(density, contract.prepare(density), x, 1, scratch, distance)

distance = np.zeros((1, 1))
look(Manhattan(np.zeros(1), np.zeros((1, 1)), np.ones((1, 1))), np.array([[3.0]]), distance)
print(distance[0, 0], sum(look.stats.cache_hits.values()))
"""


def test_editing_a_family_from_outside_never_runs_stale_code(tmp_path):
    """What is registered, a number and a function that it finds in another file, and what it finds in a module."""
    environment = {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
    sources = {"": OUTSIDE, "_numbers": NUMBERS, "_tables": TABLES}
    (tmp_path / "look.py").write_text(DISTANCE_OUTSIDE)

    def edit(name, before="", after=""):
        sources[name] = sources[name].replace(before, after)
        (tmp_path / f"outside{name}.py").write_text(sources[name])

    def distance():
        return _run("import look", folder=tmp_path, **environment)

    for name in sources:
        edit(name)
    assert distance() == ["6.0", "0"]
    assert distance() == ["6.0", "1"]
    edit("", "FACTOR * power", "2.0 * FACTOR * power")
    assert distance() == ["12.0", "0"]
    edit("_numbers", "FACTOR = 2.0", "FACTOR = 3.0")
    assert distance() == ["18.0", "0"]
    edit("_numbers", "return x", "return x * x")
    assert distance() == ["54.0", "0"]
    edit("_tables", "1.0", "10.0")
    assert distance() == ["540.0", "0"]


# Two functions that are cached like the package's, and compile at once.
PLAIN = """
import warnings
warnings.simplefilter("default")
import os, sys
import numba
from fastgmm.kernels.compiling import entry

@entry
def twice(x):
    return 2.0 * x

numba.njit(lambda x: x)(1.0)  # the compiler is ready, and whatever it imports is there
if len(sys.argv) > 1:
    os.setgid(int(sys.argv[1]))
    os.setuid(int(sys.argv[1]))
print(twice(2.0), sum(twice.stats.cache_hits.values()))
"""


def _run_plain(folder, *arguments, shell=(), **environment):
    """Return whether the function came from the cache, and how often it was said that something was not read."""
    script = folder / "plain.py"
    script.write_text(PLAIN)
    result = subprocess.run(
        [*shell, sys.executable, str(script), *arguments],
        env=os.environ | environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    value, n_hits = result.stdout.split()
    assert value == "4.0"
    return n_hits == "1", result.stderr.count("is not read from the cache")


@pytest.mark.skipif(os.name != "posix", reason="needs owners and modes of files")
def test_machine_code_that_others_could_have_written_is_not_read(tmp_path):
    cache = tmp_path / "cache"

    def found():
        # Where the folder is refused, machine code is kept beside the source.
        shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
        return _run_plain(tmp_path, NUMBA_CACHE_DIR=str(cache))

    # Under a umask that lets the group write, what is made here is still nobody else's.
    shell = ["sh", "-c", 'umask 002; exec "$@"', "sh"]
    assert _run_plain(tmp_path, shell=shell, NUMBA_CACHE_DIR=str(cache)) == (False, 0)
    assert found() == (True, 0)
    (path,) = cache.rglob("*.nbc")
    path.chmod(0o664)
    assert found() == (False, 1)
    assert found() == (True, 0)  # written anew
    path.parent.chmod(0o775)
    assert found() == (False, 1)
    path.parent.chmod(0o755)
    assert found() == (True, 0)
    if os.getuid() == 0:
        os.chown(path, 65534, 65534)
        assert found() == (False, 1)


@pytest.mark.skipif(os.name != "posix", reason="needs owners and modes of files")
def test_where_no_folder_can_be_trusted(tmp_path):
    """All is compiled in each process, and it is said why."""
    copy_of_the_package(tmp_path)
    tmp_path.chmod(0o775)
    home = {"NUMBA_CACHE_DIR": "", "XDG_CACHE_HOME": str(tmp_path / "home"), "HOME": str(tmp_path / "home")}
    for _ in range(2):
        assert _run_plain(tmp_path, **home) == (False, 1)
    assert list(tmp_path.rglob("*.nbc")) == []


@pytest.mark.skipif(os.name != "posix", reason="needs owners and modes of files")
def test_who_could_have_written_to_a_folder(tmp_path):
    folder = tmp_path / "above" / "cache"
    folder.mkdir(parents=True)
    for path in (tmp_path, folder.parent, folder):
        path.chmod(0o755)

    def is_trusted():
        compiling.trust.why_path_untrusted.cache_clear()
        return not compiling.trust.why_folder_untrusted(folder)

    assert is_trusted()
    for path, mode, expected in [
        (folder, 0o775, False),
        (folder, 0o757, False),
        (folder, 0o1777, False),
        (folder, 0o700, True),
        (folder.parent, 0o777, False),
        (folder.parent, 0o770, False),
        (folder.parent, 0o1777, True),  # others can put nothing into the place of what is there
    ]:
        path.chmod(mode)
        assert is_trusted() is expected, (path, oct(mode))
        path.chmod(0o755)
    link = tmp_path / "link"
    link.symlink_to(folder)
    folder.chmod(0o777)
    compiling.trust.why_path_untrusted.cache_clear()
    assert compiling.trust.why_folder_untrusted(link) == f"{folder} can be written by other users"
    folder.chmod(0o755)
    if os.getuid() == 0:
        for path in (folder, folder.parent):
            os.chown(path, 65534, 65534)
            assert not is_trusted()
            os.chown(path, 0, 0)
    assert is_trusted()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")
def test_a_server_that_drops_its_privileges_reads_what_root_wrote():
    """And compiles for itself what is not there, or what it may not read."""
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder, "cache")
        os.chmod(folder, 0o755)

        def found(*user):
            return _run_plain(Path(folder), *user, NUMBA_CACHE_DIR=str(cache))

        assert found("65534") == (False, 0)
        assert list(cache.rglob("*.nbc")) == []
        assert found() == (False, 0)
        assert found("65534") == (True, 0)
        os.chmod(cache, 0o700)
        assert found("65534") == (False, 0)


def test_processes_that_fill_one_cache_at_once(tmp_path):
    """Different signatures of one function from several processes: none may crash or pick up another's code."""
    code = (
        "import sys\nimport numpy as np\n"
        "from fastgmm.families import FAMILIES\nfrom fastgmm.kernels.updates import likelihood\n"
        "density = FAMILIES[sys.argv[1]].isotropic(np.zeros((1, 2)), {'diag': 1.0, 'spherical': 10.0}[sys.argv[1]])\n"
        "likelihood.set_log_scale(density, np.full(1, 2.0 * np.pi))\n"
        "print(round(float(density.log_scale[0] / np.log(10.0)), 9))"
    )
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "FASTGMM_PREBUILT": "0"}
    families = ["diag", "spherical", "diag", "spherical"]
    processes = [
        subprocess.Popen([sys.executable, "-c", code, name], env=environment, stdout=subprocess.PIPE, text=True)
        for name in families
    ]
    assert [float(process.communicate(timeout=300)[0]) for process in processes] == [0.0, 2.0, 0.0, 2.0]
    assert all(process.returncode == 0 for process in processes)
    again = [
        subprocess.run([sys.executable, "-c", code, name], env=environment, capture_output=True, text=True, check=True)
        for name in families[:2]
    ]
    assert [float(process.stdout) for process in again] == [0.0, 2.0]


def test_a_kernel_that_python_calls_is_compiled_in_one_process_alone(tmp_path):
    """Those for users and those behind them, exact and not; with the same results."""
    code = (
        "import numpy as np\nfrom fastgmm import kernels\nfrom fastgmm.kernels.compiling import logged_builds\n"
        "from fastgmm.kernels.algebra.triangular import whitener_stretch\nbuilds, unit = [], np.eye(2)\n"
        "with logged_builds(builds.append):\n"
        "    results = kernels.log_gamma(2.5), whitener_stretch(unit, unit[0]), kernels.vector_exp(0.3)\n"
        "for build in builds: print(build.function, build.compiled)\nprint(*results)"
    )
    first, second = (_run(code, NUMBA_CACHE_DIR=str(tmp_path)) for _ in range(2))
    assert first.count("True") == 3
    assert second == [word.replace("True", "False") for word in first]
    # One folder for all, whatever folder their sources are in.
    assert len({path.parent for path in tmp_path.rglob("*.nbc")}) == 1


def test_a_damaged_cache_file_is_compiled_anew(tmp_path):
    cache = tmp_path / "cache"
    assert _run_plain(tmp_path, NUMBA_CACHE_DIR=str(cache)) == (False, 0)
    for damage in (lambda content: content[:100], lambda content: content[:-1] + bytes([content[-1] ^ 1])):
        for path in cache.rglob("*.nbc"):
            path.write_bytes(damage(path.read_bytes()))
        assert _run_plain(tmp_path, NUMBA_CACHE_DIR=str(cache)) == (False, 0)
        assert _run_plain(tmp_path, NUMBA_CACHE_DIR=str(cache)) == (True, 0)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_fits_in_processes_that_do_not_fork(tmp_path, method):
    """As Windows, macOS and later versions of Python start processes; models go there and back."""
    script = tmp_path / "script.py"
    script.write_text(
        f"{PROBLEM}\n"
        "import multiprocessing\n"
        "def fitted(model):\n"
        "    return model.fit(X), model.predict_proba(X).tobytes()\n"
        "if __name__ == '__main__':\n"
        f"    context = multiprocessing.get_context({method!r})\n"
        "    model = GaussianMixture(3, covariance_type='diag', max_iter=3, random_state=0)\n"
        "    with context.Pool(2) as pool:\n"
        "        (one, there), (two, also) = pool.map(fitted, [model, model])\n"
        "    own = model.fit(X).means_.tobytes()\n"
        "    assert own == one.means_.tobytes() == two.means_.tobytes()\n"
        "    assert model.predict_proba(X).tobytes() == there == also\n"
        "    print('same')\n"
    )
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {method}")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert done.stdout == "same\n", done.stderr


@pytest.mark.skipif(not hasattr(os, "fork") or sys.platform == "win32", reason="needs POSIX signals")
def test_ctrl_c_stops_a_long_fit_and_changes_nothing():
    code = (
        "import sys, time, threading, os, signal\nimport numpy as np\nfrom fastgmm import GaussianMixture\n"
        # Where the shell that runs the tests ignores Ctrl-C, as it does for a job in the background.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "rng = np.random.default_rng(0)\nX = rng.normal(size=(60000, 24))\n"
        "model = GaussianMixture(2, random_state=0, max_iter=2, tol=1e9).fit(X)\nbefore = dict(model.__dict__)\n"
        "model.set_params(n_components=40, max_iter=100000, tol=0)\n"
        "def interrupt():\n    time.sleep(1.0)\n    global sent\n    sent = time.monotonic()\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "threading.Thread(target=interrupt, daemon=True).start()\n"
        "try:\n    model.fit(X)\nexcept KeyboardInterrupt:\n"
        "    late = time.monotonic() - sent\n"
        "    same = all(model.__dict__[k] is before[k] for k in before if k.endswith('_'))\n"
        "    print('interrupted', late < 3, same, model.predict(X[:3]).shape == (3,))"
    )
    assert _run(code) == ["interrupted", "True", "True", "True"]


def test_a_block_of_rows_takes_a_bounded_time():
    """Python hears Ctrl-C between blocks: no block may hold more work than a slow core does in a second or two."""
    from fastgmm import kernels

    for n_components, n_features in [(1, 1), (8, 4), (32, 64), (16, 512), (1000, 32), (512, 128)]:
        tile = kernels.tile_rows(n_components, n_features)
        rows = kernels.block_rows(n_components, n_features, tile)
        assert rows % tile == 0
        flops = 2.0 * rows * n_components * n_features * (n_features + 1)
        assert flops <= 3.1e10 or rows == 8 * tile
        assert rows * n_features * 8 <= 17e6 or rows == 8 * tile


def test_importing_the_package_imports_nothing_heavy():
    code = (
        "import sys, fastgmm\n"
        "assert not {'numba', 'numpy', 'sklearn', 'scipy', 'pandas', 'matplotlib'} & set(sys.modules)\n"
        "import fastgmm.estimators\n"
        "import numpy as np\n"
        "X = np.random.default_rng(0).normal(size=(50, 2))\n"
        "fastgmm.GaussianMixture(2, random_state=0).fit(X)\n"
        "fastgmm.BayesianGaussianMixture(2, random_state=0).fit(X).score(X, predictive='student-t')\n"
        "assert not {'sklearn', 'pandas', 'matplotlib', 'pyarrow', 'scipy.optimize'} & set(sys.modules); print('ok')"
    )
    assert _run(code) == ["ok"]


def test_the_leaves_import_no_estimator():
    code = (
        "import sys, fastgmm.kernels, fastgmm.statistics\n"
        "ours = {name for name in sys.modules if name.startswith('fastgmm.')}\n"
        "leaves = ('fastgmm.kernels', 'fastgmm.statistics', 'fastgmm._former', 'fastgmm._version')\n"
        "assert not {name for name in ours if not name.startswith(leaves)}, ours\n"
        "assert not {'sklearn', 'scipy.optimize', 'pandas'} & set(sys.modules); print('ok')"
    )
    assert _run(code) == ["ok"]


def test_modules_with_public_names_are_loaded_when_they_are_asked_for():
    names = ("datasets", "estimators", "exceptions", "families", "fitting", "io", "kernels", "many")
    names += ("plotting", "reading", "sources", "statistics")
    for name in names:
        code = f"import fastgmm; print('{name}' in dir(fastgmm), fastgmm.{name}.__name__)"
        assert _run(code) == ["True", f"fastgmm.{name}"]


def test_without_scikit_learn():
    """The whole interface where importing scikit-learn fails: own error classes, same behaviour."""
    code = (
        "import sys, warnings\nsys.modules['sklearn'] = None\n"
        "import numpy as np\nfrom fastgmm import GaussianMixture\nfrom fastgmm import exceptions\n"
        "X = np.random.default_rng(0).normal(size=(50, 2))\nmodel = GaussianMixture(2, random_state=0, max_iter=1)\n"
        "try:\n    model.predict(X)\nexcept exceptions.NotFittedError as error:\n"
        "    assert isinstance(error, ValueError) and isinstance(error, AttributeError)\n"
        "with warnings.catch_warnings(record=True) as caught:\n    warnings.simplefilter('always')\n    model.fit(X)\n"
        "assert [w.category for w in caught] == [exceptions.ConvergenceWarning]\n"
        "assert exceptions.NotFittedError.__module__ == 'fastgmm.exceptions'\n"
        "model.set_params(max_iter=100).fit(X, sample_weight=np.ones(50))\n"
        "print(model.score(X), model.bic(X), model.sample(3)[0].shape, repr(model), sep='|')"
    )
    assert len(_run(code)) >= 1


def test_concurrent_objects_share_nothing(rng):
    """Estimators fitted in threads at once, in this process, give what they give alone."""
    X = np.concatenate([rng.normal(size=(3000, 3)), rng.normal(size=(3000, 3)) + 4])
    alone = [GaussianMixture(k, random_state=k).fit(X).means_ for k in (2, 3, 4)]
    got = {}

    def work(k):
        got[k] = GaussianMixture(k, random_state=k).fit(X).means_

    threads = [threading.Thread(target=work, args=(k,)) for k in (2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k, means in zip((2, 3, 4), alone, strict=True):
        np.testing.assert_array_equal(got[k], means)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's peak of resident memory")
def test_memory_does_not_grow_with_the_rows():
    """Peak memory of a fit of 600,000 rows beyond X itself; a table of responsibilities alone would be 77 MB."""
    # Not ru_maxrss: it is inherited from the parent, whose peak would hide this one.
    code = (
        "import warnings\nimport numpy as np\nfrom fastgmm import GaussianMixture\nwarnings.simplefilter('ignore')\n"
        "def peak():\n    lines = open('/proc/self/status').read().splitlines()\n"
        "    return next(int(line.split()[1]) for line in lines if line.startswith('VmHWM')) / 1024\n"
        "def fit(n):\n    X = np.random.default_rng(0).standard_normal((n, 8))\n"
        "    open('/proc/self/clear_refs', 'w').write('5')\n    before = peak()\n"
        "    model = GaussianMixture(16, max_iter=2, tol=0, random_state=0).fit(X)\n    model.score(X)\n"
        "    if table:\n        model.predict_proba(X)\n    return peak() - before\n"
        "table = False\nfit(20000)\nprint(fit(600000))\ntable = True\nprint(fit(600000))"
    )
    extra, with_table = map(float, _run(code))
    assert extra < 30
    assert with_table > 70  # the measurement would have seen it


def test_estimators_do_without_the_slow_parts_of_scipy():
    """Which take longer to import than everything else that a first fit needs."""
    slow = "scipy.special", "scipy.optimize"
    code = f"import sys, fastgmm.estimators; print([name for name in {slow} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
