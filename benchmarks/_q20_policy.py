"""The learned policies: the residual one beside greedy gain, the paper's beside hard elimination.

Both are trained and judged on 300 keywords and 300 questions, so that training fits into minutes; every rate is of
games that training never saw, and of persistent answerers that it never met.
"""

from __future__ import annotations

import math

import _q20_tables
import numpy as np
import torch
from tqdm.auto import tqdm

from kaggle_utils.q20.policy.channel import AnswerChannel
from kaggle_utils.q20.policy.elimination import EliminationPlayer
from kaggle_utils.q20.policy.environment import Environment, play
from kaggle_utils.q20.policy.hu2018 import PaperEnvironment, PaperPlayer, PaperPolicy, PaperTable
from kaggle_utils.q20.policy.hu2018_training import PaperSettings, train_paper
from kaggle_utils.q20.policy.noise import CELLS, AnswerModel
from kaggle_utils.q20.policy.residual import ResidualPolicy
from kaggle_utils.q20.policy.training import ResidualSettings, train_residual, wins
from kaggle_utils.q20.tournament.simulate import wilson

__all__ = ["paper", "residual"]

_OBJECTS, _QUESTIONS = 300, 300
_LEAST_SPLIT = 0.03
_BATCH = 500
_UNEVEN = ("says_yes", "says_no", "persistent_10", "persistent_20", "persistent_no")


def _small() -> tuple[np.ndarray, np.ndarray]:
    """P(yes), float32 [300, 300], and which questions are lexical: a fixed draw of keywords and questions."""
    table, random = _q20_tables.load("compact"), np.random.default_rng(0)
    objects = random.choice(len(table.objects), _OBJECTS, replace=False)
    theta = table.theta[objects]
    share = (theta >= 0.5).mean(axis=0)
    fitting = np.flatnonzero((share > _LEAST_SPLIT) & (share < 1 - _LEAST_SPLIT))
    questions = np.sort(random.choice(fitting, min(_QUESTIONS, len(fitting)), replace=False))
    return np.ascontiguousarray(theta[:, questions]), table.bank.lexical[questions]


def residual(games: int, training: int, *, free_guess: bool = False) -> tuple[dict[str, float], list[str]]:
    """Figures and lines: win rates on the same games, in points over greedy gain that assumes even noise.

    "kept" is what validation decided for: nothing learned, the channel (how often each question is answered wrongly),
    or the channel and the residual preference for questions; how many cells kept which is among the figures.
    """
    theta, lexical = _small()
    protocol = "kaggle_" if free_guess else ""
    figures, lines, settings = {}, [], ResidualSettings(free_guess=free_guess)
    kept = dict.fromkeys(("untrained", "channel", "residual"), 0)
    for name, noise in tqdm(CELLS.items(), desc=f"residual policy {protocol.strip('_')}", unit="cell"):
        model = AnswerModel(theta, noise, lexical)
        environment = Environment(model)
        even = AnswerChannel.even(theta.shape[1], flip=max(model.mean_error, 0.01), unsure=model.mean_unsure)
        start = ResidualPolicy(theta, channel=even)
        training_settings = ResidualSettings(games=training, free_guess=free_guess)
        trained = train_residual(environment, start, training_settings, families=lexical.astype(int))
        kept[trained.kept] += 1
        pairs = [
            (wins(trained.policy, batch, settings), wins(start, batch, settings))
            for batch in environment.batches(games, seed=999, held_out=True, batch=_BATCH)
        ]
        ours, theirs = (np.concatenate(column).astype(float) for column in zip(*pairs, strict=True))
        gap, error = (ours - theirs).mean(), (ours - theirs).std() / math.sqrt(len(ours))
        figures[f"residual_gap_{protocol}{name}"] = 100 * gap
        lines.append(
            f"{protocol}{name:14} greedy gain {theirs.mean():.3f}  residual {ours.mean():.3f}  "
            f"{100 * gap:+.1f} points (95 % +-{196 * error:.1f}), kept: {trained.kept}"
        )
    figures[f"residual_worst_gap_{protocol}".rstrip("_")] = min(figures[f"residual_gap_{protocol}{n}"] for n in CELLS)
    figures[f"residual_worst_gap_{protocol}uneven"] = min(figures[f"residual_gap_{protocol}{n}"] for n in _UNEVEN)
    figures |= {f"residual_kept_{protocol}{name}": count for name, count in kept.items()}
    return figures, [
        *lines,
        f"{protocol}kept: " + ", ".join(f"{name} in {count} cells" for name, count in kept.items()),
    ]


def paper(games: int, episodes: int) -> tuple[dict[str, float], list[str]]:
    """Figures and lines: the paper's policy, trained without noise as there, and elimination on the same games."""
    theta, _ = _small()
    table = PaperTable.from_theta(theta)
    policy, _ = train_paper(
        PaperEnvironment(table), PaperPolicy(table, scale="objects"), PaperSettings(episodes=episodes)
    )
    players = {
        "paper": lambda: PaperPlayer(policy),
        "elimination": lambda: EliminationPlayer(table.usual == 1, known=table.usual != -1),
    }
    figures, lines = {}, []
    for percent in (0, 5, 10, 20):
        won = dict.fromkeys(players, 0)
        for start in range(0, games, _BATCH):
            batch = PaperEnvironment(table, flip=percent / 100).games(min(_BATCH, games - start), seed=10**6 + start)
            for name, make in players.items():
                with torch.no_grad():
                    played = play(make(), batch, objects=len(theta))
                won[name] += int((played.won_round > 0).sum())
        for name, count in won.items():
            low, high = wilson(count, games)
            figures[f"{name}_win_{percent}"] = count / games
            lines.append(f"flip {percent:2} %  {name:12} {count / games:.3f} [{low:.3f}, {high:.3f}]")
    return figures, lines
