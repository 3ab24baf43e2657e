"""Untrained, the residual policy is the Bayesian questioner, digit by digit; a residual changes its order only."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from kaggle_utils.q20.policy.channel import AnswerChannel  # noqa: E402
from kaggle_utils.q20.policy.residual import ResidualPlayer, ResidualPolicy  # noqa: E402

RANDOM = np.random.default_rng(0)
THETA = RANDOM.random((30, 12)).astype(np.float32)
CHANNEL = AnswerChannel(*(RANDOM.uniform(0.01, 0.4, 12).astype(np.float32) for _ in range(3)))


def entropy(p: np.ndarray) -> np.ndarray:
    return -(p * np.log2(p) + (1 - p) * np.log2(1 - p))


def test_gain_and_update_are_the_textbooks():
    prior = RANDOM.random(30)
    policy = ResidualPolicy(THETA, prior=prior, channel=CHANNEL)
    belief = policy.begin(2)
    asked, answers = torch.tensor([3, 5]), torch.tensor([1, 0], dtype=torch.int8)
    after = policy.update(belief, asked, answers).exp().numpy()
    yes = CHANNEL.false_yes + (1 - CHANNEL.false_yes - CHANNEL.false_no) * THETA.astype(np.float64)
    for row, likelihood in ((0, yes[:, 3]), (1, 1 - yes[:, 5])):
        expected = prior * likelihood / (prior * likelihood).sum()
        assert after[row] == pytest.approx(expected, rel=1e-4)
        gain = (entropy(expected @ yes) - expected @ entropy(yes)) * (1 - CHANNEL.unsure)
        assert policy.gain(torch.as_tensor(after).log())[row].numpy() == pytest.approx(gain, abs=2e-5)


def test_unsure_tells_nothing():
    policy = ResidualPolicy(THETA, channel=CHANNEL)
    belief = policy.update(policy.begin(1), torch.tensor([0]), torch.tensor([1], dtype=torch.int8))
    again = policy.update(belief, torch.tensor([1]), torch.tensor([-1], dtype=torch.int8))
    assert again.numpy() == pytest.approx(belief.numpy(), abs=1e-6)


def test_untrained_scores_put_the_best_gain_first_and_asked_ones_nowhere():
    policy = ResidualPolicy(THETA, channel=CHANNEL)
    belief, asked = policy.begin(1), torch.zeros(1, 12, dtype=torch.bool)
    order = policy.gain(belief).argsort(descending=True)[0].tolist()
    for expected in order:
        best = int(policy.scores(belief, asked).argmax())
        assert best == expected
        asked[0, best] = True
    assert torch.isinf(policy.scores(belief, asked)).all()


def test_certain_beliefs_and_tables_of_zero_and_one_give_no_nan():
    policy = ResidualPolicy(np.eye(8, dtype=np.float32), channel=AnswerChannel(*(np.zeros(8, np.float32),) * 3))
    belief = policy.begin(1)
    for question in range(7):
        belief = policy.update(belief, torch.tensor([question]), torch.tensor([0], dtype=torch.int8))
    belief = policy.update(belief, torch.tensor([7]), torch.tensor([0], dtype=torch.int8))  # against all there is
    asked = torch.zeros(1, 8, dtype=torch.bool)
    for value in (belief, policy.gain(belief), policy.scores(belief, asked)):
        assert torch.isfinite(value).all()


def test_a_residual_changes_the_choice_and_can_be_taken_off():
    policy = ResidualPolicy(THETA, channel=CHANNEL)
    belief, asked = policy.begin(1), torch.zeros(1, 12, dtype=torch.bool)
    best, worst = int(policy.scores(belief, asked).argmax()), int(policy.scores(belief, asked).argmin())
    changed = policy.copy()
    changed.bias[worst] += 1000.0
    assert int(changed.scores(belief, asked).argmax()) == worst
    assert int(policy.scores(belief, asked).argmax()) == best, "a copy is independent"
    assert int(changed.without_residual().scores(belief, asked).argmax()) == best
    changed.weight[0, best] = 1e6 * float(torch.sign((belief.exp() @ policy.directions)[0, 0]))
    assert int(changed.scores(belief, asked).argmax()) == best, "the belief's directions count too"


def test_players_sample_or_choose():
    policy = ResidualPolicy(THETA, channel=CHANNEL, beta=3.0)
    asked = torch.zeros(200, 12, dtype=torch.bool)
    picks = {}
    for seed in (None, 1, 1, 2):
        player = ResidualPlayer(policy, sample_seed=seed)
        player.start(200)
        picks.setdefault(seed, []).append(player.ask(asked).tolist())
    assert len(set(picks[None][0])) == 1
    assert len(set(picks[1][0])) > 3
    assert picks[1][0] == picks[1][1] != picks[2][0]
    player = ResidualPlayer(policy)
    player.start(1)
    wrong = torch.zeros(1, 30, dtype=torch.bool)
    guessed = []
    for _ in range(30):
        guessed.append(int(player.guess(wrong)))
        wrong[0, guessed[-1]] = True
    assert sorted(guessed) == list(range(30))
