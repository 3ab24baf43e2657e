"""What each attention kernel is told about where the rows of a pack lie, in few shapes.

Layers are compiled anew for every shape and every number that they are called with, which takes seconds, on a Kaggle
machine tens of seconds. So nothing here has the length "number of rows": a run would meet dozens of those.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kaggle_utils._optional import require
from kaggle_utils.models.block_mask import document_block_mask
from kaggle_utils.models.last_layer import pool_size
from kaggle_utils.models.transfer import to_device

if TYPE_CHECKING:
    import torch

__all__ = ["pack_layout"]


def pack_layout(
    path: str, lengths: Sequence[int], total: int, *, device: torch.device, max_tokens: int, window: int | None = None
) -> dict[str, Any]:
    """Keyword arguments for the layers of a decoder.

    Args:
        path: "flex", "varlen" or "ragged".
        lengths: tokens of each row, in order of the pack.
        total: tokens of the whole pack; what the rows leave over is filler.
        device: where the first layer lies.
        max_tokens: of the largest pack.
        window: how far back the model's windowed layers look; None where it has none.
    """
    if path == "ragged":
        return {"ends": _ends(lengths, max_tokens)}
    if path == "varlen":
        return _borders(lengths, total, device)
    windowed = window if window and max(lengths) > window else None
    return {
        "block_mask": document_block_mask(lengths, total, device=device),
        "window_mask": document_block_mask(lengths, total, device=device, window=windowed) if windowed else None,
    }


def _ends(lengths: Sequence[int], max_tokens: int) -> torch.Tensor:
    """The rows' ends, then zeros, int64 on the host, where the kernel's loop over rows runs."""
    ends = np.zeros(max(max_tokens, len(lengths)), np.int64)
    ends[: len(lengths)] = np.cumsum(lengths)
    return require("torch", extra="llm").from_numpy(ends)


def _borders(lengths: Sequence[int], total: int, device: torch.device) -> dict[str, Any]:
    """Where rows begin, filler as one more, then empty rows; the longest, rounded up to a power of two."""
    borders = np.full(pool_size(len(lengths)) + 2, total, np.int32)
    borders[: len(lengths) + 1] = np.cumsum([0, *lengths])
    longest = int(np.diff(borders).max())
    return {"cu_seqlens": to_device(borders, device), "max_length": 1 << (longest - 1).bit_length()}
