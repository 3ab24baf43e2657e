"""A whole table as matrices, for many games at once; worked out once for all chunks of games over the same table."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from kaggle_utils.q20.questioner.choice import askable, near_duplicates
from kaggle_utils.q20.questioner.pool import DenseQuestions

if TYPE_CHECKING:
    from kaggle_utils.q20.knowledge.table import KnowledgeTable

__all__ = ["DenseTable", "MatchClasses", "dense_table"]

_newest: WeakKeyDictionary[KnowledgeTable, tuple[object, DenseTable]] = WeakKeyDictionary()


def dense_table(table: KnowledgeTable, prior: np.ndarray | None, outside: float) -> DenseTable:
    """Return the matrices of a table; the newest of each table are kept as long as the table lives.

    Args: as of ``DenseTable``.
    """
    key = (None if prior is None else np.asarray(prior, dtype=np.float64).tobytes(), outside)
    known = _newest.get(table)
    if known is None or known[0] != key:
        known = _newest[table] = (key, DenseTable(table, prior, outside))
    return known[1]


class DenseTable:
    """What ``BatchQuestioner`` needs of a table; nothing here changes during a game."""

    def __init__(self, table: KnowledgeTable, prior: np.ndarray | None, outside: float) -> None:
        """Read the whole table: 8 to 16 bytes a cell.

        Args:
            table: what is known.
            prior: float [N] prior of the objects, by default the table's.
            outside: prior probability of words that are none of the objects.

        Raises:
            ValueError: the prior does not fit the table, or no question can be asked.
        """
        theta = np.asarray(table.theta, dtype=np.float32)
        self.size = len(theta)
        prior = np.asarray(table.objects.prior if prior is None else prior, dtype=np.float64)
        if prior.shape != (self.size,) or not (prior >= 0).all() or not 0 < prior.sum() < np.inf:
            raise ValueError(f"prior {prior.shape} must hold one weight per object, {self.size}, none negative")
        prior = np.maximum(prior / prior.sum(), 1e-12) * (1 - outside)
        if outside:
            theta = np.concatenate([theta, np.asarray(table.unknown, dtype=np.float32)[None]])
            prior = np.append(prior, outside)
        self.prior = prior
        """float64 [N], or [N + 1] with the out-of-vocabulary slot as the last."""
        self.needed = float(-(prior * np.log2(prior)).sum())
        """Entropy of the prior in bits."""
        self.lexical = np.asarray(table.bank.lexical, dtype=bool)
        self.columns = np.ascontiguousarray(theta.T)
        """float32 [Q, N] or [Q, N + 1]."""
        self.parts = [
            DenseQuestions(theta[:, at], at)
            for at in (np.flatnonzero(~self.lexical), np.flatnonzero(self.lexical))
            if len(at)
        ]
        self.clarity = np.array([question.clarity for question in table.bank], dtype=np.float32)
        self.unfit = ~askable(table)
        """bool [Q]: must not be asked."""
        if (~self.unfit).sum() < 1:
            raise ValueError(f"none of the {len(self.unfit)} questions can be asked")
        self.twins = near_duplicates(theta[: self.size], prior[: self.size], self.lexical)
        self.classes = MatchClasses(np.asarray(table.objects.match_class), prior[: self.size])


class MatchClasses:
    """The classes of objects that the environment takes for one another."""

    def __init__(self, match_class: np.ndarray, prior: np.ndarray) -> None:
        _, self.number = np.unique(match_class, return_inverse=True)
        sizes = np.bincount(self.number)
        order = np.lexsort((-prior, self.number))
        starts = np.cumsum(sizes) - sizes
        self.members = np.full((len(sizes), sizes.max()), -1, dtype=np.int64)
        self.members[self.number[order], np.arange(len(order)) - starts[self.number[order]]] = order
        self._order, self._starts = order, starts

    def best(self, weights: np.ndarray) -> np.ndarray:
        """The likeliest object of the likeliest class of each row: int [G] from float [G, N]."""
        if self.members.shape[1] == 1:
            return np.argmax(weights, axis=1)
        sums = np.add.reduceat(weights[:, self._order], self._starts, axis=1)
        members = self.members[np.argmax(sums, axis=1)]
        inside = np.where(members >= 0, np.take_along_axis(weights, np.maximum(members, 0), axis=1), -1)
        return np.take_along_axis(members, np.argmax(inside, axis=1)[:, None], axis=1)[:, 0]
