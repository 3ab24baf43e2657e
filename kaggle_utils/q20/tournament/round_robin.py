"""Two against two, as on Kaggle: many games side by side, every player batched across all of them.

All games of a chunk are played turn by turn together under ``rules.Game``, so a table is asked once for hundreds of
seats and a language model gets whole batches. Partners are strangers, drawn so that everybody sits in every seat
equally often. There is no clock: only what is replied counts. The same players and seed give the same games, however
many are played side by side; a language model whose batches differ in size may differ in the last digits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kaggle_utils.q20.arena import game_record
from kaggle_utils.q20.frames import games_frame
from kaggle_utils.q20.keywords import Keyword
from kaggle_utils.q20.knowledge.cache_folder import write_atomically
from kaggle_utils.q20.protocol import ROUNDS, TURNS, Observation
from kaggle_utils.q20.record import GameRecord
from kaggle_utils.q20.rules import EpisodeCrash, Game
from kaggle_utils.q20.tournament.players import Player
from kaggle_utils.q20.tournament.ratings import GameResult, RatingSettings, Standing, rate

if TYPE_CHECKING:
    import pandas

__all__ = ["Match", "Tournament", "duels", "play_matches", "play_side_by_side", "random_matches"]

_BAR = "{l_bar}{bar}| {n:.0f}/{total} [{elapsed}<{remaining}]"  # fractions of games are counted, and not shown


@dataclass(frozen=True)
class Match:
    """A keyword and who sits where."""

    keyword: Keyword
    seats: tuple[int, int, int, int]
    """Players (indices): guesser and answerer of the first team, guesser and answerer of the second."""


@dataclass(frozen=True)
class Tournament:
    """Games that were played, and by whom."""

    players: tuple[str, ...]
    matches: tuple[Match, ...]
    records: tuple[GameRecord, ...]

    @property
    def results(self) -> list[GameResult]:
        """Teams and winner of each game, without anything else that happened."""
        return [
            GameResult((match.seats[:2], match.seats[2:]), None if record.winner == "both" else record.winner)
            for match, record in zip(self.matches, self.records, strict=True)
        ]

    def standings(
        self, *, settings: RatingSettings | None = None, replicas: int = 200, seed: int = 0
    ) -> list[Standing]:
        """Return the leaderboard, best first; see ``ratings.rate``."""
        return rate(self.results, self.players, settings=settings, replicas=replicas, seed=seed)

    def win_share(self, player: int, *, role: str | None = None) -> tuple[int, int, int]:
        """Return (wins, losses, ties) of the teams with ``player`` as "guesser", as "answerer" or (None) as either."""
        places = {"guesser": (0,), "answerer": (1,), None: (0, 1)}[role]
        tally = [0, 0, 0]
        for result in self.results:
            for side in (0, 1):
                if any(result.teams[side][place] == player for place in places):
                    tally[2 if result.winner is None else int(result.winner != side)] += 1
        return tally[0], tally[1], tally[2]

    def frame(self) -> pandas.DataFrame:
        """Return one row a team and game: ``frames.games_frame`` of the records."""
        return games_frame(self.records)

    def save(self, path: str | Path) -> Path:
        """Write the records as JSON lines, each with the players' seats; the file appears when it is whole."""
        return write_atomically(Path(path), self._lines())

    def _lines(self) -> Iterator[bytes]:
        for match, record in zip(self.matches, self.records, strict=True):
            row = json.loads(record.to_json())
            row |= {"players": list(self.players), "seats": list(match.seats)}
            row["keyword_versions"] = list(match.keyword.versions)
            yield (json.dumps(row) + "\n").encode("utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Tournament:
        """Read what ``save`` wrote; ValueError with the line that cannot be read."""
        players, matches, records = (), [], []
        for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
            try:
                row = json.loads(line)
                record = GameRecord.from_json(row)
                one, two, three, four = row["seats"]
                keyword = Keyword(record.keyword, record.category, record.alts, tuple(row["keyword_versions"]))
                players = tuple(row["players"])
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{path}, line {number}: not a game as Tournament.save writes it: {error!r}"
                ) from error
            matches.append(Match(keyword, (one, two, three, four)))
            records.append(record)
        return cls(players, tuple(matches), tuple(records))


def random_matches(players: int, keywords: Sequence[Keyword], *, games: int, seed: int = 0) -> list[Match]:
    """Deal players into games of four at random, everybody equally often (to within one), keywords at random.

    With four players or more nobody plays twice in a game; with fewer, everybody sits as often as the others.
    """
    if players < 1 or not keywords:
        raise ValueError(f"{players} players and {len(keywords)} keywords; expected at least one of each")
    random = np.random.default_rng([seed, 0x44])
    deck: list[int] = []
    matches = []
    for _ in range(games):
        seats: list[int] = []
        while len(seats) < 4:
            fitting = [player for player in deck if player not in seats or players < 4]
            if not fitting:
                deck += random.permutation(players).tolist()
                continue
            seats.append(fitting[0])
            deck.remove(fitting[0])
        one, two, three, four = random.permutation(seats).tolist()
        matches.append(Match(keywords[int(random.integers(len(keywords)))], (one, two, three, four)))
    return matches


