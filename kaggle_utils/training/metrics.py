"""How good class probabilities are: log loss, accuracy, calibration error; in float64, from logits or probabilities.

It promises that no logit overflows, that a sure wrong answer costs much but not infinity, and that a row without an
answer is an error and never left out silently. Probabilities and logits are [N, C], labels are int64 [N] from 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kaggle_utils.data.probabilities import of_labels, softmax

__all__ = ["accuracy", "expected_calibration_error", "log_loss", "prediction_metrics"]

_SUM_TOLERANCE = 1e-3


def log_loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean of -log P(label) in nats, with P cut at 1e-15.

    >>> round(log_loss(np.array([[0.5, 0.5], [0.25, 0.75]]), np.array([0, 1])), 4)
    0.4904

    Raises:
        ValueError: shapes, labels or probabilities that cannot be meant; all that is wrong.
    """
    probabilities, labels = _checked(probabilities, labels)
    return float(-np.log(of_labels(probabilities, labels)).mean())


def accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of rows whose likeliest class is the label; of equally likely classes the first counts.

    >>> accuracy(np.array([[0.5, 0.5], [0.25, 0.75]]), np.array([1, 1]))
    0.5

    Raises:
        ValueError: as :func:`log_loss`.
    """
    probabilities, labels = _checked(probabilities, labels)
    return float((probabilities.argmax(axis=1) == labels).mean())


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, *, bins: int = 15) -> float:
    """Return the mean gap between how sure the model is and how often it is right, 0 to 1.

    Rows are put in ``bins`` of equal width by the probability of their likeliest class (Guo et al. 2017); the gaps of
    the bins are weighted by their rows. A probability on an edge belongs to the bin below it.

    >>> round(expected_calibration_error(np.array([[0.8, 0.2], [0.8, 0.2]]), np.array([0, 1])), 2)
    0.3

    Raises:
        ValueError: as :func:`log_loss`; less than one bin.
    """
    if bins < 1:
        raise ValueError(f"bins is {bins}; expected at least 1 (15 is usual)")
    probabilities, labels = _checked(probabilities, labels)
    sureness = probabilities.max(axis=1)
    right = (probabilities.argmax(axis=1) == labels).astype(np.float64)
    which = np.clip(np.ceil(sureness * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(which, weights=right - sureness, minlength=bins)  # rows of a bin times its gap
    return float(np.abs(gaps).sum() / len(labels))


def prediction_metrics(logits: np.ndarray | Any, labels: np.ndarray) -> dict[str, float]:
    """Return log_loss, accuracy and calibration_error of logits [N, C], by name.

    >>> prediction_metrics(np.zeros((2, 2)), np.array([0, 1]))["accuracy"]
    0.5

    Raises:
        ValueError: as :func:`log_loss`.
    """
    probabilities = softmax(logits)
    return {
        "log_loss": log_loss(probabilities, labels),
        "accuracy": accuracy(probabilities, labels),
        "calibration_error": expected_calibration_error(probabilities, labels),
    }


def _checked(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values, labels = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    if values.ndim != 2 or labels.shape != values.shape[:1] or not len(labels) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"probabilities of shape {values.shape} and {labels.dtype} labels of shape {labels.shape}; expected [N, C] "
            "and integers [N], N at least 1"
        )
    problems = []
    lost = ~np.isfinite(values).all(axis=1)
    if lost.any():
        problems.append(f"{int(lost.sum())} rows are not finite: {_shown(lost)}; score or fill them first")
    off = ~lost & ((values < 0).any(axis=1) | (np.abs(values.sum(axis=1) - 1) > _SUM_TOLERANCE))
    if off.any():
        problems.append(f"{int(off.sum())} rows are no probabilities: {_shown(off)}; softmax() makes them from logits")
    outside = (labels < 0) | (labels >= values.shape[1])
    if outside.any():
        problems.append(
            f"{int(outside.sum())} labels are outside 0 to {values.shape[1] - 1}: {_shown(outside)}; "
            "leave rows without a label out"
        )
    if problems:
        raise ValueError("nothing was measured: " + "; ".join(problems))
    return values, labels


def _shown(rows: np.ndarray) -> str:
    found = np.flatnonzero(rows)
    return "row " + ", ".join(map(str, found[:10].tolist())) + (", ..." if len(found) > 10 else "")
