"""The handshake of Agent Alpha: one question that tells whether the partner can play the alphabetical protocol.

A partner that knows it says "yes" whatever the keyword is. Both halves are stateless: whether it was confirmed is read
from the recorded answer.
"""

from __future__ import annotations

from kaggle_utils.q20.protocol import Observation
from kaggle_utils.q20.questions import HANDSHAKE, is_handshake

__all__ = ["AskHandshake", "ConfirmHandshake"]


class AskHandshake:
    """Open the game with the handshake, and only the game.

    >>> AskHandshake().reply(Observation("ask"))
    'Is it Agent Alpha?'
    >>> AskHandshake().reply(Observation("ask", questions=("Is it alive?",), answers=("no",)))
    """

    def reply(self, obs: Observation) -> str | None:
        """Return the handshake on the first question of a game."""
        return HANDSHAKE if not obs.questions else None


class ConfirmHandshake:
    """Say yes to the partner's handshake: ``AnswerLexical`` keeps that promise.

    >>> ConfirmHandshake().reply(Observation("answer", questions=("Is it Agent Alpha?",), keyword="cat"))
    'yes'
    """

    def reply(self, obs: Observation) -> str | None:
        """Return "yes" if the question to be answered is the handshake."""
        return "yes" if obs.questions and is_handshake(obs.questions[-1]) else None
