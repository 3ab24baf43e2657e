"""Game records: from a real leaderboard episode, from the real environment, to JSON and back."""

from __future__ import annotations

import json

import pytest
import real_game

from kaggle_utils.q20.arena import play_game
from kaggle_utils.q20.hostile import hostile_texts
from kaggle_utils.q20.record import GameRecord, Round, Team

GUESSER = """
import time
def agent(obs, cfg):
    if len(obs.questions) == 1 and obs.turnType == "guess":
        time.sleep(0.2)
    return f"Is it number {len(obs.questions)}?" if obs.turnType == "ask" else ["dog", "The Cats"][len(obs.guesses) % 2]
"""
ANSWERER = """
def agent(obs, cfg):
    return "yes" if obs.keyword == "cat" else "no"
"""
BROKEN = """
def agent(obs, cfg):
    raise KeyError("lost")
"""


@pytest.fixture(scope="module")
def failed_episode():
    return real_game.play_real([GUESSER, ANSWERER, GUESSER, BROKEN], "cat")


@pytest.fixture(scope="module")
def finished_episode():
    return real_game.play_real([GUESSER, ANSWERER] * 2, "cat", alts=["felis"])


def test_real_leaderboard_episode(shared_data):
    """Fields read from the wrong seat or step of a downloaded episode."""
    episode = json.loads((shared_data / "q20" / "kaggle_replay_55924766.json").read_text(encoding="utf-8"))
    record = GameRecord.from_kaggle(episode)
    assert (record.keyword, record.category, record.source) == ("aquarium light", "things", "episode 55924766")
    assert record.winner is None and record.error == ""
    assert [team.name for team in record.teams] == ["c-number + Tricksy Hobbitses", "Rist bot + agent alpha"]
    assert [(team.reward, team.statuses, len(team.rounds)) for team in record.teams] == [(-1, ("DONE", "DONE"), 20)] * 2
    first, last = record.teams[0].rounds[0], record.teams[0].rounds[-1]
    assert (first.question, first.answer, first.guess) == ("Is it Agent Alpha?", "yes", "lake salmon")
    assert (last.answer, last.guess) == ("yes", "galaxy")
    assert first.seconds == (None, 75.56244, None)  # only the answerer's first act drew on the time bank
    assert record.teams[1].rounds[0].seconds == (None, 91.714683, None)
    assert GameRecord.from_json(record.to_json()) == record


def test_environment_episode_with_logs(finished_episode):
    """Seconds that land on another turn or seat, or that are invented where there are no logs."""
    episode = dict(finished_episode)
    record = GameRecord.from_kaggle(episode)
    assert record.winner == "both" and [team.reward for team in record.teams] == [19, 19]
    rounds = record.teams[1].rounds
    assert [(r.question, r.answer, r.guess) for r in rounds] == [
        ("Is it number 0?", "yes", "dog"),
        ("Is it number 1?", "yes", "The Cats"),
    ]
    assert all(second is not None for r in rounds for second in r.seconds)
    assert rounds[0].seconds[2] > 0.15 > rounds[1].seconds[1]  # the sleep of the first guess, at its own place
    del episode["logs"]
    assert GameRecord.from_kaggle(episode).teams[1].rounds[0].seconds == (None, None, None)
    assert GameRecord.from_kaggle(json.loads(json.dumps(episode))).winner == "both"


def test_environment_episode_that_failed(failed_episode):
    """A team whose seat failed must not come out as a winner, and the reason must be told."""
    record = GameRecord.from_kaggle(failed_episode)
    assert record.winner == 0 and [team.reward for team in record.teams] == [1, None]
    assert record.teams[1].statuses == ("DONE", "ERROR")
    assert record.error == "seat 3: ERROR (KeyError: 'lost')"
    assert record.teams[0].rounds == (Round("Is it number 0?", "yes", "", record.teams[0].rounds[0].seconds),)
    assert record.teams[0].rounds[0].seconds[2] is None


@pytest.mark.parametrize(
    ("rewards", "winner"),
    [
        ((20, 0), 0),
        ((0, 3), 1),
        ((5, 5), "both"),
        ((-1, -1), None),
        ((None, 1), 1),
        ((1, None), 0),
        ((None, None), None),
    ],
)
def test_winner(rewards, winner):
    teams = tuple(Team(name, (), reward, ("DONE", "DONE")) for name, reward in zip("AB", rewards, strict=True))
    assert GameRecord("cat", "things", (), teams, "test").winner == winner


def test_json_round_trip_keeps_hostile_text_and_candidates():
    rounds = tuple(Round(text, "yes", text, (None, 1.5, 0.0), (("cat", 0.5),), 7, 2.5) for text in hostile_texts())
    teams = (Team("A", rounds, None, ("ERROR", "DONE")), Team("B", (), 1, ("DONE", "DONE")))
    record = GameRecord("cat", "things", ("felis",), teams, "test", "why")
    assert GameRecord.from_json(record.to_json()) == record
    assert GameRecord.from_json(json.loads(record.to_json())) == record
    assert record.to_json().isascii()  # a lone surrogate must not make the file unwritable


@pytest.mark.parametrize(
    "episode",
    [
        None,
        [],
        "text",
        {},
        {"steps": []},
        {"steps": [[{}] * 4]},
        {"steps": [1]},
        {"steps": [[{}, {}]]},
        {"name": "chess"},
    ],
)
def test_what_is_no_episode_is_refused_with_a_reason(episode):
    with pytest.raises(ValueError, match="episode"):
        GameRecord.from_kaggle(episode)


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"teams": [1, 2]}', '{"teams": []}'])
def test_what_is_no_record_is_refused(text):
    with pytest.raises(ValueError):
        GameRecord.from_json(text)


def test_records_of_arena_and_environment_agree(finished_episode):
    """The same agents, once in the arena and once in the real environment."""

    def load(source):
        space = {}
        exec(source, space)
        return space["agent"]

    ours = play_game((load(GUESSER), load(ANSWERER)), keyword="cat")
    theirs = GameRecord.from_kaggle(finished_episode)
    assert _untimed(ours) == _untimed(theirs)


def _untimed(record):
    return [
        (t.reward, t.statuses, [(r.question, r.answer, r.guess, len(r.seconds)) for r in t.rounds])
        for t in record.teams
    ]
