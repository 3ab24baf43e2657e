"""A player: for each kind of turn a chain of strategies, asked in order until one replies.

The robot knows neither time nor errors: what a strategy raises reaches the caller (only ``agent.make_agent`` catches).
It keeps no state between turns; a strategy works everything out from the observation it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, Protocol

from kaggle_utils.q20.protocol import Observation
from kaggle_utils.q20.transcript import Beliefs

__all__ = ["MODES", "MODE_OF_TURN", "Mode", "Robot", "Strategy", "model_of"]

Mode = Literal["asking", "answering", "guessing"]

MODES: tuple[Mode, ...] = ("asking", "answering", "guessing")

MODE_OF_TURN: dict[str, Mode] = {"ask": "asking", "answer": "answering", "guess": "guessing"}
"""Which chain serves which ``turnType`` of the environment."""


class Strategy(Protocol):
    """One way to reply. A strategy that calls a language model names it in an attribute ``generator``."""

    def reply(self, obs: Observation) -> str | None:
        """Return the reply, or None to leave the turn to the next strategy."""


def model_of(strategy: Strategy) -> object | None:
    """Return the language model that ``strategy`` calls, None for one that works by rules."""
    return getattr(strategy, "generator", None)


class Robot:
    """Three chains of strategies.

    >>> class Shrug:
    ...     def reply(self, obs):
    ...         return None
    >>> class No:
    ...     def reply(self, obs):
    ...         return "no"
    >>> robot = Robot(answering=[Shrug(), No()])
    >>> robot.on("answering", Observation("answer"))
    'no'
    >>> robot.on("asking", Observation("ask"))
    Traceback (most recent call last):
    LookupError: no strategy replied to turn 'ask' while asking (tried none)...
    """

    def __init__(
        self,
        *,
        asking: Iterable[Strategy] = (),
        answering: Iterable[Strategy] = (),
        guessing: Iterable[Strategy] = (),
        beliefs: Beliefs | None = None,
    ) -> None:
        """Take the chains; ``beliefs`` is what their strategies share, for the log of candidates."""
        self._chains: dict[str, tuple[Strategy, ...]] = {
            "asking": tuple(asking),
            "answering": tuple(answering),
            "guessing": tuple(guessing),
        }
        self.beliefs = beliefs

    def strategies(self, mode: Mode) -> tuple[Strategy, ...]:
        """Return the chain for ``mode``; ValueError for a mode that does not exist."""
        if mode not in self._chains:
            raise ValueError(f"unknown mode {mode!r}; expected one of {', '.join(MODES)}")
        return self._chains[mode]

    def on(
        self, mode: Mode, obs: Observation, *, call: Callable[[Strategy, Observation], str | None] | None = None
    ) -> str:
        """Return the first reply of the chain.

        Args:
            mode: "asking", "answering" or "guessing".
            obs: what the environment said.
            call: how to call a strategy, for example with a time limit; by default plainly.

        Raises:
            LookupError: nobody replied; it names who was asked.
        """
        chain = self.strategies(mode)
        for strategy in chain:
            reply = strategy.reply(obs) if call is None else call(strategy, obs)
            if reply is not None:
                return reply
        tried = ", ".join(type(strategy).__name__ for strategy in chain) or "none"
        raise LookupError(
            f"no strategy replied to turn {obs.turn_type!r} while {mode} (tried {tried}); "
            "end the chain with one that always replies, such as AskScripted, GuessScripted or AnswerNo"
        )
