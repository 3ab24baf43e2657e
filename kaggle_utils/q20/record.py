"""One finished game as plain values: both teams, every round, the seconds of every turn.

The same record comes out of ``arena.play_game``, of the environment's ``env.toJSON()`` and of an episode downloaded
from Kaggle, so that replays and statistics need to know only this. It does not know how a game is played.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from kaggle_utils.q20.protocol import Observation

__all__ = ["GameRecord", "Round", "Seconds", "Team"]

Seconds = tuple[float | None, float | None, float | None]
"""Wall-clock seconds of the question, the answer and the guess; None where the turn was not played or not timed."""

_FAILED = ("ERROR", "INVALID", "TIMEOUT")


@dataclass(frozen=True)
class Round:
    """One question, answer and guess of one team; "" where the game ended before."""

    question: str
    answer: str
    """"yes" or "no"; "maybe" or "none" is the environment's note of an answer that was neither."""
    guess: str
    seconds: Seconds = (None, None, None)
    candidates: tuple[tuple[str, float], ...] = ()
    """Most probable keywords after the answer, with their probabilities."""
    candidate_count: int | None = None
    """Keywords that were still possible."""
    entropy_bits: float | None = None
    gain_bits: float | None = None
    """What the answer took off the entropy; below zero where it pointed the wrong way."""
    expected_bits: float | None = None
    """What the answer was expected to take off it, before it was known: what the question is worth."""


@dataclass(frozen=True)
class Team:
    """A guesser and an answerer."""

    name: str
    rounds: tuple[Round, ...]
    reward: float | None
    """The guesser's reward; None when either seat failed or the episode crashed."""
    statuses: tuple[str, str]
    """Final status of guesser and answerer."""


@dataclass(frozen=True)
class GameRecord:
    """A whole game."""

    keyword: str
    category: str
    alts: tuple[str, ...]
    """Other names of the keyword; a downloaded episode does not tell them."""
    teams: tuple[Team, Team]
    source: str
    """Where the record comes from, for example "arena" or "episode 55924766"."""
    error: str = ""
    """Why the game ended early, if it did and it is known."""

    @property
    def winner(self) -> Literal[0, 1, "both"] | None:
        """The team that won; "both" if both did in the same round, None for a tie or a crash.

        A team wins by the keyword, or because the other team failed.
        """
        scores = [-1.0 if team.reward is None else team.reward for team in self.teams]
        winners = [score > 0 for score in scores]
        if all(winners):
            return "both"
        return winners.index(True) if any(winners) else None

    @classmethod
    def from_kaggle(cls, episode: Mapping[str, Any]) -> GameRecord:
        """Read ``env.toJSON()`` or a downloaded episode.

        Seconds come from the optional key "logs" (``env.logs``). Without it only the excess over ``actTimeout`` shows,
        as a drop of remainingOverageTime; the other turns have None.

        Raises:
            ValueError: it is not an llm_20_questions episode of four seats.
        """
        steps = _steps(episode)
        seats = [Observation.from_kaggle(seat["observation"]) for seat in steps[-1]]
        clock = _clock(episode)
        names = _names(episode)
        teams = [_team(names[side], steps[-1], seats, 2 * side, clock) for side in (0, 1)]
        return cls(
            keyword=next((seat.keyword for seat in seats if seat.keyword), ""),
            category=next((seat.category for seat in seats if seat.category), ""),
            alts=(),
            teams=(teams[0], teams[1]),
            source=_source(episode),
            error=_error(episode),
        )

    def to_json(self) -> str:
        """Return the record as JSON text; ``from_json`` reads it back to an equal record."""
        return json.dumps(asdict(self), indent=1)

    @classmethod
    def from_json(cls, text: str | bytes | Mapping[str, Any]) -> GameRecord:
        """Read what ``to_json`` wrote (or the same, parsed already).

        Raises:
            ValueError: it is not such a text; the error names what is wrong.
        """
        value = text if isinstance(text, Mapping) else json.loads(text)
        try:
            first, second = (_read_team(team) for team in value["teams"])
            keyword, category, source = value["keyword"], value["category"], value["source"]
            return cls(keyword, category, tuple(value["alts"]), (first, second), source, value.get("error", ""))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a game record as GameRecord.to_json writes it: {error!r}") from error


