"""Machine code that comes with the package: when it is read, what it answers, and how a build makes it."""

import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import llvmlite.binding
import numba
import pytest
from conftest import copy_of_the_package

import fastgmm
from fastgmm.kernels import compiling, score
from fastgmm.kernels.compiling import prebuilt, waiting
from fastgmm.kernels.compiling.target import host_features, vectors_of

V3 = dict.fromkeys(prebuilt.parsed(prebuilt.TARGETS[1].features), True)
V4 = dict.fromkeys(prebuilt.parsed(prebuilt.TARGETS[0].features), True)


def _run(*command, folder=None, **environment):
    # Who tells Numba how to compile, as a run of the suite for another processor does, gets no code ahead.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", *command],
        env=inherited | environment,
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("features", "name"),
    [
        (V4, "x86-64-v4"),
        (V3, "x86-64-v3"),
        (V3 | {"fma": False}, None),
        # Vectors of 512 bits without all that is in v4: code for v3 would have narrower tiles than the rest has.
        (V3 | {"avx512f": True}, None),
        ({"neon": True}, None),
    ],
)
def test_the_kind_of_processor(monkeypatch, features, name):
    monkeypatch.setattr(llvmlite.binding, "get_host_cpu_features", lambda: features)
    target = prebuilt.target_of_host()
    assert (target and target.name) == name


def test_a_processor_whose_features_are_not_known(monkeypatch):
    """LLVM cannot list those of Apple's; all processors of 64 bits by ARM have 32 registers of two numbers."""

    def refuse():
        raise RuntimeError("feature detection not supported")

    monkeypatch.setattr(llvmlite.binding, "get_host_cpu_features", refuse)
    assert host_features() == {}
    assert prebuilt.target_of_host() is None
    assert vectors_of({}, "arm64") == vectors_of({}, "aarch64") == (2, True)
    assert vectors_of({}, "x86_64") == (2, False)


def test_features_that_numba_leaves_out(monkeypatch):
    monkeypatch.setattr(llvmlite.binding, "get_host_cpu_features", lambda: V4)
    monkeypatch.setattr(numba.config, "ENABLE_AVX", 0)
    assert vectors_of(host_features()) == (2, False)
    assert host_features()["fma"]


@pytest.fixture
def target(monkeypatch, tmp_path):
    """What finds the kind whose code is read, for a processor of kind v3 and a folder that holds code for it."""
    monkeypatch.setattr(llvmlite.binding, "get_host_cpu_features", lambda: V3)
    monkeypatch.setattr(prebuilt, "FOLDER", tmp_path)
    monkeypatch.setattr(numba.config, "CPU_NAME", None)
    monkeypatch.setattr(numba.config, "CPU_FEATURES", None)
    monkeypatch.delenv("FASTGMM_PREBUILT", raising=False)
    prebuilt.folder_of(prebuilt.TARGETS[1]).mkdir(parents=True)
    (tmp_path / "__init__.py").touch()
    for name in prebuilt._OF_CODE:
        monkeypatch.delenv(name, raising=False)
    return prebuilt.target.__wrapped__


def test_code_is_read_where_it_fits(target):
    assert target() == prebuilt.TARGETS[1]


def test_code_is_not_read_where_the_user_says_no(target, monkeypatch):
    monkeypatch.setenv("FASTGMM_PREBUILT", "0")
    assert target() is None


@pytest.mark.parametrize("variable", ["CPU_NAME", "CPU_FEATURES"])
def test_code_is_not_read_where_the_user_names_a_processor(target, monkeypatch, variable):
    monkeypatch.setattr(numba.config, variable, "generic")
    assert target() is None


def test_code_is_not_read_where_there_is_none(target):
    prebuilt.folder_of(prebuilt.TARGETS[1]).rmdir()
    assert target() is None


