"""Train the questioner of Hu et al. 2018: REINFORCE with a value baseline and a RewardNet, many games at once.

The paper takes one step of Adam an episode; here one step takes a batch of episodes. Returns, losses and rates are the
paper's: gamma .99, +30 or -30 at the end, Adam at 1e-3 (policy), 1e-2 (value) and 1e-2 (RewardNet).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tqdm.auto import tqdm

from kaggle_utils._optional import require
from kaggle_utils.q20.policy.environment import Games, play
from kaggle_utils.q20.policy.hu2018 import PaperEnvironment, PaperPlayer, PaperPolicy, RewardNet, RewardNetKind
from kaggle_utils.q20.policy.training import Curve

if TYPE_CHECKING:
    import torch

__all__ = ["Episode", "PaperSettings", "paper_returns", "rollout", "train_paper"]


@dataclass(frozen=True)
class PaperSettings:
    """The paper's numbers, and how many games at once."""

    episodes: int = 100_000
    """Games in all; the paper's number."""
    batch: int = 64
    """Episodes a step of Adam (the paper: 1)."""
    rounds: int = 20
    gamma: float = 0.99
    terminal: float = 30.0
    """Return of a right guess at the end; its negative for a wrong one."""
    reward_net: RewardNetKind = "object"
    policy_lr: float = 1e-3
    value_lr: float = 1e-2
    reward_lr: float = 1e-2
    evaluate_every: int = 10_000
    """Episodes between two points of the curve."""
    evaluation: int = 1000
    """Games of each point."""
    seed: int = 0
    progress: bool = False

    def __post_init__(self) -> None:
        names = ("episodes", "batch", "rounds", "evaluate_every", "evaluation")
        low = [f"{n}={getattr(self, n)}" for n in names if getattr(self, n) < 1]
        if low:
            raise ValueError(f"settings of at least 1 expected, got {', '.join(low)}")
        if self.reward_net not in ("none", "plain", "object"):
            raise ValueError(f"unknown reward_net {self.reward_net!r}; expected 'none', 'plain' or 'object'")


@dataclass(frozen=True)
class Episode:
    """A batch of G games of T rounds, every state its own copy."""

    states: torch.Tensor
    """float32 [T, G, N]: the confidences *before* each question."""
    asked: torch.Tensor
    """bool [T, G, Q]: what was spent before each question."""
    questions: torch.Tensor
    """int64 [T, G]."""
    truth: torch.Tensor
    """int64 [G]."""
    won: torch.Tensor
    """bool [G]."""


class _Recorder(PaperPlayer):
    def start(self, games: int) -> None:
        super().start(games)
        self.states, self.masks = [], []

    def ask(self, asked: torch.Tensor) -> torch.Tensor:
        self.states.append(self.confidence.clone())
        self.masks.append(asked.clone())
        return super().ask(asked)


def rollout(policy: PaperPolicy, games: Games, *, rounds: int = 20, seed: int = 0) -> Episode:
    """Play ``games`` with sampled questions; a state or mask kept here is never changed by later steps."""
    torch = require("torch", extra="llm")
    player = _Recorder(policy, seed=seed)
    played = play(player, games, rounds=rounds, objects=policy.size[0])
    states, masks = torch.stack(player.states), torch.stack(player.masks)
    return Episode(states, masks, played.questions.T.contiguous(), games.truth, played.won_round > 0)


def paper_returns(rewards: torch.Tensor, won: torch.Tensor, *, gamma: float, terminal: float) -> torch.Tensor:
    """Return the discounted returns [T, G] of ``rewards`` [T, G]; the last one is +-``terminal`` itself."""
    torch = require("torch", extra="llm")
    returns = torch.empty_like(rewards)
    returns[-1] = torch.where(won, terminal, -terminal)
    for step in range(len(rewards) - 2, -1, -1):
        returns[step] = rewards[step] + gamma * returns[step + 1]
    return returns


def train_paper(
    environment: PaperEnvironment, policy: PaperPolicy, settings: PaperSettings | None = None
) -> tuple[PaperPolicy, Curve]:
    """Train ``policy`` in place and return it with its curve.

    Cost of one step: three products of [rounds * batch, N] x [N, Q], and rounds * batch * (N + 2 Q) floats of memory.
    """
    settings = settings or PaperSettings()
    trainer = _Trainer(policy, settings)
    watched = environment.games(settings.evaluation, seed=settings.seed + 800_001)
    curve, recent = Curve(), []
    curve.add(0, float("nan"), _win_rate(policy, watched, settings))
    steps = -(-settings.episodes // settings.batch)
    every = max(1, settings.evaluate_every // settings.batch)
    for step in tqdm(range(steps), desc="Hu et al. 2018", disable=not settings.progress):
        seed = settings.seed * 1_000_003 + step
        games = environment.games(settings.batch, seed=seed)
        recent.append(trainer.step(rollout(policy, games, rounds=settings.rounds, seed=seed)))
        if (step + 1) % every == 0 or step == steps - 1:
            curve.add((step + 1) * settings.batch, sum(recent) / len(recent), _win_rate(policy, watched, settings))
            recent.clear()
    return policy, curve


def _win_rate(policy: PaperPolicy, games: Games, settings: PaperSettings) -> float:
    return play(PaperPlayer(policy), games, rounds=settings.rounds, objects=policy.size[0]).win_rate


class _Trainer:
    def __init__(self, policy: PaperPolicy, settings: PaperSettings) -> None:
        torch = require("torch", extra="llm")
        self.policy, self.settings = policy, settings
        self.reward_net = None
        if settings.reward_net != "none":
            self.reward_net = RewardNet(policy, kind=settings.reward_net, seed=settings.seed + 1)
            for parameter in self.reward_net.parameters():
                parameter.requires_grad_(True)
            self.reward_step = torch.optim.Adam(self.reward_net.parameters(), lr=settings.reward_lr)
        for parameter in (*policy.policy, *policy.value):
            parameter.requires_grad_(True)
        self.policy_step = torch.optim.Adam(policy.policy, lr=settings.policy_lr)
        self.value_step = torch.optim.Adam(policy.value, lr=settings.value_lr)

    def step(self, episode: Episode) -> float:
        """One step of each network; returns the share of games won."""
        torch = require("torch", extra="llm")
        rounds, count, objects = episode.states.shape
        states, asked = episode.states.reshape(-1, objects), episode.asked.reshape(rounds * count, -1)
        questions, truth = episode.questions.reshape(-1), episode.truth.repeat(rounds)
        rewards = torch.zeros(rounds, count, device=states.device)
        if self.reward_net is not None:
            guessed = self.reward_net(states, questions, truth)
            rewards = guessed.detach().reshape(rounds, count)
        returns = paper_returns(rewards, episode.won, gamma=self.settings.gamma, terminal=self.settings.terminal)
        returns = returns.reshape(-1)
        values = self.policy.values(states)
        chosen = self.policy.log_policy(states, asked).gather(1, questions[:, None])[:, 0]
        _descend(self.policy_step, -(chosen * (returns - values.detach())).mean())
        _descend(self.value_step, ((returns - values) ** 2).mean())
        if self.reward_net is not None:
            _descend(self.reward_step, ((returns.sigmoid() - guessed) ** 2).mean())
        return float(episode.won.float().mean())


def _descend(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
