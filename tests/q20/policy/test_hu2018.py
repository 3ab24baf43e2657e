"""The paper's questioner: its table, user, update, returns and training, without its code's aliasing defect."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from kaggle_utils.q20.policy.environment import play  # noqa: E402
from kaggle_utils.q20.policy.hu2018 import (  # noqa: E402
    PaperEnvironment,
    PaperPlayer,
    PaperPolicy,
    PaperTable,
    RewardNet,
)
from kaggle_utils.q20.policy.hu2018_training import PaperSettings, paper_returns, rollout, train_paper  # noqa: E402

RANDOM = np.random.default_rng(0)
TABLE = PaperTable.from_theta(RANDOM.random((25, 40)))


def test_the_table_holds_three_probabilities_and_no_zero():
    table = PaperTable.from_theta(np.array([[0.0, 0.5, 1.0]]))
    assert table.usual.tolist() == [[0, -1, 1]]
    assert (table.right + table.wrong + table.unknown) == pytest.approx(1.0)
    assert min(table.right.min(), table.wrong.min(), table.unknown.min()) > 0.003
    assert table.weak.tolist() == [[False, True, False]]
    with pytest.raises(ValueError, match="at most 1"):
        PaperTable(np.ones((1, 1)), np.ones((1, 1)))


def test_the_user_gives_the_most_probable_answer_and_its_noise_is_of_the_kind_asked_for():
    usual = torch.as_tensor(TABLE.usual)
    clean = PaperEnvironment(TABLE).games(500, seed=1)
    assert (clean.answers == usual[clean.truth]).all()
    right = usual[clean.truth]
    erased = PaperEnvironment(TABLE, erase=0.1).games(500, seed=1).answers
    assert (erased[erased != right] == -1).all()
    assert float((erased != right).float().mean()) == pytest.approx(0.1 * float((right != -1).float().mean()), abs=0.01)
    weak = PaperEnvironment(TABLE, flip_weak=0.5).games(500, seed=1).answers
    changed = weak != right
    assert torch.as_tensor(TABLE.weak)[clean.truth][changed].all()
    assert changed.any()
    flipped = PaperEnvironment(TABLE, flip=0.2).games(500, seed=1).answers
    assert float((flipped != right)[right != -1].float().mean()) == pytest.approx(0.2, abs=0.01)
    assert (flipped[right == -1] == -1).all(), "unknown has no opposite"


def test_the_update_is_the_papers_product():
    policy = PaperPolicy(TABLE)
    confidence, expected = policy.begin(1), np.full(25, 1 / 25)
    for question, answer in ((3, 1), (7, 0), (9, -1)):
        confidence = policy.update(confidence, torch.tensor([question]), torch.tensor([answer], dtype=torch.int8))
        part = {1: TABLE.right, 0: TABLE.wrong, -1: TABLE.unknown}[answer][:, question]
        expected = expected * part / (expected * part).sum()
    assert confidence[0].numpy() == pytest.approx(expected, rel=1e-4)


def test_every_step_keeps_its_own_state():
    """The public code stored one array for all steps of an episode: the last state, twenty times."""
    policy = PaperPolicy(TABLE)
    episode = rollout(policy, PaperEnvironment(TABLE).games(8, seed=0), rounds=6)
    assert episode.states.shape == (6, 8, 25)
    assert (episode.states[0] == policy.prior).all()
    assert episode.asked.sum(2).tolist() == [[step] * 8 for step in range(6)]
    games = PaperEnvironment(TABLE).games(8, seed=0)
    for step in range(5):
        question = episode.questions[step]
        after = policy.update(episode.states[step], question, games.answers[torch.arange(8), question])
        assert torch.equal(episode.states[step + 1], after)
        assert not torch.equal(episode.states[step], episode.states[step + 1])


def test_returns_are_discounted_from_thirty():
    rewards = torch.tensor([[0.5, 0.5], [0.25, 0.25], [9.0, 9.0]])
    returns = paper_returns(rewards, torch.tensor([True, False]), gamma=0.99, terminal=30.0)
    assert returns[2].tolist() == [30.0, -30.0]
    assert returns[1].tolist() == pytest.approx([0.25 + 0.99 * 30, 0.25 - 0.99 * 30])
    assert returns[0, 0].item() == pytest.approx(0.5 + 0.99 * (0.25 + 0.99 * 30))


def test_the_policy_masks_what_was_asked():
    policy, asked = PaperPolicy(TABLE), torch.zeros(1, 40, dtype=torch.bool)
    asked[0, 5:] = True
    probabilities = policy.log_policy(policy.begin(1), asked).exp()[0]
    assert (probabilities[5:] == 0).all()
    assert float(probabilities[:5].sum()) == pytest.approx(1.0)


def test_reward_nets_see_what_they_should():
    policy = PaperPolicy(TABLE)
    state, question = policy.begin(2), torch.tensor([4, 4])
    plain, aware = (RewardNet(policy, kind=kind) for kind in ("plain", "object"))
    truth = torch.tensor([1, 2])
    assert plain(state, question, truth)[0] == plain(state, question, truth)[1]
    assert aware(state, question, truth)[0] != aware(state, question, truth)[1]
    assert plain(state, torch.tensor([4, 5]), truth)[0] != plain(state, torch.tensor([4, 5]), truth)[1]
    with pytest.raises(ValueError, match="expected 'plain' or 'object'"):
        RewardNet(policy, kind="other")


@pytest.mark.parametrize("reward_net", ["none", "object"])
def test_training_learns_which_questions_tell_something(reward_net):
    """Four questions tell 16 objects apart, thirty say the same of all; random questions seldom find the four."""
    theta = np.full((16, 34), 0.98)
    theta[:, :4] = np.where((np.arange(16)[:, None] >> np.arange(4)) & 1, 0.98, 0.02)
    table = PaperTable.from_theta(theta)
    environment, policy = PaperEnvironment(table), PaperPolicy(table, scale="objects")
    settings = PaperSettings(episodes=4000, batch=8, rounds=6, reward_net=reward_net, evaluate_every=2000)
    policy, curve = train_paper(environment, policy, settings)
    assert curve.validation[0] < 0.25
    assert curve.validation[-1] > 0.45, curve.validation
    greedy = play(PaperPlayer(policy, greedy=True), environment.games(500, seed=9), rounds=6, objects=16)
    assert greedy.win_rate > 0.55


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match="reward_net 'x'"):
        PaperSettings(reward_net="x")
    with pytest.raises(ValueError, match="batch=0"):
        PaperSettings(batch=0)
    with pytest.raises(ValueError, match="scale 'x'"):
        PaperPolicy(TABLE, scale="x")
