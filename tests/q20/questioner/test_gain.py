"""Expected information gain against its definition, and the traps of float32."""

from __future__ import annotations

import numpy as np
import pytest

from kaggle_utils.q20.questioner.gain import binary_entropy, information_gain


def by_definition(weights, theta, base, slope):
    """H(answer) - H(answer | object), in plain float64 loops."""
    gains = []
    for column in theta.T:
        p = base + slope * column
        h = lambda x: -x * np.log2(x) - (1 - x) * np.log2(1 - x) if 0 < x < 1 else 0.0  # noqa: E731
        gains.append(h(float(weights @ p)) - sum(w * h(float(x)) for w, x in zip(weights, p, strict=True)))
    return np.array(gains)


@pytest.mark.parametrize("flip", [0.0, 0.1, 0.3])
def test_gain_is_exact_for_certain_entries_and_close_for_doubtful_ones(flip):
    random = np.random.default_rng(3)
    weights = random.dirichlet(np.ones(40))
    certain = random.integers(2, size=(40, 30)).astype(float)
    expected = by_definition(weights, certain, flip, 1 - 2 * flip)
    assert information_gain(weights, certain, base=flip, slope=1 - 2 * flip) == pytest.approx(expected, abs=1e-4)
    doubtful = random.random((40, 30))
    expected = by_definition(weights, doubtful, flip, 1 - 2 * flip)
    assert information_gain(weights, doubtful, base=flip, slope=1 - 2 * flip) == pytest.approx(expected, abs=0.03)


def test_entropy_is_never_nan_in_float32():
    p = np.array([0, 1e-9, 1 - 1e-9, 1, 1 + 1e-6, -1e-6, 0.5], dtype=np.float32)
    entropy = binary_entropy(p)
    assert np.isfinite(entropy).all()
    assert entropy[-1] == 1
    assert entropy[:-1].max() < 1e-4


def test_changed_arrays_are_not_remembered():
    """A cache keyed by the identity of an array once gave the gains of an earlier table."""
    theta = np.array([[0.0], [1.0]])
    first = information_gain(np.array([0.5, 0.5]), theta)[0]
    theta[:] = 0.5
    assert first == pytest.approx(1, abs=1e-3)
    assert information_gain(np.array([0.5, 0.5]), theta)[0] == pytest.approx(0, abs=1e-6)
