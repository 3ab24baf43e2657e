"""The package's own batched questioner as a player of this room's games."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kaggle_utils._optional import require
from kaggle_utils.q20.knowledge.table import KnowledgeTable
from kaggle_utils.q20.questioner.batch import BatchQuestioner

if TYPE_CHECKING:
    import torch

__all__ = ["EnginePlayer"]


class EnginePlayer:
    """``BatchQuestioner`` behind the methods of ``environment.Player``; it masks and rules out by itself.

    Args:
        table: what it knows.
        prior: [N], the table's by default is not used: uniform, as in the games.
        options: for ``BatchQuestioner``, such as ``flip`` or ``free_guess``.
    """

    def __init__(self, table: KnowledgeTable, *, prior: np.ndarray | None = None, **options: Any) -> None:
        size = len(table.objects)
        self.table, self.options = table, options
        self.prior = np.full(size, 1.0 / size) if prior is None else prior

    def start(self, games: int) -> None:
        """Begin new games."""
        options = {"free_guess": False, **self.options}
        self._questioner = BatchQuestioner(self.table, games=games, prior=self.prior, **options)

    def ask(self, asked: torch.Tensor) -> torch.Tensor:
        """Return the question of each game."""
        torch = require("torch", extra="llm")
        return torch.as_tensor(self._questioner.ask().astype(np.int64), device=asked.device)

    def hear(self, question: torch.Tensor, answer: torch.Tensor) -> None:
        """Pass the answers on."""
        self._questioner.hear(answer.cpu().numpy())

    def guess(self, wrong: torch.Tensor) -> torch.Tensor:
        """Return the best object of each game."""
        torch = require("torch", extra="llm")
        return torch.as_tensor(self._questioner.guess().astype(np.int64), device=wrong.device)
