"""Build steps that pyproject.toml cannot express: machine code in wheels, so that a first fit does not wait for it.

And links: the README's lead to files beside it, which a page on PyPI has not. Whoever releases names the repository in
the environment variable ``FASTGMM_URL``; without it the page shows what links say, and no pictures.

The environment variable ``FASTGMM_PREBUILD`` says for which kinds of processors (those of
``fastgmm/kernels/compiling/prebuilt.py``) it is compiled: ``own``, the default, that of this machine; ``all``, those
that this machine can run; ``none``. It serves the versions of Python, Numba and fastgmm that compile it; elsewhere, and
where compiling fails, fits compile what they need.
"""

import functools
import hashlib
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent

ASK = """
import json, sys
from fastgmm.families import FAMILIES, STRUCTURES
from fastgmm.kernels.compiling import SOURCE_HASH, prebuilt
own = [prebuilt.target_of_host()]
targets = prebuilt.targets_of_host() if sys.argv[1] == "all" else own
kinds = [(*each, str(prebuilt.folder_of(each))) for each in targets if each is not None]
# Others use the code of their structures, and have little of their own.
others = [name for name in FAMILIES if name not in STRUCTURES]
print(json.dumps({"kinds": kinds, "families": [*([name] for name in STRUCTURES), others], "kernels": SOURCE_HASH}))
"""


def chosen() -> str:
    """How much is to be compiled."""
    value = os.environ.get("FASTGMM_PREBUILD", "own")
    if value not in ("own", "all", "none"):
        raise SystemExit(f"FASTGMM_PREBUILD must be own, all or none, got {value!r}.")
    return value


def run(*command: str, **environment: str) -> str:
    """Run Python with the source tree first on its path, and return the output."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    # Nothing that is set here, or installed here alone, may change code that runs elsewhere.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    return subprocess.run(
        [sys.executable, *command],
        env=inherited | {"PYTHONPATH": path, "NUMBA_DISABLE_INTEL_SVML": "1"} | environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout


@functools.cache
def asked() -> dict[str, Any]:
    """Kinds of processors (name, features, folder of the code), families by turns, a hash of kernels and compiler."""
    nothing: dict[str, Any] = {"kinds": []}
    if chosen() == "none":
        return nothing
    try:
        answer = json.loads(run("-c", ASK, chosen()))
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        print(f"No machine code is compiled ahead, first fits will compile: {error}", file=sys.stderr)
        return nothing
    if not answer["kinds"]:
        print("No machine code is compiled ahead for this kind of processor.", file=sys.stderr)
    return answer


def source_hash() -> str:
    """A hash of the package and the compiler: not kernels alone decide what is compiled."""
    digest = hashlib.sha256(asked()["kernels"].encode())
    for path in sorted(ROOT.joinpath("fastgmm").rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def prebuild() -> list[Path]:
    """Compile into the source tree what has not been compiled, and return the folders of machine code."""
    folders = []
    for name, features, place in asked()["kinds"]:
        folder = Path(place)
        done = f"complete.{source_hash()}"
        try:
            if not (folder / done).is_file():
                # Whole, or not there, whoever else builds at the time.
                scratch = folder.with_name(f"{folder.name}.{os.getpid()}")
                compile_into(scratch, NUMBA_CPU_NAME=name, NUMBA_CPU_FEATURES=features)
                (scratch / done).touch()
                shutil.rmtree(folder, ignore_errors=True)
                os.replace(scratch, folder)
            folders.append(folder)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"No machine code is compiled ahead for {name}, first fits will compile: {error}", file=sys.stderr)
    return folders


def compile_into(folder: Path, **target: str) -> None:
    """Fill a folder with machine code for all families, several at a time."""
    with tempfile.TemporaryDirectory() as cache, ThreadPoolExecutor(os.cpu_count()) as pool:

        def warm_up(families: list[str]) -> str:
            command = ["-m", "fastgmm", "warmup", "--covariance", *families]
            return run(*command, NUMBA_CACHE_DIR=cache, **target)

        for table in pool.map(warm_up, asked()["families"]):
            print(table)
        files = list(Path(cache).rglob("*.nbc"))
        if not files:
            raise OSError(f"nothing was kept in {cache}")
        folder.mkdir(parents=True)
        for path in files:
            shutil.move(path, folder / path.name)


class BuildWithCode(build_py):
    """The package, and machine code beside it."""

    def run(self) -> None:
        """Copy the package, and compile."""
        super().run()
        for folder in prebuild():
            if not self.editable_mode:
                place = Path(self.build_lib, "fastgmm", "kernels", "prebuilt", folder.name)
                shutil.rmtree(place, ignore_errors=True)
                shutil.copytree(folder, place)


class PlatformDistribution(Distribution):
    """One whose wheels are of a platform and a version of Python, as machine code is."""

    def has_ext_modules(self) -> bool:
        """Whether the wheel is of a platform."""
        return bool(asked()["kinds"])


def repository() -> str:
    """The address of the repository; empty where nobody has said one."""
    url = os.environ.get("FASTGMM_URL", "").rstrip("/")
    if url and not url.startswith("https://"):
        raise SystemExit(f"FASTGMM_URL must begin with https://, got {url!r}.")
    return url


def version() -> str:
    """The version, without an import of the package."""
    return str(runpy.run_path(str(ROOT / "fastgmm" / "_version.py"))["__version__"])


def description(url: str) -> str:
    """The README for a page that is elsewhere: links to files of the repository at this version, or none."""
    place = "HEAD" if "dev" in version() else f"v{version()}"

    def link(found: re.Match[str]) -> str:
        mark, text, target = found.groups()
        if not url:
            return "" if mark else text
        return f"{mark}[{text}]({url}/{'raw' if mark else 'blob'}/{place}/{target})"

    return re.sub(r"(!?)\[([^\]]*)\]\((?!https?:|#)([^)\s]+)\)", link, (ROOT / "README.md").read_text(encoding="utf-8"))


def addresses(url: str) -> dict[str, str]:
    """The addresses that PyPI shows beside the page."""
    pages = {
        "Source": "",
        "Documentation": "/tree/HEAD/docs",
        "Issues": "/issues",
        "Changes": "/blob/HEAD/CHANGELOG.md",
    }
    return {name: url + path for name, path in pages.items()} if url else {}


setup(
    long_description=description(repository()),
    long_description_content_type="text/markdown",
    project_urls=addresses(repository()),
    cmdclass={"build_py": BuildWithCode},
    distclass=PlatformDistribution,
)
