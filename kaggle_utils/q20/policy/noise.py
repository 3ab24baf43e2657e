"""How a simulated answerer errs: wrong answers, "unsure", a bias, errors that stick to a cell.

A ``Noise`` describes a kind of answerer; ``AnswerModel`` binds it to a table and draws whole rows of answers, so that
the same game can be played by several questioners with the same luck. It knows nothing of questioners.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from kaggle_utils._optional import require

if TYPE_CHECKING:
    import torch

__all__ = ["CELLS", "NO", "UNSURE", "YES", "AnswerModel", "Noise"]

YES, NO, UNSURE = 1, 0, -1
"""Answers as int8; ``UNSURE`` tells nothing."""

_WORST = 0.49  # a question that errs as often as a coin tells nothing; beyond it one would learn to invert it


@dataclass(frozen=True)
class Noise:
    """A kind of answerer. Rates are shares of the answers, the mean over the questions."""

    flip: float = 0.0
    """Wrong answers, whichever is right."""
    false_yes: float = 0.0
    """More wrong answers where "no" is right."""
    false_no: float = 0.0
    """More wrong answers where "yes" is right."""
    unsure: float = 0.0
    """Answers that say nothing (an erasure)."""
    spread: float = 0.0
    """How much the questions differ, 0 (alike) to 1 (each always or never errs): correlation within a question."""
    lexical_flip: float | None = None
    """``flip`` of the lexical questions, where it differs."""
    persistent: bool = False
    """An answerer errs on fixed (object, question) cells: asked again, in any game, it errs again."""
    soft: bool = False
    """The right answer is drawn from the table's P(yes), instead of being its more probable side."""

    def __post_init__(self) -> None:
        rates = {n: getattr(self, n) for n in ("flip", "false_yes", "false_no", "unsure", "spread")}
        rates |= {} if self.lexical_flip is None else {"lexical_flip": self.lexical_flip}
        bad = [f"{name}={value}" for name, value in rates.items() if not 0.0 <= value < 1.0]
        if bad:
            raise ValueError(f"rates of an answerer are from 0 to below 1, got {', '.join(bad)}")

    def rates(self, lexical: np.ndarray, *, world: int = 0) -> np.ndarray:
        """Return float32 [3, Q]: P(yes | no is right), P(no | yes is right), P(unsure) of each question.

        Args:
            lexical: bool [Q].
            world: seed of the questions' differences; the same for training and evaluation.
        """
        rng = np.random.default_rng([world, 7])
        flip = np.where(lexical, self.flip if self.lexical_flip is None else self.lexical_flip, self.flip)
        flip = _spread(flip, self.spread, rng)
        false_yes = flip + _spread(np.full(len(lexical), self.false_yes), self.spread, rng)
        false_no = flip + _spread(np.full(len(lexical), self.false_no), self.spread, rng)
        unsure = _spread(np.full(len(lexical), self.unsure), self.spread, rng)
        return np.minimum(np.stack([false_yes, false_no, unsure]), [[_WORST], [_WORST], [0.95]]).astype(np.float32)


CELLS: dict[str, Noise] = {
    "perfect": Noise(),
    "flip_05": Noise(flip=0.05),
    "flip_10": Noise(flip=0.10),
    "flip_20": Noise(flip=0.20),
    "unsure_20": Noise(unsure=0.20, flip=0.05),
    "says_yes": Noise(false_yes=0.25, flip=0.01),
    "says_no": Noise(false_no=0.25, flip=0.01),
    "uneven_10": Noise(flip=0.10, spread=0.05),
    "persistent_10": Noise(flip=0.10, spread=0.05, persistent=True),
    "persistent_20": Noise(flip=0.20, spread=0.05, persistent=True),
    "persistent_no": Noise(false_no=0.20, flip=0.03, spread=0.05, persistent=True),
    "letter_blind": Noise(flip=0.05, lexical_flip=0.40),
}
"""The answerers that a policy is compared on: even noise, where there is nothing to learn, and uneven noise."""


