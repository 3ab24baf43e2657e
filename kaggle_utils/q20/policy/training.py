"""Train the residual policy: learn the answer channel from finished games, the residual by REINFORCE with a baseline.

The result is never chosen by hope: the untrained policy, the one with only the channel learned and the whole policy
play the same validation games, and the more complicated one must win by more than two standard errors of the difference
to be kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from tqdm.auto import tqdm

from kaggle_utils._optional import require
from kaggle_utils.q20.policy.channel import Transcripts, fit_channel
from kaggle_utils.q20.policy.environment import Environment, Games, play
from kaggle_utils.q20.policy.residual import ResidualPlayer, ResidualPolicy

if TYPE_CHECKING:
    import torch

__all__ = ["Curve", "ResidualSettings", "Trained", "train_residual", "wins"]


@dataclass(frozen=True)
class ResidualSettings:
    """How to train."""

    games: int = 10_000
    """Games played in all."""
    batch: int = 500
    """Games between two steps of the optimizer; memory grows with batch * questions * rounds."""
    rounds: int = 20
    free_guess: bool = False
    """Kaggle's protocol: a guess after every answer. Otherwise one guess at the end."""
    lr: float = 0.01
    """Adam's rate for the residual; 0 learns only the channel."""
    validation: int = 2000
    """Games that decide what is kept."""
    curve_every: int = 4
    """Batches between two points of the curve."""
    seed: int = 0
    progress: bool = False

    def __post_init__(self) -> None:
        low = [n for n in ("games", "batch", "rounds", "validation", "curve_every") if getattr(self, n) < 1]
        if low:
            raise ValueError(
                f"settings of at least 1 expected, got {', '.join(f'{n}={getattr(self, n)}' for n in low)}"
            )


@dataclass
class Curve:
    """Points of a training run, oldest first."""

    title: str = ""
    games: list[int] = field(default_factory=list)
    """Games played before the point."""
    training: list[float] = field(default_factory=list)
    """Win rate of the sampled questions in training since the point before; nan before training."""
    validation: list[float] = field(default_factory=list)
    """Win rate of the greedy questions on the same validation games each time."""
    lines: dict[str, float] = field(default_factory=dict)
    """Win rates of others to compare with, by name."""

    def add(self, games: int, training: float, validation: float) -> None:
        """Append a point."""
        self.games.append(games)
        self.training.append(training)
        self.validation.append(validation)


@dataclass(frozen=True)
class Trained:
    """What training gave."""

    policy: ResidualPolicy
    kept: str
    """"untrained", "channel" or "residual": what validation decided for."""
    validation: dict[str, float]
    """Win rate of each of the three on the validation games."""
    curve: Curve


