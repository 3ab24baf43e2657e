"""The channel learns what can be learned, and nothing where there is nothing to learn."""

from __future__ import annotations

import numpy as np
import pytest

from kaggle_utils.q20.policy.channel import AnswerChannel, Transcripts, fit_channel

QUESTIONS = 80


def transcripts(false_yes, false_no, unsure, *, games=6000, soft=False, seed=0) -> Transcripts:
    """Answers drawn with the given rates, twenty random questions a game."""
    random = np.random.default_rng(seed)
    theta = random.random((50, QUESTIONS))
    theta = (theta if soft else theta < 0.5).astype(np.float32)
    made = Transcripts(theta)
    truth = random.integers(0, 50, games)
    asked = random.integers(0, QUESTIONS, (games, 20))
    yes = random.random(asked.shape) < theta[truth[:, None], asked]
    yes ^= random.random(asked.shape) < np.where(yes, false_no[asked], false_yes[asked])
    answers = np.where(random.random(asked.shape) < unsure[asked], -1, yes).astype(np.int8)
    made.add(truth[: games // 2], asked[: games // 2], answers[: games // 2])
    made.add(truth[games // 2 :], asked[games // 2 :], answers[games // 2 :])
    return made


def rates(value: float) -> np.ndarray:
    return np.full(QUESTIONS, value)


@pytest.mark.parametrize("soft", [False, True])
def test_uneven_rates_are_found(soft):
    random = np.random.default_rng(1)
    false_yes, false_no, unsure = (random.beta(1, 7, QUESTIONS).clip(0, 0.4) for _ in range(3))
    made = transcripts(false_yes, false_no, unsure, soft=soft)
    assert made.count == 6000 * 20
    found = fit_channel(made, AnswerChannel.even(QUESTIONS))
    for name, true in (("false_yes", false_yes), ("false_no", false_no), ("unsure", unsure)):
        error = np.abs(getattr(found, name) - true)
        assert error.mean() < (0.04 if soft else 0.015), (name, error.mean())


def test_even_noise_is_not_told_apart():
    found = fit_channel(transcripts(rates(0.1), rates(0.1), rates(0.0), games=800), AnswerChannel.even(QUESTIONS))
    assert found.false_yes.std() < 0.01
    assert found.false_yes.mean() == pytest.approx(0.1, abs=0.01)
    assert found.unsure.max() == 0.0


def test_a_bias_is_found():
    found = fit_channel(transcripts(rates(0.25), rates(0.02), rates(0.0)), AnswerChannel.even(QUESTIONS, flip=0.135))
    assert found.false_yes.mean() == pytest.approx(0.25, abs=0.01)
    assert found.false_no.mean() == pytest.approx(0.02, abs=0.01)


def test_families_are_kept_apart_and_what_was_never_asked_gets_its_familys_mean():
    families = (np.arange(QUESTIONS) >= 60).astype(int)
    made = transcripts(np.where(families, 0.4, 0.05), np.where(families, 0.4, 0.05), rates(0.0))
    questions, right, answers = made.columns()
    kept = questions != 79
    made._parts = [(questions[kept], right[kept], answers[kept])]
    found = fit_channel(made, AnswerChannel.even(QUESTIONS), families)
    assert found.false_no[:60].mean() == pytest.approx(0.05, abs=0.01)
    assert found.false_no[79] == pytest.approx(0.4, abs=0.03)


def test_nothing_heard_leaves_the_assumption():
    prior = AnswerChannel.even(QUESTIONS, flip=0.2, unsure=0.1)
    found = fit_channel(Transcripts(np.zeros((5, QUESTIONS), np.float32)), prior)
    for learned, assumed in zip(found.arrays(), prior.arrays(), strict=True):
        assert learned == pytest.approx(assumed)


def test_take_reorders_and_invents_the_mean():
    channel = AnswerChannel(*(np.array([0.1, 0.3], np.float32),) * 3)
    assert channel.take(np.array([1, -1, 0])).false_no == pytest.approx([0.3, 0.2, 0.1])
    assert channel.likelihood(np.array([[0.0, 1.0]])) == pytest.approx(np.array([[0.1, 0.7]]))
