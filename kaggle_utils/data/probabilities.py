"""From logits to probabilities, and what a label was given: the numbers that scoring and training both report."""

from __future__ import annotations

import numpy as np

__all__ = ["PROBABILITY_FLOOR", "of_labels", "softmax"]

PROBABILITY_FLOOR = 1e-15
"""Smaller probabilities are cut to this before a logarithm."""


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities, float64 [..., C], for logits of any size and precision; rows of nan stay nan.

    >>> softmax(np.array([1000.0, 1000.0], dtype=np.float16)).tolist()
    [0.5, 0.5]
    """
    logits = np.asarray(logits, dtype=np.float64)
    exponents = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True)


def of_labels(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return P(label) of each row, float64 [N] from [N, C] and integers [N], cut to the floor and to 1.

    >>> of_labels(np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([0, 1])).tolist()
    [0.5, 1e-15]
    """
    chosen = np.asarray(probabilities, dtype=np.float64)[np.arange(len(labels)), labels]
    return np.clip(chosen, PROBABILITY_FLOOR, 1.0)
