"""The preference notebook runs unchanged on two tiny judges, and a second run computes nothing again."""

from __future__ import annotations

import csv
import json

import pytest

HARD = [
    ("7", ["Which is larger?", None], ["The sun."], ["The moon <eos>."]),
    ("3", ["hello"], [""], ["hi \ud83d\ude00"]),
    ("11", ["same"], ["same answer"], ["same answer"]),
]


@pytest.fixture
def competition(tmp_path):
    folder = tmp_path / "competition"
    folder.mkdir()
    with (folder / "test.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "prompt", "response_a", "response_b"])
        for number, *fields in HARD:
            writer.writerow([number, *map(json.dumps, fields)])
        writer.writerow(["9", '["cut off', '["a"]', '["b"]'])
    with (folder / "sample_submission.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "winner_model_a", "winner_model_b", "winner_tie"])
        writer.writerows([[number, 0.333, 0.333, 0.333] for number in ("3", "7", "9", "11")])
    return folder


def outputs(notebook):
    """All text of the cells' outputs, and how many pictures there are."""
    found = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    text = "".join(output.get("text", "") for output in found if output.get("name") == "stdout")
    return text, sum("image/png" in output.get("data", {}) for output in found)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_runs_unchanged_on_tiny_judges(run_notebook, competition, tmp_path):
    pytest.importorskip("bitsandbytes")
    from tiny_classifiers import write_tiny_classifier

    attached = {
        "lmsys-chatbot-arena": competition,
        "gemma-2-judge": write_tiny_classifier(tmp_path / "gemma", "gemma2"),
        "llama-3-judge": write_tiny_classifier(tmp_path / "llama", "llama"),
    }
    notebook, working = run_notebook("lmsys_two_gpu_inference.ipynb", attached=attached)
    text, pictures = outputs(notebook)
    assert "6 rows computed" in text and "2 models" in text and "gemma: nf4, float" in text, text
    assert pictures == 1, "the picture is shown, not only saved"
    with (working / "submission.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == ["7", "3", "11", "9"]
    values = [[float(row[c]) for c in ("winner_model_a", "winner_model_b", "winner_tie")] for row in rows]
    assert all(abs(sum(row) - 1) < 1e-9 for row in values)
    assert values[3] == pytest.approx([0.349, 0.342, 0.309]), "the pair that cannot be read gets the prior"
    assert len({tuple(row) for row in values}) == 4
    assert (working / "scores.png").stat().st_size > 5000

    first = (working / "submission.csv").read_bytes()
    text, _ = outputs(run_notebook("lmsys_two_gpu_inference.ipynb", attached=attached)[0])
    assert "0 rows computed, 6 from the store" in text
    assert (working / "submission.csv").read_bytes() == first
