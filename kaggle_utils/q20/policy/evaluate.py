"""Compare learned questioners with those that learn nothing, on the same games, with confidence intervals.

``compare_residual`` and ``compare_paper`` train and measure; benchmarks and notebooks call them. Training, validation
and measurement use different games, and for persistent noise different answerers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from kaggle_utils.q20.knowledge.levels import encode
from kaggle_utils.q20.knowledge.table import KnowledgeTable
from kaggle_utils.q20.policy.channel import AnswerChannel
from kaggle_utils.q20.policy.elimination import EliminationPlayer
from kaggle_utils.q20.policy.engine import EnginePlayer
from kaggle_utils.q20.policy.environment import Environment, Games, Player, play
from kaggle_utils.q20.policy.hu2018 import PaperEnvironment, PaperPlayer, PaperPolicy, PaperTable
from kaggle_utils.q20.policy.hu2018_training import PaperSettings, train_paper
from kaggle_utils.q20.policy.intervals import paired_interval, wilson_interval
from kaggle_utils.q20.policy.noise import CELLS, AnswerModel, Noise
from kaggle_utils.q20.policy.residual import ResidualPlayer, ResidualPolicy
from kaggle_utils.q20.policy.training import Curve, ResidualSettings, Trained, train_residual

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["PAPER_NOISES", "Comparison", "compare_paper", "compare_residual"]

PAPER_NOISES: dict[str, dict[str, float]] = {
    "perfect": {},
    "flip_05": {"flip": 0.05},
    "flip_10": {"flip": 0.10},
    "flip_20": {"flip": 0.20},
    "erase_14": {"erase": 0.14},
    "flip_weak_20": {"flip_weak": 0.20},
}
"""Noise on the paper's simulated user: everywhere, as "unknown" (its own, up to .14), and in weak cells only."""


@dataclass(frozen=True)
class Comparison:
    """One cell: several players on the same games."""

    cell: str
    games: int
    rates: dict[str, float]
    """Win rate of each player."""
    intervals: dict[str, tuple[float, float]]
    """Their 95 % intervals."""
    difference: float
    """Win rate of the learned player minus that of the baseline, on the same games."""
    difference_interval: tuple[float, float]
    kept: str = ""
    """What validation decided for: "untrained", "channel" or "residual"."""
    curve: Curve | None = field(default=None, repr=False, compare=False)
    policy: object = field(default=None, repr=False, compare=False)
    """The trained policy."""

    def row(self) -> dict[str, float | str]:
        """Return the figures as one flat row for a table or JSON.

        >>> Comparison("x", 10, {"eig": 0.5}, {"eig": (0.2, 0.8)}, 0.0, (0.0, 0.0)).row()["eig_high"]
        0.8
        """
        row: dict[str, float | str] = {"cell": self.cell, "games": self.games}
        for name, rate in self.rates.items():
            row |= {name: rate, f"{name}_low": self.intervals[name][0], f"{name}_high": self.intervals[name][1]}
        low, high = self.difference_interval
        return {**row, "difference": self.difference, "difference_low": low, "difference_high": high, "kept": self.kept}


def compare_residual(
    table: KnowledgeTable | np.ndarray,
    *,
    cells: Mapping[str, Noise] = CELLS,
    games: int = 10_000,
    settings: ResidualSettings | None = None,
    lexical: np.ndarray | None = None,
    prior: np.ndarray | None = None,
    engine: bool = False,
    rank: int = 8,
    seed: int = 0,
    batch: int = 500,
    device: str = "cpu",
) -> list[Comparison]:
    """Train a residual policy in each cell and let it play against greedy information gain.

    The baseline ("eig") knows the answerer's mean error rate, and takes all questions for alike; so does the policy
    before its training ("residual" after it). Its questions' families are lexical and semantic.

    Args:
        table: P(yes); except in ``soft`` cells its more probable side is the truth, and all that the players know.
        cells: the answerers.
        games: measured games of each cell.
        settings: of the training; ``settings.free_guess`` and ``rounds`` hold for the measurement too.
        lexical: bool [Q], for a bare matrix.
        prior: float [N], uniform by default (also for a ``KnowledgeTable``).
        engine: let the package's ``BatchQuestioner``, not told the noise, play too; needs a ``KnowledgeTable``.
        rank: see ``ResidualPolicy``.

    Returns:
        One comparison a cell. Cost of a cell: about (settings.games + 2 * settings.validation + 2 * games) games of
        rounds * 4 * N * Q operations.
    """
    settings = settings or ResidualSettings(seed=seed)
    known = isinstance(table, KnowledgeTable)
    if engine and not known:
        raise ValueError("engine=True needs a KnowledgeTable; a bare matrix has no questions to mask")
    theta = np.asarray(table.theta if known else table, dtype=np.float32)
    lexical = np.asarray(
        table.bank.lexical if known else np.zeros(theta.shape[1], bool) if lexical is None else lexical
    )
    found = []
    for name, noise in cells.items():
        truth = theta if noise.soft else (theta > 0.5).astype(np.float32)
        model = AnswerModel(truth, noise, lexical, world=seed, device=device)
        environment = Environment(model, prior)
        channel = AnswerChannel.even(theta.shape[1], flip=model.mean_error, unsure=model.mean_unsure)
        start = ResidualPolicy(truth, prior=prior, channel=channel, rank=rank, seed=seed, device=device)
        trained = train_residual(environment, start, settings, families=lexical.astype(np.int64))
        players: dict[str, Player] = {"eig": ResidualPlayer(start)}
        if trained.kept != "untrained":  # else it is the same player: not worth playing twice
            players["residual"] = ResidualPlayer(trained.policy)
        if engine:
            sure = KnowledgeTable(table.objects, table.bank, encode(truth[:, ~lexical]))
            players["engine"] = EnginePlayer(sure, prior=prior, free_guess=settings.free_guess)
        batches = environment.batches(games, seed=seed + 50_001, held_out=True, batch=batch)
        won = _won(players, batches, theta.shape[0], rounds=settings.rounds, free_guess=settings.free_guess)
        won = {"eig": won["eig"], "residual": won.get("residual", won["eig"]), **won}
        found.append(_comparison(name, won, "eig", "residual", trained))
    return found