def test_code_is_not_read_where_the_user_changes_what_is_compiled(target, monkeypatch):
    monkeypatch.setenv("NUMBA_BOUNDSCHECK", "1")
    assert target() is None


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
@pytest.mark.parametrize(
    ("of_sources", "of_code", "is_read"),
    [
        (0o755, 0o755, True),
        (0o755, 0o775, False),
        (0o755, 0o777, False),
        # As pip installs under a umask of 002: who could have written the code could have written the sources.
        (0o775, 0o775, True),
        (0o775, 0o777, False),
    ],
)
def test_code_is_trusted_like_the_sources(target, tmp_path, of_sources, of_code, is_read):
    tmp_path.chmod(of_sources)
    folder = prebuilt.folder_of(prebuilt.TARGETS[1])
    folder.chmod(of_code)
    assert (target() is not None) == is_read
    path = folder / "some.nbc"
    path.write_bytes(b"")
    path.chmod(of_code)
    assert prebuilt.is_trusted(path) == is_read


@pytest.mark.skipif(not hasattr(os, "chown") or os.geteuid(), reason="only root gives files away")
def test_code_of_another_user_is_not_read(target):
    os.chown(prebuilt.folder_of(prebuilt.TARGETS[1]), 12345, -1)
    assert target() is None


def test_what_is_called_by_address_is_not_linked():
    serial = score.serial

    @numba.njit
    def call():
        serial(0, 1)

    with pytest.raises((TypeError, numba.TypingError), match="compiled code cannot call it by name"):
        call()


def _wheel(folder, amount, **settings):
    root = Path(__file__).parents[1]
    if not (root / "setup.py").exists():
        pytest.skip("needs a checkout")
    source = folder / "source"
    copy_of_the_package(source)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        (source / name).write_bytes((root / name).read_bytes())
    code = "from setuptools import build_meta; build_meta.build_wheel('.')"
    environment = os.environ | {"FASTGMM_PREBUILD": amount} | settings
    return subprocess.run(
        [sys.executable, "-c", code], cwd=source, env=environment, capture_output=True, text=True
    ), list(source.glob("*.whl"))


def test_a_wheel_without_machine_code_is_for_all(tmp_path):
    done, wheels = _wheel(tmp_path, "none", FASTGMM_URL="https://example.org/fastgmm/")
    assert done.returncode == 0, done.stderr
    (wheel,) = wheels
    assert wheel.name.endswith("-py3-none-any.whl")
    archive = zipfile.ZipFile(wheel)
    names = archive.namelist()
    (metadata,) = (archive.read(name).decode() for name in names if name.endswith(".dist-info/METADATA"))
    assert "Project-URL: Source, https://example.org/fastgmm\n" in metadata
    place = "HEAD" if "dev" in fastgmm.__version__ else f"v{fastgmm.__version__}"
    assert f"[platforms](https://example.org/fastgmm/blob/{place}/docs/platforms.md)" in metadata
    assert f"](https://example.org/fastgmm/raw/{place}/docs/faithful.png)" in metadata
    assert not re.search(r"\]\((?!https://)", metadata)
    assert "fastgmm/kernels/compiling/prebuilt.py" in names
    assert not [name for name in names if name.endswith(".nbc")]


def test_the_source_distribution_has_what_its_tests_need(tmp_path):
    root = Path(__file__).parents[1]
    if not (root / "MANIFEST.in").exists():
        pytest.skip("needs a checkout")
    made = (".*", "__pycache__", "prebuilt", "build", "dist", "*.egg-info", "_build", "_include", "auto_gallery")
    source = tmp_path / "source"
    shutil.copytree(root, source, ignore=shutil.ignore_patterns(*made))
    code = "from setuptools import build_meta; print(build_meta.build_sdist('.'))"
    *_, name = _run("-W", "default", "-c", code, folder=source, FASTGMM_PREBUILD="none", FASTGMM_URL="")
    with tarfile.open(source / name) as archive:
        names = {each.split("/", 1)[1] for each in archive.getnames() if "/" in each}
        (folder, *_) = archive.getnames()
        metadata = archive.extractfile(f"{folder}/PKG-INFO").read().decode()
    # Nobody has said where the repository is: the page has no links to its files.
    assert "everything else is optional (platforms)." in metadata
    assert not re.search(r"\]\((?!https://)", metadata)
    assert "Project-URL" not in metadata
    folders = ("fastgmm", "tests", "docs", "examples", "benchmarks")
    paths = (path for folder in folders for path in (source / folder).rglob("*") if path.is_file())
    assert not {path.relative_to(source).as_posix() for path in paths} - names
    assert {"tests/conftest.py", "README.md", "docs/index.md", "examples/iris.py", "benchmarks/common.py"} <= names


