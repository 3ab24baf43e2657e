"""What the strategies read out of a transcript: answered questions, the handshake, the belief about the keyword.

Everything is worked out from the observation, so a turn that was lost or repeated does no harm. ``Beliefs`` remembers
its last result only to save time; the same transcript always gives the same belief.
"""

from __future__ import annotations

from functools import lru_cache

from kaggle_utils.q20.belief import Belief
from kaggle_utils.q20.protocol import Observation, keywords_match
from kaggle_utils.q20.questions import LexicalQuestion, is_handshake, parse_question
from kaggle_utils.q20.vocabulary import Vocabulary, load_vocabulary

__all__ = ["Beliefs", "already_guessed", "answered", "handshake_confirmed", "is_lexical", "wrong_answers"]


def answered(obs: Observation) -> list[tuple[str, str]]:
    """Return the questions with a yes or a no, oldest first, without handshakes.

    >>> answered(Observation("ask", questions=("Is it Agent Alpha?", "Is it red?"), answers=("yes", "no")))
    [('Is it red?', 'no')]
    """
    pairs = zip(obs.questions, obs.answers, strict=False)
    return [(question, answer) for question, answer in pairs if answer in ("yes", "no") and not is_handshake(question)]


def handshake_confirmed(obs: Observation) -> bool:
    """Say whether the partner confirmed that it plays Agent Alpha's alphabetical protocol."""
    return any(is_handshake(q) and a == "yes" for q, a in zip(obs.questions, obs.answers, strict=False))


def is_lexical(obs: Observation) -> bool:
    """Say whether spelling decides: the handshake was confirmed, or at least half of the answers follow from a rule."""
    if handshake_confirmed(obs):
        return True
    pairs = answered(obs)
    ruled = sum(_rule(question) is not None for question, _ in pairs)
    return ruled > 0 and 2 * ruled >= len(pairs)


def already_guessed(word: str, obs: Observation) -> bool:
    """Say whether ``word`` was guessed before, as the environment compares words.

    >>> already_guessed("boxes", Observation("guess", guesses=("The Box",)))
    True
    """
    return keywords_match(word, "", obs.guesses)


def wrong_answers(word: str, obs: Observation) -> int:
    """Count the answers about spelling that would be wrong if ``word`` were the keyword."""
    rules = ((_rule(question), answer) for question, answer in answered(obs))
    return sum(rule is not None and rule.holds(word) != (answer == "yes") for rule, answer in rules)


class Beliefs:
    """The belief after a transcript, for strategies that share a vocabulary; loaded at first use."""

    def __init__(self, vocabulary: Vocabulary | None = None) -> None:
        """Take a vocabulary, by default the shipped one."""
        self._vocabulary = vocabulary
        self._last: tuple[object, Belief] | None = None
        self.chosen = vocabulary is not None
        """Whether it is another vocabulary than the shipped one."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The candidate keywords."""
        if self._vocabulary is None:
            self._vocabulary = load_vocabulary()
        return self._vocabulary

    def of(self, obs: Observation) -> Belief:
        """Return what the answers and guesses of ``obs`` leave of the vocabulary."""
        known = self.known(obs)
        if known is None:
            pairs = answered(obs)
            known = Belief.after(self.vocabulary, [q for q, _ in pairs], [a for _, a in pairs], obs.guesses)
            self._last = (_key(obs), known)
        return known

    def known(self, obs: Observation) -> Belief | None:
        """Return the belief if it was just worked out for this very transcript, else None at no cost."""
        last = self._last  # read once: seats of one process may share this object between threads
        return last[1] if last is not None and last[0] == _key(obs) else None

    def unguessed(self, obs: Observation) -> Belief:
        """Return the prior without the guesses made, for a transcript whose answers contradict each other."""
        return Belief.after(self.vocabulary, (), (), obs.guesses)


@lru_cache(maxsize=256)
def _rule(question: str) -> LexicalQuestion | None:
    """The rule behind a question; strategies ask for the same ones again on every turn."""
    return parse_question(question)


def _key(obs: Observation) -> tuple[tuple[str, ...], ...]:
    return (obs.questions, obs.answers, obs.guesses)
