"""What is believed in a game, and the guesses that follow from it.

A ``Mind`` takes in any question with its answer and any guess, whoever made them; it chooses no question. It believes
in objects of the table, in words that joined the game and in words outside, each together with a kind of answerer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kaggle_utils.q20.questioner.evidence import Effect, Heard, expected_drop
from kaggle_utils.q20.questioner.gain import entropy
from kaggle_utils.q20.questioner.guests import Guests
from kaggle_utils.q20.questioner.lexicon import OutsideWords
from kaggle_utils.q20.questioner.posterior import Posterior
from kaggle_utils.q20.questioner.prepared import PreparedTable
from kaggle_utils.q20.questioner.profiles import AnswererProfile
from kaggle_utils.q20.questions import LexicalQuestion, is_handshake, parse_question

__all__ = ["Mind"]

_WHILE_CONFIRMED = 0.003  # a rare word makes a promise to spell look doubtful, one wrong answer makes it incredible


class Mind:
    """The belief in one game.

    Guesses are numbered as the objects, words that joined after them, the vocabulary's after these.
    """

    def __init__(
        self, prepared: PreparedTable, *, profiles: Sequence[AnswererProfile], out_of_vocabulary: float
    ) -> None:
        """Begin a game. Who spells exactly can find any word, so with him the vocabulary's weights count.

        Args:
            prepared: what is known.
            profiles: grid of answerers.
            out_of_vocabulary: prior probability that the keyword is not in the table.
        """
        self.prepared, self.table, self.profiles = prepared, prepared.table, tuple(profiles)
        self.asked: list[str] = []
        """Texts of all questions that were answered."""
        self.heard: list[Heard] = []
        """The questions whose answers told something about the keyword."""
        lexicon, prior = prepared.lexicon, np.asarray(self.table.objects.prior)
        self.exact = np.array([profile.handshake_yes > 0.5 for profile in self.profiles])
        """bool [K]: which profiles work out spelling by rule."""
        share = np.full(len(self.profiles), out_of_vocabulary)
        if lexicon is not None:
            prior = np.where(self.exact[:, None], lexicon.inside, prior)
            share[self.exact] = lexicon.share
        self.posterior = Posterior(prior, self.profiles, out_of_vocabulary=share)
        self.outside = None if lexicon is None else OutsideWords(lexicon, self.posterior.channel)
        self.guests = Guests()
        self._confirmed = False

    def observe(self, question: str, answer: bool | None) -> None:
        """Take any question and its answer; one that is neither in the bank nor decided by a rule tells nothing."""
        self.asked.append(question)
        if is_handshake(question):
            self.posterior.confirm(answer)
            self._confirmed = self._confirmed or answer is True
        effect = None if answer is None else self.effect(question)
        if effect is not None:
            if effect.truth is not None:
                self.outside.update(effect.truth, answer)
            self.posterior.update(effect.theta, effect.unknown, lexical=effect.lexical, answer=answer)
            self.heard.append(Heard(question, effect.lexical, effect.unknown, answer))

    def effect(self, question: str) -> Effect | None:
        """Return what the answer depends on; None for the handshake and for what neither table nor rules know."""
        index = self.table.bank.index_of(question)
        if is_handshake(question):
            return None
        rule = parse_question(question) if index is None or self.prepared.lexical[index] else None
        if rule is not None:
            return self._spelled(rule, index)
        if index is None:
            return None
        return Effect(False, self.prepared.column(index), float(self.table.unknown[index]))

    def expected_gain(self, question: str) -> float | None:
        """Return by how many bits the answer is expected to lower ``entropy_bits``; None as for ``effect``."""
        effect = self.effect(question)
        return None if effect is None else expected_drop(self.posterior, self.outside, effect)

    def add_words(self, words: Sequence[str], theta: np.ndarray) -> None:
        """Let words that the table does not hold join the game, with a share of what words outside of it weigh.

        Call it again, with the same words too, when more was heard: until then new answers tell nothing about them.

        Args:
            words: objects of the table among them are left out.
            theta: [len(words), len(heard)] P(yes) for the questions that were heard.
        """
        fit = [index for index, word in enumerate(words) if not self.table.objects.matching(word)]
        theta = np.asarray(theta).reshape(len(words), len(self.heard))
        self.guests.add(self.posterior, self.heard, [words[index] for index in fit], theta[fit])

    # --- guessing

    def guess(self) -> int:
        """Return the number of the likeliest class not guessed yet, and rule it out."""
        number = self._best()
        self.rule_out(self.guess_text(number))
        return number

    def guess_text(self, number: int) -> str:
        """Return the text of a guess: the object's name, or a word outside the table."""
        size, joined = len(self.table.objects), len(self.guests)
        if number < size:
            return self.table.objects.guess_text(number)
        return self.guests.words[number - size] if number < size + joined else self._word(number - size - joined)

    def best_guess(self) -> str:
        """Return the text of the best guess without ruling it out."""
        return self.guess_text(self._best())

    def rule_out(self, guess: str) -> None:
        """Rule out everything that the environment takes for ``guess``."""
        found = self.table.objects.matching(guess)
        if found:
            classes = self.table.objects.match_class
            self.posterior.exclude(np.unique(np.concatenate([found, np.flatnonzero(np.isin(classes, classes[found]))])))
        joined = self.guests.matching(guess)
        if joined:
            self.posterior.exclude(len(self.table.objects) + np.array(joined))
        if self.outside is not None:
            indices = self.prepared.lexicon.matching(guess)
            if indices:
                self.posterior.shrink_outside(self.outside.exclude(indices))

    # --- what is believed

    @property
    def entropy_bits(self) -> float:
        """Entropy of the keyword in bits, words outside the table counted one by one where they are known."""
        return entropy(np.concatenate([self.posterior.objects, self.posterior.guests, self._outside_masses()]))

    @property
    def spells_exactly(self) -> bool:
        """Whether the answerer most probably works out spelling by rule, so that thresholds find any word."""
        return float(self.posterior.profiles[self.exact].sum()) > (_WHILE_CONFIRMED if self._confirmed else 0.5)

    @property
    def count(self) -> int:
        """Number of words that are still likely: 2 to the power of the entropy."""
        return max(1, round(2**self.entropy_bits))

    def top(self, count: int) -> list[tuple[str, float]]:
        """Return the likeliest words with their probabilities: objects, words that joined, the vocabulary's others."""
        masses = [self.posterior.objects, self.posterior.guests]
        if self.outside is not None:
            masses.append(self._outside_masses())
        every = np.concatenate(masses)
        order = np.argpartition(-every, min(count, len(every) - 1))[: max(count, 0)]
        order = order[np.argsort(-every[order], kind="stable")]
        names, size = self.table.objects.words, len(self.table.objects)
        return [(names[at] if at < size else self.guess_text(at), float(every[at])) for at in order.tolist()]

    # --- inside

    def _best(self) -> int:
        classes, size = self.table.objects.match_class, len(self.table.objects)
        weights = self.posterior.weights * (self.exact[:, None] if self.spells_exactly else 1.0)
        masses = weights[:, :-1].sum(axis=0)
        sums = np.bincount(classes, weights=masses[:size])
        best, first = float(sums.max()), int(np.argmax(sums))
        members = np.flatnonzero(classes == first)
        number = int(members[np.argmax(masses[members])])
        if masses[size:].max(initial=0.0) > best:
            number = size + int(np.argmax(masses[size:]))
            best = float(masses[number])
        if self.outside is not None:
            words = self.outside.weights(weights[:, -1])
            likeliest = int(np.argmax(words))
            if words[likeliest] > best:
                return len(masses) + likeliest
        return number

    def _word(self, index: int) -> str:
        return self.prepared.lexicon.words[index]

    def _outside_masses(self) -> np.ndarray:
        """Words outside one by one where they are known, else all of them as one."""
        if self.outside is None:
            return np.array([self.posterior.out_of_vocabulary])
        return self.outside.weights(self.posterior.weights[:, -1])

    def _spelled(self, rule: LexicalQuestion, index: int | None) -> Effect:
        lexicon = self.prepared.lexicon
        if lexicon is not None:
            truth = lexicon.truth(rule)
            return Effect(True, truth[lexicon.at], self.outside.share(truth), truth)
        if index is not None:
            theta = self.prepared.column(index)
        else:
            words = self.table.objects.words
            theta = np.fromiter(map(rule.holds, words), dtype=np.float32, count=len(words))
        return Effect(True, theta, float(self.table.objects.prior @ theta))
