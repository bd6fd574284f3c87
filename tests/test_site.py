"""The documentation site, as far as it can be checked without building it: pages, names, examples, code of guides."""

import ast
import csv
import gzip
import re
from pathlib import Path

import pytest

import fastgmm
from fastgmm import kernels
from fastgmm.cli.arguments import _parser

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
GALLERY = ROOT / "examples" / "gallery"
EXAMPLES = sorted(GALLERY.rglob("plot_*.py"))

if not DOCS.exists():
    pytest.skip("needs a checkout", allow_module_level=True)


def _is_source(path):
    return not any(part.startswith("_") or part == "auto_gallery" for part in path.relative_to(DOCS).parts)


PAGES = sorted(path for path in DOCS.rglob("*.md") if _is_source(path))
GUIDE = sorted(path for path in (DOCS / "guide").glob("*.md") if path.stem != "index")


def _entries(text):
    """Lines of the toctrees of a page that name pages, and whether they are patterns."""
    for tree in re.findall(r"^```\{toctree\}\n(.*?)^```", text, re.S | re.M):
        for line in tree.splitlines():
            if line and not line.startswith(":"):
                yield line, ":glob:" in tree


def _reached(page, seen):
    for entry, is_pattern in _entries(page.read_text()):
        for found in page.parent.glob(f"{entry}.md") if is_pattern else [(page.parent / f"{entry}.md").resolve()]:
            if found.exists() and found not in seen:
                seen.add(found)
                _reached(found, seen)
    return seen


def test_every_page_is_in_a_toctree():
    assert list(_entries("```{toctree}\n:hidden:\n\na\nb\n```\n")) == [("a", False), ("b", False)]
    index = DOCS / "index.md"
    assert len(PAGES) > 40
    assert [page.relative_to(DOCS).as_posix() for page in PAGES if page not in _reached(index, {index})] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_toctrees_and_links_name_files(page):
    text = page.read_text()
    names = [f"{entry}.md" for entry, is_pattern in _entries(text) if not is_pattern]
    names += re.findall(r"\]\((?!https?:|#)([^)#\s]+)", re.sub(r"```.*?```", "", text, flags=re.S))
    for name in names:
        # The gallery's pages are made at build time from the examples of the same names.
        path = name.replace("images/sphx_glr_", "").removesuffix(".md")
        made = re.search(r"auto_gallery/(\w+)/(plot_\w+?)(_\d+\.png|\.rst)?$", path)
        if made:
            assert GALLERY.joinpath(made[1], f"{made[2]}.py").exists(), name
        elif "auto_gallery" not in name:
            assert (page.parent / name).exists(), name


def _documented():
    text = "\n".join(page.read_text() for page in (DOCS / "api").glob("*.md"))
    return set(re.findall(r"^\.\. (?:auto\w+|py:data):: ([\w.]+)", text, re.M)) | set(
        re.findall(r"`(fastgmm\.\w+)`", text)
    )


def test_every_public_name_is_in_the_reference():
    documented = _documented()
    assert [name for name in fastgmm.__all__ if f"fastgmm.{name}" not in documented] == []
    assert [name for name in kernels.__all__ if f"fastgmm.kernels.{name}" not in documented] == []
    for module in (fastgmm.many, fastgmm.sources, fastgmm.io, fastgmm.datasets, fastgmm.plotting, fastgmm.reading):
        names = {name: {f"{module.__name__}.{name}", f"fastgmm.{name}"} for name in module.__all__}
        assert [name for name, places in names.items() if not places & documented] == [], module.__name__
    # Of these the page shows the module, and by name those that are made when they are first used.
    assert {
        "fastgmm.exceptions",
        *(f"fastgmm.exceptions.{name}" for name in fastgmm.exceptions._FALLBACKS),
    } <= documented


def test_the_reference_shows_every_command():
    commands = next(action for action in _parser()._actions if action.dest == "command").choices
    page = (DOCS / "api" / "cli.md").read_text()
    shown = re.findall(r"^## fastgmm (\w+)\n\n```\{eval-rst\}\n\.\. include:: /_include/(\w+)\.rst$", page, re.M)
    assert shown == [(name, name) for name in commands]


def test_there_are_examples():
    assert len(EXAMPLES) >= 15
    folders = {path.parent for path in EXAMPLES}
    assert all((folder / "GALLERY_HEADER.rst").exists() for folder in {GALLERY, *folders})


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_begin_with_a_title_and_end_with_a_conclusion(path):
    source = path.read_text()
    title, line, blank, sentence = (ast.get_docstring(ast.parse(source)) or "").split("\n")[:4]
    assert title
    assert line == "=" * len(title)
    assert blank == ""
    assert sentence.endswith(".")
    assert source.rsplit("# %%\n", 1)[1].startswith("# ")
    assert all(text.startswith("# ") for text in source.rsplit("# %%\n", 1)[1].splitlines())
    assert "filterwarnings" not in source
    for name in re.findall(r'"(\.\./[^"]+)"', source):
        assert (path.parent / name).exists(), name


def test_data_of_the_examples_are_few_and_have_a_source():
    files = sorted((ROOT / "examples" / "data").glob("*.gz"))
    assert files
    assert sum(path.stat().st_size for path in files) < 400_000
    page = (ROOT / "examples" / "data" / "README.md").read_text()
    for path in files:
        assert page.count(f"| `{path.name}` |") == 1
        with gzip.open(path, "rt") as file:
            assert len({len(row) for row in csv.reader(file)}) == 1


@pytest.mark.parametrize("page", GUIDE, ids=lambda page: page.stem)
def test_pages_of_the_guide_have_a_picture_and_code_that_runs(page, tmp_path, monkeypatch):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    monkeypatch.chdir(tmp_path)
    text = page.read_text()
    assert len(re.findall(r"^!\[", text, re.M)) == 1
    assert "**Read on**" in text
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.S | re.M)
    assert blocks
    exec(compile("\n".join(blocks), str(page), "exec"), {"__name__": page.stem})


@pytest.mark.parametrize("name", ["index", "from-mclust"])
def test_code_of_other_pages_runs(name, tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"^```python\n(.*?)^```", (DOCS / f"{name}.md").read_text(), re.S | re.M)
    exec(compile(code, name, "exec"), {"__name__": name})
    if name == "from-mclust":
        assert capsys.readouterr().out.split() == code.rsplit("# ", 1)[1].split()


def test_contributing_and_the_checks_have_the_command():
    assert re.search(r"^docs = \[$", (ROOT / "pyproject.toml").read_text(), re.M)
    command = re.search(r"`python (-m sphinx [^`]+)`", (DOCS / "conf.py").read_text())[1]
    for path in (ROOT / "CONTRIBUTING.md", ROOT / ".ci" / "run"):
        assert command in path.read_text(), path.name
