"""The questioner without doubt: the question that splits the remaining objects best, and every contradiction is final.

The usual engineering baseline, to compare with: it plays perfectly against a perfect answerer, and one wrong answer
loses the game (where nobody is left, it goes on with everybody).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kaggle_utils._optional import require

if TYPE_CHECKING:
    import torch

__all__ = ["EliminationPlayer"]


class EliminationPlayer:
    """Hard elimination with greedy entropy (see ``environment.Player``).

    Args:
        yes: which answer is right, bool [N, Q]; or P(yes), whose more probable side counts.
        prior: weights of the objects [N], uniform by default.
        known: cells in which the answer is expected to be yes or no, bool [N, Q]; others survive any answer.
    """

    def __init__(
        self,
        yes: np.ndarray,
        *,
        prior: np.ndarray | None = None,
        known: np.ndarray | None = None,
        device: str = "cpu",
    ) -> None:
        torch = require("torch", extra="llm")
        side = np.asarray(yes) > 0.5
        known = np.ones_like(side) if known is None else known
        self._allows = [torch.as_tensor((side == answer) | ~known, device=device).T.contiguous() for answer in (0, 1)]
        weights = np.ones(len(side)) if prior is None else np.asarray(prior)
        self._prior = torch.as_tensor(weights / weights.sum(), dtype=torch.float32, device=device)
        self._yes = torch.as_tensor(np.where(known, side, 0.5), dtype=torch.float32, device=device)

    def start(self, games: int) -> None:
        """Begin new games."""
        torch = require("torch", extra="llm")
        self.left = torch.ones(games, len(self._prior), dtype=torch.bool, device=self._prior.device)

    def ask(self, asked: torch.Tensor) -> torch.Tensor:
        """Return the question whose expected answer is nearest to even."""
        mass = self.left * self._prior
        share = (mass @ self._yes) / mass.sum(1, keepdim=True).clamp_min(1e-30)
        return (share - 0.5).abs().masked_fill(asked, 2.0).argmin(1)

    def hear(self, question: torch.Tensor, answer: torch.Tensor) -> None:
        """Strike out what contradicts the answer; "unsure" strikes nothing."""
        torch = require("torch", extra="llm")
        allows = torch.where(answer[:, None] == 1, self._allows[1][question], self._allows[0][question])
        left = self.left & (allows | (answer[:, None] < 0))
        self.left = torch.where(left.any(1, keepdim=True), left, torch.ones_like(left))

    def guess(self, wrong: torch.Tensor) -> torch.Tensor:
        """Return the most probable object that is left."""
        self.left = self.left & ~wrong
        mass = (self.left * self._prior).masked_fill(wrong, -1.0)
        return (mass + 1e-9 * self._prior * ~wrong).argmax(1)
