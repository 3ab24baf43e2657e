"""The sums over objects that gains are made of, for all questions of one kind at once.

``DenseQuestions`` holds theta and h(theta) as float32 matrices, for tables of a few million cells. ``SampledQuestions``
reads the codes of some hundred objects, drawn by weight, to find the best questions, and goes through all objects only
for these: a table of 35,000 x 13,000 takes some tens of milliseconds and no memory of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kaggle_utils.q20.questioner.gain import binary_entropy

if TYPE_CHECKING:
    from kaggle_utils.q20.knowledge.table import KnowledgeTable

__all__ = ["DenseQuestions", "SampledQuestions", "weighted_sample"]

_BLOCK = 512  # columns at a time: what is decoded stays in the processor's cache
_CERTAIN = 0.05  # bits: entries with less entropy than this count as certain


class DenseQuestions:
    """Theta of some questions for all objects, and h(theta) of those questions that are not certain."""

    def __init__(self, theta: np.ndarray, at: np.ndarray) -> None:
        """Take theta, float32 [N, len(at)], and the indices of the questions in their bank."""
        self.at, self.theta = at, np.ascontiguousarray(theta)
        entropy = binary_entropy(self.theta)
        soft = np.flatnonzero(entropy.max(axis=0, initial=0.0) > _CERTAIN)
        self.soft = soft if len(soft) else None
        self._entropy = np.ascontiguousarray(entropy[:, soft]) if len(soft) else None

    def sums(self, weights: np.ndarray) -> np.ndarray:
        """Return the sum of weight * theta, [..., len(at)], for weights [..., N]."""
        return _product(weights, self.theta)

    def entropies(self, weights: np.ndarray) -> np.ndarray | None:
        """Return the sum of weight * h(theta); None where all answers are certain."""
        if self.soft is None:
            return None
        if len(self.soft) == len(self.at):
            return _product(weights, self._entropy)
        result = np.zeros((*weights.shape[:-1], len(self.at)), dtype=np.float32)
        result[..., self.soft] = _product(weights, self._entropy)
        return result


class SampledQuestions:
    """The same sums for a large table: estimated from a sample of its objects, exact for the questions one names."""

    def __init__(self, table: KnowledgeTable, *, lexical: bool = False, sample: int = 128, seed: int = 0) -> None:
        """Take the table and the kind of questions; ``sample`` objects are read for each set of weights."""
        self.table, self.lexical, self._sample = table, lexical, sample
        self.at = np.flatnonzero(table.bank.lexical) if lexical else table.stored
        self._seed = seed
        rows, number = table.level_rows
        self._theta, self._entropy = rows.ravel(), binary_entropy(rows).ravel()
        self._row = 256 * number[self.at]

    def estimate(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Return about sum of weight * theta and of weight * h(theta), float32 [len(at)] each, for weights [N]."""
        chosen, shares = weighted_sample(weights, self._sample, np.random.default_rng(self._seed))
        if self.lexical:
            return self.table.lexical[:, chosen].astype(np.float32) @ shares, None
        sums = np.empty((2, len(self.at)), dtype=np.float32)
        for start in range(0, len(self.at), _BLOCK):
            part = slice(start, start + _BLOCK)
            cells = self.table.by_object[chosen, part] + self._row[part]
            sums[:, part] = shares @ self._taken(self._theta, cells), shares @ self._taken(self._entropy, cells)
        return sums[0], sums[1]

    def exact(self, weights: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the same sums over all objects for the questions ``at[places]``."""
        if self.lexical:
            return self.table.lexical[places].astype(np.float32) @ weights, None
        codes, row = self.table.by_question[places], self._row[places][:, None]
        sums = np.zeros((2, len(places)), dtype=np.float32)
        for start in range(0, len(weights), _BLOCK):
            part = slice(start, start + _BLOCK)
            cells, some = codes[:, part] + row, weights[part]
            sums += self._taken(self._theta, cells) @ some, self._taken(self._entropy, cells) @ some
        return sums[0], sums[1]

    @staticmethod
    def _taken(values: np.ndarray, cells: np.ndarray) -> np.ndarray:
        """Values of cells that are known to be in range; to check each would take as long again."""
        return np.take(values, cells, mode="clip")


def _product(weights: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """One game's product without the threads of the matrix library: they wait for each other on a busy machine."""
    return np.einsum("n,nq->q", weights, matrix) if weights.ndim == 1 else weights @ matrix


def weighted_sample(weights: np.ndarray, count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return at most ``count`` indices and what each stands for, so that sums over them are unbiased.

    The heaviest half is taken as it is, the rest by systematic sampling.

    >>> chosen, shares = weighted_sample(np.array([0.5, 0.2, 0.2, 0.1]), 4, np.random.default_rng(0))
    >>> sorted(chosen.tolist()), round(float(shares.sum()), 3)
    ([0, 1, 2, 3], 1.0)
    """
    if len(weights) <= count:
        return np.arange(len(weights)), weights.astype(np.float32)
    top = np.argpartition(-weights, count // 2)[: count // 2]
    rest = weights.astype(np.float64)
    rest[top] = 0.0
    left = rest.sum()
    if left <= 1e-6:
        return top, weights[top].astype(np.float32)
    draws = count - len(top)
    points = (np.arange(draws) + random.random()) * (left / draws)
    drawn = np.minimum(np.searchsorted(np.cumsum(rest), points), len(weights) - 1)
    shares = np.concatenate([weights[top], np.full(draws, left / draws)])
    return np.concatenate([top, drawn]), shares.astype(np.float32)
