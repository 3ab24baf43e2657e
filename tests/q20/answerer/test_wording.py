"""Wordings of one question against each other, and different questions kept apart."""

from __future__ import annotations

import time

import pytest

from kaggle_utils.q20.answerer.wording import content_words, wording_key

SAME = [
    (
        "Is it alive?",
        "is the keyword alive",
        "Is the secret word alive ?",
        "Would it be alive?",
        "Tell me, is it alive?",
    ),
    ("Is it a type of food?", "Is it usually considered a kind of food?", "Is the thing a sort of food?"),
    ("Can you eat it?", "Is it something you can eat?", "Can people eat it?", "Is it something that people can eat?"),
    ("Is it bigger than a car?", "Is it larger than a car?", "Is the object typically larger than the car?"),
    ("Is it found in a kitchen?", "Is it located in the kitchen?", "Is it commonly found inside a kitchen?"),
    ("Would you find it in a kitchen?", "Can it be found in the kitchen?", "Is it used in a kitchen?"),
    ("Does it have anything to do with music?", "Is it related to music?", "Is it associated with music?"),
    ("Is it made of wood?", "made of wood?", "It is made out of wood", "It's made from wood"),
    ("Is it an insect?", "Is it a kind of insect?", "It's an insect", "Would you say that it is a type of insect?"),
    ("Do people wear it?", "Is it something people wear?", "Do you wear it?"),
]
DIFFERENT = [
    "Is it alive?", "Is it dead?", "Is it food?", "Is it used for food?", "Can you eat it?", "Can it eat you?",
    "Is it bigger than a car?", "Is it smaller than a car?", "Is it as big as a car?", "Is it found in a car?",
    "Is it found on a car?", "Does it have legs?", "Does it have two legs?", "Is it made of wood?",
    "Is it used on wood?", "Is it a bird?", "Is it not a bird?", "Can you see it?", "Can it see?",
]  # fmt: skip


@pytest.mark.parametrize("wordings", SAME, ids=lambda wordings: wordings[0])
def test_wordings_of_one_question_share_a_key(wordings):
    assert len({wording_key(text) for text in wordings}) == 1, [wording_key(text) for text in wordings]


def test_different_questions_have_different_keys():
    keys = [wording_key(text) for text in DIFFERENT]
    assert len(set(keys)) == len(keys)


def test_content_words():
    assert content_words("Does it have berries or glasses?") == {"berry", "glass"} | content_words("glass")
    assert content_words("Is it a bus?") == {"bus"}
    assert content_words("Is it?") == frozenset()


@pytest.mark.parametrize(
    "text", ["a" * 100_000, "is it " * 50_000, "kind of " * 20_000, "\x00\ud800", "", "tell me " * 9999]
)
def test_any_text_has_a_key_soon(text):
    start = time.process_time()
    assert isinstance(wording_key(text), str)
    assert time.process_time() - start < 0.25
