"""What a transcript says about the keyword: a weight for every word of a vocabulary.

A belief is computed anew from the whole transcript, so a turn that was lost, repeated or answered by another process
does no harm. It uses the questions whose answer follows from the spelling (``questions.parse_question``) and trusts
their answers; semantic questions are left to others. It knows nothing of rounds, time or the handshake.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from kaggle_utils.q20.protocol import read_answer
from kaggle_utils.q20.questions import parse_question
from kaggle_utils.q20.vocabulary import Vocabulary

__all__ = ["Belief"]


@dataclass(eq=False)
class Belief:
    """Unnormalised posterior over a vocabulary.

    >>> from kaggle_utils.q20.questions import alphabetical_question
    >>> words = Vocabulary.from_weights({"apple": 4, "banana": 1, "pear": 2, "plum": 1})
    >>> belief = Belief.after(words, [alphabetical_question("pear")], ["no"], ["plum"])
    >>> belief.count, belief.best_guess()
    (1, 'pear')
    """

    vocabulary: Vocabulary
    weights: np.ndarray
    """float64 [V]: the prior where a word is still possible, else 0."""
    contradicted: bool = False
    """No word fits the whole transcript; the weights are those of its newest prefix that some unguessed word fits."""

    @classmethod
    def after(
        cls, vocabulary: Vocabulary, questions: Sequence[str], answers: Sequence[str], guesses: Sequence[str]
    ) -> Belief:
        """Return the belief after a transcript; lists of unequal length are read as far as they pair up."""
        unguessed = np.ones(len(vocabulary), dtype=bool)
        for guess in guesses:
            if isinstance(guess, str):
                unguessed[vocabulary.matching(guess)] = False
        prefixes = [unguessed]
        for question, answer in zip(questions, answers, strict=False):
            rule, reply = parse_question(question), read_answer(answer)
            if rule is not None and reply is not None:
                prefixes.append(prefixes[-1] & (_truth(question, vocabulary) == (reply == "yes")))
        for alive in reversed(prefixes):
            weights = np.where(alive, vocabulary.probabilities, 0.0)
            if weights.any():
                return cls(vocabulary, weights, contradicted=alive is not prefixes[-1])
        return cls(vocabulary, weights, contradicted=True)

    @property
    def count(self) -> int:
        """Number of words that are still possible."""
        return int(np.count_nonzero(self.weights))

    @property
    def entropy_bits(self) -> float:
        """Shannon entropy in bits; 0.0 where one word or none is left."""
        masses = self.weights[self.weights > 0]
        if len(masses) < 2:
            return 0.0
        masses = masses / masses.sum()
        return float(-(masses * np.log2(masses)).sum())

    def top(self, k: int) -> list[tuple[str, float]]:
        """Return the ``k`` most probable words with their probabilities, ties in alphabetical order."""
        alive = np.flatnonzero(self.weights)
        order = alive[np.argsort(-self.weights[alive], kind="stable")][: max(k, 0)]
        total = self.weights.sum()
        return [(self.vocabulary.words[index], float(self.weights[index] / total)) for index in order]

    def best_guess(self) -> str | None:
        """Return the most probable word, None where none is left."""
        index = int(np.argmax(self.weights)) if len(self.weights) else 0
        return self.vocabulary.words[index] if len(self.weights) and self.weights[index] > 0 else None

    def bisection_word(self, *, exclude: str | None = None) -> str | None:
        """Return the word X for "does the keyword precede X", or None where no such question can tell words apart.

        A guess follows every answer, so what counts is the mass that each side keeps after its best guess: X makes
        the larger of the two as small as it can be. ``exclude`` is a guess to be thought away first.
        """
        weights = self.weights
        if exclude is not None:
            weights = weights.copy()
            weights[self.vocabulary.matching(exclude)] = 0.0
        alive = np.flatnonzero(weights)
        if len(alive) < 2:
            return None
        masses = weights[alive]
        left = np.cumsum(masses) - np.maximum.accumulate(masses)
        right = (np.cumsum(masses[::-1]) - np.maximum.accumulate(masses[::-1]))[::-1]
        worse = np.maximum(left[:-1], right[1:])
        return self.vocabulary.words[alive[int(np.argmin(worse)) + 1]]


@lru_cache(maxsize=64)  # a third of a million words take 0.3 s, and a transcript is read anew on every turn
def _truth(question: str, vocabulary: Vocabulary) -> np.ndarray:
    """For which words the answer to a question about the spelling is yes: bool [V], not to be written to."""
    rule, words = parse_question(question), vocabulary.words
    if rule.family != "order":
        return np.fromiter(map(rule.holds, words), dtype=bool, count=len(words))
    truth = np.zeros(len(words), dtype=bool)  # one change of answer along the sorted list: find it by bisection
    first = rule.holds(words[0])
    change = bisect_left(words, True, key=lambda word: rule.holds(word) != first)
    truth[:change], truth[change:] = first, not first
    return truth
