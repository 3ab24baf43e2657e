"""Which questions may be asked, and which of them is asked.

Not askable is what the environment or a partner would punish: too long a text, and a bare keyword, which ends the
episode. Near-duplicates of a question count as asked with it. Variety is bounded: a question is drawn among those
whose gain is within a given loss of the best.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kaggle_utils.q20.keywords import is_bare_keyword
from kaggle_utils.q20.protocol import is_valid_reply

if TYPE_CHECKING:
    from kaggle_utils.q20.knowledge.table import KnowledgeTable

__all__ = ["TWIN_CORRELATION", "askable", "near_duplicates", "pick"]

TWIN_CORRELATION = 0.97
"""Two questions about meaning with at least this correlation over the objects are one question in other words."""


def askable(table: KnowledgeTable) -> np.ndarray:
    """Return which questions of a table's bank may be asked at all: bool [Q]."""
    objects = table.objects
    return np.array(
        [
            is_valid_reply("ask", text) and not is_bare_keyword(text) and objects.index_of(text) is None
            for text in table.bank.texts
        ],
        dtype=bool,
    )


def near_duplicates(
    theta: np.ndarray, weights: np.ndarray, lexical: np.ndarray, *, correlation: float = TWIN_CORRELATION
) -> dict[int, np.ndarray]:
    """Return for each question with twins the indices of these, itself left out.

    Args:
        theta: [N, Q].
        weights: [N] of the objects.
        lexical: bool [Q]: questions about spelling differ in every letter, and are never twins.
        correlation: from which on, positive or negative ("Is it heavy?", "Is it light?").
    """
    at = np.flatnonzero(~lexical)
    root = np.sqrt(weights / weights.sum()).astype(np.float32)[:, None]
    scaled = theta[:, at] * root
    scaled -= root * (root * scaled).sum(axis=0)  # centred: root * (theta - mean)
    norms = np.sqrt(np.einsum("nq,nq->q", scaled, scaled))
    scaled /= np.maximum(norms, 1e-6)
    rows, columns = np.nonzero(np.abs(scaled.T @ scaled) >= correlation)
    twins: dict[int, list[int]] = {}
    for row, column in zip(rows, columns, strict=True):
        if row != column:
            twins.setdefault(int(at[row]), []).append(int(at[column]))
    return {question: np.array(others) for question, others in twins.items()}


def pick(gains: np.ndarray, *, variety: float, random: np.random.Generator, count: int = 12) -> np.ndarray:
    """Draw one question per row among the ``count`` best, likelier the better, none worse than the loss allowed.

    Args:
        gains: [G, Q] bits; -inf for what must not be asked.
        variety: bits that may be lost against the best question.
        random: source of chance.
        count: how many at most are drawn from.

    >>> gains = np.array([[0.5, 0.9, 0.89, -np.inf]])
    >>> int(pick(gains, variety=0.02, random=np.random.default_rng(0))[0]) in (1, 2)
    True
    """
    count = min(count, gains.shape[1])
    top = np.argpartition(-gains, count - 1, axis=1)[:, :count]
    values = np.take_along_axis(gains, top, axis=1)
    loss = values.max(axis=1, keepdims=True) - values
    weights = np.where(loss <= variety, np.exp(-2 * loss / max(variety, 1e-9)), 0.0)
    drawn = (weights.cumsum(axis=1) > random.random((len(gains), 1)) * weights.sum(axis=1, keepdims=True)).argmax(
        axis=1
    )
    return np.take_along_axis(top, drawn[:, None], axis=1)[:, 0]
