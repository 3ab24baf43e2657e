"""Fits find the best weights and temperatures, checked against brute force, scipy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest

from kaggle_utils.inference.ensemble import (
    fit_temperature,
    fit_weights,
    log_loss,
    softmax,
    weighted_mean,
    with_temperature,
)


@pytest.fixture
def labelled():
    """Three judges of different quality about 600 rows."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(600, 3)) * 1.5
    labels = np.array([rng.choice(3, p=p) for p in softmax(truth)])
    logits = [truth + rng.normal(size=truth.shape) * noise for noise in (0.3, 1.0, 4.0)]
    return np.stack([softmax(one) for one in logits]), labels, logits


def test_log_loss_is_scikit_learns(labelled):
    metrics = pytest.importorskip("sklearn.metrics")
    p, labels, _ = labelled
    assert log_loss(p[0], labels) == pytest.approx(metrics.log_loss(labels, p[0], labels=[0, 1, 2]), rel=1e-9)
    sure = np.eye(3)[(labels + 1) % 3]
    assert np.isfinite(log_loss(sure, labels))


def test_weighted_mean_is_the_mean_and_lets_others_stand_in():
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.ones(3), size=(3, 10))
    assert np.allclose(weighted_mean(p), p.mean(axis=0))
    assert np.allclose(weighted_mean(p, [2, 1, 1]), (2 * p[0] + p[1] + p[2]) / 4)
    p[0, 4] = np.nan
    p[:, 7] = np.nan
    mixed = weighted_mean(p, [2, 1, 1])
    assert np.allclose(mixed[4], (p[1, 4] + p[2, 4]) / 2)
    assert np.isnan(mixed[7]).all()
    assert np.allclose(np.delete(mixed, 7, axis=0).sum(axis=1), 1)
    assert np.isnan(weighted_mean(p, [1, 0, 0])[4]).all()


@pytest.mark.parametrize("weights", [[1, 1], [1, -1, 1], [0, 0, 0], [1, np.nan, 1]])
def test_weights_that_mean_nothing_are_refused(weights):
    with pytest.raises(ValueError, match=r"weights .* expected 3 numbers"):
        weighted_mean(np.full((3, 2, 2), 0.5), weights)


def test_fitted_weights_are_the_best_there_are(labelled):
    optimize = pytest.importorskip("scipy.optimize")
    p, labels, _ = labelled
    weights = fit_weights(p, labels)
    assert weights.sum() == pytest.approx(1)

    def loss(free):
        return log_loss(weighted_mean(p, softmax(free)), labels)

    options = {"xatol": 1e-10, "fatol": 1e-12, "maxiter": 5000}
    best = optimize.minimize(loss, np.zeros(3), method="Nelder-Mead", options=options)
    assert log_loss(weighted_mean(p, weights), labels) <= best.fun + 1e-7
    assert weights[0] > weights[2]
    assert np.array_equal(weights, fit_weights(p, labels))


def test_a_useless_judge_gets_nothing_and_a_prior_pulls_to_equal(labelled):
    p, labels, _ = labelled
    wrong = softmax(-5 * np.eye(3)[labels])
    assert fit_weights([p[0], wrong], labels)[1] < 1e-6
    assert fit_weights(p, labels, prior=1e6) == pytest.approx([1 / 3] * 3, abs=1e-3)


def test_weights_of_the_real_size_are_fitted_in_seconds():
    import time

    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(3), size=(3, 57_477))
    labels = rng.integers(0, 3, 57_477)
    started = time.process_time()
    fit_weights(p, labels)
    assert time.process_time() - started < 20


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_temperature_of_overconfident_logits_is_found(temperature):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20_000, 3)) * 2
    labels = (softmax(logits).cumsum(axis=1) > rng.random((20_000, 1))).argmax(axis=1)
    fitted = fit_temperature(logits * temperature, labels)
    assert fitted == pytest.approx(temperature, rel=0.05)
    around = [log_loss(softmax(logits * temperature / t), labels) for t in (fitted * 0.99, fitted, fitted * 1.01)]
    assert around[1] == min(around)
    p = softmax(logits * temperature)
    assert fit_temperature(np.log(p), labels) == pytest.approx(fitted)
    assert np.allclose(with_temperature(p, fitted), softmax(logits * temperature / fitted))


def test_temperature_stays_in_bounds_where_labels_are_always_right():
    labels = np.array([0, 1, 2, 0])
    assert fit_temperature(np.eye(3)[labels], labels) == pytest.approx(0.01, rel=0.01)
    assert fit_temperature(-np.eye(3)[labels], labels) == pytest.approx(100, rel=0.01)


@pytest.mark.parametrize(
    "labels", [np.array([0, 3]), np.array([-1, 0]), np.array([0.0, 1.0]), np.array([0]), np.array([], dtype=int)]
)
def test_labels_that_do_not_fit_are_named(labels):
    with pytest.raises(ValueError, match="labels"):
        log_loss(np.full((2, 3), 1 / 3), labels)
    with pytest.raises(ValueError, match="expected finite"):
        fit_weights(np.full((2, 3, 3), np.nan), np.zeros(3, dtype=int))
    with pytest.raises(ValueError, match="above 0"):
        with_temperature(np.array([1.0]), 0.0)
