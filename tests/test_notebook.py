"""The notebook among the examples: its cells run one after the other, as a reader runs them, and say what it says."""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from fastgmm.datasets import load_diabetes
from fastgmm.io import load_model

NOTEBOOK = Path(__file__).parent.parent / "examples" / "from_rows_to_a_decision.ipynb"

if not NOTEBOOK.exists():
    pytest.skip("needs a checkout", allow_module_level=True)


def test_the_notebook_leads_to_a_decision(tmp_path, monkeypatch, capsys):
    """Without nbclient as well: cells of code are Python alone."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    monkeypatch.chdir(tmp_path)
    document = json.loads(NOTEBOOK.read_text())
    cells = [cell for cell in document["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    names = {"__name__": "notebook"}
    before = set(plt.get_fignums())
    for cell in cells:
        exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    drawn = [plt.figure(number) for number in plt.get_fignums() if number not in before]
    panels = [len(figure.axes) for figure in drawn]
    for figure in drawn:
        figure.canvas.draw()
        plt.close(figure)
    assert panels == [1, 6, 1]
    # What the text says: three kinds, most adults certain, and the physicians' classes found again.
    model, decided, sure = names["model"], names["decided"], names["sure"]
    assert len(model.weights_) == 3
    assert decided["kind"].tolist() == model.predict(decided[["glucose", "insulin", "sspg"]]).tolist()
    assert 0 < len(names["again"]) < 0.25 * len(decided)
    agreeing = sum(np.bincount(sure.loc[sure["class"] == name, "kind"]).max() for name in load_diabetes().target_names)
    assert agreeing > 0.8 * len(sure)
    assert f"{len(names['again'])} of 145 adults are to be tested again" in capsys.readouterr().out
    np.testing.assert_array_equal(load_model("diabetes.json").means_, model.means_)


@pytest.mark.slow
@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("nbclient", "ipykernel")),
    reason="nbclient and ipykernel are not installed; the cells are run without them, too",
)
def test_the_notebook_runs_in_jupyter(tmp_path):
    import nbclient
    import nbformat

    shutil.copy(NOTEBOOK, tmp_path)
    document = nbformat.read(tmp_path / NOTEBOOK.name, 4)
    nbclient.NotebookClient(document, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    pictures = [
        output for cell in document.cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 3
