"""One game: the questioner that plays.

It keeps a posterior over objects, words outside the table and kinds of answerers, and asks what is expected to tell
most: a question of the bank, an alphabetical threshold made for the moment, or the handshake, which tells about the
answerer alone and is worth as much as what can be asked afterwards. A guess is the best class not guessed yet. All of
it follows from the transcript, so a game can be taken over at any turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from kaggle_utils.q20.protocol import ROUNDS, read_answer
from kaggle_utils.q20.questioner.choice import pick
from kaggle_utils.q20.questioner.handshake import handshake_worth
from kaggle_utils.q20.questioner.mind import Mind
from kaggle_utils.q20.questioner.posterior import View
from kaggle_utils.q20.questioner.prepared import PreparedTable
from kaggle_utils.q20.questioner.profiles import PROFILES, AnswererProfile, known_flip
from kaggle_utils.q20.questioner.thresholds import best_threshold
from kaggle_utils.q20.questions import HANDSHAKE, alphabetical_question, is_handshake, parse_question

if TYPE_CHECKING:
    from kaggle_utils.q20.knowledge.table import KnowledgeTable
    from kaggle_utils.q20.vocabulary import Vocabulary

__all__ = ["Questioner"]

_OUTSIDE = 0.1  # prior probability of a word outside the table, where spelling is no way to find it
_SURE = 0.1  # bits from which on a threshold goes first with who spells exactly: other gains are only estimated
_WORTH = 1e-9  # of the handshake, so that rounding alone never asks it
_RICH = 0.6  # gain of a good first question about meaning, where the table was not looked at yet


class Questioner(Mind):
    """A game against one answerer.

    Questions are numbered as in the table's bank; what is asked besides (thresholds, the handshake) gets the numbers
    after.
    """

    def __init__(
        self,
        table: KnowledgeTable | PreparedTable,
        *,
        vocabulary: Vocabulary | None = None,
        profiles: Sequence[AnswererProfile] | None = None,
        flip: float | None = None,
        out_of_vocabulary: float = _OUTSIDE,
        handshake: bool = True,
        variety: float = 0.02,
        rounds: int = ROUNDS,
        seed: int = 0,
    ) -> None:
        """Begin a game.

        Args:
            table: what is known, or the same prepared, which spares the preparations of a second game.
            vocabulary: words outside the table that can be found by their spelling.
            profiles: grid of answerers, by default ``PROFILES``.
            flip: the flip rate of an answerer that is known.
            out_of_vocabulary: prior probability that the keyword is not in the table.
            handshake: it may be asked.
            variety: bits of gain that may be lost for asking something else than the best.
            rounds: questions in a game.
            seed: for that choice.
        """
        super().__init__(
            table if isinstance(table, PreparedTable) else PreparedTable(table, vocabulary),
            profiles=known_flip(flip) if flip is not None else profiles or PROFILES,
            out_of_vocabulary=out_of_vocabulary,
        )
        self.variety, self.rounds = variety, rounds
        self.gains: list[float] = []
        """Expected gain in bits of each question that ``ask`` chose; the handshake's is what it is worth later."""
        self._may_shake, self._seed = handshake, seed
        self._extra: list[str] = []
        self._asked_bounds: set[int] = set()
        self._read = 0
        self._pending: int | None = None
        self._closing: list[int] = []

    @classmethod
    def from_transcript(
        cls,
        table: KnowledgeTable | PreparedTable,
        questions: Sequence[str],
        answers: Sequence[str],
        guesses: Sequence[str],
        **options: object,
    ) -> Questioner:
        """Return the questioner after a transcript; lists of unequal length are read as far as they pair up."""
        self = cls(table, **options)  # type: ignore[arg-type]
        for question, answer in zip(questions, answers, strict=False):
            self.observe(question, {"yes": True, "no": False}.get(read_answer(answer) or ""))
        for guess in guesses:
            self.rule_out(guess)
        return self

    # --- asking

    def ask(self) -> int:
        """Return the number of the next question.

        Raises:
            LookupError: every question was asked.
        """
        if not self.asked and self._shakes(_RICH, _RICH):
            return self._choose(self._numbered(HANDSHAKE), self.handshake_worth)  # no need to read the table first
        views = [self.posterior.view(lexical=kind) for kind in (False, True)]
        threshold = self._threshold(views[1])
        if threshold is not None and self.spells_exactly and threshold[1] > _SURE:
            return self._choose(self._numbered(threshold[0]), threshold[1])
        closed = self._closed()
        gains = np.maximum(*(self.prepared.gains(views[kind], lexical=bool(kind), closed=closed) for kind in (0, 1)))
        best = float(gains.max(initial=-np.inf))
        told = float(np.max(gains[~self.prepared.lexical], initial=0.0))
        if self._shakes(told, max(best, 0.0 if threshold is None else threshold[1])):
            return self._choose(self._numbered(HANDSHAKE), self.handshake_worth)
        if threshold is not None and threshold[1] >= best:
            return self._choose(self._numbered(threshold[0]), threshold[1])
        if not np.isfinite(best):
            raise LookupError(f"all {len(gains)} questions of the bank were asked")
        random = np.random.default_rng([self._seed, len(self.asked)])
        chosen = int(pick(gains[None], variety=self.variety * max(best, 0.0), random=random)[0])
        return self._choose(chosen, float(gains[chosen]))

    def hear(self, answer: bool | None) -> None:
        """Take the answer to the question that ``ask`` returned; None where nothing was said."""
        if self._pending is None:
            raise ValueError("nothing was asked; call ask() first, or observe() with the question's text")
        self.observe(self.question_text(self._pending), answer)

    def observe(self, question: str, answer: bool | None) -> None:
        """Take any question and its answer; one that is neither in the bank nor decided by a rule tells nothing."""
        self._pending = None
        index = self.table.bank.index_of(question)
        if index is not None and not is_handshake(question):
            self._closing.append(index)
        super().observe(question, answer)

    def question_text(self, number: int) -> str:
        """Return the text of a question that ``ask`` returned."""
        texts = self.table.bank.texts
        return texts[number] if number < len(texts) else self._extra[number - len(texts)]

    # --- inside

    def _threshold(self, view: View) -> tuple[str, float] | None:
        """The best alphabetical question and its gain."""
        lexicon = self.prepared.lexicon
        if lexicon is None or view.slope < 1e-6:
            return None
        weights, slope = self.posterior.weights, self.posterior.channel.lexical_slope
        base, slant = view.base, view.slope
        if self.spells_exactly:
            slope, base, slant = slope * self.exact, 0.0, 1.0
        masses = np.bincount(lexicon.at, weights=slope @ weights[:, : len(lexicon.at)], minlength=len(lexicon.words))
        masses += self.outside.weights(slope * weights[:, -1])
        found = best_threshold(masses, base=base, slope=slant, closed=self._bounds())
        return None if found is None else (alphabetical_question(lexicon.words[found[0]]), found[1])

    def _bounds(self) -> set[int]:
        """Where thresholds were asked already; a question is read once."""
        rules = (parse_question(text) for text in self.asked[self._read :])
        truths = (self.prepared.lexicon.truth(rule) for rule in rules if rule is not None and rule.family == "order")
        self._asked_bounds |= {int(np.count_nonzero(truth if truth[0] else ~truth)) for truth in truths}
        self._read = len(self.asked)
        return self._asked_bounds

    def _shakes(self, semantic: float, now: float) -> bool:
        """Whether to ask the handshake, and what it is worth."""
        self.handshake_worth = 0.0
        if self._may_shake and len(self.asked) < 3 and not any(map(is_handshake, self.asked)):
            left = self.rounds - len(self.asked)
            self.handshake_worth = handshake_worth(
                self.posterior, needed=self.entropy_bits, left=left, semantic=semantic, now=now
            )
        return self.handshake_worth > _WORTH

    def _closed(self) -> np.ndarray:
        """Questions that cannot be asked, were asked, or are nearly the same as one that was: bool [Q]."""
        closed = ~self.prepared.askable
        for index in self._closing:
            closed[index] = True
            closed[self.prepared.twins(index)] = True
        return closed

    def _numbered(self, text: str) -> int:
        self._extra.append(text)
        return len(self.table.bank) + len(self._extra) - 1

    def _choose(self, number: int, gain: float) -> int:
        self._pending = number
        self.gains.append(gain)
        return number
