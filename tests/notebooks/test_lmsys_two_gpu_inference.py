"""The preference notebook runs unchanged on two tiny judges, on one device or two. That runs go on: tests/inference."""

from __future__ import annotations

import csv
import functools
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
    notebook, working = run_notebook("lmsys_two_gpu_inference.ipynb", attached=attached, kernel=False)
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


def run_here(root, name):
    """Run a notebook's cells in this process; what they define."""
    cells = json.loads((root / "notebooks" / name).read_text(encoding="utf-8"))["cells"]
    found: dict = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), found)
    return found


@pytest.mark.parametrize("whole", [True, False], ids=["both judges", "one is broken"])
def test_two_devices_take_a_judge_each(root, competition, tmp_path, monkeypatch, whole):
    for module in ("bitsandbytes", "IPython", "matplotlib", "peft"):
        pytest.importorskip(module)
    from tiny_classifiers import write_tiny_classifier

    from kaggle_utils.inference import judges, scoring
    from kaggle_utils.models.rooms import DeviceRoom

    for folder in ("input", "working"):
        (tmp_path / folder).mkdir()
        monkeypatch.setenv(f"KAGGLE_UTILS_{folder.upper()}_DIR", str(tmp_path / folder))
    competition.rename(tmp_path / "input" / "lmsys-chatbot-arena")
    write_tiny_classifier(tmp_path / "input" / "gemma-2-judge", "gemma2")
    llama = write_tiny_classifier(tmp_path / "input" / "llama-3-judge", "llama")
    if not whole:  # found when it is loaded
        from safetensors.numpy import load_file, save_file

        tensors = load_file(llama / "model.safetensors")
        del tensors["model.layers.1.mlp.up_proj.weight"]
        save_file(tensors, llama / "model.safetensors", metadata={"format": "pt"})
    monkeypatch.setattr(judges, "device_rooms", lambda devices=None: [DeviceRoom("cpu", 8 << 30)] * 2)
    monkeypatch.setattr(scoring, "score_pairs", functools.partial(scoring.score_pairs, workers="threads"))
    found = run_here(root, "lmsys_two_gpu_inference.ipynb")
    assert found["plan"].placement.name == "model-per-device"
    assert found["plan"].devices == ("cpu", "cpu") and found["plan"].placement.orders == (("gemma",), ("llama",))
    assert found["scores"].lost == (() if whole else ("llama",)) and found["scores"].missing == []
    assert set(found["scores"].reports[0].devices) == {"cpu#0", "cpu#1"}
    with (tmp_path / "working" / "submission.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == ["7", "3", "11", "9"]
    assert len({row["winner_tie"] for row in rows}) == 4
