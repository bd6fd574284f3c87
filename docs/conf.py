"""Configuration of the documentation: `python -m sphinx -W --keep-going -n docs docs/_build`."""

import argparse
import inspect
import re
import warnings
from pathlib import Path

from sphinx.addnodes import pending_xref

import fastgmm
from fastgmm.cli.arguments import _parser
from fastgmm.exceptions import ConvergenceWarning, SpuriousComponentWarning

HERE = Path(__file__).parent

project = "fastgmm"
author = "The fastgmm developers"
project_copyright = author
version = release = fastgmm.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "_include", "auto_gallery/**/*.ipynb", "auto_gallery/**/*.py"]
default_role = "literal"
# A page's headings are the targets of links such as seeding.md#several-starts.
myst_heading_anchors = 3
copybutton_prompt_text = "$ "
copybutton_exclude = ".linenos, .gp, .go"

autodoc_typehints = "none"
toc_object_entries_show_parents = "hide"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
# A module of the kernels that is not public, and has no page.
nitpick_ignore = [("py:mod", "fastgmm.kernels.structures.densities")]

html_theme = "pydata_sphinx_theme"
html_title = "fastgmm"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["pictures.js"]
html_show_sourcelink = False
html_sidebars = {"index": [], "benchmarks": [], "changes": []}
html_theme_options = {
    "navbar_align": "left",
    "show_nav_level": 2,
    "navigation_with_keys": False,
    "secondary_sidebar_items": {"**": ["page-toc"], "index": [], "auto_gallery/index": []},
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
}

# Examples may not warn: a warning of fastgmm is for a reader to understand, or for the example to mend.
for category in (ConvergenceWarning, SpuriousComponentWarning):
    warnings.simplefilter("error", category)

sphinx_gallery_conf = {
    "examples_dirs": "../examples/gallery",
    "gallery_dirs": "auto_gallery",
    "filename_pattern": r"/plot_",
    "within_subsection_order": "FileNameSortKey",
    "subsection_order": [f"../examples/gallery/{name}" for name in ("basics", "applications", "large")],
    "matplotlib_animations": False,
    "show_memory": False,
    "capture_repr": (),
    "min_reported_time": 1,
    "abort_on_example_error": False,
    "remove_config_comments": True,
    "image_srcset": ["2x"],
    "show_signature": False,
    "default_thumb_file": str(HERE / "faithful.png"),
}


def escaped(text):
    """Return plain text as reStructuredText, options as they are typed."""
    text = re.sub(r"([\\*`|_])", r"\\\1", text)
    return re.sub(r"(?<![\w-])--?[a-z](?:-?[a-z])*\b", r"``\g<0>``", text)


def help_of(parser):
    """Yield the lines of a command's help text as reStructuredText: a line of 80 characters has no room on a phone."""
    formatter = argparse.HelpFormatter(parser.prog)
    usage = parser.format_usage().strip().removeprefix("usage: ")
    yield from (f".. program:: {parser.prog}", "", "::", "", f"   {usage}", "", escaped(parser.description), "")
    for group in parser._action_groups:
        shown = [action for action in group._group_actions if action.help != argparse.SUPPRESS]
        if not shown:
            continue
        if isinstance(shown[0], argparse._SubParsersAction):
            yield from (f"* ``{each.dest}``: {escaped(each.help)}" for each in shown[0]._choices_actions)
            yield ""
            continue
        yield from (f".. rubric:: {group.title}", "")
        for action in shown:
            name = formatter._format_action_invocation(action)
            yield from (f".. option:: {name}", "", f"   {escaped(formatter._expand_help(action))}", "")
    text, _, examples = (parser.epilog or "").partition("examples:\n")
    yield from (escaped(text), "")
    if examples:
        yield from (".. rubric:: examples", "", "::", "", *(f"   {line.strip()}" for line in examples.splitlines()), "")


def write_help_of_commands(app):
    """Write the help text of each command, which the page of the command line includes."""
    folder = HERE / "_include"
    folder.mkdir(exist_ok=True)
    main_parser = _parser()
    commands = next(action for action in main_parser._actions if action.dest == "command").choices
    for name, parser in {"fastgmm": main_parser, **commands}.items():
        path, text = folder / f"{name}.rst", "\n".join(help_of(parser))
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def link_pages(app, what, name, obj, options, lines):
    """Make links of the pages that docstrings name."""
    lines[:] = [re.sub(r"`{0,2}docs/([\w-]+)\.md`{0,2}", r":doc:`/\1`", line) for line in lines]


def show_parameters(app, what, name, obj, options, signature, return_annotation):
    """Show the parameters of an estimator: its constructor's, not those of the method that makes the object."""
    if what == "class" and hasattr(obj, "get_params"):
        bare = [each.replace(annotation=each.empty) for each in inspect.signature(obj).parameters.values()]
        return str(inspect.Signature(bare)), None
    return None


# Files of the repository outside this folder, and the page of the site that shows each.
PAGES = {
    "README.md": "index",
    "CHANGELOG.md": "changes",
    "CONTRIBUTING.md": "contributing",
    "benchmarks/README.md": "benchmarks",
    "examples/tile_novelty": "tile-novelty",
    "tile_novelty.py": "tile-novelty",
}


def link_files(app, doctree):
    """Turn links to files of the repository into links to the pages that show them."""
    for node in doctree.findall(pending_xref):
        if node.get("reftype") != "myst":
            continue
        target = node["reftarget"]
        if node.get("refdomain") == "doc":
            if target in app.env.found_docs:
                continue
            target = Path(f"{target}.md").relative_to(HERE.parent).as_posix()
        target = target.removeprefix("../")
        page = PAGES.get(target, target.removeprefix("docs/").removesuffix(".md"))
        if page in app.env.found_docs:
            node["refdomain"], node["reftarget"] = "doc", page
            node["reftargetid"] = None


def setup(app):
    """Connect the functions above."""
    app.connect("builder-inited", write_help_of_commands)
    app.connect("autodoc-process-signature", show_parameters)
    app.connect("doctree-read", link_files)
    app.connect("autodoc-process-docstring", link_pages)
