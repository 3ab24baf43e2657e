"""From logits to probabilities, and what a label was given: the numbers that scoring and training both report."""

from __future__ import annotations

import numpy as np

__all__ = ["PROBABILITY_FLOOR", "calibration_curve", "of_labels", "softmax"]

PROBABILITY_FLOOR = 1e-15
"""Smaller probabilities are cut to this before a logarithm."""


def calibration_curve(
    probabilities: np.ndarray, hits: np.ndarray, *, bins: int = 10
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean prediction, share of hits and count of each of ``bins`` equally filled bins: float64, float64, int64 [bins].

    Equal counts instead of equal widths, so that no bin rests on a handful of rows (Nguyen and O'Connor 2015).

    >>> calibration_curve(np.array([0.1, 0.2, 0.8, 0.9]), np.array([False, False, True, True]), bins=2)
    (array([0.15, 0.85]), array([0., 1.]), array([2, 2]))
    """
    order = np.argsort(probabilities, kind="stable")
    parts = [part for part in np.array_split(order, min(bins, len(order))) if len(part)]
    means = np.array([np.mean(probabilities[part]) for part in parts])
    shares = np.array([np.mean(hits[part]) for part in parts])
    return means, shares, np.array([len(part) for part in parts], dtype=np.int64)


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
