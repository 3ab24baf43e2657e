"""Probabilities of several models into one, with weights and temperatures fitted on labelled rows.

It promises rows that sum to 1 and fits that are the same every time: both problems are convex, so there is one best
answer and no random start. Probabilities are [N, C] a model, [M, N, C] together; labels are int64 [N] from 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kaggle_utils.data.probabilities import PROBABILITY_FLOOR, of_labels, softmax

__all__ = ["fit_temperature", "fit_weights", "log_loss", "weighted_mean", "with_temperature"]

_STEPS = 10_000
_ENOUGH = 1e-12


def log_loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean of -log P(label), with P cut at 1e-15.

    >>> round(log_loss(np.array([[0.5, 0.5], [0.25, 0.75]]), np.array([0, 1])), 4)
    0.4904
    """
    _check_labels(probabilities, labels)
    return float(-np.log(of_labels(probabilities, labels)).mean())


def weighted_mean(
    probabilities: np.ndarray | Sequence[np.ndarray], weights: Sequence[float] | None = None
) -> np.ndarray:
    """Average models: [M, N, C] -> float64 [N, C].

    Where a model has no answer for a row (nan), the others share its weight; a row that nobody answered stays nan.

    Args:
        probabilities: of the models.
        weights: one a model, not negative, not all 0; None for equal ones. Their sum does not matter.

    >>> weighted_mean(np.array([[[0.9, 0.1]], [[0.3, 0.7]]]), [2, 1])
    array([[0.7, 0.3]])
    """
    stacked = np.asarray(probabilities, dtype=np.float64)
    if stacked.ndim != 3:
        raise ValueError(f"probabilities of shape {stacked.shape}; expected [models, rows, classes]")
    chosen = np.ones(len(stacked)) if weights is None else np.asarray(weights, dtype=np.float64)
    if chosen.shape != (len(stacked),) or not np.isfinite(chosen).all() or (chosen < 0).any() or not chosen.sum() > 0:
        raise ValueError(f"weights {chosen.tolist()}; expected {len(stacked)} numbers of at least 0, not all 0")
    answered = np.isfinite(stacked).all(axis=2)
    share = chosen[:, None] * answered
    total = share.sum(axis=0)
    mean = (share[:, :, None] * np.where(answered[:, :, None], stacked, 0.0)).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total[:, None] > 0, mean / total[:, None], np.nan)


def fit_weights(
    probabilities: np.ndarray | Sequence[np.ndarray], labels: np.ndarray, *, prior: float = 0.0
) -> np.ndarray:
    """Return the weights of :func:`weighted_mean` with the smallest log loss: float64 [M], sum 1.

    Expectation maximisation of a mixture: each step lowers the loss, weights stay weights without a constraint, and
    the loss is convex in them, so it ends at the best.

    Args:
        probabilities: [M, N, C] of labelled rows; all finite.
        labels: int64 [N].
        prior: pulls towards equal weights as much as that many rows a model would, all best explained by it.
    """
    stacked = np.asarray(probabilities, dtype=np.float64)
    if stacked.ndim != 3 or not np.isfinite(stacked).all():
        raise ValueError(
            f"probabilities of shape {stacked.shape}, {int((~np.isfinite(stacked)).sum())} not finite; "
            "expected finite [models, rows, classes]"
        )
    for model in stacked:
        _check_labels(model, labels)
    right = np.stack([of_labels(model, labels) for model in stacked])
    weights = np.full(len(right), 1.0 / len(right))
    last = np.inf
    for _ in range(_STEPS):
        mixed = weights @ right
        loss = -np.log(mixed).mean() - prior * np.log(np.maximum(weights, PROBABILITY_FLOOR)).sum() / right.shape[1]
        if last - loss < _ENOUGH:
            break
        last = loss
        counts = weights * (right / mixed).sum(axis=1) + prior
        weights = counts / counts.sum()
    return weights


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature T for which softmax(logits / T) has the smallest log loss, between 0.01 and 100.

    Probabilities do as well as logits: pass their logarithm. Found by bisection of the slope, which has one zero.
    """
    logits = np.asarray(logits, dtype=np.float64)
    _check_labels(logits, labels)
    if not np.isfinite(logits).all():
        raise ValueError(f"{int((~np.isfinite(logits)).sum())} logits are not finite; leave such rows out of the fit")
    right = logits[np.arange(len(labels)), labels].mean()

    def slope(inverse: float) -> float:
        return float((softmax(logits * inverse) * logits).sum(axis=1).mean() - right)

    low, high = 0.01, 100.0
    for _ in range(100):
        middle = (low * high) ** 0.5
        low, high = (low, middle) if slope(middle) > 0 else (middle, high)
    return 1.0 / (low * high) ** 0.5


def with_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Sharpen (below 1) or soften (above 1) probabilities: softmax(log p / T).

    >>> with_temperature(np.array([0.8, 0.2]), 1.0).round(6).tolist()
    [0.8, 0.2]
    """
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}, expected a number above 0")
    return softmax(np.log(np.maximum(probabilities, PROBABILITY_FLOOR)) / temperature)


def _check_labels(values: np.ndarray, labels: np.ndarray) -> None:
    values, labels = np.asarray(values), np.asarray(labels)
    if values.ndim != 2 or labels.shape != values.shape[:1] or not len(labels) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"values of shape {values.shape} and {labels.dtype} labels of shape {labels.shape}; expected [N, C] and "
            "integers [N], N at least 1"
        )
    if labels.min() < 0 or labels.max() >= values.shape[1]:
        raise ValueError(f"labels from {labels.min()} to {labels.max()}; expected 0 to {values.shape[1] - 1}")
