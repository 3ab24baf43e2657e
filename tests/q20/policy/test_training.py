"""Training finds what an uneven answerer gives away, and leaves well alone where there is nothing to find."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from kaggle_utils.q20.policy.channel import AnswerChannel  # noqa: E402
from kaggle_utils.q20.policy.environment import Environment  # noqa: E402
from kaggle_utils.q20.policy.noise import AnswerModel, Noise  # noqa: E402
from kaggle_utils.q20.policy.residual import ResidualPolicy  # noqa: E402
from kaggle_utils.q20.policy.training import ResidualSettings, train_residual, wins  # noqa: E402

TABLE = (np.random.default_rng(3).random((60, 80)) < 0.5).astype(np.float32)
QUICK = ResidualSettings(games=1200, batch=300, rounds=12, validation=600, curve_every=2)


def setup(noise: Noise) -> tuple[Environment, ResidualPolicy]:
    model = AnswerModel(TABLE, noise)
    channel = AnswerChannel.even(80, flip=model.mean_error, unsure=model.mean_unsure)
    return Environment(model), ResidualPolicy(TABLE, channel=channel)


@pytest.mark.parametrize("noise", [Noise(flip=0.15, spread=0.1, persistent=True), Noise(false_no=0.35)])
def test_uneven_noise_is_learned(noise):
    environment, start = setup(noise)
    trained = train_residual(environment, start, QUICK)
    assert trained.kept != "untrained"
    fresh = environment.games(1500, seed=5, held_out=True)
    before, after = (wins(policy, fresh, QUICK).mean() for policy in (start, trained.policy))
    assert after > before + 0.04, (before, after)


def test_even_noise_is_left_alone_and_the_start_is_not_touched():
    environment, start = setup(Noise(flip=0.1))
    trained = train_residual(environment, start, QUICK)
    assert trained.kept == "untrained"
    assert (trained.policy.bias == 0).all()
    assert trained.policy is not start
    assert not start.bias.requires_grad
    assert trained.validation["channel"] > trained.validation["untrained"] - 0.05


def test_the_curve_begins_at_the_bayesian_level():
    environment, start = setup(Noise(flip=0.1))
    curve = train_residual(environment, start, QUICK).curve
    assert curve.games[0] == 0
    assert curve.games[-1] == 1200
    assert curve.validation[0] == curve.lines["greedy gain, assumed noise"]
    assert np.isnan(curve.training[0])
    assert all(0 < rate <= 1 for rate in curve.training[1:])


def test_the_policy_gradient_learns_a_question_that_the_gain_cannot_see():
    """Every object has one of two halves, but the belief is told that all questions but one say nothing."""
    table = np.zeros((2, 6), np.float32)
    table[1, 4] = 1.0
    environment = Environment(AnswerModel(table, Noise()))
    blind = ResidualPolicy(table, channel=AnswerChannel.even(6, flip=0.0), beta=0.0, rank=2)
    settings = ResidualSettings(games=4000, batch=200, rounds=1, validation=400, lr=0.2)
    trained = train_residual(environment, blind, settings)
    assert trained.kept == "residual"
    assert int(trained.policy.bias.argmax()) == 4
    assert trained.validation["residual"] > 0.95 > 0.75 > trained.validation["channel"]


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match=r"games=0, batch=-1"):
        ResidualSettings(games=0, batch=-1)
