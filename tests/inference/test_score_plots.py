"""The picture shows what it should: checked on what was drawn, not on pixels."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from kaggle_utils.data.probabilities import calibration_curve
from kaggle_utils.inference.score_plots import plot_scores


def probabilities(rows: int) -> np.ndarray:
    return np.random.default_rng(0).dirichlet([1, 1, 1], rows)


def test_calibrated_predictions_lie_on_the_diagonal():
    rows = probabilities(20_000)
    labels = np.array([np.random.default_rng(i).choice(3, p=p) for i, p in enumerate(rows)])
    means, shares, counts = calibration_curve(rows[:, 0], labels == 0)
    assert np.abs(means - shares).max() < 0.03 and counts.sum() == 20_000


def test_labels_add_a_second_panel_with_the_log_loss(tmp_path):
    rows = probabilities(50)
    rows[3] = np.nan
    labels = np.r_[np.full(10, -1), np.zeros(40, dtype=int)]
    figure = plot_scores(rows, labels)
    assert figure.axes[0].get_title() == "49 rows"
    expected = -np.log(rows[10:, 0]).mean()
    assert figure.axes[1].get_title() == f"log loss {expected:.4f} on 40 labelled rows"
    figure.savefig(tmp_path / "scores.png")
    assert (tmp_path / "scores.png").stat().st_size > 5000


def test_without_labels_there_is_one_panel():
    assert len(plot_scores(probabilities(5)).axes) == 1
    assert len(plot_scores(probabilities(5)[:, :2], names=("A", "B")).axes) == 1
