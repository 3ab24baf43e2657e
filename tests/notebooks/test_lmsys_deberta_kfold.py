"""The k-fold notebook runs unchanged on a tiny DeBERTa. That runs go on and repeat nothing: tests/training."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

COLUMNS = ["winner_model_a", "winner_model_b", "winner_tie"]


def write_competition(folder, *, rows=40, tests=6):
    """Made-up conversations: the longer answer wins; every prompt twice."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    words = ["red", "green", "blue", "one", "two", "three", "cat", "dog", "bird", "sings", "runs", "sleeps"]
    text = lambda most: json.dumps([" ".join(generator.choice(words, generator.integers(1, most)))])  # noqa: E731
    with (folder / "train.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "prompt", "response_a", "response_b", *COLUMNS])
        for i in range(rows):
            a, b = text(20), text(20)
            label = 2 if abs(len(a) - len(b)) < 15 else int(len(b) > len(a))
            writer.writerow([1000 + i, json.dumps([f"question {i // 2}"]), a, b, *(int(k == label) for k in range(3))])
    for name, header, fill in (
        ("test.csv", ["id", "prompt", "response_a", "response_b"], lambda: [text(5), text(20), text(20)]),
        ("sample_submission.csv", ["id", *COLUMNS], lambda: [0.333] * 3),
    ):
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            writer.writerows([[i, *fill()] for i in range(tests)])
    return folder


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_runs_unchanged_on_a_tiny_deberta(run_notebook, tmp_path):
    for module in ("accelerate", "matplotlib", "sklearn"):
        pytest.importorskip(module)
    from kfold_case import write_case_model

    attached = {
        "lmsys-chatbot-arena": write_competition(tmp_path / "competition"),
        "deberta-v3-base": write_case_model(tmp_path / "model"),
    }
    notebook, working = run_notebook("lmsys_deberta_kfold.ipynb", attached=attached, kernel=False)
    found = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert sum("image/png" in output.get("data", {}) for output in found) == 2, "both pictures are shown"
    with (working / "submission.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    values = np.array([[float(row[name]) for name in COLUMNS] for row in rows])
    assert [row["id"] for row in rows] == [str(i) for i in range(6)]
    assert np.allclose(values.sum(axis=1), 1) and len(np.unique(values)) > 6
    with (working / "kfold" / "out_of_fold.csv").open(encoding="utf-8") as file:
        known = list(csv.DictReader(file))
    assert [row["id"] for row in known] == [str(1000 + i) for i in range(40)]
    folds = {row["id"]: row["fold"] for row in csv.DictReader((working / "folds.csv").open(encoding="utf-8"))}
    assert all(folds[str(1000 + i)] == folds[str(1001 + i)] for i in range(0, 40, 2)), "a prompt is in one fold"