@dataclass
class AnswerModel:
    """Answerers of one kind over one table.

    Persistent answerers number ``strangers`` for training and as many others for evaluation: the cells that they get
    wrong differ, which questions are unreliable does not.
    """

    theta: np.ndarray
    """P(yes) of right answers, [N, Q]."""
    noise: Noise
    lexical: np.ndarray | None = None
    """bool [Q]; by default no question is."""
    world: int = 0
    """Seed of the questions' differences."""
    strangers: int = 16
    device: str = "cpu"
    rates: np.ndarray = field(init=False)
    """float32 [3, Q], see ``Noise.rates``."""

    def __post_init__(self) -> None:
        self.theta = np.ascontiguousarray(self.theta, dtype=np.float32)
        if self.theta.ndim != 2 or not np.isfinite(self.theta).all():
            raise ValueError(f"a table is [objects, questions] without NaN, got shape {self.theta.shape}")
        if self.lexical is None:
            self.lexical = np.zeros(self.theta.shape[1], dtype=bool)
        if self.lexical.shape != (self.theta.shape[1],):
            raise ValueError(f"lexical has shape {self.lexical.shape}, expected ({self.theta.shape[1]},)")
        self.rates = self.noise.rates(self.lexical, world=self.world)
        self._books: dict[int, torch.Tensor] = {}

    @property
    def mean_error(self) -> float:
        """Share of wrong answers among those that say yes or no, over all cells of the table."""
        yes = self.theta if self.noise.soft else self.theta > 0.5
        return float((yes * self.rates[1] + (1.0 - yes) * self.rates[0]).mean())

    @property
    def mean_unsure(self) -> float:
        """Share of answers that say nothing."""
        return float(self.rates[2].mean())

    def answers(self, truth: torch.Tensor, *, seed: int, held_out: bool = False) -> torch.Tensor:
        """Draw the answer to every question about ``truth`` int64 [G]; int8 [G, Q], ``YES``, ``NO`` or ``UNSURE``.

        Args:
            truth: the object of each game.
            seed: same seed, same answers.
            held_out: answerers that training never met (they differ for persistent noise only).
        """
        torch = require("torch", extra="llm")
        if not self.noise.persistent:
            generator = torch.Generator(self.device).manual_seed(2 * seed + held_out)
            return self._draw(torch.as_tensor(self.theta, device=self.device)[truth], generator)
        names = np.random.default_rng([seed, held_out]).integers(0, self.strangers, size=len(truth))
        found = torch.empty((len(truth), self.theta.shape[1]), dtype=torch.int8, device=self.device)
        for name in np.unique(names):
            games = torch.as_tensor(np.flatnonzero(names == name), device=self.device)
            found[games] = self._book(int(name) + self.strangers * held_out)[truth[games]]
        return found

    def _book(self, name: int) -> torch.Tensor:
        """All answers of one persistent stranger, int8 [N, Q]."""
        torch = require("torch", extra="llm")
        if name not in self._books:
            generator = torch.Generator(self.device).manual_seed(1_000_003 * (self.world + 1) + name)
            self._books[name] = self._draw(torch.as_tensor(self.theta, device=self.device), generator)
        return self._books[name]

    def _draw(self, theta: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        torch = require("torch", extra="llm")

        def uniform() -> torch.Tensor:
            return torch.rand(theta.shape, generator=generator, device=self.device)

        false_yes, false_no, unsure = torch.as_tensor(self.rates, device=self.device)
        yes = uniform() < theta if self.noise.soft else theta > 0.5
        yes = yes ^ (uniform() < torch.where(yes, false_no, false_yes))
        return torch.where(uniform() < unsure, UNSURE, yes.to(torch.int8)).to(torch.int8)


def _spread(mean: np.ndarray, spread: float, rng: np.random.Generator) -> np.ndarray:
    """Rates with the given means; ``spread`` is the correlation of two answers to one question."""
    if spread <= 0.0:
        return mean.astype(np.float64)
    strength = 1.0 / spread - 1.0
    drawn = rng.beta(np.maximum(mean, 1e-6) * strength, (1.0 - mean) * strength)
    return np.where(mean > 0.0, drawn, 0.0)
