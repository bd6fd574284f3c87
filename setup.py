"""Build steps that pyproject.toml cannot express: machine code in wheels, so that a first fit does not wait for it.

The environment variable ``FASTGMM_PREBUILD`` says how much is compiled: ``common`` (the default: expectation
maximisation of float64 rows), ``all``, or ``none``. Code is for a kind of processor (those of
``fastgmm/kernels/compiling/prebuilt.py``), and for the versions of Python, Numba and fastgmm that compile it;
elsewhere, and where compiling fails, fits compile what they need.
"""

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent

OPTIONS = {"common": ["--method", "em", "--dtype", "float64"], "all": [], "none": []}

ASK = """
from fastgmm.families import FAMILIES
from fastgmm.kernels.compiling import SOURCE_HASH, prebuilt
target = prebuilt.target_of_host()
if target is not None:
    print(*target, prebuilt.folder_of(target), SOURCE_HASH, " ".join(FAMILIES), sep="\\n")
"""


def chosen() -> str:
    """How much is to be compiled."""
    value = os.environ.get("FASTGMM_PREBUILD", "common")
    if value not in OPTIONS:
        raise SystemExit(f"FASTGMM_PREBUILD must be one of {', '.join(OPTIONS)}, got {value!r}.")
    return value


def run(*command: str, **environment: str) -> str:
    """Run Python with the source tree first on its path, and return the output."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, *command],
        env=os.environ | {"PYTHONPATH": path} | environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout


@functools.cache
def asked() -> list[str]:
    """Name and features of the kind of processor, folder of the code, hash of the sources, families; or nothing."""
    if chosen() == "none":
        return []
    try:
        answer = run("-c", ASK).splitlines()
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"No machine code is compiled ahead, first fits will compile: {error}", file=sys.stderr)
        return []
    if not answer:
        print("No machine code is compiled ahead for this kind of processor.", file=sys.stderr)
    return answer


def prebuild() -> Path | None:
    """Compile into the source tree, unless that has been done, and return the folder; None where there is no code."""
    if not asked():
        return None
    name, features, folder, source, families = asked()
    done = Path(folder, f"{chosen()}.{source}")
    if not done.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        try:
            compile_into(Path(folder), families.split(), NUMBA_CPU_NAME=name, NUMBA_CPU_FEATURES=features)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"No machine code is compiled ahead, first fits will compile: {error}", file=sys.stderr)
            return None
        done.touch()
    return Path(folder)


def compile_into(folder: Path, families: list[str], **target: str) -> None:
    """Fill a folder with machine code for all families, several at a time."""
    with tempfile.TemporaryDirectory() as cache, ThreadPoolExecutor(os.cpu_count()) as pool:

        def warm_up(family: str) -> str:
            command = ["-m", "fastgmm", "warmup", "--covariance", family, *OPTIONS[chosen()]]
            return run(*command, NUMBA_CACHE_DIR=cache, **target)

        for table in pool.map(warm_up, families):
            print(table)
        folder.mkdir(parents=True)
        for path in Path(cache).rglob("*.nbc"):
            shutil.move(path, folder / path.name)


class BuildWithCode(build_py):
    """The package, and machine code beside it."""

    def run(self) -> None:
        """Copy the package, and compile."""
        super().run()
        folder = prebuild()
        if folder is not None and not self.editable_mode:
            place = Path(self.build_lib, folder.relative_to(ROOT))
            shutil.copytree(folder, place, dirs_exist_ok=True)


class PlatformDistribution(Distribution):
    """One whose wheels are of a platform and a version of Python, as machine code is."""

    def has_ext_modules(self) -> bool:
        """Whether the wheel is of a platform."""
        return bool(asked())


setup(cmdclass={"build_py": BuildWithCode}, distclass=PlatformDistribution)
