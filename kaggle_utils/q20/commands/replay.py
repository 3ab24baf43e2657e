"""Make a web page of a game: of an episode's JSON, of a saved record, or of one game that ``arena -o`` wrote."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from kaggle_utils.q20.record import GameRecord
from kaggle_utils.q20.replay import read_record, with_candidates, with_posterior, write_html
from kaggle_utils.q20.tournament.round_robin import Tournament

__all__ = ["game_lines", "main", "one_game"]

_SHOWN = 40
_EXAMPLES = """examples:
  python -m kaggle_utils.q20 replay episode.json            # writes episode.html
  python -m kaggle_utils.q20 replay games.jsonl             # lists the games of a tournament
  python -m kaggle_utils.q20 replay games.jsonl --game 3    # writes games-3.html
"""


def game_lines(records: Sequence[GameRecord]) -> list[str]:
    """Return a line for each game: its number, the keyword, the teams and who won.

    >>> from kaggle_utils.q20.record import Team
    >>> teams = (Team("ours", (), 20, ("DONE", "DONE")), Team("theirs", (), 0, ("DONE", "DONE")))
    >>> game_lines([GameRecord("cow", "things", (), teams, "arena")])
    ['   1  cow                      ours against theirs: ours won']
    """
    lines = []
    for number, record in enumerate(records[:_SHOWN], 1):
        one, two = (team.name for team in record.teams)
        won = record.winner
        end = f"{record.teams[won].name} won" if isinstance(won, int) else "both won" if won == "both" else "nobody won"
        lines.append(f"{number:4}  {record.keyword:24} {one} against {two}: {end}")
    return lines + ([f"   ... {len(records) - _SHOWN} more"] if len(records) > _SHOWN else [])


def one_game(path: Path, number: int | None) -> GameRecord | None:
    """Return game ``number`` (from 1) of a tournament's file, or the only game; None where one has to be chosen.

    Raises:
        ValueError: the file holds no games, or none of that number.
    """
    if path.suffix != ".jsonl":
        if number not in (None, 1):
            raise ValueError(
                f"--game {number}: {path} is one game; several are in a .jsonl file as `arena -o` writes it"
            )
        return read_record(path)
    records = Tournament.load(path).records
    if not records:
        raise ValueError(f"{path} holds no games")
    if number is None:
        return records[0] if len(records) == 1 else None
    if not 1 <= number <= len(records):
        raise ValueError(f"--game {number}: {path} holds the games 1 to {len(records)}")
    return records[number - 1]


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page, or list the games to choose from; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m kaggle_utils.q20 replay",
        description=__doc__,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("episode", type=Path, help="JSON of an episode or of a saved record, or JSON lines of an arena")
    parser.add_argument("--game", type=int, help="which game of JSON lines, from 1 (default: list them)")
    parser.add_argument("-o", "--output", type=Path, help="HTML file to write (default: beside the episode)")
    parser.add_argument("--spelling", action="store_true", help="candidates by spelling alone, without the table")
    parser.add_argument("--no-candidates", action="store_true", help="leave the record's candidates as they are")
    options = parser.parse_args(argv)
    try:
        record = one_game(options.episode, options.game)
        if record is None:
            print(*game_lines(Tournament.load(options.episode).records), "choose one with --game N", sep="\n")
            return 0
        if not options.no_candidates:
            record = with_candidates(record) if options.spelling else with_posterior(record)
        print(write_html(record, options.output or _beside(options.episode, options.game)))
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _beside(path: Path, number: int | None) -> Path:
    return (
        path.with_name(f"{path.stem}-{number}.html")
        if number and path.suffix == ".jsonl"
        else path.with_suffix(".html")
    )
