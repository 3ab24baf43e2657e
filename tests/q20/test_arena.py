"""Games between callables: rules, clock, records."""

from __future__ import annotations

import time

import pytest

from kaggle_utils.q20.arena import play_game, play_games, win_rate
from kaggle_utils.q20.keywords import load_keywords


def bisector(words):
    """A perfect alphabetical player over a known list; it reads the transcript only."""
    words = sorted({word.lower() for word in words})

    def left(obs):
        rest = words
        for question, answer in zip(obs.questions, obs["answers"], strict=False):
            middle = question.split('"')[1]
            rest = [word for word in rest if (word < middle) == (answer == "yes")]
        return [word for word in rest if word not in obs.guesses] or ["nothing"]

    def agent(obs, cfg):
        if obs.turnType == "answer":
            return "yes" if obs.keyword.lower() < obs.questions[-1].split('"')[1] else "no"
        rest = left(obs)
        return f'Does it precede "{rest[len(rest) // 2]}"?' if obs.turnType == "ask" else rest[0]

    return agent


def test_bisection_finds_every_keyword():
    """The loop as a whole: wrong turns, lost answers or a wrong matcher would lose games."""
    rows = load_keywords(version="1.18.0")
    records = play_games(bisector([row.word for row in rows]), keywords=rows[::12], progress=False)
    assert win_rate(records) == win_rate(records, team=1) == 1.0
    assert all(record.winner == "both" and len(record.teams[0].rounds) <= 11 for record in records)
    assert [record.keyword for record in records] == [row.word for row in rows[::12]]


def test_guesser_is_told_nothing():
    seen = []

    def guesser(obs, cfg):
        seen.append((obs.keyword, obs.category, "zebra" in str(dict(obs)), "zebra" in str(cfg)))
        return "Is it?"

    play_game((guesser, lambda: "no"), keyword="zebra", category="animals", alts=["zebras"])
    assert len(seen) == 80 and set(seen) == {("", "", False, False)}


def test_agents_are_called_as_the_environment_calls_them():
    """With as many arguments as their code takes, attribute and item access, and the real configuration."""

    def two(obs, cfg):
        assert cfg.actTimeout == cfg["actTimeout"] == 7 and cfg.episodeSteps == 61 and obs["turnType"] == obs.turnType
        return "dog"

    class Callable:
        def __call__(self, obs, cfg):
            return "yes"

    record = play_game((two, lambda: "no"), (lambda obs: "dog", Callable()), keyword="cat", act_timeout=7)
    assert record.error == "" and record.teams[0].reward == -1


def test_a_slow_agent_loses_by_the_clock():
    def slow(obs, cfg):
        time.sleep(0.15)
        return "yes"

    fine = (lambda: "Is it?", lambda: "yes")
    record = play_game((fine[0], slow), fine, keyword="cat", act_timeout=0.05, overage=1)
    assert record.winner == 1 and record.teams[0].reward is None
    assert 1 < len(record.teams[0].rounds) <= 11  # the bank lasts for some turns
    assert "seat 1: ERROR" in record.error  # the environment, too, calls a late answer an ERROR
    assert record.teams[0].rounds[0].seconds[1] >= 0.15


def test_an_agent_that_raises_loses_and_the_error_is_told():
    def broken(obs, cfg):
        raise MemoryError("too big")

    record = play_game(bisector(["cat", "dog"]), broken, keyword="cat", names=("we", "they"))
    assert record.winner == 0 and record.teams[1].statuses[0] == "ERROR"
    assert "seat 2: ERROR (raised MemoryError: too big)" in record.error


def test_a_question_that_is_the_keyword_is_a_crash_not_a_win():
    record = play_game(lambda obs: "cat" if obs.turnType != "answer" else "no", lambda: "no", keyword="cat")
    assert record.winner is None and "crashed" in record.error
    assert [team.reward for team in record.teams] == [None, None]


def test_two_teams_differ():
    record = play_game(bisector(["cat", "dog"]), lambda obs: "no", keyword="dog", names=("we", "they"))
    assert record.winner == 0 and [team.name for team in record.teams] == ["we", "they"]
    assert record.source == "arena" and record.teams[0].rounds[-1].guess == "dog"


def test_misuse():
    with pytest.raises(ValueError, match="team_b"):
        play_game(lambda: "no", (lambda: "no",), keyword="cat")
    with pytest.raises(ValueError, match="no games"):
        win_rate([])
