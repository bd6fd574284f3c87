"""Fixtures and generators that several test modules share."""

import csv
import json
import os
import re
import shutil
from pathlib import Path

import numba
import numpy as np
import pytest

import fastgmm
from fastgmm import cli
from fastgmm.families import FAMILIES, STRUCTURES
from fastgmm.passes import skipping as live

DATA = Path(__file__).parent / "data"
ABOUT_CONSTRAINTS = {"test_uses", "test_families", "test_variational"}
CONJUGATE = [name for name, family in FAMILIES.items() if family.is_conjugate]
# In all uses VEI and VEV, which iterate, stand for these, whose M-steps have tests of their own.
ALIKE = {"EVI", "VEE", "EVE", "VVE", "EEV", "EVV"}

# Processes that run tests side by side share the cores; a test that names a number of threads still gets it.
numba.set_num_threads(max(1, numba.config.NUMBA_NUM_THREADS // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))))


@pytest.fixture(autouse=True)
def _same_random_numbers():
    """Let estimators without a random state draw the same numbers in each run of a test."""
    np.random.seed(0)


def slow(*values):
    """Return parameters of a test that are left to the long run of the suite."""
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


def but_alike(names):
    """Return names of families as parameters of a test: constraints that others stand for are left to the long run."""
    return [each for name in names for each in (slow(name) if name in ALIKE else (name,))]


def read_columns(name):
    """Return the numeric columns of a CSV file under tests/data or the package's data sets, as (N, D) float64."""
    path = DATA / f"{name}.csv"
    if not path.exists():
        import fastgmm.datasets

        path = Path(fastgmm.datasets.__file__).parent / f"{name}.csv"
    with open(path, newline="") as file:
        rows = list(csv.reader(file))[1:]

    def is_number(text):
        try:
            float(text)
        except ValueError:
            return False
        return True

    keep = [j for j in range(len(rows[0])) if is_number(rows[0][j])]
    return np.array([[float(row[j]) for j in keep] for row in rows])


def read_json(name):
    return json.loads((DATA / name).read_text())


# Code that counts, as count.number, how many functions a process compiles.
COUNT = """
from numba.core import event
class Count(event.Listener):
    number = 0
    def on_start(self, event): self.number += 1
    def on_end(self, event): pass
count = Count()
event.register("numba:compile", count)
"""


def copy_of_the_package(folder):
    """Copy the package, without machine code, into a folder and return where it stands."""
    target = folder / "fastgmm"
    shutil.copytree(Path(fastgmm.__file__).parent, target, ignore=shutil.ignore_patterns("__pycache__", "prebuilt"))
    return target


def skip_always(patch):
    """Let every block of rows be passed over components that are not live, however small it is."""
    patch.setattr(live, "_LEAST_WORK", 0)
    patch.setattr(live, "_FEWEST_COMPONENTS", 1)
    patch.setattr(live, "_LEAST_GAIN", -np.inf)


@pytest.fixture
def always(monkeypatch):
    """A list that grows with every block that is passed over components that are not live: all are."""
    skip_always(monkeypatch)
    passed = []
    collect = live.LivePass.collect
    monkeypatch.setattr(live.LivePass, "collect", lambda *arguments: (passed.append(1), collect(*arguments))[1])
    return passed


def random_mixture(rng, family, n_components, n_features, scale=1.0, offset=0.0):
    """Return (weights, means, covariances) of a random, well-conditioned mixture, in the shape of the structure."""
    weights = rng.dirichlet(np.full(n_components, 5.0))
    means = offset + scale * rng.normal(size=(n_components, n_features)) * 2
    a = rng.normal(size=(n_components, n_features, 2 * n_features + 2))
    matrices = scale**2 * a @ np.swapaxes(a, 1, 2) / (2 * n_features + 2)
    if re.fullmatch("[EV][EV][IEV]", family.name):
        return weights, means, of_letters(rng, family.name, matrices)
    covariances = {
        "full": matrices,
        "tied": matrices[0],
        "diag": np.diagonal(matrices, axis1=1, axis2=2).copy(),
        "spherical": matrices[:, 0, 0].copy(),
        "tied-diag": np.repeat(np.diagonal(matrices[0])[None], n_components, axis=0),
        "tied-spherical": np.repeat(matrices[0, 0, 0], n_components),
    }[family.name]
    return weights, means, covariances


def of_letters(rng, letters, matrices):
    """Return a member of one of mclust's models; E says that all have the first one's volume, shape or axes."""
    values, axes = np.linalg.eigh(matrices)
    volumes = np.exp(np.log(values).mean(axis=1, keepdims=True))
    shapes = values / volumes
    if letters[1] == "V":
        shapes = rng.permuted(shapes, axis=1)
    parts = [
        np.repeat(part[:1], len(part), axis=0) if letter == "E" else part
        for letter, part in zip(letters, (volumes, shapes, axes), strict=True)
    ]
    variances = parts[0] * parts[1]
    return variances if letters[2] == "I" else np.einsum("kad,kd,kbd->kab", parts[2], variances, parts[2])


def dense(model, family):
    """Return the covariances of a fitted mixture as matrices, (K, D, D)."""
    shape = np.shape(model.means_)
    return family.matrices(family.of_attribute(np.asarray(model.covariances_), shape[0]), *shape)


def of_one(family, matrix):
    """Return the projection of a covariance matrix (D, D) by the family's structure, for one component."""
    if family.has_matrices:
        return matrix
    return np.diag(matrix).copy() if family.block_shape(len(matrix)) else float(np.trace(matrix) / len(matrix))


def draw(rng, weights, means, matrices, n_samples):
    """Return rows drawn from a mixture with dense covariances."""
    labels = rng.choice(len(weights), size=n_samples, p=weights)
    factor = np.linalg.cholesky(matrices)
    noise = rng.normal(size=(n_samples, means.shape[1]))
    return means[labels] + np.einsum("nab,nb->na", factor[labels], noise)


def pytest_generate_tests(metafunc):
    """Run tests of `family` for all families, or for those that the module names as TRIED."""
    marks = metafunc.definition.iter_markers("parametrize")
    if "family" in metafunc.fixturenames and all("family" not in mark.args[0] for mark in marks):
        # A constraint changes the end of the M-step alone: elsewhere it is tried with the long tests, where it works in
        # all that a structure works in.
        module = metafunc.module.__name__
        tried = getattr(metafunc.module, "TRIED", FAMILIES if module in ABOUT_CONSTRAINTS else CONJUGATE)
        fast = tried if module in ABOUT_CONSTRAINTS else STRUCTURES
        skipped = ALIKE if module == "test_uses" else ()
        marked = [each for name in tried for each in ((name,) if name in fast and name not in skipped else slow(name))]
        metafunc.parametrize("family", marked, indirect=True)


@pytest.fixture
def family(request):
    known = FAMILIES.get(request.param)
    return request.getfixturevalue("made_up_family") if known is None else known


@pytest.fixture
def rng():
    return np.random.default_rng(20240501)


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Run a command line in an empty folder; return the exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*argv):
        code = cli.main([str(argument) for argument in argv])
        return code, *capsys.readouterr()

    return run


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Give the tests of a family to one worker, so that no two compile the same; and those that share a cache."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            if "test_warmup.py" in nodeid:
                return "warmup"
            found = re.search(rf"\[(?:.*-)?({'|'.join(FAMILIES)})\b", nodeid)
            return found[1] if found else nodeid

    return Scheduling(config, log)
