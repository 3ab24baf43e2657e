"""Batched games keep the rules: nothing asked twice, guesses counted in the right round, same seed same games."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from kaggle_utils.q20.policy.channel import AnswerChannel  # noqa: E402
from kaggle_utils.q20.policy.elimination import EliminationPlayer  # noqa: E402
from kaggle_utils.q20.policy.environment import Environment, Games, play  # noqa: E402
from kaggle_utils.q20.policy.noise import AnswerModel, Noise  # noqa: E402
from kaggle_utils.q20.policy.residual import ResidualPlayer, ResidualPolicy  # noqa: E402

BITS = ((np.arange(64)[:, None] >> np.arange(6)) & 1).astype(np.float32)  # six questions that tell 64 objects apart
TABLE = np.concatenate([BITS, (np.random.default_rng(0).random((64, 20)) < 0.1)], axis=1).astype(np.float32)


class Counter:
    """Asks the first question that is left and guesses the objects in order."""

    def start(self, games):
        self.heard = []

    def ask(self, asked):
        return (~asked).int().argmax(1)

    def hear(self, question, answer):
        self.heard.append((question, answer))

    def guess(self, wrong):
        return (~wrong).int().argmax(1)


def all_objects() -> Games:
    truth = torch.arange(64)
    return Games(truth, AnswerModel(TABLE, Noise()).answers(truth, seed=0))


@pytest.mark.parametrize("rounds", [6, 20])
def test_elimination_bisects_a_perfect_answerer(rounds):
    player = EliminationPlayer(TABLE)
    assert play(player, all_objects(), rounds=rounds, objects=64).win_rate == 1.0
    assert play(player, all_objects(), rounds=5, objects=64).win_rate == pytest.approx(0.5)


def test_gain_bisects_a_perfect_answerer_too():
    policy = ResidualPolicy(TABLE, channel=AnswerChannel.even(26, flip=0.0))
    assert play(ResidualPlayer(policy), all_objects(), rounds=6, objects=64).win_rate == 1.0


def test_no_question_twice_and_answers_are_the_answerers():
    player, games = Counter(), all_objects()
    played = play(player, games, rounds=26, objects=64)
    assert (played.questions.sort(1).values == torch.arange(26)).all()
    assert (played.answers == games.answers.gather(1, played.questions)).all()
    assert played.answers.shape == (64, 26), "and no more rounds than questions"


def test_free_guesses_count_in_their_round_and_a_final_guess_only_at_the_end():
    free = play(Counter(), all_objects(), rounds=20, free_guess=True, objects=64)
    assert free.won_round[:20].tolist() == list(range(1, 21)), "the k-th guess is object k - 1, never one twice"
    assert (free.won_round[20:] == 0).all()
    final = play(Counter(), all_objects(), rounds=20, objects=64)
    assert final.won_round.tolist() == [20] + [0] * 63


def test_same_seed_same_games_and_the_prior_is_kept_to():
    prior = np.zeros(64)
    prior[[3, 5]] = 0.25, 0.75
    environment = Environment(AnswerModel(TABLE, Noise(flip=0.3)), prior)
    first, second = (environment.games(2000, seed=7) for _ in range(2))
    assert (first.truth == second.truth).all()
    assert (first.answers == second.answers).all()
    assert set(first.truth.tolist()) == {3, 5}
    assert float((first.truth == 5).float().mean()) == pytest.approx(0.75, abs=0.05)
    sizes = [len(games.truth) for games in environment.batches(2500, seed=1, batch=1000)]
    assert sizes == [1000, 1000, 500]


def test_one_wrong_answer_ends_elimination_and_unsure_does_not():
    player = EliminationPlayer(TABLE)
    games = all_objects()
    wrong = games.answers.clone()
    wrong[:, :6] = 1 - wrong[:, :6]
    assert play(player, Games(games.truth, wrong), rounds=6, objects=64).win_rate < 0.1
    silent = games.answers.clone()
    silent[:, 0] = -1
    rate = play(player, Games(games.truth, silent), rounds=7, objects=64).win_rate
    assert rate >= 0.5, "only the bit that was not told is missing"
