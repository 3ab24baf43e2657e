"""Our player among strangers, two against two, with ratings as the competition has them.

``arena`` deals players and keywords at random, plays all games under the environment's rules and prints a leaderboard:
a rating with its 95 % interval, and games won, lost and tied. With a model our player uses it, and the source
notebook's robot plays with the same one. On a cluster the same games are played, chunk by chunk on its workers.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from kaggle_utils.q20.keywords import Keyword, load_keywords
from kaggle_utils.q20.knowledge.table import KnowledgeTable
from kaggle_utils.q20.knowledge.table_file import load_table
from kaggle_utils.q20.tournament.lockstep import LockstepGenerator
from kaggle_utils.q20.tournament.notebook_robot import NotebookRobot
from kaggle_utils.q20.tournament.players import Player, RobotPlayer
from kaggle_utils.q20.tournament.ratings import Standing
from kaggle_utils.q20.tournament.round_robin import Tournament, play_matches, random_matches
from kaggle_utils.q20.tournament.strangers import STRANGERS, strangers

__all__ = ["arena_players", "leaderboard", "main"]

_EXAMPLES = """examples:
  python -m kaggle_utils.q20 arena --games 40                       # some minutes on two cores
  python -m kaggle_utils.q20 arena --category place -o games.jsonl  # then: replay games.jsonl --game 1
  python -m kaggle_utils.q20 arena --games 20 --model /kaggle/input/gemma-2/transformers/gemma-2-2b-it/2
  python -m kaggle_utils.q20 arena --games 5000 --cluster auto      # on all machines of a running Ray cluster
"""


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


def arena_players(
    table: Path | None = None, *, category: str | None = None, model: Path | None = None, seed: int = 0
) -> list[Player]:
    """Return our player, with ``model`` a second one and the notebook's robot, and the strangers.

    Args:
        table: a table's file (default: the shipped one).
        category: of the keywords; strangers hold only what the table knows of these.
        model: folder of a language model.
        seed: of the strangers' chance.

    Raises:
        ValueError: the table holds none of the keywords, or there is no such category.
    """
    whole, known = _tables(table, category)
    return [*_ours(whole if table else None, model), *strangers(known, seed=seed)]


def main(argv: Sequence[str] | None = None) -> int:
    """Play, print the leaderboard, save the games if asked; return the exit status."""
    options = _parser().parse_args(argv)
    said = (OSError, ValueError, ImportError, RuntimeError) if options.cluster else (OSError, ValueError, ImportError)
    try:
        _check(options)
        keywords = load_keywords(category=options.category)
        make = partial(arena_players, options.table and options.table.absolute(), category=options.category,
                       model=options.model and options.model.absolute(), seed=options.seed)  # fmt: skip
        if options.cluster:
            _tables(options.table, options.category)  # what is wrong with them is said here, not by every worker
            played = _on_cluster(options, make, keywords)
        else:
            players = make()
    except said as error:
        print(error, file=sys.stderr)
        return 2
    if not options.cluster:
        matches = random_matches(len(players), keywords, games=options.games, seed=options.seed)
        played = play_matches(players, matches, chunk=options.chunk)
    print(leaderboard(played.standings(seed=options.seed)))
    if options.output:
        print(f"games: {played.save(options.output)}")
    return 0


def _on_cluster(options: argparse.Namespace, make: partial[list[Player]], keywords: Sequence[Keyword]) -> Tournament:
    from kaggle_utils.q20.tournament.on_cluster import play_matches_on_cluster

    count = len(STRANGERS) + (3 if options.model else 1)  # the players themselves are made on the workers
    matches = random_matches(count, keywords, games=options.games, seed=options.seed)
    return play_matches_on_cluster(
        make, matches, cluster=options.cluster, chunk=options.chunk, num_gpus=options.worker_gpus
    )


def _tables(path: Path | None, category: str | None) -> tuple[KnowledgeTable, KnowledgeTable]:
    """A table, and the part of it that is about the keywords of a category."""
    keywords, whole = load_keywords(category=category), load_table(path)
    known = [index for row in keywords if (index := whole.objects.index_of(row.word)) is not None]
    if not known:
        raise ValueError(f"--table {path}: it holds none of the {len(keywords)} keywords to be played")
    return whole, whole.subset(np.unique(known))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m kaggle_utils.q20 arena",
        description=__doc__.splitlines()[0],
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--games", type=int, default=200, help="games to play (default 200)")
    parser.add_argument("--category", help="keywords of one category only: things, place")
    parser.add_argument("--table", type=Path, help="a table file (default: the shipped one)")
    parser.add_argument("--model", type=Path, help="folder of a language model: with it plays a second player of ours, "
                                                   "and the source notebook's robot")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="the same seed plays the same games")
    parser.add_argument("--chunk", type=int, default=32, help="games side by side (default 32)")
    parser.add_argument("--cluster", help="play on a Ray cluster: local, auto, host:6379 or ray://host:10001; "
                                          "table and model must lie at the same place on every machine")  # fmt: skip
    parser.add_argument("--worker-gpus", type=float, default=0, help="GPUs for each worker of it (with --model: 1)")
    parser.add_argument("-o", "--output", type=Path, help="write the games as JSON lines")
    return parser


def _check(options: argparse.Namespace) -> None:
    """All that can be wrong is said before the games are played, not after."""
    problems = [f"--{name} {value}: expected at least 1"
                for name, value in (("games", options.games), ("chunk", options.chunk)) if value < 1]  # fmt: skip
    if options.worker_gpus < 0:
        problems.append(f"--worker-gpus {options.worker_gpus}: expected 0 or more")
    if options.seed < 0:
        problems.append(f"--seed {options.seed}: expected 0 or more")
    if options.output is not None:
        folder = options.output.absolute().parent
        if not folder.is_dir():
            problems.append(f"--output {options.output}: there is no folder {folder}; make it first")
        elif options.output.is_dir():
            problems.append(f"--output {options.output}: that is a folder; name a file in it")
        elif not os.access(folder, os.W_OK):
            problems.append(f"--output {options.output}: {folder} cannot be written to")
    if options.model is not None and not (options.model / "config.json").is_file():
        problems.append(f"--model {options.model}: expected a model's folder, with config.json and its weights")
    if problems:
        raise ValueError("\n".join(problems))


def _ours(table: KnowledgeTable | None, model: Path | None) -> list[Player]:
    from kaggle_utils.q20.agent import default_robot  # not for `--help`

    ours: list[Player] = [RobotPlayer("ours", default_robot(table=table))]
    if model is not None:
        from kaggle_utils.inference.generation import HFGenerator  # a command puts parts together; games know no model

        generator = HFGenerator.from_folder(model)
        robot = default_robot(LockstepGenerator(generator), table=table)
        ours += [RobotPlayer("ours with the model", robot), NotebookRobot(generator)]
    return ours
