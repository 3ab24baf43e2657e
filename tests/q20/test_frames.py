"""Specification and episodes as tables: every field and turn is there, and what is no such thing says so."""

from __future__ import annotations

import json

import pytest

pandas = pytest.importorskip("pandas")

from replay_games import a_record, a_round  # noqa: E402

from kaggle_utils.q20.frames import (  # noqa: E402
    episode_frame,
    games_frame,
    read_json,
    rounds_frame,
    specification_frame,
)
from kaggle_utils.q20.record import GameRecord  # noqa: E402

SPECIFICATION = {
    "name": "llm_20_questions", "agents": [4],
    "configuration": {"actTimeout": {"description": "seconds", "type": "number", "default": 60, "minimum": 0}},
    "reward": {"enum": [-1, 0, 1], "default": 0, "type": ["number", "null"]},
    "observation": {"role": {"enum": ["guesser", "answerer"], "defaults": ["guesser", "answerer"] * 2},
                    "keyword": {"type": "string", "shared": "false", "default": ""}},
}  # fmt: skip


def test_every_field_of_a_specification_is_a_row():
    frame = specification_frame(SPECIFICATION)
    assert list(zip(frame.section, frame.field, strict=True)) == [
        ("configuration", "actTimeout"), ("", "reward"), ("observation", "role"), ("observation", "keyword"),
    ]  # fmt: skip
    timeout = frame.iloc[0]
    assert (timeout.type, timeout.default, timeout.minimum) == ("number", 60, 0)
    assert frame.type[1] == "number | null" and frame.defaults[2] == ["guesser", "answerer"] * 2
    assert frame.enum[3] is None and frame["shared"][3] == "false"


def test_the_real_specification_and_its_copy_in_an_episode_agree(tmp_path):
    environments = pytest.importorskip("kaggle_environments")
    environment = environments.make("llm_20_questions")
    frame = specification_frame(environment.specification)
    assert {"questions", "answers", "guesses", "keyword", "turnType"} <= set(frame.field)
    path = tmp_path / "episode.json"
    path.write_text(json.dumps(environment.toJSON()), encoding="utf-8")
    assert sorted(specification_frame(path).field) == sorted(frame.field)


def test_a_real_episode(shared_data):
    path = shared_data / "q20" / "kaggle_replay_55924766.json"
    turns = episode_frame(path)
    steps = read_json(path)["steps"]
    assert len(turns) == 4 * len(steps) and turns.step.max() == len(steps) - 1
    last = turns[turns.step == turns.step.max()]
    assert last.reward.tolist() == [-1] * 4 and last.questions.tolist() == [20] * 4
    rounds = rounds_frame(GameRecord.from_kaggle(read_json(path)))
    assert len(rounds) == 40 and not rounds.found.any()
    assert rounds.question[0] == "Is it Agent Alpha?"


def test_games_and_rounds_of_records():
    won = a_record([a_round(), a_round(guess="coffee")], [a_round(), a_round(guess="tea")], rewards=(19, 0))
    lost = a_record([a_round()], [], rewards=(-1, -1))
    games = games_frame([won, lost])
    assert games.winner.tolist() == ["a", "none"] and games.rounds.tolist() == [2, 1]
    rounds = rounds_frame([won, lost])
    assert len(rounds) == 5
    assert rounds[rounds.found][["game", "team", "round"]].values.tolist() == [[0, 0, 2]]
    assert rounds.gain_bits.isna().all() and rounds.gain_bits.dtype == "float64"


def test_nothing_gives_tables_without_rows():
    assert games_frame([]).empty and "winner" in games_frame([])
    assert rounds_frame([]).empty and "gain_bits" in rounds_frame([])


@pytest.mark.parametrize(("value", "words"), [("[1]", "expected a JSON object"), ("{", "is no JSON")])
def test_a_file_of_something_else_is_named(tmp_path, value, words):
    path = tmp_path / "some.json"
    path.write_text(value, encoding="utf-8")
    with pytest.raises(ValueError, match=words):
        read_json(path)
    with pytest.raises(ValueError, match=r"some\.json"):
        episode_frame(path)


def test_an_object_without_what_is_asked_for_says_what_it_has():
    with pytest.raises(ValueError, match="keys \\['name'\\]"):
        specification_frame({"name": "x"})
    with pytest.raises(ValueError, match="expected 'steps'"):
        episode_frame({"name": "x"})
