"""The questioner of Hu et al. 2018 (EMNLP D18-1361), over a batch of games.

A table of P(yes), P(no) and P(unknown); a confidence vector that they multiply; a policy of one linear layer from the
confidences to the questions, a softmax over those not asked; one linear layer each for the value and for the
RewardNet. Taken from the paper and its public code (Q20-DeepRL), with that code's one clear defect mended: there the
stored states of an episode were all one array, updated in place, so every step was trained on the last state. Here
each step keeps its own state. "Unknown" stays evidence, as in the paper: that is part of what is measured.

``hu2018_training`` trains it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from kaggle_utils._optional import require
from kaggle_utils.q20.policy.environment import Games
from kaggle_utils.q20.policy.noise import NO, UNSURE, YES

if TYPE_CHECKING:
    import torch

__all__ = ["PaperEnvironment", "PaperPlayer", "PaperPolicy", "PaperTable", "RewardNet", "RewardNetKind"]

RewardNetKind = Literal["none", "plain", "object"]

_LEAST = 1e-30  # of a confidence: evidence can still bring an object back, in float32


@dataclass(frozen=True)
class PaperTable:
    """P(yes) and P(no) of each object and question; the rest is P(unknown)."""

    right: np.ndarray
    """float32 [N, Q]."""
    wrong: np.ndarray
    """float32 [N, Q]."""

    def __post_init__(self) -> None:
        if self.right.shape != self.wrong.shape or self.right.ndim != 2:
            raise ValueError(f"two tables [N, Q] expected, got {self.right.shape} and {self.wrong.shape}")
        if min(self.right.min(), self.wrong.min()) < 0.0 or (self.right + self.wrong).max() > 1.0 + 1e-5:
            raise ValueError("P(yes) and P(no) are at least 0 and their sum is at most 1")

    @classmethod
    def from_theta(cls, theta: np.ndarray, *, unknown: float = 0.4, floor: float = 0.004) -> PaperTable:
        """Make the paper's table from P(yes) [N, Q].

        Args:
            theta: P(yes) where yes and no are the only answers.
            unknown: P(unknown) where theta is .5; it falls as 4 * theta * (1 - theta), as in the paper's click counts.
            floor: least probability of any answer: the paper's table holds no 0.
        """
        theta = np.asarray(theta, dtype=np.float32)
        silent = unknown * 4.0 * theta * (1.0 - theta)
        parts = np.stack([theta * (1.0 - silent), (1.0 - theta) * (1.0 - silent), silent]) * (1.0 - 3.0 * floor) + floor
        return cls(parts[0].astype(np.float32), parts[1].astype(np.float32))

    @property
    def unknown(self) -> np.ndarray:
        """P(unknown), float32 [N, Q]."""
        return 1.0 - self.right - self.wrong

    @property
    def usual(self) -> np.ndarray:
        """The most probable answer of each cell, int8 [N, Q]: what the paper's simulated user says."""
        best = np.stack([self.right, self.wrong, self.unknown]).argmax(0)
        return np.array([YES, NO, UNSURE], dtype=np.int8)[best]

    @property
    def weak(self) -> np.ndarray:
        """Cells in which no answer has more than .5, bool [N, Q]."""
        return np.maximum(np.maximum(self.right, self.wrong), self.unknown) <= 0.5


@dataclass(frozen=True)
class PaperEnvironment:
    """The paper's simulated user: the most probable answer, with noise.

    ``erase`` is the paper's noise (the answer becomes "unknown"), ``flip_weak`` its variant (yes and no change places,
    in weak cells only), ``flip`` the harder one that the real game has (they change places anywhere).
    """

    table: PaperTable
    erase: float = 0.0
    flip_weak: float = 0.0
    flip: float = 0.0
    prior: np.ndarray | None = None
    """float [N], uniform by default."""
    device: str = "cpu"

    def games(self, count: int, *, seed: int) -> Games:
        """Draw games and all their answers; the same ``seed`` gives the same games."""
        torch = require("torch", extra="llm")
        objects, questions = self.table.right.shape
        rng = np.random.default_rng([seed, 13])
        truth = rng.choice(objects, size=count, p=self.prior)
        answers = self.table.usual[truth]
        draw = rng.random((3, count, questions), dtype=np.float32)
        turned = (draw[0] < self.flip) ^ ((draw[1] < self.flip_weak) & self.table.weak[truth])
        turned &= answers != UNSURE
        answers = np.where(turned, 1 - answers, answers)
        answers = np.where(draw[2] < self.erase, UNSURE, answers).astype(np.int8)
        return Games(torch.as_tensor(truth, device=self.device), torch.as_tensor(answers, device=self.device))