def duels(
    keywords: Iterable[Keyword], *, first: tuple[int, int] = (0, 0), second: tuple[int, int] = (1, 1)
) -> list[Match]:
    """Return one game for each keyword between two fixed teams (guesser, answerer), by default player 0 against 1."""
    return [Match(keyword, (*first, *second)) for keyword in keywords]


def play_matches(
    players: Sequence[Player], matches: Sequence[Match], *, chunk: int = 256, progress: bool = True
) -> Tournament:
    """Play all matches and return the records, in order.

    Args:
        players: who plays; a player in several seats is asked for all of them at once.
        matches: see ``random_matches`` and ``duels``.
        chunk: games side by side; more of them are faster and take more memory.
        progress: show a bar; it moves with every turn.

    Raises:
        ValueError: a match names a player that is not there, or ``chunk`` is below 1.
    """
    from tqdm.auto import tqdm  # only here: an agent needs no bar

    if chunk < 1:
        raise ValueError(f"chunk is {chunk}, expected 1 or more games side by side")
    _check_seats(players, matches)
    records: list[GameRecord] = []
    with tqdm(total=len(matches), desc="games", bar_format=_BAR, disable=not progress) as bar:
        for start in range(0, len(matches), chunk):
            part = matches[start : start + chunk]
            records += play_side_by_side(players, part, first=start, played=bar.update)
        bar.update(len(matches) - bar.n)  # what is left of the rounding
    return Tournament(tuple(player.name for player in players), tuple(matches), tuple(records))


def play_side_by_side(
    players: Sequence[Player],
    matches: Sequence[Match],
    *,
    first: int = 0,
    played: Callable[[float], object] = lambda games: None,
) -> list[GameRecord]:
    """Play some games together and return their records, in order.

    Args:
        players: who plays; what they know of games before is forgotten.
        matches: the games; each turn asks every player once for all of them.
        first: number of the first game in its tournament: players' chance depends on a game's number.
        played: hears after every turn how much more of the games is over, in games.

    Raises:
        ValueError: a match names a player that is not there.
    """
    _check_seats(players, matches)
    for player in players:
        getattr(player, "begin", lambda: None)()
    games = [Game(match.keyword.word, match.keyword.category, match.keyword.alts) for match in matches]
    errors = [""] * len(games)
    running, told = list(range(len(games))), 0.0
    while running:
        actions = _actions(players, matches, games, running, first)
        for number in running:
            try:
                games[number].step(actions[number])
            except EpisodeCrash as crash:  # noqa: PERF203 - one game dies, the others go on
                errors[number] = f"the episode crashed: {crash}"
        running = [number for number in running if not games[number].done and not errors[number]]
        over = len(games) - len(running) + sum(games[number].turn for number in running) / (3 * ROUNDS)
        played(over - told)
        told = over
    return [_record(players, match, game, error) for match, game, error in zip(matches, games, errors, strict=True)]


def _check_seats(players: Sequence[Player], matches: Sequence[Match]) -> None:
    wrong = sorted({seat for match in matches for seat in match.seats if not 0 <= seat < len(players)})
    if wrong:
        raise ValueError(f"matches name the players {wrong}; there are {len(players)}, numbered from 0")


def _actions(
    players: Sequence[Player], matches: Sequence[Match], games: Sequence[Game], running: Sequence[int], first: int
) -> dict[int, list[object]]:
    """Ask every player once for each kind of turn that waits for it."""
    waiting: dict[tuple[int, str], list[tuple[int, int, Observation]]] = {}
    for number in running:
        observations = games[number].observations()
        for seat in games[number].active:
            obs = Observation.from_kaggle(observations[seat])
            waiting.setdefault((matches[number].seats[seat], obs.turn_type), []).append((number, seat, obs))
    actions: dict[int, list[object]] = {number: [None] * 4 for number in running}
    for player, turn in sorted(waiting, key=lambda key: (TURNS.index(key[1]), key[0])):  # type: ignore[arg-type]
        rows = waiting[player, turn]
        numbers = [4 * (first + number) + seat for number, seat, _ in rows]
        replies = players[player].reply(turn, numbers, [obs for _, _, obs in rows])  # type: ignore[arg-type]
        if len(replies) != len(rows):
            raise ValueError(
                f"player {players[player].name!r} gave {len(replies)} replies to {len(rows)} seats ({turn})"
            )
        for (number, seat, _), reply in zip(rows, replies, strict=True):
            actions[number][seat] = reply
    return actions


def _record(players: Sequence[Player], match: Match, game: Game, error: str) -> GameRecord:
    names = [players[seat].name for seat in match.seats]
    pairs = [a if a == b else f"{a} + {b}" for a, b in (names[:2], names[2:])]
    failed = "; ".join(
        f"seat {seat} ({names[seat]}): {status}"
        for seat, status in enumerate(game.statuses)
        if status in ("ERROR", "INVALID", "TIMEOUT")
    )
    return game_record(game, (pairs[0], pairs[1]), {}, error or failed, crashed=bool(error))
