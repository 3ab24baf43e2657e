"""Test-time augmentation by exchanging A and B: which rows are worth it, and how the two orders are put together.

It promises that columns are permuted with the answers: what was P(A wins) in the swapped order is P(B wins). It does
not score anything; rows are chosen from probabilities and lengths.
"""

from __future__ import annotations

import numpy as np

__all__ = ["least_certain", "margins", "merge_orders", "rows_within_time", "swap_columns"]

_PERMUTATIONS = {2: [1, 0], 3: [1, 0, 2]}


def swap_columns(values: np.ndarray) -> np.ndarray:
    """Exchange the columns of A and B of [..., 2] (A, B) or [..., 3] (A, B, tie) logits or probabilities.

    >>> swap_columns(np.array([[0.5, 0.3, 0.2]]))
    array([[0.3, 0.5, 0.2]])

    Raises:
        ValueError: another number of columns.
    """
    values = np.asarray(values)
    if values.ndim < 1 or values.shape[-1] not in _PERMUTATIONS:
        raise ValueError(f"values of shape {values.shape}; expected 2 columns (A, B) or 3 (A, B, tie)")
    return values[..., _PERMUTATIONS[values.shape[-1]]]


def margins(probabilities: np.ndarray) -> np.ndarray:
    """Return how far the likeliest class is ahead of the second: [N, C] -> [N].

    >>> margins(np.array([[0.5, 0.3, 0.2], [0.25, 0.25, 0.5]])).round(2)
    array([0.2 , 0.25])
    """
    ordered = np.sort(np.asarray(probabilities), axis=-1)
    return ordered[..., -1] - ordered[..., -2]


def least_certain(probabilities: np.ndarray, *, share: float) -> np.ndarray:
    """Return the row numbers of that share of rows (rounded up) whose margin is smallest, least certain first.

    Rows without probabilities (nan) are never chosen: there is nothing to add to.

    >>> least_certain(np.array([[0.9, 0.1], [0.5, 0.5], [0.3, 0.7]]), share=0.5)
    array([1, 2])

    Raises:
        ValueError: ``share`` outside 0..1.
    """
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"share is {share}, expected a number from 0 to 1")
    known = np.flatnonzero(np.isfinite(probabilities).all(axis=1))
    order = known[np.argsort(margins(np.asarray(probabilities)[known]), kind="stable")]
    return order[: int(np.ceil(share * len(known)))]


def rows_within_time(
    probabilities: np.ndarray, lengths: np.ndarray, *, seconds: float, tokens_per_second: float
) -> np.ndarray:
    """Return the least certain rows whose tokens can be scored in ``seconds``, least certain first.

    >>> p = np.array([[0.9, 0.1], [0.5, 0.5], [0.3, 0.7]])
    >>> rows_within_time(p, np.array([10, 10, 10]), seconds=2.5, tokens_per_second=10.0)
    array([1, 2])
    """
    order = least_certain(probabilities, share=1.0)
    if seconds <= 0 or tokens_per_second <= 0:
        return order[:0]
    spent = np.cumsum(np.asarray(lengths)[order]) / tokens_per_second
    return order[spent <= seconds]


def merge_orders(plain: np.ndarray, swapped: np.ndarray, *, rows: np.ndarray | None = None) -> np.ndarray:
    """Average probabilities of both orders.

    Args:
        plain: [N, C].
        swapped: [len(rows), C], columns still as the swapped order gave them; rows of nan are left out.
        rows: which rows ``swapped`` belongs to; None for all.

    >>> merge_orders(np.array([[0.6, 0.2, 0.2], [0.4, 0.4, 0.2]]), np.array([[0.4, 0.4, 0.2]]), rows=np.array([0]))
    array([[0.5, 0.3, 0.2],
           [0.4, 0.4, 0.2]])
    """
    merged = np.array(plain, copy=True)
    index = np.arange(len(merged)) if rows is None else np.asarray(rows, dtype=np.int64)
    back = swap_columns(swapped)
    if back.shape != (len(index), merged.shape[1]):
        raise ValueError(f"swapped has shape {back.shape}, expected {(len(index), merged.shape[1])}")
    known = np.isfinite(back).all(axis=1)
    before = merged[index[known]]
    after = np.where(np.isfinite(before), (before + back[known]) / 2, back[known])
    merged[index[known]] = after
    return merged
