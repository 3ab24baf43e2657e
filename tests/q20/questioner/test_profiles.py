"""Kinds of answerers: their probabilities, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from kaggle_utils.q20.questioner.profiles import (
    BLIND_YES,
    NOISE_FLOOR,
    PROFILES,
    SPELLING_FLOOR,
    AnswererProfile,
    Channel,
    known_flip,
)


@pytest.mark.parametrize(
    ("profile", "theta", "expected"),
    [
        (AnswererProfile(0.1), 1.0, 0.9),
        (AnswererProfile(0.1), 0.5, 0.5),
        (AnswererProfile(0.0, yes_bias=0.2), 0.0, 0.2),
        (AnswererProfile(0.0, yes_bias=-0.2), 1.0, 0.8),
        (AnswererProfile(0.0, unsure_is_no=1.0), 0.5, 0.0),
        (AnswererProfile(0.0, unsure_is_no=1.0), 1.0, 1.0),
    ],
)
def test_probability_of_yes_to_a_question_about_meaning(profile, theta, expected):
    assert profile.p_yes(theta) == pytest.approx(expected, abs=2 * NOISE_FLOOR)


def test_spelling_is_answered_by_rule_by_model_or_blindly():
    assert AnswererProfile(0.3, spelling_flip=0.0).p_yes(1.0, lexical=True) == pytest.approx(1 - SPELLING_FLOOR)
    assert AnswererProfile(0.3).p_yes(1.0, lexical=True) == pytest.approx(0.7, abs=0.01)
    for theta in (0.0, 1.0):
        assert AnswererProfile(0.3, lexical=0.0).p_yes(theta, lexical=True) == pytest.approx(BLIND_YES, abs=0.01)


@pytest.mark.parametrize("lexical", [False, True])
def test_no_answer_is_impossible_for_any_profile(lexical):
    floor = SPELLING_FLOOR if lexical else NOISE_FLOOR
    p = Channel(PROFILES).p_yes(np.linspace(0, 1, 11), lexical=lexical)
    assert p.min() >= floor * 0.999
    assert p.max() <= 1 - floor * 0.999


def test_only_players_of_the_protocol_confirm_the_handshake():
    assert AnswererProfile(0.2, spelling_flip=0.0).handshake_yes > 0.9
    for other in (AnswererProfile(0.0), AnswererProfile(0.2, spelling_flip=0.0, lexical=0.5)):
        assert other.handshake_yes < 0.1


def test_all_that_is_wrong_with_a_profile_is_named():
    with pytest.raises(ValueError, match=r"flip 0\.7.*lexical 2"):
        AnswererProfile(0.7, lexical=2)
    with pytest.raises(ValueError, match="0 profiles"):
        Channel([])
    assert len(Channel(known_flip(0.1))) == 1
