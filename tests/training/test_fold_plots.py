"""Pictures of a run are drawn from what it left, whole folds or not."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from kaggle_utils.training.fold_plots import plot_losses, plot_out_of_fold, save_plots
from kaggle_utils.training.kfold_result import KFoldResult


def result(folder, rows=300):
    generator = np.random.default_rng(0)
    labels = generator.choice(3, rows, p=[0.4, 0.4, 0.2])
    logits = generator.normal(size=(rows, 3)) + 1.5 * np.eye(3)[labels]
    assigned = np.arange(rows) % 3
    logits[assigned == 2] = np.nan
    history = [{"step": step, "loss": 1.1 - 0.002 * step + 0.05 * generator.normal()} for step in range(1, 200)]
    history += [{"step": step, "eval_log_loss": 1.05 - 0.001 * step} for step in (50, 100, 150, 200)]
    figures = {fold: {"rows": 100, "log_loss": 1.0, "accuracy": 0.5, "calibration_error": 0.1} for fold in (0, 1)}
    return KFoldResult(folder, list(range(rows)), labels, assigned, logits.astype(np.float32), figures,
                       {0: history, 1: history[::2]})  # fmt: skip


def test_pictures_are_written_whole(tmp_path):
    paths = save_plots(result(tmp_path))
    assert [path.name for path in paths] == ["losses.png", "out_of_fold.png"]
    assert all(path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and path.stat().st_size > 20_000 for path in paths)
    assert set(tmp_path.iterdir()) == set(paths)


def test_curves_hold_what_was_logged(tmp_path):
    left, right = plot_losses(result(tmp_path).histories).axes
    assert len(left.get_lines()) == 4 and len(right.get_lines()) == 4  # each fold: points and mean; points and star
    steps, losses = right.get_lines()[0].get_data()
    assert list(steps) == [50, 100, 150, 200] and losses[0] == pytest.approx(1.0)
    assert list(right.get_lines()[1].get_xdata()) == [200]
    assert plot_losses({0: []}).axes  # a fold without a log


def test_confusion_counts_the_rows_that_have_predictions(tmp_path):
    given = result(tmp_path)
    _, right = plot_out_of_fold(given.probabilities, given.labels).axes
    counts = [int(text.get_text().partition("\n")[2]) for text in right.texts]
    assert sum(counts) == 200
    known = given.predicted
    chosen = given.probabilities[known].argmax(axis=1)
    assert counts[0] == int(((chosen == 0) & (given.labels[known] == 0)).sum())
    assert counts[1] == int(((chosen == 1) & (given.labels[known] == 0)).sum())  # rows are labels
