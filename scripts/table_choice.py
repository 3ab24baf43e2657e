"""Choosing questions: drop what says nothing or says it twice, then help the pairs that are hardest to tell apart."""

from __future__ import annotations

import numpy as np

__all__ = ["choose_questions", "distances", "unlike", "worded_once"]

_MOVE = np.float32(0.5)


def unlike(columns: np.ndarray, *, most: float) -> np.ndarray:
    """Indices of the rows of ``columns`` float32 [Q, N] that no earlier row resembles beyond correlation ``most``."""
    centred = columns - columns.mean(axis=1, keepdims=True)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True) + 1e-9
    kept: list[int] = []
    for start in range(0, len(columns), 256):
        block = centred[start : start + 256]
        before = np.abs(block @ centred[kept].T).max(axis=1, initial=0.0) if kept else np.zeros(len(block))
        within = np.abs(block @ block.T)
        fresh: list[int] = []
        for i in range(len(block)):
            if before[i] <= most and (not fresh or within[i, fresh].max() <= most):
                fresh.append(i)
        kept += [start + i for i in fresh]
    return np.array(kept)


def distances(columns: np.ndarray) -> np.ndarray:
    """Number of questions whose answers differ, int32 [N, N], from ``columns`` [Q, N]."""
    yes = (columns > _MOVE).astype(np.float32).T
    both = yes @ yes.T
    ones = yes.sum(axis=1)
    return (ones[:, None] + ones[None, :] - 2 * both).round().astype(np.int32)


def choose_questions(columns: np.ndarray, first: np.ndarray, *, count: int, batch: int = 24) -> np.ndarray:
    """Indices of ``count`` rows of ``columns`` [Q, n]: those in ``first``, then greedily what separates near pairs.

    A pair at distance d weighs exp(-d / 3); each round takes the ``batch`` questions that separate most weight.
    Cost: O(count / batch · Q · n²) multiplications.
    """
    yes = (columns > _MOVE).astype(np.float32)
    chosen = list(first)
    free = np.ones(len(columns), bool)
    free[chosen] = False
    apart = distances(columns[chosen]).astype(np.float32)
    while len(chosen) < count and free.any():
        weights = np.exp(-apart / 3)
        np.fill_diagonal(weights, 0.0)
        gains = ((yes @ weights) * (1 - yes)).sum(axis=1)
        gains[~free] = -1.0
        best = np.argsort(-gains)[: min(batch, count - len(chosen))]
        best = best[gains[best] >= 0]
        chosen += best.tolist()
        free[best] = False
        apart += distances(columns[best])
    return np.array(chosen)


def worded_once(questions: list[tuple[str, str, np.ndarray]]) -> list[tuple[str, str, np.ndarray]]:
    """One of the questions that answerers read as one ("Does it have a tail?", "Does it normally have a tail?").

    The first one's text stays. A trait was written by hand and stays as it is; of others the larger P(yes) counts.
    """
    from kaggle_utils.q20.answerer.wording import wording_key

    first: dict[str, tuple[str, str, np.ndarray]] = {}
    for text, family, column in questions:
        key = wording_key(text)
        known = first.get(key)
        if known is None:
            first[key] = (text, family, column)
        elif known[1] != "trait":
            first[key] = (known[0], known[1], np.maximum(known[2], column))
    return list(first.values())
