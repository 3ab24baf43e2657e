"""Calibration recovers what was bent, family by family, and changes levels, not codes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tables import synthetic_table

from kaggle_utils.q20.knowledge.calibration import (
    Calibration,
    calibrate_table,
    expected_calibration_error,
    fit_calibration,
)


def labelled(slope: float, shift: float, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Stated probabilities whose truth is sigmoid(slope · log-odds + shift)."""
    random = np.random.default_rng(seed)
    log_odds = random.normal(0, 3, count)
    truth = 1 / (1 + np.exp(-(slope * log_odds + shift)))
    return 1 / (1 + np.exp(-log_odds)), (random.random(count) < truth).astype(float)


def test_each_family_gets_its_own_curve_and_the_error_falls():
    sure, sure_labels = labelled(0.4, 0.0, 4000, 0)
    shy, shy_labels = labelled(2.0, 0.0, 4000, 1)
    theta, labels = np.concatenate([sure, shy]), np.concatenate([sure_labels, shy_labels])
    families = ["llm/sure"] * 4000 + ["llm/shy"] * 4000
    fitted = fit_calibration(theta, labels, families)
    assert fitted.curve("llm/sure")[0] == pytest.approx(0.4, abs=0.05)
    assert fitted.curve("llm/shy")[0] == pytest.approx(2.0, abs=0.2)
    assert fitted.curve("llm/sure")[1] == 0.0
    before = expected_calibration_error(theta, labels)
    after = expected_calibration_error(fitted.apply(theta, families), labels)
    assert after < 0.015 < 0.03 < before


def test_platt_finds_a_bias_that_temperature_cannot():
    theta, labels = labelled(0.8, -1.0, 6000, 2)
    platt = fit_calibration(theta, labels, ["a"] * 6000, method="platt")
    assert platt.curve("a") == pytest.approx((0.8, -1.0), abs=0.1)
    temperature = fit_calibration(theta, labels, ["a"] * 6000)
    bias = np.mean(temperature.apply(theta, "a") - labels)
    assert abs(np.mean(platt.apply(theta, "a") - labels)) < 0.01 < bias


def test_few_pairs_fall_back_to_all_and_none_to_identity():
    theta, labels = labelled(0.5, 0.0, 1000, 3)
    fitted = fit_calibration(theta, labels, ["big"] * 980 + ["small"] * 20)
    assert set(fitted.by_family) == {"big"}
    assert fitted.pairs == {"big": 980, "small": 20}
    assert fitted.curve("small") == fitted.curve("never seen") == fitted.pooled
    nothing = fit_calibration([0.99], [0.0], ["a"])
    assert 0.01 <= nothing.pooled[0] <= 1.0, "one pair must not turn the scale round"


def test_separable_labels_stay_finite_and_monotone():
    theta = np.linspace(0, 1, 200)
    fitted = fit_calibration(theta, (theta > 0.5).astype(float), ["a"] * 200, method="platt")
    applied = fitted.apply(theta, "a")
    assert np.isfinite(applied).all()
    assert (np.diff(applied) >= 0).all()
    against = fit_calibration(theta, (theta < 0.5).astype(float), ["a"] * 200)
    assert against.curve("a")[0] > 0, "a source that is always wrong is flattened, not believed the other way"


def test_apply_takes_matrices_by_column_and_json_keeps_all():
    calibration = Calibration("platt", (1.0, 0.0), {"a": (0.5, 0.1)}, {"a": 99})
    theta = np.array([[0.9, 0.9], [0.2, 0.2]])
    applied = calibration.apply(theta, ["a", "b"])
    np.testing.assert_allclose(applied[:, 1], theta[:, 1], rtol=1e-5)
    assert applied[0, 0] < 0.8
    again = Calibration.from_json(json.loads(json.dumps(calibration.to_json())))
    assert again == calibration
    with pytest.raises(ValueError, match="one per last entry"):
        calibration.apply(theta, ["a"] * 3)
    with pytest.raises(ValueError, match="no calibration"):
        Calibration.from_json({"method": "platt"})


def test_a_calibrated_table_shares_codes_and_moves_only_semantic_answers():
    table = synthetic_table(40, 30)
    flat = calibrate_table(table, Calibration("temperature", (1.0, 0.0), {"made up 1": (0.3, 0.0)}))
    assert flat.by_object is table.by_object
    mine = np.array([family == "made up 1" for family in table.bank.families])
    np.testing.assert_allclose(flat.theta[:, ~mine], table.theta[:, ~mine], atol=1e-5)
    assert np.abs(flat.theta[:, mine] - 0.5).mean() < 0.6 * np.abs(table.theta[:, mine] - 0.5).mean()
    np.testing.assert_array_equal(calibrate_table(flat, Calibration("temperature", (1.0, 0.0))).theta.round(4),
                                  table.theta.round(4))  # fmt: skip


def test_bad_input_is_told_at_once():
    with pytest.raises(ValueError, match=r"expected equal lengths.*labels goes from 0.0 to 2.0.*method 'isotonic'"):
        fit_calibration([0.5, 0.5], [0.0, 2.0], ["a"], method="isotonic")
