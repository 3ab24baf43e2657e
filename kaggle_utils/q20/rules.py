"""A referee that applies exactly the environment's rules, tens of times faster than the environment.

It follows ``interpreter`` of kaggle-environments 1.18.0 and the parts of ``core.py`` and ``agent.py`` around it step
by step, oddities included: the order of the effects is the rule. A test plays hundreds of adversarial games in both
and compares every observation, status and reward. It calls no agent and measures no time: see ``arena``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from kaggle_utils.q20.protocol import (
    OVERAGE_SECONDS,
    ROUNDS,
    clip_guess,
    clip_question,
    keywords_match,
    read_answer,
)

__all__ = ["EpisodeCrash", "Game"]

_FAILED = ("ERROR", "INVALID", "TIMEOUT")
_LAST_TURN = 3 * ROUNDS - 1


class EpisodeCrash(ValueError):  # noqa: N818 - an event of the game, not a mistake of the caller
    """The environment itself died, so that no seat gets a reward: one team asked the keyword as its question."""


@dataclass
class _Seat:
    role: str
    turn_type: str
    status: str
    remaining: float
    reward: float | None = 0
    keyword: str = ""
    category: str = ""
    questions: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    guesses: list[str] = field(default_factory=list)
    action: str | None = None

    def end(self, game: Game, reward: float, status: str) -> None:
        self.keyword, self.category = game.keyword, game.category
        self.reward, self.status = reward, status


class Game:
    """One episode: seats 0 (guesser) and 1 (answerer) against seats 2 and 3.

    >>> game = Game("cat")
    >>> for actions in (["Pet?", None, "Alive?", None], [None, "yes", None, "yes"], ["cats", None, "dog", None]):
    ...     game.step(actions)
    >>> game.done, game.rewards, game.statuses
    (True, (20, 20, 0, 0), ('DONE', 'DONE', 'DONE', 'DONE'))
    """

    def __init__(
        self,
        keyword: str,
        category: str = "things",
        alts: Sequence[str] = (),
        *,
        act_timeout: float = 60.0,
        overage: float = OVERAGE_SECONDS,
    ) -> None:
        self.keyword, self.category, self.alts = keyword, category, tuple(alts)
        self.act_timeout = act_timeout
        self.turn = 0
        self._seats = [
            _Seat(*state, remaining=overage)
            for state in (("guesser", "ask", "ACTIVE"), ("answerer", "answer", "INACTIVE")) * 2
        ]

    @property
    def active(self) -> tuple[int, ...]:
        """Seats that must act now; empty when the game is over."""
        return tuple(index for index, seat in enumerate(self._seats) if seat.status == "ACTIVE")

    @property
    def done(self) -> bool:
        """Whether the game is over."""
        return not self.active

    @property
    def rewards(self) -> tuple[float | None, ...]:
        """Reward of each seat so far; None for a seat that failed."""
        return tuple(seat.reward for seat in self._seats)

    @property
    def statuses(self) -> tuple[str, ...]:
        """ACTIVE, INACTIVE, DONE, ERROR, INVALID or TIMEOUT for each seat."""
        return tuple(seat.status for seat in self._seats)

    def observations(self) -> list[dict[str, Any]]:
        """Return a fresh copy of what each of the four seats sees, in the environment's camelCase."""
        return [
            {
                "remainingOverageTime": seat.remaining,
                "step": self.turn,
                "questions": list(seat.questions),
                "guesses": list(seat.guesses),
                "answers": list(seat.answers),
                "role": seat.role,
                "turnType": seat.turn_type,
                "keyword": seat.keyword,
                "category": seat.category,
            }
            for seat in self._seats
        ]

    def step(self, actions: Sequence[object], *, durations: Sequence[float] | None = None) -> None:
        """Play one turn. Actions of seats that are not active are ignored.

        Args:
            actions: four replies. An exception instance is an agent that raised it; None counts as "".
            durations: seconds that each of the four took (0 for all by default); what exceeds ``act_timeout`` is
                taken from the seat's time bank, and more than the bank is a TIMEOUT.

        Raises:
            EpisodeCrash: the environment would die of this step; the game stays as it was.
            RuntimeError: the game is over.
        """
        if self.done:
            raise RuntimeError(f"the game is over (statuses {self.statuses}); start another Game")
        seconds = [0.0] * 4 if durations is None else list(durations)
        if len(actions) != 4 or len(seconds) != 4:
            raise ValueError(f"got {len(actions)} actions and {len(seconds)} durations, expected 4 of each")
        if "DONE" in self.statuses:
            raise EpisodeCrash(
                f"the question of step {self.turn - 1} was the keyword {self.keyword!r}: the environment ends the "
                "other team at once and dies one step later; never ask a bare keyword, put it into a sentence"
            )
        seats, active = self._seats, self.active
        for index, seat in enumerate(seats):
            seat.action = ""
            if index in active:
                self._receive(seat, actions[index], seconds[index])
        _interpret(self, seats)
        self.turn += 1
        for index in active:
            # A whole number stays whole, as in the environment, while nothing is taken.
            seats[index].remaining -= max(0, round(seconds[index], 6) - self.act_timeout)
        for seat in seats:
            if seat.status in _FAILED:
                seat.reward = None

    def _receive(self, seat: _Seat, action: object, seconds: float) -> None:
        """Check one action as ``core.Environment.step`` does before the interpreter sees it."""
        seat.action = None
        if seconds - self.act_timeout > seat.remaining:
            seat.status = "TIMEOUT"
        elif isinstance(action, BaseException):
            seat.status = "ERROR"
        elif action is None or isinstance(action, str):
            seat.action = action or ""
        else:
            seat.status = "INVALID"

    def guessed(self, text: str | None) -> bool:
        """Say whether the environment takes ``text`` (a guess or a question) for the keyword."""
        return bool(text) and keywords_match(text, self.keyword, self.alts)


