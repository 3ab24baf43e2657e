"""``arena``: our player among strangers, two against two, with ratings as the competition has them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from kaggle_utils.q20.keywords import load_keywords
from kaggle_utils.q20.knowledge.table_file import load_table
from kaggle_utils.q20.tournament.players import RobotPlayer
from kaggle_utils.q20.tournament.ratings import Standing
from kaggle_utils.q20.tournament.round_robin import play_matches, random_matches
from kaggle_utils.q20.tournament.strangers import strangers

__all__ = ["leaderboard", "main"]


def leaderboard(standings: Sequence[Standing]) -> str:
    """Return the ratings as a table of text, best first.

    >>> print(leaderboard([Standing("ours", 712.4, 690, 735, 40, 21, 9, 10)]))
    player                 rating    95 %       games  won  lost  tied
    ours                      712   690-735        40   21     9    10
    """
    lines = [f"{'player':<20} {'rating':>8}    95 % {'games':>11} {'won':>4} {'lost':>5} {'tied':>5}"]
    lines += [
        f"{s.player[:20]:<20} {s.rating:8.0f}   {s.low:.0f}-{s.high:.0f} {s.games:9d} {s.wins:4d} {s.losses:5d} "
        f"{s.ties:5d}"
        for s in standings
    ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Play, print the leaderboard, save the games if asked; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m kaggle_utils.q20 arena", description=__doc__)
    parser.add_argument("--games", type=int, default=200, help="games to play (default 200)")
    parser.add_argument("--category", help="keywords of one category only: things, place")
    parser.add_argument("--table", type=Path, help="a table file (default: the shipped one)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed plays the same games")
    parser.add_argument("-o", "--output", type=Path, help="write the games as JSON lines")
    options = parser.parse_args(argv)
    try:
        if options.games < 1:
            raise ValueError(f"--games {options.games}: expected at least 1")
        keywords = load_keywords(category=options.category)
        known = load_table(options.table)
        table = known.subset([i for k in keywords if (i := known.objects.index_of(k.word)) is not None])
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    from kaggle_utils.q20.agent import default_robot

    players = [RobotPlayer("ours", default_robot()), *strangers(table, seed=options.seed)]
    matches = random_matches(len(players), keywords, games=options.games, seed=options.seed)
    played = play_matches(players, matches)
    print(leaderboard(played.standings(seed=options.seed)))
    if options.output:
        print(f"games: {played.save(options.output)}")
    return 0
