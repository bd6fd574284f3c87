"""Rules of the repository that a test can hold: layers, compile policy, docstrings, one version, data sets."""

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

import fastgmm

PACKAGE = Path(fastgmm.__file__).parent
ROOT = PACKAGE.parent
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in PACKAGE.rglob("*.py")
)

# Who may import whom. A layer is a module or a package directly under fastgmm. Those of the face put others together.
FACE = {
    *("cli", "__main__", "_warmup", "plotting", "io", "datasets", "selection", "inference", "reading", "analysis"),
    "predictors",
}
ALLOWED = {
    "_former": set(),
    "_version": set(),
    "exceptions": set(),
    "methods": set(),
    "statistics": set(),
    "support": set(),
    "kernels": set(),
    "tables": {"support"},
    "rows": {"statistics", "support"},
    "families": {"kernels", "statistics"},
    "validation": {"exceptions", "families", "statistics", "support"},
    "spurious": {"families", "kernels", "rows", "statistics"},
    "passes": {"exceptions", "families", "kernels", "rows", "statistics", "support"},
    "sources": {"exceptions", "families", "kernels", "passes", "rows", "statistics", "support", "tables", "validation"},
    "rules": {"exceptions", "families", "kernels", "statistics"},
    "fitting": {"_version", "exceptions", "families", "kernels", "rows", "rules", "sources", "statistics", "support"},
    "starts": {"exceptions", "families", "fitting", "kernels", "passes", "rows", "rules", "sources", "statistics"},
    "estimators": {
        *("_version", "exceptions", "families", "fitting", "kernels", "methods", "passes", "rows", "rules", "sources"),
        *("spurious", "starts", "statistics", "support", "validation"),
    },
    "many": {
        *("_version", "estimators", "exceptions", "families", "fitting", "kernels", "passes", "rows", "rules"),
        *("spurious", "starts", "statistics", "support", "validation"),
    },
}
# In the folder of kernels, each may import those before it.
KERNELS = ("compiling", "vector", "algebra", "structures", "updates", "passes", "clustering", "skipping", "many")


def _layer(module):
    return module.split(".")[1] if "." in module else ""


def _imports(module):
    """Names of fastgmm modules that a module imports, at its top or inside functions."""
    path = ROOT / Path(*module.split("."))
    source = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("fastgmm"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fastgmm"):
            if node.module == "fastgmm":
                yield from (f"fastgmm.{alias.name}" for alias in node.names)
            else:
                yield node.module


@pytest.mark.parametrize("module", MODULES)
def test_layers(module):
    layer = _layer(module)
    if layer not in ALLOWED:
        assert layer in FACE | {""}, f"{module} belongs to no layer: give it one in this test"
        return
    for name in _imports(module):
        other = _layer(name)
        assert other in ALLOWED[layer] | {layer}, f"{module} may not import {name}"


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("fastgmm.kernels.")])
def test_layers_of_kernels(module):
    folder = module.split(".")[2]
    for name in _imports(module):
        other = name.split(".")[2]
        assert KERNELS.index(other) <= KERNELS.index(folder), f"{module} may not import {name}"


def test_only_one_folder_knows_how_to_compile():
    """Options of Numba are in kernels/compiling, vector code in kernels/vector; no other file names Numba."""
    for path in PACKAGE.rglob("*.py"):
        if path.parent.name in ("compiling", "vector"):
            continue
        for line in path.read_text().splitlines():
            assert not re.match(r"\s*(import|from) (numba|llvmlite)", line), f"{path.name}: {line}"


def _is_integer(value):
    if isinstance(value, ast.IfExp):
        return _is_integer(value.body) and _is_integer(value.orelse)
    return isinstance(value, ast.Constant) and isinstance(value.value, int)