def compare_paper(
    table: KnowledgeTable | np.ndarray,
    *,
    noises: Mapping[str, Mapping[str, float]] = PAPER_NOISES,
    games: int = 10_000,
    settings: PaperSettings | None = None,
    train_noise: Mapping[str, float] | None = None,
    scale: str = "objects",
    unknown: float = 0.4,
    prior: np.ndarray | None = None,
    seed: int = 0,
    batch: int = 500,
    device: str = "cpu",
) -> list[Comparison]:
    """Train the paper's policy once and let it play against hard elimination (and greedy gain) under every noise.

    Players: "paper" (questions sampled, as in the paper), "paper_greedy", "untrained" (the paper's belief with random
    questions), "elimination" and "eig" (the Bayesian questioner, told the flip rate; "unknown" tells it nothing).

    Args:
        table: P(yes); ``PaperTable.from_theta`` makes the paper's table of it.
        noises: keyword arguments of ``PaperEnvironment``.
        train_noise: of the training; none by default, as in the paper.
        scale: see ``PaperPolicy``; "confidence" is the paper's own and learns more slowly.
        unknown: see ``PaperTable.from_theta``.

    Returns:
        One comparison a noise, difference = paper minus elimination; the curve is that of the one training.
    """
    theta = np.asarray(table.theta if isinstance(table, KnowledgeTable) else table, dtype=np.float32)
    paper = PaperTable.from_theta(theta, unknown=unknown)
    policy = PaperPolicy(paper, prior=prior, scale=scale, seed=seed, device=device)
    untrained = PaperPolicy(paper, prior=prior, scale=scale, seed=seed + 1, device=device)
    training = PaperEnvironment(paper, prior=prior, device=device, **(train_noise or {}))
    policy, curve = train_paper(training, policy, settings or PaperSettings(seed=seed))
    truth, found = (paper.right > paper.wrong).astype(np.float32), []
    for name, noise in noises.items():
        environment = PaperEnvironment(paper, prior=prior, device=device, **noise)
        channel = AnswerChannel.even(theta.shape[1], flip=max(noise.get("flip", 0.0), noise.get("flip_weak", 0.0)))
        players: dict[str, Player] = {
            "paper": PaperPlayer(policy, seed=seed),
            "paper_greedy": PaperPlayer(policy, greedy=True),
            "untrained": PaperPlayer(untrained, seed=seed),
            "elimination": EliminationPlayer(truth, prior=prior, known=paper.usual >= 0, device=device),
            "eig": ResidualPlayer(ResidualPolicy(truth, prior=prior, channel=channel, rank=0, device=device)),
        }
        batches = (
            environment.games(min(batch, games - start), seed=(seed + 1) * 100_003 + start // batch)
            for start in range(0, games, batch)
        )
        won = _won(players, batches, theta.shape[0], rounds=(settings or PaperSettings()).rounds, free_guess=False)
        found.append(_comparison(name, won, "elimination", "paper", None, curve=curve, policy=policy))
    return found


def _won(
    players: Mapping[str, Player], batches: Iterable[Games], objects: int, *, rounds: int, free_guess: bool
) -> dict[str, np.ndarray]:
    """Which games each player wins, bool [G]; all play the same ones."""
    won: dict[str, list[np.ndarray]] = {name: [] for name in players}
    for games in batches:
        for name, player in players.items():
            played = play(player, games, rounds=rounds, free_guess=free_guess, objects=objects)
            won[name].append((played.won_round > 0).cpu().numpy())
    return {name: np.concatenate(parts) for name, parts in won.items()}


def _comparison(
    cell: str,
    won: Mapping[str, np.ndarray],
    baseline: str,
    learned: str,
    trained: Trained | None,
    *,
    curve: Curve | None = None,
    policy: object = None,
) -> Comparison:
    mean, low, high = paired_interval(won[baseline], won[learned])
    if trained is not None:
        curve, policy = trained.curve, trained.policy
    return Comparison(
        cell=cell,
        games=len(won[baseline]),
        rates={name: float(part.mean()) for name, part in won.items()},
        intervals={name: wilson_interval(int(part.sum()), len(part)) for name, part in won.items()},
        difference=mean,
        difference_interval=(low, high),
        kept="" if trained is None else trained.kept,
        curve=curve,
        policy=policy,
    )
