"""transformers' Trainer without a walk over all modules in every step."""

from __future__ import annotations

from functools import cache
from typing import Any

from kaggle_utils._optional import require

__all__ = ["lean_trainer_class"]


@cache
def lean_trainer_class() -> type:
    """The base class of our Trainers, made on first use, because importing transformers takes seconds."""

    class LeanTrainer(require("transformers", extra="llm").Trainer):
        _weights: int | None = None

        def floating_point_ops(self, inputs: dict[str, Any]) -> int:
            """The same number; transformers counts the weights anew in each step, which takes Python milliseconds."""
            if self._weights is None:
                self._weights = self.model.num_parameters(exclude_embeddings=True)
            return 6 * inputs["input_ids"].numel() * self._weights

    return LeanTrainer