def _sums_beside_writing(source):
    """Lines of innermost loops that sum numbers and write to arrays; sums of which each part is used are in order."""
    for loop in ast.walk(ast.parse(source)):
        if not isinstance(loop, ast.For):
            continue
        body = [node for statement in loop.body for node in ast.walk(statement)]
        if any(isinstance(node, ast.For | ast.While) for node in body):
            continue
        stores = [node for node in body if isinstance(getattr(node, "ctx", None), ast.Store)]
        writes = any(isinstance(node, ast.Subscript) for node in stores)
        changing = {node.id for node in [*stores, *ast.walk(loop.target)] if isinstance(node, ast.Name)}
        read = {node.id for node in body if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
        sums = [node for node in body if isinstance(node, ast.AugAssign) and not _is_integer(node.value)]
        for node in sums:
            if isinstance(node.target, ast.Name):
                is_found = writes and node.target.id not in read
            else:
                index = {name.id for name in ast.walk(node.target.slice) if isinstance(name, ast.Name)}
                is_found = not index & changing
            if is_found:
                yield node.lineno


def test_sums_do_not_depend_on_where_arrays_are():
    """A loop that sums and writes adds in another order where arrays happen to be near each other.

    Compilers look whether arrays overlap while the loop runs, and take vectors or not.
    """
    assert list(_sums_beside_writing("for b in range(n):\n    r[b] = w[b]\n    s += w[b]")) == [3]
    assert list(_sums_beside_writing("for b in range(n):\n    total[k] += w[b]")) == [2]
    assert list(_sums_beside_writing("for b in range(n):\n    total[b] += w[b]\n    m += 1")) == []
    for path in (PACKAGE / "kernels").rglob("*.py"):
        lines = list(_sums_beside_writing(path.read_text()))
        assert lines == [], f"{path.name}: move what is written in lines {lines} to a loop of its own"


def test_only_one_function_iterates():
    """No second EM loop: `fit_loop` and its compiled twin for many problems alone ask whether a fit has converged.

    And the end of a round of batches, whose order is the caller's. One function compares with the tolerance.
    """

    def users(pattern):
        found = [path for path in PACKAGE.rglob("*.py") if re.search(pattern, path.read_text())]
        return sorted(path.relative_to(PACKAGE).as_posix() for path in found)

    assert users(r"< ((schedule|options)\.|self\._)?tol\b") == ["kernels/updates/progress.py"]
    assert users(r"(?<!def )\b_?(is_settled|has_converged)\(") == [
        "fitting/online.py",
        "fitting/plain.py",
        "fitting/stopping.py",
        "kernels/many/fit.py",
    ]


def _public_objects():
    for module_name in MODULES:
        if any(part.startswith("_") for part in module_name.split(".")[1:]):
            continue
        module = importlib.import_module(module_name)
        for name, value in vars(module).items():
            if not name.startswith("_") and getattr(value, "__module__", None) == module_name and callable(value):
                yield f"{module_name}.{name}", value


PUBLIC = dict(_public_objects())


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_docstrings(name):
    """Every public function and class says in a sentence what it does; estimators document every parameter."""
    text = inspect.getdoc(PUBLIC[name])
    assert text, name
    assert text.splitlines()[0].rstrip().endswith((".", ":")) or len(text.splitlines()) > 1, name
    if inspect.isclass(PUBLIC[name]) and hasattr(PUBLIC[name], "get_params"):
        text = re.sub(r"[^\w]", " ", text)
        missing = [
            p
            for p in inspect.signature(PUBLIC[name].__init__).parameters
            if p not in ("self", "args", "kwargs", *text.split())
        ]
        assert not missing


def test_docstrings_name_things():
    """A noun or a verb says more than "what ..."."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = ast.get_docstring(node) or ""
                assert not text.startswith(("What ", "Return what ")), f"{path.name}: {text.splitlines()[0]}"


def test_modules_say_why_they_exist():
    for module in MODULES:
        text = importlib.import_module(module).__doc__ if not module.endswith("__main__") else "main"
        assert text, module


def test_public_names_resolve():
    for name in fastgmm.__all__:
        assert getattr(fastgmm, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        fastgmm.nonsense  # noqa: B018
    kernels = importlib.import_module("fastgmm.kernels")
    assert [name for name in kernels.__all__ if not hasattr(kernels, name)] == []


def test_no_file_is_left_out_of_the_wheel():
    packages = {module.name for module in pkgutil.walk_packages([str(PACKAGE)], "fastgmm.") if module.ispkg}
    names = (
        *("cli", "datasets", "estimators", "families", "fitting", "io", "passes", "rules", "sources", "starts"),
        *("analysis", "inference", "plotting", "predictors", "selection", "support", "tables", "kernels", "many"),
        *("validation", *(f"kernels.{name}" for name in KERNELS)),
    )
    assert packages == {f"fastgmm.{name}" for name in names}


def test_choices_for_type_checkers_are_those_that_are_checked():
    from fastgmm.estimators import choices, posterior
    from fastgmm.families import FAMILIES, NAMED
    from fastgmm.fitting import acceleration
    from fastgmm.fitting.stopping import STOPPING
    from fastgmm.starts import seeding
    from fastgmm.support import names

    allowed = {
        names.CovarianceFamily: FAMILIES,
        names.CovarianceAlias: NAMED.keys() - FAMILIES.keys(),
        choices.Stopping: STOPPING,
        choices.Accelerate: acceleration.METHODS,
        choices.StartMethod: seeding.METHODS,
        choices.WeightPrior: posterior.PRIOR_TYPES,
        choices.Predictive: posterior.PREDICTIVES,
    }
    for choice, values in allowed.items():
        assert set(get_args(choice)) == set(values)


def test_annotations_can_be_resolved():
    from fastgmm import BayesianGaussianMixture, GaussianMixture

    for cls in (BayesianGaussianMixture, GaussianMixture):
        for name in ("__init__", "fit", "from_parameters", "set_params"):
            assert get_type_hints(getattr(cls, name))


def test_doc_examples():
    import doctest

    from fastgmm.estimators import bayesian, gaussian

    for module in (bayesian, gaussian):
        assert doctest.testmod(module).failed == 0
        assert doctest.testmod(module).attempted > 0


def test_the_recipe_for_conda_asks_for_what_the_package_does():
    recipe = (ROOT / ".ci" / "conda" / "recipe.yaml").read_text()
    project = (ROOT / "pyproject.toml").read_text()
    needed = re.findall(r'"(.*?)"', re.search(r"^dependencies = \[(.*)\]$", project, re.M)[1])
    python = re.search(r'^requires-python = "(.*)"$', project, re.M)[1]
    run = re.search(r"^  run:\n((?:    - .*\n)+)", recipe, re.M)[1]
    asked = [line.removeprefix("    - ").replace(" ", "") for line in run.splitlines()]
    assert asked == [f"python{python}", *needed]


def _places_of_the_version():
    """Each place that a bump of a part of the version changes: its file, the pattern, whether all bumps or which."""
    tomllib = pytest.importorskip("tomllib")
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["bumpversion"]
    assert settings["current_version"] == fastgmm.__version__
    major, minor, patch = re.match(settings["parse"], fastgmm.__version__).group("major", "minor", "patch")
    known = {
        "current_version": fastgmm.__version__,
        "current_major": major,
        "current_minor": minor,
        "current_patch": patch,
    }
    for place in settings["files"]:
        yield place["filename"], place["search"].format(**known), place.get("include_bumps")


def test_each_place_of_the_version_is_found_by_a_release():
    is_final = "dev" not in fastgmm.__version__
    found = set()
    for name, pattern, bumps in _places_of_the_version():
        if bumps == ["stage"] and is_final:
            continue
        assert (ROOT / name).read_text().count(pattern) == 1, f"{name} lacks {pattern!r}"
        found.add(name)
    assert found == {"fastgmm/_version.py", ".ci/conda/recipe.yaml", "CITATION.cff", "CHANGELOG.md"}


def test_the_first_part_of_the_changes_is_of_this_version():
    version, when = re.search(r"^## (\S+) \((.*)\)$", (ROOT / "CHANGELOG.md").read_text(), re.M).groups()
    assert version == fastgmm.__version__.removesuffix(".dev0")
    if fastgmm.__version__.endswith(".dev0"):
        assert when == "unreleased"
    else:
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", when)
        assert "there is none yet" not in (ROOT / "README.md").read_text()


def test_nothing_that_is_tracked_is_a_link():
    """It would lead out of a clone, or nowhere."""
    listed = subprocess.run(["git", "ls-files", "-s"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("needs a checkout")
    assert [line for line in listed.stdout.splitlines() if line.startswith("120000")] == []
