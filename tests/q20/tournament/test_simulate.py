"""Simulated games: what the answerers do wrong, who wins when, and that nobody beats the bound."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tables import synthetic_table

from kaggle_utils.q20.knowledge.table import KnowledgeTable, encode
from kaggle_utils.q20.questioner.batch import BatchQuestioner
from kaggle_utils.q20.tournament.bounds import final_guess_bound, free_guess_bound
from kaggle_utils.q20.tournament.elimination import EliminationQuestioner
from kaggle_utils.q20.tournament.noise import NOISES, Noise, NoisyAnswerer
from kaggle_utils.q20.tournament.simulate import Simulation, play_cell, simulate, wilson


@pytest.fixture(scope="module")
def table():
    soft = synthetic_table(150, 120, seed=3)
    return KnowledgeTable(soft.objects, soft.bank, encode((soft.by_object >= 128).astype(float)))


@pytest.fixture(scope="module")
def pairs(table):
    random = np.random.default_rng(0)
    return random.integers(0, len(table.objects), 40_000), random.integers(0, len(table.bank), 40_000)


def answers(table, noise, pairs, seed=0):
    truth = table.theta[pairs] >= 0.5
    return truth, NoisyAnswerer(table, noise, seed=seed)(*pairs, 0)


def test_a_perfect_answerer_says_what_the_table_says(table, pairs):
    truth, said = answers(table, None, pairs)
    assert said.dtype == np.int8
    assert (said == truth).all()


@pytest.mark.parametrize(
    "noise, wrong_yes, wrong_no",  # how often a true yes, and a true no, is answered the other way
    [
        (Noise(flip=0.1), 0.1, 0.1),
        (Noise(false_yes=0.3), 0.0, 0.3),
        (Noise(flip=0.05, false_no=0.2), 0.25, 0.05),
        (Noise(flip=0.15, persistent=True), 0.15, 0.15),
        (Noise(unsure=0.2, unsure_is_no=True), 0.2, 0.0),
    ],
)
def test_rates_of_wrong_answers(table, pairs, noise, wrong_yes, wrong_no):
    truth, said = answers(table, noise, pairs)
    assert np.mean(said[truth] == 0) == pytest.approx(wrong_yes, abs=0.015)
    assert np.mean(said[~truth] == 1) == pytest.approx(wrong_no, abs=0.015)


def test_unsure_says_neither(table, pairs):
    truth, said = answers(table, Noise(unsure=0.2), pairs)
    assert np.mean(said == -1) == pytest.approx(0.2, abs=0.01)
    assert (said[said >= 0] == truth[said >= 0]).all()


def test_letter_blind_tosses_a_coin_on_spelling_only(table, pairs):
    truth, said = answers(table, Noise(letters=False), pairs)
    lexical = table.bank.lexical[pairs[1]]
    assert (said[~lexical] == truth[~lexical]).all()
    assert np.mean(said[lexical] == truth[lexical]) == pytest.approx(0.5, abs=0.03)


def test_persistent_errors_are_the_same_in_every_game_and_another_seed_has_others(table, pairs):
    first = NoisyAnswerer(table, NOISES["persistent"], seed=5)
    once = first(*pairs, 0)
    assert (once == first(*pairs, 1)).all()
    assert (once == NoisyAnswerer(table, NOISES["persistent"], seed=5)(*pairs, 0)).all()
    assert np.mean(once != NoisyAnswerer(table, NOISES["persistent"], seed=6)(*pairs, 0)) > 0.1
    plain = NoisyAnswerer(table, NOISES["flip"], seed=5)
    assert np.mean(plain(*pairs, 0) != plain(*pairs, 1)) > 0.1


def test_who_sulks_says_only_no_until_the_game_is_over(table):
    answerer = NoisyAnswerer(table, Noise(sulk=0.3))
    truth = np.zeros(500, int)
    yes = np.flatnonzero(table.theta[0] >= 0.5)
    silent = np.zeros(500, bool)
    for index in range(12):
        said = answerer(truth, np.full(500, yes[0]), index)
        assert not said[silent].any()
        silent |= said == 0
    assert silent.mean() > 0.95
    assert answerer(truth, np.full(500, yes[0]), 0).mean() > 0.5  # a new game


def test_soft_answers_follow_the_probabilities():
    table = synthetic_table(60, 50, lexical=False)
    truth, question = np.repeat(np.arange(60), 50), np.tile(np.arange(50), 60)
    answerer = NoisyAnswerer(table, Noise(soft=True))
    mean = np.mean([answerer(truth, question, 0) for _ in range(200)], axis=0)
    assert np.abs(mean - table.theta.ravel()).mean() < 0.03


def test_every_wrong_rate_is_named():
    with pytest.raises(ValueError, match=r"flip is 1\.5.*sulk is -1"):
        Noise(flip=1.5, sulk=-1)
    with pytest.raises(ValueError, match=r"flip \+ false_no is 1\.1"):
        Noise(flip=0.6, false_no=0.5)


@pytest.mark.parametrize("make", [BatchQuestioner, EliminationQuestioner])
@pytest.mark.parametrize("free", [False, True], ids=["final", "free"])
def test_without_noise_every_game_is_won_and_the_transcript_shows_it(table, make, free):
    played = play_cell(make, table, games=200, free_guess=free, chunk=128)
    assert played.win_rate == 1.0
    assert played.won_round.max() <= (12 if free else 20)
    assert len(played) == 200
    classes = table.objects.match_class
    for game in range(0, 200, 17):
        last = played.won_round[game]
        guesses, asked = played.guesses[game], played.questions[game, :last]
        assert classes[guesses[last - 1 if free else 0]] == classes[played.truth[game]]
        assert (played.answers[game, :last] == (table.rows([played.truth[game]])[0, asked] >= 0.5)).all()
        assert len(set(asked.tolist())) == last
        assert (played.questions[game, last:] == -1).all()
        assert len(set(classes[guesses[guesses >= 0]].tolist())) == (guesses >= 0).sum()  # no class twice


def test_noise_costs_the_believer_most_and_nobody_beats_the_bound(table):
    objects = np.bincount(table.objects.match_class, table.objects.prior)
    for free, bound in ((False, final_guess_bound), (True, free_guess_bound)):
        limit = bound(objects, 0.15)
        rates = {}
        for make, options in ((EliminationQuestioner, {}), (BatchQuestioner, {"flip": 0.15})):
            played = play_cell(make, table, games=600, noise=Noise(flip=0.15), free_guess=free, **options)
            rates[make] = played.win_rate
            assert played.interval[0] < limit
        assert rates[EliminationQuestioner] + 0.2 < rates[BatchQuestioner]
        assert rates[BatchQuestioner] > 0.85 * limit


def test_the_same_seed_gives_the_same_games_in_any_chunks(table):
    def games(seed):
        played = play_cell(BatchQuestioner, table, games=60, noise=Noise(flip=0.1), flip=0.1, seed=seed)
        return np.concatenate([played.truth, played.won_round, played.questions.ravel(), played.answers.ravel()])

    assert (games(1) == games(1)).all()
    assert not (games(1) == games(2)).all()


def test_keywords_are_drawn_from_the_prior(table):
    prior = np.zeros(len(table.objects))
    prior[[3, 7]] = 1, 3
    truth = play_cell(BatchQuestioner, table, games=400, prior=prior).truth
    assert set(truth) == {3, 7}
    assert np.mean(truth == 7) == pytest.approx(0.75, abs=0.08)


def test_a_questioner_that_lacks_words_loses_exactly_those(table):
    """Keywords that were held out of the questioner's table cannot be guessed, the others are found."""
    kept = np.arange(0, len(table.objects), 2)
    smaller = table.subset(kept)
    classes = table.objects.match_class
    truth = np.arange(len(table.objects))
    played = simulate(
        BatchQuestioner(smaller, games=len(truth)), truth, NoisyAnswerer(table), classes=(classes[kept], classes)
    )
    known = np.isin(classes, classes[kept])
    assert ((played.won_round > 0) == known).all()


def test_wilson_interval_holds_the_share():
    low, high = wilson(50, 100)
    assert low == pytest.approx(0.404, abs=1e-3) and high == pytest.approx(0.596, abs=1e-3)
    assert wilson(0, 100)[0] == 0 and wilson(100, 100)[1] == pytest.approx(1)


def test_a_simulation_without_a_win_has_no_mean_round():
    empty = np.zeros(3, np.int8)
    lost = Simulation(empty, empty, *(np.zeros((3, 20), np.int32),) * 3)
    assert lost.win_rate == 0 and math.isnan(lost.mean_round)
