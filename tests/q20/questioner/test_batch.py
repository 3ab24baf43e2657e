"""Batched games: near the bound, reproducible, nothing repeated, nothing deleted but what was guessed."""

from __future__ import annotations

import numpy as np
import pytest
from tables import synthetic_table

from kaggle_utils.q20.knowledge.table import KnowledgeTable
from kaggle_utils.q20.questioner.batch import BatchQuestioner
from kaggle_utils.q20.questioner.profiles import PROFILES

TABLE = synthetic_table(objects=200, questions=150)


def hard(table):
    """The same table with no doubt in it."""
    return KnowledgeTable(table.objects, table.bank, np.where(table.by_object >= 128, 255, 0).astype(np.uint8))


HARD = hard(TABLE)


def play(*, games=300, flip=0.0, rounds=20, known=True, free_guess=True, seed=0, table=HARD, **options):
    """Win rate and the questions asked."""
    random = np.random.default_rng(seed)
    truth = random.integers(len(table.objects), size=games)
    theta, classes = table.theta, table.objects.match_class
    batch = BatchQuestioner(
        table, games=games, flip=flip if known else None, prior=np.ones(len(theta)), free_guess=free_guess, **options
    )
    won, asked = np.zeros(games, dtype=bool), []
    for number in range(rounds):
        questions = batch.ask()
        answers = (theta[truth, np.maximum(questions, 0)] > 0.5) ^ (random.random(games) < flip)
        batch.hear(np.where(batch.active, answers, -1))
        asked.append(questions)
        if free_guess or number == rounds - 1:
            guesses = batch.guess()
            won |= (guesses >= 0) & (classes[guesses] == classes[truth])
            batch.active &= ~won
    return won.mean(), np.stack(asked, axis=1), batch


@pytest.mark.parametrize("free_guess", [True, False])
def test_without_noise_every_object_is_found_as_fast_as_can_be(free_guess):
    won, _, _ = play(rounds=9, free_guess=free_guess)
    assert won > 0.97


@pytest.mark.parametrize("known", [True, False])
def test_with_noise_most_are_found(known):
    assert play(flip=0.1, known=known)[0] > 0.93  # the bound for 200 objects is .99


def test_one_guess_at_the_end_with_noise():
    assert play(flip=0.1, free_guess=False)[0] > 0.86  # the bound is .93


def test_strangers_of_all_kinds_can_be_assumed():
    assert play(flip=0.05, known=False, profiles=PROFILES, games=100)[0] > 0.9


def test_games_are_reproducible_and_never_repeat_a_question():
    one, two = (play(flip=0.2, variety=0.02, seed=4)[1] for _ in range(2))
    assert (one == two).all()
    for row in one:
        real = row[row >= 0]
        assert len(set(real.tolist())) == len(real)


def test_variety_is_bounded_and_varies():
    batch = BatchQuestioner(HARD, games=200, flip=0.05, variety=0.03)
    best = BatchQuestioner(HARD, games=1, flip=0.05)
    best.ask()
    assert len(set(batch.ask().tolist())) > 3
    assert batch.gains.min() >= best.gains[0] - 0.0301


def test_equal_games_thought_through_once_are_what_single_games_are():
    """Games share work while their transcripts agree; they must not notice."""
    answers = np.array([[1, 1, 0, -1], [0, 1, 0, 1], [1, 0, 0, 1]])
    together = BatchQuestioner(TABLE, games=4, flip=0.1)
    alone = [BatchQuestioner(TABLE, games=1, flip=0.1) for _ in range(4)]
    for row in answers:
        assert together.ask().tolist() == [game.ask()[0] for game in alone]
        together.hear(row)
        for game, answer in zip(alone, row, strict=True):
            game.hear(np.array([answer]))
        assert together.guess().tolist() == [game.guess()[0] for game in alone]
    expected = np.concatenate([game.objects for game in alone])
    assert together.objects == pytest.approx(expected, abs=1e-6)


def test_posterior_is_bayes_rule():
    batch = BatchQuestioner(TABLE, games=2, flip=0.1)
    question = batch.ask()[0]
    batch.hear(np.array([1, 0]))
    p = 0.1 + 0.8 * TABLE.theta[:, question]
    for row, likelihood in zip(batch.objects, (p, 1 - p), strict=True):
        expected = TABLE.objects.prior * likelihood
        assert row == pytest.approx(expected / expected.sum(), rel=0.02)


def test_a_guess_rules_out_its_class_and_nothing_else():
    batch = BatchQuestioner(TABLE, games=1, flip=0.1)
    guesses = [int(batch.guess()[0]) for _ in range(50)]
    assert len(set(TABLE.objects.match_class[guesses].tolist())) == 50
    left = batch.objects[0]
    gone = np.isin(TABLE.objects.match_class, TABLE.objects.match_class[guesses])
    assert (left[gone] == 0).all()
    assert (left[~gone] > 0).all()


def test_when_everything_was_guessed_nothing_breaks():
    batch = BatchQuestioner(TABLE, games=1, flip=0.0)
    for _ in range(len(TABLE.objects) + 3):
        assert batch.guess()[0] >= 0
    batch.ask()
    assert np.isfinite(batch.objects).all()


def test_words_outside_the_table_show():
    batch = BatchQuestioner(TABLE, games=2, flip=0.0, out_of_vocabulary=0.2)
    random = np.random.default_rng(1)
    for _ in range(15):
        questions = batch.ask()
        known = TABLE.theta[7, questions[0]] > 0.5
        batch.hear(np.array([known, random.random() < TABLE.unknown[questions[1]]]))
    assert batch.out_of_vocabulary[0] < 0.05
    assert batch.out_of_vocabulary[1] > 0.5


def test_finished_games_ask_nothing():
    batch = BatchQuestioner(TABLE, games=3, flip=0.0)
    batch.active[1] = False
    assert (batch.ask() >= 0).tolist() == [True, False, True]
    batch.hear(np.array([1, -1, 0]))
    assert (batch.guess() >= 0).tolist() == [True, False, True]


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="0 games"):
        BatchQuestioner(TABLE, games=0)
    with pytest.raises(ValueError, match="one weight per object"):
        BatchQuestioner(TABLE, games=1, prior=np.ones(3))
