"""transformers' Trainer, without counting the weights anew in every step."""

from __future__ import annotations

from functools import cache
from typing import Any

from kaggle_utils._optional import require

__all__ = ["lean_trainer_class"]


@cache
def lean_trainer_class() -> type:
    """The base class of our Trainers, made on first use, because importing transformers takes seconds."""

    class LeanTrainer(require("transformers", extra="llm").Trainer):
        _each: int | None = None

        def floating_point_ops(self, inputs: dict[str, Any]) -> int:
            """The number that transformers gives; counting takes it milliseconds of Python."""
            tokens = inputs["input_ids"].numel()
            if self._each is None:
                self._each = super().floating_point_ops(inputs) // tokens
            return self._each * tokens

    return LeanTrainer