def train_residual(
    environment: Environment,
    start: ResidualPolicy,
    settings: ResidualSettings | None = None,
    *,
    families: np.ndarray | None = None,
) -> Trained:
    """Train from ``start`` (which stays as it is).

    Args:
        environment: where the games come from; its table is the policy's.
        start: the Bayesian questioner with the assumed noise.
        settings: see ``ResidualSettings``.
        families: int [Q], questions whose noise is alike; one family by default.

    Returns:
        The kept policy, the validation figures and the curve. Cost: games * rounds products [N] x [N, Q], twice.
    """
    settings = settings or ResidualSettings()
    torch = require("torch", extra="llm")
    policy, transcripts = start.copy(), Transcripts(start.theta)
    for parameter in policy.parameters():
        parameter.requires_grad_(True)
    optimizer = torch.optim.Adam(policy.parameters(), lr=settings.lr)
    baseline, curve, recent = _Baseline(settings.rounds), Curve(), []
    watched = environment.games(min(settings.validation, 500), seed=settings.seed + 90_001)
    curve.add(0, float("nan"), _win_rate(start, watched, settings))
    steps = -(-settings.games // settings.batch)
    for step in tqdm(range(steps), desc="residual policy", disable=not settings.progress):
        games = environment.games(settings.batch, seed=settings.seed * 7919 + step)
        rollout = _rollout(policy, games, settings, seed=settings.seed * 7919 + step)
        transcripts.add(*(part.cpu().numpy() for part in (games.truth, rollout.questions, rollout.answers)))
        recent.append(float(rollout.won.float().mean()))
        if settings.lr > 0.0:
            _reinforce(rollout, baseline, optimizer)
        if step in (1, 3) or step % settings.curve_every == settings.curve_every - 1 or step == steps - 1:
            policy.set_channel(fit_channel(transcripts, start.channel, families))
            now = _win_rate(policy, watched, settings)
            curve.add((step + 1) * settings.batch, sum(recent) / len(recent), now)
            recent.clear()
    for parameter in policy.parameters():
        parameter.requires_grad_(False)
    kept, figures, best = _decide(environment, start, policy, settings)
    curve.lines = {"greedy gain, assumed noise": curve.validation[0]}
    return Trained(best, kept, figures, curve)


@dataclass
class _Rollout:
    questions: torch.Tensor
    answers: torch.Tensor
    won: torch.Tensor
    log_chosen: torch.Tensor
    """[G, T], carries the gradient."""
    features: torch.Tensor
    """[T, G, F]: what the baseline sees before each question."""


def _rollout(policy: ResidualPolicy, games: Games, settings: ResidualSettings, *, seed: int) -> _Rollout:
    """Play with sampled questions and keep the graph of their log-probabilities."""
    player, noted = _Sampler(policy, games.truth, seed), settings.free_guess
    played = play(player, games, rounds=settings.rounds, free_guess=noted, objects=policy.size[0])
    torch = require("torch", extra="llm")
    chosen, features = torch.stack(player.log_chosen, 1), torch.stack(player.features)
    return _Rollout(played.questions, played.answers, played.won_round > 0, chosen, features)


class _Sampler(ResidualPlayer):
    def __init__(self, policy: ResidualPolicy, truth: torch.Tensor, seed: int) -> None:
        super().__init__(policy, sample_seed=seed)
        self.truth, self.log_chosen, self.features = truth, [], []

    def ask(self, asked: torch.Tensor) -> torch.Tensor:
        torch = require("torch", extra="llm")
        with torch.no_grad():
            gain = self.policy.gain(self.belief)
        spent = asked.clone()  # the mask changes in place, the graph needs it as it was
        log_policy = self.policy.scores(self.belief, spent, gain).log_softmax(1)
        question = log_policy.detach().exp().multinomial(1, generator=self._generator)
        self.log_chosen.append(log_policy.gather(1, question)[:, 0])
        self.features.append(_features(self.belief, self.truth))
        return question[:, 0]


def _features(belief: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """[G, 5]: what is known before a question. It may look at the truth; only at the action a baseline must not."""
    torch = require("torch", extra="llm")
    log_true = belief.gather(1, truth[:, None])[:, 0].clamp_min(-20.0)
    p = belief.exp()
    entropy = -(p * belief.clamp_min(-50.0)).sum(1)
    return torch.stack([torch.ones_like(log_true), log_true, log_true**2 / 10.0, entropy, p.amax(1)], dim=1)


class _Baseline:
    """Expected result from the features, one least-squares fit a round, learned from the batches before."""

    def __init__(self, rounds: int) -> None:
        self.moments: list[tuple[torch.Tensor, torch.Tensor] | None] = [None] * rounds

    def advantage(self, features: torch.Tensor, won: torch.Tensor) -> torch.Tensor:
        """Result minus what was expected, [G, T]; then learn from this batch."""
        torch = require("torch", extra="llm")
        columns = []
        for number, x in enumerate(features):
            old = self.moments[number]
            if old is None:
                expected = won.mean().expand_as(won)
            else:
                expected = x @ torch.linalg.solve(old[0] + 1e-2 * torch.eye(x.shape[1], device=x.device), old[1])
            columns.append(won - expected)
            square, cross = x.T @ x / len(x), x.T @ won / len(x)
            self.moments[number] = (square, cross) if old is None else (old[0] + square, old[1] + cross)
        return torch.stack(columns, dim=1)


def _reinforce(rollout: _Rollout, baseline: _Baseline, optimizer: torch.optim.Optimizer) -> None:
    advantage = baseline.advantage(rollout.features, rollout.won.float())
    loss = -(rollout.log_chosen * advantage).sum(1).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def wins(policy: ResidualPolicy, games: Games, settings: ResidualSettings) -> np.ndarray:
    """Return which games the greedy policy wins, bool [G]."""
    played = play(
        ResidualPlayer(policy), games, rounds=settings.rounds, free_guess=settings.free_guess, objects=policy.size[0]
    )
    return (played.won_round > 0).cpu().numpy()


def _win_rate(policy: ResidualPolicy, games: Games, settings: ResidualSettings) -> float:
    return float(wins(policy, games, settings).mean())


def _decide(
    environment: Environment, start: ResidualPolicy, policy: ResidualPolicy, settings: ResidualSettings
) -> tuple[str, dict[str, float], ResidualPolicy]:
    """Let the three candidates play the same fresh games; the simplest wins unless another is clearly better."""
    candidates = {"untrained": start, "channel": policy.without_residual(), "residual": policy}
    if settings.lr == 0.0:
        del candidates["residual"]
    won: dict[str, list[np.ndarray]] = {name: [] for name in candidates}
    for games in environment.batches(settings.validation, seed=settings.seed + 70_001, batch=500):
        for name, candidate in candidates.items():
            won[name].append(wins(candidate, games, settings))
    results = {name: np.concatenate(parts).astype(np.float64) for name, parts in won.items()}
    kept = "untrained"
    for name in list(candidates)[1:]:
        difference = results[name] - results[kept]
        if difference.mean() > 2.0 * difference.std() / len(difference) ** 0.5:
            kept = name
    return kept, {name: float(result.mean()) for name, result in results.items()}, candidates[kept].copy()
