"""The notebook of `examples/`, executed with a tiny budget."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FILE = Path(__file__).resolve().parents[2] / "examples" / "from_arrays_to_prediction.ipynb"
BUDGET = re.compile(r"^TRIALS, SEEDS, EPOCHS = .*$", re.MULTILINE)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_notebook_goes_from_arrays_to_a_prediction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    monkeypatch.setenv("PYTHONPATH", str(FILE.parents[1]))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    notebook = nbformat.read(FILE, as_version=4)
    assert sum(len(BUDGET.findall(cell.source)) for cell in notebook.cells) == 1
    for cell in notebook.cells:
        cell.source = BUDGET.sub("TRIALS, SEEDS, EPOCHS = 4, 2, 6", cell.source)
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    answer = notebook.cells[-1].outputs[-1]["data"]["text/plain"]
    assert "prediction" in answer
    (errors,) = tmp_path.rglob("errors.png")
    assert errors.stat().st_size > 10_000
