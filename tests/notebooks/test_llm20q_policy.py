"""The policy notebook runs unchanged: a game is won and annotated, both pictures are drawn, and training helps."""

from __future__ import annotations

import re

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
    (page,) = [page for page in pages if "20 Questions" in page and "bits" in page]
    assert "ours wins" in page, "the annotated game is lost"
    for picture in ("noise.png", "training.png"):
        assert (working / picture).read_bytes().startswith(b"\x89PNG")
    said = "".join(output.get("text", "") for output in notebook.cells[-1].outputs)
    won = re.search(r"letter_blind +gain ([\d.]+), policy ([\d.]+) .*kept: (\w+)", said)
    assert won, said
    assert won[3] in ("channel", "residual"), said
    assert float(won[2]) > float(won[1]), said
