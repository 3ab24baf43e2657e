"""Metrics: the values of scikit-learn and of hand counts, logits of any size, and no row left out silently."""

from __future__ import annotations

import numpy as np
import pytest

from kaggle_utils.inference import ensemble
from kaggle_utils.training.metrics import (
    accuracy,
    expected_calibration_error,
    log_loss,
    prediction_metrics,
    softmax,
)


def random_predictions(rows=400, classes=3, seed=0):
    generator = np.random.default_rng(seed)
    return softmax(generator.normal(0, 2, (rows, classes))), generator.integers(0, classes, rows)


def test_softmax_of_huge_logits_is_finite_where_the_plain_formula_is_not():
    logits = np.array([[1e4, 0.0, -1e4], [-1e4, -1e4, -1e4]], dtype=np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        plain = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert not np.isfinite(plain).all()
    assert softmax(logits).tolist() == [[1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]]
    assert softmax(logits.astype(np.float16)).dtype == np.float64


def test_log_loss_and_accuracy_are_those_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    probabilities, labels = random_predictions()
    assert log_loss(probabilities, labels) == pytest.approx(metrics.log_loss(labels, probabilities), rel=1e-12)
    assert accuracy(probabilities, labels) == metrics.accuracy_score(labels, probabilities.argmax(axis=1))


def test_the_engines_log_loss_is_the_same():
    probabilities, labels = random_predictions(seed=1)
    assert log_loss(probabilities, labels) == ensemble.log_loss(probabilities, labels)


def test_a_sure_wrong_answer_costs_much_and_not_infinity():
    assert log_loss(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(-np.log(1e-15))


def test_calibration_error_is_the_weighted_mean_gap_of_the_bins():
    probabilities, labels = random_predictions(rows=997, seed=2)
    sureness, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    expected = 0.0
    for low, high in zip(np.linspace(0, 1, 16)[:-1], np.linspace(0, 1, 16)[1:], strict=True):
        inside = (sureness > low) & (sureness <= high)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - sureness[inside].mean())
    assert expected_calibration_error(probabilities, labels) == pytest.approx(expected, abs=1e-12)
    assert expected > 0.05


def test_calibration_error_is_zero_for_a_calibrated_model_and_large_for_a_boastful_one():
    labels = np.array([0] * 8 + [1] * 2)
    honest, boastful = np.tile([0.8, 0.2], (10, 1)), np.tile([1.0, 0.0], (10, 1))
    assert expected_calibration_error(honest, labels) == pytest.approx(0.0, abs=1e-12)
    assert expected_calibration_error(boastful, labels) == pytest.approx(0.2)
    assert expected_calibration_error(boastful, labels, bins=1) == pytest.approx(0.2)


def test_opposite_gaps_in_different_bins_do_not_cancel():
    probabilities = np.array([[0.9, 0.1]] * 10 + [[0.6, 0.4]] * 10)
    labels = np.array([0] * 8 + [1] * 2 + [0] * 7 + [1] * 3)  # 0.8 where it said 0.9, 0.7 where it said 0.6
    assert expected_calibration_error(probabilities, labels) == pytest.approx(0.1)


def test_all_metrics_by_name():
    logits, labels = np.array([[2.0, 0.0], [0.0, 1.0]]), np.array([0, 1])
    found = prediction_metrics(logits, labels)
    assert set(found) == {"log_loss", "accuracy", "calibration_error"} and found["accuracy"] == 1.0
    assert found["log_loss"] == log_loss(softmax(logits), labels)


def test_rows_that_cannot_be_measured_are_all_named():
    probabilities = np.array([[0.5, 0.5], [np.nan, 0.5], [3.0, -1.0], [0.5, 0.5]])
    with pytest.raises(ValueError, match="nothing was measured") as caught:
        log_loss(probabilities, np.array([0, 0, 1, -1]))
    text = str(caught.value)
    assert "1 rows are not finite: row 1" in text and "no probabilities: row 2" in text
    assert "1 labels are outside 0 to 1: row 3" in text


@pytest.mark.parametrize(
    ("probabilities", "labels"),
    [
        (np.array([0.5, 0.5]), np.array([0])),
        (np.array([[0.5, 0.5]]), np.array([0, 1])),
        (np.array([[0.5, 0.5]]), np.array([0.0])),
        (np.empty((0, 2)), np.empty(0, dtype=int)),
    ],
)
@pytest.mark.parametrize("metric", [log_loss, accuracy, expected_calibration_error])
def test_wrong_shapes_are_refused(metric, probabilities, labels):
    with pytest.raises(ValueError, match=r"expected \[N, C\]"):
        metric(probabilities, labels)


def test_no_bins_is_refused():
    with pytest.raises(ValueError, match="bins is 0"):
        expected_calibration_error(np.array([[1.0, 0.0]]), np.array([0]), bins=0)