def _read_team(team: Mapping[str, Any]) -> Team:
    rounds = []
    for value in team["rounds"]:
        candidates = tuple((word, share) for word, share in value["candidates"])
        rounds.append(Round(**{**value, "seconds": tuple(value["seconds"]), "candidates": candidates}))
    return Team(team["name"], tuple(rounds), team["reward"], tuple(team["statuses"]))


def _steps(episode: Any) -> Sequence[Any]:
    """Return the steps of an episode, or say what the value is instead."""
    if not isinstance(episode, Mapping):
        raise ValueError(f"not an episode: expected the dict that env.toJSON() gives, got {type(episode).__name__}")
    if episode.get("name", "llm_20_questions") != "llm_20_questions":
        raise ValueError(f"an episode of {episode['name']!r}, expected 'llm_20_questions'")
    steps = episode.get("steps")
    if not (isinstance(steps, Sequence) and steps and all(map(_is_step, steps))):
        raise ValueError(
            "not an episode: expected 'steps', each with the observation, status and reward of four seats, as "
            f"env.toJSON() gives; there are the keys {sorted(map(str, episode))[:20]}"
        )
    return steps


def _is_step(step: Any) -> bool:
    needed = {"observation", "status", "reward"}
    return (
        isinstance(step, Sequence)
        and len(step) == 4
        and all(isinstance(s, Mapping) and needed <= s.keys() for s in step)
    )


def _team(name: str, last: Sequence[Any], seats: Sequence[Observation], first: int, clock: _Clock) -> Team:
    guesser, states = seats[first], last[first : first + 2]
    texts = (guesser.questions, guesser.answers, guesser.guesses)
    rounds = []
    for index in range(max(map(len, texts))):
        turns = [text[index] if index < len(text) else "" for text in texts]
        seconds = [clock.seconds(3 * index + turn, first + (turn == 1)) for turn in range(3)]
        rounds.append(Round(*turns, seconds=(seconds[0], seconds[1], seconds[2])))
    failed = any(state["reward"] is None for state in states)
    statuses = (str(states[0]["status"]), str(states[1]["status"]))
    return Team(name, tuple(rounds), None if failed else states[0]["reward"], statuses)


@dataclass(frozen=True)
class _Clock:
    """Seconds of every turn, from the logs where there are any, else from the time banks."""

    steps: Sequence[Any]
    logs: Sequence[Any]
    act_timeout: float

    def seconds(self, turn: int, seat: int) -> float | None:
        if turn + 1 >= len(self.steps):
            return None
        log = self.log(turn, seat)
        if "duration" in log:
            return float(log["duration"])
        before, after = (
            Observation.from_kaggle(self.steps[step][seat]["observation"]).remaining_overage_time
            for step in (turn, turn + 1)
        )
        return round(self.act_timeout + before - after, 6) if before > after else None

    def log(self, turn: int, seat: int) -> Mapping[str, Any]:
        """Return the log entry of one act. Resets put entries before the first turn, so count from the end."""
        index = len(self.logs) - (len(self.steps) - 1) + turn
        entry = self.logs[index] if 0 <= index < len(self.logs) else ()
        found = entry[seat] if seat < len(entry) else {}
        return found if isinstance(found, Mapping) else {}


def _clock(episode: Mapping[str, Any]) -> _Clock:
    timeout = (episode.get("configuration") or {}).get("actTimeout", 60)
    return _Clock(episode["steps"], episode.get("logs") or (), float(timeout))


def _names(episode: Mapping[str, Any]) -> tuple[str, str]:
    names = (episode.get("info") or {}).get("TeamNames") or ()
    if len(names) != 4:
        return "A", "B"
    pairs = ((str(names[0]), str(names[1])), (str(names[2]), str(names[3])))
    joined = [first if first == second else f"{first} + {second}" for first, second in pairs]
    return joined[0], joined[1]


def _source(episode: Mapping[str, Any]) -> str:
    number = (episode.get("info") or {}).get("EpisodeId") or episode.get("id")
    return f"episode {number}" if number else "episode"


def _error(episode: Mapping[str, Any]) -> str:
    """Say which seats failed, with the last line that they wrote to standard error in their last act."""
    clock, turn = _clock(episode), len(episode["steps"]) - 2
    failures = []
    for seat, state in enumerate(episode["steps"][-1]):
        if state["status"] in _FAILED:
            lines = str(clock.log(turn, seat).get("stderr", "")).strip().splitlines()
            failures.append(f"seat {seat}: {state['status']}" + (f" ({lines[-1][:300]})" if lines else ""))
    return "; ".join(failures)
