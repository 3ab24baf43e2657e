"""The baseline that most competitors wrote: strike out what contradicts an answer, ask what halves the rest.

It believes every answer, so one wrong answer strikes out the keyword; that is what it is here to show. It has the
interface of ``questioner.batch.BatchQuestioner``, so that ``simulate`` and the round robin run both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from kaggle_utils.q20.knowledge.table import KnowledgeTable

__all__ = ["EliminationQuestioner"]


class EliminationQuestioner:
    """Entropy-greedy questions with hard elimination, for ``games`` games at once.

    A question costs two products of [games, objects] x [objects, questions].
    """

    def __init__(
        self,
        table: KnowledgeTable,
        *,
        games: int,
        prior: np.ndarray | None = None,
        seed: int = 0,
        free_guess: bool = True,
        questions: np.ndarray | None = None,
    ) -> None:
        """Take the table (rounded to yes and no) and the number of games.

        Args:
            table: what is known.
            games: number of games.
            prior: float [N] weights of the objects, by default the table's.
            seed: for ties between questions and between candidates.
            free_guess: a wrong guess strikes its class out; without it ``guess`` changes nothing.
            questions: int [k], the only questions to ask; by default all.
        """
        self.table, self.free_guess = table, free_guess
        self._random = np.random.default_rng([seed, 0xE1])
        self._yes = (table.theta >= 0.5).astype(np.float32)  # [N, Q]
        weights = np.asarray(table.objects.prior if prior is None else prior, np.float32)
        self._prior = weights / weights.sum()
        self._alive = np.ones((games, len(weights)), np.float32)
        self._unguessed = np.ones((games, len(weights)), bool)
        self._asked = np.zeros((games, self._yes.shape[1]), bool)
        if questions is not None:
            self._asked[:] = True
            self._asked[:, questions] = False
        self._tie = self._random.random(self._yes.shape[1], np.float32) * np.float32(1e-5)
        self._last = np.zeros(games, np.int32)

    def ask(self) -> np.ndarray:
        """Return the question of each game, int32 [G]: the split nearest to half of what is left."""
        mass = self._alive * self._prior
        mass /= np.maximum(mass.sum(axis=1, keepdims=True), 1e-30)
        # rounded: the last digits of a product depend on how many games it is made for, and must not break ties
        score = self._tie - np.abs(mass @ self._yes - 0.5).round(5)
        score[self._asked] = -np.inf
        self._last = score.argmax(axis=1).astype(np.int32)
        self._asked[np.arange(len(self._last)), self._last] = True
        return self._last

    def hear(self, answers: np.ndarray) -> None:
        """Take the answers, int8 [G]: 1 yes, 0 no, -1 nothing. Where nothing would be left, the answer is dropped."""
        agrees = self._yes.T[self._last] == answers[:, None]
        left = self._alive * (agrees | (answers == -1)[:, None])
        keep = (left * self._unguessed).any(axis=1)
        self._alive[keep] = left[keep]

    def guess(self) -> np.ndarray:
        """Return the likeliest unguessed object of each game, int32 [G], and strike out its class."""
        score = (self._alive + np.float32(1e-6)) * self._prior * self._unguessed
        guesses = score.argmax(axis=1).astype(np.int32)
        if self.free_guess:
            classes = np.asarray(self.table.objects.match_class)
            same = classes[None] == classes[guesses][:, None]
            self._unguessed &= ~same
            left = self._alive * ~same
            keep = left.any(axis=1)
            self._alive[keep] = left[keep]
        return guesses
