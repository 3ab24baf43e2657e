"""The policy notebook runs unchanged: the table is described, games are won, both pictures are drawn."""

from __future__ import annotations

import pytest


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_runs_unchanged(run_notebook):
    pytest.importorskip("kaggle_environments")
    pytest.importorskip("matplotlib")
    notebook, working = run_notebook("llm20q_policy.ipynb", attached={})
    pages = [
        output.data["text/html"]
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if "text/html" in output.get("data", {})
    ]
    assert any("20 Questions" in page and "bits" in page for page in pages), "no replay is shown"
    for picture in ("noise.png", "training.png"):
        assert (working / picture).read_bytes().startswith(b"\x89PNG")
    said = "".join(output.get("text", "") for output in notebook.cells[-1].outputs)
    assert "persistent_20" in said
