"""The 20 Questions notebook runs unchanged: a small model attached, archive built, games won, replay shown.

The model is a random Llama: games are won by the rules, as with SmolLM2, which `make demo` packs and plays.
"""

from __future__ import annotations

import tarfile

import pytest


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_runs_unchanged_on_a_small_model(run_notebook, tiny_llama):
    attached = {"gemma-2/transformers/gemma-2-2b-it/2": tiny_llama}
    notebook, working = run_notebook("llm20q_submission.ipynb", attached=attached, kernel=False)
    with tarfile.open(working / "submission.tar.gz") as archive:
        names = set(archive.getnames())
    assert {"main.py", "model/model.safetensors", "kaggle_utils/q20/agent.py"} <= names
    assert len(list((working / "replays").glob("*.html"))) == 2
    shown = notebook.cells[-1].outputs[-1].data["text/html"]
    assert "popcorn" in shown
