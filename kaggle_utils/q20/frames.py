"""The environment's specification and its episodes as tidy pandas DataFrames: one row a field, a turn, a round, a game.

``pandas.DataFrame(json.load(file))`` fails on both ("Mixing dicts with non-Series may lead to ambiguous ordering"),
because they are trees of unequal depth; here each level becomes a table of its own. It judges and plays nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kaggle_utils._optional import require
from kaggle_utils.q20.record import GameRecord

if TYPE_CHECKING:
    import pandas

__all__ = ["episode_frame", "games_frame", "read_json", "rounds_frame", "specification_frame"]

_FIELD = ("section", "field", "type", "default", "defaults", "enum", "minimum", "shared", "description")
_TURN = ("step", "seat", "role", "turn", "status", "reward", "action", "overage", "questions", "answers", "guesses")


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read one JSON object.

    Raises:
        ValueError: it is not JSON, or not an object; the message names the file.
    """
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds a {type(value).__name__}, expected a JSON object")
    return value


def specification_frame(specification: Mapping[str, Any] | str | os.PathLike[str]) -> pandas.DataFrame:
    """One row for each field of the environment's specification.

    Args:
        specification: ``llm_20_questions.json`` (path or parsed), an episode, or ``env.specification`` itself.

    Returns:
        Columns section (configuration, observation, or "" for what stands alone), field, type, default, defaults (one
        a seat), enum, minimum, shared, description; None where the specification says nothing.

    Raises:
        ValueError: there is no specification in it.
    """
    value = specification if isinstance(specification, Mapping) else read_json(specification)
    value = value.get("specification", value)
    rows = []
    for section, content in value.items():
        if not isinstance(content, Mapping):
            continue
        if "type" in content or "default" in content:
            rows.append(_field("", section, content))
        else:
            rows += [_field(section, name, field) for name, field in content.items() if isinstance(field, Mapping)]
    if not rows:
        raise ValueError(f"no specification: expected fields with a type or a default; there are keys {sorted(value)}")
    return require("pandas", extra="train").DataFrame(rows, columns=list(_FIELD), dtype=object)


def _field(section: str, name: str, field: Mapping[str, Any]) -> list[Any]:
    kind = field.get("type")
    known = {"section": section, "field": name, "type": " | ".join(kind) if isinstance(kind, list) else kind}
    return [known.get(column, field.get(column)) for column in _FIELD]


def episode_frame(episode: Mapping[str, Any] | str | os.PathLike[str]) -> pandas.DataFrame:
    """One row for each step and seat of an episode (``env.toJSON()`` or a downloaded replay).

    Returns:
        Columns step, seat, role, turn, status, reward, action, overage (seconds left in the bank) and how many
        questions, answers and guesses the seat has seen.

    Raises:
        ValueError: it is no episode.
    """
    value = episode if isinstance(episode, Mapping) else read_json(episode)
    steps = value.get("steps")
    if not isinstance(steps, Sequence) or not steps:
        raise ValueError(f"no episode: expected 'steps'; there are keys {sorted(value)}")
    rows = [_turn(number, seat, state) for number, step in enumerate(steps) for seat, state in enumerate(step)]
    return require("pandas", extra="train").DataFrame(rows, columns=list(_TURN))


def _turn(step: int, seat: int, state: Mapping[str, Any]) -> list[Any]:
    seen = state.get("observation") or {}
    counts = [len(seen.get(kind) or ()) for kind in ("questions", "answers", "guesses")]
    overage = seen.get("remainingOverageTime")
    return [step, seat, seen.get("role"), seen.get("turnType"), state.get("status"), state.get("reward"),
            state.get("action"), overage, *counts]  # fmt: skip


def rounds_frame(records: GameRecord | Iterable[GameRecord]) -> pandas.DataFrame:
    """One row for each game, team and round.

    Returns:
        Columns game, team (0 or 1), name, round (from 1), question, answer, guess, found (the guess ended the game),
        ask_seconds, answer_seconds, guess_seconds, candidates, entropy_bits, gain_bits, expected_bits; NaN where the
        record has none.
    """
    rows = []
    for game, record in enumerate(_many(records)):
        for side, team in enumerate(record.teams):
            won = record.winner in (side, "both")
            for number, played in enumerate(team.rounds, 1):
                found = won and number == len(team.rounds) and bool(played.guess)
                rows.append([game, side, team.name, number, played.question, played.answer, played.guess, found,
                             *played.seconds, played.candidate_count, played.entropy_bits,
                             played.gain_bits, played.expected_bits])  # fmt: skip
    columns = ["game", "team", "name", "round", "question", "answer", "guess", "found", "ask_seconds",
               "answer_seconds", "guess_seconds", "candidates", "entropy_bits", "gain_bits",
               "expected_bits"]  # fmt: skip
    frame = require("pandas", extra="train").DataFrame(rows, columns=columns)
    return frame.astype(dict.fromkeys(columns[8:], "float64"))


def games_frame(records: GameRecord | Iterable[GameRecord]) -> pandas.DataFrame:
    """One row for each game.

    Returns:
        Columns game, keyword, category, source, team_a, team_b, winner ("a", "b", "both" or "none"), rounds, reward_a,
        reward_b, error.
    """
    rows = []
    for game, record in enumerate(_many(records)):
        winner = {0: "a", 1: "b", "both": "both", None: "none"}[record.winner]
        first, second = record.teams
        rounds = max(len(first.rounds), len(second.rounds))
        rows.append([game, record.keyword, record.category, record.source, first.name, second.name, winner, rounds,
                     first.reward, second.reward, record.error])  # fmt: skip
    columns = ["game", "keyword", "category", "source", "team_a", "team_b", "winner", "rounds", "reward_a", "reward_b",
               "error"]  # fmt: skip
    return require("pandas", extra="train").DataFrame(rows, columns=columns)


def _many(records: GameRecord | Iterable[GameRecord]) -> list[GameRecord]:
    return [records] if isinstance(records, GameRecord) else list(records)
