"""Words outside the table: the out-of-vocabulary slot, spread over the alphabet.

The vocabulary holds far more words than the table. As long as nothing but their spelling is known of them they can be
found by questions about spelling, so the slot keeps their distribution, apart for each profile of answerers: words
whose answers agree so far form a group with one likelihood. Memory is a few bytes a word and 8 K a group.
"""

from __future__ import annotations

from bisect import bisect_left

import numpy as np

from kaggle_utils.q20.knowledge.objects import Objects
from kaggle_utils.q20.knowledge.spelled import Spelling
from kaggle_utils.q20.questioner.profiles import Channel
from kaggle_utils.q20.questions import LexicalQuestion
from kaggle_utils.q20.vocabulary import Vocabulary

__all__ = ["Lexicon", "OutsideWords"]

_RAREST = 2.0**-20  # probability of an object whose word the vocabulary does not hold
_QUESTIONS_KEPT = 512  # 40 kB each


class Lexicon:
    """All words of a vocabulary and of the objects in one alphabetical list.

    An object stands where its word does; its other names stay words of their own, should they be keywords themselves.

    >>> from kaggle_utils.q20.knowledge.objects import Thing
    >>> lexicon = Lexicon(Objects([Thing("Pear")]), Vocabulary.from_weights({"apple": 3, "pear": 1}))
    >>> lexicon.words, lexicon.outside.tolist(), lexicon.at.tolist(), round(lexicon.share, 2)
    (('apple', 'pear'), [1.0, 0.0], [1], 0.75)
    """

    def __init__(self, objects: Objects, vocabulary: Vocabulary) -> None:
        """Merge them: about 0.1 s for a third of a million words."""
        own = [word.lower() for word in objects.words]
        listed = [vocabulary.index_of(word) for word in own]
        new = sorted({word for word, index in zip(own, listed, strict=True) if index is None})
        places = np.array([bisect_left(vocabulary.words, word) for word in new], dtype=np.int64)
        numbers = np.arange(len(vocabulary))
        known = numbers + np.searchsorted(places, numbers, side="right")  # a new word moves those behind it by one
        moved = dict(zip(new, (places + np.arange(len(new))).tolist(), strict=True))
        self.words: tuple[str, ...] = tuple(sorted([*vocabulary.words, *new]))
        self.at = np.array(
            [moved[word] if index is None else known[index] for word, index in zip(own, listed, strict=True)],
            dtype=np.int64,
        )
        """int64 [N]: where each object stands."""
        weights = np.zeros(len(self.words))
        weights[known] = vocabulary.probabilities
        inside = np.maximum(weights[self.at], _RAREST)
        weights[self.at] = 0.0
        total = weights.sum() + inside.sum()
        self.share = float(weights.sum() / total)
        """Probability that the vocabulary gives to words outside of the table."""
        self.inside = inside / inside.sum()
        """float64 [N]: what the vocabulary thinks of the objects, sum 1."""
        self.outside = weights / max(weights.sum(), 1e-300)
        """float64 [U]: probability of each word given that it is no object."""
        self._spelling: Spelling | None = None
        self._vocabulary, self._known = vocabulary, known
        self._answered: dict[str, np.ndarray] = {}

    def matching(self, guess: str) -> list[int]:
        """Return the words of the vocabulary that the environment takes for ``guess``, as indices of ``words``."""
        return self._known[self._vocabulary.matching(guess)].tolist()

    def truth(self, question: LexicalQuestion) -> np.ndarray:
        """Return the answers of all words, bool [U]; alphabetical order takes no time, anything else up to a second.

        The newest questions are kept, a bit a word: games of one process ask the same ones.
        """
        if question.family != "order" or len(self.words) < 2:
            return np.unpackbits(self._spelled(question.text), count=len(self.words)).view(bool)
        first = question.holds(self.words[0])
        change = bisect_left(self.words, True, key=lambda word: question.holds(word) != first)
        truth = np.full(len(self.words), not first)
        truth[:change] = first
        return truth

    def _spelled(self, text: str) -> np.ndarray:
        """The packed answers to a question; no ``lru_cache``, which would keep the whole object alive."""
        found = self._answered.pop(text, None)
        if found is None:
            self._spelling = self._spelling or Spelling(self.words)
            found = np.packbits(self._spelling.answers(text))
            if len(self._answered) >= _QUESTIONS_KEPT:
                del self._answered[next(iter(self._answered))]
        self._answered[text] = found
        return found


class OutsideWords:
    """What the answers about spelling say of the words outside the table, for each profile of answerers.

    A byte a word, so that hundreds of games can be kept: what the words weigh is the lexicon's, for all of them.
    """

    def __init__(self, lexicon: Lexicon, channel: Channel) -> None:
        self._all, self._channel = lexicon.outside, channel
        self._group = np.zeros(len(self._all), dtype=np.uint8)
        self._log = np.zeros((len(channel), 1))
        self._gone = np.zeros(0, dtype=np.int64)
        self._scaled: np.ndarray | None = None

    def share(self, truth: np.ndarray) -> np.ndarray:
        """Return for each profile the probability of the words where ``truth`` [U] holds: [K]."""
        prior = self._prior
        scale = self._scale(prior)
        prior *= truth
        return scale @ self._masses(prior)

    def update(self, truth: np.ndarray, answer: bool) -> None:
        """Take the answer to a question about spelling whose answers are ``truth`` bool [U]."""
        split = 2 * self._group.astype(np.int64) + truth
        alive = np.bincount(split, minlength=2 * self._log.shape[1]) > 0
        p = self._channel.p_yes(np.array([0.0, 1.0]), lexical=True)
        step = np.log(p if answer else 1 - p)
        log = (self._log[:, :, None] + step[:, None, :]).reshape(len(p), -1)
        self._scaled, kind = None, np.min_scalar_type(int(alive.sum()))
        self._group, self._log = (np.cumsum(alive) - 1).astype(kind)[split], log[:, alive]

    def exclude(self, indices: list[int]) -> np.ndarray:
        """Rule out words that were guessed; returns the share of the slot that is left, [K]."""
        chosen = np.zeros(len(self._all), dtype=bool)
        chosen[indices] = True
        left = 1 - self.share(chosen)
        self._gone, self._scaled = np.union1d(self._gone, indices), None
        return left

    def weights(self, factors: np.ndarray) -> np.ndarray:
        """Return the sum over profiles of ``factors`` [K] times P(word | profile): float64 [U]."""
        prior = self._prior
        prior *= (factors @ self._scale(prior))[self._group]
        return prior

    @property
    def _prior(self) -> np.ndarray:
        """What the words weigh that were not guessed, float64 [U], the caller's own."""
        prior = self._all.copy()
        prior[self._gone] = 0.0
        return prior

    def _masses(self, weights: np.ndarray) -> np.ndarray:
        return np.bincount(self._group, weights=weights, minlength=self._log.shape[1])

    def _scale(self, prior: np.ndarray) -> np.ndarray:
        """Likelihood of each group over the mean one, [K, groups]."""
        if self._scaled is None:
            likelihood = np.exp(self._log - self._log.max(axis=1, keepdims=True))
            self._scaled = likelihood / np.maximum(likelihood @ self._masses(prior), 1e-300)[:, None]
        return self._scaled
