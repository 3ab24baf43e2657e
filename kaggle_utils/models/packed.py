"""Score many rows in one forward pass, without a mask and without padding where the device can.

It promises, for one pack of token rows, the logits that each row would get alone, up to rounding, pooled at the row's
last token (known by its length, never searched by pad id). It does not choose packs, order rows or survive errors:
that is the engine's work (``kaggle_utils.inference.engine``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kaggle_utils._optional import require
from kaggle_utils.models.attention import AttentionPath, choose_attention, register_attention
from kaggle_utils.models.block_mask import BLOCK, document_block_mask

if TYPE_CHECKING:
    import torch

__all__ = ["PackedClassifier", "pack_sizes"]

_LENGTH_STEP = 64  # padded rows are rounded up to this, so that a compiled layer sees few shapes


def pack_sizes(max_tokens: int) -> tuple[int, ...]:
    """The few sizes that packs are filled up to, so that compiled layers see few shapes.

    >>> pack_sizes(8192)
    (1024, 2048, 4096, 8192)
    """
    return tuple(sorted({max(BLOCK, max_tokens // part // BLOCK * BLOCK) for part in (1, 2, 4, 8)}))


class PackedClassifier:
    """A sequence classifier that scores one pack of rows at a time.

    Attributes:
        padded: rows are padded to the longest of their pack, so packs should be counted as rows x longest.
        max_tokens: largest pack; a single longer row still runs, as a pack of its own.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        *,
        path: AttentionPath | None = None,
        max_tokens: int = 8192,
        compile: bool = False,
    ) -> None:
        torch = require("torch", extra="llm")
        register_attention()
        self.model = model.eval()
        self.device = next(model.parameters()).device
        capability = torch.cuda.get_device_capability(self.device) if self.device.type == "cuda" else None
        self.path = path or choose_attention(model.config, capability=capability)
        self.max_tokens = max_tokens
        self.padded = not self.path.packed
        self._window = getattr(model.config, "sliding_window", None)
        self._masked = self.path.name == "masked"
        if not self._masked:
            model.config._attn_implementation = self.path.implementation
            model.model.config._attn_implementation = self.path.implementation
        if compile:
            self.compile()

    def compile(self) -> None:
        """Compile every decoder layer; the first pack of each size then takes seconds longer."""
        torch = require("torch", extra="llm")
        torch._dynamo.config.recompile_limit = max(64, torch._dynamo.config.recompile_limit)
        layers = self.model.base_model.encoder.layer if self._masked else self.model.model.layers
        for layer in layers:
            layer.compile(dynamic=self.padded)

    def score(self, rows: Sequence[np.ndarray]) -> np.ndarray:
        """Logits of one pack: integer arrays [length of row] -> float32 [rows, labels]."""
        return self.collect(self.launch(rows))

    def launch(self, rows: Sequence[np.ndarray]) -> torch.Tensor:
        """Start one pack; returns float32 logits [rows, labels] on the device, perhaps still being computed.

        Launch the next pack before collecting this one, and the device never waits for the host.
        """
        torch = require("torch", extra="llm")
        empty = [i for i, row in enumerate(rows) if not len(row)]
        if empty or not len(rows):
            raise ValueError(f"rows {empty} of a pack of {len(rows)} have no tokens; every row needs at least one")
        largest, vocabulary = max(int(np.max(row)) for row in rows), self.model.config.vocab_size
        if largest >= vocabulary:  # on a GPU such an id is an assertion that takes the whole process down
            raise ValueError(
                f"token id {largest} is outside the model's vocabulary of {vocabulary}; was the row tokenised for it?"
            )
        with torch.inference_mode():  # thread-local: a worker thread starts with gradients on
            return (self._launch_packed if self.path.packed else self._launch_padded)(rows)

    @staticmethod
    def collect(logits: torch.Tensor) -> np.ndarray:
        """Wait for a launched pack and bring its logits to the host: float32 [rows, labels]."""
        return logits.cpu().numpy()

    def _launch_packed(self, rows: Sequence[np.ndarray]) -> torch.Tensor:
        lengths = np.array([len(row) for row in rows])
        used = int(lengths.sum())
        total = next((size for size in pack_sizes(self.max_tokens) if size >= used), -(-used // 1024) * 1024)
        ids, positions = np.zeros(total, np.int64), np.zeros(total, np.int64)
        ids[:used] = np.concatenate(rows)
        positions[:used] = np.concatenate([np.arange(n) for n in lengths])
        last = np.cumsum(lengths) - 1
        hidden = self._hidden(ids[None], position_ids=self._tensor(positions[None]), **self._layout(lengths, total))
        return self.model.score(hidden[0].index_select(0, self._tensor(last))).float()

    def _layout(self, lengths: np.ndarray, total: int) -> dict[str, Any]:
        """What the chosen kernel wants to know about where rows lie."""
        torch = require("torch", extra="llm")
        if self.path.name == "ragged":
            return {"ends": torch.from_numpy(np.cumsum(lengths).astype(np.int64))}
        if self.path.name == "varlen":
            ends = np.concatenate([[0], np.cumsum(lengths), [total] * (int(lengths.sum()) < total)]).astype(np.int32)
            return {"cu_seqlens": torch.from_numpy(ends).to(self.device), "max_length": int(np.diff(ends).max())}
        window = self._window if self._window and lengths.max() > self._window else None
        return {
            "block_mask": document_block_mask(lengths, total, device=self.device),
            "window_mask": document_block_mask(lengths, total, device=self.device, window=window) if window else None,
        }

    def _launch_padded(self, rows: Sequence[np.ndarray]) -> torch.Tensor:
        torch = require("torch", extra="llm")
        lengths = np.array([len(row) for row in rows])
        longest = (
            int(-(-lengths.max() // _LENGTH_STEP) * _LENGTH_STEP) if self.device.type == "cuda" else int(lengths.max())
        )
        ids = np.full((len(rows), longest), self.model.config.pad_token_id or 0, np.int64)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = row
        if self._masked:
            mask = (np.arange(longest)[None] < lengths[:, None]).astype(np.int64)
            return self.model(input_ids=self._tensor(ids), attention_mask=self._tensor(mask)).logits.float()
        hidden = self._hidden(ids)
        return self.model.score(hidden[torch.arange(len(rows), device=self.device), self._tensor(lengths - 1)]).float()

    def _hidden(self, ids: np.ndarray, **layout: Any) -> torch.Tensor:
        # No cache and no mask: with either, transformers would let packed rows see each other (it reads row borders
        # from position_ids only when both are absent).
        return self.model.model(
            input_ids=self._tensor(ids), attention_mask=None, use_cache=False, **layout
        ).last_hidden_state

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        torch = require("torch", extra="llm")
        tensor = torch.from_numpy(np.ascontiguousarray(array, dtype=np.int64))
        if self.device.type != "cuda":
            return tensor
        return tensor.pin_memory().to(self.device, non_blocking=True)
