"""Who plays in the round robin: anything that replies to many seats at once.

A player is asked for all its seats of one turn together, so that a table does one matrix product and a language model
one batch. ``AgentPlayer`` takes an ordinary ``agent(obs, cfg)``, ``RobotPlayer`` a ``Robot`` whose model calls are
batched across games. The strangers are in ``strangers``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from kaggle_utils.q20.arena import Agent, call_agent, configuration
from kaggle_utils.q20.protocol import Observation, TurnType
from kaggle_utils.q20.robot import MODE_OF_TURN, Robot
from kaggle_utils.q20.structs import Struct
from kaggle_utils.q20.tournament.lockstep import run_in_step

__all__ = ["AgentPlayer", "Player", "RobotPlayer", "as_agent"]


class Player(Protocol):
    """One competitor. One with a method ``begin()`` is told when the games before are over and can be forgotten."""

    name: str

    def reply(self, turn: TurnType, seats: Sequence[int], observations: Sequence[Observation]) -> Sequence[object]:
        """Reply to one turn of many games.

        Args:
            turn: "ask", "answer" or "guess", for all of them.
            seats: a number for each seat that is its own for the whole of its game, ``4 * game + seat``.
            observations: what each seat is told.

        Returns:
            A text for each; anything else (an exception, None) costs the seat its game, as in the environment.
        """


class AgentPlayer:
    """An agent as Kaggle calls it, asked seat by seat. It should keep no state between calls."""

    def __init__(self, name: str, agent: Agent) -> None:
        """Take ``agent(obs, cfg)``; what it raises is its reply, which loses the game."""
        self.name, self.agent = name, agent

    def reply(self, turn: TurnType, seats: Sequence[int], observations: Sequence[Observation]) -> list[object]:
        """Call the agent once for each seat."""
        return [_guarded(self.agent, Struct(obs.to_kaggle()), Struct(configuration())) for obs in observations]


class RobotPlayer:
    """A Robot without a clock. Build it on a ``LockstepGenerator`` and its model calls are made in batches."""

    def __init__(self, name: str, robot: Robot, *, threads: int = 128) -> None:
        """Take the robot; ``threads`` seats are played in step."""
        if threads < 1:
            raise ValueError(f"threads is {threads}, expected 1 or more")
        self.name, self.robot, self.threads = name, robot, threads

    def reply(self, turn: TurnType, seats: Sequence[int], observations: Sequence[Observation]) -> list[object]:
        """Run the robot's chain for every seat, in step."""
        jobs = [self._job(turn, obs) for obs in observations]
        parts = [run_in_step(jobs[i : i + self.threads]) for i in range(0, len(jobs), self.threads)]
        return [reply for part in parts for reply in part]

    def _job(self, turn: TurnType, obs: Observation) -> Callable[[], str]:
        return lambda: self.robot.on(MODE_OF_TURN[turn], obs)


def as_agent(player: Player) -> Callable[[Any, Any], object]:
    """Return ``agent(obs, cfg)`` for ``arena.play_game``: a guesser's and an answerer's seat, game after game."""
    games = iter(range(0, 10**9, 4))
    seat = {"guesser": 0, "answerer": 0}

    def agent(obs: Any, cfg: Any = None) -> object:
        observation = Observation.from_kaggle(obs)
        guessing = observation.turn_type != "answer"
        role = "guesser" if guessing else "answerer"
        if len(observation.questions) == (0 if guessing else 1) and observation.turn_type != "guess":
            seat[role] = next(games) + (not guessing)  # the first turn of another game
        reply = player.reply(observation.turn_type, [seat[role]], [observation])[0]  # type: ignore[arg-type]
        if isinstance(reply, Exception):
            raise reply
        return reply

    return agent


def _guarded(agent: Agent, obs: Struct, cfg: Struct) -> object:
    try:
        return call_agent(agent, obs, cfg)
    except Exception as error:  # the environment ends the game for this seat and goes on
        return error