def _interpret(game: Game, seats: list[_Seat]) -> None:
    """Apply both teams' actions; the counterpart of ``interpreter`` in llm_20_questions.py."""
    # A seat that failed is neither ACTIVE nor INACTIVE, so its partner may come out as both; that decides rewards. As
    # it has no action either, every failure ends as a bad reply: the interpreter's own test for that is not needed.
    pairs = []
    for first, second in (seats[:2], seats[2:]):
        active = first if first.status == "ACTIVE" else second
        inactive = first if first.status == "INACTIVE" else second
        pairs.append((active, inactive))
    outcomes = [_act(game, *pair) for pair in pairs]
    for (active, inactive), (guessed, bad), (_, other_bad) in zip(pairs, outcomes, outcomes[::-1], strict=True):
        if bad:
            active.end(game, -1, active.status)
            inactive.end(game, 1, "DONE")
        elif other_bad:
            active.end(game, 1, "DONE")
            inactive.end(game, 1, "DONE")
        else:
            _next_turn(game, active, inactive, guessed)
    for (guessed, _), (other_guessed, _), pair in zip(outcomes, outcomes[::-1], pairs[::-1], strict=True):
        if guessed and not other_guessed:
            for seat in pair:
                seat.end(game, 0, "DONE")


def _act(game: Game, active: _Seat, inactive: _Seat) -> tuple[bool, bool]:
    """Return whether the team named the keyword, and whether its reply ends the game."""
    if active.role == "guesser":
        return _guesser_acts(game, active, inactive)
    return False, _answerer_acts(game, active, inactive)


def _guesser_acts(game: Game, active: _Seat, inactive: _Seat) -> tuple[bool, bool]:
    inactive.keyword, inactive.category = game.keyword, game.category
    bad = not active.action
    if not active.action:
        active.status = "ERROR"
    elif active.turn_type == "ask":
        for seat in (active, inactive):
            seat.questions.append(clip_question(active.action))
    elif active.turn_type == "guess":
        for seat in (active, inactive):
            seat.guesses.append(clip_guess(active.action))
    guessed = game.guessed(active.action)  # on questions too
    if guessed:
        for seat in (active, inactive):
            seat.end(game, ROUNDS - game.turn // 3, "DONE")
    return guessed, bad


def _answerer_acts(game: Game, active: _Seat, inactive: _Seat) -> bool:
    active.keyword, active.category = game.keyword, game.category
    answer = read_answer(active.action)
    if answer is None:
        active.end(game, -1, "ERROR")
        inactive.end(game, 1, "DONE")
    recorded = answer or ("maybe" if active.action else "none")
    for seat in (active, inactive):
        seat.answers.append(recorded)
    return answer is None


def _next_turn(game: Game, active: _Seat, inactive: _Seat, guessed: bool) -> None:
    if game.turn == _LAST_TURN and not guessed:
        active.end(game, -1, "DONE")
        inactive.end(game, -1, "DONE")
    elif active.turn_type == "guess":
        active.turn_type = "ask"
    else:
        if active.turn_type == "ask":
            active.turn_type = "guess"
        active.status, inactive.status = "INACTIVE", "ACTIVE"
