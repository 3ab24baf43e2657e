"""Make a web page of a game: of an episode's JSON, of a saved record, or of one game that ``arena -o`` wrote."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from kaggle_utils.q20.record import GameRecord
from kaggle_utils.q20.replay import make_parser, write_page
from kaggle_utils.q20.tournament.round_robin import Tournament

__all__ = ["game_lines", "main"]

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


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page, or list the games to choose from; return the exit status."""
    parser = make_parser(prog="python -m kaggle_utils.q20 replay", description=__doc__, epilog=_EXAMPLES)
    options = parser.parse_args(argv)
    try:
        if options.game is None and options.episode.suffix == ".jsonl":
            records = Tournament.load(options.episode).records
            if len(records) > 1:
                print(*game_lines(records), "choose one with --game N", sep="\n")
                return 0
        print(write_page(options))
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0
