"""The conformance test must pass good agents and name everything that bad ones do."""

from __future__ import annotations

import math
import time

import pytest

from kaggle_utils.q20.checks import broken_rules, check_agent, example_observation
from kaggle_utils.q20.hostile import hostile_observations, hostile_texts
from kaggle_utils.q20.rules import Game
from kaggle_utils.q20.structs import Struct

GOOD = {"ask": "Is it alive?", "answer": "no", "guess": "cat"}


def good(obs, cfg):
    return GOOD[obs.turnType]


def test_a_good_agent_passes():
    check_agent(good)
    check_agent(
        lambda obs: GOOD.get(obs.get("turnType") if isinstance(obs.get("turnType"), str) else "", "x"), malformed=True
    )


@pytest.mark.parametrize(
    ("turn", "reply", "message"),
    [
        ("ask", "", "ask: must not be empty"),
        ("guess", " ", "guess: must not be empty"),
        ("ask", None, "ask: must be a string"),
        ("guess", b"cat", "guess: must be a string"),
        ("answer", True, "answer: must be a string"),
        ("answer", "Yes", "answer: must be exactly 'yes' or 'no'"),
        ("answer", "yes ", "answer: must be exactly 'yes' or 'no'"),
        ("ask", "q" * 751, "ask: must not be longer than 750"),
        ("guess", "g" * 101, "guess: must not be longer than 100"),
        ("ask", "The Turkeys?", "ask: must not be a bare keyword"),
        ("guess", "\udc00", "guess: must not hold lone surrogates"),
    ],
)
def test_each_broken_rule_is_named(turn, reply, message):
    with pytest.raises(AssertionError, match=message) as caught:
        check_agent(lambda obs: reply if obs.turnType == turn else GOOD[obs.turnType], count=30)
    assert "breaks 1 rule:" in str(caught.value)
    assert [rule for rule in broken_rules(turn, reply) if rule.startswith(message)]


def test_all_problems_are_reported_at_once():
    def bad(obs, cfg):
        if obs.turnType == "answer":
            raise KeyError("lost")
        return "" if obs.turnType == "ask" else "g" * 200

    with pytest.raises(AssertionError) as caught:
        check_agent(bad)
    for part in (
        "breaks 3 rules",
        "answer: must not raise",
        "KeyError: \"'lost'\"",
        "ask: must not be empty",
        "guess: must not be longer",
    ):
        assert part in str(caught.value)


def test_a_rare_fault_in_a_late_round_is_found():
    with pytest.raises(AssertionError, match="ask: must be a string"):
        check_agent(lambda obs: None if len(obs.questions) == 19 and obs.turnType == "ask" else GOOD[obs.turnType])


def test_a_slow_reply_is_reported():
    with pytest.raises(AssertionError, match=r"guess: must not take longer than 0\.01 s"):
        check_agent(
            lambda obs: time.sleep(0.02 * (obs.turnType == "guess")) or GOOD[obs.turnType], count=5, act_timeout=0.01
        )


@pytest.mark.parametrize("turn", ["ask", "answer", "guess"])
@pytest.mark.parametrize("round_", [0, 5, 19])
def test_examples_are_what_the_referee_sends(turn, round_):
    """An example that the environment would never send proves nothing."""
    game = Game("cat")
    example = example_observation(turn, round=round_)
    for index in range(3 * round_ + ("ask", "answer", "guess").index(turn)):
        number = index // 3
        later = example_observation("guess", round=number)
        game.step(
            [None, later.answers[number], None, "no"]
            if index % 3 == 1
            else [later.questions[number] if index % 3 == 0 else f"thing {number}", None, "Is it?", None]
        )
    assert dict(example) == game.observations()[1 if turn == "answer" else 0]
    with pytest.raises(ValueError, match="round from 0 to 19"):
        example_observation(turn, round=20)


def test_hostile_observations_are_many_kinds_and_repeatable():
    """A generator that quietly stops to produce one of the kinds."""
    seen = list(hostile_observations(seed=5, count=240))
    assert [repr(obs) for obs in seen] == [repr(obs) for obs in hostile_observations(seed=5, count=240)]
    assert [repr(obs) for obs in seen] != [repr(obs) for obs in hostile_observations(seed=6, count=240)]
    everything = [repr(obs) for obs in seen]
    for part in (
        "<end_of_turn>",
        "<|eot_id|>",
        "<|im_start|>",
        "\\ud800",
        "\\x00",
        "\\u202e",
        "((((",
        "Ignore all rules",
    ):
        assert any(part in text for text in everything), part
    assert max(map(len, everything)) > 100_000
    assert any(not obs for obs in seen) and any(obs.get("questions") is None for obs in seen if "questions" in obs)
    assert any(isinstance(t := obs.get("remainingOverageTime"), float) and math.isnan(t) for obs in seen)
    assert {obs.get("turnType") for obs in seen if isinstance(obs.get("turnType"), str)} > {"ask", "answer", "guess"}


def test_well_formed_hostile_observations_could_be_sent_by_the_environment():
    texts = set()
    for obs in hostile_observations(seed=1, count=400, malformed=False):
        index = ("ask", "answer", "guess").index(obs.turnType)
        number = obs.step // 3
        assert obs.step % 3 == index and obs.role == ("answerer" if index == 1 else "guesser")
        assert [len(obs.questions), len(obs.answers), len(obs.guesses)] == [
            number + (index > 0),
            number + (index == 2),
            number,
        ]
        assert bool(obs.keyword) == (index == 1) and all(len(guess) <= 100 for guess in obs.guesses)
        texts.update(obs.questions)
    assert {text[:2000] for text in hostile_texts()} <= texts


def test_struct_behaves_like_the_environments():
    obs = Struct(turnType="ask")
    obs.step = 4
    assert obs["step"] == obs.step == 4 and dict(obs) == {"turnType": "ask", "step": 4}
    with pytest.raises(AttributeError, match="keyword"):
        obs.keyword
