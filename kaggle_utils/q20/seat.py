"""One seat at the table: asks a robot's strategies under a clock and never lets a failure out."""

from __future__ import annotations

import json
import logging
import math
import sys
import time
import traceback
from typing import Any

from kaggle_utils.q20.guard import Guard, TimeLimitError
from kaggle_utils.q20.keywords import is_bare_keyword
from kaggle_utils.q20.protocol import Observation, is_valid_reply
from kaggle_utils.q20.questions import is_handshake
from kaggle_utils.q20.robot import MODE_OF_TURN, Robot, Strategy, model_of
from kaggle_utils.q20.strategies.fallback import last_resort
from kaggle_utils.q20.transcript import Beliefs
from kaggle_utils.q20.turn_time import TurnTime, act_timeout_of, turn_time

__all__ = ["Seat"]

_logger = logging.getLogger(__name__)

_REPORT_LIMIT = 900  # characters: the environment keeps about 1,000 of what an agent writes in one turn


class Seat:
    """A robot, its clock, and what of it hangs."""

    def __init__(
        self, robot: Robot, *, act_timeout: float = 60.0, margin: float | None = None, log: bool = True
    ) -> None:
        """See ``agent.make_agent``."""
        problems = _problems(act_timeout, margin)
        if problems:
            raise ValueError("; ".join(problems))
        self.robot, self.act_timeout, self.margin, self.log = robot, act_timeout, margin, log
        self._guard = Guard()
        self._reported: set[str] = set()

    def reply(self, obs: Any, cfg: Any = None) -> str:
        """Return a valid reply in time, whatever ``obs`` holds and whatever the strategies do."""
        turn = _Turn(self, cfg)
        try:
            turn.read(obs)
            text = turn.play()
        except Exception as error:
            self.report("the agent", error)
            text = last_resort(turn.obs.turn_type, guesses=turn.obs.guesses, questions=turn.obs.questions)
            turn.strategy = "last_resort"
        if self.log:
            self._write(turn)
        return text

    def report(self, who: str, error: BaseException) -> None:
        """Log a failure: in full the first time, in one line when the same comes again."""
        try:
            line = _ascii(f"{who} failed: {type(error).__name__}: {error}")[:300]
            text = line
            if line not in self._reported and not isinstance(error, TimeLimitError):
                cause = f"caused by {error.__cause__!r}"[:200] if error.__cause__ else ""
                frames = _ascii("".join(traceback.format_tb(error.__traceback__)) + cause)
                text = f"{line}\n{frames[-(_REPORT_LIMIT - len(line)) :]}"
            self._reported.add(line)
            _logger.warning("%s", text)
        except Exception:  # an error whose text cannot be made, or a closed stderr: the game goes on
            return

    def _write(self, turn: _Turn) -> None:
        try:
            sys.stdout.write(json.dumps(turn.summary()) + "\n")
        except Exception:  # stdout may be closed or full; a log is not worth a game
            return


class _Turn:
    """One turn of a seat."""

    def __init__(self, seat: Seat, cfg: Any) -> None:
        self.started = time.monotonic()
        self.seat, self.cfg = seat, cfg
        self.obs = Observation("")
        self.strategy = "none"

    def read(self, obs: Any) -> None:
        self.obs = Observation.from_kaggle(obs)

    def play(self) -> str:
        mode = MODE_OF_TURN.get(self.obs.turn_type)
        if mode is None:
            self.strategy = "last_resort"
            return last_resort(self.obs.turn_type)
        times = self._times(mode == "answering")
        return self.seat.robot.on(mode, self.obs, call=lambda strategy, obs: self._ask(strategy, obs, times))

    def summary(self) -> dict[str, Any]:
        """What the log line says."""
        beliefs = self.seat.robot.beliefs
        belief = beliefs.known(self.obs) if beliefs is not None else None
        return {
            "turn": self.obs.turn_type if self.obs.turn_type in MODE_OF_TURN else "unknown",
            "seconds": round(time.monotonic() - self.started, 3),
            "strategy": self.strategy[:40],
            "candidates": None if belief is None else belief.count,
        }

    def _times(self, answering: bool) -> TurnTime:
        seat = self.seat
        return turn_time(
            self.obs.remaining_overage_time,
            act_timeout=act_timeout_of(self.cfg, seat.act_timeout),
            margin=seat.margin,
            waiting=answering and any(_is_loading(model_of(s)) for s in seat.robot.strategies("answering")),
        )

    def _ask(self, strategy: Strategy, obs: Observation, times: TurnTime) -> str | None:
        """Return the strategy's reply; None if it has none, fails, hangs, or says what the environment rejects."""
        name, model = type(strategy).__name__, model_of(strategy)
        resource = strategy if model is None else model
        limit = times.rules if model is None else times.model
        seconds = self.started + limit - time.monotonic()
        if seconds <= 0 or self.seat._guard.hangs(resource):
            return None
        try:
            reply = self.seat._guard.call(lambda: strategy.reply(obs), seconds=seconds, resource=resource)
        except Exception as error:  # a real Ctrl-C is no Exception: it passes
            self.seat.report(name, error)
            return None
        if reply is None or self._is_fit(reply, name):
            self.strategy = name
            return reply
        return None

    def _is_fit(self, reply: object, name: str) -> bool:
        fit = is_valid_reply(self.obs.turn_type, reply) and not self._is_keyword(reply)
        if not fit:
            self.seat.report(name, ValueError(f"a reply that the environment would punish: {ascii(reply)[:120]}"))
        return fit

    def _is_keyword(self, reply: str) -> bool:
        """Say whether a question is nothing but a candidate keyword: asked, it would crash the episode."""
        if self.obs.turn_type != "ask" or is_handshake(reply):  # a first reply without the vocabulary's forms
            return False
        try:
            beliefs = self.seat.robot.beliefs or Beliefs()
            return is_bare_keyword(reply) or bool(beliefs.vocabulary.matching(reply))
        except Exception as error:  # no vocabulary to compare with
            self.seat.report("the vocabulary", error)
            return False


def _ascii(text: str) -> str:
    """Text that any log can take: a lone surrogate or a snowman may break a stream."""
    return text.encode("ascii", "backslashreplace").decode("ascii")


def _is_loading(model: object) -> bool:
    """Say whether a model that loads in the background is still at it."""
    return getattr(model, "ready", True) is False and getattr(model, "error", None) is None


def _problems(act_timeout: float, margin: float | None) -> list[str]:
    problems = []
    if not (isinstance(act_timeout, (int, float)) and math.isfinite(act_timeout) and act_timeout > 0):
        problems.append(f"act_timeout {act_timeout!r} must be a positive number of seconds, such as 60")
    if margin is not None and not (isinstance(margin, (int, float)) and math.isfinite(margin) and margin >= 0):
        problems.append(f"margin {margin!r} must be a number of seconds from 0 up, or None for a tenth of the turn")
    return problems