def test_an_unknown_amount_is_refused(tmp_path):
    done, wheels = _wheel(tmp_path, "some")
    assert done.returncode != 0
    assert "FASTGMM_PREBUILD must be own, all or none, got 'some'." in done.stderr
    assert not wheels


class _Terminal:
    def __init__(self):
        self.text = ""

    def isatty(self):
        return True

    def write(self, text):
        self.text += text

    def flush(self):
        pass


@pytest.fixture
def terminal(monkeypatch):
    """A terminal, for one who waits without patience."""
    terminal = _Terminal()
    monkeypatch.setattr(waiting, "sys", SimpleNamespace(stderr=terminal))
    monkeypatch.setattr(waiting, "PATIENCE", 0.0)
    return terminal


def _wait(wait, folder, n=3):
    for _ in range(n):
        wait.begin(folder)
        if wait._timer is not None:
            wait._timer.join()
        wait.end()


def test_whoever_waits_is_told_once(terminal, tmp_path):
    wait = waiting._Waiting()
    _wait(wait, tmp_path)
    assert terminal.text.count("fastgmm: compiling kernels for this processor") == 1
    assert str(tmp_path) in terminal.text
    assert wait.seconds > 0


def test_nobody_is_told_where_nobody_watches(terminal, tmp_path, monkeypatch):
    monkeypatch.setattr(terminal, "isatty", lambda: False)
    _wait(waiting._Waiting(), tmp_path)
    assert terminal.text == ""


@pytest.mark.parametrize("stream", [None, object(), "closed"])
def test_streams_that_are_no_terminals(tmp_path, monkeypatch, stream):
    if stream == "closed":
        stream = io.StringIO()
        stream.close()
    monkeypatch.setattr(waiting, "sys", SimpleNamespace(stderr=stream))
    wait = waiting._Waiting()
    wait.begin(tmp_path)
    assert wait._timer is None
    wait.end()


def test_short_waits_are_silent(terminal, tmp_path, monkeypatch):
    monkeypatch.setattr(waiting, "PATIENCE", 600.0)
    wait = waiting._Waiting()
    wait.begin(tmp_path)
    wait.end()
    assert terminal.text == ""


def test_a_compiler_that_failed_is_no_wait_to_come(terminal, tmp_path, monkeypatch):
    monkeypatch.setattr(waiting, "PATIENCE", 600.0)
    wait = waiting._Waiting()
    wait.begin(tmp_path)
    first = wait._timer
    time.sleep(0.3)
    wait.begin(tmp_path)
    assert first.finished.is_set()
    wait.end()
    wait.end()
    assert 0 < wait.seconds < 0.3


def test_without_a_folder_the_remedy_is_said_once(terminal):
    wait = waiting._Waiting()
    with pytest.warns(RuntimeWarning, match="Set NUMBA_CACHE_DIR to a folder") as caught:
        _wait(wait, None)
    assert len(caught) == 1


def test_the_seconds_of_the_compiler_are_counted(monkeypatch):
    monkeypatch.setattr(waiting.waiting, "seconds", 12.5)
    assert compiling.compiling_seconds() == 12.5


def test_names_of_files_differ_in_more_than_case():
    """Some systems take names that do not for one."""
    names = [str(path).lower() for path in prebuilt.FOLDER.rglob("*.nbc")]
    assert len(names) == len(set(names))