class PaperPolicy:
    """The policy and value networks, and the confidence update.

    Args:
        table: of the game.
        prior: initial confidences [N], uniform by default.
        scale: "confidence" feeds the confidences as they are (the paper), "objects" feeds them times N, so that their
            mean is 1: the same functions, learned many times faster with the same Adam rates.
    """

    def __init__(
        self,
        table: PaperTable,
        *,
        prior: np.ndarray | None = None,
        scale: Literal["confidence", "objects"] = "confidence",
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        torch = require("torch", extra="llm")
        if scale not in ("confidence", "objects"):
            raise ValueError(f"unknown scale {scale!r}; expected 'confidence' or 'objects'")
        self.table, self.scale, self.device = table, scale, device
        objects, questions = table.right.shape
        start = np.full(objects, 1.0 / objects) if prior is None else np.asarray(prior) / np.sum(prior)
        self.prior = torch.as_tensor(start, dtype=torch.float32, device=device)
        evidence = np.stack([table.unknown, table.wrong, table.right]).transpose(0, 2, 1)  # rows of answers -1, 0, 1
        self._evidence = torch.as_tensor(np.ascontiguousarray(evidence), device=device)
        generator = torch.Generator().manual_seed(seed)
        self.policy = _linear(objects, questions, generator, device)
        self.value = _linear(objects, 1, generator, device)

    @property
    def size(self) -> tuple[int, int]:
        """Objects and questions."""
        return self.table.right.shape

    def begin(self, games: int) -> torch.Tensor:
        """Return the confidences before any answer, float32 [games, N]."""
        return self.prior.expand(games, -1).clone()

    def update(self, confidence: torch.Tensor, question: torch.Tensor, answer: torch.Tensor) -> torch.Tensor:
        """Return new confidences after answers int8 [G] to questions int64 [G]; "unknown" counts as evidence."""
        product = (confidence * self._evidence[answer.long() + 1, question]).clamp_min(_LEAST)
        return product / product.sum(1, keepdim=True)

    def seen(self, confidence: torch.Tensor) -> torch.Tensor:
        """Return what the networks see of ``confidence``."""
        return confidence * self.size[0] if self.scale == "objects" else confidence

    def log_policy(self, confidence: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
        """Return log-probabilities of the questions, float32 [G, Q]; -inf for those asked."""
        weight, bias = self.policy
        return (self.seen(confidence) @ weight + bias).masked_fill(asked, float("-inf")).log_softmax(1)

    def values(self, confidence: torch.Tensor) -> torch.Tensor:
        """Return the expected return, float32 [G]."""
        weight, bias = self.value
        return (self.seen(confidence) @ weight + bias)[:, 0]


class RewardNet:
    """A guess of the return from one step, taken as that step's reward: sigmoid of one linear layer.

    "plain" sees the confidences and the question, "object" the true object too (object-aware). One-hot inputs are
    columns of weights here.
    """

    def __init__(self, policy: PaperPolicy, *, kind: RewardNetKind, seed: int = 1) -> None:
        torch = require("torch", extra="llm")
        if kind not in ("plain", "object"):
            raise ValueError(f"unknown RewardNet {kind!r}; expected 'plain' or 'object'")
        objects, questions = policy.size
        generator = torch.Generator().manual_seed(seed)
        width = objects + questions + (objects if kind == "object" else 0)
        self.seen, self.state = policy.seen, _linear(objects, 1, generator, policy.device, width=width)
        self.question = _linear(questions, 1, generator, policy.device, width=width)[0]
        self.object = _linear(objects, 1, generator, policy.device, width=width)[0] if kind == "object" else None

    def parameters(self) -> list[torch.Tensor]:
        """All weights."""
        return [*self.state, self.question, *([] if self.object is None else [self.object])]

    def __call__(self, confidence: torch.Tensor, question: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Return the reward, float32 [G] in (0, 1), of asking ``question`` int64 [G] in this state."""
        logit = (self.seen(confidence) @ self.state[0] + self.state[1])[:, 0] + self.question[question, 0]
        return (logit if self.object is None else logit + self.object[truth, 0]).sigmoid()


class PaperPlayer:
    """Plays a ``PaperPolicy``: questions sampled from it, as in the paper also in tests, or its best ones."""

    def __init__(self, policy: PaperPolicy, *, greedy: bool = False, seed: int = 0) -> None:
        self.policy, self.greedy, self.seed = policy, greedy, seed

    def start(self, games: int) -> None:
        """Begin new games."""
        torch = require("torch", extra="llm")
        self.confidence = self.policy.begin(games)
        self._generator = torch.Generator(self.policy.device).manual_seed(self.seed)

    def ask(self, asked: torch.Tensor) -> torch.Tensor:
        """Return the question of each game."""
        torch = require("torch", extra="llm")
        with torch.no_grad():
            scores = self.policy.log_policy(self.confidence, asked)
        return scores.argmax(1) if self.greedy else scores.exp().multinomial(1, generator=self._generator)[:, 0]

    def hear(self, question: torch.Tensor, answer: torch.Tensor) -> None:
        """Update the confidences."""
        self.confidence = self.policy.update(self.confidence, question, answer)

    def guess(self, wrong: torch.Tensor) -> torch.Tensor:
        """Return the object of the highest confidence that is not known to be wrong."""
        return self.confidence.masked_fill(wrong, -1.0).argmax(1)


def _linear(
    inputs: int, outputs: int, generator: torch.Generator, device: str, *, width: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight [inputs, outputs] and bias, drawn as torch's own Linear draws them (``width`` inputs in all)."""
    torch = require("torch", extra="llm")
    bound = (width or inputs) ** -0.5
    weight = (torch.rand(inputs, outputs, generator=generator) * 2.0 - 1.0) * bound
    bias = (torch.rand(outputs, generator=generator) * 2.0 - 1.0) * bound
    return weight.to(device), bias.to(device)
