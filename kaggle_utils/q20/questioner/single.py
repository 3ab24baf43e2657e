"""One game: the questioner that plays.

It keeps a posterior over objects, words outside the table and kinds of answerers, and asks what is expected to tell
most: a question of the bank, an alphabetical threshold made for the moment, or the handshake, which tells about the
answerer alone and is worth as much as what can be asked afterwards. A guess is the best class not guessed yet. All of
it follows from the transcript, so a game can be taken over at any turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kaggle_utils.q20.protocol import ROUNDS, read_answer
from kaggle_utils.q20.questioner.choice import pick
from kaggle_utils.q20.questioner.handshake import handshake_worth
from kaggle_utils.q20.questioner.lexicon import OutsideWords
from kaggle_utils.q20.questioner.posterior import Posterior, View
from kaggle_utils.q20.questioner.prepared import PreparedTable
from kaggle_utils.q20.questioner.profiles import PROFILES, AnswererProfile, known_flip
from kaggle_utils.q20.questioner.thresholds import best_threshold
from kaggle_utils.q20.questions import HANDSHAKE, LexicalQuestion, alphabetical_question, is_handshake, parse_question

if TYPE_CHECKING:
    from kaggle_utils.q20.knowledge.table import KnowledgeTable
    from kaggle_utils.q20.vocabulary import Vocabulary

__all__ = ["Heard", "Questioner"]

_OUTSIDE = 0.1  # prior probability of a word outside the table, where spelling is no way to find it
_SURE = 0.1  # bits from which on a threshold goes first with who spells exactly: other gains are only estimated
_WHILE_CONFIRMED = 0.003  # a rare word makes a promise to spell look doubtful, one wrong answer makes it incredible
_RICH = 0.6  # gain of a good first question about meaning, where the table was not looked at yet


class Heard(NamedTuple):
    """An answer that was taken in."""

    question: str
    lexical: bool
    unknown: float | np.ndarray
    """P(yes) of a word outside the table at that time, one for all profiles or [K]."""
    answer: bool


class Questioner:
    """A game against one answerer.

    Questions are numbered as in the table's bank; what is asked besides (thresholds, the handshake) gets the numbers
    after. Guesses are numbered as the objects, words outside the table after them.
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
        self.prepared = table if isinstance(table, PreparedTable) else PreparedTable(table, vocabulary)
        self.table = self.prepared.table
        self.profiles = tuple(known_flip(flip) if flip is not None else profiles or PROFILES)
        self.variety, self.rounds = variety, rounds
        self.gains: list[float] = []
        """Expected gain in bits of each question that ``ask`` chose; the handshake's is what it is worth later."""
        self.asked: list[str] = []
        """Texts of all questions that were answered."""
        self.heard: list[Heard] = []
        """The questions whose answers told something about the keyword."""
        self._may_shake, self._seed = handshake, seed
        self._extra: list[str] = []
        self._asked_bounds: set[int] = set()
        self._read = 0
        self._pending: int | None = None
        self._closing: list[int] = []
        self._confirmed = False
        self._begin(out_of_vocabulary)

    def _begin(self, outside: float) -> None:
        """Set up the posterior. Who spells exactly can find any word, so with him the vocabulary's weights count."""
        lexicon, objects = self.prepared.lexicon, self.table.objects
        prior, share = np.asarray(objects.prior), np.full(len(self.profiles), outside)
        if lexicon is not None:
            exact = np.array([profile.handshake_yes > 0.5 for profile in self.profiles])
            prior = np.where(exact[:, None], lexicon.inside, prior)
            share[exact] = lexicon.share
        self.posterior = Posterior(prior, self.profiles, out_of_vocabulary=share)
        self._exact = np.array([profile.handshake_yes > 0.5 for profile in self.profiles])
        self.outside = None if lexicon is None else OutsideWords(lexicon, self.posterior.channel)

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
        self.asked.append(question)
        index = self.table.bank.index_of(question)
        if is_handshake(question):
            self.posterior.confirm(answer)
            self._confirmed = self._confirmed or answer is True
        elif index is not None:
            self._closing.append(index)
        if answer is None or is_handshake(question):
            return
        rule = parse_question(question) if index is None or self.prepared.lexical[index] else None
        if rule is not None:
            self._observe_spelling(rule, index, answer)
        elif index is not None:
            unknown = float(self.table.unknown[index])
            self.posterior.update(self.prepared.column(index), unknown, lexical=False, answer=answer)
            self.heard.append(Heard(question, False, unknown, answer))

    def question_text(self, number: int) -> str:
        """Return the text of a question that ``ask`` returned."""
        texts = self.table.bank.texts
        return texts[number] if number < len(texts) else self._extra[number - len(texts)]

    # --- guessing

    def guess(self) -> int:
        """Return the number of the likeliest class not guessed yet, and rule it out."""
        number = self._best()
        self.rule_out(self.guess_text(number))
        return number

    def guess_text(self, number: int) -> str:
        """Return the text of a guess: the object's name, or a word outside the table."""
        size = len(self.table.objects)
        return self.table.objects.guess_text(number) if number < size else self.prepared.lexicon.words[number - size]

    def best_guess(self) -> str:
        """Return the text of the best guess without ruling it out."""
        return self.guess_text(self._best())

    def rule_out(self, guess: str) -> None:
        """Rule out everything that the environment takes for ``guess``."""
        found = self.table.objects.matching(guess)
        if found:
            classes = self.table.objects.match_class
            self.posterior.exclude(np.unique(np.concatenate([found, np.flatnonzero(np.isin(classes, classes[found]))])))
        if self.outside is not None:
            indices = self.prepared.lexicon.matching(guess)
            if indices:
                self.posterior.shrink_outside(self.outside.exclude(indices))

    # --- what is believed

    @property
    def entropy_bits(self) -> float:
        """Entropy of the keyword in bits, words outside the table counted one by one where they are known."""
        masses = [self.posterior.objects]
        if self.outside is None:
            masses.append(np.array([self.posterior.out_of_vocabulary]))
        else:
            masses.append(self.outside.weights(self.posterior.weights[:, -1]))
        every = np.concatenate(masses)
        every = every[every > 0]
        return float(-(every * np.log2(every)).sum())

    @property
    def spells_exactly(self) -> bool:
        """Whether the answerer most probably works out spelling by rule, so that thresholds find any word."""
        return float(self.posterior.profiles[self._exact].sum()) > (_WHILE_CONFIRMED if self._confirmed else 0.5)

    @property
    def count(self) -> int:
        """Number of words that are still likely: 2 to the power of the entropy."""
        return max(1, round(2**self.entropy_bits))

    def top(self, count: int) -> list[tuple[str, float]]:
        """Return the likeliest objects with their probabilities."""
        objects = self.posterior.objects
        order = np.argsort(-objects, kind="stable")[: max(count, 0)]
        return [(self.table.objects.words[index], float(objects[index])) for index in order]

    # --- inside

    def _best(self) -> int:
        classes = self.table.objects.match_class
        weights = self.posterior.weights * (self._exact[:, None] if self.spells_exactly else 1.0)
        objects = weights[:, :-1].sum(axis=0)
        sums = np.bincount(classes, weights=objects)
        best = int(np.argmax(sums))
        members = np.flatnonzero(classes == best)
        if self.outside is not None:
            words = self.outside.weights(weights[:, -1])
            likeliest = int(np.argmax(words))
            if words[likeliest] > sums[best]:
                return len(objects) + likeliest
        return int(members[np.argmax(objects[members])])

    def _observe_spelling(self, rule: LexicalQuestion, index: int | None, answer: bool) -> None:
        lexicon = self.prepared.lexicon
        if lexicon is None:
            theta = self._spelled(rule) if index is None else self.prepared.column(index)
            unknown: float | np.ndarray = float(self.table.objects.prior @ theta)
        else:
            truth = lexicon.truth(rule)
            theta, unknown = truth[lexicon.at], self.outside.share(truth)
            self.outside.update(truth, answer)
        self.posterior.update(theta, unknown, lexical=True, answer=answer)
        self.heard.append(Heard(rule.text, True, unknown, answer))

    def _spelled(self, rule: LexicalQuestion) -> np.ndarray:
        words = self.table.objects.words
        return np.fromiter(map(rule.holds, words), dtype=np.float32, count=len(words))

    def _threshold(self, view: View) -> tuple[str, float] | None:
        """The best alphabetical question and its gain."""
        lexicon = self.prepared.lexicon
        if lexicon is None or view.slope < 1e-6:
            return None
        weights, slope = self.posterior.weights, self.posterior.channel.lexical_slope
        base, slant = view.base, view.slope
        if self.spells_exactly:
            slope, base, slant = slope * self._exact, 0.0, 1.0
        masses = np.bincount(lexicon.at, weights=slope @ weights[:, :-1], minlength=len(lexicon.words))
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
        return self.handshake_worth > 0

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
