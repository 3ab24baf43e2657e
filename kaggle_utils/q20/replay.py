"""Replays: one recorded game as one self-contained HTML file.

``with_candidates`` works out what a guesser could know from spelling alone, ``with_posterior`` what our questioner
would believe and what each answer told it, ``render_html`` makes the page and ``write_html`` puts it on disk whole or
not at all. The page needs no network and runs no script, whatever the players wrote.

From the command line: ``python -m kaggle_utils.q20 replay EPISODE.json [-o OUT.html]``, or ``replay GAMES.jsonl
--game 3`` for a game of a tournament.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kaggle_utils.q20.belief import Belief
from kaggle_utils.q20.knowledge.cache_folder import write_atomically
from kaggle_utils.q20.page.document import page
from kaggle_utils.q20.record import GameRecord, Round, Team
from kaggle_utils.q20.vocabulary import Vocabulary, load_vocabulary

if TYPE_CHECKING:
    from kaggle_utils.q20.knowledge.table import KnowledgeTable
    from kaggle_utils.q20.questioner.prepared import PreparedTable

__all__ = [
    "main",
    "make_parser",
    "read_record",
    "render_html",
    "with_candidates",
    "with_posterior",
    "write_html",
    "write_page",
]

_TOP = 6
"""Most probable words kept per round."""


def render_html(record: GameRecord) -> str:
    """Return the game as one HTML document: the same text for the same record, and always valid UTF-8.

    Candidates are shown where the record holds them: see ``with_candidates``.
    """
    return page(record)


def write_html(record: GameRecord, path: str | os.PathLike[str]) -> Path:
    """Write the replay to ``path`` (its folder is made) and return it; a crash leaves the old file or none."""
    return write_atomically(Path(path), [render_html(record).encode("utf-8")])


def with_candidates(record: GameRecord, vocabulary: Vocabulary | None = None) -> GameRecord:
    """Return the record with the candidates of every round: after its answer, before its guess.

    They follow from the transcript and the shipped vocabulary (or ``vocabulary``), so they are what our own guesser
    would have believed in that seat, whoever played. ``candidate_count`` is 0 where no word fits every answer; the
    words shown then fit all but the latest answers, and the entropy is None.
    """
    vocabulary = load_vocabulary() if vocabulary is None else vocabulary
    return replace(record, teams=tuple(_team_with_candidates(team, vocabulary) for team in record.teams))


def with_posterior(record: GameRecord, table: KnowledgeTable | PreparedTable | None = None) -> GameRecord:
    """Return the record with what our questioner would believe in each seat: words, entropy, what answers told.

    Beside what an answer told stands what the question was expected to tell (``expected_bits``); None where neither
    table nor rules know the question, as the handshake, which tells about the answerer alone.

    Belief is the posterior of ``questioner.single.Questioner`` over the words of ``table`` (the shipped one), the
    vocabulary beyond it and kinds of answerers, after each answer and before its guess. ``candidate_count`` is the
    number of words that the entropy is worth (2 to its power), since nothing is ever ruled out but by a guess.
    """
    from kaggle_utils.q20.questioner import prepared  # a replay without beliefs needs no table

    if table is None:
        known = prepared.shipped_table(load_vocabulary())
    else:
        known = table if isinstance(table, prepared.PreparedTable) else prepared.PreparedTable(table, load_vocabulary())
    return replace(record, teams=tuple(_team_with_posterior(team, known) for team in record.teams))


def _team_with_posterior(team: Team, table: PreparedTable) -> Team:
    from kaggle_utils.q20.questioner.single import Questioner

    questioner = Questioner(table)
    rounds = []
    for played in team.rounds:
        before, promised = questioner.entropy_bits, questioner.expected_gain(played.question)
        questioner.observe(played.question, {"yes": True, "no": False}.get(played.answer))
        after = questioner.entropy_bits
        told = round(before - after, 4) if played.answer in ("yes", "no") else None
        rounds.append(
            replace(
                played,
                candidates=tuple(questioner.top(_TOP)),
                candidate_count=max(1, round(2.0**after)),
                entropy_bits=after,
                gain_bits=told,
                expected_bits=None if promised is None else round(promised, 4),
            )
        )
        if played.guess:
            questioner.rule_out(played.guess)
    return replace(team, rounds=tuple(rounds))


def _team_with_candidates(team: Team, vocabulary: Vocabulary) -> Team:
    rounds = tuple(_round_with_candidates(team.rounds, index, vocabulary) for index in range(len(team.rounds)))
    return replace(team, rounds=rounds)


def _round_with_candidates(rounds: Sequence[Round], index: int, vocabulary: Vocabulary) -> Round:
    known = rounds[: index + 1]
    belief = Belief.after(
        vocabulary,
        [played.question for played in known],
        [played.answer for played in known],
        [played.guess for played in known[:-1]],
    )
    return replace(
        rounds[index],
        candidates=tuple(belief.top(_TOP)),
        candidate_count=0 if belief.contradicted else belief.count,
        entropy_bits=None if belief.contradicted else belief.entropy_bits,
    )


def read_record(path: str | os.PathLike[str], *, game: int | None = None) -> GameRecord:
    """Read a Kaggle episode (the environment's JSON, with or without "logs"), a saved ``GameRecord`` or one of many.

    Args:
        path: such a JSON file, or JSON lines as ``arena -o`` writes them.
        game: which line, from 1; it may be left out where there is only one.

    Raises:
        ValueError: the file is not such JSON, or has no such game; the message names the file and what is there.
    """
    text = Path(path).read_text(encoding="utf-8")
    lines = [line for line in text.split("\n") if line.strip()]
    many = Path(path).suffix == ".jsonl" or (len(lines) > 1 and all(line[0] + line[-1] == "{}" for line in lines))
    where = path
    try:
        if many:
            number = _number(len(lines), game)
            where, text = f"{path}, line {number},", lines[number - 1]
        elif game not in (None, 1):
            raise ValueError(f"game {game} was asked for, and the file is one game")
        value = json.loads(text)
        return GameRecord.from_kaggle(value) if "steps" in value else GameRecord.from_json(value)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(
            f"{where} is no game of 20 Questions ({type(error).__name__}: {error}); expected the JSON of an episode "
            "(env.toJSON() or a downloaded replay) or of GameRecord.to_json(), or JSON lines of `arena -o` and the "
            "number of a game"
        ) from error


def _number(count: int, game: int | None) -> int:
    """Which line of JSON lines, from 1."""
    if not count:
        raise ValueError("the file holds no games")
    if game is None and count == 1:
        return 1
    if game is None or not 1 <= game <= count:
        asked = "none was named" if game is None else f"game {game} was asked for"
        raise ValueError(f"the file holds {count} games, 1 to {count}, and {asked}; name one, such as with --game 1")
    return game


def make_parser(*, prog: str, description: str | None, epilog: str | None = None) -> argparse.ArgumentParser:
    """The options of :func:`write_page`, for whoever offers it as a command."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog=prog, description=description, epilog=epilog, formatter_class=formatter)
    parser.add_argument("episode", type=Path, help="JSON of an episode or of a saved game, or the games of arena -o")
    parser.add_argument("--game", type=int, help="which game, from 1, where the file holds several")
    parser.add_argument("-o", "--output", type=Path, help="HTML file to write (default: beside the episode)")
    parser.add_argument("--spelling", action="store_true", help="candidates by spelling alone, without the table")
    parser.add_argument("--no-candidates", action="store_true", help="leave the record's candidates as they are")
    return parser


def write_page(options: argparse.Namespace) -> Path:
    """Render the game that the options of :func:`make_parser` name; returns the page's path."""
    record = read_record(options.episode, game=options.game)
    if not options.no_candidates:
        record = with_candidates(record) if options.spelling else with_posterior(record)
    numbered = options.game and options.episode.suffix == ".jsonl"
    name = f"{options.episode.stem}{f'-{options.game}' if numbered else ''}.html"
    return write_html(record, options.output or options.episode.with_name(name))


def main(argv: Sequence[str] | None = None) -> int:
    """Render one episode; return the exit status."""
    parser = make_parser(prog="python -m kaggle_utils.q20.replay", description=(__doc__ or "").split("\n")[0])
    options = parser.parse_args(argv)
    try:
        print(write_page(options))
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
