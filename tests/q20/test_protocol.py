"""Reading observations, clipping, validity: the border to the environment."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaggle_utils.q20.hostile import hostile_observations
from kaggle_utils.q20.protocol import (
    Observation,
    clean_guess,
    clip_guess,
    clip_question,
    is_valid_reply,
    keywords_match,
    normalize,
    read_answer,
)
from kaggle_utils.q20.rules import Game

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("turnType", "role", "step", "questions", "answers", "guesses", "keyword", "category", "remainingOverageTime")


@pytest.mark.parametrize("shape", [dict, lambda obs: SimpleNamespace(**obs)], ids=["dict", "namespace"])
def test_observation_reads_what_the_environment_sends(shape):
    """A field that is read from the wrong place or loses its value on the way there and back."""
    game = Game("Coffee beans", alts=["coffee"])
    game.step(["Is it alive?", None, "Is it big?", None], durations=[75.5, 0, 0, 0])
    for seen in game.observations():
        assert Observation.from_kaggle(shape(seen)).to_kaggle() == seen
    answerer = Observation.from_kaggle(shape(game.observations()[1]))
    assert (answerer.keyword, answerer.category, answerer.questions) == ("Coffee beans", "things", ("Is it alive?",))
    assert Observation.from_kaggle(shape(game.observations()[0])).remaining_overage_time == pytest.approx(284.5)


def test_hostile_observations_are_read_into_plain_bounded_values():
    """A hostile observation that raises, or that leaves anything but short strings and sane numbers behind."""
    for sent in hostile_observations(seed=3, count=600):
        seen = Observation.from_kaggle(sent)
        texts = (seen.turn_type, seen.role, seen.keyword, seen.category, *seen.questions, *seen.answers, *seen.guesses)
        assert all(type(text) is str and len(text) <= 2000 for text in texts)
        assert 0 <= seen.step <= 60 and 0 <= seen.round <= 19
        assert 0 <= seen.remaining_overage_time <= 1e9
        assert Observation.from_kaggle(seen.to_kaggle()) == seen
        json.dumps(seen.to_kaggle())


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(FIELDS), ANYTHING) | ANYTHING)
def test_nothing_makes_from_kaggle_raise(sent):
    hash(Observation.from_kaggle(sent))


def test_from_kaggle_survives_objects_that_raise():
    class Trap:
        def __getattr__(self, name):
            raise RuntimeError(name)

    assert Observation.from_kaggle(Trap()) == Observation("")


def test_positions_stay_when_an_item_is_odd():
    """Dropping an odd answer would shift all later answers to other questions."""
    seen = Observation.from_kaggle({"questions": ["a", None, "c"], "answers": ["yes", 3, "no"]})
    assert seen.questions == ("a", "", "c") and seen.answers == ("yes", "", "no")


@pytest.mark.parametrize("step", [-1, 61, 10**400, None, "4", float("nan"), True])
def test_an_impossible_step_is_worked_out_from_the_transcript(step):
    seen = Observation.from_kaggle({"turnType": "guess", "step": step, "guesses": ["a", "b"]})
    assert (seen.step, seen.round) == (8, 2)


@pytest.mark.parametrize("bank", [float("nan"), float("inf"), -5, None, "300", True, 10**400])
def test_an_impossible_time_bank_counts_as_empty(bank):
    """An agent that trusts NaN seconds would think that it may take for ever."""
    assert Observation.from_kaggle({"remainingOverageTime": bank}).remaining_overage_time == 0.0


def test_missing_time_bank_is_a_full_one():
    assert Observation.from_kaggle({"turnType": "ask"}).remaining_overage_time == 300.0


@pytest.mark.parametrize(
    ("guess", "keyword", "matches"),
    [
        ("The Theater", "ater", True),
        ("nerlands", "Netherlands", True),
        ("boxes", "box", True),
        ("glass", "glasses", True),
        ("Air-Conditioner", "air conditioner", True),
        ("berries", "berry", False),
        ("cafe", "café", False),
        ("a banana", "banana", False),
        ("as", "a", False),  # shorter than three characters: no plurals
        ("I think it is a banana", "banana", False),
        ("dogss", "dog", False),
    ],
)
def test_matcher_golden_cases(guess, keyword, matches):
    """The cases of the environment that surprise people; test_differential holds all others."""
    assert keywords_match(guess, keyword) is keywords_match(keyword, guess) is matches
    assert keywords_match(guess, "something else", [keyword]) is matches


@settings(deadline=None)
@given(st.text(max_size=40), st.text(max_size=40))
def test_matching_is_symmetric_and_about_normal_forms(a, b):
    assert keywords_match(a, b) == keywords_match(b, a)
    assert keywords_match(a, a + " the !")
    assert keywords_match(a, b) == keywords_match(a + " ", b) or normalize(a + " ") != normalize(a)


def test_clips_are_the_environments():
    assert clip_question("q" * 800) == "q" * 750 and clip_guess("g" * 800) == "g" * 100
    assert clip_question("") == clip_guess("") == ""


@pytest.mark.parametrize(
    ("text", "answer"), [("NO, yes", "yes"), ("nope", "no"), ("はい", None), ("", None), (1, None)]
)
def test_answers_are_read_as_the_environment_does(text, answer):
    assert read_answer(text) == answer


@pytest.mark.parametrize(
    ("turn", "reply", "valid"),
    [
        ("ask", "q" * 750, True),
        ("ask", "q" * 751, False),
        ("guess", "g" * 101, False),
        ("answer", "yes", True),
        ("answer", "YES", False),
        ("ask", " \n", False),
        ("guess", None, False),
        ("guess", "\ud800", False),
        ("nonsense", "hello", True),
    ],
)
def test_valid_replies(turn, reply, valid):
    assert is_valid_reply(turn, reply) is valid


@settings(deadline=None)
@given(st.text(max_size=400))
def test_a_cleaned_guess_is_empty_or_valid(text):
    guess = clean_guess(text)
    assert guess == "" or is_valid_reply("guess", guess)
