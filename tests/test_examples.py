"""examples/tile_novelty as a package of somebody else: installed, cached by Numba, and recompiled for other kernels."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fastgmm

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parent.parent
EXAMPLE = REPOSITORY / "examples" / "tile_novelty"

MAP = """
import hashlib, sys
import fastgmm.kernels, tile_novelty
import numpy as np
rng = np.random.default_rng(0)
image, means, factors = rng.normal(size=(33, 47, 4)), rng.normal(size=(3, 4)), rng.normal(size=(3, 4, 4))
covariances = factors @ factors.transpose(0, 2, 1) + np.eye(4)
novelty = tile_novelty.novelty_map(image, np.full(3, 1 / 3), means, covariances)
stats = tile_novelty.score_tiles.stats
print(hashlib.sha256(novelty.tobytes()).hexdigest(), float(novelty.sum()))
print(sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))
print(fastgmm.kernels.SOURCE_HASH, fastgmm.__file__, tile_novelty.__file__, 'sklearn' in sys.modules)
"""


def _run(arguments, path, cache, folder):
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, path)),
        "NUMBA_CACHE_DIR": str(cache),
        "NUMBA_NUM_THREADS": "2",
    }
    result = subprocess.run(
        [sys.executable, "-W", "error", *arguments], env=environment, cwd=folder, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout.split()


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder that the package is installed into, from a copy: building writes beside the sources."""
    if not EXAMPLE.exists():
        pytest.skip("needs a checkout")
    assert importlib.util.find_spec("setuptools"), "the tests build a package: install fastgmm[test]"
    folder = tmp_path_factory.mktemp("tile_novelty")
    shutil.copytree(EXAMPLE, folder / "source", ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
    options = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", folder / "site", folder / "source"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return folder / "site"


def test_tile_novelty(installed, tmp_path):
    ours, cache = Path(fastgmm.__file__).parent, tmp_path / "cache"
    path = [installed, ours.parent]
    compiled = _run(["-c", MAP], path, cache, tmp_path)
    digest, total, hits, misses, source_hash, *files = compiled
    assert [hits, misses] == ["0", "1"]
    assert files == [str(ours / "__init__.py"), str(installed / "tile_novelty.py"), "False"]

    loaded = _run(["-c", MAP], path, cache, tmp_path)
    assert loaded == [digest, total, "1", "0", source_hash, *files]

    # Its own tests, against SciPy.
    tests = shutil.copy(EXAMPLE / "test_tile_novelty.py", tmp_path)
    outcome = _run(["-m", "pytest", "-q", "-p", "no:cacheprovider", tests], path, cache, tmp_path)
    assert outcome[outcome.index("passed") - 1] == "6"

    # Another version of a kernel that was compiled into the package: log-densities are higher by one.
    edited = tmp_path / "edited" / "fastgmm"
    shutil.copytree(ours, edited, ignore=shutil.ignore_patterns("__pycache__"))
    kernel = edited / "kernels" / "passes" / "rows.py"
    line = "    _score(density, X, start, stop, np.empty(0, np.int64), evidence, np.empty((0, 0)))\n"
    assert kernel.read_text().count(line) == 1
    kernel.write_text(
        kernel.read_text().replace(line, line + "    for i in range(start, stop):\n        evidence[i] += 1.0\n")
    )
    other = _run(["-c", MAP], [installed, edited.parent], cache, tmp_path)
    assert other[2:4] == ["0", "1"]
    assert other[4] != source_hash
    assert float(other[1]) == pytest.approx(float(total) - 4 * 5, rel=1e-12)
