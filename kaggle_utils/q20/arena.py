"""Play games between agents in this process, under the environment's rules and clock.

Agents are what Kaggle calls: ``agent(obs, cfg) -> str``. The referee is ``rules.Game``; a guesser sees no keyword
before the game is over. All seats share this process, so memory limits, loading and isolation are not tested here:
``submission_builder.verify`` does that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from kaggle_utils.q20.keywords import Keyword
from kaggle_utils.q20.protocol import OVERAGE_SECONDS, ROUNDS
from kaggle_utils.q20.record import GameRecord, Round, Team
from kaggle_utils.q20.rules import EpisodeCrash, Game
from kaggle_utils.q20.structs import Struct

__all__ = ["Agent", "call_agent", "configuration", "game_record", "play_game", "play_games", "win_rate"]

Agent = Callable[..., Any]
"""Called as ``agent(obs, cfg)``, or with the first of these only if it takes fewer arguments."""


def play_game(
    team_a: Agent | Sequence[Agent],
    team_b: Agent | Sequence[Agent] | None = None,
    *,
    keyword: str,
    category: str = "things",
    alts: Sequence[str] = (),
    names: tuple[str, str] = ("A", "B"),
    act_timeout: float = 60.0,
    overage: float = OVERAGE_SECONDS,
) -> GameRecord:
    """Play one game of at most 20 rounds and return its record.

    A team is one agent for both seats, or (guesser, answerer). Without ``team_b`` team A plays against itself. As in
    the environment an agent that raises, replies badly or takes too long loses, and time is looked at when it returns:
    an agent that hangs hangs the game. ``act_timeout`` and ``overage`` are seconds.

    >>> guesser = lambda obs: "Is it a pet?" if obs.turnType == "ask" else "cat"
    >>> record = play_game((guesser, lambda: "yes"), (guesser, lambda: "maybe"), keyword="Cats")
    >>> record.winner, record.teams[1].reward, record.error
    (0, None, 'seat 3: ERROR (replied maybe)')
    """
    seats = [*_seats(team_a, "team_a"), *_seats(team_a if team_b is None else team_b, "team_b")]
    game = Game(keyword, category, alts, act_timeout=act_timeout, overage=overage)
    settings = configuration(act_timeout)
    times: dict[tuple[int, int], float] = {}
    error = ""
    while not game.done:
        actions, durations = [None] * 4, [0.0] * 4
        observations = game.observations()
        for seat in game.active:
            actions[seat], durations[seat] = _timed(seats[seat], Struct(observations[seat]), Struct(settings))
            times[game.turn, seat] = durations[seat]
        try:
            game.step(actions, durations=durations)
        except EpisodeCrash as crash:
            return game_record(game, names, times, f"the episode crashed: {crash}", crashed=True)
        error = _failure(game, actions)
    return game_record(game, names, times, error)


def play_games(
    team_a: Agent | Sequence[Agent],
    team_b: Agent | Sequence[Agent] | None = None,
    *,
    keywords: Iterable[Keyword | str],
    progress: bool = True,
    **options: Any,
) -> list[GameRecord]:
    """Play one game for each keyword, in order; ``options`` go to ``play_game``."""
    from tqdm.auto import tqdm  # only here: an agent that plays against itself needs no progress bar

    rows = [Keyword(row, "things", (), ()) if isinstance(row, str) else row for row in keywords]
    return [
        play_game(team_a, team_b, keyword=row.word, category=row.category, alts=row.alts, **options)
        for row in tqdm(rows, desc="games", unit="game", disable=not progress)
    ]


def win_rate(records: Sequence[GameRecord], *, team: int = 0) -> float:
    """Return the share of the games that ``team`` (0 or 1) won, alone or together with the other team.

    Raises:
        ValueError: there are no records.
    """
    if not records:
        raise ValueError("win_rate of no games; play at least one")
    return sum(record.winner in (team, "both") for record in records) / len(records)


def configuration(act_timeout: float = 60.0) -> Struct:
    """Return the configuration that the environment passes to an agent as its second argument."""
    return Struct(
        episodeSteps=3 * ROUNDS + 1,
        actTimeout=act_timeout,
        runTimeout=9600,
        agentTimeout=3600,
    )


def call_agent(agent: Agent, obs: Any, cfg: Any) -> Any:
    """Call the agent as the environment does: with as many arguments as its code takes."""
    code = getattr(agent, "__code__", None)
    return agent(*(obs, cfg)[: code.co_argcount if code else 2])


def game_record(
    game: Game,
    names: tuple[str, str],
    times: Mapping[tuple[int, int], float],
    error: str = "",
    *,
    crashed: bool = False,
) -> GameRecord:
    """Return the record of a game as it stands.

    ``times`` holds the seconds of each (turn, seat) that was timed; ``crashed`` says that the episode died, so that
    nobody has a reward.
    """
    observations = game.observations()
    teams = []
    for side in (0, 1):
        first = 2 * side
        rewards = (None, None) if crashed else game.rewards[first : first + 2]
        reward = None if None in rewards else rewards[0]
        statuses = (game.statuses[first], game.statuses[first + 1])
        teams.append(Team(names[side], _rounds(observations[first], first, times), reward, statuses))
    return GameRecord(game.keyword, game.category, game.alts, (teams[0], teams[1]), "arena", error)


def _seats(team: Agent | Sequence[Agent], name: str) -> tuple[Agent, Agent]:
    if callable(team):
        return team, team
    seats = tuple(team)
    if len(seats) != 2 or not all(callable(seat) for seat in seats):
        raise ValueError(f"{name} is {team!r}; expected one agent, or two: (guesser, answerer)")
    return seats[0], seats[1]


def _timed(agent: Agent, obs: Struct, cfg: Struct) -> tuple[object, float]:
    start = time.perf_counter()
    try:
        action = call_agent(agent, obs, cfg)
    except Exception as error:  # the environment ends the game for this seat and goes on
        action = error
    return action, time.perf_counter() - start


def _failure(game: Game, actions: Sequence[object]) -> str:
    """Say which seats failed in the last step, and what they returned or raised."""
    failures = []
    for seat, status in enumerate(game.statuses):
        if status in ("ERROR", "INVALID", "TIMEOUT"):
            action = actions[seat]
            if isinstance(action, BaseException):
                told = f"raised {type(action).__name__}: {action}"
            else:
                told = f"replied {action if isinstance(action, str) and action else repr(action)}"
            failures.append(f"seat {seat}: {status} ({told[:300]})")
    return "; ".join(failures)


def _rounds(guesser: dict[str, Any], first: int, times: Mapping[tuple[int, int], float]) -> tuple[Round, ...]:
    texts = (guesser["questions"], guesser["answers"], guesser["guesses"])
    rounds = []
    for index in range(max(map(len, texts))):
        turns = [text[index] if index < len(text) else "" for text in texts]
        seconds = [times.get((3 * index + turn, first + (turn == 1))) for turn in range(3)]
        rounds.append(Round(*turns, seconds=(seconds[0], seconds[1], seconds[2])))
    return tuple(rounds)
