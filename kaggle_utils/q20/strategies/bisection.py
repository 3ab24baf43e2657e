"""Alphabetical bisection by probability mass: the protocol that won the competition.

Each question halves what will be left after the next guess, and a guess follows every answer, so r rounds tell apart
up to 2**r - 1 words. It needs a partner who answers by the spelling: the handshake asks for one.
"""

from __future__ import annotations

from kaggle_utils.q20.protocol import Observation
from kaggle_utils.q20.questions import alphabetical_question
from kaggle_utils.q20.transcript import Beliefs, handshake_confirmed, is_lexical

__all__ = ["AskBisection", "GuessBisection"]


class AskBisection:
    """Ask whether the keyword precedes the word that halves the mass."""

    def __init__(self, beliefs: Beliefs | None = None, *, insist: bool = False) -> None:
        """Take the beliefs to share; ``insist`` asks also a partner who did not confirm the handshake."""
        self.beliefs = beliefs or Beliefs()
        self.insist = insist

    def reply(self, obs: Observation) -> str | None:
        """Return the question; None without a handshake, after contradictory answers, or with nothing to tell apart."""
        if not (self.insist or handshake_confirmed(obs)):
            return None
        belief = self.beliefs.of(obs)
        if belief.contradicted:
            return None
        word = belief.bisection_word(exclude=belief.best_guess())
        if word is None:  # at most two words are left: split them before the last guess
            word = belief.bisection_word()
        question = None if word is None else alphabetical_question(word)
        return None if question in obs.questions else question


class GuessBisection:
    """Guess the most probable word where the spelling decides and the answers agree with each other."""

    def __init__(self, beliefs: Beliefs | None = None) -> None:
        """Take the beliefs to share."""
        self.beliefs = beliefs or Beliefs()

    def reply(self, obs: Observation) -> str | None:
        """Return the best word not yet guessed; None after semantic or contradictory answers."""
        if not is_lexical(obs):
            return None
        belief = self.beliefs.of(obs)
        return None if belief.contradicted else belief.best_guess()
