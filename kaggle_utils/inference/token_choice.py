"""The next token of each row, from its logits.

It promises transformers' order and arithmetic: float32, repetition penalty over prompt and reply, forbidden strings,
temperature, top-p. A row's random numbers depend on its own key and the seed alone, never on the rows beside it. It
does not know when a row ends.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from kaggle_utils._optional import require
from kaggle_utils.chat.generator import GenerationSettings
from kaggle_utils.inference.decoding_row import DecodingRow
from kaggle_utils.inference.forbidden import ForbiddenStrings

if TYPE_CHECKING:
    import torch

__all__ = ["TokenChoice"]


class TokenChoice:
    """Chooses for the rows of one call; a row is known by its place in the batch."""

    def __init__(
        self,
        settings: GenerationSettings,
        *,
        forbidden: ForbiddenStrings | None = None,
        more: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        """``more`` is a transformers logits processor, called a row at a time between penalty and forbidden strings."""
        self.settings, self.forbidden, self.more = settings, forbidden, more
        self._seed = os.urandom(16) if settings.seed is None else str(settings.seed).encode()
        self._seen: torch.Tensor | None = None

    def begin(self, slots: int) -> None:
        """Make room for ``slots`` rows; whatever was known of rows before is forgotten."""
        self._slots, self._seen = slots, None

    def admit(self, place: int, row: DecodingRow, logits: torch.Tensor) -> None:
        """Remember a row's tokens: a byte a token of the vocabulary, and only where the penalty needs it."""
        if self.settings.repetition_penalty == 1:
            return
        torch = require("torch", extra="llm")
        if self._seen is None:
            self._seen = torch.zeros(self._slots, logits.shape[-1], dtype=torch.bool, device=logits.device)
        self._seen[place] = False
        self._seen[place, torch.tensor([*row.prompt, *row.new], device=logits.device)] = True

    def move(self, source: int, target: int) -> None:
        """Give one row's place to another."""
        if self._seen is not None and source != target:
            self._seen[target] = self._seen[source]

    def next(self, logits: torch.Tensor, rows: Sequence[DecodingRow], places: Sequence[int]) -> list[int]:
        """Return one token a row; logits [rows, vocabulary] in any float type, left as they are.

        Raises:
            FloatingPointError: logits that are not numbers.
        """
        torch = require("torch", extra="llm")
        plain = self.settings.repetition_penalty == 1 and self.forbidden is None and self.more is None
        scores = logits if plain and self.settings.temperature == 0 else logits.to(torch.float32, copy=True)
        where = torch.tensor(places, device=scores.device)
        if self._seen is not None:
            penalty = self.settings.repetition_penalty
            penalised = torch.where(scores < 0, scores * penalty, scores / penalty)
            scores = torch.where(self._seen[where], penalised, scores)
        if self.more is not None:
            scores = torch.cat([self._apply_more(row, scores[i : i + 1]) for i, row in enumerate(rows)])
        if self.forbidden is not None:
            states = [row.forbidden_state for row in rows]
            scores = self.forbidden.forbid(scores, states, [row.new for row in rows])
        best, tokens = scores.max(dim=-1)
        if self.settings.temperature > 0:
            tokens = self._sample(scores, rows)
        if self._seen is not None:
            self._seen[where, tokens] = True
        if best.isnan().any().item():
            raise FloatingPointError(
                "the logits are not numbers: the model overflows in its dtype; load it with dtype='float32', or "
                "'bfloat16' on a GPU that has it"
            )
        return tokens.tolist()

    def _apply_more(self, row: DecodingRow, scores: torch.Tensor) -> torch.Tensor:
        torch = require("torch", extra="llm")
        return self.more(torch.tensor([[*row.prompt, *row.new]], device=scores.device), scores)

    def _sample(self, scores: torch.Tensor, rows: Sequence[DecodingRow]) -> torch.Tensor:
        """Where the cumulative probability of the sorted tokens passes the row's random number."""
        torch = require("torch", extra="llm")
        draws = torch.tensor([self._draw(row) for row in rows], dtype=torch.float64, device=scores.device)[:, None]
        probabilities, order = (scores / self.settings.temperature).softmax(dim=-1).sort(dim=-1, descending=True)
        probabilities = probabilities.double()
        before = probabilities.cumsum(dim=-1) - probabilities
        # As transformers: the likeliest tokens until top_p is reached, the one that reaches it included.
        probabilities = torch.where(before < self.settings.top_p, probabilities, 0.0)
        reached = probabilities.cumsum(dim=-1)
        chosen = (reached <= draws * reached[:, -1:]).sum(dim=-1, keepdim=True)
        last = (probabilities > 0).sum(dim=-1, keepdim=True) - 1
        return order.gather(1, torch.minimum(chosen, last))[:, 0]

    def _draw(self, row: DecodingRow) -> float:
        """A number in [0, 1) of the row's own; a row that starts again goes on where it was."""
        if row.random is None:
            digest = hashlib.sha256(self._seed + b"|" + row.key).digest()
            row.random = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
        return float(row.random.random())
